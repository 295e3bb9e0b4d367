"""Where two maps say the same of permafrost, and where not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled
from frostmap.kernels.frost_number import NON_FROZEN, PERMAFROST

NEITHER, BOTH, FIRST_ONLY, SECOND_ONLY = 0, 1, 2, 3
NOT_COMPARED = 255
"""Either map has no ground there: a lake, a glacier, nothing."""


def kinds_of_agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what two maps say of each pixel: permafrost in neither 0, in both 1, in the first alone 2, the second 3.

    Parameters
    ----------
    first, second : (y, x) uint8
        Classes of frozen ground, codes of `frost_number.CLASS_NAMES`. Only permafrost, seasonally frozen and non-frozen
        ground is compared.

    Returns
    -------
    (y, x) uint8
        255 where either is something else, or missing.

    Raises
    ------
    ValueError
        The maps are of two shapes.

    Examples
    --------
    >>> first, second = np.uint8([[1, 1, 2, 3, 5]]), np.uint8([[1, 2, 1, 2, 1]])
    >>> kinds_of_agreement(first, second).tolist()
    [[1, 2, 3, 0, 255]]
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"the maps have shapes {first.shape} and {second.shape}; wanted one shape (y, x)")
    kinds: NDArray[np.uint8] = _kinds_of_agreement(first, second)
    return kinds


@compiled
def _kinds_of_agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = first.shape
    kinds = np.full((rows, columns), NOT_COMPARED, np.uint8)
    for i in range(rows):
        for j in range(columns):
            one, two = first[i, j], second[i, j]
            if PERMAFROST <= one <= NON_FROZEN and PERMAFROST <= two <= NON_FROZEN:
                if one == PERMAFROST:
                    kinds[i, j] = BOTH if two == PERMAFROST else FIRST_ONLY
                else:
                    kinds[i, j] = SECOND_ONLY if two == PERMAFROST else NEITHER
    return kinds
