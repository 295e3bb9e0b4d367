"""Mean annual freezing and thawing sums of an epoch: the forcing of the frost number."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.kernels.degree_days import complete_year
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.ground_regression import FREEZING_TERMS, TERMS, corrected
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Forcing, Recipe, YearKind
from frostmap.pipeline.schema import DDF, DDT
from frostmap.pipeline.schema import FORCING as WRITES
from frostmap.pipeline.sites import latitudes
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.stages.vegetation import composite_years, of_one_year
from frostmap.pipeline.work import Work, first_and_last_day

Coefficients = npt.NDArray[np.float64] | None

MOST_DEGREE_DAYS = 20_000
"""No place on Earth exceeds this [°C d]; sums of temperatures in K do."""


def build(work: Work, epoch: str) -> Products:
    """Return the forcing: means over the epoch's years, or the rasters that the recipe gives."""
    if work.recipe.sources.forcing is not None:
        return Products(cube=_given(work, getattr(work.recipe.sources.forcing, epoch), epoch))
    cubes, settings = yearly_sources(work, epoch)
    made = map_windows(partial(means, **settings), cubes, WRITES, {}, block=work.chunk_pixels, wanted=work.inside)
    return Products(cube=made.cube, tasks=made.tasks)


def yearly_sources(work: Work, epoch: str) -> tuple[list[xr.Dataset], dict[str, Any]]:
    """Return the cubes that `means` and `yearly_sums` take windows of for an epoch, and their other arguments."""
    recipe = work.recipe
    kind, years = recipe.degree_days.year, recipe.degree_years(epoch)
    by_interval, yearly = _coefficients(work)
    needed = ["freezing", "valid_days", "thawing" if by_interval is None else "thawing_by_interval"]
    cubes = [work.open(f"degree_days/{year}")[needed] for year in years]
    if by_interval is not None or yearly is not None:
        cubes.append(xr.Dataset({"latitude": (("y", "x"), np.broadcast_to(latitudes(work.geobox), work.shape))}))
        if recipe.sources.ndvi is not None:
            cubes += [work.open(f"vegetation/{year}") for year in _greenness_years(years, kind)]
    minimum = recipe.degree_days.minimum_days
    return cubes, {
        "years": years, "kind": kind, "thawing": by_interval, "freezing": yearly, "minimum_days": minimum,
    }  # fmt: skip


def _coefficients(work: Work) -> tuple[Coefficients, Coefficients]:
    """Return the coefficients of thawing sums, (23, 4), and those of freezing sums, (4,), where they are corrected."""
    settings = work.recipe.ground_correction
    thawing: Coefficients = None
    freezing: Coefficients = None
    if settings.method != "identity":
        thawing = work.table("ground_coefficients").sort_values("interval")[list(TERMS)].to_numpy(np.float64)
    if settings.freezing != "none":
        values = work.table("ground_correction_freezing").set_index("term")["value"]
        freezing = values.loc[list(FREEZING_TERMS)].to_numpy(np.float64)
    return thawing, freezing


def means(
    *windows: xr.Dataset,
    years: list[int],
    thawing: Coefficients,
    freezing: Coefficients,
    minimum_days: int,
    kind: YearKind = "calendar",
) -> Block:
    """Return the means over years of DDF and DDT of `yearly_sums`; a year with too few days counts for nothing."""
    ddf, ddt = yearly_sums(
        *windows, years=years, thawing=thawing, freezing=freezing, minimum_days=minimum_days, kind=kind
    )
    return {DDF.name: _mean(ddf), DDT.name: _mean(ddt)}


def yearly_sums(
    *windows: xr.Dataset,
    years: list[int],
    thawing: Coefficients,
    freezing: Coefficients,
    minimum_days: int,
    kind: YearKind = "calendar",
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """Return DDF and DDT of each year, corrected where there are coefficients; NaN where a year has too few days.

    Parameters
    ----------
    windows
        The years' degree days; where something is corrected, the latitudes follow, and the NDVI of the calendar years
        that they lie in, if it is there.
    years
        The epoch's.
    thawing
        Coefficients of the thawing sums of intervals, (23, 4), in the order of TERMS.
    freezing
        Coefficients of the freezing sums of years, (4,).
    minimum_days
        Fewest valid days of a year.
    kind
        What a year is.
    """
    sums, others = windows[: len(years)], windows[len(years) :]
    latitude = others[0]["latitude"].values if others else np.zeros((1, 1))
    ndvi = [np.zeros((1, 1, 1), np.float32)] * len(years)
    if others[1:]:
        series = dict(zip(_greenness_years(years, kind), [window["ndvi"].values for window in others[1:]], strict=True))
        ndvi = _without_gaps([of_one_year(series, year, kind) for year in years])
    ddf, ddt = [], []
    for year, greenness, days in zip(years, ndvi, sums, strict=True):
        first, last = first_and_last_day(year, kind)
        valid, n_days = days["valid_days"].values, int((last - first).astype(int)) + 1
        skin = days["thawing" if thawing is None else "thawing_by_interval"].values
        frost, thaw = complete_year(days["freezing"].values, skin, valid, n_days, minimum_days)
        if thawing is not None:
            thaw = corrected(thaw, greenness, latitude, thawing[:, None, None]).sum(axis=0)
        if freezing is not None:
            frost = corrected(frost, _mean(list(greenness)), latitude, freezing)
        ddf.append(frost)
        ddt.append(thaw)
    return ddf, ddt


def _greenness_years(years: list[int], kind: YearKind) -> list[int]:
    return sorted({calendar for year in years for calendar in composite_years(year, kind)})


def _without_gaps(series: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Return NDVI of years, (composite, y, x), missing composites as the mean of the same composite in the others."""
    usual = _mean(series)
    return [np.where(np.isnan(one), usual, one) for one in series]


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


def inputs_of(recipe: Recipe, epoch: str) -> list[str]:
    """Return the steps whose results an epoch's sums are made of."""
    if recipe.sources.forcing is not None:
        return []
    years = recipe.degree_years(epoch)
    needed = [f"degree_days/{year}" for year in years]
    if recipe.ground_correction.changes_anything:
        greenness = _greenness_years(years, recipe.degree_days.year) if recipe.sources.ndvi else []
        needed += ["ground_correction"] + [f"vegetation/{year}" for year in greenness]
    return needed


def _sources(recipe: Recipe, epoch: str) -> list[Path]:
    given: Forcing | None = getattr(recipe.sources.forcing, epoch, None)
    return [recipe.path(path) for path in (given.freezing, given.thawing)] if given else []


def _window(work: Work) -> tuple[int, int]:
    """Return what a task sees: a block; of given rasters the whole map."""
    return work.shape if work.recipe.sources.forcing is not None else (work.chunk_pixels, work.chunk_pixels)


FORCING = Stage(
    "forcing",
    "mean annual freezing and thawing sums",
    build,
    scopes=all_epochs,
    inputs=inputs_of,
    sources=_sources,
    sections=("degree_days", "ground_correction"),
    writes=WRITES,
    window=_window,
    version=2,
)
