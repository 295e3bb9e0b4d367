"""A year of half-hourly skin temperature: what four looks a day tell of the day's mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from frostmap.kernels.diurnal_cycle import DailyMean, daily_mean
from frostmap.pipeline.evaluation.scores import COLUMNS, scores
from frostmap.pipeline.evaluation.tables import Goal, Section, Table, absent

Array = npt.NDArray[np.float32]

TITLE = "Half-hourly skin temperature: Bondville 1998"
FILE = Path("diurnal/bondville1998_halfhourly.csv.gz")
LATITUDE, LONGITUDE, MERIDIAN = 40.01, -88.37, -90.0
"""Of the site, and of its standard time [°]."""
CLOCK = (1030, 1330, 2230, 130)
"""Standard times of the four looks."""
READINGS = 48
PLAIN_BIAS, PLAIN_RMSE = 0.97, 1.23
"""Of the plain mean of the four looks [K]."""


@dataclass(frozen=True)
class Days:
    """Days whose readings are complete."""

    day_of_year: npt.NDArray[np.int64]
    looks: Array
    """(days, 4) temperatures at the four looks [°C]."""
    hours: Array
    """(days, 4) local mean solar hours of the looks."""
    truth: Array
    """(days,) mean of the 48 readings [°C]."""


def load(data: Path) -> Days:
    """Read the complete days."""
    table = pd.read_csv(data / FILE)
    clock = table["hhmm_local_standard"].to_numpy()[:READINGS].tolist()  # midnight ends the day
    readings = table["ir_skin_temperature_degC"].to_numpy(np.float64).reshape(-1, READINGS)
    complete = np.isfinite(readings).all(axis=1)
    hours = np.array([time // 100 + time % 100 / 60.0 for time in CLOCK]) + (LONGITUDE - MERIDIAN) / 15.0
    looks = readings[complete][:, [clock.index(time) for time in CLOCK]].astype(np.float32)
    return Days(
        table["day_of_year_1998"].to_numpy().reshape(-1, READINGS)[complete, 0],
        looks,
        np.broadcast_to(hours.astype(np.float32), looks.shape),
        readings[complete].mean(axis=1).astype(np.float32),
    )


def methods() -> Mapping[str, Callable[[Days], Array]]:
    """Return the ways from four looks to the day's mean."""
    return {method: partial(_by_method, method) for method in get_args(DailyMean)}


def _by_method(method: DailyMean, days: Days) -> Array:
    shape = (*days.looks.shape, 1, 1)
    looks, hours = (np.ascontiguousarray(values).reshape(shape) for values in (days.looks, days.hours))
    return daily_mean(method, looks, hours, np.array([LATITUDE]), days.day_of_year).reshape(-1)


def evaluate(data: Path) -> Section:
    """Estimate the mean of each complete day, and compare with that of its 48 readings."""
    if not (data / FILE).is_file():
        return absent(TITLE, [str(FILE)])
    days = load(data)
    found = {name: estimate(days) for name, estimate in methods().items()}
    score = {name: scores(mean, days.truth) for name, mean in found.items()}
    freezing, thawing = (_sum(days.truth, sign) for sign in (-1, 1))
    best = min(score, key=lambda name: score[name].rmse)
    return Section(
        TITLE,
        f"Infrared skin temperature every half hour at {LATITUDE}°N, {-LONGITUDE}°W. Of {days.truth.size} days all "
        f"{READINGS} readings are there: their mean is the truth, and the readings of {_times()} standard time stand "
        "for the looks of Terra and Aqua. Sums are over the same days.",
        (
            Table("Daily means.", ("method", *COLUMNS), tuple((name, *each.cells) for name, each in score.items())),
            Table(
                f"Sums of the daily means: freezing {freezing:.0f}, thawing {thawing:.0f} °C d in truth.",
                ("method", "freezing, error", "thawing, error"),
                tuple(
                    (name, f"{_sum(mean, -1) - freezing:+.0f}", f"{_sum(mean, 1) - thawing:+.0f}")
                    for name, mean in found.items()
                ),
            ),
        ),
        (
            Goal(
                f"the default (`sinusoid`) better than the plain mean ({PLAIN_BIAS} K, {PLAIN_RMSE} K)",
                f"{score['sinusoid'].bias:+.2f} K, {score['sinusoid'].rmse:.2f} K",
                abs(score["sinusoid"].bias) < PLAIN_BIAS and score["sinusoid"].rmse < PLAIN_RMSE,
            ),
            Goal(
                "the best method halves both",
                f"`{best}`: {score[best].bias:+.2f} K, {score[best].rmse:.2f} K",
                abs(score[best].bias) <= PLAIN_BIAS / 2 and score[best].rmse <= PLAIN_RMSE / 2,
            ),
        ),
    )


def _times() -> str:
    return ", ".join(f"{time // 100}:{time % 100:02d}" for time in CLOCK)


def _sum(mean: Array, sign: int) -> float:
    return float(np.maximum(sign * mean.astype(np.float64), 0.0).sum())
