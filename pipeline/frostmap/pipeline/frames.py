"""Pieces of the map that do not depend on where it ends: the tiles that it touches, whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import Tile, lattice
from frostmap.pipeline.blocks import Part, Task, joined_pieces
from frostmap.pipeline.schema import Variable
from frostmap.pipeline.work import Work

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""
MakesFrame: TypeAlias = Callable[[str, GeoBox, Window, Window, npt.NDArray[np.bool_]], Any]
"""Takes a frame's name and grid, its own rows and columns that the map has, those of the map, and which are inside;
returns a delayed `Result`."""


def frames(work: Work) -> Iterator[tuple[str, GeoBox, tuple[slice, slice]]]:
    """Yield the tiles that the map touches, whole, and the rows and columns of the map that lie in each.

    A map on a grid of its own is one frame. Frames do not depend on chunks or on where the map ends: nor does what is
    made of them, to the last bit.
    """
    height, width = work.shape
    if work.recipe.region.grid_of:
        yield "grid", work.geobox, (slice(0, height), slice(0, width))
        return
    side = work.recipe.region.pixels_per_tile
    top, left = work.tile_origin("h00v00")
    for first_row in range(top + (0 - top) // side * side, height, side):
        for first_column in range(left + (0 - left) // side * side, width, side):
            tile = Tile((first_column - left) // side, (first_row - top) // side)
            yield str(tile), lattice(side)[tile], work.tile_window(str(tile))


def within(work: Work, frame: GeoBox, rows: slice, columns: slice) -> tuple[slice, slice]:
    """Return which rows and columns of a frame some rows and columns of the map are."""
    column, row = ~frame.affine * (work.geobox.affine * (columns.start, rows.start))
    first, left = round(row), round(column)
    return slice(first, first + rows.stop - rows.start), slice(left, left + columns.stop - columns.start)


def by_frame(work: Work, writes: Sequence[Variable], make: MakesFrame) -> tuple[xr.Dataset, tuple[Task, ...]]:
    """Return layers of the map, a task a frame, and the tasks; where a frame has no pixel inside there is none.

    Parameters
    ----------
    work
        The run.
    writes
        The layers, (y, x) each. Outside the region they hold their fill.
    make
        Returns what makes a frame's part of all of them: a `Result`.
    """
    pieces: dict[str, dict[tuple[int, ...], da.Array]] = {variable.name: {} for variable in writes}
    tasks = []
    for name, frame, here in frames(work):
        rows, columns = here
        inside, task = work.inside[here], None
        if inside.any():
            task = make(name, frame, within(work, frame, rows, columns), here, inside)
            tasks.append(Task(name, task, tuple(Part(each.name, each.name, here) for each in writes)))
        for each in writes:
            pieces[each.name][rows.start, columns.start] = (
                da.full(inside.shape, each.fill_value, dtype=each.dtype, chunks=inside.shape)
                if task is None
                else da.from_delayed(task[each.name], inside.shape, dtype=np.dtype(each.dtype))
            )
    cube = xr.Dataset({each.name: (each.dims, joined_pieces(pieces[each.name]), each.attrs) for each in writes})
    return cube, tuple(tasks)
