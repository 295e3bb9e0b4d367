"""Series of single pixels, read chunk by chunk without Zarr's own machinery: a click must not wait."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.blosc import Blosc

from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.storage import CUBE, Storage

Stored = npt.NDArray[Any]

_CHECKSUM_BYTES = 4
_BLOSC = Blosc()


def read_series(storage: Storage, arrays: Sequence[Any], row: int, column: int, threads: Executor) -> list[Stored]:
    """Return the series of a pixel in several arrays, as stored.

    Parameters
    ----------
    storage
        Where the cube is.
    arrays
        Zarr arrays (time, overpass, y, x) of the cube, as `cubes` writes them: Blosc, then CRC-32C.
    row, column
        The pixel.
    threads
        Where chunks are read and decoded: all that hold the pixel, of all arrays, at once.

    Returns
    -------
    list of (time, overpass)
        Fill where a chunk is not stored.

    Raises
    ------
    DataIncomplete
        A chunk is not as it was written.
    """
    found = [np.full(array.shape[:2], array.fill_value, array.dtype) for array in arrays]
    waiting = []
    for number, array in enumerate(arrays):
        days, looks, height, width = array.chunks
        for t in range(-(-array.shape[0] // days)):
            for k in range(-(-array.shape[1] // looks)):
                name = array.metadata.encode_chunk_key((t, k, row // height, column // width))
                key = f"{CUBE}/{array.path}/{name}"
                at = (slice(None), slice(None), row % height, column % width)
                waiting.append((number, t, k, threads.submit(_pixel_of, storage, key, array.dtype, array.chunks, at)))
    for number, t, k, coming in waiting:
        some = coming.result()
        if some is not None:
            days, looks = arrays[number].chunks[:2]
            part = found[number][t * days : (t + 1) * days, k * looks : (k + 1) * looks]
            part[:] = some[: part.shape[0], : part.shape[1]]
    return found


def _pixel_of(
    storage: Storage, key: str, dtype: np.dtype[Any], shape: tuple[int, ...], at: tuple[slice | int, ...]
) -> Stored | None:
    content = storage.read(key)
    if content is None:
        return None
    encoded, checksum = content[:-_CHECKSUM_BYTES], int.from_bytes(content[-_CHECKSUM_BYTES:], "little")
    if google_crc32c.value(encoded) != checksum:
        raise DataIncomplete(
            "a chunk of the cube is damaged",
            where=key,
            found="another checksum than was written",
            remedy="find all that are with `frostmap verify`, and make them again with `frostmap run`",
        )
    block = np.frombuffer(_BLOSC.decode(encoded), dtype).reshape(shape)
    return block[at].copy()


def open_array(storage: Storage, group: str, name: str) -> Any:
    """Return an array of the cube; None where it is not there."""
    try:
        return zarr.open_array(storage.zarr_store(), path=f"{group}/{name}", mode="r")
    except (FileNotFoundError, KeyError):
        return None
