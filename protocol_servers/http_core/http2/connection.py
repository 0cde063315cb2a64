"""One HTTP/2 connection on a Twisted transport: its streams, its deadlines and its end.

    OPEN ─► LEAVING ─► LAST ─► CLOSING ─► GONE
              │         └ GOAWAY with the last stream that is served; when those are done, the connection closes
              └ GOAWAY with the highest number there is: the client opens no more, what is on its way still counts
                (RFC 9113 section 6.8); after a round trip the second GOAWAY follows

While the client does not take what was written, nothing is read from it either: so neither answers nor the replies to
its frames can pile up.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer  # type: ignore[import-untyped]

from ..forwarded import believe
from ..handler import Upgraded
from ..request import BadRequest
from .engine import GoAway
from .faults import ConnectionFault, ErrorCodes, Malformed
from .flow import Flow
from .opening import LAST_ID, MAX_STREAMS
from .requests import check_trailers, read_request
from .stream import Http2Stream
from .tunnel import Tunnel
from .turns import Turns

if TYPE_CHECKING:
    from ..factory import HttpFactory

FRAMES = 64  # that are read in one turn of the loop; then other connections come first
KEEP_ALIVE = 30.0  # seconds that a client with open streams may be silent before it is asked for a sign of life
PATIENCE = 20.0  # seconds for that sign
LAST_CALL = 1.0  # seconds for the round trip between the two GOAWAYs
LINGER = 1.0  # seconds that a client must be silent before a connection that has ended is closed
MOST_LINGER = 5.0  # seconds after which it is closed anyhow


class _Phase(enum.Enum):
    OPEN = enum.auto()
    LEAVING = enum.auto()
    LAST = enum.auto()
    CLOSING = enum.auto()
    GONE = enum.auto()


_OPEN, _LEAVING, _LAST, _CLOSING, _GONE = _Phase
_ENDED = (_CLOSING, _GONE)


@implementer(IPushProducer)
class Http2Connection(Turns):
    """One connection.

    Args:
        factory: what it shares with the others.
        transport: where its bytes come from and go to.
        client: address and port of the other end, None on sockets without.
        client_name: the client's address, "-" on sockets without.
        server: address and port of our end, None on sockets without.
        scheme: "http" or "https".

    Attributes:
        client_name: the client's address.
        date: makes the Date header.
        tls: whether it came through TLS.
    """

    __slots__ = (
        "_client",
        "_client_is_leaving",
        "_ended_at",
        "_factory",
        "_flows",
        "_head_since",
        "_heard",
        "_left_before",
        "_passed",
        "_phase",
        "_pinged",
        "_proxies",
        "_scheme",
        "_server",
        "_stalled",
        "client_name",
        "date",
    )

    def __init__(
        self,
        factory: HttpFactory,
        transport: Any,
        *,
        client: list[str | int] | None,
        client_name: str,
        server: list[str | int] | None,
        scheme: str,
    ) -> None:
        super().__init__(factory.handler, transport)
        self._factory = factory
        self._client = client
        self._server = server
        self._scheme = scheme
        self._proxies = factory.proxies_of(client)
        self.client_name = client_name
        self.date = factory.date
        self._phase = _OPEN
        self._flows: dict[int, Http2Stream | Tunnel] = {}
        self._stalled = False  # what was read waits for the next turn
        self._left_before = 0
        self._client_is_leaving = False
        self._ended_at = 0.0
        self._heard = self.handler.clock()
        self._head_since: float | None = self._heard
        self._passed = 0  # what of the engine's when the head began
        self._pinged: float | None = None

    @property
    def tls(self) -> bool:
        """Tell whether it came through TLS."""
        return self._scheme == "https"

    @property
    def sockets(self) -> list[Upgraded]:
        """The WebSockets on its streams."""
        return [socket for flow in self._flows.values() for socket in flow.sockets]

    # What the transport calls

    def begin(self) -> None:
        """Greet the client."""
        self._transport.registerProducer(self, True)
        self.handler.timers.set(self, self.handler.limits.head_timeout)
        self._write()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._heard = self.handler.clock()
        if self._phase in _ENDED:
            return
        self.engine.feed(data)
        if not self._stalled:
            self._advance()

    def connection_lost(self) -> None:
        """Take note that the client is gone."""
        self._phase = _GONE
        self.handler.timers.clear(self)
        self._factory.lost(self)
        self._lose_streams()

    def pauseProducing(self) -> None:
        """Stop writing, and reading (the transport calls this)."""
        if not self._paused:
            self._paused = True
            self._left_before = self._transport.buffered
            self._transport.pauseProducing()
            self.handler.timers.set(self, self.handler.limits.idle_timeout)

    def resumeProducing(self) -> None:
        """Write and read on (the transport calls this)."""
        self._paused = False
        if self._phase not in _ENDED:
            self._flush()
            self._read()

    def stopProducing(self) -> None:
        """Take note that the connection is lost; `connection_lost` follows."""
        self._paused = True

    def _read(self) -> None:
        if not self._paused and not self._stalled:
            self._transport.resumeProducing()

    # Reading

    def _advance(self) -> None:
        """Go on with what was read, as far as it goes in one turn of the loop."""
        self._due = True  # we write when done
        try:
            for _ in range(FRAMES):
                events = self.engine.step()
                if events is None:
                    break
                for event in events:
                    act = _ACTS.get(type(event))
                    if act is not None:
                        act(self, event)
                if self._phase in _ENDED:
                    return
            else:
                self._stalled = True
                self._transport.pauseProducing()
                self.handler.call_soon(self._go_on)
        except ConnectionFault as fault:
            self._fail(fault)
            return
        self._watch_head()
        self._flush()

    def _go_on(self) -> None:
        """Advance in a new turn of the loop."""
        self._stalled = False
        if self._phase not in _ENDED:
            self._advance()
            if self._phase not in _ENDED:
                self._read()

    def _watch_head(self) -> None:
        """Take note of a head that has begun, or ended."""
        if not self.engine.in_head:
            if self._head_since is not None:
                self._head_since = None
                self.handler.timers.set(self, self._rest)
        elif self._head_since is None or self._passed != self.engine.passed:
            self._head_since = self._heard
            self._passed = self.engine.passed
            self.handler.timers.set(self, self.handler.limits.head_timeout)

    def _on_request(self, event: RequestReceived) -> None:
        engine, handler = self.engine, self.handler
        stream_id = event.stream_id
        if self._phase is _LAST or len(self._flows) >= MAX_STREAMS:
            engine.refuse(stream_id)
            return
        ended = event.stream_ended is not None
        try:
            request = read_request(event.headers, ended, handler.limits)
        except Malformed:
            handler.stats["bad_requests"] += 1
            engine.break_off(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        except BadRequest as fault:
            self._refuse(stream_id, ended, fault, (b":method", b"HEAD") in event.headers)
            return
        request.client = self._client
        request.server = self._server
        request.scheme = self._scheme
        if self._proxies is not None:
            believe(request, self._proxies)
        if not self._flows:
            handler.timers.set(self, KEEP_ALIVE)
        if request.upgrade:
            tunnel = self._flows[stream_id] = Tunnel(self, stream_id)
            upgraded = handler.upgrade(request, tunnel)
            if upgraded is None:
                self._refuse(stream_id, ended, BadRequest(501, "there are no WebSockets here"), False)
            elif self._flows.get(stream_id) is tunnel:
                tunnel.upgraded = upgraded
            else:
                upgraded.connection_lost()  # it has refused the handshake, and all that was to be said is out
            return
        stream = self._flows[stream_id] = Http2Stream(self, stream_id)
        stream.ended = ended
        stream.begin(request)

    def _refuse(self, stream_id: int, ended: bool, fault: BadRequest, head_only: bool) -> None:
        stream = self._flows[stream_id] = Http2Stream(self, stream_id)
        stream.ended = ended
        stream.refuse(fault, head_only=head_only)

    def _on_data(self, event: DataReceived) -> None:
        flow = self._flows.get(event.stream_id)
        if flow is None:
            self.engine.taken(event.stream_id, event.flow_controlled_length)
        else:
            flow.received(event.data, event.flow_controlled_length)

    def _on_trailers(self, event: TrailersReceived) -> None:
        flow = self._flows.get(event.stream_id)
        try:
            check_trailers(event.headers, self.handler.limits)
        except Malformed:
            self._lose(event.stream_id)
            self.engine.break_off(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
        except BadRequest as fault:
            if isinstance(flow, Http2Stream):
                flow.refuse(fault)

    def _on_end(self, event: StreamEnded) -> None:
        flow = self._flows.get(event.stream_id)
        if flow is not None:
            flow.end()

    def _on_reset(self, event: StreamReset) -> None:
        if not event.remote_reset:
            self.handler.stats["bad_requests"] += 1
        self._lose(event.stream_id)

    def _on_window(self, event: WindowUpdated) -> None:
        flow = self._flows.get(event.stream_id)
        if flow is not None and flow.left:
            self.queue(flow)

    def _on_settings(self, _event: RemoteSettingsChanged) -> None:
        for flow in self._flows.values():
            if flow.left:
                self.queue(flow)

    def _on_pong(self, _event: PingAckReceived) -> None:
        self._pinged = None
        if self._phase is _LEAVING:
            self._say_last()

    def _on_goaway(self, _event: GoAway) -> None:
        self._client_is_leaving = True
        if not self._flows:
            self._close()

    # What streams call

    def taken(self, flow: Flow, size: int) -> None:
        """Let the client send as much again."""
        if size and self._phase not in _ENDED:
            self.engine.taken(flow.stream_id, size)

    def reset(self, flow: Flow, code: ErrorCodes) -> None:
        """End a stream at once."""
        if flow.stream_id in self._flows:
            self.engine.reset(flow.stream_id, code)
            self.wake()
            self._lose(flow.stream_id)

    def close(self, flow: Flow) -> None:
        """Take note that a stream has ended on both sides."""
        self.engine.served()
        self._lose(flow.stream_id)

    def _lose(self, stream_id: int) -> None:
        flow = self._flows.pop(stream_id, None)
        if flow is None:
            return
        if flow.queued:
            flow.queued = False
            self._ready.remove(flow)
        flow.lost()
        if not self._flows and self._phase not in _ENDED:
            if self._phase is _LAST or self._client_is_leaving:
                self.handler.call_soon(self._close_if_done)
            elif self._phase is _OPEN and self._head_since is None:
                self.handler.timers.set(self, self.handler.limits.idle_timeout)

    # Ending

    def _fail(self, fault: ConnectionFault) -> None:
        """Say why the connection cannot go on, and close it."""
        stats = self.handler.stats
        stats["bad_requests"] += 1
        if fault.code == ErrorCodes.ENHANCE_YOUR_CALM:
            stats["http2_floods"] += 1
        self.engine.go_away(self.engine.last_stream, fault.code, fault.reason)
        self._close()

    def _leave(self) -> None:
        """Say that no further stream should come."""
        self._phase = _LEAVING
        self.engine.go_away(LAST_ID, ErrorCodes.NO_ERROR)
        self.engine.ping(b"lastcall")
        self.handler.timers.set(self, LAST_CALL)
        self.wake()

    def _say_last(self) -> None:
        """Say which stream was the last."""
        self._phase = _LAST
        self.engine.go_away(self.engine.last_stream, ErrorCodes.NO_ERROR)
        if self._flows:
            self.handler.timers.set(self, self._rest)
            self.wake()
        else:
            self._close()

    def _close_if_done(self) -> None:
        if not self._flows and self._phase not in _ENDED:
            self._close()

    def _close(self) -> None:
        """End our side; close when the client has ended its own, or says nothing any more.

        What comes until then is dropped. Closed with a frame unread, and a window update is always on its way, the
        socket would be reset, and what the client has not read of our last words be lost.
        """
        self._phase = _CLOSING
        self._ended_at = self._heard = self.handler.clock()
        self._lose_streams()
        self._write()
        self._transport.unregisterProducer()
        self._transport.resumeProducing()
        self._transport.loseWriteConnection()
        self.handler.timers.set(self, LINGER)

    def _close_if_silent(self) -> None:
        left = min(self._heard + LINGER, self._ended_at + MOST_LINGER) - self.handler.clock()
        if left > 0:
            self.handler.timers.set(self, left)
        else:
            self._transport.loseConnection()

    def _lose_streams(self) -> None:
        flows = list(self._flows.values())
        self._flows.clear()
        self._ready.clear()
        for flow in flows:
            flow.lost()

    def drain(self) -> None:
        """Take no further request; close as soon as those at hand are answered."""
        if self._phase is _OPEN:
            self._leave()

    def hurry(self) -> None:
        """Cut what would not end by itself in a known time: streams of unknown length, a client that lingers."""
        if self._phase is _CLOSING:
            self._abort("cut_by_stop")
            return
        for flow in list(self._flows.values()):
            flow.hurry()

    def give_up(self) -> None:
        """Tell the client that its requests will not be answered any more."""
        for flow in list(self._flows.values()):
            flow.give_up()

    def _abort(self, why: str) -> None:
        self.handler.stats[why] += 1
        self._phase = _CLOSING
        self._lose_streams()
        self._transport.abortConnection()

    @property
    def _rest(self) -> float:
        """Seconds until the connection is looked at next, when nothing else is to be waited for."""
        timeout = self.handler.limits.idle_timeout
        return min(timeout, KEEP_ALIVE) if self._flows else timeout

    def fire(self) -> None:
        """Act on the connection's deadline."""
        phase = self._phase
        if phase is _CLOSING:
            self._close_if_silent()
        elif self._paused:
            left, before = self._transport.buffered, self._left_before
            self._left_before = left
            if left < before:
                self.handler.timers.set(self, self.handler.limits.idle_timeout)
            else:
                self._abort("slow_clients_cut")
        elif phase is _LEAVING:
            self._say_last()
        elif self._head_since is not None:
            self._check_head(self._head_since)
        elif self._flows:
            self._check_life()
        elif phase is _OPEN:
            self._leave()

    def _check_head(self, since: float) -> None:
        timeout = self.handler.limits.head_timeout
        left = since + timeout - self.handler.clock()
        if left > 0:
            self.handler.timers.set(self, left)
            return
        code = ErrorCodes.PROTOCOL_ERROR if self.engine.started else ErrorCodes.SETTINGS_TIMEOUT
        self._fail(ConnectionFault(code, f"the head did not come within {timeout:g} s"))

    def _check_life(self) -> None:
        """Ask a client for a sign of life that has been silent for long; cut one that gave none."""
        now = self.handler.clock()
        silent = now - self._heard
        if silent < KEEP_ALIVE:
            self._pinged = None
            self.handler.timers.set(self, KEEP_ALIVE - silent)
        elif self._pinged is None:
            self._pinged = now
            self.engine.ping(b"presence")
            self.wake()
            self.handler.timers.set(self, PATIENCE)
        elif now - self._pinged < PATIENCE:
            self.handler.timers.set(self, self._pinged + PATIENCE - now)
        else:
            self._abort("silent_clients_cut")


_ACTS: dict[type[Event], Callable[[Http2Connection, Any], None]] = {
    RequestReceived: Http2Connection._on_request,
    DataReceived: Http2Connection._on_data,
    TrailersReceived: Http2Connection._on_trailers,
    StreamEnded: Http2Connection._on_end,
    StreamReset: Http2Connection._on_reset,
    WindowUpdated: Http2Connection._on_window,
    RemoteSettingsChanged: Http2Connection._on_settings,
    PingAckReceived: Http2Connection._on_pong,
    GoAway: Http2Connection._on_goaway,
}
