"""WebSocket frames as a client makes them, wrong ones too, and what a server wrote taken apart (RFC 6455, 5.2)."""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
COMPRESSED = 0x40  # RFC 7692, 6: the first reserved bit
_MASK = b"\x37\xfa\x21\x3d"


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bytes | None = _MASK
) -> bytes:
    """Return a frame from a client.

    Args:
        opcode: any of 16.
        payload: what it carries, not masked yet.
        fin: the message ends with it.
        reserved: reserved bits in their place, such as `COMPRESSED`.
        mask: four bytes; None leaves the frame unmasked, as no client may.
    """
    size = len(payload)
    masked = 0 if mask is None else 0x80
    first = (0x80 if fin else 0) | reserved | opcode
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def client_close(code: int | None = None, reason: bytes = b"") -> bytes:
    """Return a Close from a client, empty without a code."""
    return client_frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def server_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Take apart what a server wrote.

    Returns:
        First byte without the FIN bit (reserved bits and opcode), and payload, of each frame.

    Raises:
        ValueError: These are not whole, final, unmasked frames.
    """
    frames = []
    while data:
        if len(data) < 2 or not data[0] & 0x80 or data[1] & 0x80:
            raise ValueError(f"no final unmasked frame: {data[:20]!r}")
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        payload = data[start : start + size]
        if len(payload) != size:
            raise ValueError(f"a frame of {size} bytes ends after {len(payload)}")
        frames.append((data[0] & 0x7F, payload))
        data = data[start + size :]
    return frames


def close_code(frame: tuple[int, bytes]) -> int:
    """Return the code of a Close that `server_frames` took apart; 1005 for an empty one (RFC 6455, 7.1.5).

    Raises:
        ValueError: It is no Close.
    """
    opcode, payload = frame
    if opcode != CLOSE:
        raise ValueError(f"opcode {opcode:#x} is no Close")
    return int.from_bytes(payload[:2], "big") if payload else 1005
