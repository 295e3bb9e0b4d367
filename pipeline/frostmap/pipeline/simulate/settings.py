"""What is simulated: which tiles, how finely, which years."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from frostmap.catalogs.grids import Tile, parse_tile


class Simulation(BaseModel):
    """Settings of a simulated plateau; the same settings give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=2020, ge=0, lt=2**63)
    """Chooses the plateau: fields, weather and sites all follow from it."""

    pixels_per_tile: int = Field(default=72, ge=8, le=4800)
    """Pixels along a tile's side: 1200 is the real 1 km, 72 makes pixels of 15.4 km."""

    tiles: tuple[str, ...] = Field(default=("h23v05", "h24v05", "h25v05", "h25v06", "h26v05", "h26v06"), min_length=1)
    """Tiles to write, by the address in granule names."""

    training_years: tuple[int, ...] = Field(default=(2009, 2010), min_length=1)
    """Years of the first epoch, whose survey maps are known."""

    target_years: tuple[int, ...] = Field(default=(2019, 2020), min_length=1)
    """Years of the second epoch, to be mapped."""

    granule_format: Literal["hdf", "cog"] = "hdf"
    """How granules are stored: one HDF-EOS2 file each, or one cloud-optimised GeoTIFF a band."""

    stations: int = Field(default=87, ge=0, le=500)
    """Weather stations on the whole plateau; those outside the tiles are not written."""

    boreholes: int = Field(default=109, ge=0, le=500)
    """Boreholes on the whole plateau; those outside the tiles are not written."""

    surveys: int = Field(default=5, ge=0, le=5)
    """Survey maps; those outside the tiles are not written."""

    cloud_tops: Literal["none", "field", "mod06"] = "none"
    """Whether heights of cloud tops are written too: as a gridded field, or as swaths of MODIS's cloud product."""

    @field_validator("tiles")
    @classmethod
    def _known_tiles(cls, tiles: tuple[str, ...]) -> tuple[str, ...]:
        for tile in tiles:
            parse_tile(tile)
        if len(set(tiles)) != len(tiles):
            raise ValueError(f"a tile is named twice: {', '.join(tiles)}")
        return tiles

    @model_validator(mode="after")
    def _years_in_order(self) -> Simulation:
        for years in (self.training_years, self.target_years):
            if list(years) != sorted(set(years)) or not 2001 <= years[0] <= years[-1] <= 2099:
                raise ValueError(f"years must grow and lie in 2001 to 2099: {years}")
        if set(self.training_years) & set(self.target_years):
            raise ValueError("training and target years overlap")
        return self

    @property
    def tile_addresses(self) -> tuple[Tile, ...]:
        """Tiles as (h, v)."""
        return tuple(parse_tile(tile) for tile in self.tiles)

    @property
    def years(self) -> tuple[int, ...]:
        """All years, both epochs."""
        return tuple(sorted((*self.training_years, *self.target_years)))

    @property
    def epochs(self) -> dict[str, tuple[int, ...]]:
        """Years of each epoch by its label, the last year of the epoch."""
        return {str(self.training_years[-1]): self.training_years, str(self.target_years[-1]): self.target_years}

    @property
    def pixel_km(self) -> float:
        """Side of a pixel [km]."""
        return 1111.9505197665233 / self.pixels_per_tile
