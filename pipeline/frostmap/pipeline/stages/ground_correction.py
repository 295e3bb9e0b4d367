"""Sums of the skin to those of the ground: a regression on weather stations, or coefficients that are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.stations import read_stations, station_files
from frostmap.catalogs.tables import check_all, numbers, read_table
from frostmap.kernels.degree_days import DAYS_PER_INTERVAL, complete_year, degree_day_sums, thawing_by_interval
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.ground_regression import (
    FEWEST_STATIONS,
    FREEZING_TERMS,
    INTERVALS,
    SHRINKAGES,
    TERMS,
    Numbers,
    Regression,
    Sample,
    fit,
    scores,
    unexpected_signs,
)
from frostmap.pipeline.recipe import GroundCorrection, Recipe, YearKind
from frostmap.pipeline.sites import pixels_of
from frostmap.pipeline.stage import Products, Stage, all_degree_years, all_epochs, all_years
from frostmap.pipeline.stages.vegetation import composite_years, of_one_year
from frostmap.pipeline.work import Work, first_and_last_day

LEAST_DAYS = 14
"""Valid station days that a 16-day interval needs (all but two, for the short last one); its sum is scaled up."""
ELEVATION_GROUP = "terrain"
"""Group of the cube that has the pixels' mean elevation."""


@dataclass(frozen=True)
class Correction:
    """What the stage makes."""

    tables: Mapping[str, pd.DataFrame]
    metrics: Mapping[str, Any]
    complaint: FrostmapError | None


def build(work: Work, _scope: str) -> Products:
    """Return coefficients, the rows that they were fitted on with predictions for left-out stations, and scores."""
    made = delayed(_correction_in, pure=False)(work.recipe, work.folder)
    return Products(
        tables={name: made.tables[name] for name in _table_names(work.recipe)},
        metrics={"ground_correction": made.metrics},
        complaint=made.complaint,
    )


def _table_names(recipe: Recipe) -> list[str]:
    names = ["ground_correction", "ground_coefficients"]
    if recipe.sources.stations is not None:
        names += ["stations", "stations_fit", "ground_correction_intervals"]
    if recipe.ground_correction.freezing == "pooled":
        names += ["ground_correction_freezing", "stations_freezing"]
    return names


def _correction_in(recipe: Recipe, folder: Path) -> Correction:
    return correction(Work(recipe, folder))


def correction(work: Work) -> Correction:
    """Return coefficients and how good they are: from the recipe, or from its stations and the sums of their pixels."""
    recipe, settings = work.recipe, work.recipe.ground_correction
    given = given_coefficients(recipe)
    if recipe.sources.stations is None:
        assert given is not None  # the recipe sees to it  # noqa: S101
        signs = unexpected_signs(given)
        return Correction(_coefficient_tables(given, given.mean(axis=0)), {"warnings": signs}, None)
    sites, thawing, freezing = station_rows(work)
    regression = thawing_regression(thawing, settings, given, sites)
    thawing = thawing.assign(fitted=regression.fitted, cross_validated=regression.cross_validated)
    metrics = _score(thawing, "thawing")
    metrics["excluded"] = int((sites["excluded"] != "").sum())
    metrics["relative_error"] = relative_errors(thawing, freezing)
    if settings.method == "per_interval":
        metrics["shrinkage"] = regression.shrinkage if np.isfinite(regression.shrinkage) else "pooled"
    metrics["warnings"] = unexpected_signs(regression.coefficients, np.unique(thawing["interval"].to_numpy()))
    tables = dict(_coefficient_tables(regression.coefficients, regression.pooled))
    by_station = scores(thawing, "thawing", by="station").drop(columns="stations").set_index("station")
    tables["stations"] = sites.join(by_station).reset_index()
    tables["stations_fit"] = thawing
    tables["ground_correction_intervals"] = scores(thawing, "thawing", by="interval")
    complaint = _complain(metrics, settings, "thawing")
    if settings.freezing == "pooled":
        yearly = fit(_sample(freezing, "freezing", sites), intervals=1)
        freezing = freezing.assign(fitted=yearly.fitted, cross_validated=yearly.cross_validated)
        metrics["freezing"] = _score(freezing, "freezing")
        if yearly.pooled[1] < 0:
            metrics["warnings"].append(
                f"the coefficient of freezing is {yearly.pooled[1]:.4g}, not positive as expected"
            )
        tables["stations_freezing"] = freezing
        tables["ground_correction_freezing"] = pd.DataFrame({"term": FREEZING_TERMS, "value": yearly.pooled})
        complaint = complaint or _complain(metrics["freezing"], settings, "freezing")
    return Correction(tables, metrics, complaint)


