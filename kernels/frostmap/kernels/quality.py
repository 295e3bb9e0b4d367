"""What a MODIS land surface temperature pixel is worth: quality bits, fill values, scales."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

GOOD = 0
"""Mandatory quality: produced, good."""
OTHER_QUALITY = 1
"""Mandatory quality: produced, look at the other bits."""
CLOUD = 2
"""Mandatory quality: not produced because of cloud."""
NOT_PRODUCED = 3
"""Mandatory quality: not produced for another reason (no swath, water, ...)."""

LOWEST_STORED = 7500
"""Smallest stored land surface temperature that is valid (MOD11A1 v061 product table)."""
COLDEST = -60.0
"""Lowest believable surface temperature [°C]."""
WARMEST = 70.0
"""Highest believable surface temperature [°C]."""
LATEST_VIEW_TIME = 240
"""Largest stored view time that is valid."""
LARGEST_VIEW_ANGLE = 130
"""Largest stored view angle that is valid."""

_FREEZING_POINT = 273.15  # K
_F = np.float32
_NAN = np.float32(np.nan)
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


@njit(nogil=True, forceinline=True, error_model="numpy", fastmath=_MATH)
def passes(qc: np.uint8, lst_limit: np.uint8, emissivity_limit: np.uint8) -> np.bool_:
    """Tell whether one QC value is produced and within both limits of `quality_limits`."""
    # Casts back to uint8: Numba widens bit operations to 64 bits, which costs seven lanes of eight.
    produced = np.uint8(qc & np.uint8(2)) == np.uint8(0)
    kept: np.bool_ = produced & (np.uint8(qc & np.uint8(48)) <= emissivity_limit) & (qc <= lst_limit)
    return kept


@njit(nogil=True, forceinline=True, error_model="numpy", fastmath=_MATH)
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


@njit(nogil=True, error_model="numpy", fastmath=_MATH)
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
