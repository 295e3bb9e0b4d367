"""Areas from checked places: those of the paper that wrote the formulas down, and intervals that hold the truth."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostmap.kernels.area_estimates import stratified_areas

REFERENCE = Path(__file__).parents[1] / "reference"
OLOFSSON = pd.read_csv(REFERENCE / "olofsson_2014.csv", comment="#", index_col="class")
gentle = settings(deadline=None, max_examples=60)
tables = hnp.arrays(np.int64, (3, 3), elements=st.integers(1, 60))
areas = hnp.arrays(np.float64, 3, elements=st.floats(1.0, 1000.0))
Z = NormalDist().inv_cdf(0.975)


@gentle
@given(counts=tables, area=areas)
def test_the_areas_add_up_to_the_map_and_so_do_the_shares(counts, area):
    found = stratified_areas(counts, area)
    assert found.area.sum() == pytest.approx(area.sum())
    assert found.share.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.share.sum(axis=1), area / area.sum())
    assert found.overall_accuracy == pytest.approx(found.users_accuracy @ area / area.sum())
    low, high = found.interval()
    assert ((low <= found.area) & (found.area <= high) & (low >= 0) & (high <= area.sum() * (1 + 1e-12))).all()


@gentle
@given(counts=tables, area=areas)
def test_estimates_are_those_of_the_plain_twin(counts, area):
    found, weight = stratified_areas(counts, area), area / area.sum()
    for k in range(3):
        p = [counts[i, k] / counts[i].sum() for i in range(3)]
        variance = sum(weight[i] ** 2 * p[i] * (1 - p[i]) / (counts[i].sum() - 1) for i in range(3))
        assert found.area[k] == pytest.approx(area.sum() * sum(w * q for w, q in zip(weight, p, strict=True)))
        assert found.area_error[k] == pytest.approx(area.sum() * variance**0.5)


@gentle
@given(counts=tables, area=areas, order=st.permutations(range(3)))
def test_the_order_of_the_classes_does_not_matter(counts, area, order):
    order = list(order)
    found, turned = stratified_areas(counts, area), stratified_areas(counts[np.ix_(order, order)], area[order])
    for name in ("area", "area_error", "users_accuracy", "users_error", "producers_accuracy", "producers_error"):
        np.testing.assert_allclose(getattr(found, name)[order], getattr(turned, name))


def test_the_published_example():
    counts = OLOFSSON[list(OLOFSSON.index)].to_numpy()
    hectares = OLOFSSON["pixels"].to_numpy() * 0.09
    found = stratified_areas(counts, hectares)
    np.testing.assert_allclose(found.area, OLOFSSON["area"], atol=1)
    np.testing.assert_allclose(Z * found.area_error, OLOFSSON["area_half"], atol=2)
    np.testing.assert_allclose(found.users_accuracy, OLOFSSON["users"], atol=0.005)
    np.testing.assert_allclose(Z * found.users_error, OLOFSSON["users_half"], atol=0.0051)
    np.testing.assert_allclose(found.producers_accuracy, OLOFSSON["producers"], atol=0.0051)
    np.testing.assert_allclose(Z * found.producers_error, OLOFSSON["producers_half"], atol=0.0051)
    assert found.overall_accuracy == pytest.approx(0.95, abs=0.005)
    assert Z * found.overall_error == pytest.approx(0.02, abs=0.005)


def test_a_stratum_without_places_voids_what_rests_on_it():
    found = stratified_areas(np.array([[8, 2], [1, 0]]), [50.0, 50.0])  # one place tells no spread
    assert np.isfinite(found.area).all()
    assert np.isnan(found.area_error).all()
    assert np.isnan(stratified_areas(np.array([[8, 2], [0, 0]]), [50.0, 50.0]).area).all()
    unused = stratified_areas(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), [50.0, 50.0, 0.0])
    np.testing.assert_allclose(unused.area, [45, 55, 0])
    assert np.isnan([unused.users_accuracy[2], unused.producers_accuracy[2]]).all()
    with pytest.raises(ValueError, match="a row and a column of each"):
        stratified_areas(np.ones((2, 3)), [1.0, 2.0])
    with pytest.raises(ValueError, match="more than 0"):
        stratified_areas(np.ones((2, 2)), [0.0, 0.0])


def test_intervals_hold_the_true_area_as_often_as_they_say():
    rng = np.random.default_rng(7)
    truth = rng.random((200, 200)) < 0.3
    mapped = truth ^ (rng.random(truth.shape) < 0.12)
    strata = [np.flatnonzero(mapped), np.flatnonzero(~mapped)]
    area = np.array([len(stratum) for stratum in strata], dtype=float)
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        seen = [truth.ravel()[draw.choice(stratum, 150, replace=False)] for stratum in strata]
        low, high = stratified_areas(np.array([[s.sum(), (~s).sum()] for s in seen]), area).interval()
        held += low[0] <= truth.sum() <= high[0]
    assert 181 <= held <= 199  # binomial(200, 0.95): outside in 1 of 1000
    assert abs(mapped.sum() - truth.sum()) > 1500  # what counting pixels would have been wrong by
