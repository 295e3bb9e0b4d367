"""Climate, soil, vegetation and ground temperature of the simulated plateau.

Constants were chosen so that annual ground-surface freezing and thawing sums come near those of weather stations of
the plateau (long-term 0-cm ground temperature); the rest is plausible, not measured.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.pipeline.simulate.noise import OCTAVE_STEP, field_seed, fractal, noise_3d
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.relief import elevation_and_roughness, slope

Array = NDArray[np.float64]

YEAR_DAYS = 365.25
OMEGA = 2.0 * math.pi / YEAR_DAYS
"""Angular frequency of the annual cycle [rad/d]."""


@dataclasses.dataclass(frozen=True)
class Landscape:
    """What does not change with time, one value a place."""

    places: Places
    """Where."""

    elevation: Array
    """Metres above sea level."""

    slope_east: Array
    """Gradient eastwards [m/m]."""

    slope_north: Array
    """Gradient northwards [m/m]."""

    flatness: Array
    """1 in wide basins, 0 in mountains."""

    humidity: Array
    """0 in the driest north-west, 1 in the monsoon's south-east."""

    sand: Array
    """Sand in the upper two metres [%]."""

    clay: Array
    """Clay in the upper two metres [%]."""


@dataclasses.dataclass(frozen=True)
class Covariates:
    """What differs from year to year, one value a place."""

    precipitation: Array
    """Annual sum [mm]."""

    snow: Array
    """Mean snow cover [%]."""

    ndvi_winter: Array
    """NDVI of the leafless season."""

    ndvi_gain: Array
    """NDVI added at the height of summer."""

    lake: Array
    """Share of open water, 0 to 1."""

    glacier: Array
    """Share of glacier ice, 0 to 1."""

    @property
    def ndvi(self) -> Array:
        """Annual mean NDVI."""
        return self.ndvi_winter + self.ndvi_gain * float(season(np.arange(365.0)).mean())


def logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0)))


def season(day_of_year: Array) -> Array:
    """Return how green a day is, 0 in winter to 1 in early August (day counted from 0 on 1 January)."""
    distance = np.abs((day_of_year - 213.0 + 182.5) % 365.0 - 182.5)
    return np.exp(-((distance / 52.0) ** 2))


def landscape(seed: int, places: Places) -> Landscape:
    """Return relief, soil and the moisture regime of places."""
    x, y = places.x, places.y
    z, rough = elevation_and_roughness(seed, places)
    east, north = slope(seed, places)
    flatness = np.exp(-rough / 130.0)
    moisture = (
        0.16 * (places.longitude - 92.5)
        - 0.38 * (places.latitude - 32.6)
        + 0.30 * fractal(x, y, field_seed(seed, "humidity"), 300.0, 3)
    )
    humidity = logistic(moisture)
    texture = fractal(x, y, field_seed(seed, "texture"), 120.0, 3, 0.6)
    fines = fractal(x, y, field_seed(seed, "fines"), 150.0, 3, 0.6)
    sand = np.clip(52.0 + 11.0 * texture - 16.0 * (humidity - 0.4) + 4.0 * (1.0 - flatness), 12.0, 92.0)
    clay = np.clip(16.0 + 5.0 * fines - 2.0 * texture + 8.0 * (humidity - 0.4) + 4.0 * flatness, 3.0, 45.0)
    clay = np.minimum(clay, 98.0 - sand)
    return Landscape(places, z, east, north, flatness, humidity, sand, clay)


