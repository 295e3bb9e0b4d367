"""Figures of a run: whatever its work directory has the data for, as PNG files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from frostmap.catalogs.collections import load_collection
from frostmap.kernels.frost_number import (
    CLASS_NAMES,
    GLACIER,
    LAKE,
    NO_CLASS,
    NON_FROZEN,
    PERMAFROST,
    SEASONALLY_FROZEN,
)
from frostmap.pipeline import schema
from frostmap.pipeline.completeness import sources_asked
from frostmap.pipeline.map_sheets import INK, NO_VALUE_COLOUR, MapSheet, map_sheet
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Epoch
from frostmap.pipeline.stage import all_years
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import PRODUCTS, Work, days_in

Numbers = npt.NDArray[Any]

DOTS_PER_INCH = 150
WIDTH = 8.5
"""Width of every figure [inch]."""

STYLE: Any = {  # matplotlib's own type names each of its settings
    "axes.edgecolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": DOTS_PER_INCH,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}

# Okabe and Ito (2008), Color universal design: told apart by all kinds of colour vision
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
PALE_BLUE, PALE_GREY, GREY = "#a9cfe6", "#ececec", "#8c8c8c"

CLASS_COLOURS = {
    PERMAFROST: BLUE,
    SEASONALLY_FROZEN: YELLOW,
    NON_FROZEN: VERMILION,
    GLACIER: SKY_BLUE,
    LAKE: BLACK,
}

STAMP = "simulated data"
"""What every figure says whose input is simulated."""


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


def draw_all(work: Work) -> list[Path]:
    """Draw every figure that the work directory has the data for; return their paths."""
    paths = (draw_to_file(drawing.name, work) for drawing in FIGURES)
    return [path for path in paths if path is not None]


def draw_to_file(name: str, work: Work) -> Path | None:
    """Draw one of `FIGURES` into the work directory; return its path, or None where the data is not there."""
    drawing = next(drawing for drawing in FIGURES if drawing.name == name)
    folder = work.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure = draw(drawing, work, map_sheet(work))
    if figure is None:
        path.unlink(missing_ok=True)  # an earlier run may have had the data
        return None
    draft = path.with_suffix(".draft")
    with mpl.rc_context(STYLE):
        figure.savefig(draft, format="png", metadata={"Software": None})
    draft.replace(path)
    return path


def draw(drawing: Drawing, work: Work, sheet: MapSheet) -> Figure | None:
    """Return one figure in the house's style, or None where the work directory lacks the data."""
    with mpl.rc_context(STYLE):
        return drawing.function(work, sheet)


# ---- maps of classes --------------------------------------------------------------------------------------------


