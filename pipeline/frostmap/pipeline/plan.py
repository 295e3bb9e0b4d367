"""What a run would do: which steps stand, which must be made, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from frostmap.pipeline import ledger
from frostmap.pipeline.completeness import completeness
from frostmap.pipeline.demands import (
    memory_per_worker,
    refuse_what_does_not_fit,
    step_bytes,
    step_chunks,
    step_memory,
    workers,
)
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.stage import Stage, step_name
from frostmap.pipeline.stages import STAGES
from frostmap.pipeline.stages.covariates import grids_read
from frostmap.pipeline.work import Work

_FILES = ("granules", "step elevation_cells", "acceptance")
"""Causes that do not change what all of a step's chunks depend on."""


@dataclass(frozen=True)
class Step:
    """A stage in one scope, and what its result depends on."""

    stage: Stage
    scope: str
    causes: dict[str, str]
    reason: str | None
    """Why it must be made; None where its result stands."""
    record: ledger.Record | None = None
    """What is known of its result, where that stands."""

    @property
    def name(self) -> str:
        """The step's name, and its group in the cube."""
        return step_name(self.stage.name, self.scope)

    @property
    def cause(self) -> str:
        """Digest of what all of its chunks depend on."""
        return ledger.digest({name: cause for name, cause in self.causes.items() if name not in _FILES})


@dataclass(frozen=True)
class Plan:
    """What a run would do, or did."""

    work: Work
    steps: tuple[Step, ...]

    def refuse_what_does_not_fit(self, most: int) -> None:
        """Raise `UserError` where a step that is to be made takes more than a worker has [bytes]: names it."""
        for step in self.steps:
            if step.reason is not None:
                takes = step_memory(self.work, step.stage, step.scope)
                refuse_what_does_not_fit(self.work, step.name, step.stage, step.scope, takes, most)

    def summary(self) -> dict[str, Any]:
        """Return the plan as plain data: grid, granules, what is missing of them, and what each step takes, and why."""
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
            "completeness": completeness(work),
            "elevation_cells": work.elevation_cells.summary() if work.elevation_cells else None,
            "grids": grids_read(work, [step.name for step in self.steps]),
            "workers": workers(work.recipe),
            "memory_per_worker_bytes": memory_per_worker(work.recipe),
            "steps": [
                {
                    "step": step.name,
                    "title": step.stage.title,
                    "run": step.reason is not None,
                    "reason": step.reason or "up to date",
                    "chunks": step_chunks(work, step.stage, step.scope),
                    "bytes": step_bytes(work, step.stage, step.scope),
                    "memory_bytes": step_memory(work, step.stage, step.scope),
                }
                for step in self.steps
            ],
        }


def plan(recipe: Recipe, folder: Path, until: str | None = None) -> Plan:
    """Return what `run` would do: reads catalogues, records and the dates of files, computes nothing.

    Raises
    ------
    UserError
        A source that the recipe names is not there, or `until` is no stage.
    DataIncomplete
        A catalogue has nothing for the region and years.
    """
    return planned(Work(recipe, folder), until)


def planned(work: Work, until: str | None = None) -> Plan:
    """Return the same of a work directory that is open: what it has found in catalogues is not searched again."""
    steps: list[Step] = []
    contents: dict[str, str | None] = {}
    for stage, scope in scheduled(work.recipe, until):
        step = assess(work, stage, scope, contents)
        contents[step.name] = step.record.content if step.record else None
        steps.append(step)
    return Plan(work, tuple(steps))


def scheduled(recipe: Recipe, until: str | None = None) -> Iterator[tuple[Stage, str]]:
    """Yield the stages and scopes of a recipe in their order."""
    known = [stage.name for stage in STAGES]
    if until is not None and until not in known:
        raise UserError(
            "no such stage", where="--until", found=until, wanted=", ".join(known), remedy="name one of these"
        )
    for stage in STAGES[: known.index(until) + 1 if until else None]:
        for scope in stage.scopes(recipe):
            yield stage, scope


def assess(work: Work, stage: Stage, scope: str, contents: Mapping[str, str | None]) -> Step:
    """Return a step, and whether it must be made; `contents` are digests of what stands, None for what will be made."""
    name = step_name(stage.name, scope)
    inputs = [step for step in stage.inputs(work.recipe, scope) if step in contents]
    pending = [step for step in inputs if contents[step] is None]
    causes = _own_causes(work, stage, scope) | {f"step {step}": contents[step] or "" for step in inputs}
    record = ledger.read_record(work.ledger, name)
    if record is None:
        return Step(stage, scope, causes, _begun(work, stage, name) or "never made")
    unknown = {f"step {step}": "" for step in pending}
    reason = ledger.changed(record.causes | unknown, causes | unknown)
    if reason is None and pending:
        reason = f"made again: {', '.join(pending)}"
    reason = reason or _damage(work, stage, name, record)
    return Step(stage, scope, causes, reason, None if reason else record)


def _begun(work: Work, stage: Stage, name: str) -> str | None:
    """Say how far a step came that was not finished."""
    layout = ledger.read_layout(work.storage, name) if stage.writes else None
    if layout is None:
        return None
    done = len(work.storage.list(f"{ledger.CHUNKS}/{name}/"))
    return f"not finished: {done} of {len(layout.tasks)} tasks done"


def _damage(work: Work, stage: Stage, name: str, record: ledger.Record) -> str | None:
    """Say what of a finished step is no longer as it was written."""
    lost = ledger.lost_outputs(work.ledger, record, work.folder)
    faults = [f"{path} is {what}" for path, what in lost.items()]
    if stage.writes:
        layout, records = ledger.read_layout(work.storage, name), ledger.read_chunks(work.storage, name)
        damaged = ledger.damage(work.storage, name, records, layout=layout)
        faults += [fault for found in damaged.values() for fault in found]
        if not faults and ledger.content_of(layout, records) != record.chunks:
            faults.append("records of its chunks are missing or cut off")
    if not faults:
        return None
    return faults[0] if len(faults) == 1 else f"{faults[0]}, and {len(faults) - 1} more"


def _own_causes(work: Work, stage: Stage, scope: str) -> dict[str, str]:
    """Return what a step depends on, other steps aside."""
    recipe = work.recipe
    causes = {
        "code": f"{stage.name} {stage.version}",
        "settings": recipe.digest("region", "simulated", *stage.sections),
    }
    if stage.judged_by:
        causes["acceptance"] = recipe.digest(*stage.judged_by)
    if stage.depends_on_epochs:
        causes["epochs"] = recipe.digest("epochs")
    for path in stage.sources(recipe, scope):
        name = f"file {path.name}"
        causes[name if name not in causes else f"file {path}"] = _identity(path)
    if stage.granules is not None:
        causes["granules"] = ledger.digest([work.identity(granule) for granule in work.granules[stage.granules][scope]])
    return causes | stage.causes(work, scope)


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


def _file_size(href: str | None) -> int:
    path = Path(href or "")
    return path.stat().st_size if href and "://" not in href and path.exists() else 0


def _crs_name(geobox: GeoBox) -> str:
    code = geobox.crs.to_epsg() if geobox.crs is not None else None
    return f"EPSG:{code}" if code else "its own"
