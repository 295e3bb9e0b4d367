"""Reference maps are what their formulas say; where they differ from the run's own is told, at boreholes too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.agreement import mcnemar
from frostmap.kernels.frost_number import conductivity_ratio
from frostmap.kernels.inconsistency import kinds_of_agreement
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.figures import draw_to_file
from frostmap.pipeline.reference_maps import reference_scopes
from frostmap.pipeline.report.judgement import judgement_tables
from frostmap.pipeline.report.reference import reference
from frostmap.pipeline.run import run
from frostmap.pipeline.support_vectors import COSTS, EPSILONS, Settings, fit, left_out, load, save
from frostmap.pipeline.work import Work

from .conftest import Finished
from .small_chain import one_thread
from .small_plateau import SIDE, piece, recipe_in, write

WEST = [[89.9, 30.0], [92.0, 30.0], [92.0, 37.0], [89.9, 37.0]]
"""Of the piece: its first twenty columns."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("plateau")
    recipe_in(folder)
    other = piece().ground.copy()
    other[:, :10] = np.where(other[:, :10] == 1, 2, 1)  # wrong in ten columns
    other[:5] = 255
    write(folder / "other.tif", other, nodata=255)
    recipe = recipe_in(
        folder,
        boreholes=60,
        validation={
            "reference_maps": [
                {"name": "other", "path": "other.tif", "holds": "classes",
                 "codes": {1: "permafrost", 2: "seasonally_frozen", 3: "non_frozen"}}
            ],
            "conductivity_ratio": 0.7,
            "magt": True,
            "zones": [{"name": "in the west", "corners": WEST}],
        },
    )  # fmt: skip
    with one_thread() as client:
        run(recipe, folder / "work", until="validation", client=client)
    return Work(recipe, folder / "work")


def layer(work: Work, group: str, name: str) -> NDArray[Any]:
    return np.asarray(work.open(group)[name])


# ---- TTOP ---------------------------------------------------------------------------------------------------------


def test_ttop_with_the_runs_own_e_draws_the_runs_own_map(work: Work) -> None:
    own, again = (
        layer(work, "frozen_ground/training", "frozen_ground"),
        layer(work, "reference/ttop-e", "frozen_ground"),
    )
    assert {1, 2} <= set(np.unique(own))
    np.testing.assert_array_equal(again, own)
    temperature = layer(work, "reference/ttop-e", "ground_temperature")
    np.testing.assert_array_equal(temperature < 0, own == 1)


def test_ttop_with_one_r_k_is_that_of_its_formula(work: Work) -> None:
    true = piece()
    surplus = 0.7 * true.ddt.astype(float) - true.ddf
    expected = np.where(surplus <= 0, surplus, surplus / 0.7) / 365.25
    np.testing.assert_allclose(
        layer(work, "reference/ttop-constant", "ground_temperature"), expected, rtol=1e-5, atol=1e-4
    )
    clear = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(
        layer(work, "reference/ttop-constant", "frozen_ground")[clear] == 1, (expected < 0)[clear]
    )
    assert not work.has("reference/ttop-soil")  # without sand there is none


def test_ttop_by_texture_has_its_r_k_from_the_runs_sand(pristine: Finished) -> None:
    work = Work(pristine.recipe, pristine.folder)
    sand = layer(work, "covariates/target", "sand")
    ddf, ddt = (layer(work, "forcing/target", name).astype(float) for name in ("ddf", "ddt"))
    ratio = conductivity_ratio(sand, 20.0, 1.4)
    surplus = ratio * ddt - ddf
    expected = np.where(surplus <= 0, surplus, surplus / ratio) / 365.25
    found = layer(work, "reference/ttop-soil", "ground_temperature")
    known = np.isfinite(found)
    assert known.sum() > 50
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-4, atol=1e-3)
    own = layer(work, "frozen_ground/target", "frozen_ground")
    ground = layer(work, "reference/ttop-soil", "frozen_ground")
    np.testing.assert_array_equal(np.isin(ground, (4, 5)), np.isin(own, (4, 5)))  # lakes and glaciers are the run's


