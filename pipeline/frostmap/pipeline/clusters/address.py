"""A cluster that is running already, by the address of its scheduler."""

from __future__ import annotations

import logging
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from distributed import Client

from frostmap.pipeline.clusters.encryption import refuse_in_the_clear, security_of
from frostmap.pipeline.clusters.loss import ANSWERS_WITHIN_S
from frostmap.pipeline.clusters.opened import Opened, Say
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe

_LOG = logging.getLogger(__name__)
_WANTED = "the address of a running scheduler, such as tcp://127.0.0.1:8786, or tls:// on another machine"


def is_address(where: str) -> bool:
    """Say whether this is an address, as far as one can tell without asking it.

    >>> is_address("tcp://127.0.0.1:8786"), is_address("scheduler:8786"), is_address("threads")
    (True, True, False)
    """
    return "://" in where or re.fullmatch(r"\S+:\d+", where) is not None


@contextmanager
def running(recipe: Recipe, address: str, asked: str, say: Say) -> Iterator[Opened]:
    """Yield the cluster at an address; it stays when the context ends.

    Parameters
    ----------
    recipe
        Its section `cluster` says which certificates to show, and whether to do without.
    address
        tcp://HOST:PORT, tls://HOST:PORT, or HOST:PORT, which is tls where there are certificates.
    asked
        Where the address was given, for messages.
    say
        Told what is waited for.

    Raises
    ------
    UserError
        It does not answer, has no workers, or what is sent to it could be read on its way.
    """
    security = security_of(recipe)
    if "://" not in address:
        address = f"{'tls' if security else 'tcp'}://{address}"
    secure = _scheme(address, asked) == "tls"
    refuse_in_the_clear(recipe, address, asked)
    if secure and security is None:
        raise UserError(
            "a tls:// address, but no certificates",
            where=asked,
            wanted="the certificate authority, a certificate and its key, as PEM files",
            remedy="name them in the recipe (cluster.tls) or in Dask's configuration (distributed.comm.tls)",
        )
    try:
        client = Client(address, timeout=ANSWERS_WITHIN_S, **({"security": security} if secure else {}))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            "the Dask scheduler does not answer",
            where=asked,
            found=error,
            wanted=_WANTED,
            remedy="start one with `dask scheduler` and `dask worker`, check the address"
            + (" and that all certificates are of one authority" if secure else "")
            + ", or leave it out",
        ) from error
    with _closed_at_the_end(client):
        _wait_for_a_worker(client, recipe.cluster.start_seconds, asked, say)
        yield Opened(client, client.dashboard_link or "")


@contextmanager
def _closed_at_the_end(client: Client) -> Iterator[None]:
    """Close a client when the context ends, and never hide by that why it ended."""
    try:
        with client.as_current():
            yield
    finally:
        try:
            client.close()
        except (OSError, ValueError) as error:
            # What came of reconnecting is raised here: of tornado a ValueError, where a connection ended before TLS
            # began on it. To close it again, as happens when it is collected, would wait 40 s for nothing.
            _LOG.warning("the client of %s does not close: %s", client, error)
            client.status = "closed"


def _scheme(address: str, asked: str) -> str:
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("tcp", "tls") and bool(parts.hostname) and parts.port is not None
    except ValueError:
        sound = False
    if not sound:
        raise UserError(
            "no address of a Dask scheduler",
            where=asked,
            found=address,
            wanted=_WANTED,
            remedy="correct it, or leave it out to compute on this machine",
        )
    return parts.scheme


def _wait_for_a_worker(client: Client, seconds: float, asked: str, say: Say) -> None:
    """Wait for the first worker; a cluster that grows as it is asked is asked."""
    if client.scheduler_info(n_workers=-1)["workers"]:
        return
    say("waiting for a worker")
    probe = client.submit(platform.python_version, pure=False)
    try:
        probe.result(timeout=seconds)
    except TimeoutError as error:
        raise UserError(
            "the cluster has no workers",
            where=asked,
            found=f"none in {seconds:g} s",
            wanted="at least one",
            remedy="start some with `dask worker ADDRESS --nthreads 1`; if they take longer to come, raise "
            "cluster.start_seconds in the recipe",
        ) from error
    finally:
        probe.cancel()
