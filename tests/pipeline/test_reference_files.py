"""Maps of others come to the map's pixels where they belong, and their numbers mean what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from frostmap.catalogs.grids import lattice, to_geographic
from frostmap.pipeline import reference_files
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.reference_files import MapFile, OnPixels, by_threshold, on_pixels, open_map
from frostmap.pipeline.run import run
from frostmap.pipeline.work import Work

from .small_chain import one_thread
from .small_plateau import recipe_in, write

FRAME = lattice(1200)[25, 5]
OWN = np.s_[600:640, 820:880]  # 40 x 60 pixels about 34.8°N, 94°E
PIXEL_KM = 0.926625
ARCTIC = "EPSG:3995"


def centres(frame: GeoBox = FRAME, own: tuple[slice, slice] = OWN) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return longitudes and latitudes of the centres of some pixels [°]."""
    a = frame.affine
    x = a.c + a.a * (np.arange(own[1].start, own[1].stop) + 0.5)
    y = a.f + a.e * (np.arange(own[0].start, own[0].stop) + 0.5)
    return to_geographic(*np.meshgrid(x, y))


def raster(
    path: Path, field: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]], cell: float, crs: str, **more: Any
) -> Path:
    """Write a field of longitude and latitude on cells around the pixels, of a system's own units."""
    longitude, latitude = centres()
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    west, north = x.min() - 20 * cell, y.max() + 20 * cell
    wide, tall = int((x.max() - west) / cell) + 20, int((north - y.min()) / cell) + 20
    column, row = np.meshgrid(np.arange(wide) + 0.5, np.arange(tall) + 0.5)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    values = field(*to_degrees.transform(west + cell * column, north - cell * row))
    return write(path, values, Affine(cell, 0, west, 0, -cell, north), crs, **more)


def plain(folder: Path, **given: Any) -> Recipe:
    """Return a recipe with one reference map, `m.tif` where nothing else is said."""
    return recipe_in(folder, validation={"reference_maps": [{"name": "m", "path": "m.tif"} | given]})


def opened(folder: Path, **given: Any) -> MapFile:
    recipe = plain(folder, **given)
    return open_map(recipe, recipe.validation.reference_maps[0])


def found(map_file: MapFile) -> OnPixels:
    return on_pixels(map_file, FRAME, OWN, PIXEL_KM)


