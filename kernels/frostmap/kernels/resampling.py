"""From the cells of a source to the pixels of a map: area-weighted means and modes, and interpolation.

A pixel is the quadrangle between its four corners, given in rows and columns of the source: it may be sheared, turned
or upside down against the source's cells, as pixels of the sinusoidal grid are against longitude and latitude.
"""

import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.overlap import add_edge

OUTSIDE = 1
"""Why a pixel has no value: it lies beyond the source. Other reasons are those of the source's cells."""

_SLIVER = 1e-9  # shares of a cell that are smaller are rounding
_MOST_CELLS = 4096  # a pixel that is longer in cells lies across a projection's seam, and so nowhere
_NAN = np.float32(np.nan)


def area_means(
    values: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    minimum: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    r"""Return the area-weighted mean of the source's cells in each pixel.

    .. math:: m = \frac{\sum_k a_k v_k}{\sum_k a_k}

    with :math:`a_k` the area that cell k and the pixel share, over the cells that have a value.

    Parameters
    ----------
    values : (row, column)
        The source. NaN is missing.
    reasons : (row, column)
        Why a cell is missing, 2 to 15; not looked at elsewhere.
    columns, rows : (y + 1, x + 1)
        Where the corners of the pixels are, in cells from the source's first corner. NaN is nowhere.
    minimum : float
        Share of a pixel that must have values.

    Returns
    -------
    means : (y, x) float32
        NaN where less than the minimum has values.
    coverage : (y, x) float32
        Share of each pixel that has values, 0 to 1.
    reasons : (y, x) uint8
        0 where there is a mean; else what takes most of the rest of the pixel: `OUTSIDE`, or a cell's reason.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[1.0, 3.0]], np.float32)
    >>> columns, rows = np.meshgrid([0.5, 2.0], [0.0, 1.0])
    >>> means, coverage, _ = area_means(values, np.zeros((1, 2), np.uint8), columns, rows)
    >>> means.round(4), coverage
    (array([[2.3333]], dtype=float32), array([[1.]], dtype=float32))
    """
    _check(values, reasons, columns, rows)
    result: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]] = _area_means(
        values, reasons, columns, rows, float(minimum)
    )
    return result


def area_modes(
    classes: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    minimum: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Return the class that takes the largest area of each pixel; of classes that take the same, the smallest.

    Parameters and results are those of `area_means`; classes are whole numbers as float32.

    Examples
    --------
    >>> import numpy as np
    >>> classes = np.array([[1.0, 3.0]], np.float32)
    >>> columns, rows = np.meshgrid([0.5, 2.0], [0.0, 1.0])
    >>> area_modes(classes, np.zeros((1, 2), np.uint8), columns, rows)[0]
    array([[3.]], dtype=float32)
    """
    _check(classes, reasons, columns, rows)
    result: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]] = _area_modes(
        classes, reasons, columns, rows, float(minimum)
    )
    return result


def interpolated(
    values: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    minimum: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Return the source at the middle of each pixel, bilinearly between the centres of its four nearest cells.

    For smooth fields on cells larger than pixels. Between the outermost centres and the source's edge the nearest cells
    count. Cells that are missing leave their weight to the others, as long as `minimum` of the weight has values; that
    weight is returned as the coverage. Parameters and results are those of `area_means`.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[1.0, 3.0]], np.float32)
    >>> columns, rows = np.meshgrid([0.9, 1.1], [0.4, 0.6])
    >>> interpolated(values, np.zeros((1, 2), np.uint8), columns, rows)[0]
    array([[2.]], dtype=float32)
    """
    _check(values, reasons, columns, rows)
    result: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]] = _interpolated(
        values, reasons, columns, rows, float(minimum)
    )
    return result


