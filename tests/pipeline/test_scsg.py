"""Gaps are filled from similar pixels as well as the science says, however the region is cut."""

from __future__ import annotations

import dataclasses
import datetime as dt
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from frostmap.kernels.quality import CLOUDY, OBSERVED, RESIDUAL_CLOUD, observation_state
from frostmap.kernels.sky_classes import (
    CLEAR,
    CLEAR_AMID_CLOUDS,
    NIGHT_CLOUD,
    SHADED_CLOUD,
    SHADOW,
    SUNLIT_CLOUD,
    classes_without_shadows,
)
from frostmap.pipeline import scsg
from frostmap.pipeline.recipe import GapFilling
from frostmap.pipeline.schema import FILL_FLAG, FILLED_LST, SIGMA
from frostmap.pipeline.simulate.climate import covariates
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import observed_days, scene

DIMS = ("time", "overpass", "y", "x")
FIRST, DAYS, SIDE = 30, 62, 80
"""Day of the year of the first day, days, and pixels along a side of the simulated scene."""
TARGETS = range(46, 76)
HELD = 40
"""Pixels along the side of the squares that are held out."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A simulated scene at 1 km with squares held out."""

    region: scsg.Region
    truth: npt.NDArray[np.float64]
    """(time, overpass, y, x): what was held out [°C], NaN elsewhere."""


@cache
def case() -> Case:
    window = Window(1200, 5 * 1200 + 500, 25 * 1200 + 300, SIDE, SIDE)
    begin = dt.date(2020, 1, 1) + dt.timedelta(FIRST)
    where = scene(2020, window, 2020)
    lst, qc, hours = np.zeros((DAYS, 4, SIDE, SIDE), np.uint16), *np.zeros((2, DAYS, 4, SIDE, SIDE), np.uint8)
    for day, (_, products) in enumerate(observed_days(where, begin, begin + dt.timedelta(DAYS - 1))):
        kinds = (("MOD11A1", "Day"), ("MYD11A1", "Day"), ("MOD11A1", "Night"), ("MYD11A1", "Night"))
        for overpass, (product, half) in enumerate(kinds):
            layers = products[product]
            lst[day, overpass], qc[day, overpass] = layers[f"LST_{half}_1km"], layers[f"QC_{half}"]
            hours[day, overpass] = layers[f"{half}_view_time"]
    state = observation_state(lst, qc)
    rng = np.random.default_rng(4)
    held = np.zeros(lst.shape, bool)
    for day in TARGETS:
        for overpass in range(4):
            y, x = rng.integers(0, SIDE - HELD, 2)
            held[day - FIRST, overpass, y : y + HELD, x : x + HELD] = True
    held &= state <= OBSERVED
    truth = np.where(held, lst * 0.02 - 273.15, np.nan)
    lst = np.where((state <= OBSERVED) & ~held, lst, 0).astype(np.uint16)
    state = np.where(held, np.uint8(CLOUDY), state)
    sky = np.stack(
        [classes_without_shadows(state[:, o], SHADED_CLOUD if o < 2 else NIGHT_CLOUD) for o in range(4)], axis=1
    )
    covered = covariates(2020, where.land, 2020.2)
    elevation = where.land.elevation.astype(np.float32).reshape(SIDE, SIDE)
    ndvi = np.broadcast_to(np.asarray(covered.ndvi, np.float32).reshape(SIDE, SIDE), (23, SIDE, SIDE))
    flat = ("y", "x")
    region = scsg.Region(
        2020,
        scsg.Days(((FIRST, xr.Dataset({"lst": (DIMS, lst), "state": (DIMS, state), "view_time": (DIMS, hours)})),)),
        scsg.Days(((FIRST, xr.Dataset({"sky": (DIMS, sky)})),)),
        cycle=xr.Dataset(
            {
                "annual_cycle": (("harmonic", "overpass", *flat), np.full((5, 4, SIDE, SIDE), np.nan, np.float32)),
                "spread": (("overpass", *flat), np.full((4, SIDE, SIDE), 3, np.float32)),
            }
        ),
        terrain=xr.Dataset({name: (flat, elevation if name == "elevation" else 0 * elevation) for name in TERRAIN}),
        ndvi=xr.Dataset({"ndvi": (("composite", *flat), ndvi)}),
        x=window.x,
        y=window.y,
        inside=np.ones((SIDE, SIDE), bool),
        block=40,
        cell=10,
    )
    return Case(region, truth)


TERRAIN = ("elevation", "eastness", "northness")
SETTINGS = GapFilling(analogues=300)