# ---- regression ---------------------------------------------------------------------------------------------------


def test_ground_temperature_follows_the_boreholes(work: Work) -> None:
    table, scores = work.table("magt"), work.table("magt_validation").set_index("left_out")
    assert len(table) == 60
    assert scores.loc["random", "r2"] > 0.8  # temperature follows the sums, with a noise of 0.2 K
    assert scores.loc["random", "n"] == scores.loc["regions", "n"] == 60
    assert abs(scores.loc["random", "bias"]) < 0.2
    temperature = layer(work, "reference/magt", "ground_temperature")
    rows, columns = table["row"].to_numpy(), table["column"].to_numpy()
    np.testing.assert_allclose(temperature[rows, columns], table["fitted"], rtol=1e-4, atol=1e-4)
    ground = layer(work, "reference/magt", "frozen_ground")
    np.testing.assert_array_equal(ground == 1, temperature < 0)
    assert (ground == layer(work, "frozen_ground/training", "frozen_ground")).mean() > 0.75
    magt = work.metrics["magt"]
    assert isinstance(magt, dict)
    assert magt["predictors"] == ["ddf", "ddt"]
    assert (magt["cost"], magt["epsilon"]) in {(cost, epsilon) for cost in COSTS for epsilon in EPSILONS}


def test_how_it_is_cut_changes_no_bit(work: Work, tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, store={"chunk_pixels": 48}, validation={"conductivity_ratio": 0.7})
    with one_thread() as client:
        run(recipe, tmp_path / "work", until="reference", client=client)
    other = Work(recipe, tmp_path / "work")
    for scope in ("ttop-e", "ttop-constant"):
        for name in ("frozen_ground", "ground_temperature"):
            np.testing.assert_array_equal(
                layer(other, f"reference/{scope}", name), layer(work, f"reference/{scope}", name)
            )


