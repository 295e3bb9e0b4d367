"""Boreholes: the ground truth that maps are judged by.

Their tables come from many hands. What a row says is read in any of the spellings that are in use; a row that says
nothing usable, or what another row has said, is left out and told with its reason, so that all of a table is accounted
for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyproj import Geod

from frostmap.catalogs.coordinates import Coordinates, angle, degrees, hidden_minutes, look_like_minutes
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.loose_tables import LooseTable, Row, is_nothing, number, plain, read_loose_table

DEPTHS = (20, 15, 10)
"""At which ground temperatures are looked for [m], the first that a hole has decides: that at 20 m, else 15 m, else
10 m."""
TEMPERATURES = {depth: f"magt_{depth}m" for depth in DEPTHS}
"""Their columns: mean annual ground temperature at a depth [°C]."""
NEAR_DEPTH = 2.5
"""How far the depth of a temperature may be from one of these [m]."""
CREDIBLE = (-30.0, 30.0)
"""What a mean annual ground temperature can be [°C]."""
SAME_PLACE_M = 100.0
"""Rows of one name within this distance are the same hole [m]."""

GEODESIC = Geod(ellps="WGS84")
_MAGT = (
    "magt", "mat", "mgt", "gt", "t", "temp", "temperature", "groundtemperature", "meanannualgroundtemperature",
)  # fmt: skip
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "name": (
        "name", "borehole", "boreholename", "boreholeid", "boreholeno", "boreholenumber", "boreholes", "hole", "holeid",
        "id", "no", "site", "siteid", "sitename", "siteno", "station", "stationname", "code", "number", "drillhole",
        "钻孔", "钻孔编号", "钻孔名称", "钻孔号", "编号", "站点", "站名", "名称", "孔号",
    ),
    "longitude": (
        "longitude", "lon", "long", "lng", "londd", "longitudedd", "longitudee", "lone", "longe", "longitudedeg",
        "longdeg", "londeg", "longitudedegree", "longitudedegrees", "longitudewgs84", "xlon", "经度", "东经",
    ),
    "latitude": (
        "latitude", "lat", "latdd", "latitudedd", "latituden", "latn", "latitudedeg", "latdeg", "latitudedegree",
        "latitudedegrees", "latitudewgs84", "ylat", "纬度", "北纬",
    ),
    "elevation": (
        "elevation", "elev", "altitude", "alt", "height", "elevationm", "altitudem", "elevm", "elevationmasl", "masl",
        "asl", "dem", "海拔", "高程", "海拔高度", "海拔m", "高程m",
    ),
    "region": ("region", "area", "studyarea", "basin", "location", "source", "zone", "区域", "地区", "研究区", "地点"),
    "year": ("year", "years", "yr", "observationyear", "measurementyear", "年份", "年", "观测年份"),
    "permafrost": (
        "permafrost", "pf", "ispermafrost", "permafrostpresence", "presence", "type", "class", "label", "frozenground",
        "frozengroundtype", "permafrosttype", "groundtype", "status", "obs", "observed", "冻土类型", "冻土", "多年冻土",
        "类型", "有无冻土",
    ),
    "magt": (*_MAGT, "地温", "年平均地温", "年均地温"),
    "depth": ("depth", "depthm", "measurementdepth", "magtdepth", "dzaa", "zaa", "sensordepth", "深度", "观测深度"),
    **{
        column: (
            *(form.format(name=name, depth=depth) for name in (*_MAGT, "depth") for form in (
                "{name}{depth}m", "{name}{depth}", "{name}at{depth}m", "{depth}m{name}", "{name}{depth}mc",
                "{name}c{depth}m", "{name}at{depth}mdepth", "{name}at{depth}mc",
            )),
            f"{depth}m", f"{depth}米", f"{depth}m地温", f"{depth}米地温", f"地温{depth}m", f"{depth}m年均地温",
        )
        for depth, column in TEMPERATURES.items()
    },
}  # fmt: skip
"""What tables call their columns, as `loose_tables.plain` gives it."""

_YES = frozenset({"permafrost", "pf", "p", "yes", "y", "true", "t", "1", "present", "presence", "frozen",
                  "continuouspermafrost", "discontinuouspermafrost", "islandpermafrost", "sporadicpermafrost",
                  "isolatedpermafrost", "多年冻土", "多年冻土区", "有", "是"})  # fmt: skip
_NO = frozenset({"seasonallyfrozen", "seasonallyfrozenground", "seasonalfrost", "seasonalfrozenground",
                 "seasonalfrozensoil", "sfg", "sf", "nonpermafrost", "nopermafrost", "no", "n", "false", "f", "absent",
                 "absence", "talik", "unfrozen", "nonfrozen", "nonfrozenground", "unfrozenground", "季节冻土",
                 "季节性冻土", "季节冻土区", "融区", "非冻土", "无", "否"})  # fmt: skip


class Boreholes(NamedTuple):
    """A table of boreholes: what can be used, and what cannot, and why."""

    kept: pd.DataFrame
    """A row a hole: line (of the file), name, longitude, latitude [°], elevation [m], region, year, magt_10m, magt_15m,
    magt_20m [°C, NaN missing];

    - permafrost (bool): as stated, else whether the temperature that decides is at most 0 °C;
    - temperature, depth: that temperature [°C] and how deep it is [m], NaN where there is none;
    - stated: the class is as the table states it;
    - sign_conflict: temperatures at two depths disagree;
    - label_conflict: the stated class disagrees with the temperature."""
    dropped: pd.DataFrame
    """The other rows: line, name, longitude, latitude (NaN where unread), reason."""
    table: LooseTable
    """As read: encoding, delimiter, decimal sign, what the columns are called."""


def read_boreholes(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    coordinates: Coordinates | None = None,
    encoding: str | None = None,
) -> Boreholes:
    """Read boreholes and whether they are in permafrost.

    Parameters
    ----------
    path
        A table with columns longitude, latitude, and either permafrost or mean annual ground temperatures: magt_10m,
        magt_15m, magt_20m, or magt and the depth [m] that it is of; of these each hole needs one. A name, elevation,
        region and year may be there too. Encoding, delimiter, decimal sign and the usual spellings of columns and
        coordinates are recognised. A class is a word, or 1 and 0; or 1, 2 and 3 as in maps, where no row has 0.
    columns
        What the file calls those of them that it names otherwise.
    coordinates
        How plain numbers are meant. None: in degrees, but a table that looks like degrees and minutes is refused.
    encoding
        Of the text, where it is not found out rightly.

    Raises
    ------
    CatalogError
        There is no such table in the file, or not one row of it can be used: with the reasons, and how often.
    """
    unknown = sorted((columns or {}).keys() - SPELLINGS.keys())
    if unknown:
        raise CatalogError(
            "names for columns that a table of boreholes does not have",
            found=", ".join(unknown),
            wanted=", ".join(SPELLINGS),
        )
    small = ("longitude", "latitude", "magt", *TEMPERATURES.values())
    table = read_loose_table(path, SPELLINGS, ("longitude", "latitude"), small, columns, encoding)
    observations = {"permafrost", "magt", *TEMPERATURES.values()}
    if not observations & table.columns.keys():
        raise CatalogError(
            "a table of boreholes without an observation",
            where=path,
            found=", ".join(table.columns.values()),
            wanted="a column permafrost, magt_20m, magt_15m, magt_10m or magt",
            remedy="say what the file calls it, for instance columns: {magt_10m: NAME}",
        )
    places = _places(table, path, coordinates)
    codes = _number_codes(table.rows)
    read = [_hole(row, place, table.decimal, codes) for row, place in zip(table.rows, places, strict=True)]
    holes = [hole for hole in read if not isinstance(hole, str)]
    faults = [(row, place, hole) for row, place, hole in zip(table.rows, places, read, strict=True)
              if isinstance(hole, str)]  # fmt: skip
    dropped = [_left_out(row.line, row.values.get("name", ""), place, reason) for row, place, reason in faults]
    if not holes:
        reasons = pd.Series([reason for _, _, reason in faults]).value_counts()
        raise CatalogError(
            "no row of a table of boreholes can be used",
            where=f"{path}, line {table.rows[0].line} and after",
            found="; ".join(f"{reason} ({count})" for reason, count in reasons.head(5).items()),
            wanted="longitude, latitude, and permafrost or a ground temperature",
            remedy="correct the table, or say how it is to be read (columns, coordinates, encoding)",
        )
    frame = pd.DataFrame(holes)
    frame["year"] = frame["year"].astype("float64")
    again = _repeated(frame)
    dropped += [
        _left_out(hole["line"], hole["name"], (hole["longitude"], hole["latitude"]), reason)
        for hole, reason in zip(frame.to_dict("records"), again, strict=True)
        if reason
    ]
    kept = _judged(frame[[not reason for reason in again]].reset_index(drop=True))
    left = pd.DataFrame(dropped, columns=["line", "name", "longitude", "latitude", "reason"])
    return Boreholes(kept, left.sort_values("line", ignore_index=True), table)


Place = tuple[float | None, float | None]


def _left_out(line: int, name: str, place: Place, reason: str) -> dict[str, object]:
    longitude, latitude = (np.nan if part is None else part for part in place)
    return {"line": line, "name": name, "longitude": longitude, "latitude": latitude, "reason": reason}


# ---- rows ---------------------------------------------------------------------------------------------------------


def _places(table: LooseTable, path: str | Path, coordinates: Coordinates | None) -> list[Place]:
    """Return longitude and latitude of each row [°], None where it has none that can be read."""
    if coordinates == "degrees_minutes":
        packed = {
            column: degrees(
                np.array([_or_nan(number(row.values.get(column, ""), table.decimal)) for row in table.rows])
            )
            for column in ("longitude", "latitude")
        }
        return [
            tuple(None if np.isnan(part) else float(part) for part in pair)  # type: ignore[misc]
            for pair in zip(packed["longitude"], packed["latitude"], strict=True)
        ]
    places: list[Place] = [
        (angle(row.values["longitude"], table.decimal), angle(row.values["latitude"], table.decimal))
        for row in table.rows
    ]
    if coordinates is None:
        plain_numbers = [
            place
            for row, place in zip(table.rows, places, strict=True)
            if all(number(row.values[column], table.decimal) is not None for column in ("longitude", "latitude"))
        ]
        if plain_numbers:
            longitude, latitude = (np.array(part, dtype=np.float64) for part in zip(*plain_numbers, strict=True))
            if look_like_minutes(longitude, latitude):
                raise hidden_minutes(path, longitude[0], latitude[0])
    return places


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _number_codes(rows: list[Row]) -> bool:
    """Say whether classes are the numbers of maps: 1, 2 and 3, and never 0."""
    written = {row.values.get("permafrost", "").removesuffix(".0") for row in rows}
    return "0" not in written and bool(written & {"2", "3"})


def _hole(row: Row, place: Place, decimal: str, codes: bool) -> dict[str, object] | str:
    """Return what a row says of a hole, or why it says nothing that can be used."""
    if row.extra:
        return "more fields than the header has"
    longitude, latitude = place
    if longitude is None or latitude is None:
        what = "longitude" if longitude is None else "latitude"
        return f"{what} cannot be read: {row.values[what]!r}" if row.values[what] else f"no {what}"
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        return "not on the globe; are longitude and latitude swapped?"
    found: dict[str, float] = {}
    for column in ("elevation", "year", "magt", "depth", *TEMPERATURES.values()):
        text = row.values.get(column, "")
        value = None if is_nothing(text) else number(text, decimal)
        if value is None and not is_nothing(text) and column == "year":
            years = re.findall(r"(?:19|20)\d\d", text)  # of "2016-2018", the last
            value = float(max(years)) if years else np.nan
        if value is None and not is_nothing(text):
            return f"{column} is not a number: {text!r}"
        found[column] = _or_nan(value)
    for column in ("magt", *TEMPERATURES.values()):
        if not np.isnan(found[column]) and not CREDIBLE[0] <= found[column] <= CREDIBLE[1]:
            return f"{column} is not a credible ground temperature: {found[column]:g} °C"
    stated = _stated(row.values.get("permafrost", ""), codes)
    if isinstance(stated, str):
        return stated
    temperature, depth = found.pop("magt"), found.pop("depth")
    near = [each for each in DEPTHS if abs(each - depth) <= NEAR_DEPTH]
    if near and np.isnan(found[TEMPERATURES[near[0]]]):
        found[TEMPERATURES[near[0]]] = temperature
    for each in DEPTHS:
        if not np.isnan(found[TEMPERATURES[each]]):
            temperature, depth = found[TEMPERATURES[each]], float(each)
            break
    if stated is None and np.isnan(temperature):
        return "no observation"
    name, region = row.values.get("name", ""), row.values.get("region", "")
    return {
        "line": row.line,
        "name": name or f"line {row.line}",
        "longitude": longitude,
        "latitude": latitude,
        "elevation": found["elevation"],
        "region": "" if is_nothing(region) else region,
        "year": found["year"],
        **{column: found[column] for column in reversed(TEMPERATURES.values())},
        "permafrost": temperature <= 0 if stated is None else stated,
        "temperature": temperature,
        "depth": depth if not np.isnan(temperature) else np.nan,
        "stated": stated is not None,
    }


def _stated(text: str, codes: bool) -> bool | str | None:
    """Return whether a row states permafrost, None where it states nothing, or what is wrong."""
    word = plain(text.removesuffix(".0"))
    if word in _YES:
        return True
    if word in _NO or word == "0" or (codes and word in ("2", "3")):
        return False
    return None if is_nothing(text) else f"permafrost is no class: {text!r}"


# ---- tables -------------------------------------------------------------------------------------------------------


def _repeated(frame: pd.DataFrame) -> list[str]:
    """Return for each row why it is left out as one that another row says already; empty where it is not.

    Of rows of one name within 100 m, that of the last year stays, else the first. Rows of different names stay, but for
    those with the same place and the same observations: a hole that is in two sources.
    """
    reasons = [""] * len(frame)
    names = [plain(str(name)) for name in frame["name"]]
    lines = frame["line"].tolist()
    longitude, latitude = (frame[axis].to_numpy(np.float64) for axis in ("longitude", "latitude"))
    observed = frame[[*TEMPERATURES.values(), "temperature", "permafrost"]].to_numpy(np.float64)
    known = frame["temperature"].notna().to_numpy()
    standing = np.zeros(len(frame), dtype=bool)
    for row in frame.sort_values(["year", "line"], ascending=[False, True], na_position="last").index:
        near = standing & (np.abs(latitude - latitude[row]) < 0.01)
        for other in np.flatnonzero(near):
            apart = GEODESIC.inv(longitude[row], latitude[row], longitude[other], latitude[other])[2]
            same = np.array_equal(observed[row], observed[other], equal_nan=True)
            if names[row] == names[other] and apart <= SAME_PLACE_M:
                reasons[row] = f"the same hole as line {lines[other]}"
            elif apart < 1.0 and known[row] and same:
                reasons[row] = f"place and observation of line {lines[other]} under another name"
            if reasons[row]:
                break
        standing[row] = not reasons[row]
    return reasons


def _judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with where temperatures disagree with each other, and with the stated class."""
    cold = frame[list(TEMPERATURES.values())] <= 0
    known = frame[list(TEMPERATURES.values())].notna()
    return frame.assign(
        permafrost=frame["permafrost"].astype(bool),
        sign_conflict=(cold & known).any(axis=1) & (~cold & known).any(axis=1),
        label_conflict=frame["stated"]
        & frame["temperature"].notna()
        & (frame["permafrost"].astype(bool) != (frame["temperature"] <= 0)),
    )
