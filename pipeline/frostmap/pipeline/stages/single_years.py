"""A map of each single year of an epoch, and how many of them agree with that of their mean.

Permafrost is ground that stays frozen for two years. A map of the mean sums of five hides whether all would say so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.frost_number import (
    GLACIER,
    LAKE,
    NO_CLASS,
    NON_FROZEN,
    PERMAFROST,
    SEASONALLY_FROZEN,
    frozen_ground,
)
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import FROZEN_GROUND as CLASSES
from frostmap.pipeline.schema import SINGLE_YEARS as WRITES
from frostmap.pipeline.schema import SOIL_E, YEAR_CLASSES, YEARS_AGREEING, YEARS_KNOWN, YEARS_PERMAFROST
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.stages.forcing import inputs_of, yearly_sources, yearly_sums
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work

GROUND = (PERMAFROST, SEASONALLY_FROZEN, NON_FROZEN)

Sums = npt.NDArray[np.float32]


def build(work: Work, epoch: str) -> Products:
    """Return the classes of each year, and how many years are permafrost, are known, and agree with the epoch's map."""
    recipe = work.recipe
    years = recipe.degree_years(epoch)
    cubes, settings = yearly_sources(work, epoch)
    states = [work.open(e_group(recipe, epoch))[[SOIL_E.name]], work.open(f"frozen_ground/{epoch}")[[CLASSES.name]]]
    function = partial(
        year_window, sums=partial(yearly_sums, **settings), non_frozen_below=recipe.frozen_ground.non_frozen_below
    )
    made = map_windows(
        function, [*states, *cubes], WRITES, {"year": len(years)}, block=work.chunk_pixels, wanted=work.inside
    )
    area = pixel_area_km2(work.geobox)
    counted = [made.cube[variable.name].data for variable in WRITES]
    table = delayed(year_table)(*counted, work.open(f"frozen_ground/{epoch}"), years, area)
    return Products(
        cube=made.cube,
        tasks=made.tasks,
        coords={"year": np.array(years, "int16")},
        tables={f"single_years-{epoch}": table[0]},
        metrics={f"single_years.{epoch}": table[1]},
    )


def year_window(
    soil: xr.Dataset,
    maps: xr.Dataset,
    *windows: xr.Dataset,
    sums: Callable[..., tuple[list[Sums], list[Sums]]],
    non_frozen_below: float,
) -> Block:
    """Return the classes of single years of a window, and how they agree.

    Parameters
    ----------
    soil, maps
        E and classes of the epoch. Lakes and glaciers are those of the epoch in every year.
    windows
        What `sums` takes.
    sums
        Makes DDF and DDT of each year of them.
    non_frozen_below
        Ground that freezes by no more than this is non-frozen [°C d].
    """
    e, ground = soil[SOIL_E.name].values, maps[CLASSES.name].values
    classes = np.stack(
        [of_year(ddf, ddt, e, ground, non_frozen_below) for ddf, ddt in zip(*sums(*windows), strict=True)]
    )
    return {YEAR_CLASSES.name: classes, **agreement(classes, ground)}


def of_year(
    ddf: Sums,
    ddt: Sums,
    e: npt.NDArray[np.float32],
    ground: npt.NDArray[np.uint8],
    non_frozen_below: float,
) -> npt.NDArray[np.uint8]:
    """Return the classes of a year; lakes, glaciers, and what lies outside are those of the epoch's map."""
    single = frozen_ground(ddf.astype(np.float32), ddt.astype(np.float32), e, non_frozen_below)  # as forcing is kept
    return np.where(np.isin(ground, (GLACIER, LAKE, NO_CLASS)), ground, single).astype(np.uint8)


def agreement(classes: npt.NDArray[np.uint8], ground: npt.NDArray[np.uint8]) -> Block:
    """Return how many years are permafrost, have a class, and have that of the epoch's map; 255 where no ground is.

    >>> years = np.uint8([[[1, 2, 4]], [[1, 1, 4]], [[2, 255, 4]]])
    >>> {name: each.tolist() for name, each in agreement(years, np.uint8([[1, 2, 4]])).items()}
    {'years_permafrost': [[2, 1, 255]], 'years_known': [[3, 2, 255]], 'years_agreeing': [[2, 1, 255]]}
    """
    land = np.isin(ground, GROUND)
    counts = {
        YEARS_PERMAFROST.name: (classes == PERMAFROST).sum(axis=0),
        YEARS_KNOWN.name: np.isin(classes, GROUND).sum(axis=0),
        YEARS_AGREEING.name: ((classes == ground) & land).sum(axis=0),
    }
    return {name: np.where(land, count, 255).astype(np.uint8) for name, count in counts.items()}


def year_table(
    classes: npt.NDArray[np.uint8],
    permafrost: npt.NDArray[np.uint8],
    known: npt.NDArray[np.uint8],
    agreeing: npt.NDArray[np.uint8],
    maps: xr.Dataset,
    years: list[int],
    area: npt.NDArray[np.float64],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the areas of each year's map, and how much ground every year calls what the epoch's map does.

    Returns
    -------
    table
        year; permafrost, seasonally_frozen, non_frozen, unknown, and agreeing (with the epoch's map) [km²].
    metrics
        years; permafrost_by_years_km2: area that is permafrost in 0, 1, ... of them, where all are known;
        all_agree_km2, known_km2; permafrost_all_agree_percent: of the map's permafrost, where all years are known.
    """
    ground = maps[CLASSES.name].values
    each = np.broadcast_to(area[:, np.newaxis], ground.shape)
    land = np.isin(ground, GROUND)
    names = {PERMAFROST: "permafrost", SEASONALLY_FROZEN: "seasonally_frozen", NON_FROZEN: "non_frozen"}
    rows = []
    for year, single in zip(years, classes, strict=True):
        found: dict[str, float] = {name: float(each[land & (single == code)].sum()) for code, name in names.items()}
        found["unknown"] = float(each[land & (single == NO_CLASS)].sum())
        rows.append({"year": year} | found | {"agreeing": float(each[land & (single == ground)].sum())})
    whole = land & (known == len(years))
    frozen = whole & (ground == PERMAFROST)
    all_agree = whole & (agreeing == len(years))
    of_frozen = float(each[frozen].sum())
    metrics: dict[str, Any] = {
        "years": len(years),
        "permafrost_by_years_km2": [float(each[whole & (permafrost == n)].sum()) for n in range(len(years) + 1)],
        "known_km2": float(each[whole].sum()),
        "all_agree_km2": float(each[all_agree].sum()),
    }
    if of_frozen > 0:
        metrics["permafrost_all_agree_percent"] = 100 * float(each[frozen & all_agree].sum()) / of_frozen
    return pd.DataFrame(rows), metrics


def _scopes(recipe: Recipe) -> list[str]:
    return all_epochs(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    return list(dict.fromkeys([*inputs_of(recipe, epoch), e_group(recipe, epoch), f"frozen_ground/{epoch}"]))


SINGLE_YEARS = Stage(
    "single_years",
    "maps of single years, and how they agree",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("degree_days", "ground_correction", "frozen_ground"),
    writes=WRITES,
)
