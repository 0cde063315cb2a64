"""A transport in memory, with everything that ours has and Twisted's ``StringTransport`` has not."""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure


class MemoryTransport(StringTransport):
    """Keep what is written, for `value()` and `clear()`; close only when told to by `finish`.

    Like ours it ignores writes and changes of reading once it is closing, and silently so.

    Attributes:
        buffered: What `buffered` should say: bytes that a slow peer has not taken.
        negotiated_protocol: What was agreed on with TLS to speak.
        tls: TLS is on.
        tls_contexts: The contexts that ``startTLS`` was called with.
    """

    negotiated_protocol: str | None = None

    def __init__(self, protocol: Any = None, *, tls: bool = False, **addresses: Any) -> None:
        super().__init__(**addresses, lenient=True)  # type: ignore[no-untyped-call]
        self.protocol = protocol
        self.buffered = 0
        self.tls = tls
        self.tls_contexts: list[ssl.SSLContext] = []
        if protocol is not None:
            protocol.makeConnection(self)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        written: bytes = self.value()  # type: ignore[no-untyped-call]
        self.clear()  # type: ignore[no-untyped-call]
        return written

    def write(self, data: bytes) -> None:
        if not self.disconnecting or self.producer is not None:
            super().write(data)  # type: ignore[no-untyped-call]

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def startTLS(self, context: ssl.SSLContext, **_options: Any) -> None:
        """Take note of it; what is fed from now on came through TLS."""
        self.tls = True
        self.tls_contexts.append(context)

    def finish(self) -> None:
        """End the connection, as the loop does after ``loseConnection`` or ``abortConnection``."""
        reason = ConnectionAborted() if self.disconnected else ConnectionDone()
        self.disconnecting = True
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]
