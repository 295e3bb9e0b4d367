"""Who may listen in: certificates of a cluster, and no word in the clear to another machine unless the user wants it.

A Dask scheduler executes whatever its clients send, so an address without certificates is one that anybody on the
network may use.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import dask
from distributed.security import Security

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe

_OF_DASK = {
    "ca": "distributed.comm.tls.ca-file",
    "cert": "distributed.comm.tls.client.cert",
    "key": "distributed.comm.tls.client.key",
}
"""Where Dask's own configuration has a client's certificates: a file, or DASK_DISTRIBUTED__COMM__TLS__CA_FILE."""


def security_of(recipe: Recipe) -> Security | None:
    """Return the certificates of the recipe, else those of Dask's configuration; None where neither has any.

    Raises
    ------
    UserError
        A file is not there, or one of three is not named.
    """
    given = recipe.cluster.tls
    if given is not None:
        files = {name: str(recipe.path(getattr(given, name))) for name in _OF_DASK}
        origin = "recipe: cluster.tls"
    else:
        files = {name: str(dask.config.get(key) or "") for name, key in _OF_DASK.items()}
        origin = "Dask's configuration: distributed.comm.tls"
        if not files["ca"]:
            return None
    for name, path in files.items():
        _refuse_missing(name, path, origin)
    roles = {
        f"tls_{role}_{name}": files[name] for role in ("client", "scheduler", "worker") for name in ("cert", "key")
    }
    if given is None:  # a scheduler's and worker's own, where Dask's configuration has them
        roles = {name: path for name, path in roles.items() if name.startswith("tls_client")}
    return Security(require_encryption=True, tls_ca_file=files["ca"], **roles)


def _refuse_missing(name: str, path: str, origin: str) -> None:
    if path and Path(path).is_file():
        return
    raise UserError(
        "a certificate of the cluster is not there",
        where=f"{origin}, {name}",
        found=path or "nothing",
        wanted="PEM files of a certificate authority (ca), a certificate that it signed (cert), and its key",
        remedy="correct the path; docs/how-to/running.md says how to make them",
    )


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, seen from itself alone.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name, or nothing, which stands for all addresses
        return False


def refuse_in_the_clear(recipe: Recipe, address: str, asked: str) -> None:
    """Raise `UserError` if what goes to an address could be read on its way, unless the recipe allows that."""
    parts = urlsplit(address)
    if parts.scheme == "tls" or is_loopback(parts.hostname or "") or recipe.cluster.allow_unencrypted:
        return
    raise UserError(
        "the scheduler is on another machine, and the connection to it is not encrypted",
        where=asked,
        found=address,
        wanted="a tls:// address; tcp:// is for schedulers on this machine",
        remedy="give the cluster certificates (recipe: cluster.tls; docs/how-to/running.md), or set "
        "cluster.allow_unencrypted in the recipe where the network is yours alone",
    )


def refuse_public_dashboard(recipe: Recipe) -> None:
    """Raise `UserError` if the dashboard would listen to other machines, unless the recipe allows that."""
    host = recipe.cluster.dashboard.rpartition(":")[0]
    if is_loopback(host) or recipe.cluster.allow_unencrypted:
        return
    raise UserError(
        "the dashboard would be open to other machines, and it is not encrypted",
        where="recipe: cluster.dashboard",
        found=recipe.cluster.dashboard,
        wanted="an address of this machine alone, such as 127.0.0.1:8787",
        remedy="look at it through a tunnel (ssh -L 8787:127.0.0.1:8787 HOST), or set cluster.allow_unencrypted in the "
        "recipe where the network is yours alone",
    )
