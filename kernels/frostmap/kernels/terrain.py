"""Slope, aspect and wetness index of a terrain model.

Row 0 is north and column 0 is west: use a grid whose axes point east and north (latitude and longitude, UTM, Albers),
never the sinusoidal one, which is sheared by up to 50° on the plateau.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

FILL_STEP = 1e-3
"""How much each cell of a filled depression rises above the next on the way out [m]."""

LEAST_GRADIENT = 1e-3
"""Gradient that flat ground is given in the wetness index [1]."""

DIAGONAL_CONTOUR = 0.35355339059327373
"""Contour length of a diagonal neighbour, sqrt(2) / 4 cells (Quinn et al. 1991); a direct one has 1/2."""


def _spacing(dx: ArrayLike, dy: ArrayLike, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cell size of each row [m]."""
    sizes = []
    for name, value in (("dx", dx), ("dy", dy)):
        size = np.asarray(value, dtype=np.float64)
        if size.shape not in ((), (rows,)):
            raise ValueError(f"{name} has shape {size.shape}; wanted one number, or one for each of the {rows} rows")
        if not np.all(size > 0):
            raise ValueError(f"{name} holds {size.min()}; wanted metres above 0, also where rows run southwards")
        sizes.append(np.ascontiguousarray(np.broadcast_to(size, (rows,))))
    return sizes[0], sizes[1]


def _as_elevation(elevation: NDArray[Any]) -> NDArray[np.float64]:
    heights = np.ascontiguousarray(elevation, dtype=np.float64)
    if heights.ndim != 2:
        raise ValueError(f"elevation has {heights.ndim} dimensions; wanted (y, x)")
    return heights


@njit(nogil=True)
def _difference(before: float, centre: float, after: float, distance: float) -> float:
    """Return the central difference, one-sided where one end is missing, NaN where two values are."""
    if not np.isnan(before) and not np.isnan(after):
        return (after - before) / (2.0 * distance)
    if not np.isnan(centre) and not np.isnan(after):
        return (after - centre) / distance
    if not np.isnan(centre) and not np.isnan(before):
        return (centre - before) / distance
    return np.nan


@njit(nogil=True)
def _gradient(z: Any, dx: Any, dy: Any) -> Any:
    """Return the rise towards east and towards north [m m⁻¹] by Horn's weights."""
    rows, columns = z.shape
    east = np.full((rows, columns), np.nan)
    north = np.full((rows, columns), np.nan)
    for i in range(rows):
        for j in range(columns):
            if np.isnan(z[i, j]):
                continue
            rise_east, weight_east, rise_north, weight_north = 0.0, 0.0, 0.0, 0.0
            for k in range(-1, 2):
                weight = 2.0 if k == 0 else 1.0
                y, x = i + k, j + k
                if 0 <= y < rows:
                    left = z[y, j - 1] if j > 0 else np.nan
                    right = z[y, j + 1] if j < columns - 1 else np.nan
                    rise = _difference(left, z[y, j], right, dx[y])
                    if not np.isnan(rise):
                        rise_east += weight * rise
                        weight_east += weight
                if 0 <= x < columns:
                    below = z[i + 1, x] if i < rows - 1 else np.nan
                    above = z[i - 1, x] if i > 0 else np.nan
                    rise = _difference(below, z[i, x], above, dy[i])
                    if not np.isnan(rise):
                        rise_north += weight * rise
                        weight_north += weight
            if weight_east > 0.0 and weight_north > 0.0:
                east[i, j] = rise_east / weight_east
                north[i, j] = rise_north / weight_north
    return east, north


