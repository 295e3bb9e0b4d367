"""A cloudy pixel borrows the day's anomaly from its clear neighbours, the same wherever the map was cut."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from frostmap.kernels import neighbourhood
from frostmap.kernels.neighbourhood import fill_missing, neighbourhood_mean

SIDE = 6 if numba.config.DISABLE_JIT else 12
EXAMPLES = 20 if numba.config.DISABLE_JIT else 80

maps = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 2), st.integers(1, SIDE), st.integers(1, SIDE)),
    elements=st.one_of(st.floats(-50, 50, width=32), st.just(float("nan"))),
)


def twin(anomaly: NDArray[np.float32], radius: int) -> NDArray[np.float64]:
    rounded = np.rint(anomaly.astype(np.float64) * 100.0) / 100.0
    mean = np.full(anomaly.shape, np.nan)
    for t, y, x in np.ndindex(anomaly.shape):
        box = rounded[t, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        mean[t, y, x] = box[np.isfinite(box)].mean() if np.isfinite(box).any() else np.nan
    return mean


@given(maps, st.integers(0, 4))
@settings(deadline=None, max_examples=EXAMPLES)
def test_running_sums_equal_their_numpy_twin(anomaly: NDArray[np.float32], radius: int) -> None:
    np.testing.assert_allclose(neighbourhood_mean(anomaly, radius), twin(anomaly, radius), rtol=1e-6, atol=1e-6)


@given(maps, st.integers(0, 4), st.integers(0, 2), st.data())
@settings(deadline=None, max_examples=EXAMPLES)
def test_cutting_the_map_does_not_change_the_mean(
    anomaly: NDArray[np.float32], radius: int, surplus: int, data: st.DataObject
) -> None:
    _, height, width = anomaly.shape
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    halo = radius + surplus
    top, left = max(0, y0 - halo), max(0, x0 - halo)
    block = np.ascontiguousarray(anomaly[:, top : y1 + halo, left : x1 + halo])
    part = neighbourhood_mean(block, radius)[:, y0 - top : y1 - top, x0 - left : x1 - left]
    np.testing.assert_array_equal(part, neighbourhood_mean(anomaly, radius)[:, y0:y1, x0:x1])


@given(maps, st.integers(0, 4))
@settings(deadline=None, max_examples=EXAMPLES)
def test_the_mean_lies_among_its_neighbours(anomaly: NDArray[np.float32], radius: int) -> None:
    mean = neighbourhood_mean(anomaly, radius)
    assert mean.dtype == np.float32
    for t, day in enumerate(anomaly):
        clear = np.isfinite(day)
        if clear.any():
            known = mean[t][np.isfinite(mean[t])]
            assert known.min() >= day[clear].min() - 0.006
            assert known.max() <= day[clear].max() + 0.006
        else:
            assert np.isnan(mean[t]).all()


def test_a_square_of_nine_by_hand() -> None:
    anomaly = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    anomaly[0, 0, 0] = np.nan
    expected = [[(1 + 3 + 4) / 3, 3.0, 3.0], [(1 + 3 + 4 + 6 + 7) / 5, 4.5, 4.5], [5.0, 5.5, 6.0]]
    np.testing.assert_allclose(neighbourhood_mean(anomaly, 1)[0], expected, rtol=1e-6)


def test_a_square_larger_than_the_map_is_the_mean_of_the_map() -> None:
    anomaly = np.array([[[1.0, 2.0], [np.nan, 6.0]]], np.float32)
    np.testing.assert_array_equal(neighbourhood_mean(anomaly, 25), np.full((1, 2, 2), 3.0, np.float32))


def test_days_do_not_mix() -> None:
    anomaly = np.array([[[1.0, np.nan]], [[np.nan, np.nan]], [[np.nan, -4.0]]], np.float32)
    mean = neighbourhood_mean(anomaly, 1)
    np.testing.assert_array_equal(mean[:, 0, 0], np.array([1.0, np.nan, -4.0], np.float32))


@given(maps, st.floats(0, 1))
@settings(deadline=None, max_examples=EXAMPLES)
def test_filling_equals_its_numpy_twin(temperature: NDArray[np.float32], damping: float) -> None:
    rng = np.random.default_rng(temperature.size)
    expected = np.where(rng.random(temperature.shape) < 0.2, np.nan, 3.0).astype(np.float32)
    anomaly = np.where(rng.random(temperature.shape) < 0.3, np.nan, -2.0).astype(np.float32)
    filled, flag = fill_missing(temperature, expected, anomaly, damping)
    guess = expected + np.float32(damping) * np.nan_to_num(anomaly)
    np.testing.assert_allclose(filled, np.where(np.isnan(temperature), guess, temperature), rtol=1e-6)
    assert (np.isnan(filled) == (flag == neighbourhood.NOT_FILLED)).all()
    assert (np.isfinite(temperature) == (flag == neighbourhood.OBSERVED)).all()


def test_each_way_of_filling_has_its_flag() -> None:
    nan = np.nan
    rows = ([1.0, nan, nan, nan, nan], [0.0, 5.0, 5.0, nan, nan], [2.0, 2.0, nan, 2.0, nan])
    temperature, expected, anomaly = (np.array(row, np.float32).reshape(1, 1, 5) for row in rows)
    filled, flag = fill_missing(temperature, expected, anomaly)
    np.testing.assert_array_equal(filled[0, 0], np.array([1.0, 6.0, 5.0, nan, nan], np.float32))
    assert flag[0, 0].tolist() == [
        neighbourhood.OBSERVED,
        neighbourhood.FILLED_BY_NEIGHBOURS,
        neighbourhood.FILLED_BY_CYCLE,
        neighbourhood.NOT_FILLED,
        neighbourhood.NOT_FILLED,
    ]


def test_wrong_inputs_are_named() -> None:
    anomaly = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(ValueError, match="radius"):
        neighbourhood_mean(anomaly, -1)
    with pytest.raises(ValueError, match="float32"):
        neighbourhood_mean(anomaly[0], 1)
    with pytest.raises(ValueError, match="one shape"):
        fill_missing(anomaly, anomaly, anomaly[:, :1])
    with pytest.raises(ValueError, match="damping"):
        fill_missing(anomaly, anomaly, anomaly, 1.5)
