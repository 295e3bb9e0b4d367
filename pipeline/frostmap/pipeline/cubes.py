"""The cube: groups of a Zarr v3 store with CF attributes, created whole and written chunk by chunk."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from dask.delayed import Delayed, delayed
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from zarr.codecs import BloscCodec

from frostmap.pipeline.blocks import Block, Task
from frostmap.pipeline.schema import OVERPASSES, Variable

DAYS_PER_CHUNK = 46
"""Eight chunks a year: reading a tile's granules of one platform for a chunk takes some 660 MB at 1 km."""

COORDINATE_ATTRS: dict[str, dict[str, Any]] = {
    "time": {"long_name": "UTC day"},
    "overpass": {
        "long_name": "satellite overpass",
        "flag_values": list(range(len(OVERPASSES))),
        "flag_meanings": " ".join(OVERPASSES),
    },
    "composite": {"long_name": "16-day composite of the year"},
    "interval": {"long_name": "16-day interval of the year"},
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


def create_group(
    store: Path,
    group: str,
    variables: Sequence[Variable],
    geobox: GeoBox,
    coords: Mapping[str, npt.ArrayLike],
    pixels: int,
) -> None:
    """Create (or empty) a group: arrays without data, coordinates, grid mapping."""
    root = zarr.open_group(store, mode="a", zarr_format=3)
    node = root.create_group(group, overwrite=True, attributes={"Conventions": "CF-1.11"})
    sizes = {"y": geobox.shape.y, "x": geobox.shape.x} | {dim: np.size(values) for dim, values in coords.items()}
    for variable in variables:
        itemsize = np.dtype(variable.dtype).itemsize
        codec = BloscCodec(cname="lz4", shuffle="shuffle" if itemsize > 1 else "noshuffle", typesize=itemsize)
        node.create_array(
            variable.name,
            shape=tuple(sizes[dim] for dim in variable.dims),
            chunks=chunk_shape(variable, sizes, pixels),
            dtype=variable.dtype,
            compressors=codec,
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
    xr.Dataset(coords=coordinates).to_zarr(
        store,
        group=group,
        mode="a",
        zarr_format=3,
        consolidated=False,
        encoding={name: value for name, value in encoding.items() if name in coordinates},
    )


def open_group(store: Path, group: str) -> xr.Dataset:
    """Return a group as it is stored: raw counts, nothing read until asked for, no Dask."""
    cube: xr.Dataset = xr.open_zarr(
        store, group=group, chunks=None, consolidated=False, mask_and_scale=False, zarr_format=3
    )
    return cube


def write_tasks(
    store: Path, group: str, cube: xr.Dataset, variables: Sequence[Variable], made_by: Sequence[Task] | None = None
) -> list[Delayed]:
    """Return the tasks that write a lazy cube, whole chunks each; every task returns the bytes that it wrote.

    With `made_by`, all that a task makes is written by one; what no task makes keeps its fill.
    """
    targets = {v.name: zarr.open_array(store, path=f"{group}/{v.name}", mode="r+") for v in variables}
    if made_by is not None:
        write_all = delayed(_write_all, pure=False, traverse=False)
        return [
            write_all(task.result, [(targets[p.variable], p.key, p.region) for p in task.parts]) for task in made_by
        ]
    write = delayed(_write, pure=False)
    tasks = []
    for variable in variables:
        array, target = cube[variable.name].transpose(*variable.dims).data, targets[variable.name]
        starts = [_starts(lengths) for lengths in array.chunks]
        if any(start % chunk for along, chunk in zip(starts, target.chunks, strict=True) for start in along):
            array = array.rechunk(target.chunks, method="tasks")
            starts = [_starts(lengths) for lengths in array.chunks]
        blocks = array.to_delayed()
        for index in itertools.product(*(range(n) for n in blocks.shape)):
            region = tuple(
                slice(starts[axis][i], starts[axis][i] + array.chunks[axis][i]) for axis, i in enumerate(index)
            )
            tasks.append(write(target, region, blocks[index]))
    return tasks


def _write_all(result: Block, parts: list[tuple[Any, str, tuple[slice, ...]]]) -> int:
    return sum(_write(target, region, result[key]) for target, key, region in parts)


def _starts(lengths: tuple[int, ...]) -> list[int]:
    return [0, *itertools.accumulate(lengths)][:-1]


def _write(target: Any, region: tuple[slice, ...], block: npt.NDArray[np.generic]) -> int:
    target[region] = block
    return block.nbytes
