"""Whatever part of a run is killed, nothing lives on, what stood is not made again, and the end is the same bits."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml
from dask.delayed import delayed
from distributed import Client

from frostmap.pipeline import ledger
from frostmap.pipeline.recipe import load_recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.storage import CUBE, digest_of
from frostmap.pipeline.submission import compute

from .conftest import TINY, recipe_content, workers

UNTIL = "degree_days"
PATIENCE_S = 300.0
ENDS_WITHIN_S = 10.0
"""How long an orphan may take: a worker sees at once that its parent ended, unless the machine is very busy."""


def wait_for(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.01)


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


class Work(NamedTuple):
    """A recipe and a work directory."""

    recipe: Path
    folder: Path

    def records(self) -> dict[str, tuple[int, str]]:
        """Return when each record of chunks was written, and its digest."""
        found = {}
        for path in (self.folder / ledger.CHUNKS).rglob("*.json"):
            found[str(path.relative_to(self.folder))] = path.stat().st_mtime_ns, digest_of(path.read_bytes())
        return found

    def made(self) -> dict[str, str]:
        """Return the digest of all that was made: objects of the cube, tables and numbers."""
        paths = [*(self.folder / CUBE).rglob("*"), *(self.folder / "tables").rglob("*"), self.folder / "metrics.json"]
        return {str(path.relative_to(self.folder)): digest_of(path.read_bytes()) for path in paths if path.is_file()}

    @contextmanager
    def running(self) -> Iterator[psutil.Popen]:
        """Run it as a user does, in a process group of its own."""
        command = [sys.executable, "-c", "from frostmap.pipeline.cli import main; main()"]
        command += ["run", self.recipe, "--workdir", self.folder, "--until", UNTIL]
        with (self.folder.parent / "output").open("w") as output:
            process = psutil.Popen(command, stdout=output, stderr=output, start_new_session=True)
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def said(self) -> str:
        return (self.folder.parent / "output").read_text()


def recipe_in(folder: Path, archive: Path) -> Path:
    """Write the recipe of the small archive's first tile."""
    region = {"tiles": TINY.tiles[:1], "pixels_per_tile": TINY.pixels_per_tile, "outline": "outline.geojson"}
    content = recipe_content(archive, cluster={"workers": 2, "dashboard": "127.0.0.1:0"})
    content["region"] = region | {"tiles": list(region["tiles"])}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(archive: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Return a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    work = Work(recipe_in(folder, archive), folder / "work")
    run(load_recipe(work.recipe), work.folder, until=UNTIL, client=client)
    return work


@pytest.fixture
def work(archive: Path, tmp_path: Path) -> Work:
    """Return a run that has not begun."""
    return Work(recipe_in(tmp_path, archive), tmp_path / "work")


def end(processes: list[psutil.Process]) -> None:
    """Wait until processes are no more; fail if some live on."""
    give_up = time.monotonic() + ENDS_WITHIN_S
    while any(map(lives, processes)) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not list(filter(lives, processes))


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_worker(process: psutil.Process) -> bool:
    return lives(process) and "spawn_main" in " ".join(process.cmdline())


def has_made(work: Work, process: psutil.Popen, number: int) -> bool:
    assert process.poll() is None, work.said()
    return len(work.records()) >= number


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "moments"), [("process", (1, 18, 34)), ("group", (7, 33))])
def test_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(
    work: Work, undisturbed: Work, victim: str, moments: tuple[int, ...]
) -> None:
    """Moments are numbers of records of chunks: in the ingest of either year, and after it."""
    stood: dict[str, tuple[int, str]] = {}
    for moment in moments:
        with work.running() as process:
            wait_for(lambda: has_made(work, process, moment))  # noqa: B023
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
def test_a_run_goes_on_when_its_workers_are_killed(work: Work, undisturbed: Work) -> None:
    stood: dict[str, tuple[int, str]] = {}
    with work.running() as process:
        for moment in (1, 7, 18):
            wait_for(lambda: has_made(work, process, moment))  # noqa: B023
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
