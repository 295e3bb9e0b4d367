"""Which cells of an elevation model cover a box, and where they are."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

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
"""South and west edge of a cell [°]."""

ModelId: TypeAlias = Literal["cop-dem-glo-90", "nasadem", "srtm-v4.1"]
"""An elevation model that comes in cells: the name of its definition."""

COPERNICUS: ModelId = "cop-dem-glo-90"


class ElevationTile(NamedTuple):
    """One cell of an elevation model."""

    name: str
    """Its name."""

    href: str
    """Where its file is: an absolute path or a URL."""

    bounds: Bounds
    """West, south, east, north [°]."""

    source: str = ""
    """Name of the source that it was found in."""

    model: ModelId = COPERNICUS
    """What it is a cell of."""

    @property
    def corner(self) -> Corner:
        """South and west edge [°]."""
        return round(self.bounds[1]), round(self.bounds[0])


class ElevationModel(NamedTuple):
    """How a model is cut into cells, and what they are called."""

    side: int
    """Degrees along a cell's side."""

    cells_per_degree: int
    """Elevations along a degree, on the plateau."""

    pattern: re.Pattern[str]
    """What a cell is called in catalogues, and its file without its suffix."""

    name: Callable[[int, int], str]
    """A cell's name by its south and west edge [°]."""

    corner: Callable[[re.Match[str]], Corner]
    """South and west edge [°] by the match of a name."""

    suffixes: tuple[str, ...] = (".tif",)
    """Of its files."""


def _copernicus_name(south: int, west: int) -> str:
    return (
        f"Copernicus_DSM_COG_30_{'S' if south < 0 else 'N'}{abs(south):02d}_00_"
        f"{'W' if west < 0 else 'E'}{abs(west):03d}_00_DEM"
    )


def _nasadem_name(south: int, west: int) -> str:
    return f"NASADEM_HGT_{'s' if south < 0 else 'n'}{abs(south):02d}{'w' if west < 0 else 'e'}{abs(west):03d}"


def _degrees(match: re.Match[str]) -> Corner:
    return (
        int(match[2]) * (1 if match[1] in "Nn" else -1),
        int(match[4]) * (1 if match[3] in "Ee" else -1),
    )


MODELS: Mapping[ModelId, ElevationModel] = {
    "cop-dem-glo-90": ElevationModel(
        1,
        1200,
        # 30: arc seconds / 10; the 30-m model, 10, may lie beside it
        re.compile(r"Copernicus_DSM_(?:COG_)?30_([NS])(\d{2})_00_([EW])(\d{3})_00(?:_DEM)?"),
        _copernicus_name,
        _degrees,
    ),
    "nasadem": ElevationModel(
        1,
        3600,
        re.compile(r"(?:NASADEM_HGT_)?([ns])(\d{2})([ew])(\d{3})", re.IGNORECASE),
        _nasadem_name,
        _degrees,
        (".tif", ".hgt"),
    ),
    "srtm-v4.1": ElevationModel(
        5,
        1200,
        re.compile(r"srtm_(\d{2})_(\d{2})"),  # columns of 5° from 180° W, rows of 5° from 60° N
        lambda south, west: f"srtm_{(west + 180) // 5 + 1:02d}_{(60 - south) // 5:02d}",
        lambda match: (60 - 5 * int(match[2]), 5 * int(match[1]) - 185),
    ),
}


def search_tiles(
    address: str, bbox: Bounds, allow_hosts: Iterable[str] = (), model: ModelId = COPERNICUS
) -> list[ElevationTile]:
    """Find the cells of an elevation model that cover any area of a box, in order of their names.

    Cells without land are in no catalogue: the list may be shorter than the box is wide, or empty.

    Parameters
    ----------
    address
        A static catalogue or the root of a STAC API, as in `frostmap.catalogs.granules.search`.
    bbox
        West, south, east, north [°].
    allow_hosts
        Private hosts that links may lead to.
    model
        Whose cells.
    """
    _check_box(bbox)
    collection = load_collection(model)
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
        tile = _covering(str(item.get("id", "")), bbox, model)
        asset = mapping(mapping(item.get("assets")).get(collection.bands[0].asset))
        if tile is not None and "href" in asset:
            tiles.setdefault(tile.corner, tile._replace(href=resolved(str(asset["href"]), base, reader.rule)))
    return sorted(tiles.values())


def search_folder(folder: Path, bbox: Bounds, model: ModelId = COPERNICUS) -> list[ElevationTile]:
    """Find the cells in a folder and all below it that cover any area of a box, by their files' names."""
    _check_box(bbox)
    tiles: dict[Corner, ElevationTile] = {}
    for path in sorted(files_below(folder, MODELS[model].suffixes)):
        tile = _covering(path.stem, bbox, model)
        if tile is not None:
            tiles.setdefault(tile.corner, tile._replace(href=str(path)))
    return sorted(tiles.values())


def _check_box(bbox: Bounds) -> None:
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise CatalogError("not a bounding box", found=bbox, wanted="west < east and south < north in degrees")


def _covering(name: str, bbox: Bounds, model: ModelId) -> ElevationTile | None:
    """Return the cell of a name, if it covers any area of a box."""
    west, south, east, north = bbox
    bounds = tile_corners(name, model)
    if bounds is None or not (bounds[0] < east and west < bounds[2] and bounds[1] < north and south < bounds[3]):
        return None
    return ElevationTile(name, "", bounds, model=model)


def tile_name(corner: Corner, model: ModelId = COPERNICUS) -> str:
    """Return what the cell of a south and west edge [°] is called.

    Examples
    --------
    >>> tile_name((53, -115))
    'Copernicus_DSM_COG_30_N53_00_W115_00_DEM'
    >>> tile_name((33, 90), "nasadem"), tile_name((30, 85), "srtm-v4.1")
    ('NASADEM_HGT_n33e090', 'srtm_54_06')
    """
    return MODELS[model].name(*corner)


def tile_corners(name: str, model: ModelId = COPERNICUS) -> Bounds | None:
    """Return west, south, east and north [°] of a cell by its name; None if it is not one of the model.

    Examples
    --------
    >>> tile_corners("Copernicus_DSM_COG_30_N53_00_W115_00_DEM")
    (-115.0, 53.0, -114.0, 54.0)
    >>> tile_corners("srtm_54_06", "srtm-v4.1")
    (85.0, 30.0, 90.0, 35.0)
    """
    cut = MODELS[model]
    match = cut.pattern.fullmatch(name)
    if match is None:
        return None
    south, west = cut.corner(match)
    return float(west), float(south), float(west + cut.side), float(south + cut.side)


def cells_of(square_degrees: Iterable[Corner], model: ModelId) -> set[Corner]:
    """Return the south and west edges of the cells that hold some square degrees.

    Examples
    --------
    >>> sorted(cells_of({(33, 89), (33, 90)}, "srtm-v4.1"))
    [(30, 85), (30, 90)]
    """
    side = MODELS[model].side
    return {(south // side * side, west // side * side) for south, west in square_degrees}
