"""Any WSGI server as an interface server: its requests go to consumers on the bus, their answers back (PEP 3333).

    application = WsgiServer("redis://localhost:6379/0")        # gunicorn module:application, mod_wsgi, wsgiref …

Behind it stands an `HttpServer` that listens nowhere, on an event loop in a thread of its own; a thread of the WSGI
server hands a request to it and waits for what comes back. So bodies, timeouts, refusals and notifications are those
of HTTP. It begins with the first request of a process, since WSGI servers load an application and fork then.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote

from ..layer import Layer, LayerError, open_layer
from .http import HttpServer, HttpSettings
from .http_core import BadRequest, DateHeader, Exchange, Header, Request, plain
from .http_core.http2.responses import ResponseFields
from .spool import Spool, SpoolFull

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
T = TypeVar("T")

_PIECE = 65536
_VERSIONS = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/2.0": "2"}
_STOP = 5.0  # seconds that open requests get to end when it is closed


class WsgiServer:
    """A WSGI application that has the bus answer. Its threads may be any number.

    Args:
        layer: The channel layer, or its URL, which is what to give to a server that forks; None: what
            `TRUNKLINE_LAYER` says.
        settings: Those of `[http]` that apply to whoever has no sockets: `response_timeout`, `max_body`, `static`.

    Raises:
        ValueError: Nothing says which layer is meant.
        TypeError: There is no such setting.
    """

    def __init__(self, layer: Layer | str | None = None, **settings: Any) -> None:
        found = layer if layer is not None else os.environ.get("TRUNKLINE_LAYER")
        if not found:
            raise ValueError("which channel layer? WsgiServer(url), or TRUNKLINE_LAYER in the environment")
        self._layer = found
        self._settings = HttpSettings(**{**settings, "endpoints": [], "access_log": "off"})
        self._lock = threading.Lock()
        self._house: _House | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (the WSGI server calls this)."""
        try:
            request = request_of(environ, self._settings.max_body)
            house = self._running()
        except BadRequest as fault:
            return _refusal(start_response, fault.status, fault.reason)
        except LayerError:
            return _refusal(start_response, 503, "the channel layer is unavailable")
        response = _Response(house, request.method == "HEAD")
        response.exchange = house.call(lambda: house.server.begin(request, response))
        try:
            _send_body(environ, request, response, self._settings.max_body)
            status, headers = response.head()
        except BadRequest as fault:
            response.close()
            return _refusal(start_response, fault.status, fault.reason)
        except BaseException:
            response.close()
            raise
        start_response(_status_line(status), headers)
        return response

    def close(self) -> None:
        """End: whoever still waits for an answer gets none. It begins anew with the next request."""
        with self._lock:
            house, self._house = self._house, None
        if house is not None and house.process == os.getpid():
            house.stop()

    def _running(self) -> _House:
        with self._lock:
            if self._house is None or self._house.process != os.getpid():
                # A loop and its thread do not survive a fork, nor does a process share another's inbox.
                self._house = _House(self._layer, self._settings)
            return self._house


class _House:
    """The server of one process, on a loop of its own."""

    def __init__(self, layer: Layer | str, settings: HttpSettings) -> None:
        self.process = os.getpid()
        self.responses: set[_Response] = set()
        self.date = DateHeader()
        self._owned = isinstance(layer, str)
        self._layer = open_layer(layer) if isinstance(layer, str) else layer
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="trunkline wsgi", daemon=True)
        self._thread.start()
        reactor = SimpleNamespace(_asyncioEventloop=self.loop)
        try:
            self.server = self.call(lambda: HttpServer(self._layer, settings, reactor=reactor))
            asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result()
        except BaseException:
            self._end()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the loop, and return what it returns."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return future.result()

    def stop(self) -> None:
        self.call(self._cut)
        asyncio.run_coroutine_threadsafe(self.server.stop(_STOP), self.loop).result()
        self._end()

    def _cut(self) -> None:
        for response in list(self.responses):
            response.cut()

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        if self._owned:
            self._layer.close()


