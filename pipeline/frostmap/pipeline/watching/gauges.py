"""How far a run is, as Prometheus reads it: on the scheduler's page /metrics, beside Dask's own numbers.

Of the scheduler, because that is what Prometheus finds; the run itself may be anywhere.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from distributed import Client, Scheduler

GAUGES = {
    "steps": "steps of the plan that were to be made",
    "steps_done": "steps that were made",
    "step_tasks": "tasks of the step at work",
    "step_tasks_done": "tasks of the step at work that stand",
    "written_bytes": "chunks and files that were written, as they are stored",
    "core_seconds": "time that tasks have held a core",
    "left_seconds": "time that the rest of the run will take, of steps whose like has been measured",
    "left_unmeasured_steps": "steps of which nothing is known yet",
}
"""Each is called frostmap_NAME."""

_LOG = logging.getLogger(__name__)


class Gauges:
    """Sets a scheduler's gauges; where it has no prometheus_client, or no frostmap, none."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._works = True

    def tell(self, values: Mapping[str, float]) -> None:
        """Set gauges by name; if that fails it is said once, and not tried again."""
        if not self._works or self._client.status != "running":
            return
        try:
            self._works = self._client.run_on_scheduler(set_gauges, values=dict(values))
        except (OSError, TimeoutError, ImportError) as error:
            self._works = False
            _LOG.warning("the scheduler takes no gauges: %s", error)


def set_gauges(dask_scheduler: Scheduler, values: Mapping[str, float]) -> bool:  # noqa: ARG001 - Dask's calling
    """Set gauges in this process; return whether there are any."""
    if importlib.util.find_spec("prometheus_client") is None:
        return False
    for name, value in values.items():
        _gauge(name).set(value)
    return True


@cache
def _gauge(name: str) -> Any:
    from prometheus_client import Gauge

    return Gauge(f"frostmap_{name}", GAUGES[name])
