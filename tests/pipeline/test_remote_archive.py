"""A run ends in the same cube from wherever its granules are; what failed is listed, and tried again alone."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr
import yaml
from distributed import Client
from typer.testing import CliRunner

from frostmap.pipeline import cli, upkeep
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.work import Work

from .conftest import Finished, make_recipe, recipe_content

TILE = "h25v05"


class Archive:
    """The simulated archive behind a web server that can be told to misbehave."""

    def __init__(self, folder: Path) -> None:
        self.asked: Counter[str] = Counter()
        """Requests for granules by file name."""
        self.answers: dict[str, list[HTTPStatus]] = {}
        """Statuses that a file name gets, one a request, before it is served; the last one stays."""
        archive = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                if name.endswith(".hdf"):
                    archive.asked[name] += 1
                waiting = archive.answers.get(name)
                if waiting:
                    status = waiting[0] if waiting[0] is HTTPStatus.NOT_FOUND else waiting.pop(0)
                    self.send_error(status)
                else:
                    super().do_GET()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def remote(archive: Path) -> Iterator[Archive]:
    served = Archive(archive)
    yield served
    served.server.shutdown()
    served.server.server_close()


def recipe_from(remote: Archive, archive: Path, cache: Path, **others: Any) -> Recipe:
    """Return a recipe of one tile and epoch whose surface temperature comes over HTTP; `others` replace sources."""
    content = recipe_content(archive)
    sources = {
        **{key: value for key, value in content["sources"].items() if key not in ("truth", "boreholes")},
        "lst": {"catalogue": f"http://{remote.host}/catalog.json"},
        "allow_hosts": [remote.host],
        **others,
    }
    by_epoch = ("snow_cover", "precipitation", "lakes", "glaciers")
    sources |= {key: {"training": sources[key]["training"]} for key in by_epoch}
    return make_recipe(
        archive,
        region={"tiles": [TILE], "outline": "outline.geojson", "pixels_per_tile": 24},
        epochs={"training": {"years": [2010]}},
        sources=sources,
        downloads={"folder": str(cache), "attempts": 2},
    )


def test_a_run_over_http_lists_what_failed_retries_that_alone_and_ends_in_the_same_cube(
    remote: Archive, archive: Path, pristine: Finished, tmp_path: Path, client: Client
) -> None:
    recipe, work = recipe_from(remote, archive, tmp_path / "cache"), tmp_path / "work"
    names = sorted(path.name for path in archive.rglob("M?D11A1.A2010*.hdf") if TILE in path.name)
    lost, busy = names[40], names[300]
    remote.answers = {lost: [HTTPStatus.NOT_FOUND], busy: [HTTPStatus.SERVICE_UNAVAILABLE]}

    with pytest.raises(DataIncomplete, match="1 of 730 granules of 2010 are bad") as caught:
        run(recipe, work, until="ingest", client=client)
    assert lost.removesuffix(".hdf") in caught.value.found
    assert "frostmap retry" in caught.value.remedy
    table = pd.read_csv(work / "tables" / "granules-2010.csv", keep_default_na=False)
    assert table.loc[table["status"] != "ok", "id"].tolist() == [lost.removesuffix(".hdf")]
    assert (table["source"] == remote.host).all()
    assert remote.asked == Counter(dict.fromkeys(names, 1) | {busy: 2})

    remote.asked.clear()
    retried = upkeep.retry(recipe, work, client=client)
    assert [note["id"] for note in retried.failed] == [lost.removesuffix(".hdf")]
    assert remote.asked == {lost: 1}
    del remote.answers[lost]
    assert upkeep.retry(recipe, work, client=client) == upkeep.Retried(1, [])
    assert remote.asked == {lost: 2}

    run(recipe, work, until="ingest", client=client)
    assert remote.asked == {lost: 2}
    local = Work(pristine.recipe, pristine.folder).open("ingest/2010")
    fetched = Work(recipe, work).open("ingest/2010")
    xr.testing.assert_equal(fetched, local.sel(y=fetched["y"], x=fetched["x"]))  # not of one extent


def table_of_items(archive: Path, path: Path, root: str) -> None:
    """Write the items of one tile and year as a snapshot has them, with files below an address or a folder."""
    table = pytest.importorskip("pyarrow", reason="pyarrow reads tables of items; it is optional")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads tables of items; it is optional")
    items = [json.loads(one.read_text()) for one in sorted((archive / "stac").glob(f"*/{TILE}-2010/M*.json"))]
    rows = [
        {
            "id": item["id"],
            "assets": {
                key: asset | {"href": asset["href"].replace("../../..", root)} for key, asset in item["assets"].items()
            },
            "created": item["properties"]["created"],
        }
        for item in items
    ]
    parquet.write_table(table.Table.from_pylist(rows), path)


@pytest.mark.parametrize("kind", ["folder", "parquet", "parquet of a web archive"])
def test_a_run_from_a_folder_or_a_table_ends_in_the_same_cube(
    kind: str, remote: Archive, archive: Path, pristine: Finished, tmp_path: Path, client: Client
) -> None:
    table = tmp_path / "items.parquet"
    if kind == "folder":
        source = {"kind": kind, "catalogue": "granules"}
    else:
        table_of_items(archive, table, str(archive) if kind == "parquet" else f"http://{remote.host}")
        source = {"kind": "parquet", "catalogue": str(table)}
    recipe = recipe_from(remote, archive, tmp_path / "cache", lst=source, ndvi=source)
    finished = run(recipe, tmp_path / "work", until="vegetation", client=client)

    before, after = Work(pristine.recipe, pristine.folder), finished.work
    for group in ("ingest/2010", "vegetation/2010"):
        made = after.open(group)
        xr.testing.assert_equal(made, before.open(group).sel(y=made["y"], x=made["x"]))  # not of one extent
    for name in ("granules-2010", "composites-2010"):
        rows, others = after.table(name), before.table(name).query("tile == @TILE")
        assert set(rows.pop("source")) == {"granules" if kind == "folder" else "items.parquet"}
        pd.testing.assert_frame_equal(rows, others.drop(columns="source").reset_index(drop=True))
    assert len(remote.asked) == (730 + 23 if kind.endswith("archive") else 0)
    again = run(recipe, tmp_path / "work", until="vegetation", client=client)
    assert [step.reason for step in again.steps] == [None, None]


def test_the_command_line_retries_verifies_and_shows_each_tile(
    archive: Path, finished: Finished, client: Client
) -> None:
    runner = CliRunner()
    copy = finished.folder / cli.RECIPE_COPY
    copy.write_text(yaml.safe_dump(recipe_content(archive)), encoding="utf-8")
    status = runner.invoke(cli.app, ["status", str(finished.folder), "--json"])
    tiles = json.loads(status.stdout)["tiles"]
    assert {"step": "ingest/2020", "tile": "h26v05", "done": 16, "tasks": 16, "failed_granules": 0} in tiles
    shown = runner.invoke(cli.app, ["status", str(finished.folder)]).stdout
    assert "100 %" in next(line for line in shown.splitlines() if "vegetation/2010" in line and "%" in line)

    assert runner.invoke(cli.app, ["retry", str(finished.folder)]).stdout.strip().endswith("no granule has failed")
    assert runner.invoke(cli.app, ["verify", str(finished.folder)]).exit_code == 0
    chunks = finished.folder / "cube.zarr" / "forcing" / "target" / "ddf" / "c"
    chunk = next(path for path in chunks.rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    failed = runner.invoke(cli.app, ["verify", str(finished.folder)])
    assert failed.exit_code == 3
    assert "forcing/target/ddf/c" in failed.stderr
    assert "frostmap run" in failed.stderr
    run(finished.recipe, finished.folder, client=client)
    assert runner.invoke(cli.app, ["verify", str(finished.folder)]).exit_code == 0
