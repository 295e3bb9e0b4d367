"""How tasks come to a cluster and their results back: not all at once, watched, and accounted for whatever happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from dask.delayed import Delayed
from dask.utils import key_split
from distributed import Client, Future, KilledWorker, as_completed, wait

from frostmap.pipeline.clusters.loss import lost
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.watchdog import DESERTED_AFTER_S, STUCK_AFTER_S, Watchdog

AT_ONCE = 2000
"""Tasks that a scheduler is given at a time: of more it would only hold the descriptions, some 10 kB each."""

_OF_A_CHUNK = 2
"""Parts of a task that writes a chunk: what makes it, and what writes it."""


def compute(
    client: Client,
    tasks: list[Delayed],
    progress: Callable[[int], None],
    keep: Callable[[Any], None] = lambda _result: None,
    *,
    at_once: int | None = None,
    stuck_after_s: float = STUCK_AFTER_S,
    deserted_after_s: float = DESERTED_AFTER_S,
) -> list[Any]:
    """Return the results of tasks, in order.

    Parameters
    ----------
    client
        Whose cluster computes.
    tasks
        What is computed.
    progress
        Told how many are done. If it raises, what has begun is waited for, and nothing else begins.
    keep
        Given each result at once.
    at_once
        Most tasks that the scheduler is given at a time; only where they share nothing, which would be made again. All
        of them if left out.
    stuck_after_s
        A worker that finishes nothing for so long is started anew [s].
    deserted_after_s
        Where there is no worker for so long, all is given up [s].

    Raises
    ------
    FrostmapError
        What a task raised; the others are given up. `ClusterLost` if the scheduler was, or all workers.
    """
    waiting = deque(tasks)
    futures: list[Future[Any]] = []
    results: dict[Any, Any] = {}
    completed = as_completed()

    def submit(n: int) -> None:
        sent = client.compute([waiting.popleft() for _ in range(min(n, len(waiting)))])
        futures.extend(sent)
        completed.update(sent)

    most = at_once or max(len(tasks), 1)
    done = 0
    try:
        with Watchdog(client, futures, stuck_after_s, deserted_after_s) as watchdog:
            submit(most)
            for batch in completed.batches():
                for future in batch:
                    if future.status == "error":
                        _settle(client, tasks, futures)
                        raise _explained(future.exception(), watchdog)
                    if future.status in ("cancelled", "lost"):
                        raise watchdog.complaint() or lost(client)
                fetched = {future.key: future for future in batch if future.key not in results}
                results |= client.gather(fetched)
                for key in fetched:
                    keep(results[key])
                for future in fetched.values():
                    future.release()  # it is here: were its worker lost, the scheduler would have it made again
                done += len(batch)
                try:
                    progress(done)
                except KeyboardInterrupt:
                    _settle(client, tasks, futures)
                    raise
                free = most - (len(futures) - done)
                if waiting and free >= most // 2:
                    submit(free)
        return [results[future.key] for future in futures]
    finally:
        if client.status == "running":
            client.cancel([future for future in futures if not future.done()])


def _settle(client: Client, tasks: list[Delayed], futures: list[Future[Any]]) -> None:
    """Give up what has not begun and wait for what has: nothing may write once the work directory is let go of.

    A chunk that is being made has begun, too: it is waited for until it is written.
    """
    working = {str(key) for keys in client.processing().values() for key in keys}
    begun, others = list[Future[Any]](), list[Future[Any]]()
    for task, future in zip(tasks, futures, strict=False):  # those behind were not submitted
        parts = {str(key) for key in task.__dask_graph__()}
        own = {str(future.key)} if len(parts) > _OF_A_CHUNK else parts
        (begun if own & working else others).append(future)
    client.cancel([future for future in others if not future.done()])
    wait(begun)


def _explained(error: BaseException, watchdog: Watchdog) -> BaseException:
    if isinstance(error, ValueError) and "checksum" in str(error):  # of zarr's CRC32C codec
        return DataIncomplete(
            "a chunk of the cube is damaged",
            found=error,
            wanted="chunks as they were written",
            remedy="find it with `frostmap verify WORKDIR`, then run again: only what is damaged is made again",
        )
    if not isinstance(error, KilledWorker):
        return error
    return watchdog.complaint() or UserError(
        "workers died on the same task again and again, most likely for lack of memory",
        where=f"a task of {key_split(error.task)}",
        found=f"{error.allowed_failures + 1} workers lost",
        wanted="tasks that fit a worker's memory; `frostmap plan` shows what each stage takes",
        remedy="give workers more with cluster.memory_gib or fewer cluster.workers, or lower store.chunk_pixels",
    )
