"""A folder, a table and an API give the same granules; what others wrote leads nowhere that it should not."""

import contextlib
import datetime as dt
import http.server
import json
import pickle
import shutil
import socket
import threading
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.catalogs import stac_items, stac_requests
from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.completeness import completed
from frostmap.catalogs.elevation import tile_corners, tile_name
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import wanted
from frostmap.catalogs.granules import parse_granule_name, search
from frostmap.catalogs.grids import tile_bounds
from frostmap.catalogs.hosts import HostRule
from frostmap.catalogs.sources import find_elevation, open_source, open_sources, search_elevation
from frostmap.catalogs.stac_requests import GuardedIO, resolved
from frostmap.catalogs.static_catalogues import walk

TERRA, AQUA = load_collection("mod11a1"), load_collection("myd11a1")
YEAR = (dt.date(2010, 1, 1), dt.date(2010, 12, 31))
OLD, NEW = "2015001000000", "2021014002251"
CANARY = "canary-91c2"
STAC = "https://api.stacspec.org/v1.0.0/"


def item(product="MOD11A1", day="2010001", tile="h25v05", stamp=NEW, **assets):
    name = f"{product}.A{day}.{tile}.061.{stamp}"
    files = "https://files.test"
    cogs = {key: {"href": f"{files}/{name}_{key}.tif"} for key in ("LST_Day_1km", "QC_Day")}
    return {
        "type": "Feature",
        "id": name,
        "bbox": list(tile_bounds(tile)),
        "properties": {
            "datetime": None,
            "modis:horizontal-tile": int(tile[1:3]),
            "modis:vertical-tile": int(tile[4:]),
        },
        "links": [],
        "assets": assets or cogs | {"hdf": {"href": f"{files}/{name}.hdf", "type": "application/x-hdf"}},
    }


ITEMS = [item(product, f"2010{day:03d}", tile) for product in ("MOD11A1", "MYD11A1") for day in (1, 2, 300)
         for tile in ("h24v05", "h25v05", "h25v06")] + [item(stamp=OLD)]  # fmt: skip


def summary(granules):
    return [(one.product, one.date.isoformat(), str(one.tile), one.production) for one in granules]


# ---- an API that behaves as a test tells it ------------------------------------------------------------------------


class Asked(NamedTuple):
    method: str
    path: str
    query: dict
    body: dict
    headers: dict


