"""Colours and style of every figure."""

from __future__ import annotations

from typing import Any

from frostmap.kernels.frost_number import (
    GLACIER,
    LAKE,
    NON_FROZEN,
    PERMAFROST,
    SEASONALLY_FROZEN,
)
from frostmap.pipeline.map_sheets import INK

DOTS_PER_INCH = 150
WIDTH = 8.5
"""Width of every figure [inch]."""

STYLE: Any = {  # matplotlib's own type names each of its settings
    "axes.edgecolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": DOTS_PER_INCH,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}

# Okabe and Ito (2008), Color universal design: told apart by all kinds of colour vision
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
PALE_BLUE, PALE_GREY, GREY = "#a9cfe6", "#ececec", "#8c8c8c"

CLASS_COLOURS = {
    PERMAFROST: BLUE,
    SEASONALLY_FROZEN: YELLOW,
    NON_FROZEN: VERMILION,
    GLACIER: SKY_BLUE,
    LAKE: BLACK,
}

STAMP = "simulated data"
"""What every figure says whose input is simulated."""
