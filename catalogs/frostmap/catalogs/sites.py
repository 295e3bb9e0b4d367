"""Boreholes and weather stations: the ground truth that maps are fitted to and judged by.

Their tables come from many hands, so every column is checked on the way in, and an error names the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frostmap.catalogs.errors import CatalogError

MISSING = 32766
"""Stands for a missing observation in tables of the China Meteorological Administration."""

OVERFLOW = 10000
"""Is added to the limit of a thermometer that ran out of range: 10000 + limit above, -10000 + limit below."""

PLAUSIBLE_GROUND_TEMPERATURE = (-70.0, 85.0)
"""What a daily mean of the ground's surface can be [°C]; beyond it, a table is coded otherwise."""


@dataclass(frozen=True)
class Stations:
    """Weather stations and their daily ground-surface temperatures."""

    sites: pd.DataFrame
    """A row a station: index station (text), columns name, longitude, latitude [°], elevation [m]."""

    daily: pd.DataFrame
    """A row a station and day, in order: station, date, ground_temperature [°C, NaN missing], overflow (the thermometer
    ran out of range, and the temperature is its limit)."""


def read_stations(sites: str | Path, daily: str | Path) -> Stations:
    """Read a table of stations and the table of their daily 0-cm ground temperatures.

    Parameters
    ----------
    sites
        CSV with columns station, name, longitude, latitude, elevation.
    daily
        CSV, possibly compressed, with columns station, year, month, day, ground_temperature; the last in 0.1 °C, 32766
        or empty where missing, ±10000 added where the thermometer ran out of range.
    """
    stations = read_station_sites(sites)
    observations = read_station_days(daily)
    unknown = sorted(set(observations["station"]) - set(stations.index))
    if unknown:
        raise CatalogError(
            "observations of stations that are not in the table of stations",
            where=daily,
            found=", ".join(unknown[:10]),
            wanted=f"stations of {sites}",
        )
    return Stations(stations, observations)


