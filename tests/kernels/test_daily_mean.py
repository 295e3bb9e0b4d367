"""The daily mean is that of the sinusoid nearest to the day's overpasses, and missing where that is open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels import daily_mean
from frostmap.kernels.daily_mean import fit_method, sinusoid

NOMINAL = (10.5, 13.5, 22.5, 1.5)
PLATEAU = (10.9, 13.2, 22.1, 2.0)  # medians over the Qinghai-Tibet Plateau
OMEGA = 2.0 * np.pi / 24.0

times = st.tuples(st.floats(9.5, 12.0), st.floats(12.0, 14.5), st.floats(21.0, 23.5), st.floats(0.0, 3.0))


def one_day(temperature: ArrayLike, hours: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.reshape(np.asarray(temperature, np.float32), (1, 4, 1, 1)), np.reshape(
        np.asarray(hours, np.float32), (1, 4, 1, 1)
    )


def mean(temperature: ArrayLike, hours: ArrayLike = NOMINAL) -> float:
    return float(sinusoid(*one_day(temperature, hours))[0, 0, 0])


def method(temperature: ArrayLike, hours: ArrayLike = NOMINAL) -> int:
    return int(fit_method(*one_day(temperature, hours))[0, 0, 0])


def curve(hours: ArrayLike, average: float, a: float, b: float) -> NDArray[np.float64]:
    angle = OMEGA * np.asarray(hours)
    return average + a * np.cos(angle) + b * np.sin(angle)


@given(times, st.floats(-40, 40), st.floats(-25, 25), st.floats(-25, 25))
@settings(deadline=None, max_examples=60)
def test_four_noiseless_samples_give_back_any_sinusoid(
    hours: tuple[float, ...], average: float, a: float, b: float
) -> None:
    assert mean(curve(hours, average, a, b), hours) == pytest.approx(average, abs=2e-3)


@given(times, st.integers(0, 3), st.floats(-40, 40), st.floats(0, 20), st.floats(0, 2 * np.pi))
@settings(deadline=None, max_examples=60)
def test_three_samples_are_met_exactly(
    hours: tuple[float, ...], lost: int, average: float, amplitude: float, phase: float
) -> None:
    temperature = curve(hours, average, amplitude * np.cos(phase), amplitude * np.sin(phase))
    temperature[lost] = np.nan
    kind = method(temperature, hours)
    if kind == daily_mean.EXACT:
        assert mean(temperature, hours) == pytest.approx(average, abs=2e-2)
    else:  # two overpasses of one half of the day may be minutes apart
        assert kind in (daily_mean.NOT_FITTED, daily_mean.PAIR_MEAN)


@given(times, st.lists(st.floats(-40, 40, width=32), min_size=4, max_size=4), st.floats(-10, 10))
@settings(deadline=None, max_examples=60)
def test_warming_every_observation_warms_the_mean_as_much(
    hours: tuple[float, ...], temperature: list[float], warming: float
) -> None:
    both = np.array([mean(temperature, hours), mean(np.array(temperature) + warming, hours)])
    assert np.isfinite(both).all()
    if abs(method(temperature, hours) - method(np.array(temperature) + warming, hours)) == 0:
        assert both[1] - both[0] == pytest.approx(warming, abs=2e-3)


@given(times, st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4))
@settings(deadline=None, max_examples=60)
def test_least_squares_equal_their_numpy_twin(hours: tuple[float, ...], temperature: list[float]) -> None:
    angle = OMEGA * np.asarray(np.asarray(hours, np.float32), np.float64)
    design = np.column_stack([np.ones(4), np.cos(angle), np.sin(angle)])
    average, a, b = np.linalg.lstsq(design, np.array(temperature), rcond=None)[0]
    margin = min(44.9 - np.hypot(a, b), average - min(temperature) + 9.9, max(temperature) + 9.9 - average)
    if margin > 0:
        assert mean(temperature, hours) == pytest.approx(average, abs=2e-3)
        assert method(temperature, hours) == daily_mean.LEAST_SQUARES


def test_at_the_nominal_times_the_mean_is_the_mean_of_four() -> None:
    # van Doninck et al. (2011), doi:10.1016/j.jag.2011.07.003: overpasses 3 h and 12 h apart
    weights = [mean(np.eye(4)[k]) for k in range(4)]
    np.testing.assert_allclose(weights, 0.25, atol=1e-6)


def test_weights_at_the_median_times_of_the_plateau() -> None:
    weights = [mean(np.eye(4)[k], PLATEAU) for k in range(4)]
    np.testing.assert_allclose(weights, [0.2387, 0.2387, 0.2613, 0.2613], atol=5e-5)


@pytest.mark.parametrize("lost", range(4))
def test_without_one_overpass_the_complete_pair_decides(lost: int) -> None:
    temperature = np.array([8.0, 14.0, -6.0, -9.0])
    temperature[lost] = np.nan
    pair = [0, 2] if lost in (1, 3) else [1, 3]
    assert mean(temperature) == pytest.approx(temperature[pair].mean(), abs=1e-5)
    assert method(temperature) == daily_mean.EXACT


@given(times, st.sampled_from([(0, 2), (0, 3), (1, 2), (1, 3)]), st.floats(-30, 30), st.floats(-20, 20))
@settings(deadline=None, max_examples=60)
def test_one_day_and_one_night_share_the_given_maximum(
    hours: tuple[float, ...], kept: tuple[int, int], average: float, amplitude: float
) -> None:
    phase = OMEGA * daily_mean.PEAK_HOUR
    temperature = np.full(4, np.nan)
    temperature[list(kept)] = curve(hours, average, amplitude * np.cos(phase), amplitude * np.sin(phase))[list(kept)]
    assert mean(temperature, hours) == pytest.approx(average, abs=2e-3)
    assert method(temperature, hours) == daily_mean.FIXED_PHASE


def test_a_pair_at_equal_distance_from_the_maximum_is_refused() -> None:
    assert np.isnan(mean([10.0, np.nan, np.nan, 2.0], (7.2, 13.5, 22.5, 19.2)))


@pytest.mark.parametrize("kept", [(), (0,), (3,), (0, 1), (2, 3)])
def test_one_half_of_the_day_is_not_enough(kept: tuple[int, ...]) -> None:
    temperature = np.full(4, np.nan)
    temperature[list(kept)] = 5.0
    assert np.isnan(mean(temperature))
    assert method(temperature) == daily_mean.NOT_FITTED


def test_a_missing_hour_or_temperature_voids_that_observation_and_no_other() -> None:
    temperature, hours = np.array([8.0, 12.0, -6.0, -10.0]), np.array(NOMINAL)
    without = mean(np.where(np.arange(4) == 1, np.nan, temperature), hours)
    assert without == pytest.approx(mean(temperature, np.where(np.arange(4) == 1, np.nan, hours)), abs=1e-6)
    assert without == pytest.approx(1.0, abs=1e-5)


def test_observations_at_one_time_leave_the_mean_open() -> None:
    assert np.isnan(mean([1.0, 2.0, 3.0, 4.0], (12.0, 12.0, 12.0, 12.0)))


def test_an_unbelievable_amplitude_gives_way_to_the_pairs() -> None:
    assert mean([60.0, 60.0, -50.0, -50.0]) == pytest.approx(5.0, abs=1e-5)
    assert method([60.0, 60.0, -50.0, -50.0]) == daily_mean.PAIR_MEAN
    assert mean([60.0, np.nan, -50.0, -50.0]) == pytest.approx(5.0, abs=1e-5)
    assert np.isnan(mean([60.0, np.nan, np.nan, -60.0]))  # no complete pair


def test_a_mean_far_outside_its_observations_gives_way_to_the_pairs() -> None:
    hours = (9.0, 12.0, 22.0, 15.0)  # three in one half of the day: an extrapolation to -26 °C
    temperature = [0.0, 11.0, np.nan, 0.0]
    assert method(temperature, hours) == daily_mean.PAIR_MEAN
    assert mean(temperature, hours) == pytest.approx(5.5, abs=1e-4)


def test_hours_count_modulo_a_day() -> None:
    temperature = [8.0, 12.0, -6.0, -10.0]
    assert mean(temperature, (10.9, 13.2, 22.1, 26.0)) == pytest.approx(mean(temperature, PLATEAU), abs=1e-4)


def test_the_polynomials_are_a_cosine_and_a_sine() -> None:
    for turn in np.linspace(-0.5, 0.5, 101, dtype=np.float32):
        angle = 2.0 * np.pi * (float(turn) + 0.5)
        assert daily_mean.cosine_and_sine(turn) == pytest.approx((np.cos(angle), np.sin(angle)), abs=1e-6)


def test_pixels_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(1)
    temperature = rng.normal(0.0, 10.0, (3, 4, 4, 5)).astype(np.float32)
    temperature[rng.random(temperature.shape) < 0.4] = np.nan
    hours = (np.array(NOMINAL, np.float32)[:, None, None] + rng.uniform(-1, 1, temperature.shape)).astype(np.float32)
    whole = sinusoid(temperature, hours)
    for y in range(4):
        part = np.ascontiguousarray(temperature[:, :, y : y + 1]), np.ascontiguousarray(hours[:, :, y : y + 1])
        np.testing.assert_allclose(sinusoid(*part), whole[:, y : y + 1], atol=1e-4)


def test_wrong_inputs_are_named() -> None:
    temperature, hours = one_day([1, 2, 3, 4], NOMINAL)
    with pytest.raises(ValueError, match="4 overpasses"):
        sinusoid(temperature[:, :3], hours[:, :3])
    with pytest.raises(ValueError, match="must be the same"):
        sinusoid(temperature, np.repeat(hours, 2, axis=0))
    with pytest.raises(ValueError, match="wanted float32"):
        sinusoid(temperature.astype(np.float64), hours)  # type: ignore[arg-type]
