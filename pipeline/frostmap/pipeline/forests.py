"""A regression forest: grown with scikit-learn, kept as plain arrays, and checked before it is used again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestRegressor

from frostmap.kernels.forest import Forest, not_above
from frostmap.pipeline.applicability import TrainingSpace
from frostmap.pipeline.errors import UserError

Table = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

FORMAT = 1
"""Of the files; another one is refused."""
FEATURES = 1 / 3
"""Share of the predictors that a node chooses its own from (R's randomForest: a third)."""
FEWEST_SPLIT = 6
"""Fewest samples of a node that is split (R's randomForest: nodes of up to 5 are not)."""


@dataclass(frozen=True, eq=False)
class Grown:
    """A forest, and what its growth says of the predictors."""

    forest: Forest
    importance: Numbers
    """(predictors,): share of the decrease of variance that is owed to each."""


def grow(values: Table, target: Numbers, trees: int, seed: int, errors: Numbers | None = None) -> Grown:
    """Return a forest as R's randomForest grows it by default, as far as scikit-learn has that.

    Parameters
    ----------
    values
        (samples, predictors), without missing values.
    target
        (samples,): what is learnt.
    trees, seed
        Number of trees; the same seed grows the same forest.
    errors
        (samples,): standard error of each target; it does not change the forest, but what it says of its own doubt.
    """
    model = RandomForestRegressor(
        trees, max_features=FEATURES, min_samples_split=FEWEST_SPLIT, bootstrap=True, random_state=seed, n_jobs=1
    ).fit(values, target)
    return Grown(as_arrays(model, values, target, errors), model.feature_importances_)


def as_arrays(model: RandomForestRegressor, values: Table, target: Numbers, errors: Numbers | None = None) -> Forest:
    """Return a fitted scikit-learn forest as plain arrays; its leaves know the samples that grew it.

    Parameters
    ----------
    model
        Fitted with bootstrap, or without.
    values, target
        What it was fitted on.
    errors
        As `grow`. Samples of the same target share the root mean square of theirs.
    """
    targets, number = np.unique(np.asarray(target, np.float64), return_inverse=True)
    squares = np.zeros(len(target)) if errors is None else np.asarray(errors, np.float64) ** 2
    parts: dict[str, list[npt.NDArray[Any]]] = {each.name: [] for each in fields(Forest)}
    nodes = leaves = entries = 0
    for estimator, drawn in zip(model.estimators_, model.estimators_samples_, strict=True):
        tree = estimator.tree_
        outer = tree.children_left < 0
        inner = ~outer
        place = np.where(outer, ~(leaves + np.cumsum(outer) - 1), nodes + np.cumsum(inner) - 1).astype(np.int32)
        leaf = np.cumsum(outer)[tree.apply(np.asarray(values, np.float32))[drawn]] - 1
        held, count = np.unique(leaf * len(targets) + number[drawn], return_counts=True)
        parts["roots"].append(place[:1])
        parts["feature"].append(tree.feature[inner])
        parts["threshold"].append(not_above(tree.threshold[inner]))
        parts["below"].append(place[tree.children_left[inner]])
        parts["above"].append(place[tree.children_right[inner]])
        parts["leaf_start"].append(entries + np.searchsorted(held, np.arange(outer.sum()) * len(targets)))
        parts["leaf_target"].append(held % len(targets))
        parts["leaf_count"].append(count)
        nodes, leaves, entries = nodes + int(inner.sum()), leaves + int(outer.sum()), entries + len(held)
    parts["leaf_start"].append(np.array([entries]))
    parts["targets"].append(targets)
    parts["errors"].append(np.sqrt(np.bincount(number, squares) / np.bincount(number)))
    return Forest(**{name: np.concatenate(some).astype(TYPES[name]) for name, some in parts.items()})


TYPES: Mapping[str, str] = {
    "roots": "int32",
    "feature": "int16",
    "threshold": "float32",
    "below": "int32",
    "above": "int32",
    "leaf_start": "int64",
    "leaf_target": "int32",
    "leaf_count": "int32",
    "targets": "float64",
    "errors": "float64",
}
"""Arrays of a forest in its file, and their types."""


# ---- kept -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Kept:
    """A forest, where it may be asked, and where it comes from."""

    forest: Forest
    space: TrainingSpace
    predictors: tuple[str, ...]
    """Names of what it looks at, in order."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How it was grown and from what, as plain data."""


def save(kept: Kept, folder: Path) -> list[Path]:
    """Write forest.npz and forest.json into a folder; return their paths.

    The arrays are written first, and then what describes them, with their digest: one without the other is no forest.
    """
    arrays = {name: getattr(kept.forest, name) for name in TYPES}
    arrays |= {f"space_{each.name}": np.asarray(getattr(kept.space, each.name)) for each in fields(TrainingSpace)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    content = buffer.getvalue()
    described = {
        "format": FORMAT,
        "what": "a regression forest: see frostmap.kernels.forest.Forest for its arrays",
        "sha256": hashlib.sha256(content).hexdigest(),
        "predictors": list(kept.predictors),
        "trees": kept.forest.trees,
        "nodes": len(kept.forest.feature),
        "leaves": len(kept.forest.leaf_start) - 1,
        "training": dict(kept.training),
        "software": {name: version(name) for name in ("frostmap", "scikit-learn", "numpy")},
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "forest.npz", folder / "forest.json"]
    for path, data in zip(paths, (content, json.dumps(described, indent=2).encode()), strict=True):
        draft = path.with_suffix(".draft")
        draft.write_bytes(data)
        draft.replace(path)
    return paths


def load(folder: Path, predictors: Sequence[str]) -> Kept:
    """Return the forest in a folder; nothing in its files is run.

    Parameters
    ----------
    folder
        Where `save` put it.
    predictors
        What it will be given, in order.

    Raises
    ------
    UserError
        The files are not there or not whole, do not belong together, or hold no forest of these predictors.
    """
    arrays_path, path = folder / "forest.npz", folder / "forest.json"
    try:
        described = json.loads(path.read_bytes())
        content = arrays_path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unusable(path, error, "forest.npz and forest.json, as the step `forest` writes them") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        found = described.get("format") if isinstance(described, dict) else described
        raise _unusable(path, f"format {found}", f"format {FORMAT}")
    if described.get("sha256") != hashlib.sha256(content).hexdigest():
        raise _unusable(arrays_path, "content of another digest", f"the digest that {path.name} tells")
    if described.get("predictors") != list(predictors):
        raise _unusable(path, f"predictors {described.get('predictors')}", f"predictors {list(predictors)}")
    arrays = _arrays(arrays_path, content)
    forest = Forest(**{name: arrays[name] for name in TYPES})
    space = TrainingSpace(**{each.name: arrays[f"space_{each.name}"] for each in fields(TrainingSpace)})
    faults = [*forest.faults(len(predictors)), *space.faults(len(predictors))]
    if faults:
        raise _unusable(arrays_path, "; ".join(faults), "trees that can be walked")
    return Kept(forest, space, tuple(predictors), described.get("training", {}))


def _arrays(path: Path, content: bytes) -> dict[str, npt.NDArray[Any]]:
    wanted = dict(TYPES) | {f"space_{each.name}": "float64" for each in fields(TrainingSpace)}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in wanted}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise _unusable(path, error, f"arrays {', '.join(wanted)}") from error
    shapes = {name: 0 if name == "space_threshold" else 2 if name == "space_points" else 1 for name in wanted}
    wrong = [
        f"{name} is {array.dtype} of shape {array.shape}"
        for name, array in arrays.items()
        if array.dtype != wanted[name] or array.ndim != shapes[name]
    ]
    if wrong:
        raise _unusable(path, "; ".join(wrong), "the arrays' own types and dimensions")
    return arrays


def _unusable(path: Path, found: object, wanted: str) -> UserError:
    return UserError(
        "a forest cannot be used",
        where=str(path),
        found=str(found),
        wanted=wanted,
        remedy="remove the folder and run again: the step `forest` grows it anew",
    )


@lru_cache(maxsize=1)
def _remembered(folder: Path, _digest: str, predictors: tuple[str, ...]) -> Kept:
    return load(folder, predictors)


def load_once(folder: Path, predictors: Sequence[str]) -> Kept:
    """Return `load`, remembered by a worker as long as the files stay the same."""
    try:
        digest = hashlib.sha256((folder / "forest.json").read_bytes()).hexdigest()
    except OSError as error:
        raise _unusable(folder / "forest.json", error, "a forest that the step `forest` grew") from error
    return _remembered(folder, digest, tuple(predictors))
