"""Maps of others as files: what their numbers mean, windows of them, and their ground on the map's pixels.

One rule for all of them. Classes of cells become classes of ground first, and a pixel takes the one that covers most of
it. A temperature or a share is averaged over the pixel first (interpolated where cells are larger than pixels), and
compared with its threshold after. A pixel needs values for half of its area.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from frostmap.catalogs.reference_maps import RULES, Ground, Holds, Rule, load_reference_map
from frostmap.kernels.frost_number import GLACIER, LAKE, NO_CLASS, NON_FROZEN, PERMAFROST, SEASONALLY_FROZEN
from frostmap.kernels.resampling import OUTSIDE, area_means, area_modes, interpolated
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.gridded_files import NO_VALUE, OUT_OF_RANGE, Grid
from frostmap.pipeline.gridded_maps import corners, kernel_for, window_of
from frostmap.pipeline.recipe import Recipe, ReferenceMap

CODES: Mapping[Ground, int] = {
    "permafrost": PERMAFROST,
    "seasonally_frozen": SEASONALLY_FROZEN,
    "no_permafrost": SEASONALLY_FROZEN,
    "non_frozen": NON_FROZEN,
    "glacier": GLACIER,
    "lake": LAKE,
}
"""Codes of the cube; ground that is not permafrost is seasonally frozen where a map does not tell."""

BLOCK = 100
"""Pixels along a side of what is read and brought to the map at once: memory does not depend on a tile's size."""

ZERO_C_IN_K = 273.15
_KELVIN, _CELSIUS = ("k", "kelvin", "degk"), ("degc", "°c", "c", "celsius", "degrees celsius", "degree_celsius")
_PER_CENT, _ONE = ("%", "percent", "per cent"), ("1", "fraction", "fraction, 0-1")


@dataclass(frozen=True)
class MapFile:
    """A map as a file."""

    name: str
    path: Path
    source: str
    """What GDAL opens: the path, or a variable in it."""
    band: int
    grid: Grid
    holds: Holds
    codes: tuple[tuple[int, int], ...]
    """Of classes: numbers, and the codes of the cube that they mean."""
    missing: tuple[float, ...]
    """Stored numbers that mean none."""
    scale: float
    offset: float
    """Physical = stored * scale + offset; of temperatures °C, of shares one."""
    valid: tuple[float, float]
    """Lowest and highest of what is physical."""
    threshold: float
    rule: Rule
    key: str
    """What the recipe calls it, for messages."""

    def window(self, rows: slice, columns: slice) -> Cells:
        """Return a window of cells: codes of ground, or physical numbers."""
        try:
            with rasterio.open(self.source) as raster:
                if (raster.height, raster.width) != (self.grid.height, self.grid.width):
                    raise _changed(self, f"{raster.height} x {raster.width} cells")
                stored = raster.read(self.band, window=Window.from_slices(rows, columns))
        except RasterioError as error:
            raise _changed(self, error) from error
        none = ~np.isfinite(stored) if stored.dtype.kind == "f" else np.zeros(stored.shape, bool)
        for number in self.missing:
            none |= stored == number
        values = np.full(stored.shape, np.nan, np.float32)
        unknown: Counter[float] = Counter()
        if self.holds == "classes":
            for number, code in self.codes:
                values[(stored == number) & ~none] = code
            strange = np.isnan(values) & ~none
            numbers, counts = np.unique(stored[strange], return_counts=True)
            unknown.update({float(number): int(count) for number, count in zip(numbers, counts, strict=True)})
        else:
            physical = stored.astype(np.float64) * self.scale + self.offset
            strange = ~none & ~((physical >= self.valid[0]) & (physical <= self.valid[1]))
            np.copyto(values, physical.astype(np.float32), where=~none & ~strange)
        reasons = np.where(strange, OUT_OF_RANGE, np.where(none, NO_VALUE, 0)).astype(np.uint8)
        return Cells(values, reasons, unknown)


class Cells(NamedTuple):
    """A window of a map's cells."""

    values: npt.NDArray[np.float32]
    """NaN where there is none."""
    reasons: npt.NDArray[np.uint8]
    """Why: `NO_VALUE` or `OUT_OF_RANGE`; 0 where there is one."""
    unknown: Counter[float]
    """Numbers of a map of classes that mean nothing, and how many cells have each."""


class OnPixels(NamedTuple):
    """A map on some pixels."""

    ground: npt.NDArray[np.uint8]
    """Codes of the cube; 255 none."""
    values: npt.NDArray[np.float32]
    """Temperature [°C] or share; NaN of maps of classes."""
    missing: npt.NDArray[np.uint8]
    """Why there is none: 1 beyond the map, 2 none in it, 3 numbers that mean nothing; 0 where there is one."""
    unknown: Counter[float]
    """As of `Cells`."""


