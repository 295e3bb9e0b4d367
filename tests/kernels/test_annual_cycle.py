"""The annual cycle fitted to clear days is that of the ground, whatever a few clouds in between pretend."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.annual_cycle import (
    SMALLEST_SPREAD,
    annual_cycle,
    fit_annual_cycle,
    fit_annual_cycle_and_spread,
    harmonic_basis,
)

YEARS = 1 if numba.config.DISABLE_JIT else 4
BASIS = harmonic_basis(np.arange(365 * YEARS))
TRUTH = np.array([-2.0, -14.0, -4.0, 1.5, 0.5])


def series(truth: NDArray[np.float64], noise: float, lost: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    temperature = BASIS @ truth + rng.normal(0.0, noise, len(BASIS))
    temperature[rng.random(len(BASIS)) < lost] = np.nan
    return temperature.astype(np.float32).reshape(-1, 1, 1)


@given(
    st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20), st.floats(-4, 4), st.floats(-4, 4), st.floats(0, 0.7)
)
@settings(deadline=None, max_examples=10)
def test_any_noiseless_cycle_is_given_back(a0: float, a1: float, b1: float, a2: float, b2: float, lost: float) -> None:
    truth = np.array([a0, a1, b1, a2, b2])
    coefficients, observations = fit_annual_cycle(series(truth, 0.0, lost), BASIS)
    np.testing.assert_allclose(coefficients[:, 0, 0], truth, atol=1e-3)
    assert observations[0, 0] <= len(BASIS)


def test_the_first_fit_is_its_numpy_twin_where_no_residual_stands_out() -> None:
    angle = 2.0 * np.pi * 61 / 365.25 * np.arange(len(BASIS))
    temperature = (BASIS @ TRUTH + np.sign(np.cos(angle))).astype(np.float32)  # residuals of one size: all weights 1
    twin = np.linalg.lstsq(BASIS, temperature.astype(np.float64), rcond=None)[0]
    coefficients, _ = fit_annual_cycle(temperature.reshape(-1, 1, 1), BASIS)
    np.testing.assert_allclose(coefficients[:, 0, 0], twin, atol=2e-4)


def test_huber_weights_equal_their_numpy_twin() -> None:
    temperature = series(TRUTH, 3.0, 0.5, seed=3)
    valid = np.isfinite(temperature[:, 0, 0])
    design, observed = BASIS[valid], temperature[valid, 0, 0].astype(np.float64)
    weight, spread = np.ones(valid.sum()), 0.0
    for iteration in range(12):
        root = np.sqrt(weight)
        twin = np.linalg.lstsq(design * root[:, None], observed * root, rcond=None)[0]
        residual = np.abs(observed - design @ twin)
        spread = 1.4826 * np.median(residual) if iteration < 3 else spread
        weight = np.minimum(1.0, 1.345 * spread / residual)
    coefficients, _, found = fit_annual_cycle_and_spread(temperature, BASIS)
    np.testing.assert_allclose(coefficients[:, 0, 0], twin, atol=0.01)
    np.testing.assert_allclose(found[0, 0], spread, rtol=1e-4)
    np.testing.assert_array_equal(fit_annual_cycle(temperature, BASIS)[0], coefficients)


def test_unseen_clouds_move_the_fit_far_less_than_least_squares() -> None:
    temperature = series(TRUTH, 1.5, 0.4)
    rng = np.random.default_rng(1)
    cloudy = rng.random(len(BASIS)) < 0.1
    temperature[cloudy, 0, 0] -= rng.uniform(10, 40, cloudy.sum()).astype(np.float32)
    valid = np.isfinite(temperature[:, 0, 0])
    plain = np.linalg.lstsq(BASIS[valid], temperature[valid, 0, 0].astype(np.float64), rcond=None)[0]
    robust = fit_annual_cycle(temperature, BASIS)[0][:, 0, 0]
    assert abs(robust[0] - TRUTH[0]) < 0.3 * abs(plain[0] - TRUTH[0])
    assert np.abs(robust - TRUTH).max() < 1.0


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 5.0))
@settings(deadline=None, max_examples=10)
def test_the_spread_is_that_of_clear_days_whatever_clouds_pretend(seed: int, noise: float) -> None:
    temperature = series(TRUTH, noise, 0.3, seed)
    cloudy = np.random.default_rng(seed).random(len(BASIS)) < 0.05
    temperature[cloudy] -= np.float32(40.0)
    spread = fit_annual_cycle_and_spread(temperature, BASIS)[2]
    assert spread.dtype == np.float32
    assert spread[0, 0] == pytest.approx(noise, rel=0.35)


def test_the_spread_has_a_floor_and_is_missing_where_nothing_was_fitted() -> None:
    temperature = np.repeat(series(TRUTH, 0.0, 0.0), 2, axis=2)
    temperature[29:, 0, 1] = np.nan
    spread = fit_annual_cycle_and_spread(temperature, BASIS)[2]
    assert spread[0, 0] == np.float32(SMALLEST_SPREAD)
    assert np.isnan(spread[0, 1])


def test_a_quarter_of_the_year_after_a_maximum_on_new_year() -> None:
    # By hand: omega t is 0, pi/2, pi, 3 pi/2 at the quarters of 365.25 days.
    quarters = harmonic_basis(365.25 / 4 * np.arange(4))
    np.testing.assert_allclose(quarters[:, 1], [1, 0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(quarters[:, 4], 0.0, atol=1e-12)
    cycle = annual_cycle(np.array([1, 10, 5, 2, 0], np.float32).reshape(5, 1, 1), quarters)
    np.testing.assert_allclose(cycle[:, 0, 0], [13, 4, -7, -6], atol=1e-5)
    assert harmonic_basis(np.arange(7), harmonics=0).tolist() == [[1.0]] * 7


def test_too_few_observations_are_not_fitted() -> None:
    temperature = np.repeat(series(TRUTH, 1.0, 0.0), 2, axis=2)
    temperature[:, 0, :] = np.nan
    days = np.linspace(0, 364, 30).astype(int)
    temperature[days, 0, 1] = 1.0
    temperature[days[:29], 0, 0] = 1.0
    coefficients, observations = fit_annual_cycle(temperature, BASIS, minimum_observations=30)
    assert observations.tolist() == [[29, 30]]
    assert observations.dtype == np.int16
    assert np.isnan(coefficients[:, 0, 0]).all()
    np.testing.assert_allclose(coefficients[:, 0, 1], [1, 0, 0, 0, 0], atol=1e-4)


def test_one_season_does_not_make_a_cycle() -> None:
    temperature = series(TRUTH, 1.0, 0.0)
    temperature[60:] = np.nan
    coefficients, observations = fit_annual_cycle(temperature, BASIS)
    assert observations[0, 0] == 60
    assert np.isnan(coefficients).all()
    assert np.isnan(annual_cycle(coefficients, BASIS[:3])).all()


@pytest.mark.parametrize("cut", [1, 7, 16, 17])
def test_cutting_the_array_does_not_change_the_fit(cut: int) -> None:
    width = 20
    temperature = np.concatenate([series(TRUTH, 2.0, 0.5, seed) for seed in range(width)], axis=2)
    whole, _ = fit_annual_cycle(temperature, BASIS)
    parts = [fit_annual_cycle(temperature[:, :, part], BASIS)[0] for part in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), whole)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_the_cycle_equals_its_numpy_twin(seed: int) -> None:
    coefficients = np.random.default_rng(seed).normal(0, 10, (5, 2, 3)).astype(np.float32)
    cycle = annual_cycle(coefficients, BASIS[:40])
    np.testing.assert_allclose(cycle, np.einsum("tk,kyx->tyx", BASIS[:40], coefficients), atol=1e-4)
    assert cycle.dtype == np.float32


def test_wrong_inputs_are_named() -> None:
    temperature = series(TRUTH, 1.0, 0.0)
    with pytest.raises(ValueError, match="float32"):
        fit_annual_cycle(temperature.astype(np.float64), BASIS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="days, functions"):
        fit_annual_cycle(temperature, BASIS[1:])
    with pytest.raises(ValueError, match="at least as many"):
        fit_annual_cycle(temperature, BASIS, minimum_observations=4)
    with pytest.raises(ValueError, match="harmonics"):
        harmonic_basis(np.arange(3), harmonics=-1)
    with pytest.raises(ValueError, match="functions"):
        annual_cycle(np.zeros((3, 1, 1), np.float32), BASIS)
