"""A web server whose paths misbehave on order: what archives do on bad days, on this machine."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

LINGER_NOT = struct.pack("ii", 1, 0)  # closing sends a reset, whatever is still on its way


class Asked(NamedTuple):
    """A request that came."""

    path: str
    """Path and query."""

    headers: dict[str, str]
    """Its headers, names in lower case."""


class Handler(BaseHTTPRequestHandler):
    """Answers by the script of the path."""

    protocol_version = "HTTP/1.1"
    server: FaultServer

    def do_GET(self) -> None:
        target = urlsplit(self.path)  # a proxy is asked for whole addresses
        with self.server.lock:
            self.server.asked.append(Asked(self.path, {name.lower(): text for name, text in self.headers.items()}))
            script = self.server.scripts[target.path]
            answer = script.pop(0) if len(script) > 1 else script[0] if script else status(404)
        answer(self)

    def start(self, code: int, headers: dict[str, str]) -> None:
        """Send status and headers."""
        self.send_response(code)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_args: Any) -> None:
        """Log nothing: the tests look into `asked`."""


Answer = Callable[[Handler], None]


class FaultServer(ThreadingHTTPServer):
    """A server on a free port of a loopback address."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.scripts: defaultdict[str, list[Answer]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def host(self) -> str:
        """Return ``host:port``."""
        return f"{self.server_address[0]!s}:{self.server_address[1]}"

    def plan(self, path: str, *answers: Answer) -> str:
        """Order a path's answers, one a request, the last one for all that follow; return its address."""
        self.scripts[path] = list(answers)
        return f"http://{self.host}{path}"

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(urlsplit(asked.path).path == path for asked in self.asked)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; without goodbye where an answer ordered that."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == LINGER_NOT:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave early are what is tested."""


@contextmanager
def running(host: str = "127.0.0.1") -> Iterator[FaultServer]:
    """Yield a server that is running."""
    server = FaultServer(host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def deaf() -> Iterator[str]:
    """Yield the address of a socket that never accepts: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


# ---- answers ------------------------------------------------------------------------------------------------------


def sent(body: bytes, **headers: str) -> Answer:
    """Answer well. Names of headers are written with underscores."""
    return status(200, body, **headers)


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with a status."""

    def answer(handler: Handler) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        handler.start(code, {"Content-Length": str(len(body)), "ETag": '"1"'} | named)
        handler.wfile.write(body)

    return answer


def redirect(to: str, code: int = 302, **headers: str) -> Answer:
    """Lead elsewhere."""
    return status(code, Location=to, **headers)


def login_page(content_type: str = "text/html; charset=utf-8") -> Answer:
    """Ask for a name and password, with the status of success."""
    return sent(b"<!DOCTYPE html><html><title>Earthdata Login</title></html>", Content_Type=content_type)


def silent(handler: Handler) -> None:
    """Take the request and never answer."""
    handler.server.closing.wait(60)
    handler.close_connection = True


def stalled(body: bytes, kept: int) -> Answer:
    """Send a part, and then nothing, with the connection open."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Content-Length": str(len(body))})
        handler.wfile.write(body[:kept])
        handler.wfile.flush()
        silent(handler)

    return answer


def dripped(body: bytes, pause_s: float) -> Answer:
    """Send a byte at a time."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Content-Length": str(len(body))})
        for i in range(len(body)):
            handler.wfile.write(body[i : i + 1])
            handler.wfile.flush()
            if handler.server.closing.wait(pause_s):
                handler.close_connection = True
                return

    return answer


def cut(body: bytes, kept: int) -> Answer:
    """Announce a body and close the connection before its end."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Content-Length": str(len(body))})
        handler.wfile.write(body[:kept])
        handler.close_connection = True

    return answer


def reset(body: bytes, kept: int) -> Answer:
    """Reset the connection in the middle of a body."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Content-Length": str(len(body))})
        handler.wfile.write(body[:kept])
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        handler.close_connection = True

    return answer


def hung_up(handler: Handler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


def longer(body: bytes, more: bytes) -> Answer:
    """Send more than announced."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Content-Length": str(len(body))})
        handler.wfile.write(body + more)

    return answer


def unmeasured(body: bytes) -> Answer:
    """Send a body without its length; its end is the connection's."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Connection": "close"})
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def chunked(body: bytes, *, finished: bool = True) -> Answer:
    """Send a body in chunks, maybe without the last one."""

    def answer(handler: Handler) -> None:
        handler.start(200, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if finished:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = not finished

    return answer


def zipped(body: bytes, *, lost: int = 0) -> Answer:
    """Send a compressed body although nobody asked for that, with the length of what is sent."""
    content = gzip.compress(body)
    return sent(content[: len(content) - lost], Content_Encoding="gzip")
