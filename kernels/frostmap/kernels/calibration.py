"""Calibration of the soil parameter E on surveyed permafrost: the exact optimum of kappa, and its judges.

A pixel of cluster k is permafrost where E_k is below its critical E, sqrt(DDF / DDT) (see `frost_number.critical_e`,
which replaces a sum of 0 by 1 °C d). Kappa depends on the E's through two counts only, each a sum over clusters, so the
best E of every cluster can be found exactly, without a search in as many dimensions as there are clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.compiled import compiled

INERTIA = 1.0 / (2.0 * log(2.0))
"""Inertia weight of the standard particle swarm (SPSO-2007) [1]."""

ACCELERATION = 0.5 + log(2.0)
"""Both acceleration coefficients of the standard particle swarm (SPSO-2007) [1]."""

SAFETY_MARGIN = 1e-6
"""How far inside its interval an E stays [1]: more than float32 rounding moves it."""


def swarm_size(dimensions: int) -> int:
    """Return how many particles the standard swarm (SPSO-2007) has, floor(10 + 2 sqrt(d)).

    References
    ----------
    Clerc 2012, Standard Particle Swarm Optimisation, hal-00764996.

    Examples
    --------
    >>> swarm_size(8), swarm_size(16)
    (15, 18)
    """
    return int(10 + 2 * sqrt(dimensions))


@dataclass(frozen=True)
class ExactCalibration:
    """The soil parameter of each cluster that agrees best with a survey, and how well it is known."""

    e: NDArray[np.float64]
    """Soil parameter of each cluster [1]: of its interval, the value nearest to the prior."""
    lower: NDArray[np.float64]
    """Least E of each cluster that leaves the class of every surveyed pixel as it is."""
    upper: NDArray[np.float64]
    """E of each cluster up to which it does; the value itself does only where it is the upper bound of the search."""
    pixels: NDArray[np.int64]
    """Surveyed pixels of each cluster; 0 marks a cluster that has the prior for want of any."""
    kappa: float
    """Kappa of the survey and the map that `e` makes: no other E within the bounds has a higher one."""
    counts: BinaryCounts
    """Counts behind it, over all surveyed pixels."""
    iterations: int
    """Dinkelbach iterations, the one that confirms the optimum included."""


@dataclass(frozen=True)
class _Candidates:
    """Every map that some E within the bounds can make, cluster by cluster, highest E first."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    closed: NDArray[np.bool_]  # does `upper` itself belong to the interval?
    first: NDArray[np.int64]  # of each cluster that has pixels, in the order of `cluster`
    cluster: NDArray[np.int64]


def _candidates(
    critical: NDArray[np.float64],
    permafrost: NDArray[np.bool_],
    cluster: NDArray[np.int64],
    bounds: tuple[float, float],
) -> _Candidates:
    order = np.lexsort((-critical, cluster))
    value, group, truth = critical[order], cluster[order], permafrost[order]
    # Pixels of one cluster and one critical E become permafrost together: a step ends where either changes.
    ends = np.flatnonzero(np.append((value[1:] != value[:-1]) | (group[1:] != group[:-1]), True))
    cumulative_tp, cumulative_n = np.cumsum(truth)[ends], ends + 1
    names, first_step, steps = np.unique(group[ends], return_index=True, return_counts=True)

    # One candidate before the first step of each cluster (nothing is permafrost) and one after every step.
    first = first_step + np.arange(names.size)
    is_step = np.ones(ends.size + names.size, dtype=np.bool_)
    is_step[first] = False
    tp = np.zeros(is_step.size, dtype=np.int64)
    n = np.zeros(is_step.size, dtype=np.int64)
    above = np.full(is_step.size, np.inf)  # the critical E of the last pixel that is in
    below = np.full(is_step.size, -np.inf)  # the critical E of the first that is not
    tp[is_step], n[is_step], above[is_step] = cumulative_tp, cumulative_n, value[ends]
    before = np.flatnonzero(is_step) - 1
    below[before] = value[ends]
    tp[first[1:]], n[first[1:]] = tp[first[1:] - 1], n[first[1:] - 1]
    repeat = np.repeat(first, steps + 1)
    tp, n = tp - tp[repeat], n - n[repeat]

    # E in [below, above), cut to the bounds: pixels critical above both bounds are in, at or below both are out.
    low, high = bounds
    attainable = (below <= high) & (above > low)
    kept = np.flatnonzero(attainable)
    owner = np.repeat(np.arange(names.size), steps + 1)[kept]
    return _Candidates(
        tp=tp[kept],
        fp=(n - tp)[kept],
        lower=np.maximum(below[kept], low),
        upper=np.minimum(above[kept], high),
        closed=above[kept] > high,
        first=np.searchsorted(owner, np.arange(names.size)),
        cluster=names,
    )


