"""Cells of the elevation model, a square degree each: which are needed, fetched, checked, and joined to one array."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Compression
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from frostmap.catalogs.collections import Collection, load_collection
from frostmap.catalogs.elevation import Corner, ElevationTile
from frostmap.catalogs.grids import Bounds
from frostmap.pipeline.downloads import DownloadError, Downloads, download
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError
from frostmap.pipeline.granule_files import check_checksums, decode, stored_blocks
from frostmap.pipeline.recipe import Ingest
from frostmap.pipeline.stage import Noted

MARGIN = 8 / 1200
"""How far around a region's pixels elevation is needed, for slopes at its edge [°]: eight cells of 3 arc seconds."""

COLUMNS = ("id", "source", "sha256", "status", "error")
"""Of the table of cells; status is ok, bad (could not be had or read) or missing (in no catalogue)."""

Note = dict[str, str]
"""A row of that table."""

Elevation = npt.NDArray[np.float32]

_ROWS_AT_ONCE = 256
_CORNERS = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1], np.s_[1:, 1:]]


class LocalCell(NamedTuple):
    """A cell whose file is on this machine."""

    name: str
    path: Path
    transform: Affine
    """From columns and rows to degrees."""
    shape: tuple[int, int]


# ---- which are needed ---------------------------------------------------------------------------------------------


def square_degrees(geobox: GeoBox, inside: npt.NDArray[np.bool_], margin: float = MARGIN) -> set[Corner]:
    """Return the square degrees that some pixels of a grid touch, with a margin around each [°]."""
    transformer = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    spans: set[tuple[int, ...]] = set()
    for top in range(0, geobox.shape.y, _ROWS_AT_ONCE):
        rows = inside[top : top + _ROWS_AT_ONCE]
        if not rows.any():
            continue
        y, x = np.mgrid[top : top + rows.shape[0] + 1, 0 : rows.shape[1] + 1]
        edges = []
        for degrees in transformer.transform(a * x + b * y + c, d * x + e * y + f):
            corners = np.stack([degrees[at][rows] for at in _CORNERS])
            finite = np.where(np.isfinite(corners), corners, np.nan)  # off the globe, where a pixel begins on it
            edges += [np.fmin.reduce(finite) - margin, np.fmax.reduce(finite) + margin]
        whole = np.floor(np.stack(edges)[:, np.isfinite(edges).all(axis=0)]).astype(int)
        spans |= {tuple(span) for span in np.unique(whole, axis=1).T.tolist()}
    return set(itertools.chain.from_iterable(map(_degrees_in, spans)))


def _degrees_in(span: tuple[int, ...]) -> Iterator[Corner]:
    west, east, south, north = span
    return itertools.product(range(max(south, -90), min(north, 89) + 1), range(max(west, -180), min(east, 179) + 1))


# ---- fetching and checking ----------------------------------------------------------------------------------------


def fetched_cells(cells: Sequence[ElevationTile], downloads: Downloads) -> tuple[list[LocalCell], list[Note]]:
    """Return the cells that could be had, and a row of the table for each; fetches those of other machines."""
    with ThreadPoolExecutor(downloads.connections, "elevation") as threads:
        outcomes = list(threads.map(partial(_fetched, downloads=downloads), cells))
    return [cell for cell, _ in outcomes if cell is not None], [note for _, note in outcomes]


def _fetched(cell: ElevationTile, downloads: Downloads) -> tuple[LocalCell | None, Note]:
    note = {"id": cell.name, "source": cell.source, "sha256": "", "status": "", "error": ""}
    try:
        if "://" in cell.href:
            path = cache_path(downloads.folder, cell)
            digest = download(cell.href, path, downloads, lambda part: _check(part, cell)).sha256
        else:
            path = Path(cell.href)
            _check(path, cell)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        local = _opened_cell(path, cell)
    except GranuleError as error:
        return None, note | {"status": "bad", "error": _told(error)}
    return local, note | {"status": "ok", "sha256": digest}


