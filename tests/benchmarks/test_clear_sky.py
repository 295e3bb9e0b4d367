"""Clear-sky temperatures of a tile and day cost a fraction of a second, linear in pixels, far less than a search."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import ndimage

from frostmap.kernels import clear_sky

DAYS, TARGET, BLOCK = 15, 7, 100
RANGES = (2500.0, 6500.0), (-0.2, 1.0)
PLACES = clear_sky.BINS[1] * clear_sky.BINS[2]
PAIRS = np.array([(TARGET, day) for day in range(DAYS) if day != TARGET])


@dataclass(frozen=True)
class Tile:
    """Blocks of stored temperatures and places, and what is known of the whole."""

    stored: list[NDArray[np.uint16]]
    place: list[NDArray[np.int16]]
    elevation: NDArray[np.float32]
    ndvi: NDArray[np.float32]
    low: NDArray[np.uint16]
    high: NDArray[np.uint16]

    @property
    def pixels(self) -> int:
        return self.elevation.size


def tile(side: int) -> Tile:
    """Return fifteen days of a mountainous tile; clouds hide half of each."""
    rng = np.random.default_rng(0)

    def field(width: float) -> NDArray[np.float32]:
        smooth = ndimage.gaussian_filter(rng.normal(0.0, 1.0, (side, side)).astype(np.float32), width, mode="wrap")
        return smooth / smooth.std()

    elevation = 4500.0 + 500.0 * field(side / 20) + 250.0 * field(10.0) + 80.0 * field(2.0)
    ndvi = np.clip(0.3 + 0.12 * field(side / 30) + 0.08 * field(8.0) + 0.04 * field(1.0), -0.2, 1.0)
    stored = np.empty((DAYS, side, side), np.uint16)
    for t in range(DAYS):
        celsius = 8.0 * np.sin(t / 3) - (0.006 + 0.0006 * np.sin(t)) * (elevation - 4500.0) - 8.0 * (ndvi - 0.3)
        noise = rng.normal(0.0, 1.0, (side, side))
        stored[t] = np.where(field(side / 60) > 0.0, np.rint((celsius + noise + 268.15) / 0.02), 0)

    def blocks(values: NDArray[Any]) -> list[NDArray[Any]]:
        corners = [(y, x) for y in range(0, side, BLOCK) for x in range(0, side, BLOCK)]
        parts = [values[..., y : y + BLOCK, x : x + BLOCK] for y, x in corners]
        return [np.ascontiguousarray(part).reshape(*part.shape[:-2], -1) for part in parts]

    place = [clear_sky.place_bins(z, v[None], *RANGES) for z, v in zip(blocks(elevation), blocks(ndvi), strict=True)]
    whole = clear_sky.day_ranges(stored.reshape(DAYS, -1))
    flat = (np.concatenate(blocks(values)).astype(np.float32) for values in (elevation, ndvi))
    return Tile(blocks(stored), place, *flat, *whole)


def estimates(of: Tile) -> NDArray[np.float32]:
    """Return the target day's clear-sky temperatures: sums, lines, fusion, block by block."""
    sums, same = clear_sky.analogue_sums(len(PAIRS)), np.zeros(DAYS, int)
    for stored, place in zip(of.stored, of.place, strict=True):
        clear_sky.add_analogues(sums, stored, place, same, PAIRS, of.low, of.high)
    table = clear_sky.regressions(sums)
    targets = np.array([TARGET])
    return np.concatenate(
        [
            clear_sky.fuse(stored, place, same, PAIRS, targets, of.low, of.high, table)[0][0]
            for stored, place in zip(of.stored, of.place, strict=True)
        ]
    )


