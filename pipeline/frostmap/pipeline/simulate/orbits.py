"""When and under which angle Terra and Aqua see a place.

Both fly the same kind of orbit: inclination 98.2°, 233 revolutions in 16 days, so neighbouring nodes are 24.72° apart
and everything repeats after 16 days. Terra crosses the equator southwards at 10:30, Aqua northwards at 13:30 local mean
solar time. The Earth is a sphere, tracks are straight within a swath, and of several swaths the nearest is kept.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

OVERPASSES = ("terra_day", "aqua_day", "terra_night", "aqua_night")
"""Order of overpasses in all arrays."""

INCLINATION = math.radians(98.2)
REVOLUTIONS, REPEAT_DAYS = 233, 16
PERIOD = REPEAT_DAYS / REVOLUTIONS
"""Time of a revolution [d]."""

NODE_SPACING = 360.0 * PERIOD
"""Longitude between successive nodes [°]."""

NODE_HOUR = np.array([10.5, 13.5, 22.5, 25.5])
"""Local mean solar time of the node of each overpass [h]; Aqua's night belongs to the night after the date."""

NODE_PHASE = np.array([0.00, 0.37, 0.03, 0.41])
"""Where in the 16-day cycle each node stands, as a share of a revolution (the constellation's phasing, invented)."""

ASCENDING = np.array([False, True, True, False])
"""Whether the satellite moves northwards."""

EARTH_RADIUS_KM, ALTITUDE_KM = 6371.007, 705.0
LARGEST_SCAN = math.radians(55.0)
LARGEST_ARC = math.asin((EARTH_RADIUS_KM + ALTITUDE_KM) / EARTH_RADIUS_KM * math.sin(LARGEST_SCAN)) - LARGEST_SCAN
"""Arc from the ground track to the swath's edge [rad]."""

NO_SWATH = -999.0
"""Hour returned where no swath reaches; never stored."""


@compiled
def track(latitude: float, node_hour: float, ascending: bool) -> tuple[float, float, float]:
    """Return what all places of a latitude share.

    Parameters
    ----------
    latitude
        Degrees.
    node_hour, ascending
        Of the overpass, see `NODE_HOUR`.

    Returns
    -------
    tuple
        Local mean solar hour below the satellite [h], revolutions since the node, and the arc from the track a radian
        of longitude [rad].
    """
    phi = math.radians(latitude)
    argument = math.asin(math.sin(phi) / math.sin(INCLINATION))  # from the ascending node, northward leg
    offset = math.degrees(math.atan2(math.cos(INCLINATION) * math.sin(argument), math.cos(argument)))
    turns = argument / (2.0 * math.pi)
    if not ascending:  # the descending leg passes the latitude before its node, mirrored
        offset, turns = -offset, -turns
    # in a frame that turns with the mean Sun the orbit stands still: the local hour at this latitude is fixed
    return node_hour + offset / 15.0, turns, math.cos(phi) * math.cos(heading_tilt(phi))


@compiled
def heading_tilt(phi: float) -> float:
    """Return how far the ground track leans off the meridian [rad], the earth's rotation included."""
    azimuth = math.asin(min(1.0, abs(math.cos(INCLINATION)) / math.cos(phi)))
    return math.atan2(6750.0 * math.sin(azimuth) + 463.3 * math.cos(phi), 6750.0 * math.cos(azimuth))  # [m/s]


@compiled
def overpass(
    longitude: float, day: int, phase: float, local_hour: float, turns: float, across: float
) -> tuple[float, float]:
    """Return when and how a place is seen.

    Parameters
    ----------
    longitude
        Degrees.
    day
        UTC date, counted from 0 on 1 January 2000.
    phase
        Of the overpass, see `NODE_PHASE`.
    local_hour, turns, across
        Of the latitude, see `track`.

    Returns
    -------
    tuple
        Local mean solar hour of the date [h] and signed view zenith angle [rad], negative where the satellite stands
        east of the place; `NO_SWATH` as hour where no swath reaches.
    """
    # a track over the place itself would pass at this time; revolution k passes at (k + phase + turns) * PERIOD [d]
    overhead = day + (local_hour - longitude / 15.0) / 24.0
    passing = (math.floor(overhead / PERIOD - phase - turns + 0.5) + phase + turns) * PERIOD
    apart = 360.0 * (passing - overhead)  # the earlier track lies further east
    arc = math.radians(apart) * across
    if abs(arc) > LARGEST_ARC:
        return NO_SWATH, 0.0
    nadir = math.atan2(
        EARTH_RADIUS_KM * math.sin(abs(arc)), EARTH_RADIUS_KM + ALTITUDE_KM - EARTH_RADIUS_KM * math.cos(arc)
    )
    return local_hour + apart / 15.0, math.copysign(abs(arc) + nadir, arc)


@compiled
def view_azimuth(latitude: float, angle: float, ascending: bool) -> float:
    """Return the azimuth of the sensor seen from the place, clockwise from north [rad]."""
    tilt = heading_tilt(math.radians(latitude))
    # ascending tracks head 360° - tilt, descending 180° + tilt; east of the track's normal is +-90°
    east = math.pi / 2.0 - tilt if ascending else math.pi / 2.0 + tilt
    return east if angle < 0.0 else east + math.pi


@compiled
def _geometry(
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    day: int,
    node_hour: float,
    phase: float,
    ascending: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    hours = np.empty(longitude.size, np.float32)
    angles = np.empty(longitude.size, np.float32)
    for i in range(longitude.size):
        local_hour, turns, across = track(latitude[i], node_hour, ascending)
        hour, angle = overpass(longitude[i], day, phase, local_hour, turns, across)
        seen = hour > NO_SWATH
        hours[i] = hour if seen else np.nan
        angles[i] = math.degrees(angle) if seen else np.nan
    return hours, angles


def view_geometry(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64], day: int, which: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return local mean solar hours [h] and signed view angles [°] of an overpass, NaN where no swath reaches."""
    hours, angles = _geometry(
        longitude.ravel(), latitude.ravel(), day, NODE_HOUR[which], NODE_PHASE[which], ASCENDING[which]
    )
    return hours.reshape(longitude.shape), angles.reshape(longitude.shape)
