"""From STAC items to granules. Nothing of STAC leaks past here."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from frostmap.catalogs.granule_names import Granule, Wanted, said_by
from frostmap.catalogs.hosts import HostRule
from frostmap.catalogs.stac_requests import Json, mapping, resolved

_PRODUCTION = re.compile(r"\.(\d{13})(?:[._]|$)")


class Files(NamedTuple):
    """Which of an item's assets are files that can be read."""

    rule: HostRule = HostRule()
    """Where links may lead."""

    only_web: bool = False
    """Pass over what needs another protocol than https (http): archives list each file several times."""

    def hdf(self, asset: Json, base: str) -> str | None:
        """Return where the HDF file of an asset is; None if it is something else."""
        href = str(asset.get("href", ""))
        if not href.partition("?")[0].endswith(".hdf"):  # archives name this asset differently: the suffix decides
            return None
        if not self.only_web:
            return resolved(href, base, self.rule)
        kind = str(asset.get("type") or "hdf").lower()
        if not ("hdf" in kind or "octet-stream" in kind):
            return None
        parts = urlsplit(href if href.startswith("s3:") else resolved(href, base, self.rule))
        if parts.scheme not in ("http", "https") or "opendap" in f"{parts.netloc}{parts.path}".lower():
            return None
        return parts.geturl()


def granule_of(item: Json, base: str, wanted: Wanted, files: Files) -> Granule | None:
    """Turn an item into a granule; None if it is not wanted.

    Parameters
    ----------
    item
        The item; only its id and its assets are believed.
    base
        What its links are relative to: a path or a URL.
    wanted
        What the search is for.
    files
        Which assets count.
    """
    name = said_by(str(item.get("id", "")))
    if name is None or not wanted.names(name):
        return None
    hdf_href: str | None = None
    band_hrefs: dict[str, str] = {}
    sizes: dict[str, int] = {}
    keys = {band.asset for band in wanted.collection.bands}
    for key, asset in mapping(item.get("assets")).items():
        if not isinstance(asset, dict):
            continue
        if key in keys:
            where = resolved(str(asset.get("href", "")), base, files.rule)
            band_hrefs[key] = where
        elif hdf_href is None and (found := files.hdf(asset, base)) is not None:
            where = hdf_href = found
        else:
            continue
        size = asset.get("file:size")
        if type(size) is int and size >= 0:
            sizes[where] = size
    return Granule(
        str(item["id"]),
        name.product,
        name.date,
        name.tile,
        name.version,
        name.production or _production(item, [*([hdf_href] if hdf_href else []), *band_hrefs.values()]),
        hdf_href,
        band_hrefs,
        sizes,
    )


def _production(item: Json, hrefs: list[str]) -> str:
    """Find the production stamp of an item whose id leaves it out: in a file's name, else from its creation."""
    for href in hrefs:
        match = _PRODUCTION.search(href.rpartition("/")[2])
        if match:
            return match[1]
    created = str(mapping(item.get("properties")).get("created") or "")
    try:
        return dt.datetime.fromisoformat(created).strftime("%Y%j%H%M%S")
    except ValueError:
        return ""
