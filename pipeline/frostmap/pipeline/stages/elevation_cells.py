"""The cells of the elevation model, fetched and checked, where the recipe names no raster of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from dask.delayed import delayed

from frostmap.pipeline import ledger
from frostmap.pipeline.elevation_cells import complaint_about, fetched_cells, local_path, places_in, table_of
from frostmap.pipeline.elevation_mosaic import mosaic_of_cells
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.recipe import Catalogue, Ingest, Recipe
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.work import ElevationCells, Work

TABLE = "elevation-cells"
"""What became of each cell."""


def build(work: Work, _scope: str) -> Products:
    """Return the table of cells, and the complaint where some are not there."""
    cells = work.elevation_cells
    if cells is None:
        return Products()
    notes = delayed(fetched_cells, pure=False, traverse=False)(cells.found, work.downloads)
    table = delayed(table_of)(notes, cells.missing)
    judged = delayed(_complaint)(table, cells, work.downloads.folder, work.recipe.ingest)
    return Products(tables={TABLE: table}, complaint=judged)


def _complaint(table: pd.DataFrame, cells: ElevationCells, folder: Path, settings: Ingest) -> FrostmapError | None:
    places = [place for place, _ in places_in(table, cells.found, folder)]
    try:
        if places:
            mosaic_of_cells(places)
    except FrostmapError as error:
        return error
    return complaint_about(table, settings)


def _causes(work: Work, _scope: str) -> dict[str, str]:
    """Return which cells there are, and which of those that were fetched are no longer there."""
    cells = work.elevation_cells
    if cells is None:
        return {}
    lost = []
    if work.table_path(TABLE).exists():
        had = set(work.table(TABLE).query("status == 'ok'")["id"])
        lost = [
            cell.name
            for cell in cells.found
            if cell.name in had and "://" in cell.href and not local_path(cell, work.downloads.folder).exists()
        ]
    return {
        "elevation cells": ledger.digest([[work.cell_identity(cell) for cell in cells.found], cells.missing]),
        "cells in the cache": ledger.digest(lost),
    }


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if isinstance(recipe.sources.elevation, Catalogue) else []


ELEVATION_CELLS = Stage(
    "elevation_cells",
    "cells of the elevation model, fetched and checked",
    build,
    scopes=_scopes,
    causes=_causes,
    judged_by=("ingest",),
)
