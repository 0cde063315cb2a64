"""A Twisted transport over the event loop's own: ordinary Twisted protocols on the loop's C input and output.

Twisted's transport hands each write to the next turn of the loop and copies what it reads once more. Here a write goes
straight to the loop's transport. One object stands between: to the loop it is the asyncio protocol, to the Twisted
protocol it is the transport.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

from .loops import begin
from .socket_options import SocketOptions

if TYPE_CHECKING:
    from .acceptor import Acceptor
    from .door import Place

_log = logging.getLogger("trunkline.transport")

HIGH_WATER = 64 * 1024
HANDSHAKE_TIMEOUT = 10.0
LINGER = 30.0
# Ours bounds a close by progress; the loop's own bound on the TLS farewell only stands behind it.
SHUTDOWN_TIMEOUT = 300.0

Address = IPv4Address | IPv6Address | UNIXAddress


def _ignore(data: object) -> None:
    """Take a write to a connection that is closed, closing or lost: nobody is to be hurt by it."""


def _address(raw: Any) -> Address:
    if isinstance(raw, tuple):
        if len(raw) == 2:
            return IPv4Address("TCP", *raw)
        return IPv6Address("TCP", *raw)
    return UNIXAddress(os.fsencode(raw) if raw else None)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class LoopTransport(SocketOptions, asyncio.Protocol):
    """One connection: asyncio protocol to the loop, `ITCPTransport` to the Twisted protocol.

    Beyond Twisted's interface it has `buffered`, `tls`, `negotiated_protocol` and a `startTLS` on Python's own
    ``ssl.SSLContext``. ``write`` is replaced over the life of the connection: look it up each time.

    Attributes:
        disconnecting: The connection is about to close; nothing more should be written.
        place: As what the door has counted it; None: not at all.
        protocol: The Twisted protocol; may be replaced.
        tls: What is read from now on came through TLS.
        write: Send bytes; ignored silently once the connection is closed.
        writeSequence: Send an iterable of bytes.
    """

    __slots__ = (
        "_acceptor",
        "_closing",
        "_flushed",
        "_held",
        "_host",
        "_linger",
        "_lost",
        "_peer",
        "_plain",
        "_producer",
        "_queue",
        "_reading",
        "_reason",
        "_transport",
        "_upgrading",
        "_writing_paused",
        "disconnecting",
        "place",
        "protocol",
        "tls",
        "write",
        "writeSequence",
    )

    write: Callable[[bytes], None]
    writeSequence: Callable[[Iterable[bytes]], None]

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._transport: Any = None
        self._plain: Any = None  # the one that has the socket: the same, or under TLS the one below
        self._flushed: asyncio.Future[None] | None = None
        self._producer: Any = None
        self._queue: list[bytes] | None = None  # writes during an upgrade to TLS
        self._held: list[bytes] = []  # reads that came while reading was paused
        self._upgrading: asyncio.Future[bool] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._reason: Exception | None = None
        self._host: Address | None = None
        self._closing = False
        self._lost = False
        self._reading = True
        self._writing_paused = False
        self.disconnecting = False
        self.place: Place | None = None
        self.tls = False
        self.protocol: Any = None

    # What the loop calls

    def connection_made(self, transport: Any) -> None:
        self._plain = transport
        self._use(transport)
        self._acceptor.transports.add(self)
        peer = transport.get_extra_info("peername")
        if peer is None:  # gone before we came to look
            transport.abort()
            return
        self._peer = _address(peer)
        door = self._acceptor.door
        if door is None or door.enter(self):
            self.begin()

    def data_received(self, data: bytes) -> None:
        if self._reading:
            self.protocol.dataReceived(data)
        else:
            self._hold(data)

    def eof_received(self) -> bool:
        # No half-open connections: what was written so far still goes out.
        self.disconnecting = True
        if self._queue is None:
            self._close()
        return False  # the loop closes too, which is the same close

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake_upgrade()
        if self._producer is not None:
            self._producer.resumeProducing()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = self.disconnecting = True
        self.write = self.writeSequence = _ignore
        self._queue = None
        self._held.clear()
        self._acceptor.transports.discard(self)
        if self.place is not None and self._acceptor.door is not None:
            self._acceptor.door.leave(self.place)
        self._wake_upgrade()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                _log.exception("a producer could not be stopped")
        if protocol is not None:
            reason = self._reason or (ConnectionDone() if exc is None else ConnectionLost(str(exc)))
            protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    # What the door calls

    @property
    def host(self) -> str:
        """The address of the other side as text; "" on a unix socket."""
        return getattr(self._peer, "host", "")

    @property
    def descriptor(self) -> int:
        """The number of its socket."""
        return int(self._plain.get_extra_info("socket").fileno())

    @property
    def begins_with_tls(self) -> bool:
        """Whether nothing can be said to the client before a TLS handshake."""
        return self._acceptor.context is not None

    def call_later(self, seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        """Call a function in some seconds, by the loop."""
        return self._acceptor.loop.call_later(seconds, function)

    def name(self, peer: Address, host: Address | None) -> None:
        """Take the word of a proxy on who the two sides are."""
        self._peer = peer
        self._host = host

    def begin(self, early: bytes = b"") -> None:
        """Build the protocol, after a TLS handshake where the port has them.

        Args:
            early: What was read before.
        """
        context = self._acceptor.context
        if context is None:
            self._serve()
            if early and self.protocol is not None:
                self.data_received(early)
            return
        self._reading = False
        self.startTLS(context, handshake_timeout=self._acceptor.handshake_timeout)
        if early:
            # Behind what the loop has to do first, and before it reads on.
            self._acceptor.loop.call_soon(self._feed_tls, early)

    # What the protocol calls

    @property
    def buffered(self) -> int:
        """Bytes written that the socket has not taken yet."""
        if self._lost:
            return 0
        size: int = self._plain.get_write_buffer_size()
        if self._queue is not None:
            size += sum(map(len, self._queue))
        elif self._transport is not self._plain:
            size += self._transport.get_write_buffer_size()
        return size

    def loseConnection(self) -> None:
        """Close once everything written is out; a registered producer is waited for."""
        if self.disconnecting:
            return
        self.disconnecting = True
        if self._producer is None and self._queue is None:
            self._close()

    def abortConnection(self) -> None:
        """Close at once; what is buffered is lost."""
        if self._lost:
            return
        self.disconnecting = True
        self.write = self.writeSequence = _ignore
        if self._reason is None:
            self._reason = ConnectionAborted()
        self._transport.abort()

    def loseWriteConnection(self) -> None:
        """Tell the peer that nothing more will be sent, where the transport can (TLS cannot)."""
        if not self.disconnecting and self._queue is None and self._transport.can_write_eof():
            self.write = self.writeSequence = _ignore
            self._transport.write_eof()

    def getPeer(self) -> Address:
        """Return the address of the other side."""
        return self._peer

    def getHost(self) -> Address:
        """Return the address of this side."""
        if self._host is None:
            self._host = _address(self._transport.get_extra_info("sockname"))
        return self._host

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._reading = False
        if not self.disconnecting and self._queue is None:
            self._transport.pause_reading()

    def resumeProducing(self) -> None:
        """Read on."""
        self._reading = True
        if self._held:
            self._acceptor.loop.call_soon(self._release)
        elif not self.disconnecting and self._queue is None:
            self._transport.resume_reading()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let ``producer`` pause while more than 64 KiB are waiting to be sent.

        Raises:
            RuntimeError: Another producer is registered, or this one wants to be asked for each piece.
        """
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was never unregistered")
        if not streaming:
            raise RuntimeError(f"cannot register {producer!r}: only streaming (push) producers are served")
        if self._lost:
            producer.stopProducing()
            return
        self._producer = producer
        if self._writing_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer; a connection that was to close after it closes now."""
        self._producer = None
        if self.disconnecting and not self._lost and self._queue is None:
            self._close()

    @property
    def negotiated_protocol(self) -> str | None:
        """What both sides agreed on with TLS to speak (ALPN, RFC 7301), such as "h2"; None where they did not."""
        encryption = self._transport.get_extra_info("ssl_object")
        return None if encryption is None else encryption.selected_alpn_protocol()

    @property
    def peer_certificate(self) -> bytes | None:
        """The other side's certificate, DER; None without TLS, or where it showed none."""
        encryption = self._transport.get_extra_info("ssl_object")
        return None if encryption is None else encryption.getpeercert(True)

    def startTLS(
        self,
        context: ssl.SSLContext,
        *,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        server_name: str | None = None,
    ) -> asyncio.Future[bool]:
        """Go on with TLS, as the server of the handshake, or as a client of ``server_name``.

        What is written meanwhile waits and goes out encrypted. Whatever is read from now on came through TLS; the
        protocol must discard what it had read before and not yet used (RFC 3207, section 4.2).

        Args:
            context: The certificate and policy of this side.
            handshake_timeout: Seconds that the handshake may take.
            server_name: Whose certificate the other side has to show; None: this side is the server.

        Returns:
            A future, True once TLS is on. False when the handshake failed: then the connection has ended.

        Raises:
            RuntimeError: TLS is on already.
        """
        if self.tls:
            raise RuntimeError("TLS is on already")
        self.tls = True
        if not self.disconnecting:
            queue: list[bytes] = []
            self._queue = queue
            self.write = queue.append
            self.writeSequence = queue.extend
            self._transport.pause_reading()
        # Begun at once: uvloop starts reading when connection_made returns, whatever was paused before.
        self._upgrading = begin(self._upgrade(context, handshake_timeout, server_name), self._acceptor.loop)
        return self._upgrading

    # Private

    def _use(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        if transport is self._plain:
            self.write = transport.write
            self.writeSequence = transport.writelines
        else:
            self.write = self._write_tls
            self.writeSequence = self._write_tls_sequence

    def _write_tls(self, data: bytes) -> None:
        """Write, or close if the peer ended TCP but not TLS: uvloop tells nobody, and drops and logs each write."""
        if self._plain.is_closing():
            self.eof_received()
        else:
            self._transport.write(data)

    def _write_tls_sequence(self, data: Iterable[bytes]) -> None:
        self._write_tls(b"".join(data))  # as one TLS record

    def _feed_tls(self, data: bytes) -> None:
        """Hand over to the loop's TLS what was read before it began, as the loop itself would."""
        encryption = self._plain.get_protocol()
        rest = memoryview(data)
        while rest and encryption is not self and not self._lost:
            room = encryption.get_buffer(len(rest))
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            encryption.buffer_updated(count)
            rest = rest[count:]

    def _serve(self) -> None:
        """Build the protocol and give it the connection."""
        try:
            protocol = self._acceptor.factory.buildProtocol(self._peer)
            if protocol is None:
                self._transport.abort()
                return
            self.protocol = protocol
            protocol.makeConnection(self)
        except Exception:
            _log.exception("a connection from %s could not be set up", self._peer)
            self._transport.abort()

    def _hold(self, data: bytes) -> None:
        """Keep what was read although reading is paused, which uvloop forgets if told within connection_made."""
        self._held.append(data)
        if not self.disconnecting and self._queue is None:
            self._transport.pause_reading()

    def _release(self) -> None:
        while self._held and self._reading and self.protocol is not None:
            try:
                self.protocol.dataReceived(self._held.pop(0))
            except Exception:
                _log.exception("a connection from %s failed", self._peer)
                self._transport.abort()
                return
        if self._reading:
            self.resumeProducing()

    def _close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.write = self.writeSequence = _ignore
        self._transport.close()
        waiting = self.buffered
        if waiting or self.tls:
            self._watch(waiting)

    def _watch(self, waiting: int) -> None:
        """Look again later: a peer that takes nothing may not hold a closing connection for ever."""
        self._linger = self._acceptor.loop.call_later(self._acceptor.linger, self._check, waiting)

    def _check(self, before: int) -> None:
        waiting = self.buffered
        if waiting < before:
            self._watch(waiting)
        else:
            self._reason = ConnectionLost("the peer took no more data")
            self._transport.abort()

    async def _upgrade(self, context: ssl.SSLContext, handshake_timeout: float, server_name: str | None) -> bool:
        loop, plain = self._acceptor.loop, self._plain
        if self._queue is None or plain.is_closing():
            return False
        error: BaseException | None = None
        try:
            if self._writing_paused:
                # The loop's TLS does not know that the transport below it is paused already.
                self._flushed = loop.create_future()
                giving_up = loop.call_later(handshake_timeout, self._wake_upgrade)
                await self._flushed
                giving_up.cancel()
                if self._writing_paused:
                    raise TimeoutError("what was written before was not taken")
            transport = await loop.start_tls(
                plain,
                self,
                context,
                server_side=server_name is None,
                server_hostname=server_name,
                ssl_handshake_timeout=handshake_timeout,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except Exception as caught:
            transport, error = None, caught
            _log.debug("TLS handshake with %s failed: %s", self._peer, caught)
            if self._acceptor.door is not None:
                self._acceptor.door.stats["tls_handshakes_failed"] += 1
        except asyncio.CancelledError:
            plain.abort()
            self.connection_lost(None)
            raise
        if transport is None or self._lost or plain.is_closing():
            plain.abort()
            self.connection_lost(error)
            return False
        queue, self._queue = self._queue or [], None
        self._use(transport)
        self.writeSequence(queue)
        if self.protocol is None:
            self._reading = True
            self._serve()
            if self._reading:
                self._release()
        if not self._reading:
            transport.pause_reading()
        if self.disconnecting and self._producer is None:
            self._close()
        return True

    def _wake_upgrade(self) -> None:
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)
