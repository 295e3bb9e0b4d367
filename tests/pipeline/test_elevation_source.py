"""Cells of an elevation catalogue give what one raster of them would; one that does not come is never silent."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
import yaml
from affine import Affine
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.merge import merge
from typer.testing import CliRunner

from frostmap.catalogs.elevation import ElevationTile, tile_corners, tile_name
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.grids import SINUSOIDAL_CRS
from frostmap.pipeline import cli, demands, plan, schema
from frostmap.pipeline.downloads import Downloads
from frostmap.pipeline.elevation_cells import fetched_cells, places_in, square_degrees, table_of
from frostmap.pipeline.elevation_mosaic import Mosaic, mosaic_of_cells
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.run import Event, run
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.relief import elevation
from frostmap.pipeline.stage import Products, Stage, all_years
from frostmap.pipeline.stages.covariates import COVARIATES
from frostmap.pipeline.stages.elevation_cells import ELEVATION_CELLS
from frostmap.pipeline.stages.masks import MASKS
from frostmap.pipeline.stages.precipitation import PRECIPITATION_MADE
from frostmap.pipeline.stages.snow_cover import SNOW_COVER_MADE
from frostmap.pipeline.stages.soil import SOIL_MADE
from frostmap.pipeline.stages.terrain import TERRAIN_MADE
from frostmap.pipeline.work import Work, sources_of

from . import fault_server as faults
from .fault_server import FaultServer, sent, status
from .small_chain import one_thread

FINE = 60
"""Cells of elevation along a degree; those of the real model have 1200."""

CORNERS = [(south, west) for south in (33, 34) for west in (91, 92)]
NAMES = [tile_name(corner) for corner in CORNERS]
Corner = tuple[int, int]


def cell_profile(corner: Corner, fine: int = FINE, dtype: str = "float32") -> dict[str, Any]:
    """Return how a cell is written: centred on whole degrees, so half a spacing beside its square degree."""
    south, west = corner
    transform = Affine(1 / fine, 0, west - 0.5 / fine, 0, -1 / fine, south + 1 + 0.5 / fine)
    profile = {"driver": "COG", "compress": "DEFLATE", "count": 1, "dtype": dtype, "crs": "EPSG:4326"}
    return profile | {"height": fine, "width": fine, "transform": transform}


def write_cell(path: Path, corner: Corner, fine: int = FINE) -> Path:
    """Write a cell of the simulated plateau."""
    profile = cell_profile(corner, fine)
    rows, columns = np.mgrid[0:fine, 0:fine] + 0.5
    longitude, latitude = profile["transform"].c + columns / fine, profile["transform"].f - rows / fine
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as file:
        file.write(elevation(7, Places(longitude, latitude, 111.2 / fine)).astype("float32"), 1)
    return path


def item(name: str, href: str) -> dict[str, Any]:
    """Return an item in the form of the public catalogue's."""
    west, south, east, north = tile_corners(name) or (0, 0, 0, 0)
    ring = [[east, south], [east, north], [west, north], [west, south], [east, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "cop-dem-glo-90",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"platform": "tandem-x", "gsd": 90, "proj:epsg": 4326, "datetime": "2021-04-22T00:00:00Z"},
        "links": [{"rel": "collection", "href": "./collection.json"}],
        "assets": {"data": {"href": href, "type": "image/tiff; application=geotiff; profile=cloud-optimized"}},
    }


