"""`frostmap status`: what a work directory holds, how far each tile has come, what was spent, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.filesize import decimal
from rich.table import Column, Table

from frostmap.pipeline.commands.work_directory import RECIPE_COPY, open_work, step_names
from frostmap.pipeline.console import Session, clock, words_of_cost, words_of_left

if TYPE_CHECKING:  # --help must not wait for numerical libraries
    from frostmap.pipeline.ledger import Record
    from frostmap.pipeline.watching.costs import Cost
    from frostmap.pipeline.watching.progress import Progress
    from frostmap.pipeline.work import Work


def show_status(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Show what a work directory holds: what stands, what is missing, what it cost, how long the rest will take."""
    with Session(as_json) as session:
        from frostmap.pipeline.locks import holder_of, is_held
        from frostmap.pipeline.watching.costs import total
        from frostmap.pipeline.watching.history import by_step, runs
        from frostmap.pipeline.watching.progress import by_tile, time_left, todo

        work = open_work(workdir)
        history, tiles = runs(work.folder), by_tile(work)
        costs = by_step(history)
        steps = [_state(work, name, title, costs.get(name)) for name, title in step_names(work.recipe).items()]
        missing = [step["step"] for step in steps if step["state"] != "stands"]
        rest, spent = time_left(todo(missing, tiles), history), total(run.cost for run in history)
        holder = holder_of(workdir) if is_held(workdir) else None
        session.emit(
            {
                "workdir": str(workdir),
                "recipe": work.recipe.name,
                "complete": not missing,
                "going_on": asdict(holder) if holder else None,
                "left": rest.summary(),
                "runs": len(history),
                "cost": spent.summary(),
                "steps": steps,
                "tiles": [progress._asdict() for progress in tiles],
            }
        )
        session.say(_table(steps))
        _show_tiles(session, tiles, missing)
        if holder:
            where = f"; dashboard {holder.dashboard}" if holder.dashboard else ""
            session.say(f"going on {holder.run}, {holder.words}{where}")
        if history:
            session.say(f"spent    {words_of_cost(spent)}; in {len(history)} run{'s' if len(history) > 1 else ''}")
        if not missing:
            session.say(
                f"all {len(steps)} steps stand; whether they are up to date: frostmap plan {workdir / RECIPE_COPY}"
            )
            return
        if history:
            session.say(f"left     {words_of_left(rest)}")
        session.say(f"{len(missing)} of {len(steps)} steps are missing: frostmap run {workdir / RECIPE_COPY}")


def _table(steps: Sequence[dict[str, Any]]) -> Table:
    table = Table(Column("step", no_wrap=True), "what", "state", "made (UTC)", box=box.SIMPLE)
    for heading in ("took", "bytes"):
        table.add_column(heading, justify="right")
    for step in steps:
        made = str(step["finished"] or "").replace("T", " ").removesuffix("+00:00")
        took = clock(step["seconds"]) if step["finished"] else ""
        size = decimal(step["bytes"]) if step["bytes"] else ""
        table.add_row(step["step"], step["title"], step["state"], made, took, size)
    return table


def _show_tiles(session: Session, tiles: Sequence[Progress], missing: Sequence[str]) -> None:
    """Show how far each tile has come, in per cent of its tasks: where granules are read, and what is not finished."""
    from frostmap.pipeline.stages import STAGES

    of_granules = {stage.name for stage in STAGES if stage.granules}
    steps = dict.fromkeys(progress.step for progress in tiles)
    shown = [step for step in steps if step in missing or step.partition("/")[0] in of_granules]
    if not shown:
        return
    names = sorted({progress.tile for progress in tiles if progress.step in shown})
    columns = (Column(name or "whole", justify="right") for name in names)
    table = Table(Column("on its way", no_wrap=True), *columns, box=box.SIMPLE)
    for step in shown:
        cells = {}
        for progress in tiles:
            if progress.step == step:
                failed = f", {progress.failed_granules} granules failed" if progress.failed_granules else ""
                cells[progress.tile] = f"{100 * progress.done // progress.tasks} %{failed}"
        table.add_row(step, *(cells.get(name, "") for name in names))
    session.say(table)


def _state(work: Work, name: str, title: str, cost: Cost | None) -> dict[str, Any]:
    from frostmap.pipeline.ledger import read_record
    from frostmap.pipeline.storage import CUBE

    record: Record | None = read_record(work.ledger, name)
    state = "missing"
    if record is not None:
        lost = [path for path in record.outputs if not (work.folder / path).exists()]
        state = f"lost: {', '.join(lost)}" if lost else "stands"
    cube = [f"{CUBE}/{name}"] if record and record.chunks else []
    return {
        "step": name,
        "title": title,
        "state": state,
        "finished": record.finished if record else None,
        "seconds": record.seconds if record else 0.0,
        "bytes": record.bytes_written if record else 0,
        "cost": cost.summary() if cost else None,
        "outputs": cube + list(record.outputs if record else []),
    }
