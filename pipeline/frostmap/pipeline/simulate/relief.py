"""Relief of the simulated plateau: ETOPO5 means of 10 arc-minutes, and synthetic fractal relief below that.

The table ``relief_10_arc_minutes.npz`` (24-43°N, 72-106°E) was made by averaging 2 x 2 cells of ETOPO5, which is in the
public domain. What is finer than 10 arc-minutes is invented, and so is everything beyond the table.

References
----------
NOAA National Geophysical Data Center 1993. 5-minute Gridded Global Relief Data (ETOPO5).
https://doi.org/10.7289/V5D798BF
"""

from __future__ import annotations

import functools
import importlib.resources
import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.pipeline.simulate.noise import OCTAVE_STEP, field_seed, noise_2d
from frostmap.pipeline.simulate.positions import EAST_KM, NORTH_KM, Places

WEST, NORTH, STEP = 72.042334, 42.958333, 1.0 / 6.0
"""Centre of the table's first cell and its step [°]."""

_FINE_SPACING_KM = 10.0  # lattice spacing of the coarsest synthetic octave: half of it is what the table cannot hold
_FINE_OCTAVES = 5
_FINE_PERSISTENCE = 0.55


@functools.cache
def relief_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return elevation [m] and local roughness [m] on the 10-arc-minute table, north up.

    Roughness is the standard deviation of elevation in 3 x 3 cells, smoothed over 3 x 3 more.
    """
    file = importlib.resources.files("frostmap.pipeline.simulate") / "relief_10_arc_minutes.npz"
    with importlib.resources.as_file(file) as path, np.load(path) as table:
        elevation = np.cumsum(table["rows"], axis=1, dtype=np.int64).astype(np.float64)
    roughness = np.sqrt(np.maximum(_box_mean(elevation**2) - _box_mean(elevation) ** 2, 0.0))
    return elevation, _box_mean(roughness)


def _box_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(values, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    mean: NDArray[np.float64] = windows.mean(axis=(2, 3))
    return mean


@compiled
def _weight(distance: float) -> float:
    distance = abs(distance)  # cubic convolution, a = -1/2
    if distance < 1.0:
        return (1.5 * distance - 2.5) * distance * distance + 1.0
    if distance < 2.0:
        return ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return 0.0


@compiled
def _interpolate(table: NDArray[np.float64], row: float, column: float) -> float:
    top, left = math.floor(row), math.floor(column)
    total = 0.0
    for i in range(-1, 3):
        y = min(max(int(top) + i, 0), table.shape[0] - 1)
        along = 0.0
        for j in range(-1, 3):
            x = min(max(int(left) + j, 0), table.shape[1] - 1)
            along += _weight(column - (left + j)) * table[y, x]
        total += _weight(row - (top + i)) * along
    return total


@compiled
def _elevation(
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    spacing_km: float,
    table: NDArray[np.float64],
    roughness: NDArray[np.float64],
    seed: np.uint64,
) -> NDArray[np.float64]:
    values = np.empty((2, longitude.size))
    last_row, last_column = table.shape[0] - 1.0, table.shape[1] - 1.0
    for i in range(longitude.size):
        row, column = (NORTH - latitude[i]) / STEP, (longitude[i] - WEST) / STEP
        inside_row, inside_column = min(max(row, 0.0), last_row), min(max(column, 0.0), last_column)
        base = _interpolate(table, inside_row, inside_column)
        rough = max(_interpolate(roughness, inside_row, inside_column), 0.0)
        beyond = (abs(row - inside_row) + abs(column - inside_column)) * STEP
        if beyond > 0.0:  # off the table the land falls to 1000 m within some degrees
            base = 1000.0 + (base - 1000.0) * math.exp(-beyond / 2.0)
        u, v = longitude[i] * EAST_KM / _FINE_SPACING_KM, latitude[i] * NORTH_KM / _FINE_SPACING_KM
        fine, amplitude, wavelength, key = 0.0, 1.0, 2.0 * _FINE_SPACING_KM, seed
        for _ in range(_FINE_OCTAVES):
            seen = min(max(wavelength / spacing_km - 1.0, 0.0), 1.0)  # what an average over the spacing leaves
            if seen > 0.0:
                fine += seen * amplitude * noise_2d(u, v, key)
            u, v = 1.6 * u - 1.2 * v + 0.37, 1.2 * u + 1.6 * v + 0.71
            amplitude *= _FINE_PERSISTENCE
            wavelength *= 0.5
            key += OCTAVE_STEP
        values[0, i] = base + (12.0 + 0.45 * rough) * fine
        values[1, i] = rough
    return values


def elevation_and_roughness(seed: int, places: Places) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return elevation and the standard deviation of the table's relief within some 50 km [m]."""
    table, rough = relief_table()
    longitude, latitude = np.broadcast_arrays(places.longitude, places.latitude)
    values: NDArray[np.float64] = _elevation(
        longitude.ravel(), latitude.ravel(), places.spacing_km, table, rough, field_seed(seed, "relief")
    )
    return values[0].reshape(longitude.shape), values[1].reshape(longitude.shape)


def elevation(seed: int, places: Places) -> NDArray[np.float64]:
    """Return elevation above sea level [m], averaged over about the places' spacing."""
    return elevation_and_roughness(seed, places)[0]


def slope(seed: int, places: Places) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gradient of elevation eastwards and northwards [m/m], by differences over the places' spacing."""
    half = places.spacing_km / 2.0
    north = half / NORTH_KM
    east = north / np.cos(np.radians(places.latitude))

    def at(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.float64]:
        return elevation(seed, Places(longitude, latitude, places.spacing_km))

    run = 2000.0 * half
    eastwards = (at(places.longitude + east, places.latitude) - at(places.longitude - east, places.latitude)) / run
    northwards = (at(places.longitude, places.latitude + north) - at(places.longitude, places.latitude - north)) / run
    return eastwards, northwards
