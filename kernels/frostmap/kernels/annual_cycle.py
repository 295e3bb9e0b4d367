"""The annual cycle of surface temperature, fitted robustly to whatever days are clear."""

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

DAYS_PER_YEAR = 365.25
"""Period of the first harmonic [d]."""
HUBER = 1.345
"""Residual at which Huber weights start to fall, in robust standard deviations."""
SMALLEST_SPREAD = 0.1
"""Floor of the robust standard deviation of the residuals [K]."""
SMALLEST_PIVOT = 0.01
"""Smallest pivot of the normal equations, per observation: below it the observed seasons do not fix the cycle."""

_MAD = 1.4826  # median absolute deviation to standard deviation of a normal distribution
_ITERATIONS = 12
_SPREAD_ITERATIONS = 3  # afterwards the spread is held, and the weighted fits converge
_TOLERANCE = 0.005  # K
_GROUP = 16  # pixels copied at a time: one cache line of float32


def harmonic_basis(days: NDArray[np.integer | np.floating], harmonics: int = 2) -> NDArray[np.float64]:
    r"""Return the functions whose sum is an annual cycle.

    .. math:: 1,\ \cos \omega t,\ \sin \omega t,\ \cos 2 \omega t,\ \sin 2 \omega t, \dots
        \qquad \omega = 2 \pi / 365.25\,\mathrm{d}

    Parameters
    ----------
    days : (time,)
        Days since a fixed epoch, counted on through the years [d].
    harmonics : int
        Number of cosine and sine pairs.

    Returns
    -------
    (time, 1 + 2 harmonics) float64
        One column a function.

    Examples
    --------
    >>> import numpy as np
    >>> harmonic_basis(np.array([0.0, 365.25 / 4.0])).round(12) + 0.0
    array([[ 1.,  1.,  0.,  1.,  0.],
           [ 1.,  0.,  1., -1.,  0.]])
    """
    if harmonics < 0:
        raise ValueError(f"harmonics is {harmonics}; wanted 0 or more")
    basis = np.ones((days.size, 1 + 2 * harmonics))
    angle = 2.0 * np.pi / DAYS_PER_YEAR * np.asarray(days, np.float64)
    for k in range(1, harmonics + 1):
        basis[:, 2 * k - 1] = np.cos(k * angle)
        basis[:, 2 * k] = np.sin(k * angle)
    return basis


