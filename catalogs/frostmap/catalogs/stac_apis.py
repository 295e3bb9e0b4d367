"""Searching STAC APIs: by tile number where the server answers queries, by box where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urljoin

from pystac_client.conformance import ConformanceClasses
from pystac_client.item_search import ItemSearch

from frostmap.catalogs.collections import Collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import Granule, Wanted
from frostmap.catalogs.grids import TILE_SIZE, TILES_ACROSS, TILES_DOWN, Bounds, Tile, tile_bounds, to_geographic
from frostmap.catalogs.hosts import address_host, without_query
from frostmap.catalogs.stac_items import Files, granule_of
from frostmap.catalogs.stac_requests import GuardedIO, Json, RequestFailed, mapping, objects, read_document, resolved

PAGE_SIZES = (1000, 250)
"""Items to ask for at once: as many as large services give, else as many as all give."""

TILES_AT_ONCE = 4
"""How many tiles are searched for at the same time."""

_MOST_IDLE_PAGES = 10  # pages without anything new, until they count as a circle
_TOO_MANY = frozenset({400, 413, 422})
_T = TypeVar("_T")


class Dialect(NamedTuple):
    """What a service is known to do."""

    numbered: bool = False
    """All its items say which tile they are: what a query does not find, a box need not be asked for."""

    by_product: bool = False
    """A query may ask for a range of ids, where a collection mixes products."""

    by_centre: bool = False
    """Outlines are exact enough to be found by the tile's centre, without the neighbours."""

    only_web: bool = False
    """Each file is listed several times; only those on https count."""


class Api(NamedTuple):
    """A STAC API that was opened."""

    root: str
    document: Json
    reader: GuardedIO

    def conforms_to(self, conformance: ConformanceClasses) -> bool:
        """Say whether the server claims a conformance class."""
        classes = self.document.get("conformsTo")
        return isinstance(classes, list) and any(conformance.pattern.match(str(uri)) for uri in classes)

    def link(self, relation: str, otherwise: str) -> tuple[str, str]:
        """Return the address and method of one of the root's links, POST if there is a choice."""
        found = [
            (str(link.get("method") or "GET").upper(), str(link.get("href", "")))
            for link in objects(self.document.get("links"))
            if link.get("rel") == relation and "json" in str(link.get("type") or "json")  # not the page for people
        ]
        method, href = max(found, default=("GET", f"{self.root.rstrip('/')}/{otherwise}"))
        return self.inner(href, self.root), method

    def inner(self, href: str, base: str) -> str:
        """Return a link's absolute address; a `CatalogError` if it leads to another host that is not allowed."""
        address = resolved(href, base, self.reader.rule)
        if address_host(address) != address_host(self.root) and not self.reader.rule.allows(address):
            raise CatalogError(
                "a link of the STAC API leads to another host",
                where=without_query(self.root),
                found=without_query(address),
                wanted=f"an address on {address_host(self.root)}",
                remedy="if you trust the other host, name it in the recipe's allow_hosts",
            )
        return address


def opened_api(document: Json, href: str, reader: GuardedIO) -> Api | None:
    """Return the API that a document belongs to; None for a static one."""
    links = {str(link.get("rel")): str(link.get("href", "")) for link in objects(document.get("links"))}
    if not href.startswith(("http://", "https://")):
        return None
    if "conformsTo" in document or "search" in links:
        return Api(href, document, reader)
    if document.get("type") == "Collection" and "items" in links and "root" in links:
        root = resolved(urljoin(href, links["root"]), href, reader.rule)
        return Api(root, read_document(root, reader), reader)
    return None


def search_api(api: Api, wanted: Wanted, dialect: Dialect) -> list[Granule]:
    """Find the granules of some tiles and days behind an API; duplicates and old ones too."""
    collection = _explained(api, lambda: _first_known(api, wanted.collection))

    def of_tile(tile: Tile) -> list[Granule]:
        return _explained(api, lambda: _search_tile(api, collection, wanted._replace(tiles=frozenset([tile])), dialect))

    with ThreadPoolExecutor(TILES_AT_ONCE) as pool:
        try:
            return [granule for found in pool.map(of_tile, sorted(wanted.tiles)) for granule in found]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # tiles that have not begun need not
            raise


def search_box(api: Api, collection: Collection, bbox: Bounds) -> Iterator[tuple[Json, str]]:
    """Yield the items of a collection that touch a box, each with the address that its links are relative to."""
    name = _explained(api, lambda: _first_known(api, collection))
    yield from _explained(api, lambda: _sized(lambda size: list(_items(api, name, {"bbox": bbox}, size))))


def _search_tile(api: Api, collection: str, wanted: Wanted, dialect: Dialect) -> list[Granule]:
    (tile,) = wanted.tiles
    period = f"{wanted.start.isoformat()}T00:00:00Z/{wanted.end.isoformat()}T23:59:59Z"
    files = Files(api.reader.rule, dialect.only_web)
    ways = _ways(api, wanted.collection.product, tile, dialect)
    for number, way in enumerate(ways, 1):

        def attempt(size: int, way: Json = way) -> tuple[bool, list[Granule]]:
            found, granules = False, []
            for item, base in _items(api, collection, way | {"datetime": period}, size):
                found = True
                granule = granule_of(item, base, wanted, files)
                if granule is not None:
                    granules.append(granule)
            return found, granules

        try:
            found, granules = _sized(attempt)
        except RequestFailed as failure:
            if failure.status_code not in _TOO_MANY or number == len(ways):
                raise
            continue  # the server does not understand this way of asking
        if found:
            return granules
    return []


