"""Looking after what was made: reading it again, and trying again what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distributed import Client

from frostmap.pipeline import cubes, ledger
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.granule_inputs import Note
from frostmap.pipeline.locks import held
from frostmap.pipeline.plan import assess, scheduled
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.run import Event, Reporter, connected
from frostmap.pipeline.stage import Stage, step_name
from frostmap.pipeline.submission import compute
from frostmap.pipeline.work import Work


class Fault(NamedTuple):
    """Something that is not as it was written."""

    step: str
    task: str
    """The task that wrote it; empty for files and metadata."""
    what: str


@dataclass(frozen=True)
class Verified:
    """What a verification found."""

    objects: int
    """Stored chunks and files that were read."""
    bytes: int
    faults: list[Fault]


@dataclass(frozen=True)
class Retried:
    """What became of granules that had failed."""

    tried: int
    failed: list[Note]
    """Those that failed again."""


def verify(work: Work, report: Reporter = lambda _event: None) -> Verified:
    """Read all that was written and compare it with the ledger; what is damaged loses its record.

    The next run makes what lost its record again, and nothing else.
    """
    faults: list[Fault] = []
    objects = size = 0
    with held(work.folder, work.storage):
        for stage, scope in scheduled(work.recipe):
            name = step_name(stage.name, scope)
            report(Event("started", name, stage.title))
            found = _faults_of_files(work, name)
            record = ledger.read_record(work.ledger, name)
            read = dict(record.outputs) if record else {}
            if stage.writes and ledger.read_layout(work.storage, name) is not None:
                chunks = ledger.read_chunks(work.storage, name)
                damaged = ledger.damage(work.storage, name, chunks, by_content=True)
                work.storage.delete(ledger.chunk_key(name, task) for task in damaged if task)
                found += [Fault(name, task, what) for task, faults_of in damaged.items() for what in faults_of]
                for chunk in chunks.values():
                    read |= chunk.objects
            if found:
                ledger.forget(work.ledger, name)
            objects, size = objects + len(read), size + sum(length for length, _ in read.values())
            faults += found
            report(Event("finished", name, stage.title, done=1, total=1))
    return Verified(objects, size, faults)


def _faults_of_files(work: Work, name: str) -> list[Fault]:
    record = ledger.read_record(work.ledger, name)
    if record is None:
        return []
    lost = ledger.lost_outputs(work.ledger, record, work.folder, by_content=True)
    return [Fault(name, "", f"{path} is {what}") for path, what in lost.items()]


def retry(
    recipe: Recipe,
    folder: Path,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    report: Reporter = lambda _event: None,
) -> Retried:
    """Try granules again that could not be had or read, and those alone."""
    work = Work(recipe, folder)
    tried, failed = 0, list[Note]()
    with held(folder, work.storage):
        waiting = [
            (stage, scope, tasks) for stage, scope in scheduled(recipe) if (tasks := _failed(work, stage, scope))
        ]
        if not waiting:
            return Retried(0, [])
        with connected(recipe, client, scheduler, report) as connection:
            for stage, scope, tasks in waiting:
                tried += sum(len(_bad(record)) for record in tasks.values())
                records = _again(work, stage, scope, set(tasks), connection, report)
                failed += [note for record in records for note in _bad(record)]
    return Retried(tried, failed)


def _failed(work: Work, stage: Stage, scope: str) -> dict[str, ledger.ChunkRecord]:
    if stage.granules is None:
        return {}
    records = ledger.read_chunks(work.storage, step_name(stage.name, scope))
    return {task: record for task, record in records.items() if record.failed}


def _bad(record: ledger.ChunkRecord) -> list[Note]:
    return [note for note in record.notes if note["status"] == "bad"]


def _again(
    work: Work, stage: Stage, scope: str, tasks: set[str], client: Client, report: Reporter
) -> list[ledger.ChunkRecord]:
    step = assess(work, stage, scope, {})
    layout = ledger.read_layout(work.storage, step.name)
    if layout is None or layout.cause != step.cause:
        raise UserError(
            "the recipe was changed since these granules were tried",
            where=step.name,
            remedy="run the whole again with `frostmap run`: it tries them too",
        )
    products = stage.function(work, scope)
    if products.cube is None:
        return []
    writes = cubes.write_tasks(
        work.storage,
        step.name,
        products.cube,
        stage.writes,
        products.tasks,
        pixels=work.chunk_pixels,
        cause=step.cause,
    )
    todo = [write.delayed for write in writes if write.task in tasks]
    ledger.forget(work.ledger, step.name)
    report(Event("started", step.name, stage.title, "failed before", total=len(todo)))
    records: list[ledger.ChunkRecord] = compute(
        client, todo, lambda n: report(Event("progress", step.name, stage.title, "", n, len(todo)))
    )
    report(Event("finished", step.name, stage.title, "", len(todo), len(todo)))
    return records


def listed(faults: Sequence[Fault], most: int = 5) -> str:
    """Return faults for a message, the first few of them."""
    shown = "; ".join(f"{fault.step}: {fault.what}" for fault in faults[:most])
    return f"{shown}; and {len(faults) - most} more" if len(faults) > most else shown
