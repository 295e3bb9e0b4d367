"""Files of a gridded series: which layers are in them, where their cells lie, and windows of what they add up to.

Two forms are read: NetCDF with an axis of time or depth, and rasters of one layer each. Cells may lie on any grid that
rows and columns describe, of any projection, north or south up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
import xarray as xr
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window

from frostmap.catalogs.gridded import NamedLayer, SeriesBand
from frostmap.pipeline.errors import DataIncomplete, UserError

NO_VALUE, OUT_OF_RANGE = 2, 3
"""Why a cell is missing: the file has none there; a number that cannot be. 1 is `resampling.OUTSIDE`."""

BYTES_AT_ONCE = 64_000_000
"""Of neighbouring layers that are read together [bytes]: NetCDF files hold many in one piece."""

_LATITUDE, _LONGITUDE = ("lat", "latitude", "y"), ("lon", "longitude", "x")
_AXES = ("time", "valid_time", "month", "depth", "level", "layer", "z")
_CROOKED = 0.02  # of a cell: how far a centre may lie off its even place; coordinates may be stored in 32 bits
_SAME = 0.01  # of a cell: how far two files of a series may lie apart


@dataclass(frozen=True)
class Grid:
    """Where cells lie."""

    affine: Affine
    """From columns and rows, counted from the first cell's outer corner, to coordinates."""

    height: int
    width: int
    crs: str
    """Of the coordinates, in any form that PROJ knows."""

    geographic: bool
    """Whether they are degrees."""

    @property
    def cell_km(self) -> float:
        """The longer side of a cell [km], about."""
        side = max(math.hypot(self.affine.a, self.affine.d), math.hypot(self.affine.b, self.affine.e))
        return side * 111.2 if self.geographic else side / 1000.0

    def same_as(self, other: Grid) -> bool:
        """Say whether another has the same cells."""
        if (self.height, self.width, self.geographic) != (other.height, other.width, other.geographic):
            return False
        shift = ~self.affine * other.affine
        corners = [(0.0, 0.0), (float(self.width), 0.0), (0.0, float(self.height))]
        return all(math.dist(shift * corner, corner) < _SAME for corner in corners)


@dataclass(frozen=True)
class Coding:
    """How numbers of a file become physical ones: stored * scale + offset."""

    scale: float
    offset: float
    fills: tuple[float, ...]
    lowest: float
    """Of what is physical; beyond it, numbers mean nothing."""
    highest: float


class Layer(NamedTuple):
    """One layer of a series, in a file."""

    path: Path
    at: int
    """Along the file's axis, or its band counted from 0."""
    weight: float
    """What its physical numbers are multiplied by."""
    label: str
    """Such as 2010-03, or 15-30 cm."""


