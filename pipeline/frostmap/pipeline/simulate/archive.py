"""Writes the simulated archive: granules and their catalogue, covariates, sites, surveys and the truth."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from distributed import Client, as_completed
from numpy.typing import NDArray
from shapely.geometry import mapping

from frostmap.catalogs.grids import SINUSOIDAL_CRS, Tile, lattice
from frostmap.pipeline.simulate.catalogue import COLLECTIONS, granule_folder, write_catalogue, write_item
from frostmap.pipeline.simulate.climate import landscape
from frostmap.pipeline.simulate.cloud_tops import BY_DAY, prepare_field, write_field, write_swaths
from frostmap.pipeline.simulate.granules import PRODUCTS, granule_id, write_cogs, write_hdf
from frostmap.pipeline.simulate.outline import plateau_outline
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.relief import elevation
from frostmap.pipeline.simulate.settings import Simulation
from frostmap.pipeline.simulate.sites import (
    SURVEYS,
    boreholes,
    place_survey,
    station_days,
    stations,
    survey_map,
    survey_size,
)
from frostmap.pipeline.simulate.surface import Layers, landscape_of, observed_days, tile_scene
from frostmap.pipeline.simulate.truth import PERMAFROST, epoch_covariates, truth
from frostmap.pipeline.simulate.vegetation import composite_dates, composites

BLOCK_DAYS = 46
"""Days of a tile that are written as one piece of work."""

SIMULATED = "simulated by frostmap; not an observation"

Progress = Callable[[int, int], None]
"""Called with how many pieces of work are done, and of how many."""

Granule = tuple[str, dt.date, Tile]


@dataclasses.dataclass(frozen=True)
class ArchiveSummary:
    """What was written."""

    folder: Path
    """The archive."""

    catalogue: Path
    """Its STAC catalogue."""

    granules: int
    """Granules, one item each."""

    stations: int
    """Weather stations."""

    boreholes: int
    """Boreholes."""

    surveys: tuple[str, ...]
    """Names of the survey maps."""

    permafrost_share: Mapping[str, float]
    """Share of the outlined area of the tiles that is truly permafrost, by epoch label."""

    seconds: float
    """How long it took [s]."""


@dataclasses.dataclass(frozen=True)
class _Maps:
    """A tile's maps, by file stem and band."""

    tile: Tile
    bands: Mapping[str, NDArray[np.float32]]


def write_archive(
    folder: str | Path, simulation: Simulation, *, client: Client | None = None, progress: Progress | None = None
) -> ArchiveSummary:
    """Write the simulated archive into a folder.

    Parameters
    ----------
    folder
        Made if it is absent; files of the same names are replaced.
    simulation
        What to simulate.
    client
        Dask workers that see the same file system; without one everything is done here, one piece after the other.
    progress
        Called as pieces of work are done.
    """
    started = time.monotonic()
    folder = Path(folder).resolve()
    granules = list(_granules(simulation))
    for product, date, tile in granules:
        group = folder / "stac" / COLLECTIONS[product] / f"{tile}-{date.year}"
        if date.timetuple().tm_yday == 1:
            group.mkdir(parents=True, exist_ok=True)
            (folder / granule_folder(product, date)).mkdir(parents=True, exist_ok=True)
    for name in ("grids", "surveys"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    work: list[tuple[Callable[..., _Maps | None], tuple[Any, ...]]] = [
        (_tile_maps, (simulation, tile)) for tile in simulation.tile_addresses
    ]
    for tile in simulation.tile_addresses:
        for year in simulation.years:
            work.append((_write_composites, (folder, simulation, tile, year)))
            for first, last in _blocks(year):
                work.append((_write_days, (folder, simulation, tile, first, last)))
    work += _cloud_top_work(folder, simulation)

    maps: list[_Maps] = []
    for done, result in enumerate(_results(work, client), 1):
        if isinstance(result, _Maps):
            maps.append(result)
        if progress is not None:
            progress(done, len(work))

    window = _mosaic_window(simulation)
    mosaic = _mosaic(simulation, window, maps)
    _write_lattice_maps(folder, simulation, window, mosaic)
    surveys = _write_surveys(folder, simulation, window, mosaic)
    _write_grids(folder, simulation)
    counts = _write_sites(folder, simulation)
    catalogue = write_catalogue(folder, granules)
    outline = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"name": "plateau", "source": SIMULATED},
                "geometry": mapping(plateau_outline()),
            }
        ],
    }
    (folder / "outline.geojson").write_text(json.dumps(outline), encoding="utf-8")
    shares = {}
    for label in simulation.epochs:
        classes = mosaic[f"truth_{label}/frozen_ground"]
        shares[label] = (
            float((classes[np.isfinite(classes)] == PERMAFROST).mean()) if np.isfinite(classes).any() else 0.0
        )
    (folder / "README.md").write_text(_readme(simulation, shares, surveys), encoding="utf-8")
    return ArchiveSummary(
        folder, catalogue, len(granules), *counts, surveys, shares, round(time.monotonic() - started, 2)
    )


