"""The page that the browser is given first: which layers there are, and where the grid lies."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from frostmap.pipeline import schema
from frostmap.pipeline.explorer.layers import layers_of
from frostmap.pipeline.explorer.pixels import Pixels
from frostmap.pipeline.work import Work


def page(pixels: Pixels) -> str:
    """Return the page of a run as HTML."""
    work = pixels.work
    text = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    run = json.dumps(description(pixels), ensure_ascii=False).replace("<", "\\u003c")  # safe in a script element
    return environment.from_string(text).render(
        title=work.recipe.title or f"Frozen ground, {work.recipe.name}",
        simulated=work.recipe.simulated,
        sky=[kind.replace("_", " ") for kind in schema.SKY_KINDS],
        run=run,
    )


def description(pixels: Pixels) -> dict[str, Any]:
    """Return what the page's script knows from the start, as plain data."""
    work = pixels.work
    height, width = work.shape
    rows, columns = np.nonzero(work.inside)
    affine = work.geobox.affine
    return {
        "height": height,
        "width": width,
        "inside": [int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
        if len(rows)
        else None,
        "grid": {"left": affine.c, "top": affine.f, "across": affine.a, "down": affine.e, "kind": _kind(work)},
        "years": pixels.years,
        "sky": [kind.replace("_", " ") for kind in schema.SKY_KINDS],
        "layers": [{"name": each.name, "title": each.title, "heading": each.heading} for each in layers_of(pixels)],
        "boreholes": pixels.boreholes(),
    }


def _kind(work: Work) -> str:
    """Say how the script may find longitude and latitude: on MODIS's sinusoidal grid, in degrees, or not at all."""
    if work.tiles:
        return "sinusoidal"
    crs = work.geobox.crs
    return "degrees" if crs is not None and crs.geographic else "other"
