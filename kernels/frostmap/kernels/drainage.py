"""Where water runs on a terrain model: depressions filled, flow gathered, and the wetness index that follows.

Elevations are whole millimetres here, in a frame of missing cells one cell wide. Whole numbers tell a rise of 1 mm at
any height in 4 bytes a cell, which float32 cannot; the frame spares every neighbour a question. Row 0 is north and
column 0 is west: use a grid whose axes point east and north, never the sheared sinusoidal one.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.terrain import cell_sizes, horn

Flow: TypeAlias = Literal["fd8", "d8", "dinf"]
"""How a cell's water divides: among all lower neighbours, to the steepest, or to the two beside the steepest slope."""

Levels: TypeAlias = NDArray[np.int32]
"""(y + 2, x + 2): elevation [mm] in a frame of `MISSING`."""

MISSING = -(2**31)
"""What a cell without elevation holds."""

METRE = 1000
"""Counts in a metre: filled ground rises by one count, 1 mm, a cell."""

LEAST_GRADIENT = 1e-3
"""Gradient that flat ground is given in the wetness index [1]."""

DIAGONAL_CONTOUR = 0.35355339059327373
"""Contour length of a diagonal neighbour, sqrt(2) / 4 cells (Quinn et al. 1991); a direct one has 1/2."""

BYTES_PER_CELL = 14
"""Peak memory of filling and gathering [bytes a cell]: levels 4, area 8, neighbours waited for 1, queues the rest."""

_DRY = 2**30  # added to the level of a cell that water has not reached while depressions are filled
_WET = 2**29  # no level is above this, none of a dry cell below
_DOUBTS = 2**12  # cells that may be lips, and are looked at again later
_FD8, _D8, _DINF = range(3)
_DONE, _BEYOND, _COUNT = 128, 64, 15  # bits beside the number of neighbours that a cell waits for, and that number's

# Neighbours clockwise from east, as rows down and columns right; odd ones are diagonal.
_DOWN = np.array([0, 1, 1, 1, 0, -1, -1, -1])
_RIGHT = np.array([1, 1, 0, -1, -1, -1, 0, 1])


class Filled(NamedTuple):
    """How much filling raised."""

    cells: int
    """How many cells."""

    deepest: int
    """The most that one was raised by [mm]."""


class Drainage(NamedTuple):
    """What has gathered in each cell."""

    area: NDArray[np.float64]
    """(y + 2, x + 2): upslope area, the cell's own included [m²]; NaN where there is no elevation."""

    from_beyond: NDArray[np.bool_]
    """(y + 2, x + 2): the cell, or one that it drains, lies at the array's edge or beside a missing one, so that water
    from beyond may be lacking. A cell's water is followed to its largest receiver."""


# ---- levels ------------------------------------------------------------------------------------------------------


def empty_levels(rows: int, columns: int) -> Levels:
    """Return levels of a terrain of which nothing is known yet: its rows and columns, and the frame around them."""
    if (rows + 2) * (columns + 2) > 2**31 - 2**24:
        raise ValueError(f"{rows} x {columns} cells are too many; wanted fewer than 2 ** 31, so cut the terrain")
    return np.full((rows + 2, columns + 2), MISSING, dtype=np.int32)


@compiled
def _set_levels(levels: Any, elevation: Any, row: int) -> None:
    rows, columns = elevation.shape
    for i in range(rows):
        for j in range(columns):
            z = elevation[i, j]
            levels[row + i + 1, j + 1] = MISSING if np.isnan(z) else np.int32(np.rint(z * METRE))


def set_levels(levels: Levels, elevation: NDArray[Any], row: int = 0) -> None:
    """Enter elevations [m] into levels, from a row on, in their whole width; NaN is missing.

    Examples
    --------
    >>> levels = empty_levels(1, 2)
    >>> set_levels(levels, np.array([[4817.25, np.nan]]))
    >>> levels[1, 1:-1].tolist() == [4817250, MISSING]
    True
    """
    if elevation.ndim != 2:
        raise ValueError(f"elevation has {elevation.ndim} dimensions; wanted (y, x)")
    _set_levels(levels, elevation, row)


# ---- depressions -------------------------------------------------------------------------------------------------


