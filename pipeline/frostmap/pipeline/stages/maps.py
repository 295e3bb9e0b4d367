"""The maps as cloud-optimised GeoTIFFs, for other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rioxarray  # noqa: F401  (the rio accessor)
import xarray as xr
from dask.delayed import delayed
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import DDF, DDT, PREDICTED, SOIL_E, Variable
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.stages.frozen_ground import WRITES as FROZEN_GROUND_WRITES
from frostmap.pipeline.stages.frozen_ground import e_group, epoch_of, maps_of
from frostmap.pipeline.work import Work


def build(work: Work, scope: str) -> Products:
    """Write the epoch's forcing, E and what is not known of it, frost number, classes and probability to maps/."""
    recipe, epoch = work.recipe, epoch_of(scope)
    groups: dict[str, tuple[Variable, ...]] = {
        f"forcing/{epoch}": (DDF, DDT) if scope == epoch else (),
        e_group(recipe, scope): PREDICTED if e_group(recipe, scope).startswith("transfer") else (SOIL_E,),
        f"frozen_ground/{scope}": FROZEN_GROUND_WRITES,
    }
    title = recipe.epochs.named()[epoch].title
    tags = {
        "epoch": title,
        "years": ", ".join(map(str, recipe.epochs.named()[epoch].years)),
        "recipe": f"{recipe.name} {recipe.digest()}",
        "data": "simulated" if recipe.simulated else "observed",
    }
    if scope != epoch:
        title, tags = f"{title}_{scope}", tags | {"e": scope}
    write = delayed(write_map)
    paths = [
        write(work.open(group), variable, work.geobox, work.folder / "maps" / f"{variable.name}_{title}.tif", tags)
        for group, variables in groups.items()
        for variable in variables
    ]
    return Products(files=delayed(list)(paths))


def write_map(cube: xr.Dataset, variable: Variable, geobox: GeoBox, path: Path, tags: dict[str, str]) -> Path:
    """Write one variable as a COG with its units, description and tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    missing = variable.fill if variable.fill is not None else float("nan")
    image = wrap_xr(np.asarray(cube[variable.name].values), geobox, nodata=missing)
    draft = path.with_suffix(".draft.tif")
    image.rio.to_raster(
        draft,
        driver="COG",
        compress="DEFLATE",
        overview_resampling="mode" if np.dtype(variable.dtype).kind in "ui" else "average",
        tags=tags | {"long_name": variable.long_name, "units": variable.units},
    )
    draft.replace(path)
    return path


def _inputs(recipe: Recipe, scope: str) -> list[str]:
    return [f"forcing/{epoch_of(scope)}", e_group(recipe, scope), f"frozen_ground/{scope}"]


MAPS = Stage(
    "maps", "GeoTIFFs", build, scopes=maps_of, inputs=_inputs, sections=("name",), depends_on_epochs=True, version=2
)
