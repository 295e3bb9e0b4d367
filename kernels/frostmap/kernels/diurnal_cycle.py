"""Daily mean surface temperature from courses of the day that know when the sun rises and sets."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.daily_mean import (
    LARGEST_AMPLITUDE,
    LARGEST_OVERSHOOT,
    NOT_FITTED,
    OVERPASSES,
    PAIR_MEAN,
    PEAK_HOUR,
    sinusoid,
)
from frostmap.kernels.view_geometry import equation_of_time, solar_declination

DailyMean = Literal["sinusoid", "mean4", "sin_linear", "got09", "sun_response"]
"""Ways from the overpasses to the mean of the day."""

HOURS_OF_SHAPES = np.arange(240) / 10.0
"""Local mean solar hours at which shapes are given."""
SMALLEST_CONTRAST = 0.25
"""Smallest difference of a shape between a day and a night observation, as a share of the shape's range."""
HARMONICS = 24
"""Harmonics of the sun's course that `sun_response` carries."""

_DAY = 24.0
_OMEGA = 2.0 * np.pi / _DAY
_LEAST = 0.5 * SMALLEST_CONTRAST**2  # centred sum of squares of two numbers that far apart
_AIR_HEIGHTS = 6371.0 / 8.43  # the Earth's radius by the atmosphere's scale height
_OPTICAL_THICKNESS = 0.01
_BEFORE_SUNSET = 1.0  # hours at which cooling takes over
_HOTTEST = 13.0


def half_day(latitude: ArrayLike, day_of_year: ArrayLike) -> NDArray[np.float64]:
    """Return hours from solar noon to sunset, of the sun's centre and without refraction.

    Parameters
    ----------
    latitude : array_like
        Degrees.
    day_of_year : array_like
        1 to 366; broadcast against `latitude`.

    Returns
    -------
    float64
        0 where the sun does not rise, 12 where it does not set.

    Examples
    --------
    >>> half_day([0.0, 35.0, 80.0], 172).round(1).tolist()
    [6.0, 7.2, 12.0]
    """
    declination = solar_declination(2.0 * np.pi * (np.asarray(day_of_year) - 1.0) / 365.0)
    cosine = -np.tan(np.radians(latitude)) * np.tan(declination)
    hours: NDArray[np.float64] = np.arccos(np.clip(cosine, -1.0, 1.0)) / _OMEGA
    return hours


def solar_noon(day_of_year: ArrayLike) -> NDArray[np.float64]:
    """Return the local mean solar hour at which the sun is highest.

    Examples
    --------
    >>> solar_noon([42, 307]).round(2).tolist()  # 11 February, 3 November
    [12.24, 11.73]
    """
    return 12.0 - equation_of_time(2.0 * np.pi * (np.asarray(day_of_year) - 1.0) / 365.0) / 60.0


