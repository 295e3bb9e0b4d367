"""Files of gridded series as their archives write them, of fields that are known everywhere: to try the readers on."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from frostmap.catalogs.gridded import load_series
from frostmap.catalogs.grids import Bounds

Array = NDArray[np.float64]

Rain = Callable[[Array, Array, int, int], Array]
"""Of longitudes and latitudes [°], a year and a month: the month's sum [mm]."""
Texture = Callable[[Array, Array, float], Array]
"""Of longitudes and latitudes [°] and the lower end of a layer [cm]: per cent."""
Snow = Callable[[Array, Array, int, int], Array]
"""Of longitudes and latitudes [°], a year and a day of it: per cent."""

MONTHLY_SHARES = np.array([4, 5, 10, 25, 60, 120, 195, 175, 85, 25, 6, 3]) / 713.0
"""Of a year's precipitation, as the monsoon brings it."""

Engine = Literal["scipy", "h5netcdf"]
"""What writes NetCDF: of version 3, or of version 4."""


def centres(bounds: Bounds, cell: float) -> tuple[Array, Array]:
    """Return longitudes and latitudes of the centres of cells that fill a box, west to east and north to south [°]."""
    west, south, east, north = bounds
    columns: Array = np.arange(0.5, round((east - west) / cell))
    rows: Array = np.arange(0.5, round((north - south) / cell))
    return west + cell * columns, north - cell * rows


def write_precipitation(
    folder: Path,
    series_id: str,
    rain: Rain,
    years: Sequence[int],
    bounds: Bounds,
    cell: float,
    *,
    engine: Engine = "scipy",
    known: Callable[[Array, Array], NDArray[np.bool_]] = lambda longitude, _latitude: np.ones(longitude.shape, bool),
) -> None:
    """Write months of precipitation, a file a year.

    Parameters
    ----------
    folder
        Made if it is absent.
    series_id
        Whose files: names, axes, units and types are those of its archive.
    rain
        The field.
    years
        Calendar years.
    bounds, cell
        West, south, east, north, and the size of a cell [°].
    engine
        Which version of NetCDF.
    known
        Where cells have a value.
    """
    folder.mkdir(parents=True, exist_ok=True)
    band = load_series(series_id).band("precipitation")
    longitude, latitude = centres(bounds, cell)
    east, north = np.meshgrid(longitude, latitude)
    here = known(east, north)
    stored: NDArray[Any]
    attributes: dict[str, Any]
    for year in years:
        months = np.stack([rain(east, north, year, month) for month in range(1, 13)])
        first_days = np.array([f"{year}-{month:02d}-01" for month in range(1, 13)], "datetime64[D]")
        if series_id == "china-precipitation-1km":
            name, names, units = f"pre_{year}.nc", ("time", "lat", "lon"), f"months since {year}-01-15"
            axis = np.arange(1, 13, dtype=np.float64)  # as some releases count: from one
            stored, attributes = np.where(here, np.rint(months / 0.1), -32768).astype(np.int16), {"units": "0.1mm"}
        elif series_id == "terraclimate":
            name, names, units = f"TerraClimate_ppt_{year}.nc", ("time", "lat", "lon"), "days since 1900-01-01"
            axis = (first_days - np.datetime64("1900-01-01")).astype(np.float64)
            stored = np.where(here, np.rint(months / 0.1), -2147483648).astype(np.int32)
            attributes = {"units": "mm", "scale_factor": 0.1, "add_offset": 0.0, "_FillValue": np.int32(-2147483648)}
        elif series_id == "era5-land":
            name, names = f"era5_land_{year}.nc", ("valid_time", "latitude", "longitude")
            axis, units = first_days.astype("datetime64[s]").astype(np.float64), "seconds since 1970-01-01"
            lengths = np.array([calendar.monthrange(year, month)[1] for month in range(1, 13)])[:, None, None]
            stored = np.where(here, months / 1000.0 / lengths, np.nan).astype(np.float32)
            attributes = {"units": "m", "_FillValue": np.float32(np.nan)}
        else:
            raise ValueError(f"no rule for files of {series_id}")
        data = xr.Dataset(
            {band.variable: (names, stored, attributes)},
            {
                names[0]: (names[0], axis, {"units": units}),
                names[1]: (names[1], latitude, {"units": "degrees_north"}),
                names[2]: (names[2], longitude, {"units": "degrees_east"}),
            },
        )
        encoding = {str(each): {"_FillValue": None} for each in data.variables if "_FillValue" not in data[each].attrs}
        data.to_netcdf(folder / name, engine=engine, encoding=encoding)


def write_soil(
    folder: Path,
    series_id: str,
    textures: dict[str, Texture],
    bounds: Bounds,
    cell: float,
    *,
    engine: Engine = "scipy",
    crs: str = "EPSG:4326",
) -> None:
    """Write sand and clay by depth: a variable a file, or a raster a layer.

    Parameters
    ----------
    folder
        Made if it is absent.
    series_id
        Whose files.
    textures
        Fields of sand and clay.
    bounds, cell
        Of the cells, in units of `crs`.
    engine
        Which version of NetCDF.
    crs
        Of rasters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = load_series(series_id)
    across, down = centres(bounds, cell)
    x, y = np.meshgrid(across, down)
    east, north = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    for name, texture in textures.items():
        band = series.band(name)
        layers = np.stack([texture(east, north, bottom) for bottom in series.bottoms])
        if series_id == "shangguan-2013":
            upwards = np.rint(layers).astype(np.int8)[:, ::-1]  # this archive's rows run north
            data = xr.Dataset(
                {band.variable: (("depth", "lat", "lon"), upwards, {"units": "g/100g"})},
                {
                    "depth": ("depth", np.array(series.bottoms), {"units": "cm"}),
                    "lat": ("lat", down[::-1].copy(), {"units": "degrees_north"}),
                    "lon": ("lon", across, {"units": "degrees_east"}),
                },
            )
            encoding = {str(each): {"_FillValue": None} for each in data.variables}
            data.to_netcdf(folder / f"{band.variable}.nc", engine=engine, encoding=encoding)
            continue
        for top, bottom, layer in zip((0.0, *series.bottoms), series.bottoms, layers, strict=False):
            path = folder / f"{name}_{top:g}-{bottom:g}cm_mean.tif"
            _raster(path, np.rint(10.0 * layer).astype(np.int16), bounds, cell, crs, -32768)


def write_snow(
    folder: Path, series_id: str, snow: Snow, days: Sequence[tuple[int, int]], bounds: Bounds, cell: float
) -> None:
    """Write days of snow cover, a raster a day; `days` are years and days of the year."""
    folder.mkdir(parents=True, exist_ok=True)
    load_series(series_id)
    east, north = np.meshgrid(*centres(bounds, cell))
    for year, day in days:
        cover = np.rint(np.clip(snow(east, north, year, day), 0, 100)).astype(np.uint8)
        _raster(folder / f"{year}{day:03d}_FSC.tif", cover, bounds, cell, "EPSG:4326", 255)


def _raster(path: Path, values: NDArray[Any], bounds: Bounds, cell: float, crs: str, nodata: float) -> None:
    height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": str(values.dtype)}
    transform = Affine(cell, 0.0, bounds[0], 0.0, -cell, bounds[3])
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, compress="deflate", **profile) as file:
        file.write(values, 1)
