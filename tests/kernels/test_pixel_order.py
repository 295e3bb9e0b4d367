"""The order of pixels has each of them once, and brings together what a forest does not tell apart."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

from frostmap.kernels import pixel_order as po

gentle = settings(deadline=None, max_examples=10 if config.DISABLE_JIT else 60)


@gentle
@given(seed=st.integers(0, 999), features=st.integers(1, 4), nodes=st.integers(0, 300))
def test_steps_have_as_much_weight_between_them_for_each_predictor(seed, features, nodes):
    rng = np.random.default_rng(seed)
    feature = rng.integers(0, features, nodes).astype(np.int16)
    threshold, weight = rng.normal(size=nodes).astype(np.float32), rng.uniform(0.01, 1, nodes)
    steps = po.steps_of(feature, threshold, weight)
    assert steps.shape == (feature.max(initial=-1) + 1, po.STEPS)
    if not nodes:
        return
    np.testing.assert_array_equal(steps, np.sort(steps, axis=1))
    unit = np.bincount(feature, weight).max() / po.STEPS
    for number, row in enumerate(steps):
        for value in rng.normal(size=5).astype(np.float32):
            passed = weight[(feature == number) & (threshold <= value)].sum()
            assert (row <= value).sum() == min(np.floor(passed / unit + 1e-6), po.STEPS)


@gentle
@given(seed=st.integers(0, 999), features=st.integers(1, 4), pixels=st.integers(0, 400))
def test_places_are_those_of_a_search_and_the_order_has_each_pixel_once(seed, features, pixels):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(features, pixels)).astype(np.float32)
    values[rng.random(values.shape) < 0.02] = np.inf
    threshold = rng.normal(size=50).astype(np.float32)
    steps = po.steps_of((np.arange(50) % features).astype(np.int16), threshold, rng.uniform(size=50))
    expected = np.stack([np.searchsorted(row, each) for row, each in zip(steps, values, strict=True)], axis=1)
    if pixels:
        np.testing.assert_array_equal(po._places(values, steps), expected)
    order = po.order_of_alike(values, steps)
    assert sorted(order) == list(range(pixels))


def test_pixels_of_a_kind_share_cells():
    rng = np.random.default_rng(5)
    kind = rng.permutation(np.repeat(np.arange(4), 128))
    values = np.stack([kind // 2, kind % 2, rng.normal(size=512)]).astype(np.float32)
    steps = po.steps_of(np.int16([0, 1, 2]), np.float32([0.5, 0.5, 0.0]), np.array([3.0, 2.0, 0.1]))
    order = po.order_of_alike(values, steps)
    assert all(len(np.unique(cell)) == 1 for cell in kind[order].reshape(-1, 64))


def test_a_forest_that_looks_at_nothing_leaves_the_order_as_it_is():
    nothing = po.steps_of(np.empty(0, np.int16), np.empty(0, np.float32), np.empty(0))
    assert po.order_of_alike(np.empty((0, 3), np.float32), nothing).tolist() == [0, 1, 2]


def test_a_missing_value_is_placed_below_all_steps():
    steps = po.steps_of(np.int16([0]), np.float32([0.0]), np.ones(1))
    assert po._places(np.float32([[np.nan, 1.0]]), steps)[:, 0].tolist() == [0, 255]
