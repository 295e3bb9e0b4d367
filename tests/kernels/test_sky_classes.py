"""Cloud and shade are told apart by where sun, cloud and satellite stand, however the scene is cut."""

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels import quality, sky_classes, view_geometry
from frostmap.kernels.sky_classes import (
    CLEAR,
    CLEAR_AMID_CLOUDS,
    NIGHT_CLOUD,
    NOT_SEEN,
    SHADED_CLOUD,
    SHADOW,
    SHADOW_AMID_CLOUDS,
    SUNLIT_CLOUD,
    UNKNOWN,
    amid_clouds,
)

CLOUDS = [quality.CLOUDY, quality.DOUBTFUL, quality.RESIDUAL_CLOUD]

Scene = dict[str, Any]


def scene(
    seed: int, shape: tuple[int, int, int], highest: float = 9000.0, known: float = 0.9, pixel_size: float = 926.6
) -> Scene:
    """Return the arguments of `sky_classes` for patches of cloud of all heights, seams, gaps and missing values."""
    rng = np.random.default_rng(seed)
    days, height, width = shape
    patches = rng.random((days, height // 3 + 1, width // 3 + 1)).repeat(3, axis=1).repeat(3, axis=2)
    cloudy = patches[:, :height, :width] + 0.3 * rng.random(shape) < rng.uniform(0.2, 1.0)
    cloud = rng.choice(np.array(CLOUDS, np.uint8), shape)
    state = np.where(cloudy, cloud, rng.integers(0, 4, shape)) + 16 * (rng.random(shape) < 0.2)
    state[rng.random(shape) < 0.02] = quality.UNSEEN + quality.NO_SWATH
    angle = 60 + rng.integers(-50, 50) + np.broadcast_to(np.arange(width), shape) // 2
    angle = np.where(np.arange(width) > rng.integers(0, 3 * width), angle - 90, angle).clip(0, 130)
    angle = np.where(rng.random(shape) < 0.02 * (known < 1), 255, angle)
    time = rng.integers(rng.choice([60, 85]), 150, (days, 1, 1)) + rng.integers(0, 4, shape)
    time = np.where(rng.random(shape) < known, time, 255)
    top = np.where(rng.random(shape) < known, rng.uniform(3500, 4000 + highest, shape), np.nan)
    return {
        "state": state.astype(np.uint8),
        "view_time": time.astype(np.uint8),
        "view_angle": angle.astype(np.uint8),
        "cloud_top": top.astype(np.float32),
        "elevation": rng.uniform(3000, 5000, (height, width)).astype(np.float32),
        "latitude": rng.uniform(26, 60) - 0.01 * np.arange(height),
        "longitude": rng.uniform(73, 104) + np.broadcast_to(0.01 * np.arange(width), (height, width)),
        "day_of_year": rng.integers(1, 367, days),
        "ascending": bool(rng.integers(2)),
        "pixel_size": pixel_size,
    }


def cut(whole: Scene, rows: slice, columns: slice) -> Scene:
    parts = {"latitude": whole["latitude"][rows], "longitude": whole["longitude"][rows, columns]}
    parts["elevation"] = whole["elevation"][rows, columns]
    return whole | parts | {k: whole[k][:, rows, columns] for k in ("state", "view_time", "view_angle", "cloud_top")}


def twin(s: Scene, halo: tuple[int, int], seam_distance: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], float]:
    """Return classes and dropped shadows, and how near to a half any step was (there, rounding may go either way)."""
    base = s["state"] & 7
    cloud = np.isin(base, CLOUDS)
    hours = np.where(s["view_time"] <= 240, s["view_time"] * 0.1, np.nan)
    angle = np.where(s["view_angle"] <= 130, s["view_angle"] - 65.0, np.nan)
    where = (s["latitude"][:, None], s["longitude"])
    zenith, azimuth = view_geometry.solar_position(*where, hours, s["day_of_year"][:, None, None])
    h = np.float64(s["cloud_top"]) - s["elevation"]
    side = view_geometry.sensor_azimuth(where[0], angle, s["ascending"])
    moved = view_geometry.shadow_displacement(h, np.radians(np.abs(angle)), side, zenith, azimuth)
    dx, dy = view_geometry.to_sinusoidal(*moved, *where)
    steps = np.stack([-dy, dx]) / s["pixel_size"]
    sunny = zenith < np.radians(85)
    candidate = cloud & sunny & (h > 0) & np.isfinite(steps).all(axis=0)
    rows, columns = np.nan_to_num(np.rint(steps)).astype(int)
    dropped = candidate & ((abs(rows) > halo[0] - 2) | (abs(columns) > halo[1] - 2))
    shadow = np.zeros(cloud.shape, bool)
    for t, y, x in np.argwhere(candidate & ~dropped):
        target = y + rows[t, y, x], x + columns[t, y, x]
        if 0 <= target[0] < cloud.shape[1] and 0 <= target[1] < cloud.shape[2]:
            shadow[t, *target] = True
    lit = candidate & ~shadow & ~view_geometry.near_seams(s["view_angle"], seam_distance)
    shaded = cloud & ~lit
    lit_pad, shaded_pad = (np.pad(part, ((0, 0), (2, 2), (2, 2))) for part in (lit, shaded))
    around = np.lib.stride_tricks.sliding_window_view(np.stack([lit_pad, shaded_pad]), (5, 5), axis=(2, 3))
    count_lit, count_shaded = around.sum(axis=(-2, -1))
    classes = np.where(shadow & sunny, SHADOW, CLEAR)
    classes = np.where(cloud, np.where(lit & (count_lit > count_shaded), SUNLIT_CLOUD, SHADED_CLOUD), classes)
    halves = np.abs(np.abs(steps[:, candidate]) % 1 - 0.5)
    return np.where(base == 5, NOT_SEEN, classes), dropped, float(halves.min(initial=1.0))


@given(st.integers(0, 2**32 - 1), st.sampled_from([(4, 5), (20, 30)]), st.integers(0, 3), st.sampled_from([0.9, 1.0]))
@settings(deadline=None, max_examples=40)
def test_classes_equal_their_numpy_twin(seed: int, halo: tuple[int, int], distance: int, known: float) -> None:
    given_scene = scene(seed, (2, 14, 17), known=known)
    expected, dropped_there, nearest_to_half = twin(given_scene, halo, distance)
    classes, dropped = sky_classes.sky_classes(**given_scene, halo=halo, seam_distance=distance)
    if nearest_to_half > 1e-4:
        np.testing.assert_array_equal(classes, expected)
        np.testing.assert_array_equal(dropped, dropped_there)
    assert classes.dtype == np.uint8


@given(st.integers(0, 2**32 - 1), st.integers(4, 20), st.integers(0, 3))
@settings(deadline=None, max_examples=10 if numba.config.DISABLE_JIT else 60)
def test_a_window_with_a_halo_has_the_classes_of_the_whole_scene(seed: int, block: int, distance: int) -> None:
    halo = (5, 7)
    whole = scene(seed, (1, 19, 23), highest=6000.0)
    classes, dropped = sky_classes.sky_classes(**whole, halo=halo, seam_distance=distance)
    for top in range(0, 19, block):
        for left in range(0, 23, block):
            own = np.s_[:, top : top + block, left : left + block]
            start = max(top - halo[0], 0), max(left - halo[1], 0)
            window = cut(whole, np.s_[start[0] : top + block + halo[0]], np.s_[start[1] : left + block + halo[1]])
            parts = sky_classes.sky_classes(**window, halo=halo, seam_distance=distance)
            inner = np.s_[:, top - start[0] :, left - start[1] :]
            for part, all_of_it in zip(parts, (classes, dropped), strict=True):
                wanted = all_of_it[own]
                np.testing.assert_array_equal(part[inner][:, : wanted.shape[1], : wanted.shape[2]], wanted)


def one_cloud(size: int = 24, at: int = 12, reach: int = 0) -> Scene:
    """Return a square of cloud, 5 km above the ground, at 90°E 33°N, seen from above; the sun in the south at 45°."""
    state = np.zeros((1, size, size), np.uint8)
    state[0, at - reach : at + reach + 1, at - reach : at + reach + 1] = quality.CLOUDY
    return {
        "state": state,
        "view_time": np.full_like(state, 117),
        "view_angle": np.full_like(state, 65),
        "cloud_top": np.where(state > 3, 9500.0, np.nan).astype(np.float32),
        "elevation": np.full((size, size), 4500.0, np.float32),
        "latitude": np.full(size, 33.0),
        "longitude": np.full((size, size), 90.0),
        "day_of_year": np.array([298]),
        "ascending": True,
    }


def test_the_shadow_of_the_specification_falls_five_rows_up_and_five_columns_west() -> None:
    classes, dropped = sky_classes.sky_classes(**one_cloud())
    assert np.argwhere(classes[0] == SHADOW).tolist() == [[7, 7]]
    assert classes[0, 12, 12] == SUNLIT_CLOUD
    assert np.bincount(classes.ravel()).tolist() == [24 * 24 - 2, 1, 0, 1]
    assert not dropped.any()


def test_under_a_large_cloud_only_the_side_towards_the_sun_is_sunlit() -> None:
    classes, _ = sky_classes.sky_classes(**one_cloud(size=40, at=20, reach=8))
    square = classes[0, 12:29, 12:29]
    shaded = np.zeros((17, 17), bool)
    shaded[:12, :12] = True
    assert (square[shaded] == SHADED_CLOUD).all()
    assert square[-1, -1] == SUNLIT_CLOUD
    # the filter rounds the corner off: there half of the neighbours are shaded
    assert (square != np.where(shaded, SHADED_CLOUD, SUNLIT_CLOUD)).sum() <= 3


@pytest.mark.parametrize(
    "change",
    [
        {"cloud_top": np.float32(np.nan)},
        {"cloud_top": np.float32(4500.0)},  # no higher than the ground
        {"elevation": np.float32(np.nan)},
        {"view_angle": np.uint8(255)},
        {"view_time": np.uint8(255)},
        {"view_time": np.uint8(65)},  # the sun is up, but lower than 5°
        {"view_time": np.uint8(20)},
    ],
)
def test_cloud_whose_shadow_cannot_be_known_shades_its_own_ground_and_no_other(change: dict[str, Any]) -> None:
    given_scene = one_cloud()
    for name, value in change.items():
        given_scene[name] = np.full_like(given_scene[name], value)
    classes, dropped = sky_classes.sky_classes(**given_scene)
    assert classes[0, 12, 12] == SHADED_CLOUD
    assert (classes == SHADED_CLOUD).sum() == 1
    assert (classes == CLEAR).sum() == classes.size - 1
    assert not dropped.any()


@pytest.mark.parametrize(("hours", "expected"), [(117, SHADOW), (65, CLEAR), (20, CLEAR), (255, CLEAR)])
def test_a_clear_pixel_without_a_high_sun_of_its_own_is_in_no_shadow(hours: int, expected: int) -> None:
    given_scene = one_cloud()
    given_scene["view_time"][0, 7, 7] = hours
    assert sky_classes.sky_classes(**given_scene)[0][0, 7, 7] == expected


def test_a_shadow_beyond_the_halo_is_dropped_and_counted() -> None:
    for halo, fallen in (((7, 7), 1), ((6, 7), 0), ((7, 6), 0)):
        classes, dropped = sky_classes.sky_classes(**one_cloud(), halo=halo, seam_distance=0)
        assert (classes == SHADOW).sum() == fallen
        assert np.argwhere(dropped).tolist() == ([] if fallen else [[0, 12, 12]])


def test_sunlit_cloud_beside_a_seam_or_a_gap_counts_as_shaded() -> None:
    for seam in (8, 255):
        given_scene = one_cloud()
        given_scene["view_angle"][:, :, 20:] = seam
        for distance, expected in ((7, SUNLIT_CLOUD), (8, SHADED_CLOUD)):
            classes, _ = sky_classes.sky_classes(**given_scene, seam_distance=distance)
            assert classes[0, 12, 12] == expected


def test_sunlit_cloud_among_as_much_shaded_cloud_counts_as_shaded() -> None:
    for shaded, expected in ((0, SUNLIT_CLOUD), (1, SHADED_CLOUD)):
        given_scene = one_cloud()
        given_scene["state"][0, 14, 14 : 14 + shaded] = quality.CLOUDY
        assert sky_classes.sky_classes(**given_scene)[0][0, 12, 12] == expected
    given_scene["state"][0, 14, 14:16] = [CLEAR, quality.CLOUDY]  # three columns away
    assert sky_classes.sky_classes(**given_scene)[0][0, 12, 12] == SUNLIT_CLOUD


def test_by_night_and_without_cloud_tops_there_are_no_shadows() -> None:
    state = np.array([0, 3, 4, 5, 6, 7, 16, 22, 37, 53, 8, 64, 255], np.uint8)
    cloud = NIGHT_CLOUD
    expected = [0, 0, cloud, 5, cloud, cloud, 0, cloud, 5, 5, UNKNOWN, UNKNOWN, UNKNOWN]
    assert sky_classes.classes_without_shadows(state, NIGHT_CLOUD).tolist() == expected
    by_day = sky_classes.classes_without_shadows(state.reshape(1, -1), SHADED_CLOUD)
    assert by_day.tolist() == [[SHADED_CLOUD if code == cloud else code for code in expected]]
    whole = scene(1, (1, 9, 9))
    whole["cloud_top"][:] = np.nan
    classes, _ = sky_classes.sky_classes(**whole)
    np.testing.assert_array_equal(classes, sky_classes.classes_without_shadows(whole["state"], SHADED_CLOUD))


def test_arguments_stay_as_they_are() -> None:
    whole = scene(2, (1, 9, 9))
    before = {name: np.copy(value) for name, value in whole.items()}
    sky_classes.sky_classes(**whole)
    for name, value in before.items():
        np.testing.assert_array_equal(whole[name], value)


def test_wrong_inputs_are_named() -> None:
    good = one_cloud()
    with pytest.raises(ValueError, match="state is int64; wanted uint8"):
        sky_classes.classes_without_shadows(np.zeros(2, np.int64), NIGHT_CLOUD)
    with pytest.raises(ValueError, match="cloud is 1; wanted 2 by day or 4 by night"):
        sky_classes.classes_without_shadows(good["state"], SUNLIT_CLOUD)
    for changes, message in (
        ({"view_angle": good["view_angle"].astype(np.int16)}, "view_angle is int16"),
        ({"view_time": good["view_time"][:, 1:]}, "view_time is uint8 of shape"),
        ({"latitude": np.zeros(3), "day_of_year": np.zeros(2)}, r"latitude \(3,\), not \(24,\); day_of_year \(2,\)"),
        ({"halo": (1, 96)}, r"halo of \(2, 12\) or more"),
        ({"halo": (64, 11)}, r"halo of \(2, 12\) or more"),
        ({"seam_distance": -1}, "distance of 0 or more"),
        ({"pixel_size": 0.0}, "size above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            sky_classes.sky_classes(**(good | changes))


# ---- amid clouds --------------------------------------------------------------------------------------------------


def seen_around(state: NDArray[np.uint8], reach: int) -> NDArray[np.float64]:
    """Return the share of each pixel's neighbours, and itself, that is observed: by numbers, one pixel at a time."""
    kind = np.where(state == 255, quality.UNSEEN, state & 15)
    share = np.full(state.shape, np.nan)
    for t, y, x in np.ndindex(state.shape):
        around = kind[t, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        known = around[around != quality.UNSEEN]
        share[t, y, x] = (known <= quality.OBSERVED).mean() if known.size else np.nan
    return share


@given(st.integers(0, 99), st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
@settings(deadline=None, max_examples=40)
def test_what_is_seen_amid_clouds_is_told_by_what_is_seen_around(seed: int, reach: int, least: float) -> None:
    state = scene(seed, (2, 9, 14))["state"]
    state[0, 4, 5] = 255
    rng = np.random.default_rng(seed)
    classes = sky_classes.classes_without_shadows(state, NIGHT_CLOUD)
    classes = np.where((classes == CLEAR) & (rng.random(state.shape) < 0.3), np.uint8(SHADOW), classes)
    found = amid_clouds(state, classes, reach, least)
    amid = (seen_around(state, reach) < least - 1e-9) & (reach > 0)
    expected = np.where(amid & (classes == CLEAR), CLEAR_AMID_CLOUDS, classes)
    expected = np.where(amid & (classes == SHADOW), SHADOW_AMID_CLOUDS, expected)
    np.testing.assert_array_equal(found, expected)


def test_being_amid_clouds_does_not_depend_on_how_the_scene_is_cut() -> None:
    state = scene(3, (3, 20, 30))["state"]
    classes = sky_classes.classes_without_shadows(state, SHADED_CLOUD)
    whole = amid_clouds(state, classes, 3, 0.7)
    assert CLEAR_AMID_CLOUDS in whole
    part = amid_clouds(np.ascontiguousarray(state[:, 4:16, 7:23]), np.ascontiguousarray(classes[:, 4:16, 7:23]), 3, 0.7)
    np.testing.assert_array_equal(part[:, 3:-3, 3:-3], whole[:, 7:13, 10:20])


def test_what_is_amid_is_asked_with_fitting_arrays() -> None:
    state = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="wanted uint8"):
        amid_clouds(state[0], state[0], 1, 0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        amid_clouds(state, state, 1, 1.5)
