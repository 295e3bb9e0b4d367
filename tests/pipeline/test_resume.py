"""Whatever interrupts or damages a run, going on gives the same bits, or an error that says why; nothing runs twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from frostmap.pipeline import ledger, plan, storage, upkeep
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.locks import locked
from frostmap.pipeline.run import run
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.work import Work

from .small_chain import (
    PLACES,
    YEARS,
    Interrupted,
    everything,
    in_place,
    inputs_in,
    one_thread,
    owners,
    recipe_in,
    settle,
    tasks_run,
)

ANY = st.integers(0, 10**6)
"""A number that is taken modulo what there is: what a broken run left may differ from time to time."""


@pytest.fixture(scope="module", autouse=True)
def chain() -> Iterator[None]:
    """Put the small chain in the place of the real one."""
    with in_place():
        yield


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """Yield a client of one thread of this process."""
    with one_thread() as client:
        yield client


# ---- the machine --------------------------------------------------------------------------------------------------


class Disturbed(RuleBasedStateMachine):
    """Runs, power cuts, damage and changes in any order."""

    client: Client

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "work"
        self.prior = 0.9
        self.stale: set[str] = set()
        """Tasks that may run: never done, interrupted, damaged, or with a changed cause."""

    @initialize()
    def begin(self) -> None:
        inputs_in(self.root)
        self.stale = {f"gather/{year} y{y}-x{x}" for year in YEARS for y, x in PLACES}
        self.stale |= {f"multiply/{year}" for year in YEARS} | {"add"}

    # ---- what a user does -----------------------------------------------------------------------------------------

    @rule(fuse=st.integers(0, 14))
    def run_until_the_power_is_cut(self, fuse: int) -> None:
        (self.root / "fuse").write_text(str(fuse))
        try:
            self.ran()
        except Interrupted:
            return
        except DataIncomplete:
            assert self.bad()
        finally:
            (self.root / "fuse").unlink(missing_ok=True)

    @rule()
    def run_to_the_end(self) -> None:
        if self.bad():
            with pytest.raises(DataIncomplete, match=r"inputs are bad") as caught:
                self.ran()
            assert set(caught.value.found.split(", ")) <= self.bad()
            return
        self.ran()
        assert self.stale == set()
        assert [step.reason for step in plan.plan(recipe_in(self.root, self.prior), self.folder).steps] == [None] * 5
        self.is_as_if_undisturbed()

    @rule(target_prior=st.sampled_from([0.8, 0.9]))
    def change_the_recipe(self, target_prior: float) -> None:
        if target_prior != self.prior:
            self.prior = target_prior
            self.stale |= {f"multiply/{year}" for year in YEARS} | {"add"}

    @rule(place=st.sampled_from(PLACES), year=st.sampled_from(YEARS), value=st.sampled_from(["7", "12345", "what"]))
    def change_an_input(self, place: tuple[int, int], year: str, value: str) -> None:
        path = self.root / "inputs" / f"{year}-{place[0]}-{place[1]}"
        path.write_text(value)
        self.stale |= {f"gather/{year} y{place[0]}-x{place[1]}", f"multiply/{year}", "add"}

    def bad(self) -> set[str]:
        return {path.name for path in (self.root / "inputs").iterdir() if not path.read_text().isdigit()}

    # ---- what happens to disks ------------------------------------------------------------------------------------

    def stored(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name != "run.lock")

    @precondition(lambda self: self.folder.exists())
    @rule(which=ANY, at=ANY, bits=st.integers(1, 255), how=st.sampled_from(["flip", "cut", "remove", "empty"]))
    def damage(self, which: int, at: int, bits: int, how: str) -> None:
        stored = self.stored()
        if not stored:
            return
        path = stored[which % len(stored)]
        content = path.read_bytes()
        if how == "remove":
            path.unlink()
        elif how == "empty" or not content:
            path.write_bytes(b"")
        else:
            at %= len(content)
            flipped = content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]
            path.write_bytes(flipped if how == "flip" else content[:at])
        self.stale |= owners(path.relative_to(self.folder).as_posix())

    # ---- what must hold -------------------------------------------------------------------------------------------

    def ran(self) -> None:
        log = self.root / "log"
        log.unlink(missing_ok=True)
        try:
            run(recipe_in(self.root, self.prior), self.folder, client=self.client)
        finally:
            settle(self.client)
            done = log.read_text().split("\n")[:-1] if log.exists() else []
            assert set(done) <= self.stale, "something ran that stood"
            assert len([task for task in done if task.startswith("gather")]) == len(
                {task for task in done if task.startswith("gather")}
            )
            self.stale -= {task for task in done if task.startswith("gather") and self.good(task)}
        self.stale.clear()

    def good(self, task: str) -> bool:
        """Say whether a task's result stands: its record was written, and no input of it failed."""
        step, _, place = task.partition(" ")
        record = ledger.read_chunks(storage.Storage.of_folder(self.folder), step).get(place)
        return record is not None and not record.failed

    def is_as_if_undisturbed(self) -> None:
        other = Path(tempfile.mkdtemp())
        shutil.copytree(self.root / "inputs", other / "inputs")
        run(recipe_in(other, self.prior), other / "work", client=self.client)
        assert everything(self.folder) == everything(other / "work")
        shutil.rmtree(other)

    @invariant()
    def nobody_holds_the_directory(self) -> None:
        if self.folder.exists():
            with locked(self.folder):
                pass

    def teardown(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def test_any_disturbance_ends_in_the_undisturbed_result(threads: Client) -> None:
    Disturbed.client = threads
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    machine = Disturbed.TestCase
    machine.settings = settings(max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=checks)
    machine("runTest").runTest()


# ---- single cases -------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inputs_in(tmp_path)
    return tmp_path


def test_data_without_its_record_is_written_again(root: Path, threads: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = ledger.write_chunk, []

    def cut(where: storage.Storage, group: str, record: ledger.ChunkRecord) -> None:
        calls.append(record.task)
        if len(calls) == 3:
            raise Interrupted(record.task)
        whole(where, group, record)

    monkeypatch.setattr(ledger, "write_chunk", cut)
    with pytest.raises(Interrupted):
        run(recipe_in(root), root / "work", client=threads)
    monkeypatch.setattr(ledger, "write_chunk", whole)
    (root / "log").unlink()
    run(recipe_in(root), root / "work", client=threads)
    again = [task for task in tasks_run(root) if task.startswith("gather/2010")]
    assert f"gather/2010 {calls[2]}" in again
    assert not {f"gather/2010 {task}" for task in calls[:2]} & set(again)


def test_a_chunk_made_again_the_same_leaves_what_was_built_on_it(root: Path, threads: Client) -> None:
    run(recipe_in(root), root / "work", client=threads)
    (root / "log").unlink()
    (root / "work" / CUBE / "gather/2010/field/c/0/0").unlink()
    reasons = {step.name: step.reason for step in plan.plan(recipe_in(root), root / "work").steps}
    assert reasons["gather/2010"] == "gather/2010/field/c/0/0 is missing"
    assert reasons["multiply/2010"] == "made again: gather/2010"
    run(recipe_in(root), root / "work", client=threads)
    assert tasks_run(root) == ["gather/2010 y0-x0"]


def test_what_was_begun_says_how_far_it_came(root: Path, threads: Client) -> None:
    (root / "fuse").write_text("2")
    with pytest.raises(Interrupted):
        run(recipe_in(root), root / "work", client=threads)
    reasons = {step.name: step.reason for step in plan.plan(recipe_in(root), root / "work").steps}
    assert reasons["gather/2010"] == "not finished: 2 of 4 tasks done"
    assert reasons["gather/2020"] == "never made"


def test_verify_finds_a_flipped_bit_that_no_date_betrays_and_the_next_run_mends_it(root: Path, threads: Client) -> None:
    run(recipe_in(root), root / "work", client=threads)
    before = everything(root / "work")
    work = Work(recipe_in(root), root / "work")
    assert upkeep.verify(work).faults == []
    chunk = root / "work" / CUBE / "multiply/2020/times/c/1/0"
    status, content = chunk.stat(), chunk.read_bytes()
    chunk.write_bytes(content[:30] + bytes([content[30] ^ 4]) + content[31:])
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))
    table = root / "work" / "tables" / "total.csv"
    table.write_text("total\n1\n")
    verified = upkeep.verify(work)
    assert [(fault.step, fault.what) for fault in verified.faults] == [
        ("multiply/2020", "multiply/2020/times/c/1/0 is not as it was written"),
        ("add", "tables/total.csv is changed"),
    ]
    (root / "log").unlink()
    run(recipe_in(root), root / "work", client=threads)
    assert tasks_run(root) == ["multiply/2020", "add"]
    assert everything(root / "work") == before


