"""Sun, satellite and grid stand to each other as the orbit and the sheared projection demand."""

from pathlib import Path

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


def missing_or(low: int, high: int) -> st.SearchStrategy[int]:
    return st.one_of(st.just(255), st.integers(low, high))


def view_angle_of(arc: float) -> float:
    R, H = geometry.EARTH_RADIUS, geometry.ALTITUDE
    return float(np.degrees(arc + np.arctan2(R * np.sin(arc), R + H - R * np.cos(arc))))


def continued(angle: int, columns: int, pixel_size: float) -> float:
    R, H, theta = geometry.EARTH_RADIUS, geometry.ALTITUDE, np.radians(angle - 65.0)
    arc = theta - np.arcsin(R / (R + H) * np.sin(theta))
    return view_angle_of(arc + columns * pixel_size * np.cos(np.radians(13)) / R)


def row_twin(time: NDArray[np.uint8], angle: NDArray[np.uint8], reach: int, pixel_size: float) -> list[tuple[int, int]]:
    known = np.flatnonzero((time <= 240) & (angle <= 130))
    filled = []
    for x in range(time.size):
        left = [int(k) for k in known if x - reach <= k < x][-1:]
        right = [int(k) for k in known if x < k <= x + reach][:1]
        sides = [(continued(angle[k], x - k, pixel_size), int(time[k])) for k in left + right]
        if x in known or not sides:
            filled.append((int(time[x]), int(angle[x])))
            continue
        value, clock = min(sides, key=lambda side: abs(side[0]))
        if left and right:
            (L,), (R,) = left, right
            if abs(continued(angle[L], R - L, pixel_size) - (angle[R] - 65.0)) <= 25:
                w, turn = (x - L) / (R - L), (int(time[R]) - int(time[L]) + 120) % 240 - 120
                turn = 120 if turn == -120 and time[R] > time[L] else turn  # noon from midnight: either way round
                value, clock = sides[0][0] + (sides[1][0] - sides[0][0]) * w, round(int(time[L]) + turn * w) % 240
        inside = -66.5 <= value <= 66.5
        filled.append((clock, min(max(round(value + 65), 0), 130)) if inside else (int(time[x]), int(angle[x])))
    return filled


