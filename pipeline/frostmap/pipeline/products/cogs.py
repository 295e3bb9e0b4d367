"""Cloud-optimised GeoTIFFs, written block by block: a plain file first, and the one with overviews from that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from frostmap.pipeline.products.grids import BLOCK, TargetGrid
from frostmap.pipeline.products.layers import Layer

PLAIN = {"blockxsize": BLOCK, "blockysize": BLOCK, "tiled": True, "compress": "lzw", "bigtiff": "if_safer"}
"""How the file is kept that a COG is made from."""


class CogFile:
    """A COG in the making: a context that takes blocks, and leaves the finished file if all went well."""

    def __init__(self, path: Path, layer: Layer, grid: TargetGrid, tags: Mapping[str, str]) -> None:
        self.path, self.layer = path, layer
        self._plain = path.with_suffix(".plain.tif")
        self._draft = path.with_suffix(".draft.tif")
        height, width = grid.shape
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = rasterio.open(
            self._plain,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype=layer.dtype,
            nodata=layer.missing,
            crs=str(grid.geobox.crs),
            transform=grid.geobox.affine,
            sparse_ok=True,  # blocks that nobody writes hold nothing, and take no room
            **PLAIN,
        )
        self._file.update_tags(**tags)
        self._file.set_band_description(1, layer.variable.long_name)
        self._file.set_band_unit(1, layer.variable.units)
        if layer.legend:
            self._file.write_colormap(1, {code: _rgba(entry.colour) for code, entry in layer.legend.items()})
            self._file.update_tags(
                1,
                flag_values=", ".join(map(str, layer.legend)),
                flag_meanings=" ".join(entry.name.replace(" ", "_") for entry in layer.legend.values()),
            )

    def write(self, rows: slice, columns: slice, values: npt.NDArray[np.generic]) -> None:
        """Write a block."""
        self._file.write(values.astype(self.layer.dtype), 1, window=Window.from_slices(rows, columns))

    def __enter__(self) -> Self:
        """Return the file, open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Make the COG; after an error, leave nothing."""
        self._file.close()
        try:
            if kind is None:
                self._finish()
        finally:
            for scratch in (self._plain, self._draft):
                scratch.unlink(missing_ok=True)

    def _finish(self) -> None:
        rasterio.shutil.copy(
            self._plain,
            self._draft,
            driver="COG",
            blocksize=BLOCK,
            compress="deflate",
            predictor="no" if self.layer.categorical else "yes",
            overview_resampling="mode" if self.layer.categorical else "average",
            overviews="ignore_existing",
            bigtiff="if_safer",
            statistics="yes",
        )
        self._draft.replace(self.path)


def _rgba(colour: str) -> tuple[int, int, int, int]:
    """Return a colour in numbers.

    >>> _rgba("#0072b2")
    (0, 114, 178, 255)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue, 255
