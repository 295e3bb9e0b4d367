"""Every link in the documentation leads somewhere, every command in it exists, and every piece of a recipe fits."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml

from frostmap.catalogs.collections import parse_collection
from frostmap.pipeline.cli import app
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.recipes import bundled

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted(ROOT.glob("deploy/**/*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*) -->\n)?^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    mark: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, with the comment above each as its mark."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["mark"] or "", found["kind"], found["text"])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def merged(base: Any, changes: Any) -> Any:
    """Return plain data with some keys changed, as a reader of `change these keys` does."""
    if isinstance(base, dict) and isinstance(changes, dict):
        return base | {key: merged(base.get(key), value) for key, value in changes.items()}
    return changes


def commands_in(block: Block) -> Iterator[list[str]]:
    """Yield the words of the lines that call frostmap."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        if words and words[0].removeprefix(".venv/bin/") == "frostmap":
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            assert target.startswith("https://") or "127.0.0.1" in target, target
            continue
        there = (page.parent / path).resolve() if path else page
        made = there.is_relative_to(ROOT / "docs" / "reference")  # when the site is built, and checked there
        assert made or there.exists(), f"{page.relative_to(ROOT)}: {target}"
        if anchor and there.suffix == ".md" and not made:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
            }, f"{page.relative_to(ROOT)}: {target}"


CALLS = [block for block in BLOCKS if "frostmap" in block.text and block.kind != "python"]


@pytest.mark.parametrize("block", CALLS, ids=str)
def test_commands_exist_with_their_options(block: Block) -> None:
    for words in commands_in(block):
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{block}: frostmap {' '.join(words)}"
            command, words = command.commands[words[0]], words[1:]
        if words != ["--version"]:
            command.make_context("frostmap", words, resilient_parsing=False)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "yaml"], ids=str)
def test_a_piece_of_yaml_fits_what_it_is_a_piece_of(block: Block) -> None:
    piece = yaml.safe_load(block.text)
    if block.mark == "a product":
        assert parse_collection(block.text).bands
        return
    if not set(piece) <= set(Recipe.model_fields):
        pytest.skip("of no recipe")
    parse_recipe(yaml.safe_dump(merged(yaml.safe_load(bundled("demo")), piece)), ROOT / "recipe.yaml")


def test_a_mark_says_what_is_done_with_a_block() -> None:
    known = re.compile(r"|runs|runs slow|fits|a product|into [\w.-]+|writes [\w.-]+")
    assert not [f"{block}: {block.mark}" for block in BLOCKS if not known.fullmatch(block.mark)]
