"""Which maps a run has to give away, what they are called, and what their classes mean."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from frostmap.kernels.frost_number import CLASS_NAMES, NO_CLASS
from frostmap.kernels.inconsistency import BOTH, FIRST_ONLY, NEITHER, SECOND_ONLY
from frostmap.pipeline import ledger
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.figures import CHANGES, kind_of_change
from frostmap.pipeline.figures.palette import (
    BLUE,
    CLASS_COLOURS,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    PURPLE,
    VERMILION,
)
from frostmap.pipeline.schema import (
    APPLICABLE,
    CHANGE_CAUSE,
    DDF,
    DDT,
    FROZEN_GROUND,
    INCONSISTENCY,
    SPATIAL,
    TRANSITION,
    Variable,
)
from frostmap.pipeline.stages import STAGES
from frostmap.pipeline.stages.change_maps import BY_BOTH, BY_EITHER, BY_FORCING, BY_SOIL, SAME
from frostmap.pipeline.stages.forcing import FORCING
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, e_group, epoch_of, maps_of
from frostmap.pipeline.work import Work


class ClassEntry(NamedTuple):
    """A class of a map."""

    name: str
    colour: str
    """As #rrggbb."""


def _transitions() -> dict[int, ClassEntry]:
    """Return the classes of the map of transitions: each is coloured as the kind of change that it is."""
    names = {code: name for code, name in CLASS_NAMES.items() if code != NO_CLASS}
    legend = {}
    for before, after in itertools.product(names, names):
        kind = int(kind_of_change(np.array([before]), np.array([after]))[0])
        name = f"{names[before]} in both" if before == after else f"{names[before]} to {names[after]}"
        legend[10 * before + after] = ClassEntry(name, CHANGES[kind][1])
    return legend


LEGENDS: dict[str, dict[int, ClassEntry]] = {
    FROZEN_GROUND.name: {
        code: ClassEntry(name, CLASS_COLOURS[code]) for code, name in CLASS_NAMES.items() if code != NO_CLASS
    },
    APPLICABLE.name: {
        0: ClassEntry("more unlike than was ever tried", VERMILION),
        1: ClassEntry("like the training samples", PALE_GREY),
    },
    TRANSITION.name: _transitions(),
    CHANGE_CAUSE.name: {
        SAME: ClassEntry("class unchanged", PALE_GREY),
        BY_FORCING: ClassEntry("degree-day sums alone", VERMILION),
        BY_SOIL: ClassEntry("E alone", BLUE),
        BY_EITHER: ClassEntry("either would do", PURPLE),
        BY_BOTH: ClassEntry("only both together", ORANGE),
    },
    INCONSISTENCY.name: {
        NEITHER: ClassEntry("permafrost in neither map", PALE_GREY),
        BOTH: ClassEntry("permafrost in both maps", PALE_BLUE),
        FIRST_ONLY: ClassEntry("permafrost in the map of this run alone", BLUE),
        SECOND_ONLY: ClassEntry("permafrost in the other map alone", VERMILION),
    },
}
"""Classes of variables that have some, by the variable's name."""


@dataclass(frozen=True)
class Layer:
    """A map that a run has made."""

    name: str
    """What its files are called."""
    group: str
    """Where it is in the cube."""
    variable: Variable
    label: str
    """Of the map that it belongs to, such as 2020 or 2010_calibrated; empty where it belongs to all."""
    epoch: str | None
    """training or target; None where it belongs to both."""

    @property
    def legend(self) -> dict[int, ClassEntry]:
        """Its classes by code; empty where it has none."""
        return LEGENDS.get(self.variable.name, {})

    @property
    def categorical(self) -> bool:
        """Whether its numbers are codes, of which there is no mean."""
        return np.dtype(self.variable.dtype).kind in "uib"

    @property
    def missing(self) -> float | int:
        """What stands for no value."""
        return NO_CLASS if self.variable.dtype == "bool" else self.variable.fill_value

    @property
    def dtype(self) -> str:
        """Type of its numbers in files."""
        return "uint8" if self.variable.dtype == "bool" else self.variable.dtype


def layers_of(work: Work, *, inputs: bool = False, only: Sequence[str] = ()) -> list[Layer]:
    """Return the maps of a finished run.

    Parameters
    ----------
    work
        The run.
    inputs
        Whether what results were made from is wanted too: masks, terrain, predictors.
    only
        Names of variables, such as frozen_ground; all if empty.

    Raises
    ------
    DataIncomplete
        A step that makes one of them has not been finished.
    UserError
        A name is not that of a variable.
    """
    found: dict[str, Layer] = {}
    for stage, group, scope, variable in _groups(work, inputs or bool(only)):
        epochs = work.recipe.epochs.named()
        epoch = epoch_of(scope) if scope == CALIBRATED or scope in epochs else None
        label = epochs[epoch].title if epoch else scope.replace("/", "_")
        if scope == CALIBRATED:
            label += f"_{CALIBRATED}"
        name = f"{variable.name}_{label}" if label else variable.name
        if name in found and found[name].group != group:
            name = f"{stage}_{name}"
        found[name] = Layer(name, group, variable, label, epoch)
    known = sorted({layer.variable.name for layer in found.values()})
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise UserError("no such layer", where=f"--layer {unknown[0]}", wanted=", ".join(known))
    layers = [layer for layer in found.values() if not only or layer.variable.name in only]
    made = {group for group in {layer.group for layer in layers} if ledger.read_record(work.ledger, group) is not None}
    ground = {f"frozen_ground/{scope}" for scope in maps_of(work.recipe)}
    lacking = sorted({layer.group for layer in layers if not made or layer.group in ground} - made)
    if lacking:
        raise DataIncomplete(
            "the run is not finished, so its maps are not all there",
            where=str(work.folder),
            found=f"missing: {', '.join(lacking)}",
            remedy="finish it with `frostmap run`, or name with --layer what there is",
        )
    return [layer for layer in layers if layer.group in made]


def _groups(work: Work, inputs: bool) -> Iterator[tuple[str, str, str, Variable]]:
    """Yield stage, group, scope and variable of each map: forcing, E and ground of each map first."""
    recipe = work.recipe
    by_name = {stage.name: stage for stage in STAGES}
    given = set()
    for scope in maps_of(recipe):
        groups = [f"forcing/{scope}"] if scope != CALIBRATED else []
        for group in [*groups, e_group(recipe, scope), f"frozen_ground/{scope}"]:
            stage = by_name[group.partition("/")[0]]
            given.add(group)
            writes = (DDF, DDT) if stage is FORCING else stage.writes
            yield from ((stage.name, group, scope, variable) for variable in writes)
    results = False
    for stage in STAGES:
        results |= stage is FORCING  # what stages before it make are its inputs
        for scope in stage.scopes(recipe) if results or inputs else ():
            group = f"{stage.name}/{scope}" if scope else stage.name
            if group in given or scope.isdigit():
                continue
            spatial = (variable for variable in stage.writes if variable.dims == SPATIAL)
            yield from ((stage.name, group, scope, variable) for variable in spatial)
