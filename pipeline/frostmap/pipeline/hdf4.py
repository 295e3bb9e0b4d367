"""Reading layers of HDF-EOS2 granules, after checking that the file is sound and the one that is expected.

Arrays are read here, checksums and all; the HDF4 library is asked for their types and shapes. What the checks in
`hdf4_elements` do not know can still bring it down: `hdf4_process` keeps it away from the process that asks.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC

from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError
from frostmap.pipeline.hdf4_elements import Hdf4File, StoredArray
from frostmap.pipeline.hdf_eos import Expected, ExpectedSwath, check_grid, check_identity, check_swath

HDF4_LIBRARY = threading.Lock()
"""Whoever calls pyhdf holds this: the library must be entered by one thread of a process at a time."""

_TYPES = {SDC.INT8: "int8", SDC.UINT8: "uint8", SDC.INT16: "int16", SDC.UINT16: "uint16", SDC.FLOAT32: "float32"}


class Layer(NamedTuple):
    """A layer that a file must have."""

    name: str
    """Its scientific data set."""

    dtype: str
    """Type of its stored numbers."""


def read_layers(
    path: Path, expected: Expected, layers: Sequence[Layer], into: Sequence[NDArray[Any]] | None = None
) -> list[NDArray[Any]]:
    """Read layers of an HDF-EOS2 file in this process, after checking that it is the expected one.

    Parameters
    ----------
    path
        The file.
    expected
        What it must be. Product, version, day and tile are compared with what the file's own metadata states, as far as
        it states them; the grid must be there and lie in place.
    layers
        What to read.
    into
        Arrays of the layers' types and the expected shape to read into; by default new ones.

    Returns
    -------
    list of (y, x) arrays
        The stored numbers of each layer, fills left in. A file that is anything else than whole and expected raises
        `GranuleError`; one that is damaged in a way that the checks do not know may also end the process.
    """
    shape = (expected.pixels, expected.pixels)
    arrays = list(into) if into is not None else [np.empty(shape, layer.dtype) for layer in layers]
    with _explained(path):
        file = Hdf4File(path, path.read_bytes())
        check_grid(_text(file, "GROUP=GridStructure"), path, expected)
        check_identity(_inventory(file), path, expected)
        _read_all(file, path, layers, arrays)
    return arrays


def read_swath(
    path: Path, expected: ExpectedSwath, layers: Sequence[Layer], into: Sequence[NDArray[Any]] | None = None
) -> list[NDArray[Any]]:
    """Read layers of an HDF-EOS2 swath in this process, after checking that it is the expected one.

    Parameters
    ----------
    path
        The file.
    expected
        What it must be. Product, version, day and time are compared with what the file's own metadata states, as far as
        it states them; the swath must be there, with all layers on the same cells.
    layers
        What to read.
    into
        Flat arrays of the layers' types, as long as the largest swath that may be, to read into; by default new ones.

    Returns
    -------
    list of (row, column) arrays
        The stored numbers of each layer, fills left in; views of `into`. Errors as of `read_layers`.
    """
    with _explained(path):
        file = Hdf4File(path, path.read_bytes())
        shape = check_swath(_text(file, "GROUP=SwathStructure"), path, expected, [layer.name for layer in layers])
        check_identity(_inventory(file), path, expected)
        n = shape[0] * shape[1]
        flat = into if into is not None else [np.empty(n, layer.dtype) for layer in layers]
        arrays = [array[:n].reshape(shape) for array in flat]
        _read_all(file, path, layers, arrays)
    return arrays


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what damage raises into what a user can act on."""
    try:
        yield
    except (HDF4Error, ValueError, OverflowError, struct.error, isal_zlib.IsalError) as error:  # type: ignore[misc]  # a class, whatever its stubs say
        raise GranuleError(
            "an HDF granule with damaged content", where=path, found=error, remedy=DOWNLOAD_AGAIN
        ) from error
    except OSError as error:
        raise GranuleError("an HDF granule that cannot be read", where=path, found=error) from error


