"""A run against the truth of its simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from frostmap.pipeline.report.contents import numbers
from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import decimal, percent
from frostmap.pipeline.work import Work


def truth(work: Work, pictures: Mapping[str, list[Picture]]) -> Section:
    """Return how far the run is from the truth of its simulation."""
    parts: list[Picture | Table] = list(pictures.get("truth", []))
    epochs = list(work.recipe.epochs.named().items())
    found = {
        epoch.title: numbers(work.metrics, "truth" if name == epochs[-1][0] else f"truth.{name}")
        for name, epoch in epochs
    }
    found = {title: score for title, score in found.items() if score}
    if not found:
        return Section("truth", "Against the truth", [], parts, ["The run has not been compared with the truth yet."])
    measures: dict[str, tuple[str, Callable[[float], str]]] = {
        "pixels": ("pixels compared", lambda value: f"{value:,.0f}"),
        "class_agreement": ("pixels of the same class", percent),
        "class_kappa": ("kappa of the classes", decimal),
        "ddf_relative_rmse": ("error of DDF (root mean square, of its mean)", percent),
        "ddf_relative_bias": ("bias of DDF (of its mean)", percent),
        "ddt_relative_rmse": ("error of DDT (root mean square, of its mean)", percent),
        "ddt_relative_bias": ("bias of DDT (of its mean)", percent),
        "e_rmse": ("error of E (root mean square)", lambda value: f"{value:.4f}"),
        "e_within_interval_percent": ("E within its interval of 90 %", lambda value: percent(value / 100)),
        "e_within_error_percent": ("E within 1.645 standard errors", lambda value: percent(value / 100)),
        "brier": ("Brier score of the probability", decimal),
        "reliability_error": ("mean departure from the reliability curve", decimal),
    }
    rows = [
        (title, *(write(score[key]) if key in score else "" for score in found.values()))
        for key, (title, write) in measures.items()
        if any(key in score for score in found.values())
    ]
    parts.append(Table("Found against true", ("measure", *found), rows))
    sentence = "The input was simulated, so the truth is known everywhere, and the whole chain can be judged by it."
    return Section("truth", "Against the truth", [sentence], parts, [])
