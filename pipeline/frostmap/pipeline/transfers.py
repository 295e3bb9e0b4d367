"""HTTP downloads from hosts that are checked, redirect by redirect, with credentials for their own hosts only.

No secret leaves this module: failures are told in its own words, because those of the libraries below may quote an
address with the signature in its query.
"""

from __future__ import annotations

import http.client
import logging
import netrc
import os
import re
import socket
import ssl
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.cookiejar import CookieJar
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urljoin, urlsplit

from urllib3 import (
    BaseHTTPResponse,
    HTTPConnectionPool,
    HTTPSConnectionPool,
    PoolManager,
    ProxyManager,
    Retry,
    Timeout,
    make_headers,
)
from urllib3 import exceptions as http_errors
from urllib3.connection import HTTPConnection, HTTPSConnection

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.hosts import HostRule, address_host, without_query

_T = TypeVar("_T")

_MOST_REDIRECTS = 8
_PIECE = 1 << 16  # bytes that are asked of the connection at a time
_LATER = frozenset({408, 425, 429})  # statuses that pass, besides those of 500 and above
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750; anything else could end up in an error of http.client
_LOG_IN = (
    "log in: put 'machine {host} login NAME password PASSWORD' in ~/.netrc (chmod 600), or set EARTHDATA_TOKEN; "
    "then accept the data's terms once in a browser if the archive has any"
)


class TransferError(Exception):
    """Why a transfer failed, in words that hold no secret."""

    def __init__(
        self, found: str, *, lasting: bool = False, status: int = 0, wait_s: float = 0.0, remedy: str = ""
    ) -> None:
        super().__init__(found)
        self.found = found
        self.lasting = lasting
        """Whether another attempt would end likewise."""
        self.status = status
        """The HTTP status; 0 where there was no answer or its status was not the reason."""
        self.wait_s = wait_s
        """How long the server asks to wait [s]; 0 if it did not say."""
        self.remedy = remedy


class Client:
    """Asks hosts that the rule allows; remembers connections and, of Earthdata's hosts, cookies."""

    def __init__(
        self,
        rule: HostRule,
        *,
        timeout_s: float,
        connections: int,
        token_hosts: tuple[str, ...] = (),
        login_host: str = "",
    ) -> None:
        """Open no connection yet.

        Parameters
        ----------
        rule
            Which hosts may be asked.
        timeout_s
            Longest wait for a connection, and between two pieces of an answer [s].
        connections
            How many connections to a host are kept.
        token_hosts
            Hosts, ``host`` or ``host:port``, that are sent the token of ``EARTHDATA_TOKEN``.
        login_host
            The host that is sent its own name and password of the netrc file.
        """
        # urllib3 logs each request line; this keeps signatures out of debug logs
        logging.getLogger("urllib3.connectionpool").addFilter(_hide_queries)
        self._rule, self._token_hosts, self._login_host = rule, token_hosts, login_host
        self._timeout = Timeout(connect=timeout_s, read=timeout_s)
        self._connections = connections
        self._cookies = CookieJar()
        self._managers: dict[str, PoolManager] = {}

    @contextmanager
    def get(self, url: str) -> Iterator[BaseHTTPResponse]:
        """Yield the answer to a GET, redirects followed, if its status is 200; else raise a `TransferError`.

        Its content is for `pieces` to read. What was not read when the context ends is dropped with the connection.
        """
        visited: set[tuple[str, str]] = set()
        while True:
            self._check(url)
            headers = self._headers(url)
            # logins lead back to where they began, but with a cookie
            visit = (url, headers.get("Cookie", ""))
            if visit in visited or len(visited) > _MOST_REDIRECTS:
                kind = "a redirect loop" if visit in visited else f"more than {_MOST_REDIRECTS} redirects"
                raise TransferError(f"{kind} at {without_query(url)}", lasting=True, remedy=self.how_to_log_in)
            visited.add(visit)
            answer = self._ask(url, headers)
            if answer.status not in _REDIRECTS:
                break
            location = answer.headers.get("Location")
            _finish(answer)
            if not location:
                raise TransferError(f"a redirect to nowhere at {without_query(url)}", lasting=True)
            url = _joined(url, location)
        try:
            self._check_status(url, answer)
            yield answer
        finally:
            answer.close()

    def _check(self, url: str) -> None:
        try:
            self._rule.check(url)
            if urlsplit(url).scheme in ("http", "https"):
                return
            failure = TransferError(f"no download, but a file of this machine: {without_query(url)}", lasting=True)
        except CatalogError as error:
            failure = _refused(url, error)
        raise failure

    def _ask(self, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
        """Send one request, follow nothing."""
        try:
            answer = _attempted(
                lambda: self._manager(url).urlopen(
                    "GET",
                    url,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=self._timeout,
                )
            )
        except CatalogError as error:  # the connected address is not the one that was checked
            failure = _refused(url, error)
        else:
            if self._is_ours(url):
                # urllib3's responses have what the jar reads: info(), with get_all()
                self._cookies.extract_cookies(cast(Any, answer), _request(url))
            return answer
        raise failure

    def _manager(self, url: str) -> PoolManager:
        """Return the connections that lead to a host: direct, or by the proxy that the environment names."""
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme, "")
        if proxy and urllib.request.proxy_bypass(parts.netloc):
            proxy = ""
        if proxy not in self._managers:
            manager = _proxied(proxy, self._connections) if proxy else PoolManager(maxsize=self._connections)
            manager.pool_classes_by_scheme = _guarded_pools(self._rule)
            self._managers[proxy] = manager
        return self._managers[proxy]

    def _headers(self, url: str) -> dict[str, str]:
        """Return a request's headers: cookies and credentials only for the hosts that they are of."""
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # granules are compressed inside
            "User-Agent": f"frostmap/{version('frostmap')}",
        }
        if not self._is_ours(url):
            return headers
        request = _request(url)
        self._cookies.add_cookie_header(request)
        cookie = request.get_header("Cookie")
        if cookie is not None:
            headers["Cookie"] = cookie
        token = os.environ.get("EARTHDATA_TOKEN", "").strip()
        if _is_one_of(url, (self._login_host,)):
            name_and_password = _netrc_entry(urlsplit(url).hostname or "")
            if name_and_password:
                headers |= make_headers(basic_auth=name_and_password)
        elif token:
            if not _TOKEN.fullmatch(token):
                raise TransferError("EARTHDATA_TOKEN holds characters that no token has", lasting=True)
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _is_ours(self, url: str) -> bool:
        """Say whether a host is one of those where the user has an account."""
        return _is_one_of(url, (*self._token_hosts, self._login_host))

    @property
    def how_to_log_in(self) -> str:
        """What to tell a user whom a server does not know; empty if no host is logged in to."""
        return _LOG_IN.format(host=self._login_host) if self._login_host else ""

    def _check_status(self, url: str, answer: BaseHTTPResponse) -> None:
        status, where = answer.status, without_query(url)
        if status == HTTPStatus.OK:
            if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise TransferError(f"a web page instead of data, at {where}", lasting=True, remedy=self.how_to_log_in)
            return
        phrase = f" {HTTPStatus(status).phrase}" if status in HTTPStatus.__members__.values() else ""
        raise TransferError(
            f"status {status}{phrase} at {where}",
            lasting=status not in _LATER and status < 500,
            status=status,
            wait_s=_retry_after(answer.headers.get("Retry-After", "")),
            remedy=self.how_to_log_in if status in (401, 403) else "",
        )