def covariates(seed: int, land: Landscape, year: float) -> Covariates:
    """Return precipitation, snow, vegetation, lakes and glaciers of a year (fractions of a year are allowed).

    Between 2010 and 2020 it becomes wetter and greener on the whole, with a pattern of its own; lakes grow, glaciers
    and snow cover shrink.
    """
    x, y, z = land.places.x, land.places.y, land.elevation
    decades = (year - 2010.0) / 10.0
    wetting = 0.06 + 0.13 * fractal(x, y, field_seed(seed, "wetting"), 350.0, 3)
    precipitation = np.clip(
        (55.0 + 720.0 * land.humidity)
        * np.exp(0.13 * fractal(x, y, field_seed(seed, "precipitation"), 110.0, 3))
        * (1.0 + wetting * decades),
        30.0,
        1200.0,
    )
    wet = precipitation / (precipitation + 300.0)
    snow_change = -0.05 + 0.08 * fractal(x, y, field_seed(seed, "snow change"), 300.0, 3)
    westerlies = logistic((78.0 - land.places.longitude) / 2.0)
    cold = logistic((z + 140.0 * (land.places.latitude - 33.0) - 5050.0) / 330.0)
    snow = np.clip(
        (2.0 + 62.0 * cold * (0.25 + 0.75 * wet + 0.5 * westerlies))
        * np.exp(0.22 * fractal(x, y, field_seed(seed, "snow"), 90.0, 3))
        * (1.0 + snow_change * decades),
        0.0,
        97.0,
    )
    greening = 0.04 + 0.05 * fractal(x, y, field_seed(seed, "greening"), 300.0, 3)
    warm_enough = logistic((5150.0 - 60.0 * (land.places.latitude - 33.0) - z) / 190.0)
    leaf = logistic((precipitation - 330.0) / 75.0 + 0.35 * fractal(x, y, field_seed(seed, "leaf"), 60.0, 3))
    ndvi_gain = np.clip((0.05 + 0.60 * leaf * warm_enough) * (1.0 + greening * decades), 0.01, 0.8)
    ndvi_winter = 0.06 + 0.14 * leaf * warm_enough + 0.10 * logistic((3300.0 - z) / 200.0) * leaf
    basin = fractal(x, y, field_seed(seed, "lakes"), 28.0, 2, 0.5) + 1.4 * (land.flatness - 0.72)
    plateau = logistic((z - 4150.0) / 120.0)
    lake = logistic((basin - (1.34 - 0.09 * decades)) / 0.16) * plateau
    snowline = 5960.0 - 105.0 * np.abs(land.places.latitude - 32.0) + 500.0 * (0.5 - wet) + 25.0 * decades
    rise = z - 150.0 * land.flatness - snowline + 110.0 * fractal(x, y, field_seed(seed, "glaciers"), 25.0, 2)
    glacier = logistic(rise / 110.0) * (1.0 - lake)
    return Covariates(precipitation, snow, ndvi_winter, ndvi_gain, lake, glacier)


def soil_parameter(seed: int, land: Landscape, covariates_: Covariates) -> Array:
    """Return E, the square root of the ratio of thawed to frozen conductivity, 0.6 to 1.25.

    Dry, sandy ground conducts nearly as well thawed as frozen; ice in wet, clayey ground makes it conduct far better
    when frozen, so E falls with precipitation and clay and rises with sand.
    """
    x, y = land.places.x, land.places.y
    e = (
        0.902
        + 0.0026 * (land.sand - 54.0)
        - 0.0032 * (land.clay - 17.0)
        - 0.060 * (np.log(covariates_.precipitation) - math.log(290.0))
        - 0.06 * (covariates_.ndvi - 0.18)
        + 0.0008 * (covariates_.snow - 15.0)
        + 0.010 * np.clip((land.elevation - 4600.0) / 500.0, -2.5, 2.5)
        - 0.030 * (land.flatness - 0.25)
        + 0.014 * fractal(x, y, field_seed(seed, "soil"), 80.0, 3)
    )
    return np.clip(e, 0.6, 1.25)


