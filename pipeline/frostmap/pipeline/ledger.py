"""What was made, from what: a record for each finished step and one for each task's chunks, written after the data.

Records of steps lie in the work directory, those of chunks beside the cube. What they say is checked against what is
there: by size and time at every run, by content with `verify`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from frostmap.pipeline.storage import CUBE, Storage, Stored, digest_of

CHUNKS, LAYOUTS = "ledger/chunks", "ledger/layouts"
"""Where a storage keeps the records of chunks, and what each group's arrays look like."""

Objects = dict[str, tuple[int, str]]
"""Size and digest of each object or file, by key."""


@dataclass(frozen=True)
class Record:
    """A finished step."""

    step: str
    causes: dict[str, str]
    """What the result depends on: name of the cause and its digest."""
    seconds: float
    bytes_written: int
    outputs: Objects
    """Files in the work directory; a result that lost one is made again."""
    metrics: dict[str, Any]
    """What the step adds to metrics.json, by dotted name."""
    chunks: str
    """Digest of its chunks in the cube; empty where it has none."""
    content: str
    """Digest of all that the step made: steps that read it stand as long as this does."""
    finished: str
    """UTC, ISO 8601."""
    software: str = field(default_factory=lambda: f"frostmap {version('frostmap')}")


@dataclass(frozen=True)
class ChunkRecord:
    """What one task wrote to the cube."""

    task: str
    causes: dict[str, str]
    objects: Objects
    """By key in the cube; chunks that hold nothing but fill are not stored."""
    notes: Any
    """What the task has to say beside its arrays, as JSON."""
    failed: int
    """Inputs that could not be read, and hold the fill instead."""
    bytes_written: int
    written: str
    """UTC, ISO 8601."""
    software: str = field(default_factory=lambda: f"frostmap {version('frostmap')}")
    tags: dict[str, str] = field(default_factory=dict)
    """Entity tags of the objects by key, as an object store gave them; none in a folder."""

    @property
    def stored_bytes(self) -> int:
        """Size of the objects as they are stored."""
        return sum(size for size, _ in self.objects.values())


@dataclass(frozen=True)
class Layout:
    """What a group of the cube looks like, and for which settings it was made."""

    cause: str
    metadata: Objects
    """Array and group metadata, coordinates."""
    tasks: list[str]
    """Every task that writes to it."""


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest(content: Any) -> str:
    """Return the SHA-256 of plain data.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


# ---- steps --------------------------------------------------------------------------------------------------------


def _path(folder: Path, step: str) -> Path:
    return folder / f"{step.replace('/', '-')}.json"


def read_record(folder: Path, step: str) -> Record | None:
    """Return the record of a step, or None where there is none or it is not whole."""
    try:
        content = _sealed(_path(folder, step).read_bytes())
    except FileNotFoundError:
        return None
    return None if content is None else Record(**content | {"outputs": _objects(content["outputs"])})


def read_all(folder: Path) -> list[Record]:
    """Return the records of all finished steps, in the order in which they were finished."""
    records = [read_record(folder, path.stem) for path in folder.glob("*.json")]
    return sorted((record for record in records if record is not None), key=lambda record: record.finished)


def write_record(folder: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, record.step)
    draft = path.with_suffix(".draft")
    draft.write_bytes(_seal(asdict(record)))
    draft.replace(path)


def forget(folder: Path, step: str) -> None:
    """Remove the record of a step that is about to be made again."""
    _path(folder, step).unlink(missing_ok=True)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> str | None:
    """Return which causes are not what they were; None where all are.

    >>> changed({"settings": "a", "code": "1"}, {"settings": "b", "code": "1"})
    'changed: settings'
    """
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"changed: {', '.join(names)}" if names else None


def lost_outputs(folder: Path, record: Record, files: Path, *, by_content: bool = False) -> dict[str, str]:
    """Return a step's files that are not as it wrote them, and what is wrong; read only if touched since, or asked.

    Parameters
    ----------
    folder
        Where the records are.
    record
        The step's.
    files
        The folder that its outputs are in.
    by_content
        Read all.
    """
    lost: dict[str, str] = {}
    recorded = _path(folder, record.step).stat().st_mtime_ns
    for name, (size, expected) in record.outputs.items():
        path = files / name
        if not path.is_file():
            lost[name] = "missing"
            continue
        status = path.stat()
        touched = by_content or status.st_mtime_ns > recorded
        if status.st_size != size or (touched and digest_of(path.read_bytes()) != expected):
            lost[name] = "changed"
    return lost


def of_files(folder: Path, names: Iterable[str]) -> Objects:
    """Return size and digest of files in a work directory."""
    contents = {name: (folder / name).read_bytes() for name in names}
    return {name: (len(content), digest_of(content)) for name, content in contents.items()}


# ---- chunks -------------------------------------------------------------------------------------------------------


def chunk_key(group: str, task: str) -> str:
    """Return where the record of a task's chunks is kept."""
    return f"{CHUNKS}/{group}/{task}.json"


