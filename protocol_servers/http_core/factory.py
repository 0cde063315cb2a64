"""The connections of one server, and what they share."""

from __future__ import annotations

import asyncio

from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import implementer  # type: ignore[import-untyped]

from .handler import HttpHandler
from .head import HeadParser
from .response import DateHeader
from .stream import HttpStream


@implementer(IProtocolFactory)
class HttpFactory:
    """Makes the connections of one server.

    Args:
        handler: takes their requests.

    Attributes:
        connections: those that are open.
        date: makes the Date header.
        heads: the one parser of heads.
    """

    def __init__(self, handler: HttpHandler) -> None:
        self.handler = handler
        self.heads = HeadParser(handler.limits)
        self.date = DateHeader()
        self.connections: set[HttpStream] = set()
        self._emptied: asyncio.Event | None = None

    def lost(self, stream: HttpStream) -> None:
        """Take note that a connection has ended."""
        self.connections.discard(stream)
        if self._emptied is not None and not self.connections:
            self._emptied.set()

    async def drain(self, patience: float) -> None:
        """Take no further request on any connection, and wait until all have ended.

        Args:
            patience: seconds after which streams without a promised end are cut, and nobody is lingered for.
        """
        self._emptied = asyncio.Event()
        for stream in list(self.connections):
            stream.drain()
        if self.connections:
            try:
                await asyncio.wait_for(self._emptied.wait(), patience)
            except TimeoutError:
                for stream in list(self.connections):
                    stream.hurry()
                await self._emptied.wait()

    def buildProtocol(self, addr: IAddress | None) -> HttpStream:
        """Make a connection."""
        return HttpStream(self)

    def doStart(self) -> None:
        """Take note of a port that begins to listen."""

    def doStop(self) -> None:
        """Take note of a port that stops listening."""
