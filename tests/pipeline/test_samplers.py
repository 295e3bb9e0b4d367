"""Sampling designs choose real pixels, each once, reproducibly, and each design keeps what it promises."""

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.stats import kstest, norm
from sklearn.cluster import KMeans

from frostmap.kernels.conditioned_hypercube import correlations
from frostmap.pipeline import samplers
from frostmap.pipeline.recipe import Allocation, Sampler
from frostmap.pipeline.samplers import (
    CUTS,
    allotted,
    choose,
    cluster_centres,
    components,
    hypercube_points,
    nearest_unused,
    split,
    standardised,
    strata,
)

DESIGNS: tuple[Sampler, ...] = get_args(Sampler)
ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)


def pixels(rows: int = 3000, seed: int = 2) -> npt.NDArray[np.float32]:
    """Return predictors that are skewed, correlated, bounded and of very different units."""
    rng = np.random.default_rng(seed)
    height = rng.normal(4500, 600, rows)
    rain = rng.gamma(2.0, 150.0, rows)
    green = np.clip(0.1 + 0.0006 * rain + rng.normal(0, 0.05, rows), 0, 1)
    snow = np.where(height > 4800, rng.gamma(1.5, 12.0, rows), 0.0)
    north = rng.normal(0, 0.1, rows)
    return np.column_stack([height, rain, green, snow, north]).astype(np.float32)


# ---- all designs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS)
@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 300), seed=st.integers(0, 2**32), allocation=st.sampled_from(ALLOCATIONS), tied=st.booleans())
def test_chosen_pixels_are_real_unique_as_many_as_wanted_and_reproducible(
    design: Sampler, n: int, seed: int, allocation: Allocation, tied: bool
) -> None:
    values = pixels(400)
    if tied:
        values = np.round(values, -2)  # many pixels alike, and variables that do not vary
    chosen = choose(design, values, n, seed, allocation)
    assert chosen.dtype == np.int64
    assert len(chosen) == n
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < 400
    np.testing.assert_array_equal(chosen, choose(design, values, n, seed, allocation))


@pytest.mark.parametrize("design", DESIGNS)
def test_another_seed_makes_another_choice(design: Sampler) -> None:
    assert not np.array_equal(choose(design, pixels(), 200, 1), choose(design, pixels(), 200, 2))


@pytest.mark.parametrize("design", DESIGNS)
def test_units_do_not_matter(design: Sampler) -> None:
    values = pixels().astype(np.float64)
    other = values * [1000.0, 0.01, 100.0, 2.0, 57.0] + [0.0, -5.0, 3.0, 1.0, 0.0]
    mine, theirs = choose(design, values, 300, 4), choose(design, other, 300, 4)
    assert len(np.intersect1d(mine, theirs)) >= 290  # rounding moves a pixel at a time


@pytest.mark.parametrize("design", DESIGNS)
def test_all_pixels_are_taken_where_there_are_no_more(design: Sampler) -> None:
    np.testing.assert_array_equal(choose(design, pixels(50), 200, 9), np.arange(50))
    np.testing.assert_array_equal(choose(design, pixels(50), 50, 9), np.arange(50))


@pytest.mark.parametrize("design", DESIGNS)
def test_of_very_many_pixels_costly_designs_look_at_some(design: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "MOST_SEEN", 500)
    chosen = choose(design, pixels(), 400, 9)
    assert len(np.unique(chosen)) == 400
    assert chosen[-1] > 2500  # from everywhere


@pytest.mark.parametrize("design", DESIGNS)
def test_missing_predictors_are_refused(design: Sampler) -> None:
    values = pixels(100)
    values[5, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        choose(design, values, 10, 1)
    with pytest.raises(ValueError, match="at least one"):
        choose(design, pixels(100), 0, 1)


# ---- equal range --------------------------------------------------------------------------------------------------


def test_strata_of_a_normal_variable_hold_the_published_shares() -> None:
    """Cumulative 0.035930, 0.274253, 0.725747, 0.964070: the weights of the paper's appendix A."""
    np.testing.assert_allclose(norm.cdf(CUTS), [0.035930, 0.274253, 0.725747, 0.964070], atol=5e-7)
    column = norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000)
    share = np.bincount(strata(column)) / column.size
    np.testing.assert_allclose(share, [0.0359303, 0.2383228, 0.4514938, 0.2383228, 0.0359303], atol=1e-6)
    assert allotted(10_000, np.bincount(strata(column)), "density").tolist() == [359, 2383, 4515, 2383, 360][::-1]


@settings(max_examples=100, deadline=None)
@given(room=st.lists(st.integers(0, 50), min_size=5, max_size=5), n=st.integers(0, 300))
def test_no_stratum_gets_more_than_it_holds_and_nothing_is_lost(room: list[int], n: int) -> None:
    for allocation in ALLOCATIONS:
        part = allotted(n, np.array(room), allocation)
        assert (part <= room).all()
        assert part.sum() == min(n, sum(room))


def test_by_density_the_marginal_distributions_stay_what_they_are() -> None:
    values = pixels(20_000)
    chosen = choose("equal_range", values, 2000, 5, "density")
    for j in range(values.shape[1]):
        column = standardised(values)[:, j]
        expected = np.bincount(strata(column), minlength=5) / len(values)
        found = np.bincount(strata(column[chosen]), minlength=5) / 2000
        np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / 2000))


