"""Masks and predictors of E of the whole simulated plateau, as `frostmap run` makes them; what each step took.

    python -m tests.benchmarks.covariates_once prepare FOLDER [PIXELS]   # granules of NDVI of a year, grids (minutes)
    python -m tests.benchmarks.covariates_once run FOLDER [PIXELS]       # on two worker processes, twice

The run starts from given degree-day sums, so that only masks and covariates are made. The second run must have nothing
to do. PIXELS are those along a tile's side: 1200 if left out.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from dask.delayed import delayed
from distributed import Client, LocalCluster
from shapely.geometry import mapping

from frostmap.catalogs.grids import SINUSOIDAL_CRS
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.run import run
from frostmap.pipeline.simulate import Simulation, archive
from frostmap.pipeline.simulate.catalogue import COLLECTIONS, granule_folder, write_catalogue
from frostmap.pipeline.simulate.outline import plateau_outline
from frostmap.pipeline.simulate.vegetation import composite_dates

from . import plan_once
from .report_once import Memory

YEAR = 2010


def simulation(pixels: int) -> Simulation:
    """Return the demo's plateau at another resolution."""
    return Simulation(pixels_per_tile=pixels, training_years=(YEAR,), target_years=(2020,))


def prepare(folder: Path, pixels: int) -> None:
    """Write what the covariates are made from."""
    wanted = simulation(pixels)
    granules = [("MOD13A1", date, tile) for date, tile in product(composite_dates(YEAR), wanted.tile_addresses)]
    for name, date, tile in granules:
        (folder / "stac" / COLLECTIONS[name] / f"{tile}-{date.year}").mkdir(parents=True, exist_ok=True)
        (folder / granule_folder(name, date)).mkdir(parents=True, exist_ok=True)
    for name in ("grids", "surveys"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(**options) as local, Client(local) as client:
        tiles = wanted.tile_addresses
        futures = client.compute(
            [delayed(archive._write_composites)(folder, wanted, tile, YEAR) for tile in tiles]
            + [delayed(archive._tile_maps)(wanted, tile) for tile in tiles]
        )
        maps = client.gather(futures)[len(tiles) :]
    window = archive._mosaic_window(wanted)
    mosaic = archive._mosaic(wanted, window, maps)
    archive._write_lattice_maps(folder, wanted, window, mosaic)
    archive._write_surveys(folder, wanted, window, mosaic)
    for name in ("ddf", "ddt"):
        values = {name: mosaic[f"truth_{YEAR}/{name}"]}
        transform = archive._lattice_affine(window)
        archive._write_raster(
            folder / f"{name}.tif", values, SINUSOIDAL_CRS.to_wkt(), transform, nodata=float("nan"), units="degC d"
        )
    archive._write_grids(folder, wanted)
    write_catalogue(folder, granules)
    (folder / "outline.geojson").write_text(json.dumps(mapping(plateau_outline())), encoding="utf-8")


def recipe_of(folder: Path, pixels: int) -> Recipe:
    """Return the recipe of the run."""
    changing = {
        name: {"training": f"grids/{name}_{YEAR}.tif"} for name in ("snow_cover", "precipitation", "lakes", "glaciers")
    }
    surveys = sorted((folder / "surveys").glob("*.tif"))
    content = {
        "name": "covariates",
        "simulated": True,
        "data": str(folder),
        "region": {
            "tiles": list(simulation(pixels).tiles),
            "outline": "outline.geojson",
            "pixels_per_tile": pixels,
        },
        "epochs": {"training": {"years": [YEAR]}},
        "sources": {
            "forcing": {"training": {"freezing": "ddf.tif", "thawing": "ddt.tif"}},
            "ndvi": {"catalogue": "catalog.json"},
            **{name: f"grids/{name}.tif" for name in ("elevation", "sand", "clay")},
            **changing,
            "surveys": [{"name": path.stem, "path": f"surveys/{path.name}"} for path in surveys],
        },
        "ground_correction": {"method": "identity"},
    }
    return parse_recipe(yaml.safe_dump(content), folder / "recipe.yaml")


def measure(folder: Path, pixels: int) -> str:
    """Make all masks and covariates, then ask for them again; return what each step took, and all together."""
    recipe, work = recipe_of(folder, pixels), folder / "work"
    with Memory() as memory:
        began = time.perf_counter()
        table = plan_once.measure(work, recipe, until="covariates")
        seconds = time.perf_counter() - began
    again: list[str] = []
    run(recipe, work, until="covariates", scheduler="threads", report=lambda event: again.append(event.kind))
    return (
        f"{plan_once.in_words(table)}\n{seconds:.0f} s, {memory.peak / 2**30:.2f} GiB of all processes together; "
        f"made again by a second run: {again.count('finished')} steps\n"
    )


if __name__ == "__main__":
    where, size = Path(sys.argv[2]).absolute(), int(sys.argv[3]) if len(sys.argv) > 3 else 1200
    if sys.argv[1] == "prepare":
        prepare(where, size)
    else:
        sys.stdout.write(measure(where, size))
