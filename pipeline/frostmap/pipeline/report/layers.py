"""The layers of the map to explore: classes as they are, numbers in steps that are small beside their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize, TwoSlopeNorm, to_hex

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline import schema
from frostmap.pipeline.figures import CHANGES, CLASS_COLOURS, kind_of_change
from frostmap.pipeline.figures.contents import group_of, label_of
from frostmap.pipeline.report.packing import FIRST, LEVELS, NO_VALUE, OUTSIDE, Codes, Predictor, Window, pack
from frostmap.pipeline.schema import Variable
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A map in the page."""

    name: str
    """What its parts in the page are called."""
    title: str
    heading: str
    """What it is listed under."""
    unit: str
    colours: tuple[str, ...]
    """Of each code, from `packing.FIRST` on."""
    names: tuple[str, ...] = ()
    """Of classes, as `colours`; none of numbers."""
    low: float = 0.0
    """Of numbers, what the first code stands for."""
    step: float = 1.0
    """Of numbers, how much more each further code stands for."""
    shown: tuple[float, float] = (0.0, 1.0)
    """Of numbers, the ends of the scale of colours."""
    predictor: Predictor = "median"
    packed: str = ""
    """The codes as `packing.pack` writes them; empty where the layer is a difference."""
    difference_of: tuple[str, str] | None = None
    """Two other layers of the same steps, the first minus the second."""


@dataclass(frozen=True)
class Quantity:
    """A variable whose numbers are a layer in each epoch that has it."""

    variable: Variable
    title: str
    unit: str
    step: float
    """In what steps it is told, if its range allows."""
    colours: str
    """A colour map of matplotlib."""
    group: Callable[[Work, str], str]
    """The group of the cube that holds it."""
    middle: float | None = None
    """What the middle of the colours stands for, if that matters."""
    ends: tuple[float, float] | None = None
    """Ends of the scale; found from the values if None."""
    varies: bool = True
    """Whether epochs differ: if not, the last that has it is shown."""
    change: str = ""
    """Colour map of its change between the epochs; no such layer if empty."""


def _group(stage: str) -> Callable[[Work, str], str]:
    return lambda _work, epoch: f"{stage}/{epoch}"


def _soil(work: Work, epoch: str) -> str:
    return e_group(work.recipe, epoch)


QUANTITIES = (
    Quantity(
        schema.PROBABILITY, "Probability of permafrost", "1", 0.02, "RdBu", _group("frozen_ground"), ends=(0.0, 1.0),
        change="RdBu",
    ),
    Quantity(
        schema.FROST_NUMBER, "Frost number F", "1", 0.005, "RdBu", _group("frozen_ground"), middle=0.5, change="RdBu"
    ),
    Quantity(schema.DDF, "Freezing degree days (DDF)", "°C d", 20.0, "cividis", _group("forcing"), change="RdBu"),
    Quantity(schema.DDT, "Thawing degree days (DDT)", "°C d", 20.0, "cividis", _group("forcing"), change="RdBu_r"),
    Quantity(schema.SOIL_E, "Soil parameter E", "1", 0.01, "viridis", _soil, change="RdBu_r"),
    Quantity(schema.E_SIGMA, "Standard error of E", "1", 0.005, "magma_r", _soil),
    Quantity(schema.ELEVATION, "Elevation", "m", 20.0, "cividis", _group("covariates"), varies=False),
)  # fmt: skip
"""In the order of the list of layers. Steps are a fifth of the errors to expect, or less."""

DIFFERENT = 2 * LEVELS - 1
"""Codes of a difference of two layers."""


def layers_of(work: Work, window: Window, coarser: float = 1.0) -> list[Layer]:
    """Return the layers that the work directory has the data for.

    Parameters
    ----------
    work
        The run.
    window
        The part of the grid that the page holds.
    coarser
        Factor of the steps of numbers: twice as large, an eighth shorter or more.
    """
    return [*_classes(work, window), *(layer for each in QUANTITIES for layer in _numbers(work, window, each, coarser))]


def _classes(work: Work, window: Window) -> list[Layer]:
    maps: dict[str, Codes] = {}
    for epoch in reversed(work.recipe.epochs.named()):  # the latest is shown first
        cube = group_of(work, f"frozen_ground/{epoch}", schema.FROZEN_GROUND.name)
        if cube is not None:
            maps[epoch] = cube[schema.FROZEN_GROUND.name].to_numpy()
    heading = "Frozen ground"
    layers = [
        _class_layer(
            work,
            window,
            codes,
            f"class-{epoch}",
            f"Frozen ground, {label_of(work, epoch)}",
            heading,
            {code: (CLASS_NAMES[code], colour) for code, colour in CLASS_COLOURS.items()},
        )
        for epoch, codes in maps.items()
    ]
    if len(maps) == 2:
        change = kind_of_change(maps["training"], maps["target"])
        title = f"Change of frozen ground, {label_of(work, 'training')} to {label_of(work, 'target')}"
        layers.append(_class_layer(work, window, change, "change", title, heading, CHANGES))
    return layers


