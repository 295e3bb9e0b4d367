"""Smooth random fields that are pure functions of seed, position and time: lattice value noise.

The value at a lattice corner is a hash of its integer coordinates, so nothing is stored, nothing is drawn in sequence,
and any window of a field equals the crop of the whole. Octaves are rotated against each other to hide the lattice.
All fields have mean 0 and standard deviation 1.

References
----------
Perlin K. 1985. An image synthesizer. SIGGRAPH 19(3), 287-296. https://doi.org/10.1145/325334.325247
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

_X = np.uint64(0x9E3779B185EBCA87)
_Y = np.uint64(0xC2B2AE3D27D4EB4F)
_Z = np.uint64(0x165667B19E3779F9)
OCTAVE_STEP = _Z
"""Added to a field's seed from octave to octave."""

_MIX = np.uint64(0xFF51AFD7ED558CCD)
_MIX_AGAIN = np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(32)
_TOP = np.uint64(11)

_LINE_VARIANCE = 26.0 / 35.0  # mean of s^2 + (1-s)^2 over a cell, s = 3t^2 - 2t^3
_UNIT_2D = math.sqrt(3.0) / _LINE_VARIANCE
_UNIT_3D = math.sqrt(3.0 / _LINE_VARIANCE**3)


def field_seed(seed: int, name: str) -> np.uint64:
    """Return a number that is a field's own: fields of different names are independent.

    Examples
    --------
    >>> int(field_seed(2020, "clouds")) != int(field_seed(2020, "weather"))
    True
    """
    return np.uint64(int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little"))


@compiled
def scramble(key: np.uint64) -> np.uint64:
    """Mix the bits of a key (MurmurHash3's finalizer)."""
    key = (key ^ (key >> _HALF)) * _MIX
    key = (key ^ (key >> _HALF)) * _MIX_AGAIN
    return key ^ (key >> _HALF)


@compiled
def uniform(a: int, b: int, c: int, seed: np.uint64) -> float:
    """Return a number in [0, 1) that belongs to three integers and a seed."""
    key = scramble(np.uint64(a) * _X + np.uint64(b) * _Y + np.uint64(c) * _Z + seed)
    return np.float64(np.int64(key >> _TOP)) * (1.0 / 9007199254740992.0)


@compiled
def _corner(key: np.uint64) -> float:
    key = (key ^ (key >> _HALF)) * _MIX
    key = (key ^ (key >> _HALF)) * _MIX_AGAIN
    return np.float64(np.int64(key >> _TOP)) * (1.0 / 4503599627370496.0) - 1.0


@compiled
def noise_2d(x: float, y: float, seed: np.uint64) -> float:
    """Return value noise with corners at the integers."""
    floor_x, floor_y = math.floor(x), math.floor(y)
    u, v = x - floor_x, y - floor_y
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    key = np.uint64(np.int64(floor_x)) * _X + np.uint64(np.int64(floor_y)) * _Y + seed
    south = _corner(key) * (1.0 - u) + _corner(key + _X) * u
    north = _corner(key + _Y) * (1.0 - u) + _corner(key + _X + _Y) * u
    return (south * (1.0 - v) + north * v) * _UNIT_2D


@compiled
def noise_3d(x: float, y: float, z: float, seed: np.uint64) -> float:
    """Return value noise with corners at the integers, the third coordinate being time."""
    floor_x, floor_y, floor_z = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - floor_x, y - floor_y, z - floor_z
    u, v, w = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v), w * w * (3.0 - 2.0 * w)
    key = (
        np.uint64(np.int64(floor_x)) * _X + np.uint64(np.int64(floor_y)) * _Y + np.uint64(np.int64(floor_z)) * _Z + seed
    )
    later = key + _Z
    south = _corner(key) * (1.0 - u) + _corner(key + _X) * u
    north = _corner(key + _Y) * (1.0 - u) + _corner(key + _X + _Y) * u
    before = south * (1.0 - v) + north * v
    south = _corner(later) * (1.0 - u) + _corner(later + _X) * u
    north = _corner(later + _Y) * (1.0 - u) + _corner(later + _X + _Y) * u
    return (before * (1.0 - w) + (south * (1.0 - v) + north * v) * w) * _UNIT_3D


@compiled
def _fractal(
    x: NDArray[np.float64], y: NDArray[np.float64], seed: np.uint64, spacing: float, octaves: int, persistence: float
) -> NDArray[np.float64]:
    values = np.empty(x.size)
    variance, amplitude = 0.0, 1.0
    for _ in range(octaves):
        variance += amplitude * amplitude
        amplitude *= persistence
    unit = 1.0 / math.sqrt(variance)
    for i in range(x.size):
        u, v = x[i] / spacing, y[i] / spacing
        total, amplitude, key = 0.0, 1.0, seed
        for _ in range(octaves):
            total += amplitude * noise_2d(u, v, key)
            u, v = 1.6 * u - 1.2 * v + 0.37, 1.2 * u + 1.6 * v + 0.71
            amplitude *= persistence
            key += OCTAVE_STEP
        values[i] = total * unit
    return values


def fractal(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    seed: np.uint64,
    spacing: float,
    octaves: int = 4,
    persistence: float = 0.5,
) -> NDArray[np.float64]:
    """Return a field of summed octaves.

    Parameters
    ----------
    x, y
        Plane coordinates, any shape [km].
    seed
        The field's own number, see `field_seed`.
    spacing
        Lattice spacing of the coarsest octave [km]; each further one halves it.
    octaves, persistence
        How many octaves, and each one's amplitude relative to the one before.

    Examples
    --------
    >>> x, y = np.meshgrid(np.arange(300.0), np.arange(200.0))
    >>> whole = fractal(x, y, field_seed(1, "sand"), 40.0)
    >>> bool((fractal(x[50:60, 70:99], y[50:60, 70:99], field_seed(1, "sand"), 40.0) == whole[50:60, 70:99]).all())
    True
    """
    east, north = np.broadcast_arrays(x, y)
    values: NDArray[np.float64] = _fractal(east.ravel(), north.ravel(), seed, float(spacing), octaves, persistence)
    return values.reshape(east.shape)


@compiled
def _uniform_field(a: NDArray[np.int64], b: NDArray[np.int64], c: int, seed: np.uint64) -> NDArray[np.float64]:
    values = np.empty(a.size)
    for i in range(a.size):
        values[i] = uniform(a[i], b[i], c, seed)
    return values


def uniform_field(a: NDArray[np.int64], b: NDArray[np.int64], c: int, seed: np.uint64) -> NDArray[np.float64]:
    """Return independent numbers in [0, 1), each belonging to its pair of integers, a third one and a seed."""
    values: NDArray[np.float64] = _uniform_field(a.ravel(), b.ravel(), c, seed)
    return values.reshape(a.shape)
