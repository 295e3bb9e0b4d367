"""Tasks come in portions, and whatever hangs, stops or is interrupted, what has begun is accounted for."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from dask.delayed import Delayed, delayed
from distributed import Client, LocalCluster

from frostmap.pipeline import ledger
from frostmap.pipeline.clusters.loss import ClusterLost
from frostmap.pipeline.errors import DataIncomplete, FrostmapError
from frostmap.pipeline.run import run
from frostmap.pipeline.storage import StorageError
from frostmap.pipeline.submission import compute

from .conftest import workers
from .small_chain import everything, in_place, inputs_in, one_thread, recipe_in, settle


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Yield a client of one thread of this process."""
    with one_thread() as one:
        yield one


def double(number: int) -> int:
    return 2 * number


def test_the_scheduler_has_no_more_tasks_than_it_may_and_results_keep_their_order(client: Client) -> None:
    tasks = [delayed(double, pure=False)(number) for number in range(100)]
    most, kept, told = 0, list[int](), list[int]()

    def progress(done: int) -> None:
        nonlocal most
        told.append(done)
        most = max(most, len(client.futures))

    assert compute(client, tasks, progress, kept.append, at_once=10) == [2 * number for number in range(100)]
    assert most <= 10
    assert sorted(kept) == [2 * number for number in range(100)]
    assert told[-1] == 100


# ---- interruptions --------------------------------------------------------------------------------------------------


def noted(log: Path, what: str) -> str:
    with log.open("a") as file:
        file.write(what + "\n")
    time.sleep(0.05)
    return what


def written(log: Path, made: str) -> str:
    return noted(log, made.replace("made", "wrote"))


def chunks(log: Path, number: int) -> list[Delayed]:
    """Return tasks in two parts, as those of chunks are."""
    make, write = delayed(noted, pure=False), delayed(written, pure=False)
    return [write(log, make(log, f"made {n}")) for n in range(number)]


def test_an_interruption_waits_for_what_has_begun_and_lets_nothing_else_begin(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def interrupted(done: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(client, chunks(log, 40), interrupted)
    lines = log.read_text().splitlines()
    settle(client)
    assert lines == log.read_text().splitlines(), "something went on"
    made, wrote = ({line.split()[1] for line in lines if line.startswith(word)} for word in ("made", "wrote"))
    assert 3 <= len(wrote) < 40
    assert len(made) - len(wrote) <= 1, "at most one was made ahead, and is given up unwritten"


# ---- what hangs -----------------------------------------------------------------------------------------------------


def hang(marker: Path, *, always: bool) -> str:
    """Hang when called for the first time, or whenever."""
    if marker.exists() and not always:
        return "done"
    marker.touch()
    time.sleep(3600)
    return "never"


@pytest.mark.slow
def test_a_worker_that_hangs_is_started_anew_and_its_task_done_again(tmp_path: Path) -> None:
    with workers(1) as client:
        task = delayed(hang, pure=False)(tmp_path / "marker", always=False)
        assert compute(client, [task], lambda _done: None, stuck_after_s=20.0) == ["done"]


HELD = threading.Event()


def held() -> None:
    """Hang as long as the test runs."""
    HELD.wait(60)


def test_where_a_worker_hangs_and_cannot_be_started_anew_an_error_names_the_task(client: Client) -> None:
    HELD.clear()
    with pytest.raises(DataIncomplete, match="does not come to an end") as caught:
        compute(client, [delayed(held, pure=False)()], lambda _done: None, stuck_after_s=0.3)
    HELD.set()
    assert "held" in caught.value.where
    assert "stuck_seconds" in caught.value.remedy
    settle(client)


# ---- a scheduler that ends ------------------------------------------------------------------------------------------


HERE: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


def test_a_scheduler_that_ends_is_an_error_that_says_so() -> None:
    with (
        LocalCluster(**HERE, host="127.0.0.1", protocol="tcp://") as cluster,
        Client(cluster.scheduler_address, timeout=1) as client,
    ):

        def ending(done: int) -> None:
            if done == 2:
                cluster.close()

        with pytest.raises(ClusterLost, match="no longer there") as caught:
            compute(client, [delayed(slow, pure=False)(number) for number in range(20)], ending)
    assert "run again" in caught.value.remedy


def test_a_cluster_that_all_workers_have_left_is_an_error_that_says_so() -> None:
    with LocalCluster(**HERE, host="127.0.0.1", protocol="tcp://") as cluster, Client(cluster) as client:

        def leaving(done: int) -> None:
            if done == 2:
                cluster.scale(0)

        tasks = [delayed(slow, pure=False)(number) for number in range(20)]
        with pytest.raises(ClusterLost, match="no workers any more") as caught:
            compute(client, tasks, leaving, deserted_after_s=0.4)
    assert "start_seconds" in caught.value.remedy


# ---- a disk that is full --------------------------------------------------------------------------------------------

PLACES = {
    "chunks of the cube": "cube.zarr/multiply/2010/times/c/",
    "metadata of the cube": "cube.zarr/multiply/2010/zarr.json",
    "records of chunks": f"{ledger.CHUNKS}/multiply/2010",
    "layouts": f"{ledger.LAYOUTS}/multiply/2010",
}


@pytest.mark.parametrize(
    ("where", "error"),
    [
        *((where, errno.ENOSPC) for where in (*PLACES, "records of steps", "tables")),
        ("chunks of the cube", errno.EROFS),
    ],
)
def test_a_disk_that_takes_no_more_is_a_clear_error_and_the_next_run_goes_on_to_the_same_bits(
    client: Client, tmp_path: Path, where: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, write = obstore.put, Path.write_bytes

    def full(store: Any, path: str, content: Any, **options: Any) -> Any:
        if PLACES.get(where, "nowhere") in path:
            raise OSError(error, "no more")
        return put(store, path, content, **options)

    def full_path(path: Path, content: Any) -> int:
        if where == "records of steps" and path.name == "multiply-2010.draft":
            raise OSError(error, "no more", str(path))
        return write(path, content)

    def full_table(*_: object, **__: object) -> None:
        raise OSError(error, "no more", "total.draft")

    with in_place():
        inputs_in(tmp_path)
        recipe = recipe_in(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(obstore, "put", full)
            patch.setattr(Path, "write_bytes", full_path)
            if where == "tables":
                patch.setattr("pandas.DataFrame.to_csv", full_table)
            with pytest.raises((StorageError, OSError)) as caught:
                run(recipe, tmp_path / "work", client=client)
        if isinstance(caught.value, FrostmapError):
            assert "not full" in caught.value.remedy
        else:
            assert isinstance(caught.value, OSError)
            assert caught.value.errno == error
        settle(client)
        before = (tmp_path / "log").read_text().count("gather/2010") if (tmp_path / "log").exists() else 0
        run(recipe, tmp_path / "work", client=client)
        assert (tmp_path / "log").read_text().count("gather/2010") == max(before, 4), "what stood was made again"
        shutil.copytree(tmp_path / "inputs", tmp_path / "other" / "inputs")
        (tmp_path / "grid.tif").rename(tmp_path / "other" / "grid.tif")
        run(recipe_in(tmp_path / "other"), tmp_path / "other" / "work", client=client)
        assert everything(tmp_path / "work") == everything(tmp_path / "other" / "work")
