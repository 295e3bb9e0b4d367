"""Lakes, glaciers and the region cover of each pixel what their polygons do, whatever file they come in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import xarray as xr
import yaml
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from frostmap.catalogs.grids import SINUSOIDAL_CRS, lattice, pixel_area_km2
from frostmap.pipeline import demands, plan
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.polygons import coverage, open_polygons, outline, read_polygons
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.report.areas import covers
from frostmap.pipeline.run import run
from frostmap.pipeline.stages import frozen_ground, masks
from frostmap.pipeline.storage import CUBE
from frostmap.pipeline.work import Work

from .small_chain import one_thread

DEGREES = "EPSG:4326"
KRASOVSKY = "+proj=aea +lat_1=25 +lat_2=47 +lat_0=0 +lon_0=105 +ellps=krass +towgs84=0,0,0 +units=m"
"""The projection that many Chinese data sets come in."""

GRID = lattice(240)[25, 5]
"""Pixels of 4.6 km."""


def write(
    path: Path,
    shapes: Sequence[Any],
    crs: str | None = DEGREES,
    kind: str = "Unknown",
    layer: str = "cover",
    append: bool = False,
    **fields: Sequence[Any],
) -> Path:
    """Write shapes, which may be None, to a file whose suffix says its format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_args, **_options: None)  # of files without a CRS, which are wanted here
        pyogrio.raw.write(
            path,
            shapely.to_wkb(np.array(shapes, dtype=object)),
            [np.array(values) for values in fields.values()],
            list(fields),
            crs=crs,
            geometry_type="Polygon" if kind == "Unknown" and path.suffix == ".shp" else kind,
            layer=layer,
            append=append,
        )
    return path


