"""A relay that does what a test wants, and a server that sends mail by it."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from trunkline.layer import Layer, MemoryLayer
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.smtp.outgoing import outbox
from trunkline.protocol_servers.smtp.outgoing.mail import Schedule
from trunkline.protocol_servers.testing import ReactorThread

PATIENCE = 60.0  # seconds; a bound against hanging, never waited for

Rule = Callable[[str, str], str | None]


class Taken(NamedTuple):
    """A mail that the relay took."""

    sender: str
    recipients: list[str]
    content: bytes


class FakeRelay:
    """A mail server of the test's own, a thread for each connection.

    A rule is asked before each answer, with the verb and what stands behind it ("" and "" for the greeting, "." for the
    end of a mail): it returns the answer, "hang" or "cut", or None for the usual answer.

    Attributes:
        mails: What it took.
        said: What clients said, in order.
        connections: How many there were.
        extensions: What it offers.
        rule: What it does otherwise than usual.
        port: Where it listens.
    """

    def __init__(self, context: ssl.SSLContext | None = None, *, address: str = "127.0.0.1") -> None:
        self.mails: list[Taken] = []
        self.said: list[str] = []
        self.connections = 0
        self.extensions = ["PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8"]
        self.rule: Rule = lambda verb, rest: None
        self._context = context
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    relay._serve(self.request)

        self._server = socketserver.ThreadingTCPServer((address, 0), Handler, bind_and_activate=False)
        self._server.allow_reuse_address = True
        self._server.daemon_threads = True
        self._server.server_bind()
        self._server.server_activate()
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and cut all connections."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)

    def _serve(self, sock: socket.socket) -> None:
        self.connections += 1
        self._sockets.add(sock)
        file = sock.makefile("rwb")
        sender, recipients = "", list[str]()

        def say(text: str) -> None:
            file.write(text.encode() + b"\r\n")
            file.flush()

        def answer(verb: str, rest: str, usual: str) -> str:
            text = self.rule(verb, rest) or usual
            if text == "hang":
                self._closing.wait(PATIENCE)
            if text in ("hang", "cut"):
                sock.shutdown(socket.SHUT_RDWR)
                raise ConnectionError
            return text

        say(answer("", "", "220 relay.example.org"))
        while line := file.readline():
            text = line.decode().rstrip("\r\n")
            self.said.append(text)
            verb, _, rest = text.partition(" ")
            if verb == "EHLO":
                lines = ["relay.example.org", *self.extensions]
                if self._context is not None and not isinstance(sock, ssl.SSLSocket):
                    lines.append("STARTTLS")
                usual = "\r\n".join(f"250{'-' if one != lines[-1] else ' '}{one}" for one in lines)
            else:
                usual = {"DATA": "354 go", "QUIT": "221 bye", "AUTH": "235 welcome", "STARTTLS": "220 go"}.get(
                    verb, "250 ok"
                )
            told = answer(verb, rest, usual)
            say(told)
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and told[:1] == "2":
                assert self._context is not None
                sock = self._context.wrap_socket(sock, server_side=True)
                file = sock.makefile("rwb")
            elif verb == "MAIL" and told[:1] == "2":
                sender, recipients = rest.partition(":")[2].split(" ")[0].strip("<>"), []
            elif verb == "RCPT" and told[:1] == "2":
                recipients.append(rest.partition(":")[2].strip("<>"))
            elif verb == "DATA" and told[:1] == "3":
                content = b""
                while (line := file.readline()) not in (b".\r\n", b""):
                    content += line[1:] if line.startswith(b".") else line
                if not line:
                    return
                told = answer(".", "", "250 taken")
                if told[:1] == "2":
                    self.mails.append(Taken(sender, recipients, content))
                say(told)


def wait_for(done: Callable[[], Any], what: str = "it happens") -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < until, f"waited in vain until {what}"
        time.sleep(0.005)


class House:
    """A server with a relay, on a layer of its own.

    Attributes:
        layer: Where `email.send` is.
        server: The server.
        results: What it told of mails: (channel, message), in order.
    """

    def __init__(
        self,
        place: ReactorThread,
        port: int,
        layer: Layer | None,
        context: ssl.SSLContext | None,
        settings: dict[str, Any],
    ) -> None:
        self.place = place
        self.layer = layer if layer is not None else MemoryLayer()
        table = SmtpSettings(
            **{
                "endpoints": [],
                "hostname": "mx.example.org",
                "relay": f"smtp://127.0.0.1:{port}",
                "relay_tls": "none",
                **settings,
            }
        )
        self.server = place.run(lambda: SmtpServer(self.layer, table, reactor=place.reactor))
        self.layer.announce("test", {"channels": {"email.delivered": False, "email.failed": False}})
        self.results: list[tuple[str, dict[str, Any]]] = []
        place.call(self.server.start())
        if context is not None:
            assert self.server.outbox is not None
            self.server.outbox._context = context

    def send(self, **message: Any) -> None:
        """Send a mail."""
        self.layer.send(
            "email.send", {"to": ["bob@example.net"], "from": "ann@example.com", "text": "hello", **message}
        )

    def hear(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """Wait until so many results were told; return them."""

        def heard() -> bool:
            self.layer.announce("test", {"channels": {"email.delivered": False, "email.failed": False}})
            while True:
                channel, message = self.layer.receive(["email.delivered", "email.failed"])
                if channel is None or message is None:
                    return len(self.results) >= count
                self.results.append((channel, message))

        wait_for(heard, f"{count} results are told: {self.results}")
        return self.results

    @property
    def pending(self) -> int:
        """How many mails are not settled."""
        return int(self.layer.channel_statistics("email.send")["messages_pending"])

    def settled(self) -> None:
        """Wait until all mails are settled."""
        wait_for(lambda: self.pending == 0, "all mails are settled")

    def stop(self, grace: float = 20.0) -> bool:
        """Stop the server; return whether it finished in time."""
        return self.place.call(self.server.stop(grace), timeout=PATIENCE)


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    """A relay in the clear."""
    running = FakeRelay()
    yield running
    running.close()


@pytest.fixture
def make_relay() -> Iterator[Callable[..., FakeRelay]]:
    """Makes relays."""
    made: list[FakeRelay] = []

    def make(*args: Any, **options: Any) -> FakeRelay:
        made.append(FakeRelay(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets another schedule for servers that are made from then on."""

    def set_(**schedule: float) -> None:
        made = Schedule(**{"first": 0.05, "longest": 0.2, **schedule})
        monkeypatch.setattr(outbox, "Schedule", lambda: made)

    set_()
    return set_


@pytest.fixture
def house(reactor_thread: ReactorThread, quick: Any) -> Iterator[Callable[..., House]]:
    """Makes servers that send by a relay."""
    made: list[House] = []

    def make(port: int, *, layer: Layer | None = None, context: ssl.SSLContext | None = None, **settings: Any) -> House:
        made.append(House(reactor_thread, port, layer, context, settings))
        return made[-1]

    yield make
    for each in made:
        if not each.server.stopping:
            each.stop(2.0)
