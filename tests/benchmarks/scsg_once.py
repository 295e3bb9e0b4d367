"""SCSG of 46 days of one overpass over a square of pixels, in a process of its own; its cost is written as JSON.

The scene is a simulated one of 100 x 100 pixels at 1 km, repeated; it is read from a cube in the project's own layout.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec

from frostmap.kernels.quality import OBSERVED, observation_state
from frostmap.kernels.sky_classes import SHADED_CLOUD, classes_without_shadows
from frostmap.pipeline import scsg
from frostmap.pipeline.recipe import GapFilling
from frostmap.pipeline.simulate.climate import covariates
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.surface import observed_days, scene

SIDE, DAYS, TARGETS = 100, 108, range(31, 77)
DIMS = ("time", "overpass", "y", "x")
Numbers = npt.NDArray[np.generic]


def prepare(folder: Path) -> None:
    """Write one simulated square: counts, states, view times of Terra's days, elevation, NDVI."""
    window = Window(1200, 5 * 1200 + 500, 25 * 1200 + 300, SIDE, SIDE)
    where, first = scene(2020, window, 2020), dt.date(2020, 1, 1)
    layers = [p["MOD11A1"] for _, p in observed_days(where, first, first + dt.timedelta(DAYS - 1))]
    lst = np.stack([each["LST_Day_1km"] for each in layers])
    state = observation_state(lst, np.stack([each["QC_Day"] for each in layers]))
    np.savez(
        folder / "square.npz",
        lst=np.where(state <= OBSERVED, lst, 0).astype(np.uint16),
        state=state,
        view_time=np.stack([each["Day_view_time"] for each in layers]),
        elevation=where.land.elevation.reshape(SIDE, SIDE).astype(np.float32),
        ndvi=np.asarray(covariates(2020, where.land, 2020.2).ndvi, np.float32).reshape(SIDE, SIDE),
    )


def write_cube(folder: Path, side: int) -> None:
    """Write the square, repeated to `side` pixels, in chunks of 46 days x 100 x 100."""
    square = np.load(folder / "square.npz")
    times = side // SIDE

    def repeated(name: str) -> Numbers:
        array = square[name]
        return np.tile(array, (*([1] * (array.ndim - 2)), times, times))

    sky = classes_without_shadows(square["state"], SHADED_CLOUD)
    days = {name: (DIMS, repeated(name)[:, None]) for name in ("lst", "state", "view_time")}
    days |= {"sky": (DIMS, np.tile(sky, (1, times, times))[:, None])}
    flat = {"elevation": (("y", "x"), repeated("elevation"))}
    flat |= {name: (("y", "x"), np.zeros((side, side), np.float32)) for name in ("eastness", "northness")}
    cube = xr.Dataset(days | flat | {"ndvi": (("composite", "y", "x"), np.tile(repeated("ndvi"), (23, 1, 1)))})
    cube["annual_cycle"] = (("harmonic", "overpass", "y", "x"), np.full((5, 1, side, side), np.nan, np.float32))
    cube["spread"] = (("overpass", "y", "x"), np.full((1, side, side), 3, np.float32))
    encoding = {
        name: {
            "chunks": tuple({"time": 46, "y": 100, "x": 100}.get(str(d), n) for d, n in array.sizes.items()),
            "compressors": [
                BloscCodec(
                    cname="lz4",
                    clevel=5,
                    shuffle="shuffle" if array.dtype.itemsize > 1 else "noshuffle",
                    typesize=array.dtype.itemsize,
                )
            ],
        }
        for name, array in cube.data_vars.items()
    }
    cube.to_zarr(folder / f"cube-{side}.zarr", encoding=encoding, consolidated=False, zarr_format=3)


def fill(folder: Path, side: int) -> dict[str, float]:
    """Fill, compress what was made, and return what it cost."""
    cube = xr.open_zarr(folder / f"cube-{side}.zarr", chunks=None, consolidated=False, mask_and_scale=False)
    window = Window(1200, 5 * 1200, 25 * 1200, side, side)
    region = scsg.Region(
        2020,
        scsg.Days(((0, cube),)),
        scsg.Days(((0, cube),)),
        cycle=cube,
        terrain=cube,
        ndvi=cube,
        x=window.x,
        y=window.y,
        inside=np.ones((side, side), bool),
        block=100,
        cell=scsg.cell_pixels(0.927),
    )
    settings = GapFilling()
    small = range(TARGETS.start, TARGETS.start + 2)
    for _ in scsg.fill(region, 0, small, settings, [7300.0, 7301.0]):  # compiles what is compiled
        break
    lz4 = Blosc("lz4", 5, Blosc.SHUFFLE)
    wall, processor, filled = time.perf_counter(), time.process_time(), 0
    for part, piece in scsg.fill(region, 0, TARGETS, settings, [7300.0 + day for day in TARGETS]):
        lz4.encode(np.ascontiguousarray(piece))
        filled += int((piece > 0).sum()) if part.variable == "lst" else 0
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "peak_bytes": float(_peak()),
        "stated_bytes": float(scsg.memory((side, side), 100, len(TARGETS), settings)),
        "filled": filled / (len(TARGETS) * side**2),
    }


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    what, where, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "prepare":
        prepare(where)
    elif what == "cube":
        write_cube(where, size)
    else:
        sys.stdout.write(json.dumps(fill(where, size)))
