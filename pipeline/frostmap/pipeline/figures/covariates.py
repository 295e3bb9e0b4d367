"""The predictors of E: how often each value is, and where one is missing."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from frostmap.pipeline import schema
from frostmap.pipeline.figures.contents import Numbers, by_epoch, group_of, label_of
from frostmap.pipeline.figures.layout import bare, draw_legend, headline, map_figure, patch
from frostmap.pipeline.figures.palette import BLACK, BLUE, ORANGE, PALE_BLUE, VERMILION, WIDTH
from frostmap.pipeline.map_sheets import NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.work import Work

BINS = 48
EPOCH_COLOURS = {"training": ORANGE, "target": BLUE}

KNOWN, FILLED, ONE, SEVERAL = range(4)
STATES = {
    KNOWN: ("all known", PALE_BLUE),
    FILLED: ("some made of the pixels around", BLUE),
    ONE: ("one is missing", VERMILION),
    SEVERAL: ("several are missing", BLACK),
}
"""What may be of a pixel's predictors."""


def histograms(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the share of the region's pixels by the value of each predictor, in each epoch."""
    maps = {variable: by_epoch(work, "covariates", variable.name) for variable in schema.PREDICTORS}
    shown = {variable: values for variable, values in maps.items() if values}
    if not shown:
        return None
    down = -(-len(shown) // 3)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.75 * down), layout="constrained")
    headline(work, figure, "How often each value of the predictors is")
    panels = figure.subplots(down, 3, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, (variable, values) in zip(panels, shown.items(), strict=False):
        inside = {epoch: own[sheet.inside & np.isfinite(own)] for epoch, own in values.items()}
        edges = _edges(np.concatenate(list(inside.values())))
        same = _same(values)
        for epoch, own in list(inside.items())[: 1 if same else None]:
            if own.size:
                share = 100 * np.histogram(np.clip(own, edges[0], edges[-1]), edges)[0] / own.size
                axes.stairs(share, edges, color=BLACK if same else EPOCH_COLOURS[epoch], linewidth=1.2)
        axes.set_title(variable.long_name, fontsize=9)
        axes.set_xlabel("" if variable.units == "1" else f"[{variable.units}]", labelpad=1)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        axes.locator_params(axis="x", nbins=5)
        bare(axes)
    for axes in panels[::3]:
        axes.set_ylabel("pixels [%]")
    differing = [values for values in shown.values() if not _same(values)]
    epochs = [epoch for epoch in work.recipe.epochs.named() if any(epoch in values for values in differing)]
    legend = [patch(EPOCH_COLOURS[epoch], label_of(work, epoch)) for epoch in epochs]
    legend += [patch(BLACK, "both epochs")] if len(differing) < len(shown) else []
    draw_legend(figure, legend, columns=3)
    return figure


def _same(values: dict[str, Numbers]) -> bool:
    """Say whether both epochs have the same map: one line is drawn for both."""
    maps = list(values.values())
    return len(maps) > 1 and all(np.array_equal(maps[0], other, equal_nan=True) for other in maps[1:])


def _edges(values: Numbers) -> Numbers:
    """Return the edges of bins from the lowest to the highest of nearly all values; the outer ones hold the rest."""
    if not values.size:
        return np.linspace(0.0, 1.0, BINS + 1)
    low, high = (float(each) for each in np.percentile(values, [0.5, 99.5]))
    if not high > low or math.isclose(low, high):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def missing_predictors(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw which pixels lack predictors in each epoch, and which have some that were filled."""
    states = {epoch: found for epoch in work.recipe.epochs.named() if (found := _states(work, epoch)) is not None}
    if not any(np.any(codes[sheet.inside] > KNOWN) for codes in states.values()):
        return None  # nothing is missing
    figure, panels = map_figure(work, sheet, "Where predictors are missing", len(states), legend_rows=2)
    for axes, (epoch, codes) in zip(panels, states.items(), strict=True):
        sheet.draw_colours(axes, codes, {code: colour for code, (_, colour) in STATES.items()}, NO_VALUE_COLOUR)
        lacking = 100 * np.mean(codes[sheet.inside] >= ONE)
        axes.set_title(f"{label_of(work, epoch)}: {lacking:.1f} % of the pixels lack some")
    present = {code for codes in states.values() for code in np.unique(codes[sheet.inside]).tolist()}
    draw_legend(figure, [patch(colour, name) for code, (name, colour) in STATES.items() if code in present], columns=2)
    return figure


def _states(work: Work, epoch: str) -> Numbers | None:
    cube = group_of(work, f"covariates/{epoch}", schema.FILLED_PREDICTORS.name)
    if cube is None:
        return None
    lacking = np.sum([~np.isfinite(cube[variable.name].to_numpy()) for variable in schema.PREDICTORS], axis=0)
    codes = np.where(cube[schema.FILLED_PREDICTORS.name].to_numpy() > 0, FILLED, KNOWN)
    return np.where(lacking > 1, SEVERAL, np.where(lacking == 1, ONE, codes)).astype(np.uint8)
