"""What the paper prints, beside what follows from its own numbers, and beside a run's."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any

import pandas as pd
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict

from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.change import area_change, shares
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.reference_maps import MAGT, TTOP, reference_scopes
from frostmap.pipeline.report.contents import binary_counts, numbers
from frostmap.pipeline.stages.frozen_ground import CLASS_KEYS

Areas = dict[str, float]
"""By class [10^4 km²]."""

KM2 = 1e4
"""In the paper's unit of areas."""

EMPTY: Mapping[str, str] = MappingProxyType({})


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PrintedFigure(_Model):
    """A number of the paper."""

    where: Annotated[str, BeforeValidator(str)]
    what: str
    printed: str
    """As printed, so that its last digit says how exact it is."""
    units: str = "1"
    follows: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()
    """How it is computed: a measure, and of what."""
    exact: float | None = None
    """Within which it holds, where that is not half of the last digit."""
    run: str = ""
    """Where a run has the same, in metrics.json."""
    factor: float = 1.0
    """What that is multiplied by."""

    @property
    def value(self) -> float:
        """The number."""
        return float(self.printed)

    @property
    def tolerance(self) -> float:
        """Half of its last digit.

        Examples
        --------
        >>> PrintedFigure(where="1", what="a", printed="0.58").tolerance
        0.005
        """
        return self.exact if self.exact is not None else 0.5 * 10.0 ** -len(self.printed.partition(".")[2])


class Slip(_Model):
    """Something in the paper that contradicts itself."""

    where: Annotated[str, BeforeValidator(str)]
    said: str
    found: str


class Numbers(_Model):
    """What figures are computed from: of the paper, or of a run as far as it has them."""

    counts: dict[str, dict[str, int]]
    """tp, fn, fp, tn of maps at boreholes."""
    areas: dict[str, Areas]
    """By class [10^4 km²], before and after."""


class Paper(Numbers):
    """All of it."""

    doi: str
    figures: Annotated[tuple[PrintedFigure, ...], BeforeValidator(_tuple)]
    slips: Annotated[tuple[Slip, ...], BeforeValidator(_tuple)]


@functools.cache
def paper() -> Paper:
    """Return what the paper prints.

    Examples
    --------
    >>> paper().counts["ours"]
    {'tp': 74, 'fn': 9, 'fp': 8, 'tn': 18}
    """
    text = files("frostmap.pipeline.products").joinpath("published", "chen_nan_2026.yaml").read_text(encoding="utf-8")
    return Paper.model_validate(yaml.safe_load(text))


@dataclass(frozen=True)
class Compared:
    """A number of the paper beside others."""

    figure: PrintedFigure
    recomputed: float | None
    """What follows from the paper's own counts and areas; None where nothing does."""
    own: float | None
    """The run's; None where it has none."""

    @property
    def follows(self) -> bool | None:
        """Whether the printed number is what follows; None where nothing does."""
        if self.recomputed is None:
            return None
        return abs(self.recomputed - self.figure.value) <= self.figure.tolerance * (1 + 1e-9)


PUBLISHED = {"magt": "zou-2025", "ttop": "zou-2017"}
"""Products that the paper's other maps are of: by its names of them."""
MADE = {"magt": (MAGT,), "ttop": (f"{TTOP}soil", f"{TTOP}constant")}
"""What a run makes itself that is held beside them where it has none of the published ones; not its own map again."""


def counterparts(recipe: Recipe) -> dict[str, str]:
    """Return which reference map of a run is held beside each of the paper's other maps, by the paper's names.

    A file of the published map comes first, then what the run made in the same way.
    """
    scopes = reference_scopes(recipe)
    files: dict[str, str] = {given.product: given.name for given in recipe.validation.reference_maps if given.product}
    found = {}
    for name, product in PUBLISHED.items():
        candidates = [files.get(product), *(scope for scope in MADE[name] if scope in scopes)]
        chosen = next((each for each in candidates if each), None)
        if chosen is not None:
            found[name] = chosen
    return found


