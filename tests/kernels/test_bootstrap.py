"""Regions drawn again: intervals for sites that err together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.bootstrap import measures, region_intervals, student_quantile

gentle = settings(deadline=None, max_examples=30)
regions = hnp.arrays(np.int64, st.tuples(st.integers(3, 9), st.just(4)), elements=st.integers(1, 40))


@gentle
@given(tables=regions)
def test_measures_are_those_of_a_single_table(tables):
    found = measures(tables)
    for k, row in enumerate(tables):
        single = BinaryCounts(*map(int, row))
        for name, values in found.items():
            assert values[k] == pytest.approx(getattr(single, name))


@gentle
@given(tables=regions)
def test_an_interval_lies_within_the_regions_and_widens_with_confidence(tables):
    wide, narrow = (region_intervals(tables, 1, draws=400, confidence=c)["overall_accuracy"] for c in (0.99, 0.5))
    each = measures(tables)["overall_accuracy"]
    assert each.min() <= wide.low <= narrow.low <= narrow.high <= wide.high <= each.max()


@gentle
@given(tables=regions, order=st.randoms())
def test_regions_that_are_alike_leave_nothing_to_draw(tables, order):
    alike = np.repeat(tables[:1], 5, axis=0)
    low, high = region_intervals(alike, order.randrange(100), draws=50)["kappa"]
    assert low == pytest.approx(high) == pytest.approx(float(measures(tables[0])["kappa"]))


def test_intervals_are_those_of_the_plain_twin():
    tables = np.array([[20, 2, 3, 9], [30, 4, 2, 5], [24, 3, 3, 4], [9, 6, 1, 8]])
    rng = np.random.default_rng(3)
    drawn = [tables[np.repeat(range(4), rng.multinomial(4, [0.25] * 4))].sum(axis=0) for _ in range(500)]
    accuracy = [(t[0] + t[3]) / t.sum() for t in drawn]
    tail = stats.norm.cdf(-np.sqrt(4 / 3) * stats.t.ppf(0.975, 3))
    found = region_intervals(tables, 3, draws=500)["overall_accuracy"]
    assert tuple(found) == pytest.approx(tuple(np.quantile(accuracy, (tail, 1 - tail))))


@gentle
@given(probability=st.floats(0.5, 0.9995), degrees=st.integers(1, 60))
def test_students_quantile_is_scipys(probability, degrees):
    assert student_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), abs=1e-6)


def test_students_quantile_in_print():
    # Student 1908 as tabulated by Abramowitz and Stegun 1964, table 26.10: t of 0.975.
    assert [round(student_quantile(0.975, n), 3) for n in (1, 2, 5, 10, 30)] == [12.706, 4.303, 2.571, 2.228, 2.042]
    with pytest.raises(ValueError, match="degrees are 0"):
        student_quantile(0.9, 0)


def test_what_cannot_be_known_is_nan():
    assert all(np.isnan(ends).all() for ends in region_intervals(np.array([[5, 1, 1, 5]] * 2), 1).values())
    one_class = np.array([[5, 1, 0, 0], [7, 2, 0, 0], [3, 3, 0, 0]])
    found = region_intervals(one_class, 1, draws=50)
    assert np.isnan(found["balanced_accuracy"]).all()
    assert np.isfinite(found["overall_accuracy"]).all()
    assert np.isnan(measures(np.zeros(4))["kappa"])


def test_intervals_of_grouped_sites_hold_the_truth_where_those_of_single_sites_do_not():
    """A map whose accuracy differs from region to region: 85 % in the mean, 12 points of spread, 12 regions of 10."""
    truth = 0.85
    rng = np.random.default_rng(11)
    grouped = single = 0
    for seed in range(200):
        spread = np.clip(rng.beta(7.0, 7.0 * (1 - truth) / truth, size=12), 0, 1)
        right = rng.binomial(10, spread)
        tables = np.column_stack([right, 10 - right, np.zeros(12, int), np.zeros(12, int)])
        low, high = region_intervals(tables, seed, draws=400)["overall_accuracy"]
        grouped += low <= truth <= high
        low, high = BinaryCounts(*map(int, tables.sum(axis=0))).accuracy_interval()
        single += low <= truth <= high
    assert grouped >= 180  # 90 % at least, of 95 nominal, with a dozen regions
    assert single < grouped