def relative_errors(thawing: pd.DataFrame, freezing: pd.DataFrame) -> dict[str, float]:
    """Return the relative standard error of an epoch's thawing and freezing sum (ddt, ddf), as stations see it.

    The scatter over stations of the logarithm of what the pixel's sum is to the station's, all years together: thawing
    as predicted for stations that were left out, freezing as it is. It is 1.4826 times the median distance from the
    median, so that the few stations with hardly any frost do not decide it; what all stations have in common is left
    out, for E takes it up. It also holds how a station's plot differs from its pixel. Empty where there are fewer than
    five stations.
    """
    found = {}
    for name, rows, mine, theirs in (
        ("ddt", thawing, "cross_validated", "thawing_ground"),
        ("ddf", freezing, "freezing_lst", "freezing_ground"),
    ):
        sums = rows.groupby("code")[[mine, theirs]].sum()
        sums = sums[(sums > 0).all(axis=1)]
        if len(sums) >= 5:
            ratio = np.log(sums[mine].to_numpy() / sums[theirs].to_numpy())
            found[name] = float(1.4826 * np.median(np.abs(ratio - np.median(ratio))))
    return found


def thawing_regression(
    rows: pd.DataFrame, settings: GroundCorrection, given: Numbers | None, sites: pd.DataFrame
) -> Regression:
    """Return the regression that is asked for; given coefficients (intervals, 4) are only applied."""
    if given is None:
        shrinkages = SHRINKAGES if settings.method == "per_interval" else (np.inf,)
        return fit(_sample(rows, "thawing", sites), shrinkages=shrinkages)
    predicted = Sample.of(rows, "thawing").predicted(given)
    return Regression(given, given.mean(axis=0), np.inf, predicted, predicted)


def _score(rows: pd.DataFrame, quantity: str) -> dict[str, Any]:
    return {str(name): value for name, value in scores(rows, quantity).to_dict("records")[0].items()}


def _sample(rows: pd.DataFrame, quantity: str, sites: pd.DataFrame) -> Sample:
    stations = rows["code"].nunique()
    if stations < FEWEST_STATIONS:
        key = "freezing: none" if quantity == "freezing" else "method: identity"
        raise DataIncomplete(
            f"too few stations for the correction of {quantity} sums",
            where="sources.stations",
            found=f"{stations} with sums in the region and years; left out: {_examples(sites)}",
            wanted=f"at least {FEWEST_STATIONS}",
            remedy=f"give more stations, or set ground_correction.{key}",
        )
    return Sample.of(rows, quantity)


def _examples(sites: pd.DataFrame, most: int = 5) -> str:
    """Say why stations are left out."""
    excluded = sites["excluded"][sites["excluded"] != ""]
    named = "; ".join(f"{station} ({reason})" for station, reason in excluded.iloc[:most].items())
    return named + (f"; and {len(excluded) - most} more" if len(excluded) > most else "") if len(excluded) else "none"


def _coefficient_tables(coefficients: Numbers, pooled: Numbers) -> dict[str, pd.DataFrame]:
    by_interval = pd.DataFrame(np.broadcast_to(coefficients, (INTERVALS, len(TERMS))), columns=list(TERMS))
    by_interval.insert(0, "interval", np.arange(INTERVALS))
    return {
        "ground_correction": pd.DataFrame({"term": TERMS, "value": pooled}),
        "ground_coefficients": by_interval,
    }


def _complain(metrics: Mapping[str, Any], settings: GroundCorrection, quantity: str) -> FrostmapError | None:
    if metrics["rmse_cross_validated"] <= metrics["rmse_raw"] or settings.force:
        return None
    key = "freezing: none" if quantity == "freezing" else "method: identity"
    return DataIncomplete(
        f"the ground correction makes the {quantity} sums worse",
        where=f"{metrics['stations']:g} stations, {metrics['n']:g} sums, left out in turn",
        found=f"RMSE {metrics['rmse_cross_validated']:.1f} °C d corrected, {metrics['rmse_raw']:.1f} °C d uncorrected",
        wanted="a smaller error with the correction than without",
        remedy=f"check the stations' coordinates and units; or set ground_correction.{key}, or force: true",
    )


