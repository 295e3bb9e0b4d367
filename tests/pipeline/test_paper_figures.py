"""The paper's figures and tables are drawn by their names from a run, and what a run lacks is told with its remedy."""

import hashlib
import io
import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from matplotlib.text import Text
from typer.testing import CliRunner

from frostmap.kernels.network import Network
from frostmap.pipeline import networks, predictors
from frostmap.pipeline.cli import app
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.figures import paper
from frostmap.pipeline.figures.paper_charts import EDGES, free_e
from frostmap.pipeline.figures.paper_maps import agreement_of, reference_maps
from frostmap.pipeline.figures.paper_tables import agreement, areas
from frostmap.pipeline.map_sheets import map_sheet
from frostmap.pipeline.work import Work

from .conftest import recipe_content

ALWAYS = {"1", "2", "3", "4", "5", "6", "9", "10"}
"""Figures that a run with everything but maps of others, hot spots and a network has."""


@pytest.fixture(scope="module")
def work(pristine) -> Work:
    return Work(pristine.recipe, pristine.folder)


@pytest.fixture(scope="module")
def sheet(work):
    return map_sheet(work, 600)


def drawn(number, work, sheet) -> Figure | None:
    each = paper.named(number)
    return each.draws(work, sheet)


def words(figure: Figure) -> str:
    """Return all that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


# ---- names ---------------------------------------------------------------------------------------------------------


def test_all_figures_and_tables_of_the_paper_have_a_name():
    assert [each.number for each in paper.PAPER_FIGURES] == [*map(str, range(1, 14)), "B1", "B2"]
    assert [each.number for each in paper.PAPER_TABLES] == ["1", "2", "3"]
    assert len({each.name for each in paper.EVERYTHING}) == 18


@pytest.mark.parametrize("name", ["14", "B3", "table-4", "frost", "", "0"])
def test_another_name_is_refused_with_those_that_are_there(name):
    with pytest.raises(UserError, match="no figure or table of this name"):
        paper.named(name)


def test_the_documentation_lists_every_figure_with_the_function_that_draws_it():
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "figures.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (B?\d+) \|.*\| `(\w+\.\w+)` \|$", text.partition("| table |")[0], flags=re.MULTILINE))
    for each in paper.PAPER_FIGURES:
        function = getattr(each.draws, "func", each.draws)
        assert rows[each.number] == f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


# ---- drawn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(ALWAYS))
def test_a_finished_run_has_the_figure(number, work, sheet):
    figure = drawn(number, work, sheet)
    assert figure is not None
    assert "simulated data" in words(figure)


@pytest.mark.parametrize("number", sorted(ALWAYS - {"2"}))
def test_every_axis_and_scale_has_its_unit(number, work, sheet):
    figure = drawn(number, work, sheet)
    for axes in figure.axes:
        for label in (axes.get_xlabel(), axes.get_ylabel()):
            assert not label or re.search(r"\[[^]]+\]", label), label


@pytest.mark.parametrize("how", paper.FORMATS)
def test_files_are_whole_and_the_same_again(how, work, tmp_path):
    first = paper.make(paper.named("9"), work, tmp_path, how)[0].read_bytes()
    assert paper.make(paper.named("9"), work, tmp_path, how)[0].read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [f"figure-09.{how}"]
    starts = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}
    assert first.startswith(starts[how])


def test_a_png_has_three_hundred_dots_an_inch(work, tmp_path):
    (path,) = paper.make(paper.named("9"), work, tmp_path, "png")
    assert matplotlib.image.imread(path).shape[1] == round(300 * 8.5)


def test_a_part_of_a_map_holds_the_pixels_between_its_meridians_and_parallels(sheet):
    part = sheet.part(92.0, 33.0, 95.0, 36.0)
    assert part.inside.any()
    assert np.all(sheet.inside | ~part.inside)
    west, south, east, north = part.region.bounds
    assert (round(west, 6), round(south, 6), round(east, 6), round(north, 6)) == (92.0, 33.0, 95.0, 36.0)
    with pytest.raises(ValueError, match="no pixel"):
        sheet.part(10.0, 10.0, 11.0, 11.0)


# ---- not there -----------------------------------------------------------------------------------------------------


def test_what_a_run_lacks_says_what_it_needs_and_what_to_do(work):
    for each in paper.EVERYTHING:
        error = paper.lacking(each, work)
        assert error.exit_code == 3
        assert error.wanted == each.needs
        assert "WORKDIR" not in error.remedy
        assert len(error.remedy) > 20


@pytest.fixture
def workdir(finished, archive) -> str:
    """Return a work directory as the command line leaves it."""
    (finished.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_content(archive)))
    return str(finished.folder)


def test_the_command_ends_with_three_where_data_is_lacking(workdir):
    run = CliRunner().invoke(app, ["figures", "B1", "--workdir", workdir])
    assert run.exit_code == 3
    assert "frostmap experiment network" in run.output


def test_the_command_draws_by_name_and_says_where(workdir, tmp_path):
    run = CliRunner().invoke(app, ["figures", "table-3", "--workdir", workdir, "--out", str(tmp_path), "--json"])
    assert run.exit_code == 0
    files = json.loads(run.output)["files"]
    assert [name.rpartition("/")[2] for name in files] == ["table-3.csv", "table-3.md"]
    assert "Simulated data." in (tmp_path / "table-3.md").read_text()


def test_the_command_refuses_a_folder_that_is_no_run(tmp_path):
    run = CliRunner().invoke(app, ["figures", "5", "--workdir", str(tmp_path)])
    assert run.exit_code == 2
    assert "not a work directory" in run.output


# ---- tables --------------------------------------------------------------------------------------------------------


def test_areas_are_those_of_the_metrics_and_their_changes_add_up(work):
    table = areas(work).set_index("class")
    for epoch, label in (("training", "2010"), ("target", "2020")):
        known = {
            name.replace("_", " "): km2 for name, km2 in work.metrics["areas_km2"][epoch].items() if name != "unknown"
        }
        for name, km2 in known.items():
            row = next(row for row in table.index if row.replace("-", " ").removesuffix(" ground").startswith(name[:8]))
            assert table.loc[row, f"{label}_km2"] == pytest.approx(km2)
        assert table.loc["all", f"{label}_km2"] == pytest.approx(sum(known.values()))
        assert table.drop("all")[f"{label}_share_percent"].sum() == pytest.approx(100)
        assert table[f"{label}_share_of_ground_percent"].sum() == pytest.approx(100)
    assert table.drop("all")["change_km2"].sum() == pytest.approx(table.loc["all", "change_km2"], abs=1e-6)


def test_the_papers_own_counts_give_its_table_two(work, tmp_path):
    # Chen et al. (2026, preprint), Table 2: 84.4 %, 0.58; false negatives are 10.8 %, where 11.8 is printed
    copy = Work(work.recipe, tmp_path)
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"map": ["target"], "tp": [74], "fn": [9], "fp": [8], "tn": [18]}).to_csv(
        tmp_path / "tables" / "borehole_maps.csv", index=False
    )
    row = agreement(copy).iloc[0]
    assert row["overall_accuracy_percent"] == pytest.approx(84.4, abs=0.05)
    assert row["kappa"] == pytest.approx(0.5763, abs=5e-5)
    assert row["false_negative_percent"] == pytest.approx(10.84, abs=0.005)


# ---- what other steps and experiments leave ------------------------------------------------------------------------


def test_maps_of_others_are_found_and_compared(finished):
    work = Work(finished.recipe, finished.folder)
    cube = work.folder / "cube.zarr"
    (cube / "reference").mkdir(exist_ok=True)
    shutil.copytree(cube / "frozen_ground" / "training", cube / "reference" / "other")
    assert "other" in reference_maps(work)
    sheet = map_sheet(work, 400)
    for number in ("7", "8"):
        figure = drawn(number, work, sheet)
        assert "other" in words(figure)
    own = work.open("frozen_ground/target")["frozen_ground"].to_numpy()
    compared = agreement_of(own, own)
    assert set(np.unique(compared)) <= {0, 1, 4, 255}


def test_hot_spots_and_drivers_are_drawn_from_their_tables(work, tmp_path):
    copy = Work(work.recipe, tmp_path)
    tables = tmp_path / "tables"
    tables.mkdir()
    pd.DataFrame(
        {"spot": ["centre", "south"], "kind": ["permafrost_lost", "frost_lost"], "found_by": ["rectangle", "getis_ord"],
         "changed_km2": [10.0, 20.0]}
    ).to_csv(tables / "hot_spots.csv", index=False)  # fmt: skip
    box = {"n": 30, "mean": 0.2, "low": -1.0, "q1": 0.0, "median": 0.1, "q3": 0.4, "high": 1.0, "outside": 1}
    rows = [
        {"spot": spot, "variable": variable, "units": units, "group": group, **box}
        for spot in ("centre", "south")
        for variable, units in (("ddt_change", "degC d"), ("e_change", "1"))
        for group in ("degraded", "stable beside it")
    ]
    pd.DataFrame(rows).to_csv(tables / "drivers.csv", index=False)
    pd.DataFrame(
        {"spot": ["centre"] * 2, "variable": ["ddt_change", "e_change"], "delta": [0.4, -0.2]}
    ).to_csv(tables / "driver_effects.csv", index=False)  # fmt: skip
    pd.DataFrame(
        {"spot": ["centre"] * 2, "e": ["rose", "fell"], "pixels": [3, 5], "share": [0.375, 0.625],
         "precipitation_change": [1.28, 2.23]}
    ).to_csv(tables / "driver_soil.csv", index=False)  # fmt: skip
    centre, south = (words(drawn(number, copy, None)) for number in ("11", "12"))
    assert "centre" in centre
    assert "Cliff's delta +0.40" in centre
    assert "Cliff's delta −0.20" in centre
    assert "south" in south
    assert "Cliff" not in south
    assert "E rose" in words(drawn("13", copy, None))


def test_a_network_is_drawn_as_shares_and_as_a_map(finished, sheet):
    work = Work(finished.recipe, finished.folder)
    assert free_e(work) is None
    folder = work.folder / "experiments" / "network" / "unconstrained"
    folder.mkdir(parents=True)
    made = network_of(len(predictors.NAMES))
    save(made, folder)
    e = free_e(work)
    assert np.isfinite(e[work.inside]).mean() > 0.5
    assert np.isnan(e[~work.inside]).all()
    shares = drawn("B1", work, sheet)
    assert sum(bar.get_height() for bar in shares.axes[0].containers[0]) <= 100 * (1 + 1e-9)
    assert EDGES[-1] == 2
    assert drawn("B2", work, sheet) is not None


def network_of(count: int) -> Network:
    """Return a network of random weights."""
    rng = np.random.default_rng(1)
    shapes = {
        "first": (1, count, 4), "first_bias": (1, 4), "second": (1, 4, 4), "second_bias": (1, 4), "last": (1, 4),
        "last_bias": (1,),
    }  # fmt: skip
    arrays = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    whole = {"means": np.zeros(count), "scales": np.full(count, 100.0), "bounds": np.array([0.0, np.inf])}
    return Network(**arrays, **{name: values.astype(np.float32) for name, values in whole.items()})


def save(network: Network, folder) -> None:
    """Write a network as `networks.save` does; that wants PyTorch's version too."""
    buffer = io.BytesIO()
    np.savez(buffer, **{each.name: getattr(network, each.name) for each in fields(Network)})
    (folder / "network.npz").write_bytes(buffer.getvalue())
    described = {
        "format": networks.FORMAT,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "predictors": list(predictors.NAMES),
    }
    (folder / "network.json").write_text(json.dumps(described))
