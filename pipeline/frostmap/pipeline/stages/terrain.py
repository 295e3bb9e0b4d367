"""Elevation, and the slope, aspect and wetness that follow from it, on the map's grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from affine import Affine
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window, from_bounds

from frostmap.catalogs.elevation import ElevationTile
from frostmap.catalogs.grids import Bounds
from frostmap.kernels.drainage import wetness_index
from frostmap.kernels.terrain import slope_aspect
from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import FAILED, NOTES, Part, Result, Task
from frostmap.pipeline.downloads import Downloads
from frostmap.pipeline.elevation_cells import MARGIN, accounting, fetched_cells, joined_cells
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.granule_inputs import accepts_bad
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import EASTNESS, ELEVATION, NORTHNESS, SLOPE, TERRAIN, WETNESS
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.work import Work, open_raster

METRES_PER_DEGREE = math.pi * 6371007.181 / 180
MEMORY_PER_CELL = 90
"""Peak memory of making terrain [bytes a cell of elevation]: 100 of 1200 x 1200 cells, 86 of 4800 x 4800."""


def build(work: Work, _scope: str) -> Products:
    """Return the terrain of a raster, or of the cells that a catalogue has."""
    cells = work.elevation_cells
    if cells is not None:
        task = delayed(_terrain_of_cells, pure=False, traverse=False)(cells.found, work.downloads, work.geobox)
    else:
        task = delayed(_terrain_of_raster)(_raster(work.recipe), work.geobox)
    whole = tuple(slice(0, length) for length in work.shape)
    parts = tuple(Part(v.name, v.name, whole) for v in TERRAIN)
    layers = {v.name: da.from_delayed(task[v.name], work.shape, dtype=np.dtype(v.dtype)) for v in TERRAIN}
    return Products(
        cube=xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in TERRAIN}),
        tasks=(Task("terrain", task, parts, _cells_digest(work)),),
        noted=partial(accounting, missing=cells.missing, settings=work.recipe.ingest) if cells is not None else None,
    )


def _terrain_of_raster(path: Path, geobox: GeoBox) -> Result:
    return {**terrain_on_grid(*_read_around(path, geobox), geobox)}


def _terrain_of_cells(cells: Sequence[ElevationTile], downloads: Downloads, geobox: GeoBox) -> Result:
    """Return terrain of the elevation model's cells; one that cannot be had or read leaves a hole."""
    found, notes = fetched_cells(cells, downloads)
    failed = len(cells) - len(found)
    if not found:
        return {v.name: np.full(geobox.shape, np.nan, np.float32) for v in TERRAIN} | {NOTES: notes, FAILED: failed}
    elevation, transform = joined_cells(found, _around(geobox, MARGIN))
    return {**terrain_on_grid(elevation, transform, geobox), NOTES: notes, FAILED: failed}


def terrain_on_grid(
    elevation: npt.NDArray[np.float32], transform: Affine, geobox: GeoBox
) -> dict[str, npt.NDArray[np.float32]]:
    """Return elevation, slope, aspect components and wetness, made on the elevation model's own grid, then averaged.

    Slopes and flow are not computed on the sinusoidal grid: it is sheared, east is not across its rows.
    """
    latitude = np.radians(transform.f + transform.e * (np.arange(len(elevation)) + 0.5))
    across = METRES_PER_DEGREE * abs(transform.a) * np.cos(latitude)
    down = METRES_PER_DEGREE * abs(transform.e)
    slope, eastness, northness = slope_aspect(elevation, across, down)
    fine = {
        ELEVATION.name: elevation,
        SLOPE.name: slope,
        EASTNESS.name: eastness,
        NORTHNESS.name: northness,
        WETNESS.name: wetness_index(elevation, across, down),
    }
    result = {}
    for name, values in fine.items():
        target = np.full(geobox.shape, np.nan, dtype=np.float32)
        reproject(
            values.astype(np.float32),
            target,
            src_transform=transform,
            src_crs="EPSG:4326",
            src_nodata=np.nan,
            dst_transform=geobox.transform,
            dst_crs=str(geobox.crs),
            dst_nodata=np.nan,
            resampling=Resampling.average,
        )
        result[name] = target
    return result


def _around(geobox: GeoBox, margin: float) -> Bounds:
    west, south, east, north = transform_bounds(str(geobox.crs), "EPSG:4326", *geobox.boundingbox, densify_pts=50)
    return west - margin, south - margin, east + margin, north + margin


def _read_around(path: Path, geobox: GeoBox) -> tuple[npt.NDArray[np.float32], Affine]:
    """Return the part of an elevation model that the grid needs, with a margin for slopes at its edge."""
    with open_raster(path, "sources.elevation") as raster:
        if max(raster.res) > 1:
            raise UserError(
                "the elevation model is not in degrees",
                where=f"{path} (recipe: sources.elevation)",
                found=f"cells of {max(raster.res)} units",
                wanted="longitude and latitude (EPSG:4326)",
                remedy="reproject it, for instance with gdalwarp -t_srs EPSG:4326",
            )
        west, south, east, north = _around(geobox, 8 * max(raster.res))
        asked = from_bounds(west, south, east, north, raster.transform)
        whole = Window(0, 0, raster.width, raster.height)
        try:
            window = asked.round_offsets().round_lengths().intersection(whole)
        except ValueError as error:
            raise UserError(
                "the elevation model does not cover the region",
                where=f"{path} (recipe: sources.elevation)",
                found=f"bounds {tuple(raster.bounds)}",
                wanted=f"{west:.2f} to {east:.2f} °E, {south:.2f} to {north:.2f} °N",
                remedy="give one that covers the region",
            ) from error
        elevation = raster.read(1, window=window, out_dtype="float32")
        if raster.nodata is not None:
            elevation[elevation == np.float32(raster.nodata)] = np.nan
        return elevation, raster.window_transform(window)


def _cells_digest(work: Work) -> str:
    cells = work.elevation_cells
    return ledger.digest([work.cell_identity(cell) for cell in cells.found]) if cells is not None else ""


def _causes(work: Work, _scope: str) -> dict[str, str]:
    """Return what terrain depends on where it is made of cells."""
    if work.elevation_cells is None:
        return {}
    return {"elevation cells": _cells_digest(work), "acceptance": work.recipe.digest("ingest")}


def _memory(work: Work, _scope: str) -> int:
    """Return what joining the cells of GLO-90 takes [bytes]; what a raster of the recipe's takes is not known."""
    cells = work.elevation_cells
    if cells is None:
        return 0
    souths, wests = {cell.corner[0] for cell in cells.found}, {cell.corner[1] for cell in cells.found}
    return (max(souths) - min(souths) + 1) * (max(wests) - min(wests) + 1) * 1200**2 * MEMORY_PER_CELL


def _raster(recipe: Recipe) -> Path | None:
    given = recipe.sources.elevation
    return recipe.path(given) if isinstance(given, Path) else None


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    raster = _raster(recipe)
    return [] if raster is None else [raster]


TERRAIN_MADE = Stage(
    "terrain",
    "elevation, slope, aspect, wetness",
    build,
    scopes=lambda recipe: [""] if recipe.sources.elevation else [],
    sources=_sources,
    causes=_causes,
    tolerates=accepts_bad,
    writes=TERRAIN,
    memory=_memory,
)
