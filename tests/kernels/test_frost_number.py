"""Ground is permafrost exactly where the frost number says so, and the frost number and TTOP say the same."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostmap.kernels import frost_number as fn

REFERENCE = Path(__file__).parents[1] / "reference"
SHAPE = (4, 5)
degree_days = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 6000, width=32))
soil = st.floats(0.5, 1.5)
gentle = settings(deadline=None, max_examples=40)


@gentle
@given(ddf=degree_days, ddt=degree_days, e=soil)
def test_the_frost_number_lies_between_0_and_1_and_rises_with_freezing(ddf, ddt, e):
    number = fn.frost_number(ddf, ddt, e)
    known = (ddf > 0) | (ddt > 0)
    assert ((number >= 0) & (number <= 1))[known].all()
    assert np.isnan(number[~known]).all()
    assert (fn.frost_number(ddf + 100, ddt, e) >= number)[known].all()


@gentle
@given(ddf=degree_days, ddt=degree_days, e=soil)
def test_frost_number_stefan_ratio_critical_e_and_ttop_draw_one_boundary(ddf, ddt, e):
    ddf, ddt = np.maximum(ddf, 1).astype(np.float64), np.maximum(ddt, 1).astype(np.float64)
    critical = fn.critical_e(ddf, ddt)
    clear = np.abs(critical / e - 1) > 1e-9
    permafrost = (e < critical)[clear]
    assert ((fn.frost_number(ddf, ddt, e) > 0.5)[clear] == permafrost).all()
    assert ((fn.stefan_ratio(ddf, ddt, e) < 1)[clear] == permafrost).all()
    assert ((fn.ttop(ddf, ddt, e**2) < 0)[clear] == permafrost).all()
    assert ((fn.frozen_ground(ddf, ddt, e) == fn.PERMAFROST) == (e < critical))[ddf > 0.5].all()


@gentle
@given(ddf=degree_days, ddt=degree_days, e=hnp.arrays(np.float32, SHAPE, elements=st.floats(0.5, 1.5, width=32)))
def test_classes_are_those_of_the_plain_twin(ddf, ddt, e):
    ratio = np.where(ddt > 0, ddf.astype(float) / np.where(ddt > 0, ddt.astype(float), 1), np.inf)
    twin = np.where(e < np.sqrt(ratio), 1, 2)
    twin = np.where((ddt > 0) & (ddf <= 0.5), 3, twin)
    twin = np.where((ddt == 0) & (ddf == 0), 255, twin)
    np.testing.assert_array_equal(fn.frozen_ground(ddf, ddt, e), twin)


@gentle
@given(steps=st.integers(8, 24), ddt=st.integers(100, 4000))
def test_a_tie_is_exactly_one_half_and_seasonally_frozen(steps, ddt):
    e = steps / 16  # so that E² DDT has no rounding, in float32 either
    ddf = e * e * ddt
    assert fn.frost_number(ddf, ddt, e) == pytest.approx(0.5, abs=1e-15)
    for kind in (np.float32, np.float64):
        tie = fn.frozen_ground(np.array([[ddf, ddf + 0.25, ddf - 0.25]], kind), np.full((1, 3), ddt, kind), e)
        assert tie.tolist() == [[2, 1, 2]]


def test_tuotuohe_is_permafrost_only_below_its_critical_e():
    # Station 56004, 2016-2019: freezing 1332, thawing 2004 degC d.
    assert fn.frost_number(1332, 2004) == pytest.approx(0.4491187830894947, abs=1e-15)
    critical = float(fn.critical_e(1332, 2004))
    assert critical == pytest.approx(0.8152733643892917, abs=1e-15)
    e = np.array([[1.0, critical, critical - 1e-9, 0.8]])
    assert fn.frozen_ground(np.full((1, 4), 1332.0), np.full((1, 4), 2004.0), e).tolist() == [[2, 2, 1, 1]]


def test_published_frost_numbers_of_cosine_years():
    days = (np.arange(200_000) + 0.5) / 200_000 * 365
    for year in pd.read_csv(REFERENCE / "nelson_outcalt_1987.csv", comment="#").itertuples():
        mean, half = (year.coldest + year.warmest) / 2, (year.warmest - year.coldest) / 2
        temperature = mean - half * np.cos(2 * np.pi * days / 365)
        ddf, ddt = -365 * np.minimum(temperature, 0).mean(), 365 * np.maximum(temperature, 0).mean()
        assert float(fn.frost_number(ddf, ddt)) == pytest.approx(year.frost_number, abs=5e-5)


@pytest.mark.parametrize(
    ("ddf", "ddt", "e", "expected"),
    [
        (0.0, 3000.0, 0.9, 3),  # nothing freezes
        (0.5, 3000.0, 0.9, 3),  # the tolerance belongs to non-frozen ground
        (0.51, 3000.0, 0.9, 2),
        (900.0, 0.0, 0.9, 1),  # nothing thaws
        (0.2, 0.0, 0.9, 1),  # nor here, however little freezes
        (0.0, 0.0, 0.9, 255),  # no year at all
        (np.nan, 900.0, 0.9, 255),
        (900.0, np.nan, 0.9, 255),
        (900.0, 0.0, np.nan, 255),
        (-1.0, 900.0, 0.9, 255),
        (900.0, -1.0, 0.9, 255),
        (900.0, 900.0, 0.0, 255),
    ],
)
def test_edges_of_the_classes(ddf, ddt, e, expected):
    assert fn.frozen_ground(np.array([[ddf]]), np.array([[ddt]]), e).item() == expected


def test_non_frozen_ground_grows_with_its_threshold():
    ddf, ddt = np.float32([[0.2, 5.0, 30.0, 400.0]]), np.full((1, 4), 4000, np.float32)
    found = [np.count_nonzero(fn.frozen_ground(ddf, ddt, 0.9, limit) == fn.NON_FROZEN) for limit in (0.5, 10, 50)]
    assert found == [1, 2, 3]


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (1, 2, 3), (0, 3)])
def test_any_shape_is_classified(shape):
    ddf, ddt = np.full(shape, 1600, np.float32), np.full(shape, 900, np.float32)
    ground = fn.frozen_ground(ddf, ddt, np.float32(1.0))
    assert ground.shape == shape
    assert ground.dtype == np.uint8
    assert (ground == fn.PERMAFROST).all()


def test_a_view_is_classified_like_its_copy_and_nothing_is_changed():
    rng = np.random.default_rng(1)
    ddf, ddt = rng.uniform(0, 3000, (2, 6, 8)).astype(np.float32)
    kept = ddf.copy()
    np.testing.assert_array_equal(
        fn.frozen_ground(ddf[::2, ::-1], ddt[::2, ::-1], 0.9), fn.frozen_ground(ddf, ddt, 0.9)[::2, ::-1]
    )
    np.testing.assert_array_equal(ddf, kept)


def test_critical_e_replaces_a_zero_sum_by_one_and_has_none_where_both_are_zero():
    critical = fn.critical_e(np.float32([900, 0, 0, np.nan, 900, -1]), np.float32([0, 400, 0, 900, np.nan, 900]))
    np.testing.assert_array_equal(critical, [30.0, 0.05, np.nan, np.nan, np.nan, np.nan])
    assert critical.dtype == np.float64


def test_ttop_by_hand_and_its_nan():
    # (0.8 * 1400 - 1800) / 365.25, and (2000 - 900 / 0.8) / 365.25 where the first is above 0.
    np.testing.assert_allclose(fn.ttop([1800.0, 900.0], [1400.0, 2000.0], 0.8), [-680 / 365.25, 875 / 365.25])
    assert np.isnan(fn.ttop(np.nan, 900.0, 0.8))
    assert fn.ttop(900.0, 1000.0, 0.9) == 0.0
    assert fn.ttop(2000.0, 1000.0, 0.8, freezing_factor=0.5, thawing_factor=0.5) == pytest.approx(-600 / 365.25)


@gentle
@given(
    ddf=degree_days, ddt=degree_days, r_k=st.floats(0.25, 2.25), factors=st.tuples(st.floats(0.2, 1), st.floats(0.5, 2))
)
def test_ttop_is_that_of_a_plain_loop_also_in_its_classes(ddf, ddt, r_k, factors):
    n_f, n_t = factors
    found = fn.ttop(ddf.astype(float), ddt.astype(float), r_k, n_f, n_t)
    classes = fn.ttop_classes(ddf, ddt, r_k, 0.5, n_f, n_t)
    for at in np.ndindex(SHAPE):
        freezing, thawing = n_f * float(ddf[at]), n_t * float(ddt[at])
        if freezing + thawing == 0:
            assert np.isnan(found[at])
            assert classes[at] == fn.NO_CLASS
            continue
        surplus = r_k * thawing - freezing
        expected = (surplus if surplus <= 0 else thawing - freezing / r_k) / 365.25
        assert found[at] == pytest.approx(expected, rel=1e-12, abs=1e-12)
        non_frozen = freezing <= 0.5 and thawing > 0
        assert classes[at] == (fn.NON_FROZEN if non_frozen else 1 if expected < 0 else 2)


@gentle
@given(ddf=degree_days, ddt=degree_days, e=hnp.arrays(np.float32, SHAPE, elements=st.floats(0.5, 1.5, width=32)))
def test_ttop_with_r_k_of_e_squared_draws_the_frost_numbers_map(ddf, ddt, e):
    r_k = e.astype(np.float64) ** 2
    clear = (ddt == 0) | (np.abs(ddf / np.maximum(r_k * ddt, 1e-30) - 1) > 1e-9)  # not within rounding of a tie
    np.testing.assert_array_equal(fn.ttop_classes(ddf, ddt, r_k)[clear], fn.frozen_ground(ddf, ddt, e)[clear])
    known = np.isfinite(fn.ttop(ddf, ddt, r_k))
    np.testing.assert_array_equal(known, fn.frozen_ground(ddf, ddt, e) != fn.NO_CLASS)


@pytest.mark.parametrize(
    ("ddf", "ddt", "r_k"), [(-1, 5, 1), (5, -1, 1), (0, 0, 1), (5, 5, 0), (5, 5, -1), (5, 5, np.nan)]
)
def test_what_cannot_be_has_no_ttop(ddf, ddt, r_k):
    assert np.isnan(fn.ttop(float(ddf), float(ddt), float(r_k)))
    assert fn.ttop_classes(float(ddf), float(ddt), float(r_k)) == fn.NO_CLASS


@gentle
@given(sand=st.floats(0, 100), water=st.floats(8, 40), density=st.floats(1.0, 1.8))
def test_r_k_of_a_soil_lies_between_those_of_its_parts(sand, water, density):
    found = float(fn.conductivity_ratio(sand, water, density))
    ends = sorted(float(fn.conductivity_ratio(share, water, density)) for share in (0, 100))
    assert ends[0] * (1 - 1e-12) <= found <= ends[1] * (1 + 1e-12)
    assert fn.conductivity_ratio(0, 20, 1.4) == pytest.approx(0.778, abs=5e-4)  # Kersten, fine soil
    assert np.isnan(fn.conductivity_ratio([-1, 101, np.nan, 50], [20, 20, 20, 1.0], 1.4)).all()


def test_conductivities_of_fine_soil_give_the_soil_parameter():
    thawed, frozen = fn.thawed_conductivity_fine(20, 1.4), fn.frozen_conductivity_fine(20, 1.4)
    assert round(float(thawed), 3) == 1.048
    assert round(float(frozen), 3) == 1.347
    assert round(float(thawed / frozen), 3) == 0.778
    assert round(float(np.sqrt(thawed / frozen)), 3) == 0.882
    e = [
        float(np.sqrt(fn.thawed_conductivity_fine(w, d) / fn.frozen_conductivity_fine(w, d)))
        for w, d in [(30, 1.2), (10, 1.6)]
    ]
    assert e == pytest.approx([0.774, 1.00], abs=5e-3)


def test_conductivities_of_coarse_soil_give_e_near_one():
    water, density = np.meshgrid([5.0, 10.0, 20.0], [1.4, 1.6])
    e = np.sqrt(fn.thawed_conductivity_coarse(water, density) / fn.frozen_conductivity_coarse(water, density))
    assert ((e > 0.8) & (e < 1.3)).all()
    assert (np.diff(e, axis=1) < 0).all()  # wetter, lower E


def test_dry_soil_beyond_the_regressions_has_no_conductivity():
    assert np.isnan(fn.thawed_conductivity_fine([0.0, 1.6, np.nan], 1.4)).all()
    assert np.isnan(fn.thawed_conductivity_coarse(0.0, 1.4))


def test_soil_layers_reach_down_to_2296_mm():
    bottom = pd.read_csv(REFERENCE / "shangguan_2013.csv", comment="#")["bottom"].to_numpy() / 100
    thickness = np.diff(bottom, prepend=0)
    assert (thickness > 0).all()
    assert thickness.sum() == pytest.approx(2.296)


def test_every_class_has_a_name():
    assert list(fn.CLASS_NAMES) == [1, 2, 3, 4, 5, 255]


# ---- probability ------------------------------------------------------------------------------------------------

share = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 0.25, width=32))


@gentle
@given(ddf=degree_days, ddt=degree_days, e=soil, e_error=share, errors=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)))
def test_probabilities_are_those_of_the_plain_twin_and_above_one_half_where_permafrost_is(ddf, ddt, e, e_error, errors):
    found = fn.permafrost_probability(ddf, ddt, e, e_error, *errors)
    soil_e = np.broadcast_to(np.asarray(e, np.float64), found.shape)
    f, t, s = (np.asarray(part, np.float64) for part in (ddf, ddt, e_error))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.log(f / t) - 2 * np.log(soil_e)
        sigma = np.sqrt(errors[0] ** 2 + errors[1] ** 2 + 4 * (s / soil_e) ** 2)
        expected = np.where(sigma > 0, scipy.stats.norm.cdf(z / sigma), z > 0)
    expected = np.where(t == 0, 1.0, np.where(f == 0, 0.0, expected))
    expected = np.where((f == 0) & (t == 0), np.nan, expected)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    ground = fn.frozen_ground(ddf, ddt, e, 0.0)
    clear = np.isfinite(expected) & (np.abs(expected - 0.5) > 1e-6)
    np.testing.assert_array_equal((found > 0.5)[clear], (ground == fn.PERMAFROST)[clear])


def test_probabilities_are_how_often_permafrost_is_where_the_errors_are_drawn():
    rng = np.random.default_rng(8)
    ddf, ddt, e = 1100.0, 1200.0, 0.9
    drawn = [ddf * np.exp(rng.normal(0, 0.1, 200_000)), ddt * np.exp(rng.normal(0, 0.12, 200_000))]
    soils = e * np.exp(rng.normal(0, 0.04 / e, 200_000))
    share_of = (fn.frozen_ground(*drawn, soils) == fn.PERMAFROST).mean()
    assert fn.permafrost_probability(np.array([ddf]), np.array([ddt]), e, 0.04, 0.1, 0.12)[0] == pytest.approx(
        share_of, abs=0.005
    )


@pytest.mark.parametrize(
    ("ddf", "ddt", "e", "e_error"),
    [
        (np.nan, 1, 1, 0),
        (1, np.nan, 1, 0),
        (1, 1, np.nan, 0),
        (1, 1, 1, np.nan),
        (-1, 1, 1, 0),
        (1, 1, 0, 0),
        (1, 1, 1, -1),
    ],
)
def test_what_is_missing_has_no_probability(ddf, ddt, e, e_error):
    assert np.isnan(
        fn.permafrost_probability(np.array([float(ddf)]), np.array([float(ddt)]), e, e_error, 0.1, 0.1)
    ).all()
