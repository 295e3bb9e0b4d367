"""E by small neural networks: several multilayer perceptrons of the same shape, each asked, their mean returned.

A network takes the standardised predictors of a pixel through two hidden layers with the Gaussian error linear unit,
GELU(x) = x Φ(x), to one number f. Where E is bounded it is lower + (upper - lower) / (1 + exp(-f)), else it is
ln(1 + exp(f)). How networks are trained is none of this module's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

BLOCK = 4096
"""Pixels that go through the networks together."""

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Network:
    """Networks of one shape as plain arrays, float32."""

    means: Array
    """(predictors,): what is taken off each predictor."""
    scales: Array
    """(predictors,): what each predictor is then divided by."""
    first: Array
    """(members, predictors, hidden): weights into the first hidden layer."""
    first_bias: Array
    """(members, hidden)."""
    second: Array
    """(members, hidden, hidden): weights into the second."""
    second_bias: Array
    """(members, hidden)."""
    last: Array
    """(members, hidden): weights into f."""
    last_bias: Array
    """(members,)."""
    bounds: Array
    """(2,): the least and the greatest E; (0, infinity) where nothing but E > 0 is asked for."""

    @property
    def members(self) -> int:
        """Number of networks."""
        return len(self.last)

    def faults(self, predictors: int) -> list[str]:
        """Return what makes this no network of so many predictors; nothing where it is one."""
        n, hidden = len(np.atleast_1d(self.last_bias)), self.last.shape[-1] if self.last.ndim else 0
        wanted = {
            "means": (predictors,),
            "scales": (predictors,),
            "first": (n, predictors, hidden),
            "first_bias": (n, hidden),
            "second": (n, hidden, hidden),
            "second_bias": (n, hidden),
            "last": (n, hidden),
            "last_bias": (n,),
            "bounds": (2,),
        }
        found = [
            f"{name} is {getattr(self, name).dtype} of shape {getattr(self, name).shape}; wanted float32 of {shape}"
            for name, shape in wanted.items()
            if getattr(self, name).shape != shape or getattr(self, name).dtype != np.float32
        ]
        if found:
            return found
        arrays = [each.name for each in fields(self) if each.name != "bounds"]
        found = [
            f"{name} has a value that is not finite" for name in arrays if not np.isfinite(getattr(self, name)).all()
        ]
        if n < 1 or hidden < 1:
            found.append("it has no member or no hidden layer")
        if not (self.scales > 0).all():
            found.append("a scale is not positive")
        lower, upper = self.bounds.tolist()
        if not (0 <= lower < upper and (upper < math.inf or lower == 0)):
            found.append(f"bounds are {lower}, {upper}")
        return found


@compiled
def _gelu(x: Any) -> None:
    """Replace (pixels, hidden) by its GELU."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            value = np.float64(x[i, j])
            x[i, j] = value * 0.5 * (1.0 + math.erf(value * 0.7071067811865476))


def outputs(network: Network, member: int, standardised: Array) -> Array:
    """Return f of one network.

    Parameters
    ----------
    network, member
        Which.
    standardised : (pixels, predictors) float32
        Predictors less their means, over their scales; NaN gives NaN.

    Returns
    -------
    (pixels,) float32
    """
    hidden = standardised @ network.first[member] + network.first_bias[member]
    _gelu(hidden)
    hidden = hidden @ network.second[member] + network.second_bias[member]
    _gelu(hidden)
    found: Array = hidden @ network.last[member] + network.last_bias[member]
    return found


def bounded(f: NDArray[Any], lower: float, upper: float) -> NDArray[np.float64]:
    """Return E of a network's f: within the bounds, or ln(1 + exp(f)) where the upper one is infinite.

    >>> bounded(np.array([0.0, 800.0, -800.0]), 0.5, 1.5).tolist()
    [1.0, 1.5, 0.5]
    >>> bounded(np.array([0.0, 800.0]), 0.0, math.inf).round(4).tolist()
    [0.6931, 800.0]
    """
    x = np.asarray(f, np.float64)
    if math.isinf(upper):
        return np.logaddexp(0.0, x)
    small = np.exp(-np.abs(x))
    return lower + (upper - lower) * np.where(x >= 0, 1.0, small) / (1.0 + small)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What networks say of pixels."""

    e: Array
    """(pixels,): mean of the members' E; NaN where a predictor is missing."""
    spread: Array
    """(pixels,): standard deviation among the members, 0 where there is one; NaN as `e`."""


def predict(network: Network, values: NDArray[np.floating]) -> Prediction:
    """Return E of pixels.

    Parameters
    ----------
    network
        Without `faults`.
    values : (predictors, pixels)
        In the predictors' own units; NaN where one is missing.

    Raises
    ------
    ValueError
        The predictors are not as many as the network's.
    """
    if values.ndim != 2 or len(values) != len(network.means):
        raise ValueError(f"values have shape {values.shape}; wanted ({len(network.means)}, pixels)")
    pixels = values.shape[1]
    e, spread = np.full(pixels, np.nan, np.float32), np.full(pixels, np.nan, np.float32)
    lower, upper = network.bounds.tolist()
    for start in range(0, pixels, BLOCK):
        block = np.ascontiguousarray(values[:, start : start + BLOCK].T, dtype=np.float32)
        there = np.flatnonzero(np.isfinite(block).all(axis=1))
        if not there.size:
            continue
        standardised = (block[there] - network.means) / network.scales
        each = [bounded(outputs(network, member, standardised), lower, upper) for member in range(network.members)]
        e[start + there] = np.mean(each, axis=0)
        spread[start + there] = np.std(each, axis=0)
    return Prediction(e, spread)
