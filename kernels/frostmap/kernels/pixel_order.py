"""An order of pixels in which those that a forest tells apart least follow each other.

Each predictor is cut into steps between which it is all the same to the forest, or nearly so: there are as many steps
as the forest's nodes have weight there. Pixels are then halved, again and again, by the predictor in which they are the
most steps apart, down to cells of 64 (a k-d tree, Bentley 1975, doi:10.1145/361002.361007).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.pixel_bits import CELL

STEPS = 255
"""Most steps of a predictor."""


def steps_of(
    feature: NDArray[np.int16], threshold: NDArray[np.float32], weight: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the values at which each predictor takes a step.

    Parameters
    ----------
    feature, threshold, weight : (nodes,)
        The predictor that each node looks at, its threshold, and how many pixels are thought to come to it.

    Returns
    -------
    (features, STEPS) float32
        Of the predictors up to the last that a node looks at. Rising; infinite beyond a predictor's last step. Between
        two steps lies as much weight for each predictor: a 255th of what the most important has in all.

    Examples
    --------
    >>> steps = steps_of(np.int16([0, 0, 1]), np.float32([3.0, 1.0, 5.0]), np.array([1.0, 1.0, 1.0]))
    >>> [int(np.isfinite(row).sum()) for row in steps], np.unique(steps[0]).tolist()
    ([255, 127], [1.0, 3.0])
    """
    features = int(feature.max(initial=-1)) + 1
    steps = np.full((features, STEPS), np.inf, np.float32)
    unit = max(np.bincount(feature, weight, features).max(initial=0.0) / STEPS, np.finfo(np.float64).tiny)
    for number in range(features):
        own = np.flatnonzero(feature == number)
        own = own[np.argsort(threshold[own], kind="stable")]
        passed = np.floor(np.cumsum(weight[own]) / unit + 1e-6).astype(np.int64)
        values = np.repeat(threshold[own], np.diff(passed, prepend=0))[:STEPS]
        steps[number, : len(values)] = values
    return steps


@compiled
def _places(values: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (pixels, features): how many steps lie below each value."""
    features, pixels = values.shape
    places = np.empty((pixels, features), np.uint8)
    for number in range(features):
        row = steps[number]
        for pixel in range(pixels):
            low, value = 0, values[number, pixel]
            for half in (128, 64, 32, 16, 8, 4, 2, 1):
                if row[low + half - 1] < value:
                    low += half
            places[pixel, number] = low
    return places


@compiled
def _halved(places: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the order in which halves follow each other, and halves of halves, each of whole cells."""
    pixels, features = places.shape
    order, sorted_order = np.arange(pixels), np.empty(pixels, np.intp)
    lowest, highest = np.empty(features, np.uint8), np.empty(features, np.uint8)
    begin = np.empty(STEPS + 2, np.int64)
    starts, stops = np.empty(64, np.int64), np.empty(64, np.int64)
    starts[0], stops[0] = 0, pixels
    left = 1
    while left:
        left -= 1
        start, stop = starts[left], stops[left]
        if stop - start <= CELL:
            continue
        lowest[:], highest[:] = STEPS, 0
        for i in range(start, stop):
            for number in range(features):
                lowest[number] = min(lowest[number], places[order[i], number])
                highest[number] = max(highest[number], places[order[i], number])
        widest, extent = 0, np.int64(-1)
        for number in range(features):
            apart = np.int64(highest[number]) - np.int64(lowest[number])
            if apart > extent:
                widest, extent = number, apart
        begin[:] = 0
        for i in range(start, stop):
            begin[np.int64(places[order[i], widest]) + 1] += 1
        for place in range(STEPS + 1):
            begin[place + 1] += begin[place]
        for i in range(start, stop):
            place = places[order[i], widest]
            sorted_order[start + begin[place]] = order[i]
            begin[place] += 1
        order[start:stop] = sorted_order[start:stop]
        middle = start + ((stop - start) // 2 + CELL - 1) // CELL * CELL
        starts[left], stops[left] = start, middle
        starts[left + 1], stops[left + 1] = middle, stop
        left += 2
    return order


def order_of_alike(values: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return an order of pixels in which like follows like.

    Parameters
    ----------
    values : (features, pixels) float32
        Predictors; what is NaN counts as below all steps.
    steps : (features, STEPS) float32
        Of `steps_of`; none are needed where a forest looks at nothing.

    Examples
    --------
    >>> steps = steps_of(np.int16([0]), np.float32([0.0]), np.ones(1))
    >>> values = np.where(np.arange(128) % 2, 1.0, -1.0).astype(np.float32)
    >>> (order_of_alike(values[np.newaxis], steps)[:64] % 2).max()
    np.int64(0)
    """
    if not len(steps):
        return np.arange(values.shape[1])
    order: NDArray[np.intp] = _halved(_places(np.ascontiguousarray(values), steps))
    return order
