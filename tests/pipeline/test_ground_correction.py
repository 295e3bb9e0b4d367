"""The regression on stations finds known coefficients, is judged on stations it has not seen, and can be refused."""

import numpy as np
import pandas as pd
import pytest

from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.recipe import GroundCorrection
from frostmap.pipeline.stages.ground_correction import _complain, corrected, fit, interval_sums

TRUE = np.array([12.0, 0.85, -40.0, 0.3])


def rows(noise: float, stations: int = 20, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = stations * 15
    table = pd.DataFrame(
        {
            "station": np.repeat([f"s{i}" for i in range(stations)], 15),
            "year": 2019,
            "interval": np.tile(np.arange(4, 19), stations),
            "thawing_lst": rng.uniform(40, 300, n),
            "ndvi": rng.uniform(0.05, 0.7, n),
            "latitude": np.repeat(rng.uniform(28, 39, stations), 15),
        }
    )
    table["thawing_ground"] = corrected(table["thawing_lst"], table["ndvi"], table["latitude"], TRUE) + rng.normal(
        0, noise, n
    )
    return table


def test_known_coefficients_are_found() -> None:
    np.testing.assert_allclose(fit(rows(0.0)).coefficients, TRUE, rtol=1e-4)


def test_noise_leaves_them_near_and_cross_validation_is_no_better_than_the_fit() -> None:
    result = fit(rows(8.0))
    np.testing.assert_allclose(result.coefficients[1:3], TRUE[1:3], rtol=0.15)
    assert 7 < result.metrics["rmse_fitted"] <= result.metrics["rmse_cross_validated"] < 9.5
    assert abs(result.metrics["bias_fitted"]) < 0.2
    assert result.metrics["stations"] == 20


def test_cross_validation_equals_fitting_without_each_station() -> None:
    table = rows(8.0, stations=5)
    left_out = table["station"] == "s3"
    without = fit(table[~left_out])
    own = table[left_out]
    expected = corrected(own["thawing_lst"], own["ndvi"], own["latitude"], without.coefficients)
    np.testing.assert_allclose(fit(table).rows.loc[left_out, "cross_validated"], expected, rtol=1e-4)


def test_a_correction_that_makes_things_worse_is_refused_unless_forced() -> None:
    worse = {"rmse_cross_validated": 30.0, "rmse_raw": 20.0, "stations": 9, "n": 90}
    refused = _complain(worse, GroundCorrection())
    assert isinstance(refused, DataIncomplete)
    assert "identity" in str(refused)
    assert _complain(worse, GroundCorrection(force=True)) is None
    assert _complain(worse | {"rmse_cross_validated": 10.0}, GroundCorrection()) is None


def test_the_constant_does_not_leak_into_winter_and_the_result_is_bounded() -> None:
    ground = corrected([0.0, 10.0, 200.0, np.nan], 0.3, 35.0, [500.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(ground, [0.0, 1.5 * 10 + 32, 1.5 * 200 + 32, np.nan])
    assert corrected([50.0], 0.0, 0.0, [-500.0, 1.0, 0.0, 0.0])[0] == 0


def test_too_few_stations_are_refused() -> None:
    with pytest.raises(DataIncomplete, match="too few stations"):
        fit(rows(1.0, stations=2))


def test_intervals_of_a_station_sum_to_its_year() -> None:
    days = np.arange(1, 366)
    temperature = -10 * np.cos(2 * np.pi * days / 365)
    sums = interval_sums(days, temperature, 2019)
    np.testing.assert_allclose(sums.sum(), np.maximum(temperature, 0).sum())


def test_two_missing_days_are_scaled_up_and_three_void_the_interval() -> None:
    days, temperature = np.arange(1, 366), np.full(365, 5.0)
    temperature[[0, 1]] = np.nan
    assert interval_sums(days, temperature, 2019)[0] == pytest.approx(80.0)
    temperature[2] = np.nan
    sums = interval_sums(days, temperature, 2019)
    assert np.isnan(sums[0])
    assert sums[1] == pytest.approx(80.0)
