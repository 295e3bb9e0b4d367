"""Gap filling by similar pixels (SCSG): what a whole region's days have in common, then each block's own pixels.

A task fills some days of one overpass over the whole region, and goes over its blocks four times, so that it holds
sums of the region but never the region: (1) which pixels are clear, which days share enough of them; (2) sums over
similar pixels of each pair of days, from which regressions follow; (3) what clear pixels depart from the regressions,
and what shaded ones do; (4) the result, which is written as it is made. The sums are integers: no cutting changes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.catalogs.grids import to_geographic
from frostmap.kernels.annual_cycle import annual_cycle, harmonic_basis
from frostmap.kernels.clear_sky import (
    BINS,
    SUMS,
    add_analogues,
    analogue_sums,
    choose_references,
    common_counts,
    day_ranges,
    fuse,
    place_bins,
    regressions,
)
from frostmap.kernels.cloudy_sky import ShadingModel, fit_shading, shading
from frostmap.kernels.quality import GEOMETRY_INTERPOLATED, RESIDUAL_CLOUD
from frostmap.kernels.residual_field import add_residuals, interpolate_field, residual_field
from frostmap.kernels.sky_classes import (
    CLEAR,
    CLEAR_AMID_CLOUDS,
    NIGHT_CLOUD,
    NOT_SEEN,
    SHADED_CLOUD,
    SHADOW,
    SHADOW_AMID_CLOUDS,
    SUNLIT_CLOUD,
)
from frostmap.kernels.view_geometry import solar_position
from frostmap.pipeline.blocks import Part, Pieces
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.recipe import GapFilling
from frostmap.pipeline.schema import FILL_FLAG, FILLED_LST, SIGMA, SKY, SKY_KINDS

Array = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]

KELVIN = 273.15
FEWEST = 30
"""Similar pixels that say something at all; else a tenth of those that are wanted."""
WIDER_REACHES = (15, 31)
"""Days to look around for reference days, where the usual reach has none [d]."""
FROM_CYCLE, VIEW_INTERPOLATED, NO_SHADING_MODEL, RESIDUAL = 8, 16, 32, 64
"""Bits of the flag beside the sky class."""
MISSING = 255
COUNTED = (
    *SKY_KINDS,
    "from_cycle",
    "view_interpolated",
    "no_shading_model",
    "residual_cloud",
    "missing",
)
"""What is counted of the flags: the sky classes in order, the bits, and what could not be filled."""
STATE_BITS = 15
"""Of the state: why, or the class of the error."""
POOL = 1000
"""Shaded observations that a model of the shading needs."""
POOL_REACHES = (0, 1, 3)
"""Days around from which they may come."""
LARGEST_POOL = 20_000
"""More of a day are thinned out, evenly over the region."""
SUMS_AT_ONCE = 144
"""Pairs of days whose sums are held at a time: 255 MB."""
IN_SHADOW = (SHADOW, SHADOW_AMID_CLOUDS)
OBSERVED_CLEAR = (CLEAR, CLEAR_AMID_CLOUDS)
"""Kept as observed. What is amid clouds says nothing of other pixels."""
AMID_CLOUDS = (CLEAR_AMID_CLOUDS, SHADOW_AMID_CLOUDS)
ESTIMATED = (SUNLIT_CLOUD, SHADED_CLOUD, NIGHT_CLOUD, NOT_SEEN, SHADOW, *AMID_CLOUDS)
"""What is not plainly clear: filled, or compared with what would have been filled."""
SUNLIT_DOUBT = 0.1
"""How often ground below a cloud is taken for sunlit and is not: shadows are placed to whole pixels, from one height a
cloud. In the simulated year such ground is as much too warm as if a tenth of it were in the shade."""
NDVI_RANGE = (-0.2, 1.0)
TERRAIN_FEATURES = ("elevation", "eastness", "northness")
SHADOW_BIAS = (1.01, 4.56)
"""MODIS = 1.01 in situ - 4.56 °C in the shadow of clouds, as published with SCSG."""
SMALLEST_SIGMA = 0.3
"""Floor of the standard error [K]. What shade takes from a cloudy pixel counts in it whole: the shade below a cloud was
never seen, only that beside it."""
NEIGHBOURS = 48
"""Cells from which a departure is interpolated."""
HELD = 64 * 2**20
"""Most that a task holds of its days' observations [bytes]: those of larger regions are read again and again."""
BYTES_OF_DAY = 5
"""Of what is read of a pixel and day: temperature (2), state, time of view, and sky class."""
CELL_KM = 5.0
"""Width of the cells in which departures are summed [km]; at least four pixels, so that their noise averages out."""


