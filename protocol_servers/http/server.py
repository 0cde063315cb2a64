"""The HTTP server: requests and WebSockets of one process, on the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from ...layer import Layer
from ..base import Connection, Message, ProtocolServer, Refusal
from ..http_core import BadResponse, HttpFactory, HttpLimits, Request, ResponseStream
from .access_log import AccessLog
from .exchange import Exchange
from .files import Folders
from .output import standard_output
from .settings import HttpSettings
from .static import StaticExchange
from .websocket import WebSocket, broadcast, close_all

ALPN = ("h2", "http/1.1")


class HttpServer(ProtocolServer):
    """Serve HTTP/1.0, HTTP/1.1, HTTP/2 and WebSockets from consumers on the bus."""

    name = "http"
    extra = "http"
    Settings = HttpSettings
    settings: HttpSettings

    def __init__(
        self, layer: Layer, settings: HttpSettings, *, reactor: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(layer, settings, reactor=reactor, clock=clock)
        self.limits: HttpLimits = settings
        self.call_soon = self.loop.call_soon
        self.factory = HttpFactory(self, proxies=settings.proxies)
        self.folders = Folders(settings.static)
        self._is_static = self.folders.serves if settings.static else None
        self._access: AccessLog | None = None
        if settings.access_log != "off":
            write = standard_output(self.timers.call_later, self.stats)
            self._access = AccessLog(settings.access_log, self.call_soon, write)

    async def listen(self) -> None:
        """Listen on the endpoints of the settings."""
        await self.listen_on(self.settings.endpoints, self.factory, "http", protocols=ALPN)

    async def drain(self, grace: float) -> None:
        """Answer what was asked, send WebSockets away, and wait until every connection has ended."""
        sockets = cast("list[WebSocket]", self.factory.upgraded)
        draining = asyncio.ensure_future(self.factory.drain(grace))
        try:
            await close_all(sockets, grace)
            await draining
        finally:
            draining.cancel()

    # What the HTTP core asks

    def begin(self, request: Request, stream: ResponseStream) -> Exchange | StaticExchange:
        """Take a request."""
        if self._is_static is not None and self._is_static(request.path):
            return StaticExchange(self, request, stream)
        return Exchange(self, request, stream)

    def upgrade(self, request: Request, transport: Any) -> WebSocket:
        """Let a WebSocket take a connection over."""
        return WebSocket(self, request, transport)

    def answered(self, request: Request | None, client: str, status: int, size: int, began: float) -> None:
        """Note a response in the access log."""
        if self._access is not None:
            self._access.add(request, client, status, size, self.clock() - began)

    # What the bus brings: a connection's state is an Exchange or a WebSocket

    def deliver(self, connection: Connection, message: Message) -> None:
        """Answer a request, or a WebSocket."""
        try:
            connection.state.deliver(message)
        except BadResponse as error:
            connection.state.misunderstood(error)

    def deliver_group(self, connections: Sequence[Connection], message: Message) -> None:
        """Give a group's message to its WebSockets, its frame built once, and to its long polls."""
        sockets = []
        for connection in connections:
            state = connection.state
            if type(state) is WebSocket:
                sockets.append(state)
                continue
            try:
                state.deliver_group(message)
            except Exception:
                self.failed(connection)
        broadcast(sockets, message)

    def refuse(self, connection: Connection, refusal: Refusal) -> None:
        """Tell a client that the layer did not take its message."""
        connection.state.refuse(refusal)

    def timed_out(self, connection: Connection) -> None:
        """Tell a client that no answer came in time."""
        connection.state.timed_out()

    def credited(self, connection: Connection, channel: str, count: int) -> None:
        """Send a body on."""
        connection.state.credited(count)
