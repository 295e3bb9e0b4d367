"""The manifests and `--cluster kubernetes` on a real Kubernetes, with the real operator and the real image.

A cluster of one node, which is this machine, is named by its kubeconfig in ``FROSTMAP_ONE_NODE``. It has the Dask
operator at work and the image ``localhost/frostmap:0.1.0`` of this source; README.md says how to make them. What a test
makes goes with it. Without such a cluster the tests are skipped.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from frostmap.pipeline.clusters.kubernetes import is_ready
from frostmap.pipeline.ledger import CHUNKS, read_all
from frostmap.pipeline.recipes import with_values

from .conftest import KUBERNETES, ROOT, Document, documents, kubectl

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

USER = 10001
"""As whom the pods run."""
UNTIL = "ingest"
"""How far runs go that are disturbed."""
OUTGROWN_GIB = 0.3
"""A worker starts with that and makes the raw cube, but cannot fill its gaps."""
OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: frostmap
resources: [{base}, volume.yaml]
patches:
  - target: {{kind: PersistentVolumeClaim}}
    patch: |-
      - {{op: add, path: /spec/storageClassName, value: ""}}
      - {{op: add, path: /spec/volumeName, value: {volume}}}
  - target: {{kind: DaskCluster}}
    patch: |-
      - {{op: replace, path: /spec/worker/spec/containers/0/volumeMounts/0/mountPath, value: {folder}}}
  - target: {{kind: Job}}
    patch: |-
      - {{op: replace, path: /spec/template/spec/containers/0/volumeMounts/0/mountPath, value: {folder}}}
      - {{op: replace, path: /spec/template/spec/containers/0/args/4, value: {folder}/demo}}
      - {{op: remove, path: /spec/podFailurePolicy}} # of 1.26 and later
"""
VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {volume}}}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {{storage: 5Gi}}
  hostPath: {{path: {folder}}}
  persistentVolumeReclaimPolicy: Retain
"""


@dataclass(frozen=True)
class Node:
    """A Kubernetes of one node, and a folder that it and this process have in common."""

    kubeconfig: str
    folder: Path
    manifest: Path
    certificates: Path

    def do(self, *arguments: str, given: str | None = None) -> str:
        """Return what kubectl says, of the namespace frostmap."""
        command = [kubectl(), f"--kubeconfig={self.kubeconfig}", "--namespace=frostmap", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, kind: str, *options: str) -> list[Document]:
        found: list[Document] = json.loads(self.do("get", kind, "-o", "json", *options))["items"]
        return found

    def workers(self) -> list[Document]:
        return self.get("pods", "-l", "dask.org/component=worker")

    def recipe(self, **settings: Any) -> Path:
        """Return the demo's recipe, to be run by pods."""
        text = (self.folder / "demo" / "recipe.yaml").read_text(encoding="utf-8")
        values: dict[str, Any] = {
            "data": str(self.folder / "demo" / yaml.safe_load(text)["data"]),
            "cluster.kubernetes": {"manifest": str(self.manifest)},
            "cluster.tls": {
                "ca": str(self.certificates / "ca.crt"),
                "cert": str(self.certificates / "tls.crt"),
                "key": str(self.certificates / "tls.key"),
            },
        }
        values |= {f"cluster.{name}": value for name, value in settings.items()}
        path = self.folder / f"recipe-{len(list(self.folder.glob('recipe-*')))}.yaml"
        path.write_text(with_values(text, values), encoding="utf-8")
        return path

    def start(self, workdir: str, recipe: Path, until: str | None = UNTIL) -> subprocess.Popen[str]:
        """Start a run with pods of its own, as the account that may do no more than that."""
        code = "from frostmap.pipeline.cli import main; main()"
        arguments = ["run", str(recipe), "--workdir", str(self.folder / workdir), "--cluster", "kubernetes", "--json"]
        arguments += ["--until", until] if until else []
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"KUBECONFIG": str(self.manifest.parent / "client.kubeconfig")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=0,  # the pods, of another user, write beside what this one makes
        )

    def records(self, workdir: str) -> dict[str, int]:
        """Return when each record of chunks of a run was written."""
        folder = self.folder / workdir / CHUNKS
        return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.json")}

    def contents(self, workdir: str) -> dict[str, str]:
        """Return the digest of what each step of a run made; not of maps and report, which name the recipe."""
        records = read_all(self.folder / workdir / "ledger")
        return {each.step: each.content for each in records if not each.step.startswith(("maps", "report"))}


