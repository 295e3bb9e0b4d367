"""Gi* is that of PySAL and of its formula, and what is put down at random is rarely called a hot spot."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from frostmap.kernels.hot_spots import false_discovery, getis_ord, normal_p

REFERENCE = Path(__file__).parents[1] / "reference"
gentle = settings(deadline=None, max_examples=40)
blocks = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 7), st.integers(2, 7)),
    elements=st.one_of(st.floats(0, 1).map(lambda x: round(x, 3)), st.just(np.nan)),
)


@gentle
@given(values=blocks, reach=st.integers(1, 2))
def test_scores_are_those_of_the_formula(values, reach):
    found, known = getis_ord(values, reach), values[~np.isnan(values)]
    if known.size < 2 or np.ptp(known) == 0:
        assert np.isnan(found).all()
        return
    for (i, j), score in np.ndenumerate(found):
        window = values[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1]
        around, n = window[~np.isnan(window)], known.size
        if np.isnan(values[i, j]) or around.size == n:
            assert np.isnan(score)
            continue
        spread = np.sqrt((known**2).mean() - known.mean() ** 2)
        below = spread * np.sqrt((n * around.size - around.size**2) / (n - 1))
        assert score == pytest.approx((around.sum() - known.mean() * around.size) / below, rel=1e-5, abs=1e-6)


@gentle
@given(values=blocks, factor=st.floats(0.1, 9), shift=st.floats(-5, 5))
def test_unit_and_zero_do_not_matter_and_a_mirror_mirrors(values, factor, shift):
    found = getis_ord(values)
    if np.isnan(found).all():
        return
    np.testing.assert_allclose(getis_ord(factor * values + shift), found, atol=1e-6)
    np.testing.assert_allclose(getis_ord(values[::-1]), found[::-1], atol=1e-9)
    np.testing.assert_allclose(getis_ord(-values), -found, atol=1e-9)


def test_scores_are_those_of_pysal():
    reference = pd.read_csv(REFERENCE / "esda_getis_ord.csv", comment="#")
    values, scores = np.full((6, 7), np.nan), np.full((6, 7), np.nan)
    values[reference["row"], reference["column"]] = reference["value"]
    scores[reference["row"], reference["column"]] = reference["score"]
    np.testing.assert_allclose(getis_ord(values), scores, atol=1e-8)


@gentle
@given(p=hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_false_discoveries_are_counted_as_scipy_does(p):
    np.testing.assert_allclose(false_discovery(p), stats.false_discovery_control(p), atol=1e-12)


def test_p_values_of_scores():
    scores = np.array([-3.0, 0.5, 2.576])
    np.testing.assert_allclose(normal_p(scores), 2 * stats.norm.sf(np.abs(scores)), rtol=1e-9)


def test_random_blocks_are_rarely_hot_and_a_warm_corner_is():
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(100):
        found += bool((false_discovery(normal_p(getis_ord(rng.random((12, 12))))) < 0.05).any())
    assert found <= 15  # maps with any false discovery; neighbours share blocks, so 5 is not the exact rate
    warm = rng.random((12, 12))
    warm[:4, :4] += 1.0
    hot = (false_discovery(normal_p(getis_ord(warm))) < 0.05) & (getis_ord(warm) > 0)
    assert hot[:3, :3].all()
    assert not hot[6:, 6:].any()


def test_nan_is_no_block_and_no_test():
    values = np.zeros((4, 4))
    values[0, 0], values[3, 3] = 1.0, np.nan
    assert np.isnan(getis_ord(values)[3, 3])
    assert np.isfinite(getis_ord(values)).sum() == 15
    assert np.isnan(false_discovery(np.array([np.nan, 0.01]))[0])
    with pytest.raises(ValueError, match="rows and columns"):
        getis_ord(np.zeros(3))
