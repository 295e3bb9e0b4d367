"""The cube: groups of a Zarr v3 store with CF attributes, created whole and written chunk by chunk."""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from dask.delayed import Delayed
from numcodecs.blosc import Blosc
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from frostmap.pipeline import ledger
from frostmap.pipeline.blocks import FAILED, NOTES, Part, Pieces, Result, Stream, Task, called_often
from frostmap.pipeline.geozarr import geozarr_attributes
from frostmap.pipeline.schema import OVERPASSES, Variable
from frostmap.pipeline.storage import CUBE, Storage, digest_of

DAYS_PER_CHUNK = 46
"""Eight chunks a year: reading a tile's granules of one platform for a chunk takes some 660 MB at 1 km."""

COORDINATE_ATTRS: dict[str, dict[str, Any]] = {
    "time": {"long_name": "UTC day"},
    "overpass": {
        "long_name": "satellite overpass",
        "flag_values": list(range(len(OVERPASSES))),
        "flag_meanings": " ".join(OVERPASSES),
    },
    "year": {"long_name": "calendar year"},
    "composite": {"long_name": "16-day composite of the year"},
    "interval": {"long_name": "16-day interval of the year"},
    "month": {"long_name": "month of the year"},
    "harmonic": {"long_name": "mean, then cosine and sine of each harmonic of the year"},
}


def pixels_per_chunk(pixels_per_tile: int, wanted: int = 100) -> int:
    """Return the largest divisor of a tile's width that is not above `wanted`: no chunk straddles two tiles.

    >>> pixels_per_chunk(1200), pixels_per_chunk(80), pixels_per_chunk(24)
    (100, 80, 24)
    """
    return max(n for n in range(1, wanted + 1) if pixels_per_tile % n == 0)


def chunk_shape(variable: Variable, sizes: Mapping[str, int], pixels: int) -> tuple[int, ...]:
    """Return the stored chunk of a variable: `pixels` in space, 46 days in time, one overpass, all of the rest."""
    wanted = {"y": pixels, "x": pixels, "time": DAYS_PER_CHUNK, "overpass": 1}
    return tuple(min(wanted.get(dim, sizes[dim]), sizes[dim]) for dim in variable.dims)


def prepare_group(
    storage: Storage,
    group: str,
    variables: Sequence[Variable],
    geobox: GeoBox,
    coords: Mapping[str, npt.ArrayLike],
    pixels: int,
    *,
    cause: str = "",
    tasks: Iterable[str] = (),
) -> None:
    """Make a group ready for its chunks: arrays, coordinates, grid mapping.

    Chunks of the same layout and cause stand, and metadata that was lost is written again; of another, all goes.
    """
    metadata = _metadata(group, variables, geobox, coords, pixels)
    objects = {key: (len(content), digest_of(content)) for key, content in metadata.items()}
    before = ledger.read_layout(storage, group)
    stored = storage.read_all(f"{CUBE}/{key}" for key in metadata)
    other = {key for key, (_, content) in zip(metadata, stored, strict=True) if content != metadata[key]}
    same = not other if before is None else (before.cause, before.metadata) == (cause, objects)
    if not same:
        storage.delete([f"{ledger.LAYOUTS}/{group}.json"])
        storage.delete(storage.list(f"{ledger.CHUNKS}/{group}/"))
        storage.delete(storage.list(f"{CUBE}/{group}/"))
        other = set(metadata)
    for key in sorted(other):
        storage.write(f"{CUBE}/{key}", metadata[key])
    ledger.write_layout(storage, group, ledger.Layout(cause, objects, sorted(tasks)))