def compare(metrics: Mapping[str, Any] | None = None, others: Mapping[str, str] = EMPTY) -> list[Compared]:
    """Return every number of the paper, what follows from its own, and a run's, if its metrics are given.

    Parameters
    ----------
    metrics
        Those of a run.
    others
        Its reference maps beside the paper's other maps, as `counterparts` finds them.
    """
    published = paper()
    own = None if metrics is None else numbers_of_run(metrics, others)
    compared = []
    for figure in published.figures:
        here = None if own is None or not figure.follows else computed(figure.follows, own)
        if here is None and metrics is not None and figure.run:
            parent, _, name = figure.run.rpartition(".")
            found = numbers(metrics, parent).get(name)
            here = None if found is None else found * figure.factor
        compared.append(Compared(figure, computed(figure.follows, published) if figure.follows else None, here))
    return compared


def numbers_of_run(metrics: Mapping[str, Any], others: Mapping[str, str] = EMPTY) -> Numbers:
    """Return the counts at boreholes and the areas of a run, as far as it has them."""
    validation = metrics.get("validation", {})
    own: dict[str, Any] = {"ours": validation}
    own |= {name: validation.get("maps", {}).get(scope, {}) for name, scope in others.items()}
    counts = {name: found.__dict__ for name in own if (found := binary_counts(own, name))}
    areas = {}
    for name, epoch in (("before", "training"), ("after", "target")):
        by_class = numbers(metrics, f"areas_km2.{epoch}")
        if by_class:
            areas[name] = {ground: by_class.get(ground, 0.0) / KM2 for ground in CLASS_KEYS.values()}
    return Numbers(counts=counts, areas=areas)


def computed(follows: tuple[str, ...], given: Numbers) -> float | None:
    """Return a measure of counts or areas; None where there are none of the kind.

    Examples
    --------
    >>> round(computed(("false_negative", "ours"), paper()), 2), round(computed(("kappa", "ttop"), paper()), 2)
    (10.84, 0.36)
    >>> round(computed(("relative", "permafrost"), paper()), 2)
    -4.42
    """
    measure, *of = follows
    if measure in _OF_COUNTS:
        counts = given.counts.get(of[0])
        return None if counts is None else _finite(_of_counts(measure, BinaryCounts(**counts)))
    if not {"before", "after"} & given.areas.keys():
        return None
    epochs = [name for name in ("before", "after") if name in of] or ["before", "after"]
    if any(epoch not in given.areas for epoch in epochs):
        return None
    return _finite(_of_areas(measure, of[0], [given.areas[epoch] for epoch in epochs]))


_OF_COUNTS = {
    "n", "positives", "negatives", "accuracy", "kappa", "true_positive", "true_negative", "false_negative",
    "false_positive",
}  # fmt: skip


def _of_counts(measure: str, counts: BinaryCounts) -> float:
    if measure in ("n", "positives", "negatives"):
        return {"n": counts.n, "positives": counts.tp + counts.fn, "negatives": counts.fp + counts.tn}[measure]
    if measure == "kappa":
        return counts.kappa
    rates = {
        "accuracy": counts.overall_accuracy,
        "true_positive": counts.true_positive_rate,
        "true_negative": counts.true_negative_rate,
        "false_negative": counts.false_negative_rate,
        "false_positive": counts.false_positive_rate,
    }
    return 100.0 * rates[measure]


WITHOUT = ("glacier", "lake")
"""What shares of the ground leave out."""


def _of_areas(measure: str, ground: str, areas: list[Areas]) -> float:
    if measure == "total":
        return sum(areas[0].values())
    if measure == "area":
        return areas[0][ground]
    names = [name for name in areas[0] if not (measure == "share_of_ground" and name in WITHOUT)]
    place = names.index(ground)
    lists = [[each[name] for name in names] for each in areas]
    if measure in ("share", "share_of_ground"):
        return float(shares(lists[0])[place])
    change = area_change(*lists)
    return float({"change": change.difference, "points": change.points, "relative": change.relative}[measure][place])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_table(compared: list[Compared]) -> pd.DataFrame:
    """Return where, what, units, printed, recomputed, follows, run."""
    return pd.DataFrame(
        [
            {
                "where": each.figure.where,
                "what": each.figure.what,
                "units": each.figure.units,
                "printed": each.figure.printed,
                "recomputed": each.recomputed,
                "follows": {True: "yes", False: "no", None: ""}[each.follows],
                "run": each.own,
            }
            for each in compared
        ]
    )
