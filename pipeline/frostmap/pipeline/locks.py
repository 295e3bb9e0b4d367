"""One run at a time in a work directory, and one work directory for each place in an object store."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.ledger import now
from frostmap.pipeline.storage import Storage

LOCK = "run.lock"
IDENTITY = "identity"
"""What tells a work directory from all others, wherever it is moved; written when it claims a place."""
CLAIM = "ledger/claim.json"
"""Where an object store says which work directory it belongs to."""


@contextmanager
def held(folder: Path, storage: Storage) -> Iterator[None]:
    """Hold a work directory and the storage of its cube, for what writes to them.

    Raises
    ------
    UserError
        Another process holds the work directory, or the storage belongs to another work directory.
    """
    with locked(folder):
        if storage.is_remote:
            claim(folder, storage)
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a work directory; the system lets go of it when the process ends, however that happens.

    Raises
    ------
    UserError
        Another process holds it: says which, and on which host.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                "another run is at work in this directory",
                where=str(folder),
                found=_holder(path),
                wanted="one run at a time",
                remedy="wait until it is done or stop it, then run again; or name another directory with --workdir",
            ) from error
        file.truncate(0)
        json.dump(_whoever_runs(), file)
        file.flush()
        yield


def _whoever_runs() -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": os.getpid(), "since": now()}


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "a process that has just begun"


# ---- places in object stores --------------------------------------------------------------------------------------


def claim(folder: Path, storage: Storage) -> None:
    """Claim a place in an object store for a work directory that is locked, once and for all.

    No claim runs out: whether another host's run still lives cannot be told from here.

    Raises
    ------
    UserError
        It belongs to another work directory: says which, of which host and process, and since when.
    """
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
