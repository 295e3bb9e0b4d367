"""What a run asks of a machine is known before it begins, and what no worker can hold is refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from frostmap.pipeline import demands, plan
from frostmap.pipeline.cli import app
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.schema import Variable
from frostmap.pipeline.stages import STAGES
from frostmap.pipeline.work import Work

from .small_chain import BLOCK, CHAIN, SIZE, everything, in_place, inputs_in, recipe_in

GREEDY = dataclasses.replace(CHAIN[1], memory=lambda _work, _scope: 10**15)


@pytest.fixture(autouse=True)
def chain(tmp_path: Path) -> Iterator[None]:
    """Put the small chain in the place of the real one."""
    with in_place():
        inputs_in(tmp_path)
        yield


def settled(folder: Path, **cluster: object) -> Recipe:
    recipe = recipe_in(folder)
    settings = recipe.cluster.model_copy(update={"dashboard": "127.0.0.1:0", "workers": 1} | cluster)
    return recipe.model_copy(update={"cluster": settings})


@pytest.mark.parametrize(
    ("cores", "gib", "given", "expected"),
    [
        (8, 100, {}, (8, 10.0)),
        (64, 32, {}, (12, 32 * 0.8 / 12)),  # each has 2 GiB at least
        (64, 32, {"memory_gib": 6.0}, (4, 6.0)),
        (64, 32, {"workers": 5}, (5, 32 * 0.8 / 5)),
        (2, 1, {}, (1, 0.8)),
    ],
)
def test_workers_are_as_many_as_cores_and_memory_allow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    gib: float,
    given: dict[str, object],
    expected: tuple[int, float],
) -> None:
    monkeypatch.setattr(demands, "CPU_COUNT", cores)
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _process: list(range(128)))
    monkeypatch.setattr(demands, "MEMORY_LIMIT", gib * 2**30)
    recipe = settled(tmp_path, **({"workers": None} | given))
    assert demands.workers(recipe) == expected[0]
    assert demands.memory_per_worker(recipe) == pytest.approx(expected[1] * 2**30, rel=1e-9)


def test_a_stage_that_says_nothing_holds_the_layers_that_it_reads_and_writes(tmp_path: Path) -> None:
    work = Work(settled(tmp_path), tmp_path / "work")
    taken = demands.step_memory(work, CHAIN[1], "2010") - demands.WORKER_BYTES
    assert taken == demands.COPIES * 4 * SIZE * SIZE
    assert demands.step_memory(work, GREEDY, "2010") == demands.WORKER_BYTES + 10**15


def test_a_stage_of_blocks_holds_those_of_a_block_with_all_that_lies_above_it(tmp_path: Path) -> None:
    work = Work(settled(tmp_path), tmp_path / "work")
    series = Variable("series", ("composite", "y", "x"), "float32", "1", "a series")
    stage = dataclasses.replace(CHAIN[1], writes=(series,), window=lambda _work: (3, 5))
    assert demands.step_memory(work, stage, "2010") - demands.WORKER_BYTES == demands.COPIES * 4 * 23 * 3 * 5


def test_a_worker_takes_more_from_stage_to_stage() -> None:
    taken = [demands.worker_bytes(stage.name) for stage in STAGES]
    assert taken[0] == demands.LIBRARIES_BYTES
    assert taken == sorted(taken)
    assert taken[-1] == demands.WORKER_BYTES == demands.worker_bytes("no such stage")
    assert set(demands.KEPT_BYTES) <= {stage.name for stage in STAGES}


def test_every_stage_that_reads_granules_states_its_memory() -> None:
    assert [stage.name for stage in STAGES if stage.granules and stage.memory is None] == []


def test_what_no_worker_can_hold_is_refused_by_plan_and_run_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "STAGES", (CHAIN[0], GREEDY, CHAIN[2]))
    recipe = settled(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    result = CliRunner().invoke(app, ["plan", str(path), "--workdir", str(tmp_path / "work"), "--json"])
    assert result.exit_code == 2, result.output
    summary, error = (json.loads(line) for line in result.stdout.splitlines())
    assert [step["memory_bytes"] > 10**15 for step in summary["steps"]] == [False, False, True, True, False]
    assert "multiply/2010 takes more memory" in error["error"]["what"]
    assert f"times, {BLOCK} x {BLOCK} of (y, x)" in error["error"]["where"]
    assert "chunk_pixels" in error["error"]["remedy"]

    with pytest.raises(UserError, match="multiply/2010 takes more memory"):
        run(recipe, tmp_path / "work", scheduler="threads")
    assert not (tmp_path / "log").exists(), "something was made"


def test_what_stands_needs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = settled(tmp_path)
    run(recipe, tmp_path / "work", scheduler="threads")
    before = everything(tmp_path / "work")
    monkeypatch.setattr(plan, "STAGES", (CHAIN[0], GREEDY, CHAIN[2]))
    (tmp_path / "work" / "tables" / "total.csv").unlink()
    run(recipe, tmp_path / "work", scheduler="threads")
    assert everything(tmp_path / "work") == before


def test_elsewhere_workers_are_not_known_and_plan_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "STAGES", (CHAIN[0], GREEDY, CHAIN[2]))
    recipe = settled(tmp_path, where="tcp://127.0.0.1:1")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    assert CliRunner().invoke(app, ["plan", str(path), "--workdir", str(tmp_path / "work")]).exit_code == 0
