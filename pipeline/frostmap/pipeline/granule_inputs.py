"""Granules on their way into a stage: fetched where they are remote, read, and accounted for one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from frostmap.catalogs.collections import Collection as ProductDefinition
from frostmap.catalogs.completeness import holes
from frostmap.catalogs.granules import Granule
from frostmap.pipeline.downloads import Downloads, fetched, recorded
from frostmap.pipeline.errors import DataIncomplete, FrostmapError
from frostmap.pipeline.granule_files import GranuleError, check_granule_file
from frostmap.pipeline.granule_reader import reader
from frostmap.pipeline.recipe import Ingest, Recipe
from frostmap.pipeline.stage import Noted

COLUMNS = ("id", "product", "tile", "date", "source", "sha256", "status", "error")
"""Of the table of granules; status is ok, bad (could not be had or read) or missing (in no catalogue)."""

Note = dict[str, str]
"""A row of that table."""


@dataclass(frozen=True)
class Reading:
    """How granules are read; plain settings, without secrets, for workers."""

    collection: ProductDefinition
    bands: tuple[str, ...]
    pixels_per_tile: int
    downloads: Downloads


def read_each(
    granules: Mapping[int, Granule], how: Reading
) -> Iterator[tuple[int, dict[str, NDArray[Any]] | None, Note]]:
    """Yield each granule's key, its arrays as stored (None if it cannot be had or read) and its row of the table."""
    order = sorted(granules.items())
    assets = {how.collection.band(name).asset for name in how.bands}
    check = partial(check_granule_file, pixels_per_tile=how.pixels_per_tile)
    fetching = fetched([granule for _, granule in order], assets, how.downloads, check)
    for (key, granule), (_, local) in zip(order, fetching, strict=True):
        note = note_of(granule)
        try:
            if isinstance(local, GranuleError):
                raise local
            arrays = reader().read(local, how.collection, how.bands, pixels_per_tile=how.pixels_per_tile)
            note["sha256"] = digest_of_files(local, assets)
        except GranuleError as error:
            yield key, None, note | {"status": "bad", "error": " ".join(str(error).split())}
        else:
            yield key, arrays, note | {"status": "ok"}


def note_of(granule: Granule) -> Note:
    """Return a granule's row of the table, as far as it is known before it is read."""
    return {
        "id": granule.name,
        "product": granule.product,
        "tile": str(granule.tile),
        "date": granule.date.isoformat(),
        "source": granule.source,
        "sha256": "",
        "status": "",
        "error": "",
    }


def missing_notes(
    collection: ProductDefinition, tiles: Iterable[str], year: int, granules: Iterable[Granule]
) -> list[Note]:
    """Return the rows of a year's granules that no catalogue has, with the outage that explains it, if one does."""
    return [
        {
            "id": "",
            "product": hole.product,
            "tile": str(hole.tile),
            "date": hole.date.isoformat(),
            "source": "",
            "sha256": "",
            "status": "missing",
            "error": f"known outage: {hole.outage}" if hole.outage else "in no catalogue",
        }
        for hole in holes(collection, tiles, [year], granules)
    ]


def digest_of_files(granule: Granule, assets: Collection[str]) -> str:
    """Return the SHA-256 of a granule's file; of several, that of theirs in the order of their assets."""
    several = all(asset in granule.band_hrefs for asset in assets)
    hrefs = [granule.band_hrefs[asset] for asset in sorted(assets)] if several else [granule.hdf_href or ""]
    digests = []
    for href in hrefs:
        known = recorded(Path(href))
        digests.append(known.sha256 if known else hashlib.sha256(Path(href).read_bytes()).hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def accepts_bad(recipe: Recipe) -> bool:
    """Say whether granules that could not be had or read count as cloud; for a stage's `Stage.tolerates`."""
    return recipe.ingest.bad_granules == "accept"


def accounting(
    notes: Sequence[Iterable[Note]], *, missing: Sequence[Note], settings: Ingest, table: str, period: str
) -> Noted:
    """Return the table of a period's granules, and the complaint if bad or missing ones are not accepted."""
    rows = pd.DataFrame([row for each in notes for row in each] + list(missing), columns=list(COLUMNS))
    rows = rows.sort_values(["date", "tile", "product"], ignore_index=True)
    return Noted(tables={table: rows}, complaint=_complaint(rows, settings, table, period))


def account(missing: Sequence[Note], settings: Ingest, table: str, period: str) -> partial[Noted]:
    """Return `accounting` for a stage's `Products.noted`."""
    return partial(accounting, missing=missing, settings=settings, table=table, period=period)


def _complaint(rows: pd.DataFrame, settings: Ingest, table: str, period: str) -> FrostmapError | None:
    for status, choice, key in (
        ("bad", settings.bad_granules, "bad_granules"),
        ("missing", settings.missing_granules, "missing_granules"),
    ):
        faulty = rows[rows["status"] == status]
        if len(faulty) and choice == "refuse":
            shown = "; ".join(
                f"{row['id'] or ' '.join((row['product'], row['tile'], row['date']))}: {row['error']}"
                for row in faulty.head(5).to_dict("records")
            )
            more = f"; and {len(faulty) - 5} more" if len(faulty) > 5 else ""
            return DataIncomplete(
                f"{len(faulty)} of {len(rows)} granules of {period} are {status}",
                where=f"tables/{table}.csv lists them",
                found=shown + more,
                wanted="every granule readable, and named for what it holds",
                remedy="try these alone again with `frostmap retry WORKDIR`, or replace the files and run again; "
                f"or set ingest.{key}: accept to treat them as cloud",
            )
    return None
