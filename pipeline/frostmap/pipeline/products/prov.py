"""What was made from what, when and by whom, as W3C PROV-JSON: inputs, steps and results, each with its digest."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from frostmap.pipeline import ledger
from frostmap.pipeline.plan import scheduled
from frostmap.pipeline.provenance import versions
from frostmap.pipeline.stage import step_name
from frostmap.pipeline.work import Work

NAMESPACE = "https://github.com/frostmap/frostmap#"

Document = dict[str, dict[str, Any]]


def prov_document(work: Work) -> Document:
    """Return the provenance of what stands in a work directory.

    Entities are the recipe, files that it names (with their SHA-256), granules as one set (with the SHA-256 of their
    names and digests), and what each step made (with its digest in the ledger). Activities are steps, with the times of
    their work; each used the results of others and files, and was done by the software.
    """
    recipe = work.recipe
    data = recipe.path(Path())
    document: Document = {
        "prefix": {"frostmap": NAMESPACE, "prov": "http://www.w3.org/ns/prov#"},
        "agent": {"frostmap:software": {"prov:type": "prov:SoftwareAgent", **_labelled(versions())}},
        "entity": {"frostmap:recipe": {"frostmap:name": recipe.name, "frostmap:sha256": recipe.digest()}},
    }
    for kind in ("activity", "used", "wasGeneratedBy", "wasAssociatedWith"):
        document[kind] = {}
    granules = _granules(work.folder)
    if granules:
        document["entity"]["frostmap:granules"] = granules
    for stage, scope in scheduled(recipe):
        name = step_name(stage.name, scope)
        record = ledger.read_record(work.ledger, name)
        if record is None:
            continue
        activity, result = f"frostmap:step/{name}", f"frostmap:result/{name}"
        finished = datetime.fromisoformat(record.finished)
        started = finished - timedelta(seconds=record.seconds)
        document["activity"][activity] = {
            "prov:startTime": started.isoformat(timespec="seconds"),
            "prov:endTime": record.finished,
            "frostmap:title": stage.title,
            "frostmap:software": record.software,
        }
        document["entity"][result] = {
            "frostmap:content": record.content,
            "frostmap:bytes": record.bytes_written,
            **({"frostmap:cube": name} if record.chunks else {}),
        }
        _relate(document, "wasGeneratedBy", result, activity)
        for path, (size, digest) in record.outputs.items():
            entity = f"frostmap:file/{path}"
            document["entity"][entity] = {"frostmap:bytes": size, "frostmap:xxh3_128": digest}
            _relate(document, "wasGeneratedBy", entity, activity)
        used = [f"frostmap:result/{each}" for each in stage.inputs(recipe, scope)]
        used += [_file(document, path, data) for path in stage.sources(recipe, scope) if path.is_file()]
        used += ["frostmap:granules"] if stage.granules and granules else []
        for entity in ["frostmap:recipe", *dict.fromkeys(used)]:
            _relate(document, "used", activity, entity)
        key = f"_:a{len(document['wasAssociatedWith'])}"
        document["wasAssociatedWith"][key] = {"prov:activity": activity, "prov:agent": "frostmap:software"}
    return document


def write_prov(work: Work, path: Path) -> Path:
    """Write the provenance, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(prov_document(work), indent=1), encoding="utf-8")
    draft.replace(path)
    return path


def _relate(document: Document, relation: str, one: str, other: str) -> None:
    names = {"used": ("prov:activity", "prov:entity"), "wasGeneratedBy": ("prov:entity", "prov:activity")}[relation]
    document[relation][f"_:{relation[0]}{len(document[relation])}"] = dict(zip(names, (one, other), strict=True))


def _file(document: Document, path: Path, data: Path) -> str:
    """Return the entity of a file that the recipe names, by its place in the data folder; it is read once."""
    place = path.relative_to(data) if path.is_relative_to(data) else Path(path.name)
    entity = f"frostmap:input/{place}"
    if entity not in document["entity"]:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        document["entity"][entity] = {"frostmap:bytes": path.stat().st_size, "frostmap:sha256": digest}
    return entity


def _granules(folder: Path) -> dict[str, Any]:
    path = folder / "provenance.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not content.get("granules"):
        return {}
    return {
        "prov:type": "prov:Collection",
        "frostmap:number": len(content["granules"]),
        "frostmap:sha256": content["granules_sha256"],
        "frostmap:listed_in": path.name,
    }


def _labelled(versions: dict[str, str]) -> dict[str, str]:
    return {f"frostmap:{name}": number for name, number in versions.items()}
