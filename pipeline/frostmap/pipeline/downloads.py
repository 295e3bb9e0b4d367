"""Granules on other machines become checked files in a cache, each whole or not there at all."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import json
import os
import random
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.hosts import HostRule, without_query
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.granule_files import GranuleError
from frostmap.pipeline.signing import BLOB_HOSTS, Signer
from frostmap.pipeline.transfers import Client, TransferError, pieces

Check: TypeAlias = Callable[[Path, Granule, str | None], None]
"""Raises a `GranuleError` if a file is not what the granule's name says; its last argument is the asset key of a
GeoTIFF, or None for an HDF file."""

_ASSET_KEY = re.compile(r"[A-Za-z0-9_]{1,80}")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|/vsi")
_PAGE_STARTS = (b"<", b"{")  # HTML and XML, JSON
_READ_AHEAD = 2  # granules a connection
_CHECKS = 2  # times a file is fetched that is not what it should be: archives do send rubbish now and then
_STALE_S = 86400.0  # age of a partial file that no running download can still own [s]
_LATER = "run `frostmap retry` later: it tries only what failed"
_GIVEN_UP = "given up: nobody waits for it any more"
_random = random.SystemRandom()


class DownloadError(GranuleError):
    """A granule's file could not be had."""


@dataclass(frozen=True)
class Downloads:
    """How files are fetched. Holds no secret: credentials are read from the environment where they are used."""

    folder: Path
    """The cache."""

    connections: int = 6
    """Files at once, a process."""

    attempts: int = 5
    """How often a file is tried."""

    timeout_s: float = 60.0
    """Longest wait for a connection, and between two pieces of an answer [s]."""

    slowest_bytes_per_s: float = 2000.0
    """Slower than this over `stall_window_s` is a stall [byte/s]."""

    stall_window_s: float = 60.0
    """Time over which the speed is averaged [s]."""

    largest_bytes: int = 1 << 30
    """A file that grows beyond this is given up [byte]."""

    backoff_s: float = 2.0
    """Longest wait before the second attempt [s]; it doubles with each further one. The wait is drawn from 0 to it."""

    longest_wait_s: float = 300.0
    """Longest wait before an attempt [s], also where a server asks for a longer one."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts that may be asked although they are private, see `frostmap.catalogs.hosts.HostRule`."""

    sas_endpoint: str = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
    """Where tokens for the signed hosts are asked for."""

    signed_hosts: tuple[str, ...] = BLOB_HOSTS
    """Ends of the names of hosts whose addresses are signed."""

    earthdata_hosts: tuple[str, ...] = ("data.lpdaac.earthdatacloud.nasa.gov",)
    """Hosts that are sent the token of the environment's EARTHDATA_TOKEN."""

    login_host: str = "urs.earthdata.nasa.gov"
    """The host that is sent its name and password of ``~/.netrc``."""


class CacheRecord(NamedTuple):
    """What is kept beside a file of the cache."""

    size: int
    """Bytes."""

    sha256: str
    """Digest of its content."""

    mtime_ns: int
    """When the file was last written [ns]; a file with another time is digested again before it is believed."""

    url: str
    """Where it came from, without query."""

    fetched: str
    """When, UTC."""

    etag: str
    """The server's name for this content; empty if it gave none."""

    production: str
    """The granule's production stamp; empty if the catalogue has none."""


def fetched(
    granules: Iterable[Granule], assets: Collection[str], settings: Downloads, check: Check
) -> Iterator[tuple[Granule, Granule | GranuleError]]:
    """Fetch the files of granules, several at once, and yield them in the given order.

    Parameters
    ----------
    granules
        What is wanted. Files that are local already are passed through, neither checked nor copied.
    assets
        Keys of the wanted GeoTIFFs. They are fetched if a granule has all of them, its HDF file if not.
    settings
        How.
    check
        Raises a `GranuleError` if a file is not what it should be; is called by several threads.

    Yields
    ------
    (Granule, Granule or GranuleError)
        A granule, and the same with paths of its files, or why they could not be had. An error of one granule stops no
        other; only a cache that cannot be written raises.
    """
    shared = _Shared(settings, *_session(settings), threading.Event())
    begun: deque[_Begun] = deque()
    with ThreadPoolExecutor(settings.connections, "download") as threads:
        try:
            for granule in granules:
                begun.append(_begin(granule, assets, check, shared, threads))
                if len(begun) > _READ_AHEAD * settings.connections:
                    yield _end(begun.popleft())
            while begun:
                yield _end(begun.popleft())
        finally:
            shared.stop.set()
            threads.shutdown(wait=False, cancel_futures=True)


