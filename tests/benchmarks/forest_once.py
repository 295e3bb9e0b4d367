"""One forest over the same pixels by one program, in a process of its own; its cost is written as JSON.

    forest_once.py prepare FOLDER PIXELS
    forest_once.py ENGINE FOLDER WORKERS
    forest_once.py table FOLDER PIXELS [ENGINE ...]

The pixels are the simulated plateau's at 1 km with nine predictors, in the order in which the step `transfer` asks; the
forest is grown on 5000 of them, E being that of 16 clusters. `table` does all, and writes a table of what each costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestRegressor

from frostmap.kernels.forest import predict, predict_distribution
from frostmap.pipeline.experiments.plateau import TILES, ground_of_tile, joined
from frostmap.pipeline.forests import FEATURES, FEWEST_SPLIT, as_arrays
from frostmap.pipeline.samplers import cluster_centres, standardised

SEED, SAMPLES, TREES, PREDICTORS, CLUSTERS, CHUNK = 2020, 5000, 500, 9, 16, 100
E_ERROR = 0.03
ENGINES = ("frostmap", "frostmap-distribution", "scikit-learn", "treelite", "onnxruntime", "ydf", "sklearnex")
Numbers = npt.NDArray[Any]
Engine = Callable[[Numbers], Numbers]
"""Takes (pixels, predictors) float32, returns the prediction."""


def prepare(folder: Path, pixels: int) -> None:
    """Write pixels.npy, chunks of 100 x 100 pixels one after the other, and sample.npz."""
    tiles = TILES if pixels > 1_000_000 else TILES[2:3]
    ground = joined([ground_of_tile(SEED, tile, 1200, (2010,), forcing=False) for tile in tiles])
    values = np.ascontiguousarray(ground.values[:, :PREDICTORS])
    order = np.lexsort([ground.column, ground.row, ground.column // CHUNK, ground.row // CHUNK])
    rng = np.random.default_rng(SEED)
    scaled = standardised(values)
    centres = cluster_centres(scaled[rng.choice(len(scaled), min(100_000, len(scaled)), replace=False)], CLUSTERS, rng)
    sample = rng.choice(len(values), SAMPLES, replace=False)
    cluster = ((scaled[sample, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    means = np.bincount(cluster, ground.e[sample], CLUSTERS) / np.maximum(np.bincount(cluster, minlength=CLUSTERS), 1)
    np.savez(folder / "sample.npz", values=values[sample], target=means[cluster], own=ground.e[sample])
    np.save(folder / "pixels.npy", values[order[:pixels]])


def grown(folder: Path) -> tuple[RandomForestRegressor, Numbers, Numbers]:
    """Return the forest, and what it was grown on; E is each sample's own where FOREST_TARGET says so."""
    sample = np.load(folder / "sample.npz")
    target = sample[os.environ.get("FOREST_TARGET", "target")]
    model = RandomForestRegressor(
        int(os.environ.get("FOREST_TREES", TREES)),
        max_features=FEATURES,
        min_samples_split=FEWEST_SPLIT,
        random_state=SEED,
        n_jobs=2,
    )
    return model.fit(sample["values"], target), sample["values"], target


def engine(name: str, folder: Path, workers: int) -> Engine:
    """Return a way to predict, ready to be timed."""
    model, values, target = grown(folder)
    if name.startswith("frostmap"):
        forest = as_arrays(model, values, target, np.full(len(target), E_ERROR))
        ask = predict if name == "frostmap" else lambda forest, table: predict_distribution(forest, table).mean
        return lambda table: _in_chunks(lambda part: ask(forest, part.T), table, workers)
    if name == "treelite":
        import treelite

        converted = treelite.sklearn.import_model(model)
        return lambda table: treelite.gtil.predict(converted, table, nthread=workers).reshape(-1)
    if name == "onnxruntime":
        import onnxruntime
        from skl2onnx import to_onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = workers
        graph = to_onnx(model, values[:1]).SerializeToString()
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return lambda table: session.run(None, {session.get_inputs()[0].name: table})[0].reshape(-1)
    if name == "ydf":
        import ydf

        learnt = ydf.from_sklearn(model)
        return lambda table: learnt.predict({"features": table}, num_threads=workers)
    if name == "sklearnex":
        from sklearnex.ensemble import RandomForestRegressor as Accelerated

        own = Accelerated(
            len(model.estimators_), max_features=FEATURES, min_samples_split=FEWEST_SPLIT, random_state=SEED
        ).fit(values, target)  # another forest of the same kind: it takes none of scikit-learn's
        own.n_jobs = workers
        return lambda table: np.asarray(own.predict(table))
    model.n_jobs = workers
    return lambda table: model.predict(table)


def _in_chunks(ask: Callable[[Numbers], Numbers], table: Numbers, workers: int) -> Numbers:
    step = CHUNK * CHUNK
    found = np.empty(len(table), np.float32)

    def one(start: int) -> None:
        found[start : start + step] = ask(table[start : start + step])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(0, len(table), step)))
    return found


def cost(name: str, folder: Path, workers: int) -> dict[str, Any]:
    """Return what an engine's prediction costs, beyond its model and the pixels."""
    ask, table = engine(name, folder, workers), np.load(folder / "pixels.npy")
    ask(table[: 2 * CHUNK * CHUNK])  # whatever is compiled or cached is so now
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    wall, processor = time.perf_counter(), time.process_time()
    found = ask(table)
    return {
        "engine": name,
        "workers": workers,
        "pixels": len(table),
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "peak_bytes": _resident("VmHWM") - before,
        "checksum": float(np.mean(found, dtype=np.float64)),
    }


def _resident(field: str) -> int:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(field))
    return 1024 * int(line.split()[1])


def once(*arguments: object) -> dict[str, Any]:
    """Run this file in a process of its own; return what it wrote, or why it could not."""
    command = [sys.executable, str(Path(__file__)), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return {"failed": (run.stderr.strip().splitlines() or ["?"])[-1]}
    return dict(json.loads(run.stdout)) if run.stdout else {}


def write_table(folder: Path, pixels: int, engines: tuple[str, ...]) -> None:
    """Measure every engine with one worker and with two, and write what each costs."""
    once("prepare", folder, pixels)
    sys.stdout.write(f"{'engine':22}{'workers':>8}{'wall s':>9}{'cpu s':>9}{'x cpu':>7}{'peak MiB':>10}{'mean':>12}\n")
    ours: dict[int, float] = {}
    for name in engines:
        for workers in (1, 2):
            found = once(name, folder, workers)
            if "failed" in found:
                sys.stdout.write(f"{name:22}{workers:8}  {found['failed']}\n")
                continue
            ours.setdefault(workers, found["processor_s"])
            sys.stdout.write(
                f"{name:22}{workers:8}{found['wall_s']:9.2f}{found['processor_s']:9.2f}"
                f"{found['processor_s'] / ours[workers]:7.2f}{found['peak_bytes'] / 2**20:10.0f}"
                f"{found['checksum']:12.7f}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    if what == "prepare":
        prepare(where, int(sys.argv[3]))
    elif what == "table":
        write_table(where, int(sys.argv[3]), tuple(sys.argv[4:]) or ENGINES)
    else:
        sys.stdout.write(json.dumps(cost(what, where, int(sys.argv[3]))))
