"""The life of one WebSocket: handshake, frames both ways, pings, and one of several ends.

    WAITING ──accepted──► OPEN ──we close──► CLOSING ──client's Close──► ENDED
       └─────refused────────┴──client's Close, or the protocol was broken────┘

Up to ENDED the socket is known to the bus; after it only the transport is left to close. Each state has one deadline:
for the answer, for the next ping or its pong, for the client's Close, for the transport. `websockets` reads the frames;
what breaks RFC 6455 it answers with the close code due.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from websockets.frames import CloseCode, Opcode

from ....message_formats.origins import policy_of
from ...base import Connection, Message, Refusal
from ...http_core import CLIENT_LEFT, Request, ResponseWriter
from ...timers import Timer
from .frames import Ambiguous, Outgoing, Unfit, plain_frame
from .handshake import Handshake, Refused
from .inflow import Inflow
from .reading import MessageProtocol

if TYPE_CHECKING:
    from ..server import HttpServer

CONNECT = "websocket.connect"

MAX_EARLY = 64 * 1024  # bytes from a client that does not wait for the answer, as RFC 6455, 4.1 tells it to
MAX_WAITING = 64  # messages to its groups before a socket's handshake is answered
CLOSE_TIMEOUT = 10.0  # seconds for the client's Close, and for the transport to close
LINGER = 1.0  # seconds to go on reading after a failure

# So much is parsed in one turn of the loop: it may be hundreds of frames, and inflate to megabytes. Others are served
# in between, and reading may have to stop.
_SLICE = 4096
_PING = plain_frame(Opcode.PING, b"")
_STOPPING = "the server is stopping"


class State(enum.Enum):
    """Where in its life a WebSocket is."""

    WAITING = "the handshake is not answered yet"
    OPEN = "data goes both ways"
    CLOSING = "our Close is sent, the client's has not come"
    ENDED = "only the transport is left to close"


WAITING, OPEN, CLOSING, ENDED = State


class _Waiting:
    """What there is only before the handshake is answered."""

    __slots__ = ("began", "early", "handshake", "messages", "request", "size")

    def __init__(self, request: Request, began: float) -> None:
        self.request = request
        self.began = began
        self.handshake: Handshake | None = None
        self.early = bytearray()
        self.messages: list[Outgoing] = []
        self.size = 0


class WebSocket(Timer):
    """One WebSocket, from its upgrade request on.

    Args:
        server: the HTTP server.
        request: the upgrade request.
        transport: where the request came from; everything read from now on goes to `data_received`. Over HTTP/2 it is
            that of a stream, and answers the handshake (see `HttpHandler.upgrade`).

    Attributes:
        connection: what the bus knows it as.
        server: the HTTP server.
        state: where in its life it is.
    """

    __slots__ = (
        "_due",
        "_held",
        "_inflow",
        "_next_ping",
        "_order",
        "_path",
        "_pong_due",
        "_protocol",
        "_stopped",
        "_transport",
        "_waiting",
        "connection",
        "server",
        "state",
    )

    def __init__(self, server: HttpServer, request: Request, transport: Any) -> None:
        super().__init__()
        self.server = server
        self.state = WAITING
        self.connection: Connection = server.open(self)
        self._transport = transport
        self._path = request.path
        self._waiting: _Waiting | None = _Waiting(request, server.clock())
        self._protocol: MessageProtocol | None = None
        self._inflow: Inflow | None = None
        self._order = 0
        self._held: bytearray | None = None  # what was read and has to wait; while it does, nothing more is read
        self._due = False  # the next turn of the loop goes on with it
        self._stopped = False  # it waits until the inflow says so
        self._next_ping = 0.0
        self._pong_due: float | None = None
        settings = server.settings
        try:
            if server.stopping:
                raise Refused(503, _STOPPING)
            self._waiting.handshake = Handshake(request, policy_of(tuple(settings.origins)), settings.ws_max)
        except Refused as refused:
            server.stats["websocket_bad_handshakes"] += 1
            self._refuse(refused)
            return
        server.timers.set(self, settings.connect_timeout)
        message = _connect_message(request, self.connection.reply_channel)
        server.publish(CONNECT, message, self.connection, expiry=settings.connect_timeout)

    # What the HTTP protocol calls

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._waiting is not None:
            self._keep_early(data)
            return
        if self._protocol is None:
            return
        self._pong_due = None
        if self._held is None:
            if len(data) <= _SLICE:
                self._read(data)
                return
            self._hold()
        self._held += data  # type: ignore[operator]
        if not self._due:
            self._read_on()

    def connection_lost(self) -> None:
        """Learn that the transport is closed."""
        if self.state is WAITING:
            self.server.stats["websocket_left_early"] += 1
            self._declined(CLIENT_LEFT, 0)
        elif self.state is not ENDED:
            self._gone(CloseCode.ABNORMAL_CLOSURE)
        self.server.timers.clear(self)

    # What the server calls

    def deliver(self, message: Message) -> None:
        """Act on a message to this socket's reply channel."""
        try:
            if self.state is OPEN:
                self._send(Outgoing(message))
            elif self._waiting is not None:
                self._answer(self._waiting, message)
            else:
                self.server.stats["late_answers"] += 1
        except Ambiguous:
            self.server.stats["websocket_ambiguous"] += 1
        except Unfit as unfit:
            self.server.unfit(self.connection, str(unfit))
            self.close(CloseCode.INTERNAL_ERROR)

    def take(self, outgoing: Outgoing) -> None:
        """Act on a group's message; before the handshake is answered it waits."""
        if self.state is OPEN:
            self._send(outgoing)
        elif self._waiting is not None:
            waiting = self._waiting
            waiting.messages.append(outgoing)
            waiting.size += len(outgoing.payload)
            if len(waiting.messages) > MAX_WAITING or waiting.size > self.server.settings.write_limit:
                self.server.stats["websocket_overrun"] += 1
                self._refuse(Refused(503, "too many messages before the handshake was answered"))

    def refuse(self, refusal: Refusal) -> None:
        """Learn that the layer did not take this socket's ``websocket.connect``, as far as it knows."""
        if self.state is WAITING:
            self._refuse(Refused(503, refusal.text))

    def fire(self) -> None:
        """Act on the deadline of the state."""
        if self.state is OPEN:
            self._ping()
        elif self.state is WAITING:
            self.server.stats["websocket_unanswered"] += 1
            self._refuse(Refused(403, self.server.why_silent(CONNECT, self.server.settings.connect_timeout)))
        elif self._transport.disconnecting or self._transport.buffered:
            self._transport.abortConnection()
        else:
            self._transport.loseConnection()
            self.server.timers.set(self, CLOSE_TIMEOUT)

    def close(self, code: int) -> None:
        """Close with a code; before the handshake is answered that refuses it, 1011 with 500 and others with 403."""
        if self.state is OPEN:
            assert self._protocol is not None
            self.state = CLOSING
            self.server.timers.set(self, CLOSE_TIMEOUT)
            self._protocol.send_close(code)
            self._transport.write(b"".join(self._protocol.data_to_send()))
            self.resume()  # the client's Close is still to be read
        elif self.state is WAITING:
            if code == CloseCode.INTERNAL_ERROR:
                self._refuse(Refused(500, "the consumer failed"))
            else:
                self._refuse(Refused(403, "the connection was refused"))

    def restart(self, patience: float) -> None:
        """Send the client away because the server stops; it may come back at once.

        Args:
            patience: seconds it has to close.
        """
        if self.state is WAITING:
            self._refuse(Refused(503, _STOPPING))
        else:
            self.close(CloseCode.SERVICE_RESTART)
        self.server.timers.set(self, min(patience, CLOSE_TIMEOUT))

    # The handshake's answer

    def _answer(self, waiting: _Waiting, message: Message) -> None:
        outgoing = Outgoing(message)
        accept = message.get("accept")
        if accept is not None and not isinstance(accept, bool):
            raise Unfit(f"accept must be a bool, not {accept!r:.40}")
        if accept or (accept is None and outgoing.payload):
            self._accept(waiting, message.get("subprotocol"))
            for answer in (outgoing, *waiting.messages):
                self.take(answer)
            self.data_received(bytes(waiting.early))
        elif accept is False or outgoing.code:
            self.server.stats["websocket_refused"] += 1
            self.close(outgoing.code)

    def _accept(self, waiting: _Waiting, subprotocol: object) -> None:
        server, handshake = self.server, waiting.handshake
        assert handshake is not None
        if subprotocol is not None and not (isinstance(subprotocol, str) and handshake.offers(subprotocol)):
            server.stats["websocket_subprotocols_ignored"] += 1
            subprotocol = None
        self._protocol = handshake.protocol
        self._inflow = Inflow(server, self)
        self.state = OPEN
        if waiting.request.http_version == "2":
            self._transport.accept(handshake.fields(subprotocol))
            self._answered(200, 0)
        else:
            self._transport.write(handshake.response(subprotocol))
            self._answered(101, 0)
        server.stats["websocket_accepted"] += 1
        interval = server.settings.ping_interval
        if interval:
            self._next_ping = server.clock() + interval
            server.timers.set(self, interval)
        else:
            server.timers.clear(self)

    def _refuse(self, refused: Refused, *, linger: bool = False) -> None:
        assert self._waiting is not None
        status, headers, content = refused.answer
        if self._waiting.request.http_version == "2":
            self._transport.refuse(status, headers, content)
        else:
            response = ResponseWriter(False, True, False, self.server.factory.date)
            self._transport.write(response.start(status, headers, content))
        self._declined(status, len(content))
        self._lose_transport(linger=linger)

    def _declined(self, status: int, size: int) -> None:
        assert self._waiting is not None
        if self._waiting.handshake is not None:
            self._waiting.handshake.protocol.stop()
        self.state = ENDED
        self._answered(status, size)
        self.server.close(self.connection)

    def _answered(self, status: int, size: int) -> None:
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        request = waiting.request
        self.server.answered(request, request.client_name, status, size, self.server.clock() - waiting.began)

    def _keep_early(self, data: bytes) -> None:
        waiting = self._waiting
        assert waiting is not None
        waiting.early += data
        if len(waiting.early) > MAX_EARLY:
            self.server.stats["websocket_overrun"] += 1
            self._refuse(Refused(400, "too much data before the handshake was answered"), linger=True)

    # Data

    def _send(self, outgoing: Outgoing) -> None:
        if outgoing.frame:
            frame = outgoing.frame
            if outgoing.compressible and self._protocol is not None and self._protocol.extensions:
                frame = outgoing.compressed(self._protocol)
            self._write(frame)
        if outgoing.code:
            self.close(outgoing.code)

    def _write(self, frame: bytes) -> None:
        transport = self._transport
        if transport.buffered <= self.server.settings.write_limit:
            transport.write(frame)
        elif self.state is OPEN:
            self.server.stats["websocket_slow_readers"] += 1
            self.close(CloseCode.TRY_AGAIN_LATER)

    def _read(self, data: bytes) -> None:
        protocol = self._protocol
        assert protocol is not None
        messages = protocol.read(data)
        if self.state is OPEN:
            assert self._inflow is not None
            for content in messages:
                self._publish(self._inflow, content)
        else:
            self.server.stats["websocket_late_messages"] += len(messages)
        writes = protocol.data_to_send()
        if writes:
            self._answer_frames(protocol, writes)

    def _hold(self) -> None:
        if self._held is None:
            self._held = bytearray()
            self._transport.pauseProducing()

    def _read_on(self) -> None:
        """Go on with what was held, as far as one turn of the loop goes."""
        self._due = False
        held = self._held
        if held is None or self._stopped:
            return
        data = bytes(held[:_SLICE])
        del held[:_SLICE]
        if held:
            self._due = True
            self.server.loop.call_soon(self._read_on)
        else:
            self._held = None
            self._transport.resumeProducing()
        self._read(data)

    def _publish(self, inflow: Inflow, content: str | bytes) -> None:
        self._order += 1
        message: Message = {"reply_channel": self.connection.reply_channel, "path": self._path, "order": self._order}
        message["text" if type(content) is str else "bytes"] = content
        inflow.send(message, len(content))

    def _answer_frames(self, protocol: MessageProtocol, writes: list[bytes]) -> None:
        """Write pongs, or the end: `websockets` marks it with an empty piece."""
        if writes[-1]:
            self._write(b"".join(writes))
            return
        self._transport.write(b"".join(writes))
        received = protocol.close_rcvd
        failed = received is None or protocol.parser_exc is not None
        self._gone(CloseCode.ABNORMAL_CLOSURE if received is None else received.code)
        if failed:
            self.server.stats["websocket_failed"] += 1
        self._lose_transport(linger=failed)

    def pause(self) -> None:
        """Stop reading; what was read already is kept."""
        if self.state is OPEN:
            self._stopped = True
            self._hold()

    def resume(self) -> None:
        """Read on, beginning with what was kept."""
        self._stopped = False
        if not self._due:
            self._read_on()

    def _ping(self) -> None:
        server = self.server
        now = server.clock()
        if self._held is not None:
            self._pong_due = None  # it may have come; we do not read
        elif self._pong_due is not None and now >= self._pong_due:
            server.stats["websocket_ping_timeouts"] += 1
            self.close(CloseCode.INTERNAL_ERROR)
            return
        if now >= self._next_ping:
            self._next_ping = now + server.settings.ping_interval
            if self._pong_due is None and server.settings.ping_timeout:
                self._pong_due = now + server.settings.ping_timeout
            self._write(_PING)
        if self.state is OPEN:
            due = self._next_ping if self._pong_due is None else min(self._next_ping, self._pong_due)
            server.timers.set(self, due - now)

    # The end

    def _gone(self, code: int) -> None:
        assert self._protocol is not None
        assert self._inflow is not None
        self.state = ENDED
        self._protocol.stop()
        self._protocol = self._held = None
        self.server.close(self.connection)  # first: who learns of the end finds it in no group any more
        self._inflow.end(
            {
                "reply_channel": self.connection.reply_channel,
                "path": self._path,
                "code": int(code),
                "order": self._order + 1,
            }
        )

    def _lose_transport(self, *, linger: bool) -> None:
        """Close; lingering, go on reading for a while, lest a reset overtakes what we said last (RFC 6455, 7.1.1)."""
        if linger:
            self._transport.resumeProducing()
            self._transport.loseWriteConnection()
        else:
            self._transport.loseConnection()
        self.server.timers.set(self, LINGER if linger else CLOSE_TIMEOUT)


def _connect_message(request: Request, reply_channel: str) -> Message:
    message: Message = {
        "reply_channel": reply_channel,
        "scheme": "wss" if request.scheme == "https" else "ws",
        "path": request.path,
        "query_string": request.query_string,
        "root_path": "",
        "headers": request.headers,
        "order": 0,
    }
    if request.client is not None:
        message["client"] = request.client
    if request.server is not None:
        message["server"] = request.server
    return message
