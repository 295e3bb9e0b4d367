"""A forest predicts what scikit-learn's does, whole distributions too, however its pixels are ordered or cut."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import config
from sklearn.ensemble import RandomForestRegressor

from frostmap.kernels import forest as fr
from frostmap.pipeline.forests import as_arrays

gentle = settings(deadline=None, max_examples=12 if config.DISABLE_JIT else 60)
MOST_PIXELS = 70 if config.DISABLE_JIT else 300


@st.composite
def fitted(draw):
    """Draw a scikit-learn forest, what it was fitted on, and pixels to ask it about, on its thresholds too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples, features = draw(st.integers(2, 60)), draw(st.integers(1, 5))
    grid = draw(st.sampled_from([None, 3, 20]))  # few distinct values make ties
    values = rng.normal(size=(samples, features)) * 10.0 ** rng.integers(-3, 4, features)
    values = (values if grid is None else np.rint(values * grid) / grid).astype(np.float32)
    target = rng.normal(size=samples) if draw(st.booleans()) else rng.choice([0.78, 0.9, 1.04], samples)
    target = target * draw(st.sampled_from([1.0, 1e-6, 1e6])) + draw(st.sampled_from([0.0, 100.0]))
    model = RandomForestRegressor(
        draw(st.integers(1, 20)),
        max_features=draw(st.sampled_from([1.0, 1 / 3])),
        max_depth=draw(st.sampled_from([None, 1, 4])),
        min_samples_split=draw(st.sampled_from([2, 6])),
        bootstrap=draw(st.booleans()),
        random_state=int(rng.integers(1000)),
    ).fit(values, target)
    pixels = rng.normal(size=(features, draw(st.integers(1, MOST_PIXELS)))) * 3
    pixels = (pixels * np.abs(values).max(axis=0)[:, None] / 3).astype(np.float32)
    tree = model.estimators_[0].tree_
    splits = np.flatnonzero(tree.feature >= 0)
    for pixel in range(0, pixels.shape[1], 2):  # every other one lies on a threshold, or just beside it
        if len(splits):
            node = rng.choice(splits)
            on = np.float32(tree.threshold[node])
            pixels[tree.feature[node], pixel] = rng.choice([on, np.nextafter(on, np.float32(np.inf))])
    return model, values, target, pixels


@gentle
@given(case=fitted())
def test_the_mean_is_scikit_learn_s_to_the_rounding_of_float32(case):
    model, values, target, pixels = case
    forest = as_arrays(model, values, target)
    assert forest.faults(len(pixels)) == []
    expected = model.predict(pixels.T)
    scale = np.ptp(target)
    found = fr.predict(forest, pixels)
    assert (np.abs(found - expected) <= np.spacing(np.abs(expected).astype(np.float32)) + 4e-9 * scale).all()
    np.testing.assert_array_equal(fr.predict_distribution(forest, pixels, []).mean, found)


@gentle
@given(case=fitted(), levels=st.lists(st.floats(0, 1), max_size=4), seed=st.integers(0, 99))
def test_the_distribution_is_that_of_the_samples_in_the_leaves(case, levels, seed):
    model, values, target, pixels = case
    errors = np.random.default_rng(seed).uniform(0, np.ptp(target) + 0.1, len(target))
    forest = as_arrays(model, values, target, errors)
    found = fr.predict_distribution(forest, pixels, levels)
    weight = sample_weights(model, values, pixels)
    mean = weight @ target
    of_target = np.array([np.sqrt((errors[target == each] ** 2).mean()) for each in target])
    deviation = np.sqrt((weight * ((target - mean[:, None]) ** 2 + of_target**2)).sum(axis=1))
    np.testing.assert_allclose(found.deviation, deviation, rtol=1e-4, atol=1e-3 * np.ptp(target) + 1e-12)
    z = scipy.stats.norm.ppf((np.arange(fr.POINTS) + 0.5) / fr.POINTS)
    points = (target[:, None] + of_target[:, None] * z / z.std()).ravel()
    order = np.argsort(points, kind="stable")
    cumulative = np.cumsum(np.repeat(weight, fr.POINTS, axis=1)[:, order] / fr.POINTS, axis=1)
    for level, quantile in zip(levels, found.quantiles, strict=True):
        # the smallest point up to which enough weight lies, as far as rounding lets one say which that is
        tiny = 1e-12 * np.abs(points).max()
        low = points[order][(cumulative >= level - 1e-4).argmax(axis=1)] - tiny
        enough = cumulative >= level + 1e-4
        high = points[order][np.where(enough.any(axis=1), enough.argmax(axis=1), -1)] + tiny
        assert (quantile >= np.float32(low)).all()
        assert (quantile <= np.float32(high)).all()


