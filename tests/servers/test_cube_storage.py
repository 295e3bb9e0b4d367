"""A cube in an object store is as good as one in a folder: the same bits, the same care, and no key is ever kept."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cloudpickle
import dask
import numpy as np
import obstore
import pytest
import xarray as xr
from distributed import Client
from obstore.exceptions import BaseError, PermissionDeniedError

from frostmap.pipeline import cubes, ledger, plan, upkeep
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.locks import CLAIM, IDENTITY, held
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.schema import LST, QC
from frostmap.pipeline.simulate import write_archive
from frostmap.pipeline.storage import CUBE, Storage, StorageError, bytes_received
from frostmap.pipeline.watching.progress import by_tile
from frostmap.pipeline.work import Work

from ..pipeline import small_chain as small
from ..pipeline.conftest import TINY, make_recipe, workers
from ..pipeline.test_cubes import GEOBOX, coords, counts, write
from .conftest import KEYS

pytestmark = pytest.mark.servers

GROUP = "ingest/2019"


def contents(storage: Storage, prefix: str = "") -> dict[str, bytes | None]:
    return dict(storage.read_all(sorted(storage.list(prefix))))


def spoil(storage: Storage, key: str, how: str) -> None:
    """Damage an object behind the pipeline's back."""
    content = storage.read(key) or b""
    at = len(content) // 2
    if how == "remove":
        storage.delete([key])
    else:
        storage.write(key, content[:at] + (b"" if how == "cut" else bytes([content[at] ^ 1]) + content[at + 1 :]))


# ---- storage --------------------------------------------------------------------------------------------------------


def test_objects_are_written_read_listed_and_removed(storage: Storage) -> None:
    assert storage.list("") == {}
    assert storage.read("a/1") is None
    written = {"a/1": b"one", "a/b c/2": bytes(range(256)), "a/empty": b"", "ab": b"beside"}
    for key, content in written.items():
        storage.write(key, content)
    assert contents(storage) == written
    assert {key: stored.size for key, stored in storage.list("a").items()} == {"a/1": 3, "a/b c/2": 256, "a/empty": 0}
    assert storage.list("nothing/") == {}
    assert abs(time.time() - storage.list("a/")["a/1"].changed.timestamp()) < 60
    storage.write("a/1", b"more than one")
    assert storage.read("a/1") == b"more than one"
    storage.delete(["a/1", "never/was", "ab"])
    assert set(storage.list("")) == {"a/b c/2", "a/empty"}


def test_many_objects_come_in_the_order_asked_for_and_missing_ones_as_none(storage: Storage) -> None:
    for number in range(30):
        storage.write(f"n/{number}", str(number).encode())
    asked = [f"n/{number}" for number in range(39, -1, -1)]
    expected = [(key, key[2:].encode() if int(key[2:]) < 30 else None) for key in asked]
    assert list(storage.read_all(asked)) == expected
    storage.delete(storage.list("n/"))
    assert storage.list("") == {}


def test_what_an_object_store_sends_is_counted(storage: Storage) -> None:
    write(storage, counts())
    sizes = {key: stored.size for key, stored in storage.list("").items()}
    before = bytes_received()
    assert sum(len(content or b"") for _, content in storage.read_all(sizes)) == sum(sizes.values())
    assert bytes_received() - before == (sum(sizes.values()) if storage.is_remote else 0)
    before = bytes_received()
    cubes.open_group(storage, GROUP).load()
    data = sum(size for key, size in sizes.items() if "/c/" in key)
    assert data > 0
    assert (bytes_received() - before >= data) == storage.is_remote


def test_more_objects_than_a_server_lists_at_a_time(storage: Storage) -> None:
    keys = {f"n/{number}" for number in range(1100)}
    for key in keys:
        storage.write(key, b"x")
    assert set(storage.list("n/")) == keys


def test_an_object_larger_than_one_part_is_kept_whole(storage: Storage) -> None:
    content = np.random.default_rng(1).bytes(11 << 20)
    storage.write("large", content)
    assert storage.read("large") == content


