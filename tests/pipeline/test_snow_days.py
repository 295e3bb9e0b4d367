"""Snow cover is told from the snow index, and what clouds hid in one season does not count less for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from affine import Affine
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.grids import parse_tile
from frostmap.pipeline import plan
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.granule_files import read_granule
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.simulate.climate import covariates
from frostmap.pipeline.simulate.granules import granule_id, write_hdf
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.snow import SHARE, chance_of_snow, snow_days
from frostmap.pipeline.simulate.surface import landscape_of
from frostmap.pipeline.simulate.vegetation import composites
from frostmap.pipeline.stages.masks import MASKS
from frostmap.pipeline.stages.snow_cover import LENGTHS, SNOW_COVER_MADE, mean_of_months
from frostmap.pipeline.stages.snow_days import SNOW_DAYS_SEEN, snow_cover
from frostmap.pipeline.stages.vegetation import VEGETATION, interpolate_gaps, mean_of_four, usable_ndvi

from .small_chain import one_thread

MOD10A1 = load_collection("mod10a1")
TILE, N, YEAR, SEED = parse_tile("h25v05"), 16, 2010, 7


# ---- a day -----------------------------------------------------------------------------------------------------------


def test_the_index_becomes_a_share_and_classes_do_not() -> None:
    stored = np.array([0, 10, 11, 50, 100, 200, 201, 211, 237, 239, 250, 254, 255], np.uint8)
    wanted = [0.0, 0.0, 14.95, 71.5, 100.0] + [np.nan] * 8  # by hand: 1.45 * 0.11 - 0.01, 1.45 * 0.5 - 0.01
    np.testing.assert_allclose(snow_cover(stored, np.zeros_like(stored), MOD10A1), wanted, rtol=1e-5)


def test_what_was_seen_badly_does_not_count() -> None:
    quality = np.array([0, 1, 2, 3, 4, 211, 239, 255], np.uint8)
    wanted = [71.5] * 3 + [np.nan] * 5
    np.testing.assert_allclose(snow_cover(np.full(8, 50, np.uint8), quality, MOD10A1), wanted, rtol=1e-5)


# ---- a year of months ------------------------------------------------------------------------------------------------


def months_of(values: Any) -> Any:
    return np.asarray(values, np.float32).reshape(12, 1, 1)


def days_of(values: Any) -> Any:
    return np.asarray(values, np.int16).reshape(12, 1, 1)


def test_months_count_by_their_length_however_often_they_were_seen() -> None:
    cover = months_of([60, 50, 40, 20, 10, 0, 0, 0, 10, 20, 40, 50])
    often, seldom = days_of([30] * 12), days_of([30] * 5 + [3] * 4 + [30] * 3)
    wanted = (31 * 60 + 28 * 50 + 31 * 40 + 30 * 20 + 31 * 10 + 30 * 10 + 31 * 20 + 30 * 40 + 31 * 50) / 365
    for days in (often, seldom):
        assert mean_of_months([cover], [days])[0, 0] == pytest.approx(wanted, rel=1e-6)


def test_years_count_by_the_days_that_they_were_seen() -> None:
    two = [months_of([10.0] * 12), months_of([40.0] * 12)]
    assert mean_of_months(two, [days_of([20] * 12), days_of([10] * 12)])[0, 0] == pytest.approx(20.0)
    two[1][:] = np.nan
    assert mean_of_months(two, [days_of([20] * 12), days_of([0] * 12)])[0, 0] == pytest.approx(10.0)


def test_two_months_in_a_row_are_interpolated_and_three_are_not() -> None:
    cover, days = months_of([30.0] * 12), days_of([9] * 12)
    cover[[11, 0]], days[[11, 0]] = np.nan, 0
    assert mean_of_months([cover], [days])[0, 0] == pytest.approx(30.0)
    days[1] = 2  # seen on too few days
    assert np.isnan(mean_of_months([cover], [days])[0, 0])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 100, width=32), min_size=12, max_size=12),
    st.lists(st.integers(3, 31), min_size=12, max_size=12),
)
def test_the_mean_of_a_whole_year_is_the_weighted_one(cover: list[float], days: list[int]) -> None:
    wanted = float(np.dot(cover, LENGTHS) / 365)
    assert mean_of_months([months_of(cover)], [days_of(days)])[0, 0] == pytest.approx(wanted, abs=1e-3)


# ---- of granules -----------------------------------------------------------------------------------------------------


def fine_window(factor: int) -> Window:
    return Window.of_tile(TILE, factor * N)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a year of granules of one coarse tile, of both vegetation products and the snow index."""
    folder = tmp_path_factory.mktemp("granules")
    for date, stored in snow_days(SEED, fine_window(2), YEAR):
        write_hdf(folder / f"{granule_id('MOD10A1', date, TILE)}.hdf", "MOD10A1", TILE, stored)
    for product, factor, prefix in (("MOD13A1", 2, "500m"), ("MOD13A2", 1, "1 km")):
        for date, stored in composites(SEED, fine_window(factor), YEAR):
            named = {name.replace("500m", prefix, 1): values for name, values in stored.items()}
            write_hdf(folder / f"{granule_id(product, date, TILE)}.hdf", product, TILE, named)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 60, "width": 80, "crs": "EPSG:4326"}
    with rasterio.open(folder / "even.tif", "w", transform=Affine(1, 0, 60, 0, -1, 70), **profile) as file:
        file.write(np.full((1, 60, 80), 3, "float32"))
    return folder


