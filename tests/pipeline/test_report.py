"""The report is one page that loads nothing, says what is simulated, and tells the numbers of metrics.json."""

import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from frostmap.kernels.agreement import BinaryCounts
from frostmap.pipeline import figures, provenance, report
from frostmap.pipeline.products.citations import citations
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.work import Work

RECIPE = """
name: plateau
title: "Plateau <b>& more</b>"
simulated: {simulated}
region: {{tiles: [h25v05], pixels_per_tile: 24}}
epochs:
  training: {{years: [2009, 2010], label: "2010"}}
  target: {{years: [2019, 2020], label: "2020"}}
sources:
  lst: {{catalogue: archive/catalog.json, second: {{kind: folder, catalogue: mirror}}}}
  ndvi: {{catalogue: archive/catalog.json}}
  elevation: elevation.tif
  sand: sand.tif
  clay: clay.tif
  snow_cover: {{training: snow.tif, target: snow.tif}}
  precipitation: {{training: rain.tif, target: rain.tif}}
  surveys: [{{name: north, path: survey.tif}}]
  stations: {{sites: sites.csv, daily: daily.csv}}
  boreholes: boreholes.csv
  truth: {{training: truth.tif, target: truth.tif}}
"""

PAPER = BinaryCounts(tp=74, fn=9, fp=8, tn=18)
"""Boreholes of Chen et al. (2026, preprint), Table 2: overall accuracy 84.4 %, kappa 0.58."""

METRICS = {
    "validation": {
        "n": 109, "tp": 74, "fn": 9, "fp": 8, "tn": 18, "overall_accuracy": PAPER.overall_accuracy,
        "kappa": PAPER.kappa, "off_map": 2, "moved": 3,
    },
    "calibration": {
        "n": 2653, "tp": 1617, "fn": 214, "fp": 71, "tn": 751, "overall_accuracy": 0.8926, "kappa": 0.760305,
        "kappa_at_one": 0.6584, "boundary_cells": 618, "boundary_agreement": 0.9741,
        "weight_draws": {"least_kappa": 0.7575, "greatest_kappa": 0.7603, "mean_range_of_e": 0.012},
        "regions_left_out": {"regions": 5, "kappa": 0.61},
    },
    "areas_km2": {
        "training": {
            "permafrost": 1_086_000.0, "seasonally_frozen": 1_447_000.0, "non_frozen": 22_400.0, "glacier": 40_800.0,
            "lake": 41_700.0,
        },
        "target": {
            "permafrost": 1_038_000.0, "seasonally_frozen": 1_466_000.0, "non_frozen": 46_700.0, "glacier": 37_500.0,
            "lake": 49_700.0,
        },
    },
    "change": {
        "compared_km2": 2_600_000.0, "changed_km2": 91_234.0, "permafrost_lost_km2": 61_234.0,
        "permafrost_gained_km2": 11_987.0,
    },
    "ground_correction": {
        "n": 1234, "stations": 87, "r2": 0.91, "rmse_raw": 61.25, "bias_raw": 33.44, "rmse_cross_validated": 28.75,
        "bias_cross_validated": -0.33, "rmse_fitted": 27.5, "bias_fitted": 0.0,
    },
    "transfer": {
        "samples": 5000,
        "random": {
            "samples": 5000, "rmse": 0.0481, "mae": 0.0291, "r": 0.862, "variance_explained_percent": 74.83,
            "coverage_percent": 91.5, "interval_width": 0.1502,
        },
        "blocks": {"samples": 5000, "rmse": 0.0633},
    },
    "uncertainty": {"target": {"compared_km2": 2_500_000.0, "not_applicable_km2": 50_000.0}},
    "truth": {
        "pixels": 9617, "class_kappa": 0.8123, "ddf_relative_rmse": 0.0712, "ddt_relative_rmse": 0.0534,
        "e_rmse": 0.0611,
        "training": {"pixels": 9600, "class_kappa": 0.8501, "e_rmse": 0.0444},
    },
}  # fmt: skip

GRANULES = """id,product,tile,date,source,sha256,status,error
MOD11A1.A{year}001.h25v05.061.x,MOD11A1,h25v05,{year}-01-01,archive,aa{year},ok,
MOD11A1.A{year}002.h25v05.061.x,MOD11A1,h25v05,{year}-01-02,archive,,bad,the file ends after 12 bytes
,MYD11A1,h25v05,{year}-01-02,,,missing,in no catalogue
"""
COMPOSITES = """id,product,tile,date,source,sha256,status,error
MOD13A1.A{year}001.h25v05.061.x,MOD13A1,h25v05,{year}-01-01,archive,bb{year},ok,
"""


