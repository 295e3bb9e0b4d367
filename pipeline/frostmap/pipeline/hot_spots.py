"""Where ground degraded: blocks that stand out, hot spots that they make up, and rectangles that are given.

The sinusoidal grid is sheared, so that blocks are squares on an equal-area plane about the middle of the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from odc.geo.geobox import GeoBox
from scipy import ndimage

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.hot_spots import false_discovery, getis_ord, normal_p
from frostmap.pipeline.recipe import Rectangle
from frostmap.pipeline.schema import TRANSITION
from frostmap.pipeline.sites import degrees_of, on_plane

Kind = Literal["permafrost_lost", "frost_lost", "permafrost_gained", "frost_gained"]
KINDS: dict[Kind, tuple[int, ...]] = {
    "permafrost_lost": (12, 13),
    "frost_lost": (23,),
    "permafrost_gained": (21, 31),
    "frost_gained": (32,),
}
"""Kinds of change, and the values of `TRANSITION` that each is."""
STABLE: dict[str, int] = {"permafrost_lost": 11, "frost_lost": 22}
"""What might have degraded as well and did not, by kind of degradation."""
DEGRADED = (*KINDS["permafrost_lost"], *KINDS["frost_lost"])
GROUND = (11, 12, 13, 21, 22, 23, 31, 32, 33)
LEAST_GROUND = 0.25
"""Blocks with less of their area compared have no share."""
LEAST_PIXELS = 4
"""Pixels along a block's side, at least."""
TOP = 0.9
"""Blocks above this quantile of the shares are the top decile."""


