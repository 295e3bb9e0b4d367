"""Frost number, temperature at the top of permafrost, and the classes of frozen ground they define.

One idea in two forms: the depth to which winter freezes the ground is compared with the depth to which summer thaws it.
With degree-day sums DDF (freezing) and DDT (thawing) [°C d] and the soil parameter E = sqrt(thawed / frozen thermal
conductivity), ground is permafrost where F = sqrt(DDF) / (sqrt(DDF) + E sqrt(DDT)) > 0.5, that is DDF > E² DDT, that is
E < sqrt(DDF / DDT), that is TTOP < 0 with r_k = E².
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels.compiled import compiled

PERMAFROST = 1
SEASONALLY_FROZEN = 2
NON_FROZEN = 3
GLACIER = 4
LAKE = 5
NO_CLASS = 255

CLASS_NAMES = {
    PERMAFROST: "permafrost",
    SEASONALLY_FROZEN: "seasonally frozen ground",
    NON_FROZEN: "non-frozen ground",
    GLACIER: "glacier",
    LAKE: "lake",
    NO_CLASS: "no data",
}

DAYS_PER_YEAR = 365.25


def _floating(value: ArrayLike) -> NDArray[Any]:
    """Return an array of the value's own float type, float64 where it has none."""
    array = np.asarray(value)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)


def stefan_ratio(ddf: ArrayLike, ddt: ArrayLike, e: ArrayLike) -> NDArray[Any]:
    """Return the depth of thaw over the depth of freezing, E sqrt(DDT / DDF).

    Parameters
    ----------
    ddf, ddt : any shapes that broadcast
        Freezing and thawing degree days, both positive sums [°C d].
    e : broadcasts with them
        Soil parameter E [1].

    Returns
    -------
    array of the broadcast shape
        Below 1 is permafrost. Infinite where nothing freezes (DDF = 0 < DDT); NaN where an input is NaN or negative,
        and where both sums are 0.

    References
    ----------
    Nelson and Outcalt 1987, doi:10.2307/1551363.

    Examples
    --------
    >>> float(stefan_ratio(1600.0, 900.0, 1.0))
    0.75
    """
    freezing, thawing, soil = _floating(ddf), _floating(ddt), _floating(e)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[Any] = soil * np.sqrt(thawing / freezing)
    return ratio


def frost_number(ddf: ArrayLike, ddt: ArrayLike, e: ArrayLike = 1.0) -> NDArray[Any]:
    """Return the surface frost number F = sqrt(DDF) / (sqrt(DDF) + E sqrt(DDT)).

    Parameters
    ----------
    ddf, ddt : any shapes that broadcast
        Freezing and thawing degree days, both positive sums [°C d].
    e : broadcasts with them
        Soil parameter E [1]; 1 is the frost number as first published.

    Returns
    -------
    array of the broadcast shape
        F in [0, 1]; above 0.5 is permafrost. NaN where an input is NaN or negative, and where both sums are 0.

    References
    ----------
    Nelson and Outcalt 1987, doi:10.2307/1551363.

    Examples
    --------
    Tuotuohe, 2016-2019: seasonally frozen by E = 1, permafrost by any E below 0.815.

    >>> round(float(frost_number(1332.0, 2004.0)), 4)
    0.4491
    >>> round(float(frost_number(1332.0, 2004.0, 0.8)), 4)
    0.5047
    """
    with np.errstate(invalid="ignore"):
        frozen = np.sqrt(_floating(ddf))
        thawed = _floating(e) * np.sqrt(_floating(ddt))
        number: NDArray[Any] = frozen / (frozen + thawed)
    return number