@dataclasses.dataclass(frozen=True)
class GroundClimate:
    """Parameters of daily ground and skin temperature in one year, one value a place."""

    seed: np.uint64
    """Seed of the weather."""

    x: Array
    """East in the noise plane [km]."""

    y: Array
    """North in the noise plane [km]."""

    mean: Array
    """Mean ground surface temperature of 2010 [°C]."""

    trend: Array
    """Warming [K/d]."""

    harmonics: Array
    """(4, place): cosine and sine of the annual and half-annual cycle [K]."""

    winter_offset: Array
    """How much warmer the ground is than the skin in deep winter [K]."""

    shading: Array
    """How much cooler the ground is than the skin at full summer, a unit of NDVI [K]."""

    summer_offset: Array
    """How much cooler the ground is than the skin at full summer, bare ground [K]."""

    ndvi_winter: Array
    """NDVI of the leafless season."""

    ndvi_gain: Array
    """NDVI added in summer."""

    amplitude: Array
    """Clear-sky day amplitude of bare skin, mean of the year [K]."""

    amplitude_season: Array
    """How much larger the amplitude is in early summer than on average [K]."""


def ground_climate(seed: int, land: Landscape, dynamic: Covariates) -> GroundClimate:
    """Return the parameters of daily temperature.

    The long-term mean follows elevation and latitude as the stations do (about -5 K a kilometre and -1.3 K a degree,
    less beyond 36°N, where the basins are warm); the annual amplitude grows northwards and westwards.
    """
    places = land.places
    x, y, z = places.x, places.y, land.elevation
    north = places.latitude - 32.15
    # the slope of 1.28 K a degree halves beyond 36.5°N
    polewards = 1.28 * north - 0.64 * np.logaddexp(0.0, (north - 4.35) / 0.6) * 0.6
    high = (z - 4415.0) / 1000.0
    # the dry basins of the north are warmer than their height and latitude tell
    basin = logistic((3450.0 - z) / 120.0) * logistic((places.latitude - 35.5) / 0.4) * (1.0 - land.humidity) ** 2
    mean = (
        4.2
        + 3.4 * basin
        - 5.0 * high
        - polewards
        - 0.12 * (places.longitude - 92.0)
        - 18.0 * np.clip(land.slope_north, -0.3, 0.3)
        + 0.55 * fractal(x, y, field_seed(seed, "ground mean"), 260.0, 4)
        - 0.006 * (dynamic.snow - 15.0)
        - 1.2 * (dynamic.ndvi - 0.2)
    )
    warming = 0.38 + 0.12 * fractal(x, y, field_seed(seed, "warming"), 500.0, 3)
    annual = np.clip(
        13.6
        - 1.4 * np.clip(high, -2.0, 2.0)
        + 0.42 * np.clip(places.latitude - 33.0, -6.0, 6.0)
        - 0.22 * (places.longitude - 92.0)
        + 0.5 * fractal(x, y, field_seed(seed, "annual amplitude"), 300.0, 3),
        8.5,
        20.0,
    )
    coldest = 15.0 + 2.0 * fractal(x, y, field_seed(seed, "coldest day"), 400.0, 2)
    half = 0.9 + 0.25 * fractal(x, y, field_seed(seed, "half-annual"), 400.0, 2)
    harmonics = np.stack(
        [
            -annual * np.cos(OMEGA * coldest),
            -annual * np.sin(OMEGA * coldest),
            half * np.cos(2.0 * OMEGA * 125.0),
            half * np.sin(2.0 * OMEGA * 125.0),
        ]
    )
    dryness = 1.0 - land.humidity
    bare = 18.5 + 4.5 * dryness - 0.09 * dynamic.snow + 1.0 * fractal(x, y, field_seed(seed, "day amplitude"), 150.0, 3)
    water = 1.0 - 0.65 * dynamic.lake
    return GroundClimate(
        seed=field_seed(seed, "weather"),
        x=x,
        y=y,
        mean=mean,
        trend=warming / 3652.5,
        harmonics=harmonics,
        winter_offset=1.15 + 0.012 * dynamic.snow + 0.15 * fractal(x, y, field_seed(seed, "soil heat"), 120.0, 3),
        shading=3.6 + 0.5 * fractal(x, y, field_seed(seed, "shading"), 120.0, 3),
        summer_offset=0.5 + 0.25 * fractal(x, y, field_seed(seed, "bare summer"), 120.0, 3),
        ndvi_winter=dynamic.ndvi_winter,
        ndvi_gain=dynamic.ndvi_gain,
        amplitude=bare * water,
        amplitude_season=4.0 * water,
    )


