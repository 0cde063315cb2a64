"""A site that lives through outages: a server of each protocol, workers, and traffic that notes who was told what."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from trunkline.layer import LayerUnavailable

from .clients import AHEAD, Sender, Socket, Traffic, settle
from .counters import SITECUSTOMIZE, counted
from .counts import Counts
from .site import Site, until

TIMEOUT = 5  # seconds: response_timeout, answer_timeout
WORKERS = 2
PREFETCH = 64  # messages that a worker takes at once, at most
PULL = 256  # messages that a server takes at once, at most

SETTINGS = f"""
routing = "app"
[http]
endpoints = ["tcp:0"]
access_log = "off"
response_timeout = {TIMEOUT}
[smtp]
endpoints = ["tcp:0"]
hostname = "mail.example.com"
answer_timeout = {TIMEOUT}
[udp]
endpoints = ["udp:0"]
answer_timeout = {TIMEOUT}
"""


class House:
    """A site with one server of each protocol, and workers."""

    def __init__(self, folder: Path, redis_program: str) -> None:
        (folder / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="ascii")
        self.folder = folder
        self.site = Site(folder, redis_program, SETTINGS, tcp=True)
        self.redis = self.site.redis
        self.layer = self.site.layer
        self.servers = [self.site.start("serve", name) for name in ("http", "smtp", "udp")]
        self.work = self.site.start("work", "--processes", str(WORKERS))
        self.programs = [*self.servers, self.work]

    async def up(self) -> None:
        """Wait until everything runs."""
        await self.site.up(*self.programs)
        await until(lambda: self.work.children() <= self.site.listening(), "the workers run")

    @property
    def ports(self) -> tuple[int, int, int]:
        """Those of HTTP, SMTP and UDP."""
        http, smtp, udp = self.servers
        return http.port, smtp.port, udp.port

    def pids(self) -> set[int]:
        """Return the processes; fail if one has ended that nobody replaces."""
        for program in self.programs:
            assert program.code is None, f"it ended with {program.code}:\n{program.printed}"
        return {program.pid for program in self.programs} | self.work.children()

    async def counted(self) -> Counter[str]:
        """Return what everybody counted so far."""
        return await counted(self.folder, [server.pid for server in self.servers] + sorted(self.work.children()))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the workers stand still, so that what is sent waits in Redis."""
        workers = self.work.children()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have Redis stand still, so that what is sent to it waits on the connections; it may be killed meanwhile."""
        self.redis.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.redis.signal(signal.SIGCONT)

    def members(self) -> dict[str, Any]:
        """Return the group of all sockets: reply channel → info."""
        return self.layer.group_members("all")

    def names(self) -> set[str]:
        """Return the names of the sockets in that group, none while the test itself does not reach Redis."""
        try:
            return {info["name"] for info in self.members().values()}
        except LayerUnavailable:
            return set()

    def connections(self) -> int:
        """Return how many connections to Redis all have together."""
        return str(self.redis.command("CLIENT", "LIST")).count("trunkline")


class Talker(Socket):
    """A socket that goes on although echoes were lost."""

    forgiven = 0

    @property
    def room(self) -> bool:
        return self.code is None and len(self.sent) - len(self.echoes) - self.forgiven < AHEAD

    def forgive(self) -> None:
        """Wait no more for what has not come back by now."""
        self.forgiven = len(self.sent) - len(self.echoes)


class Datagrams(asyncio.DatagramProtocol):
    """Datagrams, each with a number, and how often each was answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = 0
        self.echoes: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.echoes[data.decode()] += 1

    def send(self) -> str:
        """Send one more, and return it."""
        text = f"{self.name}.{self.sent}"
        self.sent += 1
        self._transport.sendto(text.encode())
        return text

    def close(self) -> None:
        self._transport.abort()


class Answer(NamedTuple):
    """What an HTTP client was told, and how many seconds that took."""

    status: int
    fields: dict[str, str]
    seconds: float