def _nearest_in(lower: float, upper: float, closed: bool, bounds: tuple[float, float], prior: float) -> float:
    """Return the value of [lower, upper), or [lower, upper] if closed, nearest to the prior, clear of pixels' E."""
    margin = min(SAFETY_MARGIN, (upper - lower) / 2)
    least = lower if lower == bounds[0] else lower + margin
    most = upper if closed else upper - margin
    value = min(max(prior, least), most)
    return value if lower <= value < upper or closed else lower


def _best(found: _Candidates, permafrost: int, rest: int, kappa: Fraction, prior: float) -> NDArray[np.int64]:
    """Return each cluster's candidate with the greatest num - kappa den, where kappa(tp, fp) = num / den.

    Both are linear in tp and fp, so that clusters decide alone. Floating point only narrows the choice: candidates it
    cannot tell apart are compared in integers, and of those truly equal the one nearest to the prior is taken.
    """
    n = permafrost + rest
    slope = (kappa.denominator - kappa.numerator) * (permafrost - rest)  # times n² times the denominator:
    tp_weight, fp_weight = n * kappa.denominator - slope, -n * kappa.denominator - slope
    scale = n * kappa.denominator
    gain = (tp_weight / scale) * found.tp + (fp_weight / scale) * found.fp
    last = np.append(found.first[1:], found.tp.size)
    chosen = np.empty(found.first.size, dtype=np.int64)
    for k, (start, stop) in enumerate(zip(found.first.tolist(), last.tolist(), strict=True)):
        part = gain[start:stop]
        near = start + np.flatnonzero(part >= part.max() - 1e-9 * (1.0 + abs(part.max())))
        exact = [tp_weight * int(found.tp[i]) + fp_weight * int(found.fp[i]) for i in near]
        top = max(exact)
        equal = near[[i for i, value in enumerate(exact) if value == top]]
        distance = np.maximum(np.maximum(found.lower[equal] - prior, prior - found.upper[equal]), 0.0)
        chosen[k] = equal[np.argmin(distance)]
    return chosen


