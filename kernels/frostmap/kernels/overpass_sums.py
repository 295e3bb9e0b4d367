"""From stored overpasses to degree-day sums in one pass: the loops behind `degree_days.overpass_degree_days`.

They are shaped for the vectoriser and for processors that keep some two hundred instructions in flight: short loops
over a tile of pixels, in scratch arrays of their own, overlap where one long loop would wait for its own results.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.daily_mean import LARGEST_AMPLITUDE, LARGEST_OVERSHOOT, cosine_and_sine, mean_of_day
from frostmap.kernels.quality import LATEST_VIEW_TIME, celsius, passes

USUAL_HOURS = (10.5, 13.5, 22.5, 1.5)
"""Local solar hours around which observations are usual: Terra day, Aqua day, Terra night, Aqua night."""
USUAL_REACH = 2.0
"""How far around [h]."""
INTERVALS = 23
"""16-day intervals of a year, the calendar of the MOD13 vegetation indices."""

_F, _I16, _U8, _U16, _AT = np.float32, np.int16, np.uint8, np.uint16, np.uintp
_NAN, _ZERO, _HALF, _ONE, _TWO, _COLDEST = _F(np.nan), _F(0.0), _F(0.5), _F(1.0), _F(2.0), _F(-273.15)
_NO, _YES, _LATEST = _U8(0), _U8(1), _U8(LATEST_VIEW_TIME)
# Fast-math without "nnan" and "ninf": NaN keeps its meaning, sums may be reordered and contracted.
_MATH = {"contract", "arcp", "nsz", "reassoc"}
# Pixels of a tile, whose rows stay in the first-level cache, and of a block, whose sums fill less than half of the
# second-level cache.
_TILE, _BLOCK = 128, 16384

# sin(x) / x and cos(x) in powers of x² for |x| up to 30°, interpolated at Chebyshev nodes; errors 1.3e-7 and 1.1e-9.
_SINE = (0.999999873, -0.166658324, 0.00825208802)
_COSINE = (0.999999999, -0.499999873, 0.0416643493, -0.00137534672)
# What lies within this share of a limit is clear of it: rounding is far smaller than the rest.
_CLEAR = 0.999


class Scales(NamedTuple):
    """What stored numbers mean, and which are kept."""

    low: np.uint16
    """Lowest valid temperature."""
    high: np.uint16
    """Highest valid temperature."""
    lst_limit: np.uint8
    emissivity_limit: np.uint8
    lst: np.float32
    """Kelvin per count."""
    turn: np.float32
    """Days per count of time."""


class Usual(NamedTuple):
    """What the shortcut for complete days needs.

    As arrays, not constants: the compiler would load constants again in every turn of a loop, where it keeps what it
    cannot know.
    """

    times: NDArray[np.uint8]
    """(4, 2): first and last usual time of each overpass, stored."""
    lag: NDArray[np.int16]
    """(2,): smallest and largest usual sum of Aqua's times less Terra's, stored."""
    curves: NDArray[np.float32]
    """(3, 9): what turns counts into sines and cosines of the angles between the overpasses."""
    limits: NDArray[np.float32]
    """(2,): squares of the largest range and overshoot that are clear of the limits, in counts."""


def usual(lst_scale: float, time_scale: float) -> Usual:
    """Return what is usual in stored units.

    The rows of `curves` are the angle of a count [rad], the angle to add, three coefficients of the sine and four of
    the cosine; of half of Terra's way from night to day, half of Aqua's, and half of Aqua's lag behind Terra, each
    less what it is at the usual hours. There the lag is 45°, a turn that costs two additions once the root of one half
    is in the coefficients.

    Examples
    --------
    >>> these = usual(0.02, 0.1)
    >>> these.times.tolist(), these.lag.tolist()
    ([[85, 125], [115, 155], [205, 240], [0, 35]], [-220, -140])
    """
    middle, turn, root = np.array(USUAL_HOURS), 2.0 * np.pi / 24.0, np.sqrt(0.5)
    first = np.ceil((middle - USUAL_REACH) / time_scale - 1e-6)
    last = np.floor((middle + USUAL_REACH) / time_scale + 1e-6)
    t0, t1, t2, t3 = USUAL_HOURS
    between = (t0 - t2, t1 - t3, (t1 + t3) - (t0 + t2))
    lag = np.array([np.ceil((between[2] - 4.0) / time_scale), np.floor((between[2] + 4.0) / time_scale)])
    curves = [
        [0.5 * turn * time_scale, -0.5 * turn * hours, *(factor * np.array(_SINE)), *(factor * np.array(_COSINE))]
        for hours, factor in zip(between, (1.0, 1.0, root), strict=True)
    ]
    amplitude, overshoot = _CLEAR * LARGEST_AMPLITUDE / lst_scale, _CLEAR * LARGEST_OVERSHOOT / lst_scale
    return Usual(
        np.clip(np.stack([first, last], axis=1), 0, LATEST_VIEW_TIME).astype(np.uint8),
        np.clip(lag, -32000, 32000).astype(np.int16),
        np.array(curves, np.float32),
        np.array([(2.0 * amplitude) ** 2, (4.0 * overshoot) ** 2], np.float32),
    )


@compiled(error_model="numpy", fastmath=_MATH)
def overpass_sums(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8] | None,
    view_time: NDArray[np.uint8],
    interval: NDArray[np.int64],
    scales: Scales,
    usual: Usual,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    """Return freezing and thawing sums, thawing sums by interval and valid days of (time, overpass, pixel) arrays.

    A pixel's day that is complete, seen at usual times and clear of every limit of `daily_mean.sinusoid` is a matter of
    two pairs; any other goes through `daily_mean.mean_of_day`. Which of the two it is depends on the pixel alone, and
    tiles are always of one size, so that cutting the pixels differently changes no bit.
    """
    days, _, pixels = lst.shape
    freezing = np.empty(pixels, np.float32)
    thawing = np.empty(pixels, np.float32)
    by_interval = np.zeros((INTERVALS, pixels), np.float32)
    valid_days = np.empty(pixels, np.int16)
    freezing_year, thawing_year = np.empty(_BLOCK), np.empty(_BLOCK)
    freezing_interval, thawing_interval = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    count = np.empty(_BLOCK, np.int32)
    means, by_cases = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32)
    turns = np.empty((6, _TILE), np.float32)
    apart = np.empty((3, _TILE), np.int16)
    stored, times = np.zeros((4, _TILE), np.uint16), np.zeros((4, _TILE), np.uint8)
    whole = np.empty(_TILE, np.uint8)

    for block in range(0, pixels, _BLOCK):
        length = min(_BLOCK, pixels - block)
        for i in range(length):
            freezing_year[i] = thawing_year[i] = 0.0
            freezing_interval[i] = thawing_interval[i] = _ZERO
            count[i] = 0
        for t in range(days):
            for tile in range(0, length, _TILE):
                size = min(_TILE, length - tile)
                if size == _TILE and _all_there(lst, qc, view_time, t, block + tile, scales, usual):
                    _copy(lst, view_time, t, block + tile, stored, times, whole)
                    complete = _TILE
                else:
                    complete = _screen(lst, qc, view_time, t, block + tile, size, scales, usual, stored, times, whole)
                settled = _means_of_pairs(stored, times, scales, usual, apart, turns, means) if complete > 0 else 0
                if min(complete, settled) < _TILE:
                    _means_by_cases(stored, times, scales, by_cases)
                    for i in range(_TILE):
                        means[i] = means[i] if (whole[i] != _NO) & (means[i] == means[i]) else by_cases[i]
                for i in range(size):
                    mean = means[i]
                    known = mean == mean
                    mean = mean if known else _ZERO
                    freezing_interval[_AT(tile + i)] += max(-mean, _ZERO)
                    thawing_interval[_AT(tile + i)] += max(mean, _ZERO)
                    count[_AT(tile + i)] += np.int32(1) if known else np.int32(0)
            if t == days - 1 or interval[t + 1] != interval[t]:
                k = interval[t]
                for i in range(length):
                    by_interval[k, block + i] += thawing_interval[i]
                    thawing_year[i] += thawing_interval[i]
                    freezing_year[i] += freezing_interval[i]
                    freezing_interval[i] = _ZERO
                    thawing_interval[i] = _ZERO
        for i in range(length):
            freezing[block + i] = freezing_year[i]
            thawing[block + i] = thawing_year[i]
            valid_days[block + i] = count[i]
    return freezing, thawing, by_interval, valid_days


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def _all_there(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8] | None,
    view_time: NDArray[np.uint8],
    t: int,
    first: int,
    scales: Scales,
    usual: Usual,
) -> bool:
    """Return whether a tile has every observation, each at a usual time."""
    for o in range(4):
        coldest, warmest = scales.high, scales.low
        for i in range(_TILE):
            coldest = min(coldest, lst[t, o, _AT(first + i)])
            warmest = max(warmest, lst[t, o, _AT(first + i)])
        if coldest < scales.low or warmest > scales.high:
            return False
        earliest, latest = usual.times[o, 1], usual.times[o, 0]
        for i in range(_TILE):
            earliest = min(earliest, view_time[t, o, _AT(first + i)])
            latest = max(latest, view_time[t, o, _AT(first + i)])
        if earliest < usual.times[o, 0] or latest > usual.times[o, 1]:
            return False
        if qc is not None:
            worst, emissivity, absent = _NO, _NO, _NO  # `passes`, of the worst bits of all
            for i in range(_TILE):
                bits = qc[t, o, _AT(first + i)]
                worst = max(worst, bits)
                emissivity = max(emissivity, _U8(bits & _U8(48)))
                absent = max(absent, _U8(bits & _U8(2)))
            if absent != _NO or worst > scales.lst_limit or emissivity > scales.emissivity_limit:
                return False
    strange = _NO
    for i in range(_TILE):
        Aqua = _I16(view_time[t, 1, _AT(first + i)]) + _I16(view_time[t, 3, _AT(first + i)])
        Terra = _I16(view_time[t, 0, _AT(first + i)]) + _I16(view_time[t, 2, _AT(first + i)])
        lag = _I16(Aqua - Terra)
        strange = max(strange, _YES if (lag < usual.lag[0]) | (lag > usual.lag[1]) else _NO)
    return bool(strange == _NO)


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def _copy(
    lst: NDArray[np.uint16],
    view_time: NDArray[np.uint8],
    t: int,
    first: int,
    stored: NDArray[np.uint16],
    times: NDArray[np.uint8],
    whole: NDArray[np.uint8],
) -> None:
    """Copy a tile that is complete."""
    for o in range(4):
        for i in range(_TILE):
            stored[o, i] = lst[t, o, _AT(first + i)]
        for i in range(_TILE):
            times[o, i] = view_time[t, o, _AT(first + i)]
    for i in range(_TILE):
        whole[i] = _YES


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def _screen(
    lst: NDArray[np.uint16],
    qc: NDArray[np.uint8] | None,
    view_time: NDArray[np.uint8],
    t: int,
    first: int,
    size: int,
    scales: Scales,
    usual: Usual,
    stored: NDArray[np.uint16],
    times: NDArray[np.uint8],
    whole: NDArray[np.uint8],
) -> int:
    """Copy a tile's temperatures, 0 where they are not kept, and times; return how many pixels are complete."""
    for o in range(4):
        for i in range(size):
            temperature, time = lst[t, o, _AT(first + i)], view_time[t, o, _AT(first + i)]
            kept = (temperature >= scales.low) & (temperature <= scales.high) & (time <= _LATEST)
            if qc is not None:
                kept = kept & passes(qc[t, o, _AT(first + i)], scales.lst_limit, scales.emissivity_limit)
            stored[o, i] = temperature if kept else _U16(0)
        for i in range(size, _TILE):
            stored[o, i] = _U16(0)
        for i in range(size):
            times[o, i] = view_time[t, o, _AT(first + i)]
    for i in range(_TILE):
        t0, t1, t2, t3 = times[0, i], times[1, i], times[2, i], times[3, i]
        there = (stored[0, i] != 0) & (stored[1, i] != 0) & (stored[2, i] != 0) & (stored[3, i] != 0)
        there = there & (t0 >= usual.times[0, 0]) & (t0 <= usual.times[0, 1])
        there = there & (t1 >= usual.times[1, 0]) & (t1 <= usual.times[1, 1])
        there = there & (t2 >= usual.times[2, 0]) & (t2 <= usual.times[2, 1])
        there = there & (t3 >= usual.times[3, 0]) & (t3 <= usual.times[3, 1])
        lag = _I16(_I16(t1) + _I16(t3) - _I16(t0) - _I16(t2))
        whole[i] = _YES if there & (lag >= usual.lag[0]) & (lag <= usual.lag[1]) else _NO
    complete = np.int32(0)
    for i in range(_TILE):
        complete += np.int32(whole[i])
    return int(complete)


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def _means_of_pairs(
    stored: NDArray[np.uint16],
    times: NDArray[np.uint8],
    scales: Scales,
    usual: Usual,
    apart: NDArray[np.int16],
    turns: NDArray[np.float32],
    means: NDArray[np.float32],
) -> int:
    r"""Fit the sinusoids of a tile's days that have two complete pairs; NaN where that may be at a limit.

    Observations at :math:`p \mp d` have the sum and the difference

    .. math:: U = 2 (\bar T + k g), \quad V = 2 q h, \qquad k = \cos d,\ q = \sin d,

    with the sinusoid's components g and h at the pair's middle p. From the middle of one pair, :math:`\varphi` on to
    the other, :math:`g_1 = (h_2 - h_1 \cos\varphi) / \sin\varphi` and
    :math:`g_2 = (h_2 \cos\varphi - h_1) / \sin\varphi`. So least squares in :math:`V_1, V_2` have two observations that
    are met exactly and one more, :math:`U_1 - U_2`; then :math:`\bar T = (U_1 + U_2) / 4 - (k_1 g_1 + k_2 g_2) / 2`.
    Three angles instead of four, and nothing to say about what is missing. What there is of other pixels is
    meaningless. Returns how many are not NaN.
    """
    for i in range(_TILE):
        t0, t1, t2, t3 = _I16(times[0, i]), _I16(times[1, i]), _I16(times[2, i]), _I16(times[3, i])
        apart[0, i], apart[1, i], apart[2, i] = t0 - t2, t1 - t3, (t1 + t3) - (t0 + t2)
    for o in range(3):
        turn, offset = usual.curves[o, 0], usual.curves[o, 1]
        a0, a1, a2 = usual.curves[o, 2], usual.curves[o, 3], usual.curves[o, 4]
        b0, b1, b2, b3 = usual.curves[o, 5], usual.curves[o, 6], usual.curves[o, 7], usual.curves[o, 8]
        for i in range(_TILE):
            x = _F(apart[o, i]) * turn + offset
            square = x * x
            turns[2 * o, i] = x * (a0 + square * (a1 + square * a2))
            turns[2 * o + 1, i] = b0 + square * (b1 + square * (b2 + square * b3))
    largest, farthest = usual.limits[0], usual.limits[1]
    quarter = _F(0.25) * scales.lst
    settled = _ZERO
    for i in range(_TILE):
        T0, T1, T2, T3 = _F(stored[0, i]), _F(stored[1, i]), _F(stored[2, i]), _F(stored[3, i])
        V1, V2, U1, U2 = T2 - T0, T3 - T1, T0 + T2, T1 + T3
        k1, q1, k2, q2 = -turns[0, i], turns[1, i], -turns[2, i], turns[3, i]
        c, s = turns[5, i] - turns[4, i], turns[5, i] + turns[4, i]  # of the lag: 45° and a little
        # k1 g1 - k2 g2 = (A1 V1 + A2 V2) / 2 P, k1 g1 + k2 g2 = (B2 V2 - B1 V1) / 2 P
        e1, e2 = k1 * c, k2 * c
        A1, A2 = (k2 - e1) * q2, (k1 - e2) * q1
        B1, B2 = (k2 + e1) * q2, (k1 + e2) * q1
        P = (q1 * q2) * s
        N = P * P + _HALF * (A1 * A1 + A2 * A2)
        inverse = _ONE / (P * N)
        gain = _HALF * ((U1 - U2) * P - (A1 * V1 + A2 * V2)) * (P * inverse)
        V1, V2 = V1 + A1 * gain, V2 + A2 * gain  # now those of the fit
        away = (B2 * V2 - B1 * V1) * (N * inverse)
        h1, h2 = V1 * q2, V2 * q1
        squared = h1 * h1 + h2 * h2 - _TWO * c * (h1 * h2)  # of the amplitude, times 2 P
        clear = (squared <= largest * (P * P)) & (away * away <= farthest)
        means[i] = (U1 + U2 - away) * quarter + _COLDEST if clear else _NAN
        settled += _ONE if clear else _ZERO
    return int(settled)


