"""Which granules a run should have, which it found and where, and what is known of the missing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.completeness import Hole, expected, holes, outages
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.work import Work, products_of, sources_of


def completeness(work: Work) -> dict[str, Any]:
    """Return which granules should exist, which were found and where, and which are missing, as plain data.

    Returns
    -------
    dict
        ``sources``: for each kind of granules, the names of those asked, in their order. ``products``: for each product
        and year, the numbers ``expected``, ``found``, ``found_in`` (by source), ``missing`` and, of these,
        ``known_outages``, and ``missing_by_tile``: the numbers of each tile that lacks some, and the dates in
        intervals. ``outages``: each that explains a granule, its page, and how many it explains.
    """
    products: list[dict[str, Any]] = []
    explained: Counter[str] = Counter()
    for kind, years in work.granules.items():
        for name in products_of(work.recipe, kind):
            collection = load_collection(name)
            for year, granules in years.items():
                found = [granule for granule in granules if granule.product == collection.product]
                missing = holes(collection, work.tiles, [int(year)], found)
                explained.update(hole.outage for hole in missing if hole.outage)
                products.append(
                    {
                        "product": collection.product,
                        "year": year,
                        "expected": len(expected(collection, work.tiles, [int(year)])),
                        "found": len(found),
                        "found_in": dict(Counter(granule.source for granule in found)),
                        "missing": len(missing),
                        "known_outages": sum(bool(hole.outage) for hole in missing),
                        "missing_by_tile": _by_tile(missing, collection.days),
                    }
                )
    return {
        "sources": {kind: sources_asked(work.recipe, kind) for kind in work.granules},
        "products": products,
        "outages": [
            {"outage": words, "source": outage_page(words), "missing": number} for words, number in explained.items()
        ],
    }


def sources_asked(recipe: Recipe, kind: str) -> list[str]:
    """Return the names of the sources of a kind of granules, in the order in which they are asked."""
    return [source.name for source in sources_of(recipe).get(kind, [])]


def outage_page(words: str) -> str:
    """Return the page that tells of a known outage, given as holes name it; empty if it is known no more.

    Examples
    --------
    >>> outage_page("Terra, 2016-02-18 to 2016-02-27: safe mode of the spacecraft")
    'https://forum.earthdata.nasa.gov/viewtopic.php?t=974'
    """
    pages = (one.source for one in outages() if words.startswith(f"{one.platform}, {one.first} to {one.last}:"))
    return next(pages, "")


def _by_tile(missing: Sequence[Hole], days: int) -> dict[str, dict[str, Any]]:
    tiles: dict[str, list[Hole]] = {str(tile): [] for tile in sorted({hole.tile for hole in missing})}
    for hole in missing:
        tiles[str(hole.tile)].append(hole)
    return {
        tile: {
            "missing": len(some),
            "known_outages": sum(bool(hole.outage) for hole in some),
            "dates": intervals([hole.date for hole in some], days),
        }
        for tile, some in tiles.items()
    }


def intervals(dates: Sequence[date], days: int = 1) -> list[str]:
    """Return dates in their order as few words: single ones, and first/last of those that follow `days` apart.

    Examples
    --------
    >>> intervals([date(2020, 1, 1), date(2020, 8, 16), date(2020, 8, 17), date(2020, 8, 18)])
    ['2020-01-01', '2020-08-16/2020-08-18']
    >>> intervals([date(2020, 1, 1), date(2020, 1, 17), date(2020, 2, 18)], days=16)
    ['2020-01-01/2020-01-17', '2020-02-18']
    """
    spans: list[tuple[date, date]] = []
    for day in dates:
        if spans and day == spans[-1][1] + timedelta(days):
            spans[-1] = spans[-1][0], day
        else:
            spans.append((day, day))
    return [f"{first}" if first == last else f"{first}/{last}" for first, last in spans]
