"""The report of a whole simulated plateau at 1 km, two epochs, from its finished cube: what it costs, as JSON.

``prepare FOLDER`` simulates the plateau's maps and writes the cube and tables of a finished run (minutes; not
measured); ``report FOLDER`` draws the figures and writes the page as a run does, on two worker processes, and tells the
time, the memory of all processes together, and the size of the page. ``export FOLDER`` writes all maps on four grids,
as GeoTIFFs and NetCDF: its memory must not grow with the map. After the folder, pixels along a tile's side.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil
import zarr
from shapely.geometry import mapping

from frostmap.catalogs.grids import parse_tile, pixel_area_km2
from frostmap.kernels.frost_number import frost_number, frozen_ground, permafrost_probability
from frostmap.pipeline import cubes, schema
from frostmap.pipeline.products import layers
from frostmap.pipeline.products.export import export
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.simulate.climate import landscape
from frostmap.pipeline.simulate.outline import inside, plateau_outline
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.truth import epoch_covariates, truth
from frostmap.pipeline.stages.change import summary, transitions
from frostmap.pipeline.stages.frozen_ground import class_areas
from frostmap.pipeline.stages.report import REPORT
from frostmap.pipeline.work import Work

from .cluster_once import workers

TILES = ("h23v05", "h24v05", "h25v05", "h25v06", "h26v05", "h26v06")
YEARS = {"training": 2010, "target": 2020}
SEED = 2020
ERRORS = {"ddf": 0.05, "ddt": 0.05, "e": 0.03}
"""Relative, of each pixel by itself: maps without them would be packed too well."""

EXPORTED = tuple(
    each.name
    for each in (*schema.FORCING, schema.SOIL_E, schema.FROZEN_GROUND, schema.FROST_NUMBER, schema.PROBABILITY)
)
"""What `export` writes of it."""

Arrays = dict[str, npt.NDArray[np.float32]]


def work_of(folder: Path, pixels: int = 1200) -> Work:
    """Return the work directory of a run over the plateau; it starts from given sums."""
    outline = folder / "outline.geojson"
    if not outline.exists():
        outline.write_text(json.dumps(mapping(plateau_outline())), encoding="utf-8")
    recipe = Recipe.model_validate(
        {
            "frostmap": 1,
            "name": "plateau",
            "title": "A whole simulated plateau",
            "simulated": True,
            "region": {"tiles": TILES, "outline": outline.absolute(), "pixels_per_tile": pixels},
            "epochs": {name: {"years": (year,)} for name, year in YEARS.items()},
            "sources": {
                "forcing": {name: {"freezing": Path("none.tif"), "thawing": Path("none.tif")} for name in YEARS},
                "elevation": Path("none.tif"),
                "sand": Path("none.tif"),
                "clay": Path("none.tif"),
                "ndvi": {"kind": "folder", "catalogue": "none"},
                "snow_cover": {name: Path("none.tif") for name in YEARS},
                "precipitation": {name: Path("none.tif") for name in YEARS},
                "surveys": ({"name": "none", "path": Path("none.tif")},),
            },
        }
    )
    return Work(recipe, folder / "work")


def maps_of_tile(tile: str, pixels: int, year: int) -> Arrays:
    """Return the simulated maps of a tile in one year, NaN outside the plateau."""
    every = Window.of_tile(parse_tile(tile), pixels).places()
    there = inside(every.longitude, every.latitude)
    at = Places(every.longitude[there], every.latitude[there], every.spacing_km)
    land = landscape(SEED, at)
    true, changing = truth(SEED, at, (year,), land), epoch_covariates(SEED, land, (year,))
    steep = np.hypot(land.slope_east, land.slope_north)
    values = {
        "ddf": true.ddf, "ddt": true.ddt, "e": true.e, "lakes": changing.lake, "glaciers": changing.glacier,
        "elevation": land.elevation, "slope": np.degrees(np.arctan(steep)),
        "northness": -land.slope_north / np.hypot(1.0, steep), "eastness": -land.slope_east / np.hypot(1.0, steep),
        "wetness": np.log(900.0 / np.maximum(steep, 0.001)), "ndvi": changing.ndvi, "snow_cover": changing.snow,
        "precipitation": changing.precipitation, "sand": land.sand, "clay": land.clay,
    }  # fmt: skip
    found = {}
    for name, some in values.items():
        whole = np.full(there.shape, np.nan, np.float32)
        whole[there] = some
        found[name] = whole
    return found


def prepare(folder: Path, pixels: int) -> None:
    """Write the cube and the tables that the report reads."""
    folder.mkdir(parents=True, exist_ok=True)
    work, grounds = work_of(folder, pixels), {}
    rng = np.random.default_rng(SEED)
    area = pixel_area_km2(work.geobox)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for epoch, year in YEARS.items():
            found: Arrays = {}
            tiles = pool.map(maps_of_tile, TILES, [pixels] * len(TILES), [year] * len(TILES))
            for tile, part in zip(TILES, tiles, strict=True):
                rows, columns = work.tile_window(tile)
                row, column = work.tile_origin(tile)
                for name, values in part.items():
                    whole = found.setdefault(name, np.full(work.shape, np.nan, np.float32))
                    whole[rows, columns] = values[
                        rows.start - row : rows.stop - row, columns.start - column : columns.stop - column
                    ]
            for name, error in ERRORS.items():
                found[name] *= rng.normal(1.0, error, work.shape).astype(np.float32)
            grounds[epoch] = _write_epoch(work, epoch, found)
            areas = class_areas(grounds[epoch], area, work.inside)
            _write_table(work, f"areas-{epoch}", pd.DataFrame({"class": list(areas), "km2": list(areas.values())}))
    _write_numbers(work)


def _write_epoch(work: Work, epoch: str, found: Arrays) -> npt.NDArray[np.uint8]:
    ddf, ddt, e = (found[name] for name in ("ddf", "ddt", "e"))
    ground = frozen_ground(ddf, ddt, e)
    ground[found["glaciers"] >= 0.5], ground[found["lakes"] >= 0.5] = 4, 5
    ground[~work.inside] = 255
    sigma = np.full(work.shape, 0.05, np.float32) + 0.02 * found["slope"] / 30
    groups: dict[str, dict[schema.Variable, Any]] = {
        f"forcing/{epoch}": {schema.DDF: ddf, schema.DDT: ddt},
        f"masks/{epoch}": {
            schema.INSIDE: work.inside, schema.LAKES: found["lakes"], schema.GLACIERS: found["glaciers"],
        },
        f"covariates/{epoch}": {variable: found[variable.name] for variable in schema.PREDICTORS},
        f"transfer/{epoch}": {
            schema.SOIL_E: e, schema.E_SIGMA: sigma, schema.DISSIMILARITY: 0.1 + found["slope"] / 40,
            schema.APPLICABLE: np.where(work.inside, found["slope"] < 25, 255),
        },
        f"frozen_ground/{epoch}": {
            schema.FROZEN_GROUND: ground, schema.FROST_NUMBER: frost_number(ddf, ddt, e),
            schema.PROBABILITY: np.where(ground < 4, permafrost_probability(ddf, ddt, e, sigma, 0.1, 0.1), np.nan),
        },
    }  # fmt: skip
    if epoch == "training":
        groups["calibration/training"] = {
            schema.CLUSTER: np.where(work.inside, 1, 0), schema.SOIL_E: np.full(work.shape, 0.9)
        }  # fmt: skip
        groups["frozen_ground/calibrated"] = groups["frozen_ground/training"]
    for group, arrays in groups.items():
        cubes.prepare_group(work.storage, group, list(arrays), work.geobox, {}, work.chunk_pixels)
        for variable, values in arrays.items():
            stored = zarr.open_array(work.storage.zarr_store(), path=f"{group}/{variable.name}", mode="r+")
            stored[...] = np.asarray(values, variable.dtype)
    return ground


def _write_table(work: Work, name: str, table: pd.DataFrame) -> None:
    path = work.table_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def _write_numbers(work: Work) -> None:
    table = transitions(work.open("frozen_ground/training"), work.open("frozen_ground/target"), work.geobox)
    _write_table(work, "transition", table)
    areas = {epoch: dict(work.table(f"areas-{epoch}").itertuples(index=False)) for epoch in YEARS}
    metrics = {"areas_km2": areas, "change": summary(table)}
    (work.folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def measure(folder: Path, pixels: int) -> dict[str, float]:
    """Draw and write the report on two worker processes; return seconds, bytes of memory and of the page."""
    work = work_of(folder, pixels)
    with workers(2) as client, Memory() as memory:
        began = time.perf_counter()
        files = REPORT.function(work, "").files
        assert files is not None
        paths: list[Path] = client.compute(files).result()
        seconds = time.perf_counter() - began
    page = next(path for path in paths if path.suffix == ".html")
    return {
        "pixels": int(work.inside.sum()),
        "figures": len(paths) - 1,
        "seconds": round(seconds, 1),
        "peak_bytes": memory.peak,
        "html_bytes": page.stat().st_size,
    }


def measure_export(folder: Path, pixels: int) -> dict[str, float]:
    """Write the maps as products; return seconds, and bytes of memory: at rest, and the most."""
    work = work_of(folder, pixels)
    (work.folder / "recipe.yaml").write_text("frostmap: 1\n", encoding="utf-8")  # of provenance; none was run
    # no step was run, so that none has a record: what the cube has is taken for finished
    layers.ledger = SimpleNamespace(read_record=lambda _ledger, group: True if work.has(group) else None)  # type: ignore[assignment,attr-defined]
    at_rest = psutil.Process().memory_info().rss
    with Memory() as memory:
        began = time.perf_counter()
        exported = export(work, folder / "products", only=EXPORTED, formats=("cog", "netcdf"))
        seconds = time.perf_counter() - began
    return {
        "pixels": int(work.inside.sum()),
        "files": len(exported.files),
        "bytes": sum(path.stat().st_size for path in exported.files),
        "seconds": round(seconds, 1),
        "rest_bytes": at_rest,
        "peak_bytes": memory.peak,
    }


class Memory:
    """Looks every fifth of a second how much memory this process and its children take together."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._looking.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._done.wait(0.2):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 1200
    if what == "prepare":
        prepare(where, size)
    else:
        sys.stdout.write(json.dumps({"report": measure, "export": measure_export}[what](where, size)) + "\n")
