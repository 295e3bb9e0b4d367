"""Prediction of a regression forest over the pixels of a map, with the distribution behind each prediction.

Sixty-four pixels go down a tree together, as the bits of one number: a node compares all of them with its threshold at
once, and what goes one way and what goes the other are two numbers again. Pixels that are alike take much the same way,
so that a node is looked at once where a pixel at a time would look at it up to sixty-four times: they are first brought
into an order in which like follows like (`pixel_order`). The trees of a group are walked at the same time, so that the
processor need not wait for any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.pixel_bits import CELL, above, add_where
from frostmap.kernels.pixel_order import order_of_alike, steps_of

GROUP = 16
"""Trees that are walked at the same time."""
BLOCK = 64
"""Cells that a group of trees sees one after the other, while its nodes are in the processor's cache."""
SLICE = 1 << 16
"""Pixels that are brought into order at a time: what is held beside the result does not grow with the map."""

POINTS = 16
"""Points that stand for a target with an error where quantiles are counted; a power of 2."""

_HISTOGRAM = 1 << 18  # bytes of the blocks' histograms that are held at once, where targets are not too many
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)
_ONE = np.uintp(1)  # indices are unsigned: Numba spares them the test for counting from the end


@dataclass(frozen=True, eq=False)
class Forest:
    """A regression forest as plain arrays.

    A child is the number of an inner node, or of a leaf as its complement ``~leaf``, that is -1 - leaf. A tree has its
    inner nodes and leaves to itself, and a node's children come after it.
    """

    roots: NDArray[np.int32]
    """(trees,): the first node of each tree, a leaf where the tree has no other."""
    feature: NDArray[np.int16]
    """(nodes,): the predictor that a node looks at."""
    threshold: NDArray[np.float32]
    """(nodes,): what is not above it goes one way, the rest the other."""
    below: NDArray[np.int32]
    """(nodes,): child of those not above the threshold."""
    above: NDArray[np.int32]
    """(nodes,): child of those above."""
    leaf_start: NDArray[np.int64]
    """(leaves + 1,): where in the next two arrays each leaf's training samples begin."""
    leaf_target: NDArray[np.int32]
    """(entries,): number of a target that a leaf holds."""
    leaf_count: NDArray[np.int32]
    """(entries,): how often it was drawn there."""
    targets: NDArray[np.float64]
    """(targets,): the distinct values that were learnt, rising."""
    errors: NDArray[np.float64]
    """(targets,): standard error of each of them, 0 where it is taken to be exact."""

    def _repr_html_(self) -> str:
        """Return the forest as a notebook shows it: its size, and what it has learnt."""
        learnt = f"{self.targets.min():.4g} to {self.targets.max():.4g}" if self.targets.size else "nothing"
        size = sum(getattr(self, each.name).nbytes for each in fields(self))
        facts = {
            "trees": f"{self.trees:,}",
            "inner nodes": f"{self.feature.size:,}",
            "leaves": f"{self.leaf_start.size - 1:,}",
            "distinct targets": f"{self.targets.size:,}, {learnt}",
            "memory": f"{size / 2**20:,.1f} MiB",
        }
        rows = "".join(f"<tr><th>{name}</th><td>{told}</td></tr>" for name, told in facts.items())
        return f"<strong>regression forest</strong><table>{rows}</table>"

    def faults(self, features: int) -> list[str]:
        """Return what makes this no forest of so many predictors; nothing where it is one.

        What has no fault can be walked without leaving the arrays or going round in circles.
        """
        return _shape_faults(self) or _structure_faults(self, features)

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    @cached_property
    def leaf_means(self) -> NDArray[np.float64]:
        """(leaves,): mean of the training samples in each leaf."""
        total = np.add.reduceat(self.targets[self.leaf_target] * self.leaf_count, self.leaf_start[:-1])
        return total / self._drawn

    @cached_property
    def _drawn(self) -> NDArray[np.int64]:
        return np.add.reduceat(self.leaf_count.astype(np.int64), self.leaf_start[:-1])

    @cached_property
    def _prepared(self) -> _Prepared:
        return _prepare(self)


@dataclass(frozen=True)
class _Prepared:
    """A forest as the traversal wants it: nodes of 16 bytes, and integers in place of what is added up."""

    roots: NDArray[np.int32]  # here and in the nodes, a leaf is the complement of where it begins in `leaves`
    nodes: NDArray[np.int32]  # flat: feature, key of the threshold, child below, child above
    leaves: NDArray[np.int32]  # flat: mean from the centre, number of targets, then target and weight of each
    scale: float  # of the means
    centre: float
    whole: int  # what the weights of a leaf add up to
    squares: NDArray[np.float64]  # of the targets: distance from the centre, and error
    points: NDArray[np.float64]  # rising: what the targets may be
    of_target: NDArray[np.int32]  # whose points these are
    shift: int  # of a target's weight, to that of each of its points
    depth: int
    steps: NDArray[np.float32]  # of the predictors that nodes look at: see `pixel_order`