@dataclass(frozen=True)
class Compared:
    """Pixels that have a class in both epochs, one after the other."""

    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    transition: npt.NDArray[np.uint8]
    area: npt.NDArray[np.float64]
    """[km²]."""
    longitude: npt.NDArray[np.float64]
    latitude: npt.NDArray[np.float64]
    east: npt.NDArray[np.float64]
    """On an equal-area plane about their middle [km]."""
    north: npt.NDArray[np.float64]

    def are(self, codes: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return which pixels have one of some transitions."""
        return np.isin(self.transition, codes)

    def km2(self, which: npt.NDArray[np.bool_]) -> float:
        """Return the area of some pixels."""
        return float(self.area[which].sum())

    @property
    def changed_km2(self) -> float:
        """Area whose class is another, lakes and glaciers among them."""
        return self.km2(self.transition // 10 != self.transition % 10)

    @property
    def degraded_km2(self) -> float:
        """Area that went from permafrost to other ground, or from seasonally frozen to non-frozen."""
        return self.km2(self.are(DEGRADED))


def compared(transition: npt.NDArray[np.uint8], geobox: GeoBox) -> Compared:
    """Return the pixels that have a class in both epochs, where and how large they are."""
    row, col = np.nonzero(transition != TRANSITION.fill_value)
    longitude, latitude = degrees_of(geobox, row, col)
    east, north = on_plane(geobox, row, col) if len(row) else (longitude, latitude)
    return Compared(row, col, transition[row, col], pixel_area_km2(geobox)[row], longitude, latitude, east, north)


@dataclass(frozen=True)
class Blocks:
    """Squares that pixels lie in."""

    side: float
    """[km]."""
    shape: tuple[int, int]
    index: npt.NDArray[np.int64]
    """Of each compared pixel, the place of its block among all, row by row from the south."""

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the sum over the pixels of each block, (rows, columns)."""
        found: npt.NDArray[Any] = np.bincount(self.index, values, self.shape[0] * self.shape[1])
        return found.reshape(self.shape).astype(np.float64)


def blocks_of(pixels: Compared, side: float) -> Blocks:
    """Return the blocks of a side [km]."""
    along = np.floor(np.stack([pixels.north, pixels.east]) / side).astype(np.int64)
    along -= along.min(axis=1, keepdims=True) if along.size else 0
    rows, columns = (along.max(axis=1) + 1).tolist() if along.size else (0, 0)
    return Blocks(side, (rows, columns), along[0] * columns + along[1])


def block_side(wanted_km: float, pixel_km: float) -> float:
    """Return the side of blocks [km]: as wanted, and at least four pixels.

    >>> block_side(50.0, 0.9266), block_side(50.0, 13.9)
    (50.0, 55.6)
    """
    return max(wanted_km, LEAST_PIXELS * pixel_km)


def block_table(pixels: Compared, blocks: Blocks, kind: Kind, rate: float) -> pd.DataFrame:
    """Return a row a block: how much of its ground changed, and whether that is more than chance has it.

    Parameters
    ----------
    pixels, blocks
        What is compared, and the blocks it lies in.
    kind
        Of change.
    rate
        Share of the hot blocks that may be so by chance.

    Returns
    -------
    DataFrame
        kind, row, column; longitude, latitude (middle of the block's pixels); ground_km2, changed_km2, share;
        score (Gi*), p (two-sided), false_discovery (adjusted), hot, top_decile, spot: number of the hot spot by its
        changed area, 0 for none. Blocks with little ground are left out.
    """
    ground = pixels.are(GROUND)
    area = blocks.sums(pixels.area * ground)
    changed = blocks.sums(pixels.area * pixels.are(KINDS[kind]))
    enough = area >= LEAST_GROUND * blocks.side**2
    share = np.full(blocks.shape, np.nan)
    share[enough] = changed[enough] / area[enough]
    score = getis_ord(share) if share.size else share
    p = normal_p(score) if share.size else share
    adjusted = false_discovery(p)
    with np.errstate(invalid="ignore"):
        hot = (adjusted <= rate) & (score > 0) & (share > 0)
        top = (share >= np.quantile(share[enough], TOP)) & (share > 0) if enough.any() else hot
    row, column = np.nonzero(enough)
    count = np.maximum(blocks.sums(np.ones_like(pixels.area)), 1)[enough]
    return pd.DataFrame(
        {
            "kind": kind,
            "row": row,
            "column": column,
            "longitude": blocks.sums(pixels.longitude)[enough] / count,
            "latitude": blocks.sums(pixels.latitude)[enough] / count,
            "ground_km2": area[enough],
            "changed_km2": changed[enough],
            "share": share[enough],
            "score": score[enough],
            "p": p[enough],
            "false_discovery": adjusted[enough],
            "hot": hot[enough],
            "top_decile": top[enough],
            "spot": _spots(hot, changed)[enough],
        }
    )


def _spots(hot: npt.NDArray[np.bool_], changed: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the number of the hot spot of each block, those with most change first; blocks that touch are one spot.

    >>> hot = np.array([[True, False, True], [False, False, True]])
    >>> _spots(hot, np.array([[1.0, 9.0, 1.0], [9.0, 9.0, 2.0]])).tolist()
    [[2, 0, 1], [0, 0, 1]]
    """
    labels, n = ndimage.label(hot, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(changed, labels, np.arange(1, n + 1))
    number = np.zeros(n + 1, np.int64)
    number[1 + np.argsort(-np.asarray(sizes), kind="stable")] = np.arange(1, n + 1)
    numbered: npt.NDArray[np.int64] = number[labels]
    return numbered


@dataclass(frozen=True)
class Spot:
    """Some pixels where ground changed in one way."""

    name: str
    kind: Kind
    found_by: Literal["getis_ord", "rectangle"]
    blocks: int
    """Hot blocks that it is made of; 0 for a rectangle."""
    inside: npt.NDArray[np.bool_]
    """Of the compared pixels, those that lie in it."""


def spots_of(pixels: Compared, blocks: Blocks, table: pd.DataFrame, rectangles: Sequence[Rectangle]) -> list[Spot]:
    """Return the hot spots of a table of blocks (`block_table`, of some kinds), then the rectangles."""
    found = []
    for kind, rows in table[table["spot"] > 0].groupby("kind", sort=False):
        number = np.zeros(blocks.shape, np.int64)
        number[rows["row"], rows["column"]] = rows["spot"]
        of_pixel = number.ravel()[blocks.index]
        for spot in range(1, int(rows["spot"].max()) + 1):
            name = f"{str(kind).replace('_', ' ')} {spot}"
            size = int((rows["spot"] == spot).sum())
            found.append(Spot(name, _kind(kind), "getis_ord", size, of_pixel == spot))
    for given in rectangles:
        west, south, east, north = given.bbox
        inside = (pixels.longitude >= west) & (pixels.longitude <= east)
        inside &= (pixels.latitude >= south) & (pixels.latitude <= north)
        found.append(Spot(given.name, given.kind, "rectangle", 0, inside))
    return found


def _kind(name: object) -> Kind:
    return next(kind for kind in KINDS if kind == name)


def spot_table(pixels: Compared, spots: Sequence[Spot]) -> pd.DataFrame:
    """Return a row a spot: where it is, how much changed there, and its shares of the whole map's change.

    Returns
    -------
    DataFrame
        spot, kind, found_by, blocks; west, south, east, north (of its pixels) [°]; ground_km2, changed_km2 (by the
        spot's kind of change); share_of_ground (changed, of the spot's ground), share_of_kind (of all change of this
        kind), share_of_degraded (of all degraded area), share_of_changed (of all area whose class is another).
    """
    ground = pixels.are(GROUND)
    rows = []
    for spot in spots:
        of_kind = pixels.are(KINDS[spot.kind])
        changed, here = pixels.km2(spot.inside & of_kind), pixels.km2(spot.inside & ground)
        place = [
            float(end(values[spot.inside])) if spot.inside.any() else np.nan
            for end, values in (
                (np.min, pixels.longitude), (np.min, pixels.latitude),
                (np.max, pixels.longitude), (np.max, pixels.latitude),
            )
        ]  # fmt: skip
        rows.append(
            {"spot": spot.name, "kind": spot.kind, "found_by": spot.found_by, "blocks": spot.blocks}
            | dict(zip(("west", "south", "east", "north"), place, strict=True))
            | {"ground_km2": here, "changed_km2": changed, "share_of_ground": _share(changed, here)}
            | {"share_of_kind": _share(changed, pixels.km2(of_kind))}
            | {"share_of_degraded": _share(changed, pixels.degraded_km2)}
            | {"share_of_changed": _share(changed, pixels.changed_km2)}
        )
    return pd.DataFrame(rows, columns=SPOT_COLUMNS)


SPOT_COLUMNS = [
    "spot", "kind", "found_by", "blocks", "west", "south", "east", "north", "ground_km2", "changed_km2",
    "share_of_ground", "share_of_kind", "share_of_degraded", "share_of_changed",
]  # fmt: skip


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
