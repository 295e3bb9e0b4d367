"""Machine code on disk: found again by other processes, never that of other sources, never of another variant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")

CALLEE = "from frostmap.kernels.compiled import compiled\n\n@compiled\ndef inner(x):\n    return x + {added}\n"
CALLER = (
    "from callee import inner\nfrom frostmap.kernels.compiled import compiled\n\n"
    "@compiled\ndef outer(x):\n    return 2 * inner(x)\n"
)
CALL = "from caller import outer; print(outer({x!r}), sum(outer.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with two kernels, of which one calls the other's."""
    (tmp_path / "callee.py").write_text(CALLEE.format(added=1), encoding="utf-8")
    (tmp_path / "caller.py").write_text(CALLER, encoding="utf-8")
    return tmp_path


def start(package: Path, code: str, **settings: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(package), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, **settings}
    return subprocess.Popen(
        [sys.executable, "-B", "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip()


def test_a_second_process_loads_what_the_first_has_compiled(package: Path) -> None:
    assert said(start(package, CALL.format(x=1))) == "4 0"
    assert said(start(package, CALL.format(x=1))) == "4 1"


def test_a_change_of_what_a_kernel_calls_is_seen(package: Path) -> None:
    """Numba itself looks only at the file of the kernel."""
    assert said(start(package, CALL.format(x=1))) == "4 0"
    (package / "callee.py").write_text(CALLEE.format(added=2), encoding="utf-8")
    assert said(start(package, CALL.format(x=1))) == "6 0"


def test_processes_that_compile_variants_at_once_do_not_mix_them_up(package: Path) -> None:
    values = (1, 1.5, 2j, True)
    processes = [start(package, CALL.format(x=x)) for x in values]
    results = [str(2 * (x + 1)) for x in values]
    assert [said(process).split()[0] for process in processes] == results
    every = "from caller import outer; print(*(outer(x) for x in {values}), sum(outer.stats.cache_hits.values()))"
    assert said(start(package, every.format(values=values))).split() == [*results, "4"]


def test_where_nothing_may_be_written_nothing_is_kept(package: Path) -> None:
    (package / "file").touch()
    for _ in range(2):
        assert said(start(package, CALL.format(x=1), NUMBA_CACHE_DIR=str(package / "file"))) == "4 0"


def test_code_is_kept_where_numba_is_told_to_keep_it(package: Path) -> None:
    where = package / "elsewhere"
    assert said(start(package, CALL.format(x=1), NUMBA_CACHE_DIR=str(where))) == "4 0"
    assert list((where / "frostmap").glob("machine-code-*/**/*.nbc"))
    assert not (package / "__pycache__").exists()
