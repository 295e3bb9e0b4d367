"""Pictures for notebooks that a hand can move about in, by hvplot; where it is not installed, the same stand still.

hvplot is the extra `interactive`. Both kinds show the same numbers in the same colours, so that a notebook reads alike.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from pyproj import Transformer

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.explorer.layers import CHANGE, Layer, ends_of, layers_of
from frostmap.pipeline.explorer.pixels import Pixels, Place
from frostmap.pipeline.figures import CLASS_COLOURS
from frostmap.pipeline.figures.change import UNITS
from frostmap.pipeline.map_sheets import DEGREES, NO_VALUE_COLOUR, MapSheet, map_sheet
from frostmap.pipeline.work import Work

MOST_POINTS = 900
"""Of the paper along its longer side: all of it goes into the notebook's file."""


def is_there() -> bool:
    """Say whether hvplot is installed."""
    return find_spec("hvplot") is not None


def map_of(work: Work, name: str) -> Any:
    """Return a layer of a run's map, north up and equal in area.

    Parameters
    ----------
    work
        A work directory.
    name
        Of the layer, as `names` gives them: a variable and an epoch, ``permafrost_probability-target``.

    Returns
    -------
    holoviews.Overlay or matplotlib.figure.Figure
        With hvplot a map that moves and enlarges, and says latitude, longitude and value under the mouse.

    Raises
    ------
    UserError
        The run has no such layer.
    """
    layers = {layer.name: layer for layer in _plain_layers(work)}
    if name not in layers:
        raise UserError(
            "the run has no such layer of the map",
            where=str(work.folder),
            found=name,
            wanted=f"one of {', '.join(layers)}" if layers else "a run that has made its map",
            remedy="run the recipe to its maps, or ask for another layer",
        )
    layer = layers[name]
    sheet = map_sheet(work, points=min(MOST_POINTS, 4 * max(work.shape)))
    values = work.open(layer.group)[layer.variable].to_numpy()
    title = f"{layer.title}{' (simulated)' if work.recipe.simulated else ''}"
    return _moving_map(sheet, layer, values, title) if is_there() else _still_map(sheet, layer, values, title)


def names(work: Work) -> list[str]:
    """Return the names of the layers that `map_of` can show of a run."""
    return [layer.name for layer in _plain_layers(work)]


def year_of(work: Work, place: Place, year: str) -> Any:
    """Return a pixel's year: what was seen at each overpass and trusted, what the gaps were filled with, daily means.

    Parameters
    ----------
    work
        A work directory.
    place
        A pixel of the map.
    year
        One that the run has granules of.

    Returns
    -------
    holoviews.Overlay or matplotlib.figure.Figure
        Temperatures [°C] by date; with hvplot each overpass can be switched off, and a stretch of days be enlarged.
    """
    told = Pixels(work).year(place, year)
    days = pd.date_range(told["start"], periods=len(told["daily"]))
    filled, seen = (
        pd.DataFrame(
            {look["name"].replace("_", " "): np.array(look[kind], np.float64) for look in told["overpasses"]},
            index=days.rename("date"),
        )
        for kind in ("filled", "seen")
    )
    daily = pd.Series(np.array(told["daily"], np.float64), index=days.rename("date"), name="daily mean")
    seen = seen.where(np.column_stack([np.array(look["kept"], bool) for look in told["overpasses"]]))
    where = f"row {place.row}, column {place.column}, {year}"
    title = f"Surface temperature, {where}{' (simulated)' if work.recipe.simulated else ''}"
    return _moving_year(filled, seen, daily, title) if is_there() else _still_year(filled, seen, daily, title)


def _plain_layers(work: Work) -> list[Layer]:
    """Return the layers that are a variable of the cube as it is."""
    return [layer for layer in layers_of(Pixels(work)) if layer.name != CHANGE]


# ---- still --------------------------------------------------------------------------------------------------------


def _still_map(sheet: MapSheet, layer: Layer, values: npt.NDArray[Any], title: str) -> Figure:
    figure = Figure(figsize=(10, 10 / sheet.aspect + 0.6), layout="constrained")
    axes = figure.add_subplot()
    if layer.colours:
        low, high = _ends(sheet, layer, values)
        shown = sheet.draw_values(axes, values, cmap=layer.colours, vmin=low, vmax=high)
        figure.colorbar(shown, ax=axes, shrink=0.8, label=_label(layer))
    else:
        sheet.draw_colours(axes, values, CLASS_COLOURS, NO_VALUE_COLOUR)
        marks = [mpl.patches.Patch(color=colour, label=CLASS_NAMES[code]) for code, colour in CLASS_COLOURS.items()]
        figure.legend(handles=marks, loc="outside right upper", fontsize=8)
    axes.set_title(title)
    return figure


