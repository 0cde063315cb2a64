"""What goes out: a reply, read once, as the bytes of one frame (RFC 6455, 5.2), for one socket or for many.

Servers do not mask, and a message needs no fragments: a frame is a head of 2 to 10 bytes and the payload, the same for
every socket it goes to. `websockets` makes the compressed ones; no context is taken over (see `handshake`), so one
serves every socket that agreed on the same window.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

COMPRESS_FROM = 1024  # bytes; less is not worth the time. Nor is binary data, which mostly is compressed already.

_SMALLEST_WINDOW = 9  # bits; zlib has no smaller one, though websockets 15 agrees on it

# RFC 6455, 7.4, and the IANA registry: what an endpoint may put into a close frame. 3000-4999 are for applications.
_SENDABLE = frozenset((*range(1000, 1004), *range(1007, 1015)))


class Unfit(ValueError):
    """A message that is no reply to a WebSocket; the text says what is wrong with it."""


class Ambiguous(Unfit):
    """A reply with both text and bytes, which is ignored whoever sent it."""


class Outgoing:
    """What a reply wants sent.

    Args:
        message: the reply.

    Attributes:
        payload: the data, empty where there is none.
        code: what to close with after the data; 0 keeps the socket open.
        frame: the data as one uncompressed frame, empty where there is none.
        compressible: the data is worth compressing for who agreed on it.

    Raises:
        Unfit: The message is no WebSocket reply.
    """

    __slots__ = ("_compressed", "code", "compressible", "frame", "payload")

    def __init__(self, message: Mapping[str, Any]) -> None:
        text = message.get("text")
        data = message.get("bytes")
        close = message.get("close")
        self.code = _close_code(close) if close else 0
        if text is not None:
            if data is not None:
                raise Ambiguous("both text and bytes")
            try:
                data = text.encode()
            except (AttributeError, UnicodeEncodeError):
                raise Unfit(f"text must be a str of Unicode characters, not {text!r:.40}") from None
            self.frame = plain_frame(Opcode.TEXT, data)
            self.compressible = len(data) >= COMPRESS_FROM
        elif data is not None:
            if not isinstance(data, bytes):
                raise Unfit(f"bytes must be bytes, not {data!r:.40}")
            self.frame = plain_frame(Opcode.BINARY, data)
            self.compressible = False
        else:
            self.frame = data = b""
            self.compressible = False
        self.payload = data
        if self.compressible:
            self._compressed: dict[int, bytes] = {}

    def compressed(self, protocol: ServerProtocol) -> bytes:
        """Return the compressible data as one frame with the extension of ``protocol`` applied, where that can be."""
        (extension,) = protocol.extensions
        assert isinstance(extension, PerMessageDeflate)
        window = extension.local_max_window_bits
        if window < _SMALLEST_WINDOW:
            return self.frame
        if window not in self._compressed:
            self._compressed[window] = Frame(Opcode.TEXT, self.payload).serialize(mask=False, extensions=[extension])
        return self._compressed[window]


def plain_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return ``payload`` as one uncompressed frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def _close_code(close: object) -> int:
    if close is True:
        return 1000
    if isinstance(close, int) and (close in _SENDABLE or 3000 <= close < 5000):
        return close
    raise Unfit(f"close must be a bool or a close code that may be sent, not {close!r:.40}")
