"""Harmonic series through the upper edge of a year's temperatures, where cloud makes observations too cold."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.annual_cycle import (
    SMALLEST_PIVOT,
    SMALLEST_SPREAD,
    median_of_first,
    solve_normal_equations,
)
from frostmap.kernels.compiled import compiled

_MAD = 1.4826  # median absolute deviation to standard deviation of a normal distribution
_SMALLEST_PIVOT = 1e-9  # of the damped normal equations, per observation
_ONE_LESS = 1.0 - 1e-9
_GROUP = 16  # pixels copied at a time: one cache line of float32


def fit_harmonic_series(
    temperature: NDArray[np.float32],
    basis: NDArray[np.float64],
    tolerance: float = 5.0,
    fewest: int = 15,
    side: Literal["low", "both"] = "low",
    damping: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.float32]]:
    r"""Fit a harmonic series to each pixel's temperatures, dropping those too far below it one after the other.

    .. math:: \min_a \sum_{t \in K} \big(T_t - \sum_i a_i f_i(t)\big)^2 + \delta \sum_{i > 0} a_i^2

    K are the observations that are kept: at first all; then, after each fit, those that lie further below the curve
    than the tolerance, and further than half of the farthest, are dropped, until none lies below it by more than the
    tolerance or the fewest are left.

    Parameters
    ----------
    temperature : (time, y, x)
        Surface temperature [°C] of one overpass, one slice a day, as a rule of one year. NaN is missing.
    basis : (time, functions)
        The functions f of the days, the first of them 1 throughout; see `annual_cycle.harmonic_basis`. Three harmonics
        are usual.
    tolerance : float
        How far below the curve an observation may lie [K].
    fewest : int
        Observations that are kept at least; pixels with fewer are not fitted. At least one a function, and some more.
    side : {"low", "both"}
        Whether observations far above the curve are dropped, too.
    damping : float
        Ridge :math:`\delta`, the same for all functions but the first, in observations: it keeps the curve from
        swinging where none is.

    Returns
    -------
    coefficients : (functions, y, x) float32
        [°C], for `annual_cycle.annual_cycle`; NaN where there are too few observations, or all in so short a season
        that they leave the curve open.
    kept : (y, x) int16
        Observations that are kept; where nothing was fitted, those that are valid.
    spread : (y, x) float32
        Robust standard deviation of the kept observations about the curve [K], 1.4826 times the median of their
        absolute residuals, at least `annual_cycle.SMALLEST_SPREAD`. NaN where nothing was fitted.

    Notes
    -----
    A pixel's result depends on its own series only. Loops run over pixels outermost, on a copy of each series.

    References
    ----------
    Harmonic analysis of time series (HANTS): Roerink, Menenti & Verhoef (2000), doi:10.1080/014311600209814

    Examples
    --------
    >>> import numpy as np
    >>> from frostmap.kernels.annual_cycle import harmonic_basis
    >>> basis = harmonic_basis(np.arange(365), 3)
    >>> truth = np.array([1.0, -12.0, -3.0, 0.5, 0.0, 0.0, 1.0])
    >>> series = (basis @ truth).astype(np.float32).reshape(365, 1, 1)
    >>> series[::5] -= 20.0  # cloud
    >>> coefficients, kept, _ = fit_harmonic_series(series, basis)
    >>> bool(np.abs(coefficients[:, 0, 0] - truth).max() < 0.05), int(kept[0, 0])
    (True, 292)
    """
    if temperature.ndim != 3 or temperature.dtype != np.float32:
        raise ValueError(
            f"temperature is {temperature.dtype} of shape {temperature.shape}; wanted float32 (time, y, x)"
        )
    days, height, width = temperature.shape
    if basis.ndim != 2 or basis.shape[0] != days:
        raise ValueError(f"basis has shape {basis.shape}; wanted ({days} days, functions)")
    functions = basis.shape[1]
    if fewest < functions:
        raise ValueError(f"fewest is {fewest}; {functions} functions need at least as many observations")
    if not tolerance > 0.0 or not damping >= 0.0:
        raise ValueError(f"tolerance is {tolerance} K and damping is {damping}; wanted more than 0, and 0 or more")
    if side not in ("low", "both"):
        raise ValueError(f"side is '{side}'; wanted 'low' or 'both'")
    coefficients, kept, spread = _fit_harmonic_series(
        np.ascontiguousarray(temperature).reshape(days, height * width),
        np.ascontiguousarray(basis, np.float64),
        tolerance,
        fewest,
        side == "both",
        damping,
    )
    shape = (height, width)
    return coefficients.reshape(functions, *shape), kept.reshape(shape), spread.reshape(shape)


@compiled(fastmath={"contract"})
def _fit_harmonic_series(
    temperature: NDArray[np.float32],
    basis: NDArray[np.float64],
    tolerance: float,
    fewest: int,
    both: bool,
    damping: float,
) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.float32]]:
    days, pixels = temperature.shape
    functions = basis.shape[1]
    coefficients = np.full((functions, pixels), np.float32(np.nan))
    kept = np.zeros(pixels, np.int16)
    spreads = np.full(pixels, np.float32(np.nan))

    series = np.empty((_GROUP, days))
    day = np.empty(days, np.int64)  # of the observations that are kept, in no order
    observed = np.empty(days)
    below = np.empty(days)
    matrix = np.empty(functions * (functions + 1) // 2)  # upper triangle, row by row
    right = np.empty(functions)
    factor = np.empty((functions, functions))
    solution = np.zeros(functions)

    for first in range(0, pixels, _GROUP):
        group = min(_GROUP, pixels - first)
        for t in range(days):
            for g in range(group):
                series[g, t] = temperature[t, first + g]
        for g in range(group):
            n = 0
            for t in range(days):
                value = series[g, t]
                if value == value:
                    day[n] = t
                    observed[n] = value
                    n += 1
            kept[first + g] = n
            if n < fewest:
                continue

            for k in range(matrix.size):
                matrix[k] = 0.0
            for i in range(functions):
                right[i] = 0.0
            for m in range(n):
                _add(matrix, right, basis[day[m]], observed[m], 1.0)
            if not solve_normal_equations(matrix, right, factor, solution, SMALLEST_PIVOT * n):
                continue
            k = 0
            for i in range(functions):
                if i > 0:
                    matrix[k] += damping
                k += functions - i

            # Where dropping leaves the curve open, which damping forbids, the curve before is the last.
            while solve_normal_equations(matrix, right, factor, solution, _SMALLEST_PIVOT * n):
                farthest = 0.0
                for m in range(n):
                    fitted = 0.0
                    for i in range(functions):
                        fitted += solution[i] * basis[day[m], i]
                    below[m] = abs(fitted - observed[m]) if both else fitted - observed[m]
                    farthest = max(farthest, below[m])
                if farthest <= tolerance or n == fewest:
                    break
                limit = max(tolerance, 0.5 * farthest)
                beyond = 0
                for m in range(n):
                    beyond += below[m] > limit
                if n - beyond < fewest:
                    limit = _ONE_LESS * farthest  # the end is near: one at a time
                m = 0
                while m < n:
                    if below[m] > limit and n > fewest:
                        _add(matrix, right, basis[day[m]], observed[m], -1.0)
                        n -= 1
                        day[m], observed[m], below[m] = day[n], observed[n], below[n]
                    else:
                        m += 1

            for m in range(n):
                fitted = 0.0
                for i in range(functions):
                    fitted += solution[i] * basis[day[m], i]
                below[m] = abs(fitted - observed[m])
            for i in range(functions):
                coefficients[i, first + g] = solution[i]
            kept[first + g] = n
            spreads[first + g] = max(SMALLEST_SPREAD, _MAD * median_of_first(below, n))
    return coefficients, kept, spreads


@compiled(fastmath={"contract"})
def _add(
    matrix: NDArray[np.float64],
    right: NDArray[np.float64],
    functions: NDArray[np.float64],
    observed: float,
    sign: float,
) -> None:
    """Add an observation to packed normal equations, or take it away."""
    k = 0
    for i in range(functions.size):
        value = sign * functions[i]
        right[i] += value * observed
        for j in range(i, functions.size):
            matrix[k] += value * functions[j]
            k += 1
