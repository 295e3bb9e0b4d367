"""What is kept of the observations, why the rest is not, and when and from where every pixel was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.kernels.orbit_repeat import MISSING, REPEATS, fill_geometry_by_repeat, typical_view_time
from frostmap.kernels.quality import (
    CLOUDY,
    DOUBTFUL,
    GEOMETRY_INTERPOLATED,
    NO_SWATH,
    OBSERVED,
    RESIDUAL_CLOUD,
    SCREEN_REACH,
    UNSEEN,
    observation_state,
    residual_clouds,
)
from frostmap.kernels.view_geometry import PIXEL_SIZE, REPEAT_CYCLE, interpolate_along_rows
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.recipe import Quality, Recipe
from frostmap.pipeline.schema import LST, OBSERVATIONS, OVERPASSES, RAW, STATE, VIEW_TIME
from frostmap.pipeline.stage import Noted, Products, Stage, all_years
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.work import Work, days_in

REACH_DAYS = REPEAT_CYCLE * REPEATS
"""Days of the years before and after that complete a year's first and last days."""
REACH_KM = 30.0
"""How far along its row a pixel's view is interpolated from, on either side [km]."""
NOMINAL_HOURS = (10.5, 13.5, 22.5, 1.5)
"""Local solar hours of the four overpasses, for pixels that were never seen in a year."""
NIGHT = (2, 3)

KINDS = ("observed", "cloud", "unseen", "doubtful", "residual_cloud", "no_swath")
"""What a look at a pixel can come to; no_swath: not produced, and no satellite known to have passed."""
_KIND_OF = {CLOUDY: "cloud", UNSEEN: "unseen", DOUBTFUL: "doubtful", RESIDUAL_CLOUD: "residual_cloud"}


def build(work: Work, year: str) -> Products:
    """Return the kept observations of a year."""
    windows = [work.open(f"ingest/{year}")]
    for neighbour in _neighbours(work.recipe, year):
        last = slice(-REACH_DAYS, None) if int(neighbour) < int(year) else slice(REACH_DAYS)
        windows.append(work.open(f"ingest/{neighbour}").isel(time=last))
    reach = _reach_pixels(work)
    made = map_windows(
        partial(observe, quality=work.recipe.quality, reach=reach, pixel_metres=1000.0 * work.pixel_km),
        [window[[variable.name for variable in RAW]] for window in windows],
        OBSERVATIONS,
        work.sizes(year),
        block=work.chunk_pixels,
        halo=(0, reach),
        overpasses=True,
        wanted=work.inside_with_margin,
        note=partial(count_states, year=int(year)),
    )
    tiles = {tile: work.tile_window(tile) for tile in work.tiles}
    return Products(
        cube=made.cube,
        tasks=made.tasks,
        coords=year_coords(int(year)),
        noted=partial(quality_table, year=int(year), tiles=tiles),
    )


def observe(
    year: xr.Dataset, *neighbours: xr.Dataset, quality: Quality, reach: int = 32, pixel_metres: float = PIXEL_SIZE
) -> Block:
    """Return what is kept of a window's year, and the view of every pixel.

    Parameters
    ----------
    year
        Raw counts of all days of the year (time, overpass, y, x), of any overpasses.
    neighbours
        The same of the days right before and right after it, as far as they are known.
    quality
        What is kept.
    reach
        Columns on either side from which a row's views are interpolated.
    pixel_metres
        Width of a pixel [m].

    Returns
    -------
    Arrays (time, overpass, y, x) of the year: `lst`, 0 where it is not kept; `state`; and `view_time` and
    `view_angle`: observed, else of a day of the same track, else interpolated along the row, else the pixel's mean
    hour of the year, or the overpass's nominal one, without an angle.
    """
    windows = sorted((year, *neighbours), key=lambda window: window["time"].values[0])
    days = np.concatenate([window["time"].values for window in windows])
    if (np.diff(days) != np.timedelta64(1, "D")).any():
        raise ValueError(f"{len(days)} days from {days[0]} to {days[-1]}; wanted each day once, without gaps")
    before = int(np.flatnonzero(days == year["time"].values[0])[0])
    after = len(days) - before - year.sizes["time"]
    shape = year[LST.name].shape
    result: Block = {variable.name: np.empty(shape, variable.dtype) for variable in OBSERVATIONS}
    for place, overpass in enumerate(year["overpass"].values.tolist()):
        raw = {v.name: np.concatenate([window[v.name].values[:, place] for window in windows]) for v in RAW}
        lst, state = _kept(raw, before, after, quality, night=overpass in NIGHT)
        stored = raw["view_time"], raw["view_angle"]
        repeated = fill_geometry_by_repeat(*stored, before=before, after=after)
        view_time, view_angle, interpolated = interpolate_along_rows(*repeated, reach=reach, pixel_size=pixel_metres)
        flag = interpolated * np.uint8(GEOMETRY_INTERPOLATED)
        nowhere = view_angle == MISSING
        if nowhere.any():
            nominal = round(NOMINAL_HOURS[overpass] / (VIEW_TIME.scale or 1.0))
            typical = typical_view_time(stored[0][before : len(days) - after], nominal)
            view_time = np.where(nowhere, typical, view_time)
            flag |= nowhere * np.uint8(NO_SWATH)
        arrays: tuple[npt.NDArray[Any], ...] = (lst, state | flag, view_time, view_angle)
        for variable, array in zip(OBSERVATIONS, arrays, strict=True):
            result[variable.name][:, place] = array
    return result


