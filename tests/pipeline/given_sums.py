"""A run that starts from given degree-day sums, of a simulated plateau: no granule is read, seconds are enough."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
import yaml
from shapely.geometry import mapping

from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.simulate import Simulation, archive
from frostmap.pipeline.simulate.outline import plateau_outline

from .small_chain import one_thread

CLUSTERS = 4


def write_sums(folder: Path, simulation: Simulation) -> None:
    """Write sums, clusters, lakes, glaciers, surveys and outline of a simulated plateau's first epoch."""
    for name in ("grids", "surveys"):
        (folder / name).mkdir(parents=True)
    window = archive._mosaic_window(simulation)
    maps = [archive._tile_maps(simulation, tile) for tile in simulation.tile_addresses]
    mosaic = archive._mosaic(simulation, window, maps)
    archive._write_lattice_maps(folder, simulation, window, mosaic)
    archive._write_surveys(folder, simulation, window, mosaic)
    (folder / "outline.geojson").write_text(json.dumps(mapping(plateau_outline())), encoding="utf-8")
    with rasterio.open(folder / "truth_2010.tif") as truth:
        bands = dict(zip(truth.descriptions, truth.read(), strict=True))
        profile = {"driver": "GTiff", "crs": truth.crs, "transform": truth.transform, "count": 1}
        profile |= {"height": truth.height, "width": truth.width}
    limits = np.nanquantile(bands["e"], np.arange(1, CLUSTERS) / CLUSTERS)
    cluster = np.where(np.isfinite(bands["e"]), 1 + np.searchsorted(limits, bands["e"]), 0).astype("uint8")
    for name, values, missing in (
        ("ddf", bands["ddf"], np.nan),
        ("ddt", bands["ddt"], np.nan),
        ("cluster", cluster, 0),
    ):
        with rasterio.open(folder / f"{name}.tif", "w", dtype=values.dtype, nodata=missing, **profile) as file:
            file.write(values, 1)


def recipe_of_sums(folder: Path, simulation: Simulation) -> Recipe:
    """Return the recipe that maps them."""
    cover = {name: {"training": f"grids/{name}_2010.tif"} for name in ("lakes", "glaciers")}
    content = {
        "name": "sums",
        "simulated": True,
        "data": str(folder),
        "region": {
            "tiles": list(simulation.tiles),
            "outline": "outline.geojson",
            "pixels_per_tile": simulation.pixels_per_tile,
        },
        "epochs": {"training": {"years": [2010]}},
        "sources": {
            "forcing": {"training": {"freezing": "ddf.tif", "thawing": "ddt.tif"}},
            "clusters": "cluster.tif",
            "surveys": [
                {"name": path.stem, "path": f"surveys/{path.name}"}
                for path in sorted((folder / "surveys").glob("*.tif"))
            ],
            **cover,
        },
        "ground_correction": {"method": "identity"},
    }
    return parse_recipe(yaml.safe_dump(content), folder.parent / "recipe.yaml")


def map_given_sums(folder: Path, simulation: Simulation) -> tuple[Recipe, Path]:
    """Simulate sums, map them, and return the recipe and the work directory."""
    write_sums(folder / "sums", simulation)
    recipe, work = recipe_of_sums(folder / "sums", simulation), folder / "work"
    with one_thread() as client:
        run(recipe, work, until="frozen_ground", client=client)
    text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True))
    (work / "recipe.yaml").write_text(text, encoding="utf-8")
    return recipe, work