def cache_path(folder: Path, cell: ElevationTile) -> Path:
    """Return where a cell's file lies in the cache of downloads.

    Examples
    --------
    >>> from frostmap.catalogs.elevation import tile_corners, tile_name
    >>> cell = ElevationTile(tile_name((33, 90)), "", (90.0, 33.0, 91.0, 34.0))
    >>> cache_path(Path("cache"), cell).as_posix()
    'cache/COP-DEM_GLO-90.2021/Copernicus_DSM_COG_30_N33_00_E090_00_DEM.tif'
    """
    model = _model()
    return folder / f"{model.product}.{model.version}" / f"{cell.name}.tif"


def _model() -> Collection:
    return load_collection("cop-dem-glo-90")


def _told(error: GranuleError) -> str:
    """Return an error on one line; what is said of granules elsewhere is a cell's here."""
    what = "cannot be downloaded" if isinstance(error, DownloadError) else error.what
    return " ".join(" ".join([what, *(f"{part}: {text}" for part, text in error.details().items())]).split())


def _check(path: Path, cell: ElevationTile) -> None:
    """Check to the last byte that a file is the cell that its name says."""
    with _opened(path) as file:
        _grid(file, path, cell)
        file.read(1)
        if file.compression == Compression.deflate:
            check_checksums(path, stored_blocks(file, str(path)))


def _opened_cell(path: Path, cell: ElevationTile) -> LocalCell:
    with _opened(path) as file:
        return LocalCell(cell.name, path, _grid(file, path, cell), file.shape)


@contextmanager
def _opened(path: Path) -> Iterator[rasterio.DatasetReader]:
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(path, driver="GTiff") as file:
            yield file
    except (RasterioError, NotGeoreferencedWarning) as error:
        raise GranuleError(
            "an elevation cell that cannot be read", where=path, found=error, remedy=DOWNLOAD_AGAIN
        ) from error


def _grid(file: rasterio.DatasetReader, path: Path, cell: ElevationTile) -> Affine:
    """Return a cell's place, after checking that it is on degrees, covers its own one and is coded as defined."""
    (band,) = _model().bands
    if file.crs is None or file.crs.to_epsg() != 4326:
        raise GranuleError(
            "an elevation cell that is not on degrees", where=path, found=file.crs or "no CRS", wanted="EPSG:4326"
        )
    if file.count != 1 or file.dtypes[0] != band.dtype:
        raise GranuleError(
            "an elevation cell that is not stored as the product's definition says",
            where=path,
            found=f"{file.count} bands of {file.dtypes[0]}",
            wanted=f"1 band of {band.dtype}",
        )
    transform: Affine = file.transform
    edges = (transform.c, transform.f + transform.e * file.height, transform.c + transform.a * file.width, transform.f)
    # cells are centred on whole degrees, so they begin half a spacing beside them
    off = max(abs(edge - named) for edge, named in zip(edges, cell.bounds, strict=True))
    if transform.b or transform.d or transform.e >= 0 or off > max(transform.a, -transform.e):
        raise GranuleError(
            "an elevation cell that does not lie where its name says",
            where=path,
            found=", ".join(f"{edge:.5f}" for edge in edges),
            wanted=", ".join(f"{edge:g}" for edge in cell.bounds) + " (west, south, east, north)",
        )
    return transform


# ---- one array ----------------------------------------------------------------------------------------------------


