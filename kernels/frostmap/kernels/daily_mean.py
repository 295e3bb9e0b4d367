"""Daily mean surface temperature from the four MODIS overpasses of a day."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

OVERPASSES = ("terra_day", "aqua_day", "terra_night", "aqua_night")
"""Order of the overpasses along an array's second axis."""

PEAK_HOUR = 13.2
"""Local solar hour of the warmest moment, used where only one day and one night observation are left [h]."""
SMALLEST_CONTRAST = 0.5
"""Smallest difference of the two cosines of such a pair, counted from `PEAK_HOUR`."""
SMALLEST_DETERMINANT = 1e-3
"""Smallest determinant of the fit, in units of the squared number of observations."""
LARGEST_AMPLITUDE = 45.0
"""Largest believable daily amplitude [K]."""
LARGEST_OVERSHOOT = 10.0
"""Farthest the daily mean may lie outside the range of its observations [K]."""

NOT_FITTED = 0
"""No daily mean: too few observations, or too close in time."""
PAIR_MEAN = 1
"""The sinusoid was not believable; mean of the 12-hour pairs instead."""
FIXED_PHASE = 2
"""One day and one night observation; the time of the maximum was given."""
EXACT = 3
"""Three observations, through which the sinusoid passes."""
LEAST_SQUARES = 4
"""Four observations."""

_F = np.float32
_NAN, _ZERO, _HALF, _ONE, _TWO = _F(np.nan), _F(0.0), _F(0.5), _F(1.0), _F(2.0)
_DAY, _HUGE, _COLDEST = _F(24.0), _F(1e9), _F(-273.15)
_PEAK_COSINE = np.cos(2.0 * np.pi * PEAK_HOUR / 24.0)
_PEAK_SINE = np.sin(2.0 * np.pi * PEAK_HOUR / 24.0)
_PEAK_CC, _PEAK_SS = _F(_PEAK_COSINE**2), _F(_PEAK_SINE**2)
_PEAK_CS = _F(_PEAK_COSINE * _PEAK_SINE)
_CONTRAST = _F(SMALLEST_CONTRAST**2)
_DETERMINANT = _F(SMALLEST_DETERMINANT)
_AMPLITUDE = _F(LARGEST_AMPLITUDE**2)
_OVERSHOOT = _F(LARGEST_OVERSHOOT)
# sin(pi r) / r and cos(pi r) as polynomials in r**2 for |r| <= 1/2, interpolated at Chebyshev nodes;
# their errors, 7e-9 and 5e-8, are below the rounding of float32.
_S0, _S1, _S2, _S3, _S4 = _F(3.14159264), _F(-5.16771008), _F(2.55007739), _F(-0.59829041), _F(0.07765591)
_C0, _C1, _C2, _C3, _C4 = _F(0.99999995), _F(-4.9347928), _F(4.05841079), _F(-1.33187297), _F(0.21968242)
# Fast-math without "nnan" and "ninf": NaN keeps its meaning, sums may be reordered and contracted.
_MATH = {"contract", "arcp", "nsz", "reassoc"}


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def cosine_and_sine(turn: np.float32) -> tuple[np.float32, np.float32]:
    """Return cosine and sine of a whole day's turn, ``turn`` = hours / 24 - 1/2, between -1/2 and 1/2."""
    # Polynomials for half the angle, then the angle doubled; midnight is half a turn away, hence the signs.
    square = turn * turn
    sine = turn * (_S0 + square * (_S1 + square * (_S2 + square * (_S3 + square * _S4))))
    cosine = _C0 + square * (_C1 + square * (_C2 + square * (_C3 + square * _C4)))
    twice = -_TWO * sine
    return -twice * sine - _ONE, twice * cosine


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def mean_of_day(
    T0: np.float32,
    T1: np.float32,
    T2: np.float32,
    T3: np.float32,
    c0: np.float32,
    c1: np.float32,
    c2: np.float32,
    c3: np.float32,
    s0: np.float32,
    s1: np.float32,
    s2: np.float32,
    s3: np.float32,
    valid0: np.bool_ | bool,
    valid1: np.bool_ | bool,
    valid2: np.bool_ | bool,
    valid3: np.bool_ | bool,
) -> tuple[np.float32, np.bool_, np.bool_]:
    """Fit one day's sinusoid; the one place where `sinusoid` and the fused degree days do it.

    Free of branches, so that eight pixels go through it at once. ``T``, ``c``, ``s`` are temperature [°C], cosine
    and sine of the overpass times; where not ``valid``, ``c`` and ``s`` may be any finite number and ``T`` is absolute
    zero, which is what a stored 0 decodes to and never the highest. Returns the mean [°C], whether there is one (if
    not, it may be anything), and whether the sinusoid was given up for the mean of pairs. Centred sums are n times
    their usual size, which spares divisions by n.
    """
    n0 = _ONE if valid0 else _ZERO
    n1 = _ONE if valid1 else _ZERO
    n2 = _ONE if valid2 else _ZERO
    n3 = _ONE if valid3 else _ZERO
    days, nights = n0 + n1, n2 + n3
    n = days + nights
    c0 = c0 if valid0 else _ZERO
    c1 = c1 if valid1 else _ZERO
    c2 = c2 if valid2 else _ZERO
    c3 = c3 if valid3 else _ZERO
    s0 = s0 if valid0 else _ZERO
    s1 = s1 if valid1 else _ZERO
    s2 = s2 if valid2 else _ZERO
    s3 = s3 if valid3 else _ZERO
    C, S = (c0 + c1) + (c2 + c3), (s0 + s1) + (s2 + s3)
    T = (n0 * T0 + n1 * T1) + (n2 * T2 + n3 * T3)
    squares = (c0 * c0 + c1 * c1) + (c2 * c2 + c3 * c3)
    # Two observations: one more equation, a sin(omega t_max) - b cos(omega t_max) = 0, fixes the phase exactly.
    two = n == _TWO
    fixed = _ONE if two else _ZERO
    cc = n * squares - C * C + fixed * _PEAK_SS
    ss = n * (n - squares) - S * S + fixed * _PEAK_CC  # sin² = 1 - cos²
    cs = n * ((c0 * s0 + c1 * s1) + (c2 * s2 + c3 * s3)) - C * S - fixed * _PEAK_CS
    cT = n * ((c0 * T0 + c1 * T1) + (c2 * T2 + c3 * T3)) - C * T
    sT = n * ((s0 * T0 + s1 * T1) + (s2 * T2 + s3 * T3)) - S * T
    D = cc * ss - cs * cs
    a = cT * ss - sT * cs  # times D
    b = sT * cc - cT * cs  # times D
    smallest = _CONTRAST if two else _DETERMINANT * ((n * n) * (n * n))
    fitted = (days * nights > _ZERO) & (smallest <= D)
    mean = (T * D - (a * C + b * S)) / max(n * D, _DETERMINANT)  # where fitted, n D is above 0.2

    low01 = min(T0 if valid0 else _HUGE, T1 if valid1 else _HUGE)
    low23 = min(T2 if valid2 else _HUGE, T3 if valid3 else _HUGE)
    high01 = max(T0, T1)
    high23 = max(T2, T3)
    wild = (
        (a * a + b * b > _AMPLITUDE * (D * D))
        | (mean < min(low01, low23) - _OVERSHOOT)
        | (mean > max(high01, high23) + _OVERSHOOT)
    )
    terra, aqua = n0 * n2, n1 * n3
    pairs = terra + aqua
    pair_mean = (terra * (T0 + T2) + aqua * (T1 + T3)) * (_F(0.75) - _F(0.25) * pairs)  # 1/2 of one, 1/4 of two
    return pair_mean if wild else mean, fitted & ((pairs > _ZERO) | (not wild)), wild


