"""How well a soil parameter of each cluster fits a survey: kappa and boundary agreement, prepared to be asked often.

Kappa depends on the map through two counts, and they on E of each cluster through a place in its sorted critical E.
Whether a boundary cell agrees is a linear inequality in the E's of the few clusters in its box. Prepared so, one
question costs a few operations a cluster and boundary cell, not a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.compiled import compiled

SUM_OF_WEIGHTS = 10.0
"""Weight of kappa and of boundary agreement together."""


@compiled
def _counts(surveyed: Any, cluster: Any, ratio: Any, y: int, x: int) -> Any:
    return (surveyed[y, x] == 1 or surveyed[y, x] == 2) and cluster[y, x] >= 0 and not np.isnan(ratio[y, x])


@compiled
def boundary_terms(ratio: Any, surveyed: Any, cluster: Any, n_clusters: int, radius: int) -> Any:
    """Return, in rows of (start, cluster, factor), the sum over clusters whose sign says whether a cell agrees.

    The factor of a cluster is what it adds to the mean ratio over the permafrost of the box, less what it adds to that
    over its seasonally frozen cells, an E of 1 assumed. Arguments as of `calibration.boundary_agreement`.
    """
    rows, columns = ratio.shape
    most = 0
    for i in range(rows):
        for j in range(columns):
            if _counts(surveyed, cluster, ratio, i, j):
                most += 1
    start = np.zeros(most + 1, dtype=np.int64)
    names = np.empty(1024, dtype=np.int32)
    factors = np.empty(1024, dtype=np.float64)
    sums = np.zeros((2, n_clusters))
    cells = np.zeros((2, n_clusters), dtype=np.int64)
    boundary, filled = 0, 0
    for i in range(rows):
        for j in range(columns):
            if not _counts(surveyed, cluster, ratio, i, j):
                continue
            sums[:] = 0.0
            cells[:] = 0
            for y in range(max(i - radius, 0), min(i + radius + 1, rows)):
                for x in range(max(j - radius, 0), min(j + radius + 1, columns)):
                    if (
                        (surveyed[y, x] == 1 or surveyed[y, x] == 2)
                        and cluster[y, x] >= 0
                        and not np.isnan(ratio[y, x])
                    ):
                        sums[surveyed[y, x] - 1, cluster[y, x]] += ratio[y, x]
                        cells[surveyed[y, x] - 1, cluster[y, x]] += 1
            permafrost, seasonal = cells[0].sum(), cells[1].sum()
            if permafrost == 0 or seasonal == 0:
                continue
            if np.count_nonzero(cells[0]) < 2 and np.count_nonzero(cells[1]) < 2:
                continue
            if filled + n_clusters > names.size:
                names = np.concatenate((names, np.empty_like(names)))
                factors = np.concatenate((factors, np.empty_like(factors)))
            for k in range(n_clusters):
                if cells[0, k] + cells[1, k] > 0:
                    names[filled] = k
                    factors[filled] = sums[0, k] / permafrost - sums[1, k] / seasonal
                    filled += 1
            boundary += 1
            start[boundary] = filled
    return start[: boundary + 1].copy(), names[:filled].copy(), factors[:filled].copy()


@compiled
def kappa_of(tp: int, fp: int, positive: int, negative: int) -> float:
    """Return Cohen's kappa from the true and false positives and the survey's two sums."""
    n = float(positive + negative)
    observed = (tp + negative - fp) / n
    chance = ((tp + fp) * float(positive) + (n - tp - fp) * negative) / (n * n)
    return (observed - chance) / (1.0 - chance)


class Survey(NamedTuple):
    """The arrays of a survey that kernels ask."""

    positive: int
    """Surveyed permafrost pixels that count."""
    negative: int
    """Surveyed seasonally frozen pixels that count."""
    critical: NDArray[np.float64]
    """(n,) critical E of each surveyed pixel [1], by cluster, rising within each."""
    before: NDArray[np.int64]
    """(n + 1,) how many surveyed permafrost pixels come before."""
    start: NDArray[np.int64]
    """(n_clusters + 1,) where each cluster begins in `critical`."""
    row_start: NDArray[np.int64]
    """(boundary cells + 1,) where the terms of each boundary cell begin."""
    row_cluster: NDArray[np.int32]
    """(terms,) cluster of each term."""
    row_factor: NDArray[np.float64]
    """(terms,) its factor [1]: a cell agrees where the sum of factor times E is negative."""
    column_start: NDArray[np.int64]
    """(n_clusters + 1,) where the terms of each cluster begin in the two below, the same terms by cluster."""
    column_cell: NDArray[np.int64]
    """(terms,) boundary cell of each term."""
    column_factor: NDArray[np.float64]
    """(terms,) its factor."""


@compiled
def cost_of(tp: int, fp: int, agreeing: int, survey: Any, weight: float) -> float:
    """Return the objective w (1 - kappa) + (10 - w) (1 - beta); its second part is 0 where there is no boundary."""
    boundary = survey.row_start.size - 1
    cost = weight * (1.0 - kappa_of(tp, fp, survey.positive, survey.negative))
    if boundary > 0:
        cost += (SUM_OF_WEIGHTS - weight) * (1.0 - agreeing / boundary)
    return cost


@compiled
def count(e: Any, survey: Any) -> Any:
    """Return true and false positives: pixels whose critical E is above that of their cluster."""
    tp, fp = 0, 0
    for k in range(e.size):
        first, last = survey.start[k], survey.start[k + 1]
        place = first + np.searchsorted(survey.critical[first:last], e[k], side="right")
        found = survey.before[last] - survey.before[place]
        tp += found
        fp += last - place - found
    return tp, fp


@compiled
def agreeing_cells(e: Any, survey: Any) -> int:
    """Return how many boundary cells lean to the right side."""
    agreeing = 0
    for i in range(survey.row_start.size - 1):
        total = 0.0
        for t in range(survey.row_start[i], survey.row_start[i + 1]):
            total += survey.row_factor[t] * e[survey.row_cluster[t]]
        if total < 0.0:
            agreeing += 1
    return agreeing


@compiled
def cost_at(e: Any, survey: Any, weight: float) -> float:
    """Return the objective at the E's of all clusters."""
    tp, fp = count(e, survey)
    return cost_of(tp, fp, agreeing_cells(e, survey), survey, weight)


