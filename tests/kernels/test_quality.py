"""A stored MODIS value becomes a temperature only where it is produced, precise enough and believable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