def recipe_of(archive: Path, **sources: Any) -> Recipe:
    content = {
        "name": "snowy",
        "data": str(archive),
        "region": {"tiles": [str(TILE)], "pixels_per_tile": N},
        "epochs": {"training": {"years": [YEAR]}},
        "sources": {
            "forcing": {"training": {"freezing": "even.tif", "thawing": "even.tif"}},
            "clusters": "even.tif",
            "surveys": [{"name": "none", "path": "even.tif"}],
            **sources,
        },
        "store": {"chunk_pixels": 8},
    }
    return parse_recipe(yaml.safe_dump(content), archive / "recipe.yaml")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with one_thread() as connection:
        yield connection


@pytest.fixture(autouse=True)
def _only_what_granules_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STAGES", (VEGETATION, MASKS, SNOW_DAYS_SEEN, SNOW_COVER_MADE))


FOLDER = {"kind": "folder", "catalogue": "."}


def test_simulated_snow_is_recovered_to_the_noise_of_its_days(archive: Path, tmp_path: Path, client: Client) -> None:
    """Each fine pixel has snow or not on each day, and clouds hide it most when there is least of it."""
    recipe = recipe_of(archive, snow_cover=FOLDER)
    work = run(recipe, tmp_path / "work", client=client).work
    months, cube = work.open(f"snow_days/{YEAR}").load(), work.open("snow_cover/training").load()
    seen = months["days_seen"].to_numpy().sum(axis=0)
    assert 0.2 < seen.mean() / 365 < 0.8
    window = fine_window(2)
    mean = covariates(SEED, landscape_of(SEED, window), YEAR + 0.5).snow
    chance = np.stack([chance_of_snow(mean, day) for day in range(365)])
    truth = 100 * SHARE * chance.mean(axis=0).reshape(N, 2, N, 2).mean(axis=(1, 3))
    own = 100 * SHARE * np.sqrt((chance * (1 - chance)).mean() / (4 * seen.mean()))
    off = cube["snow_cover"].to_numpy() - truth
    known = np.isfinite(off)
    assert known.mean() > 0.95
    assert abs(off[known].mean()) < 3 * own / np.sqrt(known.sum()) + 0.1
    assert off[known].std() < 1.5 * own
    plain = np.nansum(months["snow_by_month"] * months["days_seen"], axis=0) / seen - truth
    assert abs(off[known].mean()) < 0.2 * abs(plain[known].mean())  # what the seasons of cloud would have done
    assert (cube["snow_cover_missing"].to_numpy() == np.where(known, 0, 2)).all()
    table = work.table("snow_cover-training")
    assert (table["pixels"].sum(), table["no_value"].sum()) == (N * N, (~known).sum())


