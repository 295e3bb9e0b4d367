"""Layers of a gridded series on the map's pixels: a tile a task, each pixel with the share of it that has values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from frostmap.catalogs.grids import SINUSOIDAL_CRS, to_geographic
from frostmap.kernels.resampling import OUTSIDE, area_means, interpolated
from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import NOTES, Result, called_often
from frostmap.pipeline.errors import FrostmapError, UserError
from frostmap.pipeline.frames import by_frame, frames, within
from frostmap.pipeline.gridded_files import BYTES_AT_ONCE, NO_VALUE, OUT_OF_RANGE, Grid, Layers
from frostmap.pipeline.schema import Variable, coverage_of, missing_of
from frostmap.pipeline.stage import Noted, Products
from frostmap.pipeline.work import Work

Kernel = Literal["area_means", "interpolation"]

COMPARABLE = 1.5
"""Cells up to this many pixels wide are averaged by area; of larger ones, the field between their centres is taken."""

MARGIN = 2
"""Cells around a window: those that interpolation reaches for."""

CELL_BYTES, PIXEL_BYTES = 60, 90
"""Memory that a task takes for a cell of its window, and for a pixel of its frame [bytes]."""

FILE_COLUMNS = ("what", "series", "doi", "file", "bytes", "sha256", "layers", "first", "last", "kernel")
"""Of the table of files that a covariate was made of."""

PIXEL_COLUMNS = (
    "what", "frame", "pixels", "beyond", "no_value", "impossible", "partly", "lowest", "median", "highest",
)  # fmt: skip
"""Of the table of what became of pixels."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Field:
    """A variable to be made of some layers."""

    variable: Variable
    layers: Layers
    possible: tuple[float, float]
    """Lowest and highest number that a pixel may have; beyond it, it is missing."""
    likely: tuple[float, float]
    """Between which the region's median lies, unless units or years were confused."""
    series: str = ""
    """The series; empty for a raster that the recipe names."""
    doi: str = ""


def kernel_for(grid: Grid, pixel_km: float) -> Kernel:
    """Return how a grid is brought to pixels.

    Means by area keep the total of what is in the cells: what fell on the map is what fell on the cells. Of cells much
    larger than pixels they would make steps, so that the field between their centres is taken instead: exact where it
    is linear, and its total right to the second order of a cell's size.
    """
    return "area_means" if grid.cell_km <= COMPARABLE * pixel_km else "interpolation"


class OnPixels(NamedTuple):
    """Layers on some pixels."""

    values: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.float32]
    missing: npt.NDArray[np.uint8]


def on_pixels(layers: Layers, frame: GeoBox, own: tuple[slice, slice], pixel_km: float) -> OnPixels:
    """Return the weighted sum of layers on some rows and columns of a frame.

    Returns
    -------
    values : (y, x) float32
        NaN where less than half of a pixel has values.
    coverage : (y, x) float32
        Share of each pixel that has values.
    missing : (y, x) uint8
        Why there is no value, as in `schema.missing_of`; 0 where there is one.
    """
    columns, rows = corners(layers.grid, frame, own)
    shape = (columns.shape[0] - 1, columns.shape[1] - 1)
    window = window_of(layers.grid, columns, rows)
    if window is None:
        return OnPixels(
            np.full(shape, np.nan, np.float32), np.zeros(shape, np.float32), np.full(shape, OUTSIDE, np.uint8)
        )
    values, reasons = layers.window(*window)
    kernel = area_means if kernel_for(layers.grid, pixel_km) == "area_means" else interpolated
    return OnPixels(*kernel(values, reasons, columns - window[1].start, rows - window[0].start))


