"""The predictors of E as a table: one row a pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from frostmap.pipeline.schema import PREDICTORS

NAMES = tuple(variable.name for variable in PREDICTORS)


def matrix(covariates: xr.Dataset) -> npt.NDArray[np.float32]:
    """Return (pixels, predictors) float32, pixels in row order, NaN where a predictor is missing."""
    return np.column_stack([covariates[name].values.ravel() for name in NAMES]).astype(np.float32)
