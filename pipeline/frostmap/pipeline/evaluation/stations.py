"""Freezing and thawing sums of a weather station, against those that others published of the same readings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from frostmap.catalogs.stations import read_stations
from frostmap.kernels.degree_days import degree_day_sums
from frostmap.pipeline.evaluation.scores import COLUMNS, scores
from frostmap.pipeline.evaluation.tables import Goal, Section, Table, absent

TITLE = "A weather station: Wudaoliang"
DAILY = Path("stations/Wudaoliang_52908_daily_1956-2018.csv.gz")
SITES = Path("stations/cma52/stations.csv")
INDICES = {
    "freezing": Path("stations/cma52/Freezing_index_ground_QTP.csv"),
    "thawing": Path("stations/cma52/Thawing_index_ground_QTP.csv"),
}
NAME = "Wudaoliang"
COLUMN_NAMES = {"station": "SID", "name": "SNameEN", "longitude": "lon_dd", "latitude": "lat_dd", "elevation": "Ele"}
FEWEST_DAYS = 360
ROUNDING = 0.051
"""Published sums have one decimal [°C d]."""


def yearly_sums(data: Path) -> pd.DataFrame:
    """Return freezing and thawing sums of each calendar year's readings, and the days with one."""
    daily = read_stations(data / SITES, data / DAILY, columns=COLUMN_NAMES).daily
    rows = []
    for year, days in daily.groupby(daily["date"].dt.year):
        series = days["ground_temperature"].to_numpy(np.float32).reshape(-1, 1, 1)
        freezing, thawing, valid = (float(total[0, 0]) for total in degree_day_sums(series))
        rows.append({"year": int(str(year)), "freezing": freezing, "thawing": thawing, "days": int(valid)})
    return pd.DataFrame(rows).set_index("year")


def published_sums(data: Path) -> pd.DataFrame:
    """Return the published sums of the station by year."""
    tables = {name: pd.read_csv(data / path, index_col=0)[NAME] for name, path in INDICES.items()}
    return pd.DataFrame(tables).rename_axis("year").dropna()


def evaluate(data: Path) -> Section:
    """Compare the sums of all years that have both."""
    missing = [str(path) for path in (DAILY, SITES, *INDICES.values()) if not (data / path).is_file()]
    if missing:
        return absent(TITLE, missing)
    ours = yearly_sums(data)
    both = ours[ours["days"] >= FEWEST_DAYS].join(published_sums(data).add_suffix("_published"), how="inner")
    rows, farthest = [], 0.0
    for name in INDICES:
        estimate: npt.NDArray[np.float64] = both[name].to_numpy(np.float64)
        truth: npt.NDArray[np.float64] = both[f"{name}_published"].to_numpy(np.float64)
        rows.append((name, *scores(estimate, truth).cells, f"{np.abs(estimate - truth).max():.2f}"))
        farthest = max(farthest, float(np.abs(estimate - truth).max()))
    gaps = int((both["days"] < 365).sum())
    return Section(
        TITLE,
        f"Daily 0-cm ground temperatures of station 52908 (35.217°N, 93.083°E, 4612 m) as released with "
        f"doi:10.5194/essd-2020-106, summed by calendar year, against the sums of 52 stations of the China "
        f"Meteorological Administration as R package PIC ships them: {len(both)} years from {both.index.min()} to "
        f"{both.index.max()} have both, {gaps} of them with some days missing, which neither side makes up for.",
        (Table("Annual sums [°C d].", ("sum", *COLUMNS, "largest difference"), tuple(rows)),),
        (Goal("equal to rounding", f"{farthest:.2f} °C d apart at most", farthest <= ROUNDING),),
    )
