"""A disk that is full or read-only, a real one: whatever was not written, the next run goes on to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from frostmap.pipeline.cli import app

from .processes import Run, small_run
from .small_chain import in_place, tasks_run

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def chain() -> Iterator[None]:
    """Put the small chain in the place of the real one."""
    with in_place():
        yield


@contextmanager
def mounted(folder: Path, pages: int) -> Iterator[Path]:
    """Yield a folder that is a disk of its own, of so many pages of memory."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "tmpfs", folder]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here (it takes root): {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def started(small: Run, *options: str) -> Result:
    arguments = [str(small.recipe), "--workdir", str(small.folder), "--cluster", "threads", "--json", *options]
    return CliRunner().invoke(app, ["run", *arguments])


def said(result: Result) -> dict[str, str]:
    error: dict[str, str] = json.loads(result.stdout.splitlines()[-1])["error"]
    return error


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what a run makes that nothing disturbs."""
    whole = small_run(tmp_path_factory.mktemp("undisturbed"))
    result = started(whole)
    assert result.exit_code == 0, result.output
    return whole.made()


def fill(disk: Path, free: int) -> Path:
    """Take all of a disk but so many pages."""
    filler = disk / "filler"
    status = os.statvfs(disk)
    filler.write_bytes(bytes((status.f_bavail - free) * status.f_frsize))
    return filler


def test_a_disk_that_is_full_at_any_moment_costs_what_was_not_written(
    tmp_path: Path, undisturbed: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each run has a few pages more than the one before: it gets so much further."""
    small = small_run(tmp_path)
    stood: dict[str, tuple[int, str]] = {}
    reached = list[int]()
    with mounted(small.folder, 1000):
        while True:
            filler = fill(small.folder, 7)
            result = started(small)
            filler.unlink()
            now = small.records()
            assert {name: now[name] for name in stood} == stood, "what stood was made again"
            stood = now
            if result.exit_code == 0:
                break
            assert result.exit_code in (1, 2), result.output
            error = said(result)
            assert "traceback" not in error, error
            assert "space on its disk" in error["remedy"] or "not full" in error["remedy"]
            reached.append(len(tasks_run(tmp_path)))
            assert len(reached) < 40, "it does not get on"
        assert len(reached) > 3
        assert small.made() == undisturbed
    assert "Traceback" not in capfd.readouterr().err, "a log that cannot be written is nothing to shout about"


def test_a_read_only_work_directory_is_refused_and_can_be_looked_at(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    small = small_run(tmp_path)

    def remounted(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", small.folder], check=True)

    with mounted(small.folder, 1000):
        assert started(small, "--until", "gather").exit_code == 0
        stood = small.records()
        remounted("ro")
        try:
            result = started(small)
            assert result.exit_code == 2, result.output
            assert "Read-only file system" in said(result)["found"]
            for command in (["status", small.folder], ["plan", small.recipe, "--workdir", small.folder]):
                looked = CliRunner().invoke(app, [*map(str, command), "--json"])
                assert looked.exit_code == 0, looked.output
        finally:
            remounted("rw")
        assert small.records() == stood
        assert started(small).exit_code == 0
        now = small.records()
        assert {name: now[name] for name in stood} == stood, "what stood was made again"
        assert small.made() == undisturbed
