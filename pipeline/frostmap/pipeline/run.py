"""Order the stages, skip what stands, compute the rest, and record what was made from what."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import psutil
from dask.delayed import Delayed
from distributed import Client, KilledWorker, LocalCluster, as_completed
from odc.geo.geobox import GeoBox

from frostmap.pipeline import cubes, ledger, provenance
from frostmap.pipeline.errors import FrostmapError, UserError
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import check
from frostmap.pipeline.stage import Stage, step_name
from frostmap.pipeline.stages import STAGES
from frostmap.pipeline.work import Work


@dataclass(frozen=True)
class Event:
    """Something a user may want to see while a run goes on."""

    kind: str
    """cluster, started, progress, finished, kept."""
    step: str = ""
    title: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0


Reporter = Callable[[Event], None]


@dataclass(frozen=True)
class Step:
    """A stage in one scope, and what its result depends on."""

    stage: Stage
    scope: str
    causes: dict[str, str]
    reason: str | None
    """Why it must be made; None where its result stands."""

    @property
    def name(self) -> str:
        """The step's name, and its group in the cube."""
        return step_name(self.stage.name, self.scope)


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    work: Work
    steps: tuple[Step, ...]

    def summary(self) -> dict[str, Any]:
        """Return the plan as plain data: grid, granules, and for each step chunks, bytes, memory and the reason."""
        work = self.work
        geobox = work.geobox
        return {
            "recipe": work.recipe.name,
            "workdir": str(work.folder),
            "grid": {
                "crs": "MODIS sinusoidal" if work.tiles else _crs_name(geobox),
                "height": geobox.shape.y,
                "width": geobox.shape.x,
                "pixel_km": round(work.pixel_km, 4),
                "pixels_inside": int(work.inside.sum()),
                "tiles": list(work.tiles),
                "chunk_pixels": work.chunk_pixels,
            },
            "granules": {
                kind: {year: len(granules) for year, granules in years.items()} for kind, years in work.granules.items()
            },
            "granule_bytes": sum(
                _file_size(granule.hdf_href)
                for years in work.granules.values()
                for granules in years.values()
                for granule in granules
            ),
            "workers": _workers(work.recipe),
            "memory_per_worker_bytes": _memory(work.recipe),
            "steps": [
                {
                    "step": step.name,
                    "title": step.stage.title,
                    "run": step.reason is not None,
                    "reason": step.reason or "up to date",
                    "chunks": _chunks(work, step),
                    "bytes": _bytes(work, step),
                    "memory_bytes": step.stage.memory(work, step.scope) if step.stage.memory else 0,
                }
                for step in self.steps
            ],
        }


def plan(recipe: Recipe, folder: Path, until: str | None = None) -> Plan:
    """Return what `run` would do: reads catalogues and file dates, computes nothing.

    Raises
    ------
    UserError
        A source that the recipe names is not there, or `until` is no stage.
    DataIncomplete
        A catalogue has nothing for the region and years.
    """
    known = [stage.name for stage in STAGES]
    if until is not None and until not in known:
        raise UserError(
            "no such stage", where="--until", found=until, wanted=", ".join(known), remedy="name one of these"
        )
    work = Work(recipe, folder)
    steps: list[Step] = []
    digests: dict[str, str] = {}
    for stage in STAGES:
        for scope in stage.scopes(recipe):
            name = step_name(stage.name, scope)
            causes = _causes(work, stage, scope, digests)
            digests[name] = _digest(causes)
            record = ledger.read_record(work.ledger, name)
            reason = ledger.why(record, causes)
            if record is not None and reason is None:
                lost = [path for path in record.outputs if not (folder / path).exists()]
                reason = f"missing: {', '.join(lost)}" if lost else None
            redone = [s.name for s in steps if s.reason is not None and s.name in stage.inputs(recipe, scope)]
            if reason is None and redone:
                reason = f"made again: {', '.join(redone)}"
            steps.append(Step(stage, scope, causes, reason))
        if stage.name == until:
            break
    return Plan(work, tuple(steps))