def on_pixels(map_file: MapFile, frame: GeoBox, own: tuple[slice, slice], pixel_km: float) -> OnPixels:
    """Return a map on some rows and columns of a frame, block by block."""
    shape = (own[0].stop - own[0].start, own[1].stop - own[1].start)
    values = np.full(shape, np.nan, np.float32)
    missing = np.full(shape, OUTSIDE, np.uint8)
    unknown: Counter[float] = Counter()
    for block in _blocks(own):
        here = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(block, own, strict=True))
        columns, rows = corners(map_file.grid, frame, block)
        window = window_of(map_file.grid, columns, rows)
        if window is None:
            continue
        cells = map_file.window(*window)
        unknown.update(cells.unknown)
        where = (columns - window[1].start, rows - window[0].start)
        if map_file.holds == "classes":
            found = area_modes(cells.values, cells.reasons, *where)
        elif kernel_for(map_file.grid, pixel_km) == "area_means":
            found = area_means(cells.values, cells.reasons, *where)
        else:
            found = interpolated(cells.values, cells.reasons, *where)
        values[here], _, missing[here] = found
    if map_file.holds == "classes":
        ground = np.where(np.isnan(values), NO_CLASS, values).astype(np.uint8)
        return OnPixels(ground, np.full(shape, np.nan, np.float32), missing, unknown)
    return OnPixels(by_threshold(values, map_file.threshold, map_file.rule), values, missing, unknown)


def _blocks(own: tuple[slice, slice]) -> Iterator[tuple[slice, slice]]:
    for top in range(own[0].start, own[0].stop, BLOCK):
        for left in range(own[1].start, own[1].stop, BLOCK):
            yield slice(top, min(top + BLOCK, own[0].stop)), slice(left, min(left + BLOCK, own[1].stop))


def by_threshold(values: npt.NDArray[np.float32], threshold: float, rule: Rule) -> npt.NDArray[np.uint8]:
    """Return 1 (permafrost) where numbers keep to a rule, 2 elsewhere, 255 where they are NaN.

    >>> by_threshold(np.float32([-1.5, 0.0, 2.0, np.nan]), 0.0, "below").tolist()
    [1, 2, 2, 255]
    >>> by_threshold(np.float32([0.2, 0.5, 1.0]), 0.5, "at_least").tolist()
    [2, 1, 1]
    """
    limit = np.float32(threshold)
    keeps = {
        "below": values < limit,
        "at_most": values <= limit,
        "at_least": values >= limit,
        "above": values > limit,
    }[rule]
    ground = np.where(keeps, PERMAFROST, SEASONALLY_FROZEN)
    return np.where(np.isnan(values), NO_CLASS, ground).astype(np.uint8)


# ---- what a file is -----------------------------------------------------------------------------------------------


def open_map(recipe: Recipe, given: ReferenceMap) -> MapFile:
    """Return a map that the recipe names, after a look at what the file says of itself.

    Raises
    ------
    UserError
        It cannot be opened, does not say where it is or what its numbers are, or contradicts the recipe.
    """
    key = f"validation.reference_maps, {given.name}"
    path = recipe.path(given.path)
    known = load_reference_map(given.product) if given.product else None
    holds = given.holds or (known.holds if known else None)
    if holds is None:  # the recipe's own check says so before
        raise UserError("a reference map without a kind", where=f"{path} (recipe: {key})", found=given.name)
    same = known is not None and known.holds == holds
    variable = given.variable or (known.variable if known and same and _is_netcdf(path) else "")
    source = f'netcdf:"{path}":{variable}' if variable else str(path)
    with _opened(source, path, key) as raster:
        if given.band > raster.count:
            raise UserError(
                "a raster lacks a band",
                where=f"{path} (recipe: {key})",
                found=f"{raster.count} bands",
                wanted=f"band {given.band}",
                remedy="correct `band` there; of NetCDF, name the `variable`: " + (", ".join(_names(raster)) or "none"),
            )
        band = given.band - 1
        grid = _grid(raster, given.crs or (known.crs if known else ""), path, key)
        nodata = raster.nodatavals[band]
        own = [] if nodata is None or math.isnan(nodata) else [_as_stored(nodata, raster.dtypes[band])]
        missing = tuple(dict.fromkeys([*own, *given.missing, *(known.missing if known and same else ())]))
        scale, offset = float(raster.scales[band]), float(raster.offsets[band])
        said = str(raster.units[band] or "").strip()
    if holds == "classes":
        codes = {**(known.codes if known and same else {}), **given.codes}
        if not codes:
            raise UserError(
                "what the numbers of a map of classes mean is not said",
                where=f"{path} (recipe: {key})",
                found=f"no codes, and none are published with {given.product}",
                wanted="which number is permafrost, and which is not",
                remedy="look at the file (`gdalinfo -hist`) and say it: codes: {1: permafrost, 2: no_permafrost}",
            )
        missing += tuple(float(number) for number, meaning in codes.items() if meaning == "missing")
        meant = tuple((number, CODES[meaning]) for number, meaning in sorted(codes.items()) if meaning != "missing")
        return MapFile(given.name, path, source, given.band, grid, holds, meant, missing, 1.0, 0.0,
                       (-math.inf, math.inf), math.nan, "below", key)  # fmt: skip
    units = given.units or _units_said(said, holds) or (known.units if known and same else None)
    if units is None:
        raise UserError(
            "the units of a map are not known",
            where=f"{path} (recipe: {key})",
            found=f"the file says '{said}'" if said else "the file says nothing",
            wanted="degC or K" if holds == "temperature" else "1 or %",
            remedy=f"say it: units: {'degC' if holds == 'temperature' else '1'}",
        )
    if units == "K":
        offset -= ZERO_C_IN_K
    elif units == "%":
        scale, offset = scale / 100.0, offset / 100.0
    usual = RULES[holds]
    threshold, rule = (known.threshold, known.rule) if known and same else usual
    threshold = given.threshold if given.threshold is not None else threshold
    valid = known.valid_range if known and same else (-100.0, 100.0) if holds == "temperature" else (0.0, 1.0)
    return MapFile(given.name, path, source, given.band, grid, holds, (), missing, scale, offset,
                   (valid[0] - 1e-6, valid[1] + 1e-6), usual[0] if threshold is None else threshold,
                   given.rule or rule or usual[1], key)  # fmt: skip


