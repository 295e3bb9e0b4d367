"""Maps of classes: frozen ground, its change, and boreholes on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from frostmap.kernels.frost_number import (
    CLASS_NAMES,
    GLACIER,
    LAKE,
    NON_FROZEN,
    PERMAFROST,
    SEASONALLY_FROZEN,
)
from frostmap.pipeline.figures.contents import Numbers, by_epoch, epoch_title, is_permafrost, label_of, table_of
from frostmap.pipeline.figures.layout import class_legend, draw_legend, map_figure, pale, patch
from frostmap.pipeline.figures.palette import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    GREEN,
    GREY,
    PALE_BLUE,
    PALE_GREY,
    PURPLE,
    VERMILION,
)
from frostmap.pipeline.map_sheets import NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.work import Work


def frozen_ground(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the classes of each epoch."""
    maps = by_epoch(work, "frozen_ground", "frozen_ground")
    if not maps:
        return None
    figure, panels = map_figure(work, sheet, "Frozen ground", len(maps), legend_rows=1)
    present: set[int] = set()
    for axes, (epoch, codes) in zip(panels, maps.items(), strict=True):
        sheet.draw_colours(axes, codes, CLASS_COLOURS, NO_VALUE_COLOUR)
        axes.set_title(epoch_title(work, epoch))
        present |= set(np.unique(codes[sheet.inside]).tolist())
    class_legend(figure, present)
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
    maps = by_epoch(work, "frozen_ground", "frozen_ground")
    if len(maps) < 2:
        return None
    before, after = maps["training"], maps["target"]
    kinds = kind_of_change(before, after)
    title = f"Change of frozen ground, {label_of(work, 'training')} to {label_of(work, 'target')}"
    present = set(np.unique(kinds[sheet.inside]).tolist())
    patches = [patch(colour, name) for kind, (name, colour) in CHANGES.items() if kind in present]
    patches += [patch(NO_VALUE_COLOUR, "no data")] if 255 in present else []
    figure, (axes,) = map_figure(work, sheet, title, 1, legend_rows=-(-len(patches) // 3))
    sheet.draw_colours(axes, kinds, {kind: colour for kind, (_, colour) in CHANGES.items()}, NO_VALUE_COLOUR)
    draw_legend(figure, patches, columns=3)
    return figure


def boreholes(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw boreholes on the map that they judge."""
    sites = table_of(work, "boreholes", "longitude", "latitude", "observed", "mapped")
    maps = by_epoch(work, "frozen_ground", "frozen_ground")
    if sites is None or not maps:
        return None
    sites = sites[sites["mapped"].notna()]  # the others lie outside the map
    epoch, codes = list(maps.items())[-1]
    title = f"Boreholes on the map of {label_of(work, epoch)}"
    figure, (axes,) = map_figure(work, sheet, title, 1, legend_rows=4)
    paler = {code: pale(colour) for code, colour in CLASS_COLOURS.items()}
    sheet.draw_colours(axes, codes, paler, NO_VALUE_COLOUR)
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
    classes = [patch(colour, CLASS_NAMES[code]) for code, colour in paler.items() if code in present]
    draw_legend(figure, [*handles, *classes], columns=2)
    return figure
