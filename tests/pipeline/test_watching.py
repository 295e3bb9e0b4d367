"""A run can be watched while it goes on, says afterwards what it cost, and is hurt by no log that fails."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import socket
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import Result
from distributed import Client
from typer.testing import CliRunner

from frostmap.pipeline import ledger
from frostmap.pipeline.cli import app
from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.locks import holder_of, is_held, locked
from frostmap.pipeline.run import Event, run
from frostmap.pipeline.storage import Storage
from frostmap.pipeline.watching import costs, watch
from frostmap.pipeline.watching.costs import Cost
from frostmap.pipeline.watching.forecast import Left, Pace, ToDo, left, paces
from frostmap.pipeline.watching.gauges import Gauges
from frostmap.pipeline.watching.history import by_step, runs
from frostmap.pipeline.watching.journal import JOURNAL, Journal, read
from frostmap.pipeline.watching.performance import REPORTS
from frostmap.pipeline.watching.progress import by_tile, time_left, todo
from frostmap.pipeline.work import Work

from .conftest import Finished, workers
from .small_chain import Interrupted, everything, in_place, inputs_in, one_thread, recipe_in

CANARY = "CANARY0123456789"


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """Yield a client of one thread of this process."""
    with one_thread() as client:
        yield client


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Return where the small chain can run, which stands in the place of the real one."""
    inputs_in(tmp_path)
    with in_place():
        yield tmp_path


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    return [line for line in read(folder) if line["event"] == event]


# ---- the log ------------------------------------------------------------------------------------------------------


def test_each_line_of_the_log_is_an_object_with_time_run_and_level(root: Path, threads: Client) -> None:
    run(recipe_in(root), root / "work", client=threads)
    raw = (root / "work" / JOURNAL).read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in raw]
    [name] = {line["run"] for line in told}
    assert all(line["time"].endswith("+00:00") and line["level"] == "INFO" for line in told)
    events = [line["event"] for line in told if line["event"] != "progress"]  # of steps that take long
    assert events == ["run", *["started", "finished"] * 5, "ended"]
    assert told[0]["host"] == socket.gethostname()
    gather = next(line for line in told if line["event"] == "finished")
    assert (gather["step"], gather["done"], gather["total"]) == ("gather/2010", 4, 4)
    assert [each.name for each in runs(root / "work")] == [name]


def test_a_failure_is_told_with_its_cause_and_the_step_that_it_stopped(root: Path, threads: Client) -> None:
    (root / "inputs" / "2010-0-0").write_text("what")
    with pytest.raises(DataIncomplete):
        run(recipe_in(root), root / "work", client=threads)
    [failed], [stopped] = lines(root / "work", "failed"), lines(root / "work", "stopped")
    assert (failed["level"], failed["error"], failed["what"]) == ("ERROR", "DataIncomplete", "inputs are bad")
    assert (stopped["step"], stopped["done"]) == ("gather/2010", 4)
    assert runs(root / "work")[0].ending == "failed"


def test_what_libraries_say_is_in_the_log_of_the_run_and_of_no_other(tmp_path: Path) -> None:
    with Journal(tmp_path, "first"):
        logging.getLogger("some.library").warning("the moon is %s", "full")
    logging.getLogger("some.library").warning("the moon is new")
    [line] = read(tmp_path)
    assert (line["run"], line["logger"], line["message"]) == ("first", "some.library", "the moon is full")


def test_no_secret_comes_into_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", CANARY + "TOKEN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY + "KEY")
    said = [
        f"token {CANARY}TOKEN, key {CANARY}KEY",
        f"GET https://account.blob.test/a.tif?sv=1&sig={CANARY} failed",
        f"PUT 'https://me:{CANARY}@store.test/b' failed",
        f"{{'Authorization': 'Bearer {CANARY}'}} was refused",
    ]
    with Session() as session, Journal(tmp_path, "run") as journal:
        session.work_in(tmp_path)
        for words in said:
            logging.getLogger("some.library").warning(words)
            journal.note("failed", what=words, found=[words])
    written = [(tmp_path / name).read_text(encoding="utf-8") for name in (JOURNAL, "frostmap.log")]
    assert all(CANARY not in text for text in written)
    assert all("https://account.blob.test/a.tif failed" in text for text in written)
    assert len(list(read(tmp_path))) == 2 * len(said)


