"""Sampling designs are judged by pixels that they could not learn from, and the winner is found by the rule."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from dask.delayed import delayed
from distributed import Client
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from typer.testing import CliRunner

from frostmap.catalogs.grids import parse_tile
from frostmap.pipeline import networks, predictors
from frostmap.pipeline.cli import app
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.experiments import sampling_designs
from frostmap.pipeline.experiments.plateau import Ground, chosen, ground_of_tile, joined
from frostmap.pipeline.experiments.populations import (
    FEWEST_BLOCKS,
    Population,
    common_sample,
    make_population,
    some,
)
from frostmap.pipeline.experiments.sampling_designs import (
    SIZES,
    Case,
    Settings,
    cause_of,
    experiment,
    fitting_sizes,
    implied_sd,
    known_designs,
    predict_blocks,
    read_cases,
    save_case,
    table,
    verdict,
)
from frostmap.pipeline.ledger import forget
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.truth import truth
from frostmap.pipeline.work import Work

from .conftest import Finished

SEED = 7
QUICK = Settings(("kmeans", "random"), (60, 120), trees=12, judges=200)


@pytest.fixture(scope="module")
def ground() -> Ground:
    """Return some two thousand pixels of the simulated plateau."""
    return joined([ground_of_tile(SEED, tile, 60, (2010,), forcing=False) for tile in ("h25v05", "h26v05")])


@pytest.fixture(scope="module")
def population(ground: Ground) -> Population:
    return make_population(ground.values, ground.e.astype(np.float32), ground.x, ground.y, 200, SEED)


@pytest.fixture(scope="module")
def cases(population: Population, client: Client) -> list[Case]:
    return experiment(delayed(population), QUICK, client)


# ---- the simulated plateau as a table -----------------------------------------------------------------------------


def test_pixels_of_the_plateau_are_those_of_the_simulated_truth() -> None:
    ground = ground_of_tile(SEED, "h25v05", 12, (2010,))
    every = Window.of_tile(parse_tile("h25v05"), 12).places()
    there = np.isin(every.latitude.ravel(), ground.latitude) & np.isin(every.longitude.ravel(), ground.longitude)
    places = Places(every.longitude.ravel()[there], every.latitude.ravel()[there], every.spacing_km)
    true = truth(SEED, places, (2010,))
    kept = true.frozen_ground < 4
    assert kept.sum() == len(ground.e) > 30
    for name in ("e", "ddf", "ddt"):
        np.testing.assert_allclose(getattr(ground, name), getattr(true, name)[kept], rtol=1e-6)


def test_the_table_has_the_predictors_in_their_order(ground: Ground) -> None:
    named = dict(zip(predictors.NAMES, ground.values.T, strict=True))
    assert 2000 < named["elevation"].mean() < 6000
    assert 0 <= named["slope"].min() <= named["slope"].max() < 60
    np.testing.assert_array_less(np.hypot(named["northness"], named["eastness"]), 1.0)
    sine = np.sin(np.radians(named["slope"]))
    np.testing.assert_allclose(np.hypot(named["northness"], named["eastness"]), sine, atol=1e-5)
    assert named["precipitation"].min() > 0
    assert 0 <= named["snow_cover"].min() <= named["snow_cover"].max() <= 100


# ---- who judges ---------------------------------------------------------------------------------------------------


def test_judges_are_drawn_from_all_pixels_and_no_design_may_use_them(population: Population) -> None:
    assert len(population.judges) == 200
    assert not np.intersect1d(population.judges, population.candidates).size
    assert len(population.judges) + len(population.candidates) == len(population.target)


def test_judges_are_a_fifth_of_the_pixels_at_most(ground: Ground) -> None:
    few = chosen(ground, np.arange(600))
    assert len(make_population(few.values, few.e.astype(np.float32), few.x, few.y, 10_000, 1).judges) == 120


def test_blocks_are_200_km_wide_unless_there_are_fewer_than_ten(ground: Ground) -> None:
    e = ground.e.astype(np.float32)
    assert make_population(ground.values, e, ground.x, ground.y, 100, 1).block_km == 200
    near = np.hypot(ground.x - ground.x.mean(), ground.y - ground.y.mean()) < 150
    some_of = make_population(ground.values[near], e[near], ground.x[near], ground.y[near], 100, 1)
    assert some_of.block_km < 200
    assert some_of.block.max() + 1 >= FEWEST_BLOCKS


def test_all_pixels_of_a_block_share_a_fold(population: Population) -> None:
    folds_of_blocks = pd.Series(population.fold).groupby(population.block).nunique()
    assert (folds_of_blocks == 1).all()
    assert len(np.unique(population.fold)) == 5


def test_blocks_are_judged_by_a_forest_that_saw_nothing_of_them(population: Population) -> None:
    drawn = sampling_designs.draw(population, "random", 120, QUICK)
    common = common_sample(population)
    found = predict_blocks(drawn, common, 2, QUICK)
    outside = drawn.pixels.fold != 2
    assert outside.sum() < 120
    forest = RandomForestRegressor(12, max_features=1 / 3, min_samples_split=6, random_state=QUICK.seed)
    forest.fit(drawn.pixels.values[outside], drawn.pixels.target[outside].astype(np.float64))
    assert (common.fold[found.rows] == 2).all()
    np.testing.assert_allclose(found.e, forest.predict(common.values[found.rows]), rtol=1e-6)


def test_a_fold_in_which_the_whole_sample_lies_is_not_judged(population: Population) -> None:
    rows = population.candidates[population.fold[population.candidates] == 1][:60]
    drawn = sampling_designs.Drawn(some(population, rows), np.arange(60) % 5, 0.0)
    assert np.isnan(predict_blocks(drawn, common_sample(population), 1, QUICK).e).all()


# ---- scores -------------------------------------------------------------------------------------------------------


def test_every_case_has_every_judge(cases: list[Case]) -> None:
    assert [case.name for case in cases] == ["kmeans-60", "kmeans-120", "random-60", "random-120"]
    for case in cases:
        assert case.scores["own"]["n"] == case.samples
        assert case.scores["common"]["n"] == case.scores["blocks"]["n"] == 200
        assert sum(case.judges) == 200
        rmse = (sum(case.squares) / 200) ** 0.5
        assert rmse == pytest.approx(case.scores["blocks"]["rmse"])


def test_more_samples_are_better(cases: list[Case]) -> None:
    by_name = {case.name: case.scores["common"]["rmse"] for case in cases}
    assert by_name["random-120"] < by_name["random-60"]


def test_the_own_score_is_that_of_five_fold_cross_validation(population: Population, cases: list[Case]) -> None:
    case = next(case for case in cases if case.name == "random-120")
    drawn = sampling_designs.draw(population, "random", 120, QUICK)
    forest = RandomForestRegressor(12, max_features=1 / 3, min_samples_split=6, random_state=QUICK.seed)
    target = drawn.pixels.target.astype(np.float64)
    predicted = cross_val_predict(forest, drawn.pixels.values, target, cv=PredefinedSplit(drawn.own_fold))
    assert case.scores["own"]["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - target) ** 2)), rel=1e-5)
    assert case.scores["own"]["r"] == pytest.approx(np.corrcoef(predicted, target)[0, 1], rel=1e-5)


def test_a_sample_larger_than_the_population_is_refused(population: Population) -> None:
    with pytest.raises(UserError, match="fewer pixels") as caught:
        sampling_designs.draw(population, "lhs", 100_000, QUICK)
    assert "lhs, 100000 samples" in str(caught.value)


def test_sizes_that_the_map_has_no_pixels_for_are_left_out_unless_they_were_asked_for() -> None:
    assert fitting_sizes(SIZES, 9431, strict=False) == ((1000, 3000, 5000), (10_000,))
    assert fitting_sizes(SIZES, 10_000) == (SIZES, ())
    for strict, candidates in ((True, 9431), (False, 999)):
        with pytest.raises(UserError, match="fewer pixels") as caught:
            fitting_sizes(SIZES, candidates, strict=strict)
        assert str(candidates) in str(caught.value)


def test_an_unknown_design_is_refused_by_name() -> None:
    assert known_designs(["pca", "kmeans", "pca"]) == ("kmeans", "pca")
    with pytest.raises(UserError, match="sobol"):
        known_designs(["kmeans", "sobol"])


@pytest.mark.parametrize(
    ("rmse", "explained", "sd"),
    [(0.048, 74.83, 0.0957), (0.049, 69.18, 0.0883), (0.049, 69.90, 0.0893), (0.054, 65.74, 0.0923)],
)
def test_the_papers_designs_were_scored_on_targets_of_different_spread(
    rmse: float, explained: float, sd: float
) -> None:
    assert implied_sd(rmse, explained) == pytest.approx(sd, abs=5e-5)


def test_the_table_has_the_papers_rows_below_ours(cases: list[Case]) -> None:
    rows = table(cases)
    assert len(rows) == 4 * 3 + 4
    paper = rows[rows["source"] == "paper"].set_index("design")
    assert paper.loc["kmeans", "variance_explained_percent"] == 74.83
    assert (paper["samples"] == 5000).all()
    here = rows[(rows["source"] == "here") & (rows["judged_by"] == "own")]
    assert here["implied_sd"].nunique() == 4


# ---- the rule -----------------------------------------------------------------------------------------------------


def made_up(name: str, samples: int, squares: list[float]) -> Case:
    blocks = tuple(range(len(squares)))
    scores = {judge: {"rmse": 0.0} for judge in ("own", "common", "blocks")}
    return Case(name, samples, scores, blocks, (10,) * len(squares), tuple(squares), 0.0, 0.0, 0)


def test_the_smallest_sample_wins_of_those_that_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(1)
    best = rng.uniform(0.8, 1.2, 40)
    shuffled = best[rng.permutation(40)] * 1.001
    worse = best + 0.5
    cases = [
        made_up("kmeans", 5000, best.tolist()),
        made_up("pca", 1000, shuffled.tolist()),
        made_up("lhs", 500, worse.tolist()),
    ]
    won = verdict(cases, seed=1)
    assert won.best == "kmeans-5000"
    assert won.winner == "pca-1000"
    assert set(won.equal) == {"kmeans-5000", "pca-1000"}
    assert won.difference["lhs-500"][0] == pytest.approx(
        np.sqrt(worse.mean() / 10) - np.sqrt(best.mean() / 10), rel=1e-12
    )


def test_a_constant_disadvantage_is_told_from_the_best_however_blocks_differ() -> None:
    squares = np.geomspace(0.1, 30, 40)
    cases = [made_up("kmeans", 5000, squares.tolist()), made_up("pca", 1000, (1.02 * squares).tolist())]
    assert verdict(cases, seed=1).winner == "kmeans-5000"


def test_of_equal_sizes_the_smallest_error_wins() -> None:
    squares = np.random.default_rng(2).uniform(0.5, 2.0, 30)
    cases = [made_up("pca", 1000, np.roll(squares, 3).tolist()), made_up("kmeans", 1000, (0.999 * squares).tolist())]
    assert verdict(cases, seed=1).winner == "kmeans-1000"


# ---- kept between calls -------------------------------------------------------------------------------------------


def test_cases_are_kept_and_only_missing_ones_are_made(
    population: Population, cases: list[Case], client: Client, tmp_path: Path
) -> None:
    cause = cause_of(["a"], QUICK)
    for case in cases[:3]:
        save_case(tmp_path, cause, case)
    (tmp_path / "kmeans-60.json").write_text("{ damaged")
    kept = read_cases(tmp_path, cause)
    assert sorted(kept) == ["kmeans-120", "random-60"]
    assert kept["random-60"] == cases[2]
    made: list[Case] = []
    found = experiment(delayed(population), QUICK, client, kept=kept, keep=made.append)
    assert sorted(case.name for case in made) == ["kmeans-60", "random-120"]
    assert [case.scores for case in found] == [case.scores for case in cases]


def test_cases_of_other_contents_or_settings_are_not_used(cases: list[Case], tmp_path: Path) -> None:
    save_case(tmp_path, cause_of(["a"], QUICK), cases[0])
    assert not read_cases(tmp_path, cause_of(["b"], QUICK))
    assert not read_cases(tmp_path, cause_of(["a"], Settings(trees=13)))
    assert read_cases(tmp_path, cause_of(["a"], Settings(("pca",), (7,), trees=12, judges=200)))


# ---- the command --------------------------------------------------------------------------------------------------


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["experiment", *(str(argument) for argument in arguments)])


def write_recipe(finished: Finished) -> None:
    (finished.folder / "recipe.yaml").write_text(json.dumps(finished.recipe.model_dump(mode="json", exclude_none=True)))


def test_the_command_writes_table_and_figure(finished: Finished, client: Client) -> None:
    write_recipe(finished)
    sizes = ["--size", 60, "--size", 120, "--design", "kmeans", "--design", "lhs", "--trees", 20]
    result = invoke("table1", finished.folder, *sizes, "--scheduler", client.scheduler.address)
    assert result.exit_code == 0, result.output
    folder = finished.folder / "experiments"
    rows = pd.read_csv(folder / "table1.csv")
    assert len(rows) == 4 * 3 + 4
    content = json.loads((folder / "table1.json").read_text())
    assert content["verdict"]["winner"] in result.output
    assert content["pixels"]["judges"] == content["pixels"]["pixels"] // 5
    assert content["simulated"]
    text = (folder / "table1.md").read_text()
    for word in ("Simulated data", "Latin hypercube", "0.048", content["rule"][:40]):
        assert word in text
    assert (folder / "table1.png").read_bytes()[:4] == b"\x89PNG"
    kept = {path: path.stat().st_mtime_ns for path in (folder / "table1").iterdir()}
    assert len(kept) == 4
    again = invoke("table1", finished.folder, *sizes, "--scheduler", client.scheduler.address)
    assert again.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.skipif(not networks.is_there(), reason="PyTorch (the extra `network`) is not installed")
def test_networks_are_trained_on_a_run(finished: Finished, client: Client) -> None:
    write_recipe(finished)
    result = invoke("network", finished.folder, "--steps", 300, "--scheduler", client.scheduler.address)
    assert result.exit_code == 0, result.output
    folder = finished.folder / "experiments"
    content = json.loads((folder / "network.json").read_text())
    bounded, free = content["networks"]
    assert bounded["plateau_check"]["share_physical"] == 1
    assert bounded["like_calibrated"]["kappa"] > 0.8
    assert {member["held_out"] for member in free["members"]} == {-1}
    assert len(bounded["members"]) == len(finished.recipe.sources.surveys) or len(bounded["members"]) == 3
    assert content["simulated"]
    assert "Simulated data" in (folder / "network.md").read_text()
    assert (folder / "network.png").read_bytes()[:4] == b"\x89PNG"
    kept = networks.load(folder / "network" / "bounded", predictors.NAMES)
    assert kept.network.members == len(bounded["members"])


def test_without_torch_networks_are_refused_before_anything_is_computed(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(finished)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = invoke("network", finished.folder)
    assert result.exit_code == 2
    assert "frostmap[network]" in result.stderr


def test_the_command_says_what_is_wrong(finished: Finished, client: Client) -> None:
    write_recipe(finished)
    at = ["--scheduler", client.scheduler.address, "--trees", 10]
    assert invoke("table1", finished.folder.parent / "nowhere").exit_code == 2
    unknown = invoke("table1", finished.folder, "--design", "sobol")
    assert unknown.exit_code == 2
    assert "sobol" in unknown.stderr
    large = invoke("table1", finished.folder, "--size", 50_000, "--design", "pca", *at)
    assert large.exit_code == 2
    assert "smaller samples (--size)" in large.stderr
    forget(Work(finished.recipe, finished.folder).ledger, "calibration/training")
    unfinished = invoke("table1", finished.folder, *at)
    assert unfinished.exit_code == 3
    assert "calibration/training" in unfinished.stderr
