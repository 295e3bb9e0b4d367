"""Which elevation tiles cover a box, and where they are."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import NamedTuple

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import Wanted
from frostmap.catalogs.granules import guarded
from frostmap.catalogs.grids import Bounds
from frostmap.catalogs.stac_apis import opened_api, search_box
from frostmap.catalogs.stac_requests import absolute, mapping, read_document, resolved
from frostmap.catalogs.static_catalogues import walk

_CORNER = re.compile(r"_([NS])(\d{2})_00_([EW])(\d{3})_00(?:_|$)")


class ElevationTile(NamedTuple):
    """One square degree of the Copernicus elevation model."""

    name: str
    """Its name."""

    href: str
    """Where its GeoTIFF is: an absolute path or a URL."""

    bounds: Bounds
    """West, south, east, north [°]."""


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
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise CatalogError("not a bounding box", found=bbox, wanted="west < east and south < north in degrees")
    collection = load_collection("cop-dem-glo-90")
    href = absolute(address)
    reader = guarded(href, allow_hosts)
    document = read_document(href, reader)
    api = opened_api(document, href, reader)
    if api is not None:
        items = search_box(api, collection, bbox)
    else:
        items = walk(document, href, Wanted(collection, frozenset(), dt.date.min, dt.date.max), reader)
    tiles: dict[str, ElevationTile] = {}
    for item, base in items:
        name = str(item.get("id", ""))
        bounds = tile_corners(name)
        asset = mapping(mapping(item.get("assets")).get(collection.bands[0].asset))
        if bounds is None or "href" not in asset or name in tiles:
            continue
        if bounds[0] < east and west < bounds[2] and bounds[1] < north and south < bounds[3]:
            tiles[name] = ElevationTile(name, resolved(str(asset["href"]), base, reader.rule), bounds)
    return [tiles[name] for name in sorted(tiles)]


def tile_corners(name: str) -> Bounds | None:
    """Return west, south, east and north [°] of a tile by its name; None if it does not say.

    Examples
    --------
    >>> tile_corners("Copernicus_DSM_COG_30_N53_00_W115_00_DEM")
    (-115.0, 53.0, -114.0, 54.0)
    """
    match = _CORNER.search(name)
    if match is None:
        return None
    south = float(match[2]) * (1 if match[1] == "N" else -1)
    west = float(match[4]) * (1 if match[3] == "E" else -1)
    return west, south, west + 1.0, south + 1.0