def calibrate_exact(
    critical_e: NDArray[Any],
    permafrost: NDArray[np.bool_],
    cluster: NDArray[Any],
    n_clusters: int,
    bounds: tuple[float, float] = (0.5, 1.5),
    prior: float = 0.90,
) -> ExactCalibration:
    """Return the soil parameter of each cluster that maximises kappa against a survey, exactly.

    A pixel is permafrost where E of its cluster is below its critical E; a tie is seasonally frozen. Within a cluster
    the permafrost of any E is therefore a prefix of the pixels by falling critical E, pixels of one critical E entering
    together. Kappa is a ratio of two functions linear in true and false positives, so that Dinkelbach's iteration
    (start at 0; per cluster the prefix with the greatest weighted sum; renew kappa; repeat) ends at the optimum, here
    in exact integer arithmetic.

    Parameters
    ----------
    critical_e : (n,) or any shape
        sqrt(DDF / DDT) of each surveyed pixel [1], from `frost_number.critical_e`. A pixel where it is NaN is left out.
    permafrost : same shape, bool
        True where the survey found permafrost, False where it found seasonally frozen ground.
    cluster : same shape, integer
        Cluster 0 ... n_clusters - 1 of each pixel. A pixel with a negative one is left out.
    n_clusters : int
        How many clusters there are, surveyed or not.
    bounds : (float, float)
        Least and greatest E. A pixel critical above the greatest is permafrost whatever E is, one at or below the least
        never is.
    prior : float
        What E is where the survey does not say: the value of a cluster without pixels; and where a whole interval, or
        several, agree equally well with the survey, the value of them nearest to the prior.

    Returns
    -------
    ExactCalibration

    Raises
    ------
    ValueError
        The survey has one class only (any E beyond the extremes is then as good), a shape or cluster is wrong.

    Notes
    -----
    E stays `SAFETY_MARGIN` inside an interval that ends at a pixel, and in the middle of a narrower one, so that
    rounding to float32 moves no surveyed pixel unless the interval itself is that narrow.

    References
    ----------
    Dinkelbach 1967, doi:10.1287/mnsc.13.7.492; Cohen 1960, doi:10.1177/001316446002000104.

    Examples
    --------
    >>> found = calibrate_exact(
    ...     np.array([1.2, 1.1, 0.9, 0.8]), np.array([True, True, False, False]), np.zeros(4, dtype=int), n_clusters=2
    ... )
    >>> found.kappa, found.lower.tolist(), found.upper.tolist(), found.pixels.tolist()
    (1.0, [0.9, 0.5], [1.1, 1.5], [4, 0])
    >>> found.e.round(5).tolist()
    [0.9, 0.9]
    """
    critical = np.asarray(critical_e, dtype=np.float64).ravel()
    truth, names = np.asarray(permafrost).ravel(), np.asarray(cluster).ravel()
    low, high = bounds
    if not critical.shape == truth.shape == names.shape:
        raise ValueError(
            f"critical_e, permafrost and cluster have {critical.size}, {truth.size} and {names.size} values; "
            "wanted one of each a pixel"
        )
    if truth.dtype != np.bool_:
        raise ValueError(f"permafrost has dtype {truth.dtype}; wanted bool: compare with the class first, survey == 1")
    if not 0 < low <= prior <= high:
        raise ValueError(f"bounds are {bounds} and the prior {prior}; wanted 0 < least <= prior <= greatest")
    kept = ~np.isnan(critical) & (names >= 0)
    critical, truth, names = critical[kept], truth[kept], names[kept].astype(np.int64)
    if names.size and names.max() >= n_clusters:
        raise ValueError(
            f"cluster {names.max()} found where there are {n_clusters}; number them 0 to {n_clusters - 1}, "
            "negative for none"
        )
    positive = int(np.count_nonzero(truth))
    negative = truth.size - positive
    if positive == 0 or negative == 0:
        raise ValueError(
            f"the survey has one class only: found {positive} permafrost and {negative} seasonally frozen pixels with "
            "degree days and a cluster; wanted some of both, since E is what separates them. Take a survey that spans "
            f"the boundary of permafrost, or use a fixed E (the prior is {prior})"
        )

    found = _candidates(critical, truth, names, bounds)
    n = positive + negative
    kappa, iterations = Fraction(0), 0
    while True:
        chosen = _best(found, positive, negative, kappa, prior)
        tp, fp = int(found.tp[chosen].sum()), int(found.fp[chosen].sum())
        by_chance = negative * n + (tp + fp) * (positive - negative)  # chance agreement times n²
        renewed = Fraction(n * (tp + negative - fp) - by_chance, n * n - by_chance)
        iterations += 1
        if renewed == kappa:
            break
        kappa = renewed

    e = np.full(n_clusters, float(prior))
    lower, upper = np.full(n_clusters, float(low)), np.full(n_clusters, float(high))
    lower[found.cluster], upper[found.cluster] = found.lower[chosen], found.upper[chosen]
    for k, i in zip(found.cluster.tolist(), chosen.tolist(), strict=True):
        e[k] = _nearest_in(float(found.lower[i]), float(found.upper[i]), bool(found.closed[i]), bounds, prior)
    return ExactCalibration(
        e=e,
        lower=lower,
        upper=upper,
        pixels=np.bincount(names, minlength=n_clusters).astype(np.int64),
        kappa=float(kappa),
        counts=BinaryCounts(tp=tp, fn=positive - tp, fp=fp, tn=negative - fp),
        iterations=iterations,
    )


