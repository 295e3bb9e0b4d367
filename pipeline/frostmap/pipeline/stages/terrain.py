"""Elevation, and the slope, aspect and wetness that follow from it, on the map's grid.

Slopes and flow are computed on the elevation model's own grid of latitude and longitude, whose axes run east and north
and whose cells' size in metres is known by row, and their means are taken over the map's pixels: the sinusoidal grid is
sheared, east is not along its rows. The map is cut twice: into blocks for what follows from a cell and its neighbours,
which are the whole to the last bit; and into pieces with a margin for wetness, which follows from all ground upslope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.warp import transform_bounds

from frostmap.catalogs.elevation import MODELS
from frostmap.catalogs.grids import SINUSOIDAL_CRS, SPHERE_RADIUS, Bounds
from frostmap.kernels.drainage import (
    BYTES_PER_CELL,
    Flow,
    drained_wetness,
    empty_levels,
    fill_depressions,
    flow_accumulation,
    set_levels,
)
from frostmap.kernels.pixel_means import PixelSums, add_cells, no_cells, pixel_means
from frostmap.kernels.terrain import slope_aspect
from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import NOTES, Part, Result, Task, called_often, joined_pieces
from frostmap.pipeline.elevation_cells import places_in
from frostmap.pipeline.elevation_mosaic import (
    CACHE_BYTES,
    Elevation,
    Mosaic,
    mosaic_of_cells,
    mosaic_of_raster,
)
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import ElevationCatalogue, Recipe
from frostmap.pipeline.schema import EASTNESS, ELEVATION, NORTHNESS, SLOPE, TERRAIN, WETNESS, Variable
from frostmap.pipeline.stage import Noted, Products, Stage, everywhere
from frostmap.pipeline.stages.elevation_cells import ELEVATION_CELLS
from frostmap.pipeline.stages.elevation_cells import TABLE as TABLE_OF_CELLS
from frostmap.pipeline.work import KM_PER_DEGREE, Work, open_raster

GROUND = (ELEVATION, SLOPE, EASTNESS, NORTHNESS)
"""What follows from a cell and its neighbours."""

BLOCK_PIXELS = 1200
"""Most pixels along a block's rows; it is one chunk high, because tall blocks lie aslant in latitude and longitude."""

MOST_ROWS = 6000
"""Most rows of elevation in a piece and its margin: up to some 100 million cells, aslant as pieces lie."""

STRIP_ROWS = 64
"""Rows of elevation that are turned into means at once."""

PARTS_PER_PIXEL = 8
"""Cells, or parts of one, along a pixel's side, at least."""

STRIP_BYTES = 100
"""Of a cell in a strip: its values, and what these are made of [bytes]."""

PART_BYTES, PART_BYTES_ELSEWHERE = 20, 80
"""Of a part of a cell in a strip: its pixel, and what this is made of, on MODIS's grid and on any other [bytes]."""

Numbers = npt.NDArray[np.float64]