def test_equally_allotted_rare_values_are_favoured() -> None:
    values = pixels(20_000)
    tail = strata(standardised(values)[:, 0]) == 0
    by_density = tail[choose("equal_range", values, 1000, 5, "density")].mean()
    equally = tail[choose("equal_range", values, 1000, 5, "equal")].mean()
    assert by_density == pytest.approx(tail.mean(), abs=0.02)
    assert equally > 1.8 * tail.mean()


# ---- principal components -----------------------------------------------------------------------------------------


def test_samples_are_split_by_the_variance_that_components_explain() -> None:
    assert split(10_000, np.array([0.64]))[0] == 6400
    assert split(10_000, np.array([0.64, 0.2, 0.12])).sum() <= 10_000


def test_components_are_uncorrelated_explain_enough_and_no_more_than_needed() -> None:
    scores, share = components(standardised(pixels(5000)))
    assert 0.95 <= share.sum() <= 1
    assert share[:-1].sum() < 0.95
    assert (np.diff(share) <= 0).all()
    np.testing.assert_allclose(np.cov(scores, rowvar=False), np.eye(scores.shape[1]), atol=1e-3)


def test_the_first_component_gets_the_samples_of_its_strata() -> None:
    """Equal allotment within the first component lifts its outer strata far above their share."""
    values = pixels(20_000)
    scores, _ = components(standardised(values))
    outer = np.isin(strata(scores[:, 0]), (0, 4))
    chosen = choose("pca", values, 1000, 3, "equal")
    assert outer[chosen].mean() > 2 * outer.mean()


# ---- k-means ------------------------------------------------------------------------------------------------------


def test_kmeans_spreads_evenly_over_the_predictors_space() -> None:
    """Every pixel has a chosen one near it: nearer, in the mean square, than after a random choice."""
    values = standardised(pixels(5000))

    def distance(chosen: npt.NDArray[np.int64]) -> float:
        return float(np.mean([((values[chosen] - row) ** 2).sum(axis=1).min() for row in values[::10]]))

    assert distance(choose("kmeans", values, 200, 1)) < 0.8 * distance(choose("random", values, 200, 1))


def test_centres_are_as_good_as_those_of_scikit_learn() -> None:
    """Compared with all of Lloyd's algorithm from a start of the same kind: within two per cent of its inertia."""
    scaled, n = standardised(pixels(6000)), 300
    ours = cluster_centres(scaled, n, np.random.default_rng(3))
    start = scaled[np.random.default_rng(3).choice(len(scaled), n, replace=False)]
    theirs = KMeans(n, init=start, n_init=1, max_iter=20, algorithm="lloyd").fit(scaled).cluster_centers_
    mine, peers = (float((cKDTree(each).query(scaled)[0] ** 2).mean()) for each in (ours, theirs))
    assert mine < 1.02 * peers


# ---- Latin hypercubes ---------------------------------------------------------------------------------------------


def test_a_latin_hypercube_has_one_point_in_each_interval_of_every_variable() -> None:
    scaled = standardised(pixels(5000))
    points = hypercube_points(scaled, 100, np.random.default_rng(0))
    for j in range(scaled.shape[1]):
        if j == 3:
            continue  # mostly 0: its intervals have no width
        edges = np.quantile(scaled[:, j], np.arange(1, 100) / 100)
        counts = np.bincount(np.searchsorted(edges, points[:, j]), minlength=100)
        assert (np.abs(counts - 1) <= 1).all()  # to the rounding of an edge
        assert (counts == 1).mean() > 0.95


def test_pixels_near_a_hypercubes_points_have_not_its_marginals_but_a_conditioned_hypercube_has() -> None:
    """Points paired at random lie where no pixels are; what is nearest to them follows the marginals less closely."""
    values = pixels(20_000)
    plain, conditioned = choose("lhs", values, 400, 6), choose("clhs", values, 400, 6)

    def departure(chosen: npt.NDArray[np.int64], j: int) -> float:
        return float(kstest(values[chosen, j], values[:, j]).statistic)

    varying = (0, 1, 2, 4)
    by_chance = 0.87 / np.sqrt(400)  # the mean of Kolmogorov's statistic
    assert max(departure(conditioned, j) for j in varying) < 0.7 * by_chance
    assert max(departure(plain, j) for j in varying) > 2 * by_chance
    kept, lost = (np.abs(correlations(values[rows]) - correlations(values)).sum() for rows in (conditioned, plain))
    assert kept < 0.2 * lost


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 30), n=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_nearest_pixel_is_taken_once(rows: int, n: int, seed: int) -> None:
    n = min(n, rows)
    rng = np.random.default_rng(seed)
    scaled = rng.integers(0, 3, size=(rows, 2)).astype(np.float32)  # many equal ones
    points = rng.normal(size=(n, 2)).astype(np.float32)
    found = nearest_unused(scaled, points)
    assert len(set(found.tolist())) == n
    distance = np.linalg.norm(scaled[np.newaxis] - points[:, np.newaxis], axis=2)
    first = distance.min(axis=1).argmin()
    assert distance[first, found[first]] == pytest.approx(distance[first].min())
