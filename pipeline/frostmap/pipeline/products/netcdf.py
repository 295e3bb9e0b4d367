"""NetCDF-4 files after the CF conventions, a map each with all its layers, written block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.products.grids import BLOCK, TargetGrid
from frostmap.pipeline.products.layers import Layer

CONVENTIONS = "CF-1.11"
GRID_MAPPING = "spatial_ref"
EPOCH = date(2000, 1, 1)
"""From which days are counted."""

UDUNITS = {"ln(m)": "ln(re 1 m)"}
"""Units as CF writes them, where the cube writes them otherwise."""

STANDARD_NAMES = {"elevation": "surface_altitude", "ndvi": "normalized_difference_vegetation_index"}
"""Of variables that CF has a name for."""


class NetcdfFile:
    """A NetCDF file in the making: a context that takes blocks, and leaves the finished file if all went well."""

    def __init__(
        self, path: Path, layers: Sequence[Layer], grid: TargetGrid, years: Sequence[int], attrs: Mapping[str, str]
    ) -> None:
        self.path, self.layers = path, tuple(layers)
        self._draft = path.with_suffix(".draft.nc")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _library().File(self._draft, "w")
        self._file.attrs.update({"Conventions": CONVENTIONS} | dict(attrs))
        self._write_axes(grid)
        self._write_time(years)
        self._names: dict[str, str] = {}
        for layer in layers:
            name = layer.variable.name
            self._names[layer.name] = name if name not in self._names.values() else layer.name
            self._create(layer, grid)

    def write(self, layer: Layer, rows: slice, columns: slice, values: npt.NDArray[np.generic]) -> None:
        """Write a block of a layer."""
        self._file.variables[self._names[layer.name]][rows, columns] = values.astype(layer.dtype)

    def __enter__(self) -> Self:
        """Return the file, open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Finish the file; after an error, leave nothing."""
        self._file.close()
        if kind is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink(missing_ok=True)

    def _write_axes(self, grid: TargetGrid) -> None:
        """Write the coordinates of the cells' centres, and what they are coordinates of."""
        a, _, left, _, e, top = tuple(grid.geobox.affine)[:6]
        height, width = grid.shape
        crs = CRS(str(grid.geobox.crs))
        attributes = axes_of(crs)
        for name, size, first, step in (("y", height, top, e), ("x", width, left, a)):
            self._file.dimensions[name] = size
            centres = first + step * (np.arange(size) + 0.5)
            self._file.create_variable(name, (name,), data=centres)
            self._file.variables[name].attrs.update(attributes[name])
        mapping = self._file.create_variable(GRID_MAPPING, (), data=np.int32(0))
        mapping.attrs.update({name: value for name, value in crs.to_cf().items() if value is not None})
        mapping.attrs["GeoTransform"] = " ".join(repr(float(part)) for part in (left, a, 0.0, top, 0.0, e))

    def _write_time(self, years: Sequence[int]) -> None:
        """Write the span of the years that maps are means of."""
        first, last = date(min(years), 1, 1), date(max(years) + 1, 1, 1)
        bounds = np.array([(first - EPOCH).days, (last - EPOCH).days], np.float64)
        self._file.dimensions["bounds"] = 2
        time = self._file.create_variable("time", (), data=np.float64(bounds.mean()))
        time.attrs.update({
            "standard_name": "time",
            "long_name": "middle of the years that are averaged",
            "units": f"days since {EPOCH}",
            "calendar": "standard",
            "units_metadata": "leap_seconds: none",
            "bounds": "time_bounds",
        })  # fmt: skip
        self._file.create_variable("time_bounds", ("bounds",), data=bounds)

    def _create(self, layer: Layer, grid: TargetGrid) -> None:
        height, width = grid.shape
        created = self._file.create_variable(
            self._names[layer.name],
            ("y", "x"),
            dtype=layer.dtype,
            fillvalue=np.array(layer.missing, layer.dtype)[()],
            chunks=(min(BLOCK, height), min(BLOCK, width)),
            compression="gzip",
            compression_opts=4,
            shuffle=True,
        )
        created.attrs.update(cf_attributes(layer))


def cf_attributes(layer: Layer) -> dict[str, Any]:
    """Return what CF wants to know of a layer.

    Examples
    --------
    >>> from frostmap.pipeline.schema import FROZEN_GROUND
    >>> cf_attributes(Layer("g", "frozen_ground/target", FROZEN_GROUND, "2020", "target"))["flag_meanings"].split()[0]
    'permafrost'
    """
    variable = layer.variable
    attrs: dict[str, Any] = {
        "long_name": variable.long_name,
        "grid_mapping": GRID_MAPPING,
        "coordinates": "time",
        "cell_methods": "area: mode" if layer.categorical else "time: mean area: mean",
    }
    if layer.legend:
        attrs["flag_values"] = np.array(list(layer.legend), layer.dtype)
        attrs["flag_meanings"] = " ".join(entry.name.replace(" ", "_") for entry in layer.legend.values())
        attrs["flag_colors"] = " ".join(entry.colour for entry in layer.legend.values())
    else:
        attrs["units"] = UDUNITS.get(variable.units, variable.units)
    if variable.name in STANDARD_NAMES:
        attrs["standard_name"] = STANDARD_NAMES[variable.name]
    return attrs


def axes_of(crs: CRS) -> dict[str, dict[str, str]]:
    """Return the CF attributes of the axes y and x.

    Examples
    --------
    >>> axes_of(CRS("EPSG:4326"))["x"]["units"]
    'degrees_east'
    """
    if crs.is_geographic:
        return {
            "y": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
            "x": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
        }
    return {
        name: {
            "standard_name": f"projection_{name}_coordinate",
            "long_name": f"{name} of the projection",
            "units": "m",
            "axis": name.upper(),
        }
        for name in ("y", "x")
    }


def _library() -> Any:
    try:
        return import_module("h5netcdf")
    except ImportError as error:
        raise UserError(
            "NetCDF files need a package that is not installed",
            where="--format netcdf",
            wanted="h5netcdf",
            remedy="install it with: pip install 'frostmap[netcdf]'",
        ) from error