def test_a_tag_tells_one_writing_from_the_next(storage: Storage) -> None:
    storage.write("a", b"one")
    first = storage.list("")["a"]
    assert bool(first.tag) == storage.is_remote
    storage.write("a", b"two")
    assert (storage.list("")["a"].tag != first.tag) == storage.is_remote


def test_storages_are_told_apart_and_survive_the_way_to_a_worker(storage: Storage) -> None:
    storage.write("a", b"here")
    below = Storage(f"{storage.url}/below", storage.endpoint, storage.region)
    assert below.list("") == {}
    below.write("a", b"there")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"here"  # noqa: S301
    assert contents(storage) == {"a": b"here", "below/a": b"there"}


# ---- failures -------------------------------------------------------------------------------------------------------


def every_call(storage: Storage) -> list[BaseException]:
    """Return the errors of all that can be asked of a storage, and of its cube."""
    calls: dict[str, Any] = {
        "read": lambda: storage.read("a"),
        "write": lambda: storage.write("a", b"a"),
        "create": lambda: storage.create("a", b"a"),
        "list": lambda: storage.list("a"),
        "delete": lambda: storage.delete(["a"]),
        "read_all": lambda: list(storage.read_all(["a"])),
        "open": lambda: cubes.open_group(storage, GROUP),
        "prepare": lambda: cubes.prepare_group(storage, GROUP, (LST, QC), GEOBOX, coords(), 12),
    }
    errors = []
    for call in calls.values():
        with pytest.raises((FrostmapError, BaseError, OSError)) as caught:
            call()
        errors.append(caught.value)
    return errors


