"""A chain as small as can be: a file a block is read, multiplied, and added up; tests break it in every way."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from dask.delayed import delayed
from distributed import Client, LocalCluster, Worker

from frostmap.catalogs.granules import Granule
from frostmap.catalogs.grids import parse_tile
from frostmap.pipeline import cubes, ledger, plan, storage, upkeep
from frostmap.pipeline.blocks import FAILED, NOTES, Part, Task, map_windows
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.schema import Variable
from frostmap.pipeline.stage import Noted, Products, Stage
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.work import Work

SIZE, BLOCK = 8, 4
PLACES = [(y, x) for y in range(0, SIZE, BLOCK) for x in range(0, SIZE, BLOCK)]
YEARS = ("2010", "2020")
FIELD = Variable("field", ("y", "x"), "int32", "a field", "1", fill=-1)
TIMES = Variable("times", ("y", "x"), "float32", "a field times a factor", "1", fill=None)


class Interrupted(RuntimeError):
    """What stands for a power cut."""


def went(log: Path, task: str) -> None:
    """Note that a task runs, unless its time has come; it takes as long as it is told to."""
    fuse, seconds = log.with_name("fuse"), log.with_name("seconds")
    if fuse.exists():
        left = int(fuse.read_text())
        if left == 0:
            raise Interrupted(task)
        fuse.write_text(str(left - 1))
    with log.open("a") as file:
        file.write(task + "\n")
    if seconds.exists():
        time.sleep(float(seconds.read_text()))


def settle(client: Client) -> None:
    """Wait until nothing runs any more: what a failed run had begun to read, it does not wait for."""
    while any(client.run(_busy).values()):
        time.sleep(0.01)


def _busy(dask_worker: Worker) -> int:
    return dask_worker.state.executing_count + len(dask_worker.state.ready)


def granules(work: Work) -> dict[str, dict[str, list[Granule]]]:
    """Return the input files as granules."""
    paths = sorted((work.folder.parent / "inputs").iterdir())
    day, tile = dt.date(2010, 1, 1), parse_tile("h25v05")
    return {
        "lst": {
            year: [Granule(p.name, "P", day, tile, "1", "", str(p)) for p in paths if p.name.startswith(year)]
            for year in YEARS
        }
    }


def gather(work: Work, year: str) -> Products:
    """Read a number for each block."""
    log = work.folder.parent / "log"
    files = {granule.name: granule for granule in work.granules["lst"][year]}
    read = delayed(_read, pure=False, traverse=False)
    array = da.zeros((SIZE, SIZE), dtype="int32", chunks=BLOCK)
    tasks = []
    for y, x in PLACES:
        file = files[f"{year}-{y}-{x}"]
        part = Part(FIELD.name, FIELD.name, (slice(y, y + BLOCK), slice(x, x + BLOCK)))
        result = read(log, f"gather/{year} y{y}-x{x}", Path(str(file.hdf_href)))
        tasks.append(Task(f"y{y}-x{x}", result, (part,), work.identity_of({0: file})))
    cube = xr.Dataset({FIELD.name: (FIELD.dims, array, FIELD.attrs)})
    return Products(cube=cube, tasks=tuple(tasks), noted=partial(_account, year=year))


def _read(log: Path, task: str, path: Path) -> dict[str, Any]:
    went(log, task)
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        note = {"id": path.name, "status": "bad", "error": "not a number"}
        return {FIELD.name: np.full((BLOCK, BLOCK), -1, "int32"), NOTES: [note], FAILED: 1}
    block = np.arange(BLOCK * BLOCK, dtype="int32").reshape(BLOCK, BLOCK) + value
    return {FIELD.name: block, NOTES: [{"id": path.name, "status": "ok", "error": ""}]}


def _account(notes: Sequence[Any], *, year: str) -> Noted:
    table = pd.DataFrame([note for each in notes for note in each]).sort_values("id")
    bad = table[table["status"] == "bad"]
    complaint = DataIncomplete("inputs are bad", found=", ".join(bad["id"])) if len(bad) else None
    return Noted({f"inputs-{year}": table}, complaint)


def multiply(work: Work, year: str) -> Products:
    """Multiply, with a halo so that blocks depend on their neighbours."""
    function = partial(_multiply, work.folder.parent / "log", year, work.recipe.calibration.prior)
    made = map_windows(function, [work.open(f"gather/{year}")], (TIMES,), {}, block=BLOCK, halo=1)
    return Products(cube=made.cube, tasks=made.tasks)


def _multiply(log: Path, year: str, factor: float, window: xr.Dataset) -> dict[str, Any]:
    went(log, f"multiply/{year}")
    return {TIMES.name: (window["field"].values * np.float32(factor)).astype("float32")}


def add(work: Work, _scope: str) -> Products:
    """Add up both years."""
    total = delayed(_add)(work.folder.parent / "log", work.storage)
    return Products(tables={"total": delayed(_total_table)(total)}, metrics={"total": total})


def _add(log: Path, where: storage.Storage) -> float:
    went(log, "add")
    return float(sum(cubes.open_group(where, f"multiply/{year}")["times"].values.sum() for year in YEARS))


def _total_table(total: float) -> pd.DataFrame:
    return pd.DataFrame({"total": [total]})


CHAIN = (
    Stage("gather", "gathered", gather, scopes=lambda _: list(YEARS), granules="lst", writes=(FIELD,)),
    Stage(
        "multiply",
        "multiplied",
        multiply,
        scopes=lambda _: list(YEARS),
        inputs=lambda _, year: [f"gather/{year}"],
        sections=("calibration",),
        writes=(TIMES,),
    ),
    Stage("add", "added", add, scopes=lambda _: [""], inputs=lambda *_: [f"multiply/{year}" for year in YEARS]),
)


def recipe_in(folder: Path, prior: float = 0.9, **store: str) -> Recipe:
    """Return a recipe for the chain; `store` says where the cube is, else in the work directory."""
    raster = folder / "grid.tif"
    if not raster.exists():
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": SIZE, "width": SIZE, "crs": "EPSG:4326"}
        with rasterio.open(raster, "w", transform=rasterio.Affine(0.01, 0, 90, 0, -0.01, 35), **profile) as file:
            file.write(np.ones((1, SIZE, SIZE), "uint8"))
    content = {
        "name": "tiny",
        "region": {"grid_of": "grid.tif"},
        "epochs": {"training": {"years": [2010]}},
        "sources": {
            "forcing": {"training": {"freezing": "grid.tif", "thawing": "grid.tif"}},
            "clusters": "grid.tif",
            "surveys": [{"name": "s", "path": "grid.tif"}],
        },
        "calibration": {"prior": prior},
        "store": {"chunk_pixels": BLOCK} | store,
    }
    return parse_recipe(yaml.safe_dump(content), folder / "recipe.yaml")


def inputs_in(folder: Path) -> None:
    """Write a number for each block and year."""
    (folder / "inputs").mkdir()
    for number, (y, x) in enumerate(PLACES):
        for year in YEARS:
            (folder / "inputs" / f"{year}-{y}-{x}").write_text(str(100 * number + int(year)))


def tasks_run(root: Path) -> list[str]:
    """Return the tasks that ran since the log was removed."""
    return (root / "log").read_text().split("\n")[:-1] if (root / "log").exists() else []


def everything(folder: Path) -> dict[str, bytes]:
    """Return every stored byte of the cube, the tables and the metrics."""
    paths = [*(folder / CUBE).rglob("*"), *(folder / "tables").glob("*.csv"), folder / "metrics.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def owners(name: str) -> set[str]:
    """Return the tasks that damage to a file may make again: its own, and of a step's record the step's totals."""
    parts = name.split("/")
    if name.startswith(f"{CUBE}/gather/") and "/c/" in name and "/field/" in name:
        y, x = (BLOCK * int(index) for index in parts[-2:])
        return {f"gather/{parts[2]} y{y}-x{x}"}
    if name.startswith(f"{ledger.CHUNKS}/gather/"):
        return {f"gather/{parts[3]} {Path(name).stem}"}
    if name.startswith((f"{CUBE}/multiply/", f"{ledger.CHUNKS}/multiply/")):
        return {f"multiply/{parts[2] if name.startswith(CUBE) else parts[3]}"}
    return {"add"} if name in ("tables/total.csv", "ledger/add.json") else set()


@contextmanager
def in_place() -> Iterator[None]:
    """Put the small chain in the place of the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "STAGES", CHAIN)
        patch.setattr(upkeep, "scheduled", plan.scheduled)
        patch.setattr(Work, "granules", property(granules))
        yield


@contextmanager
def one_thread() -> Iterator[Client]:
    """Yield a client of one thread of this process."""
    options: dict[str, Any] = {"dashboard_address": "127.0.0.1:0", "protocol": "tcp://", "host": "127.0.0.1"}
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **options) as cluster, Client(cluster) as one:
        yield one
