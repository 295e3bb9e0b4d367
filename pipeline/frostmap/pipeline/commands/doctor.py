"""`frostmap doctor`: whether all is here that a run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import UserError

_SHOWN = {"good": "green", "doubtful": "yellow", "bad": "red"}


def show_examination(
    recipe_file: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="Whose needs to check. Default: the machine alone.")
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Work directory. Default: the recipe's name, then -work.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="WHERE", help="Where to compute, as with run. Default: the recipe's.")
    ] = None,
    network: Annotated[
        bool, typer.Option("--network", help="Ask the hosts that the recipe names, and no others.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Check this machine and what a recipe needs: software, HDF4, disk, memory, accounts, hosts, cluster."""
    with Session(as_json) as session:
        from frostmap.pipeline.doctor import examine
        from frostmap.pipeline.recipe import load_recipe

        recipe = load_recipe(recipe_file) if recipe_file else None
        folder = workdir or Path(f"{recipe.name}-work" if recipe else ".")
        found = []
        table = Table(Column("check", no_wrap=True), Column("state"), "found", box=None, padding=(0, 2, 0, 0))
        for finding in examine(recipe, folder, where=cluster, ask_hosts=network):
            found.append(finding)
            session.emit(finding._asdict())
            words = finding.found + (f"\n→ {finding.remedy}" if finding.remedy else "")
            table.add_row(finding.check, finding.state, words, style=None)
        session.say(table)
        faults = [finding.check for finding in found if finding.state == "bad"]
        if faults:
            raise UserError(
                "a run would fail here" if recipe else "this machine is not fit for a run",
                where=str(recipe_file or "this machine"),
                found=", ".join(faults),
                remedy="do what is said beside them, and ask again",
            )
        doubts = sum(finding.state == "doubtful" for finding in found)
        session.say(f"fit for a run; {doubts} doubtful" if doubts else "fit for a run")
