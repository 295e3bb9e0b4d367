"""Layers of the map: pictures of variables of the cube, each made when it is asked for."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline import schema
from frostmap.pipeline.explorer.pixels import Pixels
from frostmap.pipeline.figures import CHANGES, CLASS_COLOURS, kind_of_change
from frostmap.pipeline.figures.contents import label_of
from frostmap.pipeline.work import Work

Colour = tuple[float, float, float]

OUTSIDE, NO_VALUE, FIRST = 0, 1, 2
"""Codes of a picture: out of the region, no value, and the first of the values."""
LEVELS = 254
"""Most values that a picture tells apart."""
NO_VALUE_COLOUR: Colour = (0.83, 0.83, 0.83)


@dataclass(frozen=True)
class Layer:
    """A variable of the cube, and how it is coloured."""

    name: str
    title: str
    heading: str
    group: str
    variable: str
    units: str = ""
    colours: str = ""
    """Matplotlib's name of the colours; empty where they are those of classes."""
    ends: tuple[float, float] | None = None
    """Values of the first and last colour; of 1 and 99 % of the pixels if None."""
    middle: float | None = None
    """Value of the middle colour, where that means something."""


CHANGE = "change"
"""Name of the layer that compares the classes of the epochs."""


def layers_of(pixels: Pixels) -> list[Layer]:
    """Return the layers that the run has the data for; metadata is looked at, no map is read."""
    found = []
    for layer in _all_layers(pixels.work):
        cube = pixels.group(layer.group)
        if cube is not None and layer.variable in cube:
            found.append(layer)
    return found


def _all_layers(work: Work) -> Iterator[Layer]:
    epochs = list(reversed(work.recipe.epochs.named()))
    ground, classes = "frozen_ground", schema.FROZEN_GROUND.name
    for epoch in epochs:
        yield Layer(f"class-{epoch}", f"Frozen ground, {label_of(work, epoch)}", "Map", f"{ground}/{epoch}", classes)
    if len(epochs) == 2:
        title = f"Change, {label_of(work, 'training')} to {label_of(work, 'target')}"
        yield Layer(CHANGE, title, "Map", f"{ground}/target", classes)
    soil = "transfer" if len(epochs) == 2 else "calibration"
    several: tuple[tuple[schema.Variable, str, str, tuple[float, float] | None, float | None], ...] = (
        (schema.PROBABILITY, ground, "RdBu", (0.0, 1.0), None),
        (schema.FROST_NUMBER, ground, "RdBu", None, 0.5),
        (schema.SOIL_E, soil, "viridis", None, None),
        (schema.E_SIGMA, soil, "magma_r", None, None),
        (schema.DDF, "forcing", "cividis", None, None),
        (schema.DDT, "forcing", "cividis", None, None),
    )
    for variable, stage, colours, ends, middle in several:
        title = variable.long_name[:1].upper() + variable.long_name[1:]
        for epoch in epochs:
            yield Layer(
                f"{variable.name}-{epoch}",
                f"{title}, {label_of(work, epoch)}",
                title,
                f"{stage}/{epoch}",
                variable.name,
                variable.units,
                colours,
                ends,
                middle,
            )
    for variable in schema.PREDICTORS:
        title = variable.long_name[:1].upper() + variable.long_name[1:]
        group = f"covariates/{epochs[0]}"
        yield Layer(variable.name, title, "Predictors", group, variable.name, variable.units, "cividis")


def picture(work: Work, layer: Layer) -> dict[str, Any]:
    """Return a layer as plain data: a PNG of the whole grid as a data URI, and its legend.

    Returns
    -------
    image
        A pixel of the picture is a pixel of the map; transparent out of the region.
    names, swatches
        Of classes: each with its colour.
    low, high, ramp, units
        Of numbers: what the colours of `ramp` stand for, from the lowest to the highest.
    """
    cube = work.open(layer.group)
    if layer.name == CHANGE:
        before = work.open("frozen_ground/training")[layer.variable].to_numpy()
        return _classes(work, kind_of_change(before, cube[layer.variable].to_numpy()), CHANGES)
    values = cube[layer.variable].to_numpy()
    if not layer.colours:
        legend = {code: (CLASS_NAMES[code], colour) for code, colour in CLASS_COLOURS.items()}
        return _classes(work, values, legend)
    return _numbers(work, values, layer)


def _classes(work: Work, classes: npt.NDArray[np.uint8], legend: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    code_of = np.full(256, NO_VALUE, np.uint8)
    code_of[list(legend)] = np.arange(FIRST, FIRST + len(legend))
    codes = np.where(work.inside, code_of[classes], OUTSIDE).astype(np.uint8)
    colours = [to_rgb(colour) for _, colour in legend.values()]
    return {
        "image": _data_uri(codes, colours),
        "names": [name for name, _ in legend.values()],
        "swatches": [colour for _, colour in legend.values()],
    }


def _numbers(work: Work, values: npt.NDArray[Any], layer: Layer) -> dict[str, Any]:
    known = work.inside & np.isfinite(values)
    low, high = layer.ends or ends_of(values[known], layer.middle)
    share = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1)
    codes = np.where(known, FIRST + np.rint(share * (LEVELS - 1)), np.where(work.inside, NO_VALUE, OUTSIDE))
    shades = mpl.colormaps[layer.colours](np.linspace(0, 1, LEVELS))[:, :3]
    ramp = [mpl.colors.to_hex(shades[k]) for k in np.linspace(0, LEVELS - 1, 24).astype(int)]
    return {
        "image": _data_uri(codes.astype(np.uint8), [tuple(shade) for shade in shades.tolist()]),
        "low": float(f"{low:.4g}"),
        "high": float(f"{high:.4g}"),
        "ramp": ramp,
        "units": "" if layer.units == "1" else layer.units,
    }


def ends_of(values: npt.NDArray[Any], middle: float | None) -> tuple[float, float]:
    """Return what the first and the last colour stand for: 1 and 99 % of the values, as far to both sides of `middle`.

    Examples
    --------
    >>> ends_of(np.array([0.0, 1.0]), None)
    (0.01, 0.99)
    """
    if not values.size:
        return 0.0, 1.0
    low, high = (float(each) for each in np.percentile(values, [1, 99]))
    if middle is not None:
        spread = max(middle - low, high - middle)
        low, high = middle - spread, middle + spread
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _data_uri(codes: npt.NDArray[np.uint8], colours: list[Colour]) -> str:
    palette = [NO_VALUE_COLOUR, NO_VALUE_COLOUR, *colours]
    return f"data:image/png;base64,{base64.b64encode(png(codes, palette)).decode()}"


def png(codes: npt.NDArray[np.uint8], palette: list[Colour]) -> bytes:
    r"""Return codes of a palette as a PNG; code 0 is transparent.

    Parameters
    ----------
    codes
        (y, x) numbers of colours.
    palette
        Red, green and blue, each from 0 to 1.

    Examples
    --------
    >>> png(np.zeros((2, 3), np.uint8), [(0.0, 0.0, 0.0)])[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    height, width = codes.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with the number of its filter: none
    rows[:, 1:] = codes
    colours = np.rint(255 * np.asarray(palette, np.float64)).astype(np.uint8)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colours.tobytes()),
        (b"tRNS", b"\x00"),
        (b"IDAT", zlib.compress(rows.tobytes(), 1)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
