"""A folder of files of a gridded series: which layers are there, and what they count for the years or depths asked."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from frostmap.catalogs.gridded import GriddedSeries, NamedLayer, SeriesBand
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.gridded_files import Grid, Layer, Layers, grid_of_raster, netcdf_header, raster_of

_SHIFTED = 0.1  # of a cell: how far a grid may lie off the one that its definition says


class _Found(NamedTuple):
    """A layer that is there."""

    path: Path
    at: int
    when: tuple[int, ...]
    """Year and month, or year and day of the year."""
    depth: float | None
    """Lower end of a layer of soil [cm]."""


def layers_in_time(series: GriddedSeries, name: str, folder: Path, years: Sequence[int], key: str) -> Layers:
    """Return the layers of some years: months, weighted so that they add up to a mean annual sum; or days, to a mean.

    Every month must be there; of days, nine in ten of every year.

    Parameters
    ----------
    series, name
        What the files are, and which of its bands is wanted.
    folder
        Where its files are, and in folders below.
    years
        Calendar years.
    key
        What the recipe calls it, for messages.

    Raises
    ------
    UserError
        The series does not cover the years; or files are not what they should be.
    DataIncomplete
        Months or days are not there.
    """
    refuse_beyond(series, years, key)
    band = series.band(name)
    files = [
        (path, said)
        for path, said in files_of(band, folder)
        if said.first_year is None or any(said.first_year <= year <= (said.last_year or year) for year in years)
    ]
    found: dict[tuple[int, ...], _Found] = {}
    grid: Grid | None = None
    for path, said in files:
        held, own = _times(series, band, path, said, key, grid)
        grid = grid or own
        for layer in held:
            if layer.when[0] in years:
                found.setdefault(layer.when, layer)
    wanted = [
        (year, part)
        for year in sorted(years)
        for part in range(1, 13 if series.step == "month" else 366 + calendar.isleap(year))
    ]
    _refuse_missing(series, folder, key, files, wanted, found)
    layers = []
    for when in wanted:
        if when in found:
            factor = _amount(band.units, *when) if series.step == "month" else 1.0
            layers.append((found[when], factor))
    share = len(years) if series.step == "month" else len(layers)
    return _on_one_grid(
        series, band, key, grid, [(layer, factor / share, _when(series, layer.when)) for layer, factor in layers],
        least=1.0 if series.step == "month" else 0.5,
    )  # fmt: skip


def refuse_beyond(series: GriddedSeries, years: Sequence[int], key: str) -> None:
    """Refuse years that a series does not cover, and say which it does."""
    beyond = series.beyond(years)
    if beyond and series.years is not None:
        raise UserError(
            f"{series.id} does not cover all years",
            where=f"recipe: {key}",
            found=", ".join(map(str, beyond)),
            wanted=f"years from {series.years[0]} to {series.years[1]}",
            remedy="choose another series, or other years; or give a raster of the mean",
        )


def layers_in_depth(series: GriddedSeries, name: str, folder: Path, depths: tuple[float, float], key: str) -> Layers:
    """Return the layers of soil between two depths [cm], weighted by their thickness to a mean.

    What reaches beyond a depth counts with its part. Half of the thickness must have values.

    Raises
    ------
    UserError
        The series does not reach so deep; or files are not what they should be.
    DataIncomplete
        Layers are not there.
    """
    band = series.band(name)
    upper, lower = depths
    if not 0.0 <= upper < lower <= series.bottoms[-1] + 0.05:
        raise UserError(
            f"{series.id} does not reach these depths",
            where=f"recipe: {key}",
            found=f"{upper:g} to {lower:g} cm",
            wanted=f"depths within 0 to {series.bottoms[-1]:g} cm, the upper one first",
            remedy="choose other depths, or another series",
        )
    files = files_of(band, folder)
    found: dict[float, _Found] = {}
    grid: Grid | None = None
    for held, own in _depths(series, band, files, key):
        grid = grid or own
        for layer in held:
            if layer.depth is not None:
                found.setdefault(layer.depth, layer)
    tops = (0.0, *series.bottoms)
    parts = {
        bottom: (top, min(bottom, lower) - max(top, upper))
        for top, bottom in zip(tops, series.bottoms, strict=False)
        if min(bottom, lower) > max(top, upper)
    }
    missing = [f"{top:g}-{bottom:g} cm" for bottom, (top, _) in parts.items() if bottom not in found]
    if missing:
        raise DataIncomplete(
            f"layers of {name} are not there",
            where=f"{folder} (recipe: {key})",
            found=f"{len(files)} files of {series.id}; lacking {', '.join(missing)}",
            wanted=f"all layers from {upper:g} to {lower:g} cm, in files such as the archive's: {band.files}",
            remedy=f"get them: {series.landing_pages[0]}",
        )
    whole = sum(thickness for _, thickness in parts.values())
    layers = [
        (found[bottom], thickness / whole, f"{top:g}-{bottom:g} cm") for bottom, (top, thickness) in parts.items()
    ]
    return _on_one_grid(series, band, key, grid, layers, least=0.5)


def files_of(band: SeriesBand, folder: Path) -> list[tuple[Path, NamedLayer]]:
    """Return the files of a band in a folder and below, by name, and what their names say."""
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.name, str(path)))
    return [(path, said) for path in paths if (said := band.layer_of(path.name)) is not None]


def _on_one_grid(
    series: GriddedSeries,
    band: SeriesBand,
    key: str,
    grid: Grid | None,
    layers: Sequence[tuple[_Found, float, str]],
    *,
    least: float,
) -> Layers:
    if grid is None:
        raise ValueError("layers without a grid")
    _refuse_shifted(series, grid, layers[0][0].path, key)
    made = tuple(Layer(found.path, found.at, weight, label) for found, weight, label in layers)
    return Layers(grid, made, band.variable if series.form == "netcdf" else "", band, key, least)


def _times(
    series: GriddedSeries, band: SeriesBand, path: Path, said: NamedLayer, key: str, grid: Grid | None
) -> tuple[list[_Found], Grid]:
    """Return what a file holds of a series in time, and where its cells are; of rasters the first is opened."""
    if series.form == "netcdf":
        header = netcdf_header(path, band.variable, path.stat().st_mtime_ns, key, said)
        return [_Found(path, index, when, None) for index, when in enumerate(header.when)], header.grid
    if said.first_year is None:
        raise UserError("the name of a raster does not say its year", where=f"{path} (recipe: {key})", found=path.name)
    if series.step == "month":
        when = (said.first_year, said.month or 0)
    elif said.day_of_year is not None:
        when = (said.first_year, said.day_of_year)
    else:
        try:
            day = date(said.first_year, said.month or 0, said.day or 0)
        except ValueError:
            return [], grid or _grid_of_file(path, key)  # digits that are no date
        when = (said.first_year, day.timetuple().tm_yday)
    return [_Found(path, 0, when, None)], grid or _grid_of_file(path, key)


def _grid_of_file(path: Path, key: str) -> Grid:
    with raster_of(path, key) as raster:
        return grid_of_raster(raster, path, key)


def _depths(
    series: GriddedSeries, band: SeriesBand, files: Sequence[tuple[Path, NamedLayer]], key: str
) -> Iterator[tuple[list[_Found], Grid]]:
    """Yield what each file holds of a series in depth: by its name; by its axis [cm or m]; or all, the upper first."""
    if series.form == "geotiff":
        for path, said in files:
            yield [_Found(path, 0, (), said.bottom)], _grid_of_file(path, key)
        return
    headers = [(path, netcdf_header(path, band.variable, path.stat().st_mtime_ns, key, None)) for path, _ in files]
    for unit in (1.0, 100.0):
        numbers = [_nearest(series.bottoms, depth * unit) for _, header in headers for depth in header.depths]
        if len(numbers) == sum(header.layers for _, header in headers) and None not in numbers:
            break
    else:
        if sum(header.layers for _, header in headers) != len(series.bottoms):
            numbers = [None] * sum(header.layers for _, header in headers)
        else:
            numbers = list(series.bottoms)
    at = iter(numbers)
    for path, header in headers:
        yield [_Found(path, index, (), next(at)) for index in range(header.layers)], header.grid


def _nearest(bottoms: Sequence[float], depth: float) -> float | None:
    near = min(bottoms, key=lambda bottom: abs(bottom - depth))
    return near if abs(near - depth) < 0.06 else None


def _refuse_missing(
    series: GriddedSeries,
    folder: Path,
    key: str,
    files: Sequence[Any],
    wanted: Sequence[tuple[int, ...]],
    found: dict[tuple[int, ...], _Found],
) -> None:
    """Refuse months that are not there; of days, more than one in ten of a year."""
    missing = [when for when in wanted if when not in found]
    if series.step == "day":
        lacking = {when[0]: sum(each[0] == when[0] for each in missing) for when in missing}
        missing = [when for when in missing if lacking[when[0]] > 36]
    if not missing:
        return
    shown = ", ".join(_when(series, when) for when in missing[:6])
    raise DataIncomplete(
        f"{series.step}s of {series.id} are not there",
        where=f"{folder} (recipe: {key})",
        found=f"{len(files)} of its files with these years; lacking {len(missing)}: {shown}"
        + (", ..." if len(missing) > 6 else ""),
        wanted=f"every month of {wanted[0][0]} to {wanted[-1][0]}" if series.step == "month" else "nine days in ten",
        remedy=f"get the files: {series.landing_pages[0]}; names such as the archive's are looked for: "
        + " ".join(band.files for band in series.bands),
    )


def _refuse_shifted(series: GriddedSeries, grid: Grid, path: Path, key: str) -> None:
    """Refuse a grid that lies half a cell off: corners taken for centres, or centres for corners."""
    if series.centres is None or not grid.geographic:
        return
    for step, edge in ((grid.affine.a, grid.affine.c), (grid.affine.e, grid.affine.f)):
        phase = ((edge + step / 2) / abs(step) - (0.5 if series.centres == "half" else 0.0)) % 1.0
        off = min(phase, 1.0 - phase)
        if off > _SHIFTED:
            raise UserError(
                "cells of a file lie beside those of its series",
                where=f"{path} (recipe: {key})",
                found=f"first centre at {grid.affine.c + grid.affine.a / 2:g}, {grid.affine.f + grid.affine.e / 2:g}, "
                f"{off:.2f} of a cell off",
                wanted=f"centres at {'halves' if series.centres == 'half' else 'whole multiples'} of {abs(step):g}°",
                remedy="give the file as the archive has it: corners may have been taken for centres on the way",
            )


def _when(series: GriddedSeries, when: tuple[int, ...]) -> str:
    if series.step == "month":
        return f"{when[0]}-{when[1]:02d}"
    return (date(when[0], 1, 1) + timedelta(days=when[1] - 1)).isoformat()


def _amount(units: str, year: int, month: int) -> float:
    """Return what a month's number is multiplied by to be its sum in mm.

    >>> _amount("mm month-1", 2020, 2), _amount("m d-1", 2020, 2)
    (1.0, 29000.0)
    """
    if units == "m d-1":
        return 1000.0 * calendar.monthrange(year, month)[1]
    if units == "mm month-1":
        return 1.0
    raise ValueError(f"no rule for precipitation in '{units}'")
