"""Folds in space keep neighbours together, scores are those of the textbook, and what is unlike is told as such."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.metrics import mean_absolute_error, r2_score

from frostmap.pipeline.applicability import training_space
from frostmap.pipeline.cross_validation import block_folds, random_folds, region_folds, scores

gentle = settings(deadline=None, max_examples=30)


@gentle
@given(seed=st.integers(0, 999), samples=st.integers(1, 200), size=st.sampled_from([50.0, 200.0, 5000.0]))
def test_a_block_is_never_divided_and_folds_are_filled_evenly(seed, samples, size):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1000, 1000, (2, samples))
    folds = block_folds(x, y, seed, size)
    blocks = {}
    for place, fold in zip(zip(x // size, y // size, strict=True), folds, strict=True):
        assert blocks.setdefault(place, fold) == fold
    largest = max(sum(1 for p in zip(x // size, y // size, strict=True) if p == place) for place in blocks)
    counts = np.bincount(folds)
    assert len(counts) == min(5, len(blocks))
    assert counts.max() - counts.min() <= largest
    np.testing.assert_array_equal(folds, block_folds(x, y, seed, size))


def test_regions_are_apart():
    rng = np.random.default_rng(1)
    centres = np.repeat([[0, 0], [900, 0], [0, 900], [900, 900], [2000, 500]], 20, axis=0)
    x, y = (centres + rng.normal(0, 50, centres.shape)).T
    folds = region_folds(x, y, seed=2)
    assert [len(set(folds[at : at + 20])) for at in range(0, 100, 20)] == [1] * 5
    assert len(set(folds)) == 5
    assert len(set(region_folds(np.zeros(9), np.arange(9) // 3.0, seed=0))) == 3


def test_random_folds_are_equal_and_repeatable():
    folds = random_folds(103, seed=4)
    assert np.ptp(np.bincount(folds)) <= 1
    np.testing.assert_array_equal(folds, random_folds(103, seed=4))
    assert (folds != random_folds(103, seed=5)).any()


@gentle
@given(seed=st.integers(0, 999))
def test_scores_are_those_of_scikit_learn(seed):
    true, predicted = np.random.default_rng(seed).normal(size=(2, 50))
    found = scores(true, predicted)
    assert found["mae"] == pytest.approx(mean_absolute_error(true, predicted))
    assert found["variance_explained_percent"] == pytest.approx(100 * r2_score(true, predicted))
    assert found["r"] == pytest.approx(np.corrcoef(true, predicted)[0, 1])
    assert found["rmse"] ** 2 == pytest.approx(np.mean((true - predicted) ** 2))


def test_where_nothing_varies_there_is_no_correlation():
    found = scores(np.ones(5), np.arange(5.0))
    assert np.isnan(found["r"])
    assert np.isnan(found["variance_explained_percent"])
    assert np.isnan(scores(np.arange(5.0), np.ones(5))["r"])


# ---- area of applicability --------------------------------------------------------------------------------------


def test_dissimilarity_is_the_distance_in_mean_distances():
    rng = np.random.default_rng(2)
    values, importance = rng.normal(5, [1, 10, 100], size=(200, 3)), np.array([0.6, 0.3, 0.1])
    folds = random_folds(200, seed=1)
    space = training_space(values, importance, folds)
    weighted = (values - values.mean(axis=0)) / values.std(axis=0) * importance
    pixels = rng.normal(5, [3, 30, 300], size=(50, 3))
    there = (pixels - values.mean(axis=0)) / values.std(axis=0) * importance
    nearest = np.sqrt(((there[:, None] - weighted[None]) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(space.dissimilarity(pixels.T), nearest / pdist(weighted).mean(), rtol=1e-5)


def test_the_threshold_is_the_upper_whisker_of_what_cross_validation_saw():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=(99, 2)), [[50.0, 50.0]]])
    folds = np.arange(100) % 4
    space = training_space(values, np.ones(2), folds)
    points = values / values.std(axis=0)
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    distance[folds[:, None] == folds[None]] = np.inf
    index = distance.min(axis=1) / pdist(points).mean()
    low, high = np.percentile(index, [25, 75])
    assert space.threshold == pytest.approx(index[index <= high + 1.5 * (high - low)].max())
    assert space.threshold < index[-1]  # the odd one out does not make all else look alike


def test_a_training_sample_is_like_itself_and_what_lacks_a_predictor_is_unknown():
    values = np.random.default_rng(4).normal(size=(30, 3))
    space = training_space(values, np.array([1.0, 0.5, -0.1]), random_folds(30, seed=1))
    np.testing.assert_allclose(space.dissimilarity(values.T), 0, atol=1e-6)
    far = values.T.copy()
    far[2] += 1e6  # a predictor without importance does not count
    np.testing.assert_allclose(space.dissimilarity(far), 0, atol=1e-6)
    far[2, 3] = np.nan
    assert np.isnan(space.dissimilarity(far)).tolist() == [i == 3 for i in range(30)]


def test_predictors_that_do_not_vary_make_no_trouble():
    values = np.column_stack([np.ones(20), np.arange(20.0)])
    space = training_space(values, np.array([0.0, 0.0]), random_folds(20, seed=1))
    assert space.faults(2) == []
    assert np.isfinite(space.dissimilarity(values.T)).all()
