"""One run at a time in a work directory, and one work directory for each place in an object store."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.ledger import now
from frostmap.pipeline.storage import Storage

LOCK = "run.lock"
IDENTITY = "identity"
"""What tells a work directory from all others, wherever it is moved; written when it claims a place."""
CLAIM = "ledger/claim.json"
"""Where an object store says which work directory it belongs to."""


_ATTEMPTS, _BETWEEN_ATTEMPTS_S = 5, 0.05
"""Who only looks whether a directory is held has its lock for an instant: that is no reason to give up."""


@dataclass(frozen=True)
class Holder:
    """Who holds a work directory."""

    run: str
    """Name of the run that no other has; by time, so that names sort."""
    host: str
    process: int
    since: str
    """UTC, ISO 8601."""
    dashboard: str = ""
    """Link to the dashboard of the cluster that computes; empty before there is one."""

    @property
    def words(self) -> str:
        """The holder, for messages."""
        return f"process {self.process} on {self.host}, since {self.since}"


class Hold:
    """A work directory that this process holds, and what others may know of it."""

    def __init__(self, file: TextIO) -> None:
        began = datetime.now(UTC)
        self.holder = Holder(f"{began:%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}", **_whoever_runs())
        self._file = file
        self._write(self.holder)

    def has_dashboard(self, link: str) -> None:
        """Let others know where the dashboard is; on a disk that is full they do not learn it."""
        self.holder = replace(self.holder, dashboard=link)
        with suppress(OSError):
            self._write(self.holder)

    def forget(self) -> None:
        """Leave nothing of what is over; on a disk that cannot be written others find the end in the run's log."""
        with suppress(OSError):
            self._file.truncate(0)

    def _write(self, holder: Holder) -> None:
        self._file.truncate(0)
        json.dump(asdict(holder), self._file)
        self._file.flush()


@contextmanager
def held(folder: Path, storage: Storage) -> Iterator[Hold]:
    """Hold a work directory and the storage of its cube, for what writes to them.

    Raises
    ------
    UserError
        Another process holds the work directory, or the storage belongs to another work directory.
    """
    with locked(folder) as hold:
        if storage.is_remote:
            claim(folder, storage)
        yield hold


@contextmanager
def locked(folder: Path) -> Iterator[Hold]:
    """Hold a work directory; the system lets go of it when the process ends, however that happens.

    Raises
    ------
    UserError
        Another process holds it: says which, and on which host.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        if not _taken(file, fcntl.LOCK_EX, _ATTEMPTS):
            holder = holder_of(folder)
            raise UserError(
                "another run is at work in this directory",
                where=str(folder),
                found=holder.words if holder else "a process that has just begun",
                wanted="one run at a time",
                remedy="wait until it is done or stop it, then run again; or name another directory with --workdir",
            )
        hold = Hold(file)
        try:
            yield hold
        finally:
            hold.forget()


def is_held(folder: Path) -> bool:
    """Say whether a process holds a work directory, as far as this host can see."""
    try:
        with (folder / LOCK).open("r", encoding="utf-8") as file:
            return not _taken(file, fcntl.LOCK_SH, 1)
    except FileNotFoundError:
        return False


def holder_of(folder: Path) -> Holder | None:
    """Return who holds a work directory, or was killed when it did; None where nobody is known."""
    try:
        return Holder(**json.loads((folder / LOCK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _taken(file: TextIO, kind: int, attempts: int) -> bool:
    for attempt in range(attempts):
        if attempt:
            time.sleep(_BETWEEN_ATTEMPTS_S)
        with suppress(BlockingIOError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
    return False


def _whoever_runs() -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": os.getpid(), "since": now()}


# ---- places in object stores --------------------------------------------------------------------------------------


def claim(folder: Path, storage: Storage) -> None:
    """Claim a place in an object store for a work directory that is locked, once and for all.

    No claim runs out: whether another host's run still lives cannot be told from here.

    Raises
    ------
    UserError
        It belongs to another work directory: says which, of which host and process, and since when.
    """
    storage = replace(storage, patient=False)
    own = _identity(folder)
    content = storage.read(CLAIM)
    if content is None:
        about = {"identity": own, "workdir": str(folder.resolve())} | _whoever_runs()
        storage.create(CLAIM, json.dumps(about).encode())  # in vain if another was quicker
        content = storage.read(CLAIM)
    owner, words = _owner(content or b"")
    if owner != own:
        raise UserError(
            "the place for the cube belongs to another work directory",
            where=f"{storage.place} (recipe: store.location)",
            found=words,
            wanted="one work directory for each place",
            remedy=f"name another prefix in store.location. If that work directory is now this one, copy its file "
            f"'{IDENTITY}' into this one; if it is no more, remove the object {CLAIM} below that place and run again",
        )


def _identity(folder: Path) -> str:
    """Return the name of a work directory that no other has; it gets one if it has none."""
    path = folder / IDENTITY
    found = path.read_bytes().decode("ascii", "replace").strip() if path.is_file() else ""
    if not found:
        found = uuid4().hex
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="ascii") as file:
            file.write(found)
            file.flush()
            os.fsync(file.fileno())  # a claim must not outlive it
        draft.replace(path)
    return found


def _owner(content: bytes) -> tuple[str | None, str]:
    """Return whose a claim is: the identity, and words for a message."""
    try:
        owner = json.loads(content)
        words = f"work directory {owner['workdir']}, claimed by process {owner['process']} on {owner['host']}"
        return str(owner["identity"]), f"{words}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return None, "a claim that cannot be read"
