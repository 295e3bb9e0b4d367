"""What is written to the cube is read back, in whole chunks, with coordinates and attributes that others read."""

from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from frostmap.catalogs.grids import lattice
from frostmap.pipeline import cubes
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.schema import DDF, LST, QC, SchemaError, check

GEOBOX = lattice(24)[25, 5]


def coords() -> dict[str, np.ndarray]:
    days = np.datetime64("2019-01-01", "ns") + np.arange(60) * np.timedelta64(1, "D")
    return {"time": days, "overpass": np.arange(4, dtype="int8")}


def counts() -> xr.Dataset:
    rng = np.random.default_rng(3)
    stored = rng.integers(0, 65535, (60, 4, 24, 24), dtype=np.uint16)
    quality = rng.integers(0, 255, (60, 4, 24, 24), dtype=np.uint8)
    return xr.Dataset(
        {
            LST.name: (LST.dims, da.from_array(stored, chunks=(46, 1, 24, 24)), LST.attrs),
            QC.name: (QC.dims, da.from_array(quality, chunks=(7, 4, 5, 24)), QC.attrs),
        }
    )


def test_a_cube_is_read_back_as_it_was_written_however_it_was_chunked(tmp_path: Path) -> None:
    store, written = tmp_path / "cube.zarr", counts()
    cubes.create_group(store, "ingest/2019", (LST, QC), GEOBOX, coords(), 12)
    bytes_written = dask.compute(*cubes.write_tasks(store, "ingest/2019", written, (LST, QC)), scheduler="synchronous")
    read = cubes.open_group(store, "ingest/2019")
    for name in ("lst", "qc"):
        np.testing.assert_array_equal(read[name], written[name].compute(scheduler="synchronous"))
        assert read[name].dtype == written[name].dtype
    assert sum(bytes_written) == 60 * 4 * 24 * 24 * 3
    assert zarr.open_array(store, path="ingest/2019/lst").chunks == (46, 1, 12, 12)


def test_any_reader_finds_units_grid_and_time(tmp_path: Path) -> None:
    store = tmp_path / "cube.zarr"
    cubes.create_group(store, "ingest/2019", (LST, QC), GEOBOX, coords(), 12)
    tasks = cubes.write_tasks(store, "ingest/2019", counts(), (LST, QC))
    dask.compute(*tasks, scheduler="synchronous")
    plain = xr.open_zarr(store, group="ingest/2019", consolidated=False)
    raw = counts()["lst"].compute(scheduler="synchronous").to_numpy()
    np.testing.assert_allclose(plain["lst"].to_numpy()[raw > 0], raw[raw > 0] * 0.02, rtol=1e-6)
    assert np.isnan(plain["lst"].to_numpy()[raw == 0]).all()
    assert plain["lst"].attrs["units"] == "K"
    assert str(plain["time"].to_numpy()[59])[:10] == "2019-03-01"
    assert plain["overpass"].attrs["flag_meanings"].split()[3] == "aqua_night"
    assert plain.odc.geobox == GEOBOX


def test_what_was_never_written_holds_the_fill(tmp_path: Path) -> None:
    store = tmp_path / "cube.zarr"
    cubes.create_group(store, "forcing/target", (DDF,), GEOBOX, {}, 12)
    assert np.isnan(cubes.open_group(store, "forcing/target")["ddf"].to_numpy()).all()


def test_a_check_names_every_fault() -> None:
    wrong = xr.Dataset({"lst": (("time", "y"), np.zeros((2, 2), dtype=np.float32), {"units": "degC"})})
    with pytest.raises(SchemaError) as caught:
        check(wrong, (LST, QC), "ingest/2019")
    message = str(caught.value)
    assert "'lst' has dimensions ('time', 'y')" in message
    assert "'lst' is float32, not uint16" in message
    assert "units 'degC', not 'K'" in message
    assert "no variable 'qc'" in message
    assert isinstance(caught.value, FrostmapError)


@pytest.mark.parametrize(("width", "chunk"), [(1200, 100), (80, 80), (24, 24), (97, 97), (2400, 100), (106, 53)])
def test_chunks_divide_a_tile(width: int, chunk: int) -> None:
    assert cubes.pixels_per_chunk(width) == chunk
