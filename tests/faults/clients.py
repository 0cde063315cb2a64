"""What uses a site: sockets, HTTP connections and mail sessions at work, each counting what it is told."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections import Counter
from collections.abc import Collection, Coroutine, Iterator, Sized
from typing import Any

from trunkline.protocol_servers.testing.websocket_frames import CLOSE, PING, PONG, TEXT, client_frame

from .site import WAIT, Site, until

AHEAD = 32  # frames that a socket sends before their echoes are there
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Socket(asyncio.Protocol):
    """A WebSocket that sends numbered frames and counts their echoes.

    Attributes:
        name: What its frames begin with.
        echoes: How often each frame came back.
        said: What else it was sent.
        code: How it was closed; 1006 where it broke off, None while it is open.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[str] = []
        self.echoes: Counter[str] = Counter()
        self.said: list[str] = []
        self.code: int | None = None
        self.is_open = False
        self._buffer = b""
        self._transport: asyncio.Transport

    async def open(self, port: int) -> None:
        """Connect, and wait for the answer to the handshake."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        await until(lambda: self.is_open or self.code is not None, f"the handshake of {self.name}")
        assert self.is_open, f"{self.name} was refused: {self._buffer!r}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host = "{}:{}".format(*transport.get_extra_info("peername"))
        upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}"
        transport.write(f"GET /{self.name} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end or not head.startswith(b"HTTP/1.1 101 "):
                return
            self.is_open, self._buffer = True, rest
        for opcode, payload in self._frames():
            if opcode == TEXT:
                self._take(payload.decode())
            elif opcode == PING:
                self._transport.write(client_frame(PONG, payload))
            elif opcode == CLOSE:
                self.code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                self._transport.write(client_frame(CLOSE, payload[:2]))

    def connection_lost(self, error: Exception | None) -> None:
        self.code = self.code or 1006

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Take whole frames from what was read; those of a server are not masked, and ours are short."""
        while len(self._buffer) >= 2:
            size, start = self._buffer[1], 2
            if size == 126 and len(self._buffer) >= 4:
                size, start = int.from_bytes(self._buffer[2:4], "big"), 4
            end = start + size
            if len(self._buffer) < end:
                return
            frame = self._buffer[0] & 0xF, self._buffer[start:end]
            self._buffer = self._buffer[end:]
            yield frame

    def _take(self, text: str) -> None:
        if text.partition(".")[0] == self.name:
            self.echoes[text] += 1
        else:
            self.said.append(text)

    def send(self, suffix: str = "") -> str:
        """Send one more frame, and return it."""
        text = f"{self.name}.{len(self.sent)}{suffix}"
        self.sent.append(text)
        self.say(text)
        return text

    def say(self, text: str) -> None:
        """Send a text that is not counted."""
        self._transport.write(client_frame(TEXT, text.encode()))

    async def heard(self, text: str) -> None:
        """Wait until a frame has come back."""
        await until(lambda: self.echoes[text], f"{text} comes back")

    @property
    def missing(self) -> list[str]:
        """The frames that did not come back."""
        return [text for text in self.sent if not self.echoes[text]]

    @property
    def room(self) -> bool:
        """Whether it may send: it is open, and not too far ahead of its echoes."""
        return self.code is None and len(self.sent) - len(self.echoes) < AHEAD

    def close(self) -> None:
        self._transport.abort()


