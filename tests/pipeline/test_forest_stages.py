"""A forest is judged on what it has not seen, knows where it was never tried, and carries E to both epochs alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from frostmap.catalogs.grids import lattice
from frostmap.kernels.forest import predict
from frostmap.kernels.frost_number import permafrost_probability
from frostmap.pipeline.applicability import training_space
from frostmap.pipeline.cross_validation import block_folds
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.experiments.plateau import TILES, Ground, ground_of_tile, joined
from frostmap.pipeline.forest_validation import (
    SCHEMES,
    Sample,
    folds_of,
    headline,
    importance,
    judged,
    left_out,
    partial_dependence,
    tasks,
)
from frostmap.pipeline.forests import grow
from frostmap.pipeline.predictors import NAMES
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Transfer
from frostmap.pipeline.schema import APPLICABLE, PREDICTED
from frostmap.pipeline.stages.e_spread import cluster_errors
from frostmap.pipeline.stages.forest import training_sample
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, doubtful_areas, e_group, maps_of
from frostmap.pipeline.stages.ground_correction import relative_errors
from frostmap.pipeline.stages.transfer import predict_window
from frostmap.pipeline.stages.validation import reliability_curve
from frostmap.pipeline.work import Work

from .conftest import Finished, make_recipe

GEOBOX = lattice(24)[25, 5]
SHAPE = (24, 24)


def make_sample(n: int = 300, seed: int = 3) -> Sample:
    """Return samples whose E rises with the first predictor alone."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3)).astype(np.float32)
    target = 0.9 + 0.1 * np.tanh(values[:, 0].astype(np.float64))
    return Sample(values, target, np.full(n, 0.01), rng.uniform(0, 900, n), rng.uniform(0, 900, n))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample()


# ---- judged on what it has not seen -----------------------------------------------------------------------------


def test_every_sample_is_predicted_once_by_each_scheme_from_the_others(sample: Sample) -> None:
    folds = folds_of(sample, seed=1)
    parts = [left_out(sample, folds, scheme, fold, trees=20, seed=1) for scheme, fold in tasks()]
    for scheme in SCHEMES:
        rows = np.concatenate([part.rows for part in parts if part.scheme == scheme])
        assert sorted(rows) == list(range(300))
    own = parts[0]
    forest = grow(sample.values[folds["random"] != 0], sample.target[folds["random"] != 0], 20, 1).forest
    np.testing.assert_allclose(own.mean, predict(forest, sample.values[own.rows].T), rtol=1e-6)
    table = judged(sample, parts)
    assert set(table["scheme"]) == set(SCHEMES)
    found = headline(table)
    assert found["random"]["samples"] == 300
    assert found["random"]["variance_explained_percent"] > 90
    assert 85 <= found["random"]["coverage_percent"] <= 100
    ranked = importance(("a", "b", "c"), np.array([0.8, 0.1, 0.1]), parts, sample).set_index("predictor")["permutation"]
    assert ranked["a"] > 0.5 > 20 * abs(ranked["b"])


def test_a_fold_that_is_empty_or_all_there_is_predicts_nothing(sample: Sample) -> None:
    folds = {"blocks": np.zeros(300, np.int64)}
    for fold in (0, 3):
        assert left_out(sample, folds, "blocks", fold, trees=3, seed=1).rows.size == 0
    table = judged(sample, [left_out(sample, folds, "blocks", 0, trees=3, seed=1)])
    assert table.empty


def test_partial_dependence_follows_what_e_depends_on_and_is_flat_elsewhere(sample: Sample) -> None:
    forest = grow(sample.values, sample.target, 30, 1).forest
    table = partial_dependence(("a", "b", "c"), forest, sample, seed=1)
    of_a, of_b = (table[table["predictor"] == name] for name in "ab")
    np.testing.assert_allclose(of_a["e"], 0.9 + 0.1 * np.tanh(of_a["value"]), atol=0.03)
    assert np.ptp(of_b["e"]) < 0.1 * np.ptp(of_a["e"])
    assert (table["lower"] <= table["e"]).all()
    assert (table["e"] <= table["upper"]).all()


# ---- what it is grown on ----------------------------------------------------------------------------------------


