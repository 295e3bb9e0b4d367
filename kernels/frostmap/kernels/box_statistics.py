"""What a box plot shows of a sample, and by how much one sample lies above another."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
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
