"""The report in a real browser: it opens without faults, on phones and desks, and its map answers hands and keys."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline.figures import CLASS_COLOURS
from frostmap.pipeline.report import write_report
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work

pytestmark = pytest.mark.browser

PHONE, DESK = (390, 844), (1280, 800)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LAYERS_OF_EPOCH = ("class", "permafrost-probability", "frost-number", "ddf", "ddt", "e")


def named(programs: tuple[str, ...]) -> str:
    """Return the path of a program, or skip the test because none is here."""
    found = next((path for name in programs if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{programs[0]} is not installed: apt-get install chromium chromium-driver")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Yield a browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = named(BROWSERS)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(named(("chromedriver",))))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def work(pristine) -> Work:
    """Return the finished run."""
    return Work(pristine.recipe, pristine.folder)


@pytest.fixture(scope="module")
def page(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its report, alone in a folder: it must need nothing beside it."""
    alone = tmp_path_factory.mktemp("alone") / "report.html"
    shutil.copy(work.folder / "report" / "index.html", alone)
    return alone


def opened(browser: webdriver.Chrome, page: Path, size: tuple[int, int]) -> float:
    """Open a page at a size, wait for its map; return after how many seconds that was shown."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get_log("browser")
    began = time.monotonic()
    browser.get(page.as_uri())
    until(browser, "return document.getElementById('explorer').dataset.ready")
    return time.monotonic() - began


def until(browser: webdriver.Chrome, script: str, wanted: str | None = None) -> str:
    """Wait until a script returns what is wanted, or anything; return it."""

    def found(driver: webdriver.Chrome) -> str | bool:
        value = driver.execute_script(script)
        return bool(value) and (wanted is None or value == wanted) and value

    return str(WebDriverWait(browser, 30, poll_frequency=0.02).until(found))


def canvas(browser: webdriver.Chrome):
    return browser.find_element(By.ID, "explorer-map")


def in_view(browser: webdriver.Chrome) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas(browser))


def told(browser: webdriver.Chrome) -> dict[str, str]:
    """Return the list of values, by title of layer."""
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#explorer-values tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return dict(cells)


def click(browser: webdriver.Chrome, across: float, down: float) -> str:
    """Click at a share of the map's width and height; return what the page says it told of."""
    in_view(browser)
    size = canvas(browser).size
    x, y = round((across - 0.5) * size["width"]), round((down - 0.5) * size["height"])
    browser.execute_script("document.getElementById('explorer').dataset.told = ''")
    ActionChains(browser).move_to_element_with_offset(canvas(browser), x, y).click().perform()
    return until(browser, "return document.getElementById('explorer').dataset.told")


# ---- it opens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_opens_without_faults_and_fits_the_screen(browser, page, size, record_property):
    seconds = opened(browser, page, size)
    record_property("seconds to the first view of the map", round(seconds, 2))
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    inner, wide = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert inner == size[0]
    assert wide <= size[0]
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    broken = "return [...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert browser.execute_script(broken) == 0


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_map_shows_the_colours_of_its_legend(browser, page, size):
    opened(browser, page, size)
    colours = browser.execute_script(
        "const c = document.getElementById('explorer-map');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, found = {};"
        "for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) {"
        " const key = `rgb(${d[i]}, ${d[i + 1]}, ${d[i + 2]})`; found[key] = (found[key] || 0) + 1; } return found"
    )
    legend = browser.execute_script(
        "return [...document.querySelectorAll('#explorer-legend .swatch')].map((each) => each.style.backgroundColor)"
    )
    assert len(legend) == len(CLASS_COLOURS) + 1
    shown = sum(colours.get(colour, 0) for colour in legend)
    assert shown > 0.3 * sum(colours.values())


# ---- it answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_a_click_tells_the_values_of_the_array(browser, page, work, size):
    opened(browser, page, size)
    places = [(0.5, 0.5), (0.35, 0.4), (0.62, 0.55)]
    pixels = {found for place in places if (found := click(browser, *place)) != "outside"}
    assert pixels
    row, column = (int(part) for part in click(browser, 0.5, 0.5).split(","))
    values = told(browser)
    for epoch in work.recipe.epochs.named():
        label = work.recipe.epochs.named()[epoch].title
        ground = work.open(f"frozen_ground/{epoch}")
        assert values[f"Frozen ground, {label}"] == CLASS_NAMES[int(ground["frozen_ground"].values[row, column])]
        arrays = {
            "Frost number F": ground["frost_number"],
            "Freezing degree days (DDF)": work.open(f"forcing/{epoch}")["ddf"],
            "Thawing degree days (DDT)": work.open(f"forcing/{epoch}")["ddt"],
            "Soil parameter E": work.open(e_group(work.recipe, epoch))["e"],
        }
        for title, array in arrays.items():
            number, half = re.findall(r"[\d.,]+", values[f"{title}, {label}"])[:2]
            difference = float(number.replace(",", "")) - float(array.values[row, column])
            assert abs(difference) <= float(half) * (1 + 1e-3), title
    where = browser.find_element(By.ID, "explorer-place").text
    latitude, longitude = (float(part) for part in re.findall(r"([\d.]+)° [NE]", where))
    x, y = Transformer.from_crs("EPSG:4326", str(work.geobox.crs), always_xy=True).transform(longitude, latitude)
    found = (x - work.geobox.affine.c) / work.geobox.affine.a, (y - work.geobox.affine.f) / work.geobox.affine.e
    assert np.floor(found[0]) == column
    assert np.floor(found[1]) == row


