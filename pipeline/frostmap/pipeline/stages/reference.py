"""Maps that the run's own are compared with, on its pixels: files, and those made of the same sums in other ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.frost_number import GLACIER, LAKE, NO_CLASS, conductivity_ratio, ttop, ttop_classes
from frostmap.kernels.resampling import OUTSIDE
from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import NOTES, Result, called_often
from frostmap.pipeline.errors import FrostmapError, UserError
from frostmap.pipeline.frames import by_frame, frames
from frostmap.pipeline.gridded_files import NO_VALUE, OUT_OF_RANGE
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.reference_files import BLOCK, MapFile, by_threshold, on_pixels, open_map
from frostmap.pipeline.reference_maps import MAGT, TTOP, compared_epoch, file_of, reference_scopes
from frostmap.pipeline.schema import FROZEN_GROUND, GROUND_TEMPERATURE, PERMAFROST_SHARE, SOIL_E
from frostmap.pipeline.schema import REFERENCE as WRITES
from frostmap.pipeline.stage import Noted, Products, Stage, everywhere
from frostmap.pipeline.stages.forest import FOLDER
from frostmap.pipeline.stages.frozen_ground import CLASS_KEYS, e_group
from frostmap.pipeline.stages.magt import FILE, predictors_of
from frostmap.pipeline.support_vectors import load
from frostmap.pipeline.work import Work

PIXEL_BYTES, CELL_BYTES = 60, 30
"""Memory that a task takes for a pixel of its frame, and for a cell under a block of it [bytes]."""
COLUMNS = ("frame", "pixels", "beyond", "no_value", "meaningless", *(f"{key}_km2" for key in CLASS_KEYS.values()))


Floats = npt.NDArray[np.float32]


def build(work: Work, scope: str) -> Products:
    """Return a map to compare with: a file, one by TTOP, or one of ground temperature by regression."""
    if file_of(work.recipe, scope) is not None:
        return from_file(work, scope)
    return Products(cube=by_regression(work) if scope == MAGT else by_ttop(work, scope.removeprefix(TTOP)))


# ---- from a file --------------------------------------------------------------------------------------------------


def from_file(work: Work, scope: str) -> Products:
    """Return a map that the recipe names on the map's pixels, a tile a task."""
    map_file = _opened(work.recipe, scope)
    call = called_often(map_of_frame)
    cube, tasks = by_frame(
        work,
        WRITES,
        lambda name, frame, own, _here, inside: call(map_file, name, frame, own, inside, work.pixel_km),
    )
    return Products(cube=cube, tasks=tasks, noted=lambda notes: account(notes, map_file))


def map_of_frame(
    map_file: MapFile,
    name: str,
    frame: GeoBox,
    own: tuple[slice, slice],
    inside: npt.NDArray[np.bool_],
    pixel_km: float,
) -> Result:
    """Return a map on some rows and columns of a frame, and notes; outside the region there is nothing."""
    found = on_pixels(map_file, frame, own, pixel_km)
    ground = np.where(inside, found.ground, NO_CLASS).astype(np.uint8)
    values = np.where(inside, found.values, np.float32(np.nan))
    none = np.full(inside.shape, np.nan, np.float32)
    area = np.broadcast_to(pixel_area_km2(frame)[own[0], np.newaxis], inside.shape)
    note: dict[str, Any] = {"frame": name, "pixels": int(inside.sum())}
    for why, code in (("beyond", OUTSIDE), ("no_value", NO_VALUE), ("meaningless", OUT_OF_RANGE)):
        note[why] = int(np.count_nonzero(inside & (found.missing == code)))
    note |= {f"{key}_km2": float(area[ground == code].sum()) for code, key in CLASS_KEYS.items()}
    note["unknown"] = {str(number): count for number, count in found.unknown.items()}
    return {
        FROZEN_GROUND.name: ground,
        GROUND_TEMPERATURE.name: values if map_file.holds == "temperature" else none,
        PERMAFROST_SHARE.name: values if map_file.holds == "share" else none,
        NOTES: [note],
    }


def account(notes: Sequence[Any], map_file: MapFile) -> Noted:
    """Return the table of what became of pixels, and the complaint where numbers mean nothing or none is there."""
    rows = [note for several in notes for note in several or ()]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "unknown"]).sort_values("frame", ignore_index=True)
    unknown: Counter[str] = Counter()
    for each in table.pop("unknown"):
        unknown.update(each)
    table.insert(0, "reference", map_file.name)
    return Noted(tables={f"reference-{map_file.name}": table}, complaint=_complaint(table, unknown, map_file))


