"""The products frostmap knows: which layers they have, how numbers are coded in them, and under which terms they come.

Codings are our own table, never a file's attributes or a catalogue's: MOD13's ``scale_factor`` is a divisor, MOD11's a
factor, and catalogues leave out fills and offsets.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.shipped import StrictModel, as_tuple, known_in, load, parse

StoredType: TypeAlias = Literal["int8", "uint8", "int16", "uint16", "int32", "float32"]


def _sorted_pair(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"valid_range {list(pair)} runs backwards; give [lowest, highest]")
    return pair


class Coding(StrictModel):
    """How numbers are coded: physical = stored * factor + offset."""

    name: str
    """What frostmap calls the layer, the same in all products."""

    dtype: StoredType
    """Type of the stored numbers."""

    scale: float | None = Field(default=None, gt=0)
    """Stored numbers are multiplied by this ..."""

    divisor: float | None = Field(default=None, gt=0)
    """... or divided by this; neither: they are physical as they are."""

    offset: float = 0.0
    """Added after scaling."""

    fill: float | None = None
    """The stored number that means none; absent in bit fields."""

    valid_range: Annotated[tuple[float, float], BeforeValidator(as_tuple), AfterValidator(_sorted_pair)]
    """Lowest and highest stored number that means something."""

    units: str
    """Of the physical numbers."""

    @property
    def factor(self) -> float:
        """What a stored number is multiplied by.

        Examples
        --------
        >>> load_collection("mod13a1").band("ndvi").factor
        0.0001
        """
        return 1.0 / self.divisor if self.divisor is not None else self.scale if self.scale is not None else 1.0

    @model_validator(mode="after")
    def _coding_is_consistent(self) -> Self:
        lowest, highest = self.valid_range
        if self.scale is not None and self.divisor is not None:
            raise ValueError(f"band {self.name!r} has both a scale and a divisor; keep one")
        if self.fill is not None and lowest <= self.fill <= highest:
            raise ValueError(
                f"the fill {self.fill:g} of band {self.name!r} lies inside its valid range {lowest:g} to "
                f"{highest:g}: missing pixels would pass for data"
            )
        if self.dtype != "float32":
            limits = np.iinfo(self.dtype)
            for number in (lowest, highest, *([] if self.fill is None else [self.fill])):
                if not (limits.min <= number <= limits.max and number == int(number)):
                    raise ValueError(f"band {self.name!r}: {number:g} cannot be stored as {self.dtype}")
        return self


class Band(Coding):
    """One layer of a product of granules, and how its numbers are coded.

    Examples
    --------
    >>> load_collection("mod11a1").band("view_angle_day").offset
    -65.0
    """

    asset: str
    """Its key among the assets of a STAC item."""

    sds: str = ""
    """Its scientific data set in an HDF granule; empty where the product has no HDF."""


class Collection(StrictModel):
    """A product: a set of granules of one kind.

    Examples
    --------
    >>> load_collection("myd11a1").product
    'MYD11A1'
    """

    id: str
    """What frostmap calls it."""

    product: str
    """Short name, the first part of its granules' names."""

    version: str
    """Version of the algorithm, as it stands in the granules' names."""

    title: str
    """Full name."""

    doi: str
    """Digital object identifier, to cite."""

    licence: str
    """The terms it may be used under."""

    landing_pages: Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
    """Where people find it: documentation and archive."""

    stac_collections: Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
    """Ids of the STAC collections it is found in, the likeliest first; they may hold other products too."""

    pixels_per_tile: int | None = Field(default=None, gt=0)
    """Rows and columns of a MODIS tile; absent for products on other grids."""

    hdf_grid: str = ""
    """Name of the HDF-EOS grid of its HDF granules."""

    days: int = Field(default=1, gt=0)
    """How many days a granule spans from its date on."""

    first_day: dt.date | None = None
    """Date of its first granules; absent for products that are not in time."""

    bands: Annotated[tuple[Band, ...], BeforeValidator(as_tuple)]
    """Its layers."""

    def band(self, name: str) -> Band:
        """Return a layer by its name."""
        for band in self.bands:
            if band.name == name:
                return band
        raise CatalogError(
            f"{self.product} has no band named {name!r}", wanted="one of " + ", ".join(band.name for band in self.bands)
        )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for attribute in ("name", "asset", "sds"):
            values = [value for band in self.bands if (value := getattr(band, attribute))]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"two bands of {self.id!r} have the same {attribute}: {', '.join(twice)}")
        if self.hdf_grid and not all(band.sds for band in self.bands):
            raise ValueError(f"{self.id!r} comes as HDF, so each of its bands needs an sds")
        return self


def known_collections() -> list[str]:
    """List the ids of the products that ship with frostmap.

    Examples
    --------
    >>> [name for name in known_collections() if name.startswith("mod1")]
    ['mod10a1', 'mod10a2', 'mod11a1', 'mod13a1', 'mod13a2']
    """
    return known_in("", but=("outages",))


@functools.cache
def load_collection(collection_id: str) -> Collection:
    """Load the definition of a product.

    Examples
    --------
    >>> load_collection("mod11a1").band("lst_day").fill
    0.0
    """
    return load(Collection, "", collection_id, "collection", known_collections())


def parse_collection(text: str, where: str = "") -> Collection:
    """Read a product's definition from YAML text.

    Parameters
    ----------
    text
        The fields of `Collection`.
    where
        The file it comes from, for the error message.
    """
    return parse(Collection, text, "collection", where)
