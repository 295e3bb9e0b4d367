"""The manifests against the schemas of current Kubernetes and of the Dask operator, the image against a linter."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, TOOLS, tool

Document = dict[str, Any]

VERSIONS = ("1.32", "1.37")
OF_DASK = "kubernetes.dask.org/v1"


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(rendered: list[Document], version: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(each for each in rendered if each["apiVersion"] != OF_DASK), encoding="utf-8")
    command = [tool("kubernetes-validate"), "--strict", "-k", version, path]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


JUDGE = """
import json, sys
from jsonschema import Draft202012Validator
for schema, judged in json.load(sys.stdin):
    Draft202012Validator(schema).validate(judged)
"""


@functools.cache
def schemas_of_the_operator() -> dict[str, Document]:
    """Return the operator's own definitions, by kind."""
    tool("kopf")
    schemas = {}
    for path in TOOLS.glob("lib/python*/site-packages/dask_kubernetes/operator/deployment/helm/*/crds/*.yaml"):
        defined = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        schema = closed(defined["versions"][0]["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
        schemas[defined["names"]["kind"]] = schema
    return schemas


def judged_by_the_operator(objects: list[Document]) -> str:
    """Return what is wrong with the objects of the Dask operator; empty where nothing is."""
    schemas = schemas_of_the_operator()
    pairs = [(schemas[each["kind"]], each) for each in objects if each["apiVersion"] == OF_DASK]
    assert pairs
    command = [tool("python"), "-c", JUDGE]
    return subprocess.run(command, input=json.dumps(pairs), capture_output=True, text=True, check=False).stderr


def test_the_operator_knows_every_field(rendered: list[Document]) -> None:
    assert judged_by_the_operator(rendered) == ""


@pytest.mark.parametrize("place", ["spec", "spec.worker.spec.containers.0", "spec.scheduler.service"])
def test_a_field_that_the_operator_does_not_know_is_found(base: list[Document], place: str) -> None:
    [cluster] = [copy.deepcopy(each) for each in base if each["kind"] == "DaskCluster"]
    node: Any = cluster
    for key in place.split("."):
        node = node[int(key) if key.isdigit() else key]
    node["readynessProbe"] = {}
    assert "readynessProbe" in judged_by_the_operator([cluster])


def closed(schema: Document) -> Document:
    """Return a schema that refuses what it does not name; the API server would drop that without a word."""
    changed: Document = {}
    for name, value in schema.items():
        if name == "properties":
            changed[name] = {key: closed(part) for key, part in value.items()}
        elif name in {"items", "additionalProperties"} and isinstance(value, dict):
            changed[name] = closed(value)
        else:
            changed[name] = value
    if "properties" in changed and "additionalProperties" not in changed:
        changed["additionalProperties"] = bool(changed.get("x-kubernetes-preserve-unknown-fields"))
    return changed


def test_a_linter_has_nothing_to_say_of_the_image() -> None:
    command = [tool("hadolint"), ROOT / "deploy" / "Containerfile"]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
