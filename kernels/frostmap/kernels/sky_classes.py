"""What the sun, the clouds and the satellite are to each other at a pixel: sunlit or shaded, seen or hidden."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.quality import (
    CLOUDY,
    DOUBTFUL,
    GEOMETRY_INTERPOLATED,
    LARGEST_VIEW_ANGLE,
    LATEST_VIEW_TIME,
    NO_SWATH,
    OBSERVED,
    RESIDUAL_CLOUD,
    UNSEEN,
)
from frostmap.kernels.view_geometry import (
    PIXEL_SIZE,
    SWATH_JUMP,
    declination_and_equation,
    eastern_side,
    mark_near_seams,
    shadow_per_metre,
    sun_vector,
    utc_hour,
)

CLEAR = 0
"""Clear and sunlit (A)."""
SUNLIT_CLOUD = 1
"""Cloud in the line of sight, the ground below it sunlit (B)."""
SHADED_CLOUD = 2
"""Cloud in the line of sight, the ground below it shaded (C)."""
SHADOW = 3
"""Clear in the line of sight, in the shadow of a cloud (D)."""
NIGHT_CLOUD = 4
"""Cloud in the line of sight, by night."""
NOT_SEEN = 5
"""No swath, or not produced for another reason than cloud: nothing is known of the sky."""
CLEAR_AMID_CLOUDS, SHADOW_AMID_CLOUDS = 6, 7
"""As `CLEAR` and `SHADOW`, but with so much cloud around that it may be cloud that the mask missed."""
UNKNOWN = 255
"""No state was given."""

FILTER = 2
"""Half width of the square that a sunlit cloud must dominate [pixels]."""
LOWEST_SUN = 85.0
"""From this zenith angle of the sun on, shadows are not followed [°]."""

_LOWEST_COSINE = np.cos(np.radians(LOWEST_SUN))
_FLAGS = GEOMETRY_INTERPOLATED | NO_SWATH
_CANDIDATE = 1  # a cloud with all that its shadow needs; the same number as SUNLIT_CLOUD, which it becomes
_SCORE = np.array([0, 1, -1, 0, 0, 0], np.int8)  # of classes, in the filter


def classes_without_shadows(state: NDArray[np.uint8], cloud: int) -> NDArray[np.uint8]:
    """Return classes where shadows play no part: by night, or where nothing is known of the clouds' heights.

    Parameters
    ----------
    state : any shape
        States of observations, see `quality`: its flags may be set.
    cloud : int
        Class of cloud: `NIGHT_CLOUD`; by day `SHADED_CLOUD`, as if every cloud were an overcast.

    Returns
    -------
    same shape, uint8
        `CLEAR`, `cloud` or `NOT_SEEN`; `UNKNOWN` where the state is none of those in `quality`.

    Examples
    --------
    >>> import numpy as np
    >>> classes_without_shadows(np.array([0, 3, 4, 5, 6, 7, 20, 37, 255], np.uint8), NIGHT_CLOUD)
    array([  0,   0,   4,   5,   4,   4,   4,   5, 255], dtype=uint8)
    """
    if state.dtype != np.uint8:
        raise ValueError(f"state is {state.dtype}; wanted uint8")
    if cloud not in (SHADED_CLOUD, NIGHT_CLOUD):
        raise ValueError(f"cloud is {cloud}; wanted {SHADED_CLOUD} by day or {NIGHT_CLOUD} by night")
    return np.asarray(_table_of_states(cloud)[state], np.uint8)


def amid_clouds(
    state: NDArray[np.uint8], classes: NDArray[np.uint8], reach: int, least_seen: float
) -> NDArray[np.uint8]:
    """Return classes in which what is seen amid clouds is told from what is seen in the open.

    Cloud masks leave the thin and the small: what they let pass between clouds is often cloud, degrees too cold, and
    an estimate of the ground below the clouds around must not lean on it. In the MODIS scene of the plateau of
    1 January 2010 pixels with less than half of a 7 x 7 neighbourhood observed are 2 to 4 K colder than the open
    ground around, with more than 70 % less than 0.5 K.

    Parameters
    ----------
    state : (time, y, x)
        States of observations, see `quality`: its flags may be set.
    classes : (time, y, x) uint8
        As from `classes_without_shadows` or `sky_classes`.
    reach : int
        Half width of the square neighbourhood [pixels]; it is cut at the edges. 0 changes nothing.
    least_seen : float
        Smallest share of the neighbourhood's pixels, those left out of which nothing is known, that are observed.

    Returns
    -------
    (time, y, x) uint8
        `classes`, with `CLEAR_AMID_CLOUDS` and `SHADOW_AMID_CLOUDS` where less of the neighbourhood is observed.

    Examples
    --------
    >>> state = np.array([[[0, 4, 4], [4, 4, 0], [4, 0, 0]]], np.uint8)
    >>> amid_clouds(state, classes_without_shadows(state, NIGHT_CLOUD), 1, 0.5)[0].tolist()
    [[6, 4, 4], [4, 4, 0], [4, 0, 0]]
    """
    if state.ndim != 3 or state.dtype != np.uint8 or classes.shape != state.shape or classes.dtype != np.uint8:
        raise ValueError(
            f"state and classes are {state.dtype} of shape {state.shape} and {classes.dtype} of shape {classes.shape}; "
            "wanted uint8 (time, y, x) twice"
        )
    if reach < 0 or not 0.0 <= least_seen <= 1.0:
        raise ValueError(f"reach is {reach} and least_seen {least_seen}; wanted 0 or more, and 0 to 1")
    result = classes.copy()
    if reach and least_seen > 0.0:
        _amid_clouds(np.ascontiguousarray(state), reach, least_seen, result)
    return result


@compiled
def _amid_clouds(state: NDArray[np.uint8], reach: int, least_seen: float, classes: NDArray[np.uint8]) -> None:
    days, height, width = state.shape
    # whole numbers: seen pixels count 1, clouds 65536, so that one sum holds both
    columns = np.zeros(width, np.int32)
    for t in range(days):
        columns[:] = 0
        for y in range(-reach, height):
            if y + reach < height:
                for x in range(width):
                    columns[x] += _seen_or_cloud(state[t, y + reach, x])
            if y < 0:
                continue
            if y > reach:
                for x in range(width):
                    columns[x] -= _seen_or_cloud(state[t, y - reach - 1, x])
            total = np.int32(0)
            for x in range(min(reach, width)):
                total += columns[x]
            for x in range(width):
                if x + reach < width:
                    total += columns[x + reach]
                if x > reach:
                    total -= columns[x - reach - 1]
                seen, cloudy = total & 65535, total >> 16
                if seen < least_seen * (seen + cloudy):
                    if classes[t, y, x] == CLEAR:
                        classes[t, y, x] = CLEAR_AMID_CLOUDS
                    elif classes[t, y, x] == SHADOW:
                        classes[t, y, x] = SHADOW_AMID_CLOUDS


@compiled
def _seen_or_cloud(state: np.uint8) -> int:
    kind = state & 15
    if state == 255 or kind == UNSEEN:
        return 0
    return 1 if kind <= OBSERVED else 65536


def _table_of_states(cloud: int) -> NDArray[np.uint8]:
    """Return the class of each state before any shadow is cast."""
    table = np.full(256, UNKNOWN, np.uint8)
    for flags in (0, GEOMETRY_INTERPOLATED, NO_SWATH, _FLAGS):
        table[flags : flags + OBSERVED + 1] = CLEAR
        table[[flags + CLOUDY, flags + DOUBTFUL, flags + RESIDUAL_CLOUD]] = cloud
        table[flags + UNSEEN] = NOT_SEEN
    return table


def sky_classes(
    state: NDArray[np.uint8],
    view_time: NDArray[np.uint8],
    view_angle: NDArray[np.uint8],
    cloud_top: NDArray[np.float32],
    elevation: NDArray[np.float32],
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    day_of_year: NDArray[np.integer],
    ascending: bool,
    pixel_size: float = PIXEL_SIZE,
    halo: tuple[int, int] = (64, 96),
    seam_distance: int = 10,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    r"""Sort the pixels of a day overpass by what the sun, the clouds and the satellite see of each other.

    A cloud seen at pixel P casts its shadow at

    .. math::

        P + h \tan\theta_v (\sin\phi_v, \cos\phi_v) - h \tan\theta_s (\sin\phi_s, \cos\phi_s), \qquad h = CTH - z

    1. Cloud of which h, the view or the sun is unknown, h is not positive, or the sun stands at 85° or lower counts as
       shading the ground below (C). All other cloud is a candidate of B and casts its shadow.
    2. A candidate in the shadow of any is C; so is one near a seam or a strip without swath (`near_seams`).
    3. A clear pixel in a shadow is D, unless the sun stands at 85° or lower there.
    4. Of the 5 x 5 pixels around a B more must be B than C, else it is C (all at once, from the classes before).

    Parameters
    ----------
    state : (time, y, x)
        States of observations, see `quality`. `CLOUDY`, `RESIDUAL_CLOUD` and `DOUBTFUL` count as cloud.
    view_time, view_angle : (time, y, x) uint8
        Stored view time (0.1 h) and signed view angle (count - 65°), cloudy pixels too. Above 240 and 130: missing.
    cloud_top : (time, y, x)
        Height of the cloud's top above sea level, CTH [m]. NaN is missing.
    elevation : (y, x)
        Height of the ground above sea level, z [m]. NaN is missing.
    latitude : (y,)
        Of the rows, which are parallels [°].
    longitude : (y, x)
        [°].
    day_of_year : (time,)
        Day of the UTC date, from 1.
    ascending : bool
        Whether the satellite flies north: Aqua by day.
    pixel_size : float
        Width of a pixel [m].
    halo : tuple of int
        Rows and columns around a window beyond which nothing may matter. A shadow that falls farther, less two pixels
        for the filter, is dropped. At least 2 rows, and 2 columns more than `seam_distance`.
    seam_distance : int
        See `near_seams`.

    Returns
    -------
    classes : (time, y, x) uint8
        `CLEAR` (A), `SUNLIT_CLOUD` (B), `SHADED_CLOUD` (C), `SHADOW` (D), `NOT_SEEN`, `UNKNOWN`.
    dropped : (time, y, x) bool
        Clouds whose shadow falls too far.

    Notes
    -----
    A pixel at least `halo` away from where an array was cut has the class that it has in the whole scene.
    The pixel's own shadow on itself (a high sun over a low cloud) makes it C.

    References
    ----------
    Steps 1 and 2 of SCSG, the sun-cloud-satellite geometry method; the sun as in `view_geometry.solar_position`, its
    declination and equation of time by a parabola through the day (error below 1e-7 rad).

    Examples
    --------
    A field of cloud, 5 km high and seen from above, 10 pixels wide; the sun in the south, 45° high:

    >>> import numpy as np
    >>> state = np.zeros((1, 30, 30), np.uint8)
    >>> state[0, 15:25, 15:25] = 4
    >>> time, angle = np.full_like(state, 117), np.full_like(state, 65)
    >>> top = np.where(state == 4, 5000.0, np.nan).astype(np.float32)
    >>> classes, dropped = sky_classes(
    ...     state, time, angle, top, np.zeros((30, 30), np.float32), np.full(30, 33.0), np.full((30, 30), 90.0),
    ...     np.array([298]), ascending=True,
    ... )
    >>> classes[0, [12, 16, 22], 16].tolist(), int(dropped.sum())
    ([3, 2, 1], 0)
    """
    shape = state.shape
    for name, stored in (("state", state), ("view_time", view_time), ("view_angle", view_angle)):
        if stored.ndim != 3 or stored.dtype != np.uint8 or stored.shape != shape:
            raise ValueError(
                f"{name} is {stored.dtype} of shape {stored.shape}; wanted uint8 (time, y, x), the shape of state"
            )
    wanted = {"cloud_top": shape, "elevation": shape[1:], "latitude": shape[1:2], "longitude": shape[1:]}
    wanted["day_of_year"] = shape[:1]
    given: tuple[NDArray[Any], ...] = (cloud_top, elevation, latitude, longitude, day_of_year)
    arrays = dict(zip(wanted, given, strict=True))
    wrong = [
        f"{name} {arrays[name].shape}, not {wanted[name]}" for name in wanted if arrays[name].shape != wanted[name]
    ]
    if wrong:
        raise ValueError(f"shapes do not fit states of shape {shape}: {'; '.join(wrong)}")
    least = FILTER, seam_distance + FILTER
    if halo[0] < least[0] or halo[1] < least[1] or seam_distance < 0 or not pixel_size > 0.0:
        raise ValueError(
            f"halo {halo}, seam_distance {seam_distance}, pixel_size {pixel_size}; wanted a halo of {least} or more, "
            "a distance of 0 or more, a size above 0"
        )
    # One layout and type of each, so that only one machine code is made.
    classes, dropped = _sky_classes(
        _table_of_states(SHADED_CLOUD)[np.ascontiguousarray(state)],
        np.ascontiguousarray(view_time),
        np.ascontiguousarray(view_angle),
        np.ascontiguousarray(cloud_top, np.float32),
        np.ascontiguousarray(elevation, np.float32),
        np.ascontiguousarray(latitude, np.float64),
        np.ascontiguousarray(longitude, np.float64),
        np.ascontiguousarray(day_of_year, np.float64),
        bool(ascending),
        float(pixel_size),
        halo[0] - FILTER,
        halo[1] - FILTER,
        seam_distance,
        np.tan(np.radians(np.arange(LARGEST_VIEW_ANGLE + 1) - 65.0)),
        np.radians(1.5 * np.arange(LATEST_VIEW_TIME + 1) - 180.0),
    )
    return classes, dropped


@compiled(error_model="numpy")
def _sky_classes(
    classes: NDArray[np.uint8],
    view_time: NDArray[np.uint8],
    view_angle: NDArray[np.uint8],
    cloud_top: NDArray[np.float32],
    elevation: NDArray[np.float32],
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    day_of_year: NDArray[np.float64],
    ascending: bool,
    pixel_size: float,
    most_rows: int,
    most_columns: int,
    seam_distance: int,
    tangents: NDArray[np.float64],
    hour_angles: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    days, height, width = classes.shape
    dropped = np.zeros(classes.shape, np.bool_)
    shadow, near = np.empty((height, width), np.bool_), np.empty((height, width), np.bool_)
    sine, cosine = np.sin(np.radians(latitude)), np.cos(np.radians(latitude))
    hour_sine, hour_cosine = np.sin(hour_angles), np.cos(hour_angles)
    for t in range(days):
        day = classes[t]
        sun_of_day = _sun_of_day(day_of_year[t])
        shadow[:] = False
        for y in range(height):
            time, angle, top = view_time[t, y], view_angle[t, y], cloud_top[t, y]
            side = eastern_side(cosine[y], ascending)
            for x in range(width):
                if day[y, x] != SHADED_CLOUD or time[x] > LATEST_VIEW_TIME or angle[x] > LARGEST_VIEW_ANGLE:
                    continue
                above = np.float64(top[x]) - np.float64(elevation[y, x])
                if not above > 0.0:
                    continue
                hour = time[x]
                sun = _sun(
                    sun_of_day, hour * 0.1, longitude[y, x], hour_sine[hour], hour_cosine[hour], sine[y], cosine[y]
                )
                if not sun[2] > _LOWEST_COSINE:
                    continue
                shear = np.radians(longitude[y, x]) * sine[y]
                down, across = shadow_per_metre(tangents[angle[x]], side, sun, shear)
                rows, columns = np.rint(above * down / pixel_size), np.rint(above * across / pixel_size)
                if not (rows == rows and columns == columns):
                    continue
                day[y, x] = _CANDIDATE
                if abs(rows) > most_rows or abs(columns) > most_columns:
                    dropped[t, y, x] = True
                    continue
                row, column = y + int(rows), x + int(columns)
                if 0 <= row < height and 0 <= column < width:
                    shadow[row, column] = True
        mark_near_seams(view_angle[t], seam_distance, SWATH_JUMP, near)
        for y in range(height):
            for x in range(width):
                before = day[y, x]
                if before == _CANDIDATE:
                    day[y, x] = SHADED_CLOUD if shadow[y, x] or near[y, x] else SUNLIT_CLOUD
                elif before == CLEAR and shadow[y, x]:
                    hour = view_time[t, y, x]
                    if hour <= LATEST_VIEW_TIME:
                        up = _sun(
                            sun_of_day,
                            hour * 0.1,
                            longitude[y, x],
                            hour_sine[hour],
                            hour_cosine[hour],
                            sine[y],
                            cosine[y],
                        )[2]
                        day[y, x] = SHADOW if up > _LOWEST_COSINE else CLEAR
        _filter(day)
    return classes, dropped


@compiled
def _sun_of_day(day_of_year: float) -> NDArray[np.float64]:
    """Return parabolas through a UTC day: sine and cosine of the declination, and the equation of time [rad]."""
    at = np.empty((3, 3))
    for i in range(3):
        declination, equation = declination_and_equation(day_of_year + (i - 1) * 0.5)
        at[0, i], at[1, i], at[2, i] = np.sin(declination), np.cos(declination), equation
    parabolas = np.empty((3, 3))
    for k in range(3):
        parabolas[k, 0] = at[k, 0]
        parabolas[k, 1] = 4.0 * at[k, 1] - 3.0 * at[k, 0] - at[k, 2]
        parabolas[k, 2] = 2.0 * (at[k, 0] + at[k, 2]) - 4.0 * at[k, 1]
    return parabolas


@compiled(forceinline=True)
def _sun(
    sun_of_day: NDArray[np.float64],
    hours: float,
    longitude: float,
    sin_mean: float,
    cos_mean: float,
    sin_latitude: float,
    cos_latitude: float,
) -> tuple[float, float, float]:
    """Return the direction to the sun (east, north, up); `sin_mean`, `cos_mean`: of the hour angle of the mean sun."""
    at = utc_hour(hours, longitude) / 24.0
    sin_declination = sun_of_day[0, 0] + at * (sun_of_day[0, 1] + at * sun_of_day[0, 2])
    cos_declination = sun_of_day[1, 0] + at * (sun_of_day[1, 1] + at * sun_of_day[1, 2])
    equation = sun_of_day[2, 0] + at * (sun_of_day[2, 1] + at * sun_of_day[2, 2])
    square = equation * equation  # at most 0.072 rad: the series are exact to 1e-11
    sine = equation * (1.0 - square / 6.0 * (1.0 - square / 20.0))
    cosine = 1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0))
    return sun_vector(
        sin_latitude,
        cos_latitude,
        sin_declination,
        cos_declination,
        sin_mean * cosine + cos_mean * sine,
        cos_mean * cosine - sin_mean * sine,
    )


@compiled
def _filter(classes: NDArray[np.uint8]) -> None:
    """Turn B into C where B is no majority of B and C in the 5 x 5 pixels around it; `classes` (y, x) is changed."""
    height, width = classes.shape
    score = np.zeros((height + 2 * FILTER, width + 2 * FILTER), np.int8)
    for y in range(height):
        for x in range(width):
            value = classes[y, x]
            score[y + FILTER, x + FILTER] = _SCORE[value] if value <= NOT_SEEN else 0
    column = np.empty(width + 2 * FILTER, np.int8)
    for y in range(height):
        for x in range(width + 2 * FILTER):
            column[x] = score[y, x] + score[y + 1, x] + score[y + 2, x] + score[y + 3, x] + score[y + 4, x]
        for x in range(width):
            total = column[x] + column[x + 1] + column[x + 2] + column[x + 3] + column[x + 4]
            if classes[y, x] == SUNLIT_CLOUD and total <= 0:
                classes[y, x] = SHADED_CLOUD