def test_too_few_boreholes_end_the_run_with_what_to_do(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, boreholes=12, validation={"magt": True, "ttop": []})
    with one_thread() as client, pytest.raises(DataIncomplete, match="too few boreholes") as refused:
        run(recipe, tmp_path / "work", until="reference", client=client)
    assert "magt to false" in refused.value.remedy


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ttop": ["e", "e"]}, "each source of r_k once"),
        ({"ttop": ["moss"]}, "'e', 'soil' or 'constant'"),
        ({"magt": True}, "there are no sources.boreholes"),
        ({"conductivity_ratio": 0.0}, "greater than 0"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as refused:
        recipe_in(tmp_path, validation=given)
    assert says in str(refused.value)


# ---- where maps differ ----------------------------------------------------------------------------------------


def test_every_pixel_is_told_and_its_area_counts_once(work: Work) -> None:
    kinds = layer(work, "inconsistency/other", "inconsistency")
    own, other = layer(work, "frozen_ground/training", "frozen_ground"), layer(work, "reference/other", "frozen_ground")
    np.testing.assert_array_equal(kinds, kinds_of_agreement(own, other))
    rows = work.table("inconsistency-other").set_index("zone")
    area = np.broadcast_to(pixel_area_km2(work.geobox).reshape(SIDE, -1), (SIDE, SIDE))
    ground = np.isin(own, (1, 2, 3)) & np.isin(other, (1, 2, 3))
    assert rows.loc["all", "compared_km2"] == pytest.approx(area[ground].sum())
    for name, code in {"neither": 0, "both": 1, "map_only": 2, "reference_only": 3}.items():
        assert rows.loc["all", f"{name}_km2"] == pytest.approx(area[kinds == code].sum())
    west = np.zeros((SIDE, SIDE), bool)
    west[:, :20] = True
    assert rows.loc["in the west", "compared_km2"] == pytest.approx(area[ground & west].sum())
    assert rows.loc["in the west", "kappa"] < rows.loc["all", "kappa"]
    metrics = work.metrics["inconsistency"]
    assert isinstance(metrics, dict)
    assert metrics["other"]["kappa"] == pytest.approx(rows.loc["all", "kappa"])
    assert metrics["other"]["zones"]["in the west"]["agreement"] == pytest.approx(rows.loc["in the west", "agreement"])


def test_the_check_by_ttop_finds_no_difference(work: Work) -> None:
    whole = work.table("inconsistency-ttop-e").set_index("zone").loc["all"]
    assert whole["map_only_km2"] == whole["reference_only_km2"] == 0
    assert whole["kappa"] == pytest.approx(1.0)
    assert np.isnan(work.table("inconsistency-magt").set_index("zone").loc["all", "kappa_of_classes"])


def test_boreholes_judge_every_reference_map_and_the_regression_by_what_it_had_not_seen(work: Work) -> None:
    maps, holes = work.table("borehole_maps").set_index("map"), work.table("boreholes")
    assert {"other", "ttop-e", "ttop-constant", "magt"} < set(maps.index)
    assert maps.loc["ttop-e", "p"] == 1.0
    there = holes[holes["mapped_other"].notna() & holes["mapped"].notna()]
    seen, mine, theirs = (there[name] == "permafrost" for name in ("observed", "mapped", "mapped_other"))
    test = mcnemar(seen.to_numpy(bool), mine.to_numpy(bool), theirs.to_numpy(bool))
    assert maps.loc["other", "pairs"] == len(there)
    assert maps.loc["other", "p"] == pytest.approx(test.p)
    assert maps.loc["other", "overall_accuracy"] < maps.loc["training", "overall_accuracy"]
    left_out = work.table("magt").set_index("line")["left_out_regions"]
    said = holes.set_index("line")["mapped_magt"]
    expected = np.where(left_out < 0, "permafrost", "seasonally frozen")
    assert said.loc[left_out.index].tolist() == expected.tolist()


def test_figures_and_the_report_show_them(work: Work) -> None:
    for name in ("reference_maps", "inconsistency"):
        path = draw_to_file(name, work)
        assert path is not None
        assert path.stat().st_size > 10_000
    section = reference(work, {})
    titles = [part.title for part in section.parts]
    assert titles == [
        "Agreement with other maps",
        "Agreement in the zone in the west",
        "Ground temperature by regression",
    ]
    assert any("draws the same map" in sentence for sentence in section.sentences)
    assert any("kappa" in sentence for sentence in section.sentences)
    table = next(part for part in judgement_tables(work) if part.title.startswith("Beside other maps"))
    assert "TTOP, r_k = 0.7" in [row[0] for row in table.rows]
    assert set(reference_scopes(work.recipe)) == {"other", "ttop-e", "ttop-constant", "magt"}


# ---- regressions, without a run ------------------------------------------------------------------------------------


def test_a_left_out_fold_is_predicted_without_it() -> None:
    rng = np.random.default_rng(2)
    values, folds = rng.normal(size=(40, 2)), np.arange(40) % 4
    target = values[:, 0] + rng.normal(0, 0.05, 40)
    found = left_out(values, target, folds, 1, seed=1)
    assert np.corrcoef(found, target[folds == 1])[0, 1] > 0.9
    changed = target.copy()
    changed[folds == 1] = 99.0  # what it never sees, it cannot know
    np.testing.assert_array_equal(left_out(values, changed, folds, 1, seed=1), found)


def test_a_regression_is_kept_to_the_last_bit_and_refused_where_it_is_not_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(40, 2))
    model = fit(values, values[:, 0], Settings(10.0, 0.0, 0.1), ["a", "b"])
    (path,) = save(model, tmp_path / "magt.json")
    assert load(path, ["a", "b"]) == model
    with pytest.raises(UserError, match="of other predictors"):
        load(path, ["a", "c"])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match="cannot be used"):
        load(path, ["a", "b"])
