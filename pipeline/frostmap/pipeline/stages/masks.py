"""Which pixels are mapped, and how much of each is lake or glacier."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import ByEpoch, Recipe
from frostmap.pipeline.schema import GLACIERS, INSIDE, LAKES
from frostmap.pipeline.schema import MASKS as WRITES
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work


def build(work: Work, epoch: str) -> Products:
    """Return the region's mask and the fractions of an epoch; no lake or glacier where the recipe names no source."""
    sources, shape = work.recipe.sources, work.shape
    layers = {INSIDE.name: (INSIDE.dims, da.from_array(work.inside), INSIDE.attrs)}
    for variable in (LAKES, GLACIERS):
        given: ByEpoch | None = getattr(sources, variable.name)
        if given is None:
            data = da.zeros(shape, dtype="float32", chunks=-1)
        else:
            path = work.recipe.path(getattr(given, epoch))
            task = delayed(on_grid)(path, work.geobox, f"sources.{variable.name}.{epoch}")
            data = da.nan_to_num(da.from_delayed(task, shape, dtype=np.dtype("float32")))
        layers[variable.name] = (variable.dims, data, variable.attrs)
    return Products(cube=xr.Dataset(layers))


def _sources(recipe: Recipe, epoch: str) -> list[Path]:
    given = [getattr(recipe.sources, name) for name in ("lakes", "glaciers")]
    paths = [recipe.path(getattr(by_epoch, epoch)) for by_epoch in given if by_epoch is not None]
    return paths + ([recipe.path(recipe.region.outline)] if recipe.region.outline else [])


MASKS = Stage("masks", "region, lakes and glaciers", build, scopes=all_epochs, sources=_sources, writes=WRITES)
