"""A conditioned Latin hypercube: rows that fill every interval of every variable, and keep the correlations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.conditioned_hypercube import conditioned_hypercube, equal_intervals, objective


def table(rows: int, p: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, p)) @ rng.normal(size=(p, p))
    return ((mixed - mixed.mean(axis=0)) / mixed.std(axis=0)).astype(np.float32)


def twin(
    intervals: NDArray[np.int32], values: NDArray[np.float32], chosen: NDArray[np.int64], n: int
) -> tuple[float, float]:
    crowding = sum(abs(int((column[chosen] == k).sum()) - chosen.size / n) for column in intervals.T for k in range(n))
    departure = np.corrcoef(values[chosen].astype(float).T) - np.corrcoef(values.astype(float).T)
    return crowding, float(np.abs(departure).sum() - np.abs(np.diag(departure)).sum())


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(30, 80), p=st.integers(2, 4), n=st.integers(5, 25), seed=st.integers(0, 99))
def test_rows_are_real_unique_and_reproducible_and_the_objective_is_its_twins(
    rows: int, p: int, n: int, seed: int
) -> None:
    values = table(rows, p, seed)
    found = conditioned_hypercube(values, n, np.random.default_rng(seed), steps=300)
    again = conditioned_hypercube(values, n, np.random.default_rng(seed), steps=300)
    np.testing.assert_array_equal(found.chosen, again.chosen)
    assert len(set(found.chosen.tolist())) == n
    assert 0 <= found.chosen.min() <= found.chosen.max() < rows
    expected = twin(equal_intervals(values, n), values, found.chosen, n)
    assert (found.crowding, found.correlation) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 60), n=st.integers(1, 60), seed=st.integers(0, 99))
def test_intervals_hold_equally_many_rows_and_follow_the_order_of_the_values(rows: int, n: int, seed: int) -> None:
    n = min(n, rows)
    values = np.random.default_rng(seed).integers(0, 9, size=(rows, 2)).astype(np.float32)
    intervals = equal_intervals(values, n)
    for j in range(2):
        counts = np.bincount(intervals[:, j], minlength=n)
        assert counts.max() - counts.min() <= 1
        order = np.argsort(values[:, j], kind="stable")
        assert (np.diff(intervals[order, j]) >= 0).all()


def test_annealing_comes_near_to_a_hypercube_and_far_from_a_random_choice() -> None:
    values, n = table(2000, 4, 3), 40
    rng = np.random.default_rng(8)
    found = conditioned_hypercube(values, n, rng, steps=15_000)
    correlation = np.corrcoef(values.astype(float).T)
    chance = objective(equal_intervals(values, n), values, correlation, rng.choice(2000, n, replace=False), n)
    assert found.crowding < 0.4 * chance[0]
    assert found.correlation < 0.5 * chance[1]


def test_a_hypercube_that_there_is_is_found() -> None:
    """Of two independent variables of many rows, n rows that fill all intervals exist."""
    values = table(4000, 2, 5)
    found = conditioned_hypercube(values, 8, np.random.default_rng(0), steps=8000)
    assert found.crowding == 0.0
    assert sorted(equal_intervals(values, 8)[found.chosen, 0].tolist()) == list(range(8))


def test_a_variable_that_does_not_vary_changes_nothing() -> None:
    values = table(200, 3, 1)
    values[:, 1] = 0.0
    found = conditioned_hypercube(values, 10, np.random.default_rng(0), steps=2000)
    assert len(set(found.chosen.tolist())) == 10
    assert np.isfinite(found.correlation)


@pytest.mark.parametrize(("n", "message"), [(50, "fewer than there are"), (0, "one or more")])
def test_what_is_not_there_cannot_be_chosen(n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conditioned_hypercube(table(50, 2, 0), n, np.random.default_rng(0), steps=10)


def test_missing_values_are_refused() -> None:
    values = table(50, 2, 0)
    values[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        conditioned_hypercube(values, 10, np.random.default_rng(0), steps=10)
