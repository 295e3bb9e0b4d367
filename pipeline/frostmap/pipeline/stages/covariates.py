"""The predictors of E on the map's grid: terrain, vegetation, snow, precipitation and soil texture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from frostmap.catalogs.grids import SINUSOIDAL_CRS, to_geographic
from frostmap.kernels.around import EARTH_RADIUS_KM, filled_from_around
from frostmap.pipeline.blocks import Block, map_windows
from frostmap.pipeline.gridded_files import NO_VALUE, OUT_OF_RANGE
from frostmap.pipeline.gridded_maps import Field, described
from frostmap.pipeline.recipe import Covariates, Recipe
from frostmap.pipeline.schema import (
    FILLED_PREDICTORS,
    GLACIERS,
    INSIDE,
    LAKES,
    NDVI,
    PREDICTORS,
    Variable,
    missing_of,
)
from frostmap.pipeline.stage import Noted, Products, Stage, all_epochs, step_name
from frostmap.pipeline.stages import precipitation, snow_cover, soil
from frostmap.pipeline.stages.precipitation import PRECIPITATION_MADE
from frostmap.pipeline.stages.snow_cover import SNOW_COVER_MADE
from frostmap.pipeline.stages.soil import SOIL_MADE
from frostmap.pipeline.stages.vegetation import LONGEST_GAP, Series, interpolate_circle
from frostmap.pipeline.work import Work

POSSIBLE: dict[str, tuple[float, float]] = {
    "elevation": (-500.0, 9000.0),
    "slope": (0.0, 90.0),
    "northness": (-1.0, 1.0),
    "eastness": (-1.0, 1.0),
    "wetness": (-10.0, 50.0),
    "ndvi": (-0.2, 1.0),
    "snow_cover": snow_cover.POSSIBLE,
    "precipitation": precipitation.POSSIBLE,
    "sand": soil.POSSIBLE,
    "clay": soil.POSSIBLE,
}
"""Lowest and highest value of each predictor, in its own units; beyond it, it is missing."""

SLACK = 1e-4
"""What rounding may add to a bound."""

MOSTLY = 0.5
"""Share of lake or glacier from which a pixel hardly needs predictors."""

COLUMNS = (
    "what", "units", "pixels", "beyond", "no_value", "impossible", "filled", "missing", "missing_on_land", "lowest",
    "mean", "highest",
)  # fmt: skip
"""Of the table of what became of pixels."""

WRITES: tuple[Variable, ...] = (*PREDICTORS, FILLED_PREDICTORS)


def build(work: Work, epoch: str) -> Products:
    """Return the predictors of an epoch, and the account of missing ones."""
    years = sorted(work.recipe.epochs.named()[epoch].years)
    cubes = [work.open(step) for step in (f"masks/{epoch}", *_maps(epoch), *(f"vegetation/{year}" for year in years))]
    settings, window = work.recipe.covariates, _reach(work)
    made = map_windows(
        partial(predictors_of, settings=settings, crs=str(work.geobox.crs), window=window),
        cubes,
        WRITES,
        work.sizes(epoch),
        block=work.chunk_pixels,
        halo=window,
        wanted=work.inside,
        note=_note,
    )
    return Products(cube=made.cube, tasks=made.tasks, noted=lambda notes: _account(notes, epoch))


def _reach(work: Work) -> tuple[int, int]:
    """Return the rows and columns around a block that its missing pixels are filled from."""
    settings = work.recipe.covariates
    return window_of_reach(work.geobox, settings.fill_reach_km) if settings.fill != "none" else (0, 0)


def _window(work: Work) -> tuple[int, int]:
    """Return what a task sees: a block and what is around it."""
    rows, cols = _reach(work)
    return work.chunk_pixels + 2 * rows, work.chunk_pixels + 2 * cols


def _maps(epoch: str) -> tuple[str, ...]:
    """Return the steps that make predictors other than NDVI."""
    return "terrain", f"{PRECIPITATION_MADE.name}/{epoch}", f"{SNOW_COVER_MADE.name}/{epoch}", SOIL_MADE.name


def predictors_of(
    masks: xr.Dataset, *cubes: xr.Dataset, settings: Covariates, crs: str, window: tuple[int, int]
) -> Block:
    """Return the predictors of a window: those of maps, and the mean of some years' NDVI; missing ones filled if asked.

    Parameters
    ----------
    masks
        The region, lakes and glaciers.
    cubes
        Terrain, precipitation, snow cover, soil; then NDVI of the composites of each year.
    settings
        Whether and how missing pixels are filled.
    crs
        Of the window's coordinates.
    window
        Rows and columns around a pixel that hold all within reach of it.

    Returns
    -------
    The predictors and which of them were filled; for the account also why each is missing in its source
    (``NAME_why``: as `schema.missing_of`, filled ones included), and what is mostly lake or glacier (``covered``).
    """
    maps, years = cubes[:4], cubes[4:]
    inside = masks[INSIDE.name].to_numpy()
    layers = {str(name): cube[name].to_numpy() for cube in maps for name in cube.data_vars}
    layers[NDVI.name] = mean_of_years([year[NDVI.name].to_numpy() for year in years])
    filled = np.zeros(inside.shape, np.uint16)
    result: Block = {"covered": np.maximum(masks[LAKES.name].to_numpy(), masks[GLACIERS.name].to_numpy()) >= MOSTLY}
    for bit, variable in enumerate(PREDICTORS):
        values = layers[variable.name].astype(np.float32)
        lowest, highest = POSSIBLE[variable.name]
        impossible = (values < lowest - SLACK) | (values > highest + SLACK)
        values[impossible] = np.nan
        lacking = np.isnan(values) & inside
        why = np.where(lacking, layers.get(missing_of(variable).name, np.uint8(NO_VALUE)), 0).astype(np.uint8)
        why[lacking & (why == 0)] = NO_VALUE
        why[impossible] = OUT_OF_RANGE
        if settings.fill == "around" and lacking.any():
            places = places_of(masks, crs)
            values = filled_from_around(values, lacking, *places, settings.fill_reach_km, window)
            filled |= (lacking & np.isfinite(values)).astype(np.uint16) << np.uint16(bit)
        result |= {variable.name: values, f"{variable.name}_why": why}
    return result | {FILLED_PREDICTORS.name: filled}


def mean_of_years(years: Sequence[Series]) -> Series:
    """Return mean NDVI of some years: that of the 23 intervals, each the mean of those years that have it.

    An interval that no year has lies on the line between those before and after it, up to `LONGEST_GAP` in a row; the
    year is a circle.

    Parameters
    ----------
    years : (composite, y, x) float32 each
        NDVI of a year's intervals; NaN is missing.

    Returns
    -------
    (y, x) float32
        NaN where an interval is still missing.
    """
    count = np.sum([np.isfinite(year) for year in years], axis=0)
    total = np.sum([np.nan_to_num(year, nan=0.0) for year in years], axis=0, dtype=np.float64)
    series = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    mean: Series = interpolate_circle(series, LONGEST_GAP).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


# ---- where pixels are ------------------------------------------------------------------------------------------------


def places_of(cube: xr.Dataset, crs: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return longitudes and latitudes of the centres of a window's pixels [°]."""
    x, y = np.meshgrid(_centres(cube, -1), _centres(cube, -2))
    return _degrees(x, y, crs)


