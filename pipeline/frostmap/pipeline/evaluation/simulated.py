"""A simulated year at 1 km, whose truth is known below clouds, in shade and through the day.

Everything here is simulated; only the coarse relief is real.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.grids import lattice
from frostmap.kernels.clear_sky import (
    add_analogues,
    analogue_sums,
    common_counts,
    day_ranges,
    fuse,
    inverse_variance_mean,
    nearest_analogues,
    place_bins,
    regressions,
)
from frostmap.kernels.degree_days import degree_day_sums
from frostmap.kernels.diurnal_cycle import DailyMean, daily_mean
from frostmap.kernels.quality import CLOUDY, GEOMETRY_INTERPOLATED, NO_SWATH
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
from frostmap.pipeline import scsg
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.evaluation.scores import COLUMNS, Scores, scores, share_within_sigma
from frostmap.pipeline.evaluation.tables import Goal, Section, Table
from frostmap.pipeline.recipe import GapFilling, Quality
from frostmap.pipeline.schema import (
    CLOUD_TOP,
    FILL_FLAG,
    FILLED_LST,
    LST,
    OVERPASSES,
    QC,
    RAW,
    SIGMA,
    STATE,
    VIEW_ANGLE,
    VIEW_TIME,
)
from frostmap.pipeline.simulate.cloud_tops import seen_tops
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import Scene, observed_days, scene, true_daily_means, true_skin_days
from frostmap.pipeline.simulate.vegetation import composites
from frostmap.pipeline.stages import annual_cycle, gap_filling, observations, sky_classes
from frostmap.pipeline.stages.annual_cycle import days_since_2000
from frostmap.pipeline.stages.vegetation import LONGEST_GAP, interpolate_gaps, mean_of_four, usable_ndvi

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TITLE = "Simulated: a year at 1 km, its truth known"
LAYERS = {"terra_day": "Day", "aqua_day": "Day", "terra_night": "Night", "aqua_night": "Night"}
DIMS = ("time", "overpass", "y", "x")
BY_DAY = (0, 1)
CLASSES = {
    SUNLIT_CLOUD: "cloud, ground sunlit (B)",
    SHADED_CLOUD: "cloud, ground shaded (C)",
    SHADOW: "clear, in shadow (D)",
    CLEAR_AMID_CLOUDS: "clear, amid clouds",
    SHADOW_AMID_CLOUDS: "clear, in shadow, amid clouds",
    NIGHT_CLOUD: "cloud by night",
    NOT_SEEN: "not produced, or no swath",
}
HALO_KM = 60.0
NO_SHADING = "scsg, no shading step"
TRUE_OVERPASSES, TRUE_MEANS = "true overpasses", "true daily means"
OTHER_MEANS: tuple[DailyMean, ...] = ("got09", "sun_response")
"""Ways to the daily mean whose sums are shown beside the sinusoid's."""
LARGEST_RMSE = {"terra_day": 3.6, "aqua_day": 3.6, "terra_night": 2.5, "aqua_night": 2.5}
LARGEST_BIAS, SMALLEST_R = 0.5, 0.9
WITHIN = (0.58, 0.78)
LARGEST_SHARE = 0.06
LARGEST_DIFFERENCE = 0.2


@dataclass(frozen=True)
class Design:
    """What is simulated, and what is withheld of it."""

    window: Window = field(default_factory=lambda: Window(1200, 5 * 1200 + 400, 25 * 1200 + 420, 240, 240))
    """Where: a part of the Kunlun and of the plateau south of it."""
    margin: int = 20
    """Pixels at each edge that are observed, and cast shadows, but are neither filled nor compared."""
    year: int = 2020
    seed: int = 2020
    days: int = 366
    """Days from 1 January on that are filled."""
    block: int = 60
    """Pixels along a block's side."""
    images: int = 50
    """Images of each overpass of which something is withheld."""
    side: int = 60
    """Pixels along the side of what is withheld of an image."""
    least_clear: float = 0.5
    """Share of that which must be clear."""
    every: int = 5
    """Of every so many rows and columns one pixel's whole days are simulated."""
    pairs: int = 8
    """Pairs of days for which the exact search is made."""
    queries: int = 1500
    """Pixels of each pair for which it is made."""

    @property
    def pixel_metres(self) -> float:
        """Width of a pixel [m]."""
        return self.window.pixel_metres

    @property
    def inside(self) -> Mask:
        """(y, x): what is filled and compared."""
        inside = np.zeros((self.window.height, self.window.width), np.bool_)
        inside[self.margin : self.window.height - self.margin, self.margin : self.window.width - self.margin] = True
        return inside


