"""How an element of a queue (layer/store/element.py) stands in Redis.

    deadline   8 bytes, big-endian double: seconds of Redis' clock
    queued     8 bytes, likewise
    kind       1 byte
    name       its length in 1 byte
    extra      its length in 4 bytes, big-endian
    then name, extra (MessagePack), body

A sender writes what follows the two times, the `tail`; Redis knows what time it is.
"""

import struct
from typing import Any

import msgpack

from ..store.element import ADD, CREDIT, DISCARD, GROUP, MESSAGE, PART, RELOAD, Element

HEARD = 7
"""A channel is listened to that was not before. name: the channel; extra: (in order,)."""

_HEAD = struct.Struct(">ddBBI")
_TAIL = struct.Struct(">BBI")
_PLAIN = _TAIL.pack(MESSAGE, 0, 0)
_unpack_head = _HEAD.unpack_from
_SIZE = _HEAD.size


def message_tail(local: str, body: bytes) -> bytes:
    """Return a message's element without its times."""
    if not local:
        return _PLAIN + body
    return b"".join((_TAIL.pack(MESSAGE, len(local), 0), local.encode(), body))


def encode(element: Element) -> bytes:
    """Return an element as it stands in Redis."""
    deadline, queued, kind, name, body, extra = element
    if kind == PART:
        extra = list(extra)
    packed = b"" if kind == MESSAGE else msgpack.packb(extra)
    encoded = name.encode()
    return b"".join((_HEAD.pack(deadline, queued, kind, len(encoded), len(packed)), encoded, packed, body or b""))


def decode(raw: bytes) -> Element:
    """Return an element from what stands in Redis.

    Raises:
        ValueError: It is none.
    """
    try:
        deadline, queued, kind, name_size, extra_size = _unpack_head(raw)
        begin = _SIZE + name_size
        name = raw[_SIZE:begin].decode() if name_size else ""
        if kind == MESSAGE:
            return deadline, queued, kind, name, raw[begin:], None
        return _decode_rest(deadline, queued, kind, name, raw[begin : begin + extra_size], raw[begin + extra_size :])
    except (struct.error, LookupError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"this is no element of a queue: {raw[:40]!r}") from error


def _decode_rest(deadline: float, queued: float, kind: int, name: str, packed: bytes, body: bytes) -> Element:
    extra: Any = msgpack.unpackb(packed)
    if kind == GROUP:
        extra = (int(extra[0]), tuple(extra[1]) if len(extra) > 1 and extra[1] else None)
    elif kind in (ADD, DISCARD):
        return deadline, queued, kind, name, body or None, (extra[0], int(extra[1]))
    elif kind in (PART, CREDIT, HEARD):
        extra = tuple(extra)
    elif kind == RELOAD:
        extra = None
    else:
        raise ValueError(f"no element has the kind {kind}")
    return deadline, queued, kind, name, body if kind <= PART else None, extra
