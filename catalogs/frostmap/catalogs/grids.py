"""The MODIS sinusoidal lattice, its tiles and regions, and how many square kilometres a pixel covers.

Grids are odc-geo's: a lattice is a ``GridSpec``, a tile or a region is a ``GeoBox``. All resolutions share the tile
edges, so pixels of 1 km and 500 m nest 2 x 2.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from odc.geo.gridspec import GridSpec
from odc.geo.types import xy_
from shapely.geometry.base import BaseGeometry

from frostmap.catalogs.errors import CatalogError

Bounds: TypeAlias = tuple[float, float, float, float]

SPHERE_RADIUS = 6371007.181
"""Radius of the authalic sphere of the MODIS sinusoidal projection [m]."""

SINUSOIDAL_CRS = CRS(f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={SPHERE_RADIUS} +units=m +no_defs")
"""The MODIS sinusoidal projection. Geodetic latitudes are used as if they were spherical."""

TILES_ACROSS, TILES_DOWN = 36, 18
"""How many tiles span the globe: h00 to h35 from 180°W eastwards, v00 to v17 from the north pole southwards."""

TILE_SIZE = math.pi * SPHERE_RADIUS / TILES_DOWN
"""Width and height of a tile [m]: ten degrees of a great circle."""

WGS84_SEMI_MAJOR = 6378137.0
"""Equatorial radius of the WGS 84 ellipsoid [m]."""

WGS84_ECCENTRICITY_SQUARED = (2.0 - 1.0 / 298.257223563) / 298.257223563
"""First eccentricity of the WGS 84 ellipsoid, squared."""


class Tile(NamedTuple):
    """Address of a tile: ``lattice()[tile]`` is its GeoBox.

    Examples
    --------
    >>> str(Tile(25, 5))
    'h25v05'
    """

    h: int
    """Column of tiles, growing eastwards from 180°W."""

    v: int
    """Row of tiles, growing southwards from the north pole."""

    def __str__(self) -> str:
        """Return the address as it stands in granule names."""
        return f"h{self.h:02d}v{self.v:02d}"


def parse_tile(tile: Tile | str) -> Tile:
    """Read a tile's address.

    Examples
    --------
    >>> parse_tile("h25v05")
    Tile(h=25, v=5)
    """
    if not isinstance(tile, str):
        h, v = tile
    else:
        match = re.fullmatch(r"h(\d{2})v(\d{2})", tile)
        if match is None:
            raise CatalogError("not the address of a MODIS tile", found=repr(tile), wanted="such as 'h25v05'")
        h, v = int(match[1]), int(match[2])
    if not (0 <= h < TILES_ACROSS and 0 <= v < TILES_DOWN):
        raise CatalogError("no such MODIS tile", found=repr(tile), wanted="h00 to h35 and v00 to v17")
    return Tile(h, v)


@functools.cache
def lattice(pixels_per_tile: int = 1200) -> GridSpec:
    """Return the MODIS sinusoidal lattice; index it by ``(h, v)`` for a tile's GeoBox.

    Parameters
    ----------
    pixels_per_tile
        1200 for 1-km products, 2400 for 500 m; any positive number for coarser simulations.

    References
    ----------
    Tile bounds: MODIS land grid, https://modis-land.gsfc.nasa.gov/MODLAND_grid.html

    Examples
    --------
    >>> [round(edge, 6) for edge in lattice()[25, 5].boundingbox.bbox]
    [7783653.638366, 3335851.5593, 8895604.158132, 4447802.079066]
    >>> round(lattice().resolution.x, 6)
    926.625433
    """
    if pixels_per_tile < 1:
        raise CatalogError("a tile needs at least one pixel", found=pixels_per_tile, wanted="1200, 2400, ...")
    # odc-geo's bin 0 spans [origin, origin + size] whichever way it counts, so v=0 starts at the bottom of row 0
    return GridSpec(
        SINUSOIDAL_CRS,
        (pixels_per_tile, pixels_per_tile),
        TILE_SIZE / pixels_per_tile,
        origin=xy_(-TILES_ACROSS / 2 * TILE_SIZE, (TILES_DOWN / 2 - 1) * TILE_SIZE),
        flipy=True,
    )


MODIS_SINUSOIDAL = lattice(1200)
"""The 1-km lattice."""

EXPORT_GRID = GeoBox(
    (1436, 3223),
    Affine(0.009622504486555997, 0.0, 73.42026130011293, 0.0, -0.009622504486555997, 39.81717241476046),
    "EPSG:4326",
)
"""The longitude-latitude grid of the published plateau maps (3223 x 1436 cells), for comparison with them."""


def to_sinusoidal(longitude: ArrayLike, latitude: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sinusoidal x and y [m] of longitudes and latitudes [°]: x = R λ cos φ, y = R φ."""
    lam, phi = np.radians(np.asarray(longitude, np.float64)), np.radians(np.asarray(latitude, np.float64))
    return SPHERE_RADIUS * lam * np.cos(phi), SPHERE_RADIUS * phi