def _ways(api: Api, product: str, tile: Tile, dialect: Dialect) -> list[Json]:
    """Return what to ask for, in turn, until something is found."""
    ways: list[Json] = []
    if api.conforms_to(ConformanceClasses.QUERY):
        address = {"modis:horizontal-tile": {"eq": tile.h}, "modis:vertical-tile": {"eq": tile.v}}
        if dialect.by_product:
            # ids from MOD11A1 up to, not including, MOD11A2: in this order wherever letters and digits are sorted
            ids = {"gte": product, "lt": product[:-1] + chr(ord(product[-1]) + 1)}
            ways.append({"query": address | {"id": ids}})
        ways.append({"query": address})
        if dialect.numbered:
            return ways
    # outlines of items may be too coarse to be found by, so the box comes second: where there is no query, or where
    # items do not say which tile they are
    if dialect.by_centre and (centre := _centre(tile)) is not None:
        ways.append({"bbox": centre})
    return [*ways, {"bbox": tile_bounds(tile)}]


def _centre(tile: Tile) -> Bounds | None:
    """Return a small box around a tile's centre [°]; None where that is off the globe."""
    x, y = (tile.h + 0.5 - TILES_ACROSS / 2) * TILE_SIZE, (TILES_DOWN / 2 - tile.v - 0.5) * TILE_SIZE
    longitude, latitude = (float(angle) for angle in to_geographic(x, y))
    if not abs(longitude) < 179.9:  # NaN too
        return None
    return longitude - 0.05, latitude - 0.05, longitude + 0.05, latitude + 0.05


def _first_known(api: Api, collection: Collection) -> str:
    """Return the first of a product's collections that the API has: services renamed theirs."""
    home, _ = api.link("data", "collections")
    for name in collection.stac_collections:
        try:
            api.reader.request(f"{home.rstrip('/')}/{quote(name)}")
        except RequestFailed as failure:
            if failure.status_code not in (400, 404):
                raise
        else:
            return name
    raise CatalogError(
        f"the STAC API has no collection with {collection.product}",
        where=without_query(api.root),
        wanted="one of " + ", ".join(collection.stac_collections),
    )


def _sized(search: Callable[[int], _T]) -> _T:
    """Search with the largest pages that the server gives."""
    for size in PAGE_SIZES[:-1]:
        try:
            return search(size)
        except RequestFailed as failure:
            if failure.status_code not in _TOO_MANY:
                raise
    return search(PAGE_SIZES[-1])


def _items(api: Api, collection: str, way: Json, size: int) -> Iterator[tuple[Json, str]]:
    """Yield what a search finds, each with the address that its links are relative to."""
    url, method = api.link("search", "search")
    method = method if method == "POST" else "GET"
    fields = None
    if api.conforms_to(ConformanceClasses.FIELDS):
        fields = {"include": ["id", "properties.created", "assets"], "exclude": ["links", "geometry", "bbox"]}
    asked = ItemSearch(
        url, method=method, collections=[collection], limit=size, fields=fields, stac_io=api.reader, **way
    )
    for page, address in _pages(api, url, method, asked.get_parameters()):
        for item in page:
            own = next((link.get("href") for link in objects(item.get("links")) if link.get("rel") == "self"), None)
            if own:
                base = resolved(str(own), address, api.reader.rule)
            elif fields:  # its links were left out; this is where the specification has it
                base = f"{api.root.rstrip('/')}/collections/{quote(collection)}/items/{quote(str(item.get('id', '')))}"
            else:
                base = api.root
            yield item, base


def _pages(api: Api, url: str, method: str, parameters: Json) -> Iterator[tuple[list[Json], str]]:
    """Yield the pages of a search, each with its address; a `CatalogError` if they lead in a circle."""
    visited: set[str] = set()
    known: set[object] = set()
    idle = 0
    while True:
        visit = json.dumps([method, url, parameters], sort_keys=True)
        if visit in visited or idle > _MOST_IDLE_PAGES:
            raise CatalogError(
                "the search's pages lead in a circle",
                where=without_query(url),
                found=f"{len(visited)} pages, of which the last {idle or 1} brought nothing new",
                remedy="report it to whoever runs the server; a local copy of the catalogue does without pages",
            )
        visited.add(visit)
        page = _page(api.reader.request(url, method, parameters=parameters), url)
        yield page["features"], url
        ids = {item.get("id") if isinstance(item.get("id"), str) else None for item in page["features"]}
        idle = 0 if ids - known else idle + 1
        known |= ids
        following = next((link for link in objects(page.get("links")) if link.get("rel") == "next"), None)
        if following is None:
            return
        url = api.inner(str(following.get("href", "")), url)
        method = str(following.get("method") or "GET").upper()
        body = mapping(following.get("body"))
        # a GET's parameters are in its address
        parameters = ((parameters | body) if following.get("merge") else body) if method == "POST" else {}


def _page(text: str, url: str) -> Json:
    """Read one page of a search."""
    try:
        page = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError("a page of the search is not JSON", where=without_query(url), found=text[:300]) from error
    page = mapping(page)
    if page.get("type") != "FeatureCollection" or not isinstance(page.get("features"), list):
        raise CatalogError("a page of the search is not a list of items", where=without_query(url), found=text[:300])
    return page | {"features": objects(page["features"])}


def _explained(api: Api, ask: Callable[[], _T]) -> _T:
    try:
        return ask()
    except RequestFailed as failure:
        raise CatalogError(
            "the STAC API did not answer the search",
            where=without_query(api.root),
            found=failure,
            remedy="try again later; if it persists, check the address and the service's status page",
        ) from failure
