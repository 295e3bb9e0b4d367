"""What a run costs: time, core-hours, bytes, memory; counted by the workers themselves, summed here."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from distributed import Client, Worker

from frostmap.pipeline.storage import bytes_received

METRIC = "frostmap"
"""Under which name a worker tells the scheduler, with each heartbeat."""

ANSWERS_WITHIN_S = 5.0
"""A worker that takes longer hangs, or its host does: then what heartbeats told must do [s]."""


class Tally(NamedTuple):
    """What a worker has done since it began."""

    core_seconds: float
    """Time that its tasks have held a thread [s]; a task has one."""
    bytes_read: int
    """From files, as the system counts them, from the disk or from its cache; and from object stores."""
    peak_bytes: int
    """The most memory that its process has had."""


@dataclass(frozen=True)
class Cost:
    """What has been spent."""

    seconds: float = 0.0
    """On the clock [s]."""
    core_seconds: float = 0.0
    """Of all workers' tasks together [s]."""
    bytes_read: int = 0
    """From files and object stores, by the workers; what an archive sends counts when its file is read."""
    bytes_written: int = 0
    """Chunks as they are stored, and files."""
    peak_bytes: int = 0
    """The most memory that a worker has had."""

    @property
    def core_hours(self) -> float:
        """The same of cores [h]."""
        return self.core_seconds / 3600

    def summary(self) -> dict[str, float | int]:
        """Return it as plain data."""
        return {
            "seconds": round(self.seconds, 3),
            "core_hours": round(self.core_hours, 6),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "peak_worker_bytes": self.peak_bytes,
        }

    @classmethod
    def of_summary(cls, found: Mapping[str, Any]) -> Self:
        """Return it from plain data; what is missing counts nothing.

        Raises ``TypeError`` or ``ValueError`` where what is there is no number.
        """
        return cls(
            float(found.get("seconds", 0)),
            3600 * float(found.get("core_hours", 0)),
            int(found.get("bytes_read", 0)),
            int(found.get("bytes_written", 0)),
            int(found.get("peak_worker_bytes", 0)),
        )


NOTHING = Cost()


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs; of memory, the most.

    >>> total([Cost(1.0, 2.0, 3, 4, 5), Cost(1.0, 1.0, 1, 1, 9)])
    Cost(seconds=2.0, core_seconds=3.0, bytes_read=4, bytes_written=5, peak_bytes=9)
    """
    whole = NOTHING
    for cost in costs:
        whole = Cost(
            whole.seconds + cost.seconds,
            whole.core_seconds + cost.core_seconds,
            whole.bytes_read + cost.bytes_read,
            whole.bytes_written + cost.bytes_written,
            max(whole.peak_bytes, cost.peak_bytes),
        )
    return whole


def tally(dask_worker: Worker) -> Tally:
    """Return what a worker has done so far; called in its process."""
    held = sum(
        seconds
        for name, seconds in list(dask_worker.digests_total.items())
        if isinstance(name, tuple) and name[0] == "execute" and name[-2:] in _HELD
    )
    return Tally(held, _bytes_read(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _bytes_read() -> int:
    """Return what this process has read, and of files its children, in one of which HDF4 granules are read."""
    read = bytes_received()
    listings = Path("/proc/self/task").glob("*/children")  # a hundredth of what psutil takes to find them
    for process in (os.getpid(), *(int(child) for listing in listings for child in _words(listing))):
        with contextlib.suppress(psutil.Error, AttributeError):  # it has ended, or the system does not count
            read += psutil.Process(process).io_counters().read_chars
    return read


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:  # the thread has ended
        return []


_HELD = (("thread-cpu", "seconds"), ("thread-noncpu", "seconds"))
"""What distributed's fine performance metrics call the time that a task is in its thread, busy or waiting."""


class Meter:
    """Counts what the workers of a cluster do from here on, those that are lost since included.

    Work of others on the same cluster is counted too: workers do not tell it apart.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.threads = sum(client.nthreads().values())
        """Tasks that the cluster can compute at a time, when it was last looked at."""
        self.latest = NOTHING
        """What was spent when it was last looked at."""
        self._before = self._asked()
        self._told = dict(self._before)

    def look(self) -> Cost:
        """Return what the workers have told so far; some seconds old."""
        return self._seen(self._told_by_heartbeats())

    def ask(self) -> Cost:
        """Return what the workers have done, as they answer; for when none of them computes."""
        return self._seen(self._asked())

    def _told_by_heartbeats(self) -> dict[str, Tally]:
        try:
            found = self._client.scheduler_info(n_workers=-1)["workers"] if self._client.status == "running" else {}
        except (OSError, TimeoutError):  # the scheduler is away: that is for others to say
            found = {}
        self.threads = sum(worker["nthreads"] for worker in found.values()) or self.threads
        told = {address: worker["metrics"].get(METRIC) for address, worker in found.items()}
        return {address: Tally(*each) for address, each in told.items() if each}

    def _asked(self) -> dict[str, Tally]:
        try:
            # the last of these is for Client.sync, to which Client.run hands it on
            answers: Mapping[str, Any] = self._client.run(tally, on_error="ignore", callback_timeout=ANSWERS_WITHIN_S)
        except OSError:
            return self._told_by_heartbeats()
        return {address: Tally(*answer) for address, answer in answers.items()}

    def _seen(self, tallies: Mapping[str, Tally]) -> Cost:
        for address, each in tallies.items():
            before = self._told.get(address, each)  # of a worker that came later
            self._told[address] = max(each, before)  # a heartbeat may be older than an answer
        own = {address: self._before.setdefault(address, Tally(0.0, 0, 0)) for address in self._told}
        self.latest = Cost(
            core_seconds=sum(each.core_seconds - own[at].core_seconds for at, each in self._told.items()),
            bytes_read=sum(each.bytes_read - own[at].bytes_read for at, each in self._told.items()),
            peak_bytes=max((each.peak_bytes for each in self._told.values()), default=0),
        )
        return self.latest
