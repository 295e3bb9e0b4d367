"""Sampling designs: which pixels E is learnt from, chosen by their predictors (appendix A of the paper).

All designs return real pixels, each once, the same for the same seed; all see standardised predictors. Aspect is
circular, so that it comes as two of them, northness and eastness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from frostmap.kernels.clustering import cluster_means, move_to_nearer
from frostmap.kernels.conditioned_hypercube import conditioned_hypercube
from frostmap.pipeline.recipe import Allocation, Sampler

Table = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

MOST_SEEN = 500_000
"""Pixels, drawn at random, that the costly designs look at: k-means and both Latin hypercubes."""

CUTS = (-1.8, -0.6, 0.6, 1.8)
"""Between the five strata of equal width from -3 to 3 standard deviations; the outer ones take what lies beyond."""

EXPLAINED = 0.95
"""Share of the variance that the principal components must have together."""

NEIGHBOURS = 48
"""Centres near to a pixel's own that k-means compares it with at a step."""

MOST_STEPS, FEWEST_MOVES = 20, 0.002
"""Of k-means: steps at most; it ends before where a smaller share of the pixels moves."""

STEPS_PER_SAMPLE = 500
"""Exchanges that the annealing tries for each sample; 50,000 at least, as published."""


def choose(
    design: Sampler, values: npt.NDArray[np.floating], n: int, seed: int, allocation: Allocation = "density"
) -> Rows:
    """Return the rows that a sampling design chooses.

    Parameters
    ----------
    design
        random: any rows, all equally probable. kmeans: the row nearest to each of n centres of clusters. equal_range:
        n over the variables, each divided into five strata of equal width. pca: the same in the space of principal
        components, n divided by the variance that they explain. lhs: the rows nearest to the points of a Latin
        hypercube. clhs: rows that themselves are nearly one.
    values
        (rows, variables), without NaN, in any units.
    n
        Rows wanted.
    seed
        The same seed makes the same choice.
    allocation
        Of equal_range and pca: density, strata get samples by their numbers of rows, as the paper; equal, all the same.

    Returns
    -------
    (n,) int64
        Indices of rows, each once, rising; all rows where there are no more than n.

    Raises
    ------
    ValueError
        A value is NaN or infinite, or no row is wanted.
    """
    if n < 1:
        raise ValueError(f"{n} samples are wanted; wanted at least one")
    if not np.isfinite(values).all():
        raise ValueError("a value is NaN or infinite; leave such rows out before")
    if len(values) <= n:
        return np.arange(len(values), dtype=np.int64)
    rng = np.random.default_rng(seed)
    scaled = standardised(values)
    if design in ("equal_range", "pca"):
        rows = _STRATIFIED[design](scaled, n, rng, allocation)
    elif design == "random":
        rows = rng.choice(len(scaled), n, replace=False)
    else:
        seen = np.arange(len(scaled))
        if len(scaled) > MOST_SEEN:
            seen = np.sort(rng.choice(len(scaled), max(MOST_SEEN, 2 * n), replace=False))
        rows = seen[_COSTLY[design](scaled[seen], n, rng)]
    return np.sort(rows).astype(np.int64)


def standardised(values: npt.NDArray[np.floating]) -> Table:
    """Return variables of mean 0 and standard deviation 1; of 0 throughout where a variable does not vary."""
    scaled = np.empty(values.shape, dtype=np.float32)
    for j in range(values.shape[1]):  # one at a time: in float64, but never all of them
        column = values[:, j].astype(np.float64)
        column -= column.mean()
        scaled[:, j] = column / (column.std() or 1.0)
    return scaled


# ---- strata -------------------------------------------------------------------------------------------------------


