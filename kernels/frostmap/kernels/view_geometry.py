"""Where the sun and the satellite stand, and what that means on the sinusoidal grid."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

INCLINATION = 98.2
"""Inclination of Terra's and Aqua's orbits [°]."""
GROUND_SPEED = 6750.0
"""Speed of the point below the satellite, without the Earth's rotation [m/s]."""
EARTH_ROTATION = 7.2921159e-5
"""Angular speed of the Earth [rad/s]."""
EARTH_RADIUS = 6371007.181
"""Radius of the sphere of the MODIS sinusoidal grid [m]."""
REPEAT_CYCLE = 16
"""Days after which Terra and Aqua fly the same ground track again [d]."""


def solar_position(
    latitude: ArrayLike, longitude: ArrayLike, hours: ArrayLike, day_of_year: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return the sun's zenith angle and azimuth.

    With the declination :math:`\delta` and the equation of time :math:`E` (minutes) of Spencer's series and the hour
    angle :math:`H = 15° (t + E/60 - 12)`,

    .. math::

        \cos\theta = \sin\varphi \sin\delta + \cos\varphi \cos\delta \cos H, \qquad
        \phi = \mathrm{atan2}(-\cos\delta \sin H,\ \sin\delta \cos\varphi - \cos\delta \cos H \sin\varphi)

    Parameters
    ----------
    latitude, longitude : any shapes that broadcast
        [°], north and east positive. The longitude only says how far the UTC day has come.
    hours : any shape that broadcasts
        Local mean solar time t [h]. NaN gives NaN.
    day_of_year : any shape that broadcasts
        Day of the UTC date, from 1.

    Returns
    -------
    zenith, azimuth : float64
        [rad]; the azimuth clockwise from north, 0 to 2 pi. The series is good to 0.05° in the declination and 35 s in
        the equation of time.

    References
    ----------
    Spencer (1971), Fourier series representation of the position of the sun, Search 2(5), 172

    Examples
    --------
    >>> import numpy as np
    >>> zenith, azimuth = solar_position(33.0, 90.0, 10.5, 172)
    >>> [round(float(angle), 1) for angle in np.degrees((zenith, azimuth))]
    [22.2, 109.6]
    """
    latitude = np.radians(latitude)
    hours = np.asarray(hours, np.float64)
    day_angle = 2.0 * np.pi / 365.0 * (np.asarray(day_of_year) - 1.0 + (utc_hours(hours, longitude) - 12.0) / 24.0)
    declination = solar_declination(day_angle)
    H = np.radians(15.0 * (hours + equation_of_time(day_angle) / 60.0 - 12.0))
    cosine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(H)
    east = -np.cos(declination) * np.sin(H)
    north = np.sin(declination) * np.cos(latitude) - np.cos(declination) * np.cos(H) * np.sin(latitude)
    # The angle from both of its sides: acos alone loses digits when the sun is overhead.
    return np.arctan2(np.hypot(east, north), cosine), np.mod(np.arctan2(east, north), 2.0 * np.pi)


def solar_declination(day_angle: ArrayLike) -> NDArray[np.float64]:
    """Return the sun's declination by Spencer's series.

    Parameters
    ----------
    day_angle : any shape
        2 pi (day of year - 1) / 365 [rad].

    Returns
    -------
    same shape, float64
        [rad], north positive.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(np.degrees(solar_declination(2 * np.pi * 171 / 365))), 2)  # 21 June
    23.45
    """
    x = np.asarray(day_angle, np.float64)
    series = 0.006918 - 0.399912 * np.cos(x) + 0.070257 * np.sin(x) - 0.006758 * np.cos(2 * x)
    series = series + 0.000907 * np.sin(2 * x) - 0.002697 * np.cos(3 * x) + 0.00148 * np.sin(3 * x)
    return np.asarray(series)


def equation_of_time(day_angle: ArrayLike) -> NDArray[np.float64]:
    """Return apparent minus mean solar time by Spencer's series.

    Parameters
    ----------
    day_angle : any shape
        2 pi (day of year - 1) / 365 [rad].

    Returns
    -------
    same shape, float64
        [min].

    Examples
    --------
    >>> import numpy as np
    >>> round(float(equation_of_time(2 * np.pi * 41 / 365)), 1)  # 11 February
    -14.2
    """
    x = np.asarray(day_angle, np.float64)
    series = 0.0000075 + 0.001868 * np.cos(x) - 0.032077 * np.sin(x) - 0.014615 * np.cos(2 * x)
    return np.asarray(1440.0 / (2.0 * np.pi) * (series - 0.040849 * np.sin(2 * x)))


def utc_hours(local_hours: ArrayLike, longitude: ArrayLike) -> NDArray[np.float64]:
    r"""Return the UTC hour of a local mean solar time, :math:`u = (t - \lambda / 15) \bmod 24`.

    Parameters
    ----------
    local_hours : any shape that broadcasts
        Local mean solar time [h]. NaN gives NaN.
    longitude : any shape that broadcasts
        [°], east positive.

    Returns
    -------
    float64
        [h], 0 to 24.

    Examples
    --------
    >>> utc_hours([1.5, 22.5], 90.0)
    array([19.5, 16.5])
    """
    return np.mod(np.asarray(local_hours, np.float64) - np.asarray(longitude, np.float64) / 15.0, 24.0)


def local_date_shift(local_hours: ArrayLike, longitude: ArrayLike) -> NDArray[np.float64]:
    r"""Return how many days the local date is ahead of the UTC date in the file's name.

    .. math:: \lfloor (u + \lambda / 15) / 24 \rfloor = \lfloor t / 24 \rfloor - \lfloor (t - \lambda / 15) / 24 \rfloor

    The right side is exact at local midnight, where rounding spoils the left.

    Parameters
    ----------
    local_hours : any shape that broadcasts
        Local mean solar time [h]. NaN gives NaN.
    longitude : any shape that broadcasts
        [°], east positive.

    Returns
    -------
    float64
        Whole days [d]: on the Qinghai-Tibet Plateau 1 for the Aqua night overpass, 0 for the other three.

    Examples
    --------
    >>> local_date_shift([10.5, 13.5, 22.5, 1.5], 90.0)
    array([0., 0., 0., 1.])
    """
    local = np.asarray(local_hours, np.float64)
    days = np.floor(local / 24.0) - np.floor((local - np.asarray(longitude, np.float64) / 15.0) / 24.0)
    return np.asarray(days)


def ground_heading(latitude: ArrayLike, ascending: ArrayLike) -> NDArray[np.float64]:
    r"""Return the direction in which the point below Terra or Aqua moves over the turning Earth.

    .. math::

        \sin\alpha = \cos i / \cos\varphi, \qquad
        \mathrm{heading} = \mathrm{atan2}(V \sin\alpha - \Omega R \cos\varphi,\ \pm V \cos\alpha)

    Parameters
    ----------
    latitude : any shape that broadcasts
        [°], below 81.8 north and south.
    ascending : any shape that broadcasts
        True where the satellite flies north: Aqua by day, Terra by night.

    Returns
    -------
    float64
        [rad], clockwise from north, 0 to 2 pi; NaN beyond the orbit's northern and southern ends.

    Examples
    --------
    >>> import numpy as np
    >>> np.degrees(ground_heading(33.0, [True, False])).round(1)
    array([347., 193.])
    """
    cosine = np.cos(np.radians(latitude))
    sine = np.cos(np.radians(INCLINATION)) / cosine
    reached = np.abs(sine) <= 1.0
    orbit = np.arcsin(np.where(reached, sine, np.nan))
    east = GROUND_SPEED * np.sin(orbit) - EARTH_ROTATION * EARTH_RADIUS * cosine
    north = np.where(ascending, 1.0, -1.0) * GROUND_SPEED * np.cos(orbit)
    return np.asarray(np.mod(np.arctan2(east, north), 2.0 * np.pi))


def sensor_azimuth(latitude: ArrayLike, view_angle: ArrayLike, ascending: ArrayLike) -> NDArray[np.float64]:
    """Return the direction from the pixel to the sensor, square to the ground track.

    Parameters
    ----------
    latitude : any shape that broadcasts
        [°].
    view_angle : any shape that broadcasts
        Signed view zenith [°], negative where the sensor is east of the pixel. NaN gives NaN.
    ascending : any shape that broadcasts
        True where the satellite flies north: Aqua by day, Terra by night.

    Returns
    -------
    float64
        [rad], clockwise from north, 0 to 2 pi.

    Examples
    --------
    >>> import numpy as np
    >>> np.degrees(sensor_azimuth(33.0, [-40.0, 40.0], True)).round(0)
    array([ 77., 257.])
    """
    angle = np.asarray(view_angle, np.float64)
    quarter = np.where(ascending, 0.5 * np.pi, -0.5 * np.pi)  # the track's eastern side
    side = np.where(np.isnan(angle), np.nan, np.where(angle < 0.0, 0.0, np.pi))
    return np.asarray(np.mod(ground_heading(latitude, ascending) + quarter + side, 2.0 * np.pi))


def shadow_displacement(
    height: ArrayLike,
    view_zenith: ArrayLike,
    view_azimuth: ArrayLike,
    solar_zenith: ArrayLike,
    solar_azimuth: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return how far a cloud's shadow lies from the pixel in which the cloud is seen.

    .. math::

        (e, n) = h \tan\theta_v (\sin\phi_v, \cos\phi_v) - h \tan\theta_s (\sin\phi_s, \cos\phi_s)

    Parameters
    ----------
    height : any shape that broadcasts
        Height h of the cloud's top above the ground [m].
    view_zenith, view_azimuth : any shapes that broadcast
        Direction from the pixel to the sensor [rad], the azimuth clockwise from north.
    solar_zenith, solar_azimuth : any shapes that broadcast
        Direction from the pixel to the sun [rad], the azimuth clockwise from north.

    Returns
    -------
    east, north : float64
        [m]. Turn them into steps on the grid with `to_sinusoidal`.

    Examples
    --------
    >>> import numpy as np
    >>> east, north = shadow_displacement(5000.0, 0.0, 0.0, np.radians(45.0), np.pi)
    >>> round(float(east)) + 0, round(float(north))
    (0, 5000)
    """
    height = np.asarray(height, np.float64)
    toward_sensor = height * np.tan(view_zenith)
    away_from_sun = -height * np.tan(solar_zenith)
    east = toward_sensor * np.sin(view_azimuth) + away_from_sun * np.sin(solar_azimuth)
    north = toward_sensor * np.cos(view_azimuth) + away_from_sun * np.cos(solar_azimuth)
    return east, north


