"""No soil parameters within the bounds agree better with a survey than those of the exact calibration."""

from itertools import product

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels import calibration as cal
from frostmap.kernels import frost_number as fn
from frostmap.kernels.agreement import BinaryCounts, counts

BOUNDS, PRIOR = (0.5, 1.5), 0.9


@st.composite
def surveys(draw):
    """Draw up to nine pixels of two clusters, many of them with one critical E, some critical at or beyond a bound."""
    n = draw(st.integers(2, 9))
    critical = st.sampled_from([0.3, 0.5, 0.7, 0.75, 0.9, 0.9 + 1e-8, 1.1, 1.3, 1.5, 1.7])
    truth = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda drawn: any(drawn) and not all(drawn)))
    pixels = st.lists(st.tuples(critical, st.integers(0, 1)), min_size=n, max_size=n)
    values, clusters = zip(*draw(pixels), strict=True)
    return np.array(values), np.array(truth), np.array(clusters)


def brute_force(critical, truth, cluster):
    """Return kappa of every choice of two E's: each bound, each critical E, and just below each."""
    tried = np.concatenate([BOUNDS, critical, critical - 1e-9])
    tried = np.unique(tried[(tried >= BOUNDS[0]) & (tried <= BOUNDS[1])])
    return {pair: counts(truth, np.array(pair)[cluster] < critical).kappa for pair in product(tried, repeat=2)}


@settings(deadline=None, max_examples=60)
@given(survey=surveys())
def test_no_threshold_is_better_and_no_equal_one_is_nearer_to_the_prior(survey):
    critical, truth, cluster = survey
    found = cal.calibrate_exact(critical, truth, cluster, 2, BOUNDS, PRIOR)
    tried = brute_force(critical, truth, cluster)
    assert found.kappa == pytest.approx(max(tried.values()), abs=1e-12)
    assert counts(truth, found.e[cluster] < critical) == found.counts
    assert found.counts.kappa == pytest.approx(found.kappa, abs=1e-12)
    best = np.array([pair for pair, kappa in tried.items() if kappa > found.kappa - 1e-12])
    assert (np.abs(found.e - PRIOR) <= np.abs(best - PRIOR) + 2 * cal.SAFETY_MARGIN).all()


@settings(deadline=None, max_examples=60)
@given(survey=surveys(), part=st.floats(0, 1, exclude_max=True))
def test_e_moves_no_surveyed_pixel_within_its_interval_and_some_beyond(survey, part):
    critical, truth, cluster = survey
    found = cal.calibrate_exact(critical, truth, cluster, 2, BOUNDS, PRIOR)
    mapped = found.e[cluster] < critical
    within = np.minimum(found.lower + part * (found.upper - found.lower), np.nextafter(found.upper, 0))
    within = np.maximum(within, found.lower)
    np.testing.assert_array_equal(within[cluster] < critical, mapped)
    for k in range(2):
        here = cluster == k
        if found.lower[k] > BOUNDS[0]:
            assert ((np.nextafter(found.lower[k], 0) < critical[here]) != mapped[here]).any()
        if found.upper[k] < BOUNDS[1]:
            assert ((np.nextafter(found.upper[k], 2) < critical[here]) != mapped[here]).any()


@settings(deadline=None, max_examples=30)
@given(survey=surveys(), order=st.randoms(use_true_random=False))
def test_the_order_of_pixels_does_not_matter(survey, order):
    shuffled = list(range(survey[0].size))
    order.shuffle(shuffled)
    one = cal.calibrate_exact(*survey, 2)
    other = cal.calibrate_exact(*(part[shuffled] for part in survey), 2)
    assert one.counts == other.counts
    np.testing.assert_array_equal(one.e, other.e)


def test_a_million_pixels_give_back_the_soil_parameters_that_made_them():
    rng = np.random.default_rng(7)
    true = np.linspace(0.7, 1.1, 16)
    cluster = rng.integers(0, 16, 1_000_000)
    critical = rng.lognormal(-0.1, 0.3, cluster.size)
    found = cal.calibrate_exact(critical, true[cluster] < critical, cluster, 16)
    assert found.kappa == 1.0
    assert ((found.lower <= true) & (true < found.upper)).all()
    np.testing.assert_allclose(found.e, true, atol=1e-3)


def test_ties_enter_and_leave_together():
    critical = np.array([1.0, 1.0, 1.0, 0.8])
    found = cal.calibrate_exact(critical, np.array([True, True, False, False]), np.zeros(4, dtype=np.int8), 1)
    assert found.counts == BinaryCounts(tp=2, fn=0, fp=1, tn=1)
    assert (found.lower[0], found.upper[0]) == (0.8, 1.0)


