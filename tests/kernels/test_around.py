"""A missing value lies between those around it, by their distance on the ground, and known ones are left alone."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostmap.kernels.around import EARTH_RADIUS_KM, filled_from_around

gentle = settings(deadline=None, max_examples=40)
blocks = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.one_of(st.floats(-100, 100, width=32), st.just(float("nan"))),
)


def places(shape, lean=0.8, pixel_km=1.0):
    """Return centres of sheared pixels: a step down leans `lean` to the east [°]."""
    row, column = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    latitude = 33.0 - np.degrees(row * pixel_km / EARTH_RADIUS_KM)
    east = (column + lean * row) * pixel_km
    return 90.0 + np.degrees(east / EARTH_RADIUS_KM / np.cos(np.radians(latitude))), latitude


def twin(values, longitude, latitude, reach):
    """Fill as the kernel does, without any window, on a plane about the pixel."""
    filled = values.copy()
    for i, j in zip(*np.nonzero(np.isnan(values)), strict=True):
        middle = np.cos(np.radians((latitude + latitude[i, j]) / 2))
        east, north = np.radians(longitude - longitude[i, j]) * middle, np.radians(latitude - latitude[i, j])
        distance = EARTH_RADIUS_KM * np.hypot(east, north)
        near = ~np.isnan(values) & (distance <= reach)
        if near.any():
            filled[i, j] = np.average(values[near].astype(float), weights=distance[near] ** -2.0)
    return filled


@gentle
@given(values=blocks, reach=st.floats(0.6, 6))
def test_it_is_its_plain_twin(values, reach):
    """Reaches that end at a pixel's centre are left out: which side of it they end on is a matter of rounding."""
    down, right = np.mgrid[-5:6, -5:6]
    assume(np.abs(np.hypot(down, right + 0.8 * down) - reach).min() > 1e-3)
    longitude, latitude = places(values.shape)
    found = filled_from_around(values, np.ones(values.shape, bool), longitude, latitude, reach, (6, 12))
    np.testing.assert_allclose(found, twin(values, longitude, latitude, reach), rtol=1e-5, atol=1e-4)


@gentle
@given(values=blocks)
def test_known_values_stay_and_filled_ones_lie_between_them(values):
    found = filled_from_around(values, np.ones(values.shape, bool), *places(values.shape), 3.0, (6, 12))
    known = ~np.isnan(values)
    np.testing.assert_array_equal(found[known], values[known])
    if known.any() and (~np.isnan(found)).any():
        assert np.nanmin(found) >= values[known].min() - 1e-4
        assert np.nanmax(found) <= values[known].max() + 1e-4


def test_nearness_is_that_on_the_ground_and_not_of_rows_and_columns():
    """On a leaning grid the pixel below and to the left is nearer than the one below."""
    values = np.array([[5.0, np.nan, 7.0], [1.0, 3.0, np.nan]], np.float32)
    longitude, latitude = places(values.shape, lean=1.0)
    only = np.array([[False, True, False], [False, False, False]])
    found = filled_from_around(values, only, longitude, latitude, 1.2, (1, 3))
    assert found[0, 1] == pytest.approx((5 + 7 + 1) / 3, abs=1e-2)  # 3 lies straight down the column, 1.41 km away
    assert np.isnan(found[1, 2])


def test_beyond_reach_and_off_the_globe_nothing_is_known():
    values = np.array([[1.0, np.nan, np.nan, np.nan]], np.float32)
    longitude, latitude = places(values.shape)
    longitude[0, 3] = np.nan
    found = filled_from_around(values, np.ones((1, 4), bool), longitude, latitude, 1.5, (0, 4))
    np.testing.assert_array_equal(found, np.array([[1.0, 1.0, np.nan, np.nan]], np.float32))


def test_shapes_and_reach_are_checked():
    values = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="wanted one shape"):
        filled_from_around(values, np.ones((2, 1), bool), *places((2, 2)), 1.0, (1, 1))
    with pytest.raises(ValueError, match="more than 0"):
        filled_from_around(values, np.ones((2, 2), bool), *places((2, 2)), 0.0, (1, 1))
