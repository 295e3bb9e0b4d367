"""Planes and cones have the slope and wetness that geometry gives them, and no water is lost on the way."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels import terrain

gentle = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def rough(seed, shape=(6, 7), missing=0.0):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 6, shape) + rng.choice([0.0, 0.25], shape)  # with flats and ties
    z[rng.random(shape) < missing] = np.nan
    return z


def neighbours(z, i, j):
    for y in range(max(i - 1, 0), min(i + 2, z.shape[0])):
        for x in range(max(j - 1, 0), min(j + 2, z.shape[1])):
            if (y, x) != (i, j) and not np.isnan(z[y, x]):
                yield y, x


@gentle
@given(east=st.floats(-2, 2), north=st.floats(-2, 2), dx=st.floats(1, 900), dy=st.floats(1, 900), seed=seeds)
def test_a_plane_has_one_slope_up_to_its_edges_and_holes(east, north, dx, dy, seed):
    i, j = np.mgrid[:6, :7]
    z = 5000 + east * dx * j - north * dy * i
    z[np.random.default_rng(seed).random(z.shape) < 0.15] = np.nan
    slope, eastness, northness = terrain.slope_aspect(z, dx, dy)
    known = ~np.isnan(slope)
    assert not known[np.isnan(z)].any()
    steep = np.hypot(east, north)
    np.testing.assert_allclose(slope[known], np.degrees(np.arctan(steep)), atol=1e-4)
    np.testing.assert_allclose(eastness[known], -east / np.sqrt(1 + steep**2), atol=1e-6)
    np.testing.assert_allclose(northness[known], -north / np.sqrt(1 + steep**2), atol=1e-6)


@gentle
@given(seed=seeds)
def test_inside_it_is_horn_1981(seed):
    z = rough(seed)
    a, b, c, d, f, g, h, i = (z[y : y + 4, x : x + 5] for y, x in np.ndindex(3, 3) if (y, x) != (1, 1))
    east = ((c + 2 * f + i) - (a + 2 * d + g)) / (8 * 30.0)
    north = ((a + 2 * b + c) - (g + 2 * h + i)) / (8 * 20.0)
    slope, eastness, _ = terrain.slope_aspect(z, 30.0, 20.0)
    np.testing.assert_allclose(slope[1:-1, 1:-1], np.degrees(np.arctan(np.hypot(east, north))), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(eastness[1:-1, 1:-1], -east / np.sqrt(1 + east**2 + north**2), atol=1e-7)


@pytest.mark.parametrize(("aspect", "east", "north"), [(0, 0, -1), (90, -1, 0), (180, 0, 1), (270, 1, 0), (225, 1, 1)])
def test_aspect_is_the_way_down_clockwise_from_north(aspect, east, north):
    i, j = np.mgrid[:3, :3]
    _, eastness, northness = terrain.slope_aspect(east * j - north * i, 1.0, 1.0)
    assert np.degrees(np.arctan2(eastness[1, 1], northness[1, 1])) % 360 == pytest.approx(aspect, abs=1e-4)


def test_flat_ground_has_no_aspect():
    for part in terrain.slope_aspect(np.full((3, 4), 4800.0), 90.0, 90.0):
        np.testing.assert_array_equal(part, 0)


def test_rows_may_differ_in_width():
    dx = np.array([100.0, 90.0, 80.0])
    z = 0.2 * dx[:, None] * np.arange(4)
    east = -terrain.slope_aspect(z, dx, 1e9)[1]  # rows so far apart that north does not matter
    np.testing.assert_allclose(east, 0.2 / np.sqrt(1.04), rtol=1e-6)


def test_a_cell_without_a_neighbour_along_an_axis_is_nan():
    z = np.full((4, 4), np.nan)
    z[0, 0], z[2, 2], z[2, 3] = 1, 2, 3
    assert np.isnan(terrain.slope_aspect(z, 1, 1)[0]).all()
    assert np.isnan(terrain.wetness_index(z, 1, 1)).all()


@pytest.mark.realdata
def test_aspect_of_beiluhe_is_that_of_another_program(realdata):
    with rasterio.open(realdata / "terrain/beiluhe/srtm_studyarea_dem.tif") as raster:
        z, transform = raster.read(1)[250:400, 200:350], raster.transform
    with rasterio.open(realdata / "terrain/beiluhe/study_area_aspect.tif") as raster:
        published = raster.read(1)[250:400, 200:350]
    z = np.where(z == -9999, np.nan, z)
    latitude = transform.f + transform.e * (250.5 + np.arange(150))
    metres = np.radians(transform.a) * 6371000.0
    slope, eastness, northness = terrain.slope_aspect(z, metres * np.cos(np.radians(latitude)), metres)
    turn = (np.degrees(np.arctan2(eastness, northness)) - published + 180) % 360 - 180
    whole = np.isfinite(np.lib.stride_tricks.sliding_window_view(z, (3, 3))).all(axis=(2, 3))
    compared = np.pad(whole, 1) & np.isfinite(turn) & (slope > 2)
    assert compared.sum() > 2000
    assert np.percentile(np.abs(turn[compared]), 99) < 0.01


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]))
def test_water_leaves_every_cell_of_filled_terrain(seed, missing):
    z = rough(seed, missing=missing)
    filled = terrain.fill_depressions(z)
    np.testing.assert_array_equal(np.isnan(filled), np.isnan(z))
    assert (filled >= z)[~np.isnan(z)].all()
    for i in range(1, 5):
        for j in range(1, 6):
            if not np.isnan(z[i - 1 : i + 2, j - 1 : j + 2]).any():
                assert min(filled[n] for n in neighbours(z, i, j)) <= filled[i, j] - 0.999e-3


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]))
def test_filled_terrain_is_the_lowest_fixed_point(seed, missing):
    z = rough(seed, missing=missing)
    outlet = np.isnan(np.pad(z, 1, constant_values=np.nan))
    outlet = np.lib.stride_tricks.sliding_window_view(outlet, (3, 3)).any(axis=(2, 3))
    twin, before = np.where(outlet, z, np.inf), np.empty(0)
    while not np.array_equal(twin, before, equal_nan=True):  # Planchon and Darboux 2002: dry out from above
        before = twin.copy()
        for i, j in np.argwhere(~outlet):
            twin[i, j] = max(z[i, j], min(twin[n] for n in neighbours(z, i, j)) + 1e-3)
    np.testing.assert_array_equal(terrain.fill_depressions(z), twin)


def test_a_pit_is_filled_to_its_lip_and_no_higher():
    z = np.full((7, 7), 10.0)
    z[1:-1, 1:-1] = 2.0
    z[3, 0] = 5.0  # the lip
    filled = terrain.fill_depressions(z)
    assert filled[3, 1] == 5.0 + 1e-3
    assert filled[3, 5] == pytest.approx(5.0 + 5e-3)
    assert filled[1:-1, 1:-1].max() < 5.01
    np.testing.assert_array_equal(filled[0], z[0])


def test_millimetres_survive_at_5000_m():
    filled = terrain.fill_depressions(np.full((30, 30), 5000, np.float32))
    assert filled.dtype == np.float64
    assert np.unique(filled).size == 15  # 15 rings, each 1 mm above the last


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]))
def test_all_area_arrives_at_the_outlets(seed, missing):
    z = rough(seed, missing=missing)
    dx = np.linspace(90, 80, 6)
    filled = terrain.fill_depressions(z)
    area = terrain.flow_accumulation(filled, dx, 92.0)
    own = np.broadcast_to(dx[:, None] * 92.0, z.shape)
    known = ~np.isnan(z)
    lowest = [n for n in map(tuple, np.argwhere(known)) if all(filled[n] <= filled[m] for m in neighbours(z, *n))]
    assert sum(area[n] for n in lowest) == pytest.approx(own[known].sum())
    assert (area >= own)[known].all()
    np.testing.assert_array_equal(np.isnan(area), ~known)


@gentle
@given(seed=seeds)
def test_accumulation_solves_the_balance_of_every_cell(seed):
    z = terrain.fill_depressions(rough(seed, (4, 5)))
    handed = np.zeros((20, 20))
    for i, j in np.ndindex(4, 5):
        for y, x in neighbours(z, i, j):
            contour, distance = (0.5, 1.0) if i == y or j == x else (np.sqrt(2) / 4, np.sqrt(2))
            handed[5 * y + x, 5 * i + j] = max(z[i, j] - z[y, x], 0) * contour / distance
    handed /= np.where(handed.sum(axis=0) > 0, handed.sum(axis=0), 1)
    twin = np.linalg.solve(np.eye(20) - handed, np.full(20, 100.0))
    np.testing.assert_allclose(terrain.flow_accumulation(z, 10.0, 10.0).ravel(), twin)


def test_specific_area_of_a_plane_is_the_way_down_so_far():
    z = np.tile(1000.0 - 2.0 * np.arange(8), (2, 1))
    index = terrain.wetness_index(z, 40.0, 25.0)
    np.testing.assert_allclose(index, np.tile(np.log(40.0 * np.arange(1, 9) / 0.05), (2, 1)), rtol=1e-6)
    turned = terrain.wetness_index(np.ascontiguousarray(z.T), 25.0, 40.0)
    np.testing.assert_allclose(turned, index.T, rtol=1e-6)


def test_wetness_of_a_cone_is_that_of_its_radius():
    # Water spreads over a widening circle: specific area r / 2, slope k, hence ln(r / 2k).
    y, x = np.mgrid[-15:16, -15:16] * 30.0
    radius = np.hypot(x, y)
    index = terrain.wetness_index(3000 - 0.3 * radius, 30.0, 30.0)
    ring = (radius > 150) & (radius < 400)
    error = index[ring] - np.log(radius[ring] / 2 / 0.3)
    assert abs(np.median(error)) < 0.08
    assert np.abs(error).max() < 0.35


def test_flat_ground_has_the_least_gradient_and_a_mean_width():
    index = terrain.wetness_index(np.full((2, 2), 4500.0), 20.0, 40.0)
    np.testing.assert_allclose(index, np.log(20.0 * 40.0 / 30.0 / 1e-3), rtol=1e-6)


def test_valleys_are_wetter_than_ridges_and_the_input_is_left_alone():
    i, j = np.mgrid[:12, :13]
    z = 4000.0 - 3.0 * i + 2.0 * np.abs(j - 6)
    kept = z.copy()
    index = terrain.wetness_index(z, 30.0, 30.0)
    assert index.dtype == np.float32
    assert (index[3:, 6] > index[3:, 1] + 1).all()
    np.testing.assert_array_equal(z, kept)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="dx has shape"):
        terrain.slope_aspect(np.zeros((3, 4)), np.ones(4), 1.0)
    with pytest.raises(ValueError, match="dy holds -30"):
        terrain.wetness_index(np.zeros((3, 4)), 30.0, -30.0)
    with pytest.raises(ValueError, match=r"wanted \(y, x\)"):
        terrain.slope_aspect(np.zeros(4), 1.0, 1.0)
