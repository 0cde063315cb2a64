"""What goes over the bus' socket: frames of four bytes of length, big-endian, and that much MessagePack.

A frame is an array that begins with its kind:

    client to broker
        CALLS    id, ((name, arguments), …)                calls of the store, run in order
        MORE     id, ((name, arguments), …)                more calls of the same run: where one before them found a
                                                           queue full, nothing of the run is put there any more
        TAKE     id, queues, start, limit, wait, attaches, holder
                                                           a credit for up to `limit` elements of one of the queues;
                                                           `wait`: until there are any. `attaches`: arguments of the
                                                           store's `attach` for each inbox to be read plainly.
                                                           `holder`: reads its leased inbox, with its notes; else None
        CANCEL   id                                        withdraws a TAKE that still waits
    broker to client
        HELLO    version, epoch, bytes a frame may have, messages lost at most
                                                           at once after connecting. The epoch is another one after the
                                                           broker ended; the number counts what waited in all before
        CALLS    id, outcomes, ((index, error, text), …)   the answer to either, once all calls of a frame are done
        TAKE     id, queue, now, elements                  the one answer to a TAKE: what was taken, or queue ""
                                                           after a CANCEL or without `wait`, or None where `holder` has
                                                           lost the lease
        HEARD    {channel: (in order, seconds left)}       who asked for `heard` before is told when it changes
        BYE      reason                                    the broker ends; what it has not answered it has not done

Bodies of messages are byte strings here: the broker never looks into them.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from ..errors import ChannelFull, LayerError

VERSION = 3
CALLS, TAKE, CANCEL, HELLO, HEARD, BYE, MORE = range(7)

OVERHEAD = 64 * 1024  # bytes that a frame may have beyond one largest message
# What a client puts into one frame, so that the others' turns come soon.
BATCH_CALLS = 1024
BATCH_BYTES = 128 * 1024
TOGETHER = 256  # messages in one call

# Errors that a call raises at its caller's, by their names
ERRORS: dict[str, type[Exception]] = {error.__name__: error for error in (LayerError, ChannelFull, TypeError)}

_ELEMENTS = 16_384  # of one array: a few bytes of garbage must not claim megabytes
_length = struct.Struct("!I")


class FrameError(ValueError):
    """Tell that a peer does not speak this protocol."""


class Writer:
    """Packs frames; for one thread at a time."""

    def __init__(self) -> None:
        self._pack = msgpack.Packer().pack

    def frame(self, *parts: Any) -> bytes:
        """Return one frame."""
        body: bytes = self._pack(parts)
        return _length.pack(len(body)) + body


class Splitter:
    """Cuts what arrives into frames, still packed.

    Args:
        limit: Bytes that a frame may have.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that are complete now; to be read to its end before the next `feed`.

        Raises:
            FrameError: A frame is longer than it may be.
        """
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < 4 or len(rest) - 4 < _length.unpack_from(rest)[0] <= self.limit:
                return
            data = bytes(rest)
            rest.clear()
        start, end = 0, len(data)
        while end - start >= 4:
            (size,) = _length.unpack_from(data, start)
            if size > self.limit:
                raise FrameError(f"a frame of {size} bytes, and {self.limit} is the limit")
            if end - start - 4 < size:
                break
            yield data[start + 4 : start + 4 + size]
            start += 4 + size
        if start < end:
            rest += data[start:]


def unpack(frame: bytes, bounded: bool = True) -> tuple[Any, ...]:
    """Unpack a frame; its arrays become tuples.

    Args:
        bounded: Refuse long arrays, too: a client may ask for long ones, a broker never takes them.

    Raises:
        FrameError: It is no array of MessagePack.
    """
    try:
        if bounded:
            parts = msgpack.unpackb(frame, use_list=False, ext_hook=_no_extension, max_array_len=_ELEMENTS)
        else:
            parts = msgpack.unpackb(frame, use_list=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise FrameError(f"a frame that is no MessagePack of ours: {error}") from None
    if type(parts) is not tuple or not parts:
        raise FrameError("a frame that is no array")
    return parts


def _no_extension(code: int, _: bytes) -> None:
    raise FrameError(f"an extension type {code}")
