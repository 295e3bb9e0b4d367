"""Slope and aspect of a terrain model.

Row 0 is north and column 0 is west: use a grid whose axes point east and north (latitude and longitude, UTM, Albers),
never the sinusoidal one, which is sheared by up to 50° on the plateau.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels.compiled import compiled


def cell_sizes(
    dx: ArrayLike, dy: ArrayLike, rows: int, frame: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cell size of each row [m], the first and last repeated for rows of a frame."""
    sizes = []
    for name, value in (("dx", dx), ("dy", dy)):
        size = np.asarray(value, dtype=np.float64)
        if size.shape not in ((), (rows,)):
            raise ValueError(f"{name} has shape {size.shape}; wanted one number, or one for each of the {rows} rows")
        if not np.all(size > 0):
            raise ValueError(f"{name} holds {size.min()}; wanted metres above 0, also where rows run southwards")
        sizes.append(np.pad(np.broadcast_to(size, (rows,)), frame, mode="edge") if rows else np.ones(2 * frame))
    return sizes[0], sizes[1]


@compiled
def _difference(before: float, centre: float, after: float, distance: float) -> float:
    """Return the central difference, one-sided where one end is missing, NaN where two values are."""
    if not np.isnan(before) and not np.isnan(after):
        return (after - before) / (2.0 * distance)
    if not np.isnan(centre) and not np.isnan(after):
        return (after - centre) / distance
    if not np.isnan(centre) and not np.isnan(before):
        return (centre - before) / distance
    return np.nan


@compiled
def _weighted(first: float, second: float, third: float) -> float:
    """Return the mean weighted 1, 2, 1 of what is not NaN."""
    total, weight = 0.0, 0.0
    if not np.isnan(first):
        total, weight = total + first, weight + 1.0
    if not np.isnan(second):
        total, weight = total + 2.0 * second, weight + 2.0
    if not np.isnan(third):
        total, weight = total + third, weight + 1.0
    return total / weight if weight > 0.0 else np.nan


@compiled
def horn(
    nw: float, n: float, ne: float, w: float, c: float, e: float, sw: float, s: float, se: float,
    dx_north: float, dx: float, dx_south: float, dy: float,
) -> tuple[float, float]:  # fmt: skip
    """Return the rise of a cell towards east and towards north [m m⁻¹] from its 3 x 3 window.

    Both are NaN where the cell is, or has no neighbour along an axis.
    """
    if np.isnan(c):
        return np.nan, np.nan
    if not np.isnan(nw + n + ne + w + c + e + sw + s + se):
        east = ((ne - nw) / dx_north + 2.0 * (e - w) / dx + (se - sw) / dx_south) / 8.0
        north = ((nw - sw) + 2.0 * (n - s) + (ne - se)) / (8.0 * dy)
        return east, north
    east = _weighted(_difference(nw, n, ne, dx_north), _difference(w, c, e, dx), _difference(sw, s, se, dx_south))
    north = _weighted(_difference(sw, w, nw, dy), _difference(s, c, n, dy), _difference(se, e, ne, dy))
    if np.isnan(east) or np.isnan(north):
        return np.nan, np.nan
    return east, north


@compiled
def _at(z: Any, i: int, j: int) -> float:
    return np.float64(z[i, j]) if 0 <= i < z.shape[0] and 0 <= j < z.shape[1] else np.nan


@compiled
def _slope_aspect(z: Any, dx: Any, dy: Any, slope: Any, eastness: Any, northness: Any) -> None:
    rows, columns = z.shape
    for i in range(rows):
        dx_north, dx_south = dx[max(i - 1, 0)], dx[min(i + 1, rows - 1)]
        for j in range(columns):
            east, north = np.nan, np.nan
            if 0 < i < rows - 1 and 0 < j < columns - 1:
                east, north = horn(
                    np.float64(z[i - 1, j - 1]), np.float64(z[i - 1, j]), np.float64(z[i - 1, j + 1]),
                    np.float64(z[i, j - 1]), np.float64(z[i, j]), np.float64(z[i, j + 1]),
                    np.float64(z[i + 1, j - 1]), np.float64(z[i + 1, j]), np.float64(z[i + 1, j + 1]),
                    dx_north, dx[i], dx_south, dy[i],
                )  # fmt: skip
            else:
                east, north = horn(
                    _at(z, i - 1, j - 1), _at(z, i - 1, j), _at(z, i - 1, j + 1),
                    _at(z, i, j - 1), _at(z, i, j), _at(z, i, j + 1),
                    _at(z, i + 1, j - 1), _at(z, i + 1, j), _at(z, i + 1, j + 1),
                    dx_north, dx[i], dx_south, dy[i],
                )  # fmt: skip
            square = east * east + north * north
            length = np.sqrt(1.0 + square)  # sin(slope) = steepness / length
            slope[i, j] = np.degrees(np.arctan(np.sqrt(square)))
            eastness[i, j] = 0.0 - east / length
            northness[i, j] = 0.0 - north / length


def slope_aspect(
    elevation: NDArray[Any], dx: ArrayLike, dy: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return slope, and aspect as two components that can be averaged.

    The gradient along each axis is the mean, weighted 1, 2, 1, of the differences in the three lines of the 3 x 3
    window (Horn 1981). At the edge of the array and beside a NaN a line's difference is one-sided, and a line without
    two neighbouring values is left out: a plane keeps its slope up to its last cell. A cell depends on its 3 x 3 window
    alone, so blocks with a halo of one cell give what the whole gives, to the last bit.

    Parameters
    ----------
    elevation : (y, x)
        Elevation [m], row 0 in the north.
    dx, dy : float, or one value a row
        Cell size eastwards and northwards [m], positive.

    Returns
    -------
    slope : (y, x) float32
        Steepest slope [°], 0 to 90.
    eastness, northness : (y, x) float32
        sin(aspect) sin(slope) and cos(aspect) sin(slope) [1], aspect being the direction the ground falls to, clockwise
        from north: atan2(eastness, northness). Both 0 on flat ground. All three are NaN where the elevation is NaN or
        a cell has no neighbour along an axis.

    References
    ----------
    Horn 1981, doi:10.1109/PROC.1981.11918.

    Examples
    --------
    Ground that falls by 1 m in 1 m towards the south:

    >>> slope, eastness, northness = slope_aspect(np.array([[2.0, 2.0], [1.0, 1.0]]), 1.0, 1.0)
    >>> float(slope[0, 0]), float(eastness[0, 0]), round(float(northness[0, 0]), 4)
    (45.0, 0.0, -0.7071)
    """
    if elevation.ndim != 2:
        raise ValueError(f"elevation has {elevation.ndim} dimensions; wanted (y, x)")
    slope, eastness, northness = (np.empty(elevation.shape, np.float32) for _ in range(3))
    _slope_aspect(elevation, *cell_sizes(dx, dy, len(elevation)), slope, eastness, northness)
    return slope, eastness, northness
