"""A cloudy pixel's clear-sky temperature follows from its analogues, however the region was cut into blocks."""

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels import clear_sky
from frostmap.kernels.clear_sky import (
    BINS,
    NO_PLACE,
    ORIGIN,
    SLOPES,
    add_analogues,
    analogue_sums,
    choose_references,
    common_counts,
    day_ranges,
    fuse,
    inverse_variance_mean,
    line_of_analogues,
    nearest_analogues,
    place_bins,
    regressions,
)

SLOW = bool(numba.config.DISABLE_JIT)
PLACES = BINS[1] * BINS[2]
OLS, EOF, MAJOR = range(3)
ELEVATIONS, NDVIS = (3000.0, 6000.0), (0.0, 0.6)

Stored = NDArray[np.uint16]


def examples(usual: int, without_jit: int) -> settings:
    return settings(deadline=None, max_examples=without_jit if SLOW else usual)


def small_region(seed: int, days: int = 4, pixels: int = 60, composites: int = 2) -> dict[str, Any]:
    """Return a few pixels of similar days, many of them cloudy, in few bins."""
    rng = np.random.default_rng(seed)
    stored = (13500 + rng.integers(0, 900, pixels) + rng.integers(0, 300, (days, pixels))).astype(np.uint16)
    stored[rng.random(stored.shape) < 0.4] = 0
    place = rng.choice([NO_PLACE, 0, 1, 25, 26, 767], (composites, pixels)).astype(np.int16)
    pairs = np.array([(t, r) for t in range(days) for r in range(days) if r not in (t, t - 2)])
    low, high = day_ranges(stored)
    composite = rng.integers(0, composites, days)
    return {"stored": stored, "place": place, "composite_of_day": composite, "pairs": pairs, "low": low, "high": high}


def sums_of(region: dict[str, Any], blocks: Iterable[NDArray[np.intp]] | None = None) -> NDArray[np.int64]:
    sums = analogue_sums(len(region["pairs"]))
    for pixels in blocks or [np.arange(region["stored"].shape[1])]:
        block = region | {"stored": region["stored"][:, pixels], "place": region["place"][:, pixels]}
        add_analogues(sums, **block)
    return sums


