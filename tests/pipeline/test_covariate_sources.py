"""Series of precipitation, snow and soil come to the map as steps of the chain, and only what changed is made again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from distributed import Client
from odc.geo.geobox import GeoBox

from frostmap.catalogs.gridded import load_series
from frostmap.catalogs.grids import lattice, to_geographic
from frostmap.pipeline import plan, schema
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.report.covariates import covariates
from frostmap.pipeline.run import run
from frostmap.pipeline.simulate.gridded_series import MONTHLY_SHARES, write_precipitation, write_snow, write_soil
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.stages.covariates import COVARIATES, mean_of_years, places_of, window_of_reach
from frostmap.pipeline.stages.masks import MASKS
from frostmap.pipeline.stages.precipitation import PRECIPITATION_MADE
from frostmap.pipeline.stages.snow_cover import SNOW_COVER_MADE
from frostmap.pipeline.stages.soil import SOIL_MADE
from frostmap.pipeline.work import Work

from .small_chain import one_thread

CHINA = "china-precipitation-1km"
BOX, CELL = (91.0, 33.0, 95.0, 37.0), 1 / 20
REGION = [92.0, 34.0, 93.5, 35.5]
YEARS = {"training": 2010, "target": 2020}


def plane(east: Any, north: Any, level: float, slopes: tuple[float, float]) -> Any:
    """Return a plane over longitude and latitude."""
    return level + slopes[0] * (east - 93.0) + slopes[1] * (north - 35.0)


def annual_rain(east: Any, north: Any, year: int) -> Any:
    """Return precipitation of a year [mm]: a third more in 2020."""
    return plane(east, north, 400.0, (60.0, -80.0)) * (4 / 3 if year == 2020 else 1.0)


def annual_snow(east: Any, north: Any) -> Any:
    """Return snow cover [%]."""
    return plane(east, north, 40.0, (8.0, 9.0))


def sand(east: Any, north: Any, bottom: float) -> Any:
    """Return sand [%]: less of it further down."""
    return plane(east, north, 60.0, (6.0, -5.0)) - 10.0 * (bottom > 50.0)


SAND_BELOW = 10.0 * (200.0 - 49.3) / 200.0
"""How much less the mean of 0 to 200 cm is, by hand: the layer from 49.3 cm on is the first that ends below 50."""


def constant(stage: str, scopes: Any, variables: tuple[schema.Variable, ...], value: float) -> Stage:
    """Stand for a stage whose maps are the same everywhere."""

    def build(work: Work, _scope: str) -> Products:
        sizes = {"composite": 23, "y": work.shape[0], "x": work.shape[1]}
        layers = {
            v.name: (v.dims, da.full(tuple(sizes[dim] for dim in v.dims), np.float32(value), chunks=-1), v.attrs)
            for v in variables
        }
        return Products(cube=xr.Dataset(layers), coords={"composite": np.arange(23, dtype="int16")})

    return Stage(stage, stage, build, scopes=scopes, writes=variables)


STAND_INS = (
    constant("vegetation", all_years, (schema.NDVI_SERIES,), 0.3),
    constant("terrain", lambda _recipe: [""], schema.TERRAIN, 0.5),
)


@pytest.fixture(autouse=True)
def _only_what_series_need(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = (*STAND_INS, MASKS, PRECIPITATION_MADE, SNOW_COVER_MADE, SOIL_MADE, COVARIATES)
    monkeypatch.setattr(plan, "STAGES", chain)
    monkeypatch.setattr(Work, "granules", property(lambda _: {}))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with one_thread() as connection:
        yield connection


def write_series(folder: Path) -> None:
    """Write what the archives have, of planes that are known everywhere."""

    def rain(east: Any, north: Any, year: int, month: int) -> Any:
        return annual_rain(east, north, year) * MONTHLY_SHARES[month - 1]

    write_precipitation(folder / "rain", CHINA, rain, list(YEARS.values()), BOX, CELL)
    textures = {"sand": sand, "clay": lambda east, north, _bottom: plane(east, north, 20.0, (0.0, 0.0))}
    write_soil(folder / "soil", "shangguan-2013", textures, BOX, CELL)
    days = [(year, day) for year in YEARS.values() for day in range(1, 366) if day % 19]

    def snow(east: Any, north: Any, _year: int, day: int) -> Any:
        return annual_snow(east, north) + day % 10 / 10 - 0.45  # so that whole per cent even out

    write_snow(folder / "snow", "awt-modis-fsc", snow, days, BOX, 4 * CELL)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 8, "width": 8, "crs": "EPSG:4326"}
    with rasterio.open(folder / "even.tif", "w", transform=Affine(1, 0, 88, 0, -1, 38), **profile) as file:
        file.write(np.full((1, 8, 8), 30, "float32"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_series(folder)
    return folder


SERIES: dict[str, Any] = {
    "precipitation": {"series": CHINA, "folder": "rain"},
    "snow_cover": {"series": "awt-modis-fsc", "folder": "snow"},
    "soil": {"series": "shangguan-2013", "folder": "soil"},
}


def recipe_of(
    archive: Path,
    epochs: dict[str, Any] | None = None,
    *,
    more: dict[str, Any] | None = None,
    pixels: int = 24,
    **sources: Any,
) -> Recipe:
    """Return a recipe of a region within the series; `more` are other sections."""
    by_epoch = {name: {"freezing": "even.tif", "thawing": "even.tif"} for name in YEARS}
    content = {
        "name": "gridded",
        "data": str(archive),
        "region": {"bbox": REGION, "pixels_per_tile": 240},
        "epochs": epochs or {name: {"years": [year]} for name, year in YEARS.items()},
        "sources": {
            "forcing": by_epoch,
            "ndvi": {"kind": "folder", "catalogue": "."},
            "elevation": "even.tif",
            "surveys": [{"name": "none", "path": "even.tif"}],
            **(SERIES | sources),
        },
        "store": {"chunk_pixels": pixels},
        **(more or {}),
    }
    return parse_recipe(yaml.safe_dump(content), archive / "recipe.yaml")


@pytest.fixture(scope="module")
def made(archive: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Return a finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "STAGES", (*STAND_INS, MASKS, PRECIPITATION_MADE, SNOW_COVER_MADE, SOIL_MADE, COVARIATES))
        patch.setattr(Work, "granules", property(lambda _: {}))
        return run(recipe_of(archive), tmp_path_factory.mktemp("work"), client=client).work


def places(work: Work) -> tuple[Any, Any]:
    """Return longitudes and latitudes of the centres of all pixels [°]."""
    a, (height, width) = work.geobox.affine, work.shape
    return to_geographic(*np.meshgrid(a.c + a.a * (np.arange(width) + 0.5), a.f + a.e * (np.arange(height) + 0.5)))


# ---- the maps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", list(YEARS))
def test_each_series_is_recovered_where_it_belongs(made: Work, epoch: str) -> None:
    """A shift by half a cell of any source would move its plane by twenty times what is allowed here."""
    east, north = places(made)
    wanted = {
        "precipitation": (annual_rain(east, north, YEARS[epoch]), np.hypot(60, 80), 1.5),
        "snow_cover": (annual_snow(east, north), np.hypot(8, 9), 0.6),
        "sand": (sand(east, north, 0.0) - SAND_BELOW, np.hypot(6, 5), 0.3),
    }
    cube = made.open(f"covariates/{epoch}").load()
    for name, (truth, steep, noise) in wanted.items():
        off = (cube[name].to_numpy() - truth)[made.inside]
        assert np.isfinite(off).all()
        assert abs(off.mean()) / steep < CELL / 40, name
        assert off.std() < noise, name
    assert cube["clay"].to_numpy()[made.inside] == pytest.approx(20.0, abs=1e-4)
    assert cube["ndvi"].to_numpy()[made.inside] == pytest.approx(0.3, abs=1e-6)


def test_each_has_units_coverage_and_why_it_is_missing(made: Work) -> None:
    for group, name, units in (
        ("precipitation/target", "precipitation", "mm"),
        ("snow_cover/training", "snow_cover", "%"),
        ("soil", "sand", "%"),
    ):
        cube = made.open(group).load()
        assert cube[name].attrs["units"] == units
        assert cube[f"{name}_coverage"].to_numpy()[made.inside] == pytest.approx(1.0, abs=1e-5)
        assert (cube[f"{name}_missing"].to_numpy() == np.where(made.inside, 0, 255)).all()
        assert np.isnan(cube[name].to_numpy()[~made.inside]).all()


def test_tables_say_which_files_each_is_made_of(made: Work, archive: Path) -> None:
    table = made.table("sources-precipitation-target").iloc[0]
    path = archive / "rain" / "pre_2020.nc"
    assert (table["file"], table["series"]) == (path.name, CHINA)
    assert table["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (table["layers"], table["first"], table["last"]) == (12, "2020-01", "2020-12")
    assert table["doi"] == load_series(CHINA).doi
    days = made.table("sources-snow_cover-training")
    assert len(days) == days["layers"].sum() == 346
    pixels = made.table("soil")
    assert set(pixels["what"]) == {"sand", "clay"}
    assert pixels["pixels"].sum() == 2 * made.inside.sum()
    assert not pixels[["beyond", "no_value", "impossible"]].to_numpy().any()


def test_the_plan_says_what_will_be_read(made: Work) -> None:
    grids = plan.plan(made.recipe, made.folder).summary()["grids"]
    assert [row["step"] for row in grids] == [
        "precipitation/training", "precipitation/target", "snow_cover/training", "snow_cover/target", "soil", "soil",
    ]  # fmt: skip
    assert grids[0]["series"] == CHINA
    assert (grids[0]["first"], grids[0]["last"]) == ("2010-01", "2010-12")


# ---- steps of the ledger --------------------------------------------------------------------------------------------


def test_a_file_that_changed_makes_again_only_what_it_is_in(tmp_path: Path, client: Client) -> None:
    write_series(tmp_path / "series")
    recipe = recipe_of(tmp_path / "series", snow_cover=dict.fromkeys(YEARS, "even.tif"))
    run(recipe, tmp_path / "work", client=client)
    assert not any(step.reason for step in plan.plan(recipe, tmp_path / "work").steps)
    path = tmp_path / "series" / "rain" / "pre_2020.nc"
    data = xr.load_dataset(path, decode_times=False, mask_and_scale=False)
    data["pre"][:, :, : data.sizes["lon"] // 2] = -32768
    data.to_netcdf(path, engine="scipy")
    reasons = {step.name: step.reason for step in plan.plan(recipe, tmp_path / "work").steps if step.reason}
    assert reasons == {
        "precipitation/target": "changed: files and what they count",
        "covariates/target": "made again: precipitation/target",
    }
    work = run(recipe, tmp_path / "work", client=client).work
    cube, (east, _) = work.open("precipitation/target").load(), places(work)
    west = work.inside & (east < 93.0 - 2 * CELL)
    assert west.any()
    assert (cube["precipitation_missing"].to_numpy()[west] == 2).all()
    assert np.isnan(work.open("covariates/target")["precipitation"].to_numpy()[west]).all()
    assert np.isfinite(work.open("covariates/training")["precipitation"].to_numpy()[west]).all()
    table = work.table("precipitation-target")
    assert table["no_value"].sum() == (cube["precipitation_missing"].to_numpy() == 2).sum()


def test_rasters_of_the_mean_are_taken_as_they_are(archive: Path, tmp_path: Path, client: Client) -> None:
    rasters = {"precipitation": dict.fromkeys(YEARS, "even.tif"), "soil": None, "sand": "even.tif"}
    recipe = recipe_of(archive, **rasters, clay="even.tif", snow_cover=dict.fromkeys(YEARS, "even.tif"))
    work = run(recipe, tmp_path, client=client).work
    cube = work.open("covariates/target").load()
    for name in ("precipitation", "snow_cover", "sand", "clay"):
        assert cube[name].to_numpy()[work.inside] == pytest.approx(30.0)
    assert work.table("sources-soil")["file"].tolist() == ["even.tif", "even.tif"]


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_years_outside_a_series_are_refused_with_what_it_covers(archive: Path, tmp_path: Path) -> None:
    epochs = {"training": {"years": [2010]}, "target": {"years": [2020, 2023]}}
    with pytest.raises(UserError, match="awt-modis-fsc does not cover all years") as refused:
        plan.plan(recipe_of(archive, epochs, precipitation=dict.fromkeys(YEARS, "even.tif")), tmp_path)
    assert "2023" in str(refused.value)
    assert "years from 2001 to 2022" in str(refused.value)
    assert refused.value.exit_code == 2


def test_years_whose_files_are_not_there_are_told_before_anything_is_made(archive: Path, tmp_path: Path) -> None:
    epochs = {"training": {"years": [2010]}, "target": {"years": [2019, 2020]}}
    with pytest.raises(DataIncomplete, match="2019-01") as refused:
        plan.plan(recipe_of(archive, epochs), tmp_path)
    assert refused.value.exit_code == 3


def test_rain_in_tenths_of_a_millimetre_is_recognised(tmp_path: Path, archive: Path, client: Client) -> None:
    wet = tmp_path / "wet.tif"
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 8, "width": 8, "crs": "EPSG:4326"}
    with rasterio.open(wet, "w", transform=Affine(1, 0, 88, 0, -1, 38), **profile) as file:
        file.write(np.full((1, 8, 8), 0.4, "float32"))  # metres
    recipe = recipe_of(archive, precipitation={name: str(wet) for name in YEARS})
    with pytest.raises(UserError, match="check the units") as refused:
        run(recipe, tmp_path / "work", client=client)
    assert "a median of 0.4 mm" in str(refused.value)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"sand": "even.tif"}, "not both"),
        ({"precipitation": {"series": "chirps", "folder": "rain"}}, "'terraclimate'"),
        ({"precipitation": {"series": "terraclimate", "foldr": "rain"}}, "did you mean 'folder'"),
        ({"snow_cover": {"training": "even.tif"}}, "no 'target'"),
        ({"soil": {"series": "shangguan-2013", "folder": "soil", "depths": [0]}}, "depths"),
        ({"soil": None}, "sources lack"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(archive: Path, sources: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        recipe_of(archive, **sources)
    assert message in str(refused.value)


# ---- NDVI of an epoch ------------------------------------------------------------------------------------------------


def ndvi(*years: list[float]) -> list[Any]:
    return [np.array(year, np.float32).reshape(23, 1, 1) for year in years]


def test_an_interval_is_the_mean_of_the_years_that_have_it() -> None:
    one, other = [0.2] * 23, [0.4] * 23
    one[11] = np.nan
    wanted = (22 * 0.3 + 0.4) / 23
    assert mean_of_years(ndvi(one, other))[0, 0] == pytest.approx(wanted, abs=1e-6)


def test_an_interval_that_no_year_has_lies_between_its_neighbours_and_the_year_is_a_circle() -> None:
    year = [0.1 * (i % 3) for i in range(23)]
    year[22], year[0], year[1] = np.nan, np.nan, 0.5
    closed = sum(year[1:22]) + 2 * 0.5 * (year[21] + year[1])
    assert mean_of_years(ndvi(year))[0, 0] == pytest.approx(closed / 23, abs=1e-6)


def test_intervals_that_stay_missing_void_the_pixel() -> None:
    year = [0.3] * 23
    year[:3], year[21:] = [np.nan] * 3, [np.nan] * 2
    assert np.isnan(mean_of_years(ndvi(year))[0, 0])
    year[0] = 0.3
    assert mean_of_years(ndvi(year))[0, 0] == pytest.approx(0.3)


# ---- pixels that lack a predictor ------------------------------------------------------------------------------------


def without_a_hole(folder: Path, archive: Path) -> Path:
    """Return a copy of the series whose rain of 2020 lacks what lies within 0.15 degrees of 92.8 E, 34.8 N."""
    shutil.copytree(archive, folder)
    path = folder / "rain" / "pre_2020.nc"
    data = xr.load_dataset(path, decode_times=False, mask_and_scale=False)
    hole = np.hypot(data["lon"] - 92.8, data["lat"] - 34.8) < 0.15
    data["pre"] = data["pre"].where(~hole, -32768).astype("int16").transpose("time", "lat", "lon")
    data.to_netcdf(path, engine="scipy")
    return folder


EVEN_SNOW = {"snow_cover": dict.fromkeys(YEARS, "even.tif")}


def test_what_is_missing_is_counted_by_its_cause_and_stays_missing(
    archive: Path, tmp_path: Path, client: Client
) -> None:
    work = run(recipe_of(without_a_hole(tmp_path / "s", archive), **EVEN_SNOW), tmp_path / "work", client=client).work
    cube, table = work.open("covariates/target").load(), work.table("covariates-target").set_index("what")
    assert table.index.tolist() == [variable.name for variable in schema.PREDICTORS]
    lacking = np.isnan(cube["precipitation"].to_numpy()) & work.inside
    assert lacking.any()
    rain = table.loc["precipitation"]
    assert (rain["pixels"], rain["missing"], rain["no_value"]) == (work.inside.sum(), lacking.sum(), lacking.sum())
    assert (rain["filled"], rain["beyond"], rain["impossible"]) == (0, 0, 0)
    assert rain["missing_on_land"] == lacking.sum()
    assert not table.drop(index="precipitation")["missing"].any()
    assert not cube["filled"].to_numpy().any()
    known = cube["precipitation"].to_numpy()[work.inside & ~lacking]
    assert (rain["lowest"], rain["highest"]) == pytest.approx((known.min(), known.max()), abs=1e-5)
    assert rain["mean"] == pytest.approx(known.mean(dtype=np.float64), abs=1e-4)
    section = covariates(work, {})
    assert section.sentences[0] == "In 2010, every pixel of the region has every predictor."
    assert "mean annual precipitation is missing on some pixels" in section.sentences[1]
    assert section.sentences[-1].startswith("Missing predictors stay missing")
    pixels, files = section.parts[1], section.parts[-1]
    row = next(row for row in pixels.rows if row[0].startswith("mean annual precipitation"))
    assert row[2] == row[5] == f"{lacking.sum():,}"
    assert ("mean annual precipitation, 2020", CHINA, load_series(CHINA).doi, "1", "12",
            "2020-01 to 2020-12") in [row[:6] for row in files.rows]  # fmt: skip


def test_they_are_filled_only_where_the_recipe_says_so_and_only_within_reach(
    archive: Path, tmp_path: Path, client: Client
) -> None:
    folder = without_a_hole(tmp_path / "s", archive)
    rule = {"covariates": {"fill": "around", "fill_reach_km": 12.0}}
    plain = run(recipe_of(folder, **EVEN_SNOW), tmp_path / "plain", client=client).work
    recipe = recipe_of(folder, **EVEN_SNOW, more=rule)
    work = run(recipe, tmp_path / "work", client=client).work
    before, after = (each.open("covariates/target")["precipitation"].to_numpy() for each in (plain, work))
    lacking = np.isnan(before) & work.inside
    filled = lacking & np.isfinite(after)
    assert filled.any()
    np.testing.assert_array_equal(after[~lacking], before[~lacking])
    east, north = places(work)
    for row, column in zip(*np.nonzero(lacking), strict=True):
        km = 111.195 * np.hypot(
            (east - east[row, column]) * np.cos(np.radians(north[row, column])), north - north[row, column]
        )
        assert filled[row, column] == (np.isfinite(before) & (km < 12.0)).any() or (abs(km - 12.0) < 0.1).any()
    assert np.abs(after - annual_rain(east, north, 2020))[filled].max() < 0.12 * 1.34 * 100  # 12 km of the steepest way
    bit = [variable.name for variable in schema.PREDICTORS].index("precipitation")
    np.testing.assert_array_equal(work.open("covariates/target")["filled"].to_numpy(), filled * (1 << bit))
    table = work.table("covariates-target").set_index("what").loc["precipitation"]
    assert (table["filled"], table["missing"]) == (filled.sum(), (lacking & ~filled).sum())
    other = run(recipe_of(folder, **EVEN_SNOW, more=rule, pixels=12), tmp_path / "other", client=client).work
    again = other.open("covariates/target")["precipitation"].to_numpy()
    np.testing.assert_array_equal(again[other.inside], after[work.inside])


def test_a_value_that_cannot_be_is_missing(archive: Path, tmp_path: Path, client: Client) -> None:
    green = constant("vegetation", all_years, (schema.NDVI_SERIES,), 1.7)
    with pytest.MonkeyPatch.context() as patch:
        chain = (green, STAND_INS[1], MASKS, PRECIPITATION_MADE, SNOW_COVER_MADE, SOIL_MADE, COVARIATES)
        patch.setattr(plan, "STAGES", chain)
        work = run(recipe_of(archive, **EVEN_SNOW), tmp_path, client=client).work
    table = work.table("covariates-training").set_index("what").loc["ndvi"]
    assert table["impossible"] == table["missing"] == work.inside.sum()
    assert np.isnan(work.open("covariates/training")["ndvi"].to_numpy()[work.inside]).all()


@pytest.mark.parametrize("crs", ["sinusoidal", "EPSG:4326", "EPSG:32646"])
def test_the_window_of_a_reach_holds_all_within_it(crs: str) -> None:
    frames = {
        "sinusoidal": lattice(240)[25, 5],
        "EPSG:4326": GeoBox((60, 80), Affine(0.05, 0, 90, 0, -0.05, 36), "EPSG:4326"),
        "EPSG:32646": GeoBox((60, 80), Affine(4000, 0, 300000, 0, -4000, 3900000), "EPSG:32646"),
    }
    frame = frames[crs]
    rows, columns = window_of_reach(frame, 30.0)
    assert 1 <= rows <= 30
    assert rows <= columns <= 60
    height, width = frame.shape
    x, y = np.meshgrid(
        frame.affine.c + frame.affine.a * (np.arange(width) + 0.5),
        frame.affine.f + frame.affine.e * (np.arange(height) + 0.5),
    )
    cube = xr.Dataset({"inside": (("y", "x"), np.ones(frame.shape, bool))}, {"x": x[0], "y": y[:, 0]})
    east, north = places_of(cube, str(frame.crs))
    for row, column in ((0, 0), (height // 2, width // 2), (height - 1, width - 1), (3, width - 1)):
        km = 111.195 * np.hypot(
            (east - east[row, column]) * np.cos(np.radians(0.5 * (north + north[row, column]))),
            north - north[row, column],
        )
        near_rows, near_columns = np.nonzero(km <= 29.9)
        assert np.abs(near_rows - row).max() <= rows
        assert np.abs(near_columns - column).max() <= columns
