"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from frostmap.catalogs.collections import load_collection
from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.frost_number import CLASS_NAMES, NO_CLASS, PERMAFROST
from frostmap.pipeline.completeness import outage_page
from frostmap.pipeline.figures import (
    BAD,
    EXPLAINED,
    FIGURES,
    FROM_ANOTHER,
    GRANULE_STATES,
    MISSING,
    OUTAGE,
    PRESENT,
    Drawing,
    class_code,
    epoch_in_words,
    granule_states,
)
from frostmap.pipeline.forest_validation import SCHEMES
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import SKY_KINDS
from frostmap.pipeline.stage import all_degree_years, all_years
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, maps_of
from frostmap.pipeline.work import PRODUCTS, Work

MOST_ROWS = 20
"""Longer lists are cut, with a word on where the rest is."""

PAPER_DOI = "10.6084/m9.figshare.30997375"
"""Data of the paper whose method this is."""


LST_ERRORS = ("up to 1 K", "up to 2 K", "up to 3 K", "any size")
EMISSIVITY_ERRORS = ("up to 0.01", "up to 0.02", "up to 0.04", "any size")
"""Error classes of the quality bits, in words."""


# ---- parts of the page ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A figure in the page."""

    title: str
    caption: str
    alternative: str
    """What it shows, for readers who cannot see it."""
    data: str
    """The PNG file as a data URI."""
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """A table in the page; the first column heads its rows."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, then pictures and tables, then what is left out and why."""

    name: str
    title: str
    sentences: list[str]
    parts: list[Picture | Table]
    absent: list[str]


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
    sections = [
        headline(work, pictures),
        method(work),
        granules(work, pictures),
        completeness(work, pictures),
        forcing(work, pictures),
        soil(work, pictures),
        areas(work, pictures),
        validation(work, pictures),
        change(work, pictures),
        *([truth(work, pictures)] if work.recipe.sources.truth else []),
        provenance(work),
    ]
    template = resources.files("frostmap.pipeline").joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = unbroken
    page = environment.from_string(template).render(
        title=work.recipe.title or f"Frozen ground, {work.recipe.name}",
        simulated=work.recipe.simulated,
        region=region_in_words(work),
        sections=sections,
        products=[load_collection(product) for names in PRODUCTS.values() for product in names],
        granules_were_read=work.recipe.sources.lst is not None,
        paper_doi=PAPER_DOI,
        every_number=flat(work.metrics),
    )
    path = work.folder / "report" / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(page, encoding="utf-8")
    draft.replace(path)
    return path


def read_pictures(work: Work, paths: Iterable[Path]) -> dict[str, list[Picture]]:
    """Return the figures by the section that shows them, in the order of `FIGURES`."""
    files = {path.stem: path for path in paths}
    pictures: dict[str, list[Picture]] = {}
    for drawing in FIGURES:
        if drawing.name in files:
            pictures.setdefault(drawing.section, []).append(_picture(work, drawing, files[drawing.name]))
    return pictures


def _picture(work: Work, drawing: Drawing, path: Path) -> Picture:
    content = path.read_bytes()
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


# ---- sections ---------------------------------------------------------------------------------------------------


