"""A search of a real STAC server finds every granule once, or says why it cannot; whatever stands between them."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import http.client
import http.server
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from frostmap.catalogs.collections import Collection, load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import Tile, parse_tile, tile_bounds
from frostmap.catalogs.sources import open_source, search_elevation
from frostmap.pipeline.simulate.catalogue import COLLECTIONS, item, write_catalogue, write_item
from frostmap.pipeline.simulate.granules import PRODUCTS

pytestmark = pytest.mark.servers

Json: TypeAlias = dict[str, Any]

TERRA, AQUA, VEGETATION = load_collection("mod11a1"), load_collection("myd11a1"), load_collection("mod13a1")
PLATEAU = ("h23v05", "h24v05", "h25v05", "h26v05", "h25v06", "h26v06")
OLD, NEW = "2020032000000", "2021014002251"


# ---- items as the archives have them -------------------------------------------------------------------------------


@functools.cache
def template(product: str, tile: Tile) -> str:
    """Return a simulated item of the first day of 2020 as JSON: its projection, outline and assets."""
    return json.dumps(item(product, dt.date(2020, 1, 1), tile, PRODUCTS[product].pixels * 1200, "cog"))


def planetary_item(product: str, date: dt.date, tile: Tile, stamp: str = NEW, *, outline: Tile | None = None) -> Json:
    """Return an item as Planetary Computer has it.

    No platform, no EPSG code, no datetime, neither nodata nor offset; an outline of four corners, which some items have
    of the tile beside theirs: `outline`.
    """
    name = ".".join([product, f"A{date:%Y%j}", str(tile), "061", *([stamp] if stamp else [])])
    document: Json = json.loads(template(product, tile))
    west, south, east, north = tile_bounds(outline or tile)
    ring = [[east, south], [east, north], [west, north], [west, south], [east, south]]
    days = 15 if product.startswith("MOD13") else 0
    properties = {key: value for key, value in document["properties"].items() if key not in ("platform", "description")}
    properties |= {
        "start_datetime": f"{date}T00:00:00Z",
        "end_datetime": f"{date + dt.timedelta(days)}T23:59:59Z",
        "created": "2021-01-14T00:22:51Z",
        "updated": "2021-01-14T03:45:39.603000Z",
        "eo:cloud_cover": 11,
    }
    blobs = "https://modiseuwest.blob.core.windows.net"
    folder = f"{product}/{tile.h:02d}/{tile.v:02d}/{date:%Y%j}"
    for key, asset in document["assets"].items():
        asset["href"] = f"{blobs}/modis-061-cogs/{folder}/{name}_{key}.tif"
    for key, kind, suffix in (("hdf", "application/x-hdf", "hdf"), ("metadata", "application/xml", "hdf.xml")):
        href = f"{blobs}/modis-061/{folder}/{name}.{suffix}"
        document["assets"][key] = {"href": href, "type": kind, "roles": ["data" if key == "hdf" else "metadata"]}
    changes = {"id": name, "bbox": [west, south, east, north], "properties": properties, "links": []}
    return document | changes | {"geometry": {"type": "Polygon", "coordinates": [ring]}}


def earthdata_item(product: str, date: dt.date, tile: Tile, stamp: str = NEW) -> Json:
    """Return an item as CMR-STAC has it: no tile numbers, no GeoTIFFs, several addresses of the same HDF file."""
    name = f"{product}.A{date:%Y%j}.{tile}.061.{stamp}"
    west, south, east, north = tile_bounds(tile)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    data = "https://data.lpdaac.earthdatacloud.nasa.gov"
    assets = {
        "s3_data": {"href": f"s3://lp-prod-protected/{product}.061/{name}/{name}.hdf", "type": "application/x-hdf"},
        "opendap": {"href": f"https://opendap.earthdata.nasa.gov/collections/C1-LPCLOUD/granules/{name}.hdf"},
        "browse": {"href": f"{data}/lp-prod-public/{product}.061/{name}/BROWSE.{name}.1.jpg", "type": "image/jpeg"},
        "metadata": {
            "href": f"{data}/lp-prod-protected/{product}.061/{name}/{name}.cmr.xml",
            "type": "application/xml",
        },
        "sidecar": {"href": f"{data}/lp-prod-protected/{product}.061/{name}/{name}.hdf.xml"},
        "data": {"href": f"{data}/lp-prod-protected/{product}.061/{name}/{name}.hdf", "type": "application/x-hdf"},
    }
    start, end = f"{date}T00:00:00.000Z", f"{date}T23:59:59.000Z"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": f"{product}_061",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": start, "start_datetime": start, "end_datetime": end},
        "links": [],
        "assets": assets,
    }


def collection_of(identifier: str, **more: Any) -> Json:
    """Return a collection of the whole world and all days."""
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2000-02-24T00:00:00Z", None]]}}
    document = {"type": "Collection", "stac_version": "1.0.0", "id": identifier, "description": identifier}
    return document | {"license": "proprietary", "links": [], "extent": extent} | more


def planetary_collection(product: str) -> Json:
    """Return a collection that says, as the real ones do, what all its items' assets are."""
    assets = json.loads(template(product, Tile(25, 5)))["assets"]
    shared = {key: {name: asset[name] for name in asset if name != "href"} for key, asset in assets.items()}
    return collection_of(COLLECTIONS[product], item_assets=shared)


