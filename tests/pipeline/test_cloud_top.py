"""Heights of cloud tops come out of fields and swaths as the simulated clouds have them; damage is accounted for."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.xr import xr_coords
from pyhdf.SD import SD, SDC

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.grids import TILE_SIZE, lattice, parse_tile, to_geographic
from frostmap.pipeline.blocks import FAILED, NOTES
from frostmap.pipeline.cloud_top_files import find_swaths, opened_field, passes_by_day, read_cells, swath_file
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.granule_errors import GranuleError
from frostmap.pipeline.hdf4 import Layer, read_swath
from frostmap.pipeline.hdf4_elements import Hdf4File
from frostmap.pipeline.hdf_eos import ExpectedSwath
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.schema import CLOUD_TOP, check
from frostmap.pipeline.simulate import Simulation, cloud_tops, write_archive
from frostmap.pipeline.simulate.granules import granule_id, write_hdf
from frostmap.pipeline.simulate.orbits import view_geometry
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import ORIGIN, day_number, observed_days, scene
from frostmap.pipeline.stages.cloud_top import (
    BY_DAY,
    CLOUD_TOPS,
    STEP_M,
    Area,
    _smoothed,
    constant_tops,
    tops_of_field,
    tops_of_swaths,
)
from frostmap.pipeline.work import Work

TILES = ("h25v05", "h26v05")
COARSE = Simulation(pixels_per_tile=24, tiles=TILES, training_years=(2010,), target_years=(2020,))
DAY = dt.date(2010, 7, 4)
DAYS = [DAY, DAY + dt.timedelta(days=1)]
FILL = CLOUD_TOP.fill_value
NONE = {"bad_granules": "accept", "missing_granules": "accept"}


def recipe_of(folder: Path, cloud_top: dict[str, Any] | None, **changes: Any) -> Recipe:
    """Return a recipe of the coarse simulation; `changes` replace whole sections."""
    content: dict[str, Any] = {
        "name": "tops",
        "simulated": True,
        "data": str(folder),
        "region": {"tiles": list(TILES), "pixels_per_tile": 24},
        "epochs": {"training": {"years": [2010]}},
        "ground_correction": {"method": "identity"},
        "sources": {
            "lst": {"catalogue": "none.json"},
            "surveys": [{"name": "none", "path": "none.tif"}],
            "clusters": "none.tif",
        },
    }
    if cloud_top:
        content["sources"]["cloud_top"] = cloud_top
    return parse_recipe(yaml.safe_dump(content | changes), folder / "recipe.yaml")


def work_of(folder: Path, cloud_top: dict[str, Any], **changes: Any) -> Work:
    return Work(recipe_of(folder, cloud_top, **changes), folder / "work")


def on_map(result: dict[str, Any], area: Area) -> np.ndarray:
    """Return a task's heights on the whole map, (time, y, x), fill where it made none."""
    whole = np.full((next(iter(result.values())).shape[0], *area.geobox.shape), FILL, np.int16)
    for name, (rows, cols) in area.spans.items():
        whole[:, rows, cols] = result[name][:, 0]
    return whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the field around two days, and the swaths of both."""
    folder = tmp_path_factory.mktemp("tops")
    cloud_tops.prepare_field(folder, COARSE)
    for tile in COARSE.tile_addresses:
        cloud_tops.write_field(folder, COARSE, tile, (DAY - dt.date(2010, 1, 1)).days // cloud_tops.DAYS_TOGETHER)
    for product in cloud_tops.BY_DAY:
        cloud_tops.write_swaths(folder, COARSE, product, *DAYS)
    return folder


def field_of(folder: Path) -> Work:
    return work_of(folder, {"kind": "field", "path": "cloud_tops.zarr"})


def swaths_of(folder: Path, **changes: Any) -> Work:
    return work_of(folder, {"kind": "mod06", "path": "cloud_tops"}, **changes)


def truth(overpass: int) -> np.ndarray:
    tiles = [cloud_tops.seen_tops(COARSE.seed, Window.of_tile(parse_tile(tile), 24), DAYS, overpass) for tile in TILES]
    return np.concatenate(tiles, axis=2)


def files_of(work: Work, overpass: int) -> dict[int, list[Any]]:
    found = find_swaths(work.recipe.path(Path("cloud_tops")), 2010)
    return {
        day: [file for file in found if file.product == BY_DAY[overpass] and file.begins.date() == date]
        for day, date in enumerate(DAYS)
    }


# ---- as the simulated clouds have it -------------------------------------------------------------------------------


@pytest.mark.parametrize("overpass", BY_DAY)
def test_a_field_on_the_maps_own_lattice_is_taken_as_it_is(folder: Path, overpass: int) -> None:
    work = field_of(folder)
    area = Area.of(work)
    result = tops_of_field(folder / "cloud_tops.zarr", area, DAY, 2, overpass)
    true = truth(overpass)
    np.testing.assert_array_equal(on_map(result, area), np.where(np.isfinite(true), np.rint(true), FILL))
    assert 0.4 < np.isfinite(true).mean() < 0.95
    assert (result[NOTES], result[FAILED]) == ([], 0)


@pytest.mark.parametrize("overpass", BY_DAY)
def test_swaths_are_as_the_field_within_their_cells_and_across_tiles(folder: Path, overpass: int) -> None:
    work = swaths_of(folder)
    area = Area.of(work)
    result = tops_of_swaths(files_of(work, overpass), area, DAY, 2, overpass)
    made, true = on_map(result, area), truth(overpass)
    both = (made != FILL) & np.isfinite(true)
    assert (both.sum() / np.isfinite(true).sum()) > 0.95  # cloud at a pixel's centre may be none at the cell's
    apart = (made - true)[both]
    assert abs(apart.mean()) < 20  # [m]
    assert np.abs(apart).mean() < 200  # relief within cells of 15 km, and heights rounded to 50 m twice
    seam = both[:, :, 23:25].all(axis=2)
    assert seam.sum() > 15
    assert np.abs((made - true)[:, :, 23:25][seam]).mean() < 250
    assert {note["status"] for note in result[NOTES]} == {"ok"}
    assert {note["date"] for note in result[NOTES]} == {date.isoformat() for date in DAYS}
    assert all(len(note["sha256"]) == 64 for note in result[NOTES])


def test_cells_lie_where_the_simulated_radiometer_looks() -> None:
    granules = list(cloud_tops.granules(COARSE, "MOD06_L2", DAY, DAY))
    assert all(granule.begins.minute % 5 == 0 for granule in granules)
    for granule in granules:
        hours, angles = view_geometry(granule.longitude, granule.latitude, day_number(DAY), 0)
        local = granule.hours[:, None] - 24.0 * day_number(DAY) + granule.longitude / 15.0
        own = np.abs(hours - local) < 0.1  # elsewhere another pass looks down more steeply
        plateau = (granule.latitude > 26) & (granule.latitude < 40)
        assert own[plateau].mean() > 0.9
        apart = np.abs(np.abs(angles) - np.degrees(granule.view_zenith))
        assert apart[own & plateau].max() < 4.0  # tracks are straight there, and scanned along parallels


# ---- arithmetic: a made-up swath over a map of 1 km ----------------------------------------------------------------

BOX = [92.0, 33.0, 92.5, 33.4]
PLACE = (92.3, 33.2)


def fine(folder: Path, chunk: int = 20, **region: Any) -> Work:
    region = {"tiles": ["h25v05"], "bbox": BOX} | region
    return swaths_of(folder, region=region, store={"chunk_pixels": chunk})


def swath(
    folder: Path,
    height: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    begins: str = "2010-07-04T04:40",
    centre: tuple[float, float] = PLACE,
    zenith: float = 20.0,
    cell_km: float = 5.0,
    cells: int = 24,
    turned: float = 0.3,
    product: str = "MOD06_L2",
) -> Path:
    """Write a granule of cells on a turned square lattice; heights are a function of longitude and latitude."""
    along, across = np.meshgrid(np.arange(cells) - cells / 2, np.arange(cells) - cells / 2, indexing="ij")
    east = cell_km * (across * math.cos(turned) - along * math.sin(turned))
    north = cell_km * (across * math.sin(turned) + along * math.cos(turned))
    latitude = centre[1] + north / 111.2
    longitude = centre[0] + east / 111.2 / math.cos(math.radians(centre[1]))
    when = dt.datetime.fromisoformat(begins)
    hours = (when - dt.datetime.combine(ORIGIN, dt.time())).total_seconds() / 3600 + np.linspace(0, 0.08, cells)
    view = np.full(latitude.shape, math.radians(zenith))
    granule = cloud_tops.Granule(product, when, hours, longitude, latitude, view, height(longitude, latitude))
    where = folder / "cloud_tops"
    where.mkdir(parents=True, exist_ok=True)
    cloud_tops.write_granule(where / granule.name, granule)
    return where / granule.name


def made_of(work: Work, paths: list[Path], overpass: int = 0, n_days: int = 1) -> tuple[np.ndarray, list[Any]]:
    files = [file for path in paths if (file := swath_file(path)) is not None]
    area = Area.of(work)
    result = tops_of_swaths({0: files}, area, DAY, n_days, overpass)
    return on_map(result, area), result[NOTES]


def flat(metres: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda longitude, _latitude: np.full(longitude.shape, metres)


def places(work: Work) -> tuple[np.ndarray, np.ndarray]:
    area = Area.of(work)
    return to_geographic(*area.centres(*(np.arange(n) + 0.5 for n in area.geobox.shape)))


def test_a_slope_of_heights_stays_a_slope(tmp_path: Path) -> None:
    def slope(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        return 7000 + 2000 * (longitude - PLACE[0]) + 3000 * (latitude - PLACE[1])

    work = fine(tmp_path)
    made, _ = made_of(work, [swath(tmp_path, slope)])
    inside = work.inside
    apart = (made[0] - slope(*places(work)))[inside]
    assert (made[0][inside] != FILL).all()
    # the swath's and the map's rounding, and cells of 5 km in a mean over 15 pixels: some 35 m of slope a kilometre
    assert np.abs(apart).max() < 150
    assert np.abs(apart).mean() < 40
    assert abs(apart.mean()) < 5


def test_holes_are_closed_from_around_and_no_further(tmp_path: Path) -> None:
    def with_hole(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        away = np.hypot((longitude - PLACE[0]) * 93.0, (latitude - PLACE[1]) * 111.2)
        return np.where(away < 16.0, np.nan, 8000.0)

    work = fine(tmp_path)
    made, _ = made_of(work, [swath(tmp_path, with_hole)])
    longitude, latitude = places(work)
    away = np.hypot((longitude - PLACE[0]) * 93.0, (latitude - PLACE[1]) * 111.2)[None]
    assert (made[away < 3.0] == FILL).all()
    assert (made[(away > 20.0) & work.inside] == 8000).all()
    assert set(np.unique(made)) == {FILL, 8000}


def test_failed_retrievals_of_height_0_are_none(tmp_path: Path) -> None:
    work = fine(tmp_path)
    half = swath(tmp_path, lambda longitude, _: np.where(longitude < PLACE[0], 0.0, 6000.0))
    made, _ = made_of(work, [half])
    assert set(np.unique(made)) == {FILL, 6000}


def test_of_two_passes_the_steeper_look_counts_and_of_one_the_nearer_cell(tmp_path: Path) -> None:
    work = fine(tmp_path)
    oblique = swath(tmp_path, flat(9000), begins="2010-07-04T03:00", zenith=55)
    clear = swath(tmp_path, flat(np.nan), begins="2010-07-04T04:40", zenith=40)
    assert (made_of(work, [oblique])[0][0][work.inside] == 9000).all()
    made, notes = made_of(work, [oblique, clear])
    assert (made == FILL).all()  # seen clear from above: what the edge of another swath sees does not count
    assert [note["status"] for note in notes] == ["ok", "ok"]
    # the next granule of the same pass, whose cells begin where those of the first end
    east = swath(
        tmp_path, flat(4000), begins="2010-07-04T03:05", centre=(PLACE[0] + 1.24, PLACE[1]), zenith=10, turned=0
    )
    west = swath(tmp_path, flat(9000), begins="2010-07-04T03:00", centre=(PLACE[0], PLACE[1]), zenith=55, turned=0)
    made, _ = made_of(work, [west, east])
    assert (made[0][work.inside] == 9000).mean() > 0.9


def test_wide_cells_at_a_swaths_edge_leave_no_gaps(tmp_path: Path) -> None:
    work = fine(tmp_path)
    made, _ = made_of(work, [swath(tmp_path, flat(5000), cell_km=22.0)])
    assert (made[0][work.inside] == 5000).all()


def test_what_is_far_or_by_night_does_not_count(tmp_path: Path) -> None:
    work = fine(tmp_path)
    far = swath(tmp_path, flat(5000), centre=(99.0, 36.0))
    night = swath(tmp_path, flat(5000), begins="2010-07-04T16:00")
    made, notes = made_of(work, [far, night])
    assert (made == FILL).all()
    assert [note["status"] for note in notes] == ["elsewhere", "elsewhere", "missing"]
    west, _, east, _ = Area.of(work).bounds
    for path, by_day in ((far, True), (night, False)):
        file = swath_file(path)
        assert file is not None
        assert passes_by_day(file, west, east) == by_day


@pytest.mark.parametrize("utc", range(24))
def test_day_is_told_by_the_local_hour(utc: int) -> None:
    file = swath_file(Path(f"MOD06_L2.A2010185.{utc:02d}00.061.hdf"))
    assert file is not None
    for longitude in (-179.0, -90.0, 0.0, 90.0, 179.0):
        hour = (utc + 2.5 / 60 + longitude / 15) % 24
        assert passes_by_day(file, longitude, longitude) == (6 <= hour < 18)


@given(data=st.data())
def test_the_mean_is_that_of_the_valid_around(data: Any) -> None:
    # A plain twin, with every square of pixels looked at alone.
    n, step, radius = 7, data.draw(st.integers(1, 3)), data.draw(st.integers(0, 3))
    corner = (data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)))
    box = lattice(24)[25, 5][:n, :n]
    area = Area(box, {"all": (slice(2, 6), slice(1, 7))}, step, radius, corner)
    shape = tuple(len(squares) for squares in area.squares)
    heights = st.one_of(st.just(math.nan), st.integers(100, 18000).map(float))
    cells = math.prod(shape)
    coarse = np.array(data.draw(st.lists(heights, min_size=cells, max_size=cells)), np.float32).reshape(shape)
    made = _smoothed(coarse, area.spans["all"], area)
    for row, col in np.ndindex(made.shape):
        around = [
            coarse[(corner[0] + y) // step - area.squares[0].start, (corner[1] + x) // step - area.squares[1].start]
            for y in range(2 + row - radius, 3 + row + radius)
            for x in range(1 + col - radius, 2 + col + radius)
        ]
        valid = [float(value) for value in around if not math.isnan(value)]
        mean = np.float32(sum(valid) / len(valid)) if valid else np.float32(np.nan)
        np.testing.assert_array_equal(made[row, col], np.float32(STEP_M * np.rint(mean / np.float32(STEP_M))))


def test_heights_do_not_depend_on_how_the_map_is_cut(tmp_path: Path) -> None:
    def waves(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        tops = 7000 + 2500 * np.sin(40 * longitude) * np.cos(50 * latitude)
        return np.where(np.sin(90 * longitude) > 0.8, np.nan, tops)

    path = swath(tmp_path, waves)
    one, other, part = fine(tmp_path), fine(tmp_path, chunk=12), fine(tmp_path, bbox=[92.2, 33.1, 92.4, 33.3])
    maps = []
    for work in (one, other, part):
        made = made_of(work, [path])[0][0]
        row, col = Area.of(work).corner
        maps.append((made, work.inside, row, col))
    assert maps[0][2:] != maps[1][2:]
    whole = np.full((2000, 4000), FILL, np.int16)
    made, inside, row, col = maps[0]
    row0, col0 = row - 100, col - 100
    whole[100 : 100 + made.shape[0], 100 : 100 + made.shape[1]] = made
    assert len(np.unique(made[inside])) > 20
    for made, inside, row, col in maps[1:]:
        here = whole[row - row0 : row - row0 + made.shape[0], col - col0 : col - col0 + made.shape[1]]
        np.testing.assert_array_equal(made[inside], here[inside])


# ---- fields of all kinds -------------------------------------------------------------------------------------------


def cube(**changes: Any) -> xr.Dataset:
    """Return a field in degrees over the map of 1 km, whose heights tell the cell: 100 times row plus column."""
    latitude, longitude = np.arange(34.0, 32.4, -0.1), np.arange(91.0, 94.0, 0.1)
    heights = 100.0 * np.arange(latitude.size)[:, None] + np.arange(longitude.size) + 2000
    return xr.Dataset(
        {"cloud_top_height": (("time", "lat", "lon"), heights[None].astype("float32"), {"units": "m"} | changes)},
        coords={"time": np.array([np.datetime64(DAY, "ns")]), "lat": latitude, "lon": longitude},
    )


def taken(folder: Path, data: xr.Dataset, overpass: int = 0) -> np.ndarray:
    """Return what is taken of a field, (y, x), through a Zarr store."""
    path = folder / "field.zarr"
    data.to_zarr(path, mode="w", consolidated=False)
    work = fine(folder)
    area = Area.of(work)
    return on_map(tops_of_field(path, area, DAY, 1, overpass), area)[0]


def test_each_pixel_takes_the_cell_that_holds_its_centre(tmp_path: Path) -> None:
    made = taken(tmp_path, cube())
    longitude, latitude = places(fine(tmp_path))
    row, col = np.rint((34.0 - latitude) / 0.1), np.rint((longitude - 91.0) / 0.1)
    inside = made != FILL
    assert inside.mean() > 0.8
    np.testing.assert_array_equal(made[inside], (100 * row + col + 2000)[inside])


@pytest.mark.parametrize(
    "changed",
    [
        lambda data: data.isel(lat=slice(None, None, -1)),
        lambda data: data.isel(lon=slice(None, None, -1)),
        lambda data: data.transpose("lon", "time", "lat"),
        lambda data: data.rename(lat="latitude", lon="longitude"),
        lambda data: data.rename(lat="y", lon="x").odc.assign_crs("EPSG:4326"),
        lambda data: data.assign_coords(time=data["time"] + np.timedelta64(13, "h")),
        lambda data: data.expand_dims(overpass=[1, 0]),
        lambda data: data.expand_dims(overpass=["aqua_day", "terra_day"], axis=-1),
        lambda data: data / 1000,
        lambda data: data.astype("int16"),
        lambda data: data.pad(time=(1, 0)).assign_coords(
            time=data["time"].values[0] - np.arange(1, -1, -1) * np.timedelta64(1, "D")
        ),
    ],
    ids=["north", "east", "order", "names", "crs", "hour", "overpass", "overpass names", "km", "integers", "days"],
)
def test_axes_are_told_by_their_names_and_numbers(tmp_path: Path, changed: Callable[[xr.Dataset], xr.Dataset]) -> None:
    data = changed(cube())
    units = "km" if float(data["cloud_top_height"].max()) < 100 else "m"
    data["cloud_top_height"].attrs["units"] = units
    np.testing.assert_array_equal(taken(tmp_path, data), taken(tmp_path, cube()))


def test_longitudes_may_run_to_360(tmp_path: Path) -> None:
    longitude = np.arange(0.05, 360, 0.1)
    data = cube().reindex(lon=np.arange(91.0, 94.0, 0.1), method="nearest")
    west = np.float32(2000) + np.arange(longitude.size, dtype="float32") // 10
    heights = np.broadcast_to(west, (1, data.sizes["lat"], longitude.size))
    around = xr.Dataset(
        {"cloud_top_height": (("time", "lat", "lon"), heights, {"units": "m"})},
        coords={"time": data["time"], "lat": data["lat"], "lon": longitude},
    )
    path = tmp_path / "field.zarr"
    around.to_zarr(path, consolidated=False)
    with opened_field(path) as field:
        columns, rows = field.columns_and_rows(np.array([-90.02, 92.02]), np.array([33.0, 33.0]), field.crs)
    assert longitude[columns].tolist() == pytest.approx([269.95, 92.05])
    assert (rows >= 0).all()


def test_a_projected_field_and_netcdf_are_read_alike(tmp_path: Path) -> None:
    box = lattice(240)[25, 5]
    heights = np.arange(240 * 240, dtype="float32").reshape(1, 240, 240) % 9000 + 500
    data = xr.Dataset(
        {"cloud_top_height": (("time", "y", "x"), heights, {"units": "m", "grid_mapping": "spatial_ref"})},
        coords={"time": np.array([np.datetime64(DAY, "ns")]), **xr_coords(box)},
    )
    made = taken(tmp_path, data)
    area = Area.of(fine(tmp_path))
    x, y = area.centres(*(np.arange(n) + 0.5 for n in area.geobox.shape))
    col = np.floor((x - 7 * TILE_SIZE) / (TILE_SIZE / 240)).astype(int)
    row = np.floor((4 * TILE_SIZE - y) / (TILE_SIZE / 240)).astype(int)
    inside = made != FILL
    np.testing.assert_array_equal(made[inside], heights[0][row, col][inside])
    data.to_netcdf(tmp_path / "field.nc", engine="scipy")
    result = tops_of_field(tmp_path / "field.nc", area, DAY, 1, 0)
    np.testing.assert_array_equal(on_map(result, area)[0], made)


def test_netcdf_4_is_read_where_a_package_for_it_is_there(tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf")
    cube().to_netcdf(tmp_path / "field.nc", engine="h5netcdf")
    area = Area.of(fine(tmp_path))
    result = tops_of_field(tmp_path / "field.nc", area, DAY, 1, 0)
    np.testing.assert_array_equal(on_map(result, area)[0], taken(tmp_path, cube()))


def without_crs(data: xr.Dataset) -> xr.Dataset:
    return data.rename(lat="y", lon="x")


def twice(data: xr.Dataset) -> xr.Dataset:
    return xr.concat([data, data.assign_coords(time=data["time"] + np.timedelta64(5, "h"))], "time")


def with_steps(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(lat=np.concatenate([data["lat"].values[:-1], [20.0]]))


def numbered(data: xr.Dataset) -> xr.Dataset:
    return data.drop_vars("overpass", errors="ignore").expand_dims("overpass")


@pytest.mark.parametrize(
    ("changed", "complaint", "found"),
    [
        (lambda data: data.rename(cloud_top_height="cth"), "has no variable of its name", "cth"),
        (lambda _: cube(units=""), "does not give heights in metres", "units ''"),
        (lambda _: cube(units="hPa"), "does not give heights in metres", "units 'hPa'"),
        (lambda data: data.rename(lat="row", lon="col"), "other dimensions", "time, row, col"),
        (lambda data: data.rename(time="day"), "other dimensions", "day, lat, lon"),
        (lambda data: data.expand_dims(level=[1, 2]), "other dimensions", "level, time, lat, lon"),
        (without_crs, "does not say where it is", "no coordinate reference system"),
        (with_steps, "not on a regular grid along lat", "steps from"),
        (lambda data: data.drop_vars("lon"), "where its cells are along lon", "(0,)"),
        (lambda data: data.assign_coords(time=[3]), "does not say when", "int64"),
        (twice, "has a day twice", f"2 times on {DAY}"),
        (numbered, "which overpasses it has", "no coordinate"),
        (lambda data: data.expand_dims(overpass=["morning"]), "which overpasses it has", "morning"),
        (lambda data: data.expand_dims(overpass=[7]), "which overpasses it has", "7"),
        (lambda _: cube(units="km"), "heights that no cloud has", "m"),
        (lambda data: data.assign_coords(lon=data["lon"] - 150), "no cell anywhere on the map", ""),
    ],
)
def test_a_field_that_does_not_say_what_it_is_is_refused(
    tmp_path: Path, changed: Callable[[xr.Dataset], xr.Dataset], complaint: str, found: str
) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        taken(tmp_path, changed(cube()))
    assert found in caught.value.found
    assert "sources.cloud_top.path" in caught.value.where


@pytest.mark.parametrize("content", [None, b"", b"\x89HDF\r\n\x1a\n" + 100 * b"\0", b"not a cube"])
def test_a_field_that_cannot_be_opened_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "field.nc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be opened") as caught, opened_field(path):
        pass
    assert ("no such file" in caught.value.found) == (content is None)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(UserError, match="cannot be opened"), opened_field(tmp_path / "empty.zarr"):
        pass


# ---- what is missing or damaged ------------------------------------------------------------------------------------


def test_days_that_a_field_lacks_stay_fill_and_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "field.zarr"
    cube().expand_dims(overpass=[0]).to_zarr(path, consolidated=False)
    work = work_of(tmp_path, {"kind": "field", "path": "field.zarr"}, region={"tiles": ["h25v05"], "bbox": BOX})
    area = Area.of(work)
    terra, aqua = (tops_of_field(path, area, DAY - dt.timedelta(days=1), 3, overpass) for overpass in BY_DAY)
    assert (on_map(terra, area)[[0, 2]] == FILL).all()
    assert (on_map(terra, area)[1] != FILL).any()
    assert (on_map(aqua, area) == FILL).all()
    noted = CLOUD_TOPS.function(work, "2010").noted
    assert noted is not None
    account = noted([terra[NOTES], aqua[NOTES]])
    table = account.tables["cloud-tops-2010"]
    assert table["status"].tolist() == 5 * ["missing"]
    assert sorted(set(table["date"])) == ["2010-07-03", "2010-07-04", "2010-07-05"]
    assert table["error"].str.startswith("aqua_day").sum() == 3
    assert account.complaint is None
    strict = Work(
        work.recipe.model_copy(update={"ingest": work.recipe.ingest.model_copy(update={"missing_granules": "refuse"})}),
        tmp_path,
    )
    noted = CLOUD_TOPS.function(strict, "2010").noted
    assert noted is not None
    complaint = noted([terra[NOTES]]).complaint
    assert isinstance(complaint, DataIncomplete)
    assert "2 days of cloud tops of 2010 are missing" in str(complaint)


def damaged(folder: Path, how: str) -> Path:
    """Return a granule of another pass of the day, damaged."""
    path = swath(folder, flat(3000), begins="2010-07-04T06:20", zenith=5)
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[:-100])
    elif how == "flipped":
        (piece,) = Hdf4File(path, content).arrays()["Cloud_Top_Height"].pieces
        at = piece.elements[0].offset + piece.elements[0].length // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "grid":
        tile = parse_tile("h25v05")
        ((_, products),) = observed_days(scene(2020, Window.of_tile(tile, 8), 2010), DAY, DAY)
        write_hdf(folder / f"{granule_id('MOD11A1', DAY, tile)}.hdf", "MOD11A1", tile, products["MOD11A1"])
        (folder / f"{granule_id('MOD11A1', DAY, tile)}.hdf").replace(path)
    elif how == "renamed":
        path = path.replace(path.with_name(path.name.replace(".0620.", ".0625.")))
    elif how == "other swath":
        cloud_tops.write_granule(path, remembered(path), swath="mod04")
    elif how == "gone":
        path.unlink()
    return path


def remembered(path: Path) -> cloud_tops.Granule:
    """Return what a granule's file holds."""
    stored = SD(str(path))
    layers = {name: stored.select(name)[:] for name in ("Latitude", "Longitude", "Sensor_Zenith", "Cloud_Top_Height")}
    stored.end()
    file = swath_file(path)
    assert file is not None
    hours = np.full(len(layers["Latitude"]), 24.0 * day_number(DAY) + 6.0)
    view = np.radians(0.01 * layers["Sensor_Zenith"])
    tops = layers["Cloud_Top_Height"].astype(float)
    return cloud_tops.Granule(file.product, file.begins, hours, layers["Longitude"], layers["Latitude"], view, tops)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("truncated", "truncated HDF granule"),
        ("flipped", "damaged content|not of its size"),
        ("empty", "not an HDF4 file"),
        ("grid", "without the product's swath"),
        ("renamed", "not what its name says"),
        ("other swath", "without the product's swath"),
        ("gone", "cannot be read"),
    ],
)
def test_a_damaged_granule_is_accounted_for_and_the_others_count(tmp_path: Path, how: str, complaint: str) -> None:
    work = fine(tmp_path)
    sound, bad = swath(tmp_path, flat(7000), zenith=50), damaged(tmp_path, how)
    files = [swath_file(path) for path in (sound, bad)]
    area = Area.of(work)
    result = tops_of_swaths({0: [file for file in files if file]}, area, DAY, 1, 0)
    assert (on_map(result, area)[0][work.inside] == 7000).all()
    assert result[FAILED] == 1
    (note,) = (note for note in result[NOTES] if note["status"] == "bad")
    assert note["id"] == bad.name.removesuffix(".hdf")
    assert pd.Series([note["error"]]).str.contains(complaint).all(), note["error"]

    noted = CLOUD_TOPS.function(work, "2010").noted
    assert noted is not None
    complaint_of_all = noted([result[NOTES]]).complaint
    assert isinstance(complaint_of_all, DataIncomplete)
    assert "1 granules of the cloud product of 2010 are bad" in str(complaint_of_all)
    assert note["id"] in str(complaint_of_all)
    tolerant = swaths_of(tmp_path, region=work.recipe.region.model_dump(mode="json"), ingest=NONE)
    assert CLOUD_TOPS.tolerates(tolerant.recipe)
    assert not CLOUD_TOPS.tolerates(work.recipe)
    noted = CLOUD_TOPS.function(tolerant, "2010").noted
    assert noted is not None
    assert noted([result[NOTES]]).complaint is None