def numpy_estimates(of: Tile) -> NDArray[np.float32]:
    """Return the same in vectorised NumPy: bincount, cumulative sums, all bins at once."""
    stored, place = np.concatenate(of.stored, axis=1), np.concatenate(of.place, axis=1)[0].astype(np.int64)
    weight, total = np.zeros(of.pixels), np.zeros(of.pixels)
    x = stored[TARGET].astype(np.float64) - clear_sky.ORIGIN
    for _, day in PAIRS:
        width = int(of.high[day]) - int(of.low[day]) + 1
        r, seen = stored[day].astype(np.float64) - clear_sky.ORIGIN, stored[day] > 0
        above = np.clip(stored[day].astype(np.int64) - of.low[day], 0, width - 1)
        k = (above * ((clear_sky.BINS[0] << 16) // width) >> 16) * PLACES + place
        both = seen & (stored[TARGET] > 0)
        columns = [np.ones_like(x), x, r, x * x, r * r, x * r]
        a, slope, w = _numpy_lines(
            np.stack([np.bincount(k[both], c[both], clear_sky.BINS[0] * PLACES) for c in columns], axis=-1)
        )
        w = np.where(seen, w[k], 0.0)
        weight += w
        total += w * (a[k] + slope[k] * (stored[day] * 0.02 - 273.15))
    return (total / np.where(weight > 0.0, weight, np.nan)).astype(np.float32)


def _numpy_lines(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    area = np.zeros((*(n + 1 for n in clear_sky.BINS), 6))
    area[1:, 1:, 1:] = sums.reshape(*clear_sky.BINS, 6).cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
    inner, kept, done = np.zeros_like(sums), np.zeros_like(sums), np.zeros(len(sums), np.bool_)
    for step in range(13):
        ends = []
        for n, reach in zip(clear_sky.BINS, (step, 2 * step // 3, step // 2), strict=True):
            at = np.arange(n)
            ends.append((np.maximum(at - reach, 0), np.minimum(at + reach + 1, n)))
        box = sum(
            (-1.0) ** (i + j + k + 1) * area[np.ix_(ends[0][i], ends[1][j], ends[2][k])]
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        )
        outer = np.asarray(box).reshape(-1, 6)
        enough = ~done & ((outer[:, 0] >= 1000) | (step == 12))
        part = np.where((outer[:, 0] > 1000) & (step > 0), (1000 - inner[:, 0]) / (outer[:, 0] - inner[:, 0] + 1e-9), 1)
        kept[enough] = (inner + part[:, None] * (outer - inner))[enough]
        done |= enough
        inner = outer
    n, x, r, xx, rr, xr = np.where(kept[:, :1] >= 100, kept, 1.0).T
    srr, sxr = rr - r * r / n, xr - x * r / n
    slope = sxr / np.where(srr > 0.0, srr, np.inf)
    variance = (xx - x * x / n - slope * sxr) / np.maximum(n - 2, 1) * (1 + 1 / n) * 0.02**2
    a = 0.02 * (x - slope * r) / n + (1 - slope) * (0.02 * clear_sky.ORIGIN - 273.15)
    return a, slope, np.where(kept[:, 0] >= 100, 1.0 / np.maximum(variance, 0.09), 0.0)


def best_of(function: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Return the least processor time of some calls [s]; other programs disturb it less than the clock on the wall."""
    best = np.inf
    for _ in range(rounds):
        start = time.thread_time()
        result = function()
        best = min(best, time.thread_time() - start)
    return best, result


@pytest.mark.benchmark(group="clear sky")
def test_clear_sky_of_a_tile_and_day(benchmark: BenchmarkFixture) -> None:
    side = 1200 if benchmark.enabled else 100
    whole = tile(side)
    result = benchmark.pedantic(lambda: estimates(whole), rounds=3, iterations=1, warmup_rounds=1)
    theirs, expected = best_of(lambda: numpy_estimates(whole), 1)
    assert (np.isfinite(result) == np.isfinite(expected)).mean() > 0.999
    both = np.isfinite(result) & np.isfinite(expected)
    np.testing.assert_allclose(result[both], expected[both], atol=0.01)
    if benchmark.enabled:
        mine, _ = best_of(lambda: estimates(whole), 5)
        quarter = tile(side // 2)
        few, _ = best_of(lambda: estimates(quarter), 5)
        per_pixel = 1e9 / whole.pixels
        benchmark.extra_info.update(
            ns_per_pixel_day=mine * per_pixel,
            peer="NumPy, the same sums and lines; 14 references each",
            peer_ns_per_pixel_day=theirs * per_pixel,
            ratio=theirs / mine,
        )
        assert mine < 0.6
        assert mine < 1.3 * 4 * few  # linear in pixels


@pytest.mark.benchmark(group="clear sky")
def test_binned_against_nearest_analogues(benchmark: BenchmarkFixture) -> None:
    side, queries = (200, 100) if benchmark.enabled else (100, 10)
    whole = tile(side)
    stored, pairs = np.concatenate(whole.stored, axis=1), PAIRS[6:8]
    wanted = np.zeros(whole.pixels, np.bool_)
    wanted[np.random.default_rng(0).choice(np.flatnonzero(stored[TARGET - 1] > 0), queries, replace=False)] = True
    result = benchmark.pedantic(lambda: estimates(whole), rounds=3, iterations=1, warmup_rounds=1)
    theirs, exact = best_of(
        lambda: clear_sky.nearest_analogues(
            stored, whole.elevation, whole.ndvi, pairs, *RANGES, analogues=1000, wanted=wanted
        ),
        1,
    )
    nearest, _ = clear_sky.inverse_variance_mean(*exact)
    both = np.isfinite(nearest) & np.isfinite(result)
    assert np.sqrt(np.mean((nearest - result)[both] ** 2)) < 1.0  # two references against fourteen
    if benchmark.enabled:
        mine = best_of(lambda: estimates(whole), 5)[0] * 1e9 / whole.pixels
        theirs *= 1e9 / np.isfinite(exact[0]).sum() * len(PAIRS)
        benchmark.extra_info.update(
            ns_per_pixel_day=mine,
            peer="the exact search of the 1000 nearest, a scene of 200 x 200",
            peer_ns_per_pixel_day=theirs,
            ratio=theirs / mine,
        )
