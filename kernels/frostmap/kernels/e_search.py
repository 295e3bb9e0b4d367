"""Searches for the E of each cluster that fits a survey best: coordinate descent over exact steps, and a swarm.

The objective is constant between the critical E of pixels and the E at which boundary cells change sides. Along one
cluster, all others held, every value that matters can therefore be tried in one sweep over these places, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.calibration import ACCELERATION, INERTIA, SAFETY_MARGIN, calibrate_exact, swarm_size
from frostmap.kernels.compiled import compiled
from frostmap.kernels.survey_objective import SurveyObjective, agreeing_cells, cost_at, cost_of, count

NARROWEST = 1e-9
"""Steps narrower than this [1] are passed over: no E can be told apart in them."""
SAME_COST = 1e-12
"""Costs that differ by less are the same."""
MOST_SWEEPS = 100
RESTARTS = 30
"""Random starts of the hybrid search beside the two it always has."""
WORK = 2_000_000
"""Pixels and boundary terms that all restarts may look at in one sweep each: a large survey gets fewer of them."""
INFORMED = 3
"""How many others each particle informs (SPSO-2007)."""
SWARM_ITERATIONS = 100
"""How often each particle of the swarm moves."""


@dataclass(frozen=True)
class FittedE:
    """The soil parameter of each cluster that fits a survey, and how well it does."""

    e: NDArray[np.float64]
    """(n_clusters,) soil parameter of each cluster [1]."""
    lower: NDArray[np.float64]
    """(n_clusters,) least E of each that leaves the class of every surveyed pixel as it is."""
    upper: NDArray[np.float64]
    """(n_clusters,) E of each up to which it does."""
    pixels: NDArray[np.int64]
    """(n_clusters,) surveyed pixels of each; 0 marks a cluster that has the prior for want of any."""
    counts: BinaryCounts
    """Confusion of the survey and the map."""
    beta: float
    """Share of boundary cells that agree; NaN without any."""
    boundary_cells: int
    """How many there are."""
    cost: float
    """The objective at the weight that was asked for."""


@compiled
def _descend(e: Any, weight: float, low: float, high: float, prior: float, survey: Any) -> Any:
    critical, before, start, column_start = survey.critical, survey.before, survey.start, survey.column_start
    row_start, column_cell, column_factor = survey.row_start, survey.column_cell, survey.column_factor
    n_clusters, boundary = e.size, row_start.size - 1
    widest = 0
    for k in range(n_clusters):
        widest = max(widest, column_start[k + 1] - column_start[k])
    turns = np.empty(widest)
    change = np.empty(widest, dtype=np.int64)
    for _sweep in range(MOST_SWEEPS):
        moved = False
        totals = np.zeros(boundary)
        for i in range(boundary):
            for t in range(row_start[i], row_start[i + 1]):
                totals[i] += survey.row_factor[t] * e[survey.row_cluster[t]]
        agreeing = agreeing_cells(e, survey)
        tp, fp = count(e, survey)
        for k in range(n_clusters):
            first, last = start[k], start[k + 1]
            if last == first and column_start[k + 1] == column_start[k]:
                continue
            # What the other clusters give, and this one just above the least E.
            place = first + np.searchsorted(critical[first:last], e[k], side="right")
            own_tp = before[last] - before[place]
            other_tp, other_fp = tp - own_tp, fp - (last - place - own_tp)
            agree, turning = agreeing, 0
            for t in range(column_start[k], column_start[k + 1]):
                total, factor = totals[column_cell[t]], column_factor[t]
                rest = total - factor * e[k]
                if total < 0.0:
                    agree -= 1
                if rest + factor * low < 0.0 or (rest + factor * low == 0.0 and factor < 0.0):
                    agree += 1
                if factor != 0.0:
                    root = -rest / factor
                    if low < root < high:
                        turns[turning] = root
                        change[turning] = -1 if factor > 0.0 else 1
                        turning += 1
            order = np.argsort(turns[:turning])
            pixel = first + np.searchsorted(critical[first:last], low, side="right")
            now_tp = before[last] - before[pixel]
            now_fp = last - pixel - now_tp
            turn = 0
            left = low
            best_cost, best_e, best_far = np.inf, e[k], np.inf
            best_tp, best_fp, best_agree = 0, 0, 0
            while True:
                right = high
                if pixel < last and critical[pixel] < right:
                    right = critical[pixel]
                if turn < turning and turns[order[turn]] < right:
                    right = turns[order[turn]]
                if right - left > NARROWEST:
                    cost = cost_of(other_tp + now_tp, other_fp + now_fp, agree, survey, weight)
                    if cost < best_cost + SAME_COST:
                        far = max(left - prior, prior - right, 0.0)
                        if cost < best_cost - SAME_COST or far < best_far:
                            margin = min(SAFETY_MARGIN, (right - left) / 2)
                            best_e = min(max(prior, left + margin), right - margin)
                            best_cost, best_far = cost, far
                            best_tp, best_fp, best_agree = now_tp, now_fp, agree
                if right >= high:
                    break
                while pixel < last and critical[pixel] <= right:
                    permafrost = before[pixel + 1] - before[pixel]
                    now_tp -= permafrost
                    now_fp -= 1 - permafrost
                    pixel += 1
                while turn < turning and turns[order[turn]] <= right:
                    agree += change[order[turn]]
                    turn += 1
                left = right
            current = cost_of(tp, fp, agreeing, survey, weight)
            nearer = abs(best_e - prior) < abs(e[k] - prior) - SAFETY_MARGIN
            if best_cost < current - SAME_COST or (best_cost < current + SAME_COST and nearer):
                moved = True
                for t in range(column_start[k], column_start[k + 1]):
                    totals[column_cell[t]] += column_factor[t] * (best_e - e[k])
                e[k] = best_e
                tp, fp, agreeing = other_tp + best_tp, other_fp + best_fp, best_agree
        if not moved:
            break
    return e


def descend(
    survey: SurveyObjective,
    start: NDArray[np.float64],
    weight: float,
    bounds: tuple[float, float] = (0.5, 1.5),
    prior: float = 0.90,
) -> NDArray[np.float64]:
    """Return the E's that no change of a single one improves, from those to start with.

    Of values that are equally good, the one nearest to the prior is taken, so that a cluster without a surveyed pixel
    ends at the prior.

    Parameters
    ----------
    survey
        The objective.
    start : (n_clusters,) float
        Where to begin [1], within the bounds.
    weight
        Weight w of kappa; boundary agreement has 10 - w.
    bounds, prior
        As of `calibration.calibrate_exact`.
    """
    e = np.where(survey.pixels > 0, np.clip(start, *bounds), prior).astype(np.float64)
    found: NDArray[np.float64] = _descend(e, weight, bounds[0], bounds[1], prior, survey.survey)
    return found


@compiled
def _swarm(rng: Any, particles: int, n_clusters: int, weight: float, low: float, high: float, survey: Any) -> Any:
    position = np.empty((particles, n_clusters))
    velocity = np.empty((particles, n_clusters))
    best = np.empty((particles, n_clusters))
    cost = np.empty(particles)
    for i in range(particles):
        for k in range(n_clusters):
            position[i, k] = 1.0 if i == 0 else low + (high - low) * rng.random()
            velocity[i, k] = (low + (high - low) * rng.random() - position[i, k]) / 2
        best[i] = position[i]
        cost[i] = cost_at(position[i], survey, weight)
    informs = np.zeros((particles, particles), dtype=np.bool_)
    chance = 1.0 - (1.0 - 1.0 / particles) ** INFORMED
    renew = True
    for _ in range(SWARM_ITERATIONS):
        if renew:
            for i in range(particles):
                for j in range(particles):
                    informs[i, j] = i == j or rng.random() < chance
        least = cost.min()
        for j in range(particles):
            leader = j
            for i in range(particles):
                if informs[i, j] and cost[i] < cost[leader]:
                    leader = i
            for k in range(n_clusters):
                velocity[j, k] = INERTIA * velocity[j, k] + ACCELERATION * rng.random() * (best[j, k] - position[j, k])
                if leader != j:
                    velocity[j, k] += ACCELERATION * rng.random() * (best[leader, k] - position[j, k])
                position[j, k] += velocity[j, k]
                if position[j, k] < low or position[j, k] > high:
                    position[j, k] = min(max(position[j, k], low), high)
                    velocity[j, k] = 0.0
            found = cost_at(position[j], survey, weight)
            if found < cost[j]:
                cost[j] = found
                best[j] = position[j]
        renew = cost.min() >= least
    return best[np.argmin(cost)].copy()


def swarm(
    survey: SurveyObjective, weight: float, bounds: tuple[float, float] = (0.5, 1.5), seed: int = 123
) -> NDArray[np.float64]:
    """Return the best E's that a standard particle swarm (SPSO-2007) finds, the method as published.

    One particle starts at all ones, the rest anywhere within the bounds. What the survey does not decide is left where
    the swarm happened to be: see `docs/explanation/calibration.md`.

    References
    ----------
    Clerc 2012, Standard Particle Swarm Optimisation, hal-00764996.
    """
    rng, particles = np.random.default_rng(seed), swarm_size(survey.n_clusters)
    found: NDArray[np.float64] = _swarm(rng, particles, survey.n_clusters, weight, bounds[0], bounds[1], survey.survey)
    return found


def exact(
    survey: SurveyObjective, bounds: tuple[float, float] = (0.5, 1.5), prior: float = 0.90
) -> NDArray[np.float64]:
    """Return the E's of greatest kappa, boundaries not looked at: see `calibration.calibrate_exact`."""
    names = np.repeat(np.arange(survey.n_clusters), survey.pixels)
    permafrost = np.diff(survey.survey.before) == 1
    return calibrate_exact(survey.survey.critical, permafrost, names, survey.n_clusters, bounds, prior).e


