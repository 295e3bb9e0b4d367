"""How far estimates are from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scores:
    """Differences, estimate minus truth, of all places where both are known."""

    n: int
    bias: float
    mae: float
    rmse: float
    r: float
    """Pearson's correlation of estimate and truth; NaN where either does not vary."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The numbers as a table shows them."""
        numbers = (f"{self.bias:+.2f}", f"{self.mae:.2f}", f"{self.rmse:.2f}", f"{self.r:.3f}")
        return (f"{self.n:,}", *(number.replace("nan", "-").replace("+-", "-") for number in numbers))


COLUMNS = ("n", "bias", "MAE", "RMSE", "r")
"""Headings of `Scores.cells`."""


def scores(estimate: Array, truth: Array, where: npt.NDArray[np.bool_] | None = None) -> Scores:
    """Return the scores of estimates.

    Parameters
    ----------
    estimate, truth
        Of one shape; NaN is missing.
    where
        What is judged; everything, if left out.

    Examples
    --------
    >>> scores(np.array([1.0, 2.0, np.nan]), np.array([1.0, 1.0, 1.0])).cells
    ('2', '+0.50', '0.50', '0.71', '-')
    """
    both = np.isfinite(estimate) & np.isfinite(truth)
    if where is not None:
        both &= where
    found, wanted = estimate[both].astype(np.float64), truth[both].astype(np.float64)
    if not found.size:
        return Scores(0, math.nan, math.nan, math.nan, math.nan)
    error = found - wanted
    varies = min(float(found.std()), float(wanted.std())) > 0.0
    r = float(np.corrcoef(found, wanted)[0, 1]) if varies else math.nan
    return Scores(found.size, float(error.mean()), float(np.abs(error).mean()), math.sqrt(float((error**2).mean())), r)


def share_within_sigma(
    estimate: Array, sigma: Array, truth: Array, where: npt.NDArray[np.bool_] | None = None
) -> tuple[int, float]:
    """Return how many errors were judged, and the share of them that is not larger than its standard error.

    Of errors that are normally distributed with the standard error that was told, it is 68 %.

    Examples
    --------
    >>> share_within_sigma(np.array([1.0, 2.0]), np.array([0.5, 1.5]), np.zeros(2))
    (2, 0.0)
    """
    error, told = np.abs(estimate.astype(np.float64) - truth), sigma.astype(np.float64)
    both = np.isfinite(error) & np.isfinite(told)
    if where is not None:
        both &= where
    n = int(both.sum())
    return n, float((error[both] <= told[both]).mean()) if n else math.nan
