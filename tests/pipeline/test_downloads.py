"""A download ends as a whole, checked file or as an error that says why; and no secret leaves it."""

import datetime as dt
import errno
import functools
import hashlib
import json
import logging
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import Tile
from frostmap.pipeline import downloads
from frostmap.pipeline.downloads import DownloadError, Downloads, cache_path, download, fetched, recorded
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.granule_files import GranuleError, check_granule_file
from frostmap.pipeline.simulate.granules import PRODUCTS, write_cogs, write_hdf
from frostmap.pipeline.transfers import TransferError

from . import fault_server as faults
from .fault_server import sent, status

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2"]),  # two hosts of one machine
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]

NAME = "MOD11A1.A2020225.h25v05.061.2021014002251"
CONTENT = b"\x0e\x03\x13\x01" + np.random.default_rng(7).bytes(200_000)
PIXELS = 24


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch, tmp_path):
    """Let no test depend on, or see, the credentials and proxies of whoever runs it."""
    for name in ("EARTHDATA_TOKEN", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    downloads._session.cache_clear()


@pytest.fixture
def server():
    with faults.running() as running:
        yield running


@pytest.fixture
def neighbour():
    with faults.running("127.0.0.2") as running:
        yield running


@pytest.fixture
def pauses(monkeypatch):
    """Return the waits between attempts, which are not waited for."""
    waits = []
    monkeypatch.setattr(downloads, "_pause", lambda _stop, seconds: waits.append(seconds))
    return waits


def settings(tmp_path, server, **changes):
    values = {
        "folder": tmp_path / "cache",
        "timeout_s": 5.0,
        "backoff_s": 0.001,
        "allow_hosts": (server.host,),
        "attempts": 3,
        "login_host": "",
        "earthdata_hosts": (),
    }
    return Downloads(**(values | changes))


def granule(href=None, name=NAME, bands=None, **more):
    parsed = parse_granule_name(name)
    return Granule(name, *parsed, hdf_href=href, band_hrefs=bands or {}, **more)


def accept(_path, _granule, _asset):
    """Find nothing wrong."""


def is_content(path, _granule, _asset):
    if path.read_bytes() != CONTENT:
        raise GranuleError("another content", found=f"{path.stat().st_size} bytes")


def fetch(href, tmp_path, server, check=is_content, **changes):
    """Fetch one granule's HDF file; return the granule, or why not."""
    [(_, outcome)] = fetched([granule(href)], (), settings(tmp_path, server, **changes), check)
    return outcome


def files_of(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def assert_whole(outcome, content=CONTENT):
    """Assert that a granule was had, and that nothing but its file and record lies there."""
    assert isinstance(outcome, Granule), outcome
    path = Path(outcome.hdf_href)
    assert path.read_bytes() == content
    record = recorded(path)
    assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert files_of(path.parent) == [path, Path(f"{path}.json")]


def assert_absent(outcome, tmp_path, *words):
    """Assert that a granule was not had, that the error says why, and that nothing was left."""
    assert isinstance(outcome, DownloadError), outcome
    for word in words:
        assert word in str(outcome)
    assert files_of(tmp_path / "cache") == []


# ---- what is fetched, and where it lies ---------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_recorded(tmp_path, server):
    url = server.plan("/good.hdf", sent(CONTENT))
    assert_whole(fetch(url + "?sig=SECRET", tmp_path, server))
    outcome = fetch(url, tmp_path, server)
    assert_whole(outcome)
    assert server.count("/good.hdf") == 1
    record = recorded(Path(outcome.hdf_href))
    assert (record.url, record.etag, record.production) == (url, '"1"', "2021014002251")
    assert outcome.hdf_href == str(tmp_path / "cache/MOD11A1.061/2020.08.12" / f"{NAME}.hdf")


def test_granules_come_in_the_given_order_whatever_becomes_of_them(tmp_path, server):
    names = [f"MOD11A1.A2020{day:03}.h25v05.061.2021014002251" for day in range(1, 31)]
    wanted = []
    for i, name in enumerate(names):
        url = server.plan(f"/{name}", status(404) if i % 5 == 0 else sent(name.encode()))
        wanted.append(granule(url, name))
    outcomes = list(fetched(wanted, (), settings(tmp_path, server), accept))
    assert [one.name for one, _ in outcomes] == names
    for i, (name, (_, outcome)) in enumerate(zip(names, outcomes, strict=True)):
        if i % 5 == 0:
            assert isinstance(outcome, DownloadError)
        else:
            assert outcome.name == name
            assert Path(outcome.hdf_href).read_text() == name


def test_geotiffs_are_fetched_if_all_are_there_and_else_the_hdf_file(tmp_path, server):
    bands = {key: server.plan(f"/{key}.tif", sent(key.encode())) for key in ("QC_Day", "LST_Day_1km")}
    one = granule(server.plan("/all.hdf", sent(CONTENT)), bands=bands)
    seen = []

    def check(path, what, asset):
        seen.append((path.read_bytes()[:4], what, asset))

    [(_, tiffs)] = fetched([one], ["LST_Day_1km"], settings(tmp_path, server), check)
    assert list(tiffs.band_hrefs) == ["LST_Day_1km"]
    assert tiffs.hdf_href is None
    assert Path(tiffs.band_hrefs["LST_Day_1km"]).name == f"{NAME}_LST_Day_1km.tif"
    [(_, hdf)] = fetched([one], ["LST_Day_1km", "Emis_31"], settings(tmp_path, server), check)
    assert (hdf.band_hrefs, Path(hdf.hdf_href).name) == ({}, f"{NAME}.hdf")
    assert seen == [(b"LST_", one, "LST_Day_1km"), (CONTENT[:4], one, None)]
    assert server.count("/QC_Day.tif") == 0


def test_one_missing_geotiff_fails_the_granule(tmp_path, server):
    bands = {"QC_Day": server.plan("/a.tif", sent(CONTENT)), "LST_Day_1km": server.plan("/b.tif", status(404))}
    [(_, outcome)] = fetched([granule(bands=bands)], list(bands), settings(tmp_path, server), accept)
    assert isinstance(outcome, DownloadError)
    assert "b.tif" in str(outcome)


def test_local_granules_pass_untouched(tmp_path, server):
    def check(*_):
        raise AssertionError("a local file was checked")

    one = granule(str(tmp_path / "own.hdf"))
    [(_, outcome)] = fetched([one], (), settings(tmp_path, server), check)
    assert outcome is one
    assert not (tmp_path / "cache").exists()


def test_a_granule_without_the_wanted_files_is_an_error(tmp_path, server):
    [(_, outcome)] = fetched([granule()], ["QC_Day"], settings(tmp_path, server), accept)
    assert_absent(outcome, tmp_path, "without a file of each wanted layer", "QC_Day")


def test_one_file_can_be_fetched_by_itself(tmp_path, server):
    url, path = server.plan("/dem.tif", sent(CONTENT)), tmp_path / "cache" / "dem.tif"
    assert download(url, path, settings(tmp_path, server), lambda _: None).size == len(CONTENT)
    assert download(url, path, settings(tmp_path, server), lambda _: None).url == url
    assert server.count("/dem.tif") == 1
    with pytest.raises(DownloadError, match="404"):
        download(server.plan("/none", status(404)), path.with_name("b"), settings(tmp_path, server), lambda _: None)


# ---- the cache ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["shortened", "altered", "without record", "record of another", "record no JSON"])
def test_a_cached_file_that_is_not_the_recorded_one_is_fetched_again(tmp_path, server, damage):
    url = server.plan("/good.hdf", sent(CONTENT))
    path = Path(fetch(url, tmp_path, server).hdf_href)
    record = Path(f"{path}.json")
    if damage == "shortened":
        path.write_bytes(CONTENT[:-1])
    elif damage == "altered":
        path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    elif damage == "without record":
        record.unlink()
    elif damage == "record of another":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"sha256": "0" * 64, "mtime_ns": 1}))
    else:
        record.write_text("[]")
    assert recorded(path) is None
    assert_whole(fetch(url, tmp_path, server))
    assert server.count("/good.hdf") == 2


