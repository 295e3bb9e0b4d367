"""Telling sunlit from shaded cloud costs little beside the same in vectorised NumPy, on the same scene."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import ndimage

from frostmap.kernels import sky_classes, view_geometry


def winter_morning(rows: int, columns: int) -> dict[str, Any]:
    """Return a scene in January under two thirds of cloud, up to 12 km high, with a seam between two swaths."""
    rng = np.random.default_rng(0)

    def smooth(radius: float) -> NDArray[np.float64]:
        field = ndimage.gaussian_filter(rng.normal(0.0, 1.0, (rows, columns)), radius)
        return np.asarray(field / field.std())

    cloudy = smooth(12.0) > -0.4
    angle = 65.0 + 0.07 * (np.arange(columns) - 0.5 * columns + 0.4 * np.arange(rows)[:, None])
    angle = np.where(angle > 105.0, angle - 90.0, angle)
    state = np.where(cloudy, 4, 0).astype(np.uint8)[None]
    return {
        "state": state,
        "view_time": np.full_like(state, 108),
        "view_angle": angle.clip(0, 130).astype(np.uint8)[None],
        "cloud_top": np.where(cloudy, 7500.0 + 1500.0 * smooth(30.0).clip(-3, 3), np.nan).astype(np.float32)[None],
        "elevation": (4500.0 + 300.0 * smooth(5.0)).astype(np.float32),
        "latitude": np.linspace(40.0, 29.0, rows),
        "longitude": np.broadcast_to(np.linspace(82.0, 98.0, columns), (rows, columns)).copy(),
        "day_of_year": np.array([15]),
        "ascending": False,
    }


def with_numpy(s: dict[str, Any]) -> NDArray[np.uint8]:
    """Return the classes by whole arrays; only cloudy pixels are given sun and shadow, as in the kernel."""
    cloud = s["state"][0] == 4
    y, x = np.nonzero(cloud)
    latitude, longitude = s["latitude"][y], s["longitude"][cloud]
    zenith, azimuth = view_geometry.solar_position(latitude, longitude, s["view_time"][0][cloud] * 0.1, 15)
    angle = s["view_angle"][0][cloud] - 65.0
    side = view_geometry.sensor_azimuth(latitude, angle, s["ascending"])
    above = s["cloud_top"][0][cloud].astype(np.float64) - s["elevation"][cloud]
    moved = view_geometry.shadow_displacement(above, np.radians(np.abs(angle)), side, zenith, azimuth)
    dx, dy = view_geometry.to_sinusoidal(*moved, latitude, longitude)
    rows, columns = (np.rint(step / view_geometry.PIXEL_SIZE).astype(int) for step in (-dy, dx))
    candidate = (above > 0) & (zenith < np.radians(sky_classes.LOWEST_SUN))
    cast = candidate & (np.abs(rows) <= 62) & (np.abs(columns) <= 94)
    row, column = y[cast] + rows[cast], x[cast] + columns[cast]
    inside = (row >= 0) & (row < cloud.shape[0]) & (column >= 0) & (column < cloud.shape[1])
    shadow, lit = np.zeros_like(cloud), np.zeros_like(cloud)
    shadow[row[inside], column[inside]] = True
    lit[cloud] = candidate
    jump = np.abs(np.diff(s["view_angle"][0].astype(int), axis=1)) > view_geometry.SWATH_JUMP
    seam = np.pad(jump, ((0, 0), (0, 1))) | np.pad(jump, ((0, 0), (1, 0)))
    lit &= ~shadow & ~ndimage.maximum_filter1d(seam, 2 * 10 - 1, axis=1)
    balance = np.where(lit, 1, np.where(cloud, -1, 0)).astype(np.float32)
    lit &= ndimage.uniform_filter(balance, 5, mode="constant") * 25 > 0.5
    return np.where(cloud, np.where(lit, 1, 2), np.where(shadow, 3, 0)).astype(np.uint8)


def least(function: Callable[[], Any], rounds: int) -> float:
    """Return the least processor time of some calls [s]."""
    best = np.inf
    for _ in range(rounds):
        start = time.thread_time()
        function()
        best = min(best, time.thread_time() - start)
    return best


@pytest.mark.benchmark(group="sky")
def test_sky_classes(benchmark: BenchmarkFixture) -> None:
    rows, columns = (1200 + 2 * 64, 1200 + 2 * 96) if benchmark.enabled else (60, 80)
    given = winter_morning(rows, columns)
    sky_classes.sky_classes(**given)  # compiles
    classes, _ = benchmark.pedantic(lambda: sky_classes.sky_classes(**given), rounds=5, iterations=1)
    expected = with_numpy(given)
    assert (classes[0] == expected).mean() > 0.999
    assert len(np.unique(expected)) > 2
    if benchmark.enabled:
        ours, peer = (
            least(f, 5) / (rows * columns) * 1e9
            for f in (lambda: sky_classes.sky_classes(**given), lambda: with_numpy(given))
        )
        benchmark.extra_info.update(
            ns_per_pixel_day=ours, peer="NumPy on cloudy pixels", peer_ns_per_pixel_day=peer, ratio=peer / ours
        )
        assert peer / ours > 4.0
