"""Figures and the report."""

from __future__ import annotations

from pathlib import Path

from dask.delayed import delayed

from frostmap.pipeline import provenance
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work


def build(work: Work, _scope: str) -> Products:
    """Draw the figures and write report/index.html."""
    return Products(files=delayed(publish)(work.recipe, work.folder))


def publish(recipe: Recipe, folder: Path) -> list[Path]:
    """Draw what the work directory has data for; return the paths of what was written."""
    from frostmap.pipeline import figures, report  # only the worker that draws loads matplotlib

    work = Work(recipe, folder)
    provenance.write(work)
    drawn = figures.draw_all(work)
    return [*drawn, report.write_report(work, drawn)]


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    steps = [f"frozen_ground/{epoch}" for epoch in all_epochs(recipe)] + [
        f"forcing/{epoch}" for epoch in all_epochs(recipe)
    ]
    optional = {
        "validation": recipe.sources.boreholes or recipe.sources.truth,
        "change": recipe.epochs.target,
        "ground_correction": recipe.sources.lst and recipe.ground_correction.method == "pooled",
    }
    return steps + [name for name, there in optional.items() if there]


REPORT = Stage(
    "report",
    "figures and report",
    build,
    scopes=lambda _recipe: [""],
    inputs=_inputs,
    sections=("name", "title"),
    depends_on_epochs=True,
)
