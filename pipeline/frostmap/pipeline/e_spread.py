"""How far E of a pixel may lie from that of its soil cluster, as the surveyed maps tell.

A cluster has one E, its pixels have each their own. Where the surveys call a pixel permafrost whose critical E,
sqrt(DDF / DDT), lies below the cluster's E, or the other way round, its own E is another (or its sums are wrong). How
far such pixels lie from the limit tells how much E varies within clusters; and how many lie near it, how well E of the
cluster is known at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Numbers = npt.NDArray[np.float64]

PRIOR_SPREAD = 0.09
"""Standard deviation of E over clusters before anything is surveyed: the paper's, from its Table 1."""
GRID = np.linspace(0.5, 1.5, 201)
"""Values of E that are tried."""
SPREADS = np.geomspace(0.01, 0.4, 25)
"""Standard deviations of ln E within clusters that are tried."""
USUAL_SPREAD, SPREAD_OF_SPREADS = 0.07, 0.5
"""What is thought of these before anything is surveyed: the middle, and the standard deviation of the logarithm."""
MISLABELLED = 0.01
"""Share of surveyed pixels that are taken to be wrong either way: maps are shifted, and drawn by hand."""
MOST = 1000
"""Pixels of a cluster that are looked at: neighbours tell the same, and more would only pretend to know better."""


def standard_errors(
    critical: Numbers,
    permafrost: npt.NDArray[np.bool_],
    cluster: npt.NDArray[np.integer],
    e: Numbers,
    prior: float,
    seed: int = 0,
) -> tuple[Numbers, float]:
    r"""Return the standard error of each cluster's E, and the spread of ln E within clusters, that of the sums in it.

    Parameters
    ----------
    critical, permafrost, cluster
        (pixels,): of each surveyed pixel sqrt(DDF / DDT), whether permafrost was found, and its cluster's place in `e`.
    e
        (clusters,): the E that was chosen.
    prior
        E before anything is surveyed.
    seed
        Of the choice of pixels where a cluster has many.

    Notes
    -----
    A pixel is permafrost where its ln E, normal about that of its cluster with the spread :math:`\tau`, lies below the
    logarithm of its critical E:

    .. math:: P_i = \lambda + (1 - 2 \lambda) \Phi\left(\frac{\ln E^c_i - \ln E_k}{\tau}\right)

    and a share :math:`\lambda` is wrong either way, without which a few such pixels would decide the spread. E of each
    cluster has the prior normal distribution about `prior`, the spread, one for all clusters, a log-normal one; both
    posteriors are reckoned on a grid. The spread is the root of its posterior mean square; the error is the root of
    the mean squared distance of the posterior from the E that was chosen.
    """
    log_grid, weight = np.log(GRID), -0.5 * ((GRID - prior) / PRIOR_SPREAD) ** 2
    weight -= np.logaddexp.reduce(weight)
    samples = [_some(np.flatnonzero(cluster == k), seed) for k in range(len(e))]
    offsets = [np.log(np.clip(critical[rows], 1e-3, 1e3))[:, np.newaxis] - log_grid for rows in samples]
    signs = [np.where(permafrost[rows], 1.0, -1.0)[:, np.newaxis] for rows in samples]

    def posterior(spread: float) -> Numbers:
        return np.array(
            [
                weight + _log_chance(sign * offset / spread).sum(axis=0)
                for sign, offset in zip(signs, offsets, strict=True)
            ]
        )

    before = -0.5 * (np.log(SPREADS / USUAL_SPREAD) / SPREAD_OF_SPREADS) ** 2
    after = before + [np.logaddexp.reduce(posterior(spread), axis=1).sum() for spread in SPREADS]
    whole = float(np.average(SPREADS**2, weights=np.exp(after - after.max())) ** 0.5)
    tables = posterior(whole)
    chance = np.exp(tables - np.logaddexp.reduce(tables, axis=1, keepdims=True))
    return np.sqrt((chance * (GRID - e[:, np.newaxis]) ** 2).sum(axis=1)), whole


def _log_chance(z: Numbers) -> Numbers:
    return np.asarray(np.log(MISLABELLED + (1 - 2 * MISLABELLED) * ndtr(z)))


def _some(rows: npt.NDArray[np.intp], seed: int) -> npt.NDArray[np.intp]:
    if len(rows) <= MOST:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
