"""Maps by TTOP and by regression take what the covariates say of the soil and the rain, without a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from frostmap.kernels.frost_number import conductivity_ratio, ttop
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.recipes import bundled
from frostmap.pipeline.reference_maps import reference_scopes
from frostmap.pipeline.schema import REFERENCE, check
from frostmap.pipeline.stages import reference
from frostmap.pipeline.stages.magt import FILE, predictors_of
from frostmap.pipeline.support_vectors import Settings, fit, save

SHAPE = (12, 10)


@pytest.fixture
def work(tmp_path: Path) -> Any:
    """Return what stands for the demo's work directory: groups of random numbers."""
    rng = np.random.default_rng(0)

    def some(low: float, high: float) -> tuple[tuple[str, str], Any]:
        return ("y", "x"), rng.uniform(low, high, SHAPE).astype("float32")

    groups = {
        "forcing/target": xr.Dataset({"ddf": some(100, 3000), "ddt": some(100, 3000)}),
        "masks/target": xr.Dataset(
            {"inside": (("y", "x"), rng.random(SHAPE) < 0.9), "lakes": some(0, 0.7), "glaciers": some(0, 0.6)}
        ),
        "covariates/target": xr.Dataset({"sand": some(10, 90), "precipitation": some(100, 600)}),
        "transfer/target": xr.Dataset({"e": some(0.7, 1.1)}),
    }
    recipe = parse_recipe(bundled("demo"), tmp_path / "recipe.yaml")
    box = GeoBox(SHAPE, Affine(0.1, 0, 90, 0, -0.1, 35), "EPSG:4326")
    return SimpleNamespace(
        recipe=recipe, shape=SHAPE, chunk_pixels=5, geobox=box, open=groups.__getitem__, folder=tmp_path
    )


def made(cube: xr.Dataset) -> xr.Dataset:
    """Return a cube that has what a reference map has, computed."""
    check(cube, REFERENCE, "reference")
    assert all(cube[variable.name].chunks for variable in REFERENCE)
    with dask.config.set(scheduler="synchronous"):
        computed: xr.Dataset = cube.compute()
    return computed


def test_the_demo_has_all_of_them(work: Any) -> None:
    assert reference_scopes(work.recipe) == ["ttop-e", "ttop-soil", "ttop-constant", "magt"]
    assert predictors_of(work.recipe) == ("ddf", "ddt", "precipitation")


def test_r_k_by_texture_is_that_of_the_sand(work: Any) -> None:
    found = made(reference.by_ttop(work, "soil"))
    inside = work.open("masks/target")["inside"].values
    sums = (work.open("forcing/target")[name].values.astype(float) for name in ("ddf", "ddt"))
    expected = ttop(*sums, conductivity_ratio(work.open("covariates/target")["sand"].values, 20.0, 1.4))
    temperature = found["ground_temperature"].values
    np.testing.assert_allclose(temperature[inside], expected[inside], rtol=1e-4, atol=1e-4)
    assert np.isnan(temperature[~inside]).all()
    ground = found["frozen_ground"].values
    assert (ground[~inside] == 255).all()
    assert (ground[inside & (work.open("masks/target")["lakes"].values >= 0.5)] == 5).all()
    land = np.isin(ground, (1, 2, 3))
    np.testing.assert_array_equal(ground[land] == 1, temperature[land] < 0)


def test_a_regression_on_rain_is_predicted_from_rain(work: Any) -> None:
    rng = np.random.default_rng(1)
    values = np.column_stack([rng.uniform(100, 3000, 40), rng.uniform(100, 3000, 40), rng.uniform(100, 600, 40)])
    model = fit(values, (values[:, 1] - values[:, 0]) / 365, Settings(10.0, 0.0, 0.1), predictors_of(work.recipe))
    save(model, work.folder / "models" / FILE)
    found = made(reference.by_regression(work))
    layers = [work.open("forcing/target")[name].values for name in ("ddf", "ddt")]
    layers.append(work.open("covariates/target")["precipitation"].values)
    expected = model.predict(np.stack([layer.ravel() for layer in layers], axis=1)).reshape(SHAPE)
    inside = work.open("masks/target")["inside"].values
    np.testing.assert_array_equal(found["ground_temperature"].values[inside], expected[inside])
