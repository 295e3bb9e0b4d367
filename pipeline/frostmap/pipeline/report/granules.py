"""What became of each granule that should exist."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from frostmap.pipeline.completeness import outage_page
from frostmap.pipeline.figures import (
    BAD,
    EXPLAINED,
    FROM_ANOTHER,
    GRANULE_STATES,
    MISSING,
    OUTAGE,
    PRESENT,
)
from frostmap.pipeline.report.contents import granule_table
from frostmap.pipeline.report.parts import MOST_ROWS, Picture, Section, Table
from frostmap.pipeline.report.words import in_words, percent
from frostmap.pipeline.work import Work


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
        where = "tables/granules-YEAR.csv, composites-YEAR.csv and snow_days-YEAR.csv have them all"
        note = f"And {more:,} more: {where}." if more > 0 else ""
        title = "Granules that are missing or unreadable, known outages aside"
        parts.append(Table(title, ("granule", "status", "reason"), listed, note))
    return Section("granules", "Granules", [sentence], parts, [])
