"""Where a run keeps its cube and the records of its chunks: a folder, or a prefix of an S3-compatible object store.

Nothing here holds a secret: keys of an object store are taken from the environment, wherever a task runs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import obstore
import xxhash
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore as ZarrLocalStore
from zarr.storage import ObjectStore, WrapperStore

from frostmap.pipeline.errors import FrostmapError, UserError

CUBE = "cube.zarr"
"""Name of the cube in a storage."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_AT_ONCE = 8  # objects that are read at a time


class StorageError(FrostmapError):
    """The storage does not answer, or not as it should."""


class Stored(NamedTuple):
    """What a listing says of an object."""

    size: int
    """Bytes."""

    changed: datetime
    """When it was last written."""


@dataclass(frozen=True)
class Storage:
    """A folder or an S3 prefix."""

    url: str
    """An absolute path, or s3://bucket/prefix."""

    endpoint: str = ""
    """Address of an S3-compatible service; empty for Amazon's own."""

    region: str = ""
    """The bucket's region; the environment's if empty."""

    @classmethod
    def of_folder(cls, folder: Path) -> Storage:
        """Return the storage that is a folder."""
        return cls(str(folder.absolute()))

    @property
    def is_remote(self) -> bool:
        """Whether it is an object store."""
        return self.url.startswith("s3://")

    def zarr_store(self) -> Store:
        """Return the cube as zarr sees it."""
        if not self.is_remote:
            return ZarrLocalStore(Path(self.url) / CUBE)
        return ObjectStore(_objects(self, CUBE))

    def read(self, key: str) -> bytes | None:
        """Return an object; None where there is none."""
        if not self._is_there:
            return None
        with _explained(self, key):
            try:
                return bytes(obstore.get(_objects(self), key).bytes())
            except FileNotFoundError:
                return None

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield objects with their keys, in order, several on their way at a time."""
        wanted = list(keys)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from zip(wanted, pool.map(self.read, wanted), strict=True)

    def write(self, key: str, content: bytes) -> None:
        """Write an object, whole or not at all."""
        with _explained(self, key):
            obstore.put(_objects(self), key, content)

    def list(self, prefix: str) -> dict[str, Stored]:
        """Return the objects below a prefix by key; none where it does not exist."""
        if not self._is_there:
            return {}
        with _explained(self, prefix):
            return {
                meta["path"]: Stored(meta["size"], meta["last_modified"])
                for page in obstore.list(_objects(self), prefix)
                for meta in page
            }

    @property
    def _is_there(self) -> bool:
        """Whether there is something to ask: looking into a folder that is not there must not make it."""
        return self.is_remote or Path(self.url).is_dir()

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over."""
        for key in keys:
            with _explained(self, key):
                try:
                    obstore.delete(_objects(self), key)
                except FileNotFoundError:
                    continue


def digest_of(content: bytes | memoryview) -> str:
    """Return the XXH3 digest that tells corrupt content from sound: 128 bits, at the speed of memory."""
    return xxhash.xxh3_128_hexdigest(content)


class Recorder(WrapperStore[Store]):
    """A zarr store that keeps account of what is written through it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.written: dict[str, tuple[int, str]] = {}
        """Size and digest of each object by key, as stored."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object and note its digest."""
        await super().set(key, value)
        content = value.to_bytes()
        self.written[key] = len(content), digest_of(content)

    async def delete(self, key: str) -> None:
        """Remove an object: chunks that hold nothing but fill are not kept."""
        await super().delete(key)
        self.written.pop(key, None)


@functools.lru_cache(maxsize=32)
def _objects(storage: Storage, below: str = "") -> Any:
    """Return the storage as obstore sees it; one connection pool a process."""
    if not storage.is_remote:
        return LocalStore(Path(storage.url) / below, mkdir=True)
    address = urlsplit(storage.url)
    prefix = "/".join(part for part in (address.path.strip("/"), below) if part)
    options: dict[str, Any] = {"retry_config": {"max_retries": 5}}
    if storage.endpoint:
        secure = urlsplit(storage.endpoint)
        if secure.scheme != "https" and secure.hostname not in _LOOPBACK:
            raise UserError(
                "an object store without encryption",
                where="recipe: store.endpoint",
                found=storage.endpoint,
                wanted="an https:// address; http:// is for services on this machine",
                remedy="use the service's https address",
            )
        options |= {"endpoint": storage.endpoint, "virtual_hosted_style_request": False}
        options["client_options"] = {"allow_http": secure.scheme == "http"}
    if storage.region:
        options["region"] = storage.region
    return S3Store(address.netloc, prefix=prefix, **options)


@contextmanager
def _explained(storage: Storage, key: str) -> Iterator[None]:
    """Turn the object store's errors into ones that say what to do."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise StorageError(
            "the storage of the cube failed",
            where=f"{storage.url}, {key}",
            found=str(error).split("\n")[0][:300],
            remedy="check that it is there, writable and not full; of an object store, also the keys in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). What was made stands; run again",
        ) from None
