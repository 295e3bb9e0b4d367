"""The regression on stations finds known coefficients, is judged on stations it has not seen, and can be refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.stations import read_station_indices, read_stations
from frostmap.kernels.degree_days import degree_day_sums, interval_of_day
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.ground_regression import (
    INTERVALS,
    SHRINKAGES,
    TERMS,
    Sample,
    corrected,
    fit,
    scores,
    unexpected_signs,
)
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.recipes import bundled
from frostmap.pipeline.stages.ground_correction import (
    GROUND_CORRECTION,
    correction,
    given_coefficients,
    read_coefficients,
    station_sums,
)

TRUE = np.array([12.0, 0.85, -40.0, 0.3])
HERE = Path("/somewhere/recipe.yaml")


def rows(noise: float, stations: int = 20, seed: int = 4, coefficients: np.ndarray = TRUE) -> pd.DataFrame:
    """Return intervals of stations whose ground follows the regression, and noise."""
    rng = np.random.default_rng(seed)
    n = stations * 15
    table = pd.DataFrame(
        {
            "station": np.repeat([f"s{i}" for i in range(stations)], 15),
            "code": np.repeat([f"s{i}" for i in range(stations)], 15),
            "year": 2019,
            "interval": np.tile(np.arange(4, 19), stations),
            "thawing_lst": rng.uniform(40, 300, n),
            "ndvi": rng.uniform(0.05, 0.7, n),
            "latitude": np.repeat(rng.uniform(28, 39, stations), 15),
        }
    )
    own = np.broadcast_to(coefficients, (INTERVALS, 4))[table["interval"]]
    ground = corrected(table["thawing_lst"], table["ndvi"], table["latitude"], own)
    return table.assign(thawing_ground=ground + rng.normal(0, noise, n))


def sample(table: pd.DataFrame) -> Sample:
    return Sample.of(table, "thawing")


def by_interval(seed: int = 1) -> np.ndarray:
    """Return coefficients that change with the season."""
    rng = np.random.default_rng(seed)
    return TRUE + np.array([4.0, 0.1, 10.0, 0.1]) * rng.normal(0, 1, (INTERVALS, 4))


# ---- how coefficients are applied ---------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    skin=st.lists(st.floats(0, 600), min_size=1, max_size=9),
    ndvi=st.floats(-0.2, 1),
    coefficients=st.tuples(*[st.floats(-500, 500)] * 4),
)
def test_the_result_is_never_negative_nor_far_beyond_the_skin(
    skin: list[float], ndvi: float, coefficients: tuple[float, ...]
) -> None:
    sums = np.array(skin, np.float32)
    ground = corrected(sums, ndvi, 35.0, coefficients)
    assert ((ground >= 0) & (ground <= np.float32(1.5) * sums + 32 + 1e-3)).all()
    assert (ground[sums == 0] == 0).all()


def test_the_constant_does_not_leak_into_winter_and_the_result_is_bounded() -> None:
    ground = corrected([0.0, 10.0, 200.0, np.nan], 0.3, 35.0, [500.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(ground, [0.0, 1.5 * 10 + 32, 1.5 * 200 + 32, np.nan])
    assert corrected([50.0], 0.0, 0.0, [-500.0, 1.0, 0.0, 0.0])[0] == 0


def test_each_interval_has_its_own_coefficients() -> None:
    coefficients = by_interval()
    skin = np.linspace(50, 300, INTERVALS * 6).reshape(INTERVALS, 2, 3)
    whole = corrected(skin, 0.2, np.full((2, 3), 33.0), coefficients[:, None, None])
    plain = [corrected(skin[i], 0.2, 33.0, coefficients[i]) for i in range(INTERVALS)]
    np.testing.assert_array_equal(whole, plain)


def test_identity_changes_nothing() -> None:
    skin = np.random.default_rng(0).gamma(2, 80, 100).astype(np.float32)
    np.testing.assert_array_equal(corrected(skin, 0.4, 35.0, [0.0, 1.0, 0.0, 0.0]), skin)


# ---- one regression for all intervals -----------------------------------------------------------------------------


def test_known_coefficients_are_found() -> None:
    np.testing.assert_allclose(fit(sample(rows(0.0))).pooled, TRUE, rtol=1e-4)


def test_coefficients_equal_those_of_a_plain_least_squares() -> None:
    table = rows(20.0)
    design = np.column_stack([np.ones(len(table)), table["thawing_lst"], table["ndvi"], table["latitude"]])
    plain = np.linalg.lstsq(design, table["thawing_ground"].to_numpy(), rcond=None)[0]
    found = fit(sample(table))
    np.testing.assert_allclose(found.pooled, plain, rtol=1e-6)
    np.testing.assert_array_equal(found.coefficients, np.broadcast_to(found.pooled, (INTERVALS, 4)))


def test_noise_leaves_them_near_and_cross_validation_is_no_better_than_the_fit() -> None:
    table = rows(8.0)
    found = fit(sample(table))
    np.testing.assert_allclose(found.pooled[1:3], TRUE[1:3], rtol=0.15)
    score = scores(table.assign(fitted=found.fitted, cross_validated=found.cross_validated), "thawing").iloc[0]
    assert 7 < score["rmse_fitted"] <= score["rmse_cross_validated"] < 9.5
    assert score["r2_raw"] < score["r2_cross_validated"] <= score["r2"] < 1
    assert abs(score["bias_fitted"]) < 0.2
    assert score["stations"] == 20


def test_cross_validation_equals_fitting_without_each_station() -> None:
    table = rows(8.0, stations=5)
    left_out = (table["station"] == "s3").to_numpy()
    without = fit(sample(table[~left_out]))
    expected = sample(table[left_out]).predicted(without.coefficients)
    np.testing.assert_allclose(fit(sample(table)).cross_validated[left_out], expected, rtol=1e-4)


def test_a_station_that_moved_is_left_out_whole() -> None:
    table = rows(8.0, stations=5)
    moved = table.assign(station=table["station"].where(table["interval"] < 10, table["station"] + "-2"))
    np.testing.assert_array_equal(fit(sample(moved)).cross_validated, fit(sample(table)).cross_validated)


def test_a_column_that_says_nothing_does_no_harm() -> None:
    table = rows(0.0).assign(ndvi=0.0, latitude=33.0)
    table["thawing_ground"] = 5 + 0.8 * table["thawing_lst"]
    found = fit(sample(table))
    np.testing.assert_allclose(found.fitted, table["thawing_ground"], rtol=1e-5)
    np.testing.assert_allclose(found.cross_validated, table["thawing_ground"], rtol=1e-5)


# ---- a regression for each interval -------------------------------------------------------------------------------


def test_coefficients_of_each_interval_are_found_and_known_better_than_by_one_for_all() -> None:
    true = by_interval()
    table = rows(1.0, stations=60, coefficients=true)
    pooled, found = fit(sample(table)), fit(sample(table), shrinkages=SHRINKAGES)
    used = np.unique(table["interval"])
    np.testing.assert_allclose(found.coefficients[used, 1], true[used, 1], atol=0.02)
    assert np.isfinite(found.shrinkage)
    ground = table["thawing_ground"].to_numpy()
    assert np.std(found.cross_validated - ground) < 0.2 * np.std(pooled.cross_validated - ground)


def test_strong_shrinkage_equals_the_pooled_regression_and_weak_one_the_intervals_own() -> None:
    table = rows(8.0, stations=12, coefficients=by_interval())
    pooled = fit(sample(table)).pooled
    strong = fit(sample(table), shrinkages=(1e12,))
    np.testing.assert_allclose(strong.coefficients, np.broadcast_to(pooled, (INTERVALS, 4)), rtol=1e-4, atol=1e-6)
    weak = fit(sample(table), shrinkages=(1e-7,)).coefficients
    for interval in (4, 11, 18):
        alone = fit(sample(table[table["interval"] == interval])).pooled
        np.testing.assert_allclose(weak[interval], alone, rtol=1e-3, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(shrinkage=st.floats(1.0, 1e4), seed=st.integers(0, 99))
def test_shrinkage_is_that_of_so_many_rows_on_the_pooled_regression(shrinkage: float, seed: int) -> None:
    table = rows(8.0, stations=6, seed=seed, coefficients=by_interval(seed))
    found, pooled = fit(sample(table), shrinkages=(shrinkage,)).coefficients[9], fit(sample(table)).pooled
    own = table[table["interval"] == 9]
    weight = np.sqrt(shrinkage / len(table))
    designs = [
        np.column_stack([np.ones(len(part)), part["thawing_lst"], part["ndvi"], part["latitude"]])
        for part in (own, table)
    ]
    design = np.vstack([designs[0], weight * designs[1]])
    target = np.concatenate([own["thawing_ground"], weight * designs[1] @ pooled])
    np.testing.assert_allclose(found, np.linalg.lstsq(design, target, rcond=None)[0], rtol=1e-5, atol=1e-6)


def test_intervals_without_rows_take_the_pooled_coefficients() -> None:
    table = rows(8.0, coefficients=by_interval())
    found = fit(sample(table), shrinkages=(10.0,))
    np.testing.assert_allclose(found.coefficients[[0, 3, 19, 22]], np.broadcast_to(found.pooled, (4, 4)), rtol=1e-6)


def test_where_seasons_do_not_differ_intervals_are_drawn_to_the_pooled_regression() -> None:
    table = rows(15.0, stations=8)
    pooled, found = fit(sample(table)), fit(sample(table), shrinkages=SHRINKAGES)
    assert found.shrinkage >= 100
    ground = table["thawing_ground"].to_numpy()
    assert np.std(found.cross_validated - ground) < 1.03 * np.std(pooled.cross_validated - ground)


def test_a_left_out_station_is_predicted_with_the_shrinkage_that_the_others_choose() -> None:
    table = rows(30.0, stations=6, coefficients=by_interval())
    choices = (np.inf, 100.0, 10.0, 1.0)
    single = [fit(sample(table), shrinkages=(one,)).cross_validated for one in choices]
    found = fit(sample(table), shrinkages=choices)
    ground = table["thawing_ground"].to_numpy()
    for station in table["station"].unique():
        own = (table["station"] == station).to_numpy()
        best = int(np.argmin([np.sum((one - ground)[~own] ** 2) for one in single]))
        np.testing.assert_array_equal(found.cross_validated[own], single[best][own])
    assert found.shrinkage == choices[int(np.argmin([np.sum((one - ground) ** 2) for one in single]))]


# ---- scores and signs ---------------------------------------------------------------------------------------------


def test_scores_agree_with_their_plain_twin() -> None:
    table = rows(8.0)
    table = table.assign(fitted=table["thawing_ground"] + 1, cross_validated=table["thawing_ground"] * 1.1)
    found = scores(table, "thawing", by="interval").set_index("interval")
    part = table[table["interval"] == 7]
    error = (part["thawing_lst"] - part["thawing_ground"]).to_numpy()
    assert found.loc[7, "rmse_raw"] == pytest.approx(np.sqrt((error**2).mean()))
    assert found.loc[7, "bias_raw"] == pytest.approx(error.mean())
    assert found.loc[7, ["rmse_fitted", "bias_fitted"]].tolist() == pytest.approx([1, 1], rel=1e-5)
    assert found.loc[7, "r2"] == pytest.approx(1 - 1 / np.var(part["thawing_ground"].to_numpy()), rel=1e-5)
    assert found["n"].sum() == len(table)


def test_signs_against_physics_are_named() -> None:
    assert unexpected_signs(np.broadcast_to(TRUE, (INTERVALS, 4))) == []
    wrong = np.array(np.broadcast_to(TRUE, (INTERVALS, 4)))
    wrong[[3, 5], 1] = -0.1
    wrong[20, 2] = 3.0
    said = unexpected_signs(wrong, np.arange(4, 19))
    assert said == ["the coefficient of thawing is not positive as expected in the intervals 5"]


# ---- sums of stations ---------------------------------------------------------------------------------------------


def daily(temperature: np.ndarray, first: str = "2019-01-01") -> pd.DataFrame:
    return pd.DataFrame({"s": temperature}, index=pd.date_range(first, periods=len(temperature)))


def test_intervals_of_a_station_sum_to_its_year() -> None:
    temperature = -10 * np.cos(2 * np.pi * np.arange(1, 366) / 365)
    thawing, freezing = station_sums(daily(temperature), 2019)
    np.testing.assert_allclose(thawing.sum(), np.maximum(temperature, 0).sum(), rtol=1e-6)
    np.testing.assert_allclose(freezing, -np.minimum(temperature, 0).sum(), rtol=1e-6)


def test_two_missing_days_are_scaled_up_and_three_void_the_interval() -> None:
    temperature = np.full(365, 5.0)
    temperature[[0, 1]] = np.nan
    assert station_sums(daily(temperature), 2019)[0][0, 0] == pytest.approx(80.0)
    temperature[2] = np.nan
    sums = station_sums(daily(temperature), 2019)[0][:, 0]
    assert np.isnan(sums[0])
    assert sums[1] == pytest.approx(80.0)


@pytest.mark.parametrize(("year", "length"), [(2019, 13), (2020, 14)])
def test_the_short_last_interval_needs_all_but_two_of_its_days(year: int, length: int) -> None:
    temperature = np.ones(366)
    table = daily(temperature, f"{year}-01-01")
    table.iloc[-16:-14] = np.nan
    table.loc[table.index >= f"{year}-12-30"] = np.nan
    assert station_sums(table, year)[0][22, 0] == pytest.approx(length)
    table.loc[f"{year}-12-29"] = np.nan
    assert np.isnan(station_sums(table, year)[0][22, 0])


def test_a_freezing_year_runs_from_july_to_june_over_the_calendar_s_intervals() -> None:
    table = daily(np.full(731, 1.0), "2019-01-01")
    table.loc[:"2019-06-30"] = np.nan
    table.loc["2020-07-01":] = np.nan
    thawing, freezing = station_sums(table, 2020, "freezing")
    assert thawing.sum() == 366
    assert freezing[0] == 0
    assert np.isnan(station_sums(table, 2020)[0][22, 0])  # of the calendar year, half is missing


def test_the_freezing_sum_of_a_year_needs_its_days_and_is_scaled_to_all() -> None:
    temperature = np.full(365, -2.0)
    temperature[:15] = np.nan
    assert station_sums(daily(temperature), 2019)[1][0] == pytest.approx(730)
    temperature[15] = np.nan
    assert np.isnan(station_sums(daily(temperature), 2019)[1][0])


# ---- real days and their published sums ---------------------------------------------------------------------------

CMA52 = {"station": "SID", "name": "SNameEN", "longitude": "lon_dd", "latitude": "lat_dd", "elevation": "Ele"}
INCOMPLETE = {1981: 1, 1986: 1, 1991: 1, 1996: 1, 2008: 4, 2009: 1}
"""Days that the series of Wudaoliang lacks; the published sums count them as 0 °C."""


@pytest.fixture(scope="module")
def wudaoliang(realdata: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return daily ground temperatures of 1980-2010, and the published sums: freezing, thawing."""
    folder = realdata / "stations"
    path = folder / "Wudaoliang_52908_daily_1956-2018.csv.gz"
    days = read_stations(folder / "cma52" / "stations.csv", path, columns=CMA52, years=range(1980, 2011)).daily
    published = {
        name: read_station_indices(folder / "cma52" / f"{name.capitalize()}_index_ground_QTP.csv")["Wudaoliang"]
        for name in ("freezing", "thawing")
    }
    return days.set_index("date")[["ground_temperature"]], pd.DataFrame(published)


