"""Reading documents of STAC catalogues: local files, and web addresses that the host rule allows.

What is read was written by others. An address in it never leads from the web to a file of this machine, no credentials
are sent, and an answer that is slow, huge or broken ends in an error.
"""

from __future__ import annotations

import json
import os.path
import random
import re
import time
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from time import sleep
from typing import Any, TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

import requests
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.hosts import HostRule, guarded_pools, without_query

Json: TypeAlias = dict[str, Any]

ATTEMPTS = 5
"""How often a request is sent before it is given up."""

BACKOFF_S = 1.0
"""Longest wait before the second attempt [s]; doubled before each other."""

LONGEST_WAIT_S = 60.0
"""Longest wait that a server may ask for [s]."""

TIMEOUT_S = 60.0
"""How long a server may take to connect, and between two pieces of an answer [s]."""

LONGEST_ANSWER_S = 300.0
"""How long a whole answer may take [s]: a server may send a byte a second for ever."""

LARGEST_BYTES = 64 * 2**20
"""Size of the largest document that is read [bytes, unpacked]."""

MOST_REDIRECTS = 5
"""How many redirects are followed."""

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RequestFailed(APIError):
    """A request that got no usable answer, however often it was sent."""

    def __init__(self, found: str, status_code: int | None = None) -> None:
        super().__init__(found)
        self.status_code = status_code


class _Again(Exception):
    """An answer that may be better next time."""

    def __init__(self, failure: RequestFailed, wait_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure, self.wait_s = failure, wait_s


class _GuardedAdapter(HTTPAdapter):
    """Connects only to where the rule lets it: names are resolved once more after they were checked."""

    def __init__(self, rule: HostRule) -> None:
        super().__init__()
        self.poolmanager.pool_classes_by_scheme = guarded_pools(rule)


class GuardedIO(StacApiIO):
    """What sends every request of a search: each address is checked, also those of redirects and of connections.

    Raises `CatalogError` for an address that may not be asked, `RequestFailed` for an answer that did not come.
    """

    def __init__(self, rule: HostRule) -> None:
        super().__init__(timeout=TIMEOUT_S, max_retries=None)
        self.rule = rule
        self.session.auth = _no_credentials  # or requests would send those that it finds in ~/.netrc
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, _GuardedAdapter(rule))

    def read_text(self, source: Any, *_: Any, **__: Any) -> str:
        """Return the document at a web address; never one of this machine."""
        return self.request(str(source))

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: Json | None = None,
    ) -> str:
        """Return the answer to a request, sent again while the server is busy or the connection breaks."""
        for attempt in range(ATTEMPTS):
            try:
                return self._answer(href, (method or "GET").upper(), headers, parameters)
            except _Again as again:
                if attempt + 1 == ATTEMPTS:
                    raise again.failure from None
                jittered = random.uniform(0.0, BACKOFF_S * 2**attempt)  # noqa: S311 - no secret
                sleep(jittered if again.wait_s is None else min(again.wait_s, LONGEST_WAIT_S) + jittered)
        raise RequestFailed("no attempt was made")

    def _answer(self, href: str, method: str, headers: dict[str, str] | None, parameters: Json | None) -> str:
        for _ in range(MOST_REDIRECTS + 1):
            self.rule.check(href)
            has_body = method == "POST"
            request = requests.Request(
                method,
                href,
                headers=headers,
                json=parameters if has_body else None,
                params=None if has_body else parameters,
            )
            try:
                prepared = self.session.prepare_request(request)
                # proxies and certificates of the environment
                settings = self.session.merge_environment_settings(prepared.url or href, {}, True, None, None)
                with self.session.send(prepared, timeout=TIMEOUT_S, allow_redirects=False, **settings) as response:
                    if response.status_code in _REDIRECTS and "Location" in response.headers:
                        href = urljoin(href, response.headers["Location"])
                        if response.status_code == 303:
                            method = "GET"
                        parameters = parameters if method == "POST" else None  # a GET's are in the address by now
                        continue
                    return _text(response)
            except requests.exceptions.InvalidURL:
                raise CatalogError("not an address", found=without_query(href)) from None
            except requests.exceptions.SSLError as error:
                raise RequestFailed(f"no trusted connection: {_reason(error)}") from None
            except requests.exceptions.RequestException as error:
                raise _Again(RequestFailed(_reason(error))) from None  # its text repeats the query
        raise RequestFailed(f"more than {MOST_REDIRECTS} redirects, the last to {without_query(href)}")