def test_a_grid_of_another_name_says_that_it_is_one(tmp_path: Path) -> None:
    file = swath_file(damaged(tmp_path, "grid"))
    assert file is not None
    with pytest.raises(GranuleError, match="without the product's swath") as caught:
        read_cells(file, (-180.0, -90.0, 180.0, 90.0))
    assert caught.value.found == "the grid MODIS_Grid_Daily_1km_LST"


def test_layers_of_other_cells_are_refused(tmp_path: Path) -> None:
    path = swath(tmp_path, flat(3000))
    path.write_bytes(path.read_bytes().replace(b"Size=24\n", b"Size=25\n", 1))
    file = swath_file(path)
    assert file is not None
    with pytest.raises(GranuleError, match=r"Latitude is not stored as the product's definition says"):
        read_cells(file, (-180.0, -90.0, 180.0, 90.0))
    path.write_bytes(path.read_bytes().replace(b"Size=25\n", b"Size=9999\n", 1)[: path.stat().st_size + 2])
    with pytest.raises(GranuleError):
        read_cells(file, (-180.0, -90.0, 180.0, 90.0))


@pytest.mark.parametrize("deflated", [True, False])
def test_arrays_in_linked_blocks_are_read(tmp_path: Path, deflated: bool) -> None:
    # arrays that are written in turn, or grow in turn: HDF4 keeps each in blocks that a chain of lists leads to
    path, wanted = tmp_path / "blocks.hdf", np.random.default_rng(1).integers(0, 9000, (400, 60)).astype("int16")
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    arrays = [file.create(name, SDC.INT16, (400 if deflated else SDC.UNLIMITED, 60)) for name in ("a", "b")]
    for array in arrays if deflated else ():
        array.setcompress(SDC.COMP_DEFLATE, 5)
    slab = 400 if deflated else 50
    for row in range(0, 400, slab):
        for sign, array in zip((1, -1), arrays, strict=True):
            array[row : row + slab] = sign * wanted[row : row + slab]
    for array in arrays:
        array.endaccess()
    layer = cloud_tops._Layer("a", "int16", "", "", (0, 1), 0, 1, wanted)
    layers = [layer, layer, layer._replace(name="b")]
    file.attr("StructMetadata.0").set(SDC.CHAR, cloud_tops.struct_metadata(layers, "s", (400, 60)))
    file.end()
    stored = Hdf4File(path, path.read_bytes()).arrays()
    assert all(len(stored[name].pieces[0].elements) > 1 for name in ("a", "b"))
    expected = ExpectedSwath("P", "061", "2010-01-01", "00:00", "s", 500, 100)
    one, other = read_swath(path, expected, [Layer("a", "int16"), Layer("b", "int16")])
    np.testing.assert_array_equal(one, wanted)
    np.testing.assert_array_equal(other, -wanted)


