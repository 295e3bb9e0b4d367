"""Several hosts, each a network namespace with an address of its own, over TLS; one is cut off in the middle of a run.

It takes root and `ip` (Debian: iproute2); a test that lacks them is skipped and says so. All hosts see the same disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from frostmap.pipeline.recipe import load_recipe
from frostmap.pipeline.run import run

from ..pipeline.processes import (
    PATIENCE_S,
    ROOT,
    Run,
    going,
    is_worker,
    lives,
    small_run,
    wait_for,
    wait_for_workers,
)
from ..pipeline.small_chain import in_place, one_thread, tasks_run

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

NETWORK = "198.18.77"
"""Of the addresses that are set aside for tests of networks (RFC 2544)."""

HOSTS = ("scheduler", "one", "two", "client")
ADDRESS = {host: f"{NETWORK}.{number}" for number, host in enumerate(HOSTS, start=1)}
SCHEDULER = f"tls://{ADDRESS['scheduler']}:8786"
QUICK = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "20s",  # Dask takes no less than 11 s
}
"""How long a host may be silent, in tests that wait for it: deploy/dask.yaml has minutes. On a busy machine workers
that import libraries are silent for ten seconds."""


def ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


class Network:
    """A bridge, and the hosts that hang on it."""

    def __init__(self) -> None:
        self._serial = f"fm{os.getpid() % 100000}"

    def namespace(self, host: str) -> str:
        return f"{self._serial}-{host}"

    def _cable(self, host: str) -> str:
        return f"{self._serial}{host[:3]}"

    def lay(self) -> None:
        """Make bridge and hosts."""
        ip("link", "add", self._serial, "type", "bridge")
        ip("link", "set", self._serial, "up")
        for host in HOSTS:
            space, cable = self.namespace(host), self._cable(host)
            ip("netns", "add", space)
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", cable, "master", self._serial, "up")
            ip("-n", space, "address", "add", f"{ADDRESS[host]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", space, "link", "set", device, "up")

    def remove(self) -> None:
        """Leave nothing behind."""
        for host in HOSTS:
            ip("netns", "delete", self.namespace(host), check=False)
        ip("link", "delete", self._serial, check=False)

    def cut_off(self, host: str) -> None:
        """Pull a host's cable: nothing that is sent to it or by it arrives, and nobody is told."""
        ip("link", "set", self._cable(host), "down")

    def join(self, host: str) -> None:
        """Put a host's cable back."""
        ip("link", "set", self._cable(host), "up")

    def on(self, host: str, command: Sequence[object], **settings: str) -> list[str]:
        """Return a command that runs on a host."""
        named = [f"{name}={text}" for name, text in settings.items()]
        return ["ip", "netns", "exec", self.namespace(host), "env", *named, *map(str, command)]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Yield four hosts."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces take root and `ip` (Debian: iproute2)")
    made = Network()
    try:
        made.lay()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"network namespaces cannot be had here: {error.stderr.strip()}")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the certificates that deploy/certificates.sh makes."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    folder = tmp_path_factory.mktemp("certificates") / "made"
    subprocess.run(["sh", ROOT / "deploy" / "certificates.sh", folder, "2"], check=True, capture_output=True)
    return {"ca": str(folder / "ca.crt"), "cert": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


@contextmanager
def cluster(
    network: Network, certificates: dict[str, str], folder: Path, workers: Sequence[str], **settings: str
) -> Iterator[dict[str, psutil.Popen]]:
    """Yield the `dask worker` of each host: a scheduler and a worker a host, as docs/how-to/running.md says."""
    tls = ["--tls-ca-file", certificates["ca"], "--tls-cert", certificates["cert"], "--tls-key", certificates["key"]]
    settings |= {
        "DASK_CONFIG": str(ROOT / "deploy" / "dask.yaml"),
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
    }
    dask = [sys.executable, "-m", "dask"]
    scheduling = [*dask, "scheduler", "--protocol", "tls", "--no-dashboard", "--host", ADDRESS["scheduler"], *tls]
    started: dict[str, psutil.Popen] = {}
    with ExitStack() as stack:
        command = network.on("scheduler", scheduling, **settings)
        stack.enter_context(going(command, folder / "scheduler"))
        for host in workers:
            working = [*dask, "worker", SCHEDULER, "--nthreads", "1", "--no-dashboard", "--host", ADDRESS[host], *tls]
            command = network.on(host, [*working, "--local-directory", folder / host], **settings)
            started[host] = stack.enter_context(going(command, folder / f"{host}.log"))
        wait_for_workers(folder / "scheduler", len(workers))
        yield started


@contextmanager
def running(network: Network, small: Run, **settings: str) -> Iterator[psutil.Popen]:
    """Run the small chain from the client's host."""
    command = [sys.executable, "-c", small.program, "run", small.recipe, "--workdir", small.folder]
    with going(network.on("client", command, **settings), small.folder.parent / "output") as process:
        yield process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what a run makes that nothing disturbs."""
    whole = small_run(tmp_path_factory.mktemp("undisturbed"))
    with in_place(), one_thread() as client:
        run(load_recipe(whole.recipe), whole.folder, client=client)
    return whole.made()


def seconds_of(small: Run) -> float:
    """Return how long the second stage took: in the first, workers import what they need."""
    times = {name: when for name, (when, _) in small.records().items()}
    before, own = ([when for name, when in times.items() if stage in name] for stage in ("gather", "multiply"))
    return (max(own) - max(before)) / 1e9


def test_two_hosts_make_the_same_bits_as_one_in_little_more_than_half_the_time(
    network: Network, certificates: dict[str, str], tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """Of tasks that take a while and no processor: what is measured is how they are handed out, not how many cores."""
    took = []
    for hosts in (("one",), ("one", "two")):
        (tmp_path / str(len(hosts))).mkdir()
        small = small_run(tmp_path / str(len(hosts)), seconds=1.0, where=SCHEDULER, tls=certificates)
        with cluster(network, certificates, small.recipe.parent, hosts), running(network, small) as process:
            assert process.wait(PATIENCE_S) == 0, small.said()
        assert small.made() == undisturbed
        took.append(seconds_of(small))
    assert took[0] / took[1] > 1.5


def test_a_host_that_is_cut_off_costs_what_it_had_in_flight(
    network: Network, certificates: dict[str, str], tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    small = small_run(tmp_path, seconds=0.5, where=SCHEDULER, tls=certificates)
    with (
        cluster(network, certificates, tmp_path, ("one", "two"), **QUICK) as workers,
        running(network, small, **QUICK) as process,
    ):
        wait_for(lambda: small.has_made(process, 3))
        stood = small.records()
        time.sleep(1)  # what was returned has come
        network.cut_off("two")
        began = time.monotonic()
        assert process.wait(PATIENCE_S) == 0, small.said()
        assert time.monotonic() - began < 120
        wait_for(lambda: not any(map(is_worker, alive(workers["two"]))))  # it ends by itself: a supervisor's to restart
    now = small.records()
    assert {name: now[name] for name in stood} == stood, "what stood was made again"
    assert small.made() == undisturbed
    assert len(tasks_run(tmp_path)) <= 17 + 2, "more than what the host had in flight was made again"


def alive(process: psutil.Popen) -> list[psutil.Process]:
    return process.children(recursive=True) if lives(process) else []


def test_a_client_that_is_cut_off_says_so_and_goes_on_later(
    network: Network, certificates: dict[str, str], tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    small = small_run(tmp_path, seconds=0.5, where=SCHEDULER, tls=certificates)
    with cluster(network, certificates, tmp_path, ("one",), **QUICK):
        with running(network, small, **QUICK) as process:
            wait_for(lambda: small.has_made(process, 3))
            network.cut_off("client")
            assert process.wait(PATIENCE_S) == 4
            assert "error: the Dask scheduler is no longer there" in small.said()
        stood = small.records()
        network.join("client")
        with running(network, small) as process:
            assert process.wait(PATIENCE_S) == 0, small.said()
    now = small.records()
    assert {name: now[name] for name in stood} == stood, "what stood was made again"
    assert small.made() == undisturbed


def test_nobody_without_a_certificate_computes_there(
    network: Network, certificates: dict[str, str], tmp_path: Path
) -> None:
    small = small_run(tmp_path, where=SCHEDULER.replace("tls", "tcp"), allow_unencrypted=True)
    with cluster(network, certificates, tmp_path, ()), running(network, small) as process:
        assert process.wait(PATIENCE_S) == 2
    assert "the Dask scheduler does not answer" in small.said()
