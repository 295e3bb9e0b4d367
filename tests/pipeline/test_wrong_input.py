"""Wrong input ends in a message that says what, where and what to do, with the right exit code, and loses nothing."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client

from frostmap.catalogs.errors import CatalogError
from frostmap.kernels.sky_classes import CLEAR, SHADED_CLOUD
from frostmap.pipeline import ledger
from frostmap.pipeline.errors import DataIncomplete, FrostmapError, UserError
from frostmap.pipeline.plan import plan
from frostmap.pipeline.recipe import DegreeDays, GapFilling, Quality, Recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.stages import annual_cycle, degree_days, frozen_ground, gap_filling, observations
from frostmap.pipeline.stages.ingest import year_coords
from frostmap.pipeline.work import Work

from .conftest import Finished, make_recipe

ONE_EPOCH = {"epochs": {"training": {"years": [2010]}}}


@pytest.fixture
def own_archive(archive: Path, tmp_path: Path) -> Path:
    """Return a copy of the archive that a test may change: files are links until they are replaced."""
    folder = tmp_path / "archive"
    shutil.copytree(archive, folder, copy_function=os.link)
    return folder


def granule(archive: Path, day: int, tile: str = "h25v05") -> Path:
    return next(archive.glob(f"granules/MOD11A1/2010/MOD11A1.A2010{day:03d}.{tile}.*.hdf"))


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def expect(kind: type[Exception], recipe: Recipe, folder: Path, client: Client, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        run(recipe, folder, client=client, **options)
    return str(caught.value)


def test_broken_granules_are_listed_and_the_rest_is_kept(own_archive: Path, tmp_path: Path, client: Client) -> None:
    cut, swapped, page = granule(own_archive, 10), granule(own_archive, 20), granule(own_archive, 30)
    replace(cut, cut.read_bytes()[:2000])
    replace(swapped, granule(own_archive, 20, "h26v05").read_bytes())
    replace(page, b"<html>please log in</html>")
    recipe, folder = make_recipe(own_archive, **ONE_EPOCH), tmp_path / "work"
    message = expect(DataIncomplete, recipe, folder, client, until="ingest")
    for path in (cut, swapped, page):
        assert path.stem in message
    assert "3 of 1460 granules of 2010 are bad" in message
    assert "ingest.bad_granules: accept" in message
    table = pd.read_csv(folder / "tables" / "granules-2010.csv")
    assert table["status"].value_counts().to_dict() == {"ok": 1457, "bad": 3}
    lst = Work(recipe, folder).open("ingest/2010")["lst"].to_numpy()
    assert lst[8, 0].any()
    assert not lst[9, 0, :, :24].any()
    assert ledger.read_record(folder / "ledger", "ingest/2010") is None

    accepting = make_recipe(own_archive, **ONE_EPOCH, ingest={"bad_granules": "accept"})
    run(accepting, folder, client=client, until="ingest")
    assert ledger.read_record(folder / "ledger", "ingest/2010") is not None


def test_a_day_that_the_catalogue_lacks_is_listed_and_can_be_refused(
    own_archive: Path, tmp_path: Path, client: Client
) -> None:
    item = next(own_archive.glob("stac/**/MYD11A1.A2010200.h26v05*.json"))
    for catalogue in item.parent.glob("catalog.json"):
        lines = catalogue.read_text(encoding="utf-8")
        import json

        content = json.loads(lines)
        content["links"] = [link for link in content["links"] if item.name not in link["href"]]
        replace(catalogue, json.dumps(content).encode())
    item.unlink()
    recipe = make_recipe(own_archive, **ONE_EPOCH, ingest={"missing_granules": "refuse"})
    message = expect(DataIncomplete, recipe, tmp_path / "work", client, until="ingest")
    assert "1 of 1460 granules of 2010 are missing" in message
    assert "MYD11A1 h26v05 2010-07-19" in message


def test_an_empty_search_says_where_it_looked(archive: Path, tmp_path: Path) -> None:
    recipe = make_recipe(archive, epochs={"training": {"years": [2013]}})
    with pytest.raises(DataIncomplete) as caught:
        plan(recipe, tmp_path / "work")
    assert "no source has a MOD11A1 granule of 2013" in str(caught.value)
    assert "catalog.json (recipe: sources.lst)" in str(caught.value)


def test_a_catalogue_that_is_not_there(archive: Path, tmp_path: Path) -> None:
    recipe = make_recipe(archive)
    sources = recipe.model_dump(mode="json", exclude_none=True)["sources"] | {"lst": {"catalogue": "nowhere.json"}}
    with pytest.raises((CatalogError, FrostmapError), match=r"nowhere\.json"):
        plan(make_recipe(archive, sources=sources), tmp_path / "work")


def test_a_file_that_is_not_there(archive: Path, tmp_path: Path) -> None:
    recipe = make_recipe(archive)
    sources = recipe.model_dump(mode="json", exclude_none=True)["sources"] | {"sand": "grids/sandd.tif"}
    with pytest.raises(UserError, match=r"sandd\.tif") as caught:
        plan(make_recipe(archive, sources=sources), tmp_path / "work")
    assert "correct the path" in str(caught.value)


@pytest.mark.parametrize(
    "region",
    [
        {"bbox": [200.0, 30.0, 210.0, 40.0]},
        {"bbox": [95.0, 36.0, 90.0, 33.0]},
        {"tiles": ["h40v05"]},
        {"tiles": ["h01v05"], "bbox": [90.0, 33.0, 95.0, 36.0]},
    ],
)
def test_a_region_off_the_grid(archive: Path, tmp_path: Path, region: dict[str, Any]) -> None:
    recipe = make_recipe(archive, region=region | {"pixels_per_tile": 24})
    with pytest.raises((CatalogError, UserError)):
        plan(recipe, tmp_path / "work").summary()


def test_station_temperatures_in_kelvin_are_recognised(own_archive: Path, pristine: Finished, client: Client) -> None:
    path = own_archive / "stations_daily.csv.gz"
    table = pd.read_csv(path)
    valid = table["ground_temperature"] != 32766
    table.loc[valid, "ground_temperature"] += 2731
    replace(path, gzip.compress(table.to_csv(index=False).encode()))
    folder = own_archive.parent / "work"
    shutil.copytree(pristine.folder, folder)
    message = expect(CatalogError, make_recipe(own_archive), folder, client, until="ground_correction")
    assert "kelvin" in message.lower() or " K" in message


def test_degree_days_of_kelvin_are_recognised(tmp_path: Path, realdata: Path, client: Client) -> None:
    import rasterio

    from frostmap.pipeline.recipe import parse_recipe

    with rasterio.open(realdata / "cop_wenquan" / "DDT_mean_annual.tif") as source:
        profile, values = source.profile, source.read()
    with rasterio.open(tmp_path / "DDT.tif", "w", **profile) as target:
        target.write(np.where(values > 0, values + np.float32(273.15 * 365), values))
    text = f"""