FIRST, LAST = dt.date(2019, 12, 28), dt.date(2020, 1, 6)
DAYS = tuple(FIRST + dt.timedelta(day) for day in range((LAST - FIRST).days + 1))
UNSTAMPED = dt.date(2020, 1, 3)
PLANETARY = [
    *(
        # h25v06's items have the outline of the tile north of it
        planetary_item(
            product, day, tile, "" if day == UNSTAMPED else NEW, outline=Tile(25, 5) if tile.v == 6 else None
        )
        for product in ("MOD11A1", "MYD11A1")
        for day in DAYS
        for tile in (Tile(24, 5), Tile(25, 5), Tile(25, 6))
    ),
    # processed again since: the older comes once after and once before the newer
    planetary_item("MOD11A1", dt.date(2020, 1, 1), Tile(25, 5), OLD),
    planetary_item("MOD11A1", dt.date(2020, 1, 2), Tile(25, 5), "2023001000000"),
]
COMPOSITES = [
    planetary_item("MOD13A1", dt.date(2020, 1, 1) + dt.timedelta(16 * period), Tile(25, 5)) for period in range(4)
]
EARTHDATA = [earthdata_item("MOD11A1", day, tile) for day in DAYS for tile in (Tile(25, 5), Tile(25, 6))]


class Key(NamedTuple):
    """What tells granules apart."""

    date: dt.date
    tile: str
    production: str


def keys(granules: Iterable[Granule]) -> list[Key]:
    return [Key(one.date, str(one.tile), one.production) for one in granules]


def expected(items: Iterable[Json], product: str, tiles: Iterable[str], start: dt.date, end: dt.date) -> list[Key]:
    """Return what a search should find, the slow and plain way."""
    newest: dict[tuple[dt.date, str], str] = {}
    for one in items:
        name = parse_granule_name(one["id"])
        place = (name.date, str(name.tile))
        if name.product == product and place[1] in tiles and start <= name.date <= end:
            newest[place] = max(newest.get(place, ""), name.production or "2021014002251")  # from `created`
    return [
        Key(date, tile, newest[date, tile]) for date, tile in sorted(newest, key=lambda at: (at[0], parse_tile(at[1])))
    ]


def find(
    kind: Any, url: str, collection: Collection, tiles: Iterable[str], start: dt.date, end: dt.date, *others: str
) -> list[Granule]:
    """Search a server on loopback, which is allowed by host and port, as are `others`."""
    allowed = [urlsplit(address).netloc for address in (url, *others)]
    return open_source(kind, url, allow_hosts=allowed).search(
        collection, [parse_tile(tile) for tile in tiles], start, end
    )


# ---- the servers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(pgstac: Any) -> str:
    """Return a database with items as Planetary Computer has them."""
    collections = [planetary_collection("MOD11A1"), planetary_collection("MOD13A1")]
    return str(pgstac.load("planetary", collections, [*PLANETARY, *COMPOSITES]))


@pytest.fixture(scope="module")
def planetary(pgstac: Any, database: str) -> str:
    """Return the address of an API with all extensions."""
    return str(pgstac.serve(database))


