"""A search finds the same granules in a static catalogue and behind an API, whatever the metadata leave out."""

import contextlib
import copy
import datetime as dt
import http.server
import json
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule, parse_granule_name, search
from frostmap.catalogs.grids import Tile, tile_bounds

TERRA, AQUA = load_collection("mod11a1"), load_collection("myd11a1")
YEAR = (dt.date(2010, 1, 1), dt.date(2010, 12, 31))
OLD, NEW = "2015001000000", "2021014002251"


def item(product="MOD11A1", day="2010001", tile="h25v05", stamp=NEW, keys=("LST_Day_1km", "QC_Day"), version="061"):
    """Return an item as the large public catalogue has it: no platform, no datetime, no EPSG code, no nodata."""
    name = ".".join([product, f"A{day}", tile, version, *([stamp] if stamp else [])])
    date = dt.datetime.strptime(day, "%Y%j").date()
    west, south, east, north = tile_bounds(tile)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    assets = {key: {"href": f"./{name}_{key}.tif", "type": "image/tiff"} for key in keys}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "modis-11A1-061",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": None,
            "start_datetime": f"{date}T00:00:00Z",
            "end_datetime": f"{date}T23:59:59Z",
            "modis:horizontal-tile": int(tile[1:3]),
            "modis:vertical-tile": int(tile[4:6]),
            "proj:epsg": None,
        },
        "links": [],
        "assets": assets | {"hdf": {"href": f"./{name}.hdf", "type": "application/x-hdf"}},
    }


ITEMS = [
    *(item(product, f"2010{day:03d}", tile) for product in ("MOD11A1", "MYD11A1") for day in (1, 2, 300)
      for tile in ("h24v05", "h25v05", "h25v06")),
    item(stamp=OLD),  # processed again since
    item(day="2011001"),
    item(version="006"),
]  # fmt: skip


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def catalogue(folder, items=ITEMS, *, identifier="modis-11A1-061", nested=True, extent=None):
    """Write a static catalogue: a root, a collection, a catalogue for each tile and year, items."""
    groups = {}
    for one in items:
        name = parse_granule_name(one["id"])
        groups.setdefault(f"{name.tile}-{name.date.year}" if nested else "", []).append(one)
    links = []
    home = folder / identifier
    for group, members in groups.items():
        inner = []
        for one in members:
            write(home / group / one["id"] / f"{one['id']}.json", one)
            inner.append({"rel": "item", "href": f"./{one['id']}/{one['id']}.json"})
        if nested:
            document = {"type": "Catalog", "id": group, "stac_version": "1.0.0", "description": "x", "links": inner}
            write(home / group / "catalog.json", document)
            links.append({"rel": "child", "href": f"./{group}/catalog.json"})
        else:
            links += inner
    collection = {"type": "Collection", "id": identifier, "stac_version": "1.0.0", "description": "x", "links": links}
    collection |= {"license": "other", "extent": extent or {"temporal": {"interval": [[None, None]]}}}
    write(home / "collection.json", collection)
    root = {"type": "Catalog", "id": "r", "stac_version": "1.0.0", "description": "x"}
    write(folder / "catalog.json", root | {"links": [{"rel": "child", "href": f"./{identifier}/collection.json"}]})
    return folder / "catalog.json"


def summary(granules):
    return [(one.product, one.date.isoformat(), str(one.tile), one.production) for one in granules]


# ---- what must always hold -----------------------------------------------------------------------------------------


@given(
    st.sampled_from(["MOD11A1", "MYD11A1", "MOD13A1", "MOD10A2"]),
    st.dates(dt.date(2000, 1, 1), dt.date(2029, 12, 31)),
    st.integers(0, 35),
    st.integers(0, 17),
    st.sampled_from(["", OLD]),
    st.sampled_from(["", ".hdf"]),
)
def test_a_name_says_what_it_was_made_of(product, date, h, v, stamp, suffix):
    name = f"{product}.A{date:%Y%j}.{Tile(h, v)}.061" + (f".{stamp}" if stamp else "") + suffix
    assert parse_granule_name(name) == (product, date, Tile(h, v), "061", stamp)


def test_only_the_wanted_product_tiles_days_and_version_are_found(tmp_path):
    found = search(catalogue(tmp_path), AQUA, ["h25v05", Tile(24, 5)], dt.date(2010, 1, 2), dt.date(2010, 12, 31))
    assert summary(found) == [
        ("MYD11A1", "2010-01-02", "h24v05", NEW),
        ("MYD11A1", "2010-01-02", "h25v05", NEW),
        ("MYD11A1", "2010-10-27", "h24v05", NEW),
        ("MYD11A1", "2010-10-27", "h25v05", NEW),
    ]


