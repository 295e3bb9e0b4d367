"""What is kept, why the rest is not, and where the satellite stood: the same however the map is cut."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.quality import (
    CLOUDY,
    DOUBTFUL,
    GEOMETRY_INTERPOLATED,
    NO_SWATH,
    OBSERVED,
    RESIDUAL_CLOUD,
    UNSEEN,
)
from frostmap.pipeline.blocks import NOTES, Block
from frostmap.pipeline.recipe import Quality, parse_recipe
from frostmap.pipeline.schema import OBSERVATIONS, OVERPASSES, RAW, check
from frostmap.pipeline.simulate.orbits import view_geometry
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import day_number, observed_days, scene
from frostmap.pipeline.stages.ingest import PLATFORM_OVERPASSES
from frostmap.pipeline.stages.observations import (
    KINDS,
    OBSERVATIONS_KEPT,
    REACH_DAYS,
    count_states,
    kind_of,
    observe,
    quality_table,
)
from frostmap.pipeline.work import Work, days_in

WINDOW = Window(1200, 6 * 1200 + 900, 25 * 1200 + 500, 3, 120)
"""At 22°N, where neighbouring swaths do not meet."""
FIRST, LAST = dt.date(2010, 3, 1), dt.date(2010, 4, 30)
"""The year of these tests is two months long."""
REACH = dt.timedelta(REACH_DAYS)


@pytest.fixture(scope="module")
def raw() -> xr.Dataset:
    """Return simulated raw counts of two months, and of as many days before and after as complete them."""
    names = {
        "lst": "LST_{}_1km",
        "qc": "QC_{}",
        "view_time": "{}_view_time",
        "view_angle": "{}_view_angl",
    }
    layers = [
        {
            name: [products[p][layer.format(h)] for h in ("Day", "Night") for p in products]
            for name, layer in names.items()
        }
        for _, products in observed_days(scene(7, WINDOW, 2010), FIRST - REACH, LAST + REACH)
    ]
    return cube({name: np.array([day[name] for day in layers]) for name in names}, FIRST - REACH)


def cube(arrays: dict[str, NDArray[np.generic]], first: dt.date) -> xr.Dataset:
    n = len(arrays["lst"])
    time = np.datetime64(first, "ns") + np.arange(n) * np.timedelta64(1, "D")
    overpass = np.arange(arrays["lst"].shape[1], dtype="int8")
    data = {name: (("time", "overpass", "y", "x"), array) for name, array in arrays.items()}
    return xr.Dataset(data, coords={"time": time, "overpass": overpass})


def windows(raw: xr.Dataset, before: int = REACH_DAYS, after: int = REACH_DAYS) -> list[xr.Dataset]:
    """Return the year, the days before and the days after."""
    year = slice(REACH_DAYS, raw.sizes["time"] - REACH_DAYS)
    earlier, later = slice(REACH_DAYS - before, REACH_DAYS), slice(year.stop, year.stop + after)
    return [raw.isel(time=days) for days in (year, earlier, later) if days.stop > days.start]


def assert_same(one: Block, other: Block) -> None:
    for variable in OBSERVATIONS:
        assert one[variable.name].dtype == np.dtype(variable.dtype)
        np.testing.assert_array_equal(one[variable.name], other[variable.name], err_msg=variable.name)


@pytest.fixture(scope="module")
def seen(raw: xr.Dataset) -> Block:
    return observe(*windows(raw), quality=Quality())


def test_a_temperature_is_kept_where_the_state_says_so_and_every_pixel_has_a_time(raw: xr.Dataset, seen: Block) -> None:
    year, why = windows(raw)[0], seen["state"] % GEOMETRY_INTERPOLATED
    kept = why <= OBSERVED
    np.testing.assert_array_equal(seen["lst"], np.where(kept, year["lst"], 0))
    np.testing.assert_array_equal(why == CLOUDY, year["qc"] & 3 == 2)
    assert (seen["view_time"] <= 240).all()
    np.testing.assert_array_equal(seen["view_angle"] == 255, seen["state"] & NO_SWATH > 0)
    assert (seen["view_angle"][seen["state"] & NO_SWATH == 0] <= 130).all()
    assert not (kept & (seen["state"] & (GEOMETRY_INTERPOLATED | NO_SWATH) > 0)).any()
    for code in (CLOUDY, UNSEEN, DOUBTFUL, RESIDUAL_CLOUD):
        assert (why == code).any()


def test_views_are_where_the_satellite_stood_and_gaps_where_none_did(seen: Block) -> None:
    places, days = WINDOW.places(), range(len(seen["state"]))
    truth = [
        [view_geometry(places.longitude, places.latitude, day_number(FIRST) + day, o) for o in range(4)] for day in days
    ]
    hours, degrees = np.moveaxis(np.array(truth), 2, 0)
    state, passed = seen["state"], np.isfinite(degrees)
    found, interpolated = state & NO_SWATH == 0, state & GEOMETRY_INTERPOLATED > 0
    assert (found[passed]).mean() > 0.999
    assert not (found & ~interpolated)[~passed].any()  # a row is continued a little beyond its swath's edge
    assert not found[~passed].all()
    both = passed & found
    off = np.abs(seen["view_angle"] - 65.0 - degrees)[both]  # stored in whole degrees and tenths of an hour
    assert (off <= np.where(interpolated[both], 2.0, 0.51)).all()
    off = np.abs(seen["view_time"] / 10.0 - hours % 24.0)[both]
    assert (np.minimum(off, 24.0 - off) <= np.where(interpolated[both], 0.2, 0.051)).all()


def test_what_was_observed_is_not_touched(raw: xr.Dataset, seen: Block) -> None:
    year = windows(raw)[0]
    for name in ("view_time", "view_angle"):
        stored = year[name].to_numpy()
        np.testing.assert_array_equal(seen[name][stored != 255], stored[stored != 255])
    assert not (seen["state"][year["view_angle"].to_numpy() != 255] >= GEOMETRY_INTERPOLATED).any()


@settings(max_examples=10, deadline=None)
@given(cuts=st.sets(st.integers(1, 119), max_size=4), reach=st.sampled_from([1, 5, 32]))
def test_cutting_columns_with_a_halo_changes_no_bit(raw: xr.Dataset, cuts: set[int], reach: int) -> None:
    whole = observe(*windows(raw), quality=Quality(), reach=reach)
    parts = []
    for left, right in pairwise([0, *sorted(cuts), 120]):
        around = slice(max(left - reach, 0), min(right + reach, 120))
        inner = slice(left - around.start, right - around.start)
        part = observe(*(window.isel(x=around) for window in windows(raw)), quality=Quality(), reach=reach)
        parts.append({name: array[..., inner] for name, array in part.items()})
    assert_same({name: np.concatenate([part[name] for part in parts], axis=-1) for name in whole}, whole)


def test_overpasses_alone_are_as_together(raw: xr.Dataset, seen: Block) -> None:
    alone = [observe(*(window.isel(overpass=[o]) for window in windows(raw)), quality=Quality()) for o in range(4)]
    assert_same({name: np.concatenate([one[name] for one in alone], axis=1) for name in seen}, seen)


def test_neighbouring_years_matter_at_the_ends_alone_and_in_any_order(raw: xr.Dataset, seen: Block) -> None:
    year, before, after = windows(raw)
    assert_same(observe(year, after, before, quality=Quality()), seen)
    alone = observe(year, quality=Quality())
    for name in ("lst", "state"):
        assert not np.array_equal(alone[name], seen[name])
    screened = (alone["state"] % GEOMETRY_INTERPOLATED != seen["state"] % GEOMETRY_INTERPOLATED).any(axis=(1, 2, 3))
    assert not screened[8:-8].any()  # the screen reaches eight days
    assert_same(observe(*windows(raw, before=64, after=0), quality=Quality()), observe(year, before, quality=Quality()))
    with pytest.raises(ValueError, match="without gaps"):
        observe(year, before.isel(time=slice(None, -1)), quality=Quality())


@pytest.mark.parametrize(
    ("overpass", "warmer", "rejected"),
    [(0, -9, True), (1, 9, True), (2, -9, True), (3, 9, False), (3, -5, False)],
)
def test_a_cloud_that_the_mask_missed_is_found_unless_the_screen_is_off(
    overpass: int, warmer: int, rejected: bool
) -> None:
    shape = (40, 4, 1, 3)
    views = {name: np.full(shape, 100, np.uint8) for name in ("view_time", "view_angle")}
    lst = np.full(shape, 13600, np.uint16)
    lst[20, overpass, 0, 1] = 13600 + warmer * 50
    days = cube({"lst": lst, "qc": np.zeros(shape, np.uint8), **views}, FIRST)
    kept = observe(days, quality=Quality(residual_cloud_screen=False))
    np.testing.assert_array_equal(kept["lst"], lst)
    assert not kept["state"].any()
    found = observe(days, quality=Quality())
    expected = kept["state"].copy()
    expected[20, overpass, 0, 1] = RESIDUAL_CLOUD if rejected else 0
    np.testing.assert_array_equal(found["state"], expected)
    np.testing.assert_array_equal(found["lst"], np.where(expected == RESIDUAL_CLOUD, 0, lst))


def test_a_pixel_that_is_never_seen_has_the_overpasss_nominal_time_and_no_angle() -> None:
    shape = (40, 4, 1, 70)
    arrays = {v.name: np.full(shape, v.fill_value, v.dtype) for v in RAW}
    arrays["view_time"][3, 1, 0, 0], arrays["view_angle"][3, 1, 0, 0] = 131, 20
    found = observe(cube(arrays, FIRST), quality=Quality())
    assert (found["state"][:, [0, 2, 3]] == UNSEEN + NO_SWATH).all()
    for overpass, nominal in ((0, 105), (2, 225), (3, 15)):
        assert (found["view_time"][:, overpass] == nominal).all()
    # Once seen: the days of its track, along its row, and otherwise its mean time.
    assert np.flatnonzero(found["view_angle"][:, 1, 0, 0] != 255).tolist() == [3, 19, 35]
    assert found["state"][3, 1, 0, [0, 1, 32, 33]].tolist() == [UNSEEN + f for f in (0, 16, 16, NO_SWATH)]
    assert found["view_time"][5, 1, 0, [0, 1]].tolist() == [131, 135]


def test_looks_are_counted_by_tile_overpass_and_month() -> None:
    days = days_in(2012)
    state = np.full((days, 1, 4, 6), CLOUDY, np.uint8)
    state[:31] = 1 + GEOMETRY_INTERPOLATED
    state[31:60] = UNSEEN
    state[31:60, :, 0] = UNSEEN + NO_SWATH
    state[-31:, :, :, 0] = DOUBTFUL
    state[-31:, :, :, 1] = RESIDUAL_CLOUD
    wanted = np.ones((4, 6), bool)
    wanted[:, 2] = False
    tiles = {"h25v05": (slice(0, 8), slice(0, 6)), "h26v05": (slice(0, 8), slice(6, 12))}
    notes = [
        count_states(
            {"state": state},
            wanted,
            {"overpass": slice(o, o + 1), "y": slice(y, y + 4), "x": slice(x, x + 6)},
            year=2012,
        )
        for o, y, x in ((3, 0, 6), (0, 0, 6), (0, 4, 6), (0, 0, 12))
    ]
    table = quality_table(notes, year=2012, tiles=tiles).tables["quality-2012"]
    assert list(table.columns) == ["year", "tile", "overpass", "month", "looks", *KINDS, "kept"]
    assert (table[list(KINDS)].sum(axis=1) == table["looks"]).all()
    assert set(zip(table["tile"], table["overpass"], strict=True)) == {
        ("h26v05", "terra_day"),
        ("h26v05", "aqua_night"),
    }
    terra = table[table["overpass"] == "terra_day"].set_index("month")
    assert terra.loc[1, ["looks", "observed", "kept"]].tolist() == [2 * 20 * 31, 2 * 20 * 31, 1.0]
    assert terra.loc[2, ["looks", "unseen", "no_swath", "kept"]].tolist() == [2 * 20 * 29, 2 * 15 * 29, 2 * 5 * 29, 0.0]
    assert terra.loc[12, ["cloud", "doubtful", "residual_cloud"]].tolist() == [2 * 12 * 31, 2 * 4 * 31, 2 * 4 * 31]
    assert table["looks"].sum() == 3 * 20 * days


def test_a_month_without_any_swath_has_no_share() -> None:
    note = {"overpass": 1, "y": 0, "x": 0, "counts": [[[0, 0, 0, 0, 0, 5]] * 12]}
    table = quality_table([note], year=2010, tiles={"h25v05": (slice(0, 4), slice(0, 4))}).tables["quality-2010"]
    assert table["kept"].isna().all()
    assert table["overpass"].unique().tolist() == ["aqua_day"]
    assert kind_of(CLOUDY + NO_SWATH) == "cloud"


RECIPE = {
    "name": "observations",
    "simulated": True,
    "region": {"tiles": ["h25v05"], "pixels_per_tile": 1200, "bbox": [92.0, 33.0, 92.1, 33.1]},
    "epochs": {"training": {"years": [2009, 2010, 2019]}},
    "ground_correction": {"method": "identity"},
    "store": {"chunk_pixels": 20},
    "sources": {
        "lst": {"catalogue": "none.json"},
        "surveys": [{"name": "none", "path": "none.tif"}],
        "clusters": "none.tif",
    },
}


def test_the_stage_reads_the_years_around_and_makes_what_one_window_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(parse_recipe(yaml.safe_dump(RECIPE), tmp_path / "recipe.yaml"), tmp_path)
    rng = np.random.default_rng(1)

    def year_of(year: int) -> xr.Dataset:
        shape = (days_in(year), 4, *work.shape)
        cloudy = rng.random(shape) < 0.7
        track = (np.arange(days_in(year)) % 16 * 8)[:, None, None, None]
        arrays = {
            "lst": np.where(cloudy, 0, rng.normal(13500, 300, shape).astype(np.uint16)).astype(np.uint16),
            "qc": np.where(cloudy, 2, 0).astype(np.uint8),
            "view_time": np.where(cloudy, 255, 100 + track // 8).astype(np.uint8),
            "view_angle": np.where(cloudy, 255, track).astype(np.uint8),
        }
        return cube(arrays, dt.date(year, 1, 1))

    years = {f"ingest/{year}": year_of(year) for year in (2009, 2010, 2019)}
    monkeypatch.setattr(Work, "open", lambda _self, group: years[group])
    assert OBSERVATIONS_KEPT.inputs(work.recipe, "2010") == ["ingest/2010", "ingest/2009"]
    assert OBSERVATIONS_KEPT.inputs(work.recipe, "2019") == ["ingest/2019"]
    assert OBSERVATIONS_KEPT.scopes(work.recipe) == ["2009", "2010", "2019"]
    assert OBSERVATIONS_KEPT.memory is not None
    assert OBSERVATIONS_KEPT.memory(work, "2010") > OBSERVATIONS_KEPT.memory(work, "2019")

    products = OBSERVATIONS_KEPT.function(work, "2010")
    assert products.cube is not None
    assert products.tasks is not None
    assert products.noted is not None
    made = check(products.cube, OBSERVATIONS, "observations").compute(scheduler="synchronous")
    last_days = years["ingest/2009"].isel(time=slice(-REACH_DAYS, None))
    whole = observe(years["ingest/2010"], last_days, quality=Quality())
    touched = np.zeros(work.shape, bool)
    results = [task.result.compute(scheduler="synchronous") for task in products.tasks]
    for task in products.tasks:
        touched[task.parts[0].region[-2:]] = True
    assert len(products.tasks) % 4 == 0
    for variable in OBSERVATIONS:
        np.testing.assert_array_equal(
            made[variable.name].to_numpy()[..., touched], whole[variable.name][..., touched], err_msg=variable.name
        )
        assert (made[variable.name].to_numpy()[..., ~touched] == variable.fill_value).all()

    table = products.noted([result[NOTES] for result in results]).tables["quality-2010"]
    assert table["looks"].sum() == 365 * 4 * work.inside_with_margin.sum()
    observed = whole["state"][..., work.inside_with_margin] % GEOMETRY_INTERPOLATED <= OBSERVED
    assert table["observed"].sum() == observed.sum()
    assert table["tile"].unique().tolist() == ["h25v05"]
    assert table["overpass"].unique().tolist() == list(OVERPASSES)


@pytest.mark.realdata
def test_real_observations_are_present_only_where_their_bits_say_so(realdata: Path) -> None:
    folder = realdata / "modis_heihe_2013001"
    overpasses = PLATFORM_OVERPASSES["mod11a1"]
    names = {"lst": "LST_{}_1km", "qc": "QC_{}", "view_time": "{}_view_time", "view_angle": "{}_view_angl"}
    arrays = {}
    for name, layer in names.items():
        both = []
        for half in overpasses:
            with rasterio.open(folder / f"MOD11A1_2013001.{layer.format(half.capitalize())}.tif") as raster:
                both.append(raster.read(1))
        arrays[name] = np.array(both)[None]
    day = cube(arrays, dt.date(2013, 1, 1)).assign_coords(overpass=np.array(list(overpasses.values()), "int8"))
    found = observe(day, quality=Quality())
    lst, bits, why = arrays["lst"], arrays["qc"] & 3, found["state"] % GEOMETRY_INTERPOLATED
    assert set(np.unique(bits[lst > 0])) == {0, 1}
    np.testing.assert_array_equal(why == CLOUDY, bits == 2)
    assert (why == CLOUDY).sum(axis=(0, 2, 3)).tolist() == [69778, 35837]
    np.testing.assert_array_equal((why <= OBSERVED) | (why == DOUBTFUL), lst > 0)
    # No error above 2 K and none of the emissivity above 0.04 in this scene; its temperatures are those of January.
    assert (why == DOUBTFUL).sum() == 0
    assert (found["state"] & GEOMETRY_INTERPOLATED > 0).any()
