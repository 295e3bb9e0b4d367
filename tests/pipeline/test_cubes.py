"""What is written to the cube is read back, in whole chunks, with coordinates and attributes that others read."""

from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.utils import key_split
from distributed.utils import key_split_group

from frostmap.catalogs.grids import lattice
from frostmap.pipeline import cubes, ledger
from frostmap.pipeline.blocks import Part, Pieces, Stream, Task
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.schema import DDF, LST, QC, SchemaError, Variable, check
from frostmap.pipeline.storage import CUBE, Storage, digest_of

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


def write(storage: Storage, cube: xr.Dataset, cause: str = "") -> list[ledger.ChunkRecord]:
    writes = cubes.write_tasks(storage, "ingest/2019", cube, (LST, QC), pixels=12, cause=cause)
    tasks = [task.task for task in writes]
    cubes.prepare_group(storage, "ingest/2019", (LST, QC), GEOBOX, coords(), 12, cause=cause, tasks=tasks)
    return list(dask.compute(*(task.delayed for task in writes), scheduler="synchronous"))


def test_a_cube_is_read_back_as_it_was_written_however_it_was_chunked(tmp_path: Path) -> None:
    storage, written = Storage.of_folder(tmp_path), counts()
    records = write(storage, written)
    read = cubes.open_group(storage, "ingest/2019")
    for name in ("lst", "qc"):
        np.testing.assert_array_equal(read[name], written[name].compute(scheduler="synchronous"))
        assert read[name].dtype == written[name].dtype
    assert sum(record.bytes_written for record in records) == 60 * 4 * 24 * 24 * 3
    assert zarr.open_array(storage.zarr_store(), path="ingest/2019/lst").chunks == (46, 1, 12, 12)
    assert {record.task: record for record in records} == ledger.read_chunks(storage, "ingest/2019")