@pytest.mark.parametrize("product", ["mod06_l2", "myd06_l2"])
def test_layers_are_coded_as_the_product_specifies(product: str) -> None:
    # file specification of the MODIS cloud product, MOD06_L2_CDL_fs.txt of MODIS Atmosphere; 0 m: see the definition
    collection = load_collection(product)
    assert collection.doi == f"10.5067/MODIS/{product.upper()}.061"
    codings = {
        band.sds: (band.dtype, band.factor, band.offset, band.valid_range, band.units) for band in collection.bands
    }
    assert codings == {
        "Latitude": ("float32", 1.0, 0.0, (-90, 90), "degree"),
        "Longitude": ("float32", 1.0, 0.0, (-180, 180), "degree"),
        "Sensor_Zenith": ("int16", 0.01, 0.0, (0, 18000), "degree"),
        "Cloud_Top_Height": ("int16", 1.0, 0.0, (1, 18000), "m"),
    }


def test_of_granules_made_twice_the_newest_is_taken_and_other_files_are_left(tmp_path: Path) -> None:
    names = [
        "MOD06_L2.A2010185.0440.061.2014001000000.hdf",
        "MOD06_L2.A2010185.0440.061.2018001000000.hdf",
        "MOD06_L2.A2010185.0440.061.hdf",
        "MOD06_L2.A2010185.0440.006.2019001000000.hdf",
        "MYD06_L2.A2010185.0440.061.2014001000000.hdf",
        "MOD06_L2.A2011185.0440.061.2014001000000.hdf",
        "MOD06_L2.A2010366.0440.061.2014001000000.hdf",
        "MOD06_L2.A2010185.2460.061.2014001000000.hdf",
        "MOD11A1.A2010185.h25v05.061.2014001000000.hdf",
        "notes.hdf",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in find_swaths(tmp_path, 2010)] == [names[1][:-4], names[4][:-4]]


