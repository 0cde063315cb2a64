"""One HTTP/1 connection as a Twisted protocol: reads requests, hands them to a handler, writes its answers in order.

One request at a time is in a handler's hands. What a client sends ahead waits unread, in a bounded buffer and then
in the client's own: so answers need no queue, and a pipelined request cannot overtake the one whose outcome it may
depend on (RFC 9112 section 9.3.2). The phases of a connection:

    IDLE ─► HEAD ─► BODY ─► ANSWER ─► FLUSH ─► IDLE     a request; what takes no time is skipped
      └───────┴──────┴───────┴─────────┴───► CLOSING    the client may still read, what it sends is dropped
    and at the end GONE, or UPGRADED while another protocol has the connection: a WebSocket, or HTTP/2
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol
from zope.interface import implementer  # type: ignore[import-untyped]

from ..spool import SpoolFull
from ..timers import Timer
from .forwarded import believe
from .handler import CLIENT_LEFT, Exchange, Upgraded
from .head import Http2Preface, NotHttp
from .http2 import PREFACE, Http2Connection
from .outflow import Outflow
from .pace import BodyPace
from .reader import RequestReader
from .request import BadRequest, Request
from .response import CONTINUE, ResponseWriter, plain

if TYPE_CHECKING:
    from .factory import HttpFactory

READ_AHEAD = 65536  # bytes that may wait unread while a request is being answered
PIECES = 4  # of a body, or requests answered at once, that are read in one turn of the loop; then others come first
LINGER = 2.0  # seconds that a client gets to read a refusal before the connection is closed (RFC 9112 section 9.6)


class _Phase(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWER = enum.auto()
    FLUSH = enum.auto()
    CLOSING = enum.auto()
    UPGRADED = enum.auto()
    GONE = enum.auto()


# Names of the module: looking a member up in its class costs several times as much.
_IDLE, _HEAD, _BODY, _ANSWER, _FLUSH, _CLOSING, _UPGRADED, _GONE = _Phase


@implementer(IProtocol)
class HttpStream(Timer):
    """One connection: the protocol to Twisted, and what an `Exchange` answers by.

    Args:
        factory: what it shares with the others.
    """

    __slots__ = (
        "_advancing",
        "_began",
        "_client",
        "_client_name",
        "_closing",
        "_draining",
        "_exchange",
        "_factory",
        "_handler",
        "_idle_until",
        "_left_before",
        "_linger",
        "_out",
        "_pace",
        "_phase",
        "_proxies",
        "_reader",
        "_reading",
        "_request",
        "_response",
        "_scheme",
        "_server",
        "_upgraded",
        "_waiter",
        "transport",
    )

    def __init__(self, factory: HttpFactory) -> None:
        super().__init__()
        self._factory = factory
        self._handler = factory.handler
        self._reader = RequestReader(factory.handler.limits, factory.heads)
        self._phase = _IDLE
        self._advancing = False  # being read on, or about to be in the next turn of the loop
        self._closing = False  # no further request after the current one
        self._linger = False  # bytes may be on their way that nobody will read
        self._reading = True
        self._request: Request | None = None
        self._response: ResponseWriter | None = None
        self._exchange: Exchange | None = None
        self._pace: BodyPace | None = None
        self._upgraded: Upgraded | None = None
        self._began = 0.0
        self._idle_until = 0.0
        self._left_before = 0
        self._waiter: Callable[[], None] | None = None
        self.transport: Any = None

    # What Twisted calls

    def makeConnection(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        peer, host = transport.getPeer(), transport.getHost()
        self._client = [peer.host, peer.port] if hasattr(peer, "port") else None
        self._client_name = str(self._client[0]) if self._client is not None else "-"
        self._server = [host.host, host.port] if hasattr(host, "port") else None
        self._scheme = "https" if transport.tls else "http"
        self._proxies = self._factory.proxies_of(self._client)
        self._out = Outflow(transport, self._drained)
        self._factory.connections.add(self)
        if transport.negotiated_protocol == "h2":
            self._become_http2(b"")
        else:
            self._idle()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        phase = self._phase
        if phase is _IDLE:
            request = self._reader.recall_head(data)
            if request is not None:  # as of nearly all but the first of a client
                self._begin(request)
                return
        elif phase is _UPGRADED:
            self._upgraded.data_received(data)  # type: ignore[union-attr]
            return
        if phase is _CLOSING or phase is _GONE:
            return
        self._reader.feed(data)
        if phase is _BODY:
            self._pace.received(len(data), self._handler.clock())  # type: ignore[union-attr]
        self._advance()

    def connectionLost(self, reason: Any = None) -> None:
        """Take note that the client is gone."""
        self._phase = _GONE
        self._handler.timers.clear(self)
        self._factory.lost(self)
        self._out.close()
        self._drop_exchange()
        upgraded, self._upgraded = self._upgraded, None
        if upgraded is not None:
            upgraded.connection_lost()

    # Reading

    def _advance(self) -> None:
        """Go on with what was read, as far as it may go now."""
        if self._advancing:
            return
        self._advancing = True
        pieces = 0
        try:
            while pieces < PIECES and self._step():
                pieces += self._phase is _BODY or self._phase is _IDLE
        except Http2Preface as fault:
            if self._began:
                self._refuse(fault)
            else:
                # The head that was read is the first part of the preface, and what follows the second.
                self._become_http2(PREFACE[: PREFACE.find(b"SM")] + self._reader.take())
        except NotHttp as fault:
            if self._began:
                self._refuse(fault)
            else:
                # An invalid preface of HTTP/2, for one: no answer in HTTP/1 would be read (RFC 9113 section 3.4).
                self._handler.stats["bad_requests"] += 1
                self._close()
        except BadRequest as fault:
            self._refuse(fault)
        finally:
            self._advancing = due = pieces == PIECES
        if due:
            self._handler.call_soon(self._go_on)
        phase = self._phase
        if phase is not _UPGRADED:
            on = not due and (self._reader.waiting <= READ_AHEAD or not self._held)
            if on is not self._reading:
                self._read(on)

    def _go_on(self) -> None:
        """Advance in a new turn of the loop."""
        self._advancing = False
        if self._phase is not _CLOSING and self._phase is not _GONE:
            self._advance()

    def _step(self) -> bool:
        """Read one head or one piece of a body; False when there is nothing to read or it may not be read yet."""
        phase = self._phase
        if phase is _IDLE or phase is _HEAD:
            request = self._reader.read_head()
            if request is not None:
                self._begin(request)
                return self._phase is not _ANSWER  # as nearly always: nothing is read before it is there
            if phase is _IDLE and self._reader.waiting:
                self._phase = _HEAD
                self._handler.timers.set(self, self._handler.limits.head_timeout)
            return False
        if phase is _BODY and not self._pace.paused:  # type: ignore[union-attr]
            piece = self._reader.read_body()
            exchange = self._exchange
            if piece:
                exchange.body(piece)  # type: ignore[union-attr]
            if self._exchange is exchange and not self._reader.in_body:
                self._phase = _ANSWER
                self._pace = None
                exchange.end()  # type: ignore[union-attr]
                return True
            return bool(piece)
        return False

    def _begin(self, request: Request) -> None:
        handler = self._handler
        request.client = self._client
        request.server = self._server
        request.scheme = self._scheme
        if self._proxies is not None:
            believe(request, self._proxies)
        self._began = handler.clock()
        if request.upgrade and self._upgrade(request):
            return
        self._request = request
        self._response = ResponseWriter(
            request.method == "HEAD", request.http_version == "1.1", request.keep_alive, self._factory.date
        )
        self._phase = _ANSWER
        exchange = self._exchange = handler.begin(request, self)
        if request.length == 0:
            exchange.end()
            return
        self._phase = _BODY
        self._pace = BodyPace(handler.limits, self._began)
        self._pace.received(self._reader.waiting, self._began)
        handler.timers.set(self, handler.limits.body_timeout)
        if request.expects_continue and not self._reader.waiting:
            self.transport.write(CONTINUE)

    def _upgrade(self, request: Request) -> bool:
        self._out.close()
        self._read(True)  # from now on reading is its business
        upgraded = self._handler.upgrade(request, self.transport)
        if upgraded is None:
            self._out = Outflow(self.transport, self._drained)
            return False
        self._phase = _UPGRADED
        self._upgraded = upgraded
        self._handler.timers.clear(self)
        rest = self._reader.take()
        if rest:
            upgraded.data_received(rest)
        return True

    def _become_http2(self, data: bytes) -> None:
        """Leave the connection to HTTP/2: agreed on with TLS, or known beforehand (RFC 9113 section 3)."""
        self._out.close()
        self._phase = _UPGRADED
        self._handler.timers.clear(self)
        connection = Http2Connection(
            self._factory,
            self.transport,
            client=self._client,
            client_name=self._client_name,
            server=self._server,
            scheme=self._scheme,
        )
        self._upgraded = connection
        self._factory.connections.add(connection)
        self._factory.connections.discard(self)
        connection.begin()
        if data:
            connection.data_received(data)

    @property
    def _held(self) -> bool:
        """Tell whether what was read has to wait."""
        phase = self._phase
        return phase is _ANSWER or phase is _FLUSH or (phase is _BODY and self._pace.paused)  # type: ignore[union-attr]

    def _read(self, on: bool) -> None:
        if on is not self._reading:
            self._reading = on
            if on:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def pause_body(self) -> None:
        """Hand no more of the body to the exchange, and stop reading soon."""
        if self._pace is not None:
            self._pace.pause(self._handler.clock())

    def resume_body(self) -> None:
        """Hand on the body again."""
        if self._pace is not None and self._pace.paused:
            self._pace.resume(self._handler.clock())
            self._advance()

    # Writing

    def start(self, status: Any, headers: Any = (), content: Any = b"", more: Any = False) -> bool:
        """Begin the response; see `ResponseStream.start`."""
        response = self._response
        assert response is not None
        if self._closing or self._phase is _BODY:
            # A body that nobody wants any more cannot be told from the next request: RFC 9112 section 9.3.
            response.keep_alive = False
        return self._send(response, response.start(status, headers, content, more))

    def write(self, content: Any, more: Any = False) -> bool:
        """Write further content; see `ResponseStream.write`."""
        response = self._response
        assert response is not None
        return self._send(response, response.write(content, more))

    def cut(self) -> None:
        """Close the connection at once, in the middle of whatever it was doing."""
        self._drop_exchange()
        self._phase = _CLOSING
        self.transport.abortConnection()

    def _send(self, response: ResponseWriter, data: bytes) -> bool:
        try:
            self._out.write(data)
        except (SpoolFull, OSError):
            self._handler.stats["slow_clients_cut"] += 1
            self.cut()
            return True
        if not response.ended:
            return False
        if response.broken:
            self._handler.stats["broken_promises"] += 1
        if not response.keep_alive or response.broken:
            self._closing = True
            self._linger = self._reader.in_body
        self._log(response.status)
        self._request = self._response = self._exchange = self._pace = None
        self._flush()
        return True

    def _flush(self) -> None:
        """Go on after a response as soon as it is out: with the next request, or with the connection's end."""
        if self._out.spool is not None:
            self._phase = _FLUSH
            self._left_before = self._out.left
            self._handler.timers.set(self, self._handler.limits.idle_timeout)
        elif self._closing:
            self._close()
            return
        else:
            self._phase = _IDLE
            self._idle()
            if self._reader.buffer:
                self._advance()

    def _idle(self) -> None:
        """Let the time of idleness begin. A timer that is set for earlier looks again: most requests move none."""
        handler = self._handler
        idle = handler.limits.idle_timeout
        self._idle_until = until = handler.clock() + idle
        if self._slot is None or self.deadline > until:
            handler.timers.set(self, idle)

    @property
    def left(self) -> int:
        """Count the bytes that the client has not taken; see `ResponseStream.left`."""
        return self._out.left

    def when_taken(self, call: Callable[[], None]) -> None:
        """Call when the client has room for more; see `ResponseStream.when_taken`."""
        if self._out.spool is not None:
            self._waiter = call
        else:
            self._handler.call_soon(call)

    def _drained(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._handler.call_soon(waiter)
        if self._phase is _FLUSH:
            self._flush()

    # Ending

    def _refuse(self, fault: BadRequest) -> None:
        """Answer what cannot be read on; whatever follows it on this connection has no meaning."""
        self._handler.stats["bad_requests"] += 1
        self._linger = True
        self._answer_instead(fault.status, fault.reason)

    def _answer_instead(self, status: int, reason: str) -> None:
        """Answer in the exchange's place, as the last on this connection; where its answer has begun, cut it off."""
        response = self._response or ResponseWriter(False, True, False, self._factory.date)
        if response.status:
            self.cut()
            return
        response.keep_alive = False
        data = response.start(*plain(status, reason))
        self._response = response
        self._drop_exchange()
        self._out.write(data)
        self._closing = True
        self._flush()

    def _drop_exchange(self) -> None:
        """Tell the exchange, if there is one, that nothing can be answered any more."""
        if self._response is not None:
            self._log(self._response.status or CLIENT_LEFT)
        exchange = self._exchange
        self._request = self._response = self._exchange = self._pace = None
        if exchange is not None:
            exchange.lost()

    def _close(self) -> None:
        """Close when everything is out; with bytes still coming in, not before the client could read the answer."""
        self._phase = _CLOSING
        self._out.close()
        if self._linger or self._reader.waiting:
            self._read(True)
            self.transport.loseWriteConnection()
            self._handler.timers.set(self, LINGER)
        else:
            self.transport.loseConnection()

    def drain(self) -> None:
        """Take no further request; close as soon as the current one is answered."""
        self._closing = True
        if self._phase is _IDLE:
            self._close()

    def hurry(self) -> None:
        """Cut what would not end by itself in a known time: a stream of unknown length, a client that lingers."""
        response = self._response
        if self._phase is _CLOSING or self._phase is _HEAD or (response is not None and response.endless):
            self._handler.stats["cut_by_stop"] += 1
            self.cut()

    def give_up(self) -> None:
        """Tell a client that its request will not be answered any more."""
        response = self._response
        if response is not None and not response.status:
            self._handler.stats["cut_by_stop"] += 1
            self._linger = self._reader.in_body
            self._answer_instead(503, "the server is stopping")

    @property
    def sockets(self) -> tuple[Upgraded, ...]:
        """What took this connection over, if anything did."""
        return () if self._upgraded is None else (self._upgraded,)

    def fire(self) -> None:
        """Act on the connection's deadline."""
        phase = self._phase
        limits = self._handler.limits
        if phase is _HEAD:
            self._refuse(BadRequest(408, f"the head did not come within {limits.head_timeout:g} s"))
        elif phase is _BODY and self._pace is not None:
            left = self._pace.left(self._handler.clock())
            if left > 0:
                self._handler.timers.set(self, left)
            else:
                self._refuse(BadRequest(408, "the body came too slowly"))
        elif phase is _FLUSH:
            left_now = self._out.left
            if left_now < self._left_before:
                self._left_before = left_now
                self._handler.timers.set(self, limits.idle_timeout)
            else:
                self._handler.stats["slow_clients_cut"] += 1
                self.cut()
        elif phase is _IDLE and (left := self._idle_until - self._handler.clock()) > 0:
            self._handler.timers.set(self, left)
        elif phase is _IDLE or phase is _CLOSING:
            self._phase = _CLOSING
            self._out.close()
            self.transport.loseConnection()

    def _log(self, status: int) -> None:
        size = 0 if self._response is None else self._response.size
        request = self._request
        client = self._client_name if request is None or self._proxies is None else request.client_name
        self._handler.answered(request, client, status, size, self._began)
