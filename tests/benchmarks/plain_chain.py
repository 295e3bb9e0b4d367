"""The thermal chain as one would write it in xarray and NumPy: the peer of the compiled one, on the same cube.

Screening of quality bits and residual cloud, views by the orbit's repeat, annual cycle, clear-sky temperatures by
similar pixels of the days around, the day's departures kriged on cells, degree days. Less than ours: no sky classes,
no shade, no interpolation of views along rows, no standard errors.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage
from scipy.spatial import cKDTree

from frostmap.kernels import clear_sky
from frostmap.kernels.annual_cycle import harmonic_basis

from .test_clear_sky import _numpy_lines
from .test_quality import numpy_screen
from .test_thermal_kernels import numpy_mean

Numbers = npt.NDArray[Any]
PLACES = clear_sky.BINS[1] * clear_sky.BINS[2]
CELL, NEIGHBOURS = 5, 48
WINDOW = 7


class Clock:
    """Processor time of the parts of the chain [s], each scaled to the whole of it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, name: str, function: Callable[[], Any], times: float = 1.0) -> Any:
        began = time.process_time()
        result = function()
        self.spent[name] = self.spent.get(name, 0.0) + times * (time.process_time() - began)
        return result


def plain_chain(raw: xr.Dataset, elevation: Numbers, ndvi: Numbers, sample: list[int]) -> tuple[Clock, Numbers]:
    """Return what each part costs, and the filled temperatures [°C] of the sampled days (day, overpass, y, x).

    Gaps are filled on the sampled days only, and their cost counted for all; the rest is done whole.
    """
    clock, dims = Clock(), ["time"]
    everything = {"input_core_dims": [dims], "output_core_dims": [dims]}
    raw = raw.load()

    def kept() -> xr.DataArray:
        return xr.apply_ufunc(_kept, raw["lst"], raw["qc"])

    def screened(lst: xr.DataArray) -> xr.DataArray:
        def one(values: Numbers) -> Numbers:  # overpass, y, x, time
            return np.stack([_screened(np.moveaxis(each, -1, 0)) for each in values])

        return xr.apply_ufunc(one, lst.transpose("overpass", "y", "x", "time"), **everything)

    def views() -> xr.DataArray:
        return xr.apply_ufunc(_repeated, raw["view_time"].transpose("overpass", "y", "x", "time"), **everything)

    lst = clock("quality", kept)
    lst = clock("residual cloud", lambda: screened(lst))
    hours = clock("views", views)
    basis = harmonic_basis(np.arange(raw.sizes["time"], dtype=np.float64))
    few = lst[:, ::10, ::10]
    clock(
        "annual cycle",
        lambda: xr.apply_ufunc(
            lambda series: _cycle(series, basis),
            few,
            input_core_dims=[dims],
            output_core_dims=[["harmonic"]],
            vectorize=True,
        ),
        lst[0, ..., 0].size / few[0, ..., 0].size,
    )
    filled = lst.transpose("time", "overpass", "y", "x").values.copy()
    share = raw.sizes["time"] / len(sample)
    made = np.stack(
        [
            np.stack(
                [
                    clock("gaps", lambda d=day, o=overpass: _filled(filled[:, o], d, elevation, ndvi), share)
                    for overpass in range(4)
                ]
            )
            for day in sample
        ]
    )
    clock("degree days", lambda: _sums(filled, np.moveaxis(hours.values, -1, 0)))
    return clock, made


def _kept(lst: Numbers, qc: Numbers) -> Numbers:
    good = (lst >= 7500) & (qc & 2 == 0) & (qc >> 6 <= 1) & (qc >> 4 & 3 <= 2)
    return np.where(good, lst * np.float32(0.02) - np.float32(273.15), np.float32(np.nan))


def _screened(series: Numbers) -> Numbers:
    result = series.copy()
    step = 20  # rows at a time: sliding windows take 17 times the memory
    for row in range(0, series.shape[1], step):
        part = series[:, row : row + step]
        stored = np.where(np.isfinite(part), np.rint((part + 273.15) / 0.02), 0).astype(np.uint16)
        result[:, row : row + step][numpy_screen(stored)] = np.nan
    return np.moveaxis(result, 0, -1)