def catalogue(names: list[str] = NAMES, href: str = "../dem/{}.tif") -> dict[str, dict[str, Any]]:
    """Return the documents of a static catalogue by file name."""
    links = [{"rel": "item", "href": f"./{name}.json"} for name in names]
    collection = {"type": "Collection", "id": "cop-dem-glo-90", "links": links}
    return {"collection.json": collection} | {f"{name}.json": item(name, href.format(name)) for name in names}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four cells, their catalogue, one raster of all, and what else a recipe names."""
    folder = tmp_path_factory.mktemp("model")
    paths = [write_cell(folder / "dem" / f"{tile_name(corner)}.tif", corner) for corner in CORNERS]
    merge(paths, dst_path=folder / "merged.tif", nodata=np.nan)
    (folder / "stac").mkdir()
    for name, document in catalogue().items():
        (folder / "stac" / name).write_text(json.dumps(document))
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 8, "width": 8, "crs": "EPSG:4326"}
    with rasterio.open(folder / "even.tif", "w", transform=Affine(1, 0, 88, 0, -1, 38), **profile) as file:
        file.write(np.full((1, 8, 8), 30, "float32"))
    return folder


def recipe_of(model: Path, source: Any, **sections: Any) -> Recipe:
    """Return a recipe of a region within the four cells."""
    by_epoch = {"training": "even.tif"}
    content = {
        "name": "high",
        "data": str(model),
        "region": {"bbox": [91.3, 33.3, 92.7, 34.7], "pixels_per_tile": 240},
        "epochs": {"training": {"years": [2010]}},
        "sources": {
            "forcing": {"training": {"freezing": "even.tif", "thawing": "even.tif"}},
            "ndvi": {"kind": "folder", "catalogue": "."},
            "elevation": source,
            **dict.fromkeys(("sand", "clay"), "even.tif"),
            **dict.fromkeys(("snow_cover", "precipitation"), by_epoch),
            "surveys": [{"name": "none", "path": "even.tif"}],
            "allow_hosts": sections.pop("allow_hosts", []),
        },
        "terrain": {"wetness_margin_km": 5},
        "store": {"chunk_pixels": 24},
    }
    return parse_recipe(yaml.safe_dump(content | sections), model / "recipe.yaml")


def greenness(work: Work, _year: str) -> Products:
    """Stand for the NDVI of a year."""
    field = da.full((23, *work.shape), np.float32(0.3), chunks=(23, 24, 24))
    cube = xr.Dataset({schema.NDVI_SERIES.name: (schema.NDVI_SERIES.dims, field, schema.NDVI_SERIES.attrs)})
    return Products(cube=cube, coords={"composite": np.arange(23, dtype="int16")})


GREENNESS = Stage("vegetation", "NDVI", greenness, scopes=all_years, writes=(schema.NDVI_SERIES,))
OF_GRIDS = (PRECIPITATION_MADE, SNOW_COVER_MADE, SOIL_MADE)
SOME_STAGES = (GREENNESS, ELEVATION_CELLS, TERRAIN_MADE, *OF_GRIDS, MASKS, COVARIATES)


@pytest.fixture(autouse=True)
def _only_what_elevation_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STAGES", SOME_STAGES)
    monkeypatch.setattr(Work, "granules", property(lambda _: {}))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with one_thread() as connection:
        yield connection


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with faults.running() as running:
        yield running


def served(server: FaultServer, model: Path, names: list[str] = NAMES) -> dict[str, str]:
    """Serve the catalogue and the cells; return the source."""
    for name, document in catalogue(names).items():
        server.plan(f"/stac/{name}", sent(json.dumps(document).encode()))
    for name in names:
        server.plan(f"/dem/{name}.tif", sent((model / "dem" / f"{name}.tif").read_bytes()))
    return {"catalogue": f"http://{server.host}/stac/collection.json"}


@pytest.fixture(scope="module")
def reference(model: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Return the predictors made from one raster that an independent program joined."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "STAGES", SOME_STAGES)
        patch.setattr(Work, "granules", property(lambda _: {}))
        made = run(recipe_of(model, "merged.tif"), folder, client=client)
    return made.work.open("covariates/training").load()


def covariates(recipe: Recipe, folder: Path, client: Client, report: Callable[[Event], None] = print) -> xr.Dataset:
    return run(recipe, folder, client=client, report=report).work.open("covariates/training").load()


def cells_table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / "elevation-cells.csv", keep_default_na=False).set_index("id")


# ---- one raster, or cells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stac", "folder"])
def test_cells_on_disk_give_what_one_raster_gives(
    kind: str, model: Path, reference: xr.Dataset, client: Client, tmp_path: Path
) -> None:
    recipe = recipe_of(model, {"kind": kind, "catalogue": "stac" if kind == "stac" else "dem"})
    made = covariates(recipe, tmp_path, client)
    inside = Work(recipe, tmp_path).inside
    assert np.isfinite(made["elevation"].values[inside]).all()
    xr.testing.assert_identical(made, reference)
    table = cells_table(tmp_path)
    assert list(table.index) == NAMES
    assert (table["status"] == "ok").all()
    assert (table["source"] == ("stac" if kind == "stac" else "dem")).all()
    assert not (tmp_path / "downloads").exists()


def test_cells_over_http_are_fetched_once_and_give_the_same(
    model: Path, reference: xr.Dataset, client: Client, server: FaultServer, tmp_path: Path
) -> None:
    recipe = recipe_of(model, served(server, model), allow_hosts=[server.host])
    xr.testing.assert_identical(covariates(recipe, tmp_path, client), reference)
    assert [server.count(f"/dem/{name}.tif") for name in NAMES] == [1] * 4
    cached = tmp_path / "downloads" / "COP-DEM_GLO-90.2021"
    assert sorted(path.name for path in cached.iterdir()) == sorted(f"{n}.tif{e}" for n in NAMES for e in ("", ".json"))
    on_disk = cells_table(tmp_path)["sha256"].to_dict()
    assert on_disk == {name: json.loads((cached / f"{name}.tif.json").read_text())["sha256"] for name in NAMES}
    other = tmp_path / "other"
    recipe = recipe_of(
        model, served(server, model), allow_hosts=[server.host], downloads={"folder": str(tmp_path / "downloads")}
    )
    xr.testing.assert_identical(covariates(recipe, other, client), reference)
    assert [server.count(f"/dem/{name}.tif") for name in NAMES] == [1] * 4


def test_without_leave_no_other_machine_is_asked_for_cells(
    model: Path, client: Client, server: FaultServer, tmp_path: Path
) -> None:
    for name, document in catalogue(href=f"http://{server.host}/dem/{{}}.tif").items():
        (tmp_path / name).write_text(json.dumps(document))
    with pytest.raises(DataIncomplete, match="4 of 4 cells") as caught:
        run(recipe_of(model, {"catalogue": str(tmp_path)}), tmp_path / "work", client=client)
    assert "may not be asked" in caught.value.found
    assert server.asked == []


@pytest.fixture
def signing(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    """Make the server one whose addresses are signed."""
    plain = Work.downloads.fget  # type: ignore[attr-defined]
    endpoint = f"http://{server.host}/token"
    changes = {"sas_endpoint": endpoint, "signed_hosts": (server.host,), "backoff_s": 0.001}
    monkeypatch.setattr(Work, "downloads", property(lambda work: replace(plain(work), **changes)))
    return server


def token(word: str, minutes: float) -> faults.Answer:
    expiry = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    return sent(json.dumps({"token": f"sig={word}", "msft:expiry": expiry.isoformat()}).encode())


@pytest.mark.parametrize("ended", ["by its time", "before its time"])
def test_cells_are_signed_just_before_they_are_read_and_again_when_that_ended(
    ended: str, model: Path, reference: xr.Dataset, client: Client, signing: FaultServer, tmp_path: Path
) -> None:
    source, valid = served(signing, model), ["sig=canary-1"]

    def only_signed(body: bytes) -> faults.Answer:
        def answer(handler: faults.Handler) -> None:
            (sent(body) if handler.path.endswith(valid[0]) else status(403))(handler)
            valid[:] = ["sig=canary-2"]  # the first word is good for one cell

        return answer

    for name in NAMES:
        signing.plan(f"/dem/{name}.tif", only_signed((model / "dem" / f"{name}.tif").read_bytes()))
    signing.plan("/token/127/dem", token("canary-1", 0.5 if ended == "by its time" else 60), token("canary-2", 60))
    recipe = recipe_of(model, source, allow_hosts=[signing.host], downloads={"connections": 1})
    xr.testing.assert_identical(covariates(recipe, tmp_path, client), reference)
    assert signing.count("/token/127/dem") == 2
    assert sum(signing.count(f"/dem/{name}.tif") for name in NAMES) == (4 if ended == "by its time" else 5)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if b"canary" in path.read_bytes()] == []


# ---- what does not come --------------------------------------------------------------------------------------------


def test_a_cell_that_fails_ends_the_run_with_a_list_and_is_tried_again_alone(
    model: Path, reference: xr.Dataset, client: Client, server: FaultServer, tmp_path: Path
) -> None:
    recipe = recipe_of(model, served(server, model), allow_hosts=[server.host])
    lost = NAMES[2]
    server.plan(f"/dem/{lost}.tif", status(404))
    for _ in range(2):
        with pytest.raises(DataIncomplete, match="1 of 4 cells of the elevation model are bad") as caught:
            run(recipe, tmp_path, client=client)
        assert caught.value.exit_code == 3
        assert caught.value.found.startswith(f"{lost}: cannot be downloaded")
        assert "404" in caught.value.found
        assert cells_table(tmp_path)["status"].to_dict() == dict.fromkeys(NAMES, "ok") | {lost: "bad"}
    served(server, model)
    xr.testing.assert_identical(covariates(recipe, tmp_path, client), reference)
    assert [server.count(f"/dem/{name}.tif") for name in NAMES] == [1, 1, 3, 1]
    assert (cells_table(tmp_path)["status"] == "ok").all()


def test_a_cell_that_fails_is_a_listed_hole_where_the_recipe_accepts_that(
    model: Path, reference: xr.Dataset, client: Client, server: FaultServer, tmp_path: Path
) -> None:
    source = served(server, model)
    server.plan(f"/dem/{NAMES[0]}.tif", sent(b"<html>log in</html>"))
    recipe = recipe_of(model, source, allow_hosts=[server.host], ingest={"bad_granules": "accept"})
    made = covariates(recipe, tmp_path, client)["elevation"]
    assert cells_table(tmp_path)["status"].to_dict() == dict.fromkeys(NAMES, "ok") | {NAMES[0]: "bad"}
    hole = np.isnan(made.values) & np.isfinite(reference["elevation"].values)
    assert hole.any()
    assert (np.isfinite(made.values) & Work(recipe, tmp_path).inside).any()
    refusing = recipe_of(model, source, allow_hosts=[server.host])
    with pytest.raises(DataIncomplete, match="1 of 4 cells"):
        run(refusing, tmp_path, client=client)


@pytest.mark.parametrize("missing", ["accept", "refuse"])
def test_a_cell_in_no_catalogue_is_listed_and_refused_where_the_recipe_says_so(
    missing: str, model: Path, client: Client, server: FaultServer, tmp_path: Path
) -> None:
    source = served(server, model, NAMES[:3])
    recipe = recipe_of(model, source, allow_hosts=[server.host], ingest={"missing_granules": missing})
    work = Work(recipe, tmp_path)
    assert work.elevation_cells is not None
    assert work.elevation_cells.missing == (NAMES[3],)
    if missing == "refuse":
        with pytest.raises(DataIncomplete, match="1 of 4 cells of the elevation model are missing") as caught:
            run(recipe, tmp_path, client=client)
        assert NAMES[3] in caught.value.found
    else:
        made = covariates(recipe, tmp_path, client)["elevation"].values
        assert np.isnan(made[work.inside]).any()
        assert np.isfinite(made[work.inside]).any()
    assert cells_table(tmp_path)["status"].to_dict() == dict.fromkeys(NAMES[:3], "ok") | {NAMES[3]: "missing"}


def test_what_the_first_source_lacks_comes_from_the_second(
    model: Path, reference: xr.Dataset, client: Client, server: FaultServer, tmp_path: Path
) -> None:
    first = served(server, model, NAMES[:2])
    recipe = recipe_of(model, first | {"second": {"kind": "folder", "catalogue": "dem"}}, allow_hosts=[server.host])
    xr.testing.assert_identical(covariates(recipe, tmp_path, client), reference)
    assert cells_table(tmp_path)["source"].tolist() == [server.host] * 2 + ["dem"] * 2


def test_plan_says_how_many_cells_there_are(model: Path, server: FaultServer, tmp_path: Path) -> None:
    first = served(server, model, NAMES[:1])
    recipe = recipe_of(model, first | {"second": {"kind": "folder", "catalogue": "dem"}}, allow_hosts=[server.host])
    told = {"expected": 4, "found_in": {server.host: 1, "dem": 3}, "missing": []}
    summary = plan.plan(recipe, tmp_path).summary()
    assert summary["elevation_cells"] == told
    assert [step["step"] for step in summary["steps"]][:3] == ["vegetation/2010", "elevation_cells", "terrain"]
    memory = summary["steps"][2]["memory_bytes"] - demands.worker_bytes("terrain")
    assert (
        14 * 1800 * 2400 < memory < 14 * 2600 * 4600 + 300_000_000
    )  # the region's square and its lean, in 3 arc seconds
    recipe = recipe_of(model, first, allow_hosts=[server.host])
    told = {"expected": 4, "found_in": {server.host: 1}, "missing": NAMES[1:]}
    assert plan.plan(recipe, tmp_path).summary()["elevation_cells"] == told
    copy = tmp_path / "recipe.yaml"
    copy.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    shown = " ".join(CliRunner().invoke(cli.app, ["plan", str(copy)]).stdout.split())
    assert f"cells of elevation, 4 wanted: 1 from {server.host}; in no catalogue: {', '.join(NAMES[1:])}" in shown
    assert plan.plan(recipe_of(model, "merged.tif"), tmp_path).summary()["elevation_cells"] is None


def test_two_sources_of_one_name_are_told_apart_in_messages(model: Path, tmp_path: Path) -> None:
    source = {"kind": "folder", "catalogue": "a/cells", "second": {"kind": "folder", "catalogue": "b/cells"}}
    recipe = recipe_of(model, source)
    assert [one.name for one in sources_of(recipe)["elevation"]] == ["a/cells", "b/cells"]
    with pytest.raises(CatalogError, match="the source a/cells cannot be searched for elevation: no folder"):
        plan.plan(recipe, tmp_path)


def test_a_catalogue_without_any_cell_of_the_region_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "collection.json").write_text(json.dumps({"type": "Collection", "id": "cop-dem-glo-90", "links": []}))
    with pytest.raises(DataIncomplete, match="no source has a cell") as caught:
        plan.plan(recipe_of(model, {"catalogue": str(tmp_path)}), tmp_path / "work")
    assert caught.value.wanted == f"{', '.join(NAMES[:3])} and 1 more"


# ---- what is kept --------------------------------------------------------------------------------------------------


def test_a_step_stands_while_its_cells_do_and_only_terrain_is_made_again(
    model: Path, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "dem"
    for corner in CORNERS:
        write_cell(folder / f"{tile_name(corner)}.tif", corner)
    source, work = {"kind": "folder", "catalogue": str(folder)}, tmp_path / "work"
    recipe = recipe_of(model, source, store={"chunk_pixels": 12})
    before = covariates(recipe, work, client)
    assert [step.reason for step in plan.plan(recipe, work).steps] == [None] * 8

    with rasterio.open(folder / f"{NAMES[0]}.tif", "w", **cell_profile(CORNERS[0])) as file:
        file.write(np.full((1, FINE, FINE), 4000, "float32"))
    reasons = [step.reason for step in plan.plan(recipe, work).steps]
    assert reasons[:3] == [None, "changed: elevation cells", "made again: elevation_cells"]
    events: list[Event] = []
    made = covariates(recipe, work, client, events.append)
    done, total = next(
        (event.done, event.total) for event in events if (event.kind, event.step) == ("started", "terrain")
    )
    assert 0 < done < total  # where the cell is not, terrain stands
    assert (made["elevation"] == 4000).any()
    assert not (before["elevation"] == 4000).any()
    xr.testing.assert_identical(made[["sand", "ndvi"]], before[["sand", "ndvi"]])

    (folder / f"{NAMES[3]}.tif").unlink()
    assert plan.plan(recipe, work).steps[1].reason == "changed: elevation cells"


# ---- files that are not what they should be ------------------------------------------------------------------------


def flipped(path: Path) -> None:
    """Change one bit of the last block's end."""
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as file:
        place, size = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    content[place + size - 2] ^= 1
    path.write_bytes(content)