def write_chunk(storage: Storage, group: str, record: ChunkRecord) -> None:
    """Write the record of what is already stored."""
    storage.write(chunk_key(group, record.task), _seal(asdict(record)))


def read_chunks(storage: Storage, group: str) -> dict[str, ChunkRecord]:
    """Return the records of a group by task; those that are not whole are left out."""
    records = {}
    for _, content in storage.read_all(sorted(storage.list(f"{CHUNKS}/{group}/"))):
        fields = _sealed(content) if content is not None else None
        if fields is not None:
            records[fields["task"]] = ChunkRecord(**fields | {"objects": _objects(fields["objects"])})
    return records


def read_layout(storage: Storage, group: str) -> Layout | None:
    """Return a group's layout; None where there is none or it is not whole."""
    content = storage.read(f"{LAYOUTS}/{group}.json")
    fields = _sealed(content) if content is not None else None
    return None if fields is None else Layout(**fields | {"metadata": _objects(fields["metadata"])})


def write_layout(storage: Storage, group: str, layout: Layout) -> None:
    """Write a group's layout."""
    storage.write(f"{LAYOUTS}/{group}.json", _seal(asdict(layout)))


def damage(
    storage: Storage,
    group: str,
    records: Mapping[str, ChunkRecord],
    *,
    layout: Layout | None = None,
    by_content: bool = False,
) -> dict[str, list[str]]:
    """Return what is not as it was written: task and faults, and under "" those of the group's metadata.

    An object is sound if it has its size and was not touched after it was written; else, or with `by_content`, it is
    read and must have its digest. `layout` is the group's, read if not given.
    """
    layout = layout or read_layout(storage, group)
    if layout is None:
        return {"": [f"{LAYOUTS}/{group}.json is missing or cut off"]}
    stored = storage.list(f"{CUBE}/{group}/")
    recorded = storage.list(f"{CHUNKS}/{group}/") | storage.list(LAYOUTS)
    owners = [("", f"{LAYOUTS}/{group}.json", layout.metadata, dict[str, str]())]
    owners += [(task, chunk_key(group, task), record.objects, record.tags) for task, record in records.items()]
    faults: dict[str, list[str]] = {}
    suspects: dict[str, tuple[str, str]] = {}
    for task, key, objects, tags in owners:
        if key not in recorded:  # removed since it was read
            faults[task] = [f"{key} is missing"]
            continue
        for name, (size, expected) in objects.items():
            path = f"{CUBE}/{name}"
            found = stored.get(path)
            if found is None and name.startswith(f"{group}/"):  # else above the group, and not in its listing
                faults.setdefault(task, []).append(f"{name} is missing")
            elif found is not None and found.size != size:
                faults.setdefault(task, []).append(f"{name} has {found.size} bytes, not {size}")
            elif by_content or found is None or _touched(found, recorded[key], tags.get(name)):
                suspects[path] = (task, expected)
    for path, content in storage.read_all(suspects):
        task, expected = suspects[path]
        if content is None or digest_of(content) != expected:
            what = "is missing" if content is None else "is not as it was written"
            faults.setdefault(task, []).append(f"{path.removeprefix(CUBE + '/')} {what}")
    return faults


def _touched(found: Stored, record: Stored, tag: str | None) -> bool:
    """Say whether an object may be another than when its record was written.

    A folder's times are fine enough to tell. Those of an object store are whole seconds, in which much may happen:
    there the entity tag tells; what has none in its record and is of the record's own second counts as touched.
    """
    if tag:
        return found.tag != tag
    return found.changed >= record.changed if found.tag else found.changed > record.changed


def content_of(layout: Layout | None, records: Mapping[str, ChunkRecord]) -> str:
    """Return the digest of all chunks of a group; the order in which they were made does not count."""
    objects = {name: value[1] for record in records.values() for name, value in record.objects.items()}
    return digest([layout.metadata if layout else {}, objects])


# ---- records that are whole ---------------------------------------------------------------------------------------


def _seal(content: dict[str, Any]) -> bytes:
    """Return a record as JSON with its own digest: a record that was cut off or changed is as good as none."""
    return json.dumps({"record": content, "digest": _canonical(content)}).encode()


def _canonical(content: Any) -> str:
    return digest_of(json.dumps(content, sort_keys=True).encode())


def _sealed(content: bytes) -> dict[str, Any] | None:
    try:
        envelope = json.loads(content)
        fields: dict[str, Any] = envelope["record"]
        whole = _canonical(fields) == envelope["digest"]
    except (ValueError, KeyError, TypeError):
        return None
    return fields if whole else None


def _objects(pairs: Mapping[str, Iterable[Any]]) -> Objects:
    return {name: (int(size), str(digest)) for name, (size, digest) in pairs.items()}
