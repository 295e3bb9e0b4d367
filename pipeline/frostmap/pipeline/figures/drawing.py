"""What a figure is, and how one is drawn in the house's style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

from frostmap.pipeline.figures.palette import STYLE
from frostmap.pipeline.map_sheets import MapSheet
from frostmap.pipeline.work import Work


@dataclass(frozen=True)
class Drawing:
    """A figure that a run may have."""

    name: str
    """Its file is NAME.png."""
    title: str
    section: str
    """Section of the report that shows it."""
    caption: str
    """How to read it. Here and in `alternative`, {epochs} stands for the labels of the epochs."""
    alternative: str
    """What it shows, for readers who cannot see it."""
    function: Callable[[Work, MapSheet], Figure | None]
    """Returns None where the work directory lacks the data."""


def draw(drawing: Drawing, work: Work, sheet: MapSheet) -> Figure | None:
    """Return one figure in the house's style, or None where the work directory lacks the data."""
    with mpl.rc_context(STYLE):
        return drawing.function(work, sheet)
