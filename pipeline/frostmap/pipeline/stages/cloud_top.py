"""Heights of cloud tops on the map, of the overpasses by day: from a gridded field, or from swaths of MODIS clouds."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import Delayed, delayed
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

from frostmap.catalogs.grids import Bounds, lattice, to_geographic
from frostmap.kernels.neighbourhood import neighbourhood_mean
from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import FAILED, NOTES, Part, Result, Task, called_often
from frostmap.pipeline.cloud_top_files import (
    KEY,
    Cells,
    Heights,
    SwathFile,
    find_swaths,
    nearest_tops,
    on_sphere,
    opened_field,
    passes_by_day,
    read_cells,
)
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.granule_errors import GranuleError
from frostmap.pipeline.granule_inputs import COLUMNS, Note, accepts_bad
from frostmap.pipeline.recipe import CloudTops, Ingest, Recipe
from frostmap.pipeline.schema import CLOUD_TOP, ELEVATION, OVERPASSES
from frostmap.pipeline.stage import Noted, Products, Stage, all_years
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.work import Work, days_in

BY_DAY = {0: "MOD06_L2", 1: "MYD06_L2"}
"""The overpasses by day, and the cloud product of each one's satellite."""
CELL_KM = 5.0
"""Swaths are looked up on squares of about this width [km], which is theirs; finer pixels of the map share one."""
SMOOTHED_KM = 13.9
"""Width of the square over which heights of swaths are averaged: 15 pixels of 1 km, as published [km]."""
STEP_M = 50.0
"""Averaged heights are rounded to this [m], as the product rounds its own: no shadow moves by a pixel for it."""
MARGIN_DEGREES = 0.5
"""How far around the map cells are looked for [°]."""
HIGHEST = 30000.0
"""No cloud is higher [m]: a field that says so is not in the units that it names."""

FIELD, MOD06 = "field", "mod06"


