"""What happens in a run, as it is told to whoever looks on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from frostmap.pipeline.watching.costs import Cost
from frostmap.pipeline.watching.forecast import Left


@dataclass(frozen=True)
class Event:
    """Something a user may want to see while a run goes on."""

    kind: str
    """waiting, cluster, started, progress, finished, kept, ended."""
    step: str = ""
    title: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    left: Left | None = None
    """How long the rest of the run will take, as far as that is known."""
    cost: Cost | None = None
    """Of a step that is finished, or of all that the run made when it has ended."""


Reporter = Callable[[Event], None]
