"""Where granules are looked for: public services, catalogues, folders and tables, behind one small protocol."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection as Several
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args
from urllib.parse import urlsplit

from frostmap.catalogs import elevation, granules
from frostmap.catalogs.collections import Collection
from frostmap.catalogs.elevation import COPERNICUS, MODELS, Corner, ElevationTile, ModelId
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_folders import search_folder
from frostmap.catalogs.granule_names import Granule, wanted
from frostmap.catalogs.grids import Bounds, Tile
from frostmap.catalogs.hosts import without_query
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

    name: str
    """What it is called."""

    folder: Path
    """It, and all below it."""

    def search(
        self, collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date
    ) -> list[Granule]:
        """Find a product's granules of some tiles and days; an empty list if there are none."""
        return _named(search_folder(self.folder, wanted(collection, tiles, start, end)), self.name)


@dataclass(frozen=True)
class TableSource:
    """A table of STAC items: a Parquet file, or a folder of them."""

    name: str
    """What it is called."""

    path: Path
    """It."""

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
    (source,) = open_sources([(kind, address)], allow_hosts=allow_hosts)
    return source


def open_sources(given: Iterable[tuple[Kind, str | Path]], *, allow_hosts: Iterable[str] = ()) -> list[Source]:
    """Return several sources, in their order, with names that tell them apart.

    A source is called after its host or its folder. Where two would be called alike, they are told by their kinds or,
    if these are alike too, by as much of their paths as it takes; the same source has the same name each time.

    Examples
    --------
    >>> [source.name for source in open_sources([("folder", "/a/granules"), ("folder", "/b/granules")])]
    ['a/granules', 'b/granules']
    """
    places = [(kind, _address(kind, str(address))) for kind, address in given]
    names, hosts = _told_apart(places), frozenset(allow_hosts)
    return [_opened(kind, address, names[kind, address], hosts) for kind, address in places]


def search_elevation(source: Source, bbox: Bounds, model: ModelId = COPERNICUS) -> list[ElevationTile]:
    """Find the cells of an elevation model that cover any area of a box.

    Parameters
    ----------
    source
        A STAC catalogue or API that has the model, or a folder of its files under their own names; a `CatalogError`
        for other kinds.
    bbox
        West, south, east, north [°].
    model
        Whose cells.

    Returns
    -------
    list of ElevationTile
        In order of their names. Cells without land are in no source.
    """
    if isinstance(source, StacSource):
        found = elevation.search_tiles(source.address, bbox, source.allow_hosts, model)
    elif isinstance(source, FolderSource):
        found = elevation.search_folder(source.folder, bbox, model)
    else:
        raise CatalogError(
            "elevation is looked for in STAC catalogues and folders only",
            where=source.name,
            wanted="a source of kind planetary-computer, stac or folder",
        )
    return [tile._replace(source=source.name) for tile in found]


def find_elevation(
    sources: Iterable[Source], corners: Several[Corner], model: ModelId = COPERNICUS
) -> list[ElevationTile]:
    """Find some cells of a model: in the first source, and in the others those that all before them lack.

    Parameters
    ----------
    sources
        In order of preference. Each that is asked must answer: a `CatalogError` names the one that does not.
    corners
        South and west edges of the cells [°].
    model
        Whose cells.

    Returns
    -------
    list of ElevationTile
        In order of their names; each says which source it is from.
    """
    found: dict[Corner, ElevationTile] = {}
    side = MODELS[model].side
    for source in sources:
        left = set(corners) - found.keys()
        if not left:
            break
        souths, wests = zip(*left, strict=True)
        try:
            tiles = search_elevation(source, (min(wests), min(souths), max(wests) + side, max(souths) + side), model)
        except CatalogError as error:
            raise CatalogError(
                f"the source {source.name} cannot be searched for elevation: {error.what}",
                where=error.where,
                found=error.found,
                wanted=error.wanted,
                remedy=error.remedy or "correct sources.elevation in the recipe",
            ) from error
        found |= {tile.corner: tile for tile in tiles if tile.corner in left}
    return sorted(found.values())


def _address(kind: str, given: str) -> str:
    """Return where a source is: a URL or, of folders and tables, an absolute path."""
    if kind not in get_args(Kind):
        raise CatalogError("no such kind of source", found=repr(kind), wanted="one of " + ", ".join(get_args(Kind)))
    text = given or ROOTS.get(kind, "")
    if not text:
        raise CatalogError(f"a source of kind {kind} needs an address", wanted="a path or a URL")
    return str(Path(text).absolute()) if kind in ("folder", "parquet") else text


def _opened(kind: Kind, address: str, name: str, allow_hosts: frozenset[str]) -> Source:
    if kind == "folder":
        return FolderSource(name, Path(address))
    if kind == "parquet":
        return TableSource(name, Path(address))
    return StacSource(name, address, _DIALECTS[kind], allow_hosts)


def _told_apart(places: Sequence[tuple[Kind, str]]) -> dict[tuple[Kind, str], str]:
    """Return a name for each kind and address, the shortest that no other has."""
    names = {place: _names(*place) for place in dict.fromkeys(places)}
    shown = dict.fromkeys(names, 0)
    while True:
        found = {place: names[place][shown[place]] for place in names}
        alike = [place for place in names if Counter(found.values())[found[place]] > 1]
        longer = [place for place in alike if shown[place] + 1 < len(names[place])]
        if not longer:  # what is still alike differs in what may not be shown, the query of an address
            numbers = {place: number for number, place in enumerate(alike, 1)}
            return {place: f"{name} {numbers[place]}" if place in numbers else name for place, name in found.items()}
        for place in longer:
            shown[place] += 1


def _names(kind: Kind, address: str) -> list[str]:
    """Return what a source may be called, the shortest first."""
    if "://" in address and not address.startswith("file:"):
        whole = without_query(address).partition("://")[2].rstrip("/")
        ends = [whole.partition("/")[0]]
    else:
        path = Path(urlsplit(address).path if address.startswith("file:") else address).absolute()
        if path.suffix == ".json" and kind not in ("folder", "parquet"):
            path = path.parent
        whole = str(path)
        ends = ["/".join(path.parts[start:]) for start in range(len(path.parts) - 1, 0, -1)] or [whole]
    if kind in ROOTS:
        return [kind, *(f"{kind} at {end}" for end in [*ends, whole])]
    return [ends[0], f"{ends[0]} ({kind})", *ends[1:], whole, f"{whole} ({kind})"]


def _named(found: list[Granule], source: str) -> list[Granule]:
    return [replace(granule, source=source) for granule in found]