def _class_layer(
    work: Work,
    window: Window,
    classes: Codes,
    name: str,
    title: str,
    heading: str,
    legend: Mapping[int, tuple[str, str]],
) -> Layer:
    code_of = np.full(256, NO_VALUE, dtype=np.uint8)
    code_of[list(legend)] = np.arange(FIRST, FIRST + len(legend))
    how, text = pack(np.where(work.inside, code_of[classes], OUTSIDE).astype(np.uint8), window)
    names, colours = zip(*legend.values(), strict=True)
    return Layer(name, title, heading, "", tuple(colours), tuple(names), predictor=how, packed=text)


def _numbers(work: Work, window: Window, quantity: Quantity, coarser: float) -> Iterable[Layer]:
    variable = quantity.variable.name
    maps: dict[str, Numbers] = {}
    for epoch in reversed(work.recipe.epochs.named()):
        cube = group_of(work, quantity.group(work, epoch), variable)
        if cube is not None and (quantity.varies or not maps):
            maps[epoch] = cube[variable].to_numpy()
    known = [values[work.inside & np.isfinite(values)] for values in maps.values()]
    if not sum(values.size for values in known):
        return
    low, step = steps(known, coarser * quantity.step)
    norm = _scale(known, quantity)
    value = low + step * np.arange(LEVELS, dtype=np.float64)
    names = {}
    for epoch, values in maps.items():
        names[epoch] = f"{variable}-{epoch}".replace("_", "-")
        how, text = pack(quantised(values, work.inside, low, step), window)
        title = f"{quantity.title}, {label_of(work, epoch)}" if quantity.varies else quantity.title
        yield Layer(
            names[epoch], title, quantity.title, quantity.unit, _colours(quantity.colours, norm, value),
            low=low, step=step, shown=_ends(norm), predictor=how, packed=text,
        )  # fmt: skip
    if len(maps) == 2 and quantity.change:
        about = Normalize(*_about_zero(maps["target"][work.inside] - maps["training"][work.inside], step))
        lowest = -step * (LEVELS - 1)
        yield Layer(
            f"{variable}-change".replace("_", "-"),
            f"{quantity.title}, {label_of(work, 'target')} minus {label_of(work, 'training')}",
            quantity.title,
            quantity.unit,
            _colours(quantity.change, about, lowest + step * np.arange(DIFFERENT, dtype=np.float64)),
            low=lowest,
            step=step,
            shown=_ends(about),
            difference_of=(names["target"], names["training"]),
        )


def steps(known: Iterable[Numbers], wanted: float) -> tuple[float, float]:
    """Return the lowest of the round numbers that tell some values, and their step.

    Parameters
    ----------
    known
        Values, all finite.
    wanted
        The step, if that many numbers are enough; else the next of 1, 2, 2.5, 5, 10, ... that is.

    Examples
    --------
    >>> steps([np.array([0.42, 0.61])], 0.005), steps([np.array([3.0, 9000.0])], 20.0)
    ((0.42, 0.005), (0.0, 50.0))
    """
    low = min(float(values.min()) for values in known if values.size)
    high = max(float(values.max()) for values in known if values.size)
    step = wanted
    while round(high / step) - round(low / step) >= LEVELS:
        power = 10.0 ** math.floor(math.log10(step) + 1e-9)
        step = next(factor * power for factor in (2.0, 2.5, 5.0, 10.0) if factor * power > step * (1 + 1e-9))
    return round(round(low / step) * step, 9), step


def quantised(values: Numbers, inside: npt.NDArray[np.bool_], low: float, step: float) -> Codes:
    """Return the nearest code of each number; `NO_VALUE` where it is NaN, `OUTSIDE` out of the region.

    Examples
    --------
    >>> inside = np.array([True, True, True, False])
    >>> quantised(np.array([0.42, 0.4349, np.nan, 0.5], np.float32), inside, 0.42, 0.005).tolist()
    [2, 5, 1, 0]
    """
    codes = np.full(values.shape, NO_VALUE, dtype=np.uint8)
    finite = np.isfinite(values)
    codes[finite] = np.clip(np.rint((values[finite] - low) / step), 0, LEVELS - 1).astype(np.uint8) + FIRST
    codes[~inside] = OUTSIDE
    return codes


def _scale(known: Sequence[Numbers], quantity: Quantity) -> Normalize:
    """Return what each value's place on the scale of colours is: from the 1st to the 99th percentile."""
    if quantity.ends is not None:
        return Normalize(*quantity.ends)
    every = np.concatenate(known)
    low, high = np.percentile(every, [1, 99])
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    if quantity.middle is None:
        return Normalize(float(low), float(high))
    spread = max(quantity.middle - low, high - quantity.middle)
    return TwoSlopeNorm(quantity.middle, quantity.middle - spread, quantity.middle + spread)


def _about_zero(difference: Numbers, step: float) -> tuple[float, float]:
    known = np.abs(difference[np.isfinite(difference)])
    spread = max(step, float(np.percentile(known, 98))) if known.size else step
    return -spread, spread


def _ends(norm: Normalize) -> tuple[float, float]:
    return float(norm.vmin or 0.0), float(norm.vmax or 0.0)


def _colours(name: str, norm: Normalize, values: npt.NDArray[np.floating]) -> tuple[str, ...]:
    shades = mpl.colormaps[name](np.clip(np.asarray(norm(values)), 0, 1))
    return tuple(to_hex(shade) for shade in shades)
