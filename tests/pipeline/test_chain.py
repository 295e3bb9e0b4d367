"""From a STAC search to a validated map: whole, resumable, and the same however it is cut and whoever computes it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from distributed import Client
from rio_cogeo.cogeo import cog_validate

from frostmap.pipeline import cubes, ledger
from frostmap.pipeline.plan import plan
from frostmap.pipeline.run import run
from frostmap.pipeline.schema import check
from frostmap.pipeline.stage import Stage
from frostmap.pipeline.stages import STAGES
from frostmap.pipeline.storage import Storage
from frostmap.pipeline.work import Work

from .conftest import Finished, make_recipe, workers

GROUND = ("permafrost", "seasonally_frozen", "non_frozen", "glacier", "lake")


def groups(folder: Path) -> list[str]:
    store = folder / "cube.zarr"
    every = [path for depth in ("*/zarr.json", "*/*/zarr.json") for path in store.glob(depth)]
    nodes = {str(path.parent.relative_to(store)): json.loads(path.read_bytes()) for path in every}
    arrays = {name for name, node in nodes.items() if node["node_type"] == "array"}
    holding = {name.rpartition("/")[0] for name in arrays} & nodes.keys()
    return sorted((nodes.keys() - arrays - {name.split("/")[0] for name in nodes if "/" in name}) | holding)


def same(one: Path, other: Path) -> None:
    assert groups(one) == groups(other)
    for group in groups(one):
        a, b = (cubes.open_group(Storage.of_folder(folder), group) for folder in (one, other))
        xr.testing.assert_equal(a, b)


def test_every_stage_ran_and_left_what_it_promised(pristine: Finished) -> None:
    made = [event.step for event in pristine.events if event.kind == "finished"]
    asked = {stage.name for stage in STAGES if stage.scopes(pristine.recipe)}
    assert {name.split("/")[0] for name in made} == asked
    # the demo's pixels are too wide for shadows, its elevation and snow are rasters, no regression is asked for
    assert {stage.name for stage in STAGES} - asked == {"cloud_top", "elevation_cells", "snow_days", "magt"}
    work = Work(pristine.recipe, pristine.folder)
    for stage in STAGES:
        for scope in stage.scopes(pristine.recipe):
            if stage.writes:
                cube = work.open(f"{stage.name}/{scope}" if scope else stage.name)
                assert {variable.name for variable in stage.writes} <= set(cube.data_vars)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_stage_computes_while_it_is_described(stage: Stage, pristine: Finished) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        pytest.fail("computed while it was only described")

    work = Work(pristine.recipe, pristine.folder)
    with dask.config.set(scheduler=refuse):
        for scope in stage.scopes(pristine.recipe):
            products = stage.function(work, scope)
            if products.cube is not None:
                check(products.cube, stage.writes, stage.name)
                assert all(products.cube[variable.name].chunks for variable in stage.writes)


def test_metrics_have_what_scripts_rely_on(pristine: Finished) -> None:
    metrics = json.loads((pristine.folder / "metrics.json").read_text(encoding="utf-8"))
    assert 0 < metrics["calibration"]["kappa"] <= 1
    validation = metrics["validation"]
    assert validation["tp"] + validation["fn"] + validation["fp"] + validation["tn"] == validation["n"] > 0
    for epoch in ("training", "target"):
        assert set(metrics["areas_km2"][epoch]) == {*GROUND, "unknown"}
        assert metrics["areas_km2"][epoch]["unknown"] == 0
        assert metrics["areas_km2"][epoch]["permafrost"] > 0
    for name in ("class_kappa", "ddf_relative_rmse", "ddt_relative_rmse", "e_rmse"):
        assert np.isfinite(metrics["truth"][name])


def test_the_map_is_near_the_truth(pristine: Finished) -> None:
    truth = json.loads((pristine.folder / "metrics.json").read_text(encoding="utf-8"))["truth"]
    assert truth["class_kappa"] > 0.7
    assert truth["ddf_relative_rmse"] < 0.15
    assert truth["ddt_relative_rmse"] < 0.15
    assert truth["pixels_unmapped"] == 0


def test_areas_are_those_of_the_region(pristine: Finished) -> None:
    work = Work(pristine.recipe, pristine.folder)
    areas = json.loads((pristine.folder / "metrics.json").read_text(encoding="utf-8"))["areas_km2"]["target"]
    ground = work.open("frozen_ground/target")["frozen_ground"].to_numpy()
    pixel = (1111950.5197665233 / 24 / 1000) ** 2
    assert sum(areas.values()) == pytest.approx((ground < 255).sum() * pixel, rel=0.003)


def test_maps_are_valid_cogs_with_units(pristine: Finished) -> None:
    paths = sorted((pristine.folder / "maps").glob("*.tif"))
    of_epoch = {"ddf", "ddt", "e", "e_sigma", "e_lower", "e_median", "e_upper", "dissimilarity", "applicable"}
    of_map = {"frost_number", "frozen_ground", "permafrost_probability"}
    wanted = {f"{name}_{year}" for name in of_epoch | of_map for year in (2010, 2020)}
    assert {path.stem for path in paths} == wanted | {f"{name}_2010_calibrated" for name in of_map | {"e"}}
    for path in paths:
        valid, errors, _warnings = cog_validate(path)
        assert valid, errors
        with rasterio.open(path) as raster:
            assert raster.tags()["data"] == "simulated"
            assert raster.tags()["units"]
            assert raster.shape == Work(pristine.recipe, pristine.folder).shape


class Texts(HTMLParser):
    """Collects a page's text and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.loads = "", []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"img", "script", "link"}:
            self.loads += [value for name, value in attrs if name in {"src", "href"} and value]