@pytest.mark.parametrize("items", [ITEMS, ITEMS[::-1]])
def test_the_newest_of_granules_that_were_processed_again_wins(tmp_path, items):
    found = search(catalogue(tmp_path, items), TERRA, ["h25v05"], dt.date(2010, 1, 1), dt.date(2010, 1, 1))
    assert [one.production for one in found] == [NEW]


def test_the_catalogue_s_layout_does_not_change_the_answer(tmp_path):
    nested = search(catalogue(tmp_path / "a"), TERRA, ["h25v05", "h25v06"], *YEAR)
    flat = search(catalogue(tmp_path / "b", nested=False), TERRA, ["h25v05", "h25v06"], *YEAR)
    other_id = search(catalogue(tmp_path / "c", identifier="mine"), TERRA, ["h25v05", "h25v06"], *YEAR)
    from_collection = search(tmp_path / "a" / "modis-11A1-061", TERRA, ["h25v05", "h25v06"], *YEAR)
    write(tmp_path / "d" / "items.json", {"type": "FeatureCollection", "features": ITEMS})
    in_one_file = search(tmp_path / "d" / "items.json", TERRA, ["h25v05", "h25v06"], *YEAR)
    assert len(nested) == 6
    assert summary(nested) == summary(flat) == summary(other_id) == summary(from_collection) == summary(in_one_file)
    assert nested == from_collection


def test_relative_links_become_absolute_paths_of_this_machine(tmp_path):
    root = catalogue(tmp_path)
    (one,) = search(root, TERRA, ["h25v05"], dt.date(2010, 1, 1), dt.date(2010, 1, 1))
    home = tmp_path / "modis-11A1-061" / "h25v05-2010" / one.name
    assert one.hdf_href == str(home / f"{one.name}.hdf")
    assert one.band_hrefs == {key: str(home / f"{one.name}_{key}.tif") for key in ("LST_Day_1km", "QC_Day")}
    assert search(f"file://{root}", TERRA, ["h25v05"], *YEAR) == search(str(tmp_path), TERRA, ["h25v05"], *YEAR)


def test_a_granule_travels_and_compares(tmp_path):
    (one,) = search(catalogue(tmp_path), TERRA, ["h25v05"], dt.date(2010, 1, 1), dt.date(2010, 1, 1))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301
    assert hash(one) == hash(copy.deepcopy(one))


def test_an_empty_answer_is_an_empty_list(tmp_path):
    root = catalogue(tmp_path)
    assert search(root, TERRA, ["h23v05"], *YEAR) == []
    assert search(root, TERRA, [], *YEAR) == []
    assert search(root, TERRA, ["h25v05"], dt.date(2003, 1, 1), dt.date(2003, 2, 1)) == []
    assert search(root, load_collection("mod13a1"), ["h25v05"], *YEAR) == []


# ---- incomplete metadata -------------------------------------------------------------------------------------------


def test_a_stamp_that_the_id_leaves_out_is_taken_from_a_file_s_name_or_the_creation(tmp_path):
    from_file, from_creation, unknown = item(stamp=""), item(stamp="", day="2010002"), item(stamp="", day="2010003")
    from_file["assets"] = {"LST_Day_1km": {"href": f"https://x.test/{from_file['id']}.{OLD}_LST_Day_1km.tif?sig=1"}}
    from_creation["properties"]["created"] = "2022-02-09T19:24:19Z"
    found = search(catalogue(tmp_path, [from_file, from_creation, unknown]), TERRA, ["h25v05"], *YEAR)
    assert [one.production for one in found] == [OLD, "2022040192419", ""]


def test_an_item_without_any_file_is_still_listed(tmp_path):
    bare = item() | {"assets": {}}
    (one,) = search(catalogue(tmp_path, [bare]), TERRA, ["h25v05"], *YEAR)
    assert (one.hdf_href, dict(one.band_hrefs)) == (None, {})


def test_the_platform_and_the_tile_in_the_metadata_are_not_trusted(tmp_path):
    lying = item("MYD11A1")
    lying["properties"] |= {"platform": "terra", "modis:horizontal-tile": 24}
    root = catalogue(tmp_path, [lying])
    assert len(search(root, AQUA, ["h25v05"], *YEAR)) == 1
    assert search(root, TERRA, ["h25v05"], *YEAR) == []
    assert search(root, AQUA, ["h24v05"], *YEAR) == []