def _centres(cube: xr.Dataset, axis: int) -> npt.NDArray[np.float64]:
    return np.asarray(cube[cube[INSIDE.name].dims[axis]].values, np.float64)


def _degrees(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], crs: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if crs == SINUSOIDAL_CRS:
        return to_geographic(x, y)
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(longitude, np.float64), np.asarray(latitude, np.float64)


def window_of_reach(geobox: GeoBox, reach_km: float) -> tuple[int, int]:
    """Return how many rows and columns around a pixel hold all within reach of it: more columns where rows lean.

    Examples
    --------
    >>> from frostmap.catalogs.grids import lattice
    >>> window_of_reach(lattice(1200)[25, 5], 5.0)
    (6, 13)
    """
    height, width = geobox.shape
    rows, columns = (np.linspace(0.5, n - 0.5, 9) for n in (height, width))
    a, e, c, f = geobox.affine.a, geobox.affine.e, geobox.affine.c, geobox.affine.f
    x, y = np.meshgrid(c + a * columns, f + e * rows)
    longitude, latitude = (np.radians(each) for each in _degrees(x, y, str(geobox.crs)))
    right, below = (_degrees(x + dx, y + dy, str(geobox.crs)) for dx, dy in ((a, 0.0), (0.0, e)))
    parallel = EARTH_RADIUS_KM * np.cos(latitude)
    across = np.abs(np.radians(right[0]) - longitude) * parallel
    lean = np.abs(np.radians(below[0]) - longitude) * parallel
    down = np.abs(np.radians(below[1]) - latitude) * EARTH_RADIUS_KM
    reached = math.ceil(reach_km / float(np.nanmin(down)))
    return reached, math.ceil((reach_km + reached * float(np.nanmax(lean))) / float(np.nanmin(across)))


