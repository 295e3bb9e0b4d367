"""The work directory that a command is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from frostmap.pipeline.errors import UserError

if TYPE_CHECKING:  # --help must not wait for numerical libraries
    from frostmap.pipeline.recipe import Recipe
    from frostmap.pipeline.work import Work

RECIPE_COPY = "recipe.yaml"
"""Where a run keeps its recipe."""


def open_work(workdir: Path) -> Work:
    """Return what a run has left in a work directory.

    Raises
    ------
    UserError
        It is none.
    """
    from frostmap.pipeline.recipe import load_recipe
    from frostmap.pipeline.work import Work

    copy = workdir / RECIPE_COPY
    if not copy.is_file():
        raise UserError(
            "not a work directory",
            where=str(workdir),
            found=f"no {RECIPE_COPY} in it" if workdir.is_dir() else "no such folder",
            wanted="a folder that `frostmap run` or `frostmap demo` has written to",
            remedy="name the one given as --workdir; by default it is the recipe's name, then -work",
        )
    return Work(load_recipe(copy), workdir)


def step_names(recipe: Recipe, until: str | None = None) -> dict[str, str]:
    """Return the names of the steps that a recipe has, in order, and what each does."""
    from frostmap.pipeline.stage import step_name
    from frostmap.pipeline.stages import STAGES

    names: dict[str, str] = {}
    for stage in STAGES:
        names |= {step_name(stage.name, scope): stage.title for scope in stage.scopes(recipe)}
        if stage.name == until:
            break
    return names