def told(error: BaseException) -> str:
    """Return all that a user, a log or a scheduler may see of an error."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    return shown + pickle.dumps(error).decode("latin-1")


def test_a_wrong_key_is_explained_and_not_repeated(seaweedfs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"AWS_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": "CANARYsecret/+="}
    for name, value in (KEYS | wrong).items():
        monkeypatch.setenv(name, value)
    for error in every_call(Storage("s3://frostmap-tests/wrong-key", seaweedfs)):
        assert isinstance(error, StorageError)
        assert "SignatureDoesNotMatch" in str(error)
        assert "AWS_SECRET_ACCESS_KEY" in str(error)
        assert_no_key(told(error), *wrong.values())


def test_what_amazon_answers_to_a_wrong_key_is_not_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = KEYS["AWS_ACCESS_KEY_ID"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)

    def refuse(*_: Any) -> None:
        raise PermissionDeniedError(
            f"Refused for {key}: 403 Forbidden: <?xml version='1.0'?>\n<Error><Code>SignatureDoesNotMatch</Code>"
            f"<Message>It does not match</Message><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>\n\nDebug source: {key}"
        )

    monkeypatch.setattr(obstore, "put", refuse)
    with pytest.raises(StorageError) as caught:
        Storage.of_folder(tmp_path).write("a", b"")
    assert caught.value.found == "Refused for ***: 403 Forbidden: SignatureDoesNotMatch: It does not match"
    assert_no_key(told(caught.value))


def test_a_service_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match="the storage of the cube failed") as caught:
        Storage("s3://frostmap-tests/nowhere", "http://127.0.0.1:9", patient=False).write("a", b"")
    assert "Debug source" not in str(caught.value)
    assert_no_key(told(caught.value))


def test_a_bucket_that_is_not_there_is_explained(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for error in every_call(Storage("s3://no-such-bucket/a", moto)):
        assert isinstance(error, UserError)
        assert "NoSuchBucket: The specified bucket does not exist" in error.found
        assert error.where in {f"s3://no-such-bucket/{below} at {moto}" for below in ("a", f"a/{CUBE}")}


def test_a_missing_object_is_not_taken_for_a_missing_bucket_nor_the_other_way(s3: Any) -> None:
    assert Storage(s3.url, s3.endpoint).read("never/was") is None
    Storage(s3.url, s3.endpoint).delete(["never/was"])
    elsewhere = Storage("s3://no-such-bucket/a", s3.endpoint)
    for read in (lambda: elsewhere.read("a"), lambda: dict(elsewhere.read_all(["a", "b"]))):
        with pytest.raises(UserError, match="the bucket for the cube does not exist"):
            read()


# ---- cubes ----------------------------------------------------------------------------------------------------------


def test_a_cube_is_the_same_bytes_everywhere(storage: Storage, tmp_path: Path) -> None:
    folder = Storage.of_folder(tmp_path / "other")
    records = {record.task: record for record in write(storage, counts(), "a")}
    write(folder, counts(), "a")
    assert contents(storage, CUBE) == contents(folder, CUBE)
    xr.testing.assert_identical(cubes.open_group(storage, GROUP).load(), cubes.open_group(folder, GROUP).load())
    assert cubes.has_group(storage, GROUP)
    assert not cubes.has_group(storage, "ingest/2020")
    kept = ledger.read_chunks(storage, GROUP)
    assert kept == records
    layouts = [ledger.read_layout(where, GROUP) for where in (storage, folder)]
    assert ledger.content_of(layouts[0], kept) == ledger.content_of(layouts[1], ledger.read_chunks(folder, GROUP))
    assert ledger.damage(storage, GROUP, kept) == ledger.damage(storage, GROUP, kept, by_content=True) == {}
    assert all(set(record.tags) == (set(record.objects) if storage.is_remote else set()) for record in kept.values())


def test_damage_is_found_and_repair_too(storage: Storage) -> None:
    write(storage, counts())
    records = ledger.read_chunks(storage, GROUP)
    name = f"{GROUP}/lst/c/0/2/1/0"
    owner = next(task for task, record in records.items() if name in record.objects)
    content = storage.read(f"{CUBE}/{name}") or b""
    for how, fault in {
        "flip": "is not as it was written",
        "cut": f"has {len(content) // 2} bytes, not {len(content)}",
        "remove": "is missing",
    }.items():
        spoil(storage, f"{CUBE}/{name}", how)
        assert ledger.damage(storage, GROUP, records) == {owner: [f"{name} {fault}"]}
        if how == "flip":
            with pytest.raises(ValueError, match="checksum"):
                cubes.open_group(storage, GROUP)["lst"].to_numpy()
        storage.write(f"{CUBE}/{name}", content)
        assert ledger.damage(storage, GROUP, records) == {}


@pytest.mark.parametrize("what", [f"{CUBE}/{GROUP}/qc/c/0/0/0/0", f"{CUBE}/{GROUP}/qc/zarr.json"])
def test_damage_in_the_second_of_the_record_is_found(storage: Storage, what: str) -> None:
    """Whole seconds, as object stores list them, do not tell what came first."""
    write(storage, counts())
    records, sound = ledger.read_chunks(storage, GROUP), storage.read(what) or b""
    owner = next((task for task, record in records.items() if what.removeprefix(f"{CUBE}/") in record.objects), "")
    record = ledger.chunk_key(GROUP, owner) if owner else f"{ledger.LAYOUTS}/{GROUP}.json"
    for _ in range(20):
        storage.write(what, sound)
        storage.write(record, storage.read(record) or b"")
        assert ledger.damage(storage, GROUP, records) == {}
        storage.write(record, storage.read(record) or b"")
        spoil(storage, what, "flip")
        of_object, of_record = storage.list(CUBE)[what].changed, storage.list("ledger")[record].changed
        assert of_object >= of_record
        fault = f"{what.removeprefix(f'{CUBE}/')} is not as it was written"
        assert ledger.damage(storage, GROUP, records) == {owner: [fault]}
        if not storage.is_remote or of_object == of_record:
            return
    pytest.fail("the second changed every time between a record and the damage")


def test_what_stands_is_not_read_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks written in the second of their record are told by their tags: reading a cube again takes hours."""
    write(storage, counts())
    records = ledger.read_chunks(storage, GROUP)
    read, chunks = Storage.read, {key for record in records.values() for key in record.objects}
    asked: list[str] = []

    def noted(self: Storage, key: str) -> bytes | None:
        asked.append(key)
        return read(self, key)

    monkeypatch.setattr(Storage, "read", noted)
    assert ledger.damage(storage, GROUP, records) == {}
    assert not {key.removeprefix(f"{CUBE}/") for key in asked} & chunks
    without = {task: ledger.ChunkRecord(**vars(record) | {"tags": {}}) for task, record in records.items()}
    assert ledger.damage(storage, GROUP, without) == {}  # of a store that gives no tags: read where in doubt


