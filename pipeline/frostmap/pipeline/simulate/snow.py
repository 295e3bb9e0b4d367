"""Daily snow of the simulated plateau, as MOD10A1 stores it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from frostmap.pipeline.simulate.climate import YEAR_DAYS, covariates
from frostmap.pipeline.simulate.noise import field_seed, fractal, uniform_field
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import Layers, landscape_of

INDEX = 50
"""Of all snow, as it is stored."""

SHARE = 0.715
"""Of a pixel that snow of this index covers: 1.45 * 0.50 - 0.01."""

CLOUD = 250
"""Stored in place of the index."""


def chance_of_snow(mean: NDArray[np.float64], day: float) -> NDArray[np.float64]:
    """Return how likely a pixel with a mean annual snow cover [%] is to have snow on a day, counted from 0."""
    winter = 0.5 + 0.5 * np.cos(2.0 * np.pi * (day - 20.0) / YEAR_DAYS)
    chance: NDArray[np.float64] = np.clip(2.0 * mean / 100.0 / SHARE * winter, 0.0, 1.0)
    return chance


def snow_days(seed: int, window: Window, year: int) -> Iterator[tuple[dt.date, Layers]]:
    """Yield the days of a year: the day, and stored layers (y, x).

    Snow comes and goes from day to day, each pixel on its own, more of it in winter; clouds hide half of the plateau,
    most in summer.
    """
    land = landscape_of(seed, window)
    mean = covariates(seed, land, year + 0.5).snow
    key_seed = field_seed(seed, "snow days")
    first = dt.date(year, 1, 1)
    for day in range((dt.date(year + 1, 1, 1) - first).days):
        date = first + dt.timedelta(days=day)
        luck = uniform_field(window.rows, window.columns, year * 1000 + day, key_seed)
        cloud = fractal(land.places.x, land.places.y, field_seed(seed, f"snow cloud {date}"), 300.0, 3)
        summer = 0.5 - 0.5 * np.cos(2.0 * np.pi * (day - 20.0) / YEAR_DAYS)
        index = np.where(luck < chance_of_snow(mean, day), INDEX, 0).astype(np.uint8)
        index[cloud > 0.3 - 0.6 * summer] = CLOUD
        quality = np.where(index == CLOUD, 255, 0).astype(np.uint8)
        yield date, {"NDSI_Snow_Cover": index, "NDSI_Snow_Cover_Basic_QA": quality}
