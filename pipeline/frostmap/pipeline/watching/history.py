"""What the runs of a work directory have done and cost, read from their log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from frostmap.pipeline.watching import journal
from frostmap.pipeline.watching.costs import NOTHING, Cost, total

Ending = Literal["ended", "failed", "interrupted", ""]
"""How a run ended; empty where its log does not say: it goes on, or was killed."""


@dataclass(frozen=True)
class Attempt:
    """What one run did at one step."""

    step: str
    began_with: int
    """Tasks that stood at its beginning."""
    done: int
    """Tasks that stood when the log last told of it."""
    tasks: int
    """All tasks of the step."""
    threads: int
    """Tasks that the cluster could compute at a time."""
    cost: Cost = NOTHING

    @property
    def made(self) -> int:
        """Tasks that it made."""
        return max(self.done - self.began_with, 0)


@dataclass(frozen=True)
class Run:
    """What a run did, as far as its log tells."""

    name: str
    began: str
    """UTC, ISO 8601."""
    last_told: str
    """UTC, ISO 8601."""
    host: str = ""
    ending: Ending = ""
    attempts: tuple[Attempt, ...] = ()
    cost: Cost = NOTHING
    """Of its steps; the seconds are those of the whole run."""


def runs(folder: Path) -> list[Run]:
    """Return the runs of a work directory, oldest first."""
    told: dict[str, list[dict[str, Any]]] = {}
    for line in journal.read(folder):
        told.setdefault(line["run"], []).append(line)
    return [_run(name, lines) for name, lines in told.items()]


def _run(name: str, lines: list[dict[str, Any]]) -> Run:
    found = Run(name, str(lines[0].get("time", "")), str(lines[-1].get("time", "")))
    attempts: dict[str, Attempt] = {}
    seconds = 0.0
    for line in lines:
        try:
            seconds = max(seconds, float(line.get("of_run", 0)))
            attempts |= {attempt.step: attempt for attempt in _attempt(line, attempts)}
        except (TypeError, ValueError):  # a line that was damaged
            continue
        if line["event"] == "run":
            found = replace(found, host=str(line.get("host", "")))
        elif line["event"] in ("ended", "failed", "interrupted"):
            found = replace(found, ending=line["event"])
    cost = total(attempt.cost for attempt in attempts.values())
    return replace(found, attempts=tuple(attempts.values()), cost=replace(cost, seconds=seconds))


def _attempt(line: dict[str, Any], before: dict[str, Attempt]) -> Iterator[Attempt]:
    """Yield what a line tells of an attempt at a step, if it is of one."""
    step, done, tasks = str(line.get("step", "")), int(line.get("done", 0)), int(line.get("total", 0))
    if line["event"] == "started":
        yield Attempt(step, done, done, tasks, int(line.get("threads", 1)))
    elif line["event"] in ("progress", "finished", "stopped") and step in before:
        cost = Cost.of_summary(line.get("cost", {}))
        yield replace(before[step], done=done, tasks=tasks or before[step].tasks, cost=cost)


def by_step(found: Iterable[Run]) -> dict[str, Cost]:
    """Return what each step has cost in all runs, attempts that were interrupted among them."""
    costs: dict[str, Cost] = {}
    for run in found:
        for attempt in run.attempts:
            costs[attempt.step] = total([costs.get(attempt.step, NOTHING), attempt.cost])
    return costs
