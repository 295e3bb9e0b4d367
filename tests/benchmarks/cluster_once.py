"""What a cluster adds to bare tasks, what a second worker brings, what kills cost, what many tasks take; as JSON.

    python -m tests.benchmarks.cluster_once tile FOLDER [SECONDS]    # degree days of a whole tile, again and again
    python -m tests.benchmarks.cluster_once tasks FOLDER [NUMBER]    # a scheduler that is given so many tasks

``tile``: the square of `chain_once` is repeated over a tile of 1200 x 1200 pixels at 1 km by links, so that its 144
tasks of degree days read what a run reads. They are made one after the other in this process, then by one worker, by
two, and by two of which one is killed every so many seconds. ``tasks`` makes tasks of the real kind (windows of a
stored cube, a record of what was written) that read and write nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import xarray as xr
from distributed import Client, LocalCluster

from frostmap.pipeline import blocks, cubes, ledger
from frostmap.pipeline.clusters.this_machine import CLUSTER_SETTINGS
from frostmap.pipeline.schema import FILLED_LST, FREEZING, VIEW_TIME, Variable
from frostmap.pipeline.stages.degree_days import DEGREE_DAYS
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.storage import CUBE, Storage
from frostmap.pipeline.submission import AT_ONCE, compute
from frostmap.pipeline.work import Work

from ..pipeline.processes import cluster
from .chain_once import SIDE, YEAR, prepare, work_of

TILE, MIB = 1200, 2**20
READ: tuple[tuple[str, Variable], ...] = ((f"gap_filling/{YEAR}", FILLED_LST), (f"observations/{YEAR}", VIEW_TIME))


# ---- a tile -------------------------------------------------------------------------------------------------------


def lay_out(folder: Path) -> Work:
    """Write the square's year once, and link it to every place of the tile."""
    square, work = dict(np.load(folder / "square.npz")), work_of(folder, TILE)
    coords, places = year_coords(YEAR), TILE // SIDE
    for group, variable in READ:
        cubes.prepare_group(work.storage, group, (variable,), work.geobox, dict(coords), work.chunk_pixels)
        one = xr.Dataset({variable.name: (variable.dims, square[variable.name])})
        region = tuple(slice(0, length) for length in one[variable.name].shape)
        array = cubes.zarr.open_array(work.storage.zarr_store(), path=f"{group}/{variable.name}", mode="r")
        for key, content in cubes._encoded(array, region, one[variable.name].values):
            if content is None:
                continue
            work.storage.write(f"{CUBE}/{key}", content)
            first = Path(work.storage.url) / CUBE / key
            for y in range(places):
                for x in range(places):
                    place = first.parent.parent / str(y) / str(x)
                    place.parent.mkdir(exist_ok=True)
                    if not place.exists():
                        os.link(first, place)
    return work


def tasks(work: Work, number: int) -> list[Any]:
    """Return the tasks of a group of its own that is ready for them."""
    group = f"degree_days/{number}"
    products = DEGREE_DAYS.function(work, str(YEAR))
    assert products.cube is not None
    cubes.prepare_group(
        work.storage, group, DEGREE_DAYS.writes, work.geobox, products.coords, work.chunk_pixels, cause=str(number)
    )
    writes = cubes.write_tasks(
        work.storage, group, products.cube, DEGREE_DAYS.writes, products.tasks, pixels=work.chunk_pixels
    )
    return [write.delayed for write in writes]


@contextmanager
def workers(n: int) -> Iterator[Client]:
    """Yield a client of worker processes as a run has them."""
    options: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": 0, "host": "127.0.0.1"}
    with (
        dask.config.set(CLUSTER_SETTINGS),
        LocalCluster(n_workers=n, dashboard_address=None, **options) as local,
        Client(local) as client,
    ):
        yield client


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def tile(folder: Path, seconds: float = 60.0) -> dict[str, Any]:
    """Measure a tile."""
    if not (folder / "square.npz").exists():
        prepare(folder)
    work, number = lay_out(folder), iter(range(10**6))

    def alone() -> None:
        for task in tasks(work, next(number)):
            task.compute(scheduler="synchronous")

    def shared(client: Client) -> None:
        compute(client, tasks(work, next(number)), lambda _done: None)

    tasks(work, next(number))[0].compute(scheduler="synchronous")  # compiles
    bare, found = min(timed(alone) for _ in range(3)), dict[str, Any]()
    for n in (1, 2):
        with workers(n) as client:
            shared(client)  # compiles
            found[f"{n} workers [s]"] = min(timed(lambda: shared(client)) for _ in range(3))
            if n == 2:
                found |= killed(client, lambda: shared(client), seconds)
    found["bare [s]"] = bare
    found["overhead"] = found["1 workers [s]"] / bare - 1
    found["two against one"] = found["1 workers [s]"] / found["2 workers [s]"]
    return found


def killed(client: Client, once: Callable[[], None], seconds: float, every: float = 20.0) -> dict[str, Any]:
    """Make the tile again and again for some seconds, undisturbed and with kills; return what each tile took."""
    over, kills = threading.Event(), 0

    def kill() -> None:
        nonlocal kills
        while not over.wait(every):
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            kills += 1

    def each() -> float:
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            once()
            n += 1
        return (time.perf_counter() - began) / n

    found = {"tile undisturbed [s]": each()}
    thread = threading.Thread(target=kill)
    thread.start()
    found["tile with kills [s]"] = each()
    over.set()
    thread.join()
    return found | {"kills": kills}


# ---- many tasks ---------------------------------------------------------------------------------------------------


def nothing(_window: xr.Dataset) -> blocks.Block:
    return {FREEZING.name: np.zeros((0, 0), np.float32)}


def recorded(
    _storage: Storage, _group: str, task: str, causes: dict[str, str], _result: Any, _parts: Any
) -> ledger.ChunkRecord:
    """Return the record of a task that wrote nothing."""
    return ledger.ChunkRecord(task, causes, {}, None, 0, 0, ledger.now())


def many(folder: Path, number: int = 100_000) -> dict[str, Any]:
    """Give a scheduler many tasks as a run does; return what it and the client took."""
    side = int(np.ceil(np.sqrt(number))) * SIDE
    storage, work = Storage.of_folder(folder / "many"), work_of(folder, TILE)
    cubes.prepare_group(storage, "read", (FREEZING,), work.geobox.zoom_to((side, side)), {}, SIDE)
    made = blocks.map_windows(nothing, [cubes.open_group(storage, "read")], (FREEZING,), {}, block=SIDE)
    cubes._write = recorded  # type: ignore[assignment]
    writes = cubes.write_tasks(storage, "written", made.cube, (FREEZING,), made.tasks[:number], pixels=SIDE)
    with cluster(folder) as running, Client(running.address) as client:
        scheduler, peak, over = psutil.Process(running.scheduler.pid), list[int](), threading.Event()
        at_rest = scheduler.memory_info().rss

        def watch() -> None:
            while not over.wait(0.5):
                peak.append(scheduler.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        took = timed(lambda: compute(client, [each.delayed for each in writes], lambda _done: None, at_once=AT_ONCE))
        over.set()
        watcher.join()
        return {
            "tasks": len(writes),
            "seconds": took,
            "scheduler at rest [MiB]": at_rest / MIB,
            "scheduler at most [MiB]": max(peak) / MIB,
            "client [MiB]": psutil.Process().memory_info().rss / MIB,
        }


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    number = sys.argv[3:4]
    result = tile(where, *map(float, number)) if what == "tile" else many(where, *map(int, number))
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
