"""Figures of a run: whatever its work directory has the data for.

One module a kind of figure; `catalogue` lists them all. A new figure is a function (work, sheet) that returns a Figure,
or None where the data is not there, and a row of the catalogue.
"""

from frostmap.pipeline.figures.catalogue import FIGURES, draw_all, draw_to_file
from frostmap.pipeline.figures.classes import CHANGES, GAINED, LOST, kind_of_change
from frostmap.pipeline.figures.contents import class_code, epoch_in_words, is_permafrost, years_in_words
from frostmap.pipeline.figures.drawing import Drawing, draw
from frostmap.pipeline.figures.granules import (
    BAD,
    EXPLAINED,
    FROM_ANOTHER,
    GRANULE_STATES,
    MISSING,
    OUTAGE,
    PRESENT,
    granule_states,
)
from frostmap.pipeline.figures.palette import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    DOTS_PER_INCH,
    GREEN,
    GREY,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    PURPLE,
    SKY_BLUE,
    STAMP,
    STYLE,
    VERMILION,
    WIDTH,
    YELLOW,
)

__all__ = [
    "BAD",
    "BLACK",
    "BLUE",
    "CHANGES",
    "CLASS_COLOURS",
    "DOTS_PER_INCH",
    "EXPLAINED",
    "FIGURES",
    "FROM_ANOTHER",
    "GAINED",
    "GRANULE_STATES",
    "GREEN",
    "GREY",
    "LOST",
    "MISSING",
    "ORANGE",
    "OUTAGE",
    "PALE_BLUE",
    "PALE_GREY",
    "PRESENT",
    "PURPLE",
    "SKY_BLUE",
    "STAMP",
    "STYLE",
    "VERMILION",
    "WIDTH",
    "YELLOW",
    "Drawing",
    "class_code",
    "draw",
    "draw_all",
    "draw_to_file",
    "epoch_in_words",
    "granule_states",
    "is_permafrost",
    "kind_of_change",
    "years_in_words",
]
