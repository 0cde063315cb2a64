"""Requests off one connection: bytes in, heads and body bytes out, at the pace of whoever asks.

Nothing is taken out of the buffer before it is asked for, so that a driver that stops asking and stops reading
holds what it has and no more. The outcome never depends on how the bytes were cut on their way: tests feed them one
at a time.
"""

from __future__ import annotations

from .chunked import ChunkedDecoder
from .head import HeadParser, find_control
from .limits import HttpLimits
from .request import BadRequest, Request

MAX_LINE = 16384  # bytes of a request line; RFC 9112 section 3 asks for at least 8000
PIECE = 65536  # bytes of a body handed out at once


class RequestReader:
    """Reads the requests of one connection.

    Args:
        limits: sizes that a request must keep.
        heads: the parser of heads, shared among connections.

    Attributes:
        buffer: what was fed, as far as not all of it was handed out; empty where nothing waits.
    """

    __slots__ = ("_at", "_chunked", "_heads", "_left", "_limits", "_longest", "_scanned", "_skipped", "buffer")

    def __init__(self, limits: HttpLimits, heads: HeadParser) -> None:
        self._limits = limits
        self._heads = heads
        self._longest = min(MAX_LINE, limits.max_head)
        self.buffer = b""
        self._at = 0  # offset in the buffer of what was not handed out yet
        self._scanned = 0  # bytes from there that are known not to end a head
        self._skipped = False
        self._left = 0  # bytes of a body of known length still to come
        self._chunked: ChunkedDecoder | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes that came from the client."""
        if self._at:
            data = self.buffer[self._at :] + data
            self._at = 0
        elif self.buffer:
            data = self.buffer + data
        self.buffer = data

    @property
    def waiting(self) -> int:
        """Count the bytes that were fed and not handed out."""
        return len(self.buffer) - self._at

    @property
    def in_body(self) -> bool:
        """Tell whether the body of the last request was not yet read to its end."""
        return self._left > 0 or self._chunked is not None

    def take(self) -> bytes:
        """Hand out all that waits, for another protocol that takes over."""
        rest = self.buffer[self._at :]
        self.buffer = b""
        self._at = 0
        return rest

    def recall_head(self, data: bytes) -> Request | None:
        """Read the next head out of bytes that came from the client, in place of `feed` and `read_head`.

        Returns:
            The request, where nothing else waits, and all of it is here, and its header lines are remembered from
            another; or None, and nothing is changed.
        """
        return None if self.buffer or len(data) > self._longest else self._heads.recall(data)

    def read_head(self) -> Request | None:
        """Read the next head.

        Returns:
            The request, or None when more bytes must come first.

        Raises:
            BadRequest: the connection cannot be read on after it.
        """
        buffer = self.buffer
        if not buffer:
            return None
        at = self._at
        if not self._skipped and buffer.startswith(b"\r\n", at):
            # One empty line before a request is forgiven (RFC 9112 section 2.2).
            at = self._at = at + 2
            self._scanned = 0
            self._skipped = True
        end = buffer.find(b"\r\n\r\n", at + max(self._scanned - 3, 0))
        size = (end + 4 if end >= 0 else len(buffer)) - at
        if end < 0 or size > self._longest:
            self._check_large_or_partial(buffer[at : at + size], end < 0)
            if end < 0:
                return None
        if at == 0 and size == len(buffer):
            head = buffer
            self.buffer = b""
        else:
            head = buffer[at : at + size]
            self._advance(size)
        self._scanned = 0
        self._skipped = False
        request = self._heads.parse(head)
        if request.length is None:
            self._chunked = ChunkedDecoder(self._limits)
        else:
            self._left = request.length
        return request

    def _check_large_or_partial(self, text: bytes, partial: bool) -> None:
        """Refuse what is too long or has forbidden bytes, as early as it can be known."""
        largest = self._limits.max_head
        longest = self._longest
        if len(text) > longest and text.find(b"\r\n", 0, longest) < 0:
            raise find_control(text[: longest + 1]) or BadRequest(414, f"the request line is over {longest} bytes")
        if len(text) > largest:
            raise find_control(text[: largest + 1]) or BadRequest(431, f"the head is over {largest} bytes")
        if partial:
            fault = find_control(text, max(self._scanned - 1, 0))
            if fault is not None:
                raise fault
            self._scanned = len(text)

    def read_body(self) -> bytes:
        """Read the next bytes of the current request's body.

        Returns:
            At most `PIECE` bytes; empty when more must come first, or the body is at its end (see `in_body`).

        Raises:
            BadRequest: the connection cannot be read on after it.
        """
        if self._chunked is not None:
            piece, at = self._chunked.decode(self.buffer, self._at, PIECE)
            self._advance(at - self._at)
            if self._chunked.done:
                self._chunked = None
            return piece
        wanted = min(self._left, PIECE)
        if self._at == 0 and len(self.buffer) <= wanted:
            piece = self.buffer
            self.buffer = b""
        else:
            piece = self.buffer[self._at : self._at + wanted]
            self._advance(len(piece))
        self._left -= len(piece)
        return piece

    def _advance(self, size: int) -> None:
        self._at += size
        if self._at == len(self.buffer):
            self.buffer = b""
            self._at = 0
