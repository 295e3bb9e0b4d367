"""Where a run keeps its cube and the records of its chunks: a folder, or a prefix of an S3-compatible object store.

Nothing here holds a secret: keys of an object store are taken from the environment, wherever a task runs.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import obstore
import xxhash
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore as ZarrLocalStore
from zarr.storage import ObjectStore

from frostmap.pipeline.errors import FrostmapError, UserError

CUBE = "cube.zarr"
"""Name of the cube in a storage."""

PATIENCE = {
    "max_retries": 14,
    "backoff": {"init_backoff": timedelta(seconds=1), "max_backoff": timedelta(seconds=15), "base": 3},
    "retry_timeout": timedelta(minutes=3),
}
"""How requests are repeated: for about a minute, seldom less than half of it, in which a service can be started again.
obstore draws each wait at random, from the first to `base` times the last."""

HASTE = {"max_retries": 5}
"""How they are where the first question is whether there is a service at all: for about two seconds."""

_RETRIES = 3  # of answers that were cut off
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_BUCKET = "<Code>NoSuchBucket</Code>"
_CUT_OFF = "body error"  # what obstore says of an answer whose end did not come; it repeats requests, not those
_AT_ONCE = 8  # objects that are read or removed at a time
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_TOKEN")

T = TypeVar("T")


class _Received:
    """Counts what came from object stores; the system counts files alone."""

    def __init__(self) -> None:
        self._lock, self.bytes = threading.Lock(), 0

    def add(self, size: int) -> None:
        with self._lock:
            self.bytes += size


_RECEIVED = _Received()


def bytes_received() -> int:
    """Return how many bytes this process has had from object stores since it began."""
    return _RECEIVED.bytes


class StorageError(FrostmapError):
    """The storage does not answer, or not as it should."""


class Stored(NamedTuple):
    """What a listing says of an object."""

    size: int
    """Bytes."""

    changed: datetime
    """When it was last written; object stores say it in whole seconds."""

    tag: str = ""
    """An object store's entity tag: another after every write of other content. Empty in a folder."""


@dataclass(frozen=True)
class Storage:
    """A folder or an S3 prefix."""

    url: str
    """An absolute path, or s3://bucket/prefix."""

    endpoint: str = ""
    """Address of an S3-compatible service; empty for Amazon's own."""

    region: str = ""
    """The bucket's region; the environment's if empty."""

    patient: bool = True
    """Whether to wait for a service that does not answer, until it may have been started again."""

    @classmethod
    def of_folder(cls, folder: Path) -> Storage:
        """Return the storage that is a folder."""
        return cls(str(folder.absolute()))

    @property
    def is_remote(self) -> bool:
        """Whether it is an object store."""
        return self.url.startswith("s3://")

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.url} at {self.endpoint}" if self.endpoint else self.url

    def zarr_store(self) -> Store:
        """Return the cube as zarr sees it, to be read; what is written goes through `write_all`."""
        if not self.is_remote:
            return ZarrLocalStore(Path(self.url) / CUBE)
        return _Bucket(_objects(self, CUBE))

    def read(self, key: str) -> bytes | None:
        """Return an object; None where there is none."""
        if not self._is_there:
            return None
        with _explained(self.place, key):
            try:
                content = _whole(lambda: bytes(obstore.get(_objects(self), key).bytes()))
            except FileNotFoundError as error:
                _refuse_missing_bucket(error)
                return None
        if self.is_remote:
            _RECEIVED.add(len(content))
        return content

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield objects with their keys, in order, several on their way at a time, and no more in memory."""
        coming: deque[tuple[str, Future[bytes | None]]] = deque()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for key in keys:
                coming.append((key, pool.submit(self.read, key)))
                if len(coming) > _AT_ONCE:
                    first, content = coming.popleft()
                    yield first, content.result()
            for key, content in coming:
                yield key, content.result()

    def write(self, key: str, content: bytes) -> str:
        """Write an object, whole or not at all; return its entity tag, where it gets one."""
        with _explained(self.place, key):
            answer = obstore.put(_objects(self), key, content)
        return _tag(answer) if self.is_remote else ""

    def create(self, key: str, content: bytes) -> bool:
        """Write an object where there is none, and say whether it was written: of several at once, one is."""
        with _explained(self.place, key):
            try:
                obstore.put(_objects(self), key, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def write_all(self, objects: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
        """Write objects, or remove those without content, while the next are made; return their entity tags by key."""
        tags: dict[str, str] = {}
        going: deque[tuple[str, Future[str]]] = deque()

        def put(key: str, content: bytes | None) -> str:
            return self._delete(key) if content is None else self.write(key, content)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for key, content in objects:
                going.append((key, pool.submit(put, key, content)))
                if len(going) > _AT_ONCE:
                    first, future = going.popleft()
                    tags[first] = future.result()
            tags |= {key: future.result() for key, future in going}
        return {key: tag for key, tag in tags.items() if tag}

    def list(self, prefix: str) -> dict[str, Stored]:
        """Return the objects below a prefix by key; none where it does not exist."""
        if not self._is_there:
            return {}
        with _explained(self.place, prefix):
            found = _whole(lambda: [meta for page in obstore.list(_objects(self), prefix) for meta in page])
        return {
            meta["path"]: Stored(meta["size"], meta["last_modified"], _tag(meta) if self.is_remote else "")
            for meta in found
        }

    @property
    def _is_there(self) -> bool:
        """Whether there is something to ask: looking into a folder that is not there must not make it."""
        return self.is_remote or Path(self.url).is_dir()

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(self._delete, keys):
                continue

    def _delete(self, key: str) -> str:
        with _explained(self.place, key):
            try:
                obstore.delete(_objects(self), key)
            except FileNotFoundError as error:
                _refuse_missing_bucket(error)
        return ""


def _whole(ask: Callable[[], T]) -> T:
    """Return an answer; ask again where it was cut off on its way."""
    for _ in range(_RETRIES):
        try:
            return ask()
        except BaseError as error:
            if _CUT_OFF not in str(error):
                raise
    return ask()


async def _whole_in_time(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the same of one that is waited for."""
    for _ in range(_RETRIES):
        try:
            return await ask()
        except BaseError as error:
            if _CUT_OFF not in str(error):
                raise
    return await ask()


