"""Where pixels and sites are: windows of the sinusoidal lattice, and the plane in which fields are drawn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from frostmap.catalogs.grids import SPHERE_RADIUS, TILE_SIZE, TILES_ACROSS, TILES_DOWN, Tile

EAST_KM = SPHERE_RADIUS / 1000.0 * math.pi / 180.0 * math.cos(math.radians(33.0))
"""Kilometres of the noise plane a degree of longitude: true at 33°N, within 9 % over the plateau."""

NORTH_KM = SPHERE_RADIUS / 1000.0 * math.pi / 180.0
"""Kilometres of the noise plane a degree of latitude."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Points on the ground, and how finely the ground is looked at."""

    longitude: NDArray[np.float64]
    """Degrees east."""

    latitude: NDArray[np.float64]
    """Degrees north."""

    spacing_km: float
    """Relief finer than this is averaged out [km]."""

    @property
    def x(self) -> NDArray[np.float64]:
        """East in the noise plane [km]."""
        return self.longitude * EAST_KM

    @property
    def y(self) -> NDArray[np.float64]:
        """North in the noise plane [km]."""
        return self.latitude * NORTH_KM


@dataclasses.dataclass(frozen=True)
class Window:
    """A window of the sinusoidal lattice, by rows and columns counted over the whole globe."""

    pixels_per_tile: int
    """Pixels along a tile's side."""

    row: int
    """First row, counted from the north pole."""

    column: int
    """First column, counted from 180°W."""

    height: int
    """Rows."""

    width: int
    """Columns."""

    @classmethod
    def of_tile(cls, tile: Tile, pixels_per_tile: int) -> Window:
        """Return the window that is a tile.

        Examples
        --------
        >>> Window.of_tile(Tile(25, 5), 80).column
        2000
        """
        n = pixels_per_tile
        return cls(n, tile.v * n, tile.h * n, n, n)

    @property
    def pixel_metres(self) -> float:
        """Side of a pixel [m]."""
        return TILE_SIZE / self.pixels_per_tile

    @property
    def rows(self) -> NDArray[np.int64]:
        """Global row of each pixel, (y, x)."""
        return np.repeat(np.arange(self.row, self.row + self.height)[:, None], self.width, axis=1)

    @property
    def columns(self) -> NDArray[np.int64]:
        """Global column of each pixel, (y, x)."""
        return np.repeat(np.arange(self.column, self.column + self.width)[None, :], self.height, axis=0)

    @property
    def x(self) -> NDArray[np.float64]:
        """Sinusoidal x of the columns' centres [m]."""
        centres = np.arange(self.column, self.column + self.width, dtype=np.float64) + 0.5
        return centres * self.pixel_metres - TILES_ACROSS / 2 * TILE_SIZE

    @property
    def y(self) -> NDArray[np.float64]:
        """Sinusoidal y of the rows' centres [m]."""
        centres = np.arange(self.row, self.row + self.height, dtype=np.float64) + 0.5
        return TILES_DOWN / 2 * TILE_SIZE - centres * self.pixel_metres

    def places(self) -> Places:
        """Return the pixel centres; a pixel has the same bits in every window that holds it."""
        n = self.pixels_per_tile
        latitude = np.asarray(90.0 - (self.rows + 0.5) * (10.0 / n), np.float64)
        # x = R λ cos φ and a tile is 10 degrees of a great circle wide
        longitude = ((self.columns + 0.5) * (10.0 / n) - 180.0) / np.cos(np.radians(latitude))
        return Places(np.asarray(longitude, np.float64), latitude, self.pixel_metres / 1000.0)
