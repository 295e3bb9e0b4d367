"""The thermal chain of a simulated year, from raw counts to degree days, in processes of its own; its cost as JSON.

    python -m tests.benchmarks.chain_once cube FOLDER SIDE
    python -m tests.benchmarks.chain_once run FOLDER SIDE [WORKERS [EVERY]]
    python -m tests.benchmarks.chain_once alone FOLDER SIDE [EVERY]

``cube`` simulates a corner of a tile at 1 km, SIDE x SIDE pixels, square by square of 100 x 100; 1200 is all of it.
``run`` makes the stages as a run does, on worker processes, all tasks or each EVERY-th; ``alone`` then runs the same
one after the other in this process and tells how much is reading and how much the block functions' own work.
Kernels are compiled on one square: write its cube (SIDE 100), too.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr
from distributed import Client, LocalCluster

from frostmap.catalogs.grids import lattice
from frostmap.pipeline import blocks, cubes, scsg
from frostmap.pipeline.clusters.this_machine import CLUSTER_SETTINGS
from frostmap.pipeline.demands import KEPT_BYTES, WORKER_BYTES, worker_bytes
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import MASKS, NDVI_SERIES, RAW, TERRAIN, Variable
from frostmap.pipeline.simulate.climate import covariates
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import observed_days, scene
from frostmap.pipeline.stage import Stage, step_name
from frostmap.pipeline.stages.annual_cycle import ANNUAL_CYCLE
from frostmap.pipeline.stages.degree_days import DEGREE_DAYS
from frostmap.pipeline.stages.gap_filling import GAP_FILLING
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.stages.observations import OBSERVATIONS_KEPT
from frostmap.pipeline.stages.sky_classes import SKY_CLASSES
from frostmap.pipeline.submission import compute
from frostmap.pipeline.work import Work

SIDE, YEAR = 100, 2019
CHAIN: tuple[tuple[Stage, str], ...] = (
    (OBSERVATIONS_KEPT, str(YEAR)),
    (SKY_CLASSES, str(YEAR)),
    (ANNUAL_CYCLE, "training"),
    (GAP_FILLING, str(YEAR)),
    (DEGREE_DAYS, str(YEAR)),
)
NOT_MADE = KEPT_BYTES["terrain"]
"""What `plan` counts of a stage before these, which is not made here [bytes]."""

Arrays = dict[str, npt.NDArray[Any]]


# ---- what is read -------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Simulate the year of one square, for those who want no more than that."""
    np.savez(folder / "square.npz", **observed(0, 0), **described(0, 0))


def window_at(row: int, col: int) -> Window:
    """Return the square whose first pixel has this row and column in the simulated tile."""
    return Window(1200, 5 * 1200 + row, 25 * 1200 + col, SIDE, SIDE)


def observed(row: int, col: int) -> Arrays:
    """Return the raw counts of a square's year, (day, overpass, y, x)."""
    where, first, last = scene(YEAR, window_at(row, col), YEAR), dt.date(YEAR, 1, 1), dt.date(YEAR, 12, 31)
    raw = {variable.name: np.empty((365, 4, SIDE, SIDE), variable.dtype) for variable in RAW}
    layers = {"lst": "LST_{}_1km", "qc": "QC_{}", "view_time": "{}_view_time", "view_angle": "{}_view_angl"}
    for day, (_, products) in enumerate(observed_days(where, first, last)):
        for overpass, (product, half) in enumerate(
            (("MOD11A1", "Day"), ("MYD11A1", "Day"), ("MOD11A1", "Night"), ("MYD11A1", "Night"))
        ):
            for name, layer in layers.items():
                raw[name][day, overpass] = products[product][layer.format(half)]
    return raw


def described(row: int, col: int) -> Arrays:
    """Return what a square is: its terrain, NDVI and masks, (y, x)."""
    land = scene(YEAR, window_at(row, col), YEAR).land
    ndvi = np.asarray(covariates(YEAR, land, YEAR + 0.2).ndvi, np.float32).reshape(SIDE, SIDE)
    flat = {"elevation": land.elevation, "eastness": land.slope_east, "northness": land.slope_north}
    flat |= {"slope": np.hypot(land.slope_east, land.slope_north), "wetness": np.full(SIDE * SIDE, 9.0)}
    made: Arrays = {name: np.asarray(values, np.float32).reshape(SIDE, SIDE) for name, values in flat.items()}
    made |= {name: np.zeros((SIDE, SIDE), np.float32) for name in ("lakes", "glaciers")}
    return made | {"ndvi": np.broadcast_to(ndvi, (23, SIDE, SIDE)), "inside": np.ones((SIDE, SIDE), bool)}


def work_of(folder: Path, side: int) -> Work:
    """Return the work directory of a run over the first `side` rows and columns of a tile."""
    recipe = Recipe.model_validate(
        {
            "frostmap": 1,
            "name": "chain",
            "simulated": True,
            "region": {"tiles": ("h25v05",)},
            "epochs": {"training": {"years": (YEAR,)}},
            "ground_correction": {"method": "identity"},
            "sources": {
                "lst": {"kind": "folder", "catalogue": "archive"},
                "ndvi": {"kind": "folder", "catalogue": "archive"},
                "elevation": Path("elevation.tif"),
                "cloud_top": {"kind": "constant"},
                "clusters": Path("clusters.tif"),
                "surveys": ({"name": "none", "path": Path("survey.tif")},),
            },
        }
    )
    work = Work(recipe, folder / f"work-{side}")
    vars(work)["geobox"] = lattice(1200)[25, 5][:side, :side]  # the cached property: a corner of the tile
    return work


