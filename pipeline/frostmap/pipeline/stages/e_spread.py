"""How far E of a pixel may lie from that of its soil cluster, and how wrong its sums may be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from frostmap.kernels.frost_number import PERMAFROST, critical_e
from frostmap.pipeline.e_spread import standard_errors
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.surveys import read_surveys
from frostmap.pipeline.work import Work

USUAL_ERROR = 0.1
"""Relative standard error of a pixel's sums where nothing else is known."""


def build(work: Work, _scope: str) -> Products:
    """Return the standard error of E in each cluster, and those of the sums."""
    recipe = work.recipe
    surveys = [(survey.name, recipe.path(survey.path)) for survey in recipe.sources.surveys]
    found = delayed(spread, pure=False)(
        work.open("forcing/training"),
        work.open("calibration/training"),
        delayed(read_surveys)(surveys, work.geobox),
        work.table_path("clusters"),
        recipe.calibration.prior,
        told_errors(work),
        given_errors(recipe),
    )
    return Products(tables={"e_spread": found[0]}, metrics={"e_spread": found[1]})


def spread(
    forcing: xr.Dataset,
    calibration: xr.Dataset,
    surveyed: npt.NDArray[np.uint8],
    clusters: Path,
    prior: float,
    told: tuple[float, float],
    given: bool,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return cluster and sigma, the standard error of E at one of its pixels; and the spread and its parts."""
    table = pd.read_csv(clusters)
    labels = table["cluster"].to_numpy(np.int64)
    critical, cluster = critical_e(forcing["ddf"].values, forcing["ddt"].values), calibration["cluster"].values
    use = (surveyed > 0) & np.isfinite(critical) & np.isin(cluster, labels)
    place = np.argsort(labels)[np.searchsorted(np.sort(labels), cluster[use])]
    e = table["e"].to_numpy(np.float64)
    known, whole = standard_errors(critical[use], surveyed[use] == PERMAFROST, place, e, prior)
    within, (ddf, ddt) = divided(whole, told, given)
    sigma = np.sqrt(known**2 + (e * within) ** 2)
    parts = {"spread": whole, "within_clusters": within, "ddf_error": ddf, "ddt_error": ddt}
    return pd.DataFrame({"cluster": labels, "sigma": sigma}), parts


def divided(whole: float, told: tuple[float, float], given: bool) -> tuple[float, tuple[float, float]]:
    """Return what of the spread of ln E is E's own, and the relative errors of DDF and DDT that explain the rest.

    What stations tell holds how their spots differ from their pixels, so that no more than half of the variance is put
    down to the sums, and their errors are lowered to it. Errors that were given are kept as they are.

    >>> within, sums = divided(0.1, (0.3, 0.4), given=False)
    >>> round(within, 4), [round(each, 4) for each in sums]
    (0.0707, [0.0849, 0.1131])
    >>> round(divided(0.1, (0.06, 0.08), given=True)[0], 4)
    0.0866
    """
    of_sums = (math.hypot(*told) / 2) ** 2
    most = whole**2 / 2
    if given or of_sums <= most:
        return max(whole**2 - of_sums, 0.0) ** 0.5, told
    shrunk = (most / of_sums) ** 0.5
    return most**0.5, (told[0] * shrunk, told[1] * shrunk)


def cluster_errors(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the standard error of E by the number of the cluster; 0 for numbers that are none.

    >>> cluster_errors(pd.DataFrame({"cluster": [2], "sigma": [0.07]})).tolist()
    [0.0, 0.0, 0.07]
    """
    number = table["cluster"].to_numpy(np.int64)
    errors = np.zeros(int(number.max(initial=0)) + 1)
    errors[number] = table["sigma"].to_numpy(np.float64)
    return errors


def given_errors(recipe: Recipe) -> bool:
    """Say whether the recipe gives the errors of the sums."""
    return recipe.frozen_ground.ddf_error is not None or recipe.frozen_ground.ddt_error is not None


def told_errors(work: Work) -> tuple[float, float]:
    """Return the relative standard errors of DDF and DDT: of the recipe, else what stations say, else the usual."""
    settings = work.recipe.frozen_ground
    known = work.metrics.get("ground_correction") if _has_stations(work.recipe) else None
    told = known.get("relative_error", {}) if isinstance(known, dict) else {}
    found = [
        error if error is not None else told.get(name, USUAL_ERROR)
        for name, error in (("ddf", settings.ddf_error), ("ddt", settings.ddt_error))
    ]
    return found[0], found[1]


def sum_errors(work: Work) -> tuple[float, float]:
    """Return the relative standard errors of DDF and DDT that this step found."""
    known = work.metrics.get("e_spread")
    told = known if isinstance(known, dict) else {}
    return float(told.get("ddf_error", USUAL_ERROR)), float(told.get("ddt_error", USUAL_ERROR))


def _has_stations(recipe: Recipe) -> bool:
    return bool(recipe.sources.lst and recipe.sources.stations and recipe.ground_correction.changes_anything)


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    return ["forcing/training", "calibration/training", *(["ground_correction"] if _has_stations(recipe) else [])]


E_SPREAD = Stage(
    "e_spread",
    "how far E may be off",
    build,
    scopes=lambda _recipe: [""],
    inputs=_inputs,
    sources=lambda recipe, _scope: [recipe.path(survey.path) for survey in recipe.sources.surveys],
    sections=("calibration", "frozen_ground"),
)
