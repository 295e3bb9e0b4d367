"""How much E varies within clusters, and how well it is known, are found again where surveys are drawn from both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.pipeline.e_spread import MISLABELLED, MOST, PRIOR_SPREAD, standard_errors
from frostmap.pipeline.stages.e_spread import divided


def surveyed(seed: int, clusters: int, pixels: int, within: float, sums: float):
    """Return E of clusters, of their pixels, the critical E that is seen, whether there is permafrost, and clusters."""
    rng = np.random.default_rng(seed)
    e = rng.normal(0.9, PRIOR_SPREAD, clusters)
    cluster = np.repeat(np.arange(clusters), pixels)
    own = e[cluster] * np.exp(rng.normal(0, within, cluster.size))
    critical = np.exp(rng.normal(np.log(0.95), 0.35, cluster.size))
    return e, own, critical * np.exp(rng.normal(0, sums / 2, cluster.size)), own < critical, cluster


@pytest.mark.parametrize(("within", "sums"), [(0.06, 0.05), (0.12, 0.1), (0.03, 0.02)])
def test_the_spread_within_clusters_is_found_again_and_errors_hold_nine_of_ten(within, sums):
    e, own, critical, permafrost, cluster = surveyed(1, 12, 600, within, sums)
    known, whole = standard_errors(critical, permafrost, cluster, e, 0.9)
    assert whole == pytest.approx(np.hypot(within, sums / 2), rel=0.25)
    found, told = divided(whole, (sums, 0.0), given=True)
    assert told == (sums, 0.0)
    sigma = np.sqrt(known**2 + (e * found) ** 2)
    inside = np.abs(own - e[cluster]) <= 1.645 * sigma[cluster]
    assert 0.85 <= inside.mean() <= 0.95


def test_pixels_on_the_wrong_side_of_a_shifted_map_do_not_decide_the_spread():
    e, _, critical, permafrost, cluster = surveyed(4, 6, 400, 0.06, 0.0)
    wrong = np.random.default_rng(1).random(cluster.size) < MISLABELLED
    _, whole = standard_errors(critical, permafrost ^ wrong, cluster, e, 0.9)
    assert whole == pytest.approx(0.06, rel=0.2)


def test_few_pixels_leave_the_error_of_the_prior_and_many_reduce_it():
    e = np.full(1, 0.9)
    errors = []
    for pixels in (0, 10, 900):
        _, _, critical, permafrost, cluster = surveyed(5, 1, pixels, 0.04, 0.0)
        errors.append(standard_errors(critical, permafrost, cluster, e, 0.9)[0][0])
    assert errors[0] == pytest.approx(PRIOR_SPREAD, rel=0.01)
    own = surveyed(5, 1, 10, 0.04, 0.0)[0]
    known = standard_errors(*surveyed(5, 1, 900, 0.04, 0.0)[2:], own, 0.9)[0][0]
    assert known < 0.02


def test_an_e_far_from_what_the_surveys_say_has_a_large_error():
    e, _, critical, permafrost, cluster = surveyed(3, 1, 900, 0.03, 0.0)
    near, far = (standard_errors(critical, permafrost, cluster, e + off, 0.9)[0][0] for off in (0.0, 0.3))
    assert far == pytest.approx(0.3, abs=0.05)
    assert near < 0.02


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), pixels=st.integers(0, 30))
def test_errors_are_numbers_whatever_is_surveyed(seed, pixels):
    e, _, critical, permafrost, cluster = surveyed(seed, 3, pixels, 0.05, 0.1)
    critical[: pixels // 2] = [0.0, np.inf][seed % 2]
    sigma, whole = standard_errors(critical, permafrost, cluster, e, 0.9)
    assert np.isfinite(sigma).all()
    assert (sigma > 0).all()
    assert 0.01 < whole < 0.4


def test_more_pixels_than_are_looked_at_make_the_same_of_the_same_seed():
    e, _, critical, permafrost, cluster = surveyed(2, 2, 2 * MOST, 0.05, 0.0)
    one, two = (standard_errors(critical, permafrost, cluster, e, 0.9)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
