"""Networks of E: the loss against a plain twin, its gradient against finite differences, training, files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from frostmap.kernels.frost_number import frost_number
from frostmap.kernels.network import outputs, predict
from frostmap.pipeline import networks
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.networks import (
    Batch,
    Lessons,
    Settings,
    Trained,
    class_weights,
    held_out_regions,
    initial_weights,
    log_ratio,
    plateau_check,
    train,
)

Numbers = NDArray[np.float64]
NAMES = ("elevation", "sand", "precipitation")
needs_torch = pytest.mark.skipif(not networks.is_there(), reason="PyTorch (the extra `network`) is not installed")
QUICK = Settings(hidden=16, steps=400, batch=256, rate=5e-3)


# ---- the plain twin: the same loss in NumPy, written from its formulas --------------------------------------------


def softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


def twin_e(weights: list[Numbers], x: Numbers, settings: Settings) -> tuple[Numbers, Numbers]:
    """Return E and its derivative along the last predictor, carried forward beside it."""
    first, first_bias, second, second_bias, last, last_bias = weights
    along = np.zeros_like(x)
    along[:, -1] = 1.0
    a, da = x @ first + first_bias, along @ first
    density = np.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    a, da = a * ndtr(a), da * (ndtr(a) + a * density)
    b, db = a @ second + second_bias, da @ second
    density = np.exp(-(b**2) / 2) / math.sqrt(2 * math.pi)
    b, db = b * ndtr(b), db * (ndtr(b) + b * density)
    f, df = b @ last + last_bias, db @ last
    if settings.constraint == "none":
        return softplus(f), df * expit(f)
    low, high = settings.bounds
    return low + (high - low) * expit(f), (high - low) * df * expit(f) * (1 - expit(f))


def twin_loss(weights: list[Numbers], steepness: float, batch: dict[str, Numbers], settings: Settings) -> float:
    e, _ = twin_e(weights, batch["x"], settings)
    z = batch["log_ratio"] - 2 * np.log(np.maximum(e, 1e-6))
    logit, y = softplus(steepness) * z, batch["permafrost"]
    loss = np.mean(batch["weight"] * (softplus(logit) - y * logit))
    if settings.constraint == "bounded":
        anchored, slope = twin_e(weights, batch["anchors"], settings)
        loss += settings.to_calibrated * np.mean((anchored - batch["anchor_e"]) ** 2) / 0.09**2
        left, right = (twin_e(weights, batch[side], settings)[0] for side in ("left", "right"))
        loss += settings.to_neighbours * np.mean(np.abs(left - right))
        loss += settings.to_wetness * np.mean(np.maximum(slope, 0))
    return float(loss)


def some_batch(rng: np.random.Generator, predictors: int = 3) -> dict[str, Numbers]:
    permafrost = rng.random(40) < 0.3
    return {
        "x": rng.normal(size=(40, predictors)),
        "log_ratio": rng.normal(size=40),
        "permafrost": permafrost.astype(np.float64),
        "weight": class_weights(permafrost),
        "left": rng.normal(size=(20, predictors)),
        "right": rng.normal(size=(20, predictors)),
        "anchors": rng.normal(size=(20, predictors)),
        "anchor_e": rng.uniform(0.6, 1.2, 20),
    }


@needs_torch
@pytest.mark.parametrize("constraint", ["bounded", "none"])
def test_loss_and_gradient_are_those_of_the_twin(constraint: Any) -> None:
    """The gradient goes through E, the logarithm of the frost number's ratio, and the penalties."""
    import torch

    rng = np.random.default_rng(5)
    settings = Settings(constraint=constraint, hidden=6, to_neighbours=0.3, to_wetness=0.5)
    batch = some_batch(rng)
    weights = [part.astype(np.float64) for part in initial_weights(3, settings, 1)]
    weights[4] = rng.normal(size=6)
    tensors = [torch.tensor(part, requires_grad=True) for part in weights]
    steepness = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    given = Batch(**{name: torch.tensor(part) for name, part in batch.items()})
    loss = networks.loss_of(torch, tensors, steepness, given, settings, wetter=2)
    assert loss.item() == pytest.approx(twin_loss(weights, 2.0, batch, settings), rel=1e-12)
    loss.backward()
    step = 1e-6
    for part, tensor in zip(weights, tensors, strict=True):
        found = np.empty(part.size)
        flat = part.reshape(-1)
        for i in range(part.size):
            kept = flat[i]
            flat[i] = kept + step
            above = twin_loss(weights, 2.0, batch, settings)
            flat[i] = kept - step
            found[i] = (above - twin_loss(weights, 2.0, batch, settings)) / (2 * step)
            flat[i] = kept
        np.testing.assert_allclose(tensor.grad.numpy().reshape(-1), found, rtol=1e-5, atol=1e-8)
    change = (twin_loss(weights, 2.0 + step, batch, settings) - twin_loss(weights, 2.0 - step, batch, settings)) / (
        2 * step
    )
    assert steepness.grad.item() == pytest.approx(change, rel=1e-5)


