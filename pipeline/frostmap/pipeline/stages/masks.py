"""Which pixels are mapped, and how much of each is lake or glacier."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from dask.delayed import Delayed, delayed
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import NOTES, Result, called_often
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.frames import Window, by_frame, frames
from frostmap.pipeline.polygons import Coverage, PolygonFile, check_meets, coverage, holds_polygons, parts_of
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import PolygonLayer, Recipe
from frostmap.pipeline.schema import GLACIERS, INSIDE, LAKES
from frostmap.pipeline.schema import MASKS as WRITES
from frostmap.pipeline.stage import Noted, Products, Stage, all_epochs
from frostmap.pipeline.work import Work, polygons_of

COVERS = (LAKES, GLACIERS)

FILE_BYTES, TEXT_BYTES = 16, 7
"""Memory that polygons take at most, a byte of their file: stored, as geometries, projected, joined."""

PIXEL_BYTES = 30
"""Memory of a frame's pixel: its share in float64 twice, and what is made of it [bytes]."""

RASTER_BYTES = 22
"""Memory of a pixel of the whole map where shares come as a raster: as read, on the map's grid, checked [bytes]."""

Share = npt.NDArray[np.float32]
Given = PolygonFile | Share | None
"""Where shares come from: polygons, a raster on the frame's grid, nothing."""


def build(work: Work, epoch: str) -> Products:
    """Return the region's mask and the shares of an epoch; no lake or glacier where the recipe names no source."""
    given = {variable.name: _given(work, variable.name, epoch) for variable in COVERS}
    call, cut = called_often(masks_of_frame), delayed(operator.getitem)

    def make(name: str, frame: GeoBox, own: Window, here: Window, inside: npt.NDArray[np.bool_]) -> Any:
        covers = {key: cut(each, here) if isinstance(each, Delayed) else each for key, each in given.items()}
        return call(name, frame, own, inside, covers["lakes"], covers["glaciers"])

    cube, tasks = by_frame(work, WRITES, make)
    return Products(cube=cube, tasks=tasks, noted=lambda notes: _account(notes, epoch))


def masks_of_frame(
    name: str,
    frame: GeoBox,
    own: tuple[slice, slice],
    inside: npt.NDArray[np.bool_],
    lakes: Given,
    glaciers: Given,
) -> Result:
    """Return the region's mask and the shares of a frame's pixels, with notes.

    Parameters
    ----------
    name
        The frame's.
    frame
        Its grid.
    own
        Its rows and columns that the map has.
    inside : (y, x) bool
        Pixels of the region, of those rows and columns.
    lakes, glaciers
        Polygons; or shares of those rows and columns, NaN counting as none; or nothing.
    """
    result: Result = {INSIDE.name: inside}
    area = pixel_area_km2(frame)
    notes: list[dict[str, Any]] = []
    for variable, given in zip(COVERS, (lakes, glaciers), strict=True):
        note: dict[str, Any] = {"frame": name, "what": variable.name}
        share = np.zeros(inside.shape, dtype=np.float32)
        if isinstance(given, PolygonFile):
            covered: Coverage = coverage(given, frame)
            share = np.ascontiguousarray(covered.share[own])
            note |= {"polygons": covered.polygons, "empty": given.empty, "repaired": covered.repaired}
            note |= {"overlap_km2": covered.overlap * float(area.mean())}
        elif given is not None:
            share = np.nan_to_num(given, nan=0.0)
            note |= {"no_value": int((np.isnan(given) & inside).sum())}
        here = np.where(inside, share, 0.0).astype(np.float64)
        note |= {"pixels": int((here > 0).sum()), "km2": float((here * area[own[0], np.newaxis]).sum())}
        result[variable.name] = share
        notes.append(note)
    return result | {NOTES: notes}


# ---- sources ------------------------------------------------------------------------------------------------------


