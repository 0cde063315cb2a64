"""The bytes of one stream, both ways, at the pace of whoever takes them.

Out: what the client's windows have no room for waits, in memory and then on disk, and goes out in turns with the
other streams. In: the client may send as much again as was taken; what came while nobody took it waits here, and the
stream's window bounds it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...timers import Timer
from .faults import ErrorCodes
from .opening import MAX_FRAME

if TYPE_CHECKING:
    from ...spool import Spool
    from .connection import Http2Connection


class Flow(Timer):
    """One stream of a connection.

    Args:
        connection: whose stream it is.
        stream_id: its number.

    Attributes:
        ended: the client has sent all it had to send.
        queued: it is among those that have content to send, and room.
        stream_id: its number.
    """

    __slots__ = ("_connection", "_held", "_last", "_paused", "_spool", "ended", "queued", "stream_id")

    def __init__(self, connection: Http2Connection, stream_id: int) -> None:
        super().__init__()
        self.stream_id = stream_id
        self.ended = False
        self.queued = False
        self._connection = connection
        self._paused = False
        self._held: deque[tuple[bytes, int]] | None = None
        self._spool: Spool | None = None
        self._last = False  # nothing follows what waits

    # In

    def received(self, data: bytes, size: int) -> None:
        """Take content, and its size with padding, from the client."""
        if self._paused or self._held:
            if self._held is None:
                self._held = deque()
            self._held.append((data, size))
        else:
            self._hand_on(data, size)

    def end(self) -> None:
        """Take note that nothing follows."""
        self.ended = True
        if not self._held:
            self.all_taken()

    def _hand_on(self, data: bytes, size: int) -> None:
        self._connection.taken(self, size)
        if data:
            self.take(data)

    def pause(self) -> None:
        """Take no more for now."""
        self._paused = True

    def resume(self) -> None:
        """Take on, beginning with what waits."""
        if not self._paused:
            return
        self._paused = False
        held = self._held
        while held and not self._paused:
            self._hand_on(*held.popleft())
        if held is not None and not held and not self._paused:
            self._held = None
            if self.ended:
                self.all_taken()
        self._connection.wake()

    def drop_held(self) -> None:
        """Let go of what waits to be taken: nobody will."""
        held, self._held = self._held, None
        self._paused = False
        for _, size in held or ():
            self._connection.taken(self, size)

    def take(self, data: bytes) -> None:
        """Hand content on."""
        raise TypeError(f"{type(self).__name__} does not say who takes its content")

    def all_taken(self) -> None:
        """Act on the end of what the client had to send, when all of it was taken."""

    # Out

    @property
    def left(self) -> int:
        """Count the bytes that wait to be sent."""
        return 0 if self._spool is None else self._spool.size

    def put(self, data: bytes, last: bool) -> None:
        """Send content, now or as soon as the client takes it.

        Args:
            data: the content.
            last: nothing follows: our side of the stream ends with it.

        Raises:
            SpoolFull: too much waits already.
            OSError: the spool's disk did not take it.
        """
        connection = self._connection
        if self._spool is None:
            size = len(data)
            if not size:
                if last:
                    connection.send(self, data, True)
                return
            at = 0
            while at < size and (room := connection.room(self)) > 0:
                piece = data[at : at + room]
                at += len(piece)
                connection.send(self, piece, last and at == size, cut=at < size and len(piece) < MAX_FRAME)
            if at == size:
                return
            data = data[at:]
            self._spool = connection.new_spool()
        self._spool.write(data)
        self._last = last
        connection.queue(self)

    def send_next(self, room: int) -> bool:
        """Send one frame of what waits, of at most `room` bytes; False when nothing waits any more."""
        spool = self._spool
        assert spool is not None
        data = spool.read(min(room, MAX_FRAME))
        more = spool.size > 0
        if not more:
            self._close_spool()
        self._connection.send(self, data, self._last and not more, cut=more and len(data) < MAX_FRAME)
        return more

    def sent_all(self) -> None:
        """Act on the end of our side: all is sent."""

    # The end

    def lost(self) -> None:
        """Act on the end of the stream, or of the whole connection."""
        self._close_spool()
        self.drop_held()

    def _close_spool(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()
            self._connection.spools -= 1

    def cut(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Reset the stream, in the middle of whatever it was doing."""
        self._connection.reset(self, code)