def download(url: str, path: Path, settings: Downloads, check: Callable[[Path], None]) -> CacheRecord:
    """Fetch one file, unless it is there already, and return what is known of it.

    `check` raises a `GranuleError` if the file is not what it should be. A file that cannot be had raises a
    `DownloadError`.
    """
    failure = _fetch(_Shared(settings, *_session(settings), threading.Event()), _File(url, path, check))
    if failure is not None:
        raise failure
    return CacheRecord(**json.loads(_beside(path).read_text()))


def cache_path(folder: Path, granule: Granule, asset: str | None = None) -> Path:
    """Return where a granule's file lies in a cache: by its parsed name, whatever the catalogue calls it.

    Examples
    --------
    >>> import datetime as dt
    >>> from frostmap.catalogs.grids import parse_tile
    >>> name = "MOD11A1.A2020225.h25v05.061.2021014002251"
    >>> granule = Granule(name, "MOD11A1", dt.date(2020, 8, 12), parse_tile("h25v05"), "061", "2021014002251")
    >>> cache_path(Path("cache"), granule).as_posix()
    'cache/MOD11A1.061/2020.08.12/MOD11A1.A2020225.h25v05.061.2021014002251.hdf'
    """
    if asset is not None and not _ASSET_KEY.fullmatch(asset):
        raise DownloadError(
            "an asset whose key cannot be a file's name", where=granule.name, found=repr(asset), wanted="[A-Za-z0-9_]+"
        )
    try:
        name = parse_granule_name(granule.name)
    except CatalogError as error:
        raise DownloadError(error.what, found=error.found, wanted=error.wanted) from error
    stem = f"{name.product}.A{name.date:%Y%j}.{name.tile}.{name.version}"
    if name.production:
        stem += f".{name.production}"
    day = folder / f"{name.product}.{name.version}" / f"{name.date:%Y.%m.%d}"
    return day / (f"{stem}.hdf" if asset is None else f"{stem}_{asset}.tif")


def recorded(path: Path) -> CacheRecord | None:
    """Return what is kept beside a file of the cache; None if there is no such file, or it is not the recorded one."""
    try:
        record = CacheRecord(**json.loads(_beside(path).read_text()))
        status = path.stat()
    except (FileNotFoundError, ValueError, TypeError):  # a record that was damaged counts as none
        return None
    if status.st_size != record.size:
        return None
    if status.st_mtime_ns == record.mtime_ns:
        return record
    if _digest(path) != record.sha256:
        return None
    record = record._replace(mtime_ns=status.st_mtime_ns)  # a copy that kept the content, not the time
    _keep(path, record)
    return record


# ---- granules -----------------------------------------------------------------------------------------------------


class _Shared(NamedTuple):
    """What the threads of a call share."""

    settings: Downloads
    client: Client
    signer: Signer
    stop: threading.Event


class _File(NamedTuple):
    """A file to be fetched."""

    url: str
    path: Path
    check: Callable[[Path], None]
    production: str = ""
    size: int | None = None
    """Bytes, as the catalogue says; None if it does not say."""


class _Begun(NamedTuple):
    """A granule, and the fetching of its files."""

    granule: Granule
    paths: Mapping[str | None, str]
    """Where its files will be, by asset key (None: HDF); empty if all were local before."""
    failures: list[Future[DownloadError | None]]
    error: DownloadError | None = None


