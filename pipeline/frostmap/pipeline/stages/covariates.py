"""The predictors of E on the map's grid: terrain, vegetation, snow, precipitation and soil texture."""

from __future__ import annotations

import math
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from affine import Affine
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window, from_bounds

from frostmap.kernels.terrain import slope_aspect, wetness_index
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import (
    CLAY,
    EASTNESS,
    ELEVATION,
    NDVI,
    NORTHNESS,
    PRECIPITATION,
    PREDICTORS,
    SAND,
    SLOPE,
    SNOW_COVER,
    WETNESS,
)
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work, open_raster

METRES_PER_DEGREE = math.pi * 6371007.181 / 180
TERRAIN = (ELEVATION, SLOPE, EASTNESS, NORTHNESS, WETNESS)


def build(work: Work, epoch: str) -> Products:
    """Return the predictors of an epoch."""
    recipe, shape = work.recipe, work.shape
    layers: dict[str, da.Array] = {}

    def lazily(task: object) -> da.Array:
        layer: da.Array = da.from_delayed(task, shape, dtype=np.dtype("float32"))
        return layer

    if epoch == "training":
        terrain = delayed(terrain_on_grid)(_paths(recipe, epoch)["elevation"], work.geobox)
        layers |= {variable.name: lazily(terrain[variable.name]) for variable in TERRAIN}
    else:  # the ground keeps its shape
        before = work.open("covariates/training").chunk()
        layers |= {variable.name: before[variable.name].data for variable in TERRAIN}
    for variable in (SNOW_COVER, PRECIPITATION, SAND, CLAY):
        path = _paths(recipe, epoch)[variable.name]
        layers[variable.name] = lazily(delayed(on_grid)(path, work.geobox, f"sources.{variable.name}"))
    years = sorted(recipe.epochs.named()[epoch].years)
    series = [work.open(f"vegetation/{year}")["ndvi"].chunk() for year in years]
    layers[NDVI.name] = (
        xr.concat(series, dim="composite", join="override", coords="minimal", compat="override")
        .mean("composite", skipna=True, dtype="float32")
        .data.astype("float32")
    )
    return Products(cube=xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in PREDICTORS}))


def terrain_on_grid(path: Path, geobox: GeoBox) -> dict[str, npt.NDArray[np.float32]]:
    """Return elevation, slope, aspect components and wetness, made on the elevation model's own grid, then averaged.

    Slopes and flow are not computed on the sinusoidal grid: it is sheared, east is not across its rows.
    """
    window, transform, elevation = _read_around(path, geobox)
    if max(abs(transform.a), abs(transform.e)) > 1:
        raise UserError(
            "the elevation model is not in degrees",
            where=f"{path} (recipe: sources.elevation)",
            found=f"cells of {abs(transform.a)} units",
            wanted="longitude and latitude (EPSG:4326)",
            remedy="reproject it, for instance with gdalwarp -t_srs EPSG:4326",
        )
    latitude = np.radians(transform.f + transform.e * (np.arange(window.height) + 0.5))
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


def _read_around(path: Path, geobox: GeoBox) -> tuple[Window, Affine, npt.NDArray[np.float32]]:
    """Return the part of an elevation model that the grid needs, with a margin for slopes at its edge."""
    with open_raster(path, "sources.elevation") as raster:
        edges = geobox.footprint("EPSG:4326", buffer=0, npoints=50).boundingbox
        margin = 8 * max(raster.res)
        asked = from_bounds(
            edges.left - margin, edges.bottom - margin, edges.right + margin, edges.top + margin, raster.transform
        )
        whole = Window(0, 0, raster.width, raster.height)
        try:
            window = asked.round_offsets().round_lengths().intersection(whole)
        except ValueError as error:
            raise UserError(
                "the elevation model does not cover the region",
                where=f"{path} (recipe: sources.elevation)",
                found=f"bounds {tuple(raster.bounds)}",
                wanted=f"{edges.left:.2f} to {edges.right:.2f} °E, {edges.bottom:.2f} to {edges.top:.2f} °N",
                remedy="give one that covers the region",
            ) from error
        elevation = raster.read(1, window=window, out_dtype="float32")
        if raster.nodata is not None:
            elevation[elevation == np.float32(raster.nodata)] = np.nan
        return window, raster.window_transform(window), elevation


def _paths(recipe: Recipe, epoch: str) -> dict[str, Path]:
    sources = recipe.sources
    fixed = {name: getattr(sources, name) for name in ("elevation", "sand", "clay")}
    changing = {name: getattr(sources, name) for name in ("snow_cover", "precipitation")}
    given = fixed | {name: getattr(by_epoch, epoch) if by_epoch else None for name, by_epoch in changing.items()}
    return {name: recipe.path(path) for name, path in given.items() if path is not None}


def _scopes(recipe: Recipe) -> list[str]:
    return all_epochs(recipe) if recipe.sources.elevation and recipe.sources.ndvi else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    before = [] if epoch == "training" else ["covariates/training"]
    return before + [f"vegetation/{year}" for year in sorted(recipe.epochs.named()[epoch].years)]


COVARIATES = Stage(
    "covariates",
    "predictors of E",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sources=lambda recipe, epoch: list(_paths(recipe, epoch).values()),
    writes=PREDICTORS,
)
