"""SMTP servers to test: one in memory on a stub layer, and a real one on sockets with consumers in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.smtp import SmtpServer
from trunkline.protocol_servers.testing import MemoryTransport, ReactorThread, Sent, StubInbox, StubLayer

PATIENCE = 60  # seconds; a bound against hanging, never waited for


class StillLoop(asyncio.AbstractEventLoop):
    """As much of a loop as a server calls, moved by the test; `in_thread` are the calls given to a thread."""

    def __init__(self, manual: Any) -> None:
        self.call_later = manual.call_later  # type: ignore[method-assign]
        self.in_thread: list[tuple[Callable[[], Any], Any]] = []
        self.soon: deque[Callable[[], Any]] = deque()

    def call_soon(self, function: Any, *args: Any) -> Any:  # type: ignore[override]
        self.soon.append(lambda: function(*args))

    def turn(self) -> int:
        """Do what was to be done in the next turn; return how much it was."""
        count = len(self.soon)
        for _ in range(count):
            self.soon.popleft()()
        return count

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Any:  # type: ignore[override]
        future = SimpleNamespace(callbacks=[], cancelled=lambda: False)
        future.add_done_callback = future.callbacks.append
        self.in_thread.append((lambda: function(*args), future))
        return future

    def finish_thread(self) -> None:
        """Do what was given to a thread."""
        for function, future in self.in_thread:
            made = function()
            future.result = lambda made=made: made
            for callback in future.callbacks:
                callback(future)
        self.in_thread.clear()


class Client:
    """One connection to a server in memory."""

    def __init__(self, server: SmtpServer, **transport: Any) -> None:
        self.loop: Any = server.loop
        self.transport = MemoryTransport(server.factory.buildProtocol(None), **transport)
        self.protocol: Any = self.transport.protocol

    def say(self, *lines: str) -> list[str]:
        """Send lines and return the lines that come back."""
        self.protocol.dataReceived("".join(line + "\r\n" for line in lines).encode())
        return self.hear()

    def hear(self) -> list[str]:
        """Return the lines that came since the last call, once the loop has nothing left to do."""
        while self.loop.turn():
            pass
        return self.transport.take().decode().split("\r\n")[:-1]


class Stage:
    """A server whose time the test moves, and the workers' side of it.

    Attributes:
        inbox: What it sent, and where answers are put in.
        server: The server.
        loop: Its loop.
    """

    def __init__(self, manual: Any, settings: dict[str, Any]) -> None:
        self.manual = manual
        make_loop: Any = StillLoop  # of whose many methods few are there
        self.loop: StillLoop = make_loop(manual)
        layer: Any = StubLayer(immediate=True)
        if settings.get("accept") == "queued":
            layer.durable.add("email.receive")
        kind: type[SmtpServer] = settings.pop("server", SmtpServer)
        table = kind.Settings(**{"endpoints": [], "hostname": "mx.example.org", **settings})
        self.server = kind(layer, table, reactor=SimpleNamespace(_asyncioEventloop=self.loop), clock=manual.clock)
        with contextlib.suppress(StopIteration):
            self.server.start().send(None)
        self.inbox: StubInbox = layer.inbox
        for channel in ("email.recipient", "email.receive"):
            self.inbox.announced[channel] = False

    def connect(self, hello: str = "EHLO", **transport: Any) -> Client:
        """Connect and say hello."""
        client = Client(self.server, **transport)
        client.say(f"{hello} client.example.org")
        return client

    def sent(self, channel: str) -> list[Sent]:
        """Return what was sent since the last call, which all is on this channel."""
        sent = self.inbox.take()
        assert {one.channel for one in sent} <= {channel}
        return sent

    def answer(self, sent: Sent, **message: Any) -> None:
        """Answer a message."""
        self.inbox.answer(sent.message["reply_channel"], message)

    def mail(self, *recipients: str, content: str = "Message-ID: <1>\r\n\r\nhi", sender: str = "a@b") -> Client:
        """Send a mail whose recipients all are accepted; the answers to the mail itself are open."""
        client = self.connect()
        client.say(f"MAIL FROM:<{sender}>", *[f"RCPT TO:<{one}>" for one in recipients])
        for question in self.inbox.take():
            self.answer(question)
        client.say("DATA")
        assert client.say(content, ".") == []
        return client


@pytest.fixture
def stage(manual: Any) -> Callable[..., Stage]:
    """Makes a server in memory, with settings of the test."""
    return lambda **settings: Stage(manual, settings)


Consumer = Callable[["House", dict[str, Any]], dict[str, Any] | None]


class House:
    """A server on free ports, and a consumer in a thread of its own, which also accepts every recipient.

    Attributes:
        layer: What lies between.
        mails: The messages that were consumed.
        port: Where the server listens.
        server: The server.
    """

    def __init__(self, place: ReactorThread, consumer: Consumer, settings: dict[str, Any]) -> None:
        self.place = place
        self.layer = MemoryLayer(durable={"email.receive": True} if settings.get("accept") == "queued" else None)
        self.mails: list[dict[str, Any]] = []
        kind: type[SmtpServer] = settings.pop("server", SmtpServer)
        table = kind.Settings(**{"endpoints": ["tcp:0"], "hostname": "mx.example.org", **settings})
        self.server = place.run(lambda: kind(self.layer, table, reactor=place.reactor))
        place.call(self.server.start())
        self.port = int(self.server.ports[0].rpartition(":")[2])
        self._consumer = consumer
        self._reader = self.layer.reader()
        self._stopping = False
        self._thread = threading.Thread(target=self._consume, name="consumer", daemon=True)
        self._thread.start()

    def _consume(self) -> None:
        while not self._stopping:
            for delivery in self._reader.receive_batch(["email.recipient", "email.receive"], 10, 5):
                message = delivery.message
                answer: dict[str, Any] | None = {"accept": True}
                if delivery.channel == "email.receive":
                    self.mails.append(message)
                    answer = self._consumer(self, message)
                if answer is not None:
                    self.layer.send(message["reply_channel"], answer)
                if delivery.id is not None:
                    delivery.ack()

    def body(self, channel: str) -> bytes:
        """Read a body channel to its end."""
        content: bytes = b""
        while True:
            for delivery in self.layer.reader().receive_batch([channel], 4, PATIENCE):
                chunk = delivery.message
                assert not chunk.get("closed"), "the server gave up"
                content += chunk["content"]
                if not chunk.get("more_content"):
                    return content

    def smtp(self, **options: Any) -> smtplib.SMTP:
        """Connect Python's own client."""
        return smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE, **options)

    def stop(self, grace: float = 5.0) -> bool:
        """Stop the server; return whether it finished in time."""
        return self.place.call(self.server.stop(grace))

    def end(self) -> None:
        if not self.server.stopping:
            self.stop(1.0)
        self._stopping = True
        self._reader.wake()
        self._thread.join(PATIENCE)


@pytest.fixture
def house(place: ReactorThread) -> Iterator[Callable[..., House]]:
    """Makes a real server; its consumer accepts unless the test has another."""
    made: list[House] = []

    def make(consumer: Consumer = lambda house, message: {"accept": True}, **settings: Any) -> House:
        made.append(House(place, consumer, settings))
        return made[-1]

    yield make
    for one in made:
        one.end()
