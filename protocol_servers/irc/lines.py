"""Bytes into lines, within bounds.

A line ends with CR LF; a bare CR or LF ends one as well, as some servers send it (RFC 1459 section 8.1 has the story).
"""

from __future__ import annotations

import re

MAX_TAGS = 8191  # with the @ and the space, https://ircv3.net/specs/extensions/message-tags#size-limit
MAX_BODY = 8192  # 512 by the RFC; LINELEN may be more, and some servers do not count what they add
_END = re.compile(rb"[\r\n]+")


class LineReader:
    """Splits what arrives into lines; holds no more than one line.

    Attributes:
        cut: Lines that were too long: their tags were dropped, or the line was.
    """

    def __init__(self) -> None:
        self.cut = 0
        self._buffer = b""
        self._skipping = False  # up to the end of a line that was too long

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the lines that are complete, without their ends and without empty ones."""
        parts = _END.split(self._buffer + data if self._buffer else data)
        self._buffer = parts.pop()
        if self._skipping and parts:
            self._skipping = False
            del parts[0]
        if self._skipping:
            self._buffer = b""
        elif len(self._buffer) > MAX_TAGS + MAX_BODY:
            self.cut += 1
            self._buffer, self._skipping = b"", True
        return [line for each in parts if each and (line := self._within_limits(each))]

    def _within_limits(self, line: bytes) -> bytes | None:
        if len(line) <= MAX_TAGS:
            return line
        tags = line.find(b" ") + 1 if line.startswith(b"@") else 0
        if tags > MAX_TAGS:
            self.cut += 1
            line, tags = line[tags:], 0
        if len(line) - tags > MAX_BODY:
            self.cut += 1
            return None
        return line