def test_lost_metadata_is_restored_and_chunks_stand(storage: Storage) -> None:
    write(storage, counts(), "a")
    before = cubes.open_group(storage, GROUP).load()
    records = ledger.read_chunks(storage, GROUP)
    for lost in ("zarr.json", "ingest/zarr.json", f"{GROUP}/lst/zarr.json", f"{GROUP}/x/c/0"):
        storage.delete([f"{CUBE}/{lost}"])
        assert ledger.damage(storage, GROUP, records) == {"": [f"{lost} is missing"]}
        cubes.prepare_group(storage, GROUP, (LST, QC), GEOBOX, coords(), 12, cause="a")
        assert ledger.damage(storage, GROUP, records) == {}
    assert ledger.read_chunks(storage, GROUP) == records
    xr.testing.assert_identical(cubes.open_group(storage, GROUP).load(), before)


def test_other_settings_clear_a_group_and_no_other(storage: Storage) -> None:
    write(storage, counts(), "a")
    cubes.prepare_group(storage, "ingest/2020", (LST, QC), GEOBOX, coords(), 12, cause="a")
    beside = contents(storage, f"{CUBE}/ingest/2020")
    cubes.prepare_group(storage, GROUP, (LST, QC), GEOBOX, coords(), 12, cause="b")
    assert ledger.read_chunks(storage, GROUP) == {}
    assert (cubes.open_group(storage, GROUP)["lst"].to_numpy() == 0).all()
    assert contents(storage, f"{CUBE}/ingest/2020") == beside


def test_chunks_of_nothing_but_fill_are_removed_and_leave_no_record(storage: Storage) -> None:
    write(storage, counts(), "a")
    empty = counts() * np.uint8(0)
    empty = empty.astype({name: variable.dtype for name, variable in counts().items()})
    empty["qc"] = empty["qc"] + np.uint8(QC.fill_value)
    records = write(storage, empty, "a")
    assert [record for record in records if record.objects or record.tags] == []
    assert ledger.damage(storage, GROUP, {record.task: record for record in records}, by_content=True) == {}
    assert not [key for key in storage.list(f"{CUBE}/{GROUP}/lst/") if "/c/" in key]


# ---- the small chain ------------------------------------------------------------------------------------------------


class Chain:
    """The small chain with its cube in a storage."""

    def __init__(self, root: Path, storage: Storage, client: Client) -> None:
        self.root, self.client = root, client
        self.workdir = root / "work"
        self.store: dict[str, str] = {}
        if storage.is_remote:
            self.store = {"location": storage.url, "endpoint": storage.endpoint}
        self.storage = storage if storage.is_remote else Storage.of_folder(self.workdir)

    def recipe(self, prior: float = 0.9) -> Any:
        return small.recipe_in(self.root, prior, **self.store)

    def run(self, prior: float = 0.9) -> list[str]:
        """Run it; return the tasks that ran."""
        (self.root / "log").unlink(missing_ok=True)
        run(self.recipe(prior), self.workdir, client=self.client)
        return small.tasks_run(self.root)

    def everything(self) -> dict[str, bytes | None]:
        """Return every stored byte of the cube, the tables and the metrics."""
        return {**small.everything(self.workdir), **contents(self.storage, CUBE)}

    def as_in_a_folder(self, prior: float = 0.9) -> dict[str, bytes]:
        """Return the same of an undisturbed run in a folder."""
        other = self.root / "other"
        other.mkdir()
        shutil.copytree(self.root / "inputs", other / "inputs")
        run(small.recipe_in(other, prior), other / "work", client=self.client)
        found = small.everything(other / "work")
        shutil.rmtree(other)
        return found


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """Yield a client of one thread of this process."""
    with small.one_thread() as client:
        yield client


