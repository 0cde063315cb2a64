"""The chunked transfer coding of requests: framed bytes in, body bytes out (RFC 9112 section 7.1).

Ours and not httptools': a decoder that can be stopped after any number of bytes is what lets a client wait for a
slow consumer, and nothing may be guessed here, since two parsers that disagree about where a body ends are how
requests are smuggled.
"""

from __future__ import annotations

import enum
import re

from .head import find_control, parse_field_lines
from .limits import HttpLimits
from .request import BadRequest

MAX_SIZE_LINE = 256  # bytes of a chunk's size and extensions, which nobody reads
MAX_CHUNKS = 1024  # decoded at once, however small they are

_EXTENSION = rb"(?:;[\t\x20-\x7e\x80-\xff]*)?"
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})" + _EXTENSION)
_SIZE_LINE_SO_FAR = re.compile(rb"(?:[0-9A-Fa-f]{1,15}" + _EXTENSION + rb"\r?)?")


class _State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILERS = enum.auto()
    DONE = enum.auto()


class ChunkedDecoder:
    """Takes the chunked coding off one body.

    Args:
        limits: `max_body` for the body, `max_head` and `max_headers` for the trailers.
    """

    __slots__ = ("_at", "_left", "_limits", "_scanned", "_state", "_total")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._state = _State.SIZE
        self._at = 0  # offset in the buffer of what was not used yet
        self._left = 0  # bytes of the current chunk still to come
        self._total = 0  # bytes of the body announced so far
        self._scanned = 0  # bytes of the trailers already looked at

    @property
    def done(self) -> bool:
        """Tell whether the end of the body, trailers included, was read."""
        return self._state is _State.DONE

    def decode(self, buffer: bytes, at: int, limit: int) -> tuple[bytes, int]:
        """Take the next body bytes out of a buffer.

        Args:
            buffer: what came from the client.
            at: offset of its first byte that was not used yet.
            limit: bytes of the buffer to use, about; never more body bytes than these.

        Returns:
            Body bytes, empty when more must come first or the body is done; and the offset from where to go on.

        Raises:
            BadRequest: 400 for anything but the exact coding, 413 over `max_body`, 431 for too many trailers.
        """
        self._at = at
        end = at + limit
        pieces: list[bytes] = []
        while self._at < end and len(pieces) < MAX_CHUNKS:
            try:
                piece = self._step(buffer, end - self._at)
            except BadRequest:
                if pieces:
                    break  # what came before the fault is delivered first; the next call meets it again
                raise
            if piece is None:
                break
            if piece:
                pieces.append(piece)
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), self._at

    def _step(self, buffer: bytes, limit: int) -> bytes | None:
        """Read one element; None when it is not all there, or there is none."""
        state = self._state
        if state is _State.DATA:
            piece = buffer[self._at : self._at + min(self._left, limit)]
            if not piece:
                return None
            self._at += len(piece)
            self._left -= len(piece)
            if not self._left:
                self._state = _State.DATA_END
            return piece
        if state is _State.SIZE:
            return self._size(buffer)
        if state is _State.DATA_END:
            ending = buffer[self._at : self._at + 2]
            if ending == b"\r\n":
                self._at += 2
                self._state = _State.SIZE
                return b""
            if b"\r\n".startswith(ending):
                return None
            raise BadRequest(400, "a chunk that does not end where its size says")
        if state is _State.TRAILERS:
            return self._trailers(buffer)
        return None

    def _size(self, buffer: bytes) -> bytes | None:
        at = self._at
        end = buffer.find(b"\r\n", at, at + MAX_SIZE_LINE + 2)
        if end < 0:
            line = buffer[at : at + MAX_SIZE_LINE + 2]
            if len(line) <= MAX_SIZE_LINE + 1 and _SIZE_LINE_SO_FAR.fullmatch(line):
                return None
        found = _SIZE_LINE.fullmatch(buffer, at, end) if end >= 0 else None
        if found is None:
            raise BadRequest(400, "a chunk size that is not a hexadecimal number at the start of its own line")
        size = int(found[1], 16)
        if self._total + size > self._limits.max_body:
            raise BadRequest(413, f"the body is over {self._limits.max_body} bytes")
        self._total += size
        self._left = size
        self._at = end + 2
        self._state = _State.DATA if size else _State.TRAILERS
        return b""

    def _trailers(self, buffer: bytes) -> bytes | None:
        """Check the trailers and forget them: no message has a place for them."""
        at = self._at
        if buffer.startswith(b"\r\n", at):
            self._at = at + 2
            self._state = _State.DONE
            return b""
        end = buffer.find(b"\r\n\r\n", at + max(self._scanned - 3, 0))
        text = buffer[at : end + 4] if end >= 0 else buffer[at:]
        largest = self._limits.max_head
        fault = find_control(text[: largest + 1], max(self._scanned - 1, 0))
        if fault is not None:
            raise fault
        if len(text) > largest:
            raise BadRequest(431, f"the trailers are over {largest} bytes")
        if end < 0:
            self._scanned = len(text)
            return None
        if len(parse_field_lines(text[:-2])) > self._limits.max_headers:
            raise BadRequest(431, f"more than {self._limits.max_headers} trailer lines")
        self._at = end + 4
        self._state = _State.DONE
        return b""
