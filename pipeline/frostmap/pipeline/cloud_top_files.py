"""Heights of cloud tops as files have them: gridded fields, and swaths of MODIS's cloud product.

A swath is what the radiometer saw in five minutes, on cells of 5 km whose positions stand in the file; towards its
edges cells grow to some 10 x 25 km. A pixel of the map takes the cell nearest to it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import odc.geo.xr  # noqa: F401  # gives DataArray.odc
import pandas as pd
import xarray as xr
from odc.geo import CRS
from scipy.spatial import KDTree

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.granule_folders import files_below
from frostmap.catalogs.grids import SPHERE_RADIUS, Bounds
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.granule_files import decode
from frostmap.pipeline.hdf4 import Layer
from frostmap.pipeline.hdf4_process import of_this_process
from frostmap.pipeline.hdf_eos import ExpectedSwath
from frostmap.pipeline.schema import OVERPASSES

Heights = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

KEY = "recipe: sources.cloud_top.path"

# ---- swaths -------------------------------------------------------------------------------------------------------

SWATH = "mod06"
"""Name of the HDF-EOS swath, of both satellites."""
MOST_ROWS, MOST_COLUMNS = 420, 280
"""Cells along and across the track that a granule may have; 406 or 408 x 270 are usual."""
GRANULE_TIME = dt.timedelta(minutes=5)
MORNING, EVENING = 6.0, 18.0
"""Local solar hours between which a view is one by day."""
NEAR_KM = 7.0
"""A pixel this near to a cell's centre is the cell's, however small the cell."""
REST = dt.timedelta(minutes=30)
"""Granules that begin further apart are of different passes; a revolution takes 99 minutes."""

_NAME = re.compile(
    r"(?P<product>M[OY]D06_L2)\.A(?P<day>\d{7})\.(?P<time>\d{4})\.(?P<version>\d{3})(?:\.(?P<made>\d{13}))?\.hdf",
    re.ASCII,
)


@dataclass(frozen=True)
class SwathFile:
    """A granule of the cloud product."""

    path: Path
    """The file, under its archive name."""

    product: str
    """MOD06_L2 of Terra, MYD06_L2 of Aqua."""

    begins: dt.datetime
    """When it begins (UTC)."""

    production: str
    """When it was made, YYYYDDDHHMMSS; empty where the name leaves it out."""

    @property
    def name(self) -> str:
        """Its name, without the ending."""
        return self.path.name.removesuffix(".hdf")


def swath_file(path: Path, version: str = "061") -> SwathFile | None:
    """Return what a file's name says; None if it is not one of the cloud product, in this version.

    >>> swath_file(Path("MYD06_L2.A2010032.0755.061.2018058125733.hdf")).begins
    datetime.datetime(2010, 2, 1, 7, 55)
    >>> swath_file(Path("MOD11A1.A2010032.h25v05.061.2021154163207.hdf"))
    """
    match = _NAME.fullmatch(path.name)
    if match is None or match["version"] != version:
        return None
    try:
        begins = dt.datetime.strptime(match["day"] + match["time"], "%Y%j%H%M")
    except ValueError:
        return None
    if f"{begins:%Y%j}" != match["day"]:  # day 366 of a common year
        return None
    return SwathFile(path, match["product"], begins, match["made"] or "")


def find_swaths(folder: Path, year: int) -> list[SwathFile]:
    """Return the granules of the cloud product in a folder and below, by time; of each the one that was made last.

    A `CatalogError` is raised for a folder that is not there or may not be read.
    """
    newest: dict[tuple[str, dt.datetime], SwathFile] = {}
    for path in sorted(files_below(folder)):
        file = swath_file(path)
        if file is not None and file.begins.year == year:
            known = newest.get((file.product, file.begins))
            if known is None or known.production < file.production:
                newest[file.product, file.begins] = file
    return sorted(newest.values(), key=lambda file: (file.begins, file.product))


def passes_by_day(file: SwathFile, west: float, east: float) -> bool:
    """Say whether it is day anywhere between two meridians [°E] when a granule is taken: its name tells.

    >>> terra = swath_file(Path("MOD06_L2.A2010032.0440.061.hdf"))
    >>> passes_by_day(terra, 73.0, 105.0), passes_by_day(terra, -120.0, -100.0)
    (True, False)
    """
    first, last = (_local_hour(file, longitude) for longitude in (west, east))
    days = range(int(first // 24) - 1, int(last // 24) + 1)
    return any(first < 24 * day + EVENING and last >= 24 * day + MORNING for day in days)


def _local_hour(file: SwathFile, longitude: Any) -> Any:
    middle = file.begins + GRANULE_TIME / 2
    return middle.hour + middle.minute / 60 + middle.second / 3600 + longitude / 15


@dataclass(frozen=True)
class Cells:
    """Cells that the radiometer saw by day."""

    positions: Array
    """(cell, 3): points on the unit sphere."""

    reach: Array
    """How far from its centre a cell reaches [m]."""

    view_zenith: Heights
    """[°]."""

    height: Heights
    """Of the cloud's top above sea level [m]; NaN where clear."""

    @classmethod
    def joined(cls, parts: Iterable[Cells]) -> Cells:
        """Return the cells of several granules as one."""
        arrays = zip(*((part.positions, part.reach, part.view_zenith, part.height) for part in parts), strict=True)
        return cls(*(np.concatenate(array) for array in arrays))