class Rectangle(NamedTuple):
    """Some pixels of the map, or around it."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def wider(self, pixels: int) -> Rectangle:
        """Return the rectangle with a margin."""
        return Rectangle(*(slice(part.start - pixels, part.stop + pixels) for part in self))

    def meet(self, other: Rectangle | None) -> Rectangle | None:
        """Return what two have in common, if there are two and they have."""
        if other is None:
            return None
        both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(self, other, strict=True)]
        return Rectangle(*both) if all(part.start < part.stop for part in both) else None

    def within(self, other: Rectangle) -> Rectangle:
        """Return its place in an array of another rectangle."""
        return Rectangle(*(slice(a.start - b.start, a.stop - b.start) for a, b in zip(self, other, strict=True)))


# ---- how the map is cut -------------------------------------------------------------------------------------------


def build(work: Work, _scope: str) -> Products:
    """Return the terrain of a raster, or of the cells that were found."""
    given = _given(work)
    layers: dict[str, dict[tuple[int, ...], da.Array]] = {v.name: {} for v in TERRAIN}
    tasks: list[Task] = []

    def add(what: str, block: Rectangle, variables: Sequence[Variable], task: Any, cause: str) -> None:
        place = block.rows.start, block.columns.start
        for variable in variables:
            layers[variable.name][place] = (
                da.full(block.shape, variable.fill_value, dtype=variable.dtype, chunks=block.shape)
                if task is None
                else da.from_delayed(task[variable.name], block.shape, dtype=np.dtype(variable.dtype))
            )
        if task is not None:
            parts = tuple(Part(v.name, v.name, (block.rows, block.columns)) for v in variables)
            tasks.append(Task(f"{what}-y{place[0]:05d}-x{place[1]:05d}", task, parts, cause))

    grid = _coarse(work, given.mosaic) if given is not None else _grid(work)
    ground, wetness = called_often(ground_of_block), called_often(wetness_of_block)
    for block in blocks(work):
        task, cause = None, ""
        if given is not None and work.inside_with_margin[block].any():
            bounds = _bounds(_box(work.geobox, block), 3 * grid.down)
            mosaic, cause = given.around(bounds)
            task = ground(mosaic, mosaic.coarsened(grid.times), work.geobox, block)
        add("ground", block, GROUND, task, cause)
    margin = margin_pixels(work)
    for block, pieces in cut_in_pieces(work, grid):
        task, cause = None, ""
        if given is not None and pieces:
            boxes = [_bounds(_box(work.geobox, piece.wider(margin)), 3 * grid.down) for piece in pieces]
            mosaic, cause = given.around(_union(boxes))
            flow = work.recipe.terrain.flow
            task = wetness(mosaic.coarsened(grid.times), work.geobox, block, pieces, margin, flow)
        add("wetness", block, (WETNESS,), task, cause)
    return Products(
        cube=xr.Dataset({v.name: (v.dims, joined_pieces(layers[v.name]), v.attrs) for v in TERRAIN}),
        tasks=tuple(tasks),
        noted=_account,
    )


def blocks(work: Work) -> Iterator[Rectangle]:
    """Yield the blocks of the map: one chunk high, at most 1200 pixels wide, whole chunks."""
    height, width = work.shape
    across = work.chunk_pixels * max(1, BLOCK_PIXELS // work.chunk_pixels)
    for top in range(0, height, work.chunk_pixels):
        for left in range(0, width, across):
            yield Rectangle(slice(top, min(top + work.chunk_pixels, height)), slice(left, min(left + across, width)))


def cut_in_pieces(work: Work, grid: Mosaic) -> Iterator[tuple[Rectangle, list[Rectangle]]]:
    """Yield blocks of whole chunks, and the pieces with pixels of the region that each is made of.

    Pieces are counted from the lattice's corner and end where the region does: chunks change nothing.
    """
    side = piece_pixels(work, grid)
    chunk = work.chunk_pixels
    inside = work.inside
    rows, columns = (np.flatnonzero(inside.any(axis=axis)).tolist() for axis in (1, 0))
    whole = Rectangle(slice(0, work.shape[0]), slice(0, work.shape[1]))
    region = Rectangle(slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows else None
    for block in _anchored(work, whole, chunk * max(1, side // chunk)):
        squares = () if region is None else _anchored(work, block, side, clipped=False)
        pieces = [piece for square in squares if (piece := square.meet(region)) and piece.meet(block)]
        yield block, [piece for piece in pieces if inside[piece].any()]


def _anchored(work: Work, area: Rectangle, side: int, *, clipped: bool = True) -> Iterator[Rectangle]:
    """Yield the squares that touch an area, counted from the lattice's corner."""
    origin = (0, 0) if work.recipe.region.grid_of else work.tile_origin("h00v00")
    spans = []
    for part, start in zip(area, origin, strict=True):
        first = start + (part.start - start) // side * side
        spans.append([slice(at, at + side) for at in range(first, part.stop, side)])
    for rows in spans[0]:
        for columns in spans[1]:
            square = Rectangle(rows, columns)
            touching = square.meet(area)
            if touching is not None:
                yield touching if clipped else square


