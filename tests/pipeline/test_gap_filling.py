"""The simpler methods fill what the pixel's own seasons know, and say so like the default does."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from frostmap.kernels.annual_cycle import fit_annual_cycle_and_spread, harmonic_basis
from frostmap.kernels.quality import CLOUDY
from frostmap.kernels.sky_classes import CLEAR, NIGHT_CLOUD, SHADED_CLOUD
from frostmap.pipeline.recipe import GapFilling
from frostmap.pipeline.scsg import FROM_CYCLE, celsius
from frostmap.pipeline.stages.annual_cycle import days_since_2000
from frostmap.pipeline.stages.gap_filling import fill

DIMS = ("time", "overpass", "y", "x")
DAYS, SIDE = 366, 6


def window(overpass: int, seed: int = 3) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset, np.ndarray]:
    """Return a year of one overpass, cloudy on half of its days; its sky, its annual cycle, and the truth [°C]."""
    rng = np.random.default_rng(seed)
    day = np.arange(DAYS)
    season = -12.0 * np.cos(2 * np.pi * (day - 20) / 365.25)
    weather = rng.normal(0, 2, DAYS)
    truth = (season + weather)[:, None, None] + rng.normal(0, 0.5, (DAYS, SIDE, SIDE))
    cloud = rng.random(truth.shape) < 0.5
    stored = np.where(cloud, 0, np.rint((truth + 273.15) / 0.02)).astype(np.uint16)
    coords = {"time": np.datetime64("2020-01-01", "ns") + day * np.timedelta64(1, "D"), "overpass": [overpass]}
    state = np.where(cloud, np.uint8(CLOUDY), np.uint8(1))
    sky = np.where(cloud, np.uint8(SHADED_CLOUD if overpass < 2 else NIGHT_CLOUD), np.uint8(CLEAR))
    observations = xr.Dataset({"lst": (DIMS, stored[:, None]), "state": (DIMS, state[:, None])}, coords)
    basis = harmonic_basis(days_since_2000(observations))
    coefficients, _, spread = fit_annual_cycle_and_spread(celsius(stored), basis)
    cycle = xr.Dataset(
        {
            "annual_cycle": (("harmonic", "overpass", "y", "x"), coefficients[:, None]),
            "spread": (("overpass", "y", "x"), spread[None]),
        }
    )
    return observations, xr.Dataset({"sky": (DIMS, sky[:, None])}), cycle, truth


@pytest.mark.parametrize("method", ["annual_cycle", "harmonic"])
def test_gaps_take_the_season_and_observations_stay(method: str) -> None:
    observations, sky, cycle, truth = window(0)
    settings = GapFilling(method=method, minimum_observations=30)  # type: ignore[arg-type]
    made = fill(observations, sky, cycle, settings=settings, radius=2)
    value, flag = made["lst"][:, 0], made["fill_flag"][:, 0]
    stored = observations["lst"].values[:, 0]
    seen = stored > 0
    np.testing.assert_array_equal(value[seen], stored[seen])
    np.testing.assert_array_equal(flag[seen], CLEAR)
    np.testing.assert_array_equal(flag[~seen], SHADED_CLOUD | FROM_CYCLE)
    error = (value * 0.02 - 273.15 - truth)[~seen]
    assert np.sqrt(np.mean(error**2)) < 2.4  # of 2.06 K that the season does not know
    sigma = made["sigma"][:, 0][~seen].astype(float)
    assert 0.58 < np.mean(np.abs(error) < sigma) < 0.9
    np.testing.assert_array_equal(made["sigma"][:, 0][seen], 1.5)


def test_the_days_anomaly_makes_the_annual_cycle_better_than_the_series_alone() -> None:
    observations, sky, cycle, truth = window(0)
    gap = observations["lst"].values[:, 0] == 0
    rmse = {}
    for method, damping in (("annual_cycle", 1.0), ("annual_cycle", 0.0), ("harmonic", 0.0)):
        settings = GapFilling(method=method, anomaly_damping=damping)  # type: ignore[arg-type]
        made = fill(observations, sky, cycle, settings=settings, radius=5)
        rmse[method, damping] = np.sqrt(np.mean((made["lst"][:, 0] * 0.02 - 273.15 - truth)[gap] ** 2))
    assert rmse["annual_cycle", 1.0] < 0.5 * rmse["annual_cycle", 0.0]
    assert abs(rmse["harmonic", 0.0] - rmse["annual_cycle", 0.0]) < 0.3


def test_only_cloudy_nights_are_moved_by_the_offset() -> None:
    for overpass, moved in ((0, 0.0), (3, 1.5)):
        observations, sky, cycle, _ = window(overpass)
        gap = observations["lst"].values[:, 0] == 0
        plain, warm = (
            fill(observations, sky, cycle, settings=GapFilling(method="annual_cycle", night_cloud_offset=k), radius=2)
            for k in (0.0, 1.5)
        )
        difference = 0.02 * (warm["lst"][:, 0].astype(float) - plain["lst"][:, 0])
        np.testing.assert_allclose(difference[gap], moved, atol=0.021)
        np.testing.assert_array_equal(difference[~gap], 0)


def test_a_pixel_without_seasons_stays_missing() -> None:
    observations, sky, cycle, _ = window(1)
    observations["lst"].values[:, 0, 2, 3] = 0
    sky["sky"].values[:, 0, 2, 3] = SHADED_CLOUD
    cycle["annual_cycle"].values[:, 0, 2, 3] = np.nan
    for method in ("annual_cycle", "harmonic"):
        made = fill(observations, sky, cycle, settings=GapFilling(method=method), radius=2)  # type: ignore[arg-type]
        assert (made["lst"][:, 0, 2, 3] == 0).all()
        assert (made["fill_flag"][:, 0, 2, 3] == 255).all()
        assert np.isnan(made["sigma"][:, 0, 2, 3]).all()
        assert (made["lst"][:, 0, 2, 2] > 0).all()
