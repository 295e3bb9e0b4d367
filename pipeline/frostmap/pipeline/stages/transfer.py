"""E of both epochs as the forest predicts it from their predictors, how sure it is, and where it was never tried."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.kernels.forest import predict_distribution
from frostmap.pipeline import predictors
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.forests import load_once
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import APPLICABLE, DISSIMILARITY, E_QUANTILES, E_SIGMA, PREDICTED, SOIL_E
from frostmap.pipeline.stage import Noted, Products, Stage, all_epochs
from frostmap.pipeline.stages.forest import FOLDER
from frostmap.pipeline.work import Work

MEMORY_PER_PIXEL = 700
"""Peak memory of a window [bytes a pixel]: its predictors, sums and results, and a cell's histogram."""
MEMORY_OF_LEAF = 84
"""Of a sample in a tree, with what the forest is made ready as [bytes]: 200 MiB for 5000 samples and 500 trees."""


def build(work: Work, epoch: str) -> Products:
    """Return E of an epoch with its error, quantiles and applicability, a task a chunk."""
    covariates = work.open(f"covariates/{epoch}")[list(predictors.NAMES)]
    region = xr.Dataset({"inside": (("y", "x"), work.inside)})
    made = map_windows(
        partial(predict_window, folder=work.folder / FOLDER),
        [covariates, region],
        PREDICTED,
        {},
        block=work.chunk_pixels,
        wanted=work.inside,
        note=_count,
    )
    return Products(cube=made.cube, tasks=made.tasks, noted=partial(_account, epoch=epoch))


def predict_window(covariates: xr.Dataset, region: xr.Dataset, *, folder: Path) -> Block:
    """Return the forest's predictions for a window: missing outside the region, and where a predictor is missing."""
    kept = load_once(folder, predictors.NAMES)
    values = np.stack([covariates[name].values for name in predictors.NAMES])
    rows, cols = np.nonzero(np.isfinite(values).all(axis=0) & region["inside"].values)
    table = values[:, rows, cols]
    found = predict_distribution(kept.forest, table, tuple(E_QUANTILES))
    index = kept.space.dissimilarity(table)
    layers = {SOIL_E: found.mean, E_SIGMA: found.deviation, DISSIMILARITY: index}
    layers |= dict(zip(E_QUANTILES.values(), found.quantiles, strict=True))
    layers[APPLICABLE] = (index <= np.float32(kept.space.threshold)).astype(np.uint8)
    result: Block = {}
    for variable in PREDICTED:
        result[variable.name] = np.full(values.shape[1:], variable.fill_value, variable.dtype)
        result[variable.name][rows, cols] = layers[variable]
    return result


def _count(block: Block, *, wanted: npt.NDArray[np.bool_], at: object) -> dict[str, int]:  # noqa: ARG001 (of `map_windows`)
    """Return how many pixels of a block are predicted, and how many of them are unlike the training samples."""
    applicable = block[APPLICABLE.name][wanted]
    return {"pixels": int((applicable != APPLICABLE.fill_value).sum()), "outside": int((applicable == 0).sum())}


def _account(notes: Sequence[Any], *, epoch: str) -> Noted:
    counts = {name: sum(note[name] for note in notes) for name in ("pixels", "outside")}
    return Noted({f"applicability-{epoch}": pd.DataFrame([{"epoch": epoch} | counts])})


def _scopes(recipe: Recipe) -> list[str]:
    return all_epochs(recipe) if recipe.epochs.target else []


def _memory(work: Work, _epoch: str) -> int:
    forest = work.recipe.transfer.trees * work.recipe.transfer.samples
    return MEMORY_OF_LEAF * forest + MEMORY_PER_PIXEL * work.chunk_pixels**2


TRANSFER = Stage(
    "transfer",
    "E predicted by the forest",
    build,
    scopes=_scopes,
    inputs=lambda _recipe, epoch: ["forest", f"covariates/{epoch}"],
    writes=PREDICTED,
    memory=_memory,
    version=2,
)