def to_geographic(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitudes and latitudes [°] of sinusoidal x and y [m]; longitude is NaN off the globe."""
    phi = np.asarray(y, np.float64) / SPHERE_RADIUS
    cosine = np.cos(phi)
    off_globe = (np.abs(phi) > math.pi / 2) | (cosine <= 0)
    lam = np.asarray(x, np.float64) / (SPHERE_RADIUS * np.where(off_globe, np.nan, cosine))
    return np.degrees(np.where(np.abs(lam) <= math.pi * (1 + 1e-12), lam, np.nan)), np.degrees(phi)


class Located(NamedTuple):
    """Where a point falls on a lattice."""

    tile: Tile
    """The tile that holds it."""

    row: int
    """Row in the tile, growing southwards."""

    column: int
    """Column in the tile, growing eastwards."""


def locate(longitude: float, latitude: float, pixels_per_tile: int = 1200) -> Located:
    """Find the tile, row and column of a point; a point on an edge belongs to the pixel south or east of it.

    Parameters
    ----------
    longitude, latitude
        Geodetic degrees.

    Examples
    --------
    >>> locate(93.08, 35.22)  # Wudaoliang
    Located(tile=Tile(h=25, v=5), row=573, column=724)
    """
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise CatalogError(
            "not a place on the globe",
            found=f"longitude {longitude}, latitude {latitude}",
            wanted="-180 to 180 and -90 to 90",
            remedy="are the two swapped?",
        )
    x, y = to_sinusoidal(longitude, latitude)
    pixel = TILE_SIZE / pixels_per_tile
    # a millionth of a pixel (a millimetre at 1 km) absorbs rounding: 40°N is the upper edge of v05, not v04
    column = math.floor(float(x) / pixel + TILES_ACROSS / 2 * pixels_per_tile + 1e-6)
    row = math.floor(TILES_DOWN / 2 * pixels_per_tile - float(y) / pixel + 1e-6)
    column = min(column, TILES_ACROSS * pixels_per_tile - 1)
    row = min(row, TILES_DOWN * pixels_per_tile - 1)
    (h, column), (v, row) = divmod(column, pixels_per_tile), divmod(row, pixels_per_tile)
    return Located(Tile(h, v), row, column)


def tiles_of(*, bbox: Bounds | None = None, geometry: Geometry | BaseGeometry | None = None) -> list[Tile]:
    """List the tiles that a box or an outline covers any area of, row by row.

    Parameters
    ----------
    bbox
        West, south, east, north [°].
    geometry
        A polygon: odc-geo's in any CRS, shapely's in degrees of longitude and latitude. Both given: their overlap.

    Examples
    --------
    >>> [str(tile) for tile in tiles_of(bbox=(90, 33, 95, 36))]
    ['h25v05']
    """
    outline = _sinusoidal_outline(bbox, geometry)
    west, south, east, north = outline.bounds
    half_across, half_down = TILES_ACROSS // 2, TILES_DOWN // 2
    columns = range(math.floor(west / TILE_SIZE) + half_across, math.ceil(east / TILE_SIZE) + half_across)
    rows = range(half_down - math.ceil(north / TILE_SIZE), half_down - math.floor(south / TILE_SIZE))
    margin = 1e-3  # metres: an outline that only touches a tile's edge does not need the tile
    shapely.prepare(outline)
    return [
        Tile(h, v)
        for v in rows
        for h in columns
        if outline.intersects(
            shapely.box(
                (h - half_across) * TILE_SIZE + margin,
                (half_down - 1 - v) * TILE_SIZE + margin,
                (h - half_across + 1) * TILE_SIZE - margin,
                (half_down - v) * TILE_SIZE - margin,
            )
        )
    ]


def region_geobox(
    *,
    tiles: Iterable[Tile | str] | None = None,
    bbox: Bounds | None = None,
    geometry: Geometry | BaseGeometry | None = None,
    pixels_per_tile: int = 1200,
) -> GeoBox:
    """Return the smallest GeoBox of whole pixels of the lattice that holds a region.

    A region of one tile is that tile's GeoBox exactly. Parallels are straight and meridians are not, so the GeoBox of a
    longitude-latitude box is wider than the box.

    Parameters
    ----------
    tiles
        The rectangle around these tiles.
    bbox
        West, south, east, north [°].
    geometry
        A polygon: odc-geo's in any CRS, shapely's in degrees. Several of the three given: their overlap.
    pixels_per_tile
        Resolution, as in `lattice`.

    Examples
    --------
    >>> region_geobox(tiles=["h25v05", "h26v05"]).shape
    Shape2d(x=2400, y=1200)
    """
    grid, n = lattice(pixels_per_tile), pixels_per_tile
    top, left, bottom, right = 0, 0, TILES_DOWN * n, TILES_ACROSS * n
    if tiles is not None:
        addresses = [parse_tile(tile) for tile in tiles]
        if not addresses:
            raise CatalogError("a region of no tiles", wanted="at least one tile such as 'h25v05'")
        top, bottom = min(tile.v for tile in addresses) * n, (max(tile.v for tile in addresses) + 1) * n
        left, right = min(tile.h for tile in addresses) * n, (max(tile.h for tile in addresses) + 1) * n
    elif bbox is None and geometry is None:
        raise CatalogError("a region of nothing", wanted="tiles, a bbox or a geometry")
    if bbox is not None or geometry is not None:
        west, south, east, north = _sinusoidal_outline(bbox, geometry).bounds
        pixel, slack = TILE_SIZE / n, 1e-6  # a millionth of a pixel: rounding must not add a row or a column
        left = max(left, math.floor(west / pixel + TILES_ACROSS / 2 * n + slack))
        right = min(right, math.ceil(east / pixel + TILES_ACROSS / 2 * n - slack))
        top = max(top, math.floor(TILES_DOWN / 2 * n - north / pixel + slack))
        bottom = min(bottom, math.ceil(TILES_DOWN / 2 * n - south / pixel - slack))
    if left >= right or top >= bottom:
        raise CatalogError(
            "the tiles and the box or outline of the region do not overlap",
            remedy="name the tiles that tiles_of() lists for the outline, or leave the tiles out",
        )
    (v, row), (h, column) = divmod(top, n), divmod(left, n)
    # start from the corner's own tile, so that whole tiles are the lattice's tiles to the last bit
    a, _, x, _, e, y = tuple(grid[h, v].affine)[:6]
    corner = Affine(a, 0.0, x + a * column, 0.0, e, y + e * row)
    return GeoBox((bottom - top, right - left), corner, SINUSOIDAL_CRS)


def tile_bounds(tile: Tile | str) -> Bounds:
    """Return west, south, east and north [°] of a tile, the part on the globe.

    Examples
    --------
    >>> [round(edge, 3) for edge in tile_bounds("h25v05")]
    [80.829, 30.0, 104.433, 40.0]
    """
    h, v = parse_tile(tile)
    north, south = 90.0 - 10.0 * v, 80.0 - 10.0 * v
    x = (np.array([h, h + 1]) - TILES_ACROSS // 2)[:, np.newaxis] * TILE_SIZE
    with np.errstate(divide="ignore", invalid="ignore"):  # at a pole a tile spans all longitudes, or none
        longitudes = np.degrees(x / (SPHERE_RADIUS * np.cos(np.radians([south, north]))))
    longitudes = np.clip(np.nan_to_num(longitudes), -180.0, 180.0)
    return float(longitudes.min()), south, float(longitudes.max()), north


def ellipsoid_area_ratio(latitude: ArrayLike) -> NDArray[np.float64]:
    """Return the true area of a sinusoidal pixel over its nominal area: M N / R².

    MODIS takes geodetic latitude [°] for spherical, so its pixels are not quite of equal area on the ellipsoid, whose
    radii of curvature are M along the meridian and N across it.

    Examples
    --------
    >>> float(ellipsoid_area_ratio(33.0).round(5))
    0.9995
    """
    squeeze = 1.0 - WGS84_ECCENTRICITY_SQUARED * np.sin(np.radians(np.asarray(latitude, np.float64))) ** 2
    meridional = WGS84_SEMI_MAJOR * (1.0 - WGS84_ECCENTRICITY_SQUARED) / squeeze**1.5
    transverse = WGS84_SEMI_MAJOR / np.sqrt(squeeze)
    area_ratio: NDArray[np.float64] = meridional * transverse / SPHERE_RADIUS**2
    return area_ratio


def pixel_area_km2(geobox: GeoBox) -> NDArray[np.float64]:
    """Return the area of a pixel of each row on the WGS 84 ellipsoid.

    Parameters
    ----------
    geobox
        North-up, on the sinusoidal lattice (`ellipsoid_area_ratio` at the row's centre) or in degrees of longitude and
        latitude (the ellipsoid's zone between the row's edges, exact).

    Returns
    -------
    (y,) float64
        Area [km²]; ``[:, np.newaxis]`` broadcasts it over a map.

    References
    ----------
    Snyder (1987), Map Projections: A Working Manual, doi:10.3133/pp1395, Eq. 3-12 (authalic q).
    """
    a, shear_x, _, shear_y, e, north = tuple(geobox.affine)[:6]
    if geobox.crs is None or shear_x or shear_y:
        raise CatalogError("areas need a north-up grid with a CRS", found=repr(geobox))
    rows = np.arange(geobox.height + 1, dtype=np.float64)
    if geobox.crs.geographic:
        edges = north + e * rows
        eccentricity = math.sqrt(WGS84_ECCENTRICITY_SQUARED)
        sine = np.sin(np.radians(edges))
        q = (1.0 - WGS84_ECCENTRICITY_SQUARED) * (
            sine / (1.0 - WGS84_ECCENTRICITY_SQUARED * sine**2) + np.arctanh(eccentricity * sine) / eccentricity
        )
        area: NDArray[np.float64] = np.abs(np.diff(q)) * WGS84_SEMI_MAJOR**2 / 2 * math.radians(abs(a)) / 1e6
        return area
    if geobox.crs != SINUSOIDAL_CRS:
        raise CatalogError(
            "areas are known for the MODIS sinusoidal grid and for longitude-latitude grids", found=geobox.crs
        )
    centres = np.degrees((north + e * (rows[:-1] + 0.5)) / SPHERE_RADIUS)
    nominal: float = abs(a * e) / 1e6
    return nominal * ellipsoid_area_ratio(centres)


def _in_degrees(geometry: Geometry) -> BaseGeometry:
    """Project an outline to longitude and latitude, its edges densified."""
    if geometry.crs is None or geometry.crs == "EPSG:4326":
        return geometry.geom
    shape = shapely.segmentize(geometry.geom, max(geometry.geom.length / 10_000, 1e-9))
    project = geometry.crs.transformer_to_crs(CRS("EPSG:4326"))  # x and y in this order, both ways
    return shapely.transform(shape, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])))


def _sinusoidal_outline(bbox: Bounds | None, geometry: Geometry | BaseGeometry | None) -> BaseGeometry:
    """Project the overlap of a box and an outline, its edges densified so that no bend is lost."""
    outline: BaseGeometry | None = None
    if bbox is not None:
        west, south, east, north = bbox
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise CatalogError("not a bounding box", found=bbox, wanted="west < east and south < north in degrees")
        outline = shapely.box(west, south, east, north)
    if geometry is not None:
        if isinstance(geometry, Geometry):
            geometry = _in_degrees(geometry)
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise CatalogError("a region is outlined by polygons", found=geometry.geom_type)
        west, south, east, north = geometry.bounds if not geometry.is_empty else (0.0, 0.0, 0.0, 0.0)
        if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
            raise CatalogError(
                "an outline that is not in degrees of longitude and latitude",
                found=geometry.bounds,
                remedy="give an odc.geo Geometry with its CRS",
            )
        outline = geometry if outline is None else outline.intersection(geometry)
    if outline is None or outline.is_empty:
        raise CatalogError("a region without area", wanted="a bbox, an outline, or an overlap of both")
    densified = shapely.segmentize(outline, 0.01)  # sagitta of a meridian between vertices: under 0.1 m
    return shapely.transform(densified, lambda lonlat: np.column_stack(to_sinusoidal(lonlat[:, 0], lonlat[:, 1])))
