"""Conditioned Latin hypercube: real pixels that fill every interval of every variable once, by simulated annealing.

A Latin hypercube of n points puts one into each of n equally probable intervals of every variable. Its points are not
pixels. The conditioned one is a choice of n pixels that comes as near to that as pixels can, and keeps the correlations
between the variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

RIVALS = 8
"""Members that are compared when one of the worst is looked for."""


@dataclass(frozen=True)
class Hypercube:
    """A conditioned Latin hypercube."""

    chosen: NDArray[np.int64]
    """(n,) rows, in no order."""
    crowding: float
    """Sum over variables and intervals of how many members there are too many or too few [1]; 0 is a hypercube."""
    correlation: float
    """Sum over all pairs of variables of the departure of their correlation from that of all rows [1]."""


def correlations(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return Pearson's correlations of variables; 0 where one of the two does not vary.

    Parameters
    ----------
    values : (rows, variables) float
        Without NaN.

    Examples
    --------
    >>> correlations(np.array([[0.0, 3.0, 5.0], [1.0, 1.0, 5.0]])).round(6).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    centred = values - values.mean(axis=0, dtype=np.float64)
    products = centred.T @ centred + 0.0
    spread = np.sqrt(np.diag(products))
    found: NDArray[np.float64] = products / np.maximum(np.outer(spread, spread), 1e-300)
    return found


def objective(
    intervals: NDArray[Any], values: NDArray[Any], correlation: NDArray[Any], chosen: NDArray[Any], n_intervals: int
) -> tuple[float, float]:
    """Return both parts of what the annealing makes small: see `Hypercube`.

    Parameters
    ----------
    intervals : (rows, variables) integer
        Number of the interval, from 0, that a row is in.
    values : (rows, variables) float
        Standardised variables [1], without NaN.
    correlation : (variables, variables) float
        Of all rows.
    chosen : (n,) integer
        Rows.
    n_intervals : int
        Intervals of each variable, n for a Latin hypercube.

    Examples
    --------
    >>> line = np.arange(4.0)[:, np.newaxis]
    >>> objective(np.array([[0], [0], [1], [1]]), line, np.ones((1, 1)), np.array([0, 1]), 2)
    (2.0, 0.0)
    """
    members, p = np.asarray(chosen), intervals.shape[1]
    share = members.size / n_intervals
    crowding = sum(
        float(np.abs(np.bincount(intervals[members, j], minlength=n_intervals) - share).sum()) for j in range(p)
    )
    found = correlations(values[members])
    departure = np.abs(found - correlation)
    return float(crowding), float(departure.sum() - np.trace(departure))


@compiled
def _departure(sums: Any, products: Any, correlation: Any, n: int) -> float:
    p = sums.size
    total = 0.0
    for a in range(p):
        for b in range(a):
            spread = (products[a, a] - sums[a] * sums[a] / n) * (products[b, b] - sums[b] * sums[b] / n)
            found = (products[a, b] - sums[a] * sums[b] / n) / np.sqrt(spread) if spread > 1e-12 else 0.0
            total += 2.0 * abs(found - correlation[a, b])
    return total


@compiled
def _anneal(
    intervals: Any,
    values: Any,
    correlation: Any,
    start: Any,
    n_intervals: int,
    weight: float,
    steps: int,
    first_temperature: float,
    last_temperature: float,
    rng: Any,
) -> Any:
    rows, p = intervals.shape
    n = start.size
    chosen = start.copy()
    member = np.zeros(rows, dtype=np.bool_)
    counts = np.zeros((p, n_intervals), dtype=np.int64)
    sums = np.zeros(p)
    products = np.zeros((p, p))
    for i in range(n):
        row = chosen[i]
        member[row] = True
        for a in range(p):
            counts[a, intervals[row, a]] += 1
            sums[a] += values[row, a]
            for b in range(p):
                products[a, b] += np.float64(values[row, a]) * values[row, b]
    share = n / n_intervals
    departure = _departure(sums, products, correlation, n)
    new_sums, new_products = np.empty(p), np.empty((p, p))
    cooling = (last_temperature / first_temperature) ** (1.0 / max(steps - 1, 1))
    temperature = first_temperature
    for _ in range(steps):
        place = int(rng.random() * n)
        if rng.random() < 0.5:
            worst = -1.0
            for _rival in range(RIVALS):
                other = int(rng.random() * n)
                crowd = 0.0
                for a in range(p):
                    crowd += counts[a, intervals[chosen[other], a]]
                if crowd > worst:
                    worst, place = crowd, other
        entering = int(rng.random() * rows)
        luck = rng.random()
        temperature *= cooling
        if member[entering]:
            continue
        leaving = chosen[place]
        crowding = 0.0
        for a in range(p):
            old, new = intervals[leaving, a], intervals[entering, a]
            if old != new:
                crowding += abs(counts[a, old] - 1 - share) - abs(counts[a, old] - share)
                crowding += abs(counts[a, new] + 1 - share) - abs(counts[a, new] - share)
        if luck >= np.exp(min(0.0, (weight * departure - crowding) / temperature)):
            continue  # not even a perfect correlation would make up for it
        for a in range(p):
            new_sums[a] = sums[a] + values[entering, a] - values[leaving, a]
            for b in range(a + 1):
                new_products[a, b] = (
                    products[a, b]
                    + np.float64(values[entering, a]) * values[entering, b]
                    - np.float64(values[leaving, a]) * values[leaving, b]
                )
        new_departure = _departure(new_sums, new_products, correlation, n)
        if luck >= np.exp(min(0.0, (weight * (departure - new_departure) - crowding) / temperature)):
            continue
        for a in range(p):
            counts[a, intervals[leaving, a]] -= 1
            counts[a, intervals[entering, a]] += 1
            sums[a] = new_sums[a]
            for b in range(a + 1):
                products[a, b] = new_products[a, b]
        departure = new_departure
        member[leaving], member[entering] = False, True
        chosen[place] = entering
    return chosen


def equal_intervals(values: NDArray[Any], n: int) -> NDArray[np.int32]:
    """Return which of n equally probable intervals of its variable each value is in, counted from 0.

    Intervals are made of ranks, so that they hold equally many rows, to one, even where many values are equal: those
    are shared out in the order of the rows.

    Parameters
    ----------
    values : (rows, variables) float
        Without NaN.
    n : int
        Intervals, at most as many as rows.

    Examples
    --------
    >>> equal_intervals(np.array([[3.0], [1.0], [2.0], [1.0]]), 2).ravel().tolist()
    [1, 0, 1, 0]
    """
    rows, p = values.shape
    intervals = np.empty((rows, p), dtype=np.int32)
    rank = np.arange(rows, dtype=np.int64) * n // rows
    for j in range(p):
        intervals[np.argsort(values[:, j], kind="stable"), j] = rank
    return intervals


def conditioned_hypercube(
    values: NDArray[Any],
    n: int,
    rng: np.random.Generator,
    *,
    steps: int,
    weight: float = 1.0,
    first_temperature: float = 1.0,
    last_temperature: float = 0.1,
) -> Hypercube:
    """Return a conditioned Latin hypercube of n rows.

    From n random rows on, one of them is exchanged for another row again and again: half of the time any of them, else
    the one that sits in the most crowded intervals of a few. An exchange that makes the objective (crowding plus
    weighted correlation, see `Hypercube`) worse by d is kept with probability exp(-d / T); T falls geometrically.

    Parameters
    ----------
    values : (rows, variables) float
        Standardised variables [1], without NaN.
    n : int
        Rows to choose, fewer than there are.
    rng : numpy.random.Generator
        The same state makes the same choice.
    steps : int
        Exchanges that are tried.
    weight : float
        Of the correlation, 1 as published. Crowding grows with n, correlation does not, so that of thousands of rows
        nothing but crowding counts unless this grows, too.
    first_temperature, last_temperature : float
        T at the first and the last step, in units of the objective.

    Returns
    -------
    Hypercube

    Raises
    ------
    ValueError
        There are not more rows than are wanted, or a value is NaN.

    References
    ----------
    Minasny and McBratney 2006, doi:10.1016/j.cageo.2005.12.009. Theirs looks for the one worst member of all, and
    cools every ten steps; here it is the worst of eight, at a cost that does not grow with n.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> found = conditioned_hypercube(rng.normal(size=(500, 2)), 10, rng, steps=5000)
    >>> len(set(found.chosen.tolist())), found.crowding
    (10, 0.0)
    """
    table = np.ascontiguousarray(values)
    rows = len(table)
    if not 0 < n < rows:
        raise ValueError(f"{n} rows are wanted of {rows}; wanted one or more, and fewer than there are")
    if not np.isfinite(table).all():
        raise ValueError("a value is NaN or infinite; leave such rows out before")
    intervals = equal_intervals(table, n)
    correlation = correlations(table)
    start = rng.choice(rows, n, replace=False).astype(np.int64)
    chosen = _anneal(intervals, table, correlation, start, n, weight, steps, first_temperature, last_temperature, rng)
    return Hypercube(chosen, *objective(intervals, table, correlation, chosen, n))
