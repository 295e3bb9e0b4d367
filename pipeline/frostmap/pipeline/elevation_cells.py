"""Cells of an elevation model: which are needed, fetched, checked, and where their elevations lie."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Compression
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.elevation import Corner, ElevationTile
from frostmap.pipeline.downloads import DownloadError, Downloads, download
from frostmap.pipeline.elevation_mosaic import Place
from frostmap.pipeline.errors import DataIncomplete, FrostmapError
from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError
from frostmap.pipeline.granule_files import check_checksums, stored_blocks
from frostmap.pipeline.recipe import Ingest

MARGIN = 8 / 1200
"""How far around a region's pixels elevation is needed for slopes at its edge [°]: eight cells of 3 arc seconds."""

COLUMNS = ("id", "source", "sha256", "status", "error", "west", "north", "across", "down", "height", "width")
"""Of the table of cells; status is ok, bad (could not be had or read) or missing (in no catalogue). Of those that are
ok, the western and northern edge [°], the size of an elevation's cell [°], and rows and columns."""

Note = dict[str, Any]
"""A row of that table."""

_RAW_SIDES = (3601, 1201)  # of .hgt files, 1 and 3 arc seconds
_ROWS_AT_ONCE = 256
_CORNERS = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1], np.s_[1:, 1:]]


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


def fetched_cells(cells: Sequence[ElevationTile], downloads: Downloads) -> list[Note]:
    """Fetch the cells of other machines, check all, and return a row of the table for each."""
    with ThreadPoolExecutor(downloads.connections, "elevation") as threads:
        return list(threads.map(partial(_fetched, downloads=downloads), cells))


def _fetched(cell: ElevationTile, downloads: Downloads) -> Note:
    note: Note = {"id": cell.name, "source": cell.source, "sha256": "", "status": "", "error": ""}
    path = local_path(cell, downloads.folder)
    try:
        if "://" in cell.href:
            digest = download(cell.href, path, downloads, lambda part: _check(part, cell)).sha256
        else:
            _check(path, cell)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        place = place_of(path, cell)
    except GranuleError as error:
        return note | {"status": "bad", "error": _told(error)}
    return note | {"status": "ok", "sha256": digest} | {name: getattr(place, name) for name in COLUMNS[5:]}


def local_path(cell: ElevationTile, downloads: Path) -> Path:
    """Return where a cell's file is, or will be when it has been fetched.

    Examples
    --------
    >>> from frostmap.catalogs.elevation import tile_corners, tile_name
    >>> cell = ElevationTile(tile_name((33, 90)), "https://a/b.tif", (90.0, 33.0, 91.0, 34.0))
    >>> local_path(cell, Path("cache")).as_posix()
    'cache/COP-DEM_GLO-90.2021/Copernicus_DSM_COG_30_N33_00_E090_00_DEM.tif'
    """
    if "://" not in cell.href:
        return Path(cell.href)
    model = load_collection(cell.model)
    return downloads / f"{model.product}.{model.version}" / f"{cell.name}.tif"


def _told(error: GranuleError) -> str:
    """Return an error on one line; what is said of granules elsewhere is a cell's here."""
    what = "cannot be downloaded" if isinstance(error, DownloadError) else error.what
    return " ".join(" ".join([what, *(f"{part}: {text}" for part, text in error.details().items())]).split())


def _check(path: Path, cell: ElevationTile) -> None:
    """Check to the last byte that a file is the cell that its name says."""
    if path.suffix == ".hgt":
        place_of(path, cell)  # has neither header nor checksum: its size is all that there is to check
        return
    with _opened(path) as file:
        _grid(file, path, cell)
        file.read(1)
        if file.compression == Compression.deflate:
            check_checksums(path, stored_blocks(file, str(path)))


def place_of(path: Path, cell: ElevationTile) -> Place:
    """Return where a cell's elevations lie, after checking that it is what its name says, without reading them."""
    if path.suffix == ".hgt":
        return _place_of_raw(path, cell)
    with _opened(path) as file:
        transform = _grid(file, path, cell)
        return Place(cell.name, path, transform.c, transform.f, transform.a, -transform.e, file.height, file.width)


def _place_of_raw(path: Path, cell: ElevationTile) -> Place:
    """Return the place of a file that is nothing but whole metres, two bytes each, centred on whole degrees."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise GranuleError(
            "an elevation cell that cannot be read", where=path, found=error, remedy=DOWNLOAD_AGAIN
        ) from error
    side = math.isqrt(size // 2)
    if side not in _RAW_SIDES or 2 * side * side != size:
        raise GranuleError(
            "an elevation cell that is not as large as its kind",
            where=path,
            found=f"{size} bytes",
            wanted=" or ".join(f"{2 * each * each} ({each} x {each})" for each in _RAW_SIDES),
            remedy=DOWNLOAD_AGAIN,
        )
    step = 1.0 / (side - 1)
    return Place(cell.name, path, cell.bounds[0] - step / 2, cell.bounds[3] + step / 2, step, step, side, side)


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
    (band,) = load_collection(cell.model).bands
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
    # cells may be centred on whole degrees: then they begin half a spacing beside them, and may share a row
    off = max(abs(edge - named) for edge, named in zip(edges, cell.bounds, strict=True))
    if transform.b or transform.d or transform.e >= 0 or off > 1.01 * max(transform.a, -transform.e):
        raise GranuleError(
            "an elevation cell that does not lie where its name says",
            where=path,
            found=", ".join(f"{edge:.5f}" for edge in edges),
            wanted=", ".join(f"{edge:g}" for edge in cell.bounds) + " (west, south, east, north)",
        )
    return transform


def places_in(table: pd.DataFrame, cells: Iterable[ElevationTile], downloads: Path) -> list[tuple[Place, str]]:
    """Return where the elevations of the cells lie that a table says are there, and the digest of each."""
    known = {str(row["id"]): row for row in table[table["status"] == "ok"].to_dict("records")}
    found = []
    for cell in cells:
        row = known.get(cell.name)
        if row is not None:
            west, north, across, down = (float(row[name]) for name in ("west", "north", "across", "down"))
            path, size = local_path(cell, downloads), (int(row["height"]), int(row["width"]))
            found.append((Place(cell.name, path, west, north, across, down, *size), str(row["sha256"])))
    return found


# ---- accounting ---------------------------------------------------------------------------------------------------


def missing_note(name: str) -> Note:
    """Return the row of a cell that no source has."""
    return {"id": name, "source": "", "sha256": "", "status": "missing", "error": "in no catalogue; sea has no cells"}


def table_of(notes: Iterable[Note], missing: Iterable[str]) -> pd.DataFrame:
    """Return the table of cells."""
    rows = [*notes, *map(missing_note, missing)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("id", ignore_index=True)


def complaint_about(table: pd.DataFrame, settings: Ingest) -> FrostmapError | None:
    """Return why terrain must not be made of the cells: bad or missing ones, where those are not accepted."""
    for status, choice in (("bad", settings.bad_granules), ("missing", settings.missing_granules)):
        faulty = table[table["status"] == status]
        if len(faulty) and choice == "refuse":
            return DataIncomplete(
                f"{len(faulty)} of {len(table)} cells of the elevation model are {status}",
                where="tables/elevation-cells.csv lists them",
                found="; ".join(f"{row['id']}: {row['error']}" for row in faulty.to_dict("records")),
                wanted="every cell under the region and its margin",
                remedy="run again: what was had is kept, and these are tried once more; "
                f"or set ingest.{status}_granules: accept to leave holes there, which stay unmapped",
            )
    return None
