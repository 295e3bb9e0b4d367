"""Ground temperature at boreholes by support vector regression on the run's own sums, after Zou et al. 2025."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox

from frostmap.pipeline.cross_validation import Folds, random_folds, region_folds, scores
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.ledger import digest
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import BoreholeTable, Recipe
from frostmap.pipeline.reference_maps import has_covariates
from frostmap.pipeline.sites import on_plane
from frostmap.pipeline.stage import Products, Stage, everywhere
from frostmap.pipeline.stages.forest import FOLDER
from frostmap.pipeline.stages.validation import at_boreholes
from frostmap.pipeline.support_vectors import FOLDS, SupportVectors, chosen, fit, left_out, save
from frostmap.pipeline.work import Work

FILE = "magt.json"
"""Of the work directory's models: where the regression is kept."""
FEWEST = 30
"""Boreholes with a temperature, fewer of which say nothing of ground elsewhere."""
SEED = 2025
SCHEMES = ("random", "regions")
"""How boreholes are left out: at random, as published; or a region at a time, as a map is asked for elsewhere."""


def predictors_of(recipe: Recipe) -> tuple[str, ...]:
    """Return what ground temperature is predicted from, as far as the run has it."""
    rain = ("precipitation",) if has_covariates(recipe) else ()
    return ("ddf", "ddt", *rain, *(("soil_density",) if recipe.validation.soil_density_map else ()))


class Sample(NamedTuple):
    """Boreholes with a temperature and all predictors."""

    table: pd.DataFrame
    """line, name, longitude, latitude, row, column, depth [m], temperature [°C]."""
    values: npt.NDArray[np.float64]
    target: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    """Where they are on a plane [km]."""


def build(work: Work, _scope: str) -> Products:
    """Return the regression's file, what it says at each borehole, and how well it says it."""
    recipe = work.recipe
    last, table, names = _last(recipe), recipe.sources.borehole_table, predictors_of(recipe)
    assert table is not None  # of `_scopes`  # noqa: S101
    cubes = [work.open(f"forcing/{last}"), *([work.open(f"covariates/{last}")] if "precipitation" in names else [])]
    sample = delayed(boreholes_with_predictors, pure=False)(
        recipe, table, work.geobox, work.open(f"frozen_ground/{last}"), cubes
    )
    settings = delayed(_chosen)(sample)
    model = delayed(_fitted)(sample, settings, names)
    folds = {scheme: delayed(folds_of)(sample, scheme) for scheme in SCHEMES}
    parts = {scheme: [delayed(_left_out)(sample, folds[scheme], fold) for fold in range(FOLDS)] for scheme in SCHEMES}
    predicted = {scheme: delayed(joined)(folds[scheme], parts[scheme]) for scheme in SCHEMES}
    return Products(
        tables={
            "magt": delayed(at_each)(sample, model, predicted),
            "magt_validation": delayed(judged)(sample, predicted),
        },
        metrics={"magt": delayed(summary)(sample, model, predicted)},
        files=delayed(save)(model, work.folder / FOLDER / FILE),
    )


def boreholes_with_predictors(
    recipe: Recipe, how: BoreholeTable, geobox: GeoBox, maps: xr.Dataset, cubes: Sequence[xr.Dataset]
) -> Sample:
    """Return the boreholes on the map that have a temperature: that at 15 m, else what decides their class.

    Raises
    ------
    DataIncomplete
        There are too few.
    """
    path = recipe.path(how.path)
    holes = at_boreholes(path, how, geobox, maps)
    at_15 = holes["magt_15m"].to_numpy(np.float64)
    target = np.where(np.isfinite(at_15), at_15, holes["temperature"].to_numpy(np.float64))
    depth = np.where(np.isfinite(at_15), 15.0, holes["depth"].to_numpy(np.float64))
    holes = holes.assign(temperature=target, depth=depth)
    known = np.flatnonzero((holes["mapped"] != "").to_numpy(bool) & np.isfinite(target))
    holes = holes.iloc[known].reset_index(drop=True)
    rows, columns = (holes[name].to_numpy(np.int64) for name in ("row", "column"))
    layers = [_layer(recipe, name, geobox, cubes)[rows, columns] for name in predictors_of(recipe)]
    values = np.stack(layers, axis=1).astype(np.float64).reshape(len(holes), len(layers))
    whole = np.isfinite(values).all(axis=1)
    if whole.sum() < FEWEST:
        raise DataIncomplete(
            "too few boreholes to map ground temperature by",
            where=f"{path} (recipe: sources.boreholes, validation.magt)",
            found=f"{int(whole.sum())} on the map with a temperature and all predictors",
            wanted=f"at least {FEWEST}",
            remedy="set validation.magt to false, or give more boreholes with temperatures",
        )
    holes = holes.iloc[np.flatnonzero(whole)].reset_index(drop=True)
    x, y = on_plane(geobox, holes["row"], holes["column"])
    kept = holes[["line", "name", "longitude", "latitude", "row", "column", "depth", "temperature"]]
    return Sample(kept, values[whole], kept["temperature"].to_numpy(np.float64), x, y)


