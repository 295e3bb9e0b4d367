"""Paper and ink: panels, colour bars, legends, scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from frostmap.kernels.frost_number import (
    CLASS_NAMES,
)
from frostmap.pipeline.figures.contents import Numbers
from frostmap.pipeline.figures.palette import CLASS_COLOURS, STAMP, WIDTH
from frostmap.pipeline.map_sheets import INK, NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.work import Work


def headline(work: Work, figure: Figure, title: str) -> None:
    """Write the title, and the stamp where the input is simulated."""
    figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
    if work.recipe.simulated:
        height = figure.get_size_inches()[1]
        figure.text(
            0.988,
            1 - 0.1 / height,
            STAMP,
            ha="right",
            va="top",
            fontsize=9,
            fontweight="bold",
            color="white",
            bbox={"facecolor": "#a33b00", "edgecolor": "none", "boxstyle": "round,pad=0.35"},
        )


def map_figure(
    work: Work,
    sheet: MapSheet,
    title: str,
    count: int,
    *,
    columns: int | None = None,
    bars: int = 0,
    legend_rows: int = 0,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for some maps, rows of colour bars and rows of a legend; wide regions are stacked."""
    across = min(count, columns or (1 if sheet.aspect > 1.3 else 2))
    down = -(-count // across)
    maps = down * ((WIDTH / across - 0.5) / sheet.aspect + (0.25 if down == 1 else 0.5))
    height = 0.5 + maps + 0.62 * bars + 0.2 * legend_rows
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(h_pad=0.07))  # or titles touch the headline
    headline(work, figure, title)
    grid = figure.subplots(down, across, squeeze=False)
    panels = [axes for row in grid for axes in row]
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def chart_figure(work: Work, title: str, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one panel for a chart."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    headline(work, figure, title)
    return figure, figure.subplots()


def colour_bar(figure: Figure, image: AxesImage, panels: Sequence[Axes], label: str, extend: str = "neither") -> None:
    """Draw a colour bar below some maps."""
    bar = figure.colorbar(
        image, ax=list(panels), location="bottom", label=label, extend=extend, shrink=0.7, aspect=36, pad=0.02
    )
    bar.outline.set_linewidth(0.5)
    if len(panels) == 1 and not isinstance(image.norm, LogNorm):
        spec = panels[0].get_subplotspec()
        narrow = spec is not None and spec.get_gridspec().ncols > 1
        bar.locator = MaxNLocator(4 if narrow else 6)  # more labels touch below a narrow map


def patch(colour: str, label: str) -> Patch:
    """Return a legend's square."""
    return Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=label)


def draw_legend(figure: Figure, handles: Sequence[Patch | Line2D], columns: int) -> None:
    """Write a legend below the panels."""
    figure.legend(handles=list(handles), loc="outside lower left", ncols=columns, columnspacing=1.4, handlelength=1.6)


def class_legend(figure: Figure, present: Iterable[int]) -> None:
    """Write a legend of the classes that a map shows."""
    shown = [patch(colour, CLASS_NAMES[code]) for code, colour in CLASS_COLOURS.items() if code in present]
    draw_legend(figure, [*shown, *([patch(NO_VALUE_COLOUR, "no data")] if 255 in present else [])], columns=6)


def pale(colour: str) -> str:
    """Return a colour mixed with white.

    >>> pale("#000000")
    '#8c8c8c'
    """
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(0.45 * part + 0.55 * 255):02x}" for part in parts)


def luminance(colour: Any) -> float:
    """Return the relative luminance of an sRGB colour, as contrast is reckoned with (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def percentile(values: Numbers, sheet: MapSheet, percent: float) -> float:
    """Return a percentile of the region's pixels; NaN where none has a value."""
    inside = values[sheet.inside]
    finite = inside[np.isfinite(inside)]
    return float(np.percentile(finite, percent)) if finite.size else float("nan")


