"""What the radiometers would have stored: skin temperature seen through clouds, as the granules' own bytes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from frostmap.catalogs.grids import Tile
from frostmap.kernels.compiled import compiled
from frostmap.kernels.view_geometry import equation_of_time, solar_declination
from frostmap.pipeline.simulate.climate import (
    OMEGA,
    GroundClimate,
    Landscape,
    covariates,
    ground_climate,
    ground_temperature,
    landscape,
    season,
)
from frostmap.pipeline.simulate.clouds import (
    NIGHT_CLEARING,
    CloudClimate,
    cloud_climate,
    cloud_top,
    cloudiness,
    displaced,
    monsoon,
)
from frostmap.pipeline.simulate.diurnal import day_course_table, interpolated_course
from frostmap.pipeline.simulate.noise import field_seed, uniform
from frostmap.pipeline.simulate.orbits import ASCENDING, NO_SWATH, NODE_HOUR, NODE_PHASE, overpass, track, view_azimuth
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.settings import Simulation

ORIGIN = dt.date(2000, 1, 1)
"""Day 0."""

MISSED_CLOUD_KM = 4.0
"""Thin cloud goes unnoticed in patches of this width [km]."""


def day_number(date: dt.date) -> int:
    """Count days from 0 on 1 January 2000.

    Examples
    --------
    >>> day_number(dt.date(2010, 1, 1))
    3653
    """
    return (date - ORIGIN).days


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything about a window that a year's observations need."""

    window: Window
    """Where."""

    land: Landscape
    """What does not change."""

    climate: GroundClimate
    """Ground and skin temperature of the year."""

    clouds: CloudClimate
    """Where clouds are frequent."""

    emissivity_31: NDArray[np.uint8]
    """Stored band-31 emissivity, (y, x)."""

    emissivity_32: NDArray[np.uint8]
    """Stored band-32 emissivity, (y, x)."""

    seed: np.uint64
    """Seed of what is random from pixel to pixel."""


@functools.lru_cache(maxsize=2)
def landscape_of(seed: int, window: Window) -> Landscape:
    """Return (and remember) the landscape of a window."""
    return landscape(seed, window.places())


@functools.lru_cache(maxsize=2)
def scene(seed: int, window: Window, year: int) -> Scene:
    """Return (and remember) the scene of a window and year."""
    land = landscape_of(seed, window)
    dynamic = covariates(seed, land, year + 0.5)
    emissivity = 0.962 + 0.022 * np.clip(dynamic.ndvi / 0.5, 0.0, 1.0) + 0.0001 * dynamic.snow
    return Scene(
        window,
        land,
        ground_climate(seed, land, dynamic),
        cloud_climate(seed, land),
        _emissivity_bytes(emissivity),
        _emissivity_bytes(emissivity + 0.006),
        field_seed(seed, "pixels"),
    )


def _emissivity_bytes(emissivity: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint((emissivity - 0.49) / 0.002), 1, 255).astype(np.uint8)


def tile_scene(simulation: Simulation, tile: Tile, year: int) -> Scene:
    """Return the scene of a whole tile."""
    return scene(simulation.seed, Window.of_tile(tile, simulation.pixels_per_tile), year)


