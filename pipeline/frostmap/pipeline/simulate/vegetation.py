"""Vegetation composites of the simulated plateau, as MOD13A1 stores them."""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.view_geometry import solar_declination
from frostmap.pipeline.simulate.climate import covariates, season
from frostmap.pipeline.simulate.clouds import monsoon
from frostmap.pipeline.simulate.noise import field_seed, fractal, uniform_field
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import Layers, landscape_of

COMPOSITES, INTERVAL = 23, 16
"""Composites a year, and days between their starts; the last is cut short by the year's end."""


def composite_dates(year: int) -> list[dt.date]:
    """Return the first day of each composite of a year."""
    return [dt.date(year, 1, 1) + dt.timedelta(days=INTERVAL * i) for i in range(COMPOSITES)]


def composites(seed: int, window: Window, year: int) -> list[tuple[dt.date, Layers]]:
    """Return the composites of a year: first day, and stored layers (y, x).

    Most pixels are good; in the monsoon some stay cloudy for all 16 days and read low (reliability 3), in winter snow
    lies on high ground (reliability 2).
    """
    land = landscape_of(seed, window)
    places = land.places
    dynamic = covariates(seed, land, year + 0.5)
    pixel_seed = field_seed(seed, "composites")
    result = []
    for number, date in enumerate(composite_dates(year)):
        middle = date.timetuple().tm_yday - 1.0 + INTERVAL / 2.0
        key = year * COMPOSITES + number
        chance, luck, spread = (
            uniform_field(window.rows, window.columns, key, pixel_seed + np.uint64(k)) for k in range(3)
        )
        ndvi = dynamic.ndvi_winter + dynamic.ndvi_gain * float(season(np.array([middle]))[0])
        ndvi = ndvi + 0.02 * (luck + spread - 1.0)
        overcast = fractal(places.x, places.y, field_seed(seed, f"composite {key}"), 160.0, 3)
        wet = monsoon(middle) * land.humidity
        winter = 0.5 + 0.5 * np.cos(2.0 * np.pi * (middle - 20.0) / 365.0)
        reliability = np.where(chance < 0.12, 1, 0)
        reliability[chance < np.clip(dynamic.snow / 100.0 * winter * 1.3 - 0.1, 0.0, 0.9)] = 2
        reliability[overcast > 2.6 - 1.5 * wet] = 3
        ndvi = np.where(reliability == 2, -0.02 + 0.06 * luck, ndvi)
        ndvi = np.where(reliability == 3, 0.45 * ndvi - 0.03, ndvi)
        result.append((date, _stored(ndvi, reliability, places.latitude, date, luck, spread)))
    return result


def _stored(
    ndvi: NDArray[np.float64],
    reliability: NDArray[np.int64],
    latitude: NDArray[np.float64],
    date: dt.date,
    luck: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> Layers:
    bright = np.where(reliability >= 2, 0.5, 0.0)
    infrared = 0.20 + 0.18 * ndvi + bright
    red = infrared * (1.0 - ndvi) / (1.0 + ndvi)
    day_of_year = date.timetuple().tm_yday
    last = (dt.date(date.year, 12, 31) - date).days
    composite_day = day_of_year + np.minimum((luck * INTERVAL).astype(np.int64), last)
    tilt = solar_declination(2.0 * np.pi * (day_of_year + 7) / 365.0)
    sun = np.degrees(np.abs(np.radians(latitude) - tilt)) * 0.9 + 8.0

    def scaled(values: NDArray[np.float64], factor: float, low: int, high: int) -> NDArray[np.int16]:
        return np.clip(np.rint(values * factor), low, high).astype(np.int16)

    layers: Layers = {
        "NDVI": scaled(ndvi, 1e4, -2000, 10000),
        "EVI": scaled(0.62 * ndvi, 1e4, -2000, 10000),
        "VI Quality": np.array([2112, 2117, 18510, 34842], np.uint16)[reliability],
        "red reflectance": scaled(red, 1e4, 0, 10000),
        "NIR reflectance": scaled(infrared, 1e4, 0, 10000),
        "blue reflectance": scaled(0.55 * red, 1e4, 0, 10000),
        "MIR reflectance": scaled(0.9 * infrared, 1e4, 0, 10000),
        "view zenith angle": scaled(60.0 * spread**2, 100.0, 0, 18000),
        "sun zenith angle": scaled(sun, 100.0, 0, 18000),
        "relative azimuth angle": scaled(360.0 * luck - 180.0, 100.0, -18000, 18000),
        "composite day of the year": composite_day.astype(np.int16),
        "pixel reliability": reliability.astype(np.int8),
    }
    return {f"500m 16 days {name}": values for name, values in layers.items()}