def robust_scale(maps: Iterable[Numbers], sheet: MapSheet, lowest: float | None = None) -> Normalize:
    """Return a scale from the 1st to the 99th percentile of some maps, one for all of them."""
    every = list(maps)
    low = min((percentile(values, sheet, 1) for values in every), default=0.0) if lowest is None else lowest
    high = max((percentile(values, sheet, 99) for values in every), default=1.0)
    return Normalize(low, high) if high > low else Normalize(low - 0.5, low + 0.5) if low == low else Normalize(0, 1)


def diverging_scale(maps: Iterable[Numbers], sheet: MapSheet) -> Normalize:
    """Return a scale with zero in its middle."""
    spread = max((percentile(np.abs(values), sheet, 98) for values in maps), default=1.0)
    return Normalize(-spread, spread) if spread > 0 else Normalize(-1, 1)


def thousands(area: float) -> str:
    """Return an area in thousands as a label: small ones keep two digits.

    >>> thousands(1086.04), thousands(37.51), thousands(0.0412), thousands(0)
    ('1,086', '37.5', '0.041', '0')
    """
    return f"{area:,.0f}" if area >= 100 or area == 0 else f"{area:.1f}" if area >= 1 else f"{area:.2g}"


def grouped_bars(
    axes: Axes,
    names: Sequence[str],
    series: dict[str, list[float]],
    colours: Sequence[str],
    write: Callable[[float], str] | None,
) -> None:
    """Draw bars side by side for each name; `write` makes their labels."""
    width = 0.8 / max(1, len(series))
    centres = np.arange(len(names))
    for position, ((title, heights), colour) in enumerate(zip(series.items(), colours, strict=False)):
        offset = (position - (len(series) - 1) / 2) * width
        bars = axes.bar(centres + offset, heights, width * 0.94, color=colour, label=title)
        if write is not None:
            axes.bar_label(bars, labels=[write(height) for height in heights], padding=2, fontsize=8)
    axes.set_xticks(centres, list(names))
    axes.margins(y=0.12)
    bare(axes)


def bare(axes: Axes, *spines: str) -> None:
    """Hide some spines (top and right where none is named) and the ticks along x."""
    axes.spines[list(spines or ("top", "right"))].set_visible(False)
    axes.tick_params(axis="x", length=0)


def wrapped(name: str) -> str:
    """Return a class name on two lines."""
    return name.replace(" frozen", "\nfrozen").replace("non-frozen ground", "non-frozen\nground")


def draw_density(axes: Axes, true: Numbers, found: Numbers) -> AxesImage | None:
    """Draw how many pixels have each pair of a true and a found value; return what wants a scale (`density_scale`)."""
    both = np.isfinite(true) & np.isfinite(found)
    x, y = true[both], found[both]
    if x.size == 0:
        axes.text(0.5, 0.5, "no pixel has both", transform=axes.transAxes, ha="center")
        return None
    low, high = np.percentile(np.concatenate([x, y]), [0.1, 99.9])
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    margin = 0.03 * (high - low)
    edges = np.linspace(low - margin, high + margin, 81)
    count, _, _ = np.histogram2d(x, y, bins=(edges, edges))
    image = axes.imshow(
        np.ma.masked_equal(count.T, 0),
        origin="lower",
        extent=(edges[0], edges[-1], edges[0], edges[-1]),
        cmap="viridis_r",
        interpolation="nearest",
    )
    axes.plot(edges[[0, -1]], edges[[0, -1]], color=INK, linewidth=0.8)
    axes.text(0.04, 0.96, f"n = {x.size:,}", transform=axes.transAxes, va="top", fontsize=8)
    return image


def density_scale(figure: Figure, images: Sequence[AxesImage]) -> None:
    """Give densities one scale, and draw it."""
    if not images:
        return
    most = max(float(np.ma.max(np.ma.asarray(image.get_array()))) for image in images)
    for image in images:
        image.set_norm(LogNorm(1, max(2.0, most)))
    colour_bar(figure, images[0], figure.axes, "pixels in a cell (80 x 80 cells a panel)")
