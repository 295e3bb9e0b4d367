"""The predictors of E on the map's grid: terrain, vegetation, snow, precipitation and soil texture."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import CLAY, NDVI, PRECIPITATION, PREDICTORS, SAND, SNOW_COVER, TERRAIN
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work


def build(work: Work, epoch: str) -> Products:
    """Return the predictors of an epoch."""
    recipe, shape = work.recipe, work.shape
    ground = work.open("terrain").chunk()
    layers: dict[str, da.Array] = {variable.name: ground[variable.name].data for variable in TERRAIN}
    for variable in (SNOW_COVER, PRECIPITATION, SAND, CLAY):
        path = _paths(recipe, epoch)[variable.name]
        layer = delayed(on_grid)(path, work.geobox, f"sources.{variable.name}")
        layers[variable.name] = da.from_delayed(layer, shape, dtype=np.dtype("float32"))
    years = sorted(recipe.epochs.named()[epoch].years)
    series = [work.open(f"vegetation/{year}")["ndvi"].chunk() for year in years]
    layers[NDVI.name] = (
        xr.concat(series, dim="composite", join="override", coords="minimal", compat="override")
        .mean("composite", skipna=True, dtype="float32")
        .data.astype("float32")
    )
    return Products(cube=xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in PREDICTORS}))


def _paths(recipe: Recipe, epoch: str) -> dict[str, Path]:
    sources = recipe.sources
    fixed = {name: getattr(sources, name) for name in ("sand", "clay")}
    changing = {name: getattr(sources, name) for name in ("snow_cover", "precipitation")}
    given = fixed | {name: getattr(by_epoch, epoch) if by_epoch else None for name, by_epoch in changing.items()}
    return {name: recipe.path(path) for name, path in given.items() if path is not None}


def _scopes(recipe: Recipe) -> list[str]:
    return all_epochs(recipe) if recipe.sources.elevation and recipe.sources.ndvi else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    return ["terrain", *(f"vegetation/{year}" for year in sorted(recipe.epochs.named()[epoch].years))]


COVARIATES = Stage(
    "covariates",
    "predictors of E",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sources=lambda recipe, epoch: list(_paths(recipe, epoch).values()),
    writes=PREDICTORS,
    version=2,
)
