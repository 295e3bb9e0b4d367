"""A piece of the simulated plateau as rasters on a grid of degrees, and a recipe that starts from its degree days."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from frostmap.kernels.frost_number import frozen_ground
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.simulate.climate import landscape, soil_parameter
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.truth import epoch_covariates, mean_degree_days

SEED, SIDE, CELL = 11, 48, 0.1
GRID = GeoBox((SIDE, SIDE), Affine(CELL, 0, 90.0, 0, -CELL, 36.0), "EPSG:4326")


@dataclass(frozen=True)
class Piece:
    """What is true of a piece of the plateau, (y, x)."""

    ddf: NDArray[np.float32]
    ddt: NDArray[np.float32]
    e: NDArray[np.float32]
    ground: NDArray[np.uint8]


@functools.cache
def piece() -> Piece:
    """Return the truth on `GRID`, E by two soils."""
    column, row = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    longitude, latitude = 90.0 + CELL * column.ravel(), 36.0 - CELL * row.ravel()
    land = landscape(SEED, Places(longitude, latitude, 10.0))
    ddf, ddt = (sums.reshape(SIDE, SIDE).astype(np.float32) for sums in mean_degree_days(SEED, land, [2020]))
    e = soil_parameter(SEED, land, epoch_covariates(SEED, land, [2020])).reshape(SIDE, SIDE)
    two = np.where(e > np.median(e), 0.97, 0.85).astype(np.float32)
    return Piece(ddf, ddt, two, frozen_ground(ddf, ddt, two))


def write(path: Path, values: NDArray[Any], affine: Affine = GRID.affine, crs: str = "EPSG:4326", **more: Any) -> Path:
    """Write a raster of one band."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "dtype": values.dtype,
    }
    with rasterio.open(path, "w", transform=affine, crs=crs, **(profile | more)) as raster:
        raster.write(values, 1)
    return path


def recipe_in(folder: Path, boreholes: int = 0, **sections: Any) -> Recipe:
    """Write the piece into a folder and return a recipe for it; `sections` replace whole ones."""
    true = piece()
    for name in ("ddf", "ddt"):
        write(folder / f"{name}.tif", getattr(true, name))
    write(folder / "clusters.tif", np.where(true.e > 0.9, 2, 1).astype(np.uint8))
    write(folder / "survey.tif", np.where(np.isin(true.ground, (1, 2)), true.ground, 3).astype(np.uint8))
    sources: dict[str, Any] = {
        "forcing": {"training": {"freezing": "ddf.tif", "thawing": "ddt.tif"}},
        "clusters": "clusters.tif",
        "surveys": [{"name": "all", "path": "survey.tif"}],
    }
    if boreholes:
        holes(true, boreholes).to_csv(folder / "boreholes.csv", index=False)
        sources["boreholes"] = "boreholes.csv"
    content = {
        "name": "piece",
        "simulated": True,
        "region": {"grid_of": "ddf.tif"},
        "epochs": {"training": {"years": [2020]}},
        "sources": sources,
        "calibration": {"method": "exact"},
        "store": {"chunk_pixels": 20},
    } | sections
    return parse_recipe(yaml.safe_dump(content), folder / "recipe.yaml")


def holes(true: Piece, count: int, seed: int = 3) -> pd.DataFrame:
    """Return boreholes on some pixels whose temperature follows the top of permafrost there, with some noise."""
    rng = np.random.default_rng(seed)
    place = rng.choice(SIDE * SIDE, count, replace=False)
    row, column = np.divmod(place, SIDE)
    e, ddf, ddt = (layer.ravel()[place].astype(np.float64) for layer in (true.e, true.ddf, true.ddt))
    surplus = e**2 * ddt - ddf
    temperature = 0.85 * np.where(surplus <= 0, surplus, surplus / e**2) / 365.25 + rng.normal(0, 0.2, count)
    return pd.DataFrame(
        {
            "name": [f"H{number}" for number in range(count)],
            "longitude": 90.0 + CELL * (column + 0.5),
            "latitude": 36.0 - CELL * (row + 0.5),
            "region": np.where(column < SIDE // 2, "west", "east"),
            "magt_15m": temperature.round(2),
        }
    )