def test_a_full_disk_under_the_log_costs_nothing_that_was_made(
    root: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe_in(root), root / "work", client=threads)
    before = everything(root / "work")
    tried: list[bytes] = []

    def full(_self: Journal, line: bytes) -> None:
        tried.append(line)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "_append", full)
    events: list[Event] = []
    run(recipe_in(root), root / "other", client=threads, report=events.append)
    assert len(tried) >= 12
    assert everything(root / "other") == before
    assert [event.kind for event in events][-1] == "ended"


def test_lines_that_could_not_be_written_are_counted_by_the_next_one_that_can(tmp_path: Path) -> None:
    blocking = tmp_path / "logs"
    blocking.touch()
    with Journal(tmp_path, "run") as journal:
        journal.note("one")
        journal.note("two")
        blocking.unlink()
        journal.note("three")
        journal.note("four")
    assert [(line["event"], line.get("lines_lost")) for line in read(tmp_path)] == [("three", 2), ("four", None)]


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path, cut: int) -> None:
    for name in ("first", "second"):
        with Journal(tmp_path, name) as journal:
            journal.note("run")
            journal.note("ended")
        if name == "first":
            path = tmp_path / JOURNAL
            path.write_bytes(path.read_bytes()[:-cut])
    told = [(line["run"], line["event"]) for line in read(tmp_path)]
    assert told[0] == ("first", "run")
    assert told[-2:] == [("second", "run"), ("second", "ended")]


# ---- what it costs ------------------------------------------------------------------------------------------------


def test_the_cost_is_that_of_the_steps_and_the_bytes_are_those_that_are_stored(root: Path, threads: Client) -> None:
    events: list[Event] = []
    run(recipe_in(root), root / "work", client=threads, report=events.append)
    [ended] = [event.cost for event in events if event.kind == "ended"]
    steps = [event.cost for event in events if event.kind == "finished"]
    assert ended is not None
    assert all(cost is not None for cost in steps)
    storage = Storage.of_folder(root / "work")
    groups = [f"{stage}/{year}" for stage in ("gather", "multiply") for year in ("2010", "2020")]
    stored = sum(record.stored_bytes for group in groups for record in ledger.read_chunks(storage, group).values())
    tables = sum(path.stat().st_size for path in (root / "work" / "tables").iterdir())
    assert ended.bytes_written == stored + tables
    assert ended.bytes_read >= stored / 2  # multiply reads what gather wrote
    assert ended.core_seconds == pytest.approx(sum(cost.core_seconds for cost in steps if cost))
    assert 0 < ended.core_seconds < ended.seconds  # of one thread
    assert ended.peak_bytes > 10_000_000
    provenance = json.loads((root / "work" / "provenance.json").read_text())
    assert provenance["cost"]["bytes_written"] == ended.bytes_written
    assert provenance["steps"]["add"]["cost"]["seconds"] > 0
    assert [each["run"] for each in provenance["runs"]] == [runs(root / "work")[0].name]


def test_costs_add_up_over_runs_and_a_run_that_makes_nothing_costs_its_steps_nothing(
    root: Path, threads: Client
) -> None:
    (root / "fuse").write_text("5")  # all of 2010 and one task of 2020
    with pytest.raises(Interrupted):
        run(recipe_in(root), root / "work", client=threads)
    (root / "fuse").unlink()
    for _ in range(2):
        run(recipe_in(root), root / "work", client=threads)
    first, second, third = runs(root / "work")
    assert [each.ending for each in (first, second, third)] == ["failed", "ended", "ended"]
    assert [(attempt.step, attempt.done) for attempt in first.attempts[:1]] == [("gather/2010", 4)]
    assert (second.attempts[0].step, second.attempts[0].began_with, second.attempts[0].made) == ("gather/2020", 1, 3)
    assert third.attempts == ()
    assert third.cost.core_seconds == 0
    whole = by_step([first, second, third])["gather/2020"]
    assert whole.seconds == pytest.approx(first.attempts[1].cost.seconds + second.attempts[0].cost.seconds)


