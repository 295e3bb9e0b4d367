"""The three source roots make one namespace, and nothing hides a part of it."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("kernels", "catalogs", "pipeline")


@pytest.mark.parametrize("part", PARTS)
def test_no_init_file_hides_the_other_parts(part: str) -> None:
    assert not (ROOT / part / "frostmap" / "__init__.py").exists()


@pytest.mark.parametrize("part", PARTS)
def test_a_root_holds_the_namespace_and_nothing_else(part: str) -> None:
    inside = {path.name for path in (ROOT / part).iterdir() if path.name != "__pycache__"}
    assert inside == {"frostmap"}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_typed_and_documented(part: str) -> None:
    module = importlib.import_module(f"frostmap.{part}")
    assert module.__doc__
    assert (ROOT / part / "frostmap" / part / "py.typed").exists()


def test_no_file_has_a_name_that_says_nothing() -> None:
    names = {path.stem for part in PARTS for path in (ROOT / part).rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc", "base", "core"}


def test_no_file_uses_both_numba_and_dask() -> None:
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not ("numba" in text and "import dask" in text), path