def moved(shape: Any, crs: str, start: str = DEGREES) -> Any:
    transformer = Transformer.from_crs(start, crs, always_xy=True)
    return shapely.transform(shape, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def on_grid(shape: Any, box: GeoBox = GRID) -> Any:
    """Return a shape given in pixels of a grid, in degrees."""
    affine = box.affine
    placed = shapely.transform(
        shapely.segmentize(shape, 0.02) if shape.is_valid else shape,  # which would repair it
        lambda xy: np.column_stack([affine.a * xy[:, 0] + affine.c, affine.e * xy[:, 1] + affine.f]),
    )
    return moved(placed, DEGREES, SINUSOIDAL_CRS.to_wkt())


def share_of(path: Path, box: GeoBox = GRID, **meant: str) -> NDArray[np.float32]:
    return coverage(open_polygons(path, "sources.lakes.training", **meant), box).share


def shoreline(seed: int, column: float, row: float, radius: float) -> Any:
    """Return a lake of some pixels' radius, with bays and an island."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    reach = radius * (1 + sum(rng.normal(0, 0.12) * np.cos(k * angle + rng.uniform(0, 7)) for k in range(2, 7)))
    shore = shapely.Polygon(np.column_stack([column + reach * np.cos(angle), row + reach * np.sin(angle)]))
    island = shapely.Point(column, row).buffer(0.3 * radius)
    return shapely.difference(shore, island)


LAKES = [shoreline(1, 60, 70, 9), shoreline(2, 120.3, 30.4, 2.5), shoreline(3, 180.5, 200.5, 0.3)]


# ---- how much of a pixel -------------------------------------------------------------------------------------------


def test_shares_are_the_areas_of_intersections(tmp_path: Path) -> None:
    share = share_of(write(tmp_path / "lakes.gpkg", [on_grid(lake) for lake in LAKES]))
    whole = shapely.union_all(LAKES)
    partly = 0
    for row, column in itertools.product(range(56, 84), range(46, 75)):
        expected = shapely.intersection(whole, shapely.box(column, row, column + 1, row + 1)).area
        assert share[row, column] == pytest.approx(expected, abs=1e-5)
        partly += 0 < expected < 1
    assert partly > 50
    assert share[200, 180] == pytest.approx(LAKES[2].area, abs=1e-5)  # smaller than a pixel
    assert share.sum() == pytest.approx(whole.area, rel=1e-6)


def test_a_pixel_is_the_sheared_cell_on_the_ground(tmp_path: Path) -> None:
    cell = on_grid(shapely.box(10, 20, 11, 21))
    corners = shapely.get_coordinates(shapely.simplify(cell, 1e-6))
    assert np.ptp(corners[:, 0]) > 1.4 * np.ptp(corners[[0, 1], 0])  # it leans, by more than a third of its width
    share = share_of(write(tmp_path / "one.gpkg", [cell]))
    assert share[20, 10] == pytest.approx(1, abs=1e-6)
    share[20, 10] = 0
    assert share.max() < 1e-6


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "geojson", "fgb"])
@pytest.mark.parametrize("crs", [DEGREES, "EPSG:32645", "EPSG:4490", KRASOVSKY, SINUSOIDAL_CRS.to_wkt()])
def test_any_file_in_any_system_gives_the_same(suffix: str, crs: str, tmp_path: Path) -> None:
    if suffix == "geojson" and crs != DEGREES:
        pytest.skip("GeoJSON is in degrees")
    lakes = [on_grid(lake) for lake in LAKES]
    expected = share_of(write(tmp_path / "expected.gpkg", lakes))
    path = write(tmp_path / f"lakes.{suffix}", [moved(lake, crs) for lake in lakes], crs)
    tolerance = 0.03 if crs == KRASOVSKY else 1e-5  # its datum is not tied to WGS 84: some 100 m
    np.testing.assert_allclose(share_of(path), expected, atol=tolerance)
    west, south, east, north = open_polygons(path, "region.outline").bounds
    assert shapely.box(west, south, east, north).buffer(0.01).contains(shapely.box(*shapely.total_bounds(lakes)))
    assert shapely.hausdorff_distance(outline(open_polygons(path, "outline")), shapely.union_all(lakes)) < 0.002


def test_long_edges_bend_as_the_map_does(tmp_path: Path) -> None:
    box = shapely.box(90, 32, 94, 38)  # four corners; its sides are meridians and parallels
    share = share_of(write(tmp_path / "box.gpkg", [box]))
    area = (share * pixel_area_km2(GRID)[:, np.newaxis]).sum(dtype=float)
    true = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(box, 0.01))[0]) / 1e6
    assert area == pytest.approx(true, rel=2e-5)


def test_what_several_cover_counts_once_and_islands_stay(tmp_path: Path) -> None:
    one, other = shapely.box(10, 10, 14, 14), shapely.box(12, 12, 16, 16)
    ring = shapely.difference(shapely.box(30, 30, 36, 36), shapely.box(32, 32, 34, 34))
    shapes = [one, other, one, ring, shapely.box(36, 30, 38, 36)]  # the last lies beside
    path = write(tmp_path / "cover.gpkg", [on_grid(shape) for shape in shapes])
    found = coverage(open_polygons(path, "k"), GRID)
    assert found.share.sum() == pytest.approx(28 + 32 + 12, rel=1e-5)
    assert found.share.max() <= 1
    assert found.share[33, 33] == 0
    assert found.share[31, 35:38].tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert found.overlap == pytest.approx(4 + 16, rel=1e-3)


# ---- files as they are ---------------------------------------------------------------------------------------------


def test_polygons_that_are_not_valid_are_repaired_by_the_stated_rule(tmp_path: Path) -> None:
    bow = shapely.Polygon([(10, 10), (14, 14), (14, 10), (10, 14)])  # crosses itself: both wings
    hole = shapely.Polygon(shapely.box(20, 10, 24, 14).exterior, [shapely.box(23, 13, 26, 16).exterior])
    twice = shapely.MultiPolygon([shapely.box(30, 10, 32, 12), shapely.box(31, 11, 33, 13)])
    flat = shapely.Polygon([(40, 10), (41, 11), (40, 10)])
    sound = shapely.box(50, 10, 52, 12)
    shapes = [bow, hole, twice, flat, sound]
    path = write(tmp_path / "wrong.gpkg", [*(on_grid(shape) for shape in shapes), None, shapely.Polygon()])
    found = coverage(open_polygons(path, "k"), GRID)
    assert found.repaired == 4
    areas = [found.share[5:20, first : first + 9].sum() for first in range(9, 54, 10)]
    np.testing.assert_allclose(areas, [8, 15, 7, 0, 4], rtol=1e-4)
    file = open_polygons(path, "k")
    whole = read_polygons(file)
    assert (len(whole.shapes), whole.repaired, file.empty) == (4, 4, 2)
    assert shapely.is_valid(outline(file))


def test_a_geojson_ring_that_is_not_closed_is_closed(tmp_path: Path) -> None:
    ring = shapely.get_coordinates(on_grid(shapely.box(10, 10, 14, 14)))[:-1].tolist()
    text = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "open.geojson").write_text(json.dumps(text))
    assert share_of(tmp_path / "open.geojson").sum() == pytest.approx(16, rel=1e-4)


def test_a_layer_and_some_of_its_features_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "many.gpkg"
    boxes = [on_grid(shapely.box(x, 10, x + 2, 12)) for x in (10, 20, 30)]
    write(path, boxes, layer="lakes", year=[2010, 2020, 2020])
    write(path, boxes[:1], layer="glaciers", append=True, year=[2010])
    assert share_of(path, layer="lakes").sum() == pytest.approx(12, rel=1e-4)
    assert share_of(path, layer="glaciers").sum() == pytest.approx(4, rel=1e-4)
    some = open_polygons(path, "k", layer="lakes", where="year = 2020")
    assert coverage(some, GRID).share.sum() == pytest.approx(8, rel=1e-4)
    assert some.bounds[0] > open_polygons(path, "k", layer="lakes").bounds[0] + 0.1


LAKE = shapely.box(90, 33, 91, 34)
FAULTS: dict[str, tuple[str, Any, dict[str, str], str]] = {
    "no file": ("none.gpkg", lambda _path: None, {}, "no such file"),
    "no CRS": ("a.gpkg", lambda path: write(path, [LAKE], None), {}, "ogr2ogr -a_srs"),
    "no prj": ("a.shp", lambda path: (write(path, [LAKE]), path.with_suffix(".prj").unlink()), {}, "a.prj beside it"),
    "no feature": ("a.gpkg", lambda path: write(path, []), {}, "0 features"),
    "no geometry": ("a.gpkg", lambda path: write(path, [None, shapely.Polygon()]), {}, "2 features, no geometry"),
    "points": ("a.gpkg", lambda path: write(path, [LAKE.centroid], kind="Point"), {}, "layer 'cover' of Point"),
    "lines": ("a.shp", lambda path: write(path, [LAKE.exterior], kind="LineString"), {}, "of LineString"),
    "a line among them": ("a.gpkg", lambda path: write(path, [LAKE, LAKE.exterior]), {}, "feature 2 of layer 'cover'"),
    "elsewhere": ("a.gpkg", lambda path: write(path, [shapely.box(9, 45, 10, 46)]), {}, "9.00 to 10.00 °E"),
    "metres called degrees": ("a.gpkg", lambda path: write(path, [shapely.box(5e5, 3e6, 6e5, 4e6)]), {}, "-a_srs"),
    "several layers": (
        "a.gpkg",
        lambda path: (write(path, [LAKE], layer="a"), write(path, [LAKE], layer="b", append=True)),
        {},
        "{path: a.gpkg, layer: a}",
    ),
    "no such layer": ("a.gpkg", lambda path: write(path, [LAKE]), {"layer": "lakes"}, "layers cover"),
    "no such feature": ("a.gpkg", lambda path: write(path, [LAKE], year=[1]), {"where": "year = 2"}, "with year = 2"),
    "no such field": ("a.gpkg", lambda path: write(path, [LAKE]), {"where": "yaer = 2"}, "asked: yaer = 2"),
    "no vector file": ("a.gpkg", lambda path: path.write_bytes(b"nothing" * 99), {}, "ogrinfo"),
    "cut off": ("a.geojson", lambda path: path.write_text('{"type": "FeatureCollection", "fea'), {}, "ogrinfo"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_meant_is_refused_with_a_remedy(fault: str, tmp_path: Path) -> None:
    name, make, meant, words = FAULTS[fault]
    make(tmp_path / name)
    given = {"path": str(tmp_path / name)} | meant
    with pytest.raises(UserError) as caught:
        made(recipe_of(lakes=given), tmp_path)
    assert words in str(caught.value)
    assert "sources.lakes.training" in caught.value.where
    assert caught.value.remedy
    if fault != "a line among them":  # a file does not say that of itself; all else is found before a run
        with pytest.raises(UserError):
            plan.plan(recipe_of(lakes=given), tmp_path)


# ---- the stage -----------------------------------------------------------------------------------------------------


def recipe_of(
    *, lakes: Any = None, glaciers: Any = None, region: dict[str, Any] | None = None, chunk: int = 24, **more: Any
) -> Recipe:
    covers = {"lakes": lakes, "glaciers": glaciers}
    content = {
        "name": "cover",
        "region": region or {"tiles": ["h25v05"], "pixels_per_tile": 240},
        "epochs": {"training": {"years": [2010]}},
        "sources": {
            "forcing": {"training": {"freezing": "none.tif", "thawing": "none.tif"}},
            "clusters": "none.tif",
            "surveys": [{"name": "none", "path": "none.tif"}],
        }
        | {name: {"training": given} for name, given in covers.items() if given is not None},
        "store": {"chunk_pixels": chunk},
    }
    return parse_recipe(yaml.safe_dump(content | more), Path("/nowhere/recipe.yaml"))


def made(recipe: Recipe, folder: Path) -> xr.Dataset:
    """Return the lazy cube of masks, computed here."""
    products = masks.MASKS.function(Work(recipe, folder), "training")
    assert products.cube is not None
    return products.cube.compute(scheduler="synchronous")


@pytest.fixture(autouse=True)
def _only_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STAGES", (masks.MASKS,))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with one_thread() as connection:
        yield connection


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("lakes") / "lakes.gpkg", [on_grid(lake) for lake in LAKES]))


def test_chunks_and_the_map_around_change_nothing_to_the_last_bit(lakes: str, tmp_path: Path) -> None:
    whole = made(recipe_of(lakes=lakes), tmp_path)
    assert whole["lakes"].max() == 1
    for chunk in (240, 100, 7):
        xr.testing.assert_identical(made(recipe_of(lakes=lakes, chunk=chunk), tmp_path), whole)
    wide = recipe_of(lakes=lakes, region={"tiles": ["h24v05", "h25v05", "h25v06"], "pixels_per_tile": 240})
    rows, columns = Work(wide, tmp_path).tile_window("h25v05")
    np.testing.assert_array_equal(made(wide, tmp_path)["lakes"][rows, columns], whole["lakes"])
    narrow = recipe_of(lakes=lakes, region={"bbox": [90.2, 36.4, 91.5, 37.6], "pixels_per_tile": 240})
    row, column = (-start for start in Work(narrow, tmp_path).tile_origin("h25v05"))
    cut = made(narrow, tmp_path)
    height, width = cut["lakes"].shape
    assert float(cut["lakes"].max()) > 0
    np.testing.assert_array_equal(cut["lakes"], whole["lakes"][row : row + height, column : column + width])


def test_a_map_on_a_grid_of_its_own_is_covered_too(lakes: str, tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": DEGREES, "height": 300, "width": 700}
    profile["transform"] = Affine(0.02, 0, 84.0, 0, -0.02, 39.0)
    with rasterio.open(tmp_path / "grid.tif", "w", **profile) as file:
        file.write(np.zeros((300, 700), np.uint8), 1)
    recipe = recipe_of(lakes=lakes, region={"grid_of": str(tmp_path / "grid.tif")}, chunk=70)
    area = pixel_area_km2(Work(recipe, tmp_path).geobox)[:, np.newaxis]
    expected = sum(abs(Geod(ellps="WGS84").geometry_area_perimeter(on_grid(lake))[0]) for lake in LAKES[:2]) / 1e6
    assert float((made(recipe, tmp_path)["lakes"] * area).sum()) == pytest.approx(expected, rel=2e-4)


def test_the_region_is_the_pixels_whose_centres_lie_in_its_outline(tmp_path: Path) -> None:
    shape = on_grid(shoreline(5, 100, 100, 60))
    path = write(tmp_path / "outline.shp", [moved(shape, "EPSG:32645")], "EPSG:32645")
    recipe = recipe_of(region={"outline": str(path), "pixels_per_tile": 240})
    work = Work(recipe, tmp_path)
    x, y = np.meshgrid(*(work.geobox.coords[axis].values for axis in ("x", "y")))
    longitude, latitude = Transformer.from_crs(SINUSOIDAL_CRS.to_wkt(), DEGREES, always_xy=True).transform(x, y)
    expected = shapely.contains_xy(shape, longitude, latitude)
    cube = made(recipe, tmp_path)
    assert (cube["inside"].values != expected).sum() <= 2  # centres within a metre of the shore
    assert cube["inside"].sum() == pytest.approx(shoreline(5, 100, 100, 60).area, rel=0.01)
    assert (cube["lakes"].values[expected] == 0).all()  # no source


def test_an_interrupted_run_goes_on_and_a_table_says_what_was_read(lakes: str, client: Client, tmp_path: Path) -> None:
    recipe = recipe_of(lakes=lakes, region={"tiles": ["h24v05", "h25v05"], "pixels_per_tile": 240})
    work = run(recipe, tmp_path, client=client).work
    whole = work.open("masks/training").load()
    table = work.table("masks-training")
    assert list(table["frame"]) == ["h24v05", "h25v05"] * 2
    found = table.set_index(["what", "frame"]).loc[("lakes", "h25v05")]
    assert (found["polygons"], found["repaired"], found["empty"]) == (3, 0, 0)
    area = pixel_area_km2(work.geobox)[:, np.newaxis]
    assert found["km2"] == pytest.approx(float((whole["lakes"] * area).sum()), rel=1e-5)
    told = covers(work)[0]
    assert told.header == ("", "covered [km²]", "shown as such [km²]", *told.header[3:])
    assert told.rows == [("lakes, 2010", f"{found['km2']:,.0f}", "", "3", "0", "0", "0")]
    assert "repaired" in told.note
    assert "raster" not in told.note
    work.storage.delete([sorted(work.storage.list(f"{CUBE}/masks/training/lakes/c/"))[-1]])
    events: list[Any] = []
    run(recipe, tmp_path, client=client, report=events.append)
    begun = next(event for event in events if event.kind == "started")
    assert (begun.done, begun.total) == (1, 2)
    xr.testing.assert_identical(work.open("masks/training").load(), whole)


def test_what_is_meant_belongs_to_what_a_result_depends_on(tmp_path: Path, client: Client) -> None:
    for name, at in (("a", 10), ("b", 30)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "2010.gpkg", [on_grid(shapely.box(at, 10, at + 2, 12))] * 2, year=[1, 2])
    one, other = (str(tmp_path / name / "2010.gpkg") for name in "ab")
    folder = tmp_path / "work"

    def reason(recipe: Recipe) -> str | None:
        step = plan.plan(recipe, folder).steps[0]
        run(recipe, folder, client=client)
        return step.reason

    assert reason(recipe_of(lakes=one, glaciers=other)) == "never made"
    assert reason(recipe_of(lakes=one, glaciers=other)) is None
    assert "what covers" in (reason(recipe_of(lakes=other, glaciers=one)) or "")
    some = recipe_of(lakes={"path": other, "where": "year = 1"}, glaciers=one)
    assert reason(some) == "changed: what covers"
    write(tmp_path / "a" / "2010.gpkg", [LAKE], year=[1])
    assert "2010.gpkg" in (reason(some) or "")


def test_all_of_a_shapefile_belongs_to_it(tmp_path: Path) -> None:
    path = write(tmp_path / "lakes.shp", [LAKE])
    names = {part.name for part in masks.MASKS.sources(recipe_of(lakes=str(path)), "training")}
    assert {"lakes.shp", "lakes.dbf", "lakes.shx", "lakes.prj"} <= names


def test_plan_states_the_memory_of_a_tile_and_its_polygons(lakes: str, tmp_path: Path) -> None:
    recipe = recipe_of(lakes=lakes, glaciers=lakes)
    step = plan.plan(recipe, tmp_path).summary()["steps"][0]
    assert step["memory_bytes"] == demands.worker_bytes("masks") + 240 * 240 * 30 + 16 * Path(lakes).stat().st_size


def raster(path: Path, values: NDArray[Any], **changes: Any) -> str:
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype.name, "crs": GRID.crs.to_wkt()} | changes  # type: ignore[union-attr]
    with rasterio.open(path, "w", height=240, width=240, transform=GRID.affine, **profile) as file:
        file.write(values, 1)
    return str(path)


def test_a_raster_of_shares_does_as_well(lakes: str, client: Client, tmp_path: Path) -> None:
    share = share_of(Path(lakes))
    holed = np.where(share > 0, share, np.float32(-9))
    recipe = recipe_of(lakes=raster(tmp_path / "share.tif", holed, nodata=-9))
    work = run(recipe, tmp_path / "work", client=client).work
    np.testing.assert_allclose(work.open("masks/training")["lakes"], share, atol=1e-6)
    table = work.table("masks-training").set_index("what")
    assert table.loc["lakes", "no_value"] == (share == 0).sum()
    assert table["polygons"].isna().all()


def test_a_raster_of_per_cent_is_refused(lakes: str, tmp_path: Path) -> None:
    path = raster(tmp_path / "percent.tif", np.rint(100 * share_of(Path(lakes))).astype(np.uint8))
    with pytest.raises(UserError, match="0 to 100"):
        made(recipe_of(lakes=path), tmp_path)


@pytest.mark.parametrize(
    ("lake", "glacier", "expected"),
    [(0.5, 0.0, 5), (0.49, 0.0, 1), (0.0, 0.5, 4), (0.5, 0.5, 5), (0.5, 0.9, 5), (0.49, 0.51, 4), (0.3, 0.3, 1)],
)
def test_half_a_pixel_is_shown_as_what_covers_it_and_lake_comes_first(
    lake: float, glacier: float, expected: int
) -> None:
    ddf, ddt, e, water, ice = (np.full((1, 1), value, np.float32) for value in (2000, 1000, 0.9, lake, glacier))
    ground = frozen_ground.classes(
        ddf, ddt, e, np.ones((1, 1), bool), water, ice, non_frozen_below=0.5, mask_fraction=0.5
    )
    assert ground[0, 0] == expected


# ---- real boundaries -----------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_lakes_keep_their_area(realdata: Path) -> None:
    path = realdata / "boundary" / "gshhg_f_lakes_qtp_ge1km2.gpkg"
    box = GeoBox((3600, 7200), lattice(1200)[23, 4].affine, SINUSOIDAL_CRS)  # all of them
    found = coverage(open_polygons(path, "sources.lakes.training"), box)
    area = pixel_area_km2(box)[:, np.newaxis]
    stored = pyogrio.raw.read(path, columns=[])[2]
    true = np.array(
        [abs(Geod(ellps="WGS84").geometry_area_perimeter(lake)[0]) / 1e6 for lake in shapely.from_wkb(stored)]
    )
    assert (len(true), found.polygons, found.repaired) == (151, 151, 0)
    assert float((found.share * area).sum(dtype=float)) == pytest.approx(true.sum(), rel=1e-7)
    assert float(((found.share >= 0.5) * area).sum()) == pytest.approx(true.sum(), rel=0.01)


@pytest.mark.realdata
def test_the_plateau_has_its_area_and_its_six_tiles(realdata: Path, tmp_path: Path) -> None:
    path = realdata / "boundary" / "TPBoundary_HF_wgs84.shp"
    work = Work(recipe_of(region={"outline": str(path)}, chunk=100), tmp_path)
    assert set(work.tiles) == {"h23v05", "h24v05", "h25v05", "h25v06", "h26v05", "h26v06"}
    inside = work.inside
    area = float((inside * pixel_area_km2(work.geobox)[:, np.newaxis]).sum())
    assert area == pytest.approx(2.61e6, rel=0.005)
    true = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(work.outline, 0.01))[0]) / 1e6
    assert area == pytest.approx(true, rel=1e-4)
    # The group's mask of 2,783,092 cells, 2.6506e6 km2, is that of 3.09e6 pixels: 1.6 % more, in the same six tiles.
    assert inside.sum() == pytest.approx(3.09e6, rel=0.02)
    tiles = [int(inside[work.tile_window(tile)].sum()) for tile in sorted(work.tiles)]
    assert sum(tiles) == inside.sum()
    cells = [32623, 514868, 1211256, 159642, 577752, 286951]
    np.testing.assert_allclose(np.array(tiles) / inside.sum(), np.array(cells) / 2783092, atol=0.02)
