"""The report's numbers are those of metrics.json and of the tables: read from the built page by another reader."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from .conftest import Finished

CLASSES = {
    "permafrost": "permafrost",
    "seasonally frozen ground": "seasonally_frozen",
    "non-frozen ground": "non_frozen",
    "glacier": "glacier",
    "lake": "lake",
}
"""Names of classes in the page, and in tables."""
EPOCHS = {"2010": "training", "2020": "target"}


class Tables(HTMLParser):
    """The tables of a page: rows of cells by caption, as a reader sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._text: str | None = None
        self._caption = ""
        self.feed(page)

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td", "caption"):
            self._text = ""

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows[self._caption] = self._rows
        elif self._text is not None and tag == "caption":
            self._caption, self._text = self._text.strip(), None
        elif self._text is not None and tag in ("th", "td"):
            self._rows[-1].append(self._text.strip())
            self._text = None

    def __getitem__(self, caption: str) -> dict[str, list[str]]:
        """Return the cells of each row after its head."""
        return {head: cells for head, *cells in self.rows[caption][1:]}

    def header(self, caption: str) -> list[str]:
        return self.rows[caption][0][1:]


def number(text: str) -> float:
    """Return a number as the page writes it: thousands apart, a minus sign, a unit of shares."""
    plain = text.replace("\u2212", "-").replace("\u00b1", "").replace(",", "").replace("\u00a0", " ")
    return float(plain.removesuffix("%").strip())


@dataclass(frozen=True)
class Told:
    """A finished run, and what its page tells."""

    folder: Path
    page: Tables
    metrics: dict[str, Any]

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "tables" / f"{name}.csv")


@pytest.fixture(scope="module")
def told(pristine: Finished) -> Told:
    page = (pristine.folder / "report" / "index.html").read_text(encoding="utf-8")
    metrics = json.loads((pristine.folder / "metrics.json").read_text(encoding="utf-8"))
    return Told(pristine.folder, Tables(page), metrics)


def test_every_number_of_the_metrics_is_told_as_it_is(told: Told) -> None:
    def flat(content: dict[str, Any], above: str = "") -> dict[str, Any]:
        found = {}
        for key, value in content.items():
            found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
        return found

    listed, expected = told.page["metrics.json"], flat(told.metrics)
    assert listed.keys() == expected.keys()
    numeric = {key: value for key, value in expected.items() if isinstance(value, int | float)}
    assert len(numeric) > 100
    for key, value in numeric.items():
        if isinstance(value, float) and not np.isnan(value):
            assert number(listed[key][0]) == pytest.approx(value, rel=1e-5, abs=1e-12), key
        elif isinstance(value, int) and not isinstance(value, bool):
            assert number(listed[key][0]) == value, key


def test_areas_are_those_of_metrics_and_tables(told: Told) -> None:
    rows = told.page["Areas on the WGS 84 ellipsoid"]
    header = told.page.header("Areas on the WGS 84 ellipsoid")
    assert header == ["2010 [km²]", "share", "2020 [km²]", "share", "change [km²]"]
    for place, epoch in enumerate(EPOCHS.values()):
        of_metrics = told.metrics["areas_km2"][epoch]
        of_table = told.table(f"areas-{epoch}").set_index("class")["km2"]
        whole = sum(of_metrics.values())
        assert number(rows["all"][2 * place]) == pytest.approx(whole, abs=0.5)
        for name, key in CLASSES.items():
            km2 = of_metrics[key]
            assert of_table[key] == pytest.approx(km2)
            if name in rows:
                assert number(rows[name][2 * place]) == pytest.approx(km2, abs=0.5)
                assert number(rows[name][2 * place + 1]) == pytest.approx(100 * km2 / whole, abs=0.051)
            else:
                assert km2 == 0
    for name, key in CLASSES.items():
        if name in rows:
            before, after = (told.metrics["areas_km2"][epoch][key] for epoch in EPOCHS.values())
            assert number(rows[name][4]) == pytest.approx(after - before, abs=0.51)


def kappa_of(tp: float, fn: float, fp: float, tn: float) -> float:
    """Return Cohen's kappa by its definition."""
    n = tp + fn + fp + tn
    by_chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
    return ((tp + tn) / n - by_chance) / (1 - by_chance)


