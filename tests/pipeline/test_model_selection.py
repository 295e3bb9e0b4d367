"""Grids of forests are judged in folds; dask-ml is used where it works, and not missed where it does not."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from distributed import Client
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from frostmap.pipeline.experiments import forest_settings, model_selection
from frostmap.pipeline.experiments.model_selection import GridScores, grid_scores
from frostmap.pipeline.experiments.populations import Pixels
from frostmap.pipeline.experiments.sampling_designs import Drawn
from frostmap.pipeline.forests import FEATURES

RNG = np.random.default_rng(1)
VALUES = RNG.normal(size=(150, 4)).astype(np.float32)
TARGET = VALUES[:, 0] + 0.3 * RNG.normal(size=150)
FOLD = np.repeat([0, 1, 2], (60, 50, 40))
GRID = {"max_features": (0.3, 1.0), "min_samples_split": (2, 20)}
MODEL = RandomForestRegressor(8, random_state=3)


def by(engine: Any, client: Client) -> GridScores:
    return grid_scores(MODEL, GRID, VALUES, TARGET, FOLD, client, (engine,))


def test_scores_are_those_of_cross_validation(client: Client) -> None:
    found = by("own", client)
    assert found.engine == "own"
    assert len(found.table) == 4
    assert found.table["rmse"].is_monotonic_increasing
    for row in found.table.to_dict("records"):
        model = RandomForestRegressor(
            8, random_state=3, max_features=row["max_features"], min_samples_split=row["min_samples_split"]
        )
        predicted = cross_val_predict(model, VALUES, TARGET, cv=PredefinedSplit(FOLD))
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - TARGET) ** 2)))


@pytest.mark.skipif(find_spec("dask_ml") is None, reason="dask-ml (the extra `dask-ml`) is not installed")
@pytest.mark.filterwarnings("ignore")  # its own, about the libraries beside it
def test_dask_ml_finds_the_same(client: Client) -> None:
    theirs, ours = by("dask-ml", client), by("own", client)
    assert theirs.engine.startswith("dask-ml")
    np.testing.assert_allclose(theirs.table["rmse"], ours.table["rmse"], rtol=1e-12)
    assert theirs.table["max_features"].tolist() == ours.table["max_features"].tolist()


def test_its_absence_costs_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_ml.model_selection", None)
    found = grid_scores(MODEL, GRID, VALUES, TARGET, FOLD, client)
    assert found.engine == "own"
    np.testing.assert_array_equal(found.table["rmse"], by("own", client).table["rmse"])


def test_its_breakage_costs_nothing_and_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> GridScores:
        raise ValueError("Attempting to use an asynchronous Client in a synchronous context")

    monkeypatch.setattr(model_selection, "_by_dask_ml", broken)
    with caplog.at_level(logging.WARNING):
        assert grid_scores(MODEL, GRID, VALUES, TARGET, FOLD, client).engine == "own"
    assert "asynchronous Client" in caplog.text


def test_what_is_wrong_with_the_samples_is_not_hidden(client: Client) -> None:
    with pytest.raises(ValueError, match="149 targets"):
        grid_scores(MODEL, GRID, VALUES, TARGET[:-1], FOLD, client, ("own",))


def test_forests_are_judged_in_blocks_and_rs_own_choice_is_marked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask_ml.model_selection", None)
    fold = np.where(FOLD == 2, 4, FOLD).astype(np.int8)  # no sample lies in folds 2 and 3
    pixels = Pixels(VALUES, TARGET.astype(np.float32), fold.astype(np.int32), fold)
    settings = forest_settings.Settings(samples=150, trees=10)
    found = forest_settings.judge(Drawn(pixels, fold.astype(np.int64), 0.0), settings, client)
    assert len(found.table) == 12
    assert (found.table["max_features"] == FEATURES).sum() == 3
    text = forest_settings.document(settings, found, simulated=True)
    assert text.count("(as in R)") == 1
    assert "Simulated data" in text
