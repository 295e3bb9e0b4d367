"""`frostmap view`: pixels say what the cube holds, the server answers this machine alone, and a browser shows it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rasterio
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.explorer.layers import layers_of, picture, png
from frostmap.pipeline.explorer.pixels import Pixels, Place
from frostmap.pipeline.explorer.server import address, listening, serve
from frostmap.pipeline.scsg import celsius
from frostmap.pipeline.work import Work

from .conftest import Finished

YEAR = "2020"


@pytest.fixture(scope="module")
def pixels(pristine: Finished) -> Pixels:
    return Pixels(Work(pristine.recipe, pristine.folder))


@pytest.fixture(scope="module")
def place(pixels: Pixels) -> Place:
    """Return a pixel of the region that is mapped as ground."""
    known = np.isfinite(pixels.work.open("frozen_ground/target")["frost_number"].to_numpy())
    rows, columns = np.nonzero(known)
    return Place(int(rows[len(rows) // 2]), int(columns[len(columns) // 2]))


# ---- pixels -------------------------------------------------------------------------------------------------------


def test_a_pixels_year_is_what_the_cube_holds(pixels: Pixels, place: Place) -> None:
    found = pixels.year(place, YEAR)
    at = {"y": place.row, "x": place.column}
    filled = pixels.work.open(f"gap_filling/{YEAR}").isel(at)
    for k, look in enumerate(found["overpasses"]):
        stored = {
            "seen": celsius(pixels.work.open(f"ingest/{YEAR}")["lst"].isel(at).to_numpy()[:, k]),
            "filled": celsius(filled["lst"].to_numpy()[:, k]),
            "sigma": filled["sigma"].to_numpy()[:, k],
        }
        for name, values in stored.items():
            assert np.array(look[name], float) == pytest.approx(values.astype(float), abs=0.006, nan_ok=True), name
        assert look["flag"] == filled["fill_flag"].to_numpy()[:, k].tolist()
        assert set(look["sky"]) <= {None, *range(8)}
        assert len(look["kept"]) == len(look["seen"]) == 366


def test_its_daily_means_add_up_to_its_sums(pixels: Pixels, place: Place) -> None:
    daily = np.array(pixels.year(place, YEAR)["daily"], float)
    sums = next(each for each in pixels.summary(place)["years"] if each["year"] == YEAR)
    assert -daily[daily < 0].sum() == pytest.approx(sums["freezing"], abs=3)
    assert daily[daily > 0].sum() == pytest.approx(sums["thawing"], abs=3)
    assert np.isfinite(daily).sum() == sums["valid_days"]


def test_a_summary_tells_the_maps(pixels: Pixels, place: Place) -> None:
    found = pixels.summary(place)
    ground = pixels.work.open("frozen_ground/target").isel(y=place.row, x=place.column)
    epoch = found["epochs"][1]
    assert epoch["class"] == CLASS_NAMES[int(ground["frozen_ground"])]
    assert epoch["frost_number"] == pytest.approx(float(ground["frost_number"]), abs=1e-4)
    assert epoch["probability"] == pytest.approx(float(ground["permafrost_probability"]), abs=1e-4)
    assert (epoch["e"] < epoch["critical_e"]) == (epoch["class"] == "permafrost")
    assert found["inside"]
    assert len(found["predictors"]) == 10
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_nearest_borehole_is_the_nearest(pixels: Pixels, place: Place) -> None:
    found = pixels.summary(place)
    table = pixels.work.table("boreholes")
    east = (table["longitude"] - found["longitude"]) * np.cos(np.radians(found["latitude"]))
    distance = 111.3 * np.hypot(east, table["latitude"] - found["latitude"])
    assert found["borehole"]["km"] == pytest.approx(distance.min(), rel=0.02)


def test_a_damaged_chunk_is_an_error_and_no_number(finished: Finished) -> None:
    chunks = finished.folder / "cube.zarr" / "gap_filling" / YEAR / "lst" / "c"
    chunk = next(path for path in sorted(chunks.rglob("*")) if path.is_file())
    y, x = (int(number) for number in chunk.parts[-2:])
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    mine = Pixels(Work(finished.recipe, finished.folder))
    with pytest.raises(DataIncomplete, match="damaged"):
        mine.year(Place(y * mine.work.chunk_pixels, x * mine.work.chunk_pixels), YEAR)


# ---- layers -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_holds_its_codes(tmp_path: Any) -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = tmp_path / "codes.png"
    path.write_bytes(png(codes, [(k / 11, 0.0, 1.0) for k in range(12)]))
    with rasterio.open(path) as raster:
        assert (raster.read(1) == codes).all()
        assert raster.colormap(1)[11][:3] == (255, 0, 255)
        assert raster.colormap(1)[0][3] == 0


def test_every_layer_can_be_drawn(pixels: Pixels) -> None:
    layers = layers_of(pixels)
    assert {"class-target", "change", "permafrost_probability-target", "e-training", "elevation"} <= {
        layer.name for layer in layers
    }
    for layer in layers:
        drawn = picture(pixels.work, layer)
        assert drawn["image"].startswith("data:image/png;base64,")
        assert ("ramp" in drawn) == bool(layer.colours)


# ---- the server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(pixels: Pixels) -> Iterator[str]:
    """Yield the address of a server in another thread."""
    sockets, loop, ready = listening(0), asyncio.new_event_loop(), threading.Event()
    task = loop.create_task(serve(pixels.work, sockets, ready.set))

    def answer() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            return

    thread = threading.Thread(target=answer)
    thread.start()
    assert ready.wait(30)
    yield address(sockets)
    loop.call_soon_threadsafe(task.cancel)
    thread.join(30)
    loop.close()


def asked(address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_it_listens_on_this_machine_alone() -> None:
    sockets = listening(0)
    try:
        assert {each.getsockname()[0] for each in sockets} == {"127.0.0.1"}
    finally:
        for each in sockets:
            each.close()


def test_another_name_for_this_machine_is_refused(page: str) -> None:
    status, _, content = asked(page, Host="rebound.example")
    assert status == 403
    assert b"machine" in content


def test_pages_may_load_nothing_from_elsewhere(page: str) -> None:
    status, headers, content = asked(page)
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"simulated" in content.lower()
    assert b"://" not in content.replace(b"http://www.w3.org", b"")


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("pixel?row=0&column=100000", 404, "rows"),
        ("pixel?row=one&column=0", 400, "whole numbers"),
        ("year?row=0&column=0&year=1999", 404, "2010, 2020"),
        ("layer?name=../../recipe.yaml", 404, "no such layer"),
        ("../recipe.yaml", 404, "cannot"),
    ],
)
def test_what_is_not_there_is_said_so(page: str, query: str, status: int, words: str) -> None:
    found, _, content = asked(page + query)
    assert found == status
    assert words in json.loads(content)["error"]


# ---- in a browser -------------------------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Yield a browser without a window, or skip."""
    programs = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    driver = shutil.which("chromedriver")
    if not any(programs) or driver is None:
        pytest.skip("no Chromium with its driver is here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = next(program for program in programs if program)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    yield window
    window.quit()


def shown(browser: webdriver.Chrome, name: str) -> str:
    """Wait until the page says something of itself; return it."""
    said: str = WebDriverWait(browser, 60).until(
        lambda page: page.execute_script(f"return document.body.dataset.{name}")
    )
    return said


@pytest.mark.browser
def test_a_click_shows_what_is_behind_a_pixel(page: str, browser: webdriver.Chrome, pixels: Pixels) -> None:
    browser.get(page)
    assert shown(browser, "layer") == "class-target"
    canvas = browser.find_element(By.ID, "map")
    ActionChains(browser).move_to_element(canvas).click().perform()
    row, column, year = shown(browser, "shown").split()
    expected = pixels.summary(Place(int(row), int(column)))
    told = browser.find_element(By.ID, "summary").text
    assert expected["epochs"][1]["class"] in told
    f = expected["epochs"][1]["frost_number"]
    assert any(abs(float(number) - f) < 1e-3 for number in re.findall(r"0\.\d{3}", told))  # rounded twice
    assert expected["borehole"]["name"] in told
    assert len(browser.find_elements(By.CSS_SELECTOR, "#charts svg")) == 5
    assert year == YEAR

    browser.find_element(By.CSS_SELECTOR, "#years button").click()
    WebDriverWait(browser, 60).until(lambda _: shown(browser, "shown") == f"{row} {column} 2010")
    Select(browser.find_element(By.ID, "layer")).select_by_value("permafrost_probability-target")
    WebDriverWait(browser, 60).until(lambda _: shown(browser, "layer") == "permafrost_probability-target")
    browser.find_element(By.ID, "nearer").click()
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
