"""Figures and the report."""

from __future__ import annotations

from pathlib import Path

from dask.delayed import delayed

from frostmap.pipeline import provenance
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.reference_maps import reference_scopes
from frostmap.pipeline.stage import Products, Stage, all_epochs, all_years
from frostmap.pipeline.stages.covariates import COVARIATES
from frostmap.pipeline.stages.frozen_ground import maps_of
from frostmap.pipeline.stages.validation import validation_scopes
from frostmap.pipeline.work import Work

MEMORY_OF_FIGURE = 330_000_000
"""What drawing takes, figures having as many points whatever the map has [bytes]."""
MEMORY_PER_PIXEL = 12
"""Of the maps that a figure holds beside them [bytes a pixel of the grid]."""


def build(work: Work, _scope: str) -> Products:
    """Draw the figures, a task each, and write report/index.html."""
    from frostmap.pipeline.figures import FIGURES  # runs that end before the report do without matplotlib

    drawn = [delayed(_draw, pure=False)(work.recipe, work.folder, drawing.name) for drawing in FIGURES]
    return Products(files=delayed(publish)(work.recipe, work.folder, drawn))


def _draw(recipe: Recipe, folder: Path, name: str) -> Path | None:
    from frostmap.pipeline.figures import draw_to_file

    return draw_to_file(name, Work(recipe, folder))


def publish(recipe: Recipe, folder: Path, drawn: list[Path | None]) -> list[Path]:
    """Write the report around the figures; return the paths of all."""
    from frostmap.pipeline.report import write_report

    work = Work(recipe, folder)
    provenance.write(work)
    figures = [path for path in drawn if path is not None]
    return [*figures, write_report(work, figures)]


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    steps = [f"frozen_ground/{scope}" for scope in maps_of(recipe)]
    steps += [f"inconsistency/{scope}" for scope in reference_scopes(recipe)]
    steps += [f"forcing/{epoch}" for epoch in all_epochs(recipe)]
    steps += [f"{COVARIATES.name}/{epoch}" for epoch in COVARIATES.scopes(recipe)]
    lst = recipe.sources.lst
    steps += [f"single_years/{epoch}" for epoch in all_epochs(recipe) if lst]
    accounts = {"ingest": lst, "vegetation": recipe.sources.ndvi, "observations": lst, "gap_filling": lst}
    steps += [f"{stage}/{year}" for stage, source in accounts.items() if source for year in all_years(recipe)]
    optional = {
        "validation": validation_scopes(recipe),
        "forest": recipe.epochs.target,
        "change": recipe.epochs.target,
        "change_maps": recipe.epochs.target,
        "ground_correction": lst and recipe.ground_correction.changes_anything,
    }
    return steps + [name for name, there in optional.items() if there]


def _memory(work: Work, _scope: str) -> int:
    return MEMORY_OF_FIGURE + MEMORY_PER_PIXEL * work.shape[0] * work.shape[1]


REPORT = Stage(
    "report",
    "figures and report",
    build,
    scopes=lambda _recipe: [""],
    inputs=_inputs,
    sections=("name", "title", "citations"),
    depends_on_epochs=True,
    memory=_memory,
)
