"""What should exist, what is missing, and which gaps the archives themselves have."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import NamedTuple

import yaml

from frostmap.catalogs.collections import Collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import Granule, newest
from frostmap.catalogs.grids import Tile, parse_tile
from frostmap.catalogs.sources import Source

_PLATFORMS = {"MOD": "Terra", "MYD": "Aqua"}
_NEIGHBOURS = dt.timedelta(31)  # holes that are looked for together


class Outage(NamedTuple):
    """Days without data that the mission or an archive explains."""

    platform: str
    """``Terra`` or ``Aqua``."""

    first: dt.date
    """First day, perhaps lost in part."""

    last: dt.date
    """Last day, perhaps lost in part."""

    reason: str
    """What happened."""

    source: str
    """A page that says so."""


class Hole(NamedTuple):
    """A granule that should exist and was not found."""

    product: str
    """Short name of the product."""

    tile: Tile
    """Address on the sinusoidal lattice."""

    date: dt.date
    """The UTC day, or the first day of a composite."""

    outage: str
    """Why, if the whole granule falls into a known outage; else empty."""


@functools.cache
def outages() -> tuple[Outage, ...]:
    """List the known outages of MODIS, by platform and first day.

    Examples
    --------
    >>> [outage.reason for outage in outages() if outage.first.year == 2020]
    ['failure of the data recorder']
    """
    text = (resources.files("frostmap.catalogs") / "definitions" / "outages.yaml").read_text("utf-8")
    return tuple(sorted(Outage(**entry) for entry in yaml.safe_load(text)))


def dates(collection: Collection, start: dt.date, end: dt.date) -> Iterator[dt.date]:
    """Yield the dates of a product's granules in a period: each day, or the first days of composites.

    Composites begin anew on the first of January; nothing exists before the product's first day.

    Examples
    --------
    >>> from frostmap.catalogs.collections import load_collection
    >>> [f"{day:%j}" for day in dates(load_collection("mod13a1"), dt.date(2020, 12, 1), dt.date(2021, 1, 20))]
    ['337', '353', '001', '017']
    """
    if collection.first_day is None or collection.pixels_per_tile is None:
        raise CatalogError(
            f"{collection.product} has no granules in time", wanted="a product of daily granules or of composites"
        )
    for ordinal in range(max(start, collection.first_day).toordinal(), end.toordinal() + 1):
        day = dt.date.fromordinal(ordinal)
        if (day.timetuple().tm_yday - 1) % collection.days == 0:
            yield day


def expected(
    collection: Collection, tiles: Iterable[Tile | str], years: Iterable[int], *, last_day: dt.date | None = None
) -> list[tuple[str, Tile, dt.date]]:
    """List product, tile and date of each granule that should exist, by date and tile.

    Parameters
    ----------
    collection
        The product.
    tiles
        Addresses on the sinusoidal lattice.
    years
        Calendar years.
    last_day
        Nothing is expected after it: what archives have by now. Absent: whole years.

    Examples
    --------
    >>> from frostmap.catalogs.collections import load_collection
    >>> len(expected(load_collection("mod11a1"), ["h25v05"], [2000, 2001]))
    677
    """
    addresses = sorted({parse_tile(tile) for tile in tiles})
    days = [
        day
        for year in sorted(set(years))
        for day in dates(collection, dt.date(year, 1, 1), min(dt.date(year, 12, 31), last_day or dt.date.max))
    ]
    return [(collection.product, tile, day) for day in days for tile in addresses]


def holes(
    collection: Collection,
    tiles: Iterable[Tile | str],
    years: Iterable[int],
    granules: Iterable[Granule],
    *,
    last_day: dt.date | None = None,
) -> list[Hole]:
    """List the granules that should exist and are not among those found, by date and tile."""
    return _missing(collection, expected(collection, tiles, years, last_day=last_day), granules)


def completed(
    sources: Sequence[Source], collection: Collection, tiles: Iterable[Tile | str], start: dt.date, end: dt.date
) -> list[Granule]:
    """Find granules in the first source, and in the others those that all before them lack.

    Parameters
    ----------
    sources
        In order of preference. Each must answer: a `CatalogError` names the one that does not.
    collection, tiles, start, end
        As in `frostmap.catalogs.granules.search`.

    Returns
    -------
    list of Granule
        In order of date and tile; each says which source it is from.
    """
    addresses = sorted({parse_tile(tile) for tile in tiles})
    wanted = [(collection.product, tile, day) for day in dates(collection, start, end) for tile in addresses]
    found: list[Granule] = []
    for number, source in enumerate(sources):
        missing = _missing(collection, wanted, found)
        periods = [(addresses, start, end)] if number == 0 else list(_periods(missing))
        gaps = {(hole.tile, hole.date) for hole in missing}
        for some, first, last in periods:
            answer = _asked(source, collection, some, first, last)
            found += answer if number == 0 else [each for each in answer if (each.tile, each.date) in gaps]
    return newest(found)


def _asked(
    source: Source, collection: Collection, tiles: Sequence[Tile], start: dt.date, end: dt.date
) -> list[Granule]:
    try:
        return source.search(collection, tiles, start, end)
    except CatalogError as error:
        raise CatalogError(
            f"the source {source.name} cannot be searched: {error.what}",
            where=error.where,
            found=error.found,
            wanted=error.wanted,
            remedy=error.remedy or "correct the source in the recipe, or leave it out",
        ) from error


def _missing(
    collection: Collection, wanted: Iterable[tuple[str, Tile, dt.date]], granules: Iterable[Granule]
) -> list[Hole]:
    have = {(granule.product, granule.tile, granule.date) for granule in granules}
    return [Hole(*one, _outage(collection, one[2])) for one in wanted if one not in have]


def _outage(collection: Collection, date: dt.date) -> str:
    """Return why a granule cannot exist: an outage that covers all its days; else nothing."""
    last = date + dt.timedelta(collection.days - 1)
    platform = _PLATFORMS.get(collection.product[:3])
    covering = (one for one in outages() if one.platform == platform and one.first <= date and last <= one.last)
    return next((f"{one.platform}, {one.first} to {one.last}: {one.reason}" for one in covering), "")


def _periods(missing: Sequence[Hole]) -> Iterator[tuple[list[Tile], dt.date, dt.date]]:
    """Group holes that lie close together: few searches, and little that is not needed."""
    group: list[Hole] = []
    for hole in [*missing, None]:
        if group and (hole is None or hole.date - group[-1].date > _NEIGHBOURS):
            yield sorted({each.tile for each in group}), group[0].date, group[-1].date
            group = []
        if hole is not None:
            group.append(hole)
