"""CSV tables from many hands: read as text, checked column by column; an error names the file and the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from frostmap.catalogs.errors import CatalogError

FIRST_LINE = 2
"""Of the first row, below the header. Tables are indexed by the line that a row is in."""


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV file as text, a row a line; empty lines are skipped."""
    table = _parse(path)
    if not isinstance(table.index, pd.RangeIndex):
        raise CatalogError("rows of a table have more fields than its header", where=path)
    table = table.set_axis(pd.RangeIndex(FIRST_LINE, FIRST_LINE + len(table)), axis="index").dropna(how="all")
    if table.empty:
        raise CatalogError("a table without rows", where=path)
    return table


def read_header(path: str | Path) -> list[str]:
    """Return the names of a CSV file's columns."""
    return [str(name) for name in _parse(path, rows=0).columns]


def _parse(path: str | Path, rows: int | None = None) -> pd.DataFrame:
    try:
        return pd.read_csv(
            path, dtype="str", encoding="utf-8-sig", skipinitialspace=True, skip_blank_lines=False, nrows=rows
        )
    except (OSError, EOFError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CatalogError(
            "cannot read a table", where=path, found=error, wanted="a CSV file in UTF-8, plain or compressed"
        ) from error


def read_table(
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
    table = read_csv(path).rename(columns=ours)
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


def codes(column: pd.Series[str]) -> pd.Series[str]:
    """Return a column of names or numbers of things, as text."""
    return column.astype("str").str.strip()


def numbers(table: pd.DataFrame, column: str, path: str | Path, *, allow_missing: bool = False) -> pd.Series[float]:
    """Turn a column of text into numbers."""
    text = table[column]
    found = pd.to_numeric(text, errors="coerce").astype("float64")
    wrong = found.isna() & (text.notna() if allow_missing else True)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CatalogError(
            f"column {column} holds something that is not a number",
            where=f"{path}, line {table.index[row]}",
            found=repr(text.iloc[row]) if pd.notna(text.iloc[row]) else "nothing",
        )
    return found


def check_all(
    table: pd.DataFrame,
    right: pd.Series[bool],
    path: str | Path,
    what: str,
    wanted: str,
    *columns: str,
    remedy: str = "",
) -> None:
    """Refuse a table where something is not right of a row; its `columns` are shown."""
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        shown = [str(table[column].iloc[row]) for column in columns]
        found = shown[0] if len(columns) == 1 else ", ".join(map(" ".join, zip(columns, shown, strict=True)))
        raise CatalogError(what, where=f"{path}, line {table.index[row]}", found=found, wanted=wanted, remedy=remedy)


def check_places(table: pd.DataFrame, path: str | Path) -> None:
    """Refuse longitudes and latitudes [°] that are none."""
    check_all(
        table,
        table["longitude"].between(-180, 180) & table["latitude"].between(-90, 90),
        path,
        "a place that is not on the globe",
        "degrees, -180 to 180 and -90 to 90",
        "longitude",
        "latitude",
        remedy="are the two columns swapped?",
    )


def check_once(table: pd.DataFrame, key: list[str], path: str | Path) -> None:
    """Refuse a second row of the same key."""
    check_all(table, ~table.duplicated(key), path, "two rows of the same " + " and ".join(key), "one row of each", *key)
