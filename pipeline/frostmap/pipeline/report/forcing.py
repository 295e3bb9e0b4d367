"""Freezing and thawing."""

from __future__ import annotations

from collections.abc import Mapping

from frostmap.pipeline.report.contents import has_table, numbers
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import minus, signed
from frostmap.pipeline.stage import all_degree_years
from frostmap.pipeline.work import Work


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