# ---- the stage -----------------------------------------------------------------------------------------------------


def test_only_fields_and_swaths_need_arrays(tmp_path: Path) -> None:
    def scopes(cloud_top: dict[str, Any] | None) -> list[str]:
        return CLOUD_TOPS.scopes(recipe_of(tmp_path, cloud_top))

    assert scopes({"kind": "field", "path": "a"}) == scopes({"kind": "mod06", "path": "a"}) == ["2010"]
    assert scopes({"kind": "constant", "height_m": 3000.0}) == scopes(None) == []


def test_constant_heights_need_no_memory_for_their_days() -> None:
    ground = np.random.default_rng(0).uniform(3000, 6000, (20, 30)).astype(np.float32)
    ground[0, 0] = np.nan
    made = constant_tops(xr.Dataset({"elevation": (("y", "x"), ground)}), (46, 1, 20, 30), 2500.0)
    assert (made[CLOUD_TOP.name].dims, made[CLOUD_TOP.name].dtype) == (CLOUD_TOP.dims, CLOUD_TOP.dtype)
    heights = made[CLOUD_TOP.name].values
    assert heights.strides[:2] == (0, 0)
    assert heights[45, 0, 0, 0] == FILL
    np.testing.assert_array_equal(heights[7, 0].ravel()[1:], np.rint(ground + 2500).ravel()[1:])


