"""Observations that clouds took, from the pixel's annual cycle and the anomaly of the day's neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.kernels.annual_cycle import annual_cycle, harmonic_basis
from frostmap.kernels.neighbourhood import fill_missing, neighbourhood_mean
from frostmap.kernels.view_geometry import fill_by_orbit_repeat
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import GapFilling, Quality, Recipe
from frostmap.pipeline.schema import FILL_FLAG, FILLED, FILLED_LST, FILLED_TIME, OVERPASSES, VIEW_TIME
from frostmap.pipeline.stage import Noted, Products, Stage, all_years
from frostmap.pipeline.stages.annual_cycle import days_since_2000, temperatures
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.work import Work

KELVIN = 273.15
NOMINAL_HOURS = (10.5, 13.5, 22.5, 1.5)
"""Local solar hours of the four overpasses, for pixels whose view time was never seen in a year."""
NIGHT = (2, 3)
MISSING = 255


def build(work: Work, year: str) -> Products:
    """Return the filled observations of a year."""
    recipe = work.recipe
    raw, cycle = work.open(f"ingest/{year}"), work.open(f"annual_cycle/{_epoch_of(recipe, year)}")
    made = map_windows(
        partial(fill, quality=recipe.quality, settings=recipe.gap_filling, radius=work.neighbourhood_pixels),
        [raw[["lst", "qc", "view_time"]], cycle[["annual_cycle"]]],
        FILLED,
        work.sizes(year),
        block=work.chunk_pixels,
        halo=work.neighbourhood_pixels,
        wanted=work.inside,
        note=_count,
    )
    coords = year_coords(int(year))
    return Products(cube=made.cube, tasks=made.tasks, coords=coords, noted=partial(_shares, year=year))


def fill(raw: xr.Dataset, cycle: xr.Dataset, *, quality: Quality, settings: GapFilling, radius: int) -> Block:
    """Return the window's observations without gaps, where the annual cycle is known.

    The flag says how: 0 observed, 1 annual cycle and the neighbourhood's anomaly, 2 annual cycle alone, 255 missing.
    """
    basis = harmonic_basis(days_since_2000(raw), settings.harmonics)
    shape = raw["lst"].shape
    result: Block = {v.name: np.full(shape, v.fill_value, dtype=v.dtype) for v in (FILLED_LST, FILLED_TIME, FILL_FLAG)}
    for overpass in range(shape[1]):
        observed = temperatures(raw, quality, overpass)
        expected = annual_cycle(np.ascontiguousarray(cycle["annual_cycle"].values[:, overpass]), basis)
        mean = neighbourhood_mean(observed - expected, radius)
        filled, flag = fill_missing(observed, expected, mean, settings.anomaly_damping)
        if overpass in NIGHT and settings.night_cloud_offset:
            filled = np.where(flag == 0, filled, filled + np.float32(settings.night_cloud_offset))
        result[FILLED_LST.name][:, overpass] = _stored(filled)
        result[FILL_FLAG.name][:, overpass] = flag
        hours = np.ascontiguousarray(raw["view_time"].values[:, overpass])
        result[FILLED_TIME.name][:, overpass] = complete_view_time(hours, NOMINAL_HOURS[overpass])
    return result


def complete_view_time(stored: npt.NDArray[np.uint8], nominal_hours: float) -> npt.NDArray[np.uint8]:
    """Return view times (time, y, x) without gaps: from the 16-day repeat, else the year's mean, else nominal."""
    repeated = fill_by_orbit_repeat(stored)
    seen = stored != MISSING
    count = seen.sum(axis=0)
    mean = np.rint(np.sum(stored, axis=0, where=seen, dtype=np.int64) / np.maximum(count, 1))
    typical = np.where(count > 0, mean, round(nominal_hours / (VIEW_TIME.scale or 1.0))).astype(np.uint8)
    return np.where(repeated == MISSING, typical, repeated)


def _stored(temperature: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    counts = np.rint((temperature + np.float32(KELVIN)) / np.float32(FILLED_LST.scale or 1.0))
    return np.where(np.isfinite(counts), counts, FILLED_LST.fill_value).astype(np.uint16)


def _count(filled: Block, wanted: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Return how many pixel-days of the region each overpass (columns) has of each flag (rows: 0, 1, 2, missing)."""
    within = filled[FILL_FLAG.name][:, :, wanted]
    return [(within == code).sum(axis=(0, 2)).tolist() for code in (0, 1, 2, MISSING)]


def _shares(counts: Sequence[list[list[int]]], *, year: str) -> Noted:
    total = np.sum([np.asarray(count, dtype=np.int64) for count in counts], axis=0)
    observed, with_anomaly, cycle_alone, missing = total / np.maximum(total.sum(axis=0), 1)
    shares = {"observed": observed, "filled": with_anomaly + cycle_alone, "missing": missing}
    table = pd.DataFrame({"year": int(year), "overpass": OVERPASSES, **shares})
    return Noted(tables={f"overpasses-{year}": table})


def _epoch_of(recipe: Recipe, year: str) -> str:
    return next(name for name, epoch in recipe.epochs.named().items() if int(year) in epoch.years)


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, year: str) -> list[str]:
    return [f"ingest/{year}", f"annual_cycle/{_epoch_of(recipe, year)}", "masks/training"]


def _memory(work: Work, _year: str) -> int:
    width = work.chunk_pixels + 2 * work.neighbourhood_pixels
    return 366 * width**2 * (4 * (4 + 4) + 5 * 4)  # raw and filled counts of four overpasses, five float32 of one


GAP_FILLING = Stage(
    "gap_filling",
    "gaps filled",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("quality", "gap_filling"),
    writes=FILLED,
    memory=_memory,
)
