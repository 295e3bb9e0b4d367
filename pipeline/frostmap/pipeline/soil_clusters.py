"""Soil clusters: pixels of like terrain, soil, plants, snow and rain, which share one E.

k-means on the standardised predictors; each cluster may be divided again, so that few clusters are a special case of
many. With few surveys, clusters can be made of the surveyed pixels alone, and a decision tree carries them further.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from frostmap.pipeline import predictors
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Calibration

MOST_FIT = 200_000
"""Pixels that clusters are fitted on; all are then assigned."""
SMALLEST_LEAF = 20
"""Fewest surveyed pixels in a leaf of the decision tree."""

Values = npt.NDArray[np.float64]


def make_clusters(
    covariates: xr.Dataset,
    inside: npt.NDArray[np.bool_],
    surveyed: npt.NDArray[np.uint8],
    settings: Calibration,
) -> npt.NDArray[np.int16]:
    """Return soil clusters 1, 2, ... of pixels with all predictors; 0 elsewhere.

    Parameters
    ----------
    covariates
        The predictors on the map.
    inside : (y, x) bool
        The region.
    surveyed : (y, x)
        Above 0 where somebody surveyed; needed where `assign` is tree.
    settings
        clusters, subclusters, assign and seed count. Cluster k at first (0, 1, ...) has the numbers
        k x subclusters + 1 to (k + 1) x subclusters.

    Raises
    ------
    UserError
        There are fewer pixels with all predictors than clusters.
    """
    values = predictors.matrix(covariates)
    usable = np.isfinite(values).all(axis=1) & inside.ravel()
    learnt = usable & (surveyed.ravel() > 0) if settings.assign == "tree" else usable
    wanted = settings.clusters * settings.subclusters
    if learnt.sum() < wanted:
        of = "surveyed pixels" if settings.assign == "tree" else "pixels"
        raise UserError(
            f"too few {of} with all predictors to make soil clusters",
            where="stage calibration",
            found=f"{learnt.sum()} of {inside.sum()} pixels in the region",
            wanted=f"at least {wanted}, one a cluster",
            remedy="check that every covariate covers the region (maps/ and the report show them)",
        )
    scaled = StandardScaler().fit(values[usable]).transform(values)
    rows = np.flatnonzero(learnt)
    label = _divided(scaled[rows], settings.clusters, settings.seed)
    if settings.subclusters > 1:
        parts = np.zeros_like(label)
        for k in range(settings.clusters):
            own = label == k
            parts[own] = _divided(scaled[rows[own]], settings.subclusters, settings.seed)
        label = label * settings.subclusters + parts
    result = np.zeros(inside.size, dtype=np.int16)
    if settings.assign == "tree":
        tree = DecisionTreeClassifier(min_samples_leaf=SMALLEST_LEAF, random_state=settings.seed)
        result[usable] = tree.fit(scaled[rows], label).predict(scaled[usable]) + 1
    else:
        result[rows] = label + 1
    return result.reshape(inside.shape)


def _divided(values: Values, clusters: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the cluster 0, 1, ... of each row; fewer where there are fewer different rows."""
    rng = np.random.default_rng(seed)
    sample = values if len(values) <= MOST_FIT else values[rng.choice(len(values), MOST_FIT, replace=False)]
    if clusters == 1 or len(values) < clusters:
        return np.zeros(len(values), dtype=np.int64)
    labels: npt.NDArray[np.int64] = KMeans(clusters, n_init=10, random_state=seed).fit(sample).predict(values)
    return labels.astype(np.int64)
