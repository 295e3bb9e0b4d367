"""The server of the page: it listens on this machine alone, reads the run and changes nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from frostmap.pipeline.explorer.layers import layers_of, picture
from frostmap.pipeline.explorer.page import page
from frostmap.pipeline.explorer.pixels import Pixels, Place
from frostmap.pipeline.work import Work

HOST = "127.0.0.1"
"""Nobody else's: there is neither a login nor encryption."""

FILES = {
    "canvas.js": ("templates", "text/javascript"),
    "map.js": ("explorer", "text/javascript"),
    "page.js": ("explorer", "text/javascript"),
    "page.css": ("explorer", "text/css"),
}
"""Folder and type of each file of the page; `canvas.js` is the report's, too."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Handler(RequestHandler):
    """Answers to this machine's own name alone, so that no page elsewhere can ask through a name that it makes up."""

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.clear_header("Server")

    def prepare(self) -> None:
        if self.request.host.rpartition(":")[0] not in (HOST, "localhost"):
            raise HTTPError(403, "this page is for the machine that it runs on")

    async def answer(self, make: Callable[[], Any]) -> None:
        """Write what is made of the cube by a thread, as JSON."""
        threads: ThreadPoolExecutor = self.application.settings["threads"]
        made = await asyncio.get_running_loop().run_in_executor(threads, make)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(made, ensure_ascii=False, allow_nan=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        del status_code
        error = kwargs.get("exc_info", (None, None, None))[1]
        text = error.log_message if isinstance(error, HTTPError) and error.log_message else "this cannot be read"
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps({"error": text}))

    @property
    def pixels(self) -> Pixels:
        pixels: Pixels = self.application.settings["pixels"]
        return pixels

    def place(self) -> Place:
        """Return the pixel that is asked for."""
        try:
            place = Place(int(self.get_query_argument("row")), int(self.get_query_argument("column")))
        except ValueError as error:
            raise HTTPError(400, "row and column are whole numbers") from error
        height, width = self.pixels.work.shape
        if not (0 <= place.row < height and 0 <= place.column < width):
            raise HTTPError(404, f"the map has {height} rows and {width} columns")
        return place


class _Page(_Handler):
    async def get(self) -> None:
        threads: ThreadPoolExecutor = self.application.settings["threads"]
        text = await asyncio.get_running_loop().run_in_executor(threads, page, self.pixels)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(text)


class _File(_Handler):
    async def get(self, name: str) -> None:
        folder, kind = FILES[name]
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(resources.files("frostmap.pipeline").joinpath(folder, name).read_bytes())


class _Layer(_Handler):
    async def get(self) -> None:
        work, name = self.pixels.work, self.get_query_argument("name")
        layer = next((layer for layer in layers_of(self.pixels) if layer.name == name), None)
        if layer is None:
            raise HTTPError(404, "the run has no such layer")
        await self.answer(lambda: picture(work, layer))


class _Nothing(_Handler):
    async def get(self) -> None:
        raise HTTPError(404, "there is no such page; this cannot be read")


class _Pixel(_Handler):
    async def get(self) -> None:
        place = self.place()
        await self.answer(lambda: self.pixels.summary(place))


class _Year(_Handler):
    async def get(self) -> None:
        place, year = self.place(), self.get_query_argument("year")
        if year not in self.pixels.years:
            raise HTTPError(404, f"the run has days of {', '.join(self.pixels.years) or 'no year'}")
        await self.answer(lambda: self.pixels.year(place, year))


def application(work: Work) -> Application:
    """Return what answers: the page, its files, and pixels as JSON."""
    return Application(
        [
            (r"/", _Page),
            (rf"/({'|'.join(map(str, FILES)).replace('.', chr(92) + '.')})", _File),
            (r"/layer", _Layer),
            (r"/pixel", _Pixel),
            (r"/year", _Year),
        ],
        default_handler_class=_Nothing,
        pixels=Pixels(work),
        threads=ThreadPoolExecutor(2, thread_name_prefix="frostmap-view"),
        log_function=lambda _handler: None,
    )


def listening(port: int) -> list[socket.socket]:
    """Return sockets that listen on a port of this machine alone; 0 is any that is free."""
    return bind_sockets(port, HOST)


def address(sockets: list[socket.socket]) -> str:
    """Return where the page is."""
    return f"http://{HOST}:{sockets[0].getsockname()[1]}/"


async def serve(work: Work, sockets: list[socket.socket], ready: Callable[[], None] = lambda: None) -> None:
    """Answer until cancelled."""
    answering = application(work)
    server = HTTPServer(answering, max_header_size=1 << 14, max_body_size=0)
    server.add_sockets(sockets)
    answering.settings["threads"].submit(_warm_up, answering.settings["pixels"])
    ready()
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()
        await server.close_all_connections()


def _warm_up(pixels: Pixels) -> None:
    """Compile what the first pixel would wait for, and open what it would open."""
    height, width = pixels.work.shape
    middle = Place(height // 2, width // 2)
    pixels.summary(middle)
    for year in pixels.years:
        pixels.year(middle, year)