@compiled
def _boundary_agreement(ratio: Any, surveyed: Any, cluster: Any, radius: int) -> Any:
    rows, columns = ratio.shape
    boundary = 0
    agreeing = 0
    for i in range(rows):
        for j in range(columns):
            if (surveyed[i, j] != 1 and surveyed[i, j] != 2) or cluster[i, j] < 0 or np.isnan(ratio[i, j]):
                continue
            sum_1, sum_2, count_1, count_2 = 0.0, 0.0, 0, 0
            cluster_1, cluster_2 = -1, -1
            mixed = False
            for y in range(max(i - radius, 0), min(i + radius + 1, rows)):
                for x in range(max(j - radius, 0), min(j + radius + 1, columns)):
                    name = cluster[y, x]
                    if name < 0 or np.isnan(ratio[y, x]):
                        continue
                    if surveyed[y, x] == 1:
                        sum_1 += ratio[y, x]
                        mixed = mixed or (count_1 > 0 and name != cluster_1)
                        cluster_1 = name
                        count_1 += 1
                    elif surveyed[y, x] == 2:
                        sum_2 += ratio[y, x]
                        mixed = mixed or (count_2 > 0 and name != cluster_2)
                        cluster_2 = name
                        count_2 += 1
            if count_1 > 0 and count_2 > 0 and mixed:
                boundary += 1
                if sum_1 / count_1 < sum_2 / count_2:
                    agreeing += 1
    return agreeing, boundary


def boundary_agreement(
    ratio: NDArray[Any], surveyed: NDArray[Any], cluster: NDArray[Any], radius: int = 2
) -> tuple[float, int]:
    """Return how often the model leans to the right side where surveyed permafrost meets seasonally frozen ground.

    A surveyed cell is a boundary cell if the box around it (clipped at the edges, itself included) holds both classes,
    and more than one cluster among its permafrost or among its seasonally frozen cells. It agrees if the mean ratio of
    the former is below that of the latter.

    Parameters
    ----------
    ratio : (y, x) float
        E sqrt(DDT / DDF) [1]: E over `frost_number.critical_e`, which replaces a sum of 0 by 1 °C d as published.
        A cell where it is NaN is left out.
    surveyed : (y, x) integer
        1 permafrost, 2 seasonally frozen; a cell with any other code is left out.
    cluster : (y, x) integer
        Cluster of each cell; a cell with a negative one is left out.
    radius : int
        Half width of the box [px]; 2 is the published 5 x 5.

    Returns
    -------
    beta, boundary_cells : float, int
        Share of boundary cells that agree, NaN where there are none; and how many there are.

    Examples
    --------
    >>> boundary_agreement(np.array([[0.8, 0.9, 1.1]]), np.array([[1, 1, 2]]), np.array([[0, 1, 1]]))
    (1.0, 3)
    """
    if not np.shape(ratio) == np.shape(surveyed) == np.shape(cluster):
        raise ValueError(
            f"ratio, surveyed and cluster have shapes {np.shape(ratio)}, {np.shape(surveyed)} and {np.shape(cluster)}; "
            "wanted one shape (y, x)"
        )
    agreeing, boundary = _boundary_agreement(
        np.asarray(ratio, dtype=np.float64),
        np.asarray(surveyed, dtype=np.int64),
        np.asarray(cluster, dtype=np.int64),
        radius,
    )
    return (agreeing / boundary if boundary else float("nan")), int(boundary)
