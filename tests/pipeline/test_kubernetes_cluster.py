"""A cluster of pods as a run makes it, with a kubectl that only plays: what it is told, and that all goes again."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask.delayed import delayed
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from frostmap.pipeline.cli import app
from frostmap.pipeline.clusters import open_cluster, refuse_unshared, shared_folder
from frostmap.pipeline.clusters.kubectl import Kubectl
from frostmap.pipeline.clusters.kubernetes import forwarded_dashboard, read_manifest, renamed
from frostmap.pipeline.clusters.loss import ClusterLost, ConnectionEnded
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.recipes import bundled, with_values
from frostmap.pipeline.submission import compute

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "base" / "cluster.yaml"

PLAYED = """
import json, os, sys, time
folder = os.environ["PLAYED"]
answers = json.load(open(folder + "/answers.json"))
arguments = [argument for argument in sys.argv[1:] if not argument.startswith(("--context", "--namespace"))]
given = sys.stdin.read() if arguments[0] == "create" else ""
with open(folder + "/calls.jsonl", "a") as file:
    file.write(json.dumps([sys.argv[1:], given]) + "\\n")
if arguments[0] == "get":
    removed = any(json.loads(line)[0][-1] == "--cascade=background" for line in open(folder + "/calls.jsonl"))
    print(json.dumps({"items": [] if removed else answers["pods"]}))
elif arguments[0] == "port-forward":
    for port in answers["ports"]:
        print(f"Forwarding from 127.0.0.1:{port} -> 8786", flush=True)
    time.sleep(answers.get("forwards_s", 600))
    sys.exit("error: lost connection to pod")
elif answers.get("refused") == arguments[0]:
    sys.exit("Error from server (Forbidden): you may not")