def write_cube(folder: Path, side: int) -> None:
    """Simulate what the chain reads, square by square, and write it in the project's own layout."""
    work = work_of(folder, side)
    groups: tuple[tuple[str, Sequence[Variable], Callable[[int, int], Arrays], dict[str, Any]], ...] = (
        (f"ingest/{YEAR}", RAW, observed, dict(year_coords(YEAR))),
        ("terrain", TERRAIN, described, {}),
        (f"vegetation/{YEAR}", (NDVI_SERIES,), described, {"composite": np.arange(23, dtype="int16")}),
        ("masks/training", MASKS, described, {}),
    )
    sizes = work.sizes(str(YEAR)) | {"y": side, "x": side}
    for group, variables, simulate, more in groups:
        cubes.prepare_group(work.storage, group, variables, work.geobox, more, work.chunk_pixels)
        made = blocks.map_windows(
            partial(_square, simulate),
            [xr.Dataset(coords={"y": np.arange(side), "x": np.arange(side)})],
            variables,
            sizes,
            block=SIDE,
        )
        writes = cubes.write_tasks(work.storage, group, made.cube, variables, made.tasks, pixels=work.chunk_pixels)
        dask.compute(*[write.delayed for write in writes], scheduler="processes", num_workers=2)


def _square(simulate: Callable[[int, int], Arrays], window: xr.Dataset) -> blocks.Block:
    return dict(simulate(int(window["y"][0]), int(window["x"][0])))


# ---- as a run does it ---------------------------------------------------------------------------------------------


def run(folder: Path, side: int, workers: int, every: int = 1) -> dict[str, Any]:
    """Make the stages on worker processes; return what each took of the clock, of processors and of memory.

    Kernels are compiled before, by other workers on a smaller part: these load what those leave on disk. Of many tasks
    each `every`-th may stand for those after it, where all were made before.
    """
    _made(folder, SIDE, 1)
    return _made(folder, side, workers, every)


def _made(folder: Path, side: int, workers: int, every: int = 1) -> dict[str, Any]:
    costs: dict[str, Any] = {}
    work = work_of(folder, side)
    with (
        dask.config.set(CLUSTER_SETTINGS),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=0, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        for stage, scope in CHAIN:
            costs[stage.name] = _cost(client, work, stage, scope, every)
        costs["worker"] = {"stated_bytes": WORKER_BYTES, "rss_bytes": max(client.run(resident).values())}
    return costs


def _cost(client: Client, work: Work, stage: Stage, scope: str, every: int) -> dict[str, float]:
    client.run(forget_peak)
    at_rest = max(client.run(resident).values())
    before, began, own = sum(client.run(_processor_s).values()), time.perf_counter(), time.process_time()
    products, name = stage.function(work, scope), step_name(stage.name, scope)
    assert products.cube is not None
    writes = cubes.write_tasks(
        work.storage, name, products.cube, stage.writes, products.tasks, pixels=work.chunk_pixels
    )
    if every == 1:
        cubes.prepare_group(
            work.storage, name, stage.writes, work.geobox, products.coords, work.chunk_pixels, cause=str(began)
        )
    share = len(writes[::every]) / len(writes)
    compute(client, [write.delayed for write in writes[::every]], lambda _done: None)
    return {
        "wall_s": (time.perf_counter() - began) / share,
        "workers_s": (sum(client.run(_processor_s).values()) - before) / share,
        "scheduler_s": (time.process_time() - own) / share,
        "tasks": len(writes),
        "at_rest_bytes": at_rest,
        "peak_bytes": max(client.run(peak).values()),
        "stated_bytes": worker_bytes(stage.name) - NOT_MADE + (stage.memory(work, scope) if stage.memory else 0),
    }


def _processor_s() -> float:
    return time.process_time()


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident() -> int:
    return _status("VmRSS")


def peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name))) * 1024


# ---- the same tasks alone -----------------------------------------------------------------------------------------


def alone(folder: Path, side: int, every: int = 1) -> dict[str, dict[str, float]]:
    """Run the same tasks without a cluster and without writing; return processor time of reading and of the rest.

    Of many tasks each `every`-th stands for those after it, too.
    """
    costs: dict[str, dict[str, float]] = {}
    for work in (work_of(folder, SIDE), work_of(folder, side)):  # the first compiles
        for stage, scope in CHAIN:
            spent = {"read_s": 0.0, "kernels_s": 0.0}
            with _timed(spent):
                products = stage.function(work, scope)
                assert products.tasks
                for task in products.tasks[::every]:
                    began = time.process_time()
                    result = task.result.compute(scheduler="synchronous")
                    if isinstance(result, blocks.Stream):
                        for _ in result.pieces():
                            pass
                    spent["kernels_s"] += time.process_time() - began
            spent["kernels_s"] -= spent["read_s"]
            share = len(products.tasks[::every]) / len(products.tasks)
            costs[stage.name] = {name: seconds / share for name, seconds in spent.items()}
    return costs


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Count the processor time of reading from the store."""
    load, read = xr.Dataset.load, scsg.Days.read

    def counted(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent["read_s"] += time.process_time() - began

    xr.Dataset.load = lambda *args, **kwargs: counted(load, *args, **kwargs)  # type: ignore[method-assign]
    scsg.Days.read = lambda *args, **kwargs: counted(read, *args, **kwargs)  # type: ignore[method-assign]
    try:
        yield
    finally:
        xr.Dataset.load, scsg.Days.read = load, read  # type: ignore[method-assign]


def main(what: str, folder: Path, side: int, *numbers: int) -> None:
    """Do one of it."""
    if what == "prepare":
        prepare(folder)
    elif what == "cube":
        write_cube(folder, side)
    elif what == "alone":
        sys.stdout.write(json.dumps(alone(folder, side, *numbers)))
    else:
        sys.stdout.write(json.dumps(run(folder, side, *(numbers or (2,)))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