@dataclass(frozen=True)
class Layers:
    """Some layers on one grid, which are added up with their weights."""

    grid: Grid
    layers: tuple[Layer, ...]
    variable: str
    """Of NetCDF files; empty of rasters."""
    band: SeriesBand | None
    """How numbers are coded; None: as each raster itself says."""
    key: str
    """What the recipe calls it, for messages."""
    least: float = 1.0
    """Share of all weight that a cell must have values for; what is lacking is made up in proportion."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, each once, in order."""
        return tuple(dict.fromkeys(layer.path for layer in self.layers))

    def window(self, rows: slice, columns: slice) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Return the weighted sum of a window of cells, and why cells are missing.

        Returns
        -------
        values : (row, column) float32
            NaN where less than `least` of the weight has values.
        reasons : (row, column) uint8
            `NO_VALUE` or `OUT_OF_RANGE` there: what most layers lack it for.
        """
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        total, weight = np.zeros(shape), np.zeros(shape)
        strange = np.zeros(shape, np.int32)
        for run in _runs(self.layers, shape):
            stored, coding = self._read(run, rows, columns)
            for layer, numbers in zip(run, stored, strict=True):
                values = numbers.astype(np.float64) * coding.scale + coding.offset
                known = np.isfinite(values)
                for fill in coding.fills:
                    known &= numbers != fill
                inside = known & (values >= coding.lowest) & (values <= coding.highest)
                strange += known & ~inside
                total += np.where(inside, values * layer.weight, 0.0)
                weight += inside * layer.weight
        whole = sum(layer.weight for layer in self.layers)
        enough = (weight > 0.0) & (weight >= self.least * whole * (1.0 - 1e-9))
        with np.errstate(divide="ignore", invalid="ignore"):
            values32 = np.where(enough, total * (whole / weight), np.nan).astype(np.float32)
        reasons = np.where(enough, 0, np.where(strange > 0, OUT_OF_RANGE, NO_VALUE)).astype(np.uint8)
        return values32, reasons

    def _read(self, run: Sequence[Layer], rows: slice, columns: slice) -> tuple[npt.NDArray[Any], Coding]:
        path = run[0].path
        if self.variable:
            with opened(path, self.key) as dataset:
                array = one_axis(dataset[self.variable], path, self.key)
                grid, coding = grid_of(dataset, array, path, self.key), coding_of(array, self.band, path, self.key)
                self._check(grid, path)
                window = array.isel({array.dims[1]: rows, array.dims[2]: columns})
                return window.isel({array.dims[0]: slice(run[0].at, run[-1].at + 1)}).to_numpy(), coding
        try:
            with rasterio.open(path) as raster:
                self._check(grid_of_raster(raster, path, self.key), path)
                stored = raster.read([layer.at + 1 for layer in run], window=Window.from_slices(rows, columns))
                return stored, coding_of_raster(raster, self.band, path, self.key)
        except RasterioError as error:
            raise DataIncomplete(
                "a raster cannot be read",
                where=f"{path} (recipe: {self.key})",
                found=error,
                wanted="the file as it was when the run began",
                remedy="get the file again, and run again: what is made stands",
            ) from error

    def _check(self, grid: Grid, path: Path) -> None:
        if not self.grid.same_as(grid):
            raise UserError(
                "files of a series are not on one grid",
                where=f"{path} (recipe: {self.key})",
                found=f"{grid.height} x {grid.width} cells from {grid.affine.c:g}, {grid.affine.f:g}",
                wanted=f"{self.grid.height} x {self.grid.width} cells from {self.grid.affine.c:g}, "
                f"{self.grid.affine.f:g}, as in {self.layers[0].path.name}",
                remedy="cut all files of a series alike",
            )


def _runs(layers: Sequence[Layer], shape: tuple[int, int]) -> Iterator[list[Layer]]:
    """Yield layers that lie one after the other in a file, as many as are read together."""
    most = max(1, BYTES_AT_ONCE // max(1, 8 * shape[0] * shape[1]))
    run = [layers[0]]
    for before, layer in pairwise(layers):
        if layer.path != before.path or layer.at != before.at + 1 or len(run) == most:
            yield run
            run = []
        run.append(layer)
    yield run


# ---- NetCDF -------------------------------------------------------------------------------------------------------


def opened(path: Path, key: str) -> xr.Dataset:
    """Open a NetCDF file, its numbers as they are stored."""
    try:
        return xr.open_dataset(path, mask_and_scale=False, decode_times=False, decode_coords=False, cache=False)
    except FileNotFoundError as error:
        raise DataIncomplete("a file is not there", where=f"{path} (recipe: {key})", found=error) from error
    except ValueError as error:  # xarray: no engine knows it
        raise UserError(
            "a file is not NetCDF, or what reads it is not installed",
            where=f"{path} (recipe: {key})",
            found=str(error).splitlines()[0],
            wanted="NetCDF",
            remedy="of NetCDF-4 files: pip install 'frostmap[netcdf]'; unpack archives first",
        ) from error
    except (OSError, KeyError, TypeError) as error:
        raise DataIncomplete(
            "a file cannot be read",
            where=f"{path} (recipe: {key})",
            found=error,
            wanted="a whole NetCDF file",
            remedy="get the file again, and run again: what is made stands",
        ) from error


def one_axis(array: xr.DataArray, path: Path, key: str) -> xr.DataArray:
    """Return a variable as (time or depth, row, column); other axes must have a length of 1."""
    dims = [str(dim) for dim in array.dims]
    rows = [dim for dim in dims if dim.lower() in _LATITUDE]
    columns = [dim for dim in dims if dim.lower() in _LONGITUDE]
    others = [dim for dim in dims if dim not in {*rows, *columns}]
    axes = [dim for dim in others if dim.lower() in _AXES]
    longer = [dim for dim in others if array.sizes[dim] > 1 and dim not in axes]
    if len(rows) != 1 or len(columns) != 1 or len(axes) > 1 or longer:
        raise UserError(
            "a variable has dimensions that are not understood",
            where=f"{path}, variable {array.name} (recipe: {key})",
            found=", ".join(f"{dim} ({array.sizes[dim]})" for dim in dims),
            wanted="latitude, longitude, and one of time or depth",
            remedy="take the other dimensions out: of ERA5's expver, keep 1 (final data)",
        )
    array = array.isel({dim: 0 for dim in others if dim not in axes})
    if not axes:
        return array.expand_dims("time").transpose("time", rows[0], columns[0])
    return array.transpose(axes[0], rows[0], columns[0])


def grid_of(dataset: xr.Dataset, array: xr.DataArray, path: Path, key: str) -> Grid:
    """Return where the cells of a variable lie, by their centres in degrees."""
    north, east = (
        _evenly(dataset, str(dim), path, key) for dim in array.dims[1:]
    )  # centre of the first cell, and the step
    affine = Affine(east[1], 0.0, east[0] - east[1] / 2, 0.0, north[1], north[0] - north[1] / 2)
    return Grid(affine, array.shape[1], array.shape[2], "EPSG:4326", geographic=True)


def _evenly(dataset: xr.Dataset, dim: str, path: Path, key: str) -> tuple[float, float]:
    centres = np.asarray(dataset[dim].values if dim in dataset.variables else [], np.float64)
    if len(centres) >= 2:
        step = (centres[-1] - centres[0]) / (len(centres) - 1)
        off = np.abs(centres - (centres[0] + step * np.arange(len(centres))))
        if step != 0.0 and np.all(off <= _CROOKED * abs(step)):
            return float(centres[0]), float(step)
    raise UserError(
        "cells of a file are not evenly spaced",
        where=f"{path} (recipe: {key})",
        found=f"{len(centres)} places along {dim}",
        wanted="at least two, a row and a column of cells in even steps of degrees",
        remedy="bring the file to an even grid, for instance with cdo remapbil",
    )


def coding_of(array: xr.DataArray, band: SeriesBand | None, path: Path, key: str) -> Coding:
    """Return how a variable's numbers are coded: as its definition says, or where that leaves it, as the file says.

    Raises
    ------
    UserError
        File and definition contradict each other: somebody converted the file.
    """
    said = {
        name: float(np.ravel(array.attrs[name])[0]) for name in ("scale_factor", "add_offset") if name in array.attrs
    }
    fills = [float(each) for name in ("_FillValue", "missing_value") for each in np.ravel(array.attrs.get(name, []))]
    scale, offset = said.get("scale_factor", 1.0), said.get("add_offset", 0.0)
    if band is None:
        return Coding(scale, offset, tuple(fills), -math.inf, math.inf)
    if band.fill is not None:
        fills.append(band.fill)
    lowest, highest = band.valid_range
    if band.packing == "file":
        return Coding(scale, offset, tuple(dict.fromkeys(fills)), lowest, highest)
    kind, wanted = array.dtype.kind, np.dtype(band.dtype).kind
    if (kind in "iu") != (wanted in "iu") or (said and not math.isclose(scale, band.factor, rel_tol=1e-5)):
        raise UserError(
            "a file is coded differently from its series",
            where=f"{path}, variable {array.name} (recipe: {key})",
            found=f"{array.dtype}" + (f", scale_factor {scale:g}" if said else ""),
            wanted=f"{band.dtype}, each number {band.factor:g} {band.units}",
            remedy="give the files as the archive has them; converted ones may be given as a raster of the mean",
        )
    return Coding(band.factor, band.offset, tuple(dict.fromkeys(fills)), *_physical(band))


def _physical(band: SeriesBand) -> tuple[float, float]:
    lowest, highest = (number * band.factor + band.offset for number in band.valid_range)
    slack = 1e-9 * (highest - lowest)
    return lowest - slack, highest + slack


def dates_of(dataset: xr.Dataset, array: xr.DataArray, said: NamedLayer, path: Path, key: str) -> list[tuple[int, int]]:
    """Return the year and month of each layer: by the axis; where that counts in months or not at all, by the name.

    Raises
    ------
    UserError
        Neither says it, or they contradict each other.
    """
    dim = str(array.dims[0])
    axis = dataset[dim] if dim in dataset.variables else None
    units = "" if axis is None else str(axis.attrs.get("units", ""))
    named: list[tuple[int, int]] = []
    if said.first_year is not None and said.last_year is not None:
        years = range(said.first_year, said.last_year + 1)
        named = [(year, month) for year in years for month in range(1, 13)]
    counted = _decoded(axis, units)
    if len(named) == array.shape[0] and (not counted or units.lower().startswith("month")):
        return named
    if counted and (not named or (counted[0][0], counted[-1][0]) == (said.first_year, said.last_year)):
        return counted
    years_said = f"the name says {said.first_year} to {said.last_year}, " if named else ""
    raise UserError(
        "a file does not say which months it holds",
        where=f"{path} (recipe: {key})",
        found=f"{years_said}{array.shape[0]} layers" + (f" counted in '{units}'" if units else ", uncounted")
        + (f" from {counted[0][0]}-{counted[0][1]:02d}" if counted else ""),
        wanted="an axis of time in days or hours since a date; or whole years that are in its name",
        remedy="name the file as the archive does; see docs/how-to/covariates.md",
    )  # fmt: skip


def _decoded(axis: xr.DataArray | None, units: str) -> list[tuple[int, int]]:
    """Return years and months of an axis of time; none where its units cannot be understood."""
    if axis is None or " since " not in units:
        return []
    numbers = np.asarray(axis.values, np.float64)
    if not np.isfinite(numbers).all():
        return []
    step, _, since = units.partition(" since ")
    try:
        if step.strip().lower().startswith("month"):
            base = pd.Timestamp(since.strip().split(" ")[0])
            months = base.year * 12 + base.month - 1 + np.floor(numbers).astype(int)
            return [(int(month) // 12, int(month) % 12 + 1) for month in months]
        attributes = {key: axis.attrs[key] for key in ("units", "calendar") if key in axis.attrs}
        times = pd.DatetimeIndex(xr.decode_cf(xr.Dataset({"t": ("t", numbers, attributes)}))["t"].values)
    except (ValueError, TypeError, OverflowError):
        return []
    return [(int(time.year), int(time.month)) for time in times]


class Header(NamedTuple):
    """What a NetCDF file holds."""

    grid: Grid
    when: tuple[tuple[int, int], ...]
    """Year and month of each layer, if asked for."""
    depths: tuple[float, ...]
    """Numbers on its axis of depth, if it has one."""
    layers: int


@lru_cache(maxsize=4096)
def netcdf_header(path: Path, variable: str, _changed: int, key: str, said: NamedLayer | None) -> Header:
    """Return what a file holds; with the years of its name, months are looked for."""
    with opened(path, key) as dataset:
        if variable not in dataset.data_vars:
            raise UserError(
                "a file lacks its variable",
                where=f"{path} (recipe: {key})",
                found=", ".join(map(str, dataset.data_vars)) or "no variable",
                wanted=variable,
                remedy="give the series's own files in this folder, and no others",
            )
        array = one_axis(dataset[variable], path, key)
        grid = grid_of(dataset, array, path, key)
        when = () if said is None else tuple(dates_of(dataset, array, said, path, key))
        dim = str(array.dims[0])
        axis = dataset[dim].values if dim in dataset.variables else ()
        depths = () if said is not None else tuple(float(number) for number in axis)
        return Header(grid, when, depths, array.shape[0])


# ---- rasters ------------------------------------------------------------------------------------------------------


def grid_of_raster(raster: rasterio.DatasetReader, path: Path, key: str) -> Grid:
    """Return where the cells of a raster lie."""
    if raster.crs is None:
        raise UserError(
            "a raster does not say where it is",
            where=f"{path} (recipe: {key})",
            found="no coordinate reference system",
            wanted="a georeferenced raster",
            remedy="assign its CRS, for instance with gdal_edit.py -a_srs",
        )
    return Grid(raster.transform, raster.height, raster.width, raster.crs.to_wkt(), bool(raster.crs.is_geographic))


def coding_of_raster(raster: rasterio.DatasetReader, band: SeriesBand | None, path: Path, key: str) -> Coding:
    """Return how a raster's numbers are coded: by their definition, or by itself where there is none."""
    nodata = [] if raster.nodata is None else [float(raster.nodata)]
    if band is None:
        fills = [float(np.float32(fill)) if raster.dtypes[0] == "float32" else fill for fill in nodata]
        return Coding(raster.scales[0], raster.offsets[0], tuple(fills), -math.inf, math.inf)
    if (np.dtype(raster.dtypes[0]).kind in "iu") != (np.dtype(band.dtype).kind in "iu"):
        raise UserError(
            "a file is coded differently from its series",
            where=f"{path} (recipe: {key})",
            found=raster.dtypes[0],
            wanted=f"{band.dtype}, each number {band.factor:g} {band.units}",
            remedy="give the files as the archive has them; converted ones may be given as a raster of the mean",
        )
    fills = nodata + ([] if band.fill is None else [band.fill])
    return Coding(band.factor, band.offset, tuple(dict.fromkeys(fills)), *_physical(band))


def layers_of_raster(path: Path, key: str) -> Layers:
    """Return the first band of a raster that the recipe names, as it is coded by itself."""
    with raster_of(path, key) as raster:
        return Layers(grid_of_raster(raster, path, key), (Layer(path, 0, 1.0, path.name),), "", None, key)


def raster_of(path: Path, key: str) -> rasterio.DatasetReader:
    """Open a raster, or say clearly why not."""
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise UserError(
            "a raster cannot be opened",
            where=f"{path} (recipe: {key})",
            found="no such file" if not path.exists() else str(error),
            wanted="a raster that GDAL reads, such as GeoTIFF",
            remedy="correct the path in the recipe, or its `data` folder",
        ) from error
