"""Bytes on their way to somebody slow: first in memory, then in anonymous temporary files, first in first out.

The memory holds the head of the queue and the files its tail. A file is given back as soon as it was read, so that
the disk holds what is waiting and little more, however long a reader stays just behind.
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


class _File:
    """A file of the tail, and how many bytes were written to it."""

    __slots__ = ("end", "file")

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="trunkline-", buffering=0)  # noqa: SIM115 (closed by Spool)
        self.end = 0

    def append(self, data: bytes) -> None:
        rest, at = memoryview(data), self.end
        while rest:
            written = os.pwrite(self.file.fileno(), rest, at)
            rest, at = rest[written:], at + written
        self.end = at


class Spool:
    """Keep bytes until they are read.

    Args:
        memory: Bytes that may wait in memory.
        limit: Bytes that may wait in all.
        file_size: Bytes after which the next file is begun.

    Attributes:
        size: Bytes written and not yet read.
    """

    __slots__ = ("_chunks", "_file_size", "_files", "_first", "_in_memory", "_limit", "_memory", "_start", "size")

    def __init__(self, memory: int = 256 * 1024, limit: int = 1024**3, file_size: int = 64 * 1024 * 1024) -> None:
        self.size = 0
        self._memory = memory
        self._limit = limit
        self._file_size = file_size
        self._chunks: deque[bytes] = deque()
        self._first = 0  # where the unread part of the first chunk begins
        self._in_memory = 0
        self._files: deque[_File] = deque()
        self._start = 0  # where the unread part of the first file begins

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end.

        Raises:
            SpoolFull: It has no room; nothing was added.
        """
        if not data:
            return
        if self.size + len(data) > self._limit:
            raise SpoolFull(f"more than {self._limit} bytes are waiting")
        if self._files or self._in_memory + len(data) > self._memory:
            self._append_to_file(data)
        else:
            self._chunks.append(data)
            self._in_memory += len(data)
        self.size += len(data)

    def read(self, n: int) -> bytes:
        """Return the next ``n`` bytes, or as many as there are."""
        parts = []
        while n and self.size:
            part = self._read_from_memory(n) if self._chunks else self._read_from_file(n)
            self.size -= len(part)
            n -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Forget everything and give the files back. May be called twice."""
        self._chunks.clear()
        self._first = self._in_memory = self._start = self.size = 0
        while self._files:
            self._files.pop().file.close()

    def _append_to_file(self, data: bytes) -> None:
        files = self._files
        try:
            if not files or files[-1].end >= self._file_size:
                files.append(_File())
            files[-1].append(data)
        except OSError as error:
            if files and not files[-1].end:
                files.pop().file.close()
            if error.errno in _FULL:
                raise SpoolFull(f"the disk is full: {error.strerror}") from error
            raise

    def _read_from_memory(self, n: int) -> bytes:
        chunk = self._chunks[0]
        part = chunk if not self._first and len(chunk) <= n else chunk[self._first : self._first + n]
        self._first += len(part)
        self._in_memory -= len(part)
        if self._first == len(chunk):
            self._chunks.popleft()
            self._first = 0
        return part

    def _read_from_file(self, n: int) -> bytes:
        head = self._files[0]
        part = os.pread(head.file.fileno(), min(n, head.end - self._start), self._start)
        if not part:
            raise OSError(errno.EIO, "a spool's temporary file was cut short")
        self._start += len(part)
        if self._start == head.end:
            self._files.popleft().file.close()
            self._start = 0
        return part
