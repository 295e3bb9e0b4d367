"""Dask's report on the performance of a step: what each worker did when, and what it waited for."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, performance_report

REPORTS = Path("logs", "performance")
"""Where they are in a work directory: STEP.html."""

_FETCHED = re.compile(r"<link\b[^>]*>|<script\b[^>]*\bsrc=[^>]*>\s*</script>")
"""The page's icon, which would be fetched from Dask's own site; and scripts of other libraries that have told Bokeh of
theirs in this process, as Panel does: the report uses none of them."""

_LOG = logging.getLogger(__name__)


@contextmanager
def reported(client: Client, folder: Path, step: str) -> Iterator[None]:
    """Write the report of what a cluster does within the context; if that fails, no report is all that is lost.

    It is one file that loads nothing, with Bokeh inside (some 2 MB). Of many tasks it shows the last, as many as the
    scheduler keeps (`distributed.scheduler.dashboard.tasks.task-stream-length`). A step that fails has none.
    """
    with client.as_current(), tempfile.TemporaryDirectory(prefix="frostmap-") as scratch:
        draft = Path(scratch) / "report.html"
        report = performance_report(filename=str(draft), mode="inline")
        report.__enter__()
        yield
        try:
            report.__exit__(None, None, None)
            page = _FETCHED.sub("", draft.read_text(encoding="utf-8"))
            path = folder / REPORTS / f"{step.replace('/', '-')}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
        except (OSError, ImportError) as error:  # a full disk, a scheduler that is away or has no Bokeh
            _LOG.warning("no performance report of %s: %s", step, error)
