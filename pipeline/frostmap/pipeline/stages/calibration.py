"""E of each soil cluster, from the surveyed maps of the training epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from frostmap.kernels.agreement import BinaryCounts, counts
from frostmap.kernels.calibration import calibrate_exact
from frostmap.kernels.frost_number import PERMAFROST, SEASONALLY_FROZEN, critical_e
from frostmap.pipeline import predictors
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Calibration, Recipe
from frostmap.pipeline.schema import CLUSTER, SOIL_E
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.work import Work

MOST_FIT = 200_000
"""Pixels that clusters are fitted on; all are then assigned."""


def build(work: Work, _epoch: str) -> Products:
    """Return clusters, E, and how well the calibrated map agrees with the surveys."""
    recipe, geobox = work.recipe, work.geobox
    forcing = work.open("forcing/training")
    if recipe.sources.clusters is not None:
        cluster = delayed(_given_clusters)(recipe.path(recipe.sources.clusters), geobox)
    else:
        covariates = work.open("covariates/training")
        cluster = delayed(make_clusters)(covariates, work.inside, recipe.calibration)
    surveys = [(survey.name, recipe.path(survey.path)) for survey in recipe.sources.surveys]
    surveyed = delayed(read_surveys)(surveys, geobox)
    result = delayed(calibrate)(forcing, cluster, surveyed, recipe.calibration)
    layers = {
        CLUSTER.name: da.from_delayed(cluster, geobox.shape, dtype=np.dtype(CLUSTER.dtype)),
        SOIL_E.name: da.from_delayed(result.e, geobox.shape, dtype=np.dtype(SOIL_E.dtype)),
    }
    cube = xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in (CLUSTER, SOIL_E)})
    return Products(cube=cube, tables={"clusters": result.table}, metrics={"calibration": result.metrics})


@dataclass(frozen=True)
class Calibrated:
    """E on the map, and what is known of it."""

    e: npt.NDArray[np.float32]
    """(y, x), NaN outside the clusters."""
    table: pd.DataFrame
    """cluster, e, lower, upper, surveyed_pixels; within [lower, upper] the surveyed pixels keep their classes."""
    metrics: dict[str, float | int]
    """Agreement with the surveys: n, tp, fn, fp, tn, overall_accuracy, kappa; and kappa with E = 1 everywhere."""


def make_clusters(
    covariates: xr.Dataset, inside: npt.NDArray[np.bool_], settings: Calibration
) -> npt.NDArray[np.int16]:
    """Return soil clusters 1, 2, ... of pixels with all predictors; 0 elsewhere. k-means on standardised predictors."""
    values = predictors.matrix(covariates)
    usable = np.isfinite(values).all(axis=1) & inside.ravel()
    if usable.sum() < settings.clusters:
        raise UserError(
            "too few pixels with all predictors to make soil clusters",
            where="stage calibration",
            found=f"{usable.sum()} of {inside.sum()} pixels in the region",
            wanted=f"at least {settings.clusters}, one a cluster",
            remedy="check that every covariate covers the region (maps/ and the report show them)",
        )
    scaler = StandardScaler()
    scaled = scaler.fit_transform(values[usable])
    rng = np.random.default_rng(settings.seed)
    sample = scaled if len(scaled) <= MOST_FIT else scaled[rng.choice(len(scaled), MOST_FIT, replace=False)]
    model = KMeans(settings.clusters, n_init=10, random_state=settings.seed).fit(sample)
    result = np.zeros(inside.size, dtype=np.int16)
    result[usable] = model.predict(scaled) + 1
    return result.reshape(inside.shape)


def read_surveys(surveys: list[tuple[str, Path]], geobox: GeoBox) -> npt.NDArray[np.uint8]:
    """Return the surveyed classes on the map's grid, 0 where nobody surveyed; where maps overlap the first counts."""
    surveyed = np.zeros(geobox.shape, dtype=np.uint8)
    for name, path in surveys:
        codes = on_grid(path, geobox, f"sources.surveys, {name}", how="nearest")
        is_class = (codes == PERMAFROST) | (codes == SEASONALLY_FROZEN)
        if not is_class.any():
            raise UserError(
                "a surveyed map has no surveyed pixel in the region",
                where=f"{path} (recipe: sources.surveys, {name})",
                found=f"codes {np.unique(codes[np.isfinite(codes)]).astype(int).tolist()}",
                wanted="1 permafrost, 2 seasonally frozen, anything else not surveyed",
                remedy="recode the map, or leave it out",
            )
        surveyed = np.where((surveyed == 0) & is_class, codes, surveyed).astype(np.uint8)
    return surveyed


def calibrate(
    forcing: xr.Dataset, cluster: npt.NDArray[np.int16], surveyed: npt.NDArray[np.uint8], settings: Calibration
) -> Calibrated:
    """Return E of each cluster that agrees best with the surveys (greatest kappa, exactly)."""
    critical = critical_e(forcing["ddf"].values, forcing["ddt"].values)
    use = (surveyed > 0) & np.isfinite(critical) & (cluster > 0)
    permafrost = surveyed[use] == PERMAFROST
    labels = np.unique(cluster[cluster > 0])
    place = np.searchsorted(labels, cluster)
    n_permafrost, n_seasonal = int(permafrost.sum()), int((~permafrost).sum())
    if not n_permafrost or not n_seasonal:
        raise UserError(
            "the surveys do not have both classes where the forcing is known",
            where="sources.surveys",
            found=f"{n_permafrost} permafrost and {n_seasonal} seasonally frozen pixels",
            wanted="some of both: with one class alone, any extreme E agrees perfectly",
            remedy="add a surveyed map that crosses the permafrost limit, or enlarge the region",
        )
    bounds = (settings.lower, settings.upper)
    best = calibrate_exact(critical[use], permafrost, place[use], len(labels), bounds, settings.prior)
    table = pd.DataFrame(
        {"cluster": labels, "e": best.e, "lower": best.lower, "upper": best.upper, "surveyed_pixels": best.pixels}
    )
    e = np.where(cluster > 0, best.e[np.minimum(place, len(labels) - 1)], np.nan).astype(np.float32)
    at_one = counts(permafrost, critical[use] > 1.0)
    metrics = agreement(best.counts) | {"kappa_at_one": at_one.kappa, "iterations": best.iterations}
    return Calibrated(e, table, metrics)


def agreement(table: BinaryCounts) -> dict[str, float | int]:
    """Return the counts and scores of a confusion table, permafrost being positive."""
    return {
        "n": table.n,
        "tp": table.tp,
        "fn": table.fn,
        "fp": table.fp,
        "tn": table.tn,
        "overall_accuracy": table.overall_accuracy,
        "kappa": table.kappa,
    }


def _given_clusters(path: Path, geobox: GeoBox) -> npt.NDArray[np.int16]:
    codes = on_grid(path, geobox, "sources.clusters", how="nearest")
    return np.where(np.isfinite(codes), codes, 0).astype(np.int16)


def _inputs(recipe: Recipe, _epoch: str) -> list[str]:
    return ["forcing/training"] + ([] if recipe.sources.clusters else ["covariates/training"])


def _sources(recipe: Recipe, _epoch: str) -> list[Path]:
    given = [recipe.sources.clusters] if recipe.sources.clusters else []
    return [recipe.path(path) for path in [*given, *(survey.path for survey in recipe.sources.surveys)]]


CALIBRATION = Stage(
    "calibration",
    "E from the surveys",
    build,
    scopes=lambda _recipe: ["training"],
    inputs=_inputs,
    sources=_sources,
    sections=("calibration",),
    writes=(CLUSTER, SOIL_E),
)
