"""What a command shows while it runs, and how it ends: on a terminal, in a pipe, or as JSON."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from frostmap.catalogs.errors import CatalogError
from frostmap.pipeline.errors import FrostmapError, UserError
from frostmap.pipeline.redaction import Redacting, redacted

if TYPE_CHECKING:
    from frostmap.pipeline.watching.costs import Cost
    from frostmap.pipeline.watching.events import Event, Reporter
    from frostmap.pipeline.watching.forecast import Left

OUR_FAULT = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells count
PIPE_WIDTH = 160
_FINISHING = b"finishing what is in flight; Ctrl-C again stops at once\n"
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_OBJECTS = 1.0

_OF_THE_MACHINE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
}
"""What the system refuses because of rights, space, or a file where a folder is wanted: nothing is wrong with us."""


class Session:
    """One command: a context that catches what goes wrong, says so, and ends the command with the right exit code."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.workdir: Path | None = None
        """Where a traceback goes, if the command has a work directory."""
        out = Console(highlight=False, markup=False, emoji=False)
        self.console = out if out.is_terminal else Console(width=PIPE_WIDTH, highlight=False, markup=False, emoji=False)
        self._caught = warnings.catch_warnings()
        self._log: logging.Handler = logging.NullHandler()
        self._interrupted = False
        self._in_flight = False
        """Whether tasks are: an interruption then waits for those that have begun."""
        self._on_interrupt: Any = None

    def __enter__(self) -> Session:
        """Keep warnings and log messages of libraries off the terminal."""
        self._caught.__enter__()
        logging.captureWarnings(True)
        logging.getLogger().addHandler(self._log)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._on_interrupt = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def _interrupt(self, *_: object) -> None:
        """Heed Ctrl-C: where tasks are in flight, the first time at the next event, when one of them is done."""
        if self._in_flight and not self._interrupted:
            self._interrupted = True
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _FINISHING)  # print is not for signal handlers
            return
        self._interrupted = True
        raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Say what went wrong, if anything did, and end the command."""
        if self._on_interrupt is not None:
            signal.signal(signal.SIGINT, self._on_interrupt)
        logging.getLogger().removeHandler(self._log)
        self._log.close()
        logging.captureWarnings(False)
        self._caught.__exit__(kind, error, trace)
        if error is None or isinstance(error, (typer.Exit, typer.Abort, BrokenPipeError)):
            return False
        if isinstance(error, KeyboardInterrupt):
            self._complain("interrupted: what was made stands; run again to go on", INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from error
        known = _as_frostmap_error(error)
        if known is not None:
            self._explain(known)
            raise typer.Exit(known.exit_code) from error
        if not isinstance(error, Exception) or os.environ.get("FROSTMAP_DEBUG") == "1":
            return False
        path = self._keep(error)
        first = (str(error).splitlines() or [""])[0]
        self._complain(
            f"frostmap failed, and that is our fault, not yours: {type(error).__name__}: {first}. "
            f"Please report it with {path}",
            OUR_FAULT,
            traceback=str(path),
        )
        raise typer.Exit(OUR_FAULT) from error

    def work_in(self, folder: Path) -> None:
        """Make a work directory, and keep the libraries' warnings and messages in its log from here on."""
        folder.mkdir(parents=True, exist_ok=True)
        self.workdir = folder
        logging.getLogger().removeHandler(self._log)
        self._log = logging.FileHandler(folder / "frostmap.log", encoding="utf-8", delay=True)
        self._log.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._log)

    def say(self, message: RenderableType = "") -> None:
        """Show something to a reader; nothing where JSON is asked for."""
        if not self.as_json:
            self.console.print(message, soft_wrap=isinstance(message, str))

    def emit(self, content: dict[str, Any]) -> None:
        """Write one JSON object on a line; nothing where JSON is not asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(content, default=str) + "\n")
            sys.stdout.flush()

    @contextmanager
    def progress(self, n_steps: int) -> Iterator[Reporter]:
        """Yield what to call with the events of a run that has `n_steps` steps.

        Bars on a terminal, lines elsewhere, objects where JSON is asked for.
        """
        if self.as_json:
            yield self._heeding(_Objects(self))
        elif not self.console.is_terminal:
            yield self._heeding(_Lines(self, n_steps))
        else:
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left", style="dim"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            ) as bars:
                yield self._heeding(_Bars(bars, n_steps))

    def _heeding(self, reporter: Reporter) -> Reporter:
        """Return a reporter that heeds an interruption: one that waits for it, or came where Python drops it."""

        def report(event: Event) -> None:
            if event.kind in ("started", "finished"):
                self._in_flight = event.kind == "started" and event.total > 0
            if self._interrupted:
                raise KeyboardInterrupt
            reporter(event)

        return report

    def _explain(self, error: FrostmapError) -> None:
        if self.as_json:
            parts = {"kind": type(error).__name__, "what": error.what} | error.details()
            self.emit({"error": parts, "exit_code": error.exit_code})
            return
        stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
        if not stderr.is_terminal:
            stderr.print(f"error: {error}", soft_wrap=True)
            return
        text = Text(error.what, style="bold")
        for name, content in error.details().items():
            text.append(f"\n{name + ':':<8}", style="cyan").append(f" {content}", style="not bold")
        stderr.print(Panel(text, title="frostmap cannot go on", title_align="left", border_style="red"))

    def _complain(self, message: str, exit_code: int, **details: str) -> None:
        if self.as_json:
            self.emit({"error": {"what": message} | details, "exit_code": exit_code})
        else:
            Console(stderr=True, highlight=False, markup=False, emoji=False).print(message, soft_wrap=True)

    def _keep(self, error: BaseException) -> Path:
        """Write the traceback to a file, and return its path."""
        text = redacted("".join(traceback.format_exception(error)))
        name = f"traceback-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.txt"
        if self.workdir is not None and os.access(self.workdir, os.W_OK):
            path = self.workdir / name
        else:
            path = Path(tempfile.mkdtemp(prefix="frostmap-")) / name
        path.write_text(text, encoding="utf-8")
        return path.resolve()


def _as_frostmap_error(error: BaseException) -> FrostmapError | None:
    """Return what a user can act on, if the error is of that kind."""
    if isinstance(error, FrostmapError):
        return error
    if isinstance(error, CatalogError):
        return UserError(error.what, where=error.where, found=error.found, wanted=error.wanted, remedy=error.remedy)
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return UserError(
            "a file or folder cannot be used",
            where=str(error.filename or ""),
            found=error.strerror or str(error),
            remedy="check the path, the rights on it, and the space on its disk",
        )
    return None


def clock(seconds: float) -> str:
    """Return a duration in words.

    >>> clock(7.24), clock(75), clock(7380)
    ('7.2 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def words_of_left(left: Left | None) -> str:
    """Return how long the rest of a run will take, in words; empty where nothing is known."""
    if left is None:
        return ""
    parts = [f"about {clock(left.seconds)}"] if left.seconds else []
    if left.unmeasured:
        parts.append(f"{left.unmeasured} step{'s' if left.unmeasured > 1 else ''} of which nothing is known yet")
    return " and ".join(parts)


def words_of_cost(cost: Cost) -> str:
    """Return what was spent, in words."""
    return (
        f"{clock(cost.seconds)}, {cost.core_hours:.3g} core-hours; read {decimal(cost.bytes_read)}, "
        f"wrote {decimal(cost.bytes_written)}; largest worker {decimal(cost.peak_bytes)}"
    )


class _Objects:
    """Events as JSON objects, one a line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "progress" and event.done < event.total:
            if time.monotonic() - self._last < SECONDS_BETWEEN_OBJECTS:
                return
            self._last = time.monotonic()
        parts = {name: value for name, value in vars(event).items() if value and name != "kind"}
        parts |= {name: parts[name].summary() for name in ("left", "cost") if name in parts}
        self._session.emit({"event": event.kind} | parts)


class _Lines:
    """Events as lines, for logs and pipes."""

    def __init__(self, session: Session, n_steps: int) -> None:
        self._session, self._n_steps = session, n_steps
        self._began = self._last = time.monotonic()
        self._number = self._kept = 0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.kind == "kept":
            self._kept += 1
            return
        if self._kept:
            self._session.say(f"{self._kept} of {self._n_steps} steps are up to date")
            self._number, self._kept = self._number + self._kept, 0
        if event.kind == "cluster":
            self._session.say(f"dashboard: {event.message}")
        elif event.kind == "waiting":
            self._session.say(event.message)
        elif event.kind == "started":
            self._number += 1
            self._began = self._last = now
            reason = f" ({event.message})" if event.message else ""
            rest = words_of_left(event.left)
            of_run = f"; left of the run: {rest}" if event.left and event.left.seconds else ""
            self._session.say(f"[{self._number}/{self._n_steps}] {event.step}: {event.title}{reason}{of_run}")
        elif event.kind == "progress" and 0 < event.done < event.total and now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            left = (now - self._began) / event.done * (event.total - event.done)
            guess = f", about {clock(left)} left" if event.done * 20 >= event.total else ""  # the first ones compile
            self._session.say(f"    {event.done} of {event.total}{guess}")
        elif event.kind == "finished":
            self._session.say(f"    done in {clock(event.seconds)}")
        elif event.kind == "ended" and event.cost is not None:
            self._session.say(f"spent    {words_of_cost(event.cost)}")


class _Bars:
    """Events as one bar for the run and one for the step at work; finished steps stay above as lines."""

    def __init__(self, bars: Progress, n_steps: int) -> None:
        self._bars = bars
        self._all = bars.add_task("looking at what there is", total=n_steps)
        self._step: TaskID | None = None
        self._kept = 0

    def __call__(self, event: Event) -> None:
        if event.kind == "kept":
            self._kept += 1
            self._bars.advance(self._all)
            return
        if self._kept:
            self._bars.console.print(f"{self._kept} steps are up to date", style="dim")
            self._kept = 0
        if event.kind in ("started", "progress"):
            rest = words_of_left(event.left)
            self._bars.update(self._all, description=f"all steps, left: {rest}" if rest else "all steps")
        if event.kind == "cluster":
            self._bars.console.print(f"dashboard: {event.message}")
        elif event.kind == "waiting":
            self._bars.console.print(event.message)
        elif event.kind == "ended" and event.cost is not None:
            self._bars.console.print(f"spent    {words_of_cost(event.cost)}")
        elif event.kind == "started":
            self._step = self._bars.add_task(f"{event.step}: {event.title}", total=event.total or None)
        elif event.kind == "progress" and self._step is not None:
            self._bars.update(self._step, completed=event.done, total=event.total)
        elif event.kind == "finished":
            if self._step is not None:
                self._bars.remove_task(self._step)
                self._step = None
            line = Text("done ", style="green").append(f"{event.step}: {event.title}", style="default")
            self._bars.console.print(line.append(f"  {clock(event.seconds)}", style="dim"))
            self._bars.advance(self._all)
