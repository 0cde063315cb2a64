"""Bytes on their way to somebody slow: first in memory, then in an anonymous temporary file, first in first out.

The memory holds the head of the queue and the file its tail. The file is used as a ring of ``limit`` bytes, so that a
reader who never quite catches up does not make it grow for ever, and is given back as soon as it is empty.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import deque
from typing import IO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SpoolFull(Exception):
    """More is waiting than the spool's limit, or the disk is full; the message says which."""


class Spool:
    """Keep bytes until they are read.

    Args:
        memory: Bytes that may wait in memory.
        limit: Bytes that may wait in all.

    Attributes:
        size: Bytes written and not yet read.
    """

    __slots__ = ("_chunks", "_file", "_first", "_in_memory", "_limit", "_memory", "_start", "size")

    def __init__(self, memory: int = 256 * 1024, limit: int = 1024**3) -> None:
        self.size = 0
        self._memory = memory
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._first = 0  # where the unread part of the first chunk begins
        self._in_memory = 0
        self._file: IO[bytes] | None = None
        self._start = 0  # where the unread part of the file begins

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end.

        Raises:
            SpoolFull: It has no room; nothing was added.
        """
        if self.size + len(data) > self._limit:
            raise SpoolFull(f"more than {self._limit} bytes are waiting")
        if self._file is None and self._in_memory + len(data) <= self._memory:
            self._chunks.append(data)
            self._in_memory += len(data)
        else:
            self._append_to_file(data)
        self.size += len(data)

    def read(self, n: int) -> bytes:
        """Return the next ``n`` bytes, or as many as there are."""
        parts = []
        while n and self.size:
            if not self._chunks:
                part = self._read_from_file(n)
            else:
                chunk = self._chunks[0]
                part = chunk if not self._first and len(chunk) <= n else chunk[self._first : self._first + n]
                self._first += len(part)
                self._in_memory -= len(part)
                if self._first == len(chunk):
                    self._chunks.popleft()
                    self._first = 0
            self.size -= len(part)
            n -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Forget everything and give the file back. May be called twice."""
        self._chunks.clear()
        self._first = self._in_memory = self.size = 0
        self._drop_file()

    def _append_to_file(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="trunkline-", buffering=0)  # noqa: SIM115 (closed by _drop_file)
                self._start = 0
            at = (self._start + self.size - self._in_memory) % self._limit
            while rest:
                written = os.pwrite(self._file.fileno(), rest[: self._limit - at], at)
                at = (at + written) % self._limit
                rest = rest[written:]
        except OSError as error:
            if error.errno in _FULL:
                raise SpoolFull(f"the disk is full: {error.strerror}") from error
            raise

    def _read_from_file(self, n: int) -> bytes:
        assert self._file is not None, "what is waiting and not in memory is in the file"
        part = os.pread(self._file.fileno(), min(n, self.size, self._limit - self._start), self._start)
        if not part:
            raise OSError(errno.EIO, "a spool's temporary file was cut short")
        self._start = (self._start + len(part)) % self._limit
        if len(part) == self.size:
            self._drop_file()
        return part

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
