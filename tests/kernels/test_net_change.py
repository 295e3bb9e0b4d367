"""Areas of maps that err in blocks are drawn as a plain twin draws them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels.net_change import drawn_areas

gentle = settings(deadline=None, max_examples=25)


@gentle
@given(seed=st.integers(0, 10**6), together=st.floats(0, 1), pixels=st.integers(1, 40))
def test_draws_are_those_of_the_plain_twin(seed, together, pixels):
    rng = np.random.default_rng(seed)
    z, sigma = rng.normal(0, 1, (2, pixels)).astype(np.float32), rng.random((2, pixels)).astype(np.float32)
    area, block = rng.random(pixels), rng.integers(0, 4, pixels)
    found = drawn_areas(z, sigma, area, block, together, 5, np.random.default_rng(9))
    twin = np.random.default_rng(9)
    common, own = twin.standard_normal((5, 1, block.max() + 1)), twin.standard_normal((5, 2, block.max() + 1))
    error = (np.sqrt(together) * common + np.sqrt(1 - together) * own).astype(np.float32)
    above = z + sigma * error[:, :, block] > 0
    np.testing.assert_allclose(found, (above * area).sum(axis=2), rtol=1e-9)


def test_errors_that_are_one_leave_the_change_as_it_is():
    z = np.stack([np.linspace(-1, 1, 1001), np.linspace(-1, 1, 1001) - 0.2])
    one = drawn_areas(z, np.full_like(z, 0.1), np.ones(1001), np.zeros(1001, int), 1.0, 50, np.random.default_rng(1))
    two = drawn_areas(z, np.full_like(z, 0.1), np.ones(1001), np.zeros(1001, int), 0.0, 50, np.random.default_rng(1))
    assert np.ptp(one[:, 1] - one[:, 0]) <= 1
    assert (two[:, 1] - two[:, 0]).std() == pytest.approx(500 * 0.1 * np.sqrt(2), rel=0.3)


def test_by_hand_and_what_is_missing_is_not_permafrost():
    z = np.array([[0.5, np.nan, -0.5]])
    assert (
        drawn_areas(z, np.zeros((1, 3)), np.array([2.0, 3.0, 4.0]), np.zeros(3, int), 0.5, 1, np.random.default_rng(1))
        == 2
    )
    with pytest.raises(ValueError, match="wanted a correlation"):
        drawn_areas(z, z, np.ones(3), np.zeros(3, int), 1.5, 1, np.random.default_rng(1))