def _metadata(
    group: str, variables: Sequence[Variable], geobox: GeoBox, coords: Mapping[str, npt.ArrayLike], pixels: int
) -> dict[str, bytes]:
    """Return the objects of a group without data, and of the groups above it, by key."""
    store = MemoryStore()
    root = zarr.open_group(store, mode="a", zarr_format=3)
    attributes = {"Conventions": "CF-1.11"} | geozarr_attributes(geobox)
    node = root.create_group(group, attributes=attributes)
    sizes = {"y": geobox.shape.y, "x": geobox.shape.x} | {dim: np.size(values) for dim, values in coords.items()}
    for variable in variables:
        itemsize = np.dtype(variable.dtype).itemsize
        codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle" if itemsize > 1 else "noshuffle", typesize=itemsize)
        node.create_array(
            variable.name,
            shape=tuple(sizes[dim] for dim in variable.dims),
            chunks=chunk_shape(variable, sizes, pixels),
            dtype=variable.dtype,
            compressors=[codec, Crc32cCodec()],  # a damaged chunk is an error, never numbers
            fill_value=variable.fill_value,
            dimension_names=variable.dims,
            attributes=dict(variable.attrs),
        )
    coordinates = {str(name): coord for name, coord in xr_coords(geobox, dims=("y", "x")).items()}
    coordinates |= {
        dim: xr.DataArray(np.asarray(values), dims=(dim,), attrs=COORDINATE_ATTRS.get(dim, {}))
        for dim, values in coords.items()
    }
    encoding = {"time": {"units": "days since 2000-01-01", "calendar": "standard", "dtype": "int32"}}
    xr.Dataset(coords=coordinates, attrs=attributes).to_zarr(  # which writes the group's attributes anew
        store,
        group=group,
        mode="a",
        zarr_format=3,
        consolidated=False,
        encoding={name: value for name, value in encoding.items() if name in coordinates},
    )
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def has_group(storage: Storage, group: str) -> bool:
    """Say whether a group is there."""
    return storage.read(f"{CUBE}/{group}/zarr.json") is not None


def open_group(storage: Storage, group: str) -> xr.Dataset:
    """Return a group as it is stored: raw counts, nothing read until asked for, no Dask."""
    cube: xr.Dataset = xr.open_zarr(
        storage.zarr_store(), group=group, chunks=None, consolidated=False, mask_and_scale=False, zarr_format=3
    )
    return cube


@dataclass(frozen=True)
class Write:
    """A task that writes its chunks and their record."""

    task: str
    causes: dict[str, str]
    delayed: Delayed
    """Its value is the `ChunkRecord`."""


def write_tasks(
    storage: Storage,
    group: str,
    cube: xr.Dataset,
    variables: Sequence[Variable],
    made_by: Sequence[Task] | None = None,
    *,
    pixels: int,
    cause: str = "",
) -> list[Write]:
    """Return the tasks that write a lazy cube, whole chunks each, to a group that `prepare_group` made ready.

    With `made_by`, all that a task makes is written by one; what no task makes keeps its fill.
    """
    tasks = made_by if made_by is not None else _chunk_by_chunk(cube, variables, pixels)
    write = called_often(_write, group.partition("/")[0])
    writes = []
    for task in tasks:
        causes = {"step": cause} | ({"inputs": task.cause} if task.cause else {})
        writes.append(Write(task.name, causes, write(storage, group, task.name, causes, task.result, task.parts)))
    return writes


def _chunk_by_chunk(cube: xr.Dataset, variables: Sequence[Variable], pixels: int) -> list[Task]:
    """Return a task for each block of each variable, of whole stored chunks."""
    block = called_often(_named, "block")
    tasks = []
    for variable in variables:
        array = cube[variable.name].transpose(*variable.dims).data
        chunks = chunk_shape(variable, dict(zip(variable.dims, array.shape, strict=True)), pixels)
        starts = [_starts(lengths) for lengths in array.chunks]
        if any(start % chunk for along, chunk in zip(starts, chunks, strict=True) for start in along):
            array = array.rechunk(chunks, method="tasks")
            starts = [_starts(lengths) for lengths in array.chunks]
        blocks = array.to_delayed()
        for index in itertools.product(*(range(n) for n in blocks.shape)):
            region = tuple(
                slice(starts[axis][i], starts[axis][i] + array.chunks[axis][i]) for axis, i in enumerate(index)
            )
            name = "-".join([variable.name, *(f"{part.start:05d}" for part in region)])
            tasks.append(Task(name, block(variable.name, blocks[index]), (Part(variable.name, variable.name, region),)))
    return tasks


def _named(name: str, block: npt.NDArray[np.generic]) -> Result:
    return {name: block}


