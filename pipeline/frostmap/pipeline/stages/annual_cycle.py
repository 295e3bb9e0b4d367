"""The annual cycle of clear-sky temperature at each pixel and overpass, from all years of an epoch."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.kernels.annual_cycle import fit_annual_cycle_and_spread, harmonic_basis
from frostmap.kernels.sky_classes import CLEAR
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import GapFilling, Recipe
from frostmap.pipeline.schema import ANNUAL_CYCLE as COEFFICIENTS
from frostmap.pipeline.schema import ANNUAL_SPREAD, CLEAR_OBSERVATIONS
from frostmap.pipeline.scsg import celsius
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work


def build(work: Work, epoch: str) -> Products:
    """Return the harmonics of an epoch."""
    recipe = work.recipe
    years = sorted(recipe.epochs.named()[epoch].years)
    sizes = work.sizes(epoch)
    made = map_windows(
        partial(fit, settings=recipe.gap_filling),
        [
            cube
            for year in years
            for cube in (work.open(f"observations/{year}")[["lst"]], work.open(f"sky_classes/{year}")[["sky"]])
        ],
        (COEFFICIENTS, ANNUAL_SPREAD, CLEAR_OBSERVATIONS),
        sizes,
        block=work.chunk_pixels,
        overpasses=True,
        wanted=work.inside_with_margin,
    )
    coords = {name: np.arange(sizes[name], dtype="int8") for name in ("harmonic", "overpass")}
    return Products(cube=made.cube, tasks=made.tasks, coords=coords)


def fit(*years: xr.Dataset, settings: GapFilling) -> Block:
    """Return coefficients (harmonic, overpass, y, x), spread and count of observations of one overpass's years.

    By turns the observations of a year and its sky classes; what is seen in shadow or amid clouds does not count.
    """
    basis = harmonic_basis(np.concatenate([days_since_2000(year) for year in years[::2]]), settings.harmonics)
    stored = [
        np.where(sky["sky"].values[:, 0] == CLEAR, year["lst"].values[:, 0], np.uint16(0))
        for year, sky in zip(years[::2], years[1::2], strict=True)
    ]
    temperature = celsius(np.concatenate(stored))
    coefficients, count, spread = fit_annual_cycle_and_spread(temperature, basis, settings.minimum_observations)
    return {
        COEFFICIENTS.name: coefficients[:, None].astype(np.float32),
        ANNUAL_SPREAD.name: spread[None].astype(np.float32),
        CLEAR_OBSERVATIONS.name: count[None].astype(np.int16),
    }


def days_since_2000(cube: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return days since 2000-01-01 of a cube's time axis."""
    days: npt.NDArray[np.float64] = (cube["time"].values - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")
    return days


def _scopes(recipe: Recipe) -> list[str]:
    return all_epochs(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    years = sorted(recipe.epochs.named()[epoch].years)
    return [f"{stage}/{year}" for year in years for stage in ("observations", "sky_classes")]


def _memory(work: Work, epoch: str) -> int:
    days = 366 * len(work.recipe.epochs.named()[epoch].years)
    return days * work.chunk_pixels**2 * (2 + 1 + 2 + 3 * 4)  # counts, classes, clear ones, and float32 in three steps


ANNUAL_CYCLE = Stage(
    "annual_cycle",
    "annual cycle of clear days",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("gap_filling",),
    writes=(COEFFICIENTS, ANNUAL_SPREAD, CLEAR_OBSERVATIONS),
    memory=_memory,
    wanted=lambda work: work.inside_with_margin,
    version=3,
)
