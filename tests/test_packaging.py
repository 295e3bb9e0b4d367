"""What the package says of itself is the same everywhere: pyproject.toml, CITATION.cff, the recipe for conda."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECIPE = yaml.safe_load((ROOT / "deploy" / "conda-forge" / "recipe.yaml").read_text(encoding="utf-8"))

ON_CONDA = {"dask": "dask-core", "matplotlib": "matplotlib-base", "isal": "python-isal", "xxhash": "python-xxhash"}
"""Packages that conda-forge calls differently."""


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == citation["version"] == RECIPE["context"]["version"]


def test_the_recipe_for_conda_needs_what_the_package_needs() -> None:
    wanted = {}
    for requirement in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(.*)", requirement).groups()
        wanted[ON_CONDA.get(name, name)] = bound
    found = dict([*requirement.split(" ", 1), ""][:2] for requirement in RECIPE["requirements"]["run"])
    found.pop("python")
    assert found == wanted


def test_the_metadata_is_whole() -> None:
    said = metadata("frostmap")
    for field in ("Summary", "License-Expression", "Requires-Python", "Description-Content-Type", "Keywords"):
        assert said[field], field
    assert {line.split(",")[0] for line in said.get_all("Project-URL")} >= {"Documentation", "Source"}
    assert all(" :: " in classifier for classifier in said.get_all("Classifier"))