@dataclass(frozen=True)
class Days:
    """Variables of consecutive days that may lie in the groups of several years."""

    cubes: tuple[tuple[int, xr.Dataset], ...]
    """First day of each group, counted from the first of the year that is filled, and the group; in order."""

    @property
    def span(self) -> tuple[int, int]:
        """First day, and the one after the last."""
        first, (last, cube) = self.cubes[0][0], self.cubes[-1]
        return first, last + cube.sizes["time"]

    def of(self, overpass: int, days: range) -> Days:
        """Return some days of one overpass, as far as there are such."""
        parts = []
        for first, cube in self.cubes:
            start, stop = max(days.start, first), min(days.stop, first + cube.sizes["time"])
            if start < stop:
                parts.append((start, cube.isel(time=slice(start - first, stop - first), overpass=overpass)))
        return Days(tuple(parts))

    def loaded(self) -> Days:
        """Return the same in memory."""
        return Days(tuple((first, cube.load()) for first, cube in self.cubes))

    def read(self, name: str, days: range, rows: slice, cols: slice) -> npt.NDArray[np.generic]:
        """Return (days, pixels) of days of one overpass; all of them must lie in the span."""
        parts = []
        for first, cube in self.cubes:
            start, stop = max(days.start, first), min(days.stop, first + cube.sizes["time"])
            if start < stop:
                parts.append(cube[name].isel(time=slice(start - first, stop - first), y=rows, x=cols).values)
        return np.concatenate(parts).reshape(len(days), -1)


@dataclass(frozen=True)
class Region:
    """What gap filling reads of a region: of all overpasses, or of the one that a task fills."""

    year: int
    observations: Days
    """lst, state, view_time."""
    sky: Days
    cycle: xr.Dataset
    """annual_cycle, spread."""
    terrain: xr.Dataset | None
    """elevation, eastness, northness; None where the recipe has no elevation: then temperature alone is compared."""
    ndvi: xr.Dataset | None
    """Composites of the year."""
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    """(x,) and (y,): sinusoidal coordinates of the pixels [m]."""
    inside: Mask
    """(y, x): pixels that are compared and filled."""
    block: int
    """Pixels along a block's side: whole stored chunks."""
    cell: int
    """Pixels along the side of a cell of departures."""
    corner: tuple[int, int] = (0, 0)
    """Row and column of the first pixel, counted from the origin of the projection: cells keep their places on the
    Earth however the region is cut."""

    def of(self, overpass: int, days: range) -> Region:
        """Return what serves to fill some days of one overpass; in memory if the region is small enough."""
        span = range(days.start - WIDER_REACHES[-1], days.stop + WIDER_REACHES[-1])
        observations, sky = self.observations.of(overpass, span), self.sky.of(overpass, span)
        if self.inside.size * len(span) * BYTES_OF_DAY <= HELD:
            observations, sky = observations.loaded(), sky.loaded()
        return replace(self, observations=observations, sky=sky, cycle=self.cycle.isel(overpass=overpass))

    @property
    def blocks(self) -> Iterator[Window]:
        """The blocks that have a pixel inside."""
        height, width = self.inside.shape
        for top in range(0, height, self.block):
            for left in range(0, width, self.block):
                window = slice(top, min(top + self.block, height)), slice(left, min(left + self.block, width))
                if self.inside[window].any():
                    yield Window(*window, self.inside[window].ravel())

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of cells: one more on each side, between whose centres a pixel at the edge lies."""
        (top, left), (height, width) = self._offset, self.inside.shape
        return -(-(top + height) // self.cell) + 1, -(-(left + width) // self.cell) + 1

    @property
    def _offset(self) -> tuple[int, int]:
        return self.corner[0] % self.cell + self.cell, self.corner[1] % self.cell + self.cell

    def among_cells(self, window: Window) -> tuple[int, int, int]:
        """Return where a block begins, counted in pixels from the corner of the first cell, and the cells' side."""
        top, left = self._offset
        return window.rows.start + top, window.cols.start + left, self.cell


