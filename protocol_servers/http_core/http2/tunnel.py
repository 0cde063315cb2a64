"""A stream as the transport of a WebSocket (RFC 8441): what `WebSocket` asks of a transport, and the handshake.

A handshake over HTTP/2 has no bytes of its own, so this transport has `accept` and `refuse` beside `write`. The end
of a stream is what the end of a connection is for TCP: END_STREAM closes, a reset aborts (RFC 8441 section 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...spool import SpoolFull
from ..handler import Upgraded
from ..request import Header
from .faults import ErrorCodes
from .flow import Flow
from .responses import ResponseFields

if TYPE_CHECKING:
    from .connection import Http2Connection

LINGER = 2.0  # seconds for the client to end its side when we have ended ours


class Tunnel(Flow):
    """The transport of one WebSocket.

    Args:
        connection: whose stream it is.
        stream_id: its number.

    Attributes:
        disconnecting: it is about to close, or closed.
        tls: what comes through it came through TLS.
        upgraded: the WebSocket.
    """

    __slots__ = ("_closed", "disconnecting", "tls", "upgraded")

    def __init__(self, connection: Http2Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.upgraded: Upgraded | None = None
        self.disconnecting = False
        self.tls = connection.tls
        self._closed = False  # our side was ended

    # The handshake

    def accept(self, fields: list[Header]) -> None:
        """Answer that the client may go on, with a 200 and these fields."""
        self._connection.send_headers(self, [(b":status", b"200"), *fields], False)

    def refuse(self, status: int, headers: list[Header], content: bytes) -> None:
        """Answer with a response, and end our side."""
        response = ResponseFields(False, self._connection.date)
        fields, content = response.open(status, headers, content, False)
        self._connection.send_headers(self, fields, False)
        self._put(content, True)

    # What a WebSocket asks of its transport

    @property
    def buffered(self) -> int:
        """Bytes written that the client has not taken yet."""
        return self.left

    def write(self, data: bytes) -> None:
        """Send bytes; ignored silently once our side is closed."""
        if data:
            self._put(data, False)

    def loseConnection(self) -> None:
        """Close once everything written is out."""
        self.disconnecting = True
        self._put(b"", True)

    def loseWriteConnection(self) -> None:
        """Close our side once everything written is out, and go on reading."""
        self._put(b"", True)

    def abortConnection(self) -> None:
        """Close at once."""
        self.disconnecting = True
        self.cut()

    def pauseProducing(self) -> None:
        """Take nothing from the client; its window closes soon."""
        self.pause()

    def resumeProducing(self) -> None:
        """Take on."""
        self.resume()

    def _put(self, data: bytes, last: bool) -> None:
        if self._closed:
            return
        self._closed = last
        try:
            self.put(data, last)
        except (SpoolFull, OSError):
            self._connection.handler.stats["slow_clients_cut"] += 1
            self.cut()
            return
        if last and not self.left:
            self.sent_all()

    # What the connection calls

    def take(self, data: bytes) -> None:
        """Hand bytes to the WebSocket."""
        if self.upgraded is not None:
            self.upgraded.data_received(data)

    def all_taken(self) -> None:
        """Act on the client's end: nothing can be said to it any more, but what was said already goes out."""
        self.disconnecting = True
        if self._closed:
            self.sent_all()
        else:
            self._put(b"", True)
        self._gone()

    def sent_all(self) -> None:
        """Close the stream, or leave the client some time to do so."""
        if not self._closed or self.left:
            return
        if self.ended:
            self._connection.close(self)
        else:
            self._connection.handler.timers.set(self, LINGER)

    def lost(self) -> None:
        """Tell the WebSocket that its connection is lost."""
        super().lost()
        self._closed = self.disconnecting = True
        self._connection.handler.timers.clear(self)
        self._gone()

    def _gone(self) -> None:
        upgraded, self.upgraded = self.upgraded, None
        if upgraded is not None:
            upgraded.connection_lost()

    def fire(self) -> None:
        """Close the client's side, which it has not closed itself."""
        self.cut(ErrorCodes.NO_ERROR)

    def hurry(self) -> None:
        """Leave the end to the WebSocket, which was told that the server stops."""

    def give_up(self) -> None:
        """Leave the end to the WebSocket."""

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The WebSocket, while there is one."""
        return () if self.upgraded is None else (self.upgraded,)
