"""The connections of one server, and what they share."""

from __future__ import annotations

import asyncio

from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import implementer  # type: ignore[import-untyped]

from ..networks import Networks
from .handler import HttpHandler, Upgraded
from .head import HeadParser
from .http2 import Http2Connection
from .response import DateHeader, ResponseWriter, plain
from .stream import HttpStream


@implementer(IProtocolFactory)
class HttpFactory:
    """Makes the connections of one server.

    Args:
        handler: takes their requests.
        proxies: whose word on their clients is believed (see `forwarded`); None: nobody's.

    Attributes:
        connections: those that are open.
        date: makes the Date header.
        proxies: whose word on their clients is believed, if anybody's.
        heads: the one parser of heads.
    """

    def __init__(self, handler: HttpHandler, *, proxies: Networks | None = None) -> None:
        self.handler = handler
        self.proxies = proxies or None
        self.heads = HeadParser(handler.limits)
        self.date = DateHeader()
        self.connections: set[HttpStream | Http2Connection] = set()
        self._emptied: asyncio.Event | None = None

    def lost(self, connection: HttpStream | Http2Connection) -> None:
        """Take note that a connection has ended."""
        self.connections.discard(connection)
        if self._emptied is not None and not self.connections:
            self._emptied.set()

    async def drain(self, grace: float) -> None:
        """Take no further request on any connection, and wait until all have ended.

        Args:
            grace: seconds; after half of them nobody is lingered for and streams without a promised end are cut, after
                nine tenths whoever still waits for an answer is told that there will be none.
        """
        self._emptied = asyncio.Event()
        for act, share in (("drain", 0.5), ("hurry", 0.4), ("give_up", None)):
            for connection in list(self.connections):
                getattr(connection, act)()
            if not self.connections:
                return
            try:
                await asyncio.wait_for(self._emptied.wait(), share and grace * share)
            except TimeoutError:
                continue
            return

    @property
    def upgraded(self) -> list[Upgraded]:
        """What took connections, or streams of them, over."""
        return [upgraded for connection in self.connections for upgraded in connection.sockets]

    def proxies_of(self, client: list[str | int] | None) -> Networks | None:
        """Return the trusted proxies where one of them is at the other end of a connection.

        Args:
            client: its address and port, None on sockets without.
        """
        proxies = self.proxies
        return proxies if proxies is not None and (str(client[0]) if client else "") in proxies else None

    def too_many(self) -> bytes:
        """Return what a client is told that finds no room."""
        return ResponseWriter(False, True, False, self.date).start(*plain(503, "there are too many connections"))

    def buildProtocol(self, addr: IAddress | None) -> HttpStream:
        """Make a connection."""
        return HttpStream(self)

    def doStart(self) -> None:
        """Take note of a port that begins to listen."""

    def doStop(self) -> None:
        """Take note of a port that stops listening."""