def skin_day(climate: GroundClimate, day: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return daily mean [°C] and clear-sky day amplitude [K] of skin temperature, flat over the places.

    The ground is warmer than the skin in winter (it gives off heat stored in summer, under snow more so) and cooler in
    summer (it takes heat up, under vegetation it is shaded).
    """
    date = ORIGIN + dt.timedelta(days=day)
    greenness = float(season(np.array([date.timetuple().tm_yday - 1.0]))[0])
    winter = 0.5 + 0.5 * math.cos(OMEGA * (day - 15.0))  # 1 in mid January, 0 in mid July
    ndvi = climate.ndvi_winter + climate.ndvi_gain * greenness
    skin = (
        ground_temperature(climate, day, 1)[0]
        - climate.winter_offset * math.sqrt(winter)
        + (climate.summer_offset + climate.shading * ndvi) * (1.0 - winter)
    )
    sun = math.cos(OMEGA * (day - 165.0))
    swing = np.clip(climate.amplitude + climate.amplitude_season * sun - 10.0 * ndvi, 5.0, 32.0)
    return skin.ravel(), swing.ravel()


@compiled
def sun_position(latitude: float, hour: float, tilt: float, equation: float) -> tuple[float, float]:
    """Return zenith and azimuth (clockwise from north) of the sun [rad] at a local mean solar hour."""
    phi = math.radians(latitude)
    angle = math.radians(15.0 * (hour + equation - 12.0))
    cosine = math.sin(phi) * math.sin(tilt) + math.cos(phi) * math.cos(tilt) * math.cos(angle)
    azimuth = math.atan2(
        -math.cos(tilt) * math.sin(angle),
        math.sin(tilt) * math.cos(phi) - math.cos(tilt) * math.cos(angle) * math.sin(phi),
    )
    return math.acos(min(max(cosine, -1.0), 1.0)), azimuth


@compiled
def mean_at(hour: float, yesterday: float, today: float, tomorrow: float) -> float:
    """Return what the day's course rides on at an hour [°C]: daily means meet at local noon."""
    since_noon = (hour - 12.0) / 24.0
    if since_noon < 0.0:
        return today * (1.0 + since_noon) - yesterday * since_noon
    return today * (1.0 - since_noon) + tomorrow * since_noon


@compiled
def cloud_over_sun(
    longitude: float,
    latitude: float,
    utc: float,
    hour: float,
    top_km: float,
    threshold: float,
    tilt: float,
    equation: float,
    seed: np.uint64,
) -> float:
    """Return the cloud field less its threshold where the sun's ray passes the cloud's level; 0 where no sun is up."""
    sun, azimuth = sun_position(latitude, hour, tilt, equation)
    if sun >= 1.48:
        return 0.0
    east, north = displaced(longitude, latitude, top_km, sun, azimuth)
    return cloudiness(east, north, utc, threshold, seed)


@compiled
def shaded_course(course: float, swing: float, shade: float) -> float:
    """Return the day's course below cloud [K]: a shaded skin loses part of what the sun gave it.

    Parameters
    ----------
    course, swing
        The same under clear sky, and its amplitude [K].
    shade
        See `cloud_over_sun`.
    """
    if shade > 0.0:
        return course - (0.18 + 0.22 * min(shade / 0.5, 1.0)) * max(course + 0.25 * swing, 0.0)
    return course


@compiled
def length_of_day(latitude: float, tilt: float) -> float:
    """Return the hours from sunrise to sunset."""
    cosine = -math.tan(math.radians(latitude)) * math.tan(tilt)
    return 24.0 / math.pi * math.acos(min(max(cosine, -0.99), 0.99))


@compiled
def _observe(
    day: int,
    which: int,
    node_hour: float,
    phase: float,
    ascending: bool,
    tilt: float,
    equation: float,
    monsoon_now: float,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    patch: int,
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    threshold_winter: NDArray[np.float64],
    threshold_summer: NDArray[np.float64],
    cloud_seed: np.uint64,
    yesterday: NDArray[np.float64],
    today: NDArray[np.float64],
    tomorrow: NDArray[np.float64],
    swing: NDArray[np.float64],
    table: NDArray[np.float64],
    pixel_seed: np.uint64,
    lst: NDArray[np.uint16],
    quality: NDArray[np.uint8],
    time: NDArray[np.uint8],
    angle: NDArray[np.uint8],
    coverage: NDArray[np.uint16],
) -> None:
    by_day = which < 2
    last_latitude = np.nan
    local_hour, turns, across, azimuth, day_length = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(longitude.size):
        if latitude[i] != last_latitude:  # once a row
            last_latitude = latitude[i]
            local_hour, turns, across = track(last_latitude, node_hour, ascending)
            azimuth = view_azimuth(last_latitude, -1.0, ascending)
            day_length = length_of_day(last_latitude, tilt)
        lst[i], time[i], angle[i], coverage[i] = 0, 255, 255, 0
        hour, zenith = overpass(longitude[i], day, phase, local_hour, turns, across)
        if hour == NO_SWATH:
            quality[i] = 3
            continue
        utc = 24.0 * day + hour - longitude[i] / 15.0
        threshold = threshold_winter[i] + monsoon_now * (threshold_summer[i] - threshold_winter[i])
        if not by_day:
            threshold += NIGHT_CLEARING
        top = cloud_top(longitude[i], latitude[i], utc, cloud_seed)
        # the sign of the angle turns the ray from east to west of the track
        east, north = displaced(longitude[i], latitude[i], top, -zenith, azimuth)
        margin = cloudiness(east, north, utc, threshold, cloud_seed)
        chance = uniform(rows[i], columns[i], 4 * day + which, pixel_seed)
        missed = False
        if margin > 0.0:
            missed = (
                margin < 0.45 and uniform(rows[i] // patch, columns[i] // patch, 4 * day + which, pixel_seed) < 0.13
            )
            if not missed:
                quality[i] = 2
                continue
        elif chance > 0.992:  # dropped beside cloud or for a bad retrieval
            quality[i] = 2 if margin > -0.5 else 3
            continue
        luck = uniform(rows[i], columns[i], 4 * day + which, pixel_seed + np.uint64(1))
        bell = luck + uniform(rows[i], columns[i], 4 * day + which, pixel_seed + np.uint64(2)) - 1.0  # sd 0.408
        course = swing[i] * interpolated_course(table, day_length, hour)
        if by_day:
            shade = cloud_over_sun(longitude[i], latitude[i], utc, hour, top, threshold, tilt, equation, cloud_seed)
            course = shaded_course(course, swing[i], shade)
        oblique = (zenith / 1.134) ** 2  # 1 at 65°
        mean = mean_at(hour, yesterday[i], today[i], tomorrow[i])
        value = mean + course - 0.6 * oblique + bell * (1.1 + 1.2 * oblique)
        if missed:
            value -= 2.0 + 10.0 * luck
        # the file's own estimate of its error: obliqueness, nearby cloud, and what nobody knows
        near = max(0.0, 1.0 - abs(margin) / 0.35)
        error = 0.35 + 0.75 * oblique + 0.75 * near + 0.9 * luck * luck
        lst_class = min(int(error), 3)
        emissivity_class = 0 if chance < 0.75 else (1 if chance < 0.985 else 2)
        if lst_class == 0 and emissivity_class == 0:
            quality[i] = 0
        else:
            quality[i] = 1 | (lst_class << 6) | (emissivity_class << 4)
        lst[i] = np.uint16(min(max((value + 273.15) / 0.02 + 0.5, 7500.0), 65535.0))
        time[i] = np.uint8(10.0 * (hour - 24.0 if hour >= 24.0 else hour) + 0.5)
        angle[i] = np.uint8(min(max(math.degrees(zenith) + 65.5, 0.0), 130.0))
        # the share of clear looks falls beside clouds, in steps of a twentieth
        coverage[i] = 100 * np.uint16(20.0 * min(max(0.4 - margin, 0.2), 1.0) + 0.5)


Layers = dict[str, NDArray[np.generic]]
"""Stored values by the names of MOD11A1's layers."""


def observed_days(scene_: Scene, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, dict[str, Layers]]]:
    """Yield each date with what both its granules hold, by product (``MOD11A1``, ``MYD11A1``) and layer, (y, x).

    Parameters
    ----------
    scene_
        Of the year of the dates.
    first, last
        First and last date.
    """
    for date, means, swing in _skins(scene_, first, last):
        yield date, _granules(scene_, date, *means, swing)


def _granules(
    scene_: Scene,
    date: dt.date,
    yesterday: NDArray[np.float64],
    today: NDArray[np.float64],
    tomorrow: NDArray[np.float64],
    swing: NDArray[np.float64],
) -> dict[str, Layers]:
    day, day_of_year = day_number(date), date.timetuple().tm_yday - 1.0
    day_angle = 2.0 * math.pi * day_of_year / 365.0
    window, places = scene_.window, scene_.land.places
    shape = (window.height, window.width)
    rows, columns = window.rows.ravel(), window.columns.ravel()
    products: dict[str, Layers] = {}
    for product, overpasses in (("MOD11A1", (0, 2)), ("MYD11A1", (1, 3))):
        stored: Layers = {}
        for which, half, cover in zip(overpasses, ("Day", "Night"), ("day", "night"), strict=True):
            lst, coverage = np.empty(shape, np.uint16), np.empty(shape, np.uint16)
            quality, time, angle = (np.empty(shape, np.uint8) for _ in range(3))
            _observe(
                day,
                which,
                NODE_HOUR[which],
                NODE_PHASE[which],
                bool(ASCENDING[which]),
                float(solar_declination(day_angle)),
                float(equation_of_time(day_angle)) / 60.0,
                monsoon(day_of_year),
                rows,
                columns,
                max(1, round(MISSED_CLOUD_KM / places.spacing_km)),
                places.longitude.ravel(),
                places.latitude.ravel(),
                scene_.clouds.winter.ravel(),
                scene_.clouds.summer.ravel(),
                scene_.clouds.seed,
                yesterday,
                today,
                tomorrow,
                swing,
                day_course_table(),
                scene_.seed,
                lst.reshape(-1),
                quality.reshape(-1),
                time.reshape(-1),
                angle.reshape(-1),
                coverage.reshape(-1),
            )
            stored |= {
                f"LST_{half}_1km": lst,
                f"QC_{half}": quality,
                f"{half}_view_time": time,
                f"{half}_view_angl": angle,
                f"Clear_{cover}_cov": coverage,
            }
        seen = (stored["LST_Day_1km"] != 0) | (stored["LST_Night_1km"] != 0)
        stored["Emis_31"] = np.where(seen, scene_.emissivity_31, np.uint8(0))
        stored["Emis_32"] = np.where(seen, scene_.emissivity_32, np.uint8(0))
        products[product] = stored
    return products


# ---- what nobody observes -----------------------------------------------------------------------------------------


def true_skin_days(scene_: Scene, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, NDArray[np.float32]]]:
    """Yield each date with the skin temperature at its four overpasses [°C], (overpass, y, x).

    It is what gap filling looks for: below clouds and in their shade too, without the radiometer's noise, its
    obliqueness and missed clouds. NaN where no swath reaches. See `observed_days`.
    """
    window, places = scene_.window, scene_.land.places
    for date, means, swing in _skins(scene_, first, last):
        day, day_of_year = day_number(date), date.timetuple().tm_yday - 1.0
        day_angle = 2.0 * math.pi * day_of_year / 365.0
        yesterday, today, tomorrow = means
        skin = np.empty((len(NODE_HOUR), window.height, window.width), np.float32)
        for which in range(len(NODE_HOUR)):
            _true_skin(
                day,
                which,
                NODE_HOUR[which],
                NODE_PHASE[which],
                bool(ASCENDING[which]),
                float(solar_declination(day_angle)),
                float(equation_of_time(day_angle)) / 60.0,
                monsoon(day_of_year),
                places.longitude.ravel(),
                places.latitude.ravel(),
                scene_.clouds.winter.ravel(),
                scene_.clouds.summer.ravel(),
                scene_.clouds.seed,
                yesterday,
                today,
                tomorrow,
                swing,
                day_course_table(),
                skin[which].reshape(-1),
            )
        yield date, skin