def sample_weights(model, values, pixels):
    """Return the weight of each training sample for each pixel: the plain twin (Meinshausen 2006, eq. 4 and 5)."""
    weight = np.zeros((pixels.shape[1], len(values)))
    for estimator, drawn in zip(model.estimators_, model.estimators_samples_, strict=True):
        draws = np.bincount(drawn, minlength=len(values))
        same = estimator.apply(pixels.T)[:, None] == estimator.apply(values)[None]
        weight += same * draws / (same * draws).sum(axis=1, keepdims=True) / len(model.estimators_)
    return weight


@gentle
@given(case=fitted(), seed=st.integers(0, 99))
def test_neither_order_nor_cut_leaves_a_trace(case, seed):
    model, values, target, pixels = case
    forest = as_arrays(model, values, target)
    whole = fr.predict_distribution(forest, pixels)
    order = np.random.default_rng(seed).permutation(pixels.shape[1])
    mixed = fr.predict_distribution(forest, pixels[:, order])
    cut = pixels.shape[1] // 3
    parts = [fr.predict_distribution(forest, part) for part in (pixels[:, :cut], pixels[:, cut:])]
    for name in ("mean", "deviation", "quantiles"):
        expected = getattr(whole, name)
        np.testing.assert_array_equal(getattr(mixed, name), expected[..., order])
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts], axis=-1), expected)


def test_more_pixels_than_are_taken_at_a_time_and_more_trees_than_are_walked_at_once(monkeypatch):
    monkeypatch.setattr(fr, "SLICE", 128)
    rng = np.random.default_rng(3)
    values, target = rng.normal(size=(80, 4)).astype(np.float32), rng.normal(size=80)
    model = RandomForestRegressor(2 * fr.GROUP + 3, random_state=1).fit(values, target)
    forest, pixels = as_arrays(model, values, target), rng.normal(size=(4, 300)).astype(np.float32)
    assert len(forest.targets) > 64  # more than one block of histograms
    found = fr.predict_distribution(forest, pixels, [0.25])
    np.testing.assert_allclose(found.mean, model.predict(pixels.T), atol=1e-6)
    weight = sample_weights(model, values, pixels)
    order = np.argsort(target)
    quarter = target[order][(np.cumsum(weight[:, order], axis=1) >= 0.25 - 1e-5).argmax(axis=1)]
    assert (found.quantiles[0] == np.float32(quarter)).mean() > 0.99


def test_a_forest_by_hand():
    # Two trees of the targets 1, 2, 4: one splits at 0 into {1, 1, 2} and {4}, the other does not split: {1, 2, 4, 4}.
    forest = hand_made()
    found = fr.predict_distribution(forest, np.float32([[-1.0, 0.0, 5.0]]), [0.0, 0.5, 0.7, 1.0])
    low, high = (4 / 3 + 11 / 4) / 2, (4 + 11 / 4) / 2
    np.testing.assert_allclose(found.mean, [low, low, high], rtol=1e-7)
    variance = 11 / 24 * (1 - low) ** 2 + 7 / 24 * (2 - low) ** 2 + 1 / 4 * (4 - low) ** 2 + 7 / 24 * 0.5**2
    assert found.deviation[0] == pytest.approx(variance**0.5, rel=1e-6)
    exact = fr.predict_distribution(
        hand_made(errors=np.zeros(3)), np.float32([[-1.0, 0.0, 5.0]]), [0.0, 0.5, 0.75, 1.0]
    )
    # weights below the split: 1: (2/3 + 1/4) / 2 = 11/24, 2: (1/3 + 1/4) / 2 = 7/24, 4: 1/4; above: 1/8, 1/8, 3/4
    assert exact.quantiles.T.tolist() == [[1, 2, 2, 4], [1, 2, 2, 4], [1, 4, 4, 4]]
    # 0.5 and 0.7 lie 0.14 and 0.83 deep in the weight 7/24 of the target 2, that is in its third and fourteenth point
    z = scipy.stats.norm.ppf((np.arange(16) + 0.5) / 16)
    third, fourteenth = 2 + 0.5 * z[[2, 13]] / z.std()
    assert found.quantiles[:, 0].tolist() == pytest.approx([1, third, fourteenth, 4], rel=1e-6)
    assert found.quantiles[:, 2].tolist() == [1, 4, 4, 4]