def filled(region: scsg.Region, overpass: int, settings: GapFilling = SETTINGS) -> dict[str, npt.NDArray[np.generic]]:
    shape = (len(TARGETS), *region.inside.shape)
    made = {v.name: np.full(shape, v.fill_value, v.dtype) for v in (FILLED_LST, SIGMA, FILL_FLAG)}
    for part, piece in scsg.fill(region, overpass, TARGETS, settings, [7300.0 + day for day in TARGETS]):
        days, which, rows, cols = part.region
        assert (days, which) == (slice(TARGETS.start, TARGETS.stop), slice(overpass, overpass + 1))
        made[part.variable][:, rows, cols] = piece[:, 0]
    return made


def errors(made: dict[str, npt.NDArray[np.generic]], overpass: int) -> npt.NDArray[np.float64]:
    truth = case().truth[TARGETS.start - FIRST : TARGETS.stop - FIRST, overpass]
    held = np.isfinite(truth) & (made["lst"] > 0)
    return (made["lst"] * 0.02 - 273.15 - truth)[held]


@pytest.mark.parametrize("overpass", [0, 3])
def test_what_was_held_out_is_found_again(overpass: int) -> None:
    made = filled(case().region, overpass)
    error = errors(made, overpass)
    truth = case().truth[TARGETS.start - FIRST : TARGETS.stop - FIRST, overpass]
    assert error.size > 0.9 * np.isfinite(truth).sum() > 1000
    assert np.sqrt(np.mean(error**2)) < (3.6 if overpass < 2 else 2.5)  # the acceptance of the method
    assert abs(error.mean()) < 0.5
    sigma = made["sigma"][np.isfinite(truth) & (made["lst"] > 0)].astype(float)
    assert 0.58 < np.mean(np.abs(error) < sigma) < 0.78


@pytest.mark.parametrize(("block", "overpass"), [(20, 0), (80, 0), (20, 2)])
def test_cutting_the_region_changes_no_bit(block: int, overpass: int) -> None:
    whole = filled(case().region, overpass)
    other = filled(dataclasses.replace(case().region, block=block), overpass)
    for name, array in whole.items():
        np.testing.assert_array_equal(other[name], array, name)


def test_where_the_region_begins_changes_no_bit() -> None:
    """As much of the lattice as whole chunks of another size need may be read around the same pixels."""
    whole, top, left = case().region, 13, 6
    inside = whole.inside.copy()
    inside[:top], inside[:, :left] = False, False
    part = {"y": slice(top, None), "x": slice(left, None)}

    def cut(days: scsg.Days) -> scsg.Days:
        return scsg.Days(tuple((first, cube.isel(part)) for first, cube in days.cubes))

    assert whole.terrain is not None
    assert whole.ndvi is not None
    smaller = dataclasses.replace(
        whole,
        observations=cut(whole.observations),
        sky=cut(whole.sky),
        cycle=whole.cycle.isel(part),
        terrain=whole.terrain.isel(part),
        ndvi=whole.ndvi.isel(part),
        x=whole.x[left:],
        y=whole.y[top:],
        inside=inside[top:, left:],
        block=30,
        corner=(top, left),
    )
    expected = filled(dataclasses.replace(whole, inside=inside), 0)
    for name, array in filled(smaller, 0).items():
        np.testing.assert_array_equal(array, expected[name][:, top:, left:], name)


def test_clear_observations_are_kept_and_flags_say_the_rest() -> None:
    region = case().region
    made = filled(region, 1)
    own = slice(TARGETS.start - FIRST, TARGETS.stop - FIRST)
    stored = region.observations.cubes[0][1]["lst"].values[own, 1]
    state = region.observations.cubes[0][1]["state"].values[own, 1]
    seen = stored > 0
    np.testing.assert_array_equal(made["lst"][seen], stored[seen])
    np.testing.assert_array_equal(made["fill_flag"][seen] & 7, CLEAR)
    np.testing.assert_array_equal(made["sigma"][seen], (state[seen] & 15) + 0.5)
    there = made["lst"] > 0
    np.testing.assert_array_equal(made["fill_flag"][~there], 255)
    assert np.isnan(made["sigma"][~there]).all()
    assert ((made["fill_flag"] & 64 > 0)[there] == ((state & 15) == RESIDUAL_CLOUD)[there]).all()


def test_the_days_own_departure_helps() -> None:
    with_it, without = (
        errors(filled(case().region, 0, SETTINGS.model_copy(update={"residuals": on})), 0) for on in (True, False)
    )
    assert np.mean(with_it**2) < np.mean(without**2)