class Api:
    """A STAC API on loopback: what it is asked, and what it answers instead if a test says so."""

    def __init__(self, classes=("core", "collections", "item-search"), collections=("modis-11A1-061",), items=ITEMS):
        self.classes, self.collections, self.items, self.asked, self.instead = classes, collections, items, [], None
        self.page, self.most = 1000, 10_000
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self, {})

            def do_POST(self):
                outer.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_):
                """Stay quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def searches(self):
        return [one for one in self.asked if one.path == "/search"]

    def answer(self, handler, body):
        parts = urlsplit(handler.path)
        asked = Asked(handler.command, parts.path, dict(parse_qsl(parts.query)), body, dict(handler.headers))
        self.asked.append(asked)
        reply = self.instead(asked) if self.instead else None
        status, headers, content = reply or self.normal(asked)
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def normal(self, asked):
        if asked.path == "/":
            links = [{"rel": "search", "href": f"{self.url}/search", "method": method} for method in ("GET", "POST")]
            links += [{"rel": "data", "href": f"{self.url}/collections"}]
            root = {"type": "Catalog", "id": "a", "conformsTo": [STAC + name for name in self.classes]}
            return 200, {}, root | {"links": links}
        if asked.path.startswith("/collections/"):
            name = asked.path.rpartition("/")[2]
            return (200 if name in self.collections else 404), {}, {"type": "Collection", "id": name}
        if asked.body.get("limit", 0) > self.most:
            return 400, {}, {"code": "limit"}
        found = [one for one in self.items if self.answers(one, asked.body)]
        start, size = int(asked.query.get("start", 0)), min(self.page, asked.body["limit"])
        links = []
        if start + size < len(found):
            href = f"{self.url}/search?start={start + size}&token={CANARY}"
            links = [{"rel": "next", "href": href, "method": "POST", "body": asked.body}]
        return 200, {}, {
            "type": "FeatureCollection", "features": found[start : start + size], "links": links
        }  # fmt: skip

    def answers(self, one, body):
        for key, tests in body.get("query", {}).items():
            value = one["id"] if key == "id" else one["properties"].get(key)
            if not all(
                {"eq": value == wanted, "gte": value >= wanted, "lt": value < wanted}[test]
                for test, wanted in tests.items()
            ):
                return False
        if "bbox" in body:
            (a, b, c, d), (west, south, east, north) = one["bbox"], body["bbox"]
            return a <= east and west <= c and b <= north and south <= d
        return True


@pytest.fixture
def api():
    server = Api()
    yield server
    server.close()


@pytest.fixture
def querying():
    server = Api(("core", "collections", "item-search", "item-search#query", "item-search#fields"))
    yield server
    server.close()


def fails(*replies):
    """Answer the first searches like this, and then as ever."""
    left = list(replies)

    def instead(asked):
        if asked.path != "/search" or not left:
            return None
        return left.pop(0)

    return instead


# ---- one protocol --------------------------------------------------------------------------------------------------


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def folder_of(path, items, *, cogs=True):
    """Write empty files as a download leaves them: a folder for each product and day."""
    for one in items:
        name = parse_granule_name(one["id"])
        where = path / f"{name.product}.061" / f"{name.date:%Y.%m.%d}"
        where.mkdir(parents=True, exist_ok=True)
        (where / f"{one['id']}.hdf").write_bytes(b"x" * 7)
        (where / f"{one['id']}.hdf.json").write_text("{}")
        for key in ("LST_Day_1km", "QC_Day") if cogs else ():
            (where / f"{one['id']}_{key}.tif").write_bytes(b"x" * 9)
    return path


@pytest.mark.parametrize("kind", ["stac", "folder", "parquet", "planetary-computer"])
@pytest.mark.parametrize("collection", [TERRA, AQUA])
def test_every_kind_of_source_gives_the_same_granules(tmp_path, querying, kind, collection):
    if kind == "stac":
        address = write(tmp_path / "mine" / "items.json", {"type": "FeatureCollection", "features": ITEMS})
    elif kind == "folder":
        address = folder_of(tmp_path / "mine", ITEMS)
    elif kind == "parquet":
        table = pytest.importorskip("pyarrow", reason="pyarrow reads tables of items; it is optional")
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads tables of items; it is optional")
        address = tmp_path / "mine"
        address.mkdir()
        rows = [{"id": one["id"], "assets": one["assets"], "created": None, "geometry": b""} for one in ITEMS]
        for part in (0, 1):
            parquet.write_table(table.Table.from_pylist(rows[part::2]), address / f"part-{part}.parquet")
    else:
        address = querying.url
    source = open_source(kind, address)
    tiles = ["h25v05", "h24v05"]
    found = source.search(collection, tiles, dt.date(2010, 1, 2), dt.date(2010, 12, 31))
    assert summary(found) == [
        (collection.product, day, tile, NEW) for day in ("2010-01-02", "2010-10-27") for tile in sorted(tiles)
    ]
    assert {one.source for one in found} == {source.name} == {"planetary-computer" if "-" in kind else "mine"}
    assert all(one.hdf_href.endswith(f"{one.name}.hdf") for one in found)
    assert all(set(one.band_hrefs) == {"LST_Day_1km", "QC_Day"} for one in found)
    assert summary(source.search(TERRA, ["h25v05"], YEAR[0], YEAR[0])) == [("MOD11A1", "2010-01-01", "h25v05", NEW)]
    assert source.search(collection, ["h26v05"], *YEAR) == source.search(collection, [], *YEAR) == []
    with pytest.raises(CatalogError, match="ends before it starts"):
        source.search(collection, tiles, YEAR[1], YEAR[0])
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


@pytest.mark.parametrize(
    ("kind", "address", "name"),
    [
        ("planetary-computer", "", "planetary-computer"),
        ("earthdata", "http://127.0.0.1:1/stac", "earthdata"),
        ("stac", "https://archive.test:8443/stac?key=x", "archive.test:8443"),
        ("stac", f"https://me:{CANARY}@archive.test/stac", "archive.test"),
        ("stac", "/data/plateau/catalog.json", "plateau"),
        ("stac", "file:///data/plateau/catalog.json", "plateau"),
        ("folder", "/data/granules/", "granules"),
    ],
)
def test_a_source_has_a_name_for_tables(kind, address, name):
    assert open_source(kind, address).name == name


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([("folder", "/a/granules"), ("folder", "/b/granules")], ["a/granules", "b/granules"]),
        ([("folder", "/a/x/granules"), ("folder", "/b/x/granules")], ["a/x/granules", "b/x/granules"]),
        ([("folder", "/granules"), ("folder", "/b/granules")], ["/granules", "b/granules"]),
        ([("folder", "/a/granules"), ("folder", "/a/granules"), ("folder", "/b")], ["granules", "granules", "b"]),
        ([("stac", "/a/catalog.json"), ("folder", "/a"), ("earthdata", "")], ["a (stac)", "a (folder)", "earthdata"]),
        ([("stac", "https://a.test/one"), ("stac", "https://a.test/two")], ["a.test/one", "a.test/two"]),
        (
            [("stac", f"https://a.test/?key={CANARY}"), ("stac", "https://a.test/?key=other")],
            ["a.test (stac) 1", "a.test (stac) 2"],
        ),
        (
            [("planetary-computer", ""), ("planetary-computer", "https://copy.test/stac")],
            ["planetary-computer at planetarycomputer.microsoft.com", "planetary-computer at copy.test"],
        ),
    ],
)
def test_sources_that_would_be_called_alike_are_told_apart(given, names):
    assert [source.name for source in open_sources(given)] == names


places = st.tuples(st.sampled_from(["folder", "parquet", "stac"]), st.lists(st.sampled_from("ab"), min_size=1))


@given(st.lists(places, max_size=6))
def test_two_places_never_have_one_name(given):
    given = [(kind, "/" + "/".join(parts)) for kind, parts in given]
    names = [source.name for source in open_sources(given)]
    assert len(set(zip(given, names, strict=True))) == len(set(names)) == len(set(given))


def test_granules_say_which_of_two_folders_of_one_name_they_are_from(tmp_path):
    first, second = folder_of(tmp_path / "a" / "granules", ITEMS[:1]), folder_of(tmp_path / "b" / "granules", ITEMS)
    sources = open_sources([("folder", first), ("folder", second)])
    found = completed(sources, TERRA, ["h24v05"], dt.date(2010, 1, 1), dt.date(2010, 1, 2))
    assert [one.source for one in found] == ["a/granules", "b/granules"]


def test_a_source_that_cannot_be_is_refused_when_it_is_opened():
    with pytest.raises(CatalogError, match="no such kind") as caught:
        open_source("ftp", "ftp://archive.test")
    assert "planetary-computer" in caught.value.wanted
    for kind in ("stac", "folder", "parquet"):
        with pytest.raises(CatalogError, match="needs an address"):
            open_source(kind)


# ---- folders -------------------------------------------------------------------------------------------------------


def test_files_of_a_granule_may_lie_apart_and_unfinished_ones_do_not_count(tmp_path):
    name = ITEMS[0]["id"]
    for path in (f"b/{name}.hdf", f"a/{name}.hdf", f"c/{name}_QC_Day.tif", f"c/{name}_Unknown.tif", "a/readme.tif"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"12345")
    for path in (f"a/{name}_LST_Day_1km.tif.part", f"a/{ITEMS[1]['id']}.hdf.1234.part", f"a/{name}.hdf.xml"):
        (tmp_path / path).write_bytes(b"")
    (one,) = open_source("folder", tmp_path).search(TERRA, ["h24v05", "h25v05"], *YEAR)
    assert one.hdf_href == str(tmp_path / "a" / f"{name}.hdf")
    assert one.band_hrefs == {"QC_Day": str(tmp_path / "c" / f"{name}_QC_Day.tif")}
    assert one.sizes == {one.hdf_href: 5, one.band_hrefs["QC_Day"]: 5}


def test_folders_linked_in_a_circle_are_read_once(tmp_path):
    folder_of(tmp_path / "granules", ITEMS, cogs=False)
    (tmp_path / "granules" / "circle").symlink_to(tmp_path / "granules")
    (tmp_path / "granules" / "out").symlink_to(tmp_path)
    (tmp_path / "granules" / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "granules" / f"MOD11A1.A2010005.h25v05.061.{NEW}.hdf").mkdir()
    source = open_source("folder", tmp_path / "granules")
    assert len(source.search(TERRA, ["h24v05", "h25v05", "h25v06"], *YEAR)) == 9
    linked = tmp_path / "elsewhere"
    linked.symlink_to(tmp_path / "granules")
    assert len(open_source("folder", linked).search(TERRA, ["h24v05", "h25v05", "h25v06"], *YEAR)) == 9


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for path, found in ((tmp_path / "gone", "nothing there"), (write(tmp_path / "a.hdf", {}), "a file")):
        with pytest.raises(CatalogError, match="no folder of granules") as caught:
            open_source("folder", path).search(TERRA, ["h25v05"], *YEAR)
        assert (caught.value.where, caught.value.found) == (str(path), found)


# ---- tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["items.parquet", "items/a.parquet"])
def test_relative_links_of_a_table_start_where_it_is(tmp_path, place):
    table = pytest.importorskip("pyarrow", reason="pyarrow reads tables of items; it is optional")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads tables of items; it is optional")
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    one = item(hdf={"href": "files/a.hdf"})
    parquet.write_table(table.Table.from_pylist([{"id": one["id"], "assets": one["assets"]}]), path)
    (found,) = open_source("parquet", tmp_path / place.partition("/")[0]).search(TERRA, ["h25v05"], *YEAR)
    assert found.hdf_href == str(path.parent / "files" / "a.hdf")


def test_a_table_of_something_else_is_refused(tmp_path):
    table = pytest.importorskip("pyarrow", reason="pyarrow reads tables of items; it is optional")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads tables of items; it is optional")
    parquet.write_table(table.table({"id": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match="not a table of STAC items") as caught:
        open_source("parquet", tmp_path / "a.parquet").search(TERRA, ["h25v05"], *YEAR)
    assert "assets" in caught.value.found
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not really")
    for path in (tmp_path / "b.parquet", tmp_path / "gone.parquet"):
        with pytest.raises(CatalogError, match="cannot be read"):
            open_source("parquet", path).search(TERRA, ["h25v05"], *YEAR)


def test_without_pyarrow_a_table_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(CatalogError, match="without pyarrow") as caught:
        open_source("parquet", tmp_path).search(TERRA, ["h25v05"], *YEAR)
    assert "frostmap[parquet]" in caught.value.remedy


# ---- services ------------------------------------------------------------------------------------------------------


def test_planetary_computer_is_asked_for_one_product_and_tile_and_few_fields(querying):
    source = open_source("planetary-computer", querying.url)
    assert len(source.search(TERRA, ["h25v05", "h24v05", "h26v06"], *YEAR)) == 6
    bodies = [one.body for one in querying.searches]
    assert {json.dumps(body["query"]["id"]) for body in bodies if "id" in body["query"]} == {
        json.dumps({"gte": "MOD11A1", "lt": "MOD11A2"})
    }
    assert {(body["query"]["modis:horizontal-tile"]["eq"], body["limit"]) for body in bodies} == {
        (24, 1000), (25, 1000), (26, 1000)
    }  # fmt: skip
    assert all("assets" in body["fields"]["include"] and "bbox" not in body for body in bodies)
    # what is not found by its number is asked for once more without the product's, and never by box
    assert len(bodies) == 4


def test_a_server_that_knows_no_range_of_ids_is_asked_without(querying):
    querying.instead = lambda asked: (400, {}, {}) if "id" in asked.body.get("query", {}) else None
    assert len(open_source("planetary-computer", querying.url).search(AQUA, ["h25v05"], *YEAR)) == 3


def nasa(day="2010001", tile="h25v05"):
    """Return an item as NASA's catalogue has it: the file several times, beside others that end alike."""
    name = f"MOD11A1.A{day}.{tile}.061.{NEW}"
    data, folder = "https://data.lpdaac.earthdatacloud.nasa.gov", f"lp-prod-protected/MOD11A1.061/{name}"
    return item(day=day, tile=tile) | {"id": name, "properties": {}} | {"assets": {
        "s3": {"href": f"s3://{folder}/{name}.hdf", "type": "application/x-hdf"},
        "opendap": {"href": f"https://opendap.earthdata.nasa.gov/granules/{name}.hdf"},
        "page": {"href": f"{data}/{folder}/{name}.hdf", "type": "text/html"},
        "xml": {"href": f"{data}/{folder}/{name}.hdf.xml"},
        "cmr": {"href": f"{data}/{folder}/{name}.hdf.json"},
        "data": {"href": f"{data}/{folder}/{name}.hdf", "type": "application/x-hdfeos", "file:size": 1234},
    }}  # fmt: skip


