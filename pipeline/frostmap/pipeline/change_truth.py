"""How the found change compares with the true one, where everything is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox

from frostmap.kernels.change import FrozenGroundChange, frost_number_change, frozen_ground_change
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.schema import CHANGE_SCORE, FREEZING_PART, SOIL_PART, THAWING_PART, TRANSITION

Numbers = npt.NDArray[Any]
EPOCHS = ("training", "target")
SURE = 1.959964


def against_truth(
    paths: Mapping[str, Path],
    geobox: GeoBox,
    maps: xr.Dataset,
    states: Mapping[str, xr.Dataset],
    soils: Mapping[str, str],
) -> tuple[tuple[Numbers, Numbers], dict[str, Any]]:
    """Return the true classes of both epochs, where the maps have one, and how change compares with the true change.

    Parameters
    ----------
    paths
        Rasters of the truth by epoch, with bands ddf, ddt, e and frozen_ground.
    geobox, maps
        The grid, and the group change_maps.
    states
        Groups of the cube by name, with forcing and E.
    soils
        The name of the group of E by epoch.

    Returns
    -------
    classes
        Before and after, uint8, 255 where the maps do not compare.
    metrics
        transition_agreement: share of pixels whose transition is the true one; for the parts of the change of the frost
        number, rmse, bias and correlation; change_within_error_percent: how often the true change of z lies within 1.96
        standard errors of the found one; sums_together, e_together: correlation of the errors of the two epochs.
    """
    true = {
        epoch: {
            band: on_grid(path, geobox, f"sources.truth.{epoch}", how="nearest", band=band)
            for band in ("ddf", "ddt", "e", "frozen_ground")
        }
        for epoch, path in paths.items()
    }
    transition = maps[TRANSITION.name].values
    compared = transition != TRANSITION.fill_value
    classes = [
        np.where(compared & np.isfinite(true[epoch]["frozen_ground"]), true[epoch]["frozen_ground"], 255).astype(
            np.uint8
        )
        for epoch in EPOCHS
    ]
    score = maps[CHANGE_SCORE.name].values
    real = [np.isin(each, (1, 2, 3)) for each in classes]
    both = np.isfinite(score) & real[0] & real[1]
    real_transition = 10 * classes[0].astype(np.int64) + classes[1]
    known = compared & (classes[0] != 255) & (classes[1] != 255)
    metrics: dict[str, Any] = {"transition_agreement": float(np.mean(transition[known] == real_transition[known]))}
    if not both.any():
        return (classes[0], classes[1]), metrics
    ends = [[true[epoch][band][both] for band in ("ddf", "ddt", "e")] for epoch in EPOCHS]
    found_ends = [
        [
            *(states[f"forcing/{epoch}"][name].values[both] for name in ("ddf", "ddt")),
            states[soils[epoch]]["e"].values[both],
        ]
        for epoch in EPOCHS
    ]
    parts = frost_number_change(*ends[0], *ends[1])
    pairs = {
        "by_freezing": (maps[FREEZING_PART.name].values[both], parts.freezing),
        "by_thawing": (maps[THAWING_PART.name].values[both], parts.thawing),
        "by_e": (maps[SOIL_PART.name].values[both], parts.soil),
    }
    pairs["frost_number_change"] = (sum(found for found, _ in pairs.values()), parts.total)
    metrics |= {name: _errors(found, wanted) for name, (found, wanted) in pairs.items()}
    z = _z_change(ends)
    found_z = _z_change(found_ends).total
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.abs(found_z / score[both])
    told = np.isfinite(sigma) & (sigma > 0)
    within = np.abs(found_z - z.total)[told] <= SURE * sigma[told]
    metrics["change_within_error_percent"] = 100 * float(within.mean()) if told.any() else np.nan
    sums, e = (
        [_log(found) - _log(wanted) for found, wanted in zip(found_ends, ends, strict=True)] for _log in LOGARITHMS
    )
    metrics["sums_together"], metrics["e_together"] = _together(*sums), _together(*e)
    return (classes[0], classes[1]), metrics


def _z_change(ends: list[list[Numbers]]) -> FrozenGroundChange:
    return frozen_ground_change(*(part.astype(np.float64) for end in ends for part in end))


def _log_sums(state: list[Numbers]) -> Numbers:
    ddf, ddt = (np.log(np.maximum(part.astype(np.float64), 1.0)) for part in state[:2])
    difference: Numbers = ddf - ddt
    return difference


def _log_e(state: list[Numbers]) -> Numbers:
    logarithm: Numbers = np.log(state[2].astype(np.float64))
    return logarithm


LOGARITHMS = (_log_sums, _log_e)


def _errors(found: Numbers, wanted: Numbers) -> dict[str, float]:
    error = found - wanted
    known = np.isfinite(error)
    return {
        "rmse": float(np.sqrt(np.mean(error[known] ** 2))),
        "bias": float(np.mean(error[known])),
        "correlation": _together(found, wanted),
    }


def _together(a: Numbers, b: Numbers) -> float:
    """Return the correlation of two samples; NaN where one does not vary."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])
