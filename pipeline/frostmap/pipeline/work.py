"""A run's work directory: the recipe, the grid, the granules that were found, and where everything is kept."""

from __future__ import annotations

import calendar
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
import shapely
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import geometry_mask
from rasterio.warp import transform_bounds
from scipy.ndimage import maximum_filter
from shapely.geometry.base import BaseGeometry

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.completeness import completed
from frostmap.catalogs.elevation import ElevationTile, cells_of, tile_name
from frostmap.catalogs.granules import Granule
from frostmap.catalogs.grids import lattice, parse_tile, region_geobox, tiles_of
from frostmap.catalogs.sources import Source, find_elevation, open_sources
from frostmap.pipeline import cubes, ledger
from frostmap.pipeline.downloads import Downloads
from frostmap.pipeline.elevation_cells import MARGIN, square_degrees
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.polygons import PolygonFile, open_polygons, outline
from frostmap.pipeline.recipe import (
    Catalogue,
    ElevationCatalogue,
    PolygonLayer,
    Recipe,
    VegetationCatalogue,
    YearKind,
)
from frostmap.pipeline.stage import all_years
from frostmap.pipeline.storage import Storage

PRODUCTS = {"lst": ("mod11a1", "myd11a1"), "ndvi": ("mod13a1", "mod13a2"), "snow_cover": ("mod10a1",)}
"""Product definitions behind each kind of granules in a recipe's sources; of NDVI one is taken."""


KM_PER_DEGREE = 111.2
"""Of a great circle, about [km]."""


class ElevationCells(NamedTuple):
    """The cells of the elevation model that the map needs."""

    found: tuple[ElevationTile, ...]
    """Where they are, by name."""

    missing: tuple[str, ...]
    """Names of those that no source has: sea, or holes in the catalogue."""

    def summary(self) -> dict[str, Any]:
        """Return how many there are, and which are missing, as plain data."""
        return {
            "expected": len(self.found) + len(self.missing),
            "found_in": dict(Counter(cell.source for cell in self.found)),
            "missing": list(self.missing),
        }


LONGEST_SHADOW_KM = 90.0
"""How far from a pixel clouds may stand that shade it [km]."""