@pytest.mark.parametrize("name", ["MOD11A1_061", "MOD11A1.v061"])
def test_nasa_s_file_is_told_from_its_doubles_under_new_and_old_names(name):
    items = [nasa(f"2010{day:03d}", tile) for day in (1, 2) for tile in ("h25v05", "h24v05", "h26v05", "h25v04")]
    server = Api(collections=(name,), items=items)
    try:
        found = open_source("earthdata", server.url).search(TERRA, ["h25v05"], *YEAR)
    finally:
        server.close()
    assert len(found) == 2
    for one in found:
        url = f"https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/MOD11A1.061/{one.name}/{one.name}.hdf"
        assert (one.hdf_href, one.sizes) == (url, {url: 1234})
    (asked,) = server.searches
    west, south, east, north = asked.body["bbox"]
    assert east - west < 1  # the tile's middle: its neighbours' items need not come
    assert 34.9 < south < north < 35.1
    assert asked.body["collections"] == [name]


def test_nasa_s_tiles_are_found_by_their_whole_box_where_their_middle_finds_nothing():
    lopsided = nasa()
    lopsided["bbox"][2] = lopsided["bbox"][0] + 1
    server = Api(collections=("MOD11A1_061",), items=[lopsided])
    try:
        assert len(open_source("earthdata", server.url).search(TERRA, ["h25v05"], *YEAR)) == 1
    finally:
        server.close()


