"""Scatter plots, bars and tables."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from frostmap.kernels.frost_number import (
    CLASS_NAMES,
)
from frostmap.pipeline import schema
from frostmap.pipeline.figures.contents import class_code, label_of, table_of
from frostmap.pipeline.figures.layout import bare, chart_figure, grouped_bars, headline, luminance, thousands, wrapped
from frostmap.pipeline.figures.palette import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    SKY_BLUE,
    VERMILION,
    WIDTH,
)
from frostmap.pipeline.map_sheets import INK, MapSheet
from frostmap.pipeline.work import Work


def ground_correction(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw thawing sums of stations against those of the satellite, before and after the correction."""
    table = table_of(work, "stations_fit", "thawing_lst", "thawing_ground", "cross_validated")
    if table is None:
        return None
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    headline(work, figure, "Thawing sums at weather stations, intervals of 16 days")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    ground = table["thawing_ground"].to_numpy(np.float64)
    columns = {"thawing_lst": "land surface, not corrected", "cross_validated": "corrected, station left out"}
    limit = 1.04 * float(np.nanmax(table[["thawing_ground", *columns]].to_numpy(np.float64)))
    for axes, (name, text), colour in zip((left, right), columns.items(), (ORANGE, BLUE), strict=True):
        satellite = table[name].to_numpy(np.float64)
        both = np.isfinite(satellite) & np.isfinite(ground)
        error = satellite[both] - ground[both]
        axes.plot([0, limit], [0, limit], color=INK, linewidth=0.8, zorder=1)
        axes.scatter(satellite[both], ground[both], s=9, color=colour, alpha=0.45, linewidths=0, zorder=2)
        axes.set(xlim=(0, limit), ylim=(0, limit), box_aspect=1, title=text, xlabel="from satellite [°C d]")
        if both.any():
            bias = f"{np.mean(error):+.1f}".replace("-", "−")
            numbers = f"n = {both.sum():,}\nRMSE {np.sqrt(np.mean(error**2)):.1f} °C d\nbias {bias} °C d"
            axes.text(0.04, 0.96, numbers, transform=axes.transAxes, va="top")
    left.set_ylabel("ground, measured [°C d]")
    return figure


