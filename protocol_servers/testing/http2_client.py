"""HTTP/2 frames as a client makes them, wrong ones too, and what a server wrote taken apart (RFC 9113, section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)

Fields = Iterable[tuple[bytes, bytes]]
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"))
POST = ((b":method", b"POST"), *GET[1:])


def frame(kind: int, stream_id: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return any frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    """Return SETTINGS of (number, value)."""
    payload = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in pairs)
    return frame(SETTINGS, 0, payload, flags)


def data(stream_id: int, content: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    """Return DATA, with padding of so many bytes."""
    flags = END_STREAM if end else 0
    if padding is None:
        return frame(DATA, stream_id, content, flags)
    return frame(DATA, stream_id, bytes((padding,)) + content + bytes(padding), flags | PADDED)


def rst_stream(stream_id: int, code: int = CANCEL) -> bytes:
    """Return RST_STREAM."""
    return frame(RST_STREAM, stream_id, code.to_bytes(4, "big"))


def window_update(stream_id: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, stream_id, increment.to_bytes(4, "big"))


def priority(stream_id: int, depends_on: int = 0, weight: int = 15) -> bytes:
    """Return PRIORITY."""
    return frame(PRIORITY, stream_id, depends_on.to_bytes(4, "big") + bytes((weight,)))


class Received(NamedTuple):
    """A frame that the server wrote.

    Attributes:
        kind: its type.
        stream_id: its stream.
        flags: its flags.
        payload: what it carries.
        fields: of HEADERS, their header list.
    """

    kind: int
    stream_id: int
    flags: int
    payload: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")

    @property
    def last_stream(self) -> int:
        """The last stream of GOAWAY."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def ends(self) -> bool:
        """The stream ends with it."""
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def status(self) -> int:
        """The status of a response's HEADERS."""
        return int(dict(self.fields)[b":status"])


class Http2Client:
    """The client's side of a connection, without input or output: HPACK's tables, and frames cut into bytes anyhow."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._buffer = b""

    def block(self, fields: Fields) -> bytes:
        """Return a header block; one that is large is not compressed, which takes hpack seconds."""
        fields = list(fields)
        return self._encoder.encode(fields, huffman=sum(len(value) for _, value in fields) < 10_000)

    def headers(self, stream_id: int, fields: Fields = GET, *, end: bool = True, flags: int = END_HEADERS) -> bytes:
        """Return HEADERS."""
        return frame(HEADERS, stream_id, self.block(fields), flags | (END_STREAM if end else 0))

    def read(self, written: bytes) -> list[Received]:
        """Return the frames that are whole now."""
        self._buffer += written
        frames = []
        while len(self._buffer) >= 9:
            size = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + size:
                break
            kind, flags = self._buffer[3:5]
            stream_id = int.from_bytes(self._buffer[5:9], "big")
            payload = self._buffer[9 : 9 + size]
            self._buffer = self._buffer[9 + size :]
            fields = ()
            if kind == HEADERS:
                fields = tuple((name, value) for name, value in self._decoder.decode(payload, raw=True))  # type: ignore[assignment]
            frames.append(Received(kind, stream_id, flags, payload, fields))
        return frames
