"""Polygons of vector files: the region's outline, lakes and glaciers, and how much of each pixel they cover.

Files are read by GDAL's vector drivers through pyogrio, a window at a time; polygons are joined by GEOS through
shapely. How much of a pixel they cover is computed exactly, on the map's own grid: a pixel of the sinusoidal grid is a
square there, and the sheared cell on the ground that the satellite's archive means by it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.geometry.base import BaseGeometry

from frostmap.catalogs.grids import Bounds
from frostmap.kernels.overlap import polygon_coverage
from frostmap.pipeline.errors import UserError

SUFFIXES = (".gpkg", ".shp", ".geojson", ".json", ".fgb")
"""Of files that hold polygons; all others are taken for rasters."""

SIDECARS = (".shx", ".dbf", ".prj", ".cpg")
"""Parts of a shapefile beside its .shp."""

LONGEST_EDGE_KM = 1.0
"""Longer edges are divided before they are projected: what is straight in a file bends on the map, by centimetres."""

LEAST_SHARE = 1e-9
"""Shares of a pixel below this are none: what rounding leaves where areas cancel."""

DEGREES = "EPSG:4326"

Shapes = npt.NDArray[np.object_]

_FAULTS = (DataSourceError, DataLayerError, FeatureError, GeometryError, ValueError)


@dataclass(frozen=True)
class PolygonFile:
    """A layer of polygons whose kind and place are known, and which has not been read."""

    path: Path
    key: str
    """What the recipe calls it, for messages."""
    layer: str
    where: str
    """Which of its features are meant, in SQL; empty: all."""
    crs: str
    """Its coordinate system, as WKT or an authority's code."""
    bounds: Bounds
    """West, south, east and north of all of them [°]."""
    empty: int
    """Features without a geometry; they are left out."""


class Found(NamedTuple):
    """Polygons in the coordinates of their file."""

    shapes: Shapes
    """Valid ones."""
    repaired: int
    """Polygons that were not valid."""


class Coverage(NamedTuple):
    """How much of each pixel is covered."""

    share: npt.NDArray[np.float32]
    """(y, x): 0 to 1."""
    polygons: int
    """Features that touch the grid, or nearly do."""
    repaired: int
    """Of them, those that were not valid."""
    overlap: float
    """What two or more of them cover [pixels]; it counts once."""


# ---- which layer --------------------------------------------------------------------------------------------------


def holds_polygons(path: Path) -> bool:
    """Say whether a file is one of polygons, by its name.

    >>> holds_polygons(Path("lakes_2020.GPKG")), holds_polygons(Path("lakes_2020.tif"))
    (True, False)
    """
    return path.suffix.lower() in SUFFIXES


def parts_of(path: Path) -> list[Path]:
    """Return the files that a file of polygons is made of: of a shapefile, those beside it too."""
    beside = [path.with_suffix(suffix) for suffix in SIDECARS] if path.suffix.lower() == ".shp" else []
    return [path, *(part for part in beside if part.exists())]


def open_polygons(path: Path, key: str, layer: str = "", where: str = "") -> PolygonFile:
    """Return a layer of polygons, after a look at what it says of itself.

    Parameters
    ----------
    path
        A GeoPackage, shapefile, GeoJSON or FlatGeobuf, in any coordinate system.
    key
        What the recipe calls it, for messages.
    layer
        Its layer; needed where it has several.
    where
        Which of the features, as in SQL: `year = 2020`.

    Raises
    ------
    UserError
        It cannot be read, is of several layers, has no coordinate system, or no polygon.
    """
    name = _layer(path, key, layer)
    try:
        with _without_remarks():
            about = pyogrio.read_info(path, layer=name)
            boxes = pyogrio.read_bounds(path, layer=name, where=where or None)[1]
    except _FAULTS as error:
        raise _unreadable(path, key, error, where) from error
    kind = str(about["geometry_type"])
    if not kind.removeprefix("2.5D ").startswith(("Polygon", "MultiPolygon", "Unknown", "GeometryCollection")):
        raise _no_polygons(path, key, f"layer '{name}' of {kind}")
    crs = _system(path, key, about["crs"])
    features = boxes.shape[1]
    boxes = boxes[:, (boxes[2:] > boxes[:2]).any(axis=0)]  # NaN of no geometry, one point of an empty one
    if not boxes.size:
        asked = f" with {where}" if where else ""
        raise UserError(
            "a file has no polygon",
            where=f"{path} (recipe: {key})",
            found=f"layer '{name}'{asked}: {features} features, no geometry",
            wanted="polygons",
            remedy="correct the path, the layer or its `where`; leave the source out where there is nothing to mask",
        )
    (west, south), (east, north) = boxes[:2].min(axis=1), boxes[2:].max(axis=1)
    bounds = _bounds_in_degrees(path, key, crs, (west, south, east, north))
    return PolygonFile(path, key, name, where, crs.to_wkt(), bounds, features - boxes.shape[1])