def critical_e(ddf: ArrayLike, ddt: ArrayLike) -> NDArray[np.float64]:
    """Return the soil parameter at which the class changes, sqrt(DDF / DDT): permafrost needs E below it.

    A sum of 0 is replaced by 1 °C d, as the published calibration does, so that the result is finite and positive.

    Parameters
    ----------
    ddf, ddt : any shapes that broadcast
        Freezing and thawing degree days, both positive sums [°C d].

    Returns
    -------
    float64 array of the broadcast shape
        Critical E [1], float64 whatever the inputs are, so that classes decided by it and by `frozen_ground` agree.
        NaN where an input is NaN or negative, and where both sums are 0 (`frozen_ground` gives no class there either).

    Examples
    --------
    >>> round(float(critical_e(1332.0, 2004.0)), 6)
    0.815273
    >>> float(critical_e(2500.0, 0.0))
    50.0
    """
    freezing = np.asarray(ddf, dtype=np.float64)
    thawing = np.asarray(ddt, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        ratio = np.where(freezing == 0, 1.0, freezing) / np.where(thawing == 0, 1.0, thawing)
        critical = np.where((freezing == 0) & (thawing == 0), np.nan, np.sqrt(ratio))
    return np.where((freezing < 0) | (thawing < 0), np.nan, critical)


@compiled
def _frozen_ground(ddf: Any, ddt: Any, e: Any, non_frozen_below: float) -> Any:
    rows, columns = ddf.shape
    ground = np.full((rows, columns), NO_CLASS, dtype=np.uint8)
    for i in range(rows):
        for j in range(columns):
            freezing, thawing, soil = np.float64(ddf[i, j]), np.float64(ddt[i, j]), np.float64(e[i, j])
            if not (freezing >= 0.0 and thawing >= 0.0 and soil > 0.0):  # also false for NaN
                continue
            if freezing == 0.0 and thawing == 0.0:
                continue
            if thawing == 0.0:
                ground[i, j] = PERMAFROST
            elif freezing <= non_frozen_below:
                ground[i, j] = NON_FROZEN
            elif soil < np.sqrt(freezing / thawing):
                ground[i, j] = PERMAFROST
            else:
                ground[i, j] = SEASONALLY_FROZEN
    return ground


def frozen_ground(
    ddf: NDArray[Any], ddt: NDArray[Any], e: ArrayLike, non_frozen_below: float = 0.5
) -> NDArray[np.uint8]:
    """Return the class of the ground: 1 permafrost, 2 seasonally frozen, 3 non-frozen, 255 none.

    The rules, the first that holds: an input NaN, negative, or E = 0: 255. Both sums 0: 255. DDT = 0: permafrost.
    DDF <= `non_frozen_below`: non-frozen. E < sqrt(DDF / DDT), that is F > 0.5: permafrost. Else, a tie included,
    seasonally frozen. Compared in float64.

    Parameters
    ----------
    ddf, ddt : (y, x) float32 or any other shape
        Freezing and thawing degree days, both positive sums [°C d].
    e : broadcasts with them
        Soil parameter E [1], one number or one a pixel.
    non_frozen_below : float
        Ground that freezes by no more than this is non-frozen [°C d].

    Returns
    -------
    uint8 array of the broadcast shape
        Codes of `CLASS_NAMES`.

    References
    ----------
    Nelson and Outcalt 1987, doi:10.2307/1551363.

    Examples
    --------
    >>> ddf = np.float32([[1600.0, 900.0, 0.2, 10.0, np.nan]])
    >>> ddt = np.float32([[900.0, 900.0, 4000.0, 0.0, 900.0]])
    >>> frozen_ground(ddf, ddt, 1.0).tolist()
    [[1, 2, 3, 1, 255]]
    """
    parts = [_floating(part) for part in (ddf, ddt, e)]
    shape = np.broadcast_shapes(*(part.shape for part in parts))
    freezing, thawing, soil = (np.broadcast_to(part, shape) for part in parts)
    if len(shape) != 2:
        flat = (1, int(np.prod(shape)))
        freezing, thawing, soil = freezing.reshape(flat), thawing.reshape(flat), soil.reshape(flat)
    ground: NDArray[np.uint8] = _frozen_ground(freezing, thawing, soil, float(non_frozen_below))
    return ground.reshape(shape)


@compiled
def _permafrost_probability(ddf: Any, ddt: Any, e: Any, e_error: Any, ddf_error: float, ddt_error: float) -> Any:
    rows, columns = ddf.shape
    probability = np.full((rows, columns), np.nan, dtype=np.float32)
    for i in range(rows):
        for j in range(columns):
            freezing, thawing = np.float64(ddf[i, j]), np.float64(ddt[i, j])
            soil, error = np.float64(e[i, j]), np.float64(e_error[i, j])
            if not (freezing >= 0.0 and thawing >= 0.0 and soil > 0.0 and error >= 0.0):  # also false for NaN
                continue
            if freezing == 0.0 or thawing == 0.0:
                if freezing != thawing:
                    probability[i, j] = 1.0 if thawing == 0.0 else 0.0
                continue
            z = math.log(freezing / thawing) - 2.0 * math.log(soil)
            sigma = math.sqrt(ddf_error**2 + ddt_error**2 + (2.0 * error / soil) ** 2)
            if sigma > 0.0:
                probability[i, j] = 0.5 * math.erfc(-z / (sigma * math.sqrt(2.0)))
            else:
                probability[i, j] = 1.0 if z > 0.0 else 0.0
    return probability


def permafrost_probability(
    ddf: NDArray[Any], ddt: NDArray[Any], e: ArrayLike, e_error: ArrayLike, ddf_error: float, ddt_error: float
) -> NDArray[np.float32]:
    r"""Return the probability that the ground is permafrost, from the errors of what decides it.

    .. math:: P = \Phi(z / \sigma_z), \quad z = \ln DDF - \ln DDT - 2 \ln E, \quad
              \sigma_z^2 = c_F^2 + c_T^2 + 4 (\sigma_E / E)^2

    with the relative errors c of DDF and DDT, taken to be normal and independent.

    Parameters
    ----------
    ddf, ddt : (y, x) float32 or any other shape
        Freezing and thawing degree days, both positive sums [°C d].
    e, e_error : broadcast with them
        Soil parameter E and its standard error [1].
    ddf_error, ddt_error : float
        Relative standard errors of the sums [1].

    Returns
    -------
    float32 array of the broadcast shape
        P from 0 to 1; above 0.5 exactly where `frozen_ground` says permafrost, as far as float32 tells. 1 where
        nothing thaws, 0 where nothing freezes. NaN where an input is NaN or negative or E is 0, and where both sums
        are 0.

    Examples
    --------
    A tenth of error in each sum, and 0.048 in E = 0.9: what lies within 18 % of the limit is undecided.

    >>> limit = 0.81 * 1000.0
    >>> ddf = np.array([[limit, limit * 1.18]])
    >>> permafrost_probability(ddf, np.full((1, 2), 1000.0), 0.9, 0.048, 0.1, 0.1).round(2).tolist()
    [[0.5, 0.8199999928474426]]
    """
    parts = [_floating(part) for part in (ddf, ddt, e, e_error)]
    shape = np.broadcast_shapes(*(part.shape for part in parts))
    flat = shape if len(shape) == 2 else (1, int(np.prod(shape)))
    freezing, thawing, soil, error = (np.broadcast_to(part, shape).reshape(flat) for part in parts)
    probability: NDArray[np.float32] = _permafrost_probability(
        freezing, thawing, soil, error, float(ddf_error), float(ddt_error)
    )
    return probability.reshape(shape)


def ttop(
    ddf: ArrayLike,
    ddt: ArrayLike,
    r_k: ArrayLike,
    freezing_factor: float = 1.0,
    thawing_factor: float = 1.0,
    period: float = DAYS_PER_YEAR,
) -> NDArray[Any]:
    """Return the temperature at the top of permafrost, or at the bottom of seasonal frost [°C].

    TTOP = (r_k n_t DDT - n_f DDF) / P where that is negative or 0, else (n_t DDT - n_f DDF / r_k) / P.

    Parameters
    ----------
    ddf, ddt : any shapes that broadcast
        Freezing and thawing degree days [°C d] of the surface; of the air if the factors are not 1.
    r_k : broadcasts with them
        Thawed over frozen thermal conductivity [1]; E² of the frost number.
    freezing_factor, thawing_factor : float
        n-factors: surface over air degree days [1].
    period : float
        Days over which the sums were taken.

    Returns
    -------
    array of the broadcast shape
        Temperature [°C]; below 0 is permafrost, exactly where F > 0.5 with E² = r_k. NaN where an input is NaN, a sum
        negative or r_k not positive, and where both sums are 0.

    References
    ----------
    Smith and Riseborough 1996, doi:10.1002/(SICI)1099-1530(199610)7:4<301::AID-PPP231>3.0.CO;2-R.

    Examples
    --------
    >>> round(float(ttop(1800.0, 1400.0, 0.8)), 3)
    -1.862
    """
    thawing = thawing_factor * _floating(ddt)
    freezing = freezing_factor * _floating(ddf)
    ratio = _floating(r_k)
    with np.errstate(divide="ignore", invalid="ignore"):
        frozen = ratio * thawing - freezing
        unfrozen = thawing - freezing / ratio
        temperature: NDArray[Any] = np.where(frozen <= 0, frozen, unfrozen) / period
        known = (thawing >= 0) & (freezing >= 0) & (thawing + freezing > 0) & (ratio > 0)
    return np.where(known, temperature, np.nan).astype(temperature.dtype)


def ttop_classes(
    ddf: ArrayLike,
    ddt: ArrayLike,
    r_k: ArrayLike,
    non_frozen_below: float = 0.5,
    freezing_factor: float = 1.0,
    thawing_factor: float = 1.0,
) -> NDArray[np.uint8]:
    """Return the class of the ground by TTOP: 1 permafrost, 2 seasonally frozen, 3 non-frozen, 255 none.

    Permafrost where TTOP < 0; else non-frozen where the surface freezes by no more than `non_frozen_below`; else, a tie
    included, seasonally frozen. With r_k = E² these are the classes of `frozen_ground`. Compared in float64.

    Parameters
    ----------
    ddf, ddt, r_k, freezing_factor, thawing_factor
        As of `ttop`, whose rule for missing values holds.
    non_frozen_below : float
        Ground whose surface freezes by no more than this is non-frozen [°C d].

    Returns
    -------
    uint8 array of the broadcast shape
        Codes of `CLASS_NAMES`.

    Examples
    --------
    >>> ttop_classes([1600.0, 900.0, 0.2, 10.0, np.nan], [900.0, 900.0, 4000.0, 0.0, 900.0], 1.0).tolist()
    [1, 2, 3, 1, 255]
    """
    freezing, thawing, ratio = (np.asarray(part, dtype=np.float64) for part in (ddf, ddt, r_k))
    temperature = ttop(freezing, thawing, ratio, freezing_factor, thawing_factor)
    with np.errstate(invalid="ignore"):
        barely = (freezing_factor * freezing <= non_frozen_below) & (thawing_factor * thawing > 0)
        ground = np.where(barely, NON_FROZEN, np.where(temperature < 0, PERMAFROST, SEASONALLY_FROZEN))
    return np.where(np.isnan(temperature), NO_CLASS, ground).astype(np.uint8)


def _positive(conductivity: NDArray[Any]) -> NDArray[Any]:
    """Return the conductivity, NaN where the regression leaves its range (drier than its data)."""
    with np.errstate(invalid="ignore"):
        return np.where(conductivity > 0, conductivity, np.nan)


def thawed_conductivity_fine(water: ArrayLike, density: ArrayLike) -> NDArray[Any]:
    """Return the thermal conductivity of thawed silt and clay [W m⁻¹ K⁻¹].

    0.1442 (0.9 lg w - 0.2) 10^(0.6243 ρ), fitted to soils with w of 7 % and more.

    Parameters
    ----------
    water : any shape
        Gravimetric water content w [%].
    density : broadcasts with it
        Dry density ρ [g cm⁻³].

    Returns
    -------
    array of the broadcast shape
        NaN where an input is NaN, and where the formula is not positive (w below 1.7 %).

    References
    ----------
    Kersten 1949, University of Minnesota Bulletin 28; Farouki 1981, CRREL Monograph 81-1.

    Examples
    --------
    >>> round(float(thawed_conductivity_fine(20.0, 1.4)), 3)
    1.048
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _positive(0.1442 * (0.9 * np.log10(_floating(water)) - 0.2) * 10.0 ** (0.6243 * _floating(density)))


def frozen_conductivity_fine(water: ArrayLike, density: ArrayLike) -> NDArray[Any]:
    """Return the thermal conductivity of frozen silt and clay [W m⁻¹ K⁻¹].

    0.001442 10^(1.373 ρ) + 0.01226 10^(0.4994 ρ) w; arguments, NaN rule and source as `thawed_conductivity_fine`.

    Examples
    --------
    >>> round(float(frozen_conductivity_fine(20.0, 1.4)), 3)
    1.347
    """
    rho = _floating(density)
    return _positive(0.001442 * 10.0 ** (1.373 * rho) + 0.01226 * 10.0 ** (0.4994 * rho) * _floating(water))


def thawed_conductivity_coarse(water: ArrayLike, density: ArrayLike) -> NDArray[Any]:
    """Return the thermal conductivity of thawed sand and gravel [W m⁻¹ K⁻¹].

    0.1442 (0.7 lg w + 0.4) 10^(0.6243 ρ), fitted to soils with w of 1 % and more; arguments, NaN rule and source as
    `thawed_conductivity_fine`.

    Examples
    --------
    >>> round(float(thawed_conductivity_coarse(10.0, 1.6)), 3)
    1.582
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _positive(0.1442 * (0.7 * np.log10(_floating(water)) + 0.4) * 10.0 ** (0.6243 * _floating(density)))


def frozen_conductivity_coarse(water: ArrayLike, density: ArrayLike) -> NDArray[Any]:
    """Return the thermal conductivity of frozen sand and gravel [W m⁻¹ K⁻¹].

    0.01096 10^(0.8116 ρ) + 0.00461 10^(0.9115 ρ) w; arguments, NaN rule and source as `thawed_conductivity_fine`.

    Examples
    --------
    >>> round(float(frozen_conductivity_coarse(10.0, 1.6)), 3)
    1.543
    """
    rho = _floating(density)
    return _positive(0.01096 * 10.0 ** (0.8116 * rho) + 0.00461 * 10.0 ** (0.9115 * rho) * _floating(water))


def conductivity_ratio(sand: ArrayLike, water: ArrayLike, density: ArrayLike) -> NDArray[Any]:
    """Return r_k of TTOP, the thawed over the frozen conductivity of a soil, by its texture and moisture.

    The conductivity of a soil of share s of sand is taken to lie between those of fine and of coarse soil by their
    weighted geometric mean, as that of a mixture, so that r_k = r_fine^(1 - s) r_coarse^s.

    Parameters
    ----------
    sand : any shape
        Sand [%]; what is not sand is silt and clay.
    water : broadcasts with it
        Gravimetric water content w [%].
    density : broadcasts with it
        Dry density ρ [g cm⁻³].

    Returns
    -------
    array of the broadcast shape
        r_k [1]. NaN where an input is NaN, sand is not 0 to 100 %, or the formulas of either soil leave their range.

    References
    ----------
    Kersten 1949, University of Minnesota Bulletin 28; Farouki 1981, CRREL Monograph 81-1, for the geometric mean.

    Examples
    --------
    >>> [round(float(conductivity_ratio(sand, 20.0, 1.4)), 3) for sand in (0.0, 50.0, 100.0)]
    [0.778, 0.763, 0.748]
    """
    share = _floating(sand) / 100.0
    with np.errstate(invalid="ignore"):
        fine = np.log(thawed_conductivity_fine(water, density) / frozen_conductivity_fine(water, density))
        coarse = np.log(thawed_conductivity_coarse(water, density) / frozen_conductivity_coarse(water, density))
        ratio: NDArray[Any] = np.exp((1.0 - share) * fine + share * coarse)
        return np.where((share >= 0) & (share <= 1), ratio, np.nan)