@dataclass(frozen=True)
class Distribution:
    """What a forest says of pixels; NaN where a predictor is missing."""

    mean: NDArray[np.float32]
    """(pixels,): mean over the trees of the mean in the leaf, the usual prediction of a forest."""
    deviation: NDArray[np.float32]
    """(pixels,): standard deviation of the distribution behind it, errors of the targets included."""
    quantiles: NDArray[np.float32]
    """(quantiles, pixels): of that distribution, errors of the targets included."""


def sortable(values: ArrayLike) -> NDArray[np.int32]:
    """Return integers in the order of float32 numbers: comparing integers is quicker.

    Parameters
    ----------
    values : any shape
        Numbers, taken as float32; NaN has no place in the order.

    Examples
    --------
    >>> keys = sortable([-np.inf, -1.5, -0.0, 0.0, 1e-45, 2.0, np.inf])
    >>> np.diff(keys.astype(np.int64)).tolist()[2], bool((np.diff(keys.astype(np.int64)) >= 0).all())
    (0, True)
    """
    bits = (np.asarray(values, np.float32) + np.float32(0.0)).view(np.int32)  # -0 becomes 0
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def not_above(thresholds: ArrayLike) -> NDArray[np.float32]:
    """Return the largest float32 numbers that are not above the given float64 numbers.

    A float32 number is above one exactly where it is above the other.

    Examples
    --------
    >>> float(not_above(0.1)) < 0.1 < float(np.nextafter(not_above(0.1), np.float32(1)))
    True
    """
    exact = np.asarray(thresholds, np.float64)
    near = exact.astype(np.float32)
    return np.where(near.astype(np.float64) > exact, np.nextafter(near, np.float32(-np.inf)), near)


