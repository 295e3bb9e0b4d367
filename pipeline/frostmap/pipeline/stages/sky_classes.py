"""What sun, cloud and satellite are to each other at every pixel: clear or cloudy, sunlit or shaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from frostmap.catalogs.grids import to_geographic
from frostmap.kernels.sky_classes import (
    FILTER,
    NIGHT_CLOUD,
    SHADED_CLOUD,
    amid_clouds,
    classes_without_shadows,
    sky_classes,
)
from frostmap.kernels.view_geometry import PIXEL_SIZE
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.cubes import DAYS_PER_CHUNK
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import CLOUD_TOP, ELEVATION, OVERPASSES, SKY, SKY_KINDS, STATE, VIEW_ANGLE, VIEW_TIME
from frostmap.pipeline.stage import Noted, Products, Stage, all_years
from frostmap.pipeline.stages.cloud_top import constant_tops
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.work import Work

NIGHT = (2, 3)
ASCENDING = (False, True, True, False)
"""Whether the satellite flies north, by overpass."""

REACH_KM = (57.5, 87.1)
"""How far down and across the map shadows are followed [km]: clouds of 12 km, seen and lit at 65° and 68°."""
SEAM_KM = 9.3
"""How near to the edge of a swath sunlit cloud is not believed [km]."""
AMID_KM = 3.0
"""How far around a pixel clouds make it doubtful [km]: 7 x 7 pixels of 1 km."""
BLOCK_PIXELS = 400
"""Pixels along y and x that a task makes, about: more than a chunk, as its halo is nearly one wide."""

"""The classes, in the order of their numbers."""
DROPPED = "dropped"
"""Clouds whose shadow falls too far to be followed; only counted, not kept."""


class Amid(NamedTuple):
    """When a pixel is seen amid clouds: see `frostmap.kernels.sky_classes.amid_clouds`."""

    reach: int
    """Half width of the neighbourhood [pixels]."""
    least_seen: float
    """Smallest share of it that is observed, of what is seen in the open."""


TRUST_ALL = Amid(0, 0.0)


def amid_at(pixel_km: float, least_seen: float) -> Amid:
    """Return it for pixels of some width: 7 x 7 km; pixels of more than 6 km have no neighbours within that.

    >>> amid_at(0.927, 0.7), amid_at(13.9, 0.7)
    (Amid(reach=3, least_seen=0.7), Amid(reach=0, least_seen=0.7))
    """
    return Amid(round(AMID_KM / pixel_km), least_seen)


def _amid(work: Work) -> Amid:
    return amid_at(work.pixel_km, work.recipe.gap_filling.clear_around)


def build(work: Work, year: str) -> Products:
    """Return the sky classes of a year."""
    observations = work.open(f"observations/{year}")
    cubes, halo = [observations[[STATE.name]]], _halo(work)
    around = (_amid(work).reach,) * 2
    function: Callable[..., Block] = classes
    amid = _amid(work)
    tops = work.recipe.sources.cloud_top
    if tops is not None:
        cubes = [
            observations[[STATE.name, VIEW_TIME.name, VIEW_ANGLE.name]],
            work.open("terrain")[[ELEVATION.name]],
        ]
        if tops.kind == "constant":
            function = partial(classes_at_constant_height, height_m=tops.height_m)
        else:
            cubes.insert(1, work.open(f"cloud_top/{year}")[[CLOUD_TOP.name]])
        around = halo  # wider than what is looked at for clouds around
    made = map_windows(
        partial(function, pixel_metres=1000.0 * work.pixel_km, halo=halo, amid=amid),
        cubes,
        (SKY,),
        work.sizes(year),
        block=_block(work),
        halo=around,
        days=DAYS_PER_CHUNK,
        overpasses=True,
        wanted=work.inside,
        note=partial(count_classes, year=int(year)),
    )
    coords = year_coords(int(year))
    return Products(cube=made.cube, tasks=made.tasks, coords=coords, noted=partial(sky_table, year=int(year)))


def classes(
    observations: xr.Dataset,
    cloud_top: xr.Dataset | None = None,
    terrain: xr.Dataset | None = None,
    *,
    pixel_metres: float = PIXEL_SIZE,
    halo: tuple[int, int] = (64, 96),
    amid: Amid = TRUST_ALL,
) -> Block:
    """Return the sky classes of a window.

    Parameters
    ----------
    observations
        Of any days and overpasses (time, overpass, y, x): `state`, and where there are cloud tops `view_time` and
        `view_angle`. Its coordinates say when, which and where: days, overpass, y and x [m].
    cloud_top
        Stored heights of cloud tops above sea level [m]; without them all cloud by day counts as shading.
    terrain
        `elevation` [m]; needed with cloud tops.
    pixel_metres
        Width of a pixel [m].
    halo
        Rows and columns around a block beyond which nothing may matter.
    amid
        What counts as seen amid clouds.

    Returns
    -------
    Arrays (time, overpass, y, x): `sky`; and `dropped`, where a cloud's shadow falls too far to be followed.
    """
    state = observations[STATE.name].values
    result: Block = {SKY.name: np.empty(state.shape, SKY.dtype), DROPPED: np.zeros(state.shape, np.bool_)}
    for place, overpass in enumerate(observations["overpass"].values.tolist()):
        if overpass in NIGHT or cloud_top is None or terrain is None:
            cloud = NIGHT_CLOUD if overpass in NIGHT else SHADED_CLOUD
            result[SKY.name][:, place] = classes_without_shadows(state[:, place], cloud)
            continue
        longitude, latitude = to_geographic(*np.meshgrid(observations["x"].values, observations["y"].values))
        day_of_year = observations["time"].dt.dayofyear.values
        elevation = terrain[ELEVATION.name].values
        for day in range(len(state)):  # one at a time: heights as floating point are large
            stored = cloud_top[CLOUD_TOP.name].values[day, place]
            height = np.where(stored == CLOUD_TOP.fill_value, np.float32(np.nan), stored.astype(np.float32))
            view_time, view_angle = (observations[v.name].values[day, place] for v in (VIEW_TIME, VIEW_ANGLE))
            result[SKY.name][day : day + 1, place], result[DROPPED][day : day + 1, place] = sky_classes(
                state[day, place][np.newaxis],
                view_time[np.newaxis],
                view_angle[np.newaxis],
                height[np.newaxis],
                elevation,
                latitude[:, 0],
                longitude,
                day_of_year[day : day + 1],
                ascending=ASCENDING[overpass],
                pixel_size=pixel_metres,
                halo=halo,
                seam_distance=max(1, round(1000.0 * SEAM_KM / pixel_metres)),
            )
    for place in range(state.shape[1]):
        own = np.ascontiguousarray(state[:, place])
        result[SKY.name][:, place] = amid_clouds(own, np.ascontiguousarray(result[SKY.name][:, place]), *amid)
    return result


def classes_at_constant_height(
    observations: xr.Dataset,
    terrain: xr.Dataset,
    *,
    height_m: float,
    pixel_metres: float,
    halo: tuple[int, int],
    amid: Amid = TRUST_ALL,
) -> Block:
    """Return the sky classes of a window whose clouds all reach as far above the ground [m]; see `classes`."""
    tops = constant_tops(terrain, observations[STATE.name].shape, height_m)
    return classes(observations, tops, terrain, pixel_metres=pixel_metres, halo=halo, amid=amid)


def count_classes(
    made: Block, *, wanted: npt.NDArray[np.bool_], at: Mapping[str, slice], year: int
) -> list[tuple[int, int, list[int]]]:
    """Return overpass, month and how many wanted pixels are of each class, and dropped, of a block."""
    sky, dropped = made[SKY.name], made[DROPPED]
    first = at["time"].start if "time" in at else 0
    days = np.datetime64(f"{year}-01-01") + np.arange(first, first + len(sky))
    months = days.astype("datetime64[M]").astype(int) % 12 + 1
    counts = []
    for month in np.unique(months).tolist():
        for place in range(sky.shape[1]):
            overpass = place + (at["overpass"].start if "overpass" in at else 0)
            within = sky[months == month, place][:, wanted]
            of_class = np.bincount(within.ravel(), minlength=len(SKY_KINDS))[: len(SKY_KINDS)].tolist()
            counts.append((overpass, month, [*of_class, int(dropped[months == month, place][:, wanted].sum())]))
    return counts


def sky_table(notes: Sequence[Sequence[tuple[int, int, list[int]]]], *, year: int) -> Noted:
    """Return the table of the shares of each class, by overpass and month.

    `pixel_days` is what they are shares of; `dropped` the number of clouds whose shadow falls too far.
    """
    total = np.zeros((len(OVERPASSES), 12, len(SKY_KINDS) + 1), np.int64)
    for overpass, month, counts in (line for note in notes for line in note):
        total[overpass, month - 1] += counts
    lines = []
    for (overpass, month), counts in np.ndenumerate(total[..., :-1].sum(axis=-1)):
        if counts:
            shares = (total[overpass, month, :-1] / counts).round(6).tolist()
            line: dict[str, Any] = {"year": year, "overpass": OVERPASSES[overpass], "month": month + 1}
            line |= {"pixel_days": int(counts)} | dict(zip(SKY_KINDS, shares, strict=True))
            lines.append(line | {DROPPED: int(total[overpass, month, -1])})
    columns = ["year", "overpass", "month", "pixel_days", *SKY_KINDS, DROPPED]
    return Noted(tables={f"sky-{year}": pd.DataFrame(lines, columns=columns)})


def _halo(work: Work) -> tuple[int, int]:
    """Return the rows and columns around a block that its shadows may come from, with the filter's own.

    >>> from types import SimpleNamespace
    >>> _halo(SimpleNamespace(pixel_km=0.9266254)), _halo(SimpleNamespace(pixel_km=46.3))
    ((64, 96), (3, 4))
    """
    rows, columns = (max(1, round(reach / work.pixel_km)) + FILTER for reach in REACH_KM)
    return rows, columns


def _block(work: Work) -> int:
    return work.chunk_pixels * max(1, BLOCK_PIXELS // work.chunk_pixels)


def _scopes(recipe: Recipe) -> list[str]:
    return all_years(recipe) if recipe.sources.lst else []


def _inputs(recipe: Recipe, year: str) -> list[str]:
    tops = recipe.sources.cloud_top
    if tops is None:
        return [f"observations/{year}"]
    return [f"observations/{year}", "terrain", *([] if tops.kind == "constant" else [f"cloud_top/{year}"])]


def _causes(work: Work, _year: str) -> dict[str, str]:
    tops = work.recipe.sources.cloud_top
    causes = {"gap_filling.clear_around": str(work.recipe.gap_filling.clear_around)}
    if tops:
        causes["cloud tops"] = tops.kind + (f" {tops.height_m}" if tops.kind == "constant" else "")
    return causes


def _memory(work: Work, _year: str) -> int:
    shadows = work.recipe.sources.cloud_top is not None
    height, width = (
        min(_block(work) + 2 * margin * shadows, pixels) for margin, pixels in zip(_halo(work), work.shape, strict=True)
    )
    # State, view and cloud tops, classes and what is dropped, cut and uncut; of one day floating point and the place.
    return height * width * (DAYS_PER_CHUNK * (9 if shadows else 4) + (50 if shadows else 0))


SKY_CLASSES = Stage(
    "sky_classes",
    "sun, cloud and satellite",
    build,
    scopes=_scopes,
    inputs=_inputs,
    causes=_causes,
    writes=(SKY,),
    memory=_memory,
    block=_block,
    version=2,
)