@needs_torch
def test_the_logit_is_above_0_exactly_where_the_frost_number_is_above_a_half() -> None:
    import torch

    rng = np.random.default_rng(6)
    ddf, ddt, e = rng.uniform(1, 4000, 5000), rng.uniform(1, 4000, 5000), rng.uniform(0.5, 1.5, 5000)
    logit = networks.logit_of(
        torch, torch.tensor(e), torch.tensor(log_ratio(ddf, ddt)), torch.tensor(4.99, dtype=torch.float64)
    )
    np.testing.assert_array_equal(logit.numpy() > 0, frost_number(ddf, ddt, e) > 0.5)


@needs_torch
@pytest.mark.parametrize("constraint", ["bounded", "none"])
def test_numpy_predicts_what_torch_does(constraint: Any) -> None:
    import torch

    settings = Settings(constraint=constraint)
    lessons = survey()
    weights = initial_weights(3, settings, 3)
    member = networks.Member(weights, {})
    net = networks.together([member], lessons, settings).network
    x = (lessons.values - net.means) / net.scales
    with torch.no_grad():
        theirs = networks.e_of(torch, [torch.from_numpy(part) for part in weights], torch.from_numpy(x), settings)
    np.testing.assert_allclose(predict(net, lessons.values.T).e, theirs.numpy(), rtol=2e-6)


def test_sums_below_one_degree_day_count_as_one() -> None:
    assert log_ratio(np.array([0.0, 2.0]), np.array([0.5, 1.0])).tolist() == [0.0, math.log(2.0)]


def test_both_classes_weigh_alike() -> None:
    permafrost = np.random.default_rng(1).random(1000) < 0.2
    weights = class_weights(permafrost)
    assert weights[permafrost].sum() == pytest.approx(weights[~permafrost].sum())
    assert class_weights(np.ones(4, bool)).tolist() == [1, 1, 1, 1]


# ---- training -----------------------------------------------------------------------------------------------------


def true_e(values: NDArray[np.float32]) -> Numbers:
    return 0.9 + 0.08 * np.tanh(values[:, 1]) - 0.08 * np.tanh(values[:, 2])


def survey(one_class: bool = False, seed: int = 0) -> Lessons:
    """Return two surveyed regions beside each other in the predictors, and anchors that lie far beyond them.

    Where each region has one class alone, its ground is a little colder or warmer than its limit.
    """
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(1200, 3)).astype(np.float32)
    region = np.repeat([0, 1], 600)
    values[:600, 1] -= 1.0
    values[600:, 1] += 1.0
    critical = np.exp(rng.normal(-0.1, 0.15, 1200))
    if one_class:
        critical = true_e(values) * np.where(region == 0, 1.2, 0.8) * np.exp(rng.normal(0, 0.03, 1200))
    ddt = rng.uniform(800, 2000, 1200)
    anchors = (3 * rng.normal(size=(800, 3))).astype(np.float32)
    pairs = np.column_stack([np.arange(0, 1200, 2), np.arange(1, 1200, 2)])
    permafrost = true_e(values) < critical
    return Lessons(values, critical**2 * ddt, ddt, permafrost, region, pairs, anchors, true_e(anchors), 2)


@pytest.fixture(scope="module")
def bounded() -> Trained:
    if not networks.is_there():
        pytest.skip("PyTorch (the extra `network`) is not installed")
    return train(survey(), QUICK)


@needs_torch
def test_the_bounded_network_learns_the_classes_and_e(bounded: Trained) -> None:
    lessons = survey()
    assert [score["held_out"] for score in bounded.members] == [0, 1]
    for score in bounded.members:
        assert score["train_accuracy"] > 0.9
        assert score["test_accuracy"] > 0.9
        assert score["held_out_accuracy"] > 0.85
        assert score["steps"] % QUICK.every == 0
    found = predict(bounded.network, lessons.anchor_values.T)
    assert np.sqrt(np.mean((found.e - lessons.anchor_e) ** 2)) < 0.04
    assert plateau_check(found.e)["share_physical"] == 1.0


@needs_torch
def test_the_same_seed_trains_the_same_network(bounded: Trained) -> None:
    again = train(survey(), QUICK)
    np.testing.assert_array_equal(again.network.first, bounded.network.first)
    other = train(survey(), replace(QUICK, seed=5, steps=50))
    assert not np.array_equal(other.network.first, bounded.network.first)