def to_sinusoidal(
    east: ArrayLike, north: ArrayLike, latitude: ArrayLike, longitude: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Turn a small displacement on the ground into one on the sinusoidal grid, which is sheared.

    .. math:: dx = e - n \lambda \sin\varphi, \qquad dy = n

    Parameters
    ----------
    east, north : any shapes that broadcast
        Displacement on the ground [m].
    latitude, longitude : any shapes that broadcast
        Where [°].

    Returns
    -------
    dx, dy : float64
        Displacement on the grid [m].

    Examples
    --------
    >>> dx, dy = to_sinusoidal(0.0, 5000.0, 33.0, 90.0)
    >>> round(float(dx), 1), float(dy)
    (-4277.6, 5000.0)
    """
    north = np.asarray(north, np.float64)
    shear = np.radians(longitude) * np.sin(np.radians(latitude))
    return np.asarray(east - north * shear), north + np.zeros_like(shear)


def from_sinusoidal(
    dx: ArrayLike, dy: ArrayLike, latitude: ArrayLike, longitude: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Turn a small displacement on the sinusoidal grid into one on the ground.

    .. math:: e = dx + dy \lambda \sin\varphi, \qquad n = dy

    Parameters
    ----------
    dx, dy : any shapes that broadcast
        Displacement on the grid [m].
    latitude, longitude : any shapes that broadcast
        Where [°].

    Returns
    -------
    east, north : float64
        Displacement on the ground [m].

    Examples
    --------
    >>> east, north = from_sinusoidal(0.0, 1000.0, 33.0, 90.0)
    >>> round(float(east), 1), float(north)
    (855.5, 1000.0)
    """
    dy = np.asarray(dy, np.float64)
    shear = np.radians(longitude) * np.sin(np.radians(latitude))
    return np.asarray(dx + dy * shear), dy + np.zeros_like(shear)


def fill_by_orbit_repeat(
    values: NDArray[np.uint8], fill: int = 255, cycle: int = REPEAT_CYCLE, reach: int = 4
) -> NDArray[np.uint8]:
    r"""Fill view times or angles of cloudy pixels from the days when the satellite flew the same track.

    .. math:: g(d) = \mathrm{median}\{g(d \pm 16 k),\ k = 1 \dots 4,\ \text{valid}\}

    Parameters
    ----------
    values : (time, y, x)
        Stored view time or angle of one overpass, one slice a day without gaps.
    fill : int
        Stored value that means missing.
    cycle : int
        Days of the repeat cycle [d].
    reach : int
        Cycles to look back and ahead.

    Returns
    -------
    (time, y, x) uint8
        The same, with missing values replaced; `fill` where none of those days has one. Valid values are untouched.

    Notes
    -----
    Of an even number of values the lower middle one is taken, so that the result is always one that occurred: half
    way between the two sides of a swath no sensor ever was.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.full((33, 1, 1), 255, np.uint8)
    >>> values[[0, 32], 0, 0] = 105, 109
    >>> fill_by_orbit_repeat(values)[[0, 15, 16], 0, 0].tolist()
    [105, 255, 105]
    """
    if values.ndim != 3 or values.dtype != np.uint8:
        raise ValueError(f"values are {values.dtype} of shape {values.shape}; wanted uint8 (time, y, x)")
    if cycle < 1 or reach < 0 or not 0 <= fill <= 255:
        raise ValueError(f"cycle {cycle}, reach {reach}, fill {fill}; wanted cycle >= 1, reach >= 0, fill 0 to 255")
    filled: Any = _fill_by_orbit_repeat(values, np.uint8(fill), cycle, reach)
    return np.asarray(filled, np.uint8)


@njit(nogil=True)
def _fill_by_orbit_repeat(values: NDArray[np.uint8], fill: np.uint8, cycle: int, reach: int) -> NDArray[np.uint8]:
    days, height, width = values.shape
    filled = values.copy()
    found = np.empty(2 * reach, np.uint8)
    for t in range(days):
        for y in range(height):
            for x in range(width):
                if values[t, y, x] != fill:
                    continue
                n = 0
                for k in range(-reach, reach + 1):
                    d = t + cycle * k
                    if k != 0 and 0 <= d < days and values[d, y, x] != fill:
                        # Insertion: at most eight values, kept in order.
                        value = values[d, y, x]
                        place = n
                        while place > 0 and found[place - 1] > value:
                            found[place] = found[place - 1]
                            place -= 1
                        found[place] = value
                        n += 1
                if n > 0:
                    filled[t, y, x] = found[(n - 1) // 2]
    return filled
