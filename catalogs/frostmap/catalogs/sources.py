"""Where granules are looked for: public services, catalogues, folders and tables, behind one small protocol."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args
from urllib.parse import urlsplit

from frostmap.catalogs import elevation, granules
from frostmap.catalogs.collections import Collection
from frostmap.catalogs.elevation import ElevationTile
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_folders import search_folder
from frostmap.catalogs.granule_names import Granule, wanted
from frostmap.catalogs.grids import Bounds, Tile
from frostmap.catalogs.item_tables import search_table
from frostmap.catalogs.stac_apis import Dialect

Kind: TypeAlias = Literal["stac", "planetary-computer", "earthdata", "folder", "parquet"]

ROOTS = {
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
    "earthdata": "https://cmr.earthdata.nasa.gov/stac/LPCLOUD",
}
"""Addresses of the services that need none in the recipe."""

_DIALECTS = {
    "stac": Dialect(),
    "planetary-computer": Dialect(numbered=True, by_product=True),
    "earthdata": Dialect(by_centre=True, only_web=True),
}


class Source(Protocol):
    """Something that knows granules."""

    @property
    def name(self) -> str:
        """What it is called in tables and messages."""

    def search(
        self, collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date
    ) -> list[Granule]:
        """Find a product's granules of some tiles and days, as `frostmap.catalogs.granules.search` does."""


@dataclass(frozen=True)
class StacSource:
    """A static STAC catalogue, or a STAC API."""

    name: str
    """What it is called."""

    address: str
    """Path or URL of the catalogue, or root of the API."""

    dialect: Dialect = _DIALECTS["stac"]
    """What the service is known to do."""

    allow_hosts: frozenset[str] = frozenset()
    """Private hosts that its links may lead to."""

    def search(
        self, collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date
    ) -> list[Granule]:
        """Find a product's granules of some tiles and days; an empty list if there are none."""
        found = granules.search(
            self.address, collection, tiles, start, end, allow_hosts=self.allow_hosts, dialect=self.dialect
        )
        return _named(found, self.name)


@dataclass(frozen=True)
class FolderSource:
    """A folder of granules, without a catalogue."""

    folder: Path
    """It, and all below it."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def search(
        self, collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date
    ) -> list[Granule]:
        """Find a product's granules of some tiles and days; an empty list if there are none."""
        return _named(search_folder(self.folder, wanted(collection, tiles, start, end)), self.name)


@dataclass(frozen=True)
class TableSource:
    """A table of STAC items: a Parquet file, or a folder of them."""

    path: Path
    """It."""

    @property
    def name(self) -> str:
        """The file's or folder's name."""
        return self.path.name

    def search(
        self, collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date
    ) -> list[Granule]:
        """Find a product's granules of some tiles and days; an empty list if there are none."""
        return _named(search_table(self.path, wanted(collection, tiles, start, end)), self.name)


def open_source(kind: Kind, address: str | Path = "", *, allow_hosts: Iterable[str] = ()) -> Source:
    """Return a source; nothing is read or asked before its first search.

    Parameters
    ----------
    kind
        ``stac`` (static catalogue or API), ``planetary-computer``, ``earthdata`` (NASA's LP DAAC), ``folder`` (granules
        by their names) or ``parquet`` (a table of items).
    address
        Path or URL; the two services need none.
    allow_hosts
        Hosts that links may lead to although they are private, see `frostmap.catalogs.hosts.HostRule`.

    Examples
    --------
    >>> open_source("planetary-computer").name
    'planetary-computer'
    """
    if kind not in get_args(Kind):
        raise CatalogError("no such kind of source", found=repr(kind), wanted="one of " + ", ".join(get_args(Kind)))
    text = str(address) or ROOTS.get(kind, "")
    if not text:
        raise CatalogError(f"a source of kind {kind} needs an address", wanted="a path or a URL")
    if kind == "folder":
        return FolderSource(Path(text).absolute())
    if kind == "parquet":
        return TableSource(Path(text).absolute())
    return StacSource(kind if kind in ROOTS else _name(text), text, _DIALECTS[kind], frozenset(allow_hosts))


def search_elevation(source: Source, bbox: Bounds) -> list[ElevationTile]:
    """Find the tiles of the 90-m elevation model that cover any area of a box.

    Parameters
    ----------
    source
        A STAC catalogue or API that has ``cop-dem-glo-90``; a `CatalogError` for other kinds.
    bbox
        West, south, east, north [°].

    Returns
    -------
    list of ElevationTile
        In order of their names. Square degrees without land have none.
    """
    if not isinstance(source, StacSource):
        raise CatalogError(
            "elevation is looked for in STAC catalogues only",
            where=source.name,
            wanted="a source of kind planetary-computer or stac",
        )
    return elevation.search_tiles(source.address, bbox, source.allow_hosts)


def _name(address: str) -> str:
    """Return what a catalogue is called: its host, or its folder."""
    if "://" in address and not address.startswith("file:"):
        return urlsplit(address).netloc.rpartition("@")[2]
    path = Path(urlsplit(address).path if address.startswith("file:") else address).absolute()
    return path.parent.name if path.suffix == ".json" else path.name


def _named(found: list[Granule], source: str) -> list[Granule]:
    return [replace(granule, source=source) for granule in found]
