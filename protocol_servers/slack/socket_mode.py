"""Socket Mode: what happens in a workspace comes over WebSockets that we open, so that no public address is needed.

https://docs.slack.dev/apis/events-api/using-socket-mode: each connection has an address of its own, good for one use;
Slack says before it closes one ("warning", "refresh_requested"), and sends what was not acknowledged again, on any
connection. The life of ours:

    address ─► connect ─► hello ─► envelopes ─► told to leave, or lost ─► (a new one says hello) ─► finish, close

The new connection comes first, so that there always is one to send to. An envelope is acknowledged on the connection
that it came on, and only once it was taken. While many wait for that, nothing more is read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from ...layer.backoff import Backoff
from ..traces import places_of
from .shapes import read_object
from .web_api import RateLimited, Refused, SlackCallError

Envelope = dict[str, Any]
Take = Callable[[Envelope], Awaitable[bool]]
"""Takes an envelope; returns whether it is to be acknowledged."""

_LIVED = 10.0  # seconds, after which a connection counts as one that worked
_FAREWELL = 2.0  # seconds that the other end may take to agree to closing


@dataclass(frozen=True)
class Pace:
    """Times in seconds, and bounds.

    Attributes:
        connect_timeout: For a connection, and for its first word.
        ping_interval: Between our pings; half of it is what the answer may take.
        overlap: A connection that was told to leave is still read from, after the new one is there.
        finish: What was begun on it may take.
        shortest_wait: The first ceiling of the waits between attempts to connect.
        longest_wait: The last one.
        refused_wait: After a token was refused: until a person did something about it.
        most_open: Envelopes that are being taken.
        most_bytes: Of one envelope.
    """

    connect_timeout: float = 10.0
    ping_interval: float = 10.0
    overlap: float = 1.0
    finish: float = 3.0
    shortest_wait: float = 0.5
    longest_wait: float = 30.0
    refused_wait: float = 60.0
    most_open: int = 200
    most_bytes: int = 4 * 1024 * 1024


class LinkFailed(Exception):
    """A connection could not be made; the text says why, and never where to."""


class _Link:
    """One connection.

    Attributes:
        over: Set when there has to be another one: this one was told to leave, or is lost.
        reason: Why.
        since: When it said hello.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, mode: SocketMode) -> None:
        self.over = asyncio.Event()
        self.reason = ""
        self.since = mode.clock()
        self._socket = socket
        self._mode = mode
        self._handling: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None]

    async def greet(self) -> None:
        """Wait for the first word; it may be that we are to leave.

        Raises:
            LinkFailed: It was none, or there was none in time.
        """
        try:
            frame = _read(await self._socket.receive(self._mode.pace.connect_timeout))
        except TimeoutError:
            frame = None
        if frame is None or frame.get("type") != "hello":
            await self._socket.close()
            reason = frame.get("reason") if frame is not None else None
            raise LinkFailed(_word(reason) or "it did not say hello")
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    await self._received(message)
                else:
                    break
        finally:
            self.reason = self.reason or "the connection was lost"
            self.over.set()

    async def _received(self, message: aiohttp.WSMessage) -> None:
        frame = _read(message)
        if frame is None:
            self._mode.stats["unfit_frames"] += 1
        elif isinstance(frame.get("envelope_id"), str):
            if self._mode.closing:
                return  # not acknowledged: it comes again, to whoever is there
            await self._mode.room.acquire()
            task = asyncio.ensure_future(self._handle(frame))
            self._handling.add(task)
            task.add_done_callback(self._handled)
        elif frame.get("type") == "disconnect":
            self.reason = _word(frame.get("reason")) or "told to leave"
            self.over.set()

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        self._mode.room.release()

    async def _handle(self, envelope: Envelope) -> None:
        stats = self._mode.stats
        try:
            if not await self._mode.take(envelope):
                stats["not_acknowledged"] += 1
                return
            await self._socket.send_str(json.dumps({"envelope_id": envelope["envelope_id"]}))
            stats["acknowledged"] += 1
        except (ConnectionError, RuntimeError, aiohttp.ClientError):
            stats["acknowledgements_lost"] += 1  # it comes again, and is known by then
        except Exception as error:
            stats["failures"] += 1
            self._mode.log.error("%s: an envelope failed: %s", self._mode.network, places_of(error))

    async def finish(self, seconds: float) -> None:
        """Let what was begun be done, for so many seconds, and close."""
        if self._handling:
            await asyncio.wait(self._handling, timeout=seconds)
        await self.close()

    async def close(self) -> None:
        """Close now."""
        for task in self._handling:
            task.cancel()
        await self._socket.close()
        self._reader.cancel()


