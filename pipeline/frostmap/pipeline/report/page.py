"""The page: its sections in their order, written into one file."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import jinja2
from PIL import Image

from frostmap.catalogs.collections import load_collection
from frostmap.pipeline.figures import (
    FIGURES,
    Drawing,
)
from frostmap.pipeline.products.citations import SIMULATED, citations
from frostmap.pipeline.reference_maps import reference_scopes
from frostmap.pipeline.report.areas import areas
from frostmap.pipeline.report.change import change
from frostmap.pipeline.report.contents import region_in_words
from frostmap.pipeline.report.covariates import covariates
from frostmap.pipeline.report.explorer import explorer
from frostmap.pipeline.report.forcing import forcing
from frostmap.pipeline.report.granules import granules
from frostmap.pipeline.report.headline import headline
from frostmap.pipeline.report.method import method
from frostmap.pipeline.report.observations import completeness
from frostmap.pipeline.report.parts import Picture
from frostmap.pipeline.report.provenance import provenance
from frostmap.pipeline.report.reference import reference
from frostmap.pipeline.report.soil import soil
from frostmap.pipeline.report.truth import truth
from frostmap.pipeline.report.validation import validation
from frostmap.pipeline.report.words import flat, in_words, unbroken
from frostmap.pipeline.work import PRODUCTS, Work, products_of


def write_report(work: Work, figures: list[Path]) -> Path:
    """Write report/index.html for what the work directory has; return its path.

    Parameters
    ----------
    work
        The run; metrics, tables and provenance.json are taken from its folder.
    figures
        PNG files that `figures.draw_all` drew; their names say which they are.
    """
    pictures = read_pictures(work, figures)
    map_section, map_shown = explorer(work)
    cited = citations(work)
    sections = [
        headline(work, pictures),
        map_section,
        method(work),
        granules(work, pictures),
        completeness(work, pictures),
        forcing(work, pictures),
        covariates(work, pictures),
        soil(work, pictures),
        areas(work, pictures),
        validation(work, pictures),
        *([reference(work, pictures)] if reference_scopes(work.recipe) else []),
        change(work, pictures),
        *([truth(work, pictures)] if work.recipe.sources.truth else []),
        provenance(work),
    ]
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    page = environment.get_template("report.html.j2").render(
        title=work.recipe.title or f"Frozen ground, {work.recipe.name}",
        simulated=work.recipe.simulated,
        region=region_in_words(work),
        sections=sections,
        products=[load_collection(product) for kind in PRODUCTS for product in products_of(work.recipe, kind)],
        explorer=map_shown,
        explorer_script=_template("canvas.js") + _template("explorer.js"),
        cited=cited.under_headings(),
        simulated_data=SIMULATED if cited.simulated else "",
        uncited=cited.unknown,
        granules_were_read=work.recipe.sources.lst is not None,
        every_number=flat(work.metrics),
    )
    path = work.folder / "report" / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(page, encoding="utf-8")
    draft.replace(path)
    return path


def _template(name: str) -> str:
    return resources.files("frostmap.pipeline").joinpath("templates", name).read_text(encoding="utf-8")


def read_pictures(work: Work, paths: Iterable[Path]) -> dict[str, list[Picture]]:
    """Return the figures by the section that shows them, in the order of `FIGURES`."""
    files = {path.stem: path for path in paths}
    pictures: dict[str, list[Picture]] = {}
    for drawing in FIGURES:
        if drawing.name in files:
            pictures.setdefault(drawing.section, []).append(_picture(work, drawing, files[drawing.name]))
    return pictures


LARGE = 400_000
"""Pictures of more bytes are told in 256 colours of their own, which leaves a third of them; files keep all colours."""


def _in_few_colours(content: bytes) -> bytes:
    """Return a PNG with the 256 colours that suit it best, without dots to mix more of them."""
    few = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        palette = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(few, "PNG", optimize=True)
    return few.getvalue()


def _picture(work: Work, drawing: Drawing, path: Path) -> Picture:
    content = path.read_bytes()
    if len(content) > LARGE:
        content = _in_few_colours(content)
    width, height = struct.unpack(">II", content[16:24])  # of the IHDR chunk, always the first of a PNG
    epochs = in_words([epoch.title for epoch in work.recipe.epochs.named().values()])
    simulated = " (simulated)" if work.recipe.simulated else ""
    return Picture(
        drawing.title,
        drawing.caption.format(epochs=epochs),
        drawing.alternative.format(epochs=epochs).removesuffix(".") + simulated + ".",
        f"data:image/png;base64,{base64.b64encode(content).decode()}",
        width,
        height,
    )