def make_work(folder: Path, *, simulated: bool = True, whole: bool = True) -> Work:
    """Return a work directory with numbers and tables but no cube."""
    work = Work(parse_recipe(RECIPE.format(simulated=str(simulated).lower()), folder / "recipe.yaml"), folder / "work")
    tables = work.folder / "tables"
    tables.mkdir(parents=True)
    if not whole:
        return work
    (work.folder / "metrics.json").write_text(json.dumps(METRICS))
    for year in (2009, 2010, 2019, 2020):
        (tables / f"granules-{year}.csv").write_text(GRANULES.format(year=year))
        (tables / f"composites-{year}.csv").write_text(COMPOSITES.format(year=year))
        (tables / f"overpasses-{year}.csv").write_text(
            f"year,overpass,observed,filled,missing\n{year},terra_day,0.512,0.471,0.017\n{year},aqua_night,0.6,0.4,0.0\n"
        )
    (tables / "clusters.csv").write_text("cluster,e,lower,upper,surveyed_pixels\n1,0.8,0.7,0.9,2653\n2,0.9,0.5,1.5,0\n")
    (tables / "ground_correction.csv").write_text("term,value\nconstant,-3.25\nthawing,0.8125\n")
    (tables / "boreholes.csv").write_text(
        "name,longitude,latitude,observed,mapped,frost_number,moved\n"
        "A,91.0,33.0,permafrost,permafrost,0.55,0\nB <i>,91.5,33.5,permafrost,seasonally frozen,0.49,0\n"
        "C,10.0,3.5,permafrost,,,\n"
    )
    provenance.write(work)
    return work


def draw_blank(work: Work) -> list[Path]:
    folder = work.folder / "figures"
    folder.mkdir()
    paths = []
    for drawing in figures.FIGURES:
        paths.append(folder / f"{drawing.name}.png")
        Figure(figsize=(2, 1)).savefig(paths[-1], dpi=50)
    return paths


