"""Degree days of a window: by any daily mean, by UTC or local dates, for calendar and freezing years."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr

from frostmap.catalogs.grids import SPHERE_RADIUS
from frostmap.kernels.degree_days import degree_day_sums, interval_of_day, overpass_degree_days
from frostmap.kernels.diurnal_cycle import DailyMean, daily_mean
from frostmap.kernels.quality import view_hours
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import DegreeDays, Recipe, parse_recipe
from frostmap.pipeline.schema import YEAR
from frostmap.pipeline.scsg import celsius
from frostmap.pipeline.stage import all_degree_years
from frostmap.pipeline.stages import degree_days
from frostmap.pipeline.stages.degree_days import BY_METHOD, DEGREE_DAYS, SAMPLE_STEP, sums
from frostmap.pipeline.stages.vegetation import of_one_year

SIDE, LATITUDE, LONGITUDE = 12, 34.0, 92.0
DIMS = ("time", "overpass", "y", "x")
METHODS = get_args(DailyMean)


def window(year: int, days: slice = slice(None)) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the filled temperatures and the times of view of some days of a year."""
    time = pd.date_range(f"{year}-01-01", f"{year}-12-31")
    rng = np.random.default_rng(year)
    season = 271.0 - 14.0 * np.cos(2 * np.pi * (time.day_of_year.to_numpy() - 20) / 365.25)
    course = np.array([9.0, 13.0, -6.0, -8.0])
    kelvin = season[:, None, None, None] + course[:, None, None] + rng.normal(0, 2, (time.size, 4, SIDE, SIDE))
    hours = np.array([108, 132, 221, 19])[:, None, None] + rng.integers(-6, 7, kelvin.shape)
    y = SPHERE_RADIUS * np.radians(LATITUDE) - 926.6 * np.arange(SIDE)
    x = SPHERE_RADIUS * np.cos(np.radians(LATITUDE)) * np.radians(LONGITUDE) + 926.6 * np.arange(SIDE)
    coords = {"time": time, "y": y, "x": x}
    return (
        xr.Dataset({"lst": (DIMS, np.rint(kelvin / 0.02).astype(np.uint16))}, coords).isel(time=days),
        xr.Dataset({"view_time": (DIMS, hours.astype(np.uint8))}, coords).isel(time=days),
    )


def means(filled: xr.Dataset, seen: xr.Dataset, method: DailyMean) -> npt.NDArray[np.float32]:
    """Return the daily means of a window."""
    latitude = np.degrees(filled["y"].values / SPHERE_RADIUS)
    day = filled["time"].dt.dayofyear.values
    return daily_mean(method, celsius(filled["lst"].values), view_hours(seen["view_time"].values), latitude, day)


@pytest.mark.parametrize("method", METHODS)
def test_the_sums_are_those_of_the_method_s_means(method: DailyMean) -> None:
    filled, seen = window(2020)
    made = sums(filled, seen, year=2020, settings=DegreeDays(daily_mean=method))
    freezing, thawing, valid = degree_day_sums(means(filled, seen, method))
    np.testing.assert_allclose(made["freezing"], freezing, rtol=2e-5)
    np.testing.assert_allclose(made["thawing"], thawing, rtol=2e-5)
    np.testing.assert_allclose(made["thawing_by_interval"].sum(axis=0), thawing, rtol=2e-5)
    np.testing.assert_array_equal(made["valid_days"], valid)
    assert (valid == 366).all()
    assert {variable.name for variable in YEAR} < made.keys()


def test_a_warmer_course_by_night_is_a_smaller_freezing_sum() -> None:
    filled, seen = window(2019)
    by = {m: sums(filled, seen, year=2019, settings=DegreeDays(daily_mean=m))["freezing"].mean() for m in METHODS}
    assert by["sun_response"] > by["sinusoid"]  # whose means are too warm
    assert by["got09"] > by["sinusoid"]


def test_every_tenth_pixel_is_summed_by_the_other_methods_too() -> None:
    filled, seen = window(2019)
    made = sums(filled, seen, year=2019, settings=DegreeDays())
    for method, sample in zip(degree_days.COMPARED, made[BY_METHOD], strict=True):
        other = sums(filled, seen, year=2019, settings=DegreeDays(daily_mean=method))
        few = np.stack([other["freezing"], other["thawing"]])[:, ::SAMPLE_STEP, ::SAMPLE_STEP]
        np.testing.assert_allclose(sample, few, rtol=1e-5)
    wanted = np.ones((SIDE, SIDE), bool)
    wanted[0, 0] = False
    notes = [degree_days._sampled(made, wanted=wanted, at={})] * 2
    table = degree_days._compared(notes, year=2019, chosen="sinusoid").tables["daily_means-2019"]
    assert table["pixels"].tolist() == [6] * 4  # 2 x 2 less one, twice
    assert table["method"].tolist() == list(degree_days.COMPARED)
    assert table.loc[0, ["freezing_difference", "thawing_difference"]].tolist() == [0.0, 0.0]
    assert (table["freezing_difference"][2:] > 0).all()


