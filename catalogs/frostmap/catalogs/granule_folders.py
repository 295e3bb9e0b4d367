"""Granules in a folder: what their file names say, without a catalogue."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import Granule, Wanted, newest, said_by

_GEOTIFF = re.compile(r"(?P<granule>.+?\.\d{3}(?:\.\d{13})?)_(?P<asset>[A-Za-z0-9_]+)\.tif")


def search_folder(folder: Path, wanted: Wanted) -> list[Granule]:
    """Find the granules of some tiles and days in a folder and all below it.

    A granule's files, ``<granule>.hdf`` and ``<granule>_<asset key>.tif``, may lie in several folders; of two files of
    the same name the one whose path sorts first counts. Folders that are linked twice or in a circle are read once.
    A `CatalogError` is raised for a folder that is not there or may not be read.
    """
    keys = {band.asset for band in wanted.collection.bands}
    hdf: dict[str, Path] = {}
    bands: dict[str, dict[str, Path]] = {}
    for path in sorted(files_below(folder)):
        match = _GEOTIFF.fullmatch(path.name)
        stem = match["granule"] if match else path.name.removesuffix(".hdf") if path.suffix == ".hdf" else ""
        name = said_by(stem)
        if name is None or not wanted.names(name):
            continue
        if match is None:
            hdf.setdefault(stem, path)
        elif match["asset"] in keys:
            bands.setdefault(stem, {}).setdefault(match["asset"], path)
    return newest(_granule(stem, hdf.get(stem), bands.get(stem, {})) for stem in sorted(hdf.keys() | bands.keys()))


def _granule(stem: str, hdf: Path | None, bands: dict[str, Path]) -> Granule:
    name = said_by(stem)
    assert name is not None  # noqa: S101 - it was read from a file's name above
    sizes = {str(path): path.stat().st_size for path in ([hdf] if hdf else []) + list(bands.values())}
    hrefs = {asset: str(path) for asset, path in bands.items()}
    return Granule(stem, *name, str(hdf) if hdf else None, hrefs, sizes)


def files_below(folder: Path, suffixes: tuple[str, ...] = (".hdf", ".tif")) -> Iterator[Path]:
    """Yield the files of some kinds below a folder; unfinished downloads end in ``.part`` and are none.

    A `CatalogError` is raised for a folder that is not there or may not be read.
    """
    if not folder.is_dir():
        raise CatalogError(
            "no folder of granules",
            where=folder,
            found="a file" if folder.exists() else "nothing there",
            remedy="correct the path in the recipe",
        )
    visited: set[tuple[int, int]] = set()
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        status = Path(where).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(where, name) for name in files if name.endswith(suffixes))


def _unreadable(error: OSError) -> NoReturn:
    raise CatalogError(
        "a folder of granules may not be read",
        where=error.filename,
        found=error.strerror,
        remedy="give its owner's permission to read it, or move it out of the folder",
    ) from error
