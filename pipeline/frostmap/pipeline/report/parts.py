"""What the page is made of: sections of sentences, pictures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostmap.kernels.agreement import BinaryCounts

MOST_ROWS = 20
"""Longer lists are cut, with a word on where the rest is."""


@dataclass(frozen=True)
class Picture:
    """A figure in the page."""

    title: str
    caption: str
    alternative: str
    """What it shows, for readers who cannot see it."""
    data: str
    """The PNG file as a data URI."""
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """A table in the page; the first column heads its rows."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, then pictures and tables, then what is left out and why."""

    name: str
    title: str
    sentences: list[str]
    parts: list[Picture | Table]
    absent: list[str]


def confusion(title: str, counted: BinaryCounts, observed: str) -> Table:
    """Return a confusion table for readers."""
    rows = [
        (f"permafrost {observed}", f"{counted.tp:,}", f"{counted.fn:,}", f"{counted.tp + counted.fn:,}"),
        (f"no permafrost {observed}", f"{counted.fp:,}", f"{counted.tn:,}", f"{counted.fp + counted.tn:,}"),
        ("all", f"{counted.tp + counted.fp:,}", f"{counted.fn + counted.tn:,}", f"{counted.n:,}"),
    ]
    return Table(title, ("", "permafrost mapped", "no permafrost mapped", "all"), rows)
