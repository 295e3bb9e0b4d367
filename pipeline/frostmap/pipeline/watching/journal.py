"""The log of a work directory's runs: a JSON object a line, with the time, the run, and what happened.

Written for programs: `frostmap status` reads from it what runs have cost and how fast steps are. Nothing that is made
depends on it. A log that cannot be written (a full disk) has gaps and stops no run; one that is damaged loses lines.

The messages of libraries come by way of the standard library's logging, so that one file tells what happened when. A
package that formats log records as JSON would save three lines and not the rest.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from frostmap.pipeline.redaction import redacted

JOURNAL = Path("logs", "run.jsonl")
"""Where it is in a work directory."""


class Journal(logging.Handler):
    """Appends to the log of a work directory: what it is told, and while it is a context what libraries say."""

    def __init__(self, folder: Path, run: str) -> None:
        super().__init__(logging.WARNING)
        self._path = folder / JOURNAL
        self._run = run
        self._writing = threading.Lock()
        self._file: int | None = None
        self._torn = True
        """Whether the last line may lack its end: an earlier run was killed while it wrote it, or the disk was full."""
        self._lost = 0

    def __enter__(self) -> Self:
        """Take what libraries say from here on."""
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take nothing any more."""
        logging.getLogger().removeHandler(self)
        self.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def note(self, event: str, *, level: str = "INFO", **content: Any) -> None:
        """Write a line; if that fails, the next one says how many are missing."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "run": self._run, "level": level}
        with self._writing:
            line |= {"event": event} | content | ({"lines_lost": self._lost} if self._lost else {})
            text = redacted(json.dumps(line, default=str)) + "\n"
            try:
                self._append(text.encode())
            except OSError:
                self._lost += 1
            else:
                self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line for a message of a library."""
        self.note("message", level=record.levelname, logger=record.name, message=record.getMessage())

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o644)
            size = os.fstat(self._file).st_size
            self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        line = b"\n" + line if self._torn else line
        self._torn = True
        if os.write(self._file, line) < len(line):
            raise OSError("no space for the whole line")
        self._torn = False


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a work directory's log, oldest first; those that are not whole are left out."""
    try:
        content = (folder / JOURNAL).read_bytes()
    except OSError:
        return
    for line in content.splitlines():
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        if isinstance(parsed, dict) and isinstance(parsed.get("run"), str) and isinstance(parsed.get("event"), str):
            yield parsed