def test_the_report_is_self_contained_and_says_simulated(pristine: Finished) -> None:
    page = Texts((pristine.folder / "report" / "index.html").read_text(encoding="utf-8"))
    assert "simulated" in page.text.lower()
    assert page.loads
    assert all(source.startswith("data:") for source in page.loads)
    assert len(list((pristine.folder / "figures").glob("*.png"))) >= 8


def test_provenance_names_every_granule_and_version(pristine: Finished) -> None:
    content = json.loads((pristine.folder / "provenance.json").read_text(encoding="utf-8"))
    assert content["simulated"] is True
    assert len(content["granules"]) == 2 * 2 * (365 + 366)
    assert all(len(granule["sha256"]) == 64 for granule in content["granules"])
    assert content["software"]["frostmap"]
    assert content["recipe"]["sha256"] == pristine.recipe.digest()


def test_plan_states_the_bytes_that_are_written(pristine: Finished) -> None:
    stated = {step["step"]: step["bytes"] for step in plan(pristine.recipe, pristine.folder).summary()["steps"]}
    written = {record.step: record.bytes_written for record in ledger.read_all(pristine.folder / "ledger")}
    assert stated.keys() == written.keys()
    assert stated == pytest.approx(written, rel=0.2)
    assert sum(stated.values()) > 10**7


def test_a_second_run_makes_nothing(pristine: Finished, client: Client) -> None:
    events: list[Any] = []
    run(pristine.recipe, pristine.folder, client=client, report=events.append)
    assert {event.kind for event in events} == {"kept"}


def test_a_changed_setting_makes_again_only_what_depends_on_it(archive: Path, finished: Finished) -> None:
    changed = make_recipe(archive, calibration={"prior": 0.95})
    reasons = {step.name: step.reason for step in plan(changed, finished.folder).steps if step.reason}
    assert reasons["calibration/training"] == "changed: settings"
    assert {name.split("/")[0] for name in reasons} == {
        "calibration", "e_spread", "forest", "transfer", "frozen_ground", "validation", "change", "maps", "report",
        "change_maps", "single_years", "reference", "inconsistency",
    }  # fmt: skip


def test_a_lost_output_is_made_again_and_is_the_same(finished: Finished, pristine: Finished, client: Client) -> None:
    table = finished.folder / "tables" / "clusters.csv"
    before = table.read_bytes()
    table.unlink()
    reasons = {step.name: step.reason for step in plan(finished.recipe, finished.folder).steps}
    assert reasons["calibration/training"] == "tables/clusters.csv is missing"
    assert reasons["forcing/training"] is None
    run(finished.recipe, finished.folder, client=client)
    assert table.read_bytes() == before
    same(pristine.folder, finished.folder)


def assert_the_same_but_for_chunks(pristine: Finished, folder: Path) -> None:
    work = Work(pristine.recipe, pristine.folder)
    assert groups(folder) == groups(pristine.folder)
    for group in groups(folder):
        one, two = work.open(group), cubes.open_group(Storage.of_folder(folder), group)
        inside = xr.DataArray(work.inside, dims=("y", "x"), coords={"y": one["y"], "x": one["x"]})
        for name in one.data_vars:
            xr.testing.assert_equal(one[name].where(inside), two[name].where(inside))
    metrics = [json.loads((path / "metrics.json").read_text()) for path in (pristine.folder, folder)]
    assert metrics[0] == metrics[1]
    for name in CHANGE_TABLES:
        assert (folder / "tables" / f"{name}.csv").read_bytes() == work.table_path(name).read_bytes(), name


CHANGE_TABLES = (
    "transition", "area_change", "change_parts", "change_blocks", "hot_spots", "drivers", "driver_effects",
    "driver_soil", "change_places", "single_years-training", "single_years-target",
)  # fmt: skip


def test_chunks_do_not_change_a_bit(archive: Path, pristine: Finished, tmp_path: Path, client: Client) -> None:
    run(make_recipe(archive, store={"chunk_pixels": 12}), tmp_path / "work", client=client, until="maps")
    assert_the_same_but_for_chunks(pristine, tmp_path / "work")


@pytest.mark.slow
def test_neither_chunks_nor_the_number_of_workers_change_a_bit(
    archive: Path, pristine: Finished, tmp_path: Path
) -> None:
    with workers(3) as three:
        run(make_recipe(archive, store={"chunk_pixels": 7}), tmp_path / "work", client=three, until="maps")
    assert_the_same_but_for_chunks(pristine, tmp_path / "work")
