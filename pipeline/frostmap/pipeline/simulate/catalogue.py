"""A static STAC catalogue of the simulated granules, shaped like Planetary Computer's items.

``catalog.json`` at the archive's root -> collections ``modis-11A1-061`` (Terra and Aqua mixed) and
``modis-13A1-061`` -> one catalogue a tile and year -> items. References are relative, so the folder may be moved.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from frostmap.catalogs.grids import SPHERE_RADIUS, TILE_SIZE, Tile, to_geographic
from frostmap.pipeline.simulate.granules import PRODUCTS, granule_id

Json = dict[str, Any]

COLLECTIONS = {"MOD11A1": "modis-11A1-061", "MYD11A1": "modis-11A1-061", "MOD13A1": "modis-13A1-061"}
"""Collection of each product."""

_TITLES = {
    "modis-11A1-061": "Simulated MODIS Land Surface Temperature/Emissivity Daily",
    "modis-13A1-061": "Simulated MODIS Vegetation Indices 16-Day (500m)",
}

_WKT2 = (
    'PROJCRS["unnamed",BASEGEOGCRS["Unknown datum based upon the custom spheroid",'
    'DATUM["Not specified (based on custom spheroid)",'
    f'ELLIPSOID["Custom spheroid",{SPHERE_RADIUS},0,LENGTHUNIT["metre",1,ID["EPSG",9001]]]],'
    'PRIMEM["Greenwich",0,ANGLEUNIT["degree",0.0174532925199433,ID["EPSG",9122]]]],'
    'CONVERSION["unnamed",METHOD["Sinusoidal"],'
    'PARAMETER["Longitude of natural origin",0,ANGLEUNIT["degree",0.0174532925199433],ID["EPSG",8802]],'
    'PARAMETER["False easting",0,LENGTHUNIT["metre",1],ID["EPSG",8806]],'
    'PARAMETER["False northing",0,LENGTHUNIT["metre",1],ID["EPSG",8807]]],'
    'CS[Cartesian,2],AXIS["easting",east,ORDER[1],LENGTHUNIT["metre",1,ID["EPSG",9001]]],'
    'AXIS["northing",north,ORDER[2],LENGTHUNIT["metre",1,ID["EPSG",9001]]]]'
)

_HDF = "application/x-hdf"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@functools.cache
def _footprint(tile: Tile) -> tuple[Json, list[float], Json]:
    west, north = (tile.h - 18) * TILE_SIZE, (9 - tile.v) * TILE_SIZE
    east, south = west + TILE_SIZE, north - TILE_SIZE
    # meridians are curves on this grid: nine points a side
    down, up = np.linspace(north, south, 9), np.linspace(south, north, 9)
    x = np.concatenate([np.full(9, west), np.full(9, east), [west]])
    y = np.concatenate([down, up, [north]])
    longitude, latitude = to_geographic(x, y)
    ring = [[round(float(a), 6), round(float(b), 6)] for a, b in zip(longitude, latitude, strict=True)]
    corners = [[east, south], [east, north], [west, north], [west, south], [east, south]]
    box = [float(f(v)) for f, v in ((min, longitude), (min, latitude), (max, longitude), (max, latitude))]
    return (
        {"type": "Polygon", "coordinates": [ring]},
        [round(edge, 6) for edge in box],
        {"type": "Polygon", "coordinates": [[[round(a, 6), round(b, 6)] for a, b in corners]]},
    )


def granule_folder(product: str, date: dt.date) -> str:
    """Return where a granule lies below the archive's folder."""
    return f"granules/{product}/{date.year}"


def item_path(product: str, date: dt.date, tile: Tile) -> str:
    """Return where a granule's item lies below the archive's folder."""
    return f"stac/{COLLECTIONS[product]}/{tile}-{date.year}/{granule_id(product, date, tile)}.json"


