"""Thawing sums of the skin to those of the ground: a regression on weather stations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.catalogs.sites import read_stations
from frostmap.kernels.degree_days import interval_of_day
from frostmap.pipeline.errors import DataIncomplete, FrostmapError
from frostmap.pipeline.recipe import GroundCorrection, Recipe
from frostmap.pipeline.sites import pixels_of
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.work import Work, days_in

INTERVALS = 23
LEAST_DAYS = 14
"""Valid station days that a 16-day interval needs (all but two, for the short last one); its sum is scaled up."""
TERMS = ("constant", "thawing", "ndvi", "latitude")
MARGIN = 2.0
"""A corrected interval may exceed 1.5 times the skin's sum by at most this for each of its 16 days [°C d]."""


def build(work: Work, _scope: str) -> Products:
    """Return the regression's coefficients, its rows with cross-validated predictions, and how good it is."""
    recipe = work.recipe
    stations = recipe.sources.stations
    assert stations is not None  # scopes() saw to it  # noqa: S101
    years = all_years(recipe)
    rows = delayed(station_rows)(
        recipe.path(stations.sites),
        recipe.path(stations.daily),
        work.geobox,
        work.inside,
        {year: work.open(f"degree_days/{year}")["thawing_by_interval"] for year in years},
        {year: work.open(f"vegetation/{year}")["ndvi"] for year in years},
    )
    fitted = delayed(fit)(rows)
    return Products(
        tables={"stations_fit": fitted.rows, "ground_correction": fitted.table},
        metrics={"ground_correction": fitted.metrics},
        complaint=delayed(_complain)(fitted.metrics, recipe.ground_correction),
    )


@dataclass(frozen=True)
class Regression:
    """A pooled regression of the ground's thawing sums on those of the skin."""

    coefficients: npt.NDArray[np.float64]
    """Of constant, skin sum [°C d / °C d], NDVI [°C d], latitude [°C d / °]."""
    rows: pd.DataFrame
    """The intervals that it was fitted on, with predictions."""
    metrics: dict[str, float]
    """n, stations, r2, and RMSE and bias raw, fitted and cross-validated by station [°C d]."""

    @property
    def table(self) -> pd.DataFrame:
        """Return the coefficients as a table."""
        return pd.DataFrame({"term": TERMS, "value": self.coefficients})


