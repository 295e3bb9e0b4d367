"""Mean annual freezing and thawing sums of an epoch: the forcing of the frost number."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.kernels.degree_days import complete_year
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Forcing, Recipe
from frostmap.pipeline.schema import DDF, DDT
from frostmap.pipeline.schema import FORCING as WRITES
from frostmap.pipeline.sites import latitudes
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.stages.ground_correction import TERMS, corrected
from frostmap.pipeline.work import Work, days_in

MOST_DEGREE_DAYS = 20_000
"""No place on Earth exceeds this [°C d]; sums of temperatures in K do."""


def build(work: Work, epoch: str) -> Products:
    """Return the forcing: means over the epoch's years, or the rasters that the recipe gives."""
    if work.recipe.sources.forcing is not None:
        return Products(cube=_given(work, getattr(work.recipe.sources.forcing, epoch), epoch))
    years = sorted(work.recipe.epochs.named()[epoch].years)
    cubes = [work.open(f"degree_days/{year}") for year in years]
    if work.recipe.ground_correction.method == "pooled":
        table = work.table("ground_correction").set_index("term")["value"]
        coefficients: npt.NDArray[np.float64] | None = table.loc[list(TERMS)].to_numpy()
        rows = xr.Dataset({"latitude": (("y", "x"), np.broadcast_to(latitudes(work.geobox), work.shape))})
        cubes += [*(work.open(f"vegetation/{year}") for year in years), rows]
    else:
        coefficients = None
    minimum = work.recipe.degree_days.minimum_days
    function = partial(means, years=years, coefficients=coefficients, minimum_days=minimum)
    made = map_windows(function, cubes, WRITES, {}, block=work.chunk_pixels, wanted=work.inside)
    return Products(cube=made.cube, tasks=made.tasks)


def means(
    *windows: xr.Dataset, years: list[int], coefficients: npt.NDArray[np.float64] | None, minimum_days: int
) -> Block:
    """Return the means over years of DDF and of the corrected DDT; a year with too few days counts for nothing.

    The windows are the years' degree days; where there are coefficients, the years' NDVI and the latitudes follow.
    """
    freezing, thawing = [], []
    for i, year in enumerate(years):
        sums, n_days = windows[i], days_in(year)
        valid = sums["valid_days"].values
        skin = sums["thawing"].values
        if coefficients is None:
            ground = skin
        else:
            ndvi, latitude = windows[len(years) + i]["ndvi"].values, windows[-1]["latitude"].values
            ground = corrected(sums["thawing_by_interval"].values, ndvi, latitude, coefficients).sum(axis=0)
        ddf, ddt = complete_year(sums["freezing"].values, ground, valid, n_days, minimum_days)
        freezing.append(ddf)
        thawing.append(ddt)
    return {DDF.name: _mean(freezing), DDT.name: _mean(thawing)}


def _mean(years: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    stack = np.stack(years).astype(np.float64)
    valid = np.isfinite(stack)
    count = valid.sum(axis=0)
    total = np.where(valid, stack, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _given(work: Work, rasters: Forcing, epoch: str) -> xr.Dataset:
    read = delayed(_plausible)
    layers = {}
    for variable, given, name in ((DDF, rasters.freezing, "freezing"), (DDT, rasters.thawing, "thawing")):
        task = read(work.recipe.path(given), work.geobox, f"sources.forcing.{epoch}.{name}")
        data = da.from_delayed(task, work.shape, dtype=np.dtype("float32"))
        layers[variable.name] = (variable.dims, da.where(work.inside, data, np.float32(np.nan)), variable.attrs)
    return xr.Dataset(layers)


def _plausible(path: Path, geobox: GeoBox, key: str) -> npt.NDArray[np.float32]:
    """Return a raster of degree-day sums, unless its numbers cannot be that."""
    sums = on_grid(path, geobox, key, how="nearest")
    least, most = float(np.nanmin(sums)), float(np.nanmax(sums))
    if least < 0 or most > MOST_DEGREE_DAYS:
        raise UserError(
            "a raster does not hold annual degree-day sums",
            where=f"{path} (recipe: {key})",
            found=f"values from {least:g} to {most:g}",
            wanted=f"0 to {MOST_DEGREE_DAYS} °C d, both sums positive",
            remedy="give sums of daily means in °C (not K), freezing sums positive too, and tag no-data as such",
        )
    return sums


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    if recipe.sources.forcing is not None:
        return []
    years = sorted(recipe.epochs.named()[epoch].years)
    needed = [
        f"{stage}/{year}"
        for stage in ("degree_days", "vegetation")
        for year in years
        if stage == "degree_days" or recipe.sources.ndvi
    ]
    return needed + (["ground_correction"] if recipe.ground_correction.method == "pooled" else [])


def _sources(recipe: Recipe, epoch: str) -> list[Path]:
    given: Forcing | None = getattr(recipe.sources.forcing, epoch, None)
    return [recipe.path(path) for path in (given.freezing, given.thawing)] if given else []


FORCING = Stage(
    "forcing",
    "mean annual freezing and thawing sums",
    build,
    scopes=all_epochs,
    inputs=_inputs,
    sources=_sources,
    sections=("degree_days", "ground_correction"),
    writes=WRITES,
)
