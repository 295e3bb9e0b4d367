"""The small demo again and again on one cluster whose workers are killed at random; what it held at the end, as JSON.

    python -m tests.benchmarks.soak_once MINUTES [SEED]

Scheduler, nannies and client live as long as it lasts: their memory, files and threads must stay what they are. Every
run must end with the same bits, or with an error that says what happened, and then go on to them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import Client

from frostmap.pipeline.errors import FrostmapError
from frostmap.pipeline.run import run
from frostmap.pipeline.simulate import write_archive

from ..pipeline.conftest import TINY, make_recipe
from ..pipeline.processes import Cluster, Run, cluster

LIVES_S = (10.0, 40.0)
"""How long one of the workers is left alone, at least and at most."""

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)
MIB = 2**20


def kill_at_random(running: Cluster, chance: random.Random, over: threading.Event, kills: Counter[str]) -> None:
    """End one worker after the other."""
    while not over.wait(chance.uniform(*LIVES_S)):
        pids, how = running.pids(), chance.choice(SIGNALS)
        if pids:
            try:
                psutil.Process(chance.choice(pids)).send_signal(how)
            except psutil.NoSuchProcess:
                continue
            kills[how.name] += 1


def held(running: Cluster) -> dict[str, dict[str, float]]:
    """Return what the processes that live on hold: memory [MiB], files, threads."""
    found = {"client": psutil.Process(), "scheduler": running.scheduler, "nannies": running.workers}
    return {
        name: {
            "mib": round(process.memory_info().rss / MIB, 1),
            "files": process.num_fds(),
            "threads": process.num_threads(),
        }
        for name, process in found.items()
    }


def grown(samples: list[dict[str, dict[str, float]]], hours: list[float]) -> dict[str, dict[str, float]]:
    """Return the slope of what is held, per hour, over the second half of the time: the first fills caches."""
    late = len(samples) // 2
    if len(samples) - late < 3:
        return {}
    return {
        name: {
            kind: round(float(np.polyfit(hours[late:], [sample[name][kind] for sample in samples[late:]], 1)[0]), 1)
            for kind in samples[0][name]
        }
        for name in samples[0]
    }


def main(minutes: float, seed: int = 1) -> dict[str, Any]:
    """Run for so long; return what was seen."""
    kills, errors = Counter[str](), Counter[str]()
    samples, hours, differing = list[dict[str, dict[str, float]]](), list[float](), list[str]()
    root = Path(tempfile.mkdtemp(prefix="frostmap-soak-"))
    os.environ["DASK_CONFIG"] = str(Path(__file__).parents[2] / "deploy" / "dask.yaml")  # as the documentation says
    over, first = threading.Event(), dict[str, str]()
    with cluster(root) as running:
        with Client(running.address) as client:
            write_archive(root / "archive", TINY, client=client)
        recipe = make_recipe(root / "archive", cluster={"dashboard": "127.0.0.1:0"})
        killer = threading.Thread(target=kill_at_random, args=(running, random.Random(seed), over, kills))  # noqa: S311
        killer.start()
        began, number = time.monotonic(), 0
        try:
            while time.monotonic() - began < 60 * minutes:
                folder, number = root / f"run-{number}", number + 1
                while True:
                    try:
                        run(recipe, folder, scheduler=running.address)
                    except FrostmapError as error:
                        errors[error.what] += 1
                    else:
                        break
                made = Run(root / "recipe.yaml", folder).made()
                first = first or made
                if made != first:
                    differing.append(folder.name)
                else:
                    shutil.rmtree(folder)
                samples.append(held(running))
                hours.append((time.monotonic() - began) / 3600)
        finally:
            over.set()
            killer.join()
    if not differing:
        shutil.rmtree(root)
    return {
        "runs": number,
        "minutes": round(hours[-1] * 60, 1),
        "kills": kills,
        "errors": errors,
        "differing": [str(root / name) for name in differing],
        "first": samples[0],
        "last": samples[-1],
        "grown_per_hour": grown(samples, hours),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(float(sys.argv[1]), *map(int, sys.argv[2:])), indent=2) + "\n")
