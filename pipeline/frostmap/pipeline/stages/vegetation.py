"""NDVI of 16-day composites, gaps in time closed, on the map's grid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from frostmap.catalogs.collections import Collection, load_collection
from frostmap.catalogs.granules import Granule
from frostmap.pipeline.blocks import FAILED, NOTES, Result
from frostmap.pipeline.granule_files import decode
from frostmap.pipeline.granule_inputs import Reading, accepts_bad, account, missing_notes, read_each
from frostmap.pipeline.recipe import Recipe, YearKind
from frostmap.pipeline.schema import NDVI_SERIES
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.tile_years import Crop, map_tiles
from frostmap.pipeline.work import Work, products_of

COMPOSITES, DAYS = 23, 16
LONGEST_GAP = 4
"""Composites in a row that are interpolated over."""

STRIP_ROWS = 100
"""Rows whose gaps are closed at a time: that takes eighteen times the memory of what is closed."""

Series = npt.NDArray[np.float32]


def build(work: Work, year: str) -> Products:
    """Return NDVI of a year, and the account of its granules."""
    collection = load_collection(products_of(work.recipe, "ndvi")[0])
    granules, first = work.granules["ndvi"][year], date(int(year), 1, 1)
    fine = (collection.pixels_per_tile or 1200) // 1200  # of 500 m, four are a pixel
    how = Reading(collection, ("ndvi", "reliability"), fine * work.recipe.region.pixels_per_tile, work.downloads)
    made = map_tiles(
        work, granules, lambda each: (each.date - first).days // DAYS, _read_tile, (NDVI_SERIES,), COMPOSITES, how, fine
    )
    missing = missing_notes(collection, work.tiles, int(year), granules)
    return Products(
        cube=made.cube,
        tasks=made.tasks,
        coords={"composite": np.arange(COMPOSITES, dtype="int16")},
        noted=account(missing, work.recipe.ingest, f"composites-{year}", year),
    )


def composite_years(year: int, kind: YearKind) -> list[int]:
    """Return the calendar years whose composites a year of degree days needs."""
    return [year] if kind == "calendar" else [year, year - 1]


def of_one_year(series: Mapping[int, npt.NDArray[Any]], year: int, kind: YearKind) -> npt.NDArray[Any]:
    """Return the composites of a year of degree days, in the calendar's order.

    Those of a freezing year are the twelve first of the year in which it ends, of which the last reaches into July,
    and the eleven last of the year before.
    """
    if kind == "calendar":
        return series[year]
    half = COMPOSITES // 2 + 1
    return np.concatenate([series[year][:half], series[year - 1][half:]])


def _read_tile(granules: dict[int, Granule], crop: Crop, how: Reading, fine: int) -> Result:
    shape = (COMPOSITES, crop[0].stop - crop[0].start, crop[1].stop - crop[1].start)
    series: Series = np.full(shape, np.nan, dtype=np.float32)
    notes = []
    for composite, arrays, note in read_each(granules, how):
        notes.append(note)
        if arrays is not None:
            ndvi = usable_ndvi(arrays["ndvi"], arrays["reliability"], how.collection)
            series[composite] = (mean_of_four(ndvi) if fine == 2 else ndvi)[crop]
    for top in range(0, shape[1], STRIP_ROWS):
        strip = series[:, top : top + STRIP_ROWS]
        strip[...] = interpolate_gaps(strip, LONGEST_GAP)
    failed = sum(note["status"] == "bad" for note in notes)
    return {NDVI_SERIES.name: series, NOTES: notes, FAILED: failed}


def usable_ndvi(stored: npt.NDArray[np.int16], reliability: npt.NDArray[np.int8], collection: Collection) -> Series:
    """Return NDVI where it can be used, NaN elsewhere.

    Good and marginal pixels (reliability 0, 1) are kept, snow (2) is kept but not below 0, cloud (3) and fill are not;
    the result is clipped to [-0.2, 1].
    """
    band = collection.band("ndvi")
    low, high = band.valid_range
    valid = (stored >= low) & (stored <= high) & (reliability >= 0) & (reliability <= 2)
    ndvi = decode(stored, band)
    ndvi = np.where(reliability == 2, np.maximum(ndvi, 0), ndvi)
    return np.where(valid, np.clip(ndvi, -0.2, 1), np.nan).astype(np.float32)


def mean_of_four(fine: Series) -> Series:
    """Return means of 2 x 2 pixels: 500 m nests in 1 km exactly. At least two must be valid."""
    height, width = fine.shape
    quads = fine.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3).reshape(height // 2, width // 2, 4)
    valid = np.isfinite(quads)
    count = valid.sum(axis=-1)
    total = np.where(valid, quads, 0).sum(axis=-1, dtype=np.float32)
    return np.where(count >= 2, total / np.maximum(count, 1), np.nan).astype(np.float32)


def interpolate_gaps(series: Series, longest: int) -> Series:
    """Return a (time, y, x) series with gaps of at most `longest` steps closed by straight lines.

    Gaps at the ends take the nearest value, under the same limit.
    """
    n = series.shape[0]
    index = np.arange(n).reshape(-1, 1, 1)
    valid = np.isfinite(series)
    before = np.maximum.accumulate(np.where(valid, index, -1), axis=0)
    after = np.minimum.accumulate(np.where(valid, index, n)[::-1], axis=0)[::-1]
    left = np.take_along_axis(series, np.maximum(before, 0), axis=0)
    right = np.take_along_axis(series, np.minimum(after, n - 1), axis=0)
    left, right = np.where(before < 0, right, left), np.where(after >= n, left, right)
    span = np.maximum(after - before, 1)
    weight = np.where((before < 0) | (after >= n), 0, (index - before) / span)
    closed = left + (right - left) * weight
    return np.where(valid, series, np.where(after - before - 1 <= longest, closed, np.nan)).astype(np.float32)


def interpolate_circle(series: Series, longest: int) -> Series:
    """Return a (time, y, x) series of one year, which is a circle, with gaps of at most `longest` steps closed."""
    around = longest + 1
    whole = np.concatenate([series[-around:], series, series[:around]])
    return interpolate_gaps(whole, longest)[around:-around]


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.ndvi else []


def tile_bytes(pixels: int, fine: int) -> int:
    """Return the most that reading a year of a tile takes [bytes].

    Parameters
    ----------
    pixels
        Of the map along the tile's side.
    fine
        Pixels of a granule along the side of one of the map's.
    """
    a_granule = (fine * pixels) ** 2 * 42  # as stored, twice; decoded and judged
    a_strip = COMPOSITES * STRIP_ROWS * pixels * 72
    return COMPOSITES * pixels**2 * 4 + max(a_granule, a_strip)


def _memory(work: Work, _year: str) -> int:
    fine = (load_collection(products_of(work.recipe, "ndvi")[0]).pixels_per_tile or 1200) // 1200
    return tile_bytes(work.recipe.region.pixels_per_tile, fine)


VEGETATION = Stage(
    "vegetation",
    "NDVI composites",
    build,
    scopes=_scopes,
    granules="ndvi",
    judged_by=("ingest",),
    tolerates=accepts_bad,
    writes=(NDVI_SERIES,),
    memory=_memory,
    block=None,
)
