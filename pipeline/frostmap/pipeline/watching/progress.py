"""How far each tile has come in each step, and how much of a run is left, from what stands in its work directory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from frostmap.pipeline import ledger
from frostmap.pipeline.plan import scheduled
from frostmap.pipeline.stage import Stage, step_name
from frostmap.pipeline.watching.forecast import Left, ToDo, left, paces
from frostmap.pipeline.watching.history import Run
from frostmap.pipeline.work import Work

_TILE = re.compile(r"h\d\dv\d\d(?=-|$)")
_PLACE = re.compile(r"y?(\d{5})-x?(\d{5})$")
"""Row and column of a block's first pixel, at the end of its task's name."""


class Progress(NamedTuple):
    """How far a tile has come in a step."""

    step: str
    tile: str
    """Empty where a map has no tiles, or a task makes all of it."""
    done: int
    tasks: int
    failed_granules: int


def by_tile(work: Work) -> list[Progress]:
    """Return how far each tile has come in each step that writes to the cube and has begun, by year or epoch."""
    tile_of = _tiles_of(work)
    return [
        progress
        for stage, scope in scheduled(work.recipe)
        if stage.writes
        for progress in _of_step(work, stage, step_name(stage.name, scope), tile_of)
    ]


def todo(steps: Iterable[str], found: Sequence[Progress]) -> dict[str, ToDo]:
    """Return how much is left of steps that do not stand."""
    of_step: dict[str, list[Progress]] = {}
    for progress in found:
        of_step.setdefault(progress.step, []).append(progress)
    return {
        step: ToDo(sum(each.done for each in of_step[step]), sum(each.tasks for each in of_step[step]))
        if step in of_step
        else ToDo()
        for step in steps
    }


def time_left(rest: dict[str, ToDo], runs: Sequence[Run]) -> Left:
    """Return how long the rest will take on as many threads as the last run had that computed, as far as is known."""
    attempts = [attempt for run in runs for attempt in run.attempts]
    return left(rest, paces(attempts), attempts[-1].threads if attempts else 1)


def _of_step(work: Work, stage: Stage, name: str, tile_of: Callable[[str], str]) -> list[Progress]:
    layout = ledger.read_layout(work.storage, name)
    if layout is None:
        return []
    failed: Counter[str] = Counter()
    if stage.granules is not None:
        records = ledger.read_chunks(work.storage, name)
        standing = list(records)
        for task, record in records.items():
            failed[tile_of(task)] += record.failed
    elif ledger.read_record(work.ledger, name) is not None:
        standing = layout.tasks
    else:
        folder = f"{ledger.CHUNKS}/{name}/"
        known = set(layout.tasks)
        keys = work.storage.list(folder)
        standing = [task for key in keys if (task := key.removeprefix(folder).removesuffix(".json")) in known]
    tasks, done = Counter(map(tile_of, layout.tasks)), Counter(map(tile_of, standing))
    return [Progress(name, tile, done[tile], tasks[tile], failed[tile]) for tile in sorted(tasks)]


def _tiles_of(work: Work) -> Callable[[str], str]:
    """Return what tells a task's tile: by its name, or by the place of its block's first pixel."""
    windows = [(tile, *work.tile_window(tile)) for tile in work.tiles]

    def tile_of(task: str) -> str:
        if named := _TILE.match(task):
            return named[0]
        if place := _PLACE.search(task):
            y, x = int(place[1]), int(place[2])
            for tile, rows, cols in windows:
                if rows.start <= y < rows.stop and cols.start <= x < cols.stop:
                    return tile
        return ""

    return tile_of
