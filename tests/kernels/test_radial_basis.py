"""A support vector regression predicts the same here as in the library that fits it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVR

from frostmap.kernels.radial_basis import radial_basis

gentle = settings(deadline=None, max_examples=30)


def twin(values, centres, weights, gamma, intercept):
    distance = ((values[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return intercept + np.exp(-gamma * distance) @ weights


@gentle
@given(
    places=st.integers(0, 20), support=st.integers(0, 8), width=st.integers(1, 5), gamma=st.floats(0.01, 3),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_sums_are_those_of_the_plain_twin(places, support, width, gamma, seed):
    rng = np.random.default_rng(seed)
    values, centres, weights = (
        rng.normal(size=(places, width)),
        rng.normal(size=(support, width)),
        rng.normal(size=support),
    )
    found = radial_basis(values, centres, weights, gamma, -1.5)
    np.testing.assert_allclose(found, twin(values, centres, weights, gamma, -1.5), rtol=1e-6, atol=1e-6)
    assert found.dtype == np.float32


@gentle
@given(seed=st.integers(0, 99))
def test_moving_everything_changes_nothing_and_far_away_is_the_intercept(seed):
    rng = np.random.default_rng(seed)
    values, centres, weights = rng.normal(size=(9, 3)), rng.normal(size=(5, 3)), rng.normal(size=5)
    moved = radial_basis(values + 2.0, centres + 2.0, weights, 0.7, 0.4)
    np.testing.assert_allclose(moved, radial_basis(values, centres, weights, 0.7, 0.4), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(radial_basis(values + 1e3, centres, weights, 0.7, 0.4), 0.4)


def test_predictions_are_scikit_learns():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(120, 4))
    target = np.sin(values[:, 0]) + 0.3 * values[:, 1] + rng.normal(0, 0.05, 120)
    model = SVR(C=10.0, gamma=0.2, epsilon=0.1).fit(values, target)
    places = rng.normal(size=(50, 4))
    found = radial_basis(places, model.support_vectors_, model.dual_coef_[0], 0.2, float(model.intercept_[0]))
    np.testing.assert_allclose(found, model.predict(places), rtol=1e-5, atol=1e-5)


def test_by_hand():
    # 1 + 2 exp(-0.5 * 4) and 1 + 2 exp(-0.5 * 1) - 3 exp(-0.5 * 1)
    found = radial_basis(np.array([[2.0], [1.0]]), np.array([[0.0], [2.0]]), np.array([2.0, -3.0]), 0.5, 1.0)
    np.testing.assert_allclose(found, [1 + 2 * np.exp(-2) - 3, 1 - np.exp(-0.5)], rtol=1e-6)


def test_a_missing_value_voids_its_place_and_no_other():
    values = np.array([[0.0, 1.0], [np.nan, 1.0], [2.0, np.nan]])
    found = radial_basis(values, np.zeros((1, 2)), np.ones(1), 1.0, 0.0)
    np.testing.assert_array_equal(np.isnan(found), [False, True, True])


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"wanted \(n, p\)"):
        radial_basis(np.zeros((3, 2)), np.zeros((4, 3)), np.zeros(4), 1.0, 0.0)