def test_a_copied_cache_counts_after_a_look_at_its_content(tmp_path, server):
    url = server.plan("/good.hdf", sent(CONTENT))
    path = Path(fetch(url, tmp_path, server).hdf_href)
    os.utime(path, (1, 1))
    assert_whole(fetch(url, tmp_path, server))
    assert server.count("/good.hdf") == 1
    assert recorded(path).mtime_ns == 10**9


def test_a_granule_that_was_processed_again_is_fetched_again_under_the_same_name(tmp_path, server):
    name = "MOD11A1.A2020225.h25v05.061"
    url = server.plan("/short.hdf", sent(b"old"), sent(b"newer"))
    old, new = (
        Granule(name, *parse_granule_name(name)[:-1], production, hdf_href=url)
        for production in ("2021014002251", "2022014002251")
    )
    for one, content in ((old, b"old"), (old, b"old"), (new, b"newer"), (new, b"newer")):
        [(_, outcome)] = fetched([one], (), settings(tmp_path, server), accept)
        assert Path(outcome.hdf_href).read_bytes() == content
    assert server.count("/short.hdf") == 2


names = st.one_of(st.just(NAME), st.text(), st.sampled_from(["../../x", "/etc/passwd", f"../{NAME}", f"{NAME}\0", ""]))
keys = st.one_of(st.none(), st.text(), st.sampled_from(["../x", "/etc/passwd", "a/b", "QC_Day\0", "QC_Day\n", ".", ""]))


@given(name=names, key=keys)
def test_no_name_or_key_leads_out_of_the_cache(name, key):
    one = Granule(name, "MOD11A1", dt.date(2020, 8, 12), Tile(25, 5), "061", "2021014002251")
    try:
        path = cache_path(Path("/cache"), one, key)
    except DownloadError:
        assert name != NAME or (key is not None and not re.fullmatch(r"[A-Za-z0-9_]{1,80}", key))
    else:
        assert path.parent == Path("/cache/MOD11A1.061/2020.08.12")
        assert re.fullmatch(r"[A-Za-z0-9_.]+", path.name)


def test_hrefs_do_not_choose_the_file_s_name(tmp_path, server):
    server.plan("/etc/passwd", sent(CONTENT))  # what the address means
    outcome = fetch(f"http://{server.host}/a/../../../../etc/passwd", tmp_path, server)
    assert_whole(outcome)
    assert Path(outcome.hdf_href).is_relative_to(tmp_path / "cache")


def test_an_asset_key_that_is_a_path_is_an_error_of_its_granule_only(tmp_path, server):
    url = server.plan("/good", sent(CONTENT))
    bad, good = granule(bands={"../../x": url}), granule(bands={"QC_Day": url})
    [(_, outcome)] = fetched([bad], ["../../x"], settings(tmp_path, server), accept)
    assert_absent(outcome, tmp_path, "asset whose key")
    [(_, outcome)] = fetched([good], ["QC_Day"], settings(tmp_path, server), accept)
    assert Path(outcome.band_hrefs["QC_Day"]).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_ends_the_run_with_the_reason(tmp_path, server, monkeypatch):
    def full(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FrostmapError, match="No space left") as caught:
        fetch(server.plan("/good.hdf", sent(CONTENT)), tmp_path, server)
    assert not isinstance(caught.value, GranuleError)
    assert files_of(tmp_path / "cache") == []


CHILD = """
import sys
from pathlib import Path
from frostmap.pipeline.downloads import Downloads, download
url, host, path = sys.argv[1:]
download(url, Path(path), Downloads(Path(path).parent, backoff_s=0.001, allow_hosts=(host,)), lambda part: None)
"""


