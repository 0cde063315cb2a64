"""One connection to a server: TCP, TLS, and whether it is the server that it should be."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from ..acceptor import Acceptor
from ..transport import LoopTransport
from .settings import Address

MOST_UNSENT = 64 * 1024  # bytes that a server does not take, beyond what the system holds
_LINGER = 5.0


class ConnectionFailed(Exception):
    """There is no connection; the text says why."""


class Wire(Protocol):
    """A connection, from the first byte until it is lost or let go.

    What the server says before `open` waits for it.

    Attributes:
        link: Its transport, once there is one.
        reason: Why it is gone; None: it is not.
    """

    def __init__(self) -> None:
        self.link: LoopTransport | None = None
        self.reason: str | None = None
        self._received: Callable[[bytes], None] | None = None
        self._lost: Callable[[str], None] | None = None

    def connectionMade(self) -> None:
        """Wait with reading."""
        self.link = link = cast("LoopTransport", self.transport)
        link.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        if self._received is not None:
            self._received(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Tell that the connection is gone, and why."""
        if self.reason is None:
            self.reason = "closed" if reason is None else reason.getErrorMessage().rstrip(".")
        lost, self._lost, self._received = self._lost, None, None
        if lost is not None:
            lost(self.reason)

    def open(self, received: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        """Begin to read.

        Args:
            received: Takes what the server says.
            lost: Is told once that the connection is gone, and why.
        """
        assert self.link is not None
        self._received, self._lost = received, lost
        self.link.resumeProducing()

    def write(self, data: bytes) -> None:
        """Send; a server that takes nothing is cut off."""
        if self.link is None or self.reason is not None:
            return
        self.link.write(data)
        if self.link.buffered > MOST_UNSENT:
            self.reason = "the server does not read what we send"
            self.link.abortConnection()

    def let_go(self) -> None:
        """Close once everything is sent, and tell nobody."""
        self._lost = self._received = None
        if self.link is not None:
            self.link.loseConnection()

    def abort(self) -> None:
        """Close at once, and tell nobody."""
        self._lost = self._received = None
        if self.link is not None:
            self.link.abortConnection()


class _Factory:
    """Gives the one connection its wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def buildProtocol(self, _address: object) -> Wire:
        return self._wire


async def connect(
    loop: asyncio.AbstractEventLoop,
    address: Address,
    context: ssl.SSLContext,
    *,
    fingerprint: str | None = None,
    timeout: float = 30.0,
) -> Wire:
    """Connect to a server.

    Args:
        loop: The event loop.
        address: The server's.
        context: What TLS is to be like.
        fingerprint: The SHA-256 that the server's certificate has to have, lower-case hexadecimal; None: any.
        timeout: Seconds for everything.

    Raises:
        ConnectionFailed: It is not there, or not the right one.
    """
    wire = Wire()
    try:
        async with asyncio.timeout(timeout):
            made: Any = Acceptor(loop, _Factory(wire), linger=_LINGER)
            await loop.create_connection(made, address.host, address.port)
            if wire.link is None:
                raise ConnectionFailed("the connection was closed at once")
            wire.link.setTcpKeepAlive(True)
            if address.tls:
                await _secure(wire, wire.link, context, address.host, fingerprint, timeout)
    except TimeoutError:
        raise ConnectionFailed(f"no connection within {timeout:g} s") from None
    except (OSError, UnicodeError) as error:  # a name that is none is an error of its encoding
        raise ConnectionFailed(str(error)) from None
    except BaseException:
        wire.abort()
        raise
    return wire


async def _secure(
    wire: Wire, transport: LoopTransport, context: ssl.SSLContext, host: str, fingerprint: str | None, timeout: float
) -> None:
    """Go on with TLS.

    Raises:
        ConnectionFailed: TLS failed, or it is another certificate.
    """
    if not await transport.startTLS(context, handshake_timeout=timeout, server_name=host):
        raise ConnectionFailed(f"TLS failed: {wire.reason or 'the connection was closed'}")
    if fingerprint is not None:
        shown = hashlib.sha256(transport.peer_certificate or b"").hexdigest()
        if not hmac.compare_digest(shown, fingerprint):
            raise ConnectionFailed(f"the server's certificate has the fingerprint {shown}, not the one of the settings")
