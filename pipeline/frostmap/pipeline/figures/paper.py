"""The figures and tables of the paper by their numbers, each from a run's own data, for print.

Numbers follow the sections of Chen et al. (2026, preprint): data and methods first, then the map, its validation, and
change; B1 and B2 are those of its appendix on the network. What is shown is a run's own; nothing is taken from theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.figures.classes import boreholes
from frostmap.pipeline.figures.drawing import Drawing, draw
from frostmap.pipeline.figures.palette import STYLE
from frostmap.pipeline.figures.paper_charts import drivers, free_e_map, free_e_shares, signs_of_e, stations
from frostmap.pipeline.figures.paper_maps import beside_others, change_and_spots, inconsistency, latest_map, study_area
from frostmap.pipeline.figures.paper_tables import agreement, areas, as_markdown, sampling_designs
from frostmap.pipeline.figures.values import forcing, soil_parameter
from frostmap.pipeline.figures.workflow import workflow
from frostmap.pipeline.map_sheets import MapSheet, map_sheet
from frostmap.pipeline.work import Work

Format = Literal["pdf", "png", "svg"]
FORMATS: tuple[Format, ...] = ("pdf", "png", "svg")
DOTS_PER_INCH = 300
POINTS = 2500
"""Of maps along their longer side: 300 dots an inch at the width of a figure."""


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper."""

    number: str
    title: str
    draws: Callable[[Work, MapSheet], Figure | None]
    needs: str
    """What a run must have for it, in words."""
    remedy: str
    """How a run comes to have it."""

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"figure-{int(self.number):02d}" if self.number.isdigit() else f"figure-{self.number}"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    number: str
    title: str
    makes: Callable[[Work], pd.DataFrame | None]
    needs: str
    remedy: str

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"table-{self.number}"


RUN = "finish the run: frostmap run WORKDIR/recipe.yaml"
TWO = "give the recipe a target epoch, and run it"
LARGE = "map a larger region, or name the place in the recipe: change.rectangles"
NETWORK = "frostmap experiment network WORKDIR"

PAPER_FIGURES: tuple[PaperFigure, ...] = (
    PaperFigure(
        "1", "Study area: elevation, surveyed regions, boreholes, stations", study_area,
        "elevation on the map's grid", RUN,
    ),
    PaperFigure("2", "From observations to maps", workflow, "a recipe", RUN),
    PaperFigure("3", "Freezing and thawing degree days", forcing, "degree-day sums", RUN),
    PaperFigure("4", "Soil parameter E in both epochs, and its change", soil_parameter, "the soil parameter E", RUN),
    PaperFigure("5", "Frozen ground in the latest epoch, and its areas", latest_map, "a map of frozen ground", RUN),
    PaperFigure(
        "6", "Boreholes on the map", boreholes, "boreholes compared with the map",
        "name a table of boreholes in the recipe (sources.boreholes), and run it",
    ),
    PaperFigure(
        "7", "Frozen ground by this run and by other maps", beside_others, "maps of others on the map's grid",
        "name some in the recipe (validation.reference_maps), and run it",
    ),
    PaperFigure(
        "8", "Where other maps differ on permafrost", inconsistency, "maps of others on the map's grid",
        "name some in the recipe (validation.reference_maps), and run it",
    ),
    PaperFigure(
        "9", "Degree-day sums measured at weather stations", stations, "weather stations compared with the map",
        "name stations in the recipe (sources.stations), and run it",
    ),
    PaperFigure("10", "Change of frozen ground, and where most of it is", change_and_spots, "maps of two epochs", TWO),
    PaperFigure(
        "11", "What drove the loss of permafrost",
        partial(drivers, kind="permafrost_lost", words="permafrost was lost"),
        "a hot spot of lost permafrost with stable permafrost beside it", LARGE,
    ),
    PaperFigure(
        "12", "What drove the loss of seasonal frost",
        partial(drivers, kind="frost_lost", words="seasonal frost was lost"),
        "a hot spot of lost seasonal frost with stable ground beside it", LARGE,
    ),
    PaperFigure(
        "13", "Where E rose and fell on degraded ground, and what changed with it", signs_of_e,
        "hot spots of change with E and covariates in both epochs", LARGE,
    ),
    PaperFigure(
        "B1", "E of an unconstrained network: how it is distributed", free_e_shares, "a trained network of E", NETWORK
    ),
    PaperFigure("B2", "E of an unconstrained network: the map", free_e_map, "a trained network of E", NETWORK),
)  # fmt: skip