"""

READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


class Played:
    """A kubectl that notes what it is told, and answers what it was told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(f"#!{sys.executable}\n{PLAYED}", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.answer(pods=[READY], ports=[1, 2])

    def answer(self, **answers: Any) -> None:
        (self.folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")

    @property
    def calls(self) -> list[tuple[list[str], str]]:
        lines = (self.folder / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        return [(arguments, given) for arguments, given in map(json.loads, lines)]

    def made(self) -> list[dict[str, Any]]:
        return [json.loads(given) for _, given in self.calls if given]

    def removed(self) -> list[str]:
        return [arguments[arguments.index("delete") + 2] for arguments, _ in self.calls if "delete" in arguments]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    folder = tmp_path / "played"
    folder.mkdir()
    monkeypatch.setenv("PLAYED", str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return Played(folder)


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[LocalCluster]:
    options = {"protocol": "tcp", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, processes=False, **options) as cluster:
        yield cluster


def recipe_in(folder: Path, manifest: str | None = None, **settings: Any) -> Recipe:
    path = folder / "cluster.yaml"
    path.write_text(manifest or BASE.read_text(encoding="utf-8"), encoding="utf-8")
    values = {"data": str(folder), "cluster.kubernetes": {"manifest": str(path), "context": "test"}}
    values |= {f"cluster.{name}": value for name, value in settings.items()}
    return parse_recipe(with_values(bundled("demo"), values), folder / "demo.yaml")


def in_the_clear() -> str:
    return BASE.read_text(encoding="utf-8").replace("tls://", "tcp://")


def open_and_close(recipe: Recipe) -> list[str]:
    said: list[str] = []
    with open_cluster(recipe, "kubernetes", said.append) as opened:
        assert opened.client.submit(sum, [1, 2]).result() == 3
        assert opened.dashboard.endswith("/status")
    return said


def test_a_cluster_is_made_used_and_removed(tmp_path: Path, played: Played, dask_cluster: LocalCluster) -> None:
    port = int(dask_cluster.scheduler_address.rpartition(":")[2])
    played.answer(pods=[READY], ports=[port, 4])
    said = open_and_close(recipe_in(tmp_path, in_the_clear(), workers=3, memory_gib=2.5, allow_unencrypted=True))
    [made] = played.made()
    name = made["metadata"]["name"]
    assert name.startswith("frostmap-")
    assert played.removed() == [name]
    assert said[0] == f"making cluster {name}"
    assert all(arguments[0] == "--context=test" for arguments, _ in played.calls)
    assert made["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
    assert made["spec"]["worker"]["replicas"] == 3
    [worker] = made["spec"]["worker"]["spec"]["containers"]
    assert worker["resources"]["limits"]["memory"] == worker["resources"]["requests"]["memory"] == "2560Mi"
    assert worker["env"][0]["value"] == f"tcp://{name}-scheduler:8786"


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_is_removed_when_the_run_is_interrupted(
    tmp_path: Path, played: Played, dask_cluster: LocalCluster, ended_by: signal.Signals
) -> None:
    port = int(dask_cluster.scheduler_address.rpartition(":")[2])
    played.answer(pods=[READY], ports=[port, 4])
    recipe = recipe_in(tmp_path, in_the_clear(), allow_unencrypted=True)

    def be_interrupted() -> None:
        with open_cluster(recipe, "kubernetes"):
            threading.Timer(0.2, os.kill, [os.getpid(), ended_by]).start()
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert played.removed() == [played.made()[0]["metadata"]["name"]]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (
            [{"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}],
            "OOMKilled",
        ),
        ([{"state": {"running": {}}}], "the connection to it ended"),
        (None, "its pod was deleted"),
    ],
)
def test_a_scheduler_that_is_lost_is_an_error_that_says_what_became_of_it(
    tmp_path: Path, played: Played, left: list[dict[str, Any]] | None, said: str
) -> None:
    pod = READY | {"metadata": {"uid": "1"}}
    options: dict[str, Any] = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    recipe = recipe_in(tmp_path, in_the_clear(), allow_unencrypted=True)
    with LocalCluster(**options, host="127.0.0.1", protocol="tcp://") as cluster:
        played.answer(pods=[pod], ports=[int(cluster.scheduler_address.rpartition(":")[2]), 4])

        def be_lost(_done: int) -> None:
            ended = {"status": {"containerStatuses": left}, "metadata": {"uid": "1"}}
            played.answer(pods=[ended if left else pod | {"metadata": {"uid": "2"}}], ports=[])
            cluster.close()

        def use() -> None:
            with open_cluster(recipe, "kubernetes") as opened:
                compute(opened.client, [delayed(slow, pure=False)(number) for number in range(9)], be_lost)

        with pytest.raises(ClusterLost, match=said) as caught:
            use()
    assert "run again" in caught.value.remedy
    assert isinstance(caught.value, ConnectionEnded) == (said == "the connection to it ended")
    assert played.removed() == [played.made()[0]["metadata"]["name"]]


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


def test_it_is_removed_when_it_does_not_start(tmp_path: Path, played: Played) -> None:
    container = {"state": {"waiting": {"reason": "ErrImageNeverPull", "message": "no such image"}}}
    played.answer(pods=[{"status": {"containerStatuses": [container]}}], ports=[])
    with pytest.raises(UserError, match=r"(?s)does not start.*ErrImageNeverPull: no such image"):
        open_and_close(recipe_in(tmp_path, start_seconds=1))
    assert played.removed() == [played.made()[0]["metadata"]["name"]]


def test_an_operator_that_is_not_there_is_named(tmp_path: Path, played: Played) -> None:
    played.answer(pods=[], ports=[])
    with pytest.raises(UserError, match="operator does nothing"):
        open_and_close(recipe_in(tmp_path, start_seconds=1))
    assert len(played.removed()) == 1


def test_what_kubectl_refuses_is_said_in_its_words(tmp_path: Path, played: Played) -> None:
    played.answer(pods=[], ports=[], refused="create")
    with pytest.raises(UserError, match=r"(?s)Forbidden.*frostmap-client"):
        open_and_close(recipe_in(tmp_path))


def test_pods_that_would_not_encrypt_are_refused(tmp_path: Path, played: Played) -> None:
    with pytest.raises(UserError, match="would not encrypt"):
        open_and_close(recipe_in(tmp_path, in_the_clear()))
    assert not (played.folder / "calls.jsonl").exists()


def test_without_kubectl_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="kubectl is not installed"):
        open_and_close(recipe_in(tmp_path))


def test_without_a_manifest_one_is_asked_for() -> None:
    recipe = parse_recipe(bundled("demo"), Path("demo.yaml"))
    with pytest.raises(UserError, match=r"(?s)cluster.kubernetes.*kubectl kustomize"):
        open_and_close(recipe)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: [", "flow node"),
        ("kind: Pod\n", "0 of kind DaskCluster"),
        ("apiVersion: kubernetes.dask.org/v1\nkind: DaskCluster\nmetadata: {name: x}\nspec: {}\n", "without 'worker'"),
    ],
)
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=found):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.yaml"):
        read_manifest(tmp_path / "nothing.yaml")


def test_the_autoscaler_of_the_manifest_follows_its_cluster(tmp_path: Path) -> None:
    text = BASE.read_text(encoding="utf-8") + "---\n" + (BASE.parent / "autoscaler.yaml").read_text(encoding="utf-8")
    path = tmp_path / "both.yaml"
    path.write_text(text, encoding="utf-8")
    _, autoscaler = read_manifest(path)
    assert autoscaler is not None
    assert autoscaler["spec"]["cluster"] == "frostmap"


def test_a_cluster_that_nobody_uses_goes_by_itself(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    cluster = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    del cluster["spec"]["idleTimeout"]
    assert renamed(cluster, "other", recipe)["spec"]["idleTimeout"] == 3600
    assert "idleTimeout" not in cluster["spec"]


def test_workers_that_do_not_see_the_work_directory_are_refused(
    tmp_path: Path, dask_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(dask_cluster) as client:
        refuse_unshared(client, tmp_path)
        monkeypatch.setattr(shared_folder, "_sees", lambda _path: False)
        with pytest.raises(UserError, match=r"(?s)do not see the work directory.*--workdir"):
            refuse_unshared(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- a cluster that somebody else has applied ----------------------------------------------------------------------


def test_the_dashboard_of_an_applied_cluster_is_forwarded_to_this_machine_alone(tmp_path: Path, played: Played) -> None:
    played.answer(pods=[], ports=[4711])
    with forwarded_dashboard(recipe_in(tmp_path)) as (link, _):
        assert link == "http://127.0.0.1:4711/status"
    [(arguments, _)] = played.calls
    assert arguments == ["--context=test", "port-forward", "--address=127.0.0.1", "service/frostmap-scheduler", ":8787"]


def test_why_nothing_is_forwarded_any_more_is_told_in_kubectls_words(played: Played) -> None:
    played.answer(pods=[], ports=[4711], forwards_s=0.2)
    with Kubectl().forwarding("service/frostmap-scheduler", (8786,)) as forwarding:
        assert forwarding.last_words == ""
        forwarding.process.wait()
        assert forwarding.last_words == "error: lost connection to pod"


def test_when_the_schedulers_pod_goes_the_command_says_so(tmp_path: Path, played: Played) -> None:
    played.answer(pods=[], ports=[4711], forwards_s=0.5)
    manifest = tmp_path / "cluster.yaml"
    manifest.write_text(BASE.read_text(encoding="utf-8"), encoding="utf-8")
    recipe = tmp_path / "demo.yaml"
    recipe.write_text(with_values(bundled("demo"), {"cluster.kubernetes": {"manifest": str(manifest)}}))
    result = CliRunner().invoke(app, ["dashboard", str(recipe), "--cluster", "kubernetes"])
    assert result.stdout.splitlines() == ["http://127.0.0.1:4711/status", "forwarded until Ctrl-C"]
    assert result.exit_code == 2
    assert "kubectl forwards no more" in result.stderr