def _layer(path: Path, key: str, asked: str) -> str:
    """Return the layer that is asked for, or the only one that has geometries."""
    try:
        with _without_remarks():
            layers = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    except _FAULTS as error:
        raise _unreadable(path, key, error) from error
    spatial = [name for name, kind in layers.items() if kind is not None]
    if (asked and asked in layers) or (not asked and len(spatial) == 1):
        return asked or spatial[0]
    raise UserError(
        f"a file has no layer '{asked}'" if asked else "which layer of a file is meant is not said",
        where=f"{path} (recipe: {key})",
        found=f"layers {', '.join(layers)}" if layers else "no layer",
        wanted="the name of one layer of polygons",
        remedy=f"say which: {key}: {{path: {path.name}, layer: {(spatial or ['NAME'])[0]}}}",
    )


def _no_polygons(path: Path, key: str, found: str) -> UserError:
    return UserError(
        "a file does not hold polygons",
        where=f"{path} (recipe: {key})",
        found=found,
        wanted="Polygon or MultiPolygon",
        remedy="give the file of areas: lines of shores and points of glaciers cover nothing",
    )


def _system(path: Path, key: str, text: str | None) -> CRS:
    try:
        crs = CRS.from_user_input(text) if text else None
    except CRSError:
        crs = None
    known = crs is not None and (crs.is_geographic or crs.is_projected) and not crs.name.startswith("Undefined")
    if crs is not None and known:
        return crs
    beside = f", for which it needs {path.with_suffix('.prj').name} beside it" if path.suffix.lower() == ".shp" else ""
    raise UserError(
        "a file of polygons does not say where it is",
        where=f"{path} (recipe: {key})",
        found="no coordinate reference system" if crs is None else f"the coordinate system '{crs.name}'",
        wanted=f"a coordinate reference system{beside}",
        remedy="find out which it is, and assign it, for instance with ogr2ogr -a_srs EPSG:4326 NEW.gpkg OLD",
    )


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Hide what GDAL remarks on, such as rings that are not closed: they are repaired and counted here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _bounds_in_degrees(path: Path, key: str, crs: CRS, own: Bounds) -> Bounds:
    try:
        if crs.is_geographic and max(map(abs, own)) > 720:
            raise ProjError("degrees beyond a circle")
        to_degrees = Transformer.from_crs(crs, DEGREES, always_xy=True)
        west, south, east, north = to_degrees.transform_bounds(*own, densify_pts=21, errcheck=True)
    except ProjError as error:
        raise UserError(
            "a file's coordinates are not those of its coordinate system",
            where=f"{path} (recipe: {key})",
            found=f"bounds {_numbers(own)} in {crs.name}",
            wanted="coordinates that the system has",
            remedy="find out which system they are in, and assign it, for instance with ogr2ogr -a_srs",
        ) from error
    return west, south, east, north


def _numbers(bounds: Bounds) -> str:
    return ", ".join(f"{edge:.6g}" for edge in bounds)


