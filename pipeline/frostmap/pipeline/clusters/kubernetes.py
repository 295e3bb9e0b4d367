"""A cluster of pods: made by the Dask operator from a manifest, reached by a forwarded port, removed at the end.

By kubectl alone: it knows every way to log in, and needs no more rights than deploy/kubernetes grants. KubeCluster of
dask-kubernetes is of no use here, for it speaks to the scheduler without TLS.
"""

from __future__ import annotations

import copy
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from frostmap.pipeline.clusters.address import running
from frostmap.pipeline.clusters.kubectl import Kubectl
from frostmap.pipeline.clusters.loss import ClusterLost, cut_off, lost
from frostmap.pipeline.clusters.opened import Opened, Say
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe

Document = dict[str, Any]

OF_DASK = "kubernetes.dask.org/v1"
KEPT_IDLE_S = 3600
"""How long the operator keeps a cluster that nobody uses, where the manifest does not say: if its client is killed."""
OPERATOR_WITHIN_S = 60.0
REMOVED_WITHIN_S = 120.0
_ADDRESS = "DASK_SCHEDULER_ADDRESS"
_COMM, _DASHBOARD = 8786, 8787
"""Ports of the scheduler's service in deploy/kubernetes."""
_HOPELESS = {
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
}
"""Why a container waits, where waiting is in vain."""


@contextmanager
def pods(recipe: Recipe, say: Say) -> Iterator[Opened]:
    """Yield a cluster of pods; it is removed when the context ends, also by Ctrl-C, SIGTERM or a closed terminal.

    Raises
    ------
    UserError
        No manifest, no kubectl, no operator, no room, or pods that do not start: says which.
    ClusterLost
        The scheduler ended while it was used: says what became of its pod. `ConnectionEnded` if nothing did.
    """
    path, context = _manifest(recipe)
    cluster, autoscaler = read_manifest(path)
    name = f"frostmap-{uuid.uuid4().hex[:8]}"
    made = renamed(cluster, name, recipe)
    scheme = _scheme(made, path, recipe)
    kubectl = Kubectl(context, cluster["metadata"].get("namespace", ""))
    with _ended_by_signals(), kubectl.removing("daskcluster", name, f"dask.org/cluster-name={name}", REMOVED_WITHIN_S):
        say(f"making cluster {name}")
        kubectl.create(made)
        scheduler = _wait(kubectl, name, "scheduler", recipe.cluster.start_seconds, say)
        if autoscaler is not None:
            kubectl.create(_autoscaler(autoscaler, name))
        _wait(kubectl, name, "worker", recipe.cluster.start_seconds, say)
        with (
            kubectl.forwarding(f"service/{name}-scheduler", (_COMM, _DASHBOARD)) as forwarding,
            running(recipe, f"{scheme}://127.0.0.1:{forwarding.ports[0]}", "--cluster kubernetes", say) as opened,
        ):
            try:
                yield Opened(opened.client, f"http://127.0.0.1:{forwarding.ports[1]}/status")
            except ClusterLost as error:
                became = _fate(kubectl, name, scheduler)
                if became:
                    raise lost(opened.client, became) from error
                raise cut_off(opened.client, forwarding.last_words) from error


