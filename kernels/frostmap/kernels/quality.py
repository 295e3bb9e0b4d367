"""What a MODIS land surface temperature pixel is worth: quality bits, fill values, scales."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

GOOD = 0
"""Mandatory quality: produced, good."""
OTHER_QUALITY = 1
"""Mandatory quality: produced, look at the other bits."""
CLOUD = 2
"""Mandatory quality: not produced because of cloud."""
NOT_PRODUCED = 3
"""Mandatory quality: not produced for another reason (no swath, water, ...)."""

OBSERVED = 3
"""State of an observation: 0 up to this one are kept, the number being its class of `lst_error_class`."""
CLOUDY = 4
"""State of an observation: not produced because of cloud."""
UNSEEN = 5
"""State of an observation: not produced for another reason, or a fill value."""
DOUBTFUL = 6
"""State of an observation: produced, but beyond the error limits or out of range."""
RESIDUAL_CLOUD = 7
"""State of an observation: kept by its quality bits, but too cold (or too warm by day) for the days around it."""
GEOMETRY_INTERPOLATED = 16
"""Added to a state: the view time and angle are neither observed nor of a day of the same track."""
NO_SWATH = 32
"""Added to a state: no view geometry was found; the angle is missing, the time is the pixel's typical one."""

LOWEST_STORED = 7500
"""Smallest stored land surface temperature that is valid (MOD11A1 v061 product table)."""
COLDEST = -60.0
"""Lowest believable surface temperature [°C]."""
WARMEST = 70.0
"""Highest believable surface temperature [°C]."""

SCREEN_REACH = 8
"""Days before and after an observation that `residual_clouds` compares it with [d]."""
SCREEN_MINIMUM = 5
"""Fewest observations, its own among them, that can say that one is off."""
SCREEN_LEAST_SPREAD = 1.5
"""Smallest standard deviation that is believed [K]."""
SCREEN_LIMITS = (5.0, 4.0)
"""Standard deviations that an observation may lie off the median: by day on both sides, by night on the cold one."""

LATEST_VIEW_TIME = 240
"""Largest stored view time that is valid."""
LARGEST_VIEW_ANGLE = 130
"""Largest stored view angle that is valid."""

_FREEZING_POINT = 273.15  # K
_F = np.float32
_NAN = np.float32(np.nan)
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_TILE = 512  # pixels whose series stay in the fastest cache
# Fast-math without "nnan" and "ninf": NaN keeps its meaning, sums may be reordered and contracted.
_MATH = {"contract", "arcp", "nsz", "reassoc"}


def mandatory_quality(qc: NDArray[np.uint8] | np.uint8) -> Any:
    """Return the mandatory quality flag, bits 0 and 1.

    Parameters
    ----------
    qc : any shape
        Stored ``QC_Day`` or ``QC_Night``.

    Returns
    -------
    same shape, uint8
        `GOOD`, `OTHER_QUALITY`, `CLOUD` or `NOT_PRODUCED`.

    Examples
    --------
    >>> import numpy as np
    >>> mandatory_quality(np.array([0, 65, 2, 3, 129], np.uint8))
    array([0, 1, 2, 3, 1], dtype=uint8)
    """
    return np.bitwise_and(np.asarray(qc, np.uint8), np.uint8(3))


def emissivity_error_class(qc: NDArray[np.uint8] | np.uint8) -> Any:
    """Return the class of the mean emissivity error, bits 4 and 5.

    Parameters
    ----------
    qc : any shape
        Stored ``QC_Day`` or ``QC_Night``.

    Returns
    -------
    same shape, uint8
        0: at most 0.01; 1: at most 0.02; 2: at most 0.04; 3: more.

    Examples
    --------
    >>> int(emissivity_error_class(np.uint8(0b00100001)))
    2
    """
    return np.bitwise_and(np.right_shift(np.asarray(qc, np.uint8), np.uint8(4)), np.uint8(3))