@pytest.fixture
def chain(storage: Storage, tmp_path: Path, threads: Client) -> Iterator[Chain]:
    """Yield the small chain, ready to run."""
    small.inputs_in(tmp_path)
    with small.in_place():
        yield Chain(tmp_path, storage, threads)


ALL = [f"gather/{year} y{y}-x{x}" for year in small.YEARS for y, x in small.PLACES]


def test_a_run_makes_what_a_run_in_a_folder_makes_and_the_next_nothing(chain: Chain) -> None:
    assert sorted(task for task in chain.run() if task.startswith("gather")) == ALL
    assert chain.everything() == chain.as_in_a_folder()
    assert chain.run() == []
    assert [step.reason for step in plan.plan(chain.recipe(), chain.workdir).steps] == [None] * 5
    if chain.storage.is_remote:
        assert not (chain.workdir / CUBE).exists()
        assert not (chain.workdir / ledger.CHUNKS).exists()


@pytest.mark.parametrize("fuse", [3, 10])
def test_an_interrupted_run_goes_on_and_runs_nothing_twice(chain: Chain, fuse: int) -> None:
    (chain.root / "fuse").write_text(str(fuse))
    with pytest.raises(small.Interrupted):
        chain.run()
    first = small.tasks_run(chain.root)
    (chain.root / "fuse").unlink()
    standing = {f"gather/{year} {task}" for year in small.YEARS for task in recorded(chain, f"gather/{year}")}
    assert len(first) == fuse
    again = chain.run()
    assert not standing & set(again)
    assert {task for task in [*first, *again] if task.startswith("gather")} == set(ALL)
    assert chain.everything() == chain.as_in_a_folder()


def recorded(chain: Chain, group: str) -> set[str]:
    return set(ledger.read_chunks(chain.storage, group))


def test_data_without_its_record_is_written_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = ledger.write_chunk, list[str]()

    def cut(where: Storage, group: str, record: ledger.ChunkRecord) -> None:
        calls.append(record.task)
        if len(calls) == 3:
            raise small.Interrupted(record.task)
        whole(where, group, record)

    monkeypatch.setattr(ledger, "write_chunk", cut)
    with pytest.raises(small.Interrupted):
        chain.run()
    monkeypatch.setattr(ledger, "write_chunk", whole)
    again = chain.run()
    assert f"gather/2010 {calls[2]}" in again
    assert not {f"gather/2010 {task}" for task in calls[:2]} & set(again)
    assert chain.everything() == chain.as_in_a_folder()


def of_each_kind(keys: list[str]) -> list[str]:
    """Return one object of each kind: a chunk, a record, the metadata of an array, for each stage."""
    return list(
        {re.sub(r"\d+", "0", re.sub("/(x|y|spatial_ref|field|times)/", "/any/", key)): key for key in keys}.values()
    )


def test_damage_to_an_object_costs_no_more_than_that_object(chain: Chain) -> None:
    chain.run()
    before = chain.everything()
    kinds = of_each_kind(sorted((chain.storage.list(CUBE) | chain.storage.list("ledger/")).keys() - {CLAIM}))
    assert len(kinds) > 10
    for number, key in enumerate(kinds):
        how = ("flip", "remove", "cut")[number % 3]
        spoil(chain.storage, key, how)
        assert set(chain.run()) <= small.owners(key), (key, how)
        assert chain.everything() == before, (key, how)