@given(
    st.lists(st.tuples(missing_or(0, 239), missing_or(0, 130)), min_size=1, max_size=12),
    st.integers(0, 6),
    st.sampled_from([1e3, 2e4, 1e5]),
)
@settings(deadline=None, max_examples=80)
def test_interpolation_along_rows_equals_its_numpy_twin(
    pixels: list[tuple[int, int]], reach: int, pixel_size: float
) -> None:
    time, angle = (np.array(column, np.uint8).reshape(1, 1, -1) for column in zip(*pixels, strict=True))
    filled = geometry.interpolate_along_rows(time, angle, reach, pixel_size=pixel_size)
    twin = row_twin(time[0, 0], angle[0, 0], reach, pixel_size)
    np.testing.assert_array_equal(np.stack(filled[:2], axis=-1)[0, 0], twin)
    known = (time <= 240) & (angle <= 130)
    assert not (filled[2] & known).any()
    for before, after in ((time, filled[0]), (angle, filled[1])):
        np.testing.assert_array_equal(after[~filled[2]], before[~filled[2]])


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 25))
@settings(deadline=None, max_examples=40)
def test_a_window_with_a_halo_is_interpolated_as_the_whole_row(seed: int, reach: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (1, 2, 26)
    time, angle = (np.where(rng.random(shape) < 0.6, 255, rng.integers(0, 131, shape)).astype(np.uint8) for _ in "ta")
    whole = geometry.interpolate_along_rows(time, angle, reach)
    for left in range(0, 26, block):
        right, start = min(left + block, 26), max(left - reach, 0)
        window = np.s_[:, :, start : right + reach]
        cut = geometry.interpolate_along_rows(time[window], angle[window], reach)
        for part, all_of_it in zip(cut, whole, strict=True):
            np.testing.assert_array_equal(part[..., left - start : right - start], all_of_it[..., left:right])


def row_of(*values: int | None) -> NDArray[np.uint8]:
    return np.array([[[255 if value is None else value for value in values]]], np.uint8)


def test_between_two_swaths_the_less_oblique_one_is_taken() -> None:
    angle = np.full((1, 1, 42), 255, np.uint8)
    angle[0, 0, [0, 41]] = 65 + 59, 65 - 59
    time = np.where(angle == 255, 255, 118).astype(np.uint8)
    time[0, 0, 41] = 102
    times, filled, _ = geometry.interpolate_along_rows(time, angle, reach=41)
    eastern = times[0, 0] == 102
    assert (filled[0, 0, eastern] < 65).all()
    assert (filled[0, 0, ~eastern] > 65).all()
    assert eastern.tolist() == [False] * 21 + [True] * 21
    assert np.abs(filled[0, 0].astype(int) - 65).max() == 60


def test_beyond_the_edge_of_the_swath_nothing_is_made_up() -> None:
    angle, time = row_of(129, *[None] * 150), row_of(118, *[None] * 150)
    _, filled, interpolated = geometry.interpolate_along_rows(time, angle, reach=200)
    assert 0 < interpolated.sum() < 120
    assert filled[interpolated].max() == 130
    assert (filled[0, 0, 120:] == 255).all()


def test_midnight_between_two_pixels_is_not_noon() -> None:
    time, angle = row_of(238, None, None, 1), row_of(65, None, None, 65)
    assert geometry.interpolate_along_rows(time, angle)[0][0, 0].tolist() == [238, 239, 0, 1]


def test_a_pixel_that_lacks_one_of_the_two_is_missing() -> None:
    times, angles, interpolated = geometry.interpolate_along_rows(row_of(105, 255, 107, 255), row_of(65, 90, 255, 255))
    assert interpolated[0, 0].tolist() == [False, True, True, True]
    assert angles[0, 0].tolist() == [65, 65, 65, 65]
    assert times[0, 0].tolist() == [105, 105, 105, 105]
    assert geometry.interpolate_along_rows(row_of(241, 2), row_of(65, 131))[2].sum() == 0


@pytest.mark.parametrize("overpass", range(4))
def test_hidden_pixels_of_a_simulated_orbit_come_back_within_a_degree(overpass: int) -> None:
    from frostmap.pipeline.simulate.orbits import view_geometry

    rows, columns, apart = (1, 400, 8) if numba.config.DISABLE_JIT else (30, 1200, 1)
    y, x = np.mgrid[0:rows, 0:columns] * geometry.PIXEL_SIZE
    latitude = np.degrees((3.9e6 - y) / geometry.EARTH_RADIUS)
    longitude = np.degrees((8.0e6 + x) / geometry.EARTH_RADIUS / np.cos(np.radians(latitude)))
    worst = 0
    for day in range(0, 16, apart):
        hours, degrees = view_geometry(longitude, latitude, day, overpass)
        seen = np.isfinite(degrees)
        angle = np.where(seen, np.rint(np.nan_to_num(degrees) + 65), 255).astype(np.uint8)[None]
        time = np.where(seen, np.rint(np.nan_to_num(hours) % 24 * 10), 255).astype(np.uint8)[None]
        hide = (x // geometry.PIXEL_SIZE + 7 * (y // geometry.PIXEL_SIZE)) % 45 < 30
        times, angles, interpolated = geometry.interpolate_along_rows(
            np.where(hide, 255, time).astype(np.uint8), np.where(hide, 255, angle).astype(np.uint8)
        )
        back = interpolated & seen
        assert back.sum() > 0.99 * (hide & seen).sum()
        error = np.abs(angles.astype(int) - angle)[back]
        # at a seam the two swaths are equally oblique: either may be taken
        other = error > 100
        assert other.mean() < 0.05
        worst = max(worst, int(error[~other].max()))
        assert np.abs(times.astype(int) - time)[back][~other].max() <= 1
    assert worst <= 1


@pytest.mark.realdata
@pytest.mark.parametrize("half", ["Day", "Night"])
def test_hidden_pixels_of_a_real_overpass_come_back_within_a_degree(realdata: Path, half: str) -> None:
    rasterio = pytest.importorskip("rasterio")

    def read(layer: str) -> NDArray[np.uint8]:
        with rasterio.open(realdata / "modis_heihe_2013001" / f"MOD11A1_2013001.{half}_{layer}.tif") as raster:
            return raster.read().astype(np.uint8)

    time, angle = read("view_time")[:, ::10], read("view_angl")[:, ::10]
    known = angle != 255
    hide = (np.arange(angle.shape[2]) + 7 * np.arange(angle.shape[1])[:, None]) % 45 < 30
    times, angles, interpolated = geometry.interpolate_along_rows(
        np.where(hide, 255, time).astype(np.uint8), np.where(hide, 255, angle).astype(np.uint8), pixel_size=710.0
    )
    back = interpolated & known
    assert back.sum() > 0.98 * (hide & known).sum()
    error = np.abs(angles.astype(int) - angle)[back]
    other = error > 100  # scattered pixels of the other swath, where the two overlap
    assert other.mean() < 0.05
    assert error[~other].max() <= 1
    assert np.abs(times.astype(int) - time)[back][~other].max() <= 1


def seams_twin(angle: NDArray[np.uint8], distance: int) -> NDArray[np.bool_]:
    near = np.zeros(angle.shape, bool)
    days, rows, width = angle.shape
    for t, y, x in np.ndindex(days, rows, width):
        row = angle[t, y].astype(int)
        gaps = [k for k in range(width) if row[k] > 130 and abs(k - x) <= distance]
        jumps = [k for k in range(1, width) if max(row[k - 1 : k + 1]) <= 130 and abs(row[k] - row[k - 1]) > 25]
        near[t, y, x] = gaps or any(k - distance <= x < k + distance for k in jumps)
    return near


@given(
    npst.arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 2), st.integers(1, 9)), elements=missing_or(0, 130)),
    st.integers(0, 4),
)
@settings(deadline=None, max_examples=60)
def test_nearness_to_seams_equals_its_numpy_twin(angle: NDArray[np.uint8], distance: int) -> None:
    np.testing.assert_array_equal(geometry.near_seams(angle, distance), seams_twin(angle, distance))


