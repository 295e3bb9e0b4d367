"""What a cloudy pixel would show under a clear sky, told by similar pixels on other days (SCSG, clear-sky step).

The order of work: `day_ranges` and `common_counts` over all blocks of a region, `choose_references`, then
`add_analogues` over all blocks again, `regressions`, and `fuse` block by block. Blocks are summed in integers: neither
their order nor how they were cut changes a bit.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

BINS = (48, 32, 24)
"""Bins of reference temperature, elevation and NDVI."""
SLOPES = ("ols", "eof1", "major_axis")
"""Ways to draw a line through analogues, see `line_of_analogues`."""
SUMS = 6
"""Numbers kept of each bin, see `analogue_sums`."""
NO_PLACE = -1
"""Bin of a pixel whose elevation is missing."""
ORIGIN = 14000
"""Stored temperature that is subtracted before summing (6.85 °C): it keeps squares short."""
SMALLEST_SIGMA = 0.3
"""Smallest standard deviation of an estimate [K]."""

_SCALE, _FREEZING_POINT = 0.02, 273.15  # K per stored unit, K
_F = np.float32
_NAN = np.float32(np.nan)
_NT, _NE, _NV = BINS
_PLACES = _NE * _NV
_ALL_BINS = _NT * _PLACES
_UNCLEAR = np.uint8(255)
_NONE = np.uint16(0)
_SEEN = 1 << 32  # what a pixel that can be estimated adds to the count of analogues: another count, in its upper half
_COUNT = _SEEN - 1
_FLAT = 1e-6  # a variance of stored units below this is rounding
_TILE = 16384  # pixels whose bins are held at a time
_DISTANCES = 2_000_000  # distances held at a time by the exact search


def place_bins(
    elevation: NDArray[np.float32],
    ndvi: NDArray[np.float32],
    elevation_range: tuple[float, float],
    ndvi_range: tuple[float, float],
) -> NDArray[np.int16]:
    r"""Return the bin of each pixel in elevation and NDVI, the part of its likeness that is not temperature.

    .. math:: b = 24 \lfloor 32 u(z) \rfloor + \lfloor 24 u(v) \rfloor, \qquad
        u(a) = (a - a_{min}) / (a_{max} - a_{min}), \text{ cut to } [0, 1)

    Parameters
    ----------
    elevation : (pixels,)
        Elevation z [m]. NaN is missing.
    ndvi : (pixels,) or (composites, pixels)
        Vegetation index v. NaN counts as the lowest.
    elevation_range, ndvi_range : tuple of float
        Lowest and highest value of the whole region, the same for all of its blocks; values beyond count as the ends.

    Returns
    -------
    int16, the shape of `ndvi`
        0 to 767, or `NO_PLACE` where the elevation is missing: such a pixel is nobody's analogue and gets no estimate.

    Examples
    --------
    >>> import numpy as np
    >>> elevation = np.array([2000.0, 7000.0, 4500.0, np.nan], np.float32)
    >>> ndvi = np.array([-0.2, 1.0, np.nan, 0.5], np.float32)
    >>> place_bins(elevation, ndvi, (2000.0, 7000.0), (-0.2, 1.0))
    array([  0, 767, 384,  -1], dtype=int16)
    """
    if elevation.ndim != 1 or ndvi.ndim not in (1, 2) or ndvi.shape[-1:] != elevation.shape:
        raise ValueError(
            f"elevation and ndvi have shapes {elevation.shape} and {ndvi.shape}; "
            "wanted (pixels,) and (pixels,) or (composites, pixels)"
        )
    high_or_low = _axis_bins(elevation, _NE, "elevation", elevation_range)
    green_or_bare = _axis_bins(ndvi, _NV, "ndvi", ndvi_range)
    return np.where(np.isnan(elevation), NO_PLACE, high_or_low * _NV + green_or_bare).astype(np.int16)


def _axis_bins(values: NDArray[np.float32], bins: int, name: str, ends: tuple[float, float]) -> NDArray[np.int64]:
    part = _normalised(values, name, ends)
    return np.clip(np.floor(part * bins), 0, bins - 1).astype(np.int64)


def _normalised(values: NDArray[np.float32], name: str, ends: tuple[float, float]) -> NDArray[np.float64]:
    low, high = ends
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"{name}_range is {ends}; wanted two finite numbers, the lower first")
    width = high - low if high > low else 1.0
    part = (np.where(np.isnan(values), low, values).astype(np.float64) - low) / width
    return np.clip(part, 0.0, 1.0)


def day_ranges(stored: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the lowest and highest temperature of each day.

    Blocks are merged by `np.minimum` of the low and `np.maximum` of the high ends.

    Parameters
    ----------
    stored : (days, pixels)
        Stored temperature [0.02 K] of the pixels that are observed and sunlit (class A); 0 elsewhere.

    Returns
    -------
    low, high : (days,) uint16
        Stored temperature; 65535 and 0 for a day without any.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = day_ranges(np.array([[13000, 14000, 0], [0, 0, 0]], np.uint16))
    >>> low.tolist(), high.tolist()
    ([13000, 65535], [14000, 0])
    """
    _check_days(stored)
    high = np.max(stored, axis=1, initial=np.uint16(0))
    low = np.min(stored - np.uint16(1), axis=1, initial=np.uint16(65535))  # less 1, what is missing is the highest
    return np.where(high == 0, np.uint16(65535), low + np.uint16(1)), high