# ---- coefficients that are given ----------------------------------------------------------------------------------


def given_coefficients(recipe: Recipe) -> Numbers | None:
    """Return the coefficients in the recipe or its table, (23, 4); those of identity; None where they are fitted."""
    settings = recipe.ground_correction
    if settings.method == "identity":
        return np.broadcast_to(np.array([0.0, 1.0, 0.0, 0.0]), (INTERVALS, len(TERMS)))
    if settings.method != "coefficients":
        return None
    if settings.coefficients is not None:
        sets = np.array([[getattr(one, term) for term in TERMS] for one in settings.coefficients])
    else:
        assert settings.coefficients_table is not None  # the recipe sees to it  # noqa: S101
        sets = read_coefficients(recipe.path(settings.coefficients_table))
    if sets[:, TERMS.index("ndvi")].any() and recipe.sources.ndvi is None:
        raise UserError(
            "coefficients of NDVI without NDVI",
            where="ground_correction.coefficients_table",
            found=f"up to {np.abs(sets[:, TERMS.index('ndvi')]).max():g}, and no sources.ndvi",
            wanted="granules of NDVI, or coefficients of 0",
            remedy="name sources.ndvi in the recipe",
        )
    return np.broadcast_to(sets, (INTERVALS, len(TERMS)))


def read_coefficients(path: Path) -> Numbers:
    """Read coefficients: a CSV with columns interval (0 to 22), constant, thawing, ndvi, latitude; 23 rows, or one.

    Returns
    -------
    (23, 4) or (1, 4) array
        In the order of the intervals and of TERMS.
    """
    table = read_table(path, TERMS, None, ("interval",))
    for name in TERMS:
        table[name] = numbers(table, name, path)
        check_all(table, np.isfinite(table[name]), path, "a coefficient that is not finite", "a number", name)
    if len(table) > 1:
        table["interval"] = numbers(table, "interval", path)
        if sorted(table["interval"]) != list(range(INTERVALS)):
            raise CatalogError(
                "coefficients do not have each interval once",
                where=path,
                found=f"{len(table)} rows, intervals {table['interval'].min():g} to {table['interval'].max():g}",
                wanted="one row for all intervals, or the intervals 0 to 22",
            )
        table = table.sort_values("interval")
    return table[list(TERMS)].to_numpy(np.float64)


# ---- stations and their pixels ------------------------------------------------------------------------------------