def sinusoid(temperature: NDArray[np.float32], hours: NDArray[np.float32]) -> NDArray[np.float32]:
    r"""Return the daily mean of a sinusoid fitted to the day's observations.

    .. math:: T(t) = \bar T + a \cos \omega t + b \sin \omega t, \qquad \omega = 2 \pi / 24 \,\mathrm{h}

    With bars for means and :math:`S` for centred sums over the day's observations, least squares give

    .. math::

        D = S_{cc} S_{ss} - S_{cs}^2, \quad
        a = (S_{cT} S_{ss} - S_{sT} S_{cs}) / D, \quad
        b = (S_{sT} S_{cc} - S_{cT} S_{cs}) / D, \quad
        \bar T = \overline{T} - a \bar c - b \bar s

    Four observations are fitted, three are met exactly, and one by day with one by night share a maximum at 13.2 h
    local solar time. Anything less is missing, and so are observations too close in time to tell the three unknowns
    apart (:math:`D < 10^{-3} n^2`, or cosines of a pair that differ by less than 0.5). An amplitude above 45 K, or a
    mean more than 10 K outside the range of the observations, is not believed: the mean of the complete 12-hour pairs
    (Terra day and night, Aqua day and night) takes its place, NaN where neither pair is complete.

    Parameters
    ----------
    temperature : (time, overpass, y, x)
        Surface temperature [°C] of Terra day, Aqua day, Terra night, Aqua night. NaN is missing.
    hours : (time, overpass, y, x)
        Local solar time of each [h]; 25.5 and 1.5 are the same. NaN is missing.

    Returns
    -------
    (time, y, x) float32
        Daily mean surface temperature [°C], NaN where there is none.

    Notes
    -----
    At 10:30, 13:30, 22:30 and 1:30 the result is the plain mean of the four. Against a diurnal cycle with a cosine
    day and an exponential night it is too warm by 0.7 to 4 K, more for larger amplitudes.

    References
    ----------
    van Doninck et al. (2011), doi:10.1016/j.jag.2011.07.003

    Examples
    --------
    >>> import numpy as np
    >>> hours = np.array([10.5, 13.5, 22.5, 1.5], np.float32).reshape(1, 4, 1, 1)
    >>> temperature = np.array([8, 12, -6, -10], np.float32).reshape(1, 4, 1, 1)
    >>> abs(float(sinusoid(temperature, hours)[0, 0, 0]) - 1.0) < 1e-5
    True
    """
    days, pixels, shape = _check(temperature, hours)
    mean = np.empty((days, pixels), np.float32)
    method = np.empty((1, 1), np.uint8)
    _fit(temperature.reshape(days, 4, pixels), hours.reshape(days, 4, pixels), mean, method)
    return mean.reshape(shape)