def test_bounds_decide_what_lies_beyond_them():
    # Both pixels are against the model, and no E within the bounds can help.
    found = cal.calibrate_exact(np.array([0.4, 1.6]), np.array([True, False]), np.array([0, 1]), 2)
    assert found.kappa == -1.0
    assert found.counts == BinaryCounts(tp=0, fn=1, fp=1, tn=0)
    np.testing.assert_array_equal(found.lower, [0.5, 0.5])
    np.testing.assert_array_equal(found.upper, [1.5, 1.5])
    np.testing.assert_array_equal(found.e, [0.9, 0.9])


def test_classes_survive_float32():
    critical = np.array([1.2, 0.9000001, 0.9, 0.7])
    truth = np.array([True, True, False, False])
    e = cal.calibrate_exact(critical, truth, np.zeros(4, int), 1, prior=0.6).e[0]
    assert 0.9 < e < 0.9000001  # narrower than the margin: the middle
    wider = cal.calibrate_exact(np.array([1.2, 0.91, 0.9, 0.7]), truth, np.zeros(4, int), 1, prior=0.6).e
    assert 0.9 < wider.astype(np.float32)[0] < 0.91


def test_a_cluster_without_pixels_has_the_prior():
    found = cal.calibrate_exact(np.array([1.2, 0.7]), np.array([True, False]), np.array([2, 2]), 4, prior=0.85)
    np.testing.assert_array_equal(found.pixels, [0, 0, 2, 0])
    np.testing.assert_array_equal(found.e, 0.85)
    np.testing.assert_array_equal(found.lower, [0.5, 0.5, 0.7, 0.5])
    np.testing.assert_array_equal(found.upper, [1.5, 1.5, 1.2, 1.5])


def test_pixels_without_critical_e_or_cluster_are_left_out():
    critical = np.array([1.2, 0.7, np.nan, 0.2])
    found = cal.calibrate_exact(critical, np.array([True, False, True, True]), np.array([0, 0, 0, -1]), 1)
    assert found.counts == BinaryCounts(tp=1, fn=0, fp=0, tn=1)
    assert found.pixels.tolist() == [2]


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_a_survey_of_one_class_is_refused_with_a_remedy(truth):
    with pytest.raises(ValueError, match=r"one class only: found .* wanted some of both.* fixed E"):
        cal.calibrate_exact(np.array([1.2, 0.7]), np.array(truth), np.zeros(2, int), 1)


def test_wrong_arguments_are_named():
    good = np.array([1.2, 0.7]), np.array([True, False]), np.zeros(2, int), 1
    with pytest.raises(ValueError, match="cluster 3 found where there are 1"):
        cal.calibrate_exact(good[0], good[1], np.array([0, 3]), 1)
    with pytest.raises(ValueError, match="2, 1 and 2 values"):
        cal.calibrate_exact(good[0], good[1][:1], good[2], 1)
    with pytest.raises(ValueError, match="wanted bool"):
        cal.calibrate_exact(good[0], np.array([1, 2]), good[2], 1)
    with pytest.raises(ValueError, match=r"prior 0\.4"):
        cal.calibrate_exact(*good, prior=0.4)


def test_constants_of_the_standard_swarm():
    assert pytest.approx(0.7213475204, abs=1e-10) == cal.INERTIA
    assert pytest.approx(1.1931471806, abs=1e-10) == cal.ACCELERATION
    assert (cal.swarm_size(8), cal.swarm_size(16)) == (15, 18)


def plain_boundary_agreement(ratio, surveyed, cluster):
    agreeing = []
    for i, j in np.argwhere(surveyed > 0):
        box = slice(max(i - 2, 0), i + 3), slice(max(j - 2, 0), j + 3)
        one, two = surveyed[box] == 1, surveyed[box] == 2
        if one.any() and two.any() and max(np.unique(cluster[box][side]).size for side in (one, two)) > 1:
            agreeing.append(ratio[box][one].mean() < ratio[box][two].mean())
    return (np.mean(agreeing) if agreeing else np.nan), len(agreeing)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), density=st.floats(0.05, 1))
def test_boundary_agreement_is_that_of_the_plain_twin(seed, density):
    rng = np.random.default_rng(seed)
    ratio, cluster = rng.uniform(0.5, 1.5, (7, 9)), rng.integers(0, 3, (7, 9))
    surveyed = np.where(rng.random((7, 9)) < density, rng.integers(1, 3, (7, 9)), 0)
    beta, cells = cal.boundary_agreement(ratio, surveyed, cluster)
    twin, twin_cells = plain_boundary_agreement(ratio, surveyed, cluster)
    assert cells == twin_cells
    assert beta == pytest.approx(twin, nan_ok=True)


