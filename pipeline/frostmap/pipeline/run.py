"""Make what a recipe asks for: skip what stands, compute the rest, and record what was made from what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client

from frostmap.pipeline import cubes, ledger, provenance
from frostmap.pipeline.clusters import open_cluster, refuse_unshared
from frostmap.pipeline.clusters.loss import ConnectionEnded
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.locks import held
from frostmap.pipeline.plan import Plan, Step, assess, planned, scheduled
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import check
from frostmap.pipeline.stage import Noted
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.submission import AT_ONCE, compute
from frostmap.pipeline.watching.events import Event, Reporter
from frostmap.pipeline.watching.performance import reported
from frostmap.pipeline.watching.watch import Watch
from frostmap.pipeline.work import Work

CLUSTERS = 3
"""Clusters that a run makes at most, one after the other, where the connection to them ends."""

__all__ = ["Event", "Reporter", "connected", "plain", "run"]


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
        A Dask client to compute with; else one of the cluster that `scheduler` names, else the recipe.
    scheduler
        Where to compute, instead of the recipe's `cluster.where`: threads, local, or a running scheduler's address.
    report
        Called with each `Event`.

    Raises
    ------
    FrostmapError
        A stage could not be finished. What was made before stands, and the next run goes on from there.
    """
    follow = partial(_follow, recipe, folder, until=until, client=client, scheduler=scheduler, report=report)
    for _ in range(CLUSTERS - 1):
        try:
            return follow()
        except ConnectionEnded as error:
            report(Event("waiting", message=f"{error.what}: {error.found}; going on with another cluster"))
    return follow()


def _follow(
    recipe: Recipe, folder: Path, *, until: str | None, client: Client | None, scheduler: str | None, report: Reporter
) -> Plan:
    """Make it as far as one cluster lasts."""
    work = Work(recipe, folder.absolute())  # workers may have been started in other folders
    steps: list[Step] = []
    contents: dict[str, str | None] = {}
    computing: Client | None = None  # until there is something to compute
    with held(folder, work.storage) as hold, ExitStack() as stack, Watch(work, hold, report) as watch:
        for stage, scope in scheduled(recipe, until):
            step = assess(work, stage, scope, contents)
            steps.append(step)
            if step.record is not None:
                watch(Event("kept", step.name, stage.title, "up to date"))
                contents[step.name] = step.record.content
                continue
            if computing is None:
                ahead = planned(work, until)
                computing = stack.enter_context(connected(recipe, client, scheduler, watch))
                if computing is not client:
                    refuse_unshared(computing, folder)
                    _refuse_what_does_not_fit(ahead, computing)
                watch.follow(computing, ahead)
            contents[step.name] = _make(work, step, computing, watch).content
        _write_metrics(work, {})
        if any(step.record is None for step in steps):
            provenance.write(work)
    return Plan(work, tuple(steps))


def _refuse_what_does_not_fit(plan: Plan, client: Client) -> None:
    """Raise `UserError` if a step that is to be made takes more memory than the smallest worker has for a task."""
    found = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] // worker["nthreads"] for worker in found if worker["memory_limit"]]
    if limits:
        plan.refuse_what_does_not_fit(min(limits))


@contextmanager
def connected(
    recipe: Recipe, client: Client | None, scheduler: str | None, report: Reporter = lambda _event: None
) -> Iterator[Client]:
    """Yield the given client, or one of the cluster that `scheduler`, else the recipe names, as `open_cluster` does."""
    if client is not None:
        yield client
        return
    with open_cluster(recipe, scheduler, lambda words: report(Event("waiting", message=words))) as opened:
        if opened.dashboard:
            report(Event("cluster", message=opened.dashboard))
        yield opened.client


# ---- a step -------------------------------------------------------------------------------------------------------


