"""`frostmap compare-paper`: the paper's numbers beside what follows from them, and beside a run's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from frostmap.pipeline.commands.work_directory import open_work
from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import UserError

if TYPE_CHECKING:
    from frostmap.pipeline.products.paper import Compared


def compare_with_paper(
    workdir: Annotated[
        Path | None, typer.Argument(metavar="[WORKDIR]", help="The work directory of a run. Default: the paper alone.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A CSV file of the numbers, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Print every number of the paper's tables and text beside what follows from its own, and beside a run's."""
    with Session(as_json) as session:
        from frostmap.pipeline.products.paper import as_table, compare, counterparts, paper

        work = None if workdir is None else open_work(workdir)
        others = {} if work is None else counterparts(work.recipe)
        compared = compare(None if work is None else work.metrics, others)
        if out is not None:
            if not out.parent.is_dir():
                raise UserError("no such folder", where=f"--out {out}", wanted="a folder that exists")
            as_table(compared).to_csv(out, index=False, float_format="%.6g")
        session.emit({
            "doi": paper().doi,
            "maps": others,
            "figures": [
                each.figure.model_dump(include={"where", "what", "units", "printed"})
                | {"recomputed": each.recomputed, "follows": each.follows, "run": each.own}
                for each in compared
            ],
            "slips": [slip.model_dump() for slip in paper().slips],
        })  # fmt: skip
        table = Table("where", "what", "unit", box=box.SIMPLE)
        for heading in ("printed", "from its own numbers", *(["this run"] if workdir else [])):
            table.add_column(heading, justify="right")
        for each in compared:
            cells = [each.figure.printed, _recomputed(each), *([_number(each, each.own)] if workdir else [])]
            units = "" if each.figure.units == "1" else each.figure.units
            table.add_row(each.figure.where, each.figure.what, units, *cells)
        session.say(table)
        for name, scope in others.items():
            session.say(f"beside the paper's {name.upper()} map: the run's reference map {scope}")
        slips = Table("where", "said", "but", box=box.SIMPLE, title="where the paper slips", title_justify="left")
        for slip in paper().slips:
            slips.add_row(slip.where, slip.said, slip.found)
        session.say(slips)
        if out is not None:
            session.say(f"wrote {out}")


def _recomputed(each: Compared) -> str:
    """Return what follows from the paper's own numbers, marked where that is not what it prints."""
    return _number(each, each.recomputed) + (" (!)" if each.follows is False else "")


def _number(each: Compared, value: float | None) -> str:
    """Return a number with a digit more than is printed."""
    decimals = len(each.figure.printed.partition(".")[2])
    return "" if value is None else f"{value:.{decimals + 1 if decimals else 0}f}"