# ---- what became of pixels, and what is read ------------------------------------------------------------------------


def _note(block: Block, wanted: npt.NDArray[np.bool_], at: dict[str, slice]) -> list[dict[str, Any]]:  # noqa: ARG001
    land = ~block["covered"][wanted].astype(bool)
    notes = []
    for variable in PREDICTORS:
        values = block[variable.name][wanted].astype(np.float64)
        why = block[f"{variable.name}_why"][wanted].astype(np.uint8)
        known = np.isfinite(values)
        note: dict[str, Any] = {"what": variable.name, "units": variable.units, "pixels": int(values.size)}
        causes = (("beyond", 1), ("no_value", NO_VALUE), ("impossible", OUT_OF_RANGE))
        note |= {name: int(np.count_nonzero(why == code)) for name, code in causes}
        note |= {"filled": int(np.count_nonzero(known & (why > 0))), "missing": int(np.count_nonzero(~known))}
        note |= {"missing_on_land": int(np.count_nonzero(~known & land)), "known": int(known.sum())}
        if known.any():
            note |= {"lowest": float(values[known].min()), "highest": float(values[known].max())}
            note |= {"total": float(values[known].sum())}
        notes.append(note)
    return notes


def _account(notes: Sequence[Any], epoch: str) -> Noted:
    """Return the table of what became of the pixels of each predictor."""
    every = pd.DataFrame(
        [note for several in notes for note in several or ()], columns=[*COLUMNS, "known", "total"]
    ).drop(columns="mean")
    rows = []
    for variable in PREDICTORS:
        own = every[every["what"] == variable.name]
        row: dict[str, Any] = {"what": variable.name, "units": variable.units}
        row |= {name: int(own[name].sum()) for name in COLUMNS[2:9]}
        known = int(own["known"].sum())
        row |= {"lowest": own["lowest"].min(), "highest": own["highest"].max()}
        row["mean"] = float(own["total"].sum()) / known if known else np.nan
        rows.append(row)
    return Noted(tables={f"covariates-{epoch}": pd.DataFrame(rows, columns=list(COLUMNS)).round(6)})


def grids_read(work: Work, steps: Iterable[str]) -> list[dict[str, Any]]:
    """Return which files those of some steps read that make precipitation, snow cover, sand and clay, as plain data."""
    made: dict[str, Callable[[], list[Field]]] = {SOIL_MADE.name: partial(soil.fields, work)}
    for epoch in all_epochs(work.recipe):
        made[step_name(PRECIPITATION_MADE.name, epoch)] = partial(precipitation.fields, work, epoch)
        made[step_name(SNOW_COVER_MADE.name, epoch)] = partial(snow_cover.fields, work, epoch)
    return [row for step in steps if step in made for row in described(made[step](), step)]


def _scopes(recipe: Recipe) -> list[str]:
    sources = recipe.sources
    whole = sources.elevation and sources.ndvi and sources.precipitation and sources.snow_cover and sources.texture
    return all_epochs(recipe) if whole else []


def _inputs(recipe: Recipe, epoch: str) -> list[str]:
    years = sorted(recipe.epochs.named()[epoch].years)
    return [f"masks/{epoch}", *_maps(epoch), *(f"vegetation/{year}" for year in years)]


COVARIATES = Stage(
    "covariates",
    "predictors of E",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sections=("covariates",),
    writes=WRITES,
    window=_window,
    version=3,
)
