"""Means of fine cells over the pixels of another grid."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled


@compiled
def _add(values: Any, rows: Any, columns: Any, times: int, sums: Any, known: Any, cells: Any) -> None:
    layers, height, width = values.shape
    for i in range(height * times):
        for j in range(width * times):
            y, x = rows[i, j], columns[i, j]
            if y < 0 or x < 0 or y >= cells.shape[0] or x >= cells.shape[1]:
                continue
            cells[y, x] += 1
            for k in range(layers):
                value = values[k, i // times, j // times]
                if not np.isnan(value):
                    sums[k, y, x] += value
                    known[k, y, x] += 1


class PixelSums(NamedTuple):
    """What cells add up to in each pixel so far."""

    sums: NDArray[np.float64]
    """(layer, y, x)."""

    known: NDArray[np.int32]
    """(layer, y, x): cells that are not missing."""

    cells: NDArray[np.int32]
    """(y, x): cells, missing ones among them."""


def no_cells(layers: int, shape: tuple[int, int]) -> PixelSums:
    """Return the sums of no cell yet."""
    return PixelSums(np.zeros((layers, *shape)), np.zeros((layers, *shape), np.int32), np.zeros(shape, np.int32))


def add_cells(
    totals: PixelSums,
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    times: int = 1,
) -> None:
    """Add a strip of cells to the sums of the pixels that hold their centres.

    Cells are added in their order, so strips of any height add up to the same, to the last bit.

    Parameters
    ----------
    totals
        Added to, in place.
    values : (layer, y, x) float32
        NaN is missing.
    rows, columns : (y * times, x * times) int32
        The pixel that holds the centre of each cell, or of each of the times x times parts that a cell is cut into,
        where it is large beside a pixel; pixels beyond the sums' shape are left out.
    times
        Parts along a cell's side.
    """
    wanted = (values.shape[1] * times, values.shape[2] * times)
    if rows.shape != wanted or columns.shape != wanted or len(values) != len(totals.sums):
        raise ValueError(
            f"values of {values.shape} and places of {rows.shape}; wanted {len(totals.sums)} layers and {wanted}"
        )
    _add(values, rows, columns, times, *totals)


def pixel_means(totals: PixelSums, least: float = 0.5) -> NDArray[np.float32]:
    """Return the mean of what is known of each pixel.

    Parameters
    ----------
    totals
        Sums of cells.
    least
        Share of a pixel's cells that must be known.

    Returns
    -------
    (layer, y, x) float32
        NaN where less is known, or no cell was added.

    Examples
    --------
    >>> totals = no_cells(1, (1, 2))
    >>> place = np.array([[0, 0, 1, 1]], np.int32)
    >>> add_cells(totals, np.array([[[1.0, 3.0, np.nan, 5.0]]], np.float32), 0 * place, place)
    >>> pixel_means(totals)[0].tolist()
    [[2.0, 5.0]]
    """
    enough = (totals.known > 0) & (totals.known >= least * totals.cells)
    means: NDArray[np.float32] = np.where(enough, totals.sums / np.maximum(totals.known, 1), np.nan).astype(np.float32)
    return means