def strata(column: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """Return which of five strata of equal width each value of a standardised variable is in.

    >>> strata(np.array([-9.0, -1.0, 0.0, 0.7, 2.0])).tolist()
    [0, 1, 2, 3, 4]
    """
    return np.searchsorted(np.array(CUTS, dtype=column.dtype), column, side="right").astype(np.int8)


def allotted(n: int, room: npt.NDArray[np.integer], allocation: Allocation) -> npt.NDArray[np.int64]:
    """Return how many of n samples each stratum gets.

    Parameters
    ----------
    n
        Samples.
    room
        Rows in each stratum.
    allocation
        density: in proportion to the rows. equal: the same for each; what a stratum cannot hold goes to the others.

    Examples
    --------
    >>> allotted(100, np.array([36, 238, 452, 238, 36]), "density").tolist()
    [4, 24, 45, 24, 3]
    >>> allotted(100, np.array([8, 238, 452, 238, 36]), "equal").tolist()
    [8, 23, 23, 23, 23]
    """
    total = np.zeros(len(room), dtype=np.int64)
    left = min(n, int(room.sum()))
    while left:
        free = room - total
        claims = np.where(free > 0, room if allocation == "density" else 1, 0)
        exact = left * claims / claims.sum()
        part = np.floor(exact).astype(np.int64)
        part[np.argsort(part - exact, kind="stable")[: left - part.sum()]] += 1  # the largest remainders
        part = np.minimum(part, free)
        total += part
        left -= int(part.sum())
    return total


def _draw_by_strata(
    column: npt.NDArray[np.floating],
    n: int,
    free: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    allocation: Allocation,
) -> None:
    """Take n free rows by the strata of one variable; they are no longer free."""
    label = strata(column)
    label[~free] = -1
    room = np.bincount(label[free], minlength=len(CUTS) + 1)
    for stratum, wanted in enumerate(allotted(n, room, allocation)):
        if wanted:
            there = np.flatnonzero(label == stratum)
            free[there[rng.choice(len(there), wanted, replace=False)]] = False


def split(n: int, shares: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return whole numbers in proportion to shares of 1, rounded down.

    >>> split(10_000, np.array([0.64, 0.2, 0.12])).tolist()
    [6400, 2000, 1200]
    """
    whole: npt.NDArray[np.int64] = np.floor(n * shares + 1e-9).astype(np.int64)
    return whole


def _equal_range(scaled: Table, n: int, rng: np.random.Generator, allocation: Allocation) -> Rows:
    """Variables take turns; a row that one has taken is not there for the next, so that no duplicate is dropped."""
    free = np.ones(len(scaled), dtype=bool)
    p = scaled.shape[1]
    for j, wanted in enumerate(np.diff(np.arange(p + 1) * n // p)):
        _draw_by_strata(scaled[:, j], int(wanted), free, rng, allocation)
    return np.flatnonzero(~free)


def components(scaled: Table) -> tuple[Table, npt.NDArray[np.float64]]:
    """Return the first principal components, standardised, and the share of the variance that each explains.

    As many as together have `EXPLAINED` of it.
    """
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(scaled, rowvar=False, dtype=np.float64)))
    variance, axes = variance[::-1], axes[:, ::-1]
    if not variance[0] > 0:
        raise ValueError("no variable varies; wanted at least one that does")
    share = variance / variance.sum()
    kept = 1 + int(np.searchsorted(np.cumsum(share), EXPLAINED - 1e-12))
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(share))])  # which sign it has is arbitrary
    scores = scaled @ (axes[:, :kept] / np.sqrt(variance[:kept])).astype(np.float32)
    return scores, share[:kept]


def _pca(scaled: Table, n: int, rng: np.random.Generator, allocation: Allocation) -> Rows:
    """Draw what falls to the variance that no component explains from all rows."""
    free = np.ones(len(scaled), dtype=bool)
    scores, shares = components(scaled)
    for j, wanted in enumerate(split(n, shares)):
        _draw_by_strata(scores[:, j], int(wanted), free, rng, allocation)
    rest = np.flatnonzero(free)
    free[rest[rng.choice(len(rest), n - (len(scaled) - len(rest)), replace=False)]] = False
    return np.flatnonzero(~free)


# ---- points that pixels are found for -----------------------------------------------------------------------------


def _kmeans(scaled: Table, n: int, rng: np.random.Generator) -> Rows:
    return nearest_unused(scaled, cluster_centres(scaled, n, rng))


def cluster_centres(scaled: Table, n: int, rng: np.random.Generator) -> Table:
    """Return the centres of n clusters that rows are grouped into by k-means.

    It begins with random rows. A row is compared with the centres near to its own alone, which makes ten thousand
    clusters a matter of seconds (measured in docs/explanation/experiments.md).
    """
    centres = scaled[rng.choice(len(scaled), n, replace=False)]
    labels = cKDTree(centres).query(scaled)[1].astype(np.int32)
    for _ in range(MOST_STEPS):
        centres = cluster_means(scaled, labels, centres)
        gap, near = cKDTree(centres).query(centres, k=np.arange(1, min(NEIGHBOURS + 1, n) + 1))
        moved, _ = move_to_nearer(scaled, centres, near[:, 1:].astype(np.int32), gap[:, 1:].astype(np.float32), labels)
        moves, labels = np.count_nonzero(moved != labels), moved
        if moves < FEWEST_MOVES * len(scaled):
            break
    return cluster_means(scaled, labels, centres)


def _lhs(scaled: Table, n: int, rng: np.random.Generator) -> Rows:
    return nearest_unused(scaled, hypercube_points(scaled, n, rng))


def hypercube_points(scaled: Table, n: int, rng: np.random.Generator) -> Table:
    """Return a Latin hypercube: one point in each of n equally probable intervals of every variable, paired at random.

    They are no rows: only their marginal distributions are those of the variables.
    """
    points = np.empty((n, scaled.shape[1]), dtype=np.float32)
    for j in range(scaled.shape[1]):
        points[:, j] = np.quantile(scaled[:, j], (rng.permutation(n) + rng.random(n)) / n)
    return points


def nearest_unused(scaled: Table, points: npt.NDArray[np.floating]) -> Rows:
    """Return the row nearest to each point, each row once: the point nearest to its row comes first.

    Examples
    --------
    >>> nearest_unused(np.array([[0.0], [1.0], [5.0]]), np.array([[0.2], [0.1]])).tolist()
    [1, 0]
    """
    tree = cKDTree(scaled, balanced_tree=False, compact_nodes=False)
    found = np.full(len(points), -1, dtype=np.int64)
    used: set[int] = set()
    waiting, neighbours = np.arange(len(points)), 4
    while waiting.size:
        neighbours = min(neighbours, len(scaled))
        distance, rows = tree.query(points[waiting], k=np.arange(1, neighbours + 1))
        missed = []
        for place in np.argsort(distance[:, 0], kind="stable"):
            row = next((row for row in rows[place].tolist() if row not in used), None)
            if row is None:
                missed.append(waiting[place])
            else:
                used.add(row)
                found[waiting[place]] = row
        waiting, neighbours = np.array(missed, dtype=np.int64), 4 * neighbours
    return found


def _clhs(scaled: Table, n: int, rng: np.random.Generator) -> Rows:
    steps = max(50_000, STEPS_PER_SAMPLE * n)
    return conditioned_hypercube(scaled, n, rng, steps=steps, weight=max(1.0, n / scaled.shape[1])).chosen


_STRATIFIED: Mapping[str, Callable[[Table, int, np.random.Generator, Allocation], Rows]] = {
    "equal_range": _equal_range,
    "pca": _pca,
}
_COSTLY: Mapping[str, Callable[[Table, int, np.random.Generator], Rows]] = {
    "kmeans": _kmeans,
    "lhs": _lhs,
    "clhs": _clhs,
}
