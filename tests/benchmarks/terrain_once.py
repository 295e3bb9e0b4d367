"""Terrain of a simulated elevation model, in a process of its own; its cost is written as JSON.

    python terrain_once.py square FOLDER SIDE     write SIDE x SIDE elevations of 3 arc seconds
    python terrain_once.py ours FOLDER SIDE       slope, aspect and wetness of them
    python terrain_once.py whitebox FOLDER SIDE   the same by Whitebox Workflows
    python terrain_once.py tile FOLDER WORKERS    all of tile h25v05 through the pipeline, as `frostmap run` makes it

The relief is the simulator's, in whole metres with the noise of a radar's (1.5 m), so that there are pits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import yaml
from affine import Affine

from frostmap.kernels import drainage, terrain
from frostmap.pipeline.simulate.positions import Places
from frostmap.pipeline.simulate.relief import elevation

PER_DEGREE, NORTH, WEST = 1200, 38.0, 85.0
NOISE_M = 1.5


def relief(west: float, north: float, height: int, width: int, first: int) -> npt.NDArray[np.int16]:
    """Return some rows of elevations [m]."""
    rows, columns = np.mgrid[first : first + height, 0:width] + 0.5
    places = Places(west + columns / PER_DEGREE, north - rows / PER_DEGREE, 111.2 / PER_DEGREE)
    noise = np.random.default_rng(first).normal(0, NOISE_M, rows.shape)
    whole: npt.NDArray[np.int16] = np.rint(elevation(7, places) + noise).astype(np.int16)
    return whole


def write(path: Path, west: float, north: float, height: int, width: int) -> None:
    """Write a raster of elevations."""
    transform = Affine(1 / PER_DEGREE, 0, west, 0, -1 / PER_DEGREE, north)
    profile: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "int16", "crs": "EPSG:4326", "nodata": -32768}
    profile |= {"height": height, "width": width, "transform": transform, "tiled": True, "compress": "DEFLATE"}
    with rasterio.open(path, "w", **profile, blockxsize=512, blockysize=512, num_threads=2) as file:
        for first in range(0, height, 512):
            rows = min(512, height - first)
            window = rasterio.windows.Window(0, first, width, rows)
            file.write(relief(west, north, rows, width, first), 1, window=window)


def ours(folder: Path, side: int) -> dict[str, float]:
    """Make slope, aspect and wetness of all cells, by strips where that does."""
    warm = np.random.default_rng(0).normal(0, 1, (20, 20)).astype(np.float32)
    drainage.wetness_index(warm, 90.0, 92.0)
    terrain.slope_aspect(warm, np.full(20, 90.0), np.full(20, 92.0))
    latitude = np.radians(NORTH - (np.arange(side) + 0.5) / PER_DEGREE)
    dy = np.full(side, 111200.0 / PER_DEGREE)
    dx = dy * np.cos(latitude)
    wall, processor = time.perf_counter(), time.process_time()
    levels = drainage.empty_levels(side, side)
    with rasterio.open(folder / f"square-{side}.tif") as file:
        for first in range(0, side, 512):
            top, bottom = max(first - 1, 0), min(first + 513, side)
            window = rasterio.windows.Window(0, top, side, bottom - top)
            z = file.read(1, window=window).astype(np.float32)
            terrain.slope_aspect(z, dx[top:bottom], dy[top:bottom])
            drainage.set_levels(levels, z, top)
    drainage.fill_depressions(levels)
    area = drainage.flow_accumulation(levels, dx, dy).area
    for first in range(0, side, 512):
        drainage.drained_wetness(levels, area, dx, dy, rows=slice(first, first + 512))
    return _cost(wall, processor)


def whitebox(folder: Path, side: int) -> dict[str, float]:
    """Make the same with Whitebox Workflows."""
    import whitebox_workflows  # only here: a peer is no part of what is measured

    workflows = whitebox_workflows.WbEnvironment()
    wall, processor = time.perf_counter(), time.process_time()
    z = workflows.read_raster(str(folder / f"square-{side}.tif"))
    slope = workflows.terrain.slope(input=z)
    workflows.terrain.aspect(input=z)
    filled = workflows.hydrology.fill_depressions(
        dem=z, fix_flats=True, flat_increment=0.001, flat_resolution="natural"
    )
    area = workflows.hydrology.fd8_flow_accum(dem=filled, out_type="sca", exponent=1.0)
    workflows.hydrology.wetness_index(sca=area, slope=slope)
    return _cost(wall, processor)


def tile(folder: Path, workers: int) -> dict[str, float]:
    """Make the terrain of a MODIS tile as a run does, with some workers."""
    from frostmap.pipeline import plan  # these read much, which the kernels' cost should not count
    from frostmap.pipeline.recipe import parse_recipe
    from frostmap.pipeline.run import connected, run
    from frostmap.pipeline.stages.terrain import TERRAIN_MADE, memory
    from frostmap.pipeline.work import Work

    dem = folder / "tile.tif"
    if not dem.exists():
        write(dem, 80.0, 40.6, round(11.2 * PER_DEGREE), round(25.2 * PER_DEGREE))
    content = {
        "name": "terrain",
        "region": {"tiles": ["h25v05"]},
        "epochs": {"training": {"years": [2010]}},
        "sources": {
            "forcing": {"training": {"freezing": str(dem), "thawing": str(dem)}},
            "clusters": str(dem),
            "elevation": str(dem),
            "surveys": [{"name": "none", "path": str(dem)}],
        },
        "cluster": {"workers": workers},
    }
    recipe = parse_recipe(yaml.safe_dump(content), folder / "recipe.yaml")
    work = folder / f"work-{time.time_ns()}"
    plan.STAGES = (TERRAIN_MADE,)  # type: ignore[assignment]
    stated = memory(Work(recipe, work), "")
    with connected(recipe, None, None) as client:
        client.wait_for_workers(workers)
        wall = time.perf_counter()
        run(recipe, work, client=client)
        wall = time.perf_counter() - wall
        peaks = client.run(_peak).values()
    return {"wall_s": wall, "peak_bytes": sum(peaks), "largest_bytes": max(peaks), "stated_bytes": stated}


def _cost(wall: float, processor: float) -> dict[str, float]:
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "peak_bytes": _peak(),
    }


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    what, where, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "square":
        write(where / f"square-{number}.tif", WEST, NORTH, number, number)
    else:
        sys.stdout.write(json.dumps({"ours": ours, "whitebox": whitebox, "tile": tile}[what](where, number)))
