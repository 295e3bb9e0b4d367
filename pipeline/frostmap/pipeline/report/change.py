"""What became of each class between the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline.figures import class_code
from frostmap.pipeline.figures.change import DRIVER_TITLES, UNITS
from frostmap.pipeline.report.contents import has_table, numbers
from frostmap.pipeline.report.parts import MOST_ROWS, Picture, Section, Table
from frostmap.pipeline.report.words import decimal, km2_in_words, percent, signed
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, maps_of
from frostmap.pipeline.work import Work


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
    if moved.get("changed_km2") and "degraded_km2" in moved:
        sentences.append(
            f"{km2_in_words(moved['degraded_km2'])} of them degraded: "
            f"{km2_in_words(moved['permafrost_lost_km2'])} from permafrost to other ground, "
            f"{km2_in_words(moved['frost_lost_km2'])} from seasonally frozen to non-frozen ground. "
            f"{km2_in_words(moved['permafrost_gained_km2'])} of permafrost were gained. Shares of change are given of "
            "both: of all that changed, and of what degraded."
        )
    sentences += _chain_sentences(work) + _significance_sentences(work) + _cause_sentences(work) + _spot_sentences(work)
    tables = _change_tables(work)
    return Section("change", "Change", sentences, [*parts, *tables], [])


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


def _significance_sentences(work: Work) -> list[str]:
    """Return how sure the change of permafrost's area is, and how much of what is lost is beyond the maps' errors."""
    sentences = []
    net = _mapping(work.metrics, "change", "net")
    if "change_interval" in net:
        low, high = net["change_interval"]
        sentences.append(
            f"Lakes and glaciers aside, the area of permafrost changed by {signed(net['change_km2'], 0)} km² (95 % "
            f"interval {signed(low, 0)} to {signed(high, 0)}): errors of pixels within "
            f"{work.recipe.change.errors_together_km:g} km of each other are taken to be alike, and those of the two "
            f"epochs to have a correlation of {net['errors_together']:.2f}."
        )
    if has_table(work, "change_parts"):
        table = work.table("change_parts")
        lost, sure, found = (
            float(table.loc[table["kind"] == "permafrost_lost", name].sum())
            for name in ("km2", "significant_km2", "discovered_km2")
        )
        if lost > 0:
            sentences.append(
                f"Of the permafrost that was lost, {percent(sure / lost)} changed by more than "
                f"1.96 standard errors. With at most {percent(work.recipe.change.false_discoveries)} of false "
                f"discoveries over all ground, it is {percent(found / lost)}."
            )
    return sentences


def _cause_sentences(work: Work) -> list[str]:
    """Return what of the lost permafrost forcing or E alone would have taken."""
    causes = numbers(work.metrics, "change.by_cause.permafrost_lost")
    lost = sum(causes.values())
    if not lost:
        return []
    forcing, e, either, both = (percent(causes.get(f"by_{name}_km2", 0.0) / lost) for name in CAUSES)
    sentence = (
        f"Degree-day sums alone explain {forcing} of the lost permafrost, E alone {e}; either would have done for "
        f"{either}, and only both together for {both}."
    )
    return [sentence]


CAUSES = ("forcing", "e", "either", "both")


def _spot_sentences(work: Work) -> list[str]:
    """Return how many hot spots there are."""
    if not has_table(work, "hot_spots") or not has_table(work, "change_blocks"):
        return []
    spots = work.table("hot_spots")
    found = spots[spots["found_by"] == "getis_ord"]
    if found.empty:
        return ["No block has more degraded ground around it than chance would have: there is no hot spot."]
    share = found.groupby("kind")["share_of_kind"].sum()
    words = {"permafrost_lost": "the permafrost that was lost", "frost_lost": "what became non-frozen"}
    held = "; ".join(f"{percent(float(share[kind]))} of {text}" for kind, text in words.items() if kind in share)
    return [f"{len(found)} hot spots hold {held}."]


def _change_tables(work: Work) -> list[Table]:
    makers = {
        "area_change": _area_table,
        "transition": _transition_table,
        "change_parts": _parts_table,
        "hot_spots": _spots_table,
        "driver_effects": _effects_table,
        "change_estimates": _estimates_table,
    }
    tables = [maker(work.table(name)) for name, maker in makers.items() if has_table(work, name)]
    return [table for table in tables if table is not None]


def _class(name: object) -> str:
    return CLASS_NAMES.get(class_code(name), str(name))


def _area_table(table: pd.DataFrame) -> Table:
    rows = [
        (_class(row["class"]), f"{row['before']:,.0f}", f"{row['after']:,.0f}", signed(row["difference"], 0),
         _points(row["points"]), _points(row["points_of_ground"]), _per_cent(row["relative"]))
        for row in table.to_dict("records")
    ]  # fmt: skip
    header = (
        "class",
        "before [km²]",
        "after [km²]",
        "change [km²]",
        "of all [points]",
        "of ground [points]",
        "of itself [%]",
    )
    note = (
        "Pixels that have a class in both epochs. Points are percentage points of all, and of the ground without lakes "
        "and glaciers; the last column is relative to the class's own area before."
    )
    return Table("Change of each class", header, rows, note)


def _points(value: float) -> str:
    return "–" if math.isnan(value) else signed(value, 2)


def _per_cent(value: float) -> str:
    return "–" if math.isnan(value) else signed(value, 1)


def _transition_table(table: pd.DataFrame) -> Table | None:
    if "share_of_changed" not in table:
        return None
    moved = table[(table["from"] != table["to"]) & (table["km2"] > 0)].sort_values("km2", ascending=False)
    rows = [
        (f"{_class(row['from'])} to {_class(row['to'])}", f"{row['km2']:,.0f}", percent(row["share_of_class"]),
         percent(row["share_of_changed"]), percent(row["share_of_degraded"]))
        for row in moved.to_dict("records")
    ]  # fmt: skip
    header = ("transition", "area [km²]", "of the class before", "of all change", "of degradation")
    note = "Degradation: permafrost to other ground, seasonally frozen to non-frozen ground."
    return Table("Transitions", header, rows, note) if rows else None


KINDS = {
    "permafrost_lost": "permafrost lost",
    "permafrost_gained": "permafrost gained",
    "frost_lost": "seasonally frozen to non-frozen",
    "frost_gained": "non-frozen to seasonally frozen",
    "stable_permafrost": "permafrost in both",
    "stable_seasonally_frozen": "seasonally frozen in both",
    "stable_non_frozen": "non-frozen in both",
    "all_ground": "all ground",
}


def _parts_table(table: pd.DataFrame) -> Table | None:
    kept = table[table["km2"] > 0]
    rows = [
        (KINDS.get(str(row["kind"]), str(row["kind"])), f"{row['km2']:,.0f}",
         *(_thousandths(row[name]) for name in ("frost_number_change", "by_freezing", "by_thawing", "by_e")),
         percent(row["forcing_larger"]), percent(row["significant_km2"] / row["km2"]))
        for row in kept.to_dict("records")
    ]  # fmt: skip
    header = ("ground", "area [km²]", "change of F", "freezing", "thawing", "E", "sums above E", "significant")
    note = (
        "Mean change of the frost number, in thousandths, and its parts, which add up to it. Sums above E: share of "
        "the area where the degree-day sums did more than E. Significant: beyond 1.96 standard errors."
    )
    return Table("What changed the frost number", header, rows, note) if rows else None


def _thousandths(value: float) -> str:
    return "–" if math.isnan(value) else signed(1000 * value, 1)


def _spots_table(table: pd.DataFrame) -> Table | None:
    rows = [
        (str(row["spot"]), KINDS.get(str(row["kind"]), str(row["kind"])),
         f"{row['west']:.1f} to {row['east']:.1f} °E, {row['south']:.1f} to {row['north']:.1f} °N",
         f"{row['changed_km2']:,.0f}", percent(row["share_of_ground"]), percent(row["share_of_changed"]),
         percent(row["share_of_degraded"]))
        for row in table.head(MOST_ROWS).to_dict("records")
    ]  # fmt: skip
    header = ("hot spot", "change", "where", "area [km²]", "of its ground", "of all change", "of degradation")
    more = len(table) - len(rows)
    note = f"And {more:,} more: tables/hot_spots.csv has them all." if more > 0 else ""
    return Table("Hot spots", header, rows, note) if rows else None


def _effects_table(table: pd.DataFrame) -> Table | None:
    kept = table.assign(size=table["delta"].abs()).sort_values(["spot", "size"], ascending=[True, False], kind="stable")
    order = {spot: place for place, spot in enumerate(dict.fromkeys(table["spot"]))}
    kept = kept.sort_values("spot", key=lambda names: names.map(order), kind="stable")
    rows = []
    for row in kept.head(2 * MOST_ROWS).to_dict("records"):
        variable, units = str(row["variable"]), str(row["units"])
        difference = signed(row["median_difference"], _digits(row["median_difference"]))
        interval = f"{decimal(row['delta_low'])} to {decimal(row['delta_high'])}"
        rows.append(
            (str(row["spot"]), DRIVER_TITLES.get(variable, variable.replace("_", " ")),
             f"{difference} {UNITS.get(units, units)}".removesuffix(" 1"),
             decimal(row["delta"]), interval, f"{row['n_degraded']:,.0f} : {row['n_stable']:,.0f}", _chance(row["p"]))
        )  # fmt: skip
    header = ("hot spot", "variable", "difference of medians", "delta", "95 % interval", "pixels", "p")
    note = (
        "Degraded ground less stable ground beside it. Delta (Cliff): how much more often a degraded pixel has the "
        "larger value than the smaller one; ±1 if always. Delta and p (Mann and Whitney) are of pixels thinned out, "
        "because neighbours tell the same. tables/drivers.csv has the boxes, tables/driver_effects.csv all rows."
    )
    return Table("Degraded ground against stable ground beside it", header, rows, note) if rows else None


def _digits(value: float) -> int:
    """Return the decimals that leave three digits of a number.

    >>> _digits(178.2), _digits(0.0741), _digits(0.0), _digits(1.8)
    (0, 4, 0, 2)
    """
    return 0 if value == 0 or math.isnan(value) else max(0, 2 - math.floor(math.log10(abs(value))))


def _chance(p: float) -> str:
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else decimal(p)


def _estimates_table(table: pd.DataFrame) -> Table:
    rows = [
        (KINDS.get(str(row["kind"]), str(row["kind"])), f"{row['mapped_km2']:,.0f}", f"{row['places']:,}",
         *((f"{row['estimated_km2']:,.0f}", f"{row['low_km2']:,.0f} to {row['high_km2']:,.0f}")
           if not math.isnan(row["error_km2"]) else ("–", "–")),
         percent(row["users_accuracy"]), percent(row["producers_accuracy"]))
        for row in table.to_dict("records")
    ]  # fmt: skip
    header = ("ground", "mapped [km²]", "places", "estimated [km²]", "95 % interval", "user's accuracy", "producer's")
    note = (
        "From places drawn at random in each row's mapped ground, whose class was found out: areas that do not rest on "
        "counted pixels. A dash: some ground has fewer than two places."
    )
    return Table("Areas of change by places that were looked at", header, rows, note)


def _mapping(metrics: Mapping[str, object], *keys: str) -> dict[str, Any]:
    node: object = metrics
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return dict(node) if isinstance(node, Mapping) else {}
