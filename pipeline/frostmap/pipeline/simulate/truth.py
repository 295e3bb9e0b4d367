"""The truth of the simulated plateau: degree days of the ground surface, E, and the class that follows from them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.frost_number import frozen_ground
from frostmap.pipeline.simulate.climate import (
    Covariates,
    GroundClimate,
    Landscape,
    covariates,
    ground_climate,
    ground_temperature,
    landscape,
    soil_parameter,
)
from frostmap.pipeline.simulate.outline import inside
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.surface import day_number

PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN, GLACIER, LAKE = 1, 2, 3, 4, 5

CHUNK_DAYS = 8
"""Days of ground temperature held at a time."""

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Truth:
    """What a perfect map would show, one value a place; NaN outside the outline."""

    ddf: NDArray[np.float32]
    """Mean annual freezing degree days of the ground surface [°C d]."""

    ddt: NDArray[np.float32]
    """Mean annual thawing degree days of the ground surface [°C d]."""

    e: NDArray[np.float32]
    """Soil parameter E."""

    frozen_ground: NDArray[np.float32]
    """1 permafrost, 2 seasonally frozen, 3 non-frozen, 4 glacier, 5 lake."""


def degree_days(climate: GroundClimate, year: int, where: NDArray[np.bool_] | None = None) -> tuple[Array, Array]:
    """Return freezing and thawing sums of a year's daily mean ground surface temperature [°C d].

    Where a mask is given and false the sums are NaN, and cost nothing.
    """
    chosen = np.ones(climate.x.shape, np.bool_) if where is None else where
    first, end = day_number(dt.date(year, 1, 1)), day_number(dt.date(year + 1, 1, 1))
    freezing, thawing = np.zeros(int(chosen.sum())), np.zeros(int(chosen.sum()))
    for day in range(first, end, CHUNK_DAYS):
        temperature = ground_temperature(climate, day, min(CHUNK_DAYS, end - day), chosen)
        freezing -= np.minimum(temperature, 0.0).sum(axis=0)
        thawing += np.maximum(temperature, 0.0).sum(axis=0)
    sums = np.full((2, *chosen.shape), np.nan)
    sums[:, chosen] = freezing, thawing
    return sums[0], sums[1]


def epoch_covariates(seed: int, land: Landscape, years: Sequence[int]) -> Covariates:
    """Return the covariates of an epoch: those of its middle."""
    return covariates(seed, land, (years[0] + years[-1] + 1) / 2.0)


def mean_degree_days(
    seed: int, land: Landscape, years: Sequence[int], where: NDArray[np.bool_] | None = None
) -> tuple[Array, Array]:
    """Return mean annual freezing and thawing sums of an epoch [°C d]."""
    sums = [degree_days(ground_climate(seed, land, covariates(seed, land, year + 0.5)), year, where) for year in years]
    freezing = np.mean([freezing for freezing, _ in sums], axis=0)
    thawing = np.mean([thawing for _, thawing in sums], axis=0)
    return freezing, thawing


def truth(seed: int, places: Places, years: Sequence[int], land: Landscape | None = None) -> Truth:
    """Return the truth of an epoch.

    Parameters
    ----------
    seed
        The plateau's.
    places
        Pixel centres or sites.
    years
        Years of the epoch.
    land
        The places' landscape, where it is known already.
    """
    land = landscape(seed, places) if land is None else land
    dynamic = epoch_covariates(seed, land, years)
    outside = ~inside(places.longitude, places.latitude)
    ddf, ddt = mean_degree_days(seed, land, years, ~outside)
    e = soil_parameter(seed, land, dynamic)
    ground = frozen_ground(ddf, ddt, e).astype(np.float32)
    ground[dynamic.glacier >= 0.5] = GLACIER
    ground[dynamic.lake >= 0.5] = LAKE
    values = [np.where(outside, np.nan, value).astype(np.float32) for value in (ddf, ddt, e, ground)]
    return Truth(*values)
