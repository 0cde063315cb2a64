"""RFC 9113 and RFC 7541 case by case, numbered by section like the cases of the public suite h2spec.

Each case is what a client sends after its greeting, and what must come of it: an answer, a stream error or a
connection error with its code, or the reply to a PING that shows that the connection goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from trunkline.protocol_servers.testing.http2_client import (
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    NO_ERROR,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Received,
    data,
    frame,
    priority,
    rst_stream,
    settings,
    window_update,
)

Case = tuple[str, Callable[[Any], Iterable[bytes]], tuple[Any, ...]]

PONG = b"12345678"
ping = frame(PING, 0, PONG)
GOES_ON = ("pong",)
ANSWERED = ("answer", 200)
NO_WINDOW = settings((4, 0))  # so that a stream stays half-closed (remote)
MORE = ((b"x-dummy", b"dummy"),)


def connection(code: int) -> tuple[str, int]:
    return ("connection", code)


def stream(code: int) -> tuple[str, int]:
    return ("stream", code)


def with_fields(*fields: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return (*GET, *fields)


def without(name: bytes, base: Any = GET) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(field for field in base if field[0] != name)


def replaced(name: bytes, value: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((key, value if key == name else old) for key, old in GET)


def parts(c: Any, *more: bytes, kind: int = HEADERS) -> list[bytes]:
    """A head cut off before END_HEADERS, and what follows."""
    return [c.headers(1, flags=0), *more]


# Sent as they are; the answer to the first request was complete before what follows.
CASES: list[Case] = [
    # 3.4: the preface; others are tests of their own below
    ("3.4/1 a preface, then a PING", lambda c: [ping], GOES_ON),
    # 4.1
    ("4.1/1 a frame of unknown type", lambda c: [frame(0x16, 0, bytes(8)), ping], GOES_ON),
    ("4.1/2 undefined flags", lambda c: [frame(PING, 0, PONG, 0xFE)], GOES_ON),
    ("4.1/3 the reserved bit", lambda c: [b"\0\0\x08\x06\0\x80\0\0\0" + PONG], GOES_ON),
    # 4.2
    (
        "4.2/1 DATA of 16384 bytes",
        lambda c: [c.headers(1, POST, end=False), data(1, bytes(16384), end=True)],
        ANSWERED,
    ),
    (
        "4.2/2 DATA over the largest size",
        lambda c: [c.headers(1, POST, end=False), data(1, bytes(16385), end=True)],
        connection(FRAME_SIZE_ERROR),
    ),
    (
        "4.2/3 HEADERS over the largest size",
        lambda c: [frame(HEADERS, 1, c.block(GET) + b"\0" * 16384, END_STREAM | END_HEADERS)],
        connection(FRAME_SIZE_ERROR),
    ),
    (
        "4.2 the size is refused before the frame is there",
        lambda c: [b"\xff\xff\xff\0\0\0\0\0\1"],
        connection(FRAME_SIZE_ERROR),
    ),
    # 4.3
    ("4.3/1 a block that cannot be decoded", lambda c: [frame(HEADERS, 1, b"\x40", 5)], connection(COMPRESSION_ERROR)),
    ("4.3/2 PRIORITY within a block", lambda c: parts(c, priority(1)), connection(PROTOCOL_ERROR)),
    ("4.3/3 HEADERS of another stream within a block", lambda c: parts(c, c.headers(3)), connection(PROTOCOL_ERROR)),
    ("4.3 an unknown frame within a block", lambda c: parts(c, frame(0x16, 1)), connection(PROTOCOL_ERROR)),
    # 5.1 idle
    ("5.1/1 idle: DATA", lambda c: [data(1, b"test", end=True)], connection(PROTOCOL_ERROR)),
    ("5.1/2 idle: RST_STREAM", lambda c: [rst_stream(1)], connection(PROTOCOL_ERROR)),
    ("5.1/3 idle: WINDOW_UPDATE", lambda c: [window_update(1, 100)], connection(PROTOCOL_ERROR)),
    ("5.1/4 idle: CONTINUATION", lambda c: [frame(CONTINUATION, 1, c.block(GET), 4)], connection(PROTOCOL_ERROR)),
    ("5.1 idle: DATA on an even stream", lambda c: [c.headers(3), data(2, b"x")], connection(PROTOCOL_ERROR)),
    # 5.1 half-closed (remote)
    ("5.1/5 half-closed: DATA", lambda c: [NO_WINDOW, c.headers(1), data(1, b"test", end=True)], stream(STREAM_CLOSED)),
    ("5.1/6 half-closed: HEADERS", lambda c: [NO_WINDOW, c.headers(1), c.headers(1)], stream(STREAM_CLOSED)),
    (
        "5.1/7 half-closed: CONTINUATION",
        lambda c: [NO_WINDOW, c.headers(1), frame(CONTINUATION, 1, c.block(MORE), 4)],
        connection(PROTOCOL_ERROR),
    ),
    # 5.1 closed
    (
        "5.1/8 closed by RST_STREAM: DATA",
        lambda c: [c.headers(1, POST, end=False), rst_stream(1), data(1, b"test", end=True)],
        stream(STREAM_CLOSED),
    ),
    (
        "5.1/9 closed by RST_STREAM: HEADERS",
        lambda c: [c.headers(1, POST, end=False), rst_stream(1), c.headers(1)],
        stream(STREAM_CLOSED),
    ),
    (
        "5.1/10 closed by RST_STREAM: CONTINUATION",
        lambda c: [c.headers(1, POST, end=False), rst_stream(1), frame(CONTINUATION, 1, c.block(MORE), 4)],
        connection(PROTOCOL_ERROR),
    ),
    ("5.1/11 closed: DATA", lambda c: [c.headers(1), data(1, b"test", end=True)], connection(STREAM_CLOSED)),
    ("5.1/12 closed: HEADERS", lambda c: [c.headers(1), c.headers(1)], connection(STREAM_CLOSED)),
    (
        "5.1/13 closed: CONTINUATION",
        lambda c: [c.headers(1), frame(CONTINUATION, 1, c.block(MORE), 4)],
        connection(PROTOCOL_ERROR),
    ),
    # 5.1.1
    ("5.1.1/1 an even stream", lambda c: [c.headers(2)], connection(PROTOCOL_ERROR)),
    ("5.1.1/2 a lower stream than before", lambda c: [c.headers(5), c.headers(3)], connection(PROTOCOL_ERROR)),
    # 5.1.2
    (
        "5.1.2/1 more streams than allowed",
        lambda c: [NO_WINDOW, *(c.headers(number) for number in range(1, 203, 2))],
        stream(REFUSED_STREAM),
    ),
    # 5.3.1
    (
        "5.3.1/1 HEADERS that depend on themselves",
        lambda c: [frame(HEADERS, 1, b"\0\0\0\1\xff" + c.block(GET), 5 | HAS_PRIORITY)],
        stream(PROTOCOL_ERROR),
    ),
    ("5.3.1/2 PRIORITY that depends on itself", lambda c: [priority(2, 2)], connection(PROTOCOL_ERROR)),
    # 5.4.1: the GOAWAY and the close are looked at below
    ("5.4.1/1 a connection error", lambda c: [frame(PING, 0, b"\0" * 7)], connection(FRAME_SIZE_ERROR)),
    # 5.5
    ("5.5/1 an unknown frame", lambda c: [frame(0xFF, 0, bytes(8)), ping], GOES_ON),
    ("5.5/2 an unknown frame within a block", lambda c: parts(c, frame(0xFF, 1, bytes(8))), connection(PROTOCOL_ERROR)),
    ("5.5 ALTSVC and ORIGIN from a client", lambda c: [frame(0xA, 1, b"x"), frame(0xC, 0, b"x"), ping], GOES_ON),
    # 6.1
    ("6.1/1 DATA on stream 0", lambda c: [data(0, b"test", end=True)], connection(PROTOCOL_ERROR)),
    (
        "6.1/2 DATA on a stream that is half-closed",
        lambda c: [NO_WINDOW, c.headers(1), data(1, b"x")],
        stream(STREAM_CLOSED),
    ),
    (
        "6.1/3 DATA with padding longer than the payload",
        lambda c: [c.headers(1, POST, end=False), frame(DATA, 1, b"\x06test", PADDED | END_STREAM)],
        connection(PROTOCOL_ERROR),
    ),
    # 6.2
    ("6.2/1 a block followed by PRIORITY", lambda c: parts(c, priority(1)), connection(PROTOCOL_ERROR)),
    (
        "6.2/2 a block followed by HEADERS of another stream",
        lambda c: parts(c, c.headers(3)),
        connection(PROTOCOL_ERROR),
    ),
    ("6.2/3 HEADERS on stream 0", lambda c: [c.headers(0)], connection(PROTOCOL_ERROR)),
    (
        "6.2/4 HEADERS with padding longer than the payload",
        lambda c: [frame(HEADERS, 1, b"\xff" + c.block(GET), 5 | PADDED)],
        connection(PROTOCOL_ERROR),
    ),
    # 6.3
    ("6.3/1 PRIORITY on stream 0", lambda c: [priority(0)], connection(PROTOCOL_ERROR)),
    (
        "6.3/2 PRIORITY of another length",
        lambda c: [c.headers(1, POST, end=False), frame(PRIORITY, 1, b"\x80\0\0\1")],
        stream(FRAME_SIZE_ERROR),
    ),
    ("6.3 PRIORITY of another length, idle", lambda c: [frame(PRIORITY, 1, b"\0")], connection(FRAME_SIZE_ERROR)),
    # 6.4
    ("6.4/1 RST_STREAM on stream 0", lambda c: [rst_stream(0)], connection(PROTOCOL_ERROR)),
    ("6.4/2 RST_STREAM on an idle stream", lambda c: [rst_stream(1)], connection(PROTOCOL_ERROR)),
    (
        "6.4/3 RST_STREAM of another length",
        lambda c: [c.headers(1, POST, end=False), frame(RST_STREAM, 1, b"\0\0\0")],
        connection(FRAME_SIZE_ERROR),
    ),
    # 6.5
    ("6.5/1 SETTINGS ACK with a payload", lambda c: [settings((1, 1), flags=1)], connection(FRAME_SIZE_ERROR)),
    ("6.5/2 SETTINGS on a stream", lambda c: [frame(SETTINGS, 1, bytes(6))], connection(PROTOCOL_ERROR)),
    ("6.5/3 SETTINGS of another length", lambda c: [frame(SETTINGS, 0, b"\0\2\0")], connection(FRAME_SIZE_ERROR)),
    # 6.5.2
    ("6.5.2/1 ENABLE_PUSH of 2", lambda c: [settings((2, 2))], connection(PROTOCOL_ERROR)),
    ("6.5.2/2 INITIAL_WINDOW_SIZE over 2^31-1", lambda c: [settings((4, 2**31))], connection(FLOW_CONTROL_ERROR)),
    ("6.5.2/3 MAX_FRAME_SIZE below 16384", lambda c: [settings((5, 16383))], connection(PROTOCOL_ERROR)),
    ("6.5.2/4 MAX_FRAME_SIZE over 2^24-1", lambda c: [settings((5, 2**24))], connection(PROTOCOL_ERROR)),
    ("6.5.2/5 an unknown setting", lambda c: [settings((0xFF, 1)), ping], GOES_ON),
    ("6.5.2 ENABLE_CONNECT_PROTOCOL of 2", lambda c: [settings((8, 2))], connection(PROTOCOL_ERROR)),
    ("6.5.2 wrong first and right then", lambda c: [settings((4, 2**31), (4, 1))], connection(FLOW_CONTROL_ERROR)),
    # 6.6
    (
        "6.6 PUSH_PROMISE from a client",
        lambda c: [c.headers(1, POST, end=False), frame(PUSH_PROMISE, 1, bytes(9), 4)],
        connection(PROTOCOL_ERROR),
    ),
    # 6.7
    ("6.7/1 PING", lambda c: [ping], GOES_ON),
    ("6.7/2 PING with ACK", lambda c: [frame(PING, 0, b"invalid!", 1), ping], GOES_ON),
    ("6.7/3 PING on a stream", lambda c: [frame(PING, 1, PONG)], connection(PROTOCOL_ERROR)),
    ("6.7/4 PING of another length", lambda c: [frame(PING, 0, b"\0" * 6)], connection(FRAME_SIZE_ERROR)),
    # 6.8
    ("6.8/1 GOAWAY on a stream", lambda c: [frame(GOAWAY, 1, bytes(8))], connection(PROTOCOL_ERROR)),
    ("6.8 GOAWAY that is too short", lambda c: [frame(GOAWAY, 0, bytes(7))], connection(FRAME_SIZE_ERROR)),
    # 6.9
    ("6.9/1 WINDOW_UPDATE of 0", lambda c: [window_update(0, 0)], connection(PROTOCOL_ERROR)),
    (
        "6.9/2 WINDOW_UPDATE of 0 on a stream",
        lambda c: [c.headers(1, POST, end=False), window_update(1, 0)],
        stream(PROTOCOL_ERROR),
    ),
    (
        "6.9/3 WINDOW_UPDATE of another length",
        lambda c: [frame(WINDOW_UPDATE, 0, b"\0\0\1")],
        connection(FRAME_SIZE_ERROR),
    ),
    # 6.9.1
    (
        "6.9.1/2 windows over 2^31-1",
        lambda c: [window_update(0, 2**31 - 1), window_update(0, 2**31 - 1)],
        connection(FLOW_CONTROL_ERROR),
    ),
    (
        "6.9.1/3 windows of a stream over 2^31-1",
        lambda c: [c.headers(1, POST, end=False), window_update(1, 2**31 - 1), window_update(1, 2**31 - 1)],
        stream(FLOW_CONTROL_ERROR),
    ),
    (
        "6.9.2/3 INITIAL_WINDOW_SIZE that brings a window over 2^31-1",
        lambda c: [c.headers(1, POST, end=False), window_update(1, 2**31 - 65536), settings((4, 2**31 - 1))],
        connection(FLOW_CONTROL_ERROR),
    ),
    # 6.10
    (
        "6.10/1 several CONTINUATION",
        lambda c: parts(c, frame(CONTINUATION, 1, c.block(MORE)), frame(CONTINUATION, 1, c.block(MORE), 4)),
        ANSWERED,
    ),
    (
        "6.10/2 CONTINUATION and then another frame",
        lambda c: parts(c, frame(CONTINUATION, 1, c.block(MORE)), data(1, b"test", end=True)),
        connection(PROTOCOL_ERROR),
    ),
    ("6.10/3 CONTINUATION on stream 0", lambda c: parts(c, frame(CONTINUATION, 0, b"", 4)), connection(PROTOCOL_ERROR)),
    (
        "6.10/4 CONTINUATION after END_HEADERS",
        lambda c: [c.headers(1), frame(CONTINUATION, 1, c.block(MORE), 4)],
        connection(PROTOCOL_ERROR),
    ),
    (
        "6.10/5 CONTINUATION after CONTINUATION with END_HEADERS",
        lambda c: parts(c, *[frame(CONTINUATION, 1, c.block(MORE), 4)] * 2),
        connection(PROTOCOL_ERROR),
    ),
    (
        "6.10/6 CONTINUATION after DATA",
        lambda c: [c.headers(1, POST, end=False), data(1, b"test", end=True), frame(CONTINUATION, 1, b"", 4)],
        connection(PROTOCOL_ERROR),
    ),
    # 7
    (
        "7/1 GOAWAY with an unknown code",
        lambda c: [c.headers(1, POST, end=False), frame(GOAWAY, 0, bytes(4) + b"\0\0\0\xff"), ping],
        GOES_ON,
    ),
    (
        "7/2 RST_STREAM with an unknown code",
        lambda c: [c.headers(1, POST, end=False), rst_stream(1, 0xFF), ping],
        GOES_ON,
    ),
    # 8.1
    (
        "8.1/1 trailers that do not end the stream",
        lambda c: [c.headers(1, POST, end=False), c.headers(1, MORE, end=False)],
        stream(PROTOCOL_ERROR),
    ),
    # 8.1.2
    ("8.1.2/1 capitals in a name", lambda c: [c.headers(1, with_fields((b"X-TEST", b"ok")))], stream(PROTOCOL_ERROR)),
    # 8.1.2.1
    ("8.1.2.1/1 an unknown pseudo-header", lambda c: [c.headers(1, ((b":test", b"ok"), *GET))], stream(PROTOCOL_ERROR)),
    ("8.1.2.1/2 one of responses", lambda c: [c.headers(1, (*GET, (b":status", b"200")))], stream(PROTOCOL_ERROR)),
    (
        "8.1.2.1/2 one of responses, in front",
        lambda c: [c.headers(1, ((b":status", b"100"), *GET))],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.1/3 a pseudo-header in trailers",
        lambda c: [c.headers(1, POST, end=False), data(1, b"x"), c.headers(1, ((b":method", b"POST"),))],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.1/4 a pseudo-header behind others",
        lambda c: [c.headers(1, (*without(b":path"), (b"x-test", b"ok"), (b":path", b"/")))],
        stream(PROTOCOL_ERROR),
    ),
    # 8.1.2.2
    (
        "8.1.2.2/1 connection",
        lambda c: [c.headers(1, with_fields((b"connection", b"keep-alive")))],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.2/2 te that says more",
        lambda c: [c.headers(1, with_fields((b"te", b"trailers, deflate")))],
        stream(PROTOCOL_ERROR),
    ),
    ("8.1.2.2 te: trailers", lambda c: [c.headers(1, with_fields((b"te", b"trailers")))], ANSWERED),
    *(
        (
            f"8.1.2.2 {name.decode()}",
            lambda c, name=name: [c.headers(1, with_fields((name, b"x")))],
            stream(PROTOCOL_ERROR),
        )
        for name in (b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
    ),
    # 8.1.2.3
    ("8.1.2.3/1 an empty :path", lambda c: [c.headers(1, replaced(b":path", b""))], stream(PROTOCOL_ERROR)),
    ("8.1.2.3/2 no :method", lambda c: [c.headers(1, without(b":method"))], stream(PROTOCOL_ERROR)),
    ("8.1.2.3/3 no :scheme", lambda c: [c.headers(1, without(b":scheme"))], stream(PROTOCOL_ERROR)),
    ("8.1.2.3/4 no :path", lambda c: [c.headers(1, without(b":path"))], stream(PROTOCOL_ERROR)),
    ("8.1.2.3/5 :method twice", lambda c: [c.headers(1, ((b":method", b"GET"), *GET))], stream(PROTOCOL_ERROR)),
    ("8.1.2.3/6 :scheme twice", lambda c: [c.headers(1, ((b":scheme", b"http"), *GET))], stream(PROTOCOL_ERROR)),
    ("8.1.2.3/7 :path twice", lambda c: [c.headers(1, ((b":path", b"/"), *GET))], stream(PROTOCOL_ERROR)),
    # 8.1.2.6
    (
        "8.1.2.6/1 content-length that is not the length",
        lambda c: [c.headers(1, (*POST, (b"content-length", b"1")), end=False), data(1, b"test", end=True)],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.6/2 content-length that is not the sum",
        lambda c: [
            c.headers(1, (*POST, (b"content-length", b"1")), end=False),
            data(1, b"te"),
            data(1, b"st", end=True),
        ],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.6 content-length of more than came",
        lambda c: [c.headers(1, (*POST, (b"content-length", b"5")), end=False), data(1, b"test", end=True)],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.6 content-length without content",
        lambda c: [c.headers(1, (*POST, (b"content-length", b"5")))],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.6 content-length of no number",
        lambda c: [c.headers(1, (*POST, (b"content-length", b"x")), end=False)],
        stream(PROTOCOL_ERROR),
    ),
    (
        "8.1.2.6 content-length twice",
        lambda c: [c.headers(1, (*POST, *[(b"content-length", b"4")] * 2), end=False), data(1, b"test", end=True)],
        stream(PROTOCOL_ERROR),
    ),
    # 8.2
    (
        "8.2/1 PUSH_PROMISE",
        lambda c: [frame(PUSH_PROMISE, 1, b"\0\0\0\3" + c.block(GET), 4)],
        connection(PROTOCOL_ERROR),
    ),
    # The generic cases: what must be accepted
    ("generic 2/1 PRIORITY on an idle stream", lambda c: [priority(1), ping], GOES_ON),
    (
        "generic 2/4 RST_STREAM on a half-closed stream",
        lambda c: [NO_WINDOW, c.headers(1), rst_stream(1), ping],
        GOES_ON,
    ),
    ("generic 2/5 PRIORITY on a closed stream", lambda c: [c.headers(1), priority(1), ping], GOES_ON),
    (
        "closed: WINDOW_UPDATE and RST_STREAM",
        lambda c: [c.headers(1), window_update(1, 1), rst_stream(1), ping],
        GOES_ON,
    ),
    ("generic 3.1/1 DATA", lambda c: [c.headers(1, POST, end=False), data(1, b"test", end=True)], ANSWERED),
    (
        "generic 3.1/2 several DATA",
        lambda c: [c.headers(1, POST, end=False), data(1, b"t"), data(1, b"t", end=True)],
        ANSWERED,
    ),
    (
        "generic 3.1/3 DATA with padding",
        lambda c: [c.headers(1, POST, end=False), data(1, b"t", end=True, padding=6)],
        ANSWERED,
    ),
    (
        "generic 3.2/2 HEADERS with padding",
        lambda c: [frame(HEADERS, 1, b"\x06" + c.block(GET) + bytes(6), 5 | PADDED)],
        ANSWERED,
    ),
    (
        "generic 3.2/3 HEADERS with priority",
        lambda c: [frame(HEADERS, 1, b"\0\0\0\0\xff" + c.block(GET), 5 | HAS_PRIORITY)],
        ANSWERED,
    ),
    *(
        (
            f"generic 3.3 PRIORITY {depends_on} {weight}",
            lambda c, on=depends_on, by=weight: [priority(1, on, by), ping],
            GOES_ON,
        )
        for depends_on, weight in ((0, 0), (0, 255), (3, 15), (0x80000003, 15))
    ),
    ("generic 3.3/5 PRIORITY for a higher stream first", lambda c: [priority(7), c.headers(1)], ANSWERED),
    (
        "generic 3.5 SETTINGS",
        lambda c: [settings((1, 4096), (3, 100), (4, 65535), (5, 16384), (6, 100)), ping],
        GOES_ON,
    ),
    (
        "generic 3.8 GOAWAY with a stream open",
        lambda c: [c.headers(1, POST, end=False), frame(GOAWAY, 0, bytes(8)), ping],
        GOES_ON,
    ),
    ("generic 3.9/1 WINDOW_UPDATE", lambda c: [window_update(0, 1), ping], GOES_ON),
    ("generic 3.9/2 WINDOW_UPDATE on a stream", lambda c: [NO_WINDOW, c.headers(1), window_update(1, 1)], ANSWERED),
    ("generic 3.10/1 CONTINUATION", lambda c: parts(c, frame(CONTINUATION, 1, c.block(MORE), 4)), ANSWERED),
    ("generic 4/1 GET", lambda c: [c.headers(1)], ANSWERED),
    ("generic 4/2 HEAD", lambda c: [c.headers(1, replaced(b":method", b"HEAD"))], ANSWERED),
    ("generic 4/3 POST", lambda c: [c.headers(1, POST, end=False), data(1, b"test", end=True)], ANSWERED),
    (
        "generic 4/4 POST with trailers",
        lambda c: [
            c.headers(1, (*POST, (b"trailer", b"x-test")), end=False),
            data(1, b"test"),
            c.headers(1, ((b"x-test", b"ok"),)),
        ],
        ANSWERED,
    ),
]

# RFC 7541: representations behind the fields of a request, most as the generic cases of h2spec have them.
GOOD_BLOCKS = {
    "5/1 indexed": b"\x90",  # accept-encoding: gzip, deflate
    "5/2 incremental, name in full": b"\x40\x0auser-agent\x06h2spec",
    "5/3 incremental, Huffman": b"\x40\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4",
    "5/4 incremental, new name": b"\x40\x06x-test\x06h2spec",
    "5/5 incremental, new name, Huffman": b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
    "5/6 without indexing": b"\x00\x0auser-agent\x06h2spec",
    "5/7 without indexing, Huffman": b"\x00\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4",
    "5/8 without indexing, new name": b"\x00\x06x-test\x06h2spec",
    "5/9 without indexing, new name, Huffman": b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
    "5/10 never indexed": b"\x10\x0auser-agent\x06h2spec",
    "5/11 never indexed, Huffman": b"\x10\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4",
    "5/12 never indexed, new name": b"\x10\x06x-test\x06h2spec",
    "5/13 never indexed, new name, Huffman": b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
}
BAD_BLOCKS = {
    "2.3.3/1 an index beyond the tables": b"\xff\x50",
    "2.3.3/2 a name's index beyond the tables": b"\x7f\x50\x01x",
    "4.2/1 a size update at the end": b"\x3f\x21",
    "5.2/1 padding of more than 7 bits": b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\x49\x7f\xff\xff\xff"[:12]
    + b"\xff\xff",
    "5.2/2 padding of zeros": b"\x00\x85\xf2\xb2\x4a\x87\xff\x83\x49\x50\x90",
    "5.2/3 the end-of-string symbol": b"\x00\x85\xf2\xb2\x4a\x84\xff\x88\xff\xff\xff\xff\xff\xff\xff\xff",
    "6.1/1 index 0": b"\x80",
    "6.3/1 a size over the limit": b"\x3f\xe2\x1f",
    "a string longer than the block": b"\x00\x7f\xff\xff\xff\x7f",
    "an integer without end": b"\x00\x01x\x7f" + b"\xff" * 20,
}


def result(frames: list[Received]) -> tuple[Any, ...]:
    for got in frames:
        if got.kind == GOAWAY:
            return connection(got.code)
        if got.kind == RST_STREAM and got.code != NO_ERROR:
            return stream(got.code)
    for got in frames:
        if got.kind == PING and got.flags == 1 and got.payload == PONG:
            return GOES_ON
    return next((("answer", got.status) for got in frames if got.kind == HEADERS), ())


@pytest.mark.parametrize(("send", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
def test_the_case_ends_as_it_must(peer: Any, send: Any, expected: Any, cut: bool) -> None:
    pieces: list[bytes] = list(send(peer))
    if expected in (ANSWERED, GOES_ON) or expected[0] == "stream":
        pieces.append(b"")
    if cut:
        whole = b"".join(pieces)
        pieces = [whole[at : at + 1] for at in range(len(whole))]
    frames = []
    for piece in pieces:
        frames += peer.ask(piece)
    assert result(frames) == expected
    if expected[0] == "connection":
        assert frames[-1].kind == GOAWAY
        assert peer.transport.half_closed
        assert peer.ask(ping) == []
    elif expected[0] == "stream":
        assert any(got.kind == PING for got in peer.ask(ping))


@pytest.mark.parametrize("block", GOOD_BLOCKS.values(), ids=GOOD_BLOCKS)
def test_every_representation_of_a_field_is_read(peer: Any, block: bytes) -> None:
    assert result(peer.ask(frame(HEADERS, 1, peer.block(GET) + block, 5))) == ANSWERED


@pytest.mark.parametrize("block", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_what_is_no_header_block_ends_the_connection(peer: Any, block: bytes) -> None:
    assert result(peer.ask(frame(HEADERS, 1, peer.block(GET) + block, 5))) == connection(COMPRESSION_ERROR)


@pytest.mark.parametrize("updates", [b"\x20", b"\x20\x3f\xe1\x1f"], ids=["to nothing", "and back"])
def test_the_size_of_the_table_may_be_changed_in_front(peer: Any, updates: bytes) -> None:
    assert result(peer.ask(frame(HEADERS, 1, updates + peer.block(GET), 5))) == ANSWERED


def test_a_refused_head_keeps_the_tables_in_step(peer: Any) -> None:
    fields = with_fields((b"x-kept", b"in the table"))
    assert result(peer.ask(peer.headers(1, (*fields, (b"connection", b"x"))))) == stream(PROTOCOL_ERROR)
    assert result(peer.ask(peer.headers(3, fields))) == ANSWERED
    assert (b"x-kept", b"in the table") in peer.handler.last.request.headers


def test_the_preface_must_be_the_preface(peer_with: Any) -> None:
    peer = peer_with(alpn=True, greet=False)
    frames = peer.ask(b"INVALID CONNECTION PREFACE\r\n\r\n")
    assert result(frames) == connection(PROTOCOL_ERROR)


@pytest.mark.parametrize("first", [ping, settings(flags=1), frame(HEADERS, 1, b"\x82", 5)])
def test_the_first_frame_must_be_settings(peer_with: Any, first: bytes) -> None:
    peer = peer_with(greet=False)
    assert result(peer.ask(PREFACE + first)) == connection(PROTOCOL_ERROR)


def test_windows_count_from_the_last_value_of_settings(peer: Any) -> None:
    frames = peer.ask(settings((4, 100), (4, 1)), peer.headers(1))
    assert [got.payload for got in frames if got.kind == DATA] == [b"h"]


def test_a_window_that_grows_lets_the_answer_go_on(peer: Any) -> None:
    frames = peer.ask(NO_WINDOW, peer.headers(1))
    assert not [got for got in frames if got.kind == DATA]
    frames = peer.ask(settings((4, 1)))
    assert [got.payload for got in frames if got.kind == DATA] == [b"h"]


def test_a_window_may_become_negative(peer: Any) -> None:
    frames = peer.ask(settings((4, 3)), peer.headers(1))
    assert [got.payload for got in frames if got.kind == DATA] == [b"hel"]
    assert not [got for got in peer.ask(settings((4, 2))) if got.kind == DATA]  # -1
    assert not [got for got in peer.ask(window_update(1, 1)) if got.kind == DATA]  # 0
    frames = peer.ask(window_update(1, 1))
    assert [got.payload for got in frames if got.kind == DATA] == [b"l"]


def test_a_client_that_is_going_away_is_still_answered(peer: Any) -> None:
    peer.ask(peer.headers(1, POST, end=False), frame(GOAWAY, 0, bytes(8)))
    frames = peer.ask(data(1, b"test", end=True))
    assert result(frames) == ANSWERED
    assert peer.transport.half_closed


@pytest.mark.parametrize("code", [NO_ERROR, 0xFF])
def test_a_client_that_went_away_may_send_on(peer: Any, code: int) -> None:
    assert peer.ask(frame(GOAWAY, 0, bytes(4) + code.to_bytes(4, "big"))) == []
    assert peer.transport.half_closed
    assert not peer.transport.disconnecting  # closed now, with the PING unread, the socket would be reset
    assert peer.ask(ping) == []


def test_the_tables_stay_in_step_when_the_client_sets_a_size_twice(peer: Any) -> None:
    peer.ask(settings((1, 0)), peer.headers(1))
    peer.ask(settings((1, 100)), settings((1, 100)))
    for number in (3, 5, 7):
        (head,) = [got for got in peer.ask(peer.headers(number)) if got.kind == HEADERS]
        assert (b":status", b"200") in head.fields
        assert b"date" in [name for name, _ in head.fields]


def test_a_table_that_the_client_empties_begins_anew(peer: Any) -> None:
    peer.ask(peer.headers(1))
    peer.ask(settings((1, 0), (1, 4096)))
    (head,) = [got for got in peer.ask(peer.headers(3)) if got.kind == HEADERS]
    assert head.payload.startswith(b"\x20\x3f\xe1\x1f")  # the smallest size there was, and the last


def test_settings_are_acknowledged_at_once(peer: Any) -> None:
    assert [(got.kind, got.flags) for got in peer.ask(settings((2, 0)))] == [(SETTINGS, 1)]


def test_a_table_of_the_clients_may_be_large_and_ours_stays_small(peer: Any) -> None:
    peer.ask(settings((1, 2**32 - 1)))
    for number in range(1, 401, 2):
        frames = peer.ask(peer.headers(number))
        assert result(frames) == ANSWERED
    encoder = peer.connection.engine._h2.encoder
    assert encoder.header_table_size == 4096


def test_unknown_settings_are_not_kept(peer: Any) -> None:
    for start in range(100):
        peer.ask(settings(*((100 + start * 600 + number, 1) for number in range(600))))
    assert len(peer.connection.engine._h2.remote_settings) < 10


def test_a_header_block_is_bounded_whatever_it_says(peer: Any) -> None:
    piece = b"\x00\x01x\x7f\x80\x7f" + bytes(16000)
    pieces = [frame(CONTINUATION, 1, piece) for _ in range(20)]
    assert result(peer.ask(peer.headers(1, flags=0), *pieces)) == connection(ENHANCE_YOUR_CALM)