async def ask(port: int, *, upgrade: bool = False) -> Answer:
    """Ask for a page over a new connection, or for a WebSocket, which is closed at once."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /?probe HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if upgrade:
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    writer.write(f"{head}\r\n".encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    writer.transport.abort()
    fields = dict(line.split(": ", 1) for line in answer[1:-2])
    return Answer(int(answer[0].split(" ", 2)[1]), fields, time.monotonic() - began)


class Street(Traffic):
    """Traffic of all protocols, beside sockets that are quiet.

    Args:
        name: What all names begin with.
        house: Where to.
        pace, senders: As for `Traffic`.
    """

    def __init__(self, name: str, house: House, pace: float, senders: int) -> None:
        self.http, self.smtp, self.udp = house.ports
        super().__init__(name, http=self.http, smtp=self.smtp, browsers=6, senders=senders, pace=pace)
        self.name = name
        self.house = house
        self.talkers = [Talker(f"{name}s{number}") for number in range(40)]
        self.sockets = [*self.talkers]
        self.quiet = [Socket(f"{name}q{number}") for number in range(10)]
        self.datagrams = Datagrams(f"{name}u")

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self.datagrams, remote_addr=("127.0.0.1", self.udp))
        await asyncio.gather(*(socket.open(self.http) for socket in self.quiet))
        await super().start()
        self._tasks.append(asyncio.create_task(self._shout()))

    async def _shout(self) -> None:
        while not self._stopped.is_set():
            self.datagrams.send()
            await asyncio.sleep(0.02)

    @property
    def everybody(self) -> list[Socket]:
        """The sockets that are open."""
        return [socket for socket in (*self.sockets, *self.quiet) if socket.code is None]

    @property
    def lost(self) -> set[str]:
        """Frames that have not come back to sockets that are open."""
        return {text for socket in self.everybody for text in socket.missing}

    async def mail(self) -> str:
        """Send a mail once, beside the traffic; return what it was told."""
        sender = Sender(f"{self.name}beside{len(self.senders)}", self.smtp)
        self.senders.append(sender)
        await sender.open()
        told = await sender.send(sender.name)
        sender.close()
        return told

    async def pile_up(self, frames: int = 50) -> None:
        """Wait until so many more frames are under way."""
        wanted = len(self.lost) + frames
        await until(lambda: len(self.lost) >= wanted, "frames pile up")

    def close(self) -> None:
        super().close()
        self.datagrams.close()
        for socket in self.quiet:
            socket.close()

    async def served(self) -> dict[str, float]:
        """Use each protocol until it works again; return after how many seconds each did."""
        for talker in self.talkers:
            talker.forgive()
        began = time.monotonic()
        took: dict[str, float] = {}

        async def timed(what: str, work: Coroutine[Any, Any, None]) -> None:
            await work
            took[what] = time.monotonic() - began

        async def answered(good: int) -> None:
            while (await ask(self.http, upgrade=good == 101)).status != good:
                await asyncio.sleep(0.02)

        async def echoed() -> None:
            quiet = self.quiet[0]
            while True:  # the first may go to a connection that is known as lost a moment later
                text = quiet.send()
                with suppress(AssertionError):
                    return await until(partial(quiet.echoes.get, text), f"{text} comes back", 1.0)

        async def mailed() -> None:
            while not (await self.mail()).startswith("250 "):
                await asyncio.sleep(0.02)

        async def returned() -> None:
            first = self.datagrams.sent
            await until(lambda: any(numbered(text) >= first for text in self.datagrams.echoes), "a datagram comes back")

        async def joined() -> None:
            wanted = {socket.name for socket in self.everybody}
            await until(lambda: wanted <= self.house.names(), "all members are back")

        await asyncio.gather(
            timed("HTTP", answered(200)),
            timed("WebSocket handshake", answered(101)),
            timed("WebSocket echo", echoed()),
            timed("SMTP", mailed()),
            timed("UDP", returned()),
            timed("members", joined()),
        )
        return took


def numbered(text: str) -> int:
    """Return the number of a frame or a datagram."""
    return int(text.partition(".")[2])


class Stay:
    """One test's time in the house.

    Attributes:
        street: The traffic.
        members: Who was in the group when it began.
        grown: What the processes counted meanwhile; known from `end` on.
    """

    grown: Counter[str]

    def __init__(self, house: House, street: Street) -> None:
        self.house = house
        self.street = street
        self.pids = house.pids()
        self.members: dict[str, Any] = {}
        self._before: Counter[str] = Counter()

    async def begin(self) -> None:
        """Have the traffic flow, when nobody else is in the group any more."""
        self._before = await self.house.counted()
        await self.street.start()
        await self.street.flows()
        wanted = {socket.name for socket in self.street.everybody}
        await until(lambda: self.house.names() == wanted, "nobody else is in the group")
        self.members = self.house.members()

    @property
    def in_doubt(self) -> int:
        """What nobody knows the fate of, as all processes counted it."""
        return sum(self.grown[name] for name in ("inbox.in_doubt", "worker.in_doubt", "worker.lost_unstarted"))

    async def end(self, counts: Counts) -> None:
        """Stop the traffic, and count what became of it."""
        street, house = self.street, self.house
        await street.stop()
        await settle(street.everybody, house.site, house.work.children())
        counts.none("processes ended", self.pids - house.pids())
        self.grown = await house.counted() - self._before
        await self._hear(counts)

        taken = house.site.taken()
        counts.note("frames", street.frames)
        counts.note("lost", len(street.lost))
        counts.none("echoed twice", street.doubled)
        counts.note("requests", street.statuses.total())
        for status in (503, 504):
            counts.note(f"told {status}", street.statuses[status])
        counts.none("told anything else", street.statuses.keys() - {200, 500, 503, 504})
        # Whoever's answer is in doubt is sent an error behind it.
        counts.limit("told 500", street.statuses[500], 0, self.grown["worker.in_doubt"])
        counts.none("told another's text", [name for browser in street.browsers for name in browser.wrong])
        counts.note("datagrams", street.datagrams.sent)
        counts.note("answered", len(street.datagrams.echoes))
        counts.note("dropped and counted", self.grown["udp.refused_unavailable"] + self.grown["udp.refused_full"])
        for kind in ("frame", "request", "datagram"):
            mine = {what: count for what, count in taken.items() if what.startswith(f"{kind} {street.name}")}
            counts.none(f"{kind}s consumed twice", {what: count for what, count in mine.items() if count > 1})

        mails = street.mails
        answers = [line for told in mails.values() for line in told]
        counts.note("mails", len(mails))
        counts.note("told 451", sum(line.startswith("451 ") for line in answers))
        counts.none("told anything but 250 and 451", [line for line in answers if line[:4] not in ("250 ", "451 ")])
        accepted = [name for name, told in mails.items() if told[-1].startswith("250 ")]
        counts.none("told 250 and not consumed", [name for name in accepted if not taken[f"mail {name}"]])
        counts.note("consumed twice", sum(taken[f"mail {name}"] > 1 for name in mails))
        # Told 451 although it was consumed: who tells that it was may be the very Redis that is gone.
        counts.none(
            "consumed more often than sent", [name for name, told in mails.items() if taken[f"mail {name}"] > len(told)]
        )

    async def _hear(self, counts: Counts) -> None:
        """Send to the group: it is as before, but for those who closed, and each of its members hears it once."""
        everybody = self.street.everybody
        names = {socket.name for socket in everybody}
        left = {channel: info for channel, info in self.members.items() if info["name"] in names}
        await until(lambda: self.house.names() == names, "the group is as before")
        counts.note("members", len(everybody))
        now = self.house.members()
        counts.none("not as before, with their info", [info for name, info in left.items() if now.get(name) != info])
        for text in ("to all", "the end"):
            self.house.layer.send_group("all", {"text": text})
        await until(lambda: all("the end" in socket.said for socket in everybody), "the group hears")
        counts.none(
            "told by the group other than once", [each.name for each in everybody if each.said != ["to all", "the end"]]
        )

    def bear(self, counts: Counts, *, inside: Collection[str] = ()) -> None:
        """Count the frames that were lost, and whether as many as that were to be lost.

        Args:
            inside: What was under way, in Redis perhaps, when Redis lost everything.
        """
        taken, lost = self.house.site.taken(), self.street.lost
        if inside:
            counts.note("under way when Redis lost everything", len(inside))
            counts.note("lost of these", len(lost.intersection(inside)))
        before = {text for text in lost.difference(inside) if not taken[f"frame {text}"]}
        for what, frames, doubt, cut, batch in (
            ("before a consumer", before, "inbox.in_doubt", "worker.receives_cut", PREFETCH),
            ("after it", lost.difference(inside, before), "worker.in_doubt", "inbox.receives_cut", PULL),
        ):
            counts.note(doubt, self.grown[doubt])
            counts.note(cut, self.grown[cut])
            counts.limit(f"lost {what}", len(frames), 0, self.grown[doubt] + batch * self.grown[cut])


@asynccontextmanager
async def staying(house: House, name: str, pace: float = 500.0, senders: int = 3) -> AsyncIterator[Stay]:
    """Have traffic flow in the house.

    Args:
        house: The house.
        name: What all names begin with.
        pace: Frames a second.
        senders: How many send mails.
    """
    stay = Stay(house, Street(name, house, pace, senders))
    try:
        await stay.begin()
        yield stay
    finally:
        stay.street.close()