def piece_pixels(work: Work, grid: Mosaic) -> int:
    """Return how many pixels a piece has along its side: the most whose elevations, with the margin's, fit."""
    region = work.recipe.region
    tile = BLOCK_PIXELS if region.grid_of else region.pixels_per_tile
    sides = [4 * tile, 2 * tile, *(tile // part for part in (1, 2, 3, 4, 6, 12) if tile % part == 0)]
    rows_a_pixel = work.pixel_km / (KM_PER_DEGREE * grid.down)
    around = 2 * margin_pixels(work)
    return next((side for side in sides if (side + around) * rows_a_pixel <= MOST_ROWS), sides[-1])


def margin_pixels(work: Work) -> int:
    """Return how far around a piece water is followed [pixels]."""
    return math.ceil(work.recipe.terrain.wetness_margin_km / work.pixel_km)


# ---- what a task does ---------------------------------------------------------------------------------------------


def ground_of_block(mosaic: Mosaic, sloping: Mosaic, geobox: GeoBox, block: Rectangle) -> Result:
    """Return elevation, slope and the components of aspect of a block of the map.

    Parameters
    ----------
    mosaic
        The elevation model.
    sloping
        The model that slopes are of: the same, or the means of several of its cells.
    geobox
        The map's grid.
    block
        The pixels that are wanted.
    """

    def slopes(halo: Elevation, dx: Numbers, dy: Numbers) -> Sequence[Elevation]:
        return slope_aspect(halo, dx, dy)

    if mosaic == sloping:
        sums = _sums(mosaic, geobox, block, 4, lambda halo, dx, dy: [halo, *slopes(halo, dx, dy)])
        layers = pixel_means(sums)
    else:
        sums = _sums(mosaic, geobox, block, 1, lambda halo, _dx, _dy: [halo])
        layers = np.concatenate([pixel_means(sums), pixel_means(_sums(sloping, geobox, block, 3, slopes))])
    cells, known = (int(part.sum(dtype=np.int64)) for part in (sums.cells, sums.known[0]))
    note = {"what": "ground", **_place(block), "cells": cells, "missing": cells - known}
    return {v.name: layer for v, layer in zip(GROUND, layers, strict=True)} | {NOTES: [note]}


def _sums(
    mosaic: Mosaic,
    geobox: GeoBox,
    block: Rectangle,
    layers: int,
    values: Callable[[Elevation, Numbers, Numbers], Sequence[Elevation]],
) -> PixelSums:
    """Return what some values of cells add up to over the pixels of a block, read strip by strip with a halo."""
    sums = no_cells(layers, block.shape)
    rows, columns = mosaic.around(_bounds(_box(geobox, block)))
    parts = _parts(mosaic, geobox)
    with mosaic.opened() as relief:
        for strip in _strips(rows):
            halo = slice(strip.start - 1, strip.stop + 1)
            elevation = relief.read(halo, slice(columns.start - 1, columns.stop + 1))
            found = np.stack([layer[1:-1, 1:-1] for layer in values(elevation, *mosaic.cell_metres(halo))])
            add_cells(sums, found, *places(mosaic, strip, columns, geobox, block, parts), parts)
    return sums


def wetness_of_block(
    mosaic: Mosaic, geobox: GeoBox, block: Rectangle, pieces: Sequence[Rectangle], margin: int, flow: Flow
) -> Result:
    """Return the wetness of a block of the map; NaN where none of its pieces is."""
    index = np.full(block.shape, np.nan, np.float32)
    notes = []
    for piece in pieces:
        own = piece.meet(block)
        if own is not None:
            found, note = wetness_of_piece(mosaic, geobox, piece, margin, flow)
            index[own.within(block)] = found[own.within(piece)]
            notes.append(note)
    return {WETNESS.name: index, NOTES: notes}


def wetness_of_piece(
    mosaic: Mosaic, geobox: GeoBox, piece: Rectangle, margin: int, flow: Flow
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return the wetness of some pixels, by the water of all that lies within a margin of them [pixels]; and a note."""
    around = piece.wider(margin)
    rows, columns = mosaic.around(_bounds(_box(geobox, around)))
    levels = empty_levels(rows.stop - rows.start, columns.stop - columns.start)
    with mosaic.opened() as relief:
        for strip in _strips(rows):
            elevation = relief.read(strip, columns)
            y, x = places(mosaic, strip, columns, geobox, around)
            elevation[(y < 0) | (x < 0) | (y >= around.shape[0]) | (x >= around.shape[1])] = np.nan
            set_levels(levels, elevation, strip.start - rows.start)
    filled = fill_depressions(levels)
    dx, dy = mosaic.cell_metres(rows)
    drained = flow_accumulation(levels, dx, dy, flow)
    parts = _parts(mosaic, geobox)
    sums = no_cells(2, piece.shape)
    inner, _ = mosaic.around(_bounds(_box(geobox, piece)))
    for strip in _strips(slice(max(inner.start, rows.start), min(inner.stop, rows.stop))):
        own = slice(strip.start - rows.start, strip.stop - rows.start)
        index = drained_wetness(levels, drained.area, dx, dy, flow, own)
        beyond = np.where(np.isnan(index), np.nan, drained.from_beyond[1:-1, 1:-1][own]).astype(np.float32)
        add_cells(sums, np.stack([index, beyond]), *places(mosaic, strip, columns, geobox, piece, parts), parts)
    cells, known = int(sums.cells.sum(dtype=np.int64)), int(sums.known[0].sum(dtype=np.int64))
    note = {"what": "wetness", **_place(piece), "cells": cells // parts**2, "missing": (cells - known) // parts**2}
    note |= {"window": [rows.stop - rows.start, columns.stop - columns.start], "raised": filled.cells}
    note |= {"deepest_m": filled.deepest / 1000, "from_beyond": round(float(sums.sums[1].sum()) / parts**2)}
    return pixel_means(sums)[0], note


def _place(pixels: Rectangle) -> dict[str, int]:
    return {
        "first_row": pixels.rows.start,
        "first_column": pixels.columns.start,
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
    }


def _strips(rows: slice) -> Iterator[slice]:
    for top in range(rows.start, rows.stop, STRIP_ROWS):
        yield slice(top, min(top + STRIP_ROWS, rows.stop))


# ---- where cells lie ----------------------------------------------------------------------------------------------


def places(
    mosaic: Mosaic, rows: slice, columns: slice, geobox: GeoBox, block: Rectangle, parts: int = 1
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the pixels, counted from a block's first, that hold the centres of cells or of parts of them.

    Returns
    -------
    rows, columns : (y * parts, x * parts) int32
        May lie outside of the block.
    """
    latitude, longitude = mosaic.latitudes(rows, parts), mosaic.longitudes(columns, parts)
    inverse, shape = ~geobox.affine, (latitude.size, longitude.size)
    if geobox.crs == SINUSOIDAL_CRS:  # a fiftieth of the general way's cost
        phi = np.radians(latitude)
        row = inverse.e * SPHERE_RADIUS * phi + (inverse.f - block.rows.start)
        column = (inverse.a * SPHERE_RADIUS * np.cos(phi))[:, None] * np.radians(longitude)
        column += inverse.c - block.columns.start
        return np.broadcast_to(_whole(row)[:, None], shape), _whole(column)
    transformer = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True)
    x, y = transformer.transform(np.broadcast_to(longitude, shape), np.broadcast_to(latitude[:, None], shape))
    off = ~(np.isfinite(x) & np.isfinite(y))
    column = np.where(off, -1e9, inverse.a * x + inverse.b * y + (inverse.c - block.columns.start))
    row = np.where(off, -1e9, inverse.d * x + inverse.e * y + (inverse.f - block.rows.start))
    return _whole(row), _whole(column)


def _whole(places: Numbers) -> npt.NDArray[np.int32]:
    return np.floor(places, out=places).astype(np.int32)


def _parts(mosaic: Mosaic, geobox: GeoBox) -> int:
    """Return into how many parts along its side a cell is cut, so that a pixel holds enough of them."""
    return max(1, math.ceil(PARTS_PER_PIXEL * KM_PER_DEGREE * max(mosaic.across, mosaic.down) / _pixel_km(geobox)))


def _pixel_km(geobox: GeoBox) -> float:
    size = abs(geobox.affine.a)
    return size * KM_PER_DEGREE if geobox.crs is not None and geobox.crs.geographic else size / 1000


def _box(geobox: GeoBox, pixels: Rectangle) -> GeoBox:
    shift = Affine.translation(pixels.columns.start, pixels.rows.start)
    return GeoBox(pixels.shape, geobox.affine * shift, geobox.crs)


def _bounds(geobox: GeoBox, margin: float = 0.0) -> Bounds:
    """Return west, south, east and north [°] of a grid, a pixel around it, and a margin [°]."""
    box = geobox.pad(1).boundingbox
    west, south, east, north = transform_bounds(str(geobox.crs), "EPSG:4326", *box, densify_pts=50)
    return (
        max(west - margin, -180.0), max(south - margin, -90.0), min(east + margin, 180.0), min(north + margin, 90.0)
    )  # fmt: skip


def _union(boxes: Iterable[Bounds]) -> Bounds:
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


# ---- the elevation model ------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """The elevation model of a run."""

    mosaic: Mosaic
    digests: Mapping[Path, str]
    """Of the content of its files, where it has many."""

    def around(self, bounds: Bounds) -> tuple[Mosaic, str]:
        """Return what of it touches a box [°], and the digest of that."""
        part = self.mosaic.within(bounds)
        causes = [(sheet.path.name, self.digests[sheet.path]) for sheet in part.sheets if sheet.path in self.digests]
        return part, ledger.digest(sorted(causes)) if self.digests else ""


def _given(work: Work) -> Given | None:
    """Return the elevation model; None where no cell of it could be had."""
    raster = _raster(work.recipe)
    if raster is not None:
        return Given(_mosaic_of(raster, work), {})
    cells = work.elevation_cells
    if cells is None or not work.table_path(TABLE_OF_CELLS).exists():
        return None
    found = places_in(work.table(TABLE_OF_CELLS), cells.found, work.downloads.folder)
    if not found:
        return None
    return Given(mosaic_of_cells([place for place, _ in found]), {place.path: digest for place, digest in found})


def _mosaic_of(raster: Path, work: Work) -> Mosaic:
    with open_raster(raster, "sources.elevation") as file:
        mosaic = mosaic_of_raster(file, f"{raster} (recipe: sources.elevation)")
        bounds = _bounds(work.geobox)
        if not mosaic.within(bounds).sheets:
            west, south, east, north = bounds
            raise UserError(
                "the elevation model does not cover the region",
                where=f"{raster} (recipe: sources.elevation)",
                found=f"bounds {tuple(file.bounds)}",
                wanted=f"{west:.2f} to {east:.2f} °E, {south:.2f} to {north:.2f} °N",
                remedy="give one that covers the region",
            )
        return mosaic


def _grid(work: Work) -> Mosaic:
    """Return the grid that wetness is computed on, without its files: known before these are there."""
    raster, given = _raster(work.recipe), work.recipe.sources.elevation
    if raster is not None:
        with open_raster(raster, "sources.elevation") as file:
            grid = mosaic_of_raster(file, f"{raster} (recipe: sources.elevation)")
    else:
        model = given.model if isinstance(given, ElevationCatalogue) else "cop-dem-glo-90"
        step = 1.0 / MODELS[model].cells_per_degree
        grid = Mosaic(-180.0, 90.0, step, step, ())
    return _coarse(work, grid)


def _coarse(work: Work, mosaic: Mosaic) -> Mosaic:
    """Return the cells that slopes and wetness are of: the model's own, or means of them about as large as a pixel."""
    times = max(1, round(work.pixel_km / (KM_PER_DEGREE * mosaic.down)))
    return mosaic.coarsened(times if work.recipe.terrain.order == "dem_first" else 1)


def _raster(recipe: Recipe) -> Path | None:
    given = recipe.sources.elevation
    return recipe.path(given) if isinstance(given, Path) else None


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    raster = _raster(recipe)
    return [] if raster is None else [raster]


# ---- what it takes, and what became of it -------------------------------------------------------------------------


def memory(work: Work, _scope: str) -> int:
    """Return the most that a task takes [bytes]: a piece's cells and its margin's, a strip of them, a cache."""
    grid, margin = _grid(work), margin_pixels(work)
    parts = _parts(grid, work.geobox)
    part_bytes = PART_BYTES if work.geobox.crs == SINUSOIDAL_CRS else PART_BYTES_ELSEWHERE
    most = 0
    windows = [(block, 0) for block in blocks(work)]
    windows += [(piece.wider(margin), BYTES_PER_CELL) for _, pieces in cut_in_pieces(work, grid) for piece in pieces]
    for pixels, bytes_per_cell in windows:
        rows, columns = grid.around(_bounds(_box(work.geobox, pixels)))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        strip = (STRIP_ROWS + 2) * width * max(grid.times**2 * 10, STRIP_BYTES + parts**2 * part_bytes)
        cached = min(CACHE_BYTES, height * width * grid.times**2 * 4)
        most = max(most, height * width * bytes_per_cell + strip + cached)
    return most


def _account(notes: Sequence[Any]) -> Noted:
    """Return what was made of which cells, as a table."""
    rows = []
    for note in (each for several in notes for each in several or ()):
        row = {key: value for key, value in note.items() if key != "window"}
        if "window" in note:
            row |= {"window_rows": note["window"][0], "window_columns": note["window"][1]}
        rows.append(row)
    columns = ["what", "first_row", "first_column", "rows", "columns", "cells", "missing", "from_beyond"]
    columns += ["window_rows", "window_columns", "raised", "deepest_m"]
    table = pd.DataFrame(rows, columns=columns).drop_duplicates(["what", "first_row", "first_column"])
    return Noted(tables={"terrain": table.sort_values(columns[:3], ignore_index=True)})


TERRAIN_MADE = Stage(
    "terrain",
    "elevation, slope, aspect, wetness",
    build,
    scopes=lambda recipe: [""] if recipe.sources.elevation else [],
    inputs=lambda recipe, _scope: [ELEVATION_CELLS.name] if ELEVATION_CELLS.scopes(recipe) else [],
    sources=_sources,
    sections=("terrain",),
    writes=TERRAIN,
    memory=memory,
    wanted=everywhere,
    version=2,
)
