"""`frostmap figures`: the figures and tables of the paper, from a run's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Column, Table

from frostmap.pipeline.console import Session


def draw_figures(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="1 to 13, B1, B2, table-1 to table-3. Default: all.")
    ] = None,
    workdir: Annotated[
        Path, typer.Option(metavar="DIR", help="The work directory of a run. Default: this folder.")
    ] = Path(),
    how: Annotated[Literal["pdf", "png", "svg"], typer.Option("--format", help="Of figures; png has 300 dpi.")] = "pdf",
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where they go. Default: figures/paper in the work directory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Draw figures and tables of the paper by their names, from a run's own data."""
    with Session(as_json) as session:
        from frostmap.pipeline.commands.work_directory import open_work
        from frostmap.pipeline.figures.paper import EVERYTHING, POINTS, lacking, make, named
        from frostmap.pipeline.map_sheets import map_sheet

        wanted = named(name) if name is not None else None
        work = open_work(workdir)
        folder = out or work.folder / "figures" / "paper"
        if wanted is not None:
            paths = make(wanted, work, folder, how)
            if paths is None:
                raise lacking(wanted, work)
            session.emit({"event": "done", "files": [str(path) for path in paths]})
            for path in paths:
                session.say(f"wrote {path}")
            return
        table = Table(Column("name", no_wrap=True), "what", "made, or what it needs", box=None, padding=(0, 2, 0, 0))
        sheet = map_sheet(work, POINTS)
        for each in EVERYTHING:
            made = make(each, work, folder, how, sheet)
            missing = lacking(each, work)
            session.emit({"name": each.name, "title": each.title, "files": [str(path) for path in made or ()]})
            words = ", ".join(path.name for path in made) if made else f"needs {each.needs}: {missing.remedy}"
            table.add_row(each.name, each.title, words, style=None if made else "dim")
        session.say(table)
        session.say(f"in {folder}")
