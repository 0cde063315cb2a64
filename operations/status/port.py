"""The operations port's sockets: a thread with a small event loop of its own, which hostile clients cannot fill.

It listens whatever becomes of the event loop that everything else runs on, and costs nothing while nobody asks. A
connection carries one request. At most `MOST` are open: a further one takes the place of the oldest that was answered,
or has not asked yet. A head has to come within `HEAD_TIME`, and its answer has to be taken within `BODY_TIME`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from enum import IntEnum
from http import HTTPStatus
from typing import NamedTuple

from ..errors import StartError
from .requests import END, MAX_HEAD, Refused, Request, parse

log = logging.getLogger("trunkline.operations")

MOST = 64
_BACKLOG = 256
HEAD_TIME = 5.0
BODY_TIME = 10.0

TEXT = "text/plain; charset=utf-8"

_ALWAYS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Trunkline", Basic realm="Trunkline: the password is the token"'}


class Answer(NamedTuple):
    """What a request is answered.

    Attributes:
        body: Its content.
        status: Its status.
        type: What the content is.
        headers: Further headers; they replace those that every answer has.
    """

    body: str
    status: HTTPStatus = HTTPStatus.OK
    type: str = TEXT
    headers: Mapping[str, str] = {}


Handler = Callable[[Request], Awaitable[Answer]]


class Port:
    """Listens until it is closed.

    Args:
        host: Address or name.
        port: Its number; 0: any that is free.
        handler: Answers requests, in the port's own event loop; may raise `Refused`.

    Attributes:
        address: Where it listens, as in a URL: `127.0.0.1:9090`.

    Raises:
        StartError: It cannot listen there.
    """

    def __init__(self, host: str, port: int, handler: Handler) -> None:
        self._handler = handler
        self._open: dict[_Connection, None] = {}  # the oldest first
        self._socket = _listening(host, port)
        name, number = self._socket.getsockname()[:2]
        self.address = f"[{name}]:{number}" if ":" in name else f"{name}:{number}"
        self.loop = asyncio.SelectorEventLoop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="trunkline-operations", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; what is being answered is cut off. May be called twice, and not by the handler."""
        try:
            self.loop.call_soon_threadsafe(self._closed.set)
        except RuntimeError:
            return  # it was closed before
        self._thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        except Exception:
            log.exception("the operations port has failed")
        finally:
            self.loop.close()

    async def _serve(self) -> None:
        server = await self.loop.create_server(lambda: _Connection(self), sock=self._socket, backlog=_BACKLOG)
        await self._closed.wait()
        server.close()
        for connection in list(self._open):
            connection.cut()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # what its connections call

    def opened(self, connection: _Connection) -> None:
        """Take a connection in, and cut another one off where there are too many."""
        if len(self._open) >= MOST:
            first = min(self._open, key=lambda each: each.stage)
            del self._open[first]  # now: more connections may come before it learns that it is lost
            first.cut()
        self._open[connection] = None

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)

    async def answer(self, request: Request) -> Answer:
        """Answer a request, whatever happens."""
        try:
            return await self._handler(request)
        except Refused as refused:
            return refusal(refused)
        except Exception:
            log.exception("%s could not be answered", ascii(request.path)[:200])
            return Answer("this failed, which is logged\n", HTTPStatus.INTERNAL_SERVER_ERROR)


class _Stage(IntEnum):
    """How far a connection is; the least is the first to be cut off."""

    ANSWERED = 0
    READING = 1
    ANSWERING = 2


class _Connection(asyncio.Protocol):
    """One connection: a head comes, an answer goes."""

    def __init__(self, port: Port) -> None:
        self.stage = _Stage.READING
        self._half_closed = False
        self._port = port
        self._head = b""
        self._transport: asyncio.Transport
        self._limit: asyncio.TimerHandle
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._limit = self._port.loop.call_later(HEAD_TIME, self._too_slow)
        self._port.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.stage is not _Stage.READING:
            return  # there is one answer only, and it says so
        self._head += data
        head, end, _ = self._head.partition(END)
        if len(head) > MAX_HEAD:
            self._refuse(Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"over {MAX_HEAD} bytes of header"))
        elif end:
            try:
                request = parse(head)
            except Refused as refused:
                self._refuse(refused)
                return
            self.stage = _Stage.ANSWERING
            self._limit.cancel()
            self._answering = self._port.loop.create_task(self._answer(request))

    def eof_received(self) -> bool:
        self._half_closed = True
        return self.stage is _Stage.ANSWERING  # who only closes its sending side is answered all the same

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._port.closed(self)

    def cut(self) -> None:
        """End it at once; of an answer that is not taken, nothing stays in the system's memory either."""
        if self._transport.get_write_buffer_size():
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _answer(self, request: Request) -> None:
        self._write(await self._port.answer(request), request.method == "HEAD")

    def _too_slow(self) -> None:
        self._refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, f"no request within {HEAD_TIME:g} s"))

    def _refuse(self, refused: Refused) -> None:
        self._limit.cancel()
        self._write(refusal(refused))

    def _write(self, answer: Answer, head_only: bool = False) -> None:
        body = answer.body.encode("utf-8", "backslashreplace")
        headers = {"Date": formatdate(usegmt=True), "Content-Type": answer.type, "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in (headers | _ALWAYS | dict(answer.headers)).items()]
        self._limit = self._port.loop.call_later(BODY_TIME, self.cut)
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else body))
        self.stage = _Stage.ANSWERED
        if self._half_closed:
            self._transport.close()
        else:  # the answer would be lost with what the client still sends, if it were closed at once
            self._transport.write_eof()


def refusal(refused: Refused) -> Answer:
    """Return the answer to a request that is refused."""
    headers = {}
    if refused.status == HTTPStatus.UNAUTHORIZED:
        headers = _CHALLENGE
    elif refused.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": "GET, HEAD"}
    return Answer(f"{refused.text}\n", refused.status, TEXT, headers)


def _listening(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"[operations] port: {host}:{port} is already in use; another command of this machine may have it: "
                "TRUNKLINE_OPERATIONS_PORT gives this one its own, or none where it is empty"
            ) from None
        what = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise StartError(f"[operations] {host}:{port}: {what}") from None
    listening.setblocking(False)
    return listening
