"""What became of each class between the epochs."""

from __future__ import annotations

from collections.abc import Mapping

from frostmap.pipeline.report.contents import numbers
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import km2_in_words, percent
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
    sentences += _chain_sentences(work)
    return Section("change", "Change", sentences, parts, [])


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
