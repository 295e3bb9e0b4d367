"""Longitudes and latitudes as people write them: decimal degrees, degrees and minutes, hemispheres by letter."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frostmap.catalogs.errors import CatalogError

Coordinates = Literal["degrees", "degrees_minutes"]
"""How plain numbers are meant: 35.2167, or 35.13 or 3513 for 35° 13'."""

_HEMISPHERES = {"n": 1, "s": -1, "e": 1, "w": -1, "北纬": 1, "南纬": -1, "东经": 1, "西经": -1}
_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00a0": " ", "º": "°", "˚": "°", "度": "°"}
    | dict.fromkeys("’′‘＇分", "'")
    | dict.fromkeys("”″“＂秒", '"')
)
_LETTER = re.compile(r"^(北纬|南纬|东经|西经|[nsew])?\s*(.*?)\s*([nsew])?$", re.IGNORECASE | re.DOTALL)
_PARTS = re.compile(
    r"""(?P<sign>[+-])?\s*(?P<degrees>\d+(?:\.\d*)?)\s*(?:°|d|deg|:|\s)\s*
        (?:(?P<minutes>\d+(?:\.\d*)?)\s*(?:'|m|min|:|\s|$)\s*)?
        (?:(?P<seconds>\d+(?:\.\d*)?)\s*(?:"|''|s|sec|$)\s*)?$""",
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")


def angle(text: str, decimal: str = ".") -> float | None:
    """Return the angle that a text says [°]; None if it says none.

    Parameters
    ----------
    text
        A number; or degrees, minutes and seconds with their signs, with colons or with blanks between them; a letter
        of the hemisphere before or behind. Minutes and seconds are below 60.
    decimal
        The decimal sign, a point or a comma.

    Examples
    --------
    >>> angle("35.2167"), round(angle("35°13'N"), 4), round(angle("E 93 05 02.4"), 4), round(angle("北纬35度13分"), 4)
    (35.2167, 35.2167, 93.084, 35.2167)
    >>> angle("93,084 W", ","), angle("35°75'"), angle("Wudaoliang")
    (-93.084, None, None)
    """
    written = text.translate(_SIGNS).strip()
    written = unicodedata.normalize("NFKC", written).translate(_SIGNS)
    if decimal == ",":
        written = written.replace(",", ".")
    before, body, behind = _LETTER.fullmatch(written).groups()  # type: ignore[union-attr]  # it matches any text
    turns = [_HEMISPHERES[letter.lower()] for letter in (before, behind) if letter]
    if len(turns) > 1 or not body:
        return None
    turn = turns[0] if turns else 1
    if _NUMBER.fullmatch(body):
        size = float(body)
        return None if turns and size < 0 else turn * size
    parts = _PARTS.fullmatch(body)
    if parts is None or (turns and parts["sign"]):
        return None
    minutes, seconds = float(parts["minutes"] or 0), float(parts["seconds"] or 0)
    if minutes >= 60 or seconds >= 60 or (parts["minutes"] and float(parts["degrees"]) % 1):
        return None
    size = float(parts["degrees"]) + minutes / 60 + seconds / 3600
    return turn * (-size if parts["sign"] == "-" else size)


def degrees(written: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn degrees and minutes into degrees: whole numbers such as 3513, or 35.13, for 35° 13'.

    Numbers are taken for whole ones if one of them is larger than 180. Those that no place is written as come out NaN.

    Examples
    --------
    >>> degrees(np.array([3513.0, 9305.0])).round(4).tolist(), degrees(np.array([35.13, 93.5])).round(4).tolist()
    ([35.2167, 93.0833], [35.2167, 93.8333])
    >>> degrees(np.array([35.75, 35.131])).tolist()
    [nan, nan]
    """
    size = np.abs(written) * (1.0 if (np.abs(written) > 180).any() else 100.0)
    packed = np.round(size)
    whole, minutes = np.divmod(packed, 100)
    right = (np.abs(size - packed) < 1e-6 * np.maximum(size, 1)) & (minutes < 60)
    return np.where(right, np.copysign(whole + minutes / 60, written), np.nan)


def look_like_minutes(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> bool:
    """Say whether numbers that should be decimal degrees look like degrees and minutes.

    Of two decimals by chance, 60 in 100 are below .60: with 20 numbers, one table in 27,000 looks so wrongly.

    Examples
    --------
    >>> look_like_minutes(np.array([9305.0]), np.array([3513.0])), look_like_minutes(np.array([93.7]), np.array([35.2]))
    (True, False)
    """
    places = np.column_stack([longitude, latitude])
    both = np.concatenate([degrees(longitude), degrees(latitude)])
    packed = (np.abs(places) > 360).any()
    dotted = both.size >= 20 and np.unique(np.round(places % 1, 2)).size >= 10
    return bool(np.isfinite(both).all() and (packed or dotted))


def hidden_minutes(path: object, longitude: float, latitude: float) -> CatalogError:
    """Return the error of a table that looks like degrees and minutes; a place of it is shown."""
    return CatalogError(
        "longitudes and latitudes look like degrees and minutes",
        where=path,
        found=f"{longitude:g} and {latitude:g}, and none with more than 59 minutes",
        wanted="to be told how to read them",
        remedy="set coordinates to degrees_minutes, or to degrees if they are decimal",
    )
