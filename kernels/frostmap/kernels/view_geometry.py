"""Where the sun and the satellite stand, and what that means on the sinusoidal grid."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.quality import LARGEST_VIEW_ANGLE, LATEST_VIEW_TIME

INCLINATION = 98.2
"""Inclination of Terra's and Aqua's orbits [°]."""
GROUND_SPEED = 6750.0
"""Speed of the point below the satellite, without the Earth's rotation [m/s]."""
EARTH_ROTATION = 7.2921159e-5
"""Angular speed of the Earth [rad/s]."""
EARTH_RADIUS = 6371007.181
"""Radius of the sphere of the MODIS sinusoidal grid [m]."""
ALTITUDE = 705e3
"""Height of Terra and Aqua above the ground [m]."""
REPEAT_CYCLE = 16
"""Days after which Terra and Aqua fly the same ground track again [d]."""
PIXEL_SIZE = np.pi * EARTH_RADIUS / 18 / 1200
"""Width of a pixel of the 1-km sinusoidal grid [m]."""
SWATH_JUMP = 25
"""Neighbours whose signed view angles differ by more than this were seen in different passes [°]."""

_ACROSS = np.cos(np.radians(13.0))  # of a step along a row, the part across the track: it leans 12° to 14° at 26-40°N


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


@compiled
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