def corrected(
    thawing: npt.ArrayLike, ndvi: npt.ArrayLike, latitude: npt.ArrayLike, coefficients: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Return ground thawing sums of 16-day intervals (Eq. 2 of the paper).

    Nothing thaws where the skin's sum is 0 (the constant does not leak into winter), and the result stays within
    [0, 1.5 DDT + 32] °C d. A missing NDVI counts as 0.

    >>> corrected([0.0, 100.0], [0.5, 0.5], [35.0, 35.0], [10.0, 0.8, -20.0, 0.0])
    array([ 0., 80.], dtype=float32)
    """
    skin = np.asarray(thawing, dtype=np.float64)
    constant, slope, by_ndvi, by_latitude = np.asarray(coefficients, dtype=np.float64)
    ground = constant + slope * skin + by_ndvi * np.nan_to_num(ndvi) + by_latitude * np.asarray(latitude)
    ground = np.clip(ground, 0, 1.5 * skin + MARGIN * 16)
    return np.where(skin == 0, 0, ground).astype(np.float32)  # NaN stays NaN: it is not equal to 0


def station_rows(
    sites: Path,
    daily: Path,
    geobox: GeoBox,
    inside: npt.NDArray[np.bool_],
    thawing: dict[str, xr.DataArray],
    ndvi: dict[str, xr.DataArray],
) -> pd.DataFrame:
    """Return a row for each station, year and interval with both sums: of the pixel's skin and of the ground."""
    stations = read_stations(sites, daily)
    places = pixels_of(geobox, stations.sites["longitude"], stations.sites["latitude"])
    parts = []
    for site, row, col in zip(stations.sites.itertuples(), places.row, places.col, strict=True):
        if row < 0 or not inside[row, col]:
            continue
        own = stations.daily[stations.daily["station"] == site.Index]
        for year in thawing:
            of_year = own[own["date"].dt.year == int(year)]
            ground = interval_sums(
                of_year["date"].dt.dayofyear.to_numpy(), of_year["ground_temperature"].to_numpy(), int(year)
            )
            parts.append(
                pd.DataFrame(
                    {
                        "station": site.Index,
                        "year": int(year),
                        "interval": np.arange(INTERVALS),
                        "thawing_lst": np.asarray(thawing[year][:, row, col]),
                        "thawing_ground": ground,
                        "ndvi": np.asarray(ndvi[year][:, row, col]),
                        "latitude": site.latitude,
                    }
                )
            )
    if not parts:
        raise DataIncomplete(
            "no station lies in the region",
            where="sources.stations",
            found=f"{len(stations.sites)} stations elsewhere",
            wanted="stations inside the region's outline",
            remedy="give stations of the region, or set ground_correction.method: identity",
        )
    rows = pd.concat(parts, ignore_index=True).dropna()
    return rows[(rows["thawing_lst"] > 0) | (rows["thawing_ground"] > 0)].reset_index(drop=True)


def interval_sums(
    day_of_year: npt.NDArray[np.int64], temperature: npt.NDArray[np.float64], year: int
) -> npt.NDArray[np.float64]:
    """Return thawing sums of a station's 16-day intervals [°C d], NaN where more than two days are missing."""
    interval = interval_of_day(days_in(year))
    length = np.bincount(interval, minlength=INTERVALS)
    valid = np.isfinite(temperature)
    where = interval[day_of_year[valid] - 1]
    sums = np.bincount(where, weights=np.maximum(temperature[valid], 0), minlength=INTERVALS)
    count = np.bincount(where, minlength=INTERVALS)
    enough = count >= length - (16 - LEAST_DAYS)
    return np.where(enough, sums * length / np.maximum(count, 1), np.nan)


def fit(rows: pd.DataFrame) -> Regression:
    """Return the least-squares regression over all rows, cross-validated by leaving one station out."""
    design = np.column_stack([np.ones(len(rows)), rows["thawing_lst"], rows["ndvi"], rows["latitude"]])
    ground = rows["thawing_ground"].to_numpy()
    stations, group = np.unique(rows["station"], return_inverse=True)
    if len(stations) < 3:
        raise DataIncomplete(
            "too few stations for the ground correction",
            where="sources.stations",
            found=f"{len(stations)} with complete intervals in the region and years",
            wanted="at least 3",
            remedy="give more stations, or set ground_correction.method: identity",
        )
    # leave-one-station-out by subtracting the station's part of the normal equations
    gram, moment = design.T @ design, design.T @ ground
    coefficients = np.linalg.lstsq(gram, moment, rcond=None)[0]
    held_out = np.empty(len(rows))
    for i in range(len(stations)):
        own = group == i
        left = np.linalg.lstsq(gram - design[own].T @ design[own], moment - design[own].T @ ground[own], rcond=None)[0]
        held_out[own] = _predict(rows[own], left)
    fitted = _predict(rows, coefficients)
    table = rows.assign(fitted=fitted, cross_validated=held_out)
    errors = {"raw": rows["thawing_lst"] - ground, "fitted": fitted - ground, "cross_validated": held_out - ground}
    metrics: dict[str, float] = {"n": len(rows), "stations": len(stations)}
    metrics["r2"] = float(1 - np.mean(errors["fitted"] ** 2) / np.var(ground))
    for name, error in errors.items():
        metrics[f"rmse_{name}"] = float(np.sqrt(np.mean(np.square(error))))
        metrics[f"bias_{name}"] = float(np.mean(error))
    return Regression(coefficients, table, metrics)


def _predict(rows: pd.DataFrame, coefficients: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return corrected(rows["thawing_lst"], rows["ndvi"], rows["latitude"], coefficients)


def _complain(metrics: dict[str, float], settings: GroundCorrection) -> FrostmapError | None:
    if metrics["rmse_cross_validated"] <= metrics["rmse_raw"] or settings.force:
        return None
    return DataIncomplete(
        "the ground correction makes the thawing sums worse",
        where=f"{metrics['stations']} stations, {metrics['n']} intervals, left out in turn",
        found=f"RMSE {metrics['rmse_cross_validated']:.1f} °C d corrected, {metrics['rmse_raw']:.1f} °C d uncorrected",
        wanted="a smaller error with the correction than without",
        remedy="check the stations' coordinates and units; or set ground_correction.method: identity, or force: true",
    )


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.sources.lst and recipe.ground_correction.method == "pooled" else []


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    return [f"{stage}/{year}" for stage in ("degree_days", "vegetation") for year in all_years(recipe)]


GROUND_CORRECTION = Stage(
    "ground_correction",
    "regression on stations",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sources=lambda recipe, _scope: (
        [recipe.path(path) for path in (recipe.sources.stations.sites, recipe.sources.stations.daily)]
        if recipe.sources.stations
        else []
    ),
    sections=("ground_correction",),
)
