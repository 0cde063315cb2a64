"""The bytes of one mail while it is here: in memory, above 256 KiB in an anonymous temporary file.

Every byte is written once and read at any place, as often as somebody wants it: the mail by its parser, and large
parts by each recipient's consumer at its own pace. What all mails of a server take is bounded by its `Room`, and what
those of one client take by a `Share` of it.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import threading
from typing import IO

IN_MEMORY = 256 * 1024  # bytes of a mail

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoom(OSError):
    """There is no room for more mail; the text says of which kind."""


class Room:
    """How much mail may be here at once, of all sessions.

    Args:
        memory: Bytes in memory.
        disk: Bytes on disk.

    Attributes:
        max_memory, max_disk: As given.
        memory: Bytes in memory now.
        disk: Bytes on disk now.
    """

    __slots__ = ("__weakref__", "_mutex", "disk", "max_disk", "max_memory", "memory")

    def __init__(self, memory: int, disk: int) -> None:
        self.max_memory = memory
        self.max_disk = disk
        self._mutex = threading.Lock()  # large parts are decoded in a thread
        self.memory = 0
        self.disk = 0

    def take_memory(self, count: int) -> None:
        """Count bytes that are in memory from now on.

        Raises:
            NoRoom: They are too many; they are not counted.
        """
        with self._mutex:
            if self.memory + count > self.max_memory:
                raise NoRoom("too much mail in memory")
            self.memory += count

    def take_disk(self, count: int) -> None:
        """Count bytes that are on disk from now on.

        Raises:
            NoRoom: They are too many; they are not counted.
        """
        with self._mutex:
            if self.disk + count > self.max_disk:
                raise NoRoom("too much mail on disk")
            self.disk += count

    def give_back(self, memory: int, disk: int) -> None:
        """Count no longer what was taken."""
        with self._mutex:
            self.memory -= memory
            self.disk -= disk


class Share(Room):
    """One client's part of a room: half of it at the most, so that nobody takes the place of everybody else.

    Args:
        room: The whole.
        least: Bytes on disk that it is at least, as far as there are so many.
    """

    __slots__ = ("_room",)

    def __init__(self, room: Room, least: int) -> None:
        super().__init__(room.max_memory // 2, min(room.max_disk, max(room.max_disk // 2, least)))
        self._room = room

    def take_memory(self, count: int) -> None:
        """Count bytes here and in the whole, as `Room.take_memory`."""
        super().take_memory(count)
        try:
            self._room.take_memory(count)
        except NoRoom:
            super().give_back(count, 0)
            raise

    def take_disk(self, count: int) -> None:
        """Count bytes here and in the whole, as `Room.take_disk`."""
        super().take_disk(count)
        try:
            self._room.take_disk(count)
        except NoRoom:
            super().give_back(0, count)
            raise

    def give_back(self, memory: int, disk: int) -> None:
        """Count no longer what was taken, here and in the whole."""
        super().give_back(memory, disk)
        self._room.give_back(memory, disk)


class Content:
    """Bytes that are written once and read anywhere.

    Args:
        room: What they take is counted there.
        memory: Bytes up to which they stay in memory.

    Attributes:
        room: As given.
        size: How many there are.
    """

    __slots__ = ("_file", "_kept", "_memory", "_on_disk", "room", "size")

    def __init__(self, room: Room, memory: int = IN_MEMORY) -> None:
        self.size = 0
        self.room = room
        self._memory = memory
        self._kept = bytearray()  # no list of blocks: of two bytes each they would take thirty times their room
        self._file: IO[bytes] | None = None
        self._on_disk = 0  # bytes that are counted there

    def write(self, data: bytes) -> None:
        """Add `data` at the end.

        Raises:
            NoRoom: There is no room for it, or the disk is full; the content is to be closed then.
        """
        if self._file is None and self.size + len(data) <= self._memory:
            self.room.take_memory(len(data))
            self._kept += data
        else:
            self._write_to_file(data)
        self.size += len(data)

    def _write_to_file(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="trunkline-", buffering=0)  # noqa: SIM115 (closed by close)
                self._append(self._kept, 0)
                self._forget_memory()
            self._append(data, self.size)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise NoRoom(f"the disk is full: {error.strerror}") from error
            raise

    def _append(self, data: bytes | bytearray, at: int) -> None:
        assert self._file is not None
        self.room.take_disk(len(data))
        self._on_disk += len(data)
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file.fileno(), rest, at)
            rest, at = rest[written:], at + written

    def _forget_memory(self) -> None:
        self.room.give_back(len(self._kept), 0)
        self._kept = bytearray()

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start` on."""
        if self._file is None:
            return bytes(self._kept[start : start + count])
        return os.pread(self._file.fileno(), count, start)

    def whole(self) -> bytes | mmap.mmap:
        """Return all of it: the bytes, or the file as memory, whose pages are read when they are looked at."""
        if self._file is None:
            return bytes(self._kept)
        return mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Forget it. May be called twice."""
        self._forget_memory()
        self.room.give_back(0, self._on_disk)
        self._on_disk = self.size = 0
        if self._file is not None:
            self._file.close()
            self._file = None
