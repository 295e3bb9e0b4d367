"""The one seam between block functions and Dask: a task reads its window from the store and returns its block."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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
    """A `Result`, or a `Stream` where that would be too large to hold."""
    parts: tuple[Part, ...]
    cause: str = ""
    """Digest of what it alone depends on, beside what its whole step does."""


Pieces = Generator[tuple[Part, npt.NDArray[np.generic]], None, Any]
"""Arrays of whole chunks, one after the other; what it returns in the end are the notes."""


@dataclass(frozen=True)
class Stream:
    """A result that is made and written piece by piece, where it is written."""

    function: Callable[..., Pieces]
    arguments: tuple[Any, ...]

    def pieces(self) -> Pieces:
        """Make the pieces."""
        return self.function(*self.arguments)


@dataclass(frozen=True)
class Lazy:
    """A cube that is described and not yet computed, and the tasks that make it."""

    cube: xr.Dataset
    tasks: tuple[Task, ...]


def called_often(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """Return what makes the tasks that call a function again and again: of arguments, one task.

    To a scheduler they are one group, called `name` (or as the function): under that name the dashboard shows them, and
    how long they take is learnt from their like alone.

    >>> double = called_often(lambda number: 2 * number, "double")
    >>> three, four = double(3), double(4)
    >>> (four.compute(), three.key[0] == four.key[0], three.key[1], four.key[1])
    (8, True, 0, 1)
    """
    call, group = delayed(function, pure=False, traverse=False), f"{name or function.__name__}-{uuid.uuid4().hex}"
    numbers = itertools.count()

    def task(*arguments: Any) -> Any:
        return call(*arguments, dask_key_name=(group, next(numbers)))

    return task


def map_windows(
    function: Callable[..., Block],
    cubes: Sequence[xr.Dataset],
    writes: Sequence[Variable],
    sizes: Mapping[str, int],
    *,
    block: int,
    halo: int | tuple[int, int] = 0,
    days: int | None = None,
    overpasses: bool = False,
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
        Pixels around a block that the function sees too, along y and x where they differ; clipped at the cube's edge,
        cut off from its result.
    days
        Most days that a task sees and makes of cubes and variables that have days; all of them if left out.
    overpasses
        Whether each overpass has tasks of its own, which see and make only that one.
    wanted
        (y, x) bool: blocks without any wanted pixel are not computed and hold the fill values.
    note
        What to note of a block, as plain data: called with all arrays that `function` returned, with the block's
        wanted pixels as `wanted`, and with its place in the cube as `at`, a slice for each dimension that is cut.

    Returns
    -------
    The cube as Dask arrays, one chunk a block; and its tasks, one a block that has a wanted pixel.
    """
    lengths = dict(sizes) | {"y": cubes[0].sizes["y"], "x": cubes[0].sizes["x"]}
    steps = {"y": block, "x": block} | ({"time": days} if days else {}) | ({"overpass": 1} if overpasses else {})
    margin = dict(zip("yx", halo if isinstance(halo, tuple) else (halo, halo), strict=True))
    names = tuple(variable.name for variable in writes)
    call = called_often(_call, "window")
    tasks: list[Task] = []
    pieces: dict[str, dict[tuple[int, ...], da.Array]] = {name: {} for name in names}
    for own in _cut(lengths, steps):
        rows, cols = own["y"], own["x"]
        height, width = rows.stop - rows.start, cols.stop - cols.start
        own_wanted = np.ones((height, width), bool) if wanted is None else wanted[rows, cols]
        task = None
        if own_wanted.any():
            around = {
                dim: slice(max(own[dim].start - margin[dim], 0), min(own[dim].stop + margin[dim], lengths[dim]))
                for dim in "yx"
            }
            inner = tuple(slice(own[dim].start - around[dim].start, own[dim].stop - around[dim].start) for dim in "yx")
            windows = [cube.isel(own | around, missing_dims="ignore") for cube in cubes]
            noting = partial(note, wanted=own_wanted, at=own) if note is not None else None
            task = call(function, windows, names, inner, noting)
            regions = {v.name: tuple(own.get(dim, slice(None)) for dim in v.dims) for v in writes}
            tasks.append(Task(_place(own), task, tuple(Part(name, name, regions[name]) for name in names)))
        for variable in writes:
            shape = tuple(own[dim].stop - own[dim].start if dim in own else lengths[dim] for dim in variable.dims)
            pieces[variable.name][tuple(own[dim].start if dim in own else 0 for dim in variable.dims)] = (
                da.full(shape, variable.fill_value, dtype=variable.dtype, chunks=shape)
                if task is None
                else da.from_delayed(task[variable.name], shape, dtype=np.dtype(variable.dtype))
            )
    joined = {v.name: (v.dims, joined_pieces(pieces[v.name]), v.attrs) for v in writes}
    return Lazy(xr.Dataset(joined), tuple(tasks))


def _cut(lengths: Mapping[str, int], steps: Mapping[str, int]) -> Iterator[dict[str, slice]]:
    """Yield the blocks of a cube that is cut along some dimensions, rows and columns last.

    >>> [(block["x"].start, block["x"].stop) for block in _cut({"y": 1, "x": 5}, {"y": 1, "x": 3})]
    [(0, 3), (3, 5)]
    """
    dims = sorted(steps, key=["time", "overpass", "y", "x"].index)
    spans = [
        [slice(at, min(at + steps[dim], lengths[dim])) for at in range(0, lengths[dim], steps[dim])] for dim in dims
    ]
    for block in itertools.product(*spans):
        yield dict(zip(dims, block, strict=True))


def _place(own: Mapping[str, slice]) -> str:
    """Return the name of a block, unique within its cube.

    >>> _place({"y": slice(0, 100), "x": slice(200, 300)})
    'y00000-x00200'
    """
    letters = {"time": "t", "overpass": "o", "y": "y", "x": "x"}
    widths = {"time": 3, "overpass": 1, "y": 5, "x": 5}
    return "-".join(f"{letters[dim]}{part.start:0{widths[dim]}d}" for dim, part in own.items())


def joined_pieces(pieces: Mapping[tuple[int, ...], da.Array]) -> da.Array:
    """Return the array whose pieces begin at the given places."""
    starts = [sorted(set(axis)) for axis in zip(*pieces, strict=True)]

    def nested(place: tuple[int, ...]) -> Any:
        if len(place) == len(starts):
            return pieces[place]
        return [nested((*place, start)) for start in starts[len(place)]]

    whole: da.Array = da.block(nested(()))
    return whole


def _call(
    function: Callable[..., Block],
    windows: list[xr.Dataset],
    names: tuple[str, ...],
    inner: tuple[slice, slice],
    note: Callable[[Block], Any] | None,
) -> Result:
    result = function(*(window.load() for window in windows))
    block: Block = {name: np.ascontiguousarray(array[..., *inner]) for name, array in result.items()}
    made: Block = {name: block[name] for name in names}
    return {**made} if note is None else {**made, NOTES: note(block)}
