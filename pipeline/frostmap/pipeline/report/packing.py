"""Maps inside the page: whole numbers below 256, told by what their neighbours do not, deflated, as text.

A browser unpacks them with its own inflation and the same prediction (`templates/explorer.js`); `unpacked` is the plain
twin of that.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

OUTSIDE, NO_VALUE, FIRST = 0, 1, 2
"""Codes of pixels out of the region and of pixels without a value; the first code that is a value."""
LEVELS = 256 - FIRST

Codes = npt.NDArray[np.uint8]
Predictor = Literal["median", "mean"]
"""median: of left, upper, and left + upper - upper left, for smooth maps; mean: of left and upper, for grainy ones."""
PREDICTORS: tuple[Predictor, ...] = ("median", "mean")


@dataclass(frozen=True)
class Window:
    """The part of the grid that is packed: in each row, the columns from the region's first pixel to its last."""

    top: int
    """Row of the grid of the window's first."""
    left: int
    """Column of the grid of the window's first."""
    width: int
    first: npt.NDArray[np.int64]
    """(row,) first column of each row, counted from `left`."""
    count: npt.NDArray[np.int64]
    """(row,) how many follow; 0 where the region has no pixel in the row."""

    @property
    def height(self) -> int:
        """Rows."""
        return len(self.first)

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """(row, column) of the window: what is packed."""
        column = np.arange(self.width)
        last = self.first + self.count
        return (column >= self.first[:, None]) & (column < last[:, None])


def window_of(inside: npt.NDArray[np.bool_]) -> Window:
    """Return the smallest window that holds a region.

    Parameters
    ----------
    inside : (y, x) bool
        Pixels of the region; at least one.

    Examples
    --------
    >>> window = window_of(np.array([[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]], bool))
    >>> window.top, window.left, window.width, window.first.tolist(), window.count.tolist()
    (1, 1, 3, [0, 1], [3, 1])
    """
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, left, width = int(rows[0]), int(columns[0]), int(columns[-1] - columns[0] + 1)
    part = inside[top : rows[-1] + 1, left : left + width]
    some = part.any(axis=1)
    first = np.where(some, part.argmax(axis=1), 0)
    last = np.where(some, width - part[:, ::-1].argmax(axis=1), 0)
    return Window(top, left, width, first.astype(np.int64), (last - first).astype(np.int64))


def pack(codes: Codes, window: Window) -> tuple[Predictor, str]:
    """Return a map as text, and the predictor that makes it shortest.

    Parameters
    ----------
    codes : (y, x) uint8
        Of the whole grid.
    window
        The part of it to pack.
    """
    part = np.where(window.held, codes[window.top :, window.left :][: window.height, : window.width], OUTSIDE)
    part = part.astype(np.int16)
    residuals = {how: ((part - _predicted(part, how)) & 255)[window.held].astype(np.uint8) for how in PREDICTORS}
    how = min(PREDICTORS, key=lambda each: _bits(residuals[each]))
    deflate = zlib.compressobj(level=6, memLevel=9, strategy=zlib.Z_FILTERED)
    packed = deflate.compress(residuals[how].tobytes()) + deflate.flush()
    return how, base64.b64encode(packed).decode("ascii")


def unpacked(text: str, how: Predictor, window: Window) -> Codes:
    """Return the codes of a packed window, `OUTSIDE` where nothing was packed; slow and plain.

    Examples
    --------
    >>> codes = np.array([[0, 7, 9], [2, 8, 0]], np.uint8)
    >>> window = window_of(codes > 0)
    >>> how, text = pack(codes, window)
    >>> unpacked(text, how, window).tolist()
    [[0, 7, 9], [2, 8, 0]]
    """
    residuals = iter(zlib.decompress(base64.b64decode(text)))
    codes = np.zeros((window.height + 1, window.width + 1), dtype=np.int64)  # a row and a column of zeros before
    for row, column in np.argwhere(window.held):
        left, above, corner = (int(codes[row + 1, column]), int(codes[row, column + 1]), int(codes[row, column]))
        guess = (left + above) // 2 if how == "mean" else sorted((left, above, left + above - corner))[1]
        codes[row + 1, column + 1] = (next(residuals) + guess) % 256
    return codes[1:, 1:].astype(np.uint8)


def _predicted(part: npt.NDArray[np.int16], how: Predictor) -> npt.NDArray[np.int16]:
    padded = np.pad(part, ((1, 0), (1, 0)))
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    mean: npt.NDArray[np.int16] = (left + above) >> 1
    if how == "mean":
        return mean
    low, high = np.minimum(left, above), np.maximum(left, above)
    median: npt.NDArray[np.int16] = np.clip(left + above - corner, low, high)
    return median


def _bits(residuals: npt.NDArray[np.uint8]) -> float:
    """Return how many bits the numbers take at least, each by itself."""
    share = np.bincount(residuals, minlength=256) / max(1, residuals.size)
    known = share[share > 0]
    return float(-(known * np.log2(known)).sum() * residuals.size)


def as_text(numbers: npt.NDArray[Any]) -> str:
    """Return numbers as text: their bytes, little end first, in base64."""
    return base64.b64encode(np.ascontiguousarray(numbers).astype(numbers.dtype.newbyteorder("<")).tobytes()).decode()
