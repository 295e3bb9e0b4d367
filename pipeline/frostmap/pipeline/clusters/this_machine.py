"""Clusters of this machine: its processes, or threads of this process for what is small."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster

from frostmap.pipeline.clusters.encryption import refuse_public_dashboard
from frostmap.pipeline.clusters.opened import Opened, Say
from frostmap.pipeline.demands import memory_per_worker, workers
from frostmap.pipeline.recipe import Recipe

CLUSTER_SETTINGS = {
    "distributed.worker.daemon": True,
    "distributed.admin.large-graph-warning-threshold": "100MB",
    "distributed.comm.timeouts.connect": "60s",
    # What a scheduler remembers of computations that are over, of which a run has some fifty.
    "distributed.diagnostics.computations.max-history": 10,
    "distributed.diagnostics.erred-tasks.max-history": 10,
    # distributed has every freed array given back to the system at once: to have it back, and cleared, costs a quarter
    # of the chain's processor time. Up to so much is kept for the next one.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 32 << 20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2 << 20,
}
"""Of Dask, where the cluster is this machine; deploy/dask.yaml says the same for others."""


@contextmanager
def processes(recipe: Recipe, _say: Say) -> Iterator[Opened]:
    """Yield a cluster of worker processes, one thread each: HDF4 granules are read by one thread a process."""
    options = {"n_workers": workers(recipe), "threads_per_worker": 1, "memory_limit": memory_per_worker(recipe)}
    with _local(recipe, **options) as opened:
        yield opened


@contextmanager
def threads(recipe: Recipe, _say: Say) -> Iterator[Opened]:
    """Yield a cluster of threads of this process: no process is started."""
    n = workers(recipe)
    options = {"n_workers": 1, "threads_per_worker": n, "memory_limit": n * memory_per_worker(recipe)}
    with _local(recipe, **options, processes=False) as opened:
        yield opened


@contextmanager
def _local(recipe: Recipe, **options: Any) -> Iterator[Opened]:
    refuse_public_dashboard(recipe)
    with (
        dask.config.set(CLUSTER_SETTINGS),
        LocalCluster(
            **options,
            host="127.0.0.1",
            protocol="tcp://",
            dashboard_address=_free_address(recipe.cluster.dashboard),
            silence_logs=logging.CRITICAL,  # what fails in a task is raised here, and told without a traceback
        ) as cluster,
        Client(cluster) as client,
    ):
        yield Opened(client, client.dashboard_link)


def _free_address(wanted: str) -> str:
    host, _, port = wanted.rpartition(":")
    with socket.socket() as probe:
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return wanted
