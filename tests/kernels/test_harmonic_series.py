"""A harmonic series follows the clear days of a year, however much colder the cloudy ones are."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.annual_cycle import SMALLEST_SPREAD, annual_cycle, harmonic_basis
from frostmap.kernels.harmonic_series import fit_harmonic_series

DAYS = 120 if numba.config.DISABLE_JIT else 365
BASIS = harmonic_basis(np.linspace(0.0, 364.0, DAYS), 3)
TRUTH = np.array([-2.0, -14.0, -4.0, 1.5, 0.5, -0.5, 1.0])


def series(noise: float, lost: float, cloudy: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    temperature = BASIS @ TRUTH + rng.normal(0.0, noise, DAYS)
    temperature -= np.where(rng.random(DAYS) < cloudy, rng.uniform(8.0, 40.0, DAYS), 0.0)
    temperature[rng.random(DAYS) < lost] = np.nan
    return temperature.astype(np.float32).reshape(-1, 1, 1)


def twin(
    temperature: NDArray[np.float32], tolerance: float, fewest: int, both: bool, damping: float
) -> tuple[NDArray[np.float64], int]:
    """Return the coefficients and how many observations are kept, with NumPy and a mask."""
    kept = np.isfinite(temperature[:, 0, 0])
    observed = np.nan_to_num(temperature[:, 0, 0]).astype(np.float64)
    ridge = damping * np.diag([0.0] + [1.0] * (BASIS.shape[1] - 1))
    while True:
        fitted = np.linalg.solve(BASIS[kept].T @ BASIS[kept] + ridge, BASIS[kept].T @ observed[kept])
        below = np.where(kept, BASIS @ fitted - observed, -np.inf)
        below = np.where(kept, np.abs(below), -np.inf) if both else below
        farthest = below.max()
        if farthest <= tolerance or kept.sum() == fewest:
            return fitted, int(kept.sum())
        beyond = below > max(tolerance, 0.5 * farthest)
        if kept.sum() - beyond.sum() < fewest:
            beyond = below == farthest
        kept &= ~beyond


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6), st.floats(0, 0.5), st.sampled_from([3.0, 6.0]), st.booleans())
@settings(deadline=None, max_examples=20)
def test_the_fit_equals_its_numpy_twin(seed: int, lost: float, cloudy: float, tolerance: float, both: bool) -> None:
    temperature = series(1.5, lost, cloudy, seed)
    side = "both" if both else "low"
    coefficients, kept, _ = fit_harmonic_series(temperature, BASIS, tolerance, 20, side)
    expected, left = twin(temperature, tolerance, 20, both, 0.5)
    assert kept[0, 0] == left
    np.testing.assert_allclose(coefficients[:, 0, 0], expected, atol=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(1.0, 8.0))
@settings(deadline=None, max_examples=15)
def test_no_observation_that_is_kept_is_too_far_below(seed: int, tolerance: float) -> None:
    temperature = series(2.0, 0.3, 0.2, seed)
    coefficients, kept, spread = fit_harmonic_series(temperature, BASIS, tolerance)
    below = (annual_cycle(coefficients, BASIS) - temperature)[:, 0, 0]
    # Those within the tolerance of the last curve need not all be kept, but all that are kept are within it.
    assert kept[0, 0] == 15 or kept[0, 0] <= np.sum(below <= tolerance + 1e-3)
    assert kept.dtype == np.int16
    assert SMALLEST_SPREAD <= spread[0, 0] < 10.0


def test_clouds_move_it_far_less_than_least_squares() -> None:
    temperature = series(1.0, 0.2, 0.25)
    valid = np.isfinite(temperature[:, 0, 0])
    plain = np.linalg.lstsq(BASIS[valid], temperature[valid, 0, 0].astype(np.float64), rcond=None)[0]
    coefficients, _, spread = fit_harmonic_series(temperature, BASIS)
    clear = BASIS @ TRUTH
    error, plain_error = (np.sqrt(np.mean((BASIS @ c - clear) ** 2)) for c in (coefficients[:, 0, 0], plain))
    assert error < 0.7
    assert error < 0.2 * plain_error
    assert spread[0, 0] == pytest.approx(1.0, abs=0.4)


def test_without_outliers_or_damping_it_is_least_squares() -> None:
    temperature = series(0.5, 0.3, 0.0)
    valid = np.isfinite(temperature[:, 0, 0])
    plain = np.linalg.lstsq(BASIS[valid], temperature[valid, 0, 0].astype(np.float64), rcond=None)[0]
    coefficients, kept, spread = fit_harmonic_series(temperature, BASIS, damping=0.0)
    assert kept[0, 0] == valid.sum()
    np.testing.assert_allclose(coefficients[:, 0, 0], plain, atol=1e-4)
    residual = np.abs(temperature[valid, 0, 0] - BASIS[valid] @ plain)
    np.testing.assert_allclose(spread[0, 0], 1.4826 * np.median(residual), rtol=1e-4)


def test_one_cold_day_by_hand() -> None:
    # Ten days at 0 and one at -11 °C: their mean is -1, the cold one lies 10 below it and is dropped, the rest stay.
    temperature = np.zeros((11, 1, 2), np.float32)
    temperature[4, 0, 0] = -11.0
    temperature[4, 0, 1] = 11.0  # on the warm side it stays
    basis = harmonic_basis(np.arange(11), 0)
    coefficients, kept, spread = fit_harmonic_series(temperature, basis, 5.0, 5)
    np.testing.assert_allclose(coefficients[0, 0], [0.0, 1.0], atol=1e-6)
    assert kept.tolist() == [[10, 11]]
    np.testing.assert_allclose(spread[0], [SMALLEST_SPREAD, 1.4826], rtol=1e-6)
    both, kept, _ = fit_harmonic_series(temperature, basis, 5.0, 5, "both")
    np.testing.assert_allclose(both[0, 0], 0.0, atol=1e-6)
    assert kept.tolist() == [[10, 10]]


def test_the_fewest_are_left_and_pixels_with_fewer_are_missing() -> None:
    rng = np.random.default_rng(0)
    temperature = np.full((DAYS, 1, 3), np.nan, np.float32)
    some = np.linspace(0, DAYS - 1, 40).astype(int)
    temperature[some, 0, 0] = rng.uniform(-40.0, 0.0, 40)
    temperature[some[:9], 0, 1] = 1.0
    temperature[: DAYS // 6, 0, 2] = 1.0  # two months do not make a year
    coefficients, kept, spread = fit_harmonic_series(temperature, BASIS, 0.5, 12)
    assert kept.tolist() == [[12, 9, DAYS // 6]]
    assert np.isfinite(coefficients[:, 0, 0]).all()
    assert np.isnan(coefficients[:, 0, 1:]).all()
    assert np.isnan(spread[0, 1:]).all()


def test_damping_tames_the_curve_where_nothing_was_observed() -> None:
    temperature = series(3.0, 0.5, 0.0, seed=1)
    temperature[: DAYS * 4 // 10] = np.nan
    swing = [
        np.abs(annual_cycle(fit_harmonic_series(temperature, BASIS, 20.0, damping=d)[0], BASIS)).max() for d in (0, 2)
    ]
    assert swing[1] < swing[0]


@pytest.mark.parametrize("cut", [1, 16])
def test_cutting_the_array_does_not_change_the_fit(cut: int) -> None:
    temperature = np.concatenate([series(2.0, 0.5, 0.2, seed) for seed in range(18)], axis=2)
    whole = fit_harmonic_series(temperature, BASIS)
    parts = [fit_harmonic_series(temperature[:, :, part], BASIS) for part in (slice(cut), slice(cut, None))]
    for k in range(3):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts], axis=-1), whole[k])


def test_wrong_inputs_are_named() -> None:
    temperature = series(1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="float32"):
        fit_harmonic_series(temperature.astype(np.float64), BASIS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="days, functions"):
        fit_harmonic_series(temperature, BASIS[1:])
    with pytest.raises(ValueError, match="at least as many"):
        fit_harmonic_series(temperature, BASIS, fewest=6)
    with pytest.raises(ValueError, match="tolerance is 0"):
        fit_harmonic_series(temperature, BASIS, tolerance=0.0)
    with pytest.raises(ValueError, match="damping is -1"):
        fit_harmonic_series(temperature, BASIS, damping=-1.0)
    with pytest.raises(ValueError, match="side is 'high'"):
        fit_harmonic_series(temperature, BASIS, side="high")  # type: ignore[arg-type]