def _cloud_top_work(folder: Path, simulation: Simulation) -> list[tuple[Callable[..., _Maps | None], tuple[Any, ...]]]:
    if simulation.cloud_tops == "field":
        chunks = range(prepare_field(folder, simulation))
        return [(write_field, (folder, simulation, tile, at)) for tile in simulation.tile_addresses for at in chunks]
    if simulation.cloud_tops == "mod06":
        return [
            (write_swaths, (folder, simulation, product, first, last))
            for product in BY_DAY
            for year in simulation.years
            for first, last in _blocks(year)
        ]
    return []


def _results(
    work: Sequence[tuple[Callable[..., _Maps | None], tuple[Any, ...]]], client: Client | None
) -> Iterator[_Maps | None]:
    if client is None:
        for function, arguments in work:
            yield function(*arguments)
        return
    futures = [client.submit(function, *arguments, pure=False) for function, arguments in work]
    for future in as_completed(futures):
        yield future.result()
        future.release()


def _blocks(year: int) -> Iterator[tuple[dt.date, dt.date]]:
    first, end = dt.date(year, 1, 1), dt.date(year, 12, 31)
    while first <= end:
        last = min(first + dt.timedelta(days=BLOCK_DAYS - 1), end)
        yield first, last
        first = last + dt.timedelta(days=1)


def _granules(simulation: Simulation) -> Iterator[Granule]:
    for tile in simulation.tile_addresses:
        for year in simulation.years:
            for date in composite_dates(year):
                yield "MOD13A1", date, tile
            days = (dt.date(year + 1, 1, 1) - dt.date(year, 1, 1)).days
            for day in range(days):
                date = dt.date(year, 1, 1) + dt.timedelta(days=day)
                yield "MOD11A1", date, tile
                yield "MYD11A1", date, tile


def _write_granule(
    folder: Path, simulation: Simulation, product: str, date: dt.date, tile: Tile, stored: Layers
) -> None:
    name = granule_id(product, date, tile)
    where = folder / granule_folder(product, date)
    if simulation.granule_format == "hdf":
        write_hdf(where / f"{name}.hdf", product, tile, stored)
    else:
        write_cogs(where, name, product, tile, stored)
    pixels = simulation.pixels_per_tile * PRODUCTS[product].pixels
    write_item(folder, product, date, tile, pixels, simulation.granule_format)


def _write_days(folder: Path, simulation: Simulation, tile: Tile, first: dt.date, last: dt.date) -> None:
    scene = tile_scene(simulation, tile, first.year)
    for date, products in observed_days(scene, first, last):
        for product, stored in products.items():
            _write_granule(folder, simulation, product, date, tile, stored)


def _write_composites(folder: Path, simulation: Simulation, tile: Tile, year: int) -> None:
    window = Window.of_tile(tile, simulation.pixels_per_tile * PRODUCTS["MOD13A1"].pixels)
    for date, stored in composites(simulation.seed, window, year):
        _write_granule(folder, simulation, "MOD13A1", date, tile, stored)


def _tile_maps(simulation: Simulation, tile: Tile) -> _Maps:
    window = Window.of_tile(tile, simulation.pixels_per_tile)
    land = landscape_of(simulation.seed, window)
    bands: dict[str, NDArray[np.float32]] = {}
    for label, years in simulation.epochs.items():
        true = truth(simulation.seed, land.places, years, land)
        for field in dataclasses.fields(true):
            bands[f"truth_{label}/{field.name}"] = getattr(true, field.name)
        dynamic = epoch_covariates(simulation.seed, land, years)
        bands[f"lakes_{label}"] = dynamic.lake.astype(np.float32)
        bands[f"glaciers_{label}"] = dynamic.glacier.astype(np.float32)
    return _Maps(tile, bands)


