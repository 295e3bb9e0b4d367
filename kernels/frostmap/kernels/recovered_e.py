"""The E behind a published map: what its classes, clusters and degree days leave it to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.frost_number import PERMAFROST, SEASONALLY_FROZEN, critical_e

VIOLATIONS = 0.001
"""Share of a cluster's pixels of either class that may contradict: files are rounded, and coasts are cut otherwise."""


@dataclass(frozen=True)
class RecoveredE:
    """Between what E of one cluster must lie."""

    cluster: int
    lower: float
    """Least E [1]: the greatest critical E of its seasonally frozen pixels; NaN without any."""
    upper: float
    """What E is below [1]: the least critical E of its permafrost pixels; NaN without any."""
    permafrost: int
    """Permafrost pixels with degree days."""
    seasonally_frozen: int
    """Seasonally frozen pixels with degree days."""
    contradicting: int
    """Pixels that had to be passed over for the bracket to open: 0 where all agree."""

    @property
    def e(self) -> float:
        """Middle of the bracket; NaN where it is open or empty."""
        return (self.lower + self.upper) / 2 if self.lower < self.upper else float("nan")

    @property
    def consistent(self) -> bool:
        """False where no E agrees, though as many pixels as may were passed over."""
        return not self.lower >= self.upper


def recover_e(
    frozen_ground: NDArray[Any],
    cluster: NDArray[Any],
    ddt: NDArray[Any],
    ddf: NDArray[Any],
    violations: float = VIOLATIONS,
) -> list[RecoveredE]:
    """Return, of each cluster, the bracket of E that explains a map.

    A pixel is permafrost where E is below its critical E, sqrt(DDF / DDT). So E of a cluster lies below the least
    critical E of its permafrost and not below the greatest of its seasonally frozen pixels. Where these cross, as few
    pixels as possible are passed over so that they do not.

    Parameters
    ----------
    frozen_ground : any shape, integer
        Class: 1 permafrost, 2 seasonally frozen; any other code is left out.
    cluster : same shape, integer
        Cluster; a pixel with a negative one is left out.
    ddt, ddf : same shape
        Degree days behind the map, positive sums [°C d]. A pixel where one is NaN or negative is left out.
    violations : float
        Greatest share of a cluster's pixels of either class to pass over.

    Returns
    -------
    list of RecoveredE
        One a cluster that occurs, by number.

    Raises
    ------
    ValueError
        The shapes differ, or the share is not within 0 to 1.

    Examples
    --------
    >>> found = recover_e(np.array([1, 1, 2, 2]), np.zeros(4, int), np.ones(4) * 1000, np.array([1440, 1210, 810, 640]))
    >>> found[0].lower, found[0].upper, round(found[0].e, 6)
    (0.9, 1.1, 1.0)
    """
    shapes = {np.shape(array) for array in (frozen_ground, cluster, ddt, ddf)}
    if len(shapes) != 1:
        raise ValueError(f"map, clusters, ddt and ddf have shapes {sorted(shapes)}; wanted one shape")
    if not 0 <= violations < 1:
        raise ValueError(f"violations is {violations}; wanted a share from 0 to below 1")
    critical, classes, names = critical_e(ddf, ddt).ravel(), np.ravel(frozen_ground), np.ravel(cluster)
    used = ~np.isnan(critical) & (names >= 0)
    found = []
    for name in np.unique(names[used]):
        own = used & (names == name)
        permafrost = np.sort(critical[own & (classes == PERMAFROST)])
        seasonal = np.sort(critical[own & (classes == SEASONALLY_FROZEN)])[::-1]
        found.append(_bracket(int(name), permafrost, seasonal, violations))
    return found


def _bracket(
    name: int, permafrost: NDArray[np.float64], seasonal: NDArray[np.float64], violations: float
) -> RecoveredE:
    """Return the bracket of one cluster; permafrost rises, seasonal falls, the most contradicting pixels first."""
    over = [0, 0]
    if permafrost.size and seasonal.size:
        most = int(violations * permafrost.size), int(violations * seasonal.size)
        # with the first j seasonally frozen pixels passed over, as many permafrost ones must be as do not lie above
        j = np.arange(min(most[1] + 1, seasonal.size))
        i = np.searchsorted(permafrost, seasonal[j], side="right")
        total = np.where(i <= min(most[0], permafrost.size - 1), i + j, np.iinfo(np.int64).max)
        best = int(np.argmin(total))
        over = [int(i[best]), best] if total[best] < np.iinfo(np.int64).max else list(most)
    return RecoveredE(
        cluster=name,
        lower=float(seasonal[over[1]]) if seasonal.size else float("nan"),
        upper=float(permafrost[over[0]]) if permafrost.size else float("nan"),
        permafrost=permafrost.size,
        seasonally_frozen=seasonal.size,
        contradicting=sum(over),
    )
