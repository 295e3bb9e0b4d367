"""Notebooks run from top to bottom, show pictures, define nothing, and are kept without outputs."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from .conftest import Finished, recipe_content

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def test_notebooks_are_numbered_from_one() -> None:
    assert [int(name[:2]) for name in NAMES] == list(range(1, len(NAMES) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_defines_nothing(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code").replace("%matplotlib inline", "")
    made = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.Lambda)
    assert not [node for node in ast.walk(ast.parse(code)) if isinstance(node, made)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_own_pictures_of_a_notebook_say_that_they_are_simulated(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert not [source for source in cells if "plt.subplots" in source and "headline(" not in source]


@pytest.mark.pages
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter's own parts
def test_a_notebook_runs_and_shows_pictures(
    path: Path, finished: Finished, archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (finished.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_content(archive)), encoding="utf-8")
    monkeypatch.setenv("FROSTMAP_WORK", str(finished.folder))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    done = NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output.get("name") == "stderr"]