def _kept(
    raw: Mapping[str, npt.NDArray[Any]], before: int, after: int, quality: Quality, *, night: bool
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Return the counts that are kept of one overpass, 0 elsewhere, and the state of each."""
    reach = SCREEN_REACH if quality.residual_cloud_screen else 0
    earlier, later = min(before, reach), min(after, reach)
    days = slice(before - earlier, len(raw["lst"]) - after + later)
    state = observation_state(
        raw["lst"][days],
        raw["qc"][days],
        scale=LST.scale or 1.0,
        max_lst_error_class=quality.max_lst_error_class,
        max_emissivity_error_class=quality.max_emissivity_error_class,
    )
    lst = np.where(state <= OBSERVED, raw["lst"][days], np.uint16(0))
    own = slice(earlier, len(lst) - later)
    if not quality.residual_cloud_screen:
        return lst[own], state[own]
    rejected = residual_clouds(lst, night, scale=LST.scale or 1.0, before=earlier, after=later)
    return np.where(rejected, np.uint16(0), lst[own]), np.where(rejected, np.uint8(RESIDUAL_CLOUD), state[own])


def count_states(
    observed: Block, wanted: npt.NDArray[np.bool_], at: Mapping[str, slice], *, year: int
) -> dict[str, Any]:
    """Return a block's place, and how many looks at its wanted pixels came to each of `KINDS`.

    `counts` is (overpass, month, kind), as lists; `overpass`, `y` and `x` are its first.
    """
    state = observed[STATE.name]
    months = np.arange(f"{year}-01", f"{year + 1}-01", dtype="datetime64[M]")
    edges = np.append(months, months[-1] + 1).astype("datetime64[D]") - months[0]
    every = wanted.all()
    counts = np.zeros((state.shape[1], len(months), len(KINDS)), np.int64)
    for overpass in range(state.shape[1]):
        # All codes are counted; what each means is settled on the few sums.
        for month, (first, stop) in enumerate(zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True)):
            days = state[first:stop, overpass]
            codes = np.bincount((days if every else days[:, wanted]).ravel(), minlength=2 * NO_SWATH)
            for code in np.flatnonzero(codes):
                counts[overpass, month, KINDS.index(kind_of(int(code)))] += codes[code]
    return {
        "overpass": at["overpass"].start if "overpass" in at else 0,
        "y": at["y"].start,
        "x": at["x"].start,
        "counts": counts.tolist(),
    }


def kind_of(state: int) -> str:
    """Return which of `KINDS` a state is.

    >>> kind_of(1), kind_of(4 + 32), kind_of(5), kind_of(5 + 32)
    ('observed', 'cloud', 'unseen', 'no_swath')
    """
    why = state % GEOMETRY_INTERPOLATED
    if why == UNSEEN and state & NO_SWATH:
        return "no_swath"
    return "observed" if why <= OBSERVED else _KIND_OF[why]


def quality_table(notes: Sequence[dict[str, Any]], *, year: int, tiles: Mapping[str, tuple[slice, slice]]) -> Noted:
    """Return the table of what was kept, by tile, overpass and month.

    `looks` is the sum of all `KINDS`; `kept` is the share observed of those with a swath.
    """
    total = {(tile, overpass): np.zeros((12, len(KINDS)), np.int64) for tile in tiles for overpass in OVERPASSES}
    for note in notes:
        tile = next((name for name, (rows, cols) in tiles.items() if _holds(rows, cols, note["y"], note["x"])), None)
        if tile is None:
            continue  # a margin of the region beyond its tiles, where nothing is looked for
        for shift, counts in enumerate(note["counts"]):
            total[tile, OVERPASSES[note["overpass"] + shift]] += np.asarray(counts, np.int64)
    lines = [
        {"year": year, "tile": tile, "overpass": overpass, "month": month, "looks": int(counts.sum())}
        | dict(zip(KINDS, counts.tolist(), strict=True))
        for (tile, overpass), by_month in total.items()
        for month, counts in enumerate(by_month, start=1)
        if counts.sum()
    ]
    table = pd.DataFrame(lines, columns=["year", "tile", "overpass", "month", "looks", *KINDS])
    with_swath = table["looks"] - table["no_swath"]
    table["kept"] = (table["observed"] / with_swath.where(with_swath > 0)).round(6)
    return Noted(tables={f"quality-{year}": table})


def _holds(rows: slice, cols: slice, y: int, x: int) -> bool:
    return bool(rows.start <= y < rows.stop and cols.start <= x < cols.stop)


def _reach_pixels(work: Work) -> int:
    return max(1, round(REACH_KM / work.pixel_km))


def _neighbours(recipe: Recipe, year: str) -> list[str]:
    """Return the years before and after that the recipe has too."""
    known = all_years(recipe)
    return [other for other in (str(int(year) - 1), str(int(year) + 1)) if other in known]


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, year: str) -> list[str]:
    return [f"ingest/{each}" for each in (year, *_neighbours(recipe, year))]


def _memory(work: Work, year: str) -> int:
    days = days_in(int(year)) + REACH_DAYS * len(_neighbours(work.recipe, year))
    pixels = (work.chunk_pixels + 2 * _reach_pixels(work)) ** 2
    return 24 * days * pixels  # 5 bytes as read, 5 joined, 5 made, and what is made on the way, of one overpass


OBSERVATIONS_KEPT = Stage(
    "observations",
    "what is kept of the observations",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("quality",),
    writes=OBSERVATIONS,
    memory=_memory,
    wanted=lambda work: work.inside_with_margin,
)
