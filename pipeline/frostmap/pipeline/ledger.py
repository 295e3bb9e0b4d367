"""What was made, from what: one small record a step, written after its data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """A finished step."""

    step: str
    causes: dict[str, str]
    """What the result depends on: name of the cause and its digest."""
    seconds: float
    bytes_written: int
    outputs: list[str]
    """Paths in the work directory; a result that lost one is made again."""
    finished: str
    """UTC, ISO 8601."""


def _path(folder: Path, step: str) -> Path:
    return folder / f"{step.replace('/', '-')}.json"


def read_record(folder: Path, step: str) -> Record | None:
    """Return the record of a step, or None where there is none or it is not whole."""
    try:
        content: dict[str, Any] = json.loads(_path(folder, step).read_text(encoding="utf-8"))
        return Record(**content)
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None  # a record that was cut off is as good as none: the step is made again


def read_all(folder: Path) -> list[Record]:
    """Return the records of all finished steps, in the order in which they were finished."""
    records = [read_record(folder, path.stem) for path in folder.glob("*.json")]
    return sorted((record for record in records if record is not None), key=lambda record: record.finished)


def write_record(folder: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, record.step)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(record), indent=1, sort_keys=True), encoding="utf-8")
    draft.replace(path)


def forget(folder: Path, step: str) -> None:
    """Remove the record of a step that is about to be made again."""
    _path(folder, step).unlink(missing_ok=True)


def why(record: Record | None, causes: dict[str, str]) -> str | None:
    """Return why a step must be made (again), or None where its result stands.

    >>> why(None, {"settings": "a"})
    'never made'
    >>> why(Record("s", {"settings": "a"}, 1.0, 1, [], ""), {"settings": "b"})
    'changed: settings'
    """
    if record is None:
        return "never made"
    changed = sorted(
        name for name in record.causes.keys() | causes.keys() if record.causes.get(name) != causes.get(name)
    )
    return f"changed: {', '.join(changed)}" if changed else None
