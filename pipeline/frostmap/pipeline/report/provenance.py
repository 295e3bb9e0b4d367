"""What made the map: versions, recipe, settings, granules."""

from __future__ import annotations

import json
from typing import Any

from frostmap.pipeline.report.parts import Picture, Section, Table
from frostmap.pipeline.report.words import flat
from frostmap.pipeline.work import Work


def provenance(work: Work) -> Section:
    """Return what made this: versions, recipe, settings, granules."""
    recipe = work.recipe
    path = work.folder / "provenance.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    absent = [] if content else ["There is no provenance.json: versions and granules are not recorded."]
    facts = [("recipe", recipe.name), ("SHA-256 of the recipe", recipe.digest())]
    if content.get("granules"):
        facts += [
            ("granules read", f"{len(content['granules']):,}"),
            ("SHA-256 of their names and digests", str(content.get("granules_sha256", ""))),
        ]
    if content:
        facts.append(("written (UTC)", str(content.get("written", ""))))
    parts: list[Picture | Table] = [Table("What made this", ("fact", "value"), facts)]
    software = content.get("software", {})
    if software:
        parts.append(Table("Software", ("package", "version"), [(str(k), str(v)) for k, v in software.items()]))
    settings = flat(recipe.model_dump(mode="json", exclude_none=True))
    parts.append(Table("Settings", ("key of the recipe", "value"), settings))
    sentence = (
        "The work directory has every number, map and record behind this page: metrics.json, tables/, maps/, cube.zarr "
        "and provenance.json."
    )
    return Section("provenance", "Provenance", [sentence], parts, absent)
