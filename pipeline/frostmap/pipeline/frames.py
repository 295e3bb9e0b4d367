"""Pieces of the map that do not depend on where it ends: the tiles that it touches, whole."""

from __future__ import annotations

from collections.abc import Iterator

from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import Tile, lattice
from frostmap.pipeline.work import Work


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