def _repeated(view_time: Numbers) -> Numbers:
    own = np.where(view_time <= 240, view_time.astype(np.float32), np.float32(np.nan))
    around = np.full((8, *own.shape), np.nan, np.float32)
    for k in range(1, 5):
        around[2 * k - 2, ..., 16 * k :] = own[..., : -16 * k]
        around[2 * k - 1, ..., : -16 * k] = own[..., 16 * k :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels that are never seen
        return np.where(np.isfinite(own), own, np.nanmedian(around, axis=0)) * np.float32(0.1)


def _cycle(series: Numbers, basis: Numbers) -> Numbers:
    valid = np.isfinite(series)
    if valid.sum() < 30:
        return np.full(basis.shape[1], np.nan)
    return np.linalg.lstsq(basis[valid], series[valid], rcond=None)[0]


def _filled(lst: Numbers, day: int, elevation: Numbers, ndvi: Numbers) -> Numbers:
    """Return a day of one overpass without gaps, from what similar pixels of the days around say."""
    target = lst[day].ravel().astype(np.float64)
    height = (elevation - elevation.min()) / max(float(np.ptp(elevation)), 1.0)
    place = (np.minimum(height * 32, 31).astype(int) * 24 + np.minimum((ndvi + 0.2) / 1.2 * 24, 23).astype(int)).ravel()
    weight, total = np.zeros(target.size), np.zeros(target.size)
    for other in range(max(day - WINDOW, 0), min(day + WINDOW + 1, len(lst))):
        r = lst[other].ravel().astype(np.float64)
        both, seen = np.isfinite(r) & np.isfinite(target), np.isfinite(r)
        if other == day or both.sum() < max(0.25 * np.isfinite(target).sum(), 100):
            continue
        low, high = np.nanmin(r), np.nanmax(r)
        k = np.minimum((np.nan_to_num(r, nan=low) - low) / max(high - low, 1e-3) * 48, 47).astype(int) * PLACES + place
        x, s = (target + 273.15) / 0.02 - clear_sky.ORIGIN, (r + 273.15) / 0.02 - clear_sky.ORIGIN
        columns = [np.ones_like(x), x, s, x * x, s * s, x * s]
        n_bins = clear_sky.BINS[0] * PLACES
        a, slope, w = _numpy_lines(np.stack([np.bincount(k[both], c[both], n_bins) for c in columns], axis=-1))
        w = np.where(seen, w[k], 0.0)
        weight += w
        total += w * np.nan_to_num(a[k] + slope[k] * r)
    with np.errstate(invalid="ignore"):
        estimate = (total / np.where(weight > 0, weight, np.nan)).reshape(elevation.shape)
    estimate += _departure(lst[day] - estimate)
    return np.where(np.isfinite(lst[day]), lst[day], estimate)


def _departure(residual: Numbers) -> Numbers:
    """Return the day's departures, kriged from cells of 5 x 5 pixels."""
    rows, cols = residual.shape[0] // CELL, residual.shape[1] // CELL
    boxes = residual[: rows * CELL, : cols * CELL].reshape(rows, CELL, cols, CELL)
    count = np.isfinite(boxes).sum(axis=(1, 3))
    known = np.argwhere(count > 0)
    if len(known) < NEIGHBOURS:
        return np.zeros(residual.shape)
    mean = np.nansum(boxes, axis=(1, 3))[tuple(known.T)] / count[tuple(known.T)]
    targets = np.argwhere(count >= 0)
    _, nearest = cKDTree(known).query(targets, k=NEIGHBOURS)
    at = known[nearest].astype(np.float64)
    apart = np.linalg.norm(at[:, :, None] - at[:, None], axis=-1)
    matrix = np.exp(-apart / 8.0) + (0.1 + 1.0 / count[tuple(known[nearest].transpose(2, 0, 1))])[..., None] * np.eye(
        NEIGHBOURS
    )
    right = np.exp(-np.linalg.norm(at - targets[:, None], axis=-1) / 8.0)
    weights = np.linalg.solve(matrix, right[..., None])[..., 0]
    field = (weights * mean[nearest]).sum(axis=1).reshape(rows, cols)
    y, x = ((np.arange(n) + 0.5) / CELL - 0.5 for n in residual.shape)
    return ndimage.map_coordinates(field, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")


def _sums(lst: Numbers, hours: Numbers) -> tuple[Numbers, ...]:
    freezing, thawing = np.zeros(lst.shape[2:]), np.zeros(lst.shape[2:])
    by_interval = []
    for start in range(0, len(lst), 16):
        daily = numpy_mean(lst[start : start + 16], hours[start : start + 16])
        freezing -= np.nansum(np.minimum(daily, 0), axis=0)
        by_interval.append(np.nansum(np.maximum(daily, 0), axis=0))
        thawing += by_interval[-1]
    return freezing, thawing, np.stack(by_interval)