@pytest.mark.realdata
def test_yearly_sums_of_real_days_are_the_published_ones(wudaoliang: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Days as released with ESSD-2020-106, yearly sums as in the R package PIC; both from CMA's observations."""
    days, published = wudaoliang
    for year in range(1980, 2011):
        of_year = days.reindex(pd.date_range(f"{year}-01-01", f"{year}-12-31")).to_numpy(np.float32)
        freezing, thawing, valid = degree_day_sums(of_year[:, None, :])
        assert len(of_year) - valid[0, 0] == INCOMPLETE.get(year, 0)
        assert freezing[0, 0] == pytest.approx(published.loc[year, "freezing"], abs=0.051)
        assert thawing[0, 0] == pytest.approx(published.loc[year, "thawing"], abs=0.051)


@pytest.mark.realdata
def test_intervals_of_real_days_sum_to_the_published_ones(wudaoliang: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    days, published = wudaoliang
    for year in range(1980, 2011):
        thawing, freezing = station_sums(days, year)
        missing = INCOMPLETE.get(year, 0)
        n = 366 if year % 4 == 0 else 365
        assert freezing[0] == pytest.approx(published.loc[year, "freezing"] * n / (n - missing), abs=0.051)
        if missing == 0:
            assert thawing.sum() == pytest.approx(published.loc[year, "thawing"], abs=0.051)
        elif missing == 1:  # its interval is scaled up, by a day of that interval's mean
            dates = pd.date_range(f"{year}-01-01", f"{year}-12-31")
            day = int(np.flatnonzero(np.isnan(days.reindex(dates).to_numpy()))[0])
            more = thawing[day // 16, 0] / np.bincount(interval_of_day(n))[day // 16]
            assert thawing.sum() == pytest.approx(published.loc[year, "thawing"] + more, abs=0.051)
        else:  # four days of one interval: too many
            assert np.flatnonzero(np.isnan(thawing[:, 0])).tolist() == [18]


# ---- a map, its stations, and the whole stage ---------------------------------------------------------------------

GEOBOX = GeoBox((12, 12), Affine(1.0, 0.0, 80.0, 0.0, -1.0, 38.0), "EPSG:4326")
FREEZING_TRUE = np.array([-30.0, 0.9, 60.0, 2.0])
WINTER = (0, 1, 2, 21, 22)
YEARS = (2010, 2020)


def changed(tmp_path: Path, stations: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    """Return the demo's recipe with other settings of the correction."""
    content = yaml.safe_load(bundled("demo")) | {"data": str(tmp_path)}
    content["sources"]["stations"] = stations or {"sites": "sites.csv", "daily": "days.csv"}
    content["ground_correction"] = settings
    return parse_recipe(yaml.safe_dump(content), tmp_path / "recipe.yaml")


def layer(values: np.ndarray, dims: tuple[str, ...] = ("y", "x")) -> tuple[tuple[str, ...], np.ndarray]:
    return dims, values.astype(np.float32)


class World(SimpleNamespace):
    """A small map whose ground follows known regressions, as a stage sees it."""

    def __init__(self, recipe: Recipe, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        groups: dict[str, xr.Dataset] = {"terrain": xr.Dataset({"elevation": layer(np.full((12, 12), 4000.0))})}
        for epoch in ("training", "target"):
            groups[f"masks/{epoch}"] = xr.Dataset({"lakes": layer(np.zeros((12, 12)))})
        for year in YEARS:
            thawing = rng.uniform(40, 300, (INTERVALS, 12, 12))
            thawing[list(WINTER)] = 0
            sums = {
                "thawing_by_interval": layer(thawing, ("interval", "y", "x")),
                "thawing": layer(thawing.sum(axis=0)),
                "freezing": layer(rng.uniform(300, 1400, (12, 12))),
                "valid_days": (("y", "x"), np.full((12, 12), 365 + (year == 2020), np.int16)),
            }
            groups[f"degree_days/{year}"] = xr.Dataset(sums)
            ndvi = rng.uniform(0.05, 0.7, (INTERVALS, 12, 12))
            groups[f"vegetation/{year}"] = xr.Dataset({"ndvi": layer(ndvi, ("composite", "y", "x"))})
        super().__init__(recipe=recipe, geobox=GEOBOX, inside=np.ones((12, 12), bool), shape=(12, 12), groups=groups)

    def open(self, name: str) -> xr.Dataset:
        return self.groups[name]

    def has(self, name: str) -> bool:
        return name in self.groups


def write_stations(
    world: World,
    folder: Path,
    pixels: list[tuple[int, int]],
    coefficients: np.ndarray = TRUE,
    extra: str = "",
    offset: np.ndarray | None = None,
) -> None:
    """Write stations of some pixels, whose days add up to what the regressions say, to a tenth of a degree day."""
    sites = ["station,name,longitude,latitude,elevation"]
    days: list[pd.DataFrame] = []
    for number, (row, col) in enumerate(pixels):
        latitude = 37.5 - row
        sites.append(f"{number},s,{80.5 + col},{latitude},4100")
        for year in YEARS:
            sums, ndvi = world.open(f"degree_days/{year}"), world.open(f"vegetation/{year}")["ndvi"].values[:, row, col]
            skin = sums["thawing_by_interval"].values[:, row, col]
            thawing = corrected(skin, ndvi, latitude, np.broadcast_to(coefficients, (INTERVALS, 4)))
            thawing = thawing + (0 if offset is None else offset[number]) * (skin > 0)
            freezing = corrected(sums["freezing"].values[row, col], ndvi.mean(), latitude, FREEZING_TRUE)
            dates = pd.date_range(f"{year}-01-01", f"{year}-12-31")
            interval = (dates.day_of_year.to_numpy() - 1) // 16
            stored = np.zeros(len(dates), int)
            for i in range(INTERVALS):
                spread(stored, interval == i, thawing[i])
            spread(stored, np.isin(interval, WINTER), -float(freezing))
            days.append(
                pd.DataFrame(
                    {
                        "station": number,
                        "year": year,
                        "month": dates.month,
                        "day": dates.day,
                        "ground_temperature": stored,
                    }
                )
            )
    (folder / "sites.csv").write_text("\n".join(sites) + "\n" + extra)
    pd.concat(days).to_csv(folder / "days.csv", index=False)


def spread(stored: np.ndarray, where: np.ndarray, total: float) -> None:
    """Spread a sum [°C d] over days, in whole tenths."""
    tenths = round(10 * total)
    if tenths:
        each, rest = divmod(abs(tenths), int(where.sum()))
        stored[where] = np.sign(tenths) * (each + (np.arange(where.sum()) < rest))


PIXELS = [(row, col) for row in (1, 3, 5, 7, 9) for col in (2, 5, 8)]


def test_stations_on_a_map_give_back_the_regressions_that_made_them(tmp_path: Path) -> None:
    world = World(changed(tmp_path, freezing="pooled"))
    write_stations(world, tmp_path, PIXELS)
    made = correction(world)
    assert made.complaint is None
    values = made.tables["ground_correction"].set_index("term")["value"]
    np.testing.assert_allclose(values[list(TERMS)], TRUE, rtol=0.01, atol=0.05)
    freezing = made.tables["ground_correction_freezing"].set_index("term")["value"]
    np.testing.assert_allclose(freezing, FREEZING_TRUE, rtol=0.02, atol=0.02)
    assert made.tables["ground_coefficients"]["interval"].tolist() == list(range(INTERVALS))
    assert made.metrics["n"] == len(PIXELS) * 2 * 18
    assert made.metrics["rmse_cross_validated"] < 0.1 < made.metrics["rmse_raw"]
    assert made.metrics["freezing"]["n"] == len(PIXELS) * 2
    assert made.metrics["freezing"]["rmse_cross_validated"] < 0.1
    assert made.metrics["warnings"] == []
    assert made.metrics["excluded"] == 0
    stations = made.tables["stations"].set_index("station")
    assert (stations["n"] == 36).all()
    assert (stations["excluded"] == "").all()
    assert made.tables["ground_correction_intervals"]["interval"].tolist() == list(range(3, 21))


def test_intervals_of_the_map_give_back_their_own_regressions(tmp_path: Path) -> None:
    true = np.array(np.broadcast_to(TRUE, (INTERVALS, 4)))
    true[:, 1] += 0.15 * np.sin(np.arange(INTERVALS))
    world = World(changed(tmp_path, method="per_interval"))
    write_stations(world, tmp_path, [(row, col) for row in range(12) for col in range(1, 12, 2)], true)
    made = correction(world)
    table = made.tables["ground_coefficients"]
    np.testing.assert_allclose(table["thawing"][3:21], true[3:21, 1], atol=0.01)
    assert made.metrics["shrinkage"] == 1.0
    assert made.complaint is None
    path = tmp_path / "coefficients.csv"
    table.to_csv(path, index=False)  # what a run found can be given to another
    np.testing.assert_allclose(read_coefficients(path), table[list(TERMS)])


def test_stations_that_do_not_stand_for_their_pixel_are_left_out_and_say_why(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS, extra="far,s,100,60,1\nout,s,80.5,26.5,4000\nmute,s,91.5,37.5,4000\n")
    world.groups["masks/target"]["lakes"][1, 2] = 0.35
    world.groups["masks/training"]["lakes"][1, 5] = 0.19
    world.groups["terrain"]["elevation"][3, 2] = 3700
    world.groups["terrain"]["elevation"][3, 5] = 4420
    world.groups["terrain"]["elevation"][3, 8] = 4390
    world.inside[11, 0] = False
    made = correction(world)
    reasons = made.tables["stations"].set_index("station")["excluded"]
    assert reasons[reasons != ""].to_dict() == {
        "0": "35 % of its pixel is lake",
        "3": "400 m above the mean of its pixel",
        "4": "320 m below the mean of its pixel",
        "far": "outside the map",
        "out": "outside the region",
        "mute": "no interval with enough days and a sum of its pixel",
    }
    assert made.metrics["excluded"] == 6
    assert made.metrics["stations"] == len(PIXELS) - 3
    assert not {"0", "3", "4"} & set(made.tables["stations_fit"]["station"])


def test_limits_of_water_and_height_are_the_recipe_s(tmp_path: Path) -> None:
    world = World(changed(tmp_path, max_water=0.5, max_elevation_difference_m=500))
    write_stations(world, tmp_path, PIXELS)
    world.groups["masks/target"]["lakes"][1, 2] = 0.35
    world.groups["terrain"]["elevation"][3, 2] = 3700
    assert correction(world).metrics["excluded"] == 0


def test_without_an_elevation_model_heights_are_not_compared(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS)
    del world.groups["terrain"]
    made = correction(world)
    assert made.metrics["excluded"] == 0
    assert made.tables["stations"]["pixel_elevation"].isna().all()


def test_the_median_of_nine_pixels_stands_for_a_station_and_lakes_do_not_count(tmp_path: Path) -> None:
    world = World(changed(tmp_path, pixel="median3", force=True))
    write_stations(world, tmp_path, PIXELS)
    world.groups["masks/target"]["lakes"][0, 1:3] = 0.9
    world.inside[2, 3] = False
    table = correction(world).tables["stations_fit"]
    own = table[(table["station"] == "0") & (table["year"] == 2020)].set_index("interval")
    window = world.open("degree_days/2020")["thawing_by_interval"].values[:, 0:3, 1:4].reshape(INTERVALS, 9)
    kept = window[:, [2, 3, 4, 5, 6, 7]]
    np.testing.assert_allclose(own["thawing_lst"], np.median(kept, axis=1)[own.index])


def test_years_of_a_pixel_with_too_few_days_are_not_used_and_others_are_scaled(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS)
    world.groups["degree_days/2010"]["valid_days"][1, 2] = 349
    world.groups["degree_days/2010"]["valid_days"][1, 5] = 350
    table = correction(world).tables["stations_fit"]
    assert set(table[table["station"] == "0"]["year"]) == {2020}
    scaled = table[(table["station"] == "1") & (table["year"] == 2010)].set_index("interval")["thawing_lst"]
    stored = world.open("degree_days/2010")["thawing_by_interval"].values[:, 1, 5]
    np.testing.assert_allclose(scaled, stored[scaled.index] * 365 / 350, rtol=1e-6)


def test_a_correction_that_makes_things_worse_is_refused_unless_forced(tmp_path: Path) -> None:
    here = [(1, 2), (2, 5), (9, 8)]
    identity = np.array([0.0, 1.0, 0.0, 0.0])
    for force in (False, True):
        world = World(changed(tmp_path, force=force))
        write_stations(world, tmp_path, here, identity, offset=np.array([8.0, -8.0, 8.0]))
        made = correction(world)
        assert made.metrics["rmse_cross_validated"] > made.metrics["rmse_raw"]
        assert (made.complaint is None) == force
        if not force:
            assert isinstance(made.complaint, DataIncomplete)
            assert "method: identity" in str(made.complaint)
            assert "thawing sums worse" in str(made.complaint)


def test_a_freezing_correction_that_makes_things_worse_is_refused(tmp_path: Path) -> None:
    world = World(changed(tmp_path, freezing="pooled"))
    write_stations(world, tmp_path, PIXELS)
    days = pd.read_csv(tmp_path / "days.csv")
    cold = days["ground_temperature"] < 0
    wrong = days["station"].map({i: (i * 7919) % 11 for i in range(len(PIXELS))})
    days.loc[cold, "ground_temperature"] = -10 * wrong[cold] - 1  # nothing to do with the skin
    days.to_csv(tmp_path / "days.csv", index=False)
    for year in YEARS:  # and the skin's sums are right on the average
        mean = -days[cold & (days["year"] == year)].groupby("station")["ground_temperature"].sum().mean() / 10
        world.groups[f"degree_days/{year}"]["freezing"][:] = mean
    made = correction(world)
    assert made.complaint is not None
    assert "freezing sums worse" in str(made.complaint)
    assert "freezing: none" in str(made.complaint)


def test_too_few_stations_are_refused_with_the_reasons(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS[:3])
    world.groups["masks/training"]["lakes"][1, 2] = 0.8
    with pytest.raises(DataIncomplete, match="too few stations") as caught:
        correction(world)
    assert "0 (80 % of its pixel is lake)" in caught.value.found
    world.inside[:] = False
    with pytest.raises(DataIncomplete, match="no station can be used") as caught:
        correction(world)
    assert "outside the region" in caught.value.found


def test_unexpected_signs_are_a_warning_not_an_error(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS, np.array([12.0, 0.85, 40.0, 0.3]))
    made = correction(world)
    assert made.complaint is None
    assert "ndvi" in made.metrics["warnings"][0]


# ---- coefficients that are given ----------------------------------------------------------------------------------


def test_given_coefficients_are_judged_by_stations_where_there_are_some(tmp_path: Path) -> None:
    given = dict(zip(TERMS, TRUE.tolist(), strict=True))
    world = World(changed(tmp_path, method="coefficients", coefficients=given))
    write_stations(world, tmp_path, PIXELS)
    made = correction(world)
    assert made.complaint is None
    assert made.metrics["rmse_cross_validated"] < 0.1
    np.testing.assert_array_equal(made.tables["ground_coefficients"][list(TERMS)], np.broadcast_to(TRUE, (23, 4)))
    worse = World(changed(tmp_path, method="coefficients", coefficients=given | {"thawing": 3.0}))
    assert isinstance(correction(worse).complaint, DataIncomplete)


def test_given_coefficients_need_no_stations() -> None:
    content = yaml.safe_load(bundled("demo"))
    del content["sources"]["stations"]
    content["ground_correction"] = {"method": "coefficients", "coefficients": {"thawing": 0.8, "ndvi": 5.0}}
    recipe = parse_recipe(yaml.safe_dump(content), HERE)
    assert GROUND_CORRECTION.scopes(recipe) == [""]
    assert GROUND_CORRECTION.inputs(recipe, "") == []
    assert GROUND_CORRECTION.sources(recipe, "") == []
    made = correction(World(recipe))
    assert set(made.tables) == {"ground_correction", "ground_coefficients"}
    assert "ndvi" in made.metrics["warnings"][0]


def test_sets_of_coefficients_for_each_interval_may_be_given_in_the_recipe(tmp_path: Path) -> None:
    sets = [{"thawing": 0.5 + i / 100} for i in range(INTERVALS)]
    found = given_coefficients(changed(tmp_path, method="coefficients", coefficients=sets))
    assert found is not None
    np.testing.assert_allclose(found[:, 1], 0.5 + np.arange(INTERVALS) / 100)
    assert not found[:, [0, 2, 3]].any()


def test_a_table_of_coefficients_has_one_row_or_each_interval_once(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("constant,thawing,ndvi,latitude\n1,0.8,-20,0\n")
    recipe = changed(tmp_path, method="coefficients", coefficients_table="c.csv")
    np.testing.assert_array_equal(given_coefficients(recipe), np.broadcast_to([1, 0.8, -20, 0], (INTERVALS, 4)))
    assert path in GROUND_CORRECTION.sources(recipe, "")
    rows = [f"{i},0,{i},0,0\n" for i in reversed(range(INTERVALS))]
    path.write_text("interval,constant,thawing,ndvi,latitude\n" + "".join(rows))
    np.testing.assert_array_equal(read_coefficients(path)[:, 1], np.arange(INTERVALS))
    path.write_text("interval,constant,thawing,ndvi,latitude\n" + "".join(rows[1:]))
    with pytest.raises(CatalogError, match="each interval once"):
        read_coefficients(path)
    path.write_text("interval,constant,thawing,ndvi,latitude\n0,0,inf,0,0\n")
    with pytest.raises(CatalogError, match="not finite") as caught:
        read_coefficients(path)
    assert caught.value.where == f"{path}, line 2"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "coefficients"}, "needs either coefficients or a coefficients_table"),
        ({"method": "coefficients", "coefficients": {"thawing": 1.0}, "coefficients_table": "a.csv"}, "either"),
        ({"coefficients": {"thawing": 1.0}}, "of use to the method 'coefficients' alone"),
        ({"method": "coefficients", "coefficients": [{"thawing": 1.0}] * 22}, "or 23; found 22"),
        ({"method": "coefficients", "coefficients": {"constant": 1.0}}, "thawing"),
        ({"method": "coefficients", "coefficients": {"thwing": 1.0}}, "did you mean 'thawing'"),
        ({"method": "coefficients", "coefficients": {"thawing": 1.0, "ndvi": float("nan")}}, "finite"),
        ({"max_water": 1.5}, "less than or equal to 1"),
        ({"max_elevation_difference_m": -1}, "greater than or equal to 0"),
        ({"pixel": "bilinear"}, "'nearest' or 'median3'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    content = yaml.safe_load(bundled("demo"))
    content["ground_correction"] = settings
    with pytest.raises(UserError) as caught:
        parse_recipe(yaml.safe_dump(content), HERE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("without", "settings"),
    [
        ("stations", {"method": "per_interval"}),
        ("stations", {"method": "identity", "freezing": "pooled"}),
        ("ndvi", {}),
        ("ndvi", {"method": "coefficients", "coefficients": {"thawing": 0.8, "ndvi": -1.0}}),
    ],
)
def test_a_correction_without_what_it_needs_is_refused(without: str, settings: dict[str, Any]) -> None:
    content = yaml.safe_load(bundled("demo"))
    del content["sources"][without]
    del content["epochs"]["target"]
    content["sources"]["clusters"] = "clusters.tif"
    content["ground_correction"] = settings
    with pytest.raises(UserError, match=f"sources.{without}|identity"):
        parse_recipe(yaml.safe_dump(content), HERE)
    content["ground_correction"] = {"method": "identity"}
    assert GROUND_CORRECTION.scopes(parse_recipe(yaml.safe_dump(content), HERE)) == []


def test_columns_of_the_table_of_stations_may_be_named_in_the_recipe(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS)
    text = (tmp_path / "sites.csv").read_text().replace("longitude,latitude", "lon,lat")
    (tmp_path / "sites.csv").write_text(text)
    source = {"sites": "sites.csv", "daily": "days.csv", "columns": {"longitude": "lon", "latitude": "lat"}}
    world.recipe = changed(tmp_path, source | {"coordinates": "degrees"})
    assert correction(world).metrics["stations"] == len(PIXELS)
    with pytest.raises(UserError, match="not longtitude"):
        changed(tmp_path, source | {"columns": {"longtitude": "lon"}})


def test_monthly_files_of_cma_are_stations_of_the_map_wherever_their_table_is(tmp_path: Path) -> None:
    world = World(changed(tmp_path))
    write_stations(world, tmp_path, PIXELS)
    expected = correction(world).metrics
    folder = tmp_path / "months"
    folder.mkdir()
    days = pd.read_csv(tmp_path / "days.csv")
    far = days[days["station"] == 0].assign(station=99)
    for (year, month), part in pd.concat([days, far]).groupby(["year", "month"]):
        lines = []
        for day in part.itertuples():
            row, col = (0, 40) if day.station == 99 else PIXELS[day.station]
            place = f"{52000 + day.station} {3730 - 100 * row} {8030 + 100 * col} 41000"
            lines.append(f"{place} {year} {month} {day.day} {day.ground_temperature} 0 0 0 0 0\n")
        path = folder / f"SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-{year}{month:02d}.TXT"
        path.write_text("".join(lines))
    world.recipe = changed(tmp_path, {"daily": "months"})
    made = correction(world)
    assert made.metrics["excluded"] == 0
    for name, value in expected.items():
        assert made.metrics[name] == (pytest.approx(value) if isinstance(value, float) else value)


def test_every_file_of_a_folder_is_a_source(tmp_path: Path) -> None:
    folder = tmp_path / "months"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-20100{number}.TXT").write_text("")
    recipe = changed(tmp_path, {"daily": "months"})
    assert [path.name[-10:] for path in GROUND_CORRECTION.sources(recipe, "")] == ["201001.TXT", "201002.TXT"]
    missing = changed(tmp_path, {"daily": "elsewhere"})
    assert GROUND_CORRECTION.sources(missing, "") == [tmp_path / "elsewhere"]  # the plan says that it is not there
