"""An elevation model as one grid of latitude and longitude, read window by window from one file or many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from frostmap.catalogs.grids import WGS84_ECCENTRICITY_SQUARED, WGS84_SEMI_MAJOR, Bounds
from frostmap.pipeline.errors import DataIncomplete, UserError

Elevation = npt.NDArray[np.float32]

LOWEST, HIGHEST = -500.0, 9000.0
"""Elevations beyond these are none [m]: -32768 and other fills without a tag, and the sea's floor."""

CACHE_BYTES = 128_000_000
"""What GDAL may keep of blocks that have been read, a worker [bytes]."""


class Sheet(NamedTuple):
    """A file of elevations, and where on the common grid it begins."""

    path: Path
    row: int
    column: int
    height: int
    width: int


@dataclass(frozen=True)
class Mosaic:
    """Elevations on one grid whose rows run east and whose columns run south, from some sheets.

    Windows may reach beyond all sheets: there is nothing there but NaN.
    """

    west: float
    """Western edge of the cells of column 0 [°]."""
    north: float
    """Northern edge of the cells of row 0 [°]."""
    across: float
    """Width of a cell [°]."""
    down: float
    """Height of a cell [°]."""
    sheets: tuple[Sheet, ...]
    times: int = 1
    """How many of the sheets' elevations along a side are averaged to a cell."""

    def coarsened(self, times: int) -> Mosaic:
        """Return the model of the means of times x times cells; those of which less than half is known are missing."""
        return replace(self, across=self.across * times, down=self.down * times, times=self.times * times)

    def around(self, bounds: Bounds, cells: int = 0) -> tuple[slice, slice]:
        """Return the rows and columns of the cells that touch a box [°], with some cells around it."""
        west, south, east, north = bounds
        return (
            slice(
                math.floor((self.north - north) / self.down) - cells,
                math.ceil((self.north - south) / self.down) + cells,
            ),
            slice(
                math.floor((west - self.west) / self.across) - cells,
                math.ceil((east - self.west) / self.across) + cells,
            ),
        )

    def within(self, bounds: Bounds) -> Mosaic:
        """Return the same model with those sheets alone that touch a box [°]."""
        rows, columns = replace(self, across=self.across / self.times, down=self.down / self.times).around(bounds)
        keep = [
            sheet
            for sheet in self.sheets
            if rows.start < sheet.row + sheet.height
            and sheet.row < rows.stop
            and columns.start < sheet.column + sheet.width
            and sheet.column < columns.stop
        ]
        return replace(self, sheets=tuple(keep))

    def latitudes(self, rows: slice, times: int = 1) -> npt.NDArray[np.float64]:
        """Return the latitudes of the centres of rows, or of the parts that each is cut into [°]."""
        return self.north - self.down / times * (np.arange(rows.start * times, rows.stop * times) + 0.5)

    def longitudes(self, columns: slice, times: int = 1) -> npt.NDArray[np.float64]:
        """Return the longitudes of the centres of columns, or of the parts that each is cut into [°]."""
        return self.west + self.across / times * (np.arange(columns.start * times, columns.stop * times) + 0.5)

    def cell_metres(self, rows: slice) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return how wide and how high cells are, by row [m], on the WGS 84 ellipsoid."""
        latitude = np.radians(self.latitudes(rows))
        curved = 1.0 - WGS84_ECCENTRICITY_SQUARED * np.sin(latitude) ** 2
        along = WGS84_SEMI_MAJOR / np.sqrt(curved) * np.cos(latitude)
        meridian = WGS84_SEMI_MAJOR * (1.0 - WGS84_ECCENTRICITY_SQUARED) / curved**1.5
        return np.maximum(along, 1e-3) * math.radians(self.across), meridian * math.radians(self.down)

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Keep its files open for windows to be read."""
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_CACHEMAX=CACHE_BYTES), ExitStack() as stack:
            yield Reader(self, stack)


class Reader:
    """Windows of a mosaic whose files stay open."""

    def __init__(self, mosaic: Mosaic, stack: ExitStack) -> None:
        self._mosaic, self._stack = mosaic, stack
        self._files: dict[Path, rasterio.DatasetReader] = {}

    def read(self, rows: slice, columns: slice) -> Elevation:
        """Return a window of elevations [m], NaN where there are none."""
        times = self._mosaic.times
        fine = self._read(
            slice(rows.start * times, rows.stop * times), slice(columns.start * times, columns.stop * times)
        )
        return fine if times == 1 else _block_means(fine, times)

    def _read(self, rows: slice, columns: slice) -> Elevation:
        whole = np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan, dtype=np.float32)
        for sheet in self._mosaic.sheets:
            top, bottom = max(rows.start, sheet.row), min(rows.stop, sheet.row + sheet.height)
            left, right = max(columns.start, sheet.column), min(columns.stop, sheet.column + sheet.width)
            if top >= bottom or left >= right:
                continue
            window = np.s_[top - sheet.row : bottom - sheet.row, left - sheet.column : right - sheet.column]
            values = self._of_raw(sheet, window) if sheet.path.suffix == ".hgt" else self._of_raster(sheet, window)
            target = whole[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start]
            with np.errstate(invalid="ignore"):
                np.copyto(target, values, where=(values >= LOWEST) & (values <= HIGHEST))
        return whole

    def _of_raster(self, sheet: Sheet, window: tuple[slice, slice]) -> Elevation:
        try:
            if sheet.path not in self._files:
                self._files[sheet.path] = self._stack.enter_context(rasterio.open(sheet.path))
            file = self._files[sheet.path]
            stored = file.read(1, window=Window.from_slices(*window))
        except RasterioError as error:
            raise self._unreadable(sheet, error) from error
        scale, offset = file.scales[0], file.offsets[0]
        values: Elevation = stored.astype(np.float32)
        if (scale, offset) != (1.0, 0.0):
            values = (stored * scale + offset).astype(np.float32)
        if file.nodata is not None:
            values[stored == file.nodata] = np.nan
        return values

    def _of_raw(self, sheet: Sheet, window: tuple[slice, slice]) -> Elevation:
        """Read a window of a file that is nothing but big-endian whole metres."""
        try:
            stored = np.memmap(sheet.path, dtype=">i2", mode="r", shape=(sheet.height, sheet.width))
        except (OSError, ValueError) as error:
            raise self._unreadable(sheet, error) from error
        return np.asarray(stored[window]).astype(np.float32)

    def _unreadable(self, sheet: Sheet, error: Exception) -> DataIncomplete:
        return DataIncomplete(
            "a file of the elevation model cannot be read",
            where=sheet.path,
            found=error,
            wanted="the file as it was when the run began",
            remedy="run again: what is missing or damaged is looked for again",
        )