def sun_response(latitude: ArrayLike, day_of_year: ArrayLike, loss: float = 1.0) -> NDArray[np.float32]:
    r"""Return the course of the day of a ground that the sun heats and that loses heat in proportion to its warmth.

    A half-space of thermal inertia I, lit by the sun and losing h watts per square metre and kelvin to air and sky,
    answers each harmonic of the sunlight with :math:`T_n = S_n / (h + I \sqrt{i n \omega})`. So the course has one
    parameter, :math:`r = h / (I \sqrt\omega)`:

    .. math:: g(t) \propto \sum_{n \ge 1} \Re \frac{S_n e^{i n \omega t}}{r + \sqrt{i n}}

    where the sunlight is :math:`\cos\omega t - \cos\omega H` between sunrise and sunset, H hours from noon: its
    harmonics are known in closed form, and depend on latitude and season by H alone.

    Parameters
    ----------
    latitude, day_of_year : array_like
        Degrees; 1 to 366. Broadcast against each other.
    loss : float
        r: about 1 for soil, more for wet or frozen ground with wind, less for still air over rock.

    Returns
    -------
    (..., 240) float32
        Departure from the mean of the day at `HOURS_OF_SHAPES`, scaled to a range of 1; 0 where the sun does not rise.

    References
    ----------
    Price (1977), doi:10.1029/JC082i018p02582; the half-wave's harmonics are elementary.

    Examples
    --------
    >>> shape = sun_response(35.0, 80)
    >>> float(HOURS_OF_SHAPES[shape.argmax()]), float(HOURS_OF_SHAPES[shape.argmin()])
    (13.4, 6.0)
    """
    if not loss >= 0.0:
        raise ValueError(f"loss is {loss}; wanted 0 or more")
    angle = _OMEGA * half_day(latitude, day_of_year)[..., None]
    n = np.arange(2, HARMONICS + 1)
    first = angle - 0.5 * np.sin(2.0 * angle)
    higher = np.sin((n - 1) * angle) / (n - 1) + np.sin((n + 1) * angle) / (n + 1)
    higher -= 2.0 * np.cos(angle) * np.sin(n * angle) / n
    light = np.concatenate([first, higher], axis=-1) / np.pi
    answer = light / (loss + np.sqrt(1j * np.arange(1, HARMONICS + 1)))
    turns = np.exp(1j * _OMEGA * np.outer(np.arange(1, HARMONICS + 1), HOURS_OF_SHAPES - 12.0))
    course = (answer.real @ turns.real - answer.imag @ turns.imag).astype(np.float64)
    return _at_mean_time(course, day_of_year)


def got09(latitude: ArrayLike, day_of_year: ArrayLike) -> NDArray[np.float32]:
    r"""Return the course of the day by Göttsche and Olesen: sunlit until an hour before sunset, then decaying.

    .. math::

        g(t) = \frac{\cos z(t)}{\cos z_{min}} e^{\tau (m_{min} - m(t))}, \qquad
        g(t > t_s) = g(t_s) e^{-(t - t_s) / k}, \quad k = -g(t_s) / g'(t_s)

    with the sun's zenith angle z as at the thermal hour angle, counted from the warmest hour, and the relative air
    mass m. Of the model's six parameters four observations leave two, base and amplitude: the warmest hour is an hour
    after noon, cooling begins an hour before sunset and ends at the base, and the optical thickness :math:`\tau` is
    0.01.

    Parameters
    ----------
    latitude, day_of_year : array_like
        Degrees; 1 to 366. Broadcast against each other.

    Returns
    -------
    (..., 240) float32
        Departure from the mean of the day at `HOURS_OF_SHAPES`, scaled to a range of 1; 0 where the day is shorter
        than 4 h or longer than 20 h, for which the model is not meant.

    References
    ----------
    Göttsche & Olesen (2009), doi:10.1016/j.rse.2008.10.007

    Examples
    --------
    >>> shape = got09(35.0, 80)
    >>> round(float(HOURS_OF_SHAPES[shape.argmax()])), round(float(HOURS_OF_SHAPES[shape.argmin()]))
    (13, 6)
    """
    latitude, day_of_year = np.broadcast_arrays(latitude, day_of_year)
    half = half_day(latitude, day_of_year)
    usual = (half >= 2.0) & (half <= 10.0)
    latitude, half = np.where(usual, latitude, 0.0), np.where(usual, half, 6.0)[..., None]
    declination = solar_declination(2.0 * np.pi * (day_of_year - 1.0) / 365.0)[..., None]
    phi = np.radians(latitude)[..., None]
    sines, cosines = np.sin(phi) * np.sin(declination), np.cos(phi) * np.cos(declination)

    def sunlit(after_hottest: NDArray[np.float64]) -> NDArray[np.float64]:
        height = np.maximum(sines + cosines * np.cos(_OMEGA * after_hottest), 0.0)
        highest = np.maximum(sines + cosines, 1e-3)
        light: NDArray[np.float64] = (
            height / highest * np.exp(_OPTICAL_THICKNESS * (_air_mass(highest) - _air_mass(height)))
        )
        return light

    sunset = 12.0 + half - _HOTTEST  # counted from the warmest hour
    start = sunset - _BEFORE_SUNSET
    top = sunlit(start)
    slope = (sunlit(start + 1e-4) - sunlit(start - 1e-4)) / 2e-4
    decay = -top / np.minimum(slope, -1e-3)
    after = np.mod(HOURS_OF_SHAPES - (12.0 - half), _DAY) + (12.0 - half) - _HOTTEST  # from this sunrise to the next
    course = np.where(
        after <= start, sunlit(np.minimum(after, start)), top * np.exp(-np.maximum(after - start, 0) / decay)
    )
    return _at_mean_time(np.where(usual[..., None], course, 0.0), day_of_year)