def frozen_ground(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the classes of each epoch."""
    maps = _by_epoch(work, "frozen_ground", "frozen_ground")
    if not maps:
        return None
    figure, panels = _map_figure(work, sheet, "Frozen ground", len(maps), legend_rows=1)
    present: set[int] = set()
    for axes, (epoch, codes) in zip(panels, maps.items(), strict=True):
        sheet.draw_colours(axes, codes, CLASS_COLOURS, NO_VALUE_COLOUR)
        axes.set_title(_epoch_title(work, epoch))
        present |= set(np.unique(codes[sheet.inside]).tolist())
    _class_legend(figure, present)
    return figure


STABLE_PERMAFROST, LOST, GAINED, THAWED, REFROZEN, STABLE_FROZEN, STABLE_NON_FROZEN, MASKED = range(8)
CHANGES = {
    STABLE_PERMAFROST: ("permafrost in both", PALE_BLUE),
    LOST: ("permafrost lost", VERMILION),
    GAINED: ("permafrost gained", BLUE),
    THAWED: ("seasonally frozen to non-frozen", PURPLE),
    REFROZEN: ("non-frozen to seasonally frozen", GREEN),
    STABLE_FROZEN: ("seasonally frozen in both", PALE_GREY),
    STABLE_NON_FROZEN: ("non-frozen in both", "#c4c4c4"),
    MASKED: ("glacier or lake in either", GREY),
}


def kind_of_change(before: Numbers, after: Numbers) -> npt.NDArray[np.uint8]:
    """Return what became of each pixel, codes of `CHANGES`; 255 where either map has no class.

    Examples
    --------
    >>> kind_of_change(np.array([1, 1, 2, 5, 255]), np.array([1, 2, 1, 1, 1])).tolist()
    [0, 1, 2, 7, 255]
    """
    kinds = {
        (PERMAFROST, PERMAFROST): STABLE_PERMAFROST,
        (PERMAFROST, SEASONALLY_FROZEN): LOST,
        (PERMAFROST, NON_FROZEN): LOST,
        (SEASONALLY_FROZEN, PERMAFROST): GAINED,
        (NON_FROZEN, PERMAFROST): GAINED,
        (SEASONALLY_FROZEN, NON_FROZEN): THAWED,
        (NON_FROZEN, SEASONALLY_FROZEN): REFROZEN,
        (SEASONALLY_FROZEN, SEASONALLY_FROZEN): STABLE_FROZEN,
        (NON_FROZEN, NON_FROZEN): STABLE_NON_FROZEN,
    }
    change = np.full(before.shape, 255, dtype=np.uint8)
    for (first, second), kind in kinds.items():
        change[(before == first) & (after == second)] = kind
    known = np.isin(before, list(CLASS_COLOURS)) & np.isin(after, list(CLASS_COLOURS))
    change[known & (np.isin(before, (GLACIER, LAKE)) | np.isin(after, (GLACIER, LAKE)))] = MASKED
    return change


def change(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw what became of each pixel between the epochs."""
    maps = _by_epoch(work, "frozen_ground", "frozen_ground")
    if len(maps) < 2:
        return None
    before, after = maps["training"], maps["target"]
    kinds = kind_of_change(before, after)
    title = f"Change of frozen ground, {_label(work, 'training')} to {_label(work, 'target')}"
    present = set(np.unique(kinds[sheet.inside]).tolist())
    patches = [_patch(colour, name) for kind, (name, colour) in CHANGES.items() if kind in present]
    patches += [_patch(NO_VALUE_COLOUR, "no data")] if 255 in present else []
    figure, (axes,) = _map_figure(work, sheet, title, 1, legend_rows=-(-len(patches) // 3))
    sheet.draw_colours(axes, kinds, {kind: colour for kind, (_, colour) in CHANGES.items()}, NO_VALUE_COLOUR)
    _legend(figure, patches, columns=3)
    return figure


def boreholes(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw boreholes on the map that they judge."""
    sites = _table(work, "boreholes", "longitude", "latitude", "observed", "mapped")
    maps = _by_epoch(work, "frozen_ground", "frozen_ground")
    if sites is None or not maps:
        return None
    sites = sites[sites["mapped"].notna()]  # the others lie outside the map
    epoch, codes = list(maps.items())[-1]
    title = f"Boreholes on the map of {_label(work, epoch)}"
    figure, (axes,) = _map_figure(work, sheet, title, 1, legend_rows=4)
    pale = {code: _pale(colour) for code, colour in CLASS_COLOURS.items()}
    sheet.draw_colours(axes, codes, pale, NO_VALUE_COLOUR)
    observed, mapped = is_permafrost(sites["observed"]), is_permafrost(sites["mapped"])
    x, y = sheet.positions(sites["longitude"], sites["latitude"])
    handles: list[Line2D | Patch] = []
    for seen, marker, what in ((True, "o", "permafrost observed"), (False, "s", "no permafrost observed")):
        for drawn, colour, verdict in ((seen, "white", "map agrees"), (not seen, PURPLE, "map disagrees")):
            here = (observed == seen) & (mapped == drawn)
            label = f"{what}, {verdict} ({int(here.sum())})"
            style: dict[str, Any] = {
                "marker": marker,
                "markerfacecolor": colour,
                "markeredgecolor": BLACK,
                "markeredgewidth": 0.9,
                "markersize": 5.5 if drawn == seen else 7.5,
                "linestyle": "none",
            }
            axes.plot(x[here], y[here], zorder=5 + (drawn != seen), **style)
            handles.append(Line2D([], [], label=label, **style))
    present = set(np.unique(codes[sheet.inside]).tolist())
    classes = [_patch(colour, CLASS_NAMES[code]) for code, colour in pale.items() if code in present]
    _legend(figure, [*handles, *classes], columns=2)
    return figure


# ---- maps of numbers --------------------------------------------------------------------------------------------


def forcing(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the degree-day sums of each epoch."""
    sums = {name: _by_epoch(work, "forcing", name) for name in ("ddf", "ddt")}
    if not any(sums.values()):
        return None
    epochs = list(sums["ddf"] or sums["ddt"])
    figure, panels = _map_figure(work, sheet, "Freezing and thawing degree days", 2 * len(epochs), columns=2, bars=1)
    titles = {"ddf": "Freezing (DDF)", "ddt": "Thawing at the ground (DDT)"}
    for column, (name, maps) in enumerate(sums.items()):
        drawn = panels[column::2]
        norm = _robust(maps.values(), sheet, lowest=0)
        for axes, epoch in zip(drawn, epochs, strict=True):
            image = sheet.draw_values(axes, maps[epoch], cmap="cividis", norm=norm)
            axes.set_title(f"{titles[name]}, {_label(work, epoch)}")
        _colour_bar(figure, image, drawn, "mean annual sum [°C d]", extend="max")
    return figure


def forcing_change(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the difference of the degree-day sums between the epochs."""
    sums = {name: _by_epoch(work, "forcing", name) for name in ("ddf", "ddt")}
    if any(len(maps) < 2 for maps in sums.values()):
        return None
    title = f"Change of the degree days, {_label(work, 'target')} minus {_label(work, 'training')}"
    figure, panels = _map_figure(work, sheet, title, 2, columns=2, bars=1)
    differences = {name: maps["target"] - maps["training"] for name, maps in sums.items()}
    norm = _diverging(differences.values(), sheet)
    names = {"ddf": ("Freezing (DDF)", "RdBu"), "ddt": ("Thawing at the ground (DDT)", "RdBu_r")}
    for axes, (name, difference) in zip(panels, differences.items(), strict=True):
        text, cmap = names[name]  # red is towards thaw in both
        image = sheet.draw_values(axes, difference, cmap=cmap, norm=norm)
        axes.set_title(text)
        _colour_bar(figure, image, [axes], "change of the mean annual sum [°C d]", extend="both")
    return figure


def soil_parameter(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw E of each epoch, and their difference."""
    groups: dict[str, str] = {epoch: e_group(work.recipe, epoch) for epoch in work.recipe.epochs.named()}
    maps = {
        epoch: cube["e"].to_numpy().astype(np.float32)
        for epoch, group in groups.items()
        if (cube := _group(work, group, "e")) is not None
    }
    if not maps:
        return None
    count = 3 if len(maps) == 2 else 1
    figure, panels = _map_figure(work, sheet, "Soil parameter E", count, bars=count - count // 2)
    norm = _robust(maps.values(), sheet)
    how = {
        epoch: "predicted by the forest" if group.startswith("transfer") else "calibrated on the surveyed maps"
        for epoch, group in groups.items()
    }
    for axes, (epoch, values) in zip(panels, maps.items(), strict=False):
        image = sheet.draw_values(axes, values, cmap="viridis", norm=norm)
        axes.set_title(f"{_epoch_title(work, epoch)}, {how[epoch]}")
    _colour_bar(figure, image, panels[: len(maps)], "E [1]", extend="both")
    if len(maps) == 2:
        difference = maps["target"] - maps["training"]
        image = sheet.draw_values(panels[2], difference, cmap="RdBu_r", norm=_diverging([difference], sheet))
        panels[2].set_title(f"{_label(work, 'target')} minus {_label(work, 'training')}")
        _colour_bar(figure, image, panels[2:], "difference of E [1]", extend="both")
    return figure


def frost_number(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the frost number of each epoch."""
    maps = _by_epoch(work, "frozen_ground", "frost_number")
    if not maps:
        return None
    figure, panels = _map_figure(work, sheet, "Frost number F", len(maps), bars=1)
    spread = float(np.nanmax([_percentile(np.abs(values - 0.5), sheet, 99) for values in maps.values()]))
    norm = TwoSlopeNorm(0.5, max(0.0, 0.5 - spread), min(1.0, 0.5 + spread)) if spread > 0 else TwoSlopeNorm(0.5, 0, 1)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="RdBu", norm=norm)
        axes.set_title(_epoch_title(work, epoch))
    _colour_bar(figure, image, panels, "F [1]; permafrost above 0.5", extend="both")
    return figure


def covariates(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the predictors of E in the last epoch that has them."""
    epochs = [epoch for epoch in work.recipe.epochs.named() if _group(work, f"covariates/{epoch}") is not None]
    if not epochs:
        return None
    cube = work.open(f"covariates/{epochs[-1]}")
    shown = [variable for variable in schema.PREDICTORS if variable.name in cube]
    title = f"Predictors of E, {_label(work, epochs[-1])}"
    figure, panels = _map_figure(work, sheet, title, len(shown), columns=2, bars=-(-len(shown) // 2))
    for axes, variable in zip(panels, shown, strict=True):
        values = cube[variable.name].to_numpy()
        image = sheet.draw_values(axes, values, cmap="cividis", norm=_robust([values], sheet))
        axes.set_title(variable.long_name)
        unit = "" if variable.units == "1" else f"[{variable.units}]"
        _colour_bar(figure, image, [axes], unit, extend="both")
    return figure


def masks(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw how much of each pixel is lake or glacier, in each epoch."""
    shown = {
        (epoch, variable): values
        for variable in (schema.LAKES, schema.GLACIERS)
        for epoch, values in _by_epoch(work, "masks", variable.name).items()
        if np.any(values[sheet.inside] > 0)
    }
    if not shown:
        return None
    figure, panels = _map_figure(work, sheet, "Lakes and glaciers", len(shown), columns=min(2, len(shown)), bars=1)
    for axes, ((epoch, variable), values) in zip(panels, shown.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="Blues", norm=Normalize(0, 1))
        axes.set_title(f"{variable.name.capitalize()}, {_label(work, epoch)}")
    _colour_bar(figure, image, panels, "share of a pixel [1]")
    return figure


# ---- granules ---------------------------------------------------------------------------------------------------

PRESENT, FROM_ANOTHER, BAD, OUTAGE, MISSING = range(5)
GRANULE_STATES = {
    PRESENT: ("present", PALE_BLUE),
    FROM_ANOTHER: ("present, from another source", BLUE),
    BAD: ("could not be had or read", BLACK),
    OUTAGE: ("missing, known outage", YELLOW),
    MISSING: ("missing", VERMILION),
}
"""What may have become of a granule; light is as it should be or explained."""

GRANULE_TABLES = {"lst": "granules", "ndvi": "composites"}
"""Tables of what became of granules, by kind, each followed by its year."""

EXPLAINED = "known outage: "
"""How the error of a granule begins that cannot exist."""


def granule_states(work: Work, kind: str) -> pd.DataFrame:
    """Return the tables of a kind of granules (lst, ndvi) as one, with the year and the state of each granule.

    Returns
    -------
    pandas.DataFrame
        With the columns year and state (of `GRANULE_STATES`) beside those of the tables; without rows where there is
        no table.
    """
    columns = ("id", "product", "tile", "date", "source", "status", "error")
    found = []
    for year in all_years(work.recipe):
        table = _table(work, f"{GRANULE_TABLES[kind]}-{year}", *columns)
        if table is not None:
            found.append(table.assign(year=year))
    if not found:
        return pd.DataFrame(columns=[*columns, "year", "state"])
    table = pd.concat(found, ignore_index=True)
    words = ["id", "source", "error"]
    table[words] = table[words].astype(object).fillna("")  # a column without any word is read as numbers
    first = sources_asked(work.recipe, kind)[:1]
    explained = table["error"].str.startswith(EXPLAINED)
    states = {
        PRESENT: (table["status"] == "ok") & (table["source"].isin(["", *first])),
        FROM_ANOTHER: table["status"] == "ok",
        BAD: table["status"] == "bad",
        OUTAGE: explained,
    }
    return table.assign(state=np.select(list(states.values()), list(states), MISSING))


def granules(work: Work, _sheet: MapSheet, *, product: str, kind: str) -> Figure | None:
    """Draw what became of each granule of a product: dates along x, tiles and years along y."""
    collection = load_collection(product)
    table = granule_states(work, kind)
    table = table[table["product"] == collection.product]
    if table.empty:
        return None
    rows = sorted(set(zip(table["tile"], table["year"], strict=True)))
    columns = -(-366 // collection.days)
    row = {place: number for number, place in enumerate(rows)}
    states = np.full((len(rows), columns), -1)
    across = (pd.to_datetime(table["date"]).dt.day_of_year - 1) // collection.days
    states[[row[place] for place in zip(table["tile"], table["year"], strict=True)], across] = table["state"]

    figure, axes = _chart_figure(work, f"Granules of {collection.product}", height=1.45 + 0.17 * len(rows))
    axes.imshow(
        np.ma.masked_less(states, 0),
        cmap=ListedColormap([colour for _, colour in GRANULE_STATES.values()]),
        norm=Normalize(0, len(GRANULE_STATES) - 1),
        extent=(0.5, columns + 0.5, len(rows) - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
    )
    for number in range(1, len(rows)):
        new_tile = rows[number][0] != rows[number - 1][0]
        axes.axhline(number - 0.5, color=INK if new_tile else "white", linewidth=0.6)
    if collection.days == 1:
        axes.set_xlabel("day of the year")
        axes.set_xticks([1, *range(30, 361, 30)])
    else:
        axes.set_xlabel(f"composite of {collection.days} days")
        axes.set_xticks(range(1, columns + 1, 2))
    axes.set_ylabel("tile and year")
    axes.set_yticks(range(len(rows)), [f"{tile} {year}" for tile, year in rows])
    axes.tick_params(axis="y", length=0, labelsize=7)
    counts = table["state"].value_counts()
    patches = [
        _patch(colour, f"{name} ({counts[state]:,})")
        for state, (name, colour) in GRANULE_STATES.items()
        if state in counts.index
    ]
    _legend(figure, patches, columns=3)
    return figure


# ---- observations and gaps --------------------------------------------------------------------------------------

OVERPASS_TITLES = dict(zip(schema.OVERPASSES, ("Terra, day", "Aqua, day", "Terra, night", "Aqua, night"), strict=True))


def observed_days(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the share of days with a trusted observation, by overpass, in the last epoch that has observations."""
    counts = {
        epoch: cube["clear_observations"].to_numpy()
        for epoch in work.recipe.epochs.named()
        if (cube := _group(work, f"annual_cycle/{epoch}", "clear_observations")) is not None
    }
    if not counts:
        return None
    epoch, observations = list(counts.items())[-1]
    years = work.recipe.epochs.named()[epoch].years
    share = 100.0 * observations / sum(days_in(year) for year in years)
    title = f"Days with a trusted observation, {_label(work, epoch)}"
    figure, panels = _map_figure(work, sheet, title, 4, columns=2, bars=1)
    norm = Normalize(0, max(10.0, np.ceil(_percentile(share.max(axis=0), sheet, 99) / 10) * 10))
    for axes, name, values in zip(panels, OVERPASS_TITLES.values(), share, strict=True):
        image = sheet.draw_values(axes, values, cmap="cividis", norm=norm)
        axes.set_title(f"{name}: mean {np.mean(values[sheet.inside]):.0f} %")
    _colour_bar(figure, image, panels, "days observed [%]")
    return figure


def gap_filling(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw one day before and after the gaps are filled, how sure each value is, and what the sky was."""
    year = str(max(list(work.recipe.epochs.named().values())[-1].years))
    kept = _group(work, f"observations/{year}", "lst")
    filled = _group(work, f"gap_filling/{year}", "lst", "sigma", "fill_flag")
    if kept is None or filled is None:
        return None
    overpass = schema.OVERPASSES.index("terra_day")
    day = _half_clouded_day(kept["lst"][:, overpass], sheet)
    before, after = (_celsius(cube["lst"][day, overpass].to_numpy()) for cube in (kept, filled))
    flag = filled["fill_flag"][day, overpass].to_numpy()
    sigma = filled["sigma"][day, overpass].to_numpy().astype(np.float32)
    date = str(kept["time"].to_numpy()[day])[:10]
    title = f"Land surface temperature of one overpass, {date}"
    figure, panels = _map_figure(work, sheet, title, 4, columns=2, bars=2, legend_rows=2)
    norm = _robust([after], sheet)
    observed = np.isfinite(before[sheet.inside]).mean()
    for axes, values, text in (
        (panels[0], before, f"Terra, day, as kept: {100 * observed:.0f} % observed"),
        (panels[1], after, "the same overpass with its gaps filled"),
    ):
        image = sheet.draw_values(axes, values, cmap="viridis", norm=norm)
        axes.set_title(text)
    _colour_bar(figure, image, panels[:2], "land surface temperature [°C]", extend="both")
    widest = Normalize(0, max(1.0, np.ceil(_percentile(sigma, sheet, 99))))
    image = sheet.draw_values(panels[2], sigma, cmap="magma", norm=widest)
    panels[2].set_title("standard error")
    _colour_bar(figure, image, panels[2:3], "standard error [K]", extend="max")
    origin = np.where(flag == schema.FILL_FLAG.fill_value, 255, np.where(flag & 8, 8, flag & 7))
    sheet.draw_colours(panels[3], origin, {code: colour for code, (_, colour) in ORIGINS.items()}, NO_VALUE_COLOUR)
    panels[3].set_title("where each value comes from")
    present = set(np.unique(origin[sheet.inside]).tolist())
    _legend(figure, [_patch(colour, name) for code, (name, colour) in ORIGINS.items() if code in present], columns=3)
    return figure


ORIGINS = {
    0: ("observed", PALE_BLUE),
    6: ("observed amid clouds", SKY_BLUE),
    3: ("observed in the shadow of a cloud", BLUE),
    7: ("observed in shadow, amid clouds", VERMILION),
    1: ("similar pixels: cloud, sunlit below", YELLOW),
    2: ("similar pixels: cloud, shaded below", ORANGE),
    4: ("similar pixels: cloud at night", ORANGE),
    5: ("similar pixels: no swath", GREEN),
    8: ("the pixel's own seasons", PURPLE),
    255: ("missing", NO_VALUE_COLOUR),
}
"""Names and colours of where a filled value comes from: the sky class, 8 where the annual cycle was taken."""


def quality(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the share of looks that were kept: months along x, tiles and years along y, one panel an overpass."""
    tables = [
        _table(work, f"quality-{year}", "year", "tile", "overpass", "month", "kept") for year in all_years(work.recipe)
    ]
    found = [table for table in tables if table is not None and len(table)]
    if not found:
        return None
    table = pd.concat(found)
    rows = sorted(set(zip(table["tile"], table["year"], strict=True)))
    figure = Figure(figsize=(WIDTH, 1.9 + 2 * (0.75 + 0.17 * len(rows))), layout="constrained")
    _headline(work, figure, "Observations kept, of all looks at the ground")
    panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    row = {place: number for number, place in enumerate(rows)}
    for axes, (overpass, name) in zip(panels, OVERPASS_TITLES.items(), strict=True):
        own = table[table["overpass"] == overpass]
        share = np.full((len(rows), 12), np.nan)
        share[[row[place] for place in zip(own["tile"], own["year"], strict=True)], own["month"] - 1] = (
            100 * own["kept"]
        )
        image = axes.imshow(share, cmap="cividis", norm=Normalize(0, 100), aspect="auto", interpolation="nearest")
        axes.set_title(f"{name}: mean {np.nanmean(share):.0f} %")
        axes.set_xticks(range(12), [str(month) for month in range(1, 13)])
        axes.set_yticks(range(len(rows)), [f"{tile} {year}" for tile, year in rows])
        axes.tick_params(axis="y", length=0, labelsize=7)
    for axes in panels[2:]:
        axes.set_xlabel("month")
    _colour_bar(figure, image, list(panels), "looks kept [%]")
    return figure


def overpasses(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the observed share of each overpass and year."""
    years = [_table(work, f"overpasses-{year}", "year", "overpass", "observed") for year in all_years(work.recipe)]
    tables = [table for table in years if table is not None]
    if not tables:
        return None
    by_year = pd.concat(tables).pivot_table(index="year", columns="overpass", values="observed", sort=True)
    names = [name for name in OVERPASS_TITLES if name in by_year.columns]
    figure, axes = _chart_figure(work, "Share of pixel-days observed", height=3.2)
    _grouped_bars(
        axes,
        [str(year) for year in by_year.index],
        {OVERPASS_TITLES[name]: (100 * by_year[name]).tolist() for name in names},
        colours=[ORANGE, VERMILION, SKY_BLUE, BLUE],
        write="{:.0f}".format if len(by_year) <= 6 else None,
    )
    axes.set_ylabel("observed [%]")
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


# ---- scatter plots and bars -------------------------------------------------------------------------------------


def ground_correction(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw thawing sums of stations against those of the satellite, before and after the correction."""
    table = _table(work, "stations_fit", "thawing_lst", "thawing_ground", "cross_validated")
    if table is None:
        return None
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    _headline(work, figure, "Thawing sums at weather stations, intervals of 16 days")
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
    table = _table(work, "clusters", "cluster", "e", "lower", "upper", "surveyed_pixels")
    if table is None:
        return None
    settings = work.recipe.calibration
    figure, axes = _chart_figure(work, "Soil parameter E of each cluster", height=1.6 + 0.3 * len(table))
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
    table = _table(work, "forest", "predictor", "importance", "permutation")
    if table is None:
        return None
    ranked = table.sort_values("importance")
    figure = Figure(figsize=(WIDTH, 1.4 + 0.24 * len(ranked)), layout="constrained")
    _headline(work, figure, "What the forest predicts E from")
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
        _bare(axes)
    return figure


PREDICTOR_TITLES = {variable.name: variable.long_name for variable in schema.PREDICTORS}
PREDICTOR_UNITS = {variable.name: "" if variable.units == "1" else variable.units for variable in schema.PREDICTORS}


def partial_dependence(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw what the forest makes of each predictor, all others as they are."""
    table = _table(work, "partial_dependence", "predictor", "value", "e", "lower", "upper")
    if table is None:
        return None
    names = list(dict.fromkeys(table["predictor"]))
    down = -(-len(names) // 4)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.75 * down), layout="constrained")
    _headline(work, figure, "E against each predictor, all others as they are")
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
        if number % 4 == 0:
            axes.set_ylabel("E [1]")
    return figure


def e_error(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the standard error of E in each epoch that the forest predicts."""
    maps = _by_epoch(work, "transfer", schema.E_SIGMA.name)
    if not maps:
        return None
    figure, panels = _map_figure(work, sheet, "Standard error of E", len(maps), bars=1)
    norm = _robust(maps.values(), sheet, lowest=0.0)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="magma_r", norm=norm)
        axes.set_title(_epoch_title(work, epoch))
    _colour_bar(figure, image, panels, "standard error of E [1]", extend="max")
    return figure


def applicability(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw how unlike the forest's samples each pixel is, against the most unlike that it was tried on."""
    maps = _by_epoch(work, "transfer", schema.DISSIMILARITY.name)
    like = _by_epoch(work, "transfer", schema.APPLICABLE.name)
    if not maps or maps.keys() != like.keys():
        return None
    figure, panels = _map_figure(work, sheet, "Where the forest was never tried", len(maps), bars=1, legend_rows=1)
    norm = _robust(maps.values(), sheet, lowest=0.0)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        asked = sheet.inside & (like[epoch] != schema.APPLICABLE.fill_value)
        outside = like[epoch] == 0
        image = sheet.draw_values(axes, np.where(outside, np.nan, values), cmap="cividis_r", norm=norm)
        beyond = 100 * outside[asked].mean() if asked.any() else 0.0
        axes.set_title(f"{_label(work, epoch)}: {beyond:.1f} % of the pixels beyond")
        axes.imshow(
            sheet.on_paper(np.where(outside, 1.0, np.nan)),
            extent=sheet.extent,
            cmap=ListedColormap([VERMILION]),
            interpolation="nearest",
            zorder=image.get_zorder() + 0.01,
        )
    _colour_bar(
        figure, image, panels, "distance to the nearest sample, of the samples' mean distance [1]", extend="max"
    )
    _legend(figure, [_patch(VERMILION, "more unlike than was ever tried")], columns=1)
    return figure


def probability(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw how probable permafrost is in each epoch."""
    maps = _by_epoch(work, "frozen_ground", schema.PROBABILITY.name)
    if not maps:
        return None
    figure, panels = _map_figure(work, sheet, "Probability of permafrost", len(maps), bars=1)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="RdBu", norm=Normalize(0, 1))
        known = values[sheet.inside & np.isfinite(values)]
        undecided = 100 * ((known > 0.1) & (known < 0.9)).mean() if known.size else 0.0
        axes.set_title(f"{_label(work, epoch)}: {undecided:.0f} % of the pixels between 0.1 and 0.9")
    _colour_bar(figure, image, panels, "probability of permafrost [1]")
    return figure


def reliability(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw how often permafrost truly is where a map gives it a probability."""
    table = _table(work, "reliability", "map", "lower", "pixels", "probability", "observed")
    if table is None:
        return None
    figure, axes = _chart_figure(work, "How often permafrost is where it is thought probable", height=4.4)
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
        if (table := _table(work, f"areas-{name}", "class", "km2")) is not None
    }
    if not area:
        return None
    codes = [code for code in CLASS_COLOURS if any(code in sizes for sizes in area.values())]
    figure, axes = _chart_figure(work, "Area of each class", height=3.4)
    series = {title: [sizes.get(code, 0.0) / 1e3 for code in codes] for title, sizes in area.items()}
    _grouped_bars(
        axes, [_wrapped(CLASS_NAMES[code]) for code in codes], series, [GREY, BLUE][-len(series) :], write=_thousands
    )
    axes.set_ylabel("area [1000 km²]")
    axes.legend(loc="upper right")
    return figure


def transition(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the table of what became of each class."""
    table = _table(work, "transition", "from", "to", "km2")
    if table is None or len(work.recipe.epochs.named()) < 2:
        return None
    codes = list(CLASS_COLOURS)
    matrix = np.zeros((len(codes), len(codes)))
    for row in table.to_dict("records"):
        before, after = class_code(row["from"]), class_code(row["to"])
        if before in codes and after in codes:
            matrix[codes.index(before), codes.index(after)] += float(row["km2"])
    figure, axes = _chart_figure(work, "What became of each class [km²]", height=4.0)
    shown = np.ma.masked_less_equal(matrix, 0)
    largest = float(matrix.max()) or 1.0
    norm = LogNorm(max(largest / 1e5, float(shown.min()) if shown.count() else 1e-3) * 0.5, largest)
    image = axes.imshow(shown, cmap="cividis_r", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(matrix):
        ink = GREY if value == 0 else "white" if _luminance(image.to_rgba(np.asarray(value))) < 0.2 else BLACK
        weight = "bold" if row == column else "normal"
        axes.text(column, row, f"{value:,.0f}", ha="center", va="center", color=ink, weight=weight)
    axes.hlines(np.arange(len(codes) - 1) + 0.5, -0.5, len(codes) - 0.5, color=PALE_GREY, linewidth=0.8)
    names = [_wrapped(CLASS_NAMES[code]) for code in codes]
    axes.set_xticks(range(len(codes)), names)
    axes.set_yticks(range(len(codes)), names)
    axes.set(xlabel=_label(work, "target"), ylabel=_label(work, "training"))
    axes.tick_params(length=0)
    _bare(axes, *axes.spines)
    return figure


# ---- truth of a simulation --------------------------------------------------------------------------------------

TRUTH_BANDS = ("ddf", "ddt", "e")
"""What is compared with the truth."""


def truth(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw what was found against what is true, pixel by pixel."""
    names = list(work.recipe.epochs.named())
    pairs = {
        (epoch, band): (_truth(work, epoch, band), cube[band].to_numpy())
        for epoch in names
        for band in TRUTH_BANDS
        if _truth_path(work, epoch) is not None
        and (cube := _group(work, e_group(work.recipe, epoch) if band == "e" else f"forcing/{epoch}", band)) is not None
    }
    if not pairs:
        return None
    epochs = [epoch for epoch in names if any(key[0] == epoch for key in pairs)]
    figure = Figure(figsize=(WIDTH, 0.7 + 2.9 * len(epochs)), layout="constrained")
    _headline(work, figure, "Found against true, pixel by pixel")
    grid = figure.subplots(len(epochs), 3, squeeze=False)
    titles = {"ddf": "DDF [°C d]", "ddt": "DDT [°C d]", "e": "E [1]"}
    classes = _by_epoch(work, "frozen_ground", "frozen_ground")
    ground = {
        epoch: sheet.inside
        & ~np.isin(classes.get(epoch, 0), (GLACIER, LAKE))
        & ~np.isin(_truth(work, epoch, "frozen_ground", how="nearest"), (GLACIER, LAKE))
        for epoch in epochs
    }
    for row, epoch in zip(grid, epochs, strict=True):
        for axes, band in zip(row, TRUTH_BANDS, strict=True):
            if (epoch, band) not in pairs:
                axes.set_axis_off()
                continue
            true, found = (values[ground[epoch]] for values in pairs[epoch, band])
            _density(axes, true, found)
            axes.set(xlabel="true", title=f"{titles[band]}, {_label(work, epoch)}")
        row[0].set_ylabel("found")
    return figure


def truth_classes(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw where the mapped classes are those of the truth."""
    maps = {
        epoch: (_truth(work, epoch, "frozen_ground", how="nearest"), codes)
        for epoch, codes in _by_epoch(work, "frozen_ground", "frozen_ground").items()
        if _truth_path(work, epoch) is not None
    }
    if not maps:
        return None
    figure, panels = _map_figure(work, sheet, "Mapped against true classes", len(maps), legend_rows=2)
    kinds = {
        0: ("permafrost, as in truth", PALE_BLUE),
        1: ("another class, as in truth", PALE_GREY),
        2: ("permafrost that is not there", BLUE),
        3: ("permafrost that is missed", VERMILION),
        4: ("other classes confused", PURPLE),
        5: ("glacier or lake, not compared", GREY),
    }
    present: set[int] = set()
    for axes, (epoch, (true, codes)) in zip(panels, maps.items(), strict=True):
        kind = np.where(true == codes, 1, 4)
        kind[(true == PERMAFROST) & (codes == PERMAFROST)] = 0
        kind[(true != PERMAFROST) & (codes == PERMAFROST)] = 2
        kind[(true == PERMAFROST) & (codes != PERMAFROST)] = 3
        kind[np.isin(codes, (GLACIER, LAKE)) | np.isin(true, (GLACIER, LAKE))] = 5
        kind[(codes == 255) | ~np.isfinite(true) | (true == 255)] = 255
        sheet.draw_colours(axes, kind, {code: colour for code, (_, colour) in kinds.items()}, NO_VALUE_COLOUR)
        compared = kind[sheet.inside & (kind < 5)]
        agree = (
            f": {100 * np.isin(compared, (0, 1)).mean():.1f} % of {compared.size:,} pixels agree"
            if compared.size
            else ""
        )
        axes.set_title(f"{_label(work, epoch)}{agree}")
        present |= set(np.unique(kind[sheet.inside]).tolist())
    _legend(figure, [_patch(colour, name) for code, (name, colour) in kinds.items() if code in present], columns=3)
    return figure


# ---- what there is ----------------------------------------------------------------------------------------------


def class_code(name: object) -> int:
    """Return the code of a class given by code or name; 255 where it is none.

    Examples
    --------
    >>> class_code(2), class_code("2.0"), class_code("seasonally_frozen"), class_code("no such ground")
    (2, 2, 2, 255)
    """
    try:
        return int(float(str(name)))
    except ValueError:
        return next((code for code, known in CLASS_NAMES.items() if _plain(known) == _plain(str(name))), NO_CLASS)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ").removesuffix(" ground")


def is_permafrost(column: Iterable[object]) -> npt.NDArray[np.bool_]:
    """Return where a column of classes (codes or names) or of truth values says permafrost.

    Examples
    --------
    >>> is_permafrost([1, "permafrost", True, "True", 2, "seasonally frozen", False]).tolist()
    [True, True, True, True, False, False, False]
    """
    return np.array([str(value).strip().lower() == "true" or class_code(value) == PERMAFROST for value in column], bool)


def _group(work: Work, group: str, *variables: str) -> xr.Dataset | None:
    """Return a group of the cube, or None where it is not there or lacks a variable."""
    if not work.has(group):
        return None
    cube = work.open(group)
    return cube if all(name in cube for name in variables) else None


def _by_epoch(work: Work, stage: str, variable: str) -> dict[str, Numbers]:
    """Return a variable of each epoch that has it, training first."""
    cubes = {epoch: _group(work, f"{stage}/{epoch}", variable) for epoch in work.recipe.epochs.named()}
    return {epoch: cube[variable].to_numpy() for epoch, cube in cubes.items() if cube is not None}


def _table(work: Work, name: str, *columns: str) -> pd.DataFrame | None:
    """Return a table, or None where there is none or it is empty.

    Raises
    ------
    SchemaError
        It lacks a column.
    """
    path = work.table_path(name)
    if not path.exists():
        return None
    table = work.table(name)
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise schema.SchemaError(
            f"a table lacks columns: {', '.join(lacking)}",
            where=str(path),
            found=", ".join(map(str, table.columns)),
            wanted=", ".join(columns),
            remedy="delete the table and run again",
        )
    return None if table.empty else table


def _truth_path(work: Work, epoch: str) -> Path | None:
    given = work.recipe.sources.truth
    path: Path | None = None if given is None else getattr(given, epoch)
    return None if path is None else work.recipe.path(path)


def _truth(work: Work, epoch: str, band: str, how: str = "average") -> Numbers:
    path = _truth_path(work, epoch)
    if path is None:
        raise ValueError(f"the recipe names no truth of the {epoch} epoch")
    return on_grid(path, work.geobox, f"sources.truth.{epoch}", how=how, band=band)


def _label(work: Work, epoch: str) -> str:
    return work.recipe.epochs.named()[epoch].title


def _epoch_title(work: Work, epoch: str) -> str:
    """Return an epoch's label and years."""
    return epoch_in_words(work.recipe.epochs.named()[epoch])


def epoch_in_words(epoch: Epoch) -> str:
    """Return an epoch's label, and its years where they say more.

    Examples
    --------
    >>> epoch_in_words(Epoch(years=(2019, 2020))), epoch_in_words(Epoch(years=(2020,)))
    ('2020 (mean of 2019 and 2020)', '2020')
    """
    years = years_in_words(epoch.years)
    return epoch.title if years == epoch.title else f"{epoch.title} (mean of {years})"


def years_in_words(years: Sequence[int]) -> str:
    """Return years, shortened where they follow each other.

    Examples
    --------
    >>> years_in_words([2016, 2017, 2018]), years_in_words([2009, 2010]), years_in_words([2005, 2008])
    ('2016–2018', '2009 and 2010', '2005 and 2008')
    """
    ordered = sorted(years)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]}–{ordered[-1]}"
    *most, last = map(str, ordered)
    return f"{', '.join(most)} and {last}" if most else last


def _half_clouded_day(lst: xr.DataArray, sheet: MapSheet) -> int:
    """Return the day of summer, when clouds are many, whose observed share is nearest to one half."""
    days = np.arange(lst.sizes["time"])
    summer = days[(days >= 184) & (days < 230)] if days.size > 230 else days
    share = np.array([np.count_nonzero(lst[day].to_numpy()[sheet.inside]) for day in summer]) / max(
        1, sheet.inside.sum()
    )
    return int(summer[np.abs(share - 0.5).argmin()])


def _celsius(stored: Numbers) -> npt.NDArray[np.float32]:
    scale = schema.LST.scale or 1.0
    celsius: npt.NDArray[np.float32] = np.where(stored > 0, stored * scale - 273.15, np.nan).astype(np.float32)
    return celsius


# ---- paper and ink ----------------------------------------------------------------------------------------------


def _headline(work: Work, figure: Figure, title: str) -> None:
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


def _map_figure(
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
    figure = Figure(figsize=(WIDTH, 0.35 + maps + 0.62 * bars + 0.1 + 0.2 * legend_rows), layout="constrained")
    _headline(work, figure, title)
    grid = figure.subplots(down, across, squeeze=False)
    panels = [axes for row in grid for axes in row]
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _chart_figure(work: Work, title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    _headline(work, figure, title)
    return figure, figure.subplots()


def _colour_bar(figure: Figure, image: AxesImage, panels: Sequence[Axes], label: str, extend: str = "neither") -> None:
    """Draw a colour bar below some maps."""
    bar = figure.colorbar(
        image, ax=list(panels), location="bottom", label=label, extend=extend, shrink=0.7, aspect=36, pad=0.02
    )
    bar.outline.set_linewidth(0.5)


def _patch(colour: str, label: str) -> Patch:
    return Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=label)


def _legend(figure: Figure, handles: Sequence[Patch | Line2D], columns: int) -> None:
    figure.legend(handles=list(handles), loc="outside lower left", ncols=columns, columnspacing=1.4, handlelength=1.6)


def _class_legend(figure: Figure, present: Iterable[int]) -> None:
    shown = [_patch(colour, CLASS_NAMES[code]) for code, colour in CLASS_COLOURS.items() if code in present]
    _legend(figure, [*shown, *([_patch(NO_VALUE_COLOUR, "no data")] if 255 in present else [])], columns=6)


def _pale(colour: str) -> str:
    """Return a colour mixed with white.

    >>> _pale("#000000")
    '#8c8c8c'
    """
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(0.45 * part + 0.55 * 255):02x}" for part in parts)


def _luminance(colour: Any) -> float:
    """Return the relative luminance of an sRGB colour, as contrast is reckoned with (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _percentile(values: Numbers, sheet: MapSheet, percent: float) -> float:
    """Return a percentile of the region's pixels; NaN where none has a value."""
    inside = values[sheet.inside]
    finite = inside[np.isfinite(inside)]
    return float(np.percentile(finite, percent)) if finite.size else float("nan")


def _robust(maps: Iterable[Numbers], sheet: MapSheet, lowest: float | None = None) -> Normalize:
    """Return a scale from the 1st to the 99th percentile of some maps, one for all of them."""
    every = list(maps)
    low = min((_percentile(values, sheet, 1) for values in every), default=0.0) if lowest is None else lowest
    high = max((_percentile(values, sheet, 99) for values in every), default=1.0)
    return Normalize(low, high) if high > low else Normalize(low - 0.5, low + 0.5) if low == low else Normalize(0, 1)


def _diverging(maps: Iterable[Numbers], sheet: MapSheet) -> Normalize:
    """Return a scale with zero in its middle."""
    spread = max((_percentile(np.abs(values), sheet, 98) for values in maps), default=1.0)
    return Normalize(-spread, spread) if spread > 0 else Normalize(-1, 1)


def _thousands(area: float) -> str:
    """Return an area in thousands as a label: small ones keep two digits.

    >>> _thousands(1086.04), _thousands(37.51), _thousands(0.0412), _thousands(0)
    ('1,086', '37.5', '0.041', '0')
    """
    return f"{area:,.0f}" if area >= 100 or area == 0 else f"{area:.1f}" if area >= 1 else f"{area:.2g}"


def _grouped_bars(
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
    _bare(axes)


def _bare(axes: Axes, *spines: str) -> None:
    axes.spines[list(spines or ("top", "right"))].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _wrapped(name: str) -> str:
    return name.replace(" frozen", "\nfrozen").replace("non-frozen ground", "non-frozen\nground")


def _density(axes: Axes, true: Numbers, found: Numbers) -> None:
    both = np.isfinite(true) & np.isfinite(found)
    x, y = true[both], found[both]
    if x.size == 0:
        axes.text(0.5, 0.5, "no pixel has both", transform=axes.transAxes, ha="center")
        return
    low, high = np.percentile(np.concatenate([x, y]), [0.1, 99.9])
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    margin = 0.03 * (high - low)
    edges = np.linspace(low - margin, high + margin, 81)
    count, _, _ = np.histogram2d(x, y, bins=(edges, edges))
    axes.imshow(
        np.ma.masked_equal(count.T, 0),
        origin="lower",
        extent=(edges[0], edges[-1], edges[0], edges[-1]),
        cmap="viridis_r",
        norm=LogNorm(1, max(2.0, count.max())),
        interpolation="nearest",
    )
    axes.plot(edges[[0, -1]], edges[[0, -1]], color=INK, linewidth=0.8)
    axes.text(0.04, 0.96, f"n = {x.size:,}", transform=axes.transAxes, va="top", fontsize=8)


FIGURES: tuple[Drawing, ...] = (
    Drawing(
        "frozen_ground",
        "Frozen ground",
        "headline",
        "Class of each pixel: permafrost where the frost number is above 0.5. Equal-area projection about the "
        "middle of the region; each point of the map shows the pixel it lies in.",
        "Map of permafrost, seasonally frozen ground, non-frozen ground, glaciers and lakes in {epochs}.",
        frozen_ground,
    ),
    *(
        Drawing(
            f"granules_{product}",
            f"Granules of {product.upper()}",
            "granules",
            "Each cell is a granule that should exist: a tile on a date. Pale blue is read; the other colours and the "
            "number of granules of each are in the legend. White: there is no such date.",
            f"Chart of what became of each granule of {product.upper()}, dates along x, tiles and years along y.",
            partial(granules, product=product, kind=kind),
        )
        for kind, products in PRODUCTS.items()
        for product in products
    ),
    Drawing(
        "overpasses",
        "Share of pixel-days observed",
        "data",
        "Of all pixels of the region and all days of the year, the share with an observation whose "
        "quality bits the recipe accepts. The rest is filled.",
        "Bar chart of the observed share of pixel-days, for each overpass of Terra and Aqua and each year.",
        overpasses,
    ),
    Drawing(
        "observed_days",
        "Days with a trusted observation",
        "data",
        "Share of the epoch's days on which the pixel has an observation whose quality bits the recipe accepts.",
        "Four maps of the share of days with an observation: Terra and Aqua, by day and by night.",
        observed_days,
    ),
    Drawing(
        "quality",
        "Observations kept",
        "data",
        "Of the pixels that a satellite passed over in a month, the share whose temperature is kept: neither cloud, "
        "nor beyond the error limits of the recipe, nor screened as cloud that the mask missed.",
        "Four charts of the share of observations kept, months along x, tiles and years along y, one an overpass.",
        quality,
    ),
    Drawing(
        "gap_filling",
        "One overpass before and after gap filling",
        "data",
        "First: the temperatures that are kept, grey where clouds hid the ground. Second: the same overpass after gap "
        "filling. Third: the standard error of each value. Fourth: which values were observed, and how the others were "
        "estimated. The day is the one of summer whose observed share is nearest to one half.",
        "Four maps of one day: land surface temperature with gaps, the same with its gaps filled, the standard error, "
        "and the origin of each value.",
        gap_filling,
    ),
    Drawing(
        "forcing",
        "Freezing and thawing degree days",
        "forcing",
        "Mean annual sums of daily mean temperature below (freezing) and above (thawing) 0 °C. One scale for all "
        "epochs.",
        "Maps of the mean annual freezing and thawing degree-day sums in {epochs}.",
        forcing,
    ),
    Drawing(
        "forcing_change",
        "Change of the degree days",
        "forcing",
        "Red is towards thaw in both maps: less freezing, more thawing.",
        "Two maps of the change of freezing and thawing degree-day sums between {epochs}.",
        forcing_change,
    ),
    Drawing(
        "ground_correction",
        "Thawing sums at weather stations",
        "forcing",
        "Each point is a station in an interval of 16 days. Right: predicted by a regression that was fitted without "
        "the station. The line is equality.",
        "Two scatter plots of thawing sums measured in the ground against those from satellite, before and after "
        "the correction.",
        ground_correction,
    ),
    Drawing(
        "cluster_e",
        "E of each soil cluster",
        "soil",
        "Every E within the bar gives the same map of the surveyed pixels: the surveys do not tell these values apart, "
        "and the one nearest to the prior is taken. A short bar is a well-determined E.",
        "Chart of the calibrated soil parameter of each cluster with its interval of indifference, the bounds and the "
        "prior.",
        cluster_e,
    ),
    Drawing(
        "soil_parameter",
        "Soil parameter E",
        "soil",
        "E is the square root of the thawed over the frozen thermal conductivity: at a lower E, ground stays frozen "
        "under more thawing.",
        "Maps of the soil parameter E in {epochs}.",
        soil_parameter,
    ),
    Drawing(
        "e_error",
        "Standard error of E",
        "soil",
        "What the trees disagree about, and what the surveys leave undecided of the E that they learnt.",
        "Maps of the standard error of E in {epochs}.",
        e_error,
    ),
    Drawing(
        "applicability",
        "Where the forest was never tried",
        "soil",
        "How far each pixel's predictors are from those of the nearest sample, each predictor weighted by its "
        "importance. Red pixels are farther than samples were from those of other blocks of 200 km, by which the "
        "forest was judged.",
        "Maps of how unlike the forest's samples each pixel is in {epochs}, red where it was never tried.",
        applicability,
    ),
    Drawing(
        "forest",
        "What the forest predicts E from",
        "soil",
        "Left: share of what the trees gain by looking at a predictor. Right: how much the error of left-out samples "
        "rises when the predictor's values are shuffled. Both tell what the forest uses, not what causes E.",
        "Two bar charts of the importance of the forest's predictors.",
        forest,
    ),
    Drawing(
        "partial_dependence",
        "E against each predictor",
        "soil",
        "The mean prediction if a predictor had this value everywhere, all others as they are; 80 % of the samples lie "
        "in the band. Where predictors go together, parts of the lines are combinations that do not exist.",
        "Small charts of the predicted E against each predictor.",
        partial_dependence,
    ),
    Drawing(
        "covariates",
        "Predictors of E",
        "soil",
        "Soil clusters are made of these, and the forest predicts E from them.",
        "Small maps of the predictors: terrain, vegetation, snow, precipitation and soil texture.",
        covariates,
    ),
    Drawing(
        "frost_number",
        "Frost number",
        "areas",
        "F compares how deep winter freezes the ground with how deep summer thaws it. White is the boundary of "
        "permafrost, 0.5: pale pixels could easily be of the other class.",
        "Maps of the frost number in {epochs}.",
        frost_number,
    ),
    Drawing(
        "areas",
        "Area of each class",
        "areas",
        "Areas on the WGS 84 ellipsoid.",
        "Bar chart of the area of each class in {epochs}.",
        areas,
    ),
    Drawing(
        "masks",
        "Lakes and glaciers",
        "areas",
        "How much of each pixel is covered. Pixels with much of it are shown as lake or glacier, not as frozen ground.",
        "Maps of the share of each pixel that is lake, and that is glacier, in {epochs}.",
        masks,
    ),
    Drawing(
        "probability",
        "Probability of permafrost",
        "areas",
        "From the errors of freezing and thawing sums and of E, taken to be normal and independent. What is pale could "
        "be either.",
        "Maps of the probability of permafrost in {epochs}.",
        probability,
    ),
    Drawing(
        "boreholes",
        "Boreholes on the map",
        "validation",
        "Circles: permafrost was found in the borehole; squares: none was. Purple marks boreholes where the map says "
        "otherwise.",
        "Map of boreholes on the classes, marked by whether the map agrees with them.",
        boreholes,
    ),
    Drawing(
        "change",
        "Change of frozen ground",
        "change",
        "Lost and gained compare the class of the same pixel in the two epochs.",
        "Map of the change of classes between {epochs}: permafrost lost, gained and stable, and the same for "
        "seasonally frozen ground.",
        change,
    ),
    Drawing(
        "transition",
        "What became of each class",
        "change",
        "Rows: the class before; columns: after. The diagonal, in bold, did not change.",
        "Table of the area that went from each class to each class between {epochs}.",
        transition,
    ),
    Drawing(
        "truth",
        "Found against true",
        "truth",
        "Number of pixels, on a logarithmic scale of colour, by true and by found value, dark where "
        "there are many; the line is equality. Lakes and glaciers are left out.",
        "Density plots of found against true freezing and thawing sums and E.",
        truth,
    ),
    Drawing(
        "reliability",
        "How often permafrost is where it is thought probable",
        "truth",
        "Pixels in ten ranges of probability: their mean probability, and the share that truly is permafrost; larger "
        "marks are more pixels. On the line, probabilities mean what they say. A curve that is steeper than the line "
        "claims less than is known, a flatter one more.",
        "Chart of the share of true permafrost against its probability in {epochs}, with the line of equality.",
        reliability,
    ),
    Drawing(
        "truth_classes",
        "Mapped against true classes",
        "truth",
        "Where the mapped class differs from the truth of the simulation, and how.",
        "Maps of agreement of the mapped with the true classes in {epochs}.",
        truth_classes,
    ),
)
"""Every figure, in the order of the report."""