def test_a_boundary_cell_needs_both_classes_two_clusters_and_data():
    ratio, surveyed, cluster = np.array([[0.8, 0.9, 1.1]]), np.array([[1, 1, 2]]), np.array([[0, 1, 1]])
    assert cal.boundary_agreement(ratio, surveyed, cluster) == (1.0, 3)
    assert cal.boundary_agreement(-ratio, surveyed, cluster) == (0.0, 3)
    assert cal.boundary_agreement(ratio, surveyed, np.ones((1, 3), int))[1] == 0
    assert cal.boundary_agreement(ratio, np.ones((1, 3), int), cluster)[1] == 0
    assert cal.boundary_agreement(ratio, surveyed, np.array([[-1, 1, 1]]))[1] == 0
    assert np.isnan(cal.boundary_agreement(np.array([[np.nan, 0.9, 1.1]]), surveyed, cluster)[0])
    with pytest.raises(ValueError, match="wanted one shape"):
        cal.boundary_agreement(ratio, surveyed, cluster[0])


@pytest.fixture(scope="module")
def wenquan(realdata):
    """Return degree days, survey (0 none) and cluster (-1 none) of the Wenquan survey region, 2005-2010."""

    def read(name):
        with rasterio.open(realdata / "cop_wenquan" / f"{name}.tif") as raster:
            return raster.read(1)

    ddf, ddt, survey, cluster = map(read, ("DDF_mean_annual", "DDT_mean_annual", "investigation_map", "soil_cluster"))
    kept = (ddf >= 0) & (ddt >= 0) & (survey < 3) & (cluster < 15)
    return ddf, ddt, np.where(kept, survey, 0), np.where(kept, cluster.astype(np.int64) - 1, -1)


@pytest.mark.realdata
def test_wenquan_by_e_of_one(wenquan):
    ddf, ddt, survey, cluster = wenquan
    kept = survey > 0
    plain = counts(survey[kept] == 1, fn.frozen_ground(ddf[kept], ddt[kept], 1.0) == fn.PERMAFROST)
    assert plain.n == 2653
    assert (plain.tp + plain.fn, plain.fp + plain.tn) == (1831, 822)
    assert round(plain.kappa, 4) == 0.6584
    assert round(plain.overall_accuracy, 4) == 0.8338
    beta, cells = cal.boundary_agreement(1.0 / fn.critical_e(np.where(kept, ddf, np.nan), ddt), survey, cluster)
    assert cells == 618
    assert round(beta, 4) == 0.9498


@pytest.mark.realdata
def test_wenquan_calibrated_exactly(wenquan):
    ddf, ddt, survey, cluster = wenquan
    kept = survey > 0
    critical = fn.critical_e(ddf[kept], ddt[kept])
    found = cal.calibrate_exact(critical, survey[kept] == 1, cluster[kept], 8)
    assert found.kappa == pytest.approx(0.7603053589990778, abs=1e-15)
    assert found.counts == BinaryCounts(tp=1617, fn=214, fp=71, tn=751)
    assert round(found.counts.overall_accuracy, 4) == 0.8926
    assert found.iterations == 3
    surveyed = [0, 1, 2, 3, 5, 6, 7]  # cluster 5 of the map is not in the region
    assert np.flatnonzero(found.pixels).tolist() == surveyed
    lower = [0.781, 0.5, 0.5, 1.1035, 0.5, 0.9474, 0.9115]
    upper = [1.173, 1.126, 1.262, 1.1079, 1.446, 0.9493, 0.9115]
    np.testing.assert_allclose(found.lower[surveyed], lower, atol=6e-4)
    np.testing.assert_allclose(found.upper[surveyed], upper, atol=6e-4)
    assert (found.e[[0, 1, 2, 4, 5]] == 0.9).all()  # the survey says nothing about these: the prior
    ground = fn.frozen_ground(ddf[kept], ddt[kept], found.e[cluster[kept]].astype(np.float32))
    assert counts(survey[kept] == 1, ground == fn.PERMAFROST) == found.counts


@pytest.mark.realdata
def test_wenquan_no_e_is_better_than_the_exact_ones(wenquan):
    ddf, ddt, survey, cluster = wenquan
    kept = survey > 0
    critical, truth, names = fn.critical_e(ddf[kept], ddt[kept]), survey[kept] == 1, cluster[kept]
    single = {round(e, 3): counts(truth, e < critical).kappa for e in np.arange(0.5, 1.5005, 0.001)}
    best = max(single, key=single.__getitem__)
    assert best == 0.912
    assert round(single[best], 4) == 0.7499
    rng = np.random.default_rng(0)
    best_known = cal.calibrate_exact(critical, truth, names, 8).e
    for e in np.clip(best_known + rng.normal(0, 0.05, (200, 8)), 0.5, 1.5):
        assert counts(truth, e[names] < critical).kappa <= 0.7603053589990778
