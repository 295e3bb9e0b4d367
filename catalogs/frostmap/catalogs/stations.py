"""Weather stations and their daily ground temperatures: our own tables, and the forms in which others publish them.

The China Meteorological Administration (CMA) publishes its daily data set, SURF_CLI_CHN_MUL_DAY, as a text file a
month. Special numbers and quality codes are those of the data set's format description.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frostmap.catalogs.coordinates import Coordinates, degrees, hidden_minutes, look_like_minutes
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.tables import (
    check_all,
    check_once,
    check_places,
    codes,
    numbers,
    read_csv,
    read_header,
    read_table,
)

MISSING = (32766, 32744)
"""Stand for no observation in CMA's tables, and for an empty field."""

OVERFLOW = 10000
"""Is added to the limit of a thermometer that ran out of range: 10000 + limit above, -10000 + limit below."""

ESTIMATED = 100000
"""Is added to elevations [0.1 m] that were estimated, in CMA's monthly files."""

NOT_OBSERVED = (2, 7, 8)
"""CMA's quality codes of what is not used: wrong, no observation planned, missing. Kept are 0 right, 1 doubtful (cold
and warm extremes are), 4 reworked, 9 not checked."""

PLAUSIBLE_GROUND_TEMPERATURE = (-70.0, 85.0)
"""What a daily mean of the ground's surface can be [°C]; beyond it, a table is coded otherwise."""

SAME_PLACE = 0.025
"""A station whose coordinates change by more than this has moved [°]; smaller changes are of rounding to minutes."""

_MONTH = re.compile(r"^SURF_CLI_CHN_MUL_DAY\w*-GST-\d+(?:-(\d+)cm)?-(\d{4})(\d{2})\.txt(\.gz)?$", re.IGNORECASE)
"""CMA's monthly files of ground temperatures: depth, year and month; without a depth, it is the surface."""

_CODE_IN_NAME = re.compile(r"(?<!\d)\d{5}(?!\d)")
"""A station's number, as WMO and CMA count them."""

_ONE_STATION = {"year": "Year", "month": "Mon", "day": "Day", "ground_temperature": "GT"}
"""What a published file of one station calls its columns (as released with doi 10.5194/essd-2020-106)."""


@dataclass(frozen=True)
class Stations:
    """Weather stations and their daily ground-surface temperatures."""

    sites: pd.DataFrame
    """A row a station: index station (text), columns name, longitude, latitude [°], elevation [m, NaN unknown], and
    code: the number of the station, which it keeps where it moves and counts as another one."""

    daily: pd.DataFrame
    """A row a station and day, in order: station, date, ground_temperature [°C, NaN missing], overflow (the thermometer
    ran out of range, and the temperature is its limit)."""


def read_stations(
    sites: str | Path | None,
    daily: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    coordinates: Coordinates | None = None,
    years: Collection[int] | None = None,
    within: tuple[float, float, float, float] | None = None,
) -> Stations:
    """Read where stations are, and their daily 0-cm ground temperatures.

    Parameters
    ----------
    sites
        CSV, see `read_station_sites`; None where the monthly files of CMA say where their stations are.
    daily
        A table, see `read_station_days`; the published table of one station, whose name holds its number of five digits
        and whose columns are Year, Mon, Day, GT; or a folder: of CMA's monthly files, else of such tables.
    columns
        What the table of stations calls columns that it names differently.
    coordinates
        How the table of stations writes longitudes and latitudes.
    years
        The years that are wanted; all, if None.
    within
        West, south, east, north [°]: of CMA's monthly files, which hold all of China, other stations are dropped.
    """
    files = station_files(daily, sites)
    monthly = [path for path in files if _MONTH.match(path.name)]
    table = None if sites is None else read_station_sites(sites, columns, coordinates)
    if monthly:
        found = _read_months(monthly, years, within)
        if table is None:
            return found
        known = found.sites["code"].isin(table.index)  # the files hold all of China
        code = found.daily["station"].map(found.sites["code"][known])
        days = found.daily.assign(station=code).dropna(subset=["station"]).sort_values(["station", "date"])
        return Stations(table, days.reset_index(drop=True))
    if table is None:
        raise CatalogError(
            "observations without a table of stations",
            where=daily,
            found="no monthly file of CMA, which would say where its stations are",
            wanted="a CSV with columns station, name, longitude, latitude, elevation",
        )
    parts = []
    for path in files:
        days = _read_days(path)
        unknown = sorted(set(days["station"]) - set(table.index))
        if unknown:
            raise CatalogError(
                "observations of stations that are not in the table of stations",
                where=path,
                found=", ".join(unknown[:10]),
                wanted=f"stations of {sites}",
            )
        parts.append(days[days["date"].dt.year.isin(years)] if years is not None else days)
    days = pd.concat(parts, ignore_index=True)
    if len(parts) > 1:
        days = days.sort_values(["station", "date"], ignore_index=True)
        twice = days[days.duplicated(["station", "date"])]
        if len(twice):
            raise CatalogError(
                "a station's day is in two files",
                where=daily,
                found=f"station {twice['station'].iloc[0]}, {twice['date'].iloc[0]:%Y-%m-%d}",
                wanted="each day once",
                remedy="remove one of the files",
            )
    return Stations(table, days)