def covariates(seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return xr.Dataset({name: (("y", "x"), rng.normal(size=SHAPE).astype("f4")) for name in NAMES})


def test_samples_are_pixels_with_e_and_all_predictors_and_know_the_error_of_their_cluster(tmp_path: Path) -> None:
    cube, inside = covariates(1), np.ones(SHAPE, bool)
    cube["sand"][3, 3], inside[0] = np.nan, False
    cluster = np.full(SHAPE, 1, np.int16)
    cluster[:, 12:] = 4
    e = np.where(cluster == 1, 0.8, 1.0).astype(np.float32)
    e[5, 5] = np.nan
    calibration = xr.Dataset({"e": (("y", "x"), e), "cluster": (("y", "x"), cluster)})
    pd.DataFrame({"cluster": [1, 4], "sigma": [0.02, 0.07]}).to_csv(tmp_path / "c.csv")
    settings = Transfer(samples=5000, trees=10)
    made = training_sample(cube, calibration, tmp_path / "c.csv", inside, GEOBOX, settings)
    assert len(made.target) == 23 * 24 - 2
    assert np.isfinite(made.values).all()
    np.testing.assert_allclose(made.errors, np.where(made.target < 0.9, 0.02, 0.07))
    assert np.hypot(np.diff(made.x), np.diff(made.y)).min() == pytest.approx(1111.95 / 24, rel=0.02)


def test_too_few_pixels_are_refused_with_a_remedy(tmp_path: Path) -> None:
    cube = covariates(1)
    calibration = xr.Dataset({"e": (("y", "x"), np.full(SHAPE, np.nan, "f4")), "cluster": (("y", "x"), np.ones(SHAPE))})
    with pytest.raises(UserError, match="too few pixels") as caught:
        training_sample(cube, calibration, tmp_path / "c.csv", np.ones(SHAPE, bool), GEOBOX, Transfer())
    assert "every covariate covers it" in str(caught.value)


def test_numbers_without_a_cluster_have_no_error() -> None:
    table = pd.DataFrame({"cluster": [3, 1], "sigma": [0.09, 0.02]})
    np.testing.assert_allclose(cluster_errors(table), [0, 0.02, 0, 0.09])


# ---- carried over the map ---------------------------------------------------------------------------------------


def test_a_window_has_predictions_where_all_predictors_are_and_none_elsewhere(finished: Finished) -> None:
    work = Work(finished.recipe, finished.folder)
    cube = work.open("covariates/target")[list(NAMES)].load()
    inside = np.zeros(work.shape, bool)
    inside[10:14, 20:26] = True
    cube["clay"].values[10, 20] = np.nan
    region = xr.Dataset({"inside": (("y", "x"), inside)})
    block = predict_window(cube, region, folder=work.folder / "models")
    stored = work.open("transfer/target")
    known = inside & np.isfinite(stored["e"].values)
    known[10, 20] = False
    assert known.sum() > 15
    for variable in PREDICTED:
        np.testing.assert_array_equal(block[variable.name][known], stored[variable.name].values[known])
        assert (np.isnan(block[variable.name]) | (block[variable.name] == APPLICABLE.fill_value))[~known].all()
    assert (block["e_lower"][known] <= block["e_median"][known]).all()
    assert (block["e_median"][known] <= block["e_upper"][known]).all()


def test_both_epochs_are_predicted_by_one_forest_and_the_calibrated_map_stands_beside(pristine: Finished) -> None:
    recipe = pristine.recipe
    assert maps_of(recipe) == ["training", "target", CALIBRATED]
    assert [e_group(recipe, scope) for scope in maps_of(recipe)] == [
        "transfer/training", "transfer/target", "calibration/training",
    ]  # fmt: skip
    metrics = Work(recipe, pristine.folder).metrics
    change = metrics["change"]
    assert isinstance(change, dict)
    assert change["of_method"]["changed_km2"] > 0


def test_a_recipe_may_keep_the_calibrated_e(archive: Path) -> None:
    recipe = make_recipe(archive, frozen_ground={"training_e": "calibrated"})
    assert maps_of(recipe) == ["training", "target"]
    assert [e_group(recipe, scope) for scope in maps_of(recipe)] == ["calibration/training", "transfer/target"]


# ---- where it was never tried -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plateau() -> Ground:
    return joined([ground_of_tile(5, tile, 24, (2010,), forcing=False) for tile in TILES])


@pytest.mark.parametrize("region", ["wettest", "highest", "east"])
def test_a_region_left_out_of_training_is_flagged_and_its_errors_are_larger(plateau: Ground, region: str) -> None:
    column = {"wettest": NAMES.index("precipitation"), "highest": NAMES.index("elevation")}.get(region)
    measure = plateau.longitude if column is None else plateau.values[:, column]
    apart = measure > np.percentile(measure, 80)
    rng = np.random.default_rng(1)
    rows = rng.choice(np.flatnonzero(~apart), 400, replace=False)
    grown = grow(plateau.values[rows], plateau.e[rows], 100, 1)
    folds = block_folds(plateau.x[rows], plateau.y[rows], 1)
    space = training_space(plateau.values[rows], grown.importance, folds)
    outside = space.dissimilarity(plateau.values.T) > space.threshold
    among = ~apart
    among[rows] = False
    assert outside[among].mean() < 0.06
    assert outside[apart].mean() > 4 * outside[among].mean()
    error = (predict(grown.forest, plateau.values.T) - plateau.e) ** 2
    assert error[apart & outside].mean() > 1.3 * error[among & ~outside].mean()


# ---- how sure the map is ----------------------------------------------------------------------------------------


def truth_of(work: Work, epoch: str) -> dict[str, np.ndarray]:
    assert work.recipe.sources.truth is not None
    path = work.recipe.path(getattr(work.recipe.sources.truth, epoch))
    hows = {"ddf": "average", "ddt": "average", "e": "average", "frozen_ground": "nearest"}
    return {band: on_grid(path, work.geobox, "sources.truth", how=how, band=band) for band, how in hows.items()}


@pytest.mark.parametrize("epoch", ["training", "target"])
def test_probabilities_are_reliable_where_the_errors_are_what_they_are_said_to_be(
    pristine: Finished, epoch: str
) -> None:
    work = Work(pristine.recipe, pristine.folder)
    true = truth_of(work, epoch)
    forcing, soil = work.open(f"forcing/{epoch}"), work.open(f"transfer/{epoch}")
    ground = np.isin(true["frozen_ground"], (1, 2, 3)) & np.isfinite(soil["e"].values) & (true["ddf"] > 0)
    found = {name: forcing[name].values[ground].astype(float) for name in ("ddf", "ddt")}
    error = {name: float(np.sqrt(np.mean(np.log(found[name] / true[name][ground]) ** 2))) for name in found}
    e, sigma = (soil[name].values[ground] for name in ("e", "e_sigma"))
    chance = permafrost_probability(found["ddf"], found["ddt"], e, sigma, error["ddf"], error["ddt"])
    curve = reliability_curve(chance, true["frozen_ground"][ground] == 1).dropna()
    off = np.average(np.abs(curve["probability"] - curve["observed"]), weights=curve["pixels"])
    assert off < 0.06
    assert np.corrcoef(curve["probability"], curve["observed"])[0, 1] > 0.9


def test_intervals_of_e_hold_the_truth_and_are_not_wide_for_nothing(pristine: Finished) -> None:
    work = Work(pristine.recipe, pristine.folder)
    truth = work.metrics["truth"]
    assert isinstance(truth, dict)
    for epoch in ("training", "target"):
        for name in ("e_within_interval_percent", "e_within_error_percent"):
            assert 85 <= truth[epoch][name] <= 99  # a hundred surveyed pixels leave more open than 90 % tell
        soil, true = work.open(f"transfer/{epoch}"), truth_of(work, epoch)["e"]
        known = np.isfinite(soil["e"].values) & np.isfinite(true)
        assert soil["e_sigma"].values[known].mean() < 1.7 * true[known].std()


def test_areas_of_doubt_add_up() -> None:
    chance = np.array([[0.05, 0.5, np.nan], [0.95, 0.85, 0.2]], np.float32)
    applicable = np.array([[0, 1, 0], [1, 0, 1]], np.uint8)
    area = np.array([2.0, 3.0])
    found = doubtful_areas(chance, applicable, area)
    assert found["compared_km2"] == 2 * 2 + 3 * 3
    assert found["undecided_km2"] == 2 + 3 + 3
    assert found["expected_permafrost_km2"] == pytest.approx(2 * 0.55 + 3 * 2.0)
    assert found["not_applicable_km2"] == 2 + 3
    assert "not_applicable_km2" not in doubtful_areas(chance, None, area)


def test_stations_tell_the_scatter_of_sums_but_not_what_they_have_in_common() -> None:
    rng = np.random.default_rng(2)
    ground = rng.uniform(500, 3000, 400)
    ratio = 1.3 * np.exp(rng.normal(0, 0.12, 400))
    ratio[:8] *= 30  # stations with hardly any frost
    freezing = pd.DataFrame({"code": np.arange(400), "freezing_lst": ground * ratio, "freezing_ground": ground})
    thawing = pd.DataFrame({"code": [1, 2], "cross_validated": [1.0, 2.0], "thawing_ground": [1.0, 2.0]})
    found = relative_errors(thawing, freezing)
    assert found == {"ddf": pytest.approx(0.12, abs=0.02)}


def test_a_run_of_one_epoch_has_the_calibrated_e_alone(archive: Path) -> None:
    both = make_recipe(archive)
    single = both.model_copy(update={"epochs": both.epochs.model_copy(update={"target": None})})
    assert maps_of(single) == ["training"]
    assert e_group(single, "training") == "calibration/training"