def test_local_dates_take_aqua_s_night_from_the_file_before() -> None:
    filled, seen = window(2020)
    local = sums(filled, seen, year=2020, settings=DegreeDays(dates="local"))
    lst, view_time = filled["lst"].values.copy(), seen["view_time"].values.copy()
    lst[1:, 3], view_time[1:, 3] = filled["lst"].values[:-1, 3], seen["view_time"].values[:-1, 3]
    lst[0, 3] = 0  # nobody has the night before
    by_hand = overpass_degree_days(lst, None, view_time, interval_of_day(366))
    for variable, expected in zip(YEAR, by_hand, strict=True):
        np.testing.assert_array_equal(local[variable.name], expected)


def test_local_dates_use_the_last_file_of_the_year_before() -> None:
    parts = (*window(2019, slice(364, 365)), *window(2020))
    local = sums(*parts, year=2020, settings=DegreeDays(dates="local"))
    alone = sums(*parts[2:], year=2020, settings=DegreeDays(dates="local"))
    assert (local["valid_days"] == 366).all()
    difference = (local["freezing"] - local["thawing"]) - (alone["freezing"] - alone["thawing"])
    assert (np.abs(difference) > 1e-3).mean() > 0.9  # of the first day alone
    assert np.abs(difference).max() < 15


def test_a_freezing_year_is_the_second_half_of_one_and_the_first_of_the_next() -> None:
    parts = (*window(2019, slice(181, 365)), *window(2020, slice(0, 182)))
    made = sums(*parts, year=2020, settings=DegreeDays(year="freezing"))
    daily = np.concatenate([means(*parts[:2], "sinusoid"), means(*parts[2:], "sinusoid")])
    freezing, thawing, valid = degree_day_sums(daily)
    assert (made["valid_days"] == 366).all()
    np.testing.assert_array_equal(valid, 366)
    np.testing.assert_allclose(made["freezing"], freezing, rtol=2e-5)
    np.testing.assert_allclose(made["thawing_by_interval"].sum(axis=0), thawing, rtol=2e-5)
    july = daily[:11]  # days 182 to 192 of 2019: with the first six of its interval from 2020
    june = daily[-6:]
    both = np.maximum(july, 0).sum(axis=0) + np.maximum(june, 0).sum(axis=0)
    np.testing.assert_allclose(made["thawing_by_interval"][11], both, rtol=2e-5)


def recipe(**degree: str) -> Recipe:
    text = """
frostmap: 1
name: test
region: {tiles: [h25v05]}
epochs: {training: {years: [2008, 2009, 2010]}}
sources:
  lst: {catalogue: catalogue.json}
  clusters: clusters.tif
  surveys: [{name: a, path: a.tif}]
ground_correction: {method: identity}
""" + "".join(f"degree_days: {degree}\n" if degree else "")
    return parse_recipe(text, Path("recipe.yaml"))


def test_each_year_reads_what_it_needs_and_no_more() -> None:
    spans: dict[str, list[tuple[int, slice]]] = {
        "calendar": degree_days._spans(recipe(), 2009),
        "local": degree_days._spans(recipe(dates="local"), 2009),
        "edge": degree_days._spans(recipe(dates="local"), 2008),
        "freezing": degree_days._spans(recipe(year="freezing"), 2009),
        "both": degree_days._spans(recipe(year="freezing", dates="local"), 2009),
    }
    assert spans == {
        "calendar": [(2009, slice(0, 365))],
        "local": [(2008, slice(365, 366)), (2009, slice(0, 365)), (2010, slice(0, 1))],
        "edge": [(2008, slice(0, 366)), (2009, slice(0, 1))],
        "freezing": [(2008, slice(182, 366)), (2009, slice(0, 181))],
        "both": [(2008, slice(181, 366)), (2009, slice(0, 182))],
    }
    assert all_degree_years(recipe(year="freezing")) == ["2009", "2010"]
    inputs = DEGREE_DAYS.inputs(recipe(year="freezing"), "2009")
    assert set(inputs) == {f"{stage}/{year}" for stage in ("gap_filling", "observations") for year in (2008, 2009)}


def test_freezing_years_need_two_years_in_a_row() -> None:
    text = recipe().model_dump_json()
    assert '"calendar"' in text
    with pytest.raises(UserError, match="no two years in a row"):
        parse_recipe(text.replace("2009", "2006").replace('"calendar"', '"freezing"'), Path("recipe.yaml"))


def test_composites_of_a_freezing_year_come_from_both_years() -> None:
    series: dict[int, npt.NDArray[Any]] = {2019: np.arange(23) + 1900, 2020: np.arange(23) + 2000}
    assert of_one_year(series, 2020, "calendar")[[0, 22]].tolist() == [2000, 2022]
    assert of_one_year(series, 2020, "freezing")[[0, 11, 12, 22]].tolist() == [2000, 2011, 1912, 1922]
