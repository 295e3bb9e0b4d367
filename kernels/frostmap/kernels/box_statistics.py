"""What a box plot shows of a sample, and by how much one sample lies above another."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHISKER = 1.5
"""Whiskers reach at most so many interquartile ranges beyond the box."""


@dataclass(frozen=True)
class Box:
    """A sample in a few numbers, in its own unit; NaN of an empty one."""

    n: int
    mean: float
    low: float
    """End of the lower whisker: the least value within 1.5 interquartile ranges of the box."""
    q1: float
    median: float
    q3: float
    high: float
    """End of the upper whisker."""
    outside: int
    """Values beyond the whiskers."""


def box(values: NDArray[Any]) -> Box:
    """Return the box of a sample: quartiles by linear interpolation (type 7), whiskers as Tukey drew them.

    Parameters
    ----------
    values : any shape
        NaN is left out.

    References
    ----------
    Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566, definition 7.

    Examples
    --------
    >>> box(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    Box(n=5, mean=22.0, low=1.0, q1=2.0, median=3.0, q3=4.0, high=4.0, outside=1)
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    sample = sample[~np.isnan(sample)]
    if sample.size == 0:
        return Box(0, nan, nan, nan, nan, nan, nan, 0)
    q1, median, q3 = (float(q) for q in np.quantile(sample, (0.25, 0.5, 0.75)))
    reach = WHISKER * (q3 - q1)
    within = sample[(sample >= q1 - reach) & (sample <= q3 + reach)]
    low, high = min(float(within.min()), q1), max(float(within.max()), q3)  # a box of two values has none inside it
    return Box(sample.size, float(sample.mean()), low, q1, median, q3, high, int(sample.size - within.size))


def cliffs_delta(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return P(a > b) - P(a < b) for a value of each sample: 1 if all of `a` is larger, 0 if neither tends to be.

    Parameters
    ----------
    a, b : any shapes
        NaN is left out.

    Returns
    -------
    float
        Exact, ties counting for neither; NaN where a sample is empty.

    References
    ----------
    Cliff 1993, doi:10.1037/0033-2909.114.3.494.

    Examples
    --------
    >>> cliffs_delta(np.array([3.0, 4.0]), np.array([1.0, 3.0]))
    0.75
    """
    first, second = (np.asarray(part, dtype=np.float64).ravel() for part in (a, b))
    first, second = first[~np.isnan(first)], np.sort(second[~np.isnan(second)])
    if not first.size or not second.size:
        return nan
    below = int(np.searchsorted(second, first, side="left").sum())
    above = first.size * second.size - int(np.searchsorted(second, first, side="right").sum())
    return (below - above) / (first.size * second.size)


def cliffs_interval(a: NDArray[Any], b: NDArray[Any], confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of an interval of `cliffs_delta`, for two samples of independent values.

    From the consistent estimate of the variance, and asymmetric, so that it stays within -1 and 1.

    Parameters
    ----------
    a, b : any shapes
        NaN is left out. Neighbouring pixels are not independent: thin them out first.
    confidence : float
        Of the interval.

    Returns
    -------
    tuple of float
        NaN where a sample has fewer than two values. Samples that do not overlap have the end that the smaller of them
        allows, by the rule of three: a share of 0 in n cases is below 3 / n.

    References
    ----------
    Cliff 1993, doi:10.1037/0033-2909.114.3.494 (variance); Feng and Cliff 2004, Journal of Modern Applied
    Statistical Methods 3 (asymmetric interval).

    Examples
    --------
    >>> low, high = cliffs_interval(np.arange(10.0) + 3.0, np.arange(10.0))
    >>> round(low, 2), round(high, 2)
    (0.03, 0.8)
    """
    first, second = (np.asarray(part, dtype=np.float64).ravel() for part in (a, b))
    first, second = np.sort(first[~np.isnan(first)]), np.sort(second[~np.isnan(second)])
    n, m = first.size, second.size
    if n < 2 or m < 2:
        return nan, nan
    delta = cliffs_delta(first, second)
    least = max(-1.0, 1.0 - 2.0 * 3.0 / min(n, m))
    if abs(delta) == 1.0:
        return (least, 1.0) if delta > 0 else (-1.0, -least)
    of_first = (_below(second, first) - _above(second, first)) / m  # of each a: P(a > b) - P(a < b)
    of_second = (_above(first, second) - _below(first, second)) / n
    ties = m - _below(second, first) - _above(second, first)
    squares = 1.0 - float(ties.sum()) / (n * m) - delta**2  # of the n m signs about delta, their mean square
    variance = m**2 * ((of_first - delta) ** 2).sum() + n**2 * ((of_second - delta) ** 2).sum() - n * m * squares
    variance = max(float(variance) / (n * m * (n - 1) * (m - 1)), (1.0 - delta**2) / (n * m - 1))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    reach = z * sqrt(variance) * sqrt((1.0 - delta**2) ** 2 + z**2 * variance)
    below = 1.0 - delta**2 + z**2 * variance
    return (delta - delta**3 - reach) / below, (delta - delta**3 + reach) / below


def _below(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many of an ordered sample lie below each value."""
    return np.searchsorted(ordered, values, side="left").astype(np.float64)


def _above(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return ordered.size - np.searchsorted(ordered, values, side="right").astype(np.float64)
