"""The whole thermal chain of a year: what it costs beside its own reading and kernels, and beside plain NumPy."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .chain_once import YEAR, work_of
from .plain_chain import plain_chain

SCRIPT = Path(__file__).with_name("chain_once.py")
SIDE = 200


def once(what: str, folder: Path, side: int) -> Any:
    """Run the script in a process of its own; return what it says."""
    run = subprocess.run(
        [sys.executable, str(SCRIPT), what, str(folder), str(side)], stdout=subprocess.PIPE, check=True
    )
    return json.loads(run.stdout) if run.stdout else None


@pytest.mark.benchmark(group="chain")
def test_a_years_chain(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    if not benchmark.enabled:
        pytest.skip("takes minutes, and measures nothing unless enabled: make bench")
    for side in (100, SIDE):
        once("cube", tmp_path, side)
    costs = benchmark.pedantic(lambda: once("run", tmp_path, SIDE), rounds=1, iterations=1)
    parts = once("alone", tmp_path, SIDE)
    worker = costs.pop("worker")
    ours = sum(cost["workers_s"] + cost["scheduler_s"] for cost in costs.values())
    least = sum(part["read_s"] + part["kernels_s"] for part in parts.values())

    work = work_of(tmp_path, SIDE)
    sample = [40, 120, 200]
    terrain, ndvi = work.open("terrain")["elevation"].values, work.open(f"vegetation/{YEAR}")["ndvi"][10].values
    clock, filled = plain_chain(work.open(f"ingest/{YEAR}"), terrain, ndvi, sample)
    plain = sum(clock.spent.values())
    stored = work.open(f"gap_filling/{YEAR}")["lst"].values[sample]
    difference = np.where(stored > 0, stored * 0.02 - 273.15, np.nan)[:, 2:] - filled[:, 2:]
    assert np.nanmedian(np.abs(difference)) < 1.0  # by night, where nothing is shaded, they fill alike
    assert np.isfinite(difference).mean() > 0.5  # the plain chain leaves what has too few analogues

    pixel_days = SIDE * SIDE * 365
    benchmark.extra_info.update(
        ns_per_pixel_day=ours * 1e9 / pixel_days,
        peer="the chain in xarray and NumPy, without sky classes and shade",
        peer_ns_per_pixel_day=plain * 1e9 / pixel_days,
        ratio=plain / ours,
        cost_s=ours,
        peer_cost_s=least,
        multiple=ours / least,
        besides="a worker's peak memory in what plan states: "
        + ", ".join(f"{name} {cost['peak_bytes'] / cost['stated_bytes']:.2f}" for name, cost in costs.items())
        + f"; {worker['rss_bytes'] / 2**20:.0f} MiB at rest",
    )
