"""NetCDF files and the cube itself are read by other programs without being told anything."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from odc.geo.xr import ODCExtensionDs

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.products import netcdf
from frostmap.pipeline.products.export import Exported, export
from frostmap.pipeline.products.netcdf import NetcdfFile
from frostmap.pipeline.work import Work

from .conftest import Finished

assert ODCExtensionDs  # registers the accessor

NAMES = {"sums_2010.nc"}


@pytest.fixture(scope="module")
def exported(mapped: Finished, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return the small run on three grids as NetCDF."""
    work, folder = Work(mapped.recipe, mapped.folder), tmp_path_factory.mktemp("netcdf")
    return export(work, folder, grids=("native", "longlat", "albers"), formats=("netcdf",))


def test_a_file_a_map_has_all_its_layers(exported: Exported) -> None:
    assert {path.name for path in exported.files} == NAMES
    with xr.open_dataset(exported.folder / "longlat" / "sums_2010.nc") as maps:
        assert {"ddf", "ddt", "e", "frost_number", "frozen_ground", "permafrost_probability"} <= set(maps.data_vars)


def test_values_are_those_of_the_cube(exported: Exported, mapped: Finished) -> None:
    work = Work(mapped.recipe, mapped.folder)
    with xr.open_dataset(exported.folder / "native" / "sums_2010.nc") as maps:
        for group in ("forcing/training", "frozen_ground/training", "calibration/training"):
            for name, array in work.open(group).data_vars.items():
                fill = array.attrs.get("_FillValue", 0 if name == "cluster" else None)
                expected = array.to_numpy().astype(float)
                if fill is not None:
                    expected[array.to_numpy() == fill] = np.nan
                np.testing.assert_array_equal(maps[name].to_numpy().astype(float), expected)


@pytest.mark.parametrize(("grid", "mapping"), [
    ("native", "sinusoidal"),
    ("longlat", "latitude_longitude"),
    ("albers", "albers_conical_equal_area"),
])  # fmt: skip
def test_a_reader_finds_grid_time_and_classes(grid: str, mapping: str, exported: Exported) -> None:
    geobox = {target.name: target.geobox for target in exported.grids}[grid]
    with xr.open_dataset(exported.folder / grid / "sums_2010.nc", decode_coords="all") as maps:
        assert maps["spatial_ref"].attrs["grid_mapping_name"] == mapping
        assert maps.odc.geobox.crs == geobox.crs
        np.testing.assert_allclose(maps.odc.geobox.affine, geobox.affine, rtol=1e-9, atol=1e-6)
        assert str(maps["time"].to_numpy())[:10] == "2010-07-02"
        assert [str(edge)[:10] for edge in maps["time_bounds"].to_numpy()] == ["2010-01-01", "2011-01-01"]
        ground = maps["frozen_ground"].attrs
        assert ground["flag_values"].tolist() == [1, 2, 3, 4, 5]
        assert len(ground["flag_meanings"].split()) == len(ground["flag_colors"].split()) == 5


def test_what_cf_asks_for_is_there(exported: Exported) -> None:
    """Sections 2 to 7 of the conventions, as far as they concern maps."""
    for path in exported.files:
        with xr.open_dataset(path, decode_cf=False) as maps:
            assert maps.attrs["Conventions"] == "CF-1.11"
            assert {"title", "source", "history", "references"} <= maps.attrs.keys()
            for name, array in maps.variables.items():
                assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name))  # 2.3
                if name in ("spatial_ref", "time_bounds", "bounds"):
                    continue
                assert "long_name" in array.attrs or "standard_name" in array.attrs  # 3.2, 3.3
                assert "units" in array.attrs or "flag_values" in array.attrs  # 3.1, 3.5
                if array.dims == ("y", "x"):
                    assert array.attrs["grid_mapping"] in maps.variables  # 5.6
                    assert array.attrs["coordinates"] in maps.variables
                    assert np.array(array.attrs["_FillValue"]).dtype == array.dtype  # 2.5.1
                if "flag_values" in array.attrs:
                    assert np.asarray(array.attrs["flag_values"]).dtype == array.dtype  # 3.5
                assert "_FillValue" not in array.attrs or array.dims == ("y", "x")  # 2.5.1: none in coordinates
            assert maps["time"].attrs["units_metadata"] == "leap_seconds: none"  # 4.4
            assert maps["time"].attrs["bounds"] in maps.variables  # 7.1
            assert "units" not in maps["time_bounds"].attrs or maps["time_bounds"].attrs == maps["time"].attrs
            for name in ("y", "x"):
                steps = np.diff(maps[name].to_numpy())
                assert (np.sign(steps) == np.sign(steps[0])).all()  # 5: strictly monotonic


def test_the_cube_says_where_it_is_to_readers_of_cf_and_of_geozarr(mapped: Finished) -> None:
    work = Work(mapped.recipe, mapped.folder)
    for group in ("forcing/training", "frozen_ground/training"):
        cube = xr.open_zarr(mapped.folder / "cube.zarr", group=group, consolidated=False)
        assert cube.odc.geobox == work.geobox
        metadata = json.loads((mapped.folder / "cube.zarr" / group / "zarr.json").read_text())["attributes"]
        assert metadata["Conventions"] == "CF-1.11"
        assert {each["name"] for each in metadata["zarr_conventions"]} == {"proj", "spatial"}
        assert metadata["spatial:transform"] == pytest.approx(tuple(work.geobox.affine)[:6])
        assert metadata["spatial:shape"] == list(work.shape)
        assert "Sinusoidal" in metadata["proj:wkt2"]
        for array in cube.data_vars.values():
            assert array.attrs["long_name"]
            assert (array.encoding | array.attrs)["grid_mapping"] == "spatial_ref"


def test_without_the_package_the_message_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(UserError, match=re.escape("frostmap[netcdf]")):
        netcdf._library()


def test_what_fails_leaves_no_file(exported: Exported, tmp_path: Path) -> None:
    layers = [layer for layer in exported.layers if layer.label == "2010"]
    with pytest.raises(RuntimeError), NetcdfFile(tmp_path / "x.nc", layers, exported.grids[0], [2010], {}):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