def true_daily_means(
    scene_: Scene, first: dt.date, last: dt.date, pixels: NDArray[np.int64]
) -> Iterator[tuple[dt.date, NDArray[np.float32]]]:
    """Yield each date with the mean skin temperature of its local day [°C], in the sun and in the shade of clouds.

    Parameters
    ----------
    scene_
        Of the year of the dates.
    first, last
        First and last date.
    pixels
        Which pixels, counted along the rows.
    """
    places = scene_.land.places
    for date, means, swing in _skins(scene_, first, last):
        day_of_year = date.timetuple().tm_yday - 1.0
        day_angle = 2.0 * math.pi * day_of_year / 365.0
        yesterday, today, tomorrow = (values[pixels] for values in means)
        mean = _true_daily_mean(
            day_number(date),
            float(solar_declination(day_angle)),
            float(equation_of_time(day_angle)) / 60.0,
            monsoon(day_of_year),
            places.longitude.ravel()[pixels],
            places.latitude.ravel()[pixels],
            scene_.clouds.winter.ravel()[pixels],
            scene_.clouds.summer.ravel()[pixels],
            scene_.clouds.seed,
            yesterday,
            today,
            tomorrow,
            swing[pixels],
            day_course_table(),
        )
        yield date, mean


Means = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Daily means of the day before, of the day and of the next [°C], flat over the places."""


def _skins(scene_: Scene, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, Means, NDArray[np.float64]]]:
    """Yield each date with daily means and the day amplitude."""
    day = day_number(first)
    skins = [skin_day(scene_.climate, day + shift) for shift in (-1, 0)]
    for shift in range((last - first).days + 1):
        skins = [*skins[-2:], skin_day(scene_.climate, day + shift + 1)]
        yield first + dt.timedelta(days=shift), (skins[0][0], skins[1][0], skins[2][0]), skins[1][1]


@compiled
def _true_skin(
    day: int,
    which: int,
    node_hour: float,
    phase: float,
    ascending: bool,
    tilt: float,
    equation: float,
    monsoon_now: float,
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    threshold_winter: NDArray[np.float64],
    threshold_summer: NDArray[np.float64],
    cloud_seed: np.uint64,
    yesterday: NDArray[np.float64],
    today: NDArray[np.float64],
    tomorrow: NDArray[np.float64],
    swing: NDArray[np.float64],
    table: NDArray[np.float64],
    skin: NDArray[np.float32],
) -> None:
    by_day = which < 2
    last_latitude = np.nan
    local_hour, turns, across, day_length = 0.0, 0.0, 0.0, 0.0
    for i in range(longitude.size):
        if latitude[i] != last_latitude:  # once a row
            last_latitude = latitude[i]
            local_hour, turns, across = track(last_latitude, node_hour, ascending)
            day_length = length_of_day(last_latitude, tilt)
        skin[i] = np.nan
        hour, _ = overpass(longitude[i], day, phase, local_hour, turns, across)
        if hour == NO_SWATH:
            continue
        course = swing[i] * interpolated_course(table, day_length, hour)
        if by_day:
            utc = 24.0 * day + hour - longitude[i] / 15.0
            threshold = threshold_winter[i] + monsoon_now * (threshold_summer[i] - threshold_winter[i])
            top = cloud_top(longitude[i], latitude[i], utc, cloud_seed)
            shade = cloud_over_sun(longitude[i], latitude[i], utc, hour, top, threshold, tilt, equation, cloud_seed)
            course = shaded_course(course, swing[i], shade)
        skin[i] = mean_at(hour, yesterday[i], today[i], tomorrow[i]) + course


@compiled
def _true_daily_mean(
    day: int,
    tilt: float,
    equation: float,
    monsoon_now: float,
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    threshold_winter: NDArray[np.float64],
    threshold_summer: NDArray[np.float64],
    cloud_seed: np.uint64,
    yesterday: NDArray[np.float64],
    today: NDArray[np.float64],
    tomorrow: NDArray[np.float64],
    swing: NDArray[np.float64],
    table: NDArray[np.float64],
) -> NDArray[np.float32]:
    mean = np.empty(longitude.size, np.float32)
    for i in range(longitude.size):
        day_length = length_of_day(latitude[i], tilt)
        threshold = threshold_winter[i] + monsoon_now * (threshold_summer[i] - threshold_winter[i])
        total = 0.0
        for h in range(24):
            hour = h + 0.5
            utc = 24.0 * day + hour - longitude[i] / 15.0
            top = cloud_top(longitude[i], latitude[i], utc, cloud_seed)
            shade = cloud_over_sun(longitude[i], latitude[i], utc, hour, top, threshold, tilt, equation, cloud_seed)
            course = shaded_course(swing[i] * interpolated_course(table, day_length, hour), swing[i], shade)
            total += mean_at(hour, yesterday[i], today[i], tomorrow[i]) + course
        mean[i] = total / 24.0
    return mean