@dataclass(frozen=True)
class SurveyObjective:
    """A survey, sorted and summed: what the agreement of any E's with it takes to reckon.

    Make one with `of`.

    References
    ----------
    The objective: science of the clustering, optimisation and prediction scheme (COP) as published with
    doi:10.5194/essd-15-3905-2023; boundary agreement: `calibration.boundary_agreement`.
    """

    n_clusters: int
    survey: Survey

    @classmethod
    def of(
        cls,
        critical_e: NDArray[Any],
        surveyed: NDArray[Any],
        cluster: NDArray[Any],
        n_clusters: int,
        radius: int = 2,
    ) -> SurveyObjective:
        """Return the objective of a surveyed map.

        Parameters
        ----------
        critical_e : (y, x) float
            sqrt(DDF / DDT) of each pixel [1], from `frost_number.critical_e`; where it is NaN the pixel is left out.
        surveyed : (y, x) integer
            1 permafrost, 2 seasonally frozen ground; a pixel with any other code is left out.
        cluster : (y, x) integer
            0 ... n_clusters - 1; a pixel with a negative one is left out.
        n_clusters : int
            How many clusters there are.
        radius : int
            Half width of the box of boundary cells [px].

        Raises
        ------
        ValueError
            The shapes differ, a cluster is not below n_clusters, or the survey has one class only.
        """
        critical, codes, names = np.asarray(critical_e, dtype=np.float64), np.asarray(surveyed), np.asarray(cluster)
        if critical.ndim != 2 or not critical.shape == codes.shape == names.shape:
            raise ValueError(
                f"critical_e, surveyed and cluster have shapes {critical.shape}, {codes.shape} and {names.shape}; "
                "wanted three maps of one shape"
            )
        used = ((codes == 1) | (codes == 2)) & (names >= 0) & ~np.isnan(critical)
        if used.any() and int(names[used].max()) >= n_clusters:
            raise ValueError(f"cluster {int(names[used].max())} found where there are {n_clusters}, numbered from 0")
        truth = codes[used] == 1
        positive, negative = int(truth.sum()), int((~truth).sum())
        if not positive or not negative:
            raise ValueError(
                f"the survey has one class only: found {positive} permafrost and {negative} seasonally frozen pixels; "
                "wanted some of both, since E is what separates them"
            )
        order = np.lexsort((critical[used], names[used]))
        sizes = np.bincount(names[used].astype(np.int64), minlength=n_clusters)
        with np.errstate(divide="ignore"):
            ratio = 1.0 / critical
        row_start, row_cluster, row_factor = boundary_terms(
            ratio, codes.astype(np.int64), names.astype(np.int64), n_clusters, radius
        )
        by_cluster = np.argsort(row_cluster, kind="stable")
        cells = np.repeat(np.arange(row_start.size - 1), np.diff(row_start))
        terms = np.bincount(row_cluster, minlength=n_clusters)
        survey = Survey(
            positive=positive,
            negative=negative,
            critical=critical[used][order],
            before=np.concatenate(([0], np.cumsum(truth[order]))).astype(np.int64),
            start=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            row_start=row_start,
            row_cluster=row_cluster,
            row_factor=row_factor,
            column_start=np.concatenate(([0], np.cumsum(terms))).astype(np.int64),
            column_cell=cells[by_cluster].astype(np.int64),
            column_factor=row_factor[by_cluster],
        )
        return cls(n_clusters, survey)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """(n_clusters,) surveyed pixels of each cluster."""
        return np.diff(self.survey.start)

    @property
    def boundary_cells(self) -> int:
        """How many surveyed pixels are boundary cells."""
        return int(self.survey.row_start.size - 1)

    @property
    def size(self) -> int:
        """How much there is to look at, for a sense of what a search costs."""
        return int(self.survey.critical.size + self.survey.row_factor.size)

    def counts(self, e: NDArray[np.float64]) -> BinaryCounts:
        """Return the confusion of the survey with the map that E of each cluster makes."""
        tp, fp = map(int, count(e, self.survey))
        return BinaryCounts(tp=tp, fn=self.survey.positive - tp, fp=fp, tn=self.survey.negative - fp)

    def boundary_agreement(self, e: NDArray[np.float64]) -> float:
        """Return the share of boundary cells that agree, NaN where there are none."""
        return float(agreeing_cells(e, self.survey)) / self.boundary_cells if self.boundary_cells else float("nan")

    def cost(self, e: NDArray[np.float64], weight: float) -> float:
        """Return w (1 - kappa) + (10 - w) (1 - beta), the published objective; less is better."""
        return float(cost_at(e, self.survey, weight))

    def interval(
        self, e: NDArray[np.float64], bounds: tuple[float, float]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return from where to where E of each cluster leaves every surveyed pixel as it is; the bounds without any."""
        lower, upper = np.full(self.n_clusters, bounds[0]), np.full(self.n_clusters, bounds[1])
        for k in range(self.n_clusters):
            values = self.survey.critical[self.survey.start[k] : self.survey.start[k + 1]]
            place = int(np.searchsorted(values, e[k], side="right"))
            if place > 0:
                lower[k] = max(bounds[0], float(values[place - 1]))
            if place < values.size:
                upper[k] = min(bounds[1], float(values[place]))
        return lower, upper
