"""The E behind a map lies in the bracket that its classes leave; what contradicts is told."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels import frost_number as fn
from frostmap.kernels.recovered_e import recover_e


def world(seed, pixels=400, clusters=3):
    rng = np.random.default_rng(seed)
    ddf, ddt = rng.uniform(500, 3000, pixels), rng.uniform(500, 3000, pixels)
    cluster, e = rng.integers(0, clusters, pixels), rng.uniform(0.7, 1.2, clusters)
    return ddf, ddt, cluster, e, fn.frozen_ground(ddf, ddt, e[cluster])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 100_000))
def test_the_bracket_holds_the_e_that_made_the_map(seed):
    ddf, ddt, cluster, e, classes = world(seed)
    for found in recover_e(classes, cluster, ddt, ddf):
        critical = np.sqrt(ddf / ddt)[cluster == found.cluster]
        permafrost = classes[cluster == found.cluster] == fn.PERMAFROST
        assert found.lower <= e[found.cluster] < found.upper
        assert (found.lower, found.upper) == (critical[~permafrost].max(), critical[permafrost].min())  # plain twin
        assert (found.permafrost, found.seasonally_frozen) == (permafrost.sum(), (~permafrost).sum())
        assert found.contradicting == 0
        assert found.consistent


def test_a_few_pixels_that_contradict_are_passed_over_and_counted():
    ddf, ddt, cluster, e, classes = world(1, pixels=9000)
    wrong = np.argmax(ddf / ddt)
    classes[wrong] = fn.SEASONALLY_FROZEN
    found = recover_e(classes, cluster, ddt, ddf)
    assert sum(each.contradicting for each in found) >= 1
    assert all(each.lower <= e[each.cluster] < each.upper for each in found)
    strict = recover_e(classes, cluster, ddt, ddf, violations=0.0)
    assert not all(each.consistent for each in strict)
    assert any(np.isnan(each.e) for each in strict)


def test_files_that_do_not_belong_together_are_told():
    ddf, ddt, cluster, _, classes = world(2, pixels=9000)
    shuffled = np.random.default_rng(0).permutation(ddf)
    assert not any(each.consistent for each in recover_e(classes, cluster, ddt, shuffled))


def test_one_class_leaves_one_side_open_and_what_is_missing_does_not_count():
    ddf, ddt = np.array([1440.0, 1210, 810, np.nan]), np.full(4, 1000.0)
    found = recover_e(np.array([1, 1, 5, 2]), np.array([4, 4, 4, 4]), ddt, ddf)[0]
    assert (found.cluster, found.permafrost, found.seasonally_frozen) == (4, 2, 0)
    assert np.isnan(found.lower)
    assert found.upper == pytest.approx(1.1)
    assert np.isnan(found.e)
    assert found.consistent
    assert recover_e(np.array([1]), np.array([-1]), np.array([1.0]), np.array([1.0])) == []


def test_wrong_input_is_refused():
    one = np.ones(2)
    with pytest.raises(ValueError, match="wanted one shape"):
        recover_e(one, np.ones(3, int), one, one)
    with pytest.raises(ValueError, match="wanted a share"):
        recover_e(one, one.astype(int), one, one, violations=1.0)


@pytest.mark.realdata
@pytest.mark.parametrize(("pixels", "within"), [(16_000, 2e-3), (3500, 1e-2), (400, 0.2)])
def test_more_pixels_of_real_degree_days_leave_less_to_choose(realdata, pixels, within):
    def read(name):
        with rasterio.open(realdata / "cop_wenquan" / f"{name}.tif") as raster:
            return raster.read(1)

    ddf, ddt = read("DDF_mean_annual"), read("DDT_mean_annual")
    kept = np.flatnonzero((ddf > 0) & (ddt > 0))
    chosen = np.random.default_rng(3).choice(kept, min(pixels, kept.size), replace=False)
    ddf, ddt = ddf.ravel()[chosen], ddt.ravel()[chosen]
    classes = fn.frozen_ground(ddf, ddt, 0.93)
    found = recover_e(classes, np.zeros(chosen.size, int), ddt, ddf)[0]
    assert found.lower <= 0.93 < found.upper
    assert found.upper - found.lower < within
