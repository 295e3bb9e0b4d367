"""Maps as the paper shows them: the study area, the latest map with its areas, and other maps beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.patheffects import withStroke
from pyproj import CRS, Transformer
from scipy.ndimage import uniform_filter

from frostmap.kernels.frost_number import CLASS_NAMES, NON_FROZEN, PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline import schema
from frostmap.pipeline.figures.classes import CHANGES, kind_of_change
from frostmap.pipeline.figures.contents import (
    Numbers,
    by_epoch,
    class_code,
    epoch_title,
    group_of,
    is_permafrost,
    label_of,
    table_of,
)
from frostmap.pipeline.figures.layout import (
    bare,
    class_legend,
    colour_bar,
    draw_legend,
    headline,
    map_figure,
    patch,
    robust_scale,
    thousands,
    wrapped,
)
from frostmap.pipeline.figures.palette import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    GREY,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    VERMILION,
    WIDTH,
)
from frostmap.pipeline.map_sheets import DEGREES, INK, NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.reference_maps import SAME, reference_scopes, reference_title
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.work import Work

GROUND = (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN)
EARTH = 6378137.0
"""Equatorial radius [m]."""
MOST_COVERED = 0.005
"""Share of the globe's square that may lie on the region: its corners are empty."""
DETAIL_KM = 220.0
"""Side of the part that is shown larger [km]; of small regions a third of their width."""


# ---- insets --------------------------------------------------------------------------------------------------------


def locator(axes: Axes, sheet: MapSheet) -> None:
    """Show where on the globe the region lies, in a part of a map that the region leaves empty, or nearly so."""
    box = axes.inset_axes(_empty_place(sheet), zorder=6)
    longitude, latitude = (float(value) for value in sheet.region.centroid.coords[0])
    globe = CRS.from_proj4(f"+proj=ortho +lon_0={longitude:.3f} +lat_0={latitude:.3f} +datum=WGS84")
    to_globe = Transformer.from_crs(DEGREES, globe, always_xy=True)

    def project(along: npt.ArrayLike, up: npt.ArrayLike) -> tuple[Numbers, Numbers]:
        x, y = to_globe.transform(np.asarray(along, np.float64), np.asarray(up, np.float64))
        seen = np.isfinite(x) & np.isfinite(y)
        return np.where(seen, x, np.nan) / EARTH, np.where(seen, y, np.nan) / EARTH

    around = np.linspace(0, 2 * np.pi, 181)
    box.add_patch(Polygon(np.column_stack([np.cos(around), np.sin(around)]), facecolor="white", edgecolor=INK, lw=0.7))
    lines = [(np.full(181, meridian), np.linspace(-90, 90, 181)) for meridian in range(-180, 180, 30)]
    lines += [(np.linspace(-180, 180, 181), np.full(181, parallel)) for parallel in range(-60, 90, 30)]
    for along, up in lines:
        box.plot(*project(along, up), color=GREY, linewidth=0.4, zorder=2)
    for part in shapely.get_parts(shapely.segmentize(sheet.region, 1.0)):
        corners = np.column_stack(project(*np.asarray(part.exterior.coords).T[:2]))
        box.add_patch(Polygon(corners, facecolor=VERMILION, edgecolor=VERMILION, lw=0.8, zorder=3))
    box.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal")
    box.set_axis_off()