def _check(
    values: NDArray[np.float32], reasons: NDArray[np.uint8], columns: NDArray[np.float64], rows: NDArray[np.float64]
) -> None:
    if values.ndim != 2 or values.dtype != np.float32:
        raise ValueError(f"the source is {values.dtype} of shape {values.shape}; wanted float32 (row, column)")
    if reasons.shape != values.shape or reasons.dtype != np.uint8:
        raise ValueError(f"reasons are {reasons.dtype} of shape {reasons.shape}; wanted uint8 {values.shape}")
    if columns.shape != rows.shape or columns.ndim != 2 or min(columns.shape) < 1:
        raise ValueError(f"corners of shapes {columns.shape} and {rows.shape}; wanted (y + 1, x + 1)")


@compiled
def _first_and_last(
    corners: NDArray[np.float64], y: int, x: int
) -> tuple[float, float]:  # of the four corners of a pixel, in one direction
    a, b, c, d = corners[y, x], corners[y, x + 1], corners[y + 1, x + 1], corners[y + 1, x]
    if not math.isfinite(a + b + c + d):
        return np.nan, np.nan
    return np.floor(min(min(a, b), min(c, d))), np.ceil(max(max(a, b), max(c, d)))


@compiled
def _largest(columns: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[int, int]:
    """Return the most rows and columns of cells that a pixel touches."""
    tall, wide = 1.0, 1.0
    for y in range(columns.shape[0] - 1):
        for x in range(columns.shape[1] - 1):
            left, right = _first_and_last(columns, y, x)
            top, bottom = _first_and_last(rows, y, x)
            if tall < bottom - top <= _MOST_CELLS:
                tall = bottom - top
            if wide < right - left <= _MOST_CELLS:
                wide = right - left
    return int(tall), int(wide)


@compiled
def _shares(
    change: NDArray[np.float64], columns: NDArray[np.float64], rows: NDArray[np.float64], y: int, x: int
) -> tuple[int, int, int, int]:
    """Put the areas of cells in a pixel into `change`; return the first row and column, and how many there are.

    No rows where a corner is nowhere.
    """
    left, right = _first_and_last(columns, y, x)
    top, bottom = _first_and_last(rows, y, x)
    if not (right - left < change.shape[1] and bottom - top <= change.shape[0]):  # NaN, too
        return 0, 0, 0, 0
    height, width = int(bottom - top), int(right - left)
    for row in range(height):
        for column in range(width + 1):
            change[row, column] = 0.0
    for corner in range(4):
        y0, x0 = y + (corner == 2) + (corner == 3), x + (corner == 1) + (corner == 2)
        y1, x1 = y + (corner == 1) + (corner == 2), x + (corner == 0) + (corner == 1)
        add_edge(
            change,
            columns[y0, x0] - left,
            rows[y0, x0] - top,
            columns[y1, x1] - left,
            rows[y1, x1] - top,
            height,
            width,
        )
    for row in range(height):
        total = 0.0
        for column in range(width):
            total += change[row, column]
            change[row, column] = abs(total)
    return int(top), int(left), height, width


@compiled
def _heaviest(weights: NDArray[np.float64]) -> int:
    best = OUTSIDE
    for reason in range(len(weights)):
        if weights[reason] > weights[best]:
            best = reason
    return best


@compiled
def _area_means(
    values: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    minimum: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    height, width = columns.shape[0] - 1, columns.shape[1] - 1
    means = np.empty((height, width), np.float32)
    coverage = np.empty((height, width), np.float32)
    why = np.zeros((height, width), np.uint8)
    tall, wide = _largest(columns, rows)
    area = np.zeros((tall, wide + 1))
    lost = np.zeros(16)
    for y in range(height):
        for x in range(width):
            top, left, n_rows, n_columns = _shares(area, columns, rows, y, x)
            total, found, weighted = 0.0, 0.0, 0.0
            lost[:] = 0.0
            for row in range(n_rows):
                for column in range(n_columns):
                    share = area[row, column]
                    if share < _SLIVER:
                        continue
                    total += share
                    i, j = top + row, left + column
                    if i < 0 or j < 0 or i >= values.shape[0] or j >= values.shape[1]:
                        lost[OUTSIDE] += share
                    elif np.isnan(values[i, j]):
                        lost[reasons[i, j] & 15] += share
                    else:
                        found += share
                        weighted += share * values[i, j]
            coverage[y, x] = found / total if total > 0.0 else 0.0
            if found > 0.0 and found >= minimum * total * (1.0 - 1e-9):
                means[y, x] = weighted / found
            else:
                means[y, x] = _NAN
                why[y, x] = _heaviest(lost)
    return means, coverage, why


@compiled
def _area_modes(
    classes: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    minimum: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    height, width = columns.shape[0] - 1, columns.shape[1] - 1
    modes = np.empty((height, width), np.float32)
    coverage = np.empty((height, width), np.float32)
    why = np.zeros((height, width), np.uint8)
    tall, wide = _largest(columns, rows)
    area = np.zeros((tall, wide + 1))
    met = np.zeros(tall * wide, np.float32)
    taken = np.zeros(tall * wide)
    lost = np.zeros(16)
    for y in range(height):
        for x in range(width):
            top, left, n_rows, n_columns = _shares(area, columns, rows, y, x)
            total, found, n_met = 0.0, 0.0, 0
            lost[:] = 0.0
            for row in range(n_rows):
                for column in range(n_columns):
                    share = area[row, column]
                    if share < _SLIVER:
                        continue
                    total += share
                    i, j = top + row, left + column
                    if i < 0 or j < 0 or i >= classes.shape[0] or j >= classes.shape[1]:
                        lost[OUTSIDE] += share
                        continue
                    if np.isnan(classes[i, j]):
                        lost[reasons[i, j] & 15] += share
                        continue
                    found += share
                    known = 0
                    while known < n_met and met[known] != classes[i, j]:
                        known += 1
                    if known == n_met:
                        met[known] = classes[i, j]
                        taken[known] = 0.0
                        n_met += 1
                    taken[known] += share
            coverage[y, x] = found / total if total > 0.0 else 0.0
            modes[y, x] = _NAN
            if found > 0.0 and found >= minimum * total * (1.0 - 1e-9):
                best = 0
                for known in range(1, n_met):
                    apart = taken[known] - taken[best]
                    if apart > _SLIVER or (apart > -_SLIVER and met[known] < met[best]):
                        best = known
                modes[y, x] = met[best]
            else:
                why[y, x] = _heaviest(lost)
    return modes, coverage, why


@compiled
def _interpolated(
    values: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    minimum: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    height, width = columns.shape[0] - 1, columns.shape[1] - 1
    n_rows, n_columns = values.shape
    result = np.empty((height, width), np.float32)
    coverage = np.zeros((height, width), np.float32)
    why = np.zeros((height, width), np.uint8)
    lost = np.zeros(16)
    for y in range(height):
        for x in range(width):
            column = 0.25 * (columns[y, x] + columns[y, x + 1] + columns[y + 1, x] + columns[y + 1, x + 1])
            row = 0.25 * (rows[y, x] + rows[y, x + 1] + rows[y + 1, x] + rows[y + 1, x + 1])
            result[y, x] = _NAN
            if not (0.0 <= column <= n_columns and 0.0 <= row <= n_rows):  # NaN, too
                why[y, x] = OUTSIDE
                continue
            across, down = column - 0.5, row - 0.5
            j, i = math.floor(across), math.floor(down)
            lost[:] = 0.0
            found, weighted = 0.0, 0.0
            for lower in range(2):
                for right in range(2):
                    weight = (down - i if lower else 1.0 - down + i) * (across - j if right else 1.0 - across + j)
                    if weight < _SLIVER:
                        continue
                    at, to = min(max(i + lower, 0), n_rows - 1), min(max(j + right, 0), n_columns - 1)
                    if np.isnan(values[at, to]):
                        lost[reasons[at, to] & 15] += weight
                    else:
                        found += weight
                        weighted += weight * values[at, to]
            coverage[y, x] = min(1.0, found)
            if found > 0.0 and found >= minimum * (1.0 - 1e-9):
                result[y, x] = weighted / found
            else:
                why[y, x] = _heaviest(lost)
    return result, coverage, why
