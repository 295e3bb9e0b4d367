"""Wherever a run computes, it makes the same bits, with the same software, and nobody listens in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numba
import psutil
import pytest
from dask.delayed import delayed
from distributed import Client, LocalCluster, Security
from numba.core import event
from threadpoolctl import threadpool_info

from frostmap.pipeline.clusters import address, encryption, open_cluster, shared_folder, software
from frostmap.pipeline.clusters.encryption import security_of
from frostmap.pipeline.clusters.loss import ClusterLost, ConnectionEnded, loss_explained
from frostmap.pipeline.clusters.software import SoftwareDiffers
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe, load_recipe
from frostmap.pipeline.run import Event, run

from .conftest import workers
from .small_chain import everything, in_place, inputs_in, recipe_in

HERE: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "threads_per_worker": 1}


def settled(folder: Path, **cluster: Any) -> Recipe:
    """Return a tiny recipe with a section `cluster`."""
    recipe = recipe_in(folder)
    settings = recipe.cluster.model_copy(update={"workers": 2, "dashboard": "127.0.0.1:0"} | cluster)
    return recipe.model_copy(update={"cluster": settings})


@contextmanager
def scheduler(workers: int = 1, **options: Any) -> Iterator[str]:
    """Yield the address of a scheduler, with workers that are threads of this process."""
    with LocalCluster(n_workers=workers, processes=False, **(HERE | {"protocol": "tcp://"} | options)) as cluster:
        yield cluster.scheduler_address


# ---- the same wherever it is ----------------------------------------------------------------------------------------


def test_threads_processes_and_a_scheduler_make_the_same_bits(tmp_path: Path) -> None:
    made, dashboards = [], []
    with in_place(), scheduler() as running:
        for number, where in enumerate(("threads", running, running.removeprefix("tcp://"))):
            root = tmp_path / str(number)
            root.mkdir()
            inputs_in(root)
            events: list[Event] = []
            run(settled(root, workers=1), root / "work", scheduler=where, report=events.append)
            made.append(everything(root / "work"))
            dashboards += [event.message for event in events if event.kind == "cluster"]
    assert made[0] == made[1] == made[2]
    assert dashboards[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("ended", [1, 2, 3])
def test_a_run_goes_on_with_another_cluster_where_the_connection_to_one_ended(tmp_path: Path, ended: int) -> None:
    """After each step that is made, twice at most; what stands is kept."""
    made, said = list[str](), list[str]()

    def follow(event: Event) -> None:
        said.append(event.message)
        if event.kind == "finished":
            made.append(event.step)
            if len(made) <= ended:
                raise ConnectionEnded("the connection to the Dask scheduler ended", found="it is there")

    inputs_in(tmp_path)
    recipe = settled(tmp_path, workers=1)
    with in_place():
        if ended < 3:
            run(recipe, tmp_path / "work", scheduler="threads", report=follow)
        else:
            with pytest.raises(ConnectionEnded, match="it is there"):
                run(recipe, tmp_path / "work", scheduler="threads", report=follow)
    assert len([words for words in said if "going on with another cluster" in words]) == min(ended, 2)
    assert len(set(made)) == len(made), "what stood was made again"


def threads_of_libraries() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info()}


def numba_threads() -> tuple[str | None, int]:
    return os.environ.get("NUMBA_NUM_THREADS"), numba.config.NUMBA_NUM_THREADS


def test_workers_of_this_machine_are_as_many_as_asked_and_leave_a_thread_to_each_task(tmp_path: Path) -> None:
    with open_cluster(settled(tmp_path, workers=1, memory_gib=1.5)) as opened:
        found = opened.client.scheduler_info(n_workers=-1)["workers"].values()
        assert [(worker["nthreads"], worker["memory_limit"]) for worker in found] == [(1, 1.5 * 2**30)]
        assert all(worker["host"] == "127.0.0.1" for worker in found)
        assert opened.client.submit(threads_of_libraries).result() == {1}
        assert set(opened.client.run(numba_threads).values()) == {("1", 1)}
        assert opened.dashboard.startswith("http://127.0.0.1:")


def test_what_fails_in_a_task_is_raised_here_and_nothing_else_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_cluster(settled(tmp_path, workers=1)) as opened:
        wanted = opened.client.submit(load_recipe, tmp_path / "none.yaml")
        with pytest.raises(UserError, match="none"):
            wanted.result()
    assert "Traceback" not in capfd.readouterr().err


def test_a_process_has_its_threads_back_when_its_cluster_ends(tmp_path: Path) -> None:
    before = threads_of_libraries()
    environment = dict(os.environ)
    with open_cluster(settled(tmp_path), "threads") as opened:
        (worker,) = opened.client.scheduler_info(n_workers=-1)["workers"].values()
        assert worker["nthreads"] == 2
        tasks = [delayed(threads_of_libraries, pure=False)() for _ in range(8)]
        assert all(pools == {1} for pools in opened.client.gather(opened.client.compute(tasks)))
    assert threads_of_libraries() == before
    assert environment == dict(os.environ)


ASKED = list[threading.Barrier]()
"""Where the threads wait for each other."""


def first_call(number: int) -> float:
    """Call a kernel that nobody has called, at the same time as another thread does."""
    ASKED[0].wait()
    return float(KERNEL[0](float(number)))


KERNEL = list[Any]()


def test_a_kernel_is_compiled_once_a_process_however_many_threads_want_it_first(tmp_path: Path) -> None:
    if numba.config.DISABLE_JIT:
        pytest.skip("nothing is compiled")

    @numba.njit(nogil=True)
    def kernel(number: float) -> float:
        return number + 1.0

    KERNEL[:], ASKED[:] = [kernel], [threading.Barrier(2, timeout=60)]
    with open_cluster(settled(tmp_path), "threads") as opened, event.install_recorder("numba:compile") as recorded:
        tasks = [delayed(first_call, pure=False)(number) for number in range(4)]
        assert opened.client.gather(opened.client.compute(tasks)) == [1.0, 2.0, 3.0, 4.0]
    begun = [each for _, each in recorded.buffer if each.is_start and "kernel" in str(each.data["dispatcher"])]
    assert len(begun) == 1


def test_a_running_cluster_is_left_as_it_was(tmp_path: Path) -> None:
    with scheduler() as running, Client(running) as other:
        with open_cluster(settled(tmp_path), running) as opened:
            assert "frostmap" in other.run(lambda dask_worker: list(dask_worker.plugins)).popitem()[1]
            assert opened.client.submit(sum, [1, 2]).result() == 3
        assert "frostmap" not in other.run(lambda dask_worker: list(dask_worker.plugins)).popitem()[1]
        assert other.submit(sum, [1, 2, 3]).result() == 6


# ---- what cannot be had ---------------------------------------------------------------------------------------------


def test_a_cluster_without_workers_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    said: list[str] = []
    with (
        scheduler(workers=0) as running,
        pytest.raises(UserError, match="no workers") as caught,
        open_cluster(settled(tmp_path, start_seconds=0.2), running, said.append),
    ):
        pass
    assert caught.value.where == f"--cluster {running}"
    assert said == ["waiting for a worker"]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("clouds", "no such place to compute"),
        ("nonsense://127.0.0.1:1", "no address of a Dask scheduler"),
        ("tcp://127.0.0.1", "no address of a Dask scheduler"),
        ("tcp://127.0.0.1:99999", "no address of a Dask scheduler"),
        ("tcp://192.0.2.7:8786", "is not encrypted"),
        ("scheduler.example.org:8786", "is not encrypted"),
        ("tls://192.0.2.7:8786", "no certificates"),
        ("tcp://127.0.0.1:9", "does not answer"),
    ],
)
def test_where_nothing_can_be_computed_the_message_says_why_and_what_to_do(
    tmp_path: Path, where: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "ANSWERS_WITHIN_S", 0.3)
    for recipe, option, asked in (
        (settled(tmp_path), where, f"--cluster {where}"),
        (settled(tmp_path, where=where), None, f"{where} (recipe: cluster.where)"),
    ):
        with pytest.raises(UserError, match=what) as caught, open_cluster(recipe, option):
            pass
        assert caught.value.where == asked
        assert caught.value.remedy


@pytest.mark.parametrize("dashboard", ["0.0.0.0:8787", ":8787", "8787", "192.0.2.7:8787"])
def test_a_dashboard_that_others_could_see_is_refused_unless_allowed(tmp_path: Path, dashboard: str) -> None:
    for where in ("threads", "local"):
        with (
            pytest.raises(UserError, match="open to other machines"),
            open_cluster(settled(tmp_path, dashboard=dashboard), where),
        ):
            pass
    allowed = settled(tmp_path, dashboard=dashboard, allow_unencrypted=True)
    encryption.refuse_public_dashboard(allowed)
    encryption.refuse_in_the_clear(allowed, "tcp://192.0.2.7:8786", "")


def listening() -> set[tuple[int, str, int]]:
    """Return process, address and port of all that this process and its children listen on."""
    own = psutil.Process()
    return {
        (process.pid, found.laddr.ip, found.laddr.port)
        for process in (own, *own.children(recursive=True))
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    }


@pytest.mark.parametrize("where", ["threads", "local"])
def test_what_is_started_listens_to_this_machine_alone_dashboards_and_metrics_too(tmp_path: Path, where: str) -> None:
    before = listening()
    with open_cluster(settled(tmp_path, workers=1), where):
        found = listening() - before
    assert len(found) >= 4  # scheduler and worker, and a page of each
    assert {ip for _, ip, _ in found} == {"127.0.0.1"}


# ---- certificates ---------------------------------------------------------------------------------------------------


def certificates(folder: Path) -> dict[str, Path]:
    """Make an authority and a certificate that it signed, as docs/how-to/running.md says."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here")
    folder.mkdir()

    def call(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-noenc")
    call("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    call("req", *key, "-subj", "/CN=cluster", "-keyout", "cluster.key", "-out", "cluster.csr")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    call("x509", "-req", "-in", "cluster.csr", *signed, "-out", "cluster.pem")
    return {"ca": folder / "ca.pem", "cert": folder / "cluster.pem", "key": folder / "cluster.key"}


def with_certificates(folder: Path, files: dict[str, Path]) -> Recipe:
    recipe = settled(folder)
    content = recipe.model_dump(mode="json") | {
        "cluster": {"workers": 2, "tls": {name: str(path) for name, path in files.items()}}
    }
    return Recipe.model_validate_json(json.dumps(content))


def test_over_tls_a_run_computes_and_who_has_no_certificate_of_the_authority_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "ANSWERS_WITHIN_S", 2.0)
    recipe = with_certificates(tmp_path, certificates(tmp_path / "ours"))
    stranger = with_certificates(tmp_path, certificates(tmp_path / "others"))
    with scheduler(security=security_of(recipe), protocol="tls://") as running:
        assert running.startswith("tls://")
        bare = running.removeprefix("tls://")
        for where in (running, bare):
            with open_cluster(recipe, where) as opened:
                assert opened.client.submit(sum, [1, 2]).result() == 3
        for other, where in ((stranger, running), (settled(tmp_path), f"tcp://{bare}")):
            with pytest.raises(UserError, match="does not answer"), open_cluster(other, where):
                pass


def test_a_connection_that_ends_before_tls_begins_on_it_is_told_as_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that is forwarded to a pod that is gone: tornado raises a ValueError, and the client's close again."""
    recipe = with_certificates(tmp_path, certificates(tmp_path / "ours"))
    clients = list[Client]()

    def not_idle(*_given: object, **_named: object) -> None:
        raise ValueError("IOStream is not idle; cannot convert to SSL")

    def lose(where: str, context: pytest.MonkeyPatch) -> None:
        with open_cluster(recipe, where) as opened:
            clients.append(opened.client)
            begun = opened.client.submit(time.sleep, 0.5)
            context.setattr("tornado.iostream.IOStream.start_tls", not_idle)
            opened.client.loop.add_callback(opened.client.scheduler_comm.comm.abort)
            begun.result()

    with scheduler(security=security_of(recipe), protocol="tls://") as running, monkeypatch.context() as context:
        with pytest.raises(ClusterLost, match="no longer there"):
            lose(running, context)
        context.undo()
    assert clients[0].status == "closed"


def test_a_worker_that_ends_while_all_are_asked_something_is_not_taken_for_the_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "_sees", partial(_ends_once, tmp_path / "ended"))
    with workers(2) as client:
        shared_folder.refuse_unshared(client, tmp_path)
    assert (tmp_path / "ended").exists()


