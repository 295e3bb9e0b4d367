"""The spatial part of gap filling alone: a trend over an image, and what its clear pixels depart from it by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from frostmap.kernels.residual_field import add_residuals, interpolate_field, residual_field

Array = npt.NDArray[np.floating[Any]]


def trend(image: Array, features: tuple[Array, ...]) -> npt.NDArray[np.float64]:
    """Return the linear function of some features that is closest to an image, at all of its pixels.

    Parameters
    ----------
    image
        (y, x); NaN is missing.
    features
        (y, x) each.
    """
    columns = np.stack([np.ones(image.size), *(_standardised(feature).ravel() for feature in features)], axis=1)
    known = np.isfinite(image.ravel())
    coefficients, *_ = np.linalg.lstsq(columns[known], image.ravel()[known].astype(np.float64), rcond=None)
    fitted: npt.NDArray[np.float64] = (columns @ coefficients).reshape(image.shape)
    return fitted


def _standardised(feature: Array) -> npt.NDArray[np.float64]:
    values = np.asarray(feature, np.float64)
    spread = float(values.std())
    standardised: npt.NDArray[np.float64] = (values - values.mean()) / (spread if spread > 0.0 else 1.0)
    return standardised


def positions(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return row and column of each pixel."""
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    return rows, cols


def departures(residual: Array, cell: int = 1) -> tuple[Array, Array]:
    """Return the departure that is expected at each pixel, and the standard error of a pixel about it.

    Parameters
    ----------
    residual
        (y, x) observed minus estimated [K]; NaN where nothing was observed.
    cell
        Pixels along the side of the cells in which they are summed.
    """
    height, width = residual.shape
    shape = (-(-height // cell), -(-width // cell))
    sums, counts, squares = (np.zeros(shape, np.int64) for _ in range(3))
    add_residuals(sums, counts, squares, np.ascontiguousarray(residual, np.float32), 0, 0, cell)
    field, remaining = residual_field(sums, counts, squares)
    known = residual[np.isfinite(residual)].astype(np.float64)
    mean_square = float((known**2).mean()) if known.size else 0.0
    expected, share = (interpolate_field(cells, 0, 0, height, width, cell) for cells in (field, remaining))
    return expected, np.sqrt(share * mean_square)


def nearest(image: Array) -> Array:
    """Return the image with each missing pixel as the nearest known one: the plainest way to fill it."""
    known = np.isfinite(image)
    rows, cols = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled: Array = image[rows, cols]
    return filled
