"""A stored MODIS value becomes a temperature only where it is produced, precise enough and believable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from frostmap.kernels import quality


def pixels(size: int) -> st.SearchStrategy[tuple[list[int], list[int]]]:
    stored = st.one_of(st.integers(0, 65535), st.integers(10600, 17200))
    return st.tuples(
        st.lists(stored, min_size=size, max_size=size), st.lists(st.integers(0, 255), min_size=size, max_size=size)
    )


def twin(
    lst: NDArray[np.uint16], qc: NDArray[np.uint8], scale: float, lst_class: int, emissivity_class: int
) -> NDArray[np.float64]:
    celsius = lst * scale - 273.15
    kept = (lst >= 7500) & ((qc & 3) <= 1) & (qc >> 6 <= lst_class) & (qc >> 4 & 3 <= emissivity_class)
    return np.where(kept & (celsius >= -60) & (celsius <= 70), celsius, np.nan)


@given(pixels(40), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.02, 0.01]))
@settings(deadline=None, max_examples=50)
def test_decoding_equals_its_numpy_twin(
    values: tuple[list[int], list[int]], lst_class: int, emissivity_class: int, scale: float
) -> None:
    lst, qc = np.array(values[0], np.uint16), np.array(values[1], np.uint8)
    decoded = quality.land_surface_temperature(lst, qc, scale, lst_class, emissivity_class)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, twin(lst, qc, scale, lst_class, emissivity_class), atol=5e-5)


def test_published_example_of_mod11a1() -> None:
    # 14000 x 0.02 = 280 K; user guide of MOD11A1 version 6.1, doi:10.5067/MODIS/MOD11A1.061
    lst = np.full((2, 2), 14000, np.uint16)
    np.testing.assert_allclose(quality.land_surface_temperature(lst, np.zeros((2, 2), np.uint8)), 6.85, atol=5e-5)


def test_quality_bits_of_the_product_table() -> None:
    qc = np.array([0, 65, 2, 3, 129], np.uint8)
    good, other, cloud, missing = quality.GOOD, quality.OTHER_QUALITY, quality.CLOUD, quality.NOT_PRODUCED
    assert quality.mandatory_quality(qc).tolist() == [good, other, cloud, missing, other]
    assert quality.lst_error_class(qc).tolist() == [0, 1, 0, 0, 2]
    assert quality.emissivity_error_class(np.array([0, 16, 32, 48, 255], np.uint8)).tolist() == [0, 1, 2, 3, 3]
    assert int(quality.mandatory_quality(np.uint8(66))) == quality.CLOUD


def test_times_and_angles_decode_and_their_fills_do_not() -> None:
    hours = quality.view_hours(np.array([[0, 105], [240, 255]], np.uint8))
    np.testing.assert_allclose(hours, [[0.0, 10.5], [24.0, np.nan]], rtol=1e-6)
    assert np.isnan(quality.view_hours(np.array([241], np.uint8))).all()
    angles = quality.view_angle_degrees(np.array([0, 65, 130, 131, 255], np.uint8))
    np.testing.assert_array_equal(angles, np.array([-65, 0, 65, np.nan, np.nan], np.float32))
    assert hours.dtype == angles.dtype == np.float32


def test_good_quality_bits_do_not_save_a_fill_value() -> None:
    lst = np.array([0, 7499, 10657, 10658, 17157, 17158, 65535], np.uint16)
    kept = np.isfinite(quality.land_surface_temperature(lst, np.zeros(7, np.uint8)))
    assert kept.tolist() == [False, False, False, True, True, False, False]


@pytest.mark.parametrize(("qc", "kept"), [(0b00000000, 1), (0b01000001, 1), (0b10000001, 0), (0b00110001, 0), (2, 0)])
def test_default_limits_are_two_kelvin_and_four_hundredths(qc: int, kept: int) -> None:
    decoded = quality.land_surface_temperature(np.array([14000], np.uint16), np.array([qc], np.uint8))
    assert np.isfinite(decoded).sum() == kept


def test_shapes_are_kept_and_must_agree() -> None:
    lst = np.full((2, 3, 4, 5), 14000, np.uint16)
    assert quality.land_surface_temperature(lst, np.zeros(lst.shape, np.uint8)).shape == lst.shape
    with pytest.raises(ValueError, match="must be the same"):
        quality.land_surface_temperature(lst, np.zeros(5, np.uint8))


@pytest.mark.parametrize("limits", [(4, 0), (0, -1)])
def test_error_classes_are_0_to_3(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="classes are 0, 1, 2 and 3"):
        quality.quality_limits(*limits)


def test_impossible_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        quality.stored_range(0.0)
    with pytest.raises(ValueError, match="no stored value"):
        quality.stored_range(1.0)


def state_twin(lst: NDArray[np.uint16], qc: NDArray[np.uint8], lst_class: int, emissivity_class: int) -> list[int]:
    kept = np.isfinite(twin(lst, qc, 0.02, lst_class, emissivity_class))
    lost = np.select([qc & 3 == 2, (qc & 3 == 3) | (lst == 0)], [4, 5], 6)
    states: list[int] = np.where(kept, qc >> 6, lost).tolist()
    return states


@given(pixels(40), st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_states_equal_their_numpy_twin(
    values: tuple[list[int], list[int]], lst_class: int, emissivity_class: int
) -> None:
    lst, qc = np.array(values[0], np.uint16), np.array(values[1], np.uint8)
    lst[::5] = 0
    state = quality.observation_state(lst, qc, 0.02, lst_class, emissivity_class)
    assert state.dtype == np.uint8
    assert state.tolist() == state_twin(lst, qc, lst_class, emissivity_class)


@given(pixels(40))
@settings(deadline=None, max_examples=30)
def test_what_is_kept_is_what_becomes_a_temperature(values: tuple[list[int], list[int]]) -> None:
    lst, qc = np.array(values[0], np.uint16), np.array(values[1], np.uint8)
    kept = quality.observation_state(lst, qc) <= quality.OBSERVED
    np.testing.assert_array_equal(kept, np.isfinite(quality.land_surface_temperature(lst, qc)))


def test_every_reason_not_to_keep_an_observation_has_its_state() -> None:
    cases = {
        (14000, 0): 0,
        (14000, 65): 1,
        (0, 2): quality.CLOUDY,
        (0, 3): quality.UNSEEN,
        (0, 0): quality.UNSEEN,  # a fill value with good bits
        (7000, 0): quality.DOUBTFUL,
        (20000, 0): quality.DOUBTFUL,
        (14000, 129): quality.DOUBTFUL,
        (14000, 49): quality.DOUBTFUL,
    }
    lst, qc = np.array([key[0] for key in cases], np.uint16), np.array([key[1] for key in cases], np.uint8)
    assert quality.observation_state(lst, qc).tolist() == list(cases.values())
    with pytest.raises(ValueError, match="must be the same"):
        quality.observation_state(lst, qc[:2])


def screen_twin(lst: NDArray[np.uint16], night: bool, reach: int, minimum: int) -> NDArray[np.bool_]:
    rejected = np.zeros(lst.shape, bool)
    for t, y, x in np.argwhere(lst > 0):
        near = lst[max(t - reach, 0) : t + reach + 1, y, x].astype(float)
        near = near[near > 0]
        median = np.median(near)
        s = max(1.4826 * np.median(np.abs(near - median)), 75.0)
        below = median - lst[t, y, x]
        rejected[t, y, x] = len(near) >= minimum and (below > 4 * s if night else abs(below) > 5 * s)
    return rejected


series = npst.arrays(
    np.uint16,
    st.tuples(st.integers(1, 24), st.just(1), st.integers(1, 2)),
    elements=st.one_of(st.just(0), st.integers(13900, 14100), st.integers(13000, 15000), st.integers(0, 65535)),
)


@given(series, st.booleans(), st.integers(0, 9), st.integers(1, 7))
@settings(deadline=None, max_examples=120)
def test_the_screen_equals_its_numpy_twin(lst: NDArray[np.uint16], night: bool, reach: int, minimum: int) -> None:
    rejected = quality.residual_clouds(lst, night, reach=reach, minimum=minimum)
    np.testing.assert_array_equal(rejected, screen_twin(lst, night, reach, minimum))


@given(series, st.booleans(), st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None, max_examples=40)
def test_days_before_and_after_are_compared_with_and_not_judged(
    lst: NDArray[np.uint16], night: bool, before: int, after: int
) -> None:
    before = min(before, len(lst))
    after = min(after, len(lst) - before)
    whole = quality.residual_clouds(lst, night)
    part = quality.residual_clouds(lst, night, before=before, after=after)
    np.testing.assert_array_equal(part, whole[before : len(lst) - after])


@given(series)
@settings(deadline=None, max_examples=40)
def test_at_night_only_the_cold_side_is_rejected_and_gaps_never_are(lst: NDArray[np.uint16]) -> None:
    night, day = quality.residual_clouds(lst, True), quality.residual_clouds(lst, False)
    assert not night[lst == 0].any()
    assert not day[lst == 0].any()
    warmest = lst == lst.max(axis=0)
    assert not night[warmest].any()


def test_the_screen_by_hand() -> None:
    # 14000, 14200, 14400, 14600 and the one in question: the median is 14200, the deviations of the others 200, 0, 200,
    # 400, so MAD is 200 and s = 296.52 counts; 4 s = 1186.08 and 5 s = 1482.6.
    for night, last_kept in ((True, 14200 - 1186), (False, 14200 - 1482)):
        for value, rejected in ((last_kept, False), (last_kept - 1, True)):
            lst = np.array([14000, 14400, value, 14600, 14200], np.uint16).reshape(5, 1, 1)
            assert quality.residual_clouds(lst, night).ravel().tolist() == [False, False, rejected, False, False]


def test_at_least_five_observations_condemn_one_and_a_small_spread_is_not_believed() -> None:
    lst = np.full((17, 1, 2), 14000, np.uint16)
    lst[8] = 14000 - 301, 14000 - 300  # more than 4 x 1.5 K, and exactly that
    assert quality.residual_clouds(lst, True)[8].tolist() == [[True, False]]
    lst[4:8] = lst[9:] = 0
    assert np.flatnonzero(quality.residual_clouds(lst, True)).tolist() == [16]
    lst[0] = 0
    assert not quality.residual_clouds(lst, True).any()


def test_pixels_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(5)
    lst = rng.integers(13000, 15000, (6, 1, 700)).astype(np.uint16)
    lst[rng.random(lst.shape) < 0.1] = 0
    alone = np.concatenate([quality.residual_clouds(part, False) for part in np.array_split(lst, 3, axis=2)], axis=2)
    np.testing.assert_array_equal(quality.residual_clouds(lst, False), alone)


def test_the_screen_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="wanted uint16"):
        quality.residual_clouds(np.zeros((3, 1, 1), np.float32), True)
    with pytest.raises(ValueError, match="minimum >= 1"):
        quality.residual_clouds(np.zeros((3, 1, 1), np.uint16), True, minimum=0)
    with pytest.raises(ValueError, match="together no more"):
        quality.residual_clouds(np.zeros((3, 1, 1), np.uint16), True, before=2, after=2)
