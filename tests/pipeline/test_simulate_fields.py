"""The simulated plateau is one pure function of seed, place and time, near the real one where that can be told.

Cutting it differently changes no bit; relief, climate, soil and truth lie in the ranges that are known of the plateau.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.catalogs.grids import parse_tile, to_geographic
from frostmap.kernels.view_geometry import from_sinusoidal, sensor_azimuth, solar_position, to_sinusoidal
from frostmap.pipeline.simulate import Simulation, truth
from frostmap.pipeline.simulate.climate import (
    covariates,
    ground_climate,
    ground_temperature,
    landscape,
    soil_parameter,
)
from frostmap.pipeline.simulate.clouds import displaced
from frostmap.pipeline.simulate.diurnal import day_course, day_course_table, interpolated_course
from frostmap.pipeline.simulate.noise import field_seed, fractal, noise_3d, uniform_field
from frostmap.pipeline.simulate.orbits import (
    ALTITUDE_KM,
    ASCENDING,
    EARTH_RADIUS_KM,
    OVERPASSES,
    REPEAT_DAYS,
    view_azimuth,
    view_geometry,
)
from frostmap.pipeline.simulate.outline import inside, plateau_outline
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.relief import elevation, relief_table
from frostmap.pipeline.simulate.surface import Scene, day_number, observed_days, scene, skin_day, sun_position

SEED = 2020
PLATEAU = Window(24, 5 * 24, 23 * 24, 2 * 24, 4 * 24)
"""h23 to h26, v05 and v06, in pixels of 46 km."""


def observed(a_scene: Scene, date: dt.date) -> dict[str, dict[str, np.ndarray]]:
    ((_, products),) = observed_days(a_scene, date, date)
    return products  # type: ignore[return-value]


def test_a_window_is_the_crop_of_the_whole() -> None:
    whole, part = Window(40, 200, 1000, 40, 40), Window(40, 211, 1009, 13, 22)
    crop = (slice(11, 24), slice(9, 31))
    large, small = landscape(SEED, whole.places()), landscape(SEED, part.places())
    np.testing.assert_array_equal(large.elevation[crop], small.elevation)
    date = dt.date(2020, 7, 1)
    for product, layers in observed(scene(SEED, part, 2020), date).items():
        for name, values in observed(scene(SEED, whole, 2020), date)[product].items():
            np.testing.assert_array_equal(values[crop], layers[name], err_msg=name)
    one, other = (truth(SEED, window.places(), (2020,)) for window in (whole, part))
    np.testing.assert_array_equal(one.ddf[crop], other.ddf)


def test_a_tile_is_the_same_in_any_window_and_a_day_in_any_run_of_days() -> None:
    tile = Window.of_tile(parse_tile("h25v05"), 24)
    row, column = tile.row - PLATEAU.row, tile.column - PLATEAU.column
    crop = (slice(row, row + 24), slice(column, column + 24))
    run = dict(observed_days(scene(SEED, tile, 2010), dt.date(2010, 2, 27), dt.date(2010, 3, 3)))
    date = dt.date(2010, 3, 2)
    for product, layers in observed(scene(SEED, PLATEAU, 2010), date).items():
        for name, values in layers.items():
            np.testing.assert_array_equal(values[crop], run[date][product][name], err_msg=name)


def test_another_seed_is_another_plateau() -> None:
    window = Window.of_tile(parse_tile("h25v05"), 8)
    first, second = (landscape(seed, window.places()) for seed in (1, 2))
    assert not np.any(first.sand == second.sand)
    assert float(np.abs(first.elevation - second.elevation).mean()) < 300.0  # the coarse relief is the real one


@settings(max_examples=25, deadline=None)
@given(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0, 9000))
def test_noise_is_continuous_and_bounded(x: float, y: float, z: float) -> None:
    seed = field_seed(3, "test")
    here = noise_3d(x, y, z, seed)
    assert abs(here) < 4.0
    for step in ((1e-4, 0, 0), (0, 1e-4, 0), (0, 0, 1e-4)):
        assert abs(noise_3d(x + step[0], y + step[1], z + step[2], seed) - here) < 2e-3


def test_noise_has_unit_variance_and_hashes_are_uniform() -> None:
    x, y = np.meshgrid(np.arange(700.0), np.arange(700.0))
    values = fractal(x, y, field_seed(1, "spread"), 9.0, 4)
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1.0, abs=0.05)
    row, column = np.meshgrid(np.arange(500), np.arange(500))
    counts, _ = np.histogram(uniform_field(row, column, 4, field_seed(1, "flat")), bins=20, range=(0, 1))
    assert counts.sum() == 250_000
    assert np.abs(counts - 12_500).max() < 600


def test_relief_is_etopo5_at_ten_arc_minutes() -> None:
    table, roughness = relief_table()
    assert table.shape == roughness.shape == (114, 204)
    row, column = np.meshgrid(np.arange(20, 60), np.arange(40, 120), indexing="ij")
    places = Places(72.042334 + column / 6.0, 42.958333 - row / 6.0, 40.0)  # finer relief averaged out
    np.testing.assert_allclose(elevation(SEED, places), table[20:60, 40:120], atol=1e-3)


@pytest.mark.realdata
def test_the_embedded_relief_is_the_mean_of_the_real_one(realdata: object) -> None:
    import rasterio

    with rasterio.open(f"{realdata}/terrain/etopo5_qtp_24-43N_72-106E.tif") as file:
        real = file.read(1).astype(float)[:228]
    means = real.reshape(114, 2, 204, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(relief_table()[0], means, atol=0.51)


def test_truth_is_made_of_the_daily_ground_temperature() -> None:
    window = Window(16, 5 * 16 + 4, 25 * 16 + 2, 5, 6)
    places = window.places()
    land = landscape(SEED, places)
    true = truth(SEED, places, (2019, 2020))
    freezing, thawing = np.zeros((2, 5, 6))
    for year in (2019, 2020):
        climate = ground_climate(SEED, land, covariates(SEED, land, year + 0.5))
        first = day_number(dt.date(year, 1, 1))
        series = ground_temperature(climate, first, day_number(dt.date(year + 1, 1, 1)) - first)
        freezing -= np.minimum(series, 0.0).sum(axis=0) / 2.0
        thawing += np.maximum(series, 0.0).sum(axis=0) / 2.0
    known = np.isfinite(true.ddf)
    assert known.any()
    np.testing.assert_allclose(true.ddf[known], freezing[known], rtol=1e-5)
    np.testing.assert_allclose(true.ddt[known], thawing[known], rtol=1e-5)
    land_only = known & (true.frozen_ground < 3)
    permafrost = true.ddf > true.e.astype(float) ** 2 * true.ddt
    np.testing.assert_array_equal(permafrost[land_only], true.frozen_ground[land_only] == 1)


def test_the_plateau_is_plausible() -> None:
    places = PLATEAU.places()
    land = landscape(SEED, places)
    now, then = (truth(SEED, places, years, land) for years in ((2019, 2020), (2009, 2010)))
    within = np.isfinite(now.e)
    np.testing.assert_array_equal(within, inside(places.longitude, places.latitude))
    assert 2.4 < plateau_outline().area * 111.2**2 * np.cos(np.radians(33.0)) / 1e6 < 3.0  # 10⁶ km²
    share = {code: float((then.frozen_ground[within] == code).mean()) for code in range(1, 6)}
    assert 0.30 < share[1] < 0.48
    assert 0.003 < share[4] < 0.035
    assert 0.003 < share[5] < 0.035
    assert np.nanmean(then.e) == pytest.approx(0.90, abs=0.03)
    assert np.nanstd(then.e) == pytest.approx(0.09, abs=0.02)
    assert 0.6 <= np.nanmin(then.e) <= np.nanmax(then.e) <= 1.25
    assert 0 <= np.nanmin(then.ddf) <= np.nanmax(then.ddf) < 4500
    assert 0 <= np.nanmin(then.ddt) <= np.nanmax(then.ddt) < 8500
    # epochs differ by warming and by what drives E
    assert np.nanmean(now.ddt - then.ddt) > 20.0
    assert np.nanstd(now.e - then.e) > 0.003
    mean = covariates(SEED, land, 2010.0)
    assert 200 < mean.precipitation[within].mean() < 500
    assert mean.ndvi.max() < 0.7


def test_e_follows_its_covariates() -> None:
    places = Window(24, 5 * 24, 25 * 24, 24, 24).places()
    land = landscape(SEED, places)
    dynamic = covariates(SEED, land, 2010.0)
    e = soil_parameter(SEED, land, dynamic)
    assert np.corrcoef(e.ravel(), land.sand.ravel())[0, 1] > 0.3
    assert np.corrcoef(e.ravel(), np.log(dynamic.precipitation).ravel())[0, 1] < -0.3


@pytest.mark.parametrize(
    ("name", "longitude", "latitude", "height", "freezing", "thawing"),
    [
        # long-term annual 0-cm ground indices [°C d] of weather stations
        ("Wudaoliang", 93.08, 35.22, 4612.0, 1709, 1446),
        ("Lhasa", 91.13, 29.67, 3650.0, 90, 4175),
        ("Gaize", 84.42, 32.15, 4415.0, 1106, 2647),
        ("Maduo", 98.22, 34.92, 4272.0, 1472, 1723),
        ("Yushu", 97.02, 33.02, 3681.0, 707, 2762),
    ],
)
def test_degree_days_come_near_those_of_stations(
    name: str, longitude: float, latitude: float, height: float, freezing: int, thawing: int
) -> None:
    import dataclasses

    land = landscape(SEED, Places(np.array([longitude]), np.array([latitude]), 5.0))
    land = dataclasses.replace(land, elevation=np.array([height]))  # the station's own, not the relief table's
    sums = np.zeros(2)
    for year in range(2001, 2006):
        climate = ground_climate(SEED, land, covariates(SEED, land, year + 0.5))
        first = day_number(dt.date(year, 1, 1))
        series = ground_temperature(climate, first, 365)[:, 0]
        sums += np.array([-np.minimum(series, 0).sum(), np.maximum(series, 0).sum()]) / 5.0
    # 1 to 2 K of local climate are beyond a model of height, latitude and longitude
    assert (sums[1] - sums[0]) / 365.0 == pytest.approx((thawing - freezing) / 365.0, abs=2.2), name


def test_the_day_is_a_cosine_and_the_night_a_decay() -> None:
    hours = np.arange(0.0, 24.0, 0.05)
    for day_length in (9.5, 12.0, 14.5):
        course = day_course(hours, day_length)
        assert hours[course.argmax()] == pytest.approx(13.2, abs=0.06)
        assert hours[course.argmin()] == pytest.approx(12.0 - day_length / 2.0, abs=0.1)
        assert np.ptp(course) == pytest.approx(1.0, abs=0.01)
        assert abs(course.mean()) < 1e-3
        assert np.abs(np.diff(course)).max() < 0.02  # no jump, at sunrise or where the decay begins
        looked_up = [interpolated_course(day_course_table(), day_length, hour) for hour in hours]
        np.testing.assert_allclose(looked_up, course, atol=1e-2)  # the table rounds the kink at sunrise


def test_one_harmonic_through_the_overpasses_is_biased_warm() -> None:
    times = np.array([10.9, 13.2, 22.1, 2.0])
    basis = np.stack([np.ones(4), np.cos(np.pi * times / 12.0), np.sin(np.pi * times / 12.0)], axis=1)
    bias = [float(np.linalg.lstsq(basis, 10.0 * day_course(times, length))[0][0]) for length in (9.5, 12.0, 14.5)]
    assert bias[0] > bias[1] > bias[2]  # larger for short days
    assert 0.3 < bias[2] < bias[0] < 1.4  # K, for a day amplitude of 10 K


def test_the_ground_is_warmer_than_the_skin_in_winter_and_cooler_in_summer() -> None:
    a_scene = scene(SEED, PLATEAU, 2020)
    for month, low, high in ((1, -2.2, -0.8), (7, 0.4, 3.5)):
        day = day_number(dt.date(2020, month, 15))
        skin, swing = skin_day(a_scene.climate, day)
        ground = ground_temperature(a_scene.climate, day, 1)[0].ravel()
        within = inside(PLATEAU.places().longitude, PLATEAU.places().latitude).ravel()
        assert low < float((skin - ground)[within].mean()) < high
        assert 5.0 <= swing.min() <= swing.max() <= 32.0


# Table of overpasses over the plateau on 2010-01-01 (MOD11A1, MYD11A1; local mean solar hours): 5 %, median, 95 %
OVERPASS_HOURS = {
    "terra_day": (10.2, 10.9, 11.6),
    "aqua_day": (12.5, 13.2, 14.0),
    "terra_night": (21.4, 22.1, 22.9),
    "aqua_night": (25.3, 26.0, 26.7),
}


@pytest.fixture(scope="module")
def orbit_sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    longitude, latitude = np.meshgrid(np.linspace(74.0, 104.0, 100), np.linspace(27.0, 39.0, 50))
    hours, angles = np.empty((2, 4, REPEAT_DAYS, 50, 100), np.float32)
    for which in range(4):
        for day in range(REPEAT_DAYS):
            hours[which, day], angles[which, day] = view_geometry(longitude, latitude, 3653 + day, which)
    return hours, angles, latitude


@pytest.mark.parametrize("which", range(4))
def test_overpass_times_are_those_of_the_satellites(
    which: int, orbit_sample: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    hours, angles, _ = orbit_sample
    found = np.nanpercentile(hours[which], (5, 50, 95))
    np.testing.assert_allclose(found, OVERPASS_HOURS[OVERPASSES[which]], atol=0.2)
    assert np.isnan(hours[which]).mean() < 0.02
    assert 60.0 < np.nanmax(np.abs(angles[which])) < 66.0
    assert abs(float(np.nanmedian(angles[which]))) < 2.0


def test_geometry_repeats_after_sixteen_days_and_not_before() -> None:
    longitude, latitude = np.meshgrid(np.linspace(74.0, 104.0, 40), np.linspace(27.0, 39.0, 20))
    for which in range(4):
        first, angle = view_geometry(longitude, latitude, 7000, which)
        again, angle_again = view_geometry(longitude, latitude, 7016, which)
        np.testing.assert_allclose(first, again, atol=1e-3)
        np.testing.assert_allclose(angle, angle_again, atol=0.05)
        for days in (1, 2, 7, 8):
            other = view_geometry(longitude, latitude, 7000 + days, which)[1]
            assert float(np.nanmean(np.abs(other - angle))) > 1.0


def test_a_place_east_of_the_track_sees_the_satellite_in_the_west(
    orbit_sample: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    hours, angles, _ = orbit_sample
    # within a swath local time grows eastwards, and so does the angle: negative means sensor east of the pixel
    east, rise = np.diff(angles, axis=-1), np.diff(hours, axis=-1)
    same_swath = np.isfinite(east) & (np.abs(east) < 20.0)
    assert (np.sign(east[same_swath]) == np.sign(rise[same_swath])).all()
    assert EARTH_RADIUS_KM / ALTITUDE_KM > 9.0


def test_directions_agree_with_the_kernels() -> None:
    for latitude in (27.0, 33.0, 39.0):
        for angle in (-40.0, 40.0):
            for ascending in ASCENDING:
                ours = view_azimuth(latitude, angle, bool(ascending)) % (2 * np.pi)
                theirs = float(sensor_azimuth(latitude, angle, ascending))
                assert np.cos(ours - theirs) > np.cos(np.radians(1.5))
    zenith, azimuth = sun_position(33.0, 10.5, np.radians(23.45), -1.5 / 60.0)
    theirs_zenith, theirs_azimuth = solar_position(33.0, 90.0, 10.5, 172)
    assert zenith == pytest.approx(float(theirs_zenith), abs=0.002)
    assert azimuth % (2 * np.pi) == pytest.approx(float(theirs_azimuth), abs=0.005)


def test_a_ray_is_displaced_as_on_the_sheared_grid() -> None:
    longitude, latitude = displaced(90.0, 33.0, 5.0, np.radians(45.0), np.radians(30.0))
    window = Window(1200, 6840, 32400, 1, 1)
    assert window.pixel_metres == pytest.approx(926.625433)
    east, north = 5000.0 * np.sin(np.radians(30.0)), 5000.0 * np.cos(np.radians(30.0))
    dx, dy = to_sinusoidal(east, north, 33.0, 90.0)
    radius = 6371007.181
    x, y = radius * np.radians(90.0) * np.cos(np.radians(33.0)), radius * np.radians(33.0)
    expected = to_geographic(x + dx, y + dy)
    np.testing.assert_allclose([longitude, latitude], [float(expected[0]), float(expected[1])], atol=2e-4)
    np.testing.assert_allclose(from_sinusoidal(dx, dy, 33.0, 90.0), (east, north), atol=1e-6)


@pytest.fixture(scope="module")
def sampled_year() -> dict[str, np.ndarray]:
    """Every ninth day of 2020 over the plateau: (day, overpass, pixel inside the outline)."""
    a_scene = scene(SEED, PLATEAU, 2020)
    within = inside(PLATEAU.places().longitude, PLATEAU.places().latitude)
    layers: dict[str, list[np.ndarray]] = {"lst": [], "qc": [], "time": [], "angle": [], "month": []}
    for day in range(0, 366, 9):
        date = dt.date(2020, 1, 1) + dt.timedelta(days=day)
        products = observed(a_scene, date)
        order = [("MOD11A1", "Day"), ("MYD11A1", "Day"), ("MOD11A1", "Night"), ("MYD11A1", "Night")]
        for key, name in (("lst", "LST_{}_1km"), ("qc", "QC_{}"), ("time", "{}_view_time"), ("angle", "{}_view_angl")):
            layers[key].append(np.stack([products[p][name.format(half)][within] for p, half in order]))
        layers["month"].append(np.array(date.month))
    return {key: np.stack(values) for key, values in layers.items()}


def test_about_half_of_all_observations_are_lost_most_in_the_monsoon(sampled_year: dict[str, np.ndarray]) -> None:
    lost = sampled_year["lst"] == 0
    assert 0.42 < lost.mean() < 0.58
    summer, winter = (np.isin(sampled_year["month"], months) for months in ((6, 7, 8, 9), (12, 1, 2)))
    assert lost[summer].mean() > lost[winter].mean() + 0.08
    assert lost[:, :2].mean() > lost[:, 2:].mean()  # nights are clearer
    longitude = PLATEAU.places().longitude[inside(PLATEAU.places().longitude, PLATEAU.places().latitude)]
    assert lost[summer][..., longitude > 95].mean() > lost[winter][..., longitude < 85].mean() + 0.12


def test_quality_bits_say_what_happened(sampled_year: dict[str, np.ndarray]) -> None:
    lst, quality = sampled_year["lst"], sampled_year["qc"]
    mandatory = quality & 3
    np.testing.assert_array_equal(lst == 0, mandatory >= 2)
    np.testing.assert_array_equal(sampled_year["time"] == 255, lst == 0)  # geometry is fill wherever LST is
    np.testing.assert_array_equal(sampled_year["angle"] == 255, lst == 0)
    seen = lst != 0
    assert lst[seen].min() >= 7500
    assert sampled_year["time"][seen].max() <= 240
    assert sampled_year["angle"][seen].max() <= 130
    assert (mandatory[lst == 0] == 2).mean() > 0.97  # cloud, not swath gaps
    assert (quality[seen][mandatory[seen] == 0] == 0).all()  # good means small errors
    error = (quality >> 6) & 3
    oblique = np.abs(sampled_year["angle"].astype(int) - 65) > 50
    assert error[seen & oblique].mean() > error[seen & ~oblique].mean() + 0.2
    assert 0.9 < (error[seen] <= 1).mean() < 1.0


def test_days_are_warmer_than_nights_and_winters_cold(sampled_year: dict[str, np.ndarray]) -> None:
    celsius = np.where(sampled_year["lst"] == 0, np.nan, sampled_year["lst"] * 0.02 - 273.15)
    winter = np.isin(sampled_year["month"], (12, 1, 2))
    terra_day, aqua_day, terra_night, aqua_night = np.nanmean(celsius[winter], axis=(0, 2))
    assert aqua_day > terra_day > terra_night > aqua_night
    # Aqua by day, 2010-01-01, over the plateau: 1 % -13.8, median 2.9, 99 % 18.7 °C
    assert -8.0 < np.nanmedian(celsius[winter][:, 1]) < 8.0
    assert np.nanmin(celsius) > -70.0
    assert np.nanmax(celsius) < 75.0


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="h99v99"):
        Simulation(tiles=("h99v99",))
    with pytest.raises(ValueError, match="overlap"):
        Simulation(training_years=(2010,), target_years=(2010,))
    with pytest.raises(ValueError, match="twice"):
        Simulation(tiles=("h25v05", "h25v05"))
    with pytest.raises(ValueError, match="extra"):
        Simulation(colour="blue")  # type: ignore[call-arg]
    assert Simulation().epochs == {"2010": (2009, 2010), "2020": (2019, 2020)}
