"""Workers that die or stop, a killed scheduler or client, Ctrl-C: the same bits, or an error that says why."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import dask
import psutil
import pytest
from distributed import Client
from distributed.chaos import KillWorker

from frostmap.pipeline.clusters.loss import ClusterLost
from frostmap.pipeline.errors import FrostmapError, UserError
from frostmap.pipeline.recipe import load_recipe
from frostmap.pipeline.run import run

from .conftest import workers
from .processes import PATIENCE_S, cluster, end, interrupt, lives, small_run, wait_for
from .small_chain import YEARS, in_place, one_thread, tasks_run

TASKS = 8 * len(YEARS)
"""Chunks of the small chain."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what a run makes that nothing disturbs."""
    whole = small_run(tmp_path_factory.mktemp("undisturbed"))
    with in_place(), one_thread() as client:
        run(load_recipe(whole.recipe), whole.folder, client=client)
    return whole.made()


# ---- workers --------------------------------------------------------------------------------------------------------


def pids(client: Client) -> dict[str, int]:
    return dict(client.run(os.getpid))


@contextmanager
def beside(what: Callable[[], None]) -> Iterator[None]:
    """Do something while the block runs, and wait until it is done."""
    thread = threading.Thread(target=what)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sys.exit", "graceful", "segfault"])
def test_workers_that_end_cost_what_they_had_in_flight(
    tmp_path: Path, undisturbed: dict[str, str], mode: Literal["sys.exit", "graceful", "segfault"]
) -> None:
    small = small_run(tmp_path, seconds=0.4, start_seconds=5.0)
    ended: FrostmapError | None = None

    def chaos() -> None:
        wait_for(lambda: len(small.records()) >= 3)
        client.register_plugin(KillWorker("0.5 s", mode), name="chaos")
        wait_for(lambda: not any(map(lives, first)))
        with suppress(ValueError, OSError):  # nobody is left who has it
            client.unregister_worker_plugin("chaos")

    with workers(2) as client, in_place():
        first = [psutil.Process(pid) for pid in pids(client).values()]
        try:
            with beside(chaos):
                run(load_recipe(small.recipe), small.folder, client=client)
        except (UserError, ClusterLost) as error:  # four ended on the same task, or none came back
            ended = error
    stood = small.records()
    with workers(2) as client, in_place():
        run(load_recipe(small.recipe), small.folder, client=client)
    now = small.records()
    assert {name: now[name] for name in stood} == stood, "what stood was made again"
    assert len(stood) == TASKS or ended is not None, "a success with holes"
    assert small.made() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("noticed_by", ["watchdog", "scheduler"])
def test_a_worker_that_is_stopped_is_replaced_and_harms_nothing_when_it_goes_on(
    tmp_path: Path, undisturbed: dict[str, str], noticed_by: str
) -> None:
    """As one is whose machine sleeps or swaps, or hangs in the kernel on a file system that answers no more."""
    small = small_run(tmp_path, seconds=0.3, stuck_seconds=15.0 if noticed_by == "watchdog" else 3600.0)
    ttl = "1 hour" if noticed_by == "watchdog" else "15 s"
    stopped = list[psutil.Process]()

    def stop() -> None:
        wait_for(lambda: len(small.records()) >= 3)
        stopped.append(psutil.Process(next(iter(pids(client).values()))))
        stopped[0].suspend()

    with dask.config.set({"distributed.scheduler.worker-ttl": ttl}), workers(2) as client, in_place():
        with beside(stop):
            run(load_recipe(small.recipe), small.folder, client=client)
        assert small.made() == undisturbed
        before = small.records()
        if noticed_by == "watchdog":
            end(stopped)
        elif stopped[0].is_running():
            stopped[0].resume()
            client.wait_for_workers(2, timeout=PATIENCE_S)  # the nanny has another
        assert small.records().keys() == before.keys()
    assert small.made() == undisturbed


# ---- scheduler and client -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_an_error_and_with_another_the_run_goes_on(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    small = small_run(tmp_path, seconds=0.3)
    with cluster(tmp_path) as first, small.running("--cluster", first.address) as process:
        wait_for(lambda: small.has_made(process, 3))
        first.scheduler.kill()
        assert process.wait(PATIENCE_S) == 4
        assert "error: the Dask scheduler is no longer there" in small.said()
        assert "run again" in small.said()
        assert not list(small.folder.glob("traceback*"))
        end(first.workers.children(recursive=True))
    stood = small.records()
    assert 3 <= len(stood) < TASKS
    with cluster(tmp_path) as second:
        small.finish(stood, "--cluster", second.address)
    assert small.made() == undisturbed
    again = [task for task in tasks_run(tmp_path) if task.startswith("gather")]
    assert len(again) - len(set(again)) <= 2, "more than was in flight"


@pytest.mark.slow
def test_a_client_that_is_killed_leaves_its_cluster_free_for_the_next_run(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    small = small_run(tmp_path, seconds=0.3)
    with cluster(tmp_path) as running:
        for moment in (2, 9):
            with small.running("--cluster", running.address) as process:
                wait_for(lambda: small.has_made(process, moment))  # noqa: B023
                process.kill()
                process.wait()
        stood = small.records()
        small.finish(stood, "--cluster", running.address)
        assert small.made() == undisturbed
        with Client(running.address) as client:
            assert not any(client.processing().values())
            assert not client.who_has()


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_finishes_what_is_in_flight_and_pressed_twice_stops_at_once(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    small = small_run(tmp_path, seconds=1.0)
    with small.running() as process:
        wait_for(lambda: len(tasks_run(tmp_path)) >= 3)
        interrupt(process)
        family = process.children(recursive=True)
        assert process.wait(PATIENCE_S) == 130
    assert "finishing what is in flight" in small.said()
    assert small.said().endswith("interrupted: what was made stands; run again to go on\n")
    end(family)
    begun, stood = tasks_run(tmp_path), small.records()
    assert len(stood) == len(begun) < TASKS, "what was in flight was not finished"

    (tmp_path / "seconds").write_text("60")
    with small.running() as process:
        wait_for(lambda: len(tasks_run(tmp_path)) > len(begun))
        for _ in range(2):
            said = len(small.said())
            interrupt(process)
            wait_for(lambda: len(small.said()) > said or process.poll() is not None)  # noqa: B023
        family = process.children(recursive=True)
        assert process.wait(30) == 130, "it waited for what was in flight"
    assert "interrupted" in small.said()
    end(family)
    assert small.records() == stood

    (tmp_path / "seconds").unlink()
    small.finish(stood)
    assert small.made() == undisturbed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
