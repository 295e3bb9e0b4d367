"""How forests are best grown: every choice of a grid, judged in folds, in parallel.

`grid_scores` is all that others see. It asks dask-ml where that is installed and works; where it does not, our own
tasks do the same, so that its absence or its breakage costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from dask.delayed import delayed
from distributed import Client
from sklearn.base import RegressorMixin, clone
from sklearn.model_selection import PredefinedSplit

from frostmap.pipeline.submission import compute

Numbers = npt.NDArray[np.float64]
Engine = Literal["dask-ml", "own"]

_log = logging.getLogger(__name__)

BREAKAGE = (ImportError, AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError)
"""What dask-ml has been seen to raise beside versions of Dask and scikit-learn that it does not know."""


@dataclass(frozen=True)
class GridScores:
    """What each choice is worth."""

    table: pd.DataFrame
    """One row a choice: its parameters, rmse (over all samples), rmse_fold_sd (among folds); the best first."""
    engine: str
    """What computed it: dask-ml and its version, or own."""


def grid_scores(
    model: RegressorMixin,
    grid: Mapping[str, Sequence[Any]],
    values: npt.NDArray[np.float32],
    target: Numbers,
    fold: npt.NDArray[np.integer],
    client: Client,
    engines: Sequence[Engine] = ("dask-ml", "own"),
) -> GridScores:
    """Return the root mean squared error of a model in folds, for every choice of a grid.

    Parameters
    ----------
    model
        A regressor of scikit-learn's kind.
    grid
        Values of its parameters.
    values, target
        (samples, predictors) and (samples,).
    fold
        (samples,): from 0; each is predicted from the others.
    client
        Where it is computed.
    engines
        What is asked, in turn; the last one's failures are raised.

    Raises
    ------
    ValueError
        Values, target and folds are not of the same samples.

    Notes
    -----
    Both engines give the same numbers: models are cloned with their own seeds.
    """
    if not len(values) == len(target) == len(fold):
        raise ValueError(f"{len(values)} rows, {len(target)} targets and {len(fold)} folds; wanted as many of each")
    for engine in engines[:-1]:
        try:
            return _by(engine)(model, grid, values, target, fold, client)
        except BREAKAGE as error:
            _log.warning("%s does not work here, and is done without: %s: %s", engine, type(error).__name__, error)
    return _by(engines[-1])(model, grid, values, target, fold, client)


def _by(engine: Engine) -> Callable[..., GridScores]:
    return _by_dask_ml if engine == "dask-ml" else _by_ourselves


def _by_dask_ml(
    model: RegressorMixin,
    grid: Mapping[str, Sequence[Any]],
    values: npt.NDArray[np.float32],
    target: Numbers,
    fold: npt.NDArray[np.integer],
    client: Client,
) -> GridScores:
    from dask_ml.model_selection import GridSearchCV

    names = {name: list(choices) for name, choices in grid.items()}
    search = GridSearchCV(
        model,
        names,
        scoring="neg_mean_squared_error",
        cv=PredefinedSplit(fold),
        refit=False,
        return_train_score=False,
        scheduler=client,
    )
    found = search.fit(values, target).cv_results_
    folds = range(int(fold.max()) + 1)
    errors = [[-found[f"split{each}_test_score"][i] for each in folds] for i in range(len(found["params"]))]
    try:
        engine = f"dask-ml {version('dask-ml')}"
    except PackageNotFoundError:
        engine = "dask-ml"
    return GridScores(_table(found["params"], errors, fold), engine)


def _by_ourselves(
    model: RegressorMixin,
    grid: Mapping[str, Sequence[Any]],
    values: npt.NDArray[np.float32],
    target: Numbers,
    fold: npt.NDArray[np.integer],
    client: Client,
) -> GridScores:
    choices = [dict(zip(grid, chosen, strict=True)) for chosen in product(*grid.values())]
    folds = range(int(fold.max()) + 1)
    table, truth = delayed(values), delayed(target)
    tasks = [delayed(squared_error)(model, choice, table, truth, fold == each) for choice in choices for each in folds]
    errors = compute(client, tasks, lambda _done: None)
    return GridScores(_table(choices, np.reshape(errors, (-1, len(folds))).tolist(), fold), "own")


def squared_error(
    model: RegressorMixin,
    choice: Mapping[str, Any],
    values: npt.NDArray[np.float32],
    target: Numbers,
    there: npt.NDArray[np.bool_],
) -> float:
    """Return the mean squared error of a fold that the others predict."""
    fitted: Any = clone(model).set_params(**choice)
    fitted.fit(values[~there], target[~there])
    return float(np.mean((fitted.predict(values[there]) - target[there]) ** 2))


def _table(choices: Sequence[Mapping[str, Any]], errors: Sequence[Sequence[float]], fold: Any) -> pd.DataFrame:
    """Return choices with their errors: samples weigh alike, whatever fold they are in."""
    sizes = np.bincount(fold)
    rows = [
        dict(choice)
        | {
            "rmse": float(np.sqrt(np.average(each, weights=sizes))),
            "rmse_fold_sd": float(np.std(np.sqrt(each), ddof=1)) if len(sizes) > 1 else 0.0,
        }
        for choice, each in zip(choices, errors, strict=True)
    ]
    return pd.DataFrame(rows).sort_values("rmse", kind="stable").reset_index(drop=True)