@functools.lru_cache(maxsize=4)
def _session(settings: Downloads) -> tuple[Client, Signer]:
    """Return this process's connections, cookies and tokens for some settings."""
    client = Client(
        HostRule(frozenset(settings.allow_hosts)),
        timeout_s=settings.timeout_s,
        connections=settings.connections,
        token_hosts=settings.earthdata_hosts,
        login_host=settings.login_host,
    )
    return client, Signer(settings.sas_endpoint, client, settings.signed_hosts)


def _begin(
    granule: Granule, assets: Collection[str], check: Check, shared: _Shared, threads: ThreadPoolExecutor
) -> _Begun:
    """Start to fetch the files that a granule lacks."""
    try:
        hrefs = _chosen(granule, assets)
        files = {
            asset: _remote_file(granule, asset, href, shared.settings.folder, check)
            for asset, href in hrefs.items()
            if _REMOTE.match(href)
        }
    except DownloadError as error:
        return _Begun(granule, {}, [], error)
    paths = hrefs | {asset: str(file.path) for asset, file in files.items()}
    return _Begun(granule, paths if files else {}, [threads.submit(_fetch, shared, file) for file in files.values()])


def _remote_file(granule: Granule, asset: str | None, href: str, folder: Path, check: Check) -> _File:
    return _File(
        href,
        cache_path(folder, granule, asset),
        lambda part: check(part, granule, asset),
        granule.production,
        granule.sizes.get(href),
    )


def _end(begun: _Begun) -> tuple[Granule, Granule | GranuleError]:
    """Wait for a granule's files."""
    failures = [failure for failure in (future.result() for future in begun.failures) if failure is not None]
    if begun.error is not None or failures:
        return begun.granule, begun.error or failures[0]
    if not begun.paths:
        return begun.granule, begun.granule
    bands = {key: path for key, path in begun.paths.items() if key is not None}
    return begun.granule, replace(begun.granule, hdf_href=begun.paths.get(None), band_hrefs=bands, sizes={})


def _chosen(granule: Granule, assets: Collection[str]) -> dict[str | None, str]:
    """Return the addresses of the files that are to be read, by asset key (None: HDF)."""
    if assets and all(asset in granule.band_hrefs for asset in assets):
        return {asset: granule.band_hrefs[asset] for asset in assets}
    if granule.hdf_href is not None:
        return {None: granule.hdf_href}
    raise DownloadError(
        "a granule without a file of each wanted layer",
        where=granule.name,
        found=", ".join(granule.band_hrefs) or "no files",
        wanted="an HDF file, or GeoTIFFs of " + ", ".join(assets),
    )


# ---- files --------------------------------------------------------------------------------------------------------


def _fetch(shared: _Shared, file: _File) -> DownloadError | None:
    """Put a file into the cache, unless it is there; return why it could not be had."""
    try:
        record = recorded(file.path)
        # names may leave the production stamp out, but a granule that was processed again is another file
        if record is not None and record.production == file.production:
            return None
        file.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_parts(file.path.parent)
        return _persist(shared, file)
    except OSError as error:
        trouble = error.strerror or type(error).__name__
    raise FrostmapError(
        "the cache of downloads cannot be written",
        where=file.path.parent,
        found=trouble,
        remedy="make room, or name another folder in the recipe",
    )


def _persist(shared: _Shared, file: _File) -> DownloadError | None:
    """Try until a file is there or hope is lost.

    Own lines and not a library for retries: how long to wait and whether to go on depend on the server's words, on
    signatures that expire, on the check of what came, and on whether anybody still waits for it.
    """
    settings = shared.settings
    failed = rejected = 0
    signed_again = False
    while True:
        outcome = _attempt(shared, file)
        if outcome is None:
            return None
        asked_s = 0.0
        if isinstance(outcome, GranuleError):
            rejected += 1
            if rejected == _CHECKS:
                return _rejected(file, outcome)
        else:
            if outcome.status == 403 and not signed_again and shared.signer.signs(file.url):
                shared.signer.forget(file.url)  # it may have been withdrawn before its time
                signed_again = True
                continue
            failed += 1
            if outcome.lasting or failed == settings.attempts:
                return _failed(file, outcome, failed)
            asked_s = outcome.wait_s
        longest = min(settings.backoff_s * 2.0 ** (failed + rejected - 1), settings.longest_wait_s)
        _pause(shared.stop, min(asked_s, settings.longest_wait_s) + _random.uniform(0.0, longest))


