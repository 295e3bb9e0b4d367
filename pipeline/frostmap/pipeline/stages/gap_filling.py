"""Observations that clouds took: from similar pixels of the days around, or from the pixel's own seasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.kernels.annual_cycle import annual_cycle, harmonic_basis
from frostmap.kernels.harmonic_series import fit_harmonic_series
from frostmap.kernels.neighbourhood import fill_missing, neighbourhood_mean
from frostmap.kernels.sky_classes import CLEAR, NIGHT_CLOUD
from frostmap.pipeline import scsg
from frostmap.pipeline.blocks import Block, Lazy, Part, Stream, Task, called_often, joined_pieces, map_windows
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.recipe import GapFilling, Recipe
from frostmap.pipeline.schema import FILL_FLAG, FILLED, OBSERVED_KINDS, OVERPASSES, SKY_KINDS, Variable
from frostmap.pipeline.stage import Noted, Products, Stage, all_years
from frostmap.pipeline.stages.annual_cycle import days_since_2000
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.work import Work, days_in


def build(work: Work, year: str) -> Products:
    """Return the filled observations of a year."""
    settings = work.recipe.gap_filling
    made = _similar_pixels(work, year) if settings.method == "scsg" else _own_seasons(work, year)
    coords = year_coords(int(year))
    return Products(cube=made.cube, tasks=made.tasks, coords=coords, noted=partial(_shares, year=year))


# ---- each pixel for itself ----------------------------------------------------------------------------------------


def _own_seasons(work: Work, year: str) -> Lazy:
    settings = work.recipe.gap_filling
    cycle = work.open(f"annual_cycle/{_epoch_of(work.recipe, year)}")
    return map_windows(
        partial(fill, settings=settings, radius=work.neighbourhood_pixels),
        [
            work.open(f"observations/{year}")[["lst", "state"]],
            work.open(f"sky_classes/{year}")[["sky"]],
            cycle[["annual_cycle", "spread"]],
        ],
        FILLED,
        work.sizes(year),
        block=work.chunk_pixels,
        halo=work.neighbourhood_pixels if settings.method == "annual_cycle" else 0,
        overpasses=True,
        wanted=work.inside,
        note=partial(_count, year=int(year)),
    )


def fill(observations: xr.Dataset, sky: xr.Dataset, cycle: xr.Dataset, *, settings: GapFilling, radius: int) -> Block:
    """Return the window's observations of one overpass without gaps, where the pixel's seasons are known."""
    stored, state, classes = (
        np.ascontiguousarray(array.values[:, 0]) for array in (observations["lst"], observations["state"], sky["sky"])
    )
    observed = scsg.celsius(stored)
    open_sky = np.where(classes == CLEAR, observed, np.float32(np.nan))  # the rest speaks for itself alone
    basis = harmonic_basis(days_since_2000(observations), settings.harmonics)
    if settings.method == "annual_cycle":
        expected = annual_cycle(np.ascontiguousarray(cycle["annual_cycle"].values[:, 0]), basis)
        spread = cycle["spread"].values[0]
        mean = neighbourhood_mean(open_sky - expected, radius)
        filled, _ = fill_missing(observed, expected, mean, settings.anomaly_damping)
    else:
        fewest = settings.minimum_observations
        coefficients, _, spread = fit_harmonic_series(open_sky, basis, tolerance=settings.tolerance, fewest=fewest)
        filled = np.where(np.isfinite(observed), observed, annual_cycle(coefficients, basis))
    seen = np.isfinite(observed)
    filled = np.where(classes == NIGHT_CLOUD, filled + np.float32(settings.night_cloud_offset), filled)
    made = scsg.product(filled, np.broadcast_to(spread, filled.shape), classes, state, kept=seen, by_cycle=~seen)
    return {name: array[:, None] for name, array in made.items()}


def _count(filled: Block, *, wanted: npt.NDArray[np.bool_], at: Mapping[str, slice], year: int) -> list[list[int]]:
    flag = filled[FILL_FLAG.name][:, 0].reshape(filled[FILL_FLAG.name].shape[0], -1)
    counts = scsg.count_flags(flag, wanted.ravel(), year, range(flag.shape[0]))
    return [[at["overpass"].start, month, *counts[month].tolist()] for month in range(12)]


# ---- similar pixels -----------------------------------------------------------------------------------------------


def _similar_pixels(work: Work, year: str) -> Lazy:
    """Return the tasks of SCSG: each fills some days of one overpass of the whole region."""
    settings, recipe = work.recipe.gap_filling, work.recipe
    around = [other for other in (int(year) - 1, int(year), int(year) + 1) if str(other) in all_years(recipe)]
    first = {int(year) - 1: -days_in(int(year) - 1), int(year): 0, int(year) + 1: days_in(int(year))}

    def days_of(stage: str, names: list[str]) -> scsg.Days:
        return scsg.Days(tuple((first[other], work.open(f"{stage}/{other}")[names]) for other in around))

    box = work.geobox.coordinates
    region = scsg.Region(
        int(year),
        observations=days_of("observations", ["lst", "state", "view_time"]),
        sky=days_of("sky_classes", ["sky"]),
        cycle=work.open(f"annual_cycle/{_epoch_of(recipe, year)}"),
        terrain=work.open("terrain") if recipe.sources.elevation else None,
        ndvi=work.open(f"vegetation/{year}") if recipe.sources.ndvi else None,
        x=box["x"].values,
        y=box["y"].values,
        inside=work.inside,
        block=work.chunk_pixels,
        cell=scsg.cell_pixels(work.pixel_km),
        corner=(round(work.geobox.affine.f / work.geobox.affine.e), round(work.geobox.affine.c / work.geobox.affine.a)),
    )
    cycle_days = days_since_2000(xr.Dataset(coords={"time": year_coords(int(year))["time"]}))
    stream = called_often(Stream)
    gathered = called_often(_gathered)
    tasks: list[Task] = []
    pieces: dict[str, dict[tuple[int, ...], da.Array]] = {variable.name: {} for variable in FILLED}
    for start in range(0, days_in(int(year)), DAYS_PER_CHUNK):
        days = range(start, min(start + DAYS_PER_CHUNK, days_in(int(year))))
        for overpass in range(len(OVERPASSES)):
            result = stream(scsg.fill, (region, overpass, days, settings, cycle_days[days.start : days.stop]))
            where = (slice(days.start, days.stop), slice(overpass, overpass + 1), slice(None), slice(None))
            parts = tuple(Part(variable.name, variable.name, where) for variable in FILLED)
            tasks.append(Task(f"t{start:03d}-o{overpass}", result, parts))
            shape = (len(days), 1, *work.shape)
            for variable in FILLED:
                whole = gathered(result, variable, shape, (start, overpass))
                pieces[variable.name][start, overpass, 0, 0] = da.from_delayed(whole, shape, np.dtype(variable.dtype))
    cube = xr.Dataset({v.name: (v.dims, joined_pieces(pieces[v.name]), v.attrs) for v in FILLED})
    return Lazy(cube, tuple(tasks))


def _gathered(
    stream: Stream, variable: Variable, shape: tuple[int, ...], start: tuple[int, int]
) -> npt.NDArray[np.generic]:
    """Return one variable of a stream in memory: for a look at it, runs write it piece by piece."""
    whole = np.full(shape, variable.fill_value, variable.dtype)
    for part, piece in stream.pieces():
        if part.variable == variable.name:
            days, overpass, rows, cols = part.region
            own = slice(days.start - start[0], days.stop - start[0])
            whole[own, overpass.start - start[1] : overpass.stop - start[1], rows, cols] = piece
    return whole


# ---- what came of it ----------------------------------------------------------------------------------------------


def _shares(counts: Sequence[Any], *, year: str) -> Noted:
    """Return what was filled how: by overpass and month, and the shares by overpass."""
    rows = [row for task in counts for row in task]
    table = pd.DataFrame(rows, columns=["overpass", "month", *scsg.COUNTED])
    table = table.groupby(["overpass", "month"], as_index=False).sum()
    table["overpass"] = [OVERPASSES[number] for number in table["overpass"]]
    table["month"] += 1
    table.insert(0, "year", int(year))
    sums = table.groupby("overpass")[list(scsg.COUNTED)].sum().reindex(list(OVERPASSES), fill_value=0)
    total = (sums[list(SKY_KINDS)].sum(axis=1) + sums["missing"]).clip(lower=1)
    observed = sums[list(OBSERVED_KINDS)].sum(axis=1) / total
    missing = sums["missing"] / total
    shares = pd.DataFrame({"observed": observed, "filled": 1 - observed - missing, "missing": missing}).reset_index()
    shares.insert(0, "year", int(year))
    return Noted(tables={f"overpasses-{year}": shares, f"filling-{year}": table})


def _epoch_of(recipe: Recipe, year: str) -> str:
    return next(name for name, epoch in recipe.epochs.named().items() if int(year) in epoch.years)


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, year: str) -> list[str]:
    years = [year]
    further = []
    if recipe.gap_filling.method == "scsg":
        years = [other for other in all_years(recipe) if abs(int(other) - int(year)) <= 1]
        further = [*(["terrain"] if recipe.sources.elevation else [])]
        further += [f"vegetation/{year}"] if recipe.sources.ndvi else []
    days = [f"{stage}/{other}" for stage in ("observations", "sky_classes") for other in years]
    return [*days, f"annual_cycle/{_epoch_of(recipe, year)}", "masks/training", *further]


def _memory(work: Work, _year: str) -> int:
    settings = work.recipe.gap_filling
    if settings.method == "scsg":
        return scsg.memory(work.shape, work.chunk_pixels, scsg.cell_pixels(work.pixel_km), DAYS_PER_CHUNK, settings)
    width = work.chunk_pixels + 2 * work.neighbourhood_pixels
    return 366 * width**2 * (3 * 4 + 2 * 4 + 5 * 4)  # counts of a window and its result, float32 of five steps


GAP_FILLING = Stage(
    "gap_filling",
    "gaps filled",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("gap_filling",),
    writes=FILLED,
    memory=_memory,
    version=4,
)
