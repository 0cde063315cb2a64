"""Bodies as file objects: what came with the message first, then what arrives on its body channel.

Memory stays bounded: a few chunks of at most 64 KiB are taken at a time, and the layer lets the sender be no more than
16 ahead.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..layer import LayerUnavailable
from .exceptions import StreamClosed, StreamTimeout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from ..layer import Layer

_AT_ONCE = 4  # chunks taken in one receive: 256 KiB
_BUFFER = 64 * 1024
_PAUSE = 0.05  # seconds between two tries while the layer is away


def open_stream(node: Mapping[str, Any], layer: Layer | Callable[[], Layer], timeout: float) -> io.BufferedIOBase:
    """Open the body of a message or of a node of a mail.

    Args:
        node: Holds `body`, `body_channel` or both; the beginning is in `body`.
        layer: Where the rest comes from, or how to find it.
        timeout: Seconds a reader waits for the next chunk.

    Raises:
        ValueError: the node has no body that could be read here.
        RuntimeError: nothing says which layer the rest is on.
    """
    if node.get("body_key") is not None:
        raise ValueError("this body is kept under a body_key, which this layer does not hold")
    first, channel = node.get("body"), node.get("body_channel")
    if first is None and channel is None:
        raise ValueError("no body here; of a mail give a leaf of its content: message.stream(node)")
    if channel is None:
        return io.BytesIO(first or b"")
    found = layer() if callable(layer) else layer
    return io.BufferedReader(_BodyStream(first or b"", channel, found, timeout), _BUFFER)


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