def _complaint(table: pd.DataFrame, unknown: Counter[str], map_file: MapFile) -> FrostmapError | None:
    where = f"{map_file.path} (recipe: {map_file.key})"
    if int(table["meaningless"].sum()) and map_file.holds == "classes":
        met = ", ".join(f"{float(number):g} ({count:,} cells)" for number, count in unknown.most_common(8))
        return UserError(
            "numbers of a map of classes are not known",
            where=where,
            found=met,
            wanted=", ".join(str(number) for number, _ in map_file.codes),
            remedy="say what they mean, codes: {NUMBER: no_permafrost}; or that they mean none, missing: [NUMBER]",
        )
    if table[[name for name in table.columns if name.endswith("_km2")]].to_numpy().sum() == 0:
        found = "numbers that cannot be" if int(table["meaningless"].sum()) else "no value"
        return UserError(
            "a map has no value anywhere in the region",
            where=where,
            found=f"{found}; {map_file.grid.height} x {map_file.grid.width} cells from "
            f"{map_file.grid.affine.c:g}, {map_file.grid.affine.f:g}",
            wanted="a map that covers the region"
            + ("" if map_file.holds == "classes" else ", in the units that it is said to have"),
            remedy="correct the path, its units or its coordinate system; or leave the map out",
        )
    return None


# ---- of the same sums ---------------------------------------------------------------------------------------------


