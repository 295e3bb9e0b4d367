"""Terrain is the same however the map is cut, of whatever model; and on simulated ground it is what was simulated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from frostmap.catalogs.elevation import MODELS, ModelId, tile_name
from frostmap.catalogs.grids import SINUSOIDAL_CRS, lattice
from frostmap.kernels.drainage import wetness_index
from frostmap.kernels.terrain import slope_aspect
from frostmap.pipeline import demands, ledger, plan
from frostmap.pipeline.elevation_mosaic import Mosaic, Place, mosaic_of_cells, mosaic_of_raster
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.relief import elevation, slope
from frostmap.pipeline.stages import terrain
from frostmap.pipeline.stages.elevation_cells import ELEVATION_CELLS
from frostmap.pipeline.stages.terrain import TERRAIN_MADE, Rectangle
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.work import Work

from .small_chain import one_thread

WEST, NORTH, SIDE, PER_DEGREE = 91.0, 35.0, 480, 240
"""A square of two degrees in 15 arc seconds: 460 m."""

SEED, SPACING = 7, 111.2 / PER_DEGREE
BOX = [91.6, 33.7, 92.3, 34.3]


def centres(west: float, north: float, side: int, per_degree: int) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    return west + columns / per_degree, north - rows / per_degree


def write(path: Path, z: NDArray[Any], west: float, north: float, per_degree: float, **changes: Any) -> Path:
    transform = Affine(1 / per_degree, 0, west, 0, -1 / per_degree, north)
    profile = {"driver": "GTiff", "count": 1, "dtype": z.dtype.name, "crs": "EPSG:4326", "transform": transform}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", height=z.shape[0], width=z.shape[1], **(profile | changes)) as file:
        file.write(z, 1)
    return path


@pytest.fixture(scope="module")
def dem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a raster of simulated elevation."""
    z = elevation(SEED, Places(*centres(WEST, NORTH, SIDE, PER_DEGREE), SPACING)).astype(np.float32)
    return write(tmp_path_factory.mktemp("dem") / "dem.tif", z, WEST, NORTH, PER_DEGREE)


def recipe_of(source: Any, *, region: dict[str, Any] | None = None, chunk: int = 24, **sections: Any) -> Recipe:
    any_file = str(source if isinstance(source, Path) else "none.tif")
    content = {
        "name": "ground",
        "region": region or {"bbox": BOX, "pixels_per_tile": 1200},
        "epochs": {"training": {"years": [2010]}},
        "sources": {
            "forcing": {"training": {"freezing": any_file, "thawing": any_file}},
            "clusters": any_file,
            "elevation": str(source) if isinstance(source, Path) else source,
            "surveys": [{"name": "none", "path": any_file}],
        },
        "store": {"chunk_pixels": chunk},
        "terrain": {"wetness_margin_km": 10} | sections.pop("terrain", {}),
    }
    return parse_recipe(yaml.safe_dump(content | sections), Path("/nowhere/recipe.yaml"))


def made(recipe: Recipe, folder: Path) -> xr.Dataset:
    """Return the lazy cube of terrain, computed here."""
    products = TERRAIN_MADE.function(Work(recipe, folder), "")
    assert products.cube is not None
    return products.cube.compute(scheduler="synchronous")


def mosaic_at(path: Path) -> Mosaic:
    with rasterio.open(path) as file:
        return mosaic_of_raster(file, str(path))


@pytest.fixture(autouse=True)
def _only_terrain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STAGES", (ELEVATION_CELLS, TERRAIN_MADE))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with one_thread() as connection:
        yield connection


def inside(cube: xr.Dataset, recipe: Recipe, folder: Path) -> dict[str, NDArray[Any]]:
    """Return each layer's values in the region, whatever the map around it."""
    keep = Work(recipe, folder).inside
    return {str(name): layer.values[keep] for name, layer in cube.data_vars.items()}


