"""Sums of radial basis functions: what a support vector regression predicts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled


def radial_basis(
    values: NDArray[np.float64],
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    gamma: float,
    intercept: float,
) -> NDArray[np.float32]:
    r"""Return a weighted sum of Gaussian bumps at each place.

    .. math:: f(x) = b + \sum_k w_k \exp(-\gamma \lVert x - c_k \rVert^2)

    Parameters
    ----------
    values : (n, p) float64
        Places, standardised as the centres are.
    centres : (k, p) float64
        Support vectors.
    weights : (k,) float64
        Of each.
    gamma : float
        Of all, positive.
    intercept : float
        b.

    Returns
    -------
    (n,) float32
        NaN where a value is NaN.

    Raises
    ------
    ValueError
        The shapes do not belong together.

    Examples
    --------
    >>> places = np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> radial_basis(places, np.zeros((1, 2)), np.array([2.0]), 0.5, 1.0).round(4).tolist()
    [3.0, 2.213099956512451]
    """
    if values.ndim != 2 or centres.shape != (len(weights), values.shape[1]):
        raise ValueError(
            f"places {values.shape}, centres {centres.shape}, weights {weights.shape}; wanted (n, p), (k, p), (k,)"
        )
    found: NDArray[np.float32] = _radial_basis(
        np.ascontiguousarray(values, np.float64),
        np.ascontiguousarray(centres, np.float64),
        np.ascontiguousarray(weights, np.float64),
        float(gamma),
        float(intercept),
    )
    return found


@compiled
def _radial_basis(
    values: NDArray[np.float64],
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    gamma: float,
    intercept: float,
) -> NDArray[np.float32]:
    places, width = values.shape
    found = np.empty(places, np.float32)
    for i in range(places):
        known = True
        for j in range(width):
            if np.isnan(values[i, j]):
                known = False
        if not known:
            found[i] = np.float32(np.nan)
            continue
        total = intercept
        for k in range(len(weights)):
            distance = 0.0
            for j in range(width):
                off = values[i, j] - centres[k, j]
                distance += off * off
            total += weights[k] * math.exp(-gamma * distance)
        found[i] = total
    return found