def read_cells(file: SwathFile, bounds: Bounds) -> Cells | None:
    """Read the cells that a granule saw by day within bounds [°] (west, south, east, north); None if there are none.

    A damaged file, or one that is not what its name says, raises `GranuleError`.
    """
    collection = load_collection(file.product.lower())
    expected = ExpectedSwath(
        collection.product,
        collection.version,
        f"{file.begins:%Y-%m-%d}",
        f"{file.begins:%H:%M}",
        SWATH,
        MOST_ROWS,
        MOST_COLUMNS,
    )
    stored = of_this_process().read_swath(
        file.path, expected, [Layer(band.sds, band.dtype) for band in collection.bands]
    )
    layers = {band.name: decode(array, band) for band, array in zip(collection.bands, stored, strict=True)}
    longitude, latitude = layers["longitude"].astype(np.float64), layers["latitude"].astype(np.float64)
    positions = on_sphere(longitude, latitude)
    hour = _local_hour(file, longitude) % 24
    west, south, east, north = bounds
    with np.errstate(invalid="ignore"):
        chosen = (hour >= MORNING) & (hour < EVENING)
        chosen &= (latitude >= south) & (latitude <= north) & (longitude >= west) & (longitude <= east)
    if not chosen.any():
        return None
    view = np.nan_to_num(layers["sensor_zenith"], nan=90.0)
    return Cells(positions[chosen], _reach(positions)[chosen], view[chosen], layers["cloud_top_height"][chosen])


def on_sphere(longitude: Array, latitude: Array) -> Array:
    """Return points on the unit sphere, (..., 3)."""
    lam, phi = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _reach(positions: Array) -> Array:
    """Return how far cells (row, column) reach [m]: a tenth more than half their diagonal, or `NEAR_KM`."""
    sides = []
    for axis in (0, 1):
        step = np.linalg.norm(np.diff(positions, axis=axis), axis=-1)
        step = np.where(np.isfinite(step), step, 0.0)
        pad = [(0, 0), (0, 0)]
        before, after = pad.copy(), pad.copy()
        before[axis], after[axis] = (1, 0), (0, 1)
        sides.append(np.maximum(np.pad(step, before), np.pad(step, after)))
    diagonal: Array = SPHERE_RADIUS * np.hypot(*sides)
    return np.maximum(0.55 * diagonal, 1000.0 * NEAR_KM)


