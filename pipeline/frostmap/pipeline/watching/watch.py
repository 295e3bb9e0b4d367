"""Whoever sees a run go on: keeps its log, counts what it costs, and tells how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from distributed import Client

from frostmap.pipeline import ledger
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.locks import Hold
from frostmap.pipeline.watching.costs import NOTHING, Cost, Meter
from frostmap.pipeline.watching.events import Event, Reporter
from frostmap.pipeline.watching.forecast import Left, ToDo, left, paces
from frostmap.pipeline.watching.gauges import Gauges
from frostmap.pipeline.watching.history import Attempt, runs
from frostmap.pipeline.watching.journal import Journal

if TYPE_CHECKING:
    from frostmap.pipeline.plan import Plan
    from frostmap.pipeline.work import Work

BETWEEN_LINES_S = 10.0
"""How often the log tells how far a step has come: what a run that is killed loses of its history [s]."""
BETWEEN_FORECASTS_S = 1.0
MEASURED = 0.05
"""Share of a step after which its own pace counts: the first tasks compile."""


class Watch:
    """A reporter that stands between a run and the one it was given; a context that sees the run end, however it does.

    Parameters
    ----------
    work
        The run's work directory.
    hold
        By which it holds it.
    report
        Told every event, with what is known of the time that is left and of what was spent.
    """

    def __init__(self, work: Work, hold: Hold, report: Reporter) -> None:
        self._work, self._hold, self._report = work, hold, report
        self._journal = Journal(work.folder, hold.holder.run)
        self._began = time.monotonic()
        self._attempts = [attempt for run in runs(work.folder) for attempt in run.attempts]
        self._meter: Meter | None = None
        self._gauges: Gauges | None = None
        self._todo: dict[str, ToDo] = {}
        self._at: Attempt | None = None
        """The step that is being made."""
        self._step_began = self._last_line = self._last_forecast = 0.0
        self._before = NOTHING
        """What all that was finished has cost."""
        self._written = self._step_written = 0
        self._left: Left | None = None
        self.made = self.kept = 0

    def __enter__(self) -> Self:
        """Begin the log."""
        holder, recipe = self._hold.holder, self._work.recipe
        self._journal.__enter__()
        self._note(
            "run",
            recipe=recipe.name,
            recipe_sha256=recipe.digest(),
            host=holder.host,
            process=holder.process,
            software=f"frostmap {version('frostmap')}",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell how it ended, and what it has cost."""
        try:
            if self._at is not None:
                self._note("stopped", cost=self._of_step().summary(), **self._where())
            if error is None:
                cost = replace(self._before, seconds=time.monotonic() - self._began)
                self._note("ended", steps_made=self.made, steps_kept=self.kept, cost=cost.summary())
                if self.made:
                    self._report(Event("ended", seconds=cost.seconds, cost=cost))
            else:
                event, why = _ending(error)
                self._note(event, **why)
        finally:
            self._journal.__exit__(kind, error, trace)

    def follow(self, client: Client, plan: Plan) -> None:
        """Count from here on what a cluster does, and how much of a plan is left."""
        self._meter, self._gauges = Meter(client), Gauges(client)
        if not self._hold.holder.dashboard:
            self._hold.has_dashboard(client.dashboard_link or "")
        for step in plan.steps:
            if step.reason is not None:
                layout = ledger.read_layout(self._work.storage, step.name) if step.stage.writes else None
                self._todo[step.name] = ToDo() if layout is None else ToDo(0, len(layout.tasks))

    def wrote(self, size: int) -> None:
        """Count what was stored [bytes]."""
        self._step_written += size

    def __call__(self, event: Event) -> None:
        """Take an event down, complete it, and pass it on."""
        if event.kind == "cluster":
            self._hold.has_dashboard(event.message)
            self._note("cluster", dashboard=event.message)
        elif event.kind == "waiting":
            self._note("waiting", message=event.message)
        elif event.kind == "kept":
            self.kept += 1
            self._todo.pop(event.step, None)
        elif event.kind == "started":
            event = self._started(event)
        elif event.kind == "progress":
            event = self._progress(event)
        elif event.kind == "finished":
            event = self._finished(event)
        self._report(event)

    # ---- a step ---------------------------------------------------------------------------------------------------

    def _started(self, event: Event) -> Event:
        threads = self._meter.threads if self._meter else 1
        self._at = Attempt(event.step, event.done, event.done, event.total, threads)
        self._step_began = self._last_line = time.monotonic()
        self._step_written = 0
        self._todo[event.step] = ToDo(event.done, event.total)
        self._note("started", threads=threads, reason=event.message, **self._where())
        event = replace(event, left=self._forecast(at_once=True))
        self._tell_gauges()
        return event

    def _progress(self, event: Event) -> Event:
        if self._at is not None:
            self._at = replace(self._at, done=event.done)
            self._todo[event.step] = ToDo(event.done, event.total)
            if time.monotonic() - self._last_line > BETWEEN_LINES_S:
                self._last_line = time.monotonic()
                rest = self._left.summary() if self._left else None
                self._note("progress", cost=self._of_step().summary(), left=rest, **self._where())
                self._tell_gauges()
        return replace(event, left=self._forecast())

    def _finished(self, event: Event) -> Event:
        cost = self._of_step(exactly=True)
        if self._at is not None:
            self._at = replace(self._at, done=event.done, cost=cost)
            self._attempts.append(self._at)
            self._note("finished", cost=cost.summary(), **self._where())
            self._at = None
        self._written += self._step_written
        spent = self._meter.latest if self._meter else NOTHING
        self._before = replace(spent, bytes_written=self._written)
        self.made += 1
        self._todo.pop(event.step, None)
        event = replace(event, cost=cost, left=self._forecast(at_once=True))
        self._tell_gauges()
        return event

    def _of_step(self, *, exactly: bool = False) -> Cost:
        """Return what the step at work has cost so far."""
        spent = NOTHING
        if self._meter is not None:
            spent = self._meter.ask() if exactly else self._meter.look()
        return Cost(
            time.monotonic() - self._step_began,
            spent.core_seconds - self._before.core_seconds,
            spent.bytes_read - self._before.bytes_read,
            self._step_written,
            spent.peak_bytes,
        )

    def _forecast(self, *, at_once: bool = False) -> Left | None:
        """Return how long the rest will take, not reckoned anew for every task."""
        now = time.monotonic()
        if self._meter is not None and (at_once or now - self._last_forecast > BETWEEN_FORECASTS_S):
            self._last_forecast = now
            known = paces(self._attempts)
            if self._at is not None and self._at.made > MEASURED * (self._at.tasks - self._at.began_with):
                known |= paces([replace(self._at, cost=Cost(seconds=now - self._step_began))])  # as fast as it is now
            self._left = left(self._todo, known, self._meter.threads)
        return self._left

    def _tell_gauges(self) -> None:
        if self._gauges is not None and self._meter is not None:
            rest = self._left or Left(0.0, 0)
            self._gauges.tell(
                {
                    "steps": self.made + len(self._todo),
                    "steps_done": self.made,
                    "step_tasks": self._at.tasks if self._at else 0,
                    "step_tasks_done": self._at.done if self._at else 0,
                    "written_bytes": self._written + (self._step_written if self._at else 0),
                    "core_seconds": self._meter.latest.core_seconds,
                    "left_seconds": rest.seconds,
                    "left_unmeasured_steps": rest.unmeasured,
                }
            )

    # ---- the log --------------------------------------------------------------------------------------------------

    def _note(self, event: str, **content: Any) -> None:
        level = "ERROR" if event == "failed" else "INFO"
        self._journal.note(event, level=level, **content, of_run=round(time.monotonic() - self._began, 3))

    def _where(self) -> dict[str, Any]:
        at = self._at
        return {} if at is None else {"step": at.step, "done": at.done, "total": at.tasks}


def _ending(error: BaseException) -> tuple[str, Mapping[str, Any]]:
    """Return how a run ended, and why."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", {}
    if isinstance(error, FrostmapError):
        return "failed", {"error": type(error).__name__, "what": error.what, **error.details()}
    return "failed", {"error": type(error).__name__, "what": str(error)}