@compiled(forceinline=True, error_model="numpy", fastmath=_MATH)
def _means_by_cases(
    stored: NDArray[np.uint16], times: NDArray[np.uint8], scales: Scales, means: NDArray[np.float32]
) -> None:
    """Fit the sinusoids of a tile's days, whatever is missing; NaN where too much is."""
    for i in range(_TILE):
        c0, s0 = cosine_and_sine(_F(times[0, i]) * scales.turn - _HALF)
        c1, s1 = cosine_and_sine(_F(times[1, i]) * scales.turn - _HALF)
        c2, s2 = cosine_and_sine(_F(times[2, i]) * scales.turn - _HALF)
        c3, s3 = cosine_and_sine(_F(times[3, i]) * scales.turn - _HALF)
        mean, found, _ = mean_of_day(
            celsius(stored[0, i], scales.lst),
            celsius(stored[1, i], scales.lst),
            celsius(stored[2, i], scales.lst),
            celsius(stored[3, i], scales.lst),
            c0,
            c1,
            c2,
            c3,
            s0,
            s1,
            s2,
            s3,
            _F(stored[0, i]) > _ZERO,
            _F(stored[1, i]) > _ZERO,
            _F(stored[2, i]) > _ZERO,
            _F(stored[3, i]) > _ZERO,
        )
        means[i] = mean if found else _NAN
