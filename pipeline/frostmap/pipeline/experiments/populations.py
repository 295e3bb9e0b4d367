"""The pixels that an experiment draws its samples from, and those that judge what was learnt from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox

from frostmap.pipeline import predictors
from frostmap.pipeline.cross_validation import BLOCK_KM, block_folds
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.sites import on_plane

FEWEST_PIXELS = 500
FEWEST_BLOCKS = 10
JUDGES = 100_000
"""Pixels that judge every design."""
MOST_JUDGES = 0.2
"""Of all pixels, the share of judges at most."""


@dataclass(frozen=True, eq=False)
class Population:
    """All pixels with E and every predictor; some, drawn at random beforehand, only judge."""

    values: npt.NDArray[np.float32]
    """(pixels, predictors)."""
    target: npt.NDArray[np.float32]
    """(pixels,): E of the training epoch."""
    block: npt.NDArray[np.int32]
    """(pixels,): number of the square block on the ground."""
    fold: npt.NDArray[np.int8]
    """(pixels,): all pixels of a block share one."""
    judges: npt.NDArray[np.int64]
    """Pixels of the common sample, rising."""
    block_km: float
    """Side of a block [km]: 200, halved until there are ten of them."""

    @property
    def candidates(self) -> npt.NDArray[np.int64]:
        """Pixels that designs may choose."""
        free = np.ones(len(self.target), bool)
        free[self.judges] = False
        return np.flatnonzero(free)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Some pixels of a population."""

    values: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    block: npt.NDArray[np.int32]
    fold: npt.NDArray[np.int8]


def some(population: Population, rows: npt.NDArray[np.integer]) -> Pixels:
    """Return some pixels of a population."""
    return Pixels(population.values[rows], population.target[rows], population.block[rows], population.fold[rows])


def common_sample(population: Population) -> Pixels:
    """Return the pixels that judge every design."""
    return some(population, population.judges)


def describe(population: Population) -> dict[str, float]:
    """Return how many pixels there are, how many judge, and the blocks that they are in."""
    return {
        "pixels": len(population.target),
        "judges": len(population.judges),
        "blocks": int(population.block.max()) + 1,
        "block_km": population.block_km,
    }


def read_population(
    covariates: xr.Dataset, e: xr.DataArray, inside: npt.NDArray[np.bool_], geobox: GeoBox, judges: int, seed: int
) -> Population:
    """Return the pixels of a map that have E and every predictor."""
    values, known = predictors.matrix(covariates), e.values.ravel()
    rows = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(known) & inside.ravel())
    if len(rows) < FEWEST_PIXELS:
        raise UserError(
            "too few pixels to experiment on",
            where="covariates/training and calibration/training",
            found=f"{len(rows)} pixels with E and all predictors",
            wanted=f"at least {FEWEST_PIXELS}",
            remedy="run the experiment on a larger region",
        )
    x, y = on_plane(geobox, *np.divmod(rows, geobox.shape.x))
    return make_population(values[rows], known[rows], x, y, judges, seed)


def make_population(
    values: npt.NDArray[np.float32],
    target: npt.NDArray[np.float32],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    judges: int,
    seed: int,
) -> Population:
    """Return a population of pixels, the judges drawn at random from all of them.

    Parameters
    ----------
    values
        (pixels, predictors), without NaN.
    target
        (pixels,): E.
    x, y
        (pixels,): where they are on an equal-area plane [km].
    judges
        Pixels of the common sample; a fifth of all at most.
    seed
        Of that sample, and of the folds in space.
    """
    side = BLOCK_KM
    while (block := _blocks(x, y, side)).max() + 1 < FEWEST_BLOCKS:
        side /= 2
    wanted = min(judges, int(MOST_JUDGES * len(target)))
    chosen = np.sort(np.random.default_rng(seed).choice(len(target), wanted, replace=False))
    fold = block_folds(x, y, seed, side).astype(np.int8)
    return Population(values, target.astype(np.float32), block, fold, chosen, side)


def _blocks(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], side: float) -> npt.NDArray[np.int32]:
    column, row = np.floor(x / side).astype(np.int64), np.floor(y / side).astype(np.int64)
    number = (row - row.min()) * (column.max() - column.min() + 1) + column - column.min()
    _, block = np.unique(number, return_inverse=True)
    return block.astype(np.int32)
