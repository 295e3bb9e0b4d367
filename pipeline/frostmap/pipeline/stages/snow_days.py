"""Snow cover of the months of a year, from daily granules of the snow index, on the map's grid."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from frostmap.catalogs.collections import Collection, load_collection
from frostmap.catalogs.granules import Granule
from frostmap.pipeline.blocks import FAILED, NOTES, Result
from frostmap.pipeline.granule_files import decode
from frostmap.pipeline.granule_inputs import Reading, accepts_bad, account, missing_notes, read_each
from frostmap.pipeline.recipe import Recipe, SnowCatalogue
from frostmap.pipeline.schema import SNOW_BY_MONTH, SNOW_DAYS, SNOW_YEAR
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.stages.vegetation import Series, mean_of_four
from frostmap.pipeline.tile_years import Crop, map_tiles
from frostmap.pipeline.work import Work

MONTHS = 12

SLOPE, INTERCEPT = 1.45, -0.01
"""Of snow cover by the snow index, Terra's (doi 10.1109/TGRS.2006.876029)."""

LEAST_INDEX = 0.1
"""Up to it there is no snow."""

WORST_QUALITY = 2
"""Of the product's classes: 0 best, 1 good, 2 ok."""


def build(work: Work, year: str) -> Products:
    """Return the snow cover of a year's months and the days that it was seen on, and the account of its granules."""
    collection = load_collection("mod10a1")
    granules, first = work.granules["snow_cover"][year], date(int(year), 1, 1)
    how = Reading(collection, ("snow_index", "quality"), 2 * work.recipe.region.pixels_per_tile, work.downloads)
    made = map_tiles(work, granules, lambda each: (each.date - first).days, _read_tile, SNOW_YEAR, MONTHS, how)
    missing = missing_notes(collection, work.tiles, int(year), granules)
    return Products(
        cube=made.cube,
        tasks=made.tasks,
        coords={"month": np.arange(1, MONTHS + 1, dtype="int16")},
        noted=account(missing, work.recipe.ingest, f"snow_days-{year}", year),
    )


def _read_tile(granules: dict[int, Granule], crop: Crop, how: Reading) -> Result:
    shape = (MONTHS, crop[0].stop - crop[0].start, crop[1].stop - crop[1].start)
    total, days = np.zeros(shape, np.float32), np.zeros(shape, np.int16)
    notes = []
    for day, arrays, note in read_each(granules, how):
        notes.append(note)
        if arrays is None:
            continue
        month = granules[day].date.month - 1
        cover = mean_of_four(snow_cover(arrays["snow_index"], arrays["quality"], how.collection))[crop]
        seen = np.isfinite(cover)
        total[month] += np.where(seen, cover, 0)
        days[month] += seen
    mean = np.where(days > 0, total / np.maximum(days, 1), np.nan).astype(np.float32)
    failed = sum(note["status"] == "bad" for note in notes)
    return {SNOW_BY_MONTH.name: mean, SNOW_DAYS.name: days, NOTES: notes, FAILED: failed}


def snow_cover(index: npt.NDArray[np.uint8], quality: npt.NDArray[np.uint8], collection: Collection) -> Series:
    r"""Return the share of snow by the snow index as it is stored.

    .. math:: f = 1.45\,I - 0.01 \quad\text{where } I > 0.1,\ \text{else } 0

    Parameters
    ----------
    index, quality : (y, x)
        Stored snow index and its quality. Clouds, night, water and what was not decided are stored as numbers beyond
        the index's range.
    collection
        MOD10A1.

    Returns
    -------
    (y, x) float32
        Snow cover [%], 0 to 100; NaN where it was not seen, or only badly.
    """
    ndsi = decode(index, collection.band("snow_index"))
    cover = np.where(ndsi > LEAST_INDEX, np.clip(SLOPE * ndsi + INTERCEPT, 0.0, 1.0), 0.0)
    return np.where(np.isfinite(ndsi) & (quality <= WORST_QUALITY), 100.0 * cover, np.nan).astype(np.float32)


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if isinstance(recipe.sources.snow_cover, SnowCatalogue) else []


def tile_bytes(pixels: int) -> int:
    """Return the most that reading a year of a tile takes [bytes], of so many of the map's pixels along its side."""
    a_granule = (2 * pixels) ** 2 * 40  # of four times the pixels: as stored, twice; decoded and judged
    the_means = MONTHS * pixels**2 * 16
    return MONTHS * pixels**2 * 6 + max(a_granule, the_means)


SNOW_DAYS_SEEN = Stage(
    "snow_days",
    "daily snow cover",
    build,
    scopes=_scopes,
    granules="snow_cover",
    judged_by=("ingest",),
    tolerates=accepts_bad,
    writes=SNOW_YEAR,
    memory=lambda work, _year: tile_bytes(work.recipe.region.pixels_per_tile),
)