@contextmanager
def forwarded_dashboard(recipe: Recipe) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield a link to the dashboard of the cluster that was applied by the recipe's manifest, forwarded to here.

    And what to call to wait until it is forwarded no more: the scheduler's pod may go.

    Raises
    ------
    UserError
        No manifest, no kubectl, or no such cluster.
    """
    path, context = _manifest(recipe)
    metadata = read_manifest(path)[0]["metadata"]
    kubectl = Kubectl(context, metadata.get("namespace", ""))
    with kubectl.forwarding(f"service/{metadata['name']}-scheduler", (_DASHBOARD,)) as forwarding:
        yield f"http://127.0.0.1:{forwarding.ports[0]}/status", forwarding.process.wait


def _manifest(recipe: Recipe) -> tuple[Path, str]:
    """Return where the manifest is, and the context to use it in."""
    settings = recipe.cluster.kubernetes
    if settings is None:
        raise UserError(
            "no manifest of the cluster",
            where="recipe: cluster.kubernetes",
            wanted="manifest: what `kubectl kustomize` renders of an overlay of deploy/kubernetes",
            remedy="kubectl kustomize deploy/kubernetes/local > cluster.yaml, and name that file (deploy/README.md)",
        )
    return recipe.path(settings.manifest), settings.context


# ---- the manifest --------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> tuple[Document, Document | None]:
    """Return the DaskCluster of a manifest, and its DaskAutoscaler if it has one.

    Raises
    ------
    UserError
        It is not there, no YAML, or has not exactly one DaskCluster of the form that deploy/kubernetes has.
    """
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(each, dict)]
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unfit(path, error) from error
    found: dict[str, list[Document]] = {"DaskCluster": [], "DaskAutoscaler": []}
    for each in documents:
        if each.get("apiVersion") == OF_DASK and each.get("kind") in found:
            found[each["kind"]].append(each)
    if len(found["DaskCluster"]) != 1:
        raise _unfit(path, f"{len(found['DaskCluster'])} of kind DaskCluster")
    [cluster] = found["DaskCluster"]
    try:
        _worker(cluster)["env"], cluster["spec"]["scheduler"]["service"]["selector"], cluster["metadata"]["name"]
    except (KeyError, IndexError, TypeError) as error:
        raise _unfit(path, f"a DaskCluster without {error}") from error
    return cluster, next(iter(found["DaskAutoscaler"]), None)


def _unfit(path: Path, found: object) -> UserError:
    return UserError(
        "no manifest of a Dask cluster",
        where=f"{path} (recipe: cluster.kubernetes.manifest)",
        found=found,
        wanted="one DaskCluster, as in deploy/kubernetes/base/cluster.yaml",
        remedy="render it again: kubectl kustomize OVERLAY > FILE",
    )


def renamed(cluster: Document, name: str, recipe: Recipe) -> Document:
    """Return a cluster of another name, as large as the recipe wants it, that goes when nobody uses it."""
    made = copy.deepcopy(cluster)
    former, made["metadata"]["name"] = made["metadata"]["name"], name
    notes = made["metadata"].setdefault("annotations", {})
    notes |= {"frostmap/recipe": recipe.name, "frostmap/host": socket.gethostname()}
    spec = made["spec"]
    spec["idleTimeout"] = spec.get("idleTimeout") or KEPT_IDLE_S
    spec["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = name
    worker = _worker(made)
    for variable in worker["env"]:
        if variable["name"] == _ADDRESS:
            variable["value"] = variable["value"].replace(f"{former}-scheduler", f"{name}-scheduler")
    if recipe.cluster.workers is not None:
        spec["worker"]["replicas"] = recipe.cluster.workers
    if recipe.cluster.memory_gib is not None:
        memory = f"{round(recipe.cluster.memory_gib * 1024)}Mi"
        for kind in ("requests", "limits"):
            worker.setdefault("resources", {}).setdefault(kind, {})["memory"] = memory
    return made


def _worker(cluster: Document) -> Document:
    container: Document = cluster["spec"]["worker"]["spec"]["containers"][0]
    return container


def _autoscaler(autoscaler: Document, name: str) -> Document:
    made = copy.deepcopy(autoscaler)
    made["metadata"]["name"] = made["spec"]["cluster"] = name
    return made


def _scheme(cluster: Document, path: Path, recipe: Recipe) -> str:
    """Return how the scheduler is spoken to: tls, or tcp where the recipe allows that."""
    addresses = [str(variable.get("value")) for variable in _worker(cluster)["env"] if variable["name"] == _ADDRESS]
    scheme = addresses[0].partition("://")[0] if addresses else "tcp"
    if scheme != "tls" and not recipe.cluster.allow_unencrypted:
        raise UserError(
            "the cluster's pods would not encrypt what they send",
            where=f"{path} (recipe: cluster.kubernetes.manifest)",
            found=addresses[0] if addresses else f"no {_ADDRESS}",
            wanted=f"{_ADDRESS} of the worker: tls://NAME-scheduler:8786, and certificates, as in deploy/kubernetes",
            remedy="render the manifest from deploy/kubernetes, or set cluster.allow_unencrypted in the recipe where "
            "the network is yours alone",
        )
    return scheme


# ---- waiting -------------------------------------------------------------------------------------------------------


def _wait(kubectl: Kubectl, name: str, component: str, seconds: float, say: Say) -> Document:
    """Return a pod of a component once it is ready."""
    say(f"waiting for the {component}")
    began, seen = time.monotonic(), False
    while True:
        found = _pods(kubectl, name, component)
        for pod in filter(is_ready, found):
            return pod
        seen = seen or bool(found)
        waited, troubles = time.monotonic() - began, [text for pod in found if (text := trouble(pod))]
        hopeless = any(text.partition(":")[0] in _HOPELESS for text in troubles)
        if not seen and waited > min(seconds, OPERATOR_WITHIN_S):
            raise UserError(
                "the Dask operator does nothing",
                where=f"daskcluster {name}",
                found=f"no {component} in {waited:.0f} s",
                wanted="the operator, watching this namespace",
                remedy="install it, or look at its log; deploy/README.md says how",
            )
        if waited > seconds or (hopeless and waited > min(seconds, OPERATOR_WITHIN_S / 2)):
            raise UserError(
                f"the {component} of the cluster does not start",
                where=f"daskcluster {name}",
                found="; ".join(dict.fromkeys(troubles)) or f"not ready in {waited:.0f} s",
                wanted="a pod that is ready",
                remedy="correct the manifest (image, Secret, volume, memory), or raise cluster.start_seconds",
            )
        time.sleep(1)


def _pods(kubectl: Kubectl, name: str, component: str) -> list[Document]:
    return kubectl.get("pods", f"dask.org/cluster-name={name},dask.org/component={component}")


def is_ready(pod: Document) -> bool:
    """Say whether a pod's containers run and answer."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def trouble(pod: Document) -> str:
    """Return why a pod does not run, in Kubernetes' words; empty where nothing is wrong.

    >>> trouble({"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImageNeverPull"}}}]}})
    'ErrImageNeverPull'
    """
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            ended = container.get("lastState", {}).get("terminated", {})
            said = waiting.get("message", "")
            if ended:
                said = f"{ended.get('reason', '')} with exit code {ended.get('exitCode', '')}"
            return f"{waiting['reason']}: {said}" if said else str(waiting["reason"])
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'not scheduled')}: {condition.get('message', '')}"
    return ""