def _is_netcdf(path: Path) -> bool:
    return path.suffix.lower() in (".nc", ".nc4", ".cdf", ".netcdf")


def _as_stored(nodata: float, dtype: str) -> float:
    """Return a nodata number as cells have it: in 32 bits, -3.4e38 is another.

    >>> _as_stored(255.0, "uint8"), round(_as_stored(0.1, "float32"), 10)
    (255.0, 0.1000000015)
    """
    return float(np.float32(nodata)) if dtype == "float32" else float(nodata)


def _opened(source: str, path: Path, key: str) -> rasterio.DatasetReader:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `_grid` tells it, with what to do
            return rasterio.open(source)
    except RasterioError as error:
        raise UserError(
            "a map cannot be opened",
            where=f"{path} (recipe: {key})",
            found="no such file" if not path.exists() else str(error),
            wanted="a raster that GDAL reads, such as GeoTIFF or NetCDF",
            remedy="correct the path in the recipe, or its `data` folder; of NetCDF also the `variable`",
        ) from error


def _names(raster: rasterio.DatasetReader) -> list[str]:
    """Return the variables of a NetCDF file that has several."""
    return [name.rpartition(":")[2] for name in raster.subdatasets]


def _grid(raster: rasterio.DatasetReader, told: str, path: Path, key: str) -> Grid:
    crs = raster.crs
    if crs is None and told:
        try:
            crs = rasterio.CRS.from_user_input(told)
        except CRSError as error:
            raise UserError(
                "a coordinate system is not one",
                where=f"{path} (recipe: {key})",
                found=told,
                wanted="such as EPSG:4326",
                remedy="correct `crs` there",
            ) from error
    if crs is None or raster.transform.is_identity:
        raise UserError(
            "a map does not say where it is",
            where=f"{path} (recipe: {key})",
            found="no coordinate reference system" if crs is None else "no position of its cells",
            wanted="a georeferenced raster",
            remedy="say its system (crs: EPSG:4326), or georeference it, for instance with gdal_translate -a_ullr",
        )
    return Grid(raster.transform, raster.height, raster.width, crs.to_wkt(), bool(crs.is_geographic))


def _units_said(said: str, holds: Holds) -> Any:
    """Return the units that a file gives, None where it gives none that are understood.

    >>> _units_said("Kelvin", "temperature"), _units_said("percent", "share"), _units_said("mm", "temperature")
    ('K', '%', None)
    """
    word = said.lower()
    meant: dict[str, tuple[str, ...]] = {"%": _PER_CENT, "1": _ONE}
    if holds == "temperature":
        meant = {"K": _KELVIN, "degC": _CELSIUS}
    return next((units for units, spellings in meant.items() if word in spellings), None)


def _changed(map_file: MapFile, found: object) -> DataIncomplete:
    return DataIncomplete(
        "a map cannot be read",
        where=f"{map_file.path} (recipe: {map_file.key})",
        found=found,
        wanted="the file as it was when the run began",
        remedy="get the file again, and run again: what is made stands",
    )