def test_a_click_beside_the_region_says_so(browser, page):
    opened(browser, page, DESK)
    assert click(browser, 0.01, 0.99) == "outside"
    assert browser.find_element(By.ID, "explorer-place").text == "That is outside the region."


def test_keys_switch_layers_and_the_legend_follows(browser, page):
    opened(browser, page, DESK)
    in_view(browser)
    map_element = canvas(browser)
    browser.execute_script("arguments[0].focus()", map_element)
    current = "return document.getElementById('explorer').dataset.layer"
    names = [option.get_attribute("value") for option in Select(browser.find_element(By.ID, "explorer-layer")).options]
    assert until(browser, current) == names[0]
    for keys, wanted in (("]", names[1]), ("[", names[0]), ("[", names[-1]), ("4", names[3])):
        map_element.send_keys(keys)
        until(browser, current, wanted)
        chosen = Select(browser.find_element(By.ID, "explorer-layer")).first_selected_option
        assert chosen.get_attribute("value") == wanted
        assert browser.find_element(By.CSS_SELECTOR, "#explorer-legend h3").text == chosen.text
        assert chosen.text in map_element.get_attribute("aria-label")


def test_every_layer_can_be_shown(browser, page):
    opened(browser, page, DESK)
    choice = Select(browser.find_element(By.ID, "explorer-layer"))
    for option in [option.get_attribute("value") for option in choice.options]:
        choice.select_by_value(option)
        until(browser, "return document.getElementById('explorer').dataset.layer", option)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_arrows_move_and_plus_zooms_about_the_cross(browser, page):
    opened(browser, page, DESK)
    in_view(browser)
    map_element = canvas(browser)
    browser.execute_script("arguments[0].focus()", map_element)

    def at_cross() -> tuple[int, ...]:
        browser.execute_script("document.getElementById('explorer').dataset.told = ''")
        map_element.send_keys(Keys.ENTER)
        return tuple(map(int, until(browser, "return document.getElementById('explorer').dataset.told").split(",")))

    middle = at_cross()
    map_element.send_keys("+++")
    assert at_cross() == middle
    map_element.send_keys(Keys.ARROW_DOWN)
    assert at_cross()[0] > middle[0]
    map_element.send_keys(Keys.ARROW_UP, Keys.ARROW_RIGHT)
    row, column = at_cross()
    assert column > middle[1]
    assert abs(row - middle[0]) <= 1
    map_element.send_keys("0")
    assert at_cross() == middle


def test_dragging_moves_the_map(browser, page):
    opened(browser, page, DESK)
    in_view(browser)
    for _ in range(3):
        browser.find_element(By.ID, "explorer-in").click()
    row, column = map(int, click(browser, 0.5, 0.5).split(","))
    ActionChains(browser).move_to_element(canvas(browser)).click_and_hold().move_by_offset(60, 0).release().perform()
    assert browser.execute_script("return document.getElementById('explorer').dataset.told") == f"{row},{column}"
    assert int(click(browser, 0.5, 0.5).split(",")[1]) < column


def test_tab_reaches_everything_that_answers(browser, page):
    opened(browser, page, DESK)
    body, reached = browser.find_element(By.TAG_NAME, "body"), []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.execute_script("return document.activeElement.id"))
        if "explorer-map" in reached:
            break
    wanted = ["explorer-layer", "explorer-in", "explorer-out", "explorer-whole", "explorer-sites", "explorer-map"]
    assert [name for name in reached if name in wanted] == wanted
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    assert body


# ---- it can be read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_everything_that_answers_has_a_name(browser, page, size):
    opened(browser, page, size)
    click(browser, 0.5, 0.5)
    kinds = "button, select, input, canvas, summary, [role=region], nav, img"
    found = [element for element in browser.find_elements(By.CSS_SELECTOR, kinds) if element.is_displayed()]
    assert len(found) > 12
    assert [element.get_attribute("outerHTML")[:80] for element in found if not element.accessible_name.strip()] == []
    unnamed = "return [...document.querySelectorAll('a')].filter((a) => !a.textContent.trim()).length"
    assert browser.execute_script(unnamed) == 0
    heads = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map((h) => +h.tagName[1])")
    assert heads[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(heads))


CONTRAST = """
const parse = (text) => { const p = text.match(/[\\d.]+/g).map(Number); return [p[0], p[1], p[2], p[3] ?? 1]; };
const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => { const v = c[i] / 255;
  return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
const below = (element) => { for (let e = element; e; e = e.parentElement) {
  const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
const faults = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, .skip")) continue;
  const ink = light(parse(getComputedStyle(element).color)), paper = light(below(element));
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  if (ratio < 4.5) faults.push(`${ratio.toFixed(2)}: ${walk.currentNode.data.trim().slice(0, 40)}`);
}
return faults;
"""


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_all_text_has_contrast(browser, page, mode):
    features = [{"name": "prefers-color-scheme", "value": mode}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(browser, page, DESK)
    click(browser, 0.5, 0.5)
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert browser.execute_script("return getComputedStyle(document.body).colorScheme || 'light dark'")
    assert browser.execute_script(CONTRAST) == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_simulated_run_says_so_on_its_map(browser, page):
    opened(browser, page, DESK)
    assert "(simulated)" in canvas(browser).get_attribute("aria-label")
    assert browser.find_element(By.CLASS_NAME, "banner").is_displayed()


def test_the_report_of_a_run_without_maps_has_no_script(browser, work, tmp_path):
    bare = Work(work.recipe, tmp_path / "bare")
    bare.folder.mkdir()
    path = write_report(bare, [])
    assert "<script" not in path.read_text(encoding="utf-8")
    browser.get(path.as_uri())
    assert "There is no map to explore yet." in browser.find_element(By.ID, "map").text
