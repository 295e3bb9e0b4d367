"""E of each soil cluster, from the surveyed maps of the training epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.kernels.agreement import BinaryCounts, counts
from frostmap.kernels.e_search import RESTARTS, descend, exact, fitted, hybrid, swarm
from frostmap.kernels.frost_number import PERMAFROST, critical_e
from frostmap.kernels.survey_objective import SurveyObjective
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Calibration, Recipe
from frostmap.pipeline.schema import CLUSTER, SOIL_E
from frostmap.pipeline.soil_clusters import make_clusters
from frostmap.pipeline.stage import Products, Stage, everywhere
from frostmap.pipeline.surveys import read_survey_regions
from frostmap.pipeline.work import Work

WEIGHTS = (5.0, 8.0)
"""Between which the published weight of kappa was drawn."""
FEW_RESTARTS = 5
"""Random starts of the searches that leave a region out."""


def build(work: Work, _epoch: str) -> Products:
    """Return clusters, E, and how well the calibrated map agrees with the surveys."""
    recipe, geobox = work.recipe, work.geobox
    forcing = work.open("forcing/training")
    surveys = [(survey.name, recipe.path(survey.path)) for survey in recipe.sources.surveys]
    surveyed = delayed(read_survey_regions, nout=2)(surveys, geobox)
    if recipe.sources.clusters is not None:
        cluster = delayed(_given_clusters)(recipe.path(recipe.sources.clusters), geobox)
    else:
        covariates = work.open("covariates/training")
        cluster = delayed(make_clusters)(covariates, work.inside, surveyed[0], recipe.calibration)
    names = [name for name, _ in surveys]
    result = delayed(calibrate)(forcing, cluster, surveyed[0], recipe.calibration, surveyed[1], names)
    layers = {
        CLUSTER.name: da.from_delayed(cluster, geobox.shape, dtype=np.dtype(CLUSTER.dtype)),
        SOIL_E.name: da.from_delayed(result.e, geobox.shape, dtype=np.dtype(SOIL_E.dtype)),
    }
    cube = xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in (CLUSTER, SOIL_E)})
    tables = {"clusters": result.table, "calibration_regions": result.regions}
    return Products(cube=cube, tables=tables, metrics={"calibration": result.metrics})


@dataclass(frozen=True)
class Calibrated:
    """E on the map, and what is known of it."""

    e: npt.NDArray[np.float32]
    """(y, x), NaN outside the clusters."""
    table: pd.DataFrame
    """cluster, e, lower, upper, surveyed_pixels, and the range of E over weights; within [lower, upper] the surveyed
    pixels keep their classes."""
    regions: pd.DataFrame
    """How well E of the other surveys maps each survey."""
    metrics: dict[str, Any]
    """Agreement with the surveys: n, tp, fn, fp, tn, overall_accuracy, kappa, boundary agreement, and kappa with E = 1
    everywhere; what other weights give; the agreement of regions that were left out."""


@dataclass(frozen=True)
class Prepared:
    """The surveyed map, ready to be fitted."""

    critical: npt.NDArray[np.float64]
    """(y, x) sqrt(DDF / DDT) [1]."""
    surveyed: npt.NDArray[np.uint8]
    """(y, x) 1 permafrost, 2 seasonally frozen, 0 not used."""
    place: npt.NDArray[np.int64]
    """(y, x) place of the pixel's cluster among all, -1 without one."""
    clusters: int
    """How many there are."""

    def objective(self, used: npt.NDArray[np.bool_] | None = None) -> SurveyObjective:
        """Return the objective of the whole survey, or of some of its pixels."""
        codes = self.surveyed if used is None else np.where(used, self.surveyed, 0)
        return SurveyObjective.of(self.critical, codes, self.place, self.clusters)


