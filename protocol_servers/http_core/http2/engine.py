"""The frames of one connection, without input or output: bytes in, events of `h2` out, and bytes to send.

`h2` keeps the streams' states and windows and HPACK's tables. It is fed one frame at a time, and only after the frame
was looked at here, since it leaves open what a server on the internet must not:

- it waits for the end of a frame before it says that the frame is too large, and keeps settings that nobody knows;
- it ends the connection over mistakes that RFC 9113 confines to one stream;
- it sends nothing any more after a GOAWAY, ours or the client's, although streams go on (section 6.8);
- it counts neither resets nor frames that only keep us busy: floods of them end with ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from h2.events import Event, StreamReset
from h2.exceptions import InvalidBodyLengthError, ProtocolError
from h2.settings import SettingCodes
from hpack.exceptions import HPACKError
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame

from .budget import Budget
from .faults import ConnectionFault, ErrorCodes
from .opening import HEADER_TABLE, LAST_ID, MAX_FRAME, PREFACE, REMEMBERED, STREAM_WINDOW, open_h2

if TYPE_CHECKING:
    from ..limits import HttpLimits
    from ..request import Header

RESETS = 200  # that may come at once: a client that gives up all it had open, twice (CVE-2023-44487)
RESETS_A_SECOND = 20
CONTROL = 500  # frames that move nothing
CONTROL_A_SECOND = 50
UPDATES = 1000  # window updates; what we send earns more
UPDATES_A_SECOND = 200
_SMALL = 256  # bytes; a frame cut down to less by the client's window earns none

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS = range(5)
_PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = range(5, 10)
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_FRAME_HEAD = 9
_ON_CONNECTION = frozenset((_SETTINGS, _PING, _GOAWAY))
_SIZES = {_RST_STREAM: 4, _PING: 8, _WINDOW_UPDATE: 4}
# What a client may set, from lowest to highest, and the error otherwise (RFC 9113 section 6.5.2, RFC 8441 section 3).
_SETTINGS_RANGES = {
    2: (0, 1, ErrorCodes.PROTOCOL_ERROR),
    4: (0, 2**31 - 1, ErrorCodes.FLOW_CONTROL_ERROR),
    5: (16384, 2**24 - 1, ErrorCodes.PROTOCOL_ERROR),
    8: (0, 1, ErrorCodes.PROTOCOL_ERROR),
}


class GoAway(Event):
    """The client opens no further stream."""


class Engine:
    """Reads and writes the frames of one connection.

    Args:
        limits: `max_head` for header lists.
        clock: a monotonic clock in seconds.

    Attributes:
        passed: how many frames, and heads of several, were read to their end.
        started: the client's first SETTINGS were read.
    """

    __slots__ = (
        "_at",
        "_block",
        "_block_size",
        "_buffer",
        "_control",
        "_greeted",
        "_h2",
        "_most_block",
        "_out",
        "_reset",
        "_resets",
        "_updates",
        "passed",
        "started",
    )

    def __init__(self, limits: HttpLimits, clock: Callable[[], float]) -> None:
        self._buffer = b""
        self._at = 0  # offset in the buffer of what was not read yet
        self._greeted = False
        self._block = 0  # the stream whose header block is being read
        self._block_size = 0
        self._most_block = 2 * limits.max_head
        self._out: list[bytes] = []
        self._reset: dict[int, None] = {}
        self._resets = Budget(RESETS, RESETS_A_SECOND, clock)
        self._updates = Budget(UPDATES, UPDATES_A_SECOND, clock)
        self._control = Budget(CONTROL, CONTROL_A_SECOND, clock)
        self.passed = 0
        self.started = False
        self._h2, greeting = open_h2(limits)
        self._out.append(greeting)

    # Reading

    def feed(self, data: bytes) -> None:
        """Add bytes that came from the client."""
        if self._at < len(self._buffer):
            data = self._buffer[self._at :] + data
        self._buffer = data
        self._at = 0

    @property
    def in_head(self) -> bool:
        """Tell whether the client has begun, and not ended, a head or any frame but one of a body."""
        at, buffer = self._at, self._buffer
        return not self.started or self._block != 0 or (at < len(buffer) and buffer[at + 3 : at + 4] != b"\0")

    def step(self) -> Sequence[Event] | None:
        """Read one frame.

        Returns:
            What it came to, perhaps nothing; None when more bytes must come first.

        Raises:
            ConnectionFault: nothing may be read any more.
        """
        buffer, at = self._buffer, self._at
        if not self._greeted:
            begins = buffer[: len(PREFACE)]
            if not PREFACE.startswith(begins):
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "no connection preface")
            if len(begins) < len(PREFACE):
                return None
            self._greeted = True
            at = self._at = len(PREFACE)
        if len(buffer) - at < _FRAME_HEAD:
            return None
        size = int.from_bytes(buffer[at : at + 3], "big")
        kind, flags = buffer[at + 3], buffer[at + 4]
        stream_id = int.from_bytes(buffer[at + 5 : at + 9], "big") & LAST_ID
        self._check(kind, flags, stream_id, size)
        end = at + _FRAME_HEAD + size
        if len(buffer) < end:
            return None
        self._at = end
        frame = buffer[at:end]
        if not self._block or flags & _END_HEADERS:
            self.passed += 1
        if kind == _DATA:
            return self._data(frame, flags, stream_id)
        if kind in (_HEADERS, _CONTINUATION):
            return self._headers(frame, flags, stream_id)
        return self._others[kind](self, frame, flags, stream_id) if kind in self._others else self._unknown()

    def _check(self, kind: int, flags: int, stream_id: int, size: int) -> None:
        """Judge a frame by its first nine bytes (RFC 9113 sections 4.2, 6 and 6.10)."""
        if size > MAX_FRAME:
            raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of more than {MAX_FRAME} bytes")
        if self._block:
            if kind != _CONTINUATION or stream_id != self._block:
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "another frame within a header block")
        elif kind == _CONTINUATION:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION of nothing")
        if not self.started and (kind != _SETTINGS or flags & _ACK):
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind <= _CONTINUATION and kind != _WINDOW_UPDATE and (stream_id == 0) is not (kind in _ON_CONNECTION):
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}")
        if (
            size != _SIZES.get(kind, size)
            or (kind == _SETTINGS and (size % 6 or (size and flags & _ACK)))
            or (kind == _GOAWAY and size < 8)
        ):
            raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of type {kind} with {size} bytes")

    def _is_open(self, stream_id: int) -> bool:
        """Tell whether a stream is open in any direction.

        Raises:
            ConnectionFault: it never was.
        """
        h2 = self._h2
        if stream_id > h2.highest_inbound_stream_id or not stream_id & 1:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, f"a frame on stream {stream_id}, which is idle")
        stream = h2.streams.get(stream_id)
        return stream is not None and not stream.closed

    def _data(self, frame: bytes, flags: int, stream_id: int) -> Sequence[Event]:
        if not self._is_open(stream_id):
            if stream_id not in self._reset:
                raise ConnectionFault(ErrorCodes.STREAM_CLOSED, f"DATA on stream {stream_id}, which has ended")
            self._busy()
        elif not flags & _END_STREAM and self._is_empty(frame, flags):
            self._busy()
        return self._feed(frame, stream_id)

    @staticmethod
    def _is_empty(frame: bytes, flags: int) -> bool:
        size = len(frame) - _FRAME_HEAD
        return not size or bool(flags & _PADDED and frame[_FRAME_HEAD] == size - 1)

    def _headers(self, frame: bytes, flags: int, stream_id: int) -> Sequence[Event]:
        if not self._block:
            if not stream_id & 1:
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a stream of the client's with an even number")
            self._block = stream_id
            self._block_size = 0
        elif len(frame) == _FRAME_HEAD:
            self._busy()
        self._block_size += len(frame)
        if self._block_size > self._most_block:
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, f"a header block over {self._most_block} bytes")
        if flags & _END_HEADERS:
            self._block = 0
        return self._feed(frame, stream_id)

    def _feed(self, frame: bytes, stream_id: int) -> Sequence[Event]:
        """Give a frame to h2, and tell what its errors mean."""
        try:
            events = self._h2.receive_data(frame)
        except InvalidBodyLengthError:
            return self.break_off(stream_id, ErrorCodes.PROTOCOL_ERROR)
        except ProtocolError as error:
            cause = error.__cause__
            if isinstance(cause, (HPACKError, IndexError, TypeError, UnicodeDecodeError)):
                code = error.error_code
                if code == ErrorCodes.PROTOCOL_ERROR:
                    code = ErrorCodes.COMPRESSION_ERROR  # RFC 9113 section 4.3
            elif type(error) is ProtocolError and frame[3] in (_HEADERS, _CONTINUATION) and _is_of_stream(cause):
                # The list was decoded: the tables are in step, and what it says wrong concerns its stream alone.
                return self.break_off(stream_id, ErrorCodes.PROTOCOL_ERROR)
            else:
                code = error.error_code
            raise ConnectionFault(ErrorCodes(code), str(error)[:200]) from None
        for event in events:
            if type(event) is StreamReset:
                self._remember(event.stream_id)
                self._count_reset()
        return events

    def break_off(self, stream_id: int, code: ErrorCodes) -> Sequence[Event]:
        """Reset a stream for a mistake of the client's (RFC 9113 section 5.4.2)."""
        self._count_reset()
        self.reset(stream_id, code)
        return (StreamReset(stream_id=stream_id, error_code=code, remote_reset=False),)

    def _count_reset(self) -> None:
        """Count a stream that came to nothing, whoever reset it: each has cost as much as one that is answered."""
        if not self._resets.spend():
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "too many streams were reset")

    def _busy(self) -> None:
        """Count a frame that moves nothing."""
        if not self._control.spend():
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that move nothing")

    def _remember(self, stream_id: int) -> None:
        self._reset[stream_id] = None
        if len(self._reset) > REMEMBERED:
            del self._reset[next(iter(self._reset))]

    def _priority(self, frame: bytes, _flags: int, stream_id: int) -> Sequence[Event]:
        """Check what is of no use to us (RFC 9113 section 5.3.2)."""
        self._busy()
        if len(frame) != _FRAME_HEAD + 5:
            if stream_id <= self._h2.highest_inbound_stream_id and self._is_open(stream_id):
                return self.break_off(stream_id, ErrorCodes.FRAME_SIZE_ERROR)
            raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, "PRIORITY that is not 5 bytes long")
        if int.from_bytes(frame[9:13], "big") & LAST_ID == stream_id:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, f"stream {stream_id} depends on itself")
        return ()

    def _rst_stream(self, frame: bytes, _flags: int, stream_id: int) -> Sequence[Event]:
        if self._is_open(stream_id):
            return self._feed(frame, stream_id)
        self._remember(stream_id)
        self._busy()
        return ()

    def _settings(self, frame: bytes, flags: int, _stream_id: int) -> Sequence[Event]:
        self._busy()
        self.started = True
        if flags & _ACK:
            return ()
        # h2 would keep every number it is told, and encode with a table as large as the client likes.
        settings: dict[int, int] = {}
        for at in range(_FRAME_HEAD, len(frame), 6):
            name = int.from_bytes(frame[at : at + 2], "big")
            value = int.from_bytes(frame[at + 2 : at + 6], "big")
            if name in _SETTINGS_RANGES:
                low, high, code = _SETTINGS_RANGES[name]
                if not low <= value <= high:
                    raise ConnectionFault(code, f"setting {name} may not be {value}")
            if name == SettingCodes.HEADER_TABLE_SIZE:
                self._h2.encoder.header_table_size = min(value, HEADER_TABLE)
            elif name == SettingCodes.INITIAL_WINDOW_SIZE:
                settings[name] = value
        return self._feed(SettingsFrame(0, settings=settings).serialize(), 0)

    def _push_promise(self, _frame: bytes, _flags: int, _stream_id: int) -> Sequence[Event]:
        raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _ping(self, frame: bytes, _flags: int, _stream_id: int) -> Sequence[Event]:
        self._busy()
        return self._feed(frame, 0)

    def _goaway(self, _frame: bytes, _flags: int, _stream_id: int) -> Sequence[Event]:
        self._busy()
        return (GoAway(),)

    def _window_update(self, frame: bytes, _flags: int, stream_id: int) -> Sequence[Event]:
        if not self._updates.spend():
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "too many window updates")
        is_open = not stream_id or self._is_open(stream_id)
        if not int.from_bytes(frame[9:], "big") & LAST_ID:
            if not stream_id:
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a window update of 0")
            return self.break_off(stream_id, ErrorCodes.PROTOCOL_ERROR) if is_open else ()
        return self._feed(frame, stream_id) if is_open else ()

    def _unknown(self) -> Sequence[Event]:
        """Ignore a frame of an extension (RFC 9113 section 5.5)."""
        self._busy()
        return ()

    _others = {
        _PRIORITY: _priority,
        _RST_STREAM: _rst_stream,
        _SETTINGS: _settings,
        _PUSH_PROMISE: _push_promise,
        _PING: _ping,
        _GOAWAY: _goaway,
        _WINDOW_UPDATE: _window_update,
    }

    # Writing

    def take(self) -> bytes:
        """Return what is to be sent now."""
        data = self._h2.data_to_send()
        if self._out:
            data = b"".join(self._out) + data
            self._out.clear()
        return data

    @property
    def last_stream(self) -> int:
        """The highest stream that the client has opened."""
        return self._h2.highest_inbound_stream_id

    @property
    def window(self) -> int:
        """Bytes of content that the client takes on all streams together."""
        return self._h2.outbound_flow_control_window

    def room(self, stream_id: int) -> int:
        """Return the bytes of content that the client takes on an open stream in one frame; it may be negative."""
        return min(self._h2.local_flow_control_window(stream_id), MAX_FRAME)

    def send_headers(self, stream_id: int, fields: list[Header], end: bool) -> None:
        """Send a header list on an open stream; `end` ends our side of it."""
        self._h2.send_headers(stream_id, fields, end)

    def send_data(self, stream_id: int, data: bytes, end: bool, *, cut: bool = False) -> None:
        """Send content that there is room for.

        Args:
            stream_id: an open stream.
            data: the content.
            end: it is the last on this stream.
            cut: there was more, but no room for it.
        """
        self._h2.send_data(stream_id, data, end)
        if not cut or len(data) >= _SMALL:
            # Else a client that opens its windows byte by byte pays for each (CVE-2019-9511).
            self._updates.earn(2)

    def taken(self, stream_id: int, size: int) -> None:
        """Let the client send as much again as the consumer took: `size` counts padding, too."""
        self._h2.acknowledge_received_data(size, stream_id)

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """End a stream at once, in both directions."""
        self._remember(stream_id)
        self._control.earn(STREAM_WINDOW // MAX_FRAME)  # what is on its way is not held against the client
        try:
            self._h2.reset_stream(stream_id, code)
        except ProtocolError:  # in h2's books a mistake has closed it already; the client has to know
            self._write(RstStreamFrame(stream_id, error_code=code).serialize())

    def refuse(self, stream_id: int) -> None:
        """Reset a stream that was not looked at: the client may ask again (RFC 9113 section 8.7).

        Raises:
            ConnectionFault: it was told so often enough.
        """
        self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        self._count_reset()

    def served(self) -> None:
        """Take note of an answered request: it speaks for the client."""
        self._control.earn(2)

    def ping(self, data: bytes) -> None:
        """Ask for a sign of life, with 8 bytes to know it by."""
        self._h2.ping(data)

    def go_away(self, last_stream: int, code: ErrorCodes, reason: str = "") -> None:
        """Say that streams above `last_stream` will not be served; those below go on."""
        frame = GoAwayFrame(0, last_stream_id=last_stream, error_code=code, additional_data=reason.encode())
        self._write(frame.serialize())

    def _write(self, frame: bytes) -> None:
        """Send a frame of our own behind those of h2."""
        self._out += (self._h2.data_to_send(), frame)


def _is_of_stream(cause: BaseException | None) -> bool:
    """Tell whether h2 refused a header list for what it says, or for when it came."""
    return cause is None or isinstance(cause, (KeyError, AssertionError, ValueError))
