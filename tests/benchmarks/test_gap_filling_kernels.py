"""Kriging, shading and harmonic series cost a small part of what their NumPy and SciPy peers do, on the same data."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import ndimage
from scipy.spatial import cKDTree

from frostmap.kernels import cloudy_sky, harmonic_series, residual_field
from frostmap.kernels.annual_cycle import harmonic_basis


def compare(
    benchmark: BenchmarkFixture, ours: Callable[[], Any], peer: Callable[[], Any], sizes: tuple[float, float], name: str
) -> tuple[Any, Any]:
    """Time both in turns, each per pixel-day of its own data, and leave the best times and their ratio."""

    def seconds(function: Callable[[], Any], rounds: int) -> float:
        best = np.inf
        for _ in range(rounds):
            start = time.thread_time()
            function()
            best = min(best, time.thread_time() - start)
        return best

    ours()  # compiles
    expected = peer()
    result = benchmark.pedantic(ours, rounds=3, iterations=1)
    if benchmark.enabled:
        mine, theirs = np.inf, np.inf
        for _ in range(3):
            mine, theirs = min(mine, seconds(ours, 3)), min(theirs, seconds(peer, 1))
        mine, theirs = mine * 1e9 / sizes[0], theirs * 1e9 / sizes[1]
        benchmark.extra_info.update(ns_per_pixel_day=mine, peer=name, peer_ns_per_pixel_day=theirs, ratio=theirs / mine)
    return result, expected


def scene(side: int) -> NDArray[np.float32]:
    """Return residuals of a scene of which clouds hide half."""
    rng = np.random.default_rng(0)
    residual = sum(
        weight * width * ndimage.gaussian_filter(rng.normal(size=(side, side)), width)
        for weight, width in [(1.0, 2.0), (3.0, 10.0), (5.0, 60.0)]
    )
    cloud = ndimage.gaussian_filter(rng.normal(size=(side, side)), 12.0)
    return np.where(cloud > np.median(cloud), residual, np.nan).astype(np.float32)


def cells_of(residual: NDArray[np.float32], cell: int) -> NDArray[np.int64]:
    side = residual.shape[0] // cell
    cells = np.zeros((3, side, side), np.int64)
    residual_field.add_residuals(*cells, residual, 0, 0, cell)
    return cells


@pytest.mark.benchmark(group="gap filling")
def test_residual_field(benchmark: BenchmarkFixture) -> None:
    side, few = (1200, 200) if benchmark.enabled else (160, 40)
    sums, counts, squares = cells_of(scene(side), 10)
    model = residual_field.residual_covariance(sums, counts)
    known = np.argwhere(counts > 0)
    targets = np.random.default_rng(1).permutation(np.argwhere(counts >= 0))[:few]

    def covariance(step: NDArray[np.float64]) -> NDArray[np.float64]:
        c, s = np.cos(model.direction), np.sin(model.direction)
        along, across = step[..., 1] * c + step[..., 0] * s, step[..., 0] * c - step[..., 1] * s
        h = np.sqrt(along**2 / model.stretch + across**2 * model.stretch)
        short = (1.0 + h / model.short_range) * np.exp(-h / model.short_range)
        return model.mean_variance + model.short_sill * short + model.long_sill * np.exp(-h / model.long_range)

    def one_system_a_cell() -> NDArray[np.float64]:
        _, nearest = cKDTree(known).query(targets, k=64)
        place = known[nearest].astype(np.float64)
        n = counts[tuple(np.moveaxis(known[nearest], -1, 0))]
        matrix = covariance(place[:, :, None] - place[:, None])
        matrix[:, range(64), range(64)] += model.nugget + model.sampling / n
        right = covariance(place - targets[:, None])
        weights = np.linalg.solve(matrix, right[..., None])[..., 0]
        return (weights * (sums / np.maximum(counts, 1) / 100.0)[tuple(np.moveaxis(known[nearest], -1, 0))]).sum(axis=1)

    (field, _), expected = compare(
        benchmark,
        lambda: residual_field.residual_field(sums, counts, squares),
        one_system_a_cell,
        (side * side, few * 100),
        "scipy cKDTree and np.linalg.solve, a system a cell, covariance given",
    )
    error = field[tuple(targets.T)] - expected
    assert np.sqrt(np.mean(error**2)) < 0.15 * expected.std()  # neighbours differ a little
    if benchmark.enabled:
        assert benchmark.extra_info["ns_per_pixel_day"] * side * side < 0.15e9  # 0.05 s on a quiet machine


@pytest.mark.benchmark(group="gap filling")
def test_interpolate_field(benchmark: BenchmarkFixture) -> None:
    side = 1200 if benchmark.enabled else 60
    field = np.random.default_rng(0).normal(size=(side // 10, side // 10)).astype(np.float32)
    place = (np.arange(side) + 0.5) / 10 - 0.5

    def map_coordinates() -> NDArray[np.float32]:
        return ndimage.map_coordinates(field, np.meshgrid(place, place, indexing="ij"), order=1, mode="nearest")

    pixels, expected = compare(
        benchmark,
        lambda: residual_field.interpolate_field(field, 0, 0, side, side, 10),
        map_coordinates,
        (side * side, side * side),
        "scipy.ndimage.map_coordinates",
    )
    np.testing.assert_allclose(pixels, expected, atol=1e-4)


@pytest.mark.benchmark(group="gap filling")
def test_add_residuals(benchmark: BenchmarkFixture) -> None:
    side = 1200 if benchmark.enabled else 60
    residual = scene(side)

    def reshaped() -> NDArray[np.int64]:
        valid = np.isfinite(residual)
        hundredths = np.where(valid, np.rint(np.nan_to_num(residual) * np.float32(100.0)), 0).astype(np.int64)
        blocks = [a.reshape(side // 10, 10, side // 10, 10) for a in (hundredths, valid, hundredths**2)]
        return np.stack([block.sum(axis=(1, 3)) for block in blocks])

    cells, expected = compare(
        benchmark, lambda: cells_of(residual, 10), reshaped, (side * side, side * side), "NumPy, reshaped and summed"
    )
    np.testing.assert_array_equal(cells, expected)


@pytest.mark.benchmark(group="gap filling")
def test_shading(benchmark: BenchmarkFixture) -> None:
    n = 200_000 if benchmark.enabled else 1000
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 8)).astype(np.float32)
    difference = -5.0 + 2.0 * features[:, 0] - 3.0 * np.maximum(features[:, 1], 0.0) + rng.normal(size=n)
    model = cloudy_sky.fit_shading(features[:1000], difference[:1000])

    def columns() -> NDArray[np.float64]:
        z = np.clip((features - model.means) / model.scales, model.lower, model.upper)
        parts = [z, np.maximum(z - model.knots[:, 0], 0.0), np.maximum(z - model.knots[:, 1], 0.0)]
        total = sum(part @ slope for part, slope in zip(parts, model.coefficients.T, strict=True))
        return np.clip(model.mean + total - model.averages.sum(), cloudy_sky.COLDEST, cloudy_sky.WARMEST)

    result, expected = compare(
        benchmark, lambda: cloudy_sky.shading(model, features), columns, (n, n), "NumPy, the same columns"
    )
    np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.benchmark(group="gap filling")
def test_fit_harmonic_series(benchmark: BenchmarkFixture) -> None:
    days, side, few = (366, 60, 40) if benchmark.enabled else (366, 4, 4)
    rng = np.random.default_rng(0)
    basis = harmonic_basis(np.arange(days), 3)
    cycle = basis @ [-2.0, -14.0, -4.0, 1.5, 0.5, 0.0, 0.5]
    temperature = (cycle[:, None, None] + rng.normal(0.0, 3.0, (days, side, side))).astype(np.float32)
    temperature[rng.random(temperature.shape) < 0.1] -= np.float32(20.0)
    temperature[rng.random(temperature.shape) < 0.5] = np.nan
    ridge = 0.5 * np.diag([0.0, *[1.0] * 6])

    def one_pixel_at_a_time() -> NDArray[np.float64]:
        fits = np.empty((few, 7))
        for i in range(few):
            series = temperature[:, i // side, i % side]
            design, observed = basis[np.isfinite(series)], series[np.isfinite(series)].astype(np.float64)
            while True:
                fits[i] = np.linalg.solve(design.T @ design + ridge, design.T @ observed)
                below = design @ fits[i] - observed
                if below.max() <= 5.0:
                    break
                kept = below <= max(5.0, 0.5 * below.max())
                design, observed = design[kept], observed[kept]
        return fits

    (coefficients, _, _), expected = compare(
        benchmark,
        lambda: harmonic_series.fit_harmonic_series(temperature, basis),
        one_pixel_at_a_time,
        (temperature.size, few * days),
        "np.linalg.solve, the same steps pixel by pixel",
    )
    np.testing.assert_allclose(coefficients.reshape(7, -1)[:, :few].T, expected, atol=0.01)