@compiled
def _fill(levels: Any) -> tuple[int, int]:
    columns = levels.shape[1]
    level = levels.reshape(-1)
    around = _DOWN * columns + _RIGHT
    lowest, highest = 2**31 - 1, MISSING
    for cell in range(level.size):
        if level[cell] != MISSING:
            lowest, highest = min(lowest, level[cell]), max(highest, level[cell])
            level[cell] += _DRY
    if highest == MISSING:
        return 0, 0
    # Lips are cells that water has reached and whose lower neighbours it has not. Those of ground as it is lie in
    # buckets, one for each level, each a chain of links; those of raised ground come in order, so in a ring.
    bucket = np.full(highest - lowest + 1, -1, np.int32)
    link_cell, link_next = np.empty(1024, np.int32), np.empty(1024, np.int32)
    links, unused = 0, -1
    for cell in range(level.size):
        if level[cell] == MISSING:
            continue
        for k in range(8):
            if level[cell + around[k]] == MISSING:
                level[cell] -= _DRY
                if links == link_cell.size:
                    link_cell, link_next = _twice(link_cell), _twice(link_next)
                link_cell[links], link_next[links] = cell, bucket[level[cell] - lowest]
                bucket[level[cell] - lowest] = links
                links += 1
                break
    climbing = np.empty(1024, np.int32)
    doubt = np.empty(_DOUBTS, np.int32)
    ring, first, waiting = np.empty(1024, np.int32), 0, 0
    cells, deepest = 0, 0
    now = lowest
    while True:
        # The lowest lip: whatever is not yet reached drains over one, so its neighbours drain over this one.
        while now <= highest and bucket[now - lowest] < 0 and (waiting == 0 or level[ring[first]] > now):
            now += 1
        if now <= highest and bucket[now - lowest] >= 0 and (waiting == 0 or level[ring[first]] >= now):
            link = bucket[now - lowest]
            cell = link_cell[link]
            bucket[now - lowest] = link_next[link]
            link_next[link] = unused
            unused = link
        elif waiting > 0:
            cell = ring[first]
            first = (first + 1) % ring.size
            waiting -= 1
        else:
            break
        raised = level[cell] + 1
        height = 0
        for k in range(8):
            other = cell + around[k]
            if level[other] > _WET:
                level[other] -= _DRY
                if level[other] < raised:
                    cells += 1
                    deepest = max(deepest, raised - level[other])
                    level[other] = raised
                climbing[height] = other
                height += 1
        # Ground that rises from what drains, drains: it needs no queue. Lower ground beside it that is dry makes it a
        # lip only if it is still dry when the climb is done, or much of it: most is not.
        doubtful, doubts = 0, 0
        while height > 0 or doubts > 0:
            if height > 0:
                height -= 1
                cell = climbing[height]
                brim = level[cell] + 1
                if height + 8 > climbing.size:
                    climbing = _twice(climbing)
                is_lip = False
                for k in range(8):
                    other = cell + around[k]
                    dry = level[other]
                    if dry > _WET:
                        if dry - _DRY >= brim:
                            level[other] = dry - _DRY
                            climbing[height] = other
                            height += 1
                        else:
                            is_lip = True
                if is_lip:
                    doubt[(doubtful + doubts) % doubt.size] = cell
                    doubts += 1
                if doubts == 0 or (height > 0 and doubts < doubt.size):
                    continue
            cell = doubt[doubtful]
            doubtful = (doubtful + 1) % doubt.size
            doubts -= 1
            is_lip = False
            for k in range(8):
                if level[cell + around[k]] > _WET:
                    is_lip = True
                    break
            if not is_lip:
                continue
            if level[cell] == raised:
                if waiting == ring.size:
                    ring = np.concatenate((ring[first:], ring[:first], np.empty(ring.size, np.int32)))
                    first = 0
                ring[(first + waiting) % ring.size] = cell
                waiting += 1
                continue
            if unused >= 0:
                link = unused
                unused = link_next[link]
            else:
                if links == link_cell.size:
                    link_cell, link_next = _twice(link_cell), _twice(link_next)
                link = links
                links += 1
            link_cell[link], link_next[link] = cell, bucket[level[cell] - lowest]
            bucket[level[cell] - lowest] = link
    return cells, deepest


@compiled
def _twice(array: Any) -> Any:
    return np.concatenate((array, np.empty(array.size, np.int32)))