def pieces(answer: BaseHTTPResponse, *, slowest_bytes_per_s: float, window_s: float) -> Iterator[bytes]:
    """Yield an answer's content as it comes, and raise a `TransferError` if it does not come whole.

    Pieces are passed on as they arrive: waiting for full ones would let a server that sends a byte a minute hold a
    connection for days. Slower than `slowest_bytes_per_s` over `window_s` [s] is a stall.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise TransferError("content in an encoding that was not asked for", lasting=True)
    inflater = None if encoding == "identity" else zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    started, received = time.monotonic(), 0
    while piece := _attempted(lambda: answer.read1(_PIECE, decode_content=False)):
        received += len(piece)
        elapsed = time.monotonic() - started
        if elapsed >= window_s:
            if received < slowest_bytes_per_s * elapsed:
                raise TransferError(f"a stall: {received} bytes in {elapsed:.0f} s")
            started, received = time.monotonic(), 0
        yield piece if inflater is None else _inflated(inflater, piece)
    if inflater is not None and not inflater.eof:
        raise TransferError("a truncated gzip body")


def _inflated(inflater: Any, piece: bytes) -> bytes:
    try:
        return bytes(inflater.decompress(piece))
    except zlib.error:
        failure = TransferError("a damaged gzip body")
    raise failure


def _attempted(call: Callable[[], _T]) -> _T:
    """Call, and tell urllib3's errors in our own words.

    Raised after the handler has ended, a failure is not chained to the error: that one may hold a signed address.
    """
    try:
        return call()
    except http_errors.HTTPError as error:
        failure = _explained(error)
    except ValueError as error:
        if isinstance(error, CatalogError):
            raise
        failure = TransferError("a request that cannot be sent", lasting=True)
    raise failure


def _explained(error: http_errors.HTTPError) -> TransferError:
    if isinstance(error, http_errors.ProxyError):
        return TransferError("the proxy does not answer, or refuses")
    if isinstance(error, http_errors.NameResolutionError):
        return TransferError("the host's name does not resolve")
    if isinstance(error, http_errors.NewConnectionError):  # for some releases a kind of the next one
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else ""
        return TransferError(f"no connection: {reason or 'unknown reason'}")
    if isinstance(error, http_errors.ConnectTimeoutError):
        return TransferError("no connection within the time-out")
    if isinstance(error, http_errors.ReadTimeoutError):
        return TransferError("nothing came within the time-out")
    if isinstance(error, http_errors.SSLError):
        cause = error.args[0] if error.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TransferError(f"the host's certificate is not valid: {cause.verify_message}", lasting=True)
        return TransferError("the encrypted connection failed")
    if any(isinstance(part, http.client.IncompleteRead) for part in (error, *error.args)):
        return TransferError("a short body: the connection ended before its content")
    if isinstance(error, http_errors.ProtocolError):
        return TransferError("the connection broke")
    return TransferError(f"the HTTP library gave up ({type(error).__name__})", lasting=True)


def _refused(url: str, error: CatalogError) -> TransferError:
    """Turn a host rule's refusal into a failure; a name that does not resolve may do so later."""
    return TransferError(
        f"{error.what}: {without_query(url)} ({error.found})",
        lasting=not isinstance(error.__cause__, OSError),
        remedy=error.remedy,
    )