@dataclass(frozen=True)
class Work:
    """One recipe in one folder."""

    recipe: Recipe
    folder: Path

    def _repr_html_(self) -> str:
        """Return the run as a notebook shows it: what it is of, and what it has found so far."""
        from frostmap.pipeline.report.card import card  # the report knows the work directory, not the other way round

        return card(self)

    @property
    def storage(self) -> Storage:
        """Where the cube and the records of its chunks are."""
        store = self.recipe.store
        return (
            Storage(store.location, store.endpoint, store.region) if store.location else Storage.of_folder(self.folder)
        )

    @property
    def ledger(self) -> Path:
        """Records of finished steps."""
        return self.folder / "ledger"

    def open(self, group: str) -> xr.Dataset:
        """Return a group of the cube, lazily, as stored."""
        return cubes.open_group(self.storage, group)

    def has(self, group: str) -> bool:
        """Say whether the cube has a group."""
        return cubes.has_group(self.storage, group)

    def table_path(self, name: str) -> Path:
        """Return where a table is."""
        return self.folder / "tables" / f"{name}.csv"

    def table(self, name: str) -> pd.DataFrame:
        """Return a table that an earlier step wrote."""
        return pd.read_csv(self.table_path(name))

    @cached_property
    def granules(self) -> dict[str, dict[str, list[Granule]]]:
        """What the sources have: granules by kind (lst, ndvi, snow_cover) and year."""
        found: dict[str, dict[str, list[Granule]]] = {}
        for kind in PRODUCTS:
            sources, products = self.sources.get(kind), products_of(self.recipe, kind)
            if sources:
                found[kind] = {
                    year: [granule for product in products for granule in self._search(kind, sources, product, year)]
                    for year in all_years(self.recipe)
                }
        return found

    @cached_property
    def sources(self) -> dict[str, list[Source]]:
        """Where each kind of granules and elevation are looked for, in turn, under names of their own."""
        return sources_of(self.recipe)

    @cached_property
    def elevation_cells(self) -> ElevationCells | None:
        """The cells of the elevation model under the region and as far around it as water is followed.

        None where the recipe has a raster, or no elevation.
        """
        sources, given = self.sources.get("elevation"), self.recipe.sources.elevation
        if not sources or not isinstance(given, ElevationCatalogue):
            return None
        wanted = cells_of(square_degrees(self.geobox, self.inside, self.elevation_margin), given.model)
        found = find_elevation(sources, wanted, given.model)
        missing = sorted(tile_name(corner, given.model) for corner in wanted - {cell.corner for cell in found})
        if not found:
            raise DataIncomplete(
                f"no source has a cell of the elevation model {given.model}",
                where=f"{', '.join(source.name for source in sources)} (recipe: sources.elevation)",
                found="no item",
                wanted=", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else ""),
                remedy="correct the region, the source or its model; `frostmap plan` shows what is found",
            )
        return ElevationCells(tuple(found), tuple(missing))

    @property
    def elevation_margin(self) -> float:
        """How far around the region's pixels elevation is needed [°]."""
        box = self.geobox.boundingbox
        south, north = transform_bounds(str(self.geobox.crs), "EPSG:4326", *box, densify_pts=21)[1::2]
        narrowest = np.cos(np.radians(min(max(abs(south), abs(north)), 80.0)))
        return MARGIN + self.recipe.terrain.wetness_margin_km / (KM_PER_DEGREE * float(narrowest))

    def cell_identity(self, cell: ElevationTile) -> list[str]:
        """Return what tells a cell of the elevation model from another version of it, without reading it."""
        return [cell.name, *([] if "://" in cell.href else [_file_identity(cell.href)])]

    @property
    def downloads(self) -> Downloads:
        """How remote granules are fetched."""
        given = self.recipe.downloads
        return Downloads(
            self.recipe.path(given.folder) if given.folder else (self.folder / "downloads").absolute(),
            connections=given.connections,
            attempts=given.attempts,
            timeout_s=given.timeout_seconds,
            allow_hosts=self.recipe.sources.allow_hosts,
        )

    def identity(self, granule: Granule) -> list[str]:
        """Return what tells a granule from another version of it, without reading it."""
        hrefs = [granule.hdf_href] if granule.hdf_href else [href for _, href in sorted(granule.band_hrefs.items())]
        return [granule.name, granule.production, *(_file_identity(href) for href in hrefs if "://" not in href)]

    def identity_of(self, granules: Mapping[int, Granule]) -> str:
        """Return the digest of what a task reads."""
        return ledger.digest([(key, self.identity(granule)) for key, granule in sorted(granules.items())])

    def _search(self, kind: str, sources: list[Source], product: str, year: str) -> list[Granule]:
        collection = load_collection(product)
        granules = completed(sources, collection, self.tiles, date(int(year), 1, 1), date(int(year), 12, 31))
        if not granules:
            catalogues = _catalogues(self.recipe, kind)
            raise DataIncomplete(
                f"no source has a {product.upper()} granule of {year}",
                where=f"{', '.join(self.recipe.catalogue(each) or each.kind for each in catalogues)} "
                f"(recipe: sources.{kind})",
                found="no item",
                wanted=f"tiles {', '.join(self.tiles)}, {year}-01-01 to {year}-12-31, in one of the collections "
                + ", ".join(collection.stac_collections),
                remedy="correct the region, the years, or the source; `frostmap plan` shows what is found",
            )
        return granules

    @property
    def metrics(self) -> dict[str, object]:
        """The metrics so far."""
        path = self.folder / "metrics.json"
        content: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return content

    @cached_property
    def outline(self) -> BaseGeometry | None:
        """The region's outline in degrees, if the recipe has one."""
        given = self.recipe.region.outline
        return None if given is None else outline(polygons_of(self.recipe, given, "region.outline"))

    @cached_property
    def tiles(self) -> tuple[str, ...]:
        """MODIS tiles that the region touches; those of the recipe, if it names them."""
        region = self.recipe.region
        if region.grid_of:
            return ()
        if region.bbox is None and self.outline is None:
            return region.tiles or ()
        found = [str(tile) for tile in tiles_of(bbox=region.bbox, geometry=self.outline)]
        both = tuple(tile for tile in found if region.tiles is None or tile in region.tiles)
        if not both:
            raise UserError(
                "the region's tiles and its box or outline do not meet",
                where="region",
                found=f"tiles {', '.join(region.tiles or ())}",
                wanted=f"some of {', '.join(found)}",
                remedy="correct region.tiles, or leave it out",
            )
        return both

    @property
    def chunk_pixels(self) -> int:
        """Pixels along a chunk's side."""
        most = self.recipe.store.chunk_pixels
        region = self.recipe.region
        return most if region.grid_of else cubes.pixels_per_chunk(region.pixels_per_tile, most)

    @cached_property
    def geobox(self) -> GeoBox:
        """The map's grid: whole chunks of the MODIS lattice around the region, or the given raster's own."""
        region = self.recipe.region
        if region.grid_of:
            path = self.recipe.path(region.grid_of)
            with open_raster(path, "region.grid_of") as raster:
                return GeoBox.from_rio(raster)
        tight = region_geobox(
            tiles=region.tiles, bbox=region.bbox, geometry=self.outline, pixels_per_tile=region.pixels_per_tile
        )
        return _whole_chunks(tight, region.pixels_per_tile, self.chunk_pixels)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return self.geobox.shape.y, self.geobox.shape.x

    @cached_property
    def inside(self) -> npt.NDArray[np.bool_]:
        """(y, x): pixels whose centre is in the region (box and outline) and in one of its tiles."""
        region, geobox = self.recipe.region, self.geobox
        shapes = [] if self.outline is None else [self.outline]
        if region.bbox:
            shapes.append(shapely.box(*region.bbox))
        keep = np.ones(self.shape, dtype=bool)
        transformer = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True)
        for shape in shapes:
            outline = _projected(shapely.segmentize(shape, 0.05), transformer)
            keep &= geometry_mask([outline], self.shape, geobox.transform, invert=True)
        if self.tiles:
            in_tile = np.zeros(self.shape, dtype=bool)
            for tile in self.tiles:
                rows, cols = self.tile_window(tile)
                in_tile[rows, cols] = True
            keep &= in_tile
        return keep

    @cached_property
    def inside_with_margin(self) -> npt.NDArray[np.bool_]:
        """(y, x): pixels of the region, and all that matter to one: in its neighbourhood, or shading it."""
        reach = self.neighbourhood_pixels
        if self.recipe.sources.cloud_top is not None:
            reach = max(reach, round(LONGEST_SHADOW_KM / self.pixel_km))
        near: npt.NDArray[np.bool_] = maximum_filter(self.inside, size=2 * reach + 1)
        return near

    def tile_window(self, tile: str) -> tuple[slice, slice]:
        """Return the rows and columns of the map that a tile covers (empty slices where it does not)."""
        box = lattice(self.recipe.region.pixels_per_tile)[parse_tile(tile)]
        row, col = self._offset(box)
        height, width = self.shape
        n = self.recipe.region.pixels_per_tile
        rows = slice(min(max(row, 0), height), max(min(row + n, height), 0))
        cols = slice(min(max(col, 0), width), max(min(col + n, width), 0))
        return rows, cols

    def tile_origin(self, tile: str) -> tuple[int, int]:
        """Return the map's row and column of a tile's upper left pixel; negative where the map begins inside."""
        return self._offset(lattice(self.recipe.region.pixels_per_tile)[parse_tile(tile)])

    def _offset(self, box: GeoBox) -> tuple[int, int]:
        size = abs(self.geobox.affine.a)
        here, there = self.geobox.affine, box.affine
        return round((here.f - there.f) / size), round((there.c - here.c) / size)

    @property
    def neighbourhood_pixels(self) -> int:
        """Half the width of the gap filling's neighbourhood [pixels], at least one."""
        return max(1, round(self.recipe.gap_filling.anomaly_radius_km / self.pixel_km))

    def sizes(self, scope: str) -> dict[str, int]:
        """Return the length of each dimension of the cube, other than y and x.

        time for a year as scope, year for an epoch.
        """
        lengths = {
            "overpass": 4,
            "composite": 23,
            "interval": 23,
            "month": 12,
            "harmonic": 1 + 2 * self.recipe.gap_filling.harmonics,
        }
        epoch = self.recipe.epochs.named().get(scope)
        lengths |= {"year": len(epoch.years)} if epoch is not None else {}
        return lengths | ({"time": days_in(int(scope))} if scope.isdigit() else {})

    @property
    def pixel_km(self) -> float:
        """Width of a pixel [km]; about, on a grid of degrees."""
        size = abs(self.geobox.affine.a)
        return size * KM_PER_DEGREE if self.geobox.crs is not None and self.geobox.crs.geographic else size / 1000


