"""A cluster that is lost while a run computes on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TypeVar

from distributed import Client
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError

from frostmap.catalogs.errors import ExplainedError
from frostmap.pipeline.errors import FrostmapError

T = TypeVar("T")

ANSWERS_WITHIN_S = 20.0
"""A scheduler that takes longer is taken to be gone [s]."""
_ASKED_AT_MOST = 4


class ClusterLost(FrostmapError):
    """The scheduler is no longer there, or has given up what it was given, or has no workers; what was made stands."""

    exit_code = 4


class ConnectionEnded(ClusterLost):
    """The scheduler is there, but not the way to it: with another cluster a run may go on by itself."""


def lost(client: Client, found: str = "") -> ClusterLost:
    """Return the error to raise where a client's cluster is lost."""
    return ClusterLost(
        "the Dask scheduler is no longer there",
        where=getattr(client.scheduler, "address", ""),
        found=found or "it ended, or the connection to it did, before all tasks were done",
        remedy="run again, after starting the scheduler again if you started it: what was made stands, and only what "
        "was in flight is made again",
    )


def cut_off(client: Client, words: str = "") -> ConnectionEnded:
    """Return the error to raise where the scheduler's pod is there, but not the way to it; `words` say why."""
    return ConnectionEnded(
        "the connection to the Dask scheduler ended",
        where=getattr(client.scheduler, "address", ""),
        found="its pod is there: the connection to it ended" + (f": {words}" if words else ""),
        remedy="run again: what was made stands, and only what was in flight is made again",
    )


def deserted(client: Client, seconds: float) -> ClusterLost:
    """Return the error to raise where a cluster has had no workers for so long [s]."""
    return ClusterLost(
        "the cluster has no workers any more",
        where=getattr(client.scheduler, "address", ""),
        found=f"none for {seconds:g} s: all ended, and none came back",
        remedy="start workers again if you started them, and run again: what was made stands. If others may take "
        "longer to come, raise cluster.start_seconds in the recipe",
    )


@contextmanager
def loss_explained(client: Client) -> Iterator[None]:
    """Raise `ClusterLost` in place of whatever Dask raises where its scheduler ends."""
    try:
        yield
    except ExplainedError:
        raise
    except (CancelledError, CommClosedError, ClosedClientError) as error:
        raise lost(client) from error
    except (OSError, RuntimeError, ValueError) as error:
        if client.status == "running" and _answers(client):
            raise
        raise lost(client) from error


def answered(client: Client, ask: Callable[[], T]) -> T:
    """Return what is asked of all workers; where one of them ends meanwhile, those that are left are asked again."""
    for _ in range(_ASKED_AT_MOST - 1):
        try:
            return ask()
        except OSError:  # of the connection to it, or of a new one
            if not _answers(client):
                raise
    return ask()


def _answers(client: Client) -> bool:
    """Say whether the scheduler is there: who asks it may be told that it is not before the client knows."""
    scheduler = client.scheduler
    if scheduler is None:
        return False
    try:
        client.sync(scheduler.identity, callback_timeout=ANSWERS_WITHIN_S)
    except (OSError, RuntimeError, ValueError, CancelledError):
        return False
    return True
