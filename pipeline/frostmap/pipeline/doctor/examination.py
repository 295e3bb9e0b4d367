"""All checks, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from frostmap.pipeline.doctor import machine, reach
from frostmap.pipeline.doctor.finding import Finding
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.recipe import Recipe


def examine(
    recipe: Recipe | None, folder: Path, *, where: str | None = None, ask_hosts: bool = False
) -> Iterator[Finding]:
    """Yield what each check found.

    Parameters
    ----------
    recipe
        Whose needs are checked; without one, the machine alone.
    folder
        The work directory; it need not be there.
    where
        Where to compute, instead of the recipe's `cluster.where`.
    ask_hosts
        Whether the hosts that the recipe names are asked.
    """
    yield from machine.software()
    yield from machine.hdf4()
    yield from _tried("work directory", lambda: machine.disk(folder, recipe))
    if recipe is None:
        return
    yield from _tried("memory", lambda: machine.memory(folder, recipe))
    yield from reach.credentials(recipe)
    if ask_hosts:
        yield from reach.network(recipe)
    yield from reach.cluster(recipe, where)


def _tried(check: str, examination: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds, or what of the recipe kept it from looking."""
    try:
        yield from examination()
    except FrostmapError as error:
        about = f"{error.what}: {error.where}" if error.where else error.what
        yield Finding(check, "bad", about, error.remedy)
