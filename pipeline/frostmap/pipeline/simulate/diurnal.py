"""Day course of skin temperature: a cosine by day, an exponential decay by night.

References
----------
Göttsche F.-M., Olesen F. S. 2001. Modelling of diurnal cycles of brightness temperature extracted from METEOSAT data.
Remote Sensing of Environment 76(3), 337-348. https://doi.org/10.1016/S0034-4257(00)00214-5
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

HOTTEST_HOUR = 13.2
"""Local mean solar hour of the maximum [h]."""

SHORTEST_DAY, DAY_STEP, DAY_LENGTHS = 8.0, 0.125, 65
"""Table axis of day length: 8 to 16 h."""

HOUR_STEP, HOURS = 0.1, 241
"""Table axis of local mean solar hour: 0 to 24 h."""

_ATTENUATION_START = 0.52  # share of the half day after the maximum at which the decay takes over


def day_course(hours: NDArray[np.float64], day_length: float) -> NDArray[np.float64]:
    """Return skin temperature as a share of the day amplitude, departure from the 24-hour mean.

    Parameters
    ----------
    hours
        Local mean solar hours, 0 to 24.
    day_length
        Sunrise to sunset [h].

    Examples
    --------
    >>> noon, midnight = day_course(np.array([13.2, 0.0]), 12.0)
    >>> bool(noon > 0.5 and midnight < 0)
    True
    """
    fine = _raw(np.linspace(0.0, 24.0, 24 * 60, endpoint=False), day_length)
    return (_raw(hours, day_length) - float(fine.mean())) / float(fine.max() - fine.min())


def _raw(hours: NDArray[np.float64], day_length: float) -> NDArray[np.float64]:
    sunrise = 12.0 - day_length / 2.0
    half = HOTTEST_HOUR - sunrise  # from the minimum to the maximum
    angle = math.pi / 2.0 * _ATTENUATION_START
    start = HOTTEST_HOUR + half * _ATTENUATION_START
    top, slope = math.cos(angle), math.pi / 2.0 / half * math.sin(angle)
    night = 24.0 - (start - sunrise)
    floor = -0.05
    for _ in range(50):  # smooth at the start of the decay, closed at the next sunrise
        decay = (top - floor) / slope
        floor = -top * math.exp(-night / decay) / (1.0 - math.exp(-night / decay))
    since_sunrise = (np.asarray(hours, np.float64) - sunrise) % 24.0
    by_day = np.cos(math.pi / 2.0 * (since_sunrise - half) / half)
    by_night = floor + (top - floor) * np.exp(-np.maximum(since_sunrise - (start - sunrise), 0.0) / decay)
    course: NDArray[np.float64] = np.where(since_sunrise < start - sunrise, by_day, by_night)
    return course


@functools.cache
def day_course_table() -> NDArray[np.float64]:
    """Return `day_course` by day length (rows) and hour (columns)."""
    hours = np.minimum(np.arange(HOURS) * HOUR_STEP, 24.0 - 1e-9)
    table = np.stack([day_course(hours, SHORTEST_DAY + DAY_STEP * row) for row in range(DAY_LENGTHS)])
    table.setflags(write=False)
    return table


@compiled
def interpolated_course(table: NDArray[np.float64], day_length: float, hour: float) -> float:
    """Interpolate the table of day courses; hours run from 0 to below 48."""
    row = min(max((day_length - SHORTEST_DAY) / DAY_STEP, 0.0), DAY_LENGTHS - 1.001)
    column = (hour - 24.0 if hour >= 24.0 else hour) / HOUR_STEP
    i, j = int(row), int(column)
    v, u = row - i, column - j
    course: float = (table[i, j] * (1.0 - u) + table[i, j + 1] * u) * (1.0 - v) + (
        table[i + 1, j] * (1.0 - u) + table[i + 1, j + 1] * u
    ) * v
    return course