def station_files(daily: str | Path, sites: str | Path | None = None) -> list[Path]:
    """Return the files of daily temperatures: CMA's monthly ones of a folder, else its CSV files; or the file itself.

    Of CMA's files, those of depths below the surface are left out; so is the table of stations.
    """
    path = Path(daily)
    if not path.is_dir():
        return [path]
    inside = sorted(each for each in path.iterdir() if each.is_file())
    monthly = [each for each in inside if (match := _MONTH.match(each.name)) and int(match[1] or 0) == 0]
    other = None if sites is None else Path(sites).resolve()
    tables = [each for each in inside if each.name.lower().endswith((".csv", ".csv.gz")) and each.resolve() != other]
    if not monthly and not tables:
        raise CatalogError(
            "a folder without daily ground temperatures",
            where=path,
            found=f"{len(inside)} other files",
            wanted="SURF_CLI_CHN_MUL_DAY-GST-…-YYYYMM.TXT, or CSV files",
        )
    return monthly or tables


# ---- where they are -----------------------------------------------------------------------------------------------


def read_station_sites(
    path: str | Path, columns: Mapping[str, str] | None = None, coordinates: Coordinates | None = None
) -> pd.DataFrame:
    """Read where stations are.

    Parameters
    ----------
    path
        CSV with columns station, name, longitude, latitude [°], elevation [m].
    columns
        What the file calls those of them that it names differently, such as ``{"longitude": "lon_dd"}``.
    coordinates
        How longitude and latitude are written. None: in degrees, but a table that looks like degrees and minutes is
        refused.
    """
    table = read_table(path, ("station", "name", "longitude", "latitude", "elevation"), columns)
    table["station"] = codes(table["station"])
    table["name"] = table["name"].fillna("")
    for column in ("longitude", "latitude", "elevation"):
        table[column] = numbers(table, column, path)
    if coordinates == "degrees_minutes":
        _convert_degrees_minutes(table, path)
    elif coordinates is None:
        _refuse_hidden_minutes(table, path)
    check_places(table, path)
    check_once(table, ["station"], path)
    table["code"] = table["station"]
    return table.set_index("station")


def _convert_degrees_minutes(table: pd.DataFrame, path: str | Path) -> None:
    for column in ("longitude", "latitude"):
        converted = pd.Series(degrees(table[column].to_numpy()), table.index)
        check_all(
            table,
            converted.notna(),
            path,
            f"column {column} does not hold degrees and minutes",
            "35.13 or 3513 for 35° 13', minutes below 60",
            column,
            remedy="set coordinates to degrees if these are decimal",
        )
        table[column] = converted


def _refuse_hidden_minutes(table: pd.DataFrame, path: str | Path) -> None:
    places = table[["longitude", "latitude"]].to_numpy()
    if look_like_minutes(places[:, 0], places[:, 1]):
        raise hidden_minutes(path, places[0, 0], places[0, 1])


# ---- tables of days -----------------------------------------------------------------------------------------------


def read_station_days(
    path: str | Path, columns: Mapping[str, str] | None = None, *, station: str | None = None
) -> pd.DataFrame:
    """Read daily ground temperatures in CMA's coding.

    Parameters
    ----------
    path
        CSV, possibly compressed, with columns station, year, month, day, ground_temperature; the last in 0.1 °C, 32766
        or empty where missing, ±10000 added where the thermometer ran out of range.
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
    table = read_table(path, wanted if station is not None else ("station", *wanted), columns)
    table["station"] = codes(table["station"]) if station is None else station
    table["ground_temperature"] = numbers(table, "ground_temperature", path, allow_missing=True)
    return _days(table, path).sort_values(["station", "date"], ignore_index=True)


def _read_days(path: Path) -> pd.DataFrame:
    """Read our table of days, or the published one of a single station."""
    columns = read_header(path)
    if not {*_ONE_STATION.values()} <= {*columns} or "station" in columns:
        return read_station_days(path)
    found = _CODE_IN_NAME.findall(path.name)
    if len(found) != 1:
        raise CatalogError(
            "it is not known which station a table is of",
            where=path,
            found=f"{len(found) or 'no'} numbers of five digits in its name",
            wanted="the station's number in the name of the file, such as Wudaoliang_52908.csv; or a column station",
        )
    return read_station_days(path, _ONE_STATION, station=found[0])


def _days(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Return days of a table of stations (text), years, months, days (text), and temperatures as stored (numbers)."""
    parts = pd.DataFrame({part: numbers(table, part, path) for part in ("year", "month", "day")})
    dates = pd.to_datetime(parts, errors="coerce")
    if dates.isna().any():
        row = int(np.flatnonzero(dates.isna())[0])
        raise CatalogError(
            "a date that does not exist",
            where=f"{path}, line {table.index[row]}",
            found="-".join(f"{part:g}" for part in parts.iloc[row]),
        )
    stored = table["ground_temperature"]
    temperature, overflow = decode_ground_temperature(stored.to_numpy(np.float64))
    _check_temperatures(stored, temperature, path)
    days = pd.DataFrame(
        {"station": table["station"], "date": dates, "ground_temperature": temperature, "overflow": overflow}
    )
    check_once(days, ["station", "date"], path)
    return days


