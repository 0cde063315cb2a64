"""Whose turn it is to write on a connection, and when.

All that one turn of the loop brings is written at its end in one piece. Streams with content that waits send a frame
each in turn, as far as their windows and the connection's allow, until the turn is over or the client takes no more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ...spool import Spool
from ...timers import Timer
from .engine import Engine

if TYPE_CHECKING:
    from ..handler import HttpHandler
    from ..request import Header
    from .flow import Flow

TURN = 16  # frames of content that are written in one turn of the loop
SLICE = 65536  # bytes that are handed to the transport at once
_FEW_SPOOLS = 8  # that may hold as much in memory as the spool of a connection of HTTP/1; others much less
_LITTLE_MEMORY = 16 * 1024


class Turns(Timer):
    """The writing side of a connection.

    Args:
        handler: takes its requests.
        transport: where its bytes go.

    Attributes:
        engine: reads and writes its frames.
        handler: takes its requests.
        spools: streams with content that waits.
    """

    __slots__ = ("_due", "_paused", "_ready", "_transport", "_unwritten", "engine", "handler", "spools")

    def __init__(self, handler: HttpHandler, transport: Any) -> None:
        super().__init__()
        self.handler = handler
        self.engine = Engine(handler.limits, handler.clock)
        self.spools = 0
        self._transport = transport
        self._ready: deque[Flow] = deque()  # those with content and, as far as known, room for it
        self._due = False  # the end of this turn of the loop writes
        self._paused = False  # the client does not take what was written
        self._unwritten = 0  # bytes of content that the engine holds

    def room(self, flow: Flow) -> int:
        """Return the bytes of content that a stream may send in one frame now; none where it is not above 0."""
        return 0 if self._paused else self.engine.room(flow.stream_id)

    def send_headers(self, flow: Flow, fields: list[Header], end: bool) -> None:
        """Send a header list."""
        self.engine.send_headers(flow.stream_id, fields, end)
        self.wake()

    def send(self, flow: Flow, data: bytes, end: bool, *, cut: bool = False) -> None:
        """Send content that there is room for; see `Engine.send_data`."""
        self.engine.send_data(flow.stream_id, data, end, cut=cut)
        self._unwritten += len(data)
        if self._unwritten >= SLICE:
            self._write()
        else:
            self.wake()

    def queue(self, flow: Flow) -> None:
        """Let a stream with content that waits have its turns."""
        if not flow.queued:
            flow.queued = True
            self._ready.append(flow)
        self.wake()

    def new_spool(self) -> Spool:
        """Make a place for content that waits."""
        self.spools += 1
        return Spool() if self.spools <= _FEW_SPOOLS else Spool(_LITTLE_MEMORY)

    def wake(self) -> None:
        """Write at the end of this turn of the loop."""
        if not self._due:
            self._due = True
            self.handler.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what this turn of the loop has brought, and a turn's worth of what waits."""
        self._due = False
        engine, ready = self.engine, self._ready
        turns = TURN
        while ready and turns and not self._paused and engine.window > 0:
            flow = ready.popleft()
            room = engine.room(flow.stream_id)
            if room <= 0:
                flow.queued = False  # until its window opens
                continue
            turns -= 1
            try:
                more = flow.send_next(room)
            except OSError:
                flow.queued = False
                self.handler.stats["slow_clients_cut"] += 1
                flow.cut()
                continue
            if more:
                ready.append(flow)
            else:
                flow.queued = False
                flow.sent_all()
        self._write()
        if ready and not turns:
            self.wake()

    def _write(self) -> None:
        self._unwritten = 0
        data = self.engine.take()
        if data:
            self._transport.write(data)
