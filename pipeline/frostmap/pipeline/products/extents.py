"""Where a map has values, and how much of it each class takes: read block by block, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.products.grids import Extent, blocks_of
from frostmap.pipeline.products.layers import Layer
from frostmap.pipeline.work import Work

Values = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]


class Survey(NamedTuple):
    """What is known of a run's maps before they are exported."""

    extent: Extent
    """Where any of the maps that were looked at has values."""
    pixels: dict[str, Counts]
    """(row, class) of each map of classes, in the order of its legend: pixels."""


def survey(work: Work, layers: Sequence[Layer]) -> Survey:
    """Return where maps have values, and how many pixels of each row each class takes.

    Maps of classes are looked at, and all where there are none of these.

    Raises
    ------
    DataIncomplete
        There is no value at all.
    """
    looked_at = [layer for layer in layers if layer.legend] or list(layers)
    height, width = work.shape
    first, end = np.full(height, width), np.zeros(height, np.int64)
    pixels = {layer.name: np.zeros((height, len(layer.legend)), np.int64) for layer in looked_at if layer.legend}
    for layer in looked_at:
        array = work.open(layer.group)[layer.variable.name]
        for rows, columns in blocks_of(work.shape):
            values = array[rows, columns].to_numpy()
            known = is_known(values, layer)
            starts = np.where(known.any(axis=1), columns.start + known.argmax(axis=1), width)
            stops = np.where(known.any(axis=1), columns.stop - known[:, ::-1].argmax(axis=1), 0)
            first[rows], end[rows] = np.minimum(first[rows], starts), np.maximum(end[rows], stops)
            if layer.legend:
                pixels[layer.name][rows] += by_class(values, layer)
    rows_with = np.flatnonzero(end)
    if not rows_with.size:
        raise DataIncomplete(
            "the maps have no value anywhere",
            where=", ".join(sorted({layer.group for layer in looked_at})),
            wanted="a map with values",
            remedy="look at the report of the run: it says what is missing",
        )
    return Survey(Extent(rows_with, first[rows_with], end[rows_with]), pixels)


def is_known(values: Values, layer: Layer) -> npt.NDArray[np.bool_]:
    """Return where a map has values."""
    known: npt.NDArray[np.bool_] = values != layer.missing if layer.categorical else np.isfinite(values)
    return known


def by_class(values: Values, layer: Layer) -> Counts:
    """Return (row, class): pixels of each class of the legend."""
    return np.stack([np.count_nonzero(values == code, axis=1) for code in layer.legend], axis=1)