@pytest.fixture(scope="module")
def plain(pgstac: Any, database: str) -> str:
    """Return the address of an API on the same items that can neither filter nor leave out fields."""
    return str(pgstac.serve(database, "pagination"))


@pytest.fixture(scope="module")
def nasa(pgstac: Any) -> str:
    """Return the address of an API with items as CMR-STAC has them, and no more extensions than that."""
    return str(pgstac.serve(pgstac.load("nasa", [collection_of("MOD11A1_061")], EARTHDATA), "pagination"))


class Request(NamedTuple):
    """A request that passed through a proxy."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json

    @property
    def limit(self) -> int:
        """Return the size of the page that was asked for."""
        return int(self.body.get("limit") or dict(parse_qsl(urlsplit(self.path).query)).get("limit") or 0)


class Reply(NamedTuple):
    """What a proxy says in the server's stead."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Proxy(http.server.ThreadingHTTPServer):
    """Stands between a search and a server, makes pages small, and spoils what it is told to."""

    def __init__(self, upstream: str, page: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.upstream = urlsplit(upstream).netloc
        self.page = page
        self.requests: list[Request] = []
        self.searches: list[Request] = []
        self.instead: Callable[[int, Request], Reply | None] = lambda _number, _request: None
        """Given the number of a page, from 1, and the request: what to say instead of the server."""
        self.spoil: Callable[[int, Request, Json], None] = lambda _number, _request, _page: None
        """Given the number, the request and the server's page: changes the page."""

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Stay quiet when a client has gone."""


class Passing(http.server.BaseHTTPRequestHandler):
    """Passes a request on."""

    server: Proxy

    def do_GET(self) -> None:
        self.passed(b"")

    def do_POST(self) -> None:
        self.passed(self.rfile.read(int(self.headers["Content-Length"])))

    def passed(self, content: bytes) -> None:
        request = Request(self.command, self.path, dict(self.headers), json.loads(content) if content else {})
        self.server.requests.append(request)
        is_search = urlsplit(self.path).path == "/search"
        number = 0
        if is_search:
            self.server.searches.append(request)
            number = len(self.server.searches)
            reply = self.server.instead(number, request)
            if reply is not None:
                self.say(reply)
                return
        reply = self.asked(self.smaller(request) if is_search else request)
        if is_search and reply.status == 200:
            page = json.loads(reply.body)
            self.server.spoil(number, request, page)
            reply = Reply(200, json.dumps(page).encode())
        self.say(reply)

    def smaller(self, request: Request) -> Request:
        """Return a request for as small a page as this server gives, whatever was asked for."""
        limit = min(request.limit or 10, self.server.page)
        if request.method == "POST":
            return request._replace(body=request.body | {"limit": limit})
        parts = urlsplit(request.path)
        return request._replace(path=f"{parts.path}?{urlencode(dict(parse_qsl(parts.query)) | {'limit': str(limit)})}")

    def asked(self, request: Request) -> Reply:
        """Ask the server; its links lead back here."""
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        headers = {"Host": self.headers["Host"], "Content-Type": "application/json"}
        body = json.dumps(request.body) if request.method == "POST" else None
        with contextlib.closing(connection):
            connection.request(request.method, request.path, body, headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read())

    def say(self, reply: Reply) -> None:
        if not reply.status:  # hang up
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in ({"Content-Type": "application/geo+json"} | dict(reply.headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def serving(proxy: Proxy) -> Iterator[Proxy]:
    with proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


@pytest.fixture
def proxy(planetary: str) -> Iterator[Proxy]:
    """Yield a proxy with pages of four before the server with all extensions."""
    with serving(Proxy(planetary, 4)) as stands_between:
        yield stands_between


@pytest.fixture
def elsewhere(planetary: str) -> Iterator[Proxy]:
    """Yield another way to the same server, under another host's name."""
    with serving(Proxy(planetary, 4)) as other:
        yield other


def one_tile(url: str, *others: str) -> list[Granule]:
    return find("planetary-computer", url, TERRA, ["h25v05"], FIRST, LAST, *others)


WHOLE = expected(PLANETARY, "MOD11A1", ["h25v05"], FIRST, LAST)


# ---- what must always hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["planetary-computer", "stac"])
@pytest.mark.parametrize("collection", [TERRA, AQUA])
@pytest.mark.parametrize("tiles", [["h25v05"], ["h24v05", "h25v05", "h25v06"]])
def test_every_granule_is_found_once_and_no_other(
    planetary: str, kind: str, collection: Collection, tiles: list[str]
) -> None:
    found = find(kind, planetary, collection, tiles, FIRST, LAST)
    assert keys(found) == expected(PLANETARY, collection.product, tiles, FIRST, LAST)
    assert len(found) == len(tiles) * len(DAYS)
    assert {one.product for one in found} == {collection.product}
    assert {one.source for one in found} == {kind if kind != "stac" else urlsplit(planetary).netloc}


def test_small_pages_do_not_change_the_answer(proxy: Proxy) -> None:
    tiles = ["h24v05", "h25v05", "h25v06"]
    found = find("planetary-computer", proxy.url(), AQUA, tiles, FIRST, LAST)
    assert keys(found) == expected(PLANETARY, "MYD11A1", tiles, FIRST, LAST)
    assert len(proxy.searches) >= len(tiles) * len(DAYS) / proxy.page


def test_items_keep_their_files_and_nothing_is_signed(planetary: str) -> None:
    found = {one.name: one for one in one_tile(planetary)}
    for document in PLANETARY:
        if document["id"] in found:
            one, hrefs = found[document["id"]], {key: asset["href"] for key, asset in document["assets"].items()}
            assert one.hdf_href == hrefs["hdf"]
            assert dict(one.band_hrefs) == {band.asset: hrefs[band.asset] for band in TERRA.bands}
    assert len(found) == len(DAYS)


def test_simulated_items_are_the_same_in_files_and_behind_each_server(
    tmp_path: Path, pgstac: Any, rustac: Callable[[Iterable[Json]], str]
) -> None:
    members = [
        (product, dt.date(2010, month, 1), parse_tile(tile))
        for product in ("MOD11A1", "MYD11A1", "MOD13A1")
        for month in range(1, 13)
        for tile in ("h25v05", "h26v05")
    ]
    for product, date, tile in members:
        (tmp_path / "stac" / COLLECTIONS[product] / f"{tile}-{date.year}").mkdir(parents=True, exist_ok=True)
        write_item(tmp_path, product, date, tile, 24, "cog")
    root = write_catalogue(tmp_path, members)
    items = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("stac/*/h*/M*.json"))]
    for document in items:
        for asset in document["assets"].values():
            asset["href"] = "https://archive.test/" + asset["href"].removeprefix("../../../")
    collections = [planetary_collection("MOD11A1"), planetary_collection("MOD13A1")]
    database = pgstac.load("simulated", collections, items)
    served = {"pgstac": pgstac.serve(database), "rustac": rustac(items)}
    assert len(items) == len(members)
    for product in (TERRA, AQUA, VEGETATION):
        for tiles in (["h26v05"], ["h25v05", "h26v05"]):
            period = (dt.date(2010, 2, 1), dt.date(2010, 11, 1))
            static = open_source("stac", str(root)).search(product, [parse_tile(tile) for tile in tiles], *period)
            assert len(static) == 10 * len(tiles)
            for server, url in served.items():
                found = find("stac", url, product, tiles, *period)
                assert keys(found) == keys(static), server
                assert [set(one.band_hrefs) for one in found] == [set(one.band_hrefs) for one in static], server
                hrefs = [href for one in found for href in one.band_hrefs.values()]
                assert all(href.startswith("https://archive.test/granules/") for href in hrefs), server


