"""Charts as the paper shows them: stations against E, drivers of change, E of the unconstrained network."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from frostmap.kernels.network import predict
from frostmap.pipeline import networks, predictors
from frostmap.pipeline.figures.change import DRIVER_TITLES, UNITS
from frostmap.pipeline.figures.contents import epoch_title, group_of, label_of, table_of
from frostmap.pipeline.figures.layout import bare, chart_figure, colour_bar, draw_legend, headline, map_figure, patch
from frostmap.pipeline.figures.palette import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    PURPLE,
    VERMILION,
    WIDTH,
    YELLOW,
)
from frostmap.pipeline.map_sheets import INK, MapSheet
from frostmap.pipeline.work import Work

# ---- stations ------------------------------------------------------------------------------------------------------

VERDICTS = {"permafrost": BLUE, "seasonally frozen": YELLOW, "non-frozen": VERMILION, "depends on E": "white"}


def stations(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw stations by their own sums of the ground, and which class these allow whatever E may be."""
    table = table_of(work, "station_evidence", "name", "ddf", "ddt", "station_says", "map_agrees", "mapped")
    if table is None:
        return None
    epoch = list(work.recipe.epochs.named())[-1]
    title = f"Degree-day sums measured at weather stations, {epoch_title(work, epoch)}"
    figure, axes = chart_figure(work, title, height=5.2)
    bounds = work.recipe.calibration
    far = 1.06 * float(table["ddt"].max())
    high = 1.12 * max(float(table["ddf"].max()), 100.0)
    ddt = np.linspace(0, far, 50)
    axes.fill_between(ddt, bounds.lower**2 * ddt, bounds.upper**2 * ddt, color=PALE_GREY, linewidth=0, zorder=1)
    for e, style in ((bounds.lower, ":"), (1.0, "-"), (bounds.upper, ":")):
        axes.plot(ddt, e**2 * ddt, color=INK, linewidth=0.8, linestyle=style, zorder=2)
        x = min(far, high / e**2)
        axes.annotate(f"E = {e:g}", (x, e**2 * x), textcoords="offset points", xytext=(-3, 3), ha="right", fontsize=7.5)
    for verdict, colour in VERDICTS.items():
        rows = table[table["station_says"] == verdict]
        for wrong, edge, width in ((False, INK, 0.7), (True, PURPLE, 2.0)):
            some = rows[(rows["map_agrees"] == "no") == wrong]
            axes.scatter(
                some["ddt"], some["ddf"], s=34, color=colour, edgecolors=edge, linewidths=width, zorder=3 + wrong
            )
    _name_stations(axes, table[table["map_agrees"] == "no"].head(12), far, high)
    handles = [
        Line2D([], [], marker="o", linestyle="none", markerfacecolor=colour, markeredgecolor=INK, markersize=6,
               label=f"{verdict} ({int((table['station_says'] == verdict).sum())})")
        for verdict, colour in VERDICTS.items()
    ]  # fmt: skip
    handles.append(
        Line2D([], [], marker="o", linestyle="none", markerfacecolor="white", markeredgecolor=PURPLE, markersize=6,
               markeredgewidth=2, label=f"map says otherwise ({int((table['map_agrees'] == 'no').sum())})")
    )  # fmt: skip
    axes.set(xlim=(0, far), ylim=(0, high), xlabel="thawing sum DDT [°C d]", ylabel="freezing sum DDF [°C d]")
    bare(axes)
    draw_legend(figure, [*handles, patch(PALE_GREY, "either, by E within its bounds")], columns=3)
    return figure


def _name_stations(axes: Axes, table: pd.DataFrame, far: float, high: float) -> None:
    """Write stations' names beside their dots, one above the other where dots are close, inwards near the edge."""
    before, up = (-np.inf, -np.inf), 0
    for row in table.sort_values("ddt").to_dict("records"):
        ddt, ddf = float(row["ddt"]), float(row["ddf"])
        name = str(row["name"] if isinstance(row["name"], str) and row["name"] else row["station"])
        up = up + 1 if ddt - before[0] < 0.2 * far and abs(ddf - before[1]) < 0.05 * high else 0
        inwards = ddt > 0.8 * far
        axes.annotate(
            name,
            (ddt, ddf),
            textcoords="offset points",
            xytext=(-6 if inwards else 6, 5 + 9 * up),
            ha="right" if inwards else "left",
            fontsize=7,
        )
        before = ddt, ddf


