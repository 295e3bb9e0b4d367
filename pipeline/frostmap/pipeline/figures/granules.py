"""What became of each granule."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from frostmap.catalogs.collections import load_collection
from frostmap.pipeline.completeness import sources_asked
from frostmap.pipeline.figures.contents import table_of
from frostmap.pipeline.figures.layout import chart_figure, draw_legend, patch
from frostmap.pipeline.figures.palette import BLACK, BLUE, PALE_BLUE, VERMILION, YELLOW
from frostmap.pipeline.map_sheets import INK, MapSheet
from frostmap.pipeline.stage import all_years
from frostmap.pipeline.work import Work

PRESENT, FROM_ANOTHER, BAD, OUTAGE, MISSING = range(5)
GRANULE_STATES = {
    PRESENT: ("present", PALE_BLUE),
    FROM_ANOTHER: ("present, from another source", BLUE),
    BAD: ("could not be had or read", BLACK),
    OUTAGE: ("missing, known outage", YELLOW),
    MISSING: ("missing", VERMILION),
}
"""What may have become of a granule; light is as it should be or explained."""

GRANULE_TABLES = {"lst": "granules", "ndvi": "composites", "snow_cover": "snow_days"}
"""Tables of what became of granules, by kind, each followed by its year."""

EXPLAINED = "known outage: "
"""How the error of a granule begins that cannot exist."""


def granule_states(work: Work, kind: str) -> pd.DataFrame:
    """Return the tables of a kind of granules (lst, ndvi, snow_cover) as one, with each one's year and state.

    Returns
    -------
    pandas.DataFrame
        With the columns year and state (of `GRANULE_STATES`) beside those of the tables; without rows where there is
        no table.
    """
    columns = ("id", "product", "tile", "date", "source", "status", "error")
    found = []
    for year in all_years(work.recipe):
        table = table_of(work, f"{GRANULE_TABLES[kind]}-{year}", *columns)
        if table is not None:
            found.append(table.assign(year=year))
    if not found:
        return pd.DataFrame(columns=[*columns, "year", "state"])
    table = pd.concat(found, ignore_index=True)
    words = ["id", "source", "error"]
    table[words] = table[words].astype(object).fillna("")  # a column without any word is read as numbers
    first = sources_asked(work.recipe, kind)[:1]
    explained = table["error"].str.startswith(EXPLAINED)
    states = {
        PRESENT: (table["status"] == "ok") & (table["source"].isin(["", *first])),
        FROM_ANOTHER: table["status"] == "ok",
        BAD: table["status"] == "bad",
        OUTAGE: explained,
    }
    return table.assign(state=np.select(list(states.values()), list(states), MISSING))


def granules(work: Work, _sheet: MapSheet, *, product: str, kind: str) -> Figure | None:
    """Draw what became of each granule of a product: dates along x, tiles and years along y."""
    collection = load_collection(product)
    table = granule_states(work, kind)
    table = table[table["product"] == collection.product]
    if table.empty:
        return None
    rows = sorted(set(zip(table["tile"], table["year"], strict=True)))
    columns = -(-366 // collection.days)
    row = {place: number for number, place in enumerate(rows)}
    states = np.full((len(rows), columns), -1)
    across = (pd.to_datetime(table["date"]).dt.day_of_year - 1) // collection.days
    states[[row[place] for place in zip(table["tile"], table["year"], strict=True)], across] = table["state"]

    figure, axes = chart_figure(work, f"Granules of {collection.product}", height=1.45 + 0.17 * len(rows))
    axes.imshow(
        np.ma.masked_less(states, 0),
        cmap=ListedColormap([colour for _, colour in GRANULE_STATES.values()]),
        norm=Normalize(0, len(GRANULE_STATES) - 1),
        extent=(0.5, columns + 0.5, len(rows) - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
    )
    for number in range(1, len(rows)):
        new_tile = rows[number][0] != rows[number - 1][0]
        axes.axhline(number - 0.5, color=INK if new_tile else "white", linewidth=0.6)
    if collection.days == 1:
        axes.set_xlabel("day of the year")
        axes.set_xticks([1, *range(30, 361, 30)])
    else:
        axes.set_xlabel(f"composite of {collection.days} days")
        axes.set_xticks(range(1, columns + 1, 2))
    axes.set_ylabel("tile and year")
    axes.set_yticks(range(len(rows)), [f"{tile} {year}" for tile, year in rows])
    axes.tick_params(axis="y", length=0, labelsize=7)
    counts = table["state"].value_counts()
    patches = [
        patch(colour, f"{name} ({counts[state]:,})")
        for state, (name, colour) in GRANULE_STATES.items()
        if state in counts.index
    ]
    draw_legend(figure, patches, columns=3)
    return figure
