"""The soil parameter E: its calibration and its transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from frostmap.pipeline.forest_validation import SCHEMES
from frostmap.pipeline.report.contents import binary_counts, has_table, numbers
from frostmap.pipeline.report.parts import Picture, Section, Table, confusion
from frostmap.pipeline.report.words import decimal, minus, percent
from frostmap.pipeline.work import Work


def soil(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return E: its calibration and its transfer."""
    sentences: list[str] = []
    absent: list[str] = []
    parts: list[Picture | Table] = list(pictures.get("soil", []))
    counted = binary_counts(work.metrics, "calibration")
    if counted is not None and counted.n:
        at_one = numbers(work.metrics, "calibration").get("kappa_at_one")
        against = "" if at_one is None else f" (with E = 1 everywhere: {minus(f'{at_one:.3f}')})"
        sentences.append(
            f"On n = {counted.n:,} surveyed pixels the calibrated map reaches kappa {minus(f'{counted.kappa:.3f}')}"
            f"{against} and an overall accuracy of {percent(counted.overall_accuracy)}. These are the pixels that E "
            "was chosen on: the numbers say how well E can fit them, not how well the map does elsewhere."
        )
        sentences += _further(work)
        parts.append(confusion("Surveyed pixels", counted, "surveyed"))
    else:
        absent.append("E has not been calibrated yet.")
    if has_table(work, "clusters"):
        table = work.table("clusters")
        alone = int((table["surveyed_pixels"] == 0).sum())
        if alone:
            sentences.append(
                f"Nobody surveyed {alone} of the {len(table)} clusters: E there is the prior, "
                f"{work.recipe.calibration.prior:g}, and the map rests on it."
            )
        rows = [
            (
                f"{row['cluster']}",
                f"{row['e']:.4f}",
                f"{row['lower']:.4f} to {row['upper']:.4f}" if row["surveyed_pixels"] else "not surveyed",
                f"{row['surveyed_pixels']:,}",
            )
            for row in table.to_dict("records")
        ]
        parts.append(
            Table("E of each soil cluster", ("cluster", "E", "interval of indifference", "surveyed pixels"), rows)
        )
    if has_table(work, "calibration_regions") and len(regions := work.table("calibration_regions")):
        parts.append(_regions(regions))
    score = numbers(work.metrics, "transfer")
    if "samples" in score:
        sentences.append(
            f"The forest is grown on {score['samples']:,.0f} pixels. E is itself made from clusters of the same "
            "predictors, so its scores say how well the forest learns the clusters again, not how true E is."
        )
        sentences += applicability_sentences(work)
        judged = {name: numbers(work.metrics, f"transfer.{name}") for name in SCHEMES}
        parts.append(_cross_validation({name: scores for name, scores in judged.items() if scores}))
    elif work.recipe.epochs.target is None:
        absent.append("The run has one epoch: E is not carried to another.")
    return Section("soil", "Soil parameter E", sentences, parts, absent)


def _further(work: Work) -> list[str]:
    """Return what else is known of the calibration: boundaries, the choice of weight, regions that were left out."""
    found, sentences = numbers(work.metrics, "calibration"), []
    if found.get("boundary_cells") and "boundary_agreement" in found:
        sentences.append(
            f"Along the boundaries of the surveys (n = {found['boundary_cells']:,.0f} pixels) permafrost lies on its "
            f"side of seasonally frozen ground in {percent(found['boundary_agreement'])}."
        )
    draws = numbers(work.metrics, "calibration.weight_draws")
    if draws:
        least, greatest = minus(f"{draws['least_kappa']:.3f}"), minus(f"{draws['greatest_kappa']:.3f}")
        sentences.append(
            f"Other weights of kappa, drawn from 5 to 8 as published, give a kappa of {least} to {greatest} and move E "
            f"of a surveyed cluster within {draws['mean_range_of_e']:.3f} on average."
        )
    left_out = numbers(work.metrics, "calibration.regions_left_out")
    if "kappa" in left_out:
        honest = minus(f"{left_out['kappa']:.3f}")
        sentences.append(
            "When each region is mapped with E from the others alone, kappa is "
            f"{honest} over {left_out['regions']:.0f} regions: the honest number."
        )
    return sentences


def _regions(regions: pd.DataFrame) -> Table:
    rows = [
        (
            str(row["region"]),
            f"{row['n']:,}",
            f"{row['tp']:,}",
            f"{row['fn']:,}",
            f"{row['fp']:,}",
            f"{row['tn']:,}",
            percent(row["overall_accuracy"]),
            "–" if pd.isna(row["kappa"]) else minus(f"{row['kappa']:.3f}"),
        )
        for row in regions.to_dict("records")
    ]
    header = ("region left out", "n", "tp", "fn", "fp", "tn", "accuracy", "kappa")
    note = "A region that was surveyed with one class alone has no kappa."
    return Table("Surveyed regions, each mapped with E from the others", header, rows, note)


LEFT_OUT = {
    "random": "a fifth of the samples, at random",
    "blocks": "blocks of 200 km",
    "regions": "a region as a whole",
}
"""What cross-validation leaves out, in words."""


def _cross_validation(judged: Mapping[str, Mapping[str, float]]) -> Table:
    measures: dict[str, tuple[str, Callable[[float], str]]] = {
        "rmse": ("RMSE of E", lambda value: f"{value:.4f}"),
        "mae": ("MAE of E", lambda value: f"{value:.4f}"),
        "r": ("r", decimal),
        "variance_explained_percent": ("variance explained", lambda value: percent(value / 100)),
        "coverage_percent": ("within the interval of 90 %", lambda value: percent(value / 100)),
        "interval_width": ("mean width of the interval", lambda value: f"{value:.4f}"),
    }
    rows = [
        (LEFT_OUT[scheme], *(write(scores[key]) if key in scores else "–" for key, (_, write) in measures.items()))
        for scheme, scores in judged.items()
    ]
    header = ("left out", *(title for title, _ in measures.values()))
    note = (
        "Five forests, each grown without one fold, predict it; all folds together. Random folds have samples of the "
        "same cluster close by on all sides; blocks and regions do not, as most of the map does not either."
    )
    return Table("The forest's E against the calibrated E of samples that were left out", header, rows, note)


def applicability_sentences(work: Work) -> list[str]:
    """Return where the forest is asked about what it was never tried on."""
    sentences = []
    for name, epoch in work.recipe.epochs.named().items():
        found = numbers(work.metrics, f"uncertainty.{name}")
        if found.get("compared_km2") and "not_applicable_km2" in found:
            sentences.append(
                f"In {epoch.title}, {percent(found['not_applicable_km2'] / found['compared_km2'])} of the ground is "
                "more unlike the samples than any was unlike those of other blocks: how wrong E may be there is not "
                "known."
            )
    return sentences