def hand_made(**changes):
    forest = fr.Forest(
        roots=np.int32([0, ~2]),
        feature=np.int16([0]),
        threshold=np.float32([0.0]),
        below=np.int32([~0]),
        above=np.int32([~1]),
        leaf_start=np.int64([0, 2, 3, 6]),
        leaf_target=np.int32([0, 1, 2, 0, 1, 2]),
        leaf_count=np.int32([2, 1, 3, 1, 1, 2]),
        targets=np.float64([1, 2, 4]),
        errors=np.float64([0, 0.5, 0]),
    )
    return dataclasses.replace(forest, **changes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_missing_predictor_voids_the_pixel_and_no_other(value):
    rng = np.random.default_rng(1)
    values, target = rng.normal(size=(30, 3)).astype(np.float32), rng.normal(size=30)
    forest = as_arrays(RandomForestRegressor(5, random_state=0).fit(values, target), values, target)
    pixels = rng.normal(size=(3, 10)).astype(np.float32)
    expected = fr.predict_distribution(forest, pixels)
    pixels[1, 4] = value
    found = fr.predict_distribution(forest, pixels)
    for name in ("mean", "deviation", "quantiles"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert np.isnan(mine[..., 4]).all()
        np.testing.assert_array_equal(np.delete(mine, 4, axis=-1), np.delete(theirs, 4, axis=-1))


def test_no_pixel_is_no_prediction():
    found = fr.predict_distribution(hand_made(), np.empty((1, 0), np.float32))
    assert found.mean.shape == (0,)
    assert found.quantiles.shape == (3, 0)


# ---- thresholds, keys ------------------------------------------------------------------------------------

singles = st.floats(width=32, allow_nan=False)


@gentle
@given(value=singles, threshold=st.one_of(st.floats(-1e38, 1e38), st.floats(-1, 1, width=32)))
def test_a_rounded_threshold_parts_float32_as_the_exact_one_does(value, threshold):
    rounded = fr.not_above(threshold)
    assert (float(value) > threshold) == (np.float32(value) > rounded)
    for edge in (rounded, np.nextafter(rounded, np.float32(np.inf)), np.nextafter(rounded, np.float32(-np.inf))):
        assert (float(edge) > threshold) == (edge > rounded)


@gentle
@given(pair=hnp.arrays(np.float32, 2, elements=singles))
def test_keys_are_in_the_order_of_the_numbers(pair):
    keys = fr.sortable(pair)
    assert (keys[0] < keys[1]) == (pair[0] < pair[1])
    assert (keys[0] == keys[1]) == (pair[0] == pair[1])


# ---- what is no forest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"feature": np.int16([3])}, "outside 0 to 0"),
        ({"feature": np.int16([-1])}, "outside 0 to 0"),
        ({"threshold": np.float32([np.nan])}, "not finite"),
        ({"below": np.int32([0])}, "after its parent"),
        ({"below": np.int32([1])}, "outside the 1 nodes"),
        ({"below": np.int32([~7])}, "outside the 3 leaves"),
        ({"above": np.int32([~0])}, "one place of one tree"),
        ({"roots": np.int32([0, 0])}, "one place of one tree"),
        (
            {
                "roots": np.int32(
                    [],
                )
            },
            "0 trees",
        ),
        ({"leaf_start": np.int64([0, 2, 2, 6])}, "no training sample"),
        ({"leaf_start": np.int64([0, 2, 3, 5])}, "begin at the first"),
        ({"leaf_target": np.int32([0, 1, 9, 0, 1, 2])}, "outside the list"),
        ({"leaf_count": np.int32([2, 1, 0, 1, 1, 2])}, "not drawn"),
        ({"leaf_count": np.int32([2, 1])}, "length 2"),
        ({"targets": np.float64([1, 1, 4])}, "not rising"),
        ({"errors": np.float64([0, -0.5, 0])}, "not a positive number"),
    ],
)
def test_what_is_no_forest_is_told(changes, fault):
    assert hand_made().faults(1) == []
    assert any(fault in found for found in hand_made(**changes).faults(1))


def test_a_circle_of_nodes_is_told():
    nodes = {"feature": np.int16([0, 0]), "threshold": np.float32([0, 0]), "roots": np.int32([~2])}
    circle = hand_made(**nodes, below=np.int32([1, 0]), above=np.int32([~0, ~1]))
    assert any("after its parent" in fault for fault in circle.faults(1))


def test_wrong_questions_are_refused():
    with pytest.raises(ValueError, match=r"wanted \(features, pixels\)"):
        fr.predict(hand_made(), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="levels from 0 to 1"):
        fr.predict_distribution(hand_made(), np.zeros((1, 3), np.float32), [5, 95])
    with pytest.raises(ValueError, match="there are 1 predictors"):
        fr.predict(hand_made(feature=np.int16([1])), np.zeros((1, 3), np.float32))


def test_a_notebook_shows_how_large_a_forest_is_and_what_it_learnt():
    shown = hand_made()._repr_html_()
    assert "<th>trees</th><td>2</td>" in shown
    assert "<th>leaves</th>" in shown
    assert "MiB" in shown