@dataclass(frozen=True)
class Year:
    """A simulated year, as the pipeline's stages make it, and its truth."""

    design: Design
    scene: Scene
    observations: xr.Dataset
    """lst, state, view_time, view_angle; without what is withheld."""
    sky: xr.Dataset
    withheld: npt.NDArray[np.uint16]
    """(time, overpass, y, x) stored temperatures that were taken away; 0 elsewhere."""
    truth: npt.NDArray[np.uint16]
    """(time, overpass, y, x) stored skin temperatures as they truly were; 0 where no swath reaches."""
    cycle: xr.Dataset
    terrain: xr.Dataset
    ndvi: xr.Dataset

    @property
    def region(self) -> scsg.Region:
        """What gap filling by similar pixels reads."""
        return scsg.Region(
            self.design.year,
            observations=scsg.Days(((0, self.observations),)),
            sky=scsg.Days(((0, self.sky),)),
            cycle=self.cycle,
            terrain=self.terrain,
            ndvi=self.ndvi,
            x=self.scene.window.x,
            y=self.scene.window.y,
            inside=self.design.inside,
            block=self.design.block,
            cell=scsg.cell_pixels(self.design.pixel_metres / 1000.0),
        )


def simulate(design: Design) -> Year:
    """Simulate a year, and take it through the stages up to where gaps are filled."""
    made = scene(design.seed, design.window, design.year)
    first = dt.date(design.year, 1, 1)
    last = first + dt.timedelta(days=design.days - 1)
    coords = _coords(design)
    raw = _raw(made, first, last, coords)
    kept = observations.observe(raw, quality=Quality(), reach=32, pixel_metres=design.pixel_metres)
    observed = xr.Dataset({name: (DIMS, values) for name, values in kept.items()}, coords=coords)
    del raw, kept
    truth = np.zeros(observed[LST.name].shape, np.uint16)
    for place, (_, skin) in enumerate(true_skin_days(made, first, last)):
        truth[place] = _stored(skin)
    terrain = _terrain(made)
    sky = _sky(design, observed, terrain)
    withheld = _withhold(design, observed, sky)
    settings = GapFilling()
    fitted = [
        annual_cycle.fit(observed.isel(overpass=[number]), sky.isel(overpass=[number]), settings=settings)
        for number in range(len(OVERPASSES))
    ]
    cycle = xr.Dataset(
        {
            "annual_cycle": (
                ("harmonic", "overpass", "y", "x"),
                np.concatenate([part["annual_cycle"] for part in fitted], axis=1),
            ),
            "spread": (("overpass", "y", "x"), np.concatenate([part["spread"] for part in fitted], axis=0)),
        }
    )
    return Year(design, made, observed, sky, withheld, truth, cycle, terrain, _ndvi(design))


def _stored(celsius: Array) -> npt.NDArray[np.uint16]:
    counts = np.rint((celsius + scsg.KELVIN) / (LST.scale or 1.0))
    return np.where(np.isfinite(counts), counts, 0.0).astype(np.uint16)


