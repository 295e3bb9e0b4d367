"""Mean annual precipitation of an epoch on the map's grid."""

from __future__ import annotations

from frostmap.catalogs.gridded import load_series
from frostmap.pipeline.gridded_files import layers_of_raster
from frostmap.pipeline.gridded_folders import layers_in_time
from frostmap.pipeline.gridded_maps import Field, causes, memory, products, written
from frostmap.pipeline.recipe import PrecipitationSeries
from frostmap.pipeline.schema import PRECIPITATION
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.work import Work

POSSIBLE = (0.0, 20000.0)
"""No place on Earth has more [mm a year]."""

LIKELY = (20.0, 5000.0)
"""Of a region's median: metres, or single months, lie below; tenths of a millimetre above [mm]."""


def build(work: Work, epoch: str) -> Products:
    """Return the precipitation of an epoch, its coverage, and why it is missing."""
    return products(work, fields(work, epoch), f"precipitation-{epoch}")


def fields(work: Work, epoch: str) -> list[Field]:
    """Return what precipitation is made of: months of the epoch's years, or a raster of the mean.

    Raises
    ------
    FrostmapError
        The series does not cover the years, or files are not there or not what they should be.
    """
    recipe, given = work.recipe, work.recipe.sources.precipitation
    if given is None:
        return []
    key = "sources.precipitation"
    if isinstance(given, PrecipitationSeries):
        series, years = load_series(given.series), sorted(recipe.epochs.named()[epoch].years)
        layers = layers_in_time(series, "precipitation", recipe.path(given.folder), years, key)
        return [Field(PRECIPITATION, layers, POSSIBLE, LIKELY, series.id, series.doi)]
    path = recipe.path(getattr(given, epoch))
    return [Field(PRECIPITATION, layers_of_raster(path, f"{key}.{epoch}"), POSSIBLE, LIKELY)]


PRECIPITATION_MADE = Stage(
    "precipitation",
    "precipitation",
    build,
    scopes=lambda recipe: all_epochs(recipe) if recipe.sources.precipitation else [],
    causes=lambda work, epoch: causes(fields(work, epoch)),
    writes=written([PRECIPITATION]),
    memory=lambda work, epoch: memory(work, fields(work, epoch)),
    block=None,
)
