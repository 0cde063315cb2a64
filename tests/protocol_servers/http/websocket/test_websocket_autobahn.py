"""The cases of the Autobahn test suite, frame by frame, against an echo.

Each is named by its number there: what the client sends, and what it has to get back, as frames. Everything comes
frame by frame and byte by byte. What the suite calls non-strict is not good enough, but for 6.4.3 and 6.4.4: text
within one frame is looked at when the frame is whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.testing.websocket_frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_close,
    client_frame,
    close_code,
)

BenchWith = Callable[..., Any]
Frames = list[tuple[int, bytes]]


def echoed(bench: Any, client: Any, data: bytes, step: int | None) -> Frames:
    """Send frames, or bytes so many at a time; have each message sent back before more comes.

    Returns:
        All frames that came, a Close as its code alone.
    """
    frames: Frames = []
    while data:
        size = step or frame_size(data)
        client.feed(data[:size])
        data = data[size:]
        for message in client.sent():
            client.reply({key: message[key] for key in ("text", "bytes") if key in message})
        frames += client.frames()
    return [(CLOSE, b"%d" % close_code(frame)) if frame[0] == CLOSE else frame for frame in frames]


def frame_size(data: bytes) -> int:
    """Return how long the masked frame is that the data begins with."""
    start, size = 6, data[1] & 0x7F
    if size >= 126:
        start = 8 if size == 126 else 14
        size = int.from_bytes(data[2 : start - 4], "big")
    return start + size


def closed(code: int) -> tuple[int, bytes]:
    return CLOSE, b"%d" % code


def close_payload(payload: bytes) -> bytes:
    return client_frame(CLOSE, payload)


def pieces(*payloads: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """One message in as many frames."""
    last = len(payloads) - 1
    return b"".join(
        client_frame(CONTINUATION if number else opcode, payload, fin=fin and number == last)
        for number, payload in enumerate(payloads)
    )


def text(payload: bytes) -> bytes:
    return client_frame(TEXT, payload)


PINGS = b"".join(client_frame(PING, b"%d" % number) for number in range(10))
PONGS = [(PONG, b"%d" % number) for number in range(10)]
HELLO = text(b"hello")
SAID = (TEXT, b"hello")
FAILED, WRONG_TEXT = closed(1002), closed(1007)

CASES: dict[str, tuple[bytes, Frames]] = {
    # 2: pings and pongs
    "2.1": (client_frame(PING), [(PONG, b"")]),
    "2.2": (client_frame(PING, b"hello"), [(PONG, b"hello")]),
    "2.3": (client_frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), [(PONG, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")]),
    "2.4 and 2.6": (client_frame(PING, b"\xfe" * 125), [(PONG, b"\xfe" * 125)]),
    "2.5": (client_frame(PING, b"\xfe" * 126), [FAILED]),
    "2.7": (client_frame(PONG) + HELLO, [SAID]),
    "2.8": (client_frame(PONG, b"unasked") + HELLO, [SAID]),
    "2.9": (client_frame(PONG, b"unasked") + client_frame(PING, b"a"), [(PONG, b"a")]),
    "2.10 and 2.11": (PINGS, PONGS),
    # 3: reserved bits
    "3.1": (client_frame(TEXT, b"hello", reserved=0x10), [FAILED]),
    "3.2": (HELLO + client_frame(TEXT, b"hello", reserved=0x20) + client_frame(PING), [SAID, FAILED]),
    "3.3 and 3.4": (HELLO + client_frame(TEXT, b"hello", reserved=0x30) + client_frame(PING), [SAID, FAILED]),
    "3.5": (client_frame(BINARY, b"\x00\xff", reserved=0x50), [FAILED]),
    "3.6": (client_frame(PING, b"hello", reserved=0x60), [FAILED]),
    "3.7": (client_frame(CLOSE, b"\x03\xe8", reserved=0x70), [FAILED]),
    # 4: reserved opcodes
    "4.1.1": (client_frame(3), [FAILED]),
    "4.1.2": (client_frame(4, b"reserved"), [FAILED]),
    "4.1.3": (HELLO + client_frame(5) + client_frame(PING), [SAID, FAILED]),
    "4.1.4": (HELLO + client_frame(6, b"reserved") + client_frame(PING), [SAID, FAILED]),
    "4.1.5": (HELLO + client_frame(7, b"reserved") + client_frame(PING), [SAID, FAILED]),
    "4.2.1": (client_frame(11), [FAILED]),
    "4.2.2": (client_frame(12, b"reserved"), [FAILED]),
    "4.2.3": (HELLO + client_frame(13) + client_frame(PING), [SAID, FAILED]),
    "4.2.4": (HELLO + client_frame(14, b"reserved") + client_frame(PING), [SAID, FAILED]),
    "4.2.5": (HELLO + client_frame(15, b"reserved") + client_frame(PING), [SAID, FAILED]),
    # 5: fragments
    "5.1": (client_frame(PING, b"a", fin=False) + client_frame(CONTINUATION, b"b"), [FAILED]),
    "5.2": (client_frame(PONG, b"a", fin=False) + client_frame(CONTINUATION, b"b"), [FAILED]),
    "5.3 to 5.5": (pieces(b"hel", b"lo"), [SAID]),
    "5.6 to 5.8": (
        pieces(b"hel", fin=False) + client_frame(PING, b"p") + client_frame(CONTINUATION, b"lo"),
        [(PONG, b"p"), SAID],
    ),
    "5.9 to 5.11": (client_frame(CONTINUATION, b"a") + HELLO, [FAILED]),
    "5.12 to 5.14": (client_frame(CONTINUATION, b"a", fin=False) + HELLO, [FAILED]),
    "5.15": (pieces(b"hel", b"lo") + client_frame(CONTINUATION, b"a", fin=False) + HELLO, [SAID, FAILED]),
    "5.16": (client_frame(CONTINUATION, b"a", fin=False) + HELLO + client_frame(CONTINUATION, b"b"), [FAILED]),
    "5.17": (client_frame(CONTINUATION, b"a") + HELLO + client_frame(CONTINUATION, b"b"), [FAILED]),
    "5.18": (client_frame(TEXT, b"a", fin=False) + client_frame(TEXT, b"b"), [FAILED]),
    "5.19 and 5.20": (
        pieces(b"a", b"b", fin=False) + client_frame(PING, b"1")
        + b"".join(client_frame(CONTINUATION, part, fin=False) for part in (b"c", b"d"))
        + client_frame(PING, b"2") + client_frame(CONTINUATION, b"e"),
        [(PONG, b"1"), (PONG, b"2"), (TEXT, b"abcde")],
    ),
    # 6: UTF-8; the sequences themselves are below
    "6.1.1": (text(b""), [(TEXT, b"")]),
    "6.1.2": (pieces(b"", b"", b""), [(TEXT, b"")]),
    "6.1.3": (pieces(b"", b"middle", b""), [(TEXT, b"middle")]),
    "6.4.1": (pieces("κόσμε".encode(), b"\xf4\x90\x80\x80", fin=False), [WRONG_TEXT]),
    "6.4.2": (pieces("κόσμε".encode() + b"\xf4", b"\x90", fin=False), [WRONG_TEXT]),
    # 7: closing
    "7.1.1": (HELLO + client_close(1000), [SAID, closed(1000)]),
    "7.1.2": (client_close(1000) * 2, [closed(1000)]),
    "7.1.3": (client_close(1000) + client_frame(PING), [closed(1000)]),
    "7.1.4": (client_close(1000) + HELLO, [closed(1000)]),
    "7.1.5": (pieces(b"a", fin=False) + client_close(1000) + client_frame(CONTINUATION, b"b"), [closed(1000)]),
    "7.3.1": (close_payload(b""), [closed(1005)]),
    "7.3.2": (close_payload(b"a"), [FAILED]),
    "7.3.3": (client_close(1000), [closed(1000)]),
    "7.3.4": (client_close(1000, b"Hello World!"), [closed(1000)]),
    "7.3.5": (client_close(1000, b"*" * 123), [closed(1000)]),
    "7.3.6": (client_close(1000, b"*" * 124), [FAILED]),
    "7.5.1": (client_close(1000, b"\xce\xba\xed\xa0\x80"), [WRONG_TEXT]),
    **{
        f"7.7.{number}": (client_close(code), [closed(code)])
        for number, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1)
    },
    **{
        f"7.9.{number}": (client_close(code), [FAILED])
        for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    },
    "7.13.1": (client_close(5000), [FAILED]),
    "7.13.2": (close_payload(struct.pack("!I", 65536)), [FAILED]),
}  # fmt: skip


@pytest.mark.parametrize(("data", "frames"), CASES.values(), ids=CASES)
def test_a_case(bench: Any, data: bytes, frames: Frames, step: int | None) -> None:
    assert echoed(bench, bench.open(), data, step) == frames


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    ("size", "cut"), [(0, None), (125, None), (126, None), (127, None), (128, None), (65535, None), (65536, 997)]
)
def test_1_every_size(bench: Any, opcode: int, size: int, cut: int | None) -> None:
    payload = b"*" * size if opcode == TEXT else b"\xfe" * size
    assert echoed(bench, bench.open(), client_frame(opcode, payload), cut) == [(opcode, payload)]


def test_7_1_6_a_long_message_before_a_close(bench: Any) -> None:
    data = text(b"*" * 262_144) + client_close(1000) + client_frame(PING)
    assert echoed(bench, bench.open(), data, None) == [(TEXT, b"*" * 262_144), closed(1000)]


def short(payload: bytes) -> str:
    return payload.hex()[:24]


# Sequences by Markus Kuhn, which are 6.2, 6.3 and 6.5 to 6.23: each alone, and each character of them.
RIGHT = [
    "Hello-µ@ßöäüàá-UTF-8!!".encode(), "κόσμε".encode(), "𤭢€".encode(),
    b"\x00", b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd",
    b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf0\x9f\xbf\xbe", b"\xf4\x8f\xbf\xbf",
]  # fmt: skip
WRONG = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",  # 6.3.1
    b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfc\x84\x80\x80\x80\x80", b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\x80", b"\xbf", b"\x80\xbf\x80\xbf\x80\xbf\x80", bytes(range(0x80, 0xC0)), bytes(range(0xC0, 0xE0)),
    *(bytes((first, 0x20)) for first in range(0xC2, 0xFE)), b"\xfe", b"\xff", b"\xfe\xfe\xff\xff",
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf",
    b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf",
    b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80",
    b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbe\x80",
    b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf",
]  # fmt: skip
CUT = [b"\xce", b"\xe1\xbd", b"\xf0\x90\x80", b"\xf4", b"\xed\x9f", b"\xe0\xa0", b"a\xc2"]


@pytest.mark.parametrize("payload", RIGHT, ids=short)
def test_6_text_that_is_utf_8(bench: Any, payload: bytes, step: int | None) -> None:
    client = bench.open()
    single = [payload[at : at + 1] for at in range(len(payload))]
    assert echoed(bench, client, text(payload) + pieces(*single), step) == [(TEXT, payload)] * 2


@pytest.mark.parametrize("payload", WRONG, ids=short)
def test_6_text_that_is_not_utf_8_fails_with_the_frame_that_shows_it(bench: Any, payload: bytes) -> None:
    for data in (
        text(payload) + HELLO,
        pieces(b"right ", payload, b" never seen", fin=False),
        pieces(*(payload[at : at + 1] for at in range(len(payload))), fin=False),
    ):
        assert echoed(bench, bench.open(), data, None) == [WRONG_TEXT]


@pytest.mark.parametrize("payload", CUT, ids=short)
def test_6_text_must_not_end_within_a_character(bench: Any, payload: bytes, step: int | None) -> None:
    assert echoed(bench, bench.open(), text(payload), step) == [WRONG_TEXT]
    client = bench.open()
    assert echoed(bench, client, pieces(b"right ", payload, fin=False), step) == []
    assert echoed(bench, client, client_frame(CONTINUATION), step) == [WRONG_TEXT]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("piece", [64, 256, 1024, 4096, 16384, 65536, 262_144, 1_048_576])
def test_9_and_10_large_messages_in_pieces(bench: Any, opcode: int, piece: int) -> None:
    size = 1_048_576 if piece >= 1024 else 65_536
    payload = bytes(range(32, 127)) * (size // 95 + 1)
    parts = [payload[:size][at : at + piece] for at in range(0, size, piece)]
    client = bench.open()
    assert echoed(bench, client, pieces(*parts, opcode=opcode), 1300 if size < 100_000 else 65_536) == [
        (opcode, payload[:size])
    ]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("piece", [16_777_216, 65_536])
def test_9_and_10_the_largest_message(bench_with: BenchWith, opcode: int, piece: int) -> None:
    """A client that takes what it is sent may be sent more than `write_limit` at once."""
    bench = bench_with(ws_max=16_777_216)
    payload = b"BAsd7&jh" * 2_097_152
    parts = [payload[at : at + piece] for at in range(0, len(payload), piece)]
    client = bench.open()
    assert echoed(bench, client, pieces(*parts, opcode=opcode), 262_144) == [(opcode, payload)]


# 12 and 13: compression, whatever was agreed on
OFFERS = {
    "13.1": b"permessage-deflate",
    "13.2": b"permessage-deflate; server_no_context_takeover",
    "13.3": b"permessage-deflate; server_max_window_bits=9",
    "13.4": b"permessage-deflate; server_max_window_bits=15",
    "13.5": b"permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
    "13.6": b"permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
    "13.7": b"permessage-deflate; server_no_context_takeover; server_max_window_bits=9, permessage-deflate; "
    b"server_no_context_takeover, permessage-deflate",
    "12": b"permessage-deflate; client_no_context_takeover; client_max_window_bits",
}


def agreed(client: Any) -> dict[bytes, bytes]:
    """Have a connection accepted; return the parameters of its compression."""
    client.reply({"accept": True})
    head = client.take()
    (line,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-extensions:")]
    name, *parameters = line.partition(b":")[2].split(b";")
    assert name.strip() == b"permessage-deflate"
    return {key.strip(): value for key, _, value in (each.partition(b"=") for each in parameters)}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131_072])
def test_12_and_13_compressed_messages(bench: Any, offer: bytes, size: int) -> None:
    client = bench.connect({b"sec-websocket-extensions": offer})
    parameters = agreed(client)
    bench.take()
    bits = int(parameters.get(b"server_max_window_bits", b"15"))
    assert bits <= (9 if b"bits=9" in offer else 15)
    assert b"server_no_context_takeover" in parameters
    window = -int(parameters.get(b"client_max_window_bits") or b"15")
    payload = bytes((at * at) % 90 + 33 for at in range(size))
    squeezing = zlib.compressobj(wbits=window)
    squeezed = (squeezing.compress(payload) + squeezing.flush(zlib.Z_SYNC_FLUSH))[:-4]
    half = len(squeezed) // 2
    data = client_frame(TEXT, squeezed, reserved=COMPRESSED)
    data += client_frame(TEXT, squeezed[:half], fin=False, reserved=COMPRESSED) + client_frame(PING, b"p")
    data += client_frame(CONTINUATION, squeezed[half:])
    first, pong, second = echoed(bench, client, data, None if size > 1000 else 1)
    assert pong == (PONG, b"p")
    for opcode, got in (first, second):
        if opcode & COMPRESSED:
            got = zlib.decompressobj(wbits=-bits).decompress(got + b"\0\0\xff\xff")
        assert (opcode & ~COMPRESSED, got) == (TEXT, payload)


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate; server_max_window_bits=7",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=09",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; client_max_window_bits=7",
        b"permessage-deflate; client_max_window_bits=16",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; client_no_context_takeover=1",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        b"permessage-deflate; unknown",
    ],
)
def test_13_parameters_that_make_no_sense_decline_the_offer(bench: Any, offer: bytes) -> None:
    client = bench.connect({b"sec-websocket-extensions": offer})
    client.reply({"accept": True})
    assert b"extensions" not in client.take().lower()