def nearest_tops(granules: Sequence[tuple[dt.datetime, Cells]], points: Array) -> Heights:
    """Return the heights of cloud tops at points on the unit sphere, (point,) [m]; NaN where clear or not seen.

    Granules that follow each other are one pass, of which the nearest cell counts; where passes overlap, the one that
    looks down the steepest, which is the one whose temperature is kept.
    """
    height = np.full(len(points), np.nan, np.float32)
    steepest = np.full(len(points), np.inf)
    for cells in _passes(granules):
        tree = KDTree(cells.positions)
        apart, nearest = tree.query(points, distance_upper_bound=cells.reach.max() / SPHERE_RADIUS)
        found = np.flatnonzero(np.isfinite(apart))
        found = found[SPHERE_RADIUS * apart[found] <= cells.reach[nearest[found]]]
        found = found[cells.view_zenith[nearest[found]] < steepest[found]]
        height[found], steepest[found] = cells.height[nearest[found]], cells.view_zenith[nearest[found]]
    return height


def _passes(granules: Sequence[tuple[dt.datetime, Cells]]) -> Iterator[Cells]:
    waiting: list[Cells] = []
    last = dt.datetime.min
    for begins, cells in sorted(granules, key=lambda granule: granule[0]):
        if waiting and begins - last > REST:
            yield Cells.joined(waiting)
            waiting = []
        waiting.append(cells)
        last = begins
    if waiting:
        yield Cells.joined(waiting)


# ---- fields -------------------------------------------------------------------------------------------------------

FIELD = "cloud_top_height"
"""The variable that a field must have."""

_AXES = (("y", "x"), ("lat", "lon"), ("latitude", "longitude"))
_METRES = dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0)
_METRES |= dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), 1000.0)


