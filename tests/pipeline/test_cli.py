"""The command line says what it does, ends with the exit code that fits, and never shows a user a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import typer
import yaml
from click.testing import Result
from rasterio.transform import from_origin
from typer.testing import CliRunner

from frostmap.pipeline import ledger
from frostmap.pipeline.cli import app, run_demo
from frostmap.pipeline.console import Session
from frostmap.pipeline.recipe import load_recipe
from frostmap.pipeline.recipes import BUNDLED, bundled, with_values
from frostmap.pipeline.run import Event
from frostmap.pipeline.watching.costs import Cost
from frostmap.pipeline.watching.forecast import Left

STEPS = (
    "masks/training",
    "forcing/training",
    "calibration/training",
    "e_spread",
    "frozen_ground/training",
    "reference/ttop-e",
    "reference/ttop-constant",
    "inconsistency/ttop-e",
    "inconsistency/ttop-constant",
    "maps/training",
    "report",
)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def in_a_process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the console script as a user does."""
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from frostmap.pipeline.cli import main; main()", *map(str, arguments)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def region(here: Path) -> Path:
    """Return the recipe of a tiny region whose sums, clusters and survey lie beside it."""
    rng = np.random.default_rng(7)
    ddf, ddt = rng.uniform(500, 3000, (2, 24, 30)).astype("float32")
    cluster = rng.integers(1, 9, (24, 30)).astype("uint8")
    survey = np.where(ddf > 0.8 * ddt, 1, 2).astype("uint8")
    names = ("DDF_mean_annual", "DDT_mean_annual", "soil_cluster", "investigation_map")
    (here / "data").mkdir()
    for name, values in zip(names, (ddf, ddt, cluster, survey), strict=True):
        profile = {"driver": "GTiff", "height": 24, "width": 30, "count": 1, "dtype": values.dtype, "crs": "EPSG:4326"}
        path = here / "data" / f"{name}.tif"
        with rasterio.open(path, "w", transform=from_origin(98, 36, 0.01, 0.01), **profile) as raster:
            raster.write(values, 1)
    recipe = here / "region.yaml"
    changes = {"name": "region", "data": "data", "cluster.workers": 1, "cluster.dashboard": "127.0.0.1:0"}
    recipe.write_text(with_values(bundled("wenquan"), changes), encoding="utf-8")
    return recipe


# ---- help and version ---------------------------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for word in ("init", "plan", "run", "status", "report", "demo", "Exit codes", "130"):
        assert word in result.output


def test_help_does_not_wait_for_numerical_libraries() -> None:
    heavy = ["numpy", "dask", "distributed", "xarray", "zarr", "numba", "pydantic", "rasterio", "sklearn", "matplotlib"]
    code = f"import sys, frostmap.pipeline.cli; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_the_packages_own() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output.startswith("frostmap 0.")