@dataclass(frozen=True)
class Area:
    """Where on the map heights are made: the blocks that have observations."""

    geobox: GeoBox
    """The map's grid."""

    spans: Mapping[str, tuple[slice, slice]]
    """Rows and columns of each part, whole chunks, by the name of its array."""

    step: int
    """Pixels along the side of a square on which swaths are looked up."""

    radius: int
    """Half the width of the square over which heights are averaged [pixels]."""

    corner: tuple[int, int]
    """Row and column of the map's first pixel on the lattice, from which squares are counted: however the map is cut, a
    pixel lies in the same one."""

    @classmethod
    def of(cls, work: Work) -> Area:
        """Return the area of a run."""
        size, first = abs(work.geobox.affine.a), lattice(work.recipe.region.pixels_per_tile)[0, 0].affine
        here = work.geobox.affine
        return cls(
            work.geobox,
            {_name(span): span for span in _spans(work.inside_with_margin, work.chunk_pixels)},
            max(1, round(CELL_KM / work.pixel_km)),
            max(0, round((SMOOTHED_KM / work.pixel_km - 1) / 2)),
            (round((first.f - here.f) / size), round((here.c - first.c) / size)),
        )

    @property
    def pixels(self) -> int:
        """Pixels of all parts."""
        return sum((rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in self.spans.values())

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of the map with a margin [°]."""
        west, south, east, north = transform_bounds(
            str(self.geobox.crs), "EPSG:4326", *self.geobox.boundingbox, densify_pts=50
        )
        return west - MARGIN_DEGREES, south - MARGIN_DEGREES, east + MARGIN_DEGREES, north + MARGIN_DEGREES

    @property
    def squares(self) -> tuple[range, range]:
        """Rows and columns of squares under the map and its margin, counted on the lattice."""
        rows, cols = (
            range((first - self.radius) // self.step, (first + pixels - 1 + self.radius) // self.step + 1)
            for first, pixels in zip(self.corner, self.geobox.shape, strict=True)
        )
        return rows, cols

    def squares_of(self, span: tuple[slice, slice]) -> tuple[npt.NDArray[np.intp], ...]:
        """Return where among `squares` the rows and columns of a part and its margin lie, one number each."""
        return tuple(
            (first + np.arange(part.start - self.radius, part.stop + self.radius)) // self.step - squares.start
            for part, first, squares in zip(span, self.corner, self.squares, strict=True)
        )

    def centres(self, rows: Iterable[float], cols: Iterable[float]) -> tuple[npt.NDArray[Any], ...]:
        """Return x and y of places on the map [m], each (row, col), given in pixels from its corner."""
        across, _, west, _, down, north, *_ = self.geobox.affine  # north-up, as every lattice of pixels here
        x = west + across * np.fromiter(cols, np.float64)
        y = north + down * np.fromiter(rows, np.float64)
        return tuple(np.meshgrid(x, y))


def build(work: Work, year: str) -> Products:
    """Return the heights of cloud tops of a year, and the account of what they were made of."""
    settings, area, n_days = _settings(work.recipe), Area.of(work), days_in(int(year))
    first = dt.date(int(year), 1, 1)
    path = _path(work.recipe, settings)
    swaths = _swaths_by_day(work, year) if settings.kind == MOD06 else {}
    of_swaths, of_field = called_often(tops_of_swaths), called_often(tops_of_field)
    tasks, blocks = [], []
    for start in range(0, n_days, DAYS_PER_CHUNK):
        n = min(DAYS_PER_CHUNK, n_days - start)
        own = first + dt.timedelta(start)
        rows = []
        for overpass in range(len(OVERPASSES)):
            shape = (n, 1, *work.shape)
            if overpass not in BY_DAY:
                rows.append(da.full(shape, CLOUD_TOP.fill_value, dtype=CLOUD_TOP.dtype, chunks=shape))
                continue
            if settings.kind == MOD06:
                files = {day: swaths[overpass, start + day] for day in range(n) if (overpass, start + day) in swaths}
                result = of_swaths(files, area, own, n, overpass)
                cause = ledger.digest(
                    [(day, [_identity(file.path) for file in of_day]) for day, of_day in files.items()]
                )
            else:
                result = of_field(path, area, own, n, overpass)
                cause = ""
            parts = tuple(
                Part(CLOUD_TOP.name, name, (slice(start, start + n), slice(overpass, overpass + 1), *span))
                for name, span in area.spans.items()
            )
            tasks.append(Task(f"o{overpass}-t{start:03d}", result, parts, cause))
            rows.append(_whole(result, area.spans, shape))
        blocks.append(rows)
    cube = da.concatenate([da.concatenate(rows, axis=1) for rows in blocks], axis=0)
    return Products(
        cube=xr.Dataset({CLOUD_TOP.name: (CLOUD_TOP.dims, cube, CLOUD_TOP.attrs)}),
        tasks=tuple(tasks),
        coords=year_coords(int(year)),
        noted=partial(account, settings=work.recipe.ingest, year=year),
    )


def _whole(result: Delayed, spans: Mapping[str, tuple[slice, slice]], shape: tuple[int, ...]) -> da.Array:
    whole: da.Array = da.from_delayed(
        delayed(_joined, pure=False, traverse=False)(result, spans, shape), shape, dtype=np.dtype(CLOUD_TOP.dtype)
    )
    return whole


def _joined(result: Result, spans: Mapping[str, tuple[slice, slice]], shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
    whole = np.full(shape, CLOUD_TOP.fill_value, np.int16)
    for name, (rows, cols) in spans.items():
        whole[..., rows, cols] = result[name]
    return whole


def _spans(wanted: npt.NDArray[np.bool_], chunk: int) -> list[tuple[slice, slice]]:
    """Return the rows and columns of all chunks that have a wanted pixel, neighbours along a row as one.

    >>> _spans(np.array([[1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool), 2)
    [(slice(0, 2, None), slice(0, 2, None)), (slice(0, 2, None), slice(4, 6, None))]
    """
    height, width = wanted.shape
    spans: list[tuple[slice, slice]] = []
    for top in range(0, height, chunk):
        rows = slice(top, min(top + chunk, height))
        for left in range(0, width, chunk):
            cols = slice(left, min(left + chunk, width))
            if not wanted[rows, cols].any():
                continue
            if spans and spans[-1][0] == rows and spans[-1][1].stop == left:
                cols = slice(spans.pop()[1].start, cols.stop)
            spans.append((rows, cols))
    return spans


def _name(span: tuple[slice, slice]) -> str:
    rows, cols = span
    return f"y{rows.start:05d}-x{cols.start:05d}"


# ---- a constant height above the ground ----------------------------------------------------------------------------


def constant_tops(terrain: xr.Dataset, shape: tuple[int, ...], height_m: float) -> xr.Dataset:
    """Return heights of cloud tops (time, overpass, y, x) that are so far above the ground everywhere.

    They follow from the terrain, so they are not stored: the stage that reads them asks for them here. They take the
    memory of one map, whatever `shape` says.

    >>> terrain = xr.Dataset({"elevation": (("y", "x"), np.array([[4500.0, np.nan]], np.float32))})
    >>> constant_tops(terrain, (2, 1, 1, 2), 3000.0)["cloud_top"].values[1, 0].tolist()
    [[7500, -9999]]
    """
    tops = _stored(terrain[ELEVATION.name].values + np.float32(height_m))
    return xr.Dataset({CLOUD_TOP.name: (CLOUD_TOP.dims, np.broadcast_to(tops, shape))})


# ---- a gridded field ----------------------------------------------------------------------------------------------


def tops_of_field(path: Path, area: Area, first: dt.date, n_days: int, overpass: int) -> Result:
    """Return the heights of some days that a field has: of each pixel those of the cell that holds its centre."""
    result = _empty(area, n_days)
    notes: list[Note] = []
    with opened_field(path) as field:
        places = {}
        for name, (rows, cols) in area.spans.items():
            x, y = area.centres(*(np.arange(part.start, part.stop) + 0.5 for part in (rows, cols)))
            places[name] = field.columns_and_rows(x, y, CRS(str(area.geobox.crs)))
        window = _window(list(places.values()), path)
        for day in range(n_days):
            date = first + dt.timedelta(day)
            heights = field.read(date, overpass, window)
            if heights is None:
                notes.append(_missing(date, "cloud_top_height", overpass, path.name, "the field does not have it"))
                continue
            if np.isfinite(heights).any() and np.nanmax(np.abs(heights)) > HIGHEST:
                raise UserError(
                    "the field of cloud tops has heights that no cloud has",
                    where=f"{path} ({KEY}), {date}",
                    found=f"{np.nanmin(heights):g} to {np.nanmax(heights):g} m",
                    wanted=f"heights above sea level, up to {HIGHEST:g} m",
                    remedy="correct its units, or declare its fill as _FillValue",
                )
            for name, (across, down) in places.items():
                known = (across >= 0) & (down >= 0)
                taken = heights[
                    np.where(known, down - window[0].start, 0), np.where(known, across - window[1].start, 0)
                ]
                result[name][day, 0] = _stored(np.where(known, taken, np.float32(np.nan)))
    return result | {NOTES: notes, FAILED: 0}


def _window(places: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]], path: Path) -> tuple[slice, slice]:
    """Return the rows and columns of a field that a map needs."""
    known = [(across >= 0) & (down >= 0) for across, down in places]
    if not any(each.any() for each in known):
        raise UserError(
            "the field of cloud tops has no cell anywhere on the map",
            where=f"{path} ({KEY})",
            wanted="a field that covers the region",
            remedy="correct region in the recipe, or give a field that covers it",
        )
    columns = np.concatenate([across[each] for (across, _), each in zip(places, known, strict=True)])
    rows = np.concatenate([down[each] for (_, down), each in zip(places, known, strict=True)])
    return slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)


# ---- swaths -------------------------------------------------------------------------------------------------------


def tops_of_swaths(
    files: Mapping[int, Sequence[SwathFile]], area: Area, first: dt.date, n_days: int, overpass: int
) -> Result:
    """Return the heights of some days that swaths have, smoothed; a granule that cannot be read leaves a hole."""
    result = _empty(area, n_days)
    notes: list[Note] = []
    bounds = area.bounds
    near = np.zeros([len(squares) for squares in area.squares], np.bool_)
    for span in area.spans.values():
        near[np.ix_(*area.squares_of(span))] = True
    middles = ((np.array(squares) + 0.5) * area.step for squares in area.squares)
    x, y = area.centres(*(middle - first for middle, first in zip(middles, area.corner, strict=True)))
    points = on_sphere(*to_geographic(x[near], y[near]))
    for day in range(n_days):
        date, seen, bad = first + dt.timedelta(day), list[tuple[dt.datetime, Cells]](), 0
        for file in files.get(day, ()):
            note = _note(file)
            try:
                cells = read_cells(file, bounds)
            except GranuleError as error:
                notes.append(note | {"status": "bad", "error": " ".join(str(error).split())})
                bad += 1
                continue
            notes.append(note | {"status": "elsewhere" if cells is None else "ok", "sha256": _digest(file.path)})
            if cells is not None:
                seen.append((file.begins, cells))
        if not seen:
            if not bad:
                notes.append(_missing(date, BY_DAY[overpass], overpass, "", "no granule of the day reaches the map"))
            continue
        coarse = np.full(near.shape, np.nan, np.float32)
        coarse[near] = nearest_tops(seen, points)
        for name, span in area.spans.items():
            result[name][day, 0] = _stored(_smoothed(coarse, span, area))
    return result | {NOTES: notes, FAILED: sum(note["status"] == "bad" for note in notes)}


def _smoothed(coarse: Heights, span: tuple[slice, slice], area: Area) -> Heights:
    """Return the mean of the valid heights around each pixel of a part, from those of squares."""
    fine = coarse[np.ix_(*area.squares_of(span))]
    mean = neighbourhood_mean(fine[np.newaxis], area.radius)[0]
    inner = tuple(slice(area.radius, size - area.radius) for size in fine.shape)
    smoothed: Heights = STEP_M * np.rint(mean[inner] / STEP_M)
    return smoothed


def _swaths_by_day(work: Work, year: str) -> dict[tuple[int, int], list[SwathFile]]:
    """Return the granules that may have seen the map by day, by overpass and day of the year from 0."""
    found: dict[tuple[int, int], list[SwathFile]] = defaultdict(list)
    first = dt.date(int(year), 1, 1)
    overpass_of = {product: overpass for overpass, product in BY_DAY.items()}
    for file in _swaths(work, year):
        found[overpass_of[file.product], (file.begins.date() - first).days].append(file)
    return found


def _swaths(work: Work, year: str) -> list[SwathFile]:
    folder = _path(work.recipe, _settings(work.recipe))
    west, _, east, _ = Area.of(work).bounds
    files = [file for file in find_swaths(folder, int(year)) if passes_by_day(file, west, east)]
    if not files:
        raise DataIncomplete(
            f"the folder of cloud tops has no granule of {year}",
            where=f"{folder} ({KEY})",
            found="no file of that year with a name of the cloud product, taken by day",
            wanted="files such as MOD06_L2.A2010032.0440.061.2018058125733.hdf, of Terra (MOD) and Aqua (MYD)",
            remedy="correct the path; or fetch them from LAADS (product MOD06_L2 and MYD06_L2, collection 061)",
        )
    return files


# ---- what both share ----------------------------------------------------------------------------------------------


def _empty(area: Area, n_days: int) -> Result:
    return {
        name: np.full((n_days, 1, rows.stop - rows.start, cols.stop - cols.start), CLOUD_TOP.fill_value, np.int16)
        for name, (rows, cols) in area.spans.items()
    }


def _stored(heights: Heights) -> npt.NDArray[np.int16]:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(heights), np.rint(heights), CLOUD_TOP.fill_value).astype(np.int16)


def _note(file: SwathFile) -> Note:
    return {
        "id": file.name,
        "product": file.product,
        "tile": "",
        "date": file.begins.date().isoformat(),
        "source": file.path.parent.name,
        "sha256": "",
        "status": "",
        "error": "",
    }


def _missing(date: dt.date, product: str, overpass: int, source: str, why: str) -> Note:
    note = {"id": "", "product": product, "tile": "", "date": date.isoformat(), "source": source}
    return note | {"sha256": "", "status": "missing", "error": f"{OVERPASSES[overpass]}: {why}"}


def account(notes: Sequence[Iterable[Note]], *, settings: Ingest, year: str) -> Noted:
    """Return the table of what a year's heights were made of, and the complaint if bad or missing is not accepted."""
    table = pd.DataFrame([note for each in notes for note in each], columns=list(COLUMNS))
    table = table.sort_values(["date", "product", "id", "error"], ignore_index=True)
    return Noted(tables={f"cloud-tops-{year}": table}, complaint=_complaint(table, settings, year))


def _complaint(table: pd.DataFrame, settings: Ingest, year: str) -> FrostmapError | None:
    for status, choice in (("bad", settings.bad_granules), ("missing", settings.missing_granules)):
        faulty = table[table["status"] == status]
        if len(faulty) and choice == "refuse":
            shown = "; ".join(
                f"{row['id'] or row['date']}: {row['error']}" for row in faulty.head(5).to_dict("records")
            )
            what = "granules of the cloud product" if status == "bad" else "days of cloud tops"
            return DataIncomplete(
                f"{len(faulty)} {what} of {year} are {status}",
                where=f"tables/cloud-tops-{year}.csv lists them",
                found=shown + (f"; and {len(faulty) - 5} more" if len(faulty) > 5 else ""),
                wanted="heights of cloud tops for every overpass by day",
                remedy="replace or add the files and run again; "
                f"or set ingest.{status}_granules: accept, and cloud without a height counts as shading what is below",
            )
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settings(recipe: Recipe) -> CloudTops:
    settings = recipe.sources.cloud_top
    assert settings is not None  # noqa: S101 - for mypy: without them there is no scope
    return settings


def _path(recipe: Recipe, settings: CloudTops) -> Path:
    return recipe.path(settings.path or Path())


def _identity(path: Path) -> list[Any]:
    """Return what tells a file from another version of it, without reading it."""
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _files(path: Path) -> list[Path]:
    """Return a file, or all in a folder and below."""
    if not path.exists():
        raise UserError(
            "the field of cloud tops is not there",
            where=f"{path} ({KEY})",
            wanted="a Zarr store or a NetCDF file",
            remedy="correct the path in the recipe, or its `data` folder",
        )
    return sorted(Path(at, name) for at, _, names in os.walk(path) for name in names) if path.is_dir() else [path]


def _causes(work: Work, year: str) -> dict[str, str]:
    settings = _settings(work.recipe)
    if settings.kind == MOD06:
        granules = ledger.digest([_identity(file.path) for file in _swaths(work, year)])
        return {"cloud tops": MOD06, "granules": granules}
    return {"cloud tops": ledger.digest([_identity(path) for path in _files(_path(work.recipe, settings))])}


def _scopes(recipe: Recipe) -> list[str]:
    """Return the years; none for a constant height above the ground, which needs no array."""
    settings = recipe.sources.cloud_top
    return all_years(recipe) if recipe.sources.lst and settings and settings.kind in (FIELD, MOD06) else []


def _memory(work: Work, _year: str) -> int:
    area = Area.of(work)
    rows, cols = area.squares
    # Stored heights of all days; of swaths, the squares' points and a tree of one day's cells; of a field, the cell of
    # each pixel; and what is made on the way, of one day.
    return DAYS_PER_CHUNK * area.pixels * 2 + 32 * area.pixels + 60 * len(rows) * len(cols) + 100 * 2**20


CLOUD_TOPS = Stage(
    "cloud_top",
    "heights of cloud tops",
    build,
    scopes=_scopes,
    causes=_causes,
    judged_by=("ingest",),
    tolerates=accepts_bad,
    writes=(CLOUD_TOP,),
    memory=_memory,
    block=None,
)
