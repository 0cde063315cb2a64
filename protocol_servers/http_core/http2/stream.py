"""One request over HTTP/2 and its response: what an `Exchange` answers by.

The request goes to the handler as from HTTP/1, the body at the pace of the exchange. A response that ends before the
body did makes the rest of the body pointless: the client is told so by a reset without an error (RFC 9113, 8.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...spool import SpoolFull
from ..handler import CLIENT_LEFT, Exchange
from ..pace import BodyPace
from ..request import BadRequest, Header, Request
from ..response import plain
from .faults import ErrorCodes
from .flow import Flow
from .responses import ResponseFields

if TYPE_CHECKING:
    from .connection import Http2Connection

_CONTINUE: list[Header] = [(b":status", b"100")]


class Http2Stream(Flow):
    """A request and its response.

    Args:
        connection: whose stream it is.
        stream_id: its number.
    """

    __slots__ = ("_began", "_broken", "_exchange", "_left_before", "_pace", "_request", "_response", "_size", "_waiter")

    def __init__(self, connection: Http2Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._request: Request | None = None
        self._response: ResponseFields | None = None  # until all of it was written
        self._exchange: Exchange | None = None
        self._pace: BodyPace | None = None  # until the body was read
        self._size = 0  # bytes of the body
        self._began = connection.handler.clock()
        self._broken = False
        self._left_before = 0
        self._waiter: Callable[[], None] | None = None

    # The request

    def begin(self, request: Request) -> None:
        """Hand a request to the handler; where no body follows, `ended` is set already and `end` called next."""
        handler = self._connection.handler
        self._request = request
        self._response = ResponseFields(request.method == "HEAD", self._connection.date)
        if not self.ended:
            self._pace = BodyPace(handler.limits, self._began)
            handler.timers.set(self, handler.limits.body_timeout)
        exchange = handler.begin(request, self)
        if self._response is not None:  # else it was answered, or cut, within
            self._exchange = exchange
        if request.expects_continue and self._response is not None and not self._response.status:
            self._connection.engine.send_headers(self.stream_id, _CONTINUE, False)

    def refuse(self, fault: BadRequest, *, head_only: bool = False) -> None:
        """Answer what cannot be handed on, or not to its end."""
        self._connection.handler.stats["bad_requests"] += 1
        if self._response is None:
            self._response = ResponseFields(head_only, self._connection.date)
        self._answer_instead(self._response, fault.status, fault.reason)

    def received(self, data: bytes, size: int) -> None:
        """Take a piece of the body."""
        pace = self._pace
        if pace is None:  # it was answered already
            self._connection.taken(self, size)
            return
        pace.received(len(data), self._connection.handler.clock())
        self._size += len(data)
        limit = self._connection.handler.limits.max_body
        if self._size > limit:
            self._connection.taken(self, size)
            self.refuse(BadRequest(413, f"the body is over {limit} bytes"))
            return
        super().received(data, size)

    def take(self, data: bytes) -> None:
        """Hand a piece of the body to the exchange."""
        if self._exchange is not None:
            self._exchange.body(data)

    def end(self) -> None:
        """Take note that the client has sent the whole request."""
        self._pace = None
        if self._response is not None:
            self._connection.handler.timers.clear(self)
        super().end()

    def all_taken(self) -> None:
        """Tell the exchange that it has the whole request."""
        if self._exchange is not None:
            self._exchange.end()

    def pause_body(self) -> None:
        """Hand no more of the body to the exchange; the client's window closes soon."""
        self.pause()
        if self._pace is not None:
            self._pace.pause(self._connection.handler.clock())

    def resume_body(self) -> None:
        """Hand on the body again."""
        if self._pace is not None and self._paused:
            self._pace.resume(self._connection.handler.clock())
        self.resume()

    # The response

    def start(self, status: Any, headers: Any = (), content: Any = b"", more: Any = False) -> bool:
        """Begin the response; see `ResponseStream.start`."""
        response = self._response
        assert response is not None
        fields, content = response.open(status, headers, content, more)
        at_once = response.ended and not content and not response.broken
        self._connection.send_headers(self, fields, at_once)
        if at_once:
            self._over(response)
            return True
        return self._send(response, content)

    def write(self, content: Any, more: Any = False) -> bool:
        """Write further content; see `ResponseStream.write`."""
        response = self._response
        assert response is not None
        return self._send(response, response.write(content, more))

    def _send(self, response: ResponseFields, content: bytes) -> bool:
        try:
            self.put(content, response.ended and not response.broken)
        except (SpoolFull, OSError):
            self._connection.handler.stats["slow_clients_cut"] += 1
            self.cut()
            return True
        if response.ended and self._response is response:
            self._over(response)
        return response.ended

    def _over(self, response: ResponseFields) -> None:
        """Take note that all of the response was written, though perhaps not sent."""
        connection = self._connection
        self._log(response.status)
        self._request = self._response = self._exchange = self._pace = None
        self.drop_held()
        if response.broken:
            connection.handler.stats["broken_promises"] += 1
            self._broken = True
        if self.left:
            self._left_before = self.left
            connection.handler.timers.set(self, connection.handler.limits.idle_timeout)
        else:
            self.sent_all()

    def when_taken(self, call: Callable[[], None]) -> None:
        """Call when the client has room for more; see `ResponseStream.when_taken`."""
        if self.left:
            self._waiter = call
        else:
            self._connection.handler.call_soon(call)

    def sent_all(self) -> None:
        """Close the stream when the response is out."""
        if self._response is not None:
            waiter, self._waiter = self._waiter, None
            if waiter is not None:
                self._connection.handler.call_soon(waiter)
            return
        if self._broken:
            self.cut(ErrorCodes.INTERNAL_ERROR)
        elif self.ended:
            self._connection.close(self)
        else:
            self.cut(ErrorCodes.NO_ERROR)

    # The end

    def _answer_instead(self, response: ResponseFields, status: int, reason: str) -> None:
        """Answer in the exchange's place; where its answer has begun, cut it off."""
        if response.status:
            self.cut()
            return
        exchange, self._exchange = self._exchange, None
        self.start(*plain(status, reason))
        if exchange is not None:
            exchange.lost()

    def lost(self) -> None:
        """Tell the exchange, if there is one, that nothing can be answered any more."""
        super().lost()
        self._connection.handler.timers.clear(self)
        if self._response is not None:
            self._log(self._response.status or CLIENT_LEFT)
        exchange = self._exchange
        self._request = self._response = self._exchange = self._pace = None
        if exchange is not None:
            exchange.lost()

    def cut(self, code: ErrorCodes | None = None) -> None:
        """Reset the stream; without a code the one that says it is our fault if the answer had begun."""
        if code is None:
            code = ErrorCodes.INTERNAL_ERROR if self._response is not None else ErrorCodes.CANCEL
        super().cut(code)

    def hurry(self) -> None:
        """Cut a response of unknown length."""
        if self._response is not None and self._response.endless:
            self._connection.handler.stats["cut_by_stop"] += 1
            self.cut()

    def give_up(self) -> None:
        """Tell a client that its request will not be answered any more."""
        if self._response is not None and not self._response.status:
            self._connection.handler.stats["cut_by_stop"] += 1
            self._answer_instead(self._response, 503, "the server is stopping")

    def fire(self) -> None:
        """Act on the stream's deadline: for the body, or for the client to take the rest of the response."""
        connection = self._connection
        timers, limits = connection.handler.timers, connection.handler.limits
        if self._pace is not None:
            left = self._pace.left(connection.handler.clock())
            if left > 0:
                timers.set(self, left)
            else:
                self.refuse(BadRequest(408, "the body came too slowly"))
        elif self._response is None:
            if self.left < self._left_before:
                self._left_before = self.left
                timers.set(self, limits.idle_timeout)
            else:
                connection.handler.stats["slow_clients_cut"] += 1
                self.cut(ErrorCodes.CANCEL)

    def _log(self, status: int) -> None:
        size = 0 if self._response is None else self._response.size
        connection, request = self._connection, self._request
        client = connection.client_name if request is None else request.client_name
        connection.handler.answered(request, client, status, size, self._began)

    @property
    def sockets(self) -> Sequence[Any]:
        """No WebSocket is on this stream."""
        return ()
