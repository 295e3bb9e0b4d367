"""One run at a time in a work directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.ledger import now

LOCK = "run.lock"


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
        json.dump({"host": socket.gethostname(), "process": os.getpid(), "since": now()}, file)
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "a process that has just begun"