def test_a_damaged_chunk_is_never_read_as_numbers(root: Path, threads: Client) -> None:
    run(recipe_in(root), root / "work", client=threads)
    chunk = root / "work" / CUBE / "gather/2010/field/c/1/1"
    status, content = chunk.stat(), chunk.read_bytes()
    chunk.write_bytes(content[:25] + bytes([content[25] ^ 1]) + content[26:])
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataIncomplete, match="a chunk of the cube is damaged") as caught:
        run(recipe_in(root, 0.8), root / "work", client=threads)
    assert "frostmap verify" in str(caught.value)


def test_retry_tries_what_failed_and_nothing_else(root: Path, threads: Client) -> None:
    path = root / "inputs" / "2020-4-0"
    good = path.read_text()
    path.write_text("what")
    with pytest.raises(DataIncomplete):
        run(recipe_in(root), root / "work", client=threads)
    (root / "log").unlink()
    retried = upkeep.retry(recipe_in(root), root / "work", client=threads)
    assert (retried.tried, [note["id"] for note in retried.failed]) == (1, ["2020-4-0"])
    path.write_text(good)
    retried = upkeep.retry(recipe_in(root), root / "work", client=threads)
    assert (retried.tried, retried.failed) == (1, [])
    assert tasks_run(root) == ["gather/2020 y4-x0"] * 2
    assert upkeep.retry(recipe_in(root), root / "work", client=threads).tried == 0
    run(recipe_in(root), root / "work", client=threads)
    assert len([task for task in tasks_run(root) if task.startswith("gather")]) == 2


