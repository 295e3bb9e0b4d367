"""What `frostmap plan` says that each step takes of a worker, beside what it took; as a table.

    python -m tests.benchmarks.plan_once WORKDIR RECIPE

Runs a recipe, such as the demo's beside its archive, into a new work directory on two worker processes. A worker's peak
is that of its process during the step, on top of what it held before: libraries, compiled kernels, freed memory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from frostmap.pipeline.plan import plan
from frostmap.pipeline.recipe import Recipe, load_recipe
from frostmap.pipeline.run import Event, run

from .chain_once import forget_peak, peak, resident
from .cluster_once import workers


def measure(folder: Path, recipe: Recipe, until: str | None = None) -> pd.DataFrame:
    """Return a row a step: bytes stated and taken, and seconds."""
    stated = {step["step"]: step for step in plan(recipe, folder).summary()["steps"]}
    rows: dict[str, dict[str, Any]] = {}
    with workers(2) as client:

        def look(event: Event) -> None:
            if event.kind == "started":
                rows[event.step] = {"before": max(client.run(resident).values())}
                client.run(forget_peak)
            elif event.kind == "finished":
                rows[event.step] |= {"peak": max(client.run(peak).values()), "seconds": event.seconds}

        run(recipe, folder, until=until, client=client, report=look)
    for name, row in rows.items():
        row["stated"] = stated[name]["memory_bytes"]
        row["stated of peak"] = row["stated"] / row["peak"]
    return pd.DataFrame.from_dict(rows, orient="index")


def in_words(table: pd.DataFrame) -> str:
    """Return the table to read, bytes in MB."""
    sizes = ["before", "peak", "stated"]
    return table.assign(**(table[sizes] / 1e6).round()).round(2).to_string()


if __name__ == "__main__":
    sys.stdout.write(in_words(measure(Path(sys.argv[1]).absolute(), load_recipe(Path(sys.argv[2])))) + "\n")
