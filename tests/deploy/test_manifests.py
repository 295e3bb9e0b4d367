"""The manifests say what Dask, frostmap and `frostmap plan` say, and let nothing do more than it must."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
import typer
import yaml
from dask.utils import parse_bytes
from distributed.cli import dask_scheduler, dask_worker
from distributed.system import MEMORY_LIMIT
from distributed.worker_memory import parse_memory_limit

from frostmap.pipeline.cli import app
from frostmap.pipeline.demands import WORKER_BYTES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

Document = dict[str, Any]
PROGRAMS = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}


def one(objects: list[Document], kind: str, name: str = "frostmap") -> Document:
    [found] = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods(objects: list[Document]) -> dict[str, Document]:
    """Return the specifications of all pods that the objects bring about."""
    cluster = one(objects, "DaskCluster")["spec"]
    return {
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
        "job": one(objects, "Job")["spec"]["template"]["spec"],
    }


def containers(objects: list[Document]) -> Iterator[Document]:
    for pod in pods(objects).values():
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


# ---- what may be done ----------------------------------------------------------------------------------------------


def judge_pods(objects: list[Document]) -> None:
    """Assert that pods and containers have no more rights than they need: what is "restricted", and more."""
    for pod in pods(objects).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == "frostmap"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 10_000  # nobody of the node's
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        kinds = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
        assert kinds <= {"persistentVolumeClaim", "configMap", "secret", "emptyDir"}
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)
    for container in containers(objects):
        context, resources = container["securityContext"], container["resources"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert "cpu" in resources["requests"]
        assert not container["image"].endswith(":latest")


def test_pods_may_do_no_more_than_they_must(base: list[Document]) -> None:
    judge_pods(base)


def test_rendered_pods_may_do_no_more(rendered: list[Document]) -> None:
    judge_pods(rendered)
    for container in containers(rendered):
        assert re.search(r"/frostmap:\d+\.\d+\.\d+$", container["image"])


def test_nothing_is_open_to_the_outside(rendered: list[Document]) -> None:
    kinds = {each["kind"] for each in rendered}
    assert not kinds & {"Ingress", "Service", "Gateway", "HTTPRoute"}
    assert one(rendered, "DaskCluster")["spec"]["scheduler"]["service"]["type"] == "ClusterIP"


def test_no_secret_lies_among_the_manifests(rendered: list[Document]) -> None:
    assert "Secret" not in {each["kind"] for each in rendered}
    for container in containers(rendered):
        for variable in container.get("env", []):
            assert not re.search("KEY|SECRET|TOKEN|PASSWORD", variable["name"])
    [settings] = [each for each in rendered if each["kind"] == "ConfigMap"]
    for name, value in settings["data"].items():
        assert not re.search("SECRET|TOKEN|PASSWORD|ACCESS_KEY", name)
        assert "PRIVATE KEY" not in value


def test_credentials_go_to_workers_and_job_alone(rendered: list[Document]) -> None:
    given = {
        name: [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"] if "secretRef" in source]
        for name, pod in pods(rendered).items()
    }
    remote = any(each["metadata"]["name"] == "internet" for each in rendered)
    wanted = ["frostmap-credentials"] if remote else []
    assert given == {"scheduler": [], "worker": wanted, "job": wanted}


def test_the_client_may_make_and_remove_clusters_and_nothing_more(base: list[Document]) -> None:
    rules = one(base, "Role", "frostmap-client")["rules"]
    allowed = {(rule["apiGroups"][0], resource): rule["verbs"] for rule in rules for resource in rule["resources"]}
    assert "*" not in str(rules)
    assert set(allowed) == {
        ("kubernetes.dask.org", "daskclusters"),
        ("kubernetes.dask.org", "daskautoscalers"),
        ("", "pods"),
        ("", "services"),
        ("", "pods/portforward"),
    }
    assert allowed["", "pods"] == ["get", "list"]
    bound = one(base, "RoleBinding", "frostmap-client")
    assert bound["roleRef"]["kind"] == "Role"
    assert [subject["name"] for subject in bound["subjects"]] == ["frostmap-client"]


# ---- who reaches whom ----------------------------------------------------------------------------------------------


def reached(objects: list[Document], who: str) -> set[tuple[str, int]]:
    """Return whom the pods of a component may connect to, by both sides' policies: component and port."""
    policies = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}

    def peers(rules: list[Document], side: str) -> set[tuple[str, int]]:
        return {
            (name, port["port"])
            for rule in rules
            for peer in rule[side]
            if "podSelector" in peer
            for name in peer["podSelector"]["matchLabels"].values()
            for port in rule["ports"]
        }

    out = peers(policies[who].get("egress", []), "to")
    return {(name, port) for name, port in out if (who, port) in peers(policies[name].get("ingress", []), "from")}