def halves(longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[np.uint8]:
    return np.where(longitude + latitude < 128.8, 1, 2).astype(np.uint8)


def degrees(longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[np.float32]:
    """Return a plane of temperatures [°C]."""
    return (1.5 * (longitude - 94.0) - 0.9 * (latitude - 34.85)).astype(np.float32)


CODES = {"holds": "classes", "codes": {1: "permafrost", 2: "no_permafrost"}}
SYSTEMS = [("EPSG:4326", 0.0096225), (ARCTIC, 1000.0), ("EPSG:4326", 0.0025), ("EPSG:4326", 0.05)]


@pytest.mark.parametrize(("crs", "cell"), SYSTEMS)
def test_classes_lie_where_they_are_whatever_the_grid(tmp_path: Path, crs: str, cell: float) -> None:
    raster(tmp_path / "m.tif", halves, cell, crs)
    got = found(opened(tmp_path, **CODES))
    longitude, latitude = centres()
    wide = cell if crs == "EPSG:4326" else cell / 60_000  # [°]
    far = np.abs(longitude + latitude - 128.8) > 1.5 * wide + 0.02
    assert far.mean() > 0.5
    np.testing.assert_array_equal(got.ground[far], halves(longitude, latitude)[far])
    assert np.isin(got.ground, (1, 2)).all()
    assert np.isnan(got.values).all()
    assert not got.missing.any()


@pytest.mark.parametrize(("crs", "cell"), SYSTEMS)
def test_temperatures_are_averaged_before_they_are_compared(tmp_path: Path, crs: str, cell: float) -> None:
    raster(tmp_path / "m.tif", degrees, cell, crs)
    got = found(opened(tmp_path, holds="temperature", units="degC"))
    near = 0.01 if cell != 0.05 else 0.001  # an eighth of a cell an axis; interpolated, nothing
    assert np.abs(got.values - degrees(*centres())).max() < near
    np.testing.assert_array_equal(got.ground, by_threshold(got.values, 0.0, "below"))
    assert {1, 2} == set(np.unique(got.ground))


def test_a_mixed_pixel_is_judged_by_its_mean_temperature_but_by_most_of_its_classes(tmp_path: Path) -> None:
    """Cells of a ninth of a pixel, four in nine at -9 °C and the rest at +1 °C: cold on average, warm by majority."""

    def stripes(longitude: NDArray[Any], _latitude: NDArray[Any]) -> NDArray[np.float32]:
        return np.where(np.floor(longitude / 0.0012) % 9 < 4, -9.0, 1.0).astype(np.float32)

    raster(tmp_path / "m.tif", stripes, 0.0012, "EPSG:4326")
    assert (found(opened(tmp_path, holds="temperature", units="degC")).ground == 1).mean() > 0.99
    raster(tmp_path / "m.tif", lambda x, y: np.where(stripes(x, y) < 0, 1, 2).astype(np.uint8), 0.0012, "EPSG:4326")
    assert (found(opened(tmp_path, **CODES)).ground == 2).mean() > 0.6


def test_numbers_of_one_class_count_together(tmp_path: Path) -> None:
    """A third each of 1, 5 and 6: of which two mean no permafrost."""
    raster(tmp_path / "m.tif", lambda x, _y: np.array([1, 5, 6])[np.floor(x / 0.001).astype(int) % 3].astype("u1"),
           0.001, "EPSG:4326")  # fmt: skip
    got = found(opened(tmp_path, holds="classes", codes={1: "permafrost", 5: "no_permafrost", 6: "seasonally_frozen"}))
    assert (got.ground == 2).all()


@pytest.mark.parametrize("block", [7, 40])
def test_how_it_is_cut_into_blocks_changes_no_bit(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, how in ((halves, CODES), (degrees, {"holds": "temperature", "units": "degC"})):
        raster(tmp_path / "m.tif", field, 1000.0, ARCTIC)
        map_file = opened(tmp_path, **how)
        monkeypatch.setattr(reference_files, "BLOCK", 100)
        whole = found(map_file)
        monkeypatch.setattr(reference_files, "BLOCK", block)
        cut = found(map_file)
        for one, other in zip(whole[:3], cut[:3], strict=True):
            np.testing.assert_array_equal(one, other)


def test_kelvin_and_per_cent_become_degrees_and_shares(tmp_path: Path) -> None:
    raster(tmp_path / "m.tif", lambda x, y: degrees(x, y) + np.float32(273.15), 0.0025, "EPSG:4326")
    got = found(opened(tmp_path, holds="temperature", units="K"))
    assert np.abs(got.values - degrees(*centres())).max() < 0.01
    raster(tmp_path / "m.tif", lambda x, _y: np.clip(np.rint(50 + 200 * (x - 94)), 0, 100).astype("u1"), 0.0025,
           "EPSG:4326", nodata=255)  # fmt: skip
    got = found(opened(tmp_path, holds="share", units="%"))
    longitude, _ = centres()
    clear = np.abs(longitude - 94) > 0.02
    np.testing.assert_array_equal(got.ground[clear], np.where(longitude > 94, 1, 2)[clear])
    assert 0 <= got.values.min() < got.values.max() <= 1


def test_a_cci_file_is_read_by_its_variable_and_its_own_coding(tmp_path: Path) -> None:
    longitude, latitude = np.arange(92, 96, 0.01) + 0.005, np.arange(33, 37, 0.01) + 0.005
    east, north = np.meshgrid(longitude, latitude)
    stored = np.rint((degrees(east, north) + 273.15) / 0.01).astype("i4")
    dims = ("time", "lat", "lon")
    array = xr.DataArray(stored[None].astype("i2"), dims=dims, attrs={"units": "K", "scale_factor": 0.01})
    both = xr.Dataset({"T2m": array, "T5m": array * 0}, coords={"lat": latitude, "lon": longitude, "time": [0]})
    both["lat"].attrs, both["lon"].attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    name = "ESACCI-PERMAFROST-L4-GTD-MODISLST_CRYOGRID-AREA4_PP-2020-fv05.0.nc"
    both.to_netcdf(tmp_path / name, engine="h5netcdf")
    map_file = opened(tmp_path, path=name, product="esa-cci-permafrost-temperature", crs="EPSG:4326")
    assert np.abs(found(map_file).values - degrees(*centres())).max() < 0.02


@settings(deadline=None, max_examples=30)
@given(numbers=st.lists(st.floats(-5, 5, width=32) | st.just(float("nan")), min_size=1), threshold=st.floats(-2, 2))
def test_thresholds_are_those_of_the_plain_twin(numbers: list[float], threshold: float) -> None:
    values = np.array(numbers, np.float32)
    limit = np.float32(threshold)
    compare = {"below": "__lt__", "at_most": "__le__", "at_least": "__ge__", "above": "__gt__"}
    for rule, name in compare.items():
        twin = [255 if np.isnan(v) else 1 if getattr(v, name)(limit) else 2 for v in values]
        assert by_threshold(values, threshold, rule).tolist() == twin  # type: ignore[arg-type]


def test_missing_is_told_by_its_reason(tmp_path: Path) -> None:
    def holed(longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[np.float32]:
        values = degrees(longitude, latitude)
        values[longitude < 93.9] = -9999.0
        values[latitude > 34.95] = 500.0
        return values

    raster(tmp_path / "m.tif", holed, 0.0025, "EPSG:4326", nodata=-9999.0)
    got = found(opened(tmp_path, holds="temperature", units="degC"))
    longitude, latitude = centres()
    hole, strange = (longitude < 93.88) & (latitude < 34.93), (latitude > 34.97) & (longitude > 93.92)
    assert (got.missing[hole] == 2).all()
    assert (got.missing[strange] == 3).all()
    assert (got.ground[hole | strange] == 255).all()
    assert (got.missing[(longitude > 93.92) & (latitude < 34.93)] == 0).all()


def test_beyond_the_map_there_is_nothing(tmp_path: Path) -> None:
    write(tmp_path / "m.tif", np.ones((10, 10), "u1"), Affine(0.01, 0, 80, 0, -0.01, 30))
    got = found(opened(tmp_path, **CODES))
    assert (got.ground == 255).all()
    assert (got.missing == 1).all()


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"holds": "temperature"}, "the units of a map are not known"),
        ({"product": "zou-2017"}, "what the numbers of a map of classes mean is not said"),
        ({"path": "none.tif", **CODES}, "no such file"),
        ({"band": 2, **CODES}, "lacks a band"),
    ],
)
def test_a_map_whose_meaning_is_not_known_is_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    write(tmp_path / "m.tif", np.ones((10, 10), "u1"), Affine(0.01, 0, 94, 0, -0.01, 35))
    with pytest.raises(UserError) as refused:
        opened(tmp_path, **given)
    assert says in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "say what it is"),
        ({"holds": "classes"}, "needs codes"),
        ({"holds": "classes", "codes": {1: "permafrost"}, "threshold": 0.0}, "classes have codes"),
        ({"holds": "share", "codes": {1: "permafrost"}}, "codes are of classes"),
        ({"holds": "share", "units": "K"}, "does not have the units"),
        ({"holds": "classes", "codes": {"one": "permafrost"}}, "codes"),
        ({"product": "obu"}, "obu-2019-temperature"),
        ({"product": "ran-2022", "epoch": "target"}, "no epochs.target"),
        ({"name": "target", "product": "ran-2022"}, "the run's own maps are called target"),
    ],
)
def test_a_recipe_that_does_not_say_what_a_map_is_is_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as refused:
        plain(tmp_path, **given)
    assert says in str(refused.value)


