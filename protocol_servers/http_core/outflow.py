"""What goes out to one client: straight into its transport, and through a spool while the client does not take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer  # type: ignore[import-untyped]

from ..spool import Spool

SLICE = 65536  # bytes written at once, so that all but one slice of a large piece can go to the spool


@implementer(IPushProducer)
class Outflow:
    """Writes to a transport without ever filling the memory.

    Args:
        transport: where the bytes go; this registers itself as its producer.
        drained: called when the spool has run empty.

    Attributes:
        spool: what waits for the client; None where nothing does.
    """

    __slots__ = ("_closed", "_drained", "_paused", "_transport", "spool")

    def __init__(self, transport: Any, drained: Callable[[], None]) -> None:
        self._transport = transport
        self._drained = drained
        self._closed = False
        self._paused = False
        self.spool: Spool | None = None
        transport.registerProducer(self, True)

    @property
    def left(self) -> int:
        """Count the bytes that the client has not taken."""
        return int(self._transport.buffered) + (0 if self.spool is None else self.spool.size)

    def write(self, data: bytes) -> None:
        """Send bytes, now or as soon as the client takes them.

        Raises:
            SpoolFull: too much waits already.
            OSError: the spool's disk did not take them.
        """
        if self.spool is None and not self._paused:
            if len(data) <= SLICE:
                self._transport.write(data)
                return
            at = 0
            while at < len(data):
                self._transport.write(data[at : at + SLICE])
                at += SLICE
                if self._paused:
                    break
            data = data[at:]
        if data:
            if self.spool is None:
                self.spool = Spool()
            self.spool.write(data)

    def close(self) -> None:
        """Let go of the transport, and of what still waits. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._transport.unregisterProducer()
        if self.spool is not None:
            self.spool.close()
            self.spool = None

    def pauseProducing(self) -> None:
        """Stop writing (the transport calls this)."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Write on (the transport calls this)."""
        self._paused = False
        spool = self.spool
        if spool is None:
            return
        while not self._paused:
            data = spool.read(SLICE)
            if not data:
                spool.close()
                self.spool = None
                self._drained()
                return
            self._transport.write(data)

    def stopProducing(self) -> None:
        """Take note that the connection is lost; whoever owns this hears of it himself."""
        self._paused = True