def corners(grid: Grid, frame: GeoBox, own: tuple[slice, slice], step: int = 1) -> tuple[Numbers, Numbers]:
    """Return where the corners of pixels lie, in columns and rows of a grid's cells; NaN off the globe."""
    column = np.unique(np.append(np.arange(own[1].start, own[1].stop + 1, step), own[1].stop)).astype(np.float64)
    row = np.unique(np.append(np.arange(own[0].start, own[0].stop + 1, step), own[0].stop)).astype(np.float64)
    a, b, c, d, e, f = tuple(frame.affine)[:6]
    x = a * column[None, :] + b * row[:, None] + c
    y = d * column[None, :] + e * row[:, None] + f
    source, here = CRS(grid.crs), CRS(str(frame.crs))
    if source != here:
        longitude, latitude = x, y
        if frame.crs == SINUSOIDAL_CRS:
            longitude, latitude = to_geographic(x, y)
        elif not here.is_geographic:
            longitude, latitude = Transformer.from_crs(here, "EPSG:4326", always_xy=True).transform(x, y)
        x, y = longitude, latitude
        if not grid.geographic:
            x, y = Transformer.from_crs("EPSG:4326", source, always_xy=True).transform(x, y)
    x, y = (np.where(np.isfinite(each), each, np.nan) for each in (x, y))
    if grid.geographic and np.isfinite(x).any():
        middle = (grid.affine * (grid.width / 2, grid.height / 2))[0]
        x = x + 360.0 * np.round((middle - np.nanmean(x)) / 360.0)
    inverse = ~grid.affine
    return inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f


def window_of(grid: Grid, columns: Numbers, rows: Numbers) -> tuple[slice, slice] | None:
    """Return the rows and columns of cells that some corners span, with a margin; None if there are none."""
    spans = []
    for places, length in ((rows, grid.height), (columns, grid.width)):
        known = places[np.isfinite(places)]
        if not known.size:
            return None
        first = max(0, int(np.floor(known.min())) - MARGIN)
        last = min(length, int(np.ceil(known.max())) + MARGIN)
        if first >= last:
            return None
        spans.append(slice(first, last))
    return spans[0], spans[1]


# ---- a step ---------------------------------------------------------------------------------------------------------


