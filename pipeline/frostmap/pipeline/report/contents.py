"""What a work directory has, as the page reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from frostmap.kernels.agreement import BinaryCounts
from frostmap.pipeline.figures import (
    epoch_in_words,
    granule_states,
)
from frostmap.pipeline.report.words import in_words
from frostmap.pipeline.work import PRODUCTS, Work


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
