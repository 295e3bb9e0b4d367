"""Daily mean skin temperature from four overpasses, and its freezing and thawing sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.catalogs.grids import to_geographic
from frostmap.kernels.degree_days import (
    DAYS_PER_INTERVAL,
    degree_day_sums,
    overpass_degree_days,
    thawing_by_interval,
)
from frostmap.kernels.diurnal_cycle import DailyMean, daily_mean, on_local_dates
from frostmap.kernels.quality import view_hours
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.recipe import DegreeDays, Recipe
from frostmap.pipeline.schema import FREEZING, LST, THAWING, VALID_DAYS, VIEW_TIME, YEAR
from frostmap.pipeline.scsg import celsius
from frostmap.pipeline.stage import Noted, Products, Stage, all_degree_years, all_years
from frostmap.pipeline.work import Work, first_and_last_day

BY_METHOD = "by_method"
"""Sums of a sample by each way to the daily mean, (method, freezing and thawing, y, x), beside what is written."""
SAMPLE_STEP = 10
"""Every tenth pixel along rows and columns is in that sample."""
COMPARED: tuple[DailyMean, ...] = ("sinusoid", "mean4", "got09", "sun_response")


def build(work: Work, year: str) -> Products:
    """Return the sums of a year."""
    settings = work.recipe.degree_days
    windows = []
    for calendar, days in _spans(work.recipe, int(year)):
        windows.append(work.open(f"gap_filling/{calendar}")[[LST.name]].isel(time=days))
        windows.append(work.open(f"observations/{calendar}")[[VIEW_TIME.name]].isel(time=days))
    made = map_windows(
        partial(sums, year=int(year), settings=settings),
        windows,
        YEAR,
        work.sizes(year),
        block=work.chunk_pixels,
        wanted=work.inside,
        note=_sampled,
    )
    return Products(
        cube=made.cube,
        tasks=made.tasks,
        coords={"interval": np.arange(23, dtype="int16")},
        noted=partial(_compared, year=int(year), chosen=settings.daily_mean),
    )


def sums(*windows: xr.Dataset, year: int, settings: DegreeDays) -> Block:
    """Return the sums of a window's year.

    Parameters
    ----------
    windows
        By turns the filled temperatures of some days and their times of view, in the order of time. Days that are
        missing are missing observations.
    year
        Calendar year, or that in which a freezing year ends.
    settings
        How days and years are made.
    """
    dates = np.concatenate([window["time"].values for window in windows[::2]]).astype("datetime64[D]")
    lst = _joined([window[LST.name].values for window in windows[::2]])
    view_time = _joined([window[VIEW_TIME.name].values for window in windows[1::2]])
    longitude, latitude = to_geographic(*np.meshgrid(windows[0]["x"].values, windows[0]["y"].values))
    if settings.dates == "local":
        lst, view_time = on_local_dates(lst, view_time, longitude)
    first, last = first_and_last_day(year, settings.year)
    own = (dates >= first) & (dates <= last)
    if not own.all():
        dates, lst, view_time = dates[own], lst[own], view_time[own]
    day_of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1
    chosen = _sums(settings.daily_mean, lst, view_time, latitude[:, 0], day_of_year)
    made: Block = dict(zip([variable.name for variable in YEAR], chosen, strict=True))
    few = (..., slice(None, None, SAMPLE_STEP), slice(None, None, SAMPLE_STEP))
    sample = [
        (chosen[0][few], chosen[1][few])
        if method == settings.daily_mean
        else _sums(method, lst[few], view_time[few], latitude[::SAMPLE_STEP, 0], day_of_year)[:2]
        for method in _methods(settings.daily_mean)
    ]
    return made | {BY_METHOD: np.array(sample)}


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _sums(
    method: DailyMean,
    lst: npt.NDArray[np.uint16],
    view_time: npt.NDArray[np.uint8],
    latitude: npt.NDArray[np.float64],
    day_of_year: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[Any], ...]:
    """Return freezing, thawing, thawing by interval and valid days; the sinusoid's in one pass over stored counts."""
    interval = (day_of_year - 1) // DAYS_PER_INTERVAL
    if method == "sinusoid":
        return overpass_degree_days(lst, None, view_time, interval)
    daily = np.empty((len(lst), *lst.shape[2:]), np.float32)
    for start in range(0, len(lst), DAYS_PER_CHUNK):
        days = slice(start, start + DAYS_PER_CHUNK)
        observed, hours = celsius(np.ascontiguousarray(lst[days])), view_hours(np.ascontiguousarray(view_time[days]))
        daily[days] = daily_mean(method, observed, hours, latitude, day_of_year[days])
    freezing, thawing, valid = degree_day_sums(daily)
    return freezing, thawing, thawing_by_interval(daily, interval), valid