def _attempt(shared: _Shared, file: _File) -> TransferError | GranuleError | None:
    """Try once; return what went wrong on the way, or is wrong with what came."""
    # a name of its own, so that processes that fetch the same file do not meet
    part = file.path.with_name(f"{file.path.name}.{uuid.uuid4().hex}.part")
    if shared.stop.is_set():
        return TransferError(_GIVEN_UP, lasting=True)
    try:
        size, digest, etag = _receive(shared, file, part)
        file.check(part)
        time_ns = part.stat().st_mtime_ns
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        record = CacheRecord(size, digest, time_ns, without_query(file.url), now, etag, file.production)
        part.replace(file.path)
        _keep(file.path, record)
    except (TransferError, GranuleError) as error:
        return error
    finally:
        part.unlink(missing_ok=True)
    return None


def _receive(shared: _Shared, file: _File, part: Path) -> tuple[int, str, str]:
    """Write an answer's content; return its size, its digest and the server's name for it."""
    settings, digest, size = shared.settings, hashlib.sha256(), 0
    with shared.client.get(shared.signer.signed(file.url)) as answer, part.open("xb") as sink:
        for piece in pieces(answer, slowest_bytes_per_s=settings.slowest_bytes_per_s, window_s=settings.stall_window_s):
            if shared.stop.is_set():
                raise TransferError(_GIVEN_UP, lasting=True)
            size += len(piece)
            if size > settings.largest_bytes:
                raise TransferError(f"more than {settings.largest_bytes} bytes", lasting=True)
            digest.update(piece)
            sink.write(piece)
        sink.flush()
        os.fsync(sink.fileno())
        stated = "Content-Length" in answer.headers  # has been compared on the way
        etag = answer.headers.get("ETag", "")[:200]
    if size == 0:
        raise TransferError("an empty file")
    if not stated and file.size not in (None, size):
        raise TransferError(f"{size} bytes, where the catalogue has {file.size}")
    with part.open("rb") as content:
        start = content.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_PAGE_STARTS):  # archives send their login page with a granule's type and status
        raise TransferError("a text or web page instead of data", lasting=True, remedy=shared.client.how_to_log_in)
    return size, digest.hexdigest(), etag


def _pause(stop: threading.Event, seconds: float) -> None:
    """Wait before the next attempt."""
    stop.wait(seconds)


def _failed(file: _File, error: TransferError, attempts: int) -> DownloadError:
    return DownloadError(
        "a granule's file cannot be downloaded",
        where=without_query(file.url),
        found=error.found + (f" (after {attempts} attempts)" if attempts > 1 else ""),
        remedy=error.remedy or ("" if error.lasting else _LATER),
    )


def _rejected(file: _File, error: GranuleError) -> DownloadError:
    return DownloadError(
        "the archive sends a file that is not what its name says",
        where=without_query(file.url),
        found=": ".join(filter(None, (error.what, error.found))) + f" (fetched {_CHECKS} times)",
        wanted=error.wanted,
        remedy="tell the archive, or have the granule from another source",
    )


# ---- the cache ----------------------------------------------------------------------------------------------------


def _beside(path: Path) -> Path:
    """Return where the record of a file is."""
    return path.with_name(f"{path.name}.json")


def _keep(path: Path, record: CacheRecord) -> None:
    """Write the record of a file, whole or not at all."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("x") as sink:
            json.dump(record._asdict(), sink, indent=1)
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(_beside(path))
    finally:
        part.unlink(missing_ok=True)


def _remove_stale_parts(folder: Path) -> None:
    """Remove partial files that a killed process left."""
    oldest = time.time() - _STALE_S
    for part in folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process may be tidying too
            if part.stat().st_mtime < oldest:
                part.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