class _Response:
    """What a request is answered by, written on the loop, and the iterable that a thread of the WSGI server sends.

    What the thread has not taken waits in a spool, as for a slow client of our own server.
    """

    def __init__(self, house: _House, head_only: bool) -> None:
        self.exchange: Exchange
        self.house = house
        self._fields = ResponseFields(head_only, house.date)
        self._changed = threading.Condition()
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._spool = Spool()
        self._ended = False
        self._broken = False
        self._paused = False
        self._waiter: Callable[[], None] | None = None
        house.responses.add(self)

    # On the loop: see `ResponseStream`

    def start(self, status: Any, headers: Any = (), content: Any = b"", more: Any = False) -> bool:
        """Begin the response."""
        fields, content = self._fields.open(status, headers, content, more)
        # A WSGI server writes its own date, and RFC 9110 section 6.6.1 allows one.
        told = [(name.decode(), value.decode("latin-1")) for name, value in fields[1:] if name != b"date"]
        with self._changed:
            self._head = status, told
        return self._put(content)

    def write(self, content: Any, more: Any = False) -> bool:
        """Write further content."""
        return self._put(self._fields.write(content, more))

    def cut(self) -> None:
        """Break off: what was sent is not the whole response."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()
        self._leave()

    def pause_body(self) -> None:
        """Take no more of the request's body."""
        self._paused = True

    def resume_body(self) -> None:
        """Take on."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    @property
    def left(self) -> int:
        """Count the bytes that were not taken."""
        return self._spool.size

    def when_taken(self, call: Callable[[], None]) -> None:
        """Call when what was written has been taken."""
        with self._changed:
            if self._spool.size:
                self._waiter = call
                return
        self.house.server.call_soon(call)

    def _put(self, content: bytes) -> bool:
        over = self._fields.ended
        try:
            with self._changed:
                self._spool.write(content)
                self._ended = over
                self._broken = over and self._fields.broken
                self._changed.notify_all()
        except (SpoolFull, OSError):
            self.house.server.stats["slow_clients_cut"] += 1
            self.cut()
            return True
        if over:
            self.house.responses.discard(self)
        return over

    def _leave(self) -> None:
        """Tell the exchange that nobody waits any more, unless the response is whole."""
        if self in self.house.responses:
            self.house.responses.discard(self)
            self.exchange.lost()

    # In a thread of the WSGI server

    def may_send(self) -> bool:
        """Wait until more of the body is wanted; False where none will be, the response being there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._paused or self._ended or self._broken)
            return not (self._ended or self._broken)

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Wait for the status and the headers."""
        with self._changed:
            self._changed.wait_for(lambda: self._head is not None or self._broken)
            if self._head is None:
                raise ConnectionAbortedError("the response was broken off before it began")
            return self._head

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._spool.size or self._ended or self._broken)
                piece = self._spool.read(_PIECE)
                waiter = None
                if not self._spool.size:
                    waiter, self._waiter = self._waiter, None
                whole = not piece and self._ended and not self._broken
            if waiter is not None:
                self.house.loop.call_soon_threadsafe(waiter)
            if whole:
                return
            if not piece:
                raise ConnectionAbortedError("the response was broken off")
            yield piece

    def close(self) -> None:
        """Take note that nobody reads on: the response is out, or its client is gone (PEP 3333 calls this)."""
        if self in self.house.responses:
            self.house.call(self._leave)
        with self._changed:
            self._spool.close()


def _send_body(environ: Environ, request: Request, response: _Response, max_body: int) -> None:
    """Hand the body on, as far as it is wanted."""
    house, exchange = response.house, response.exchange
    left = request.length
    size = 0
    while left != 0 and response.may_send():
        piece = environ["wsgi.input"].read(_PIECE if left is None else min(left, _PIECE))
        if not piece:
            if left is None:
                break
            raise ConnectionAbortedError("the client went away within its request")
        size += len(piece)
        if left is not None:
            left -= len(piece)
        elif size > max_body:
            raise BadRequest(413, f"the body is over {max_body} bytes")
        house.call(lambda piece=piece: exchange.body(piece))  # type: ignore[misc]
    if response.may_send():
        house.call(exchange.end)


def request_of(environ: Environ, max_body: int) -> Request:
    """Read a request from a WSGI environment.

    Args:
        environ: The environment.
        max_body: Bytes that a body may have.

    Raises:
        BadRequest: It makes no sense, or its body is too large.
    """
    root, inner = str(environ.get("SCRIPT_NAME", "")), str(environ.get("PATH_INFO", ""))
    try:
        path = (root + inner or "/").encode("latin-1").decode()
    except ValueError:
        raise BadRequest(400, "the path is not UTF-8") from None
    method = str(environ["REQUEST_METHOD"]).upper()
    query = str(environ.get("QUERY_STRING", "")).encode("latin-1", "replace")
    return Request(
        method,
        quote(path).encode() + (b"?" + query if query else b""),
        path,
        query,
        _headers_of(environ),
        _VERSIONS.get(str(environ.get("SERVER_PROTOCOL")), "1.1"),
        _length_of(environ, max_body),
        keep_alive=False,
        scheme="https" if environ.get("wsgi.url_scheme") == "https" else "http",
        client=_address(environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT")),
        server=_address(environ.get("SERVER_NAME"), environ.get("SERVER_PORT")),
    )


def _headers_of(environ: Environ) -> list[Header]:
    """Return the headers, as far as they can be told: names lost their case, and repeated ones are one."""
    headers = []
    for key, value in environ.items():
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            name = key
        elif key.startswith("HTTP_") and key not in ("HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            name = key[5:]
        else:
            continue
        if value:
            headers.append((name.lower().replace("_", "-").encode(), str(value).encode("latin-1", "replace")))
    return headers


def _length_of(environ: Environ, max_body: int) -> int | None:
    """Return the bytes of the body; None where it ends where reading ends."""
    text = str(environ.get("CONTENT_LENGTH") or "")
    if not text:
        return None if environ.get("wsgi.input_terminated") else 0
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(400, "the Content-Length is no number")
    if int(text) > max_body:
        raise BadRequest(413, f"the body is over {max_body} bytes")
    return int(text)


def _address(host: Any, port: Any) -> list[str | int] | None:
    text = str(port or "")
    return [str(host), int(text) if text.isascii() and text.isdigit() else 0] if host else None


def _refusal(start_response: StartResponse, status: int, reason: str) -> list[bytes]:
    status, headers, content = plain(status, reason)
    told = [(name.decode(), value.decode()) for name, value in headers]
    start_response(_status_line(status), [*told, ("content-length", str(len(content)))])
    return [content]


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"