class Browser:
    """One HTTP connection that asks for one page after the other, and connects again where it is closed.

    Attributes:
        told: The status of each request, by its name; 0: the connection ended without an answer.
        wrong: What was answered with the text of another.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.told: dict[str, int] = {}
        self.wrong: list[str] = []
        self.refused = 0  # connections
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, pause: float, stopped: asyncio.Event) -> None:
        """Ask until stopped."""
        for number in itertools.count():
            if stopped.is_set():
                break
            await self.ask(f"{self.name}.{number}")
            await asyncio.sleep(pause)
        self.close()

    async def ask(self, name: str, path: str = "/") -> int:
        """Ask for one page; return the status, 0 where none came."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.refused += 1
            return 0
        reader, writer = self._streams
        try:
            writer.write(f"GET {path}?{name} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
            body = await reader.readexactly(int(fields["content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            self.told[name] = 0
            self.close()
            return 0
        status = self.told[name] = int(head.split(" ", 2)[1])
        if status == 200 and body.decode() != name:
            self.wrong.append(name)
        if fields.get("connection") == "close":
            self.close()
        return status

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Sender:
    """One mail session that sends one mail after the other, and each again and again until it is taken, as senders do.

    Attributes:
        told: What each mail, by its subject, was answered: the lines.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.told: dict[str, list[str]] = {}
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]

    async def open(self) -> None:
        """Connect and say hello."""
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        await self._answer()
        await self._say("EHLO client.example.org")

    async def run(self, pause: float, stopped: asyncio.Event) -> None:
        """Send until stopped."""
        await self.open()
        for number in itertools.count():
            if stopped.is_set():
                break
            await self.deliver(f"{self.name}.{number}")
            await asyncio.sleep(pause)
        self.close()

    async def deliver(self, subject: str) -> None:
        """Send a mail until it is taken."""
        while not (await self.send(subject)).startswith("250 "):
            await asyncio.sleep(0.2)

    async def send(self, subject: str, address: str = "in@example.com", text: str = "Hello.") -> str:
        """Send a mail once, always with the same bytes; return the answer that decided about it."""
        said = await self.begin(address)
        if said.startswith("250"):
            said = await self.finish(subject, address, text)
        else:
            await self._say("RSET")
        self.told.setdefault(subject, []).append(said)
        return said

    async def begin(self, address: str = "in@example.com") -> str:
        """Begin a mail, up to its recipient; return the answer."""
        said = await self._say("MAIL FROM:<eve@example.org>")
        return await self._say(f"RCPT TO:<{address}>") if said.startswith("250") else said

    async def finish(self, subject: str, address: str = "in@example.com", text: str = "Hello.") -> str:
        """Send the mail itself, whose recipient was accepted; return the answer."""
        headers = f"Message-ID: <{subject}@example.org>\r\nSubject: {subject}\r\nFrom: eve@example.org"
        await self._say("DATA")
        return await self._say(f"{headers}\r\nTo: {address}\r\n\r\n{text}\r\n.")

    async def _say(self, line: str) -> str:
        self._streams[1].write(line.encode() + b"\r\n")
        return await self._answer()

    async def _answer(self) -> str:
        while True:
            line = (await self._streams[0].readuntil(b"\n")).decode().strip()
            if line[3:4] != "-":
                return line

    def close(self) -> None:
        self._streams[1].close()


class Traffic:
    """Sockets, browsers and senders at work side by side.

    Args:
        name: What the names of all of them begin with.
        http: The port of the HTTP server.
        smtp: The port of the mail server.
        sockets, browsers, senders: How many.
        pace: Frames that all sockets send together in a second, at the most.
    """

    def __init__(
        self,
        name: str,
        *,
        http: int,
        smtp: int = 0,
        sockets: int = 0,
        browsers: int = 0,
        senders: int = 0,
        pace: float = 500.0,
    ) -> None:
        self.sockets = [Socket(f"{name}s{number}") for number in range(sockets)]
        self.browsers = [Browser(f"{name}b{number}", http) for number in range(browsers)]
        self.senders = [Sender(f"{name}m{number}", smtp) for number in range(senders)]
        self._http = http
        self._pause = 5 / pace
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._told: list[Sized] = [each.told for each in self.browsers]
        self._told += [each.told for each in self.senders]

    async def start(self) -> None:
        """Open everything, and begin."""
        await asyncio.gather(*(socket.open(self._http) for socket in self.sockets))
        work: list[Coroutine[Any, Any, None]] = [self._talk()]
        work += [browser.run(0.02, self._stopped) for browser in self.browsers]
        work += [sender.run(0.05, self._stopped) for sender in self.senders]
        self._tasks = [asyncio.create_task(each) for each in work]

    async def _talk(self) -> None:
        """Have the sockets send, one after the other."""
        for number, socket in enumerate(itertools.cycle(self.sockets)):
            if number % 5 == 0:
                await asyncio.sleep(self._pause)
            if self._stopped.is_set():
                break
            if socket.room:
                socket.send()

    async def flows(self, rounds: int = 2, *, sockets_only: bool = False) -> None:
        """Wait until everybody was answered some times more.

        Args:
            rounds: How many times.
            sockets_only: Requests and mails may wait for what is lost.
        """
        sockets = [(socket, len(socket.echoes) + rounds) for socket in self.sockets]
        others = [] if sockets_only else [(answers, len(answers) + rounds) for answers in self._told]

        def is_done() -> bool:
            for task in self._tasks:
                if task.done() and not self._stopped.is_set():
                    task.result()
            return all(len(socket.echoes) >= end or socket.code is not None for socket, end in sockets) and all(
                len(answers) >= end for answers, end in others
            )

        await until(is_done, "the traffic flows")

    async def ask(self, name: str, path: str = "/") -> int:
        """Ask for one more page, over a connection of its own, and return the status."""
        browser = Browser(name, self._http)
        self.browsers.append(browser)
        return await browser.ask(name, path)

    async def stop(self) -> None:
        """Begin nothing new, and wait until requests and mails have their answers."""
        self._stopped.set()
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*self._tasks)

    def close(self) -> None:
        """Cut off what is open."""
        for task in self._tasks:
            task.cancel()
        for socket in self.sockets:
            socket.close()

    # what became of it

    @property
    def frames(self) -> int:
        return sum(len(socket.sent) for socket in self.sockets)

    @property
    def missing(self) -> list[str]:
        return [text for socket in self.sockets for text in socket.missing]

    @property
    def doubled(self) -> list[str]:
        """Frames that came back more than once."""
        return [text for socket in self.sockets for text, count in socket.echoes.items() if count > 1]

    @property
    def closed(self) -> Counter[int]:
        """How many sockets were closed with which code."""
        return Counter(socket.code for socket in self.sockets if socket.code is not None)

    @property
    def statuses(self) -> Counter[int]:
        """How many requests were told what."""
        return Counter(status for browser in self.browsers for status in browser.told.values())

    def requests(self, *statuses: int) -> list[str]:
        """Return the requests that were told one of these."""
        return [name for browser in self.browsers for name, told in browser.told.items() if told in statuses]

    @property
    def mails(self) -> dict[str, list[str]]:
        return {subject: told for sender in self.senders for subject, told in sender.told.items()}


async def settle(sockets: Collection[Socket], site: Site, workers: Collection[int]) -> None:
    """Wait until nothing is under way that was sent so far.

    A worker that takes one of the frames sent from now on has sent off what it had taken before, and Redis and the
    server keep the order.

    Args:
        sockets: Those that send these frames, but for the closed ones.
        site: Where.
        workers: All workers' process ids.
    """
    last: set[str] = set()
    while not all(last & site.taken([pid]).keys() for pid in workers):
        sent = [(socket, socket.send()) for socket in sockets if socket.code is None]
        last.update(f"frame {text}" for _, text in sent)
        await asyncio.gather(*(socket.heard(text) for socket, text in sent))