# ---- however it is cut ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["slope_first", "dem_first"])
def test_chunks_change_nothing_to_the_last_bit(dem: Path, order: str, tmp_path: Path) -> None:
    whole = None
    for chunk in (1200, 100, 24, 7):
        recipe = recipe_of(dem, chunk=chunk, terrain={"order": order})
        layers = inside(made(recipe, tmp_path), recipe, tmp_path)
        assert all(np.isfinite(layer).all() for layer in layers.values())
        whole = whole or layers
        for name, layer in layers.items():
            np.testing.assert_array_equal(layer, whole[name], err_msg=f"{name}, chunks of {chunk}")


def test_strips_change_nothing_to_the_last_bit(dem: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = recipe_of(dem)
    whole = made(recipe, tmp_path)
    monkeypatch.setattr(terrain, "STRIP_ROWS", 5)
    monkeypatch.setattr(terrain, "BLOCK_PIXELS", 24)
    xr.testing.assert_identical(made(recipe, tmp_path), whole)


def test_pieces_with_all_that_lies_upslope_are_the_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    z = np.full((SIDE, SIDE), 4000, np.float32)
    longitude, latitude = centres(WEST, NORTH, SIDE, PER_DEGREE)
    z -= (1200 * (longitude - WEST) + 400 * np.abs(latitude - 34)).astype(np.float32)  # all water runs east
    path = write(tmp_path / "plane.tif", z, WEST, NORTH, PER_DEGREE)
    recipe = recipe_of(path, terrain={"wetness_margin_km": 400})  # beyond the model's edge
    whole = inside(made(recipe, tmp_path), recipe, tmp_path)["wetness"]
    monkeypatch.setattr(terrain, "MOST_ROWS", 1)
    assert terrain.piece_pixels(Work(recipe, tmp_path), mosaic_at(path)) == 100
    np.testing.assert_allclose(inside(made(recipe, tmp_path), recipe, tmp_path)["wetness"], whole, atol=1e-4)
    near = recipe_of(path, terrain={"wetness_margin_km": 0})
    assert inside(made(near, tmp_path), near, tmp_path)["wetness"].mean() + 0.1 < whole.mean()


@pytest.mark.parametrize("chunk", [7, 24, 100, 1200])
def test_each_pixel_of_the_region_lies_in_one_piece_whatever_the_chunks(
    dem: Path, chunk: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(terrain, "MOST_ROWS", 1)
    work = Work(recipe_of(dem, chunk=chunk, region={"bbox": [91.1, 33.1, 92.9, 34.9]}), tmp_path)
    times = np.zeros(work.shape, int)
    blocks = np.zeros(work.shape, int)
    seen = set()
    origin = work.tile_origin("h00v00")
    for block, pieces in terrain.cut_in_pieces(work, mosaic_at(dem)):
        blocks[block] += 1
        for part in block:
            assert part.start % work.chunk_pixels == 0
        for piece in pieces:
            own = piece.meet(block)
            assert own is not None
            times[own] += 1
            seen.add(tuple((part.start - start, part.stop - start) for part, start in zip(piece, origin, strict=True)))
    assert (blocks == 1).all()
    assert (times[work.inside] == 1).all()
    reference = Work(recipe_of(dem, chunk=100, region={"bbox": [91.1, 33.1, 92.9, 34.9]}), tmp_path)
    corner = reference.tile_origin("h00v00")
    assert seen == {
        tuple((part.start - start, part.stop - start) for part, start in zip(piece, corner, strict=True))
        for _, pieces in terrain.cut_in_pieces(reference, mosaic_at(dem))
        for piece in pieces
    }


def test_a_run_that_was_interrupted_makes_only_the_rest(dem: Path, client: Client, tmp_path: Path) -> None:
    recipe = recipe_of(dem)
    work = run(recipe, tmp_path, client=client).work
    whole = work.open("terrain").load()
    table = work.table("terrain")
    assert set(table["what"]) == {"ground", "wetness"}
    assert len(table) == len(work.storage.list(f"{ledger.CHUNKS}/terrain/")) > 3
    gone = sorted(work.storage.list(f"{CUBE}/terrain/slope/c/"))[1]
    work.storage.delete([gone])
    events: list[Any] = []
    run(recipe, tmp_path, client=client, report=events.append)
    begun = next(event for event in events if event.kind == "started")
    assert begun.done == begun.total - 1
    xr.testing.assert_identical(work.open("terrain").load(), whole)


# ---- whatever the model --------------------------------------------------------------------------------------------


def cells(folder: Path, model: ModelId, kind: str, corners: list[tuple[int, int]]) -> float:
    """Write cells of a model, in its own form, coarser than it; return how many there are along a degree."""
    side = MODELS[model].side
    per_degree = 1200 if kind == "hgt" else 60
    for corner in corners:
        south, west = corner
        edge = side * per_degree + (1 if model != "cop-dem-glo-90" and kind != "6000" else 0)
        shift = 0.0 if kind == "6000" else 0.5 / per_degree
        longitude, latitude = centres(west - shift, south + side + shift, edge, per_degree)
        z = elevation(SEED, Places(longitude, latitude, 111.2 / per_degree))
        name = tile_name(corner, model)
        if kind == "hgt":
            (folder / f"{name.removeprefix('NASADEM_HGT_')}.hgt").write_bytes(np.rint(z).astype(">i2").tobytes())
        else:
            dtype = "float32" if model == "cop-dem-glo-90" else "int16"
            stored = z.astype(dtype) if dtype == "float32" else np.rint(z).astype(dtype)
            write(folder / f"{name}.tif", stored, west - shift, south + side + shift, per_degree)
    return per_degree


@pytest.mark.parametrize(
    ("model", "kind", "corners"),
    [
        ("cop-dem-glo-90", "tif", [(33, 91), (33, 92), (34, 91), (34, 92)]),
        ("nasadem", "tif", [(33, 91), (33, 92), (34, 91), (34, 92)]),
        ("nasadem", "hgt", [(33, 91), (33, 92), (34, 91), (34, 92)]),
        ("srtm-v4.1", "6000", [(30, 90), (35, 90)]),
        ("srtm-v4.1", "6001", [(30, 90)]),
    ],
)
def test_cells_of_any_model_give_what_was_simulated(
    model: ModelId, kind: str, corners: list[tuple[int, int]], client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    per_degree = cells(folder, model, kind, corners)
    source = {"kind": "folder", "catalogue": str(folder), "model": model}
    region = {"bbox": BOX, "pixels_per_tile": 240}
    recipe = recipe_of(source, region=region, terrain={"wetness_margin_km": 5})
    work = run(recipe, tmp_path / "work", client=client).work
    cube = work.open("terrain").load()
    table = work.table("elevation-cells")
    assert (table["status"] == "ok").all()
    assert len(table) == (1 if model == "srtm-v4.1" else 4)
    box = work.geobox
    x, y = np.meshgrid(*(box.coords[axis].values for axis in ("x", "y")))
    longitude, latitude = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True).transform(x, y)
    truth = elevation(SEED, Places(longitude, latitude, 111.2 / per_degree))
    error = (cube["elevation"].values - truth)[work.inside]
    assert np.isfinite(error).all()
    assert abs(error.mean()) < 15
    assert np.corrcoef(cube["elevation"].values[work.inside], truth[work.inside])[0, 1] > 0.9
    assert all(np.isfinite(cube[name].values[work.inside]).all() for name in cube.data_vars if name != "spatial_ref")


def test_nasadem_of_a_stac_catalogue_is_that_of_a_folder(client: Client, tmp_path: Path) -> None:
    folder, corners = tmp_path / "cells", [(33, 91), (34, 91)]
    folder.mkdir()
    cells(folder, "nasadem", "tif", corners)
    names = [tile_name(corner, "nasadem") for corner in corners]
    links = [{"rel": "item", "href": f"./{name}.json"} for name in names]
    (folder / "collection.json").write_text(json.dumps({"type": "Collection", "id": "nasadem", "links": links}))
    for name, (south, west) in zip(names, corners, strict=True):
        ring = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
        document = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": "nasadem",
            "bbox": [west, south, west + 1, south + 1],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"datetime": "2000-02-20T00:00:00Z"},
            "links": [],
            "assets": {"elevation": {"href": f"./{name}.tif"}},
        }
        (folder / f"{name}.json").write_text(json.dumps(document))
    found = {}
    for kind in ("stac", "folder"):
        source = {"kind": kind, "catalogue": str(folder), "model": "nasadem"}
        region = {"bbox": [91.3, 33.8, 91.6, 34.2], "pixels_per_tile": 240}
        recipe = recipe_of(source, region=region, terrain={"wetness_margin_km": 5})
        found[kind] = run(recipe, tmp_path / kind, client=client).work.open("terrain").load()
    assert np.isfinite(found["stac"]["wetness"]).any()
    xr.testing.assert_identical(found["stac"], found["folder"])


