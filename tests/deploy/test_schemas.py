"""The manifests against the schemas of current Kubernetes and of the Dask operator, both against linters."""

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


DECIDED = {
    "CKV_K8S_9": "no service leads to a worker: the scheduler knows who has come; its own probe is in test_manifests",
    "CKV_K8S_11": "no limit of CPU: what is idle may be used; requests keep it fair",
    "CKV_K8S_15": "the image is built by who uses it, and may be on the node only",
    "CKV_K8S_35": "the object store's client reads its keys from the environment",
    "CKV_K8S_43": "a digest is known when the image is built, not before",
}
"""What a scanner would have otherwise, and why it is not so."""


def test_a_scanner_finds_nothing_in_the_manifests_that_was_not_decided(
    rendered: list[Document], tmp_path: Path
) -> None:
    """It does not know of DaskClusters: their pods are shown to it as pods."""
    judged = scanned([*rendered, *pods_of_the_cluster(rendered)], tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "Passed checks" in judged.stdout


def test_a_pod_that_may_do_more_is_found_by_the_scanner(rendered: list[Document], tmp_path: Path) -> None:
    worse = copy.deepcopy(pods_of_the_cluster(rendered))
    worse[1]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    judged = scanned(worse, tmp_path)
    assert judged.returncode != 0
    assert "CKV_K8S_20" in judged.stdout


def pods_of_the_cluster(objects: list[Document]) -> list[Document]:
    """Return what the operator makes of a DaskCluster, as pods."""
    [cluster] = [each for each in objects if each["kind"] == "DaskCluster"]
    names = {"namespace": cluster["metadata"]["namespace"]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": names | {"name": part}, "spec": cluster["spec"][part]["spec"]}
        for part in ("scheduler", "worker")
    ]


def scanned(objects: list[Document], folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    options = ["--framework", "kubernetes", "--skip-download", "--compact", "--skip-check", ",".join(DECIDED)]
    return subprocess.run([tool("checkov"), "-f", path, *options], capture_output=True, text=True, check=False)