def digest_of(content: bytes | memoryview) -> str:
    """Return the XXH3 digest that tells corrupt content from sound: 128 bits, at the speed of memory."""
    return xxhash.xxh3_128_hexdigest(content)


class _Bucket(ObjectStore[S3Store]):
    """The cube in an object store, to be read: errors say what to do."""

    @property
    def _place(self) -> str:
        config = self.store.config
        return Storage(f"s3://{config.get('bucket')}/{self.store.prefix}", config.get("endpoint", "")).place

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a part of it; None where there is none."""
        with _explained(self._place, key):
            found = await _whole_in_time(lambda: super(_Bucket, self).get(key, prototype, byte_range))
            if found is None and key.endswith("zarr.json"):  # zarr does not tell a missing bucket from an object
                try:
                    await obstore.get_async(self.store, key)
                except FileNotFoundError as error:
                    _refuse_missing_bucket(error)
            _RECEIVED.add(0 if found is None else len(found))
            return found

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the names of what is in a group or array."""

        async def ask() -> list[str]:
            return [name async for name in super(_Bucket, self).list_dir(prefix)]

        with _explained(self._place, prefix):
            names = await _whole_in_time(ask)
        for name in names:
            yield name


@functools.lru_cache(maxsize=32)
def _objects(storage: Storage, below: str = "") -> Any:
    """Return the storage as obstore sees it; one connection pool a process."""
    if not storage.is_remote:
        return LocalStore(Path(storage.url) / below, mkdir=True)
    if "@" in urlsplit(storage.url).netloc + urlsplit(storage.endpoint).netloc:
        raise UserError(
            "keys in an address",
            where="recipe: store.location, store.endpoint",
            wanted="an address alone: recipes are kept with the results",
            remedy="put the keys into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
        )
    address = urlsplit(storage.url)
    prefix = "/".join(part for part in (address.path.strip("/"), below) if part)
    options: dict[str, Any] = {"retry_config": PATIENCE if storage.patient else HASTE}
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


def _tag(meta: Any) -> str:
    """Return the entity tag of a reply, bare: one server quotes it here, another there."""
    return str(meta.get("e_tag") or "").removeprefix("W/").strip('"')


def _refuse_missing_bucket(error: FileNotFoundError) -> None:
    """Raise the error of a missing bucket; obstore has the same one for a missing object, which is fine."""
    if _NO_BUCKET in str(error):
        raise error


@contextmanager
def _explained(place: str, key: str) -> Iterator[None]:
    """Turn the object store's errors into ones that say what to do."""
    try:
        yield
    except (BaseError, OSError) as error:
        no_bucket, said = _NO_BUCKET in str(error), _said(str(error))
        error.args = (said,)  # it stays the context of the new one, and goes with it when a worker sends that
        if no_bucket:
            raise UserError(
                "the bucket for the cube does not exist",
                where=place,
                found=said,
                wanted="a bucket that was made before",
                remedy="make it, or correct store.location, store.endpoint and store.region in the recipe",
            ) from None
        raise StorageError(
            "the storage of the cube failed",
            where=f"{place}, {key}",
            found=said,
            remedy="check that it is there, writable and not full; of an object store, also the keys in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). What was made stands; run again",
        ) from None


def _said(error: str) -> str:
    r"""Return what an error says, without the rest of the server's answer: Amazon's holds the access key.

    >>> _said("PUT failed: <?xml ...?>\n<Error><Code>NoSuchBucket</Code><Message>Not there</Message><X>x</X></Error>")
    'PUT failed: NoSuchBucket: Not there'
    """
    said = error.split("\n")[0].partition("<")[0] + ": ".join(
        found[1] for name in ("Code", "Message") if (found := re.search(f"<{name}>([^<]*)</{name}>", error))
    )
    for secret in filter(None, map(os.environ.get, _SECRETS)):
        said = said.replace(secret, "***")
    return said[:300]