def lst_error_class(qc: NDArray[np.uint8] | np.uint8) -> Any:
    """Return the class of the mean land surface temperature error, bits 6 and 7.

    Parameters
    ----------
    qc : any shape
        Stored ``QC_Day`` or ``QC_Night``.

    Returns
    -------
    same shape, uint8
        0: at most 1 K; 1: at most 2 K; 2: at most 3 K; 3: more.

    Examples
    --------
    >>> import numpy as np
    >>> lst_error_class(np.array([0, 65, 129], np.uint8))
    array([0, 1, 2], dtype=uint8)
    """
    return np.right_shift(np.asarray(qc, np.uint8), np.uint8(6))


def stored_range(scale: float) -> tuple[np.uint16, np.uint16]:
    """Return the lowest and highest stored value that can be a surface temperature.

    Parameters
    ----------
    scale : float
        Kelvin per stored unit.

    Returns
    -------
    tuple of uint16
        Both ends included: stored 7500 or more, and between -60 and 70 °C.

    Examples
    --------
    >>> [int(end) for end in stored_range(0.02)]
    [10658, 17157]
    """
    if not scale > 0.0:
        raise ValueError(f"the scale of the stored temperature is {scale}; it must be positive (0.02 for MOD11A1)")
    low = max(float(LOWEST_STORED), np.ceil((COLDEST + _FREEZING_POINT) / scale))
    high = min(65535.0, np.floor((WARMEST + _FREEZING_POINT) / scale))
    if high < low:
        raise ValueError(f"no stored value lies between {COLDEST} and {WARMEST} °C at a scale of {scale} K")
    return np.uint16(low), np.uint16(high)


def quality_limits(max_lst_error_class: int, max_emissivity_error_class: int) -> tuple[np.uint8, np.uint8]:
    """Return the two error classes as limits on the bits where QC keeps them.

    Parameters
    ----------
    max_lst_error_class, max_emissivity_error_class : int
        Highest class accepted, 0 to 3.

    Returns
    -------
    tuple of uint8
        Limit on the whole QC value (its top bits are the LST error) and on ``qc & 0b00110000``.

    Examples
    --------
    >>> [int(limit) for limit in quality_limits(1, 2)]
    [127, 32]
    """
    for name, value in (("lst", max_lst_error_class), ("emissivity", max_emissivity_error_class)):
        if value not in (0, 1, 2, 3):
            raise ValueError(f"max_{name}_error_class is {value}; the classes are 0, 1, 2 and 3")
    return np.uint8(64 * max_lst_error_class + 63), np.uint8(16 * max_emissivity_error_class)


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def passes(qc: np.uint8, lst_limit: np.uint8, emissivity_limit: np.uint8) -> np.bool_:
    """Tell whether one QC value is produced and within both limits of `quality_limits`."""
    # Casts back to uint8: Numba widens bit operations to 64 bits, which costs seven lanes of eight.
    produced = np.uint8(qc & np.uint8(2)) == np.uint8(0)
    kept: np.bool_ = produced & (np.uint8(qc & np.uint8(48)) <= emissivity_limit) & (qc <= lst_limit)
    return kept


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def celsius(stored: np.uint16, scale: np.float32) -> np.float32:
    """Return one stored temperature in °C; `scale` is K per stored unit."""
    return _F(stored) * scale - _F(273.15)


def land_surface_temperature(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8],
    scale: float = 0.02,
    max_lst_error_class: int = 1,
    max_emissivity_error_class: int = 2,
) -> NDArray[np.float32]:
    r"""Decode stored land surface temperature, keeping what its quality bits vouch for.

    .. math:: T = s \, v - 273.15

    A value is kept where stored :math:`v \ge 7500`, the mandatory quality is 0 or 1, both error classes are within
    their limits, and :math:`-60 \le T \le 70` °C. QC alone proves nothing: a fill value may carry QC 0.

    Parameters
    ----------
    lst : any shape
        Stored ``LST_Day_1km`` or ``LST_Night_1km``; 0 is fill.
    qc : same shape
        Stored ``QC_Day`` or ``QC_Night``.
    scale : float
        Kelvin per stored unit.
    max_lst_error_class, max_emissivity_error_class : int
        Highest error class kept, see `lst_error_class` and `emissivity_error_class`.

    Returns
    -------
    same shape, float32
        Surface temperature [°C], NaN where it is not kept.

    References
    ----------
    MOD11A1 version 6.1, doi:10.5067/MODIS/MOD11A1.061. The default limits follow Yu et al. (2014): emissivity error
    above 0.04 and LST error above 2 K are dropped.

    Examples
    --------
    >>> import numpy as np
    >>> lst = np.array([14000, 0, 14000], np.uint16)
    >>> land_surface_temperature(lst, np.array([0, 0, 2], np.uint8)).round(2)
    array([6.85,  nan,  nan], dtype=float32)
    """
    if lst.shape != qc.shape:
        raise ValueError(f"lst has shape {lst.shape} and qc {qc.shape}; they must be the same")
    low, high = stored_range(scale)
    limits = quality_limits(max_lst_error_class, max_emissivity_error_class)
    decoded: NDArray[np.float32] = _land_surface_temperature(lst.ravel(), qc.ravel(), _F(scale), low, high, *limits)
    return decoded.reshape(lst.shape)


