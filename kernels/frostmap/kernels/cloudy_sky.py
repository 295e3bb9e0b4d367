"""How much colder ground is in the shade of clouds than under a clear sky, learnt from what was seen in shade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

COLDEST, WARMEST = -25.0, 2.0
"""Range of the difference that shade is believed to make [K]."""
PENALTIES = tuple(float(10.0 ** (k / 4.0)) for k in range(-24, 9))
"""Ridge penalties that are tried, in variances of a standardised column."""


@dataclass(frozen=True)
class ShadingModel:
    """A sum of piecewise linear functions, one of each feature, that gives the difference shade makes.

    A feature x is standardised, z = (x - means) / scales, held within `lower` and `upper`, and adds the sum of
    `coefficients` times z, max(0, z - first knot) and max(0, z - second knot), less its average.
    """

    means: NDArray[np.float64]
    """(features,) mean of each feature in the pool."""
    scales: NDArray[np.float64]
    """(features,) standard deviation of each feature in the pool; 1 where it is constant."""
    lower: NDArray[np.float64]
    """(features,) lowest standardised value of the pool."""
    upper: NDArray[np.float64]
    """(features,) highest standardised value of the pool."""
    knots: NDArray[np.float64]
    """(features, 2) terciles of the standardised values of the pool."""
    coefficients: NDArray[np.float64]
    """(features, 3) slopes [K]: throughout, and what is added above each knot."""
    averages: NDArray[np.float64]
    """(features,) what a feature would add on the average of the pool [K]."""
    mean: float
    """Mean difference of the pool [K]."""
    residual_sd: float
    """Standard deviation of the pool's differences about the model [K], for as many parameters as it spends."""
    penalty: float
    """The ridge penalty that was chosen, in variances of a standardised column."""


def fit_shading(features: NDArray[np.floating], difference: NDArray[np.floating]) -> ShadingModel:
    r"""Fit the difference that shade makes to observations in shade.

    .. math:: \min_\beta \tfrac{1}{n} \lVert y - \bar y - Z \beta \rVert^2 + \lambda \lVert \beta \rVert^2

    where Z holds three standardised columns a feature: the feature, and its excess over each of the pool's terciles.
    Of the listed penalties :math:`\lambda` that with the least generalised cross-validation score
    :math:`\tfrac{1}{n} \mathrm{RSS} / (1 - t / n)^2` is taken, t being the parameters that the fit spends; penalties
    that spend more than half the observations are not considered, unless it is the highest of them.

    Parameters
    ----------
    features : (n, features)
        What the difference may depend on, in whatever units: clear-sky temperature, elevation, NDVI, sun, slope ...
        Observations with a NaN among them are left out. A constant feature does nothing.
    difference : (n,)
        Observed temperature in shade minus estimated temperature under clear sky [K]. NaN is left out.

    Returns
    -------
    ShadingModel

    Notes
    -----
    As in multivariate adaptive regression splines, of main effects only, but with knots at fixed quantiles and a ridge
    instead of a search, so that the same pool always gives the same model.

    References
    ----------
    Friedman (1991), doi:10.1214/aos/1176347963; Golub, Heath & Wahba (1979), doi:10.1080/00401706.1979.10489751

    Examples
    --------
    >>> import numpy as np
    >>> sun = np.linspace(0.0, 1.0, 50)
    >>> model = fit_shading(sun[:, None], -10.0 * sun)
    >>> shading(model, np.array([[0.5], [1.0], [np.nan]])).round(2)
    array([ -5., -10.,  -5.], dtype=float32)
    """
    if features.ndim != 2 or difference.shape != features.shape[:1]:
        raise ValueError(
            f"features have shape {features.shape} and difference {difference.shape}; wanted (n, features) and (n,)"
        )
    complete = np.isfinite(features).all(axis=1) & np.isfinite(difference)
    n = int(complete.sum())
    if n == 0:
        raise ValueError(f"of {difference.size} observations in shade none is complete; wanted 1 or more")
    # Features first, so that each column is contiguous.
    x, y = np.ascontiguousarray(features[complete].T, np.float64), difference[complete].astype(np.float64)

    means, scales = x.mean(axis=1), _deviations(x)
    z = (x - means[:, None]) / scales[:, None]
    knots = np.quantile(z, [1.0 / 3.0, 2.0 / 3.0], axis=1).T
    columns = np.concatenate([z[:, None], np.maximum(z[:, None] - knots[:, :, None], 0.0)], axis=1).reshape(-1, n)
    centres, widths = columns.mean(axis=1), _deviations(columns)
    columns -= centres[:, None]
    columns /= widths[:, None]

    mean = float(y.mean())
    y -= mean
    power, directions = np.linalg.eigh(columns @ columns.T / n)
    power = np.maximum(power, 0.0)
    moments = directions.T @ (columns @ y) / n
    penalty = np.array(PENALTIES)
    shrunk = power + penalty[:, None]
    spent = 1.0 + (power / shrunk).sum(axis=1)
    square = y @ y / n - (moments**2 * (shrunk + penalty[:, None]) / shrunk**2).sum(axis=1)
    square = np.maximum(square, 0.0)
    allowed = spent <= 0.5 * n
    allowed[-1] = True
    score = np.full(penalty.size, np.inf)
    score[allowed] = square[allowed] / np.maximum(1.0 - spent[allowed] / n, 1e-9) ** 2
    best = int(score.argmin())
    weights = (directions @ (moments / shrunk[best]) / widths).reshape(-1, 3)
    return ShadingModel(
        means=means,
        scales=scales,
        lower=z.min(axis=1),
        upper=z.max(axis=1),
        knots=knots,
        coefficients=weights,
        averages=(weights * centres.reshape(-1, 3)).sum(axis=1),
        mean=mean,
        residual_sd=float(np.sqrt(square[best] * n / max(n - spent[best], 1.0))),
        penalty=float(penalty[best]),
    )