@dataclass(frozen=True)
class Window:
    """A block: where it is, and which of its pixels are inside."""

    rows: slice
    cols: slice
    inside: Mask
    """(pixels,)"""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start


def cell_pixels(pixel_km: float) -> int:
    """Return the side of a cell: about 5 km but at least four pixels.

    >>> cell_pixels(0.927), cell_pixels(13.9)
    (5, 4)
    """
    return max(4, round(CELL_KM / pixel_km))


def count_flags(flag: npt.NDArray[np.generic], inside: Mask, year: int, days: range) -> npt.NDArray[np.int64]:
    """Return how often each thing of `COUNTED` is flagged, (months, things), of a block's (days, pixels)."""
    counts = np.zeros((12, len(COUNTED)), np.int64)
    for place, day in enumerate(days):
        flags = flag[place, inside].astype(np.uint8)
        known = flags[flags != MISSING]
        sky = np.bincount(known & 7, minlength=len(SKY_KINDS))
        bits = [int(((known & bit) > 0).sum()) for bit in (FROM_CYCLE, VIEW_INTERPOLATED, NO_SHADING_MODEL, RESIDUAL)]
        month = (date(year, 1, 1) + timedelta(day)).month - 1
        counts[month] += [*sky.tolist(), *bits, int(flags.size - known.size)]
    return counts


def fill(region: Region, overpass: int, days: range, settings: GapFilling, cycle_days: Sequence[float]) -> Pieces:
    """Yield the filled temperature, its standard error and its flag, block by block; return what was done, by month.

    Parameters
    ----------
    region
        What is read.
    overpass
        Place on the overpass axis.
    days
        Days of the year to fill, from 0; whole stored chunks.
    settings
        How.
    cycle_days
        Days since 2000 of `days`, for the annual cycle.
    """
    region = region.of(overpass, days)
    survey = _survey(region, days, settings)
    tables = _relate(region, survey, settings)
    learnt = _learn(region, survey, tables, settings, cycle_days)
    counts = np.zeros((12, len(COUNTED)), np.int64)
    for number, window in enumerate(region.blocks):
        block = _fill_block(region, number, window, survey, tables, learnt, settings, cycle_days)
        counts += count_flags(block[FILL_FLAG.name], window.inside, region.year, days)
        for variable in (FILLED_LST, SIGMA, FILL_FLAG):
            place = (slice(days.start, days.stop), slice(overpass, overpass + 1), window.rows, window.cols)
            values = block[variable.name].reshape(len(days), 1, *window.shape)
            yield Part(variable.name, variable.name, place), values
    return [[overpass, month, *counts[month].tolist()] for month in range(12) if counts[month].any()]


# ---- 1: what is clear ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Survey:
    """What is known of a task's days before anything is estimated."""

    days: range
    """Days to fill."""
    span: range
    """Days that are read."""
    targets: list[int]
    """Days that are estimated: those to fill, and those beside them whose shaded pixels serve as a pool."""
    low: Counts
    high: Counts
    """Range of clear counts of each day of the span."""
    pairs: npt.NDArray[np.int64]
    """(n, 2): places in the span of a target and of a day that it is compared with, in the order of the targets."""
    shaded: npt.NDArray[np.int64]
    """Observations in shadow of each day of the span."""
    composite: npt.NDArray[np.int64]
    """Composite of NDVI of each day of the span, counted from the first one that is used."""
    places: list[npt.NDArray[np.int16]]
    """Bins of elevation and NDVI of each block's pixels, (composites, pixels)."""

    def pairs_of(self, targets: Sequence[int]) -> slice:
        """Return which pairs compare some consecutive targets."""
        first, last = (self.span.index(day) for day in (targets[0], targets[-1]))
        return slice(*np.searchsorted(self.pairs[:, 0], [first, last + 1]))


def _observed(region: Region, window: Window, days: range) -> tuple[Counts, npt.NDArray[np.uint8]]:
    """Return stored counts and sky classes of a block, nothing outside."""
    stored = region.observations.read("lst", days, window.rows, window.cols).astype(np.uint16)
    sky = region.sky.read("sky", days, window.rows, window.cols).astype(np.uint8)
    stored[:, ~window.inside] = 0
    sky[:, ~window.inside] = SKY.fill_value
    return stored, sky