@compiled(error_model="numpy", fastmath=_MATH)
def _land_surface_temperature(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8],
    scale: np.float32,
    low: np.uint16,
    high: np.uint16,
    lst_limit: np.uint8,
    emissivity_limit: np.uint8,
) -> NDArray[np.float32]:
    temperature = np.empty(lst.size, np.float32)
    for i in range(lst.size):
        kept = (lst[i] >= low) & (lst[i] <= high) & passes(qc[i], lst_limit, emissivity_limit)
        temperature[i] = celsius(lst[i], scale) if kept else _NAN
    return temperature


def observation_state(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8],
    scale: float = 0.02,
    max_lst_error_class: int = 1,
    max_emissivity_error_class: int = 2,
) -> NDArray[np.uint8]:
    """Return what is known of each observation: kept and how precise, or why not.

    Kept are the same that `land_surface_temperature` keeps.

    Parameters
    ----------
    lst : any shape
        Stored ``LST_Day_1km`` or ``LST_Night_1km``; 0 is fill.
    qc : same shape
        Stored ``QC_Day`` or ``QC_Night``.
    scale : float
        Kelvin per stored unit.
    max_lst_error_class, max_emissivity_error_class : int
        Highest error class kept, see `lst_error_class` and `emissivity_error_class`.

    Returns
    -------
    same shape, uint8
        Kept: its class of `lst_error_class`, 0 to `OBSERVED`. Mandatory quality 2: `CLOUDY`; 3, or a fill value
        whatever its other bits say: `UNSEEN`. The rest, produced but beyond the limits or out of range: `DOUBTFUL`.

    References
    ----------
    MOD11A1 version 6.1, doi:10.5067/MODIS/MOD11A1.061

    Examples
    --------
    >>> import numpy as np
    >>> lst = np.array([14000, 14000, 0, 0, 0, 14000, 9000], np.uint16)
    >>> observation_state(lst, np.array([0, 65, 2, 3, 0, 129, 0], np.uint8))
    array([0, 1, 4, 5, 5, 6, 6], dtype=uint8)
    """
    if lst.shape != qc.shape:
        raise ValueError(f"lst has shape {lst.shape} and qc {qc.shape}; they must be the same")
    low, high = stored_range(scale)
    limits = quality_limits(max_lst_error_class, max_emissivity_error_class)
    state: NDArray[np.uint8] = _observation_state(lst.ravel(), qc.ravel(), low, high, *limits)
    return state.reshape(lst.shape)


@compiled
def _observation_state(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8],
    low: np.uint16,
    high: np.uint16,
    lst_limit: np.uint8,
    emissivity_limit: np.uint8,
) -> NDArray[np.uint8]:
    state = np.empty(lst.size, np.uint8)
    # The bits first: a loop over bytes alone takes twice as many at once as one that mixes them with counts.
    for i in range(lst.size):
        produced = np.uint8(DOUBTFUL)
        if passes(qc[i], lst_limit, emissivity_limit):
            produced = np.uint8(qc[i] >> np.uint8(6))
        lost = np.uint8(qc[i] & np.uint8(3))
        state[i] = np.uint8(CLOUDY) if lost == CLOUD else np.uint8(UNSEEN) if lost == NOT_PRODUCED else produced
    for i in range(lst.size):
        believable = (lst[i] >= low) & (lst[i] <= high)
        found = np.uint8(DOUBTFUL) if (state[i] <= OBSERVED) & ~believable else state[i]
        state[i] = np.uint8(UNSEEN) if (lst[i] == 0) & (found != CLOUDY) else found
    return state


