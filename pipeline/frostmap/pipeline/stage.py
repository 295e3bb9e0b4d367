"""A stage: what it reads, what it writes, what of the recipe it depends on, and the function between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import Delayed

from frostmap.pipeline.blocks import Task
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.schema import Variable

if TYPE_CHECKING:
    from frostmap.pipeline.recipe import Recipe
    from frostmap.pipeline.work import Work


@dataclass(frozen=True)
class Noted:
    """What the notes of a step's tasks add up to."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Each written to tables/NAME.csv."""
    complaint: FrostmapError | None = None
    """Why what was made must not be built upon."""


@dataclass(frozen=True)
class Products:
    """What a stage made of one scope: lazy, nothing is computed."""

    cube: xr.Dataset | None = None
    """Variables to write to the stage's group of the cube."""
    tasks: tuple[Task, ...] | None = None
    """The tasks that make the cube, where one makes several variables; None: the cube is written chunk by chunk."""
    coords: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    """Coordinates of the cube's dimensions other than y and x."""
    noted: Callable[[Sequence[Any]], Noted] | None = None
    """What to make of the notes that the tasks left, those of an earlier run among them."""
    tables: Mapping[str, Delayed] = field(default_factory=dict)
    """Data frames, each written to tables/NAME.csv."""
    metrics: Mapping[str, Delayed] = field(default_factory=dict)
    """Nested numbers, merged into metrics.json under the given key."""
    files: Delayed | None = None
    """A task that writes files of its own (maps, figures, the report) and returns their paths."""
    complaint: Delayed | None = None
    """A task that returns a FrostmapError if what was made must not be built upon, else None."""


@dataclass(frozen=True)
class Stage:
    """A step of the chain, for each of its scopes (a year, an epoch, or the whole run)."""

    name: str
    title: str
    """What it does, in words for a progress bar."""
    function: Callable[[Work, str], Products]
    """Builds the lazy products of one scope."""
    scopes: Callable[[Recipe], list[str]]
    """What it is done for: years, epochs or [""]; empty where the recipe has no use for it."""
    inputs: Callable[[Recipe, str], list[str]] = lambda _recipe, _scope: []
    """Steps (`stage` or `stage/scope`) whose results it reads."""
    sources: Callable[[Recipe, str], list[Path]] = lambda _recipe, _scope: []
    """Files of the user that it reads."""
    causes: Callable[[Work, str], dict[str, str]] = lambda _work, _scope: {}
    """What else its result depends on: the name of the cause, and its digest."""
    sections: tuple[str, ...] = ()
    """Sections of the recipe that change its result."""
    judged_by: tuple[str, ...] = ()
    """Sections that change not what is made, but whether it is accepted."""
    tolerates: Callable[[Recipe], bool] = lambda _recipe: False
    """Whether inputs that could not be read are accepted; else their tasks are tried again at every run."""
    writes: tuple[Variable, ...] = ()
    """Variables of its group of the cube, `stage/scope`."""
    granules: str | None = None
    """Kind of granules that it reads (lst, ndvi), for a year as scope."""
    depends_on_epochs: bool = False
    """Whether its result changes when any epoch's years or label do."""
    memory: Callable[[Work, str], int] | None = None
    """Peak memory of one task [bytes]; else that of the layers that it reads and writes is taken."""
    window: Callable[[Work], tuple[int, int]] | None = None
    """Rows and columns that a task sees of them; None where it sees the whole map."""
    wanted: Callable[[Work], npt.NDArray[np.bool_]] = lambda work: work.inside
    """(y, x): pixels that it is made for; blocks without any of them are not made, and hold the fill."""
    block: Callable[[Work], int] | None = lambda work: work.chunk_pixels
    """Pixels along the side of such a block; None where the blocks are the tiles."""
    version: int = 1
    """Raised when the code changes what it makes, so that old results are made again."""


def everywhere(work: Work) -> npt.NDArray[np.bool_]:
    """Return (y, x): all pixels, for stages that make the map as a whole."""
    return np.ones(work.shape, bool)


def step_name(stage: str, scope: str) -> str:
    """Return the name of a stage's step, which is also its group in the cube.

    >>> step_name("raw", "2010"), step_name("report", "")
    ('raw/2010', 'report')
    """
    return f"{stage}/{scope}" if scope else stage


def all_years(recipe: Recipe) -> list[str]:
    """Return the years of all epochs, in order."""
    return [str(year) for epoch in recipe.epochs.named().values() for year in sorted(epoch.years)]


def all_degree_years(recipe: Recipe) -> list[str]:
    """Return the years of all epochs that degree days are summed over, in order."""
    return [str(year) for epoch in recipe.epochs.named() for year in recipe.degree_years(epoch)]


def all_epochs(recipe: Recipe) -> list[str]:
    """Return the names of the epochs, training first."""
    return [str(name) for name in recipe.epochs.named()]
