"""The map beside those of others, and beside other methods on the same sums."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd

from frostmap.catalogs.reference_maps import load_reference_map
from frostmap.pipeline.reference_maps import SAME, file_of, reference_scopes, reference_title
from frostmap.pipeline.report.contents import has_table
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import decimal, km2_in_words, minus, percent
from frostmap.pipeline.work import Work

WHOLE = "all"
HEADER = (
    "map", "permafrost in both", "here alone", "there alone", "in neither", "agreement", "kappa", "kappa of classes",
)  # fmt: skip


def reference(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return how the map agrees with reference maps, in all and in zones."""
    parts: list[Picture | Table] = list(pictures.get("reference", []))
    tables = [work.table(f"inconsistency-{scope}") for scope in reference_scopes(work.recipe)
              if has_table(work, f"inconsistency-{scope}")]  # fmt: skip
    title = "Beside other maps"
    if not tables:
        return Section("reference", title, [], parts, ["The map was not compared with other maps."])
    rows = pd.concat(tables, ignore_index=True)
    parts.append(_areas_table(work, rows[rows["zone"] == WHOLE]))
    parts += [
        _zone_table(work, str(zone), part) for zone, part in rows[rows["zone"] != WHOLE].groupby("zone", sort=False)
    ]
    if has_table(work, "magt_validation"):
        parts.append(_magt_table(work.table("magt_validation")))
    return Section("reference", title, _sentences(work, rows[rows["zone"] == WHOLE]), parts, [])


def _sentences(work: Work, whole: pd.DataFrame) -> list[str]:
    judged = ": boreholes do, above." if has_table(work, "borehole_maps") else "."
    sentences = [
        f"Maps are compared pixel by pixel where both have ground. That they differ does not say which is right{judged}"
    ]
    others = whole[whole["reference"] != SAME].dropna(subset=["kappa"])
    if len(others):
        (far, least), *_, (near, most) = [
            (reference_title(work.recipe, str(name)), float(kappa))
            for name, kappa in others.sort_values("kappa")[["reference", "kappa"]].itertuples(index=False)
        ] * (2 if len(others) == 1 else 1)
        sentence = f"The nearest is {near} (kappa {minus(f'{most:.2f}')})"
        if len(others) > 1:
            sentence += f", the farthest {far} (kappa {minus(f'{least:.2f}')})"
        sentences.append(f"{sentence}.")
    same = whole[whole["reference"] == SAME]
    if len(same):
        differs = float(same["map_only_km2"].sum() + same["reference_only_km2"].sum())
        sentences.append(
            "TTOP with r_k = E² is the frost number in other words, and draws the same map."
            if differs == 0
            else f"TTOP with r_k = E² should draw the same map; it differs in {km2_in_words(differs)}."
        )
    for scope in reference_scopes(work.recipe):
        given = file_of(work.recipe, scope)
        if given is not None and given.product is not None:
            known = load_reference_map(given.product)
            note = f" {known.note}" if known.note else ""
            sentences.append(
                f"{scope}: {known.title} ({known.years[0]} to {known.years[1]}, doi:{known.doi}; "
                f"{known.licence}).{note}"
            )
    return sentences


def _areas_table(work: Work, rows: pd.DataFrame) -> Table:
    note = (
        "Areas in km². Kappa: of permafrost or not, by area; kappa of classes tells seasonally frozen from non-frozen "
        "ground too, where the other map does."
    )
    return Table("Agreement with other maps", HEADER, [_line(work, row) for row in rows.to_dict("records")], note)


def _zone_table(work: Work, zone: str, rows: pd.DataFrame) -> Table:
    return Table(f"Agreement in the zone {zone}", HEADER, [_line(work, row) for row in rows.to_dict("records")])


def _line(work: Work, row: Mapping[Hashable, object]) -> tuple[str, ...]:
    km2 = [f"{float(str(row[f'{name}_km2'])):,.0f}" for name in ("both", "map_only", "reference_only", "neither")]
    scores = [decimal(float(str(row[name]))) for name in ("kappa", "kappa_of_classes")]
    return (reference_title(work.recipe, str(row["reference"])), *km2, percent(float(str(row["agreement"]))), *scores)


def _magt_table(scores: pd.DataFrame) -> Table:
    ways = {"random": "one in ten, at random", "regions": "a region of ten at a time"}
    lines = [
        (ways.get(str(row["left_out"]), str(row["left_out"])), f"{row['n']:,}", decimal(row["r2"]),
         decimal(row["rmse"]), decimal(row["bias"]))
        for row in scores.to_dict("records")
    ]  # fmt: skip
    header = ("boreholes left out", "n", "R²", "RMSE [K]", "bias [K]")
    note = "At boreholes that it was not fitted to, nor its settings chosen by."
    return Table("Ground temperature by regression", header, lines, note)
