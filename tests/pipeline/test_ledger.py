"""A result stands as long as nothing that it depends on has changed; a broken record is as good as none."""

from pathlib import Path

from frostmap.pipeline import ledger

RECORD = ledger.Record(
    "gap_filling/2019", {"settings": "a", "step ingest/2019": "b"}, 1.5, 10, [], "2026-01-01T00:00:00"
)


def test_a_record_is_read_back(tmp_path: Path) -> None:
    ledger.write_record(tmp_path, RECORD)
    assert ledger.read_record(tmp_path, RECORD.step) == RECORD
    assert ledger.read_all(tmp_path) == [RECORD]


def test_a_record_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    ledger.write_record(tmp_path, RECORD)
    path = next(tmp_path.glob("*.json"))
    path.write_text(path.read_text(encoding="utf-8")[:40], encoding="utf-8")
    assert ledger.read_record(tmp_path, RECORD.step) is None


def test_what_changed_is_named() -> None:
    assert ledger.why(RECORD, dict(RECORD.causes)) is None
    assert ledger.why(RECORD, RECORD.causes | {"settings": "other"}) == "changed: settings"
    assert ledger.why(RECORD, RECORD.causes | {"file dem.tif": "new"}) == "changed: file dem.tif"
    assert ledger.why(None, {}) == "never made"


def test_a_forgotten_step_is_made_again(tmp_path: Path) -> None:
    ledger.write_record(tmp_path, RECORD)
    ledger.forget(tmp_path, RECORD.step)
    ledger.forget(tmp_path, "never/was")
    assert ledger.read_record(tmp_path, RECORD.step) is None
