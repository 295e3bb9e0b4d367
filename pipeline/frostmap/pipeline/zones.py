"""Parts of the region that a recipe draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.polygons import outline, parts_of, repaired
from frostmap.pipeline.recipe import PolygonLayer, Recipe, Zone
from frostmap.pipeline.work import polygons_of

LONGEST_EDGE = 0.05
"""Edges are divided to this, since straight lines of one projection are curves of another [°]."""


def shape_of(recipe: Recipe, zone: Zone) -> BaseGeometry:
    """Return a zone in longitude and latitude.

    Raises
    ------
    UserError
        Its file cannot be read, or it has no area.
    """
    if zone.polygons is not None:
        return outline(polygons_of(recipe, zone.polygons, f"validation.zones, {zone.name}"))
    drawn = shapely.union_all(repaired(np.array([shapely.Polygon(zone.corners or ())], dtype=object)))
    if drawn.is_empty:
        raise UserError(
            "a zone has no area",
            where=f"validation.zones, {zone.name}",
            found=f"corners {[list(corner) for corner in zone.corners or ()]}",
            wanted="at least three corners that do not lie on one line, each longitude and latitude",
            remedy="correct the corners",
        )
    return drawn


def mask_of(shape: BaseGeometry, geobox: GeoBox) -> npt.NDArray[np.bool_]:
    """Return the pixels of a grid whose centre lies in a shape of longitude and latitude, (y, x)."""
    transformer = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True)
    there = shapely.transform(
        shapely.segmentize(shape, LONGEST_EDGE),
        lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1])),
    )
    inside: npt.NDArray[np.bool_] = geometry_mask([there], geobox.shape, geobox.transform, invert=True)
    return inside


def files_of(recipe: Recipe) -> list[Path]:
    """Return the files that zones are read from."""
    given = [zone.polygons for zone in recipe.validation.zones if zone.polygons is not None]
    paths = [recipe.path(each.path if isinstance(each, PolygonLayer) else each) for each in given]
    return [part for path in paths for part in parts_of(path)]
