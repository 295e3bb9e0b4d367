"""What the tutorial and the how-tos tell a reader to type works as it is written, on a small simulated run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from distributed import Client
from typer.testing import CliRunner

from frostmap.pipeline.cli import app

from .conftest import Finished, recipe_content
from .test_documentation import PAGES, Block, blocks_of, commands_in, merged

TYPED = [page for page in PAGES if any(block.mark.startswith("runs") for block in blocks_of(page))]


@pytest.fixture
def reader(pristine: Finished, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of somebody who ran the demo; it is the current one."""
    demo = tmp_path / "frostmap-demo"
    shutil.copytree(pristine.folder, demo)
    (demo / "archive").symlink_to(archive)
    (demo / "recipe.yaml").write_text(yaml.safe_dump(recipe_content(archive)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def follow(page: Path, folder: Path, client: Client, *, slow: bool) -> None:
    """Do what the marked blocks of a page say, in their order."""
    for block in blocks_of(page):
        action, _, rest = block.mark.partition(" ")
        if action == "writes":
            (folder / rest).write_text(block.text, encoding="utf-8")
        elif action == "into":
            recipe = folder / rest
            changed = merged(yaml.safe_load(recipe.read_text(encoding="utf-8")), yaml.safe_load(block.text))
            recipe.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
        elif action == "runs" and (slow or rest != "slow"):
            if block.kind == "python":
                exec(compile(block.text, str(block), "exec"), {})  # noqa: S102 - our own pages
            else:
                type_in(block, folder, client)


def type_in(block: Block, folder: Path, client: Client) -> None:
    """Type the lines of a block: frostmap's own in this process and on its workers, others in a shell."""
    for line in block.text.splitlines():
        calls = list(commands_in(block._replace(text=line)))
        if not calls:
            subprocess.run(line, shell=True, check=True, cwd=folder)  # noqa: S602 - our own pages
            continue
        words = calls[0]
        if words[0] == "run":
            words = [*words, "--scheduler", client.scheduler.address]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{block}: {line}\n{result.output}"


@pytest.mark.pages
@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.stem)
def test_what_a_page_says_works(page: Path, reader: Path, client: Client) -> None:
    follow(page, reader, client, slow=False)


@pytest.mark.pages
def test_the_tutorial_works_to_its_end(reader: Path, client: Client) -> None:
    follow(next(page for page in TYPED if page.stem == "first-map"), reader, client, slow=True)
    assert (reader / "piece-work" / "report" / "index.html").exists()