def read_document(href: str, reader: GuardedIO) -> Json:
    """Read a JSON document from a path or a URL."""
    try:
        if "://" in href:
            document = json.loads(reader.request(href))
        else:
            with open(href, "rb") as file:  # noqa: PTH123 - as in `resolved`
                document = json.loads(file.read())
    except (OSError, APIError) as error:
        raise CatalogError(
            "cannot read a document of the catalogue",
            where=without_query(href) if "://" in href else href,
            found=error,
            remedy="check the address; if a link leads there, the catalogue is incomplete",
        ) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError("a document of the catalogue is not JSON", where=without_query(href), found=error) from error
    if not isinstance(document, dict):
        raise CatalogError(
            "a document of the catalogue is not a STAC object", where=without_query(href), found=type(document).__name__
        )
    return document


def absolute(source: str | Path) -> str:
    """Return an absolute path or URL; a folder stands for the catalogue or collection in it."""
    text = str(source)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if "://" in text:
        return text
    path = Path(text).absolute()
    if path.is_dir():
        for name in ("catalog.json", "collection.json"):
            if (path / name).is_file():
                return str(path / name)
        raise CatalogError("no STAC catalogue in this folder", where=path, wanted="a catalog.json or a collection.json")
    return str(path)


def resolved(href: str, base: str, rule: HostRule) -> str:
    """Return the absolute path or URL of a link in the document at `base`.

    A document of the web leads to the web only, wherever its links point: absolute and relative paths are the server's.
    ``file:`` links in it are refused unless `rule` allows localhost; GDAL's ``/vsi`` paths are refused everywhere.
    """
    if href.startswith("https://") and href.isascii() and href.isprintable():
        return href
    if href.startswith("/vsi") or re.search(r"[\x00-\x1f\x7f]|^ | $", href):
        raise _refusal(href, base, "a path of GDAL's virtual file systems, or control characters")
    remote = "://" in base
    try:
        parts = urlsplit(href)
        if parts.scheme == "file":
            if (remote and "localhost" not in rule.allowed) or parts.netloc not in ("", "localhost"):
                raise _refusal(href, base, "a file of this machine")
            return unquote(parts.path)
        if not remote:
            if "://" in href:
                return href
            # 20 times pathlib's speed, and a year of two products is thousands of items
            return os.path.normpath(os.path.join(os.path.dirname(base), href))  # noqa: PTH118, PTH120
        joined = urljoin(base, href)
        parts = urlsplit(joined)
    except ValueError as error:
        raise _refusal(href, base, str(error).partition(":")[0]) from None
    if not parts.scheme or not parts.netloc:
        raise _refusal(href, base, f"the scheme {parts.scheme!r}")
    return joined


def objects(value: object) -> list[Json]:
    """Return those of a list's members that are JSON objects; none of what is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def mapping(value: object) -> Json:
    """Return a JSON object; an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def _refusal(href: str, base: str, found: str) -> CatalogError:
    return CatalogError(
        "a link that may not be followed",
        where=without_query(base),
        found=f"{without_query(href)!r}: {found}",
        wanted="an address on the web" if "://" in base else "a path, or an address on the web",
        remedy="if you trust the catalogue, download it and name its local copy",
    )


def _text(response: requests.Response) -> str:
    """Return the body of an answer; a failure if its status, size, pace or encoding is wrong."""
    body, started = bytearray(), time.monotonic()
    for piece in response.iter_content(2**16):
        body += piece
        if len(body) > LARGEST_BYTES:
            raise RequestFailed(f"more than {LARGEST_BYTES // 2**20} MiB", 413)  # as if the server had refused it
        if time.monotonic() - started > LONGEST_ANSWER_S:
            raise RequestFailed(f"no whole answer within {LONGEST_ANSWER_S:g} s")
    status = response.status_code
    if not 200 <= status < 300:
        failure = RequestFailed(f"status {status}: {body[:300].decode('utf-8', 'replace')}", status)
        raise _Again(failure, _asked_wait(response)) if status in _BUSY else failure
    stated = response.headers.get("Content-Length", "")
    if "Content-Encoding" not in response.headers and stated.isdecimal() and len(body) != int(stated):
        raise _Again(RequestFailed(f"{len(body)} of {stated} bytes"))
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestFailed("not text in UTF-8") from error


def _asked_wait(response: requests.Response) -> float | None:
    """Return how long a server asks to be left alone [s], from a number or a date; None if it does not say."""
    try:
        return Retry().get_retry_after(response.raw)
    except InvalidHeader:
        return None


def _reason(error: requests.exceptions.RequestException) -> str:
    """Say why a request failed, without the address that requests puts into its messages."""
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {TIMEOUT_S:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return {"ChunkedEncodingError": "the answer broke off", "ContentDecodingError": "a broken gzip stream"}.get(
        type(error).__name__, type(error).__name__
    )


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
