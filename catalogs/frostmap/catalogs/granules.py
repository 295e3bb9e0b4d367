"""Which granules exist for a product, its tiles and days, and where their files are.

Names are trusted, metadata is not: product, day and tile come from a granule's name; catalogues leave out the platform,
the EPSG code and the datetime, mix Terra with Aqua and keep granules that were processed again.
"""

from __future__ import annotations

import datetime as dt
import json
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from frostmap.catalogs.collections import Collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.grids import Tile, parse_tile, tile_bounds

Json: TypeAlias = dict[str, Any]

_NAME = re.compile(
    r"(?P<product>M[A-Z]D\d{2}[A-Z0-9]{0,3})\.A(?P<year>\d{4})(?P<day>\d{3})\.(?P<tile>h\d{2}v\d{2})"
    r"\.(?P<version>\d{3})(?:\.(?P<production>\d{13}))?(?:\.(?:hdf|json))?"
)
_TILE_YEAR = re.compile(r"(?<![A-Za-z0-9])(h\d{2}v\d{2})-(\d{4})(?![A-Za-z0-9])")
_PRODUCTION = re.compile(r"\.(\d{13})(?:[._]|$)")
_PAGE = 250  # the most that all public servers allow
_TIMEOUT = 60.0  # seconds a server may take to answer


class GranuleName(NamedTuple):
    """What a granule's name says."""

    product: str
    """Short name of the product."""

    date: dt.date
    """The UTC day, or the first day of a composite."""

    tile: Tile
    """Address on the sinusoidal lattice."""

    version: str
    """Version of the algorithm."""

    production: str
    """When it was made, YYYYDDDHHMMSS; empty where the name leaves it out."""


@dataclass(frozen=True)
class Granule:
    """One tile of a product on one day, and where its files are."""

    name: str
    """Its name, with the production stamp if the catalogue has it."""

    product: str
    """Short name of the product."""

    date: dt.date
    """The UTC day, or the first day of a composite."""

    tile: Tile
    """Address on the sinusoidal lattice."""

    version: str
    """Version of the algorithm."""

    production: str
    """When it was made, YYYYDDDHHMMSS; empty if unknown."""

    hdf_href: str | None = None
    """The HDF-EOS file with all layers, if the catalogue has one: an absolute path or a URL."""

    band_hrefs: Mapping[str, str] = field(default_factory=dict, hash=False)
    """A GeoTIFF for each asset key, if the catalogue has them: absolute paths or URLs."""


def parse_granule_name(name: str) -> GranuleName:
    """Read a granule's name, with or without production stamp and ``.hdf``.

    Examples
    --------
    >>> parse_granule_name("MYD11A1.A2020225.h11v04.061.2021014002251").date
    datetime.date(2020, 8, 12)
    >>> parse_granule_name("MOD11A1.A2022041.h19v02.061").production
    ''
    """
    parsed = _parse(name)
    if parsed is None:
        raise CatalogError(
            "not the name of a MODIS granule",
            found=repr(name),
            wanted="such as MOD11A1.A2020225.h25v05.061.2021014002251, with an existing day and tile",
        )
    return parsed


def search(
    source: str | Path,
    collection: Collection,
    tiles: Iterable[Tile | str],
    start: dt.date,
    end: dt.date,
) -> list[Granule]:
    """Find a product's granules of some tiles and days, in order of date and tile.

    Granules that were processed again come once: the newest production stamp wins.

    Parameters
    ----------
    source
        A static catalogue (a path or a URL of ``catalog.json``, ``collection.json`` or an item collection, or a folder
        with one of the first two) or the root of a STAC API.
    collection
        The product. Items of other products and versions are passed over, whatever collection they are in.
    tiles
        Addresses on the sinusoidal lattice.
    start, end
        First and last date, both included. A composite is found by its first day.

    Returns
    -------
    list of Granule
        Empty if there are none. Granules that lack a file are listed too: reading one says which.

    Notes
    -----
    In a static catalogue, only what can hold an answer is read. Left out are: collections with another id, if one of
    those beside them has an id of ``collection.stac_collections``; collections whose temporal extent ends before
    `start` or begins after `end`; catalogues whose id is a tile and a year, such as ``h25v05-2010``, other than those
    wanted; items whose file is named after another granule.
    """
    wanted = _Wanted(collection, frozenset(parse_tile(tile) for tile in tiles), start, end)
    if start > end:
        raise CatalogError("the period ends before it starts", found=f"{start} to {end}")
    href = _absolute(source)
    reader = StacApiIO(timeout=_TIMEOUT)
    if not wanted.tiles:
        return []
    document = _read(href, reader)
    api = _api_root(document, href)
    items = _search_api(api, wanted, reader) if api else _walk(document, href, wanted, reader)
    newest: dict[tuple[dt.date, Tile], Granule] = {}
    for item, base in items:
        granule = _granule(item, base, wanted)
        if granule is None:
            continue
        known = newest.get((granule.date, granule.tile))
        if known is None or known.production < granule.production:
            newest[granule.date, granule.tile] = granule
    return [newest[key] for key in sorted(newest)]