def products_of(recipe: Recipe, kind: str) -> tuple[str, ...]:
    """Return the product definitions behind a kind of granules; none where the recipe has no source of it."""
    given = getattr(recipe.sources, kind)
    if isinstance(given, VegetationCatalogue):
        return (given.product,)
    return PRODUCTS[kind] if isinstance(given, Catalogue) else ()


def sources_of(recipe: Recipe) -> dict[str, list[Source]]:
    """Return the sources of a recipe by what is looked for in them (each kind of granules, elevation), in turn.

    Over the whole recipe, no two of them are called alike.
    """
    given = {kind: _catalogues(recipe, kind) for kind in (*PRODUCTS, "elevation")}
    opened = iter(
        open_sources(
            [(each.kind, recipe.catalogue(each)) for catalogues in given.values() for each in catalogues],
            allow_hosts=recipe.sources.allow_hosts,
        )
    )
    return {kind: list(itertools.islice(opened, len(catalogues))) for kind, catalogues in given.items() if catalogues}


def polygons_of(recipe: Recipe, given: Path | PolygonLayer, key: str) -> PolygonFile:
    """Return the layer of polygons that a recipe names, after a look at it."""
    if isinstance(given, PolygonLayer):
        return open_polygons(recipe.path(given.path), key, given.layer, given.where)
    return open_polygons(recipe.path(given), key)


