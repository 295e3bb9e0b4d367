"""A run's maps on other grids: each cell takes from the pixels what it shares of their area, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio

from frostmap.kernels.resampling import area_means, area_modes
from frostmap.pipeline.gridded_maps import corners, window_of
from frostmap.pipeline.ledger import now
from frostmap.pipeline.products.citations import citations
from frostmap.pipeline.products.cogs import CogFile
from frostmap.pipeline.products.extents import Survey, Values, by_class, is_known, survey
from frostmap.pipeline.products.grids import TargetGrid, as_source, blocks_of, target_grids
from frostmap.pipeline.products.layers import Layer, layers_of
from frostmap.pipeline.products.netcdf import NetcdfFile
from frostmap.pipeline.products.paper import paper
from frostmap.pipeline.products.prov import write_prov
from frostmap.pipeline.products.stac import write_collection
from frostmap.pipeline.run import Event, Reporter
from frostmap.pipeline.work import Work

Format = Literal["cog", "netcdf"]
FORMATS: tuple[Format, ...] = ("cog", "netcdf")

Sink = Callable[[slice, slice, Values], None]
"""Takes the rows, columns and values of a block."""

BIBTEX, PROV = "citations.bib", "prov.json"

AREAS = "areas.csv"
"""What the areas of classes have become on each grid."""

CACHE_BYTES = 64 << 20
"""What GDAL keeps of files that are being written."""

HALF = 0.5
"""Share of a cell that must have values."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    """By grid."""
    metadata: tuple[Path, ...]
    """The STAC collection, and its items."""
    areas: pd.DataFrame
    """grid, map, class, map_km2, grid_km2, change_km2, change_percent."""
    grids: tuple[TargetGrid, ...]
    layers: tuple[Layer, ...]


def export(
    work: Work,
    folder: Path,
    *,
    grids: Sequence[str] = (),
    only: Sequence[str] = (),
    inputs: bool = False,
    formats: Sequence[Format] = ("cog",),
    licence: str = "other",
    report: Reporter = lambda _event: None,
) -> Exported:
    """Write a finished run's maps on some grids, and the table of what that changes of the classes' areas.

    Numbers are averaged by area, classes are those of the largest area. A cell has a value where at least half of it
    lies on pixels that have one.

    Parameters
    ----------
    work
        The run.
    folder
        Where the files go, GRID/LAYER.tif.
    grids, only, inputs
        Which grids, as in `target_grids`; which layers, as in `layers_of`.
    formats
        cog: a GeoTIFF a layer; netcdf: a file a map with all its layers.
    licence
        SPDX identifier of what is exported, for the STAC collection.
    report
        Called with each `Event`.
    """
    layers = layers_of(work, inputs=inputs, only=only)
    surveyed = survey(work, layers)
    targets = target_grids(work, surveyed.extent, grids)
    files: list[Path] = []
    tables = []
    for target in targets:
        began = time.monotonic()
        report(Event("started", target.name, target.title))
        written, pixels = _export_to(work, folder / target.name, target, layers, formats, report)
        files += written
        tables.append(_areas(work, target, layers, surveyed, pixels))
        report(Event("finished", target.name, target.title, seconds=time.monotonic() - began))
    areas = pd.concat(tables, ignore_index=True)
    draft = folder / f"{AREAS}.draft"
    areas.to_csv(draft, index=False, float_format="%.6g")
    draft.replace(folder / AREAS)
    cited = citations(work)
    (folder / BIBTEX).write_text(cited.as_bibtex(), encoding="utf-8")
    write_prov(work, folder / PROV)
    items = write_collection(work, folder, layers, targets, surveyed.extent, cited, licence)
    return Exported(folder, tuple(files), tuple(items), areas, tuple(targets), tuple(layers))


def _export_to(
    work: Work, folder: Path, target: TargetGrid, layers: Sequence[Layer], formats: Sequence[Format], report: Reporter
) -> tuple[list[Path], dict[str, npt.NDArray[np.int64]]]:
    """Write layers on a grid; return the files, and the pixels of each class by row."""
    pixels = {layer.name: np.zeros((target.shape[0], len(layer.legend)), np.int64) for layer in layers if layer.legend}
    source, blocks = as_source(work.geobox), list(blocks_of(target.shape))
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), ExitStack() as stack:
        arrays = {layer.name: work.open(layer.group)[layer.variable.name] for layer in layers}
        sinks: dict[str, list[Sink]] = {layer.name: [] for layer in layers}
        files = [*_cogs(work, folder, target, layers, stack, sinks)] if "cog" in formats else []
        files += [*_netcdfs(work, folder, target, layers, stack, sinks)] if "netcdf" in formats else []
        for number, (rows, columns) in enumerate(blocks):
            report(Event("progress", target.name, target.title, "", number, len(blocks)))
            window: tuple[slice, slice] | None = rows, columns
            if not target.is_native:
                at_columns, at_rows = corners(source, target.geobox, (rows, columns))
                window = window_of(source, at_columns, at_rows)
            if window is None:
                continue
            for layer in layers:
                block: Values = arrays[layer.name][window].to_numpy()
                if not is_known(block, layer).any():
                    continue
                if not target.is_native:
                    block = resampled(block, layer, at_columns - window[1].start, at_rows - window[0].start)
                for sink in sinks[layer.name]:
                    sink(rows, columns, block)
                if layer.legend:
                    pixels[layer.name][rows] += by_class(block, layer)
    return files, pixels


def _cogs(
    work: Work,
    folder: Path,
    target: TargetGrid,
    layers: Sequence[Layer],
    stack: ExitStack,
    sinks: dict[str, list[Sink]],
) -> Iterator[Path]:
    """Open a COG a layer, and yield their paths."""
    for layer in layers:
        path = folder / f"{layer.name}.tif"
        sinks[layer.name].append(stack.enter_context(CogFile(path, layer, target, tags_of(work, layer))).write)
        yield path


def _netcdfs(
    work: Work,
    folder: Path,
    target: TargetGrid,
    layers: Sequence[Layer],
    stack: ExitStack,
    sinks: dict[str, list[Sink]],
) -> Iterator[Path]:
    """Open a NetCDF file a map, and yield their paths."""
    recipe = work.recipe
    for label in dict.fromkeys(layer.label for layer in layers):
        own = [layer for layer in layers if layer.label == label]
        epoch = own[0].epoch
        epochs = [recipe.epochs.named()[epoch]] if epoch else [*recipe.epochs.named().values()]
        path = folder / (f"{recipe.name}_{label}.nc" if label else f"{recipe.name}.nc")
        attrs = {
            "title": recipe.title or recipe.name,
            "source": "simulated by frostmap" if recipe.simulated else "MODIS land surface temperature",
            "history": f"{now()} frostmap {version('frostmap')} export",
            "references": f"https://doi.org/{paper().doi}",
            "comment": f"recipe {recipe.name} {recipe.digest()}; {target.title}",
        }
        years = [year for each in epochs for year in each.years]
        file = stack.enter_context(NetcdfFile(path, own, target, years, attrs))
        for layer in own:
            sinks[layer.name].append(partial(file.write, layer))
        yield path


def resampled(values: Values, layer: Layer, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> Values:
    """Return a map on cells whose corners lie at these columns and rows of its pixels."""
    known = is_known(values, layer)
    numbers = np.where(known, values, np.nan).astype(np.float32)
    kernel = area_modes if layer.categorical else area_means
    found = kernel(numbers, np.zeros(values.shape, np.uint8), columns, rows, HALF)[0]
    if not layer.categorical:
        return found
    return np.where(np.isfinite(found), found, np.float32(layer.missing)).astype(layer.dtype)


def tags_of(work: Work, layer: Layer) -> dict[str, str]:
    """Return what a file says of itself."""
    recipe = work.recipe
    epochs = {layer.epoch: recipe.epochs.named()[layer.epoch]} if layer.epoch else recipe.epochs.named()
    tags = {
        "long_name": layer.variable.long_name,
        "units": layer.variable.units,
        "years": ", ".join(str(year) for epoch in epochs.values() for year in epoch.years),
        "recipe": f"{recipe.name} {recipe.digest()}",
        "data": "simulated" if recipe.simulated else "observed",
        "resampling": "classes of the largest area" if layer.categorical else "means by area",
        "software": f"frostmap {version('frostmap')}",
    }
    return tags | ({"map": layer.label} if layer.label else {})


def _areas(
    work: Work,
    target: TargetGrid,
    layers: Sequence[Layer],
    surveyed: Survey,
    pixels: Mapping[str, npt.NDArray[np.int64]],
) -> pd.DataFrame:
    """Return what each class takes on the map and on a grid [km²], and the difference."""
    native = TargetGrid("", "", work.geobox).cell_areas_km2
    rows = []
    for layer in layers:
        if layer.legend:
            before, after = native @ surveyed.pixels[layer.name], target.cell_areas_km2 @ pixels[layer.name]
            names = [entry.name for entry in layer.legend.values()]
            parts = [*zip(names, before, after, strict=True), ("all", before.sum(), after.sum())]
            rows += [
                {"grid": target.name, "map": layer.name, "class": name, "map_km2": there, "grid_km2": here}
                for name, there, here in parts
            ]
    table = pd.DataFrame(rows, columns=["grid", "map", "class", "map_km2", "grid_km2"])
    table["change_km2"] = table["grid_km2"] - table["map_km2"]
    table["change_percent"] = 100.0 * table["change_km2"] / table["map_km2"].where(table["map_km2"] > 0)
    return table
