"""Runs, schedulers and workers as users start them, in processes of their own, for tests that end them in bad ways."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from frostmap.pipeline import ledger
from frostmap.pipeline.storage import CUBE, digest_of

from . import small_chain

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600.0
ENDS_WITHIN_S = 10.0
"""How long an orphan may take: a worker sees at once that its parent ended, unless the machine is very busy."""

FROSTMAP = "from frostmap.pipeline.cli import main; main()"
SMALL_CHAIN = f"from tests.pipeline.small_chain import in_place\nwith in_place():\n    {FROSTMAP}"


def wait_for(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_worker(process: psutil.Process) -> bool:
    return lives(process) and "spawn_main" in " ".join(process.cmdline())


def end(processes: list[psutil.Process]) -> None:
    """Wait until processes are no more; fail if some live on."""
    give_up = time.monotonic() + ENDS_WITHIN_S
    while any(map(lives, processes)) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not list(filter(lives, processes))


def environment(**more: str) -> dict[str, str]:
    """Return the surroundings of processes that import the tests, too."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])} | more


@contextmanager
def going(command: Sequence[object], output: Path) -> Iterator[psutil.Popen]:
    """Run a command in a process group of its own, all of which is killed when the block ends."""
    with output.open("w") as file:
        process = psutil.Popen(
            [str(part) for part in command], stdout=file, stderr=file, start_new_session=True, env=environment()
        )
        family = [process]
        try:
            yield process
        finally:
            family += process.children(recursive=True) if lives(process) else []
            for each in filter(lives, family):
                each.kill()
            process.wait()


@dataclass(frozen=True)
class Run:
    """A recipe, its work directory, and the process that makes it."""

    recipe: Path
    folder: Path
    program: str = FROSTMAP
    options: tuple[str, ...] = ()
    """Of `frostmap run`."""

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
    def running(self, *options: str) -> Iterator[psutil.Popen]:
        """Run it as a user does."""
        command = [sys.executable, "-c", self.program, "run", self.recipe, "--workdir", self.folder]
        with going([*command, *self.options, *options], self.folder.parent / "output") as process:
            yield process

    def said(self) -> str:
        return (self.folder.parent / "output").read_text()

    def has_made(self, process: psutil.Popen, number: int) -> bool:
        assert process.poll() is None, self.said()
        return len(self.records()) >= number

    def finish(self, stood: dict[str, tuple[int, str]], *options: str) -> None:
        """Run it to its end; what stood must not be made again."""
        with self.running(*options) as process:
            assert process.wait(PATIENCE_S) == 0, self.said()
        now = self.records()
        assert {name: now[name] for name in stood} == stood, "what stood was made again"


def small_run(folder: Path, *, seconds: float = 0.0, **cluster: object) -> Run:
    """Return the small chain in a folder, not begun; each of its tasks takes some seconds."""
    small_chain.inputs_in(folder)
    (folder / "seconds").write_text(str(seconds))
    content = small_chain.recipe_in(folder).model_dump(mode="json", exclude_unset=True)
    content["cluster"] = {"workers": 2, "dashboard": "127.0.0.1:0"} | cluster
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return Run(folder / "recipe.yaml", folder / "work", SMALL_CHAIN)


# ---- clusters -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A scheduler and workers on this machine, in processes of their own."""

    address: str
    scheduler: psutil.Popen
    workers: psutil.Popen
    """The command that has the workers, which are children of it."""

    def pids(self) -> list[int]:
        """Return the processes that are workers."""
        return [process.pid for process in filter(is_worker, self.workers.children(recursive=True))]


def wait_for_workers(log: Path, number: int) -> None:
    """Wait until a scheduler has said of so many workers that they came."""
    wait_for(lambda: log.read_text().count("Register worker") >= number)


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Yield a scheduler and its workers, as the documentation says to start them."""
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    port = address.rpartition(":")[2]
    scheduling = [*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    working = [*dask, "worker", address, "--nworkers", workers, "--nthreads", "1", "--no-dashboard"]
    with ExitStack() as stack:
        scheduler = stack.enter_context(going(scheduling, folder / "scheduler"))
        started = stack.enter_context(going([*working, "--local-directory", folder / "scratch"], folder / "workers"))
        wait_for_workers(folder / "scheduler", workers)
        yield Cluster(address, scheduler, started)


def interrupt(process: psutil.Popen) -> None:
    """Press Ctrl-C: a terminal sends it to all processes of the command."""
    os.killpg(process.pid, signal.SIGINT)