def joined_cells(cells: Sequence[LocalCell], box: Bounds) -> tuple[Elevation, Affine]:
    """Return what cells hold of a box, on their common grid, and its place. NaN where there is no cell.

    Parameters
    ----------
    cells
        At least one.
    box
        West, south, east, north [°]. What lies outside of all cells is left out.

    Raises
    ------
    UserError
        The cells have no common grid: those of GLO-90 are spaced wider from 50 degrees towards the poles.
    """
    first = cells[0]
    across, down, west, north = first.transform.a, -first.transform.e, first.transform.c, first.transform.f
    places = []
    for cell in cells:
        column, row = (cell.transform.c - west) / across, (north - cell.transform.f) / down
        same = math.isclose(cell.transform.a, across, rel_tol=1e-6) and math.isclose(
            -cell.transform.e, down, rel_tol=1e-6
        )
        if not same or abs(column - round(column)) > 0.01 or abs(row - round(row)) > 0.01:
            raise UserError(
                "the cells of the elevation model are not on one grid",
                where=f"{first.name} and {cell.name} (recipe: sources.elevation)",
                found=f"spacings {_spacing(first)} and {_spacing(cell)}" if not same else "grids that are shifted",
                wanted="one spacing; GLO-90 has that between 50° S and 50° N",
                remedy="correct the region; or bring the cells to one raster, for instance with gdalwarp, and name it",
            )
        places.append((round(row), round(column)))
    top = max(min(row for row, _ in places), math.floor((north - box[3]) / down))
    left = max(min(column for _, column in places), math.floor((box[0] - west) / across))
    bottom = min(max(row + cell.shape[0] for (row, _), cell in zip(places, cells, strict=True)),
                 math.ceil((north - box[1]) / down))  # fmt: skip
    right = min(max(column + cell.shape[1] for (_, column), cell in zip(places, cells, strict=True)),
                math.ceil((box[2] - west) / across))  # fmt: skip
    whole = np.full((max(bottom - top, 0), max(right - left, 0)), np.nan, dtype=np.float32)
    for (row, column), cell in zip(places, cells, strict=True):
        rows = slice(max(row, top), min(row + cell.shape[0], bottom))
        columns = slice(max(column, left), min(column + cell.shape[1], right))
        if rows.start < rows.stop and columns.start < columns.stop:
            window = Window.from_slices(
                (rows.start - row, rows.stop - row), (columns.start - column, columns.stop - column)
            )
            whole[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = _read(cell, window)
    return whole, Affine(across, 0.0, west + left * across, 0.0, -down, north - top * down)


def _read(cell: LocalCell, window: Window) -> Elevation:
    (band,) = _model().bands
    with _opened(cell.path) as file:
        stored = file.read(1, window=window)
        nodata = file.nodata
    values = decode(stored, band)
    return values if nodata is None else np.where(stored == nodata, np.float32(np.nan), values)


def _spacing(cell: LocalCell) -> str:
    return f"{3600 * cell.transform.a:.4g} x {-3600 * cell.transform.e:.4g} arc seconds"


# ---- accounting ---------------------------------------------------------------------------------------------------


def missing_note(name: str) -> Note:
    """Return the row of a cell that no source has."""
    return {"id": name, "source": "", "sha256": "", "status": "missing", "error": "in no catalogue; sea has no cells"}


def accounting(notes: Sequence[Iterable[Note] | None], *, missing: Sequence[str], settings: Ingest) -> Noted:
    """Return the table of cells, and the complaint if bad or missing ones are not accepted."""
    rows = [row for each in notes for row in each or ()] + [missing_note(name) for name in missing]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("id", ignore_index=True)
    return Noted(tables={"elevation-cells": table}, complaint=_complaint(table, settings))


def _complaint(table: pd.DataFrame, settings: Ingest) -> FrostmapError | None:
    for status, choice in (("bad", settings.bad_granules), ("missing", settings.missing_granules)):
        faulty = table[table["status"] == status]
        if len(faulty) and choice == "refuse":
            return DataIncomplete(
                f"{len(faulty)} of {len(table)} cells of the elevation model are {status}",
                where="tables/elevation-cells.csv lists them",
                found="; ".join(f"{row['id']}: {row['error']}" for row in faulty.to_dict("records")),
                wanted="every cell under the region",
                remedy="run again: what was had is kept, and these are tried once more; "
                f"or set ingest.{status}_granules: accept to leave holes there, which stay unmapped",
            )
    return None
