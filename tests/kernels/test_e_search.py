"""The prepared objective is that of the map; the searches end where nothing is better, and never behind the swarm."""

import numba
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels import calibration as cal
from frostmap.kernels import e_search
from frostmap.kernels import frost_number as fn
from frostmap.kernels.agreement import BinaryCounts, counts
from frostmap.kernels.survey_objective import SurveyObjective, kappa_of

BOUNDS, PRIOR = (0.5, 1.5), 0.90
SEEDS = 1 if numba.config.DISABLE_JIT else 20


def survey_map(seed, shape=(9, 11), n_clusters=3, density=0.9):
    """Return critical E, classes and clusters of a random map: patches of clusters, a true E each, some noise."""
    rng = np.random.default_rng(seed)
    critical = rng.uniform(0.45, 1.6, shape)
    critical[rng.random(shape) < 0.05] = np.nan
    cluster = rng.integers(0, n_clusters, shape)
    cluster[rng.random(shape) < 0.05] = -1
    true = rng.uniform(0.7, 1.2, n_clusters)
    surveyed = np.where(critical + rng.normal(0, 0.1, shape) > true[cluster], 1, 2)
    surveyed[rng.random(shape) > density] = 0
    surveyed[0, :2], cluster[0, :2], critical[0, :2] = (1, 2), 0, (1.2, 0.8)  # both classes, always
    return critical, surveyed, cluster


def plain_cost(e, critical, surveyed, cluster, weight):
    """Return the objective reckoned from the map that E makes."""
    kept = (surveyed > 0) & (cluster >= 0) & ~np.isnan(critical)
    kappa = counts(surveyed[kept] == 1, e[cluster[kept]] < critical[kept]).kappa
    beta, cells = cal.boundary_agreement(e[cluster] / critical, surveyed, cluster)
    return weight * (1 - kappa) + ((10 - weight) * (1 - beta) if cells else 0.0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), density=st.floats(0.2, 1), weight=st.floats(5, 8))
def test_the_prepared_objective_is_that_of_the_map(seed, density, weight):
    critical, surveyed, cluster = survey_map(seed, density=density)
    survey = SurveyObjective.of(critical, surveyed, cluster, 3)
    rng = np.random.default_rng(seed + 1)
    for e in rng.uniform(0.5, 1.5, (5, 3)):
        assert survey.cost(e, weight) == pytest.approx(plain_cost(e, critical, surveyed, cluster, weight), abs=1e-9)
        kept = (surveyed > 0) & (cluster >= 0) & ~np.isnan(critical)
        assert survey.counts(e) == counts(surveyed[kept] == 1, e[cluster[kept]] < critical[kept])
        beta, cells = cal.boundary_agreement(e[cluster] / critical, surveyed, cluster)
        assert survey.boundary_cells == cells
        assert survey.boundary_agreement(e) == pytest.approx(beta, nan_ok=True)
    assert survey.pixels.sum() == kept.sum()


def test_kappa_by_hand():
    # 4 of 6 right: observed 2/3, chance (3 * 3 + 3 * 3) / 36 = 1/2
    assert kappa_of(2, 1, 3, 3) == pytest.approx(1 / 3)
    assert kappa_of(74, 8, 83, 26) == pytest.approx(BinaryCounts(tp=74, fn=9, fp=8, tn=18).kappa)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), weight=st.floats(5, 8))
def test_no_change_of_one_e_improves_a_descent(seed, weight):
    critical, surveyed, cluster = survey_map(seed)
    survey = SurveyObjective.of(critical, surveyed, cluster, 3)
    found = e_search.descend(survey, np.ones(3), weight, BOUNDS, PRIOR)
    assert ((found >= 0.5) & (found <= 1.5)).all()
    least = survey.cost(found, weight)
    assert least <= survey.cost(np.ones(3), weight) + 1e-9
    for k in range(3):
        for value in np.linspace(0.5, 1.5, 211):
            other = found.copy()
            other[k] = value
            assert least <= survey.cost(other, weight) + 1e-9


@settings(deadline=None, max_examples=3 if numba.config.DISABLE_JIT else 10)
@given(seed=st.integers(0, 10_000), weight=st.floats(5, 8))
def test_the_hybrid_is_no_worse_than_the_swarm_and_than_the_exact_optimum(seed, weight):
    critical, surveyed, cluster = survey_map(seed, shape=(14, 16), n_clusters=4)
    survey = SurveyObjective.of(critical, surveyed, cluster, 4)
    found = e_search.hybrid(survey, weight, BOUNDS, PRIOR)
    assert survey.cost(found, weight) <= survey.cost(e_search.swarm(survey, weight, BOUNDS, seed), weight) + 1e-9
    assert survey.cost(found, weight) <= survey.cost(e_search.exact(survey, BOUNDS, PRIOR), weight) + 1e-9