def _mosaic_window(simulation: Simulation) -> Window:
    n, tiles = simulation.pixels_per_tile, simulation.tile_addresses
    left, top = min(tile.h for tile in tiles), min(tile.v for tile in tiles)
    across, down = max(tile.h for tile in tiles) - left + 1, max(tile.v for tile in tiles) - top + 1
    return Window(n, top * n, left * n, down * n, across * n)


def _mosaic(simulation: Simulation, window: Window, maps: Sequence[_Maps]) -> dict[str, NDArray[np.float32]]:
    n = simulation.pixels_per_tile
    mosaic = {name: np.full((window.height, window.width), np.nan, np.float32) for name in maps[0].bands}
    for part in maps:
        row, column = part.tile.v * n - window.row, part.tile.h * n - window.column
        for name, values in part.bands.items():
            mosaic[name][row : row + n, column : column + n] = values
    return mosaic


def _lattice_affine(window: Window) -> Affine:
    n = window.pixels_per_tile
    corner = lattice(n)[window.column // n, window.row // n].affine
    affine: Affine = corner * Affine.translation(window.column % n, window.row % n)
    return affine


def _write_raster(
    path: Path,
    bands: Mapping[str, NDArray[Any]],
    crs: str,
    transform: Affine,
    *,
    nodata: float | None,
    units: str = "",
) -> None:
    first = next(iter(bands.values()))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=first.shape[0],
        width=first.shape[1],
        count=len(bands),
        dtype=first.dtype.name,
        crs=crs,
        transform=transform,
        nodata=nodata,
        compress="DEFLATE",
        predictor=3 if first.dtype.kind == "f" else 2,
        tiled=True,
    ) as file:
        for number, (name, values) in enumerate(bands.items(), 1):
            file.write(values, number)
            file.set_band_description(number, name)
        file.update_tags(source=SIMULATED, units=units)


def _write_lattice_maps(
    folder: Path, simulation: Simulation, window: Window, mosaic: Mapping[str, NDArray[np.float32]]
) -> None:
    crs, transform = SINUSOIDAL_CRS.to_wkt(), _lattice_affine(window)
    for label in simulation.epochs:
        bands = {name: mosaic[f"truth_{label}/{name}"] for name in ("ddf", "ddt", "e", "frozen_ground")}
        _write_raster(folder / f"truth_{label}.tif", bands, crs, transform, nodata=np.nan)
        for cover in ("lakes", "glaciers"):
            values = {cover: mosaic[f"{cover}_{label}"]}
            _write_raster(folder / "grids" / f"{cover}_{label}.tif", values, crs, transform, nodata=np.nan, units="1")


def _write_surveys(
    folder: Path, simulation: Simulation, window: Window, mosaic: Mapping[str, NDArray[np.float32]]
) -> tuple[str, ...]:
    classes = mosaic[f"truth_{simulation.training_years[-1]}/frozen_ground"]
    places = window.places()
    size = survey_size(simulation.pixel_km)
    rows, columns = window.rows, window.columns
    written = []
    for name, centre in list(SURVEYS.items())[: simulation.surveys]:
        found = place_survey(classes, places.longitude, places.latitude, centre, size)
        if found is None:
            continue
        surveyed = survey_map(simulation.seed, name, classes[found], rows[found], columns[found])
        transform = _lattice_affine(window) * Affine.translation(found[1].start, found[0].start)
        _write_raster(
            folder / "surveys" / f"{name}.tif", {name: surveyed}, SINUSOIDAL_CRS.to_wkt(), transform, nodata=None
        )
        written.append(name)
    return tuple(written)


def _write_grids(folder: Path, simulation: Simulation) -> None:
    west, south, east, north = _bounds(simulation)
    fine = 1.0 / 60.0 if simulation.pixel_km > 3.0 else 1.0 / 120.0
    z = elevation(simulation.seed, _grid_places(west, south, east, north, fine))
    transform = Affine(fine, 0.0, west, 0.0, -fine, north)
    whole = np.rint(z).astype(np.int16)
    _write_raster(
        folder / "grids" / "elevation.tif", {"elevation": whole}, "EPSG:4326", transform, nodata=-32768, units="m"
    )
    coarse = 0.05
    land = landscape(simulation.seed, _grid_places(west, south, east, north, coarse))
    grids: dict[str, tuple[str, NDArray[np.float64]]] = {"sand": ("%", land.sand), "clay": ("%", land.clay)}
    for label, years in simulation.epochs.items():
        dynamic = epoch_covariates(simulation.seed, land, years)
        grids[f"snow_cover_{label}"] = ("%", dynamic.snow)
        grids[f"precipitation_{label}"] = ("mm a-1", dynamic.precipitation)
    transform = Affine(coarse, 0.0, west, 0.0, -coarse, north)
    for name, (units, values) in grids.items():
        _write_raster(
            folder / "grids" / f"{name}.tif",
            {name: values.astype(np.float32)},
            "EPSG:4326",
            transform,
            nodata=np.nan,
            units=units,
        )