def _air_mass(cosine: NDArray[np.float64]) -> NDArray[np.float64]:
    steep = _AIR_HEIGHTS * cosine
    mass: NDArray[np.float64] = -steep + np.sqrt(steep * steep + 2.0 * _AIR_HEIGHTS + 1.0)
    return mass


def _at_mean_time(course: NDArray[np.float64], day_of_year: ArrayLike) -> NDArray[np.float32]:
    """Turn courses in apparent solar time to mean solar time, centre and scale them."""
    course = course - course.mean(axis=-1, keepdims=True)
    extent = np.ptp(course, axis=-1, keepdims=True)
    course = np.divide(course, extent, out=np.zeros_like(course), where=extent > 1e-6)
    late = np.broadcast_to((solar_noon(day_of_year) - 12.0) * 10.0, course.shape[:-1])[..., None]
    whole = np.floor(late).astype(np.int64)
    share = late - whole
    at = np.mod(np.arange(240) - whole, 240)
    earlier = np.take_along_axis(course, np.mod(at - 1, 240), axis=-1)
    turned: NDArray[np.float32] = ((1.0 - share) * np.take_along_axis(course, at, axis=-1) + share * earlier).astype(
        np.float32
    )
    return turned


def shape_mean(
    temperature: NDArray[np.float32], hours: NDArray[np.float32], shapes: NDArray[np.float32]
) -> NDArray[np.float32]:
    r"""Return the daily mean of a given course of the day, scaled to the day's observations.

    .. math:: T(t) = \bar T + A g(t), \quad A = S_{gT} / S_{gg}, \quad \bar T = \overline{T} - A \overline{g}

    with bars for means and :math:`S` for centred sums over the day's observations: two unknowns, which all that there
    is decides by least squares, as long as one observation is of the day and one of the night. A range above 90 K, a
    mean more than 10 K outside the range of the observations, or a course that hardly differs between them is not
    believed: the mean of the complete 12-hour pairs takes its place, NaN where neither is complete.

    Parameters
    ----------
    temperature : (time, overpass, y, x)
        Surface temperature [°C] of Terra day, Aqua day, Terra night, Aqua night. NaN is missing.
    hours : (time, overpass, y, x)
        Local mean solar time of each [h]; 25.5 and 1.5 are the same. NaN is missing.
    shapes : (time, y, 240)
        Course of each day at each row, departures from its mean with a range of 1, at `HOURS_OF_SHAPES`: as from
        `sun_response` or `got09`. In between, straight lines.

    Returns
    -------
    (time, y, x) float32
        Daily mean surface temperature [°C], NaN where there is none.

    Examples
    --------
    >>> hours = np.array([10.5, 13.5, 22.5, 1.5], np.float32).reshape(1, 4, 1, 1)
    >>> shape = sun_response([[35.0]], [[80]])
    >>> there = np.interp(hours.ravel(), HOURS_OF_SHAPES, shape[0, 0])
    >>> temperature = (5.0 + 20.0 * there).astype(np.float32).reshape(1, 4, 1, 1)
    >>> round(float(shape_mean(temperature, hours, shape)[0, 0, 0]), 2)
    5.0
    """
    return _shape_fits(temperature, hours, shapes)[0]


