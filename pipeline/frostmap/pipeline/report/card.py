"""A run in a few lines of HTML, as a notebook shows it."""

from __future__ import annotations

from html import escape

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline.figures import class_code
from frostmap.pipeline.report.contents import numbers, region_in_words
from frostmap.pipeline.report.headline import headline
from frostmap.pipeline.report.words import percent
from frostmap.pipeline.work import Work


def card(work: Work) -> str:
    """Return what a run has found as HTML: title, region, areas of each epoch's classes, what the report says first.

    All text is escaped. A run that has not come so far is told as far as it has come.
    """
    recipe = work.recipe
    parts = [f"<strong>{escape(recipe.title or recipe.name)}</strong>"]
    if recipe.simulated:
        parts.append('<span style="background: #a33b00; color: #fff; padding: 0 .4em">simulated data</span>')
    parts.append(f"<div>{escape(region_in_words(work))}</div>")
    areas = {
        epoch.title: found
        for name, epoch in recipe.epochs.named().items()
        if (found := numbers(work.metrics, f"areas_km2.{name}"))
    }
    if areas:
        parts.append(_table(areas))
    parts += [f"<p>{escape(sentence)}</p>" for sentence in headline(work, {"headline": []}).sentences]
    page = work.folder / "report" / "index.html"
    parts.append(
        f"<div>report: <code>{escape(str(page))}</code></div>" if page.is_file() else "<div>no report yet</div>"
    )
    return "\n".join(parts)


def _table(areas: dict[str, dict[str, float]]) -> str:
    """Return the areas of classes by epoch, and their shares of all."""
    keys = sorted({key for found in areas.values() for key, km2 in found.items() if km2}, key=class_code)
    heads = [cell for title in areas for cell in (f"{title} [km²]", "share")]
    rows = [_row("th", "", heads)]
    for key in keys:
        sizes = [(found.get(key, 0.0), sum(found.values())) for found in areas.values()]
        cells = [cell for km2, whole in sizes for cell in (f"{km2:,.0f}", percent(km2 / whole))]
        rows.append(_row("td", CLASS_NAMES.get(class_code(key), key), cells))
    return f"<table>{''.join(rows)}</table>"


def _row(tag: str, name: str, cells: list[str]) -> str:
    told = "".join(f'<{tag} style="text-align: right">{escape(cell)}</{tag}>' for cell in cells)
    return f"<tr><th>{escape(name)}</th>{told}</tr>"
