"""What all connections of one listening port share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .transport import HANDSHAKE_TIMEOUT, LINGER, LoopTransport

if TYPE_CHECKING:
    from .door import Door


class Acceptor:
    """What all connections of one listening port share.

    Args:
        loop: The event loop.
        factory: Builds the Twisted protocol of each connection.
        context: Connections begin with TLS by this context; without it when None.
        handshake_timeout: Seconds that such a beginning may take.
        linger: Seconds that a closing connection may make no progress before it is cut.
        protocols: What is offered to be spoken where a context is made for them (ALPN).
        door: Who may come in; None: everybody.
    """

    __slots__ = ("context", "door", "factory", "handshake_timeout", "linger", "loop", "protocols", "transports")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Any,
        *,
        context: ssl.SSLContext | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        linger: float = LINGER,
        protocols: Sequence[str] = (),
        door: Door | None = None,
    ) -> None:
        self.door = door
        self.loop = loop
        self.factory = factory
        self.context = context
        self.handshake_timeout = handshake_timeout
        self.linger = linger
        self.protocols = protocols
        self.transports: set[LoopTransport] = set()

    def __call__(self) -> LoopTransport:
        """Return the asyncio protocol for a new connection."""
        return LoopTransport(self)
