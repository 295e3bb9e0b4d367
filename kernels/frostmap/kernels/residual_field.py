"""What the clear pixels of a day, near and far, say about the error of an estimate where nothing was observed.

Residuals, observed minus estimated, of the clear pixels are averaged over square cells, once for a whole scene and day.
Kriging spreads the means to every cell, with a covariance that is fitted to that day's own cells, and says which share
of the residuals' variance it leaves unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

SHORT_RANGES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)
"""Ranges of the smooth, short component that are tried [cells]."""
LONG_RANGES = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Ranges of the rough, long component that are tried [cells]; those below twice the short range are left out."""
STRETCHES = (1.0, 1.5, 2.0, 3.0)
"""Ratios of the longest to the shortest range of all directions that are tried."""
DIRECTIONS = 8
"""How many directions of the longest range are tried, and in how many directions cells are compared."""
FEWEST_PAIRS = 30
"""Fewest pairs of cells that are compared at one distance and direction."""
FEWEST_LAGS = 8
"""Fewest distances and directions that fix a covariance; with less, a guess stands in."""
OUTLIER = 4.0
"""Mean residuals further from their median are drawn in to it, in robust standard deviations."""
MEAN_VARIANCE = 4.0
"""Prior variance of a neighbourhood's mean about 0, in mean squares of the cells' residuals."""

_DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # at which cells are compared, in cells
_PER_KELVIN = 100.0  # residuals are summed as integers of 0.01 K
_MAD = 1.4826  # median absolute deviation to standard deviation of a normal distribution
_BLOCK = 4  # cells along each side of a square that shares its neighbours: one matrix is factored for all of them
_LEAST_NOISE = 1e-3  # of the components' variance: matrices of smooth covariances are else near singular
_SINGULAR = 1e-12  # share of an unknown's own variance by which it differs from the others: less is no difference
_BETTER = 1e-12  # by how much more unknowns have to explain more
_MATH = {"contract", "arcp", "nsz", "reassoc"}  # without "nnan" and "ninf": NaN keeps its meaning


def add_residuals(
    sums: NDArray[np.int64],
    counts: NDArray[np.int64],
    squares: NDArray[np.int64],
    residual: NDArray[np.float32],
    top: int,
    left: int,
    cell: int,
) -> None:
    """Add the residuals of a block of pixels to the sums of the cells that they lie in.

    Parameters
    ----------
    sums : (cells_y, cells_x) int64
        Sums of residuals [0.01 K], added to.
    counts : (cells_y, cells_x) int64
        Number of residuals, added to.
    squares : (cells_y, cells_x) int64
        Sums of squared residuals [0.0001 K²], added to.
    residual : (y, x)
        Observed minus estimated surface temperature [K], at most some thousands. NaN is missing and adds nothing.
    top, left : int
        Position of the block's first row and column in the scene, in pixels.
    cell : int
        Pixels along each side of a cell.

    Notes
    -----
    Integers are summed: the order of blocks, and how the scene was cut into them, leave no trace.

    Examples
    --------
    >>> import numpy as np
    >>> sums, counts, squares = np.zeros((3, 1, 2), np.int64)
    >>> add_residuals(sums, counts, squares, np.array([[1.0, np.nan, -2.0]], np.float32), 1, 1, 2)
    >>> sums.tolist(), counts.tolist(), squares.tolist()
    ([[100, -200]], [[1, 1]], [[10000, 40000]])
    """
    if sums.ndim != 2 or not sums.shape == counts.shape == squares.shape:
        raise ValueError(
            f"sums, counts and squares have shapes {sums.shape}, {counts.shape} and {squares.shape}; "
            "wanted one shape (cells_y, cells_x)"
        )
    if not sums.dtype == counts.dtype == squares.dtype == np.int64:
        raise ValueError(f"sums, counts and squares are {sums.dtype}, {counts.dtype} and {squares.dtype}; wanted int64")
    if residual.ndim != 2 or residual.dtype != np.float32:
        raise ValueError(f"residual is {residual.dtype} of shape {residual.shape}; wanted float32 (y, x)")
    _check_window(sums.shape, top, left, residual.shape[0], residual.shape[1], cell)
    _add_residuals(sums, counts, squares, residual, top, left, cell)