def test_without_boundaries_the_hybrid_is_the_exact_optimum_of_kappa():
    critical, surveyed, cluster = survey_map(3)
    surveyed[:, 1::2] = 0
    surveyed[1::2] = 0
    surveyed[::4, ::2] = np.where(surveyed[::4, ::2] > 0, 1, 0)
    surveyed[2::4, ::2] = np.where(surveyed[2::4, ::2] > 0, 2, 0)
    survey = SurveyObjective.of(critical, surveyed, cluster, 3, radius=0)
    assert survey.boundary_cells == 0
    assert np.isnan(survey.boundary_agreement(np.ones(3)))
    best = survey.counts(e_search.exact(survey, BOUNDS, PRIOR)).kappa
    assert survey.counts(e_search.hybrid(survey, 6.5, BOUNDS, PRIOR)).kappa == pytest.approx(best)


def test_what_the_survey_does_not_decide_is_the_prior():
    critical, surveyed, cluster = survey_map(5)
    survey = SurveyObjective.of(critical, surveyed, np.where(cluster >= 0, cluster, -1), 5)  # 3 and 4 have no pixel
    found = e_search.fitted(survey, e_search.hybrid(survey, 6.5, BOUNDS, PRIOR), 6.5, BOUNDS)
    assert found.pixels[3:].tolist() == [0, 0]
    assert found.e[3:].tolist() == [PRIOR, PRIOR]
    assert (found.lower[3], found.upper[3]) == BOUNDS
    assert ((found.lower <= found.e) & (found.e <= found.upper)).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_within_its_interval_no_e_changes_the_map(seed):
    critical, surveyed, cluster = survey_map(seed)
    survey = SurveyObjective.of(critical, surveyed, cluster, 3)
    e = e_search.descend(survey, np.ones(3), 6.5, BOUNDS, PRIOR)
    lower, upper = survey.interval(e, BOUNDS)
    for k in range(3):
        for value in (lower[k], np.nextafter(upper[k], 0)):
            other = e.copy()
            other[k] = value
            assert survey.counts(other) == survey.counts(e)


def test_the_swarm_is_reproducible_and_stays_within_bounds():
    survey = SurveyObjective.of(*survey_map(11), 3)
    one, two = (e_search.swarm(survey, 6.0, (0.8, 1.1), 5) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert ((one >= 0.8) & (one <= 1.1)).all()
    assert survey.cost(one, 6.0) <= survey.cost(np.ones(3), 6.0)


def test_wrong_surveys_are_refused():
    critical, surveyed, cluster = survey_map(1)
    with pytest.raises(ValueError, match="one class only"):
        SurveyObjective.of(critical, np.where(surveyed == 1, 1, 0), cluster, 3)
    with pytest.raises(ValueError, match="three maps of one shape"):
        SurveyObjective.of(critical, surveyed[1:], cluster, 3)
    with pytest.raises(ValueError, match="found where there are 2"):
        SurveyObjective.of(critical, surveyed, cluster, 2)


@pytest.fixture(scope="module")
def wenquan(realdata):
    """Return the Wenquan survey's objective: 8 clusters, mean annual degree days of 2005-2010."""

    def read(name):
        with rasterio.open(realdata / "cop_wenquan" / f"{name}.tif") as raster:
            return raster.read(1)

    ddf, ddt, codes, soil = map(read, ("DDF_mean_annual", "DDT_mean_annual", "investigation_map", "soil_cluster"))
    kept = (ddf >= 0) & (ddt >= 0) & (codes < 3) & (soil < 15)
    critical = fn.critical_e(np.where(kept, ddf, np.nan), ddt)
    return SurveyObjective.of(critical, np.where(kept, codes, 0), np.where(kept, soil.astype(np.int64) - 1, -1), 8)


@pytest.mark.realdata
def test_wenquan_before_and_after(wenquan):
    ones = e_search.fitted(wenquan, np.ones(8), 6.5)
    assert ones.boundary_cells == 618
    assert (round(ones.counts.kappa, 4), round(ones.beta, 4)) == (0.6584, 0.9498)
    best = e_search.fitted(wenquan, e_search.exact(wenquan), 6.5)
    assert best.counts.kappa == pytest.approx(0.7603053589990778, abs=1e-15)
    hybrid = e_search.fitted(wenquan, e_search.hybrid(wenquan, 6.5), 6.5)
    assert 0.7575 <= hybrid.counts.kappa <= 0.7603053589990778
    assert 0.969 <= hybrid.beta <= 1
    assert hybrid.cost < min(best.cost, ones.cost)


@pytest.mark.realdata
def test_wenquan_the_hybrid_is_never_worse_than_the_swarm(wenquan):
    for seed in range(SEEDS):
        weight = np.random.default_rng(seed).uniform(5, 8)
        swarm = wenquan.cost(e_search.swarm(wenquan, weight, seed=seed), weight)
        assert wenquan.cost(e_search.hybrid(wenquan, weight), weight) <= swarm + 1e-9