def until(what: Callable[[], Any], within: float, doing: str) -> Any:
    give_up = time.monotonic() + within
    while not (found := what()):
        assert time.monotonic() < give_up, f"{doing}: not within {within:g} s"
        time.sleep(1)
    return found


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Yield the cluster with namespace, certificates, volume and rights; the manifest is rendered, but not applied."""
    kubeconfig = os.environ.get("FROSTMAP_ONE_NODE")
    if not kubeconfig:
        pytest.skip("FROSTMAP_ONE_NODE names no kubeconfig of a Kubernetes whose only node is this machine")
    with tempfile.TemporaryDirectory(prefix="frostmap-one-node-", dir="/var/tmp") as place:
        home = Path(place)
        home.chmod(0o755)
        (home / "work").mkdir()
        os.chown(home / "work", USER, USER)
        (home / "work").chmod(0o777)
        words = {
            "base": os.path.relpath(KUBERNETES / "local", home),
            "volume": f"frostmap-one-node-{uuid.uuid4().hex}",
            "folder": home / "work",
        }
        (home / "kustomization.yaml").write_text(OVERLAY.format(**words), encoding="utf-8")
        (home / "volume.yaml").write_text(VOLUME.format(**words), encoding="utf-8")
        rendered = subprocess.run(
            [kubectl(), "kustomize", str(home)], capture_output=True, text=True, check=True
        ).stdout
        (home / "cluster.yaml").write_text(rendered, encoding="utf-8")
        subprocess.run([ROOT / "deploy" / "certificates.sh", home / "certificates"], check=True, capture_output=True)
        made = Node(kubeconfig, home / "work", home / "cluster.yaml", home / "certificates")
        parts = [each for each in documents(rendered) if each["kind"] not in {"DaskCluster", "DaskAutoscaler", "Job"}]
        try:
            made.do("apply", "-f", "-", given=yaml.safe_dump_all(parts))
            made.do("create", "secret", "generic", "frostmap-tls", f"--from-file={made.certificates}")
            (home / "client.kubeconfig").write_text(as_client(made), encoding="utf-8")
            yield made
        finally:
            made.do("delete", "-f", str(made.manifest), "--ignore-not-found", "--timeout=180s")


def as_client(node: Node) -> str:
    """Return a kubeconfig of the account frostmap-client."""
    account = node.get("serviceaccounts", "--field-selector=metadata.name=frostmap-client")[0]
    if account.get("secrets"):  # before 1.24
        name = account["secrets"][0]["name"]
        token = node.do("get", "secret", name, "-o", "go-template={{.data.token|base64decode}}")
    else:
        token = node.do("create", "token", "frostmap-client").strip()
    config = yaml.safe_load(node.do("config", "view", "--raw", "--flatten", "--minify"))
    config["users"][0]["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = "frostmap"
    return yaml.safe_dump(config)


@pytest.fixture(scope="module")
def demo(node: Node) -> dict[str, str]:
    """Return what the job of the manifests made of the demo: the digest of each step."""
    node.do("apply", "-f", str(node.manifest))

    def ended() -> str:
        conditions = node.get("jobs")[0]["status"].get("conditions", [])
        return next((each["type"] for each in conditions if each["status"] == "True"), "")

    how = until(ended, 1200, "the job")
    assert how == "Complete", node.do("logs", "job/frostmap")
    until(lambda: len(node.workers()) == 1, 120, "the autoscaler lets a worker go")
    node.do("delete", "job", "frostmap")
    node.do("delete", "daskcluster", "frostmap", "--timeout=120s")
    return node.contents("demo")


def test_apply_brings_the_demo_to_its_map(node: Node, demo: dict[str, str]) -> None:
    assert any(name.startswith("frozen_ground") for name in demo)
    assert (node.folder / "demo" / "report" / "index.html").is_file()
    assert list((node.folder / "demo").glob("maps/*.tif"))
    assert (node.folder / "demo" / "metrics.json").is_file()


def same_as(demo: dict[str, str], contents: dict[str, str]) -> bool:
    """Say whether a run made what the demo did, bit for bit, as far as it went."""
    return any(name.startswith(UNTIL) for name in contents) and contents.items() <= demo.items()


def rights(node: Node, account: str, namespace: str = "frostmap") -> set[tuple[str, str]]:
    """Return what an account may do: a verb, and to what."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    who = f"--as=system:serviceaccount:frostmap:{account}"
    rules = json.loads(node.do("create", "-f", "-", "-o", "json", who, given=json.dumps(review)))["status"]
    return {pair for rule in rules["resourceRules"] for pair in itertools.product(rule["verbs"], rule["resources"])}


def test_the_client_may_do_what_a_run_takes_and_pods_nothing(node: Node) -> None:
    of_anybody = rights(node, "frostmap")
    assert {resource for _, resource in of_anybody} <= {
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    }
    assert rights(node, "frostmap-client") - of_anybody == {
        *itertools.product(["create", "get", "list", "delete"], ["daskclusters"]),
        *itertools.product(["get", "list"], ["pods", "services"]),
        *itertools.product(["get", "create"], ["pods/portforward"]),
        ("create", "daskautoscalers"),
    }
    assert rights(node, "frostmap-client", "default") == of_anybody