# ---- what is asked for: tile, days, product ------------------------------------------------------------------------


def test_tiles_are_found_by_number_although_outlines_are_of_another_tile(planetary: str) -> None:
    found = find("planetary-computer", planetary, TERRA, ["h25v06"], FIRST, LAST)
    assert keys(found) == expected(PLANETARY, "MOD11A1", ["h25v06"], FIRST, LAST)


def test_without_the_query_extension_tiles_are_found_by_their_outlines(plain: str) -> None:
    tiles = ["h24v05", "h25v05"]
    found = find("stac", plain, TERRA, tiles, FIRST, LAST)
    assert keys(found) == expected(PLANETARY, "MOD11A1", tiles, FIRST, LAST)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FIRST, FIRST),
        (dt.date(2019, 12, 31), dt.date(2020, 1, 1)),
        (dt.date(2020, 1, 1), dt.date(2020, 1, 1)),
        (LAST, LAST),
        (dt.date(2000, 1, 1), dt.date(2030, 12, 31)),
    ],
)
def test_both_ends_of_a_period_belong_to_it(planetary: str, start: dt.date, end: dt.date) -> None:
    found = find("planetary-computer", planetary, AQUA, ["h25v05"], start, end)
    assert keys(found) == expected(PLANETARY, "MYD11A1", ["h25v05"], start, end)
    assert len(found) == sum(start <= day <= end for day in DAYS)


