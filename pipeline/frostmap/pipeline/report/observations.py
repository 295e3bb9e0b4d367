"""How much of the ground was seen."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from frostmap.pipeline.report.contents import has_table
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import percent
from frostmap.pipeline.schema import SKY_KINDS
from frostmap.pipeline.stage import all_years
from frostmap.pipeline.work import Work


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