def residual_clouds(
    lst: NDArray[np.uint16],
    night: bool,
    scale: float = 0.02,
    reach: int = SCREEN_REACH,
    minimum: int = SCREEN_MINIMUM,
    before: int = 0,
    after: int = 0,
) -> NDArray[np.bool_]:
    r"""Tell which observations are clouds that the cloud mask missed: far off the median of the days around them.

    With the median m and the median absolute deviation of the observations within `reach` days, that of the day
    itself among them, and :math:`s = \max(1.4826\,\mathrm{MAD},\ 1.5\ \mathrm{K})`,

    .. math:: T < m - 4 s \quad \text{by night}, \qquad |T - m| > 5 s \quad \text{by day}

    Parameters
    ----------
    lst : (time, y, x) uint16
        Stored temperature of one overpass, one slice a day without gaps; 0 where there is none that is kept.
    night : bool
        Whether it is a night overpass: at night a cloud can only be colder than the ground.
    scale : float
        Kelvin per stored unit.
    reach : int
        Days to look back and ahead [d]; fewer at the ends of the series.
    minimum : int
        Fewest observations within reach that can condemn one.
    before, after : int
        Days at the beginning and the end that others are compared with, and that are not judged themselves.

    Returns
    -------
    (time - before - after, y, x) bool
        True where the observation is to be rejected; False where there is none.

    Notes
    -----
    An observation that leaves half of its neighbours within :math:`4 \cdot 1.5` K (:math:`5 \cdot 1.5` K by day)
    passes whatever their spread. That much is counted, for many pixels at once; median and deviation, in whole
    counts, only of the few that are left.

    References
    ----------
    Leys et al. (2013), Detecting outliers: do not use standard deviation around the mean, use absolute deviation
    around the median, doi:10.1016/j.jesp.2013.03.013

    Examples
    --------
    >>> import numpy as np
    >>> lst = np.full((9, 1, 1), 14000, np.uint16)
    >>> lst[4] = 14000 - 301  # 6.02 K colder than all the others
    >>> np.flatnonzero(residual_clouds(lst, night=True)).tolist()
    [4]
    >>> np.flatnonzero(residual_clouds(lst, night=False)).tolist()
    []
    """
    if lst.ndim != 3 or lst.dtype != np.uint16:
        raise ValueError(f"lst is {lst.dtype} of shape {lst.shape}; wanted uint16 (time, y, x)")
    if not scale > 0.0 or reach < 0 or minimum < 1:
        raise ValueError(f"scale {scale}, reach {reach}, minimum {minimum}; wanted scale > 0, reach >= 0, minimum >= 1")
    days, height, width = lst.shape
    if before < 0 or after < 0 or before + after > days:
        raise ValueError(f"before {before} and after {after} of {days} days; wanted 0 or more, together no more")
    deviations = SCREEN_LIMITS[1 if night else 0]
    least = SCREEN_LEAST_SPREAD / scale
    rejected: NDArray[np.bool_] = _residual_clouds(
        np.ascontiguousarray(lst).reshape(days, height * width),
        night,
        reach,
        minimum,
        before,
        after,
        deviations,
        least,
        np.uint16(min(np.floor(deviations * least), 65535.0)),
    )
    return rejected.reshape(days - before - after, height, width)