def test_a_cell_that_is_gone_when_it_is_to_be_read_is_no_hole(tmp_path: Path) -> None:
    cells(tmp_path, "cop-dem-glo-90", "tif", [(33, 91)])
    path = tmp_path / f"{tile_name((33, 91))}.tif"
    mosaic = mosaic_of_cells([Place(path.stem, path, 91 - 1 / 120, 34 + 1 / 120, 1 / 60, 1 / 60, 60, 60)])
    rows, columns = mosaic.around((91.2, 33.2, 91.4, 33.4))
    with mosaic.opened() as relief:
        assert np.isfinite(relief.read(rows, columns)).all()
    path.unlink()
    with mosaic.opened() as relief, pytest.raises(DataIncomplete, match="cannot be read") as caught:
        relief.read(rows, columns)
    assert str(path) in str(caught.value.where)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crs": "EPSG:32646", "transform": Affine(500, 0, 5e5, 0, -500, 4e6)}, "EPSG:32646, cells of 500"),
        ({"crs": None}, "no coordinate system"),
        ({"transform": Affine(1 / 240, 0, 91, 0, 1 / 240, 33)}, "transform"),
        ({"transform": Affine(1 / 240, 0, 11, 0, -1 / 240, 33)}, "bounds"),
    ],
    ids=["metres", "no CRS", "south first", "elsewhere"],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_model_that_slopes_cannot_be_made_of_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", np.ones((9, 9), np.int16), WEST, NORTH, PER_DEGREE, **changes)
    with pytest.raises(UserError) as caught:
        made(recipe_of(path), tmp_path)
    assert words in caught.value.found
    assert "sources.elevation" in caught.value.where


