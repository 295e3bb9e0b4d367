"""Frost number and frozen-ground classes of an epoch, masked by lakes and glaciers, and their areas."""

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
)
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import FROST_NUMBER, SOIL_E
from frostmap.pipeline.schema import FROZEN_GROUND as CLASSES
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work

CLASS_KEYS = {
    PERMAFROST: "permafrost",
    SEASONALLY_FROZEN: "seasonally_frozen",
    NON_FROZEN: "non_frozen",
    GLACIER: "glacier",
    LAKE: "lake",
}
"""What tables and metrics call the classes."""


def e_group(epoch: str) -> str:
    """Return the group that holds E of an epoch."""
    return "calibration/training" if epoch == "training" else "transfer/target"


def build(work: Work, epoch: str) -> Products:
    """Return the frost number and the classes."""
    settings = work.recipe.frozen_ground
    chunks = {"y": work.chunk_pixels, "x": work.chunk_pixels}
    forcing, masks = work.open(f"forcing/{epoch}").chunk(chunks), work.open(f"masks/{epoch}").chunk(chunks)
    e = work.open(e_group(epoch))[SOIL_E.name].chunk(chunks).data
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
    layers = {FROST_NUMBER.name: number, CLASSES.name: ground}
    areas = delayed(class_areas)(ground, pixel_area_km2(work.geobox), work.inside)
    return Products(
        cube=xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in (FROST_NUMBER, CLASSES)}),
        tables={f"areas-{epoch}": delayed(_area_table)(areas, epoch)},
        metrics={f"areas_km2.{epoch}": areas},
    )


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


def _area_table(areas: dict[str, float], epoch: str) -> pd.DataFrame:
    return pd.DataFrame({"epoch": epoch, "class": list(areas), "km2": list(areas.values())})


def _inputs(_recipe: Recipe, epoch: str) -> list[str]:
    return [f"forcing/{epoch}", f"masks/{epoch}", e_group(epoch)]


FROZEN_GROUND = Stage(
    "frozen_ground",
    "frost number and classes",
    build,
    scopes=all_epochs,
    inputs=_inputs,
    sections=("frozen_ground",),
    writes=(FROST_NUMBER, CLASSES),
)
