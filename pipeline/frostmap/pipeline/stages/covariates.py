"""The predictors of E on the map's grid: terrain, vegetation, snow, precipitation and soil texture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.gridded_maps import described
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import CLAY, NDVI, PRECIPITATION, PREDICTORS, SAND, SNOW_COVER, TERRAIN
from frostmap.pipeline.stage import Products, Stage, all_epochs, step_name
from frostmap.pipeline.stages import precipitation, snow_cover, soil
from frostmap.pipeline.stages.precipitation import PRECIPITATION_MADE
from frostmap.pipeline.stages.snow_cover import SNOW_COVER_MADE
from frostmap.pipeline.stages.soil import SOIL_MADE
from frostmap.pipeline.stages.vegetation import LONGEST_GAP, Series, interpolate_circle
from frostmap.pipeline.work import Work


def build(work: Work, epoch: str) -> Products:
    """Return the predictors of an epoch."""
    years = sorted(work.recipe.epochs.named()[epoch].years)
    cubes = [
        work.open("terrain")[[variable.name for variable in TERRAIN]],
        work.open(f"{PRECIPITATION_MADE.name}/{epoch}")[[PRECIPITATION.name]],
        work.open(f"{SNOW_COVER_MADE.name}/{epoch}")[[SNOW_COVER.name]],
        work.open(SOIL_MADE.name)[[SAND.name, CLAY.name]],
        *(work.open(f"vegetation/{year}") for year in years),
    ]
    made = map_windows(predictors_of, cubes, PREDICTORS, work.sizes(epoch), block=work.chunk_pixels, wanted=work.inside)
    return Products(cube=made.cube, tasks=made.tasks)


def predictors_of(*windows: xr.Dataset) -> Block:
    """Return the predictors of a window: those of maps as they are, and the mean of some years' NDVI.

    Parameters
    ----------
    windows
        Terrain, precipitation, snow cover, sand and clay; then NDVI of the composites of each year.
    """
    maps, years = windows[:4], windows[4:]
    layers: Block = {str(name): cube[name].to_numpy() for cube in maps for name in cube.data_vars}
    return layers | {NDVI.name: mean_of_years([year[NDVI.name].to_numpy() for year in years])}


def mean_of_years(years: Sequence[Series]) -> Series:
    """Return mean NDVI of some years: that of the 23 intervals, each the mean of those years that have it.

    An interval that no year has lies on the line between those before and after it, up to `LONGEST_GAP` in a row; the
    year is a circle.

    Parameters
    ----------
    years : (composite, y, x) float32 each
        NDVI of a year's intervals; NaN is missing.

    Returns
    -------
    (y, x) float32
        NaN where an interval is still missing.
    """
    count = np.sum([np.isfinite(year) for year in years], axis=0)
    total = np.sum([np.nan_to_num(year, nan=0.0) for year in years], axis=0, dtype=np.float64)
    series = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    mean: Series = interpolate_circle(series, LONGEST_GAP).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def grids_read(work: Work) -> list[dict[str, Any]]:
    """Return which files precipitation, snow cover, sand and clay are made of, as plain data."""
    recipe = work.recipe
    return [
        *(row for epoch in PRECIPITATION_MADE.scopes(recipe)
          for row in described(precipitation.fields(work, epoch), step_name(PRECIPITATION_MADE.name, epoch))),
        *(row for epoch in SNOW_COVER_MADE.scopes(recipe)
          for row in described(snow_cover.fields(work, epoch), step_name(SNOW_COVER_MADE.name, epoch))),
        *(row for _ in SOIL_MADE.scopes(recipe) for row in described(soil.fields(work), SOIL_MADE.name)),
    ]  # fmt: skip


def _scopes(recipe: Recipe) -> list[str]:
    sources = recipe.sources
    whole = sources.elevation and sources.ndvi and sources.precipitation and sources.snow_cover and sources.texture
    return all_epochs(recipe) if whole else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    years = sorted(recipe.epochs.named()[epoch].years)
    return [
        "terrain",
        f"{PRECIPITATION_MADE.name}/{epoch}",
        f"{SNOW_COVER_MADE.name}/{epoch}",
        SOIL_MADE.name,
        *(f"vegetation/{year}" for year in years),
    ]


COVARIATES = Stage("covariates", "predictors of E", build, scopes=_scopes, inputs=_inputs, writes=PREDICTORS, version=3)