def _check_window(cells: tuple[int, ...], top: int, left: int, height: int, width: int, cell: int) -> None:
    if cell < 1:
        raise ValueError(f"cell is {cell} pixels; wanted 1 or more")
    if min(top, left) < 0 or top + height > cells[0] * cell or left + width > cells[1] * cell:
        raise ValueError(
            f"a block of {height} x {width} pixels at ({top}, {left}) is not within {cells[0]} x {cells[1]} cells "
            f"of {cell} pixels"
        )


@compiled
def _add_residuals(
    sums: NDArray[np.int64],
    counts: NDArray[np.int64],
    squares: NDArray[np.int64],
    residual: NDArray[np.float32],
    top: int,
    left: int,
    cell: int,
) -> None:
    height, width = residual.shape
    scale = np.float32(_PER_KELVIN)
    for i in range(height):
        row = (top + i) // cell
        start = 0
        while start < width:
            column = (left + start) // cell
            end = min(width, (column + 1) * cell - left)
            total, count, square = 0, 0, 0
            for j in range(start, end):
                value = residual[i, j]
                if value == value:
                    hundredths = int(np.rint(scale * value))
                    total += hundredths
                    square += hundredths * hundredths
                    count += 1
            sums[row, column] += total
            counts[row, column] += count
            squares[row, column] += square
            start = end


@dataclass(frozen=True)
class ResidualCovariance:
    r"""How the mean residuals of two cells vary together, by their distance h.

    .. math:: m + s_1 (1 + h / r_1)\, e^{-h / r_1} + s_2\, e^{-h / r_2}

    The nugget, and the sampling variance divided by a cell's count, add to a cell's own variance only.
    """

    mean_variance: float
    """Prior variance m about 0 of what all cells share [K²]."""
    short_sill: float
    """Variance s1 of the smooth, short component [K²]."""
    short_range: float
    """Range r1 of the smooth, short component [cells]."""
    long_sill: float
    """Variance s2 of the rough, long component [K²]."""
    long_range: float
    """Range r2 of the rough, long component [cells]."""
    nugget: float
    """Variance of what a cell shares with no other [K²]."""
    sampling: float
    """Variance of a cell's mean for its pixels being few, times their count [K²]."""
    stretch: float
    """Ratio of the ranges along and across `direction`, each range being the geometric mean of both [1]."""
    direction: float
    """Direction in which the ranges are longest, from the x axis (columns) towards the y axis (rows) [radians]."""


