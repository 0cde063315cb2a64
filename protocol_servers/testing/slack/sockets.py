"""Socket Mode: addresses that are good for one connection, envelopes to one of the connections, acknowledgements.

An app opens up to ten WebSockets; each event goes to one of them. Slack closes each after some hours and says so
before: "warning", then "refresh_requested"; "link_disabled" when Socket Mode was switched off.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from .delivery import Attempt, Courier, Delivery

MOST = 10
"""As many connections as an app may have at a time."""


class SocketConnection:
    """One WebSocket of an app.

    Attributes:
        number: 1 for the workspace's first.
        leaving: It was told that it will be closed: nothing more is sent to it while there is another.
        frozen: It neither reads nor writes, nor answers pings: a black hole.
        pings: How many pings came from the app.
        sent: The envelopes that it was sent.
    """

    def __init__(self, number: int, websocket: web.WebSocketResponse, request: web.Request) -> None:
        self.number = number
        self.leaving = False
        self.frozen = False
        self.pings = 0
        self.sent: list[str] = []
        self.open_envelopes: set[str] = set()
        self._websocket = websocket
        self._transport = request.transport
        self._frames: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame after those before it."""
        self._frames.put_nowait(frame)

    def close(self) -> None:
        """Close the connection when what is to be sent is sent."""
        self._frames.put_nowait(None)

    def freeze(self) -> None:
        """Neither read nor write any more."""
        self.frozen = True

    def cut(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self, ping_interval: float) -> None:
        """Write the frames, and a ping whenever there was none for a while."""
        while True:
            try:
                frame = await asyncio.wait_for(self._frames.get(), ping_interval)
            except TimeoutError:
                if not self.frozen:
                    await self._websocket.ping(b"Ping from applink-test")
                continue
            if frame is None:
                break
            if not self.frozen:
                await self._websocket.send_str(json.dumps(frame, ensure_ascii=False))
        # The client answers a close frame; one that does not is cut off.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._websocket.close(), 5)

    async def read(self, took: Callable[[dict[str, Any]], None]) -> None:
        """Read acknowledgements until the connection ends."""
        while True:
            frame = await self._websocket.receive()
            if frame.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                return
            if self.frozen:
                continue
            if frame.type is WSMsgType.CLOSE:
                await self._websocket.close()
                return
            if frame.type is WSMsgType.TEXT:
                with suppress(ValueError):
                    content = json.loads(frame.data)
                    if isinstance(content, dict):
                        took(content)
            elif frame.type is WSMsgType.PING:
                self.pings += 1
                await self._websocket.pong(frame.data)