def station_rows(work: Work) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return stations with their pixels, and sums of both: a row for each interval, and one for each year.

    Returns
    -------
    stations, thawing, freezing : DataFrames
        Of the stations (index station), `excluded` says why one is left out; else it is empty. The rows of thawing sums
        are those where something thaws.
    """
    recipe = work.recipe
    given, years = recipe.sources.stations, all_degree_years(recipe)
    assert given is not None  # only then is it called  # noqa: S101
    kind = recipe.degree_days.year
    calendar = {int(year) - before for year in years for before in ((0, 1) if kind == "freezing" else (0,))}
    box = work.geobox.footprint("EPSG:4326", buffer=0, npoints=50).boundingbox
    found = read_stations(
        recipe.path(given.sites) if given.sites else None,
        recipe.path(given.daily),
        columns=given.columns,
        coordinates=given.coordinates,
        years=calendar,
        within=(box.left, box.bottom, box.right, box.top),
    )
    sites = judged(found.sites, work)
    kept = sites[sites["excluded"] == ""]
    daily = found.daily[found.daily["station"].isin(kept.index)].pivot(
        index="date", columns="station", values="ground_temperature"
    )
    by_interval, by_year = [], []
    wet = _lakes(work) > recipe.ground_correction.max_water if recipe.ground_correction.pixel == "median3" else None
    usable = work.inside if wet is None else work.inside & ~wet
    for year in years:
        thawing, freezing = station_sums(
            daily.reindex(columns=kept.index), int(year), kind, recipe.degree_days.minimum_days
        )
        sums = work.open(f"degree_days/{year}")
        calendars = composite_years(int(year), kind) if recipe.sources.ndvi is not None else []
        ndvi = {calendar: work.open(f"vegetation/{calendar}")["ndvi"] for calendar in calendars}
        first, last = first_and_last_day(int(year), kind)
        days = int((last - first).astype(int)) + 1
        for i, (station, site) in enumerate(kept.iterrows()):
            pixel = _Pixel(int(site["row"]), int(site["col"]), recipe.ground_correction.pixel, usable)
            skin = pixel.sums(sums, days, recipe.degree_days.minimum_days)
            greenness = np.zeros(INTERVALS)
            if ndvi:
                series = {calendar: pixel.value(window) for calendar, window in ndvi.items()}
                greenness = of_one_year(series, int(year), kind)
            common = {"station": station, "code": site["code"], "year": int(year)}
            parts = {"thawing_lst": skin.thawing, "thawing_ground": thawing[:, i], "ndvi": greenness}
            by_interval.append(
                pd.DataFrame(common | {"interval": np.arange(INTERVALS)} | parts | {"latitude": site["latitude"]})
            )
            known = greenness[np.isfinite(greenness)]
            by_year.append(
                common
                | {"freezing_lst": skin.freezing, "freezing_ground": freezing[i]}
                | {"ndvi": known.mean() if known.size else np.nan, "latitude": site["latitude"]}
            )
    rows = pd.concat(by_interval, ignore_index=True).dropna() if by_interval else pd.DataFrame({"station": []})
    without = ~kept.index.isin(rows["station"])
    sites.loc[kept.index[without], "excluded"] = "no interval with enough days and a sum of its pixel"
    if not len(rows):
        raise DataIncomplete(
            "no station can be used for the ground correction",
            where="sources.stations",
            found=f"{len(sites)} stations, left out: {_examples(sites)}",
            wanted="stations inside the region's outline, with daily temperatures of its years",
            remedy="give stations of the region, or set ground_correction.method: identity",
        )
    rows = rows[(rows["thawing_lst"] > 0) | (rows["thawing_ground"] > 0)].reset_index(drop=True)
    return sites, rows, pd.DataFrame(by_year).dropna().reset_index(drop=True)


def judged(sites: pd.DataFrame, work: Work) -> pd.DataFrame:
    """Return stations with row, col, water and elevation of their pixel, and the reason why one is left out."""
    settings = work.recipe.ground_correction
    places = pixels_of(work.geobox, sites["longitude"], sites["latitude"])
    table = sites.assign(row=places.row, col=places.col, water=np.nan, pixel_elevation=np.nan, excluded="")
    on_map = table["row"] >= 0
    table.loc[~on_map, "excluded"] = "outside the map"
    rows, cols = table.loc[on_map, "row"].to_numpy(), table.loc[on_map, "col"].to_numpy()
    table.loc[on_map, "excluded"] = np.where(work.inside[rows, cols], "", "outside the region")
    table.loc[on_map, "water"] = _lakes(work)[rows, cols]
    elevation = pixel_elevation(work)
    if elevation is not None:
        points = {"y": xr.DataArray(rows, dims="station"), "x": xr.DataArray(cols, dims="station")}
        table.loc[on_map, "pixel_elevation"] = elevation.isel(points).to_numpy()
    above = table["elevation"] - table["pixel_elevation"]
    wet = (table["excluded"] == "") & (table["water"] > settings.max_water)
    table.loc[wet, "excluded"] = [f"{100 * share:.0f} % of its pixel is lake" for share in table.loc[wet, "water"]]
    off = (table["excluded"] == "") & (above.abs() > settings.max_elevation_difference_m)
    table.loc[off, "excluded"] = [
        f"{abs(height):.0f} m {'above' if height > 0 else 'below'} the mean of its pixel" for height in above[off]
    ]
    return table


def pixel_elevation(work: Work) -> xr.DataArray | None:
    """Return the pixels' mean elevation [m], lazily; None where the recipe names no elevation."""
    there = work.recipe.sources.elevation is not None and work.has(ELEVATION_GROUP)
    return work.open(ELEVATION_GROUP)["elevation"] if there else None


def _lakes(work: Work) -> npt.NDArray[np.float32]:
    """Return the largest lake fraction of a pixel in any epoch."""
    layers = [work.open(f"masks/{epoch}")["lakes"].to_numpy() for epoch in all_epochs(work.recipe)]
    largest: npt.NDArray[np.float32] = np.maximum.reduce(layers)
    return largest


@dataclass(frozen=True)
class _Skin:
    """Sums of a pixel's year [°C d], scaled to all its days."""

    thawing: Numbers
    """(23,)."""
    freezing: float