def test_tiles_whose_middle_is_off_the_globe_are_asked_for_by_box():
    server = Api(collections=("MOD11A1_061",), items=[])
    try:
        assert open_source("earthdata", server.url).search(TERRA, ["h00v08", "h35v00"], *YEAR) == []
    finally:
        server.close()
    assert len(server.searches) >= 2


# ---- pages ---------------------------------------------------------------------------------------------------------


def test_pages_are_followed_to_the_last(api):
    api.page = 1
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3
    assert len(api.searches) >= 3


def test_a_server_that_refuses_large_pages_is_asked_for_smaller_ones(api):
    api.most = 250
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3
    assert [one.body["limit"] for one in api.searches] == [1000, 250]


@pytest.mark.parametrize(
    "failure",
    [
        (429, {"Retry-After": "0"}, b"slow down"),
        (429, {"Retry-After": "soon"}, b""),
        (500, {}, b""),
        (502, {}, b"<html>"),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""),
        (504, {}, b""),
    ],
)
def test_what_fails_for_a_moment_is_asked_again(api, failure):
    api.instead = fails(failure, failure)
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3


def test_a_server_s_wish_to_be_left_alone_is_granted_up_to_a_minute(api, monkeypatch):
    waits = []
    monkeypatch.setattr(stac_requests, "sleep", waits.append)
    api.instead = fails((429, {"Retry-After": "7"}, b""), (503, {"Retry-After": "86400"}, b""))
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3
    assert [int(wait) for wait in waits] == [7, 60]


@pytest.mark.parametrize(
    ("failure", "complaint"),
    [
        ((503, {}, b"maintenance"), "maintenance"),
        ((403, {}, b"forbidden"), "status 403: forbidden"),
        ((200, {}, b"<html>Log in</html>"), "not JSON"),
        ((200, {}, b'{"type": "Catalog"}'), "not a list of items"),
        ((200, {}, b"[1]"), "not a list of items"),
        ((200, {}, b"\xff\xfe"), "not text in UTF-8"),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "gzip"),
    ],
)
def test_what_fails_for_good_is_explained_and_never_a_shorter_list(api, failure, complaint):
    api.page = 1
    pages = []

    def instead(asked):
        if asked.path == "/search":
            pages.append(asked)
        return (failure[0], failure[1], failure[2]) if len(pages) > 1 else None

    api.instead = instead
    with pytest.raises(CatalogError) as caught:
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert complaint in str(caught.value)
    assert api.url in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_document_that_is_too_large_is_not_read(api, monkeypatch):
    monkeypatch.setattr(stac_requests, "LARGEST_BYTES", 2**20)
    api.instead = fails(*[(200, {}, b" " * 2**21)] * 2)
    with pytest.raises(CatalogError, match="did not answer") as caught:
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert "more than 1 MiB" in caught.value.found
    assert [one.body["limit"] for one in api.searches] == [1000, 250]