def test_below_the_satellite_the_azimuth_turns_but_no_seam_runs() -> None:
    angle = np.arange(40, 90, dtype=np.uint8).reshape(1, 1, -1)
    azimuth = np.degrees(geometry.sensor_azimuth(33.0, angle[0, 0] - 65.0, True))
    assert (np.abs(np.diff(azimuth)) > 100).sum() == 1
    assert not geometry.near_seams(angle).any()


def composed_steps(
    height: float, angle: float, hours: float, day: int, latitude: float, longitude: float, ascending: bool
) -> NDArray[np.float64]:
    zenith, azimuth = geometry.solar_position(latitude, longitude, hours, day)
    if zenith >= np.pi / 2:
        return np.full(2, np.nan)
    toward = geometry.sensor_azimuth(latitude, angle, ascending)
    moved = geometry.shadow_displacement(height, np.radians(abs(angle)), toward, zenith, azimuth)
    dx, dy = geometry.to_sinusoidal(*moved, latitude, longitude)
    return np.array([-dy, dx]) / geometry.PIXEL_SIZE


@given(
    st.floats(0, 15e3),
    st.floats(-65, 65),
    st.floats(0, 24),
    st.integers(1, 366),
    latitudes,
    longitudes,
    st.booleans(),
)
@settings(deadline=None)
def test_shadow_steps_equal_the_composition_of_their_parts(
    height: float, angle: float, hours: float, day: int, latitude: float, longitude: float, ascending: bool
) -> None:
    exact = composed_steps(height, angle, hours, day, latitude, longitude, ascending)
    steps = np.array(geometry.shadow_steps(height, angle, hours, day, latitude, longitude, ascending))
    if np.isnan(exact).any():
        assert np.isnan(steps).all()
    else:
        assert (np.abs(steps - exact) <= 0.5 + 1e-9 * np.abs(exact) + 1e-9).all()  # rounded, ties either way


def test_shadow_steps_of_the_specification() -> None:
    # h 5 km, seen from above, the sun in the south at 45°: 90°E 33°N, five rows up and five columns west
    rows, columns = geometry.shadow_steps(5000.0, 0.0, noon(298, 90.0), 298, 33.0, 90.0, [True, False])
    zenith, azimuth = geometry.solar_position(33.0, 90.0, noon(298, 90.0), 298)
    assert np.degrees([zenith, azimuth]) == pytest.approx([45.0, 180.0], abs=0.3)
    assert rows.tolist() == columns.tolist() == [-5.0, -5.0]


def test_shadow_steps_of_what_is_missing_are_missing() -> None:
    nan = np.nan
    missing = ([5e3, nan, 5e3, 5e3], [10.0, 10.0, nan, 10.0], [10.5, 10.5, 10.5, nan])
    rows, columns = geometry.shadow_steps(*missing, 15, 33.0, 90.0, True)
    assert np.isnan(rows).tolist() == np.isnan(columns).tolist() == [False, True, True, True]
    assert np.isnan(geometry.shadow_steps(5e3, 10.0, 1.5, 15, 33.0, 90.0, True)).all()  # at night
    assert np.isnan(geometry.shadow_steps(5e3, 10.0, 12.0, 172, 85.0, 90.0, True)).all()  # where no orbit reaches
    assert geometry.shadow_steps(np.full((2, 1), 5e3), np.zeros(3), 10.5, 15, 33.0, 90.0, True)[0].shape == (2, 3)


def test_wrong_views_are_named() -> None:
    stored = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"view_angle is float64 .* wanted uint8"):
        geometry.interpolate_along_rows(stored, stored.astype(float))
    with pytest.raises(ValueError, match="wanted one shape"):
        geometry.interpolate_along_rows(stored, stored[:, :1])
    with pytest.raises(ValueError, match="wanted reach >= 0"):
        geometry.interpolate_along_rows(stored, stored, reach=-1)
    with pytest.raises(ValueError, match="wanted uint8"):
        geometry.near_seams(stored[0])
    with pytest.raises(ValueError, match="distance is -1"):
        geometry.near_seams(stored, -1)
    with pytest.raises(ValueError, match="pixel_size is 0"):
        geometry.shadow_steps(1.0, 1.0, 1.0, 1, 1.0, 1.0, True, 0.0)