@dataclass(frozen=True)
class _Pixel:
    """What stands for a station: a pixel, or the median of those around it that are usable."""

    row: int
    col: int
    choice: Literal["nearest", "median3"]
    usable: npt.NDArray[np.bool_]
    """(y, x)."""

    def sums(self, degree_days: xr.Dataset, days: int, minimum_days: int) -> _Skin:
        """Return the skin's sums of a year of so many days; NaN where too few of them are valid."""
        window = degree_days[["freezing", "thawing_by_interval", "valid_days"]].isel(self._window())
        freezing, thawing = complete_year(
            window["freezing"].to_numpy(),
            window["thawing_by_interval"].to_numpy(),
            window["valid_days"].to_numpy(),
            days,
            minimum_days,
        )
        return _Skin(self._middle(thawing), float(self._middle(freezing)))

    def value(self, variable: xr.DataArray) -> Numbers:
        """Return a variable's values."""
        return self._middle(variable.isel(self._window()).to_numpy())

    def _window(self) -> dict[str, slice]:
        reach = 1 if self.choice == "median3" else 0
        return {
            "y": slice(max(self.row - reach, 0), self.row + reach + 1),
            "x": slice(max(self.col - reach, 0), self.col + reach + 1),
        }

    def _middle(self, values: npt.NDArray[np.float32]) -> Numbers:
        window = self._window()
        pixels = values[..., self.usable[window["y"], window["x"]]].astype(np.float64)
        known = np.isfinite(pixels).any(axis=-1)
        middle = np.full(known.shape, np.nan)
        middle[known] = np.nanmedian(pixels[known], axis=-1)
        return middle


def station_sums(
    daily: pd.DataFrame, year: int, kind: YearKind = "calendar", minimum_days: int = 350
) -> tuple[Numbers, Numbers]:
    """Return sums of stations in a year, scaled to all days, by the kernels that sum the map's pixels.

    Parameters
    ----------
    daily
        Ground temperatures [°C], a row a day (dates) and a column a station; NaN is missing.
    year
        The year, or of a freezing year the one in which it ends.
    kind
        calendar or freezing.
    minimum_days
        Valid days that the freezing sum of a year needs.

    Returns
    -------
    thawing : (23, station)
        Sums of the 16-day intervals [°C d], NaN where more than two days are missing. The intervals are those of the
        calendar year, also in a freezing year.
    freezing : (station,)
        Sums of the year [°C d].
    """
    days = pd.date_range(*first_and_last_day(year, kind))
    interval = (days.day_of_year.to_numpy(np.int64) - 1) // DAYS_PER_INTERVAL
    temperature = np.ascontiguousarray(daily.reindex(days).to_numpy(np.float32)[:, None, :])
    length = np.bincount(interval, minlength=INTERVALS)[:, None]
    count = np.zeros((INTERVALS, daily.shape[1]))
    np.add.at(count, interval, np.isfinite(temperature[:, 0]))
    sums = thawing_by_interval(temperature, interval)[:, 0].astype(np.float64)
    enough = count >= length - (DAYS_PER_INTERVAL - LEAST_DAYS)
    thawing = np.where(enough, sums * length / np.maximum(count, 1), np.nan)
    cold, warm, valid = degree_day_sums(temperature)
    freezing, _ = complete_year(cold, warm, valid, len(days), minimum_days)
    return thawing, freezing[0].astype(np.float64)


# ---- the stage ----------------------------------------------------------------------------------------------------


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.sources.lst and recipe.ground_correction.changes_anything else []


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    if recipe.sources.stations is None:
        return []
    yearly = [f"degree_days/{year}" for year in all_degree_years(recipe)]
    yearly += [f"vegetation/{year}" for year in all_years(recipe)]
    return yearly + [f"masks/{epoch}" for epoch in all_epochs(recipe)] + [ELEVATION_GROUP]


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    given, table = recipe.sources.stations, recipe.ground_correction.coefficients_table
    paths = [] if table is None else [recipe.path(table)]
    if given is not None:
        sites = recipe.path(given.sites) if given.sites else None
        paths += [*([sites] if sites else []), *station_files(recipe.path(given.daily), sites)]
    return paths


GROUND_CORRECTION = Stage(
    "ground_correction",
    "regression on stations",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sources=_sources,
    sections=("ground_correction", "degree_days"),
    version=4,
)
