"""What DKIM hashes: headers and bodies in a form that survives the usual changes on the way (RFC 6376 section 3.4).

A body is taken piece by piece, in memory that does not depend on its size. A bare CR or LF, which only a binary mail
has, ends no line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SPACE = re.compile(rb"[ \t]+")
_LINE_END = b"\r\n"
_LINE_ENDS = _LINE_END * 4096


def relaxed_header(name: bytes, value: bytes) -> bytes:
    """Return a header in the relaxed form, without its line end."""
    unfolded = _SPACE.sub(b" ", value.replace(_LINE_END, b"")).strip(b" ")
    return name.strip(b" \t").lower() + b":" + unfolded


class Body:
    """A body on its way into a hash, in the simple form.

    Args:
        update: Takes the next bytes of the canonical body.

    Attributes:
        size: Bytes of it so far.
    """

    def __init__(self, update: Callable[[bytes], None]) -> None:
        self.size = 0
        self._update = update
        self._held = b""  # what may be part of a line end
        self._empty_lines = 0  # that nothing has followed yet

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        self._take(data[: len(data) - len(self._held)])

    def end(self) -> None:
        """Take note that all was fed."""
        self._take(self._held)
        self._held = b""
        self._finish()

    def _finish(self) -> None:
        self._put(_LINE_END)  # that of the last line, or all there is of an empty body

    def _take(self, data: bytes) -> None:
        """Take bytes that do not end inside a line end; what ends them waits."""
        end = _without_line_ends(data)
        if end:
            self._put_line_ends()
            self._put(data[:end])
        self._empty_lines += (len(data) - end) // 2

    def _put_line_ends(self) -> None:
        whole, rest = divmod(2 * self._empty_lines, len(_LINE_ENDS))
        for _ in range(whole):
            self._put(_LINE_ENDS)
        self._put(_LINE_ENDS[:rest])
        self._empty_lines = 0

    def _put(self, data: bytes) -> None:
        self.size += len(data)
        self._update(data)


class RelaxedBody(Body):
    """The same in the relaxed form: white space is one space, and none at the end of a line."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        data = _SPACE.sub(b" ", self._held + data)
        end = len(data) - data.endswith(b"\r")
        end -= data.endswith(b" ", 0, end)
        self._held = data[end:]
        self._take(data[:end].replace(b" \r\n", _LINE_END))

    def end(self) -> None:
        """Take note that all was fed."""
        self._held = self._held.rstrip(b" ")
        super().end()

    def _finish(self) -> None:
        if self.size:
            self._put(_LINE_END)


def _without_line_ends(data: bytes) -> int:
    """Return where the line ends that end `data` begin."""
    end = len(data.rstrip(_LINE_END))
    if (len(data) - end) % 2 == 0 and data[end:] == _LINE_END * ((len(data) - end) // 2):
        return end
    end = len(data)  # there are bare ones among them
    while data.endswith(_LINE_END, 0, end):
        end -= 2
    return end