def _unreadable(path: Path, key: str, error: Exception, where: str = "") -> UserError:
    asked = f" whose features can be asked: {where}" if where else ""
    return UserError(
        "polygons cannot be read",
        where=f"{path} (recipe: {key})",
        found="no such file" if not path.exists() else error,
        wanted=f"a GeoPackage, shapefile, GeoJSON or FlatGeobuf{asked}",
        remedy="correct the path in the recipe, or its `data` folder; `ogrinfo` shows what GDAL makes of a file",
    )


def check_meets(file: PolygonFile, geobox: GeoBox) -> None:
    """Refuse a file none of whose polygons can lie on a grid.

    Raises
    ------
    UserError
        It lies elsewhere.
    """
    west, south, east, north = file.bounds
    box = bounds_of(geobox)
    if west > box[2] or east < box[0] or south > box[3] or north < box[1]:
        raise UserError(
            "a file of polygons lies outside of the region",
            where=f"{file.path} (recipe: {file.key})",
            found=f"{west:.2f} to {east:.2f} °E, {south:.2f} to {north:.2f} °N",
            wanted=f"some of {box[0]:.2f} to {box[2]:.2f} °E, {box[1]:.2f} to {box[3]:.2f} °N",
            remedy="correct the path or the region; or the file's coordinate system, if it is not the one it says",
        )


def bounds_of(geobox: GeoBox) -> Bounds:
    """Return west, south, east and north of a grid, and a pixel around it [°]."""
    left, bottom, right, top = geobox.pad(1).boundingbox.bbox
    to_degrees = Transformer.from_crs(str(geobox.crs), DEGREES, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(left, bottom, right, top, densify_pts=50)
    return max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0)


# ---- polygons -----------------------------------------------------------------------------------------------------


def read_polygons(file: PolygonFile, bounds: Bounds | None = None) -> Found:
    """Return a layer's polygons, or those whose bounds touch a box [°].

    A polygon that is not valid is repaired: what lies within an outer ring belongs to it, what lies within an inner one
    does not, however they cross; parts of no area are left out.

    Raises
    ------
    UserError
        It cannot be read, or has something else than polygons.
    """
    box = _box_in(file.crs, bounds) if bounds is not None else None
    where = file.where or None
    try:
        with _without_remarks():
            _about, numbers, stored, _fields = pyogrio.raw.read(
                file.path, layer=file.layer, columns=[], bbox=box, where=where, force_2d=True, return_fids=True
            )
            shapes: Shapes = shapely.from_wkb(stored, on_invalid="fix")
            shapes = np.atleast_1d(np.asarray(shapes, dtype=object))
    except (*_FAULTS, shapely.errors.GEOSException) as error:
        raise _unreadable(file.path, file.key, error, file.where) from error
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    shapes, numbers = shapes[there], np.asarray(numbers)[there]
    for shape, number in zip(shapes, numbers, strict=True):
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise _no_polygons(file.path, file.key, f"feature {number} of layer '{file.layer}' is a {shape.geom_type}")
    wrong = ~shapely.is_valid(shapes)
    return Found(repaired(shapes), int(wrong.sum()))


def repaired(shapes: Shapes) -> Shapes:
    """Return polygons, the invalid ones made valid by their rings' structure; those without area are left out."""
    wrong = ~shapely.is_valid(shapes)
    if wrong.any():
        shapes = shapes.copy()
        shapes[wrong] = shapely.make_valid(shapes[wrong], method="structure", keep_collapsed=False)
    keep: Shapes = shapes[~shapely.is_empty(shapes)]
    return keep


def _box_in(crs: str, bounds: Bounds) -> Bounds | None:
    """Return a box of another coordinate system around one in degrees; None where there is none."""
    try:
        transformer = Transformer.from_crs(DEGREES, crs, always_xy=True)
        box = transformer.transform_bounds(*bounds, densify_pts=50, errcheck=True)
    except ProjError:
        return None
    west, south, east, north = box
    margin = 1e-3 * max(east - west, north - south)
    return (west - margin, south - margin, east + margin, north + margin) if west < east else None


