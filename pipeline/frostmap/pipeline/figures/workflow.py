"""How a run goes from observations to maps, as boxes and arrows, each with what the run has there."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from frostmap.pipeline.figures.contents import epoch_in_words, table_of
from frostmap.pipeline.figures.layout import draw_legend, headline, patch
from frostmap.pipeline.figures.palette import GREY, PALE_BLUE, WIDTH, YELLOW
from frostmap.pipeline.map_sheets import INK, MapSheet
from frostmap.pipeline.work import Work

WIDE, HIGH = 1.0, 0.72
"""Of a box, where columns and rows are 1.22 and 1 apart."""
ACROSS = 1.22
LETTERS = 27
"""Of a line in a box."""
NOT_HERE = "#f4f4f4"


@dataclass(frozen=True)
class Box:
    """A box of the chart."""

    key: str
    column: int
    row: int
    title: str
    words: str
    """What the run has or does there; empty if it has no such step."""


ARROWS = (
    ("granules", "quality"), ("quality", "filling"), ("filling", "means"), ("means", "sums"),
    ("stations", "correction"), ("sums", "correction"), ("predictors", "clusters"), ("clusters", "calibration"),
    ("surveys", "calibration"), ("calibration", "forest"), ("predictors", "forest"), ("correction", "calibration"),
    ("forest", "e"), ("correction", "number"), ("e", "number"), ("number", "classes"), ("masks", "classes"),
    ("classes", "judged"), ("classes", "changed"),
)  # fmt: skip


def workflow(work: Work, _sheet: MapSheet) -> Figure:
    """Draw the chain, and what the run has at each of its places; what it lacks is pale."""
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    headline(work, figure, f"From observations to maps: {work.recipe.title or work.recipe.name}")
    axes = figure.subplots()
    boxes = {box.key: box for box in boxes_of(work)}
    for start, end in ARROWS:
        _arrow(axes, boxes[start], boxes[end])
    for box in boxes.values():
        _draw(axes, box)
    columns, rows = (max(getattr(box, along) for box in boxes.values()) for along in ("column", "row"))
    axes.set(xlim=(-0.08, columns * ACROSS + WIDE + 0.08), ylim=(rows + HIGH + 0.1, -0.1))
    axes.set_axis_off()
    absent = [patch(NOT_HERE, "not in this run")] if any(not box.words for box in boxes.values()) else []
    draw_legend(figure, [patch(YELLOW, "what goes in"), patch(PALE_BLUE, "what the run does"), *absent], 3)
    return figure


def boxes_of(work: Work) -> list[Box]:
    """Return the boxes, with what the run has or does at each."""
    recipe = work.recipe
    sources, epochs = recipe.sources, recipe.epochs.named()
    years = "; ".join(epoch_in_words(epoch) for epoch in epochs.values())
    lst = sources.lst is not None
    kinds = {"stac": "STAC", "planetary-computer": "Planetary Computer", "earthdata": "Earthdata"}
    catalogue = f"from {kinds.get(sources.lst.kind, sources.lst.kind)}: " if sources.lst else ""
    quality = recipe.quality
    predictors = [
        word
        for word, given in (
            ("terrain", sources.elevation), ("NDVI", sources.ndvi), ("snow", sources.snow_cover),
            ("precipitation", sources.precipitation), ("sand and clay", sources.sand),
        ) if given is not None
    ]  # fmt: skip
    clusters = table_of(work, "clusters", "cluster", "e")
    judged = [
        word
        for word, given in (
            ("boreholes", sources.boreholes), ("stations", sources.stations), ("the simulation's truth", sources.truth)
        ) if given is not None
    ]  # fmt: skip
    transfer, target = recipe.transfer, recipe.epochs.target is not None
    correction = recipe.ground_correction
    covers = [word for word, given in (("lakes", sources.lakes), ("glaciers", sources.glaciers)) if given is not None]
    degree = recipe.degree_days
    sampler = transfer.sampler.replace("_", " ")
    number = "ready clusters" if sources.clusters else "k-means"
    count = f"{len(clusters)}, " if clusters is not None else ""
    return [
        Box("granules", 0, 0, "MODIS temperatures", f"MOD11A1, MYD11A1 {catalogue}{years}" if lst else ""),
        Box(
            "quality", 1, 0, "Quality",
            f"errors up to class {quality.max_lst_error_class}; "
            f"{'screened' if quality.residual_cloud_screen else 'not screened'} for residual cloud" if lst else "",
        ),
        Box("filling", 2, 0, "Gap filling", f"{recipe.gap_filling.method}" if lst else ""),
        Box("means", 3, 0, "Daily means", f"{degree.daily_mean}, {degree.dates.upper()} days" if lst else ""),
        Box("stations", 2, 1, "Weather stations", "ground temperature at 0 cm" if sources.stations else ""),
        Box(
            "correction", 3, 2, "Ground correction",
            f"{correction.method.replace('_', ' ')}" if lst and correction.changes_anything else "",
        ),
        Box("sums", 3, 1, "Degree-day sums", "DDF, DDT a year" if lst else f"given: {years}"),
        Box("predictors", 0, 2, "Predictors", ", ".join(predictors)),
        Box("surveys", 0, 1, "Surveyed maps", f"{len(sources.surveys)}" if sources.surveys else ""),
        Box("clusters", 1, 1, "Soil clusters", f"{count}{number}"),
        Box(
            "calibration", 1, 2, "Calibration of E",
            f"on surveyed maps, {recipe.calibration.method}" if sources.surveys else "",
        ),
        Box(
            "forest", 1, 3, "Random forest",
            f"{transfer.trees} trees, {transfer.samples:,} pixels ({sampler})" if target else "",
        ),
        Box("e", 2, 3, "E of each pixel", "of both epochs" if target else "of the clusters"),
        Box("masks", 2, 4, "Lakes, glaciers", ", ".join(covers)),
        Box("number", 3, 3, "Frost number F", "permafrost where F > 0.5"),
        Box("classes", 3, 4, "Frozen ground", "classes, probability, areas"),
        Box("judged", 3, 5, "Validation", ", ".join(judged)),
        Box("changed", 2, 5, "Change", " to ".join(epoch.title for epoch in epochs.values()) if target else ""),
    ]  # fmt: skip


INPUTS = ("granules", "stations", "predictors", "surveys", "masks")


def _draw(axes: Axes, box: Box) -> None:
    colour = NOT_HERE if not box.words else YELLOW if box.key in INPUTS else PALE_BLUE
    x, y = box.column * ACROSS, float(box.row)
    axes.add_patch(
        FancyBboxPatch(
            (x, y), WIDE, HIGH, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, linewidth=0.8, zorder=3,
            edgecolor=INK if box.words else GREY, linestyle="-" if box.words else "--",
        )
    )  # fmt: skip
    ink = INK if box.words else "#595959"
    axes.text(
        x + WIDE / 2, y + 0.17, box.title, ha="center", va="center", fontsize=9, fontweight="bold", color=ink, zorder=4
    )
    words = textwrap.fill(box.words or "not in this run", LETTERS, max_lines=3, placeholder=" …")
    axes.text(x + WIDE / 2, y + 0.49, words, ha="center", va="center", fontsize=7.5, color=ink, zorder=4)


def _arrow(axes: Axes, start: Box, end: Box) -> None:
    """Draw an arrow from the edge of a box to that of another, where they face each other."""
    across, down = end.column - start.column, end.row - start.row
    middles = [(box.column * ACROSS + WIDE / 2, box.row + HIGH / 2) for box in (start, end)]
    ends = []
    for (x, y), sign in zip(middles, (1, -1), strict=True):
        if across and (abs(across) >= abs(down)):
            ends.append((x + sign * (WIDE / 2) * (1 if across > 0 else -1), y))
        else:
            ends.append((x, y + sign * (HIGH / 2) * (1 if down > 0 else -1)))
    axes.add_patch(
        FancyArrowPatch(
            ends[0],
            ends[1],
            arrowstyle="-|>",
            mutation_scale=9,
            linewidth=0.9,
            color=INK,
            shrinkA=1,
            shrinkB=1,
            zorder=2,
        )
    )
