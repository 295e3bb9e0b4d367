"""One ingest, by frostmap or by a peer, in a process of its own; what it cost is written to stdout as JSON.

Processor time is counted over this process and its children, because a machine's cores all have a worker in earnest;
memory is the sum of their peaks.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import psutil
import yaml
import zarr
from numcodecs.blosc import Blosc
from numpy.typing import NDArray

from frostmap.catalogs.collections import Band, load_collection
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import lattice, parse_tile
from frostmap.pipeline.cubes import prepare_group, write_tasks
from frostmap.pipeline.granule_reader import reader
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.schema import RAW
from frostmap.pipeline.simulate.catalogue import item
from frostmap.pipeline.stages.ingest import LAYERS, build
from frostmap.pipeline.work import Work

TERRA, TILE, YEAR = load_collection("mod11a1"), "h25v05", "2020"
BANDS: dict[str, Band] = {name: TERRA.band(name) for name in LAYERS}
DAYS, CHUNK = 46, 100

Ingest: TypeAlias = tuple[Callable[[], Any], Callable[[str], NDArray[Any]]]
"""What is measured, and what returns a layer (time, y, x) of its result."""


def granules_in(folder: Path, days: int, kind: str) -> list[Granule]:
    """Return the granules of the first days, as a search would find them."""
    found = []
    for path in sorted(folder.glob("*.hdf"))[:days]:
        hrefs = {b.asset: str(folder / f"{path.stem}_{b.asset}.tif") for b in BANDS.values()} if kind == "cog" else {}
        hdf = None if kind == "cog" else str(path)
        found.append(Granule(path.stem, *parse_granule_name(path.name), band_hrefs=hrefs, hdf_href=hdf))
    return found


def frostmap(folder: Path, days: int, pixels: int, into: Path, kind: str) -> Ingest:
    """Return the only task of the step, as a worker is given it."""
    content = {
        "name": "benchmark",
        "simulated": True,
        "region": {"tiles": [TILE], "pixels_per_tile": pixels},
        "epochs": {"training": {"years": [int(YEAR)]}},
        "ground_correction": {"method": "identity"},
        "sources": {
            "lst": {"catalogue": "none.json"},
            "surveys": [{"name": "none", "path": "none.tif"}],
            "clusters": "none.tif",
        },
    }
    work = Work(parse_recipe(yaml.safe_dump(content), folder / "recipe.yaml"), into)
    granules = granules_in(folder, days, kind)
    work.__dict__["granules"] = {"lst": {YEAR: granules}}  # is searched for otherwise
    products = build(work, YEAR)
    group = f"raw/{YEAR}"
    prepare_group(work.storage, group, RAW, work.geobox, products.coords, work.chunk_pixels)
    assert products.cube is not None
    (write,) = write_tasks(work.storage, group, products.cube, RAW, products.tasks, pixels=work.chunk_pixels)
    reader().read(granules[0], TERRA, LAYERS, pixels_per_tile=pixels)  # a worker starts its reader once

    def run() -> None:
        record = write.delayed.compute(scheduler="synchronous")
        if record.failed:
            raise AssertionError(record.notes)

    def result(name: str) -> NDArray[Any]:
        variable, half = name.rsplit("_", 1)
        overpass = {"day": 0, "night": 2}[half]
        stored: NDArray[Any] = work.open(group)[variable].isel(time=slice(0, days), overpass=overpass).values
        return stored

    return run, result


def pyhdf(folder: Path, days: int, pixels: int) -> Ingest:
    """Read with pyhdf and compress as the cube is; nothing is checked, digested or written."""
    from pyhdf.SD import SD, SDC

    blocks = {name: np.empty((DAYS, pixels, pixels), band.dtype) for name, band in BANDS.items()}

    def run() -> None:
        for day, granule in enumerate(granules_in(folder, days, "hdf")):
            file = SD(granule.hdf_href, SDC.READ)
            for name, band in BANDS.items():
                blocks[name][day] = file.select(band.sds)[:]
            file.end()
        for block in blocks.values():
            size = block.itemsize
            codec = Blosc("lz4", 5, Blosc.SHUFFLE if size > 1 else Blosc.NOSHUFFLE, typesize=size)
            for top in range(0, pixels, CHUNK):
                for left in range(0, pixels, CHUNK):
                    codec.encode(np.ascontiguousarray(block[:, top : top + CHUNK, left : left + CHUNK]))

    return run, lambda name: blocks[name][:days]


def odc_stac(folder: Path, days: int, pixels: int, into: Path) -> Ingest:
    """Load with odc-stac and write with xarray, in the Dask and Zarr chunks that cost it least."""
    import dask
    import odc.stac
    import pystac
    from zarr.codecs import BloscCodec

    items = []
    for granule in granules_in(folder, days, "cog"):
        document = item(granule.product, granule.date, granule.tile, pixels, "cog")
        document["assets"] = {
            band.asset: document["assets"][band.asset] | {"href": granule.band_hrefs[band.asset]}
            for band in BANDS.values()
        }
        document["properties"]["datetime"] = document["properties"]["start_datetime"]
        items.append(pystac.Item.from_dict(document))
    box, side = lattice(pixels)[parse_tile(TILE)], min(CHUNK, pixels)

    def run() -> None:
        cube = odc.stac.load(
            items,
            bands=[band.asset for band in BANDS.values()],
            geobox=box,
            groupby="time",
            chunks={"time": DAYS, "y": pixels, "x": pixels},
        )
        encoding = {}
        for name, array in cube.data_vars.items():
            size = array.dtype.itemsize
            codec = BloscCodec(cname="lz4", shuffle="shuffle" if size > 1 else "noshuffle", typesize=size)
            encoding[name] = {"chunks": (min(DAYS, days), side, side), "compressors": [codec]}
        with dask.config.set(scheduler="synchronous"):  # one worker, as ours
            cube.to_zarr(into, zarr_format=3, encoding=encoding, consolidated=False)

    return run, lambda name: np.asarray(zarr.open_array(into / BANDS[name].asset, mode="r"))


def processor_s() -> float:
    """Return the processor time of this process and its children so far [s]."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))


def peak_bytes() -> int:
    """Return the sum of the peaks of resident memory of this process and its children."""
    me, total = psutil.Process(), 0
    for process in (me, *me.children(recursive=True)):
        status = Path(f"/proc/{process.pid}/status").read_text()
        total += int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
    return total


def main(what: str, folder: Path, days: int, pixels: int, into: Path) -> None:
    """Ingest, and write down what it cost and checksums of the first and last day of each layer."""
    warnings.simplefilter("ignore")
    peers = {
        "hdf": lambda: frostmap(folder, days, pixels, into, "hdf"),
        "cog": lambda: frostmap(folder, days, pixels, into, "cog"),
        "pyhdf": lambda: pyhdf(folder, days, pixels),
        "odc-stac": lambda: odc_stac(folder, days, pixels, into),
    }
    run, result = peers[what]()
    os.sync()  # what was written before is not paid for here
    processor, wall = processor_s(), time.perf_counter()
    run()
    wall, processor, peak = time.perf_counter() - wall, processor_s() - processor, peak_bytes()
    checks = [zlib.crc32(result(name)[[0, -1]].tobytes()) for name in LAYERS]
    json.dump({"wall_s": wall, "processor_s": processor, "peak_bytes": peak, "checks": checks}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
