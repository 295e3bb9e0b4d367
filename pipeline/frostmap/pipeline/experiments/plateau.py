"""The simulated plateau as a table of pixels: predictors, forcing and the truth, without granules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from frostmap.catalogs.grids import parse_tile
from frostmap.pipeline.schema import PREDICTORS
from frostmap.pipeline.simulate.climate import landscape, soil_parameter
from frostmap.pipeline.simulate.outline import inside
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.truth import epoch_covariates, mean_degree_days

TILES = ("h23v05", "h24v05", "h25v05", "h25v06", "h26v05", "h26v06")
"""Of the plateau."""
PLANE = "+proj=laea +lon_0=89 +lat_0=33 +units=km +datum=WGS84"
CATCHMENT_M = 900.0
"""Upslope area a width of contour that wetness is reckoned with [m]: the simulation has no rivers."""
MASKED = 0.5
"""Share of lake or glacier from which a pixel is none of ours."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ground:
    """Pixels of the simulated plateau in one epoch; those under lakes and glaciers are left out."""

    values: npt.NDArray[np.float32]
    """(pixels, predictors), in the order of `schema.PREDICTORS`."""
    e: Numbers
    """(pixels,): the true E."""
    ddf: Numbers
    """(pixels,): the true freezing sum [°C d]; NaN where it was not asked for."""
    ddt: Numbers
    """(pixels,): the true thawing sum [°C d]; NaN where it was not asked for."""
    x: Numbers
    """(pixels,): east, on an equal-area plane [km]."""
    y: Numbers
    """(pixels,): north [km]."""
    longitude: Numbers
    """(pixels,): [°]."""
    latitude: Numbers
    """(pixels,): [°]."""
    row: npt.NDArray[np.int64]
    """(pixels,): of the lattice."""
    column: npt.NDArray[np.int64]
    """(pixels,): of the lattice."""


def ground_of_tile(seed: int, tile: str, pixels_per_tile: int, years: Sequence[int], forcing: bool = True) -> Ground:
    """Return the pixels of a tile that are on the plateau.

    Parameters
    ----------
    seed
        The plateau's.
    tile
        Such as h25v05.
    pixels_per_tile
        Along a tile's side; 1200 are pixels of 1 km.
    years
        Of the epoch.
    forcing
        Whether freezing and thawing sums are wanted: they take a hundred times as long as all else.
    """
    window = Window.of_tile(parse_tile(tile), pixels_per_tile)
    every = window.places()
    there = inside(every.longitude, every.latitude)
    at = Places(every.longitude[there], every.latitude[there], every.spacing_km)
    land = landscape(seed, at)
    changing = epoch_covariates(seed, land, years)
    steep = np.hypot(land.slope_east, land.slope_north)
    columns = {
        "elevation": land.elevation,
        "slope": np.degrees(np.arctan(steep)),
        "northness": -land.slope_north / np.hypot(1.0, steep),
        "eastness": -land.slope_east / np.hypot(1.0, steep),
        "wetness": np.log(CATCHMENT_M / np.maximum(steep, 0.001)),
        "ndvi": changing.ndvi,
        "snow_cover": changing.snow,
        "precipitation": changing.precipitation,
        "sand": land.sand,
        "clay": land.clay,
    }
    open_ground = (changing.lake < MASKED) & (changing.glacier < MASKED)
    missing = np.full(len(steep), np.nan)
    ddf, ddt = mean_degree_days(seed, land, years, open_ground) if forcing else (missing, missing)
    x, y = Transformer.from_crs("EPSG:4326", PLANE, always_xy=True).transform(at.longitude, at.latitude)
    whole = Ground(
        np.column_stack([columns[variable.name] for variable in PREDICTORS]).astype(np.float32),
        soil_parameter(seed, land, changing),
        ddf,
        ddt,
        np.asarray(x),
        np.asarray(y),
        at.longitude,
        at.latitude,
        window.rows[there],
        window.columns[there],
    )
    return chosen(whole, np.flatnonzero(open_ground))


def chosen(ground: Ground, rows: npt.NDArray[np.integer]) -> Ground:
    """Return some of the pixels."""
    return Ground(*(getattr(ground, each.name)[rows] for each in fields(Ground)))


def joined(parts: Sequence[Ground]) -> Ground:
    """Return the pixels of several tiles."""
    return Ground(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Ground)))
