"""What differs between ground that degraded and the stable ground beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import mannwhitneyu

from frostmap.kernels.box_statistics import box, cliffs_delta, cliffs_interval
from frostmap.pipeline.hot_spots import KINDS, STABLE, Compared, Spot

Which = npt.NDArray[np.bool_]

DEGRADED, ADJACENT = "degraded", "stable beside it"
FEWEST = 5
"""With fewer pixels of either group, nothing is compared."""


def adjacent(pixels: Compared, degraded: Which, stable: Which, reach_km: float) -> Which:
    """Return which stable pixels lie within a distance of a degraded one."""
    found = np.zeros(len(degraded), np.bool_)
    if not degraded.any() or not stable.any():
        return found
    plane = np.stack([pixels.east, pixels.north], axis=1)
    low, high = plane[degraded].min(axis=0) - reach_km, plane[degraded].max(axis=0) + reach_km
    near = np.flatnonzero(stable & ((plane >= low) & (plane <= high)).all(axis=1))
    distance, _ = cKDTree(plane[degraded]).query(plane[near], distance_upper_bound=reach_km)
    found[near[np.isfinite(distance)]] = True
    return found


def thinned(pixels: Compared, which: Which, side_km: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return one of the chosen pixels, drawn at random, out of each square of a side, in the order of pixels."""
    chosen = rng.permutation(np.flatnonzero(which))
    cells = np.floor(np.stack([pixels.east[chosen], pixels.north[chosen]]) / side_km).astype(np.int64)
    _, first = np.unique(cells, axis=1, return_index=True)
    return np.sort(chosen[first])


def groups_of(pixels: Compared, spot: Spot, reach_km: float) -> tuple[Which, Which] | None:
    """Return the degraded pixels of a spot, and the stable ones beside them; None where either are few."""
    degraded = spot.inside & pixels.are(KINDS[spot.kind])
    beside = adjacent(pixels, degraded, pixels.are((STABLE[spot.kind],)), reach_km)
    return (degraded, beside) if min(degraded.sum(), beside.sum()) >= FEWEST else None


def compare(
    pixels: Compared,
    groups: Mapping[str, tuple[Which, Which]],
    values: Mapping[str, npt.NDArray[Any]],
    units: Mapping[str, str],
    thinning_km: float,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return boxes of every variable in both groups of every spot, and how far the groups lie apart.

    Parameters
    ----------
    pixels
        What is compared.
    groups
        Degraded pixels, and stable ones beside them, by the name of the spot.
    values
        Of each compared pixel, by the name of the variable; NaN where it has none.
    units
        Of the variables.
    thinning_km
        Side of the squares of which tests take one pixel of each group.
    seed
        Of the pixels that are taken.

    Returns
    -------
    boxes
        spot, variable, units, group; n, mean, low, q1, median, q3, high, outside (`box`), of all pixels.
    effects
        spot, variable, units; difference of the medians and of the means of all pixels, degraded less stable; of the
        thinned ones n_degraded, n_stable, Cliff's delta with a 95 % interval, and p of Mann and Whitney's test.
    """
    boxes: list[dict[str, Any]] = []
    effects: list[dict[str, Any]] = []
    for spot, (degraded, beside) in groups.items():
        rng = np.random.default_rng(seed)  # of each spot its own, so that another spot changes nothing
        few, few_beside = (thinned(pixels, which, thinning_km, rng) for which in (degraded, beside))
        for variable, every in values.items():
            what = {"spot": spot, "variable": variable, "units": units[variable]}
            pair = [box(every[which]) for which in (degraded, beside)]
            if min(each.n for each in pair) == 0:
                continue
            boxes += [
                what | {"group": group, **vars(each)} for group, each in zip((DEGRADED, ADJACENT), pair, strict=True)
            ]
            first, second = every[few], every[few_beside]
            first, second = first[np.isfinite(first)], second[np.isfinite(second)]
            low, high = cliffs_interval(first, second)
            effects.append(
                what
                | {"median_difference": pair[0].median - pair[1].median, "mean_difference": pair[0].mean - pair[1].mean}
                | {"n_degraded": first.size, "n_stable": second.size}
                | {"delta": cliffs_delta(first, second), "delta_low": low, "delta_high": high}
                | {"p": _p(first, second)}
            )
    return pd.DataFrame(boxes, columns=BOX_COLUMNS), pd.DataFrame(effects, columns=EFFECT_COLUMNS)


BOX_COLUMNS = [
    "spot", "variable", "units", "group", "n", "mean", "low", "q1", "median", "q3", "high", "outside",
]  # fmt: skip
EFFECT_COLUMNS = [
    "spot", "variable", "units", "median_difference", "mean_difference", "n_degraded", "n_stable",
    "delta", "delta_low", "delta_high", "p",
]  # fmt: skip


def _p(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    if not a.size or not b.size:
        return float("nan")
    if np.ptp(np.concatenate([a, b])) == 0:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue)


def by_sign_of_e(
    names: Sequence[str], groups: Mapping[str, tuple[Which, Which]], values: Mapping[str, npt.NDArray[Any]]
) -> pd.DataFrame:
    """Return, for the degraded pixels of each spot, how many E rose or fell at, and medians of other changes there.

    Returns
    -------
    DataFrame
        spot, e (rose, fell), pixels, share, and the median of each of `names`.
    """
    rows = []
    for spot, (degraded, _) in groups.items():
        change = values["e_change"][degraded]
        known = np.isfinite(change)
        for word, which in (("rose", change > 0), ("fell", change <= 0)):
            here = np.flatnonzero(degraded)[known & which]
            medians = {
                name: float(np.nanmedian(values[name][here])) if _some(values[name][here]) else np.nan for name in names
            }
            share = len(here) / known.sum() if known.any() else np.nan
            rows.append({"spot": spot, "e": word, "pixels": len(here), "share": share} | medians)
    return pd.DataFrame(rows, columns=["spot", "e", "pixels", "share", *names])


def _some(values: npt.NDArray[Any]) -> bool:
    return bool(np.isfinite(values).any())