def test_files_are_told_by_suffix_where_archives_name_assets_differently(tmp_path):
    archive = item() | {"assets": {
        "0": {"href": "s3://archive/x.hdf"},
        "browse": {"href": "https://archive.test/x.jpg"},
        "data": {"href": "https://archive.test/x.hdf?token=1"},
    }}  # fmt: skip
    (one,) = search(catalogue(tmp_path, [archive]), TERRA, ["h25v05"], *YEAR)
    assert one.hdf_href == "s3://archive/x.hdf"
    assert dict(one.band_hrefs) == {}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "tile", "stamp", "bands"),
    [
        ("mod11a1", "h19v02", "2022042095544", 12),
        ("myd11a1", "h21v07", "2022040192419", 12),
        ("mod13a1", "h12v11", "2022034232214", 11),
    ],
)
def test_items_of_the_public_tools_are_read(realdata, name, tile, stamp, bands):
    collection = load_collection(name)
    root = realdata / "stac" / "stactools_modis" / "examples" / "modis-061" / collection.stac_collections[0]
    document = json.loads((root / "collection.json").read_text())
    items = [str(path) for path in root.glob("*/*.json")]
    assert [link["rel"] for link in document["links"]].count("item") == len(items) == 2  # Terra and Aqua
    (one,) = search(root, collection, [tile], dt.date(2022, 1, 1), dt.date(2022, 12, 31))
    assert (one.product, one.production, len(one.band_hrefs)) == (collection.product, stamp, bands)
    assert one.hdf_href is not None
    assert one.hdf_href.endswith(f"{one.name}.{stamp}.hdf")
    assert ".." not in one.hdf_href


# ---- static catalogues read no more than they must -----------------------------------------------------------------


def test_branches_of_other_tiles_years_and_products_are_not_opened(tmp_path):
    root = catalogue(tmp_path)
    vegetation = tmp_path / "modis-13A1-061" / "collection.json"
    links = [{"rel": "item", "href": "./gone.json"}]
    write(vegetation, {"type": "Collection", "id": "modis-13A1-061", "links": links})
    document = json.loads(root.read_text())
    document["links"].append({"rel": "child", "href": "./modis-13A1-061/collection.json"})
    write(root, document)
    for branch in ("h24v05-2010", "h25v05-2011", "h25v06-2010"):
        shutil.rmtree(tmp_path / "modis-11A1-061" / branch)
    assert len(search(root, TERRA, ["h25v05"], *YEAR)) == 3


def test_collections_of_other_years_are_not_opened(tmp_path):
    ended = {"temporal": {"interval": [["2000-02-24T00:00:00Z", "2009-12-31T23:59:59Z"]]}}
    assert search(catalogue(tmp_path, extent=ended), TERRA, ["h25v05"], *YEAR) == []


def test_thousands_of_items_are_searched_within_seconds(tmp_path):
    days = range(1, 366)
    tiles = ("h24v05", "h25v05", "h25v06", "h26v05", "h26v06")
    everything = tuple(band.asset for band in TERRA.bands)
    items = [item("MOD11A1", f"2010{day:03d}", tile, keys=everything) for day in days for tile in tiles]
    items += [item("MYD11A1", f"2010{day:03d}", tile, keys=everything) for day in days for tile in tiles]
    root = catalogue(tmp_path, items)
    start = time.process_time()
    assert len(search(root, TERRA, tiles, *YEAR)) == len(search(root, AQUA, tiles, *YEAR)) == 5 * 365
    assert time.process_time() - start < 5  # half a second on a quiet machine