def interpolate_along_rows(
    view_time: NDArray[np.uint8],
    view_angle: NDArray[np.uint8],
    reach: int = 32,
    seam: int = SWATH_JUMP,
    pixel_size: float = PIXEL_SIZE,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    r"""Fill view times and angles from the nearest known pixels of the row, each continued across its swath.

    Along a row the arc :math:`\alpha` from the ground track grows evenly, and the view angle with it,

    .. math::

        \theta(\alpha) = \alpha + \mathrm{atan2}(R \sin\alpha,\ R + H - R \cos\alpha), \qquad
        \hat\theta(x) = \theta\left(\alpha_{x'} + (x - x') \, p \cos 13° / R\right)

    Parameters
    ----------
    view_time, view_angle : (time, y, x)
        Stored view time (0.1 h) and signed view angle (count - 65°) of one overpass. Above 240 and 130 they are
        missing, and so is a pixel that lacks either.
    reach : int
        Pixels to look along the row, both ways.
    seam : int
        A known angle that is farther than this from what the known one on the other side leads to belongs to another
        swath [°].
    pixel_size : float
        Width p of a pixel [m].

    Returns
    -------
    view_time, view_angle : (time, y, x) uint8
        The same, with missing pixels filled: between two known pixels of one swath by both continuations, weighted
        linearly; between two swaths from the one that sees the pixel less obliquely, as the archive chooses; with one
        known pixel by its continuation and its time. Unchanged where nothing is known within reach, or the pixel
        would lie outside the swath.
    interpolated : (time, y, x) bool
        Where they were filled.

    Notes
    -----
    Stored angles are whole degrees, too coarse for a gradient of their own; the orbit knows it better. A pixel's result
    depends on no pixel more than `reach` columns away.

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.full((1, 1, 25), 255, np.uint8)
    >>> angle[0, 0, [0, 24]] = 65, 67
    >>> time = np.where(angle == 255, 255, 105).astype(np.uint8)
    >>> _, filled, interpolated = interpolate_along_rows(time, angle)
    >>> filled[0, 0, ::6].tolist(), int(interpolated.sum())
    ([65, 66, 66, 67, 67], 23)
    """
    for name, stored in (("view_time", view_time), ("view_angle", view_angle)):
        if stored.ndim != 3 or stored.dtype != np.uint8:
            raise ValueError(f"{name} is {stored.dtype} of shape {stored.shape}; wanted uint8 (time, y, x)")
    if view_time.shape != view_angle.shape:
        raise ValueError(f"view_time, view_angle have shapes {view_time.shape}, {view_angle.shape}; wanted one shape")
    if reach < 0 or not pixel_size > 0.0:
        raise ValueError(f"reach {reach}, pixel_size {pixel_size}; wanted reach >= 0, pixel_size > 0")
    filled_time, filled_angle, interpolated = _interpolate_along_rows(
        view_time, view_angle, reach, float(seam), pixel_size * _ACROSS / EARTH_RADIUS, _arcs()
    )
    return filled_time, filled_angle, interpolated


@compiled
def _interpolate_along_rows(
    view_time: NDArray[np.uint8],
    view_angle: NDArray[np.uint8],
    reach: int,
    seam: float,
    step: float,
    arcs: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    days, height, width = view_time.shape
    filled_time, filled_angle = view_time.copy(), view_angle.copy()
    interpolated = np.zeros(view_time.shape, np.bool_)
    before = np.empty(width, np.int64)
    far = width + reach + 1
    for t in range(days):
        for y in range(height):
            time, angle = view_time[t, y], view_angle[t, y]
            left = -far
            for x in range(width):
                if time[x] <= LATEST_VIEW_TIME and angle[x] <= LARGEST_VIEW_ANGLE:
                    left = x
                before[x] = left
            right = 2 * far
            for x in range(width - 1, -1, -1):
                left = before[x]
                if left == x:
                    right = x
                    continue
                has_left, has_right = x - left <= reach, right - x <= reach
                # Beyond any swath where that side knows nothing.
                from_left = _view_angle(arcs[angle[left]] + (x - left) * step) if has_left else 999.0
                from_right = _view_angle(arcs[angle[right]] - (right - x) * step) if has_right else 999.0
                value, clock = from_left, time[left] if has_left else np.uint8(0)
                if has_left and has_right:
                    led_to = _view_angle(arcs[angle[left]] + (right - left) * step)
                    if abs(led_to - (angle[right] - 65.0)) <= seam:
                        weight = (x - left) / (right - left)
                        value = from_left + (from_right - from_left) * weight
                        clock = _time_between(time[left], time[right], weight)
                    elif abs(from_right) < abs(from_left):
                        value, clock = from_right, time[right]
                elif has_right:
                    value, clock = from_right, time[right]
                count = np.rint(value + 65.0)
                # A degree more than is ever stored: the known angle itself was rounded.
                if -1.0 <= count <= LARGEST_VIEW_ANGLE + 1.0:
                    filled_angle[t, y, x] = np.uint8(min(max(count, 0.0), LARGEST_VIEW_ANGLE))
                    filled_time[t, y, x] = clock
                    interpolated[t, y, x] = True
    return filled_time, filled_angle, interpolated


@compiled
def _view_angle(arc: float) -> float:
    beyond = np.arctan2(EARTH_RADIUS * np.sin(arc), EARTH_RADIUS + ALTITUDE - EARTH_RADIUS * np.cos(arc))
    angle: float = np.degrees(arc + beyond)
    return angle


@compiled
def _time_between(before: np.uint8, after: np.uint8, weight: float) -> np.uint8:
    change = float(after) - float(before)
    if abs(change) > 0.5 * LATEST_VIEW_TIME:  # midnight lies between
        change -= np.copysign(1.0, change) * LATEST_VIEW_TIME
    return np.uint8(np.rint(before + change * weight) % LATEST_VIEW_TIME)


def _arcs() -> NDArray[np.float64]:
    """Return the arc from the ground track [rad] of each stored view angle."""
    angle = np.radians(np.arange(LARGEST_VIEW_ANGLE + 1) - 65.0)
    return np.asarray(angle - np.arcsin(EARTH_RADIUS / (EARTH_RADIUS + ALTITUDE) * np.sin(angle)))


def near_seams(view_angle: NDArray[np.uint8], distance: int = 10, seam: int = SWATH_JUMP) -> NDArray[np.bool_]:
    """Tell which pixels lie near the edge of a swath: a seam to the next one, or a strip that none sees.

    Parameters
    ----------
    view_angle : (time, y, x)
        Stored signed view angle (count - 65°) of one overpass, as complete as it can be made; above 130 the pixel has
        no swath.
    distance : int
        Pixels along the row that count as near, on either side.
    seam : int
        A seam runs between neighbours whose angles differ by more than this [°].

    Returns
    -------
    (time, y, x) bool
        True within `distance` pixels of a seam, or of a pixel without a swath (that one included).

    Notes
    -----
    The published rule looks for columns where the sensor's azimuth turns by more than 100°. It turns so at a seam, and
    also below the satellite, where nothing is amiss; the signed angle jumps at seams alone. The published offset of 10
    rows is read as this distance: along a seam, ten rows are six to eleven columns of the plateau's sheared grid.

    Examples
    --------
    >>> import numpy as np
    >>> near_seams(np.array([[[120, 121, 122, 8, 9, 10, 255]]], np.uint8), 1)[0, 0].astype(int).tolist()
    [0, 0, 1, 1, 0, 1, 1]
    """
    if view_angle.ndim != 3 or view_angle.dtype != np.uint8:
        raise ValueError(f"view_angle is {view_angle.dtype} of shape {view_angle.shape}; wanted uint8 (time, y, x)")
    if distance < 0:
        raise ValueError(f"distance is {distance} pixels; wanted 0 or more")
    near = np.empty(view_angle.shape, np.bool_)
    for t in range(view_angle.shape[0]):
        mark_near_seams(view_angle[t], distance, seam, near[t])
    return near


@compiled
def mark_near_seams(view_angle: NDArray[np.uint8], distance: int, seam: int, near: NDArray[np.bool_]) -> None:
    """Write one day (y, x) of `near_seams` into `near`."""
    height, width = view_angle.shape
    for y in range(height):
        angle, marks = view_angle[y], near[y]
        edge = -distance - 1  # the last pixel that has a seam on its right, or no swath
        for x in range(width):
            if angle[x] > LARGEST_VIEW_ANGLE:
                edge = x
            elif x > 0 and angle[x - 1] <= LARGEST_VIEW_ANGLE and abs(np.int64(angle[x]) - angle[x - 1]) > seam:
                edge = x - 1
            marks[x] = x - edge <= distance
        edge = width + distance
        for x in range(width - 1, -1, -1):
            if angle[x] > LARGEST_VIEW_ANGLE:
                edge = x
            elif x < width - 1 and angle[x + 1] <= LARGEST_VIEW_ANGLE and abs(np.int64(angle[x + 1]) - angle[x]) > seam:
                edge = x + 1
            if edge - x <= distance:
                marks[x] = True


def shadow_steps(
    height: ArrayLike,
    view_angle: ArrayLike,
    hours: ArrayLike,
    day_of_year: ArrayLike,
    latitude: ArrayLike,
    longitude: ArrayLike,
    ascending: ArrayLike,
    pixel_size: float = PIXEL_SIZE,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return how many rows and columns of the sinusoidal grid a cloud's shadow lies from where the cloud is seen.

    The composition of `solar_position`, `sensor_azimuth`, `shadow_displacement` and `to_sinusoidal`, in one pass:

    .. math:: \text{rows} = -\mathrm{round}(dy / p), \qquad \text{columns} = \mathrm{round}(dx / p)

    Parameters
    ----------
    height : any shape that broadcasts
        Height of the cloud's top above the ground [m]. NaN gives NaN.
    view_angle : any shape that broadcasts
        Signed view zenith [°], negative where the sensor is east of the pixel. NaN gives NaN.
    hours : any shape that broadcasts
        Local mean solar time [h]. NaN gives NaN.
    day_of_year : any shape that broadcasts
        Day of the UTC date, from 1.
    latitude, longitude : any shapes that broadcast
        Where [°].
    ascending : any shape that broadcasts
        True where the satellite flies north: Aqua by day, Terra by night.
    pixel_size : float
        Width p of a pixel [m].

    Returns
    -------
    rows, columns : float64
        Whole steps, southward and eastward; NaN where something is missing or the sun is down.

    Examples
    --------
    >>> rows, columns = shadow_steps(5000.0, 0.0, 11.73, 298, 33.0, 90.0, False)  # the sun 45° high in the south
    >>> int(rows), int(columns)
    (-5, -5)
    """
    if not pixel_size > 0.0:
        raise ValueError(f"pixel_size is {pixel_size} m; wanted more than 0")
    given = [np.asarray(values, np.float64) for values in (height, view_angle, hours, day_of_year, latitude, longitude)]
    *arrays, rising = np.broadcast_arrays(*given, np.asarray(ascending, np.bool_))
    flat: list[Any] = [np.ascontiguousarray(array).ravel() for array in (*arrays, rising)]
    compiled: Any = _shadow_steps
    rows, columns = compiled(*flat, pixel_size)
    return rows.reshape(rising.shape), columns.reshape(rising.shape)


@compiled(error_model="numpy")
def _shadow_steps(
    height: NDArray[np.float64],
    view_angle: NDArray[np.float64],
    hours: NDArray[np.float64],
    day_of_year: NDArray[np.float64],
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    ascending: NDArray[np.bool_],
    pixel_size: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.empty(height.size), np.empty(height.size)
    for i in range(height.size):
        phi, utc = np.radians(latitude[i]), utc_hour(hours[i], longitude[i])
        declination, equation = declination_and_equation(day_of_year[i] + (utc - 12.0) / 24.0)
        angle = np.radians(15.0 * (hours[i] - 12.0)) + equation
        sun = sun_vector(
            np.sin(phi), np.cos(phi), np.sin(declination), np.cos(declination), np.sin(angle), np.cos(angle)
        )
        side = eastern_side(np.cos(phi), ascending[i])
        shear = np.radians(longitude[i]) * np.sin(phi)
        tangent = np.tan(np.radians(view_angle[i]))
        rows[i] = columns[i] = np.nan
        if sun[2] > 0.0:
            down, across = shadow_per_metre(tangent, side, sun, shear)
            rows[i] = np.rint(height[i] * down / pixel_size)
            columns[i] = np.rint(height[i] * across / pixel_size)
    return rows, columns


@compiled(forceinline=True)
def utc_hour(hours: float, longitude: float) -> float:
    """Return what `utc_hours` does, of numbers."""
    hour = hours - longitude / 15.0
    wrapped: float = hour - 24.0 * np.floor(hour / 24.0)
    return wrapped


@compiled
def declination_and_equation(day: float) -> tuple[float, float]:
    """Return the sun's declination and the equation of time, both [rad], of a day of the year, whole at noon."""
    x = 2.0 * np.pi / 365.0 * (day - 1.0)
    c, s = np.cos(x), np.sin(x)
    c2, s2 = c * c - s * s, 2.0 * s * c
    c3, s3 = c2 * c - s2 * s, s2 * c + c2 * s
    declination = 0.006918 - 0.399912 * c + 0.070257 * s - 0.006758 * c2 + 0.000907 * s2 - 0.002697 * c3 + 0.00148 * s3
    return declination, 0.0000075 + 0.001868 * c - 0.032077 * s - 0.014615 * c2 - 0.040849 * s2


@compiled(forceinline=True)
def sun_vector(
    sin_latitude: float,
    cos_latitude: float,
    sin_declination: float,
    cos_declination: float,
    sin_hour_angle: float,
    cos_hour_angle: float,
) -> tuple[float, float, float]:
    """Return the direction to the sun: east, north, up."""
    east = -cos_declination * sin_hour_angle
    north = sin_declination * cos_latitude - cos_declination * cos_hour_angle * sin_latitude
    return east, north, sin_latitude * sin_declination + cos_latitude * cos_declination * cos_hour_angle


@compiled(error_model="numpy")
def eastern_side(cos_latitude: float, ascending: bool) -> tuple[float, float]:
    """Return the direction from a pixel to a sensor that stands east of it: east, north; NaN where no orbit reaches."""
    sine = np.cos(np.radians(INCLINATION)) / cos_latitude
    if abs(sine) > 1.0:
        return np.nan, np.nan
    east = GROUND_SPEED * sine - EARTH_ROTATION * EARTH_RADIUS * cos_latitude
    north = GROUND_SPEED * np.sqrt(1.0 - sine * sine)
    length = np.hypot(east, north)
    return (north / length, -east / length) if ascending else (north / length, east / length)


@compiled(forceinline=True, error_model="numpy")
def shadow_per_metre(
    tangent: float, side: tuple[float, float], sun: tuple[float, float, float], shear: float
) -> tuple[float, float]:
    """Return how far a shadow lies down the rows and along the columns [m], a metre of the cloud's height.

    `tangent` is that of the signed view angle, `side` and `sun` are directions, `shear` is longitude [rad] times the
    sine of latitude.
    """
    # The azimuths never appear: tan(zenith) times the sine and cosine of the azimuth is (east, north) / up.
    east = -tangent * side[0] - sun[0] / sun[2]
    north = -tangent * side[1] - sun[1] / sun[2]
    return -north, east - north * shear
