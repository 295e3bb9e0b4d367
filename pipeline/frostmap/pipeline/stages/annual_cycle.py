"""The annual cycle of clear-sky temperature at each pixel and overpass, from all years of an epoch."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.kernels.annual_cycle import fit_annual_cycle, harmonic_basis
from frostmap.kernels.quality import land_surface_temperature
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import GapFilling, Quality, Recipe
from frostmap.pipeline.schema import ANNUAL_CYCLE as COEFFICIENTS
from frostmap.pipeline.schema import CLEAR_OBSERVATIONS, LST
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work


def build(work: Work, epoch: str) -> Products:
    """Return the harmonics of an epoch."""
    recipe = work.recipe
    years = sorted(recipe.epochs.named()[epoch].years)
    sizes = work.sizes(epoch)
    made = map_windows(
        partial(fit, quality=recipe.quality, settings=recipe.gap_filling),
        [work.open(f"ingest/{year}")[["lst", "qc"]] for year in years],
        (COEFFICIENTS, CLEAR_OBSERVATIONS),
        sizes,
        block=work.chunk_pixels,
        wanted=work.inside_with_margin,
    )
    coords = {name: np.arange(sizes[name], dtype="int8") for name in ("harmonic", "overpass")}
    return Products(cube=made.cube, tasks=made.tasks, coords=coords)


def fit(*years: xr.Dataset, quality: Quality, settings: GapFilling) -> Block:
    """Return coefficients (harmonic, overpass, y, x) and counts of clear observations of some years."""
    basis = harmonic_basis(np.concatenate([days_since_2000(year) for year in years]), settings.harmonics)
    coefficients, observations = [], []
    for overpass in range(years[0].sizes["overpass"]):
        temperature = np.concatenate([temperatures(year, quality, overpass) for year in years])
        fitted, count = fit_annual_cycle(temperature, basis, settings.minimum_observations)
        coefficients.append(fitted)
        observations.append(count)
    return {
        COEFFICIENTS.name: np.stack(coefficients, axis=1).astype(np.float32),
        CLEAR_OBSERVATIONS.name: np.stack(observations).astype(np.int16),
    }


def days_since_2000(cube: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return days since 2000-01-01 of a cube's time axis."""
    days: npt.NDArray[np.float64] = (cube["time"].values - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")
    return days


def temperatures(cube: xr.Dataset, quality: Quality, overpass: int) -> npt.NDArray[np.float32]:
    """Return the trusted temperatures (time, y, x) of one overpass [°C], NaN where there are none."""
    return land_surface_temperature(
        np.ascontiguousarray(cube["lst"].values[:, overpass]),
        np.ascontiguousarray(cube["qc"].values[:, overpass]),
        scale=LST.scale or 1.0,
        max_lst_error_class=quality.max_lst_error_class,
        max_emissivity_error_class=quality.max_emissivity_error_class,
    )


def _scopes(recipe: Recipe) -> list[str]:
    return all_epochs(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    return [f"ingest/{year}" for year in sorted(recipe.epochs.named()[epoch].years)]


def _memory(work: Work, epoch: str) -> int:
    days = 366 * len(work.recipe.epochs.named()[epoch].years)
    return days * work.chunk_pixels**2 * (4 * 3 + 2 * 4)  # raw LST and QC of four overpasses, one as float32, twice


ANNUAL_CYCLE = Stage(
    "annual_cycle",
    "annual cycle of clear days",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("quality", "gap_filling"),
    writes=(COEFFICIENTS, CLEAR_OBSERVATIONS),
    memory=_memory,
)
