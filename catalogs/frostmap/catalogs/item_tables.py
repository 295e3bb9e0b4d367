"""Granules in a table of STAC items (STAC GeoParquet), such as the monthly snapshots of large catalogues."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granule_names import Granule, Wanted, newest
from frostmap.catalogs.stac_items import Files, granule_of

_COLUMNS = ("id", "assets", "created")


def search_table(path: Path, wanted: Wanted) -> list[Granule]:
    """Find the granules of some tiles and days in a Parquet file of items, or in a folder of such files.

    Only the needed columns and days are read: ids begin with the product and the day, so their order is the days'.
    Relative links start where the file is, or at the folder of files. A `CatalogError` is raised where the file is no
    table of items, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.dataset as tables
    except ImportError as error:
        raise CatalogError(
            "a table of items cannot be read without pyarrow", where=path, remedy="pip install 'frostmap[parquet]'"
        ) from error
    product = wanted.collection.product
    after = f"{product}.A{wanted.start:%Y%j}"
    before = f"{product}.A{wanted.end + dt.timedelta(1):%Y%j}"
    base = str(path / "items") if path.is_dir() else str(path)  # as of a document in the folder
    try:
        table = tables.dataset(path, format="parquet")
        missing = {"id", "assets"} - set(table.schema.names)
        if missing:
            raise CatalogError(
                "not a table of STAC items",
                where=path,
                found=f"no column {', '.join(sorted(missing))}",
                wanted="columns id and assets",
            )
        ids = tables.field("id")
        rows = table.to_batches(
            columns=[name for name in _COLUMNS if name in table.schema.names],
            filter=(ids >= after) & (ids < before),
        )
        found = [granule_of(_item(row), base, wanted, Files()) for batch in rows for row in batch.to_pylist()]
    except (OSError, pa.ArrowException) as error:
        raise CatalogError("a table of items cannot be read", where=path, found=str(error)[:300]) from error
    return newest(granule for granule in found if granule is not None)


def _item(row: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an item that granules are made of; a table has a column for each asset key, empty or not."""
    created = row.get("created")
    assets = {key: asset for key, asset in (row["assets"] or {}).items() if asset is not None}
    return {
        "id": row["id"],
        "assets": assets,
        "properties": {"created": created.isoformat() if isinstance(created, dt.datetime) else created},
    }