def cluster_e(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw E of each soil cluster with the interval that leaves the map as it is."""
    table = table_of(work, "clusters", "cluster", "e", "lower", "upper", "surveyed_pixels")
    if table is None:
        return None
    settings = work.recipe.calibration
    figure, axes = chart_figure(work, "Soil parameter E of each cluster", height=1.6 + 0.3 * len(table))
    rows = np.arange(len(table))
    surveyed = table["surveyed_pixels"].to_numpy() > 0
    e, lower, upper = (table[name].to_numpy(np.float64) for name in ("e", "lower", "upper"))
    axes.axvspan(settings.lower, settings.upper, color=PALE_GREY, zorder=0, label="bounds of the calibration")
    axes.axvline(settings.prior, color=INK, linewidth=0.9, linestyle="--", label=f"prior, {settings.prior:g}")
    axes.hlines(
        rows[surveyed], lower[surveyed], upper[surveyed], color=SKY_BLUE, linewidth=6, label="interval of indifference"
    )
    axes.plot(e[surveyed], rows[surveyed], "o", color=BLUE, markeredgecolor="white", label="E, calibrated")
    if not surveyed.all():
        axes.plot(
            e[~surveyed], rows[~surveyed], "o", markerfacecolor="white", markeredgecolor=INK, label="E, not surveyed"
        )
    names = [f"{c} ({n:,} px)" for c, n in zip(table["cluster"], table["surveyed_pixels"], strict=True)]
    axes.set_yticks(rows, names)
    axes.set(xlabel="E [1]", ylabel="cluster (surveyed pixels)", ylim=(len(table) - 0.4, -0.6))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def forest(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw how much the forest's predictors matter: to its growth, and to samples that were left out."""
    table = table_of(work, "forest", "predictor", "importance", "permutation")
    if table is None:
        return None
    ranked = table.sort_values("importance")
    figure = Figure(figsize=(WIDTH, 1.4 + 0.24 * len(ranked)), layout="constrained")
    headline(work, figure, "What the forest predicts E from")
    panels = figure.subplots(1, 2, sharey=True)
    names = [PREDICTOR_TITLES.get(str(name), str(name)) for name in ranked["predictor"]]
    labels = {
        "importance": "share of the trees' gain [1]",
        "permutation": "rise of the error when shuffled [variance of E]",
    }
    for axes, (column, label), colour in zip(panels, labels.items(), (BLUE, SKY_BLUE), strict=True):
        bars = axes.barh(names, ranked[column], color=colour)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.set_xlabel(label)
        axes.margins(x=0.14)
        bare(axes)
    return figure


PREDICTOR_TITLES = {variable.name: variable.long_name for variable in schema.PREDICTORS}
PREDICTOR_UNITS = {variable.name: "" if variable.units == "1" else variable.units for variable in schema.PREDICTORS}


def partial_dependence(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw what the forest makes of each predictor, all others as they are."""
    table = table_of(work, "partial_dependence", "predictor", "value", "e", "lower", "upper")
    if table is None:
        return None
    names = list(dict.fromkeys(table["predictor"]))
    down = -(-len(names) // 4)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.75 * down), layout="constrained")
    headline(work, figure, "E against each predictor, all others as they are")
    grid = figure.subplots(down, 4, sharey=True, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(names):
            axes.set_axis_off()
            continue
        rows = table[table["predictor"] == names[number]]
        axes.fill_between(rows["value"], rows["lower"], rows["upper"], color=PALE_BLUE, linewidth=0)
        axes.plot(rows["value"], rows["e"], color=BLUE)
        unit = PREDICTOR_UNITS.get(names[number], "")
        label = PREDICTOR_TITLES.get(names[number], names[number]) + (f" [{unit}]" if unit else "")
        axes.set_xlabel(textwrap.fill(label, 24), fontsize=8)
        axes.margins(x=0)
        axes.locator_params(axis="x", nbins=3)
        if number % 4 == 0:
            axes.set_ylabel("E [1]")
    return figure


def reliability(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw how often permafrost truly is where a map gives it a probability."""
    table = table_of(work, "reliability", "map", "lower", "pixels", "probability", "observed")
    if table is None:
        return None
    figure, axes = chart_figure(work, "How often permafrost is where it is thought probable", height=4.4)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="as often as thought")
    epochs = work.recipe.epochs.named()
    styles = zip(dict.fromkeys(table["map"]), (BLUE, VERMILION, GREEN), "os^", strict=False)
    for name, colour, marker in styles:
        rows = table[(table["map"] == name) & (table["pixels"] > 0)]
        label = epochs[name].title if name in epochs else f"{epochs['training'].title}, with the calibrated E"
        axes.plot(rows["probability"], rows["observed"], color=colour, linewidth=1.2)
        sizes = 12 + 180 * rows["pixels"] / table["pixels"].max()
        axes.scatter(
            rows["probability"], rows["observed"], s=sizes, color=colour, marker=marker, edgecolors="white", label=label
        )
    axes.set(
        xlabel="probability given [1]", ylabel="share that is permafrost [1]", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
    )
    axes.set_aspect("equal")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return figure


def areas(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the area of each class in each epoch."""
    area = {
        epoch.title: {class_code(name): km2 for name, km2 in zip(table["class"], table["km2"], strict=True)}
        for name, epoch in work.recipe.epochs.named().items()
        if (table := table_of(work, f"areas-{name}", "class", "km2")) is not None
    }
    if not area:
        return None
    codes = [code for code in CLASS_COLOURS if any(code in sizes for sizes in area.values())]
    figure, axes = chart_figure(work, "Area of each class", height=3.4)
    series = {title: [sizes.get(code, 0.0) / 1e3 for code in codes] for title, sizes in area.items()}
    grouped_bars(
        axes, [wrapped(CLASS_NAMES[code]) for code in codes], series, [GREY, BLUE][-len(series) :], write=thousands
    )
    axes.set_ylabel("area [1000 km²]")
    axes.legend(loc="upper right")
    return figure


def transition(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the table of what became of each class."""
    table = table_of(work, "transition", "from", "to", "km2")
    if table is None or len(work.recipe.epochs.named()) < 2:
        return None
    codes = list(CLASS_COLOURS)
    matrix = np.zeros((len(codes), len(codes)))
    for row in table.to_dict("records"):
        before, after = class_code(row["from"]), class_code(row["to"])
        if before in codes and after in codes:
            matrix[codes.index(before), codes.index(after)] += float(row["km2"])
    figure, axes = chart_figure(work, "What became of each class [km²]", height=4.0)
    shown = np.ma.masked_less_equal(matrix, 0)
    largest = float(matrix.max()) or 1.0
    norm = LogNorm(max(largest / 1e5, float(shown.min()) if shown.count() else 1e-3) * 0.5, largest)
    image = axes.imshow(shown, cmap="cividis_r", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(matrix):
        ink = GREY if value == 0 else "white" if luminance(image.to_rgba(np.asarray(value))) < 0.2 else BLACK
        weight = "bold" if row == column else "normal"
        axes.text(column, row, f"{value:,.0f}", ha="center", va="center", color=ink, weight=weight)
    axes.hlines(np.arange(len(codes) - 1) + 0.5, -0.5, len(codes) - 0.5, color=PALE_GREY, linewidth=0.8)
    names = [wrapped(CLASS_NAMES[code]) for code in codes]
    axes.set_xticks(range(len(codes)), names)
    axes.set_yticks(range(len(codes)), names)
    axes.set(xlabel=label_of(work, "target"), ylabel=label_of(work, "training"))
    axes.tick_params(length=0)
    bare(axes, *axes.spines)
    return figure
