"""What the paper prints follows from its own counts and areas, except where it does not; a run is held beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from frostmap.kernels.change import hot_spot_bound
from frostmap.pipeline.cli import app
from frostmap.pipeline.products.paper import (
    Compared,
    as_table,
    compare,
    computed,
    counterparts,
    numbers_of_run,
    paper,
)
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.recipes import bundled, with_values

REFERENCE = Path(__file__).parents[1] / "reference"


def found(what: str, units: str | None = None) -> Compared:
    (one,) = [each for each in compare() if each.figure.what == what and (units is None or each.figure.units == units)]
    return one


def test_all_that_can_be_recomputed_follows_but_for_what_is_known_not_to() -> None:
    wrong = {each.figure.what for each in compare() if each.follows is False}
    assert wrong == {
        "false negatives, new map",
        "kappa, TTOP map",
        "lakes' share, 2020",
        "change of lakes' share",
        "decrease of permafrost, 'per cent'",
        "area of the plateau",
    }
    assert sum(each.follows is True for each in compare()) == 32


def test_table_2_is_recomputed_from_its_counts() -> None:
    table = pd.read_csv(REFERENCE / "chen_nan_table2.csv", comment="#", index_col="map")
    assert {name: list(counts.values()) for name, counts in paper().counts.items()} == {
        name: row.tolist() for name, row in table[["tp", "fn", "fp", "tn"]].iterrows()
    }
    assert found("false negatives, new map").recomputed == pytest.approx(100 * 9 / 83)
    assert round(100 * 9 / 76, 1) == 11.8  # where it may come from
    expected = {"ours": 0.5763, "magt": 0.3803, "ttop": 0.3600}
    for name, kappa in expected.items():
        assert computed(("kappa", name), paper()) == pytest.approx(kappa, abs=5e-5)


def test_table_3_is_recomputed_from_its_areas() -> None:
    table = pd.read_csv(REFERENCE / "chen_nan_table3.csv", comment="#", index_col="class")
    assert paper().areas["before"] == table["area_2010"].to_dict()
    assert paper().areas["after"] == table["area_2020"].to_dict()
    assert computed(("total", "before"), paper()) == pytest.approx(263.79)
    assert computed(("total", "after"), paper()) == pytest.approx(263.79)
    assert computed(("relative", "permafrost"), paper()) == pytest.approx(-4.42, abs=0.005)
    assert computed(("relative", "non_frozen"), paper()) == pytest.approx(108.5, abs=0.05)
    assert found("decrease of permafrost's share", "points").follows


def test_the_shares_that_exclude_lakes_and_glaciers_are_others_than_printed() -> None:
    """The paper's shares add up to 100 % with lakes and glaciers, which it says to exclude."""
    for epoch, share, of_all in (("before", 42.50, 41.17), ("after", 40.69, 39.35)):
        assert computed(("share_of_ground", "permafrost", epoch), paper()) == pytest.approx(share, abs=0.005)
        assert computed(("share", "permafrost", epoch), paper()) == pytest.approx(of_all, abs=0.005)
    assert computed(("share_of_ground", "seasonally_frozen", "before"), paper()) == pytest.approx(56.63, abs=0.005)
    assert computed(("share_of_ground", "seasonally_frozen", "after"), paper()) == pytest.approx(57.47, abs=0.005)


def test_slips_name_the_numbers_that_are_right() -> None:
    told = " ".join(slip.found for slip in paper().slips)
    loss, gain = (computed(("change", name), paper()) for name in ("permafrost", "non_frozen"))
    assert loss is not None
    assert gain is not None
    for least in (hot_spot_bound(0.3962, -loss, gain), hot_spot_bound(0.3962, -loss, gain, degradation_only=True)):
        assert f"{least:.2f}" in told
    assert "10.8 %" in told
    assert "0.36" in told
    assert "42.50 %" in told
    assert "40.69 %" in told


def test_a_run_is_measured_by_the_same_rules() -> None:
    areas = {
        "permafrost": 2e4,
        "seasonally_frozen": 6e4,
        "non_frozen": 0.0,
        "glacier": 1e4,
        "lake": 1e4,
        "unknown": 5.0,
    }
    metrics = {
        "areas_km2": {"training": areas, "target": areas | {"permafrost": 1e4, "seasonally_frozen": 7e4}},
        "validation": {"tp": 3, "fn": 1, "fp": 0, "tn": 4},
        "transfer": {"random": {"rmse": 0.05}},
    }
    own = {each.figure.what: each.own for each in compare(metrics)}
    assert own["false negatives, new map"] == pytest.approx(25.0)
    assert own["permafrost, 2020"] == pytest.approx(1.0)
    assert own["decrease of permafrost's share"] == pytest.approx(-10.0)
    assert own["decrease of permafrost, 'per cent'"] == pytest.approx(-50.0)
    assert own["RMSE of E, k-means"] == pytest.approx(0.05)
    assert own["kappa, TTOP map"] is None
    assert numbers_of_run({}).areas == {}
    assert all(each.own is None for each in compare({}))


def test_a_published_map_comes_before_what_the_run_made_in_its_place(tmp_path: Path) -> None:
    made = parse_recipe(bundled("demo"), tmp_path / "demo.yaml")
    assert counterparts(made) == {"magt": "magt", "ttop": "ttop-soil"}
    published = [{"name": "zou", "path": "zou.tif", "product": "zou-2017"}]
    given = parse_recipe(
        with_values(bundled("demo"), {"validation.reference_maps": published, "validation.magt": False}),
        tmp_path / "demo.yaml",
    )
    assert counterparts(given) == {"ttop": "zou"}
    maps = {"zou": {"tp": 75, "fn": 8, "fp": 15, "tn": 11}}
    own = {each.figure.what: each.own for each in compare({"validation": {"maps": maps}}, counterparts(given))}
    assert own["kappa, TTOP map"] == pytest.approx(0.36, abs=5e-4)
    assert own["kappa, MAGT map"] is None


def test_the_command_prints_both_and_the_slips(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["compare-paper"])
    assert shown.exit_code == 0, shown.output
    assert "10.84 (!)" in shown.output
    assert "0.360 (!)" in shown.output
    assert "where the paper slips" in shown.output
    listed = json.loads(CliRunner().invoke(app, ["compare-paper", "--json"]).stdout)
    assert len(listed["figures"]) == len(paper().figures)
    assert len(listed["slips"]) == len(paper().slips)
    out = tmp_path / "figures.csv"
    assert CliRunner().invoke(app, ["compare-paper", "--out", str(out)]).exit_code == 0
    assert len(pd.read_csv(out)) == len(as_table(compare()))
