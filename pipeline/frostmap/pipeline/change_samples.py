"""Areas of change from places whose class was found out, in place of counted pixels of maps that err."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from frostmap.kernels.area_estimates import drawn_interval, stratified_areas
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.schema import TRANSITION
from frostmap.pipeline.sites import degrees_of, pixels_of

STRATA: dict[str, tuple[int, ...]] = {
    "stable_permafrost": (11,),
    "permafrost_lost": (12, 13),
    "permafrost_gained": (21, 31),
    "stable_seasonally_frozen": (22,),
    "frost_lost": (23,),
    "frost_gained": (32,),
    "stable_non_frozen": (33,),
}
"""What the maps say of ground in both epochs, and the values of `TRANSITION` that it is."""
OTHER = 255
MORE_OF_STABLE = 3
"""Ground that did not change gets so many times the places: it is large, and change that the maps miss lies in it."""
WORDS = {
    "permafrost": 1,
    "seasonally_frozen": 2,
    "seasonally_frozen_ground": 2,
    "non_frozen": 3,
    "non_frozen_ground": 3,
}
COLUMNS = ("longitude", "latitude", "training", "target")


def strata_of(transition: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the stratum of each pixel, its place in `STRATA`; 255 where there is no ground in either epoch.

    >>> strata_of(np.uint8([11, 13, 32, 45, 255])).tolist()
    [0, 1, 5, 255, 255]
    """
    found = np.full(transition.shape, OTHER, np.uint8)
    for place, codes in enumerate(STRATA.values()):
        found[np.isin(transition, codes)] = place
    return found


def to_look_at(maps: xr.Dataset, geobox: GeoBox, most: int, seed: int) -> pd.DataFrame:
    """Return places drawn at random in each stratum, in an order that does not tell which: number, longitude, latitude.

    `training` and `target` are left empty: whoever looks there writes down the class, and gives the table as
    `change.samples`.
    """
    strata, rng = strata_of(maps[TRANSITION.name].values), np.random.default_rng(seed)
    drawn = []
    for place, name in enumerate(STRATA):
        rows, cols = np.nonzero(strata == place)
        wanted = most * (MORE_OF_STABLE if name.startswith("stable") else 1)
        few = rng.choice(len(rows), min(wanted, len(rows)), replace=False)
        drawn.append(np.stack([rows[few], cols[few]]))
    row, col = rng.permutation(np.concatenate(drawn, axis=1), axis=1)
    longitude, latitude = degrees_of(geobox, row, col)
    places = {"place": np.arange(1, len(row) + 1), "longitude": longitude.round(6), "latitude": latitude.round(6)}
    return pd.DataFrame(places | {"training": "", "target": ""})


def read_places(path: Path) -> pd.DataFrame:
    """Return longitude, latitude, and the class in both epochs (1 permafrost, 2 seasonally frozen, 3 non-frozen).

    Rows without a class in either epoch are places that nobody looked at, and are left out.

    Raises
    ------
    UserError
        The table cannot be read, lacks a column, or has a class that is none; or no row has both.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(
            "the table of places cannot be read",
            where=f"{path} (recipe: change.samples)",
            found=error,
            wanted=f"CSV with the columns {', '.join(COLUMNS)}",
            remedy="fill in tables/change_places.csv of a finished run",
        ) from error
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise UserError(
            f"the table of places lacks columns: {', '.join(lacking)}",
            where=f"{path} (recipe: change.samples)",
            found=", ".join(map(str, table.columns)),
            wanted=", ".join(COLUMNS),
            remedy="fill in tables/change_places.csv of a finished run",
        )
    seen = table[(table["training"].str.strip() != "") & (table["target"].str.strip() != "")]
    found = pd.DataFrame({name: pd.to_numeric(seen[name], errors="coerce") for name in ("longitude", "latitude")})
    for name in ("training", "target"):
        found[name] = [_class(word) for word in seen[name]]
    wrong = found.isna().any(axis=1)
    if wrong.any() or found.empty:
        line = int(found.index[wrong][0]) + 2 if wrong.any() else 0
        raise UserError(
            "a place has no class, longitude or latitude that can be read" if line else "no place has a class",
            where=f"{path}{f', line {line}' if line else ''} (recipe: change.samples)",
            found=", ".join(str(seen.at[line - 2, name]) for name in COLUMNS) if line else f"{len(table)} rows without",
            wanted="degrees, and permafrost, seasonally frozen or non-frozen (or 1, 2, 3) in both epochs",
            remedy="correct the row, or leave both classes empty where nobody looked",
        )
    return found


def _class(word: str) -> float:
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    return float(WORDS.get(plain, plain if plain in ("1", "2", "3") else "nan"))


def estimates(
    places: pd.DataFrame,
    strata: npt.NDArray[np.uint8],
    area: npt.NDArray[np.float64],
    geobox: GeoBox,
    path: Path,
) -> pd.DataFrame:
    """Return the area of each kind of change as the places have it, with its interval.

    Parameters
    ----------
    places
        From `read_places`.
    strata
        (y, x), of `strata_of`.
    area
        Of a pixel of each row [km²].
    geobox, path
        The grid; the table's path, for messages.

    Returns
    -------
    DataFrame
        kind, mapped_km2, places; estimated_km2, error_km2 (standard error), low_km2, high_km2 (95 %); users_accuracy
        (of what the maps call so, the share that is), producers_accuracy (of what is so, the share that they call so).
        NaN where a stratum that has an area has fewer than two places.

    Raises
    ------
    UserError
        No place lies on ground of both maps.
    """
    pixels = pixels_of(geobox, places["longitude"], places["latitude"])
    on_map = pixels.row >= 0
    mapped = np.where(on_map, strata[pixels.row, pixels.col], OTHER)
    codes = (10 * places["training"] + places["target"]).to_numpy(np.int64).astype(np.uint8)
    found = strata_of(codes)
    use = mapped != OTHER
    if not use.any():
        raise UserError(
            "no place lies on ground that both maps have",
            where=f"{path} (recipe: change.samples)",
            found=f"{len(places)} places elsewhere",
            wanted="places drawn from tables/change_places.csv",
            remedy="check that longitude and latitude are not swapped",
        )
    k = len(STRATA)
    counts = np.bincount(mapped[use].astype(np.int64) * k + found[use], minlength=k * k).reshape(k, k)
    each = np.broadcast_to(area[:, np.newaxis], strata.shape)
    sizes = np.array([each[strata == place].sum() for place in range(k)])
    made = stratified_areas(counts, sizes)
    low, high = drawn_interval(counts, sizes, np.random.default_rng(0))
    return pd.DataFrame(
        {
            "kind": list(STRATA),
            "mapped_km2": sizes,
            "places": counts.sum(axis=1),
            "estimated_km2": made.area,
            "error_km2": made.area_error,
            "low_km2": low,
            "high_km2": high,
            "users_accuracy": made.users_accuracy,
            "producers_accuracy": made.producers_accuracy,
        }
    )