@dataclass(frozen=True)
class Field:
    """A gridded field, opened and checked, not read."""

    heights: xr.DataArray
    """(time, [overpass,] y, x), whatever the last two are called."""

    metres: float
    """A number of the file in metres."""

    crs: CRS
    """Of its grid."""

    days: dict[dt.date, int]
    """Place of each UTC day on its time axis."""

    overpasses: dict[int, int] | None
    """Place of each overpass; None if it does not tell them apart."""

    def columns_and_rows(self, x: Array, y: Array, crs: CRS) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the column and row of the cell that holds each point; -1 where no cell does."""
        if crs != self.crs:
            x, y = crs.transformer_to_crs(self.crs)(x, y)
        down, across = (self.heights.indexes[dim] for dim in self.heights.dims[-2:])
        if self.crs.geographic and across.max() > 180:
            x = np.mod(x, 360.0)
        return _nearest(across, x), _nearest(down, y)

    def read(self, day: dt.date, overpass: int, window: tuple[slice, slice]) -> Heights | None:
        """Return the heights of a day in a window of rows and columns [m]; None if the field does not have it."""
        if day not in self.days or (self.overpasses is not None and overpass not in self.overpasses):
            return None
        place: tuple[int, ...] = (self.days[day],)
        place += () if self.overpasses is None else (self.overpasses[overpass],)
        stored = self.heights[(*place, *window)].values
        return np.asarray(stored * self.metres, np.float32)


def _nearest(centres: pd.Index, wanted: Array) -> npt.NDArray[np.intp]:
    half = abs(float(centres[1] - centres[0])) / 2
    found = centres.get_indexer(pd.Index(wanted.ravel()), method="nearest", tolerance=half * (1 + 1e-9))
    return found.reshape(wanted.shape)


@contextmanager
def opened_field(path: Path) -> Iterator[Field]:
    """Open a Zarr or NetCDF cube of `cloud_top_height`.

    Raises
    ------
    UserError
        It cannot be opened, or it does not say what its numbers are, of which day, or where.
    """
    where = f"{path} ({KEY})"
    try:
        cube = (
            xr.open_zarr(path, chunks=None, consolidated=False, decode_coords="all")
            if path.is_dir()
            else xr.open_dataset(path, decode_coords="all")
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(
            "the field of cloud tops cannot be opened",
            where=where,
            found=error if path.exists() else "no such file",
            wanted="a Zarr store (a folder) or a NetCDF file; NetCDF-4 needs the package h5netcdf or netCDF4",
            remedy="correct the path in the recipe; install h5netcdf; or write the field as Zarr, "
            "for instance with xarray's Dataset.to_zarr",
        ) from error
    with cube:
        yield _checked_field(cube, where)


def _checked_field(cube: xr.Dataset, where: str) -> Field:
    if FIELD not in cube.data_vars:
        raise _unfit("has no variable of its name", where, ", ".join(map(str, cube.data_vars)) or "no variables", FIELD)
    heights = cube[FIELD]
    units = str(heights.attrs.get("units", ""))
    if units not in _METRES:
        raise _unfit("does not give heights in metres", where, f"units '{units}'", "the attribute units: m, or km")
    axes = next((pair for pair in _AXES if set(pair) <= {*heights.dims}), None)
    known = {"time", "overpass", *(axes or ())}
    if axes is None or "time" not in heights.dims or not set(heights.dims) <= known:
        raise _unfit(
            "has other dimensions",
            where,
            ", ".join(map(str, heights.dims)),
            "time, overpass (or not), and y and x, lat and lon, or latitude and longitude; in any order",
        )
    for axis in axes:
        _check_axis(heights, axis, where)
    crs = heights.odc.crs or (CRS("EPSG:4326") if axes != ("y", "x") else None)
    if crs is None:
        raise _unfit("does not say where it is", where, "no coordinate reference system", "a CF grid_mapping")
    overpasses = _overpasses(heights, where) if "overpass" in heights.dims else None
    leading = ("time",) if overpasses is None else ("time", "overpass")
    return Field(heights.transpose(*leading, *axes), _METRES[units], crs, _days(heights, where), overpasses)


def _check_axis(heights: xr.DataArray, axis: str, where: str) -> None:
    values = np.asarray(heights[axis].values) if axis in heights.coords else np.empty(0)
    if values.dtype.kind not in "iuf" or values.ndim != 1 or len(values) < 2:
        raise _unfit(f"does not say where its cells are along {axis}", where, values.shape, "a coordinate of each")
    steps = np.diff(values.astype(np.float64))
    if not steps[0] or not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0.0):
        raise _unfit(
            f"is not on a regular grid along {axis}",
            where,
            f"steps from {steps.min():g} to {steps.max():g}",
            "equal steps, up or down",
        )


def _days(heights: xr.DataArray, where: str) -> dict[dt.date, int]:
    times = heights["time"].values
    if times.dtype.kind != "M" or np.isnat(times).any():
        raise _unfit("does not say when", where, f"times of type {times.dtype}", "a time coordinate with CF units")
    dates = [day.astype(dt.date) for day in times.astype("datetime64[D]")]
    days = {day: place for place, day in enumerate(dates)}
    if len(days) < len(dates):
        twice = next(day for place, day in enumerate(dates) if days[day] != place)
        raise _unfit("has a day twice", where, f"{dates.count(twice)} times on {twice}", "one a UTC day")
    return days


def _overpasses(heights: xr.DataArray, where: str) -> dict[int, int]:
    values = heights["overpass"].values.tolist() if "overpass" in heights.coords else []
    places = {
        OVERPASSES.index(value) if isinstance(value, str) and value in OVERPASSES else value: place
        for place, value in enumerate(values)
    }
    if not values or len(places) < len(values) or not set(places) <= set(range(len(OVERPASSES))):
        wanted = ", ".join(f"{number} or {name}" for number, name in enumerate(OVERPASSES))
        raise _unfit("does not say which overpasses it has", where, values or "no coordinate", f"some of {wanted}")
    return places


def _unfit(what: str, where: str, found: object, wanted: str) -> UserError:
    return UserError(
        f"the field of cloud tops {what}", where=where, found=found, wanted=wanted, remedy="correct the file"
    )
