"""Change between the epochs: its parts, how sure it is, where it is most, and what is different there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from frostmap.kernels.frost_number import PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline import schema
from frostmap.pipeline.drivers import DEGRADED
from frostmap.pipeline.figures.contents import Numbers, by_epoch, epoch_title, group_of, label_of, table_of
from frostmap.pipeline.figures.layout import bare, colour_bar, diverging_scale, draw_legend, headline, map_figure, patch
from frostmap.pipeline.figures.palette import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    PURPLE,
    SKY_BLUE,
    VERMILION,
    WIDTH,
    YELLOW,
)
from frostmap.pipeline.hot_spots import KINDS, block_side, blocks_of, compared
from frostmap.pipeline.map_sheets import INK, NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.work import Work

GROUP = "change_maps"
SURE = 1.96
"""Standard errors beyond which a pixel's change is drawn as significant."""
MOST_SPOTS = 6
"""Hot spots whose drivers are drawn."""
KIND_TITLES = {"permafrost_lost": "Permafrost lost", "frost_lost": "Seasonally frozen to non-frozen"}


def _title(work: Work, text: str) -> str:
    return f"{text}, {label_of(work, 'training')} to {label_of(work, 'target')}"


def change_parts(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the change of the frost number, and what of it the degree-day sums and what E did."""
    names = [v.name for v in (schema.FREEZING_PART, schema.THAWING_PART, schema.SOIL_PART)]
    maps = group_of(work, GROUP, *names)
    if maps is None or work.recipe.epochs.target is None:
        return None
    freezing, thawing, soil = (maps[name].to_numpy() for name in names)
    shown = {
        "Change of F": freezing + thawing + soil,
        "by freezing sums": freezing,
        "by thawing sums": thawing,
        "by E": soil,
    }
    figure, panels = map_figure(
        work, sheet, _title(work, "Change of the frost number and its parts"), 4, columns=2, bars=1
    )
    norm = diverging_scale(shown.values(), sheet)
    for axes, (text, values) in zip(panels, shown.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="RdBu", norm=norm)
        axes.set_title(text)
    colour_bar(figure, image, panels, "change of the frost number [1]; red is towards thaw", extend="both")
    return figure


SIGNIFICANCE = {
    1: ("permafrost lost, significant", VERMILION),
    2: ("permafrost lost, within the errors", ORANGE),
    3: ("permafrost gained, significant", BLUE),
    4: ("permafrost gained, within the errors", SKY_BLUE),
    5: ("seasonally frozen to non-frozen, significant", PURPLE),
    6: ("seasonally frozen to non-frozen, within the errors", "#e3bcd0"),
    7: ("non-frozen to seasonally frozen", GREEN),
    8: ("class unchanged, but significantly nearer to thaw", YELLOW),
    9: ("class unchanged", PALE_GREY),
}


def kind_of_significance(transition: Numbers, score: Numbers) -> Numbers:
    """Return codes of `SIGNIFICANCE`; 0 where there is no ground in either epoch.

    >>> kind_of_significance(np.uint8([12, 12, 11, 22, 45]), np.float32([-3, -1, -3, 1, np.nan])).tolist()
    [1, 2, 8, 9, 0]
    """
    codes = np.zeros(transition.shape, np.uint8)
    known = np.isfinite(score)
    sure = known & (np.abs(score) > SURE)
    codes[known] = 9
    codes[sure & (score < 0)] = 8
    kinds = {"permafrost_lost": (1, 2), "permafrost_gained": (3, 4), "frost_lost": (5, 6), "frost_gained": (7, 7)}
    for kind, which in KINDS.items():
        here = known & np.isin(transition, which)
        certain, doubtful = kinds[kind]
        codes[here] = np.where(sure, certain, doubtful)[here]
    return codes


def change_significance(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw where change is beyond the maps' errors."""
    maps = group_of(work, GROUP, schema.TRANSITION.name, schema.CHANGE_SCORE.name)
    if maps is None or work.recipe.epochs.target is None:
        return None
    codes = kind_of_significance(maps[schema.TRANSITION.name].to_numpy(), maps[schema.CHANGE_SCORE.name].to_numpy())
    present = set(np.unique(codes[sheet.inside]).tolist())
    patches = [patch(colour, name) for code, (name, colour) in SIGNIFICANCE.items() if code in present]
    patches += [patch(NO_VALUE_COLOUR, "lake, glacier or no data")] if 0 in present else []
    title = _title(work, "How sure the change is")
    figure, (axes,) = map_figure(work, sheet, title, 1, legend_rows=-(-len(patches) // 2))
    sheet.draw_colours(axes, codes, {code: colour for code, (_, colour) in SIGNIFICANCE.items()}, NO_VALUE_COLOUR)
    draw_legend(figure, patches, columns=2)
    return figure


def hot_spots(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the share of ground that degraded in each block, hot spots and rectangles."""
    columns = ("kind", "row", "column", "share", "spot")
    table = table_of(work, "change_blocks", *columns)
    maps = group_of(work, GROUP, schema.TRANSITION.name)
    if table is None or maps is None or work.recipe.epochs.target is None:
        return None
    pixels = compared(maps[schema.TRANSITION.name].to_numpy(), work.geobox)
    blocks = blocks_of(pixels, block_side(work.recipe.change.block_km, work.pixel_km))
    kinds = [kind for kind in KIND_TITLES if (table.loc[table["kind"] == kind, "share"] > 0).any()]
    if not kinds:
        return None
    what = "Where ground degraded" if len(kinds) > 1 else KIND_TITLES[kinds[0]]
    title = f"{_title(work, what)}, in blocks of {blocks.side:.0f} km"
    figure, panels = map_figure(work, sheet, title, len(kinds), bars=len(kinds), legend_rows=1)
    for axes, kind in zip(panels, kinds, strict=True):
        rows = table[table["kind"] == kind]
        share, spot = (np.full(work.geobox.shape, empty, np.float32) for empty in (np.nan, 0.0))
        for name, values in (("share", share), ("spot", spot)):
            grid = np.full(blocks.shape, np.nan if name == "share" else 0.0)
            grid[rows["row"], rows["column"]] = rows[name]
            values[pixels.row, pixels.col] = grid.ravel()[blocks.index]
        most = 100 * float(np.nanmax(share))
        image = sheet.draw_values(axes, 100 * share, cmap="YlOrBr", norm=Normalize(0, most))
        if len(kinds) > 1:
            axes.set_title(KIND_TITLES[kind])
        colour_bar(figure, image, [axes], "share of the block's ground [%]")
        _outline(axes, sheet, spot)
        _name_spots(axes, sheet, rows)
        for given in work.recipe.change.rectangles:
            if given.kind == kind:
                _rectangle(axes, sheet, given.bbox, given.name)
    lines = [Line2D([], [], color=BLACK, linewidth=1.4, label="hot spot (number as in the tables)")]
    if work.recipe.change.rectangles:
        lines.append(Line2D([], [], color=BLUE, linewidth=1.2, linestyle="--", label="rectangle of the recipe"))
    draw_legend(figure, lines, columns=2)
    return figure


def _outline(axes: Axes, sheet: MapSheet, spot: Numbers) -> None:
    paper = np.ma.filled(sheet.on_paper(spot), 0.0)
    if not paper.any():
        return
    for number in np.unique(paper[paper > 0]):
        inside = (paper == number).astype(np.float32)
        axes.contour(
            inside, levels=[0.5], colors=BLACK, linewidths=1.2, extent=sheet.extent, origin="upper", zorder=3.5
        )


def _name_spots(axes: Axes, sheet: MapSheet, rows: pd.DataFrame) -> None:
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for number, blocks in rows[rows["spot"] > 0].groupby("spot"):
        x, y = sheet.positions(blocks["longitude"].mean(), blocks["latitude"].mean())
        axes.text(
            float(x),
            float(y),
            f"{number:g}",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold",
            path_effects=halo,
            zorder=4,
        )


def _rectangle(axes: Axes, sheet: MapSheet, bbox: tuple[float, float, float, float], name: str) -> None:
    west, south, east, north = bbox
    along, up = np.linspace(west, east, 50), np.linspace(south, north, 50)
    longitude = np.concatenate([along, np.full(50, east), along[::-1], np.full(50, west)])
    latitude = np.concatenate([np.full(50, south), up, np.full(50, north), up[::-1]])
    x, y = sheet.positions(longitude, latitude)
    axes.plot(x, y, color=BLUE, linewidth=1.2, linestyle="--", zorder=3.6)
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.text(
        float(x[0]), float(y[0]), name, ha="left", va="bottom", fontsize=8, color=BLUE, path_effects=halo, zorder=4
    )


DRIVER_TITLES = {
    "ddf_change": "change of DDF",
    "ddt_change": "change of DDT",
    "ddt_ddf_ratio_change": "change of DDT / DDF",
    "e_change": "change of E",
    "frost_number_change": "change of F",
    "precipitation_change": "change of precipitation",
    "snow_cover_change": "change of snow cover",
    "ndvi_change": "change of NDVI",
    "elevation": "elevation",
    "slope": "slope",
}
UNITS = {"degC d": "°C d", "degC": "°C", "degree": "°", "1": "1"}


def drivers(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw boxes of what may have driven change, in degraded ground and in stable ground beside it."""
    columns = ("spot", "variable", "units", "group", "mean", "low", "q1", "median", "q3", "high")
    table = table_of(work, "drivers", *columns)
    if table is None or work.recipe.epochs.target is None:
        return None
    spots, variables = list(dict.fromkeys(table["spot"]))[:MOST_SPOTS], list(dict.fromkeys(table["variable"]))
    across = 2
    down = -(-len(variables) // across)
    figure = Figure(figsize=(WIDTH, 0.7 + (0.62 + 0.3 * len(spots)) * down), layout="constrained")
    headline(work, figure, _title(work, "Degraded ground, and stable ground beside it"))
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(variables):
            axes.set_axis_off()
            continue
        rows = table[table["variable"] == variables[number]]
        _boxes(axes, rows, spots)
        name, unit = variables[number], str(rows["units"].iloc[0])
        axes.set_xlabel(f"{DRIVER_TITLES.get(name, name.replace('_', ' '))} [{UNITS.get(unit, unit)}]", fontsize=8)
    handles = [patch(VERMILION, "degraded"), patch(PALE_BLUE, "stable, beside it")]
    mean = Line2D(
        [], [], marker="D", color=BLACK, markerfacecolor="white", markersize=4, linestyle="none", label="mean"
    )
    draw_legend(figure, [*handles, mean], columns=3)
    return figure


def _boxes(axes: Axes, rows: pd.DataFrame, spots: list[str]) -> None:
    for row in rows[rows["spot"].isin(spots)].to_dict("records"):
        degraded = row["group"] == DEGRADED
        place = spots.index(str(row["spot"])) + (-0.18 if degraded else 0.18)
        axes.hlines(place, row["low"], row["high"], color=INK, linewidth=0.7, zorder=1)
        axes.plot([row["low"], row["high"]], [place] * 2, "|", color=INK, markersize=5, markeredgewidth=0.7, zorder=1)
        colour = VERMILION if degraded else PALE_BLUE
        axes.barh(
            place,
            row["q3"] - row["q1"],
            height=0.3,
            left=row["q1"],
            color=colour,
            edgecolor=INK,
            linewidth=0.7,
            zorder=2,
        )
        axes.vlines(row["median"], place - 0.15, place + 0.15, color=BLACK, linewidth=1.4, zorder=3)
        axes.plot(row["mean"], place, "D", color=BLACK, markerfacecolor="white", markersize=3.5, zorder=4)
    axes.set_yticks(range(len(spots)), spots)
    axes.set_ylim(len(spots) - 0.5, -0.5)
    if rows["low"].min() < 0 < rows["high"].max() and str(rows["variable"].iloc[0]).endswith("_change"):
        axes.axvline(0.0, color=INK, linewidth=0.6, linestyle=":", zorder=0)
    bare(axes)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def single_years(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw in how many single years ground is permafrost, for epochs of several."""
    frozen = by_epoch(work, "single_years", schema.YEARS_PERMAFROST.name)
    ground = by_epoch(work, "frozen_ground", schema.FROZEN_GROUND.name)
    counts = {epoch: len(work.recipe.degree_years(epoch)) for epoch in frozen}
    shown = {epoch: values for epoch, values in frozen.items() if counts[epoch] > 1 and epoch in ground}
    if not shown:
        return None
    figure, panels = map_figure(work, sheet, "Years in which ground is permafrost", len(shown), bars=len(shown))
    for axes, (epoch, values) in zip(panels, shown.items(), strict=True):
        n = counts[epoch]
        land = np.isin(ground[epoch], (PERMAFROST, SEASONALLY_FROZEN)) & (values != schema.YEARS_PERMAFROST.fill_value)
        years = np.where(land, values.astype(np.float32), np.float32(np.nan))
        norm = BoundaryNorm(np.arange(n + 2) - 0.5, 256)
        image = sheet.draw_values(axes, years, cmap="RdYlBu", norm=norm)
        axes.set_title(epoch_title(work, epoch))
        bar = figure.colorbar(
            image, ax=[axes], location="bottom", label=f"years of {n} [1]", shrink=0.7, aspect=36, pad=0.02
        )
        bar.set_ticks(list(range(n + 1)))
    return figure
