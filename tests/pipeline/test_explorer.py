"""What the map to explore holds is what the cube holds: classes exactly, numbers to half a step."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyproj import Transformer

from frostmap.pipeline import report, schema
from frostmap.pipeline.figures import CHANGES, kind_of_change
from frostmap.pipeline.report import explorer as exploring
from frostmap.pipeline.report import layers as listing
from frostmap.pipeline.report.packing import FIRST, LEVELS, NO_VALUE, OUTSIDE, pack, unpacked, window_of
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work

REGIONS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)


@given(REGIONS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_packed_map_is_unpacked_as_it_was(inside, random):
    codes = np.array([[random.randrange(256) for _ in row] for row in inside], np.uint8)
    codes[~inside] = OUTSIDE
    window = window_of(inside)
    how, text = pack(codes, window)
    found = unpacked(text, how, window)
    assert np.array_equal(found, codes[window.top :, window.left :][: window.height, : window.width])


@given(REGIONS)
@settings(max_examples=60, deadline=None)
def test_the_window_holds_the_region_and_no_row_or_column_around_it(inside):
    window = window_of(inside)
    held = np.zeros_like(inside)
    held[window.top : window.top + window.height, window.left : window.left + window.width] = window.held
    assert np.all(held | ~inside)
    part = inside[window.top :, window.left :][: window.height, : window.width]
    assert inside.sum() == part.sum()
    assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))
    rows = [each for each in zip(part, window.first, window.count, strict=True) if each[2]]
    assert all(row[first] and row[first + n - 1] for row, first, n in rows)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20), st.sampled_from([0.005, 0.02, 1.0, 20.0]))
def test_a_number_is_told_to_half_a_step(given_values, wanted):
    values = np.array(given_values, np.float32)
    low, step = listing.steps([values], wanted)
    codes = listing.quantised(values, np.ones(values.size, bool), low, step)
    told = low + step * (codes.astype(np.float64) - FIRST)
    assert step >= wanted
    assert np.all(np.abs(told - values) <= step * 0.5 * (1 + 1e-5) + 1e-6)


def test_the_script_and_the_page_agree_on_the_codes():
    script = report.page._template("explorer.js")
    assert f"OUTSIDE = {OUTSIDE}, NO_VALUE = {NO_VALUE}, FIRST = {FIRST}" in script
    assert listing.DIFFERENT == 2 * LEVELS - 1


# ---- a run's own map ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(pristine) -> Work:
    return Work(pristine.recipe, pristine.folder)


@pytest.fixture(scope="module")
def layers(work):
    return {layer.name: layer for layer in listing.layers_of(work, window_of(work.inside))}


def held(work, layer):
    """Return the values of a layer on the whole grid, NaN where there is none."""
    window = window_of(work.inside)
    codes = unpacked(layer.packed, layer.predictor, window)
    values = np.full(work.shape, np.nan)
    values[window.top : window.top + window.height, window.left : window.left + window.width] = np.where(
        codes >= FIRST, layer.low + layer.step * (codes.astype(np.float64) - FIRST), np.nan
    )
    return values


def test_classes_are_those_of_the_cube(work, layers):
    maps = {}
    for epoch in ("training", "target"):
        maps[epoch] = work.open(f"frozen_ground/{epoch}")["frozen_ground"].to_numpy()
        told = held(work, layers[f"class-{epoch}"])
        assert np.array_equal(np.nan_to_num(told, nan=-1) + 1, np.where(maps[epoch] == 255, 0, maps[epoch]))
    change = kind_of_change(maps["training"], maps["target"])
    assert np.array_equal(np.nan_to_num(held(work, layers["change"]), nan=255), change)
    assert layers["change"].names == tuple(name for name, _ in CHANGES.values())


@pytest.mark.parametrize("epoch", ["training", "target"])
def test_numbers_are_those_of_the_cube_to_half_a_step(work, layers, epoch):
    quantities = {
        "ddf": f"forcing/{epoch}",
        "ddt": f"forcing/{epoch}",
        "e": e_group(work.recipe, epoch),
        "frost_number": f"frozen_ground/{epoch}",
        "permafrost_probability": f"frozen_ground/{epoch}",
    }
    for variable, group in quantities.items():
        layer = layers[f"{variable}-{epoch}".replace("_", "-")]
        values = np.where(work.inside, work.open(group)[variable].to_numpy(), np.nan)
        told = held(work, layer)
        assert np.array_equal(np.isfinite(told), np.isfinite(values))
        assert np.nanmax(np.abs(told - values)) <= 0.5 * layer.step * (1 + 1e-4)


def test_both_epochs_are_told_in_the_same_steps_so_that_their_difference_is_one_of_codes(layers):
    for name in ("ddf", "ddt", "e", "frost-number", "permafrost-probability"):
        change, after, before = (layers[f"{name}-{which}"] for which in ("change", "target", "training"))
        assert change.difference_of == (after.name, before.name)
        assert (after.low, after.step) == (before.low, before.step)
        assert change.step == after.step
        assert len(change.colours) == listing.DIFFERENT
        assert change.low + change.step * (listing.DIFFERENT // 2) == pytest.approx(0, abs=1e-9)


def test_the_mesh_says_which_pixel_lies_where(work):
    section, shown = exploring.explorer(work)
    assert section.absent == []
    content = json.loads(shown.content)
    mesh = content["mesh"]
    planes = np.frombuffer(base64.b64decode(mesh["planes"]), "<f4")
    column, row, longitude, latitude = planes.reshape(4, mesh["down"], mesh["across"])
    at = np.unravel_index(np.argmin((longitude - 95) ** 2 + (latitude - 34) ** 2), longitude.shape)
    to_grid = Transformer.from_crs("EPSG:4326", str(work.geobox.crs), always_xy=True)
    x, y = to_grid.transform(float(longitude[at]), float(latitude[at]))
    window = window_of(work.inside)
    assert column[at] + window.left == pytest.approx((x - work.geobox.affine.c) / work.geobox.affine.a, abs=0.01)
    assert row[at] + window.top == pytest.approx((y - work.geobox.affine.f) / work.geobox.affine.e, abs=0.01)


def test_a_page_too_large_is_told_in_larger_steps(work, monkeypatch):
    _, fine = exploring.explorer(work)
    monkeypatch.setattr(exploring, "MOST_CHARACTERS", 1)
    _, coarse = exploring.explorer(work)
    size = {
        name: sum(len(layer.packed) for layer in each.layers) for name, each in (("fine", fine), ("coarse", coarse))
    }
    assert size["coarse"] < size["fine"]
    steps = {name: {la.name: la.step for la in each.layers} for name, each in (("fine", fine), ("coarse", coarse))}
    assert steps["coarse"]["e-target"] >= 16 * steps["fine"]["e-target"]
    assert steps["coarse"]["class-target"] == steps["fine"]["class-target"]


def test_text_of_the_user_cannot_end_the_script(work):
    layer = listing.Layer("x", "</script><b>", "h", "", ("#000000",))
    content = exploring.as_json(work, exploring.map_sheet(work), window_of(work.inside), [layer])
    assert "<" not in content
    assert json.loads(content)["layers"][0]["title"] == "</script><b>"


def test_a_region_without_pixels_has_no_map(work):
    empty = Work(work.recipe, work.folder)
    empty.__dict__["inside"] = np.zeros(work.shape, bool)
    section, shown = exploring.explorer(empty)
    assert shown is None
    assert section.absent == ["The region has no pixel."]


def test_elevation_is_told_once(layers):
    assert [name for name in layers if name.startswith("elevation")] == ["elevation-target"]
    assert layers["elevation-target"].title == schema.ELEVATION.long_name.capitalize()
