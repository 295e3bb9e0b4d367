"""The maps that a run's own are compared with: what they are called, and which epoch's map is compared."""

from __future__ import annotations

from frostmap.pipeline.recipe import Recipe, ReferenceMap

TTOP = "ttop-"
"""How maps by TTOP are called, before the source of their r_k."""
MAGT = "magt"
"""The map of ground temperature by support vector regression."""
SAME = f"{TTOP}e"
"""The map by TTOP that is the run's own again, if both are right."""


def reference_scopes(recipe: Recipe) -> list[str]:
    """Return the names of all reference maps of a run: files, then those made of the run's own sums."""
    asked = recipe.validation
    made = [f"{TTOP}{each}" for each in asked.ttop if each != "soil" or has_covariates(recipe)]
    return [*(each.name for each in asked.reference_maps), *made, *([MAGT] if asked.magt else [])]


def has_covariates(recipe: Recipe) -> bool:
    """Say whether a run has a group of covariates, sand and precipitation among them."""
    given = recipe.sources
    return bool(given.elevation and given.ndvi and given.precipitation and given.snow_cover and given.texture)


def file_of(recipe: Recipe, scope: str) -> ReferenceMap | None:
    """Return what the recipe says of a reference map that is a file; None of one that the run makes."""
    return next((each for each in recipe.validation.reference_maps if each.name == scope), None)


def compared_epoch(recipe: Recipe, scope: str) -> str:
    """Return the epoch whose map is compared with a reference map: the last, if nothing else is said."""
    given = file_of(recipe, scope)
    return str((given.epoch if given else None) or list(recipe.epochs.named())[-1])


def reference_group(scope: str) -> str:
    """Return the group of the cube that holds a reference map.

    >>> reference_group("obu-2019")
    'reference/obu-2019'
    """
    return f"reference/{scope}"


def reference_title(recipe: Recipe, scope: str) -> str:
    """Return what figures and the report call a reference map."""
    made = {
        SAME: "TTOP, r_k = E²",
        f"{TTOP}soil": "TTOP, r_k by texture",
        f"{TTOP}constant": f"TTOP, r_k = {recipe.validation.conductivity_ratio:g}",
        MAGT: "ground temperature by regression",
    }
    return made.get(scope, scope)
