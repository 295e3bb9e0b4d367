"""Support vector regression with radial kernels: chosen by cross-validation, judged on what was left out, kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.svm import SVR

from frostmap.kernels.radial_basis import radial_basis
from frostmap.pipeline.cross_validation import Folds, random_folds
from frostmap.pipeline.errors import UserError

Numbers = npt.NDArray[np.float64]

COSTS = (1.0, 10.0, 100.0)
GAMMAS = (0.0, 0.1, 0.01)
"""0 stands for 1 / (predictors times their variance)."""
EPSILONS = (0.05, 0.1, 0.2)
"""Errors up to this cost nothing [unit of the target]."""
FOLDS, INNER_FOLDS = 10, 5
"""Of the choice of settings: by all samples, and by those that stay when others are left out."""


class Settings(NamedTuple):
    """Of a regression."""

    cost: float
    gamma: float
    epsilon: float


@dataclass(frozen=True)
class SupportVectors:
    """A regression that was fitted."""

    predictors: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    """Predictors are standardised by these."""
    centres: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    gamma: float
    intercept: float
    settings: Settings

    def predict(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return predictions for (n, predictors); NaN where a predictor is missing."""
        standard = (values.astype(np.float64) - np.array(self.mean)) / np.array(self.scale)
        centres = np.array(self.centres, np.float64).reshape(len(self.weights), len(self.mean))
        return radial_basis(standard, centres, np.array(self.weights, np.float64), self.gamma, self.intercept)


def fit(values: Numbers, target: Numbers, settings: Settings, predictors: Sequence[str]) -> SupportVectors:
    """Return the regression of some samples, (n, predictors)."""
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (values - mean) / scale
    variance = float(standard.var())
    gamma = settings.gamma or (1.0 / (values.shape[1] * variance) if variance > 0 else 1.0)
    model = SVR(C=settings.cost, gamma=gamma, epsilon=settings.epsilon).fit(standard, target)
    return SupportVectors(
        tuple(predictors),
        tuple(mean.tolist()),
        tuple(scale.tolist()),
        tuple(tuple(row) for row in model.support_vectors_.tolist()),
        tuple(model.dual_coef_[0].tolist()),
        gamma,
        float(model.intercept_[0]),
        settings,
    )


def chosen(values: Numbers, target: Numbers, seed: int, count: int = FOLDS) -> Settings:
    """Return the settings of the least squared error of samples that were left out, fold by fold."""
    folds = random_folds(len(target), seed, min(count, len(target)))
    names = [str(column) for column in range(values.shape[1])]

    def error(settings: Settings) -> float:
        total = 0.0
        for fold in np.unique(folds):
            left = folds == fold
            model = fit(values[~left], target[~left], settings, names)
            total += float(np.sum((model.predict(values[left]) - target[left]) ** 2))
        return total

    return min(map(Settings._make, itertools.product(COSTS, GAMMAS, EPSILONS)), key=error)


def left_out(values: Numbers, target: Numbers, folds: Folds, fold: int, seed: int) -> npt.NDArray[np.float32]:
    """Return predictions for one fold by a regression that never saw it: its settings are chosen without it, too."""
    left = folds == fold
    settings = chosen(values[~left], target[~left], seed, INNER_FOLDS)
    names = [str(column) for column in range(values.shape[1])]
    return fit(values[~left], target[~left], settings, names).predict(values[left])


# ---- kept ---------------------------------------------------------------------------------------------------------


def save(model: SupportVectors, path: Path) -> list[Path]:
    """Write a regression as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(model) | {"settings": model.settings._asdict()}, indent=1), encoding="utf-8")
    draft.replace(path)
    return [path]


def load(path: Path, predictors: Sequence[str]) -> SupportVectors:
    """Return a regression that was kept.

    Raises
    ------
    UserError
        The file is not there or not whole, or is of other predictors.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        model = SupportVectors(
            tuple(kept["predictors"]), tuple(kept["mean"]), tuple(kept["scale"]), tuple(map(tuple, kept["centres"])),
            tuple(kept["weights"]), float(kept["gamma"]), float(kept["intercept"]), Settings(**kept["settings"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "a regression cannot be used",
            where=str(path),
            found=error,
            wanted="the file as the step `magt` writes it",
            remedy="delete it and run again: the step makes it anew",
        ) from error
    if list(model.predictors) != list(predictors):
        raise UserError(
            "a regression is of other predictors",
            where=str(path),
            found=", ".join(model.predictors),
            wanted=", ".join(predictors),
            remedy="delete it and run again: the step `magt` makes it anew",
        )
    return model
