"""A cloudy pixel takes time and angle together, from a day on which the satellite flew the same track."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from frostmap.kernels.orbit_repeat import fill_geometry_by_repeat, typical_view_time

DAYS = 70 if numba.config.DISABLE_JIT else 200
Bytes = NDArray[np.uint8]


def twin(time: Bytes, angle: Bytes, cycle: int, reach: int) -> tuple[Bytes, Bytes]:
    seen = (time <= 240) & (angle <= 130)
    filled = np.full((2, *time.shape), 255, np.uint8)
    for t, y, x in np.ndindex(time.shape):
        days = [t + cycle * k for k in range(-reach, reach + 1) if 0 <= t + cycle * k < len(time)]
        days = [t] if seen[t, y, x] else [d for d in days if seen[d, y, x]]
        pairs = sorted((int(angle[d, y, x]), int(time[d, y, x])) for d in days)
        if pairs:
            filled[:, t, y, x] = pairs[(len(pairs) - 1) // 2][::-1]
    return filled[0], filled[1]


stored = npst.arrays(
    np.uint8,
    st.tuples(st.just(2), st.integers(1, 30), st.just(1), st.integers(1, 2)),
    elements=st.one_of(st.just(255), st.integers(60, 70), st.integers(0, 255)),
)


@given(stored, st.integers(1, 7), st.integers(0, 4))
@settings(deadline=None, max_examples=80)
def test_filling_equals_its_numpy_twin(views: Bytes, cycle: int, reach: int) -> None:
    for one, other in zip(
        fill_geometry_by_repeat(*views, cycle=cycle, reach=reach), twin(*views, cycle, reach), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@given(stored, st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None, max_examples=40)
def test_days_before_and_after_are_looked_at_and_left_out(views: Bytes, before: int, after: int) -> None:
    days = views.shape[1]
    before = min(before, days)
    after = min(after, days - before)
    whole = fill_geometry_by_repeat(*views, cycle=3)
    part = fill_geometry_by_repeat(*views, before, after, cycle=3)
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, other[before : days - after])


@given(stored)
@settings(deadline=None, max_examples=40)
def test_time_and_angle_are_of_one_day(views: Bytes) -> None:
    time, angle = fill_geometry_by_repeat(*views, cycle=2)
    for pixel in np.ndindex(views.shape[2:]):
        seen = set(zip(*(view[:, *pixel].tolist() for view in views), strict=True)) | {(255, 255)}
        assert set(zip(time[:, *pixel].tolist(), angle[:, *pixel].tolist(), strict=True)) <= seen


def test_a_track_that_repeats_is_filled_exactly() -> None:
    shape = (DAYS, 1, 300 if DAYS > 100 else 3)
    day = np.arange(DAYS).reshape(-1, 1, 1) % 16
    time, angle = (np.broadcast_to(track, shape).astype(np.uint8) for track in (100 + day, 8 * day + 1))
    cloudy = np.random.default_rng(0).random(shape) < 0.3
    gaps = (np.where(cloudy, np.uint8(255), view) for view in (time, angle))
    filled_time, filled_angle = fill_geometry_by_repeat(*gaps)
    found = filled_time != 255  # not where all the days of a track are cloudy
    assert found.mean() > (0.999 if DAYS > 100 else 0.9)
    np.testing.assert_array_equal(filled_time[found], time[found])
    np.testing.assert_array_equal(filled_angle[found], angle[found])


def test_of_eight_days_by_hand() -> None:
    # Seen 64, 48, 32 and 16 days before and 16 days after; in order 10, 20, 30, 40, 50: the middle is 30, 32 days ago,
    # although the middle time is another's.
    time, angle = np.full((2, 81, 1, 1), 255, np.uint8)
    time[[0, 16, 32, 48, 80], 0, 0] = 101, 102, 109, 104, 105
    angle[[0, 16, 32, 48, 80], 0, 0] = 50, 10, 30, 20, 40
    filled = fill_geometry_by_repeat(time, angle)
    assert [int(view[64, 0, 0]) for view in filled] == [109, 30]


def test_half_a_view_is_none_and_a_track_never_seen_stays_missing() -> None:
    time, angle = np.full((2, 33, 1, 1), 255, np.uint8)
    time[0], angle[0] = 105, 131  # no valid angle
    time[17], angle[17] = 241, 65  # no valid time
    for view in fill_geometry_by_repeat(time, angle):
        assert (view == 255).all()
    angle[0] = 130
    time, angle = fill_geometry_by_repeat(time, angle)
    assert np.flatnonzero(time != 255).tolist() == np.flatnonzero(angle != 255).tolist() == [0, 16, 32]


def test_wrong_inputs_are_named() -> None:
    views = np.zeros((2, 3, 1, 1), np.uint8)
    with pytest.raises(ValueError, match="wanted uint8"):
        fill_geometry_by_repeat(views[0], views[1].astype(np.int16))
    with pytest.raises(ValueError, match="wanted the same"):
        fill_geometry_by_repeat(views[0], views[1, :2])
    with pytest.raises(ValueError, match="reach 5"):
        fill_geometry_by_repeat(*views, reach=5)
    with pytest.raises(ValueError, match="together no more"):
        fill_geometry_by_repeat(*views, before=2, after=2)
    with pytest.raises(ValueError, match="wanted uint8"):
        typical_view_time(views, 105)
    with pytest.raises(ValueError, match="nominal is 255"):
        typical_view_time(views[0], 255)


@given(stored, st.integers(0, 240))
@settings(deadline=None, max_examples=40)
def test_the_typical_time_is_the_mean_of_those_seen(views: Bytes, nominal: int) -> None:
    typical = typical_view_time(views[0], nominal)
    for y, x in np.ndindex(typical.shape):
        seen = views[0, :, y, x][views[0, :, y, x] <= 240]
        assert int(typical[y, x]) == (np.floor(seen.mean() + 0.5) if len(seen) else nominal)
