"""Prediction of E by networks: against a plain twin, numbers worked out by hand, missing values, blocks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from frostmap.kernels import network
from frostmap.kernels.network import Network, bounded, predict


def made(predictors: int = 3, hidden: int = 5, members: int = 2, seed: int = 0, upper: float = 1.5) -> Network:
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    return Network(
        means=some(predictors),
        scales=np.exp(some(predictors)),
        first=some(members, predictors, hidden),
        first_bias=some(members, hidden),
        second=some(members, hidden, hidden),
        second_bias=some(members, hidden),
        last=some(members, hidden),
        last_bias=some(members),
        bounds=np.array([0.5 if upper < math.inf else 0.0, upper], np.float32),
    )


def twin(net: Network, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E of each member (members, pixels), in float64, a member at a time."""
    x = (values.T - net.means) / net.scales
    found = []
    for m in range(len(net.last)):
        a = x @ net.first[m].astype(np.float64) + net.first_bias[m]
        a = a * ndtr(a)
        b = a @ net.second[m].astype(np.float64) + net.second_bias[m]
        b = b * ndtr(b)
        f = b @ net.last[m].astype(np.float64) + net.last_bias[m]
        low, high = net.bounds
        found.append(
            np.log1p(np.exp(-np.abs(f))) + np.maximum(f, 0) if np.isinf(high) else low + (high - low) * expit(f)
        )
    return np.array(found)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**20), st.sampled_from([1.5, math.inf]))
def test_prediction_equals_the_plain_twin(predictors: int, hidden: int, members: int, seed: int, upper: float) -> None:
    net = made(predictors, hidden, members, seed, upper)
    values = np.random.default_rng(seed + 1).normal(size=(predictors, 17))
    values[:, 3] *= 50
    found, wanted = predict(net, values), twin(net, values)
    np.testing.assert_allclose(found.e, wanted.mean(axis=0), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(found.spread, wanted.std(axis=0), rtol=1e-3, atol=1e-4)


def test_a_network_worked_out_by_hand() -> None:
    one = np.ones((1, 1), np.float32)
    net = Network(
        means=np.array([10], np.float32),
        scales=np.array([2], np.float32),
        first=one[None],
        first_bias=0 * one,
        second=one[None],
        second_bias=0 * one,
        last=one,
        last_bias=np.zeros(1, np.float32),
        bounds=np.array([0.5, 1.5], np.float32),
    )
    # (12 - 10) / 2 = 1; GELU(1) = Φ(1) = 0.841345; GELU of that = 0.841345 Φ(0.841345) = 0.673056
    f = 0.8413447 * 0.5 * (1 + math.erf(0.8413447 / math.sqrt(2)))
    assert f == pytest.approx(0.6731, abs=1e-4)
    assert predict(net, np.array([[12.0]])).e[0] == pytest.approx(0.5 + 1 / (1 + math.exp(-f)), rel=1e-6)


def test_a_missing_predictor_makes_e_missing_and_nothing_else() -> None:
    net = made()
    values = np.random.default_rng(1).normal(size=(3, 8))
    whole = predict(net, values)
    values[1, 4], values[0, 6] = np.nan, np.inf
    found = predict(net, values)
    missing = np.isin(np.arange(8), [4, 6])
    np.testing.assert_array_equal(np.isnan(found.e), missing)
    np.testing.assert_array_equal(np.isnan(found.spread), missing)
    np.testing.assert_allclose(found.e[~missing], whole.e[~missing], rtol=1e-6)


def test_nothing_but_missing_pixels() -> None:
    assert np.isnan(predict(made(), np.full((3, 4), np.nan)).e).all()
    assert predict(made(), np.empty((3, 0))).e.shape == (0,)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net, values = made(), np.random.default_rng(1).normal(size=(3, 50))
    whole = predict(net, values)
    monkeypatch.setattr(network, "BLOCK", 7)
    np.testing.assert_allclose(predict(net, values).e, whole.e, rtol=1e-6)


def test_bounded_e_stays_within_its_bounds_however_far_predictors_lie() -> None:
    far = np.random.default_rng(3).normal(size=(3, 200)) * 1e4
    e = predict(made(), far).e
    assert e.min() >= 0.5
    assert e.max() <= 1.5
    free = predict(made(upper=math.inf), far).e
    assert free.min() >= 0
    assert free.max() > 100


def test_one_member_has_no_spread() -> None:
    assert not predict(made(members=1), np.zeros((3, 4))).spread.any()


def test_other_predictors_than_the_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2\); wanted \(3, pixels\)"):
        predict(made(), np.zeros((4, 2)))


def test_faults_are_found() -> None:
    net = made()
    assert not net.faults(3)
    assert not made(upper=math.inf).faults(3)
    assert net.faults(4)
    assert replace(net, second=net.second[:, :2]).faults(3)
    assert replace(net, last=net.last.astype(np.float64)).faults(3)
    assert replace(net, scales=0 * net.scales).faults(3)
    assert replace(net, bounds=np.array([1.5, 0.5], np.float32)).faults(3)
    broken = net.first.copy()
    broken[0, 0, 0] = np.nan
    assert replace(net, first=broken).faults(3)


def test_bounded_is_the_logistic_between_the_bounds() -> None:
    f = np.linspace(-30, 30, 13)
    np.testing.assert_allclose(bounded(f, 0.5, 1.5), 0.5 + expit(f), rtol=1e-12)
    np.testing.assert_allclose(bounded(f, 0.0, math.inf), np.log1p(np.exp(f)), rtol=1e-9, atol=1e-15)
