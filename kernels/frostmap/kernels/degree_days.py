"""Freezing and thawing degree-day sums."""

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.daily_mean import OVERPASSES
from frostmap.kernels.overpass_sums import INTERVALS, Scales, overpass_sums, usual
from frostmap.kernels.quality import quality_limits, stored_range

DAYS_PER_INTERVAL = 16
"""Days of an interval; the last one has 13, in leap years 14."""

_F = np.float32
_ZERO = _F(0.0)


def degree_day_sums(
    daily_mean: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    r"""Return freezing and thawing degree-day sums and the days that entered them.

    .. math:: DDF = -\sum_d \min(\bar T_d, 0), \qquad DDT = \sum_d \max(\bar T_d, 0)

    Parameters
    ----------
    daily_mean : (time, y, x)
        Daily mean surface temperature [°C], one slice a day. NaN days add nothing.

    Returns
    -------
    freezing, thawing : (y, x) float32
        Degree-day sums [°C d], both zero or positive; 0 where no day is valid (see `complete_year`).
    valid_days : (y, x) int16
        Days that are not NaN.

    References
    ----------
    Nelson & Outcalt (1987), doi:10.2307/1551363

    Examples
    --------
    >>> import numpy as np
    >>> temperature = np.array([-2.0, 3.0, np.nan, 4.0], np.float32).reshape(4, 1, 1)
    >>> [float(total[0, 0]) for total in degree_day_sums(temperature)]
    [2.0, 7.0, 3.0]
    """
    _check_daily_mean(daily_mean)
    days, height, width = daily_mean.shape
    freezing, thawing, valid = _degree_day_sums(daily_mean.reshape(days, height * width))
    return freezing.reshape(height, width), thawing.reshape(height, width), valid.reshape(height, width)


@compiled
def _degree_day_sums(
    daily_mean: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    days, pixels = daily_mean.shape
    freezing, thawing = np.zeros(pixels), np.zeros(pixels)
    valid = np.zeros(pixels, np.int16)
    for t in range(days):
        for i in range(pixels):
            mean = daily_mean[t, i]
            known = mean if mean == mean else _ZERO
            freezing[i] += max(-known, _ZERO)
            thawing[i] += max(known, _ZERO)
            valid[i] += np.int16(1) if mean == mean else np.int16(0)
    return freezing.astype(np.float32), thawing.astype(np.float32), valid


def thawing_by_interval(daily_mean: NDArray[np.float32], interval: NDArray[np.integer]) -> NDArray[np.float32]:
    r"""Return thawing degree-day sums of each 16-day interval of a year.

    .. math:: DDT_i = \sum_{d \in i} \max(\bar T_d, 0), \qquad \sum_i DDT_i = DDT

    Parameters
    ----------
    daily_mean : (time, y, x)
        Daily mean surface temperature [°C], one slice a day. NaN days add nothing.
    interval : (time,)
        Interval of each day, 0 to 22, see `interval_of_day`.

    Returns
    -------
    (23, y, x) float32
        Thawing degree-day sums [°C d].

    Examples
    --------
    >>> import numpy as np
    >>> temperature = np.ones((365, 1, 1), np.float32)
    >>> thawing_by_interval(temperature, interval_of_day(365))[:, 0, 0].tolist()[-2:]
    [16.0, 13.0]
    """
    _check_daily_mean(daily_mean)
    days, height, width = daily_mean.shape
    flat = daily_mean.reshape(days, height * width)
    sums: NDArray[np.float32] = _thawing_by_interval(flat, _checked_interval(interval, days))
    return sums.reshape(INTERVALS, height, width)


@compiled
def _thawing_by_interval(daily_mean: NDArray[np.float32], interval: NDArray[np.int64]) -> NDArray[np.float32]:
    days, pixels = daily_mean.shape
    thawing = np.zeros((INTERVALS, pixels))
    for t in range(days):
        k = interval[t]
        for i in range(pixels):
            mean = daily_mean[t, i]
            thawing[k, i] += max(mean if mean == mean else _ZERO, _ZERO)
    return thawing.astype(np.float32)


def interval_of_day(n_days: int) -> NDArray[np.int64]:
    """Return the 16-day interval of each day of a year.

    Parameters
    ----------
    n_days : int
        365 or 366.

    Returns
    -------
    (n_days,) int64
        0 to 22: day of year 16 i + 1 to 16 i + 16 is interval i, and the last has 13 or 14 days.

    Examples
    --------
    >>> import numpy as np
    >>> np.bincount(interval_of_day(365))[[0, 21, 22]].tolist(), np.bincount(interval_of_day(366))[22].tolist()
    ([16, 16, 13], 14)
    """
    if n_days not in (365, 366):
        raise ValueError(f"a year of {n_days} days; wanted 365 or 366")
    return np.arange(n_days, dtype=np.int64) // DAYS_PER_INTERVAL


def complete_year(
    freezing: NDArray[np.float32],
    thawing: NDArray[np.float32],
    valid_days: NDArray[np.integer],
    n_days: int,
    minimum_days: int = 350,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Scale sums over the valid days to the whole year, or void them where too many days are missing.

    .. math:: DDF_y = DDF \, N_{year} / N_{valid} \quad \text{where } N_{valid} \ge N_{min}

    Parameters
    ----------
    freezing, thawing : (..., y, x)
        Degree-day sums over the valid days [°C d], annual or by interval.
    valid_days : (y, x)
        Days that entered the sums.
    n_days : int
        Days of the year.
    minimum_days : int
        Fewest valid days that make a year.

    Returns
    -------
    freezing, thawing : same shapes, float32
        Degree-day sums of the year [°C d], NaN where fewer than `minimum_days` are valid.

    Examples
    --------
    >>> import numpy as np
    >>> sums = np.full((1, 2), 700.0, np.float32)
    >>> freezing, thawing = complete_year(sums, sums, np.array([[350, 349]]), 365)
    >>> freezing
    array([[730.,  nan]], dtype=float32)
    """
    if not 0 < minimum_days <= n_days:
        raise ValueError(f"minimum_days is {minimum_days}; wanted 1 to the {n_days} days of the year")
    enough = valid_days >= minimum_days
    factor = np.where(enough, n_days / np.maximum(valid_days, 1), np.nan)
    return (freezing * factor).astype(np.float32), (thawing * factor).astype(np.float32)


def overpass_degree_days(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8] | None,
    view_time: NDArray[np.uint8],
    interval: NDArray[np.integer],
    lst_scale: float = 0.02,
    time_scale: float = 0.1,
    max_lst_error_class: int = 1,
    max_emissivity_error_class: int = 2,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    """Return degree-day sums straight from stored overpasses, in one pass over them.

    The same as `quality.land_surface_temperature` and `quality.view_hours`, then `daily_mean.sinusoid`, then
    `degree_day_sums` and `thawing_by_interval`, to rounding, without the arrays in between. Sums are float32 within
    an interval and float64 over the year. Fastest where nothing is missing; what is missing in one pixel changes no bit
    of another.

    Parameters
    ----------
    lst : (time, overpass, y, x)
        Stored land surface temperature of Terra day, Aqua day, Terra night, Aqua night.
    qc : (time, overpass, y, x), or None
        Stored quality bits; None where all that is there is good.
    view_time : (time, overpass, y, x)
        Stored local solar time; above 240 the observation is missing.
    interval : (time,)
        Interval of each day, 0 to 22, see `interval_of_day`.
    lst_scale : float
        Kelvin per stored unit of `lst`.
    time_scale : float
        Hours per stored unit of `view_time`.
    max_lst_error_class, max_emissivity_error_class : int
        Highest error class kept, see `quality.land_surface_temperature`.

    Returns
    -------
    freezing, thawing : (y, x) float32
        Degree-day sums [°C d]; 0 where no day is valid.
    thawing_by_interval : (23, y, x) float32
        Thawing degree-day sums of each interval [°C d].
    valid_days : (y, x) int16
        Days with a daily mean.

    Examples
    --------
    >>> import numpy as np
    >>> lst = np.full((365, 4, 1, 1), 14000, np.uint16)  # 6.85 °C all the year
    >>> view_time = np.empty((365, 4, 1, 1), np.uint8)
    >>> view_time[:, :, 0, 0] = 105, 135, 225, 15
    >>> sums = overpass_degree_days(lst, np.zeros_like(view_time), view_time, interval_of_day(365))
    >>> [round(float(total.sum()), 1) for total in sums]
    [0.0, 2500.2, 2500.2, 365.0]
    """
    if lst.ndim != 4 or lst.shape[1] != len(OVERPASSES):
        raise ValueError(f"lst has shape {lst.shape}; wanted (time, 4 overpasses, y, x)")
    bits = view_time if qc is None else qc
    if lst.dtype != np.uint16 or bits.dtype != np.uint8 or view_time.dtype != np.uint8:
        raise ValueError(
            f"lst, qc, view_time are {lst.dtype}, {bits.dtype}, {view_time.dtype}; wanted uint16, uint8, uint8"
        )
    if not lst.shape == bits.shape == view_time.shape:
        raise ValueError(
            f"lst, qc, view_time have shapes {lst.shape}, {bits.shape}, {view_time.shape}; wanted one shape"
        )
    if not 0.0 < time_scale <= 0.1:
        raise ValueError(f"time_scale is {time_scale} h; 240 stored units are at most a day, so wanted 0.1 or less")
    days, overpasses, height, width = lst.shape
    shape = (days, overpasses, height * width)
    limits = quality_limits(max_lst_error_class, max_emissivity_error_class)
    freezing, thawing, by_interval, valid = overpass_sums(
        np.ascontiguousarray(lst).reshape(shape),
        None if qc is None else np.ascontiguousarray(qc).reshape(shape),
        np.ascontiguousarray(view_time).reshape(shape),
        _checked_interval(interval, days),
        Scales(*stored_range(lst_scale), *limits, _F(lst_scale), _F(time_scale / 24.0)),
        usual(lst_scale, time_scale),
    )
    return (
        freezing.reshape(height, width),
        thawing.reshape(height, width),
        by_interval.reshape(INTERVALS, height, width),
        valid.reshape(height, width),
    )


def _check_daily_mean(daily_mean: NDArray[np.float32]) -> None:
    if daily_mean.ndim != 3 or daily_mean.dtype != np.float32:
        raise ValueError(f"daily_mean is {daily_mean.dtype} of shape {daily_mean.shape}; wanted float32 (time, y, x)")


def _checked_interval(interval: NDArray[np.integer], days: int) -> NDArray[np.int64]:
    if interval.shape != (days,):
        raise ValueError(f"interval has shape {interval.shape}; wanted one for each of the {days} days")
    if days and not (interval.min() >= 0 and interval.max() < INTERVALS):
        raise ValueError(f"intervals run from {interval.min()} to {interval.max()}; wanted 0 to {INTERVALS - 1}")
    return interval.astype(np.int64)