def _ends_once(mark: Path, path: str) -> bool:
    """Say whether a worker sees a file; the first that is asked ends instead."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return Path(path).is_file()
    os.kill(os.getpid(), signal.SIGKILL)
    return False


@pytest.mark.parametrize(("there", "raised"), [(True, ValueError), (False, ClusterLost)])
def test_an_error_is_a_loss_where_the_scheduler_answers_no_more_though_the_client_does_not_know_yet(
    monkeypatch: pytest.MonkeyPatch, there: bool, raised: type[Exception]
) -> None:
    async def away() -> None:
        raise OSError("no route to host")

    with scheduler() as running, Client(running) as client, monkeypatch.context() as context:
        if not there:
            context.setattr(client.scheduler, "identity", away, raising=False)
        with pytest.raises(raised), loss_explained(client):
            raise ValueError("something is wrong")
        assert client.status == "running"


def test_certificates_of_dasks_configuration_are_used_and_missing_ones_named(tmp_path: Path) -> None:
    import dask

    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    assert security_of(settled(tmp_path)) is None
    configured = {
        "distributed.comm.tls.ca-file": str(files["ca"]),
        "distributed.comm.tls.client.cert": str(files["cert"]),
        "distributed.comm.tls.client.key": str(files["key"]),
    }
    for recipe in (settled(tmp_path), with_certificates(tmp_path, files)):
        with dask.config.set(configured):
            for path in files.values():
                with pytest.raises(UserError, match="certificate of the cluster is not there") as caught:
                    security_of(recipe)
                assert caught.value.found == str(path)
                path.touch()
            found = security_of(recipe)
        assert isinstance(found, Security)
        assert found.require_encryption
        assert (found.tls_ca_file, found.tls_client_key) == (str(files["ca"]), str(files["key"]))
        for path in files.values():
            path.unlink()


# ---- other software -------------------------------------------------------------------------------------------------


def test_what_differs_is_named_and_where() -> None:
    here = software.own()

    class Cluster:
        """What answers for scheduler and workers."""

        @staticmethod
        def get_versions(packages: list[str]) -> dict[str, Any]:
            assert "frostmap" in packages
            python = f"{here['python']}.99.final.0"  # another patch is no other Python
            worker = {"packages": here | {"python": python, "numba": "0.1", "zarr": None}}
            return {
                "client": {"packages": here | {"python": python}},
                "scheduler": {"packages": here | {"python": "3.1.0.final.0", "numba": "0.1", "frostmap": None}},
                "workers": {"tcp://1": worker, "tcp://2": worker, "tcp://3": {"packages": here | {"python": python}}},
            }

    with pytest.raises(SoftwareDiffers) as caught:
        software.check(Cluster())  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.found == (
        f"the scheduler: python 3.1, not {here['python']}; "
        f"worker tcp://1 and 1 more: numba 0.1, not {here['numba']}; zarr is missing, not {here['zarr']}"
    )


@contextmanager
def worker_of_another_version(folder: Path, running: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker that believes to have another zarr."""
    (folder / "zarr-0.0.1.dist-info").mkdir()
    (folder / "zarr-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: zarr\nVersion: 0.0.1\n")
    command = [sys.executable, "-m", "dask", "worker", running, "--nthreads", "1", "--no-dashboard", "--name", "other"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    with subprocess.Popen([*command, "--no-nanny"], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_of_another_version_is_refused_at_the_beginning_and_leaves_when_it_comes_later(tmp_path: Path) -> None:
    with scheduler() as running:
        (tmp_path / "a").mkdir()
        with (
            open_cluster(settled(tmp_path), running) as opened,
            worker_of_another_version(tmp_path / "a", running) as late,
        ):
            assert late.wait(300) == 0
            assert opened.client.submit(sum, [1, 2]).result() == 3
        (tmp_path / "b").mkdir()
        with worker_of_another_version(tmp_path / "b", running), Client(running) as other:
            other.wait_for_workers(2, timeout=300)
            with pytest.raises(SoftwareDiffers, match=r"zarr 0\.0\.1, not"), open_cluster(settled(tmp_path), running):
                pass