def residual_covariance(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> ResidualCovariance:
    r"""Fit a covariance to the mean residuals of a scene's cells.

    Half the mean squared difference of the cells that lie a given distance and direction apart is fitted with that of
    the model, by least squares with the weights of Cressie (1985); variances are held at 0 or more, ranges, stretch and
    direction are the best of those listed above.

    Parameters
    ----------
    sums, counts : (cells_y, cells_x) int64
        From `add_residuals`. Cells without a count say nothing.

    Returns
    -------
    ResidualCovariance
        A guess from the cells' mean square, whose influence ends some 16 cells away, where too few are known.

    References
    ----------
    Matheron (1963), doi:10.2113/gsecongeo.58.8.1246; Cressie (1985), doi:10.1007/BF01032109

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(0.0, 300.0, (60, 60)).astype(np.int64)
    >>> found = residual_covariance(noise, np.ones((60, 60), np.int64))
    >>> bool(found.nugget + found.sampling > 0.8 * 9.0)
    True
    """
    mean, observed = _cell_means(sums, counts)
    square = float(np.mean(mean[observed] ** 2)) if observed.any() else 0.0
    longest = min(max(2, max(mean.shape) // 2), _DISTANCES[-1])
    gamma, pairs, sampling = _variogram(np.where(observed, mean, np.nan), counts, _lags(longest))
    known = (pairs >= FEWEST_PAIRS) & (gamma > 0.0)
    if known.sum() < FEWEST_LAGS:
        return ResidualCovariance(0.0, 0.0, SHORT_RANGES[0], square, 16.0, 0.25 * square, 0.0, 1.0, 0.0)
    shapes, rises = _tried(longest)
    gamma, pairs, sampling = gamma[known], pairs[known], sampling[known]
    weight = np.minimum(pairs, np.median(pairs)) / np.maximum(gamma, 1e-6 * gamma.max()) ** 2
    fitted = _fit_covariance(shapes, rises[:, :, known], gamma, weight / weight.sum(), sampling)
    return ResidualCovariance(MEAN_VARIANCE * square, *fitted)


def _cell_means(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return mean residuals [K], outliers drawn in, 0 where there is none; and where there is one."""
    if sums.ndim != 2 or sums.shape != counts.shape:
        raise ValueError(f"sums and counts have shapes {sums.shape} and {counts.shape}; wanted one (cells_y, cells_x)")
    observed = counts > 0
    mean = sums / (_PER_KELVIN * np.maximum(counts, 1))
    if observed.any():
        middle = np.median(mean[observed])
        limit = OUTLIER * _MAD * np.median(np.abs(mean[observed] - middle))
        if limit > 0.0:
            mean = np.where(observed, np.clip(mean, middle - limit, middle + limit), 0.0)
    return mean, observed


def _lags(longest: int) -> NDArray[np.int64]:
    """Return the steps (rows >= 0, columns) over which cells are compared."""
    lags: dict[tuple[int, int], None] = {}
    for distance in _DISTANCES:
        if distance <= longest:
            for k in range(DIRECTIONS):
                angle = pi * k / DIRECTIONS
                lags[round(distance * sin(angle)), round(distance * cos(angle))] = None
    return np.array(list(lags), np.int64)


@compiled(error_model="numpy", fastmath=_MATH)
def _variogram(
    mean: NDArray[np.float64], counts: NDArray[np.int64], lags: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return, for each lag, half the mean squared difference, the pairs, and their mean of 1 / count."""
    height, width = mean.shape
    gamma = np.zeros(lags.shape[0])
    pairs = np.zeros(lags.shape[0], np.int64)
    sampling = np.zeros(lags.shape[0])
    inverse = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            if counts[y, x] > 0:
                inverse[y, x] = 1.0 / counts[y, x]
    for k in range(lags.shape[0]):
        dy, dx = lags[k, 0], lags[k, 1]
        squares, inverses, n = 0.0, 0.0, 0
        for y in range(height - dy):
            for x in range(max(0, -dx), width - max(0, dx)):
                difference = mean[y + dy, x + dx] - mean[y, x]
                if difference == difference:
                    squares += difference * difference
                    inverses += inverse[y, x] + inverse[y + dy, x + dx]
                    n += 1
        gamma[k] = 0.5 * squares / max(n, 1)
        sampling[k] = 0.5 * inverses / max(n, 1)
        pairs[k] = n
    return gamma, pairs, sampling


def _stretched(
    dy: NDArray[np.float64], dx: NDArray[np.float64], stretch: float, direction: float
) -> NDArray[np.float64]:
    """Return the distance of two cells as the covariance sees it: shorter along its direction, longer across."""
    along, across = dx * cos(direction) + dy * sin(direction), dy * cos(direction) - dx * sin(direction)
    return np.sqrt(along * along / stretch + across * across * stretch)


def _short(distance: NDArray[np.float64], short_range: float) -> NDArray[np.float64]:
    h = distance / short_range
    return (1.0 + h) * np.exp(-h)


@lru_cache(maxsize=8)
def _tried(longest: int) -> tuple[list[tuple[float, float]], NDArray[np.float64]]:
    """Return all stretches and directions, and for each how far components of sill 1 rise, (ranges, lags)."""
    dy, dx = _lags(longest).T.astype(np.float64)
    shapes = [
        (stretch, pi * k / DIRECTIONS) for stretch in STRETCHES for k in range(DIRECTIONS if stretch > 1.0 else 1)
    ]
    distances = np.array([_stretched(dy, dx, *shape) for shape in shapes])
    rises = [1.0 - _short(distances, r) for r in SHORT_RANGES] + [1.0 - np.exp(-distances / r) for r in LONG_RANGES]
    return shapes, np.stack(rises, axis=1)


def _fit_covariance(
    shapes: list[tuple[float, float]],
    rises: NDArray[np.float64],
    gamma: NDArray[np.float64],
    weight: NDArray[np.float64],
    sampling: NDArray[np.float64],
) -> tuple[float, ...]:
    """Return the fields of `ResidualCovariance` but the first: the best of all that are tried."""
    shorts, longs = len(SHORT_RANGES), len(LONG_RANGES)
    # Columns of the least squares: all short components, all long ones, nugget, sampling; four enter at a time.
    pairs = [(i, j) for i, r in enumerate(SHORT_RANGES) for j, far in enumerate(LONG_RANGES) if far >= 2.0 * r]
    chosen = np.array([(i, shorts + j, shorts + longs, shorts + longs + 1) for i, j in pairs])
    own = np.broadcast_to(np.stack([np.ones(gamma.size), sampling]), (len(shapes), 2, gamma.size))
    columns = np.concatenate([rises, own], axis=1)
    gram, right = (columns * weight) @ columns.transpose(0, 2, 1), (columns * weight) @ gamma
    variances, misfit = _least_squares_not_negative(gram, right, chosen)
    shape, pair = np.unravel_index(misfit.argmin(), misfit.shape)
    (i, j), (short_sill, long_sill, nugget, few) = pairs[pair], variances[shape, pair].tolist()
    return short_sill, SHORT_RANGES[i], long_sill, LONG_RANGES[j], nugget, few, *shapes[shape]


@compiled(error_model="numpy")
def _least_squares_not_negative(
    gram: NDArray[np.float64], right: NDArray[np.float64], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the best solutions without a negative value of normal equations, and their misfits less a constant.

    Of each of several equations (the first axis) and each choice of unknowns (the second). The best is among the
    solutions for some unknowns, the others being 0, that have no negative value: all are tried, parts before the whole.
    """
    choices, unknowns = chosen.shape
    solutions = np.zeros((gram.shape[0], choices, unknowns))
    misfits = np.zeros((gram.shape[0], choices))
    factor, value, used = np.empty((unknowns, unknowns)), np.empty(unknowns), np.empty(unknowns, np.int64)
    for n in range(gram.shape[0]):
        for m in range(choices):
            for some in range(1, 2**unknowns):
                size = 0
                for a in range(unknowns):
                    if some >> a & 1:
                        used[size] = chosen[m, a]
                        size += 1
                if not _solved(gram[n], right[n], used[:size], factor, value):
                    continue
                misfit, negative = 0.0, False
                for a in range(size):
                    misfit -= value[a] * right[n, used[a]]  # of a solution of the normal equations
                    negative |= value[a] < 0.0
                if negative or misfit >= misfits[n, m] - _BETTER * abs(misfits[n, m]):
                    continue
                misfits[n, m] = misfit
                size = 0
                for a in range(unknowns):
                    solutions[n, m, a] = 0.0
                    if some >> a & 1:
                        solutions[n, m, a] = value[size]
                        size += 1
    return solutions, misfits


@compiled(error_model="numpy")
def _solved(
    gram: NDArray[np.float64],
    right: NDArray[np.float64],
    used: NDArray[np.int64],
    factor: NDArray[np.float64],
    value: NDArray[np.float64],
) -> bool:
    """Solve normal equations for some unknowns, by Cholesky's factor; say whether there is one solution."""
    size = used.shape[0]
    for a in range(size):
        for b in range(a + 1):
            entry = gram[used[a], used[b]]
            for k in range(b):
                entry -= factor[a, k] * factor[b, k]
            if b < a:
                factor[a, b] = entry / factor[b, b]
            elif entry <= _SINGULAR * gram[used[a], used[a]]:
                return False
            else:
                factor[a, a] = np.sqrt(entry)
        entry = right[used[a]]
        for k in range(a):
            entry -= factor[a, k] * value[k]
        value[a] = entry / factor[a, a]
    for a in range(size - 1, -1, -1):
        for k in range(a + 1, size):
            value[a] -= factor[k, a] * value[k]
        value[a] /= factor[a, a]
    return True


def residual_field(
    sums: NDArray[np.int64],
    counts: NDArray[np.int64],
    squares: NDArray[np.int64],
    covariance: ResidualCovariance | None = None,
    neighbours: int = 64,
    reach: int = 64,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Spread the residuals of a scene's clear cells to all of its cells by kriging.

    .. math:: \hat r_0 = c_0^T C^{-1} \bar r, \qquad \sigma_0^2 = c_{00} - c_0^T C^{-1} c_0

    where C holds the covariances of the neighbours' means and c those of the neighbours with the cell itself.

    Parameters
    ----------
    sums, counts, squares : (cells_y, cells_x) int64
        From `add_residuals`. A cell without a count is unknown.
    covariance : ResidualCovariance, optional
        By default what `residual_covariance` finds in these cells.
    neighbours : int
        Known cells from which a cell is estimated, the nearest as the covariance sees distance. The work grows with
        nearly the third power of it.
    reach : int
        How far away neighbours may be, in cells along y or x.

    Returns
    -------
    field : (cells_y, cells_x) float32
        Expected residual [K], smooth also where it was observed; 0 far away from all known cells.
    remaining : (cells_y, cells_x) float32
        Variance of pixels about the field, as a share of the mean square of all residuals, 0 to 1: what remains of the
        variance of an estimate once the field is added. 1 where nothing is known.

    Notes
    -----
    Cells are served in squares of 4 x 4 that share their neighbours, so that one matrix is factored for all 16. A prior
    variance of the mean in every covariance lets the neighbours agree on a mean of their own, as ordinary kriging does,
    yet takes the field to 0 where no neighbour is near.

    References
    ----------
    Kriging in moving neighbourhoods: Chilès & Delfiner (2012), doi:10.1002/9781118136188, chapter 3

    Examples
    --------
    >>> import numpy as np
    >>> sums, counts = np.zeros((8, 200), np.int64), np.zeros((8, 200), np.int64)
    >>> sums[:, :8], counts[:, :8] = 500, 1
    >>> field, remaining = residual_field(sums, counts, 500 * sums)
    >>> bool(field[0, 0] > 4.5), bool(remaining[0, 0] < 0.5), float(field[0, 199]), float(remaining[0, 199])
    (True, True, 0.0, 1.0)
    """
    if sums.shape != squares.shape:
        raise ValueError(f"sums and squares have shapes {sums.shape} and {squares.shape}; wanted one shape")
    if neighbours < 1 or reach < 1:
        raise ValueError(f"neighbours is {neighbours} and reach is {reach}; wanted 1 or more")
    mean, observed = _cell_means(sums, counts)
    pixels, square = int(counts.sum()), float(squares.sum()) / _PER_KELVIN**2
    if pixels == 0 or square == 0.0:
        return np.zeros(mean.shape, np.float32), np.ones(mean.shape, np.float32)
    model = residual_covariance(sums, counts) if covariance is None else covariance
    reach = min(reach, max(mean.shape))
    distance, nearest = _around(reach, model.stretch, model.direction)
    table = model.mean_variance + model.long_sill * np.exp(-distance / model.long_range)
    table += model.short_sill * _short(distance, model.short_range)
    noise = model.nugget + model.sampling / np.maximum(counts, 1)
    noise = np.maximum(noise, _LEAST_NOISE * (model.short_sill + model.long_sill + square / pixels))
    field, variance = _krige(mean, noise, observed, nearest, table, neighbours)
    cell_means = sums[observed] / counts[observed]
    within = max(0.0, (square - float((sums[observed] * cell_means).sum()) / _PER_KELVIN**2) / pixels)
    remaining = (variance + model.nugget + within) * (pixels / square)
    return field.astype(np.float32), np.clip(remaining, 0.0, 1.0).astype(np.float32)


@lru_cache(maxsize=32)
def _around(reach: int, stretch: float, direction: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distances of two neighbours by their steps, the middle being 0; and steps to cells, nearest first.

    These steps (rows, columns) lead from the first cell of a square to cells within reach of the square.
    """
    far = np.arange(-2.0 * reach - _BLOCK, 2 * reach + _BLOCK + 1)
    steps = np.mgrid[-reach : reach + _BLOCK, -reach : reach + _BLOCK].reshape(2, -1)
    y, x = steps - 0.5 * (_BLOCK - 1)
    order = np.argsort(_stretched(y, x, stretch, direction), kind="stable")
    return _stretched(far[:, None], far, stretch, direction), np.ascontiguousarray(steps.T[order], np.int64)


@compiled(fastmath=_MATH)
def _krige(
    mean: NDArray[np.float64],
    noise: NDArray[np.float64],
    observed: NDArray[np.bool_],
    steps: NDArray[np.int64],
    table: NDArray[np.float64],
    neighbours: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    height, width = mean.shape
    field = np.zeros((height, width))
    variance = np.empty((height, width))
    size = table.shape[1]
    flat = table.ravel()  # the covariance of two places is at the middle plus their difference
    middle = flat.size // 2
    cells = _BLOCK * _BLOCK
    place = np.empty(neighbours, np.int64)
    factor = np.empty((neighbours, neighbours))  # lower triangle, the inverse of its diagonal on the diagonal
    right = np.empty((neighbours, cells + 1))  # covariances with the square's cells; last the means
    for top in range(0, height, _BLOCK):
        for left in range(0, width, _BLOCK):
            n = 0
            for k in range(steps.shape[0]):
                y, x = top + steps[k, 0], left + steps[k, 1]
                if y >= 0 and y < height and x >= 0 and x < width and observed[y, x]:
                    here = steps[k, 0] * size + steps[k, 1]
                    place[n] = here
                    for m in range(n):
                        factor[n, m] = flat[middle + here - place[m]]
                    factor[n, n] = flat[middle] + noise[y, x]
                    for t in range(cells):
                        right[n, t] = flat[middle + here - (t // _BLOCK) * size - t % _BLOCK]
                    right[n, cells] = mean[y, x]
                    n += 1
                    if n == neighbours:
                        break
            # Cholesky's factor, and forward substitution of all right-hand sides on the way.
            for i in range(n):
                for j in range(i):
                    entry = factor[i, j]
                    for k in range(j):
                        entry -= factor[i, k] * factor[j, k]
                    factor[i, j] = entry * factor[j, j]
                pivot = factor[i, i]
                for k in range(i):
                    pivot -= factor[i, k] * factor[i, k]
                factor[i, i] = 1.0 / np.sqrt(pivot)
                for k in range(i):
                    entry = factor[i, k]
                    for t in range(cells + 1):
                        right[i, t] -= entry * right[k, t]
                for t in range(cells + 1):
                    right[i, t] *= factor[i, i]
            for t in range(cells):
                y, x = top + t // _BLOCK, left + t % _BLOCK
                if y < height and x < width:
                    left_over = flat[middle]
                    for k in range(n):
                        field[y, x] += right[k, t] * right[k, cells]
                        left_over -= right[k, t] * right[k, t]
                    variance[y, x] = left_over
    return field, variance


def interpolate_field(
    field: NDArray[np.float32], top: int, left: int, height: int, width: int, cell: int
) -> NDArray[np.float32]:
    """Return a field of cells at the pixels of a block, bilinear between the cells' centres.

    Parameters
    ----------
    field : (cells_y, cells_x) float32
        One value a cell. NaN spreads to the pixels around.
    top, left : int
        Position of the block's first row and column in the scene, in pixels.
    height, width : int
        The block's size, in pixels.
    cell : int
        Pixels along each side of a cell.

    Returns
    -------
    (height, width) float32
        Beyond the outermost centres, the nearest cell's value.

    Notes
    -----
    A pixel's value depends on its place in the scene only, to the last bit, however the scene is cut into blocks.

    Examples
    --------
    >>> import numpy as np
    >>> interpolate_field(np.array([[0.0, 4.0]], np.float32), 0, 0, 1, 8, 4)
    array([[0. , 0. , 0.5, 1.5, 2.5, 3.5, 4. , 4. ]], dtype=float32)
    """
    if field.ndim != 2 or field.dtype != np.float32:
        raise ValueError(f"field is {field.dtype} of shape {field.shape}; wanted float32 (cells_y, cells_x)")
    _check_window(field.shape, top, left, height, width, cell)
    pixels: NDArray[np.float32] = _interpolate_field(field, top, left, height, width, cell)
    return pixels


@compiled(fastmath={"contract"})
def _interpolate_field(
    field: NDArray[np.float32], top: int, left: int, height: int, width: int, cell: int
) -> NDArray[np.float32]:
    pixels = np.empty((height, width), np.float32)
    column = np.empty(field.shape[1], np.float32)
    first = np.empty(width, np.int64)
    second = np.empty(width, np.int64)
    share = np.empty(width, np.float32)
    for j in range(width):
        first[j], second[j], share[j] = _between(left + j, cell, field.shape[1])
    for i in range(height):
        above, below, part = _between(top + i, cell, field.shape[0])
        for x in range(field.shape[1]):
            column[x] = field[above, x] + part * (field[below, x] - field[above, x])
        for j in range(width):
            pixels[i, j] = column[first[j]] + share[j] * (column[second[j]] - column[first[j]])
    return pixels


@compiled
def _between(pixel: int, cell: int, cells: int) -> tuple[int, int, np.float32]:
    """Return the cells whose centres are before and behind a pixel's centre, and how far it is between them."""
    half_pixels = 2 * pixel + 1 - cell  # from the first cell's centre
    before = half_pixels // (2 * cell)
    share = np.float32((half_pixels - before * 2 * cell) / (2 * cell))
    return max(before, 0), min(before + 1, cells - 1), share
