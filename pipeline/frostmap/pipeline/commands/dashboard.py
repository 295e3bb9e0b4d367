"""`frostmap dashboard`: where a run can be watched while it computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from frostmap.pipeline.commands.work_directory import RECIPE_COPY, open_work
from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import UserError

if TYPE_CHECKING:  # --help must not wait for numerical libraries
    from frostmap.pipeline.recipe import Recipe


def show_dashboard(
    where: Annotated[
        Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run; with --cluster a recipe will do.")
    ],
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE", help="kubernetes: forward the dashboard of the recipe's applied manifest until Ctrl-C."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Tell where the run that is going on in a work directory can be watched, or open that in a browser."""
    with Session(as_json) as session:
        if cluster not in (None, "kubernetes"):
            raise UserError(
                "no dashboard is forwarded from there",
                where=f"--cluster {cluster}",
                wanted="kubernetes; other clusters show theirs themselves",
                remedy="leave it out, and name the work directory of the run",
            )
        if cluster is None:
            _show(session, *_going_on(where), open_it)
        else:
            _forward(session, _recipe(where), open_it)


def _show(session: Session, link: str, run: str, open_it: bool) -> None:
    session.emit({"dashboard": link, "run": run})
    session.say(link)
    if open_it:
        import webbrowser

        webbrowser.open(link)


def _going_on(folder: Path) -> tuple[str, str]:
    """Return the dashboard's link and the name of the run that is going on in a work directory.

    Raises
    ------
    UserError
        None is going on, it is on another host, or it has no dashboard: says which, and what to do.
    """
    import socket
    from urllib.parse import urlsplit

    from frostmap.pipeline.locks import holder_of, is_held

    open_work(folder)
    holder = holder_of(folder)
    if holder is None:
        _refuse(folder, _how_the_last_ended(folder))
    if holder.host != socket.gethostname():
        port = urlsplit(holder.dashboard).port
        forwarded = f"forward its port, ssh -L {port}:127.0.0.1:{port} {holder.host}, and open {holder.dashboard} here"
        raise UserError(
            "the run is on another host",
            where=str(folder),
            found=holder.words,
            wanted=f"this host, {socket.gethostname()}: dashboards listen to their own machine alone",
            remedy=forwarded if port else f"ask again on {holder.host}",
        )
    if not is_held(folder):
        _refuse(folder, f"run {holder.run} was killed: {holder.words}")
    if not holder.dashboard:
        raise UserError(
            "the run has no dashboard yet",
            where=str(folder),
            found=f"run {holder.run}, {holder.words}",
            remedy="ask again in a moment: there is one as soon as the first step is computed",
        )
    return holder.dashboard, holder.run


def _refuse(folder: Path, found: str) -> NoReturn:
    raise UserError(
        "no run is going on in this directory",
        where=str(folder),
        found=found,
        remedy=f"go on with: frostmap run {folder / RECIPE_COPY}; what stands: frostmap status {folder}",
    )


def _how_the_last_ended(folder: Path) -> str:
    from frostmap.pipeline.watching.history import runs

    found = runs(folder)
    if not found:
        return "no run yet"
    last = found[-1]
    return f"run {last.name} {last.ending or 'was killed'}, {last.last_told}"


# ---- a cluster that was applied by manifests -----------------------------------------------------------------------


def _recipe(where: Path) -> Recipe:
    from frostmap.pipeline.recipe import load_recipe

    return open_work(where).recipe if where.is_dir() else load_recipe(where)


def _forward(session: Session, recipe: Recipe, open_it: bool) -> None:
    """Forward the dashboard of an applied cluster to this machine until Ctrl-C."""
    from frostmap.pipeline.clusters.kubernetes import forwarded_dashboard

    with forwarded_dashboard(recipe) as (link, ended):
        _show(session, link, "", open_it)
        session.say("forwarded until Ctrl-C")
        try:
            ended()
        except KeyboardInterrupt:
            session.say("")
            return
    raise UserError(
        "kubectl forwards no more",
        where=link,
        found="it ended: the scheduler's pod was removed or started again",
        remedy="run the same command again",
    )