def divided(shapes: Shapes, crs: CRS) -> Shapes:
    """Return polygons of a coordinate system with long edges divided, to be projected by their vertices."""
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    longest = LONGEST_EDGE_KM / 6371.0 if crs.is_geographic else 1000.0 * LONGEST_EDGE_KM
    edges: Shapes = shapely.segmentize(shapes, longest / unit)
    return edges


def in_degrees(shapes: Shapes, crs: str) -> Shapes:
    """Return polygons of another coordinate system in longitude and latitude, on WGS 84."""
    system = CRS.from_user_input(crs)
    edges = divided(shapes, system)
    if system == CRS.from_user_input(DEGREES) or system.to_epsg() == 4326:
        return edges
    return _transformed(edges, Transformer.from_crs(system, DEGREES, always_xy=True))


def _transformed(shapes: Shapes, transformer: Transformer) -> Shapes:
    moved: Shapes = shapely.transform(
        shapes, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
    )
    return moved


def outline(file: PolygonFile) -> BaseGeometry:
    """Return all of a file's polygons as one, in longitude and latitude.

    Raises
    ------
    UserError
        They cannot be read, or are nowhere.
    """
    shapes = repaired(in_degrees(read_polygons(file).shapes, file.crs))
    whole: BaseGeometry = shapely.union_all(shapes)
    if whole.is_empty or not np.isfinite(whole.bounds).all():
        raise UserError(
            "a file's polygons have no area",
            where=f"{file.path} (recipe: {file.key})",
            found=f"layer '{file.layer}': nothing is left of its polygons",
            wanted="polygons",
            remedy="correct the path, or the file's coordinate system",
        )
    return whole


# ---- how much of each pixel ---------------------------------------------------------------------------------------


def coverage(file: PolygonFile, geobox: GeoBox) -> Coverage:
    """Return how much of each pixel of a grid a file's polygons cover, exactly.

    Parameters
    ----------
    file
        From `open_polygons`. Only what lies near the grid is read.
    geobox
        North-up.

    Returns
    -------
    Shares of pixels, where polygons overlap as of one; and what was read.
    """
    found = read_polygons(file, bounds_of(geobox))
    none = np.zeros(geobox.shape, dtype=np.float32)
    if not found.shapes.size:
        return Coverage(none, 0, found.repaired, 0.0)
    degrees = in_degrees(found.shapes, file.crs)
    there = _transformed(degrees, Transformer.from_crs(DEGREES, str(geobox.crs), always_xy=True))
    inverse = ~geobox.affine
    cells = shapely.transform(
        there, lambda xy: np.column_stack([inverse.a * xy[:, 0] + inverse.c, inverse.e * xy[:, 1] + inverse.f])
    )
    height, width = geobox.shape
    near = shapely.box(-1.0, -1.0, width + 1.0, height + 1.0)
    cells = repaired(cells[np.isfinite(shapely.bounds(cells)).all(axis=1)])
    cells = cells[shapely.intersects(cells, near)]
    joined = shapely.disjoint_subset_union_all(cells)
    share = polygon_coverage(*_rings(joined), height, width)
    share[share < LEAST_SHARE] = 0.0
    shown = (0.0, 0.0, float(width), float(height))
    overlap = float(shapely.area(shapely.clip_by_rect(cells, *shown)).sum() - share.sum())
    return Coverage(share.astype(np.float32), len(cells), found.repaired, max(overlap, 0.0))


def _rings(whole: BaseGeometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the vertices of all rings, none closed, those of holes the other way round; and where each ring ends."""
    rings: Any = shapely.get_rings(shapely.get_parts(shapely.orient_polygons(whole)))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    last = np.append(np.diff(ring) != 0, True) if len(ring) else np.empty(0, bool)
    lengths = shapely.get_num_coordinates(rings) - 1
    open_points = points[~last]
    x, y = (np.ascontiguousarray(open_points[:, axis]) for axis in (0, 1))
    return x, y, np.cumsum(lengths, dtype=np.int64)
