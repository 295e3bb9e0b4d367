"""Where a model may be asked: how unlike its training samples a pixel is (Meyer and Pebesma 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingSpace:
    """The training samples in the space of the predictors, each weighted by its importance.

    The dissimilarity of a pixel is its distance to the nearest sample, in mean distances of all samples from each
    other. Beyond the threshold, the model was never tried on anything as unlike: its errors are not known there.
    """

    centre: Numbers
    """(predictors,): mean of the samples."""
    scale: Numbers
    """(predictors,): importance over standard deviation of the samples; 0 for what says nothing."""
    points: Numbers
    """(samples, predictors): less the centre, times the scale."""
    mean_distance: Numbers
    """(1,): mean distance of all pairs of samples."""
    threshold: Numbers
    """(): largest dissimilarity that a sample had in cross-validation, outliers left out."""

    def faults(self, predictors: int) -> list[str]:
        """Return what makes this no space of so many predictors; nothing where it is one."""
        found = [
            f"{name} has the shape {shape}"
            for name, shape in (("centre", self.centre.shape), ("scale", self.scale.shape))
            if shape != (predictors,)
        ]
        if self.points.ndim != 2 or self.points.shape[1] != predictors or not len(self.points):
            found.append(f"points have the shape {self.points.shape}")
        every = (self.centre, self.scale, self.points, self.mean_distance, self.threshold)
        if not all(np.isfinite(each).all() for each in every) or not (self.mean_distance > 0).all():
            found.append("the space of the training samples has numbers that are not finite, or no extent")
        return found

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    def dissimilarity(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the dissimilarity index of pixels.

        Parameters
        ----------
        values
            (predictors, pixels).

        Returns
        -------
        (pixels,) float32
            NaN where a predictor is not finite.
        """
        known = np.isfinite(values).all(axis=0)
        index = np.full(values.shape[1], np.nan, np.float32)
        if known.any():
            distance, _ = self._tree.query((values[:, known].T.astype(np.float64) - self.centre) * self.scale)
            index[known] = distance / self.mean_distance
        return index


def training_space(
    values: npt.NDArray[np.floating], importance: Numbers, folds: npt.NDArray[np.integer]
) -> TrainingSpace:
    """Return the space of training samples, and the threshold beyond which a model is not to be trusted.

    Parameters
    ----------
    values
        (samples, predictors).
    importance
        (predictors,): of each in the model; what is not positive counts for nothing.
    folds
        (samples,): those of the cross-validation that judges the model.

    Notes
    -----
    The threshold is the upper whisker of the dissimilarities that samples have to those of other folds: the largest
    that is not above the third quartile plus 1.5 times the interquartile range.

    References
    ----------
    Meyer and Pebesma 2021, doi:10.1111/2041-210X.13650.
    """
    samples = np.asarray(values, np.float64)
    weight, spread = np.maximum(importance, 0.0), samples.std(axis=0)
    if not (weight * spread).any():
        weight = np.ones_like(spread)
    scale = np.where(spread > 0, weight / weight.max() / np.where(spread > 0, spread, 1.0), 0.0)
    centre = samples.mean(axis=0)
    points = (samples - centre) * scale
    distance = _mean_distance(points) or 1.0
    elsewhere = np.empty(len(points))
    for fold in np.unique(folds):
        own = folds == fold
        elsewhere[own] = cKDTree(points[~own]).query(points[own])[0]
    index = elsewhere / distance
    low, high = np.percentile(index, [25, 75])
    threshold = index[index <= high + 1.5 * (high - low)].max()
    return TrainingSpace(centre, scale, points, np.array([distance]), np.asarray(threshold))


def _mean_distance(points: Numbers) -> float:
    """Return the mean distance of all pairs of points, some rows at a time."""
    total = sum(float(cdist(points[at : at + 500], points).sum()) for at in range(0, len(points), 500))
    return total / (len(points) * (len(points) - 1))
