"""`frostmap view`: a run to look at in a browser, pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import UserError


def view_run(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0 is any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Look at a run in a browser: click a pixel for its year, its sums, E and probability. On this machine alone."""
    with Session() as session:
        import asyncio
        import webbrowser

        from frostmap.pipeline.commands.work_directory import open_work
        from frostmap.pipeline.explorer.server import address, listening, serve

        work = open_work(workdir)
        try:
            sockets = listening(port)
        except OSError as error:
            raise UserError(
                "the port cannot be used",
                where=f"--port {port}",
                found=error.strerror or str(error),
                wanted="a port that nobody listens on",
                remedy="name another, or leave --port out",
            ) from error
        where = address(sockets)

        def ready() -> None:
            session.say(f"look at {where} and stop with Ctrl-C")
            if browser and session.console.is_terminal:
                webbrowser.open(where)

        try:
            asyncio.run(serve(work, sockets, ready))
        except KeyboardInterrupt:
            session.say("")
