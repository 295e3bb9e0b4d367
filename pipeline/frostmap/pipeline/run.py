"""Make what a recipe asks for: skip what stands, compute the rest, and record what was made from what."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dask.delayed import Delayed
from distributed import Client, KilledWorker, as_completed, wait

from frostmap.pipeline import cubes, ledger, provenance
from frostmap.pipeline.clusters import open_cluster, refuse_unshared
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.locks import held
from frostmap.pipeline.plan import Plan, Step, assess, scheduled
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import check
from frostmap.pipeline.stage import Noted
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.work import Work


@dataclass(frozen=True)
class Event:
    """Something a user may want to see while a run goes on."""

    kind: str
    """waiting, cluster, started, progress, finished, kept."""
    step: str = ""
    title: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0


Reporter = Callable[[Event], None]


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
    work = Work(recipe, folder)
    steps: list[Step] = []
    contents: dict[str, str | None] = {}
    with held(folder, work.storage), ExitStack() as stack:
        for stage, scope in scheduled(recipe, until):
            step = assess(work, stage, scope, contents)
            steps.append(step)
            if step.record is not None:
                report(Event("kept", step.name, stage.title, "up to date"))
                contents[step.name] = step.record.content
                continue
            if client is None:
                client = stack.enter_context(connected(recipe, None, scheduler, report))
                refuse_unshared(client, folder)
            contents[step.name] = _make(work, step, client, report).content
        _write_metrics(work, {})
        if any(step.record is None for step in steps):
            provenance.write(work)
    return Plan(work, tuple(steps))


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


def _make(work: Work, step: Step, client: Client, report: Reporter) -> ledger.Record:
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
    report(Event("started", name, stage.title, step.reason or "", done=len(chunks), total=total))
    results = compute(
        client,
        [*todo, *others],
        lambda n: report(Event("progress", name, stage.title, "", len(chunks) + n, total)),
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
    report(Event("finished", name, stage.title, "", total, total, seconds))
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


def compute(
    client: Client,
    tasks: list[Delayed],
    progress: Callable[[int], None],
    keep: Callable[[Any], None] = lambda _result: None,
) -> list[Any]:
    """Return the results of tasks, in order; `progress` is told how many are done, `keep` is given each at once.

    Raises
    ------
    FrostmapError
        What a task raised; the others are given up.
    """
    futures = client.compute(tasks)
    results: dict[str, Any] = {}
    done = 0
    try:
        for batch in as_completed(futures).batches():
            for future in batch:
                if future.status == "error":
                    _settle(client, futures)
                    raise _explained(future.exception())
            fetched = {future.key: future for future in batch if future.key not in results}
            results |= client.gather(fetched)
            for key in fetched:
                keep(results[key])
            for future in fetched.values():
                future.release()  # it is here: were its worker lost, the scheduler would have it made again
            done += len(batch)
            progress(done)
        return [results[future.key] for future in futures]
    finally:
        client.cancel([future for future in futures if not future.done()])


def _settle(client: Client, futures: list[Any]) -> None:
    """Give up what has not begun and wait for what has: nothing may write once the work directory is let go of."""
    begun = {key for keys in client.processing().values() for key in keys}
    client.cancel([future for future in futures if not future.done() and future.key not in begun])
    wait([future for future in futures if future.key in begun])


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, ValueError) and "checksum" in str(error):  # of zarr's CRC32C codec
        return DataIncomplete(
            "a chunk of the cube is damaged",
            found=error,
            wanted="chunks as they were written",
            remedy="find it with `frostmap verify WORKDIR`, then run again: only what is damaged is made again",
        )
    if not isinstance(error, KilledWorker):
        return error
    return UserError(
        "workers died on the same task again and again, most likely for lack of memory",
        where=str(error.task),
        found=f"{error.allowed_failures + 1} workers lost",
        wanted="tasks that fit a worker's memory; `frostmap plan` shows what each stage takes",
        remedy="give workers more with cluster.memory_gib or fewer cluster.workers, or lower store.chunk_pixels",
    )


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