@pytest.mark.parametrize("arguments", [["nothing"], ["plan"], ["run", "a.yaml", "--nothing"], ["demo", "--seed", "-1"]])
def test_a_command_line_that_makes_no_sense_ends_with_2(arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2


# ---- init ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_init_writes_a_recipe_that_can_be_read(here: Path, name: str) -> None:
    result = invoke("init", name)
    assert result.exit_code == 0
    assert f"frostmap plan {name}.yaml" in result.output
    assert load_recipe(here / f"{name}.yaml").name == name
    assert (here / f"{name}.yaml").read_text(encoding="utf-8") == bundled(name)


def test_init_does_not_overwrite(here: Path) -> None:
    (here / "demo.yaml").write_text("mine")
    result = invoke("init", "demo")
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert "--output" in result.stderr
    assert (here / "demo.yaml").read_text() == "mine"


def test_init_writes_where_it_is_told(here: Path) -> None:
    (here / "folder").mkdir()
    assert invoke("init", "demo", "--output", "folder/mine.yaml").exit_code == 0
    assert load_recipe(here / "folder" / "mine.yaml").name == "demo"


def test_init_refuses_a_folder_that_is_not_there(here: Path) -> None:
    result = invoke("init", "demo", "--output", here / "nowhere" / "a.yaml")
    assert result.exit_code == 2
    assert "no such folder" in result.stderr
    assert invoke("init", "wenquan", "--data", "nowhere").exit_code == 2
    assert not (here / "wenquan.yaml").exists()


@pytest.mark.parametrize("absolute", [False, True])
def test_init_puts_the_data_folder_into_the_recipe(here: Path, absolute: bool) -> None:
    (here / "my data").mkdir()
    (here / "recipes").mkdir()
    data = here / "my data" if absolute else Path("my data")
    assert invoke("init", "wenquan", "--data", data, "--output", "recipes/a.yaml").exit_code == 0
    recipe = load_recipe(here / "recipes" / "a.yaml")
    assert recipe.path(Path("x.tif")) == (here / "my data" / "x.tif").resolve()
    assert recipe.data.is_absolute() == absolute


def test_init_names_the_nearest_recipe(here: Path) -> None:
    result = invoke("init", "wenquam")
    assert result.exit_code == 2
    assert "did you mean 'wenquan'?" in result.stderr
    assert not list(here.iterdir())


# ---- plan ---------------------------------------------------------------------------------------------------------


def test_plan_names_every_step_and_why_and_writes_nothing(region: Path) -> None:
    before = sorted(region.parent.rglob("*"))
    result = invoke("plan", region)
    assert result.exit_code == 0
    for step in STEPS:
        assert step in result.stdout
    assert "never made" in result.stdout
    assert "24 x 30 pixels" in result.stdout
    assert sorted(region.parent.rglob("*")) == before


def test_plan_names_the_command_that_does_what_it_says(region: Path) -> None:
    said = " ".join(invoke("plan", region, "--workdir", "my map", "--until", "forcing").stdout.split())
    assert said.endswith(f"steps to do: frostmap run {region} --workdir 'my map' --until forcing")


def test_plan_as_json_is_one_object(region: Path) -> None:
    result = invoke("plan", region, "--json", "--workdir", "there")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert [step["step"] for step in summary["steps"]] == list(STEPS)
    assert summary["workdir"] == "there"
    assert summary["grid"]["pixels_inside"] == 24 * 30


def test_plan_stops_at_the_stage_that_is_named(region: Path) -> None:
    summary = json.loads(invoke("plan", region, "--json", "--until", "forcing").stdout)
    assert [step["step"] for step in summary["steps"]] == list(STEPS[:2])


@pytest.fixture
def holes(here: Path) -> Path:
    """Return a recipe of two tiles and years, and granules, by their names alone, that lack some days."""
    years = {2010: 365, 2020: 366}
    for product, step in (("MOD11A1", 1), ("MYD11A1", 1), ("MOD13A1", 16)):
        for year, last in years.items():
            for day in range(1, last + 1, step):
                for tile in ("h25v05", "h26v05"):
                    folder = "archive"
                    if (product, year, day, tile) in HOLES or (product == "MYD11A1" and (year, day) in OUTAGE_DAYS):
                        continue
                    if (product, year) == ("MOD11A1", 2010) and 100 <= day < 110:
                        folder = "mirror"
                    path = (
                        here
                        / folder
                        / product
                        / str(year)
                        / f"{product}.A{year}{day:03d}.{tile}.061.{year}400000000.hdf"
                    )
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    content = yaml.safe_load(bundled("demo"))
    content["region"] = {"tiles": ["h25v05", "h26v05"], "pixels_per_tile": 24}
    content["sources"]["lst"] = {
        "kind": "folder", "catalogue": "archive", "second": {"kind": "folder", "catalogue": "mirror"}
    }  # fmt: skip
    content["sources"]["ndvi"] = {"kind": "folder", "catalogue": "archive"}
    content |= {"name": "holes", "data": "."}
    content["epochs"]["training"]["years"], content["epochs"]["target"]["years"] = [2010], [2020]
    recipe = here / "holes.yaml"
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    return recipe


HOLES = {
    ("MOD11A1", 2010, 5, "h25v05"),
    ("MOD11A1", 2010, 6, "h25v05"),
    ("MOD11A1", 2010, 8, "h25v05"),
    ("MOD13A1", 2020, 17, "h26v05"),
    ("MOD13A1", 2020, 33, "h26v05"),
}
OUTAGE_DAYS = {(2020, day) for day in range(229, 247)}
"""16 August to 2 September 2020."""
OUTAGE = "Aqua, 2020-08-16 to 2020-09-02: failure of the data recorder"


def test_plan_says_what_is_missing_and_why(holes: Path) -> None:
    completeness = json.loads(invoke("plan", holes, "--json", "--until", "ingest").stdout)["completeness"]
    assert completeness["sources"] == {"lst": ["archive", "mirror"], "ndvi": ["archive"]}
    rows = {(row["product"], row["year"]): row for row in completeness["products"]}
    assert rows["MOD11A1", "2010"] == {
        "product": "MOD11A1",
        "year": "2010",
        "expected": 730,
        "found": 727,
        "found_in": {"archive": 707, "mirror": 20},
        "missing": 3,
        "known_outages": 0,
        "missing_by_tile": {
            "h25v05": {"missing": 3, "known_outages": 0, "dates": ["2010-01-05/2010-01-06", "2010-01-08"]}
        },
    }
    assert (rows["MOD11A1", "2020"]["missing"], rows["MOD11A1", "2020"]["missing_by_tile"]) == (0, {})
    explained = {"missing": 18, "known_outages": 18, "dates": ["2020-08-16/2020-09-02"]}
    assert rows["MYD11A1", "2020"]["missing_by_tile"] == {"h25v05": explained, "h26v05": explained}
    assert rows["MOD13A1", "2020"]["missing_by_tile"]["h26v05"]["dates"] == ["2020-01-17/2020-02-02"]
    assert all(row["expected"] == row["found"] + row["missing"] for row in rows.values())
    assert all(row["found"] == sum(row["found_in"].values()) for row in rows.values())
    (outage,) = completeness["outages"]
    assert (outage["outage"], outage["missing"]) == (OUTAGE, 36)
    assert outage["source"].startswith("https://")


def test_plan_shows_what_is_missing_as_a_table(holes: Path) -> None:
    lines = [" ".join(line.split()) for line in invoke("plan", holes, "--until", "ingest").stdout.splitlines()]
    assert "product year expected found from mirror missing of these known outages" in lines
    assert "MOD11A1 2010 730 727 20 3 0" in lines
    assert "MYD11A1 2020 732 696 0 36 36" in lines
    assert "MOD13A1 2020 46 44 0 2 0" in lines
    assert "sources lst: archive, then mirror" in lines
    assert "sources ndvi: archive" in lines
    assert len([line for line in lines if line.startswith(f"outage {OUTAGE} (36 granules; https://")]) == 1
    assert any(line.startswith("missing the dates, by tile: ") for line in lines)


def test_a_run_without_granules_misses_none(region: Path) -> None:
    summary = json.loads(invoke("plan", region, "--json").stdout)
    assert summary["completeness"] == {"sources": {}, "products": [], "outages": []}
    assert "expected" not in invoke("plan", region).stdout


Change = Callable[[str], str]


def replacing(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


MISTAKES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "unknown key": (replacing("  harmonics: 2", "  harmonicas: 2"), ("'harmonicas'", "did you mean 'harmonics'?")),
    "bad YAML": (replacing("  grid_of:", "  grid_of: ["), ("not valid YAML", "line ")),
    "wrong type": (replacing("harmonics: 2", "harmonics: two"), ("gap_filling.harmonics", "'two'", "integer")),
    "negative years": (replacing("years: [2005", "years: [-5"), ("epochs.training.years", "-5")),
    "missing file": (replacing("DDT_mean_annual.tif", "absent.tif"), ("absent.tif", "not there")),
    "missing grid": (replacing("grid_of: DDF_mean_annual.tif", "grid_of: absent.tif"), ("absent.tif", "grid_of")),
    "not a raster": (replacing("grid_of: DDF_mean_annual.tif", "grid_of: ../region.yaml"), ("region.yaml", "raster")),
    "off the globe": (replacing("grid_of: DDF_mean_annual.tif", "bbox: [200, 30, 210, 40]"), ("200",)),
    "box inside out": (replacing("grid_of: DDF_mean_annual.tif", "bbox: [90, 40, 80, 30]"), ("bounding box",)),
    "no such tile": (replacing("grid_of: DDF_mean_annual.tif", "tiles: [h99v05]"), ("h99v05", "h00 to h35")),
    "empty": (lambda _: "", ("empty",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_recipe_ends_with_2_and_says_what_to_do(region: Path, mistake: str) -> None:
    change, words = MISTAKES[mistake]
    region.write_text(change(region.read_text(encoding="utf-8")), encoding="utf-8")
    result = invoke("plan", region)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_as_json_is_one_object(region: Path, mistake: str) -> None:
    change, words = MISTAKES[mistake]
    region.write_text(change(region.read_text(encoding="utf-8")), encoding="utf-8")
    result = invoke("plan", region, "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == answer["exit_code"] == 2
    assert result.stderr == ""
    assert answer["error"]["what"]
    for word in words:
        assert word in " ".join(answer["error"].values())


def test_an_unknown_key_is_named_with_its_line(region: Path) -> None:
    text = region.read_text(encoding="utf-8").replace("  harmonics: 2", "  harmonicas: 2")
    region.write_text(text, encoding="utf-8")
    line = 1 + text[: text.index("harmonicas")].count("\n")
    assert f"gap_filling.harmonicas, line {line}:" in invoke("plan", region).stderr


@pytest.mark.usefixtures("here")
def test_a_recipe_that_is_not_there_ends_with_2() -> None:
    result = invoke("plan", "absent.yaml")
    assert result.exit_code == 2
    assert "absent.yaml" in result.stderr
    assert "frostmap init" in result.stderr


@pytest.mark.parametrize("name", ["plan", "run"])
def test_an_unknown_stage_ends_with_2_and_the_known_ones(region: Path, name: str) -> None:
    result = invoke(name, region, "--until", "frozen")
    assert result.exit_code == 2
    assert "frozen_ground" in result.stderr


def test_a_catalogue_that_has_nothing_ends_with_3(here: Path) -> None:
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "empty", "description": "empty", "links": []}
    (here / "archive").mkdir()
    (here / "archive" / "catalog.json").write_text(json.dumps(catalogue))
    invoke("init", "demo")
    recipe = yaml.safe_load((here / "demo.yaml").read_text(encoding="utf-8"))
    del recipe["region"]["outline"]
    (here / "demo.yaml").write_text(yaml.safe_dump(recipe))
    result = invoke("plan", "demo.yaml")
    assert result.exit_code == 3
    assert "no source has a MOD11A1 granule of 2010" in result.stderr
    assert json.loads(invoke("plan", "demo.yaml", "--json").stdout)["exit_code"] == 3


@pytest.mark.realdata
def test_plan_of_the_real_region(here: Path, realdata: Path) -> None:
    assert invoke("init", "wenquan", "--data", realdata / "cop_wenquan").exit_code == 0
    summary = json.loads(invoke("plan", "wenquan.yaml", "--json").stdout)
    assert (summary["grid"]["height"], summary["grid"]["width"]) == (121, 192)
    assert [step["step"] for step in summary["steps"]] == list(STEPS)
    assert not list(here.glob("wenquan-work"))


# ---- run, status, report: as a user runs them ---------------------------------------------------------------------


def test_a_region_from_run_to_report(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = region.parent
    done = in_a_process("run", region.name, cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert any(line.startswith("dashboard: http://127.0.0.1") for line in lines)
    for number, step in enumerate(STEPS, 1):
        assert any(line.startswith(f"[{number}/{len(STEPS)}] {step}: ") for line in lines)
    assert "\x1b" not in done.stdout
    work = here / "region-work"
    for line in lines:
        if line.startswith(("report ", "map ")):
            assert Path(line.split(maxsplit=1)[1]).is_file()
    assert any(line.startswith("map ") for line in lines)
    assert any(line.startswith("calibration.kappa") for line in lines)
    assert re.search(r"^spent    .* core-hours; read .*, wrote .*; largest worker", done.stdout, re.MULTILINE)

    # the copy of the recipe means the same files wherever the command runs
    copied = load_recipe(work / "recipe.yaml")
    assert copied.path(Path("a")) == load_recipe(region).path(Path("a"))
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    status = json.loads(invoke("status", work, "--json").stdout)
    assert status["complete"]
    assert [step["step"] for step in status["steps"]] == list(STEPS)
    assert all(step["finished"] and step["outputs"] for step in status["steps"])
    assert all(step["cost"]["seconds"] > 0 for step in status["steps"])
    assert (status["runs"], status["going_on"]) == (1, None)
    assert status["left"] == {"seconds": 0, "unmeasured_steps": 0}
    assert 0 < status["cost"]["core_hours"] < 1
    assert re.search(r"^spent    .*; in 1 run$", invoke("status", work).stdout, re.MULTILINE)

    again = invoke("run", work / "recipe.yaml", "--json")
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert [event["event"] for event in events] == ["kept"] * len(STEPS) + ["done"]
    assert events[-1]["steps_made"] == 0
    assert not list(elsewhere.iterdir())

    report = Path(events[-1]["reports"][0])
    report.unlink()
    lost = invoke("status", work)
    assert lost.exit_code == 0
    assert "lost: " in lost.stdout
    assert re.search(r"^left     about \d", lost.stdout, re.MULTILINE), (
        "the report was made before, so its time is known"
    )
    assert f"1 of {len(STEPS)} steps are missing" in lost.stdout
    made = in_a_process("report", work, "--json", cwd=elsewhere)
    events = [json.loads(line) for line in made.stdout.splitlines()]
    assert events[-1]["steps_made"] == 1
    assert report.is_file()


def test_an_interruption_that_is_dropped_ends_the_run_at_its_next_event() -> None:
    def dropping() -> None:
        with Session() as session, session.progress(1) as report:
            report(Event("started", "a"))
            with suppress(KeyboardInterrupt):  # as Python does in a finaliser
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            report(Event("finished", "a"))

    with pytest.raises(typer.Exit) as caught:
        dropping()
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_run_ends_with_130_and_what_was_made_stands(region: Path) -> None:
    process = subprocess.Popen(
        command("run", region.name), cwd=region.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[2/"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.endswith("interrupted: what was made stands; run again to go on\n")
    steps = json.loads(invoke("status", region.parent / "region-work", "--json").stdout)["steps"]
    assert steps[0]["state"] == "stands"
    assert steps[-1]["state"] == "missing"


def test_a_pipe_that_is_closed_early_is_no_failure_of_ours(region: Path) -> None:
    process = subprocess.Popen(
        command("plan", region.name), cwd=region.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=120)
    assert process.stderr is not None
    with process.stderr:
        assert "fault" not in process.stderr.read()


@pytest.fixture
def no_run(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the run by one that only notes how it was called, and makes nothing."""
    from frostmap.pipeline import run as module

    calls: list[dict[str, Any]] = []

    def note(recipe: object, folder: Path, **how: object) -> object:
        calls.append({"recipe": recipe, "folder": folder, **how})
        return module.Plan(module.Work(recipe, folder), ())  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run", note)
    return calls


def test_the_work_directory_is_named_after_the_recipe(region: Path, no_run: list[dict[str, Any]]) -> None:
    assert invoke("run", region).exit_code == 0
    assert invoke("run", region, "--workdir", "mine", "--until", "masks").exit_code == 0
    assert [call["folder"] for call in no_run] == [Path("region-work"), Path("mine")]
    assert no_run[1]["until"] == "masks"
    assert (region.parent / "mine" / "recipe.yaml").is_file()


def test_a_work_directory_of_another_recipe_is_refused(region: Path, no_run: list[dict[str, Any]]) -> None:
    assert invoke("run", region, "--workdir", "shared").exit_code == 0
    region.write_text(with_values(region.read_text(encoding="utf-8"), {"name": "other"}), encoding="utf-8")
    result = invoke("run", region, "--workdir", "shared")
    assert result.exit_code == 2
    assert "belongs to another recipe" in result.stderr
    assert len(no_run) == 1


def test_a_damaged_copy_of_the_recipe_is_written_anew(region: Path, no_run: list[dict[str, Any]]) -> None:
    work = region.parent / "region-work"
    work.mkdir()
    (work / "recipe.yaml").write_text("name: [")
    assert invoke("run", region).exit_code == 0
    assert load_recipe(work / "recipe.yaml").name == "region"
    assert len(no_run) == 1


def test_a_file_where_the_work_directory_should_be_ends_with_2(region: Path, no_run: list[dict[str, Any]]) -> None:
    result = invoke("run", region, "--workdir", region)
    assert result.exit_code == 2
    assert str(region) in result.stderr
    assert not no_run


@pytest.mark.parametrize("option", ["--cluster", "--scheduler"])
@pytest.mark.parametrize("where", ["nonsense://nowhere:1", "tcp://192.0.2.7:8786", "clouds"])
def test_a_place_where_nothing_can_be_computed_ends_with_2(region: Path, option: str, where: str) -> None:
    result = invoke("run", region, option, where)
    assert result.exit_code == 2
    assert f"--cluster {where}" in result.stderr


@pytest.mark.parametrize("name", ["status", "report"])
def test_a_folder_without_a_run_ends_with_2(here: Path, name: str) -> None:
    for folder in (here, here / "absent"):
        result = invoke(name, folder)
        assert result.exit_code == 2
        assert "not a work directory" in result.stderr


@pytest.mark.usefixtures("no_run")
def test_status_tells_what_stands_from_what_is_missing(region: Path) -> None:
    assert invoke("run", region).exit_code == 0
    work = region.parent / "region-work"
    record = ledger.Record(STEPS[0], {}, 75.0, 2_000_000, {}, {}, "", "", "2026-01-02T03:04:05+00:00")
    ledger.write_record(work / "ledger", record)
    result = invoke("status", work)
    assert result.exit_code == 0
    first = next(line for line in result.stdout.splitlines() if STEPS[0] in line)
    for part in ("stands", "2026-01-02 03:04:05", "1 min 15 s", "2.0 MB"):
        assert part in first
    assert f"{len(STEPS) - 1} of {len(STEPS)} steps are missing" in result.stdout
    assert not json.loads(invoke("status", work, "--json").stdout)["complete"]


def test_a_report_of_a_run_that_is_not_finished_ends_with_3(region: Path, no_run: list[dict[str, Any]]) -> None:
    assert invoke("run", region).exit_code == 0
    result = invoke("report", region.parent / "region-work")
    assert result.exit_code == 3
    assert "frostmap run" in result.stderr
    assert len(no_run) == 1


# ---- demo ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the simulation by one that writes a single survey; return the settings that it was asked for."""
    from frostmap.pipeline import run as module
    from frostmap.pipeline import simulate

    asked: list[Any] = []

    def write(folder: Path, simulation: Any, *, client: object, progress: Callable[[int, int], None]) -> None:
        assert client == "client"
        asked.append(simulation)
        (folder / "surveys").mkdir()
        (folder / "surveys" / "gaize.tif").touch()
        (folder / f"of-{simulation.seed}").touch()
        progress(1, 1)

    @contextmanager
    def connected(*_: object) -> Iterator[str]:
        yield "client"

    monkeypatch.setattr(simulate, "write_archive", write)
    monkeypatch.setattr(module, "connected", connected)
    return asked


def test_the_demo_simulates_once_and_runs_each_time(
    here: Path, archives: list[Any], no_run: list[dict[str, Any]]
) -> None:
    assert invoke("demo").exit_code == 0
    assert invoke("demo").exit_code == 0
    assert len(archives) == 1
    assert [call["client"] for call in no_run] == ["client", None]
    recipe = load_recipe(here / "frostmap-demo" / "recipe.yaml")
    assert no_run[0]["recipe"] == recipe
    assert recipe.simulated
    assert [survey.name for survey in recipe.sources.surveys] == ["gaize"]
    assert recipe.path(Path("catalog.json")) == here / "frostmap-demo" / "archive" / "catalog.json"


def test_the_demos_recipe_fits_its_simulation(here: Path, archives: list[Any], no_run: list[dict[str, Any]]) -> None:
    assert invoke("demo", "--workdir", "whole").exit_code == 0
    assert invoke("demo", "--workdir", "small", "--small").exit_code == 0
    assert no_run[0]["recipe"].transfer.samples == 3000
    assert no_run[1]["recipe"].transfer.samples == 300
    for simulation, folder in zip(archives, ("whole", "small"), strict=True):
        recipe = load_recipe(here / folder / "recipe.yaml")
        assert recipe.region.tiles == simulation.tiles
        assert recipe.region.pixels_per_tile == simulation.pixels_per_tile
        assert recipe.epochs.training.years == simulation.training_years
        assert recipe.epochs.target
        assert recipe.epochs.target.years == simulation.target_years


def test_another_seed_makes_another_archive_and_keeps_nothing_of_the_first(
    here: Path, archives: list[Any], no_run: list[dict[str, Any]]
) -> None:
    assert invoke("demo", "--seed", "1").exit_code == 0
    assert invoke("demo", "--seed", "2").exit_code == 0
    assert [simulation.seed for simulation in archives] == [1, 2]
    assert [path.name for path in (here / "frostmap-demo" / "archive").glob("of-*")] == ["of-2"]
    assert len(no_run) == 2


def test_the_demo_does_not_touch_an_archive_that_it_did_not_write(
    here: Path, archives: list[Any], no_run: list[dict[str, Any]]
) -> None:
    mine = here / "frostmap-demo" / "archive" / "mine.tif"
    mine.parent.mkdir(parents=True)
    mine.touch()
    result = invoke("demo")
    assert result.exit_code == 2
    assert "something else" in result.stderr
    assert mine.exists()
    assert not archives
    assert not no_run


@pytest.mark.usefixtures("here")
def test_an_archive_whose_writing_was_interrupted_is_written_again(
    archives: list[Any], no_run: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from frostmap.pipeline import simulate

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "write_archive", interrupted)
        assert invoke("demo").exit_code == 130
    assert not no_run
    assert invoke("demo").exit_code == 0
    assert len(archives) == 1


def test_the_demo_does_not_run_in_a_work_directory_of_another_recipe(
    region: Path, archives: list[Any], no_run: list[dict[str, Any]]
) -> None:
    assert invoke("run", region, "--workdir", "work").exit_code == 0
    assert invoke("demo", "--workdir", "work").exit_code == 2
    assert not archives
    assert len(no_run) == 1


def test_the_demo_has_the_options_that_later_work_relies_on() -> None:
    assert set(run_demo.__annotations__) >= {"workdir", "small", "seed", "scheduler", "as_json"}


# ---- how a command ends -------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    from frostmap.pipeline import run as module

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(module, "run", fail)


def test_a_failure_of_ours_ends_with_1_one_line_and_a_traceback_in_a_file(
    region: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("the flux\nis inverted"))
    result = invoke("run", region)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "our fault" in line
    assert "RuntimeError: the flux." in line
    (kept,) = (region.parent / "region-work").glob("traceback-*.txt")
    assert str(kept) in line
    assert "is inverted" in kept.read_text()


def test_a_failure_of_ours_as_json(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, RuntimeError("inverted"))
    answer = json.loads(invoke("run", region, "--json").stdout)
    assert answer["exit_code"] == 1
    assert Path(answer["error"]["traceback"]).is_file()


def test_a_traceback_goes_elsewhere_where_there_is_no_work_directory(
    region: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from frostmap.pipeline import plan as module

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setattr(module, "plan", lambda *_: 1 / 0)
    result = invoke("plan", region, "--json")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in Path(json.loads(result.stdout)["error"]["traceback"]).read_text()


def test_a_developer_gets_the_exception_itself(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTMAP_DEBUG", "1")
    failing(monkeypatch, RuntimeError("inverted"))
    assert isinstance(invoke("run", region).exception, RuntimeError)


def test_an_interruption_ends_with_130(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    result = invoke("run", region)
    assert result.exit_code == 130
    assert result.stderr == "interrupted: what was made stands; run again to go on\n"
    assert json.loads(invoke("run", region, "--json").stdout)["exit_code"] == 130


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "maps"), OSError(28, "No space left")])
def test_what_the_machine_refuses_is_not_called_our_fault(
    region: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    failing(monkeypatch, error)
    result = invoke("run", region)
    assert result.exit_code == 2
    assert str(error.strerror) in result.stderr


def test_warnings_of_libraries_go_to_the_log_of_the_work_directory(
    region: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frostmap.pipeline import run as module

    quiet = module.run

    def warn(*arguments: Any, **how: Any) -> object:
        warnings.warn("the moon is full", UserWarning, stacklevel=1)
        return quiet(*arguments, **how)

    monkeypatch.setattr(module, "run", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = invoke("run", region, "--until", "nothing")
    assert "moon" not in result.output
    assert "the moon is full" in (region.parent / "region-work" / "frostmap.log").read_text()


# ---- progress -----------------------------------------------------------------------------------------------------

RUN = [
    Event("kept", "masks/training", "masks", "up to date"),
    Event("cluster", message="http://127.0.0.1:1/status"),
    Event("started", "forcing/training", "sums", "changed: settings", total=4),
    *(Event("progress", "forcing/training", "sums", "", done, 4) for done in (1, 2, 3, 4)),
    Event("finished", "forcing/training", "sums", "", 4, 4, 75.0),
]


def shown(events: list[Event], as_json: bool = False) -> None:
    with Session(as_json) as session, session.progress(3) as report:
        for event in events:
            report(event)


def test_progress_in_a_pipe_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown(RUN)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 3 steps are up to date",
        "dashboard: http://127.0.0.1:1/status",
        "[2/3] forcing/training: sums (changed: settings)",
        "    done in 1 min 15 s",
    ]


def test_a_long_step_in_a_pipe_says_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    shown(RUN)
    assert "    1 of 4, about 1 min 0 s left" in capsys.readouterr().out


def test_what_is_left_and_what_was_spent_are_told_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        Event("started", "masks/training", "masks", "", 0, 4, left=Left(0.0, 3)),
        Event("started", "forcing/training", "sums", "", 0, 4, left=Left(90.0, 1)),
        Event("ended", seconds=75.0, cost=Cost(75.0, 1800.0, 2_000_000, 1_000_000, 3_000_000_000)),
    ]
    shown(told)
    assert capsys.readouterr().out.splitlines() == [
        "[1/3] masks/training: masks",
        "[2/3] forcing/training: sums; left of the run: about 1 min 30 s and 1 step of which nothing is known yet",
        "spent    1 min 15 s, 0.5 core-hours; read 2.0 MB, wrote 1.0 MB; largest worker 3.0 GB",
    ]
    shown(told, as_json=True)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[1]["left"] == {"seconds": 90.0, "unmeasured_steps": 1}
    assert events[2]["cost"]["core_hours"] == 0.5


def test_progress_as_json_is_an_object_a_line_and_not_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    shown(RUN[:3] + [Event("progress", "forcing/training", "", "", n, 1000) for n in range(1000)] + RUN[-1:], True)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "kept",
        "cluster",
        "started",
        "finished",
    ]
    assert len(events) < 20
    assert events[1] == {"event": "cluster", "message": "http://127.0.0.1:1/status"}


def test_progress_on_a_terminal_is_bars_and_a_line_for_each_finished_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown(RUN)
    text = capsys.readouterr().out
    assert "dashboard: http://127.0.0.1:1/status" in text
    assert "1 min 15 s" in text
    assert "2/3" in text


def test_an_error_on_a_terminal_is_a_panel(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    region.write_text("name: [x]", encoding="utf-8")  # brackets are text, not markup
    result = invoke("plan", region)
    assert result.exit_code == 2
    assert "frostmap cannot go on" in result.stderr
    assert "['x']" in result.stderr
    assert os.linesep.join(["", ""]) not in result.stdout