def test_cloudy_nights_are_warmed_by_the_offset_alone() -> None:
    plain = filled(case().region, 2)
    warmed = filled(case().region, 2, SETTINGS.model_copy(update={"night_cloud_offset": 2.0}))
    difference = warmed["lst"].astype(int) - plain["lst"]
    cloud = (plain["fill_flag"] & 7) == NIGHT_CLOUD
    np.testing.assert_array_equal(difference[~cloud & (plain["lst"] > 0)], 0)
    np.testing.assert_allclose(difference[cloud & (plain["lst"] > 0)], 100, atol=1)  # rounded counts of 0.02 K


def test_pixels_outside_are_neither_compared_nor_filled() -> None:
    inside = np.ones((SIDE, SIDE), bool)
    inside[:, 50:] = False
    made = filled(dataclasses.replace(case().region, inside=inside), 0)
    assert (made["lst"][:, :, 50:] == 0).all()
    own = slice(TARGETS.start - FIRST, TARGETS.stop - FIRST)
    clear = (case().region.observations.cubes[0][1]["lst"].values[own, 0, :, :50] > 0).sum(axis=(1, 2))
    enough = clear >= 100  # pixels to compare with other days; without them only an annual cycle could help
    assert enough.sum() > 15
    assert (made["lst"][enough, :, :50] > 0).mean() > 0.9


def test_without_relief_and_vegetation_temperature_alone_is_compared() -> None:
    error = errors(filled(dataclasses.replace(case().region, terrain=None, ndvi=None), 3), 3)
    assert np.sqrt(np.mean(error**2)) < 3.5


# ---- shade --------------------------------------------------------------------------------------------------------


def shaded() -> tuple[scsg.Region, npt.NDArray[np.bool_]]:
    """Return the scene with half of its clear day pixels turned to shadow, 5 K colder; and which were clear."""
    region = case().region
    observations, sky = region.observations.cubes[0][1].copy(deep=True), region.sky.cubes[0][1].copy(deep=True)
    clear = sky["sky"].values[:, 0] == CLEAR
    chosen = clear & (np.random.default_rng(5).random(clear.shape) < 0.5)
    sky["sky"].values[:, 0][chosen] = SHADOW
    observations["lst"].values[:, 0][chosen] -= 250
    return (
        dataclasses.replace(region, observations=scsg.Days(((FIRST, observations),)), sky=scsg.Days(((FIRST, sky),))),
        chosen,
    )


def test_shade_is_learnt_from_what_was_seen_in_shade() -> None:
    region, _ = shaded()
    learnt = filled(region, 0)
    not_learnt = filled(region, 0, SETTINGS.model_copy(update={"shading": False}))
    cloud = ((learnt["fill_flag"] & 7) == SHADED_CLOUD) & (learnt["lst"] > 0) & (not_learnt["lst"] > 0)
    known = cloud & (learnt["fill_flag"] & 32 == 0)
    assert known.mean() > 0.1
    difference = 0.02 * (learnt["lst"].astype(float) - not_learnt["lst"])
    assert abs(difference[known].mean() + 5.0) < 0.5
    assert (not_learnt["fill_flag"][cloud] & 32 > 0).all()


def test_shaded_observations_are_kept_or_replaced_as_asked() -> None:
    region, chosen = shaded()
    own = chosen[TARGETS.start - FIRST : TARGETS.stop - FIRST]
    stored = region.observations.cubes[0][1]["lst"].values[TARGETS.start - FIRST : TARGETS.stop - FIRST, 0]
    kept = filled(region, 0)["lst"]
    np.testing.assert_array_equal(kept[own], stored[own])
    sunny = filled(region, 0, SETTINGS.model_copy(update={"shaded_observations": "clear_sky"}))["lst"]
    there = own & (sunny > 0)
    assert abs(0.02 * np.mean(sunny[there].astype(float) - stored[there]) - 5.0) < 0.7
    corrected = filled(region, 0, SETTINGS.model_copy(update={"shaded_observations": "bias_corrected"}))["lst"]
    expected = (stored[own] * 0.02 - 273.15 + 4.56) / 1.01
    np.testing.assert_allclose(corrected[own] * 0.02 - 273.15, expected, atol=0.011)