def replaced(**changes: Any) -> Callable[[Path], None]:
    """Write another raster in the cell's place."""

    def write(path: Path) -> None:
        profile = cell_profile(CORNERS[0]) | changes
        with rasterio.open(path, "w", **profile) as file:
            file.write(np.ones((profile["count"], profile["height"], profile["width"]), profile["dtype"]))

    return write


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "cannot be read"),
        (flipped, "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"<html>log in</html>"), "cannot be read"),
        (lambda path: path.unlink(), "cannot be read"),
        (replaced(dtype="int16"), "1 bands of int16"),
        (replaced(count=2), "2 bands of float32"),
        (replaced(crs="EPSG:3857"), "not on degrees"),
        (replaced(crs=None), "not on degrees"),
        (replaced(transform=cell_profile((35, 91))["transform"]), "where its name says"),
        (replaced(height=FINE // 2), "where its name says"),
    ],
    ids=["cut", "flipped", "empty", "page", "gone", "type", "bands", "metres", "no CRS", "elsewhere", "half"],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_file_that_is_not_its_cell_is_not_read(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    paths = [write_cell(tmp_path / f"{tile_name(corner)}.tif", corner) for corner in CORNERS[:2]]
    spoil(paths[0])
    cells = [ElevationTile(path.stem, str(path), tile_corners(path.stem) or (0, 0, 0, 0)) for path in paths]
    notes = fetched_cells(cells, Downloads(tmp_path / "cache"))
    assert [note["status"] for note in notes] == ["bad", "ok"]
    assert words in notes[0]["error"]
    found = places_in(table_of(notes, ["another"]), cells, tmp_path / "cache")
    assert [place.name for place, _ in found] == NAMES[1:2]


def mosaic_of(folder: Path, *cells: tuple[Corner, int]) -> Mosaic:
    tiles = []
    for corner, fine in cells:
        path = write_cell(folder / f"{tile_name(corner)}.tif", corner, fine)
        tiles.append(ElevationTile(path.stem, str(path), tile_corners(path.stem) or (0, 0, 0, 0)))
    notes = fetched_cells(tiles, Downloads(folder / "cache"))
    return mosaic_of_cells([place for place, _ in places_in(table_of(notes, []), tiles, folder)])


def test_cells_of_different_spacings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not on one grid") as caught:
        mosaic_of(tmp_path, (CORNERS[0], 60), (CORNERS[1], 40))
    assert caught.value.found == "spacings 60 x 60 arc seconds and 90 x 90 arc seconds"


def test_a_run_over_cells_of_different_spacings_is_refused(model: Path, client: Client, tmp_path: Path) -> None:
    for corner in CORNERS:
        write_cell(tmp_path / "dem" / f"{tile_name(corner)}.tif", corner, 60 if corner[1] == 91 else 40)
    recipe = recipe_of(model, {"kind": "folder", "catalogue": str(tmp_path / "dem")})
    with pytest.raises(UserError, match="not on one grid"):
        run(recipe, tmp_path / "work", client=client)


def test_a_box_cuts_the_cells_and_what_no_cell_covers_is_missing(tmp_path: Path) -> None:
    mosaic = mosaic_of(tmp_path, (CORNERS[0], FINE), (CORNERS[3], FINE))
    rows, columns = mosaic.around((91.0, 33.0, 93.0, 35.0), 3)
    with mosaic.opened() as relief:
        whole = relief.read(rows, columns)
        part = relief.read(slice(rows.start + 7, rows.stop - 40), slice(columns.start + 30, columns.stop + 5))
    assert np.isnan(whole[: FINE // 2, : FINE // 2]).all()
    assert np.isnan(whole[-FINE // 2 :, -FINE // 2 :]).all()
    sheet = mosaic.sheets[0]
    with rasterio.open(sheet.path) as file:
        stored, transform = file.read(1), file.transform
    top, left = sheet.row - rows.start, sheet.column - columns.start
    np.testing.assert_array_equal(whole[top : top + FINE, left : left + FINE], stored)
    assert mosaic.latitudes(rows)[top] == pytest.approx(transform.f - 0.5 / FINE)
    assert mosaic.longitudes(columns)[left] == pytest.approx(transform.c + 0.5 / FINE)
    np.testing.assert_array_equal(part[:, :-5], whole[7:-40, 30:])
    assert np.isnan(part[:, -5:]).all()


def test_any_of_the_cells_give_the_same_grid(tmp_path: Path) -> None:
    grids = [mosaic_of(tmp_path, (corner, FINE)) for corner in CORNERS]
    assert len({(grid.west, grid.north, grid.across, grid.down) for grid in grids}) == 1


# ---- which cells are needed ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-170, 170), st.floats(-70, 70), st.sampled_from([1e3, 2e4, 3e5]), st.integers(1, 5), st.integers(1, 5)
)  # fmt: skip
def test_every_square_degree_that_a_pixel_touches_is_wanted(
    longitude: float, latitude: float, size: float, height: int, width: int
) -> None:
    crs = SINUSOIDAL_CRS.to_wkt()
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    geobox = GeoBox((height, width), Affine(size, 0, x, 0, -size, y), crs)
    inside = np.zeros((height, width), dtype=bool)
    inside[::2, ::2] = True
    wanted = square_degrees(geobox, inside, 0.0)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    for row, column in zip(*np.nonzero(inside), strict=True):
        left, top = x + column * size, y - row * size
        points = [to_degrees.transform(left + a * size, top - b * size) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
        if not np.isfinite(points).all() or np.ptp([point[0] for point in points]) > 180:
            continue  # over the edge of the globe
        pixel = shapely.Polygon(points)
        west, south, east, north = np.floor(pixel.bounds).astype(int)
        for corner in itertools.product(range(south, north + 1), range(west, east + 1)):
            if shapely.box(corner[1], corner[0], corner[1] + 1, corner[0] + 1).intersection(pixel).area > 1e-9:
                assert corner in wanted


def test_no_more_than_the_region_s_square_degrees_are_wanted() -> None:
    geobox = GeoBox((20, 20), Affine(0.1, 0, 90, 0, -0.1, 35), "EPSG:4326")
    inside = np.zeros((20, 20), dtype=bool)
    inside[2:8, 3:9] = True
    assert square_degrees(geobox, inside) == {(34, 90)}
    inside[2, 9] = True  # ends where the next degree begins
    assert square_degrees(geobox, inside, 0.01) == {(34, 90), (34, 91)}
    assert square_degrees(geobox, np.zeros((20, 20), dtype=bool)) == set()


# ---- the real model's form -----------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_public_catalogue_s_own_documents_lead_to_cells_of_the_real_size(
    realdata: Path, model: Path, client: Client, tmp_path: Path
) -> None:
    documents = realdata / "stac" / "cop_dem"
    collection = json.loads((documents / "collection.json").read_text())
    text = next(documents.glob("Copernicus*.json")).read_text()
    name = tile_name((33, 91))
    document = json.loads(text.replace("Copernicus_DSM_COG_30_N53_00_W115_00_DEM", name))
    path = write_cell(tmp_path / "dem" / f"{name}.tif", (33, 91), 1200)
    document["assets"]["data"]["href"] = str(path)
    (tmp_path / "stac").mkdir()
    (tmp_path / "stac" / f"{name}.json").write_text(json.dumps(document))
    kept = [link for link in collection["links"] if link["rel"] not in ("item", "root", "parent", "self")]
    links = [*kept, {"rel": "item", "href": f"./{name}.json"}]
    (tmp_path / "stac" / "collection.json").write_text(json.dumps(collection | {"links": links}))
    recipe = recipe_of(
        model, {"catalogue": str(tmp_path / "stac")}, region={"bbox": [91.4, 33.4, 91.6, 33.6], "pixels_per_tile": 240}
    )
    made = covariates(recipe, tmp_path / "work", client)["elevation"].values
    inside = Work(recipe, tmp_path / "work").inside
    assert inside.any()
    assert ((made[inside] > 3000) & (made[inside] < 7000)).all()
