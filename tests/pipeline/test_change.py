"""What changed is counted as it is, found where it is, split without remainder, and its intervals hold the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import lattice, pixel_area_km2
from frostmap.kernels.frost_number import frost_number, frozen_ground
from frostmap.kernels.net_change import drawn_areas
from frostmap.pipeline import change_samples, drivers, hot_spots
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Rectangle
from frostmap.pipeline.simulate.climate import landscape, soil_parameter
from frostmap.pipeline.simulate.outline import inside
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.truth import epoch_covariates, mean_degree_days
from frostmap.pipeline.sites import degrees_of, on_plane
from frostmap.pipeline.stages.change import area_changes, summary, transitions_of
from frostmap.pipeline.stages.change_maps import change_window
from frostmap.pipeline.stages.frozen_ground import CLASS_KEYS, threshold_areas
from frostmap.pipeline.stages.single_years import agreement, year_window
from frostmap.pipeline.work import Work

from .conftest import Finished

SEED = 11
SEEDS = 200
PIXELS = 60
"""Of a tile: 18.5 km wide."""


@dataclass(frozen=True)
class Plateau:
    """A tile of the simulated plateau: true sums, E and classes of 2010 and 2020."""

    geobox: GeoBox
    states: list[dict[str, np.ndarray]]

    def windows(self) -> list[xr.Dataset]:
        """Return what `change_window` takes."""
        found = []
        for state in self.states:
            layers = {name: (("y", "x"), values) for name, values in state.items()}
            whole = xr.Dataset(layers)
            found += [whole[["ddf", "ddt"]], whole[["e", "e_sigma"]], whole[["frozen_ground"]]]
        return found

    def z(self) -> np.ndarray:
        """Return ln DDF - ln DDT - 2 ln E of the pixels inside, (epoch, pixels)."""
        here = self.states[0]["frozen_ground"] != 255
        return np.stack([np.log(s["ddf"][here] / s["ddt"][here]) - 2 * np.log(s["e"][here]) for s in self.states])


@pytest.fixture(scope="module")
def plateau() -> Plateau:
    box = lattice(PIXELS)[25, 5]
    rows, columns = np.indices(box.shape)
    longitude, latitude = degrees_of(box, rows.ravel(), columns.ravel())
    there = inside(longitude, latitude)
    land = landscape(SEED, Places(longitude[there], latitude[there], 18.5))
    states = []
    for year in (2010, 2020):
        ddf, ddt = mean_degree_days(SEED, land, [year])
        e = soil_parameter(SEED, land, epoch_covariates(SEED, land, [year]))
        layers = {"ddf": ddf, "ddt": ddt, "e": e, "e_sigma": np.full_like(e, 0.03)}
        state = {name: np.full(box.shape, np.nan, np.float32) for name in layers}
        for name, values in layers.items():
            state[name].ravel()[there] = values
        states.append(state | {"frozen_ground": frozen_ground(state["ddf"], state["ddt"], state["e"])})
    return Plateau(box, states)


ERRORS: dict[str, Any] = {
    "clusters": np.zeros(1), "ddf_error": 0.05, "ddt_error": 0.05, "sums_together": 0.5, "e_together": 0.5,
    "non_frozen_below": 0.5,
}  # fmt: skip


# ---- against the truth --------------------------------------------------------------------------------------------


def test_of_true_states_the_transitions_are_the_true_ones(plateau: Plateau) -> None:
    before, after = (state["frozen_ground"] for state in plateau.states)
    made = change_window(*plateau.windows(), **ERRORS)
    table = transitions_of((before, after), plateau.geobox)
    area = np.broadcast_to(pixel_area_km2(plateau.geobox)[:, np.newaxis], before.shape)
    for row in table.to_dict("records"):
        codes = [code for name in ("from", "to") for code, word in CLASS_KEYS.items() if word == row[name]]
        true = area[(before == codes[0]) & (after == codes[1])].sum()
        assert row["km2"] == pytest.approx(true)
        assert area[made["transition"] == 10 * codes[0] + codes[1]].sum() == pytest.approx(true)
    found = summary(table)
    assert found["permafrost_lost_km2"] > 0
    assert found["changed_km2"] == pytest.approx(area[(before != after) & (before != 255)].sum())


def test_of_true_states_the_parts_are_the_true_ones_and_add_up(plateau: Plateau) -> None:
    made = change_window(*plateau.windows(), **ERRORS)
    first, second = plateau.states
    number = [frost_number(s["ddf"], s["ddt"], s["e"]) for s in plateau.states]
    warm = (first["ddf"] < 1) | (second["ddf"] < 1)
    whole = sum(made[f"change_by_{name}"] for name in ("freezing", "thawing", "soil"))
    np.testing.assert_allclose(np.where(warm, 0, whole), np.where(warm, 0, number[1] - number[0]), atol=2e-6)
    # the same state of E in both epochs leaves nothing for E to have done, and the rest as forcing
    kept = Plateau(plateau.geobox, [first, second | {"e": first["e"]}])
    alone = change_window(*kept.windows(), **ERRORS)
    assert np.nanmax(np.abs(alone["change_by_soil"])) == 0
    assert (alone["change_cause"] != 2).all()


def test_causes_are_what_one_change_alone_would_have_done(plateau: Plateau) -> None:
    cause = change_window(*plateau.windows(), **ERRORS)["change_cause"]
    (a, b), after = plateau.states, plateau.states[1]["frozen_ground"]
    changed = (a["frozen_ground"] != after) & (after != 255)
    assert set(np.unique(cause[changed])) <= {1, 2, 3, 4}
    by_sums = frozen_ground(b["ddf"], b["ddt"], a["e"]) == after
    np.testing.assert_array_equal(np.isin(cause[changed], (1, 3)), by_sums[changed])
    assert (cause[~changed & (after != 255)] == 0).all()


@pytest.mark.parametrize("block", [7, 20, 60])
def test_cutting_does_not_change_the_maps_of_change(plateau: Plateau, block: int) -> None:
    whole = change_window(*plateau.windows(), **ERRORS)
    for y in range(0, PIXELS, block):
        for x in range(0, PIXELS, block):
            here = {"y": slice(y, y + block), "x": slice(x, x + block)}
            part = change_window(*(window.isel(here) for window in plateau.windows()), **ERRORS)
            for name, values in part.items():
                np.testing.assert_array_equal(values, whole[name][here["y"], here["x"]])


def test_lakes_and_glaciers_have_a_transition_and_no_parts(plateau: Plateau) -> None:
    windows = plateau.windows()
    ground = windows[5]["frozen_ground"].copy()
    place = tuple(np.argwhere(ground.values == 1)[0])
    ground.values[place] = 5
    made = change_window(*windows[:5], ground.to_dataset(), **ERRORS)
    assert made["transition"][place] % 10 == 5
    assert made["change_cause"][place] == 255
    assert np.isnan(made["change_score"][place])


def test_a_chain_comes_near_the_true_change(pristine: Finished) -> None:
    metrics = Work(pristine.recipe, pristine.folder).metrics["change"]
    assert isinstance(metrics, dict)
    truth = metrics["truth"]
    assert truth["transition_agreement"] > 0.7
    assert abs(truth["frost_number_change"]["bias"]) < 0.01
    assert truth["by_e"]["rmse"] < 0.01
    assert metrics["compared_km2"] == pytest.approx(metrics["truth_areas"]["compared_km2"], rel=0.02)


# ---- a run --------------------------------------------------------------------------------------------------------


def test_tables_metrics_and_maps_say_the_same(pristine: Finished) -> None:
    work = Work(pristine.recipe, pristine.folder)
    table, metrics = work.table("transition"), work.metrics["change"]
    assert isinstance(metrics, dict)
    found = summary(table)
    assert {name: metrics[name] for name in found} == pytest.approx(found)
    changed = table[table["from"] != table["to"]]
    assert changed["share_of_changed"].sum() == pytest.approx(1)
    assert table["share_of_degraded"].sum() == pytest.approx(1)
    assert table.groupby("from")["share_of_class"].sum().max() == pytest.approx(1)
    areas = work.table("area_change")
    assert areas["difference"].sum() == pytest.approx(0, abs=1e-6)
    assert areas["points"].sum() == pytest.approx(0, abs=1e-9)
    causes = metrics["by_cause"]["permafrost_lost"]
    assert sum(causes.values()) == pytest.approx(metrics["permafrost_lost_km2"])
    parts = work.table("change_parts").set_index("kind")
    assert parts.loc["permafrost_lost", "km2"] == pytest.approx(metrics["permafrost_lost_km2"])
    sums = parts[["by_freezing", "by_thawing", "by_e"]].sum(axis=1)
    assert sums.to_numpy() == pytest.approx(parts["frost_number_change"].fillna(0).to_numpy(), abs=1e-9)
    low, high = metrics["net"]["change_interval"]
    assert low < metrics["net"]["change_km2"] < high
    assert len(work.table("change_blocks")) > 4
    places = work.table("change_places")
    assert set(change_samples.COLUMNS) < set(places.columns)


def test_a_single_year_is_the_epochs_map_where_the_epoch_is_one_year(pristine: Finished) -> None:
    work = Work(pristine.recipe, pristine.folder)
    for epoch in ("training", "target"):
        years, ground = work.open(f"single_years/{epoch}"), work.open(f"frozen_ground/{epoch}")["frozen_ground"].values
        np.testing.assert_array_equal(years["frozen_ground"].values[0], ground)
        assert set(np.unique(years["years_agreeing"].values)) <= {1, 255}
        table = work.table(f"single_years-{epoch}")
        areas = work.table(f"areas-{epoch}").set_index("class")["km2"]
        assert table["permafrost"].iloc[0] == pytest.approx(areas["permafrost"])
        tried = work.table(f"areas_by_threshold-{epoch}")
        own = tried[tried["chosen"]].iloc[0]
        assert own["non_frozen"] == pytest.approx(areas["non_frozen"])
        assert tried["non_frozen"].is_monotonic_increasing


def test_thresholds_move_ground_between_two_classes_as_the_class_does() -> None:
    ddf = np.float32([[0.2, 5.0, 30.0, 60.0, 30.0]])
    ddt = np.float32([[900.0, 900.0, 900.0, 900.0, 20.0]])
    e, ground = np.ones_like(ddf), np.uint8([[3, 2, 2, 2, 1]])
    table = threshold_areas(ddf, ddt, e, ground, np.ones(1), 0.5).set_index("threshold")
    assert table["non_frozen"].tolist() == [1, 2, 4]
    assert table["permafrost"].tolist() == [1, 1, 0]  # freezing less than it counts for, it is none either
    assert table["chosen"].tolist() == [True, False, False]


def test_single_years_are_counted_where_they_are_known() -> None:
    shape = (1, 3)
    soil = xr.Dataset({"e": (("y", "x"), np.ones(shape, np.float32))})
    maps = xr.Dataset({"frozen_ground": (("y", "x"), np.uint8([[1, 2, 5]]))})

    def sums(*_windows: xr.Dataset) -> tuple[list[Any], list[Any]]:
        cold, warm = np.full(shape, 1000.0), np.full(shape, 500.0)
        return [cold, warm, np.where([[True, False, True]], cold, np.nan)], [warm, cold, warm]

    made = year_window(soil, maps, sums=sums, non_frozen_below=0.5)
    assert made["frozen_ground"].tolist() == [[[1, 1, 5]], [[2, 2, 5]], [[1, 255, 5]]]
    assert made["years_permafrost"].tolist() == [[2, 1, 255]]
    assert made["years_known"].tolist() == [[3, 2, 255]]
    assert made["years_agreeing"].tolist() == [[2, 1, 255]]
    assert {name: values.dtype for name, values in agreement(made["frozen_ground"], np.uint8([[1, 2, 5]])).items()} == {
        name: np.dtype("uint8") for name in ("years_permafrost", "years_known", "years_agreeing")
    }


# ---- hot spots ----------------------------------------------------------------------------------------------------


def patch_of(box: GeoBox, rng: np.random.Generator, *, warm: float) -> np.ndarray:
    """Return transitions of a map of permafrost: 2 % is lost by chance, in a disc of 150 km `warm` more."""
    row, col = np.indices(box.shape)
    east, north = on_plane(box, row.ravel(), col.ravel())
    near = np.hypot(east - 100, north + 80).reshape(box.shape) < 150
    lost = rng.random(box.shape) < 0.02 + warm * near
    return np.where(lost, 12, 11).astype(np.uint8)


def test_hot_spots_lie_where_ground_degraded_also_on_the_sheared_grid() -> None:
    box = lattice(120)[25, 5]
    pixels = hot_spots.compared(patch_of(box, np.random.default_rng(2), warm=0.25), box)
    blocks = hot_spots.blocks_of(pixels, 50.0)
    table = hot_spots.block_table(pixels, blocks, "permafrost_lost", 0.05)
    spots = hot_spots.spots_of(pixels, blocks, table, [])
    assert [spot.name for spot in spots] == ["permafrost lost 1"]
    found = spots[0].inside
    true = np.hypot(pixels.east - 100, pixels.north + 80) < 150
    assert found[true].mean() > 0.85
    assert true[found].mean() > 0.6  # the blocks around share its neighbourhood
    area = blocks.sums(pixels.area)
    assert np.median(area[area > 0]) == pytest.approx(2500, rel=0.05)  # squares of 50 km on the ground, not of the grid


def test_random_change_has_no_hot_spot() -> None:
    box = lattice(120)[25, 5]
    false = 0
    for seed in range(20):
        pixels = hot_spots.compared(patch_of(box, np.random.default_rng(seed), warm=0.0), box)
        table = hot_spots.block_table(pixels, hot_spots.blocks_of(pixels, 50.0), "permafrost_lost", 0.05)
        false += bool(table["hot"].any())
    assert false <= 4  # 5 % expected


def test_shares_of_rectangles_are_of_all_change_and_of_degradation() -> None:
    box = GeoBox((10, 10), Affine(0.1, 0, 90, 0, -0.1, 36), "EPSG:4326")
    transition = np.full((10, 10), 11, np.uint8)
    transition[0, :4] = 12  # degraded
    transition[0, 4:6] = 15  # became lake: changed, not degraded
    transition[9, :4] = 23
    pixels = hot_spots.compared(transition, box)
    blocks = hot_spots.blocks_of(pixels, 50.0)
    none = pd.DataFrame({"kind": [], "row": [], "column": [], "spot": []})
    west = Rectangle(name="west", bbox=(90.0, 35.5, 90.2, 36.0))
    south = Rectangle(name="south", bbox=(89.9, 35.0, 91.0, 35.1), kind="frost_lost")
    table = hot_spots.spot_table(pixels, hot_spots.spots_of(pixels, blocks, none, [west, south])).set_index("spot")
    area = pixel_area_km2(box)
    changed, degraded = 6 * area[0] + 4 * area[9], 4 * area[0] + 4 * area[9]
    assert table.loc["west", "changed_km2"] == pytest.approx(2 * area[0])
    assert table.loc["west", "share_of_changed"] == pytest.approx(2 * area[0] / changed)
    assert table.loc["west", "share_of_degraded"] == pytest.approx(2 * area[0] / degraded)
    assert table.loc["west", "share_of_kind"] == pytest.approx(0.5)
    assert table.loc["south", "share_of_kind"] == pytest.approx(1)
    assert table.loc["south", "share_of_ground"] == pytest.approx(0.4)


def test_hot_blocks_of_a_map_that_errs_are_the_true_ones(plateau: Plateau) -> None:
    box = plateau.geobox
    rows, columns = np.indices(box.shape)
    east, north = on_plane(box, rows.ravel(), columns.ravel())
    warm = (np.hypot(east + 100, north) < 300).reshape(box.shape)  # where summers grew much warmer
    rng, hot = np.random.default_rng(2), []
    both = rng.normal(0, 1, box.shape)  # the forest errs in much the same way in both epochs
    for error in (0.0, 1.0):
        states = [state | {"ddt": state["ddt"] * (1 + 0.3 * warm * k)} for k, state in enumerate(plateau.states)]
        for state in states:
            off = error * (0.03 * both + 0.01 * rng.normal(0, 1, box.shape))
            state["e"] = (state["e"] * np.exp(off)).astype(np.float32)
            state["frozen_ground"] = frozen_ground(state["ddf"], state["ddt"], state["e"])
        transition = change_window(*Plateau(box, states).windows(), **ERRORS)["transition"]
        pixels = hot_spots.compared(transition, box)
        blocks = hot_spots.blocks_of(pixels, hot_spots.block_side(50.0, 18.5))
        table = hot_spots.block_table(pixels, blocks, "permafrost_lost", 0.05).set_index(["row", "column"])
        hot.append(table["hot"])
    true, found = hot
    assert true.sum() == 23
    assert (found & true).sum() / true.sum() > 0.8
    assert (found & ~true).sum() / (~true).sum() < 0.05


# ---- drivers ------------------------------------------------------------------------------------------------------


def test_adjacent_ground_is_near_on_the_ground_and_stable() -> None:
    box = lattice(1200)[25, 5][200:260, 300:360]
    transition = np.full(box.shape, 11, np.uint8)
    transition[30, 30] = 12
    transition[31, 30] = 22
    pixels = hot_spots.compared(transition, box)
    spot = hot_spots.Spot("all", "permafrost_lost", "rectangle", 0, np.ones(len(pixels.row), bool))
    degraded = pixels.are((12,))
    beside = drivers.adjacent(pixels, degraded, pixels.are((11,)), 10.0)
    distance = np.hypot(pixels.east - pixels.east[degraded], pixels.north - pixels.north[degraded])
    np.testing.assert_array_equal(beside, (distance <= 10) & (pixels.transition == 11))
    assert beside.sum() * pixels.area[0] == pytest.approx(np.pi * 100, rel=0.02)
    assert drivers.groups_of(pixels, spot, 10.0) is None  # one pixel alone says nothing


def test_drivers_tell_what_differs_and_by_how_much() -> None:
    box = lattice(1200)[25, 5][200:300, 300:400]
    rng = np.random.default_rng(4)
    transition = np.where(rng.random(box.shape) < 0.2, 12, 11).astype(np.uint8)
    pixels = hot_spots.compared(transition, box)
    spot = hot_spots.Spot("all", "permafrost_lost", "rectangle", 0, np.ones(len(pixels.row), bool))
    groups = {"all": drivers.groups_of(pixels, spot, 10.0)}
    degraded = pixels.are((12,))
    values = {
        "e_change": np.where(degraded, 0.08, 0.0) + rng.normal(0, 0.02, len(degraded)),
        "ddt_change": rng.normal(100, 30, len(degraded)),
        "gone": np.full(len(degraded), np.nan),
    }
    units = {"e_change": "1", "ddt_change": "degC d", "gone": "1"}
    boxes, effects = drivers.compare(pixels, groups, values, units, 5.0, 1)  # type: ignore[arg-type]
    found = effects.set_index("variable")
    assert list(found.index) == ["e_change", "ddt_change"]
    assert found.loc["e_change", "median_difference"] == pytest.approx(0.08, abs=0.005)
    assert found.loc["e_change", "delta"] > 0.95
    assert found.loc["ddt_change", "delta_low"] < 0 < found.loc["ddt_change", "delta_high"]
    assert found.loc["e_change", "p"] < 1e-6 < found.loc["ddt_change", "p"]
    assert boxes[boxes["variable"] == "e_change"]["n"].tolist() == [degraded.sum(), (~degraded).sum()]
    assert found.loc["e_change", "n_degraded"] <= 20 * 20 + 45  # one of a square of 5 km
    signs = drivers.by_sign_of_e(["ddt_change"], groups, values)  # type: ignore[arg-type]
    assert signs["share"].sum() == pytest.approx(1)
    assert signs.loc[0, "e"] == "rose"
    assert signs.loc[0, "share"] > 0.99


def test_thinning_takes_one_pixel_of_a_square_whatever_else_there_is() -> None:
    box = lattice(1200)[25, 5][200:260, 300:360]
    pixels = hot_spots.compared(np.full(box.shape, 11, np.uint8), box)
    which = pixels.col % 2 == 0
    kept = drivers.thinned(pixels, which, 8.0, np.random.default_rng(1))
    cells = np.floor(np.stack([pixels.east, pixels.north])[:, kept] / 8.0)
    assert np.unique(cells, axis=1).shape[1] == len(kept)
    assert which[kept].all()
    np.testing.assert_array_equal(kept, drivers.thinned(pixels, which, 8.0, np.random.default_rng(1)))


# ---- intervals hold the truth at their nominal rate ---------------------------------------------------------------


def test_the_interval_of_the_net_change_holds_the_true_one(plateau: Plateau) -> None:
    z = plateau.z()
    here = np.argwhere(plateau.states[0]["frozen_ground"] != 255)
    _, block = np.unique(here // 6, axis=0, return_inverse=True)  # of some 110 km
    block = block.ravel()
    area, together = np.ones(z.shape[1]), 0.6
    true = float((z[1] > 0).sum() - (z[0] > 0).sum())
    sigma = np.full_like(z, 0.12)
    held = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        common, own = rng.standard_normal(block.max() + 1), rng.standard_normal((2, block.max() + 1))
        error = np.sqrt(together) * common + np.sqrt(1 - together) * own
        found = z + 0.12 * error[:, block]
        drawn = drawn_areas(found, sigma, area, block, together, 200, np.random.default_rng(1000 + seed))
        low, high = np.quantile(drawn[:, 1] - drawn[:, 0], (0.025, 0.975))
        held += bool(low <= true <= high)
    assert 181 <= held <= 199, held


def test_the_score_of_a_pixels_change_means_what_it_says(plateau: Plateau) -> None:
    rng = np.random.default_rng(5)
    truth = change_window(*plateau.windows(), **ERRORS)
    true_z = np.diff(plateau.z(), axis=0)[0]
    within = []
    for _ in range(20):
        shared = rng.standard_normal((3, *plateau.geobox.shape))
        states = []
        for state in plateau.states:
            own = rng.standard_normal((3, *plateau.geobox.shape))
            error = np.sqrt(0.5) * shared + np.sqrt(0.5) * own
            noisy = {
                "ddf": state["ddf"] * np.exp(0.05 * error[0]),
                "ddt": state["ddt"] * np.exp(0.05 * error[1]),
                "e": state["e"] * np.exp(0.03 / state["e"] * error[2]),
            }
            states.append(state | {name: values.astype(np.float32) for name, values in noisy.items()})
        drawn = Plateau(plateau.geobox, states)
        score = change_window(*drawn.windows(), **ERRORS)["change_score"][plateau.states[0]["frozen_ground"] != 255]
        found_z = np.diff(drawn.z(), axis=0)[0]
        within.append(np.nanmean(np.abs(found_z - true_z) <= 1.96 * np.abs(found_z / score)))
    assert np.mean(within) == pytest.approx(0.95, abs=0.01)
    assert np.isfinite(truth["change_score"]).any()


@pytest.fixture(scope="module")
def judged_maps(plateau: Plateau) -> tuple[np.ndarray, np.ndarray]:
    """Return the transitions of maps that err, and the true ones."""
    rng = np.random.default_rng(6)
    true = change_window(*plateau.windows(), **ERRORS)["transition"]
    states = []
    for state in plateau.states:
        e = (state["e"] * np.exp(rng.normal(0, 0.02, state["e"].shape))).astype(np.float32)
        states.append(state | {"e": e, "frozen_ground": frozen_ground(state["ddf"], state["ddt"], e)})
    return change_window(*Plateau(plateau.geobox, states).windows(), **ERRORS)["transition"], true


def test_areas_by_places_hold_the_true_areas_at_their_nominal_rate(
    plateau: Plateau, judged_maps: tuple[np.ndarray, np.ndarray]
) -> None:
    found, true = judged_maps
    area = pixel_area_km2(plateau.geobox)
    each = np.broadcast_to(area[:, np.newaxis], true.shape)
    maps = xr.Dataset({"transition": (("y", "x"), found)})
    strata, real = change_samples.strata_of(found), change_samples.strata_of(true)
    names = list(change_samples.STRATA)
    held = dict.fromkeys(("permafrost_lost", "stable_permafrost", "stable_seasonally_frozen"), 0)
    counted = 0
    for seed in range(SEEDS):
        places = looked_at(plateau, maps, true, seed)
        table = change_samples.estimates(places, strata, area, plateau.geobox, Path("places.csv")).set_index("kind")
        for name in held:
            truth = each[real == names.index(name)].sum()
            held[name] += bool(table.loc[name, "low_km2"] <= truth <= table.loc[name, "high_km2"])
        truth = each[real == names.index("permafrost_lost")].sum()
        counted += bool(abs(table.loc["permafrost_lost", "mapped_km2"] - truth) < 0.02 * truth)
    assert counted == 0  # counted pixels are off, and the same way every time
    for name, number in held.items():
        assert 176 <= number <= 199, held  # of 200 at 95 %; a normal interval of few places is a little short
        assert name


def looked_at(plateau: Plateau, maps: xr.Dataset, true: np.ndarray, seed: int) -> pd.DataFrame:
    """Return places of a sample with the true classes written down."""
    drawn = change_samples.to_look_at(maps, plateau.geobox, 50, seed)
    pixels = change_samples.pixels_of(plateau.geobox, drawn["longitude"], drawn["latitude"])
    codes = true[pixels.row, pixels.col]
    return drawn.assign(training=(codes // 10).astype(float), target=(codes % 10).astype(float))


# ---- places -------------------------------------------------------------------------------------------------------


def test_places_are_drawn_in_every_stratum_and_do_not_tell_which(plateau: Plateau) -> None:
    transition = change_window(*plateau.windows(), **ERRORS)["transition"]
    maps = xr.Dataset({"transition": (("y", "x"), transition)})
    places = change_samples.to_look_at(maps, plateau.geobox, 5, 1)
    pixels = change_samples.pixels_of(plateau.geobox, places["longitude"], places["latitude"])
    kinds = change_samples.strata_of(transition)[pixels.row, pixels.col]
    strata = change_samples.strata_of(transition)
    for kind in range(len(change_samples.STRATA)):
        wanted = 15 if list(change_samples.STRATA)[kind].startswith("stable") else 5
        assert (kinds == kind).sum() == min(wanted, (strata == kind).sum())
    assert not (np.diff(kinds.astype(int)) >= 0).all()
    assert (places["training"] == "").all()


def table_in(folder: Path, text: str) -> Path:
    path = folder / "places.csv"
    path.write_text(text)
    return path


def test_places_are_read_in_words_and_numbers_and_those_not_looked_at_left_out(tmp_path: Path) -> None:
    text = (
        "place,longitude,latitude,training,target\n"
        "1,90,35,permafrost,Seasonally frozen\n2,91,36,3,non-frozen\n3,92,36,,\n"
    )
    found = change_samples.read_places(table_in(tmp_path, text))
    assert found["training"].tolist() == [1, 3]
    assert found["target"].tolist() == [2, 3]


MISTAKES = {
    "lacks columns: target": "longitude,latitude,training\n90,35,1\n",
    "a place has no class": "longitude,latitude,training,target\n90,35,1,tundra\n",
    "no place has a class": "longitude,latitude,training,target\n90,35,,\n",
    "cannot be read": "",
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_table_of_places_that_cannot_be_used_says_why(tmp_path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        change_samples.read_places(table_in(tmp_path, MISTAKES[message]))


def test_places_elsewhere_are_refused(plateau: Plateau) -> None:
    places = pd.DataFrame({"longitude": [10.0], "latitude": [50.0], "training": [1.0], "target": [1.0]})
    strata = np.zeros(plateau.geobox.shape, np.uint8)
    with pytest.raises(UserError, match="no place lies on ground"):
        change_samples.estimates(places, strata, pixel_area_km2(plateau.geobox), plateau.geobox, Path("p.csv"))


def test_changes_of_areas_add_up_and_shares_are_of_ground_too() -> None:
    box = GeoBox((1, 10), Affine(0.01, 0, 90, 0, -0.01, 36), "EPSG:4326")
    before, after = np.uint8([[1, 1, 1, 1, 2, 2, 2, 2, 4, 5]]), np.uint8([[1, 1, 2, 5, 2, 2, 2, 3, 4, 5]])
    table = area_changes(transitions_of((before, after), box)).set_index("class")
    assert table["points"].to_dict() == pytest.approx(
        {"permafrost": -20, "seasonally_frozen": 0, "non_frozen": 10, "glacier": 0, "lake": 10}
    )
    assert table.loc["permafrost", "relative"] == pytest.approx(-50)
    assert table.loc["permafrost", "share_of_ground_before"] == pytest.approx(50)
    assert table.loc["permafrost", "share_of_ground_after"] == pytest.approx(100 * 2 / 7)
    assert np.isnan(table.loc["lake", "points_of_ground"])
