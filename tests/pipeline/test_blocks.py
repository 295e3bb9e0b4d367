"""A block function of windows gives the same map however it is cut, and nothing is computed before it is asked for."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels.neighbourhood import neighbourhood_mean
from frostmap.pipeline.blocks import map_windows
from frostmap.pipeline.schema import Variable

MEAN = Variable("mean", ("time", "y", "x"), "float32", "K", "neighbourhood mean")
COUNT = Variable("count", ("y", "x"), "int16", "1", "valid days", fill=-1)


def cube(shape: tuple[int, int, int], seed: int = 1) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 5, shape).astype(np.float32)
    values[rng.random(shape) < 0.4] = np.nan
    return xr.Dataset({"t": (("time", "y", "x"), values)})


def smooth(window: xr.Dataset) -> dict[str, np.ndarray]:
    values = window["t"].to_numpy()
    return {
        "mean": neighbourhood_mean(np.ascontiguousarray(values), 3),
        "count": np.isfinite(values).sum(axis=0).astype(np.int16),
    }


@settings(max_examples=15, deadline=None)
@given(block=st.integers(3, 40), extra=st.integers(0, 4), height=st.integers(5, 30), width=st.integers(5, 30))
def test_cutting_with_a_halo_does_not_change_the_result(block: int, extra: int, height: int, width: int) -> None:
    whole = cube((4, height, width))
    cut = map_windows(smooth, [whole], (MEAN, COUNT), {"time": 4}, block=block, halo=3 + extra).cube.compute(
        scheduler="synchronous"
    )
    expected = smooth(whole)
    np.testing.assert_array_equal(cut["mean"], expected["mean"])
    np.testing.assert_array_equal(cut["count"], expected["count"])


def test_too_small_a_halo_does_change_it() -> None:
    whole = cube((2, 20, 20))
    cut = map_windows(smooth, [whole], (MEAN, COUNT), {"time": 2}, block=5, halo=0).cube.compute(
        scheduler="synchronous"
    )
    assert not np.array_equal(cut["mean"], smooth(whole)["mean"], equal_nan=True)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def refuse(*_args: object, **_options: object) -> None:
        pytest.fail("computed while it was only described")

    with dask.config.set(scheduler=refuse):
        lazy = map_windows(smooth, [cube((2, 20, 20))], (MEAN, COUNT), {"time": 2}, block=8, halo=3).cube
    assert lazy["mean"].chunks == ((2,), (8, 8, 4), (8, 8, 4))
    assert lazy["count"].attrs["units"] == "1"


def test_blocks_without_a_wanted_pixel_are_left_as_fill() -> None:
    wanted = np.zeros((20, 20), dtype=bool)
    wanted[2, 3] = True
    made = map_windows(smooth, [cube((2, 20, 20))], (MEAN, COUNT), {"time": 2}, block=10, halo=3, wanted=wanted).cube
    counts = made["count"].compute(scheduler="synchronous").to_numpy()
    assert (counts[:10, :10] >= 0).all()
    assert (counts[10:] == -1).all()
    assert (counts[:, 10:] == -1).all()
