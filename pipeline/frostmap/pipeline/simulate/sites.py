"""Weather stations, boreholes and survey maps of the simulated plateau.

Sites are chosen once for the whole plateau, so a simulation of fewer tiles holds those of them that lie in its tiles.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from frostmap.pipeline.simulate.climate import (
    Landscape,
    covariates,
    ground_climate,
    ground_temperature,
    landscape,
    soil_parameter,
)
from frostmap.pipeline.simulate.noise import field_seed, uniform_field
from frostmap.pipeline.simulate.outline import inside
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.settings import Simulation
from frostmap.pipeline.simulate.surface import day_number
from frostmap.pipeline.simulate.truth import (
    GLACIER,
    LAKE,
    PERMAFROST,
    SEASONALLY_FROZEN,
    epoch_covariates,
    mean_degree_days,
)

MISSING = 32766
"""Code of a day without a reading."""

SITE_KM = 1.0
"""A site stands for ground of about this width [km]."""

Array = NDArray[np.float64]

SURVEYS: dict[str, tuple[float, float]] = {
    "wenquan": (99.4, 35.6),
    "west-kunlun": (79.6, 35.5),
    "gaize": (84.3, 33.0),
    "aerjin": (89.5, 37.3),
    "yellow-river-source": (98.0, 34.8),
}
"""Names of the survey maps, and about where they lie (longitude, latitude)."""

_CORRIDORS: dict[str, tuple[tuple[float, float], tuple[float, float], float]] = {
    "highway": ((94.1, 35.8), (91.7, 32.0), 0.40),
    "Yangtze source": ((90.8, 34.6), (95.2, 33.4), 0.22),
    "Yellow River source": ((96.6, 35.2), (99.0, 34.2), 0.13),
    "Qilian": ((97.6, 38.9), (100.4, 37.8), 0.10),
    "west": ((80.0, 36.0), (82.0, 34.0), 0.08),
    "Gaize": ((84.0, 34.2), (84.9, 32.2), 0.07),
}
"""Corridors along which boreholes stand: two ends, and the share of the boreholes."""


def _chances(seed: int, name: str, count: int, width: int) -> Array:
    number, column = np.meshgrid(np.arange(count), np.arange(width), indexing="ij")
    return uniform_field(number, column, 0, field_seed(seed, name))


def in_tiles(simulation: Simulation, longitude: Array, latitude: Array) -> NDArray[np.bool_]:
    """Return which places lie in the simulation's tiles."""
    h = np.floor(longitude * np.cos(np.radians(latitude)) / 10.0).astype(int) + 18
    v = 8 - np.floor(latitude / 10.0).astype(int)
    return np.isin(h * 100 + v, [tile.h * 100 + tile.v for tile in simulation.tile_addresses])


@dataclasses.dataclass(frozen=True)
class Stations:
    """Weather stations."""

    table: pd.DataFrame
    """Columns station, name, longitude, latitude, elevation."""

    land: Landscape
    """Landscape of the stations."""

    def only(self, keep: NDArray[np.bool_]) -> Stations:
        """Return some of the stations."""
        places = self.land.places
        kept = Places(places.longitude[keep], places.latitude[keep], places.spacing_km)
        parts = {
            field.name: getattr(self.land, field.name)[keep]
            for field in dataclasses.fields(self.land)
            if field.name != "places"
        }
        return Stations(self.table[keep].reset_index(drop=True), Landscape(kept, **parts))