@compiled
def weather_anomaly(x: float, y: float, day: float, seed: np.uint64) -> float:
    """Return the day's departure from the season [K].

    Three parts: systems of some 700 km that last five days, smaller ones of 250 km and three days, both drifting
    east, and years that are warm or cold as a whole. Standard deviation 2.5 K in January, 1.4 K in July.
    """
    wide = noise_3d(x / 620.0 - day * 0.35, y / 620.0, day / 5.5, seed)
    small = noise_3d(
        (0.8 * x - 0.6 * y) / 230.0 - day * 0.7, (0.6 * x + 0.8 * y) / 230.0, day / 3.3, seed + np.uint64(1)
    )
    yearly = noise_3d(x / 1300.0, y / 1300.0, day / 260.0, seed + np.uint64(2))
    spread = 1.95 + 0.55 * math.cos(OMEGA * (day - 15.0))
    return spread * (0.88 * wide + 0.47 * small) + 0.18 * yearly


@compiled
def _ground(
    first: int,
    days: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    mean: NDArray[np.float64],
    trend: NDArray[np.float64],
    harmonics: NDArray[np.float64],
    seed: np.uint64,
) -> NDArray[np.float64]:
    temperature = np.empty((days, x.size))
    for t in range(days):
        day = float(first + t)
        cosine, sine = math.cos(OMEGA * day), math.sin(OMEGA * day)
        cosine_2, sine_2 = math.cos(2.0 * OMEGA * day), math.sin(2.0 * OMEGA * day)
        spread = 1.95 + 0.55 * math.cos(OMEGA * (day - 15.0))
        for i in range(x.size):
            u, v = x[i], y[i]
            wide = noise_3d(u / 620.0 - day * 0.35, v / 620.0, day / 5.5, seed)
            small = noise_3d(
                (0.8 * u - 0.6 * v) / 230.0 - day * 0.7, (0.6 * u + 0.8 * v) / 230.0, day / 3.3, seed + OCTAVE_STEP
            )
            yearly = noise_3d(u / 1300.0, v / 1300.0, day / 260.0, seed - OCTAVE_STEP)
            temperature[t, i] = (
                mean[i]
                + trend[i] * (day - 3653.0)
                + harmonics[0, i] * cosine
                + harmonics[1, i] * sine
                + harmonics[2, i] * cosine_2
                + harmonics[3, i] * sine_2
                + spread * (0.88 * wide + 0.47 * small)
                + 0.18 * yearly
            )
    return temperature


def ground_temperature(
    climate: GroundClimate, first: int, days: int, where: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return daily mean ground surface temperature [°C], (day, *places), or (day, place) where a mask is given.

    It is the season, a slow warming, and weather in three parts: systems of some 700 km that last five days, smaller
    ones of 250 km and three days, both drifting east, and years that are warm or cold as a whole. The weather's
    standard deviation is 2.5 K in January and 1.4 K in July.

    Parameters
    ----------
    climate
        Parameters of the places.
    first
        First day, counted from 0 on 1 January 2000.
    days
        How many days.
    where
        Places to compute, all by default.
    """
    chosen = np.ones(climate.x.shape, np.bool_) if where is None else where
    series: NDArray[np.float64] = _ground(
        first,
        days,
        climate.x[chosen],
        climate.y[chosen],
        climate.mean[chosen],
        climate.trend[chosen],
        np.ascontiguousarray(climate.harmonics[:, chosen]),
        climate.seed,
    )
    return series.reshape(days, *climate.x.shape) if where is None else series