def _catalogues(recipe: Recipe, kind: str) -> list[Catalogue]:
    source = getattr(recipe.sources, kind)
    return source.in_turn() if isinstance(source, Catalogue) else []


def _file_identity(href: str) -> str:
    try:
        status = Path(href).stat()
    except OSError:
        return f"{href} is not there"
    return f"{href} {status.st_size} {status.st_mtime_ns}"


def days_in(year: int) -> int:
    """Return the days of a calendar year.

    >>> days_in(2019), days_in(2020)
    (365, 366)
    """
    return 366 if calendar.isleap(year) else 365


def first_and_last_day(year: int, kind: YearKind) -> tuple[np.datetime64, np.datetime64]:
    """Return the days between which a year is summed.

    >>> [str(day) for day in first_and_last_day(2020, "freezing")]
    ['2019-07-01', '2020-06-30']
    """
    start, end = ((year, "01-01"), (year, "12-31")) if kind == "calendar" else ((year - 1, "07-01"), (year, "06-30"))
    return np.datetime64(f"{start[0]}-{start[1]}", "D"), np.datetime64(f"{end[0]}-{end[1]}", "D")


def _whole_chunks(tight: GeoBox, pixels_per_tile: int, chunk: int) -> GeoBox:
    """Return the smallest GeoBox of whole chunks, counted from the lattice's own corner, that holds another."""
    corner = lattice(pixels_per_tile)[0, 0].affine
    size = tight.affine.a
    row, col = round((corner.f - tight.affine.f) / size), round((tight.affine.c - corner.c) / size)
    top, left = row // chunk * chunk, col // chunk * chunk
    bottom, right = -(-(row + tight.shape.y) // chunk) * chunk, -(-(col + tight.shape.x) // chunk) * chunk
    (v, row), (h, col) = divmod(top, pixels_per_tile), divmod(left, pixels_per_tile)
    tile = lattice(pixels_per_tile)[h, v].affine  # from the tile's own exact corner
    anchor = Affine(size, 0.0, tile.c + size * col, 0.0, -size, tile.f - size * row)
    return GeoBox((bottom - top, right - left), anchor, tight.crs)


def open_raster(path: Path, key: str) -> rasterio.DatasetReader:
    """Open a raster that the recipe names, or say clearly why not."""
    try:
        return rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise UserError(
            "a raster cannot be opened",
            where=f"{path} (recipe: {key})",
            found="no such file" if not path.exists() else str(error),
            wanted="a raster that GDAL reads, such as GeoTIFF",
            remedy="correct the path in the recipe, or its `data` folder",
        ) from error


def _projected(shape: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    return shapely.transform(shape, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1])))