def steps_of(run: subprocess.Popen[str]) -> Iterator[Document]:
    assert run.stdout is not None
    return map(json.loads, run.stdout)


def test_a_run_makes_its_pods_as_many_as_there_is_work_for_and_removes_them(node: Node, demo: dict[str, str]) -> None:
    run = node.start("pods", node.recipe(workers=1), until=None)
    at_once = 0
    for event in steps_of(run):
        if event.get("event") == "progress":
            at_once = max(at_once, sum(map(is_ready, node.workers())))
    _, errors = run.communicate(timeout=1200)
    assert run.returncode == 0, errors
    assert at_once == 2
    assert node.contents("pods") == demo
    assert node.get("daskclusters") == node.get("pods") == []


def test_a_worker_that_is_deleted_costs_no_result(node: Node, demo: dict[str, str]) -> None:
    run = node.start("deleted", node.recipe(workers=2))
    victims, event = list[str](), Document()
    for event in steps_of(run):
        if event.get("event") == "progress" and len(victims) < 2 and event["done"] > 2 * len(victims):
            name = node.workers()[0]["metadata"]["name"]
            node.do("delete", "pod", name, "--wait=false", "--grace-period=0", "--force")
            victims.append(name)
    _, errors = run.communicate(timeout=1200)
    assert run.returncode == 0, (event, errors)
    assert len(set(victims)) == 2
    assert same_as(demo, node.contents("deleted"))


def test_a_scheduler_that_is_lost_ends_the_run_with_an_error_that_says_so_and_the_next_goes_on(
    node: Node, demo: dict[str, str]
) -> None:
    run = node.start("lost", node.recipe(workers=2))
    lost, last = False, Document()
    for last in steps_of(run):
        if last.get("event") == "progress" and not lost:
            [scheduler] = node.get("pods", "-l", "dask.org/component=scheduler")
            node.do("delete", "pod", scheduler["metadata"]["name"], "--grace-period=0", "--force")
            lost = True
    _, errors = run.communicate(timeout=180)
    assert last.get("error", {}).get("kind") == "ClusterLost", (last, errors)
    assert run.returncode == last["exit_code"] != 0
    assert "run again" in last["error"]["remedy"]
    assert node.get("daskclusters") == []
    stood = node.records("lost")
    again = node.start("lost", node.recipe(workers=2))
    _, errors = again.communicate(timeout=1200)
    assert again.returncode == 0, errors
    assert stood.items() <= node.records("lost").items()
    assert same_as(demo, node.contents("lost"))


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(node: Node, demo: dict[str, str], ended_by: signal.Signals) -> None:
    assert demo
    run = node.start(f"interrupted-{ended_by.name}", node.recipe(workers=1))
    events = itertools.dropwhile(lambda event: event.get("event") != "progress", steps_of(run))
    assert next(events)
    assert len(node.get("daskclusters")) == 1
    run.send_signal(ended_by)
    run.communicate(timeout=180)
    assert run.returncode == 130
    assert node.get("daskclusters") == []
    until(lambda: not node.get("pods"), 60, "the pods go")


def test_what_outgrows_its_memory_is_named_and_the_run_goes_on_with_more(node: Node, demo: dict[str, str]) -> None:
    """Workers are not told how little their containers have: else Dask would spill, and `run` refuse."""
    deceived = node.manifest.with_name("deceived.yaml")
    text, told = node.manifest.read_text(encoding="utf-8"), "- --memory-limit\n        - "
    assert told in text
    deceived.write_text(text.replace(f'{told}"1.0"', f'{told}"0"'), encoding="utf-8")
    last = "gap_filling"
    run = node.start(
        "memory", node.recipe(kubernetes={"manifest": str(deceived)}, workers=1, memory_gib=OUTGROWN_GIB), last
    )
    reasons: set[str] = set()
    while run.poll() is None:
        for pod in node.workers():
            for container in pod["status"].get("containerStatuses", []):
                for state in (container["state"], container.get("lastState", {})):
                    reasons.add(state.get("terminated", {}).get("reason", ""))
        time.sleep(1)
    said, errors = run.communicate()
    assert run.returncode == 2, said + errors
    assert "memory" in json.loads(said.splitlines()[-1])["error"]["what"]
    assert "OOMKilled" in reasons, said
    again = node.start("memory", node.recipe(workers=2), last)
    _, errors = again.communicate(timeout=1200)
    assert again.returncode == 0, errors
    assert same_as(demo, node.contents("memory"))