def headline(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return the map and what it says, in sentences."""
    sentences = [
        *area_sentences(work),
        *change_sentences(work),
        *borehole_sentences(work),
    ]
    if work.recipe.simulated:
        sentences.insert(0, "Everything here is simulated: it judges the method, and says nothing about real ground.")
    absent = [] if "headline" in pictures else ["There is no map of frozen ground yet."]
    return Section("headline", "What was found", sentences, list(pictures.get("headline", [])), absent)


def area_sentences(work: Work) -> list[str]:
    """Return the permafrost area of the last epoch that has one."""
    for name, epoch in reversed(work.recipe.epochs.named().items()):
        area = numbers(work.metrics, f"areas_km2.{name}")
        kinds = sorted((class_code(key), km2) for key, km2 in area.items() if km2 > 0 and class_code(key) != NO_CLASS)
        total = sum(km2 for _, km2 in kinds)
        if total:
            shares = {code: f"{km2_in_words(km2)} ({percent(km2 / total)})" for code, km2 in kinds}
            sentence = (
                f"In {epoch_in_words(epoch)}, permafrost is mapped under "
                f"{shares.pop(PERMAFROST, 'nothing')} of the {km2_in_words(total)} that have a class"
            )
            rest = in_words([f"{CLASS_NAMES[code]} covers {text}" for code, text in shares.items()])
            unknown = area.get("unknown", 0.0)
            more = [f"No class could be given to {km2_in_words(unknown)} of the region."] if unknown else []
            return [f"{sentence}; {rest}." if rest else f"{sentence}.", *more]
    return []


def change_sentences(work: Work) -> list[str]:
    """Return how the permafrost area changed between the epochs."""
    epochs = list(work.recipe.epochs.named().items())
    if len(epochs) < 2:
        return []
    before, after = (numbers(work.metrics, f"areas_km2.{name}") for name, _ in epochs)
    if "permafrost" not in before or "permafrost" not in after or not before["permafrost"]:
        return []
    difference = after["permafrost"] - before["permafrost"]
    points = 100 * (after["permafrost"] / sum(after.values()) - before["permafrost"] / sum(before.values()))
    word = "larger" if difference > 0 else "smaller"
    sentence = (
        f"That is {km2_in_words(abs(difference))} {word} than in {epochs[0][1].title} "
        f"({signed(100 * difference / before['permafrost'], 1)} % of the area then, {signed(points, 2)} percentage "
        f"points of the region)"
    )
    moved = numbers(work.metrics, "change")
    if {"permafrost_lost_km2", "permafrost_gained_km2"} <= moved.keys():
        sentence += (
            f": {km2_in_words(moved['permafrost_lost_km2'])} went from permafrost to seasonally frozen or non-frozen "
            f"ground, and {km2_in_words(moved['permafrost_gained_km2'])} the other way"
        )
    return [f"{sentence}."]


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


def method(work: Work) -> Section:
    """Return how the map was made, with this run's own settings."""
    recipe, sources = work.recipe, work.recipe.sources
    steps: list[str] = []
    if sources.lst is not None:
        quality = recipe.quality
        steps.append(
            "Four overpasses a day of Terra and Aqua (MOD11A1, MYD11A1) are read. Temperatures are kept whose quality "
            f"bits allow an error of {LST_ERRORS[quality.max_lst_error_class]}, and in emissivity of "
            f"{EMISSIVITY_ERRORS[quality.max_emissivity_error_class]}."
        )
        if quality.residual_cloud_screen:
            steps.append(
                "What lies far from the median of the 8 days before and after, on the cold side or by day also on the "
                "warm one, is taken for cloud that the mask missed."
            )
        steps.append(_gap_filling_in_words(recipe))
        steps.append(
            f"{DAILY_MEANS[recipe.degree_days.daily_mean]} Means below and above 0 °C are summed to freezing and "
            f"thawing degree days of each {YEARS[recipe.degree_days.year]} with at least "
            f"{recipe.degree_days.minimum_days} valid days, and averaged over those of each epoch."
        )
        if recipe.ground_correction.method != "identity":
            steps.append(GROUND_CORRECTIONS[recipe.ground_correction.method])
        if recipe.ground_correction.freezing != "none":
            steps.append(
                "Freezing sums of the surface become those of the ground by a regression of yearly sums on weather "
                "stations, judged in the same way."
            )
    else:
        steps.append("Mean annual freezing and thawing degree-day sums (DDF, DDT) were given.")
    calibration = recipe.calibration
    clusters = (
        "Soil clusters were given"
        if sources.clusters
        else f"Pixels are grouped into {calibration.clusters} soil clusters"
    )
    surveys = "the surveyed map" if len(sources.surveys) == 1 else f"{len(sources.surveys)} surveyed maps"
    steps.append(
        f"{clusters}. E of each is chosen, between {calibration.lower:g} and {calibration.upper:g}, such that the map "
        f"of {recipe.epochs.training.title} agrees best with {surveys}: the exact maximum "
        f"of kappa. Where the surveys leave E undecided it is the value nearest to {calibration.prior:g}."
    )
    if recipe.epochs.target is not None:
        titles = [epoch.title for epoch in recipe.epochs.named().values()]
        predicted = in_words(titles if CALIBRATED in maps_of(recipe) else titles[1:])
        steps.append(
            f"A random forest of {recipe.transfer.trees} trees, grown on up to {recipe.transfer.samples:,} pixels of "
            f"{recipe.epochs.training.title}, predicts E of {predicted} from terrain, vegetation, snow, precipitation "
            "and soil texture."
        )
    steps.append(
        "The frost number is F = √DDF / (√DDF + E √DDT). Ground is permafrost where F is above 0.5, non-frozen where "
        f"DDF is at most {recipe.frozen_ground.non_frozen_below:g} °C d, and seasonally frozen elsewhere. Pixels with "
        f"at least {100 * recipe.frozen_ground.mask_fraction:g} % lake or glacier are shown as such."
    )
    return Section("method", "How it was made", steps, [], [])


DAILY_MEANS = {
    "sinusoid": "A sinusoid through the day's overpasses gives its mean temperature.",
    "mean4": "The mean of the day's overpasses by day and by night is taken for that of the day.",
    "sin_linear": "A wave by day and a line by night, through the day's overpasses, give its mean temperature.",
    "got09": "A cosine of the sun's height by day and a decay by night (Göttsche and Olesen), scaled to the day's "
    "overpasses, give its mean temperature.",
    "sun_response": "The course of a ground that the sun of the day heats, scaled to its overpasses, gives its mean "
    "temperature.",
}
YEARS = {"calendar": "year", "freezing": "year from July to June"}

GROUND_CORRECTIONS = {
    "pooled": "Thawing sums of the surface become those of the ground by a regression on weather stations (skin sum, "
    "NDVI, latitude; intervals of 16 days). It is judged at stations that were left out of its fit.",
    "per_interval": "Thawing sums of the surface become those of the ground by regressions on weather stations (skin "
    "sum, NDVI, latitude), one for each interval of 16 days and drawn towards the one of all. They are judged at "
    "stations that were left out of their fit.",
    "coefficients": "Thawing sums of the surface become those of the ground by coefficients that were given (skin sum, "
    "NDVI, latitude; intervals of 16 days).",
}


def _gap_filling_in_words(recipe: Recipe) -> str:
    gaps = recipe.gap_filling
    cycle = f"the pixel's annual cycle of clear days ({gaps.harmonics} harmonics, at least {gaps.minimum_observations}"
    if gaps.method == "annual_cycle":
        return (
            f"Gaps are filled with {cycle} observations) plus {gaps.anomaly_damping:g} times the mean anomaly of what "
            f"was seen that day within {gaps.anomaly_radius_km:g} km."
        )
    if gaps.method == "harmonic":
        return (
            f"Gaps are filled with a series of {gaps.harmonics} harmonics of each pixel's year, from which "
            f"observations more than {gaps.tolerance:g} K below the curve were dropped."
        )
    sentence = (
        f"Gaps are filled with what about {gaps.analogues:,} pixels of like temperature, elevation and NDVI did "
        f"between the day and those up to {gaps.reference_days} days before and after (SCSG)"
    )
    sentence += ", plus the day's own departure around the pixel." if gaps.residuals else "."
    tops = recipe.sources.cloud_top
    if tops is None:
        sentence += " Heights of cloud tops were not given: all cloud counts as shading the ground below, uncorrected."
    elif gaps.shading:
        sentence += (
            " Ground in the shade of clouds, by the heights of their tops, is corrected by what was seen in shade on "
            "the same days."
        )
    return f"{sentence} What no other day can tell is filled with {cycle} observations)."


def granules(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return what became of each granule that should exist."""
    table = granule_table(work)
    if table.empty:
        why = "were given" if work.recipe.sources.forcing else "are not there yet"
        absent = [f"No granules were read in this run: the degree-day sums {why}."]
        return Section("granules", "Granules", [], list(pictures.get("granules", [])), absent)
    count = {state: int((table["state"] == state).sum()) for state in GRANULE_STATES}
    good, missing = count[PRESENT] + count[FROM_ANOTHER], count[OUTAGE] + count[MISSING]
    elsewhere = sorted(set(table.loc[table["state"] == FROM_ANOTHER, "source"]))
    sentence = (
        f"Of {len(table):,} granules that the tiles and years call for, {good:,} ({percent(good / len(table))}) were "
        + (f"read ({count[FROM_ANOTHER]:,} of them from {in_words(elsewhere)})" if elsewhere else "read")
        + f", {missing:,} are in no catalogue"
        + (f" ({count[OUTAGE]:,} of them because of known outages)" if count[OUTAGE] else "")
        + f", and {count[BAD]:,} could not be had or read. Where a granule is lacking, the day counts as clouded."
    )
    shown = [state for state in GRANULE_STATES if state != FROM_ANOTHER or elsewhere]
    by_year = pd.crosstab([table["product"], table["year"]], table["state"]).reindex(columns=shown, fill_value=0)
    rows = [
        (f"{product} {year}", f"{sum(numbers):,}", *(f"{number:,}" for number in numbers))
        for (product, year), numbers in zip(by_year.index, by_year.to_numpy().tolist(), strict=True)
    ]
    header = ("product and year", "expected", *(GRANULE_STATES[state][0] for state in shown))
    parts: list[Picture | Table] = [
        *pictures.get("granules", []),
        Table("Granules by what became of them", header, rows),
    ]
    explained = table.loc[table["state"] == OUTAGE, "error"].str.removeprefix(EXPLAINED)
    if len(explained):
        outages = [(str(words), f"{n:,}", outage_page(str(words))) for words, n in explained.value_counts().items()]
        parts.append(Table("Known outages", ("outage", "granules", "told at"), sorted(outages)))
    faulty = table[table["state"].isin((BAD, MISSING))]
    if len(faulty):
        listed = [
            (str(row["id"]) or f"{row['product']} {row['tile']} {row['date']}", str(row["status"]), str(row["error"]))
            for row in faulty.head(MOST_ROWS).to_dict("records")
        ]
        more = len(faulty) - len(listed)
        where = "tables/granules-YEAR.csv and tables/composites-YEAR.csv have them all"
        note = f"And {more:,} more: {where}." if more > 0 else ""
        title = "Granules that are missing or unreadable, known outages aside"
        parts.append(Table(title, ("granule", "status", "reason"), listed, note))
    return Section("granules", "Granules", [sentence], parts, [])


def completeness(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return how much clouds took."""
    parts: list[Picture | Table] = list(pictures.get("data", []))
    shares = [
        work.table(f"overpasses-{year}") for year in all_years(work.recipe) if has_table(work, f"overpasses-{year}")
    ]
    if shares:
        columns = ["observed", "filled", "missing"]
        every = pd.concat(shares)
        present = [name for name in columns if name in every.columns]
        by_overpass: list[tuple[str, ...]] = [
            (
                f"{row['year']} {str(row['overpass']).replace('_', ', ').capitalize()}",
                *(percent(row[n]) for n in present),
            )
            for row in every.to_dict("records")
        ]
        parts.append(Table("Share of pixel-days in the region", ("overpass", *present), by_overpass))
    parts += _origins(work)
    absent = [] if parts else ["Observations were not counted in this run."]
    return Section("data", "Completeness of the observations", [], parts, absent)


def _origins(work: Work) -> list[Picture | Table]:
    """Return how the values of each overpass came about, all years together."""
    tables = [work.table(f"filling-{year}") for year in all_years(work.recipe) if has_table(work, f"filling-{year}")]
    if not tables:
        return []
    sums = pd.concat(tables).drop(columns=["year", "month"]).groupby("overpass", sort=False).sum()
    sky = list(SKY_KINDS)
    total = (sums[sky].sum(axis=1) + sums["missing"]).clip(lower=1)
    columns = [*sky, "from_cycle", "no_shading_model", "residual_cloud", "view_interpolated", "missing"]
    rows: list[tuple[str, ...]] = [
        (
            str(name).replace("_", ", ").capitalize(),
            *(percent(sums.loc[name, column] / total[name]) for column in columns),
        )
        for name in sums.index
    ]
    heads = tuple(column.replace("_", " ") for column in columns)
    note = "The first eight and the missing add up; the others say of which of these more is known."
    return [Table("What the sky was, and how values came about", ("overpass", *heads), rows, note)]


def forcing(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return the degree-day sums, and the correction of the thawing sums."""
    sentences, absent = [], []
    score = numbers(work.metrics, "ground_correction")
    wanted = {"n", "stations", "rmse_raw", "rmse_cross_validated", "bias_raw", "bias_cross_validated"}
    if wanted <= score.keys():
        sentences.append(
            f"At {score['stations']:,.0f} weather stations (n = {score['n']:,.0f} intervals of 16 days), thawing sums "
            f"differ from those measured in the ground by {score['rmse_raw']:.1f} °C d (root mean square; bias "
            f"{signed(score['bias_raw'], 1)}) without the correction, and by {score['rmse_cross_validated']:.1f} °C d "
            f"(bias {signed(score['bias_cross_validated'], 1)}) with it, each station predicted without itself."
        )
    elif work.recipe.ground_correction.method == "identity":
        absent.append("The thawing sums are not corrected to those of the ground: the recipe does not ask for it.")
    else:
        absent.append("There is no correction of the thawing sums in this run.")
    parts: list[Picture | Table] = list(pictures.get("forcing", []))
    if not parts:
        absent.append("There are no maps of degree days yet.")
    warnings = work.metrics.get("ground_correction", {})
    given = warnings.get("warnings", []) if isinstance(warnings, dict) else []
    sentences += [f"Look at this: {warning}." for warning in given]
    if has_table(work, "stations"):
        stations = work.table("stations")
        left_out = stations[stations["excluded"].notna()] if "excluded" in stations else stations[:0]
        if len(left_out):
            listed = [(str(row["station"]), str(row["excluded"])) for row in left_out.head(50).to_dict("records")]
            note = f"{len(left_out)} of {len(stations)}; tables/stations.csv has them all."
            parts.append(Table("Stations that are left out", ("station", "why"), listed, note))
    if has_table(work, "ground_correction"):
        units = {"constant": "°C d", "thawing": "1", "ndvi": "°C d", "latitude": "°C d a degree"}
        table = work.table("ground_correction")
        rows = [
            (str(row["term"]), minus(f"{row['value']:.5g}"), units.get(str(row["term"]), ""))
            for row in table.to_dict("records")
        ]
        parts.append(Table("Coefficients of the correction, intervals of 16 days", ("term", "value", "unit"), rows))
    parts += _daily_means(work)
    return Section("forcing", "Freezing and thawing", sentences, parts, absent)


def _daily_means(work: Work) -> list[Table]:
    """Return what other ways to the daily mean would make of the sums, at a sample of pixels."""
    names = [f"daily_means-{year}" for year in all_degree_years(work.recipe)]
    tables = [work.table(name) for name in names if has_table(work, name)]
    rows = [
        (
            str(row["year"]),
            str(row["method"]).replace("_", " "),
            *(f"{row[name]:,.0f}" for name in ("freezing", "thawing")),
            *(signed(row[f"{name}_difference"], 0) for name in ("freezing", "thawing")),
        )
        for table in tables
        for row in table.dropna().to_dict("records")
    ]
    if not rows:
        return []
    own = work.recipe.degree_days.daily_mean.replace("_", " ")
    heads = ("year", "daily mean", "DDF, °C d", "DDT, °C d", "DDF, difference", "DDT, difference")
    note = f"Means over every tenth pixel along rows and columns, sums of the skin. The map's is {own}."
    return [Table("What another daily mean would change", heads, rows, note)]


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
    return Section("areas", "Frost number and areas", sentences, [*parts, table, *covers(work)], [])


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
    return Section("validation", title, sentences, parts, [])


def change(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return what became of each class between the epochs."""
    epochs = work.recipe.epochs.named()
    parts: list[Picture | Table] = list(pictures.get("change", []))
    if len(epochs) < 2:
        return Section("change", "Change", [], parts, ["The run has one epoch: there is no change to show."])
    moved = numbers(work.metrics, "change")
    if not moved and not parts:
        return Section("change", "Change", [], parts, ["There is no comparison of the epochs yet."])
    sentences = []
    if moved.get("compared_km2"):
        sentences.append(
            f"{km2_in_words(moved['changed_km2'])} of the {km2_in_words(moved['compared_km2'])} that have a class in "
            f"both epochs changed it ({percent(moved['changed_km2'] / moved['compared_km2'])})."
        )
    sentences += _chain_sentences(work)
    return Section("change", "Change", sentences, parts, [])


def _chain_sentences(work: Work) -> list[str]:
    """Return whether both maps come from the same chain, and how much of the change another E would make."""
    before, after = (epoch.title for epoch in work.recipe.epochs.named().values())
    if CALIBRATED not in maps_of(work.recipe):
        mixed_chain = (
            f"The maps do not come from the same chain: E of {before} is calibrated, that of {after} is predicted by "
            "the forest (frozen_ground.training_e). Part of the change is the forest's error; the maps of E show where "
            "it differs."
        )
        return [mixed_chain]
    one_chain = (
        f"Both maps come from the same chain: the forest that was grown on the calibrated E of {before} predicts that "
        "of both epochs from their own predictors."
    )
    sentences = [one_chain]
    method, mixed = (numbers(work.metrics, f"change.{name}") for name in ("of_method", "from_calibrated"))
    if method and mixed:
        sentences.append(
            f"The calibrated E itself makes another map of {before}: {km2_in_words(method['changed_km2'])} have "
            f"another class there, for no reason but the method. Between that map and the one of {after}, "
            f"{km2_in_words(mixed['permafrost_lost_km2'])} of permafrost would seem lost and "
            f"{km2_in_words(mixed['permafrost_gained_km2'])} gained."
        )
    return sentences


def truth(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return how far the run is from the truth of its simulation."""
    parts: list[Picture | Table] = list(pictures.get("truth", []))
    epochs = list(work.recipe.epochs.named().items())
    found = {
        epoch.title: numbers(work.metrics, "truth" if name == epochs[-1][0] else f"truth.{name}")
        for name, epoch in epochs
    }
    found = {title: score for title, score in found.items() if score}
    if not found:
        return Section("truth", "Against the truth", [], parts, ["The run has not been compared with the truth yet."])
    measures: dict[str, tuple[str, Callable[[float], str]]] = {
        "pixels": ("pixels compared", lambda value: f"{value:,.0f}"),
        "class_agreement": ("pixels of the same class", percent),
        "class_kappa": ("kappa of the classes", decimal),
        "ddf_relative_rmse": ("error of DDF (root mean square, of its mean)", percent),
        "ddf_relative_bias": ("bias of DDF (of its mean)", percent),
        "ddt_relative_rmse": ("error of DDT (root mean square, of its mean)", percent),
        "ddt_relative_bias": ("bias of DDT (of its mean)", percent),
        "e_rmse": ("error of E (root mean square)", lambda value: f"{value:.4f}"),
        "e_within_interval_percent": ("E within its interval of 90 %", lambda value: percent(value / 100)),
        "e_within_error_percent": ("E within 1.645 standard errors", lambda value: percent(value / 100)),
        "brier": ("Brier score of the probability", decimal),
        "reliability_error": ("mean departure from the reliability curve", decimal),
    }
    rows = [
        (title, *(write(score[key]) if key in score else "" for score in found.values()))
        for key, (title, write) in measures.items()
        if any(key in score for score in found.values())
    ]
    parts.append(Table("Found against true", ("measure", *found), rows))
    sentence = "The input was simulated, so the truth is known everywhere, and the whole chain can be judged by it."
    return Section("truth", "Against the truth", [sentence], parts, [])


def provenance(work: Work) -> Section:
    """Return what made this: versions, recipe, settings, granules."""
    recipe = work.recipe
    path = work.folder / "provenance.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    absent = [] if content else ["There is no provenance.json: versions and granules are not recorded."]
    facts = [("recipe", recipe.name), ("SHA-256 of the recipe", recipe.digest())]
    if content.get("granules"):
        facts += [
            ("granules read", f"{len(content['granules']):,}"),
            ("SHA-256 of their names and digests", str(content.get("granules_sha256", ""))),
        ]
    if content:
        facts.append(("written (UTC)", str(content.get("written", ""))))
    parts: list[Picture | Table] = [Table("What made this", ("fact", "value"), facts)]
    software = content.get("software", {})
    if software:
        parts.append(Table("Software", ("package", "version"), [(str(k), str(v)) for k, v in software.items()]))
    settings = flat(recipe.model_dump(mode="json", exclude_none=True))
    parts.append(Table("Settings", ("key of the recipe", "value"), settings))
    sentence = (
        "The work directory has every number, map and record behind this page: metrics.json, tables/, maps/, cube.zarr "
        "and provenance.json."
    )
    return Section("provenance", "Provenance", [sentence], parts, absent)


# ---- numbers ----------------------------------------------------------------------------------------------------


def numbers(metrics: Mapping[str, object], path: str) -> dict[str, float]:
    """Return the finite numbers right under a dotted path of the metrics; empty where there are none.

    Examples
    --------
    >>> numbers({"validation": {"n": 109, "kappa": float("nan"), "interval": [0, 1]}}, "validation")
    {'n': 109}
    """
    node: object = metrics
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return {}
    return {
        str(key): value
        for key, value in node.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def binary_counts(metrics: Mapping[str, object], path: str) -> BinaryCounts | None:
    """Return a confusion table of the metrics, or None where it is not there."""
    found = numbers(metrics, path)
    names = ("tp", "fn", "fp", "tn")
    return BinaryCounts(*(int(found[name]) for name in names)) if set(names) <= found.keys() else None


def confusion(title: str, counted: BinaryCounts, observed: str) -> Table:
    """Return a confusion table for readers."""
    rows = [
        (f"permafrost {observed}", f"{counted.tp:,}", f"{counted.fn:,}", f"{counted.tp + counted.fn:,}"),
        (f"no permafrost {observed}", f"{counted.fp:,}", f"{counted.tn:,}", f"{counted.fp + counted.tn:,}"),
        ("all", f"{counted.tp + counted.fp:,}", f"{counted.fn + counted.tn:,}", f"{counted.n:,}"),
    ]
    return Table(title, ("", "permafrost mapped", "no permafrost mapped", "all"), rows)


def flat(content: Mapping[str, object], above: str = "") -> list[tuple[str, str]]:
    """Return nested content as dotted keys and texts.

    Examples
    --------
    >>> flat({"a": {"b": 1, "c": [0.5, 1.5]}, "d": None})
    [('a.b', '1'), ('a.c', '0.5, 1.5'), ('d', '')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, _text(value)))
    return rows


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return minus(f"{value:.6g}")
    return "" if value is None else str(value)


def km2_in_words(km2: float) -> str:
    """Return an area to three digits: what a reader can hold.

    Examples
    --------
    >>> km2_in_words(1_038_123.0), km2_in_words(48_321.0), km2_in_words(7.25), km2_in_words(0)
    ('1.04 million km²', '48,300 km²', '7.25 km²', '0 km²')
    """
    if km2 <= 0:
        return "0 km²"
    rounded = round(km2, 2 - math.floor(math.log10(km2)))
    if rounded >= 1e6:
        return f"{rounded / 1e6:.3g} million km²"
    return f"{rounded:,.0f} km²" if rounded >= 100 else f"{rounded:g} km²"


def percent(share: float) -> str:
    """Return a share of one in per cent; a dash where there is none.

    Examples
    --------
    >>> percent(0.8440), percent(-0.021), percent(float("nan"))
    ('84.4 %', '−2.1 %', '–')
    """
    return "–" if math.isnan(share) else minus(f"{100 * share:.1f} %")


def decimal(value: float) -> str:
    """Return a number to three decimals; a dash where there is none.

    Examples
    --------
    >>> decimal(0.57634), decimal(-0.2), decimal(float("nan"))
    ('0.576', '−0.200', '–')
    """
    return "–" if math.isnan(value) else minus(f"{value:.3f}")


def signed(value: float, digits: int) -> str:
    """Return a number with its sign.

    Examples
    --------
    >>> signed(-4.42, 1), signed(1234.5, 0), signed(0.0, 1)
    ('−4.4', '+1,234', '±0.0')
    """
    text = f"{value:+,.{digits}f}"
    return f"±{text[1:]}" if not float(text.replace(",", "")) else minus(text)


def minus(text: str) -> str:
    """Return a number's text with a minus sign in place of the hyphen."""
    return text.replace("-", "−")


def unbroken(text: str) -> str:
    """Return a text whose numbers stay on one line with their units.

    Examples
    --------
    >>> unbroken("84.4 % of 1.04 million km²") == "84.4\u00a0% of 1.04\u00a0million\u00a0km²"
    True
    """
    return re.sub(r"(?<=\d) (?=%|km|°C|K\b|million)|(?<=million) (?=km)", "\u00a0", text)


def in_words(names: Sequence[str]) -> str:
    """Return a list as words.

    Examples
    --------
    >>> in_words(["2010", "2020"]), in_words(["a", "b", "c"]), in_words([])
    ('2010 and 2020', 'a, b and c', '')
    """
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last


# ---- what there is ----------------------------------------------------------------------------------------------


def has_table(work: Work, name: str) -> bool:
    """Return whether an earlier step wrote a table."""
    return work.table_path(name).exists()


def granule_table(work: Work) -> pd.DataFrame:
    """Return what became of every granule, with its year and state; without rows where none was asked for."""
    parts = [part for kind in PRODUCTS if not (part := granule_states(work, kind)).empty]
    return pd.concat(parts, ignore_index=True) if parts else granule_states(work, "lst")


def region_in_words(work: Work) -> str:
    """Return where, how fine and when."""
    epochs = in_words([epoch_in_words(epoch) for epoch in work.recipe.epochs.named().values()])
    pixels = int(work.inside.sum())
    tiles = f"MODIS tiles {', '.join(work.tiles)}; " if work.tiles else ""
    plural = "s" if len(work.recipe.epochs.named()) > 1 else ""
    return f"{tiles}{pixels:,} pixels of {work.pixel_km:.3g} km; epoch{plural} {epochs}"