# ---- a real STAC API server, and one with the query extension ------------------------------------------------------


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Run rustac, a STAC API server without the query extension, on the items."""
    folder = tmp_path_factory.mktemp("api")
    items = copy.deepcopy(ITEMS)
    for one in items:
        for asset in one["assets"].values():
            asset["href"] = "https://files.test/" + asset["href"].removeprefix("./")
    (folder / "items.ndjson").write_text("\n".join(map(json.dumps, items)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    program = Path(sys.executable).parent / "rustac"
    if not program.exists():
        pytest.skip("rustac's command is not installed")
    command = [program, "serve", folder / "items.ndjson", "--create-collections", "--addr", address]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(address.split(":"), timeout=1):
                break
            time.sleep(0.1)
        else:
            pytest.fail("the STAC API server did not start: " + (folder / "log").read_text())
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize("collection", [TERRA, AQUA])
@pytest.mark.parametrize("tiles", [["h25v05"], ["h24v05", "h25v05", "h25v06"], ["h23v05"]])
def test_an_api_and_a_static_catalogue_give_the_same_granules(tmp_path, api, collection, tiles):
    static = search(catalogue(tmp_path), collection, tiles, *YEAR)
    served = search(api, collection, tiles, *YEAR)
    assert summary(static) == summary(served)
    assert [set(one.band_hrefs) for one in static] == [set(one.band_hrefs) for one in served]
    assert all(one.hdf_href == f"https://files.test/{one.name}.hdf" for one in served)


def test_a_collection_s_address_leads_to_its_api(api):
    whole = search(api, TERRA, ["h25v05"], *YEAR)
    assert search(f"{api}/collections/modis-11A1-061", TERRA, ["h25v05"], *YEAR) == whole
    assert len(whole) == 3


def test_an_api_without_the_product_says_which_collections_it_looked_for(api):
    with pytest.raises(CatalogError, match="no collection with MOD13A1") as caught:
        search(api, load_collection("mod13a1"), ["h25v05"], *YEAR)
    assert "modis-13A1-061, MOD13A1_061" in str(caught.value)


class QueryApi(http.server.BaseHTTPRequestHandler):
    """A STAC API with the query extension, whose outlines of items are useless, in pages of two."""

    items = ITEMS
    answers_queries = True
    breaks = False
    requests: ClassVar[list[dict]] = []

    def reply(self, document, status=200):
        body = json.dumps(document).encode() if not isinstance(document, bytes) else document
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        home = f"http://{self.headers['Host']}"
        classes = ["core", "collections", "ogcapi-features", "item-search", "item-search#query"]
        if self.path in ("", "/"):
            root = {"type": "Catalog", "stac_version": "1.0.0", "id": "q", "description": "q"}
            root["conformsTo"] = [f"https://api.stacspec.org/v1.0.0/{name}" for name in classes]
            root["links"] = [
                {"rel": "self", "href": home, "type": "application/json"},
                {"rel": "data", "href": f"{home}/collections", "type": "application/json"},
                {"rel": "search", "href": f"{home}/search", "method": "POST", "type": "application/geo+json"},
            ]
            self.reply(root)
        elif self.path == "/collections/modis-11A1-061":
            extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
            collection = {"type": "Collection", "stac_version": "1.0.0", "id": "modis-11A1-061", "description": "x"}
            self.reply(collection | {"license": "other", "extent": extent, "links": []})
        else:
            self.reply({"code": "NotFound"}, 404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(body)
        if self.breaks:
            self.reply(b"<html>Bad gateway</html>", 502)
            return
        found = []
        if "query" in body and self.answers_queries:
            wanted = {key: test["eq"] for key, test in body["query"].items()}
            found = [one for one in self.items if all(one["properties"].get(k) == v for k, v in wanted.items())]
        elif "bbox" in body and not self.answers_queries:
            found = self.items
        start = body.get("token", 0)
        page = {"type": "FeatureCollection", "features": found[start : start + 2], "links": []}
        if start + 2 < len(found):
            link = {"rel": "next", "href": f"http://{self.headers['Host']}/search", "method": "POST"}
            page["links"].append(link | {"body": body | {"token": start + 2}})
        self.reply(page)

    def log_message(self, *_):
        """Stay quiet."""


@pytest.fixture
def query_api(monkeypatch):
    monkeypatch.setattr(QueryApi, "requests", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), QueryApi)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_tiles_are_asked_for_by_number_where_the_api_can(tmp_path, query_api):
    served = search(query_api, TERRA, ["h25v05", "h25v06"], *YEAR)
    assert summary(served) == summary(search(catalogue(tmp_path), TERRA, ["h25v05", "h25v06"], *YEAR))
    first = min(QueryApi.requests, key=json.dumps)  # tiles are asked for at the same time
    assert first["query"] == {"modis:horizontal-tile": {"eq": 25}, "modis:vertical-tile": {"eq": 5}}
    assert first["collections"] == ["modis-11A1-061"]
    assert not any("bbox" in request for request in QueryApi.requests)
    assert served[0].hdf_href == f"{query_api}/{served[0].name}.hdf"  # relative to the API, for want of better


def test_tiles_are_asked_for_by_box_where_items_do_not_tell_their_numbers(query_api, monkeypatch):
    monkeypatch.setattr(QueryApi, "answers_queries", False)
    assert len(search(query_api, TERRA, ["h25v05"], *YEAR)) == 3
    assert len(search(query_api, TERRA, ["h23v05"], *YEAR)) == 0


def test_an_api_that_fails_is_reported_with_what_it_said(query_api, monkeypatch):
    monkeypatch.setattr(QueryApi, "breaks", True)
    with pytest.raises(CatalogError, match="did not answer the search") as caught:
        search(query_api, TERRA, ["h25v05"], *YEAR)
    assert "Bad gateway" in str(caught.value)


def test_a_server_that_is_not_there_is_reported():
    with pytest.raises(CatalogError, match="cannot read"):
        search("http://127.0.0.1:9/stac", TERRA, ["h25v05"], *YEAR)


def test_a_static_catalogue_may_be_on_a_web_server(tmp_path):
    root = catalogue(tmp_path)

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

        def log_message(self, *_):
            """Stay quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        served = search(f"{address}/catalog.json", TERRA, ["h25v05"], *YEAR)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert summary(served) == summary(search(root, TERRA, ["h25v05"], *YEAR))
    assert served[0].hdf_href == f"{address}/modis-11A1-061/h25v05-2010/{served[0].name}/{served[0].name}.hdf"


