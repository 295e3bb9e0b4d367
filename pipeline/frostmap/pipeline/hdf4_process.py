"""The HDF library in a process of its own: whatever a damaged file does to it, the process that asks lives on.

The other process is started with `subprocess`, because Dask's workers are daemons, which `multiprocessing` lets have no
children. Memory is shared as an open file without a name, so that nothing is left behind however either process ends.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError
from frostmap.pipeline.hdf4 import Layer
from frostmap.pipeline.hdf_eos import Expected, ExpectedSwath

TIMEOUT_S = 60.0
"""How long a file may take to be read [s]; a granule takes hundredths of a second."""

_START_TIMEOUT_S = 120.0  # on a machine that is busy with other things
_ALIGNMENT = 64  # bytes


class _Ended(Exception):
    """The other process ended before it answered."""


class Hdf4Process:
    """A process that reads HDF files for this one, started when first asked and again after it died.

    Threads may share it; they wait for each other.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def read_layers(self, path: Path, expected: Expected, layers: Sequence[Layer]) -> list[NDArray[Any]]:
        """Read layers as `hdf4.read_layers` does; a file that crashes or hangs the library raises `GranuleError`."""
        offsets, n_bytes = _places(layers, expected.pixels**2)
        with self._lock:
            shared, _ = self._ask(path, expected, layers, offsets, n_bytes)
            return _copies(shared, layers, offsets, (expected.pixels, expected.pixels))

    def read_swath(self, path: Path, expected: ExpectedSwath, layers: Sequence[Layer]) -> list[NDArray[Any]]:
        """Read layers as `hdf4.read_swath` does; a file that crashes or hangs the library raises `GranuleError`."""
        offsets, n_bytes = _places(layers, expected.most_rows * expected.most_columns)
        with self._lock:
            shared, shape = self._ask(path, expected, layers, offsets, n_bytes)
            return _copies(shared, layers, offsets, shape)

    def check_layers(self, path: Path, expected: Expected, layers: Sequence[Layer]) -> None:
        """Read layers and drop them: raises what `read_layers` raises."""
        with self._lock:
            self._ask(path, expected, layers, [], 0)

    def close(self) -> None:
        """End the other process; asking again starts one."""
        with self._lock:
            self._stop()

    def _ask(
        self,
        path: Path,
        expected: Expected | ExpectedSwath,
        layers: Sequence[Layer],
        offsets: list[int],
        n_bytes: int,
    ) -> tuple[mmap.mmap | None, tuple[int, ...]]:
        """Have layers read into the shared memory; return that (None if no bytes are wanted), and their shape."""
        if self._child is not None and self._child.process.poll() is not None:
            self._stop()
        if self._child is None:
            self._child = _Child()
        child, answer = self._child, None
        request = {
            "path": str(path.absolute()),
            "expected": dataclasses.asdict(expected),
            "swath": isinstance(expected, ExpectedSwath),
            "layers": layers,
            "offsets": offsets,
            "bytes": n_bytes,
            "timeout_s": self._timeout_s,
        }
        try:
            shared = child.memory(n_bytes)
            answer = child.exchange(json.dumps(request), self._timeout_s)
        except TimeoutError:
            raise GranuleError(
                "the HDF library hangs on this file",
                where=path,
                found=f"no answer in {self._timeout_s:g} s",
                remedy=DOWNLOAD_AGAIN,
            ) from None
        except _Ended:
            raise GranuleError(
                "the HDF library crashed on this file", where=path, found=child.obituary(), remedy=DOWNLOAD_AGAIN
            ) from None
        finally:
            if answer is None:  # also after an interrupt: a late answer must not pass for the next request's
                self._stop()
        if "what" in answer:
            raise GranuleError(answer.pop("what"), **answer)
        return shared, tuple(answer["shape"])

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None


def _places(layers: Sequence[Layer], numbers: int) -> tuple[list[int], int]:
    """Return where in the shared memory so many numbers of each layer begin, and how many bytes that takes."""
    sizes = [numbers * np.dtype(layer.dtype).itemsize for layer in layers]
    offsets = [sum(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes[:i]) for i in range(len(sizes))]
    return offsets, offsets[-1] + sizes[-1] if sizes else 0


