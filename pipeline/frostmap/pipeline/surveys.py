"""Surveyed maps of frozen ground on the map's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from frostmap.kernels.frost_number import PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.rasters import on_grid


def read_survey_regions(
    surveys: list[tuple[str, Path]], geobox: GeoBox
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Return the surveyed classes on the map's grid, and whose they are; where maps overlap the first counts.

    Parameters
    ----------
    surveys
        Name and file of each surveyed map: 1 permafrost, 2 seasonally frozen, anything else not surveyed.
    geobox
        The map's grid.

    Returns
    -------
    classes : (y, x) uint8
        1, 2, or 0 where nobody surveyed.
    region : (y, x) int16
        Place in `surveys` of the map that the class is taken from, -1 where nobody surveyed.

    Raises
    ------
    UserError
        A surveyed map has no surveyed pixel in the region.
    """
    surveyed = np.zeros(geobox.shape, dtype=np.uint8)
    region = np.full(geobox.shape, -1, dtype=np.int16)
    for i, (name, path) in enumerate(surveys):
        codes = on_grid(path, geobox, f"sources.surveys, {name}", how="nearest")
        is_class = (codes == PERMAFROST) | (codes == SEASONALLY_FROZEN)
        if not is_class.any():
            raise UserError(
                "a surveyed map has no surveyed pixel in the region",
                where=f"{path} (recipe: sources.surveys, {name})",
                found=f"codes {np.unique(codes[np.isfinite(codes)]).astype(int).tolist()}",
                wanted="1 permafrost, 2 seasonally frozen, anything else not surveyed",
                remedy="recode the map, or leave it out",
            )
        new = (surveyed == 0) & is_class
        surveyed[new], region[new] = codes[new].astype(np.uint8), i
    return surveyed, region


def read_surveys(surveys: list[tuple[str, Path]], geobox: GeoBox) -> npt.NDArray[np.uint8]:
    """Return the surveyed classes alone: see `read_survey_regions`."""
    return read_survey_regions(surveys, geobox)[0]
