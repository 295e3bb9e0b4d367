"""A year's granules to layers of its composites or months: a task a tile reads all that it has of the year."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from frostmap.catalogs.granules import Granule
from frostmap.pipeline.blocks import Lazy, Part, Task, called_often
from frostmap.pipeline.schema import Variable
from frostmap.pipeline.work import Work

Crop = tuple[slice, slice]
"""Rows and columns of a tile that the map has of it."""


def map_tiles(
    work: Work,
    granules: Iterable[Granule],
    place: Callable[[Granule], int],
    read: Callable[..., Any],
    writes: Sequence[Variable],
    length: int,
    *settings: Any,
) -> Lazy:
    """Return the lazy result of reading a year's granules, tile by tile.

    Parameters
    ----------
    work
        Whose tiles and grid.
    granules
        Of the year.
    place
        Returns a granule's place in the year, such as its day, by which `read` is told of it.
    read
        Called with a tile's granules by their places, what is to be cropped from it, and `settings`; returns a
        `blocks.Result` with an array (length, y, x) for each of `writes`.
    writes
        Variables whose first dimension has `length` places: composites or months.
    length
        How many.

    Returns
    -------
    The cube, its fill values where a tile has no granule; and a task for each tile that has one.
    """
    by_tile: dict[str, dict[int, Granule]] = {tile: {} for tile in work.tiles}
    for granule in granules:
        by_tile[str(granule.tile)][place(granule)] = granule

    call = called_often(read)
    layers = {v.name: da.full((length, *work.shape), v.fill_value, dtype=v.dtype, chunks=(-1, -1, -1)) for v in writes}
    tasks = []
    for tile, of_tile in by_tile.items():
        if not of_tile:
            continue
        rows, cols = work.tile_window(tile)
        top, left = work.tile_origin(tile)
        crop = (slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left))
        task = call(of_tile, crop, *settings)
        parts = tuple(Part(v.name, v.name, (slice(0, length), rows, cols)) for v in writes)
        tasks.append(Task(tile, task, parts, work.identity_of(of_tile)))
        shape = (length, rows.stop - rows.start, cols.stop - cols.start)
        for variable in writes:
            part = da.from_delayed(task[variable.name], shape, dtype=np.dtype(variable.dtype))
            layers[variable.name][:, rows, cols] = part
    return Lazy(xr.Dataset({v.name: (v.dims, layers[v.name], v.attrs) for v in writes}), tuple(tasks))
