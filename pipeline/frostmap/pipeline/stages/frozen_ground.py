"""Frost number, frozen-ground classes and probability of permafrost, masked by lakes and glaciers, and their areas.

Beside the map of each epoch there is, where the training epoch's uses E of the forest, one of that epoch with the
calibrated E itself: the group `frozen_ground/calibrated`.
"""

from __future__ import annotations

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.frost_number import (
    GLACIER,
    LAKE,
    NO_CLASS,
    NON_FROZEN,
    PERMAFROST,
    SEASONALLY_FROZEN,
    frost_number,
    frozen_ground,
    permafrost_probability,
)
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import APPLICABLE, CLUSTER, E_SIGMA, FROST_NUMBER, PROBABILITY, SOIL_E
from frostmap.pipeline.schema import FROZEN_GROUND as CLASSES
from frostmap.pipeline.stage import Products, Stage, all_epochs, everywhere
from frostmap.pipeline.stages.e_spread import cluster_errors, sum_errors
from frostmap.pipeline.work import Work

CLASS_KEYS = {
    PERMAFROST: "permafrost",
    SEASONALLY_FROZEN: "seasonally_frozen",
    NON_FROZEN: "non_frozen",
    GLACIER: "glacier",
    LAKE: "lake",
}
"""What tables and metrics call the classes."""


CALIBRATED = "calibrated"
"""The map of the training epoch with the E that was calibrated."""
UNDECIDED = (0.1, 0.9)
"""Where the probability of permafrost lies between these, the map does not know."""
THRESHOLDS = (0.5, 10.0, 50.0)
"""Freezing sums [°C d] that non-frozen ground is tried with, beside the recipe's: no publication says which."""


def maps_of(recipe: Recipe) -> list[str]:
    """Return the maps that are made: one an epoch, and that with the calibrated E where it is not the former."""
    both = recipe.epochs.target is not None and recipe.frozen_ground.training_e == "forest"
    return all_epochs(recipe) + ([CALIBRATED] if both else [])


def epoch_of(scope: str) -> str:
    """Return the epoch of a map.

    >>> epoch_of("calibrated"), epoch_of("target")
    ('training', 'target')
    """
    return "training" if scope == CALIBRATED else scope


def e_group(recipe: Recipe, scope: str) -> str:
    """Return the group that holds E of a map."""
    predicted = scope == "target" or (scope == "training" and CALIBRATED in maps_of(recipe))
    return f"transfer/{scope}" if predicted else "calibration/training"


def build(work: Work, scope: str) -> Products:
    """Return the frost number, the classes and the probability of permafrost."""
    recipe, epoch = work.recipe, epoch_of(scope)
    settings = recipe.frozen_ground
    chunks = {"y": work.chunk_pixels, "x": work.chunk_pixels}
    forcing, masks = work.open(f"forcing/{epoch}").chunk(chunks), work.open(f"masks/{epoch}").chunk(chunks)
    soil = work.open(e_group(recipe, scope)).chunk(chunks)
    e, e_error = soil[SOIL_E.name].data, e_errors(work, soil)
    ddf, ddt = forcing["ddf"].data, forcing["ddt"].data
    number = da.map_blocks(frost_number, ddf, ddt, e, dtype="float32", meta=np.empty((0, 0), "float32")).astype(
        "float32"
    )
    ground = da.map_blocks(
        classes,
        ddf, ddt, e, masks["inside"].data, masks["lakes"].data, masks["glaciers"].data,
        non_frozen_below=settings.non_frozen_below,
        mask_fraction=settings.mask_fraction,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )  # fmt: skip
    ddf_error, ddt_error = sum_errors(work)
    chance = da.map_blocks(
        probability, ddf, ddt, e, e_error, ground,
        ddf_error=ddf_error,
        ddt_error=ddt_error,
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )  # fmt: skip
    layers = {FROST_NUMBER.name: number, CLASSES.name: ground, PROBABILITY.name: chance}
    area = pixel_area_km2(work.geobox)
    areas = delayed(class_areas)(ground, area, work.inside)
    like = soil[APPLICABLE.name].data if APPLICABLE.name in soil else None
    doubt = delayed(doubtful_areas)(chance, like, area)
    tried = delayed(threshold_areas)(ddf, ddt, e, ground, area, settings.non_frozen_below)
    return Products(
        cube=xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in WRITES}),
        tables={f"areas-{scope}": delayed(_area_table)(areas, scope), f"areas_by_threshold-{scope}": tried},
        metrics={
            f"areas_km2.{scope}": areas,
            f"uncertainty.{scope}": delayed(_with_errors)(doubt, ddf_error, ddt_error),
        },
    )


