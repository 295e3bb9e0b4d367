"""The simulated archive is what the real archives serve: true HDF-EOS2, a valid STAC catalogue, tables that are read.

And it judges methods fairly: a plain chain recovers the truth to some per cent, not exactly.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
from pyhdf.error import HDF4Error
from pyhdf.HDF import HDF
from pyhdf.SD import SD
from pyhdf.V import V  # noqa: F401  # gives HDF.vgstart
from shapely.geometry import shape

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.granules import search
from frostmap.catalogs.grids import lattice, parse_tile
from frostmap.catalogs.sites import read_boreholes
from frostmap.catalogs.stations import read_stations
from frostmap.pipeline.granule_files import read_granule
from frostmap.pipeline.simulate import ArchiveSummary, Simulation, truth, write_archive
from frostmap.pipeline.simulate.climate import OMEGA, season
from frostmap.pipeline.simulate.granules import PRODUCTS, granule_id, write_cogs, write_hdf
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.sites import all_stations, in_tiles, stations
from frostmap.pipeline.simulate.surface import observed_days, scene
from frostmap.pipeline.simulate.vegetation import composites

SIMULATION = Simulation(pixels_per_tile=16, tiles=("h25v05",), training_years=(2010,), target_years=(2020,))
TILE = parse_tile("h25v05")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ArchiveSummary:
    return write_archive(tmp_path_factory.mktemp("archive"), SIMULATION)


def granule(written: ArchiveSummary, product: str, date: dt.date) -> Path:
    return written.folder / "granules" / product / str(date.year) / f"{granule_id(product, date, TILE)}.hdf"


def test_everything_is_there(written: ArchiveSummary) -> None:
    assert written.granules == 2 * (365 + 366) + 2 * 23
    assert len(list(written.folder.glob("granules/*/*/*.hdf"))) == written.granules
    assert len(list(written.folder.glob("stac/*/*/M*.json"))) == written.granules
    grids = {path.stem for path in written.folder.glob("grids/*.tif")}
    epochs = {
        f"{name}_{year}" for name in ("snow_cover", "precipitation", "lakes", "glaciers") for year in (2010, 2020)
    }
    assert grids == {"elevation", "sand", "clay"} | epochs
    assert {path.name for path in written.folder.iterdir() if path.is_file()} == {
        "README.md",
        "boreholes.csv",
        "catalog.json",
        "outline.geojson",
        "stations.csv",
        "stations_daily.csv.gz",
        "truth_2010.tif",
        "truth_2020.tif",
    }
    assert written.surveys
    assert set(written.permafrost_share) == {"2010", "2020"}


def test_everything_says_that_it_is_simulated(written: ArchiveSummary) -> None:
    for path in written.folder.rglob("*.tif"):
        with rasterio.open(path) as file:
            assert "simulated" in file.tags()["source"], path
    for path in (written.folder / "README.md", written.folder / "outline.geojson", written.catalogue):
        assert "simulated" in path.read_text(encoding="utf-8").lower(), path
    for path in list(written.folder.glob("stac/**/*.json"))[::50]:
        assert "simulated" in path.read_text(encoding="utf-8").lower(), path
    file = SD(str(granule(written, "MOD11A1", dt.date(2010, 7, 4))))
    assert "simulated" in file.attributes()["comment"]
    assert pd.read_csv(written.folder / "stations.csv")["name"].str.contains("Simulated").all()


def test_a_granule_holds_what_was_observed_with_the_archives_attributes(written: ArchiveSummary) -> None:
    date = dt.date(2010, 7, 4)
    ((_, products),) = observed_days(scene(2020, Window.of_tile(TILE, 16), 2010), date, date)
    for product in ("MOD11A1", "MYD11A1"):
        file = SD(str(granule(written, product, date)))
        assert list(file.datasets()) == [layer.name for layer in PRODUCTS[product].layers]
        for name, values in products[product].items():
            stored = file.select(name)
            np.testing.assert_array_equal(stored[:], values)
            assert stored[:].dtype == values.dtype
            assert list(stored.dimensions()) == [f"{axis}Dim:MODIS_Grid_Daily_1km_LST" for axis in "YX"]
        attributes = file.select("LST_Day_1km").attributes()
        assert (attributes["scale_factor"], attributes["_FillValue"], attributes["valid_range"]) == (
            0.02,
            0,
            [7500, 65535],
        )
        assert file.select("QC_Day").attributes()["_FillValue"] == "NA\0"
        assert file.select("Night_view_angl").attributes()["add_offset"] == -65.0
        text = file.attributes()["StructMetadata.0"]
        assert "XDim=16" in text
        assert "UpperLeftPointMtrs=(7783653.638366,4447802.079066)" in text


def test_vegetation_divides_by_ten_thousand_and_is_twice_as_fine(written: ArchiveSummary) -> None:
    file = SD(str(granule(written, "MOD13A1", dt.date(2020, 1, 1) + dt.timedelta(days=16 * 13))))
    ndvi = file.select("500m 16 days NDVI")
    assert ndvi[:].shape == (32, 32)
    assert ndvi.attributes()["scale_factor"] == 10000.0
    assert -2000 <= ndvi[:].min() <= ndvi[:].max() <= 10000
    assert set(np.unique(file.select("500m 16 days pixel reliability")[:])) <= {0, 1, 2, 3}
    day = file.select("500m 16 days composite day of the year")[:]
    assert (day >= 209).all()
    assert (day <= 224).all()


def test_arrays_are_gathered_as_an_hdf_eos_grid(written: ArchiveSummary) -> None:
    file = HDF(str(granule(written, "MYD11A1", dt.date(2020, 2, 29))))
    groups = file.vgstart()
    found = {}
    reference = -1
    while True:
        try:
            reference = groups.getid(reference)
        except HDF4Error:  # pyhdf's way of saying that it was the last
            break
        group = groups.attach(reference)
        found[group._name] = (group._class, group._nmembers)
        group.detach()
    groups.end()
    file.close()
    assert found["MODIS_Grid_Daily_1km_LST"] == ("GRID", 2)
    assert found["Data Fields"] == ("GRID Vgroup", 12)


@pytest.mark.realdata
def test_granules_have_the_layers_of_real_ones(realdata: Path, written: ArchiveSummary) -> None:
    (path,) = (realdata / "modis_hdf").glob("MOD11A1*.hdf")
    real, ours = SD(str(path)), SD(str(granule(written, "MOD11A1", dt.date(2010, 1, 1))))
    assert {name: info[3] for name, info in real.datasets().items()}.keys() == ours.datasets().keys()
    for name, (dimensions, _, kind, _) in real.datasets().items():
        assert ours.datasets()[name][0] == dimensions
        assert ours.datasets()[name][2] == kind
        wanted, got = real.select(name).attributes(), ours.select(name).attributes()
        for key in ("_FillValue", "valid_range", "scale_factor", "add_offset", "units", "Number Type"):
            assert got.get(key) == wanted.get(key), (name, key)

    def words(file: SD) -> list[str]:
        text = file.attributes()["StructMetadata.0"].split("\0")[0]
        return re.sub(r"[-\d.]+", "#", text).split()

    assert words(real) == words(ours)


@pytest.mark.parametrize("product", ["mod11a1", "myd11a1", "mod13a1"])
def test_the_products_own_readers_find_and_open_all_of_it(written: ArchiveSummary, product: str) -> None:
    collection = load_collection(product)
    found = search(written.catalogue, collection, ["h25v05"], dt.date(2020, 1, 1), dt.date(2020, 12, 31))
    assert len(found) == (23 if product == "mod13a1" else 366)
    pixels = 32 if product == "mod13a1" else 16
    for one in found[::100]:
        layers = read_granule(one, collection, pixels_per_tile=pixels)
        assert all(values.shape == (pixels, pixels) for values in layers.values())


def test_the_catalogue_is_valid_stac(written: ArchiveSummary) -> None:
    catalogue = pystac.Catalog.from_file(str(written.catalogue))
    assert {child.id for child in catalogue.get_children()} == {"modis-11A1-061", "modis-13A1-061"}
    collection = catalogue.get_child("modis-11A1-061")
    assert isinstance(collection, pystac.Collection)
    assert {child.id for child in collection.get_children()} == {"h25v05-2010", "h25v05-2020"}
    year = collection.get_child("h25v05-2020")
    assert year is not None
    items = list(year.get_items())
    assert len(items) == 732
    assert {item.properties["platform"] for item in items} == {"terra", "aqua"}
    item = items[100]
    assert item.datetime is None
    assert item.properties["modis:horizontal-tile"] == 25
    assert json.loads(Path(item.get_self_href() or "").read_text(encoding="utf-8"))["properties"]["proj:epsg"] is None
    assert Path(item.get_assets()["hdf"].get_absolute_href() or "").exists()
    assert item.get_collection() is not None
    footprint = shape(item.geometry)
    assert footprint.is_valid
    assert footprint.bounds == pytest.approx(item.bbox)


@pytest.mark.realdata
def test_items_have_the_properties_of_real_ones(realdata: Path, written: ArchiveSummary) -> None:
    path = next(realdata.glob("stac/stactools_modis/examples/modis-061/modis-11A1-061/MYD*/*.json"))
    real = json.loads(path.read_text())["properties"]
    ours = json.loads(next(written.folder.glob("stac/modis-11A1-061/h25v05-2010/MYD*.json")).read_text())["properties"]
    assert set(real) - set(ours) <= {"updated", "eo:cloud_cover"}
    assert ours["proj:wkt2"] == real["proj:wkt2"]


def test_sites_are_read_and_agree_with_the_truth(written: ArchiveSummary) -> None:
    table = read_stations(written.folder / "stations.csv", written.folder / "stations_daily.csv.gz")
    assert len(table.sites) == written.stations > 10
    days = table.daily
    assert 0.97 < days["ground_temperature"].notna().sum() / (731 * written.stations) < 0.998
    chosen = stations(SIMULATION)
    one = chosen.table.iloc[0]
    year = days[(days["station"] == str(one["station"])) & (days["date"].dt.year == 2020)]["ground_temperature"]
    place = Places(np.array([one["longitude"]]), np.array([one["latitude"]]), 1.0)
    true = truth(2020, place, (2020,))
    assert -year.clip(upper=0).sum() == pytest.approx(float(true.ddf[0]), rel=0.05, abs=30.0)
    holes = read_boreholes(written.folder / "boreholes.csv").kept
    assert len(holes) == written.boreholes
    assert 0.55 < (holes["magt_20m"] < 0).mean() < 0.9


def test_sites_are_the_plateaus_own_not_the_tiles() -> None:
    everywhere = all_stations(2020, 87, SIMULATION.pixel_km)
    here = stations(SIMULATION)
    places = everywhere.land.places
    within = in_tiles(SIMULATION, places.longitude, places.latitude)
    assert here.table["name"].tolist() == everywhere.table["name"][within].tolist()
    assert len(stations(Simulation()).table) == 87


def test_surveys_lie_on_the_lattice_and_hold_both_classes(written: ArchiveSummary) -> None:
    affine = lattice(16)[TILE].affine
    for name in written.surveys:
        with rasterio.open(written.folder / "surveys" / f"{name}.tif") as file:
            codes = file.read(1)
            column, row = ~affine * (file.transform.c, file.transform.f)
            with rasterio.open(written.folder / "truth_2010.tif") as true:
                assert true.descriptions == ("ddf", "ddt", "e", "frozen_ground")
                window = rasterio.windows.from_bounds(*file.bounds, true.transform)
                classes = true.read(4, window=window)
        assert column == pytest.approx(round(column), abs=1e-6)
        assert row == pytest.approx(round(row), abs=1e-6)
        assert {1, 2} <= set(np.unique(codes)) <= {1, 2, 3}
        known = codes < 3
        assert (codes[known] == classes[known]).mean() > 0.9


def test_blocks_of_days_do_not_show_and_the_bytes_are_the_same_again(written: ArchiveSummary, tmp_path: Path) -> None:
    # 15 February ends the archive's first block of 46 days; the run of days here crosses it
    days = observed_days(scene(2020, Window.of_tile(TILE, 16), 2010), dt.date(2010, 2, 13), dt.date(2010, 2, 18))
    for date, products in days:
        for product, layers in products.items():
            again = tmp_path / granule(written, product, date).name  # its name is part of its own metadata
            write_hdf(again, product, TILE, layers)
            assert again.read_bytes() == granule(written, product, date).read_bytes()


def test_progress_counts_every_piece_of_work(tmp_path: Path) -> None:
    tiny = Simulation(
        pixels_per_tile=8, tiles=("h25v05",), training_years=(2010,), target_years=(2011,), stations=0, boreholes=8
    )
    steps: list[tuple[int, int]] = []
    summary = write_archive(tmp_path / "new" / "folder", tiny, progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    assert summary.stations == 0
    assert (tmp_path / "new" / "folder" / "catalog.json").exists()


def test_cogs_hold_the_same_under_the_archives_asset_names(tmp_path: Path) -> None:
    date = dt.date(2010, 7, 4)
    window = Window.of_tile(TILE, 16)
    ((_, products),) = observed_days(scene(2020, window, 2010), date, date)
    name = granule_id("MOD11A1", date, TILE)
    write_cogs(tmp_path, name, "MOD11A1", TILE, products["MOD11A1"])
    with rasterio.open(tmp_path / f"{name}_Day_view_angl.tif") as file:
        np.testing.assert_array_equal(file.read(1), products["MOD11A1"]["Day_view_angl"])
        assert file.nodata == 255
        assert file.transform.almost_equals(lattice(16)[TILE].affine, 1e-6)
        assert "Sinusoidal" in file.crs.to_wkt()
    start, layers = composites(2020, Window.of_tile(TILE, 32), 2010)[0]
    write_cogs(tmp_path, "x", "MOD13A1", TILE, layers)
    assert start == dt.date(2010, 1, 1)
    assert (tmp_path / "x_500m_16_days_NDVI.tif").exists()


def test_large_granules_are_written_and_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    layers = {layer.name: rng.integers(0, 100, (300, 300)).astype(layer.dtype) for layer in PRODUCTS["MOD11A1"].layers}
    write_hdf(tmp_path / "x.hdf", "MOD11A1", TILE, layers)
    file = SD(str(tmp_path / "x.hdf"))
    for name, values in layers.items():
        np.testing.assert_array_equal(file.select(name)[:], values)


def test_a_plain_chain_comes_near_the_truth_but_not_to_it() -> None:
    """Annual cycles fill the gaps, one harmonic makes the daily mean, a pooled regression corrects thawing."""
    window = Window(12, 5 * 12, 24 * 12, 12, 3 * 12)
    a_scene = scene(2020, window, 2020)
    within = np.isfinite(truth(2020, window.places(), (2020,)).ddf)
    order = [("MOD11A1", "Day"), ("MYD11A1", "Day"), ("MOD11A1", "Night"), ("MYD11A1", "Night")]
    lst, quality, hours = (np.empty((366, 4, int(within.sum())), np.float32) for _ in range(3))
    for t, (_, products) in enumerate(observed_days(a_scene, dt.date(2020, 1, 1), dt.date(2020, 12, 31))):
        for o, (product, half) in enumerate(order):
            layers = products[product]
            lst[t, o] = layers[f"LST_{half}_1km"][within] * np.float32(0.02) - np.float32(273.15)
            quality[t, o] = layers[f"QC_{half}"][within]
            hours[t, o] = layers[f"{half}_view_time"][within] * np.float32(0.1)
    bits = quality.astype(np.uint8)
    valid = ((bits & 3) < 2) & (((bits >> 6) & 3) < 2)
    days = np.arange(366.0)
    basis = np.stack(
        [np.ones(366), *(f(k * OMEGA * days) for k in (1, 2) for f in (np.cos, np.sin))], axis=1
    )  # (day, term)
    filled = np.empty_like(lst)
    for o in range(4):
        used = valid[:, o].astype(float)
        normal = np.einsum("tk,tp,tl->pkl", basis, used, basis)
        right = np.einsum("tk,tp->pk", basis, used * lst[:, o])
        expected = basis @ np.linalg.solve(normal, right[..., None])[..., 0].T
        anomaly = np.where(valid[:, o], lst[:, o] - expected, np.nan)
        daily = np.where(valid[:, o].any(axis=1), np.nansum(anomaly, axis=1) / np.maximum(used.sum(axis=1), 1), 0.0)
        filled[:, o] = np.where(valid[:, o], lst[:, o], expected + 0.25 * daily[:, None])
        hours[:, o] = np.where(valid[:, o], hours[:, o], (10.9, 13.1, 22.1, 1.9)[o])
    phase = np.pi / 12.0 * hours
    cosine, sine = (f - f.mean(axis=1, keepdims=True) for f in (np.cos(phase), np.sin(phase)))
    centred = filled - filled.mean(axis=1, keepdims=True)
    cc, ss, cs = (cosine**2).sum(axis=1), (sine**2).sum(axis=1), (cosine * sine).sum(axis=1)
    ct, st = (cosine * centred).sum(axis=1), (sine * centred).sum(axis=1)
    determinant = cc * ss - cs**2
    a, b = (ct * ss - st * cs) / determinant, (st * cc - ct * cs) / determinant
    mean = filled.mean(axis=1) - a * np.cos(phase).mean(axis=1) - b * np.sin(phase).mean(axis=1)

    true = truth(2020, window.places(), (2020,))
    ddf, ddt = true.ddf[within], true.ddt[within]
    freezing = -np.minimum(mean, 0).sum(axis=0)
    error = np.sqrt(((freezing - ddf) ** 2).mean()) / ddf.mean()
    assert 0.01 < error < 0.12
    interval = np.minimum(np.arange(366) // 16, 22)
    thawing = np.stack([np.maximum(mean[interval == i], 0).sum(axis=0) for i in range(23)])
    raw = np.sqrt(((thawing.sum(axis=0) - ddt) ** 2).mean()) / ddt.mean()
    # the correction is fitted at a few sites against their ground temperature and applied to all
    from frostmap.pipeline.simulate.climate import ground_temperature

    ground = ground_temperature(a_scene.climate, 7305, 366)[:, within]
    wanted = np.stack([np.maximum(ground[interval == i], 0).sum(axis=0) for i in range(23)])
    middle = np.minimum(16.0 * np.arange(23) + 8.0, 364.0)
    climate = a_scene.climate
    ndvi = climate.ndvi_winter[within] + climate.ndvi_gain[within] * season(middle)[:, None]
    latitude = np.broadcast_to(window.places().latitude[within], thawing.shape)
    design = np.stack([np.ones_like(thawing), thawing, ndvi, latitude], axis=-1)
    sites = np.zeros(thawing.shape, bool)
    sites[:, ::6] = True
    used_rows = sites & ((thawing > 0) | (wanted > 0))
    beta = np.linalg.lstsq(design[used_rows], wanted[used_rows])[0]
    corrected = np.clip(design @ beta, 0.0, 1.5 * thawing + 32.0)
    corrected[thawing <= 0] = 0.0
    after = np.sqrt(((corrected.sum(axis=0) - ddt) ** 2).mean()) / ddt.mean()
    assert after < 0.12
    assert after < raw
    assert beta[1] > 0
    assert beta[2] < 0