def fill_depressions(levels: Levels) -> Filled:
    """Raise levels, in place, just so much that water leaves every cell.

    Priority flood: from the outlets (cells at the edge of the terrain or beside a missing one) inwards, always on from
    the lowest cell reached so far; a cell that would hold water is raised one count, 1 mm, above the one it drains to.
    The result is the lowest such terrain, whatever the order among equals. Only cells that stand above ground not yet
    reached wait in the queue: what rises from drained ground drains as it is.

    Parameters
    ----------
    levels : (y + 2, x + 2) int32
        Elevation [mm] in its frame, from `empty_levels`; missing cells stay missing.

    Returns
    -------
    How many cells were raised, and the most that one was.

    References
    ----------
    Barnes, Lehman and Mulla 2014, doi:10.1016/j.cageo.2013.04.024 (Algorithm 3); Zhou, Sun and Fu 2016,
    doi:10.1016/j.cageo.2016.02.021 (slopes past the queue).

    Examples
    --------
    >>> levels = empty_levels(3, 3)
    >>> set_levels(levels, np.array([[9.0, 9.0, 9.0], [9.0, 2.0, 5.0], [9.0, 9.0, 9.0]]))
    >>> fill_depressions(levels)
    Filled(cells=1, deepest=3001)
    >>> levels[2, 1:-1].tolist()
    [9000, 5001, 5000]
    """
    _check_frame(levels)
    return Filled(*map(int, _fill(levels)))


def _check_frame(levels: Levels) -> None:
    if levels.dtype != np.int32 or levels.ndim != 2 or not levels.flags.c_contiguous:
        raise ValueError(f"levels are {levels.dtype} of {levels.ndim} dimensions; wanted those of empty_levels")
    for edge in (levels[0], levels[-1], levels[:, 0], levels[:, -1]):
        if not np.all(edge == MISSING):
            raise ValueError("levels have elevations in their frame; wanted those of empty_levels")


# ---- flow --------------------------------------------------------------------------------------------------------


@compiled
def _steepest(level: Any, cell: int, around: Any, per_distance: Any) -> int:
    """Return the neighbour that a cell falls to most steeply, the first of equals, -1 where none is lower."""
    best, most = -1, 0.0
    for k in range(8):
        other = level[cell + around[k]]
        if other != MISSING and other < level[cell]:
            steepness = (level[cell] - other) * per_distance[k]
            if steepness > most:
                best, most = k, steepness
    return best


@compiled
def _facet(level: Any, cell: int, around: Any, dx: float, dy: float) -> int:
    """Return 3 times the steepest facet, plus 0 where water runs along its direct side, 1 within it, 2 to its corner.

    Facets are counted clockwise from the one between east and south-east; -1 where none falls.
    """
    own = level[cell]
    best, most = -1, 0.0
    for facet in range(8):
        direct, corner = (facet + 1) // 2 * 2 % 8, facet // 2 * 2 + 1
        along, across = (dx, dy) if direct % 4 == 0 else (dy, dx)
        here, there = level[cell + around[direct]], level[cell + around[corner]]
        down = (own - here) / along if here != MISSING else -1.0  # Eq. 1
        side = (here - there) / across if here != MISSING and there != MISSING else 0.0  # Eq. 2
        if there != MISSING and (here == MISSING or side * along >= down * across):  # no steeper than to the corner
            down = float(own - there)
            square, way = down * down / (dx * dx + dy * dy), 2
        elif side <= 0.0:
            square, way = down * down, 0
        else:
            square, way = down * down + side * side, 1  # Eq. 4
        if down > 0.0 and square > most:
            best, most = 3 * facet + way, square
    return best


