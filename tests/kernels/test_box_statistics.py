"""Boxes are those of the textbooks, and Cliff's delta counts pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.cbook import boxplot_stats
from scipy import stats

from frostmap.kernels.box_statistics import box, cliffs_delta, cliffs_interval

gentle = settings(deadline=None, max_examples=60)
samples = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-50, 50).map(lambda x: round(x, 1)))


@gentle
@given(values=samples)
def test_a_box_is_in_order_and_within_its_sample(values):
    found = box(values)
    assert values.min() <= found.low <= found.q1 <= found.median <= found.q3 <= found.high <= values.max()
    assert found.n == values.size
    assert found.outside == ((values < found.low) | (values > found.high)).sum()


@gentle
@given(values=samples)
def test_a_box_is_the_one_that_a_plotting_library_draws(values):
    theirs, found = boxplot_stats(values)[0], box(values)
    assert (found.q1, found.median, found.q3) == pytest.approx((theirs["q1"], theirs["med"], theirs["q3"]))
    assert (found.low, found.high) == pytest.approx((theirs["whislo"], theirs["whishi"]))
    assert found.mean == pytest.approx(theirs["mean"])
    assert found.outside == len(theirs["fliers"])


@gentle
@given(a=samples, b=samples)
def test_delta_is_that_of_all_pairs_and_turns_with_them(a, b):
    pairs = np.sign(a[:, None] - b[None, :])
    assert cliffs_delta(a, b) == pytest.approx(pairs.mean())
    assert cliffs_delta(b, a) == pytest.approx(-pairs.mean())
    assert cliffs_delta(a, a) == 0


def test_quartiles_of_type_7_in_print():
    # Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566, definition 7, which is R's default: of 1 to 10.
    found = box(np.arange(1.0, 11.0))
    assert (found.q1, found.median, found.q3) == (3.25, 5.5, 7.75)
    assert (found.low, found.high, found.outside) == (1.0, 10.0, 0)


def test_delta_by_hand():
    # Of 2 x 3 pairs 4 are larger and 1 smaller.
    assert cliffs_delta(np.array([2.0, 5.0]), np.array([1.0, 2.0, 4.5])) == pytest.approx((4 - 1) / 6)
    assert cliffs_delta(np.array([2.0]), np.array([1.0])) == 1.0


def test_nan_is_left_out_and_nothing_has_no_box():
    values = np.array([[1.0, np.nan], [3.0, 2.0]], dtype=np.float32)
    assert box(values) == box(np.array([1.0, 2.0, 3.0]))
    empty = box(np.array([np.nan]))
    assert empty.n == 0
    assert np.isnan([empty.mean, empty.median, empty.low, empty.high]).all()
    assert cliffs_delta(np.array([np.nan, 1.0]), np.array([0.0, np.nan])) == 1.0
    assert np.isnan(cliffs_delta(np.array([np.nan]), np.array([1.0])))


@gentle
@given(a=samples, b=samples)
def test_the_interval_holds_its_delta_turns_with_it_and_stays_in_bounds(a, b):
    low, high = cliffs_interval(a, b)
    if min(a.size, b.size) < 2:
        assert np.isnan([low, high]).all()
        return
    assert -1 <= low <= cliffs_delta(a, b) <= high <= 1
    assert cliffs_interval(b, a) == pytest.approx((-high, -low))


def test_the_variance_is_that_of_all_pairs():
    # Cliff 1993, Eq. 6 in its own terms, for samples with ties.
    a, b = np.array([1.0, 3.0, 3.0, 6.0]), np.array([0.0, 2.0, 3.0])
    signs = np.sign(a[:, None] - b)
    delta, (n, m) = signs.mean(), signs.shape
    of_a, of_b = signs.mean(axis=1), signs.mean(axis=0)
    variance = m**2 * ((of_a - delta) ** 2).sum() + n**2 * ((of_b - delta) ** 2).sum() - ((signs - delta) ** 2).sum()
    variance = max(variance / (n * m * (n - 1) * (m - 1)), (1 - delta**2) / (n * m - 1))
    z = 1.959964
    reach = z * np.sqrt(variance * ((1 - delta**2) ** 2 + z**2 * variance))
    ends = (delta - delta**3 + np.array([-1, 1]) * reach) / (1 - delta**2 + z**2 * variance)
    assert cliffs_interval(a, b) == pytest.approx(tuple(ends), abs=1e-6)


def test_samples_that_do_not_overlap_have_an_end():
    low, high = cliffs_interval(np.arange(60.0) + 100, np.arange(30.0))
    assert (low, high) == (pytest.approx(0.8), 1.0)
    assert cliffs_interval(np.arange(30.0), np.arange(60.0) + 100) == (-1.0, pytest.approx(-0.8))


def test_intervals_hold_the_true_delta_at_their_nominal_rate():
    true = 2 * stats.norm.cdf(0.5 / np.sqrt(2)) - 1  # of two normal distributions half a deviation apart
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        low, high = cliffs_interval(rng.normal(0.5, 1, 60), rng.normal(0, 1, 90))
        held += low <= true <= high
    assert 181 <= held <= 199, held