def child(server, url, path):
    return subprocess.Popen([sys.executable, "-c", CHILD, url, server.host, str(path)])


def test_processes_that_fetch_the_same_file_do_not_harm_each_other(tmp_path, server):
    together = threading.Barrier(3)

    def answer(handler):
        together.wait(60)  # all are on their way before one gets an answer
        sent(CONTENT)(handler)

    path = tmp_path / "cache" / "same.hdf"
    children = [child(server, server.plan("/same.hdf", answer), path) for _ in range(3)]
    assert [process.wait(120) for process in children] == [0, 0, 0]
    assert path.read_bytes() == CONTENT
    assert files_of(path.parent) == [path, Path(f"{path}.json")]
    assert recorded(path).sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_killed_process_leaves_no_file_and_its_part_is_removed_in_time(tmp_path, server):
    path = tmp_path / "cache" / "killed.hdf"
    url = server.plan("/killed.hdf", faults.stalled(CONTENT, 150_000), sent(CONTENT))
    process = child(server, url, path)
    while not any(part.stat().st_size for part in tmp_path.rglob("*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    [part] = files_of(path.parent)
    assert part.name.startswith("killed.hdf.")
    download(url, path, settings(tmp_path, server), lambda _: None)
    assert path.read_bytes() == CONTENT
    assert part.exists()  # it could be another process's
    os.utime(part, (1, 1))
    download(url, path.with_name("next.hdf"), settings(tmp_path, server), lambda _: None)
    assert not part.exists()


# ---- statuses and waits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(tmp_path, server, code):
    url = server.plan("/burst.hdf", status(code), status(code), sent(CONTENT))
    assert_whole(fetch(url, tmp_path, server))
    assert server.count("/burst.hdf") == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 204, 206, 304])
def test_what_lasts_is_not_tried_again(tmp_path, server, code):
    outcome = fetch(server.plan("/never.hdf", status(code)), tmp_path, server)
    assert_absent(outcome, tmp_path, f"status {code}", f"{server.host}/never.hdf")
    assert server.count("/never.hdf") == 1


def test_attempts_end(tmp_path, server):
    outcome = fetch(server.plan("/down.hdf", status(503)), tmp_path, server, attempts=4)
    assert_absent(outcome, tmp_path, "status 503 Service Unavailable", "after 4 attempts", "frostmap retry")
    assert server.count("/down.hdf") == 4


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7.0, 7.5),
        (lambda: format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=40), usegmt=True), 20.0, 40.5),
        (lambda: format_datetime(dt.datetime.now(dt.UTC) - dt.timedelta(days=1), usegmt=True), 0.0, 0.5),
        ("86400", 300.0, 300.5),
        ("-5", 0.0, 0.5),
        ("9" * 50, 300.0, 300.5),
        ("soon", 0.0, 0.5),
        ("", 0.0, 0.5),
    ],
)
def test_servers_say_how_long_to_wait_up_to_a_cap(tmp_path, server, pauses, code, header, least, most):
    text = header() if callable(header) else header
    url = server.plan("/busy.hdf", status(code, Retry_After=text), sent(CONTENT))
    assert_whole(fetch(url, tmp_path, server, backoff_s=0.5))
    [pause] = pauses
    assert least <= pause <= most


def test_waits_double_and_are_drawn_from_their_whole_range(tmp_path, server, pauses):
    server.plan("/down.hdf", status(500))
    for i in range(40):
        download_to = tmp_path / "cache" / str(i)
        with pytest.raises(DownloadError):
            download(
                f"http://{server.host}/down.hdf",
                download_to,
                settings(tmp_path, server, backoff_s=2.0, attempts=4, longest_wait_s=6.0),
                lambda _: None,
            )
    by_attempt = [pauses[i::3] for i in range(3)]
    for waits, longest in zip(by_attempt, (2.0, 4.0, 6.0), strict=True):
        assert 0.0 <= min(waits) < 0.3 * longest
        assert 0.7 * longest < max(waits) <= longest


# ---- what breaks on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (faults.hung_up, "the connection broke"),
        (faults.silent, "nothing came within the time-out"),
        (faults.stalled(CONTENT, 1000), "nothing came within the time-out"),
        (faults.reset(CONTENT, 1000), "the connection broke"),
        (faults.cut(CONTENT, 1000), "a short body"),
        (faults.cut(CONTENT, len(CONTENT) - 1), "a short body"),
        (faults.chunked(CONTENT, finished=False), "a short body"),
        (faults.zipped(CONTENT, lost=20), "a truncated gzip body"),
        (sent(CONTENT, Content_Encoding="gzip"), "a damaged gzip body"),
        (sent(b""), "an empty file"),
    ],
    ids=["hung up", "silent", "stalled", "reset", "cut", "one byte short", "chunks", "zipped", "not zipped", "empty"],
)
def test_what_breaks_on_the_way_is_tried_again_and_then_told(tmp_path, server, answer, words):
    changes = {"timeout_s": 0.3}
    assert_whole(fetch(server.plan("/once.hdf", answer, sent(CONTENT)), tmp_path, server, **changes))
    assert server.count("/once.hdf") == 2
    (tmp_path / "other").mkdir()
    outcome = fetch(server.plan("/always.hdf", answer), tmp_path / "other", server, **changes)
    assert_absent(outcome, tmp_path / "other", words, "after 3 attempts")
    assert server.count("/always.hdf") == 3


def test_a_slow_drip_is_a_stall(tmp_path, server):
    url = server.plan("/drip.hdf", faults.dripped(CONTENT, 0.01), sent(CONTENT))
    assert_whole(fetch(url, tmp_path, server, stall_window_s=0.2))
    outcome = fetch(
        server.plan("/drips.hdf", faults.dripped(CONTENT, 0.01)), tmp_path / "b", server, stall_window_s=0.1
    )
    assert_absent(outcome, tmp_path / "b", "a stall", "after 3 attempts")