def test_a_composite_belongs_to_the_period_of_its_first_day(planetary: str) -> None:
    found = find("planetary-computer", planetary, VEGETATION, ["h25v05"], dt.date(2020, 1, 5), dt.date(2020, 2, 2))
    assert [one.date for one in found] == [dt.date(2020, 1, 17), dt.date(2020, 2, 2)]  # the first overlaps the period


@pytest.mark.parametrize(
    ("tiles", "start", "end"),
    [
        (["h23v05"], FIRST, LAST),
        (["h25v05"], dt.date(2003, 1, 1), dt.date(2003, 12, 31)),
        ([], FIRST, LAST),
    ],
)
@pytest.mark.parametrize("server", ["planetary", "plain"])
def test_nothing_found_is_an_empty_list(
    request: pytest.FixtureRequest, server: str, tiles: list[str], start: dt.date, end: dt.date
) -> None:
    assert find("stac", request.getfixturevalue(server), TERRA, tiles, start, end) == []


def test_a_server_without_the_product_is_an_error(pgstac: Any) -> None:
    url = pgstac.serve(pgstac.load("others", [collection_of("sentinel-2-l2a")], []))
    with pytest.raises(CatalogError, match="MOD11A1"):
        find("stac", url, TERRA, ["h25v05"], FIRST, LAST)


# ---- elevation ------------------------------------------------------------------------------------------------------


def elevation_item(south: int, west: int) -> Json:
    """Return a tile of the elevation model as the public catalogue has it: half a pixel out of its square degree."""
    name = f"Copernicus_DSM_COG_30_N{south:02d}_00_E{west:03d}_00_DEM"
    x, y = west - 0.000625, south + 0.000416666666666666
    ring = [[x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y], [x + 1, y]]
    href = f"https://elevationeuwest.blob.core.windows.net/copernicus-dem/COP30_hh/{name}.tif"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "cop-dem-glo-90",
        "bbox": [x, y, x + 1, y + 1],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"platform": "tandem-x", "gsd": 90, "proj:epsg": 4326, "datetime": "2021-04-22T00:00:00Z"},
        "links": [],
        "assets": {"data": {"href": href, "type": "image/tiff; application=geotiff; profile=cloud-optimized"}},
    }


def test_elevation_tiles_cover_a_box_and_no_more(pgstac: Any) -> None:
    degrees = [(south, west) for south in range(30, 36) for west in range(88, 96) if (south, west) != (33, 91)]
    items = [elevation_item(*corner) for corner in degrees]
    url = pgstac.serve(pgstac.load("elevation", [collection_of("cop-dem-glo-90")], items))
    with serving(Proxy(url, 4)) as proxy:
        source = open_source("planetary-computer", proxy.url(), allow_hosts=[urlsplit(proxy.url()).netloc])
        found = search_elevation(source, (90.0, 32.0, 93.5, 34.0))
        assert search_elevation(source, (10.0, 50.0, 11.0, 51.0)) == []
    wanted = [(south, west) for south, west in degrees if south in (32, 33) and west in (90, 91, 92, 93)]
    assert [tile.bounds for tile in found] == [(west, south, west + 1, south + 1) for south, west in wanted]
    hrefs = {one["id"]: one["assets"]["data"]["href"] for one in items}
    assert [tile.href for tile in found] == [hrefs[tile.name] for tile in found]


# ---- NASA's catalogue ----------------------------------------------------------------------------------------------


