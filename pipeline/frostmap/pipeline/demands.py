"""What a run asks of a machine: workers and their memory, and what each step takes of it."""

from __future__ import annotations

import itertools

import numpy as np
import psutil
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT
from rich.filesize import decimal

from frostmap.pipeline import cubes
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.frames import frames
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import Variable
from frostmap.pipeline.stage import Stage, step_name
from frostmap.pipeline.stages import STAGES
from frostmap.pipeline.work import Work

LIBRARIES_BYTES = 425_000_000
"""What a worker takes before it has done anything: its libraries."""

KEPT_BYTES = {
    "terrain": 65_000_000,
    "observations": 135_000_000,
    "gap_filling": 65_000_000,
    "degree_days": 30_000_000,
    "ground_correction": 45_000_000,
    "calibration": 20_000_000,
    "forest": 15_000_000,
}
"""What it holds on to from a stage on: kernels, libraries that are loaded late, freed memory that it keeps
(`clusters.this_machine.CLUSTER_SETTINGS`). Measured by ``python -m tests.benchmarks.plan_once``."""

WORKER_BYTES = LIBRARIES_BYTES + sum(KEPT_BYTES.values())
"""What it takes beside its tasks when it has had a part in every stage."""

OF_THE_MACHINE = 0.8
"""Share of the machine's memory that workers may use together."""

LEAST_BYTES = 2 << 30
"""Memory that each worker gets at least, before there is another one on the same machine."""

COPIES = 3
"""How often a task holds the layers that it reads and writes: as stored, as float64 and what comes of them."""


def workers(recipe: Recipe) -> int:
    """Return the number of workers on this machine: one a core that we may use, as long as each has memory."""
    if recipe.cluster.workers is not None:
        return recipe.cluster.workers
    cores = min(len(psutil.Process().cpu_affinity()), CPU_COUNT)
    each = recipe.cluster.memory_gib * 2**30 if recipe.cluster.memory_gib else LEAST_BYTES
    return max(1, min(cores, int(OF_THE_MACHINE * MEMORY_LIMIT / each)))


def memory_per_worker(recipe: Recipe) -> int:
    """Return what each worker may use [bytes]."""
    share = OF_THE_MACHINE * MEMORY_LIMIT / workers(recipe)
    return int(recipe.cluster.memory_gib * 2**30 if recipe.cluster.memory_gib else share)


def worker_bytes(stage: str) -> int:
    """Return what a worker takes beside its tasks at a stage [bytes], if it has had a part in all before."""
    order = [each.name for each in STAGES]
    if stage not in order:
        return WORKER_BYTES
    done = order[: order.index(stage) + 1]
    return LIBRARIES_BYTES + sum(kept for name, kept in KEPT_BYTES.items() if name in done)


def step_memory(work: Work, stage: Stage, scope: str) -> int:
    """Return the most that a worker takes at a step [bytes], itself and its task.

    What a stage says of its tasks; where it says nothing, they hold the layers that it reads and writes: of the whole
    map, or of a task's window with all years and composites in it.
    """
    if stage.memory is not None:
        return worker_bytes(stage.name) + stage.memory(work, scope)
    height, width = stage.window(work) if stage.window else work.shape
    layers = {each.name: each.writes for each in STAGES} | {stage.name: stage.writes}
    held = 0
    for step in (*stage.inputs(work.recipe, scope), step_name(stage.name, scope)):
        name, _, its_scope = step.partition("/")
        sizes = work.sizes(its_scope) | {"y": height, "x": width}
        for variable in layers.get(name, ()):
            if stage.window or set(variable.dims) == {"y", "x"}:
                pixels = int(np.prod([sizes[dim] for dim in variable.dims], dtype=np.int64))
                held += pixels * np.dtype(variable.dtype).itemsize
    return worker_bytes(stage.name) + COPIES * held


def step_bytes(work: Work, stage: Stage, scope: str) -> int:
    """Return what a step writes to the cube [bytes], before compression; blocks outside the region are not written."""
    if not stage.writes:
        return 0
    sizes = _sizes(work, scope)
    everywhere = sum(
        int(np.prod([sizes[dim] for dim in variable.dims], dtype=np.int64)) * np.dtype(variable.dtype).itemsize
        for variable in stage.writes
    )
    return round(everywhere * _share(work, stage))


def _share(work: Work, stage: Stage) -> float:
    """Return the share of the map whose blocks hold a pixel that a stage is made for."""
    wanted, (height, width) = stage.wanted(work), work.shape
    if stage.block is None:
        windows = [window for _, _, window in frames(work)]
    else:
        side = stage.block(work)
        starts = itertools.product(range(0, height, side), range(0, width, side))
        windows = [(slice(y, min(y + side, height)), slice(x, min(x + side, width))) for y, x in starts]
    return sum(wanted[window].size for window in windows if wanted[window].any()) / (height * width)


def step_chunks(work: Work, stage: Stage, scope: str) -> int:
    """Return how many chunks a step writes."""
    sizes = _sizes(work, scope)
    return sum(
        int(np.prod([-(-sizes[dim] // n) for dim, n in zip(v.dims, _chunk(work, v, scope), strict=True)]))
        for v in stage.writes
    )


def largest_chunk(work: Work, stage: Stage, scope: str) -> str:
    """Return the largest chunk that a step writes, in words; "the whole map" where it writes none.

    For messages, such as `filled, 46 x 100 x 100 of (time, y, x)`.
    """
    if not stage.writes:
        return "the whole map"
    variable = max(stage.writes, key=lambda v: int(np.prod(_chunk(work, v, scope))) * np.dtype(v.dtype).itemsize)
    sides = " x ".join(map(str, _chunk(work, variable, scope)))
    return f"{variable.name}, {sides} of ({', '.join(variable.dims)})"


def refuse_what_does_not_fit(work: Work, name: str, stage: Stage, scope: str, takes: int, most: int) -> None:
    """Raise `UserError` where a step takes more memory than a worker has."""
    if takes <= most:
        return
    raise UserError(
        f"the step {name} takes more memory than a worker has",
        where=f"a task of {name}, whose largest chunk is {largest_chunk(work, stage, scope)}",
        found=f"{decimal(takes)}, {decimal(worker_bytes(stage.name))} of them for the worker itself",
        wanted=f"at most {decimal(most)}",
        remedy="raise cluster.memory_gib or lower cluster.workers in the recipe; or lower store.chunk_pixels, which "
        "is cut from each tile, so that all is made again",
    )


def _chunk(work: Work, variable: Variable, scope: str) -> tuple[int, ...]:
    return cubes.chunk_shape(variable, _sizes(work, scope), work.chunk_pixels)


def _sizes(work: Work, scope: str) -> dict[str, int]:
    return work.sizes(scope) | {"y": work.shape[0], "x": work.shape[1]}
