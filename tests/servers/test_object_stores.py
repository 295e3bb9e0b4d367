"""The object stores that the tests start are empty, keep what they are given, and know their keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError
from obstore.store import S3Store

pytestmark = pytest.mark.servers


def opened(s3: Any, **changes: Any) -> S3Store:
    """Open the place with the keys of the environment."""
    return S3Store(s3.bucket, prefix=s3.prefix, endpoint=s3.endpoint, client_options={"allow_http": True}, **changes)


def names(store: S3Store) -> list[str]:
    return sorted(entry["path"] for entry in obstore.list(store).collect())


def test_objects_come_back_and_are_listed(s3: Any) -> None:
    store = opened(s3)
    assert names(store) == []
    content = bytes(range(256)) * 4096
    for name in ("a/1", "a/2", "b"):
        obstore.put(store, name, content)
    assert names(store) == ["a/1", "a/2", "b"]
    assert obstore.get(store, "a/2").bytes() == content
    assert obstore.get_range(store, "a/2", start=250, length=12) == bytes([*range(250, 256), *range(6)])
    obstore.delete(store, "a/2")
    assert names(store) == ["a/1", "b"]


def test_a_large_object_is_sent_in_parts(s3: Any) -> None:
    store, content = opened(s3), bytes(11 << 20)
    obstore.put(store, "large", content, chunk_size=5 << 20, use_multipart=True)
    assert obstore.head(store, "large")["size"] == len(content)


def test_an_object_is_not_created_twice(s3: Any) -> None:
    store = opened(s3)
    obstore.put(store, "lock", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "lock", b"second", mode="create")
    assert obstore.get(store, "lock").bytes() == b"first"


@pytest.mark.parametrize("s3", ["seaweedfs"], indirect=True)  # moto looks first and writes then
def test_of_several_that_create_an_object_at_once_one_does(s3: Any) -> None:
    store = opened(s3)

    def create(number: int) -> bool:
        try:
            obstore.put(store, "lock", str(number).encode(), mode="create")
        except AlreadyExistsError:
            return False
        return True

    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(create, range(8)))
        assert sum(made) == 1
        assert obstore.get(store, "lock").bytes() == str(made.index(True)).encode()
        obstore.delete(store, "lock")


def test_the_address_is_the_place(s3: Any) -> None:
    obstore.put(opened(s3), "a", b"")
    above = S3Store.from_url(s3.url.rpartition("/")[0], endpoint=s3.endpoint, client_options={"allow_http": True})
    assert f"{s3.prefix}/a" in names(above)


def test_a_wrong_key_is_refused(seaweedfs: str) -> None:
    keys: dict[str, Any] = {
        "access_key_id": "FROSTMAPTESTSKEYID",
        "secret_access_key": "another",
        "region": "us-east-1",
    }
    store = S3Store("frostmap-tests", endpoint=seaweedfs, client_options={"allow_http": True}, **keys)
    with pytest.raises(PermissionDeniedError):
        obstore.put(store, "a", b"")
