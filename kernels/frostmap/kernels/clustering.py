"""Many clusters of many points: points move to nearer centres among the neighbours of their own.

Lloyd's algorithm compares every point with every centre. With thousands of centres nearly all of that is in vain: a
point's nearest centre is its own, or one near to it. A step that looks at those alone makes the sum of squared
distances smaller as well, never larger, at a hundredth of the cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled


@compiled
def _move(points: Any, centres: Any, near: Any, gap: Any, labels: Any) -> Any:
    n, p = points.shape
    moved = np.empty(n, dtype=np.int32)
    squares = np.empty(n, dtype=np.float32)
    for i in range(n):
        own = labels[i]
        least = np.float32(0.0)
        for j in range(p):
            d = points[i, j] - centres[own, j]
            least += d * d
        distance, best = np.sqrt(least), own
        for q in range(near.shape[1]):
            beyond = gap[own, q] - distance  # the other centre is at least as far from the point
            if beyond >= 0.0 and beyond * beyond >= least:
                break
            other, square = near[own, q], np.float32(0.0)
            for j in range(p):
                d = points[i, j] - centres[other, j]
                square += d * d
            if square < least:
                least, best = square, other
        moved[i], squares[i] = best, least
    return moved, squares


def move_to_nearer(
    points: NDArray[np.float32],
    centres: NDArray[np.float32],
    near: NDArray[np.int32],
    gap: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest centre of each point among its own and that one's neighbours, and how far it is.

    Parameters
    ----------
    points : (n, p) float32
        A point with a NaN keeps its centre.
    centres : (k, p) float32
        Without NaN.
    near : (k, m) int32
        The m other centres nearest to each centre, the nearest first. With m = k - 1 the result is exact.
    gap : (k, m) float32
        How far they are. A neighbour that is too far to be nearer, by the triangle inequality, is not looked at.
    labels : (n,) int32
        The centre of each point so far.

    Returns
    -------
    labels : (n,) int32
        Its own centre where no other is nearer.
    squares : (n,) float32
        Squared distance to it; NaN for a point with a NaN.

    References
    ----------
    Lloyd 1982, doi:10.1109/TIT.1982.1056489; neighbours alone: Wang et al. 2015, doi:10.1007/s11263-014-0794-4
    (cluster closures); the bound: Elkan 2003, ICML.

    Examples
    --------
    >>> centres = np.array([[0.0], [1.0], [4.0]], dtype=np.float32)
    >>> near, gap = np.array([[1], [0], [1]], dtype=np.int32), np.array([[1], [1], [3]], dtype=np.float32)
    >>> points = np.array([[0.9], [3.9], [0.1]], dtype=np.float32)
    >>> labels, squares = move_to_nearer(points, centres, near, gap, np.array([0, 0, 0], dtype=np.int32))
    >>> labels.tolist()
    [1, 1, 0]
    """
    labels, squares = _move(points, centres, near, gap, labels)
    return labels, squares


@compiled
def _means(points: Any, labels: Any, centres: Any) -> Any:
    n, p = points.shape
    sums = np.zeros(centres.shape)
    counts = np.zeros(centres.shape[0], dtype=np.int64)
    for i in range(n):
        counts[labels[i]] += 1
        for j in range(p):
            sums[labels[i], j] += points[i, j]
    means = centres.copy()
    for k in range(centres.shape[0]):
        if counts[k] > 0:
            for j in range(p):
                means[k, j] = sums[k, j] / counts[k]
    return means


def cluster_means(
    points: NDArray[np.float32], labels: NDArray[np.int32], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the mean of the points of each cluster, float64 inside; a cluster without points keeps its centre.

    Parameters
    ----------
    points : (n, p) float32
        A NaN makes its cluster's mean NaN.
    labels : (n,) int32
        Cluster 0 ... k - 1 of each point.
    centres : (k, p) float32
        Centres so far.

    Examples
    --------
    >>> points, centres = np.array([[0.0], [2.0]], dtype=np.float32), np.array([[9.0], [7.0]], dtype=np.float32)
    >>> cluster_means(points, np.array([0, 0], dtype=np.int32), centres).tolist()
    [[1.0], [7.0]]
    """
    means: NDArray[np.float32] = _means(points, labels, centres)
    return means