def e_errors(work: Work, soil: xr.Dataset) -> da.Array:
    """Return the standard error of E: the forest's, or that of the calibrated cluster."""
    if E_SIGMA.name in soil:
        predicted: da.Array = soil[E_SIGMA.name].data
        return predicted
    errors = cluster_errors(work.table("e_spread")).astype(np.float32)
    calibrated: da.Array = da.map_blocks(errors.__getitem__, soil[CLUSTER.name].data, dtype=np.float32)
    return calibrated


def probability(
    ddf: npt.NDArray[np.float32],
    ddt: npt.NDArray[np.float32],
    e: npt.NDArray[np.float32],
    e_error: npt.NDArray[np.float32],
    ground: npt.NDArray[np.uint8],
    *,
    ddf_error: float,
    ddt_error: float,
) -> npt.NDArray[np.float32]:
    """Return the probability of permafrost where the ground is neither lake nor glacier, NaN elsewhere."""
    chance = permafrost_probability(ddf, ddt, e, e_error, ddf_error, ddt_error)
    return np.where(np.isin(ground, (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN)), chance, np.float32(np.nan))


def doubtful_areas(
    chance: npt.NDArray[np.float32], applicable: npt.NDArray[np.uint8] | None, area: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Return areas [km2] where permafrost is undecided, and expected in all; and where the forest was not tried."""
    each = np.broadcast_to(area.reshape(chance.shape[0], -1), chance.shape)
    undecided = (chance > UNDECIDED[0]) & (chance < UNDECIDED[1])
    found = {
        "compared_km2": float(each[np.isfinite(chance)].sum()),
        "undecided_km2": float(each[undecided].sum()),
        "expected_permafrost_km2": float(np.nansum(each * chance)),
    }
    if applicable is not None:
        found["not_applicable_km2"] = float(each[np.isfinite(chance) & (applicable == 0)].sum())
    return found


def _with_errors(areas: dict[str, float], ddf_error: float, ddt_error: float) -> dict[str, float]:
    return areas | {"ddf_error": ddf_error, "ddt_error": ddt_error}


def classes(
    ddf: npt.NDArray[np.float32],
    ddt: npt.NDArray[np.float32],
    e: npt.NDArray[np.float32],
    inside: npt.NDArray[np.bool_],
    lakes: npt.NDArray[np.float32],
    glaciers: npt.NDArray[np.float32],
    *,
    non_frozen_below: float,
    mask_fraction: float,
) -> npt.NDArray[np.uint8]:
    """Return classes 1 to 5; a lake wins over a glacier, and both over frozen ground. 255 outside or unknown."""
    ground = frozen_ground(ddf, ddt, e, non_frozen_below)
    ground = np.where(glaciers >= mask_fraction, GLACIER, ground)
    ground = np.where(lakes >= mask_fraction, LAKE, ground)
    return np.where(inside, ground, NO_CLASS).astype(np.uint8)


def class_areas(
    ground: npt.NDArray[np.uint8], area: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return the area of each class on the ellipsoid [km2], and of what is inside the region but unknown."""
    each = np.broadcast_to(area.reshape(ground.shape[0], -1), ground.shape)
    areas = {name: float(each[ground == code].sum()) for code, name in CLASS_KEYS.items()}
    return areas | {"unknown": float(each[inside & (ground == NO_CLASS)].sum())}


def threshold_areas(
    ddf: npt.NDArray[np.float32],
    ddt: npt.NDArray[np.float32],
    e: npt.NDArray[np.float32],
    ground: npt.NDArray[np.uint8],
    area: npt.NDArray[np.float64],
    chosen: float,
) -> pd.DataFrame:
    """Return threshold [°C d], chosen, permafrost, seasonally_frozen, non_frozen [km2]: what the threshold decides."""
    each = np.broadcast_to(area.reshape(ground.shape[0], -1), ground.shape)
    land = np.isin(ground, (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN))
    rows = []
    for threshold in sorted({*THRESHOLDS, chosen}):
        tried = frozen_ground(ddf, ddt, e, threshold)
        areas = {
            CLASS_KEYS[code]: float(each[land & (tried == code)].sum()) for code in CLASS_KEYS if code <= NON_FROZEN
        }
        rows.append({"threshold": threshold, "chosen": threshold == chosen} | areas)
    return pd.DataFrame(rows)


def _area_table(areas: dict[str, float], scope: str) -> pd.DataFrame:
    return pd.DataFrame({"epoch": scope, "class": list(areas), "km2": list(areas.values())})


def _inputs(recipe: Recipe, scope: str) -> list[str]:
    epoch = epoch_of(scope)
    return [f"forcing/{epoch}", f"masks/{epoch}", e_group(recipe, scope), "e_spread"]


WRITES = (FROST_NUMBER, CLASSES, PROBABILITY)

FROZEN_GROUND = Stage(
    "frozen_ground",
    "frost number, classes and probability",
    build,
    scopes=maps_of,
    inputs=_inputs,
    sections=("frozen_ground",),
    writes=WRITES,
    wanted=everywhere,
    version=3,
)