def test_fills_seas_and_holes_are_missing_and_counted(dem: Path, client: Client, tmp_path: Path) -> None:
    with rasterio.open(dem) as file:
        z = np.rint(file.read(1)).astype(np.int16)
    z[:, 240:] = -32768  # without a tag
    z[300:, :240] = -4000  # a sea's floor
    path = write(tmp_path / "dem.tif", z, WEST, NORTH, PER_DEGREE)
    work = run(recipe_of(path), tmp_path / "work", client=client).work
    cube = work.open("terrain").load()
    made_of = np.isfinite(cube["elevation"].values[work.inside]).mean()
    assert 0.1 < made_of < 0.9
    assert float(cube["elevation"].min()) > 1000
    assert np.isfinite(cube["wetness"].values[work.inside]).mean() == pytest.approx(made_of, abs=0.02)
    table = work.table("terrain").set_index("what")
    counted = table.loc["ground", ["missing", "cells"]].sum()
    assert 0.3 < counted["missing"] / counted["cells"] < 0.9
    assert (table.loc[["wetness"], "from_beyond"] > 0).all()


def test_a_pixel_is_known_where_half_of_it_is(tmp_path: Path) -> None:
    z = np.full((SIDE, SIDE), 5000, np.float32)
    known = np.random.default_rng(0).random(z.shape) < 0.5
    z[~known] = np.nan
    path = write(tmp_path / "dem.tif", z, WEST, NORTH, PER_DEGREE)
    recipe = recipe_of(path, region={"bbox": BOX, "pixels_per_tile": 400})
    layer = inside(made(recipe, tmp_path), recipe, tmp_path)["elevation"]
    assert 0.3 < np.isfinite(layer).mean() < 0.7
    assert set(layer[np.isfinite(layer)]) == {5000}


