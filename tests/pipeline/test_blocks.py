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


def seen(window: xr.Dataset) -> dict[str, np.ndarray]:
    values = window["t"].to_numpy()
    return {"double": 2 * values, "days": np.full(values.shape, values.shape[0], np.int16)}


def test_days_and_overpasses_can_be_cut_as_well() -> None:
    dims = ("time", "overpass", "y", "x")
    double = Variable("double", dims, "float32", "K", "twice the value")
    days = Variable("days", dims, "int16", "1", "days that the task saw")
    values = np.random.default_rng(2).normal(0, 5, (7, 4, 9, 6)).astype(np.float32)
    relief = xr.Dataset({"height": (("y", "x"), np.zeros((9, 6), np.float32))})
    places: list[dict[str, slice]] = []

    def note(block: dict[str, np.ndarray], *, wanted: np.ndarray, at: dict[str, slice]) -> int:
        assert block["double"].shape[2:] == wanted.shape
        places.append(at)
        return 0

    made = map_windows(
        lambda window, ground: seen(window) | {"ground": ground["height"].to_numpy()},
        [xr.Dataset({"t": (dims, values)}), relief],
        (double, days),
        {"time": 7, "overpass": 4},
        block=4,
        halo=2,
        days=3,
        overpasses=True,
        note=note,
    )
    cube = made.cube.compute(scheduler="synchronous")
    np.testing.assert_array_equal(cube["double"], 2 * values)
    assert np.unique(cube["days"]).tolist() == [1, 3]
    assert made.tasks[0].name == "t000-o0-y00000-x00000"
    assert len({task.name for task in made.tasks}) == len(made.tasks) == 3 * 4 * 3 * 2
    assert {(at["time"].start, at["overpass"].start) for at in places} == {(t, o) for t in (0, 3, 6) for o in range(4)}