def _layer(recipe: Recipe, name: str, geobox: GeoBox, cubes: Sequence[xr.Dataset]) -> npt.NDArray[np.float32]:
    if name == "soil_density":
        given = recipe.validation.soil_density_map
        assert given is not None  # of `predictors_of`  # noqa: S101
        return on_grid(recipe.path(given), geobox, "validation.soil_density_map")
    return np.asarray(next(cube[name].values for cube in cubes if name in cube), np.float32)


def folds_of(sample: Sample, scheme: str) -> Folds:
    """Return the fold in which each borehole is left out."""
    if scheme == "random":
        return random_folds(len(sample.target), SEED, FOLDS)
    return region_folds(sample.x, sample.y, SEED, FOLDS)


def _chosen(sample: Sample) -> Any:
    return chosen(sample.values, sample.target, SEED)


def _fitted(sample: Sample, settings: Any, names: tuple[str, ...]) -> SupportVectors:
    return fit(sample.values, sample.target, settings, names)


def _left_out(sample: Sample, folds: Folds, fold: int) -> npt.NDArray[np.float32]:
    """Return predictions of a fold; of one that does not exist, since places are few, none."""
    if not (folds == fold).any() or (folds == fold).all():
        return np.full(int((folds == fold).sum()), np.nan, np.float32)
    return left_out(sample.values, sample.target, folds, fold, SEED)


def joined(folds: Folds, parts: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return what was predicted for each borehole when it was left out."""
    found = np.full(len(folds), np.nan, np.float32)
    for fold, part in enumerate(parts):
        found[folds == fold] = part
    return found


def at_each(sample: Sample, model: SupportVectors, predicted: dict[str, npt.NDArray[np.float32]]) -> pd.DataFrame:
    """Return the boreholes with what the regression says, fitted and left out."""
    columns = {f"left_out_{scheme}": values for scheme, values in predicted.items()}
    return sample.table.assign(fitted=model.predict(sample.values), **columns)


def judged(sample: Sample, predicted: dict[str, npt.NDArray[np.float32]]) -> pd.DataFrame:
    """Return n, RMSE, MAE, bias [°C], r and R² of what was left out, for each way of leaving out."""
    rows = []
    for scheme, values in predicted.items():
        known = np.isfinite(values)
        found = scores(sample.target[known], values[known].astype(np.float64)) if known.any() else {}
        r2 = found.pop("variance_explained_percent", np.nan) / 100.0
        bias = float(np.mean(values[known] - sample.target[known])) if known.any() else np.nan
        rows.append({"left_out": scheme, "n": int(known.sum()), **found, "bias": bias, "r2": r2})
    return pd.DataFrame(rows)


def summary(sample: Sample, model: SupportVectors, predicted: dict[str, npt.NDArray[np.float32]]) -> dict[str, Any]:
    """Return the size, settings and scores of the regression."""
    table = judged(sample, predicted).set_index("left_out")
    return {
        "boreholes": len(sample.target),
        "support_vectors": len(model.weights),
        "predictors": list(model.predictors),
        "mean_temperature": float(sample.target.mean()),
        **model.settings._asdict(),
        "gamma": model.gamma,
        **{str(scheme): {str(k): v for k, v in row.items()} for scheme, row in table.to_dict("index").items()},
    }


def _last(recipe: Recipe) -> str:
    return list(recipe.epochs.named())[-1]


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    last = _last(recipe)
    rain = [f"covariates/{last}"] if "precipitation" in predictors_of(recipe) else []
    return [f"forcing/{last}", f"frozen_ground/{last}", *rain]


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    table, density = recipe.sources.borehole_table, recipe.validation.soil_density_map
    return [recipe.path(path) for path in (table.path if table else None, density) if path is not None]


def _causes(work: Work, _scope: str) -> dict[str, str]:
    table = work.recipe.sources.borehole_table
    how = table.model_dump(mode="json") if table else None
    return {"how boreholes are read": digest(how), "predictors": digest(list(predictors_of(work.recipe)))}


MAGT = Stage(
    "magt",
    "ground temperature at boreholes",
    build,
    scopes=lambda recipe: [""] if recipe.validation.magt else [],
    inputs=_inputs,
    sources=_sources,
    causes=_causes,
    wanted=everywhere,
)
