"""The grids that maps are given away on: the map's own, degrees, equal areas, and that of the published maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from frostmap.catalogs.grids import EXPORT_GRID, pixel_area_km2
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.gridded_files import Grid
from frostmap.pipeline.work import KM_PER_DEGREE, Work

ALBERS = "+proj=aea +lat_1=27.5 +lat_2=37.5 +lat_0=0 +lon_0=90 +datum=WGS84 +units=m +no_defs"
"""Albers's equal-area projection as the plateau's maps use it."""

BLOCK = 512
"""Cells along the side of a block, which is read, resampled and written at once."""

DEGREES = "EPSG:4326"

NATIVE, LONGLAT, EQUAL_AREA, PUBLISHED = "native", "longlat", "albers", "published"


@dataclass(frozen=True)
class TargetGrid:
    """A grid that maps are written on."""

    name: str
    """Also that of its folder."""
    title: str
    geobox: GeoBox
    is_native: bool = False
    """Whether it is the map's own, so that nothing is resampled."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.geobox.shape.y, self.geobox.shape.x

    @property
    def cell_areas_km2(self) -> npt.NDArray[np.float64]:
        """Area of a cell of each row on the ellipsoid [km²]; those of the equal-area projection are what they seem."""
        if self.name != EQUAL_AREA:
            return pixel_area_km2(self.geobox)
        return np.full(self.geobox.shape.y, abs(self.geobox.affine.a * self.geobox.affine.e) / 1e6)


GRIDS = {
    NATIVE: "the map's own grid",
    LONGLAT: "longitude and latitude (WGS 84)",
    EQUAL_AREA: "Albers equal area, parallels 27.5° and 37.5°, meridian 90°",
    PUBLISHED: "3223 x 1436 cells of 0.0096°, as the published maps of the plateau",
}
"""Names of the grids, and what they are."""


@dataclass(frozen=True)
class Extent:
    """Where a map has values: of each row that has any, the columns from the first to after the last."""

    rows: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]

    def corners(self, geobox: GeoBox) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return x and y of the outer corners of the first and last pixel of each row."""
        column = np.concatenate([self.first, self.first, self.end, self.end]).astype(np.float64)
        row = np.concatenate([self.rows, self.rows + 1, self.rows, self.rows + 1]).astype(np.float64)
        a, b, c, d, e, f = tuple(geobox.affine)[:6]
        return a * column + b * row + c, d * column + e * row + f


def blocks_of(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of each block of a grid, row by row."""
    height, width = shape
    for top, left in itertools.product(range(0, height, BLOCK), range(0, width, BLOCK)):
        yield slice(top, min(top + BLOCK, height)), slice(left, min(left + BLOCK, width))


def target_grids(work: Work, extent: Extent, names: Sequence[str] = ()) -> list[TargetGrid]:
    """Return the grids to write on.

    Parameters
    ----------
    work
        The run.
    extent
        Where its map has values; grids of degrees and of equal areas are cut to it.
    names
        Which of `GRIDS`; all if empty. That of the published maps is left out then where the map does not meet it.

    Raises
    ------
    UserError
        There is no grid of this name, or the map does not meet the published one.
    """
    unknown = sorted(set(names) - set(GRIDS))
    if unknown:
        raise UserError("no such grid", where=f"--grid {unknown[0]}", wanted=", ".join(GRIDS))
    found = []
    for name in [name for name in GRIDS if not names or name in names]:
        if name == PUBLISHED and not _meets(work.geobox, extent, EXPORT_GRID):
            if names:
                raise UserError(
                    "the map does not meet the grid of the published maps",
                    where=f"--grid {PUBLISHED}",
                    wanted="a region on the Qinghai-Tibet Plateau",
                    remedy="name other grids",
                )
            continue
        found.append(TargetGrid(name, GRIDS[name], _geobox(work, extent, name), name == NATIVE))
    return found


def _geobox(work: Work, extent: Extent, name: str) -> GeoBox:
    if name == NATIVE:
        return work.geobox
    if name == PUBLISHED:
        return EXPORT_GRID
    if name == EQUAL_AREA:
        return _around(work.geobox, extent, ALBERS, 100.0 * math.ceil(10.0 * work.pixel_km - 1e-6))
    if work.geobox.crs is not None and work.geobox.crs.geographic:
        rows = slice(int(extent.rows.min()), int(extent.rows.max()) + 1)
        return work.geobox[rows, int(extent.first.min()) : int(extent.end.max())]
    return _around(work.geobox, extent, DEGREES, 10.0 / max(1, round(10.0 * KM_PER_DEGREE / work.pixel_km)))


def _around(source: GeoBox, extent: Extent, crs: str, size: float) -> GeoBox:
    """Return the cells of a size, counted from the origin of coordinates, that hold where a map has values."""
    west, south, east, north = _bounds(source, extent, crs)
    slack = 1e-6  # of a cell: rounding must not add a row
    left, right = math.floor(west / size + slack), math.ceil(east / size - slack)
    bottom, top = math.floor(south / size + slack), math.ceil(north / size - slack)
    return GeoBox((top - bottom, right - left), Affine(size, 0.0, left * size, 0.0, -size, top * size), crs)


def _bounds(source: GeoBox, extent: Extent, crs: str) -> tuple[float, float, float, float]:
    transformer = Transformer.from_crs(str(source.crs), crs, always_xy=True)
    x, y = transformer.transform(*extent.corners(source))
    return float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y))


def _meets(source: GeoBox, extent: Extent, target: GeoBox) -> bool:
    west, south, east, north = _bounds(source, extent, str(target.crs))
    box = target.boundingbox
    return bool(west < box.right and east > box.left and south < box.top and north > box.bottom)


def cell_areas_km2(geobox: GeoBox) -> npt.NDArray[np.float64]:
    """Return the area of a cell of each row on the ellipsoid [km²].

    Cells of the equal-area projection have the area that they seem to have: it is made so, on the ellipsoid.

    Examples
    --------
    >>> cell_areas_km2(GeoBox((2, 3), Affine(1000.0, 0, 0, 0, -1000.0, 0), ALBERS)).tolist()
    [1.0, 1.0]
    """
    if geobox.crs is not None and str(geobox.crs) == str(GeoBox((1, 1), geobox.affine, ALBERS).crs):
        return np.full(geobox.shape.y, abs(geobox.affine.a * geobox.affine.e) / 1e6)
    return pixel_area_km2(geobox)


def as_source(geobox: GeoBox) -> Grid:
    """Return a map's grid as what cells are resampled from."""
    geographic = geobox.crs is not None and bool(geobox.crs.geographic)
    return Grid(geobox.affine, geobox.shape.y, geobox.shape.x, str(geobox.crs), geographic)
