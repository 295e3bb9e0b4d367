"""Folds of samples for cross-validation, at random and in space, and scores of what is predicted for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

Folds = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

BLOCK_KM = 200.0
"""Side of the blocks of spatial cross-validation [km]."""
FOLDS = 5


def random_folds(samples: int, seed: int, count: int = FOLDS) -> Folds:
    """Return a fold for each sample, at random, as equal in size as can be.

    >>> sorted(np.bincount(random_folds(12, seed=1)).tolist())
    [2, 2, 2, 3, 3]
    """
    return np.random.default_rng(seed).permutation(np.arange(samples) % count)


def block_folds(x: Numbers, y: Numbers, seed: int, block_km: float = BLOCK_KM, count: int = FOLDS) -> Folds:
    """Return a fold for each sample such that all samples of a square block share one (Roberts et al. 2017).

    Parameters
    ----------
    x, y
        Where the samples are [km].
    seed
        The same seed makes the same folds.
    block_km
        Side of a block [km].
    count
        Folds wanted; there are fewer where there are fewer blocks.

    Notes
    -----
    Blocks are dealt out from the one with the most samples down, each to the fold that has the fewest so far; blocks of
    equal size in random order.

    References
    ----------
    Roberts et al. 2017, doi:10.1111/ecog.02881.

    Examples
    --------
    >>> block_folds(np.array([10.0, 20.0, 210.0, 410.0]), np.zeros(4), seed=1, count=2)[:2].tolist()
    [0, 0]
    """
    places = np.column_stack([np.floor_divide(x, block_km), np.floor_divide(y, block_km)])
    _, block = np.unique(places, axis=0, return_inverse=True)
    block = block.reshape(-1)
    sizes = np.bincount(block)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    fold_of = np.zeros(len(sizes), np.int64)
    filled = np.zeros(min(count, len(sizes)), np.int64)
    for one in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold_of[one] = filled.argmin()
        filled[fold_of[one]] += sizes[one]
    return fold_of[block]


def region_folds(x: Numbers, y: Numbers, seed: int, count: int = FOLDS) -> Folds:
    """Return a fold for each sample such that each fold is a region of its own: k-means of where samples are.

    Parameters
    ----------
    x, y
        Where the samples are, in one unit.
    seed, count
        As `block_folds`.
    """
    places = np.column_stack([x, y])
    regions = min(count, len(np.unique(places, axis=0)))
    found: Folds = KMeans(regions, n_init=4, random_state=seed).fit_predict(places).astype(np.int64)
    return found


def scores(true: Numbers, predicted: Numbers) -> dict[str, float]:
    """Return RMSE, MAE, Pearson's r and the variance explained [%] of predictions.

    %Var is 100 (1 - MSE / variance), as in R's randomForest; r and %Var are NaN where nothing varies.

    >>> scores(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))["rmse"]
    0.5773502691896257
    """
    error = np.asarray(predicted, np.float64) - true
    mse, variance = float(np.mean(error**2)), float(np.var(true))
    both = variance > 0 and float(np.var(predicted)) > 0
    return {
        "rmse": mse**0.5,
        "mae": float(np.mean(np.abs(error))),
        "r": float(np.corrcoef(true, predicted)[0, 1]) if both else float("nan"),
        "variance_explained_percent": 100.0 * (1.0 - mse / variance) if variance > 0 else float("nan"),
    }
