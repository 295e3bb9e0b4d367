"""E from the training epoch to the target epoch: a random forest on the predictors."""

from __future__ import annotations

from dataclasses import dataclass

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from scipy.spatial import cKDTree
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import StandardScaler

from frostmap.pipeline import predictors
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe, Transfer
from frostmap.pipeline.schema import SOIL_E
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.work import Work

MOST_FIT = 500_000
"""Pixels that the sampler's k-means looks at."""


def build(work: Work, _epoch: str) -> Products:
    """Return E of the target epoch, and what the forest says of itself."""
    result = delayed(transfer)(
        work.open("covariates/training"),
        work.open("calibration/training")["e"],
        work.open("covariates/target"),
        work.inside,
        work.recipe.transfer,
    )
    e = da.from_delayed(result.e, work.shape, dtype=np.dtype(SOIL_E.dtype))
    return Products(
        cube=xr.Dataset({SOIL_E.name: (SOIL_E.dims, e, SOIL_E.attrs)}),
        tables={"forest": result.importance},
        metrics={"transfer": result.metrics},
    )


@dataclass(frozen=True)
class Transferred:
    """E of the target epoch."""

    e: npt.NDArray[np.float32]
    """(y, x), NaN where a predictor is missing."""
    importance: pd.DataFrame
    """predictor, importance (mean decrease in impurity)."""
    metrics: dict[str, float | int]
    """samples; out-of-bag rmse, r2."""


def transfer(
    training: xr.Dataset, e: xr.DataArray, target: xr.Dataset, inside: npt.NDArray[np.bool_], settings: Transfer
) -> Transferred:
    """Return E predicted from the target epoch's covariates by a forest grown on the training epoch's."""
    before, known = predictors.matrix(training), e.values.ravel()
    usable = np.flatnonzero(np.isfinite(before).all(axis=1) & np.isfinite(known) & inside.ravel())
    if len(usable) < 50:
        raise UserError(
            "too few pixels to grow a forest on",
            where="stage transfer",
            found=f"{len(usable)} pixels with E and all predictors",
            wanted="at least 50",
            remedy="enlarge the region, or check that every covariate covers it",
        )
    sample = usable[kmeans_sample(before[usable], settings.samples, settings.seed)]
    forest = RandomForestRegressor(  # R randomForest's defaults, as far as scikit-learn has them
        n_estimators=settings.trees,
        max_features=1 / 3,
        min_samples_split=6,
        bootstrap=True,
        oob_score=True,
        random_state=settings.seed,
        n_jobs=1,
    ).fit(before[sample], known[sample])
    after = predictors.matrix(target)
    there = np.isfinite(after).all(axis=1) & inside.ravel()
    predicted = np.full(inside.size, np.nan, dtype=np.float32)
    predicted[there] = forest.predict(after[there])
    residual = forest.oob_prediction_ - known[sample]
    return Transferred(
        predicted.reshape(inside.shape),
        pd.DataFrame({"predictor": predictors.NAMES, "importance": forest.feature_importances_}),
        {
            "samples": len(sample),
            "rmse_out_of_bag": float(np.sqrt(np.mean(residual**2))),
            "r2_out_of_bag": float(forest.oob_score_),
        },
    )


def kmeans_sample(values: npt.NDArray[np.float32], n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return indices of up to `n` rows spread over the predictors' space: the real row nearest each k-means centre.

    Indices are unique and in rising order; all rows where there are no more than `n`.
    """
    if len(values) <= n:
        return np.arange(len(values))
    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    rng = np.random.default_rng(seed)
    seen = scaled if len(scaled) <= MOST_FIT else scaled[rng.choice(len(scaled), MOST_FIT, replace=False)]
    start = seen[rng.choice(len(seen), n, replace=False)]
    model = MiniBatchKMeans(n, init=start, n_init=1, batch_size=max(4096, 2 * n), max_iter=20, random_state=seed)
    centres = model.fit(seen).cluster_centers_
    _, nearest = cKDTree(scaled).query(centres)
    return np.unique(nearest)


def _scopes(recipe: Recipe) -> list[str]:
    return ["target"] if recipe.epochs.target else []


TRANSFER = Stage(
    "transfer",
    "E of the target epoch",
    build,
    scopes=_scopes,
    inputs=lambda _recipe, _epoch: ["covariates/training", "covariates/target", "calibration/training"],
    sections=("transfer",),
    writes=(SOIL_E,),
)