def test_nasa_s_items_lead_to_the_archive_s_https_files(nasa: str) -> None:
    found = find("earthdata", nasa, TERRA, ["h25v05", "h25v06"], FIRST, LAST)
    assert keys(found) == expected(EARTHDATA, "MOD11A1", ["h25v05", "h25v06"], FIRST, LAST)
    home = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/MOD11A1.061"
    assert [one.hdf_href for one in found] == [f"{home}/{one.name}/{one.name}.hdf" for one in found]
    assert not any(one.band_hrefs for one in found)


def test_nasa_s_older_collection_ids_are_tried_too(pgstac: Any) -> None:
    items = [one | {"collection": "MOD11A1.v061"} for one in EARTHDATA]
    database = pgstac.load("older", [collection_of("MOD11A1.v061")], items)
    found = find("earthdata", pgstac.serve(database, "pagination"), TERRA, ["h25v06"], FIRST, LAST)
    assert keys(found) == expected(EARTHDATA, "MOD11A1", ["h25v06"], FIRST, LAST)


# ---- real documents ------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_public_catalogue_s_own_documents_are_found_again(realdata: Path, pgstac: Any) -> None:
    names = ("modis-11A1-061", "modis-13A1-061")
    collections = [json.loads((realdata / "stac" / f"{name}.collection.json").read_text()) for name in names]
    examples = realdata / "stac" / "stactools_modis" / "examples" / "modis-061"
    items = [json.loads(path.read_text()) for name in names for path in sorted((examples / name).glob("*/*.json"))]
    for document in items:
        document["properties"].pop("platform")
        for asset in document["assets"].values():
            asset["href"] = "https://archive.test/" + asset["href"].rpartition("/")[2]
    url = pgstac.serve(pgstac.load("public", collections, items))
    wanted = [("mod11a1", "h19v02", "2022042095544"), ("myd11a1", "h21v07", "2022040192419")]
    for name, tile, stamp in [*wanted, ("mod13a1", "h12v11", "2022034232214")]:
        collection = load_collection(name)
        year = (dt.date(2022, 1, 1), dt.date(2022, 12, 31))
        (one,) = find("planetary-computer", url, collection, [tile], *year)
        assert (one.product, one.production) == (collection.product, stamp)
        # all bands but those that the example's maker left out
        (document,) = (document for document in items if document["id"] == one.name)
        assert set(one.band_hrefs) == {band.asset for band in collection.bands} & set(document["assets"])
        assert one.hdf_href == f"https://archive.test/{one.name}.{stamp}.hdf"


# ---- pages that go wrong -------------------------------------------------------------------------------------------


def test_pages_that_repeat_items_do_not_repeat_granules(proxy: Proxy) -> None:
    seen: list[Json] = []

    def repeat(_number: int, _request: Request, page: Json) -> None:
        fresh = list(page["features"])
        page["features"] += seen
        seen.extend(fresh)

    proxy.spoil = repeat
    assert keys(one_tile(proxy.url())) == WHOLE
    assert len(seen) > len(WHOLE)


def test_an_empty_page_is_not_the_end_if_another_follows(proxy: Proxy) -> None:
    def empty_first(number: int, request: Request) -> Reply | None:
        if number > 1:
            return None
        link = {"rel": "next", "method": "POST", "href": f"{proxy.url()}/search", "body": request.body | {"limit": 3}}
        return Reply(200, json.dumps({"type": "FeatureCollection", "features": [], "links": [link]}).encode())

    proxy.instead = empty_first
    assert keys(one_tile(proxy.url())) == WHOLE


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, b"slow down", {"Retry-After": "0"}),
        Reply(500),
        Reply(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        Reply(503, headers={"Retry-After": "1"}),
        Reply(504),
        Reply(0),
    ],
    ids=lambda reply: str(reply.status or "hangs up"),
)
def test_a_page_that_fails_once_is_asked_for_again(proxy: Proxy, reply: Reply) -> None:
    proxy.instead = lambda number, _request: reply if number == 2 else None
    assert keys(one_tile(proxy.url())) == WHOLE
    assert proxy.searches[1].body == proxy.searches[2].body


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, b"down for maintenance", {"Retry-After": "0"}),
        Reply(404, b'{"code": "NotFound"}'),
        Reply(403, b'{"code": "Forbidden"}'),
        Reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"}),
        Reply(200, b'{"type": "FeatureCollection", "features": [{"type": "Fea'),
        Reply(200, b'{"type": "Catalog", "links": []}'),
        Reply(200, b"[]"),
    ],
    ids=["down", "gone", "forbidden", "login page", "cut short", "no page", "a list"],
)
def test_a_page_that_cannot_be_had_is_an_error_and_never_a_shorter_list(proxy: Proxy, reply: Reply) -> None:
    proxy.instead = lambda number, _request: reply if number >= 2 else None
    with pytest.raises(CatalogError) as caught:
        one_tile(proxy.url())
    assert proxy.url() in str(caught.value)


