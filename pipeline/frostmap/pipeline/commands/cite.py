"""`frostmap cite`: who is to be cited for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from frostmap.pipeline.commands.work_directory import open_work
from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import UserError


def cite_sources(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run.")],
    form: Annotated[
        Literal["text", "bibtex"], typer.Option("--format", help="A list to read, or a BibTeX file.")
    ] = "text",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: the terminal.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """List the software, the method and every data set that a run is made of, to be cited."""
    with Session(as_json) as session:
        from frostmap.pipeline.products.citations import citations

        found = citations(open_work(workdir))
        text = found.as_bibtex() if form == "bibtex" else found.as_text()
        session.emit({
            "cited": [
                {"role": role, "use": use, "key": key} | reference.model_dump(exclude_defaults=True)
                for role, use, key, reference in found.cited
            ],
            "unknown": found.unknown,
            "simulated": found.simulated,
        })  # fmt: skip
        if out is None:
            session.say(text.rstrip("\n"))
            return
        if not out.parent.is_dir():
            raise UserError("no such folder", where=f"--out {out}", wanted="a folder that exists")
        out.write_text(text, encoding="utf-8")
        session.say(f"wrote {out}")
