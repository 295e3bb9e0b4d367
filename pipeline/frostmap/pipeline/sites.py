"""Points on the map: which pixel holds a station or a borehole."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import Transformer


class Pixels(NamedTuple):
    """Rows and columns of points; -1 where a point is off the map."""

    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]


def pixels_of(geobox: GeoBox, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> Pixels:
    """Return the pixel that holds each point: the nearest centre, no interpolation."""
    transformer = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True)
    x, y = transformer.transform(np.asarray(longitude, dtype=float), np.asarray(latitude, dtype=float))
    to_pixels = ~geobox.affine
    col = np.floor(to_pixels.a * np.asarray(x) + to_pixels.c).astype(np.int64)
    row = np.floor(to_pixels.e * np.asarray(y) + to_pixels.f).astype(np.int64)
    height, width = geobox.shape
    off = (row < 0) | (row >= height) | (col < 0) | (col >= width)
    return Pixels(np.where(off, -1, row), np.where(off, -1, col))


def latitudes(geobox: GeoBox) -> npt.NDArray[np.float32]:
    """Return the latitude of each row [°], as a column; rows of the sinusoidal grid are parallels."""
    height = geobox.shape.y
    y = geobox.affine.f + geobox.affine.e * (np.arange(height) + 0.5)
    if geobox.crs is not None and not geobox.crs.geographic:
        transformer = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
        _, y = transformer.transform(np.zeros(height), y)
    return np.asarray(y, dtype=np.float32).reshape(-1, 1)


def on_plane(
    geobox: GeoBox, row: npt.ArrayLike, col: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return where pixels are, east and north on an equal-area plane around their middle [km].

    Distances on the sinusoidal grid itself are wrong by up to a half: it is sheared.
    """
    longitude, latitude = degrees_of(geobox, row, col)
    plane = f"+proj=laea +lon_0={np.mean(longitude):.3f} +lat_0={np.mean(latitude):.3f} +units=km +datum=WGS84"
    east, north = Transformer.from_crs("EPSG:4326", plane, always_xy=True).transform(longitude, latitude)
    return np.asarray(east, np.float64), np.asarray(north, np.float64)


def degrees_of(
    geobox: GeoBox, row: npt.ArrayLike, col: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return longitude and latitude of the centres of pixels [°]."""
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    right, down = np.asarray(col) + 0.5, np.asarray(row) + 0.5
    x, y = a * right + b * down + c, d * right + e * down + f
    longitude, latitude = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(longitude, np.float64), np.asarray(latitude, np.float64)
