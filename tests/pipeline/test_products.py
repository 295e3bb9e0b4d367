"""What a run gives to other programs says the same as its cube, on every grid, and other programs can read it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

from frostmap.catalogs.grids import EXPORT_GRID
from frostmap.pipeline.cli import app
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.figures.palette import CLASS_COLOURS
from frostmap.pipeline.products import grids
from frostmap.pipeline.products.cogs import CogFile
from frostmap.pipeline.products.export import Exported, export
from frostmap.pipeline.products.grids import GRIDS, TargetGrid
from frostmap.pipeline.products.layers import Layer, layers_of
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.recipes import bundled, with_values
from frostmap.pipeline.run import run
from frostmap.pipeline.schema import DDF, FROZEN_GROUND
from frostmap.pipeline.work import Work

from .conftest import Finished
from .small_chain import one_thread


@pytest.fixture(scope="module")
def exported(mapped: Finished, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return the maps of the small run on all grids."""
    return export(Work(mapped.recipe, mapped.folder), tmp_path_factory.mktemp("products"))


def read(exported: Exported, grid: str, layer: str) -> np.ndarray:
    with rasterio.open(exported.folder / grid / f"{layer}.tif") as file:
        return file.read(1)


def test_every_map_is_there_on_every_grid(exported: Exported) -> None:
    names = {layer.name for layer in exported.layers}
    expected = {"ddf", "ddt", "cluster", "e", "frost_number", "frozen_ground", "permafrost_probability"}
    assert {f"{name}_2010" for name in expected} <= names
    assert not any(name.startswith(("elevation", "lakes")) for name in names)
    assert {path.relative_to(exported.folder) for path in exported.files} == {
        Path(grid) / f"{name}.tif" for grid in GRIDS for name in names
    }
    assert {path for path in exported.folder.rglob("*") if path.is_file()} == {
        *exported.files,
        *exported.metadata,
        *(exported.folder / name for name in ("areas.csv", "citations.bib", "prov.json")),
    }


def test_a_run_of_two_epochs_has_three_maps(pristine: Finished) -> None:
    names = {layer.name for layer in layers_of(Work(pristine.recipe, pristine.folder))}
    assert {"frozen_ground_2010", "frozen_ground_2020", "frozen_ground_2010_calibrated"} <= names
    assert {"e_2020", "e_2010_calibrated", "cluster_2010_calibrated", "e_sigma_2020", "applicable_2020"} <= names
    assert {"ddf_2010", "ddt_2020"} <= names
    assert "ddf_2010_calibrated" not in names


def test_files_are_valid_cogs_that_say_what_they_are(exported: Exported, mapped: Finished) -> None:
    for path in exported.files:
        valid, errors, _warnings = cog_validate(path)
        assert valid, errors
    with rasterio.open(exported.folder / "albers" / "frozen_ground_2010.tif") as file:
        assert (file.dtypes, file.nodata, file.units) == (("uint8",), 255, ("1",))
        colours = file.colormap(1)
        assert {code: "#{:02x}{:02x}{:02x}".format(*colours[code]) for code in CLASS_COLOURS} == CLASS_COLOURS
        assert file.tags(1)["flag_values"] == "1, 2, 3, 4, 5"
        assert file.tags(1)["flag_meanings"].split()[:2] == ["permafrost", "seasonally_frozen_ground"]
        assert file.tags()["data"] == "simulated"
        assert file.tags()["years"] == "2010"
        assert mapped.recipe.digest() in file.tags()["recipe"]
    with rasterio.open(exported.folder / "longlat" / "ddf_2010.tif") as file:
        assert (file.dtypes, file.units, file.crs.to_epsg()) == (("float32",), ("degC d",), 4326)
        assert np.isnan(file.nodata)


def test_maps_of_change_and_of_comparison_have_their_classes_and_colours(pristine: Finished, tmp_path: Path) -> None:
    work = Work(pristine.recipe, pristine.folder)
    done = export(work, tmp_path, grids=("native",), only=("transition", "change_cause", "inconsistency"))
    assert len(done.layers) >= 3
    for layer in done.layers:
        with rasterio.open(tmp_path / "native" / f"{layer.name}.tif") as file:
            codes, colours, tags = file.read(1), file.colormap(1), file.tags(1)
        named = dict(zip(map(int, tags["flag_values"].split(",")), tags["flag_meanings"].split(), strict=True))
        assert set(np.unique(codes)) - {255} <= named.keys()
        assert {code for code in named if colours[code][:3] == (0, 0, 0)} <= {44, 45, 54, 55}
        if layer.variable.name == "transition":
            assert named[12] == "permafrost_to_seasonally_frozen_ground"
            assert named[22] == "seasonally_frozen_ground_in_both"
            assert len(named) == 25
            km2 = done.areas[done.areas["map"] == layer.name].set_index("class")["map_km2"]
            table = pd.read_csv(pristine.folder / "tables" / "transition.csv").set_index(["from", "to"])["km2"]
            both = table["permafrost", "permafrost"]
            assert km2["permafrost in both"] == pytest.approx(both)