@functools.lru_cache(maxsize=4)
def all_stations(seed: int, count: int, pixel_km: float) -> Stations:
    """Choose stations over the whole plateau.

    They stand where people live: low, in the east and south, away from lakes and glaciers, at heights that their pixel
    shares within 150 m.
    """
    tries = 60 * max(count, 1)
    chance = _chances(seed, "stations", tries, 3)
    longitude, latitude = 76.0 + 27.0 * chance[:, 0], 27.5 + 11.8 * chance[:, 1]
    land = landscape(seed, Places(longitude, latitude, SITE_KM))
    pixel = landscape(seed, Places(longitude, latitude, pixel_km))
    water = covariates(seed, pixel, 2020.0)
    low = 1.0 / (1.0 + np.exp((land.elevation - 4350.0) / 260.0))
    east = 0.12 + 0.88 / (1.0 + np.exp((90.0 - longitude) / 2.5))
    wanted = (
        inside(longitude, latitude)
        & (chance[:, 2] < low * east)
        & (np.abs(land.elevation - pixel.elevation) < 150.0)
        & (water.lake + water.glacier < 0.2)
    )
    chosen = np.flatnonzero(wanted)
    apart: list[int] = []
    for candidate in chosen:  # no two in one pixel
        if len(apart) == count:
            break
        near = np.hypot(
            (longitude[apart] - longitude[candidate]) * math.cos(math.radians(33.0)),
            latitude[apart] - latitude[candidate],
        )
        if near.size == 0 or near.min() > max(0.3, 1.5 * pixel_km / 111.2):
            apart.append(int(candidate))
    keep = np.zeros(tries, np.bool_)
    keep[apart] = True
    table = pd.DataFrame(
        {
            "station": 0,
            "name": "",
            "longitude": longitude.round(4),
            "latitude": latitude.round(4),
            "elevation": land.elevation.round(1),
        }
    )
    stations = Stations(table, land).only(keep)
    stations.table["station"] = 90001 + np.arange(len(stations.table))
    stations.table["name"] = [f"Simulated station {i + 1}" for i in range(len(stations.table))]
    return stations


def stations(simulation: Simulation) -> Stations:
    """Return the stations in the simulation's tiles."""
    chosen = all_stations(simulation.seed, simulation.stations, simulation.pixel_km)
    places = chosen.land.places
    return chosen.only(in_tiles(simulation, places.longitude, places.latitude))


def station_days(seed: int, chosen: Stations, years: Sequence[int]) -> pd.DataFrame:
    """Return daily ground temperature of stations: station, year, month, day, ground_temperature [0.1 °C].

    About one day in a hundred is missing; readings err by some 0.3 K.
    """
    tables = []
    for year in years:
        first = day_number(dt.date(year, 1, 1))
        days = day_number(dt.date(year + 1, 1, 1)) - first
        climate = ground_climate(seed, chosen.land, covariates(seed, chosen.land, year + 0.5))
        temperature = ground_temperature(climate, first, days)
        number, day = np.meshgrid(chosen.table["station"].to_numpy(), np.arange(first, first + days))
        luck = [uniform_field(day, number, k, field_seed(seed, "readings")) for k in range(3)]
        tenths = np.rint(10.0 * (temperature + 0.7 * (luck[0] + luck[1] - 1.0))).astype(np.int64)
        tenths[luck[2] < 0.01] = MISSING
        dates = pd.date_range(f"{year}-01-01", periods=days)
        tables.append(
            pd.DataFrame(
                {
                    "station": number.T.ravel(),
                    "year": year,
                    "month": np.tile(dates.month, len(chosen.table)),
                    "day": np.tile(dates.day, len(chosen.table)),
                    "ground_temperature": tenths.T.ravel(),
                }
            )
        )
    columns = ["station", "year", "month", "day"]
    return pd.concat(tables, ignore_index=True).sort_values(columns, ignore_index=True)