@pytest.mark.parametrize("kind", ["field", "mod06"])
def test_nothing_is_computed_while_it_is_described(folder: Path, kind: str) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        pytest.fail("computed while it was only described")

    work = field_of(folder) if kind == "field" else swaths_of(folder)
    with dask.config.set(scheduler=refuse):
        products = CLOUD_TOPS.function(work, "2010")
        assert products.cube is not None
        lazy = check(products.cube, (CLOUD_TOP,), "cloud_top")[CLOUD_TOP.name]
        assert lazy.shape == (365, 4, 24, 48)
        assert lazy.chunks is not None
        assert lazy.chunks[:2] == ((*(7 * [46]), 43), (1, 1, 1, 1))
    assert CLOUD_TOPS.memory is not None
    assert CLOUD_TOPS.memory(work, "2010") < 2**30


def test_the_stage_makes_what_its_tasks_make_and_leaves_the_nights(folder: Path) -> None:
    work = swaths_of(folder, store={"chunk_pixels": 12}, ingest=NONE)
    products = CLOUD_TOPS.function(work, "2010")
    assert products.cube is not None
    assert products.tasks is not None
    assert products.noted is not None
    names = [task.name for task in products.tasks]
    assert names == [f"o{overpass}-t{start:03d}" for start in range(0, 365, 46) for overpass in BY_DAY]
    at = (DAY - dt.date(2010, 1, 1)).days
    start = at // 46 * 46
    area, results = Area.of(work), []
    written = np.full((365, 4, *work.shape), FILL, np.int16)
    for task in products.tasks:
        if task.name.endswith(f"t{start:03d}"):
            result = task.result.compute(scheduler="synchronous")
            results.append(result)
            for part in task.parts:
                written[part.region] = result[part.key]
    direct = tops_of_swaths(files_of(work, 0), area, DAY, 2, 0)
    np.testing.assert_array_equal(written[at : at + 2, 0], on_map(direct, area))
    block = products.cube.isel(time=slice(start, start + 46)).compute(scheduler="synchronous")
    np.testing.assert_array_equal(block[CLOUD_TOP.name], written[start : start + 46])
    assert (written[:, 2:] == FILL).all()
    assert (written[[at, at + 1]][:, :2] != FILL).any(axis=(2, 3)).all()
    table = products.noted([result[NOTES] for result in results]).tables["cloud-tops-2010"]
    assert (table["status"] == "missing").sum() == 2 * 44
    assert (table["status"] == "ok").sum() == sum(len(files) for o in BY_DAY for files in files_of(work, o).values())