def run(
    recipe: Recipe,
    folder: Path,
    *,
    until: str | None = None,
    client: Client | None = None,
    scheduler: str | None = None,
    report: Reporter = lambda _event: None,
) -> Plan:
    """Make everything that a recipe asks for and that is not yet made; return the plan that was followed.

    Parameters
    ----------
    recipe
        What to make.
    folder
        The work directory; made if it does not exist.
    until
        Name of the last stage to run.
    client
        A Dask client to compute with; else one of `scheduler`, else of a cluster on this machine.
    scheduler
        Address of a running Dask scheduler.
    report
        Called with each `Event`.

    Raises
    ------
    FrostmapError
        A stage could not be finished. What was made before stands, and the next run goes on from there.
    """
    followed = plan(recipe, folder, until)
    work = followed.work
    folder.mkdir(parents=True, exist_ok=True)
    todo = [step for step in followed.steps if step.reason is not None]
    for step in followed.steps:
        if step.reason is None:
            report(Event("kept", step.name, step.stage.title, "up to date"))
    if todo:
        with connected(recipe, client, scheduler, report) as connection:
            for step in todo:
                _make(work, step, connection, report)
        provenance.write(work)
    return followed


@contextmanager
def connected(
    recipe: Recipe, client: Client | None, scheduler: str | None, report: Reporter = lambda _event: None
) -> Iterator[Client]:
    """Yield the given client, or one of a running scheduler, or one of a new cluster on this machine."""
    if client is not None:
        yield client
        return
    if scheduler is not None:
        try:
            connection = Client(scheduler, timeout="20s")
        except (OSError, ValueError) as error:
            raise UserError(
                "the Dask scheduler does not answer",
                where=f"--scheduler {scheduler}",
                found=error,
                wanted="the address of a running scheduler, such as tcp://127.0.0.1:8786",
                remedy="start one with `dask scheduler` and `dask worker`, or leave --scheduler out",
            ) from error
        with connection:
            report(Event("cluster", message=connection.dashboard_link))
            yield connection
        return
    with (
        dask.config.set(_CLUSTER_SETTINGS),
        LocalCluster(
            n_workers=_workers(recipe),
            threads_per_worker=1,  # HDF4 is read by one thread a process
            memory_limit=_memory(recipe),
            host="127.0.0.1",
            dashboard_address=_free_address(recipe.cluster.dashboard),
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as connection,
    ):
        report(Event("cluster", message=connection.dashboard_link))
        yield connection


_CLUSTER_SETTINGS = {
    "distributed.worker.daemon": True,
    "distributed.admin.large-graph-warning-threshold": "100MB",
    "distributed.comm.timeouts.connect": "60s",
}


def _workers(recipe: Recipe) -> int:
    return recipe.cluster.workers or len(psutil.Process().cpu_affinity())


def _memory(recipe: Recipe) -> int:
    share = psutil.virtual_memory().total * 0.8 / _workers(recipe)
    return int(recipe.cluster.memory_gib * 2**30 if recipe.cluster.memory_gib else share)


def _free_address(wanted: str) -> str:
    host, _, port = wanted.rpartition(":")
    with socket.socket() as probe:
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return wanted


def _make(work: Work, step: Step, client: Client, report: Reporter) -> None:
    began = time.monotonic()
    stage, name = step.stage, step.name
    ledger.forget(work.ledger, name)
    products = stage.function(work, step.scope)
    writes: list[Delayed] = []
    if products.cube is not None:
        check(products.cube, stage.writes, name)
        cubes.create_group(work.store, name, stage.writes, work.geobox, products.coords, work.chunk_pixels)
        writes = cubes.write_tasks(work.store, name, products.cube, stage.writes, products.tasks)
    others = [*products.tables.values(), *products.metrics.values()]
    others += [task for task in (products.files, products.complaint) if task is not None]
    report(Event("started", name, stage.title, step.reason or "", total=len(writes) + len(others)))
    results = _compute(
        client,
        [*writes, *others],
        lambda n: report(Event("progress", name, stage.title, "", n, len(writes) + len(others))),
    )
    written, rest = results[: len(writes)], iter(results[len(writes) :])
    outputs = [f"{work.store.name}/{name}"] if products.cube is not None else []
    outputs += [_write_table(work, table, next(rest)) for table in products.tables]
    metrics = {key: next(rest) for key in products.metrics}
    if metrics:
        _merge_metrics(work, metrics)
    if products.files is not None:
        outputs += [str(Path(path).relative_to(work.folder)) for path in next(rest)]
    complaint: FrostmapError | None = next(rest) if products.complaint is not None else None
    if complaint is not None:
        raise complaint
    seconds = time.monotonic() - began
    ledger.write_record(
        work.ledger,
        ledger.Record(
            name,
            step.causes,
            round(seconds, 3),
            int(sum(written)),
            outputs,
            datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
    report(Event("finished", name, stage.title, "", len(results), len(results), seconds))


def _compute(client: Client, tasks: list[Delayed], progress: Callable[[int], None]) -> list[Any]:
    futures = client.compute(tasks)
    try:
        for done, future in enumerate(as_completed(futures), start=1):
            if future.status == "error":
                raise _explained(future.exception())
            progress(done)
        return list(client.gather(futures))
    finally:
        client.cancel([future for future in futures if not future.done()])


def _explained(error: BaseException) -> BaseException:
    if not isinstance(error, KilledWorker):
        return error
    return UserError(
        "workers died on the same task again and again, most likely for lack of memory",
        where=str(error.task),
        found=f"{error.allowed_failures + 1} workers lost",
        wanted="tasks that fit a worker's memory; `frostmap plan` shows what each stage takes",
        remedy="give workers more with cluster.memory_gib or fewer cluster.workers, or lower store.chunk_pixels",
    )


def _write_table(work: Work, name: str, table: pd.DataFrame) -> str:
    path = work.table_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    table.to_csv(draft, index=False)
    draft.replace(path)
    return str(path.relative_to(work.folder))


def _merge_metrics(work: Work, new: dict[str, Any]) -> None:
    metrics = dict(work.metrics)
    for dotted, value in new.items():
        *parents, last = dotted.split(".")
        node: Any = metrics
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    path = work.folder / "metrics.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(metrics, indent=2, sort_keys=True, default=_plain), encoding="utf-8")
    draft.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not belong into metrics.json")


def _causes(work: Work, stage: Stage, scope: str, digests: dict[str, str]) -> dict[str, str]:
    recipe = work.recipe
    causes = {
        "code": f"{stage.name} {stage.version}",
        "settings": recipe.digest("region", "simulated", *stage.sections),
    }
    if stage.depends_on_epochs:
        causes["epochs"] = recipe.digest("epochs")
    for path in stage.sources(recipe, scope):
        causes[f"file {path.name}"] = _identity(path)
    if stage.granules is not None:
        kind = stage.granules
        causes["granules"] = _digest(
            [
                (g.name, g.hdf_href or sorted(g.band_hrefs.items()), _identity_of_href(g.hdf_href))
                for g in work.granules[kind][scope]
            ]
        )
    for name in stage.inputs(recipe, scope):
        causes[f"step {name}"] = digests[name]
    return causes


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _identity(path: Path) -> str:
    """Return what tells a file's versions apart without reading it: size and time of change."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(
            "a file that the recipe names is not there",
            where=str(path),
            found=error.strerror or error,
            wanted="a readable file",
            remedy="correct the path in the recipe's sources, or its `data` folder",
        ) from error
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _identity_of_href(href: str | None) -> str:
    path = Path(href or "")
    return _identity(path) if href and "://" not in href and path.exists() else ""


def _file_size(href: str | None) -> int:
    path = Path(href or "")
    return path.stat().st_size if href and "://" not in href and path.exists() else 0


def _bytes(work: Work, step: Step) -> int:
    sizes = work.sizes(step.scope) | {"y": work.shape[0], "x": work.shape[1]}
    return sum(
        int(np.prod([sizes[dim] for dim in variable.dims], dtype=np.int64)) * np.dtype(variable.dtype).itemsize
        for variable in step.stage.writes
    )


def _crs_name(geobox: GeoBox) -> str:
    code = geobox.crs.to_epsg() if geobox.crs is not None else None
    return f"EPSG:{code}" if code else "its own"


def _chunks(work: Work, step: Step) -> int:
    sizes = work.sizes(step.scope) | {"y": work.shape[0], "x": work.shape[1]}
    return sum(
        int(
            np.prod(
                [
                    -(-sizes[dim] // n)
                    for dim, n in zip(v.dims, cubes.chunk_shape(v, sizes, work.chunk_pixels), strict=True)
                ]
            )
        )
        for v in step.stage.writes
    )
