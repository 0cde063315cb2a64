"""Where the content of large parts is, and what it is read by: any piece of it, as often as somebody wants it."""

from __future__ import annotations

import mmap
from typing import Protocol


class Source(Protocol):
    """Bytes that can be read anywhere."""

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start` on."""


class Store(Source, Protocol):
    """A source that is being written."""

    @property
    def size(self) -> int:
        """How many bytes were written."""

    def write(self, data: bytes) -> None:
        """Add `data` at the end; OSError where there is no room."""


class Kept:
    """Bytes that are there anyway."""

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._bytes = data

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start` on."""
        return self._bytes[start : start + count]


class Memory:
    """A store in memory.

    Attributes:
        size: How many bytes were written.
    """

    __slots__ = ("_bytes", "size")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add `data` at the end."""
        self._bytes += data
        self.size += len(data)

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start` on."""
        return bytes(self._bytes[start : start + count])


class LargePart:
    """The content of one large part, transfer encoding undone.

    Attributes:
        size: Its bytes.
    """

    __slots__ = ("_source", "_start", "size")

    def __init__(self, source: Source, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self.size = size

    def __len__(self) -> int:
        return self.size

    def read(self, position: int = 0, count: int | None = None) -> bytes:
        """Return up to `count` bytes from `position` on, or all that follow."""
        left = max(self.size - position, 0)
        return self._source.read(self._start + position, left if count is None else min(count, left))
