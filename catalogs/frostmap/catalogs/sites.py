"""Boreholes: the ground truth that maps are judged by.

Their tables come from many hands, so every column is checked on the way in, and an error names the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from frostmap.catalogs.tables import check_all, check_once, check_places, codes, numbers, read_table


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
    table = read_table(path, needed, columns, optional)
    for column in ("longitude", "latitude"):
        table[column] = numbers(table, column, path)
    for column in ("elevation", "magt_10m", "magt_20m", "permafrost"):
        table[column] = numbers(table, column, path, allow_missing=True)
    table["name"] = codes(table["name"])
    table["region"] = table["region"].astype("str").fillna("")
    check_places(table, path)
    check_once(table, ["name"], path)
    for column in ("magt_10m", "magt_20m"):
        check_all(
            table,
            table[column].isna() | table[column].between(-30, 30),
            path,
            f"{column} is not a credible ground temperature",
            "-30 to 30 °C",
            column,
        )
    stated = table["permafrost"]
    check_all(table, stated.isna() | stated.isin([0, 1]), path, "permafrost is a class", "0 or 1", "permafrost")
    temperature = table["magt_20m"].fillna(table["magt_10m"])
    check_all(
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
    ).reset_index(drop=True)