def _text(file: Hdf4File, part: str) -> str:
    return next((text for text in file.texts() if part in text), "")


def _inventory(file: Hdf4File) -> str:
    return next((text for text in file.texts() if "INVENTORYMETADATA" in text[:64]), "")


def _read_all(file: Hdf4File, path: Path, layers: Sequence[Layer], arrays: Sequence[NDArray[Any]]) -> None:
    found, stored = _types_and_shapes(path), file.arrays()
    for layer, array in zip(layers, arrays, strict=True):
        _check_layer(found, stored, path, layer, array.shape)
        _read(file, path, layer, stored[layer.name], array)


def _types_and_shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Ask the library for type and shape of each layer."""
    with HDF4_LIBRARY:
        file = SD(str(path), SDC.READ)
        try:
            return {
                name: (_TYPES.get(code, f"HDF4 type {code}"), tuple(int(size) for size in np.atleast_1d(shape)))
                for name, (_, shape, code, _) in file.datasets().items()
            }
        finally:
            file.end()


def _check_layer(
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    stored: Mapping[str, StoredArray],
    path: Path,
    layer: Layer,
    wanted_shape: tuple[int, ...],
) -> None:
    if layer.name not in found:
        raise GranuleError(
            "an HDF granule without a wanted layer",
            where=path,
            found=", ".join(sorted(found)) or "no layers",
            wanted=layer.name,
        )
    dtype, shape = found[layer.name]
    if (dtype, shape) != (layer.dtype, wanted_shape):
        raise GranuleError(
            f"layer {layer.name} is not stored as the product's definition says",
            where=path,
            found=f"{dtype} {shape}",
            wanted=f"{layer.dtype} {wanted_shape}",
        )
    if layer.name not in stored:
        raise GranuleError(
            f"layer {layer.name} is stored in a way that the archive does not use, or its description is damaged",
            where=path,
            wanted="numbers as they are, or deflated as a whole or in chunks",
            remedy=DOWNLOAD_AGAIN,
        )


def _read(file: Hdf4File, path: Path, layer: Layer, stored: StoredArray, array: NDArray[Any]) -> None:
    stored_type = np.dtype(layer.dtype).newbyteorder(">")
    height, width = stored.block or array.shape
    if (stored.shape or array.shape) != array.shape or height > array.shape[0] or width > array.shape[1]:
        raise GranuleError(
            f"layer {layer.name} is in chunks of another array",
            where=path,
            found=f"{stored.shape} in chunks of {height} x {width}",
            wanted=str(array.shape),
            remedy=DOWNLOAD_AGAIN,
        )
    size = height * width * stored_type.itemsize
    for piece in stored.pieces:
        content = b"".join(map(file.bytes_of, piece.elements))
        if piece.is_deflated:
            content = _inflate(content, size, layer, path)
        if len(content) != size:
            raise _of_another_size(layer, path, len(content), size)
        numbers = np.frombuffer(content, stored_type).reshape(height, width)
        place = array[piece.row : piece.row + height, piece.column : piece.column + width]
        place[...] = numbers[: place.shape[0], : place.shape[1]]  # chunks at the edges may stand out


def _inflate(deflated: bytes, size: int, layer: Layer, path: Path) -> bytes:
    if len(deflated) > size * 1.01 + 64:  # more than deflate adds to anything: it would grow beyond measure
        raise _of_another_size(layer, path, len(deflated), size)
    return isal_zlib.decompress(deflated, bufsize=size)


def _of_another_size(layer: Layer, path: Path, found: int, wanted: int) -> GranuleError:
    return GranuleError(
        f"layer {layer.name} is not of its size",
        where=path,
        found=f"{found} bytes",
        wanted=f"{wanted} bytes",
        remedy=DOWNLOAD_AGAIN,
    )
