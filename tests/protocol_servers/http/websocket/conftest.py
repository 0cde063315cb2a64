"""A WebSocket in memory: its server on a stub layer, time that the test moves, frames as a client makes them."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from trunkline.protocol_servers.base import Message
from trunkline.protocol_servers.http import HttpServer, HttpSettings
from trunkline.protocol_servers.http.websocket import WebSocket
from trunkline.protocol_servers.http_core import Request
from trunkline.protocol_servers.testing import MemoryTransport, Sent, StubInbox, StubLayer
from trunkline.protocol_servers.testing.websocket_frames import BINARY, TEXT, client_frame, close_code, server_frames

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3


class ManualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as servers call on their own, with time that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._later: list[Any] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any, **_: Any) -> Any:  # type: ignore[override]
        self._soon.append((callback, args))

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, **_: Any
    ) -> Any:
        handle = _Handle(callback, args)
        heapq.heappush(self._later, (self.now + delay, next(self._numbers), handle))
        return handle

    def turn(self) -> None:
        """Do what is ready, also what that makes ready."""
        while self._soon:
            ready, self._soon = self._soon, []
            for callback, args in ready:
                callback(*args)

    def advance(self, seconds: float) -> None:
        """Let time pass, with everything that becomes due in it."""
        self.turn()
        end = self.now + seconds
        while self._later and self._later[0][0] <= end:
            self.now, _, handle = heapq.heappop(self._later)
            handle.run()
            self.turn()
        self.now = end


@dataclass
class _Handle:
    callback: Callable[..., object]
    args: tuple[Any, ...]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        if not self.cancelled:
            self.callback(*self.args)


class Transport(MemoryTransport):
    """A transport in memory that can close one way.

    Attributes:
        half_closed: Nothing more can be written, but read.
    """

    half_closed = False

    def loseWriteConnection(self) -> None:
        """Close our way."""
        self.half_closed = True


@dataclass
class _Reactor:
    _asyncioEventloop: ManualLoop


class Bench:
    """A server and the workers' side of it.

    Attributes:
        loop: Where time is moved.
        server: The server.
        inbox: What it sent, and where answers are put in.
    """

    def __init__(self, **settings: Any) -> None:
        self.loop: ManualLoop = cast("Any", ManualLoop)()
        layer: Any = StubLayer()
        table: Any = HttpSettings(**{"endpoints": [], "access_log": "off", **settings})
        self.server = HttpServer(layer, table, reactor=_Reactor(self.loop), clock=self.loop.time)
        with contextlib.suppress(StopIteration):
            self.server.start().send(None)
        self.inbox: StubInbox = layer.inbox
        self.inbox.announced = {"websocket.connect": False, "websocket.receive": False, "websocket.disconnect": False}

    def take(self) -> list[Sent]:
        """What was sent to the workers since the last call, everything that was ready having happened."""
        self.loop.turn()
        return self.inbox.take()

    @property
    def open_connections(self) -> int:
        """How many connections the bus can still answer."""
        return len(self.server._connections)

    @property
    def stats(self) -> Mapping[str, int]:
        return self.server.stats

    def request(self, headers: Mapping[bytes, bytes | None] | None = None, **fields: Any) -> Request:
        """A valid upgrade request, with headers replaced, added, or (None) left out."""
        lines: dict[bytes, bytes | None] = {
            b"host": b"example.com",
            b"connection": b"keep-alive, Upgrade",
            b"upgrade": b"websocket",
            b"sec-websocket-key": KEY,
            b"sec-websocket-version": b"13",
        }
        lines.update(headers or {})
        given: dict[str, Any] = {
            "method": "GET",
            "target": b"/chat?a=1",
            "path": "/chat",
            "query_string": b"a=1",
            "headers": [(name, value) for name, value in lines.items() if value is not None],
            "http_version": "1.1",
            "length": 0,
            "keep_alive": True,
            "upgrade": True,
            "client": ["127.0.0.1", 5000],
            "server": ["127.0.0.1", 8000],
            **fields,
        }
        return Request(**given)

    def connect(self, headers: Mapping[bytes, bytes | None] | None = None, **fields: Any) -> Client:
        """Send an upgrade request that nobody has answered yet."""
        return self.ask(self.request(headers, **fields))

    def ask(self, request: Request) -> Client:
        """Send any upgrade request."""
        return Client(self, request)

    def open(self, headers: Mapping[bytes, bytes | None] | None = None, **fields: Any) -> Client:
        """Open a WebSocket."""
        client = self.connect(headers, **fields)
        client.reply({"accept": True})
        assert client.accepted() == []
        self.take()
        return client


class Client:
    """The client's side of one socket."""

    def __init__(self, bench: Bench, request: Request) -> None:
        self.bench = bench
        self.request = request
        self.transport = Transport()
        self.socket = WebSocket(bench.server, request, self.transport)
        self.reply_channel = self.socket.connection.reply_channel

    def feed(self, data: bytes, step: int | None = None) -> None:
        """Send bytes, all at once or in pieces of ``step``."""
        for start in range(0, len(data), step or len(data) or 1):
            self.socket.data_received(data[start : start + (step or len(data))])

    def say(self, data: str | bytes) -> None:
        """Send a message in one frame."""
        self.feed(client_frame(TEXT, data.encode()) if isinstance(data, str) else client_frame(BINARY, data))

    def reply(self, message: Message) -> None:
        """Let a consumer answer."""
        self.bench.inbox.answer(self.reply_channel, message)
        self.bench.loop.turn()

    def take(self) -> bytes:
        """What the server wrote since the last call."""
        return self.transport.take()

    def frames(self) -> list[tuple[int, bytes]]:
        """The frames that the server wrote since the last call."""
        return server_frames(self.take())

    def accepted(self) -> list[tuple[int, bytes]]:
        """The frames behind the response that accepted, both just written."""
        head, _, frames = self.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        return server_frames(frames)

    def code(self) -> int:
        """The code of the one Close that the server wrote since the last call."""
        (frame,) = self.frames()
        return close_code(frame)

    def status(self) -> int:
        """The status of the response that the server wrote since the last call."""
        version, status, _ = self.take().split(b" ", 2)
        assert version == b"HTTP/1.1"
        return int(status)

    def leave(self) -> None:
        """Close the transport without a word."""
        self.socket.connection_lost()
        self.bench.loop.turn()

    def sent(self, channel: str = "websocket.receive") -> list[Message]:
        """What was sent to the workers on ``channel`` since the last look at anything sent."""
        return [sent.message for sent in self.bench.take() if sent.channel == channel]

    @property
    def closed(self) -> bool:
        """The server closes the connection."""
        return self.transport.disconnecting

    @property
    def aborted(self) -> bool:
        """The server has cut the connection."""
        return self.transport.disconnected

    @property
    def read_from(self) -> bool:
        """The server reads from this socket."""
        return self.transport.producerState == "producing"


@pytest.fixture
def bench() -> Bench:
    """A server with default settings."""
    return Bench()


@pytest.fixture
def bench_with() -> Callable[..., Bench]:
    """Make a server with some settings."""
    return Bench


@pytest.fixture(params=[None, 1], ids=["at once", "byte by byte"])
def step(request: pytest.FixtureRequest) -> Any:
    """How the client's bytes arrive: for `Client.feed`."""
    return request.param
