"""Scheduler and worker as the manifests start them, with the manifests' settings and certificates, as two processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client

from frostmap.pipeline.clusters import open_cluster, refuse_unshared
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.recipes import bundled

from .conftest import ROOT, Document

PORTS = ("8786", "8787", "8788", "8789")


@dataclass(frozen=True)
class Components:
    """A scheduler and a worker at work."""

    environment: dict[str, str]
    ports: dict[str, int]
    """By the port in the manifests."""

    def ask(self, port: str, path: str, content: Any = None) -> str:
        """Return what is answered by HTTP."""
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", data, timeout=20) as answer:
            return str(answer.read().decode())

    def answers(self, port: str) -> bool:
        try:
            return self.ask(port, "/health") == "ok"
        except OSError:
            return False


@pytest.fixture(scope="module")
def components(base: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Components]:
    folder = tmp_path_factory.mktemp("components")
    subprocess.run([ROOT / "deploy" / "certificates.sh", folder / "certificates"], check=True, capture_output=True)
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in PORTS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = dict(zip(PORTS, (probe.getsockname()[1] for probe in probes), strict=True))
    [settings] = [each["data"] for each in base if each["kind"] == "ConfigMap"]
    environment = {name: value.replace("/certificates/", f"{folder}/certificates/") for name, value in settings.items()}
    address = {"DASK_SCHEDULER_ADDRESS": f"tls://127.0.0.1:{ports['8786']}"}
    [cluster] = [each["spec"] for each in base if each["kind"] == "DaskCluster"]
    running = Components(environment, ports)
    with ExitStack() as stack:
        for name, port in (("scheduler", "8787"), ("worker", "8788")):
            [container] = cluster[name]["spec"]["containers"]
            words = {"0.0.0.0": "127.0.0.1", "$(DASK_WORKER_NAME)": "frostmap-worker", "/tmp": str(folder)}  # noqa: S104, S108
            words |= {old: str(new) for old, new in ports.items()} | {
                f":{old}": f":{new}" for old, new in ports.items()
            }
            arguments = [words.get(argument, argument) for argument in container["args"][1:]]
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments],
                    env=os.environ | environment | address | {"PYTHONWARNINGS": "ignore"},
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            give_up = time.monotonic() + 120
            while not running.answers(port):
                assert process.poll() is None, (folder / f"{name}.log").read_text(encoding="utf-8")
                assert time.monotonic() < give_up
                time.sleep(0.2)
        yield running


@pytest.fixture
def as_a_pod(components: Components) -> Iterator[str]:
    """Yield the scheduler's address, with the settings of a pod in force."""
    with dask.config.set(dask.config.merge(dask.config.config, dask.config.collect_env(components.environment))):
        yield f"tls://127.0.0.1:{components.ports['8786']}"


def test_a_run_computes_on_them(as_a_pod: str, tmp_path: Path) -> None:
    recipe = parse_recipe(bundled("demo"), Path("demo.yaml"))
    with open_cluster(recipe, as_a_pod) as opened:
        assert opened.client.submit(sum, [1, 2]).result() == 3
        [worker] = opened.client.scheduler_info()["workers"].values()
        assert worker["id"] == "frostmap-worker"
        assert worker["nthreads"] == 1
        environment = opened.client.run(lambda: dict(os.environ))
        assert all(found["MALLOC_TRIM_THRESHOLD_"] == "33554432" for found in environment.values())
        refuse_unshared(opened.client, tmp_path)


def test_nobody_without_a_certificate_gets_in(components: Components) -> None:
    for scheme in ("tcp", "tls"):
        with pytest.raises((OSError, TypeError, RuntimeError)):
            Client(f"{scheme}://127.0.0.1:{components.ports['8786']}", timeout=3)


def test_the_operator_is_told_what_it_asks(components: Components) -> None:
    assert json.loads(components.ask("8787", "/api/v1/adaptive_target"))["workers"] >= 0
    assert "idle_since" in json.loads(components.ask("8787", "/api/v1/check_idle"))
    assert json.loads(components.ask("8787", "/api/v1/retire_workers", {"workers": []})) == {}