def boreholes(simulation: Simulation) -> pd.DataFrame:
    """Return the boreholes in the simulation's tiles, as of the target epoch.

    Columns name, longitude, latitude, elevation, region, magt_10m, magt_20m [°C] and permafrost (0 or 1). About three
    in four stand on permafrost, most of them near its edge. Temperature at depth follows the top of permafrost,
    (E² DDT - DDF) / year, of the site itself, which its pixel only resembles.
    """
    seed, years = simulation.seed, simulation.target_years
    tables = []
    taken, wanted = 0, 0.0
    for region, (start, end, share) in _CORRIDORS.items():
        wanted += simulation.boreholes * share
        count = round(wanted) - taken
        taken += count
        tries = 14 * max(count, 4)
        chance = _chances(seed, f"boreholes {region}", tries, 6)
        along = chance[:, 0]
        longitude = start[0] + (end[0] - start[0]) * along + 0.5 * (chance[:, 1] - 0.5)
        latitude = start[1] + (end[1] - start[1]) * along + 0.5 * (chance[:, 2] - 0.5)
        land = landscape(seed, Places(longitude, latitude, SITE_KM))
        dynamic = epoch_covariates(seed, land, years)
        ddf, ddt = mean_degree_days(seed, land, years)
        e = soil_parameter(seed, land, dynamic) + 0.03 * (chance[:, 3] + chance[:, 4] - 1.0)
        surplus = e**2 * ddt - ddf
        top = np.where(surplus <= 0.0, surplus, surplus / e**2) / 365.25
        usable = inside(longitude, latitude) & (dynamic.lake + dynamic.glacier < 0.2)
        nearest = np.argsort(np.abs(top) + 10.0 * chance[:, 5] + np.where(usable, 0.0, 1e6), kind="stable")
        nearest = nearest[usable[nearest]]
        frozen = nearest[top[nearest] < 0.0]
        thawed = nearest[top[nearest] >= 0.0]
        few = min(round(0.24 * count), len(thawed))
        chosen = np.sort(np.concatenate([frozen[: count - few], thawed[:few]]))
        ten = 0.85 * top[chosen] + 0.3 * (chance[chosen, 3] - 0.5)
        tables.append(
            pd.DataFrame(
                {
                    "longitude": longitude[chosen].round(4),
                    "latitude": latitude[chosen].round(4),
                    "elevation": land.elevation[chosen].round(1),
                    "region": region,
                    "magt_10m": ten.round(2),
                    "magt_20m": (0.85 * top[chosen] + 0.1 * np.sign(top[chosen])).round(2),
                    "permafrost": (top[chosen] < 0.0).astype(int),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "name", [f"SIM-{i + 1:03d}" for i in range(len(table))])
    keep = in_tiles(simulation, table["longitude"].to_numpy(), table["latitude"].to_numpy())
    return table[keep].reset_index(drop=True)


def survey_size(pixel_km: float) -> int:
    """Return the side of a survey map in pixels: 60 km, enlarged where pixels are coarse.

    Examples
    --------
    >>> survey_size(0.93), survey_size(13.9)
    (65, 18)
    """
    return max(4, round(max(60.0, min(18 * pixel_km, 260.0)) / pixel_km))


def place_survey(
    classes: NDArray[np.float32], longitude: Array, latitude: Array, centre: tuple[float, float], size: int
) -> tuple[slice, slice] | None:
    """Find where near a place a survey map holds both classes best.

    Parameters
    ----------
    classes
        Truth of the training epoch, (y, x); NaN where there is none.
    longitude, latitude
        Of the pixels [°].
    centre
        Longitude and latitude of the place [°].
    size
        Side of the map in pixels.

    Returns
    -------
    tuple or None
        Rows and columns; None where no window near the place holds both classes.
    """
    kernel = {"size": size, "mode": "constant", "origin": 0}
    frozen = uniform_filter((classes == PERMAFROST).astype(np.float64), **kernel)
    thawed = uniform_filter((classes == SEASONALLY_FROZEN).astype(np.float64), **kernel)
    away = np.hypot((longitude - centre[0]) * math.cos(math.radians(centre[1])), latitude - centre[1])
    score = np.minimum(frozen, thawed) + 0.25 * np.minimum(frozen + thawed, 1.0) - 0.12 * away
    half = size // 2
    allowed = np.zeros(classes.shape, np.bool_)
    allowed[half : classes.shape[0] - (size - half) + 1, half : classes.shape[1] - (size - half) + 1] = True
    score[(away > 3.0) | ~allowed | (np.minimum(frozen, thawed) < 0.02)] = -np.inf
    if not np.isfinite(score).any():
        return None
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    top, left = int(row) - half, int(column) - half
    return slice(top, top + size), slice(left, left + size)


def survey_map(
    seed: int, name: str, classes: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return a survey map: 1 permafrost, 2 seasonally frozen, 3 no data; 1.5 % of it mapped wrong.

    Parameters
    ----------
    seed, name
        The plateau's, and the map's name.
    classes
        Truth, (y, x).
    rows, columns
        Global rows and columns of the pixels.
    """
    surveyed = np.full(classes.shape, 3, np.uint8)
    known = np.isfinite(classes) & (classes != GLACIER) & (classes != LAKE)
    frozen = known & (classes == PERMAFROST)
    surveyed[known] = np.where(frozen[known], PERMAFROST, SEASONALLY_FROZEN)
    mistaken = uniform_field(rows, columns, 0, field_seed(seed, f"survey {name}")) < 0.015
    surveyed[mistaken & known] = 3 - surveyed[mistaken & known]
    return surveyed
