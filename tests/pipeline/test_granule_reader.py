"""Whatever an HDF file does to the library, the process that asks for it gets arrays or an error, and lives on."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import functools
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client
from numpy.typing import NDArray

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import Tile
from frostmap.pipeline import hdf4_process
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.granule_files import GranuleError, check_granule_file, read_granule
from frostmap.pipeline.granule_reader import GranuleReader, reader
from frostmap.pipeline.hdf4 import Layer
from frostmap.pipeline.hdf_eos import Expected
from frostmap.pipeline.simulate.granules import DEFLATE_LEVEL, PRODUCTS, granule_id, write_cogs, write_hdf

TERRA = load_collection("mod11a1")
TILE = Tile(25, 5)
N = 24  # pixels per tile
REAL = "MOD11A1.A2021227.h11v05.061.2021228105320.hdf"
REAL_NDVI = "MOD13A2.A2021225.h11v06.061.2021320163717.hdf"

Arrays = dict[str, NDArray[Any]]
read_small = functools.partial(read_granule, collection=TERRA, pixels_per_tile=N)


def simulated(folder: Path, day: int, product: str = "MOD11A1") -> Path:
    """Write a small granule of a day of 2020 and return its path."""
    generator = np.random.default_rng(day)
    stored = {
        layer.name: generator.integers(*layer.valid_range, (N, N), endpoint=True).astype(layer.dtype)
        for layer in PRODUCTS[product].layers
    }
    path = folder / f"{granule_id(product, dt.date(2020, 1, 1) + dt.timedelta(day), TILE)}.hdf"
    write_hdf(path, product, TILE, stored)
    return path


def named(path: Path) -> Granule:
    """Return the granule of a file under its archive's name."""
    return Granule(path.stem, *parse_granule_name(path.name), hdf_href=str(path))