def page(items, **link):
    links = [{"rel": "next", "method": "POST"} | link] if link else []
    return {"type": "FeatureCollection", "features": items, "links": links}


def test_pages_that_lead_in_a_circle_end_in_an_error(api):
    body = {}

    def itself(asked):
        if asked.path != "/search":
            return None
        body.update(asked.body)
        return 200, {}, page(ITEMS[:2], href=f"{api.url}/search", body=asked.body)

    api.instead = itself
    with pytest.raises(CatalogError, match="lead in a circle"):
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert len(api.searches) == 1


@pytest.mark.parametrize("items", [[], ITEMS[:2]])
def test_pages_without_end_that_bring_nothing_new_end_in_an_error(api, items):
    def forever(asked):
        if asked.path != "/search":
            return None
        return 200, {}, page(items, href=f"{api.url}/search?page={len(api.asked)}", body=asked.body)

    api.instead = forever
    with pytest.raises(CatalogError, match="lead in a circle"):
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert len(api.searches) < 20


def test_an_empty_page_is_not_the_last_if_another_follows(api):
    api.instead = fails((200, {}, page([], href="?token=1", body={"limit": 1000})))
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3


def test_pages_are_merged_with_what_was_asked_if_the_server_says_so(api):
    link = {"href": "search", "merge": True, "body": {"token": "t"}}
    api.instead = fails((200, {}, page(ITEMS[:1], **link)))
    search(api.url, TERRA, ["h25v05"], *YEAR)
    first, second = (one.body for one in api.searches)
    assert second == first | {"token": "t"}


def test_an_api_that_takes_no_post_is_asked_by_get(api):
    root = api.normal(Asked("GET", "/", {}, {}, {}))[2]
    root["links"] = [link for link in root["links"] if link.get("method") != "POST"]

    def instead(asked):
        if asked.path == "/":
            return 200, {}, root
        if asked.path == "/search" and "start" not in asked.query:
            link = {"href": f"{api.url}/search?start=1", "method": "GET"}
            return 200, {}, page([one for one in ITEMS if ".h25v05." in one["id"]][:3], **link)
        return (200, {}, page([])) if asked.path == "/search" else None

    api.instead = instead
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3
    first, second = api.searches
    assert (first.method, first.query["collections"], first.query["limit"]) == ("GET", "modis-11A1-061", "1000")
    assert second.query == {"start": "1"}


# ---- where links may lead ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "href", ["http://127.0.0.2:8080/search", "https://evil.test/search", "//127.0.0.2/search", "http://127.0.0.1:1/s"]
)
def test_a_next_page_on_another_host_is_refused(api, href):
    api.instead = fails((200, {}, page(ITEMS[:1], href=href, body={})))
    with pytest.raises(CatalogError, match="another host") as caught:
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert "allow_hosts" in caught.value.remedy


@pytest.mark.parametrize("href", ["file:///etc/passwd", "/vsicurl/http://127.0.0.1/", "data:text/json,[]", "https://["])
def test_a_next_page_that_is_no_address_of_the_web_is_refused(api, href):
    api.instead = fails((200, {}, page(ITEMS[:1], href=href, body={})))
    with pytest.raises(CatalogError, match=r"may not be (followed|asked)"):
        search(api.url, TERRA, ["h25v05"], *YEAR)


def test_a_next_page_on_a_host_that_is_allowed_is_read(api):
    other = Api()
    try:
        api.instead = fails((200, {}, page(ITEMS[:1], href=f"{other.url}/search", body={"limit": 1000})))
        with pytest.raises(CatalogError, match="another host"):
            search(api.url, TERRA, ["h25v05"], *YEAR)
        api.instead = fails((200, {}, page(ITEMS[:1], href=f"{other.url}/search", body={"limit": 1000})))
        allowed = [other.url.removeprefix("http://")]
        assert len(search(api.url, TERRA, ["h25v05"], *YEAR, allow_hosts=allowed)) == 3
    finally:
        other.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_checked_and_keeps_the_question(api, status):
    api.instead = fails((status, {"Location": "/search?moved=1"}, b""))
    assert len(search(api.url, TERRA, ["h25v05"], *YEAR)) == 3
    first, second = api.searches
    assert (second.method, second.body, second.query) == ("POST", first.body, {"moved": "1"})


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("http://127.0.0.2/search", "may not be asked"),
        ("http://169.254.169.254/latest/meta-data/", "may not be asked"),
        ("file:///etc/passwd", "may not be asked"),
        ("/search", "more than 5 redirects"),
    ],
)
def test_a_redirect_to_where_it_may_not_lead_is_refused(api, location, complaint):
    api.instead = lambda asked: (302, {"Location": location}, b"") if asked.path == "/search" else None
    with pytest.raises(CatalogError) as caught:
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert complaint in str(caught.value)
    assert len(api.searches) <= 6


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "/vsizip/a.zip",
        "\tfile:///etc/passwd",
        "a\n.tif",
        "javascript:1",
        "c:",
    ],
)
def test_a_file_of_this_machine_in_an_item_of_the_web_is_refused(api, href):
    api.items = [item(LST_Day_1km={"href": href})]
    with pytest.raises(CatalogError, match="may not be followed"):
        search(api.url, TERRA, ["h25v05"], *YEAR)