def _fate(kubectl: Kubectl, name: str, scheduler: Document) -> str:
    """Return what became of the scheduler's pod, or why that cannot be told; nothing where it is as it was."""
    try:
        found = _pods(kubectl, name, "scheduler")
    except UserError as error:
        return f"the connection to Kubernetes ended, too: {error.found}"
    same = [pod for pod in found if pod["metadata"]["uid"] == scheduler["metadata"]["uid"]]
    return fate(same[0]) if same else "its pod was deleted, or lost with its node"


def fate(pod: Document) -> str:
    """Return what became of a pod, in Kubernetes' words; nothing where it is as it was.

    >>> ended = {"reason": "OOMKilled", "exitCode": 137}
    >>> fate({"status": {"containerStatuses": [{"state": {}, "lastState": {"terminated": ended}}]}})
    'its container ended: OOMKilled with exit code 137'
    """
    status = pod.get("status", {})
    if status.get("reason"):
        return f"its pod ended: {status['reason']}: {status.get('message', '')}"
    for container in status.get("containerStatuses", []):
        for state in ("state", "lastState"):
            ended = container.get(state, {}).get("terminated")
            if ended:
                return f"its container ended: {ended.get('reason', '')} with exit code {ended.get('exitCode', '')}"
    return ""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the run as Ctrl-C does, so that the cluster is removed."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
