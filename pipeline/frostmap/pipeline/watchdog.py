"""Workers that hang, on a file system or a connection that answers no more: they are started anew, their tasks too.

And workers that are all gone: who waits for them is told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from distributed import Client, Future

from frostmap.pipeline.clusters.loss import deserted
from frostmap.pipeline.errors import DataIncomplete, FrostmapError

STUCK_AFTER_S = 3600.0
"""The longest tasks take minutes: a worker that finishes none for so long hangs [s]."""

DESERTED_AFTER_S = 300.0
"""Nobody computes where there has been no worker for so long [s]."""

_LOG = logging.getLogger(__name__)


class Watchdog:
    """Looks at what each worker has to do; where that stays the same for too long, the worker is started anew.

    The scheduler gives its tasks to others, and gives up one that this has happened to several times
    (`distributed.scheduler.allowed-failures`). Where a worker without a nanny hangs, or where there is no worker for
    too long, all is cancelled.
    """

    def __init__(
        self,
        client: Client,
        futures: Sequence[Future[Any]],
        stuck_after_s: float = STUCK_AFTER_S,
        deserted_after_s: float = DESERTED_AFTER_S,
    ) -> None:
        self._client, self._futures = client, futures
        self._limit_s, self._deserted_after_s = stuck_after_s, deserted_after_s
        self._every_s = min(stuck_after_s / 4, deserted_after_s / 4, 30.0)
        self._seen_workers = time.monotonic()
        self._deserted = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="frostmap-watchdog", daemon=True)
        self._since: dict[str, tuple[frozenset[str], float]] = {}
        self.stuck: Counter[str] = Counter()
        """How often a task was on a worker that hung."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch no longer; a restart that is under way is waited for."""
        self._ended.set()
        self._thread.join()

    def complaint(self) -> FrostmapError | None:
        """Return an error: that there are no workers, or which task hung most often; None where neither is so."""
        if self._deserted:
            return deserted(self._client, self._deserted_after_s)
        if not self.stuck:
            return None
        task, times = self.stuck.most_common(1)[0]
        return DataIncomplete(
            "a task does not come to an end",
            where=task,
            found=f"{times} times nothing for {self._limit_s:g} s",
            wanted="files and an object store that answer",
            remedy="check the file system or store that it reads from, then run again: what was made stands. If its "
            "tasks are that long, raise cluster.stuck_seconds in the recipe",
        )

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            if self._client.status != "running":
                continue
            try:
                self._look(self._client.processing())
            except (OSError, ValueError) as error:  # the scheduler is away: that is for others to say
                _LOG.warning("cannot look at the workers: %s", error)

    def _look(self, processing: dict[str, tuple[str, ...]]) -> None:
        now = time.monotonic()
        if processing:
            self._seen_workers = now
        elif now - self._seen_workers > self._deserted_after_s:
            self._deserted = True
            _LOG.error("no worker for %g s: all is given up", self._deserted_after_s)
            self._give_up()
        for worker, keys in processing.items():
            tasks = frozenset(map(str, keys))
            before, since = self._since.get(worker, (frozenset(), now))
            if not tasks or tasks != before:
                self._since[worker] = tasks, now
            elif now - since > self._limit_s:
                self._since.pop(worker)
                self._restart(worker, tasks)

    def _restart(self, worker: str, tasks: frozenset[str]) -> None:
        self.stuck.update(tasks)
        _LOG.error(
            "worker %s has finished nothing for %g s and is started anew: %s", worker, self._limit_s, sorted(tasks)
        )
        try:
            self._client.restart_workers([worker], timeout=60, raise_for_error=False)
        except (ValueError, OSError, TimeoutError) as error:
            _LOG.error("worker %s cannot be started anew: %s", worker, error)
            self._give_up()

    def _give_up(self) -> None:
        self._client.cancel([future for future in self._futures if not future.done()])
