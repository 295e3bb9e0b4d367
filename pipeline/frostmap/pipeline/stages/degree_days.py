"""Daily mean skin temperature from four overpasses, and its freezing and thawing sums."""

from __future__ import annotations

import numpy as np
import xarray as xr

from frostmap.kernels.degree_days import interval_of_day, overpass_degree_days
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import FREEZING, THAWING, THAWING_BY_INTERVAL, VALID_DAYS, YEAR
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.work import Work


def build(work: Work, year: str) -> Products:
    """Return the sums of a year."""
    made = map_windows(
        sums,
        [work.open(f"gap_filling/{year}")[["lst"]], work.open(f"observations/{year}")[["view_time"]]],
        YEAR,
        work.sizes(year),
        block=work.chunk_pixels,
        wanted=work.inside,
    )
    return Products(cube=made.cube, tasks=made.tasks, coords={"interval": np.arange(23, dtype="int16")})


def sums(filled: xr.Dataset, seen: xr.Dataset) -> Block:
    """Return the year's sums of a window: one fused pass over stored counts."""
    lst, view_time = filled["lst"].values, seen["view_time"].values
    quality = np.zeros(lst.shape, dtype=np.uint8)  # what is here was screened before it was filled
    freezing, thawing, by_interval, valid = overpass_degree_days(lst, quality, view_time, interval_of_day(lst.shape[0]))
    return {
        FREEZING.name: freezing,
        THAWING.name: thawing,
        THAWING_BY_INTERVAL.name: by_interval,
        VALID_DAYS.name: valid,
    }


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.lst else []


def _memory(work: Work, _year: str) -> int:
    return 366 * work.chunk_pixels**2 * 4 * 4


DEGREE_DAYS = Stage(
    "degree_days",
    "daily means and degree days",
    build,
    scopes=_scopes,
    inputs=lambda _recipe, year: [f"gap_filling/{year}", f"observations/{year}"],
    writes=YEAR,
    memory=_memory,
)
