"""How far to trust the map: boreholes, and the truth where everything is simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.catalogs.sites import read_boreholes
from frostmap.kernels.agreement import class_kappa, counts
from frostmap.kernels.frost_number import NO_CLASS, NON_FROZEN, PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.sites import pixels_of
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.stages.calibration import agreement
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work

REACH = 2
"""A borehole on a lake or glacier pixel takes the nearest frozen-ground pixel within this many pixels, flagged."""
GROUND = (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN)


def build(work: Work, _scope: str) -> Products:
    """Return the confusion table of the last epoch's map, and errors against the truth of each epoch."""
    recipe, sources = work.recipe, work.recipe.sources
    epochs: list[str] = list(recipe.epochs.named())
    tables, metrics = {}, {}
    if sources.boreholes is not None:
        ground = work.open(f"frozen_ground/{epochs[-1]}")
        judged = delayed(at_boreholes)(recipe.path(sources.boreholes), work.geobox, ground)
        tables["boreholes"] = judged
        metrics["validation"] = delayed(scores)(judged)
    if sources.truth is not None:
        errors = {}
        for epoch in epochs:
            maps = [work.open(group) for group in (f"forcing/{epoch}", e_group(epoch), f"frozen_ground/{epoch}")]
            path = recipe.path(getattr(sources.truth, epoch))
            errors[epoch] = delayed(against_truth)(path, work.geobox, *maps)
        metrics["truth"] = delayed(_headline)(errors, epochs[-1])
    return Products(tables=tables, metrics=metrics)


def _headline(errors: dict[str, dict[str, float]], mapped: str) -> dict[str, object]:
    """Return the mapped epoch's errors, with those of every epoch beneath."""
    return {**errors[mapped], **errors}


def at_boreholes(path: Path, geobox: GeoBox, maps: xr.Dataset) -> pd.DataFrame:
    """Return the boreholes in the region with the map's class and frost number at each.

    `moved` is how far the pixel taken is from the borehole's own [pixels]: more than 0 where that one is masked.
    """
    boreholes = read_boreholes(path)
    places = pixels_of(geobox, boreholes["longitude"], boreholes["latitude"])
    ground, number = maps["frozen_ground"].values, maps["frost_number"].values
    taken = [nearest_ground(ground, row, col) for row, col in zip(places.row, places.col, strict=True)]
    table = boreholes.assign(
        observed=np.where(boreholes["permafrost"], "permafrost", "seasonally frozen"),
        mapped=[
            "" if t is None else ("permafrost" if ground[t[0], t[1]] == PERMAFROST else "seasonally frozen")
            for t in taken
        ],
        frost_number=[np.nan if t is None else float(number[t[0], t[1]]) for t in taken],
        moved=[np.nan if t is None else t[2] for t in taken],
    )
    if not (table["mapped"] != "").any():
        raise DataIncomplete(
            "no borehole lies on the map",
            where=str(path),
            found=f"{len(table)} boreholes elsewhere",
            wanted="boreholes inside the region",
            remedy="check that longitude and latitude are not swapped, or leave sources.boreholes out",
        )
    return table


def nearest_ground(ground: npt.NDArray[np.uint8], row: int, col: int) -> tuple[int, int, int] | None:
    """Return row, column and distance of the nearest frozen-ground pixel within reach, or None."""
    if row < 0:
        return None
    top, left = max(row - REACH, 0), max(col - REACH, 0)
    rows, cols = np.nonzero(np.isin(ground[top : row + REACH + 1, left : col + REACH + 1], GROUND))
    if not len(rows):
        return None
    distance = np.hypot(rows + top - row, cols + left - col)
    nearest = int(np.argmin(distance))
    return int(rows[nearest] + top), int(cols[nearest] + left), round(float(distance[nearest]))


def scores(judged: pd.DataFrame) -> dict[str, object]:
    """Return the confusion table of the boreholes on the map, with intervals."""
    on_map = judged[judged["mapped"] != ""]
    table = counts((on_map["observed"] == "permafrost").to_numpy(), (on_map["mapped"] == "permafrost").to_numpy())
    return agreement(table) | {
        "overall_accuracy_interval": list(table.accuracy_interval()),
        "kappa_interval": list(table.kappa_interval()),
        "false_negative_rate": table.false_negative_rate,
        "false_positive_rate": table.false_positive_rate,
        "balanced_accuracy": table.balanced_accuracy,
        "mcc": table.mcc,
        "off_map": len(judged) - len(on_map),
        "moved": int((on_map["moved"] > 0).sum()),
    }


def against_truth(
    path: Path, geobox: GeoBox, forcing: xr.Dataset, soil: xr.Dataset, maps: xr.Dataset
) -> dict[str, float]:
    """Return errors of a map whose truth is known, over pixels of frozen or non-frozen ground."""

    def true(band: str) -> npt.NDArray[np.float32]:
        return on_grid(path, geobox, "sources.truth", how="nearest", band=band)

    ground, real = maps["frozen_ground"].values, true("frozen_ground")
    both = np.isin(ground, GROUND) & np.isin(real, GROUND)

    def rmse(mapped: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
        return float(np.sqrt(np.mean(np.square(mapped[both].astype(np.float64) - expected[both]))))

    ddf, ddt, e = true("ddf"), true("ddt"), true("e")
    return {
        "pixels": int(both.sum()),
        "pixels_unmapped": int((~both & np.isin(real, GROUND) & (ground == NO_CLASS)).sum()),
        "class_kappa": class_kappa(real[both].astype(int), ground[both].astype(int), GROUND),
        "class_agreement": float(np.mean(real[both] == ground[both])),
        "ddf_relative_rmse": rmse(forcing["ddf"].values, ddf) / float(ddf[both].mean()),
        "ddf_relative_bias": float(np.mean(forcing["ddf"].values[both] - ddf[both])) / float(ddf[both].mean()),
        "ddt_relative_rmse": rmse(forcing["ddt"].values, ddt) / float(ddt[both].mean()),
        "ddt_relative_bias": float(np.mean(forcing["ddt"].values[both] - ddt[both])) / float(ddt[both].mean()),
        "e_rmse": rmse(soil["e"].values, e),
    }


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.sources.boreholes or recipe.sources.truth else []


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    return [
        group
        for epoch in all_epochs(recipe)
        for group in (f"forcing/{epoch}", e_group(epoch), f"frozen_ground/{epoch}")
    ]


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    sources = recipe.sources
    truth = [getattr(sources.truth, epoch) for epoch in all_epochs(recipe)] if sources.truth else []
    return [recipe.path(path) for path in [*([sources.boreholes] if sources.boreholes else []), *truth]]


VALIDATION = Stage("validation", "boreholes and truth", build, scopes=_scopes, inputs=_inputs, sources=_sources)
