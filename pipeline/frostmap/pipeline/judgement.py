"""How maps agree with points: by map, by region and near the limit of permafrost, and how sure all of that is.

Points come as a table with a row each: `observed` and `mapped` say permafrost or something else, `row` and `column` are
the pixel that a point is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from odc.geo.geobox import GeoBox
from scipy.spatial import cKDTree

from frostmap.kernels.agreement import BinaryCounts, counts, mcnemar, wilson_interval
from frostmap.kernels.bootstrap import FEWEST_REGIONS, TRUSTED_REGIONS, region_intervals
from frostmap.kernels.frost_number import NON_FROZEN, PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline.sites import on_plane

GROUND = (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN)
BLOCK_KM = 100.0
"""Side of the squares that stand for regions where a table names none [km]."""
LIMITS_KM = (2.0, 5.0, 10.0, 25.0, 50.0)
"""Classes of the distance to the limit of permafrost end here [km]."""
MARGINS = (0.01, 0.02, 0.05, 0.1)
"""Classes of |F - 0.5| end here."""
SEED = 2026
"""Of the regions that are drawn again."""

Numbers = npt.NDArray[np.float64]
Classes = npt.NDArray[np.uint8]


def score(table: BinaryCounts) -> dict[str, float | int]:
    """Return counts, measures and 95 % intervals of a confusion table, permafrost being positive; flat, NaN undefined.

    Examples
    --------
    >>> found = score(BinaryCounts(tp=74, fn=9, fp=8, tn=18))
    >>> {name: round(found[name], 3) for name in ("sensitivity", "specificity", "precision", "mcc")}
    {'sensitivity': 0.892, 'specificity': 0.692, 'precision': 0.902, 'mcc': 0.576}
    """
    accuracy, kappa = table.accuracy_interval(), table.kappa_interval()
    return {
        "n": table.n, "tp": table.tp, "fn": table.fn, "fp": table.fp, "tn": table.tn,
        "overall_accuracy": table.overall_accuracy, "accuracy_low": accuracy[0], "accuracy_high": accuracy[1],
        "kappa": table.kappa, "kappa_low": kappa[0], "kappa_high": kappa[1],
        "sensitivity": table.true_positive_rate, "specificity": table.true_negative_rate,
        "precision": table.precision, "negative_predictive_value": table.negative_predictive_value,
        "false_negative_rate": table.false_negative_rate, "false_positive_rate": table.false_positive_rate,
        "balanced_accuracy": table.balanced_accuracy, "mcc": table.mcc,
    }  # fmt: skip


def counted(points: pd.DataFrame) -> BinaryCounts:
    """Return the confusion table of points."""
    return counts(*((points[name] == "permafrost").to_numpy(bool) for name in ("observed", "mapped")))


# ---- by map -------------------------------------------------------------------------------------------------------


def classes_at(points: pd.DataFrame, ground: Classes) -> list[str]:
    """Return what a map says at the pixels of points: permafrost, seasonally frozen, or "" where it has no ground."""
    codes = ground[points["row"].to_numpy(np.int64), points["column"].to_numpy(np.int64)]
    words = np.select([codes == PERMAFROST, np.isin(codes, GROUND)], ["permafrost", "seasonally frozen"], "")
    return [str(word) for word in words]


def compare_maps(points: pd.DataFrame, judged: str, others: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return a row a map: its agreement with the points where it has ground, and McNemar's test against the judged one.

    Parameters
    ----------
    points
        With the judged map's class.
    judged
        Its name.
    others
        For each other map, what it says at the points, as `classes_at` gives it.

    Returns
    -------
    DataFrame
        map, `score`; pairs (points on both maps), judged_alone_right, map_alone_right, p (exact), mid_p.
    """
    rows: list[dict[str, Any]] = [{"map": judged, **score(counted(points))}]
    seen = (points["observed"] == "permafrost").to_numpy(bool)
    mine = (points["mapped"] == "permafrost").to_numpy(bool)
    for name, said in others.items():
        words = np.asarray(said, dtype=object)
        there, theirs = words != "", words == "permafrost"
        test = mcnemar(seen[there], mine[there], theirs[there])
        rows.append(
            {"map": name, **score(counts(seen[there], theirs[there]))}
            | {"pairs": int(there.sum()), "judged_alone_right": test.first_only, "map_alone_right": test.second_only}
            | {"p": test.p, "mid_p": test.mid_p}
        )
    return pd.DataFrame(rows)


# ---- by region and margin -----------------------------------------------------------------------------------------


def regions_of(points: pd.DataFrame, geobox: GeoBox) -> list[str]:
    """Return the region of each point: as its table names it, else the square of 100 km that it lies in."""
    named = points["region"].fillna("").astype(str).tolist()
    if all(named):
        return named
    east, north = on_plane(geobox, points["row"], points["column"])
    square = zip(np.floor(east / BLOCK_KM).astype(int), np.floor(north / BLOCK_KM).astype(int), strict=True)
    return [name or f"square {x:+d} {y:+d}" for name, (x, y) in zip(named, square, strict=True)]


