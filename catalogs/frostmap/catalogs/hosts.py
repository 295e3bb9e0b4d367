"""Which servers may be asked: the public ones, and those that the recipe names.

Catalogues and redirects are written by others. An address in them may point at this machine, at its neighbours or at a
cloud's metadata service, and what is read there would be stored or shown; so each address is checked before it is used.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit, urlunsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from frostmap.catalogs.errors import CatalogError

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REMEDY = "if you trust this server, name its host in the recipe's allow_hosts"


@dataclass(frozen=True)
class HostRule:
    """Which addresses may be asked. Public hosts may over https; all others only if they are allowed by name.

    Names are compared as they are written: allowing ``localhost`` does not allow ``127.0.0.1``.

    Examples
    --------
    >>> HostRule(frozenset({"127.0.0.1:8081"})).check("http://127.0.0.1:8081/search")
    >>> HostRule().check("file:///etc/passwd")
    Traceback (most recent call last):
    frostmap.catalogs.errors.CatalogError: this address may not be asked
      where: file:///etc/passwd
      found: a file of this machine
      wanted: an https address
      remedy: if you trust it, name localhost in the recipe's allow_hosts
    """

    allowed: frozenset[str] = frozenset()
    """Hosts, ``host`` (any port) or ``host:port``, that may be asked although private, also over plain http.
    ``localhost`` allows ``file://`` addresses too."""

    def check(self, url: str) -> None:
        """Raise a `CatalogError` if an address may not be asked.

        Refused are: schemes other than https (http and file for allowed hosts), GDAL's ``/vsi`` paths, user names and
        passwords in the address, and hosts that are not allowed and are, or resolve to, a loopback, private,
        link-local, multicast, reserved or unspecified address. A name that does not resolve is an error of its own.
        """
        parts = _split(url)
        if parts.scheme == "file" and not parts.hostname:
            if "localhost" not in self.allowed:
                remedy = "if you trust it, name localhost in the recipe's allow_hosts"
                raise _refusal(url, "a file of this machine", remedy=remedy)
            return
        if parts.scheme not in _PORTS:
            raise _refusal(url, f"the scheme {parts.scheme!r}")
        if parts.username is not None or parts.password is not None:
            raise _refusal(url, "a user name or password in the address", remedy="keep credentials in ~/.netrc")
        if self.allows(url):
            return
        if parts.scheme == "http":
            raise _refusal(url, "plain http, which anyone on the way may alter")
        for address in _resolved(url, parts):
            self.check_peer(url, address)

    def allows(self, url: str) -> bool:
        """Say whether the recipe names the host of an address.

        Examples
        --------
        >>> HostRule(frozenset({"archive.test:8443"})).allows("https://archive.test/")
        False
        """
        parts = _split(url)
        if parts.scheme == "file" and not parts.hostname:
            return "localhost" in self.allowed
        names = {name.lower().rstrip(".") for name in self.allowed}
        host = _host(parts)
        return not names.isdisjoint({host, host.strip("[]"), f"{host}:{_port(parts)}"})

    def check_peer(self, url: str, address: str) -> None:
        """Raise a `CatalogError` if the IP address that a host resolved or connected to may not be asked.

        Checking the address of an open connection closes the gap between the name's resolution and its use.
        """
        if not self.allows(url) and not is_public(address):
            raise _refusal(url, f"its host is at {address}, which is not a public address", remedy=_REMEDY)

    def allowing(self, *hosts: str) -> HostRule:
        """Return a rule that allows more hosts."""
        return HostRule(self.allowed | frozenset(hosts))


def guarded_pools(rule: HostRule) -> dict[str, type[HTTPConnectionPool]]:
    """Return kinds of connections, for urllib3's ``PoolManager.pool_classes_by_scheme``, that check where they lead.

    A name may resolve to a public address when it is checked and to a private one when it is connected to, so the
    address that was reached is checked before a byte is sent. A proxy's own address is the user's choice, and what it
    connects to cannot be seen.
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


def is_public(address: str) -> bool:
    """Say whether an IP address is one that anybody can reach.

    Examples
    --------
    >>> is_public("8.8.8.8"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1")
    (True, False, False)
    """
    plain = ipaddress.ip_address(address.partition("%")[0])
    return all(each.is_global and not each.is_multicast and not each.is_reserved for each in _meant(plain))


def address_host(url: str) -> str:
    """Return ``host:port`` of an address, as `HostRule.allowed` takes it.

    Examples
    --------
    >>> address_host("https://Archive.test/stac")
    'archive.test:443'
    """
    parts = _split(url)
    return f"{_host(parts)}:{_port(parts)}"


def without_query(url: str) -> str:
    """Return an address as it may be shown or stored: a signed address carries its secret in the query.

    Examples
    --------
    >>> without_query("https://me:secret@archive.test/a.tif?sig=secret#top")
    'https://archive.test/a.tif'
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # brackets that do not close
        return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if parts.scheme else re.split(r"[?#]", url)[0]


def _split(url: str) -> SplitResult:
    """Take an address apart; refuse what two parsers could read as two different hosts."""
    if url.startswith("/vsi"):
        raise _refusal(url, "a path of GDAL's virtual file systems")
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise _refusal(url, "a blank, a backslash or a control character")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refusal(url, str(error).partition(":")[0]) from None  # the rest may repeat the query
    if parts.scheme in _PORTS and not re.fullmatch(r"[0-9a-z._-]+|[0-9a-f:.]*:[0-9a-f:.]*", host):
        raise _refusal(url, f"the host {host!r}", wanted="a host's name in ASCII, or its IP address")
    return parts


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    return f"[{host}]" if ":" in host else host


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def _resolved(url: str, parts: SplitResult) -> list[str]:
    """Return the IP addresses of a host; several, if it has several."""
    host = parts.hostname or ""
    try:
        answers = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CatalogError(
            "a server's name does not resolve",
            where=without_query(url),
            found=f"{host}: {error}",
            remedy="check the address and the network; behind a proxy that resolves names, name the host in the "
            "recipe's allow_hosts",
        ) from error
    return sorted({str(answer[4][0]) for answer in answers})


def _meant(address: _Address) -> list[_Address]:
    """Return an address and the IPv4 addresses that it stands for: mapped, translated or tunnelled."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner: list[_Address | None] = [address.sixtofour, address.teredo[1] if address.teredo else None]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address, *(each for each in inner if each is not None)]


def _refusal(url: str, found: str, *, wanted: str = "an https address", remedy: str = _REMEDY) -> CatalogError:
    return CatalogError(
        "this address may not be asked", where=without_query(url), found=found, wanted=wanted, remedy=remedy
    )