def test_nothing_reaches_anything_by_default(base: list[Document]) -> None:
    spec = one(base, "NetworkPolicy", "nothing-else")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("who", "whom"),
    [
        ("client", {("scheduler", 8786)}),
        ("worker", {("scheduler", 8786), ("worker", 8789)}),
        ("scheduler", {("worker", 8789)}),
    ],
)
def test_components_reach_each_other_where_dask_listens(
    base: list[Document], who: str, whom: set[tuple[str, int]]
) -> None:
    assert reached(base, who) == whom
    for name in ("scheduler", "worker"):
        [container] = pods(base)[name]["containers"]
        listens = {port["containerPort"] for port in container["ports"] if port["name"] == "tcp-comm"}
        assert {port for other, port in whom if other == name} <= listens


def test_prometheus_finds_the_pages_of_scheduler_and_workers_and_may_read_them(base: list[Document]) -> None:
    spec, policy = one(base, "DaskCluster")["spec"], one(base, "NetworkPolicy", "metrics")["spec"]
    [rule] = policy["ingress"]
    [peer] = rule["from"]
    assert set(peer) == {"namespaceSelector", "podSelector"}, "whoever is in that namespace, or called so anywhere"
    opened = {port["port"] for port in rule["ports"]}
    for name in ("scheduler", "worker"):
        [container] = pods(base)[name]["containers"]
        [listens] = [port["containerPort"] for port in container["ports"] if port["name"] == "http-dashboard"]
        notes = spec[name]["metadata"]["annotations"]
        assert notes == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(listens),
            "prometheus.io/path": "/metrics",
        }
        assert listens in opened
        [chosen] = policy["podSelector"]["matchExpressions"]
        assert name in chosen["values"]


def test_labels_are_those_of_the_policies(base: list[Document]) -> None:
    labels = one(base, "Job")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "client"
    service = one(base, "DaskCluster")["spec"]["scheduler"]["service"]
    assert service["selector"] == {"dask.org/cluster-name": "frostmap", "dask.org/component": "scheduler"}
    [container] = pods(base)["scheduler"]["containers"]
    assert {port["targetPort"] for port in service["ports"]} == {port["name"] for port in container["ports"]}
    assert {port["port"] for port in service["ports"]} == {port["containerPort"] for port in container["ports"]}


