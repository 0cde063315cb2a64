"""HTTP servers to test: one in memory on a stub layer, and a real one on sockets with consumers in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.http import HttpServer, HttpSettings
from trunkline.protocol_servers.testing import MemoryTransport, ReactorThread, Sent, StubInbox, StubLayer

PATIENCE = 60  # seconds; a bound against hanging, never waited for


class Transport(MemoryTransport):
    """A transport that can be half closed, and whose client takes nothing from `slow` on."""

    producer: Any
    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def slow(self) -> None:
        self.producer.pauseProducing()

    @property
    def response(self) -> tuple[int, bytes]:
        """Status and content of what was written since it was last looked at."""
        head, _, content = self.take().partition(b"\r\n\r\n")
        return int(head.split()[1]), content


class StillLoop(asyncio.AbstractEventLoop):
    """As much of a loop as a server calls, moved by the test."""

    def __init__(self, manual: Any) -> None:
        self.call_later = manual.call_later  # type: ignore[method-assign]
        self.soon: list[Callable[[], None]] = []
        self.call_soon = self.soon.append  # type: ignore[method-assign, assignment]

    def turn(self) -> None:
        """Do what is ready, and what that makes ready."""
        while self.soon:
            ready, self.soon[:] = list(self.soon), []
            for each in ready:
                each()


class Stage:
    """A server whose time the test moves, and the workers' side of it.

    Attributes:
        inbox: What it sent, and where answers are put in.
        server: The server.
    """

    def __init__(self, manual: Any, settings: dict[str, Any]) -> None:
        self.manual = manual
        layer: Any = StubLayer(immediate=True)
        table = HttpSettings(**{"endpoints": [], "access_log": "off", **settings})
        make_loop: Any = StillLoop
        self.loop: StillLoop = make_loop(manual)
        reactor = SimpleNamespace(_asyncioEventloop=self.loop)
        self.server = HttpServer(layer, table, reactor=reactor, clock=manual.clock)
        with contextlib.suppress(StopIteration):
            self.server.start().send(None)
        self.inbox: StubInbox = layer.inbox
        self.inbox.announced["http.request"] = False
        self.inbox.announced["http.disconnect"] = False

    def connect(self) -> Transport:
        return Transport(self.server.factory.buildProtocol(None))

    def feed(self, data: bytes, transport: Transport | None = None) -> Transport:
        """Send bytes, on a new connection where none is given."""
        transport = transport or self.connect()
        transport.protocol.dataReceived(data)
        self.loop.turn()
        return transport

    def only(self, channel: str) -> dict[str, Any]:
        """Return the one message sent since the last call, which is on this channel."""
        (sent,) = self.inbox.take()
        assert sent.channel == channel
        return sent.message

    def answer(self, message: dict[str, Any], request: dict[str, Any] | None = None) -> None:
        """Answer a request, by default the one that was just sent."""
        request = request or self.only("http.request")
        self.inbox.answer(request["reply_channel"], message)

    def credit(self, chunk: Sent, count: int) -> None:
        """Let the consumer take chunks of the channel that this one went to."""
        assert self.inbox.credit is not None
        self.inbox.credit(chunk.channel, chunk.options["credit"], count)
        self.loop.turn()


@pytest.fixture
def stage(manual: Any) -> Callable[..., Stage]:
    """Makes a server in memory, with settings of the test."""
    return lambda **settings: Stage(manual, settings)


Consumer = Callable[["House", dict[str, Any]], None]


class House:
    """A server on a free port, and consumers in a thread of their own.

    Attributes:
        layer: What lies between.
        port: Where the server listens.
        server: The server.
    """

    def __init__(self, place: ReactorThread, consumers: dict[str, Consumer], settings: dict[str, Any]) -> None:
        self.place = place
        self.layer = MemoryLayer()
        table = HttpSettings(**{"endpoints": ["tcp:0"], "access_log": "off", **settings})
        self.server = place.run(lambda: HttpServer(self.layer, table, reactor=place.reactor))
        place.call(self.server.start())
        self.port = int(self.server.ports[0].rpartition(":")[2])
        self._consumers = consumers
        self._reader = self.layer.reader()
        self._stopping = False
        self._thread = threading.Thread(target=self._consume, name="consumers", daemon=True)
        if consumers:
            self.layer.announce("worker.test", {"channels": dict.fromkeys(consumers, False)})
            self._thread.start()

    def _consume(self) -> None:
        while not self._stopping:
            for delivery in self._reader.receive_batch(list(self._consumers), limit=16, timeout=5):
                self._consumers[delivery.channel](self, delivery.message)

    def body(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a message's body channel as they come."""
        reader = self.layer.reader()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for delivery in reader.receive_batch([message["body_channel"]], timeout=1):
                yield delivery.message
                if not delivery.message.get("more_content"):
                    return
        raise AssertionError("a body did not end")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def exchange(self, data: bytes) -> bytes:
        """Send bytes and read until the server closes."""
        with self.connect() as client:
            client.sendall(data)
            return read_all(client)

    def stop(self, grace: float = 5) -> bool:
        try:
            return self.place.call(self.server.stop(grace))
        finally:
            self._stopping = True
            self._reader.wake()
            if self._consumers:
                self._thread.join(PATIENCE)
            self.layer.close()


def read_all(client: socket.socket) -> bytes:
    """Read until the other end closes."""
    data = bytearray()
    while piece := client.recv(65536):
        data += piece
    return bytes(data)


@pytest.fixture
def house(reactor_thread: ReactorThread) -> Iterator[Callable[..., House]]:
    """Opens servers on real sockets: ``house({"http.request": consumer}, setting=…)``."""
    opened: list[House] = []

    def opening(consumers: dict[str, Consumer] | None = None, **settings: Any) -> House:
        opened.append(House(reactor_thread, consumers or {}, settings))
        return opened[-1]

    yield opening
    for each in opened:
        if not each.server.stopping:
            each.stop(0)
