"""Reading granules with the HDF library in a process of its own, so that a damaged file cannot take a worker down."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from frostmap.catalogs.collections import Collection
from frostmap.catalogs.granules import Granule
from frostmap.pipeline.granule_files import read_granule
from frostmap.pipeline.hdf4_process import TIMEOUT_S, Hdf4Process, of_this_process


class GranuleReader:
    """Reads granules as `read_granule` does, HDF files in another process; GeoTIFFs are read in this one.

    Threads may share it; they wait for each other. The other process is started by the first HDF file and again after a
    file ended it; leaving the context ends it.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, process: Hdf4Process | None = None) -> None:
        self._process = process or Hdf4Process(timeout_s)

    def read(
        self,
        granule: Granule | str | Path,
        collection: Collection,
        bands: Iterable[str] | None = None,
        *,
        pixels_per_tile: int | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Read layers of a granule as they are stored: see `read_granule`.

        A file that crashes the HDF library, or keeps it busy for longer than the time-out, raises `GranuleError` like
        any other damaged one.
        """
        return read_granule(
            granule, collection, bands, pixels_per_tile=pixels_per_tile, read_hdf=self._process.read_layers
        )

    def close(self) -> None:
        """End the other process; reading again starts one."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@functools.cache
def _reader_of(process_id: int) -> GranuleReader:  # noqa: ARG001 - a fork must not talk to its parent's
    return GranuleReader(process=of_this_process())


def reader() -> GranuleReader:
    """Return the reader that all of this process share: started at first use, ended when this process exits."""
    return _reader_of(os.getpid())