def test_a_server_that_refuses_large_pages_is_asked_for_smaller_ones(proxy: Proxy) -> None:
    proxy.instead = lambda _number, request: Reply(400, b'{"code": "limit"}') if request.limit > 250 else None
    assert keys(one_tile(proxy.url())) == WHOLE


def lead(page: Json, link: Json) -> None:
    """Replace a page's link to the next one."""
    page["links"] = [one for one in page["links"] if one["rel"] != "next"] + [{"rel": "next"} | link]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_pages_that_lead_in_a_circle_are_an_error(proxy: Proxy, length: int) -> None:
    def close(number: int, _request: Request, page: Json) -> None:
        if number >= length:
            back = proxy.searches[number - length]
            lead(page, {"method": "POST", "href": f"{proxy.url()}/search", "body": back.body})

    proxy.spoil = close
    with pytest.raises(CatalogError, match="circle"):
        one_tile(proxy.url())
    assert len(proxy.searches) <= length + 1


def to_other_host(other: Proxy) -> Callable[[int, Request, Json], None]:
    def redirect(_number: int, _request: Request, page: Json) -> None:
        for link in page["links"]:
            if link["rel"] == "next":
                link["href"] = f"{other.url('localhost')}/search"

    return redirect


def test_a_page_does_not_lead_to_another_host(proxy: Proxy, elsewhere: Proxy) -> None:
    proxy.spoil = to_other_host(elsewhere)
    with pytest.raises(CatalogError) as caught:
        one_tile(proxy.url())
    assert elsewhere.url("localhost") in str(caught.value)
    assert elsewhere.requests == []


def test_a_page_leads_to_another_host_that_the_recipe_allows(proxy: Proxy, elsewhere: Proxy) -> None:
    proxy.spoil = to_other_host(elsewhere)
    assert keys(one_tile(proxy.url(), elsewhere.url("localhost"))) == WHOLE
    assert elsewhere.searches


@pytest.mark.parametrize(
    ("kind", "server"), [("planetary-computer", "planetary"), ("stac", "plain"), ("earthdata", "nasa")]
)
def test_a_search_sends_no_credentials(
    request: pytest.FixtureRequest, kind: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password canary\ndefault login me password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("EARTHDATA_TOKEN", "canary")
    with serving(Proxy(request.getfixturevalue(server), 4)) as proxy:
        assert len(find(kind, proxy.url(), TERRA, ["h25v05"], FIRST, LAST)) == len(DAYS)
    said = [f"{name}: {value}" for one in proxy.requests for name, value in one.headers.items()]
    assert said
    assert not [line for line in said if re.match("authorization|cookie", line, re.IGNORECASE) or "canary" in line]


# ---- five years of the plateau -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_years_of_the_plateau_are_found(pgstac: Any, capsys: pytest.CaptureFixture[str]) -> None:
    days = [dt.date(2016, 1, 1) + dt.timedelta(day) for day in range(1827)]
    items = (
        planetary_item(product, day, parse_tile(tile))
        for day in days
        for product in ("MOD11A1", "MYD11A1")
        for tile in PLATEAU
    )
    started = time.perf_counter()
    url = pgstac.serve(pgstac.load("plateau", [planetary_collection("MOD11A1")], items))
    loaded = time.perf_counter()
    found = [
        one
        for collection in (TERRA, AQUA)
        for one in find("planetary-computer", url, collection, PLATEAU, days[0], days[-1])
    ]
    searched = time.perf_counter()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(found)} granules: found in {searched - loaded:.1f} s, loaded in {loaded - started:.1f} s\n"
        )
    assert len(found) == len({one.name for one in found}) == 21_924