def test_only_granules_and_the_cube_are_fetched_from_the_internet(rendered: list[Document]) -> None:
    for policy in (each for each in rendered if each["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
                assert "169.254.0.0/16" in block["except"]
                assert [port["port"] for port in rule["ports"]] == [443]


# ---- what Dask and frostmap understand -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_the_arguments_are_ones_of_this_version_of_dask(base: list[Document], name: str) -> None:
    [container] = pods(base)[name]["containers"]
    program, command, *arguments = container["args"]
    assert [program, command] == ["dask", name]  # newer versions have no dask-scheduler and dask-worker
    known = {option for parameter in PROGRAMS[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def settings_of(objects: list[Document]) -> dict[str, str]:
    [found] = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
    return found


def test_settings_are_ones_of_this_version_of_dask(base: list[Document]) -> None:
    for name, value in settings_of(base).items():
        if name.startswith("DASK_"):
            read = dask.config.collect_env({name: value})
            dotted = name.removeprefix("DASK_").replace("__", ".").replace("_", "-").lower()
            assert dask.config.get(dotted, None, config=dask.config.merge(*dask.config.defaults, read)) is not None
            dask.config.get(dotted.rpartition(".")[0], config=dask.config.merge(*dask.config.defaults))


def test_the_scheduler_answers_the_operator_besides_what_it_answers_by_default(base: list[Document]) -> None:
    read = dask.config.collect_env(settings_of(base))
    routes = dask.config.get("distributed.scheduler.http.routes", config=read)
    defaults = dask.config.get("distributed.scheduler.http.routes", config=dask.config.merge(*dask.config.defaults))
    assert routes == [*defaults, "distributed.http.scheduler.api"]
    for route in routes:
        assert distributed.utils.import_term(route + ".routes")


def test_all_that_dask_sends_is_encrypted(base: list[Document]) -> None:
    read = dask.config.collect_env(settings_of(base))
    assert dask.config.get("distributed.comm.require-encryption", config=read) is True
    tls = dask.config.get("distributed.comm.tls", config=read)
    assert set(tls) == {"ca_file", "scheduler", "worker", "client"}
    paths = {tls.pop("ca_file"), *(path for role in tls.values() for path in role.values())}
    for pod in pods(base).values():
        [container], [volume] = pod["containers"], [each for each in pod["volumes"] if "secret" in each]
        assert {"configMapRef": {"name": "frostmap-settings"}} in container["envFrom"]
        [mount] = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
        assert mount["readOnly"] is True
        assert {str(Path(path).parent) for path in paths} == {mount["mountPath"]}
    addresses = re.findall(r"\w+://[\w.-]+:\d+", str(base))
    assert set(addresses) == {"tls://frostmap-scheduler:8786"}
    assert "tls" in pods(base)["scheduler"]["containers"][0]["args"]


def test_workers_keep_memory_and_threads_as_on_one_machine(base: list[Document]) -> None:
    settings = settings_of(base)
    own = yaml.safe_load((DEPLOY / "dask.yaml").read_text(encoding="utf-8"))
    merged = dask.config.merge(*dask.config.defaults, own)
    wanted = dask.config.get("distributed.nanny.pre-spawn-environ", config=merged)
    assert {name: settings[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_what_hangs_is_found_and_what_is_busy_is_left_alone(base: list[Document], name: str) -> None:
    [container] = pods(base)[name]["containers"]
    probe = container["livenessProbe"]
    assert probe["httpGet"]["path"] == "/health"
    assert probe["httpGet"]["port"] in {port["name"] for port in container["ports"]}
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300  # deploy/dask.yaml: worker-ttl
    assert container["startupProbe"]["httpGet"] == probe["httpGet"]


def test_job_and_workers_see_the_same_work_directory(base: list[Document]) -> None:
    places = []
    for name in ("worker", "job"):
        pod = pods(base)[name]
        [volume] = [each["name"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
        [place] = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume]
        places.append((pod["volumes"][0]["persistentVolumeClaim"]["claimName"], place))
    assert len(set(places)) == 1
    arguments = pods(base)["job"]["containers"][0]["args"]
    assert Path(arguments[arguments.index("--workdir") + 1]).is_relative_to(places[0][1])


def judge_command(arguments: list[str]) -> None:
    """Assert that frostmap understands a command."""
    program, name, *rest = arguments
    assert program == "frostmap"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, rest)


def test_frostmap_understands_the_job(base: list[Document]) -> None:
    judge_command(pods(base)["job"]["containers"][0]["args"])


def test_frostmap_understands_the_rendered_job(rendered: list[Document]) -> None:
    judge_command(pods(rendered)["job"]["containers"][0]["args"])


def test_what_gets_no_better_is_not_tried_again(base: list[Document]) -> None:
    spec = one(base, "Job")["spec"]
    [fatal] = [rule for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert fatal["onExitCodes"]["values"] == [2, 3]  # a wrong recipe, missing data
    assert spec["backoffLimit"] >= 3
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


# ---- memory --------------------------------------------------------------------------------------------------------


def test_a_worker_has_room_for_itself_and_for_tasks(rendered: list[Document]) -> None:
    [container] = pods(rendered)["worker"]["containers"]
    arguments = container["args"]
    given = arguments[arguments.index("--memory-limit") + 1]
    assert parse_memory_limit(given, 1, 64, logger=logging.getLogger("distributed")) == MEMORY_LIMIT
    memory = parse_bytes(container["resources"]["limits"]["memory"])
    pause = yaml.safe_load((DEPLOY / "dask.yaml").read_text())["distributed"]["worker"]["memory"]["pause"]
    assert memory * pause > 1.5 * WORKER_BYTES


# ---- the image -----------------------------------------------------------------------------------------------------


def containerfile() -> list[list[str]]:
    """Return the Containerfile's instructions, in words."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line.strip()]


def test_the_image_runs_as_nobody_and_holds_what_the_lock_pins() -> None:
    lines = containerfile()
    last = max(number for number, line in enumerate(lines) if line[0] == "FROM")
    assert [line[1] for line in lines[last:] if line[0] == "USER"] == ["10001:10001"]
    assert not [line for line in lines if line[0] in {"ADD", "ENTRYPOINT"}]
    installs = [" ".join(line) for line in lines if line[:1] == ["RUN"] and "install" in line and "pip" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    assert not re.search(r"ARG \w*(TOKEN|KEY|PASSWORD|SECRET)", str(lines))


def test_what_the_image_copies_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.lstrip("!").rstrip("/") for line in ignored if line.startswith("!")}
    copies = [line[1:-1] for line in containerfile() if line[0] == "COPY" and "--from=build" not in line]
    copied = {path.rstrip("/") for paths in copies for path in paths}
    assert copied == kept
    assert all((ROOT / path).exists() for path in copied)


def test_the_namespace_refuses_what_is_not_restricted(base: list[Document]) -> None:
    labels = one(base, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