def test_lost_metrics_come_back_from_the_ledger(root: Path, threads: Client) -> None:
    run(recipe_in(root), root / "work", client=threads)
    before = everything(root / "work")
    (root / "work" / "metrics.json").unlink()
    (root / "log").unlink()
    run(recipe_in(root), root / "work", client=threads)
    assert tasks_run(root) == []
    assert everything(root / "work") == before


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_damage_to_any_one_file_costs_no_more_than_that_file(root: Path, threads: Client, how: str) -> None:
    run(recipe_in(root), root / "work", client=threads)
    before = everything(root / "work")
    files = sorted(path for path in (root / "work").rglob("*") if path.is_file() and path.name != "run.lock")
    for path in files:
        content = path.read_bytes()
        if how == "remove":
            path.unlink()
        else:
            at = len(content) // 2
            path.write_bytes(content[:at] + (b"" if how == "cut" else bytes([content[at] ^ 1]) + content[at + 1 :]))
        (root / "log").unlink(missing_ok=True)
        run(recipe_in(root), root / "work", client=threads)
        name = path.relative_to(root / "work").as_posix()
        assert set(tasks_run(root)) <= owners(name), name
        assert everything(root / "work") == before, name


def test_a_second_run_is_refused_with_the_first_ones_host_and_process(root: Path, threads: Client) -> None:
    work = root / "work"
    hold = (
        "import sys; from pathlib import Path; from frostmap.pipeline.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", hold, str(work)], **pipes) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "held\n"
        holder = json.loads((work / "run.lock").read_text())
        with pytest.raises(UserError, match="another run is at work") as caught:
            run(recipe_in(root), work, client=threads)
        assert caught.value.found.startswith(f"process {first.pid} on {holder['host']}, since ")
        first.kill()  # not a word of farewell: the system lets go of what it held
    run(recipe_in(root), work, client=threads)


def test_a_record_removed_while_a_plan_is_made_is_a_reason_to_make_its_chunks_again(
    root: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe_in(root), root / "work", client=threads)
    read = ledger.read_chunks

    def then_remove(where: storage.Storage, group: str) -> dict[str, ledger.ChunkRecord]:
        records = read(where, group)
        where.delete([ledger.chunk_key(group, "y0-x4")])
        return records

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "read_chunks", then_remove)
        reasons = {step.name: step.reason for step in plan.plan(recipe_in(root), root / "work").steps}
    assert reasons["gather/2010"] == f"{ledger.CHUNKS}/gather/2010/y0-x4.json is missing"
    (root / "log").unlink()
    run(recipe_in(root), root / "work", client=threads)
    assert tasks_run(root) == ["gather/2010 y0-x4", "gather/2020 y0-x4"]


def test_a_step_is_judged_by_one_reading_of_its_layout(
    root: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe_in(root), root / "work", client=threads)
    read, asked = storage.Storage.read, list[str]()

    def noted(where: storage.Storage, key: str) -> bytes | None:
        asked.append(key)
        return read(where, key)

    monkeypatch.setattr(storage.Storage, "read", noted)
    plan.plan(recipe_in(root), root / "work")
    layouts = [f"{ledger.LAYOUTS}/{stage}/{year}.json" for stage in ("gather", "multiply") for year in YEARS]
    assert [key for key in asked if key.startswith(ledger.LAYOUTS)] == layouts


def test_another_stores_failure_is_explained(root: Path, threads: Client) -> None:
    (root / "work").mkdir()
    (root / "work" / CUBE).write_text("a file where a folder belongs")
    with pytest.raises(FrostmapError, match="the storage of the cube failed"):
        run(recipe_in(root), root / "work", client=threads)
