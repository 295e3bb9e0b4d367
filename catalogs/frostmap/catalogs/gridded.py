"""Gridded series that frostmap knows: the years or depths that they cover, their files, and how numbers are coded."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from frostmap.catalogs.collections import Coding
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.shipped import StrictModel, as_tuple, known_in, load, parse

PrecipitationId: TypeAlias = Literal["china-precipitation-1km", "terraclimate", "era5-land"]
SoilId: TypeAlias = Literal["shangguan-2013", "soilgrids-2"]
SnowId: TypeAlias = Literal["awt-modis-fsc"]
SeriesId: TypeAlias = PrecipitationId | SoilId | SnowId
"""A gridded series: the name of its definition."""

Step: TypeAlias = Literal["month", "day"]


class NamedLayer(NamedTuple):
    """What the name of a file says of what it holds; None where it says nothing."""

    first_year: int | None = None
    last_year: int | None = None
    month: int | None = None
    day: int | None = None
    """Of the month."""
    day_of_year: int | None = None
    """From 1 on."""
    top: float | None = None
    """Upper end of a layer of soil [cm]."""
    bottom: float | None = None
    """Its lower end [cm]."""


class SeriesBand(Coding):
    """One quantity of a series, where it is, and how its numbers are coded."""

    files: str
    """What its files are called, whole, as a regular expression. Groups year, last_year, month, day, day_of_year, top
    and bottom say what is in a file."""

    variable: str = ""
    """Its variable in NetCDF files."""

    packing: Literal["definition", "file"] = "definition"
    """Whether numbers are coded as said here, or as each NetCDF file's own scale_factor, add_offset and _FillValue say;
    then the valid range is of physical numbers."""

    @field_validator("files")
    @classmethod
    def _a_pattern(cls, given: str) -> str:
        try:
            groups = re.compile(given).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        unknown = sorted(groups.keys() - {"year", "last_year", "month", "day", "day_of_year", "top", "bottom"})
        if unknown:
            raise ValueError(f"unknown groups {', '.join(unknown)}")
        return given

    def layer_of(self, name: str) -> NamedLayer | None:
        """Return what the name of a file says; None if it is not one of this band.

        Examples
        --------
        >>> load_series("soilgrids-2").band("sand").layer_of("sand_15-30cm_mean.tif").bottom
        30.0
        >>> load_series("china-precipitation-1km").band("precipitation").layer_of("pre_2018_2020.nc")[:2]
        (2018, 2020)
        """
        match = re.fullmatch(self.files, name)
        if match is None:
            return None
        said = {key: int(value) for key, value in match.groupdict().items() if value is not None}
        return NamedLayer(
            said.get("year"),
            said.get("last_year", said.get("year")),
            said.get("month"),
            said.get("day"),
            said.get("day_of_year"),
            None if "top" not in said else float(said["top"]),
            None if "bottom" not in said else float(said["bottom"]),
        )


class GriddedSeries(StrictModel):
    """A series of grids, over time or over depth.

    Examples
    --------
    >>> series = load_series("china-precipitation-1km")
    >>> series.band("precipitation").factor, series.years
    (0.1, (1901, 2024))
    """

    id: str
    """What frostmap calls it."""

    title: str
    """Full name."""

    doi: str
    """Digital object identifier of the paper or product, to cite."""

    data_doi: str = ""
    """That of the files, where it is another."""

    licence: str
    """The terms it may be used under."""

    landing_pages: Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
    """Where people find it."""

    form: Literal["netcdf", "geotiff"]
    """What its files are: NetCDF with an axis of time or depth, or a raster for each time or depth."""

    step: Step | None = None
    """How far its layers are apart in time; None where it has no time."""

    years: Annotated[tuple[int, int], BeforeValidator(as_tuple)] | None = None
    """First and last year that it covers whole."""

    bottoms: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = ()
    """Lower ends of its layers of soil, the uppermost first [cm]."""

    centres: Literal["whole", "half"] | None = None
    """Where centres of cells lie: at whole multiples of a cell's size from 0° and 0°, or half a cell beside; None: not
    published."""

    bands: Annotated[tuple[SeriesBand, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """What it holds."""

    def band(self, name: str) -> SeriesBand:
        """Return a quantity by its name."""
        for band in self.bands:
            if band.name == name:
                return band
        raise CatalogError(
            f"{self.id} has no band named {name!r}", wanted="one of " + ", ".join(band.name for band in self.bands)
        )

    def beyond(self, years: Iterable[int]) -> list[int]:
        """Return which years it does not cover.

        Examples
        --------
        >>> load_series("awt-modis-fsc").beyond([1999, 2010, 2023])
        [1999, 2023]
        """
        if self.years is None:
            return []
        first, last = self.years
        return sorted(year for year in years if not first <= year <= last)

    @property
    def thicknesses(self) -> tuple[float, ...]:
        """Of its layers of soil [cm].

        Examples
        --------
        >>> round(sum(load_series("shangguan-2013").thicknesses), 1)
        229.6
        """
        return tuple(bottom - top for top, bottom in zip((0.0, *self.bottoms), self.bottoms, strict=False))

    @model_validator(mode="after")
    def _time_or_depth(self) -> Self:
        if (self.step is None) != (self.years is None):
            raise ValueError("a series in time has both a step and years")
        if (self.step is None) == (not self.bottoms):
            raise ValueError("a series has either a step in time or the bottoms of layers of soil")
        if self.years is not None and self.years[0] > self.years[1]:
            raise ValueError(f"years {list(self.years)} run backwards")
        if any(thickness <= 0 for thickness in self.thicknesses):
            raise ValueError(f"bottoms {list(self.bottoms)} do not run down")
        names = [band.name for band in self.bands]
        if len(set(names)) != len(names):
            raise ValueError(f"two bands of {self.id!r} have the same name")
        if self.form == "netcdf" and not all(band.variable for band in self.bands):
            raise ValueError("bands of NetCDF files need the name of their variable")
        if self.form == "geotiff" and any(band.packing == "file" for band in self.bands):
            raise ValueError("only NetCDF files say how their numbers are coded")
        return self


def known_series() -> list[str]:
    """List the ids of the series that ship with frostmap.

    Examples
    --------
    >>> known_series()[:2]
    ['awt-modis-fsc', 'china-precipitation-1km']
    """
    return known_in("gridded")


@functools.cache
def load_series(series_id: str) -> GriddedSeries:
    """Load the definition of a series.

    Examples
    --------
    >>> load_series("shangguan-2013").bottoms[-1]
    229.6
    """
    return load(GriddedSeries, "gridded", series_id, "gridded series", known_series())


def parse_series(text: str, where: str = "") -> GriddedSeries:
    """Read a series's definition from YAML text; `where` is the file it comes from, for messages."""
    return parse(GriddedSeries, text, "gridded series", where)