# ---- edges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "MOD11A1.A2010366.h25v05.061",  # no leap year
        "MOD11A1.A2010000.h25v05.061",
        "MOD11A1.A2010001.h36v05.061",
        "MOD11A1.A2010001.h25v05",
        "MOD11A1.A2010001.h25v05.061.20150010000",
        "MOD11A1_2010001",
    ],
)
def test_what_names_no_granule_is_refused(name):
    with pytest.raises(CatalogError, match="not the name of a MODIS granule"):
        parse_granule_name(name)


def test_a_missing_catalogue_is_named(tmp_path):
    with pytest.raises(CatalogError, match="cannot read") as caught:
        search(tmp_path / "catalog.json", TERRA, ["h25v05"], *YEAR)
    assert str(tmp_path / "catalog.json") in str(caught.value)
    with pytest.raises(CatalogError, match="no STAC catalogue in this folder"):
        search(tmp_path, TERRA, ["h25v05"], *YEAR)


def test_a_broken_link_is_named(tmp_path):
    root = catalogue(tmp_path)
    gone = tmp_path / "modis-11A1-061" / "h25v05-2010" / "catalog.json"
    gone.unlink()
    with pytest.raises(CatalogError, match="incomplete") as caught:
        search(root, TERRA, ["h25v05"], *YEAR)
    assert str(gone) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"), [("<html>", "not JSON"), ("[1]", "not a STAC object"), ('{"type": "Map"}', "neither")]
)
def test_what_is_no_catalogue_is_refused(tmp_path, text, complaint):
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(CatalogError, match=complaint):
        search(tmp_path, TERRA, ["h25v05"], *YEAR)


def test_links_in_a_circle_end(tmp_path):
    root = catalogue(tmp_path)
    inner = tmp_path / "modis-11A1-061" / "h25v05-2010" / "catalog.json"
    document = json.loads(inner.read_text())
    document["links"].append({"rel": "child", "href": "../../catalog.json"})
    write(inner, document)
    assert len(search(root, TERRA, ["h25v05"], *YEAR)) == 3


def test_a_period_that_ends_before_it_starts_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="ends before it starts"):
        search(catalogue(tmp_path), TERRA, ["h25v05"], YEAR[1], YEAR[0])


def test_items_of_other_kinds_are_passed_over(tmp_path):
    root = catalogue(tmp_path, nested=False)
    collection = tmp_path / "modis-11A1-061" / "collection.json"
    document = json.loads(collection.read_text())
    write(collection.parent / "other.json", item() | {"id": "S2A_T45SWR"})
    document["links"].append({"rel": "item", "href": "./other.json"})
    write(collection, document)
    assert len(search(root, TERRA, ["h25v05"], *YEAR)) == 3


def test_granules_can_be_made_without_a_catalogue():
    name = parse_granule_name(f"MOD11A1.A2010001.h25v05.061.{NEW}")
    assert Granule("x", *name).band_hrefs == {}
