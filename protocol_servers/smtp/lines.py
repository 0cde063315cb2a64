"""What was received and not yet read, and the commands in it, line by line.

Only CR LF ends a line. One with a bare CR or LF in it is no line, and nothing of it is a command, up to its CR LF: what
another server would take for several commands is none here. However long a line is, no more of it is kept than a
command may have.
"""

from __future__ import annotations

import enum


class Fault(enum.Enum):
    """Why a line is none."""

    BARE = "a bare CR or LF"
    TOO_LONG = "too long"


class Lines:
    """Bytes that came in, to be read in order.

    Attributes:
        discarded: Bytes of the line that is being refused, which were not kept.
    """

    __slots__ = ("_answered", "_buffer", "_position", "_refused", "_start", "discarded")

    def __init__(self) -> None:
        self.discarded = 0
        self._buffer = b""
        self._position = 0
        self._start = 0  # of the line that was read last
        self._refused = False  # what is read now is refused, up to a CR LF
        self._answered = False  # and had its fault told already, up to a bare LF

    def __len__(self) -> int:
        return len(self._buffer) - self._position

    def add(self, data: bytes) -> None:
        """Take what came in."""
        self.forget_read()
        self._buffer = self._buffer + data if self._buffer else data

    def forget_read(self) -> None:
        """Keep nothing that was read."""
        if self._position:
            self._buffer = self._buffer[self._position :]
            self._position = 0

    def clear(self) -> None:
        """Forget everything that was not read."""
        self._buffer, self._position = b"", 0

    def take_all(self) -> bytes:
        """Return everything that was not read; what is not wanted of it is to be added again."""
        data = self._buffer[self._position :] if self._position else self._buffer
        self.clear()
        return data

    def give_back(self) -> None:
        """Have the last line read once more."""
        self._position = self._start

    def next(self, longest: int) -> bytes | Fault | None:
        """Read a line.

        Args:
            longest: Bytes that it may have.

        Returns:
            The line without its end, or what is wrong with one, to be told once; None: there is no whole line.
        """
        while True:
            start = self._position
            end = self._buffer.find(b"\n", start)
            if end < 0:
                return self._unfinished(longest)
            is_whole = end > start and self._buffer[end - 1] == 0x0D
            self._start, self._position = start, end + 1
            if not is_whole:
                # The client may think that its command ended here: it hears of every one.
                answered, self._refused, self._answered = self._answered, True, False
                if not answered:
                    return Fault.BARE
            elif self._refused:
                self._refused = self._answered = False
                self.discarded = 0
            else:
                line = self._buffer[start : end - 1]
                if b"\r" in line:
                    return Fault.BARE
                return line if len(line) <= longest else Fault.TOO_LONG

    def _unfinished(self, longest: int) -> Fault | None:
        """Keep a beginning that may become a line, and nothing of any other."""
        fault = None
        if not self._refused:
            if len(self) <= longest + 1:
                return None
            self._refused = self._answered = True
            fault = Fault.TOO_LONG
        before = len(self)
        self._position = len(self._buffer) - self._buffer.endswith(b"\r")
        self.discarded += before - len(self)
        return fault