# ---- how much the daily mean matters ------------------------------------------------------------------------------


def _methods(chosen: DailyMean) -> list[DailyMean]:
    return [method for method in get_args(DailyMean) if method in COMPARED or method == chosen]


def _sampled(block: Block, *, wanted: npt.NDArray[np.bool_], at: Mapping[str, slice]) -> list[list[float]]:
    """Return pixels, freezing and thawing sums of each method over the block's sample."""
    del at
    sample: npt.NDArray[Any] = block[BY_METHOD]
    valid: npt.NDArray[Any] = block[VALID_DAYS.name][::SAMPLE_STEP, ::SAMPLE_STEP]
    usable = wanted[::SAMPLE_STEP, ::SAMPLE_STEP] & (valid > 0)
    return [[int(usable.sum()), *each[:, usable].astype(np.float64).sum(axis=1).tolist()] for each in sample]


def _compared(notes: Sequence[Any], *, year: int, chosen: DailyMean) -> Noted:
    """Return the sample's mean sums by each method, and their differences from the chosen one's."""
    methods = _methods(chosen)
    total = np.sum(np.array(notes, np.float64), axis=0) if notes else np.zeros((len(methods), 3))
    table = pd.DataFrame({"year": year, "method": methods, "pixels": total[:, 0].astype(int)})
    with np.errstate(invalid="ignore"):
        means = total[:, 1:] / total[:, :1]
    own = means[methods.index(chosen)]
    for k, name in enumerate((FREEZING.name, THAWING.name)):
        table[name], table[f"{name}_difference"] = means[:, k].round(1), (means[:, k] - own[k]).round(1)
    return Noted({f"daily_means-{year}": table})


# ---- which days ---------------------------------------------------------------------------------------------------


def _spans(recipe: Recipe, year: int) -> list[tuple[int, slice]]:
    """Return what is read for a year: days of calendar years that the recipe has, those around it by local dates."""
    first, last = first_and_last_day(year, recipe.degree_days.year)
    around = np.timedelta64(1 if recipe.degree_days.dates == "local" else 0, "D")
    spans = []
    for calendar in (year - 1, year, year + 1):
        start, end = first_and_last_day(calendar, "calendar")
        low, high = max(first - around, start), min(last + around, end)
        if low <= high and str(calendar) in all_years(recipe):
            spans.append((calendar, slice(int((low - start).astype(int)), int((high - start).astype(int)) + 1)))
    return spans


def _scopes(recipe: Recipe) -> list[str]:
    return all_degree_years(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, year: str) -> list[str]:
    years = [calendar for calendar, _ in _spans(recipe, int(year))]
    return [f"{stage}/{calendar}" for calendar in years for stage in ("gap_filling", "observations")]


def _memory(work: Work, _year: str) -> int:
    settings, observed = work.recipe.degree_days, 366 * work.chunk_pixels**2 * 4
    counts = observed * (2 + 1)
    copies = 1 + (settings.dates == "local") + (settings.year == "freezing")
    floats = 0 if settings.daily_mean == "sinusoid" else observed + 4 * DAYS_PER_CHUNK * work.chunk_pixels**2 * 4 * 2
    return counts * copies + floats


DEGREE_DAYS = Stage(
    "degree_days",
    "daily means and degree days",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("degree_days",),
    writes=YEAR,
    memory=_memory,
    version=2,
)
