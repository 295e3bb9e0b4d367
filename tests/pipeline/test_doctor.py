"""`frostmap doctor` sees what is wrong before a run does, says what to do, and shows no secret."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
import yaml
from typer.testing import CliRunner

from frostmap.pipeline import plan
from frostmap.pipeline.cli import app
from frostmap.pipeline.doctor import Finding, examine, machine, reach
from frostmap.pipeline.granule_reader import GranuleReader
from frostmap.pipeline.recipe import Catalogue, Recipe

from .small_chain import CHAIN, in_place, recipe_in

SECRET = "not-to-be-shown"  # noqa: S105


@pytest.fixture(autouse=True)
def chain() -> Iterator[None]:
    """Put the small chain in the place of the real one."""
    with in_place():
        yield


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Return a recipe that needs nothing from elsewhere."""
    return recipe_in(tmp_path)


def states(found: Iterator[Finding]) -> dict[str, str]:
    return {finding.check: finding.state for finding in found}


def only(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    return finding


# ---- the machine ----------------------------------------------------------------------------------------------------


def test_where_all_is_well_it_says_so(recipe: Recipe, tmp_path: Path) -> None:
    found = list(examine(recipe, tmp_path / "work", where="threads", ask_hosts=True))
    assert states(iter(found)) == dict.fromkeys(
        ["software", "HDF4", "work directory", "memory", "network", "cluster"], "good"
    )
    assert "threads: 1 workers" in found[-1].found
    assert not (tmp_path / "work").exists(), "it looks, and makes nothing"


def test_a_library_that_is_missing_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["no-such-library>=1", "numpy>=99", "zarr>=3", "torch>=99; extra == 'network'"]
    monkeypatch.setattr(machine, "requires", lambda _name: needed)
    found = only(machine.software())
    assert found.state == "bad"
    assert "no-such-library is missing, not >=1; numpy " in found.found
    assert "zarr" not in found.found
    assert "torch" not in found.found
    assert "requirements.lock" in found.remedy


def test_an_hdf_library_that_fails_or_reads_nonsense_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.hdf4()).state == "good"
    read = GranuleReader.read
    monkeypatch.setattr(
        GranuleReader, "read", lambda *given, **named: {k: v + 1 for k, v in read(*given, **named).items()}
    )
    assert only(machine.hdf4()).state == "bad"

    def broken(*_: object, **__: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(GranuleReader, "read", broken)
    assert "no such library" in only(machine.hdf4()).found


def test_a_disk_that_cannot_be_written_or_is_nearly_full_is_seen(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    found = only(machine.disk(tmp_path / "file" / "work", recipe))
    assert found.state == "bad"
    assert str(tmp_path / "file") in found.found
    for given in (recipe, None):
        assert only(machine.disk(tmp_path, given)).state == "good"
    monkeypatch.setattr(machine, "LITTLE_DISK", 10**18)
    for given in (recipe, None):
        assert only(machine.disk(tmp_path, given)).state == "doubtful"


def test_a_task_that_no_worker_can_hold_is_named(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = dataclasses.replace(CHAIN[1], memory=lambda _work, _scope: 10**15)
    monkeypatch.setattr(plan, "STAGES", (CHAIN[0], greedy))
    found = only(machine.memory(tmp_path, recipe))
    assert found.state == "bad"
    assert "multiply 2020 takes at most 1.0 PB" in found.found


# ---- what is elsewhere ----------------------------------------------------------------------------------------------


class NotFound(BaseHTTPRequestHandler):
    """A host that has nothing."""

    def do_GET(self) -> None:
        self.send_error(503 if "broken" in self.path else 404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    """Yield the address of a host."""
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def at(recipe: Recipe, endpoint: str, location: str = "s3://bucket/prefix") -> Recipe:
    store = recipe.store.model_copy(update={"endpoint": endpoint, "location": location})
    return recipe.model_copy(update={"store": store})


def test_hosts_that_answer_are_good_whatever_they_say_and_others_are_named(recipe: Recipe, host: str) -> None:
    assert only(reach.network(at(recipe, host))).state == "good"
    assert only(reach.network(at(recipe, f"{host}/broken"))).state == "doubtful"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{closed.getsockname()[1]}"
        found = only(reach.network(at(recipe, f"http://{name}"), timeout_s=2))
    assert (found.check, found.state) == (f"network {name}", "bad")
    assert found.remedy


def test_no_host_is_asked_unless_told_to(
    recipe: Recipe, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(requests, "get", asked)
    assert "network" not in states(examine(at(recipe, host), tmp_path, where="threads"))


def test_hosts_are_those_of_the_recipe_and_of_the_services_that_it_names(recipe: Recipe) -> None:
    second = Catalogue(kind="stac", catalogue="https://stac.example.org/v1?key=x")
    sources = recipe.sources.model_copy(update={"lst": Catalogue(kind="earthdata", second=second)})
    assert set(reach.hosts(recipe.model_copy(update={"sources": sources}))) == {
        "cmr.earthdata.nasa.gov",
        "stac.example.org",
    }


def test_accounts_are_looked_for_and_never_shown(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = recipe.sources.model_copy(update={"lst": Catalogue(kind="earthdata")})
    asked = at(recipe.model_copy(update={"sources": sources}), "")
    names = ("EARTHDATA_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert states(reach.credentials(asked)) == {"Earthdata": "bad", "object store": "doubtful"}
    assert states(reach.credentials(recipe)) == {}

    (tmp_path / "netrc").write_text(f"machine urs.earthdata.nasa.gov login {SECRET} password {SECRET}")
    for name in names[1:3]:
        monkeypatch.setenv(name, SECRET)
    found = list(reach.credentials(asked))
    assert {finding.state for finding in found} == {"good"}
    assert SECRET not in str(found)
    (tmp_path / "netrc").write_text(f"nonsense {SECRET}")
    found = list(reach.credentials(asked))
    assert found[0].state == "bad"
    assert SECRET not in str(found)
    monkeypatch.setenv("EARTHDATA_TOKEN", SECRET)
    assert next(reach.credentials(asked)).state == "good"


def test_a_cluster_that_cannot_be_had_says_why(recipe: Recipe) -> None:
    found = only(reach.cluster(recipe, "tcp://192.0.2.7:8786"))
    assert found.state == "bad"
    assert "not encrypted" in found.found
    assert "cluster.tls" in found.remedy


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_ends_with_0_or_2_and_speaks_json(recipe: Recipe, tmp_path: Path) -> None:
    assert recipe.name == "tiny"
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    given = ["doctor", str(path), "--workdir", str(tmp_path / "work"), "--cluster", "threads"]
    good = CliRunner().invoke(app, given)
    assert good.exit_code == 0, good.output
    assert "fit for a run" in good.stdout
    (tmp_path / "file").touch()
    given[3] = str(tmp_path / "file" / "work")
    bad = CliRunner().invoke(app, [*given, "--json"])
    assert bad.exit_code == 2
    lines = [json.loads(line) for line in bad.stdout.splitlines()]
    assert [line["state"] for line in lines if line.get("check") == "work directory"] == ["bad"]
    assert lines[-1]["exit_code"] == 2
    assert "work directory" in lines[-1]["error"]["found"]


def test_without_a_recipe_the_machine_alone_is_looked_at(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--workdir", str(tmp_path)])
    assert result.exit_code == 0
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:4]] == ["software", "HDF4", "work directory"]
