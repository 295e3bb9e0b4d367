"""The map against boreholes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from frostmap.pipeline.report.contents import binary_counts, has_table, numbers
from frostmap.pipeline.report.judgement import judgement_sentences, judgement_tables
from frostmap.pipeline.report.parts import MOST_ROWS, Picture, Section, Table, confusion
from frostmap.pipeline.report.words import decimal, minus, percent
from frostmap.pipeline.work import Work


def borehole_sentences(work: Work) -> list[str]:
    """Return how the map agrees with boreholes: with their number, and intervals."""
    counted = binary_counts(work.metrics, "validation")
    if counted is None or counted.n == 0:
        return ["The map was not compared with boreholes: how often it is right at a single place is not known."]
    low, high = counted.accuracy_interval()
    sentence = (
        f"Of n = {counted.n:,} boreholes, the map agrees with {counted.tp + counted.tn:,}: "
        f"{percent(counted.overall_accuracy)} (95 % interval {percent(low)} to {percent(high)})"
    )
    if not math.isnan(counted.kappa):
        low, high = counted.kappa_interval()
        interval = "" if math.isnan(low) else f" (95 % interval {minus(f'{low:.2f}')} to {minus(f'{high:.2f}')})"
        sentence += f"; kappa, the agreement beyond chance, is {minus(f'{counted.kappa:.2f}')}{interval}"
    return [f"{sentence}. The intervals take the boreholes for a random sample of the region, which they seldom are."]


def validation(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return how the map agrees with boreholes."""
    title = "Validation with boreholes"
    counted = binary_counts(work.metrics, "validation")
    parts: list[Picture | Table] = list(pictures.get("validation", []))
    if counted is None or counted.n == 0:
        reason = (
            "The recipe names no boreholes" if work.recipe.sources.boreholes is None else "No boreholes were compared"
        )
        return Section("validation", title, [], parts, [f"{reason}: the map is not validated by observations."])
    extra = numbers(work.metrics, "validation")
    accuracy, kappa = counted.accuracy_interval(), counted.kappa_interval()
    positives, negatives = counted.tp + counted.fn, counted.fp + counted.tn
    rows = [
        ("overall accuracy", percent(counted.overall_accuracy), f"{percent(accuracy[0])} to {percent(accuracy[1])}"),
        ("kappa", decimal(counted.kappa), f"{decimal(kappa[0])} to {decimal(kappa[1])}"),
        (f"permafrost found by the map (of {positives:,})", percent(counted.true_positive_rate), ""),
        (f"its absence found by the map (of {negatives:,})", percent(counted.true_negative_rate), ""),
        ("balanced accuracy", percent(counted.balanced_accuracy), ""),
        ("Matthews correlation", decimal(counted.mcc), ""),
    ]
    note = "Intervals: Wilson for the accuracy, large-sample (Fleiss, Cohen and Everitt 1969) for kappa."
    parts += [
        confusion("Boreholes", counted, "observed"),
        Table(f"Agreement, n = {counted.n:,}", ("measure", "value", "95 % interval"), rows, note),
    ]
    sentences = borehole_sentences(work)
    if extra.get("moved"):
        sentences.append(
            f"{extra['moved']:,.0f} of them lie on a pixel of lake or glacier and are compared with the nearest other."
        )
    if extra.get("off_map"):
        sentences.append(f"{extra['off_map']:,.0f} more lie outside the map and are not compared.")
    if has_table(work, "boreholes"):
        wrong = work.table("boreholes").dropna(subset=["mapped"])
        wrong = wrong[wrong["observed"] != wrong["mapped"]]
        listed = [
            (str(row["name"]), f"{row['longitude']:.3f}", f"{row['latitude']:.3f}", str(row["observed"]),
             str(row["mapped"]), decimal(float(row["frost_number"])))
            for row in wrong.head(MOST_ROWS).to_dict("records")
        ]  # fmt: skip
        more = len(wrong) - len(listed)
        if listed:
            header = ("borehole", "longitude [°]", "latitude [°]", "observed", "mapped", "F")
            rest = f"And {more:,} more: tables/boreholes.csv has them all." if more > 0 else ""
            parts.append(Table("Boreholes where the map disagrees", header, listed, rest))
    parts += judgement_tables(work)
    return Section("validation", title, sentences + judgement_sentences(work), parts, [])
