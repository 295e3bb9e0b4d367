"""A result stands as long as nothing that it depends on has changed; a broken record is as good as none."""

import json
from pathlib import Path

import pytest

from frostmap.pipeline import ledger
from frostmap.pipeline.storage import CUBE, Storage

RECORD = ledger.Record(
    "gap_filling/2019",
    {"settings": "a", "step ingest/2019": "b"},
    1.5,
    10,
    {"tables/a.csv": (3, ledger.digest_of(b"a,b"))},
    {"n": 1},
    "c",
    "d",
    "2026-01-01T00:00:00",
)
CHUNK = ledger.ChunkRecord("t1", {"step": "s"}, {"g/v/c/0": (3, "x")}, [{"id": "a"}], 1, 100, "2026-01-01T00:00:00")


def test_a_record_is_read_back(tmp_path: Path) -> None:
    ledger.write_record(tmp_path, RECORD)
    assert ledger.read_record(tmp_path, RECORD.step) == RECORD
    assert ledger.read_all(tmp_path) == [RECORD]


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_record_that_was_cut_off_counts_as_none(tmp_path: Path, cut: int) -> None:
    ledger.write_record(tmp_path, RECORD)
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(path.read_bytes()[:cut])
    assert ledger.read_record(tmp_path, RECORD.step) is None


def test_a_record_in_which_one_number_was_changed_counts_as_none(tmp_path: Path) -> None:
    ledger.write_record(tmp_path, RECORD)
    path = next(tmp_path.glob("*.json"))
    path.write_text(path.read_text(encoding="utf-8").replace('"n": 1', '"n": 2'), encoding="utf-8")
    assert json.loads(path.read_bytes())["record"]["metrics"] == {"n": 2}
    assert ledger.read_record(tmp_path, RECORD.step) is None


def test_what_changed_is_named() -> None:
    assert ledger.changed(RECORD.causes, dict(RECORD.causes)) is None
    assert ledger.changed(RECORD.causes, RECORD.causes | {"settings": "other"}) == "changed: settings"
    assert ledger.changed(RECORD.causes, RECORD.causes | {"file dem.tif": "new"}) == "changed: file dem.tif"


def test_a_forgotten_step_is_made_again(tmp_path: Path) -> None:
    ledger.write_record(tmp_path, RECORD)
    ledger.forget(tmp_path, RECORD.step)
    ledger.forget(tmp_path, "never/was")
    assert ledger.read_record(tmp_path, RECORD.step) is None


def test_files_that_were_lost_or_changed_are_found(tmp_path: Path) -> None:
    table = tmp_path / "tables" / "a.csv"
    table.parent.mkdir()
    table.write_bytes(b"a,b")
    ledger.write_record(tmp_path / "ledger", RECORD)
    assert ledger.lost_outputs(tmp_path / "ledger", RECORD, tmp_path) == {}
    table.write_bytes(b"a,b")  # touched, but the same
    assert ledger.lost_outputs(tmp_path / "ledger", RECORD, tmp_path) == {}
    table.write_bytes(b"a;b")
    assert ledger.lost_outputs(tmp_path / "ledger", RECORD, tmp_path) == {"tables/a.csv": "changed"}
    table.unlink()
    assert ledger.lost_outputs(tmp_path / "ledger", RECORD, tmp_path) == {"tables/a.csv": "missing"}


def test_records_of_chunks_are_kept_by_task(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    ledger.write_chunk(storage, "ingest/2019", CHUNK)
    assert ledger.read_chunks(storage, "ingest/2019") == {"t1": CHUNK}
    assert ledger.read_chunks(storage, "ingest/2020") == {}
    path = tmp_path / ledger.chunk_key("ingest/2019", "t1")
    path.write_bytes(path.read_bytes()[:-3])
    assert ledger.read_chunks(storage, "ingest/2019") == {}


def test_chunks_whose_record_was_removed_meanwhile_count_as_damaged(tmp_path: Path) -> None:
    storage, group = Storage.of_folder(tmp_path), "ingest/2019"
    content = b"a,b"
    objects = {f"{group}/v/c/{n}": (len(content), ledger.digest_of(content)) for n in range(3)}
    for name in objects:
        storage.write(f"{CUBE}/{name}", content)
    records = {
        task: ledger.ChunkRecord(task, {}, {name: value}, None, 0, 3, ledger.now())
        for task, (name, value) in zip("abc", objects.items(), strict=True)
    }
    for record in records.values():
        ledger.write_chunk(storage, group, record)
    layout = ledger.Layout("cause", {}, list(records))
    ledger.write_layout(storage, group, layout)
    assert ledger.damage(storage, group, records) == {}
    storage.delete([ledger.chunk_key(group, "b")])
    expected = {"b": [f"{ledger.CHUNKS}/{group}/b.json is missing"]}
    assert ledger.damage(storage, group, records) == expected
    assert ledger.damage(storage, group, records, by_content=True) == expected
    storage.delete([f"{ledger.LAYOUTS}/{group}.json"])
    missing = f"{ledger.LAYOUTS}/{group}.json is missing"
    assert ledger.damage(storage, group, records, layout=layout) == {"": [missing]} | expected
    assert ledger.damage(storage, group, records) == {"": [f"{missing} or cut off"]}