def slope_aspect(
    elevation: NDArray[Any], dx: ArrayLike, dy: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return slope, and aspect as two components that can be averaged.

    The gradient along each axis is the mean, weighted 1, 2, 1, of the differences in the three lines of the 3 x 3
    window (Horn 1981). At the edge of the array and beside a NaN a line's difference is one-sided, and a line without
    two neighbouring values is left out: a plane keeps its slope up to its last cell.

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
    heights = _as_elevation(elevation)
    east, north = _gradient(heights, *_spacing(dx, dy, heights.shape[0]))
    steepness = np.hypot(east, north)
    length = np.sqrt(1.0 + steepness**2)  # sin(slope) = steepness / length
    slope = np.degrees(np.arctan(steepness)).astype(np.float32)
    return slope, (0.0 - east / length).astype(np.float32), (0.0 - north / length).astype(np.float32)


@njit(nogil=True)
def _fill_depressions(z: Any, step: float) -> Any:
    rows, columns = z.shape
    filled = z.copy()
    reached = np.isnan(z)
    front = [(0.0, 0)]  # (level, cell): a heap, its type set by one entry that is taken out again
    front.pop()
    for i in range(rows):
        for j in range(columns):
            if reached[i, j]:
                continue
            outlet = i == 0 or j == 0 or i == rows - 1 or j == columns - 1
            if not outlet:
                outlet = bool(np.isnan(z[i - 1 : i + 2, j - 1 : j + 2]).any())
            if outlet:
                front.append((z[i, j], i * columns + j))
    for _, cell in front:
        reached[cell // columns, cell % columns] = True
    heapq.heapify(front)
    while len(front) > 0:
        level, cell = heapq.heappop(front)
        i, j = cell // columns, cell % columns
        for y in range(max(i - 1, 0), min(i + 2, rows)):
            for x in range(max(j - 1, 0), min(j + 2, columns)):
                if not reached[y, x]:
                    reached[y, x] = True
                    filled[y, x] = max(filled[y, x], level + step)
                    heapq.heappush(front, (filled[y, x], y * columns + x))
    return filled


def fill_depressions(elevation: NDArray[Any], step: float = FILL_STEP) -> NDArray[np.float64]:
    """Return the terrain raised just so much that water leaves every cell.

    Priority flood: from the outlets (cells at the edge of the array or beside a NaN) inwards, always on from the lowest
    cell reached so far; a cell that would hold water is raised `step` above the one it drains to.

    Parameters
    ----------
    elevation : (y, x)
        Elevation [m]; NaN is outside, and stays NaN.
    step : float
        Least fall between a cell and the next on the way out [m].

    Returns
    -------
    (y, x) float64
        Elevation [m], nowhere below the input; float64 because float32 cannot tell 1 mm at 5000 m.

    References
    ----------
    Barnes, Lehman and Mulla 2014, doi:10.1016/j.cageo.2013.04.024 (Algorithm 3).

    Examples
    --------
    >>> fill_depressions(np.array([[9.0, 9.0, 9.0], [9.0, 2.0, 5.0], [9.0, 9.0, 9.0]]))[1].tolist()
    [9.0, 5.001, 5.0]
    """
    filled: NDArray[np.float64] = _fill_depressions(_as_elevation(elevation), float(step))
    return filled


@njit(nogil=True)
def _flow_accumulation(z: Any, dx: Any, dy: Any) -> Any:
    rows, columns = z.shape
    area = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            area[i, j] = np.nan if np.isnan(z[i, j]) else dx[i] * dy[i]
    share = np.zeros(9)
    # Falling elevation, NaN first: everything that drains into a cell is done before it.
    for cell in np.argsort(-z.ravel(), kind="mergesort"):
        i, j = cell // columns, cell % columns
        if np.isnan(z[i, j]):
            continue
        total = 0.0
        for k in range(9):
            y, x = i + k // 3 - 1, j + k % 3 - 1
            share[k] = 0.0
            if k == 4 or y < 0 or x < 0 or y >= rows or x >= columns:
                continue
            fall = z[i, j] - z[y, x]
            if fall > 0.0:  # false for NaN
                if y == i:
                    share[k] = fall / dx[i] * 0.5 * dy[i]
                elif x == j:
                    share[k] = fall / dy[i] * 0.5 * dx[i]
                else:
                    share[k] = fall / np.hypot(dx[i], dy[i]) * DIAGONAL_CONTOUR * np.sqrt(dx[i] * dy[i])
                total += share[k]
        if total > 0.0:
            for k in range(9):
                if share[k] > 0.0:
                    area[i + k // 3 - 1, j + k % 3 - 1] += area[i, j] * share[k] / total
    return area


def flow_accumulation(filled: NDArray[Any], dx: ArrayLike, dy: ArrayLike) -> NDArray[np.float64]:
    """Return the area that drains through each cell, its own included (multiple flow directions, FD8).

    A cell hands its area to all lower neighbours, in proportion to gradient times contour length: half a cell side
    towards a direct neighbour, sqrt(2) / 4 cells towards a diagonal one. Cells without a lower neighbour are outlets
    (or pits, if the terrain was not filled); what has gathered in them adds up to the whole area.

    Parameters
    ----------
    filled : (y, x)
        Elevation [m] without depressions, from `fill_depressions`; float64, lest the filling be rounded off.
    dx, dy : float, or one value a row
        Cell size eastwards and northwards [m].

    Returns
    -------
    (y, x) float64
        Upslope area [m²]; NaN where the elevation is.

    References
    ----------
    Quinn, Beven, Chevallier and Planchon 1991, doi:10.1002/hyp.3360050106.

    Examples
    --------
    >>> flow_accumulation(np.array([[3.0, 2.0, 1.0]]), 10.0, 10.0).tolist()
    [[100.0, 200.0, 300.0]]
    """
    heights = _as_elevation(filled)
    area: NDArray[np.float64] = _flow_accumulation(heights, *_spacing(dx, dy, heights.shape[0]))
    return area


def wetness_index(elevation: NDArray[Any], dx: ArrayLike, dy: ArrayLike) -> NDArray[np.float32]:
    """Return the topographic wetness index, ln(a / tan β).

    Depressions are filled (`fill_depressions`), the upslope area gathered by FD8 (`flow_accumulation`) and divided by
    the width of the cell across the slope, dx |cos aspect| + dy |sin aspect|, which gives the specific area a [m]; β is
    the slope of the filled terrain by Horn's window, its tangent no less than `LEAST_GRADIENT`. On flat ground, which
    has no aspect, the width is the mean of dx and dy.

    Parameters
    ----------
    elevation : (y, x)
        Elevation [m], row 0 in the north.
    dx, dy : float, or one value a row
        Cell size eastwards and northwards [m].

    Returns
    -------
    (y, x) float32
        ln(a / m) [1], about 5 to 20. NaN where the elevation is NaN and where `slope_aspect` is. The edge of the array
        lacks what drains in from beyond it: give a margin, or a whole basin.

    References
    ----------
    Beven and Kirkby 1979, doi:10.1080/02626667909491834; Quinn et al. 1991, doi:10.1002/hyp.3360050106.

    Examples
    --------
    A plane that falls eastwards by 1 in 10: a grows by 30 m a cell.

    >>> plane = np.tile(100.0 - 3.0 * np.arange(4), (2, 1))
    >>> np.exp(wetness_index(plane, 30.0, 30.0)[0] + np.log(0.1)).round(3).tolist()
    [30.0, 60.0, 90.0, 120.0]
    """
    heights = _as_elevation(elevation)
    width_x, width_y = _spacing(dx, dy, heights.shape[0])
    filled: NDArray[np.float64] = _fill_depressions(heights, FILL_STEP)
    area: NDArray[np.float64] = _flow_accumulation(filled, width_x, width_y)
    east, north = _gradient(filled, width_x, width_y)
    gradient = np.hypot(east, north)
    flat = gradient == 0.0
    across_x, across_y = width_x[:, None], width_y[:, None]
    with np.errstate(invalid="ignore"):
        width = (across_x * np.abs(north) + across_y * np.abs(east)) / np.where(flat, 1.0, gradient)
    width = np.where(flat, (across_x + across_y) / 2.0, width)
    index: NDArray[np.float64] = np.log(area / width / np.maximum(gradient, LEAST_GRADIENT))
    return index.astype(np.float32)
