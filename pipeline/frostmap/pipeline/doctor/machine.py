"""The machine alone: its software, whether HDF4 granules can be read, disk and memory."""

from __future__ import annotations

import datetime as dt
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from rich.filesize import decimal

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.grids import Tile
from frostmap.pipeline.demands import memory_per_worker, step_bytes, step_memory, workers
from frostmap.pipeline.doctor.finding import Finding
from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.granule_reader import GranuleReader
from frostmap.pipeline.locks import locked
from frostmap.pipeline.plan import scheduled
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.simulate.granules import PRODUCTS, granule_id, write_hdf
from frostmap.pipeline.work import Work

REINSTALL = "install it again, from requirements.lock: pip install --require-hashes -r requirements.lock"
LITTLE_DISK = 5 * 10**9
"""Less free space than this is doubtful for any run [bytes]."""


def software() -> Iterator[Finding]:
    """Check that all that frostmap needs is there, and new enough."""
    faults = []
    for line in requires("frostmap") or []:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            faults.append(f"{needed.name} is missing, not {needed.specifier}")
            continue
        if not needed.specifier.contains(found, prereleases=True):
            faults.append(f"{needed.name} {found}, not {needed.specifier}")
    about = f"frostmap {version('frostmap')}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("software", "bad" if faults else "good", "; ".join(faults) or about, REINSTALL if faults else "")


def hdf4() -> Iterator[Finding]:
    """Write a small HDF-EOS granule and read it, with the library in a process of its own as runs do."""
    pixels, product, tile = 24, "MOD11A1", Tile(25, 5)
    layers = PRODUCTS[product].layers
    stored = {layer.name: np.arange(pixels**2).reshape(pixels, pixels).astype(layer.dtype) for layer in layers}
    with tempfile.TemporaryDirectory(prefix="frostmap-doctor-") as folder, GranuleReader() as reader:
        path = Path(folder) / f"{granule_id(product, dt.date(2010, 1, 1), tile)}.hdf"
        try:
            write_hdf(path, product, tile, stored)
            collection = load_collection("mod11a1")
            read = reader.read(path, collection, pixels_per_tile=pixels)
        except (FrostmapError, OSError) as error:
            yield Finding("HDF4", "bad", f"a granule cannot be read: {error}", REINSTALL)
            return
    same = all(np.array_equal(read[band.name], stored[band.sds]) for band in collection.bands)
    found = "a granule was written and read again" if same else "a granule was read otherwise than it was written"
    yield Finding("HDF4", "good" if same else "bad", found, "" if same else REINSTALL)


def disk(folder: Path, recipe: Recipe | None) -> Iterator[Finding]:
    """Check that the work directory can be written, locked, and holds what will be made."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryDirectory(prefix="frostmap-doctor-", dir=there) as own, locked(Path(own)):
            draft = Path(own) / "draft"
            draft.write_bytes(b"whole")
            draft.replace(draft.with_name("file"))
    except OSError as error:
        remedy = "correct its rights, or name another work directory with --workdir"
        yield Finding("work directory", "bad", f"{there} cannot be written and locked: {error.strerror}", remedy)
        return
    free = shutil.disk_usage(there).free
    found = f"{there} can be written and locked; {decimal(free)} are free"
    if recipe is None:
        few = free < LITTLE_DISK
        remedy = "name a folder with more space with --workdir" if few else ""
        yield Finding("work directory", "doubtful" if few else "good", found, remedy)
        return
    work = Work(recipe, folder)
    needed = 0 if work.storage.is_remote else sum(step_bytes(work, stage, scope) for stage, scope in scheduled(recipe))
    found += f"; the cube takes at most {decimal(needed)}" if needed else "; the cube is not kept here"
    few = free < max(needed, LITTLE_DISK)
    remedy = (
        "name a folder with more space with --workdir; compressed, the cube takes about half of that" if few else ""
    )
    yield Finding("work directory", "doubtful" if few else "good", found, remedy)


def memory(folder: Path, recipe: Recipe) -> Iterator[Finding]:
    """Check that a worker holds the largest task."""
    work, share = Work(recipe, folder), memory_per_worker(recipe)
    largest, step = max(
        ((step_memory(work, stage, scope), f"{stage.name} {scope}".strip()) for stage, scope in scheduled(recipe)),
        default=(0, "no step"),
    )
    found = f"{workers(recipe)} workers with {decimal(share)} each; {step} takes at most {decimal(largest)}"
    remedy = "lower cluster.workers or store.chunk_pixels, or raise cluster.memory_gib, in the recipe"
    yield Finding("memory", "bad", found, remedy) if largest > share else Finding("memory", "good", found)
