"""Change of frozen ground between two maps: transitions, areas, and what drove them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def transition_matrix(
    before: NDArray[Any], after: NDArray[Any], area: ArrayLike, classes: Sequence[int] = (1, 2, 3, 4, 5)
) -> NDArray[np.float64]:
    """Return the area that went from each class to each class.

    Parameters
    ----------
    before, after : integer arrays of one shape
        Class codes. A pixel counts where both maps have one of `classes`; any other code is missing.
    area : float, or broadcasts with them
        Area of a pixel [km²].
    classes : sequence of int
        Codes in the order of the matrix.

    Returns
    -------
    (k, k) float64
        Area [km²]; rows before, columns after. The diagonal did not change.

    Examples
    --------
    >>> transition_matrix(np.array([[1, 1, 2]]), np.array([[1, 2, 255]]), 0.86, classes=(1, 2)).tolist()
    [[0.86, 0.86], [0.0, 0.0]]
    """
    first, second = np.asarray(before), np.asarray(after)
    if first.shape != second.shape:
        raise ValueError(f"the maps have shapes {first.shape} and {second.shape}; wanted one shape")
    pixel_area = np.broadcast_to(np.asarray(area, dtype=np.float64), first.shape)
    codes = list(classes)
    matrix = np.zeros((len(codes), len(codes)))
    for row, old in enumerate(codes):
        here = first == old
        destination, size = second[here], pixel_area[here]
        for column, new in enumerate(codes):
            matrix[row, column] = size[destination == new].sum()
    return matrix


def changed_area(matrix: NDArray[np.float64]) -> float:
    """Return the area whose class changed [km²]: everything off the diagonal of a `transition_matrix`.

    Examples
    --------
    >>> changed_area(np.array([[5.0, 2.0], [1.0, 9.0]]))
    3.0
    """
    return float(matrix.sum() - np.trace(matrix))


@dataclass(frozen=True)
class AreaChange:
    """Change of each class's area between two maps."""

    difference: NDArray[np.float64]
    """After minus before, in the unit of the areas."""
    points: NDArray[np.float64]
    """Change of the class's share of the whole, in percentage points."""
    relative: NDArray[np.float64]
    """Change relative to the class's own area before [%]; NaN for a class that was absent."""


def shares(areas: ArrayLike) -> NDArray[np.float64]:
    """Return each area's share of their sum [%]; NaN where the sum is 0.

    Examples
    --------
    >>> shares([1.0, 3.0]).tolist()
    [25.0, 75.0]
    """
    parts = np.asarray(areas, dtype=np.float64)
    whole = parts.sum()
    return 100.0 * parts / (whole if whole else np.nan)


