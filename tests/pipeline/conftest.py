"""A small simulated archive, and the chain run on it once, for all tests that need a finished work directory."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed import Client, LocalCluster

from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.run import Event, run
from frostmap.pipeline.simulate import Simulation, write_archive

from .given_sums import map_given_sums

TINY = Simulation(
    seed=7,
    pixels_per_tile=24,
    tiles=("h25v05", "h26v05"),
    training_years=(2010,),
    target_years=(2020,),
)


@dataclass(frozen=True)
class Finished:
    """A run that was made."""

    recipe: Recipe
    folder: Path
    events: list[Event]


@contextmanager
def workers(n: int) -> Iterator[Client]:
    """Yield a client of some worker processes of this machine."""
    options: dict[str, Any] = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=n, memory_limit="3GiB", **options) as cluster, Client(cluster) as connection:
        yield connection


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Yield a client of two worker processes."""
    with workers(2) as connection:
        yield connection


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of the whole session that is made by the first of pytest's processes that asks for it.

    What `make` returns is kept beside it; `what_was_made` reads it.
    """
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    with Path(f"{folder}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = Path(f"{folder}.pickle")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            folder.mkdir()
            done.write_bytes(pickle.dumps(make(folder)))
    return folder


def what_was_made(folder: Path) -> Any:
    """Return what the function returned that made a folder."""
    return pickle.loads(Path(f"{folder}.pickle").read_bytes())  # noqa: S301  # written above


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return a simulated archive of two tiles and two years."""

    def make(folder: Path) -> None:
        write_archive(folder / "archive", TINY, client=request.getfixturevalue("client"))

    return made_once(tmp_path_factory, "simulated", make) / "archive"


def recipe_content(archive: Path, **changes: Any) -> dict[str, Any]:
    """Return a recipe for the small archive as plain data; `changes` replace whole sections."""
    by_epoch = {
        name: {"training": f"grids/{name}_2010.tif", "target": f"grids/{name}_2020.tif"}
        for name in ("snow_cover", "precipitation", "lakes", "glaciers")
    }
    surveys = sorted((archive / "surveys").glob("*.tif"))
    content: dict[str, Any] = {
        "name": "small",
        "simulated": True,
        "data": str(archive),
        "region": {"tiles": list(TINY.tiles), "outline": "outline.geojson", "pixels_per_tile": 24},
        "epochs": {"training": {"years": [2010]}, "target": {"years": [2020]}},
        "sources": {
            "lst": {"catalogue": "catalog.json"},
            "ndvi": {"catalogue": "catalog.json"},
            "elevation": "grids/elevation.tif",
            "sand": "grids/sand.tif",
            "clay": "grids/clay.tif",
            **by_epoch,
            "surveys": [{"name": path.stem, "path": f"surveys/{path.name}"} for path in surveys],
            "stations": {"sites": "stations.csv", "daily": "stations_daily.csv.gz"},
            "boreholes": "boreholes.csv",
            "truth": {"training": "truth_2010.tif", "target": "truth_2020.tif"},
        },
        "gap_filling": {"reference_days": 3, "analogues": 100},
        "transfer": {"samples": 300, "trees": 60},
    }
    return content | changes


def make_recipe(archive: Path, **changes: Any) -> Recipe:
    """Return a recipe for the small archive."""
    return parse_recipe(yaml.safe_dump(recipe_content(archive, **changes)), archive.parent / "recipe.yaml")


@pytest.fixture(scope="session")
def pristine(archive: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Finished:
    """Return a finished run that no test may change."""
    recipe = make_recipe(archive)

    def make(folder: Path) -> list[Event]:
        events: list[Event] = []
        run(recipe, folder / "work", client=request.getfixturevalue("client"), report=events.append)
        return events

    folder = made_once(tmp_path_factory, "run", make)
    return Finished(recipe, folder / "work", what_was_made(folder))


@pytest.fixture(scope="session")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return maps of simulated degree-day sums, seconds of work, that no test may change."""
    folder = made_once(tmp_path_factory, "mapped", lambda folder: map_given_sums(folder, TINY))
    recipe, work = what_was_made(folder)
    return Finished(recipe, work, [])


@pytest.fixture
def finished(pristine: Finished, tmp_path: Path) -> Finished:
    """Return a copy of a finished run that a test may change."""
    folder = tmp_path / "work"
    shutil.copytree(pristine.folder, folder)
    return Finished(pristine.recipe, folder, pristine.events)