def item(product: str, date: dt.date, tile: Tile, pixels: int, granule_format: str) -> Json:
    """Return the STAC item of a granule.

    Parameters
    ----------
    product, date, tile
        Which granule.
    pixels
        Pixels along its side.
    granule_format
        ``"hdf"``: one asset ``hdf``; ``"cog"``: one asset a band.
    """
    name, what, collection = granule_id(product, date, tile), PRODUCTS[product], COLLECTIONS[product]
    geometry, bbox, projected = _footprint(tile)
    end = date + dt.timedelta(days=15 if product == "MOD13A1" else 0)
    made = dt.datetime.strptime(name.rsplit(".", 1)[1], "%Y%j%H%M%S")
    size = TILE_SIZE / pixels
    west, north = (tile.h - 18) * TILE_SIZE, (9 - tile.v) * TILE_SIZE
    folder = f"../../../{granule_folder(product, date)}"
    if granule_format == "hdf":
        assets: Json = {
            "hdf": {
                "href": f"{folder}/{name}.hdf",
                "type": _HDF,
                "title": "Source data containing all bands",
                "roles": ["data"],
            }
        }
    else:
        assets = {
            layer.asset: {
                "href": f"{folder}/{name}_{layer.asset}.tif",
                "type": _COG,
                "title": layer.title,
                "raster:bands": [_band(layer.dtype, layer.stac_scale, what.resolution)],
                "roles": ["data"],
            }
            for layer in what.layers
        }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "properties": {
            "datetime": None,
            "start_datetime": f"{date:%Y-%m-%d}T00:00:00Z",
            "end_datetime": f"{end:%Y-%m-%d}T23:59:59Z",
            "created": f"{made:%Y-%m-%dT%H:%M:%S}Z",
            "description": "simulated by frostmap; not an observation",
            "platform": "aqua" if product.startswith("MYD") else "terra",
            "instruments": ["modis"],
            "modis:horizontal-tile": tile.h,
            "modis:vertical-tile": tile.v,
            "modis:tile-id": f"51{tile.h:03d}{tile.v:03d}",
            "proj:epsg": None,
            "proj:wkt2": _WKT2,
            "proj:geometry": projected,
            "proj:shape": [pixels, pixels],
            "proj:transform": [size, 0.0, west, 0.0, -size, north],
        },
        "geometry": geometry,
        "bbox": bbox,
        "links": [
            {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "./catalog.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": assets,
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "collection": collection,
    }


def _band(dtype: str, scale: float | None, resolution: int) -> Json:
    band: Json = {"data_type": dtype, "spatial_resolution": resolution}
    return band if scale is None else band | {"scale": scale}


def write_item(folder: Path, product: str, date: dt.date, tile: Tile, pixels: int, granule_format: str) -> None:
    """Write a granule's item below the archive's folder, whose sub-folders exist."""
    document = item(product, date, tile, pixels, granule_format)
    (folder / item_path(product, date, tile)).write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def write_catalogue(folder: Path, granules: Iterable[tuple[str, dt.date, Tile]]) -> Path:
    """Write the catalogue, collections and sub-catalogues above the items of these granules; return the catalogue."""
    members: dict[str, dict[tuple[str, int], list[str]]] = {}
    tiles: dict[str, set[Tile]] = {}
    dates: dict[str, list[dt.date]] = {}
    for product, date, tile in granules:
        collection = COLLECTIONS[product]
        members.setdefault(collection, {}).setdefault((str(tile), date.year), []).append(
            granule_id(product, date, tile)
        )
        tiles.setdefault(collection, set()).add(tile)
        dates.setdefault(collection, []).append(date)
    root = folder / "catalog.json"
    _write(
        root,
        {
            "type": "Catalog",
            "id": "frostmap-simulated",
            "title": "Simulated plateau",
            "stac_version": "1.0.0",
            "description": "Granules simulated by frostmap. Nothing in here was observed.",
            "links": [
                _link("root", "./catalog.json"),
                *(_link("child", f"./stac/{collection}/collection.json") for collection in sorted(members)),
            ],
        },
    )
    for collection, groups in members.items():
        boxes = np.array([_footprint(tile)[1] for tile in tiles[collection]])
        box = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
        first, last = min(dates[collection]), max(dates[collection])
        _write(
            folder / "stac" / collection / "collection.json",
            {
                "type": "Collection",
                "id": collection,
                "title": _TITLES[collection],
                "stac_version": "1.0.0",
                "description": f"{_TITLES[collection]}: simulated by frostmap, not observed.",
                "license": "proprietary",
                "extent": {
                    "spatial": {"bbox": [box]},
                    "temporal": {"interval": [[f"{first}T00:00:00Z", f"{last}T23:59:59Z"]]},
                },
                "links": [
                    _link("root", "../../catalog.json"),
                    _link("parent", "../../catalog.json"),
                    *(_link("child", f"./{tile}-{year}/catalog.json") for tile, year in sorted(groups)),
                ],
            },
        )
        for (tile_name, year), names in groups.items():
            _write(
                folder / "stac" / collection / f"{tile_name}-{year}" / "catalog.json",
                {
                    "type": "Catalog",
                    "id": f"{tile_name}-{year}",
                    "stac_version": "1.0.0",
                    "description": f"Simulated granules of tile {tile_name} in {year}.",
                    "links": [
                        _link("root", "../../../catalog.json"),
                        _link("parent", "../collection.json"),
                        *(_link("item", f"./{name}.json") for name in sorted(names)),
                    ],
                },
            )
    return root


def _link(relation: str, href: str) -> Json:
    return {"rel": relation, "href": href, "type": "application/geo+json" if relation == "item" else "application/json"}


def _write(path: Path, document: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
