"""Areas, their uncertainty, lakes and glaciers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline.figures import (
    class_code,
)
from frostmap.pipeline.report.contents import has_table, numbers
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import km2_in_words, percent, signed
from frostmap.pipeline.work import Work


def areas(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return the area of each class."""
    epochs = work.recipe.epochs.named()
    area = {
        epoch.title: found for name, epoch in epochs.items() if (found := numbers(work.metrics, f"areas_km2.{name}"))
    }
    parts: list[Picture | Table] = list(pictures.get("areas", []))
    if not area:
        return Section("areas", "Frost number and areas", [], parts, ["There are no areas yet."])
    keys = sorted(
        {key for found in area.values() for key, km2 in found.items() if key != "unknown" or km2}, key=class_code
    )
    both = len(area) == 2
    rows = []
    for key in [*keys, None]:
        sizes = [sum(found.values()) if key is None else found.get(key, 0.0) for found in area.values()]
        shares = [
            size / total if (total := sum(found.values())) else math.nan
            for size, found in zip(sizes, area.values(), strict=True)
        ]
        name = "all" if key is None else CLASS_NAMES.get(class_code(key), key)
        cells = [cell for size, share in zip(sizes, shares, strict=True) for cell in (f"{size:,.0f}", percent(share))]
        rows.append((name, *cells, *([signed(sizes[1] - sizes[0], 0)] if both else [])))
    header = ["class", *(cell for title in area for cell in (f"{title} [km²]", "share"))]
    table = Table("Areas on the WGS 84 ellipsoid", (*header, *(["change [km²]"] if both else [])), rows)
    caution = (
        "Areas count whole pixels. They carry no interval: errors of neighbouring pixels go together. How often the "
        "map is wrong at a place is said under validation."
    )
    sentences = [caution, *probability_sentences(work)]
    return Section(
        "areas",
        "Frost number and areas",
        sentences,
        [*parts, table, *thresholds(work), *single_years(work), *covers(work)],
        [],
    )


def probability_sentences(work: Work) -> list[str]:
    """Return how much of the map is undecided, by the errors of what decides it."""
    sentences = []
    for name, epoch in work.recipe.epochs.named().items():
        found = numbers(work.metrics, f"uncertainty.{name}")
        if found.get("compared_km2") and "undecided_km2" in found:
            sentences.append(
                f"In {epoch.title}, permafrost is neither probable nor improbable (between 0.1 and 0.9) under "
                f"{percent(found['undecided_km2'] / found['compared_km2'])} of the ground, with standard errors of "
                f"{percent(found['ddf_error'])} in a pixel's freezing and {percent(found['ddt_error'])} in its thawing "
                f"sum; all probabilities add up to {km2_in_words(found['expected_permafrost_km2'])}."
            )
    return sentences


def covers(work: Work) -> list[Table]:
    """Return what lakes and glaciers cover, what is shown as such, and what was wrong with their sources."""
    counts = {
        "polygons": "polygons",
        "empty": "without geometry",
        "repaired": "repaired",
        "overlap_km2": "counted once [km²]",
        "no_value": "pixels without value",
    }
    found = []
    for name, epoch in work.recipe.epochs.named().items():
        if has_table(work, f"masks-{name}"):
            tiles = work.table(f"masks-{name}").groupby("what")
            of = tiles[["km2", *counts]].sum(min_count=1).assign(empty=tiles["empty"].max()).reset_index()
            shown = numbers(work.metrics, f"areas_km2.{name}")
            of["shown"] = [shown.get(what.removesuffix("s"), math.nan) for what in of["what"]]
            found.append(of[of["km2"] > 0].assign(what=of["what"] + ", " + epoch.title))
    if not found:
        return []
    table = pd.concat(found, ignore_index=True)
    kept = ["km2", "shown", *(name for name in counts if table[name].notna().any())]
    rows = [
        (str(row["what"]), *("" if pd.isna(row[name]) else f"{row[name]:,.0f}" for name in kept))
        for row in table.to_dict("records")
    ]
    titles = {"km2": "covered [km²]", "shown": "shown as such [km²]"} | counts
    header = ("", *(titles[name] for name in kept))
    notes = {
        "polygons": "A polygon is counted in each tile that it touches. Those that cross themselves are repaired; what "
        "several cover counts once.",
        "no_value": "Pixels where a raster has no value count as free.",
    }
    note = " ".join(text for name, text in notes.items() if name in kept)
    return [Table("What lakes and glaciers cover", header, rows, note)] if rows else []


def thresholds(work: Work) -> list[Table]:
    """Return what the areas would be if more or less freezing counted as none."""
    rows: dict[str, list[str]] = {}
    titles = []
    for name, epoch in work.recipe.epochs.named().items():
        if has_table(work, f"areas_by_threshold-{name}"):
            titles.append(epoch.title)
            for row in work.table(f"areas_by_threshold-{name}").to_dict("records"):
                mark = " (the map's)" if row["chosen"] else ""
                cells = [f"{row[key]:,.0f}" for key in ("permafrost", "seasonally_frozen", "non_frozen")]
                rows.setdefault(f"{row['threshold']:g}{mark}", []).extend(cells)
    if not rows:
        return []
    classes = ("permafrost", "seasonally frozen", "non-frozen")
    header = ("freezing up to [°C d]", *(f"{name}, {title} [km²]" for title in titles for name in classes))
    note = "No publication says how much freezing still counts as none. Ground that freezes by no more is non-frozen."
    return [
        Table(
            "What the limit of non-frozen ground decides", header, [(key, *cells) for key, cells in rows.items()], note
        )
    ]


def single_years(work: Work) -> list[Table]:
    """Return the areas of each single year's map, for epochs of several years."""
    lines = []
    for name, epoch in work.recipe.epochs.named().items():
        if not has_table(work, f"single_years-{name}"):
            continue
        table = work.table(f"single_years-{name}")
        if len(table) < 2:
            continue
        for row in table.to_dict("records"):
            known = row["permafrost"] + row["seasonally_frozen"] + row["non_frozen"]
            cells = [f"{row[key]:,.0f}" for key in ("permafrost", "seasonally_frozen", "non_frozen")]
            lines.append(
                (f"{row['year']}", epoch.title, *cells, percent(row["agreeing"] / known if known else math.nan))
            )
    header = (
        "year",
        "epoch",
        "permafrost [km²]",
        "seasonally frozen [km²]",
        "non-frozen [km²]",
        "agrees with the epoch",
    )
    note = "Each year's own degree-day sums, with E, lakes and glaciers of the epoch."
    return [Table("Maps of single years", header, lines, note)] if lines else []
