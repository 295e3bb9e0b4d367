"""What shade takes from the temperature of the ground is learnt from the ground that was seen in shade."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.cloudy_sky import COLDEST, PENALTIES, WARMEST, fit_shading, shading

Rows = NDArray[np.float64]


def some_pool(seed: int, n: int = 60, width: int = 3) -> tuple[Rows, Rows]:
    """Return features of very different units and a difference that depends on them with noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0.0, 1.0, (n, width)) * 10.0 ** np.arange(width) + 4500.0
    difference = -6.0 + rng.normal(0.0, 1.5, n) - 1.5 * np.maximum(features[:, 0] - 4500.0, 0.0)
    return features, difference


def columns_of(features: Rows, pool: Rows) -> Rows:
    """Return the standardised columns of the model, features first, then excesses over terciles."""
    z, of_pool = ((each - pool.mean(axis=0)) / pool.std(axis=0) for each in (features, pool))
    knots = np.quantile(of_pool, [1 / 3, 2 / 3], axis=0)
    hinged, pool_hinged = (np.hstack([u, *(np.maximum(u - k, 0.0) for k in knots)]) for u in (z, of_pool))
    return (hinged - pool_hinged.mean(axis=0)) / pool_hinged.std(axis=0)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_the_model_is_its_numpy_twin(seed: int) -> None:
    features, difference = some_pool(seed)
    X, y, n = columns_of(features, features), difference - difference.mean(), difference.size
    hats = [X @ np.linalg.solve(X.T @ X + n * p * np.eye(X.shape[1]), X.T) for p in PENALTIES]
    spent = np.array([1.0 + np.trace(hat) for hat in hats])
    scores = [np.mean((y - hat @ y) ** 2) / (1.0 - t / n) ** 2 for hat, t in zip(hats, spent, strict=True)]
    best = int(np.argmin(np.where(spent <= n / 2, scores, np.inf)))
    model = fit_shading(features, difference)
    assert model.penalty == PENALTIES[best]
    twin = np.clip(difference.mean() + hats[best] @ y, COLDEST, WARMEST)
    np.testing.assert_allclose(shading(model, features), twin, atol=0.02)
    spread = np.sqrt(np.sum((y - hats[best] @ y) ** 2) / (n - spent[best]))
    np.testing.assert_allclose(model.residual_sd, spread, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(-8, 0), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=15)
def test_units_and_order_do_not_matter(seed: int, offset: float, scale: float) -> None:
    features, difference = some_pool(seed)
    plain = shading(fit_shading(features, difference), features)
    rows = np.random.default_rng(seed).permutation(difference.size)
    moved = offset + scale * features[rows][:, ::-1]
    model = fit_shading(np.ascontiguousarray(moved), difference[rows])
    np.testing.assert_allclose(shading(model, moved), plain[rows], atol=0.02)


def test_a_piecewise_linear_relation_is_recovered() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0.0, 3.0, (3000, 2))  # terciles at 1 and 2

    def truth(x: Rows) -> Rows:
        return -2.0 - 3.0 * np.maximum(x[:, 0] - 1.0, 0.0) + 1.0 * x[:, 1] - 2.0 * np.maximum(x[:, 1] - 2.0, 0.0)

    model = fit_shading(features, truth(features) + rng.normal(0.0, 1.0, 3000))
    fresh = rng.uniform(0.0, 3.0, (500, 2))
    assert np.sqrt(np.mean((shading(model, fresh) - np.minimum(truth(fresh), WARMEST)) ** 2)) < 0.15
    assert model.residual_sd == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(model.coefficients[0] / model.scales[0], [0.0, -3.0, 0.0], atol=0.5)


def test_fewer_observations_than_columns_still_make_a_model() -> None:
    features, difference = some_pool(1, n=8, width=6)
    model = fit_shading(features, difference)
    fresh, _ = some_pool(2, n=100, width=6)
    assert np.isfinite(model.coefficients).all()
    assert np.ptp(shading(model, fresh)) <= 2.0 * np.ptp(difference)
    one = fit_shading(features[:1], difference[:1])
    np.testing.assert_allclose(shading(one, fresh), difference[0], rtol=1e-6)


def test_constant_features_do_nothing() -> None:
    features, difference = some_pool(3)
    more = np.column_stack([features, np.full(60, 273.15), np.zeros(60)])
    plain, model = fit_shading(features, difference), fit_shading(more, difference)
    assert plain.penalty == model.penalty
    fresh = np.column_stack([features, np.full(60, 9.0), np.ones(60)])
    np.testing.assert_array_equal(shading(model, fresh), shading(plain, features))


def test_a_missing_feature_counts_as_its_average() -> None:
    features, difference = some_pool(4)
    model = fit_shading(features, difference)
    np.testing.assert_allclose(shading(model, np.full((1, 3), np.nan)), difference.mean(), rtol=1e-6)
    unknown = features.copy()
    unknown[:, 0] = np.nan
    of_one = fit_shading(features, difference)
    expected = shading(of_one, features).mean()
    assert shading(model, unknown).mean() == pytest.approx(expected, abs=0.02)
    with_gaps = np.vstack([features, unknown[:5]])
    again = fit_shading(with_gaps, np.append(difference, np.full(5, -20.0)))
    np.testing.assert_array_equal(again.coefficients, model.coefficients)
    again = fit_shading(np.vstack([features, features[:1]]), np.append(difference, np.nan))
    np.testing.assert_array_equal(again.coefficients, model.coefficients)


def test_beyond_the_pool_the_difference_goes_no_further_and_it_is_held_in_range() -> None:
    features = np.linspace(0.0, 1.0, 200)[:, None]
    model = fit_shading(features, 40.0 * (features[:, 0] - 0.9))
    edges = shading(model, np.array([[-5.0], [0.0], [0.5], [1.0], [50.0]]))
    np.testing.assert_allclose(edges, [COLDEST, COLDEST, -16.0, WARMEST, WARMEST], atol=0.05)
    gentle = fit_shading(features, -5.0 * features[:, 0])
    np.testing.assert_allclose(shading(gentle, np.array([[7.0], [-7.0]])), [-5.0, 0.0], atol=0.05)


def test_wrong_inputs_are_named() -> None:
    features, difference = some_pool(5)
    with pytest.raises(ValueError, match="wanted \\(n, features\\)"):
        fit_shading(features, difference[1:])
    with pytest.raises(ValueError, match="of 60 observations in shade none is complete"):
        fit_shading(np.full((60, 3), np.nan), difference)
    with pytest.raises(ValueError, match="wanted \\(n, 3\\)"):
        shading(fit_shading(features, difference), features[:, :2])