def test_every_map_of_codes_says_what_its_codes_are(pristine: Finished) -> None:
    counts = {"cluster", "years_permafrost", "years_known", "years_agreeing"}
    for layer in layers_of(Work(pristine.recipe, pristine.folder)):
        assert layer.legend or not layer.categorical or layer.variable.name in counts, layer.name


def test_the_own_grid_has_the_cube_itself(exported: Exported, mapped: Finished) -> None:
    work = Work(mapped.recipe, mapped.folder)
    for layer in exported.layers:
        np.testing.assert_array_equal(
            read(exported, "native", layer.name), work.open(layer.group)[layer.variable.name].to_numpy()
        )


@pytest.mark.parametrize("grid", ["longlat", "albers"])
def test_a_cell_has_the_class_that_most_points_in_it_have(grid: str, exported: Exported, mapped: Finished) -> None:
    work, name = Work(mapped.recipe, mapped.folder), "frozen_ground_2010"
    ground = work.open("frozen_ground/training")["frozen_ground"].to_numpy()
    with rasterio.open(exported.folder / grid / f"{name}.tif") as file:
        found, affine, crs = file.read(1), file.transform, str(file.crs)
    fine = (np.arange(24) + 0.5) / 24
    column, row = (np.arange(n)[:, None] + fine for n in (found.shape[1], found.shape[0]))
    x, y = np.meshgrid(affine.c + affine.a * column.ravel(), affine.f + affine.e * row.ravel())
    there = ~work.geobox.affine
    x, y = Transformer.from_crs(crs, str(work.geobox.crs), always_xy=True).transform(x, y)
    j, i = np.floor(there.a * x + there.c).astype(int), np.floor(there.e * y + there.f).astype(int)
    on_map = (i >= 0) & (j >= 0) & (i < ground.shape[0]) & (j < ground.shape[1])
    points = np.where(on_map, ground[np.clip(i, 0, ground.shape[0] - 1), np.clip(j, 0, ground.shape[1] - 1)], 255)
    points = points.reshape(found.shape[0], 24, found.shape[1], 24).swapaxes(1, 2).reshape(*found.shape, -1)
    shares = np.stack([(points == code).mean(axis=-1) for code in range(1, 6)])
    ordered, known = np.sort(shares, axis=0), shares.sum(axis=0)
    clear = (ordered[-1] - ordered[-2] > 0.03) & (np.abs(known - 0.5) > 0.03)
    expected = np.where(known > 0.5, 1 + shares.argmax(axis=0), 255)
    assert clear.sum() > 100
    assert (expected[clear] < 255).sum() > 50
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_means_keep_the_mean(exported: Exported) -> None:
    means = {grid: np.nanmean(read(exported, grid, "ddf_2010").astype(float)) for grid in ("native", "albers")}
    assert means["albers"] == pytest.approx(means["native"], rel=0.02)


def test_the_change_of_areas_is_stated(exported: Exported, mapped: Finished) -> None:
    table = exported.areas.set_index(["grid", "map", "class"]).sort_index()
    published = pd.read_csv(mapped.folder / "tables" / "areas-training.csv").set_index("class")["km2"]
    own = table.loc[("native", "frozen_ground_2010")]
    assert own.loc["permafrost", "map_km2"] == pytest.approx(published["permafrost"])
    assert (own["change_km2"].abs() < 1e-6).all()
    for grid in ("longlat", "albers"):
        cells = read(exported, grid, "frozen_ground_2010")
        row = table.loc[(grid, "frozen_ground_2010", "all")]
        assert row["map_km2"] == pytest.approx(published.drop("unknown").sum())
        assert abs(row["change_percent"]) < 5
        if grid == "albers":
            assert row["grid_km2"] == pytest.approx((cells < 255).sum() * 46.4**2)
    written = pd.read_csv(exported.folder / "areas.csv")
    assert written["change_km2"].to_numpy() == pytest.approx(
        exported.areas["change_km2"].to_numpy(), rel=1e-4, abs=1e-2
    )


def test_cells_are_counted_from_the_origin_and_hold_the_region(exported: Exported) -> None:
    for target in exported.grids:
        if target.name in ("longlat", "albers"):
            size = target.geobox.affine.a
            for edge in (target.geobox.affine.c, target.geobox.affine.f):
                assert edge / size == pytest.approx(round(edge / size), abs=1e-6)
    assert {target.name: target.geobox for target in exported.grids}["published"] == EXPORT_GRID
    assert read(exported, "published", "frozen_ground_2010").shape == (1436, 3223)
    for name in ("longlat", "albers"):
        known = read(exported, name, "frozen_ground_2010") < 255
        assert known[:2].any()
        assert known[-2:].any()
        assert known[:, :2].any()
        assert known[:, -2:].any()


