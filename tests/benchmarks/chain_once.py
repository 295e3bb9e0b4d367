"""The thermal chain of a simulated year, from raw counts to degree days, in processes of its own; its cost as JSON.

A simulated square of 100 x 100 pixels at 1 km is repeated over a part of a tile, or the whole of it. ``run`` makes the
stages as a run does, on worker processes; ``alone`` runs the same tasks one after the other in this process and tells
how much is reading and how much the block functions' own work; ``peer`` is the chain in xarray and plain NumPy.
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
from frostmap.pipeline.demands import WORKER_BYTES, worker_bytes
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
Arrays = dict[str, npt.NDArray[Any]]


# ---- what is read -------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Simulate the square's year."""
    window = Window(1200, 5 * 1200 + 500, 25 * 1200 + 300, SIDE, SIDE)
    where, first, last = scene(YEAR, window, YEAR), dt.date(YEAR, 1, 1), dt.date(YEAR, 12, 31)
    raw = {variable.name: np.empty((365, 4, SIDE, SIDE), variable.dtype) for variable in RAW}
    layers = {"lst": "LST_{}_1km", "qc": "QC_{}", "view_time": "{}_view_time", "view_angle": "{}_view_angl"}
    for day, (_, products) in enumerate(observed_days(where, first, last)):
        for overpass, (product, half) in enumerate(
            (("MOD11A1", "Day"), ("MYD11A1", "Day"), ("MOD11A1", "Night"), ("MYD11A1", "Night"))
        ):
            for name, layer in layers.items():
                raw[name][day, overpass] = products[product][layer.format(half)]
    land = where.land
    ndvi = np.asarray(covariates(YEAR, land, YEAR + 0.2).ndvi, np.float32).reshape(SIDE, SIDE)
    flat = {"elevation": land.elevation, "eastness": land.slope_east, "northness": land.slope_north}
    flat |= {"slope": np.hypot(land.slope_east, land.slope_north), "wetness": np.full(SIDE * SIDE, 9.0)}
    np.savez(
        folder / "square.npz",
        ndvi=np.broadcast_to(ndvi, (23, SIDE, SIDE)),
        **raw,
        **{name: np.asarray(values, np.float32).reshape(SIDE, SIDE) for name, values in flat.items()},
    )


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
    """Write what the chain reads, the square repeated, in the project's own layout."""
    work, square = work_of(folder, side), dict(np.load(folder / "square.npz"))
    square |= {"inside": np.ones((SIDE, SIDE), bool)} | {
        name: np.zeros((SIDE, SIDE), np.float32) for name in ("lakes", "glaciers")
    }
    coords = year_coords(YEAR)
    groups: tuple[tuple[str, Sequence[Variable], dict[str, Any]], ...] = (
        (f"ingest/{YEAR}", RAW, dict(coords)),
        ("terrain", TERRAIN, {}),
        (f"vegetation/{YEAR}", (NDVI_SERIES,), {"composite": np.arange(23, dtype="int16")}),
        ("masks/training", MASKS, {}),
    )
    sizes = work.sizes(str(YEAR)) | {"y": side, "x": side}
    for group, variables, more in groups:
        cubes.prepare_group(work.storage, group, variables, work.geobox, more, work.chunk_pixels)
        # an array of the square's chunks repeated: nothing of the whole size is ever in memory
        made = blocks.map_windows(
            partial(_of_square, {v.name: square[v.name] for v in variables}),
            [xr.Dataset(coords={"y": np.arange(side), "x": np.arange(side)})],
            variables,
            sizes,
            block=work.chunk_pixels,
        )
        writes = cubes.write_tasks(work.storage, group, made.cube, variables, made.tasks, pixels=work.chunk_pixels)
        dask.compute(*[write.delayed for write in writes], scheduler="threads", num_workers=2)


def _of_square(square: Arrays, _window: xr.Dataset) -> blocks.Block:
    return dict(square)


# ---- as a run does it ---------------------------------------------------------------------------------------------


def run(folder: Path, side: int, workers: int) -> dict[str, Any]:
    """Make the stages on worker processes; return what each took of the clock, of processors and of memory.

    Workers compile their kernels before, on a smaller part: beside a tile's year that is little, beside a part's much.
    """
    costs: dict[str, Any] = {}
    with (
        dask.config.set(CLUSTER_SETTINGS),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=0, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        for work in (work_of(folder, SIDE), work_of(folder, side)):
            for stage, scope in CHAIN:
                costs[stage.name] = _cost(client, work, stage, scope)
        costs["worker"] = {"stated_bytes": WORKER_BYTES, "rss_bytes": max(client.run(resident).values())}
    return costs


def _cost(client: Client, work: Work, stage: Stage, scope: str) -> dict[str, float]:
    client.run(forget_peak)
    at_rest = max(client.run(resident).values())
    before, began, own = sum(client.run(_processor_s).values()), time.perf_counter(), time.process_time()
    products, name = stage.function(work, scope), step_name(stage.name, scope)
    assert products.cube is not None
    writes = cubes.write_tasks(
        work.storage, name, products.cube, stage.writes, products.tasks, pixels=work.chunk_pixels
    )
    cubes.prepare_group(
        work.storage, name, stage.writes, work.geobox, products.coords, work.chunk_pixels, cause=str(began)
    )
    compute(client, [write.delayed for write in writes], lambda _done: None)
    return {
        "wall_s": time.perf_counter() - began,
        "workers_s": sum(client.run(_processor_s).values()) - before,
        "scheduler_s": time.process_time() - own,
        "tasks": len(writes),
        "at_rest_bytes": at_rest,
        "peak_bytes": max(client.run(peak).values()),
        "stated_bytes": worker_bytes(stage.name) + (stage.memory(work, scope) if stage.memory else 0),
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


def alone(folder: Path, side: int) -> dict[str, dict[str, float]]:
    """Run the same tasks without a cluster and without writing; return processor time of reading and of the rest."""
    costs: dict[str, dict[str, float]] = {}
    for work in (work_of(folder, SIDE), work_of(folder, side)):  # the first compiles
        for stage, scope in CHAIN:
            spent = {"read_s": 0.0, "kernels_s": 0.0}
            with _timed(spent):
                products = stage.function(work, scope)
                for task in products.tasks or ():
                    began = time.process_time()
                    result = task.result.compute(scheduler="synchronous")
                    if isinstance(result, blocks.Stream):
                        for _ in result.pieces():
                            pass
                    spent["kernels_s"] += time.process_time() - began
            costs[stage.name] = spent | {"kernels_s": spent["kernels_s"] - spent["read_s"]}
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


def main(what: str, folder: Path, side: int, workers: int) -> None:
    """Do one of it."""
    if what == "prepare":
        prepare(folder)
    elif what == "cube":
        write_cube(folder, side)
    elif what == "alone":
        sys.stdout.write(json.dumps(alone(folder, side)))
    else:
        sys.stdout.write(json.dumps(run(folder, side, workers)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 2)