def predict(forest: Forest, predictors: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean that a forest predicts.

    Parameters
    ----------
    forest
        One without `faults`.
    predictors : (features, pixels)
        Taken as float32, as scikit-learn does.

    Returns
    -------
    (pixels,) float32
        NaN where a predictor is not finite.

    Notes
    -----
    What is added up are integers (of 2⁻²⁷ of the targets' range), so that neither the order nor the cut of pixels and
    trees leaves a trace.

    References
    ----------
    Breiman 2001, doi:10.1023/A:1010933404324.

    Examples
    --------
    One tree that splits at 2; below are the targets 0.8 (drawn twice) and 0.9, above is 1.1.

    >>> one = Forest(
    ...     roots=np.int32([0]), feature=np.int16([0]), threshold=np.float32([2]), below=np.int32([~0]),
    ...     above=np.int32([~1]), leaf_start=np.int64([0, 2, 3]), leaf_target=np.int32([0, 1, 2]),
    ...     leaf_count=np.int32([2, 1, 4]), targets=np.float64([0.8, 0.9, 1.1]), errors=np.zeros(3),
    ... )
    >>> np.round(predict(one, np.float32([[1.0, 2.0, 3.0, np.nan]])).astype(float), 4).tolist()
    [0.8333, 0.8333, 1.1, nan]
    """
    return _predict(forest, predictors, None).mean


def predict_distribution(
    forest: Forest, predictors: NDArray[Any], quantiles: Sequence[float] = (0.05, 0.5, 0.95)
) -> Distribution:
    r"""Return the mean, the standard deviation and quantiles that a forest predicts, all in one pass.

    Parameters
    ----------
    forest, predictors
        As `predict`, and the mean is the same.
    quantiles
        Levels from 0 to 1.

    Notes
    -----
    The distribution of a pixel is that of the targets of the training samples, each weighted by its share of the draws
    in the pixel's leaf, averaged over the trees:

    .. math:: w_k = \frac1T \sum_t \frac{n_{tk}}{\sum_j n_{tj}}, \quad \hat\mu = \sum_k w_k y_k, \quad
              \hat\sigma^2 = \sum_k w_k \left[(y_k - \hat\mu)^2 + s_k^2\right], \quad
              \hat q_\alpha = \min\left\{y_k : \sum_{j \le k} w_j \ge \alpha\right\}

    with the targets y in rising order and their standard errors s. Where these are not 0, each target stands for the
    normal distribution about it, by 16 points of equal weight: quantiles are theirs. Weights are added up as integers,
    too (of 2⁻²¹, with 500 trees). A forest of few targets, such as the E of soil clusters, costs little more than its
    mean; where each sample has a target of its own, some five times that.

    References
    ----------
    Meinshausen 2006, Journal of Machine Learning Research 7, 983-999.

    Examples
    --------
    >>> one = Forest(
    ...     roots=np.int32([0]), feature=np.int16([0]), threshold=np.float32([2]), below=np.int32([~0]),
    ...     above=np.int32([~1]), leaf_start=np.int64([0, 2, 3]), leaf_target=np.int32([0, 1, 2]),
    ...     leaf_count=np.int32([2, 1, 4]), targets=np.float64([0.8, 0.9, 1.1]), errors=np.zeros(3),
    ... )
    >>> found = predict_distribution(one, np.float32([[1.0, 3.0]]), [0.5, 0.9])
    >>> np.round(found.quantiles.astype(float), 4).tolist(), np.round(found.deviation.astype(float), 4).tolist()
    ([[0.8, 1.1], [0.9, 1.1]], [0.0471, 0.0])
    """
    return _predict(forest, predictors, quantiles)


def _predict(forest: Forest, predictors: NDArray[Any], quantiles: Sequence[float] | None) -> Distribution:
    table, levels = np.asarray(predictors), () if quantiles is None else quantiles
    if table.ndim != 2:
        raise ValueError(f"predictors have the shape {table.shape}; wanted (features, pixels)")
    if any(not 0 <= level <= 1 for level in levels):
        raise ValueError(f"quantiles are {list(levels)}; wanted levels from 0 to 1")
    features, pixels = table.shape
    if forest.feature.size and int(forest.feature.max()) >= features:
        raise ValueError(f"there are {features} predictors; the forest looks at number {int(forest.feature.max())}")
    mean, deviation = np.empty(pixels, np.float32), np.empty(pixels, np.float32)
    found = np.empty((len(levels), pixels), np.float32)
    for start in range(0, pixels, SLICE):
        part = slice(start, min(start + SLICE, pixels))
        mean[part], deviation[part], found[:, part] = _predict_slice(forest, table[:, part], quantiles)
    return Distribution(mean, deviation, found)


def _predict_slice(
    forest: Forest, table: NDArray[Any], quantiles: Sequence[float] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    ready, pixels, targets = forest._prepared, table.shape[1], len(forest.targets)
    values = np.asarray(table, np.float32)
    order = order_of_alike(values[: len(ready.steps)], ready.steps)
    cells = -(-pixels // CELL)
    keys = np.zeros((table.shape[0], cells * CELL), np.int32)
    keys[:, :pixels] = sortable(values[:, order])
    levels = np.rint(np.asarray(() if quantiles is None else quantiles, np.float64) * forest.trees * ready.whole)
    sums = np.zeros((2, cells * CELL))
    ranks = np.zeros((len(levels), cells * CELL), np.int32)
    _traverse(
        ready.nodes,
        ready.roots,
        ready.leaves,
        ready.squares if quantiles is not None else ready.squares[:0],
        ready.of_target,
        ready.shift,
        BLOCK if quantiles is None else min(BLOCK, max(1, _HISTOGRAM // (4 * CELL * targets))),
        min(GROUP, forest.trees) * CELL * (ready.depth + 1),
        keys.ravel(),
        np.maximum(levels, 1.0).astype(np.int32),
        sums,
        ranks,
    )
    missing = ~np.isfinite(values).all(axis=0)
    mean, variance, rank = np.empty(pixels), np.empty(pixels), np.empty((len(levels), pixels), np.int32)
    mean[order], variance[order], rank[:, order] = sums[0, :pixels], sums[1, :pixels], ranks[:, :pixels]
    mean *= ready.scale / forest.trees
    deviation = np.sqrt(np.maximum(variance / (forest.trees * ready.whole) - mean**2, 0.0))
    found = ready.points[np.minimum(rank, len(ready.points) - 1)]
    for part in (mean, deviation, found):
        part[..., missing] = np.nan
    return ready.centre + mean, deviation, found


def _prepare(forest: Forest) -> _Prepared:
    centre = float(forest.leaf_means.mean())
    values = forest.leaf_means - centre
    scale = (float(np.abs(values).max()) or 1.0) * GROUP / 0x7FFFFFF0  # a group's sum stays within int32
    whole = 1 << (30 - int(np.ceil(np.log2(forest.trees))))
    shares = forest.leaf_count / np.repeat(forest._drawn, np.diff(forest.leaf_start))
    weights = np.rint(shares * whole).astype(np.int32)
    weights[forest.leaf_start[1:] - 1] += (whole - np.add.reduceat(weights, forest.leaf_start[:-1])).astype(np.int32)
    held = np.diff(forest.leaf_start)
    begin = 2 * (np.arange(len(held)) + forest.leaf_start[:-1])
    leaves = np.empty(2 * (len(held) + len(weights)), np.int32)
    leaves[begin], leaves[begin + 1] = np.rint(values / scale), held
    entry = 2 * (np.repeat(np.arange(len(held)), held) + 1 + np.arange(len(weights)))
    leaves[entry], leaves[entry + 1] = forest.leaf_target, weights

    def located(child: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.where(child >= 0, child, ~begin[~np.minimum(child, -1)]).astype(np.int32)

    nodes: list[NDArray[Any]] = [
        forest.feature,
        sortable(forest.threshold),
        located(forest.below),
        located(forest.above),
    ]
    points, of_target = _points(forest.targets, forest.errors)
    return _Prepared(
        located(forest.roots),
        np.stack(nodes, axis=1).astype(np.int32).ravel(),
        leaves,
        scale,
        centre,
        whole,
        (forest.targets - centre) ** 2 + forest.errors**2,
        points,
        of_target,
        int(np.log2(len(points) // len(forest.targets))),
        int(_depth(forest.roots, forest.below, forest.above)),
        steps_of(forest.feature, forest.threshold, _weight(forest.below, forest.above, forest._drawn)),
    )


def _points(targets: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return what targets may be, as points of equal weight in rising order, and which target each is of."""
    number = np.arange(len(targets), dtype=np.int32)
    if not errors.any():
        return targets, number
    normal = np.array([NormalDist().inv_cdf((i + 0.5) / POINTS) for i in range(POINTS)])
    normal /= normal.std()
    points = (targets[:, np.newaxis] + errors[:, np.newaxis] * normal).ravel()
    order = np.argsort(points, kind="stable")
    return points[order], np.repeat(number, POINTS)[order]


@compiled
def _weight(below: NDArray[np.int32], above: NDArray[np.int32], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the number of samples that come to each node."""
    weight = np.zeros(len(below))
    for node in range(len(below) - 1, -1, -1):  # children come after their parents
        for child in (below[node], above[node]):
            weight[node] += weight[child] if child >= 0 else drawn[~child]
    return weight


@compiled
def _depth(roots: NDArray[np.int32], below: NDArray[np.int32], above: NDArray[np.int32]) -> int:
    """Return the largest number of inner nodes on the way to a leaf."""
    depth = np.zeros(len(below), np.int32)
    deepest = 0
    for root in roots:
        if root >= 0:
            depth[root] = 1
    for node in range(len(below)):  # parents come before their children
        deepest = max(deepest, depth[node])
        for child in (below[node], above[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    return deepest


@compiled
def _traverse(
    nodes: NDArray[np.int32],
    roots: NDArray[np.int32],
    leaves: NDArray[np.int32],
    squares: NDArray[np.float64],
    of_target: NDArray[np.int32],
    shift: int,
    block: int,
    most_queued: int,
    keys: NDArray[np.int32],
    levels: NDArray[np.int32],
    sums: NDArray[np.float64],
    ranks: NDArray[np.int32],
) -> None:
    """Add to `sums` the means of each pixel's leaves.

    With `squares`, these are added up too, by the targets' weights, and `ranks` tells how many points of the targets
    lie below each quantile. A queue holds what is still to be looked at, a node and the pixels that came to it; leaves
    are put at its other end.
    """
    pixels, targets = sums.shape[1], len(squares)
    of_group = np.empty(CELL, np.int32)
    histogram = np.empty(block * targets * CELL, np.int32)
    below = np.empty(CELL, np.int32)
    place = np.empty(most_queued + 1, np.int32)
    flags = np.empty(most_queued + 1, np.uint64)
    for block_start in range(0, pixels, block * CELL):
        cells = min(block, (pixels - block_start) // CELL)
        histogram[:] = 0
        for first in range(0, len(roots), GROUP):
            for cell in range(cells):
                at = block_start + cell * CELL
                head, tail, top = np.uintp(0), np.uintp(0), np.uintp(most_queued)
                for tree in range(first, min(first + GROUP, len(roots))):
                    root = roots[tree]
                    here = tail if root >= 0 else top
                    place[here], flags[here] = root, _ALL
                    tail += np.uintp(root >= 0)
                    top -= np.uintp(root < 0)
                while head < tail:
                    node, came = np.uintp(place[head]) * np.uintp(4), flags[head]
                    head += _ONE
                    row = np.uintp(nodes[node]) * np.uintp(pixels) + np.uintp(at)
                    up = above(keys, row, nodes[node + _ONE]) & came
                    down = up ^ came
                    # without branches, for nobody could foretell them: what is empty is written, and then overwritten
                    child = nodes[node + np.uintp(2)]
                    here = tail if child >= 0 else top
                    place[here], flags[here] = child, down
                    tail += np.uintp((down != _NONE) & (child >= 0))
                    top -= np.uintp((down != _NONE) & (child < 0))
                    child = nodes[node + np.uintp(3)]
                    here = tail if child >= 0 else top
                    place[here], flags[here] = child, up
                    tail += np.uintp((up != _NONE) & (child >= 0))
                    top -= np.uintp((up != _NONE) & (child < 0))
                of_group[:] = 0
                while top < np.uintp(most_queued):
                    top += _ONE
                    leaf, came = np.uintp(~place[top]), flags[top]
                    add_where(of_group, np.uintp(0), came, leaves[leaf])
                    if targets:
                        for _ in range(leaves[leaf + _ONE]):
                            leaf += np.uintp(2)
                            row = np.uintp((cell * targets + leaves[leaf]) * CELL)
                            add_where(histogram, row, came, leaves[leaf + _ONE])
                for i in range(CELL):
                    sums[0, at + i] += of_group[i]
        for cell in range(cells if targets else 0):
            at = block_start + cell * CELL
            below[:] = 0
            for target in range(targets):
                start = (cell * targets + target) * CELL
                for i in range(CELL):
                    sums[1, at + i] += histogram[start + i] * squares[target]
            for target in of_target:
                start = (cell * targets + target) * CELL
                for i in range(CELL):
                    below[i] += histogram[start + i] >> shift
                for level in range(len(levels)):
                    for i in range(CELL):
                        ranks[level, at + i] += below[i] < levels[level]


# ---- whether it is a forest ---------------------------------------------------------------------------------------


def _shape_faults(forest: Forest) -> list[str]:
    """Return arrays that do not fit together."""
    nodes, leaves, entries = len(forest.feature), len(forest.leaf_start) - 1, len(forest.leaf_target)
    wanted = {
        "threshold": nodes,
        "below": nodes,
        "above": nodes,
        "leaf_count": entries,
        "errors": len(forest.targets),
    }
    found = [
        f"{name} has the length {len(getattr(forest, name))}, not {length}"
        for name, length in wanted.items()
        if len(getattr(forest, name)) != length
    ]
    if not forest.trees or leaves < forest.trees:
        found.append(f"{forest.trees} trees with {leaves} leaves")
    return found


def _structure_faults(forest: Forest, features: int) -> list[str]:
    nodes, leaves, entries = len(forest.feature), len(forest.leaf_start) - 1, len(forest.leaf_target)
    own = np.concatenate([np.arange(nodes), np.arange(nodes)])
    children = np.concatenate([forest.below, forest.above]).astype(np.int64)
    every = np.concatenate([forest.roots.astype(np.int64), children])
    inner, outer = every[every >= 0], ~every[every < 0]
    steps = np.diff(forest.leaf_start)
    claims = {
        f"a node looks at a predictor outside 0 to {features - 1}": (
            (forest.feature < 0) | (forest.feature >= features)
        ),
        "a threshold is not finite": ~np.isfinite(forest.threshold),
        f"a child is outside the {nodes} nodes": inner >= nodes,
        f"a child is outside the {leaves} leaves": outer >= leaves,
        "a node does not come after its parent": (children >= 0) & (children <= own),
        "a leaf has no training sample": steps < 1,
        "the training samples of the leaves do not begin at the first and end at the last": np.array(
            [forest.leaf_start[0] != 0, forest.leaf_start[-1] != entries]
        ),
        "a target is outside the list": (forest.leaf_target < 0) | (forest.leaf_target >= len(forest.targets)),
        "a training sample was not drawn": forest.leaf_count < 1,
        "targets are not finite or not rising": np.append(~np.isfinite(forest.targets), np.diff(forest.targets) <= 0),
        "an error of a target is not a positive number": ~(np.isfinite(forest.errors) & (forest.errors >= 0)),
    }
    found = [text for text, wrong in claims.items() if np.any(wrong)]
    if not found and not (_once(inner, nodes) and _once(outer, leaves)):
        found.append("a node or leaf does not belong to one place of one tree")
    return found


def _once(numbers: NDArray[np.int64], length: int) -> bool:
    return bool((np.bincount(numbers, minlength=length) == 1).all())