def _block_means(fine: Elevation, times: int) -> Elevation:
    blocks = fine.reshape(fine.shape[0] // times, times, fine.shape[1] // times, times)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0.0).sum(axis=(1, 3), dtype=np.float64)
    means: Elevation = np.where(2 * count >= times**2, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return means


# ---- from files ---------------------------------------------------------------------------------------------------


def mosaic_of_raster(raster: rasterio.DatasetReader, where: str) -> Mosaic:
    """Return the mosaic of one raster, such as a GeoTIFF or a VRT of many.

    Raises
    ------
    UserError
        Its rows and columns do not run along latitude and longitude.
    """
    transform, crs = raster.transform, raster.crs
    if crs is None or not crs.is_geographic:
        raise UserError(
            "the elevation model is not in degrees",
            where=where,
            found=f"{_name(crs)}, cells of {max(raster.res):g}" if crs else "no coordinate system",
            wanted="longitude and latitude (EPSG:4326): rows of a projection do not run east, its columns not south",
            remedy="reproject it, for instance with gdalwarp -t_srs EPSG:4326 -r bilinear",
        )
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise UserError(
            "the elevation model does not have its first row in the north",
            where=where,
            found=f"transform {tuple(transform)[:6]}",
            wanted="columns that run east, rows that run south",
            remedy="turn it, for instance with gdalwarp -t_srs EPSG:4326",
        )
    sheet = Sheet(Path(raster.name), 0, 0, raster.height, raster.width)
    return Mosaic(transform.c, transform.f, transform.a, -transform.e, (sheet,))


def _name(crs: rasterio.CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_dict().get("proj", "another coordinate system"))


class Place(NamedTuple):
    """A cell's file and where its elevations are."""

    name: str
    path: Path
    west: float
    north: float
    across: float
    down: float
    height: int
    width: int


def mosaic_of_cells(places: Sequence[Place]) -> Mosaic:
    """Return the mosaic of some cells of a model, at least one.

    Its grid is counted from 180° W and 90° N, so that any of its cells give the same numbers.

    Raises
    ------
    UserError
        The cells have no common grid: those of GLO-90 are spaced wider from 50 degrees towards the poles.
    """
    first = places[0]
    across, down = _nominal(first.across), _nominal(first.down)
    west = -180.0 + _phase((first.west + 180.0) / across) * across
    north = 90.0 - _phase((90.0 - first.north) / down) * down
    sheets = []
    for place in places:
        column, row = (place.west - west) / across, (north - place.north) / down
        same = math.isclose(place.across, across, rel_tol=1e-6) and math.isclose(place.down, down, rel_tol=1e-6)
        if not same or abs(column - round(column)) > 0.01 or abs(row - round(row)) > 0.01:
            raise UserError(
                "the cells of the elevation model are not on one grid",
                where=f"{first.name} and {place.name} (recipe: sources.elevation)",
                found=f"spacings {_spacing(first)} and {_spacing(place)}" if not same else "grids that are shifted",
                wanted="one spacing; GLO-90 has that between 50° S and 50° N",
                remedy="correct the region; or bring the cells to one raster, for instance with gdalwarp, and name it",
            )
        sheets.append(Sheet(place.path, round(row), round(column), place.height, place.width))
    return Mosaic(west, north, across, down, tuple(sheets))


def _nominal(size: float) -> float:
    """Return a cell's size as a fraction of a degree, where it is nearly one.

    >>> _nominal(0.000833333333) == 1 / 1200
    True
    """
    number = round(1.0 / size)
    return 1.0 / number if number and math.isclose(size * number, 1.0, rel_tol=1e-7) else size


def _phase(cells: float) -> float:
    """Return by what part of a cell a grid is shifted: to halves, where it nearly is.

    >>> _phase(324000.5000001), _phase(12.0), _phase(12.9999999), _phase(7.25)
    (0.5, 0.0, 0.0, 0.25)
    """
    part = cells % 1.0
    nearest = round(2.0 * part) / 2.0
    return nearest % 1.0 if abs(part - nearest) < 0.01 else part


def _spacing(place: Place) -> str:
    return f"{3600 * place.across:.4g} x {3600 * place.down:.4g} arc seconds"