def fit_method(temperature: NDArray[np.float32], hours: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return how `sinusoid` came by each daily mean.

    Parameters
    ----------
    temperature, hours : (time, overpass, y, x)
        As for `sinusoid`.

    Returns
    -------
    (time, y, x) uint8
        `NOT_FITTED`, `PAIR_MEAN`, `FIXED_PHASE`, `EXACT` or `LEAST_SQUARES`.

    Examples
    --------
    >>> import numpy as np
    >>> hours = np.array([10.5, 13.5, 22.5, 1.5], np.float32).reshape(1, 4, 1, 1)
    >>> temperature = np.array([8, 12, np.nan, -10], np.float32).reshape(1, 4, 1, 1)
    >>> int(fit_method(temperature, hours)[0, 0, 0]) == EXACT
    True
    """
    days, pixels, shape = _check(temperature, hours)
    mean = np.empty((days, pixels), np.float32)
    method = np.empty((days, pixels), np.uint8)
    _fit(temperature.reshape(days, 4, pixels), hours.reshape(days, 4, pixels), mean, method)
    return method.reshape(shape)


def _check(temperature: NDArray[Any], hours: NDArray[Any]) -> tuple[int, int, tuple[int, int, int]]:
    if temperature.ndim != 4 or temperature.shape[1] != len(OVERPASSES):
        raise ValueError(f"temperature has shape {temperature.shape}; wanted (time, 4 overpasses, y, x)")
    if temperature.shape != hours.shape:
        raise ValueError(f"temperature has shape {temperature.shape} and hours {hours.shape}; they must be the same")
    if temperature.dtype != np.float32 or hours.dtype != np.float32:
        raise ValueError(f"temperature is {temperature.dtype} and hours {hours.dtype}; wanted float32")
    days, _, height, width = temperature.shape
    return days, height * width, (days, height, width)


@compiled(error_model="numpy", fastmath=_MATH)
def _fit(
    temperature: NDArray[np.float32], hours: NDArray[np.float32], mean: NDArray[np.float32], method: NDArray[np.uint8]
) -> None:
    days, _, pixels = temperature.shape
    wants_method = method.shape == mean.shape
    for t in range(days):
        for i in range(pixels):
            T0, T1, T2, T3 = temperature[t, 0, i], temperature[t, 1, i], temperature[t, 2, i], temperature[t, 3, i]
            h0, h1, h2, h3 = hours[t, 0, i], hours[t, 1, i], hours[t, 2, i], hours[t, 3, i]
            valid0 = (T0 == T0) & (h0 == h0)
            valid1 = (T1 == T1) & (h1 == h1)
            valid2 = (T2 == T2) & (h2 == h2)
            valid3 = (T3 == T3) & (h3 == h3)
            T0 = T0 if valid0 else _COLDEST
            c0, s0 = cosine_and_sine(_turn(h0 if valid0 else _ZERO))
            T1 = T1 if valid1 else _COLDEST
            c1, s1 = cosine_and_sine(_turn(h1 if valid1 else _ZERO))
            T2 = T2 if valid2 else _COLDEST
            c2, s2 = cosine_and_sine(_turn(h2 if valid2 else _ZERO))
            T3 = T3 if valid3 else _COLDEST
            c3, s3 = cosine_and_sine(_turn(h3 if valid3 else _ZERO))
            value, found, wild = mean_of_day(
                T0, T1, T2, T3, c0, c1, c2, c3, s0, s1, s2, s3, valid0, valid1, valid2, valid3
            )
            mean[t, i] = value if found else _NAN
            if wants_method:
                n = np.uint8(valid0) + np.uint8(valid1) + np.uint8(valid2) + np.uint8(valid3)
                method[t, i] = (PAIR_MEAN if wild else n) if found else NOT_FITTED


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def _turn(hours: np.float32) -> np.float32:
    turns = hours / _DAY
    whole: np.float32 = np.floor(turns)
    return turns - whole - _HALF