def decode_ground_temperature(stored: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Turn stored ground temperatures [0.1 °C] into °C, and say where the thermometer ran out of range.

    Parameters
    ----------
    stored
        In CMA's coding; NaN, 32766 or 32744 where missing.

    Examples
    --------
    >>> decode_ground_temperature(np.array([-123.0, 32766.0, 10700.0]))
    (array([-12.3,   nan,  70. ]), array([False, False,  True]))
    """
    observed = np.where(np.isin(stored, MISSING), np.nan, stored)
    overflow = np.abs(observed) >= OVERFLOW
    temperature = np.where(overflow, observed - np.sign(observed) * OVERFLOW, observed) / 10.0
    return temperature, overflow


def _check_temperatures(stored: pd.Series[float], temperature: NDArray[np.float64], path: str | Path) -> None:
    """Refuse temperatures in other units, or none at all."""
    known = np.isfinite(temperature)
    if known.any() and temperature[known].min() > 150.0:
        raise CatalogError(
            "ground temperatures in kelvin",
            where=path,
            found=f"{temperature[known].min():.1f} to {temperature[known].max():.1f} after decoding from 0.1 °C",
            wanted="0.1 °C",
            remedy="subtract 2731.5 from the stored numbers",
        )
    broken = known & (stored.to_numpy() % 1 != 0)
    if 2 * broken.sum() > known.sum():
        raise CatalogError(
            "ground temperatures that are not whole numbers of 0.1 °C",
            where=f"{path}, line {stored.index[np.flatnonzero(broken)[0]]}",
            found=f"{stored.to_numpy()[broken][0]:g}",
            wanted="0.1 °C",
            remedy="multiply by ten if these are °C",
        )
    lowest, highest = PLAUSIBLE_GROUND_TEMPERATURE
    implausible = np.flatnonzero((temperature < lowest) | (temperature > highest))
    if implausible.size:
        first = int(implausible[0])
        raise CatalogError(
            f"{implausible.size} of {known.sum()} ground temperatures are not credible",
            where=f"{path}, line {stored.index[first]}",
            found=f"{stored.iloc[first]:g}, which is {temperature[first]:.1f} °C",
            wanted=f"{lowest:g} to {highest:g} °C, stored in 0.1 °C; {MISSING[0]} where missing",
            remedy="leave missing observations empty if the file has another code for them",
        )


def read_station_indices(path: str | Path) -> pd.DataFrame:
    """Read yearly degree-day sums, a row a year and a column a station, such as those of the PIC package.

    They are sums over the days that are there: days that are missing count as 0 °C.

    Returns
    -------
    (year, station) DataFrame
        Degree-day sums [°C d], NaN where missing.
    """
    table = read_csv(path)
    years = pd.to_numeric(table.iloc[:, 0], errors="coerce")
    if table.shape[1] < 2 or years.isna().any():
        raise CatalogError(
            "not a table of years and stations",
            where=path,
            found=f"columns {', '.join(map(str, table.columns[:4]))}",
            wanted="the year in the first column, then a column for each station",
        )
    sums = pd.DataFrame({str(name): numbers(table, str(name), path, allow_missing=True) for name in table.columns[1:]})
    return sums.set_axis(pd.Index(years.astype(int), name="year"), axis="index")


# ---- CMA's monthly files ------------------------------------------------------------------------------------------


def _read_months(
    paths: list[Path], years: Collection[int] | None, within: tuple[float, float, float, float] | None
) -> Stations:
    """Read monthly files, and where their stations are."""
    months: dict[str, Path] = {}
    for path in paths:
        match = _MONTH.match(path.name)
        assert match  # only such files are given  # noqa: S101
        if months.setdefault(match[2] + match[3], path) != path:
            raise CatalogError(
                "two files of one month",
                where=path,
                found=months[match[2] + match[3]].name,
                wanted="one file of each month",
                remedy="remove one of them",
            )
    wanted = {month: path for month, path in months.items() if years is None or int(month[:4]) in years}
    if not wanted:
        raise CatalogError(
            "no file of the wanted years",
            where=paths[0].parent,
            found=f"months {min(months)} to {max(months)}",
            wanted=", ".join(map(str, sorted(years or ()))),
        )
    west, south, east, north = within or (-180.0, -90.0, 180.0, 90.0)
    parts = []
    for _, path in sorted(wanted.items()):
        month = read_month(path)
        parts.append(month[month["longitude"].between(west, east) & month["latitude"].between(south, north)])
    days = pd.concat(parts, ignore_index=True)
    days = _split_moved(days.sort_values(["code", "date"], ignore_index=True))
    last = days.drop_duplicates("station", keep="last").set_index("station")
    sites = last[["longitude", "latitude", "elevation", "code"]].assign(name="")
    return Stations(
        sites[["name", "longitude", "latitude", "elevation", "code"]],
        days[["station", "date", "ground_temperature", "overflow"]],
    )


def read_month(path: str | Path) -> pd.DataFrame:
    """Read a monthly file of CMA's daily data set: ground temperatures of all its stations.

    Its columns are station, latitude and longitude [degrees and minutes], elevation [0.1 m], year, month, day, mean,
    highest and lowest ground temperature [0.1 °C], and three quality codes, which older files lack.

    Parameters
    ----------
    path
        Its name ends with year and month, such as SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-201001.TXT. A day of it runs from
        20 h to 20 h, Beijing time.

    Returns
    -------
    DataFrame
        A row a station and day: code, longitude, latitude [°], elevation [m, NaN unknown], date, ground_temperature
        [°C], overflow. What the quality code says is wrong or missing is NaN, whatever is stored.
    """
    names = ["station", "latitude", "longitude", "elevation", "year", "month", "day", "ground_temperature"]
    table = _read_words(path)
    if table.shape[1] not in (10, 13):
        raise CatalogError(
            "not a monthly file of ground temperatures",
            where=path,
            found=f"{table.shape[1]} columns",
            wanted="13: station, latitude, longitude, elevation, year, month, day, three temperatures, three codes; "
            "or 10, without the codes",
        )
    table = table.rename(columns=dict(enumerate(names)))
    table["station"] = codes(table["station"])
    for name in ("latitude", "longitude", "elevation", "ground_temperature"):
        table[name] = numbers(table, name, path)
    match = _MONTH.match(Path(path).name)
    if match:
        right = (numbers(table, "year", path) == int(match[2])) & (numbers(table, "month", path) == int(match[3]))
        check_all(table, right, path, "a day of another month", f"{match[2]}-{match[3]}", "year", "month")
    _convert_degrees_minutes(table, path)
    check_places(table, path)
    if table.shape[1] == 13:
        quality = table.rename(columns={10: "quality"})
        unused = numbers(quality, "quality", path).isin(NOT_OBSERVED)
        table["ground_temperature"] = table["ground_temperature"].mask(unused)
    days = _days(table, path)
    elevation = table["elevation"]
    elevation = elevation.where(elevation < 2 * ESTIMATED)  # 999999 and the like
    elevation = (elevation - ESTIMATED * (elevation > 0.9 * ESTIMATED)) / 10.0
    return days.rename(columns={"station": "code"}).assign(
        longitude=table["longitude"], latitude=table["latitude"], elevation=elevation
    )


def _read_words(path: str | Path) -> pd.DataFrame:
    """Read lines of words; columns are numbered, rows are named by their line."""
    try:
        table = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            dtype="str",
            encoding="latin-1",
            skip_blank_lines=False,
            keep_default_na=False,
        )
    except (OSError, EOFError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CatalogError(
            "cannot read a table", where=path, found=error, wanted="text in columns, the same number in every line"
        ) from error
    table = table.replace("", np.nan)
    return table.set_axis(pd.RangeIndex(1, 1 + len(table)), axis="index").dropna(how="all")


def _split_moved(days: pd.DataFrame) -> pd.DataFrame:
    """Name stations: a code, and once the station has moved, the code and the number of the place, such as 52908-2."""
    same = days["code"].eq(days["code"].shift())
    step = np.maximum(days["longitude"].diff().abs(), days["latitude"].diff().abs())
    place = (same & (step > SAME_PLACE)).groupby(days["code"]).cumsum() + 1
    return days.assign(station=days["code"].where(place == 1, days["code"] + "-" + place.astype("str")))
