"""Degree-day sums are what a year of daily means adds up to, whether summed step by step or in one pass."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from frostmap.kernels import daily_mean, degree_days, quality

REFERENCE = Path(__file__).parents[1] / "reference"
SIDE = 3 if numba.config.DISABLE_JIT else 40

means = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.one_of(st.floats(-60, 60, width=32), st.just(float("nan"))),
)


def stored_overpasses(
    days: int, side: int, seed: int = 0
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return lst, qc, view_time in which half of the observations are lost, for each reason there is."""
    rng = np.random.default_rng(seed)
    shape = (days, 4, side, side)
    lst = rng.integers(12000, 15500, shape).astype(np.uint16)
    qc = rng.choice(np.array([0, 65, 81, 97, 129, 177, 2, 3], np.uint8), shape, p=[0.5, 0.2, 0.1, 0.05, *[0.0375] * 4])
    hours = np.array([109, 132, 221, 20])[:, None, None]
    view_time = (hours + rng.integers(-8, 9, shape)).astype(np.uint8)
    lst[rng.random(shape) < 0.3] = 0
    lst[rng.random(shape) < 0.02] = 20000
    view_time[rng.random(shape) < 0.02] = 255
    return lst, qc, view_time


@given(means)
@settings(deadline=None, max_examples=40)
def test_sums_equal_their_numpy_twin(temperature: NDArray[np.float32]) -> None:
    freezing, thawing, valid_days = degree_days.degree_day_sums(temperature)
    known = np.nan_to_num(temperature.astype(np.float64))
    np.testing.assert_allclose(freezing, -np.minimum(known, 0).sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(thawing, np.maximum(known, 0).sum(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(valid_days, np.isfinite(temperature).sum(axis=0))
    assert (freezing.dtype, thawing.dtype, valid_days.dtype) == (np.float32, np.float32, np.int16)


@given(means)
@settings(deadline=None, max_examples=40)
def test_a_change_of_sign_swaps_the_sums(temperature: NDArray[np.float32]) -> None:
    freezing, thawing, _ = degree_days.degree_day_sums(temperature)
    swapped_freezing, swapped_thawing, _ = degree_days.degree_day_sums(-temperature)
    np.testing.assert_array_equal(freezing, swapped_thawing)
    np.testing.assert_array_equal(thawing, swapped_freezing)
    assert (freezing >= 0).all()
    assert (thawing >= 0).all()


@pytest.mark.parametrize("days", [365, 366])
def test_the_intervals_add_up_to_the_year(days: int) -> None:
    temperature = np.random.default_rng(days).normal(0, 15, (days, 2, 3)).astype(np.float32)
    interval = degree_days.interval_of_day(days)
    parts = degree_days.thawing_by_interval(temperature, interval)
    assert parts.shape == (23, 2, 3)
    np.testing.assert_allclose(parts.sum(axis=0), degree_days.degree_day_sums(temperature)[1], rtol=1e-6)
    for k in (0, 7, 22):
        expected = np.maximum(temperature[interval == k], 0).sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(parts[k], expected, rtol=1e-6)


def test_the_years_2016_to_2020_have_1827_days_and_23_intervals_each() -> None:
    years = [degree_days.interval_of_day(days) for days in (366, 365, 365, 365, 366)]
    assert sum(map(len, years)) == 1827
    for interval in years:
        lengths = np.bincount(interval)
        assert len(lengths) == degree_days.INTERVALS
        assert lengths[:-1].tolist() == [16] * 22
        assert lengths[-1] == len(interval) - 352
    with pytest.raises(ValueError, match="wanted 365 or 366"):
        degree_days.interval_of_day(1827)


def test_a_cosine_year_has_the_frost_number_of_nelson_and_outcalt() -> None:
    # Nelson and Outcalt (1987), doi:10.2307/1551363; sums over days against their integral
    for coldest, warmest, published in np.loadtxt(
        REFERENCE / "nelson_outcalt_1987.csv", delimiter=",", skiprows=1 + 2, comments=None
    ):
        angle = 2.0 * np.pi * (np.arange(365) + 0.5) / 365.0
        year = 0.5 * (coldest + warmest) - 0.5 * (warmest - coldest) * np.cos(angle)
        freezing, thawing, _ = degree_days.degree_day_sums(year.astype(np.float32).reshape(365, 1, 1))
        roots = np.sqrt([freezing[0, 0], thawing[0, 0]])
        assert roots[0] / roots.sum() == pytest.approx(published, abs=1e-4)


def test_a_missing_day_adds_nothing_and_only_at_its_pixel() -> None:
    temperature = np.full((10, 2, 2), -3.0, np.float32)
    temperature[4, 0, 1] = np.nan
    freezing, thawing, valid_days = degree_days.degree_day_sums(temperature)
    np.testing.assert_array_equal(freezing, [[30, 27], [30, 30]])
    np.testing.assert_array_equal(valid_days, [[10, 9], [10, 10]])
    assert not thawing.any()


def test_a_nearly_complete_year_is_scaled_and_an_incomplete_one_void() -> None:
    valid_days = np.array([[366, 350, 349, 0]], np.int16)
    sums = np.full((1, 4), 1000.0, np.float32)
    freezing, thawing = degree_days.complete_year(sums, np.stack([sums, 2 * sums]), valid_days, 366)
    scaled = np.array([[1000.0, 1000.0 * 366 / 350, np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(freezing, scaled)
    np.testing.assert_array_equal(thawing, np.stack([scaled, 2 * scaled]))
    assert freezing.dtype == thawing.dtype == np.float32
    with pytest.raises(ValueError, match="minimum_days"):
        degree_days.complete_year(sums, sums, valid_days, 366, minimum_days=367)


def by_steps(
    lst: NDArray[np.uint16], qc: NDArray[np.uint8], view_time: NDArray[np.uint8], interval: NDArray[np.int64]
) -> list[NDArray[np.generic]]:
    temperature = quality.land_surface_temperature(lst, qc)
    daily = daily_mean.sinusoid(temperature, quality.view_hours(view_time))
    freezing, thawing, valid_days = degree_days.degree_day_sums(daily)
    return [freezing, thawing, degree_days.thawing_by_interval(daily, interval), valid_days]


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_equals_the_steps(seed: int) -> None:
    stored = stored_overpasses(33, SIDE, seed)
    interval = np.arange(33) // 16
    fused = degree_days.overpass_degree_days(*stored, interval)
    stepwise = by_steps(*stored, interval)
    assert 0 < stepwise[3].mean() < 33
    np.testing.assert_array_equal(fused[3], stepwise[3])
    for one, many in zip(fused[:3], stepwise[:3], strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, many, rtol=2e-5, atol=2e-3)


def filled_overpasses(days: int, side: int, seed: int = 0) -> tuple[NDArray[np.uint16], None, NDArray[np.uint8]]:
    """Return lst, no qc, view_time in which nothing is missing and little is unusual, or unbelievable."""
    rng = np.random.default_rng(seed)
    shape = (days, 4, side, side)
    swing = rng.normal(0.0, 600.0, shape) + np.array([600, 700, -400, -500])[:, None, None]
    hours = np.array([109, 132, 221, 20])[:, None, None]
    view_time = (hours + rng.integers(-8, 9, shape)).astype(np.uint8)
    strange = rng.random(shape) < 0.01
    view_time[strange] = rng.integers(0, 241, strange.sum())
    return np.clip(13600 + swing, 10700, 17100).astype(np.uint16), None, view_time


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_equals_the_steps_where_nothing_is_missing(seed: int) -> None:
    lst, _, view_time = filled_overpasses(33, SIDE, seed)
    interval = np.arange(33) // 16
    fused = degree_days.overpass_degree_days(lst, None, view_time, interval)
    stepwise = by_steps(lst, np.zeros_like(view_time), view_time, interval)
    np.testing.assert_array_equal(fused[3], stepwise[3])
    for one, many in zip(fused[:3], stepwise[:3], strict=True):
        np.testing.assert_allclose(one, many, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("make", [stored_overpasses, filled_overpasses])
def test_one_pass_does_not_depend_on_how_pixels_are_cut(make: Callable[..., Any]) -> None:
    lst, qc, view_time = make(17, SIDE)
    if qc is None:
        lst[:, 1, : SIDE // 2, 1:] = 0  # half of the rows: days with gaps beside days without
    interval = np.arange(17) // 16
    whole = degree_days.overpass_degree_days(lst, qc, view_time, interval)
    for rows, cols in ((1, SIDE), (SIDE, 1), (7, 3)):
        for y, x in itertools.product(range(0, SIDE, rows), range(0, SIDE, cols)):
            window = np.s_[..., y : y + rows, x : x + cols]
            part = degree_days.overpass_degree_days(
                lst[window], None if qc is None else qc[window], view_time[window], interval
            )
            for one, other in zip(part, whole, strict=True):
                np.testing.assert_array_equal(one, other[window])


def test_days_at_a_limit_are_decided_as_by_the_sinusoid() -> None:
    amplitude = np.linspace(44.5, 45.5, 640)  # across the largest that is believed
    hours = np.array([105, 135, 225, 15])
    celsius = amplitude * np.cos(2 * np.pi * (hours[:, None] / 10 - 13.2) / 24) + 2.0 * (np.arange(4) == 0)[:, None]
    lst = np.rint((celsius + 273.15) / 0.02).astype(np.uint16).reshape(1, 4, 1, 640)
    view_time = np.broadcast_to(hours.astype(np.uint8)[:, None, None], lst.shape).copy()
    fused = degree_days.overpass_degree_days(lst, None, view_time, np.zeros(1, int))
    temperature, when = quality.land_surface_temperature(lst, np.zeros_like(view_time)), quality.view_hours(view_time)
    methods = daily_mean.fit_method(temperature, when)
    assert {daily_mean.PAIR_MEAN, daily_mean.LEAST_SQUARES} == set(np.unique(methods))
    mean = daily_mean.sinusoid(temperature, when)[0]
    np.testing.assert_allclose(fused[1] - fused[0], mean, atol=1e-4)


def test_one_pass_covers_pixels_beyond_its_tiles() -> None:
    days, width = (1, 17000) if not numba.config.DISABLE_JIT else (1, 600)
    lst = np.full((days, 4, 1, width), 14000, np.uint16)
    lst[..., -1] = 13000
    view_time = np.empty(lst.shape, np.uint8)
    view_time[:] = np.array([105, 135, 225, 15], np.uint8)[:, None, None]
    freezing, thawing, parts, valid_days = degree_days.overpass_degree_days(
        lst, np.zeros_like(view_time), view_time, np.array([22])
    )
    np.testing.assert_allclose(thawing[0, :-1], 6.85, atol=1e-4)
    np.testing.assert_allclose(freezing[0, -1], 13.15, atol=1e-4)
    np.testing.assert_array_equal(parts[22], thawing)
    assert not parts[:22].any()
    assert (valid_days == 1).all()


def test_one_pass_heeds_scales_and_quality_limits() -> None:
    lst = np.full((1, 4, 1, 2), 28000, np.uint16)
    qc = np.zeros((1, 4, 1, 2), np.uint8)
    qc[..., 1] = 0b11110001
    view_time = np.array([52, 67, 112, 7], np.uint8)[None, :, None, None].repeat(2, axis=3)
    interval = np.zeros(1, np.int64)
    default = degree_days.overpass_degree_days(lst, qc, view_time, interval, 0.01, 0.2 / 2.0)
    assert default[3].tolist() == [[1, 0]]
    everything = degree_days.overpass_degree_days(lst, qc, view_time, interval, 0.01, 0.1, 3, 3)
    assert everything[3].tolist() == [[1, 1]]
    np.testing.assert_allclose(everything[1], 6.85, atol=1e-3)


def test_a_pixel_never_seen_has_no_days_and_empty_sums() -> None:
    lst = np.zeros((20, 4, 1, 1), np.uint16)
    view_time = np.full(lst.shape, 255, np.uint8)
    sums = degree_days.overpass_degree_days(lst, np.full_like(view_time, 2), view_time, np.zeros(20, int))
    assert [float(total.sum()) for total in sums] == [0.0, 0.0, 0.0, 0.0]
    freezing, _ = degree_days.complete_year(sums[0], sums[1], sums[3], 365)
    assert np.isnan(freezing).all()


def test_wrong_inputs_are_named() -> None:
    lst, qc, view_time = stored_overpasses(2, 1)
    interval = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="4 overpasses"):
        degree_days.overpass_degree_days(lst[:, :3], qc, view_time, interval)
    with pytest.raises(ValueError, match="wanted uint16"):
        degree_days.overpass_degree_days(lst.astype(np.float32), qc, view_time, interval)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted one shape"):
        degree_days.overpass_degree_days(lst, qc[:1], view_time, interval)
    with pytest.raises(ValueError, match="at most a day"):
        degree_days.overpass_degree_days(lst, qc, view_time, interval, time_scale=1.0)
    with pytest.raises(ValueError, match="each of the 2 days"):
        degree_days.overpass_degree_days(lst, qc, view_time, interval[:1])
    with pytest.raises(ValueError, match="wanted 0 to 22"):
        degree_days.thawing_by_interval(np.zeros((2, 1, 1), np.float32), interval + 23)
    with pytest.raises(ValueError, match="float32"):
        degree_days.degree_day_sums(np.zeros((2, 1, 1)))  # type: ignore[arg-type]
