"""How kernels become machine code: at their first call, without Python's lock, and kept on disk for other processes.

Every worker is a process of its own, and all of them run the same kernels: what one has compiled the others load. The
code is kept beside the sources (or where ``NUMBA_CACHE_DIR`` says), in a folder named after all sources that it may
have come from, so that none outlives a change; where that folder cannot be written nothing is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, overload

import numba
from numba import njit

config: Any = numba.config  # whose names mypy does not see

KEPT_DAYS = 7
"""How long machine code of other sources is kept [d]."""

_SETTING = threading.Lock()
"""Of Numba's setting of where code is kept, which is one for the whole process."""

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def compiled(function: Function) -> Function: ...
@overload
def compiled(**options: Any) -> Callable[[Function], Function]: ...
def compiled(function: Any = None, **options: Any) -> Any:
    """Return a function that Numba compiles at its first call, to run without Python's lock.

    Parameters
    ----------
    function
        What is compiled.
    options
        Of `numba.njit`.
    """
    if function is None:
        return lambda given: compiled(given, **options)
    if config.DISABLE_JIT:
        return function
    with _SETTING:
        folder = _folder(Path(function.__code__.co_filename).parent)
        if folder is None:
            return njit(nogil=True, **options)(function)
        with _kept_in(folder):
            dispatcher = njit(nogil=True, cache=True, **options)(function)
    _one_at_a_time(dispatcher, folder / "lock")
    return dispatcher


@cache
def _folder(package: Path) -> Path | None:
    """Return where machine code of a package's functions is kept; None where nothing may be written."""
    sources = [path for parent in (Path(__file__).parent, package) for path in sorted(parent.glob("*.py"))]
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    around = Path(config.CACHE_DIR) / "frostmap" if config.CACHE_DIR else package / "__pycache__"
    folder = around / f"machine-code-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
    except OSError:
        return None
    for other in around.glob("machine-code-*"):
        with suppress(OSError):
            if other.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
                shutil.rmtree(other)
    return folder


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _one_at_a_time(dispatcher: Any, lock: Path) -> None:
    """Let one process at a time look for a function's machine code, or add to it.

    Numba numbers the files of a function's variants. Two processes that add one each at the same moment would give both
    the same number, and one would later run the other's code.
    """
    kept = dispatcher._cache

    def locked(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any) -> Any:
            with _locked(lock):
                return method(*arguments)

        return call

    kept.load_overload, kept.save_overload = locked(kept.load_overload), locked(kept.save_overload)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