def limit_distances(points: pd.DataFrame, ground: Classes, geobox: GeoBox) -> Numbers:
    """Return how far each point's pixel is from the limit of permafrost [km]; infinite where the map has none.

    The limit runs between neighbouring pixels of which one is permafrost and the other seasonally or non-frozen ground;
    the distance is that to the nearest middle of such an edge, on an equal-area plane.
    """
    frozen, known = ground == PERMAFROST, np.isin(ground, GROUND)
    down = np.argwhere((frozen[1:] != frozen[:-1]) & known[1:] & known[:-1]) + np.array([0.5, 0.0])
    right = np.argwhere((frozen[:, 1:] != frozen[:, :-1]) & known[:, 1:] & known[:, :-1]) + np.array([0.0, 0.5])
    limit = np.concatenate([down, right])
    if not len(limit):
        return np.full(len(points), np.inf)
    places = np.concatenate([points[["row", "column"]].to_numpy(np.float64), limit])
    plane = np.column_stack(on_plane(geobox, places[:, 0], places[:, 1]))  # one plane for both
    distance, _ = cKDTree(plane[len(points) :]).query(plane[: len(points)])
    return np.asarray(distance, dtype=np.float64)


def by_group(points: pd.DataFrame) -> pd.DataFrame:
    """Return agreement by region, by distance to the limit of permafrost, by |F - 0.5|, and by what was observed.

    Parameters
    ----------
    points
        With columns region_of, limit_km, frost_number, stated.

    Returns
    -------
    DataFrame
        by, group, `score`; each point is once in each of the four.
    """
    margin = (points["frost_number"] - 0.5).abs()
    groups = {
        "region": points["region_of"],
        "distance to the limit [km]": _ranges(points["limit_km"], LIMITS_KM),
        "|F - 0.5|": _ranges(margin, MARGINS),
        "observation": np.where(points["stated"].astype(bool), "class", "temperature"),
    }
    rows = []
    for by, labels in groups.items():
        for group, part in points.groupby(np.asarray(labels, dtype=object), sort=True):
            rows.append({"by": by, "group": str(group).lstrip("0123456789)").strip(), **score(counted(part))})
    return pd.DataFrame(rows)


def _ranges(values: pd.Series[float], ends: Sequence[float]) -> list[str]:
    """Return the range of each value, with a number before it by which ranges sort."""
    starts = (0.0, *ends)
    names = [f"{low:g} to {high:g}" for low, high in zip(starts, ends, strict=False)] + [f"{ends[-1]:g} and more"]
    return [f"{at}) {names[at]}" for at in np.searchsorted(ends, values.to_numpy(np.float64), side="right")]


def drawn_regions(points: pd.DataFrame) -> dict[str, Any]:
    """Return intervals from drawing whole regions again: points of a region err together.

    Returns
    -------
    dict
        regions, trusted (there are at least ten); overall_accuracy, kappa, balanced_accuracy: their 95 % intervals,
        where there are at least three regions.
    """
    tables = [counted(part) for _, part in points.groupby("region_of")]
    found: dict[str, Any] = {"regions": len(tables), "trusted": len(tables) >= TRUSTED_REGIONS}
    if len(tables) >= FEWEST_REGIONS:
        cells = np.array([(t.tp, t.fn, t.fp, t.tn) for t in tables])
        found |= {name: [ends.low, ends.high] for name, ends in region_intervals(cells, SEED).items()}
    return found


def once_a_pixel(points: pd.DataFrame) -> dict[str, float | int]:
    """Return agreement with every pixel counted once, by what most of its points say; `undecided` are left out."""
    seen = (points["observed"] == "permafrost").groupby([points["row"], points["column"]]).mean()
    mapped = (points["mapped"] == "permafrost").groupby([points["row"], points["column"]]).first()
    decided = (seen != 0.5).to_numpy()
    table = counts((seen > 0.5).to_numpy()[decided], mapped.to_numpy(bool)[decided])
    return {**score(table), "pixels": len(seen), "undecided": int((~decided).sum())}


# ---- stations -----------------------------------------------------------------------------------------------------


def station_verdicts(
    stations: pd.DataFrame, bounds: tuple[float, float], non_frozen_below: float
) -> tuple[list[str], list[str]]:
    """Return what the sums of stations allow, and whether the map agrees.

    With sums of the ground at the station itself, its critical E is sqrt(DDF / DDT): permafrost needs an E below it. If
    it lies beyond what E is ever taken to be, the station decides alone; else its class depends on E.

    Parameters
    ----------
    stations
        With ddf, ddt [°C d], critical_e, and mapped: the map's class at its pixel, empty where it has none.
    bounds
        Least and greatest E of the calibration.
    non_frozen_below
        Freezing sums up to this are non-frozen ground [°C d].

    Returns
    -------
    verdicts
        permafrost, seasonally frozen, non-frozen; or depends on E.
    agreement
        yes, no; empty where the station does not decide or the map has no class.
    """
    least, greatest = bounds
    verdicts, agrees = [], []
    for ddf, ddt, critical, mapped in zip(
        stations["ddf"], stations["ddt"], stations["critical_e"], stations["mapped"], strict=True
    ):
        if ddf <= non_frozen_below and ddt > 0:
            verdict = "non-frozen"
        elif critical > greatest:
            verdict = "permafrost"
        elif critical <= least:
            verdict = "seasonally frozen"
        else:
            verdict = "depends on E"
        verdicts.append(verdict)
        decided = verdict != "depends on E" and mapped
        agrees.append(("yes" if verdict == mapped else "no") if decided else "")
    return verdicts, agrees


def shares_with_interval(agrees: Sequence[str]) -> dict[str, Any]:
    """Return how many of the decisive stations the map agrees with, and the Wilson interval of their share."""
    yes, no = (sum(each == word for each in agrees) for word in ("yes", "no"))
    return {
        "stations": len(agrees),
        "decisive": yes + no,
        "agree": yes,
        "share": yes / (yes + no) if yes + no else np.nan,
        "interval": list(wilson_interval(yes, yes + no)),
    }
