"""Granules of land surface temperature to the raw cube: stored counts, one year."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import Delayed, delayed

from frostmap.catalogs.collections import Collection, load_collection
from frostmap.catalogs.granules import Granule
from frostmap.pipeline.blocks import Part, Task
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.errors import DataIncomplete, FrostmapError
from frostmap.pipeline.granule_files import read_granule
from frostmap.pipeline.recipe import Ingest, Recipe
from frostmap.pipeline.schema import RAW, Variable
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.work import PRODUCTS, Work, days_in

PLATFORM_OVERPASSES = {"mod11a1": {"day": 0, "night": 2}, "myd11a1": {"day": 1, "night": 3}}
"""Places of a product's two observations on the overpass axis."""

Days = dict[int, Granule]
Crop = tuple[slice, slice]


def build(work: Work, year: str) -> Products:
    """Return the raw cube of a year, and the list of its granules."""
    granules = work.granules["lst"][year]
    found: dict[tuple[str, str], Days] = defaultdict(dict)
    first = date(int(year), 1, 1)
    for granule in granules:
        found[granule.product.lower(), str(granule.tile)][(granule.date - first).days] = granule

    n_days = days_in(int(year))
    pieces, tasks, records = _read_tiles(work, found, n_days)
    expected = [(product, tile, day) for product in PRODUCTS["lst"] for tile in work.tiles for day in range(n_days)]
    missing = [
        {"id": "", "product": product.upper(), "tile": tile, "date": first + timedelta(day), "sha256": "",
         "status": "missing", "error": "not in the catalogue"}
        for product, tile, day in expected
        if day not in found[product, tile]
    ]  # fmt: skip
    table = delayed(_table)(records, missing)
    cube = xr.Dataset({v.name: (v.dims, _assemble(work, pieces, v, n_days), v.attrs) for v in RAW})
    return Products(
        cube=cube,
        tasks=tuple(tasks),
        coords=year_coords(int(year)),
        tables={f"granules-{year}": table},
        complaint=delayed(_complain)(table, work.recipe.ingest, year),
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
) -> tuple[dict[tuple[str, int, int], dict[str, da.Array]], list[Task], list[Delayed]]:
    """Return lazy blocks by (tile, first day, overpass), the tasks that make them, and records of what was read."""
    read = delayed(_read_days, pure=False, traverse=False)
    pieces: dict[tuple[str, int, int], dict[str, da.Array]] = {}
    tasks, records = [], []
    for product in PRODUCTS["lst"]:
        collection = load_collection(product)
        for tile in work.tiles:
            rows, cols = work.tile_window(tile)
            top, left = work.tile_origin(tile)
            crop = (slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left))
            for start in range(0, n_days, DAYS_PER_CHUNK):
                n = min(DAYS_PER_CHUNK, n_days - start)
                days = {day - start: g for day, g in found[product, tile].items() if start <= day < start + n}
                if not days:
                    continue
                task = read(days, n, collection, crop, work.recipe.region.pixels_per_tile)
                records.append(task["records"])
                shape = (n, 1, crop[0].stop - crop[0].start, crop[1].stop - crop[1].start)
                tasks.append(Task(task, _parts(product, slice(start, start + n), rows, cols)))
                for half, overpass in PLATFORM_OVERPASSES[product].items():
                    pieces[tile, start, overpass] = {
                        v.name: da.from_delayed(task[f"{v.name}_{half}"], shape, dtype=np.dtype(v.dtype)) for v in RAW
                    }
    return pieces, tasks, records


def _parts(product: str, days: slice, rows: slice, cols: slice) -> tuple[Part, ...]:
    return tuple(
        Part(variable.name, f"{variable.name}_{half}", (days, slice(overpass, overpass + 1), rows, cols))
        for half, overpass in PLATFORM_OVERPASSES[product].items()
        for variable in RAW
    )


def _read_days(
    days: Days, n_days: int, collection: Collection, crop: Crop, pixels_per_tile: int
) -> dict[str, npt.NDArray[np.generic] | list[dict[str, object]]]:
    """Read some days of one tile and platform; a granule that cannot be read leaves its day missing."""
    names = [f"{v.name}_{half}" for v in RAW for half in ("day", "night")]
    shape = (n_days, 1, crop[0].stop - crop[0].start, crop[1].stop - crop[1].start)
    fills = {f"{v.name}_{half}": v for v in RAW for half in ("day", "night")}
    blocks: dict[str, npt.NDArray[np.generic]] = {
        name: np.full(shape, fills[name].fill_value, dtype=fills[name].dtype) for name in names
    }
    records: list[dict[str, object]] = []
    for day, granule in sorted(days.items()):
        record: dict[str, object] = {
            "id": granule.name, "product": granule.product, "tile": str(granule.tile), "date": granule.date,
            "sha256": "", "status": "ok", "error": "",
        }  # fmt: skip
        try:
            arrays = read_granule(granule, collection, names, pixels_per_tile=pixels_per_tile)
            record["sha256"] = digest_of(granule)
        except FrostmapError as error:
            record |= {"status": "bad", "error": " ".join(str(error).split())}
        else:
            for name in names:
                blocks[name][day, 0] = arrays[name][crop]
        records.append(record)
    return {**blocks, "records": records}


def digest_of(granule: Granule) -> str:
    """Return the SHA-256 of a granule's local file or files; empty for remote ones."""
    hrefs = [granule.hdf_href] if granule.hdf_href else [href for _, href in sorted(granule.band_hrefs.items())]
    digest = hashlib.sha256()
    for href in hrefs:
        if href is None or "://" in href:
            return ""
        digest.update(Path(href).read_bytes())
    return digest.hexdigest()


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


def _table(records: list[list[dict[str, object]]], missing: list[dict[str, object]]) -> pd.DataFrame:
    rows = [row for block in records for row in block] + missing
    columns = ["id", "product", "tile", "date", "sha256", "status", "error"]
    return pd.DataFrame(rows, columns=columns).sort_values(["date", "tile", "product"], ignore_index=True)


def _complain(table: pd.DataFrame, settings: Ingest, year: str) -> FrostmapError | None:
    for status, choice, key in (
        ("bad", settings.bad_granules, "bad_granules"),
        ("missing", settings.missing_granules, "missing_granules"),
    ):
        rows = table[table["status"] == status]
        if len(rows) and choice == "refuse":
            shown = "; ".join(
                f"{row['id'] or ' '.join(map(str, (row['product'], row['tile'], row['date'])))}: {row['error']}"
                for row in rows.head(5).to_dict("records")
            )
            more = f"; and {len(rows) - 5} more" if len(rows) > 5 else ""
            return DataIncomplete(
                f"{len(rows)} of {len(table)} granules of {year} are {status}",
                where=f"tables/granules-{year}.csv lists them",
                found=shown + more,
                wanted="every granule readable, and named for what it holds",
                remedy=f"replace these files and run again, or set ingest.{key}: accept to treat them as cloud",
            )
    return None


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
    sections=("ingest",),
    writes=RAW,
    memory=_memory,
)
