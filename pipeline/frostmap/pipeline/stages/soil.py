"""Sand and clay on the map's grid."""

from __future__ import annotations

from frostmap.catalogs.gridded import load_series
from frostmap.pipeline.gridded_files import layers_of_raster
from frostmap.pipeline.gridded_folders import layers_in_depth
from frostmap.pipeline.gridded_maps import Field, causes, memory, products, written
from frostmap.pipeline.schema import CLAY, SAND
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.work import Work

POSSIBLE = (0.0, 100.0)
"""Shares of the soil's weight [%]."""

LIKELY = (2.0, 98.0)
"""Of a region's median: shares of 1 lie below, g/kg above [%]."""


def build(work: Work, _scope: str) -> Products:
    """Return sand and clay, their coverage, and why they are missing."""
    return products(work, fields(work), "soil")


def fields(work: Work) -> list[Field]:
    """Return what sand and clay are made of: layers between two depths, or a raster of each.

    Raises
    ------
    FrostmapError
        The series does not reach the depths, or files are not there or not what they should be.
    """
    recipe, given = work.recipe, work.recipe.sources.soil
    if given is not None:
        series, folder = load_series(given.series), recipe.path(given.folder)
        return [
            Field(
                variable,
                layers_in_depth(series, variable.name, folder, given.depths, "sources.soil"),
                POSSIBLE,
                LIKELY,
                series.id,
                series.doi,
            )
            for variable in (SAND, CLAY)
        ]
    rasters = ((SAND, recipe.sources.sand), (CLAY, recipe.sources.clay))
    return [
        Field(variable, layers_of_raster(recipe.path(path), f"sources.{variable.name}"), POSSIBLE, LIKELY)
        for variable, path in rasters
        if path is not None
    ]


SOIL_MADE = Stage(
    "soil",
    "sand and clay",
    build,
    scopes=lambda recipe: [""] if recipe.sources.texture else [],
    causes=lambda work, _scope: causes(fields(work)),
    writes=written([SAND, CLAY]),
    memory=lambda work, _scope: memory(work, fields(work)),
    block=None,
)