# ---- on the Earth --------------------------------------------------------------------------------------------------


def test_cells_lie_in_the_pixels_that_the_projection_says(dem: Path) -> None:
    mosaic, geobox = mosaic_at(dem), lattice(1200)[25, 5]
    block = Rectangle(slice(500, 700), slice(200, 1100))
    rows, columns = slice(30, 60), slice(10, 400)
    y, x = terrain.places(mosaic, rows, columns, geobox, block, 2)
    longitude, latitude = np.meshgrid(mosaic.longitudes(columns, 2), mosaic.latitudes(rows, 2))
    where = Transformer.from_crs("EPSG:4326", SINUSOIDAL_CRS.to_wkt(), always_xy=True).transform(longitude, latitude)
    column, row = ~geobox.affine * where
    np.testing.assert_array_equal(y, np.floor(row) - 500)
    np.testing.assert_array_equal(x, np.floor(column) - 200)
    moved = "+proj=sinu +lon_0=0 +x_0=1000 +y_0=0 +R=6371007.181 +units=m +no_defs"  # goes the general way
    other = GeoBox(geobox.shape, Affine.translation(1000, 0) * geobox.affine, moved)
    again = terrain.places(mosaic, rows, columns, other, block, 2)
    np.testing.assert_array_equal(again[0], y)
    np.testing.assert_array_equal(again[1], x)


def test_cells_have_the_metres_of_the_ellipsoid(dem: Path) -> None:
    mosaic = mosaic_at(dem)
    dx, dy = mosaic.cell_metres(slice(0, SIDE))
    from pyproj import Geod

    latitude = mosaic.latitudes(slice(0, SIDE))[77]
    half = 0.5 / PER_DEGREE
    across = Geod(ellps="WGS84").inv(91 - half, latitude, 91 + half, latitude)[2]
    down = Geod(ellps="WGS84").inv(91, latitude - half, 91, latitude + half)[2]
    assert dx[77] == pytest.approx(across, rel=1e-7)
    assert dy[77] == pytest.approx(down, rel=1e-7)


def truth(box: GeoBox, step: float, shift: tuple[float, float] = (0.0, 0.0)) -> dict[str, NDArray[Any]]:
    """Return the simulator's own elevation and slopes, averaged over 12 x 12 points of each pixel of a grid."""
    height, width = box.shape.y, box.shape.x
    rows, columns = np.mgrid[0 : 12 * height, 0 : 12 * width] + 0.5
    x, y = box.affine * (columns / 12 + shift[0], rows / 12 + shift[1])
    longitude, latitude = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True).transform(x, y)
    where = Places(longitude, latitude, step)
    east, north = slope(SEED, where)
    length = np.sqrt(1 + east**2 + north**2)
    fine = {"elevation": elevation(SEED, where), "slope": np.degrees(np.arctan(np.hypot(east, north)))}
    fine |= {"eastness": -east / length, "northness": -north / length}
    return {name: z.reshape(height, 12, width, 12).mean(axis=(1, 3)) for name, z in fine.items()}