def _make(work: Work, step: Step, client: Client, watch: Watch) -> ledger.Record:
    """Make a step, as far as it does not stand; its record is written last."""
    began = time.monotonic()
    stage, name = step.stage, step.name
    ledger.forget(work.ledger, name)
    products = stage.function(work, step.scope)
    writes: list[cubes.Write] = []
    if products.cube is not None:
        check(products.cube, stage.writes, name)
        writes = cubes.write_tasks(
            work.storage, name, products.cube, stage.writes, products.tasks, pixels=work.chunk_pixels, cause=step.cause
        )
        cubes.prepare_group(
            work.storage,
            name,
            stage.writes,
            work.geobox,
            products.coords,
            work.chunk_pixels,
            cause=step.cause,
            tasks=[write.task for write in writes],
        )
    chunks = _standing(work, step, writes)
    todo = [write.delayed for write in writes if write.task not in chunks]
    others = [*products.tables.values(), *products.metrics.values()]
    others += [task for task in (products.files, products.complaint) if task is not None]
    total = len(writes) + len(others)
    watch(Event("started", name, stage.title, step.reason or "", done=len(chunks), total=total))
    settings = work.recipe.cluster
    with reported(client, work.folder, name) if settings.performance_reports else nullcontext():
        results = compute(
            client,
            [*todo, *others],
            lambda n: watch(Event("progress", name, stage.title, "", len(chunks) + n, total)),
            lambda result: watch.wrote(result.stored_bytes) if isinstance(result, ledger.ChunkRecord) else None,
            at_once=None if products.tasks is None else AT_ONCE,  # else blocks are shared, and would be made again
            stuck_after_s=settings.stuck_seconds,
            deserted_after_s=settings.start_seconds,
        )
    written: list[ledger.ChunkRecord] = results[: len(todo)]
    rest = iter(results[len(todo) :])
    chunks |= {record.task: record for record in written}

    tables: dict[str, pd.DataFrame] = {key: next(rest) for key in products.tables}
    metrics = {key: next(rest) for key in products.metrics}
    files: list[Path] = next(rest) if products.files is not None else []
    complaint: FrostmapError | None = next(rest) if products.complaint is not None else None
    if products.noted is not None:
        noted: Noted = products.noted([chunks[task].notes for task in sorted(chunks)])
        tables, complaint = tables | dict(noted.tables), complaint or noted.complaint
    outputs = [_write_table(work, key, table) for key, table in tables.items()]
    outputs += [str(Path(path).relative_to(work.folder)) for path in files]
    _write_metrics(work, metrics)
    if complaint is not None:
        raise complaint
    digest = ""
    if writes:
        layout = ledger.read_layout(work.storage, name)
        _remove_strays(work, name, chunks, [write.task for write in writes], layout)
        digest = ledger.content_of(layout, chunks)
    files_written = ledger.of_files(work.folder, outputs)
    content = ledger.digest([digest, sorted((key, value[1]) for key, value in files_written.items()), plain(metrics)])
    seconds = time.monotonic() - began
    record = ledger.Record(
        name,
        step.causes,
        round(seconds, 3),
        sum(record.bytes_written for record in written),
        files_written,
        plain(metrics),
        digest,
        content,
        ledger.now(),
    )
    ledger.write_record(work.ledger, record)
    watch.wrote(sum(size for size, _ in files_written.values()))
    watch(Event("finished", name, stage.title, "", total, total, seconds))
    return record


def _standing(work: Work, step: Step, writes: list[cubes.Write]) -> dict[str, ledger.ChunkRecord]:
    """Return the records of tasks whose chunks stand: the same causes, nothing failed, nothing damaged."""
    if not writes:
        return {}
    records = ledger.read_chunks(work.storage, step.name)
    tolerated = step.stage.tolerates(work.recipe)
    damaged = ledger.damage(work.storage, step.name, records)
    return {
        write.task: records[write.task]
        for write in writes
        if write.task in records
        and write.task not in damaged
        and records[write.task].causes == write.causes
        and (tolerated or not records[write.task].failed)
    }


def _remove_strays(
    work: Work, group: str, chunks: dict[str, ledger.ChunkRecord], tasks: list[str], layout: ledger.Layout | None
) -> None:
    """Remove what no task of now has made: chunks and records of tasks that are no more, halves of interrupted ones."""
    known = {f"{CUBE}/{key}" for record in chunks.values() for key in record.objects}
    known |= {f"{CUBE}/{key}" for key in (layout.metadata if layout else ())}
    work.storage.delete(set(work.storage.list(f"{CUBE}/{group}/")) - known)
    recorded = {ledger.chunk_key(group, task) for task in tasks}
    work.storage.delete(set(work.storage.list(f"{ledger.CHUNKS}/{group}/")) - recorded)


# ---- tables and numbers -------------------------------------------------------------------------------------------


def _write_table(work: Work, name: str, table: pd.DataFrame) -> str:
    path = work.table_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    table.to_csv(draft, index=False)
    draft.replace(path)
    return str(path.relative_to(work.folder))


def _write_metrics(work: Work, new: dict[str, Any]) -> None:
    """Write metrics.json: what all records hold, and what a step has just found."""
    metrics: dict[str, Any] = {}
    for found in [*(record.metrics for record in ledger.read_all(work.ledger)), plain(new)]:
        for dotted, value in found.items():
            *parents, last = dotted.split(".")
            node: Any = metrics
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
    path = work.folder / "metrics.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(metrics, indent=2, sort_keys=True), encoding="utf-8")
    draft.replace(path)


def plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics without NumPy's types."""
    whole: dict[str, Any] = json.loads(json.dumps(metrics, default=_plain))
    return whole


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not belong into metrics.json")
