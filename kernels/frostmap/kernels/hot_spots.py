"""Where blocks with high values lie together more than chance would have it."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled


@compiled
def _neighbour_sums(values: NDArray[np.float64], reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = values.shape
    sums, counts = np.zeros((rows, columns)), np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            for y in range(max(i - reach, 0), min(i + reach + 1, rows)):
                for x in range(max(j - reach, 0), min(j + reach + 1, columns)):
                    if not np.isnan(values[y, x]):
                        sums[i, j] += values[y, x]
                        counts[i, j] += 1.0
    return sums, counts


def getis_ord(values: NDArray[np.float64], reach: int = 1) -> NDArray[np.float64]:
    """Return Gi* of each block: how far the sum around it is above what chance makes of it, in standard deviations.

    Gi* = (sum of x around i - m mean(x)) / (S sqrt((n m - m²) / (n - 1))), for n blocks of which m lie around block i,
    itself among them, each of weight 1; S² = mean(x²) - mean(x)².

    Parameters
    ----------
    values : (y, x) float64
        Value of each block; NaN where there is none, which counts for no other block either.
    reach : int
        Blocks lie around one another that are at most so many rows and columns apart.

    Returns
    -------
    (y, x) float64
        Standard normal where values are put down at random. NaN where the value is, where all values are alike, and
        where all blocks lie around.

    References
    ----------
    Ord and Getis 1995, doi:10.1111/j.1538-4632.1995.tb00912.x, Eq. 14 with weights of 0 and 1.

    Examples
    --------
    >>> values = np.zeros((5, 5))
    >>> values[0:2, 0:2] = 1.0
    >>> getis_ord(values)[0].round(2).tolist()
    [4.9, 3.8, 1.3, -1.2, -0.93]
    """
    table = np.ascontiguousarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"values have {table.ndim} dimensions; wanted blocks in rows and columns")
    known = table[~np.isnan(table)]
    n = known.size
    if n < 2 or np.ptp(known) == 0.0:
        return np.full(table.shape, np.nan)
    centre = known.mean()  # sums of departures: nothing large is subtracted from something large
    spread = sqrt(float(np.mean((known - centre) ** 2)))
    sums, m = _neighbour_sums(table - centre, reach)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = sums / (spread * np.sqrt((n * m - m**2) / (n - 1)))
    return np.where(np.isnan(table) | (m == n), np.nan, score)


def normal_p(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two-sided p-values of standard normal scores; NaN where the score is.

    >>> normal_p(np.array([1.959964, 0.0, np.nan])).round(4).tolist()
    [0.05, 1.0, nan]
    """
    two_sided = np.vectorize(lambda score: erfc(abs(score) / sqrt(2.0)), otypes=[np.float64])
    p: NDArray[np.float64] = two_sided(np.asarray(scores, dtype=np.float64))
    return p


def false_discovery(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least share of false discoveries at which each test is a discovery (adjusted p-values).

    Parameters
    ----------
    p : any shape
        p-values; NaN is no test.

    Returns
    -------
    same shape
        At least p; NaN where p is.

    References
    ----------
    Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> false_discovery(np.array([0.01, 0.04, 0.03, np.nan, 0.5])).round(3).tolist()
    [0.04, 0.053, 0.053, nan, 0.5]
    """
    flat = np.asarray(p, dtype=np.float64).ravel()
    tests = np.flatnonzero(~np.isnan(flat))
    order = tests[np.argsort(-flat[tests], kind="stable")]  # the largest first
    rank = np.arange(order.size, 0, -1)
    adjusted = np.full(flat.size, np.nan)
    adjusted[order] = np.minimum.accumulate(flat[order] * order.size / rank)
    return adjusted.reshape(np.shape(p))