def _deviations(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each row; 1 for rows that are constant but for rounding."""
    deviation = columns.std(axis=1)
    constant = deviation <= 1e-9 * np.abs(columns).max(axis=1)
    return np.where(constant, 1.0, deviation)


def shading(model: ShadingModel, features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the difference that shade makes.

    Parameters
    ----------
    model : ShadingModel
        From `fit_shading`.
    features : (n, features)
        As those of the fit, in the same order and units. Values beyond those of the pool count as its extremes; NaN
        adds nothing, as if the feature were what it is on average.

    Returns
    -------
    (n,) float32
        Temperature in shade minus that under clear sky [K], held within -25 and 2; never NaN.

    Examples
    --------
    >>> import numpy as np
    >>> model = fit_shading(np.zeros((3, 1)), np.array([-2.0, -3.0, -4.0]))
    >>> shading(model, np.array([[0.0], [7.0]]))
    array([-3., -3.], dtype=float32)
    """
    if features.ndim != 2 or features.shape[1] != model.means.size:
        raise ValueError(f"features have shape {features.shape}; wanted (n, {model.means.size})")
    parts = (model.means, 1.0 / model.scales, model.lower, model.upper, *model.knots.T, *model.coefficients.T)
    table = np.stack([*parts, model.averages], axis=1).astype(np.float32)
    difference: NDArray[np.float32] = _shading(
        np.ascontiguousarray(features, np.float32), table, np.float32(model.mean)
    )
    return difference


@compiled(fastmath={"contract"})
def _shading(features: NDArray[np.float32], table: NDArray[np.float32], mean: np.float32) -> NDArray[np.float32]:
    n, width = features.shape
    difference = np.empty(n, np.float32)
    zero = np.float32(0.0)
    for i in range(n):
        total = mean
        for k in range(width):
            value = features[i, k]
            if value == value:
                part = table[k]
                z = min(max((value - part[0]) * part[1], part[2]), part[3])
                total += part[6] * z + part[7] * max(z - part[4], zero) + part[8] * max(z - part[5], zero) - part[9]
        difference[i] = min(max(total, np.float32(COLDEST)), np.float32(WARMEST))
    return difference
