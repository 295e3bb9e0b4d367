"""Mean snow cover of an epoch on the map's grid."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.catalogs.gridded import load_series
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.gridded_files import NO_VALUE, layers_of_raster
from frostmap.pipeline.gridded_folders import layers_in_time
from frostmap.pipeline.gridded_maps import PIXEL_COLUMNS, Field, causes, memory, products, written
from frostmap.pipeline.recipe import ByEpoch, Recipe, SnowCatalogue, SnowSeries
from frostmap.pipeline.schema import INSIDE, SNOW_BY_MONTH, SNOW_COVER, SNOW_DAYS, coverage_of, missing_of
from frostmap.pipeline.stage import Noted, Products, Stage, all_epochs
from frostmap.pipeline.stages.snow_days import SNOW_DAYS_SEEN
from frostmap.pipeline.stages.vegetation import Series, interpolate_circle
from frostmap.pipeline.work import Work

POSSIBLE = (0.0, 100.0)
"""Shares of a pixel [%]."""

LIKELY = (0.0, 100.0)
"""Of a region's median: a region may have no snow at all, or ice alone [%]."""

LEAST_DAYS = 3
"""Days of a month, over the years of an epoch, that must have been seen."""

LONGEST_GAP = 2
"""Months in a row that are interpolated over."""

LENGTHS = np.array([calendar.monthrange(2001, month)[1] for month in range(1, 13)], np.float64)
"""Of the months [d]."""

WRITES = written([SNOW_COVER])


def build(work: Work, epoch: str) -> Products:
    """Return the snow cover of an epoch, its coverage, and why it is missing."""
    if isinstance(work.recipe.sources.snow_cover, SnowCatalogue):
        return _of_granules(work, epoch)
    return products(work, fields(work, epoch), f"snow_cover-{epoch}")


def fields(work: Work, epoch: str) -> list[Field]:
    """Return what snow cover is made of, granules aside: days of the epoch's years, or a raster of the mean.

    Raises
    ------
    FrostmapError
        The series does not cover the years, or files are not there or not what they should be.
    """
    recipe, given, key = work.recipe, work.recipe.sources.snow_cover, "sources.snow_cover"
    if isinstance(given, SnowSeries):
        series, years = load_series(given.series), sorted(recipe.epochs.named()[epoch].years)
        layers = layers_in_time(series, "snow_cover", recipe.path(given.folder), years, key)
        return [Field(SNOW_COVER, layers, POSSIBLE, LIKELY, series.id, series.doi)]
    if isinstance(given, ByEpoch):
        path = recipe.path(getattr(given, epoch))
        return [Field(SNOW_COVER, layers_of_raster(path, f"{key}.{epoch}"), POSSIBLE, LIKELY)]
    return []


# ---- of granules ---------------------------------------------------------------------------------------------------


def _of_granules(work: Work, epoch: str) -> Products:
    cubes = [work.open(f"masks/{epoch}")[[INSIDE.name]]]
    cubes += [work.open(f"{SNOW_DAYS_SEEN.name}/{year}") for year in sorted(work.recipe.epochs.named()[epoch].years)]
    made = map_windows(
        cover_of_years, cubes, WRITES, work.sizes(epoch), block=work.chunk_pixels, wanted=work.inside, note=_note
    )
    return Products(cube=made.cube, tasks=made.tasks, noted=lambda notes: _account(notes, epoch))


def cover_of_years(region: xr.Dataset, *years: xr.Dataset) -> Block:
    """Return the mean snow cover of a window, its coverage, and why it is missing.

    Parameters
    ----------
    region
        With the mask of the region.
    years
        Snow cover of each year's months, and the days that it was seen on.
    """
    inside = region[INSIDE.name].to_numpy()
    cover = mean_of_months(
        [year[SNOW_BY_MONTH.name].to_numpy() for year in years], [year[SNOW_DAYS.name].to_numpy() for year in years]
    )
    cover[~inside] = np.nan
    known = np.isfinite(cover)
    return {
        SNOW_COVER.name: cover,
        coverage_of(SNOW_COVER).name: np.where(inside, known, np.nan).astype(np.float32),
        missing_of(SNOW_COVER).name: np.where(inside, np.where(known, 0, NO_VALUE), 255).astype(np.uint8),
    }


