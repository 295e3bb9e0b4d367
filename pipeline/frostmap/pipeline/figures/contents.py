"""What a work directory has, as the figures read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.kernels.frost_number import (
    CLASS_NAMES,
    NO_CLASS,
    PERMAFROST,
)
from frostmap.pipeline import schema
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Epoch
from frostmap.pipeline.work import Work

Numbers = npt.NDArray[Any]


def class_code(name: object) -> int:
    """Return the code of a class given by code or name; 255 where it is none.

    Examples
    --------
    >>> class_code(2), class_code("2.0"), class_code("seasonally_frozen"), class_code("no such ground")
    (2, 2, 2, 255)
    """
    try:
        return int(float(str(name)))
    except ValueError:
        return next((code for code, known in CLASS_NAMES.items() if _plain(known) == _plain(str(name))), NO_CLASS)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ").removesuffix(" ground")


def is_permafrost(column: Iterable[object]) -> npt.NDArray[np.bool_]:
    """Return where a column of classes (codes or names) or of truth values says permafrost.

    Examples
    --------
    >>> is_permafrost([1, "permafrost", True, "True", 2, "seasonally frozen", False]).tolist()
    [True, True, True, True, False, False, False]
    """
    return np.array([str(value).strip().lower() == "true" or class_code(value) == PERMAFROST for value in column], bool)


def group_of(work: Work, group: str, *variables: str) -> xr.Dataset | None:
    """Return a group of the cube, or None where it is not there or lacks a variable."""
    if not work.has(group):
        return None
    cube = work.open(group)
    return cube if all(name in cube for name in variables) else None


def by_epoch(work: Work, stage: str, variable: str) -> dict[str, Numbers]:
    """Return a variable of each epoch that has it, training first."""
    cubes = {epoch: group_of(work, f"{stage}/{epoch}", variable) for epoch in work.recipe.epochs.named()}
    return {epoch: cube[variable].to_numpy() for epoch, cube in cubes.items() if cube is not None}


def table_of(work: Work, name: str, *columns: str) -> pd.DataFrame | None:
    """Return a table, or None where there is none or it is empty.

    Raises
    ------
    SchemaError
        It lacks a column.
    """
    path = work.table_path(name)
    if not path.exists():
        return None
    table = work.table(name)
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise schema.SchemaError(
            f"a table lacks columns: {', '.join(lacking)}",
            where=str(path),
            found=", ".join(map(str, table.columns)),
            wanted=", ".join(columns),
            remedy="delete the table and run again",
        )
    return None if table.empty else table


def truth_path(work: Work, epoch: str) -> Path | None:
    """Return the raster that is true of an epoch; None where the recipe names none."""
    given = work.recipe.sources.truth
    path: Path | None = None if given is None else getattr(given, epoch)
    return None if path is None else work.recipe.path(path)


def truth_values(work: Work, epoch: str, band: str, how: str = "average") -> Numbers:
    """Return a band of an epoch's truth on the map's grid."""
    path = truth_path(work, epoch)
    if path is None:
        raise ValueError(f"the recipe names no truth of the {epoch} epoch")
    return on_grid(path, work.geobox, f"sources.truth.{epoch}", how=how, band=band)


def label_of(work: Work, epoch: str) -> str:
    """Return an epoch's label."""
    return work.recipe.epochs.named()[epoch].title


def epoch_title(work: Work, epoch: str) -> str:
    """Return an epoch's label and years."""
    return epoch_in_words(work.recipe.epochs.named()[epoch])


def epoch_in_words(epoch: Epoch) -> str:
    """Return an epoch's label, and its years where they say more.

    Examples
    --------
    >>> epoch_in_words(Epoch(years=(2019, 2020))), epoch_in_words(Epoch(years=(2020,)))
    ('2020 (mean of 2019 and 2020)', '2020')
    """
    years = years_in_words(epoch.years)
    return epoch.title if years == epoch.title else f"{epoch.title} (mean of {years})"


def years_in_words(years: Sequence[int]) -> str:
    """Return years, shortened where they follow each other.

    Examples
    --------
    >>> years_in_words([2016, 2017, 2018]), years_in_words([2009, 2010]), years_in_words([2005, 2008])
    ('2016–2018', '2009 and 2010', '2005 and 2008')
    """
    ordered = sorted(years)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]}–{ordered[-1]}"
    *most, last = map(str, ordered)
    return f"{', '.join(most)} and {last}" if most else last