def _coords(design: Design) -> dict[str, Any]:
    window, n = design.window, design.window.pixels_per_tile
    corner = lattice(n)[window.column // n, window.row // n].affine
    step, size = corner.a, n
    x = corner.c + step * (window.column % size + np.arange(window.width) + 0.5)
    y = corner.f - step * (window.row % size + np.arange(window.height) + 0.5)
    time = np.datetime64(f"{design.year}-01-01", "ns") + np.arange(design.days) * np.timedelta64(1, "D")
    return {"time": time, "overpass": np.arange(len(OVERPASSES), dtype=np.int8), "y": y, "x": x}


def _raw(made: Scene, first: dt.date, last: dt.date, coords: Mapping[str, Any]) -> xr.Dataset:
    shape = tuple(len(coords[name]) for name in DIMS)
    arrays = {variable.name: np.full(shape, variable.fill_value, variable.dtype) for variable in RAW}
    names = {LST: "LST_{}_1km", QC: "QC_{}", VIEW_TIME: "{}_view_time", VIEW_ANGLE: "{}_view_angl"}
    for place, (_, products) in enumerate(observed_days(made, first, last)):
        for number, overpass in enumerate(OVERPASSES):
            layers = products["MOD11A1" if overpass.startswith("terra") else "MYD11A1"]
            for variable, name in names.items():
                arrays[variable.name][place, number] = layers[name.format(LAYERS[overpass])]
    return xr.Dataset({name: (DIMS, values) for name, values in arrays.items()}, coords=dict(coords))


def _terrain(made: Scene) -> xr.Dataset:
    land = made.land
    # aspect and slope as predictors: the downhill direction's components, times the sine of the slope
    steep = np.hypot(land.slope_east, land.slope_north)
    scale = -1.0 / np.sqrt(1.0 + steep**2)
    arrays = {
        "elevation": land.elevation,
        "eastness": land.slope_east * scale,
        "northness": land.slope_north * scale,
    }
    return xr.Dataset({name: (("y", "x"), values.astype(np.float32)) for name, values in arrays.items()})


def _ndvi(design: Design) -> xr.Dataset:
    window, collection = design.window, load_collection("mod13a1")
    fine = Window(2 * window.pixels_per_tile, 2 * window.row, 2 * window.column, 2 * window.height, 2 * window.width)
    series = []
    for _, layers in composites(design.seed, fine, design.year):
        stored, reliability = layers["500m 16 days NDVI"], layers["500m 16 days pixel reliability"]
        series.append(mean_of_four(usable_ndvi(stored.astype(np.int16), reliability.astype(np.int8), collection)))
    ndvi = interpolate_gaps(np.stack(series), LONGEST_GAP)
    return xr.Dataset({"ndvi": (("composite", "y", "x"), ndvi)})


def _sky(design: Design, observed: xr.Dataset, terrain: xr.Dataset) -> xr.Dataset:
    """Return sky classes, from the true heights of the clouds that are seen."""
    shape = observed[STATE.name].shape
    tops = np.full((shape[0], len(BY_DAY), *shape[2:]), CLOUD_TOP.fill_value, np.int16)
    first = dt.date(design.year, 1, 1)
    dates = [first + dt.timedelta(days=day) for day in range(design.days)]
    for number in BY_DAY:
        seen = seen_tops(design.seed, design.window, dates, number)
        tops[:, number] = np.where(np.isfinite(seen), np.rint(seen), CLOUD_TOP.fill_value)
    halo = math.ceil(1000.0 * HALO_KM / design.pixel_metres)
    amid = sky_classes.amid_at(design.pixel_metres / 1000.0, GapFilling().clear_around)
    by_day = sky_classes.classes(
        observed.isel(overpass=list(BY_DAY)),
        xr.Dataset({CLOUD_TOP.name: (DIMS, tops)}),
        terrain,
        pixel_metres=design.pixel_metres,
        halo=(halo, halo + halo // 2),
        amid=amid,
    )
    by_night = sky_classes.classes(observed.isel(overpass=slice(len(BY_DAY), None)), amid=amid)
    classes = np.concatenate([by_day["sky"], by_night["sky"]], axis=1)
    return xr.Dataset({"sky": (DIMS, classes)})


def _withhold(design: Design, observed: xr.Dataset, sky: xr.Dataset) -> npt.NDArray[np.uint16]:
    """Take squares of some images away, as if a cloud were there below which the ground is lit as it was.

    Both data sets are changed. Returned are the stored temperatures that were there.
    """
    rng = np.random.default_rng(design.seed)
    lst, state, classes = observed[LST.name].values, observed[STATE.name].values, sky["sky"].values
    withheld = np.zeros(lst.shape, np.uint16)
    rows, cols = (np.flatnonzero(design.inside.any(axis=axis)) for axis in (1, 0))
    side = min(design.side, rows.size, cols.size)
    for number in range(lst.shape[1]):
        taken = 0
        for day in rng.permutation(lst.shape[0]):
            for _ in range(3):
                top, left = (int(rng.integers(span[0], span[-1] + 2 - side)) for span in (rows, cols))
                place = (day, number, slice(top, top + side), slice(left, left + side))
                if (classes[place] == CLEAR).mean() >= design.least_clear:
                    break
            else:
                continue
            seen = lst[place] > 0
            withheld[place] = lst[place]
            sunlit = NIGHT_CLOUD if number not in BY_DAY else SUNLIT_CLOUD
            lit = np.where(np.isin(classes[place], scsg.IN_SHADOW), SHADED_CLOUD, sunlit)
            classes[place] = np.where(seen, lit, classes[place])
            flags = state[place] & (GEOMETRY_INTERPOLATED | NO_SWATH)
            state[place] = np.where(seen, np.uint8(CLOUDY) | flags, state[place])
            lst[place] = 0
            taken += 1
            if taken == design.images:
                break
    return withheld


# ---- methods ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filled:
    """One overpass of the year, filled."""

    stored: npt.NDArray[np.uint16]
    """(time, y, x)."""
    sigma: Array
    flag: npt.NDArray[np.uint8]

    @property
    def celsius(self) -> Array:
        """Temperature [°C]; NaN is missing."""
        return scsg.celsius(self.stored)


def methods() -> Mapping[str, GapFilling]:
    """Return the ways in which the year is filled, the simplest first."""
    return {
        "annual_cycle": GapFilling(method="annual_cycle"),
        "harmonic": GapFilling(method="harmonic"),
        NO_SHADING: GapFilling(method="scsg", shading=False),
        "scsg": GapFilling(method="scsg"),
    }


def fill(year: Year, overpass: int, settings: GapFilling) -> Filled:
    """Return one overpass of the year, filled as the pipeline does it."""
    if settings.method == "scsg":
        return _fill_by_similar_pixels(year, overpass, settings)
    radius = round(1000.0 * settings.anomaly_radius_km / year.design.pixel_metres)
    one = {"overpass": [overpass]}
    made = gap_filling.fill(
        year.observations.isel(one), year.sky.isel(one), year.cycle.isel(one), settings=settings, radius=radius
    )
    stored, sigma, flag = (made[variable.name][:, 0] for variable in (FILLED_LST, SIGMA, FILL_FLAG))
    return Filled(stored.astype(np.uint16), sigma.astype(np.float32), flag.astype(np.uint8))


def _fill_by_similar_pixels(year: Year, overpass: int, settings: GapFilling) -> Filled:
    n_days, _, height, width = year.observations[LST.name].shape
    shape = (n_days, height, width)
    made = {
        variable.name: np.full(shape, variable.fill_value, variable.dtype)
        for variable in (FILLED_LST, SIGMA, FILL_FLAG)
    }
    cycle_days = days_since_2000(year.observations)
    for start in range(0, n_days, DAYS_PER_CHUNK):
        days = range(start, min(start + DAYS_PER_CHUNK, n_days))
        own = cycle_days[days.start : days.stop].tolist()
        for part, values in scsg.fill(year.region, overpass, days, settings, own):
            days_of, _, rows, cols = part.region
            made[part.variable][days_of, rows, cols] = values[:, 0]
    return Filled(made[FILLED_LST.name], made[SIGMA.name].astype(np.float32), made[FILL_FLAG.name])


# ---- judgement ----------------------------------------------------------------------------------------------------


@dataclass
class Judgement:
    """What the methods came to."""

    withheld: list[tuple[str, str, Scores]] = field(default_factory=list)
    """Overpass, method, scores against the observations that were withheld."""
    hidden: list[tuple[str, str, int, Scores]] = field(default_factory=list)
    """Overpass, method, sky class, scores against the true skin temperature."""
    within: list[tuple[str, str, int, float]] = field(default_factory=list)
    """Of `scsg`: overpass, what is judged, how many, share of errors within the standard error."""
    sample: dict[str, list[npt.NDArray[np.uint16]]] = field(default_factory=dict)
    """Method: stored temperatures of each overpass, (time, pixels) of the sample."""


def sample(design: Design) -> npt.NDArray[np.int64]:
    """Return the pixels whose whole days are simulated, counted along the rows."""
    rows, cols = np.mgrid[: design.window.height : design.every, : design.window.width : design.every]
    chosen = design.inside[rows, cols]
    pixels: npt.NDArray[np.int64] = (rows * design.window.width + cols)[chosen]
    return pixels


def judge(year: Year, settings: Mapping[str, GapFilling]) -> Judgement:
    """Fill the year by all methods, and compare with what was withheld, and with what was never seen."""
    result = Judgement()
    pixels, inside = sample(year.design), year.design.inside
    for number, overpass in enumerate(OVERPASSES):
        sky, taken = year.sky["sky"].values[:, number], year.withheld[:, number]
        observed, truth = scsg.celsius(taken), scsg.celsius(year.truth[:, number])
        lit = (taken > 0) & (sky != SHADED_CLOUD)
        for name, chosen in settings.items():
            if number not in BY_DAY and name != "scsg" and chosen.method == "scsg":
                result.sample.setdefault(name, []).append(np.empty(0, np.uint16))  # by night there is no shading
                continue
            filled = fill(year, number, chosen)
            celsius = filled.celsius
            result.withheld.append((overpass, name, scores(celsius, observed, lit)))
            if name == "scsg":
                result.within.append((overpass, "withheld", *share_within_sigma(celsius, filled.sigma, observed, lit)))
            for kind, words in CLASSES.items():
                where = (sky == kind) & (taken == 0) & inside
                if not where.any():
                    continue
                result.hidden.append((overpass, name, kind, scores(celsius, truth, where)))
                if name == "scsg":
                    result.within.append((overpass, words, *share_within_sigma(celsius, filled.sigma, truth, where)))
            stored = filled.stored.reshape(len(filled.stored), -1)[:, pixels]
            result.sample.setdefault(name, []).append(stored)
    for name, stored_of in result.sample.items():
        whole = result.sample["scsg"]
        result.sample[name] = [own if own.size else whole[number] for number, own in enumerate(stored_of)]
    return result


def degree_days(
    celsius: Array, hours: Array, latitude: npt.NDArray[np.float64], method: DailyMean = "sinusoid"
) -> dict[str, Array]:
    """Return freezing and thawing sums of a year's first days with four overpasses, (time, overpass, pixels)."""
    observed, when = np.ascontiguousarray(celsius[..., np.newaxis]), np.ascontiguousarray(hours[..., np.newaxis])
    return _sums(daily_mean(method, observed, when, latitude, np.arange(1, len(celsius) + 1)))


def _sums(means: Array) -> dict[str, Array]:
    freezing, thawing, _ = degree_day_sums(np.ascontiguousarray(means, np.float32))
    return {"freezing": freezing.ravel(), "thawing": thawing.ravel()}


def true_sums(year: Year) -> dict[str, Array]:
    """Return freezing and thawing sums of the sample's true daily means."""
    first = dt.date(year.design.year, 1, 1)
    last = first + dt.timedelta(days=year.design.days - 1)
    means = np.stack([mean for _, mean in true_daily_means(year.scene, first, last, sample(year.design))])
    return _sums(means[:, np.newaxis])


def binned_against_exact(year: Year, overpass: int = 0) -> Scores:
    """Return how far estimates by bins are from those by the exact search, on days that are clear enough."""
    design, rng = year.design, np.random.default_rng(year.design.seed)
    sky, lst = (values[:, overpass] for values in (year.sky["sky"].values, year.observations[LST.name].values))
    stored = np.where((sky == CLEAR) & design.inside, lst, 0).astype(np.uint16).reshape(len(lst), -1)
    common = common_counts(stored, 0, len(stored))
    elevation = year.terrain["elevation"].values.ravel()
    ends = float(elevation.min()), float(elevation.max())
    settings, (low, high) = GapFilling(), day_ranges(stored)
    places = place_bins(elevation, year.ndvi["ndvi"].values.reshape(23, -1), ends, scsg.NDVI_RANGE)
    composite = np.minimum(np.arange(len(stored)) // 16, 22)
    found, exact = [], []
    references = 4
    for target in np.argsort(-np.diagonal(common), kind="stable")[:: max(1, len(stored) // 40)].tolist():
        near = [day for day in range(len(stored)) if 0 < abs(day - target) <= settings.reference_days]
        best = sorted(near, key=lambda day: -common[target, day])[:references]
        if len(best) < references or common[target, best[-1]] < settings.analogues:
            continue
        pairs = np.array([(target, day) for day in sorted(best)])
        wanted = np.zeros(stored.shape[1], np.bool_)
        known = np.flatnonzero(design.inside.ravel())
        wanted[rng.choice(known, min(design.queries, known.size), replace=False)] = True
        sums = analogue_sums(len(pairs))
        add_analogues(sums, stored, places, composite, pairs, low, high)
        table = regressions(sums, slope=settings.slope, analogues=settings.analogues)
        estimate, _ = fuse(stored, places, composite, pairs, np.array([target]), low, high, table, wanted[np.newaxis])
        ndvi = year.ndvi["ndvi"].values.reshape(23, -1)[composite[target]]
        searched = nearest_analogues(
            stored, elevation, ndvi, pairs, ends, scsg.NDVI_RANGE, settings.slope, settings.analogues, wanted=wanted
        )
        found.append(estimate[0])
        exact.append(inverse_variance_mean(*searched)[0])
        if len(found) * references >= design.pairs:
            break
    if not found:
        return scores(np.empty(0), np.empty(0))
    return scores(np.concatenate(found), np.concatenate(exact))


# ---- tables -------------------------------------------------------------------------------------------------------


def evaluate(design: Design | None = None) -> Section:
    """Simulate a year, fill it, and compare with its truth."""
    year = simulate(Design() if design is None else design)
    settings = methods()
    judged = judge(year, settings)
    sums, truths = _all_sums(year, judged)
    search = binned_against_exact(year)
    return Section(
        TITLE,
        _words(year),
        (
            Table(
                "Squares withheld from clear ground, against the observations that were there.",
                ("overpass", "method", *COLUMNS),
                tuple(
                    (overpass, name, *score.cells) for overpass, name, score in judged.withheld if name != NO_SHADING
                ),
            ),
            Table(
                "Below cloud, in shadow, and where nothing was produced: against the true skin temperature.",
                ("overpass", "sky", "method", *COLUMNS),
                tuple(
                    (overpass, CLASSES[kind], name, *score.cells)
                    for overpass, name, kind, score in sorted(
                        judged.hidden, key=lambda row: (OVERPASSES.index(row[0]), row[2])
                    )
                    if name != NO_SHADING or kind == SHADED_CLOUD
                ),
            ),
            Table(
                "Share of the errors of `scsg` within the standard error that it tells (68 % if right); withheld "
                "squares against observations, all else against the true skin temperature.",
                ("overpass", "what", "n", "within"),
                tuple((overpass, what, f"{n:,}", f"{100 * share:.0f} %") for overpass, what, n, share in judged.within),
            ),
            Table(
                f"Sums of the year at {sample(year.design).size:,} pixels: RMSE and bias in % of the truth's mean.",
                ("overpass temperatures", "truth", "sum", "mean of the truth", "bias", "RMSE"),
                tuple(_sum_row(*key, sums, truths) for key in _sum_keys(sums)),
            ),
            Table(
                "Estimates by bins, minus those by the exact search of the nearest 1000.",
                ("compared", *COLUMNS),
                (("clear-sky temperature", *search.cells),),
            ),
        ),
        _goals(judged, sums, truths, search),
    )


def _words(year: Year) -> str:
    design, elevation = year.design, year.terrain["elevation"].values[year.design.inside]
    places = year.scene.land.places
    rows, cols = (int(design.inside.any(axis=axis).sum()) for axis in (1, 0))
    return (
        f"**Simulated.** {rows} x {cols} pixels of {design.pixel_metres:.0f} m around "
        f"{places.latitude.mean():.1f}°N, {places.longitude.mean():.1f}°E, {elevation.min():.0f} to "
        f"{elevation.max():.0f} m high, the year {design.year}; relief below 10 arc-minutes, weather, clouds and "
        "ground are invented. Everything goes through the pipeline's own stages: quality screen, geometry, sky "
        "classes (from the true heights of cloud tops), annual cycle, gap filling. The truth of a pixel is the skin "
        "temperature at the moment of the overpass, in the shade of clouds where they shade it, without the "
        "radiometer's noise (about 0.5 K), its obliqueness (up to -0.6 K) and clouds that its mask missed.\n\n"
        f"Of {design.images} images of each overpass that are clear enough, a square of {design.side} x {design.side} "
        "pixels is withheld, as if a cloud had been there below which the sun shone."
    )


SumKey = tuple[str, str]


def _all_sums(year: Year, judged: Judgement) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, Array]]]:
    """Return the sums of each method, and of each truth."""
    pixels = sample(year.design)
    stored_hours = year.observations[VIEW_TIME.name].values.reshape(year.design.days, len(OVERPASSES), -1)[..., pixels]
    hours = (stored_hours * np.float32(VIEW_TIME.scale or 1.0)).astype(np.float32)
    truth = scsg.celsius(year.truth.reshape(*hours.shape[:2], -1)[..., pixels])
    latitude = np.ravel(year.scene.land.places.latitude)[pixels]
    filled = {name: scsg.celsius(np.stack(stored, axis=1)) for name, stored in judged.sample.items()}
    sums = {name: degree_days(celsius, hours, latitude) for name, celsius in filled.items()}
    at_overpasses = degree_days(truth, hours, latitude)
    sums[TRUE_OVERPASSES] = at_overpasses
    for method in OTHER_MEANS:
        for name, celsius in (("scsg", filled["scsg"]), (TRUE_OVERPASSES, truth)):
            sums[f"{name}, `{method}`"] = degree_days(celsius, hours, latitude, method)
    return sums, {TRUE_OVERPASSES: at_overpasses, TRUE_MEANS: true_sums(year)}


def _sum_keys(sums: Mapping[str, object]) -> list[tuple[str, str, str]]:
    return [
        (name, truth, kind)
        for truth in (TRUE_OVERPASSES, TRUE_MEANS)
        for kind in ("freezing", "thawing")
        for name in sums
        if name != truth and (truth == TRUE_MEANS or "`" not in name)
    ]


def _sum_errors(
    name: str, truth: str, kind: str, sums: Mapping[str, Mapping[str, Array]], truths: Mapping[str, Mapping[str, Array]]
) -> tuple[float, float, float]:
    """Return the mean of the truth, and bias and RMSE as shares of it."""
    score, mean = scores(sums[name][kind], truths[truth][kind]), float(truths[truth][kind].mean(dtype=np.float64))
    return mean, score.bias / mean, score.rmse / mean


def _sum_row(
    name: str, truth: str, kind: str, sums: Mapping[str, Mapping[str, Array]], truths: Mapping[str, Mapping[str, Array]]
) -> tuple[str, ...]:
    mean, bias, rmse = _sum_errors(name, truth, kind, sums, truths)
    return name, truth, kind, f"{mean:.0f}", f"{100 * bias:+.1f} %", f"{100 * rmse:.1f} %"


def _pooled(judged: Judgement, name: str, kinds: tuple[int, ...]) -> float:
    """Return the RMSE of a method over all overpasses and some sky classes."""
    parts = [score for _, method, kind, score in judged.hidden if method == name and kind in kinds]
    n = sum(score.n for score in parts)
    return math.sqrt(sum(score.n * score.rmse**2 for score in parts) / n) if n else math.nan


def _goals(
    judged: Judgement,
    sums: Mapping[str, Mapping[str, Array]],
    truths: Mapping[str, Mapping[str, Array]],
    search: Scores,
) -> tuple[Goal, ...]:
    goals = []
    for overpass, name, score in judged.withheld:
        if name == "scsg":
            most = LARGEST_RMSE[overpass]
            goals.append(
                Goal(
                    f"withheld, {overpass}: RMSE at most {most} K, bias {LARGEST_BIAS} K, r at least {SMALLEST_R}",
                    f"{score.rmse:.2f} K, {score.bias:+.2f} K, {score.r:.3f}",
                    score.rmse <= most and abs(score.bias) <= LARGEST_BIAS and score.r >= SMALLEST_R,
                )
            )
    for what in ("withheld", *(CLASSES[kind] for kind in (SUNLIT_CLOUD, SHADED_CLOUD, NIGHT_CLOUD))):
        parts = [(n, share) for _, judged_of, n, share in judged.within if judged_of == what and n]
        if parts:
            share = sum(n * part for n, part in parts) / sum(n for n, _ in parts)
            wanted = f"errors within the standard error, {what}: 58 to 78 %"
            goals.append(Goal(wanted, f"{100 * share:.0f} %", WITHIN[0] <= share <= WITHIN[1]))
    clouds = (SUNLIT_CLOUD, SHADED_CLOUD, NIGHT_CLOUD)
    ours, cycle = (_pooled(judged, name, clouds) for name in ("scsg", "annual_cycle"))
    goals.append(Goal("below cloud, better than the annual cycle", f"{ours:.2f} K against {cycle:.2f} K", ours < cycle))
    shaded, without = (_pooled(judged, name, (SHADED_CLOUD,)) for name in ("scsg", NO_SHADING))
    goals.append(
        Goal("shaded ground, better with the shading step", f"{shaded:.2f} K against {without:.2f} K", shaded < without)
    )
    for name, truth in (
        ("scsg", TRUE_OVERPASSES),
        *((each, TRUE_MEANS) for each in sums if each == "scsg" or each.startswith("scsg, `")),
    ):
        shares = {kind: _sum_errors(name, truth, kind, sums, truths)[2] for kind in ("freezing", "thawing")}
        goals.append(
            Goal(
                f"freezing and thawing sums of {name}, RMSE at most {100 * LARGEST_SHARE:.0f} % of those of {truth}",
                ", ".join(f"{100 * share:.1f} %" for share in shares.values()),
                max(shares.values()) <= LARGEST_SHARE,
            )
        )
    goals.append(
        Goal(
            f"bins against the exact search: RMS difference at most {LARGEST_DIFFERENCE} K",
            f"{search.rmse:.2f} K",
            search.rmse <= LARGEST_DIFFERENCE,
        )
    )
    return tuple(goals)