def _given(work: Work, name: str, epoch: str) -> Any:
    """Return a layer of polygons; or a raster on the map's grid, lazily; or None."""
    by_epoch = getattr(work.recipe.sources, name)
    if by_epoch is None:
        return None
    given, key = getattr(by_epoch, epoch), f"sources.{name}.{epoch}"
    if isinstance(given, PolygonLayer) or holds_polygons(given):
        file = polygons_of(work.recipe, given, key)
        check_meets(file, work.geobox)
        return file
    return delayed(shares_of_raster)(work.recipe.path(given), work.geobox, key)


def shares_of_raster(path: Path, geobox: GeoBox, key: str) -> Share:
    """Return a raster of shares on a grid.

    Raises
    ------
    UserError
        It cannot be read or lies elsewhere; it holds something else, such as per cent or classes.
    """
    share = on_grid(path, geobox, key)
    least, most = float(np.nanmin(share)), float(np.nanmax(share))
    if least < -1e-6 or most > 1 + 1e-6:
        raise UserError(
            "a raster does not hold shares of pixels",
            where=f"{path} (recipe: {key})",
            found=f"{least:g} to {most:g}",
            wanted="0 to 1, or its nodata value where there is none",
            remedy="divide per cent by 100; of classes, make 1 of the one that is meant and 0 of all others",
        )
    return np.clip(share, 0.0, 1.0)


def _paths(recipe: Recipe, epoch: str) -> Iterator[Path]:
    given = [getattr(by_epoch, epoch) for name in ("lakes", "glaciers") if (by_epoch := getattr(recipe.sources, name))]
    for each in [*given, recipe.region.outline]:
        if each is not None:
            yield recipe.path(each.path if isinstance(each, PolygonLayer) else each)


def _causes(work: Work, epoch: str) -> dict[str, str]:
    """Return the digest of which files are lakes and which glaciers, and of what in them is meant: all are opened."""
    given = {name: getattr(work.recipe.sources, name) for name in ("lakes", "glaciers")}
    meant = {name: getattr(by_epoch, epoch) for name, by_epoch in given.items() if by_epoch is not None}
    for name in meant:
        _given(work, name, epoch)
    return {"what covers": ledger.digest({name: str(each) for name, each in meant.items()})} if meant else {}


def _sources(recipe: Recipe, epoch: str) -> list[Path]:
    return [part for path in _paths(recipe, epoch) for part in (parts_of(path) if holds_polygons(path) else [path])]


# ---- what it takes, and what became of it -------------------------------------------------------------------------


def memory(work: Work, epoch: str) -> int:
    """Return the most that a task takes [bytes]: a frame, and all polygons of the larger file as if they lay in it."""
    height, width = work.shape
    frame = max(box.shape.y * box.shape.x for _, box, _ in frames(work))
    sizes = [0]
    for name in ("lakes", "glaciers"):
        by_epoch = getattr(work.recipe.sources, name)
        given = None if by_epoch is None else getattr(by_epoch, epoch)
        if isinstance(given, PolygonLayer) or (given is not None and holds_polygons(given)):
            path = work.recipe.path(given.path if isinstance(given, PolygonLayer) else given)
            each = TEXT_BYTES if "json" in path.suffix.lower() else FILE_BYTES
            sizes.append(each * sum(part.stat().st_size for part in parts_of(path) if part.exists()))
        elif given is not None:
            sizes.append(RASTER_BYTES * height * width)
    return frame * PIXEL_BYTES + max(sizes)


def _account(notes: Sequence[Any], epoch: str) -> Noted:
    """Return what was made of which polygons, as a table."""
    columns = ["what", "frame", "polygons", "empty", "repaired", "overlap_km2", "no_value", "pixels", "km2"]
    table = pd.DataFrame([note for several in notes for note in several or ()], columns=columns)
    for name in ("polygons", "empty", "repaired", "no_value"):
        table[name] = table[name].astype("Int64")
    return Noted(tables={f"masks-{epoch}": table.sort_values(columns[:2], ignore_index=True).round(6)})


MASKS = Stage(
    "masks",
    "region, lakes and glaciers",
    build,
    scopes=all_epochs,
    sources=_sources,
    causes=_causes,
    writes=WRITES,
    memory=memory,
    block=None,
    version=2,
)
