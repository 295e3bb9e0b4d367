"""Maps of others beside the run's own, and where they differ."""

from __future__ import annotations

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from frostmap.kernels.inconsistency import BOTH, FIRST_ONLY, NEITHER, NOT_COMPARED, SECOND_ONLY
from frostmap.pipeline.figures.contents import Numbers, epoch_title, group_of
from frostmap.pipeline.figures.layout import class_legend, draw_legend, map_figure, patch
from frostmap.pipeline.figures.palette import BLACK, BLUE, CLASS_COLOURS, PALE_BLUE, PALE_GREY, VERMILION
from frostmap.pipeline.map_sheets import NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.reference_maps import SAME, compared_epoch, reference_group, reference_scopes, reference_title
from frostmap.pipeline.work import Work
from frostmap.pipeline.zones import shape_of

MOST_PANELS = 6
"""Maps beyond this many are in the cube and in the tables alone."""
KINDS = {
    BOTH: ("permafrost in both", PALE_BLUE),
    FIRST_ONLY: ("in this map alone", BLUE),
    SECOND_ONLY: ("in the other alone", VERMILION),
    NEITHER: ("in neither", PALE_GREY),
}


def shown(work: Work) -> list[str]:
    """Return the reference maps that figures show: not the one that is the run's own map again."""
    return [scope for scope in reference_scopes(work.recipe) if scope != SAME][:MOST_PANELS]


def _layers(work: Work, stage: str, variable: str) -> dict[str, Numbers]:
    groups = {scope: reference_group(scope) if stage == "reference" else f"{stage}/{scope}" for scope in shown(work)}
    cubes = {scope: group_of(work, group, variable) for scope, group in groups.items()}
    return {scope: cube[variable].to_numpy() for scope, cube in cubes.items() if cube is not None}


def reference_maps(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the classes of each reference map."""
    maps = _layers(work, "reference", "frozen_ground")
    if not maps:
        return None
    figure, panels = map_figure(work, sheet, "Reference maps", len(maps), columns=2, legend_rows=2)
    present: set[int] = set()
    for axes, (scope, codes) in zip(panels, maps.items(), strict=True):
        sheet.draw_colours(axes, codes, CLASS_COLOURS, NO_VALUE_COLOUR)
        axes.set_title(reference_title(work.recipe, scope))
        present |= set(np.unique(codes[sheet.inside]).tolist())
    class_legend(figure, present)
    return figure


def inconsistency(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw where each reference map and the run's own say different things of permafrost, with the zones."""
    maps = _layers(work, "inconsistency", "inconsistency")
    if not maps:
        return None
    epochs = {compared_epoch(work.recipe, scope) for scope in maps}
    title = "Where maps differ"
    if len(epochs) == 1:
        title = f"Where maps differ from that of {epoch_title(work, epochs.pop())}"
    figure, panels = map_figure(work, sheet, title, len(maps), columns=2, legend_rows=3)
    present: set[int] = set()
    for axes, (scope, kinds) in zip(panels, maps.items(), strict=True):
        sheet.draw_colours(axes, kinds, {kind: colour for kind, (_, colour) in KINDS.items()}, NO_VALUE_COLOUR)
        axes.set_title(reference_title(work.recipe, scope))
        draw_zones(work, sheet, axes)
        present |= set(np.unique(kinds[sheet.inside]).tolist())
    handles: list[Line2D | Patch] = [patch(colour, name) for kind, (name, colour) in KINDS.items() if kind in present]
    handles += [patch(NO_VALUE_COLOUR, "not compared")] if NOT_COMPARED in present else []
    if work.recipe.validation.zones:
        handles.append(Line2D([], [], color=BLACK, linewidth=1.0, linestyle="--", label="zones"))
    draw_legend(figure, handles, columns=3)
    return figure


def draw_zones(work: Work, sheet: MapSheet, axes: Axes) -> None:
    """Draw the outlines of the recipe's zones."""
    for zone in work.recipe.validation.zones:
        shape = shapely.segmentize(shape_of(work.recipe, zone), 0.1)
        for part in shapely.get_parts(shape):
            for ring in shapely.get_rings(part):
                axes.plot(
                    *sheet.positions(*shapely.get_coordinates(ring).T), color=BLACK, linewidth=1.0, linestyle="--"
                )
