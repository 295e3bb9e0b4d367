"""Each predictor of the simulated plateau comes through the chain as it was simulated, to its own noise."""

from __future__ import annotations

import numpy as np
import pytest

from frostmap.catalogs.grids import parse_tile
from frostmap.pipeline.simulate.climate import covariates
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import landscape_of
from frostmap.pipeline.work import Work

from .conftest import TINY, Finished

PARTS = 8
"""Points along a pixel's side that its true mean is taken of."""

OWN_NOISE = {"elevation": 8.0, "sand": 0.1, "clay": 0.05, "precipitation": 0.5, "snow_cover": 0.15, "ndvi": 0.015}
"""Of a pixel's mean: the model's whole metres, the grids' cells of 0.05° and, of NDVI, cloud and snow in winter."""


@pytest.mark.parametrize(("epoch", "year"), [("training", 2010), ("target", 2020)])
def test_each_predictor_is_recovered_to_its_own_noise_and_in_its_place(
    pristine: Finished, epoch: str, year: int
) -> None:
    """A map that lay half a pixel beside would be off by a tenth of its spread at least, twenty times the noise."""
    work = Work(pristine.recipe, pristine.folder)
    cube = work.open(f"covariates/{epoch}").load()
    n = TINY.pixels_per_tile
    for tile in TINY.tiles:
        land = landscape_of(TINY.seed, Window.of_tile(parse_tile(tile), n * PARTS))
        now = covariates(TINY.seed, land, year + 0.5)
        true = {"elevation": land.elevation, "sand": land.sand, "clay": land.clay, "ndvi": now.ndvi}
        true |= {"precipitation": now.precipitation, "snow_cover": now.snow}
        rows, columns = work.tile_window(tile)
        top, left = work.tile_origin(tile)
        here = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        inside = work.inside[rows, columns]
        for name, noise in OWN_NOISE.items():
            mean = true[name].reshape(n, PARTS, n, PARTS).mean(axis=(1, 3))[here]
            off = (cube[name].to_numpy()[rows, columns] - mean)[inside]
            assert np.sqrt(np.mean(off**2)) < noise, (tile, name)
            assert abs(off.mean()) < noise / 2, (tile, name)
            beside = 0.5 * (mean + np.roll(mean, 1, axis=1))
            assert np.std((beside - mean)[inside]) > 4 * noise or name == "ndvi", (tile, name)