def read_station_sites(path: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read where stations are.

    Parameters
    ----------
    path
        CSV with columns station, name, longitude, latitude [°], elevation [m].
    columns
        What the file calls those of them that it names differently, such as ``{"longitude": "lon_dd"}``.
    """
    table = _read_table(path, ("station", "name", "longitude", "latitude", "elevation"), columns)
    table["station"] = _codes(table["station"])
    table["name"] = table["name"].fillna("")
    for column in ("longitude", "latitude", "elevation"):
        table[column] = _numbers(table, column, path)
    _check_places(table, path)
    _check_once(table, ["station"], path)
    return table.set_index("station")


def read_station_days(
    path: str | Path, columns: Mapping[str, str] | None = None, *, station: str | None = None
) -> pd.DataFrame:
    """Read daily ground temperatures in the coding of the China Meteorological Administration.

    Parameters
    ----------
    path
        CSV, possibly compressed, with columns station, year, month, day, ground_temperature [0.1 °C].
    columns
        What the file calls those of them that it names differently, such as ``{"month": "Mon"}``.
    station
        The station that all rows are of, where the file has no such column.

    Returns
    -------
    DataFrame
        As `Stations.daily`.
    """
    wanted = ("year", "month", "day", "ground_temperature")
    table = _read_table(path, wanted if station is not None else ("station", *wanted), columns)
    stations = _codes(table["station"]) if station is None else pd.Series(station, table.index, dtype="str")
    parts = pd.DataFrame({part: _numbers(table, part, path) for part in ("year", "month", "day")})
    dates = pd.to_datetime(parts, errors="coerce")
    if dates.isna().any():
        row = int(np.flatnonzero(dates.isna())[0])
        raise CatalogError(
            "a date that does not exist",
            where=f"{path}, line {row + 2}",
            found="-".join(f"{part:g}" for part in parts.iloc[row]),
        )
    stored = _numbers(table, "ground_temperature", path, allow_missing=True)
    temperature, overflow = decode_ground_temperature(np.asarray(stored, np.float64), where=str(path))
    days = pd.DataFrame({"station": stations, "date": dates, "ground_temperature": temperature, "overflow": overflow})
    _check_once(days, ["station", "date"], path)
    return days.sort_values(["station", "date"], ignore_index=True)


def decode_ground_temperature(
    stored: NDArray[np.float64], where: str = ""
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Turn stored ground temperatures [0.1 °C] into °C, and say where the thermometer ran out of range.

    Parameters
    ----------
    stored
        In the coding of the China Meteorological Administration; NaN or 32766 where missing.
    where
        The file they come from, for the error message.

    Examples
    --------
    >>> decode_ground_temperature(np.array([-123.0, 32766.0, 10700.0]))
    (array([-12.3,   nan,  70. ]), array([False, False,  True]))
    """
    observed = np.where(stored == MISSING, np.nan, stored)
    overflow = np.abs(observed) >= OVERFLOW
    temperature = np.where(overflow, observed - np.sign(observed) * OVERFLOW, observed) / 10.0
    known = temperature[np.isfinite(temperature)]
    if known.size and known.min() > 150.0:
        raise CatalogError(
            "ground temperatures in kelvin",
            where=where,
            found=f"{known.min():.1f} to {known.max():.1f} after decoding from 0.1 °C",
            wanted="0.1 °C",
            remedy="subtract 2731.5 from the stored numbers",
        )
    lowest, highest = PLAUSIBLE_GROUND_TEMPERATURE
    implausible = np.flatnonzero((temperature < lowest) | (temperature > highest))
    if implausible.size:
        first = int(implausible[0])
        raise CatalogError(
            f"{implausible.size} of {known.size} ground temperatures are not credible",
            where=f"{where}, line {first + 2}" if where else "",
            found=f"{stored[first]:g}, which is {temperature[first]:.1f} °C",
            wanted=f"{lowest:g} to {highest:g} °C, stored in 0.1 °C; {MISSING} where missing",
            remedy="leave missing observations empty if the file has another code for them",
        )
    return temperature, overflow


def read_station_indices(path: str | Path) -> pd.DataFrame:
    """Read yearly degree-day sums, a row a year and a column a station, such as those of the PIC package.

    Returns
    -------
    (year, station) DataFrame
        Degree-day sums [°C d], NaN where missing.
    """
    table = _read_csv(path)
    years = pd.to_numeric(table.iloc[:, 0], errors="coerce")
    if table.shape[1] < 2 or years.isna().any():
        raise CatalogError(
            "not a table of years and stations",
            where=path,
            found=f"columns {', '.join(map(str, table.columns[:4]))}",
            wanted="the year in the first column, then a column for each station",
        )
    sums = pd.DataFrame({str(name): _numbers(table, name, path, allow_missing=True) for name in table.columns[1:]})
    return sums.set_axis(pd.Index(years.astype(int), name="year"), axis="index")


def read_boreholes(path: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read boreholes and whether they are in permafrost.

    Parameters
    ----------
    path
        CSV with columns name, longitude, latitude [°], and either permafrost (0 or 1) or mean annual ground
        temperatures magt_10m, magt_20m [°C]. Of these three, each hole needs one; elevation [m] and region may be there
        too.
    columns
        What the file calls those of them that it names differently.

    Returns
    -------
    DataFrame
        The columns name, longitude, latitude, elevation, region, magt_10m, magt_20m;

        - permafrost (bool): as stated, else whether the temperature at 20 m, or where there is none at 10 m, is at most
          0 °C;
        - depth: of that temperature [m], NaN where permafrost is as stated;
        - sign_conflict: the temperatures at 10 m and 20 m disagree;
        - label_conflict: the stated class disagrees with the temperature.
    """
    needed = ("name", "longitude", "latitude")
    optional = ("elevation", "region", "magt_10m", "magt_20m", "permafrost")
    table = _read_table(path, needed, columns, optional)
    for column in ("longitude", "latitude"):
        table[column] = _numbers(table, column, path)
    for column in ("elevation", "magt_10m", "magt_20m", "permafrost"):
        table[column] = _numbers(table, column, path, allow_missing=True)
    table["name"] = _codes(table["name"])
    table["region"] = table["region"].astype("str").fillna("")
    _check_places(table, path)
    _check_once(table, ["name"], path)
    for column in ("magt_10m", "magt_20m"):
        _check_all(
            table,
            table[column].isna() | table[column].between(-30, 30),
            path,
            f"{column} is not a credible ground temperature",
            "-30 to 30 °C",
            column,
        )
    stated = table["permafrost"]
    _check_all(table, stated.isna() | stated.isin([0, 1]), path, "permafrost is a class", "0 or 1", "permafrost")
    temperature = table["magt_20m"].fillna(table["magt_10m"])
    _check_all(
        table,
        stated.notna() | temperature.notna(),
        path,
        "a borehole without an observation",
        "permafrost, magt_20m or magt_10m",
        "name",
    )
    cold = temperature <= 0
    both = table["magt_10m"].notna() & table["magt_20m"].notna()
    depth = pd.Series(np.where(table["magt_20m"].notna(), 20.0, 10.0), table.index)
    return table.assign(
        permafrost=np.where(stated.notna(), stated == 1, cold),
        depth=depth.where(stated.isna()),
        sign_conflict=both & ((table["magt_10m"] <= 0) != (table["magt_20m"] <= 0)),
        label_conflict=stated.notna() & temperature.notna() & ((stated == 1) != cold),
    )


# ---- tables and their checks --------------------------------------------------------------------------------------


def _read_csv(path: str | Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype="str", encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, EOFError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CatalogError(
            "cannot read a table", where=path, found=error, wanted="a CSV file in UTF-8, plain or compressed"
        ) from error
    if table.empty:
        raise CatalogError("a table without rows", where=path)
    return table


def _read_table(
    path: str | Path, needed: tuple[str, ...], columns: Mapping[str, str] | None, optional: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Read a CSV file as text under our names for its columns; optional ones that it lacks are empty."""
    ours = {theirs: name for name, theirs in (columns or {}).items()}
    unknown = sorted(set(ours.values()) - {*needed, *optional})
    if unknown:
        raise CatalogError(
            "names for columns that this table does not have",
            found=", ".join(unknown),
            wanted=", ".join([*needed, *optional]),
        )
    table = _read_csv(path).rename(columns=ours)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise CatalogError(
            "a table without needed columns: " + ", ".join(missing),
            where=path,
            found=", ".join(map(str, table.columns)),
            wanted=", ".join(needed),
            remedy="rename the columns of the file, or say what it calls them",
        )
    return table.reindex(columns=[*needed, *optional])


def _codes(column: pd.Series[str]) -> pd.Series[str]:
    return column.astype("str").str.strip()


def _numbers(table: pd.DataFrame, column: str, path: str | Path, *, allow_missing: bool = False) -> pd.Series[float]:
    """Turn a column of text into numbers."""
    text = table[column]
    numbers = pd.to_numeric(text, errors="coerce").astype("float64")
    wrong = numbers.isna() & (text.notna() if allow_missing else True)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CatalogError(
            f"column {column} holds something that is not a number",
            where=f"{path}, line {row + 2}",
            found=repr(text.iloc[row]) if pd.notna(text.iloc[row]) else "nothing",
        )
    return numbers


def _check_all(
    table: pd.DataFrame, right: pd.Series[bool], path: str | Path, what: str, wanted: str, column: str
) -> None:
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise CatalogError(what, where=f"{path}, line {row + 2}", found=table[column].iloc[row], wanted=wanted)


def _check_places(table: pd.DataFrame, path: str | Path) -> None:
    on_globe = table["longitude"].between(-180, 180) & table["latitude"].between(-90, 90)
    if not on_globe.all():
        row = int(np.flatnonzero(~on_globe)[0])
        place = table.iloc[row]
        raise CatalogError(
            "a place that is not on the globe",
            where=f"{path}, line {row + 2}",
            found=f"longitude {place['longitude']:g}, latitude {place['latitude']:g}",
            wanted="degrees, -180 to 180 and -90 to 90",
            remedy="are the two columns swapped?",
        )


def _check_once(table: pd.DataFrame, key: list[str], path: str | Path) -> None:
    twice = table.duplicated(key)
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise CatalogError(
            "two rows of the same " + " and ".join(key),
            where=f"{path}, line {row + 2}",
            found=", ".join(str(table[column].iloc[row]) for column in key),
        )
