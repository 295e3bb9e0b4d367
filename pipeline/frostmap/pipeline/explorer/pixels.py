"""What the chain made of one pixel: a year of it day by day, and what became of it in each epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import Geod

from frostmap.catalogs.grids import to_geographic
from frostmap.kernels.diurnal_cycle import daily_mean, on_local_dates
from frostmap.kernels.frost_number import CLASS_NAMES, critical_e
from frostmap.kernels.quality import OBSERVED, view_hours
from frostmap.pipeline import schema
from frostmap.pipeline.explorer.series import open_array, read_series
from frostmap.pipeline.figures.contents import label_of, table_of
from frostmap.pipeline.scsg import celsius
from frostmap.pipeline.sites import pixels_of
from frostmap.pipeline.stage import all_degree_years, all_years
from frostmap.pipeline.work import Work

NO_FILL = 255
"""Of the fill flag: nothing there."""
SKY_BITS = 7
"""Of the fill flag: those that hold the kind of sky."""
STATE_BITS = 15
"""Of the state: those that say whether an observation was kept, and why not."""

_EARTH = Geod(ellps="WGS84")


class Place(NamedTuple):
    """A pixel of the map."""

    row: int
    column: int


class Pixels:
    """Reads single pixels of a run's cube: groups are opened once, and only the chunks that hold a pixel are read."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._groups: dict[str, xr.Dataset | None] = {}
        self._arrays: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="frostmap-chunks")

    def summary(self, place: Place) -> dict[str, Any]:
        """Return where a pixel is, and what it became in each epoch, as plain data; None where something is unknown."""
        longitude, latitude = self.position(place)
        return {
            "row": place.row,
            "column": place.column,
            "longitude": round(longitude, 5),
            "latitude": round(latitude, 5),
            "inside": bool(self.work.inside[place.row, place.column]),
            "epochs": [self._epoch(place, epoch) for epoch in self.work.recipe.epochs.named()],
            "years": [self._sums(place, year) for year in self._years],
            "cluster": self._value("calibration/training", schema.CLUSTER, place),
            "predictors": self._predictors(place),
            "borehole": self._nearest_borehole(longitude, latitude),
        }

    def year(self, place: Place, year: str) -> dict[str, Any]:
        """Return a year of a pixel as plain data: every look, what it was filled with, and daily means [°C].

        Parameters
        ----------
        place
            A pixel of the map.
        year
            One that the run has granules of.

        Returns
        -------
        year, start
            The year, and its first day.
        daily
            A mean a day, made as the recipe says; None where there is none.
        overpasses
            For each of four: `seen`, what the granule holds; `kept`, whether it was trusted; `filled` and `sigma`, what
            came of it and its standard error; `sky`, a place in `schema.SKY_KINDS`; `flag`, as stored.
        """
        wanted = (
            ("ingest", schema.LST),
            ("observations", schema.STATE),
            ("gap_filling", schema.FILLED_LST),
            ("gap_filling", schema.SIGMA),
            ("gap_filling", schema.FILL_FLAG),
            ("observations", schema.VIEW_TIME),
        )
        seen, state, value, sigma, flag, hours = self._series(
            [(f"{stage}/{year}", each) for stage, each in wanted], place
        )
        looks = []
        for k, name in enumerate(schema.OVERPASSES):
            flags: list[int] = [] if flag is None else flag[:, k].tolist()
            looks.append(
                {
                    "name": name,
                    "seen": [] if seen is None else _plain(celsius(seen[:, k])),
                    "kept": [] if state is None else ((state[:, k] & STATE_BITS) <= OBSERVED).astype(int).tolist(),
                    "filled": [] if value is None else _plain(celsius(value[:, k])),
                    "sigma": [] if sigma is None else _plain(sigma[:, k]),
                    "sky": [None if each == NO_FILL else each & SKY_BITS for each in flags],
                    "flag": flags,
                }
            )
        daily = [] if value is None or hours is None else self._daily(place, value, hours)
        return {"year": year, "start": f"{year}-01-01", "daily": daily, "overpasses": looks}

    def group(self, name: str) -> xr.Dataset | None:
        """Return a group of the cube, lazily, as stored; None where it is not there."""
        if self._groups.get(name) is None:
            self._groups[name] = self.work.open(name) if self.work.has(name) else None
        return self._groups[name]

    def position(self, place: Place) -> tuple[float, float]:
        """Return longitude and latitude of a pixel's centre."""
        x, y = self.work.geobox.affine * (place.column + 0.5, place.row + 0.5)
        crs = self.work.geobox.crs
        if crs is not None and crs.geographic:
            return float(x), float(y)
        longitude, latitude = to_geographic(np.array([x]), np.array([y]))
        return float(longitude[0]), float(latitude[0])

    def boreholes(self) -> list[dict[str, Any]]:
        """Return the boreholes that lie on the map: where, and whether the map agrees with them."""
        table = self._boreholes
        if table is None:
            return []
        row, column = pixels_of(self.work.geobox, table["longitude"], table["latitude"])
        columns = (table["name"], row, column, table["observed"], table["mapped"])
        return [
            {"name": str(name), "row": int(y), "column": int(x), "observed": observed, "mapped": mapped}
            for name, y, x, observed, mapped in zip(*columns, strict=True)
            if y >= 0
        ]

    # ---- parts ----------------------------------------------------------------------------------------------------

    @cached_property
    def _years(self) -> list[str]:
        return all_degree_years(self.work.recipe) if self.work.recipe.sources.lst else []

    @property
    def years(self) -> list[str]:
        """The years whose days can be asked for."""
        return [year for year in all_years(self.work.recipe) if self.group(f"gap_filling/{year}") is not None]

    def _value(self, group: str, variable: schema.Variable, place: Place) -> float | None:
        cube = self.group(group)
        if cube is None or variable.name not in cube:
            return None
        value = cube[variable.name][place.row, place.column].item()
        return None if value == variable.fill or value != value else round(float(value), 4)

    def _series(self, wanted: Sequence[tuple[str, schema.Variable]], place: Place) -> list[npt.NDArray[Any] | None]:
        """Return (time, overpass) of a pixel in variables of some groups, as stored; None where there is none."""
        storage = self.work.storage
        for group, variable in wanted:
            name = f"{group}/{variable.name}"
            if self._arrays.get(name) is None:
                self._arrays[name] = open_array(storage, group, variable.name)
        arrays = [self._arrays[f"{group}/{variable.name}"] for group, variable in wanted]
        there = [array for array in arrays if array is not None]
        found = iter(read_series(storage, there, place.row, place.column, self._threads))
        return [None if array is None else next(found) for array in arrays]

    def _epoch(self, place: Place, epoch: str) -> dict[str, Any]:
        ground, soil, sums = f"frozen_ground/{epoch}", f"transfer/{epoch}", f"forcing/{epoch}"
        if self.group(soil) is None:
            soil = "calibration/training"
        ddf, ddt = (self._value(sums, variable, place) for variable in schema.FORCING)
        code = self._value(ground, schema.FROZEN_GROUND, place)
        predicted = {variable.name: self._value(soil, variable, place) for variable in schema.PREDICTED}
        return {
            "epoch": epoch,
            "title": label_of(self.work, epoch),
            "class": None if code is None else CLASS_NAMES.get(int(code)),
            "ddf": ddf,
            "ddt": ddt,
            "critical_e": None if ddf is None or ddt is None else round(float(critical_e(ddf, ddt)), 4),
            "frost_number": self._value(ground, schema.FROST_NUMBER, place),
            "probability": self._value(ground, schema.PROBABILITY, place),
            **predicted,
        }

    def _sums(self, place: Place, year: str) -> dict[str, Any]:
        group = f"degree_days/{year}"
        sums = (schema.FREEZING, schema.THAWING, schema.VALID_DAYS)
        return {"year": year} | {variable.name: self._value(group, variable, place) for variable in sums}

    def _predictors(self, place: Place) -> list[dict[str, Any]]:
        found = []
        for variable in schema.PREDICTORS:
            values = {
                epoch: self._value(f"covariates/{epoch}", variable, place) for epoch in self.work.recipe.epochs.named()
            }
            if any(value is not None for value in values.values()):
                found.append({"name": variable.long_name, "units": variable.units, "values": values})
        return found

    def _nearest_borehole(self, longitude: float, latitude: float) -> dict[str, Any] | None:
        table = self._boreholes
        if table is None:
            return None
        n = len(table["longitude"])
        _, _, metres = _EARTH.inv([longitude] * n, [latitude] * n, table["longitude"], table["latitude"])
        nearest = int(np.argmin(metres))
        return {name: column[nearest] for name, column in table.items()} | {"km": round(metres[nearest] / 1000, 2)}

    @cached_property
    def _boreholes(self) -> Mapping[str, list[Any]] | None:
        table = table_of(self.work, "boreholes", "name", "longitude", "latitude", "observed", "mapped")
        if table is None:
            return None
        table = table[table["longitude"].notna() & table["latitude"].notna() & table["observed"].notna()]
        table = table[["name", "longitude", "latitude", "observed", "mapped"]]
        plain = table.astype(object).where(table.notna(), None)
        return None if table.empty else {str(name): plain[name].tolist() for name in plain}

    def _daily(self, place: Place, filled: npt.NDArray[Any], view_time: npt.NDArray[Any]) -> list[float | None]:
        """Return daily means as `degree_days` makes them; by local dates the year's first night is not there."""
        settings = self.work.recipe.degree_days
        longitude, latitude = self.position(place)
        stored, times = filled[:, :, None, None], view_time[:, :, None, None]
        if settings.dates == "local":
            stored, times = on_local_dates(stored, times, np.array([[longitude]]))
        day_of_year = np.arange(1, len(stored) + 1)
        mean = daily_mean(
            settings.daily_mean,
            np.ascontiguousarray(celsius(stored)),
            view_hours(np.ascontiguousarray(times)),
            np.array([latitude]),
            day_of_year,
        )
        return _plain(mean[:, 0, 0])


def _plain(values: Iterable[Any]) -> list[float | None]:
    """Return numbers to a hundredth, None for NaN, as JSON has them.

    Examples
    --------
    >>> _plain(np.array([1.234, np.nan], np.float32))
    [1.23, None]
    """
    return [None if value != value else round(float(value), 2) for value in values]
