"""What a bad archive does to frostmap and to odc-stac: the same files, and what each makes of them.

What odc-stac does is not what it should do, but what it was seen to do; a release that does better fails here and is
good news. The table in docs/how-to/granules.md is made from this.
"""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import lattice, parse_tile
from frostmap.catalogs.sources import open_source
from frostmap.pipeline.downloads import Downloads
from frostmap.pipeline.granule_files import GranuleError, check_granule_file
from frostmap.pipeline.granule_inputs import Reading, missing_notes, read_each
from frostmap.pipeline.simulate.catalogue import item
from frostmap.pipeline.simulate.granules import PRODUCTS, granule_id, write_cogs, write_hdf

stac = pytest.importorskip("odc.stac", reason="odc-stac is the peer; it is in the dependency group `bench`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the peer and its libraries

TERRA, TILE, PIXELS = load_collection("mod11a1"), parse_tile("h25v05"), 24
BOX = lattice(PIXELS)[TILE]
DAYS = [dt.date(2020, 1, 1 + number) for number in range(3)]
KEY, BAND = "LST_Day_1km", TERRA.band("lst_day")
FLIPS = 50
Counts = NDArray[np.uint16]


class Made(NamedTuple):
    """A granule of the archive."""

    name: str
    path: Path
    """Its daytime temperature."""
    counts: Counts
    """What was written there."""
    document: dict[str, Any]
    """Its item."""


def make(folder: Path, day: dt.date, seed: int, name: str = "") -> Made:
    """Write a granule, and return its item with links that are absolute."""
    random, name = np.random.default_rng(seed), name or granule_id("MOD11A1", day, TILE)
    layers = {
        layer.name: random.integers(1, 200 if layer.dtype == "uint8" else 16000, (PIXELS, PIXELS)).astype(layer.dtype)
        for layer in PRODUCTS["MOD11A1"].layers
    }
    folder.mkdir(exist_ok=True)
    write_cogs(folder, name, "MOD11A1", TILE, layers)
    document = item("MOD11A1", day, TILE, PIXELS, "cog") | {"id": name}
    for key, asset in document["assets"].items():
        asset["href"] = str(folder / f"{name}_{key}.tif")
    document["properties"]["datetime"] = document["properties"]["start_datetime"]  # the peer wants one
    return Made(name, folder / f"{name}_{KEY}.tif", layers[KEY], document)


@pytest.fixture
def archive(tmp_path: Path) -> list[Made]:
    """Return the granules of three days."""
    return [make(tmp_path / "archive", day, number) for number, day in enumerate(DAYS)]


def ours(archive: Sequence[Made], **links: str) -> list[str]:
    """Return what frostmap makes of each granule: ``same``, ``other`` numbers, or why it is recorded as bad."""
    granules = {
        number: Granule(made.name, *parse_granule_name(made.name), band_hrefs={KEY: links.get(made.name, made.path)})
        for number, made in enumerate(
            made._replace(path=str(made.path))
            for made in archive  # type: ignore[arg-type]
        )
    }
    cache = archive[0].path.parent.parent / "cache"
    hosts = tuple(link.split("/")[2] for link in links.values())
    how = Reading(TERRA, (BAND.name,), PIXELS, Downloads(cache, attempts=1, allow_hosts=hosts))
    outcomes = []
    for number, arrays, note in read_each(granules, how):
        if arrays is None:
            assert note["status"] == "bad"
            outcomes.append(note["error"])
        else:
            outcomes.append("same" if np.array_equal(arrays[BAND.name], archive[number].counts) else "other")
    return outcomes


def loaded(documents: Sequence[dict[str, Any]], **settings: Any) -> Any:
    """Load items as the peer's users do, on the tile's own grid unless another is given."""
    items = [pystac.Item.from_dict(document) for document in documents]
    return stac.load(items, **({"bands": [KEY], "geobox": BOX, "groupby": "time"} | settings))


def theirs(archive: Sequence[Made], **settings: Any) -> list[str] | str:
    """Return what odc-stac makes of each day: ``same``, ``zeros``, ``other`` numbers; or the error that it ends in."""
    try:
        cube = loaded([made.document for made in archive], **settings)[KEY].values
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        return type(error).__name__
    assert cube.dtype == np.uint16
    return [
        "same" if np.array_equal(found, made.counts) else "zeros" if not found.any() else "other"
        for found, made in zip(cube, archive, strict=True)
    ]


# ---- one file of three is wrong ------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def renamed_hdf(path: Path) -> None:
    """Put the granule's HDF file in the place of a GeoTIFF."""
    layers = {layer.name: np.ones((PIXELS, PIXELS), layer.dtype) for layer in PRODUCTS["MOD11A1"].layers}
    write_hdf(path, "MOD11A1", TILE, layers)


def login_page(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><html><title>Earthdata Login</title></html>")


def rewritten(**changes: Any) -> Callable[[Path], None]:
    """Return what writes the same numbers with other metadata."""

    def write(path: Path) -> None:
        with rasterio.open(path) as file:
            numbers = file.read()
            profile = {key: file.profile[key] for key in ("height", "width", "count", "dtype", "crs", "transform")}
            profile |= {"nodata": file.nodata, "driver": "COG", "compress": "DEFLATE"} | changes
        with rasterio.open(path, "w", **profile) as file:
            file.write(numbers.astype(profile["dtype"]))

    return write


FAILED, ZEROS, SAME, OTHER = "RasterioIOError", ["same", "zeros", "same"], ["same"] * 3, ["same", "other", "same"]
PLACE = BOX.affine


class Case(NamedTuple):
    """A way in which a file is wrong."""

    spoil: Callable[[Path], None]
    ours: str
    """Words of what frostmap records of it."""
    theirs: list[str] | str
    """What odc-stac does with the three days."""
    lenient: list[str] | str
    """The same with ``fail_on_error=False``."""


CASES = {
    "truncated": Case(truncated, "cannot be read", FAILED, ZEROS),
    "empty": Case(emptied, "is empty", FAILED, ZEROS),
    "not there": Case(removed, "is not there", FAILED, ZEROS),
    "an HDF file renamed": Case(renamed_hdf, "an HDF file renamed to a GeoTIFF", FAILED, ZEROS),
    "a login page": Case(login_page, "a text or web page, not data", FAILED, ZEROS),
    "another CRS": Case(rewritten(crs="EPSG:32645"), "another projection", ZEROS, ZEROS),
    "no CRS": Case(rewritten(crs=None), "another projection", "AssertionError", "AssertionError"),
    "five pixels off": Case(rewritten(transform=PLACE * Affine.translation(5, 0)), "does not lie where", OTHER, OTHER),
    "half a pixel off": Case(rewritten(transform=PLACE * Affine.translation(0.5, 0)), "does not lie where", SAME, SAME),
    "another tile": Case(
        rewritten(transform=lattice(PIXELS)[parse_tile("h26v05")].affine), "does not lie where", ZEROS, ZEROS
    ),
    "float32": Case(rewritten(dtype="float32"), "1 bands of float32", SAME, SAME),
    "int16": Case(rewritten(dtype="int16", nodata=0), "1 bands of int16", SAME, SAME),
    "another nodata": Case(rewritten(nodata=13000), "another nodata value", SAME, SAME),
    "no nodata": Case(rewritten(nodata=None), "", SAME, SAME),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_file_of_three_is_wrong(name: str, archive: list[Made]) -> None:
    case = CASES[name]
    case.spoil(archive[1].path)
    first, spoilt, last = ours(archive)
    assert (first, last) == ("same", "same")
    assert spoilt == "same" if not case.ours else case.ours in spoilt
    assert theirs(archive) == case.theirs
    assert theirs(archive, fail_on_error=False) == case.lenient


def test_numbers_that_a_file_wrongly_declares_as_none_are_lost_to_the_peer_only_where_it_is_told_a_nodata(
    archive: list[Made],
) -> None:
    value = int(archive[1].counts[3, 5])
    rewritten(nodata=value)(archive[1].path)
    found = loaded([made.document for made in archive], nodata=0)[KEY].values[1]
    lost = archive[1].counts == value
    np.testing.assert_array_equal(found, np.where(lost, 0, archive[1].counts))
    assert "another nodata value" in ours(archive)[1]


# ---- a bit is wrong ------------------------------------------------------------------------------------------------


def flipped(path: Path) -> Iterator[None]:
    """Change one bit of the compressed numbers, another one at each step."""
    whole, random = path.read_bytes(), np.random.default_rng(2020)
    with rasterio.open(path) as file:
        start, size = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    for place, bit in zip(random.integers(start, start + size, FLIPS), random.integers(0, 8, FLIPS), strict=True):
        content = bytearray(whole)
        content[place] ^= 1 << int(bit)
        path.write_bytes(content)
        yield


def test_one_flipped_bit_is_other_numbers_to_the_peer_and_is_refused_where_files_are_fetched(
    archive: list[Made],
) -> None:
    made = archive[1]
    granule = Granule(made.name, *parse_granule_name(made.name))
    seen: Counter[tuple[str, str]] = Counter()
    for _ in flipped(made.path):
        (peer,) = outcome if isinstance(outcome := theirs([made]), list) else [outcome]
        try:
            check_granule_file(made.path, granule, KEY, pixels_per_tile=PIXELS)  # as each download is
        except GranuleError:
            fetched = "refused"
        else:
            fetched = ours([made])[0]
        seen[fetched, peer] += 1
    assert {fetched for fetched, _ in seen} == {"refused", "same"}
    assert seen["refused", "other"] > FLIPS // 3
    assert seen["refused", FAILED] > 0
    assert not seen["same", "other"]


def test_one_flipped_bit_is_refused_in_a_local_archive_too(archive: list[Made]) -> None:
    made = archive[1]
    assert not [outcome for _ in flipped(made.path) for outcome in ours([made]) if outcome == "other"]


# ---- a web server is wrong -----------------------------------------------------------------------------------------


@pytest.fixture
def server(archive: list[Made]) -> Iterator[str]:
    """Serve files by ranges, as GDAL asks for them, and a login page with the status of success for the second day."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = archive[0].path.parent / self.path.rpartition("/")[2]
            content, kind, status = path.read_bytes(), "image/tiff", 200
            if path == archive[1].path:
                content, kind = b"<!DOCTYPE html><html><title>Earthdata Login</title></html>", "text/html"
            headers = {"Content-Type": kind, "Accept-Ranges": "bytes"}
            if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                content, status = content[first : last + 1], 206
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=partial(running.serve_forever, poll_interval=0.01), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def test_a_login_page_with_the_status_of_success(archive: list[Made], server: str) -> None:
    links = {made.name: f"{server}/{made.path.name}" for made in archive}
    for made in archive:
        made.document["assets"][KEY]["href"] = links[made.name]
    first, page, last = ours(archive, **links)
    assert (first, last) == ("same", "same")
    assert "a web page instead of data" in page
    assert theirs(archive[::2]) == ["same", "same"]
    assert theirs(archive) == FAILED
    assert theirs(archive, fail_on_error=False) == ZEROS


# ---- an item is wrong, or not there --------------------------------------------------------------------------------


def test_of_two_productions_of_a_granule_the_peer_takes_the_older(archive: list[Made], tmp_path: Path) -> None:
    stem = archive[1].name.rpartition(".")[0]
    older = make(tmp_path / "archive", DAYS[1], 99, f"{stem}.2015001000000")
    for order in ([archive[1], older], [older, archive[1]]):
        cube = loaded([made.document for made in order])[KEY].values
        np.testing.assert_array_equal(cube, older.counts[None])
    found = open_source("folder", tmp_path / "archive").search(TERRA, [TILE], DAYS[0], DAYS[-1])
    assert [granule.name for granule in found] == [made.name for made in archive]


def test_a_day_that_is_missing_is_no_row_to_the_peer(archive: list[Made], tmp_path: Path) -> None:
    cube = loaded([archive[0].document, archive[2].document])
    assert cube.sizes["time"] == 2
    for path in archive[1].path.parent.glob(f"{archive[1].name}*"):
        path.unlink()
    found = open_source("folder", tmp_path / "archive").search(TERRA, [TILE], DAYS[0], DAYS[-1])
    missing = [note["date"] for note in missing_notes(TERRA, [str(TILE)], 2020, found)]
    assert missing[0] == DAYS[1].isoformat()
    assert not {DAYS[0].isoformat(), DAYS[2].isoformat()} & set(missing)


def test_an_item_without_epsg_and_nodata_is_read_and_without_any_projection_only_by_us(archive: list[Made]) -> None:
    for made in archive:
        rewritten(nodata=None)(made.path)
        assert made.document["properties"]["proj:epsg"] is None
    assert ours(archive) == theirs(archive) == SAME
    cube = loaded([made.document for made in archive], geobox=None)
    assert cube.odc.geobox.shape == BOX.shape
    for word in ("proj:wkt2", "proj:shape", "proj:transform"):
        del archive[1].document["properties"][word]
    assert theirs(archive) == theirs(archive, fail_on_error=False) == "ValueError"
    assert ours(archive) == SAME


def test_where_there_is_no_granule_the_peer_has_zeros_which_mean_good_quality(archive: list[Made]) -> None:
    beyond = GeoBox((PIXELS, 2 * PIXELS), PLACE, BOX.crs)
    layers = {"qc": "QC_Day", "angle": "Day_view_angl"}
    cube = loaded([archive[0].document], geobox=beyond, bands=list(layers.values()))
    for asset in layers.values():
        assert not cube[asset].values[..., PIXELS:].any()
        assert "nodata" not in cube[asset].attrs
    truncated(Path(archive[1].document["assets"]["QC_Day"]["href"]))
    cube = loaded([made.document for made in archive], bands=["QC_Day"], fail_on_error=False)
    assert not cube["QC_Day"].values[1].any()