def test_terrain_of_the_simulated_plateau_is_recovered_to_its_own_noise(tmp_path: Path) -> None:
    fine = 1200
    side = 360
    longitude, latitude = centres(91.6, 34.3, side, fine)
    step = 111.2 / fine
    rng = np.random.default_rng(1)
    smooth = elevation(SEED, Places(longitude, latitude, step))
    noisy = smooth + rng.normal(0, 1.5, smooth.shape)
    geobox = lattice(1200)[25, 5]
    to_grid = Transformer.from_crs("EPSG:4326", SINUSOIDAL_CRS.to_wkt(), always_xy=True)
    column, row = ~geobox.affine * to_grid.transform(91.75, 34.15)
    block = Rectangle(slice(int(row) - 6, int(row) + 6), slice(int(column) - 5, int(column) + 5))
    box = terrain._box(geobox, block)
    expected, shifted = truth(box, step), truth(box, step, (0.5, 0.0))

    def found(z: NDArray[Any], name: str) -> dict[str, NDArray[Any]]:
        mosaic = mosaic_at(write(tmp_path / name, z.astype(np.float32), 91.6, 34.3, fine))
        return terrain.ground_of_block(mosaic, mosaic, geobox, block)

    clean, rough = found(smooth, "clean.tif"), found(noisy, "noisy.tif")
    for name, most in (("elevation", 1.0), ("slope", 0.1), ("eastness", 0.003), ("northness", 0.003)):
        error = clean[name] - expected[name]
        assert np.isfinite(error).all()
        assert np.abs(error).mean() < most, name
        beside = np.abs(clean[name] - shifted[name]).mean()
        assert np.abs(error).mean() < 0.35 * beside, name  # half a pixel off would show
    assert np.std(rough["elevation"] - clean["elevation"]) < 2 * 1.5 / np.sqrt(119)
    gradient_noise = 1.5 * np.sqrt(12) / 8 / 85  # of Horn's window, along an axis; a pixel has some 119 / 9 apart
    assert np.std(rough["eastness"] - clean["eastness"]) < 2 * gradient_noise / np.sqrt(119 / 9)
    assert np.std(rough["northness"] - clean["northness"]) < 2 * gradient_noise / np.sqrt(119 / 9)


@pytest.mark.parametrize("flow", ["fd8", "d8", "dinf"])
def test_wetness_of_pixels_is_the_mean_of_their_cells(dem: Path, flow: Any) -> None:
    mosaic, geobox = mosaic_at(dem), lattice(240)[25, 5]
    piece = Rectangle(slice(135, 150), slice(124, 140))
    index, note = terrain.wetness_of_piece(mosaic, geobox, piece, 60, flow)  # all of the model
    with mosaic.opened() as relief:
        z = relief.read(slice(0, SIDE), slice(0, SIDE))
    fine = wetness_index(z, *mosaic.cell_metres(slice(0, SIDE)), flow)
    longitude, latitude = np.meshgrid(mosaic.longitudes(slice(0, SIDE)), mosaic.latitudes(slice(0, SIDE)))
    to_grid = Transformer.from_crs("EPSG:4326", SINUSOIDAL_CRS.to_wkt(), always_xy=True)
    column, row = np.floor(~geobox.affine * to_grid.transform(longitude, latitude))
    for i, j in ((0, 0), (7, 8), (14, 15)):
        own = fine[(row == 135 + i) & (column == 124 + j)]
        assert own.size > 50
        assert index[i, j] == pytest.approx(own.mean(), abs=1e-3)
    assert note["raised"] > 0


def test_the_dem_first_order_is_slopes_of_a_coarse_model(dem: Path, tmp_path: Path) -> None:
    first = recipe_of(dem, region={"bbox": BOX, "pixels_per_tile": 240}, terrain={"order": "dem_first"})
    usual = recipe_of(dem, region={"bbox": BOX, "pixels_per_tile": 240})
    coarse, fine = (inside(made(each, tmp_path), each, tmp_path) for each in (first, usual))
    np.testing.assert_array_equal(coarse["elevation"], fine["elevation"])
    assert coarse["slope"].mean() < 0.7 * fine["slope"].mean()  # what lies within 5 km is gone
    assert coarse["wetness"].mean() > fine["wetness"].mean() + 0.5
    grid = mosaic_at(dem).coarsened(10)
    with grid.opened() as relief, mosaic_at(dem).opened() as whole:
        z = whole.read(slice(0, SIDE), slice(0, SIDE)).reshape(48, 10, 48, 10).mean(axis=(1, 3))
        np.testing.assert_allclose(relief.read(slice(0, 48), slice(0, 48)), z, rtol=1e-6)
    by_hand = slope_aspect(z, *grid.cell_metres(slice(0, 48)))[0]
    assert coarse["slope"].mean() == pytest.approx(by_hand[17:31, 14:31].mean(), rel=0.15)