def test_every_granule_is_accounted_for_and_lost_ones_hide_snow(archive: Path, tmp_path: Path, client: Client) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for path in archive.iterdir():
        date = path.name[9:16]
        if not (path.name.startswith("MOD10A1") and f"{YEAR}182" <= date <= f"{YEAR}212"):
            (folder / path.name).hardlink_to(path)
    broken = folder / f"{granule_id('MOD10A1', dt.date(YEAR, 2, 1), TILE)}.hdf"
    broken.unlink()
    broken.write_bytes(b"not a granule")
    recipe = recipe_of(folder, snow_cover=FOLDER).model_copy(update={})
    recipe = parse_recipe(
        yaml.safe_dump(recipe.model_dump(mode="json") | {"ingest": {"bad_granules": "accept"}}), folder / "recipe.yaml"
    )
    work = run(recipe, tmp_path / "work", client=client).work
    table = pd.read_csv(work.table_path(f"snow_days-{YEAR}"), keep_default_na=False)
    assert table["status"].value_counts().to_dict() == {"ok": 333, "missing": 31, "bad": 1}
    days = work.open(f"snow_days/{YEAR}")["days_seen"].to_numpy()
    assert not days[6].any()
    assert days[7].any()
    assert np.isfinite(work.open("snow_cover/training")["snow_cover"].to_numpy()).mean() > 0.9  # July is interpolated


@pytest.mark.parametrize("product", ["mod13a1", "mod13a2"])
def test_either_product_of_vegetation_gives_its_own_pixels(
    archive: Path, tmp_path: Path, client: Client, product: str
) -> None:
    recipe = recipe_of(archive, ndvi=FOLDER | {"product": product})
    summary = plan.plan(recipe, tmp_path / "work").summary()
    assert [row["product"] for row in summary["completeness"]["products"]] == [product.upper()]
    work = run(recipe, tmp_path / "work", client=client).work
    collection, factor = load_collection(product), 2 if product == "mod13a1" else 1
    wanted = []
    for path in sorted(archive.glob(f"{product.upper()}*.hdf")):
        stored = read_granule(path, collection, ["ndvi", "reliability"], pixels_per_tile=factor * N)
        ndvi = usable_ndvi(stored["ndvi"], stored["reliability"], collection)
        wanted.append(mean_of_four(ndvi) if factor == 2 else ndvi)
    made = work.open(f"vegetation/{YEAR}")["ndvi"].to_numpy()
    np.testing.assert_array_equal(made, interpolate_gaps(np.stack(wanted), 4))


def test_a_product_that_is_no_vegetation_is_refused(archive: Path) -> None:
    with pytest.raises(UserError, match="'mod13a1' or 'mod13a2'"):
        recipe_of(archive, ndvi=FOLDER | {"product": "mod13q1"})


@pytest.mark.realdata
def test_a_real_mod10a2_granule_holds_the_classes_that_are_specified(realdata: Path) -> None:
    path = next((realdata / "modis_hdf").glob("MOD10A2*.hdf"))
    arrays = read_granule(path, load_collection("mod10a2"))
    extent, days = arrays["snow_extent"], arrays["snow_days"]
    assert extent.shape == days.shape == (2400, 2400)
    known = {0, 1, 11, 25, 37, 39, 50, 100, 200, 254, 255}
    assert set(np.unique(extent).tolist()) <= known
    assert (extent == 200).mean() > 0.05  # in February, at 30 to 40 degrees north
    assert (days[extent == 200] > 0).mean() > 0.99
