"""Blobs: large parts of messages, in chunks that can be read again and again.

    append ──► loose ──► held by messages and dead letters ──► the last of these is gone: gone
                 └─────► loose for an hour: gone

A blob is held by each message of a durable channel, and by each dead letter, that was sent with it. What is kept of
a blob here is small; its chunks are on a shelf, which may be a file.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from ..errors import ChannelFull, LayerError
from .agenda import Agenda

CHUNK = 64 * 1024
"""Bytes of each chunk but the last."""

LOOSE = 3600.0
"""Seconds a blob is kept that nobody holds, since something was appended to it."""

EACH = 1024
"""Bytes of capacity that a blob takes beyond those in it."""


class Shelf(Protocol):
    """Where chunks are kept."""

    def add(self, key: str, number: int, chunk: bytes, size: int) -> None:
        """Keep a chunk, with which its blob has `size` bytes; an empty one only makes the blob known.

        Raises:
            LayerError: It cannot be kept.
        """

    def chunk(self, key: str, number: int) -> bytes | None:
        """Return a chunk; None if it is not there."""

    def settle(self) -> None:
        """Make sure of all that was added: a message is to hold it."""

    def drop(self, key: str) -> None:
        """Forget a blob."""

    def clear(self) -> None:
        """Forget all."""


class MemoryShelf:
    """Keeps chunks in memory."""

    def __init__(self) -> None:
        self._chunks: dict[str, list[bytes]] = {}

    def add(self, key: str, number: int, chunk: bytes, size: int) -> None:
        chunks = self._chunks.setdefault(key, [])
        if chunk:
            chunks.append(chunk)

    def chunk(self, key: str, number: int) -> bytes | None:
        chunks = self._chunks[key]
        return chunks[number] if 0 <= number < len(chunks) else None

    def settle(self) -> None:
        pass

    def drop(self, key: str) -> None:
        del self._chunks[key]

    def clear(self) -> None:
        self._chunks.clear()


class _Blob:
    __slots__ = ("holders", "size")

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.holders = 0


class Blobs:
    """The blobs of a store.

    Args:
        clock: Seconds, never going back.
        agenda: Where to leave what has to be forgotten later.

    Attributes:
        shelf: Where the chunks are.
    """

    def __init__(self, clock: Callable[[], float], agenda: Agenda) -> None:
        self.shelf: Shelf = MemoryShelf()
        self._clock = clock
        self._agenda = agenda
        self._blobs: dict[str, _Blob] = {}
        self._bytes = 0
        self._loose: OrderedDict[str, float] = OrderedDict()  # when each goes, the first one first
        self._looks = False  # whether the agenda has an entry of ours

    def __len__(self) -> int:
        return len(self._blobs)

    def append(self, key: str, at: int, chunk: bytes, length: int, capacity: int) -> int:
        """Append a chunk; the same one once more changes nothing.

        Args:
            key: The blob; there is none yet where `at` is 0.
            at: Bytes that are in it.
            chunk: As it is kept, perhaps encrypted.
            length: Bytes it adds.
            capacity: Bytes that all blobs may take.

        Returns:
            Bytes in it now.

        Raises:
            ChannelFull: They take that many.
            LayerError: There are not `at` bytes in it; something was lost.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        blob = self._blobs.get(key)
        size = 0 if blob is None else blob.size
        if at != size:
            if length and at + length == size:
                return size
            raise hole(key, at, None if blob is None else size)
        more = length + (EACH if blob is None else 0)
        if self._used() + more > capacity:
            self._forget(now)
            if self._used() + more > capacity:
                raise full(self._used(), capacity)
        self.shelf.add(key, at // CHUNK, chunk, at + length)
        if blob is None:
            blob = self._blobs[key] = _Blob()
        blob.size += length
        self._bytes += length
        if not blob.holders:
            self._loosen(key, now + LOOSE)
        return blob.size

    def read(self, key: str, number: int) -> bytes | None:
        """Return a chunk; None past the end, and of a blob that is gone."""
        return self.shelf.chunk(key, number) if key in self._blobs else None

    def size_of(self, key: str) -> int | None:
        """Return the bytes in a blob; None if it is gone."""
        blob = self._blobs.get(key)
        return None if blob is None else blob.size

    def drop(self, key: str) -> bool:
        """Drop a blob that nobody holds; False if somebody does, or it is gone."""
        if key not in self._loose:
            return False
        self._drop(key)
        return True

    # for messages and dead letters

    def check(self, keys: Iterable[str]) -> None:
        """Look whether blobs can be held.

        Raises:
            LayerError: One is gone.
        """
        for key in keys:
            if key not in self._blobs:
                raise missing(key)

    def hold(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Hold blobs once more; return those that are there."""
        held = tuple(key for key in keys if key in self._blobs)
        if held:
            self.shelf.settle()
        for key in held:
            self._blobs[key].holders += 1
            self._loose.pop(key, None)
        return held

    def release(self, keys: Iterable[str], keep: bool = False) -> None:
        """Hold blobs once less.

        Args:
            keys: Those that were held.
            keep: What nobody holds any more is kept for an hour.
        """
        for key in keys:
            blob = self._blobs.get(key)
            if blob is None:
                continue
            blob.holders -= 1
            if blob.holders <= 0:
                if keep:
                    self._loosen(key, self._clock() + LOOSE)
                else:
                    self._drop(key)

    # for the whole store

    def restore(self, key: str, size: int, touched: float) -> None:
        """Take back a blob that is on the shelf; nobody holds it yet. They come in the order they were touched."""
        self._blobs[key] = _Blob(size)
        self._bytes += size
        self._loosen(key, touched + LOOSE)

    def statistics(self) -> dict[str, int]:
        """Return how many there are, and the bytes in them."""
        return {"blobs_count": len(self._blobs), "blobs_bytes": self._bytes}

    def flush(self) -> None:
        """Drop all."""
        self._blobs.clear()
        self._loose.clear()
        self._bytes = 0
        self._looks = False  # the agenda was cleared
        self.shelf.clear()

    def _used(self) -> int:
        return self._bytes + EACH * len(self._blobs)

    def _loosen(self, key: str, until: float) -> None:
        if not self._looks:
            self._looks = True
            self._agenda.add(until, self._look, None)
        self._loose[key] = until
        self._loose.move_to_end(key)

    def _look(self, _: None, now: float) -> float | None:
        self._forget(now)
        self._looks = bool(self._loose)
        return next(iter(self._loose.values()), None)

    def _forget(self, now: float) -> None:
        while self._loose and next(iter(self._loose.values())) <= now:
            self._drop(next(iter(self._loose)))

    def _drop(self, key: str) -> None:
        self._loose.pop(key, None)
        self._bytes -= self._blobs.pop(key).size
        self.shelf.drop(key)


def missing(key: str) -> LayerError:
    """Return the error of a message with a blob that is gone."""
    return LayerError(f"there is no {key}: nobody held it for an hour, or it was dropped, or it is kept elsewhere")


def hole(key: str, at: int, size: int | None) -> LayerError:
    """Return the error of an append that does not begin where the blob ends."""
    there = "it is gone" if size is None else f"it has {size}"
    return LayerError(f"{key} cannot go on behind {at} bytes: {there}")


def full(used: int, capacity: int) -> ChannelFull:
    """Return the error of an append for which there is no room."""
    return ChannelFull(f"no room for blobs: they take {used} bytes, blob_capacity is {capacity}")
