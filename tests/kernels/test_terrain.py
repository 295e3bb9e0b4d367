"""Planes, cones, spheres and paraboloids have the slope and aspect that geometry gives them, in blocks as whole."""

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
    for part in terrain.slope_aspect(z, 1, 1):
        assert np.isnan(part).all()


@pytest.mark.realdata
def test_aspect_of_beiluhe_is_that_of_another_program(realdata):
    with rasterio.open(realdata / "terrain/beiluhe/srtm_studyarea_dem.tif") as raster:
        z, transform = raster.read(1), raster.transform
    with rasterio.open(realdata / "terrain/beiluhe/study_area_aspect.tif") as raster:
        published = raster.read(1)
    z = np.where(z == -9999, np.nan, z)
    latitude = transform.f + transform.e * (0.5 + np.arange(len(z)))
    metres = np.radians(transform.a) * 6371000.0
    slope, eastness, northness = terrain.slope_aspect(z, metres * np.cos(np.radians(latitude)), metres)
    turn = (np.degrees(np.arctan2(eastness, northness)) - published + 180) % 360 - 180
    whole = np.isfinite(np.lib.stride_tricks.sliding_window_view(z, (3, 3))).all(axis=(2, 3))
    compared = np.pad(whole, 1) & np.isfinite(turn) & (slope > 0.3)
    assert compared.sum() > 130_000
    assert np.percentile(np.abs(turn[compared]), 99.9) < 0.01


# ---- surfaces whose slope and aspect are known ---------------------------------------------------------------------


def surface(name, dx=31.0, dy=28.0, size=61):
    """Return a surface, and its exact rise towards east and north at every cell."""
    y, x = np.mgrid[:size, :size] - size // 2
    x, y = x * dx, -y * dy
    radius = np.hypot(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "cone":
            return 3000 - 0.4 * radius, -0.4 * x / radius, -0.4 * y / radius
        if name == "sphere":
            z = np.sqrt(2500.0**2 - radius**2)
            return z, -x / z, -y / z
    return 2e-4 * x**2 - 1e-4 * y**2 + 3e-4 * x * y, 4e-4 * x + 3e-4 * y, -2e-4 * y + 3e-4 * x


@pytest.mark.parametrize(("name", "off"), [("cone", 5e-3), ("sphere", 1e-3), ("paraboloid", 1e-9)])
def test_slope_and_aspect_of_curved_surfaces_are_those_of_their_equations(name, off):
    z, east, north = surface(name)
    slope, eastness, northness = terrain.slope_aspect(z, 31.0, 28.0)
    inner = np.ones(z.shape, bool)
    inner[[0, -1]] = inner[:, [0, -1]] = False
    inner[26:35, 26:35] = name == "paraboloid"  # about the tip of a cone there is no one slope
    length = np.sqrt(1 + east**2 + north**2)
    steep = np.degrees(np.arctan(np.hypot(east, north)))
    assert np.abs(slope - steep)[inner].max() < 60 * off + 2e-6
    assert np.abs(eastness + east / length)[inner].max() < off + 1e-7  # a paraboloid's differences are exact
    assert np.abs(northness + north / length)[inner].max() < off + 1e-7


def test_rows_that_narrow_towards_the_pole_keep_a_hill_round():
    latitude = 38 - (np.arange(80) + 0.5) / 120
    dx, dy = 926.6 * np.cos(np.radians(latitude)), 926.6
    x, y = dx[:, None] * (np.arange(80) - 40), -dy * (np.arange(80) - 40)[:, None]
    slope, eastness, northness = terrain.slope_aspect(9000 - 0.1 * np.hypot(x, y), dx, dy)
    ring = (np.hypot(x, y) > 8000) & (np.hypot(x, y) < 15000)
    turned = np.degrees(np.arctan2(eastness, northness) - np.arctan2(x, y))
    assert np.abs((turned + 180) % 360 - 180)[ring].max() < 1.0
    assert np.abs(slope - np.degrees(np.arctan(0.1)))[ring].max() < 0.1


# ---- blocks --------------------------------------------------------------------------------------------------------


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]), rows=st.integers(1, 9), columns=st.integers(1, 9),
       dtype=st.sampled_from(["float32", "float64"]))  # fmt: skip
def test_blocks_with_a_halo_of_one_cell_are_the_whole_to_the_last_bit(seed, missing, rows, columns, dtype):
    z = (rough(seed, (17, 19), missing) * 137.1).astype(dtype)
    dx = np.linspace(90, 80, 17)
    whole = terrain.slope_aspect(z, dx, 92.0)
    for i in range(0, 17, rows):
        for j in range(0, 19, columns):
            top, left = max(i - 1, 0), max(j - 1, 0)
            around = np.s_[top : min(i + rows, 17) + 1, left : min(j + columns, 19) + 1]
            part = terrain.slope_aspect(z[around], dx[around[0]], 92.0)
            for one, all_of_it in zip(part, whole, strict=True):
                own = all_of_it[i : i + rows, j : j + columns]
                cut = one[i - top :, j - left :][: own.shape[0], : own.shape[1]]
                np.testing.assert_array_equal(cut, own)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="dx has shape"):
        terrain.slope_aspect(np.zeros((3, 4)), np.ones(4), 1.0)
    with pytest.raises(ValueError, match="dy holds -30"):
        terrain.slope_aspect(np.zeros((3, 4)), 30.0, -30.0)
    with pytest.raises(ValueError, match=r"wanted \(y, x\)"):
        terrain.slope_aspect(np.zeros(4), 1.0, 1.0)
