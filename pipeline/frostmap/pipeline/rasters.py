"""Rasters that a recipe names, brought to the map's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.work import open_raster

Grid = npt.NDArray[np.float32]


def on_grid(path: Path, geobox: GeoBox, key: str, *, how: str = "average", band: int | str = 1) -> Grid:
    """Return one band of a raster on a grid.

    Parameters
    ----------
    path
        Any raster that GDAL reads, on any grid with a CRS.
    geobox
        The grid wanted.
    key
        What the recipe calls it, for messages.
    how
        A rasterio resampling: average for amounts, nearest or mode for classes.
    band
        Number, or description, of the band.

    Returns
    -------
    (y, x) float32
        NaN where the raster has no value.

    Raises
    ------
    UserError
        It cannot be opened, has no CRS, no such band, or does not meet the grid.
    """
    with open_raster(path, key) as raster:
        if raster.crs is None:
            raise UserError(
                "a raster does not say where it is",
                where=f"{path} (recipe: {key})",
                found="no coordinate reference system",
                wanted="a georeferenced raster",
                remedy="assign its CRS, for instance with gdal_edit.py -a_srs",
            )
        number = _band_number(path, key, raster.descriptions, raster.count, band)
        values = raster.read(number, out_dtype="float32")
        nodata = raster.nodatavals[number - 1]
        if nodata is not None:
            values[np.isclose(values, nodata, rtol=1e-6)] = np.nan
        result = np.full(geobox.shape, np.nan, dtype=np.float32)
        reproject(
            values,
            result,
            src_transform=raster.transform,
            src_crs=raster.crs,
            src_nodata=np.nan,
            dst_transform=geobox.transform,
            dst_crs=str(geobox.crs),
            dst_nodata=np.nan,
            resampling=_resampling(raster.res, raster.crs.is_geographic, geobox, how),
        )
    if not np.isfinite(result).any():
        raise UserError(
            "a raster has no value anywhere in the region",
            where=f"{path} (recipe: {key})",
            found=f"bounds {tuple(round(edge, 4) for edge in raster.bounds)} in {raster.crs}",
            wanted="a raster that covers the region",
            remedy="correct region in the recipe, or give a raster that covers it",
        )
    return result


def _resampling(resolution: tuple[float, float], geographic: bool, geobox: GeoBox, how: str) -> Resampling:
    """Averages need source cells smaller than the grid's; coarser rasters are interpolated instead."""
    metres = max(resolution) * (111_000 if geographic else 1)
    wanted = abs(geobox.affine.a) * (111_000 if geobox.crs is not None and geobox.crs.geographic else 1)
    return Resampling.bilinear if how == "average" and metres > wanted else Resampling[how]


def _band_number(path: Path, key: str, descriptions: tuple[str | None, ...], count: int, band: int | str) -> int:
    if isinstance(band, int):
        return band
    names = [name or "" for name in descriptions]
    if band in names:
        return names.index(band) + 1
    raise UserError(
        "a raster lacks a band",
        where=f"{path} (recipe: {key})",
        found=f"{count} bands: {', '.join(names)}",
        wanted=f"a band described as '{band}'",
        remedy="give the raster band descriptions",
    )