def same(one: Arrays, other: Arrays) -> bool:
    """Say whether two granules hold the same layers."""
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def child_of(a_reader: GranuleReader) -> subprocess.Popen[bytes]:
    """Return the process that reads for a reader."""
    child = a_reader._process._child
    assert child is not None
    return child.process


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_unread_request(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a request lies in the pipe of a process that does not run."""
    assert process.stdin is not None
    (waiting,) = struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))
    return bool(waiting)


@contextlib.contextmanager
def once_asked(process: subprocess.Popen[bytes], act: Callable[[], None]) -> Iterator[None]:
    """Stop a process, and act when it was sent a request."""
    os.kill(process.pid, signal.SIGSTOP)

    def wait_and_act() -> None:
        wait_until(lambda: has_unread_request(process))
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture(scope="module")
def granule_reader() -> Iterator[GranuleReader]:
    with GranuleReader() as one:
        yield one


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("granule"), 0)


# ---- the same as in this process -----------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize(("product", "name"), [("mod11a1", REAL), ("mod13a2", REAL_NDVI)])
def test_real_granules_are_read_as_in_this_process(
    realdata: Path, granule_reader: GranuleReader, product: str, name: str
) -> None:
    collection = load_collection(product)
    assert same(
        granule_reader.read(realdata / "modis_hdf" / name, collection),
        read_granule(realdata / "modis_hdf" / name, collection),
    )


def test_arrays_are_the_callers_own(tmp_path: Path, granule_reader: GranuleReader) -> None:
    names = ["qc_night", "lst_day"]
    paths = [simulated(tmp_path, day) for day in range(3)]
    read = [granule_reader.read(one, TERRA, names, pixels_per_tile=N) for one in paths]
    assert [list(one) for one in read] == [names] * 3
    for one, array in zip(paths, read, strict=True):
        assert same(array, read_small(one, bands=names))
        assert all(layer.flags.owndata and layer.flags.writeable for layer in array.values())


def test_memory_grows_with_the_granule(tmp_path: Path, path: Path) -> None:
    ndvi = simulated(tmp_path, 0, "MOD13A1")
    with GranuleReader() as one:
        few = one.read(path, TERRA, ["qc_day"], pixels_per_tile=N)
        process = child_of(one).pid
        many = one.read(ndvi, load_collection("mod13a1"), pixels_per_tile=N)
        assert one.read(path, TERRA, [], pixels_per_tile=N) == {}
        assert same(one.read(path, TERRA, ["qc_day"], pixels_per_tile=N), few)
        assert child_of(one).pid == process
    assert same(many, read_granule(ndvi, load_collection("mod13a1"), pixels_per_tile=N))


def test_errors_are_the_same_as_in_this_process(tmp_path: Path, path: Path, granule_reader: GranuleReader) -> None:
    whole = path.read_bytes()
    renamed = path.name.replace("A2020001", "A2020002")
    for name, content in [(path.name, whole[:9000]), (path.name, b"<html>log in</html>"), (renamed, whole)]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GranuleError) as here:
            read_small(tmp_path / name)
        with pytest.raises(GranuleError) as there:
            granule_reader.read(tmp_path / name, TERRA, pixels_per_tile=N)
        assert str(there.value) == str(here.value)
        assert str(tmp_path / name) in str(there.value)


def test_odd_paths_arrive(tmp_path: Path, path: Path, granule_reader: GranuleReader) -> None:
    folder = tmp_path / 'ein "Ordner"\nüber 青藏'
    folder.mkdir()
    shutil.copyfile(path, folder / path.name)
    assert same(granule_reader.read(folder / path.name, TERRA, pixels_per_tile=N), read_small(path))


def test_relative_paths_are_those_of_the_asking_process(
    path: Path, granule_reader: GranuleReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    granule_reader.read(path, TERRA, pixels_per_tile=N)  # the other process is where this one was when it began
    monkeypatch.chdir(path.parent)
    assert same(granule_reader.read(path.name, TERRA, pixels_per_tile=N), read_small(path))


def test_geotiffs_are_read_without_another_process(tmp_path: Path) -> None:
    stored = {layer.name: np.ones((N, N), layer.dtype) for layer in PRODUCTS["MOD11A1"].layers}
    name = granule_id("MOD11A1", dt.date(2020, 1, 1), TILE)
    write_cogs(tmp_path, name, "MOD11A1", TILE, stored)
    hrefs = {band.asset: str(tmp_path / f"{name}_{band.asset}.tif") for band in TERRA.bands}
    with GranuleReader() as one:
        read = one.read(Granule(name, *parse_granule_name(name), band_hrefs=hrefs), TERRA, pixels_per_tile=N)
        assert one._process._child is None
    assert all((layer == 1).all() for layer in read.values())


def test_threads_may_share_a_reader(tmp_path: Path, granule_reader: GranuleReader) -> None:
    paths = [simulated(tmp_path, day) for day in range(24)]
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda one: granule_reader.read(one, TERRA, pixels_per_tile=N), paths))
    assert all(same(one, read_small(path)) for one, path in zip(read, paths, strict=True))


def test_a_process_has_one_reader_and_its_threads_share_it(path: Path) -> None:
    assert reader() is reader()
    assert same(reader().read(path, TERRA, pixels_per_tile=N), read_small(path))
    assert reader()._process is hdf4_process.of_this_process()


def test_workers_of_dask_may_have_one(tmp_path: Path, path: Path, client: Client) -> None:
    check = functools.partial(check_granule_file, granule=named(path), asset=None, pixels_per_tile=N)
    assert client.submit(check, path, pure=False).result() is None
    truncated = tmp_path / "part"
    truncated.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GranuleError, match="truncated"):
        client.submit(check, truncated, pure=False).result()


# ---- crashes, hangs, ends ------------------------------------------------------------------------------------------


def test_a_crash_is_the_files_error_and_the_next_file_is_read(path: Path) -> None:
    with GranuleReader() as one:
        intact = one.read(path, TERRA, pixels_per_tile=N)
        process = child_of(one)

        def crash() -> None:
            os.kill(process.pid, signal.SIGSEGV)
            os.kill(process.pid, signal.SIGCONT)

        with once_asked(process, crash), pytest.raises(GranuleError, match="crashed on this file") as caught:
            one.read(path, TERRA, pixels_per_tile=N)
        assert caught.value.found == "SIGSEGV"
        assert str(path) in str(caught.value)
        assert same(one.read(path, TERRA, pixels_per_tile=N), intact)
        assert child_of(one).pid != process.pid


def test_a_hang_is_the_files_error_and_the_next_file_is_read(path: Path) -> None:
    with GranuleReader(timeout_s=0.5) as one:
        intact = one.read(path, TERRA, pixels_per_tile=N)
        process = child_of(one)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(GranuleError, match="hangs on this file") as caught:
            one.read(path, TERRA, pixels_per_tile=N)
        assert "0.5 s" in caught.value.found
        assert process.returncode == -signal.SIGKILL
        assert same(one.read(path, TERRA, pixels_per_tile=N), intact)


def test_a_process_that_ended_between_files_is_replaced(path: Path) -> None:
    with GranuleReader() as one:
        intact = one.read(path, TERRA, pixels_per_tile=N)
        child_of(one).kill()
        child_of(one).wait()
        assert same(one.read(path, TERRA, pixels_per_tile=N), intact)


def test_an_answer_that_comes_after_an_interrupt_is_not_the_next_ones(tmp_path: Path) -> None:
    first, second = simulated(tmp_path, 1), simulated(tmp_path, 2)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with GranuleReader() as one:
            one.read(first, TERRA, pixels_per_tile=N)
            process = child_of(one)
            with (
                pytest.raises(KeyboardInterrupt),
                once_asked(process, functools.partial(os.kill, os.getpid(), signal.SIGUSR1)),
            ):
                one.read(first, TERRA, pixels_per_tile=N)
            assert same(one.read(second, TERRA, pixels_per_tile=N), read_small(second))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_nothing_is_left_open(path: Path) -> None:
    with GranuleReader() as one:  # what Python itself keeps open is open from here on
        one.read(path, TERRA, pixels_per_tile=N)
    this = psutil.Process()
    before = this.num_fds()
    with GranuleReader() as one:
        one.read(path, TERRA, pixels_per_tile=N)
        process = child_of(one)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        one.read(path, TERRA, pixels_per_tile=N)
        process = child_of(one)
    assert process.returncode is not None
    assert this.num_fds() == before
    assert same(one.read(path, TERRA, pixels_per_tile=N), read_small(path))  # a closed one starts again
    one.close()
    one.close()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit()"])
def test_the_reading_process_ends_with_the_asking_one(path: Path, end: str) -> None:
    program = f"""
import os, sys
from frostmap.catalogs.collections import load_collection
from frostmap.pipeline.granule_reader import reader
reader().read({str(path)!r}, load_collection("mod11a1"), pixels_per_tile={N})
sys.stdout.write(str(reader()._process._child.process.pid))
sys.stdout.flush()
{end}
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    process = int(done.stdout)

    def is_gone() -> bool:
        try:
            return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(is_gone)


def test_a_fork_has_a_reader_of_its_own(path: Path) -> None:
    program = f"""
import os
from frostmap.catalogs.collections import load_collection
from frostmap.pipeline.granule_reader import reader
def read():
    return reader().read({str(path)!r}, load_collection("mod11a1"), pixels_per_tile={N})["lst_day"].sum()
here, process = read(), reader()._process._child.process.pid
fork = os.fork()
if fork == 0:
    raise SystemExit(0 if read() == here and reader()._process._child.process.pid != process else 1)
assert os.waitpid(fork, 0)[1] == 0
assert read() == here and reader()._process._child.process.pid == process
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_that_cannot_start_is_not_the_files_fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with GranuleReader() as one, pytest.raises(FrostmapError, match="cannot start") as caught:
        one.read(path, TERRA, pixels_per_tile=N)
    assert not isinstance(caught.value, GranuleError)
    assert caught.value.found == "exit code 1"


def test_the_reading_process_imports_little() -> None:
    program = "import sys, frostmap.pipeline.hdf4_child; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    large = {"dask", "distributed", "numba", "odc", "pandas", "pydantic", "pystac", "rasterio", "scipy", "xarray"}
    assert "numpy" in done.stdout.split()
    assert not large & set(done.stdout.split())


# ---- damaged files -------------------------------------------------------------------------------------------------


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    """Damage 1 to 64 bytes, half of them among the headers at both ends of the file."""
    damaged = bytearray(content)
    for _ in range(int(2 ** generator.uniform(0, 6))):
        place = int(generator.integers(4, len(content)))
        if generator.random() < 0.5:
            place = int(generator.choice([4 + place % 8000, len(content) - 1 - place % min(80_000, len(content) - 4)]))
        damaged[place] = int(generator.integers(256))
    return bytes(damaged)


def truncated(content: bytes, generator: np.random.Generator) -> bytes:
    return content[: int(generator.integers(len(content)))]


def spliced(content: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """Join the start of a file and the end of another."""
    place = int(generator.integers(min(len(content), len(other))))
    return content[:place] + other[place:]


def read_or_refused(one: GranuleReader, path: Path, content: bytes, pixels: int) -> Arrays | None:
    """Return what is read of damaged content; None if it was refused."""
    path.write_bytes(content)
    read, complaint = None, ""
    try:
        read = one.read(path, TERRA, pixels_per_tile=pixels)
    except GranuleError as error:
        complaint = str(error)
    if read is None:
        assert str(path) in complaint
        return None
    assert {(read[band.name].shape, read[band.name].dtype.name) for band in TERRA.bands} == {
        ((pixels, pixels), band.dtype) for band in TERRA.bands
    }
    return read


@pytest.mark.parametrize("seed", range(3))
def test_simulated_granules_that_are_damaged_are_refused_or_read_unharmed(
    tmp_path: Path, path: Path, granule_reader: GranuleReader, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    whole, intact = path.read_bytes(), read_small(path)
    other = simulated(tmp_path, 7).read_bytes()
    n_refused = 0
    for damage in [flipped] * 200 + [truncated] * 20:
        read = read_or_refused(granule_reader, tmp_path / path.name, damage(whole, generator), N)
        n_refused += read is None
        assert read is None or same(read, intact)
    for _ in range(20):
        read_or_refused(granule_reader, tmp_path / path.name, spliced(whole, other, generator), N)
    assert 40 < n_refused < 220  # damage is not all of one kind


@pytest.mark.realdata
@pytest.mark.parametrize("seed", range(2))
def test_real_granules_that_are_damaged_are_refused_or_read_unharmed(
    tmp_path: Path, realdata: Path, granule_reader: GranuleReader, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    folder = realdata / "modis_hdf"
    whole, intact = (folder / REAL).read_bytes(), read_granule(folder / REAL, TERRA)
    other = (folder / REAL_NDVI).read_bytes()
    for damage in [flipped] * 100 + [truncated] * 10:
        read = read_or_refused(granule_reader, tmp_path / REAL, damage(whole, generator), 1200)
        assert read is None or same(read, intact)
    for _ in range(10):
        read_or_refused(granule_reader, tmp_path / REAL, spliced(whole, other, generator), 1200)


@pytest.mark.realdata
def test_real_granules_in_chunks_that_are_damaged_are_refused_or_read_unharmed(
    tmp_path: Path, realdata: Path, granule_reader: GranuleReader
) -> None:
    generator = np.random.default_rng(0)
    collection = load_collection("mod13a2")
    whole = (realdata / "modis_hdf" / REAL_NDVI).read_bytes()
    intact = read_granule(realdata / "modis_hdf" / REAL_NDVI, collection)
    n_refused = 0
    for _ in range(25):  # a third of the file describes its chunks
        damaged = bytearray(whole)
        damaged[generator.integers(4, len(whole))] ^= 1 << int(generator.integers(8))
        (tmp_path / REAL_NDVI).write_bytes(damaged)
        try:
            read = granule_reader.read(tmp_path / REAL_NDVI, collection)
        except GranuleError:
            n_refused += 1
        else:
            assert same(read, intact)
    assert n_refused > 10


def test_damage_that_brings_the_library_down_is_survived(
    tmp_path: Path, path: Path, granule_reader: GranuleReader
) -> None:
    # the class of the group that all is in: HDF 4.2 frees memory twice when it does not find it
    content = path.read_bytes()
    assert content.count(b"CDF0.0") == 1
    (tmp_path / path.name).write_bytes(content.replace(b"CDF0.0", b"CDC0.0"))
    for _ in range(3):
        with pytest.raises(GranuleError) as caught:
            granule_reader.read(tmp_path / path.name, TERRA, pixels_per_tile=N)
        assert str(tmp_path / path.name) in str(caught.value)
    assert same(granule_reader.read(path, TERRA, pixels_per_tile=N), read_small(path))


def test_a_stream_that_would_grow_beyond_measure_is_not_inflated(
    tmp_path: Path, path: Path, granule_reader: GranuleReader
) -> None:
    layers = {
        layer.name: np.full((N, N), 100 + number, layer.dtype)
        for number, layer in enumerate(PRODUCTS["MOD11A1"].layers)
    }
    write_hdf(tmp_path / path.name, "MOD11A1", TILE, layers)
    content = bytearray((tmp_path / path.name).read_bytes())
    # the first layer's descriptor holds offset and length of its stream
    stream = zlib.compress(layers["LST_Day_1km"].astype(">u2").tobytes(), DEFLATE_LEVEL)
    slot = content.index(struct.pack(">ii", content.index(stream), len(stream)))
    bomb = zlib.compress(bytes(1 << 24))
    struct.pack_into(">ii", content, slot, len(content), len(bomb))
    (tmp_path / path.name).write_bytes(content + bomb)
    with pytest.raises(GranuleError, match="LST_Day_1km is not of its size"):
        granule_reader.read(tmp_path / path.name, TERRA, pixels_per_tile=N)


def test_a_file_that_asks_for_more_memory_than_the_process_may_have_is_refused(path: Path) -> None:
    huge = Expected("MOD11A1", "061", "2020-01-01", "h25v05", "grid", 40_000, (0.0, 0.0, 0.0, 0.0), 1.0)
    process = hdf4_process.of_this_process()
    with pytest.raises(GranuleError, match="more memory than any needs"):
        process.check_layers(path, huge, [Layer("QC_Day", "uint8")])
    assert same(reader().read(path, TERRA, pixels_per_tile=N), read_small(path))