def _clear(stored: Counts, sky: npt.NDArray[np.uint8]) -> Counts:
    return np.where(sky == CLEAR, stored, np.uint16(0))


def _survey(region: Region, days: range, settings: GapFilling) -> _Survey:
    first, stop = region.observations.span
    widest, pool = WIDER_REACHES[-1], POOL_REACHES[-1] if settings.shading else 0
    span = range(max(days.start - widest, first), min(days.stop + widest, stop))
    candidates = range(max(days.start - pool, first), min(days.stop + pool, stop))
    rows = span.index(candidates.start), span.index(candidates.start) + len(candidates)
    low, high = np.full(len(span), 65535, np.uint16), np.zeros(len(span), np.uint16)
    common = np.zeros((len(candidates), len(span)), np.int64)
    shaded = np.zeros(len(span), np.int64)
    elevations = (math.inf, -math.inf)
    for window in region.blocks:
        stored, sky = _observed(region, window, span)
        shaded += (sky == SHADOW).sum(axis=1)
        stored = _clear(stored, sky)
        lowest, highest = day_ranges(stored)
        low, high = np.minimum(low, lowest), np.maximum(high, highest)
        common += common_counts(stored, *rows)
        if region.terrain is not None:
            elevation = region.terrain["elevation"].isel(y=window.rows, x=window.cols).values.ravel()[window.inside]
            if np.isfinite(elevation).any():
                elevations = min(elevations[0], np.nanmin(elevation)), max(elevations[1], np.nanmax(elevation))
    wanting = [day for day in days if shaded[span.index(day)] < POOL]
    targets = [
        day
        for day in candidates
        if day in days or (shaded[span.index(day)] and any(abs(day - other) <= pool for other in wanting))
    ]
    chosen = np.array([span.index(day) for day in targets])
    shared = common[[candidates.index(day) for day in targets]]
    pairs = choose_references(
        shared,
        shared[np.arange(len(targets)), chosen],  # a quarter of what is clear on the day itself
        chosen,
        reach=settings.reference_days,
        wider=tuple(reach for reach in WIDER_REACHES if reach > settings.reference_days),
    )
    used = _composites(span)
    composite = np.array([_composite(day) - used.start for day in span])
    places = [_places(region, window, used, elevations) for window in region.blocks]
    return _Survey(days, span, targets, low, high, pairs, shaded, composite, places)


def _places(
    region: Region, window: Window, composites: range, elevations: tuple[float, float]
) -> npt.NDArray[np.int16]:
    where = {"y": window.rows, "x": window.cols}
    pixels = window.inside.size
    elevation = np.zeros(pixels, np.float32)
    if region.terrain is not None:
        elevation = region.terrain["elevation"].isel(where).values.reshape(pixels)
    ndvi = np.full((len(composites), pixels), np.nan, np.float32)
    if region.ndvi is not None:
        ndvi = _ndvi(region.ndvi, window, composites)
    ends = elevations if elevations[0] <= elevations[1] else (0.0, 0.0)
    return place_bins(elevation, ndvi, ends, NDVI_RANGE)


# ---- 2: how days follow each other --------------------------------------------------------------------------------