def _copies(
    shared: mmap.mmap | None, layers: Sequence[Layer], offsets: Sequence[int], shape: tuple[int, ...]
) -> list[NDArray[Any]]:
    return [
        np.ndarray(shape, layer.dtype, buffer=shared, offset=offset).copy()
        for layer, offset in zip(layers, offsets, strict=True)
    ]


@functools.cache
def _of_process(process_id: int) -> Hdf4Process:  # noqa: ARG001 - a fork must not talk to its parent's
    return Hdf4Process()


def of_this_process() -> Hdf4Process:
    """Return the one that all of this process share, ended when this process exits."""
    return _of_process(os.getpid())


class _Child:
    """A running process, with the memory that it shares."""

    def __init__(self) -> None:
        self._file = _open_shared()
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._shared: mmap.mmap | None = None
        descriptor = self._file.fileno()
        self.process = subprocess.Popen(  # noqa: S603
            # -P: a folder called numpy where the command was given must not be imported
            [sys.executable, "-P", "-m", "frostmap.pipeline.hdf4_child", str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=0,
            pass_fds=[descriptor],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # NumPy's threads would each reserve memory
            start_new_session=True,  # Ctrl-C is for the process that asks
        )
        self.stop = weakref.finalize(self, _stop, self.process, self._file, self._complaints, os.getpid())
        try:
            self._line(_START_TIMEOUT_S)
        except (_Ended, TimeoutError):
            found = self.obituary()
            self.stop()
            raise FrostmapError(
                "cannot start the process that reads HDF files",
                where=sys.executable,
                found=found,
                remedy="check that `python -m frostmap.pipeline.hdf4_child 0` starts",
            ) from None

    def memory(self, n_bytes: int) -> mmap.mmap | None:
        """Return memory of at least so many bytes that both processes see; None if no bytes are wanted."""
        if not n_bytes:
            return None
        if self._shared is None or len(self._shared) < n_bytes:
            self._file.truncate(n_bytes)
            self._shared = mmap.mmap(self._file.fileno(), n_bytes)
        return self._shared

    def exchange(self, request: str, timeout_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer: the parts of an error, or the shape of what was read."""
        requests = self.process.stdin
        assert requests is not None  # noqa: S101 - for mypy: it is a pipe
        try:
            requests.write(request.encode() + b"\n")
        except BrokenPipeError:
            raise _Ended from None
        answer: dict[str, Any] = json.loads(self._line(timeout_s))
        return answer

    def _line(self, timeout_s: float) -> bytes:
        answers = self.process.stdout
        assert answers is not None  # noqa: S101 - for mypy: it is a pipe
        deadline, line = time.monotonic() + timeout_s, b""
        waiting = select.poll()  # select() takes no descriptors beyond 1023
        waiting.register(answers, select.POLLIN)
        while not line.endswith(b"\n"):
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            piece = os.read(answers.fileno(), 65536)
            if not piece:
                raise _Ended
            line += piece
        return line

    def obituary(self) -> str:
        """Say how the process ended, and its last words."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it does not answer"
        self._complaints.seek(0)
        words = self._complaints.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{how}: {words[-1]}" if words else how


def _open_shared() -> IO[bytes]:
    if hasattr(os, "memfd_create"):  # Linux: never on a disk, nor held to the size of /dev/shm
        return os.fdopen(os.memfd_create("frostmap-granule"), "r+b")
    return tempfile.TemporaryFile()


def _stop(process: subprocess.Popen[bytes], shared: IO[bytes], complaints: IO[bytes], owner: int) -> None:
    if os.getpid() == owner:
        process.kill()  # it has nothing to lose
        process.wait()
    else:
        process.poll()  # a fork leaves its parent's process alone
    for stream in (process.stdin, process.stdout, shared, complaints):
        if stream is not None:
            stream.close()