def fit_annual_cycle(
    temperature: NDArray[np.float32], basis: NDArray[np.float64], minimum_observations: int = 30
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    r"""Fit an annual cycle to each pixel's series, with little say for outliers such as unseen cloud.

    .. math:: T = a_0 + \sum_k (a_k \cos k \omega t + b_k \sin k \omega t)

    by least squares reweighted with Huber's :math:`w = \min(1, 1.345\, s / |r|)`, where :math:`s` is 1.4826 times the
    median of the absolute residuals :math:`|r|`.

    Parameters
    ----------
    temperature : (time, y, x)
        Surface temperature [°C] of one overpass, one slice a day. NaN is missing.
    basis : (time, functions)
        See `harmonic_basis`.
    minimum_observations : int
        Fewest valid observations that are fitted.

    Returns
    -------
    coefficients : (functions, y, x) float32
        [°C]; NaN where there are too few observations, or all in so short a season that they leave the cycle open.
    observations : (y, x) int16
        Valid observations.

    See Also
    --------
    fit_annual_cycle_and_spread : also returns how far observations are from the cycle.

    Notes
    -----
    A pixel's result depends on its own series only. Loops run over pixels outermost, on a copy of each series.

    References
    ----------
    Huber (1964), doi:10.1214/aoms/1177703732; annual cycle parameters: Bechtel (2015), doi:10.3390/rs70302850

    Examples
    --------
    >>> import numpy as np
    >>> basis = harmonic_basis(np.arange(365))
    >>> series = (basis @ [1.0, -12.0, -3.0, 0.5, 0.0]).astype(np.float32).reshape(365, 1, 1)
    >>> coefficients, observations = fit_annual_cycle(series, basis)
    >>> np.abs(coefficients[:, 0, 0] - [1.0, -12.0, -3.0, 0.5, 0.0]).max() < 1e-4, int(observations[0, 0])
    (np.True_, 365)
    """
    coefficients, observations, _ = fit_annual_cycle_and_spread(temperature, basis, minimum_observations)
    return coefficients, observations


def fit_annual_cycle_and_spread(
    temperature: NDArray[np.float32], basis: NDArray[np.float64], minimum_observations: int = 30
) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.float32]]:
    """Fit an annual cycle as `fit_annual_cycle` does, and say how far observations are from it.

    Parameters
    ----------
    temperature, basis, minimum_observations
        See `fit_annual_cycle`.

    Returns
    -------
    coefficients : (functions, y, x) float32
        See `fit_annual_cycle` [°C].
    observations : (y, x) int16
        Valid observations.
    spread : (y, x) float32
        Robust standard deviation of the residuals [K], the s of Huber's weights: 1.4826 times the median of the
        absolute residuals of the third fit, at the latest, and at least `SMALLEST_SPREAD`. NaN where nothing was
        fitted.

    Examples
    --------
    >>> import numpy as np
    >>> basis = harmonic_basis(np.arange(365))
    >>> noise = np.random.default_rng(0).normal(0.0, 3.0, 365)
    >>> series = (basis @ [1.0, -12.0, -3.0, 0.5, 0.0] + noise).astype(np.float32).reshape(365, 1, 1)
    >>> bool(abs(fit_annual_cycle_and_spread(series, basis)[2][0, 0] - 3.0) < 0.4)
    True
    """
    if temperature.ndim != 3 or temperature.dtype != np.float32:
        raise ValueError(
            f"temperature is {temperature.dtype} of shape {temperature.shape}; wanted float32 (time, y, x)"
        )
    days, height, width = temperature.shape
    if basis.ndim != 2 or basis.shape[0] != days:
        raise ValueError(f"basis has shape {basis.shape}; wanted ({days} days, functions)")
    functions = basis.shape[1]
    if minimum_observations < functions:
        raise ValueError(f"minimum_observations is {minimum_observations}; {functions} functions need at least as many")
    coefficients, observations, spread = _fit_annual_cycle(
        np.ascontiguousarray(temperature).reshape(days, height * width),
        np.ascontiguousarray(basis, np.float64),
        minimum_observations,
    )
    shape = (height, width)
    return coefficients.reshape(functions, *shape), observations.reshape(shape), spread.reshape(shape)


@compiled(fastmath={"contract"})
def _fit_annual_cycle(
    temperature: NDArray[np.float32], basis: NDArray[np.float64], minimum_observations: int
) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.float32]]:
    days, pixels = temperature.shape
    functions = basis.shape[1]
    coefficients = np.full((functions, pixels), np.float32(np.nan))
    observations = np.zeros(pixels, np.int16)
    spreads = np.full(pixels, np.float32(np.nan))

    # The upper triangle of each day's outer product, so that a normal matrix is one weighted sum of rows.
    entries = functions * (functions + 1) // 2
    products = np.empty((days, entries))
    for t in range(days):
        k = 0
        for i in range(functions):
            for j in range(i, functions):
                products[t, k] = basis[t, i] * basis[t, j]
                k += 1

    series = np.empty((_GROUP, days))
    day = np.empty(days, np.int64)
    observed = np.empty(days)
    residual = np.empty(days)
    ranked = np.empty(days)
    weight = np.empty(days)
    matrix = np.empty(entries)
    right = np.empty(functions)
    factor = np.empty((functions, functions))
    solution = np.zeros(functions)
    previous = np.zeros(functions)

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
                    weight[n] = 1.0
                    n += 1
            observations[first + g] = n
            if n < minimum_observations:
                continue

            solved = True
            spread = SMALLEST_SPREAD
            for iteration in range(_ITERATIONS):
                for k in range(entries):
                    matrix[k] = 0.0
                for i in range(functions):
                    right[i] = 0.0
                    previous[i] = solution[i]
                for m in range(n):
                    t, w = day[m], weight[m]
                    wT = w * observed[m]
                    for k in range(entries):
                        matrix[k] += w * products[t, k]
                    for i in range(functions):
                        right[i] += wT * basis[t, i]
                solved = solve_normal_equations(matrix, right, factor, solution, SMALLEST_PIVOT * n)
                if not solved:
                    break
                change = 0.0
                for i in range(functions):
                    change = max(change, abs(solution[i] - previous[i]))
                if iteration > 0 and change < _TOLERANCE:
                    break
                for m in range(n):
                    t = day[m]
                    fitted = 0.0
                    for i in range(functions):
                        fitted += solution[i] * basis[t, i]
                    residual[m] = abs(observed[m] - fitted)
                if iteration < _SPREAD_ITERATIONS:
                    for m in range(n):
                        ranked[m] = residual[m]
                    spread = max(SMALLEST_SPREAD, _MAD * median_of_first(ranked, n))
                cutoff = HUBER * spread
                for m in range(n):
                    weight[m] = 1.0 if residual[m] <= cutoff else cutoff / residual[m]
            if solved:
                for i in range(functions):
                    coefficients[i, first + g] = solution[i]
                spreads[first + g] = spread
    return coefficients, observations, spreads


