"""What was found."""

from __future__ import annotations

from collections.abc import Mapping

from frostmap.kernels.frost_number import CLASS_NAMES, NO_CLASS, PERMAFROST
from frostmap.pipeline.figures import (
    class_code,
    epoch_in_words,
)
from frostmap.pipeline.report.contents import numbers
from frostmap.pipeline.report.parts import Picture, Section
from frostmap.pipeline.report.validation import borehole_sentences
from frostmap.pipeline.report.words import in_words, km2_in_words, percent, signed
from frostmap.pipeline.work import Work


def headline(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return the map and what it says, in sentences."""
    sentences = [
        *area_sentences(work),
        *change_sentences(work),
        *borehole_sentences(work),
    ]
    if work.recipe.simulated:
        sentences.insert(0, "Everything here is simulated: it judges the method, and says nothing about real ground.")
    absent = [] if "headline" in pictures else ["There is no map of frozen ground yet."]
    return Section("headline", "What was found", sentences, list(pictures.get("headline", [])), absent)


def area_sentences(work: Work) -> list[str]:
    """Return the permafrost area of the last epoch that has one."""
    for name, epoch in reversed(work.recipe.epochs.named().items()):
        area = numbers(work.metrics, f"areas_km2.{name}")
        kinds = sorted((class_code(key), km2) for key, km2 in area.items() if km2 > 0 and class_code(key) != NO_CLASS)
        total = sum(km2 for _, km2 in kinds)
        if total:
            shares = {code: f"{km2_in_words(km2)} ({percent(km2 / total)})" for code, km2 in kinds}
            sentence = (
                f"In {epoch_in_words(epoch)}, permafrost is mapped under "
                f"{shares.pop(PERMAFROST, 'nothing')} of the {km2_in_words(total)} that have a class"
            )
            rest = in_words([f"{CLASS_NAMES[code]} covers {text}" for code, text in shares.items()])
            unknown = area.get("unknown", 0.0)
            more = [f"No class could be given to {km2_in_words(unknown)} of the region."] if unknown else []
            return [f"{sentence}; {rest}." if rest else f"{sentence}.", *more]
    return []


def change_sentences(work: Work) -> list[str]:
    """Return how the permafrost area changed between the epochs."""
    epochs = list(work.recipe.epochs.named().items())
    if len(epochs) < 2:
        return []
    before, after = (numbers(work.metrics, f"areas_km2.{name}") for name, _ in epochs)
    if "permafrost" not in before or "permafrost" not in after or not before["permafrost"]:
        return []
    difference = after["permafrost"] - before["permafrost"]
    points = 100 * (after["permafrost"] / sum(after.values()) - before["permafrost"] / sum(before.values()))
    word = "larger" if difference > 0 else "smaller"
    sentence = (
        f"That is {km2_in_words(abs(difference))} {word} than in {epochs[0][1].title} "
        f"({signed(100 * difference / before['permafrost'], 1)} % of the area then, {signed(points, 2)} percentage "
        f"points of the region)"
    )
    moved = numbers(work.metrics, "change")
    if {"permafrost_lost_km2", "permafrost_gained_km2"} <= moved.keys():
        sentence += (
            f": {km2_in_words(moved['permafrost_lost_km2'])} went from permafrost to seasonally frozen or non-frozen "
            f"ground, and {km2_in_words(moved['permafrost_gained_km2'])} the other way"
        )
    return [f"{sentence}."]
