"""The mail data of one DATA command, taken in blocks of whatever size the socket gives.

Only CR LF "." CR LF ends it (RFC 5321 section 4.1.1.4). Everything else that other software might take for an end has a
bare CR or LF in it, and a mail with one is refused whole: that is what keeps a second mail from being smuggled in. Dots
are unstuffed (section 4.5.2) and everything is checked with a few searches a block, never line by line.
"""

from __future__ import annotations

from . import replies
from .replies import Reply

_END = b"\r\n.\r\n"
_BEGINNINGS_OF_END = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class DataReader:
    """Take blocks until the end of the data; hold at most `max_size` bytes.

    Args:
        max_size: Bytes of the mail, dots unstuffed.
        max_line: Bytes of a line without its CR LF.

    Attributes:
        refusal: Why the mail is refused, None so far. From then on nothing is kept.
        discarded: Bytes not kept.
    """

    __slots__ = ("_begun", "_kept", "_line", "_max_line", "_max_size", "_tail", "discarded", "refusal")

    def __init__(self, max_size: int, max_line: int) -> None:
        self.refusal: Reply | None = None
        self.discarded = 0
        self._max_size = max_size
        self._max_line = max_line
        self._kept = bytearray()  # no list of blocks: of two bytes each they would take thirty times their room
        self._line = 0  # bytes of the line that is not ended yet
        self._tail = b"\r\n"  # not judged yet, for it may begin the end; at first the CR LF of the DATA command
        self._begun = False  # that CR LF was judged; it is no part of the mail

    @property
    def held(self) -> int:
        """Bytes kept."""
        return len(self._kept)

    def feed(self, block: bytes) -> bytes | None:
        """Take a block.

        Returns:
            What follows the end of the data, or None when the end has not come.
        """
        data = self._tail + block
        end = data.find(_END)
        if end >= 0:
            self._take(data[: end + 2])
            self._tail = b""
            return data[end + len(_END) :]
        self._tail = next((part for part in _BEGINNINGS_OF_END if data.endswith(part)), b"")
        self._take(data[: len(data) - len(self._tail)])
        return None

    def refuse(self, refusal: Reply) -> None:
        """Keep nothing of this mail, and go on to its end."""
        if self.refusal is None:
            self.refusal = refusal
        self.discarded += len(self._kept)
        self._kept = bytearray()

    def content(self) -> bytes:
        """Return the mail; empty where it is refused."""
        return bytes(self._kept)

    def _take(self, data: bytes) -> None:
        """Judge and keep `data`, which ends neither inside a CR LF nor inside a CR LF "."."""
        if not data:
            return
        if b"\r\n." in data:
            data = data.replace(b"\r\n.", b"\r\n")
        if self.refusal is None:
            ends = data.count(b"\r\n")
            if data.count(b"\n") != ends or data.count(b"\r") != ends:
                self.refuse(replies.BARE_IN_DATA)
            elif self._has_long_line(data):
                self.refuse(replies.LINE_TOO_LONG)
        if not self._begun:
            self._begun = True
            data = data[2:]
        if self.refusal is None and len(self._kept) + len(data) > self._max_size:
            self.refuse(replies.TOO_LARGE)
        if self.refusal is None:
            self._kept += data
        else:
            self.discarded += len(data)

    def _has_long_line(self, data: bytes) -> bool:
        """Tell whether a line is too long, by hops of a longest line's length."""
        position = -self._line
        while len(data) - position > self._max_line:
            end = data.rfind(b"\r\n", max(position, 0), position + self._max_line + 2)
            if end < 0:
                return True
            position = end + 2
        last = data.rfind(b"\r\n")
        self._line = len(data) - last - 2 if last >= 0 else self._line + len(data)
        return False