name: kelvin
data: {realdata / "cop_wenquan"}
region: {{grid_of: DDF_mean_annual.tif}}
epochs: {{training: {{years: [2010]}}}}
sources:
  forcing: {{training: {{freezing: DDF_mean_annual.tif, thawing: {tmp_path / "DDT.tif"}}}}}
  clusters: soil_cluster.tif
  surveys: [{{name: wenquan, path: investigation_map.tif}}]
"""
    recipe = parse_recipe(text, tmp_path / "recipe.yaml")
    message = expect(UserError, recipe, tmp_path / "work", client)
    assert "does not hold annual degree-day sums" in message
    assert "not K" in message


def test_pixels_that_are_always_cloudy_stay_missing_to_the_end() -> None:
    coords = year_coords(2010)
    shape = (365, 4, 3, 3)
    rng = np.random.default_rng(1)
    season = 280 - 15 * np.cos(2 * np.pi * np.arange(365) / 365.25)
    lst = np.rint((season[:, None, None, None] + rng.normal(0, 2, shape)) / 0.02).astype(np.uint16)
    hours = np.broadcast_to(np.array([105, 135, 225, 15], dtype=np.uint8)[:, None, None], shape).copy()
    qc = np.zeros(shape, dtype=np.uint8)
    lst[:, :, 1, 1], qc[:, :, 1, 1], hours[:, :, 1, 1] = 0, 2, 255
    dims = ("time", "overpass", "y", "x")
    raw = xr.Dataset({"lst": (dims, lst), "qc": (dims, qc), "view_time": (dims, hours)}, coords=coords)
    raw["view_angle"] = xr.where(raw["view_time"] == 255, np.uint8(255), np.uint8(70))
    seen = xr.Dataset(
        {name: (dims, array) for name, array in observations.observe(raw, quality=Quality()).items()}, coords
    )
    assert (seen["view_time"] <= 240).all()  # cloud hides the ground, not where the satellite was
    settings = GapFilling(method="annual_cycle")
    sky = xr.Dataset({"sky": (dims, np.where(lst > 0, CLEAR, SHADED_CLOUD).astype(np.uint8))})
    parts = []
    for number in range(4):
        own = seen.isel(overpass=[number])
        fitted = annual_cycle.fit(own, sky.isel(overpass=[number]), settings=settings)
        cycle = xr.Dataset(
            {
                "annual_cycle": (("harmonic", "overpass", "y", "x"), fitted["annual_cycle"]),
                "spread": (("overpass", "y", "x"), fitted["spread"]),
            }
        )
        parts.append(gap_filling.fill(own, sky.isel(overpass=[number]), cycle, settings=settings, radius=1))
    filled = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    assert (filled["lst"][:, :, 1, 1] == 0).all()
    assert (filled["fill_flag"][:, :, 1, 1] == 255).all()
    assert np.isnan(filled["sigma"][:, :, 1, 1]).all()
    assert (filled["lst"][:, :, 0, 0] > 7500).all()
    there = {"y": 3.8e6 - 1000.0 * np.arange(3), "x": 8.5e6 + 1000.0 * np.arange(3)}
    made = xr.Dataset({"lst": (dims, filled["lst"])}, {**coords, **there})
    sums = degree_days.sums(made, seen, year=2010, settings=DegreeDays())
    assert sums["valid_days"][1, 1] == 0
    assert (sums["valid_days"][0] == 365).all()
    nothing = np.full((1, 1), np.nan, dtype=np.float32)
    zero = np.zeros((1, 1), dtype=np.float32)
    ground = frozen_ground.classes(
        nothing, nothing, zero + 0.9, zero == 0, zero, zero, non_frozen_below=0.5, mask_fraction=0.5
    )
    assert ground[0, 0] == 255
