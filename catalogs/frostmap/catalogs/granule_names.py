"""What a granule is called and what its name says.

Names are trusted, metadata is not: product, day and tile come from a granule's name; catalogues leave out the platform,
the EPSG code and the datetime, mix Terra with Aqua and keep granules that were processed again.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from frostmap.catalogs.collections import Collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.grids import Tile, parse_tile

_NAME = re.compile(
    r"(?P<product>M[A-Z]D\d{2}[A-Z0-9]{0,3})\.A(?P<year>\d{4})(?P<day>\d{3})\.(?P<tile>h\d{2}v\d{2})"
    r"\.(?P<version>\d{3})(?:\.(?P<production>\d{13}))?(?:\.(?:hdf|json))?",
    re.ASCII,
)


class GranuleName(NamedTuple):
    """What a granule's name says."""

    product: str
    """Short name of the product."""

    date: dt.date
    """The UTC day, or the first day of a composite."""

    tile: Tile
    """Address on the sinusoidal lattice."""

    version: str
    """Version of the algorithm."""

    production: str
    """When it was made, YYYYDDDHHMMSS; empty where the name leaves it out."""


@dataclass(frozen=True)
class Granule:
    """One tile of a product on one day, and where its files are."""

    name: str
    """Its name, with the production stamp if the catalogue has it."""

    product: str
    """Short name of the product."""

    date: dt.date
    """The UTC day, or the first day of a composite."""

    tile: Tile
    """Address on the sinusoidal lattice."""

    version: str
    """Version of the algorithm."""

    production: str
    """When it was made, YYYYDDDHHMMSS; empty if unknown."""

    hdf_href: str | None = None
    """The HDF-EOS file with all layers, if the catalogue has one: an absolute path or a URL."""

    band_hrefs: Mapping[str, str] = field(default_factory=dict, hash=False)
    """A GeoTIFF for each asset key, if the catalogue has them: absolute paths or URLs."""

    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Bytes of the files above, by path or URL, where the catalogue states them."""

    source: str = field(default="", compare=False)
    """Name of the source that it was found in; empty if it was not looked for in one."""


class Wanted(NamedTuple):
    """What a search is for."""

    collection: Collection
    tiles: frozenset[Tile]
    start: dt.date
    end: dt.date

    def names(self, name: GranuleName) -> bool:
        """Say whether a granule of this name answers the search."""
        return (
            name.product == self.collection.product
            and name.version == self.collection.version
            and name.tile in self.tiles
            and self.start <= name.date <= self.end
        )


def wanted(collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date) -> Wanted:
    """Return what a search is for; a `CatalogError` where the period ends before it starts."""
    if start > end:
        raise CatalogError("the period ends before it starts", found=f"{start} to {end}")
    return Wanted(collection, frozenset(parse_tile(tile) for tile in tiles), start, end)


def parse_granule_name(name: str) -> GranuleName:
    """Read a granule's name, with or without production stamp and ``.hdf``.

    Examples
    --------
    >>> parse_granule_name("MYD11A1.A2020225.h11v04.061.2021014002251").date
    datetime.date(2020, 8, 12)
    >>> parse_granule_name("MOD11A1.A2022041.h19v02.061").production
    ''
    """
    parsed = said_by(name)
    if parsed is None:
        raise CatalogError(
            "not the name of a MODIS granule",
            found=repr(name),
            wanted="such as MOD11A1.A2020225.h25v05.061.2021014002251, with an existing day and tile",
        )
    return parsed


def said_by(name: str) -> GranuleName | None:
    """Read a granule's name; None if it is not one."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        tile = parse_tile(match["tile"])
        date = dt.date(int(match["year"]), 1, 1) + dt.timedelta(int(match["day"]) - 1)
    except (ValueError, OverflowError):
        return None
    if date.year != int(match["year"]):  # day 000, or 366 of a common year
        return None
    return GranuleName(match["product"], date, tile, match["version"], match["production"] or "")


def newest(granules: Iterable[Granule]) -> list[Granule]:
    """Return one granule a day and tile, in this order: of those that were processed again, the newest."""
    kept: dict[tuple[dt.date, Tile], Granule] = {}
    for granule in granules:
        known = kept.get((granule.date, granule.tile))
        if known is None or known.production < granule.production:
            kept[granule.date, granule.tile] = granule
    return [kept[key] for key in sorted(kept)]
