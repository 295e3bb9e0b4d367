"""Static STAC catalogues: plain JSON, because a year of two products is thousands of items."""

from __future__ import annotations

import re
from collections.abc import Iterator

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import Wanted, said_by
from frostmap.catalogs.hosts import without_query
from frostmap.catalogs.stac_requests import GuardedIO, Json, mapping, objects, read_document, resolved

_TILE_YEAR = re.compile(r"(?<![A-Za-z0-9])(h\d{2}v\d{2})-(\d{4})(?![A-Za-z0-9])")


def walk(document: Json, href: str, wanted: Wanted, reader: GuardedIO) -> Iterator[tuple[Json, str]]:
    """Yield the items below a document, each with the address that its links are relative to.

    Only what can hold an answer is read; a document that is linked twice is read once.
    """
    visited = {href}
    stack = [(document, href)]
    while stack:
        document, href = stack.pop()
        kind = document.get("type")
        if kind == "Feature":
            yield document, href
            continue
        if kind == "FeatureCollection":
            yield from ((item, href) for item in objects(document.get("features")))
            continue
        if kind not in ("Catalog", "Collection"):
            raise CatalogError(
                "neither a STAC catalogue, a collection nor an item",
                where=without_query(href),
                found=f"type {kind!r}",
                remedy="name the catalog.json at the catalogue's root",
            )
        children: list[tuple[Json, str]] = []
        for link in objects(document.get("links")):
            relation, target = link.get("rel"), str(link.get("href", ""))
            if relation == "item" and _may_be(target, wanted):
                target = resolved(target, href, reader.rule)
                if target not in visited:
                    visited.add(target)
                    yield read_document(target, reader), target
            elif relation == "child" and _may_hold(target, str(link.get("title") or ""), wanted):
                target = resolved(target, href, reader.rule)
                if target not in visited:
                    visited.add(target)
                    children.append((read_document(target, reader), target))
        stack.extend(reversed(_relevant(children, wanted)))


def _may_be(target: str, wanted: Wanted) -> bool:
    """Say whether an item may be wanted, judging by its file's name if that is a granule's."""
    name = said_by(target.rpartition("/")[2])
    return name is None or wanted.names(name)


def _may_hold(target: str, title: str, wanted: Wanted) -> bool:
    """Say whether a child catalogue may hold wanted items, judging by a tile and year in its address or title."""
    match = _TILE_YEAR.search("/".join(target.rsplit("/", 2)[-2:])) or _TILE_YEAR.search(title)
    return match is None or _has(match, wanted)


def _has(match: re.Match[str], wanted: Wanted) -> bool:
    return wanted.start.year <= int(match[2]) <= wanted.end.year and any(str(tile) == match[1] for tile in wanted.tiles)


def _relevant(children: list[tuple[Json, str]], wanted: Wanted) -> list[tuple[Json, str]]:
    """Leave out children that cannot hold wanted items, judging by their ids and temporal extents."""
    ours = wanted.collection.stac_collections
    named = any(child.get("id") in ours for child, _ in children)
    kept = []
    for child, href in children:
        match = _TILE_YEAR.fullmatch(str(child.get("id", "")))
        if match is not None and not _has(match, wanted):
            continue
        if child.get("type") == "Collection" and named and child.get("id") not in ours:
            continue
        if _overlaps(child, wanted):
            kept.append((child, href))
    return kept


def _overlaps(document: Json, wanted: Wanted) -> bool:
    """Say whether a collection's temporal extent, if it has one, overlaps the wanted days."""
    intervals = mapping(mapping(document.get("extent")).get("temporal")).get("interval")
    if not (isinstance(intervals, list) and intervals and isinstance(intervals[0], list) and len(intervals[0]) == 2):
        return True
    first, last = (str(day)[:10] if day else "" for day in intervals[0])  # the first interval spans all others
    return (not first or first <= wanted.end.isoformat()) and (not last or last >= wanted.start.isoformat())
