"""Granules of land surface temperature to the raw cube: stored counts, one year."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import date

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.granules import Granule
from frostmap.pipeline.blocks import FAILED, NOTES, Block, Part, Result, Task, called_often
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.granule_inputs import Reading, accepts_bad, account, missing_notes, read_each
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import RAW, Variable
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.work import PRODUCTS, Work, days_in

PLATFORM_OVERPASSES = {"mod11a1": {"day": 0, "night": 2}, "myd11a1": {"day": 1, "night": 3}}
"""Places of a product's two observations on the overpass axis."""

LAYERS = tuple(f"{variable.name}_{half}" for variable in RAW for half in ("day", "night"))
"""The layers of a granule that the cube holds."""

Days = dict[int, Granule]
Crop = tuple[slice, slice]


def build(work: Work, year: str) -> Products:
    """Return the raw cube of a year, and the account of its granules."""
    found: dict[tuple[str, str], Days] = defaultdict(dict)
    first = date(int(year), 1, 1)
    for granule in work.granules["lst"][year]:
        found[granule.product.lower(), str(granule.tile)][(granule.date - first).days] = granule

    n_days = days_in(int(year))
    pieces, tasks = _read_tiles(work, found, n_days)
    missing = [
        note
        for product in PRODUCTS["lst"]
        for note in missing_notes(load_collection(product), work.tiles, int(year), work.granules["lst"][year])
    ]
    return Products(
        cube=xr.Dataset({v.name: (v.dims, _assemble(work, pieces, v, n_days), v.attrs) for v in RAW}),
        tasks=tuple(tasks),
        coords=year_coords(int(year)),
        noted=account(missing, work.recipe.ingest, f"granules-{year}", year),
    )


def year_coords(year: int) -> dict[str, npt.ArrayLike]:
    """Return the coordinates of a year's observations."""
    start = np.datetime64(f"{year}-01-01", "ns")
    return {
        "time": start + np.arange(days_in(year)) * np.timedelta64(1, "D"),
        "overpass": np.arange(4, dtype="int8"),
    }


def _read_tiles(
    work: Work, found: dict[tuple[str, str], Days], n_days: int
) -> tuple[dict[tuple[str, int, int], dict[str, da.Array]], list[Task]]:
    """Return lazy blocks by (tile, first day, overpass), and the tasks that make them."""
    read = called_often(_read_days)
    pieces: dict[tuple[str, int, int], dict[str, da.Array]] = {}
    tasks = []
    for product in PRODUCTS["lst"]:
        how = Reading(load_collection(product), LAYERS, work.recipe.region.pixels_per_tile, work.downloads)
        for tile in work.tiles:
            rows, cols = work.tile_window(tile)
            top, left = work.tile_origin(tile)
            crop = (slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left))
            for start in range(0, n_days, DAYS_PER_CHUNK):
                n = min(DAYS_PER_CHUNK, n_days - start)
                days = {day - start: g for day, g in found[product, tile].items() if start <= day < start + n}
                if not days:
                    continue
                task = read(days, n, how, crop)
                name, cause = f"{tile}-{product}-{start + 1:03d}", work.identity_of(days)
                tasks.append(Task(name, task, _parts(product, slice(start, start + n), rows, cols), cause))
                shape = (n, 1, crop[0].stop - crop[0].start, crop[1].stop - crop[1].start)
                for half, overpass in PLATFORM_OVERPASSES[product].items():
                    pieces[tile, start, overpass] = {
                        v.name: da.from_delayed(task[f"{v.name}_{half}"], shape, dtype=np.dtype(v.dtype)) for v in RAW
                    }
    return pieces, tasks


def _parts(product: str, days: slice, rows: slice, cols: slice) -> tuple[Part, ...]:
    return tuple(
        Part(variable.name, f"{variable.name}_{half}", (days, slice(overpass, overpass + 1), rows, cols))
        for half, overpass in PLATFORM_OVERPASSES[product].items()
        for variable in RAW
    )


def _read_days(days: Days, n_days: int, how: Reading, crop: Crop) -> Result:
    """Read some days of one tile and platform; a granule that cannot be read leaves its day missing."""
    shape = (n_days, 1, crop[0].stop - crop[0].start, crop[1].stop - crop[1].start)
    blocks: Block = {
        f"{v.name}_{half}": np.full(shape, v.fill_value, dtype=v.dtype) for v in RAW for half in ("day", "night")
    }
    notes = []
    for day, arrays, note in read_each(days, how):
        notes.append(note)
        for name, array in (arrays or {}).items():
            blocks[name][day, 0] = array[crop]
    return {**blocks, NOTES: notes, FAILED: sum(note["status"] == "bad" for note in notes)}


def _assemble(
    work: Work, pieces: dict[tuple[str, int, int], dict[str, da.Array]], variable: Variable, n_days: int
) -> da.Array:
    """Join tiles in space, overpasses, and days; fills where no granule covers."""
    windows = {tile: work.tile_window(tile) for tile in work.tiles}
    height, width = work.shape
    row_edges = sorted({0, height, *(edge for rows, _ in windows.values() for edge in (rows.start, rows.stop))})
    col_edges = sorted({0, width, *(edge for _, cols in windows.values() for edge in (cols.start, cols.stop))})
    at = {(rows.start, cols.start): tile for tile, (rows, cols) in windows.items()}

    def piece(start: int, overpass: int, top: int, bottom: int, left: int, right: int) -> da.Array:
        block = pieces.get((at.get((top, left), ""), start, overpass))
        if block is not None:
            known: da.Array = block[variable.name]
            return known
        shape = (min(DAYS_PER_CHUNK, n_days - start), 1, bottom - top, right - left)
        empty: da.Array = da.full(shape, variable.fill_value, dtype=variable.dtype, chunks=shape)
        return empty

    blocks = [
        [
            [
                [piece(start, overpass, top, bottom, left, right) for left, right in itertools.pairwise(col_edges)]
                for top, bottom in itertools.pairwise(row_edges)
            ]
            for overpass in range(4)
        ]
        for start in range(0, n_days, DAYS_PER_CHUNK)
    ]
    whole: da.Array = da.block(blocks)
    return whole


def _sources(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.lst else []


def _memory(work: Work, _year: str) -> int:
    pixels = work.recipe.region.pixels_per_tile**2
    return DAYS_PER_CHUNK * pixels * 2 * sum(np.dtype(v.dtype).itemsize for v in RAW) * 2


INGEST = Stage(
    "ingest",
    "granules to the raw cube",
    build,
    scopes=_sources,
    granules="lst",
    judged_by=("ingest",),
    tolerates=accepts_bad,
    writes=RAW,
    memory=_memory,
    block=None,
)