def _empty_place(sheet: MapSheet) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height, in shares of the paper, of a square that covers little of the region.

    It is made smaller where none of its size is free, and lies as far out as it can; not where the scale bar is.
    """
    bar = sheet.scale_bar_corner
    inside = ~np.ma.getmaskarray(sheet.on_paper(sheet.inside))
    rows, columns = inside.shape

    def covered(x: float, y: float, width: float, height: float) -> float:
        part = inside[int((1 - y - height) * rows) : int((1 - y) * rows), int(x * columns) : int((x + width) * columns)]
        taken = (bar[0] > 0.5) == (x + width / 2 > 0.5) and (bar[1] > 0.5) == (y + height / 2 > 0.5)
        return float(part.mean()) + 10 * taken

    for height in (0.26, 0.22, 0.18) if sheet.aspect > 1 else (0.2, 0.17, 0.14):
        width = height / sheet.aspect
        places = [
            (float(x), float(y), width, height)
            for x in np.linspace(0.01, 0.99 - width, 40)
            for y in np.linspace(0.02, 0.98 - height, 20)
        ]
        free = [place for place in places if covered(*place) < MOST_COVERED]
        if free:
            return max(free, key=lambda place: abs(place[0] + width / 2 - 0.5) + abs(place[1] + height / 2 - 0.5))
    return min(places, key=lambda place: covered(*place))


def busiest(work: Work, sheet: MapSheet, interesting: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a square part of the region where most pixels are interesting."""
    left, right, bottom, top = sheet.extent
    side = min(DETAIL_KM, max(right - left, top - bottom) / 3000)
    pixels = max(3, round(side / work.pixel_km))
    share = uniform_filter((interesting & work.inside).astype(np.float32), size=pixels, mode="constant")
    row, column = np.unravel_index(int(share.argmax()), share.shape)
    x, y = work.geobox.affine * (column + 0.5, row + 0.5)
    longitude, latitude = Transformer.from_crs(str(work.geobox.crs), DEGREES, always_xy=True).transform(x, y)
    up = side / 2 / 111.2
    across = up / np.cos(np.radians(latitude))
    return longitude - across, latitude - up, longitude + across, latitude + up