class Page(HTMLParser):
    """What a page holds: its elements, its visible words, and whether every element is closed."""

    VOID = ("meta", "link", "img", "br", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Work:
    return make_work(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def page(work) -> Page:
    return Page(report.write_report(work, draw_blank(work)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Page:
    work = make_work(tmp_path_factory.mktemp("bare"), simulated=False, whole=False)
    return Page(report.write_report(work, []).read_text(encoding="utf-8"))


# ---- the page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["page", "bare"])
def test_the_page_is_well_formed(name, request):
    parsed = request.getfixturevalue(name)
    assert parsed.faults == []
    assert parsed.open == []
    assert [attributes.get("lang") for attributes in parsed.all("html")] == ["en"]
    identifiers = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert identifiers.most_common(1)[0][1] == 1
    targets = {attributes["href"][1:] for attributes in parsed.all("a") if attributes["href"].startswith("#")}
    assert targets <= identifiers.keys()


def test_nothing_is_loaded_from_elsewhere(page, work):
    loading = {"src", "srcset", "data", "poster", "background", "action"}
    found = [value for _, attributes in page.elements for key, value in attributes.items() if key in loading]
    found += [attributes["href"] for attributes in page.all("link")]
    assert found
    assert all(value.startswith("data:") for value in found)
    assert not page.all("iframe")
    text = (work.folder / "report" / "index.html").read_text(encoding="utf-8")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert """content="default-src 'none'; img-src data:;""" in text


def test_links_lead_to_what_is_cited_only(page, work):
    links = [attributes["href"] for attributes in page.all("a") if not attributes["href"].startswith("#")]
    cited = {each.reference.address for each in citations(work).cited}
    assert all(link.startswith("https://doi.org/10.") for link in set(links) - cited)
    for doi in ("10.6084/m9.figshare.30997375", "10.5067/MODIS/MOD11A1.061", "10.5067/MODIS/MYD11A1.061"):
        assert f"https://doi.org/{doi}" in links


def test_all_that_the_command_cites_is_among_the_references(tmp_path):
    work = make_work(tmp_path, simulated=False)
    text = Page(report.write_report(work, []).read_text(encoding="utf-8")).text
    cited = citations(work)
    assert {each.role for each in cited.cited} == {"software", "method", "data"}
    references = text[text.index("What is to be cited for it") :]
    for each in cited.cited:
        told = each.reference.as_text().removesuffix(each.reference.address).strip()
        assert re.sub(r"\s+", " ", told) in references
    assert cited.unknown
    for key, name in cited.unknown.items():
        assert f"{key} ({name})" in references


def test_every_figure_is_in_the_page_with_a_text_in_its_place(page):
    pictures = page.all("img")
    assert len(pictures) == len(figures.FIGURES)
    assert all(len(picture["alt"]) > 20 for picture in pictures)
    assert all("{" not in picture["alt"] for picture in pictures)
    assert {(picture["width"], picture["height"]) for picture in pictures} == {("100", "50")}


def test_a_large_picture_is_told_in_few_colours_and_its_file_stays_as_it_is(tmp_path):
    work = make_work(tmp_path)
    paths = draw_blank(work)
    smooth = np.linspace(0, 255, 600 * 900).reshape(600, 900)
    rng = np.random.default_rng(1)
    noise = np.stack([smooth, smooth[::-1], 255 - smooth], axis=2) + rng.normal(0, 8, (600, 900, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(paths[0])
    whole = paths[0].read_bytes()
    text = report.write_report(work, paths).read_text(encoding="utf-8")
    assert paths[0].read_bytes() == whole
    shown = max((attributes["src"] for attributes in Page(text).all("img")), key=len)
    content = base64.b64decode(shown.removeprefix("data:image/png;base64,"))
    assert len(content) < len(whole) / 2
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (900, 600)
        told = np.asarray(picture.convert("RGB"), float)
    assert np.abs(told - noise.clip(0, 255)).mean() < 16
    assert len(np.unique(told.reshape(-1, 3), axis=0)) <= 256


def test_heads_of_tables_say_what_they_head(page):
    heads = page.all("th")
    assert heads
    assert {head.get("scope") for head in heads} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table"))


def test_the_page_follows_the_reader_s_dark_mode_and_narrow_screen(work):
    text = (work.folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport" content="width=device-width' in text


def test_text_of_the_user_is_text_and_not_markup(page, work):
    text = (work.folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Plateau <b>& more</b>" in page.text
    assert "<b>" not in text
    assert "B <i>" in page.text
    assert "<i>" not in text


def test_colours_of_words_have_enough_contrast(work):
    text = (work.folder / "report" / "index.html").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL):
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for ink, paper in (
            ("ink", "page"),
            ("quiet", "page"),
            ("link", "page"),
            ("ink", "panel"),
            ("warn-ink", "warn"),
        ):
            assert contrast(colour[ink], colour[paper]) > 4.5, (ink, paper)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours (WCAG 2.2)."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


# ---- simulated, or not ------------------------------------------------------------------------------------------


def test_a_simulated_run_says_so_in_title_banner_and_every_picture(page):
    banners = [attributes for attributes in page.all("p") if attributes.get("class") == "banner"]
    assert len(banners) == 1
    assert "Simulated data: nothing on this page was observed." in page.text
    assert "(simulated)" in page.text.split("Simulated data")[0]
    assert all("simulated" in picture["alt"] for picture in page.all("img"))


def test_an_observed_run_does_not_speak_of_simulation(bare):
    assert "simulated" not in bare.text.lower().replace("simulated false", "")


def test_a_run_shows_itself_in_a_notebook(work, tmp_path):
    shown = Page(work._repr_html_())
    assert shown.faults == []
    assert "Plateau <b>& more</b>" in shown.text
    assert "simulated data" in shown.text
    assert "permafrost 1,086,000 41.2 % 1,038,000 39.3 %" in shown.text
    assert "Of n = 109 boreholes" in shown.text
    begun = Page(make_work(tmp_path, whole=False)._repr_html_())
    assert begun.faults == []
    assert "no report yet" in begun.text
    assert "nan" not in begun.text.lower().split()


# ---- its numbers ------------------------------------------------------------------------------------------------


def test_every_number_of_the_metrics_is_in_the_page(page):
    for key, value in report.flat(METRICS):
        assert f"{key} {value}" in page.text


def test_areas_are_those_of_the_metrics(page):
    for found in METRICS["areas_km2"].values():
        for km2 in found.values():
            assert f"{km2:,.0f}" in page.text
        assert f"{sum(found.values()):,.0f}" in page.text
    assert "permafrost is mapped under 1.04 million km² (39.3 %) of the 2.64 million km²" in page.text


def test_the_change_of_permafrost_is_told_in_area_in_per_cent_and_in_points(page):
    # 108.6 to 103.8 of 263.79: -4.8, -4.42 %, -1.82 points (science of the paper's Table 3)
    assert (
        "48,000 km² smaller than in 2010 (−4.4 % of the area then, −1.82 percentage points of the region)" in page.text
    )
    assert "61,200 km² went from permafrost" in page.text


def test_boreholes_are_told_with_their_number_and_intervals(page):
    assert (
        "Of n = 109 boreholes, the map agrees with 92: 84.4 % (95 % interval 76.4 % to 90.0 %); kappa, the agreement "
        "beyond chance, is 0.58 (95 % interval 0.40 to 0.76)."
    ) in page.text


def test_granules_are_counted(page):
    assert (
        "Of 16 granules that the tiles and years call for, 8 (50.0 %) were read, 4 are in no catalogue, and 4 could "
        "not be had or read."
    ) in page.text
    assert "the file ends after 12 bytes" in page.text
    assert "MYD11A1 h25v05 2009-01-02" in page.text


def test_granules_are_counted_by_product_year_and_status(page):
    header = "product and year expected present could not be had or read missing, known outage missing"
    assert header in page.text
    assert "MOD11A1 2009 2 1 1 0 0" in page.text
    assert "MYD11A1 2020 1 0 0 0 1" in page.text
    assert "MOD13A1 2020 1 1 0 0 0" in page.text


def test_granules_from_another_source_and_known_outages_are_told_apart(tmp_path):
    work = make_work(tmp_path, whole=False)
    outage = "Aqua, 2020-08-16 to 2020-09-02: failure of the data recorder"
    (work.folder / "tables" / "granules-2020.csv").write_text(
        "id,product,tile,date,source,sha256,status,error\n"
        "MYD11A1.A2020228.h25v05.061.x,MYD11A1,h25v05,2020-08-15,mirror,cc,ok,\n"
        f',MYD11A1,h25v05,2020-08-16,,,missing,"known outage: {outage}"\n'
        f',MYD11A1,h25v05,2020-08-17,,,missing,"known outage: {outage}"\n'
    )
    text = Page(report.write_report(work, []).read_text(encoding="utf-8")).text
    assert (
        "Of 3 granules that the tiles and years call for, 1 (33.3 %) were read (1 of them from mirror), 2 are in no "
        "catalogue (2 of them because of known outages), and 0 could not be had or read."
    ) in text
    assert "MYD11A1 2020 3 0 1 0 2 0" in text
    assert text.count(outage) == 1
    assert f"{outage} 2 https://landweb.modaps.eosdis.nasa.gov/" in text
    assert "known outages aside" not in text


def test_provenance_names_recipe_granules_and_versions(page, work):
    recorded = json.loads((work.folder / "provenance.json").read_text())
    assert work.recipe.digest() in page.text
    assert recorded["granules_sha256"] in page.text
    for package, version in recorded["software"].items():
        assert f"{package} {version}" in page.text


def test_a_borehole_off_the_map_is_no_disagreement(page):
    assert "B <i> 91.500 33.500 permafrost seasonally frozen 0.490" in page.text
    assert "10.000 3.500" not in page.text


# ---- what is not there ------------------------------------------------------------------------------------------


def test_what_a_run_lacks_is_said_and_not_invented(bare):
    for sentence in (
        "There is no map of frozen ground yet.",
        "There is no map to explore yet.",
        "The map was not compared with boreholes",
        "No granules were read in this run",
        "Observations were not counted in this run.",
        "There are no maps of degree days yet.",
        "E has not been calibrated yet.",
        "There are no areas yet.",
        "the map is not validated by observations",
        "There is no comparison of the epochs yet.",
        "There is no provenance.json",
    ):
        assert sentence in bare.text
    before_the_authors = bare.text.partition("What is to be cited")[0]  # one of them is called Nan
    assert "nan" not in before_the_authors.lower().split()


def test_one_class_of_boreholes_has_no_kappa_and_no_nan(tmp_path):
    work = make_work(tmp_path, whole=False)
    counts = {"n": 6, "tp": 6, "fn": 0, "fp": 0, "tn": 0, "kappa": float("nan")}
    (work.folder / "metrics.json").write_text(json.dumps({"validation": counts}))
    text = Page(report.write_report(work, []).read_text(encoding="utf-8")).text
    assert "Of n = 6 boreholes, the map agrees with 6: 100.0 % (95 % interval 61.0 % to 100.0 %)." in text


def test_a_run_of_one_epoch_tells_no_change(tmp_path):
    work = make_work(tmp_path)
    single = work.recipe.model_copy(update={"epochs": work.recipe.epochs.model_copy(update={"target": None})})
    text = Page(report.write_report(Work(single, work.folder), []).read_text(encoding="utf-8")).text
    assert "The run has one epoch: there is no change to show." in text
    assert "percentage points" not in text


def test_writing_again_gives_the_same_page(tmp_path):
    work = make_work(tmp_path)
    first = report.write_report(work, []).read_bytes()
    assert report.write_report(work, []).read_bytes() == first
    assert [path.name for path in (work.folder / "report").iterdir()] == ["index.html"]