def test_a_replaced_granule_changes_its_own_task_alone(tmp_path: Path) -> None:
    work = fine(tmp_path)
    first, second = swath(tmp_path, flat(3000)), swath(tmp_path, flat(3000), begins="2010-12-04T04:40")
    assert first != second

    def causes() -> dict[str, str]:
        tasks = CLOUD_TOPS.function(work, "2010").tasks
        assert tasks is not None
        return {task.name: task.cause for task in tasks}

    before, of_step = causes(), CLOUD_TOPS.causes(work, "2010")
    swath(tmp_path, flat(4000.0))
    after = causes()
    assert [name for name in before if before[name] != after[name]] == ["o0-t184"]
    changed = {name for name, cause in CLOUD_TOPS.causes(work, "2010").items() if cause != of_step[name]}
    assert changed == {"granules"}  # which does not make all chunks anew


def test_a_changed_field_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "field.zarr"
    cube().to_zarr(path, consolidated=False)
    work = work_of(tmp_path, {"kind": "field", "path": "field.zarr"})
    before = CLOUD_TOPS.causes(work, "2010")
    assert CLOUD_TOPS.causes(work, "2010") == before
    (2 * cube(units="m")).to_zarr(path, mode="w", consolidated=False)
    assert CLOUD_TOPS.causes(work, "2010") != before
    with pytest.raises(UserError, match="field of cloud tops is not there"):
        CLOUD_TOPS.causes(work_of(tmp_path, {"kind": "field", "path": "elsewhere"}), "2010")


