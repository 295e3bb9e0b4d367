"""Which granules exist for a product, its tiles and days, and where their files are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from frostmap.catalogs.collections import Collection
from frostmap.catalogs.granule_names import Granule, GranuleName, newest, parse_granule_name, wanted
from frostmap.catalogs.grids import Tile
from frostmap.catalogs.hosts import HostRule, address_host
from frostmap.catalogs.stac_apis import Dialect, opened_api, search_api
from frostmap.catalogs.stac_items import Files, granule_of
from frostmap.catalogs.stac_requests import GuardedIO, absolute, read_document
from frostmap.catalogs.static_catalogues import walk

__all__ = ["Granule", "GranuleName", "parse_granule_name", "search"]


def search(
    source: str | Path,
    collection: Collection,
    tiles: Iterable[Tile | str],
    start: dt.date,
    end: dt.date,
    *,
    allow_hosts: Iterable[str] = (),
    dialect: Dialect | None = None,
) -> list[Granule]:
    """Find a product's granules of some tiles and days, in order of date and tile.

    Granules that were processed again come once: the newest production stamp wins.

    Parameters
    ----------
    source
        A static catalogue (a path or a URL of ``catalog.json``, ``collection.json`` or an item collection, or a folder
        with one of the first two) or the root of a STAC API. Its own host may be asked, whatever it is.
    collection
        The product. Items of other products and versions are passed over, whatever collection they are in.
    tiles
        Addresses on the sinusoidal lattice.
    start, end
        First and last date, both included. A composite is found by its first day.
    allow_hosts
        Other hosts that links may lead to although they are private; see `frostmap.catalogs.hosts.HostRule`.
    dialect
        What the API is known to do, beyond what it says of itself.

    Returns
    -------
    list of Granule
        Empty if there are none. Granules that lack a file are listed too: reading one says which.

    Notes
    -----
    In a static catalogue, only what can hold an answer is read. Left out are: collections with another id, if one of
    those beside them has an id of ``collection.stac_collections``; collections whose temporal extent ends before
    `start` or begins after `end`; catalogues whose id is a tile and a year, such as ``h25v05-2010``, other than those
    wanted; items whose file is named after another granule.
    """
    asked = wanted(collection, tiles, start, end)
    href = absolute(source)
    reader = guarded(href, allow_hosts)
    if not asked.tiles:
        return []
    dialect = dialect or Dialect()
    document = read_document(href, reader)
    api = opened_api(document, href, reader)
    if api is not None:
        return newest(search_api(api, asked, dialect))
    files = Files(reader.rule, dialect.only_web)
    found = (granule_of(item, base, asked, files) for item, base in walk(document, href, asked, reader))
    return newest(granule for granule in found if granule is not None)


def guarded(href: str, allow_hosts: Iterable[str]) -> GuardedIO:
    """Return what reads a catalogue: its own host, public hosts and those that are allowed."""
    rule = HostRule(frozenset(allow_hosts))
    return GuardedIO(rule.allowing(address_host(href)) if "://" in href else rule)
