"""The evaluation judges by what was not used, leaves out what is not there, and reaches what it says it reaches."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from frostmap.kernels.sky_classes import NIGHT_CLOUD, SHADED_CLOUD, SUNLIT_CLOUD
from frostmap.pipeline import scsg
from frostmap.pipeline.cli import app
from frostmap.pipeline.evaluation import (
    TITLES,
    diurnal,
    document,
    evaluate,
    heaton,
    madrid,
    scenes,
    simulated,
    stations,
)
from frostmap.pipeline.evaluation.scores import scores, share_within_sigma
from frostmap.pipeline.evaluation.spatial import departures, nearest, positions, trend
from frostmap.pipeline.evaluation.tables import Goal, Section, Table, published
from frostmap.pipeline.simulate.orbits import view_geometry
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import observed_days, scene, true_daily_means, true_skin_days

TINY = simulated.Design(
    window=Window(1200, 6500, 25 * 1200 + 500, 48, 48),
    margin=4,
    days=46,
    block=24,
    images=4,
    side=16,
    every=6,
    queries=100,
)

numbers = st.lists(st.floats(-50, 50), min_size=3, max_size=20)


@given(numbers, st.floats(-5, 5))
def test_a_shift_is_bias_and_nothing_else(values: list[float], shift: float) -> None:
    truth = np.array(values)
    score = scores(truth + shift, truth)
    assert score.n == truth.size
    np.testing.assert_allclose([score.bias, score.mae, score.rmse], [shift, abs(shift), abs(shift)], atol=1e-9)


@given(numbers, numbers)
def test_scores_are_those_of_plain_numpy(first: list[float], second: list[float]) -> None:
    n = min(len(first), len(second))
    found, truth = np.array(first[:n]), np.array(second[:n])
    score, error = scores(found, truth), found - truth
    np.testing.assert_allclose(
        [score.bias, score.mae, score.rmse], [error.mean(), np.abs(error).mean(), np.sqrt((error**2).mean())], atol=1e-9
    )


def test_what_is_missing_or_not_asked_for_is_not_judged() -> None:
    found, truth = np.array([1.0, np.nan, 3.0, 9.0]), np.array([0.0, 0.0, np.nan, 0.0])
    assert scores(found, truth, np.array([True, True, True, False])).cells == ("1", "+1.00", "1.00", "1.00", "-")
    assert scores(found[1:2], truth[1:2]).n == 0


def test_normal_errors_are_within_their_standard_error_two_times_in_three() -> None:
    error = np.random.default_rng(0).normal(0.0, 2.0, 20_000)
    n, share = share_within_sigma(error, np.full(error.size, 2.0), np.zeros(error.size))
    assert n == error.size
    assert abs(share - 0.683) < 0.02


def test_a_document_begins_with_its_goals_and_says_which_were_missed() -> None:
    table = Table("Numbers.", ("method", "RMSE"), (("ours", "1.00"),))
    section = Section("Data", "Text.", (table,), (Goal("low", "1.0", True), Goal("lower", "1.0", False)))
    text = document([section, Section("Other", "Not evaluated.")])
    assert (
        text.index("What was to be reached.") < text.index("## Data") < text.index("| ours ") < text.index("## Other")
    )
    assert "**no**" in text
    assert max(map(len, text.splitlines())) <= 121


def test_a_table_with_a_cell_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted 2"):
        Table("Numbers.", ("method", "RMSE"), (("ours",),)).markdown()


def test_published_numbers_say_where_they_are_from() -> None:
    source, rows = published("heaton_2018.csv")
    assert "doi:10.1007/s13253-018-00348-w" in source
    assert min(float(row["rmse"]) for row in rows) == 1.53


def test_departures_follow_a_smooth_field_and_tell_how_far_they_are_off() -> None:
    rows, cols = positions((40, 60))
    rng = np.random.default_rng(1)
    field = 3.0 * np.sin(rows / 9.0) * np.cos(cols / 11.0)
    image = field + rng.normal(0.0, 0.3, field.shape)
    gap = (rows > 10) & (rows < 22) & (cols > 20) & (cols < 40)
    filled, sigma = departures(np.where(gap, np.nan, image))
    assert scores(filled, field, gap).rmse < 0.6 * scores(np.zeros(field.shape), field, gap).rmse
    assert sigma[16, 30] > 1.5 * sigma[30, 5]
    sides = departures(np.where(gap, np.nan, image), cell=2)[0]
    assert scores(sides, filled).rmse < 0.5


def test_a_trend_is_found_where_it_is_known_and_the_nearest_pixel_is_the_nearest() -> None:
    rows, cols = positions((20, 30))
    plane = 2.0 + 0.5 * rows - 0.1 * cols
    masked = np.where(cols > 20, np.nan, plane)
    np.testing.assert_allclose(trend(masked, (rows, cols)), plane, atol=1e-9)
    np.testing.assert_array_equal(nearest(masked)[:, 25], plane[:, 20])


@pytest.mark.parametrize("name", [name for name in TITLES if name != "simulated"])
def test_data_that_is_not_there_is_left_out_and_the_section_says_so(name: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        section = evaluate(name, folder)
        assert section.text.startswith("Not evaluated")
        assert not section.goals


def test_the_command_writes_markdown_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    out = tmp_path / "tables.md"
    done = CliRunner().invoke(app, ["evaluate", "--only", "heaton", "--only", "stations", "--out", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text(encoding="utf-8")
    assert text.count("Not evaluated") == 2
    assert heaton.TITLE in text
    for wrong in (["--only", "paris"], ["--data", str(tmp_path / "no")], ["--out", str(tmp_path / "no" / "x.md")]):
        assert CliRunner().invoke(app, ["evaluate", *wrong]).exit_code == 2


# ---- real data ----------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_heaton_the_spatial_part_is_among_the_best_published(realdata: Path) -> None:
    section = heaton.evaluate(realdata)
    assert all(goal.met for goal in section.goals)
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    assert {row[0] for row in rows.values()} == {"42,740"}
    spatial = float(rows["trend and departures (the spatial part of `scsg`)"][3])
    assert 1.5 < spatial < 1.75
    assert spatial < float(rows["nearest observed pixel"][3]) - 0.2


@pytest.mark.realdata
def test_wudaoliang_the_published_sums_are_met_to_rounding(realdata: Path) -> None:
    both = stations.yearly_sums(realdata).join(stations.published_sums(realdata).add_suffix("_published"), how="inner")
    both = both[both["days"] >= stations.FEWEST_DAYS]
    assert len(both) == 31
    for name in stations.INDICES:
        assert float((both[name] - both[f"{name}_published"]).abs().max()) <= stations.ROUNDING
    assert all(goal.met for goal in stations.evaluate(realdata).goals)


@pytest.mark.realdata
def test_bondville_the_plain_mean_of_four_looks_is_a_kelvin_too_warm(realdata: Path) -> None:
    days = diurnal.load(realdata)
    assert days.truth.size == 336
    plain = scores(diurnal.methods()["mean4"](days), days.truth)
    assert 0.9 < plain.bias < 1.0
    assert 1.1 < plain.rmse < 1.3
    assert diurnal.evaluate(realdata).tables


@pytest.mark.realdata
def test_madrid_similar_pixels_and_departures_beat_either_alone(realdata: Path) -> None:
    scene_ = madrid.load(realdata)
    assert list(scene_.gaps) == [5, 8, 17, 27, 39, 50, 78, 94]
    chosen = madrid.CANDIDATES[-1]
    for size in (17, 50):
        gap = scene_.gaps[size]
        masked = np.where(gap, np.nan, scene_.truth)
        found = {
            name: scores(fill(masked, scene_.images, scene_), scene_.truth, gap).mae
            for name, fill in madrid.methods(chosen).items()
        }
        ours = found["`scsg`, chosen settings"]
        assert ours < min(method[size] for method in scene_.published.values())
        assert ours < 0.7 * min(found["the spatial part alone"], found["similar pixels, no departures"])


@pytest.mark.realdata
@pytest.mark.slow
def test_madrid_six_of_eight_sizes_with_settings_chosen_on_other_days(realdata: Path) -> None:
    assert all(goal.met for goal in madrid.evaluate(realdata).goals)


@pytest.mark.realdata
def test_heihe_by_night_departures_beat_the_nearest_pixel(realdata: Path) -> None:
    image = scenes.load(realdata, scenes.IMAGES["Heihe, Terra night"])
    found = scenes.hide(image)
    assert found["truth"].size == 96_163
    rmse = {name: scores(found[name], found["truth"]).rmse for name in (*scenes.methods(), scenes.SPATIAL)}
    assert rmse[scenes.SPATIAL] < 1.0
    assert rmse[scenes.SPATIAL] < 0.9 * rmse["nearest clear pixel"]


@pytest.mark.realdata
def test_heihe_by_day_what_is_seen_amid_clouds_is_too_cold(realdata: Path) -> None:
    image = scenes.load(realdata, scenes.IMAGES["Heihe, Terra day"])
    rows = scenes.surrounded(image)
    means = [float(row[2]) for row in rows]
    assert means == sorted(means)
    assert means[0] < -1.0


# ---- simulated data -----------------------------------------------------------------------------------------------


def test_the_true_skin_is_what_is_observed_less_the_radiometers_errors() -> None:
    window = TINY.window
    made, date = scene(7, window, 2020), dt.date(2020, 7, 3)
    ((_, products),) = observed_days(made, date, date)
    ((_, skin),) = true_skin_days(made, date, date)
    places, within = window.places(), []
    for number, (product, half) in enumerate(
        (("MOD11A1", "Day"), ("MYD11A1", "Day"), ("MOD11A1", "Night"), ("MYD11A1", "Night"))
    ):
        stored = products[product][f"LST_{half}_1km"].astype(np.uint16)
        _, angle = view_geometry(places.longitude, places.latitude, (date - dt.date(2000, 1, 1)).days, number)
        assert np.isfinite(skin[number]).all()
        if not (stored > 0).any():
            continue
        oblique = (np.radians(angle) / 1.134) ** 2
        error = scsg.celsius(stored) - skin[number] + 0.6 * oblique
        seen, noise = stored > 0, 1.1 + 1.2 * oblique + 0.02
        assert (error <= noise)[seen].all()  # above it, noise alone
        within.append((np.abs(error) <= noise)[seen])
    assert np.concatenate(within).mean() > 0.5  # below it, cloud that the mask missed as well


def test_the_ground_below_cloud_is_shaded_by_day_and_the_days_mean_with_it() -> None:
    made, first = scene(7, TINY.window, 2020), dt.date(2020, 6, 1)
    last = first + dt.timedelta(days=19)
    pixels = simulated.sample(TINY)
    means = np.stack([mean for _, mean in true_daily_means(made, first, last, pixels)])
    assert means.shape == (20, pixels.size)
    skins = np.stack([skin for _, skin in true_skin_days(made, first, last)]).reshape(20, 4, -1)[..., pixels]
    by_day, by_night = skins[:, :2].mean(axis=1), skins[:, 2:].mean(axis=1)
    assert ((means < by_day) & (means > by_night)).mean() > 0.99


@pytest.fixture(scope="module")
def year() -> simulated.Year:
    return simulated.simulate(TINY)


def test_withheld_squares_are_gone_from_what_is_filled(year: simulated.Year) -> None:
    taken = year.withheld > 0
    assert all(taken[:, number].any() for number in range(4))
    assert not year.observations["lst"].values[taken].any()
    sky = year.sky["sky"].values
    assert set(np.unique(sky[:, :2][taken[:, :2]])) <= {SUNLIT_CLOUD, SHADED_CLOUD}
    assert set(np.unique(sky[:, 2:][taken[:, 2:]])) == {NIGHT_CLOUD}
    assert ((year.observations["lst"].values > 0) == np.isin(sky, (*scsg.OBSERVED_CLEAR, *scsg.IN_SHADOW))).all()


def test_a_simulated_year_is_filled_and_judged_by_every_method(year: simulated.Year) -> None:
    names = simulated.methods()
    judged = simulated.judge(year, names)
    assert {name for _, name, _ in judged.withheld} == set(names)
    by_scsg = {overpass: score for overpass, name, score in judged.withheld if name == "scsg"}
    assert len(by_scsg) == 4
    assert all(score.n > 200 and score.rmse < 3.6 for score in by_scsg.values())
    assert {name: len(stored) for name, stored in judged.sample.items()} == dict.fromkeys(names, 4)
    sums, truths = simulated._all_sums(year, judged)
    assert set(truths) == {simulated.TRUE_OVERPASSES, simulated.TRUE_MEANS}
    assert all(np.isfinite(each["freezing"]).all() for each in sums.values())


def test_bins_are_near_the_exact_search(year: simulated.Year) -> None:
    search = simulated.binned_against_exact(year)
    assert search.n > 0
    assert search.rmse <= simulated.LARGEST_DIFFERENCE


@pytest.mark.slow
def test_the_simulated_year_reaches_its_goals() -> None:
    section = simulated.evaluate()
    missed = {goal.wanted.split(":")[0] for goal in section.goals if not goal.met}
    # what docs/explanation/evaluation.md owns up to: errors below sunlit cloud are told a little too small, and the
    # sinusoid is too warm a daily mean even of the true temperatures
    assert missed <= {
        "errors within the standard error, cloud, ground sunlit (B)",
        f"freezing and thawing sums of scsg, RMSE at most 6 % of those of {simulated.TRUE_MEANS}",
    }