def _still_year(filled: pd.DataFrame, seen: pd.DataFrame, daily: pd.Series, title: str) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in filled:
        (line,) = axes.plot(filled.index, filled[name], linewidth=0.6, alpha=0.6)
        axes.plot(seen.index, seen[name], ".", markersize=3, color=line.get_color(), label=str(name))
    axes.plot(daily.index, daily, color="black", linewidth=1.2, label=str(daily.name))
    axes.set(title=title, xlabel="date", ylabel="temperature [°C]")
    axes.legend(fontsize=8)
    return figure


# ---- moving -------------------------------------------------------------------------------------------------------


def _moving_map(sheet: MapSheet, layer: Layer, values: npt.NDArray[Any], title: str) -> Any:
    import holoviews as hv
    import hvplot.xarray  # noqa: F401  # gives its scripts to the notebook
    from bokeh.models import FixedTicker

    style: dict[str, Any] = {"cmap": layer.colours, "clabel": _label(layer)}
    if layer.colours:
        style["clim"] = _ends(sheet, layer, values)
    else:
        codes = list(CLASS_COLOURS)  # they follow each other, each with its colour
        style |= {"cmap": list(CLASS_COLOURS.values()), "clim": (codes[0] - 0.5, codes[-1] + 0.5)}
        names_of = {code: CLASS_NAMES[code] for code in codes}
        style["colorbar_opts"] = {"ticker": FixedTicker(ticks=codes), "major_label_overrides": names_of}
    # hvplot's own images show one value under the mouse; with place and value there are three
    picture = hv.Image(_on_paper(sheet, layer, values), ["x", "y"], [layer.variable, "longitude", "latitude"])
    return picture.opts(
        colorbar=True,
        data_aspect=1,
        frame_width=620,
        title=title,
        tools=["hover"],
        xlabel="east [km]",
        ylabel="north [km]",
        **style,
    )


def _on_paper(sheet: MapSheet, layer: Layer, values: npt.NDArray[Any]) -> xr.Dataset:
    """Return a layer on the map's paper, (y, x) in km, with latitude and longitude."""
    held = np.ma.filled(sheet.on_paper(values).astype(np.float32), np.nan)
    if not layer.colours:
        held[~np.isin(held, list(CLASS_COLOURS))] = np.nan
    left, right, bottom, top = sheet.extent
    x = left + (np.arange(held.shape[1]) + 0.5) * (right - left) / held.shape[1]
    y = top - (np.arange(held.shape[0]) + 0.5) * (top - bottom) / held.shape[0]
    to_degrees = Transformer.from_crs(sheet.crs, DEGREES, always_xy=True)
    longitude, latitude = to_degrees.transform(*np.meshgrid(x, y))
    named = {layer.variable: held, "longitude": longitude.astype(np.float32), "latitude": latitude.astype(np.float32)}
    return xr.Dataset({name: (("y", "x"), each) for name, each in named.items()}, {"x": x / 1000, "y": y / 1000})


def _moving_year(filled: pd.DataFrame, seen: pd.DataFrame, daily: pd.Series, title: str) -> Any:
    import hvplot.pandas  # noqa: F401  # adds `hvplot` to tables, and its scripts to the notebook

    lines = filled.hvplot.line(line_width=0.8, alpha=0.6)
    dots = seen.hvplot.scatter(size=8)
    mean = daily.hvplot.line(color="black", line_width=1.5, label=str(daily.name))
    return (lines * dots * mean).opts(
        title=title, xlabel="date", ylabel="temperature [°C]", width=860, height=380, legend_position="right"
    )


def _ends(sheet: MapSheet, layer: Layer, values: npt.NDArray[Any]) -> tuple[float, float]:
    return layer.ends or ends_of(values[sheet.inside & np.isfinite(values)], layer.middle)


def _label(layer: Layer) -> str:
    name = layer.variable.replace("_", " ")
    return name if layer.units in ("", "1") else f"{name} [{UNITS.get(layer.units, layer.units)}]"
