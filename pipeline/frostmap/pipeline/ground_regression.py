"""Degree-day sums of the skin to those of the ground: regressions on weather stations, and how well they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Numbers = npt.NDArray[np.float64]

INTERVALS = 23
TERMS = ("constant", "thawing", "ndvi", "latitude")
"""Of the thawing sum of an interval: [°C d], of the skin's sum [1], of NDVI [°C d], of latitude [°C d / °]."""
FREEZING_TERMS = ("constant", "freezing", "ndvi", "latitude")
"""Of the freezing sum of a year."""
MARGIN = 2.0
"""A corrected sum may exceed 1.5 times the skin's by at most this for each day of an interval of 16 [°C d]."""
SHRINKAGES = (np.inf, 10_000.0, 3_000.0, 1_000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
"""How strongly the regression of an interval is drawn to the pooled one: as by so many rows that lie on that one."""
FEWEST_STATIONS = 3


def corrected(
    skin: npt.ArrayLike, ndvi: npt.ArrayLike, latitude: npt.ArrayLike, coefficients: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Return sums of the ground (Eq. 2 of the paper).

    Nothing thaws, or freezes, where the skin's sum is 0 (the constant does not leak into winter), and the result stays
    within [0, 1.5 times the skin's sum + 32] °C d. A missing NDVI counts as 0.

    Parameters
    ----------
    skin
        Thawing sums of 16-day intervals, or freezing sums of years [°C d].
    ndvi, latitude
        Of the same places and times; latitude in degrees.
    coefficients
        (..., 4): constant, of the skin's sum, of NDVI, of latitude; the leading dimensions as those of `skin`.

    Examples
    --------
    >>> corrected([0.0, 100.0], [0.5, 0.5], [35.0, 35.0], [10.0, 0.8, -20.0, 0.0])
    array([ 0., 80.], dtype=float32)
    """
    sums = np.asarray(skin, dtype=np.float64)
    constant, slope, by_ndvi, by_latitude = np.moveaxis(np.asarray(coefficients, dtype=np.float64), -1, 0)
    ground = constant + slope * sums + by_ndvi * np.nan_to_num(ndvi) + by_latitude * np.asarray(latitude)
    ground = np.clip(ground, 0, 1.5 * sums + MARGIN * 16)
    return np.where(sums == 0, 0, ground).astype(np.float32)  # NaN stays NaN: it is not equal to 0


@dataclass(frozen=True)
class Sample:
    """What a regression is fitted on, a row each; the rows of a station are left out together."""

    skin: Numbers
    ground: Numbers
    ndvi: Numbers
    latitude: Numbers
    interval: npt.NDArray[np.int64]
    """Of the year; 0 for sums of years."""
    station: npt.NDArray[np.int64]
    """Numbers from 0."""

    @classmethod
    def of(cls, rows: pd.DataFrame, quantity: str) -> Sample:
        """Return the sample in a table: columns code, interval, ndvi, latitude, and QUANTITY_lst, QUANTITY_ground."""
        interval = rows["interval"].to_numpy(np.int64) if "interval" in rows else np.zeros(len(rows), np.int64)
        station = np.unique(rows["code"], return_inverse=True)[1]
        skin, ground, ndvi, latitude = (
            rows[name].to_numpy(np.float64) for name in (f"{quantity}_lst", f"{quantity}_ground", "ndvi", "latitude")
        )
        return cls(skin, ground, ndvi, latitude, interval, station)

    def predicted(self, coefficients: Numbers, rows: npt.NDArray[np.bool_] | slice = slice(None)) -> Numbers:
        """Return the ground's sums with coefficients (intervals, 4)."""
        own = coefficients[self.interval[rows]]
        return corrected(self.skin[rows], self.ndvi[rows], self.latitude[rows], own).astype(np.float64)


@dataclass(frozen=True)
class Regression:
    """Coefficients, and what they make of the sample."""

    coefficients: Numbers
    """(intervals, 4)."""
    pooled: Numbers
    """(4,): the same for all intervals."""
    shrinkage: float
    """Of the intervals' coefficients to the pooled ones; infinite where they are the same."""
    fitted: Numbers
    """Predictions for the sample."""
    cross_validated: Numbers
    """Predictions for each station by what was fitted without it, with the shrinkage that predicts the others best."""


def fit(sample: Sample, intervals: int = INTERVALS, shrinkages: tuple[float, ...] = (np.inf,)) -> Regression:
    """Return the least-squares regression for each interval, drawn to that over all; cross-validated by station.

    The coefficients of an interval minimise the sum of squares of its own rows plus a penalty: that of `shrinkage` more
    rows, distributed as those of the whole sample, which lie on the pooled regression. Of several shrinkages that is
    taken which predicts left-out stations best; for the predictions of a station, that which predicts the others best.

    Parameters
    ----------
    sample
        Of at least two stations.
    intervals
        How many there are; 1 for sums of years.
    shrinkages
        Those to choose from, greater than 0, the strongest first. Infinite: the pooled regression.
    """
    design = np.column_stack([np.ones(len(sample.skin)), sample.skin, sample.ndvi, sample.latitude])
    stations = int(sample.station.max()) + 1
    gram, moment = np.zeros((stations, intervals, 4, 4)), np.zeros((stations, intervals, 4))
    np.add.at(gram, (sample.station, sample.interval), design[:, :, None] * design[:, None, :])
    np.add.at(moment, (sample.station, sample.interval), design * sample.ground[:, None])
    all_gram, all_moment = gram.sum(axis=0), moment.sum(axis=0)

    left_out = np.empty((len(shrinkages), len(design)))
    errors = np.empty((len(shrinkages), stations))
    for k, shrinkage in enumerate(shrinkages):
        for i in range(stations):
            own = sample.station == i
            without = _coefficients(all_gram - gram[i], all_moment - moment[i], shrinkage)
            left_out[k, own] = sample.predicted(without, own)
            errors[k, i] = np.sum((left_out[k, own] - sample.ground[own]) ** 2)
    by_the_others = np.argmin(errors.sum(axis=1, keepdims=True) - errors, axis=0)
    best = shrinkages[int(np.argmin(errors.sum(axis=1)))]
    coefficients = _coefficients(all_gram, all_moment, best)
    return Regression(
        coefficients,
        _solved(all_gram.sum(axis=0), all_moment.sum(axis=0)),
        best,
        sample.predicted(coefficients),
        left_out[by_the_others[sample.station], np.arange(len(design))],
    )


def _coefficients(gram: Numbers, moment: Numbers, shrinkage: float) -> Numbers:
    """Return coefficients from the normal equations of each interval."""
    total, rows = gram.sum(axis=0), gram[:, 0, 0].sum()
    pooled = _solved(total, moment.sum(axis=0))
    if np.isinf(shrinkage):
        return np.broadcast_to(pooled, moment.shape)
    penalty = shrinkage / rows * total
    return _solved(gram + penalty, moment + penalty @ pooled)


def _solved(gram: Numbers, moment: Numbers) -> Numbers:
    """Return least-squares solutions; where columns depend on each other, the smallest."""
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    inverse = np.linalg.pinv(gram / (scale[..., :, None] * scale[..., None, :]), rcond=1e-11, hermitian=True)
    solution: Numbers = (inverse @ (moment / scale)[..., None])[..., 0] / scale
    return solution


def scores(rows: pd.DataFrame, quantity: str, by: str | None = None) -> pd.DataFrame:
    """Return how well sums are known, a row for each value of a column, or one for all.

    Parameters
    ----------
    rows
        Columns code, QUANTITY_lst, QUANTITY_ground, fitted, cross_validated [°C d].
    quantity
        thawing or freezing.
    by
        The column.

    Returns
    -------
    DataFrame
        n, stations; r2, rmse and bias (corrected minus measured) of fitted sums, and with the endings _raw and
        _cross_validated [°C d, r2 1].
    """
    parts = [("", rows)] if by is None else list(rows.groupby(by, sort=True))
    table = []
    for name, part in parts:
        ground = part[f"{quantity}_ground"].to_numpy()
        row = {} if by is None else {by: name}
        row |= {"n": len(part), "stations": part["code"].nunique()}
        for kind, column in (("raw", f"{quantity}_lst"), ("fitted", "fitted"), ("cross_validated", "cross_validated")):
            error = part[column].to_numpy() - ground
            spread = float(np.var(ground))
            row["r2" if kind == "fitted" else f"r2_{kind}"] = (
                float(1 - np.mean(error**2) / spread) if spread > 0 else float("nan")
            )
            row[f"rmse_{kind}"] = float(np.sqrt(np.mean(error**2)))
            row[f"bias_{kind}"] = float(np.mean(error))
        table.append(row)
    return pd.DataFrame(table)


def unexpected_signs(coefficients: Numbers, intervals: npt.NDArray[np.int64] | None = None) -> list[str]:
    """Return what is strange of coefficients (intervals, 4): more skin sum should mean more, and more NDVI less.

    Parameters
    ----------
    coefficients
        Those of TERMS.
    intervals
        The intervals that matter; all, if None.

    Examples
    --------
    >>> unexpected_signs(np.array([[5.0, 0.8, 30.0, 0.1]]))
    ['the coefficient of ndvi is 30, not negative as expected']
    """
    index = np.arange(len(coefficients)) if intervals is None else intervals
    found = []
    for term, sign, word in ((1, 1, "positive"), (2, -1, "negative")):
        values = coefficients[:, term]
        wrong = index[values[index] * sign < 0]
        if wrong.size and np.ptp(values) == 0:
            found.append(f"the coefficient of {TERMS[term]} is {values[0]:.4g}, not {word} as expected")
        elif wrong.size:
            which = ", ".join(map(str, wrong))
            found.append(f"the coefficient of {TERMS[term]} is not {word} as expected in the intervals {which}")
    return found