def _bounds(simulation: Simulation) -> tuple[float, float, float, float]:
    """Return what the grids cover [°]: the outlined part of the tiles and half a degree around, on whole twentieths."""
    west, south, east, north = plateau_outline().bounds
    tiles = simulation.tile_addresses
    south = max(south, 10.0 * (8 - max(tile.v for tile in tiles)))
    north = min(north, 10.0 * (9 - min(tile.v for tile in tiles)))
    # meridians lean: the western edge is furthest west in the south, the eastern edge furthest east in the north
    west = max(west, 10.0 * (min(tile.h for tile in tiles) - 18) / np.cos(np.radians(south)))
    east = min(east, 10.0 * (max(tile.h for tile in tiles) - 17) / np.cos(np.radians(north)))
    low, high = np.floor(np.array([west, south]) - 0.5), np.ceil(np.array([east, north]) + 0.5)
    return float(low[0]), float(low[1]), float(max(high[0], low[0] + 1)), float(max(high[1], low[1] + 1))


def _grid_places(west: float, south: float, east: float, north: float, step: float) -> Places:
    columns, rows = round((east - west) / step), round((north - south) / step)
    longitude, latitude = np.meshgrid(west + (np.arange(columns) + 0.5) * step, north - (np.arange(rows) + 0.5) * step)
    return Places(longitude, latitude, step * 111.2)


def _write_sites(folder: Path, simulation: Simulation) -> tuple[int, int]:
    chosen = stations(simulation)
    chosen.table.to_csv(folder / "stations.csv", index=False)
    days = station_days(simulation.seed, chosen, simulation.years)
    days.to_csv(
        folder / "stations_daily.csv.gz", index=False, compression={"method": "gzip", "compresslevel": 1, "mtime": 0}
    )
    holes = boreholes(simulation)
    holes.to_csv(folder / "boreholes.csv", index=False)
    return len(chosen.table), len(holes)


def _readme(simulation: Simulation, shares: Mapping[str, float], surveys: Sequence[str]) -> str:
    truths = ", ".join(f"{100 * share:.1f} % in {label}" for label, share in shares.items())
    cloud_tops = {
        "none": "",
        "field": "\n| `cloud_tops.zarr` | heights of the cloud tops that are seen by day |",
        "mod06": "\n| `cloud_tops/` | MOD06_L2 and MYD06_L2: swaths of heights of cloud tops, by day |",
    }[simulation.cloud_tops]
    return f"""# A simulated archive

Everything in this folder was **simulated** by frostmap: nothing in it is an observation, and nothing in it says
anything about real ground. Only the coarse relief is real (NOAA ETOPO5, 10 arc-minute means).

Settings: seed {simulation.seed}, {simulation.pixels_per_tile} pixels a tile, tiles {", ".join(simulation.tiles)},
years {", ".join(map(str, simulation.years))}.

| file | what it is |
|---|---|
| `catalog.json`, `stac/` | static STAC catalogue of the granules |
| `granules/` | MOD11A1, MYD11A1 (daily surface temperature) and MOD13A1 (16-day NDVI) |
| `grids/` | elevation, sand, clay; snow cover, precipitation, lakes and glaciers of each epoch |
| `outline.geojson` | outline of the plateau |
| `surveys/` | survey maps of the training epoch: {", ".join(surveys) or "none in these tiles"} |
| `stations.csv`, `stations_daily.csv.gz` | weather stations and their daily 0-cm ground temperature |
| `boreholes.csv` | boreholes of the target epoch |
| `truth_*.tif` | what a perfect map would show: ddf, ddt, e, frozen_ground |{cloud_tops}

True share of permafrost in the outlined part of these tiles: {truths}.
"""