def test_the_writes_of_a_step_are_one_group_of_its_name(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    first, again = (
        cubes.write_tasks(storage, "ingest/2019", counts(), (LST, QC), pixels=12, cause=cause) for cause in "ab"
    )
    keys = [write.delayed.key for write in (*first, *again)]
    assert len(set(keys)) == len(keys)
    assert {key_split(key) for key in keys} == {"ingest"}
    assert len({key_split_group(key) for key in keys}) == 2  # of each time that it is made


def test_any_reader_finds_units_grid_and_time(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    write(storage, counts())
    plain = xr.open_zarr(tmp_path / "cube.zarr", group="ingest/2019", consolidated=False)
    raw = counts()["lst"].compute(scheduler="synchronous").to_numpy()
    np.testing.assert_allclose(plain["lst"].to_numpy()[raw > 0], raw[raw > 0] * 0.02, rtol=1e-6)
    assert np.isnan(plain["lst"].to_numpy()[raw == 0]).all()
    assert plain["lst"].attrs["units"] == "K"
    assert str(plain["time"].to_numpy()[59])[:10] == "2019-03-01"
    assert plain["overpass"].attrs["flag_meanings"].split()[3] == "aqua_night"
    assert plain.odc.geobox == GEOBOX


def test_what_was_never_written_holds_the_fill(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    cubes.prepare_group(storage, "forcing/target", (DDF,), GEOBOX, {}, 12)
    assert np.isnan(cubes.open_group(storage, "forcing/target")["ddf"].to_numpy()).all()


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


@pytest.mark.parametrize("variable", [LST, QC, DDF])
@pytest.mark.parametrize("content", ["noise", "fill", "half"])
def test_chunks_are_byte_for_byte_what_zarr_would_store(tmp_path: Path, variable: Variable, content: str) -> None:
    sizes = {"time": 60, "overpass": 4, "y": 24, "x": 24}
    rng = np.random.default_rng(5)
    shape = tuple(sizes[dim] for dim in variable.dims)
    block = rng.integers(0, 60000 if variable is LST else 200, shape).astype(variable.dtype)
    if content != "noise":
        block[..., : 24 if content == "fill" else 12, :] = variable.fill_value
    stores = Storage.of_folder(tmp_path / "ours"), Storage.of_folder(tmp_path / "zarrs")
    dims = {name: values for name, values in coords().items() if name in variable.dims}
    for storage in stores:
        cubes.prepare_group(storage, "g", (variable,), GEOBOX, dims, 12)
    cube = xr.Dataset({variable.name: (variable.dims, da.from_array(block, chunks=-1), variable.attrs)})
    (task,) = cubes.write_tasks(stores[0], "g", cube, (variable,), pixels=12)
    task.delayed.compute(scheduler="synchronous")
    zarr.open_array(stores[1].zarr_store(), path=f"g/{variable.name}", mode="r+")[...] = block
    ours, theirs = ({key: storage.read(key) for key in storage.list(f"{CUBE}/")} for storage in stores)
    assert ours == theirs
    assert any("/c/" in key for key in ours if f"/{variable.name}/" in key) == (content != "fill")


def test_every_stored_chunk_has_a_record_and_damage_is_found(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    write(storage, counts())
    records = ledger.read_chunks(storage, "ingest/2019")
    objects = {f"{CUBE}/{key}" for record in records.values() for key in record.objects}
    stored = {key for key in storage.list(f"{CUBE}/ingest/2019/") if "/c/" in key and ("/lst/" in key or "/qc/" in key)}
    assert objects == stored
    assert ledger.damage(storage, "ingest/2019", records) == {}
    chunk = tmp_path / CUBE / "ingest/2019/lst/c/0/2/1/0"
    content = chunk.read_bytes()

    chunk.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    owner = next(task for task, record in records.items() if "ingest/2019/lst/c/0/2/1/0" in record.objects)
    fault = ["ingest/2019/lst/c/0/2/1/0 is not as it was written"]
    assert ledger.damage(storage, "ingest/2019", records) == {owner: fault}
    with pytest.raises(ValueError, match="checksum"):
        cubes.open_group(storage, "ingest/2019")["lst"].to_numpy()

    chunk.write_bytes(content[:-1])
    assert "bytes, not" in ledger.damage(storage, "ingest/2019", records)[owner][0]
    chunk.unlink()
    assert ledger.damage(storage, "ingest/2019", records) == {owner: ["ingest/2019/lst/c/0/2/1/0 is missing"]}
    chunk.write_bytes(content)
    assert ledger.damage(storage, "ingest/2019", records) == {}


def test_lost_metadata_is_restored_and_chunks_stand(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    write(storage, counts(), "a")
    before = cubes.open_group(storage, "ingest/2019").load()
    for lost in ("zarr.json", "ingest/zarr.json", "ingest/2019/lst/zarr.json", "ingest/2019/x/c/0"):
        (tmp_path / CUBE / lost).unlink()
        records = ledger.read_chunks(storage, "ingest/2019")
        assert ledger.damage(storage, "ingest/2019", records) == {"": [f"{lost} is missing"]}
        cubes.prepare_group(storage, "ingest/2019", (LST, QC), GEOBOX, coords(), 12, cause="a")
        assert ledger.damage(storage, "ingest/2019", records) == {}
    xr.testing.assert_identical(cubes.open_group(storage, "ingest/2019").load(), before)


def test_other_settings_clear_a_group(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    write(storage, counts(), "a")
    cubes.prepare_group(storage, "ingest/2019", (LST, QC), GEOBOX, coords(), 12, cause="b")
    assert ledger.read_chunks(storage, "ingest/2019") == {}
    assert (cubes.open_group(storage, "ingest/2019")["lst"].to_numpy() == 0).all()


def pieces_of(cube: xr.Dataset) -> Pieces:
    """Yield the quarters of a cube, all of its days."""
    for rows in (slice(0, 12), slice(12, 24)):
        for cols in (slice(0, 12), slice(12, 24)):
            for name in ("lst", "qc"):
                region = (slice(0, 60), slice(0, 4), rows, cols)
                yield Part(name, name, region), cube[name].values[region]
    return ["all four quarters"]


def test_a_stream_is_written_as_it_is_made_and_gives_the_same_chunks(tmp_path: Path) -> None:
    whole = counts().compute(scheduler="synchronous")
    write(Storage.of_folder(tmp_path / "whole"), whole.chunk())
    storage = Storage.of_folder(tmp_path / "stream")
    everywhere = (slice(0, 60), slice(0, 4), slice(0, 24), slice(0, 24))
    stream = dask.delayed(Stream, traverse=False)(pieces_of, (whole,))
    task = Task("all", stream, tuple(Part(name, name, everywhere) for name in ("lst", "qc")))
    (written,) = cubes.write_tasks(storage, "ingest/2019", whole, (LST, QC), [task], pixels=12)
    cubes.prepare_group(storage, "ingest/2019", (LST, QC), GEOBOX, coords(), 12, tasks=["all"])
    (record,) = dask.compute(written.delayed, scheduler="synchronous")
    assert record.notes == ["all four quarters"]
    assert record.bytes_written == 60 * 4 * 24 * 24 * 3
    for key, (size, digest) in record.objects.items():
        content = (tmp_path / "whole" / CUBE / key).read_bytes()
        assert (len(content), digest_of(content)) == (size, digest)
    assert not ledger.damage(storage, "ingest/2019", {"all": record}, by_content=True)
