"""One image under the clouds of another day: MODIS, 4 August 2016, which published methods filled too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from frostmap.pipeline.evaluation.scores import COLUMNS, scores
from frostmap.pipeline.evaluation.spatial import Array, departures, nearest, positions, trend
from frostmap.pipeline.evaluation.tables import Goal, Section, Table, absent, published

TITLE = "One image: 4 August 2016"
FILE = Path("gapfill/heaton2016217/AllSatelliteTemps.csv.gz")
SHAPE = (300, 500)
LARGEST_RMSE = 1.8


@dataclass(frozen=True)
class Image:
    """The image of the competition."""

    masked: Array
    """(y, x) what was given [°C]; NaN is missing."""
    truth: Array
    """(y, x) what was observed."""


def load(data: Path) -> Image:
    """Read the image."""
    table = pd.read_csv(data / FILE)
    masked, truth = (table[name].to_numpy().reshape(SHAPE) for name in ("MaskTemp", "TrueTemp"))
    return Image(masked, truth)


def _spatial(image: Array) -> Array:
    expected = trend(image, positions((image.shape[0], image.shape[1])))
    return expected + departures(image - expected)[0]


def methods() -> Mapping[str, Callable[[Array], Array]]:
    """Return the ways in which an image is filled."""
    return {
        "nearest observed pixel": nearest,
        "linear trend of position": lambda image: trend(image, positions((image.shape[0], image.shape[1]))),
        "trend and departures (the spatial part of `scsg`)": _spatial,
    }


def evaluate(data: Path) -> Section:
    """Fill the image, and compare with what was held out."""
    if not (data / FILE).is_file():
        return absent(TITLE, [str(FILE)])
    image = load(data)
    held_out = np.isnan(image.masked) & np.isfinite(image.truth)
    found = {name: scores(fill(image.masked), image.truth, held_out) for name, fill in methods().items()}
    source, rows = published("heaton_2018.csv")
    rmse = [*found.values()][-1].rmse
    better = sum(rmse < float(row["rmse"]) for row in rows)
    return Section(
        TITLE,
        f"MOD11A1 of {SHAPE[0]} x {SHAPE[1]} pixels, with the clouds of another day laid over it: "
        f"{int(held_out.sum()):,} pixels are held out. There is one image and no elevation, so only the spatial part "
        "is on trial: a linear trend of position, and the departures from it, kriged on cells of one pixel with a "
        "covariance that is fitted to the image itself.",
        (
            Table("Ours.", ("method", *COLUMNS), tuple((name, *score.cells) for name, score in found.items())),
            Table(
                "Published, on the same pixels.",
                ("method", "RMSE"),
                tuple((row["method"], row["rmse"]) for row in rows),
            ),
        ),
        (Goal(f"RMSE at most {LARGEST_RMSE} K", f"{rmse:.2f} K", rmse <= LARGEST_RMSE),),
        f"Published numbers: {source} Of these five, ours is better than {better}.",
    )
