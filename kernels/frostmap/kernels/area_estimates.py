"""Areas as a sample of checked places says they are, in place of counted pixels of a map that errs."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class AreaEstimates:
    """Areas and accuracies with their standard errors; NaN where a stratum has too few places to tell.

    Strata are what the map says; classes are what was found at the places, in the same order.
    """

    share: NDArray[np.float64]
    """(strata, classes): share of the whole area that the map calls so and that is so."""
    area: NDArray[np.float64]
    """(classes,): estimated area of what is there, in the unit of the strata."""
    area_error: NDArray[np.float64]
    """(classes,): its standard error."""
    users_accuracy: NDArray[np.float64]
    """(strata,): share of what the map calls so that is so."""
    users_error: NDArray[np.float64]
    producers_accuracy: NDArray[np.float64]
    """(classes,): share of what is so that the map calls so; NaN where the class was found nowhere."""
    producers_error: NDArray[np.float64]
    overall_accuracy: float
    overall_error: float

    def interval(self, confidence: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the areas' intervals, normal, cut at 0 and at the whole area."""
        half = NormalDist().inv_cdf(0.5 + confidence / 2) * self.area_error
        whole = self.area.sum()
        return np.maximum(self.area - half, 0.0), np.minimum(self.area + half, whole)


def stratified_areas(counts: NDArray[Any], stratum_area: ArrayLike) -> AreaEstimates:
    """Return areas from places that were drawn at random within each class of a map.

    With W of a stratum its share of the area, n its places and n_k those found to be of class k: the share of class k
    is the sum of W n_k / n, of variance sum of W² (n_k / n) (1 - n_k / n) / (n - 1).

    Parameters
    ----------
    counts : (k, k) integers
        Places by what the map says (rows) and what was found (columns), classes in one order.
    stratum_area : (k,)
        Area of each class of the map. A class of no area needs no places.

    Returns
    -------
    AreaEstimates
        NaN wherever a class that has an area has fewer than two places.

    References
    ----------
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015, Eqs. 2, 5-11.

    Examples
    --------
    A map calls half of 100 km² permafrost; of ten places there 8 are, of ten elsewhere 1 is.

    >>> found = stratified_areas(np.array([[8, 2], [1, 9]]), [50.0, 50.0])
    >>> found.area.round(6).tolist(), found.area_error.round(2).tolist()
    ([45.0, 55.0], [8.33, 8.33])
    """
    table, areas = np.asarray(counts, dtype=np.float64), np.asarray(stratum_area, dtype=np.float64)
    k = areas.size
    if table.shape != (k, k):
        raise ValueError(f"counts have shape {table.shape} for {k} strata; wanted a row and a column of each")
    if (table < 0).any() or not areas.sum() > 0:
        raise ValueError("counts are numbers of places, and the strata's areas add up to more than 0")
    used = areas > 0
    table, weight = np.where(used[:, None], table, 0.0), areas / areas.sum()
    n = table.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(used[:, None], table / n[:, None], 0.0)
        spread = np.where(used[:, None], p * (1 - p) / (n - 1)[:, None], 0.0)
    spread = np.where(used[:, None] & (n < 2)[:, None], np.nan, spread)
    share = weight[:, None] * p
    found = share.sum(axis=0)
    users, users_variance = np.diagonal(p).copy(), np.diagonal(spread).copy()
    users[~used] = users_variance[~used] = np.nan
    own_variance = np.diagonal(spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        producers = np.diagonal(share) / found
        own = areas**2 * (1 - producers) ** 2 * own_variance
        others = areas[:, None] ** 2 * spread
        producers_variance = (own + producers**2 * (others.sum(axis=0) - np.diagonal(others))) / (
            found * areas.sum()
        ) ** 2
    return AreaEstimates(
        share=share,
        area=areas.sum() * found,
        area_error=areas.sum() * np.sqrt((weight[:, None] ** 2 * spread).sum(axis=0)),
        users_accuracy=users,
        users_error=np.sqrt(users_variance),
        producers_accuracy=producers,
        producers_error=np.sqrt(producers_variance),
        overall_accuracy=float(np.diagonal(share).sum()),
        overall_error=float(np.sqrt((weight**2 * own_variance).sum())),
    )


def drawn_interval(
    counts: NDArray[Any],
    stratum_area: ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    draws: int = 4000,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of intervals of the areas of `stratified_areas`, also where classes are rare.

    A normal interval is too short where a large stratum has a few places of a class, or by chance none: none found then
    counts as none there. Here the shares of classes in each stratum are drawn from their Dirichlet posterior, after a
    prior that weighs as much as one place in all.

    Parameters
    ----------
    counts : (k, k) integers
        Places by what the map says (rows) and what was found (columns).
    stratum_area : (k,)
        Area of each class of the map.
    rng : Generator
        That draws.
    confidence : float
        Of the intervals.
    draws : int
        How many.

    Returns
    -------
    low, high : (k,) float64
        In the unit of the areas. NaN where a stratum that has an area has no place.

    References
    ----------
    Berger, Bernardo and Sun 2015, doi:10.1214/14-BA915 (a prior of 1 / k a class, where many are empty).

    Examples
    --------
    Twenty places in each half, and none of the second class in the first: it may be there all the same.

    >>> low, high = drawn_interval(np.array([[20, 0], [0, 20]]), [50.0, 50.0], np.random.default_rng(1))
    >>> bool(high[1] > 51), bool(low[1] < 50)
    (True, True)
    """
    table, areas = np.asarray(counts, dtype=np.float64), np.asarray(stratum_area, dtype=np.float64)
    k = areas.size
    whole = np.zeros((draws, k))
    for n, area in zip(table, areas, strict=True):
        if area > 0:
            whole += area * (rng.dirichlet(n + 1.0 / k, size=draws) if n.sum() > 0 else np.full(k, np.nan))
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(whole, (tail, 1.0 - tail), axis=0)
    return low, high