def shape_fit_method(
    temperature: NDArray[np.float32], hours: NDArray[np.float32], shapes: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return how `shape_mean` came by each daily mean.

    Parameters
    ----------
    temperature, hours, shapes
        As for `shape_mean`.

    Returns
    -------
    (time, y, x) uint8
        `daily_mean.NOT_FITTED` or `PAIR_MEAN`; else from how many observations: `LEAST_SQUARES` four, `EXACT` three,
        `FIXED_PHASE` two.
    """
    return _shape_fits(temperature, hours, shapes)[1]


def _shape_fits(
    temperature: NDArray[np.float32], hours: NDArray[np.float32], shapes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    _check(temperature, hours)
    days, _, rows, _ = temperature.shape
    if shapes.shape != (days, rows, HOURS_OF_SHAPES.size) or shapes.dtype != np.float32:
        raise ValueError(
            f"shapes are {shapes.dtype} of shape {shapes.shape}; wanted float32 {(days, rows, HOURS_OF_SHAPES.size)}"
        )
    mean: NDArray[np.float32]
    method: NDArray[np.uint8]
    mean, method = _shape_mean(temperature, hours, shapes)
    return mean, method


@compiled
def _shape_mean(
    temperature: NDArray[np.float32], hours: NDArray[np.float32], shapes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    days, _, height, width = temperature.shape
    mean = np.full((days, height, width), np.nan, np.float32)
    method = np.full((days, height, width), NOT_FITTED, np.uint8)
    for t in range(days):
        for y in range(height):
            shape = shapes[t, y]
            for x in range(width):
                day, night, n = 0, 0, 0
                T, g, gg, gT = 0.0, 0.0, 0.0, 0.0
                lowest, highest = np.inf, -np.inf
                for o in range(4):
                    value, hour = float(temperature[t, o, y, x]), float(hours[t, o, y, x])
                    if not (np.isfinite(value) and np.isfinite(hour)):
                        continue
                    at = (hour - np.floor(hour / _DAY) * _DAY) * 10.0
                    before = int(at)
                    share = at - before
                    here = float(shape[before % 240])
                    here += share * (float(shape[(before + 1) % 240]) - here)
                    n, day, night = n + 1, day + (o < 2), night + (o >= 2)
                    T, g, gg, gT = T + value, g + here, gg + here * here, gT + here * value
                    lowest, highest = min(lowest, value), max(highest, value)
                if day == 0 or night == 0:
                    continue
                T, g = T / n, g / n
                contrast = gg - n * g * g
                if contrast >= _LEAST:
                    amplitude = (gT - n * g * T) / contrast
                    found = T - amplitude * g
                    if (
                        abs(amplitude) <= 2.0 * LARGEST_AMPLITUDE
                        and lowest - LARGEST_OVERSHOOT <= found <= highest + LARGEST_OVERSHOOT
                    ):
                        mean[t, y, x], method[t, y, x] = found, n
                        continue
                found = _pair_mean(temperature, hours, t, y, x)
                if found == found:
                    mean[t, y, x], method[t, y, x] = found, PAIR_MEAN
    return mean, method


@compiled
def _pair_mean(temperature: NDArray[np.float32], hours: NDArray[np.float32], t: int, y: int, x: int) -> float:
    """Return the mean of the complete 12-hour pairs: Terra day and night, Aqua day and night."""
    total, pairs = 0.0, 0
    for o in range(2):
        day, night = float(temperature[t, o, y, x]), float(temperature[t, o + 2, y, x])
        timed = np.isfinite(hours[t, o, y, x]) and np.isfinite(hours[t, o + 2, y, x])
        if timed and np.isfinite(day) and np.isfinite(night):
            total, pairs = total + 0.5 * (day + night), pairs + 1
    return total / pairs if pairs else np.nan


def mean4(temperature: NDArray[np.float32], hours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the plain mean of the day's 12-hour pairs, which with four observations is the mean of the four.

    Parameters
    ----------
    temperature : (time, overpass, y, x)
        Surface temperature [°C] of Terra day, Aqua day, Terra night, Aqua night. NaN is missing.
    hours : (time, overpass, y, x)
        Local mean solar time of each [h]; only where it is NaN does it matter: there the observation is missing.

    Returns
    -------
    (time, y, x) float32
        Mean of Terra's pair and Aqua's, of one where the other is not complete [°C]; NaN where neither is.

    Examples
    --------
    >>> hours = np.zeros((1, 4, 1, 1), np.float32)
    >>> float(mean4(np.array([8, 12, -6, -10], np.float32).reshape(1, 4, 1, 1), hours)[0, 0, 0])
    1.0
    """
    _check(temperature, hours)
    mean: NDArray[np.float32] = _mean4(temperature, hours)
    return mean


@compiled
def _mean4(temperature: NDArray[np.float32], hours: NDArray[np.float32]) -> NDArray[np.float32]:
    days, _, height, width = temperature.shape
    mean = np.empty((days, height, width), np.float32)
    for t in range(days):
        for y in range(height):
            for x in range(width):
                mean[t, y, x] = _pair_mean(temperature, hours, t, y, x)
    return mean


def sin_linear(
    temperature: NDArray[np.float32],
    hours: NDArray[np.float32],
    half_days: NDArray[np.float64],
    noons: NDArray[np.float64],
) -> NDArray[np.float32]:
    r"""Return the daily mean of a sine by day and a straight line by night.

    By night the temperature follows the line through both night observations, from sunset to sunrise; by day a wave
    of 24 hours through both day observations and the line's value at sunset. With H hours from noon to sunset,
    :math:`a + b \cos\omega t + c \sin\omega t` counted from noon has the daily mean

    .. math:: \bar T = \frac{2 H a + (2 b / \omega) \sin \omega H + (24 - 2 H) T_{night}(12)}{24}

    Where one night observation is missing, the night is as warm as the other; where one day observation is, the wave
    is highest at 13.2 h. Half of a day is not enough. An amplitude above 45 K or a mean more than 10 K outside the
    observations, observations too close to sunset or to each other, and days without sunrise or sunset give way to
    the mean of the complete 12-hour pairs, NaN where neither is complete.

    Parameters
    ----------
    temperature : (time, overpass, y, x)
        Surface temperature [°C] of Terra day, Aqua day, Terra night, Aqua night. NaN is missing.
    hours : (time, overpass, y, x)
        Local mean solar time of each [h]. NaN is missing.
    half_days : (time, y)
        Hours from noon to sunset, see `half_day`.
    noons : (time,)
        Local mean solar hour of noon, see `solar_noon`.

    Returns
    -------
    (time, y, x) float32
        Daily mean surface temperature [°C], NaN where there is none.

    Examples
    --------
    >>> hours = np.array([10.5, 13.5, 22.5, 1.5], np.float32).reshape(1, 4, 1, 1)
    >>> temperature = np.array([10, 10, 0, 0], np.float32).reshape(1, 4, 1, 1)
    >>> round(float(sin_linear(temperature, hours, np.full((1, 1), 6.0), np.full(1, 12.0))[0, 0, 0]), 2)
    3.45
    """
    _check(temperature, hours)
    days, _, rows, _ = temperature.shape
    if half_days.shape != (days, rows) or noons.shape != (days,):
        raise ValueError(
            f"half_days and noons have shapes {half_days.shape}, {noons.shape}; wanted {(days, rows)}, {(days,)}"
        )
    mean: NDArray[np.float32] = _sin_linear(temperature, hours, half_days.astype(np.float64), noons.astype(np.float64))
    return mean


@compiled
def _sin_linear(
    temperature: NDArray[np.float32],
    hours: NDArray[np.float32],
    half_days: NDArray[np.float64],
    noons: NDArray[np.float64],
) -> NDArray[np.float32]:
    days, _, height, width = temperature.shape
    mean = np.full((days, height, width), np.nan, np.float32)
    T, h = np.empty(4), np.empty(4)
    for t in range(days):
        for y in range(height):
            half = half_days[t, y]
            for x in range(width):
                for o in range(4):
                    T[o], h[o] = temperature[t, o, y, x], hours[t, o, y, x]
                    if not (np.isfinite(T[o]) and np.isfinite(h[o])):
                        T[o] = np.nan
                    h[o] = (h[o] - noons[t]) % _DAY  # after noon, 0 to 24
                    if o < 2 and h[o] > 0.5 * _DAY:
                        h[o] -= _DAY
                day = (T[0] == T[0]) + (T[1] == T[1])
                night = (T[2] == T[2]) + (T[3] == T[3])
                if day == 0 or night == 0:
                    continue
                found = np.nan
                if 0.0 < half < 0.5 * _DAY:
                    found = _sine_and_line(T, h, half, PEAK_HOUR - noons[t])
                if not np.isfinite(found):
                    found = _pair_mean(temperature, hours, t, y, x)
                mean[t, y, x] = found
    return mean


@compiled
def _sine_and_line(T: NDArray[np.float64], h: NDArray[np.float64], half: float, peak: float) -> float:
    """Return the day's mean, hours counted from noon; NaN where it is not believable."""
    slope = 0.0
    if T[2] == T[2] and T[3] == T[3] and abs(h[3] - h[2]) >= 0.5:
        slope = (T[3] - T[2]) / (h[3] - h[2])
        level, at = T[2], h[2]
    elif T[2] == T[2] and T[3] == T[3]:
        level, at = 0.5 * (T[2] + T[3]), h[2]
    elif T[2] == T[2]:
        level, at = T[2], h[2]
    else:
        level, at = T[3], h[3]
    sunset, midnight = level + slope * (half - at), level + slope * (0.5 * _DAY - at)
    if T[0] == T[0] and T[1] == T[1]:
        # a wave through three points: differences to sunset leave two unknowns
        c0, s0 = np.cos(_OMEGA * h[0]) - np.cos(_OMEGA * half), np.sin(_OMEGA * h[0]) - np.sin(_OMEGA * half)
        c1, s1 = np.cos(_OMEGA * h[1]) - np.cos(_OMEGA * half), np.sin(_OMEGA * h[1]) - np.sin(_OMEGA * half)
        D = c0 * s1 - c1 * s0
        if abs(D) < 0.02:
            return np.nan
        b = ((T[0] - sunset) * s1 - (T[1] - sunset) * s0) / D
        c = (c0 * (T[1] - sunset) - c1 * (T[0] - sunset)) / D
    else:
        seen = T[0] if T[0] == T[0] else T[1]
        when = h[0] if T[0] == T[0] else h[1]
        D = np.cos(_OMEGA * (when - peak)) - np.cos(_OMEGA * (half - peak))
        if abs(D) < SMALLEST_CONTRAST:
            return np.nan
        amplitude = (seen - sunset) / D
        b, c = amplitude * np.cos(_OMEGA * peak), amplitude * np.sin(_OMEGA * peak)
    a = sunset - b * np.cos(_OMEGA * half) - c * np.sin(_OMEGA * half)
    found: float = (2.0 * half * a + 2.0 * b / _OMEGA * np.sin(_OMEGA * half) + (_DAY - 2.0 * half) * midnight) / _DAY
    lowest, highest = np.nanmin(T), np.nanmax(T)
    if (
        b * b + c * c > LARGEST_AMPLITUDE**2
        or found < lowest - LARGEST_OVERSHOOT
        or found > highest + LARGEST_OVERSHOOT
    ):
        return np.nan
    return found


def daily_mean(
    method: DailyMean,
    temperature: NDArray[np.float32],
    hours: NDArray[np.float32],
    latitude: NDArray[np.float64],
    day_of_year: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Return the daily mean by a method's name.

    Parameters
    ----------
    method : str
        `sinusoid`, `mean4`, `sin_linear`, `got09` or `sun_response`: the functions of these names, the last two by
        `shape_mean`.
    temperature, hours : (time, overpass, y, x)
        Surface temperature [°C] and local mean solar time [h] of the overpasses. NaN is missing.
    latitude : (y,)
        Of each row [degrees].
    day_of_year : (time,)
        1 to 366.

    Returns
    -------
    (time, y, x) float32
        Daily mean surface temperature [°C], NaN where there is none.

    Raises
    ------
    ValueError
        For another name, and for arrays that do not fit each other.
    """
    if method not in get_args(DailyMean):
        raise ValueError(f"daily mean '{method}'; wanted one of {', '.join(get_args(DailyMean))}")
    if method == "sinusoid":
        return sinusoid(temperature, hours)
    if method == "mean4":
        return mean4(temperature, hours)
    rows, days = np.asarray(latitude, np.float64)[None, :], np.asarray(day_of_year)[:, None]
    if method == "sin_linear":
        return sin_linear(temperature, hours, half_day(rows, days), solar_noon(days[:, 0]))
    return shape_mean(temperature, hours, (got09 if method == "got09" else sun_response)(rows, days))


def on_local_dates(
    lst: NDArray[np.uint16], view_time: NDArray[np.uint8], longitude: NDArray[np.float64], time_scale: float = 0.1
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Move observations from the UTC date in their file's name to the date at the pixel.

    Parameters
    ----------
    lst : (time, overpass, y, x)
        Stored temperatures of consecutive UTC dates, 0 where there is none.
    view_time : (time, overpass, y, x)
        Stored local mean solar time of each; above 240 the observation is missing.
    longitude : (y, x)
        Degrees, east positive.
    time_scale : float
        Hours per stored unit of `view_time`.

    Returns
    -------
    lst, view_time : the same shapes and types
        Of the same dates, now local; 0 and 255 where there is nothing: so on the Qinghai-Tibet Plateau Aqua's night
        of the first date, which the file before holds. Of two observations on one local date the later file's stays.

    Examples
    --------
    >>> lst = np.arange(8, dtype=np.uint16).reshape(2, 4, 1, 1) + 14000
    >>> view_time = np.broadcast_to(np.array([105, 135, 225, 15], np.uint8)[:, None, None], lst.shape)
    >>> on_local_dates(lst, view_time, np.full((1, 1), 90.0))[0][..., 0, 0].tolist()
    [[14000, 14001, 14002, 0], [14004, 14005, 14006, 14003]]
    """
    if lst.ndim != 4 or lst.shape != view_time.shape or longitude.shape != lst.shape[2:]:
        raise ValueError(
            f"lst, view_time and longitude have shapes {lst.shape}, {view_time.shape}, {longitude.shape}; wanted "
            "(time, overpass, y, x) twice, and (y, x)"
        )
    if lst.dtype != np.uint16 or view_time.dtype != np.uint8:
        raise ValueError(f"lst and view_time are {lst.dtype} and {view_time.dtype}; wanted uint16 and uint8")
    moved, times = np.zeros_like(lst), np.full_like(view_time, 255)
    _on_local_dates(lst, view_time, longitude.astype(np.float64), time_scale, moved, times)
    return moved, times


@compiled
def _on_local_dates(
    lst: NDArray[np.uint16],
    view_time: NDArray[np.uint8],
    longitude: NDArray[np.float64],
    time_scale: float,
    moved: NDArray[np.uint16],
    times: NDArray[np.uint8],
) -> None:
    days, overpasses, height, width = lst.shape
    for t in range(days):
        for o in range(overpasses):
            for y in range(height):
                for x in range(width):
                    stored = view_time[t, o, y, x]
                    if lst[t, o, y, x] == 0 or stored > 240:
                        continue
                    hours = stored * time_scale
                    # as `view_geometry.local_date_shift`
                    ahead = int(np.floor(hours / _DAY) - np.floor((hours - longitude[y, x] / 15.0) / _DAY))
                    if 0 <= t + ahead < days:
                        moved[t + ahead, o, y, x] = lst[t, o, y, x]
                        times[t + ahead, o, y, x] = stored


def _check(temperature: NDArray[Any], hours: NDArray[Any]) -> None:
    if temperature.ndim != 4 or temperature.shape[1] != len(OVERPASSES):
        raise ValueError(f"temperature has shape {temperature.shape}; wanted (time, 4 overpasses, y, x)")
    if temperature.shape != hours.shape:
        raise ValueError(f"temperature has shape {temperature.shape} and hours {hours.shape}; they must be the same")
    if temperature.dtype != np.float32 or hours.dtype != np.float32:
        raise ValueError(f"temperature is {temperature.dtype} and hours {hours.dtype}; wanted float32")