@compiled
def _residual_clouds(
    lst: NDArray[np.uint16],
    night: bool,
    reach: int,
    minimum: int,
    before: int,
    after: int,
    deviations: float,
    least: float,
    margin: np.uint16,
) -> NDArray[np.bool_]:
    # A median can lie more than the margin above a value only if at least half of the values do. Counting those goes
    # through a few rows of counts that stay in the cache, without a branch.
    days, pixels = lst.shape
    rejected = np.zeros((days - before - after, pixels), np.bool_)
    low, high = np.empty(_TILE, np.uint16), np.empty(_TILE, np.uint16)
    n, warmer, colder = np.empty(_TILE, np.uint16), np.empty(_TILE, np.uint16), np.empty(_TILE, np.uint16)
    found = np.empty(2 * reach + 1, np.int64)
    none, one, highest = np.uint16(0), np.uint16(1), np.uint16(65535 - margin)
    for first in range(0, pixels, _TILE):
        size = min(_TILE, pixels - first)
        for t in range(before, days - after):
            own = lst[t, first : first + size]
            start, stop = max(t - reach, 0), min(t + reach + 1, days)
            for i in range(size):
                high[i] = min(own[i], highest) + margin
                low[i] = max(own[i], margin) - margin
                n[i] = warmer[i] = colder[i] = none
            for d in range(start, stop):
                row = lst[d, first : first + size]
                for i in range(size):
                    n[i] += one if row[i] != none else none
                    warmer[i] += one if row[i] > high[i] else none
                if not night:
                    for i in range(size):
                        colder[i] += one if (row[i] < low[i]) & (row[i] != none) else none
            for i in range(size):
                if own[i] == none or n[i] < minimum or 2 * max(warmer[i], colder[i]) < n[i]:
                    continue
                # Insertion: at most two sides and the day itself, kept in order.
                k = 0
                for d in range(start, stop):
                    value = np.int64(lst[d, first + i])
                    if value != 0:
                        place = k
                        while place > 0 and found[place - 1] > value:
                            found[place] = found[place - 1]
                            place -= 1
                        found[place] = value
                        k += 1
                median, deviation = _median_and_deviation(found, k)
                limit = deviations * max(_MAD_TO_DEVIATION * deviation, 4.0 * least)
                below = 2 * median - 4 * np.int64(own[i])
                rejected[t - before, first + i] = below > limit or (not night and -below > limit)
    return rejected


@compiled
def _median_and_deviation(ordered: NDArray[np.int64], n: int) -> tuple[int, int]:
    """Return twice the median of n ordered values, and four times their median absolute deviation."""
    median = ordered[(n - 1) // 2] + ordered[n // 2]
    # From the middle outwards deviations grow on both sides: merge them until half are counted.
    above, below = n // 2, n // 2 - 1
    previous = deviation = 0
    for _ in range(n // 2 + 1):
        previous = deviation
        if below < 0 or (above < n and 2 * ordered[above] - median <= median - 2 * ordered[below]):
            deviation = 2 * ordered[above] - median
            above += 1
        else:
            deviation = median - 2 * ordered[below]
            below -= 1
    return median, deviation + (deviation if n % 2 == 1 else previous)


def view_hours(view_time: NDArray[np.uint8], scale: float = 0.1) -> NDArray[np.float32]:
    """Decode the local mean solar time of the overpass.

    Parameters
    ----------
    view_time : any shape
        Stored ``Day_view_time`` or ``Night_view_time``; valid up to 240, 255 is fill.
    scale : float
        Hours per stored unit.

    Returns
    -------
    same shape, float32
        Local mean solar time [h], NaN where the stored value is not valid.

    References
    ----------
    MOD11A1 version 6.1, doi:10.5067/MODIS/MOD11A1.061

    Examples
    --------
    >>> import numpy as np
    >>> view_hours(np.array([105, 255], np.uint8))
    array([10.5,  nan], dtype=float32)
    """
    return np.where(view_time <= LATEST_VIEW_TIME, view_time * _F(scale), _NAN)


def view_angle_degrees(view_angle: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode the signed view zenith angle of the overpass.

    Parameters
    ----------
    view_angle : any shape
        Stored ``Day_view_angl`` or ``Night_view_angl``; valid up to 130, 255 is fill.

    Returns
    -------
    same shape, float32
        View zenith [°], negative where the sensor is east of the pixel, NaN where the stored value is not valid.

    References
    ----------
    MOD11A1 version 6.1, doi:10.5067/MODIS/MOD11A1.061

    Examples
    --------
    >>> import numpy as np
    >>> view_angle_degrees(np.array([0, 65, 130, 255], np.uint8))
    array([-65.,   0.,  65.,  nan], dtype=float32)
    """
    return np.where(view_angle <= LARGEST_VIEW_ANGLE, view_angle - _F(65.0), _NAN)