def test_a_file_without_a_system_takes_the_one_that_is_told(tmp_path: Path) -> None:
    raster(tmp_path / "m.tif", halves, 0.0096225, "EPSG:4326")
    told = found(opened(tmp_path, **CODES))
    write(tmp_path / "bare.tif", np.ones((10, 10), "u1"), Affine(0.01, 0, 94, 0, -0.01, 35), None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="does not say where it is"):
        opened(tmp_path, path="bare.tif", **CODES)
    assert opened(tmp_path, path="bare.tif", crs="EPSG:4326", **CODES).grid.geographic
    assert np.isin(told.ground, (1, 2)).all()


# ---- as a step ----------------------------------------------------------------------------------------------------


def test_a_step_writes_every_map_to_the_cube_with_an_account(tmp_path: Path) -> None:
    recipe_in(tmp_path)  # writes the rasters that are named below
    recipe = recipe_in(
        tmp_path,
        validation={
            "reference_maps": [
                {"name": "survey", "path": "survey.tif", "holds": "classes",
                 "codes": {1: "permafrost", 2: "seasonally_frozen", 3: "missing"}},
                {"name": "cold", "path": "ddf.tif", "holds": "temperature", "units": "degC", "threshold": 20.0},
            ]
        },
    )  # fmt: skip
    with one_thread() as client, pytest.raises(UserError, match="no value anywhere") as refused:
        run(recipe, tmp_path / "work", until="reference", client=client)
    assert "units" in refused.value.remedy  # degree days are no temperatures
    work = Work(recipe, tmp_path / "work")
    cube = work.open("reference/survey")
    survey = np.asarray(cube["frozen_ground"])
    assert set(np.unique(survey)) <= {1, 2, 255}
    assert np.isnan(np.asarray(cube["ground_temperature"])).all()
    table = work.table("reference-survey")
    assert table["pixels"].sum() == survey.size
    assert table["permafrost_km2"].sum() > 0


def test_numbers_that_mean_nothing_end_the_run_with_what_to_do(tmp_path: Path) -> None:
    recipe_in(tmp_path)
    given = {"name": "survey", "path": "clusters.tif", "holds": "classes", "codes": {1: "permafrost"}}
    recipe = recipe_in(tmp_path, validation={"reference_maps": [given]})
    with one_thread() as client, pytest.raises(UserError, match="numbers of a map of classes") as refused:
        run(recipe, tmp_path / "work", until="reference", client=client)
    assert "2 (" in refused.value.found
    assert "codes" in refused.value.remedy