class Sockets:
    """The WebSockets of one workspace's app.

    Args:
        courier: Where acknowledgements and failures are reported.
        app_id: The app.
        address: Where the WebSockets are opened.
        clock: Seconds.
        make_ticket: Makes the secret part of an address.
        lifetime: Seconds that an address is good for.
        age: Seconds after which a connection is to be refreshed, and after as many more is closed; None for never.
        ping_interval: Seconds between our pings.
        locked: Calls a function with the workspace's lock held, and wakes who waits.

    Attributes:
        connections: The open ones.
        opened: How many there ever were.
        refused: How many addresses were used twice, late, or made up.
    """

    def __init__(
        self,
        courier: Courier,
        app_id: str,
        *,
        address: str,
        clock: Callable[[], float],
        make_ticket: Callable[[], str],
        lifetime: float,
        age: float | None,
        ping_interval: float,
        locked: Callable[[Callable[[], None]], None],
    ) -> None:
        self.connections: list[SocketConnection] = []
        self.opened = 0
        self.refused = 0
        self._courier = courier
        self._app_id = app_id
        self._address = address
        self._clock = clock
        self._make_ticket = make_ticket
        self._lifetime = lifetime
        self._age = age
        self._ping_interval = ping_interval
        self._locked = locked
        self._tickets: dict[str, float] = {}
        self._turn = itertools.count()

    def new_address(self) -> str:
        """Return an address for one connection."""
        ticket = self._make_ticket()
        self._tickets[ticket] = self._clock() + self._lifetime
        return f"{self._address}?ticket={ticket}&app_id={self._app_id}"

    def take_ticket(self, ticket: str) -> bool:
        """Say whether an address is good; it is not, from then on."""
        good = self._tickets.pop(ticket, float("-inf")) > self._clock()
        if not good:
            self.refused += 1
        return good

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Hold one connection until it ends."""
        websocket = web.WebSocketResponse(autoping=False, autoclose=False, max_msg_size=4 << 20)
        await websocket.prepare(request)
        connection = SocketConnection(self.opened + 1, websocket, request)
        self._locked(lambda: self._welcome(connection))
        writer = asyncio.ensure_future(connection.write(self._ping_interval))
        timers = self._grow_old(connection)
        try:
            with suppress(ConnectionError):
                await connection.read(lambda frame: self._took(connection, frame))
        finally:
            writer.cancel()
            for timer in timers:
                timer.cancel()
            self._locked(lambda: self._ended(connection))
            await asyncio.gather(writer, return_exceptions=True)
        return websocket

    def carry(self, delivery: Delivery, attempt: Attempt) -> None:
        """Send an envelope over one of the connections."""
        open_ones = [each for each in self.connections if not each.leaving] or self.connections
        if not open_ones:
            self._courier.failed(attempt.envelope_id, "connection_failed")
            return
        connection = open_ones[next(self._turn) % len(open_ones)]
        envelope: dict[str, Any] = {
            "envelope_id": attempt.envelope_id,
            "type": delivery.kind,
            "payload": delivery.payload,
            "accepts_response_payload": delivery.kind != "events_api",
        }
        if delivery.kind == "events_api":
            envelope["retry_attempt"] = len(delivery.attempts) - 1
            envelope["retry_reason"] = attempt.reason
        connection.sent.append(attempt.envelope_id)
        connection.open_envelopes.add(attempt.envelope_id)
        connection.send(envelope)
        self._courier.sent(attempt)

    def _welcome(self, connection: SocketConnection) -> None:
        self.opened += 1
        if len(self.connections) >= MOST:
            connection.send(_disconnect("too_many_websockets"))
            connection.close()
            return
        self.connections.append(connection)
        connection.send(
            {
                "type": "hello",
                "num_connections": len(self.connections),
                "debug_info": {"host": "applink-test", "build_number": 1, "approximate_connection_time": 18060},
                "connection_info": {"app_id": self._app_id},
            }
        )

    def _grow_old(self, connection: SocketConnection) -> list[asyncio.TimerHandle]:
        if self._age is None:
            return []
        loop = asyncio.get_running_loop()
        refresh = loop.call_later(self._age, self._locked, lambda: _announce(connection, "refresh_requested"))
        return [refresh, loop.call_later(2 * self._age, connection.close)]

    def _took(self, connection: SocketConnection, frame: dict[str, Any]) -> None:
        envelope_id = frame.get("envelope_id")
        if isinstance(envelope_id, str):
            connection.open_envelopes.discard(envelope_id)
        self._locked(lambda: self._courier.acknowledge(envelope_id, frame.get("payload")))

    def _ended(self, connection: SocketConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        for envelope_id in connection.open_envelopes:
            self._courier.failed(envelope_id, "connection_failed")

    def disconnect(self, reason: str) -> None:
        """Tell every connection that it will be closed; with "link_disabled" it is, at once."""
        for connection in self.connections:
            _announce(connection, reason)
            if reason == "link_disabled":
                connection.close()


def _announce(connection: SocketConnection, reason: str) -> None:
    connection.leaving = True
    connection.send(_disconnect(reason))


def _disconnect(reason: str) -> dict[str, Any]:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-test"}}