def test_a_slow_file_that_is_fast_enough_comes(tmp_path, server):
    url = server.plan("/slow.hdf", faults.dripped(CONTENT[:50], 0.01))
    outcome = fetch(url, tmp_path, server, accept, stall_window_s=0.05, slowest_bytes_per_s=1.0)
    assert_whole(outcome, CONTENT[:50])


def test_a_socket_that_does_not_accept_is_a_time_out(tmp_path, server):
    with faults.deaf() as host:
        outcome = fetch(f"http://{host}/x.hdf", tmp_path, server, timeout_s=0.2, allow_hosts=(host,))
    assert_absent(outcome, tmp_path, "no connection within the time-out", "after 3 attempts")


def test_a_closed_port_is_told(tmp_path, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        outcome = fetch(f"http://{host}/x.hdf", tmp_path, server, allow_hosts=(host,))
    assert_absent(outcome, tmp_path, "Connection refused", "after 3 attempts")


def test_a_name_that_does_not_resolve_is_tried_again(tmp_path, server, monkeypatch):
    asked = []

    def resolve(host, *_args, **_options):
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    outcome = fetch("https://archive.test/x.hdf", tmp_path, server)
    assert_absent(outcome, tmp_path, "does not resolve", "after 3 attempts")
    assert asked == ["archive.test"] * 3


def test_a_server_that_speaks_no_tls_is_told(tmp_path, server):
    outcome = fetch(f"https://{server.host}/x.hdf", tmp_path, server)
    assert_absent(outcome, tmp_path, "the encrypted connection failed")


@pytest.mark.parametrize(
    "answer",
    [faults.chunked(CONTENT), faults.zipped(CONTENT), faults.unmeasured(CONTENT), faults.longer(CONTENT, b"x" * 5000)],
    ids=["chunked", "zipped", "unmeasured", "longer than announced"],
)
def test_unusual_but_whole_answers_are_taken(tmp_path, server, answer):
    assert_whole(fetch(server.plan("/odd.hdf", answer), tmp_path, server))
    # the next answer on the same connection is not mixed up with what was too much
    bands = {"QC_Day": server.plan("/next.tif", sent(CONTENT))}
    [(_, outcome)] = fetched([granule(bands=bands)], ["QC_Day"], settings(tmp_path, server), is_content)
    assert Path(outcome.band_hrefs["QC_Day"]).read_bytes() == CONTENT
    assert (server.count("/odd.hdf"), server.count("/next.tif")) == (1, 1)


def test_an_answer_without_its_length_is_measured_by_the_catalogue(tmp_path, server):
    url = server.plan("/odd.hdf", faults.unmeasured(CONTENT[:-1]), faults.unmeasured(CONTENT))
    one = granule(url, sizes={url: len(CONTENT)})
    [(_, outcome)] = fetched([one], (), settings(tmp_path, server), accept)
    assert_whole(outcome)
    assert server.count("/odd.hdf") == 2


def test_a_body_without_end_is_given_up(tmp_path, server):
    outcome = fetch(server.plan("/big.hdf", sent(CONTENT)), tmp_path, server, largest_bytes=100_000)
    assert_absent(outcome, tmp_path, "more than 100000 bytes")
    assert server.count("/big.hdf") == 1


# ---- what comes but is not what was wanted ------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/x-hdf"])
def test_a_login_page_in_a_granule_s_place_says_to_log_in(tmp_path, server, content_type):
    url = server.plan("/login.hdf", faults.login_page(content_type))
    outcome = fetch(url, tmp_path, server, accept, login_host="urs.earthdata.nasa.gov")
    assert_absent(outcome, tmp_path, "page instead of data", "log in", "urs.earthdata.nasa.gov", "EARTHDATA_TOKEN")
    assert server.count("/login.hdf") == 1


@pytest.fixture(scope="module")
def real_files(tmp_path_factory):
    """Return a small true-to-form HDF file and GeoTIFF of the granule."""
    folder = tmp_path_factory.mktemp("granule")
    stored = {
        layer.name: np.random.default_rng(7)
        .integers(*layer.valid_range, (PIXELS, PIXELS), endpoint=True)
        .astype(layer.dtype)
        for layer in PRODUCTS["MOD11A1"].layers
    }
    write_hdf(folder / f"{NAME}.hdf", "MOD11A1", Tile(25, 5), stored)
    write_cogs(folder, NAME, "MOD11A1", Tile(25, 5), stored)
    return (folder / f"{NAME}.hdf").read_bytes(), (folder / f"{NAME}_QC_Day.tif").read_bytes()


check_small = functools.partial(check_granule_file, pixels_per_tile=PIXELS)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


DAMAGES = {
    "truncated": lambda hdf: hdf[: len(hdf) // 2],
    "last byte lost": lambda hdf: hdf[:-1],
    "a bit of a layer flipped": lambda hdf: flipped(hdf, len(hdf) - 40),
    "a bit of the magic number flipped": lambda hdf: flipped(hdf, 0),
    "text": lambda _: b"moved to another server",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_rubbish_is_fetched_once_more_and_then_reported(tmp_path, server, real_files, damage):
    hdf, _ = real_files
    bad = sent(DAMAGES[damage](hdf))  # as long as its Content-Length says
    assert_whole(fetch(server.plan("/once.hdf", bad, sent(hdf)), tmp_path, server, check_small), hdf)
    outcome = fetch(server.plan("/always.hdf", bad), tmp_path / "b", server, check_small)
    assert_absent(outcome, tmp_path / "b", "not what its name says", "fetched 2 times")
    assert server.count("/always.hdf") == 2


def test_another_granule_s_file_is_reported(tmp_path, server, real_files):
    url = server.plan("/other.hdf", sent(real_files[0]))
    one = granule(url, "MOD11A1.A2020226.h25v05.061.2021014002251")
    [(_, outcome)] = fetched([one], (), settings(tmp_path, server), check_small)
    assert_absent(outcome, tmp_path, "not what its name says")


def test_an_hdf_file_that_is_sent_as_a_geotiff_is_reported(tmp_path, server, real_files):
    hdf, tif = real_files
    bands = {"QC_Day": server.plan("/QC_Day.tif", sent(hdf))}
    [(_, outcome)] = fetched([granule(bands=bands)], ["QC_Day"], settings(tmp_path, server), check_small)
    assert_absent(outcome, tmp_path, "not what its name says", "TIFF")
    server.plan("/QC_Day.tif", sent(tif))
    [(_, outcome)] = fetched([granule(bands=bands)], ["QC_Day"], settings(tmp_path, server), check_small)
    assert Path(outcome.band_hrefs["QC_Day"]).read_bytes() == tif


# ---- hosts and redirects ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_to_allowed_hosts_are_followed(tmp_path, server, neighbour, code):
    url = server.plan("/here.hdf", faults.redirect(neighbour.plan("/there.hdf", sent(CONTENT)), code))
    assert_whole(fetch(url, tmp_path, server, allow_hosts=(server.host, neighbour.host)))


def test_relative_redirects_are_followed(tmp_path, server):
    server.plan("/a/there.hdf", sent(CONTENT))
    assert_whole(fetch(server.plan("/a/here.hdf", faults.redirect("there.hdf?x=1#top")), tmp_path, server))
    assert server.asked[-1].path == "/a/there.hdf?x=1"


@pytest.mark.parametrize(
    "target",
    [
        "http://{neighbour}/there.hdf",
        "https://{neighbour}/there.hdf",
        "//{neighbour}/there.hdf",
        "http://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "file:///etc/passwd",
        "/vsicurl/http://{neighbour}/there.hdf\\@x",
        "ftp://{neighbour}/there.hdf",
        "https://me:PASSWORDCANARY@{server}/there.hdf",
        "gopher:x",
        "http://[",
    ],
)
def test_redirects_elsewhere_are_refused(tmp_path, server, neighbour, target):
    neighbour.plan("/there.hdf", sent(CONTENT))
    to = target.format(neighbour=neighbour.host, server=server.host)
    outcome = fetch(server.plan("/here.hdf", faults.redirect(to)), tmp_path, server)
    assert_absent(outcome, tmp_path)
    assert "may not be asked" in str(outcome) or "no address" in str(outcome)
    assert "PASSWORDCANARY" not in str(outcome)
    assert (len(server.asked), neighbour.asked) == (1, [])


@pytest.mark.parametrize("href", ["http://{}/x.hdf", "file:///etc/passwd", "/vsicurl/http://{}/x.hdf", "ftp://{}/x"])
def test_hosts_that_are_not_allowed_are_not_asked(tmp_path, server, href):
    outcome = fetch(href.format(server.host), tmp_path, server, allow_hosts=())
    assert_absent(outcome, tmp_path, "may not be asked", "allow_hosts")
    assert server.asked == []


def test_a_file_of_this_machine_is_no_download_even_if_it_is_allowed(tmp_path, server):
    outcome = fetch("file:///etc/passwd", tmp_path, server, allow_hosts=("localhost",))
    assert_absent(outcome, tmp_path, "a file of this machine")


def test_redirect_loops_end(tmp_path, server):
    url = server.plan("/a.hdf", faults.redirect("/b.hdf"))
    server.plan("/b.hdf", faults.redirect("/a.hdf"))
    assert_absent(fetch(url, tmp_path, server), tmp_path, "a redirect loop")
    assert len(server.asked) == 2


def test_redirects_without_end_end(tmp_path, server):
    for i in range(20):
        server.plan(f"/{i}", faults.redirect(f"/{i + 1}"))
    assert_absent(fetch(f"http://{server.host}/0", tmp_path, server), tmp_path, "more than 8 redirects")
    assert len(server.asked) == 9


def test_eight_redirects_are_followed(tmp_path, server):
    for i in range(8):
        server.plan(f"/{i}", faults.redirect(f"/{i + 1}"))
    server.plan("/8", sent(CONTENT))
    assert_whole(fetch(f"http://{server.host}/0", tmp_path, server))


def test_a_redirect_to_nowhere_is_told(tmp_path, server):
    assert_absent(fetch(server.plan("/a.hdf", status(302)), tmp_path, server), tmp_path, "a redirect to nowhere")


def test_a_name_that_resolves_anew_to_this_machine_is_not_asked(tmp_path, server, monkeypatch):
    port = server.server_address[1]
    answers = iter(["93.184.215.14", "127.0.0.1"])  # when it is checked, and when it is connected to
    resolved = []

    def resolve(host, *_args, **_options):
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    outcome = fetch(f"https://rebound.test:{port}/x.hdf", tmp_path, server, allow_hosts=())
    assert_absent(outcome, tmp_path, "may not be asked", "127.0.0.1")
    assert resolved == ["rebound.test"] * 2
    assert server.asked == []


def test_a_proxy_of_the_environment_is_used_unless_it_is_excepted(tmp_path, server, neighbour, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://me:PROXYWORD@{neighbour.host}")
    neighbour.plan("/x.hdf", sent(CONTENT))
    assert_whole(fetch("http://archive.test/x.hdf", tmp_path, server, allow_hosts=("archive.test",)))
    [asked] = neighbour.asked
    assert asked.path == "http://archive.test/x.hdf"
    assert "proxy-authorization" in asked.headers
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert_whole(fetch(server.plan("/direct.hdf", sent(CONTENT)), tmp_path / "b", server))
    assert len(neighbour.asked) == 1


# ---- several at once ----------------------------------------------------------------------------------------------


def test_so_many_are_fetched_at_once_and_no_more(tmp_path, server):
    together, lock = threading.Barrier(3), threading.Lock()
    active, most = 0, 0

    def answer(handler):
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        together.wait(60)  # breaks, and so does the test, if fewer come
        with lock:
            active -= 1
        sent(CONTENT)(handler)

    names = [f"MOD11A1.A2020{day:03}.h25v05.061.2021014002251" for day in range(1, 10)]
    wanted = [granule(server.plan(f"/{name}", answer), name) for name in names]
    outcomes = list(fetched(wanted, (), settings(tmp_path, server, connections=3), accept))
    assert all(isinstance(outcome, Granule) for _, outcome in outcomes)
    assert most == 3


def test_granules_are_taken_no_further_ahead_than_needed(tmp_path, server):
    url, taken = server.plan("/good.hdf", sent(CONTENT)), 0

    def many():
        nonlocal taken
        for day in range(1, 366):
            taken += 1
            yield granule(url, f"MOD11A1.A2019{day:03}.h25v05.061.2021014002251")

    stream = fetched(many(), (), settings(tmp_path, server, connections=2), accept)
    next(stream)
    assert taken == 5
    stream.close()
    assert server.count("/good.hdf") <= 5


def test_a_consumer_that_leaves_is_not_kept_waiting(tmp_path, server, monkeypatch):
    waiting, woken = threading.Event(), []

    def pause(stop, seconds):
        assert seconds > 249.0
        waiting.set()
        woken.append(stop.wait(seconds))

    monkeypatch.setattr(downloads, "_pause", pause)
    names = [f"MOD11A1.A2020{day:03}.h25v05.061.2021014002251" for day in range(1, 8)]
    good = server.plan("/good.hdf", sent(CONTENT))
    busy = server.plan("/busy.hdf", status(503, Retry_After="250"))
    wanted = [granule(good if name == names[0] else busy, name) for name in names]
    stream = fetched(wanted, (), settings(tmp_path, server, connections=2), accept)
    next(stream)
    assert waiting.wait(60)
    stream.close()
    assert woken
    assert all(woken)
    assert len(files_of(tmp_path / "cache")) == 2


def test_a_fault_of_the_check_itself_is_not_taken_for_a_bad_granule(tmp_path, server):
    def broken(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch(server.plan("/good.hdf", sent(CONTENT)), tmp_path, server, broken)
    assert files_of(tmp_path / "cache") == []


# ---- signatures ---------------------------------------------------------------------------------------------------

FILE = "/modis-061-cogs/a.hdf"


def token(text, lasts_s=3600.0):
    expiry = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=lasts_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return sent(json.dumps({"token": f"st=1&sig={text}", "msft:expiry": expiry}).encode())


def signing(server, **changes):
    return {"sas_endpoint": f"http://{server.host}/token/", "signed_hosts": (server.host,)} | changes


def guarded(right, answer):
    """Answer only where the signature is the right one."""
    return lambda handler: (answer if f"sig={right}" in handler.path else status(403))(handler)


def test_a_container_s_token_is_asked_for_once(tmp_path, server):
    server.plan("/token/127/modis-061-cogs", token("ONE"))
    bands = {key: server.plan(f"/modis-061-cogs/{key}.tif", guarded("ONE", sent(CONTENT))) for key in "abcdefgh"}
    [(_, outcome)] = fetched([granule(bands=bands)], list(bands), settings(tmp_path, server, **signing(server)), accept)
    assert len(outcome.band_hrefs) == 8
    assert server.count("/token/127/modis-061-cogs") == 1


def test_a_token_that_is_about_to_expire_is_asked_for_again(tmp_path, server):
    server.plan("/token/127/modis-061-cogs", token("ONE", 30.0), token("TWO"))
    for right in ("ONE", "TWO", "TWO"):
        url = server.plan(FILE, guarded(right, sent(CONTENT)))
        same = settings(tmp_path, server, **signing(server))
        download(url, tmp_path / f"{len(server.asked)}.hdf", same, lambda _: None)
    assert (server.count("/token/127/modis-061-cogs"), server.count(FILE)) == (2, 3)


def test_a_signature_that_is_refused_is_renewed_once(tmp_path, server):
    server.plan("/token/127/modis-061-cogs", token("WITHDRAWN"), token("VALID"))
    url = server.plan(FILE, guarded("VALID", sent(CONTENT)))
    assert_whole(fetch(url, tmp_path, server, **signing(server, attempts=1)))
    outcome = fetch(server.plan(FILE, status(403)), tmp_path / "b", server, **signing(server))
    assert_absent(outcome, tmp_path / "b", "status 403")
    assert server.count(FILE) == 4


def test_a_signing_service_that_is_busy_is_asked_again(tmp_path, server, pauses):
    server.plan("/token/127/modis-061-cogs", status(429, Retry_After="9"), sent(b"{}"), token("ONE"))
    assert_whole(fetch(server.plan(FILE, guarded("ONE", sent(CONTENT))), tmp_path, server, **signing(server)))
    assert pauses[0] >= 9.0
    outcome = fetch(
        server.plan("/other-one/a.hdf", sent(CONTENT)), tmp_path / "b", server, **signing(server)
    )  # the service knows no such container
    assert_absent(outcome, tmp_path / "b", "status 404", "/token/127/other-one")


def test_addresses_of_other_hosts_and_signed_ones_are_left_alone(tmp_path, server, neighbour):
    hosts = {"allow_hosts": (server.host, neighbour.host)}
    url = neighbour.plan(FILE, sent(CONTENT))
    assert_whole(fetch(url, tmp_path, server, **signing(server), **hosts))
    assert neighbour.asked[-1].path == FILE
    url = server.plan(FILE, guarded("OWN", sent(CONTENT))) + "?sig=OWN"
    assert_whole(fetch(url, tmp_path / "b", server, **signing(server), **hosts))
    assert server.asked[-1].path == f"{FILE}?sig=OWN"


def test_only_blob_hosts_are_signed():
    signer = downloads._session(Downloads(Path("cache")))[1]
    assert signer.signs("https://modiseuwest.blob.core.windows.net/modis-061/a.hdf")
    assert signer.signs("https://elevationeuwest.blob.core.windows.net/copernicus-dem/a.tif")
    for url in (
        "http://modiseuwest.blob.core.windows.net/modis-061/a.hdf",
        "https://modiseuwest.blob.core.windows.net.evil.test/modis-061/a.hdf",
        "https://blob.core.windows.net/modis-061/a.hdf",
        "https://evil.test/.blob.core.windows.net/a.hdf",
        "https://a.b.evil@evil.test/modis-061/a.hdf",
        "https://modiseuwest.blob.core.windows.net/../a.hdf",
    ):
        assert not signer.signs(url)


# ---- credentials --------------------------------------------------------------------------------------------------

SECRETS = ("TOKENCANARY", "PASSWORDCANARY", "SIGCANARY", "CODECANARY", "COOKIECANARY")


@pytest.fixture
def archive(server, neighbour):
    """Return an archive with a login elsewhere, as Earthdata is, and its delivery service; and the settings for it."""
    with faults.running() as delivery:
        content = delivery.plan("/file.hdf", sent(CONTENT)) + "?Signature=SIGCANARY"
        data = f"http://{server.host}/file.hdf"

        def protected(handler):
            known = "TOKENCANARY" in handler.headers.get("Authorization", "")
            known |= "COOKIECANARY" in handler.headers.get("Cookie", "")
            to = content if known else f"http://{neighbour.host}/oauth/authorize?state=file"
            faults.redirect(to, 303)(handler)

        def login(handler):
            known = handler.headers.get("Authorization", "").startswith("Basic ")
            to = faults.redirect(f"http://{server.host}/login?code=CODECANARY&state=file")
            (to if known else status(401))(handler)

        server.plan("/file.hdf", protected)
        server.plan("/login", faults.redirect("/file.hdf", Set_Cookie="session=COOKIECANARY; Path=/; HttpOnly"))
        neighbour.plan("/oauth/authorize", login)
        changes = {
            "allow_hosts": (server.host, neighbour.host, delivery.host),
            "earthdata_hosts": (server.host,),
            "login_host": neighbour.host,
        }
        yield data, delivery, changes


def write_netrc(text):
    path = Path(os.environ["NETRC"])
    path.write_text(text)
    path.chmod(0o600)


OF_LOGIN_HOST = "machine 127.0.0.2 login me password PASSWORDCANARY\n"


def sent_to(server, name):
    return [asked.headers[name] for asked in server.asked if name in asked.headers]


def test_a_password_goes_to_the_login_host_only_and_a_cookie_to_its_own(tmp_path, server, neighbour, archive):
    url, delivery, changes = archive
    write_netrc(OF_LOGIN_HOST + "machine 127.0.0.1 login no password NEVER\ndefault login no password NEVER\n")
    assert_whole(fetch(url, tmp_path, server, **changes))
    assert sent_to(neighbour, "authorization") == ["Basic bWU6UEFTU1dPUkRDQU5BUlk="]
    assert sent_to(server, "authorization") == []
    assert sent_to(server, "cookie") == ["session=COOKIECANARY"]
    for where in (delivery, neighbour):
        assert sent_to(where, "cookie") == []
    assert sent_to(delivery, "authorization") == []
    # the next file needs no login
    bands = {"QC_Day": url}
    same = settings(tmp_path, server, **changes)
    [(_, outcome)] = fetched([granule(bands=bands)], ["QC_Day"], same, is_content)
    assert isinstance(outcome, Granule)
    assert len(neighbour.asked) == 1


def test_a_token_goes_to_the_data_host_only(tmp_path, server, neighbour, archive, monkeypatch):
    url, delivery, changes = archive
    monkeypatch.setenv("EARTHDATA_TOKEN", "TOKENCANARY")
    assert_whole(fetch(url, tmp_path, server, **changes))
    assert sent_to(server, "authorization") == ["Bearer TOKENCANARY"]
    assert sent_to(delivery, "authorization") == []
    assert neighbour.asked == []


def test_a_token_does_not_follow_to_the_login_host(tmp_path, server, neighbour, archive, monkeypatch):
    url, _, changes = archive
    monkeypatch.setenv("EARTHDATA_TOKEN", "EXPIRED")
    assert_absent(fetch(url, tmp_path, server, **changes), tmp_path, "status 401", "log in", "EARTHDATA_TOKEN")
    assert sent_to(server, "authorization") == ["Bearer EXPIRED"]
    assert sent_to(neighbour, "authorization") == []


@pytest.mark.parametrize("text", ["", "default login no password NEVER\n", "machine other.test login a password b\n"])
def test_without_an_entry_of_the_login_host_nothing_is_sent_and_the_way_in_is_told(tmp_path, server, archive, text):
    url, _, changes = archive
    write_netrc(text)
    assert_absent(fetch(url, tmp_path, server, **changes), tmp_path, "status 401", "~/.netrc")


def test_a_password_that_is_refused_is_not_tried_again(tmp_path, server, neighbour, archive):
    url, _, changes = archive
    write_netrc(OF_LOGIN_HOST)
    neighbour.plan("/oauth/authorize", status(401))
    assert_absent(fetch(url, tmp_path, server, **changes), tmp_path, "status 401")
    assert len(neighbour.asked) == 1


@pytest.mark.parametrize("host", ["data.test", "login.test", "data.test:443", "login.test:443"])
def test_credentials_are_not_sent_unencrypted(tmp_path, server, neighbour, monkeypatch, host):
    monkeypatch.setenv("http_proxy", f"http://{neighbour.host}")  # sees whatever is sent
    monkeypatch.setenv("EARTHDATA_TOKEN", "TOKENCANARY")
    write_netrc("machine login.test login me password PASSWORDCANARY\n")
    neighbour.plan("/x.hdf", sent(CONTENT))
    changes = {"allow_hosts": (host,), "earthdata_hosts": ("data.test",), "login_host": "login.test"}
    assert_whole(fetch(f"http://{host}/x.hdf", tmp_path, server, **changes))
    assert sent_to(neighbour, "authorization") == []


def spread(tmp_path, server, url, changes, caplog):
    """Fetch, and return all that anybody could read afterwards, and the outcome."""
    same = settings(tmp_path, server, **changes)
    with caplog.at_level(logging.DEBUG):
        [(_, outcome)] = fetched([granule(url)], (), same, is_content)
    seen = [caplog.text, repr(same), repr(pickle.dumps(same)), repr(outcome), repr(pickle.dumps(outcome))]
    if isinstance(outcome, Exception):
        seen += [str(outcome), "".join(traceback.format_exception(outcome))]
        chained = [outcome.__cause__, outcome.__context__]
        seen += ["".join(traceback.format_exception(error)) for error in chained if error is not None]
        assert outcome.__traceback__ is None  # its frames would hold addresses and headers
    seen += [path.read_text("latin-1") for path in files_of(tmp_path / "cache")]
    return "\n".join(seen), outcome


@pytest.mark.parametrize("ending", ["well", 403, 404, 500, "reset", "stall", "page", "loop", "elsewhere", "rubbish"])
def test_no_secret_is_seen_anywhere(tmp_path, server, neighbour, archive, monkeypatch, caplog, ending):
    url, delivery, changes = archive
    write_netrc(OF_LOGIN_HOST)
    answers = {
        "well": sent(CONTENT),
        "reset": faults.reset(CONTENT, 1000),
        "stall": faults.stalled(CONTENT, 1000),
        "page": faults.login_page(),
        "loop": faults.redirect("/file.hdf?Signature=SIGCANARY"),
        "elsewhere": faults.redirect("http://127.0.0.9/?Signature=SIGCANARY"),
        "rubbish": sent(b"rubbish"),
    }
    delivery.plan("/file.hdf", answers[ending] if isinstance(ending, str) else status(ending))
    by_password, outcome = spread(tmp_path, server, url, changes | {"timeout_s": 0.5}, caplog)
    assert isinstance(outcome, Granule) == (ending == "well")
    monkeypatch.setenv("EARTHDATA_TOKEN", "TOKENCANARY")
    by_token, _ = spread(tmp_path / "b", server, url, changes | {"timeout_s": 0.5}, caplog)
    # all were in use, and the library below did log the requests that had them
    in_use = repr([server.asked, neighbour.asked, delivery.asked])
    for secret in ("TOKENCANARY", "bWU6UEFTU1dPUkRDQU5BUlk=", "SIGCANARY", "CODECANARY", "COOKIECANARY"):
        assert secret in in_use
    assert "GET /oauth/authorize" in by_password
    for secret in (*SECRETS, "bWU6UEFTU1dPUkRDQU5BUlk"):
        assert secret not in by_password + by_token


@pytest.mark.parametrize("answer", [sent(CONTENT), status(403), status(503), faults.cut(CONTENT, 10)])
def test_no_signature_is_seen_anywhere(tmp_path, server, caplog, answer):
    server.plan("/token/127/modis-061-cogs", token("SIGCANARY"))
    seen, _ = spread(tmp_path, server, server.plan(FILE, answer), signing(server), caplog)
    assert "SIGCANARY" in repr(server.asked)
    assert f"GET {FILE}" in seen
    assert "SIGCANARY" not in seen


def test_a_signing_service_s_rubbish_is_not_repeated(tmp_path, server, caplog):
    for rubbish in (
        b'{"token": "SIGCANARY"}',
        b'{"token": "SIGCANARY \\n", "msft:expiry": "2030-01-01"}',
        b"SIGCANARY",
    ):
        server.plan("/token/127/modis-061-cogs", sent(rubbish))
        seen, outcome = spread(tmp_path, server, server.plan(FILE, sent(CONTENT)), signing(server), caplog)
        assert "not understood" in str(outcome)
        assert "SIGCANARY" not in seen


@pytest.mark.parametrize(
    "text",
    [
        "machine 127.0.0.2 login me password ok PASSWORDCANARY\n",
        "machine 127.0.0.2 login me password \x00\xff PASSWORDCANARY extra\n",
    ],
)
def test_a_netrc_file_that_cannot_be_read_is_told_without_its_content(tmp_path, server, archive, caplog, text):
    url, _, changes = archive
    write_netrc("")
    Path(os.environ["NETRC"]).write_bytes(text.encode("latin-1"))
    seen, outcome = spread(tmp_path, server, url, changes, caplog)
    assert_absent(outcome, tmp_path, "netrc cannot be read")
    assert "PASSWORDCANARY" not in seen


@pytest.mark.parametrize("bad", ["TOKENCANARY\r\nX-Injected: 1", "TOKENCANARY é", "a b TOKENCANARY"])
def test_a_token_that_is_none_is_not_sent_and_not_shown(tmp_path, server, archive, monkeypatch, caplog, bad):
    url, _, changes = archive
    monkeypatch.setenv("EARTHDATA_TOKEN", bad)
    seen, outcome = spread(tmp_path, server, url, changes, caplog)
    assert_absent(outcome, tmp_path, "EARTHDATA_TOKEN holds characters")
    assert server.asked == []
    assert "TOKENCANARY" not in seen


def test_failures_are_not_chained_to_what_holds_the_address(server):
    client, _ = downloads._session(Downloads(Path("cache"), timeout_s=0.3, allow_hosts=(server.host,)))
    url = server.plan("/x", faults.hung_up) + "?sig=SIGCANARY"
    with pytest.raises(TransferError) as caught, client.get(url):
        pass
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_settings_travel_and_name_their_session():
    one = Downloads(Path("cache"), allow_hosts=("127.0.0.1",))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - made above
    assert downloads._session(one) is downloads._session(pickle.loads(pickle.dumps(one)))  # noqa: S301
