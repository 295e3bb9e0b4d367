"""The forcing is the mean of its years' sums, corrected as the stations were; a year that is incomplete counts not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from frostmap.pipeline.ground_regression import INTERVALS, corrected
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.recipes import bundled
from frostmap.pipeline.stages.forcing import FORCING, means

YEARS = [2019, 2020]
SHAPE = (3, 4)
THAWING = np.array([12.0, 0.85, -40.0, 0.3]) + 0.01 * np.arange(INTERVALS)[:, None]
FREEZING = np.array([-30.0, 0.9, 60.0, 2.0])
LATITUDE = np.array([35.0, 34.0, 33.0], np.float32)[:, None]


def degree_days(seed: int, valid_days: int = 365) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    intervals = rng.uniform(40, 300, (INTERVALS, *SHAPE)).astype(np.float32)
    intervals[[0, 1, 21, 22]] = 0
    return xr.Dataset(
        {
            "thawing_by_interval": (("interval", "y", "x"), intervals),
            "thawing": (("y", "x"), intervals.sum(axis=0)),
            "freezing": (("y", "x"), rng.uniform(300, 1500, SHAPE).astype(np.float32)),
            "valid_days": (("y", "x"), np.full(SHAPE, valid_days, np.int16)),
        }
    )


def vegetation(seed: int) -> xr.Dataset:
    ndvi = np.random.default_rng(seed).uniform(0.05, 0.7, (INTERVALS, *SHAPE)).astype(np.float32)
    return xr.Dataset({"ndvi": (("composite", "y", "x"), ndvi)})


def place() -> xr.Dataset:
    return xr.Dataset({"latitude": (("y", "x"), np.broadcast_to(LATITUDE, SHAPE))})


def forcing(
    years: list[xr.Dataset],
    others: list[xr.Dataset],
    thawing: np.ndarray | None = None,
    freezing: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    return means(*years, *others, years=YEARS, thawing=thawing, freezing=freezing, minimum_days=350)


def test_without_a_correction_it_is_the_mean_of_the_years() -> None:
    one, two = degree_days(1), degree_days(2, 366)
    found = forcing([one, two], [])
    np.testing.assert_allclose(found["ddt"], (one["thawing"] + two["thawing"]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found["ddf"], (one["freezing"] + two["freezing"]) / 2, rtol=1e-6)


def test_each_interval_is_corrected_by_itself_and_summed() -> None:
    cubes, ndvi = [degree_days(1), degree_days(2, 366)], [vegetation(3), vegetation(4)]
    found = forcing(cubes, [place(), *ndvi], thawing=THAWING)
    plain = [
        sum(
            corrected(sums["thawing_by_interval"].values[i], green["ndvi"].values[i], LATITUDE, THAWING[i])
            for i in range(INTERVALS)
        )
        for sums, green in zip(cubes, ndvi, strict=True)
    ]
    np.testing.assert_allclose(found["ddt"], np.mean(plain, axis=0), rtol=1e-5)
    uncorrected = forcing(cubes, [])
    np.testing.assert_array_equal(found["ddf"], uncorrected["ddf"])
    assert (found["ddt"] != uncorrected["ddt"]).all()


def test_the_coefficients_of_identity_give_the_uncorrected_sums() -> None:
    cubes, ndvi = [degree_days(1), degree_days(2, 366)], [vegetation(3), vegetation(4)]
    identity = np.array([0.0, 1.0, 0.0, 0.0])
    found = forcing(cubes, [place(), *ndvi], np.broadcast_to(identity, (INTERVALS, 4)), identity)
    plain = forcing(cubes, [])
    np.testing.assert_allclose(found["ddt"], plain["ddt"], rtol=1e-6)
    np.testing.assert_array_equal(found["ddf"], plain["ddf"])


def test_freezing_sums_are_corrected_by_year_with_its_mean_ndvi() -> None:
    cubes, ndvi = [degree_days(1), degree_days(2, 366)], [vegetation(3), vegetation(4)]
    found = forcing(cubes, [place(), *ndvi], freezing=FREEZING)
    plain = [
        corrected(sums["freezing"], green["ndvi"].mean("composite"), LATITUDE, FREEZING)
        for sums, green in zip(cubes, ndvi, strict=True)
    ]
    np.testing.assert_allclose(found["ddf"], np.mean(plain, axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found["ddt"], forcing(cubes, [])["ddt"])


def test_ground_that_never_freezes_does_not_begin_to() -> None:
    one, two = degree_days(1), degree_days(2, 366)
    one["freezing"][0, 0] = two["freezing"][0, 0] = 0
    high = np.array([500.0, 0.9, 60.0, 2.0])
    found = forcing([one, two], [place(), vegetation(3), vegetation(4)], freezing=high)
    assert found["ddf"][0, 0] == 0
    assert (found["ddf"].ravel()[1:] > 0).all()


def test_a_missing_composite_is_that_of_the_other_years_and_without_any_it_counts_as_0() -> None:
    cubes, ndvi = [degree_days(1), degree_days(2, 366)], [vegetation(3), vegetation(4)]
    ndvi[0]["ndvi"][9, 1, 1] = np.nan
    for green in ndvi:
        green["ndvi"][11, 2, 2] = np.nan
    filled = [green.copy(deep=True) for green in ndvi]
    filled[0]["ndvi"][9, 1, 1] = ndvi[1]["ndvi"][9, 1, 1]
    for green in filled:
        green["ndvi"][11, 2, 2] = 0
    found = forcing(cubes, [place(), *ndvi], thawing=THAWING)
    np.testing.assert_allclose(found["ddt"], forcing(cubes, [place(), *filled], thawing=THAWING)["ddt"], rtol=1e-6)


def test_a_year_is_scaled_to_all_its_days_before_it_is_corrected() -> None:
    short, whole = degree_days(1, 352), degree_days(1)
    for name in ("thawing_by_interval", "thawing", "freezing"):
        short[name] = short[name] * np.float32(352 / 365)
    others = [place(), vegetation(3), vegetation(4)]
    found = forcing([short, degree_days(2, 366)], others, THAWING, FREEZING)
    expected = forcing([whole, degree_days(2, 366)], others, THAWING, FREEZING)
    np.testing.assert_allclose(found["ddt"], expected["ddt"], rtol=1e-5)
    np.testing.assert_allclose(found["ddf"], expected["ddf"], rtol=1e-5)


def test_a_year_with_too_few_days_counts_for_nothing() -> None:
    one, two = degree_days(1), degree_days(2, 366)
    one["valid_days"][0, 0] = 349
    one["valid_days"][2, 3] = two["valid_days"][2, 3] = 10
    others = [place(), vegetation(3), vegetation(4)]
    found = forcing([one, two], others, THAWING, FREEZING)
    alone = means(two, place(), vegetation(4), years=[2020], thawing=THAWING, freezing=FREEZING, minimum_days=350)
    for name in ("ddt", "ddf"):
        assert found[name][0, 0] == pytest.approx(alone[name][0, 0], rel=1e-6)
        assert np.isnan(found[name][2, 3])
        assert np.isfinite(found[name]).sum() == found[name].size - 1


def test_coefficients_without_ndvi_need_none() -> None:
    given = np.broadcast_to([5.0, 0.8, 0.0, 0.1], (INTERVALS, 4))
    cubes = [degree_days(1), degree_days(2, 366)]
    found = forcing(cubes, [place()], thawing=given)
    expected = forcing(cubes, [place(), vegetation(3), vegetation(4)], thawing=given)
    np.testing.assert_array_equal(found["ddt"], expected["ddt"])


@pytest.mark.parametrize(
    ("settings", "corrects"),
    [
        ({}, True),
        ({"method": "identity"}, False),
        ({"method": "identity", "freezing": "pooled"}, True),
        ({"method": "per_interval"}, True),
    ],
)
def test_it_waits_for_the_correction_where_there_is_one(settings: dict[str, str], *, corrects: bool) -> None:
    content = yaml.safe_load(bundled("demo")) | {"ground_correction": settings}
    inputs = FORCING.inputs(parse_recipe(yaml.safe_dump(content), Path("/somewhere/recipe.yaml")), "target")
    assert "degree_days/2020" in inputs
    assert ("ground_correction" in inputs) == corrects
    assert ("vegetation/2020" in inputs) == corrects