def hybrid(
    survey: SurveyObjective,
    weight: float,
    bounds: tuple[float, float] = (0.5, 1.5),
    prior: float = 0.90,
    seed: int = 123,
    restarts: int = RESTARTS,
) -> NDArray[np.float64]:
    """Return the best E's that descents from the exact optimum of kappa, from all ones and from random places find.

    Parameters
    ----------
    restarts
        How many random places at most; a large survey gets fewer (`WORK`).
    """
    rng = np.random.default_rng(seed)
    random = min(restarts, WORK // max(survey.size, 1))
    starts = [exact(survey, bounds, prior), np.full(survey.n_clusters, np.clip(1.0, *bounds))]
    starts += [rng.uniform(*bounds, survey.n_clusters) for _ in range(random)]
    ends = [descend(survey, start, weight, bounds, prior) for start in starts]
    costs = [survey.cost(end, weight) for end in ends]
    least = min(costs)
    equal = [end for end, cost in zip(ends, costs, strict=True) if cost <= least + SAME_COST]
    return min(equal, key=lambda end: float(((end - prior) ** 2 * survey.pixels).sum()))


def fitted(
    survey: SurveyObjective, e: NDArray[np.float64], weight: float, bounds: tuple[float, float] = (0.5, 1.5)
) -> FittedE:
    """Return how well E's fit, and how far each could be moved without a surveyed pixel changing its class."""
    lower, upper = survey.interval(e, bounds)
    return FittedE(
        e=e,
        lower=lower,
        upper=upper,
        pixels=survey.pixels,
        counts=survey.counts(e),
        beta=survey.boundary_agreement(e),
        boundary_cells=survey.boundary_cells,
        cost=survey.cost(e, weight),
    )
