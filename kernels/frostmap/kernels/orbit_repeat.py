"""When and from where cloudy pixels were seen, from the days on which the satellite flew the same track."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.quality import LARGEST_VIEW_ANGLE, LATEST_VIEW_TIME
from frostmap.kernels.view_geometry import REPEAT_CYCLE

REPEATS = 4
"""Cycles to look back and ahead."""
MISSING = 255
"""Stored view time or angle that means missing."""

_NO_KEY = np.uint16(65535)
_TILE = 256  # pixels whose series stay in the cache
_U16 = np.uint16


def fill_geometry_by_repeat(
    view_time: NDArray[np.uint8],
    view_angle: NDArray[np.uint8],
    before: int = 0,
    after: int = 0,
    cycle: int = REPEAT_CYCLE,
    reach: int = REPEATS,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    r"""Fill view times and angles of cloudy pixels from the days when the satellite flew the same track.

    .. math:: d^* = \mathrm{the\ day\ of\ the\ median\ of}\ \{\theta_v(d \pm 16 k),\ k = 1 \dots 4,\ \text{valid}\}

    Time and angle are both of that day: with the one of one swath and the other of its neighbour, the sun would stand
    where it did not when the sensor stood there.

    Parameters
    ----------
    view_time, view_angle : (time, y, x) uint8
        Stored view time and angle of one overpass, one slice a day without gaps. Valid up to 240 and 130; a pixel
        with only one of them counts as missing both.
    before, after : int
        Days at the beginning and the end that others are filled from, and that are not in the result.
    cycle : int
        Days of the repeat cycle [d].
    reach : int
        Cycles to look back and ahead, up to 4.

    Returns
    -------
    view_time, view_angle : (time - before - after, y, x) uint8
        The same, with missing values replaced; 255 in both where none of those days has one. Valid values are
        untouched.

    Notes
    -----
    Of an even number of days the one with the lower middle angle is taken, as half way between the two sides of a
    swath no sensor ever was; of days with equal angles the one with the middle time, in the same sense.

    Examples
    --------
    >>> import numpy as np
    >>> time, angle = np.full((2, 49, 1, 1), 255, np.uint8)
    >>> time[[0, 32, 48], 0, 0] = 105, 109, 101
    >>> angle[[0, 32, 48], 0, 0] = 65, 30, 99
    >>> time, angle = fill_geometry_by_repeat(time, angle)
    >>> time[[0, 15, 16], 0, 0].tolist(), angle[[0, 15, 16], 0, 0].tolist()
    ([105, 255, 105], [65, 255, 65])
    """
    if view_time.ndim != 3 or view_time.dtype != np.uint8 or view_angle.dtype != np.uint8:
        raise ValueError(
            f"view_time and view_angle are {view_time.dtype} and {view_angle.dtype} of shape {view_time.shape}; "
            "wanted uint8 (time, y, x)"
        )
    if view_time.shape != view_angle.shape:
        raise ValueError(f"view_time has shape {view_time.shape} and view_angle {view_angle.shape}; wanted the same")
    days, height, width = view_time.shape
    if cycle < 1 or not 0 <= reach <= REPEATS:
        raise ValueError(f"cycle {cycle}, reach {reach}; wanted cycle >= 1, reach 0 to {REPEATS}")
    if before < 0 or after < 0 or before + after > days:
        raise ValueError(f"before {before} and after {after} of {days} days; wanted 0 or more, together no more")
    flat = days, height * width
    filled: Any = _fill_geometry_by_repeat(
        np.ascontiguousarray(view_time).reshape(flat),
        np.ascontiguousarray(view_angle).reshape(flat),
        before,
        after,
        cycle,
        reach,
    )
    time, angle = (np.asarray(values, np.uint8).reshape(-1, height, width) for values in filled)
    return time, angle


@compiled
def _fill_geometry_by_repeat(
    view_time: NDArray[np.uint8], view_angle: NDArray[np.uint8], before: int, after: int, cycle: int, reach: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    # Angle and time in one number: in its order both of a day move together, and a missing day comes last. The eight
    # rows are copied into one array, as the vectoriser can prove that apart from the result.
    days, pixels = view_time.shape
    times = np.empty((days - before - after, pixels), np.uint8)
    angles = np.empty((days - before - after, pixels), np.uint8)
    keys = np.empty((days + 1, _TILE), np.uint16)
    keys[days] = _NO_KEY  # for days outside the series
    near = np.full((2 * REPEATS, _TILE), _NO_KEY, np.uint16)
    chosen = np.empty(_TILE, np.uint16)
    for first in range(0, pixels, _TILE):
        size = min(_TILE, pixels - first)
        for t in range(days):
            angle, time, row = view_angle[t, first : first + size], view_time[t, first : first + size], keys[t]
            for i in range(size):
                valid = (angle[i] <= LARGEST_VIEW_ANGLE) & (time[i] <= LATEST_VIEW_TIME)
                row[i] = _U16(_U16(angle[i]) * _U16(256) + _U16(time[i])) if valid else _NO_KEY
        for t in range(before, days - after):
            for k in range(reach):
                back, ahead = t - cycle * (k + 1), t + cycle * (k + 1)
                earlier, later = keys[back if back >= 0 else days], keys[ahead if ahead < days else days]
                for i in range(size):
                    near[2 * k, i] = earlier[i]
                for i in range(size):
                    near[2 * k + 1, i] = later[i]
            own = keys[t]
            for i in range(size):
                middle = _lower_middle(
                    near[0, i], near[1, i], near[2, i], near[3, i], near[4, i], near[5, i], near[6, i], near[7, i]
                )
                chosen[i] = own[i] if own[i] != _NO_KEY else middle
            time, angle = times[t - before, first : first + size], angles[t - before, first : first + size]
            for i in range(size):
                angle[i] = np.uint8(chosen[i] >> _U16(8))
            for i in range(size):
                time[i] = np.uint8(chosen[i] & _U16(255))
    return times, angles


@compiled(forceinline=True)
def _lower(a: np.uint16, b: np.uint16) -> np.uint16:
    return a if a < b else b


@compiled(forceinline=True)
def _higher(a: np.uint16, b: np.uint16) -> np.uint16:
    return b if a < b else a


@compiled(forceinline=True)
def _lower_middle(
    a: np.uint16,
    b: np.uint16,
    c: np.uint16,
    d: np.uint16,
    e: np.uint16,
    f: np.uint16,
    g: np.uint16,
    h: np.uint16,
) -> np.uint16:
    """Return the lower middle one of the keys that are there; no key where none is."""
    n = _U16(0)
    n += _U16(a != _NO_KEY)
    n += _U16(b != _NO_KEY)
    n += _U16(c != _NO_KEY)
    n += _U16(d != _NO_KEY)
    n += _U16(e != _NO_KEY)
    n += _U16(f != _NO_KEY)
    n += _U16(g != _NO_KEY)
    n += _U16(h != _NO_KEY)
    # The network of 19 comparisons that sorts eight numbers, without those that only order the upper four.
    a, c, b, d = _lower(a, c), _higher(a, c), _lower(b, d), _higher(b, d)
    e, g, f, h = _lower(e, g), _higher(e, g), _lower(f, h), _higher(f, h)
    a, e, b, f = _lower(a, e), _higher(a, e), _lower(b, f), _higher(b, f)
    c, g, d, h = _lower(c, g), _higher(c, g), _lower(d, h), _higher(d, h)
    a, b, c, d = _lower(a, b), _higher(a, b), _lower(c, d), _higher(c, d)
    e, f, g = _lower(e, f), _higher(e, f), _lower(g, h)
    c, e, d, f = _lower(c, e), _higher(c, e), _lower(d, f), _higher(d, f)
    b, e, d = _lower(b, e), _higher(b, e), _lower(d, g)
    b, c, d = _lower(b, c), _higher(b, c), _lower(d, e)
    return d if n >= 7 else c if n >= 5 else b if n >= 3 else a


def typical_view_time(view_time: NDArray[np.uint8], nominal: int) -> NDArray[np.uint8]:
    """Return each pixel's mean view time.

    Parameters
    ----------
    view_time : (time, y, x) uint8
        Stored view time of one overpass; valid up to 240.
    nominal : int
        Stored view time of a pixel that was never seen.

    Returns
    -------
    (y, x) uint8
        The mean of the valid ones, rounded half up; `nominal` where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> typical_view_time(np.array([[[105, 255]], [[108, 255]]], np.uint8), 135)
    array([[107, 135]], dtype=uint8)
    """
    if view_time.ndim != 3 or view_time.dtype != np.uint8:
        raise ValueError(f"view_time is {view_time.dtype} of shape {view_time.shape}; wanted uint8 (time, y, x)")
    if not 0 <= nominal <= LATEST_VIEW_TIME:
        raise ValueError(f"nominal is {nominal}; wanted a stored view time, 0 to {LATEST_VIEW_TIME}")
    days, height, width = view_time.shape
    flat = np.ascontiguousarray(view_time).reshape(days, height * width)
    mean: Any = _typical_view_time(flat, np.uint8(nominal))
    return np.asarray(mean, np.uint8).reshape(height, width)


@compiled
def _typical_view_time(view_time: NDArray[np.uint8], nominal: np.uint8) -> NDArray[np.uint8]:
    days, pixels = view_time.shape
    total, count = np.zeros(pixels, np.int32), np.zeros(pixels, np.int32)
    for t in range(days):
        for i in range(pixels):
            valid = view_time[t, i] <= LATEST_VIEW_TIME
            total[i] += np.int32(view_time[t, i]) if valid else np.int32(0)
            count[i] += np.int32(1) if valid else np.int32(0)
    mean = np.empty(pixels, np.uint8)
    for i in range(pixels):
        mean[i] = np.uint8((2 * total[i] + count[i]) // (2 * count[i])) if count[i] > 0 else nominal
    return mean