def by_ttop(work: Work, conductivity: str) -> xr.Dataset:
    """Return the map by TTOP of the last epoch's sums, with r_k from one of three sources."""
    recipe, asked, epoch = work.recipe, work.recipe.validation, compared_epoch(work.recipe, TTOP)
    forcing, masks = _chunked(work, f"forcing/{epoch}"), _chunked(work, f"masks/{epoch}")
    shape, chunks = work.shape, (work.chunk_pixels, work.chunk_pixels)
    if conductivity == "e":
        ratio = da.map_blocks(np.square, _chunked(work, e_group(recipe, epoch))[SOIL_E.name].data.astype(np.float64))
    elif conductivity == "soil":
        layers = [_chunked(work, f"covariates/{epoch}")["sand"].data]
        for name in ("soil_water", "soil_density"):
            given = getattr(asked, f"{name}_map")
            one = getattr(asked, name)
            layers.append(da.full(shape, one, chunks=chunks) if given is None else _raster(work, given, f"{name}_map"))
        ratio = da.map_blocks(conductivity_ratio, *layers, dtype=np.float64)
    else:
        ratio = da.full(shape, asked.conductivity_ratio, dtype=np.float64, chunks=chunks)
    sums = (forcing["ddf"].data, forcing["ddt"].data, ratio)
    factors = {"freezing_factor": asked.freezing_factor, "thawing_factor": asked.thawing_factor}
    temperature = da.map_blocks(_ttop, *sums, **factors, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    ground = da.map_blocks(
        ttop_classes, *sums, **factors,
        non_frozen_below=recipe.frozen_ground.non_frozen_below,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )  # fmt: skip
    return _made(work, ground, temperature, masks)


def _ttop(ddf: Floats, ddt: Floats, ratio: npt.NDArray[np.float64], **factors: float) -> Floats:
    return ttop(ddf.astype(np.float64), ddt.astype(np.float64), ratio, **factors).astype(np.float32)


def by_regression(work: Work) -> xr.Dataset:
    """Return the map of ground temperature by the regression that the step `magt` fitted."""
    recipe, epoch = work.recipe, compared_epoch(work.recipe, MAGT)
    layers = []
    for name in predictors_of(recipe):
        given = recipe.validation.soil_density_map
        if name == "soil_density" and given is not None:
            layers.append(_raster(work, given, "soil_density_map"))
        else:
            layers.append(
                _chunked(work, f"{'covariates' if name == 'precipitation' else 'forcing'}/{epoch}")[name].data
            )
    predict = partial(predicted, path=work.folder / FOLDER / FILE, names=predictors_of(recipe))
    temperature = da.map_blocks(predict, *layers, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    ground = da.map_blocks(by_threshold, temperature, 0.0, "below", dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    return _made(work, ground, temperature, _chunked(work, f"masks/{epoch}"))


def predicted(*layers: Floats, path: Path, names: tuple[str, ...]) -> Floats:
    """Return ground temperature of a block [°C]; NaN where a predictor is missing."""
    values = np.stack([layer.ravel() for layer in layers], axis=1)
    return load(path, names).predict(values).reshape(layers[0].shape)


def _made(work: Work, ground: da.Array, temperature: da.Array, masks: xr.Dataset) -> xr.Dataset:
    """Return a map with lakes and glaciers as in the run's own."""
    ground = da.map_blocks(
        _masked, ground, masks["inside"].data, masks["lakes"].data, masks["glaciers"].data,
        fraction=work.recipe.frozen_ground.mask_fraction,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )  # fmt: skip
    temperature = da.where(masks["inside"].data, temperature, np.float32(np.nan))
    none = da.full(work.shape, np.nan, dtype=np.float32, chunks=temperature.chunks)
    layers = {FROZEN_GROUND: ground, GROUND_TEMPERATURE: temperature, PERMAFROST_SHARE: none}
    return xr.Dataset({v.name: (v.dims, layer, v.attrs) for v, layer in layers.items()})


def _masked(
    ground: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], lakes: Floats, glaciers: Floats, fraction: float
) -> npt.NDArray[np.uint8]:
    ground = np.where(glaciers >= fraction, GLACIER, ground)
    ground = np.where(lakes >= fraction, LAKE, ground)
    return np.where(inside, ground, NO_CLASS).astype(np.uint8)


def _chunked(work: Work, group: str) -> xr.Dataset:
    return work.open(group).chunk({"y": work.chunk_pixels, "x": work.chunk_pixels})


def _raster(work: Work, given: Path, name: str) -> da.Array:
    layer = delayed(on_grid, pure=False)(work.recipe.path(given), work.geobox, f"validation.{name}")
    whole: da.Array = da.from_delayed(layer, work.shape, dtype=np.dtype("float32"))
    cut: da.Array = whole.rechunk((work.chunk_pixels, work.chunk_pixels))
    return cut


# ---- what it depends on, and what it takes ------------------------------------------------------------------------


def _opened(recipe: Recipe, scope: str) -> MapFile:
    given = file_of(recipe, scope)
    assert given is not None  # of `reference_scopes`  # noqa: S101
    return open_map(recipe, given)


def _inputs(recipe: Recipe, scope: str) -> list[str]:
    if file_of(recipe, scope) is not None:
        return []
    epoch = compared_epoch(recipe, scope)
    steps = [f"forcing/{epoch}", f"masks/{epoch}"]
    if scope == MAGT:
        return [*steps, "magt", *([f"covariates/{epoch}"] if "precipitation" in predictors_of(recipe) else [])]
    more = {f"{TTOP}e": [e_group(recipe, epoch)], f"{TTOP}soil": [f"covariates/{epoch}"]}
    return steps + more.get(scope, [])


def _sources(recipe: Recipe, scope: str) -> list[Path]:
    given, asked = file_of(recipe, scope), recipe.validation
    paths = [given.path] if given else []
    if scope == f"{TTOP}soil":
        paths += [path for path in (asked.soil_water_map, asked.soil_density_map) if path]
    if scope == MAGT and asked.soil_density_map:
        paths.append(asked.soil_density_map)
    return [recipe.path(path) for path in paths]


def _causes(work: Work, scope: str) -> dict[str, str]:
    given = file_of(work.recipe, scope)
    if given is None:
        asked = work.recipe.validation
        of_soil = [asked.soil_water, asked.soil_density, str(asked.soil_water_map), str(asked.soil_density_map)]
        of_ttop = [asked.freezing_factor, asked.thawing_factor, work.recipe.frozen_ground.non_frozen_below]
        more: dict[str, list[Any]] = {
            f"{TTOP}e": of_ttop,
            f"{TTOP}soil": [*of_ttop, *of_soil],
            f"{TTOP}constant": [*of_ttop, asked.conductivity_ratio],
            MAGT: list(predictors_of(work.recipe)),
        }
        return {"how it is made": ledger.digest([work.recipe.frozen_ground.mask_fraction, *more[scope]])}
    opened = _opened(work.recipe, scope)  # so that `plan` already says what is wrong with it
    meant = [opened.source, opened.band, opened.codes, opened.missing, opened.scale, opened.offset, opened.valid]
    return {"what its numbers mean": ledger.digest([*map(str, meant), opened.threshold, opened.rule, opened.grid.crs])}


def _memory(work: Work, scope: str) -> int:
    """Return the most that a task takes [bytes]: a frame, and the cells under a block of it; 0 where little."""
    if file_of(work.recipe, scope) is None:
        return 0
    frame = max(box.shape.y * box.shape.x for _, box, _ in frames(work))
    across = (
        2.0 * BLOCK * work.pixel_km / _opened(work.recipe, scope).grid.cell_km + 6
    )  # blocks lie askew on other grids
    return frame * PIXEL_BYTES + int(across**2) * CELL_BYTES


REFERENCE = Stage(
    "reference",
    "maps to compare with",
    build,
    scopes=reference_scopes,
    inputs=_inputs,
    sources=_sources,
    causes=_causes,
    writes=WRITES,
    memory=_memory,
    wanted=everywhere,
)
