"""Agreement of a map with what was observed: counts, rates, kappa and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, nan, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else nan


def _normal_quantile(confidence: float) -> float:
    """Return the two-sided standard normal quantile, 1.96 for 0.95."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; wanted a share between 0 and 1, such as 0.95")
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion; (NaN, NaN) without trials.

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Examples
    --------
    >>> [round(end, 3) for end in wilson_interval(92, 109)]
    [0.764, 0.9]
    """
    z = _normal_quantile(confidence)
    if trials == 0:
        return nan, nan
    p = successes / trials
    centre = p + z * z / (2 * trials)
    half = z * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True)
class BinaryCounts:
    """Counts of a two-class comparison; rows are the observation, permafrost is the positive class.

    Every measure is NaN where its denominator is 0.

    Examples
    --------
    >>> counted = BinaryCounts(tp=74, fn=9, fp=8, tn=18)
    >>> counted.n, round(counted.overall_accuracy, 4), round(counted.kappa, 4)
    (109, 0.844, 0.5763)
    >>> [round(end, 2) for end in counted.kappa_interval()]
    [0.4, 0.76]
    """

    tp: int
    """Observed permafrost, mapped permafrost."""
    fn: int
    """Observed permafrost, mapped otherwise."""
    fp: int
    """Observed otherwise, mapped permafrost."""
    tn: int
    """Observed otherwise, mapped otherwise."""

    @property
    def n(self) -> int:
        """Everything compared."""
        return self.tp + self.fn + self.fp + self.tn

    @property
    def overall_accuracy(self) -> float:
        """Share on which the map and the observation agree."""
        return _ratio(self.tp + self.tn, self.n)

    @property
    def true_positive_rate(self) -> float:
        """Share of observed permafrost that is mapped so (sensitivity)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def true_negative_rate(self) -> float:
        """Share of the rest that is mapped so (specificity)."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def false_negative_rate(self) -> float:
        """Share of observed permafrost that the map misses."""
        return _ratio(self.fn, self.tp + self.fn)

    @property
    def false_positive_rate(self) -> float:
        """Share of the rest that the map calls permafrost."""
        return _ratio(self.fp, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """Share of mapped permafrost that is observed so (user's accuracy)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def negative_predictive_value(self) -> float:
        """Share of what is mapped otherwise that is observed so."""
        return _ratio(self.tn, self.tn + self.fn)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity: 0.5 for a map that says one thing everywhere."""
        return (self.true_positive_rate + self.true_negative_rate) / 2

    @property
    def mcc(self) -> float:
        """Matthews correlation coefficient (Matthews 1975, doi:10.1016/0005-2795(75)90109-9)."""
        p, q = self.tp + self.fn, self.fp + self.tn
        mapped_p, mapped_q = self.tp + self.fp, self.fn + self.tn
        return _ratio(self.tp * self.tn - self.fp * self.fn, sqrt(p * q * mapped_p * mapped_q))

    @property
    def chance_agreement(self) -> float:
        """Agreement expected of two independent maps with these margins."""
        p, q = self.tp + self.fn, self.fp + self.tn
        mapped_p, mapped_q = self.tp + self.fp, self.fn + self.tn
        return _ratio(p * mapped_p + q * mapped_q, self.n * self.n)

    @property
    def kappa(self) -> float:
        """Agreement beyond chance, (po - pe) / (1 - pe) (Cohen 1960, doi:10.1177/001316446002000104)."""
        pe = self.chance_agreement
        return _ratio(self.overall_accuracy - pe, 1 - pe)

    @property
    def kappa_variance(self) -> float:
        """Large-sample variance of kappa (Fleiss, Cohen and Everitt 1969, doi:10.1037/h0028106, Eq. 13)."""
        if self.n == 0:
            return nan
        table = np.array([[self.tp, self.fn], [self.fp, self.tn]], dtype=np.float64) / self.n
        rows, columns = table.sum(axis=1), table.sum(axis=0)
        po, pe = float(np.trace(table)), float(rows @ columns)
        weights = -(1 - po) * (columns[:, None] + rows[None, :])  # p.i + pj. of cell (i, j)
        weights[np.diag_indices(2)] += 1 - pe
        spread = float((table * weights**2).sum()) - (po * pe - 2 * pe + po) ** 2
        return _ratio(max(spread, 0.0), self.n * (1 - pe) ** 4)

    def kappa_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return kappa's large-sample interval, cut at -1 and 1."""
        half = _normal_quantile(confidence) * sqrt(self.kappa_variance)
        if self.kappa != self.kappa or half != half:
            return nan, nan
        return max(-1.0, self.kappa - half), min(1.0, self.kappa + half)

    def accuracy_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the Wilson interval of the overall accuracy."""
        return wilson_interval(self.tp + self.tn, self.n, confidence)


def counts(observed: NDArray[np.bool_], mapped: NDArray[np.bool_]) -> BinaryCounts:
    """Return the counts of two boolean arrays of one shape, True being permafrost.

    Missing values have no place in a boolean: leave them out before, by one mask for both.

    Examples
    --------
    >>> counts(np.array([True, True, False]), np.array([True, False, False]))
    BinaryCounts(tp=1, fn=1, fp=0, tn=1)
    """
    seen, drawn = np.asarray(observed), np.asarray(mapped)
    if seen.dtype != np.bool_ or drawn.dtype != np.bool_:
        raise ValueError(
            f"counts compares booleans, found {seen.dtype} and {drawn.dtype}; compare with a class first: map == 1"
        )
    if seen.shape != drawn.shape:
        raise ValueError(f"observed has shape {seen.shape}, mapped {drawn.shape}; wanted one shape")
    tp = int(np.count_nonzero(seen & drawn))
    positive, mapped_positive = int(np.count_nonzero(seen)), int(np.count_nonzero(drawn))
    fn, fp = positive - tp, mapped_positive - tp
    return BinaryCounts(tp=tp, fn=fn, fp=fp, tn=seen.size - tp - fn - fp)


def class_kappa(a: NDArray[Any], b: NDArray[Any], classes: Sequence[int]) -> float:
    """Return Cohen's kappa of two maps over several classes.

    Parameters
    ----------
    a, b : integer arrays of one shape
        Class codes. A pixel counts where both maps have one of `classes`; any other code is missing.
    classes : sequence of int
        The codes to compare.

    Returns
    -------
    float
        1 for equal maps, 0 for agreement by chance; NaN where no pixel counts or both maps hold one and the same class.

    References
    ----------
    Cohen 1960, doi:10.1177/001316446002000104.

    Examples
    --------
    >>> round(class_kappa(np.array([1, 1, 2, 3, 255]), np.array([1, 2, 2, 3, 1]), [1, 2, 3]), 4)
    0.6364
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape:
        raise ValueError(f"the maps have shapes {first.shape} and {second.shape}; wanted one shape")
    table = np.array(
        [[np.count_nonzero((first == row) & (second == column)) for column in classes] for row in classes],
        dtype=np.float64,
    ).reshape(len(classes), len(classes))
    return table_kappa(table)


def table_kappa(table: NDArray[np.float64]) -> float:
    """Return Cohen's kappa of a square table of counts or of areas, a class of one map along each row.

    NaN where the table is empty or has one and the same class alone.

    Examples
    --------
    >>> round(table_kappa(np.array([[74.0, 9.0], [8.0, 18.0]])), 4)
    0.5763
    >>> round(table_kappa(np.array([[7.4, 0.9], [0.8, 1.8]])), 4)
    0.5763
    """
    n, filled = float(table.sum()), np.count_nonzero(table)
    if n == 0 or (filled == 1 and np.trace(table) > 0):  # areas may leave 1 - pe a rounding error away from 0
        return nan
    po = float(np.trace(table)) / n
    pe = float(table.sum(axis=1) @ table.sum(axis=0)) / n**2
    return _ratio(po - pe, 1 - pe)


@dataclass(frozen=True)
class McNemar:
    """Whether one map is right where another is wrong more often than chance has it."""

    first_only: int
    """Sites where the first map alone is right."""
    second_only: int
    """Sites where the second map alone is right."""

    @property
    def p(self) -> float:
        """Two-sided p-value, exact: the sites where one map alone is right are tosses of a coin. 1 without any."""
        return min(1.0, 2 * self._tail())

    @property
    def mid_p(self) -> float:
        """The same, counting half of what was found itself: closer to its nominal rate, which the exact one is below.

        References
        ----------
        Fagerland, Lydersen and Laake 2013, doi:10.1186/1471-2288-13-91.
        """
        n = self.first_only + self.second_only
        if self.first_only == self.second_only:
            return 1.0 - comb(n, n // 2) / (1 << n) / 2 if n else 1.0
        return 2 * self._tail() - comb(n, self.first_only) / (1 << n)

    def _tail(self) -> float:
        n, least = self.first_only + self.second_only, min(self.first_only, self.second_only)
        return sum(comb(n, k) for k in range(least + 1)) / (1 << n)


def mcnemar(observed: NDArray[np.bool_], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Return how often each of two maps alone is right; True is permafrost.

    References
    ----------
    McNemar 1947, doi:10.1007/BF02295996.

    Examples
    --------
    >>> seen = np.array([True, True, True, False, False])
    >>> found = mcnemar(seen, seen, np.array([False, False, True, False, True]))
    >>> found, found.p
    (McNemar(first_only=3, second_only=0), 0.25)
    """
    a, b = np.asarray(first) == np.asarray(observed), np.asarray(second) == np.asarray(observed)
    return McNemar(int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a)))