def _relate(region: Region, survey: _Survey, settings: GapFilling) -> Array:
    """Return the regressions of each pair of days in each bin."""
    tables = np.zeros((len(survey.pairs), math.prod(BINS), 3), np.float32)
    all_sums = analogue_sums(min(len(survey.pairs), SUMS_AT_ONCE))
    for start in range(0, len(survey.pairs), SUMS_AT_ONCE):
        some = slice(start, start + SUMS_AT_ONCE)
        pairs = survey.pairs[some]
        rows = slice(int(pairs.min()), int(pairs.max()) + 1)
        sums = all_sums[: len(pairs)]
        sums[...] = 0
        for window, place in zip(region.blocks, survey.places, strict=True):
            stored = _clear(*_observed(region, window, survey.span[rows]))
            add_analogues(
                sums,
                stored,
                place,
                survey.composite[rows],
                pairs - rows.start,
                survey.low[rows],
                survey.high[rows],
            )
        regressions(
            sums,
            slope=settings.slope,
            analogues=settings.analogues,
            fewest=max(FEWEST, settings.analogues // 10),
            out=tables[some],
        )
    return tables


@dataclass(frozen=True)
class _Estimates:
    """A block's clear-sky temperatures of some days."""

    stored: Counts
    sky: npt.NDArray[np.uint8]
    """(targets, pixels) as observed."""
    value: Array
    sigma: Array
    """(targets, pixels) [°C, K]; NaN where no other day serves."""


def _estimate(
    region: Region,
    number: int,
    window: Window,
    survey: _Survey,
    tables: Array,
    targets: Sequence[int],
    classes: tuple[int, ...],
) -> _Estimates:
    """Return estimates of a block's pixels of some sky classes."""
    some = survey.pairs_of(targets)
    pairs = survey.pairs[some]
    own = [survey.span.index(day) for day in targets]
    used = [*own, *(pairs.ravel().tolist())]
    rows = slice(min(used), max(used) + 1)
    stored, sky = _observed(region, window, survey.span[rows])
    place = np.array(own) - rows.start
    wanted = np.isin(sky[place], classes)
    value, sigma = fuse(
        _clear(stored, sky),
        survey.places[number],
        survey.composite[rows],
        pairs - rows.start,
        place,
        survey.low[rows],
        survey.high[rows],
        tables[some],
        wanted,
    )
    return _Estimates(stored[place], sky[place], value, sigma)


# ---- 3: what the day departs by -----------------------------------------------------------------------------------


class _Departures:
    """What a task's days have of their own: departures of clear pixels from what was expected, summed over cells.

    A day's field is made of its sums when a block first asks for it, and takes their place: nothing can be added then.
    """

    def __init__(self, n_days: int, cells: tuple[int, int]) -> None:
        self._sums: list[npt.NDArray[np.int64] | None] = [np.zeros((3, *cells), np.int64) for _ in range(n_days)]
        self._fields: dict[int, tuple[Array, Array]] = {}

    def add(self, day: int, residual: Array, region: Region, window: Window) -> None:
        """Add a block's departures of a day [K], NaN where there is none."""
        sums = self._sums[day]
        if sums is None:
            raise ValueError(f"day {day} has its field already")
        values = np.ascontiguousarray(residual.reshape(window.shape))
        add_residuals(sums[0], sums[1], sums[2], values, *region.among_cells(window))

    def of_pixels(self, day: int, region: Region, window: Window) -> tuple[Array, Array]:
        """Return a day's departure at the pixels of a block [K], and the share of the variance that it leaves."""
        sums = self._sums[day]
        if sums is not None and sums[1].any():
            self._fields[day] = residual_field(sums[0], sums[1], sums[2], neighbours=NEIGHBOURS)
        self._sums[day] = None
        if day not in self._fields:
            return np.zeros(window.inside.size, np.float32), np.ones(window.inside.size, np.float32)
        top, left, cell = region.among_cells(window)
        place = (top, left, *window.shape, cell)
        departure, remaining = (interpolate_field(field, *place).ravel() for field in self._fields[day])
        return departure, remaining


@dataclass(frozen=True)
class _Learnt:
    """What the observed pixels of a task's days say about the others."""

    from_estimate: _Departures
    first: int
    """Place of the first day to fill among the days of `from_estimate`."""
    from_cycle: _Departures
    shading: list[ShadingModel | None]
    """What shade takes from the temperature, of each day; None where too little was seen in shade."""
    typical_shading: float | None
    """Its mean over the task's days [K]; None where nothing was seen in shade."""


def _learn(
    region: Region,
    survey: _Survey,
    tables: Array,
    settings: GapFilling,
    cycle_days: Sequence[float],
) -> _Learnt:
    own = slice(survey.targets.index(survey.days.start), survey.targets.index(survey.days.stop - 1) + 1)
    from_estimate = _Departures(len(survey.targets), region.cells)
    from_cycle = _Departures(len(survey.days), region.cells)
    shaded = []
    for number, window in enumerate(region.blocks):
        found = _estimate(region, number, window, survey, tables, survey.targets, (CLEAR,))
        observed = np.where(found.sky == CLEAR, celsius(found.stored), np.float32(np.nan))
        if settings.residuals:
            for place in range(len(survey.targets)):
                from_estimate.add(place, observed[place] - found.value[place], region, window)
        departures = observed[own] - _cycle(region, window, settings, cycle_days)
        for place, departure in enumerate(departures):
            from_cycle.add(place, departure, region, window)
        if settings.shading and (found.sky == SHADOW).any():
            shaded.append((number, window))
    pool = _Pool(survey)
    for number, window in shaded:
        found = _estimate(region, number, window, survey, tables, survey.targets, (SHADOW,))
        pool.add(region, window, found, from_estimate)
    return _Learnt(from_estimate, own.start, from_cycle, [pool.model(day) for day in survey.days], pool.mean())


class _Pool:
    """Observations in the shadow of clouds, and what they would have been in the sun."""

    def __init__(self, survey: _Survey) -> None:
        self._survey = survey
        self._features: dict[int, list[npt.NDArray[np.float64]]] = {day: [] for day in survey.targets}
        self._differences: dict[int, list[Array]] = {day: [] for day in survey.targets}

    def add(self, region: Region, window: Window, found: _Estimates, departures: _Departures) -> None:
        """Take a block's shaded observations, evenly thinned where the region has very many."""
        observed, targets = celsius(found.stored), self._survey.targets
        surroundings = _Surroundings(region, window, range(targets[0], targets[-1] + 1))
        for place, day in enumerate(targets):
            share = LARGEST_POOL / max(int(self._survey.shaded[self._survey.span.index(day)]), 1)
            taken = np.flatnonzero(
                (found.sky[place] == SHADOW) & np.isfinite(found.value[place]) & _thinned(region, window, share)
            )
            if taken.size:
                departure, _ = departures.of_pixels(place, region, window)
                sunlit = (found.value[place] + departure)[taken]
                features = surroundings.features(day, taken, sunlit)
                whole = np.isfinite(features).all(axis=1)
                self._features[day].append(features[whole])
                self._differences[day].append((observed[place][taken] - sunlit)[whole])

    def _around(self, day: int, reach: int) -> list[int]:
        return [other for other in self._survey.targets if abs(other - day) <= reach and self._differences[other]]

    def model(self, day: int) -> ShadingModel | None:
        """Return the model of a day, from the shaded observations of the fewest days around that have enough."""
        for reach in POOL_REACHES:
            days = self._around(day, reach)
            if sum(part.size for other in days for part in self._differences[other]) >= POOL:
                features = np.concatenate([part for other in days for part in self._features[other]])
                differences = np.concatenate([part for other in days for part in self._differences[other]])
                return fit_shading(features, differences)
        return None

    def mean(self) -> float | None:
        """Return the mean difference of all days [K]."""
        parts = [part for day in self._survey.days for part in self._differences[day]]
        return float(np.concatenate(parts).mean(dtype=np.float64)) if parts else None


def _thinned(region: Region, window: Window, share: float) -> Mask:
    """Return an even choice of a block's pixels, the same however the region is cut."""
    top, left = region.corner
    rows, cols = (places.astype(np.int64) for places in np.mgrid[window.rows, window.cols])
    number = ((rows + top) * 2**20 + cols + left).astype(np.uint64)
    scattered = (number * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    taken: Mask = (scattered < np.uint64(min(share, 1.0) * 2.0**32)).ravel()
    return taken


class _Surroundings:
    """What shading depends on at a block's pixels beside their temperature, of some days, read once."""

    def __init__(self, region: Region, window: Window, days: range) -> None:
        where = {"y": window.rows, "x": window.cols}
        self._year, self._days = region.year, days
        self._hours = region.observations.read("view_time", days, window.rows, window.cols)
        self._longitude, self._latitude = to_geographic(
            *(each.ravel() for each in np.meshgrid(region.x[window.cols], region.y[window.rows]))
        )
        self._terrain, self._ndvi = [], None
        if region.terrain is not None:
            self._terrain = [region.terrain[name].isel(where).values.ravel() for name in TERRAIN_FEATURES]
        if region.ndvi is not None:
            self._ndvi = _ndvi(region.ndvi, window, _composites(days))

    def features(self, day: int, pixels: npt.NDArray[np.int64], clear_sky: Array) -> npt.NDArray[np.float64]:
        """Return (pixels, features): clear-sky temperature, sun, elevation, the slope's two directions, and NDVI."""
        zenith, _ = solar_position(
            self._latitude[pixels],
            self._longitude[pixels],
            self._hours[self._days.index(day), pixels] / 10.0,
            (date(self._year, 1, 1) + timedelta(day)).timetuple().tm_yday,
        )
        columns: list[Any] = [clear_sky, np.cos(zenith), *(values[pixels] for values in self._terrain)]
        if self._ndvi is not None:
            columns.append(self._ndvi[_composite(day) - _composites(self._days).start, pixels])
        return np.column_stack(columns).astype(np.float64)


def _composite(day: int) -> int:
    """Return the composite of NDVI of a day, of those of its year."""
    return min(max(day // 16, 0), 22)


def _composites(days: range) -> range:
    return range(_composite(days.start), _composite(days.stop - 1) + 1)


def _ndvi(cube: xr.Dataset, window: Window, composites: range) -> Array:
    """Return (composites, pixels) of a block."""
    some = {"y": window.rows, "x": window.cols, "composite": slice(composites.start, composites.stop)}
    values: Array = cube["ndvi"].isel(some).values
    return values.reshape(len(composites), -1)


def _cycle(region: Region, window: Window, settings: GapFilling, cycle_days: Sequence[float]) -> Array:
    coefficients = region.cycle["annual_cycle"].isel(y=window.rows, x=window.cols).values
    basis = harmonic_basis(np.asarray(cycle_days, np.float64), settings.harmonics)
    return annual_cycle(np.ascontiguousarray(coefficients), basis).reshape(len(cycle_days), -1)


# ---- 4: the result ------------------------------------------------------------------------------------------------


def _fill_block(
    region: Region,
    number: int,
    window: Window,
    survey: _Survey,
    tables: Array,
    learnt: _Learnt,
    settings: GapFilling,
    cycle_days: Sequence[float],
) -> dict[str, npt.NDArray[np.generic]]:
    days = list(survey.days)
    found = _estimate(region, number, window, survey, tables, days, ESTIMATED)
    state = region.observations.read("state", survey.days, window.rows, window.cols).astype(np.uint8)
    observed, sky = celsius(found.stored), found.sky
    value, variance = found.value, found.sigma**2
    clear, unknown = np.isin(sky, OBSERVED_CLEAR), np.zeros(value.shape, bool)
    as_if_sunlit = settings.shaded_observations == "clear_sky"
    in_shade = (SHADED_CLOUD,) if as_if_sunlit else (SHADED_CLOUD, SHADOW_AMID_CLOUDS)
    spread = region.cycle["spread"].isel(y=window.rows, x=window.cols).values.ravel()
    cycle = _cycle(region, window, settings, cycle_days)
    surroundings: _Surroundings | None = None
    by_cycle = ~np.isfinite(value)
    for place, day in enumerate(days):
        departure, remaining = learnt.from_estimate.of_pixels(learnt.first + place, region, window)
        value[place] += departure
        variance[place] *= remaining
        if (by_cycle[place] & ~clear[place] & window.inside).any():
            departure, remaining = learnt.from_cycle.of_pixels(place, region, window)
            value[place] = np.where(by_cycle[place], cycle[place] + departure, value[place])
            variance[place] = np.where(by_cycle[place], spread**2 * remaining, variance[place])
        below = np.flatnonzero(np.isin(sky[place], (*in_shade, SUNLIT_CLOUD)) & np.isfinite(value[place]))
        if not below.size:
            continue
        model = learnt.shading[place]
        if model is not None:
            surroundings = surroundings or _Surroundings(region, window, survey.days)
            taken = shading(model, surroundings.features(day, below, value[place][below]))
            spread_of_shade = np.float32(model.residual_sd)
        else:
            unknown[place][sky[place] == SHADED_CLOUD] = True
            taken = np.full(below.size, learnt.typical_shading or 0.0, np.float32)
            spread_of_shade = np.float32(0)
        shaded = np.isin(sky[place][below], in_shade)
        value[place][below] += np.where(shaded, taken, np.float32(0))
        doubt = np.float32(SUNLIT_DOUBT * (1 - SUNLIT_DOUBT))
        variance[place][below] += np.where(shaded, spread_of_shade**2 + taken**2, doubt * taken**2)
    value += np.where(sky == NIGHT_CLOUD, np.float32(settings.night_cloud_offset), np.float32(0))

    in_shadow = np.isin(sky, IN_SHADOW)
    kept = clear | (in_shadow & (not as_if_sunlit))
    strange = np.where(kept & np.isin(sky, AMID_CLOUDS) & ~by_cycle, observed - value, np.float32(0))
    if settings.shaded_observations == "bias_corrected":
        observed = np.where(in_shadow, (observed + SHADOW_BIAS[1]) / SHADOW_BIAS[0], observed)
    value = np.where(kept, observed, value)
    value[:, ~window.inside] = np.nan
    return product(
        value, np.sqrt(variance), sky, state, kept=kept, by_cycle=by_cycle & ~kept, unknown=unknown, strange=strange
    )


# ---- shared with the simpler methods ------------------------------------------------------------------------------


def celsius(stored: Counts) -> Array:
    """Return temperatures [°C] of stored counts, NaN where there is none."""
    scale = np.float32(FILLED_LST.scale or 1.0)
    return np.where(stored > 0, stored * scale - np.float32(KELVIN), np.float32(np.nan)).astype(np.float32)


def product(
    value: Array,
    sigma: Array,
    sky: npt.NDArray[np.uint8],
    state: npt.NDArray[np.uint8],
    *,
    kept: Mask,
    by_cycle: Mask,
    unknown: Mask | None = None,
    strange: Array | None = None,
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the variables of the filled cube: stored counts, standard error and flag.

    Parameters
    ----------
    value, sigma
        Temperature [°C] and its standard error [K]; NaN is missing.
    sky, state
        Sky class and state of the observation.
    kept
        Where the temperature is the observed one: its standard error is then that of its quality class.
    by_cycle, unknown
        Where it comes from the annual cycle; where it is shaded and no model says by how much.
    strange
        How far a kept observation is off what was expected there [K], which counts in its standard error.
    """
    counts = np.rint((value + np.float32(KELVIN)) / np.float32(FILLED_LST.scale or 1.0))
    there = np.isfinite(counts)
    flag = sky | np.where(by_cycle, FROM_CYCLE, 0) | np.where(state & GEOMETRY_INTERPOLATED, VIEW_INTERPOLATED, 0)
    flag = flag | np.where((state & STATE_BITS) == RESIDUAL_CLOUD, RESIDUAL, 0)
    if unknown is not None:
        flag = flag | np.where(unknown, NO_SHADING_MODEL, 0)
    of_observation = (state & STATE_BITS) + np.float32(0.5)
    if strange is not None:
        of_observation = np.hypot(of_observation, strange)
    error = np.where(kept, of_observation, np.maximum(sigma, np.float32(SMALLEST_SIGMA)))
    return {
        FILLED_LST.name: np.where(there, counts, FILLED_LST.fill_value).astype(np.uint16),
        SIGMA.name: np.where(there, error, np.nan).astype(np.float16),
        FILL_FLAG.name: np.where(there, flag, MISSING).astype(np.uint8),
    }


def memory(shape: tuple[int, int], block: int, cell: int, n_days: int, settings: GapFilling) -> int:
    """Return the most bytes that a task holds: the lines of all pairs of days, and what two steps take in turn.

    The first has the sums that the lines come of, the second the departures and shaded observations of all days, and a
    block's days. What grows with the region are the departures, and where each pixel is among the bins; of a small
    region all observations are held, too.
    """
    pixels, bins = shape[0] * shape[1], math.prod(BINS)
    span = n_days + 2 * WIDER_REACHES[-1]
    targets = n_days + (2 * POOL_REACHES[-1] if settings.shading else 0)
    pairs = 2 * settings.reference_days * targets
    read = block**2 * (3 * DAYS_PER_CHUNK * 3 + span * 3)  # as stored, and as read

    lines = pairs * bins * 3 * 4
    sums = min(SUMS_AT_ONCE, pairs) * bins * SUMS * 8
    places = pixels * (span // 16 + 2) * 2
    departures = (targets + n_days) * (pixels // cell**2) * 3 * 8  # the fields that take their place are smaller
    shaded = targets * min(LARGEST_POOL, pixels) * (7 * 8 + 4) if settings.shading else 0
    made = block**2 * n_days * 12 * 4
    observations = pixels * span * BYTES_OF_DAY
    held = observations if observations <= HELD else 0
    return lines + places + held + read + max(sums, departures + shaded + made)