def written(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    """Return all that a step writes of some variables: themselves, their coverage, and why they are missing."""
    return tuple(each for variable in variables for each in (variable, coverage_of(variable), missing_of(variable)))


def products(work: Work, fields: Sequence[Field], name: str) -> Products:
    """Return fields on the map, a tile a task, with the table of their files and that of their pixels.

    Parameters
    ----------
    fields
        What is made.
    name
        What the tables are called after: `NAME.csv` and `sources-NAME.csv`.
    """
    writes = written([field.variable for field in fields])
    call = called_often(fields_of_frame)
    cube, tasks = by_frame(
        work,
        writes,
        lambda frame_name, frame, own, _here, inside: call(
            tuple(fields), frame_name, frame, own, inside, work.pixel_km
        ),
    )
    return Products(
        cube=cube,
        tasks=tasks,
        tables={f"sources-{name}": delayed(table_of_files, pure=False, traverse=False)(tuple(fields), work.pixel_km)},
        noted=lambda notes: account(notes, fields, name),
    )


def fields_of_frame(
    fields: Sequence[Field],
    name: str,
    frame: GeoBox,
    own: tuple[slice, slice],
    inside: npt.NDArray[np.bool_],
    pixel_km: float,
) -> Result:
    """Return fields on some rows and columns of a frame, and notes; outside the region there is nothing."""
    result: Result = {}
    notes = []
    for field in fields:
        values, coverage, missing = on_pixels(field.layers, frame, own, pixel_km)
        lowest, highest = field.possible
        impossible = (values < lowest) | (values > highest)
        values[impossible] = np.nan
        missing[impossible] = OUT_OF_RANGE
        values[~inside], coverage[~inside], missing[~inside] = np.nan, np.nan, 255
        result |= {field.variable.name: values}
        result |= {coverage_of(field.variable).name: coverage, missing_of(field.variable).name: missing}
        known = values[np.isfinite(values)].astype(np.float64)
        note: dict[str, Any] = {"what": field.variable.name, "frame": name, "pixels": int(inside.sum())}
        for why, code in (("beyond", OUTSIDE), ("no_value", NO_VALUE), ("impossible", OUT_OF_RANGE)):
            note[why] = int(np.count_nonzero(missing == code))
        note |= {"partly": int(np.count_nonzero((coverage > 0) & (coverage < 1 - 1e-6) & np.isfinite(values)))}
        shown = ("lowest", "median", "highest")
        note |= dict(zip(shown, np.quantile(known, (0, 0.5, 1)).tolist() if known.size else [None] * 3, strict=True))
        notes.append(note)
    return result | {NOTES: notes}


def account(notes: Sequence[Any], fields: Sequence[Field], name: str) -> Noted:
    """Return the table of what became of pixels, and the complaint where a field has no value or an unlikely median."""
    table = pd.DataFrame([note for several in notes for note in several or ()], columns=list(PIXEL_COLUMNS))
    table = table.sort_values(["what", "frame"], ignore_index=True)
    complaints = [complaint for field in fields if (complaint := _complaint(table, field)) is not None]
    return Noted(tables={name: table}, complaint=complaints[0] if complaints else None)


def _complaint(table: pd.DataFrame, field: Field) -> FrostmapError | None:
    own = table[(table["what"] == field.variable.name) & table["median"].notna()]
    first = field.layers.paths[0]
    if own.empty:
        grid = field.layers.grid
        return UserError(
            "a source has no value anywhere in the region",
            where=f"{first} (recipe: {field.layers.key})",
            found=f"{grid.height} x {grid.width} cells from {grid.affine.c:g}, {grid.affine.f:g}",
            wanted="a source that covers the region",
            remedy="correct region in the recipe, or give a source that covers it",
        )
    known = own["pixels"] - own[["beyond", "no_value", "impossible"]].sum(axis=1)
    median = float(np.average(own["median"], weights=np.maximum(known, 1)))
    low, high = field.likely
    if low <= median <= high:
        return None
    return UserError(
        f"{field.variable.long_name} is not what it should be",
        where=f"{first} (recipe: {field.layers.key})",
        found=f"a median of {median:.4g} {field.variable.units} in the region",
        wanted=f"{low:g} to {high:g} {field.variable.units}",
        remedy="check the units of the files; as they are they were taken for those of "
        + (field.series or f"{field.variable.units}"),
    )


# ---- what it is made of, and what it takes ------------------------------------------------------------------------


def table_of_files(fields: Sequence[Field], pixel_km: float) -> pd.DataFrame:
    """Return the files that fields are made of, each with the digest of its content."""
    rows = []
    for field in fields:
        for path in field.layers.paths:
            own = [layer.label for layer in field.layers.layers if layer.path == path]
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            rows.append((
                field.variable.name, field.series, field.doi, path.name, path.stat().st_size, digest, len(own), own[0],
                own[-1], kernel_for(field.layers.grid, pixel_km),
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(FILE_COLUMNS))


def causes(fields: Sequence[Field]) -> dict[str, str]:
    """Return the digest of what fields are made of: files by size and time of change, and what each layer counts."""
    content = [
        [
            field.variable.name,
            field.series,
            [[*_identity(path)] for path in field.layers.paths],
            [[layer.path.name, layer.at, layer.weight, layer.label] for layer in field.layers.layers],
        ]
        for field in fields
    ]
    return {"files and what they count": ledger.digest(content)}


def _identity(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def memory(work: Work, fields: Sequence[Field]) -> int:
    """Return the most that a task takes [bytes]: a frame, the cells under it, layers read at once."""
    most = 0
    for _, frame, (rows, columns) in frames(work):
        own = within(work, frame, rows, columns)
        pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
        for field in fields:
            grid = field.layers.grid
            window = window_of(grid, *corners(grid, frame, own, 50))
            cells = 0 if window is None else (window[0].stop - window[0].start) * (window[1].stop - window[1].start)
            read = min(BYTES_AT_ONCE, 8 * cells * len(field.layers.layers))
            most = max(most, cells * CELL_BYTES + pixels * PIXEL_BYTES + 2 * read)
    return most


def described(fields: Sequence[Field], step: str) -> list[dict[str, Any]]:
    """Return what a step reads, as plain data: series, files, bytes, layers."""
    return [
        {
            "step": step,
            "what": field.variable.name,
            "series": field.series or field.layers.paths[0].name,
            "files": len(field.layers.paths),
            "bytes": sum(path.stat().st_size for path in field.layers.paths),
            "layers": len(field.layers.layers),
            "first": field.layers.layers[0].label,
            "last": field.layers.layers[-1].label,
            "cell_km": round(field.layers.grid.cell_km, 3),
        }
        for field in fields
    ]
