"""Bodies as file objects: what came with the message first, then what arrives on its body channel; or what is kept.

Memory stays bounded: a few chunks of at most 64 KiB are taken at a time, and the layer lets the sender be no more than
16 ahead. Of a body that is kept in the layer one chunk is here at a time.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..layer import LayerUnavailable
from ..layer.blobs import CHUNK, checked
from .exceptions import StreamClosed, StreamTimeout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from ..layer import Layer

T = TypeVar("T")

_AT_ONCE = 4  # chunks taken in one receive: 256 KiB
_BUFFER = 64 * 1024
_PAUSE = 0.05  # seconds between two tries while the layer is away


def open_stream(node: Mapping[str, Any], layer: Layer | Callable[[], Layer], timeout: float) -> io.BufferedIOBase:
    """Open the body of a message or of a node of a mail.

    Args:
        node: Holds `body`, `body_channel` or both, where the beginning is in `body`; or `body_key`.
        layer: Where the rest comes from, or how to find it.
        timeout: Seconds a reader waits for the next chunk.

    Raises:
        ValueError: the node has no body that could be read here.
        RuntimeError: nothing says which layer the rest is on.
    """
    first, channel, key = node.get("body"), node.get("body_channel"), node.get("body_key")
    if first is None and channel is None and key is None:
        raise ValueError("no body here; of a mail give a leaf of its content: message.stream(node)")
    if channel is None and key is None:
        return io.BytesIO(first or b"")
    found = layer() if callable(layer) else layer
    if channel is not None:
        return io.BufferedReader(_BodyStream(first or b"", channel, found, timeout), _BUFFER)
    try:
        key = checked(key)
    except TypeError as error:
        raise ValueError(f"body_key: {error}") from None
    return io.BufferedReader(_KeptStream(key, found, timeout), _BUFFER)


class _BodyStream(io.RawIOBase):
    """The raw stream under the buffered one; it is read by one thread at a time."""

    taken = False  # whether anything was taken from the channel, and so from everybody who comes later

    def __init__(self, first: bytes, channel: str, layer: Layer, timeout: float) -> None:
        self._left = memoryview(first)
        self._channel = channel
        self._reader = layer.reader()
        self._timeout = timeout
        self._chunks: deque[dict[str, Any]] = deque()
        self._ended = False
        self._broken: LayerUnavailable | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._left and not self._ended:
            self._next()
        view = memoryview(buffer).cast("B")
        taken = min(len(view), len(self._left))
        view[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken

    def _next(self) -> None:
        if self._broken is not None:
            raise self._broken
        if not self._chunks:
            self._receive()
        chunk = self._chunks.popleft()
        content = chunk.get("content")
        if chunk.get("closed") or not isinstance(content, bytes):
            raise StreamClosed("the sender of this body went away before its end")
        self._left = memoryview(content)
        self._ended = not chunk.get("more_content")

    def _receive(self) -> None:
        self.taken = True
        until = time.monotonic() + self._timeout
        while not self._chunks:
            left = max(0.0, until - time.monotonic())
            try:
                found = self._reader.receive_batch([self._channel], _AT_ONCE, left)
            except LayerUnavailable as error:
                if error.uncertain:
                    self._broken = error  # a chunk may have been taken and lost: a body never has a hole
                    raise
                time.sleep(min(_PAUSE, left))
                found = []
            self._chunks.extend(delivery.message for delivery in found)
            if not self._chunks and not left:
                raise StreamTimeout(f"no more of this body came within {self._timeout:g} s")


class _KeptStream(io.RawIOBase):
    """The raw stream of a body that is kept in the layer: any part of it, in any order, as often as one likes."""

    def __init__(self, key: str, layer: Layer, timeout: float) -> None:
        self._key = key
        self._layer = layer
        self._timeout = timeout
        self._at = 0
        self._length: int | None = None
        self._number = -1  # of the chunk at hand
        self._chunk = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence is 0, 1 or 2, not {whence!r}")
        begin = 0 if whence == io.SEEK_SET else self._at if whence == io.SEEK_CUR else self._size()
        if begin + offset < 0:
            raise ValueError(f"there is nothing {-begin - offset} bytes before the beginning")
        self._at = begin + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size():
            return 0
        number, begin = divmod(self._at, CHUNK)
        if number != self._number:
            self._chunk = self._ask(lambda: self._layer.read_blob(self._key, number))
            self._number = number
        part = self._chunk[begin : begin + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _size(self) -> int:
        if self._length is None:
            self._length = self._ask(lambda: self._layer.blob_size(self._key))
        return self._length

    def _ask(self, call: Callable[[], T | None]) -> T:
        """Ask the layer, and once more where it is away: it does no harm."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                found = call()
            except LayerUnavailable as error:
                left = until - time.monotonic()
                if left <= 0:
                    raise StreamTimeout(f"the layer was away for {self._timeout:g} s: {error}") from None
                time.sleep(min(_PAUSE, left))
                continue
            if found is None:
                raise StreamClosed(f"this body is not kept any more: there is no {self._key}")
            return found
