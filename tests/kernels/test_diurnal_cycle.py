"""Courses of the day that know the sun give back the mean that they were made from."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels import daily_mean as sinusoids
from frostmap.kernels.diurnal_cycle import (
    HOURS_OF_SHAPES,
    DailyMean,
    daily_mean,
    got09,
    half_day,
    mean4,
    shape_fit_method,
    shape_mean,
    sin_linear,
    solar_noon,
    sun_response,
)

NOMINAL = (10.5, 13.5, 22.5, 1.5)
OMEGA = 2.0 * np.pi / 24.0
METHODS = get_args(DailyMean)

times = st.tuples(st.floats(9.5, 12.0), st.floats(12.0, 14.5), st.floats(21.0, 23.5), st.floats(0.0, 3.0))
latitudes, days = st.floats(-60, 60), st.integers(1, 366)


def one_day(temperature: ArrayLike, hours: ArrayLike = NOMINAL) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = (1, 4, 1, 1)
    return np.reshape(np.asarray(temperature, np.float32), shape), np.reshape(np.asarray(hours, np.float32), shape)


def mean(method: DailyMean, temperature: ArrayLike, hours: ArrayLike = NOMINAL, latitude: float = 34.0) -> float:
    return float(daily_mean(method, *one_day(temperature, hours), np.array([latitude]), np.array([100]))[0, 0, 0])


# ---- the sun ------------------------------------------------------------------------------------------------------


def test_days_are_as_long_as_the_almanac_says() -> None:
    # Lhasa (29.65°N): longest day 14.0 h, shortest 10.3 h with refraction and the sun's upper edge, 0.15 h less here
    assert 2 * half_day(29.65, 172) == pytest.approx(13.9, abs=0.06)
    assert 2 * half_day(29.65, 355) == pytest.approx(10.1, abs=0.06)
    np.testing.assert_allclose(half_day([0, 35, -35], 80), 6.0, atol=0.05)
    assert half_day(75, 355) == 0.0
    assert half_day(75, 172) == 12.0


@given(latitudes, days)
def test_days_of_both_hemispheres_make_up_a_whole_one(latitude: float, day: int) -> None:
    assert half_day(latitude, day) + half_day(-latitude, day) == pytest.approx(12.0)


# ---- shapes -------------------------------------------------------------------------------------------------------


@given(st.sampled_from([sun_response, got09]), latitudes, days)
@settings(deadline=None)
def test_a_shape_has_no_mean_a_range_of_one_and_its_maximum_after_noon(
    shape: type[object], latitude: float, day: int
) -> None:
    course = shape(latitude, day).astype(float)  # type: ignore[call-arg,attr-defined]
    assert abs(course.mean()) < 2e-3  # turned by a part of a tenth of an hour
    assert np.ptp(course) == pytest.approx(1.0, abs=0.02)
    after_noon = HOURS_OF_SHAPES[course.argmax()] - solar_noon(day)
    assert 0.5 < after_noon < 3.1


@given(latitudes, days, st.floats(0.1, 5))
@settings(deadline=None)
def test_the_response_obeys_its_equation(latitude: float, day: int, loss: float) -> None:
    # the twin: sunlight on a fine grid, transformed, divided, transformed back
    hours = np.arange(4800) / 200.0
    light = np.maximum(np.cos(OMEGA * (hours - 12.0)) - np.cos(OMEGA * half_day(latitude, day)), 0.0)
    spectrum = np.fft.rfft(light) / (loss + np.sqrt(1j * np.arange(2401)))
    spectrum[0] = 0.0
    course = np.fft.irfft(spectrum)
    course /= np.ptp(course)
    expected = np.interp(HOURS_OF_SHAPES - solar_noon(day) + 12.0, hours, course, period=24.0)
    np.testing.assert_allclose(sun_response(latitude, day, loss), expected, atol=0.02)


def test_where_the_sun_does_not_set_the_response_is_a_sinusoid_in_delay() -> None:
    # one harmonic: delayed by the angle of r + sqrt(i), 22.5° = 1.5 h for r = 1; hence atan(0.7071 / 1.7071)
    course = sun_response(80.0, 172, 1.0)
    delay = np.degrees(np.arctan2(np.sqrt(0.5), 1 + np.sqrt(0.5))) / 15.0
    assert delay == pytest.approx(1.5)
    expected = 0.5 * np.cos(OMEGA * (HOURS_OF_SHAPES - solar_noon(172) - delay))
    np.testing.assert_allclose(course, expected, atol=2e-3)


def test_without_sunrise_there_is_no_course() -> None:
    assert not sun_response(80.0, 355).any()
    assert not got09(80.0, 355).any()


def test_got09_cools_as_fast_as_the_sunlit_course_did() -> None:
    course = got09(34.0, 172).astype(float)
    speed = np.diff(course)
    sunset = solar_noon(172) + half_day(34.0, 172) - 1.0
    at = int(np.searchsorted(HOURS_OF_SHAPES, sunset))
    assert np.abs(np.diff(speed))[at - 10 : at + 10].max() < 2e-3  # no corner
    assert (np.diff(course[at:]) < 0).all()  # cooling until midnight


# ---- means --------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from([sun_response, got09]),
    latitudes,
    days,
    times,
    st.floats(-40, 40),
    st.floats(0, 60),
    st.sets(st.integers(0, 3), max_size=2),
)
@settings(deadline=None, max_examples=150)
def test_samples_of_a_shape_give_back_its_mean(
    make: type[object],
    latitude: float,
    day: int,
    hours: tuple[float, ...],
    average: float,
    extent: float,
    lost: set[int],
) -> None:
    shape = np.asarray(make(latitude, day))[None, None]  # type: ignore[call-arg]
    there = np.interp(np.asarray(hours, np.float32), HOURS_OF_SHAPES, shape[0, 0], period=24.0)
    temperature = average + extent * there
    temperature[list(lost)] = np.nan
    day_night = one_day(temperature, hours)
    found, how = shape_mean(*day_night, shape)[0, 0, 0], shape_fit_method(*day_night, shape)[0, 0, 0]
    if how >= sinusoids.FIXED_PHASE:
        assert found == pytest.approx(average, abs=5e-3)
        assert how == 4 - len(lost)
    else:
        complete = [np.nanmean(temperature[[k, k + 2]]) for k in range(2) if np.isfinite(temperature[[k, k + 2]]).all()]
        assert (how == sinusoids.NOT_FITTED) == (not complete)


@given(times, st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), latitudes, days)
@settings(deadline=None, max_examples=60)
def test_the_fit_is_that_of_least_squares(
    hours: tuple[float, ...], temperature: list[float], latitude: float, day: int
) -> None:
    shape = sun_response(latitude, day)
    there = np.interp(np.asarray(hours, np.float32).astype(float), HOURS_OF_SHAPES, shape, period=24.0)
    (average, extent), *_ = np.linalg.lstsq(np.column_stack([np.ones(4), there]), np.array(temperature), rcond=None)
    day_night = one_day(temperature, hours)
    if shape_fit_method(*day_night, shape[None, None])[0, 0, 0] == sinusoids.LEAST_SQUARES:
        assert shape_mean(*day_night, shape[None, None])[0, 0, 0] == pytest.approx(average, abs=2e-3)
    else:
        assert abs(extent) > 89.9 or not min(temperature) - 9.9 < average < max(temperature) + 9.9


@given(
    st.sampled_from(METHODS), times, st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4), st.floats(-9, 9)
)
@settings(deadline=None, max_examples=100)
def test_warming_every_observation_warms_the_mean_as_much(
    method: DailyMean, hours: tuple[float, ...], temperature: list[float], warming: float
) -> None:
    both = mean(method, temperature, hours), mean(method, np.array(temperature) + warming, hours)
    if max(temperature) - min(temperature) < 20:  # far from every guard
        assert both[1] - both[0] == pytest.approx(warming, abs=5e-3)
    assert np.isfinite(both).all()


def test_a_plain_mean_is_that_of_the_pairs_that_are_complete() -> None:
    assert mean("mean4", [8, 12, -6, -10]) == pytest.approx(1.0)
    assert mean("mean4", [8, np.nan, -6, -10]) == pytest.approx(1.0)
    assert mean("mean4", [8, 14, np.nan, -10]) == pytest.approx(2.0)
    assert np.isnan(mean("mean4", [8, np.nan, np.nan, -10]))


def test_a_constant_day_has_that_mean_by_every_method() -> None:
    for method in METHODS:
        assert mean(method, [7.0] * 4) == pytest.approx(7.0, abs=1e-4)


@pytest.mark.parametrize("kept", [(), (0,), (3,), (0, 1), (2, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_one_half_of_the_day_is_not_enough(method: DailyMean, kept: tuple[int, ...]) -> None:
    temperature = np.full(4, np.nan)
    temperature[list(kept)] = 5.0
    assert np.isnan(mean(method, temperature))


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_hour_voids_that_observation_and_no_other(method: DailyMean) -> None:
    temperature, hours = np.array([8.0, 12.0, -6.0, -10.0]), np.array(NOMINAL)
    without = mean(method, np.where(np.arange(4) == 1, np.nan, temperature), hours)
    assert without == pytest.approx(mean(method, temperature, np.where(np.arange(4) == 1, np.nan, hours)), abs=1e-6)
    assert np.isfinite(without)


@pytest.mark.parametrize("method", ["sun_response", "got09", "sin_linear"])
def test_an_unbelievable_range_gives_way_to_the_pairs(method: DailyMean) -> None:
    assert mean(method, [60.0, 60.0, -50.0, -50.0]) == pytest.approx(5.0, abs=1e-5)
    assert np.isnan(mean(method, [80.0, np.nan, np.nan, -60.0]))


def test_polar_nights_have_the_mean_of_the_pairs() -> None:
    for method in ("sun_response", "got09", "sin_linear"):
        found = daily_mean(method, *one_day([-20, -22, -24, -26]), np.array([80.0]), np.array([355]))
        assert found[0, 0, 0] == pytest.approx(-23.0)


# ---- sine and line ------------------------------------------------------------------------------------------------


def sine_and_line(
    temperature: NDArray[np.float64], hours: NDArray[np.float64], half: float, noon: float
) -> tuple[float, float]:
    """Return mean and amplitude by numbers: curve and line drawn minute by minute."""
    when = hours - noon
    when[2:] = np.mod(when[2:], 24.0)
    line = np.polynomial.Polynomial.fit(when[2:], temperature[2:], 1)
    basis = lambda t: np.column_stack([np.ones_like(t), np.cos(OMEGA * t), np.sin(OMEGA * t)])  # noqa: E731
    known = np.append(when[:2], half)
    terms = np.linalg.solve(basis(known), np.append(temperature[:2], line(half)))
    minutes = (np.arange(24 * 240) + 0.5) / 240.0 - half
    drawn = np.where(minutes < half, basis(minutes) @ terms, line(minutes))
    return float(drawn.mean()), float(np.hypot(terms[1], terms[2]))


@given(times, st.tuples(st.floats(0, 20), st.floats(0, 20), st.floats(-15, 0), st.floats(-15, 0)), st.floats(4.5, 7.5))
@settings(deadline=None, max_examples=60)
def test_sine_and_line_are_those_drawn_by_the_minute(
    hours: tuple[float, ...], temperature: tuple[float, ...], half: float
) -> None:
    assume(hours[1] - hours[0] > 0.8)
    drawn, amplitude = sine_and_line(np.array(temperature), np.array(hours), half, 12.1)
    found = sin_linear(*one_day(temperature, hours), np.array([[half]]), np.array([12.1]))[0, 0, 0]
    believed = amplitude < 45 and min(temperature) - 10 < drawn < max(temperature) + 10
    assume(abs(amplitude - 45) > 0.1)
    assert found == pytest.approx(drawn if believed else np.mean(temperature), abs=0.02)


def test_the_only_night_observation_stands_for_the_night() -> None:
    half, noon = np.array([[6.0]]), np.array([12.0])
    both = sin_linear(*one_day([10, 12, -5, -5]), half, noon)
    for lost in (2, 3):
        temperature = np.array([10.0, 12.0, -5.0, -5.0])
        temperature[lost] = np.nan
        np.testing.assert_allclose(sin_linear(*one_day(temperature), half, noon), both, atol=1e-5)


# ---- wrong input --------------------------------------------------------------------------------------------------


def test_wrong_inputs_are_named() -> None:
    temperature, hours = one_day([1, 2, 3, 4])
    shape = sun_response(np.zeros((1, 1)), np.ones((1, 1)))
    with pytest.raises(ValueError, match="wanted one of sinusoid, mean4"):
        daily_mean("noon", temperature, hours, np.zeros(1), np.ones(1, int))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4 overpasses"):
        mean4(temperature[:, :3], hours[:, :3])
    with pytest.raises(ValueError, match="must be the same"):
        shape_mean(temperature, np.repeat(hours, 2, axis=0), shape)
    with pytest.raises(ValueError, match="wanted float32"):
        mean4(temperature.astype(np.float64), hours)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shapes are float32 of shape \(2, 1, 240\)"):
        shape_mean(temperature, hours, np.repeat(shape, 2, axis=0))
    with pytest.raises(ValueError, match="half_days and noons"):
        sin_linear(temperature, hours, np.zeros((2, 1)), np.zeros(1))
    with pytest.raises(ValueError, match="loss is -1"):
        sun_response(0.0, 1, -1.0)
