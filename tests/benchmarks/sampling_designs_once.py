"""The experiment on sampling designs over millions of simulated pixels of 1 km, on two workers; its cost as JSON.

Predictors and E are simulated for the whole plateau; as in the paper, E is that of 16 clusters of the predictors.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from dask.delayed import delayed
from distributed import Client, LocalCluster

from frostmap.pipeline.experiments.plateau import TILES, ground_of_tile, joined
from frostmap.pipeline.experiments.populations import Population, make_population
from frostmap.pipeline.experiments.sampling_designs import SIZES, Case, Settings, experiment, table, verdict
from frostmap.pipeline.samplers import cluster_centres, standardised

SEED, CLUSTERS, YEARS = 2020, 16, (2010,)


def population(pixels_per_tile: int, most: int) -> Population:
    """Return simulated pixels of the plateau, and E of 16 clusters of their predictors."""
    ground = joined([ground_of_tile(SEED, tile, pixels_per_tile, YEARS, forcing=False) for tile in TILES])
    rng = np.random.default_rng(SEED)
    kept = np.sort(rng.choice(len(ground.e), min(most, len(ground.e)), replace=False))
    values, e = ground.values[kept], ground.e[kept]
    scaled = standardised(values)
    centres = cluster_centres(scaled[:: max(1, len(e) // 100_000)], CLUSTERS, rng)
    cluster = np.argmin([((scaled - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
    means = np.bincount(cluster, e, CLUSTERS) / np.maximum(np.bincount(cluster, minlength=CLUSTERS), 1)
    return make_population(values, means[cluster].astype(np.float32), ground.x[kept], ground.y[kept], 100_000, SEED)


def run(pixels_per_tile: int, most: int, sizes: tuple[int, ...], trees: int) -> dict[str, Any]:
    """Make the whole experiment, and return what it cost and found."""
    settings = Settings(sizes=sizes, trees=trees)
    options: dict[str, Any] = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, memory_limit="8GiB", **options) as cluster, Client(cluster) as client:
        task = delayed(population)(pixels_per_tile, most)
        began = time.perf_counter()

        def told(case: Case) -> None:
            sys.stderr.write(f"{time.perf_counter() - began:6.0f} s {case.name} {case.scores}\n")

        cases = experiment(task, settings, client, keep=told)
        wall = time.perf_counter() - began
    found = table(cases)
    with pd.option_context("display.width", 200, "display.max_columns", 20):
        sys.stderr.write(f"{found.to_string()}\n{verdict(cases, settings.seed)}\n")
    return {
        "wall_s": wall,
        "drawing_s": sum(case.drawing_s for case in cases),
        "growing_s": sum(case.growing_s for case in cases),
        "peak_bytes": max(case.peak_bytes for case in cases),
    }


if __name__ == "__main__":
    per_tile, pixels = int(sys.argv[1]), int(sys.argv[2])
    wanted = tuple(int(size) for size in sys.argv[3].split(",")) if len(sys.argv) > 3 else SIZES
    cost = run(per_tile, pixels, wanted, int(sys.argv[4]) if len(sys.argv) > 4 else 500)
    sys.stdout.write(json.dumps(cost) + "\n")
