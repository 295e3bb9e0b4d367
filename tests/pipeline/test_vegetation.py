"""NDVI is decoded by the product's divisor, screened by reliability, averaged two by two, and gaps are closed."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.catalogs.collections import load_collection
from frostmap.pipeline.granule_inputs import Reading
from frostmap.pipeline.stages import snow_days, vegetation
from frostmap.pipeline.stages.vegetation import interpolate_gaps, mean_of_four, usable_ndvi

MOD13A1 = load_collection("mod13a1")


def test_reliability_decides_what_is_kept() -> None:
    stored = np.array([7014, 7014, -1000, 3000, 7014, -3000, 9999], dtype=np.int16)
    reliability = np.array([0, 1, 2, 2, 3, 0, -1], dtype=np.int8)
    expected = [0.7014, 0.7014, 0.0, 0.3, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(usable_ndvi(stored, reliability, MOD13A1), expected, rtol=1e-6)


def test_two_of_four_fine_pixels_are_enough() -> None:
    fine = np.array([[0.2, np.nan, 0.2, np.nan], [0.4, np.nan, np.nan, np.nan]], dtype=np.float32)
    np.testing.assert_allclose(mean_of_four(fine), [[0.3, np.nan]], rtol=1e-6)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def test_gaps_are_closed_by_straight_lines() -> None:
    nan = np.nan
    np.testing.assert_allclose(interpolate_gaps(column(0, nan, nan, 0.3), 4), column(0, 0.1, 0.2, 0.3), atol=1e-7)


def test_longer_gaps_stay() -> None:
    nan = np.nan
    series = column(0, nan, nan, nan, nan, nan, 0.6)
    np.testing.assert_array_equal(interpolate_gaps(series, 4), series)
    assert np.isfinite(interpolate_gaps(series, 5)).all()


def test_ends_take_the_nearest_value() -> None:
    nan = np.nan
    np.testing.assert_allclose(interpolate_gaps(column(nan, 0.5, nan, nan), 4), column(0.5, 0.5, 0.5, 0.5))


def test_a_pixel_without_any_value_stays_missing() -> None:
    assert np.isnan(interpolate_gaps(column(*[np.nan] * 6), 23)).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-0.125, 1, width=32)), min_size=2, max_size=23))
def test_observed_values_are_never_changed_and_filled_ones_lie_between_neighbours(values: list[float | None]) -> None:
    series = column(*[np.nan if v is None else v for v in values])
    filled = interpolate_gaps(series, 23)
    valid = np.isfinite(series)
    np.testing.assert_array_equal(filled[valid], series[valid])
    if valid.any():
        assert np.nanmin(filled) >= series[valid].min() - 1e-6
        assert np.nanmax(filled) <= series[valid].max() + 1e-6


@pytest.mark.parametrize("stage", ["vegetation", "snow_days"])
def test_a_years_tile_takes_the_memory_that_is_stated_and_not_much_less(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    pixels, rng = 240, np.random.default_rng(7)
    module, product, names = {
        "vegetation": (vegetation, "mod13a1", ("ndvi", "reliability")),
        "snow_days": (snow_days, "mod10a1", ("snow_index", "quality")),
    }[stage]
    stated = vegetation.tile_bytes(pixels, 2) if stage == "vegetation" else snow_days.tile_bytes(pixels)
    collection = load_collection(product)

    class Day:
        date = np.datetime64("2010-03-01").item()

    def read(granules, _how):  # type: ignore[no-untyped-def]
        for key in granules:
            arrays = {
                name: rng.integers(0, 3, (2 * pixels, 2 * pixels)).astype(collection.band(name).dtype) for name in names
            }
            yield key, arrays, {"status": "ok"}

    monkeypatch.setattr(module, "read_each", read)
    how = Reading(collection, names, 2 * pixels, None)  # type: ignore[arg-type]
    rest = (2,) if stage == "vegetation" else ()
    tracemalloc.start()
    result = module._read_tile(dict.fromkeys(range(23), Day()), (slice(0, pixels), slice(0, pixels)), how, *rest)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(array.shape[1:] == (pixels, pixels) for array in result.values() if isinstance(array, np.ndarray))
    assert stated / 2 < peak < stated


def test_gaps_are_closed_alike_in_strips_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    stored = rng.integers(-3000, 9000, (23, 50, 50)).astype("int16")
    reliability = rng.integers(0, 4, (23, 50, 50)).astype("int8")
    whole = np.stack([usable_ndvi(*each, MOD13A1) for each in zip(stored, reliability, strict=True)])

    def read(_granules, _how):  # type: ignore[no-untyped-def]
        for at in range(23):
            yield at, {"ndvi": stored[at], "reliability": reliability[at]}, {"status": "ok"}

    monkeypatch.setattr(vegetation, "read_each", read)
    monkeypatch.setattr(vegetation, "STRIP_ROWS", 7)
    how = Reading(MOD13A1, ("ndvi", "reliability"), 50, None)  # type: ignore[arg-type]
    made = vegetation._read_tile({}, (slice(0, 50), slice(0, 50)), how, 1)
    np.testing.assert_array_equal(made["ndvi"], interpolate_gaps(whole, vegetation.LONGEST_GAP))


@pytest.mark.realdata
def test_a_real_mod13a2_granule_decodes_to_plausible_ndvi(realdata: object) -> None:
    from frostmap.pipeline.granule_files import read_granule

    collection = load_collection("mod13a2")
    path = next((realdata / "modis_hdf").glob("MOD13A2*.hdf"))  # type: ignore[operator]
    arrays = read_granule(path, collection, ["ndvi", "reliability"])
    ndvi = usable_ndvi(arrays["ndvi"], arrays["reliability"], collection)
    assert np.isfinite(ndvi).sum() > 5000  # the tile is mostly sea
    assert -0.2 <= np.nanmin(ndvi) <= np.nanmax(ndvi) <= 1.0
    assert 0.05 < np.nanmean(ndvi) < 0.95
