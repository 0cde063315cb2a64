"""Frames both ways once a WebSocket is open: what the client may say, and how each way of breaking RFC 6455 ends."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate

from trunkline.message_formats import get
from trunkline.protocol_servers.http.websocket.frames import Outgoing
from trunkline.protocol_servers.http.websocket.reading import MessageProtocol
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
DEFLATE = {b"sec-websocket-extensions": b"permessage-deflate; client_max_window_bits"}


def deflated(data: bytes) -> bytes:
    """Compress a message as a client does, without its end (RFC 7692, 7.2.1)."""
    squeezing = zlib.compressobj(wbits=-12)
    return (squeezing.compress(data) + squeezing.flush(zlib.Z_SYNC_FLUSH))[:-4]


# About 3000 bytes, whose first 2000 inflate to less than 5000.
LONG = deflated(bytes(byte & 0x8F for byte in random.Random(1).randbytes(6000)))


def inflated(data: bytes) -> bytes:
    """Undo what the server compressed; each message stands for itself."""
    return zlib.decompressobj(wbits=-12).decompress(data + b"\0\0\xff\xff")


# Messages in


def test_text_and_bytes(bench: Any, step: int | None) -> None:
    client = bench.open()
    for data in (client_frame(TEXT, "grüße".encode()), client_frame(BINARY, b"\0\xff"), client_frame(TEXT)):
        client.feed(data, step)
    base = {"reply_channel": client.reply_channel, "path": "/chat"}
    messages = client.sent()
    assert messages == [
        {**base, "text": "grüße", "order": 1},
        {**base, "bytes": b"\0\xff", "order": 2},
        {**base, "text": "", "order": 3},
    ]
    format = get("websocket.receive")
    assert format is not None
    for message in messages:
        format.validate(message)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 16375, 16376, 16377, 65535, 65536, 200_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_every_size_of_message(bench: Any, size: int, opcode: int) -> None:
    client = bench.open()
    data = bytes(range(97, 123)) * (size // 26 + 1)
    client.feed(client_frame(opcode, data[:size]) * 2)
    messages = client.sent()
    assert len(messages) == 2
    for message in messages:
        got = message["text"].encode() if opcode == TEXT else message["bytes"]
        assert got == data[:size]
        assert type(got) is bytes


def test_fragments_are_put_together(bench: Any, step: int | None) -> None:
    client = bench.open()
    text = "ein Stück".encode()
    client.feed(client_frame(TEXT, text[:6], fin=False), step)  # cut within a character
    client.feed(client_frame(PING, b"between"), step)
    client.feed(client_frame(CONTINUATION, fin=False), step)
    assert client.sent() == []
    client.feed(client_frame(CONTINUATION, text[6:]), step)
    client.feed(client_frame(BINARY, b"a", fin=False) + client_frame(CONTINUATION, b"b"), step)
    client.feed(client_frame(TEXT, b"after"), step)
    assert [message.get("text", message.get("bytes")) for message in client.sent()] == ["ein Stück", b"ab", "after"]
    assert client.frames() == [(PONG, b"between")]


def test_a_short_message_in_the_middle_of_another_frame_is_not_taken_for_one(bench: Any) -> None:
    """The shortcut for whole short frames must know that the parser waits for the rest of a longer one."""
    inner = client_frame(TEXT, b"inner")
    for cut in range(1, 14):
        client = bench.open()
        outer = client_frame(BINARY, b"12345678" + inner, mask=b"\0\0\0\0")
        client.feed(outer[: -len(inner)][:cut])
        client.feed(outer[cut : -len(inner)])
        client.feed(inner)
        (message,) = client.sent()
        assert message["bytes"] == b"12345678" + inner


def test_a_whole_short_frame_does_not_go_through_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = MessageProtocol([], 1000)
    protocol.read(client_frame(TEXT, b"by the parser")[:5])
    protocol.read(client_frame(TEXT, b"by the parser")[5:])
    monkeypatch.setattr(protocol, "receive_data", None)
    assert protocol.read(client_frame(TEXT, b"short")) == ["short"]
    assert protocol.read(client_frame(BINARY, b"x" * 1000)) == [b"x" * 1000]


def test_a_short_message_between_fragments_is_wrong(bench: Any) -> None:
    client = bench.open()
    client.feed(client_frame(TEXT, b"a", fin=False))
    client.say("b")
    assert client.code() == 1002
    assert client.sent() == []


def test_pings_are_answered(bench: Any, step: int | None) -> None:
    client = bench.open()
    client.feed(client_frame(PING, b"x" * 125) + client_frame(PONG, b"unasked") + client_frame(PING), step)
    assert client.frames() == [(PONG, b"x" * 125), (PONG, b"")]
    assert bench.take() == []


# Messages out


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_replies_of_every_size(bench: Any, size: int) -> None:
    client = bench.open()
    client.reply({"text": "x" * size})
    client.reply({"bytes": b"y" * size})
    assert client.frames() == [(TEXT, b"x" * size), (BINARY, b"y" * size)]


def test_replies_after_the_handshake(bench: Any) -> None:
    client = bench.open()
    client.reply({"accept": True, "text": "a", "subprotocol": "b", "unknown": 1})
    client.reply({"accept": False, "text": "still here", "thread": "same", "close": None})
    client.reply({})
    client.reply({"close": False})
    assert client.frames() == [(TEXT, b"a"), (TEXT, b"still here")]
    client.reply({"text": "a", "bytes": b"b", "close": True})
    assert client.take() == b""
    assert bench.stats["websocket_ambiguous"] == 1


@pytest.mark.parametrize("code", [True, 1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
def test_close_with_a_code(bench: Any, code: int) -> None:
    client = bench.open()
    client.reply({"text": "last", "close": code})
    data, close = client.frames()
    assert data == (TEXT, b"last")
    assert close_code(close) == (1000 if code is True else code)
    assert not client.closed, "the client answers first"
    client.reply({"text": "late"})
    assert client.take() == b""
    assert bench.stats["late_answers"] == 1
    client.feed(client_close(code if code is not True else 1000))
    assert client.closed
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == (1000 if code is True else code)


@pytest.mark.parametrize(
    "message",
    [
        {"close": 999},
        {"close": 1004},
        {"close": 1005},
        {"close": 1006},
        {"close": 1015},
        {"close": 2000},
        {"close": 5000},
        {"close": 1},
        {"close": "1000"},
        {"close": 1000.0},
        {"close": [1000]},
        {"text": b"bytes"},
        {"text": 1, "close": 1000},
        {"bytes": "text"},
        {"bytes": 5},
        {"text": "\ud800"},
        {"text": ["x"] * 1000},
    ],
)
def test_what_is_no_reply_closes_with_1011(bench: Any, message: dict[str, Any]) -> None:
    client = bench.open()
    client.reply(message)
    assert client.code() == 1011
    assert bench.stats["unfit_messages"] == 1


# Closing


def test_the_client_closes(bench: Any, step: int | None) -> None:
    client = bench.open()
    client.say("hello")
    client.feed(client_close(4000, b"done"), step)
    assert client.frames() == [(CLOSE, struct.pack("!H", 4000) + b"done")]
    assert client.closed
    receive, gone = bench.take()
    assert receive.message["order"] == 1
    assert gone.channel == "websocket.disconnect"
    assert gone.message == {"reply_channel": client.reply_channel, "path": "/chat", "code": 4000, "order": 2}
    format = get("websocket.disconnect")
    assert format is not None
    format.validate(gone.message)
    client.leave()
    bench.loop.advance(100)
    assert bench.take() == [], "told once"
    assert bench.open_connections == 0
    assert not client.aborted
    assert bench.stats["websocket_failed"] == 0


def test_a_close_without_a_code_is_1005(bench: Any) -> None:
    client = bench.open()
    client.feed(client_close())
    assert client.code() == 1005
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1005


def test_leaving_without_a_close_is_1006(bench: Any) -> None:
    client = bench.open()
    client.feed(client_frame(TEXT, b"half")[:-1])
    client.leave()
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1006
    assert gone["order"] == 1
    assert bench.open_connections == 0


def test_disconnects_go_only_where_somebody_listens(bench: Any) -> None:
    del bench.inbox.announced["websocket.disconnect"]
    bench.open().leave()
    assert bench.take() == []
    assert bench.stats["notifications_dropped"] == 1


def test_a_client_that_never_answers_our_close(bench: Any) -> None:
    client = bench.open()
    client.reply({"close": True})
    assert client.code() == 1000
    bench.loop.advance(9.9)
    assert not client.closed
    bench.loop.advance(0.3)
    assert client.closed
    assert not client.aborted
    bench.loop.advance(10.2)
    assert client.aborted
    client.leave()
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1006


def test_what_comes_between_our_close_and_the_clients_is_dropped(bench: Any) -> None:
    client = bench.open()
    client.reply({"close": 4000})
    assert client.code() == 4000
    client.feed(client_frame(TEXT, b"late") + client_frame(PING, b"still there?") + client_frame(BINARY, b"late"))
    assert client.frames() == [(PONG, b"still there?")]
    client.feed(client_close(4000))
    assert [sent.channel for sent in bench.take()] == ["websocket.disconnect"]
    assert bench.stats["websocket_late_messages"] == 2


def test_what_comes_after_the_clients_close_is_dropped(bench: Any) -> None:
    client = bench.open()
    client.feed(client_close(1000) + client_frame(TEXT, b"late"))
    client.say("later")
    assert [sent.channel for sent in bench.take()] == ["websocket.disconnect"]


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_codes_that_may_be_sent(bench: Any, code: int) -> None:
    client = bench.open()
    client.feed(client_close(code))
    assert client.code() == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535])
def test_close_codes_that_may_not(bench: Any, code: int) -> None:
    client = bench.open()
    client.feed(client_close(code))
    assert client.code() == 1002
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1006


# Breaking the protocol


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(client_frame(TEXT, b"x", mask=None), 1002, id="unmasked"),
        pytest.param(client_frame(TEXT, mask=None), 1002, id="unmasked and empty"),
        pytest.param(client_frame(TEXT, b"x", reserved=0x40), 1002, id="first reserved bit without an extension"),
        pytest.param(client_frame(TEXT, b"x", reserved=0x20), 1002, id="second reserved bit"),
        pytest.param(client_frame(TEXT, b"x", reserved=0x10), 1002, id="third reserved bit"),
        *(pytest.param(client_frame(opcode, b"x"), 1002, id=f"opcode {opcode}") for opcode in (3, 7, 11, 15)),
        pytest.param(client_frame(PING, b"x", fin=False), 1002, id="fragmented ping"),
        pytest.param(client_frame(CLOSE, b"", fin=False), 1002, id="fragmented close"),
        pytest.param(client_frame(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(client_frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002, id="long close"),
        pytest.param(client_frame(CLOSE, b"\x03"), 1002, id="close of one byte"),
        pytest.param(client_frame(CLOSE, b"\x03\xe8\xff"), 1007, id="close with a reason that is not UTF-8"),
        pytest.param(client_frame(CONTINUATION, b"x"), 1002, id="continuation of nothing"),
        pytest.param(
            client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"x"), 1002, id="a message within another"
        ),
        pytest.param(client_frame(TEXT, b"\xc3\x28"), 1007, id="not UTF-8"),
        pytest.param(client_frame(TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(client_frame(TEXT, b"ab\xe2\x82"), 1007, id="cut character"),
        pytest.param(client_frame(TEXT, b"\xff" * 5000), 1007, id="long and not UTF-8"),
        pytest.param(
            client_frame(TEXT, b"\xe2", fin=False) + client_frame(CONTINUATION, b"\x28"), 1007, id="not UTF-8 in pieces"
        ),
        pytest.param(client_frame(TEXT, b"x" * 5001), 1009, id="message too long"),
        pytest.param(bytes((0x82, 0xFF)) + b"\x7f" + b"\xff" * 7, 1009, id="a frame of nine exabytes"),
        pytest.param(bytes((0x82, 0xFF)) + b"\xff" * 8, 1009, id="a length with its highest bit set"),
        pytest.param(
            client_frame(TEXT, b"x" * 3000, fin=False) + client_frame(CONTINUATION, b"x" * 2001),
            1009,
            id="fragments too long together",
        ),
        pytest.param(b"GET / HTTP/1.1\r\n", 1002, id="HTTP"),
        pytest.param(b"\0" * 32, 1002, id="zeros"),
    ],
)
def test_breaking_the_protocol(bench_with: BenchWith, data: bytes, code: int, step: int | None) -> None:
    bench = bench_with(ws_max=5000)
    client = bench.open()
    client.feed(client_frame(TEXT, b"before") + data + client_frame(TEXT, b"after"), step)
    bench.loop.turn()
    assert client.code() == code
    assert [message["text"] for message in client.sent() if "text" in message] == ["before"]
    assert bench.open_connections == 0
    assert bench.stats["websocket_failed"] == 1
    assert client.transport.half_closed, "the Close is on its way while we go on reading"
    assert not client.closed
    bench.loop.advance(1.1)
    assert client.closed
    bench.loop.advance(10.1)
    assert client.aborted
    client.leave()


def test_a_failure_is_told_as_1006(bench: Any) -> None:
    """No Close was received (RFC 6455, 7.1.5)."""
    client = bench.open()
    client.feed(client_frame(TEXT, b"\xff"))
    assert client.code() == 1007
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1006


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("ours_first", [False, True])
def test_a_close_in_the_middle_of_a_message(bench: Any, opcode: int, ours_first: bool, step: int | None) -> None:
    """It is no failure, though the message never ends, be it within a character (RFC 6455, 5.4 and 5.5.1)."""
    client = bench.open()
    client.feed(client_frame(opcode, b"x\xe2", fin=False) + client_frame(CONTINUATION, b"\x82", fin=False), step)
    if ours_first:
        client.reply({"close": 4000})
        assert client.code() == 4000
    client.feed(client_close(4000, b"done") + client_frame(CONTINUATION, b"\xac"), step)
    assert client.frames() == ([] if ours_first else [(CLOSE, struct.pack("!H", 4000) + b"done")])
    assert client.closed
    (gone,) = bench.take()
    assert gone.channel == "websocket.disconnect"
    assert gone.message["code"] == 4000
    assert bench.stats["websocket_failed"] == bench.stats["websocket_late_messages"] == 0


def test_a_wrong_close_in_the_middle_of_a_message(bench: Any) -> None:
    client = bench.open()
    client.feed(client_frame(TEXT, b"x", fin=False) + client_frame(CLOSE, b"x"))
    assert client.code() == 1002
    assert bench.stats["websocket_failed"] == 1


def test_nothing_after_text_that_is_not_utf8_is_read(bench: Any) -> None:
    client = bench.open()
    client.feed(client_frame(TEXT, b"a") + client_frame(TEXT, b"\xff") + client_frame(TEXT, b"b") + client_close(1000))
    receive, gone = bench.take()
    assert receive.message["text"] == "a"
    assert gone.channel == "websocket.disconnect"
    assert client.closed or client.transport.half_closed


def test_the_longest_message_is_taken(bench_with: BenchWith, step: int | None) -> None:
    bench = bench_with(ws_max=300)
    client = bench.open()
    client.feed(client_frame(TEXT, b"x" * 300), step)
    client.feed(client_frame(TEXT, b"y" * 200, fin=False) + client_frame(CONTINUATION, b"y" * 100), step)
    assert [len(message["text"]) for message in client.sent()] == [300, 300]
    client.feed(client_frame(TEXT, b"x" * 301), step)
    assert client.code() == 1009


# Compression (RFC 7692)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", b"server_max_window_bits=12"),
        (b"permessage-deflate; client_max_window_bits", b"client_max_window_bits=12"),
        (b"permessage-deflate; client_max_window_bits=15", b"client_max_window_bits=12"),
        (b"permessage-deflate; server_max_window_bits=10", b"server_max_window_bits=10"),
        (b"x-unknown, permessage-deflate; client_no_context_takeover", b"server_max_window_bits=12"),
    ],
)
def test_compression_is_agreed_on_without_context(bench: Any, offer: bytes, answer: bytes) -> None:
    client = bench.connect({b"sec-websocket-extensions": offer})
    client.reply({"accept": True})
    head = client.take()
    (line,) = [line for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Extensions: ")]
    assert b"server_no_context_takeover" in line
    assert b"client_no_context_takeover" in line
    assert answer in line


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate; server_max_window_bits=7", b"x-other", b"permessage-deflate; y"]
)
def test_offers_that_cannot_be_met_are_declined(bench: Any, offer: bytes) -> None:
    client = bench.connect({b"sec-websocket-extensions": offer})
    client.reply({"accept": True})
    assert b"Extensions" not in client.take()


def test_a_window_that_zlib_does_not_have(bench: Any) -> None:
    """Versions of `websockets` differ in whether they agree on it."""
    client = bench.open({b"sec-websocket-extensions": b"permessage-deflate; server_max_window_bits=8"})
    client.reply({"text": "x" * 5000})
    assert client.frames() == [(TEXT, b"x" * 5000)]


def test_no_frame_for_a_window_that_zlib_does_not_have() -> None:
    protocol: Any = MessageProtocol([], 100)
    protocol.extensions = [PerMessageDeflate(True, True, 15, 9)]
    protocol.extensions[0].local_max_window_bits = 8
    outgoing = Outgoing({"text": "x" * 5000})
    assert outgoing.compressed(protocol) is outgoing.frame


def test_compressed_messages_in(bench: Any, step: int | None) -> None:
    client = bench.open(DEFLATE)
    body = deflated(b"again and again " * 50)
    client.feed(client_frame(TEXT, body, reserved=COMPRESSED), step)
    client.feed(client_frame(BINARY, body[:9], fin=False, reserved=COMPRESSED), step)
    client.feed(client_frame(CONTINUATION, body[9:]), step)
    client.feed(client_frame(TEXT, b"plain"), step)
    messages = client.sent()
    assert messages[0]["text"] == "again and again " * 50
    assert messages[1]["bytes"] == b"again and again " * 50
    assert messages[2]["text"] == "plain"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(client_frame(TEXT, deflated(b"x" * 5001), reserved=COMPRESSED), 1009, id="inflates too far"),
        pytest.param(client_frame(BINARY, deflated(b"\0" * 4_000_000), reserved=COMPRESSED), 1009, id="bomb"),
        pytest.param(
            client_frame(BINARY, LONG[:2000], fin=False, reserved=COMPRESSED) + client_frame(CONTINUATION, LONG[2000:]),
            1009,
            id="fragments inflate too far together",
        ),
        pytest.param(client_frame(TEXT, b"\xff\xff\xff", reserved=COMPRESSED), 1002, id="no deflate"),
        pytest.param(client_frame(TEXT, deflated(b"\xff"), reserved=COMPRESSED), 1007, id="inflates to no UTF-8"),
        pytest.param(client_frame(PING, b"x", reserved=COMPRESSED), 1002, id="compressed ping"),
        pytest.param(
            client_frame(TEXT, b"x", fin=False) + client_frame(CONTINUATION, b"x", reserved=COMPRESSED),
            1002,
            id="compressed continuation",
        ),
    ],
)
def test_wrong_compressed_messages(bench_with: BenchWith, data: bytes, code: int, step: int | None) -> None:
    bench = bench_with(ws_max=5000)
    client = bench.open(DEFLATE)
    client.feed(data, step)
    assert client.code() == code
    assert client.sent() == []


def test_long_text_goes_out_compressed_short_text_and_bytes_do_not(bench: Any) -> None:
    client = bench.open(DEFLATE)
    text = "so it goes on and on " * 100
    client.reply({"text": text})
    client.reply({"text": text})
    client.reply({"text": "short"})
    client.reply({"bytes": text.encode()})
    first, second, third, fourth = client.frames()
    assert first == second, "no context is taken over"
    assert first[0] == TEXT | COMPRESSED
    assert len(first[1]) < len(text) / 5
    assert inflated(first[1]) == text.encode()
    assert third == (TEXT, b"short")
    assert fourth == (BINARY, text.encode())


def test_nothing_is_compressed_for_who_did_not_ask(bench: Any) -> None:
    client = bench.open()
    client.reply({"text": "x" * 5000})
    assert client.frames() == [(TEXT, b"x" * 5000)]
