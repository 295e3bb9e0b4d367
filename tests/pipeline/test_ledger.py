"""A result stands as long as nothing that it depends on has changed; a broken record is as good as none."""

import json
from pathlib import Path

import pytest

from frostmap.pipeline import ledger
from frostmap.pipeline.storage import Storage

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
    assert ledger.lost_outputs(tmp_path, RECORD) == {}
    table.write_bytes(b"a,b")  # touched, but the same
    assert ledger.lost_outputs(tmp_path, RECORD) == {}
    table.write_bytes(b"a;b")
    assert ledger.lost_outputs(tmp_path, RECORD) == {"tables/a.csv": "changed"}
    table.unlink()
    assert ledger.lost_outputs(tmp_path, RECORD) == {"tables/a.csv": "missing"}


def test_records_of_chunks_are_kept_by_task(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    ledger.write_chunk(storage, "ingest/2019", CHUNK)
    assert ledger.read_chunks(storage, "ingest/2019") == {"t1": CHUNK}
    assert ledger.read_chunks(storage, "ingest/2020") == {}
    path = tmp_path / ledger.chunk_key("ingest/2019", "t1")
    path.write_bytes(path.read_bytes()[:-3])
    assert ledger.read_chunks(storage, "ingest/2019") == {}