def common_counts(stored: NDArray[np.uint16], first: int, stop: int) -> NDArray[np.int64]:
    r"""Return how many pixels are clear on both of two days.

    Blocks are merged by adding.

    .. math:: C_{td} = \sum_i c_{ti} c_{di}, \qquad c = 1 \text{ where clear, else } 0

    Parameters
    ----------
    stored : (days, pixels)
        Stored temperature [0.02 K] of the pixels that are observed and sunlit (class A); 0 elsewhere.
    first, stop : int
        Days t to be estimated, as places along `days`; `stop` is the one after the last.

    Returns
    -------
    (stop - first, days) int64
        Pixels; a day has all of its clear pixels in common with itself.

    Examples
    --------
    >>> import numpy as np
    >>> stored = np.array([[14000, 14000, 0], [0, 14000, 14000], [0, 0, 0]], np.uint16)
    >>> common_counts(stored, 0, 2)
    array([[2, 1, 0],
           [1, 2, 0]])
    """
    _check_days(stored)
    days, pixels = stored.shape
    if not 0 <= first <= stop <= days:
        raise ValueError(f"first and stop are {first} and {stop}; wanted them in this order between 0 and {days}")
    words = np.zeros((days, -(-pixels // 64) * 8), np.uint8)
    words[:, : -(-pixels // 8)] = np.packbits(stored != 0, axis=1)
    bits = words.view(np.uint64)
    counts = np.empty((stop - first, days), np.int64)
    for t in range(first, stop):
        counts[t - first] = np.bitwise_count(bits[t] & bits).sum(axis=1, dtype=np.int64)
    return counts


def choose_references(
    common: NDArray[np.integer],
    pixels: int | NDArray[np.integer],
    targets: NDArray[np.integer],
    reach: int = 7,
    wider: tuple[int, ...] = (15, 31),
    least_share: float = 0.25,
    most: int | None = None,
) -> NDArray[np.int64]:
    r"""Return the pairs of a day and the reference days that it is estimated from.

    A reference is at most `reach` days away and has enough clear pixels in common with the target:

    .. math:: 0 < |d - t| \le R, \qquad C_{td} > 0, \qquad C_{td} \ge \alpha N_t

    A target without any takes those of the next wider reach.

    Parameters
    ----------
    common : (targets, days)
        Pixels of the whole region clear on both days, see `common_counts`. Days follow one another without a gap.
    pixels : int or (targets,)
        What the share is taken of: the pixels of the region (land), or for each target its own clear pixels.
    targets : (targets,)
        Day of each row of `common`, as a place along `days`.
    reach : int
        Largest distance R [days].
    wider : tuple of int
        Further distances, tried in turn for a target without a reference [days].
    least_share : float
        Smallest share α of `pixels` in common.
    most : int, optional
        Most references of a target: the nearest in time, at the same distance those with more in common. Without it
        2 R, so that a wider reach costs no more than the usual one.

    Returns
    -------
    (pairs, 2) int64
        Target and reference, as places along `days`; in the order of `targets`, then of time.

    Notes
    -----
    "25 % common valid pixels" may be read in two ways. Of the region's pixels: then a day that is clear over less than
    a quarter of the region never has a reference, and one that is half clear seldom has many. Of the target's own clear
    pixels: a quarter of what is known of the day must be known of the reference too, however cloudy the season is.

    References
    ----------
    Chen et al. (2023), doi:10.1016/j.isprsjprs.2023.02.004: a reach of 7 days and a share of 25 %.

    Examples
    --------
    >>> import numpy as np
    >>> common = np.array([[50, 30, 10, 40]])
    >>> choose_references(common, 100, np.array([0])).tolist()
    [[0, 1], [0, 3]]
    >>> choose_references(common, 100, np.array([0]), reach=2, wider=(3,), least_share=0.35).tolist()
    [[0, 3]]
    """
    if common.ndim != 2:
        raise ValueError(f"common has shape {common.shape}; wanted (targets, days)")
    rows, days = common.shape
    targets = _checked_rows("targets", targets, days)
    if targets.shape != (rows,):
        raise ValueError(f"targets has shape {targets.shape}; wanted one for each of the {rows} rows of common")
    if np.shape(pixels) not in ((), (rows,)):
        raise ValueError(f"pixels has shape {np.shape(pixels)}; wanted one number or one for each of {rows} targets")
    if not 0.0 <= least_share <= 1.0:
        raise ValueError(f"least_share is {least_share}; wanted 0 to 1")
    reaches, most = (reach, *wider), 2 * reach if most is None else most
    if most < 1 or reach < 1 or any(near >= far for near, far in pairwise(reaches)):
        raise ValueError(
            f"reach {reach}, wider {wider}, most {most}; wanted growing reaches of 1 or more, most likewise"
        )
    least = np.broadcast_to(np.asarray(pixels), (rows,)) * least_share
    pairs = []
    for row, target in enumerate(targets.tolist()):
        shared = common[row]
        distance = np.abs(np.arange(days) - target)
        enough = (distance > 0) & (shared > 0) & (shared >= least[row])
        for near in reaches:
            found = np.flatnonzero(enough & (distance <= near))
            if found.size:
                best = np.lexsort((-shared[found], distance[found]))[:most]
                pairs += [(target, reference) for reference in np.sort(found[best]).tolist()]
                break
    return np.array(pairs, np.int64).reshape(-1, 2)


def analogue_sums(n_pairs: int) -> NDArray[np.int64]:
    r"""Return empty sums for `add_analogues`, 1.8 MB a pair.

    Parameters
    ----------
    n_pairs : int
        Pairs of a target and a reference.

    Returns
    -------
    (n_pairs, 36864, 6) int64
        Of each bin (temperature, elevation, NDVI; the last runs fastest), over the pixels clear on both days,
        :math:`n + 2^{32} m, \sum x, \sum r, \sum x^2, \sum r^2, \sum x r` of the stored temperatures of target x
        and reference r less `ORIGIN`. The n pixels are the analogues; m are all that are clear in the reference: those
        that can be estimated.

    Examples
    --------
    >>> analogue_sums(2).shape
    (2, 36864, 6)
    """
    return np.zeros((n_pairs, _ALL_BINS, SUMS), np.int64)


def add_analogues(
    sums: NDArray[np.int64],
    stored: NDArray[np.uint16],
    place: NDArray[np.int16],
    composite_of_day: NDArray[np.integer],
    pairs: NDArray[np.integer],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
) -> None:
    """Add the pixels of a block to the sums of their bins, in place.

    The sums of parts of a region add up to those of the whole.

    Parameters
    ----------
    sums : (pairs, 36864, 6)
        What was summed before, see `analogue_sums`; changed.
    stored : (days, pixels)
        Stored temperature [0.02 K] of the pixels that are observed and sunlit (class A); 0 elsewhere.
    place : (composites, pixels)
        Bin of elevation and NDVI, see `place_bins`; that of the target's day is used.
    composite_of_day : (days,)
        Row of `place` of each day.
    pairs : (pairs, 2)
        Target and reference as places along `days`, see `choose_references`.
    low, high : (days,)
        Range of the temperatures of the whole region, see `day_ranges`.

    Examples
    --------
    >>> import numpy as np
    >>> stored = np.array([[14010, 14020, 0], [13000, 13000, 13500]], np.uint16)
    >>> sums, place, same = analogue_sums(1), np.zeros((1, 3), np.int16), np.zeros(2, int)
    >>> add_analogues(sums, stored, place, same, np.array([[0, 1]]), *day_ranges(stored))
    >>> sums[0, 0].tolist(), sums[0, 47 * 768].tolist()
    ([8589934594, 30, -2000, 500, 2000000, -30000], [4294967296, 0, 0, 0, 0, 0])
    """
    place, composite_of_day, pairs = _checked_block(stored, place, composite_of_day, pairs, low, high)
    if sums.shape != (len(pairs), _ALL_BINS, SUMS) or sums.dtype != np.int64 or not sums.flags.c_contiguous:
        raise ValueError(
            f"sums is {sums.dtype} of shape {sums.shape}; wanted contiguous int64 {(len(pairs), _ALL_BINS, SUMS)}"
        )
    _add_analogues(sums, np.ascontiguousarray(stored), place, composite_of_day, pairs, low, high)


@compiled(error_model="numpy")
def _add_analogues(
    sums: NDArray[np.int64],
    stored: NDArray[np.uint16],
    place: NDArray[np.int16],
    composite_of_day: NDArray[np.int64],
    pairs: NDArray[np.int64],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
) -> None:
    days, pixels = stored.shape
    used = _days_of(pairs, days)
    bins = np.empty((days, min(pixels, _TILE)), np.uint8)
    for first in range(0, pixels, _TILE):
        length = min(_TILE, pixels - first)
        _temperature_bins(stored, low, high, used, first, length, bins)
        for p in range(pairs.shape[0]):
            target, reference = pairs[p, 0], pairs[p, 1]
            kept = sums[p]
            xs, rs = stored[target, first : first + length], stored[reference, first : first + length]
            places, of_reference = place[composite_of_day[target], first : first + length], bins[reference]
            for i in range(length):
                if of_reference[i] != _UNCLEAR and places[i] >= 0:
                    # Unsigned, so that no index has to be tested for its sign.
                    k = np.uintp(of_reference[i]) * np.uintp(_PLACES) + np.uintp(places[i])
                    if xs[i] != _NONE:
                        x, r = np.int64(xs[i]) - ORIGIN, np.int64(rs[i]) - ORIGIN
                        kept[k, 0] += _SEEN + 1
                        kept[k, 1] += x
                        kept[k, 2] += r
                        kept[k, 3] += x * x
                        kept[k, 4] += r * r
                        kept[k, 5] += x * r
                    else:
                        kept[k, 0] += _SEEN


@compiled(error_model="numpy")
def _days_of(pairs: NDArray[np.int64], days: int) -> NDArray[np.bool_]:
    used = np.zeros(days, np.bool_)
    for p in range(pairs.shape[0]):
        used[pairs[p, 0]] = True
        used[pairs[p, 1]] = True
    return used


@compiled(error_model="numpy")
def _temperature_bins(
    stored: NDArray[np.uint16],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
    used: NDArray[np.bool_],
    first: int,
    length: int,
    bins: NDArray[np.uint8],
) -> None:
    # Bin of each pixel in its day's range, in integers: 48 (v - low) / (high - low + 1), rounded down.
    for d in range(stored.shape[0]):
        if not used[d]:
            continue
        bottom, top = low[d], max(low[d], high[d])
        factor = np.uint32((np.int64(_NT) << 16) // (np.int64(top) - np.int64(bottom) + 1))
        row, out = stored[d, first : first + length], bins[d]
        for i in range(length):
            above = np.uint32(min(max(row[i], bottom), top) - bottom)
            b = np.uint8(np.uint32(above * factor) >> np.uint32(16))
            out[i] = b if row[i] != _NONE else _UNCLEAR


def regressions(
    sums: NDArray[np.int64],
    slope: str = "ols",
    analogues: int = 1000,
    largest_half_width: int = 12,
    fewest: int = 100,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    r"""Return the line that turns a reference temperature into one of the target day, for each bin.

    .. math:: \hat T = a + \beta T_{ref}, \qquad w = 1 / \sigma^2

    The analogues of a bin are the pixels in a box around it, which grows step by step until it holds enough. Step s
    reaches s bins of temperature, 2 s / 3 of elevation and s / 2 of NDVI to either side: the same part of each range.
    The pixels that the last step added are given less than full weight, such that all weights sum up to `analogues`.

    Parameters
    ----------
    sums : (pairs, 36864, 6)
        Sums over the whole region, see `analogue_sums`.
    slope : str
        One of `SLOPES`, see `line_of_analogues`.
    analogues : int
        Pixels wanted.
    largest_half_width : int
        Last step; 12 is a quarter of each range.
    fewest : int
        Pixels that are enough in the largest box; with fewer the bin has no line.
    out : (pairs, 36864, 3) float32, optional
        Where the lines go; it must be 0.

    Returns
    -------
    (pairs, 36864, 3) float32
        Intercept a [°C], slope β, weight w [K⁻²]; all 0 where there is no line, or no pixel to be estimated.

    Notes
    -----
    Sums over boxes come from summed-area tables of integers, which are exact. The published search takes the 1000
    nearest pixels in the space of the three normalised features, see `nearest_analogues`; boxes of equal extent in that
    space, the last shell in part, come closer to it than boxes of equally many bins.

    References
    ----------
    Chen et al. (2023), doi:10.1016/j.isprsjprs.2023.02.004

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> reference = rng.integers(13000, 15000, 5000)
    >>> stored = np.stack([6000 + reference // 2, reference]).astype(np.uint16)  # °C: -16.6 + 0.5 of the reference
    >>> sums, place, same = analogue_sums(1), np.zeros((1, 5000), np.int16), np.zeros(2, int)
    >>> add_analogues(sums, stored, place, same, np.array([[0, 1]]), *day_ranges(stored))
    >>> [round(float(v), 2) for v in regressions(sums)[0, 24 * 768]]
    [-16.58, 0.5, 11.11]
    """
    if sums.ndim != 3 or sums.shape[1:] != (_ALL_BINS, SUMS) or sums.dtype != np.int64:
        raise ValueError(f"sums is {sums.dtype} of shape {sums.shape}; wanted int64 (pairs, {_ALL_BINS}, {SUMS})")
    _check_counts(analogues, fewest)
    if not 0 <= largest_half_width < _NT:
        raise ValueError(f"largest_half_width is {largest_half_width}; wanted 0 to {_NT - 1} bins of temperature")
    table = np.zeros((len(sums), _ALL_BINS, 3), np.float32) if out is None else out
    if table.shape != (len(sums), _ALL_BINS, 3) or table.dtype != np.float32:
        raise ValueError(f"out is {table.dtype} of shape {table.shape}; wanted float32 {(len(sums), _ALL_BINS, 3)}")
    _regressions(sums, _slope_code(slope), analogues, largest_half_width, fewest, table)
    return table


@compiled(error_model="numpy")
def _regressions(
    sums: NDArray[np.int64], slope: int, analogues: int, largest: int, fewest: int, table: NDArray[np.float32]
) -> None:
    area = np.zeros((_NT + 1, _NE + 1, _NV + 1, 6), np.int64)
    counts = np.zeros((_NT + 1, _NE + 1, _NV + 1), np.int64)
    inner, outer = np.empty(6), np.empty(6)
    for p in range(sums.shape[0]):
        _summed_area(sums[p], area, counts)
        s = 0
        for a in range(_NT):
            for b in range(_NE):
                for c in range(_NV):
                    k = (a * _NE + b) * _NV + c
                    if sums[p, k, 0] == 0:
                        continue
                    # Boxes are nested, so the first that holds enough may be looked for from the last bin's onwards.
                    n = _count_in_box(counts, a, b, c, s)
                    if n < analogues:
                        while n < analogues and s < largest:
                            s += 1
                            n = _count_in_box(counts, a, b, c, s)
                    else:
                        while s > 0 and _count_in_box(counts, a, b, c, s - 1) >= analogues:
                            s -= 1
                            n = _count_in_box(counts, a, b, c, s)
                    if n < fewest:
                        continue
                    _sums_in_box(area, a, b, c, s, outer)
                    if s > 0 and n > analogues:
                        _sums_in_box(area, a, b, c, s - 1, inner)
                        part = (analogues - inner[0]) / (outer[0] - inner[0])
                        for j in range(6):
                            outer[j] = inner[j] + part * (outer[j] - inner[j])
                    m, x, r, xx, rr, xr = outer
                    beta, variance = line_of_analogues(m, x, r, xx, rr, xr, slope)
                    x_mean = (x / m + ORIGIN) * _SCALE - _FREEZING_POINT
                    r_mean = (r / m + ORIGIN) * _SCALE - _FREEZING_POINT
                    table[p, k, 0] = _F(x_mean - beta * r_mean)
                    table[p, k, 1] = _F(beta)
                    table[p, k, 2] = _F(1.0 / max(variance * _SCALE**2, SMALLEST_SIGMA**2))


@compiled(error_model="numpy")
def _summed_area(sums: NDArray[np.int64], area: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    row = np.zeros(6, np.int64)
    for a in range(_NT):
        for b in range(_NE):
            for j in range(6):
                row[j] = 0
            for c in range(_NV):
                k = (a * _NE + b) * _NV + c
                row[0] += sums[k, 0] & _COUNT
                for j in range(1, 6):
                    row[j] += sums[k, j]
                for j in range(6):
                    area[a + 1, b + 1, c + 1, j] = (
                        row[j] + area[a, b + 1, c + 1, j] + area[a + 1, b, c + 1, j] - area[a, b, c + 1, j]
                    )
                counts[a + 1, b + 1, c + 1] = area[a + 1, b + 1, c + 1, 0]


@compiled(forceinline=True, error_model="numpy")
def _box(a: int, b: int, c: int, s: int) -> tuple[int, int, int, int, int, int]:
    elevation, ndvi = _NE * s // _NT, _NV * s // _NT
    return (
        max(0, a - s),
        min(_NT, a + s + 1),
        max(0, b - elevation),
        min(_NE, b + elevation + 1),
        max(0, c - ndvi),
        min(_NV, c + ndvi + 1),
    )


@compiled(error_model="numpy")
def _count_in_box(counts: NDArray[np.int64], a: int, b: int, c: int, s: int) -> int:
    a0, a1, b0, b1, c0, c1 = _box(a, b, c, s)
    more = counts[a1, b1, c1] - counts[a1, b1, c0] - counts[a1, b0, c1] + counts[a1, b0, c0]
    less = counts[a0, b1, c1] - counts[a0, b1, c0] - counts[a0, b0, c1] + counts[a0, b0, c0]
    count: int = more - less
    return count


@compiled(error_model="numpy")
def _sums_in_box(area: NDArray[np.int64], a: int, b: int, c: int, s: int, out: NDArray[np.float64]) -> None:
    a0, a1, b0, b1, c0, c1 = _box(a, b, c, s)
    for j in range(6):
        more = area[a1, b1, c1, j] - area[a1, b1, c0, j] - area[a1, b0, c1, j] + area[a1, b0, c0, j]
        less = area[a0, b1, c1, j] - area[a0, b1, c0, j] - area[a0, b0, c1, j] + area[a0, b0, c0, j]
        out[j] = np.float64(more - less)


@compiled(error_model="numpy")
def line_of_analogues(n: float, x: float, r: float, xx: float, rr: float, xr: float, slope: int) -> tuple[float, float]:
    r"""Return slope and variance of the estimate from the sums over some analogues.

    With the centred sums :math:`S_{xx} = \sum x^2 - (\sum x)^2 / n`, and so on,

    .. math:: D = \sqrt{(S_{xx} - S_{rr})^2 + 4 S_{xr}^2}, \qquad \lambda = (S_{xx} + S_{rr} - D) / 2

    - ``ols`` (0): :math:`\beta = S_{xr} / S_{rr}`, variance :math:`(S_{xx} - \beta S_{xr}) / (n - 2) \; (1 + 1/n)`;
    - ``eof1`` (1), as published: the rank-1 reconstruction of the unknown, which starts at the mean,
      :math:`\beta = S_{xr} / D`, variance of the reconstructed reference
      :math:`\lambda \; (1 + (S_{xx} - S_{rr}) / D) / 2 / (n - 1)`. The slope never exceeds 1/2;
    - ``major_axis`` (2), the same when it is repeated until it stands:
      :math:`\beta = (S_{xx} - S_{rr} + D) / (2 S_{xr})`. Residuals at right angles to the line sum up to λ; along x
      they are :math:`\sqrt{1 + \beta^2}` as long, so the variance is
      :math:`(1 + \beta^2) \lambda / (n - 2) \; (1 + 1/n)`. A line so steep that this exceeds the variance of x itself
      says less than the mean: slope 0.

    Parameters
    ----------
    n, x, r, xx, rr, xr : float
        :math:`n, \sum x, \sum r, \sum x^2, \sum r^2, \sum x r` of target x and reference r; n is more than 2.
    slope : int
        Place of the method in `SLOPES`.

    Returns
    -------
    slope, variance : float
        Slope β, and the variance of an estimate in the square of the unit of x. Slope 0 where the reference does not
        vary (``ols``), no direction stands out (``eof1``) or both do not vary together (``major_axis``).
    """
    sxx, srr, sxr = max(xx - x * x / n, 0.0), max(rr - r * r / n, 0.0), xr - x * r / n
    flat = _FLAT * n
    if slope == 0:
        beta = sxr / srr if srr > flat else 0.0
        return beta, max(sxx - beta * sxr, 0.0) / (n - 2.0) * (1.0 + 1.0 / n)
    difference = sxx - srr
    D = np.hypot(difference, 2.0 * sxr)
    major = 0.5 * (sxx + srr + D)
    minor = max(sxx * srr - sxr * sxr, 0.0) / major if major > flat else 0.0
    if slope == 1:
        if flat >= D:
            return 0.0, minor * 0.5 / (n - 1.0)
        return sxr / D, minor * 0.5 * (1.0 + difference / D) / (n - 1.0)
    beta, squares = 0.0, sxx
    if abs(sxr) > flat:
        beta = 2.0 * sxr / (D - difference) if difference < 0.0 else (D + difference) / (2.0 * sxr)
        squares = (1.0 + beta * beta) * minor
    if squares > sxx:
        beta, squares = 0.0, sxx
    return beta, squares / (n - 2.0) * (1.0 + 1.0 / n)


def fuse(
    stored: NDArray[np.uint16],
    place: NDArray[np.int16],
    composite_of_day: NDArray[np.integer],
    pairs: NDArray[np.integer],
    targets: NDArray[np.integer],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
    table: NDArray[np.float32],
    wanted: NDArray[np.bool_] | None = None,
    correlation: float = 0.7,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Return the clear-sky temperature of each pixel of a block, from all references that saw it.

    .. math:: \hat T = \sum_r w_r (a_r + \beta_r T_r) / \sum_r w_r, \qquad
        \hat\sigma^2 = (1 + (m - 1) \rho) / \sum_r w_r

    over the m references r in which the pixel is clear and its bin has a line.

    Parameters
    ----------
    stored, place, composite_of_day, pairs, low, high
        As in `add_analogues`.
    targets : (targets,)
        Days to estimate, as places along `days`; pairs of other days are left aside.
    table : (pairs, 36864, 3)
        Intercept, slope and weight, see `regressions`.
    wanted : (targets, pixels), optional
        Pixels to estimate; all without it, clear ones too.
    correlation : float
        Correlation ρ of the errors of any two references, 0 to 1: they share the target day's analogues.

    Returns
    -------
    estimate, sigma : (targets, pixels) float32
        Temperature [°C] and its standard deviation [K], of a single clear observation; NaN where no reference serves,
        the elevation is missing or the pixel is not wanted.

    References
    ----------
    Chen et al. (2021), A Bayesian approach for interpolating clear-sky MODIS land surface temperatures on areas with
    extensive missing data, IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens. The correlation is this project's: the
    published variance is that of independent estimates (0).

    Examples
    --------
    >>> import numpy as np
    >>> stored = np.array([[0, 0], [14000, 0], [14000, 14000]], np.uint16)
    >>> table = np.zeros((2, 36864, 3), np.float32)
    >>> table[0], table[1] = (10.0, 0.0, 1.0), (12.0, 0.0, 0.25)  # variances of 1 and 4 K²
    >>> pairs, place, same = np.array([[0, 1], [0, 2]]), np.zeros((1, 2), np.int16), np.zeros(3, int)
    >>> estimate, sigma = fuse(stored, place, same, pairs, np.array([0]), *day_ranges(stored), table, correlation=0.0)
    >>> estimate, sigma.round(3)
    (array([[10.4, 12. ]], dtype=float32), array([[0.894, 2.   ]], dtype=float32))
    """
    place, composite_of_day, pairs = _checked_block(stored, place, composite_of_day, pairs, low, high)
    days, pixels = stored.shape
    if table.shape != (len(pairs), _ALL_BINS, 3) or table.dtype != np.float32:
        raise ValueError(f"table is {table.dtype} of shape {table.shape}; wanted float32 {(len(pairs), _ALL_BINS, 3)}")
    targets = _checked_rows("targets", targets, days)
    mask = np.ones((targets.size, pixels), np.bool_) if wanted is None else np.ascontiguousarray(wanted)
    if mask.shape != (targets.size, pixels) or mask.dtype != np.bool_:
        raise ValueError(f"wanted is {mask.dtype} of shape {mask.shape}; wanted bool {(targets.size, pixels)}")
    _check_correlation(correlation)
    estimate, sigma = _fuse(
        np.ascontiguousarray(stored),
        place,
        composite_of_day,
        pairs,
        targets,
        low,
        high,
        np.ascontiguousarray(table),
        mask,
        _F(correlation),
    )
    return estimate, sigma


@compiled(error_model="numpy")
def _fuse(
    stored: NDArray[np.uint16],
    place: NDArray[np.int16],
    composite_of_day: NDArray[np.int64],
    pairs: NDArray[np.int64],
    targets: NDArray[np.int64],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
    table: NDArray[np.float32],
    wanted: NDArray[np.bool_],
    correlation: np.float32,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    days, pixels = stored.shape
    estimate, sigma = np.empty((targets.size, pixels), np.float32), np.empty((targets.size, pixels), np.float32)
    used = _days_of(pairs, days)
    size = min(pixels, _TILE)
    bins, places = np.empty((days, size), np.uint8), np.empty(size, np.int16)
    weight, total, count = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for first in range(0, pixels, _TILE):
        length = min(_TILE, pixels - first)
        _temperature_bins(stored, low, high, used, first, length, bins)
        for k in range(targets.size):
            row = place[composite_of_day[targets[k]], first : first + length]
            for i in range(length):
                places[i] = row[i] if wanted[k, first + i] else np.int16(NO_PLACE)
                weight[i] = total[i] = count[i] = _F(0.0)
            for p in range(pairs.shape[0]):
                if pairs[p, 0] != targets[k]:
                    continue
                lines, of_reference = table[p], bins[pairs[p, 1]]
                seen = stored[pairs[p, 1], first : first + length]
                for i in range(length):
                    if of_reference[i] != _UNCLEAR and places[i] >= 0:
                        b = np.uintp(of_reference[i]) * np.uintp(_PLACES) + np.uintp(places[i])
                        w = lines[b, 2]
                        temperature = _F(seen[i]) * _F(_SCALE) - _F(_FREEZING_POINT)
                        weight[i] += w
                        total[i] += w * (lines[b, 0] + lines[b, 1] * temperature)
                        count[i] += _F(1.0) if w > _F(0.0) else _F(0.0)
            for i in range(length):
                known = weight[i] > _F(0.0)
                inflation = _F(1.0) + (count[i] - _F(1.0)) * correlation
                estimate[k, first + i] = total[i] / weight[i] if known else _NAN
                sigma[k, first + i] = np.sqrt(inflation / weight[i]) if known else _NAN
    return estimate, sigma


def inverse_variance_mean(
    estimate: NDArray[np.float32], sigma: NDArray[np.float32], correlation: float = 0.7
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Return the mean of several estimates of the same thing, each by the inverse of its variance.

    The same as in `fuse`, for estimates that are there already.

    Parameters
    ----------
    estimate : (references, ...)
        Temperatures [°C]. NaN is missing.
    sigma : (references, ...)
        Their standard deviations [K]; NaN is missing.
    correlation : float
        Correlation of the errors of any two, 0 to 1.

    Returns
    -------
    estimate, sigma : (...) float32
        Mean [°C] and its standard deviation [K]; NaN where all are missing.

    Examples
    --------
    >>> import numpy as np
    >>> estimate, sigma = np.array([[10.0], [12.0]], np.float32), np.array([[1.0], [2.0]], np.float32)
    >>> inverse_variance_mean(estimate, sigma)[0]
    array([10.4], dtype=float32)
    """
    if estimate.shape != sigma.shape:
        raise ValueError(f"estimate and sigma have shapes {estimate.shape} and {sigma.shape}; wanted one shape")
    _check_correlation(correlation)
    known = np.isfinite(estimate) & np.isfinite(sigma)
    weight = 1.0 / np.where(known, sigma, 1.0).astype(np.float64) ** 2 * known
    total = weight.sum(axis=0)
    some = total > 0.0
    total = np.where(some, total, np.nan)
    mean = (weight * np.where(known, estimate, 0.0)).sum(axis=0) / total
    inflation = 1.0 + (known.sum(axis=0) - 1.0) * correlation
    return mean.astype(np.float32), np.sqrt(inflation / total).astype(np.float32)


def nearest_analogues(
    stored: NDArray[np.uint16],
    elevation: NDArray[np.float32],
    ndvi: NDArray[np.float32],
    pairs: NDArray[np.integer],
    elevation_range: tuple[float, float],
    ndvi_range: tuple[float, float],
    slope: str = "ols",
    analogues: int = 1000,
    fewest: int = 100,
    wanted: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Return the clear-sky temperature of each pixel from its nearest analogues, as published: exact and slow.

    The analogues of a pixel are the nearest ones, among the pixels clear on both days, by the distance

    .. math:: \Delta^2 = (u(T_{ref}) - u(T'_{ref}))^2 + (u(z) - u(z'))^2 + (u(v) - u(v'))^2

    with u from 0 to 1 over the range of the feature; for the temperature, that of the clear pixels of the reference.
    All that are as far as the last one count too. The cost goes with the square of the pixels: for scenes of 200 x 200.

    Parameters
    ----------
    stored : (days, pixels)
        Stored temperature [0.02 K] of the pixels that are observed and sunlit (class A); 0 elsewhere. The whole scene.
    elevation, ndvi : (pixels,)
        Elevation [m], NaN is missing; vegetation index, NaN counts as the lowest.
    pairs : (pairs, 2)
        Target and reference, as places along `days`.
    elevation_range, ndvi_range : tuple of float
        As in `place_bins`. The published ones are those of the pixels valid in the reference.
    slope : str
        One of `SLOPES`; ``eof1`` is the published one.
    analogues, fewest : int
        Pixels wanted, and how many are enough where there are no more.
    wanted : (pixels,), optional
        Pixels to estimate; all without it.

    Returns
    -------
    estimate, sigma : (pairs, pixels) float32
        Temperature [°C] and its standard deviation [K] by each pair, for `inverse_variance_mean`; NaN where the pixel
        is not clear in the reference, its elevation is missing, or it is not wanted.

    References
    ----------
    Chen et al. (2023), doi:10.1016/j.isprsjprs.2023.02.004

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.random.default_rng(0).integers(13000, 15000, 500)
    >>> stored = np.stack([reference // 2 + 6000, reference]).astype(np.uint16)
    >>> stored[0, :250] = 0  # cloudy
    >>> same = np.zeros(500, np.float32)
    >>> pairs, ranges = np.array([[0, 1]]), ((0.0, 1.0), (0.0, 1.0))
    >>> estimate, _ = nearest_analogues(stored, same, same, pairs, *ranges, analogues=100)
    >>> bool(np.abs(estimate[0] - (reference * 0.01 - 153.15)).max() < 0.02)
    True
    """
    _check_days(stored)
    days, pixels = stored.shape
    pairs = _checked_pairs(pairs, days)
    code = _slope_code(slope)
    _check_counts(analogues, fewest)
    for name, given in (("elevation", elevation), ("ndvi", ndvi)):
        if given.shape != (pixels,):
            raise ValueError(f"{name} has shape {given.shape}; wanted one for each of the {pixels} pixels of stored")
    mask = np.ones(pixels, np.bool_) if wanted is None else wanted
    if mask.shape != (pixels,) or mask.dtype != np.bool_:
        raise ValueError(f"wanted is {mask.dtype} of shape {mask.shape}; wanted bool {(pixels,)}")
    clear = (stored != 0) & ~np.isnan(elevation)
    low, high = day_ranges(stored)
    features = np.empty((3, pixels))
    features[1] = _normalised(elevation, "elevation", elevation_range)
    features[2] = _normalised(ndvi, "ndvi", ndvi_range)
    estimate, sigma = (np.full((len(pairs), pixels), _NAN) for _ in range(2))
    for p, (target, reference) in enumerate(pairs.tolist()):
        queries, pool = np.flatnonzero(clear[reference] & mask), np.flatnonzero(clear[target] & clear[reference])
        if pool.size < fewest:
            continue
        features[0] = _normalised(
            stored[reference].astype(np.float32), "temperature", (float(low[reference]), float(high[reference]))
        )
        x, r = (stored[day, pool].astype(np.float64) - ORIGIN for day in (target, reference))
        columns = np.stack([np.ones(pool.size), x, r, x * x, r * r, x * r], axis=1)
        at_once = max(1, _DISTANCES // pool.size)
        for some in np.split(queries, range(at_once, queries.size, at_once)):
            squared = np.zeros((some.size, pool.size))
            for feature in features:
                squared += (feature[some, None] - feature[pool]) ** 2
            last = min(analogues, pool.size) - 1
            farthest = np.partition(squared, last, axis=1)[:, last, None]
            for i, found in zip(some.tolist(), ((squared <= farthest) @ columns).tolist(), strict=True):
                n, x_sum, r_sum, xx, rr, xr = found
                beta, variance = line_of_analogues(n, x_sum, r_sum, xx, rr, xr, code)
                counts = x_sum / n + beta * (float(stored[reference, i]) - ORIGIN - r_sum / n) + ORIGIN
                estimate[p, i] = counts * _SCALE - _FREEZING_POINT
                sigma[p, i] = max(np.sqrt(variance) * _SCALE, SMALLEST_SIGMA)
    return estimate, sigma


def _slope_code(slope: str) -> int:
    if slope not in SLOPES:
        raise ValueError(f"slope is {slope!r}; wanted one of {', '.join(SLOPES)}")
    return SLOPES.index(slope)


def _check_counts(analogues: int, fewest: int) -> None:
    if not 3 <= fewest <= analogues:
        raise ValueError(f"analogues is {analogues} and fewest {fewest}; wanted fewest from 3 to analogues")


def _check_correlation(correlation: float) -> None:
    if not 0.0 <= correlation <= 1.0:
        raise ValueError(f"correlation is {correlation}; wanted 0 to 1")


def _checked_rows(name: str, rows: NDArray[np.integer], days: int) -> NDArray[np.int64]:
    if rows.ndim != 1:
        raise ValueError(f"{name} has shape {rows.shape}; wanted one dimension")
    if rows.size and not (rows.min() >= 0 and rows.max() < days):
        raise ValueError(f"{name} run from {rows.min()} to {rows.max()}; wanted 0 to {days - 1}")
    return np.ascontiguousarray(rows, np.int64)


def _checked_pairs(pairs: NDArray[np.integer], days: int) -> NDArray[np.int64]:
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs has shape {pairs.shape}; wanted (pairs, 2)")
    return _checked_rows("pairs", pairs.ravel(), days).reshape(-1, 2)


def _check_days(stored: NDArray[np.uint16]) -> None:
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise ValueError(f"stored is {stored.dtype} of shape {stored.shape}; wanted uint16 (days, pixels)")


def _checked_block(
    stored: NDArray[np.uint16],
    place: NDArray[np.int16],
    composite_of_day: NDArray[np.integer],
    pairs: NDArray[np.integer],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
) -> tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int64]]:
    _check_days(stored)
    days, pixels = stored.shape
    if place.ndim != 2 or place.shape[1] != pixels or place.dtype != np.int16:
        raise ValueError(f"place is {place.dtype} of shape {place.shape}; wanted int16 (composites, {pixels})")
    if place.size and not (place.min() >= NO_PLACE and place.max() < _PLACES):
        raise ValueError(f"places run from {place.min()} to {place.max()}; wanted {NO_PLACE} to {_PLACES - 1}")
    composite = _checked_rows("composite_of_day", composite_of_day, len(place))
    if composite.shape != (days,):
        raise ValueError(f"composite_of_day has shape {composite.shape}; wanted one for each of the {days} days")
    for name, ends in (("low", low), ("high", high)):
        if ends.shape != (days,) or ends.dtype != np.uint16:
            raise ValueError(f"{name} is {ends.dtype} of shape {ends.shape}; wanted uint16 {(days,)}")
    return np.ascontiguousarray(place), composite, _checked_pairs(pairs, days)