def area_change(before: ArrayLike, after: ArrayLike) -> AreaChange:
    """Return the change of class areas in area, percentage points and per cent.

    Parameters
    ----------
    before, after : (k,)
        Area of each class, all that belongs to the whole and nothing else: leave lakes and glaciers out of both to
        have shares of the land without them.

    Examples
    --------
    Points are not per cent: 10 points less of the whole is here a loss of a fifth.

    >>> change = area_change([50.0, 50.0], [40.0, 60.0])
    >>> change.points.tolist(), change.relative.tolist()
    ([-10.0, 10.0], [-20.0, 20.0])
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(old > 0, 100.0 * (new - old) / old, np.nan)
    return AreaChange(new - old, shares(new) - shares(old), relative)


@dataclass(frozen=True)
class FrozenGroundChange:
    """Change of z = ln DDF - ln DDT - 2 ln E, whose sign is the class (z > 0: permafrost), part by part.

    Arrays of one shape, without unit, in the inputs' float type. The parts add up to the total exactly.
    """

    freezing: NDArray[Any]
    """Part of the colder or milder winter, ln(DDF after / before)."""
    thawing: NDArray[Any]
    """Part of the summer, -ln(DDT after / before): negative where summers grew warmer."""
    soil: NDArray[Any]
    """Part of the soil parameter, -2 ln(E after / before)."""

    @property
    def forcing(self) -> NDArray[Any]:
        """Part of the climate: freezing plus thawing."""
        forcing: NDArray[Any] = self.freezing + self.thawing
        return forcing

    @property
    def total(self) -> NDArray[Any]:
        """Change of z: forcing plus soil. Below 0 the ground moved away from permafrost."""
        total: NDArray[Any] = self.forcing + self.soil
        return total


def frozen_ground_change(
    ddf_before: ArrayLike,
    ddt_before: ArrayLike,
    e_before: ArrayLike,
    ddf_after: ArrayLike,
    ddt_after: ArrayLike,
    e_after: ArrayLike,
) -> FrozenGroundChange:
    """Split the change of the ground's state into what the climate and what the soil parameter did.

    Ground is permafrost where z = ln DDF - ln DDT - 2 ln E > 0, which is linear in its three parts.

    Parameters
    ----------
    ddf_before, ddt_before, ddf_after, ddt_after : any shapes that broadcast
        Freezing and thawing degree days [°C d]; sums below 1 °C d count as 1, so that no logarithm is infinite.
    e_before, e_after : broadcast with them
        Soil parameter E [1], positive.

    Returns
    -------
    FrozenGroundChange
        NaN where one of the part's own inputs is NaN; the total where any is.

    Examples
    --------
    Summers 10 % warmer alone: all of the change is forcing.

    >>> change = frozen_ground_change(1700.0, 1450.0, 0.9, 1700.0, 1595.0, 0.9)
    >>> round(float(change.forcing), 4), float(change.soil), round(float(change.total), 4)
    (-0.0953, 0.0, -0.0953)
    """
    winter = np.log(np.maximum(ddf_after, 1.0) / np.maximum(ddf_before, 1.0))
    summer = np.log(np.maximum(ddt_before, 1.0) / np.maximum(ddt_after, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        soil = 2.0 * np.log(np.divide(e_before, e_after))
    return FrozenGroundChange(winter, summer, soil)


@dataclass(frozen=True)
class FrostNumberChange:
    """Change of the frost number F, part by part: arrays of one shape, without unit, that add up to the total."""

    freezing: NDArray[np.float64]
    """Part of the freezing sums: above 0 where winters grew colder."""
    thawing: NDArray[np.float64]
    """Part of the thawing sums: below 0 where summers grew warmer."""
    soil: NDArray[np.float64]
    """Part of the soil parameter: below 0 where E grew."""

    @property
    def forcing(self) -> NDArray[np.float64]:
        """Part of the climate: freezing plus thawing."""
        forcing: NDArray[np.float64] = self.freezing + self.thawing
        return forcing

    @property
    def total(self) -> NDArray[np.float64]:
        """Change of F: forcing plus soil."""
        total: NDArray[np.float64] = self.forcing + self.soil
        return total


def frost_number_change(
    ddf_before: ArrayLike,
    ddt_before: ArrayLike,
    e_before: ArrayLike,
    ddf_after: ArrayLike,
    ddt_after: ArrayLike,
    e_after: ArrayLike,
) -> FrostNumberChange:
    r"""Split the change of the frost number into what freezing, thawing and the soil parameter did.

    F is a function of z = ln DDF - ln DDT - 2 ln E alone, F = 1 / (1 + exp(-z / 2)), and z is linear in its parts. Each
    part of z has the same share of the change of F as of that of z,

    .. math:: \Delta F_k = \Delta z_k \frac{F(z_2) - F(z_1)}{z_2 - z_1},

    which is what it does along the straight way from one state to the other. No order in which the parts change has to
    be chosen, and nothing is left over.

    Parameters
    ----------
    ddf_before, ddt_before, ddf_after, ddt_after : any shapes that broadcast
        Freezing and thawing degree days [°C d]; sums below 1 °C d count as 1, as in `frozen_ground_change`.
    e_before, e_after : broadcast with them
        Soil parameter E [1], positive.

    Returns
    -------
    FrostNumberChange
        float64; NaN where any input is NaN.

    References
    ----------
    Aumann and Shapley 1974, Values of Non-Atomic Games, Princeton University Press (shares along a straight way).

    Examples
    --------
    From F = 0.5, summers 20 % warmer at the same E: all of the change is thawing.

    >>> change = frost_number_change(900.0, 900.0, 1.0, 900.0, 1080.0, 1.0)
    >>> round(float(change.thawing), 4), float(change.soil), round(float(0.5 + change.total), 4)
    (-0.0228, 0.0, 0.4772)
    """
    sums = (np.asarray(part, dtype=np.float64) for part in (ddf_before, ddt_before, ddf_after, ddt_after))
    ddf, ddt, ddf_later, ddt_later = (np.maximum(part, 1.0) for part in sums)
    e, e_later = np.asarray(e_before, dtype=np.float64), np.asarray(e_after, dtype=np.float64)
    parts = frozen_ground_change(ddf, ddt, e, ddf_later, ddt_later, e_later)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.log(ddf / ddt) - 2.0 * np.log(e)
        step = parts.total / 4.0
        near = np.abs(step) < 1e-8
        steep = np.where(near, 1.0, np.sinh(step) / np.where(near, 1.0, step))
        slope = steep / (
            8.0 * np.cosh(z / 4.0) * np.cosh(z / 4.0 + step)
        )  # (F2 - F1) / (z2 - z1), without cancellation
    return FrostNumberChange(parts.freezing * slope, parts.thawing * slope, parts.soil * slope)


def change_error(
    e_before: ArrayLike,
    e_error_before: ArrayLike,
    e_after: ArrayLike,
    e_error_after: ArrayLike,
    ddf_error: float,
    ddt_error: float,
    sums_together: float = 0.0,
    e_together: float = 0.0,
) -> NDArray[np.float64]:
    r"""Return the standard error of the change of z = ln DDF - ln DDT - 2 ln E between two maps.

    .. math:: \sigma^2 = 2 (1 - r_s) (c_F^2 + c_T^2) + 4 (u_1^2 + u_2^2 - 2 r_E u_1 u_2), \quad u = \sigma_E / E

    Errors that both maps share cancel: r_s and r_E are the correlations, between the maps, of the errors at a pixel.

    Parameters
    ----------
    e_before, e_error_before, e_after, e_error_after : any shapes that broadcast
        Soil parameter E and its standard error [1] in both maps.
    ddf_error, ddt_error : float
        Relative standard errors of the degree-day sums of either map [1].
    sums_together, e_together : float
        Correlations r_s and r_E, 0 to 1.

    Returns
    -------
    float64 array of the broadcast shape
        NaN where an input is NaN, or E is 0.

    Examples
    --------
    >>> round(float(change_error(0.9, 0.045, 0.9, 0.045, 0.1, 0.1)), 4)
    0.2449
    >>> round(float(change_error(0.9, 0.045, 0.9, 0.045, 0.1, 0.1, sums_together=0.9, e_together=1.0)), 4)
    0.0632
    """
    for name, value in (("sums_together", sums_together), ("e_together", e_together)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; wanted a correlation between 0 and 1")
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.asarray(e_error_before, np.float64) / np.asarray(e_before, np.float64)
        second = np.asarray(e_error_after, np.float64) / np.asarray(e_after, np.float64)
        soil = 4.0 * ((first - second) ** 2 + 2.0 * (1.0 - e_together) * first * second)
        error: NDArray[np.float64] = np.sqrt(soil + 2.0 * (1.0 - sums_together) * (ddf_error**2 + ddt_error**2))
    return np.where(np.isfinite(error), error, np.nan)


def hot_spot_bound(
    share: float, permafrost_loss: float, non_frozen_gain: float, degradation_only: bool = False
) -> float:
    """Return the least area that must have turned from seasonally frozen to non-frozen if a hot-spot share is true.

    A rectangle is said to hold `share` of all changed area A as seasonally frozen ground that became non-frozen, so the
    whole map has x >= share A of it. Its margins give A >= permafrost_loss + x + max(x - non_frozen_gain, 0): what
    permafrost lost, x itself, and the non-frozen ground that must have gone the other way for the gain to be no larger.
    With `degradation_only` A counts permafrost -> seasonally frozen -> non-frozen alone: A >= permafrost_loss + x.

    Parameters
    ----------
    share : float
        Share of the changed area in the rectangle, 0 to 1.
    permafrost_loss, non_frozen_gain : float
        Net loss of permafrost and net gain of non-frozen ground over the whole map, in one unit of area.
    degradation_only : bool
        What the denominator A counts.

    Returns
    -------
    float
        Least possible x in that unit; infinite where no x will do. A share whose x exceeds what the map can hold is
        not consistent with the map.

    Examples
    --------
    >>> round(hot_spot_bound(0.3962, 4.8, 2.43), 4)
    4.5231
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}; wanted a part of the whole between 0 and 1, not per cent")
    one_way = share * permafrost_loss / (1.0 - share) if share < 1.0 else inf
    if degradation_only or one_way <= non_frozen_gain:
        return one_way
    return share * (permafrost_loss - non_frozen_gain) / (1.0 - 2.0 * share) if share < 0.5 else inf