# ---- drivers -------------------------------------------------------------------------------------------------------

GROUPS = {"degraded": VERMILION, "stable beside it": PALE_BLUE}
MOST_PANELS = 8
CHANGE = "_change"
"""How variables end that are differences of the epochs: of these zero means something."""


def drivers(work: Work, _sheet: MapSheet, *, kind: str, words: str) -> Figure | None:
    """Draw boxes of what may have driven change: degraded ground of a hot spot, and stable ground beside it."""
    boxes = table_of(
        work, "drivers", "spot", "variable", "units", "group", "n", "mean", "low", "q1", "median", "q3", "high"
    )
    spots = table_of(work, "hot_spots", "spot", "kind", "found_by", "changed_km2")
    if boxes is None or spots is None:
        return None
    known = spots[(spots["kind"] == kind) & spots["spot"].isin(boxes["spot"])]
    if known.empty:
        return None
    spot = known.assign(named=known["found_by"] == "rectangle").sort_values(["named", "changed_km2"])["spot"].iloc[-1]
    shown = boxes[boxes["spot"] == spot]
    effects = table_of(work, "driver_effects", "spot", "variable", "delta")
    variables = list(dict.fromkeys(shown["variable"]))[:MOST_PANELS]
    columns = min(4, len(variables))
    down = -(-len(variables) // columns)
    figure = Figure(figsize=(WIDTH, 0.8 + 2.5 * down), layout="constrained")
    headline(work, figure, f"Ground where {words}, and stable ground beside it")
    panels = figure.subplots(down, columns, squeeze=False)
    for number, axes in enumerate(panels.flat):
        if number >= len(variables):
            axes.set_axis_off()
            continue
        rows = shown[shown["variable"] == variables[number]].set_index("group")
        _boxes(axes, rows, variables[number])
        if effects is not None:
            found = effects[(effects["spot"] == spot) & (effects["variable"] == variables[number])]
            if len(found):
                delta = f"{float(found['delta'].iloc[0]):+.2f}".replace("-", "−")
                axes.set_title(f"Cliff's delta {delta}", fontsize=8)
    names = {
        group: int(shown.loc[shown["group"] == group, "n"].max()) for group in GROUPS if (shown["group"] == group).any()
    }
    handles: list[Any] = [patch(GROUPS[group], f"{group} (n = {count:,})") for group, count in names.items()]
    handles.append(Line2D([], [], marker="D", linestyle="none", color=BLACK, markersize=4, label="mean"))
    handles.append(Line2D([], [], linestyle="none", label=f"hot spot: {spot}"))
    draw_legend(figure, handles, columns=4)
    return figure


def _boxes(axes: Any, rows: pd.DataFrame, variable: str) -> None:
    groups = [group for group in GROUPS if group in rows.index]
    stats: list[dict[str, Any]] = [
        {"med": row["median"], "q1": row["q1"], "q3": row["q3"], "whislo": row["low"], "whishi": row["high"],
         "mean": row["mean"], "fliers": []}
        for row in (rows.loc[group] for group in groups)
    ]  # fmt: skip
    drawn = axes.bxp(
        stats, showmeans=True, showfliers=False, patch_artist=True, widths=0.6,
        medianprops={"color": BLACK, "linewidth": 1.4},
        meanprops={"marker": "D", "markerfacecolor": BLACK, "markeredgecolor": "white", "markersize": 5},
    )  # fmt: skip
    for box, group in zip(drawn["boxes"], groups, strict=True):
        box.set(facecolor=GROUPS[group], edgecolor=INK, linewidth=0.8)
    axes.set_xticks([])
    unit = str(rows["units"].iloc[0])
    label = f"{DRIVER_TITLES.get(variable, variable.replace('_', ' '))} [{UNITS.get(unit, unit)}]"
    axes.set_ylabel(textwrap.fill(label, 26), fontsize=8)
    if variable.endswith(CHANGE):
        axes.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    bare(axes)


def signs_of_e(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw, for the degraded ground of each hot spot, where E rose and where it fell, and how precipitation changed."""
    table = table_of(work, "driver_soil", "spot", "e", "pixels", "share")
    if table is None:
        return None
    names = [name for name in ("precipitation_change", "snow_cover_change", "ndvi_change") if name in table.columns]
    titles = {
        "precipitation_change": "precipitation, median change [mm]",
        "snow_cover_change": "snow cover, median change [%]",
        "ndvi_change": "NDVI, median change [1]",
    }
    spots = list(dict.fromkeys(table["spot"]))[:12]
    figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(spots)), layout="constrained")
    headline(work, figure, "Degraded ground by whether E rose or fell")
    panels = figure.subplots(1, 1 + len(names), sharey=True, squeeze=False)[0]
    places = np.arange(len(spots))
    for axes, (column, label) in zip(
        panels, {"share": "share of pixels [%]", **{n: titles[n] for n in names}}.items(), strict=True
    ):
        for offset, (word, colour) in zip((-0.2, 0.2), {"rose": ORANGE, "fell": BLUE}.items(), strict=True):
            rows = table[table["e"] == word].set_index("spot").reindex(spots)
            values = rows[column].to_numpy(np.float64) * (100 if column == "share" else 1)
            axes.barh(places + offset, values, 0.38, color=colour, label=f"E {word}")
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_xlabel(textwrap.fill(label, 24), fontsize=8)
        bare(axes)
    panels[0].set_yticks(places, spots)
    panels[0].invert_yaxis()
    draw_legend(figure, [patch(ORANGE, "E rose"), patch(BLUE, "E fell")], columns=2)
    return figure


# ---- the network that nothing holds --------------------------------------------------------------------------------

UNCONSTRAINED = "unconstrained"
EDGES = np.linspace(0.0, 2.0, 41)


def free_e(work: Work) -> npt.NDArray[np.float32] | None:
    """Return E all over the map by the network that was trained as the paper's; None where there is none."""
    folder = work.folder / "experiments" / "network" / UNCONSTRAINED
    cube = group_of(work, "covariates/training", *predictors.NAMES)
    if cube is None or not (folder / "network.npz").exists():
        return None
    kept = networks.load(folder, predictors.NAMES)
    e = predict(kept.network, predictors.matrix(cube).T).e.reshape(work.shape)
    e[~work.inside] = np.nan
    return e


def free_e_shares(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw how E of the unconstrained network is distributed all over the map, beside its bounds."""
    e = free_e(work)
    if e is None:
        return None
    known = e[np.isfinite(e)]
    count, _ = np.histogram(known, EDGES)
    above = 100 * float(np.mean(known > EDGES[-1]))
    figure, axes = chart_figure(work, "E of an unconstrained network, all over the map", height=3.6)
    bounds = work.recipe.calibration
    axes.axvspan(bounds.lower, bounds.upper, color=PALE_GREY, zorder=0, label="bounds of the calibration")
    axes.bar(
        EDGES[:-1], 100 * count / known.size, np.diff(EDGES), align="edge", color=VERMILION, edgecolor="white", lw=0.3
    )
    axes.set(xlabel="E [1]", ylabel="pixels [%]", xlim=(0, 2))
    axes.set_title(
        f"{100 - above:.1f} % of {known.size:,} pixels up to 2; {above:.1f} % between 2 and {known.max():.0f}"
    )
    axes.legend(loc="upper right")
    bare(axes)
    return figure


def free_e_map(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw E of the unconstrained network as a map, on a logarithmic scale."""
    e = free_e(work)
    if e is None:
        return None
    figure, (axes,) = map_figure(work, sheet, f"E of an unconstrained network, {label_of(work, 'training')}", 1, bars=1)
    image = sheet.draw_values(axes, np.where(e > 0, e, np.nan), cmap="RdBu_r", norm=LogNorm(0.1, 10))
    bounds = work.recipe.calibration
    label = f"E [1]; the calibration holds it between {bounds.lower:g} and {bounds.upper:g}"
    colour_bar(figure, image, [axes], label, extend="both")
    return figure
