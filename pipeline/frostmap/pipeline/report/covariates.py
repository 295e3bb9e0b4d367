"""The predictors of E: what they are made of, and which pixels lack one."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from frostmap.pipeline.report.contents import has_table
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import in_words, minus, percent
from frostmap.pipeline.schema import PREDICTORS
from frostmap.pipeline.work import Work

NAMES = {variable.name: variable.long_name for variable in PREDICTORS}


def covariates(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return what the predictors are made of, what became of their pixels, and how they are spread."""
    epochs = [epoch for epoch in work.recipe.epochs.named() if has_table(work, f"covariates-{epoch}")]
    if not epochs:
        absent = ["The run makes no predictors of E: its soil clusters are given."]
        absent = absent if work.recipe.sources.clusters else ["Predictors of E have not been made yet."]
        return Section("covariates", "Predictors of E", [], list(pictures.get("covariates", [])), absent)
    sentences, parts = [], list[Picture | Table](pictures.get("covariates", []))
    settings = work.recipe.covariates
    for epoch in epochs:
        table, label = work.table(f"covariates-{epoch}"), work.recipe.epochs.named()[epoch].title
        sentences += _lacking(table, label)
        parts.append(_pixels(table, label))
    rule = (
        "Missing predictors stay missing: such pixels have no E."
        if settings.fill == "none"
        else f"A missing predictor is the mean of the known pixels within {settings.fill_reach_km:g} km, weighted by "
        "the inverse square of their distance, as the recipe asks for."
    )
    files = _files(work, epochs)
    return Section("covariates", "Predictors of E", [*sentences, rule], [*parts, *files], [])


def _lacking(table: pd.DataFrame, label: str) -> list[str]:
    lacking = table[table["missing"] > 0]
    filled = table[table["filled"] > 0]
    sentences = []
    if len(lacking):
        worst = lacking.sort_values("missing", kind="stable").iloc[-1]
        share, on_land = (percent(worst[name] / worst["pixels"]) for name in ("missing", "missing_on_land"))
        sentences.append(
            f"In {label}, {in_words([NAMES[name] for name in lacking['what']])} "
            f"{'is' if len(lacking) == 1 else 'are'} missing on some pixels; most often {NAMES[worst['what']]}, on "
            f"{share} of the pixels ({on_land} that are mostly neither lake nor glacier)."
        )
    else:
        sentences.append(f"In {label}, every pixel of the region has every predictor.")
    if len(filled):
        sentences.append(
            f"On up to {percent((filled['filled'] / filled['pixels']).max())} of the pixels one was filled."
        )
    return sentences


def _pixels(table: pd.DataFrame, label: str) -> Table:
    counts = ("beyond", "no_value", "impossible", "filled", "missing", "missing_on_land")
    rows = [
        (
            NAMES[row["what"]] + ("" if row["units"] in (1, "1") else f" [{row['units']}]"),
            *(f"{row[name]:,}" for name in counts),
            *(minus(f"{row[name]:.4g}") if row[name] == row[name] else "–" for name in ("lowest", "mean", "highest")),
        )
        for row in table.to_dict("records")
    ]
    header = (
        "predictor", "beyond the source", "no value in the source", "a value that cannot be", "filled", "missing",
        "of these on land", "lowest", "mean", "highest",
    )  # fmt: skip
    note = "Pixels of the region. On land: where less than half of the pixel is lake or glacier."
    return Table(f"Pixels without a predictor, {label}", header, rows, note)


def _files(work: Work, epochs: list[str]) -> list[Picture | Table]:
    """Return what gridded predictors are made of, as a table; none where that is not known."""
    rows = []
    for name in [*(f"{kind}-{epoch}" for kind in ("precipitation", "snow_cover") for epoch in epochs), "soil"]:
        if not has_table(work, f"sources-{name}"):
            continue
        table = work.table(f"sources-{name}").astype({"first": str, "last": str, "series": object, "doi": object})
        epoch = name.partition("-")[2]
        label = f", {work.recipe.epochs.named()[epoch].title}" if epoch else ""
        for what, own in table.groupby("what", sort=False):
            series = own["series"].iloc[0]
            known = isinstance(series, str) and series
            first, last = own["first"].iloc[0], own["last"].iloc[-1]
            rows.append(
                (
                    f"{NAMES[str(what)]}{label}",
                    str(series) if known else "a raster of the mean",
                    str(own["doi"].iloc[0]) if known else "–",
                    f"{len(own):,}",
                    f"{own['layers'].sum():,}",
                    first if first == last else f"{first} to {last}",
                    "mean by area" if own["kernel"].iloc[0] == "area_means" else "interpolated",
                )
            )
    if not rows:
        return []
    header = ("predictor", "series", "doi", "files", "layers", "from first to last", "brought to pixels")
    note = "tables/sources-*.csv name every file, with its digest."
    return [Table("What gridded predictors are made of", header, rows, note)]