@needs_torch
def test_the_unconstrained_network_shows_the_papers_failure_where_regions_have_one_class() -> None:
    lessons = survey(one_class=True)
    free = train(lessons, replace(QUICK, constraint="none", steps=1500))
    assert len(free.members) == 1
    assert free.members[0]["held_out"] == -1
    assert free.members[0]["train_accuracy"] > 0.99
    check = plateau_check(predict(free.network, lessons.anchor_values.T).e)
    assert check["share_physical"] < 0.75  # of the whole map, though every surveyed pixel is right
    assert check["min"] < 0.2
    assert check["max"] > 3
    held = train(lessons, QUICK)
    assert all(score["train_accuracy"] > 0.99 for score in held.members)
    assert plateau_check(predict(held.network, lessons.anchor_values.T).e)["share_physical"] == 1.0


@needs_torch
def test_training_is_stopped_by_the_region_held_out() -> None:
    lessons = survey()
    odd = replace(lessons, permafrost=np.where(lessons.region == 1, ~lessons.permafrost, lessons.permafrost))
    member = networks.train_member(odd, 1, QUICK)
    assert member.scores["steps"] <= 75  # what is learnt elsewhere is wrong there
    assert networks.train_member(odd, -1, replace(QUICK, steps=100)).scores["steps"] == 100


@needs_torch
def test_wetter_ground_has_the_lower_e_where_that_is_asked_for() -> None:
    lessons = survey()
    rising = replace(lessons, anchor_e=np.asarray(0.9 + 0.08 * np.tanh(lessons.anchor_values[:, 2])))
    wet, dry = lessons.anchor_values.copy(), lessons.anchor_values.copy()
    wet[:, 2] += 0.5
    shares = []
    for weight in (0.0, 20.0):
        net = train(rising, replace(QUICK, to_wetness=weight, steps=200)).network
        shares.append(np.mean(predict(net, wet.T).e > predict(net, dry.T).e + 1e-4))
    assert shares[0] > 0.5
    assert shares[1] < 0.1


@needs_torch
def test_members_differ_and_their_mean_is_e(bounded: Trained) -> None:
    values = survey().anchor_values
    x = (values - bounded.network.means) / bounded.network.scales
    each = [networks.bounded(outputs(bounded.network, m, x), 0.5, 1.5) for m in range(2)]
    found = predict(bounded.network, values.T)
    np.testing.assert_allclose(found.e, np.mean(each, axis=0), rtol=1e-6)
    assert found.spread.mean() > 1e-3


def test_one_region_alone_is_not_held_out() -> None:
    lessons = survey()
    assert held_out_regions(lessons, QUICK) == [0, 1]
    assert held_out_regions(replace(lessons, region=0 * lessons.region), QUICK) == [-1]
    assert held_out_regions(lessons, replace(QUICK, constraint="none")) == [-1]


def test_without_torch_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="not installed") as caught:
        networks.train_member(survey(), 0, QUICK)
    assert "frostmap[network]" in str(caught.value)


# ---- the plateau-wide check ---------------------------------------------------------------------------------------


def test_the_check_says_how_much_of_e_is_where() -> None:
    e = np.array([0.03, 0.07, 0.9, 1.2, 350.0, 5.0, np.nan])
    found = plateau_check(e)
    assert found["n"] == 6
    assert found["share_physical"] == pytest.approx(2 / 6)
    assert found["share_to_2"] == pytest.approx(4 / 6)
    assert found["share_above_2"] == pytest.approx(2 / 6)
    assert found["mode"] == pytest.approx(0.05)
    assert found["max"] == 350
    assert plateau_check(np.full(3, np.nan)) == {"n": 0}
    assert math.isnan(plateau_check(np.array([7.0]))["mode"])


# ---- files --------------------------------------------------------------------------------------------------------


@needs_torch
def test_networks_come_back_from_their_files_as_they_were(bounded: Trained, tmp_path: Path) -> None:
    networks.save(bounded, NAMES, tmp_path)
    kept = networks.load(tmp_path, NAMES)
    values = survey().values.T
    np.testing.assert_array_equal(predict(kept.network, values).e, predict(bounded.network, values).e)
    assert kept.training["settings"]["constraint"] == "bounded"
    assert len(kept.training["members"]) == 2


@needs_torch
def test_damaged_or_foreign_files_are_refused(bounded: Trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        networks.load(tmp_path, NAMES)
    arrays, described = networks.save(bounded, NAMES, tmp_path)
    whole, text = arrays.read_bytes(), described.read_text()
    with pytest.raises(UserError, match="predictors"):
        networks.load(tmp_path, ("clay",))
    arrays.write_bytes(whole[:-20])
    with pytest.raises(UserError, match="another digest"):
        networks.load(tmp_path, NAMES)
    arrays.write_bytes(whole)
    described.write_text(json.dumps(json.loads(text) | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        networks.load(tmp_path, NAMES)
    described.write_text("[1, 2")
    with pytest.raises(UserError, match="cannot be used"):
        networks.load(tmp_path, NAMES)
