"""Clouds of the simulated plateau: drifting, growing and decaying fields with tops some kilometres above the ground.

The cloud field is a function of place and time, so whether a line of sight or a sun ray meets cloud is answered by
looking at the field where the ray passes the cloud's level: no halo, no scattering into neighbours.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from frostmap.kernels.compiled import compiled
from frostmap.pipeline.simulate.climate import Landscape
from frostmap.pipeline.simulate.noise import OCTAVE_STEP, field_seed, noise_2d, noise_3d
from frostmap.pipeline.simulate.positions import EAST_KM, NORTH_KM

Array = NDArray[np.float64]

NIGHT_CLEARING = 0.22
"""How much higher the threshold of cloud is by night, in standard deviations of the field."""

_DRIFT_EAST, _DRIFT_NORTH = 26.0, 3.0  # [km/h]
_SPACING_KM, _LIFE_HOURS = 430.0, 15.0  # of the coarsest octave
_DRIFTING_OCTAVES = 4
_PERSISTENCE = 0.62
_UNIT = 1.0 / math.sqrt(sum(_PERSISTENCE ** (2 * k) for k in range(2 + _DRIFTING_OCTAVES)))
_LIMIT = 3.0  # where the sum is this many amplitudes off the threshold, finer octaves hardly ever decide


@dataclasses.dataclass(frozen=True)
class CloudClimate:
    """Thresholds that the field must exceed to be cloud, one value a place."""

    seed: np.uint64
    """The field's own number."""

    winter: Array
    """Outside the monsoon [standard deviations]."""

    summer: Array
    """At its height [standard deviations]."""


def cloud_climate(seed: int, land: Landscape) -> CloudClimate:
    """Return where and when clouds are frequent: most in the south-east's summer, least in the west's winter."""
    humid = land.humidity
    winter = 0.43 + 0.20 * humid + 0.04 * np.clip((land.elevation - 4500.0) / 800.0, -2.0, 2.0)
    summer = 0.56 + 0.27 * humid
    return CloudClimate(field_seed(seed, "clouds"), -ndtri(winter), -ndtri(summer))


def monsoon(day_of_year: float) -> float:
    """Return how far the monsoon has come, 0 in winter to 1 in July and August (day counted from 0).

    Examples
    --------
    >>> monsoon(10) < 0.01 < 0.99 < monsoon(205)
    True
    """
    return 1.0 / (1.0 + math.exp(-(day_of_year - 150.0) / 9.0)) - 1.0 / (1.0 + math.exp(-(day_of_year - 268.0) / 9.0))


@compiled
def cloudiness(longitude: float, latitude: float, hours: float, threshold: float, seed: np.uint64) -> float:
    """Return the cloud field minus its threshold: cloud where positive.

    Parameters
    ----------
    longitude, latitude
        Degrees.
    hours
        UTC hours since 1 January 2000.
    threshold
        See `CloudClimate`.
    seed
        The field's own number.
    """
    east, north = longitude * EAST_KM, latitude * NORTH_KM
    x, y = (east - _DRIFT_EAST * hours) / _SPACING_KM, (north - _DRIFT_NORTH * hours) / _SPACING_KM
    total = _UNIT * noise_3d(x, y, hours / _LIFE_HOURS, seed)
    x, y = 1.6 * x - 1.2 * y + 0.37, 1.2 * x + 1.6 * y + 0.71
    total += _UNIT * _PERSISTENCE * noise_3d(x, y, 1.4 * hours / _LIFE_HOURS, seed + OCTAVE_STEP)
    amplitude, spacing = _UNIT * _PERSISTENCE**2, _SPACING_KM / 4.0
    total -= threshold
    for k in range(_DRIFTING_OCTAVES):
        if abs(total) > _LIMIT * amplitude:
            break
        # finer parts do not age, they drift at speeds of their own and so pass each other
        x, y = (east - (22.0 + 4.0 * k) * hours) / spacing, (north + (2.0 - 3.0 * k) * hours) / spacing
        total += amplitude * noise_2d(0.8 * x - 0.6 * y, 0.6 * x + 0.8 * y, seed + np.uint64(k + 11))
        amplitude *= _PERSISTENCE
        spacing *= 0.5
    return total


@compiled
def cloud_top(longitude: float, latitude: float, hours: float, seed: np.uint64) -> float:
    """Return the height of cloud tops above the ground [km], 2 to 9."""
    x = (longitude * EAST_KM - _DRIFT_EAST * hours) / 260.0
    y = (latitude * NORTH_KM - _DRIFT_NORTH * hours) / 260.0
    return min(max(5.0 + 1.7 * noise_2d(x, y, seed + np.uint64(977)), 2.0), 9.0)


@compiled
def displaced(
    longitude: float, latitude: float, height_km: float, zenith: float, azimuth: float
) -> tuple[float, float]:
    """Return where a ray from the ground reaches a height: longitude and latitude [°]; angles in radians."""
    distance = height_km * math.tan(zenith)
    north = distance * math.cos(azimuth) / 6371.007
    east = distance * math.sin(azimuth) / (6371.007 * math.cos(math.radians(latitude)))
    return longitude + math.degrees(east), latitude + math.degrees(north)
