"""How well a forest predicts what it was not grown on, what it goes by, and how sure it is of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from frostmap.kernels.forest import Forest, predict, predict_distribution
from frostmap.pipeline.cross_validation import FOLDS, Folds, block_folds, random_folds, region_folds, scores
from frostmap.pipeline.forests import Numbers, Table, grow

SCHEMES = ("random", "blocks", "regions")
"""Folds at random, by blocks of 200 km, and by regions: how well the forest does among, beside and far from what it
knows."""
INTERVAL = (0.05, 0.95)
"""Quantiles between which 90 % of the truth should lie."""
GRID_POINTS, BACKGROUND = 24, 300
"""Of a partial dependence: values of a predictor that are tried, and samples whose other predictors are kept."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The pixels that a forest is grown on."""

    values: Table
    """(samples, predictors)."""
    target: Numbers
    """(samples,): E."""
    errors: Numbers
    """(samples,): its standard error."""
    x: Numbers
    """(samples,): east on a plane [km]."""
    y: Numbers
    """(samples,): north [km]."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What a forest that was grown on the other folds says of one."""

    scheme: str
    fold: int
    rows: npt.NDArray[np.intp]
    mean: Numbers
    lower: Numbers
    upper: Numbers
    permuted: Numbers
    """(predictors,): mean squared error with each predictor's values shuffled, less that without."""


def folds_of(sample: Sample, seed: int) -> dict[str, Folds]:
    """Return the folds of each scheme."""
    return {
        "random": random_folds(len(sample.target), seed),
        "blocks": block_folds(sample.x, sample.y, seed),
        "regions": region_folds(sample.x, sample.y, seed),
    }


def left_out(sample: Sample, folds: Mapping[str, Folds], scheme: str, fold: int, trees: int, seed: int) -> LeftOut:
    """Return predictions for one fold from the others; without rows where there are not so many folds."""
    own = folds[scheme] == fold
    rows = np.flatnonzero(own)
    nothing = np.empty(0)
    if not len(rows) or own.all():
        return LeftOut(scheme, fold, rows[:0], nothing, nothing, nothing, np.zeros(sample.values.shape[1]))
    forest = grow(sample.values[~own], sample.target[~own], trees, seed, sample.errors[~own]).forest
    table = np.ascontiguousarray(sample.values[own].T)
    found = predict_distribution(forest, table, INTERVAL)
    error = _mse(found.mean, sample.target[own])
    rng = np.random.default_rng([seed, fold])
    permuted = [
        _mse(predict(forest, _shuffled(table, row, rng)), sample.target[own]) - error for row in range(len(table))
    ]
    lower, upper = found.quantiles.astype(np.float64)
    return LeftOut(scheme, fold, rows, found.mean.astype(np.float64), lower, upper, np.array(permuted))


def _mse(predicted: npt.NDArray[np.floating], true: Numbers) -> float:
    return float(np.mean((predicted - true) ** 2))


def _shuffled(table: Table, row: int, rng: np.random.Generator) -> Table:
    result = table.copy()
    result[row] = rng.permutation(result[row])
    return result


def judged(sample: Sample, parts: Sequence[LeftOut]) -> pd.DataFrame:
    """Return scores of each scheme and fold, and of all its folds together (fold "all").

    Columns: scheme, fold, samples; rmse, mae, r, variance_explained_percent; coverage_percent, the share of E within
    its interval of 90 %, and interval_width, its mean width.
    """
    rows = []
    for scheme in SCHEMES:
        found = [part for part in parts if part.scheme == scheme and len(part.rows)]
        groups = {str(part.fold): [part] for part in found} | ({"all": found} if found else {})
        for fold, some in groups.items():
            true = sample.target[np.concatenate([part.rows for part in some])].astype(np.float32)
            mean, lower, upper = (
                np.concatenate([getattr(part, name) for part in some]) for name in ("mean", "lower", "upper")
            )
            within = (true >= lower) & (true <= upper)
            rows.append(
                {"scheme": scheme, "fold": fold, "samples": len(true)}
                | scores(true.astype(np.float64), mean)
                | {"coverage_percent": 100.0 * float(within.mean()), "interval_width": float(np.mean(upper - lower))}
            )
    return pd.DataFrame(rows)


def headline(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the scores of each scheme, all folds together."""
    whole = table[table["fold"] == "all"].drop(columns="fold").set_index("scheme")
    return {
        str(scheme): {str(name): row[name] for name in whole.columns} for scheme, row in whole.to_dict("index").items()
    }


def importance(predictors: Sequence[str], impurity: Numbers, parts: Sequence[LeftOut], sample: Sample) -> pd.DataFrame:
    """Return predictor, importance, permutation.

    importance is the share of the decrease of variance in the trees that is owed to the predictor; permutation is how
    much the mean squared error of left-out samples rises when its values are shuffled, in variances of E.
    """
    found = [part for part in parts if part.scheme == "random" and len(part.rows)]
    weights = np.array([len(part.rows) for part in found], np.float64)
    rise = np.average([part.permuted for part in found], axis=0, weights=weights) if found else np.zeros(len(impurity))
    variance = float(np.var(sample.target)) or 1.0
    return pd.DataFrame({"predictor": list(predictors), "importance": impurity, "permutation": rise / variance})


def partial_dependence(predictors: Sequence[str], forest: Forest, sample: Sample, seed: int) -> pd.DataFrame:
    """Return predictor, value, e, lower, upper: what the forest makes of a predictor, all others as they are.

    e is the mean over samples whose other predictors are kept (Friedman 2001, doi:10.1214/aos/1013203451); between
    lower and upper lie 80 % of them.
    """
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(sample.values), min(BACKGROUND, len(sample.values)), replace=False)
    background = np.ascontiguousarray(sample.values[rows].T)
    tables = []
    for number, name in enumerate(predictors):
        grid = np.unique(np.quantile(sample.values[:, number], np.linspace(0.01, 0.99, GRID_POINTS))).astype(np.float32)
        asked = np.tile(background, len(grid))
        asked[number] = np.repeat(grid, len(rows))
        found = predict(forest, asked).reshape(len(grid), len(rows)).astype(np.float64)
        lower, upper = np.quantile(found, [0.1, 0.9], axis=1)
        tables.append(
            pd.DataFrame({"predictor": name, "value": grid, "e": found.mean(axis=1), "lower": lower, "upper": upper})
        )
    return pd.concat(tables, ignore_index=True)


def tasks() -> list[tuple[str, int]]:
    """Return every scheme and fold."""
    return [(scheme, fold) for scheme in SCHEMES for fold in range(FOLDS)]