# ---- how long it takes --------------------------------------------------------------------------------------------


def test_a_worker_that_hangs_is_counted_by_what_it_told_before_and_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with workers(2) as client:
        meter = costs.Meter(client)
        client.gather(client.map(_spend, range(8), pure=False))
        spent = meter.ask()
        monkeypatch.setattr(costs, "ANSWERS_WITHIN_S", 1.0)
        hanging = psutil.Process(client.submit(os.getpid, pure=False).result())
        hanging.suspend()
        try:
            assert meter.ask().core_seconds == pytest.approx(spent.core_seconds, abs=0.2)
        finally:
            hanging.resume()
        assert spent.core_seconds > 0.4
        assert meter.threads == 2


def _spend(number: int) -> int:
    time.sleep(0.1)
    return number


def test_a_run_that_was_killed_leaves_its_pace_to_the_next(tmp_path: Path) -> None:
    with Journal(tmp_path, "killed") as journal:  # it tells of no end
        journal.note("started", step="raw/2010", done=0, total=100, threads=4)
        journal.note("progress", step="raw/2010", done=40, total=100, cost={"seconds": 20.0})
    found = runs(tmp_path)
    assert found[0].ending == ""
    rest = {"raw/2010": ToDo(50, 100), "raw/2011": ToDo(), "report": ToDo()}
    # 4 threads made 40 tasks in 20 s: 2 s of a thread each. 50 and 100 of them are left, for 4 threads
    assert time_left(rest, found) == Left(25.0 + 50.0, 1)


@pytest.mark.parametrize("n", [0, 1, 7, 400])
@pytest.mark.parametrize("threads_there", [1, 8, 64])
@pytest.mark.parametrize("more", [1, 2, 5])
def test_twice_the_threads_take_half_the_time_as_long_as_there_are_tasks_for_them(
    n: int, threads_there: int, more: int
) -> None:
    known = {"raw": Pace(20.0, 40, n)}
    one, several = (left({"raw/2010": ToDo()}, known, count) for count in (threads_there, threads_there * more))
    assert several.seconds <= one.seconds
    if n >= threads_there * more:
        assert several.seconds * more == pytest.approx(one.seconds)
        assert one.seconds == pytest.approx(n * 20 / 40 / threads_there)
    assert left({"raw/2010": ToDo(n, n)}, known, threads_there) == Left(0.0, 0)


