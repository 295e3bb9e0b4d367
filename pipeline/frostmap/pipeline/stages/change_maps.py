"""What became of each pixel between the epochs, by what, and how surely: maps of change."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.kernels.change import change_error, frost_number_change, frozen_ground_change
from frostmap.kernels.frost_number import NON_FROZEN, PERMAFROST, SEASONALLY_FROZEN, frozen_ground
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import (
    CHANGE,
    CHANGE_CAUSE,
    CHANGE_SCORE,
    CLUSTER,
    E_SIGMA,
    FREEZING_PART,
    SOIL_E,
    SOIL_PART,
    THAWING_PART,
    TRANSITION,
)
from frostmap.pipeline.schema import FROZEN_GROUND as CLASSES
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.stages.e_spread import cluster_errors, sum_errors
from frostmap.pipeline.stages.frozen_ground import CLASS_KEYS, e_group
from frostmap.pipeline.work import Work

GROUND = (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN)
SAME, BY_FORCING, BY_SOIL, BY_EITHER, BY_BOTH = range(5)
"""Codes of `CHANGE_CAUSE`."""
EPOCHS = ("training", "target")


def build(work: Work, _scope: str) -> Products:
    """Return transitions, the parts of the change of the frost number, its significance and its cause."""
    recipe = work.recipe
    cubes = []
    for epoch in EPOCHS:
        soil = work.open(e_group(recipe, epoch))
        cubes += [
            work.open(f"forcing/{epoch}")[["ddf", "ddt"]],
            soil[[SOIL_E.name, E_SIGMA.name if E_SIGMA.name in soil else CLUSTER.name]],
            work.open(f"frozen_ground/{epoch}")[[CLASSES.name]],
        ]
    clusters = cluster_errors(work.table("e_spread"))
    ddf_error, ddt_error = sum_errors(work)
    function = partial(
        change_window,
        clusters=clusters,
        ddf_error=ddf_error,
        ddt_error=ddt_error,
        sums_together=recipe.change.sums_together,
        e_together=recipe.change.e_together,
        non_frozen_below=recipe.frozen_ground.non_frozen_below,
    )
    made = map_windows(function, cubes, CHANGE, {}, block=work.chunk_pixels, wanted=work.inside)
    return Products(cube=made.cube, tasks=made.tasks)


def change_window(
    *windows: xr.Dataset,
    clusters: npt.NDArray[np.float64],
    ddf_error: float,
    ddt_error: float,
    sums_together: float,
    e_together: float,
    non_frozen_below: float,
) -> Block:
    """Return the layers of change of a window.

    Parameters
    ----------
    windows
        Forcing, soil and classes of the training epoch, then of the target epoch.
    clusters
        Standard error of E by the number of the cluster, for epochs whose E is not the forest's.
    ddf_error, ddt_error
        Relative standard errors of the sums.
    sums_together, e_together
        Correlation of errors between the epochs.
    non_frozen_below
        Ground that freezes by no more than this is non-frozen [°C d].

    Returns
    -------
    Block
        `schema.CHANGE`. Parts, score and cause only where both epochs have ground: neither lake nor glacier.
    """
    (ddf, ddt, e, sigma), (ddf_later, ddt_later, e_later, sigma_later) = (
        _state(*windows[start : start + 2], clusters=clusters) for start in (0, 3)
    )
    before, after = (windows[place][CLASSES.name].values for place in (2, 5))
    ground = np.isin(before, GROUND) & np.isin(after, GROUND)
    transition = np.full(before.shape, TRANSITION.fill_value, np.uint8)
    both = np.isin(before, list(CLASS_KEYS)) & np.isin(after, list(CLASS_KEYS))
    transition[both] = 10 * before[both] + after[both]
    parts = frost_number_change(ddf, ddt, e, ddf_later, ddt_later, e_later)
    z = frozen_ground_change(*(part.astype(np.float64) for part in (ddf, ddt, e, ddf_later, ddt_later, e_later)))
    error = change_error(e, sigma, e_later, sigma_later, ddf_error, ddt_error, sums_together, e_together)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = z.total / error
    layers = {FREEZING_PART: parts.freezing, THAWING_PART: parts.thawing, SOIL_PART: parts.soil, CHANGE_SCORE: score}
    result: Block = {
        variable.name: np.where(ground & np.isfinite(values), values, np.nan).astype(np.float32)
        for variable, values in layers.items()
    }
    forcing_alone = frozen_ground(ddf_later, ddt_later, e, non_frozen_below)
    soil_alone = frozen_ground(ddf, ddt, e_later, non_frozen_below)
    result[CHANGE_CAUSE.name] = causes(before, after, forcing_alone, soil_alone)
    return result | {TRANSITION.name: transition}


def _state(
    forcing: xr.Dataset, soil: xr.Dataset, *, clusters: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], ...]:
    """Return DDF, DDT, E and its standard error."""
    sigma = soil[E_SIGMA.name].values if E_SIGMA.name in soil else clusters[soil[CLUSTER.name].values]
    return forcing["ddf"].values, forcing["ddt"].values, soil[SOIL_E.name].values, np.asarray(sigma, np.float32)


def causes(
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    forcing_alone: npt.NDArray[np.uint8],
    soil_alone: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """Return what changed each pixel's class.

    Parameters
    ----------
    before, after
        Classes.
    forcing_alone, soil_alone
        Classes if only the degree-day sums, only E had become what they are after.

    Examples
    --------
    >>> one = np.array([1, 1, 1, 1, 2, 5], np.uint8)
    >>> causes(one, np.uint8([1, 2, 2, 2, 1, 2]), np.uint8([2, 2, 1, 2, 2, 1]), np.uint8([1, 1, 2, 2, 2, 2])).tolist()
    [0, 1, 2, 3, 4, 255]
    """
    found = np.full(before.shape, CHANGE_CAUSE.fill_value, np.uint8)
    ground = np.isin(before, GROUND) & np.isin(after, GROUND)
    forcing, soil = forcing_alone == after, soil_alone == after
    which = np.select([forcing & soil, forcing, soil], [BY_EITHER, BY_FORCING, BY_SOIL], BY_BOTH)
    found[ground] = np.where(before == after, SAME, which)[ground]
    return found


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.epochs.target else []


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    groups = [[f"forcing/{epoch}", e_group(recipe, epoch), f"frozen_ground/{epoch}"] for epoch in EPOCHS]
    return [*(name for each in groups for name in each), "e_spread"]


CHANGE_MAPS = Stage(
    "change_maps",
    "maps of change, its parts and its significance",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("frozen_ground", "change"),
    writes=CHANGE,
    window=lambda work: (work.chunk_pixels, work.chunk_pixels),
)
