"""An object store on bad days: busy, slow, cut off, killed and started again; the cube ends with the same bits."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from frostmap.pipeline import ledger, storage
from frostmap.pipeline.run import run
from frostmap.pipeline.storage import CUBE, Storage, StorageError

from ..pipeline import small_chain as small
from ..pipeline.conftest import workers
from ..pipeline.processes import wait_for
from . import fault_proxy
from .conftest import BUCKET, KEYS, SeaweedFS, make_bucket
from .fault_proxy import BROKEN, BUSY, Fault, FaultProxy

pytestmark = pytest.mark.servers

TASKS = 8 * len(small.YEARS)


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    """Have the keys in the environment, as a user has, and the small chain in the place of the real one."""
    with pytest.MonkeyPatch.context() as patch, small.in_place():
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """Yield a client of one thread of this process."""
    with small.one_thread() as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, threads: Client) -> dict[str, bytes | None]:
    """Return what a run in a folder makes."""
    root = tmp_path_factory.mktemp("undisturbed")
    small.inputs_in(root)
    run(small.recipe_in(root), root / "work", client=threads)
    return {**small.everything(root / "work")}


def everything(root: Path, where: Storage) -> dict[str, bytes | None]:
    cube = dict(where.read_all(sorted(where.list(CUBE))))
    return {**small.everything(root / "work"), **cube}


def records(where: Storage) -> dict[str, bytes | None]:
    return dict(where.read_all(sorted(where.list(f"{ledger.CHUNKS}/"))))


# ---- errors and slow answers ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxy(seaweedfs: str) -> Iterator[FaultProxy]:
    """Yield a proxy before SeaweedFS."""
    with fault_proxy.before(seaweedfs) as running:
        yield running


FAULTS: dict[str, Fault] = {
    "busy": fault_proxy.refuse(503, BUSY),
    "broken": fault_proxy.refuse(500, BROKEN),
    "request lost": fault_proxy.lose_request,
    "answer lost": fault_proxy.lose_answer,
    "answer cut off": fault_proxy.cut_answer,
    "slow": fault_proxy.be_slow,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_fails_now_and_then_costs_time_and_no_task_twice(
    proxy: FaultProxy, seaweedfs: str, threads: Client, undisturbed: dict[str, bytes | None], tmp_path: Path, fault: str
) -> None:
    small.inputs_in(tmp_path)
    url = f"s3://{BUCKET}/now-and-then-{fault.replace(' ', '-')}"
    proxy.order(FAULTS[fault], every=11 if fault == "slow" else 5)
    try:
        run(small.recipe_in(tmp_path, location=url, endpoint=proxy.endpoint), tmp_path / "work", client=threads)
    finally:
        faults = proxy.faults.copy()
        proxy.order(None)
    assert min(faults["GET"], faults["PUT"]) > 2
    assert len(small.tasks_run(tmp_path)) == TASKS + 1
    assert everything(tmp_path, Storage(url, seaweedfs)) == undisturbed


@pytest.mark.parametrize("fault", ["busy", "request lost", "answer cut off"])
@pytest.mark.parametrize(("methods", "part"), [("PUT", "/c/"), ("PUT", ledger.CHUNKS), ("GET", "/c/"), ("GET", "list")])
def test_a_store_that_fails_for_good_is_an_error_and_the_run_goes_on_when_it_is_well(
    proxy: FaultProxy,
    seaweedfs: str,
    threads: Client,
    undisturbed: dict[str, bytes | None],
    tmp_path: Path,
    fault: str,
    methods: str,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "PATIENCE", storage.HASTE)  # a minute each, otherwise
    if (fault, methods) == ("answer cut off", "PUT"):
        pytest.skip("it has no body that could be cut")
    small.inputs_in(tmp_path)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    recipe = small.recipe_in(tmp_path, location=url, endpoint=proxy.endpoint)
    proxy.order(FAULTS[fault], methods=methods, part=part)
    try:
        with pytest.raises(StorageError) as caught:
            run(recipe, tmp_path / "work", client=threads)
    finally:
        proxy.order(None)
    assert "run again" in caught.value.remedy
    small.settle(threads)
    stood = records(Storage(url, seaweedfs))
    run(recipe, tmp_path / "work", client=threads)
    now = records(Storage(url, seaweedfs))
    assert {name: now[name] for name in stood} == stood, "what stood was made again"
    assert everything(tmp_path, Storage(url, seaweedfs)) == undisturbed


# ---- a server that is killed, and a worker --------------------------------------------------------------------------


def test_a_worker_is_killed_and_the_store_is_killed_and_started_again(
    tmp_path: Path, undisturbed: dict[str, bytes | None]
) -> None:
    (tmp_path / "server").mkdir()
    server = SeaweedFS.in_folder(tmp_path / "server")
    small.inputs_in(tmp_path)
    (tmp_path / "seconds").write_text("0.5")
    where = Storage(f"s3://{BUCKET}/killed", server.endpoint)
    recipe = small.recipe_in(tmp_path, location=where.url, endpoint=where.endpoint)
    with contextlib.ExitStack() as stack, workers(2) as client:
        up = stack.enter_context(contextlib.ExitStack())
        up.enter_context(server.running())
        make_bucket(server.endpoint)
        victim = next(iter(client.run(os.getpid).values()))

        def disturb() -> None:
            wait_for(lambda: len(small.tasks_run(tmp_path)) >= 3)
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: len(small.tasks_run(tmp_path)) >= 6)
            up.close()
            time.sleep(1)
            up.enter_context(server.running())

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            run(recipe, tmp_path / "work", client=client)
        finally:
            disturbing.join()
        assert victim not in client.run(os.getpid).values()
        made = small.tasks_run(tmp_path)
        assert everything(tmp_path, where) == undisturbed
        assert len(made) <= TASKS + 1 + 2, "more than the killed worker's tasks was made again"
        run(recipe, tmp_path / "work", client=client)
        assert small.tasks_run(tmp_path) == made
