"""What lies between us and an object store on bad days: a proxy that loses, cuts, delays or refuses on order."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..pipeline.fault_server import LINGER_NOT

SLOW_S = 1.0
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
BROKEN = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class Reply(NamedTuple):
    """What the store answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, unless a fault is due."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.due(self.command, self.path)
        if fault is None:
            self.give(self.ask(body))
        else:
            fault(self, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815 - the names that http.server looks for

    def ask(self, body: bytes) -> Reply:
        """Ask the store, in the client's words: they are signed."""
        connection = http.client.HTTPConnection(self.server.store, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, text in self.headers.items():
            connection.putheader(name, text)
        connection.endheaders(body)
        answer = connection.getresponse()
        kept = [(name, text) for name, text in answer.getheaders() if name.lower() != "transfer-encoding"]
        reply = Reply(answer.status, kept, answer.read())
        connection.close()
        return reply

    def give(self, reply: Reply, length: int | None = None) -> None:
        """Give an answer, or its first bytes."""
        self.send_response_only(reply.status)
        names = {name.lower() for name, _ in reply.headers}
        for name, text in reply.headers:
            self.send_header(name, text)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[:length])
        self.wfile.flush()

    def hang_up(self) -> None:
        """Close the connection without goodbye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.close_connection = True

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""


Fault = Callable[[Handler, bytes], None]


def refuse(status: int, body: bytes) -> Fault:
    """Answer with an error, without asking the store."""

    def answer(handler: Handler, _: bytes) -> None:
        handler.give(Reply(status, [("Content-Type", "application/xml")], body))

    return answer


def lose_request(handler: Handler, _: bytes) -> None:
    """Hang up before the store is asked."""
    handler.hang_up()


def lose_answer(handler: Handler, body: bytes) -> None:
    """Have it done, and hang up."""
    handler.ask(body)
    handler.hang_up()


def cut_answer(handler: Handler, body: bytes) -> None:
    """Hang up in the middle of an answer."""
    reply = handler.ask(body)
    if reply.body:
        handler.give(reply, len(reply.body) // 2)
    handler.hang_up()


def be_slow(handler: Handler, body: bytes) -> None:
    """Take a while."""
    time.sleep(SLOW_S)
    handler.give(handler.ask(body))


class FaultProxy(ThreadingHTTPServer):
    """A proxy on a free port of loopback, in front of one store."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = urlsplit(endpoint).netloc
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._every, self._methods, self._part = 1, frozenset[str](), ""

    def order(self, fault: Fault | None, *, every: int = 1, methods: str = "GET PUT DELETE", part: str = "") -> None:
        """Have a fault happen to each so manieth request of some methods whose address has a part in it."""
        with self._lock:
            self._fault, self._every, self._methods, self._part = fault, every, frozenset(methods.split()), part
            self.asked.clear()
            self.faults.clear()

    def due(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets."""
        with self._lock:
            if self._fault is None or method not in self._methods or self._part not in path:
                return None
            self.asked[method] += 1
            if self.asked[method] % self._every:
                return None
            self.faults[method] += 1
            return self._fault

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; without goodbye where a fault ordered that."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == LINGER_NOT:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave early are what is tested."""


@contextmanager
def before(endpoint: str) -> Iterator[FaultProxy]:
    """Yield a proxy before a store."""
    proxy = FaultProxy(endpoint)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