def mean_of_months(months: Sequence[Series], days: Sequence[npt.NDArray[np.int16]]) -> Series:
    """Return the mean snow cover of a year, each month counting by its length, however often clouds hid it.

    A month is the mean over all days of all years on which it was seen, at least `LEAST_DAYS`. A month that was seen on
    fewer lies on the line between those before and after it, up to `LONGEST_GAP` in a row; the year is a circle.

    Parameters
    ----------
    months : (month, y, x) float32 each
        Snow cover of the months of a year [%]; NaN is missing.
    days : (month, y, x) int16 each
        On how many days it was seen.

    Returns
    -------
    (y, x) float32
        [%]; NaN where a month is still missing.
    """
    count = np.sum(days, axis=0, dtype=np.int64)
    total = np.sum([np.nan_to_num(month) * seen for month, seen in zip(months, days, strict=True)], axis=0)
    series = np.where(count >= LEAST_DAYS, total / np.maximum(count, 1), np.nan).astype(np.float32)
    closed = interpolate_circle(series, LONGEST_GAP).astype(np.float64)
    mean: Series = np.average(closed, axis=0, weights=LENGTHS).astype(np.float32)
    return mean


def _note(block: Block, wanted: npt.NDArray[np.bool_], at: dict[str, slice]) -> dict[str, Any]:  # noqa: ARG001
    values = block[SNOW_COVER.name][wanted]
    known = values[np.isfinite(values)].astype(np.float64)
    spread = np.quantile(known, (0, 0.5, 1)).tolist() if known.size else [None] * 3
    return {"pixels": int(wanted.sum()), "no_value": int(wanted.sum() - known.size), "spread": spread}


def _account(notes: Sequence[Any], epoch: str) -> Noted:
    """Return the table of what became of pixels, and the complaint where none has a value."""
    found = [note for note in notes if note]
    known = [note for note in found if note["spread"][0] is not None]
    pixels, lacking = (sum(note[name] for note in found) for name in ("pixels", "no_value"))
    row: dict[str, Any] = dict.fromkeys(PIXEL_COLUMNS, 0) | {"what": SNOW_COVER.name, "frame": "all"}
    row |= {"pixels": pixels, "no_value": lacking, "lowest": None, "median": None, "highest": None}
    if known:
        weights = [note["pixels"] - note["no_value"] for note in known]
        row["lowest"] = min(note["spread"][0] for note in known)
        row["median"] = float(np.average([note["spread"][1] for note in known], weights=weights))
        row["highest"] = max(note["spread"][2] for note in known)
    complaint = None
    if not known:
        complaint = DataIncomplete(
            "snow cover was seen nowhere in the region",
            where=f"epoch {epoch} (recipe: sources.snow_cover)",
            found=f"no pixel of {pixels:,} with {LEAST_DAYS} days in most months",
            wanted="daily granules of whole years",
            remedy="see tables/snow_days-YEAR.csv for what became of the granules",
        )
    return Noted(tables={f"snow_cover-{epoch}": pd.DataFrame([row], columns=list(PIXEL_COLUMNS))}, complaint=complaint)


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    if not isinstance(recipe.sources.snow_cover, SnowCatalogue):
        return []
    years = sorted(recipe.epochs.named()[epoch].years)
    return [f"masks/{epoch}", *(f"{SNOW_DAYS_SEEN.name}/{year}" for year in years)]


SNOW_COVER_MADE = Stage(
    "snow_cover",
    "snow cover",
    build,
    scopes=lambda recipe: all_epochs(recipe) if recipe.sources.snow_cover else [],
    inputs=_inputs,
    causes=lambda work, epoch: causes(found) if (found := fields(work, epoch)) else {},
    writes=WRITES,
    memory=lambda work, epoch: memory(work, found) if (found := fields(work, epoch)) else 0,
)
