"""Signatures that the Planetary Computer wants on the addresses of its files."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from frostmap.catalogs.hosts import address_host
from frostmap.pipeline.transfers import Client, TransferError, pieces

BLOB_HOSTS = (".blob.core.windows.net",)
"""Ends of the names of hosts whose files are signed; what is before them is the account."""

_CONTAINER = re.compile(r"[a-z0-9$][a-z0-9-]{1,62}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_EARLY = dt.timedelta(seconds=60)  # so much before it expires, a token is no longer used
_LONGEST_ANSWER = 1 << 16  # bytes


class _Token(NamedTuple):
    """A signature for all files of a container."""

    query: str
    """What is appended to the addresses."""

    expiry: dt.datetime
    """When it ends to be valid."""


class Signer:
    """Signs addresses of Azure blobs with tokens that it asks for once a container, and again when they expire.

    The package ``planetary-computer`` does this for real hosts only, with settings of the whole process, so that
    neither expiry nor a stand-in for the service could be tested.
    """

    def __init__(self, endpoint: str, client: Client, hosts: tuple[str, ...] = BLOB_HOSTS) -> None:
        """Ask for nothing yet.

        Parameters
        ----------
        endpoint
            Address of the token service, without account and container.
        client
            What asks it.
        hosts
            Ends of the names of hosts whose files are signed: ``.domain``, or ``host:port`` in full.
        """
        self._endpoint, self._client, self._hosts = endpoint.rstrip("/"), client, hosts
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._lock = threading.Lock()

    def signs(self, url: str) -> bool:
        """Say whether an address is one that is signed here."""
        return self._container(url) is not None

    def signed(self, url: str) -> str:
        """Return an address with its signature; unchanged if it needs none or has one already.

        Raises a `TransferError` if the service gives no token. The result is a secret: neither store nor show it.
        """
        container = self._container(url)
        if container is None:
            return url
        with self._lock:  # one thread asks, those beside it wait for the same token
            token = self._tokens.get(container)
            if token is None or token.expiry - _EARLY <= dt.datetime.now(dt.UTC):
                token = self._tokens[container] = self._ask(*container)
        return f"{url}{'&' if '?' in url else '?'}{token.query}"

    def forget(self, url: str) -> None:
        """Drop the token of an address's container: the server did not take it."""
        container = self._container(url)
        with self._lock:
            if container is not None:
                self._tokens.pop(container, None)

    def _container(self, url: str) -> tuple[str, str] | None:
        """Return account and container of an address that is signed; None for others."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or re.search(r"(^|&)sig=", parts.query):
            return None
        host_and_port = address_host(url)
        names = {host_and_port}
        if parts.scheme == "https":
            names.add(host_and_port.removesuffix(":443"))
        if not any(name.endswith(end) for name in names for end in self._hosts):
            return None
        account, container = host_and_port.partition(".")[0], parts.path.split("/")[1] if parts.path else ""
        return (account, container) if _ACCOUNT.fullmatch(account) and _CONTAINER.fullmatch(container) else None

    def _ask(self, account: str, container: str) -> _Token:
        content = b""
        with self._client.get(f"{self._endpoint}/{account}/{container}") as answer:
            for piece in pieces(answer, slowest_bytes_per_s=0.0, window_s=60.0):
                content += piece
                if len(content) > _LONGEST_ANSWER:
                    break
        try:
            return _parse(json.loads(content))
        except (KeyError, TypeError, ValueError):
            # raised below, without its cause: that holds what the service sent, maybe a token
            failure = TransferError(f"the signing service's answer is not understood, at {self._endpoint}")
        raise failure


def _parse(answer: Any) -> _Token:
    """Read the service's answer."""
    query, expiry = str(answer["token"]), dt.datetime.fromisoformat(answer["msft:expiry"])
    if not re.fullmatch(r"[!-~]+", query) or "#" in query:
        raise ValueError("not a query")
    return _Token(query.removeprefix("?"), expiry if expiry.tzinfo else expiry.replace(tzinfo=dt.UTC))