def test_boreholes_are_counted_as_their_table_does(told: Told) -> None:
    rows = told.page["Boreholes"]
    holes = told.table("boreholes").dropna(subset=["mapped"])
    there, mapped = holes["observed"] == "permafrost", holes["mapped"] == "permafrost"
    counts = {
        "tp": int((there & mapped).sum()), "fn": int((there & ~mapped).sum()),
        "fp": int((~there & mapped).sum()), "tn": int((~there & ~mapped).sum()),
    }  # fmt: skip
    assert counts == {name: told.metrics["validation"][name] for name in counts}
    tp, fn, fp, tn = counts.values()
    assert [int(number(cell)) for cell in rows["permafrost observed"]] == [tp, fn, tp + fn]
    assert [int(number(cell)) for cell in rows["no permafrost observed"]] == [fp, tn, fp + tn]
    assert [int(number(cell)) for cell in rows["all"]] == [tp + fp, fn + tn, tp + fn + fp + tn]
    measures = told.page[f"Agreement, n = {len(holes):,}"]
    assert number(measures["overall accuracy"][0]) == pytest.approx(100 * (tp + tn) / len(holes), abs=0.051)
    if np.isfinite(told.metrics["validation"]["kappa"]):
        kappa = kappa_of(tp, fn, fp, tn)
        assert number(measures["kappa"][0]) == pytest.approx(kappa, abs=5.1e-4)
        assert told.metrics["validation"]["kappa"] == pytest.approx(kappa)


def test_other_maps_at_boreholes_are_those_of_table_and_metrics(told: Told) -> None:
    rows, table = told.page["Beside other maps, at the same boreholes"], told.table("borehole_maps")
    assert len(rows) == len(table)
    for cells, row in zip(rows.values(), table.to_dict("records"), strict=True):
        assert int(number(cells[0])) == row["n"] == row["tp"] + row["fn"] + row["fp"] + row["tn"]
        assert number(cells[1]) == pytest.approx(100 * (row["tp"] + row["tn"]) / row["n"], abs=0.051)
        if np.isfinite(row["kappa"]):
            assert number(cells[2].partition(" (")[0]) == pytest.approx(row["kappa"], abs=5.1e-4)
            assert row["kappa"] == pytest.approx(kappa_of(row["tp"], row["fn"], row["fp"], row["tn"]))
        if row["map"] in told.metrics["validation"]["maps"]:
            assert told.metrics["validation"]["maps"][row["map"]]["tp"] == row["tp"]


def test_the_calibration_s_kappa_follows_from_its_counts(told: Told) -> None:
    rows, metrics = told.page["Surveyed pixels"], told.metrics["calibration"]
    tp, fn = (number(cell) for cell in rows["permafrost surveyed"][:2])
    fp, tn = (number(cell) for cell in rows["no permafrost surveyed"][:2])
    assert [tp, fn, fp, tn] == [metrics[name] for name in ("tp", "fn", "fp", "tn")]
    assert metrics["kappa"] == pytest.approx(kappa_of(tp, fn, fp, tn))


def test_agreement_with_other_maps_follows_from_its_areas(told: Told) -> None:
    rows = told.page["Agreement with other maps"]
    assert len(rows) == len(told.metrics["inconsistency"])
    by_areas = {
        tuple(round(each[f"{name}_km2"]) for name in ("both", "map_only", "reference_only", "neither")): each
        for each in told.metrics["inconsistency"].values()
    }
    for both, here, there, neither, agreement, kappa, _ in rows.values():
        areas = tuple(number(cell) for cell in (both, here, there, neither))
        whole = by_areas[tuple(round(area) for area in areas)]
        assert number(agreement) == pytest.approx(100 * (areas[0] + areas[3]) / sum(areas), abs=0.06)
        if kappa != "–":
            assert number(kappa) == pytest.approx(kappa_of(areas[0], areas[1], areas[2], areas[3]), abs=1e-3)
            assert whole["kappa"] == pytest.approx(number(kappa), abs=5.1e-4)


def test_transitions_are_those_of_the_table_and_add_up_to_the_metrics(told: Told) -> None:
    rows, table = told.page["Transitions"], told.table("transition")
    moved = table[(table["from"] != table["to"]) & (table["km2"] > 0)]
    assert len(rows) == len(moved)
    changed = told.metrics["change"]["changed_km2"]
    assert moved["km2"].sum() == pytest.approx(changed)
    assert table["km2"].sum() == pytest.approx(told.metrics["change"]["compared_km2"])
    areas = {(row["from"], row["to"]): row["km2"] for row in moved.to_dict("records")}
    for name, (km2, _, of_change, _) in rows.items():
        before, after = (CLASSES[each] for each in name.split(" to "))
        assert number(km2) == pytest.approx(areas[before, after], abs=0.5)
        assert number(of_change) == pytest.approx(100 * areas[before, after] / changed, abs=0.051)
    lost = sum(areas.get(("permafrost", to), 0.0) for to in ("seasonally_frozen", "non_frozen"))
    assert told.metrics["change"]["permafrost_lost_km2"] == pytest.approx(lost)


def test_change_of_each_class_is_after_less_before(told: Told) -> None:
    rows, table = told.page["Change of each class"], told.table("area_change").set_index("class")
    transition = told.table("transition")
    for name, (before, after, change, *_) in rows.items():
        key = CLASSES[name]
        assert number(before) == pytest.approx(transition.loc[transition["from"] == key, "km2"].sum(), abs=0.5)
        assert number(after) == pytest.approx(transition.loc[transition["to"] == key, "km2"].sum(), abs=0.5)
        assert number(change) == pytest.approx(table.loc[key, "after"] - table.loc[key, "before"], abs=0.51)