class _Wanted(NamedTuple):
    """What a search is for."""

    collection: Collection
    tiles: frozenset[Tile]
    start: dt.date
    end: dt.date

    def names(self, name: GranuleName) -> bool:
        """Say whether a granule of this name answers the search."""
        return (
            name.product == self.collection.product
            and name.version == self.collection.version
            and name.tile in self.tiles
            and self.start <= name.date <= self.end
        )


def _parse(name: str) -> GranuleName | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        tile = parse_tile(match["tile"])
        date = dt.date(int(match["year"]), 1, 1) + dt.timedelta(int(match["day"]) - 1)
    except ValueError:
        return None
    if date.year != int(match["year"]):  # day 000, or 366 of a common year
        return None
    return GranuleName(match["product"], date, tile, match["version"], match["production"] or "")


def _granule(item: Json, base: str, wanted: _Wanted) -> Granule | None:
    """Turn an item into a granule; None if it is not wanted."""
    name = _parse(str(item.get("id", "")))
    if name is None or not wanted.names(name):
        return None
    assets: Json = item.get("assets") or {}
    hdf_href, band_hrefs = None, {}
    keys = {band.asset for band in wanted.collection.bands}
    for key, asset in assets.items():
        href = str(asset.get("href", ""))
        if key in keys:
            band_hrefs[key] = _resolve(href, base)
        elif href.partition("?")[0].endswith(".hdf") and hdf_href is None:
            hdf_href = _resolve(href, base)  # archives call this asset differently: the suffix decides
    return Granule(
        str(item["id"]),
        name.product,
        name.date,
        name.tile,
        name.version,
        name.production or _production(item, [*([hdf_href] if hdf_href else []), *band_hrefs.values()]),
        hdf_href,
        band_hrefs,
    )


def _production(item: Json, hrefs: list[str]) -> str:
    """Find the production stamp of an item whose id leaves it out: in a file's name, else from its creation."""
    for href in hrefs:
        match = _PRODUCTION.search(href.rpartition("/")[2])
        if match:
            return match[1]
    created = str((item.get("properties") or {}).get("created") or "")
    try:
        return dt.datetime.fromisoformat(created).strftime("%Y%j%H%M%S")
    except ValueError:
        return ""


# ---- static catalogues: plain JSON, because a year of two products is thousands of items --------------------------


def _walk(document: Json, href: str, wanted: _Wanted, reader: StacApiIO) -> Iterator[tuple[Json, str]]:
    """Yield the items below a document, each with the address that its links are relative to."""
    visited = {href}
    stack = [(document, href)]
    while stack:
        document, href = stack.pop()
        kind = document.get("type")
        if kind == "Feature":
            yield document, href
            continue
        if kind == "FeatureCollection":
            yield from ((item, href) for item in document.get("features") or [])
            continue
        if kind not in ("Catalog", "Collection"):
            raise CatalogError(
                "neither a STAC catalogue, a collection nor an item",
                where=href,
                found=f"type {kind!r}",
                remedy="name the catalog.json at the catalogue's root",
            )
        children: list[tuple[Json, str]] = []
        for link in document.get("links") or []:
            relation, target = link.get("rel"), str(link.get("href", ""))
            if relation == "item" and _may_be(target, wanted):
                target = _resolve(target, href)
                if target not in visited:
                    visited.add(target)
                    yield _read(target, reader), target
            elif relation == "child" and _may_hold(target, str(link.get("title") or ""), wanted):
                target = _resolve(target, href)
                if target not in visited:
                    visited.add(target)
                    children.append((_read(target, reader), target))
        stack.extend(reversed(_relevant(children, wanted)))


def _may_be(target: str, wanted: _Wanted) -> bool:
    """Say whether an item may be wanted, judging by its file's name if that is a granule's."""
    name = _parse(target.rpartition("/")[2])
    return name is None or wanted.names(name)


def _may_hold(target: str, title: str, wanted: _Wanted) -> bool:
    """Say whether a child catalogue may hold wanted items, judging by a tile and year in its address or title."""
    match = _TILE_YEAR.search("/".join(target.rsplit("/", 2)[-2:])) or _TILE_YEAR.search(title)
    return match is None or _has(match, wanted)


def _has(match: re.Match[str], wanted: _Wanted) -> bool:
    return wanted.start.year <= int(match[2]) <= wanted.end.year and any(str(tile) == match[1] for tile in wanted.tiles)