@compiled
def median_of_first(values: NDArray[np.float64], n: int) -> float:
    """Return the median of the first n values, which it reorders; Hoare's selection, as np.median compiles slowly."""
    middle = n // 2
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    upper: float = values[middle]
    if n % 2 == 1:
        return upper
    lower: float = values[0]
    for m in range(1, middle):
        lower = max(lower, values[m])
    return 0.5 * (lower + upper)


@compiled(fastmath={"contract"})
def solve_normal_equations(
    matrix: NDArray[np.float64],
    right: NDArray[np.float64],
    factor: NDArray[np.float64],
    solution: NDArray[np.float64],
    smallest_pivot: float,
) -> bool:
    """Solve normal equations, packed upper triangle, by Cholesky's method; False where a pivot is too small."""
    functions = right.size
    k = 0
    for i in range(functions):
        for j in range(i, functions):
            entry = matrix[k]
            k += 1
            for m in range(i):
                entry -= factor[m, i] * factor[m, j]
            if i == j:
                if not entry > smallest_pivot:
                    return False
                factor[i, i] = np.sqrt(entry)
            else:
                factor[i, j] = entry / factor[i, i]
    for i in range(functions):
        entry = right[i]
        for m in range(i):
            entry -= factor[m, i] * solution[m]
        solution[i] = entry / factor[i, i]
    for i in range(functions - 1, -1, -1):
        entry = solution[i]
        for m in range(i + 1, functions):
            entry -= factor[i, m] * solution[m]
        solution[i] = entry / factor[i, i]
    return True


def annual_cycle(coefficients: NDArray[np.float32], basis: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the temperature of the fitted annual cycle, the sum of coefficients times functions.

    Parameters
    ----------
    coefficients : (functions, y, x)
        From `fit_annual_cycle` [°C].
    basis : (time, functions)
        See `harmonic_basis`; any days, fitted or not.

    Returns
    -------
    (time, y, x) float32
        Surface temperature [°C]; NaN where the coefficients are.

    Examples
    --------
    >>> import numpy as np
    >>> coefficients = np.array([1.0, -12.0, 0.0, 0.0, 0.0], np.float32).reshape(5, 1, 1)
    >>> annual_cycle(coefficients, harmonic_basis(np.array([0.0, 182.625])))[:, 0, 0].tolist()
    [-11.0, 13.0]
    """
    if coefficients.ndim != 3 or basis.ndim != 2 or coefficients.shape[0] != basis.shape[1]:
        raise ValueError(
            f"coefficients have shape {coefficients.shape} and the basis {basis.shape}; "
            "wanted (functions, y, x) and (time, functions)"
        )
    functions, height, width = coefficients.shape
    flat = np.ascontiguousarray(coefficients, np.float32).reshape(functions, height * width)
    cycle: NDArray[np.float32] = _annual_cycle(flat, basis.astype(np.float32))
    return cycle.reshape(basis.shape[0], height, width)


@compiled(fastmath={"contract"})
def _annual_cycle(coefficients: NDArray[np.float32], basis: NDArray[np.float32]) -> NDArray[np.float32]:
    functions, pixels = coefficients.shape
    days = basis.shape[0]
    temperature = np.zeros((days, pixels), np.float32)
    for t in range(days):
        for k in range(functions):
            value = basis[t, k]
            for i in range(pixels):
                temperature[t, i] += value * coefficients[k, i]
    return temperature
