"""Which elevation tiles cover a box, and where they are."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_folders import files_below
from frostmap.catalogs.granule_names import Wanted
from frostmap.catalogs.granules import guarded
from frostmap.catalogs.grids import Bounds
from frostmap.catalogs.stac_apis import opened_api, search_box
from frostmap.catalogs.stac_requests import absolute, mapping, read_document, resolved
from frostmap.catalogs.static_catalogues import walk

Corner: TypeAlias = tuple[int, int]
"""South and west edge of a square degree [°]."""

# 30: arc seconds / 10; the 30-m model, 10, may lie beside it
_NAME = re.compile(r"Copernicus_DSM_(?:COG_)?30_([NS])(\d{2})_00_([EW])(\d{3})_00(?:_DEM)?")


class ElevationTile(NamedTuple):
    """One square degree of the Copernicus elevation model."""

    name: str
    """Its name."""

    href: str
    """Where its GeoTIFF is: an absolute path or a URL."""

    bounds: Bounds
    """West, south, east, north [°]."""

    source: str = ""
    """Name of the source that it was found in."""

    @property
    def corner(self) -> Corner:
        """South and west edge [°]."""
        return round(self.bounds[1]), round(self.bounds[0])


def search_tiles(address: str, bbox: Bounds, allow_hosts: Iterable[str] = ()) -> list[ElevationTile]:
    """Find the tiles of the 90-m elevation model that cover any area of a box, in order of their names.

    Square degrees without land have no tile: the list may be shorter than the box is wide, or empty.

    Parameters
    ----------
    address
        A static catalogue or the root of a STAC API, as in `frostmap.catalogs.granules.search`.
    bbox
        West, south, east, north [°].
    allow_hosts
        Private hosts that links may lead to.
    """
    _check_box(bbox)
    collection = load_collection("cop-dem-glo-90")
    href = absolute(address)
    reader = guarded(href, allow_hosts)
    document = read_document(href, reader)
    api = opened_api(document, href, reader)
    if api is not None:
        items = search_box(api, collection, bbox)
    else:
        items = walk(document, href, Wanted(collection, frozenset(), dt.date.min, dt.date.max), reader)
    tiles: dict[Corner, ElevationTile] = {}
    for item, base in items:
        tile = _covering(str(item.get("id", "")), bbox)
        asset = mapping(mapping(item.get("assets")).get(collection.bands[0].asset))
        if tile is not None and "href" in asset:
            tiles.setdefault(tile.corner, tile._replace(href=resolved(str(asset["href"]), base, reader.rule)))
    return sorted(tiles.values())


def search_folder(folder: Path, bbox: Bounds) -> list[ElevationTile]:
    """Find the tiles in a folder and all below it that cover any area of a box, by their files' names."""
    _check_box(bbox)
    tiles: dict[Corner, ElevationTile] = {}
    for path in sorted(files_below(folder)):
        tile = _covering(path.stem, bbox) if path.suffix == ".tif" else None
        if tile is not None:
            tiles.setdefault(tile.corner, tile._replace(href=str(path)))
    return sorted(tiles.values())


def _check_box(bbox: Bounds) -> None:
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise CatalogError("not a bounding box", found=bbox, wanted="west < east and south < north in degrees")


def _covering(name: str, bbox: Bounds) -> ElevationTile | None:
    """Return the tile of a name, if it covers any area of a box."""
    west, south, east, north = bbox
    bounds = tile_corners(name)
    if bounds is None or not (bounds[0] < east and west < bounds[2] and bounds[1] < north and south < bounds[3]):
        return None
    return ElevationTile(name, "", bounds)


def tile_name(corner: Corner) -> str:
    """Return what the tile of a square degree is called.

    Examples
    --------
    >>> tile_name((53, -115))
    'Copernicus_DSM_COG_30_N53_00_W115_00_DEM'
    """
    south, west = corner
    return (
        f"Copernicus_DSM_COG_30_{'S' if south < 0 else 'N'}{abs(south):02d}_00_"
        f"{'W' if west < 0 else 'E'}{abs(west):03d}_00_DEM"
    )


def tile_corners(name: str) -> Bounds | None:
    """Return west, south, east and north [°] of a tile by its name; None if it is not one of the 90-m model.

    Examples
    --------
    >>> tile_corners("Copernicus_DSM_COG_30_N53_00_W115_00_DEM")
    (-115.0, 53.0, -114.0, 54.0)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    south = float(match[2]) * (1 if match[1] == "N" else -1)
    west = float(match[4]) * (1 if match[3] == "E" else -1)
    return west, south, west + 1.0, south + 1.0
