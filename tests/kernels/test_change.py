"""What one class lost another gained, and every change of state is forcing plus soil."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostmap.kernels import change
from frostmap.kernels.frost_number import frost_number, frozen_ground

REFERENCE = Path(__file__).parents[1] / "reference"
TABLE3 = pd.read_csv(REFERENCE / "chen_nan_table3.csv", comment="#", index_col="class")
gentle = settings(deadline=None, max_examples=40)
maps = hnp.arrays(np.uint8, (5, 6), elements=st.sampled_from([1, 2, 3, 4, 5, 255]))
degree_days = hnp.arrays(np.float32, (3, 4), elements=st.floats(1, 6000, width=32))
soil = hnp.arrays(np.float32, (3, 4), elements=st.floats(0.5, 1.5, width=32))


@gentle
@given(before=maps, after=maps)
def test_transitions_keep_the_area_of_cells_valid_in_both(before, after):
    area = np.linspace(0.7, 0.9, 30).reshape(5, 6)
    matrix = change.transition_matrix(before, after, area)
    valid = (before != 255) & (after != 255)
    assert matrix.sum() == pytest.approx(area[valid].sum())
    for k in range(5):
        assert matrix[k].sum() == pytest.approx(area[valid & (before == k + 1)].sum())
        assert matrix[:, k].sum() == pytest.approx(area[valid & (after == k + 1)].sum())
    np.testing.assert_allclose(change.transition_matrix(after, before, area), matrix.T)
    assert change.changed_area(matrix) == pytest.approx(area[valid & (before != after)].sum(), abs=1e-9)


@gentle
@given(before=maps, after=maps)
def test_transitions_are_those_of_the_plain_twin(before, after):
    twin = np.zeros((5, 5))
    for old, new in zip(before.ravel(), after.ravel(), strict=True):
        if old != 255 and new != 255:
            twin[old - 1, new - 1] += 0.5
    np.testing.assert_array_equal(change.transition_matrix(before, after, 0.5), twin)


@gentle
@given(ddf=st.tuples(degree_days, degree_days), ddt=st.tuples(degree_days, degree_days), e=st.tuples(soil, soil))
def test_the_change_of_z_is_forcing_plus_soil(ddf, ddt, e):
    parts = change.frozen_ground_change(ddf[0], ddt[0], e[0], ddf[1], ddt[1], e[1])
    z = [
        np.log(f.astype(float)) - np.log(t.astype(float)) - 2 * np.log(s.astype(float))
        for f, t, s in zip(ddf, ddt, e, strict=True)
    ]
    np.testing.assert_allclose(parts.total, z[1] - z[0], atol=3e-5)
    np.testing.assert_array_equal(parts.total, parts.forcing + parts.soil)
    np.testing.assert_array_equal(parts.forcing, parts.freezing + parts.thawing)
    assert parts.total.dtype == np.float32


@gentle
@given(ddf=degree_days, ddt=degree_days, e=st.tuples(soil, soil))
def test_ground_whose_z_does_not_fall_stays_permafrost(ddf, ddt, e):
    colder = change.frozen_ground_change(ddf, ddt, e[0], 1.5 * ddf, ddt, e[1]).total
    stayed = frozen_ground(1.5 * ddf, ddt, e[1])[(frozen_ground(ddf, ddt, e[0]) == 1) & (colder > 1e-3)]
    assert (stayed == 1).all()


def test_one_input_changes_one_part_and_a_nan_only_its_own():
    parts = change.frozen_ground_change([1700.0, 1700.0], 1450.0, 0.9, [1700.0, np.nan], 1450.0, 0.979)
    np.testing.assert_array_equal(parts.thawing, 0)
    np.testing.assert_allclose(parts.soil, -2 * np.log(0.979 / 0.9))
    np.testing.assert_array_equal(np.isnan(parts.total), [False, True])
    assert change.frozen_ground_change(0.0, 900.0, 1.0, 0.5, 900.0, 1.0).freezing == 0.0  # both count as 1


def test_table_3_recomputed():
    before, after = TABLE3["area_2010"].to_numpy(), TABLE3["area_2020"].to_numpy()
    assert 1e4 * before.sum() == pytest.approx(2.6379e6)
    assert 1e4 * after.sum() == pytest.approx(2.6379e6)
    found = change.area_change(before, after)
    assert found.difference.sum() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.difference, [-4.8, 1.9, 2.43, -0.33, 0.80], atol=1e-9)
    np.testing.assert_allclose(found.points, [-1.820, 0.720, 0.921, -0.125, 0.303], atol=5e-4)
    np.testing.assert_allclose(found.relative, [-4.42, 1.31, 108.5, -8.1, 19.2], atol=0.05)
    assert round(found.relative[0], 2) == -4.42  # the printed "1.82 % decrease" is percentage points
    assert round(found.points[4], 2) == 0.30  # printed 0.31


def test_table_3_shares_of_the_land_without_lakes_and_glaciers():
    # The printed shares are said to leave lakes and glaciers out, and do not: with them they add up to 100.
    before, after = (change.shares(TABLE3[year].to_numpy()[:3]) for year in ("area_2010", "area_2020"))
    np.testing.assert_allclose([before[0], after[0]], [42.50, 40.69], atol=5e-3)
    np.testing.assert_allclose([before[1], after[1]], [56.63, 57.47], atol=5e-3)
    assert change.shares(TABLE3["area_2020"])[0] == pytest.approx(39.35, abs=5e-3)


def test_the_published_hot_spot_share_needs_more_transition_than_the_map_can_hold():
    gain = TABLE3["area_2020"] - TABLE3["area_2010"]
    loss = -gain["permafrost"]
    all_changes = change.hot_spot_bound(0.3962, loss, gain["non_frozen"])
    assert all_changes == pytest.approx(4.5231, abs=5e-5)
    assert all_changes - gain["non_frozen"] == pytest.approx(2.09, abs=5e-3)  # of 2.24 that there was
    degradation = change.hot_spot_bound(0.3962, loss, gain["non_frozen"], degradation_only=True)
    assert degradation == pytest.approx(3.1497, abs=5e-5)


@gentle
@given(share=st.floats(0, 0.49), loss=st.floats(0, 10), gain=st.floats(0, 10))
def test_the_hot_spot_bound_is_the_least_that_satisfies_the_margins(share, loss, gain):
    x = change.hot_spot_bound(share, loss, gain)
    needed = share * (loss + x + max(x - gain, 0))
    assert x == pytest.approx(needed, abs=1e-9)


def test_a_hot_spot_of_more_than_half_may_be_impossible():
    assert change.hot_spot_bound(0.6, 4.8, 2.43) == np.inf
    assert change.hot_spot_bound(1.0, 4.8, 2.43, degradation_only=True) == np.inf
    assert change.hot_spot_bound(0.6, 1.0, 9.0) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="not per cent"):
        change.hot_spot_bound(39.62, 4.8, 2.43)


def test_edges():
    with pytest.raises(ValueError, match="wanted one shape"):
        change.transition_matrix(np.ones((2, 2)), np.ones((2, 3)), 1.0)
    assert np.isnan(change.area_change([0.0, 1.0], [1.0, 0.0]).relative[0])
    assert np.isnan(change.shares([0.0, 0.0])).all()


# ---- the frost number and its parts -----------------------------------------------------------------------------


@gentle
@given(ddf=st.tuples(degree_days, degree_days), ddt=st.tuples(degree_days, degree_days), e=st.tuples(soil, soil))
def test_parts_of_the_frost_number_add_up_and_have_the_shares_of_z(ddf, ddt, e):
    parts = change.frost_number_change(ddf[0], ddt[0], e[0], ddf[1], ddt[1], e[1])
    numbers = [frost_number(*(each.astype(float) for each in state)) for state in zip(ddf, ddt, e, strict=True)]
    np.testing.assert_allclose(parts.total, numbers[1] - numbers[0], atol=1e-12)
    z = change.frozen_ground_change(*(each.astype(float) for each in (ddf[0], ddt[0], e[0], ddf[1], ddt[1], e[1])))
    np.testing.assert_allclose(parts.freezing * z.total, z.freezing * parts.total, atol=1e-12)
    np.testing.assert_allclose(parts.soil * z.total, z.soil * parts.total, atol=1e-12)
    back = change.frost_number_change(ddf[1], ddt[1], e[1], ddf[0], ddt[0], e[0])
    np.testing.assert_allclose(back.soil, -parts.soil, atol=1e-12)  # no order has to be chosen


def test_parts_are_the_integral_along_the_straight_way():
    before, after = (1500.0, 1400.0, 0.9), (1350.0, 1600.0, 0.97)
    z = [np.log(state[0] / state[1]) - 2 * np.log(state[2]) for state in (before, after)]
    way = np.linspace(*z, 200_001)
    number = 1 / (1 + np.exp(-way / 2))
    slope = np.trapezoid(number * (1 - number) / 2, way) / (z[1] - z[0])
    parts = change.frost_number_change(*before, *after)
    assert parts.soil == pytest.approx(-2 * np.log(0.97 / 0.9) * slope, rel=1e-8)
    assert parts.forcing == pytest.approx((np.log(1350 / 1500) - np.log(1600 / 1400)) * slope, rel=1e-8)


def test_what_does_not_change_has_no_part_and_a_nan_is_kept():
    parts = change.frost_number_change([1000.0, np.nan], 1000.0, 0.9, [1000.0, 900.0], 1000.0, 0.9)
    assert parts.total[0] == 0
    assert np.isnan(parts.total[1])
    assert np.isfinite(change.frost_number_change(0.0, 5000.0, 1.5, 15000.0, 0.0, 0.5).total)


# ---- how sure it is ---------------------------------------------------------------------------------------------


@gentle
@given(
    e=st.tuples(soil, soil),
    u=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)),
    c=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)),
    r=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)  # fmt: skip
def test_the_error_of_change_is_that_of_correlated_errors(e, u, c, r):
    found = change.change_error(e[0], u[0], e[1], u[1], c[0], c[1], r[0], r[1])
    both = (u[0] / e[0].astype(float), u[1] / e[1].astype(float))
    variance = 4 * (both[0] ** 2 + both[1] ** 2 - 2 * r[1] * both[0] * both[1])
    variance += 2 * (1 - r[0]) * (c[0] ** 2 + c[1] ** 2)
    np.testing.assert_allclose(found**2, variance, atol=1e-9)


def test_the_error_of_change_of_drawn_errors():
    rng = np.random.default_rng(1)
    cov = np.array([[1.0, 0.6], [0.6, 1.0]])
    frost, thaw, soil_error = (rng.multivariate_normal([0, 0], cov, 200_000).T * c for c in (0.1, 0.08, 0.05))
    drawn = (frost[1] - thaw[1] - 2 * soil_error[1]) - (frost[0] - thaw[0] - 2 * soil_error[0])
    told = change.change_error(0.9, 0.045, 0.9, 0.045, 0.1, 0.08, 0.6, 0.6)
    assert drawn.std() == pytest.approx(float(told), rel=0.01)
    assert np.isnan(change.change_error(np.nan, 0.1, 0.9, 0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="sums_together is 2"):
        change.change_error(0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 2.0)
