"""Outline of the simulated plateau: where the smoothed relief is high."""

from __future__ import annotations

import functools

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from shapely.geometry import Polygon, shape

from frostmap.pipeline.simulate.relief import NORTH, STEP, WEST, relief_table

LOWEST = 2900.0
"""Smoothed elevation of the plateau's edge [m]."""

SOUTH_LIMIT, NORTH_LIMIT, WEST_LIMIT, EAST_LIMIT = 26.0, 40.0, 73.0, 105.0
"""What lies beyond belongs to other mountains [°]."""


@functools.cache
def plateau_outline() -> Polygon:
    """Return the plateau's outline in longitude and latitude: the largest high area, its holes filled."""
    high = gaussian_filter(relief_table()[0], 1.2) > LOWEST
    transform = Affine(STEP, 0.0, WEST - STEP / 2.0, 0.0, -STEP, NORTH + STEP / 2.0)
    parts = [
        shape(part)
        for part, value in rasterio.features.shapes(high.astype(np.uint8), mask=high, transform=transform)
        if value
    ]
    box = shapely.box(WEST_LIMIT, SOUTH_LIMIT, EAST_LIMIT, NORTH_LIMIT)
    pieces = shapely.get_parts(shapely.intersection(shapely.union_all(parts), box))
    largest = max(pieces, key=lambda piece: float(piece.area))
    # opening cuts ridges that hang on by a thread; closing and simplifying smooth the steps of the table
    smooth = Polygon(largest.exterior).buffer(-0.25).buffer(0.45).buffer(-0.2)
    largest = max(shapely.get_parts(smooth), key=lambda piece: float(piece.area))
    outline = shapely.intersection(Polygon(largest.exterior).simplify(0.03), box)
    assert isinstance(outline, Polygon)  # noqa: S101  # the table is fixed, and so is what comes of it
    return shapely.set_precision(outline, 1e-4)


def inside(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which places lie inside the outline."""
    outline = plateau_outline()
    shapely.prepare(outline)
    result: NDArray[np.bool_] = shapely.contains_xy(outline, longitude, latitude)
    return result
