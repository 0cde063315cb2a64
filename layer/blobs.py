"""Names of blobs, and which of them a message names: `body_key`, anywhere in it."""

import re
import secrets
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import msgpack

from .store.blobs import CHUNK as CHUNK

MOST = 1000
"""Blobs that one message may name."""

_NAME = re.compile(r"blob\.[A-Za-z0-9_-]{16,64}")
_FIELD = "body_key"
MARK = msgpack.packb(_FIELD)
"""What stands in every packed message that names a blob, and in few others: a look for it costs nearly nothing."""


class Readable(Protocol):
    """A binary file."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


Data = bytes | bytearray | memoryview | Readable | Iterable[bytes | bytearray | memoryview]


class BlobKey(str):
    """The key of a blob that is being written: a str, which knows how much was appended by it.

    Attributes:
        appended: Bytes.
    """

    __slots__ = ("appended",)

    appended: int


def new_key() -> BlobKey:
    """Return an unused key."""
    key = BlobKey(f"blob.{secrets.token_urlsafe(16)}")
    key.appended = 0
    return key


def checked(key: Any) -> str:
    """Return a key as a plain str.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(key, str) or not _NAME.fullmatch(key):
        raise TypeError(f"this is no key of a blob: {key!r:.100}")
    return str(key)


def named(message: Any, body: bytes) -> Iterator[str]:
    """Go through the keys of blobs that a message names.

    Args:
        message: The message.
        body: The same, packed.
    """
    if MARK not in body:
        return
    waiting = [message]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            key = value.get(_FIELD)
            if isinstance(key, str) and _NAME.fullmatch(key):
                yield str(key)
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def cut(data: Data) -> Iterator[bytes]:
    """Cut what is to be kept into chunks; there is at least one.

    Args:
        data: Bytes, a binary file, or an iterable of bytes.

    Raises:
        TypeError: It is nothing of the kind.
    """
    read = getattr(data, "read", None)
    if isinstance(data, bytes | bytearray | memoryview):
        parts: Iterable[bytes | bytearray | memoryview] = (data,)
    elif read is not None:
        parts = iter(partial(read, CHUNK), b"")
    elif isinstance(data, str) or not isinstance(data, Iterable):
        raise TypeError(f"a blob is bytes, a binary file or an iterable of bytes, not {type(data).__name__}")
    else:
        parts = data
    waiting, begun = bytearray(), False
    for part in parts:
        if not isinstance(part, bytes | bytearray | memoryview):
            raise TypeError(f"a blob has bytes in it, not {type(part).__name__}")
        view = memoryview(part).cast("B")
        while view:
            room = CHUNK - len(waiting)
            waiting += view[:room]
            view = view[room:]
            if len(waiting) == CHUNK:
                yield bytes(waiting)
                waiting, begun = bytearray(), True
    if waiting or not begun:
        yield bytes(waiting)