def test_how_it_is_cut_into_blocks_changes_nothing(
    exported: Exported, mapped: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "BLOCK", 16)
    again = export(
        Work(mapped.recipe, mapped.folder), tmp_path, grids=("longlat", "albers"), only=("frozen_ground", "ddt")
    )
    for path in again.files:
        grid, name = path.parent.name, path.stem
        np.testing.assert_array_equal(read(again, grid, name), read(exported, grid, name))
    both = exported.areas[exported.areas["grid"].isin(["longlat", "albers"])]
    both = both[both["map"].str.startswith("frozen_ground")].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.areas, both)


def test_large_maps_have_overviews_in_which_no_class_is_made_up(tmp_path: Path) -> None:
    shape = 1100, 1500
    grid = TargetGrid("native", "", GeoBox(shape, Affine(0.01, 0, 80, 0, -0.01, 40), "EPSG:4326"), is_native=True)
    rng = np.random.default_rng(3)
    ground = rng.choice(np.array([1, 3, 255], np.uint8), shape)
    layers = {v.name: Layer(v.name, "", v, "", None) for v in (FROZEN_GROUND, DDF)}
    one, other = (tmp_path / name for name in ("g.tif", "d.tif"))
    with (
        CogFile(one, layers["frozen_ground"], grid, {}) as classes,
        CogFile(other, layers["ddf"], grid, {}) as sums,
    ):
        for rows, columns in grids.blocks_of(shape):
            classes.write(rows, columns, ground[rows, columns])
            sums.write(rows, columns, ground[rows, columns].astype(np.float32))
    for path in (one, other):
        assert cog_validate(path, strict=True)[0]
        with rasterio.open(path) as file:
            assert file.overviews(1) == [2, 4]
            np.testing.assert_array_equal(file.read(1), ground)
    with rasterio.open(one, overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= {1, 3, 255}


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    grid = TargetGrid("native", "", GeoBox((4, 4), Affine(1, 0, 80, 0, -1, 40), "EPSG:4326"), is_native=True)
    with pytest.raises(RuntimeError), CogFile(tmp_path / "x.tif", Layer("x", "", DDF, "", None), grid, {}):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_wrong_names_are_told_what_there_is(mapped: Finished, tmp_path: Path) -> None:
    work = Work(mapped.recipe, mapped.folder)
    with pytest.raises(UserError, match="frost_number"):
        layers_of(work, only=("snow",))
    with pytest.raises(UserError, match="albers"):
        export(work, tmp_path, grids=("utm",), only=("ddf",))
    assert {layer.name for layer in layers_of(work, only=("lakes",))} == {"lakes_2010"}
    assert {"inside_2010", "glaciers_2010", "frozen_ground_2010"} <= {
        each.name for each in layers_of(work, inputs=True)
    }


def test_a_run_that_is_not_finished_has_nothing_to_give(mapped: Finished, tmp_path: Path) -> None:
    shutil.copytree(mapped.folder / "ledger", tmp_path / "ledger")
    (tmp_path / "ledger" / "frozen_ground-training.json").unlink()
    with pytest.raises(DataIncomplete, match="frozen_ground/training"):
        export(Work(mapped.recipe, tmp_path), tmp_path / "out")


def test_the_command_writes_where_it_is_told(mapped: Finished, tmp_path: Path) -> None:
    arguments = ["export", str(mapped.folder), "--grid", "longlat", "--out", str(tmp_path), "--json", "--layer"]
    result = CliRunner().invoke(app, [*arguments, "frozen_ground"])
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout.splitlines()[-1])
    assert [Path(path).relative_to(tmp_path) for path in done["files"]] == [Path("longlat/frozen_ground_2010.tif")]
    assert {row["class"] for row in done["areas"]} >= {"permafrost", "all"}
    assert CliRunner().invoke(app, [*arguments, "snow"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "ddf", "--format", "png"]).exit_code == 2


@pytest.mark.realdata
def test_a_window_of_the_published_grid_comes_back_as_it_is(realdata: Path, tmp_path: Path) -> None:
    """The Wenquan region's rasters are rows 379 to 500 and columns 2602 to 2794 of the published grid."""
    text = with_values(bundled("wenquan"), {"data": str(realdata / "cop_wenquan")})
    recipe, folder = parse_recipe(text, tmp_path / "wenquan.yaml"), tmp_path / "work"
    with one_thread() as client:
        run(recipe, folder, until="frozen_ground", client=client)
    work = Work(recipe, folder)
    done = export(work, tmp_path / "out", only=("frozen_ground", "ddf"))
    for layer in done.layers:
        whole, own = read(done, "published", layer.name), work.open(layer.group)[layer.variable.name].to_numpy()
        np.testing.assert_allclose(whole[379:500, 2602:2794], own, rtol=1e-5)  # edges are rounded
        known = np.isfinite(whole) if layer.variable is DDF else whole < 255
        assert known.sum() == (np.isfinite(own) if layer.variable is DDF else own < 255).sum()
    same = done.areas[(done.areas["map_km2"] > 0) & (done.areas["grid"] != "albers")]
    assert (same["change_percent"].abs() < 1e-6).all()