@compiled
def _gather(levels: Any, dx: Any, dy: Any, flow: int, area: Any, waits: Any, ways: Any) -> None:
    rows, columns = levels.shape
    level = levels.reshape(-1)
    around = _DOWN * columns + _RIGHT
    weight, per_distance = np.empty((rows, 8)), np.empty((rows, 8))
    for i in range(rows):
        for k in range(8):
            if k % 2 == 1:
                distance, contour = np.hypot(dx[i], dy[i]), DIAGONAL_CONTOUR * np.sqrt(dx[i] * dy[i])
            else:
                distance, contour = (dx[i], 0.5 * dy[i]) if k % 4 == 0 else (dy[i], 0.5 * dx[i])
            per_distance[i, k], weight[i, k] = 1.0 / distance, contour / distance
    for i in range(rows):
        for cell in range(i * columns, (i + 1) * columns):
            own = level[cell]
            if own == MISSING:
                area[cell] = np.nan
                continue
            area[cell] = dx[i] * dy[i]
            for k in range(8):
                other = level[cell + around[k]]
                if other == MISSING:
                    waits[cell] |= _BEYOND
                elif flow == _FD8 and other > own:
                    waits[cell] += 1
            if flow == _D8:
                way = _steepest(level, cell, around, per_distance[i])
                ways[cell] = way
                if way >= 0:
                    waits[cell + around[way]] += 1
            elif flow == _DINF:
                way = _facet(level, cell, around, dx[i], dy[i])
                ways[cell] = way
                if way >= 0 and way % 3 < 2:
                    waits[cell + around[(way // 3 + 1) // 2 * 2 % 8]] += 1
                if way >= 0 and way % 3 > 0:
                    waits[cell + around[way // 6 * 2 + 1]] += 1
    share = np.zeros(8)
    ready = np.empty(1024, np.int32)
    for start in range(level.size):
        if level[start] == MISSING or waits[start] & (_DONE | _COUNT):
            continue
        ready[0] = start
        height = 1
        while height > 0:
            height -= 1
            cell = ready[height]
            waits[cell] |= _DONE
            if height + 8 > ready.size:
                ready = _twice(ready)
            i = cell // columns
            most, total, largest = -1, 0.0, 0.0
            if flow == _FD8:
                for k in range(8):
                    other = level[cell + around[k]]
                    share[k] = -1.0
                    if other != MISSING and other < level[cell]:
                        share[k] = (level[cell] - other) * weight[i, k]
                        total += share[k]
            elif ways[cell] >= 0:
                share[:] = -1.0
                total = 1.0
                if flow == _D8:
                    share[ways[cell]] = 1.0
                else:
                    facet, way = ways[cell] // 3, ways[cell] % 3
                    direct, corner = (facet + 1) // 2 * 2 % 8, facet // 2 * 2 + 1
                    turned = 0.5 * way  # of the facet's angle: none, or all
                    if way == 1:
                        along, across = (dx[i], dy[i]) if direct % 4 == 0 else (dy[i], dx[i])
                        down = (level[cell] - level[cell + around[direct]]) / along
                        side = (level[cell + around[direct]] - level[cell + around[corner]]) / across
                        turned = np.arctan2(side, down) / np.arctan2(across, along)  # Eq. 3
                    if way < 2:
                        share[direct] = 1.0 - turned
                    if way > 0:
                        share[corner] = turned
            if total == 0.0:
                continue
            for k in range(8):
                if share[k] >= 0.0:
                    if share[k] > largest:
                        largest, most = share[k], k
                    other = cell + around[k]
                    area[other] += area[cell] * (share[k] / total)
                    waits[other] -= 1
                    if not waits[other] & _COUNT:
                        ready[height] = other
                        height += 1
            if waits[cell] & _BEYOND:
                waits[cell + around[most]] |= _BEYOND


def _number(flow: Flow) -> int:
    if flow not in get_args(Flow):
        raise ValueError(f"no flow named {flow!r}; wanted one of {', '.join(get_args(Flow))}")
    return get_args(Flow).index(flow)


def flow_accumulation(levels: Levels, dx: ArrayLike, dy: ArrayLike, flow: Flow = "fd8") -> Drainage:
    """Return the area that drains through each cell, its own included.

    Cells without a lower neighbour are outlets (or pits, if the terrain was not filled); what has gathered in them adds
    up to the whole area. A cell is done when all that drain into it are, from the ridges down.

    Parameters
    ----------
    levels : (y + 2, x + 2) int32
        Elevation [mm] in its frame, without depressions: from `fill_depressions`.
    dx, dy : float, or one value a row (y)
        Cell size eastwards and northwards [m].
    flow
        ``fd8``: to all lower neighbours, in proportion to gradient times contour length, half a cell side towards a
        direct neighbour, sqrt(2) / 4 cells towards a diagonal one. ``d8``: to the steepest, the first of equals
        clockwise from east. ``dinf``: along the steepest of eight triangular facets, divided between the two
        neighbours beside that direction by the angles to them.

    References
    ----------
    Quinn, Beven, Chevallier and Planchon 1991, doi:10.1002/hyp.3360050106 (fd8); O'Callaghan and Mark 1984,
    doi:10.1016/S0734-189X(84)80011-0 (d8); Tarboton 1997, doi:10.1029/96WR03137 (dinf).

    Examples
    --------
    >>> levels = empty_levels(1, 3)
    >>> set_levels(levels, np.array([[3.0, 2.0, 1.0]]))
    >>> flow_accumulation(levels, 10.0, 10.0).area[1, 1:-1].tolist()
    [100.0, 200.0, 300.0]
    """
    _check_frame(levels)
    number = _number(flow)
    width, height = cell_sizes(dx, dy, levels.shape[0] - 2, frame=1)
    area = np.empty(levels.size)
    waits = np.zeros(levels.size, np.uint8)
    ways = np.empty(0 if flow == "fd8" else levels.size, np.int8)
    _gather(levels, width, height, number, area, waits, ways)
    np.bitwise_and(waits, _BEYOND, out=waits)
    np.minimum(waits, 1, out=waits)
    return Drainage(area.reshape(levels.shape), waits.view(np.bool_).reshape(levels.shape))


# ---- wetness -----------------------------------------------------------------------------------------------------


@compiled
def _metres(count: int) -> float:
    return np.nan if count == MISSING else count / METRE


@compiled
def _wetness(levels: Any, area: Any, dx: Any, dy: Any, flow: int, first: int, index: Any) -> None:
    for row in range(index.shape[0]):
        i = first + row + 1
        for column in range(index.shape[1]):
            j = column + 1
            index[row, column] = np.nan
            if levels[i, j] == MISSING:
                continue
            east, north = horn(
                _metres(levels[i - 1, j - 1]),
                _metres(levels[i - 1, j]),
                _metres(levels[i - 1, j + 1]),
                _metres(levels[i, j - 1]),
                _metres(levels[i, j]),
                _metres(levels[i, j + 1]),
                _metres(levels[i + 1, j - 1]),
                _metres(levels[i + 1, j]),
                _metres(levels[i + 1, j + 1]),
                dx[i - 1],
                dx[i],
                dx[i + 1],
                dy[i],
            )
            if np.isnan(east):
                continue
            gradient = np.hypot(east, north)
            width = (dx[i] + dy[i]) / 2.0
            if gradient > 0.0 and flow == _FD8:
                width = (dx[i] * np.abs(north) + dy[i] * np.abs(east)) / gradient
            elif gradient > 0.0:
                width = np.hypot(dx[i] * north, dy[i] * east) / gradient
            index[row, column] = np.log(area[i, j] / width / max(gradient, LEAST_GRADIENT))


def drained_wetness(
    levels: Levels,
    area: NDArray[np.float64],
    dx: ArrayLike,
    dy: ArrayLike,
    flow: Flow = "fd8",
    rows: slice = slice(None),
) -> NDArray[np.float32]:
    """Return the wetness index of some rows of filled terrain whose flow has been gathered; see `wetness_index`.

    Parameters
    ----------
    levels : (y + 2, x + 2) int32
        Elevation [mm] in its frame, without depressions: from `fill_depressions`.
    area : (y + 2, x + 2)
        Upslope area [m²], from `flow_accumulation`.
    dx, dy : float, or one value a row (y)
        Cell size eastwards and northwards [m].
    flow
        How the area was gathered.
    rows
        Of the terrain, without its frame.

    Returns
    -------
    (rows, x) float32
        ln(a / m) [1].
    """
    width, height = cell_sizes(dx, dy, levels.shape[0] - 2, frame=1)
    start, stop, _ = rows.indices(levels.shape[0] - 2)
    index = np.empty((max(stop - start, 0), levels.shape[1] - 2), np.float32)
    _wetness(levels, area, width, height, _number(flow), start, index)
    return index


def wetness_index(elevation: NDArray[Any], dx: ArrayLike, dy: ArrayLike, flow: Flow = "fd8") -> NDArray[np.float32]:
    """Return the topographic wetness index, ln(a / tan β).

    Depressions are filled (`fill_depressions`), the upslope area gathered (`flow_accumulation`) and divided by a width
    across the slope, which gives the specific area a [m]: of fd8, which spreads, that of the whole cell, dx |cos
    aspect| + dy |sin aspect|; of d8 and dinf, as their authors do, the cell's size, which lies between dx and dy. β is
    the slope of the filled terrain by Horn's window, its tangent no less than `LEAST_GRADIENT`. On flat ground, which
    has no aspect, the width is the mean of dx and dy.

    Parameters
    ----------
    elevation : (y, x)
        Elevation [m], row 0 in the north; taken to the nearest millimetre.
    dx, dy : float, or one value a row
        Cell size eastwards and northwards [m].
    flow
        How water divides, see `flow_accumulation`.

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
    if elevation.ndim != 2:
        raise ValueError(f"elevation has {elevation.ndim} dimensions; wanted (y, x)")
    levels = empty_levels(*elevation.shape)
    set_levels(levels, elevation)
    fill_depressions(levels)
    return drained_wetness(levels, flow_accumulation(levels, dx, dy, flow).area, dx, dy, flow)
