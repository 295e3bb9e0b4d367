"""What the report says of the map's agreement by region, near the permafrost limit, beside other maps, at stations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from frostmap.pipeline.reference_maps import reference_title
from frostmap.pipeline.report.contents import has_table, numbers
from frostmap.pipeline.report.parts import MOST_ROWS, Table
from frostmap.pipeline.report.words import decimal, percent
from frostmap.pipeline.stages.frozen_ground import CALIBRATED
from frostmap.pipeline.work import Work

GROUPS = {
    "region": "By region",
    "distance to the limit [km]": "By distance to the mapped limit of permafrost",
    "|F - 0.5|": "By how near the frost number is to its threshold",
    "observation": "By what was observed: a class, or a temperature",
}


def judgement_tables(work: Work) -> list[Table]:
    """Return the tables that the run has: groups of boreholes, other maps, stations that disagree."""
    tables = []
    if has_table(work, "borehole_groups"):
        groups = work.table("borehole_groups")
        for by, title in GROUPS.items():
            rows = groups[groups["by"] == by]
            if len(rows) > 1:
                tables.append(_groups_table(title, rows))
    if has_table(work, "borehole_maps"):
        maps = work.table("borehole_maps")
        if len(maps) > 1:
            tables.append(_maps_table(work, maps))
    if has_table(work, "station_evidence"):
        tables += _stations_table(work.table("station_evidence"))
    return tables


def judgement_sentences(work: Work) -> list[str]:
    """Return what became of the table's rows, intervals by regions, and what stations say."""
    sentences = []
    dropped = _mapping(work.metrics, "validation", "dropped")
    if dropped:
        reasons = [f"{reason} ({count})" for reason, count in dropped.items()]
        sentences.append(f"Rows of the table that are not compared: {'; '.join(reasons)}.")
    drawn = _mapping(work.metrics, "validation", "by_region_drawn_again")
    if "overall_accuracy" in drawn:
        ends = {name: [float(end) for end in drawn[name]] for name in ("overall_accuracy", "kappa")}
        accuracy, kappa = (
            f"{write(low)} to {write(high)}"
            for (low, high), write in zip(ends.values(), (percent, decimal), strict=True)
        )
        few = "" if drawn["trusted"] else ", which are too few for an interval to tell much"
        sentences.append(
            f"Boreholes of a region err together. With whole regions drawn again ({drawn['regions']}{few}), the 95 % "
            f"interval of the accuracy is {accuracy}, that of kappa {kappa}."
        )
    once = numbers(work.metrics, "validation.once_a_pixel")
    if once and once["pixels"] < numbers(work.metrics, "validation").get("n", 0):
        sentences.append(
            f"They lie in {once['pixels']:,.0f} pixels. With every pixel counted once, the accuracy is "
            f"{percent(once['overall_accuracy'])}."
        )
    stations = numbers(work.metrics, "station_evidence")
    if stations.get("decisive"):
        sentences.append(
            f"At {stations['decisive']:,.0f} of {stations['stations']:,.0f} weather stations the sums of the ground "
            "leave one class alone, whatever E within its bounds; the map agrees with "
            f"{stations['agree']:,.0f} of them."
        )
    return sentences


def _mapping(metrics: Mapping[str, object], *keys: str) -> dict[str, Any]:
    node: object = metrics
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return dict(node) if isinstance(node, Mapping) else {}


def _groups_table(title: str, rows: pd.DataFrame) -> Table:
    lines = [
        (str(row["group"]), f"{row['n']:,}", percent(row["overall_accuracy"]),
         f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}", decimal(row["kappa"]))
        for row in rows.head(MOST_ROWS).to_dict("records")
    ]  # fmt: skip
    more = len(rows) - len(lines)
    note = f"And {more:,} more: tables/borehole_groups.csv has them all." if more > 0 else ""
    return Table(title, ("boreholes", "n", "accuracy", "95 % interval", "kappa"), lines, note)


def _maps_table(work: Work, maps: pd.DataFrame) -> Table:
    lines = []
    for row in maps.to_dict("records"):
        test = "" if pd.isna(row["pairs"]) else f"{row['judged_alone_right']:.0f} : {row['map_alone_right']:.0f}"
        chance = "" if pd.isna(row["pairs"]) else decimal(float(row["p"]))
        lines.append(
            (_map_name(work, str(row["map"])), f"{row['n']:,}", percent(row["overall_accuracy"]),
             f"{decimal(row['kappa'])} ({decimal(row['kappa_low'])} to {decimal(row['kappa_high'])})",
             percent(row["sensitivity"]), percent(row["specificity"]), test, chance)
        )  # fmt: skip
    header = ("map", "n", "accuracy", "kappa (95 % interval)", "sensitivity", "specificity", "alone right", "p")
    first = _map_name(work, str(maps["map"].iloc[0]))
    note = (
        f"Alone right: boreholes where only {first} is right, and where only the other map is. p: McNemar's exact test "
        "of whether that is chance. Boreholes where a map has no ground are not compared."
    )
    return Table("Beside other maps, at the same boreholes", header, lines, note)


def _map_name(work: Work, name: str) -> str:
    epochs = work.recipe.epochs.named()
    if name == CALIBRATED:
        return f"{epochs['training'].title}, with the calibrated E"
    return f"the map of {epochs[name].title}" if name in epochs else reference_title(work.recipe, name)


def _stations_table(stations: pd.DataFrame) -> list[Table]:
    wrong = stations[stations["map_agrees"] == "no"]
    lines = [
        (str(row["name"] or row["station"]), f"{row['ddf']:,.0f}", f"{row['ddt']:,.0f}", decimal(row["critical_e"]),
         str(row["station_says"]), str(row["mapped"]), f"{row['pixel_ddf']:,.0f}", f"{row['pixel_ddt']:,.0f}",
         decimal(row["pixel_e"]))
        for row in wrong.head(MOST_ROWS).to_dict("records")
    ]  # fmt: skip
    if not lines:
        return []
    header = ("station", "DDF", "DDT", "critical E", "station", "map", "DDF of the pixel", "DDT of the pixel", "its E")
    more = len(wrong) - len(lines)
    rest = f" And {more:,} more." if more > 0 else ""
    note = f"Sums in °C d. All stations are in tables/station_evidence.csv.{rest}"
    return [Table("Weather stations whose own sums say otherwise than the map", header, lines, note)]
