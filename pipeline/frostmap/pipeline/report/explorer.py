"""The map to explore: layers, where they lie, and what is drawn over them, as the page's script reads it.

The script draws on the paper of the figures (`map_sheets`): Lambert's azimuthal equal-area projection about the
region's middle. It knows no projection: a mesh says for points of the paper which pixel they show, and where on Earth
they lie; between them it interpolates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

from frostmap.pipeline.figures import is_permafrost
from frostmap.pipeline.figures.contents import table_of
from frostmap.pipeline.map_sheets import DEGREES, MapSheet, map_sheet, round_steps
from frostmap.pipeline.report.layers import Layer, layers_of
from frostmap.pipeline.report.packing import Window, as_text, window_of
from frostmap.pipeline.report.parts import Section
from frostmap.pipeline.work import Work

MOST_CHARACTERS = 12_000_000
"""Of all layers together; above it numbers are told in larger steps."""
MESH_POINTS = 160
"""Of the mesh along the paper's longer side: on the plateau 20 km apart, where interpolation errs by some 10 m."""
LINES = 30
"""About how many meridians there are for the closest look."""


@dataclass(frozen=True)
class Explorer:
    """What the page's script reads."""

    content: str
    """JSON: the paper, the grid, the layers and their legends, sites."""
    layers: Sequence[Layer]

    @property
    def by_heading(self) -> dict[str, list[Layer]]:
        """The layers under their headings, in order."""
        listed: dict[str, list[Layer]] = {}
        for layer in self.layers:
            listed.setdefault(layer.heading, []).append(layer)
        return listed


def explorer(work: Work) -> tuple[Section, Explorer | None]:
    """Return the section of the map to explore, and what it shows; None where there is no map yet."""
    title = "Map to explore"
    if not work.inside.any():
        return Section("map", title, [], [], ["The region has no pixel."]), None
    window = window_of(work.inside)
    layers, coarser = layers_of(work, window), 1.0
    while sum(len(layer.packed) for layer in layers) > MOST_CHARACTERS and coarser < 16:
        coarser *= 2
        layers = layers_of(work, window, coarser)
    if not layers:
        return Section("map", title, [], [], ["There is no map to explore yet."]), None
    how = (
        "Drag or use the arrow keys to move, the wheel or + and − to zoom; click, or press Enter, for the values of a "
        "pixel. Numbers are told in steps, which the list of values states; maps/ has them in full."
    )
    return Section("map", title, [how], [], []), Explorer(as_json(work, map_sheet(work), window, layers), layers)


def as_json(work: Work, sheet: MapSheet, window: Window, layers: Sequence[Layer]) -> str:
    """Return all but the packed maps, safe inside a script element."""
    content = {
        "simulated": work.recipe.simulated,
        "extent": [round(edge) for edge in sheet.extent],
        "grid": {
            "top": window.top,
            "left": window.left,
            "width": window.width,
            "first": as_text(window.first.astype(np.int32)),
            "count": as_text(window.count.astype(np.int32)),
        },
        "mesh": _mesh(sheet, window),
        "outline": _outline(sheet, work.pixel_km),
        "graticule": _graticule(sheet),
        "layers": [_as_plain(layer) for layer in layers],
        "sites": _boreholes(work, sheet),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _as_plain(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "title": layer.title,
        "heading": layer.heading,
        "unit": "" if layer.unit == "1" else layer.unit,
        "colours": "".join(colour.removeprefix("#") for colour in layer.colours),
        "names": list(layer.names),
        "low": layer.low,
        "step": layer.step,
        "shown": [float(f"{end:.4g}") for end in layer.shown],
        "predictor": layer.predictor,
        "minus": list(layer.difference_of) if layer.difference_of else None,
    }


def _mesh(sheet: MapSheet, window: Window) -> dict[str, Any]:
    """Return column and row of the window, longitude and latitude, at points of the paper from upper left."""
    left, right, bottom, top = sheet.extent
    spacing = max(right - left, top - bottom) / MESH_POINTS
    across, down = (max(2, round(length / spacing) + 1) for length in (right - left, top - bottom))
    x, y = np.meshgrid(np.linspace(left, right, across), np.linspace(top, bottom, down))
    grid = sheet.geobox.affine
    to_grid = Transformer.from_crs(sheet.crs, str(sheet.geobox.crs), always_xy=True).transform(x, y)
    columns, rows = (to_grid[0] - grid.c) / grid.a - window.left, (to_grid[1] - grid.f) / grid.e - window.top
    longitude, latitude = Transformer.from_crs(sheet.crs, DEGREES, always_xy=True).transform(x, y)
    planes = np.nan_to_num(np.stack([columns, rows, longitude, latitude]), posinf=-1.0, neginf=-1.0)
    return {"across": across, "down": down, "planes": as_text(planes.astype(np.float32))}


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[int]:
    """Return x and y of points in turn, whole metres."""
    return np.rint(np.column_stack([x, y])).astype(int).ravel().tolist()


def _outline(sheet: MapSheet, pixel_km: float) -> list[list[int]]:
    rings = shapely.get_rings(sheet.outline.simplify(500.0 * pixel_km))
    return [_line(*np.asarray(ring.coords).T[:2]) for ring in rings]


def _graticule(sheet: MapSheet) -> dict[str, Any]:
    """Return meridians and parallels by their number of steps from zero, for the script to take every so many."""
    left, right, bottom, top = sheet.extent
    x, y = np.meshgrid(np.linspace(left, right, 60), np.linspace(bottom, top, 60))
    longitude, latitude = Transformer.from_crs(sheet.crs, DEGREES, always_xy=True).transform(x, y)
    west, east, south, north = longitude.min(), longitude.max(), latitude.min(), latitude.max()
    meridians = round_steps(west, east, wanted=LINES)
    step = meridians[1] - meridians[0] if len(meridians) > 1 else 1.0
    parallels = [round(n * step, 6) for n in range(int(np.ceil(south / step)), int(np.floor(north / step)) + 1)]
    along, up = np.linspace(west, east, 60), np.linspace(south, north, 40)
    return {
        "step": round(step, 6),
        "meridians": {str(round(m / step)): _line(*sheet.positions(np.full(up.size, m), up)) for m in meridians},
        "parallels": {str(round(p / step)): _line(*sheet.positions(along, np.full(along.size, p))) for p in parallels},
    }


def _boreholes(work: Work, sheet: MapSheet) -> list[Mapping[str, Any]]:
    """Return the boreholes that lie on the map."""
    table = table_of(work, "boreholes", "name", "longitude", "latitude", "observed", "mapped")
    if table is None:
        return []
    table = table[table["mapped"].notna()]
    x, y = sheet.positions(table["longitude"], table["latitude"])
    observed, mapped = is_permafrost(table["observed"]), is_permafrost(table["mapped"])
    return [
        {"name": str(name), "x": round(float(at)), "y": round(float(up)), "observed": bool(seen), "mapped": bool(drawn)}
        for name, at, up, seen, drawn in zip(table["name"], x, y, observed, mapped, strict=True)
    ]
