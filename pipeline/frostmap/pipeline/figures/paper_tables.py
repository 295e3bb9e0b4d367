"""The paper's tables from a run's own numbers: sampling designs, agreement with boreholes, areas."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.frost_number import CLASS_NAMES, GLACIER, LAKE, NO_CLASS
from frostmap.pipeline.figures.contents import class_code, label_of, table_of
from frostmap.pipeline.reference_maps import reference_title
from frostmap.pipeline.stages.frozen_ground import CALIBRATED
from frostmap.pipeline.work import Work

EXPERIMENT = "experiments/table1.csv"


def sampling_designs(work: Work) -> pd.DataFrame | None:
    """Return designs by sizes of samples: RMSE, MAE, r and variance explained, by each judge; the paper's beside it.

    Returns
    -------
    DataFrame
        source (here, paper), judged_by, design, samples, rmse, mae, r, variance_explained_percent.
    """
    path = work.folder / EXPERIMENT
    if not path.exists():
        return None
    columns = ["source", "judged_by", "design", "samples", "rmse", "mae", "r", "variance_explained_percent"]
    return pd.read_csv(path)[columns]


def agreement(work: Work) -> pd.DataFrame | None:
    """Return how each map agrees with the boreholes: counts, accuracy and kappa with intervals, and the four rates.

    Rates are in per cent of the boreholes of a class, observed: true positive and false negative add up to 100.
    """
    table = table_of(work, "borehole_maps", "map", "tp", "fn", "fp", "tn")
    if table is None:
        return None
    epochs = work.recipe.epochs
    own = {name: f"this run, {epoch.title}" for name, epoch in epochs.named().items()}
    own[CALIBRATED] = f"this run, {epochs.training.title}, with the calibrated E"
    rows = []
    for row in table.to_dict("records"):
        counted = BinaryCounts(*(int(row[name]) for name in ("tp", "fn", "fp", "tn")))
        name = str(row["map"])
        accuracy, kappa = counted.accuracy_interval(), counted.kappa_interval()
        rows.append(
            {
                "map": own[name] if name in own else reference_title(work.recipe, name),
                "n": counted.n,
                "tp": counted.tp,
                "fn": counted.fn,
                "fp": counted.fp,
                "tn": counted.tn,
                "overall_accuracy_percent": 100 * counted.overall_accuracy,
                "accuracy_low_percent": 100 * accuracy[0],
                "accuracy_high_percent": 100 * accuracy[1],
                "kappa": counted.kappa,
                "kappa_low": kappa[0],
                "kappa_high": kappa[1],
                "true_positive_percent": 100 * counted.true_positive_rate,
                "true_negative_percent": 100 * counted.true_negative_rate,
                "false_negative_percent": 100 * (1 - counted.true_positive_rate),
                "false_positive_percent": 100 * (1 - counted.true_negative_rate),
            }
        )
    return pd.DataFrame(rows)


def areas(work: Work) -> pd.DataFrame | None:
    """Return the area of each class in each epoch, its shares, and the change in area, points and per cent.

    Shares are of all that has a class, and, as `share_of_ground`, of what is neither lake nor glacier: the paper calls
    the former by the name of the latter.
    """
    epochs = list(work.recipe.epochs.named())
    found = {epoch: table_of(work, f"areas-{epoch}", "class", "km2") for epoch in epochs}
    known = {epoch: table for epoch, table in found.items() if table is not None}
    if not known:
        return None
    columns: dict[str, dict[int, float]] = {
        epoch: {
            class_code(name): float(km2)
            for name, km2 in zip(table["class"], table["km2"], strict=True)
            if class_code(name) != NO_CLASS
        }
        for epoch, table in known.items()
    }
    rows = []
    for code in [*CLASS_NAMES, None]:
        if code == NO_CLASS:
            continue
        row: dict[str, object] = {"class": "all" if code is None else CLASS_NAMES[code]}
        for epoch, area in columns.items():
            whole, ground = sum(area.values()), sum(km2 for kind, km2 in area.items() if kind not in (GLACIER, LAKE))
            here = whole if code is None else area.get(code, 0.0)
            label = label_of(work, epoch)
            row[f"{label}_km2"] = here
            row[f"{label}_share_percent"] = 100 * here / whole if whole else math.nan
            is_ground = code is not None and code not in (GLACIER, LAKE)
            row[f"{label}_share_of_ground_percent"] = 100 * here / ground if is_ground and ground else math.nan
        if len(columns) == 2:
            before, after = (sum(a.values()) if code is None else a.get(code, 0.0) for a in columns.values())
            shares = [float(str(row[f"{label_of(work, epoch)}_share_percent"])) for epoch in columns]
            row |= {
                "change_km2": round(after - before, 6),
                "change_points": round(shares[1] - shares[0], 9),
                "change_percent": round(100 * (after - before) / before, 9) if before else math.nan,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def as_markdown(table: pd.DataFrame, title: str, simulated: bool) -> str:
    """Return a table for readers; numbers to what a reader can hold.

    Examples
    --------
    >>> print(as_markdown(pd.DataFrame({"class": ["lake"], "km2": [49712.4], "share": [1.88]}), "Areas", True))
    # Areas
    <BLANKLINE>
    Simulated data.
    <BLANKLINE>
    | class | km2 | share |
    |---|---:|---:|
    | lake | 49,712 | 1.88 |
    <BLANKLINE>
    """
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    lines = [f"# {title}", ""]
    lines += ["Simulated data.", ""] if simulated else []
    lines.append(f"| {' | '.join(map(str, table.columns))} |")
    lines.append("|" + "|".join("---:" if number else "---" for number in numeric) + "|")
    for row in table.itertuples(index=False):
        lines.append(f"| {' | '.join(_cell(value) for value in row)} |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if not math.isfinite(number):
            return ""
        return (f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}").replace("-", "−")
    return str(value)