def test_a_resumed_run_knows_from_the_first_how_long_it_will_take(
    root: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BETWEEN_LINES_S", 0.0)
    (root / "fuse").write_text("5")
    with pytest.raises(Interrupted):
        run(recipe_in(root), root / "work", client=threads)
    (root / "fuse").unlink()
    assert lines(root / "work", "progress")
    events: list[Event] = []
    run(recipe_in(root), root / "work", client=threads, report=events.append)
    started = [event for event in events if event.kind == "started"]
    assert [event.step for event in started] == ["gather/2020", "multiply/2010", "multiply/2020", "add"]
    assert started[0].left is not None
    assert started[0].left.seconds > 0
    assert [event.left.unmeasured for event in started if event.left] == [3, 3, 1, 1]  # multiply/2010 tells of 2020
    assert events[-2].left == Left(0.0, 0)


def test_a_step_counts_by_its_own_pace_once_it_has_one(
    root: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BETWEEN_FORECASTS_S", -1.0)
    with Journal(root / "work", "slow") as journal:
        (root / "work" / "logs").mkdir(parents=True)
        journal.note("started", step="gather/2010", done=0, total=4, threads=1)
        journal.note("finished", step="gather/2010", done=4, total=4, cost={"seconds": 4e6})
    events: list[Event] = []
    run(recipe_in(root), root / "work", until="gather", client=threads, report=events.append)
    seconds = [event.left.seconds for event in events if event.left and event.step == "gather/2010"]
    assert seconds[0] == pytest.approx(8e6)  # both years, as slow as it once was
    assert all(each < 8e6 / 2 for each in seconds[1:-1])


def test_the_status_of_an_interrupted_run_tells_how_far_it_is_and_what_is_left(root: Path, threads: Client) -> None:
    (root / "fuse").write_text("5")
    with pytest.raises(Interrupted):
        run(recipe_in(root), root / "work", client=threads)
    work = Work(recipe_in(root), root / "work")
    found = by_tile(work)
    assert [(each.step, each.done, each.tasks) for each in found] == [("gather/2010", 4, 4), ("gather/2020", 1, 4)]
    rest = todo(["gather/2020", "multiply/2010", "add"], found)
    assert rest == {"gather/2020": ToDo(1, 4), "multiply/2010": ToDo(), "add": ToDo()}
    pace = paces(runs(root / "work")[0].attempts)["gather"]
    assert pace.made >= 4
    assert time_left(rest, runs(root / "work")) == Left(pytest.approx(3 * pace.worker_seconds / pace.made), 2)


def test_every_step_of_a_map_is_counted_by_tile(mapped: Finished) -> None:
    work = Work(mapped.recipe, mapped.folder)
    found = by_tile(work)
    assert {each.tile for each in found if each.step == "frozen_ground/training"} == set(work.tiles)
    for step in {each.step for each in found}:
        layout = ledger.read_layout(work.storage, step)
        assert layout is not None
        assert sum(each.tasks for each in found if each.step == step) == len(layout.tasks)
    assert all(each.done == each.tasks for each in found)


# ---- where it can be watched --------------------------------------------------------------------------------------


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["dashboard", *map(str, arguments)])


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Return a work directory in which nothing runs."""
    recipe_in(tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()
    assert CliRunner().invoke(app, ["init", "demo", "--output", str(folder / "recipe.yaml")]).exit_code == 0
    return folder


def test_while_a_run_goes_on_its_dashboard_is_known_and_afterwards_it_is_not(root: Path, threads: Client) -> None:
    seen = []

    def look(event: Event) -> None:
        if event.kind == "started":
            seen.append((is_held(root / "work"), holder_of(root / "work")))

    run(recipe_in(root), root / "work", client=threads, report=look)
    held, holder = seen[0]
    assert held
    assert holder is not None
    assert holder.dashboard == threads.dashboard_link
    assert holder.run == runs(root / "work")[0].name
    assert not is_held(root / "work")
    assert holder_of(root / "work") is None


def test_the_dashboard_of_the_run_that_goes_on_is_printed_or_opened(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with locked(workdir) as hold:
        assert "no dashboard yet" in asked(workdir).stderr
        hold.has_dashboard("http://127.0.0.1:8787/status")
        assert asked(workdir).stdout == "http://127.0.0.1:8787/status\n"
        assert opened == []
        shown = json.loads(asked(workdir, "--json", "--open").stdout)
    assert shown == {"dashboard": "http://127.0.0.1:8787/status", "run": hold.holder.run}
    assert opened == ["http://127.0.0.1:8787/status"]


@pytest.mark.parametrize(
    ("left_behind", "words"),
    [
        ("nothing", ["no run is going on", "no run yet", "frostmap run"]),
        ("ended", ["no run is going on", "ended"]),
        ("killed", ["no run is going on", "was killed", "process 1 on"]),
        ("elsewhere", ["on another host", "process 1 on far.test", "ssh -L 8787:127.0.0.1:8787 far.test"]),
    ],
)
def test_who_asks_for_a_dashboard_that_is_not_there_is_told_why_and_what_to_do(
    workdir: Path, left_behind: str, words: list[str]
) -> None:
    if left_behind == "ended":
        with Journal(workdir, "first") as journal:
            journal.note("ended")
    elif left_behind in ("killed", "elsewhere"):
        host = socket.gethostname() if left_behind == "killed" else "far.test"
        holder = {
            "run": "first",
            "host": host,
            "process": 1,
            "since": "2026-01-02",
            "dashboard": "http://127.0.0.1:8787/status",
        }
        (workdir / "run.lock").write_text(json.dumps(holder))
    result = asked(workdir)
    assert result.exit_code == 2
    assert result.stdout == ""
    for each in words:
        assert each in result.stderr


def test_who_looks_whether_a_directory_is_held_does_not_keep_a_run_from_beginning(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    stop = time.monotonic() + 0.5
    while time.monotonic() < stop:
        assert not is_held(tmp_path)
        with locked(tmp_path):
            assert is_held(tmp_path)


def test_costs_are_the_same_after_they_were_written_and_read() -> None:
    cost = Cost(1.5, 7200.0, 3, 4, 5)
    assert Cost.of_summary(json.loads(json.dumps(cost.summary()))) == cost


# ---- Dask's reports, and Prometheus -------------------------------------------------------------------------------


def test_a_performance_report_loads_nothing_and_one_that_cannot_be_written_stops_no_run(
    root: Path, threads: Client
) -> None:
    recipe = recipe_in(root)
    recipe = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"performance_reports": True})})
    (root / "work" / REPORTS / "gather-2010.html").mkdir(parents=True)
    run(recipe, root / "work", until="gather", client=threads)
    page = (root / "work" / REPORTS / "gather-2020.html").read_text(encoding="utf-8")
    assert "Dask Performance Report" in page
    assert not re.findall(r"<link\b|<script[^>]*\bsrc=|<iframe\b|@import", page)
    [message] = lines(root / "work", "message")
    assert message["message"].startswith("no performance report of gather/2010: ")
    assert not any((root / "work" / REPORTS / "gather-2010.html").iterdir())


def metrics_of(client: Client) -> dict[str, float]:
    link = str(client.dashboard_link).replace("/status", "/metrics")
    with urllib.request.urlopen(link, timeout=60) as page:  # noqa: S310 - of this machine
        text = page.read().decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith(("dask", "frost"))}


def test_prometheus_reads_how_far_a_run_is_from_the_schedulers_page(root: Path, threads: Client) -> None:
    pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
    found: dict[str, dict[str, float]] = {}

    def look(event: Event) -> None:
        if event.kind == "started":
            found[event.step] = metrics_of(threads)

    run(recipe_in(root), root / "work", client=threads, report=look)
    assert [each["frostmap_steps_done"] for each in found.values()] == [0, 1, 2, 3, 4]
    assert {each["frostmap_steps"] for each in found.values()} == {5}
    assert found["gather/2020"]["frostmap_step_tasks"] == 4
    assert found["gather/2020"]["frostmap_left_seconds"] > 0
    end = metrics_of(threads)
    assert end["frostmap_steps_done"] == 5
    assert end["frostmap_left_seconds"] == 0
    assert end["frostmap_written_bytes"] == runs(root / "work")[0].cost.bytes_written
    assert "dask_scheduler_tasks_forgotten_total" in end  # Dask's own are there, too


def test_a_scheduler_without_prometheus_is_asked_once(threads: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    asked_for: list[object] = []
    ask = threads.run_on_scheduler
    monkeypatch.setattr(threads, "run_on_scheduler", lambda *args, **kw: asked_for.append(args) or ask(*args, **kw))
    gauges = Gauges(threads)
    for _ in range(3):
        gauges.tell({"steps": 1.0})
    assert len(asked_for) == 1