class SocketMode:
    """The connections of one workspace.

    Args:
        new_address: Asks for the address of a new connection.
        take: Takes an envelope, and says whether it is to be acknowledged.
        network: The workspace's name, for the log.
        clock: Monotonic seconds.
        stats: Counts "connections", "failed_connections", "refreshed", "lost_connections", "acknowledged",
            "not_acknowledged" and others.
        log: Where people read of connections.
        pace: Times and bounds.
        proxy: The address of an HTTP proxy.
        draw: Returns a number from 0 up to 1; the source of jitter.

    Attributes:
        problem: What a person has to do something about; None where all is well.
        closing: Nothing more is taken.
        room: For envelopes that are being taken.
    """

    def __init__(
        self,
        new_address: Callable[[], Awaitable[str]],
        take: Take,
        *,
        network: str,
        clock: Callable[[], float],
        stats: Counter[str],
        log: logging.Logger,
        pace: Pace | None = None,
        proxy: str | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.take = take
        self.network = network
        self.clock = clock
        self.stats = stats
        self.log = log
        self.pace = pace or Pace()
        self.problem: str | None = None
        self.closing = False
        self.room = asyncio.Semaphore(self.pace.most_open)
        self._new_address = new_address
        self._proxy = proxy
        self._backoff = Backoff(self.pace.shortest_wait, self.pace.longest_wait, draw=draw)
        self._session: aiohttp.ClientSession
        self._links: list[_Link] = []
        self._retiring: set[asyncio.Task[None]] = set()
        self._living: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask for an address, and begin; Slack being away is no reason not to.

        Raises:
            Refused: Slack does not take the token.
        """
        address: str | None = None
        try:
            address = await self._new_address()
        except Refused:
            raise
        except SlackCallError as error:
            self.log.warning("%s: no connection yet: %s", self.network, error)
        # A ping that is not answered in time ends the connection, with whatever is being read.
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        self._living = asyncio.ensure_future(self._live(address))

    async def stop(self, grace: float) -> None:
        """Take nothing more, finish what was begun within so many seconds, and close."""
        self.closing = True
        if self._living is None:
            return
        for task in (self._living, *self._retiring):
            task.cancel()
        await asyncio.gather(self._living, *self._retiring, return_exceptions=True)
        await asyncio.gather(*(link.finish(grace) for link in self._links), return_exceptions=True)
        self._links.clear()
        await self._session.close()

    # The life

    async def _live(self, address: str | None) -> None:
        old: _Link | None = None
        while True:
            link = await self._connect(address)
            address = None
            if old is not None:
                task = asyncio.ensure_future(self._retire(old))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
            old = link
            await link.over.wait()
            self._ended(link)
            await asyncio.sleep(self._backoff.next())

    def _ended(self, link: _Link) -> None:
        if self.clock() - link.since >= _LIVED:
            self._backoff.reset()
        if link.reason in ("warning", "refresh_requested"):
            self.stats["refreshed"] += 1
            return
        self.stats["lost_connections"] += 1
        if link.reason == "link_disabled":
            self._report("Socket Mode is switched off in the app's settings")
        else:
            self.log.warning("%s: the connection ended: %s", self.network, link.reason)

    async def _connect(self, address: str | None) -> _Link:
        """Connect, however long it takes."""
        while True:
            try:
                if address is None:
                    address = await self._new_address()
                link = await self._open(address)
            except Refused as error:
                wait = self._refused(error)
            except RateLimited as error:
                wait = error.retry_after + self._backoff.next()
                self.log.warning("%s: no connection: %s", self.network, error)
            except (SlackCallError, LinkFailed) as error:
                self.stats["failed_connections"] += 1
                wait = self._backoff.next()
                self.log.warning("%s: no connection: %s; trying again in %.1f s", self.network, error, wait)
            except Exception as error:
                self.stats["failures"] += 1
                wait = self._backoff.next()
                self.log.error("%s: connecting failed: %s", self.network, places_of(error))
            else:
                self.stats["connections"] += 1
                self.problem = None
                self.log.info("%s: connected by Socket Mode", self.network)
                return link
            address = None  # it was good for one use
            await asyncio.sleep(wait)

    def _refused(self, error: Refused) -> float:
        """Say that Slack does not let us; return how long to wait."""
        self.stats["failed_connections"] += 1
        self._report(f"Slack does not take app_token: {error.error}")
        return self.pace.refused_wait

    def _report(self, problem: str) -> None:
        if self.problem != problem:
            self.problem = problem
            self.log.error("%s: %s", self.network, problem)

    async def _open(self, address: str) -> _Link:
        pace = self.pace
        try:
            async with asyncio.timeout(pace.connect_timeout):
                socket = await self._session.ws_connect(
                    address,
                    heartbeat=pace.ping_interval,
                    max_msg_size=pace.most_bytes,
                    proxy=self._proxy,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_FAREWELL),
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise LinkFailed(f"the WebSocket failed: {type(error).__name__}") from None
        link = _Link(socket, self)
        await link.greet()
        self._links.append(link)
        return link

    async def _retire(self, link: _Link) -> None:
        """Close a connection that has a successor; what is under way to it still comes."""
        await asyncio.sleep(self.pace.overlap)
        await link.finish(self.pace.finish)
        self._links.remove(link)


def _read(message: aiohttp.WSMessage) -> dict[str, Any] | None:
    """Return what a message says, if that is a JSON object."""
    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        return None
    return read_object(message.data)


def _word(text: Any) -> str | None:
    """Return Slack's word as it may stand in a log."""
    return text[:100] if isinstance(text, str) and text.isascii() and text.isprintable() else None