def test_a_folder_without_granules_of_the_year_ends_the_run(tmp_path: Path) -> None:
    swath(tmp_path, flat(3000), begins="2011-07-04T04:40")
    swath(tmp_path, flat(3000), begins="2010-07-04T16:40")
    with pytest.raises(DataIncomplete, match="no granule of 2010"):
        CLOUD_TOPS.function(fine(tmp_path), "2010")


# ---- the archive ---------------------------------------------------------------------------------------------------

SMALL = Simulation(pixels_per_tile=8, tiles=("h25v05",), training_years=(2010,), target_years=(2011,), stations=0)


def test_an_archive_writes_a_field_that_is_labelled_and_always_the_same(tmp_path: Path) -> None:
    def written(folder: Path) -> dict[str, bytes]:
        write_archive(folder, SMALL.model_copy(update={"cloud_tops": "field"}))
        store = folder / cloud_tops.FIELD_NAME
        return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}

    one, other = written(tmp_path / "one"), written(tmp_path / "other")
    assert one == other
    assert "cloud_tops.zarr" in (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    data = xr.open_zarr(tmp_path / "one" / cloud_tops.FIELD_NAME, consolidated=False, chunks=None)
    assert "simulated" in data.attrs["source"]
    assert data["cloud_top_height"].attrs["units"] == "m"
    assert data.sizes == {"time": 730, "overpass": 2, "y": 8, "x": 8}
    seen = cloud_tops.seen_tops(SMALL.seed, Window.of_tile(parse_tile("h25v05"), 8), [dt.date(2011, 12, 31)], 1)
    np.testing.assert_array_equal(data["cloud_top_height"][-1, 1], np.rint(seen[0]))
    assert 1000 < float(data["cloud_top_height"].min()) < float(data["cloud_top_height"].max()) < 18000


def test_swaths_have_the_form_of_the_product(folder: Path) -> None:
    path = next((folder / "cloud_tops" / "MYD06_L2" / "2010").glob("*.hdf"))
    file = SD(str(path))
    assert "simulated" in file.attributes()["comment"]
    collection = load_collection("myd06_l2")
    for band in collection.bands:
        stored = file.select(band.sds)
        assert list(stored.dimensions()) == ["Cell_Along_Swath_5km:mod06", "Cell_Across_Swath_5km:mod06"]
        assert stored[:].dtype == band.dtype
        attributes = stored.attributes()
        assert attributes["_FillValue"] == pytest.approx(band.fill)
        assert attributes["scale_factor"] == band.factor
    heights = file.select("Cloud_Top_Height")[:]
    assert set(np.unique(heights[heights > 0] % 50)) == {0}
    file.end()
    assert f'"{path.name}"' in path.read_bytes().decode("latin-1")
    again = folder / "again"
    date = dt.datetime.strptime(path.name[10:17], "%Y%j").date()
    cloud_tops.write_swaths(again, COARSE, "MYD06_L2", date, date)
    assert (again / "cloud_tops" / "MYD06_L2" / "2010" / path.name).read_bytes() == path.read_bytes()
