"""The one seam between block functions and Dask: a task reads its window from the store and returns its block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import Delayed, delayed

from frostmap.pipeline.schema import Variable

Block = dict[str, npt.NDArray[np.generic]]

NOTES, FAILED = "notes", "failed"
"""Keys of a task's result that are not arrays: what it has to say, as plain data; how many of its inputs failed."""

Result = dict[str, Any]
"""A block, with notes where there are any."""


@dataclass(frozen=True)
class Part:
    """One array of a task's result, and where in the cube it belongs."""

    variable: str
    key: str
    """Its name in the result."""
    region: tuple[slice, ...]


@dataclass(frozen=True)
class Task:
    """A task that makes several arrays at once. It is written as one, so that nothing is made twice or sent around."""

    name: str
    """Unique within its step; also of its record."""
    result: Delayed
    """A `Result`."""
    parts: tuple[Part, ...]
    cause: str = ""
    """Digest of what it alone depends on, beside what its whole step does."""


@dataclass(frozen=True)
class Lazy:
    """A cube that is described and not yet computed, and the tasks that make it."""

    cube: xr.Dataset
    tasks: tuple[Task, ...]


def map_windows(
    function: Callable[..., Block],
    cubes: Sequence[xr.Dataset],
    writes: Sequence[Variable],
    sizes: Mapping[str, int],
    *,
    block: int,
    halo: int = 0,
    wanted: npt.NDArray[np.bool_] | None = None,
    note: Callable[..., Any] | None = None,
) -> Lazy:
    """Return the lazy result of a function of windows of cubes.

    Parameters
    ----------
    function
        Takes one loaded window (an `xarray.Dataset`) of each cube; returns an array for each of `writes`, as large
        as the window in y and x.
    cubes
        Datasets on the same y and x, backed by a store (not by Dask): a window is read inside its task, halo and
        all, so that no task waits for a neighbour's.
    writes
        Variables that the function returns.
    sizes
        Length of each dimension of `writes` other than y and x.
    block
        Pixels along y and x that a task is responsible for.
    halo
        Pixels around a block that the function sees too; clipped at the cube's edge, cut off from its result.
    wanted
        (y, x) bool: blocks without any wanted pixel are not computed and hold the fill values.
    note
        What to note of a block, as plain data, from its arrays and, as `wanted`, its wanted pixels.

    Returns
    -------
    The cube as Dask arrays, one chunk a block; and its tasks, one a block that has a wanted pixel.
    """
    height, width = cubes[0].sizes["y"], cubes[0].sizes["x"]
    tops, lefts = range(0, height, block), range(0, width, block)
    names = tuple(variable.name for variable in writes)
    call = delayed(_call, pure=False, traverse=False)

    tasks: list[Task] = []
    pieces: dict[str, list[list[da.Array]]] = {name: [[] for _ in tops] for name in names}
    for (row, top), left in itertools.product(enumerate(tops), lefts):
        bottom, right = min(top + block, height), min(left + block, width)
        own_wanted = np.ones((bottom - top, right - left), bool) if wanted is None else wanted[top:bottom, left:right]
        window = {
            "y": slice(max(top - halo, 0), min(bottom + halo, height)),
            "x": slice(max(left - halo, 0), min(right + halo, width)),
        }
        inner = (
            slice(top - window["y"].start, bottom - window["y"].start),
            slice(left - window["x"].start, right - window["x"].start),
        )
        noting = partial(note, wanted=own_wanted) if note is not None else None
        windows = [cube.isel(window) for cube in cubes]
        task = call(function, windows, names, inner, noting) if own_wanted.any() else None
        if task is not None:
            own = {"y": slice(top, bottom), "x": slice(left, right)}
            regions = {v.name: tuple(own.get(dim, slice(None)) for dim in v.dims) for v in writes}
            place = f"y{top:05d}-x{left:05d}"
            tasks.append(Task(place, task, tuple(Part(name, name, regions[name]) for name in names)))
        for variable in writes:
            lengths = dict(sizes) | {"y": bottom - top, "x": right - left}
            shape = tuple(lengths[dim] for dim in variable.dims)
            piece = (
                da.full(shape, variable.fill_value, dtype=variable.dtype, chunks=shape)
                if task is None
                else da.from_delayed(task[variable.name], shape, dtype=np.dtype(variable.dtype))
            )
            pieces[variable.name][row].append(piece)

    def joined(variable: Variable) -> da.Array:
        y, x = variable.dims.index("y"), variable.dims.index("x")
        rows = [da.concatenate(row, axis=x) for row in pieces[variable.name]]
        whole: da.Array = da.concatenate(rows, axis=y)
        return whole

    return Lazy(xr.Dataset({v.name: (v.dims, joined(v), v.attrs) for v in writes}), tuple(tasks))


def _call(
    function: Callable[..., Block],
    windows: list[xr.Dataset],
    names: tuple[str, ...],
    inner: tuple[slice, slice],
    note: Callable[[Block], Any] | None,
) -> Result:
    result = function(*(window.load() for window in windows))
    block: Block = {name: np.ascontiguousarray(result[name][..., *inner]) for name in names}
    return {**block} if note is None else {**block, NOTES: note(block)}
