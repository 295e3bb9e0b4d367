"""`frostmap archive`: a run as one file that is ready to be uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from frostmap.pipeline.commands.work_directory import open_work
from frostmap.pipeline.console import Session


def archive_run(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run.")],
    licence: Annotated[
        str, typer.Option(metavar="NAME", help="CC-BY-4.0, CC-BY-SA-4.0, CC0-1.0, ODbL-1.0, or a text file.")
    ],
    author: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Of the maps; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the recipe's name, then .zip, in the work directory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Pack a run's exported maps, tables, report, recipe, provenance and citations, with checksums, to be uploaded."""
    with Session(as_json) as session:
        from frostmap.pipeline.products.archive import archive

        work = open_work(workdir)
        path = out or workdir / f"{work.recipe.name}.zip"
        archived = archive(work, workdir / "products", path, licence, author or ())
        session.emit({
            "archive": str(archived.path.resolve()),
            "members": archived.members,
            "bytes": archived.bytes,
            "sha256": archived.sha256,
        })  # fmt: skip
        session.say(f"wrote    {archived.path}: {archived.members} files, {decimal(archived.bytes)}")
        session.say(f"SHA-256  {archived.sha256}")
