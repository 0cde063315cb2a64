"""The mail data of DATA and of BDAT, taken in blocks of whatever size the socket gives.

Only CR LF "." CR LF ends DATA (RFC 5321 section 4.1.1.4), and only the number of bytes that it named ends a BDAT
(RFC 3030 section 2). Everything else that other software might take for an end has a bare CR or LF in it, and a mail
with one is refused whole: that is what keeps a second mail from being smuggled in. Dots are unstuffed (RFC 5321
section 4.5.2) and everything is checked with a few searches a block, never line by line.
"""

from __future__ import annotations

from typing import Protocol

from . import replies
from .content import Content, NoRoom
from .replies import Reply

_END = b"\r\n.\r\n"
_BEGINNINGS_OF_END = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class Reader(Protocol):
    """What takes bytes of the client in the place of commands."""

    @property
    def discarded(self) -> int:
        """Bytes that were not kept."""

    def feed(self, block: bytes) -> bytes | None:
        """Take a block; return what follows the end, or None when the end has not come."""


class Incoming:
    """The bytes of a mail, judged and kept.

    Args:
        content: Where they are kept.
        max_size: How many there may be.
        max_line: Bytes of a line without its CR LF.
        binary: They are no lines (``BODY=BINARYMIME``, RFC 3030 section 3).

    Attributes:
        content: As given.
        discarded: Bytes not kept.
        refusal: Why the mail is refused, None so far. From then on nothing is kept.
    """

    __slots__ = ("_binary", "_line", "_max_line", "_max_size", "_tail", "content", "discarded", "refusal")

    def __init__(self, content: Content, max_size: int, max_line: int, *, binary: bool = False) -> None:
        self.content = content
        self.refusal: Reply | None = None
        self.discarded = 0
        self._max_size = max_size
        self._max_line = max_line
        self._binary = binary
        self._line = 0  # bytes of the line that is not ended yet
        self._tail = b""  # a CR that may be half of a CR LF

    def take(self, data: bytes) -> None:
        """Judge and keep `data`."""
        if self.refusal is None and not self._binary:
            if self._tail:
                data, self._tail = self._tail + data, b""
            if data.endswith(b"\r"):
                data, self._tail = data[:-1], b"\r"
            self._judge(data)
        if self.refusal is None and self.content.size + len(data) > self._max_size:
            self.refuse(replies.TOO_LARGE)
        if self.refusal is None:
            try:
                self.content.write(data)
            except NoRoom:
                self.refuse(replies.NO_ROOM)
        if self.refusal is not None:
            self.discarded += len(data)

    def end(self) -> None:
        """Judge what only the end tells."""
        if self._tail:
            self.refuse(replies.BARE_IN_DATA)

    def refuse(self, refusal: Reply) -> None:
        """Keep nothing of this mail; the first reason stays."""
        if self.refusal is None:
            self.refusal = refusal
        self.discarded += self.content.size
        self.content.close()

    def _judge(self, data: bytes) -> None:
        """Refuse wrong line ends and long lines; `data` does not end inside a CR LF."""
        ends = data.count(b"\r\n")
        if data.count(b"\n") != ends or data.count(b"\r") != ends:
            self.refuse(replies.BARE_IN_DATA)
        elif self._has_long_line(data):
            self.refuse(replies.LINE_TOO_LONG)

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


class DataReader:
    """Take what follows a DATA command, up to its dot.

    Args:
        mail: Where it goes.
    """

    __slots__ = ("_begun", "_mail", "_tail")

    def __init__(self, mail: Incoming) -> None:
        self._mail = mail
        self._tail = b"\r\n"  # not judged yet, for it may begin the end; at first the CR LF of the DATA command
        self._begun = False  # that CR LF was judged; it is no part of the mail

    @property
    def discarded(self) -> int:
        """Bytes of the mail that were not kept."""
        return self._mail.discarded

    def feed(self, block: bytes) -> bytes | None:
        """Take a block; return what follows the end of the data, or None when the end has not come."""
        data = self._tail + block
        end = data.find(_END)
        if end >= 0:
            self._take(data[: end + 2])
            self._tail = b""
            return data[end + len(_END) :]
        self._tail = next((part for part in _BEGINNINGS_OF_END if data.endswith(part)), b"")
        self._take(data[: len(data) - len(self._tail)])
        return None

    def _take(self, data: bytes) -> None:
        """Unstuff `data`, which ends neither inside a CR LF nor inside a CR LF "."."""
        if not data:
            return
        if b"\r\n." in data:
            data = data.replace(b"\r\n.", b"\r\n")
        if not self._begun:
            self._begun = True
            data = data[2:]
        self._mail.take(data)


class ChunkReader:
    """Take what follows a BDAT command, as many bytes as it named.

    Args:
        mail: Where they go; None: nowhere, for the command is refused.
        size: How many there are.
    """

    __slots__ = ("_discarded", "_left", "_mail")

    def __init__(self, mail: Incoming | None, size: int) -> None:
        self._mail = mail
        self._left = size
        self._discarded = 0

    @property
    def discarded(self) -> int:
        """Bytes that were not kept."""
        return self._discarded if self._mail is None else self._mail.discarded

    def feed(self, block: bytes) -> bytes | None:
        """Take a block; return what follows the chunk, or None when there is more of it to come."""
        chunk = block if len(block) <= self._left else block[: self._left]
        self._left -= len(chunk)
        if self._mail is None:
            self._discarded += len(chunk)
        elif chunk:
            self._mail.take(chunk)
        return None if self._left else block[len(chunk) :]
