"""Sunlit and shaded, clear and cloudy: as the simulated sun and clouds have it, and the same however the map is cut."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from frostmap.catalogs.grids import TILE_SIZE, to_geographic
from frostmap.kernels.quality import CLOUDY, DOUBTFUL, NO_SWATH, RESIDUAL_CLOUD, UNSEEN
from frostmap.kernels.view_geometry import PIXEL_SIZE, equation_of_time, solar_declination
from frostmap.pipeline.blocks import map_windows
from frostmap.pipeline.schema import CLOUD_TOP, ELEVATION, OVERPASSES, SKY, SKY_KINDS, STATE, VIEW_ANGLE, VIEW_TIME
from frostmap.pipeline.simulate import clouds, orbits, surface
from frostmap.pipeline.stages.sky_classes import (
    ASCENDING,
    DROPPED,
    REACH_KM,
    SKY_CLASSES,
    amid_at,
    classes,
    count_classes,
    sky_table,
)

DIMS = ("time", "overpass", "y", "x")
HALO = (5, 12)
GROUND = 4500.0


def window(arrays: dict[str, np.ndarray], days: pd.DatetimeIndex, overpasses: list[int]) -> xr.Dataset:
    """Return a window of a cube near 33°N 90°E."""
    height, width = next(iter(arrays.values())).shape[-2:]
    coords = {
        "time": days,
        "overpass": np.array(overpasses, dtype="int8"),
        "y": 3.6 * TILE_SIZE - PIXEL_SIZE * (np.arange(height) + 0.5),
        "x": 7.3 * TILE_SIZE + PIXEL_SIZE * (np.arange(width) + 0.5),
    }
    return xr.Dataset({name: (DIMS[-array.ndim :], array) for name, array in arrays.items()}, coords=coords)


def flat_terrain(height: int, width: int) -> xr.Dataset:
    return xr.Dataset({ELEVATION.name: (("y", "x"), np.full((height, width), GROUND, np.float32))})


@pytest.mark.parametrize(("date", "overpass", "threshold"), [("2010-01-15", 0, 0.2), ("2010-07-17", 1, 0.2)])
def test_simulated_sun_and_clouds_are_told_apart(date: str, overpass: int, threshold: float) -> None:
    # Rays of the simulator: in degrees on the sphere, from the ground to the clouds, with the sun of its own.
    height, width, seed = 190, 290, np.uint64(5)
    empty = window({STATE.name: np.zeros((1, 1, height, width), np.uint8)}, pd.DatetimeIndex([date]), [overpass])
    longitude, latitude = to_geographic(*np.meshgrid(empty["x"], empty["y"]))
    day = int((np.datetime64(date) - np.datetime64("2000-01-01")).astype(int))
    hours, degrees = orbits.view_geometry(longitude, latitude, day, overpass)
    day_angle = 2 * math.pi * (pd.Timestamp(date).day_of_year - 1) / 365
    tilt, equation = float(solar_declination(day_angle)), float(equation_of_time(day_angle)) / 60
    hidden, shaded, top = np.zeros((height, width), bool), np.zeros((height, width), bool), np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        place, utc = (longitude[y, x], latitude[y, x]), 24.0 * day + hours[y, x] - longitude[y, x] / 15
        top[y, x] = clouds.cloud_top(*place, utc, seed)
        east = orbits.view_azimuth(latitude[y, x], -1.0, ASCENDING[overpass])
        sight = clouds.displaced(*place, top[y, x], -math.radians(degrees[y, x]), east)
        ray = clouds.displaced(*place, top[y, x], *surface.sun_position(latitude[y, x], hours[y, x], tilt, equation))
        hidden[y, x] = clouds.cloudiness(*sight, utc, threshold, seed) > 0
        shaded[y, x] = clouds.cloudiness(*ray, utc, threshold, seed) > 0
    truth = np.where(hidden, np.where(shaded, 2, 1), np.where(shaded, 3, 0))

    empty[STATE.name][0, 0] = np.where(hidden, CLOUDY, 0)
    empty[VIEW_TIME.name] = (DIMS, np.rint(hours * 10).astype(np.uint8)[None, None])
    empty[VIEW_ANGLE.name] = (DIMS, np.rint(degrees + 65).astype(np.uint8)[None, None])
    stored = np.where(hidden, np.rint(1000 * top + GROUND), CLOUD_TOP.fill_value).astype(np.int16)
    tops = xr.Dataset({CLOUD_TOP.name: (DIMS, stored[None, None])})
    made = classes(empty, tops, flat_terrain(height, width))
    inner = np.s_[64:-64, 96:-96]
    found, truth = made[SKY.name][0, 0][inner], truth[inner]
    assert sorted(np.unique(truth).tolist()) == [0, 1, 2, 3]
    assert (found == truth).mean() > 0.96
    for kind in range(4):
        assert (found[truth == kind] == kind).mean() > 0.8
        assert (truth[found == kind] == kind).mean() > 0.8


def some_days() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Return observations, cloud tops and terrain of a few days in two months, all overpasses, low clouds."""
    rng = np.random.default_rng(3)
    shape = (5, 4, 33, 41)
    clear = rng.integers(0, 4, shape)
    why = rng.choice([CLOUDY, CLOUDY, DOUBTFUL, RESIDUAL_CLOUD, UNSEEN + NO_SWATH], shape)
    patches = rng.random((5, 4, 11, 14)).repeat(3, axis=2).repeat(3, axis=3)[..., :33, :41]
    state = np.where(patches < 0.5, why, clear).astype(np.uint8)
    angle = np.broadcast_to(np.where(np.arange(41) < 25, 100 + np.arange(41) // 8, 25), shape)
    hours = np.broadcast_to(np.array([105, 135, 225, 15], np.uint8)[:, None, None], shape)
    top = np.where(rng.random(shape) < 0.9, rng.integers(4400, 6500, shape), CLOUD_TOP.fill_value)
    arrays = {STATE.name: state, VIEW_TIME.name: hours, VIEW_ANGLE.name: angle.astype(np.uint8)}
    days = pd.date_range("2010-01-29", periods=5)
    return (
        window({name: np.ascontiguousarray(array) for name, array in arrays.items()}, days, [0, 1, 2, 3]),
        xr.Dataset({CLOUD_TOP.name: (DIMS, top.astype(np.int16))}),
        flat_terrain(33, 41),
    )


@pytest.mark.parametrize("block", [9, 20])
@pytest.mark.parametrize("with_tops", [True, False])
def test_cutting_the_map_changes_no_class(block: int, with_tops: bool) -> None:
    observations, tops, terrain = some_days()
    cubes = [observations, tops, terrain] if with_tops else [observations[[STATE.name]]]
    made = map_windows(
        partial(classes, halo=HALO),
        cubes,
        (SKY,),
        {"time": 5, "overpass": 4},
        block=block,
        halo=max(HALO) if with_tops else 0,
        days=2,
        overpasses=True,
    )
    whole = classes(*cubes, halo=HALO)[SKY.name]
    np.testing.assert_array_equal(made.cube[SKY.name].compute(scheduler="synchronous"), whole)
    assert sorted(np.unique(whole[:, :2]).tolist()) == ([0, 1, 2, 3, 5] if with_tops else [0, 2, 5])
    assert sorted(np.unique(whole[:, 2:]).tolist()) == [0, 4, 5]


def test_what_is_amid_clouds_is_the_same_however_the_map_is_cut() -> None:
    observations, tops, terrain = some_days()
    amid = amid_at(0.927, 0.7)
    whole = classes(observations, tops, terrain, halo=HALO, amid=amid)[SKY.name]
    assert set(np.unique(whole)) >= {6, 7}
    made = map_windows(
        partial(classes, halo=HALO, amid=amid),
        [observations, tops, terrain],
        (SKY,),
        {"time": 5, "overpass": 4},
        block=10,
        halo=max(HALO) + amid.reach,
        days=2,
        overpasses=True,
    )
    np.testing.assert_array_equal(made.cube[SKY.name].compute(scheduler="synchronous"), whole)
    plain = classes(observations, tops, terrain, halo=HALO)[SKY.name]
    changed = whole != plain
    assert set(np.unique(plain[changed])) == {0, 3}
    np.testing.assert_array_equal(whole[changed], np.where(plain[changed] == 0, 6, 7))


def test_overpasses_alone_are_as_together() -> None:
    observations, tops, terrain = some_days()
    whole = classes(observations, tops, terrain, halo=HALO)
    for overpass in range(4):
        alone = classes(observations.isel(overpass=[overpass]), tops.isel(overpass=[overpass]), terrain, halo=HALO)
        for name, array in alone.items():
            np.testing.assert_array_equal(array[:, 0], whole[name][:, overpass])


def test_the_table_counts_what_is_wanted_by_overpass_and_month() -> None:
    observations, tops, terrain = some_days()
    wanted = np.random.default_rng(0).random((33, 41)) < 0.7
    whole = classes(observations, tops, terrain, halo=HALO)
    notes = []
    for overpass in range(4):
        for rows in (slice(0, 20), slice(20, 33)):
            block = {name: array[:, [overpass], rows] for name, array in whole.items()}
            at = {"time": slice(28, 33), "overpass": slice(overpass, overpass + 1), "y": rows, "x": slice(0, 41)}
            notes.append(count_classes(block, wanted=wanted[rows], at=at, year=2010))
    table = sky_table(notes, year=2010).tables["sky-2010"].set_index(["overpass", "month"])
    assert len(table) == 8
    for place, overpass in enumerate(OVERPASSES):
        for month, days in ((1, slice(0, 3)), (2, slice(3, 5))):
            line = table.loc[(overpass, month)]
            sky = whole[SKY.name][days, place][:, wanted]
            assert line["pixel_days"] == sky.size
            for number, kind in enumerate(SKY_KINDS):
                assert line[kind] == pytest.approx((sky == number).mean(), abs=1e-6)
            assert line[DROPPED] == whole[DROPPED][days, place][:, wanted].sum()
    assert table[DROPPED].sum() > 0
    assert table[list(SKY_KINDS)].sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert sky_table([], year=2010).tables["sky-2010"].empty


def test_shadows_are_followed_as_far_as_the_halo_was_made_for() -> None:
    # h (tan 65° + tan 68°) of a cloud 12 km high, the worst direction under a shear of 1.17
    far = 12.0 * (math.tan(math.radians(65)) + math.tan(math.radians(68)))
    assert REACH_KM[0] == pytest.approx(far, rel=0.05)
    assert REACH_KM[1] == pytest.approx(far * math.hypot(1, 1.17), rel=0.05)
    assert SKY_CLASSES.writes == (SKY,)
