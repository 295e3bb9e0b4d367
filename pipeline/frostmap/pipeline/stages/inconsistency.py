"""Where the run's map and each reference map say different things of permafrost: maps, areas and kappa."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.agreement import table_kappa
from frostmap.kernels.change import transition_matrix
from frostmap.kernels.frost_number import NON_FROZEN
from frostmap.kernels.inconsistency import BOTH, FIRST_ONLY, NEITHER, SECOND_ONLY, kinds_of_agreement
from frostmap.pipeline import ledger
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.judgement import GROUND
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.reference_maps import compared_epoch, reference_group, reference_scopes
from frostmap.pipeline.schema import FROZEN_GROUND, INCONSISTENCY
from frostmap.pipeline.stage import Products, Stage, everywhere
from frostmap.pipeline.work import Work
from frostmap.pipeline.zones import files_of, mask_of, shape_of

KINDS = {BOTH: "both", NEITHER: "neither", FIRST_ONLY: "map_only", SECOND_ONLY: "reference_only"}
"""What tables call the kinds, before _km2."""
WHOLE = "all"
"""What tables call the whole region, beside its zones."""

Classes = npt.NDArray[np.uint8]


def build(work: Work, scope: str) -> Products:
    """Return where a reference map and the run's own differ, and the areas, in all and in each zone."""
    recipe, epoch = work.recipe, compared_epoch(work.recipe, scope)
    chunks = {"y": work.chunk_pixels, "x": work.chunk_pixels}
    own, other = (
        work.open(group).chunk(chunks)[FROZEN_GROUND.name].data
        for group in (f"frozen_ground/{epoch}", reference_group(scope))
    )
    kinds = da.map_blocks(kinds_of_agreement, own, other, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    shapes = {zone.name: shape_of(recipe, zone) for zone in recipe.validation.zones}
    table = delayed(compared)(own, other, kinds, work.inside, work.geobox, shapes, {"reference": scope, "epoch": epoch})
    return Products(
        cube=xr.Dataset({INCONSISTENCY.name: (INCONSISTENCY.dims, kinds, INCONSISTENCY.attrs)}),
        tables={f"inconsistency-{scope}": table},
        metrics={f"inconsistency.{scope}": delayed(by_zone)(table)},
    )


def compared(
    own: Classes,
    other: Classes,
    kinds: Classes,
    inside: npt.NDArray[np.bool_],
    geobox: GeoBox,
    shapes: Mapping[str, BaseGeometry],
    labels: Mapping[str, str],
) -> pd.DataFrame:
    """Return areas of agreement and kappa, in the whole region and in each zone.

    Returns
    -------
    DataFrame
        reference, epoch; zone: `all`, or its name; compared_km2: where both maps have ground; both_km2, neither_km2,
        map_only_km2, reference_only_km2: of it, where permafrost is in both maps, in neither, in one alone;
        agreement: the share of the first two; kappa: of permafrost or not, by area; kappa_of_classes: of permafrost,
        seasonally frozen and non-frozen ground, where the reference map tells them apart; NaN where there is nothing to
        compare.

    Raises
    ------
    UserError
        A zone has no pixel of the region.
    """
    area = np.broadcast_to(pixel_area_km2(geobox).reshape(kinds.shape[0], -1), kinds.shape)
    masks = {WHOLE: inside}
    for name, shape in shapes.items():
        masks[name] = mask_of(shape, geobox) & inside
        if not masks[name].any():
            west, south, east, north = shape.bounds
            raise UserError(
                "a zone has no pixel of the region",
                where=f"recipe: validation.zones, {name}",
                found=f"{west:.2f} to {east:.2f} °E, {south:.2f} to {north:.2f} °N",
                wanted="a part of the region that holds the centre of a pixel",
                remedy="correct the zone; longitude comes before latitude",
            )
    return pd.DataFrame([{**labels, "zone": name, **agreement(own, other, kinds, area, mask)}
                         for name, mask in masks.items()])  # fmt: skip


def agreement(
    own: Classes, other: Classes, kinds: Classes, area: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return what `compared` tells of some pixels."""
    km2 = {kind: float(area[mask & (kinds == kind)].sum()) for kind in KINDS}
    whole = sum(km2.values())
    table = np.array([[km2[BOTH], km2[FIRST_ONLY]], [km2[SECOND_ONLY], km2[NEITHER]]])
    classes = transition_matrix(own[mask], other[mask], area[mask], GROUND)
    return {
        "compared_km2": whole,
        **{f"{name}_km2": km2[kind] for kind, name in KINDS.items()},
        "agreement": (km2[BOTH] + km2[NEITHER]) / whole if whole else np.nan,
        "kappa": table_kappa(table),
        "kappa_of_classes": table_kappa(classes) if (other[mask] == NON_FROZEN).any() else np.nan,
    }


def by_zone(table: pd.DataFrame) -> dict[str, Any]:
    """Return the table's numbers: of the whole region, and of zones beneath."""
    rows = {str(row.pop("zone")): row for row in table.drop(columns=["reference", "epoch"]).to_dict("records")}
    whole = rows.pop(WHOLE)
    return {str(key): value for key, value in whole.items()} | ({"zones": rows} if rows else {})


def _inputs(recipe: Recipe, scope: str) -> list[str]:
    return [f"frozen_ground/{compared_epoch(recipe, scope)}", reference_group(scope)]


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    return files_of(recipe)


def _causes(work: Work, _scope: str) -> dict[str, str]:
    zones = work.recipe.validation.zones
    for zone in zones:
        shape_of(work.recipe, zone)  # so that `plan` already says what is wrong with it
    return {"zones": ledger.digest([zone.model_dump(mode="json") for zone in zones])} if zones else {}


INCONSISTENCY_MAPS = Stage(
    "inconsistency",
    "where reference maps differ",
    build,
    scopes=reference_scopes,
    inputs=_inputs,
    sources=_sources,
    causes=_causes,
    writes=(INCONSISTENCY,),
    wanted=everywhere,
)