def _relevant(children: list[tuple[Json, str]], wanted: _Wanted) -> list[tuple[Json, str]]:
    """Leave out children that cannot hold wanted items, judging by their ids and temporal extents."""
    ours = set(wanted.collection.stac_collections)
    named = any(child.get("id") in ours for child, _ in children)
    kept = []
    for child, href in children:
        match = _TILE_YEAR.fullmatch(str(child.get("id", "")))
        if match is not None and not _has(match, wanted):
            continue
        if child.get("type") == "Collection" and named and child.get("id") not in ours:
            continue
        if _overlaps(child, wanted):
            kept.append((child, href))
    return kept


def _overlaps(document: Json, wanted: _Wanted) -> bool:
    """Say whether a collection's temporal extent, if it has one, overlaps the wanted days."""
    intervals = ((document.get("extent") or {}).get("temporal") or {}).get("interval") or []
    if not intervals or not isinstance(intervals[0], list) or len(intervals[0]) != 2:
        return True
    first, last = (str(day)[:10] if day else "" for day in intervals[0])  # the first interval spans all others
    return (not first or first <= wanted.end.isoformat()) and (not last or last >= wanted.start.isoformat())


# ---- STAC APIs ----------------------------------------------------------------------------------------------------


def _api_root(document: Json, href: str) -> str | None:
    """Return the root of the API that a document belongs to; None for a static one."""
    links = {str(link.get("rel")): str(link.get("href", "")) for link in document.get("links") or []}
    if not href.startswith(("http://", "https://")):
        return None
    if "conformsTo" in document or "search" in links:
        return href
    if document.get("type") == "Collection" and "items" in links and "root" in links:
        return urljoin(href, links["root"])
    return None


def _search_api(root: str, wanted: _Wanted, reader: StacApiIO) -> Iterator[tuple[Json, str]]:
    """Yield an API's items around the wanted tiles and days, each with the address that its links are relative to."""
    try:
        client = Client.open(root, stac_io=reader)
        ids = [name for name in wanted.collection.stac_collections if client.get_collection(name) is not None]
        if not ids:
            raise CatalogError(
                f"the STAC API has no collection with {wanted.collection.product}",
                where=root,
                wanted="one of " + ", ".join(wanted.collection.stac_collections),
            )
        period = f"{wanted.start.isoformat()}T00:00:00Z/{wanted.end.isoformat()}T23:59:59Z"
        by_address = client.conforms_to(ConformanceClasses.QUERY)
        for tile in sorted(wanted.tiles):
            address = {"modis:horizontal-tile": {"eq": tile.h}, "modis:vertical-tile": {"eq": tile.v}}
            # outlines of items may be too coarse to be found by, so the box comes second: where there is no query, or
            # where items do not say which tile they are
            ways: list[Json] = [{"query": address}] if by_address else []
            for way in [*ways, {"bbox": tile_bounds(tile)}]:
                answers = client.search(collections=ids[:1], datetime=period, limit=_PAGE, **way).items_as_dicts()
                found = False
                for item in answers:
                    found = True
                    yield item, _own_address(item) or root
                if found:
                    break
    except (APIError, json.JSONDecodeError) as error:
        raise CatalogError(
            "the STAC API did not answer the search",
            where=root,
            found=str(error)[:300],
            remedy="try again later; if it persists, check the address and the service's status page",
        ) from error


def _own_address(item: Json) -> str | None:
    return next((str(link.get("href")) for link in item.get("links") or [] if link.get("rel") == "self"), None)


# ---- addresses and documents --------------------------------------------------------------------------------------


def _absolute(source: str | Path) -> str:
    """Return an absolute path or URL; a folder stands for the catalogue or collection in it."""
    text = str(source)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if "://" in text:
        return text
    path = Path(text).absolute()
    if path.is_dir():
        for name in ("catalog.json", "collection.json"):
            if (path / name).is_file():
                return str(path / name)
        raise CatalogError("no STAC catalogue in this folder", where=path, wanted="a catalog.json or a collection.json")
    return str(path)


def _resolve(href: str, base: str) -> str:
    """Return an absolute path or URL of a link in the document at `base`."""
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if "://" in href or href.startswith("/vsi"):
        return href
    if "://" in base:
        return urljoin(base, href)
    return os.path.normpath(os.path.join(os.path.dirname(base), href))  # noqa: PTH118, PTH120 - 20 times pathlib's speed


def _read(href: str, reader: StacApiIO) -> Json:
    """Read a JSON document from a path or a URL."""
    try:
        if "://" in href:
            document = json.loads(reader.read_text(href))
        else:
            with open(href, "rb") as file:  # noqa: PTH123 - as above
                document = json.loads(file.read())
    except (OSError, APIError) as error:
        raise CatalogError(
            "cannot read a document of the catalogue",
            where=href,
            found=error,
            remedy="check the address; if a link leads there, the catalogue is incomplete",
        ) from error
    except ValueError as error:
        raise CatalogError("a document of the catalogue is not JSON", where=href, found=error) from error
    if not isinstance(document, dict):
        raise CatalogError(
            "a document of the catalogue is not a STAC object", where=href, found=type(document).__name__
        )
    return document