def test_verify_finds_what_a_listing_does_not_tell(chain: Chain) -> None:
    chain.run()
    before = chain.everything()
    work = Work(chain.recipe(), chain.workdir)
    sound = upkeep.verify(work)
    assert (sound.faults, sound.objects) == ([], 19)  # 16 chunks, 3 tables
    name = "multiply/2020/times/c/1/0"
    spoil(chain.storage, f"{CUBE}/{name}", "flip")
    if not chain.storage.is_remote:
        os.utime(chain.workdir / CUBE / name, (0, 0))
    faults = upkeep.verify(work).faults
    assert [(fault.step, fault.what) for fault in faults] == [("multiply/2020", f"{name} is not as it was written")]
    assert chain.run() == ["multiply/2020"]
    assert chain.everything() == before
    assert upkeep.verify(work).faults == []


def test_a_damaged_chunk_is_never_read_as_numbers(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.run()
    spoil(chain.storage, f"{CUBE}/gather/2010/field/c/1/1", "flip")
    monkeypatch.setattr(ledger, "_touched", lambda *_: False)  # as if nothing betrayed it
    with pytest.raises(DataIncomplete, match="a chunk of the cube is damaged"):
        chain.run(0.8)


def test_another_recipe_makes_again_what_it_changes_and_clears_the_old(chain: Chain) -> None:
    chain.run()
    assert not [task for task in chain.run(0.8) if task.startswith("gather")]
    assert chain.everything() == chain.as_in_a_folder(0.8)


def test_retry_tries_what_failed_and_nothing_else(chain: Chain) -> None:
    path = chain.root / "inputs" / "2020-4-0"
    good = path.read_text()
    path.write_text("what")
    with pytest.raises(DataIncomplete):
        chain.run()
    (chain.root / "log").unlink()
    path.write_text(good)
    retried = upkeep.retry(chain.recipe(), chain.workdir, client=chain.client)
    assert (retried.tried, retried.failed) == (1, [])
    assert small.tasks_run(chain.root) == ["gather/2020 y4-x0"]
    chain.run()
    assert chain.everything() == chain.as_in_a_folder()


def test_a_lost_work_directory_costs_no_chunk_of_a_cube_elsewhere(chain: Chain) -> None:
    if not chain.storage.is_remote:
        pytest.skip("a folder's cube is lost with it")
    chain.run()
    before = chain.everything()
    shutil.rmtree(chain.workdir)
    with pytest.raises(UserError, match="belongs to another work directory") as caught:
        chain.run()
    assert f"remove the object {CLAIM}" in caught.value.remedy
    chain.storage.delete([CLAIM])
    assert chain.run() == ["add"]
    assert chain.everything() == before


# ---- one work directory for each place ------------------------------------------------------------------------------


@pytest.fixture
def place(s3: Any) -> Storage:
    """Return an empty place in an object store."""
    return Storage(s3.url, s3.endpoint)


def test_a_place_belongs_to_the_work_directory_that_ran_there_first(s3: Any, tmp_path: Path, threads: Client) -> None:
    small.inputs_in(tmp_path)
    with small.in_place():
        first, other = (Chain(tmp_path, Storage(s3.url, s3.endpoint), threads) for _ in range(2))
        other.workdir = tmp_path / "other"
        first.run()
        before = contents(first.storage)
        work = Work(other.recipe(), other.workdir)
        writers: tuple[Any, ...] = (
            other.run,
            lambda: upkeep.verify(work),
            lambda: upkeep.retry(other.recipe(), other.workdir, client=threads),
        )
        for write_there in writers:
            with pytest.raises(UserError, match="belongs to another work directory") as caught:
                write_there()
            assert caught.value.exit_code == 2
            assert caught.value.where == f"{s3.url} at {s3.endpoint} (recipe: store.location)"
            expected = f"work directory {first.workdir}, claimed by process {os.getpid()} on {socket.gethostname()}"
            assert caught.value.found.startswith(f"{expected}, since 20")
            assert "name another prefix in store.location" in caught.value.remedy
        assert len(plan.plan(other.recipe(), other.workdir).steps) == 5  # reading is free
        assert {(each.done, each.tasks) for each in by_tile(work)} == {(4, 4)}
        assert contents(first.storage) == before
        assert first.run() == []


def test_a_work_directory_is_known_wherever_it_is_moved(
    s3: Any, tmp_path: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.inputs_in(tmp_path)
    with small.in_place():
        chain = Chain(tmp_path, Storage(s3.url, s3.endpoint), threads)
        chain.run()
        claimed = chain.storage.read(CLAIM)
        chain.workdir = chain.workdir.rename(tmp_path / "moved")
        monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
        assert chain.run() == []
        assert upkeep.verify(Work(chain.recipe(), chain.workdir)).faults == []
        assert chain.storage.read(CLAIM) == claimed


def test_a_claim_outlives_a_process_that_was_killed(place: Storage, tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from frostmap.pipeline.locks import held\n"
        "from frostmap.pipeline.storage import Storage\n"
        "with held(Path(sys.argv[1]), Storage(*sys.argv[2:])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "first"), place.url, place.endpoint]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run is at work"), held(tmp_path / "first", place):
            pass
        process.kill()
    with pytest.raises(UserError, match=f"claimed by process {process.pid} on"), held(tmp_path / "second", place):
        pass
    with held(tmp_path / "first", place):
        pass


@pytest.mark.parametrize("s3", ["seaweedfs"], indirect=True)  # moto looks first and writes then
def test_of_work_directories_that_claim_a_place_at_once_one_gets_it(place: Storage, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(8)]

    def got(folder: Path) -> bool:
        try:
            with held(folder, place):
                return True
        except UserError:
            return False

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(got, folders))
    assert sum(won) == 1
    assert [got(folder) for folder in folders] == won


def test_a_claim_whose_answer_was_lost_is_known_as_our_own(
    place: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Storage.create
    monkeypatch.setattr(Storage, "create", lambda *given: create(*given) and create(*given))  # as if tried again
    with held(tmp_path, place):
        assert place.read(CLAIM)


def test_a_place_written_in_another_way_is_the_same_place(place: Storage, tmp_path: Path) -> None:
    with held(tmp_path / "first", place):
        pass
    for url in (f"{place.url}/", f"{place.url}//"):
        with (
            pytest.raises(UserError, match="belongs to another"),
            held(tmp_path / "second", Storage(url, place.endpoint)),
        ):
            pass
    with held(tmp_path / "second", Storage(f"{place.url}-2", place.endpoint)):
        pass


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"identity": ""}', b"\xff"])
def test_a_claim_that_cannot_be_read_is_nobodys_until_it_is_removed(
    place: Storage, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / IDENTITY).write_text("")
    place.write(CLAIM, content)
    with pytest.raises(UserError, match="a claim that cannot be read"), held(tmp_path, place):
        pass
    place.delete([CLAIM])
    with held(tmp_path, place):
        pass


def test_a_copy_is_another_work_directory_until_it_gets_the_identity(place: Storage, tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    with held(first, place):
        pass
    with pytest.raises(UserError, match=f"copy its file '{IDENTITY}'"), held(copy, place):
        pass
    shutil.copy(first / IDENTITY, copy)
    with held(copy, place):
        pass


# ---- keys -----------------------------------------------------------------------------------------------------------


def assert_no_key(text: str, *others: str) -> None:
    """Fail if a key is in a text, as it is or as part of an address."""
    for secret in (KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], *others):
        for form in {secret, quote(secret, safe=""), quote(secret)}:
            assert form not in text


def test_no_key_is_kept_logged_or_sent(s3: Any, tmp_path: Path, threads: Client, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    storage = Storage(s3.url, s3.endpoint)
    small.inputs_in(tmp_path)
    with small.in_place():
        chain = Chain(tmp_path, storage, threads)
        (tmp_path / "fuse").write_text("5")
        with pytest.raises(small.Interrupted):
            chain.run()
        (tmp_path / "fuse").unlink()
        chain.run()
        work = Work(chain.recipe(), chain.workdir)
        products = small.multiply(work, "2010")  # its tasks hold the opened cube
        assert products.cube is not None
        writes = cubes.write_tasks(storage, "multiply/2010", products.cube, (small.TIMES,), products.tasks, pixels=4)
    kept = contents(storage)
    assert {key.split("/")[1] for key in kept if key.startswith("ledger/")} == {"chunks", "claim.json", "layouts"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert chain.workdir / "provenance.json" in files
    for content in [*kept.values(), *(path.read_bytes() for path in files)]:
        assert_no_key((content or b"").decode("latin-1"))
    cube = cubes.open_group(storage, "gather/2010")
    graph = dask.base.collections_to_expr([write.delayed for write in writes]).__dask_graph__()
    for pickled in (
        storage,
        storage.zarr_store(),
        cube,
        writes,
        dict(graph),
        ledger.read_chunks(storage, "gather/2010"),
    ):
        sent = cloudpickle.dumps(pickled).decode("latin-1")
        assert_no_key(sent + repr(pickled))
    assert s3.prefix in cloudpickle.dumps(dict(graph)).decode("latin-1"), "the graph holds the storage"
    logs = [*threads.get_worker_logs().values(), threads.get_scheduler_logs()]
    assert_no_key(caplog.text + repr(logs))
    assert len(caplog.records) > 10


@pytest.mark.parametrize("field", ["url", "endpoint"])
def test_keys_in_an_address_are_refused_and_not_repeated(field: str) -> None:
    key, secret = KEYS["AWS_ACCESS_KEY_ID"], "S3CRET"
    addresses = {"url": "s3://bucket/a", "endpoint": "https://127.0.0.1:9"}
    addresses[field] = addresses[field].replace("://", f"://{key}:{secret}@")
    with pytest.raises(UserError, match="keys in an address") as caught:
        Storage(**addresses).read("a")
    assert_no_key(told(caught.value), secret)


# ---- the real chain -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed() -> Iterator[Client]:
    """Yield a client of worker processes that have the keys in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with workers(2) as client:
            yield client


TILES = TINY.tiles[:1]


def one_tile(archive: Path, **store: str) -> Recipe:
    """Return the small archive's recipe for its first tile; `store` says where the cube is."""
    region = {"tiles": list(TILES), "outline": "outline.geojson", "pixels_per_tile": TINY.pixels_per_tile}
    return make_recipe(archive, region=region, store=store)


@pytest.fixture(scope="module")
def ingested(keyed: Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a simulated archive, and the work directory of a run that ingested it."""
    folder = tmp_path_factory.mktemp("simulated")
    write_archive(folder / "archive", TINY.model_copy(update={"tiles": TILES}), client=keyed)
    run(one_tile(folder / "archive"), folder / "work", until="ingest", client=keyed)
    return folder / "archive", folder / "work"


def test_real_granules_are_ingested_to_the_same_cube(
    s3: Any, keyed: Client, ingested: tuple[Path, Path], tmp_path: Path
) -> None:
    archive, folder = ingested
    recipe = one_tile(archive, location=s3.url, endpoint=s3.endpoint)
    followed = run(recipe, tmp_path / "work", until="ingest", client=keyed)
    assert {step.stage.name for step in followed.steps} >= {"ingest"}
    storage = Storage(s3.url, s3.endpoint)
    assert contents(storage, CUBE) == contents(Storage.of_folder(folder), CUBE)
    for table in (folder / "tables").glob("*.csv"):
        assert (tmp_path / "work" / "tables" / table.name).read_bytes() == table.read_bytes()
    for year in ("2010", "2020"):
        found, expected = (cubes.open_group(where, f"ingest/{year}") for where in (storage, Storage.of_folder(folder)))
        xr.testing.assert_identical(found.load(), expected.load())
        assert (found["lst"] > 0).any()
    assert {step.reason for step in plan.plan(recipe, tmp_path / "work", "ingest").steps} == {None}
    assert upkeep.verify(Work(recipe, tmp_path / "work")).faults == []
