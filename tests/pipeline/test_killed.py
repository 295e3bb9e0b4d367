"""Whatever part of a run is killed, nothing lives on, what stood is not made again, and the end is the same bits."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml
from dask.delayed import delayed
from distributed import Client

from frostmap.pipeline.recipe import load_recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.submission import compute

from .conftest import TINY, recipe_content, workers
from .processes import PATIENCE_S, Run, end, is_worker, wait_for

UNTIL = "degree_days"


# ---- a worker and what it had returned ------------------------------------------------------------------------------


def note(log: Path, number: int) -> int:
    """Note that a task ran, and in which process."""
    with log.open("a") as file:
        file.write(f"{number} {os.getpid()}\n")
    time.sleep(0.2)
    return number


def test_a_result_that_has_come_is_not_made_again_when_its_worker_dies(tmp_path: Path) -> None:
    log, stood = tmp_path / "log", list[str]()
    log.touch()

    def noted() -> list[str]:
        return log.read_text().splitlines()

    def kill() -> None:
        wait_for(lambda: len(noted()) >= 5)
        stood.extend(noted())
        time.sleep(0.7)  # they end, and their results come
        os.kill(int(stood[0].split()[1]), signal.SIGKILL)

    with workers(2) as client:
        killer = threading.Thread(target=kill)
        killer.start()
        tasks = [delayed(note, pure=False)(log, number) for number in range(20)]
        assert compute(client, tasks, lambda _: None) == list(range(20))
        killer.join()
        client.wait_for_workers(2)
    made = [line.split()[0] for line in noted()]
    assert set(made) == {str(number) for number in range(20)}
    assert [made.count(line.split()[0]) for line in stood] == [1] * len(stood)


# ---- runs as a user starts them -------------------------------------------------------------------------------------


def recipe_in(folder: Path, archive: Path) -> Path:
    """Write the recipe of the small archive's first tile."""
    region = {"tiles": TINY.tiles[:1], "pixels_per_tile": TINY.pixels_per_tile, "outline": "outline.geojson"}
    content = recipe_content(archive, cluster={"workers": 2, "dashboard": "127.0.0.1:0"})
    content["region"] = region | {"tiles": list(region["tiles"])}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(archive: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    work = Run(recipe_in(folder, archive), folder / "work", options=("--until", UNTIL))
    run(load_recipe(work.recipe), work.folder, until=UNTIL, client=client)
    return work


@pytest.fixture
def work(archive: Path, tmp_path: Path) -> Run:
    """Return a run that has not begun."""
    return Run(recipe_in(tmp_path, archive), tmp_path / "work", options=("--until", UNTIL))


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "moments"), [("process", (1, 18, 34)), ("group", (7, 33))])
def test_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(
    work: Run, undisturbed: Run, victim: str, moments: tuple[int, ...]
) -> None:
    """Moments are numbers of records of chunks: in the ingest of either year, and after it."""
    stood: dict[str, tuple[int, str]] = {}
    for moment in moments:
        with work.running() as process:
            wait_for(lambda: work.has_made(process, moment))  # noqa: B023
            orphans = process.children(recursive=True)
            assert len(orphans) >= 2
            (os.kill if victim == "process" else os.killpg)(process.pid, signal.SIGKILL)
            process.wait()
            end(orphans)
        now = work.records()
        assert {name: now[name] for name in stood} == stood, "what stood was made again"
        stood = now
    with work.running() as process:
        assert process.wait(PATIENCE_S) == 0, work.said()
    now = work.records()
    assert {name: now[name] for name in stood} == stood, "what stood was made again"
    assert work.made() == undisturbed.made()


@pytest.mark.slow
def test_a_run_goes_on_when_its_workers_are_killed(work: Run, undisturbed: Run) -> None:
    stood: dict[str, tuple[int, str]] = {}
    with work.running() as process:
        for moment in (1, 7, 18):
            wait_for(lambda: work.has_made(process, moment))  # noqa: B023
            stood |= work.records()
            time.sleep(1)  # what they returned has come
            worker = next(filter(is_worker, process.children()))
            orphans = [worker, *worker.children(recursive=True)]
            worker.kill()
            end(orphans)
        children = process.children(recursive=True)
        assert process.wait(PATIENCE_S) == 0, work.said()
    end(children)
    now = work.records()
    assert {name: now[name] for name in stood} == stood, "what stood was made again"
    assert work.made() == undisturbed.made()