@pytest.mark.parametrize("href", ["/etc/passwd", "../../../../etc/passwd", "C:\\passwd.tif", "~/.netrc"])
def test_a_path_in_an_item_of_the_web_is_the_server_s(api, href):
    api.items = [item(LST_Day_1km={"href": href})]
    if href.startswith("C:"):
        with pytest.raises(CatalogError, match="may not be followed"):
            search(api.url, TERRA, ["h25v05"], *YEAR)
    else:
        (one,) = search(api.url, TERRA, ["h25v05"], *YEAR)
        assert one.band_hrefs["LST_Day_1km"].startswith(api.url + "/")


def test_an_item_s_own_address_does_not_make_it_a_local_one(api):
    for own in ("/etc/", "file:///etc/x.json"):
        lying = item(LST_Day_1km={"href": "passwd"}) | {"links": [{"rel": "self", "href": own}]}
        api.items = [lying]
        if own.startswith("file:"):
            with pytest.raises(CatalogError, match="may not be followed"):
                search(api.url, TERRA, ["h25v05"], *YEAR)
        else:
            (one,) = search(api.url, TERRA, ["h25v05"], *YEAR)
            assert one.band_hrefs["LST_Day_1km"] == f"{api.url}/etc/passwd"


def test_a_static_catalogue_of_the_web_leads_to_no_file_of_this_machine(api, tmp_path):
    secret = write(tmp_path / "items.json", {"type": "FeatureCollection", "features": ITEMS})
    for href in (f"file://{secret}", f"file://localhost{secret}", str(secret)):
        root = {"type": "Catalog", "id": "r", "links": [{"rel": "child", "href": href}]}
        api.instead = lambda asked, root=root: (200, {}, root) if asked.path == "/catalog.json" else None
        with pytest.raises(CatalogError, match=r"may not be followed|cannot read"):
            search(f"{api.url}/catalog.json", TERRA, ["h25v05"], *YEAR)


def test_a_local_catalogue_may_name_files_anywhere_on_this_machine(tmp_path):
    hrefs = {"LST_Day_1km": "file:///data/a.tif", "QC_Day": "/data/b.tif", "Day_view_time": "../c.tif"}
    path = write(tmp_path / "a" / "items.json", item(**{key: {"href": href} for key, href in hrefs.items()}))
    (one,) = search(path, TERRA, ["h25v05"], *YEAR)
    assert one.band_hrefs == {
        "LST_Day_1km": "/data/a.tif", "QC_Day": "/data/b.tif", "Day_view_time": str(tmp_path / "c.tif")
    }  # fmt: skip
    write(path, item(LST_Day_1km={"href": "/vsicurl/http://127.0.0.1/a.tif"}))
    with pytest.raises(CatalogError, match="may not be followed"):
        search(path, TERRA, ["h25v05"], *YEAR)


def test_a_web_document_reaches_local_files_only_where_the_recipe_allows_localhost():
    base = "https://archive.test/catalog.json"
    assert resolved("file:///data/a.tif", base, HostRule(frozenset({"localhost"}))) == "/data/a.tif"
    with pytest.raises(CatalogError):
        resolved("file:///data/a.tif", base, HostRule(frozenset({"127.0.0.1"})))
    with pytest.raises(CatalogError):
        resolved("file://other.test/data/a.tif", base, HostRule(frozenset({"localhost"})))


def test_a_document_of_this_machine_is_never_read_as_if_it_were_of_the_web(tmp_path):
    path = write(tmp_path / "a.json", {})
    for href in (str(path), f"file://{path}"):
        with pytest.raises(CatalogError, match="may not be asked"):
            GuardedIO(HostRule()).read_text(href)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_resolves_anew_to_this_machine_is_not_asked(api, monkeypatch, method):
    answers = iter(["93.184.215.14", "127.0.0.1"])  # when it is checked, and when it is connected to
    looked_up = []

    def resolve(host, *_args, **_options):
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), api.server.server_port))]

    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"https://rebound.test:{api.server.server_port}/search"
    with pytest.raises(CatalogError, match="may not be asked") as caught:
        GuardedIO(HostRule()).request(url, method, parameters={"token": CANARY})
    assert "127.0.0.1" in caught.value.found
    assert CANARY not in str(caught.value)
    assert looked_up == ["rebound.test"] * 2
    assert api.asked == []