PAPER_TABLES: tuple[PaperTable, ...] = (
    PaperTable(
        "1", "Sampling designs and sizes", sampling_designs, "the experiment on sampling designs",
        "frostmap experiment table1 WORKDIR",
    ),
    PaperTable(
        "2", "Agreement of the maps with boreholes", agreement, "boreholes compared with the map",
        "name a table of boreholes in the recipe (sources.boreholes), and run it",
    ),
    PaperTable("3", "Area of each class, and its change", areas, "areas of the classes", RUN),
)  # fmt: skip

Wanted = PaperFigure | PaperTable
EVERYTHING: tuple[Wanted, ...] = (*PAPER_FIGURES, *PAPER_TABLES)


def named(name: str) -> Wanted:
    """Return the figure or table that a name means.

    Raises
    ------
    UserError
        There is none of that name.

    Examples
    --------
    >>> [named(name).name for name in ("5", "fig. 5", "Figure-05", "b1", "figure B1", "table 2", "T2")]
    ['figure-05', 'figure-05', 'figure-05', 'figure-B1', 'figure-B1', 'table-2', 'table-2']
    """
    plain = re.sub(r"[\s._-]+", "", name.lower())
    kind = re.match(r"(figures?|fig|tables?|tab|t)?0*(b?\d+)$", plain)
    if kind:
        number = kind[2].upper()
        among: tuple[Wanted, ...] = PAPER_TABLES if (kind[1] or "").startswith("t") else PAPER_FIGURES
        for each in among:
            if each.number == number:
                return each
    raise UserError(
        "the paper has no figure or table of this name",
        where=name,
        wanted="1 to 13, B1, B2, table-1 to table-3",
        remedy="`frostmap figures` without a name lists and draws all that the run has the data for",
    )


def make(wanted: Wanted, work: Work, folder: Path, how: Format, sheet: MapSheet | None = None) -> list[Path] | None:
    """Draw a figure, or write a table (CSV and Markdown), into a folder; None where the run lacks the data."""
    if isinstance(wanted, PaperTable):
        table = wanted.makes(work)
        if table is None:
            return None
        paths = [folder / f"{wanted.name}.csv", folder / f"{wanted.name}.md"]
        title = f"Table {wanted.number}. {wanted.title}"
        for path, text in zip(
            paths, (table.to_csv(index=False), as_markdown(table, title, work.recipe.simulated)), strict=True
        ):
            _replace(path, text.encode())
        return paths
    drawing = Drawing(wanted.name, wanted.title, "", "", "", wanted.draws)
    figure = draw(drawing, work, sheet or map_sheet(work, POINTS))
    if figure is None:
        return None
    path = folder / f"{wanted.name}.{how}"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[how]
    with mpl.rc_context({**STYLE, "svg.hashsalt": "frostmap", "pdf.fonttype": 42}):
        figure.savefig(draft, format=how, dpi=DOTS_PER_INCH, metadata=metadata)
    draft.replace(path)
    return [path]


def lacking(wanted: Wanted, work: Work) -> DataIncomplete:
    """Return the error that says why a run has no such figure or table, and what to do."""
    kind = "table" if isinstance(wanted, PaperTable) else "figure"
    return DataIncomplete(
        f"the run has no data for {kind} {wanted.number} ({wanted.title.lower()})",
        where=str(work.folder),
        wanted=wanted.needs,
        remedy=wanted.remedy.replace("WORKDIR", str(work.folder)),
    )


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(path)
