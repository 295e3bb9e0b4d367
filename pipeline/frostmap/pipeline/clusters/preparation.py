"""What every worker is told before its first task, those that come later too."""

from __future__ import annotations

import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numba
from distributed import Client, Worker
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin
from threadpoolctl import threadpool_limits

from frostmap.pipeline.clusters import software
from frostmap.pipeline.clusters.loss import answered
from frostmap.pipeline.watching.costs import METRIC, tally

_PROCESS = uuid.uuid4().hex
"""Of this process: a worker that is a thread of it knows it by that."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def prepared(client: Client, *, deaf: bool = False) -> Iterator[None]:
    """Prepare a cluster's workers, and those that come while the context lasts.

    Parameters
    ----------
    client
        Of the cluster.
    deaf
        Whether the workers are processes of this terminal: Ctrl-C is then for the client alone, which lets them finish.

    Raises
    ------
    SoftwareDiffers
        Client, scheduler and workers do not have the same software.
    """
    software.check(client)
    answered(client, lambda: client.register_plugin(Preparation(deaf=deaf)))
    try:
        yield
    finally:
        if client.status == "running":
            with suppress(OSError, ValueError):  # the scheduler has gone: so have they
                client.unregister_worker_plugin(Preparation.name)


class Preparation(WorkerPlugin):
    """One thread a task, whatever library it calls; no worker of other software; and each tells what it has done."""

    name = "frostmap"

    def __init__(self, *, deaf: bool = False) -> None:
        self._deaf = deaf
        self._software = software.own()
        self._of_process = _PROCESS
        self._limits: threadpool_limits | None = None

    def setup(self, worker: Worker) -> None:
        """Limit the libraries' pools of threads: tasks are as many as cores already.

        Kernels are compiled at their first call, once a process: Numba lets the other threads wait for it.
        """
        differs = software.differences(self._software, software.own())
        if differs:
            self._dismiss(worker, differs)
            return
        worker.metrics[METRIC] = tally
        self._limits = threadpool_limits(limits=1)
        _limit_each_thread(worker)
        if self._deaf and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._of_process != _PROCESS:  # of its own: also what its libraries read when they are loaded
            os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
            with suppress(RuntimeError):  # another user of the cluster has launched Numba's threads
                numba.config.reload_config()  # type: ignore[no-untyped-call]

    def teardown(self, worker: Worker) -> None:
        """Give a process back its threads."""
        worker.metrics.pop(METRIC, None)
        if self._limits is not None:
            self._limits.restore_original_limits()
            self._limits = None

    @staticmethod
    def _dismiss(worker: Worker, differs: str) -> None:
        logging.getLogger("distributed.worker").error("its software is not the client's, so it leaves: %s", differs)
        worker.status = Status.paused  # no task from here on
        worker.loop.add_callback(worker.close, reason=f"software differs: {differs}")


def _limit_each_thread(worker: Worker) -> None:
    """Have each thread that tasks run in limit OpenMP, which counts threads by the one that asks for them."""
    n = worker.state.nthreads
    all_there = threading.Barrier(n)

    def limit() -> None:
        threadpool_limits(limits=1, user_api="openmp")
        with suppress(threading.BrokenBarrierError):  # others are at work for somebody else
            all_there.wait(timeout=10)

    for _ in range(n):
        worker.executors["default"].submit(limit)
