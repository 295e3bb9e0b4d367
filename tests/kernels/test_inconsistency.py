"""Every pixel where two maps have ground agrees or not, and in one way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostmap.kernels.agreement import BinaryCounts, class_kappa, table_kappa
from frostmap.kernels.inconsistency import BOTH, FIRST_ONLY, NEITHER, NOT_COMPARED, SECOND_ONLY, kinds_of_agreement

gentle = settings(deadline=None, max_examples=50)
maps = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([1, 2, 3, 4, 5, 0, 255]))


@gentle
@given(first=maps, second=maps)
def test_kinds_are_those_of_the_plain_twin_and_turn_with_the_maps(first, second):
    ground = np.isin(first, (1, 2, 3)) & np.isin(second, (1, 2, 3))
    twin = np.select([(first == 1) & (second == 1), first == 1, second == 1], [BOTH, FIRST_ONLY, SECOND_ONLY], NEITHER)
    found = kinds_of_agreement(first, second)
    np.testing.assert_array_equal(found, np.where(ground, twin, NOT_COMPARED))
    turned = np.array([NEITHER, BOTH, SECOND_ONLY, FIRST_ONLY])[found % 4]
    np.testing.assert_array_equal(kinds_of_agreement(second, first), np.where(ground, turned, NOT_COMPARED))
    assert np.isin(kinds_of_agreement(first, first), (NEITHER, BOTH, NOT_COMPARED)).all()


@gentle
@given(first=maps, second=maps, area=st.floats(0.01, 100))
def test_kappa_of_areas_is_that_of_counts_where_pixels_are_alike(first, second, area):
    table = [[np.count_nonzero((first == a) & (second == b)) for b in (1, 2, 3)] for a in (1, 2, 3)]
    assert table_kappa(area * np.array(table, float)) == pytest.approx(
        class_kappa(first, second, (1, 2, 3)), nan_ok=True
    )


def test_one_class_alone_has_no_kappa_whatever_its_area():
    for area in (1.0, 0.1, 77.58873818623715 * 8, 1 / 3):
        assert np.isnan(table_kappa(np.diag([area, 0.0, 0.0])))
        assert table_kappa(np.array([[0.0, area], [0.0, 0.0]])) == 0


@gentle
@given(cells=st.lists(st.integers(0, 50), min_size=4, max_size=4))
def test_kappa_of_a_table_is_that_of_its_counts(cells):
    tp, fn, fp, tn = cells
    expected = BinaryCounts(tp, fn, fp, tn).kappa
    assert table_kappa(np.array([[tp, fn], [fp, tn]], float)) == pytest.approx(expected, nan_ok=True)


def test_maps_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="wanted one shape"):
        kinds_of_agreement(np.ones((2, 3), np.uint8), np.ones((3, 2), np.uint8))
