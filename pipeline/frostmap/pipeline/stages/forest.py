"""The forest that carries E in time: grown on pixels of the training epoch, judged on those left out, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.pipeline import predictors
from frostmap.pipeline.applicability import training_space
from frostmap.pipeline.cross_validation import Folds
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.forest_validation import (
    LeftOut,
    Sample,
    folds_of,
    headline,
    importance,
    judged,
    left_out,
    partial_dependence,
    tasks,
)
from frostmap.pipeline.forests import Grown, Kept, grow, save
from frostmap.pipeline.recipe import Recipe, Transfer
from frostmap.pipeline.samplers import choose
from frostmap.pipeline.sites import on_plane
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.stages.e_spread import cluster_errors
from frostmap.pipeline.work import Work

FOLDER = "models"
"""Of the work directory: where the forest is kept."""
FEWEST_PIXELS = 50


def build(work: Work, _scope: str) -> Products:
    """Return the forest's files, and what is known of how well it predicts."""
    settings = work.recipe.transfer
    sample = delayed(training_sample, pure=False)(
        work.open("covariates/training"),
        work.open("calibration/training"),
        work.table_path("e_spread"),
        work.inside,
        work.geobox,
        settings,
    )
    grown = delayed(grow)(sample.values, sample.target, settings.trees, settings.seed, sample.errors)
    folds = delayed(folds_of)(sample, settings.seed)
    parts = [delayed(left_out)(sample, folds, scheme, fold, settings.trees, settings.seed) for scheme, fold in tasks()]
    table = delayed(judged)(sample, parts)
    kept = delayed(whole)(sample, grown, folds, settings)
    return Products(
        tables={
            "forest": delayed(_importance)(grown, parts, sample),
            "forest_validation": table,
            "partial_dependence": delayed(_dependence)(grown, sample, settings),
        },
        metrics={"transfer": delayed(metrics)(kept, table)},
        files=delayed(save)(kept, work.folder / FOLDER),
    )


def training_sample(
    covariates: xr.Dataset,
    calibration: xr.Dataset,
    spread: Path,
    inside: npt.NDArray[np.bool_],
    geobox: GeoBox,
    settings: Transfer,
) -> Sample:
    """Return the pixels that a sampling design chooses among those with E and all predictors.

    Their errors are those of their clusters' E.
    """
    values, e = predictors.matrix(covariates), calibration["e"].values.ravel()
    usable = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(e) & inside.ravel())
    if len(usable) < FEWEST_PIXELS:
        raise UserError(
            "too few pixels to grow a forest on",
            where="stage forest",
            found=f"{len(usable)} pixels with E and all predictors",
            wanted=f"at least {FEWEST_PIXELS}",
            remedy="enlarge the region, or check that every covariate covers it",
        )
    chosen = usable[choose(settings.sampler, values[usable], settings.samples, settings.seed, settings.allocation)]
    x, y = on_plane(geobox, *np.divmod(chosen, geobox.shape.x))
    errors = cluster_errors(pd.read_csv(spread))[calibration["cluster"].values.ravel()[chosen]]
    return Sample(values[chosen], e[chosen].astype(np.float64), errors, x, y)


def whole(sample: Sample, grown: Grown, folds: dict[str, Folds], settings: Transfer) -> Kept:
    """Return the forest with the space of its training samples; blocks tell how unlike these may be to each other."""
    space = training_space(sample.values, grown.importance, folds["blocks"])
    training = settings.model_dump(mode="json") | {"samples": len(sample.target)}
    return Kept(grown.forest, space, predictors.NAMES, training)


def metrics(kept: Kept, table: pd.DataFrame) -> dict[str, Any]:
    """Return the size of the forest and its scores."""
    return {
        "samples": kept.training["samples"],
        "trees": kept.forest.trees,
        "targets": len(kept.forest.targets),
        "dissimilarity_threshold": float(kept.space.threshold),
        **headline(table),
    }


def _importance(grown: Grown, parts: Sequence[LeftOut], sample: Sample) -> pd.DataFrame:
    return importance(predictors.NAMES, grown.importance, parts, sample)


def _dependence(grown: Grown, sample: Sample, settings: Transfer) -> pd.DataFrame:
    return partial_dependence(predictors.NAMES, grown.forest, sample, settings.seed)


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.epochs.target else []


FOREST = Stage(
    "forest",
    "forest that predicts E",
    build,
    scopes=_scopes,
    inputs=lambda _recipe, _scope: ["covariates/training", "calibration/training", "e_spread"],
    sections=("transfer",),
)