def _finish(answer: BaseHTTPResponse) -> None:
    """Leave an answer unread. Its connection can be used again only if there is nothing to read."""
    if getattr(answer, "length_remaining", None) == 0:
        answer.drain_conn()
    answer.close()


def _joined(url: str, location: str) -> str:
    """Return where a redirect leads; a `TransferError` if that is no address."""
    try:
        return urljoin(url, location).partition("#")[0]
    except ValueError:  # brackets that do not close
        failure = TransferError(f"a redirect to no address at {without_query(url)}", lasting=True)
    raise failure


def _retry_after(text: str) -> float:
    """Read a ``Retry-After``, seconds or a date [s]; 0 if there is none or it is not understood."""
    try:
        return max(0.0, Retry().parse_retry_after(text)) if 0 < len(text) < 64 else 0.0
    except (http_errors.InvalidHeader, ValueError, OverflowError):
        return 0.0


def _is_one_of(url: str, hosts: tuple[str, ...]) -> bool:
    """Say whether an address is on one of the hosts: encrypted, or on the very port that is named."""
    host_and_port = address_host(url)
    if host_and_port in hosts:
        return True
    return urlsplit(url).scheme == "https" and host_and_port.removesuffix(":443") in hosts


def _request(url: str) -> urllib.request.Request:
    """Return a request as the cookie jar wants it."""
    return urllib.request.Request(url)  # noqa: S310 - is never opened


def has_login(host: str) -> bool:
    """Say whether the netrc file has a name and password for a host; a `TransferError` if it cannot be read."""
    return bool(_netrc_entry(host))


def _netrc_entry(host: str) -> str:
    """Return ``name:password`` of a host in the netrc file; empty if it has none. Its default entry is not used."""
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        name, _, password = netrc.netrc(path).hosts.get(host, ("", "", ""))
    except FileNotFoundError:
        return ""
    except (netrc.NetrcParseError, OSError, UnicodeError):
        failure = TransferError(f"{path} cannot be read", lasting=True)  # why would quote the file's content
    else:
        return f"{name}:{password}" if name else ""
    raise failure


def _proxied(proxy: str, connections: int) -> ProxyManager:
    """Return connections by a proxy, logged in if its address has a name and password."""
    parts = urlsplit(proxy)
    headers = {}
    if parts.username is not None:
        headers = make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return ProxyManager(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", proxy_headers=headers, maxsize=connections
    )


def _guarded_pools(rule: HostRule) -> dict[str, type[HTTPConnectionPool]]:
    """Return kinds of connections that check the address they reached before they send a byte.

    A name may resolve to a public address when it is checked and to a private one when it is connected to. A proxy's
    own address is the user's choice, and what it connects to cannot be seen.
    """

    def checked(connection: HTTPConnection, reached: socket.socket, scheme: str) -> socket.socket:
        host = f"[{connection.host}]" if ":" in connection.host else connection.host
        try:
            if connection.proxy is None:
                rule.check_peer(f"{scheme}://{host}:{connection.port}/", str(reached.getpeername()[0]))
        except (CatalogError, OSError):
            reached.close()
            raise
        return reached

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return checked(self, super()._new_conn(), "http")

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return checked(self, super()._new_conn(), "https")

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


def _hide_queries(record: logging.LogRecord) -> bool:
    """Cut the queries off the addresses in a log record."""
    if isinstance(record.args, tuple):
        record.args = tuple(part.partition("?")[0] if isinstance(part, str) else part for part in record.args)
    return True
