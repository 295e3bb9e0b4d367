"""Sun, satellite and grid stand to each other as the orbit and the sheared projection demand."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from frostmap.kernels import view_geometry as geometry

DAYS = 40 if numba.config.DISABLE_JIT else 150

latitudes, longitudes = st.floats(-60, 60), st.floats(-180, 180)
metres = st.floats(-1e5, 1e5)


def day_angle(day: float) -> float:
    return 2.0 * np.pi * (day - 1.0) / 365.0


def noon(day: int, longitude: float) -> float:
    """Return the local mean solar time at which the sun culminates."""
    hours = 12.0
    for _ in range(5):
        utc = float(geometry.utc_hours(hours, longitude))
        hours = 12.0 - float(geometry.equation_of_time(day_angle(day + (utc - 12.0) / 24.0))) / 60.0
    return hours


@given(metres, metres, latitudes, longitudes)
@settings(deadline=None)
def test_to_the_sinusoidal_grid_and_back(east: float, north: float, latitude: float, longitude: float) -> None:
    dx, dy = geometry.to_sinusoidal(east, north, latitude, longitude)
    back_east, back_north = geometry.from_sinusoidal(dx, dy, latitude, longitude)
    assert float(back_east) == pytest.approx(east, abs=1e-9 * 1e5)
    assert float(back_north) == north


@given(latitudes, longitudes, st.floats(-90, 90), st.floats(-90, 90))
@settings(deadline=None)
def test_the_shear_is_the_projection_differentiated(
    latitude: float, longitude: float, east: float, north: float
) -> None:
    def project(phi: float, lam: float) -> NDArray[np.float64]:
        return geometry.EARTH_RADIUS * np.array([lam * np.cos(phi), phi])

    phi, lam = np.radians([latitude, longitude])
    step = np.array([north, east / np.cos(phi)]) / geometry.EARTH_RADIUS
    moved = project(phi + step[0], lam + step[1]) - project(phi, lam)
    np.testing.assert_allclose(geometry.to_sinusoidal(east, north, latitude, longitude), moved, atol=0.02)


def test_published_shear_of_the_plateau() -> None:
    shear = [[0.562, 0.689, 0.800], [0.699, 0.856, 0.993], [0.825, 1.010, 1.172]]
    east, _ = geometry.from_sinusoidal(0.0, 1.0, np.array([[26.0], [33.0], [40.0]]), np.array([73.5, 90.0, 104.5]))
    np.testing.assert_allclose(east, shear, atol=6e-4)


def test_the_shadow_of_a_cloud_at_90e_33n_falls_five_columns_west() -> None:
    # A cloud at 5 km seen from above, sun in the south at 45 degrees: the shadow lies 5 km north.
    east, north = geometry.shadow_displacement(5000.0, 0.0, 0.0, np.radians(45.0), np.pi)
    dx, dy = geometry.to_sinusoidal(east, north, 33.0, 90.0)
    assert (float(dx), float(dy)) == (pytest.approx(-4277.6, abs=0.05), pytest.approx(5000.0))
    pixel = np.pi * geometry.EARTH_RADIUS / 18 / 1200
    assert (round(float(dx) / pixel), -round(float(dy) / pixel)) == (-5, -5)


@given(st.floats(0, 12e3), st.floats(0, 1.1), st.floats(0, 6.2), st.floats(0, 1.2), st.floats(0, 6.2))
@settings(deadline=None)
def test_seen_from_the_sun_a_cloud_hides_its_shadow(
    height: float, view_zenith: float, view_azimuth: float, solar_zenith: float, solar_azimuth: float
) -> None:
    east, north = geometry.shadow_displacement(height, 0.0, view_azimuth, solar_zenith, solar_azimuth)
    assert np.hypot(east, north) == pytest.approx(height * np.tan(solar_zenith), abs=1e-6)
    along = geometry.shadow_displacement(height, solar_zenith, solar_azimuth, solar_zenith, solar_azimuth)
    np.testing.assert_allclose(along, 0.0, atol=1e-6)
    seen = geometry.shadow_displacement(height, view_zenith, view_azimuth, 0.0, solar_azimuth)
    assert np.hypot(*seen) == pytest.approx(height * np.tan(view_zenith), abs=1e-6)


@given(st.floats(26, 60), longitudes, st.integers(1, 365))
@settings(deadline=None)
def test_at_noon_the_sun_stands_in_the_south_at_latitude_minus_declination(
    latitude: float, longitude: float, day: int
) -> None:
    hours = noon(day, longitude)
    zenith, azimuth = geometry.solar_position(latitude, longitude, hours, day)
    utc = float(geometry.utc_hours(hours, longitude))
    declination = geometry.solar_declination(day_angle(day + (utc - 12.0) / 24.0))
    assert float(zenith) == pytest.approx(np.radians(latitude) - declination, abs=1e-6)
    assert float(azimuth) == pytest.approx(np.pi, abs=1e-4)


@given(latitudes, longitudes, st.floats(0, 24), st.integers(1, 366))
@settings(deadline=None)
def test_the_sun_is_in_the_east_before_noon_and_in_the_west_after(
    latitude: float, longitude: float, hours: float, day: int
) -> None:
    zenith, azimuth = geometry.solar_position(latitude, longitude, hours, day)
    assert 0.0 <= zenith <= np.pi
    assert 0.0 <= azimuth <= 2.0 * np.pi
    if 1.0 < hours < 11.0:
        assert azimuth < np.pi
    if 13.0 < hours < 23.0:
        assert azimuth > np.pi


def test_spencers_extremes() -> None:
    # Spencer (1971), Search 2(5), 172: declination within 0.0006 rad, equation of time within 35 s of the almanac
    days = np.arange(1, 366)
    declination = np.degrees(geometry.solar_declination(2 * np.pi * (days - 1) / 365))
    minutes = geometry.equation_of_time(2 * np.pi * (days - 1) / 365)
    assert declination.max() == pytest.approx(23.44, abs=0.04)
    assert declination.min() == pytest.approx(-23.44, abs=0.04)
    assert abs(int(days[declination.argmax()]) - 172) <= 1
    assert minutes.max() == pytest.approx(16.4, abs=0.3)  # 3 November
    assert minutes.min() == pytest.approx(-14.2, abs=0.3)  # 11 February
    assert abs(int(days[minutes.argmin()]) - 42) <= 4


def test_headings_of_terra_and_aqua_over_the_plateau() -> None:
    np.testing.assert_allclose(np.degrees(geometry.ground_heading(33.0, [True, False])), [347.0, 193.0], atol=0.05)
    plateau = np.degrees(geometry.ground_heading(np.array([26.0, 40.0]), True))
    assert np.abs(plateau - 347.0).max() < 1.1
    assert np.isnan(geometry.ground_heading(85.0, True))


def test_the_sensor_stands_square_to_its_track_on_the_side_the_sign_says() -> None:
    azimuth = np.degrees(geometry.sensor_azimuth(33.0, [[-40.0], [40.0]], [True, False]))
    np.testing.assert_allclose(azimuth, [[77, 103], [257, 283]], atol=0.1)
    east = np.sin(np.radians(azimuth))
    assert (east[0] > 0).all()
    assert (east[1] < 0).all()
    assert np.isnan(geometry.sensor_azimuth(33.0, np.nan, True))


def test_hours_in_utc_and_the_local_date_of_each_overpass() -> None:
    np.testing.assert_allclose(geometry.utc_hours([1.5, 22.5], 90.0), [19.5, 16.5])
    for longitude in (73.5, 90.0, 104.5):
        assert geometry.local_date_shift([10.5, 13.5, 22.5, 1.5], longitude).tolist() == [0, 0, 0, 1]
    assert np.isnan(geometry.utc_hours(np.nan, 90.0))
    assert np.isnan(geometry.local_date_shift(np.nan, 90.0))


@given(st.integers(0, 240), longitudes)
@settings(deadline=None)
def test_local_date_and_hour_undo_the_utc_hour(tenths: int, longitude: float) -> None:
    local = tenths / 10.0
    utc = float(geometry.utc_hours(local, longitude))
    shift = float(geometry.local_date_shift(local, longitude))
    assert shift in (-1.0, 0.0, 1.0)
    assert (utc + longitude / 15.0) % 24.0 == pytest.approx(local % 24.0, abs=1e-9) or local % 24.0 < 1e-9
    assert utc + longitude / 15.0 - 24.0 * shift == pytest.approx(local % 24.0, abs=1e-9)


def orbit_twin(values: NDArray[np.uint8], cycle: int, reach: int) -> NDArray[np.uint8]:
    filled = values.copy()
    for t, y, x in np.argwhere(values == 255):
        days = [t + cycle * k for k in range(-reach, reach + 1) if 0 <= t + cycle * k < len(values)]
        found = sorted(value for value in values[days, y, x].tolist() if value != 255)
        filled[t, y, x] = found[(len(found) - 1) // 2] if found else 255
    return filled


@given(
    npst.arrays(
        np.uint8,
        st.tuples(st.integers(1, 30), st.just(1), st.integers(1, 2)),
        elements=st.one_of(st.just(255), st.integers(0, 255)),
    ),
    st.integers(1, 7),
    st.integers(0, 4),
)
@settings(deadline=None, max_examples=60)
def test_filling_by_the_orbit_equals_its_numpy_twin(values: NDArray[np.uint8], cycle: int, reach: int) -> None:
    filled = geometry.fill_by_orbit_repeat(values, cycle=cycle, reach=reach)
    np.testing.assert_array_equal(filled, orbit_twin(values, cycle, reach))
    np.testing.assert_array_equal(filled[values != 255], values[values != 255])


def test_a_track_that_repeats_is_filled_exactly() -> None:
    track = (np.arange(DAYS) % 16 * 8 + 1).astype(np.uint8).reshape(DAYS, 1, 1)
    gaps = track.copy()
    gaps[np.random.default_rng(0).random(DAYS) < 0.3] = 255
    np.testing.assert_array_equal(geometry.fill_by_orbit_repeat(gaps), track)


def test_a_cycle_never_seen_stays_missing() -> None:
    values = np.full((64, 1, 1), 255, np.uint8)
    values[5] = 80
    filled = geometry.fill_by_orbit_repeat(values)
    assert np.flatnonzero(filled[:, 0, 0] != 255).tolist() == [5, 21, 37, 53]
    np.testing.assert_array_equal(geometry.fill_by_orbit_repeat(values, fill=80)[5], 255)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="wanted uint8"):
        geometry.fill_by_orbit_repeat(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="cycle"):
        geometry.fill_by_orbit_repeat(np.zeros((2, 2, 2), np.uint8), cycle=0)