def test_a_map_on_a_grid_of_its_own_has_terrain_too(dem: Path, tmp_path: Path) -> None:
    grid = write(tmp_path / "grid.tif", np.ones((40, 60), np.float32), 91.7, 34.3, 100)
    cube = made(recipe_of(dem, region={"grid_of": str(grid)}), tmp_path)
    with rasterio.open(dem) as file:
        z = file.read(1)
    at = z[int((35 - 34.195) * 240), int((91.805 - 91) * 240)]
    assert float(cube["elevation"][10, 10]) == pytest.approx(at, abs=60)
    assert all(np.isfinite(cube[name]).all() for name in cube.data_vars)


def test_plan_states_what_a_piece_takes(dem: Path, tmp_path: Path) -> None:
    recipe = recipe_of(dem, region={"tiles": ["h25v05"]}, chunk=100)
    fine = Mosaic(80.0, 41.0, 1 / 1200, 1 / 1200, ())
    work = Work(recipe, tmp_path)
    assert terrain.piece_pixels(work, fine) == 400
    sizes = []
    for _, pieces in terrain.cut_in_pieces(work, fine):
        for piece in pieces:
            rows, columns = fine.around(terrain._bounds(terrain._box(work.geobox, piece.wider(11))))
            sizes.append((rows.stop - rows.start) * (columns.stop - columns.start))
    assert len(sizes) == 9
    assert max(sizes) * 14 < 1.0e9
    step = next(one for one in plan.plan(recipe, tmp_path).summary()["steps"] if one["step"] == "terrain")
    assert step["memory_bytes"] == demands.worker_bytes("terrain") + TERRAIN_MADE.memory(work, "")  # type: ignore[misc]


# ---- real models ---------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_two_models_of_the_himalaya_agree_on_their_overlap(realdata: Path) -> None:
    folder = realdata / "terrain"
    coarse = mosaic_at(folder / "etopo5_qtp_24-43N_72-106E.tif")
    coarse = replace(coarse, west=coarse.west + 1 / 6, north=coarse.north - 1 / 12)  # it lies so far beside SRTM here
    fine = mosaic_at(folder / "srtm30_south_tibet_himalaya.tif")
    geobox = lattice(60)[25, 6]  # pixels of 18.5 km, two cells of the coarse one
    block = Rectangle(slice(0, 40), slice(0, 60))
    one, other = (terrain.ground_of_block(each, each, geobox, block) for each in (coarse, fine))
    both = np.isfinite(one["elevation"]) & np.isfinite(other["elevation"])
    assert both.sum() > 2000
    a, b = one["elevation"][both], other["elevation"][both]
    assert np.corrcoef(a, b)[0, 1] > 0.985
    assert abs(np.median(a - b)) < 20
    for shift in (-1, 1):
        for axis in (0, 1):
            moved = np.nan_to_num(np.roll(one["elevation"], shift, axis)[both], nan=float(np.nanmean(a)))
            assert np.corrcoef(moved, b)[0, 1] < np.corrcoef(a, b)[0, 1] - 0.01
    smooth = terrain.ground_of_block(fine, fine.coarsened(10), geobox, block)  # 5 arc minutes as well
    for name in ("eastness", "northness"):
        assert np.corrcoef(one[name][both], smooth[name][both])[0, 1] > 0.7
    assert np.median(smooth["slope"][both]) == pytest.approx(np.median(one["slope"][both]), rel=0.25)
    assert np.median(other["slope"][both]) > 2 * np.median(one["slope"][both])  # what 9 km hide
