"""Intervals of agreement for sites that come in groups: those of a region err together."""

from __future__ import annotations

from math import nan, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST_REGIONS = 3
"""With fewer there is no interval."""
TRUSTED_REGIONS = 10
"""With fewer an interval tells little: it rests on how unlike a handful of regions happen to be."""


class Interval(NamedTuple):
    """Ends of an interval; NaN where there is none."""

    low: float
    high: float


def measures(tables: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return measures of agreement of many confusion tables at once.

    Parameters
    ----------
    tables : (..., 4)
        Counts tp, fn, fp, tn, as in `agreement.BinaryCounts`.

    Returns
    -------
    dict of (...,) float64
        overall_accuracy, kappa, balanced_accuracy; NaN where a denominator is 0.

    Examples
    --------
    >>> {name: round(float(value), 4) for name, value in measures(np.array([74, 9, 8, 18])).items()}
    {'overall_accuracy': 0.844, 'kappa': 0.5763, 'balanced_accuracy': 0.7919}
    """
    tp, fn, fp, tn = np.moveaxis(np.asarray(tables, dtype=np.float64), -1, 0)
    n = tp + fn + fp + tn
    with np.errstate(divide="ignore", invalid="ignore"):
        po = (tp + tn) / n
        pe = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
        kappa = np.where(pe < 1, (po - pe) / (1 - pe), nan)
        balanced = (tp / (tp + fn) + tn / (fp + tn)) / 2
    return {"overall_accuracy": po, "kappa": kappa, "balanced_accuracy": balanced}


def region_intervals(
    tables: NDArray[Any], seed: int, draws: int = 4000, confidence: float = 0.95
) -> dict[str, Interval]:
    """Return intervals of agreement from drawing whole regions with replacement.

    Percentiles of the draws, at levels widened for the small number of regions: those of Student's t, with the variance
    of a sample of g in place of g - 1, so that with six regions the interval is some 40 % wider than plain percentiles.

    Parameters
    ----------
    tables : (regions, 4)
        Counts tp, fn, fp, tn of each region.
    seed : int
        Of the draws.
    draws : int
        How often regions are drawn.
    confidence : float
        Of the interval.

    Returns
    -------
    dict of Interval
        For each of `measures`; NaN with fewer than three regions. Draws in which a measure is not defined are left out.

    References
    ----------
    Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x (drawing groups); Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789, section 5.3 (widened percentiles).

    Examples
    --------
    >>> regions = np.array([[20, 2, 3, 9], [30, 4, 2, 5], [24, 3, 3, 4]])
    >>> [round(end, 2) for end in region_intervals(regions, seed=1)["overall_accuracy"]]
    [0.82, 0.85]
    """
    counts = np.asarray(tables, dtype=np.int64)
    regions = len(counts)
    if regions < FEWEST_REGIONS:
        return {name: Interval(nan, nan) for name in measures(np.zeros(4))}
    rng = np.random.default_rng(seed)
    times = rng.multinomial(regions, np.full(regions, 1 / regions), size=draws)  # how often each region is drawn
    tail = _widened_tail(regions, confidence)
    found = {}
    for name, values in measures(times @ counts).items():
        kept = values[~np.isnan(values)]
        ends = np.quantile(kept, (tail, 1 - tail)) if kept.size else (nan, nan)
        found[name] = Interval(float(ends[0]), float(ends[1]))
    return found


def _widened_tail(groups: int, confidence: float) -> float:
    quantile = student_quantile(0.5 + confidence / 2, groups - 1)
    return NormalDist().cdf(-sqrt(groups / (groups - 1)) * quantile)


def student_quantile(probability: float, degrees: int) -> float:
    """Return a quantile of Student's t, by bisection of its distribution.

    Examples
    --------
    >>> round(student_quantile(0.975, 5), 4), round(student_quantile(0.975, 1), 3)
    (2.5706, 12.706)
    """
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError(f"probability is {probability}, degrees are {degrees}; wanted 0.5 to below 1, and at least 1")
    low, high = 0.0, 1.0
    while _student(high, degrees) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _student(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _student(t: float, degrees: int) -> float:
    """Return P(T <= t) for t of at least 0 (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    theta = np.arctan2(t, sqrt(degrees))
    cosine, sine = float(np.cos(theta)), float(np.sin(theta))
    if degrees == 1:
        return 0.5 + float(theta) / np.pi
    odd = degrees % 2
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = 2 / np.pi * (float(theta) + sine * total) if odd else sine * total
    return float(0.5 + inside / 2)