def _starts(lengths: tuple[int, ...]) -> list[int]:
    return [0, *itertools.accumulate(lengths)][:-1]


def _write(
    storage: Storage, group: str, task: str, causes: dict[str, str], result: Result | Stream, parts: Sequence[Part]
) -> ledger.ChunkRecord:
    objects: ledger.Objects = {}
    size, notes = 0, None

    def encoded() -> Iterator[tuple[str, bytes | None]]:
        nonlocal size, notes
        arrays: dict[str, zarr.Array[Any]] = {}
        pieces = result.pieces() if isinstance(result, Stream) else _whole(result, parts)
        while True:
            try:
                part, block = next(pieces)
            except StopIteration as end:
                notes = end.value
                return
            if part.variable not in arrays:
                arrays[part.variable] = zarr.open_array(storage.zarr_store(), path=f"{group}/{part.variable}", mode="r")
            size += block.nbytes
            for key, content in _encoded(arrays[part.variable], part.region, block):
                if content is not None:
                    objects[key] = len(content), digest_of(content)
                yield f"{CUBE}/{key}", content

    tags = storage.write_all(encoded())
    if isinstance(result, Stream):
        _give_back_freed_memory()
    failed = 0 if isinstance(result, Stream) else int(result.get(FAILED, 0))
    tags = {key.removeprefix(f"{CUBE}/"): tag for key, tag in tags.items()}
    record = ledger.ChunkRecord(task, causes, objects, notes, failed, size, ledger.now(), tags=tags)
    ledger.write_chunk(storage, group, record)
    return record


def _give_back_freed_memory() -> None:
    """Give the system what a large task has freed: the C library would keep it in pieces too small for the next.

    For small tasks it rather keeps it (`clusters.this_machine.CLUSTER_SETTINGS`). Other C libraries than glibc decide
    for themselves.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _whole(result: Result, parts: Sequence[Part]) -> Pieces:
    for part in parts:
        yield part, result[part.key]
    return result.get(NOTES)


def _encoded(
    array: zarr.Array[Any], region: tuple[slice, ...], block: npt.NDArray[np.generic]
) -> Iterator[tuple[str, bytes | None]]:
    """Yield the objects of a region of whole chunks as zarr would store them, None where all is fill.

    Half of zarr's own cost, which copies each chunk twice more and hands it from thread to thread.
    """
    spans = [part.indices(length)[:2] for part, length in zip(region, array.shape, strict=True)]
    if any(
        start % chunk or (stop % chunk and stop != length)
        for (start, stop), chunk, length in zip(spans, array.chunks, array.shape, strict=True)
    ):
        raise ValueError(f"{array.path}: {region} is not of whole chunks {array.chunks}")
    typesize = array.dtype.itemsize
    blosc = Blosc("lz4", 5, Blosc.SHUFFLE if typesize > 1 else Blosc.NOSHUFFLE, typesize=typesize)  # as in _metadata
    firsts = (range(start, stop, chunk) for (start, stop), chunk in zip(spans, array.chunks, strict=True))
    for first in itertools.product(*firsts):
        inner = tuple(
            slice(at - start, min(at + chunk, stop) - start)
            for at, (start, stop), chunk in zip(first, spans, array.chunks, strict=True)
        )
        chunk = np.ascontiguousarray(block[inner])
        place = tuple(at // size for at, size in zip(first, array.chunks, strict=True))
        key = f"{array.path}/{array.metadata.encode_chunk_key(place)}"
        if _is_fill(chunk, array.fill_value):
            yield key, None
            continue
        if chunk.shape != array.chunks:  # at the array's end
            whole = np.full(array.chunks, array.fill_value, array.dtype)
            whole[tuple(slice(n) for n in chunk.shape)] = chunk
            chunk = whole
        content = blosc.encode(chunk)
        yield key, content + google_crc32c.value(content).to_bytes(4, "little")


def _is_fill(chunk: npt.NDArray[Any], fill: Any) -> bool:
    if np.isnan(fill):
        return bool(np.isnan(chunk.flat[0]) and np.isnan(chunk).all())  # a look at one pixel is mostly enough
    return bool(chunk.flat[0] == fill and (chunk == fill).all())
