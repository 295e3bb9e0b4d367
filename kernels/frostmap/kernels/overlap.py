"""How much of each cell of a grid lies in a polygon, exactly."""

import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

_UPRIGHT = 1e-9  # a piece that moves less than this across a row, in cells, stands upright


def polygon_coverage(
    x: NDArray[np.float64], y: NDArray[np.float64], ends: NDArray[np.int64], height: int, width: int
) -> NDArray[np.float64]:
    r"""Return the share of each cell of a grid that lies in polygons.

    An edge from :math:`(x_0, y_0)` to :math:`(x_1, y_1)` covers, of every cell to its right, the part between its own
    rows; of the cells that it crosses, the part to its right. Summed with the sign of :math:`y_1 - y_0` over all edges,
    what is outside cancels and what is inside remains (Green's theorem, cell by cell).

    Parameters
    ----------
    x, y : (vertex,)
        Columns and rows of the vertices, in cells from the grid's first corner: ring after ring, none closed by
        repeating its first vertex. What lies beyond the grid counts for nothing.
    ends : (ring,)
        Where each ring ends: the index after its last vertex. Rings of holes turn the other way than those around
        them; polygons do not overlap.
    height, width : int
        Rows and columns of the grid.

    Returns
    -------
    (height, width) float64
        0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> triangle = np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.0, 2.0])
    >>> polygon_coverage(*triangle, np.array([3]), 2, 2)
    array([[1. , 0.5],
           [0.5, 0. ]])
    """
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"vertices of shapes {x.shape} and {y.shape}; wanted one column and one row of each")
    if len(ends) and (ends[-1] != len(x) or np.any(np.diff(ends) < 0)):
        raise ValueError(f"rings end at {ends[:3]}...; wanted growing numbers, the last {len(x)}")
    covered: NDArray[np.float64] = _polygon_coverage(x, y, ends, height, width)
    return covered


@compiled
def _polygon_coverage(
    x: NDArray[np.float64], y: NDArray[np.float64], ends: NDArray[np.int64], height: int, width: int
) -> NDArray[np.float64]:
    change = np.zeros((height, width + 1))
    first = 0
    for end in ends:
        for i in range(first, end):
            j = i + 1 if i + 1 < end else first
            add_edge(change, x[i], y[i], x[j], y[j], height, width)
        first = end
    covered = np.empty((height, width))
    for row in range(height):
        total = 0.0
        for column in range(width):
            total += change[row, column]
            covered[row, column] = min(1.0, abs(total))
    return covered


@compiled
def add_edge(change: NDArray[np.float64], x0: float, y0: float, x1: float, y1: float, height: int, width: int) -> None:
    """Add what an edge covers to its right: to `change`, whose sums along a row are shares of cells.

    Parameters
    ----------
    change : (height or more, width + 1 or more)
        Changed in place.
    x0, y0, x1, y1 : float
        Column and row of the edge's ends, in cells.
    height, width : int
        Rows and columns of the grid.
    """
    if y0 == y1:
        return
    sign = 1.0
    if y0 > y1:
        x0, y0, x1, y1 = x1, y1, x0, y0
        sign = -1.0
    slope = (x1 - x0) / (y1 - y0)
    top, bottom = max(y0, 0.0), min(y1, float(height))
    above = top
    while above < bottom:
        row = math.floor(above)
        below = min(row + 1.0, bottom)
        left = x0 + slope * (above - y0) if above > y0 else x0
        right = x0 + slope * (below - y0) if below < y1 else x1
        _add_within_row(change, row, left, right, sign * (below - above), width)
        above = below


@compiled
def _add_within_row(change: NDArray[np.float64], row: int, x0: float, x1: float, depth: float, width: int) -> None:
    """Add a piece of an edge that stays in a row: `depth` is how much of the row it passes, with its sign."""
    left, right = min(x0, x1), max(x0, x1)
    if right <= 0.0:  # all of the row is to its right
        change[row, 0] += depth
        return
    if left >= width:
        return
    if right - left < _UPRIGHT:
        left = max(left, 0.0)
        column = math.floor(left)
        inside = left - column
        change[row, column] += depth * (1.0 - inside)
        change[row, column + 1] += depth * inside
        return
    steepness = depth / (right - left)
    if left < 0.0:
        change[row, 0] += steepness * -left
        left = 0.0
    right = min(right, float(width))
    while left < right:
        column = math.floor(left)
        end = min(column + 1.0, right)
        passed = steepness * (end - left)
        inside = 0.5 * (left + end) - column  # of the cell, what lies to the left of the piece, on average
        change[row, column] += passed * (1.0 - inside)
        change[row, column + 1] += passed * inside
        left = end