def test_sunlit_ground_may_be_shaded_after_all() -> None:
    """Where shade takes 5 K, ground that is taken for sunlit is doubted by a tenth of its variance, 1.5 K in all."""
    region, _ = shaded()
    sky = region.sky.cubes[0][1].copy(deep=True)
    below = sky["sky"].values[:, 0] == SHADED_CLOUD
    sky["sky"].values[:, 0][below] = SUNLIT_CLOUD
    sunlit = dataclasses.replace(region, sky=scsg.Days(((FIRST, sky),)))
    doubted, sure = (filled(sunlit, 0, SETTINGS.model_copy(update={"shading": shading})) for shading in (True, False))
    np.testing.assert_array_equal(doubted["lst"], sure["lst"])
    known = (doubted["fill_flag"] & 7 == SUNLIT_CLOUD) & (doubted["lst"] > 0)
    more = doubted["sigma"][known].astype(float) ** 2 - sure["sigma"][known].astype(float) ** 2
    assert (more > -0.01).all()
    assert abs(np.sqrt(np.median(more[more > 0.1])) - np.sqrt(0.1 * 0.9) * 5.0) < 0.2


def test_what_is_seen_amid_clouds_is_doubted_by_how_strange_it_is() -> None:
    region = case().region
    observations, sky = region.observations.cubes[0][1].copy(deep=True), region.sky.cubes[0][1].copy(deep=True)
    amid = (sky["sky"].values[:, 3] == CLEAR) & (np.random.default_rng(6).random(sky["sky"].shape)[:, 3] < 0.05)
    sky["sky"].values[:, 3][amid] = CLEAR_AMID_CLOUDS
    observations["lst"].values[:, 3][amid] -= 400  # cold remains of cloud, 8 K
    made = filled(
        dataclasses.replace(region, observations=scsg.Days(((FIRST, observations),)), sky=scsg.Days(((FIRST, sky),))),
        3,
    )
    own = amid[TARGETS.start - FIRST : TARGETS.stop - FIRST]
    stored = observations["lst"].values[TARGETS.start - FIRST : TARGETS.stop - FIRST, 3]
    np.testing.assert_array_equal(made["lst"][own], stored[own])
    assert abs(np.median(made["sigma"][own].astype(float)) - 8.0) < 1.0


# ---- days of several years ----------------------------------------------------------------------------------------


def test_days_are_read_across_years() -> None:
    cubes = [
        xr.Dataset({"lst": (DIMS, np.arange(n, dtype=np.uint16).reshape(n, 1, 1, 1) + base)})
        for n, base in ((5, 100), (4, 200))
    ]
    days = scsg.Days(((-5, cubes[0]), (0, cubes[1])))
    assert days.span == (-5, 4)
    some = days.of(0, range(-3, 9))
    assert some.span == (-3, 4)
    assert some.read("lst", range(-2, 2), slice(0, 1), slice(0, 1)).ravel().tolist() == [103, 104, 200, 201]


def test_a_region_too_large_to_hold_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    held = filled(case().region, 0)
    monkeypatch.setattr(scsg, "HELD", 0)
    read_again = filled(case().region, 0)
    for name, values in held.items():
        np.testing.assert_array_equal(values, read_again[name])


def test_a_block_is_read_as_often_for_many_days_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored chunks hold many days: to read them day by day is to decompress them again and again."""
    region, _ = shaded()
    monkeypatch.setattr(scsg, "HELD", 0)
    read, reads = scsg.Days.read, list[str]()

    def counted(days: scsg.Days, name: str, *where: Any) -> npt.NDArray[np.generic]:
        reads.append(name)
        return read(days, name, *where)

    monkeypatch.setattr(scsg.Days, "read", counted)
    made = filled(region, 0)
    assert (made["lst"] > 0).any()
    blocks = len(list(region.blocks))
    assert reads.count("view_time") == 2 * blocks  # for what is learnt, and for what is filled
    assert reads.count("state") == blocks


def test_stated_memory_grows_with_the_region_and_with_what_is_asked() -> None:
    """By hand, for 46 days of 1200 x 1200 pixels in cells of 5 x 5: 52 targets of 14 pairs, 98 days of 57,600 cells."""
    lines, sums = 52 * 14 * 36864 * 12, 144 * 36864 * 6 * 8
    tile = scsg.memory((1200, 1200), 100, 5, 46, GapFilling())
    assert lines + sums < tile < 1.15 * (lines + sums)
    plateau = scsg.memory((3600, 3600), 100, 5, 46, GapFilling())
    assert plateau > lines + 98 * (3600 // 5) ** 2 * 24
    assert scsg.memory((3600, 3600), 100, 5, 46, GapFilling(shading=False)) < plateau
