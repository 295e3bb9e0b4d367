"""What became of each class between the epochs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.change import changed_area, transition_matrix
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, CLASS_KEYS, maps_of
from frostmap.pipeline.work import Work


def build(work: Work, _scope: str) -> Products:
    """Return the transition table [km2], how much changed, and how much of it another E of the epoch before makes."""
    before, after = work.open("frozen_ground/training"), work.open("frozen_ground/target")
    table = delayed(transitions)(before, after, work.geobox)
    metrics = {"change": delayed(summary)(table)}
    if CALIBRATED in maps_of(work.recipe):
        calibrated = work.open(f"frozen_ground/{CALIBRATED}")
        metrics["change.of_method"] = delayed(summary)(delayed(transitions)(calibrated, before, work.geobox))
        metrics["change.from_calibrated"] = delayed(summary)(delayed(transitions)(calibrated, after, work.geobox))
    return Products(tables={"transition": table}, metrics=metrics)


def transitions(before: xr.Dataset, after: xr.Dataset, geobox: GeoBox) -> pd.DataFrame:
    """Return from, to, km2: every pair of classes, over pixels known in both epochs."""
    area = pixel_area_km2(geobox)
    each = np.broadcast_to(area.reshape(geobox.shape.y, -1), geobox.shape)
    codes = tuple(CLASS_KEYS)
    matrix = transition_matrix(before["frozen_ground"].values, after["frozen_ground"].values, each, codes)
    rows = [
        {"from": CLASS_KEYS[a], "to": CLASS_KEYS[b], "km2": float(matrix[i, j])}
        for i, a in enumerate(codes)
        for j, b in enumerate(codes)
    ]
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Return the areas [km2] that changed class, that lost permafrost to thaw, and that gained it."""
    names = list(CLASS_KEYS.values())
    matrix = table.pivot_table(index="from", columns="to", values="km2").loc[names, names].to_numpy()
    ground = ["seasonally_frozen", "non_frozen"]
    between = table.set_index(["from", "to"])["km2"]
    return {
        "compared_km2": float(matrix.sum()),
        "changed_km2": float(changed_area(matrix)),
        "permafrost_lost_km2": float(sum(between["permafrost", name] for name in ground)),
        "permafrost_gained_km2": float(sum(between[name, "permafrost"] for name in ground)),
    }


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.epochs.target else []


CHANGE = Stage(
    "change",
    "transitions between the epochs",
    build,
    scopes=_scopes,
    inputs=lambda recipe, _scope: [f"frozen_ground/{scope}" for scope in maps_of(recipe)],
    version=2,
)
