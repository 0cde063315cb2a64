"""A connection of HTTP/2 in memory: a handler that answers as the test wants, and a client that writes any frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.protocol_servers.http_core import HttpFactory, HttpLimits, Request, ResponseStream
from trunkline.protocol_servers.testing import MemoryTransport
from trunkline.protocol_servers.testing.http2_client import (
    DATA,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Http2Client,
    Received,
    settings,
)
from trunkline.protocol_servers.timers import TimerWheel


class Exchange:
    """What the handler made of a request, for the test to look at and answer by."""

    def __init__(self, handler: Handler, request: Request, stream: ResponseStream) -> None:
        self.handler = handler
        self.request = request
        self.stream = stream
        self.pieces: list[bytes] = []
        self.ended = 0
        self.losses = 0

    def body(self, data: bytes) -> None:
        self.pieces.append(data)
        if self.handler.pause_after == len(self.pieces):
            self.stream.pause_body()

    def end(self) -> None:
        self.ended += 1
        if self.handler.answer is not None:
            self.stream.start(200, (), self.handler.answer)

    def lost(self) -> None:
        self.losses += 1


class Socket:
    """What took a stream over."""

    def __init__(self, request: Request, transport: Any) -> None:
        self.request = request
        self.transport = transport
        self.data: list[bytes] = []
        self.losses = 0

    def data_received(self, data: bytes) -> None:
        self.data.append(data)

    def connection_lost(self) -> None:
        self.losses += 1


class Handler:
    """Takes every request, and answers at once or leaves that to the test.

    Attributes:
        answer: The content of all answers; None leaves them to the test.
        pause_after: The exchange pauses after so many pieces of a body.
    """

    def __init__(self, manual: Any, **limits: Any) -> None:
        self.limits = HttpLimits(**limits)
        self.timers = TimerWheel(manual.call_later, manual.clock)
        self.clock = manual.clock
        self.soon: list[Callable[[], None]] = []
        self.stats: Counter[str] = Counter()
        self.answer: bytes | None = b"hello"
        self.pause_after = 0
        self.sockets_wanted = True
        self.exchanges: list[Exchange] = []
        self.sockets: list[Socket] = []
        self.log: list[tuple[str, int, int]] = []

    def begin(self, request: Request, stream: ResponseStream) -> Exchange:
        self.exchanges.append(Exchange(self, request, stream))
        return self.exchanges[-1]

    def upgrade(self, request: Request, transport: Any) -> Socket | None:
        if not self.sockets_wanted:
            return None
        self.sockets.append(Socket(request, transport))
        return self.sockets[-1]

    def answered(self, request: Request | None, client: str, status: int, size: int, began: float) -> None:
        self.log.append(("-" if request is None else request.path, status, size))

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]

    def call_soon(self, function: Callable[[], None], /) -> None:
        self.soon.append(function)

    def turn(self) -> None:
        """Let the loop turn until nothing is left to do."""
        while self.soon:
            ready, self.soon[:] = list(self.soon), []
            for each in ready:
                each()


class Transport(MemoryTransport):
    """A transport that can be half closed, and whose client may take no more than so many bytes."""

    producer: Any
    half_closed = False
    reading = True
    room: int | None = None

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.room is not None:
            self.room -= len(data)
            if self.room <= 0 and not self.buffered:
                self.buffered = -self.room or 1
                self.producer.pauseProducing()

    def drain(self, room: int | None = None) -> None:
        """Let the client take what is buffered, and `room` bytes more."""
        self.buffered = 0
        self.room = room
        self.producer.resumeProducing()


class Peer(Http2Client):
    """A client, its connection, and the handler behind that.

    Attributes:
        factory: Made the connection.
        handler: Takes the requests.
        manual: Time.
        transport: What was written, and whether it is open.
    """

    def __init__(self, manual: Any, *, alpn: bool = False, greet: bool = True, **limits: Any) -> None:
        super().__init__()
        self.manual = manual
        self.handler = Handler(manual, **limits)
        self.factory = HttpFactory(self.handler)
        self.transport = Transport(None)
        self.transport.negotiated_protocol = "h2" if alpn else None
        self.transport.protocol = self.factory.buildProtocol(None)
        self.transport.protocol.makeConnection(self.transport)
        if greet:
            self.send(PREFACE + settings() + settings(flags=1))
            assert [got.kind for got in self.take()] == [SETTINGS, 8, SETTINGS]

    def send(self, *frames: bytes) -> list[Received]:
        """Send bytes, let everything happen, and return nothing: look with `take`."""
        self.transport.protocol.dataReceived(b"".join(frames))
        self.handler.turn()
        return []

    def take(self) -> list[Received]:
        """The frames written since the last call."""
        self.handler.turn()
        return self.read(self.transport.take())

    def ask(self, *frames: bytes) -> list[Received]:
        """Send bytes and return what was written then."""
        self.send(*frames)
        return self.take()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.manual.advance(seconds)
        self.handler.turn()

    def lose(self) -> None:
        """Let the client vanish."""
        self.transport.finish()
        self.handler.turn()

    @property
    def connection(self) -> Any:
        (connection,) = self.factory.connections
        return connection


def content(frames: list[Received], stream_id: int = 1) -> bytes:
    """The content of one stream."""
    return b"".join(got.payload for got in frames if got.kind == DATA and got.stream_id == stream_id)


def outcome(frames: list[Received]) -> tuple[Any, ...]:
    """What came of a mistake: ("connection", code), ("stream", code), or ("answer", status)."""
    for got in frames:
        if got.kind == GOAWAY:
            return ("connection", got.code)
        if got.kind == RST_STREAM:
            return ("stream", got.code)
    for got in frames:
        if got.kind == HEADERS:
            return ("answer", got.status)
    return ()


@pytest.fixture
def peer_with(manual: Any) -> Iterator[Callable[..., Peer]]:
    """Makes clients: ``peer_with(alpn=True, max_body=10)``. Afterwards no deadline and no connection is left."""
    made: list[Peer] = []

    def making(**options: Any) -> Peer:
        made.append(Peer(manual, **options))
        return made[-1]

    yield making
    for each in made:
        if each.transport.protocol is not None and each.factory.connections:
            each.lose()
        assert not each.factory.connections
        assert all(timer._slot is None for timer in [each.transport.protocol])


@pytest.fixture
def peer(peer_with: Callable[..., Peer]) -> Peer:
    """A client that has greeted."""
    return peer_with()


@pytest.fixture(scope="session")
def make_peer() -> type[Peer]:
    """Makes a client, for tests that need one an example."""
    return Peer