def frame(axes: Axes, sheet: MapSheet, box: Sequence[float], name: str, colour: str = BLACK) -> None:
    """Draw the edge of a part of a map, and its letter."""
    west, south, east, north = box
    ring = shapely.segmentize(shapely.box(west, south, east, north), 0.1).exterior
    x, y = sheet.positions(*np.asarray(ring.coords).T)
    axes.plot(x, y, color=colour, linewidth=1.4, zorder=5, path_effects=[withStroke(linewidth=3, foreground="white")])
    axes.text(
        float(np.max(x)), float(np.max(y)), f" {name}", va="top", ha="left", fontsize=10, fontweight="bold",
        color=colour, zorder=5, path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip


# ---- the study area ------------------------------------------------------------------------------------------------


def study_area(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the elevation of the region with its surveyed parts, boreholes and weather stations."""
    cubes = [group_of(work, f"covariates/{epoch}", schema.ELEVATION.name) for epoch in work.recipe.epochs.named()]
    cube = next((each for each in cubes if each is not None), None)
    if cube is None:
        return None
    figure, (axes,) = map_figure(work, sheet, "Study area", 1, bars=1, legend_rows=1)
    elevation = cube[schema.ELEVATION.name].to_numpy()
    image = sheet.draw_values(axes, elevation, cmap="cividis", norm=robust_scale([elevation], sheet))
    handles: list[Patch | Line2D] = []
    for name, surveyed in surveyed_regions(work).items():
        draw_edge(axes, sheet, surveyed, name)
    if work.recipe.sources.surveys:
        handles.append(Line2D([], [], color=VERMILION, linewidth=1.6, label="surveyed region"))
    holes = table_of(work, "boreholes", "longitude", "latitude", "observed", "mapped")
    stations = table_of(work, "station_evidence", "longitude", "latitude")
    if holes is not None:
        holes = holes[holes["mapped"].notna()]
        found = is_permafrost(holes["observed"])
        for kind, marker, what in ((found, "o", "permafrost"), (~found, "s", "no permafrost")):
            label = f"borehole, {what} ({int(kind.sum())})"
            handles.append(_sites(axes, sheet, holes[kind], marker, "white", label))
    if stations is not None:
        handles.append(_sites(axes, sheet, stations, "^", ORANGE, f"weather station ({len(stations)})"))
    locator(axes, sheet)
    colour_bar(figure, image, [axes], "elevation [m]", extend="both")
    if handles:
        draw_legend(figure, handles, columns=4)
    return figure


def surveyed_regions(work: Work) -> dict[str, npt.NDArray[np.bool_]]:
    """Return, for each surveyed map by name, the pixels that it says something of."""
    return {
        survey.name: np.isin(
            on_grid(work.recipe.path(survey.path), work.geobox, f"sources.surveys, {survey.name}", how="nearest"),
            (PERMAFROST, SEASONALLY_FROZEN),
        )
        for survey in work.recipe.sources.surveys
    }


def draw_edge(axes: Axes, sheet: MapSheet, pixels: npt.NDArray[np.bool_], name: str) -> None:
    """Draw the edge of some pixels and their name."""
    paper = np.ma.filled(sheet.on_paper(pixels), False)
    if not paper.any():
        return
    left, right, bottom, top = sheet.extent
    rows, columns = paper.shape
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top - (np.arange(rows) + 0.5) * (top - bottom) / rows
    axes.contour(x, y, paper.astype(np.float32), levels=[0.5], colors=[VERMILION], linewidths=1.3, zorder=4)
    row, column = np.nonzero(paper)
    axes.text(
        float(x[column].mean()), float(y[row.min()]), name, ha="center", va="bottom", fontsize=7.5, color=INK,
        zorder=6, path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip


def _sites(axes: Axes, sheet: MapSheet, table: Any, marker: str, colour: str, label: str) -> Line2D:
    style: dict[str, Any] = {
        "marker": marker,
        "markerfacecolor": colour,
        "markeredgecolor": BLACK,
        "markeredgewidth": 0.8,
        "markersize": 5,
        "linestyle": "none",
    }
    axes.plot(*sheet.positions(table["longitude"], table["latitude"]), zorder=5, **style)
    return Line2D([], [], label=label, **style)


# ---- the latest map ------------------------------------------------------------------------------------------------


def latest_map(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the classes of the last epoch, a part of them larger, and their areas."""
    maps = by_epoch(work, "frozen_ground", schema.FROZEN_GROUND.name)
    if not maps:
        return None
    epoch, codes = list(maps.items())[-1]
    areas = table_of(work, f"areas-{epoch}", "class", "km2")
    figure, whole, (left, right) = _map_above_two(work, sheet, f"Frozen ground, {epoch_title(work, epoch)}")
    sheet.draw_colours(whole, codes, CLASS_COLOURS, NO_VALUE_COLOUR)
    locator(whole, sheet)
    mixed = np.zeros(codes.shape, bool)
    mixed[:, 1:] |= (codes[:, 1:] == PERMAFROST) != (codes[:, :-1] == PERMAFROST)
    mixed[1:] |= (codes[1:] == PERMAFROST) != (codes[:-1] == PERMAFROST)
    box = busiest(work, sheet, mixed & np.isin(codes, GROUND))
    frame(whole, sheet, box, "a")
    sheet.part(*box).draw_colours(left, codes, CLASS_COLOURS, NO_VALUE_COLOUR)
    left.set_title("a, where permafrost and other ground lie closest")
    if areas is not None:
        _area_bars(right, areas)
    else:
        right.set_axis_off()
    class_legend(figure, set(np.unique(codes[sheet.inside]).tolist()))
    return figure


def _map_above_two(work: Work, sheet: MapSheet, title: str, legend_rows: int = 1) -> tuple[Figure, Axes, list[Axes]]:
    above = (WIDTH - 0.5) / sheet.aspect + 0.3
    figure = Figure(figsize=(WIDTH, 0.35 + above + 3.3 + 0.1 + 0.2 * legend_rows), layout="constrained")
    headline(work, figure, title)
    grid = figure.add_gridspec(2, 2, height_ratios=[above, 3.3])
    return figure, figure.add_subplot(grid[0, :]), [figure.add_subplot(grid[1, column]) for column in (0, 1)]


def _area_bars(axes: Axes, table: Any) -> None:
    area = {class_code(name): float(km2) for name, km2 in zip(table["class"], table["km2"], strict=True)}
    codes = [code for code in CLASS_COLOURS if area.get(code)]
    whole = sum(area[code] for code in codes)
    bars = axes.barh(
        [wrapped(CLASS_NAMES[code]) for code in codes],
        [area[code] / 1000 for code in codes],
        color=[CLASS_COLOURS[code] for code in codes],
        edgecolor=INK,
        linewidth=0.5,
    )
    labels = [f"{thousands(area[code] / 1000)} ({100 * area[code] / whole:.1f} %)" for code in codes]
    axes.bar_label(bars, labels=labels, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set(xlabel="area [1000 km²]", title="b, area and share of what has a class")
    bare(axes)


# ---- other maps ----------------------------------------------------------------------------------------------------


def reference_names(work: Work) -> list[str]:
    """Return the names of the maps of others that the cube holds, in the recipe's order; not the run's own again."""
    keys = work.storage.list(f"{CUBE}/reference/")
    names = {key.split("/")[2] for key in keys if key.count("/") > 2} - {SAME}
    order = reference_scopes(work.recipe)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def reference_maps(work: Work) -> dict[str, Numbers]:
    """Return the classes of the maps of others, by name."""
    cubes = {name: group_of(work, f"reference/{name}", schema.FROZEN_GROUND.name) for name in reference_names(work)}
    return {name: cube[schema.FROZEN_GROUND.name].to_numpy() for name, cube in cubes.items() if cube is not None}


def beside_others(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the last epoch's map beside those of others."""
    own, others = by_epoch(work, "frozen_ground", schema.FROZEN_GROUND.name), reference_maps(work)
    if not own or not others:
        return None
    epoch, codes = list(own.items())[-1]
    shown = {f"this run, {label_of(work, epoch)}": codes} | others
    figure, panels = map_figure(
        work, sheet, "Frozen ground by this run and by other maps", len(shown), columns=2, legend_rows=1
    )
    present: set[int] = set()
    for axes, (name, classes) in zip(panels, shown.items(), strict=True):
        sheet.draw_colours(axes, classes, CLASS_COLOURS, NO_VALUE_COLOUR)
        axes.set_title(reference_title(work.recipe, name))
        present |= set(np.unique(classes[sheet.inside]).tolist())
    class_legend(figure, present)
    return figure


AGREEMENTS: Mapping[int, tuple[str, str]] = {
    0: ("permafrost in both", PALE_BLUE),
    1: ("permafrost in neither", PALE_GREY),
    2: ("permafrost by this run alone", BLUE),
    3: ("permafrost by the other map alone", VERMILION),
    4: ("glacier or lake in either", GREY),
}


def agreement_of(own: Numbers, other: Numbers) -> npt.NDArray[np.uint8]:
    """Return how two maps of classes agree on permafrost, codes of `AGREEMENTS`; 255 where either has no class.

    Examples
    --------
    >>> agreement_of(np.array([1, 2, 1, 3, 4, 1]), np.array([1, 3, 2, 1, 1, 255])).tolist()
    [0, 1, 2, 3, 4, 255]
    """
    kind = np.full(own.shape, 255, np.uint8)
    ground = np.isin(own, GROUND) & np.isin(other, GROUND)
    mine, theirs = own == PERMAFROST, other == PERMAFROST
    for code, where in enumerate((mine & theirs, ~mine & ~theirs, mine & ~theirs, ~mine & theirs)):
        kind[ground & where] = code
    kind[np.isin(own, list(CLASS_COLOURS)) & np.isin(other, list(CLASS_COLOURS)) & ~ground] = 4
    return kind


def inconsistency(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw where the last epoch's map and those of others differ on permafrost."""
    own, others = by_epoch(work, "frozen_ground", schema.FROZEN_GROUND.name), reference_maps(work)
    if not own or not others:
        return None
    _, codes = list(own.items())[-1]
    title = "Where other maps differ on permafrost, share of the ground"
    figure, panels = map_figure(work, sheet, title, len(others), columns=2, legend_rows=2)
    present: set[int] = set()
    for axes, (name, classes) in zip(panels, others.items(), strict=True):
        kind = agreement_of(codes, classes)
        sheet.draw_colours(axes, kind, {code: colour for code, (_, colour) in AGREEMENTS.items()}, NO_VALUE_COLOUR)
        compared = kind[sheet.inside & (kind < 4)]
        differ = f": {100 * np.mean(compared > 1):.1f} %" if compared.size else ""
        axes.set_title(f"{reference_title(work.recipe, name)}{differ}")
        present |= set(np.unique(kind[sheet.inside]).tolist())
    handles = [patch(colour, name) for code, (name, colour) in AGREEMENTS.items() if code in present]
    draw_legend(figure, handles + ([patch(NO_VALUE_COLOUR, "no data")] if 255 in present else []), columns=3)
    return figure


# ---- change --------------------------------------------------------------------------------------------------------

LOSSES = {"permafrost_lost": "permafrost lost", "frost_lost": "seasonally frozen to non-frozen"}


def change_and_spots(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the change of classes, and larger the parts with most loss of permafrost and of seasonal frost."""
    maps = by_epoch(work, "frozen_ground", schema.FROZEN_GROUND.name)
    if len(maps) < 2:
        return None
    kinds = kind_of_change(maps["training"], maps["target"])
    colours = {kind: colour for kind, (_, colour) in CHANGES.items()}
    present = set(np.unique(kinds[sheet.inside]).tolist())
    title = f"Change of frozen ground, {label_of(work, 'training')} to {label_of(work, 'target')}"
    figure, whole, panels = _map_above_two(work, sheet, title, legend_rows=-(-len(present) // 3))
    sheet.draw_colours(whole, kinds, colours, NO_VALUE_COLOUR)
    locator(whole, sheet)
    shares = change_shares(work)
    for axes, letter, (loss, words), kind in zip(panels, "ab", LOSSES.items(), (1, 3), strict=True):
        if not np.any(kinds[sheet.inside] == kind):
            axes.set_axis_off()
            axes.text(0.5, 0.5, f"{letter}: nowhere {words}", ha="center", va="center", transform=axes.transAxes)
            continue
        box = spot_box(work, loss) or busiest(work, sheet, kinds == kind)
        frame(whole, sheet, box, letter)
        sheet.part(*box).draw_colours(axes, kinds, colours, NO_VALUE_COLOUR)
        share = f"; on all the map {shares[loss]:.1f} % of change" if loss in shares else ""
        axes.set_title(f"{letter}, {words}{share}", fontsize=8.5)
    handles = [patch(colour, name) for kind, (name, colour) in CHANGES.items() if kind in present]
    draw_legend(figure, handles + ([patch(NO_VALUE_COLOUR, "no data")] if 255 in present else []), columns=3)
    return figure


def spot_box(work: Work, kind: str) -> tuple[float, float, float, float] | None:
    """Return west, south, east, north of the hot spot of a kind that is named, else the greatest; None without."""
    table = table_of(work, "hot_spots", "kind", "found_by", "changed_km2", "west", "south", "east", "north")
    if table is None:
        return None
    table = table[(table["kind"] == kind) & table["west"].notna()]
    if table.empty:
        return None
    ordered = table.assign(named=table["found_by"] == "rectangle").sort_values(["named", "changed_km2"])
    row = ordered.iloc[-1]
    middle = [(row["west"] + row["east"]) / 2, (row["south"] + row["north"]) / 2]
    across, up = max(row["east"] - row["west"], 0.4) * 0.55, max(row["north"] - row["south"], 0.4) * 0.55
    return middle[0] - across, middle[1] - up, middle[0] + across, middle[1] + up


def change_shares(work: Work) -> dict[str, float]:
    """Return the share of all changed area that each kind of loss is, all over the map [%]."""
    table = table_of(work, "transition", "from", "to", "km2")
    if table is None:
        return {}
    changed = table[table["from"] != table["to"]]
    whole = float(changed["km2"].sum())
    lost = changed[(changed["from"] == "permafrost") & changed["to"].isin(["seasonally_frozen", "non_frozen"])]
    thawed = changed[(changed["from"] == "seasonally_frozen") & (changed["to"] == "non_frozen")]
    if whole <= 0:
        return {}
    return {name: 100 * float(rows["km2"].sum()) / whole for name, rows in zip(LOSSES, (lost, thawed), strict=True)}
