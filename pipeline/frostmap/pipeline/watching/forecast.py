"""How long the rest of a run will take, from how long its tasks have taken, in this run and in those before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from frostmap.pipeline.watching.history import Attempt


class Left(NamedTuple):
    """How long the rest of a run will take."""

    seconds: float
    """Of the steps whose like has been measured [s]."""
    unmeasured: int
    """Steps of which nothing is known yet, and which come on top of that."""

    def summary(self) -> dict[str, float | int]:
        """Return it as plain data."""
        return {"seconds": round(self.seconds, 1), "unmeasured_steps": self.unmeasured}


class ToDo(NamedTuple):
    """How much of a step is left."""

    done: int = 0
    tasks: int | None = None
    """All tasks of the step; None before it has begun."""


class Pace(NamedTuple):
    """What tasks of a kind have taken."""

    worker_seconds: float
    """Of all workers that they kept busy [s]."""
    made: int
    tasks: int
    """Most tasks that a step of this kind had."""


def paces(attempts: Iterable[Attempt]) -> dict[str, Pace]:
    """Return the pace of each step, and of each stage over all its years and epochs, by name.

    >>> from frostmap.pipeline.watching.costs import Cost
    >>> paces([Attempt("raw/2010", 0, 4, 8, threads=2, cost=Cost(seconds=10.0))])["raw"]
    Pace(worker_seconds=20.0, made=4, tasks=8)
    """
    found: dict[str, Pace] = {}
    for attempt in attempts:
        if not attempt.made:
            continue
        busy = attempt.cost.seconds * min(attempt.threads, attempt.made)
        for name in {attempt.step, _stage(attempt.step)}:
            before = found.get(name, Pace(0.0, 0, 0))
            tasks = max(before.tasks, attempt.tasks)
            found[name] = Pace(before.worker_seconds + busy, before.made + attempt.made, tasks)
    return found


def left(todo: Mapping[str, ToDo], known: Mapping[str, Pace], threads: int) -> Left:
    """Return how long steps will take, one after the other, on so many threads.

    A step of which nothing is known goes by its stage: another year takes as long.

    >>> left({"raw/2011": ToDo(), "report": ToDo()}, {"raw": Pace(20.0, 4, 8)}, threads=4)
    Left(seconds=10.0, unmeasured=1)
    """
    seconds, unmeasured = 0.0, 0
    for step, (done, tasks) in todo.items():
        pace = known.get(step) or known.get(_stage(step))
        if pace is None:
            unmeasured += 1
            continue
        n = max((pace.tasks if tasks is None else tasks) - done, 0)
        seconds += n * pace.worker_seconds / pace.made / max(min(threads, n), 1)
    return Left(seconds, unmeasured)


def _stage(step: str) -> str:
    return step.partition("/")[0]