def calibrate(
    forcing: xr.Dataset,
    cluster: npt.NDArray[np.int16],
    surveyed: npt.NDArray[np.uint8],
    settings: Calibration,
    region: npt.NDArray[np.int16] | None = None,
    names: Sequence[str] = (),
) -> Calibrated:
    """Return E of each cluster that agrees best with the surveys, and how well it is known.

    Parameters
    ----------
    forcing
        ddf and ddt of the training epoch [°C d].
    cluster : (y, x)
        Soil cluster of each pixel, 0 for none.
    surveyed : (y, x)
        1 permafrost, 2 seasonally frozen, 0 not surveyed.
    settings
        Method, weight, bounds and prior.
    region : (y, x)
        Place in `names` of the survey that a pixel belongs to: each is left out once where there are several.
    names
        Of the surveys.
    """
    critical = critical_e(forcing["ddf"].values, forcing["ddt"].values)
    use = (surveyed > 0) & np.isfinite(critical) & (cluster > 0)
    permafrost = surveyed[use] == PERMAFROST
    labels = np.unique(cluster[cluster > 0])
    n_permafrost, n_seasonal = int(permafrost.sum()), int((~permafrost).sum())
    if not n_permafrost or not n_seasonal:
        raise UserError(
            "the surveys do not have both classes where the forcing is known",
            where="sources.surveys",
            found=f"{n_permafrost} permafrost and {n_seasonal} seasonally frozen pixels",
            wanted="some of both: with one class alone, any extreme E agrees perfectly",
            remedy="add a surveyed map that crosses the permafrost limit, or enlarge the region",
        )
    place = np.where(cluster > 0, np.searchsorted(labels, cluster), -1)
    prepared = Prepared(critical, np.where(use, surveyed, 0).astype(np.uint8), place, len(labels))
    bounds = (settings.lower, settings.upper)
    survey = prepared.objective()
    best = fitted(survey, search(survey, settings), settings.kappa_weight, bounds)
    spread = weight_spread(survey, best.e, settings)
    table = pd.DataFrame(
        {
            "cluster": labels,
            "e": best.e,
            "lower": best.lower,
            "upper": best.upper,
            "surveyed_pixels": best.pixels,
            "least_e_of_weights": np.minimum(best.e, spread.e.min(axis=0, initial=np.inf)),
            "greatest_e_of_weights": np.maximum(best.e, spread.e.max(axis=0, initial=-np.inf)),
        }
    )
    regions = regions_left_out(prepared, region, names, settings)
    e = np.where(cluster > 0, best.e[place], np.nan).astype(np.float32)
    metrics: dict[str, Any] = agreement(best.counts)
    metrics |= {
        "kappa_at_one": survey.counts(np.ones(len(labels))).kappa,
        "cost": best.cost,
        "kappa_weight": settings.kappa_weight,
        "boundary_cells": best.boundary_cells,
        **({"boundary_agreement": best.beta} if best.boundary_cells else {}),
        **({"weight_draws": spread.metrics} if len(spread.e) else {}),
        **({"regions_left_out": pooled(regions)} if len(regions) else {}),
    }
    return Calibrated(e, table, regions, metrics)


def search(survey: SurveyObjective, settings: Calibration, restarts: int = RESTARTS) -> npt.NDArray[np.float64]:
    """Return the E's that the recipe's method finds."""
    bounds, weight = (settings.lower, settings.upper), settings.kappa_weight
    match settings.method:
        case "exact":
            return exact(survey, bounds, settings.prior)
        case "pso":
            return swarm(survey, weight, bounds, settings.seed)
        case "hybrid":
            return hybrid(survey, weight, bounds, settings.prior, settings.seed, restarts)


@dataclass(frozen=True)
class WeightSpread:
    """What other weights of kappa would have given."""

    e: npt.NDArray[np.float64]
    """(draws, clusters)."""
    metrics: dict[str, float]
    """Least and greatest kappa and the mean range of E; empty without draws."""


def weight_spread(survey: SurveyObjective, e: npt.NDArray[np.float64], settings: Calibration) -> WeightSpread:
    """Return the E's of weights drawn from U(5, 8), each a descent from the E's that were chosen; none for `exact`."""
    if settings.method == "exact" or not settings.weight_draws:
        return WeightSpread(np.empty((0, survey.n_clusters)), {})
    weights = np.random.default_rng(settings.seed).uniform(*WEIGHTS, settings.weight_draws)
    bounds = (settings.lower, settings.upper)
    found = np.array([descend(survey, e, weight, bounds, settings.prior) for weight in weights])
    kappas = [survey.counts(row).kappa for row in found]
    known = survey.pixels > 0
    width = float(np.ptp(found[:, known], axis=0).mean())
    return WeightSpread(found, {"least_kappa": min(kappas), "greatest_kappa": max(kappas), "mean_range_of_e": width})


REGION_COLUMNS = ("region", "n", "tp", "fn", "fp", "tn", "overall_accuracy", "kappa")


def regions_left_out(
    prepared: Prepared, region: npt.NDArray[np.int16] | None, names: Sequence[str], settings: Calibration
) -> pd.DataFrame:
    """Return how well E of the other surveys maps each survey: one row a region; kappa is empty with one class alone.

    A region whose absence leaves the rest with one class is not judged. A cluster that only it surveyed has the prior.
    """
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names if region is not None and len(names) > 1 else ()):
        own, others = (region == i) & (prepared.surveyed > 0), (region != i) & (prepared.surveyed > 0)
        rest = np.unique(prepared.surveyed[others])
        if not own.any() or rest.size < 2:
            continue
        e = search(prepared.objective(others), settings, FEW_RESTARTS)
        found = counts(prepared.surveyed[own] == PERMAFROST, e[prepared.place[own]] < prepared.critical[own])
        one_class = np.unique(prepared.surveyed[own]).size == 1
        rows.append({"region": name} | agreement(found) | ({"kappa": np.nan} if one_class else {}))
    return pd.DataFrame(rows, columns=list(REGION_COLUMNS))


def pooled(regions: pd.DataFrame) -> dict[str, float | int]:
    """Return the agreement over all regions, each mapped by the others."""
    together = BinaryCounts(*(int(regions[name].sum()) for name in ("tp", "fn", "fp", "tn")))
    return {"regions": len(regions)} | agreement(together)


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
    wanted=everywhere,
)
