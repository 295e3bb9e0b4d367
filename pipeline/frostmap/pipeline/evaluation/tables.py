"""What an evaluation found, and how it is written down as Markdown."""

from __future__ import annotations

import csv
import importlib.resources
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 120
"""Characters of a line of text."""


@dataclass(frozen=True)
class Table:
    """A table, with a sentence that says of what."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells as they are shown; those of the first column to the left, all others to the right."""

    def markdown(self) -> str:
        """Return the table as Markdown.

        Examples
        --------
        >>> print(Table("What.", ("method", "RMSE"), (("ours", "1.20"), ("theirs", "12.00"))).markdown())
        What.
        <BLANKLINE>
        | method |  RMSE |
        |:-------|------:|
        | ours   |  1.20 |
        | theirs | 12.00 |
        """
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"a row has {len(wrong[0])} cells: {wrong[0]}; wanted {len(self.columns)}")
        widths = [max(len(line[i]) for line in (self.columns, *self.rows)) for i in range(len(self.columns))]

        def line(cells: Sequence[str]) -> str:
            first, *others = zip(cells, widths, strict=True)
            return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"

        rule = "|".join([":" + "-" * (widths[0] + 1), *("-" * (width + 1) + ":" for width in widths[1:])])
        return "\n".join([_wrapped(self.caption), "", line(self.columns), f"|{rule}|", *map(line, self.rows)])


@dataclass(frozen=True)
class Goal:
    """Something that was to be reached, and whether it was."""

    wanted: str
    found: str
    met: bool


@dataclass(frozen=True)
class Section:
    """What one set of data says."""

    title: str
    text: str
    """What was done, in paragraphs of Markdown."""
    tables: tuple[Table, ...] = ()
    goals: tuple[Goal, ...] = ()
    remarks: str = ""
    """What follows from the tables; paragraphs below them."""

    def markdown(self) -> str:
        """Return the section as Markdown."""
        tables = (table.markdown() for table in self.tables)
        parts = [f"## {self.title}", _wrapped(self.text), *tables, _wrapped(self.remarks)]
        return "\n\n".join(part for part in parts if part)


def _wrapped(paragraphs: str) -> str:
    return "\n\n".join(textwrap.fill(part, WIDTH, break_long_words=False) for part in paragraphs.split("\n\n"))


def absent(title: str, missing: Sequence[str]) -> Section:
    """Return the section of a set of data that is not here."""
    return Section(title, f"Not evaluated: {', '.join(missing)} not found in the folder of data.")


INTRODUCTION = """# What the thermal chain is worth

Made by `make evaluate`; do not edit. Every table compares with something that was not used to make the estimate:
pixels that were withheld, denser readings, another publication, or the truth of a simulation. Differences are estimate
minus truth; temperatures are in K, degree-day sums in °C d."""


def document(sections: Sequence[Section]) -> str:
    """Return all sections as one Markdown document, the goals first."""
    goals = tuple(
        (section.title, goal.wanted, goal.found, "yes" if goal.met else "**no**")
        for section in sections
        for goal in section.goals
    )
    summary = [Table("What was to be reached.", ("data", "goal", "found", "met"), goals).markdown()] if goals else []
    return "\n\n".join([INTRODUCTION, *summary, *(section.markdown() for section in sections)]) + "\n"


def published(name: str, package: str = "frostmap.pipeline.evaluation") -> tuple[str, list[dict[str, str]]]:
    """Return where published numbers are from, and their rows, of a table in the folder `published` of a package.

    Its first lines, each after a #, say the source: authors, DOI, table and page.
    """
    text = (importlib.resources.files(package) / "published" / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    source = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    return source, list(csv.DictReader(line for line in lines if not line.startswith("#")))