def temperature_bin(stored: Stored, low: Stored, high: Stored) -> NDArray[np.int64]:
    width = high.astype(np.int64) - low + 1
    above = np.clip(stored.astype(np.int64) - low, 0, width - 1)
    return above * ((BINS[0] << 16) // width) >> 16


def table_of_one_line(intercept: float, slope: float, weight: float) -> NDArray[np.float32]:
    return np.broadcast_to(np.array([intercept, slope, weight], np.float32), (PLACES * BINS[0], 3)).copy()


# ---- sums -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6))
@examples(15, 2)
def test_sums_equal_their_numpy_twin(seed: int) -> None:
    region = small_region(seed)
    stored, low, high = region["stored"].astype(np.int64), region["low"], region["high"]
    expected = np.zeros((len(region["pairs"]), PLACES * BINS[0], 6), np.int64)
    for p, (t, r) in enumerate(region["pairs"]):
        place = region["place"][region["composite_of_day"][t]]
        seen = (stored[r] > 0) & (place >= 0)
        k = temperature_bin(stored[r], low[r], high[r])[seen] * PLACES + place[seen]
        both, x, y = stored[t, seen] > 0, stored[t, seen] - ORIGIN, stored[r, seen] - ORIGIN
        columns = np.stack([both, both * x, both * y, both * x * x, both * y * y, both * x * y], axis=1)
        columns[:, 0] += 2**32
        np.add.at(expected[p], k, columns)
    np.testing.assert_array_equal(sums_of(region), expected)


@given(st.integers(0, 10**6), st.data())
@examples(15, 2)
def test_neither_order_nor_size_of_blocks_changes_a_bit(seed: int, data: st.DataObject) -> None:
    region = small_region(seed)
    stored = region["stored"]
    days, pixels = stored.shape
    order = np.array(data.draw(st.permutations(range(pixels))))
    cuts = sorted(data.draw(st.sets(st.integers(1, pixels - 1), max_size=4)))
    blocks = np.split(order, cuts)
    np.testing.assert_array_equal(sums_of(region, blocks), sums_of(region))
    ranges = [day_ranges(stored[:, block]) for block in blocks]
    np.testing.assert_array_equal(np.min([low for low, _ in ranges], axis=0), region["low"])
    np.testing.assert_array_equal(np.max([high for _, high in ranges], axis=0), region["high"])
    whole = common_counts(stored, 0, days)
    np.testing.assert_array_equal(sum(common_counts(stored[:, block], 0, days) for block in blocks), whole)

    table = np.random.default_rng(seed).random((len(region["pairs"]), PLACES * BINS[0], 3), np.float32)
    targets = np.arange(days)
    estimate, sigma = fuse(**region, targets=targets, table=table)
    for block in blocks:
        cut = region | {"stored": stored[:, block], "place": region["place"][:, block]}
        part = fuse(**cut, targets=targets, table=table)
        np.testing.assert_array_equal(part[0], estimate[:, block])
        np.testing.assert_array_equal(part[1], sigma[:, block])


def test_a_block_larger_than_what_is_held_at_a_time_is_summed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = 2 * clear_sky._TILE + 5
    if SLOW:
        monkeypatch.setattr(clear_sky, "_TILE", 20)
        pixels = 45
    region = small_region(0, pixels=pixels)
    pieces = np.array_split(np.arange(region["stored"].shape[1]), 7)
    np.testing.assert_array_equal(sums_of(region), sums_of(region, pieces))
    table = np.ones((len(region["pairs"]), PLACES * BINS[0], 3), np.float32)
    estimate, _ = fuse(**region, targets=np.array([1]), table=table)
    cut = region | {"stored": region["stored"][:, pieces[6]], "place": region["place"][:, pieces[6]]}
    np.testing.assert_array_equal(fuse(**cut, targets=np.array([1]), table=table)[0], estimate[:, pieces[6]])


def test_common_counts_are_those_of_a_plain_product() -> None:
    stored = small_region(3, days=5, pixels=131)["stored"]
    clear = (stored > 0).astype(np.int64)
    np.testing.assert_array_equal(common_counts(stored, 1, 4), clear[1:4] @ clear.T)
    assert common_counts(stored, 2, 2).shape == (0, 5)


def test_a_day_without_a_clear_pixel_adds_nothing() -> None:
    region = small_region(1)
    region["stored"][2] = 0
    region["low"], region["high"] = day_ranges(region["stored"])
    assert (region["low"][2], region["high"][2]) == (65535, 0)
    sums = sums_of(region)
    of_it = (region["pairs"] == 2).any(axis=1)
    assert (sums[of_it, :, 0] & 0xFFFFFFFF == 0).all()
    assert not sums[of_it, :, 1:].any()
    assert (sums[region["pairs"][:, 1] == 2] == 0).all()


def test_places_are_bins_of_elevation_and_ndvi() -> None:
    rng = np.random.default_rng(0)
    elevation, ndvi = rng.uniform(2000, 7000, 500).astype(np.float32), rng.uniform(-0.3, 1.1, 500).astype(np.float32)
    place = place_bins(elevation, ndvi, (2500.0, 6500.0), (-0.2, 1.0))
    high = np.clip((elevation - 2500.0) / 4000.0 * 32, 0, 31).astype(int)
    green = np.clip((ndvi.astype(np.float64) + 0.2) / 1.2 * 24, 0, 23).astype(int)
    np.testing.assert_array_equal(place, high * 24 + green)
    assert place.dtype == np.int16


def test_a_missing_elevation_has_no_place_and_a_missing_ndvi_the_lowest() -> None:
    elevation = np.array([4000.0, np.nan, 4000.0], np.float32)
    ndvi = np.array([[0.5, 0.5, np.nan], [np.nan, np.nan, 0.0]], np.float32)
    place = place_bins(elevation, ndvi, ELEVATIONS, NDVIS)
    assert place.tolist() == [[10 * 24 + 20, NO_PLACE, 10 * 24], [10 * 24, NO_PLACE, 10 * 24]]
    same = np.full(3, 7.0, np.float32)
    assert place_bins(same, same, (7.0, 7.0), (7.0, 7.0)).tolist() == [0, 0, 0]  # a region without relief


# ---- references -----------------------------------------------------------------------------------------------------


def test_references_share_a_quarter_and_lie_within_reach() -> None:
    common = np.array([[25, 24, 99, 100, 99, 25, 0, 99]])
    assert choose_references(common, 100, np.array([3]), reach=3).tolist() == [[3, 0], [3, 2], [3, 4], [3, 5]]
    assert choose_references(common, 96, np.array([3]), reach=3).tolist() == [[3, 0], [3, 1], [3, 2], [3, 4], [3, 5]]
    own = choose_references(common, common[:, 3] * 4, np.array([3]), reach=7, wider=())
    assert own.shape == (0, 2)


def test_a_wider_reach_serves_only_a_target_that_has_no_reference() -> None:
    common = np.zeros((2, 40), int)
    common[0, [9, 12, 30]] = 50
    common[1, [0, 39]] = 50
    pairs = choose_references(common, 100, np.array([10, 20]), reach=7, wider=(15, 31))
    assert pairs.tolist() == [[10, 9], [10, 12], [20, 0], [20, 39]]
    assert choose_references(common, 100, np.array([10, 20]), reach=7, wider=(15,)).tolist() == [[10, 9], [10, 12]]


def test_no_more_references_than_wanted_and_the_nearest_with_most_in_common() -> None:
    common = np.array([[90, 50, 60, 99, 50, 70, 90]])
    assert choose_references(common, 100, np.array([3]), most=2).tolist() == [[3, 2], [3, 4]]
    assert choose_references(common, 100, np.array([3]), most=3).tolist() == [[3, 2], [3, 4], [3, 5]]
    far = np.where(np.abs(np.arange(60) - 30) > 7, 50, 0)[None]
    assert choose_references(far, 100, np.array([30]))[:, 1].tolist() == [*range(16, 23), *range(38, 45)]


def test_days_without_anything_in_common_are_no_references() -> None:
    assert choose_references(np.zeros((1, 9), int), 0, np.array([4]), least_share=0.0).shape == (0, 2)


# ---- lines ----------------------------------------------------------------------------------------------------------

clouds_of_points = st.tuples(
    st.integers(0, 10**6), st.integers(4, 60), st.floats(-3, 3), st.floats(0.05, 3), st.floats(-300, 300)
)


def points(drawn: tuple[int, int, float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    seed, n, slope, noise, shift = drawn
    rng = np.random.default_rng(seed)
    r = rng.normal(shift, 2.0, n)
    return slope * r + rng.normal(0.0, noise, n), r


def line(x: NDArray[np.float64], r: NDArray[np.float64], slope: int) -> tuple[float, float]:
    sums = [float(np.sum(values)) for values in (np.ones_like(x), x, r, x * x, r * r, x * r)]
    n, x_sum, r_sum, xx, rr, xr = sums
    beta, variance = line_of_analogues(n, x_sum, r_sum, xx, rr, xr, slope)
    return float(beta), float(variance)


def centred(drawn: tuple[int, int, float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, r = points(drawn)
    return x - x.mean(), r - r.mean()


@given(clouds_of_points)
@examples(100, 50)
def test_eof1_is_the_rank_one_reconstruction_of_an_unknown_that_starts_at_the_mean(drawn: Any) -> None:
    x, r = centred(drawn)
    _, _, (v, _) = np.linalg.svd(np.stack([x, r], axis=1), full_matrices=False)
    reconstructed = np.stack([x, r], axis=1) @ np.outer(v, v)
    unknown = np.array([0.0, 1.0]) @ np.outer(v, v)
    slope, variance = line(x, r, EOF)
    assert slope == pytest.approx(unknown[0], abs=1e-9)
    assert variance == pytest.approx(np.var(r - reconstructed[:, 1], ddof=1), abs=1e-9)
    assert abs(slope) <= 0.5 + 1e-12


def test_eof1_halves_what_the_reference_repeats_exactly() -> None:
    r = np.random.default_rng(0).normal(0.0, 3.0, 1000)
    assert line(r + 5.0, r, EOF) == pytest.approx((0.5, 0.0), abs=1e-9)
    assert line(-r, r, EOF) == pytest.approx((-0.5, 0.0), abs=1e-9)
    assert line(r + 5.0, r, MAJOR) == pytest.approx((1.0, 0.0), abs=1e-9)
    assert line(r + 5.0, r, OLS) == pytest.approx((1.0, 0.0), abs=1e-9)


@given(clouds_of_points)
@examples(100, 50)
def test_ols_is_a_least_squares_line(drawn: Any) -> None:
    x, r = points(drawn)
    slope, variance = line(x, r, OLS)
    (expected, intercept), n = np.polyfit(r - r.mean(), x, 1), x.size
    assert slope == pytest.approx(expected, abs=1e-6)
    residual = x - intercept - expected * (r - r.mean())
    assert variance == pytest.approx((residual**2).sum() / (n - 2) * (1 + 1 / n), rel=1e-6, abs=1e-6)


@given(clouds_of_points)
@examples(100, 50)
def test_the_major_axis_is_the_longest_direction(drawn: Any) -> None:
    x, r = centred(drawn)
    _, _, (v, _) = np.linalg.svd(np.stack([x, r], axis=1), full_matrices=False)
    slope, variance = line(x, r, MAJOR)
    residual, n = x - v[0] / v[1] * r, x.size
    if (residual**2).sum() > (x**2).sum():  # steeper than anything that helps
        expected, residual = 0.0, x
    else:
        expected = v[0] / v[1]
    assert slope == pytest.approx(expected, abs=1e-7)
    assert variance == pytest.approx((residual**2).sum() / (n - 2) * (1 + 1 / n), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("slope", range(3))
def test_a_reference_that_does_not_vary_says_only_the_mean(slope: int) -> None:
    x = np.array([-3.0, -1.0, 1.0, 3.0, 0.0])
    beta, variance = line(x, np.full(5, 250.0), slope)
    assert beta == 0.0
    assert variance == pytest.approx(0.0 if slope == EOF else 20.0 / 3.0 * 1.2)
    beta, variance = line(np.full(5, -200.0), np.full(5, 250.0), slope)
    assert (beta, variance) == (0.0, 0.0)


# ---- tables ---------------------------------------------------------------------------------------------------------


def plain_table(sums: NDArray[np.int64], slope: int, wanted: int, largest: int, fewest: int) -> NDArray[np.float64]:
    """Return a pair's lines by growing boxes with plain slices."""
    cube = sums.reshape(*BINS, 6)
    counts, table = cube[..., 0] & 0xFFFFFFFF, np.zeros((*BINS, 3))
    cube = np.concatenate([counts[..., None], cube[..., 1:]], axis=-1)

    def box(place: tuple[int, ...], step: int) -> NDArray[np.int64]:
        reach = (step, 2 * step // 3, step // 2)
        part = tuple(slice(max(0, at - r), at + r + 1) for at, r in zip(place, reach, strict=True))
        total: NDArray[np.int64] = cube[part].sum(axis=(0, 1, 2))
        return total

    for place in zip(*np.nonzero(sums.reshape(*BINS, 6)[..., 0]), strict=True):
        step = next((s for s in range(largest) if box(place, s)[0] >= wanted), largest)
        kept = box(place, step).astype(np.float64)
        if kept[0] < fewest:
            continue
        if step and kept[0] > wanted:
            inner = box(place, step - 1)
            kept = inner + (wanted - inner[0]) / (kept[0] - inner[0]) * (kept - inner)
        beta, variance = line_of_analogues(*[float(v) for v in kept], slope)
        x, r = (0.02 * (kept[i] / kept[0] + ORIGIN) - 273.15 for i in (1, 2))
        table[place] = x - beta * r, beta, 1.0 / max(variance * 0.02**2, 0.09)
    return table.reshape(-1, 3)


@given(st.integers(0, 10**6), st.sampled_from(SLOPES), st.integers(4, 40), st.integers(0, 14))
@examples(8, 1)
def test_lines_of_boxes_equal_a_plain_loop(seed: int, slope: str, wanted: int, largest: int) -> None:
    rng = np.random.default_rng(seed)
    n = 80 if SLOW else 400
    elevation, ndvi = rng.normal(4500, 500, n).astype(np.float32), rng.normal(0.3, 0.1, n).astype(np.float32)
    stored = np.rint(14000 - (elevation - 4500) / 4 + rng.normal(0, 60, (2, n))).astype(np.uint16)
    stored[rng.random(stored.shape) < 0.3] = 0
    region = {
        "stored": stored,
        "place": place_bins(elevation, ndvi[None], ELEVATIONS, NDVIS),
        "composite_of_day": np.zeros(2, int),
        "pairs": np.array([[0, 1]]),
    }
    region["low"], region["high"] = day_ranges(stored)
    sums = sums_of(region)
    table = regressions(sums, slope, wanted, largest, fewest=4)
    expected = plain_table(sums[0], SLOPES.index(slope), wanted, largest, 4)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table[0], expected, rtol=1e-5, atol=1e-4)


def test_a_bin_far_from_any_analogue_has_no_line() -> None:
    stored = np.zeros((2, 300), np.uint16)
    stored[:, :200] = np.arange(13000, 13200)
    stored[1, 200:] = 16000  # clear in the reference alone, and warmer than all analogues
    region = {
        "stored": stored,
        "place": np.zeros((1, 300), np.int16),
        "composite_of_day": np.zeros(2, int),
        "pairs": np.array([[0, 1]]),
    }
    region["low"], region["high"] = day_ranges(stored)
    table = regressions(sums_of(region), fewest=100)
    estimate, sigma = fuse(**region, targets=np.array([0]), table=table)
    np.testing.assert_allclose(estimate[0, :200], stored[0, :200] * 0.02 - 273.15, atol=1e-3)
    np.testing.assert_allclose(sigma[0, :200], 0.3, rtol=1e-6)
    assert np.isnan(estimate[0, 200:]).all()
    assert np.isnan(sigma[0, 200:]).all()
    nowhere = regressions(sums_of(region), fewest=201)
    assert not nowhere.any()


# ---- fusion ---------------------------------------------------------------------------------------------------------


def test_fusion_of_two_by_hand() -> None:
    stored = np.array([[0], [14000], [14000]], np.uint16)
    table = np.stack([table_of_one_line(10.0, 0.0, 1.0), table_of_one_line(12.0, 0.0, 0.25)])
    region = {
        "stored": stored,
        "place": np.zeros((1, 1), np.int16),
        "composite_of_day": np.zeros(3, int),
        "pairs": np.array([[0, 1], [0, 2]]),
    }
    region["low"], region["high"] = day_ranges(stored)
    estimate, sigma = fuse(**region, targets=np.array([0]), table=table)
    assert estimate[0, 0] == pytest.approx(10.4)
    assert sigma[0, 0] == pytest.approx((1.7 / 1.25) ** 0.5)
    again = inverse_variance_mean(np.array([[10.0], [12.0]], np.float32), np.array([[1.0], [2.0]], np.float32))
    assert (again[0][0], again[1][0]) == pytest.approx((10.4, (1.7 / 1.25) ** 0.5))


def test_references_that_agree_perfectly_are_worth_no_more_than_one() -> None:
    estimate, sigma = np.full((5, 3), 4.0, np.float32), np.full((5, 3), 2.0, np.float32)
    for correlation, expected in ((1.0, 2.0), (0.0, 2.0 / 5**0.5)):
        mean, error = inverse_variance_mean(estimate, sigma, correlation)
        np.testing.assert_allclose(mean, 4.0)
        np.testing.assert_allclose(error, expected, rtol=1e-6)


@given(st.integers(0, 10**6))
@examples(15, 2)
def test_fusion_equals_its_numpy_twin(seed: int) -> None:
    region = small_region(seed)
    rng = np.random.default_rng(seed)
    table = rng.normal(0.0, 1.0, (len(region["pairs"]), PLACES * BINS[0], 3)).astype(np.float32)
    table[..., 2] = np.where(rng.random(table.shape[:2]) < 0.2, 0.0, np.abs(table[..., 2]) + 0.1)
    targets, stored = np.array([3, 0]), region["stored"]
    wanted = rng.random((2, stored.shape[1])) < 0.8
    estimate, sigma = fuse(**region, targets=targets, table=table, wanted=wanted)
    assert estimate.dtype == sigma.dtype == np.float32
    for k, target in enumerate(targets):
        place = region["place"][region["composite_of_day"][target]]
        parts, errors = [], []
        for p, (t, r) in enumerate(region["pairs"]):
            if t == target:
                lines = table[p, temperature_bin(stored[r], region["low"][r], region["high"][r]) * PLACES + place]
                serves = (stored[r] > 0) & (place >= 0) & wanted[k] & (lines[:, 2] > 0)
                parts.append(np.where(serves, lines[:, 0] + lines[:, 1] * (stored[r] * 0.02 - 273.15), np.nan))
                errors.append(np.where(serves, np.maximum(lines[:, 2], 1e-9) ** -0.5, np.nan))
        mean, error = inverse_variance_mean(np.array(parts), np.array(errors))
        np.testing.assert_allclose(estimate[k], mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(sigma[k], error, rtol=1e-4)


def test_a_pixel_that_no_reference_saw_is_nan() -> None:
    region = small_region(5)
    region["stored"][1:, 7] = 0
    region["low"], region["high"] = day_ranges(region["stored"])
    region["place"][:] = 3
    region["place"][:, 9] = NO_PLACE
    table = np.stack([table_of_one_line(1.0, 0.0, 1.0)] * len(region["pairs"]))
    estimate, sigma = fuse(**region, targets=np.array([0]), table=table)
    seen = (region["stored"][region["pairs"][region["pairs"][:, 0] == 0, 1]] > 0).any(axis=0)
    seen[9] = False
    assert not seen[7]
    np.testing.assert_array_equal(np.isfinite(estimate[0]), seen)
    np.testing.assert_array_equal(np.isfinite(sigma[0]), seen)
    no_pairs = region | {"pairs": np.empty((0, 2), int)}
    assert np.isnan(fuse(**no_pairs, targets=np.array([0]), table=table[:0])[0]).all()
    missing = inverse_variance_mean(np.full((2, 1), np.nan, np.float32), np.ones((2, 1), np.float32))
    assert np.isnan(missing).all()


# ---- the whole ------------------------------------------------------------------------------------------------------


def scene(side: int, days: int, seed: int = 0) -> tuple[NDArray[np.float64], Stored, NDArray[Any], NDArray[Any]]:
    """Return truth [°C], stored temperatures, elevation and NDVI of T = f(elevation, NDVI, season) + noise of 1 K."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side

    def waves(length: float) -> NDArray[np.float64]:
        total = np.zeros((side, side))
        for turn, phase, scale in rng.uniform((0, 0, 0.5), (2 * np.pi, 2 * np.pi, 1.5), (12, 3)):
            total += np.cos(2 * np.pi * scale / length * (x * np.cos(turn) + y * np.sin(turn)) + phase)
        return total / 6**0.5

    elevation = 4500.0 + 450.0 * waves(0.5) + 150.0 * waves(0.08)
    ndvi = np.clip(0.3 + 0.1 * waves(0.4) + 0.05 * waves(0.05), 0.0, 0.6)
    truth, stored = np.empty((days, side * side)), np.empty((days, side * side), np.uint16)
    for t in range(days):
        lapse, green = 0.0055 + 0.001 * np.sin(t), 6.0 + 3.0 * np.cos(t)
        day = -5.0 + 6.0 * np.sin(2 * np.pi * t / 40) - lapse * (elevation - 4500.0) - green * (ndvi - 0.3)
        cloudy = waves(0.25) > 0.3
        counts = np.rint((day + rng.normal(0.0, 1.0, day.shape) + 273.15) / 0.02)
        truth[t], stored[t] = day.ravel(), np.where(cloudy, 0, counts).ravel()
    return truth, stored, elevation.ravel().astype(np.float32), ndvi.ravel().astype(np.float32)


@pytest.mark.parametrize("slope", SLOPES)
def test_binned_analogues_find_what_the_nearest_ones_find(slope: str) -> None:
    side, analogues, queries = (60, 250, 150) if SLOW else (200, 1000, 800)
    truth, stored, elevation, ndvi = scene(side, 7)
    region = {
        "stored": stored,
        "place": place_bins(elevation, ndvi[None], ELEVATIONS, NDVIS),
        "composite_of_day": np.zeros(7, int),
        "pairs": np.array([[3, r] for r in ((2, 4) if SLOW else (0, 1, 2, 4, 5, 6))]),
    }
    region["low"], region["high"] = day_ranges(stored)
    table = regressions(sums_of(region), slope, analogues)
    wanted = np.zeros(side * side, np.bool_)
    wanted[np.random.default_rng(1).choice(np.flatnonzero(stored[3] == 0), queries, replace=False)] = True
    binned, sigma = fuse(**region, targets=np.array([3]), table=table, wanted=wanted[None])
    exact, _ = inverse_variance_mean(
        *nearest_analogues(stored, elevation, ndvi, region["pairs"], ELEVATIONS, NDVIS, slope, analogues, wanted=wanted)
    )
    both = np.isfinite(binned[0]) & np.isfinite(exact)
    assert both.sum() > 0.95 * (wanted & (stored[region["pairs"][:, 1]] > 0).any(axis=0)).sum()
    difference = np.sqrt(np.mean((binned[0] - exact)[both] ** 2))
    assert difference <= (0.3 if slope == "major_axis" else 0.2)  # the axis turns with every few analogues
    error = (binned[0] - truth[3])[both]
    assert np.sqrt(np.mean(error**2)) <= 1.5
    assert abs(error.mean()) < 0.3
    assert np.isnan(binned[0][~wanted]).all()
    if slope == "ols":  # an observation has its noise of 1 K beside the estimate's error
        assert np.sqrt(np.mean(error**2) + 1.0) == pytest.approx(np.sqrt(np.mean(sigma[0][both] ** 2)), rel=0.2)


def test_a_warmer_day_is_estimated_warmer_by_as_much() -> None:
    _, stored, elevation, ndvi = scene(30, 3)
    region = {
        "stored": stored,
        "place": place_bins(elevation, ndvi[None], ELEVATIONS, NDVIS),
        "composite_of_day": np.zeros(3, int),
        "pairs": np.array([[1, 0]]) if SLOW else np.array([[1, 0], [1, 2]]),
    }
    estimates = []
    for warming in (0, 250):
        warmer = stored.copy()
        warmer[1] += np.where(warmer[1] > 0, np.uint16(warming), np.uint16(0))
        region |= {"stored": warmer}
        region["low"], region["high"] = day_ranges(warmer)
        table = regressions(sums_of(region), analogues=100)
        estimates.append(fuse(**region, targets=np.array([1]), table=table)[0])
    known = np.isfinite(estimates[0])
    assert known.mean() > 0.4
    np.testing.assert_array_equal(np.isfinite(estimates[1]), known)
    np.testing.assert_allclose((estimates[1] - estimates[0])[known], 5.0, atol=1e-3)


def test_the_exact_search_needs_enough_analogues_and_an_elevation() -> None:
    stored = np.full((2, 50), 14000, np.uint16)
    stored[0, :10] = 0
    elevation, ndvi = np.zeros(50, np.float32), np.full(50, np.nan, np.float32)
    elevation[3] = np.nan
    pairs = np.array([[0, 1]])
    estimate, sigma = nearest_analogues(stored, elevation, ndvi, pairs, (0.0, 1.0), (0.0, 1.0), fewest=40)
    np.testing.assert_allclose(np.delete(estimate[0], 3), 6.85, atol=1e-4)
    assert np.isnan(estimate[0, 3])
    np.testing.assert_allclose(np.delete(sigma[0], 3), 0.3)
    none, _ = nearest_analogues(stored, elevation, ndvi, pairs, (0.0, 1.0), (0.0, 1.0), fewest=41)
    assert np.isnan(none).all()


# ---- wrong inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stored": np.zeros((4, 60), np.int32)}, "stored is int32"),
        ({"stored": np.zeros(60, np.uint16)}, "wanted uint16"),
        ({"place": np.zeros((2, 59), np.int16)}, "composites, 60"),
        ({"place": np.full((2, 60), 768, np.int16)}, "places run from 768"),
        ({"composite_of_day": np.array([0, 1, 2, 0])}, "composite_of_day run"),
        ({"composite_of_day": np.array([0])}, "each of the 4 days"),
        ({"pairs": np.array([[0, 4]])}, "pairs run from 0 to 4"),
        ({"pairs": np.array([0, 1])}, "wanted \\(pairs, 2\\)"),
        ({"low": np.zeros(3, np.uint16)}, "low is uint16"),
        ({"high": np.zeros(4, np.int64)}, "high is int64"),
    ],
)
def test_wrong_blocks_are_named(changed: dict[str, Any], message: str) -> None:
    region = small_region(0) | changed
    with pytest.raises(ValueError, match=message):
        add_analogues(analogue_sums(len(region["pairs"])), **region)


def test_wrong_inputs_are_named() -> None:
    region = small_region(0)
    n = len(region["pairs"])
    with pytest.raises(ValueError, match="sums is int64"):
        add_analogues(analogue_sums(1), **region)
    with pytest.raises(ValueError, match="wanted int64"):
        regressions(np.zeros((1, 10, 6), np.int64))
    with pytest.raises(ValueError, match="one of ols, eof1, major_axis"):
        regressions(analogue_sums(1), "plane")
    with pytest.raises(ValueError, match="fewest from 3"):
        regressions(analogue_sums(1), analogues=50)
    with pytest.raises(ValueError, match="largest_half_width is 48"):
        regressions(analogue_sums(1), largest_half_width=48)
    table, targets = np.zeros((n, PLACES * BINS[0], 3), np.float32), np.array([0])
    with pytest.raises(ValueError, match="table is float32"):
        fuse(**region, targets=targets, table=table[:1])
    with pytest.raises(ValueError, match="targets run"):
        fuse(**region, targets=np.array([4]), table=table)
    with pytest.raises(ValueError, match="wanted is bool"):
        fuse(**region, targets=targets, table=table, wanted=np.ones((2, 60), np.bool_))
    with pytest.raises(ValueError, match="correlation is 2"):
        fuse(**region, targets=targets, table=table, correlation=2.0)
    with pytest.raises(ValueError, match="one shape"):
        inverse_variance_mean(np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32))


def test_wrong_surveys_are_named() -> None:
    stored, common = small_region(0)["stored"], np.zeros((1, 9), int)
    with pytest.raises(ValueError, match="first and stop"):
        common_counts(stored, 2, 5)
    with pytest.raises(ValueError, match="wanted uint16"):
        day_ranges(stored.astype(np.float32))
    with pytest.raises(ValueError, match="each of the 1 rows"):
        choose_references(common, 10, np.array([0, 1]))
    with pytest.raises(ValueError, match="common has shape"):
        choose_references(common[0], 10, np.array([0]))
    with pytest.raises(ValueError, match="pixels has shape"):
        choose_references(common, np.array([1, 2]), np.array([0]))
    with pytest.raises(ValueError, match="least_share is 2"):
        choose_references(common, 10, np.array([0]), least_share=2.0)
    with pytest.raises(ValueError, match="growing reaches"):
        choose_references(common, 10, np.array([0]), reach=15)
    flat = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="elevation and ndvi"):
        place_bins(flat, flat[:2], ELEVATIONS, NDVIS)
    with pytest.raises(ValueError, match="ndvi_range"):
        place_bins(flat, flat, ELEVATIONS, (1.0, 0.0))
    pairs = np.array([[0, 1]])
    with pytest.raises(ValueError, match="elevation has shape"):
        nearest_analogues(stored, flat, flat, pairs, ELEVATIONS, NDVIS)
    zeros = np.zeros(60, np.float32)
    with pytest.raises(ValueError, match="wanted is bool"):
        nearest_analogues(stored, zeros, zeros, pairs, ELEVATIONS, NDVIS, wanted=np.ones(3, np.bool_))
    with pytest.raises(ValueError, match="one dimension"):
        choose_references(common, 10, np.array([[0]]))