def test_a_redirect_to_a_name_that_resolves_anew_to_this_machine_is_not_followed(api, monkeypatch):
    real, answers = socket.getaddrinfo, iter(["93.184.215.14", "127.0.0.1"])

    def resolve(host, port, *args, **options):
        return real(next(answers) if host == "rebound.test" else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    target = f"https://rebound.test:{api.server.server_port}/search"
    api.instead = lambda asked: (302, {"Location": target}, b"") if asked.path == "/search" else None
    with pytest.raises(CatalogError, match="may not be asked") as caught:
        search(api.url, TERRA, ["h25v05"], *YEAR)
    assert "127.0.0.1" in caught.value.found
    assert len(api.searches) == 1


def test_a_proxy_of_the_environment_may_be_on_this_machine(api, monkeypatch):
    monkeypatch.setenv("http_proxy", api.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    api.instead = lambda _asked: (200, {}, b"by the proxy")
    assert GuardedIO(HostRule(frozenset({"archive.test"}))).request("http://archive.test/a") == "by the proxy"
    assert len(api.asked) == 1


# ---- secrets -------------------------------------------------------------------------------------------------------


def test_a_search_sends_no_credentials(api, tmp_path, monkeypatch):
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {CANARY}\ndefault login me password {CANARY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("EARTHDATA_TOKEN", CANARY)
    assert requests.utils.get_netrc_auth(api.url) == ("me", CANARY)  # or this would prove nothing
    api.instead = fails((200, {"Set-Cookie": f"session={CANARY}"}, page(ITEMS[:1], href="/search", body={"limit": 9})))
    search(api.url, TERRA, ["h25v05"], *YEAR)
    assert len(api.searches) >= 2
    for one in api.asked:
        assert "Authorization" not in one.headers
        assert "Cookie" not in one.headers


@pytest.mark.parametrize("broken", ["down", "forbidden", "login", "redirect"])
def test_no_query_is_shown_in_an_error(api, broken):
    address = f"{api.url}/catalog.json?token={CANARY}"
    if broken == "down":
        address = f"http://127.0.0.1:9/catalog.json?token={CANARY}"
    replies = {
        "forbidden": (403, {}, b"no"),
        "login": (200, {}, b"<html>"),
        "redirect": (302, {"Location": f"http://127.0.0.2/?token={CANARY}"}.items(), b""),
    }
    api.instead = lambda _asked: replies.get(broken)
    with pytest.raises(CatalogError) as caught:
        search(address, TERRA, ["h25v05"], *YEAR)
    error = caught.value
    while error is not None:
        assert CANARY not in str(error)
        error = error.__cause__


# ---- elevation -----------------------------------------------------------------------------------------------------


def dem(name):
    west, south, east, north = tile_corners(name) or (0, 0, 0, 0)
    return {
        "type": "Feature",
        "id": name,
        "bbox": [west - 0.001, south, east - 0.001, north],
        "properties": {"datetime": "2021-04-22T00:00:00Z"},
        "links": [],
        "assets": {"data": {"href": f"https://elevation.test/{name}.tif"}, "thumbnail": {"href": "x.png"}},
    }


NAMES = [f"Copernicus_DSM_COG_30_N{n}_00_E{e:03d}_00_DEM" for n in (33, 34, 35) for e in (90, 91, 92)]


def test_elevation_tiles_are_found_by_box_in_an_api_and_a_static_catalogue(tmp_path):
    items = [*map(dem, NAMES), dem("something else"), dem(NAMES[0])]
    path = write(tmp_path / "items.json", {"type": "FeatureCollection", "features": items})
    server = Api(collections=("cop-dem-glo-90",), items=items)
    try:
        served = search_elevation(open_source("planetary-computer", server.url), (90.5, 33.0, 92.0, 35.0))
    finally:
        server.close()
    static = search_elevation(open_source("stac", path), (90.5, 33.0, 92.0, 35.0))
    assert [one._replace(source="") for one in static] == [one._replace(source="") for one in served]
    assert {one.source for one in static} == {tmp_path.name}
    assert {one.source for one in served} == {"planetary-computer"}
    assert [(one.name, one.bounds) for one in served] == [
        (f"Copernicus_DSM_COG_30_N{n}_00_E{e:03d}_00_DEM", (e, n, e + 1, n + 1)) for n in (33, 34) for e in (90, 91)
    ]
    assert served[0].href == f"https://elevation.test/{NAMES[0]}.tif"


@pytest.mark.realdata
def test_a_real_elevation_tile_is_found(realdata):
    source = open_source("stac", realdata / "stac" / "cop_dem" / "Copernicus_DSM_COG_30_N53_00_W115_00_DEM.json")
    (one,) = search_elevation(source, (-114.6, 53.2, -114.5, 53.3))
    assert one.bounds == (-115, 53, -114, 54)
    assert search_elevation(source, (-114.0, 53.2, -113.5, 53.3)) == []


def test_elevation_is_not_looked_for_in_tables_or_impossible_boxes(tmp_path):
    with pytest.raises(CatalogError, match="STAC catalogues and folders only"):
        search_elevation(open_source("parquet", tmp_path), (90, 33, 91, 34))
    for kind in ("stac", "folder"):
        with pytest.raises(CatalogError, match="not a bounding box"):
            search_elevation(open_source(kind, tmp_path), (91, 33, 90, 34))


def test_elevation_tiles_in_a_folder_are_known_by_their_names(tmp_path):
    coarse, fine = NAMES[0], NAMES[1].replace("_COG_30_", "_COG_10_")
    for name in (f"{coarse}/{coarse}.tif", f"b/{coarse}.tif", f"{NAMES[3]}.tif", f"{fine}.tif", f"{NAMES[4]}.tif.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = search_elevation(open_source("folder", tmp_path), (90.0, 33.0, 93.0, 36.0))
    assert [(one.name, one.href) for one in found] == [
        (coarse, str(tmp_path / coarse / f"{coarse}.tif")), (NAMES[3], str(tmp_path / f"{NAMES[3]}.tif"))
    ]  # fmt: skip
    with pytest.raises(CatalogError, match="no folder"):
        search_elevation(open_source("folder", tmp_path / "gone"), (90.0, 33.0, 93.0, 36.0))


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("Copernicus_DSM_COG_30_S01_00_W080_00_DEM", (-80, -1, -79, 0)),
        ("Copernicus_DSM_30_N00_00_E006_00", (6, 0, 7, 1)),
        ("Copernicus_DSM_COG_10_N33_00_E090_00_DEM", None),  # of the 30-m model
        ("../Copernicus_DSM_COG_30_N33_00_E090_00_DEM", None),
        ("Copernicus_DSM_COG_30_N33_50_E090_00_DEM", None),
    ],
)
def test_a_name_says_which_square_degree_a_tile_is(name, bounds):
    assert tile_corners(name) == bounds


@given(st.integers(-90, 89), st.integers(-180, 179))
def test_names_and_corners_of_tiles_are_each_other_s(south, west):
    assert tile_corners(tile_name((south, west))) == (west, south, west + 1, south + 1)


def test_elevation_that_the_first_source_lacks_is_taken_from_the_second(tmp_path):
    first = write(tmp_path / "first" / "items.json", {"type": "FeatureCollection", "features": [dem(NAMES[0])]})
    second = write(tmp_path / "second" / "items.json", {"type": "FeatureCollection", "features": [*map(dem, NAMES)]})
    corners = {(33, 90), (33, 91), (40, 90)}
    sources = open_sources([("stac", first), ("stac", second)])
    assert [(one.name, one.source) for one in find_elevation(sources, corners)] == [
        (NAMES[0], "first"), (NAMES[1], "second")
    ]  # fmt: skip
    sources = open_sources([("stac", second), ("stac", tmp_path / "gone" / "items.json")])
    assert len(find_elevation(sources, {(33, 90), (35, 92)})) == 2  # the other need not be asked
    with pytest.raises(CatalogError, match="the source gone cannot be searched for elevation"):
        find_elevation(sources, corners)
    assert find_elevation(sources, set()) == find_elevation([], corners) == []


# ---- edges ---------------------------------------------------------------------------------------------------------


def test_sizes_are_kept_where_an_item_states_them():
    sizes = [17, 0, -1, True, "9", None, 2.5]
    keys = [band.asset for band in TERRA.bands][: len(sizes)]
    one = item(**{key: {"href": f"https://x.test/{key}.tif", "file:size": size} for key, size in zip(keys, sizes)})  # noqa: B905
    granule = stac_items.granule_of(one, "https://x.test/", wanted(TERRA, ["h25v05"], *YEAR), stac_items.Files())
    assert granule.sizes == {f"https://x.test/{keys[0]}.tif": 17, f"https://x.test/{keys[1]}.tif": 0}


@pytest.mark.parametrize("assets", [None, [], "x", {"LST_Day_1km": "x"}, {"LST_Day_1km": {}}])
def test_items_with_odd_assets_are_listed_without_files(api, assets):
    api.items = [item() | {"assets": assets, "properties": None, "links": None}]
    (one,) = search(api.url, TERRA, ["h25v05"], *YEAR)
    assert one.hdf_href is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = {
    "Catalog": ("links", "extent", "id"), "Collection": ("links", "extent", "id"), "Feature": ("assets", "properties"),
    "FeatureCollection": ("features",),
}  # fmt: skip


@st.composite
def odd_documents(draw):
    """Documents whose every part may be anything, links and assets half right."""
    kind = draw(st.sampled_from(sorted(WORDS)))
    link = st.fixed_dictionaries({}, optional={"rel": st.sampled_from(["item", "child"]) | JSON, "href": JSON})
    asset = st.dictionaries(st.sampled_from(["LST_Day_1km", "x"]), JSON | st.fixed_dictionaries({"href": JSON}))
    extent = st.fixed_dictionaries({"temporal": JSON | st.fixed_dictionaries({"interval": JSON | st.lists(JSON)})})
    parts = {"links": st.lists(link | JSON, max_size=3), "assets": asset, "extent": extent}
    document = {"type": kind, "id": ITEMS[0]["id"]}
    for word in WORDS[kind]:
        document[word] = draw(JSON | parts.get(word, JSON))
    return document


@given(odd_documents(), st.sampled_from(["/catalogues/catalog.json", "https://archive.test/catalog.json"]))
@settings(max_examples=300)
def test_whatever_a_document_holds_a_search_ends_in_granules_or_an_explanation(document, base):
    reader = GuardedIO(HostRule(frozenset({"archive.test"})))
    reader.request = lambda href, *_, **__: json.dumps({"type": "Feature", "id": href})
    asked = wanted(TERRA, ["h24v05", "h25v05"], *YEAR)
    with contextlib.suppress(CatalogError):
        for one, address in walk(document, base, asked, reader):
            granule = stac_items.granule_of(one, address, asked, stac_items.Files())
            assert granule is None or granule.name == ITEMS[0]["id"]


def test_a_moved_catalogue_is_still_found(tmp_path):
    folder_of(tmp_path / "a", ITEMS)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert len(open_source("folder", tmp_path / "b").search(TERRA, ["h25v05"], *YEAR)) == 3
