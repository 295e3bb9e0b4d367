"""How sure the change of an area is, where the errors of neighbouring pixels go together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled


@compiled
def _drawn_areas(z: Any, sigma: Any, area: Any, block: Any, errors: Any) -> Any:
    draws, pixels = errors.shape[0], z.size
    sums = np.zeros(draws)
    for d in range(draws):
        total = 0.0
        for i in range(pixels):
            if z[i] + sigma[i] * errors[d, block[i]] > 0.0:
                total += area[i]
        sums[d] = total
    return sums


def drawn_areas(
    z: NDArray[Any],
    sigma: NDArray[Any],
    area: NDArray[Any],
    block: NDArray[Any],
    together: float,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the area where z > 0 in each map, drawn again with errors of z that pixels of a block have in common.

    Parameters
    ----------
    z, sigma : (maps, pixels)
        What decides the class, and its standard error; above 0 is permafrost. NaN is not above 0.
    area : (pixels,)
        Of each pixel [km²].
    block : (pixels,) integers
        Number of the block that a pixel lies in, from 0.
    together : float
        Correlation, between maps, of a block's errors, 0 to 1.
    draws : int
        How often errors are drawn.
    rng : Generator
        That draws them.

    Returns
    -------
    (draws, maps) float64
        Areas, in the unit of `area`; their percentiles are an interval of the area, those of their difference one of
        its change.

    Examples
    --------
    A map without errors has its own area in every draw.

    >>> z = np.array([[0.5, -0.5, 0.1]])
    >>> drawn_areas(z, np.zeros((1, 3)), np.ones(3), np.zeros(3, int), 0.0, 2, np.random.default_rng(1)).tolist()
    [[2.0], [2.0]]
    """
    if not 0.0 <= together <= 1.0:
        raise ValueError(f"together is {together}; wanted a correlation between 0 and 1")
    maps, blocks = z.shape[0], int(block.max(initial=0)) + 1
    common = rng.standard_normal((draws, 1, blocks))
    own = rng.standard_normal((draws, maps, blocks))
    errors = np.sqrt(together) * common + np.sqrt(1.0 - together) * own
    sums = np.zeros((draws, maps))
    for k in range(maps):
        table, spread = z[k].astype(np.float32), sigma[k].astype(np.float32)
        most = np.abs(errors[:, k]).max(initial=0.0)
        doubtful = np.abs(table) <= np.float32(1.001) * spread * np.float32(most)  # no draw moves the others
        sure = float(area[~doubtful & (table > 0)].sum())
        drawn = errors[:, k].astype(np.float32)
        sums[:, k] = sure + _drawn_areas(
            table[doubtful], spread[doubtful], area[doubtful].astype(np.float64), block[doubtful], drawn
        )
    return sums
