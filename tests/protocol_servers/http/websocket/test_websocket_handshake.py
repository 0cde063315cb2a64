"""The opening handshake: what the request must say, what the bus is told, and every answer."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable
from trunkline.message_formats import get
from trunkline.protocol_servers.http.websocket import handshake
from trunkline.protocol_servers.http.websocket.reading import MessageProtocol
from trunkline.protocol_servers.testing.websocket_frames import BINARY, TEXT, client_close, client_frame, close_code

ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3

BenchWith = Callable[..., Any]


# The request


def test_the_bus_is_asked_and_nothing_is_answered_before_it_says(bench: Any) -> None:
    client = bench.connect({b"x-two": b"\xff\xfe", b"origin": b"http://example.com"})
    ((channel, message, options),) = bench.take()
    assert channel == "websocket.connect"
    assert message == {
        "reply_channel": client.reply_channel,
        "scheme": "ws",
        "path": "/chat",
        "query_string": b"a=1",
        "root_path": "",
        "headers": client.request.headers,
        "client": ["127.0.0.1", 5000],
        "server": ["127.0.0.1", 8000],
        "order": 0,
    }
    assert (b"x-two", b"\xff\xfe") in message["headers"]
    assert options == {"expiry": 10.0}
    format = get("websocket.connect")
    assert format is not None
    format.validate(message)
    bench.loop.advance(9.9)
    assert client.take() == b""


def test_scheme_and_addresses(bench: Any) -> None:
    bench.connect(scheme="https", client=None, server=None)
    message = bench.take()[0].message
    assert message["scheme"] == "wss"
    assert "client" not in message
    assert "server" not in message


@pytest.mark.parametrize(
    ("headers", "status", "more"),
    [
        ({b"sec-websocket-key": None}, 400, b""),
        ({b"sec-websocket-key": b""}, 400, b""),
        ({b"sec-websocket-key": b"short"}, 400, b""),
        ({b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ"}, 400, b""),
        ({b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZSE="}, 400, b""),
        ({b"sec-websocket-key": b"\xff" * 24}, 400, b""),
        ({b"sec-websocket-version": None}, 426, b"\r\nsec-websocket-version: 13\r\n"),
        ({b"sec-websocket-version": b"8"}, 426, b"\r\nsec-websocket-version: 13\r\n"),
        ({b"sec-websocket-version": b"8, 13"}, 426, b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n"),
        ({b"sec-websocket-extensions": b"permessage-deflate; ;"}, 400, b""),
        ({b"sec-websocket-protocol": b"chat, ,;"}, 400, b""),
        ({b"connection": b"keep-alive"}, 426, b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n"),
        ({b"upgrade": b"websocket, h2c"}, 426, b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n"),
        ({b"origin": b"http://evil.example"}, 403, b""),
        ({b"origin": b"null"}, 403, b""),
    ],
)
def test_wrong_requests_are_refused_without_asking(
    bench: Any, headers: dict[bytes, bytes | None], status: int, more: bytes
) -> None:
    client = bench.connect(headers)
    head, _, body = client.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert more in head + b"\r\n"
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-length: %d" % len(body) in head
    assert b"\r\ndate: " in head
    assert client.closed
    assert bench.take() == []
    assert bench.open_connections == 0
    assert bench.stats["websocket_bad_handshakes"] == 1
    client.feed(client_frame(TEXT, b"too late"))
    client.leave()
    assert bench.take() == []


def test_doubled_headers_are_refused(bench: Any) -> None:
    for name, status in ((b"sec-websocket-key", 400), (b"sec-websocket-version", 426), (b"origin", 400)):
        request = bench.request({b"origin": b"http://example.com"})
        request.headers.append((name, request.header(name)))
        assert bench.ask(request).status() == status


def test_a_refusal_does_not_repeat_a_long_header(bench: Any) -> None:
    assert len(bench.connect({b"sec-websocket-key": b"x" * 60000}).take()) < 1000


def test_origins_setting(bench_with: BenchWith) -> None:
    bench = bench_with(origins=["https://app.example.org"])
    assert bench.connect({b"origin": b"https://app.example.org"}).take() == b""
    assert bench.connect({b"origin": b"https://other.example.org"}).status() == 403


# The answer


def test_accept(bench: Any) -> None:
    client = bench.connect({b"sec-websocket-protocol": b"chat, superchat"})
    client.reply({"accept": True})
    lines = client.take().split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert lines[1].startswith(b"Date: ")
    assert lines[2:] == [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + ACCEPT, b"", b""]
    assert not client.closed
    client.say("hello")
    assert client.sent() == [{"reply_channel": client.reply_channel, "path": "/chat", "text": "hello", "order": 1}]


def test_data_accepts_and_is_sent(bench: Any) -> None:
    for message, frame in (({"text": "hé"}, (TEXT, "hé".encode())), ({"bytes": b"\0"}, (BINARY, b"\0"))):
        client = bench.connect()
        client.reply(message)
        assert client.accepted() == [frame]


def test_data_with_close_is_sent_and_closed_after(bench: Any) -> None:
    for message, code in (
        ({"text": "bye", "close": True}, 1000),
        ({"accept": True, "text": "bye", "close": 4001}, 4001),
    ):
        client = bench.connect()
        client.reply(message)
        data, close = client.accepted()
        assert data == (TEXT, b"bye")
        assert close_code(close) == code


def test_accept_with_close_alone_accepts_and_closes(bench: Any) -> None:
    client = bench.connect()
    client.reply({"accept": True, "close": 1011})
    (close,) = client.accepted()
    assert close_code(close) == 1011


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"accept": False}, 403),
        ({"accept": False, "text": "x"}, 403),
        ({"close": True}, 403),
        ({"close": 1000}, 403),
        ({"close": 4000}, 403),
        ({"text": "", "close": True}, 403),
        ({"close": 1011}, 500),
        ({"accept": False, "close": 1011}, 500),
        ({"text": 5}, 500),
        ({"bytes": "text"}, 500),
        ({"text": "\ud800"}, 500),
        ({"accept": 1}, 500),
        ({"accept": "yes"}, 500),
        ({"accept": True, "close": 1005}, 500),
        ({"accept": True, "close": "1000"}, 500),
    ],
)
def test_refusals(bench: Any, message: dict[str, Any], status: int) -> None:
    client = bench.connect()
    bench.take()
    client.reply(message)
    assert client.status() == status
    assert client.closed
    assert bench.open_connections == 0
    assert bench.inbox.gone_names == [client.reply_channel.partition("!")[2]]
    client.leave()
    assert bench.take() == [], "no disconnect after a refusal"


def test_what_answers_nothing_leaves_it_open(bench: Any) -> None:
    client = bench.connect()
    for message in ({}, {"accept": None, "text": "", "close": False}, {"text": "a", "bytes": b"b"}, {"thread": "same"}):
        client.reply(message)
    assert client.take() == b""
    assert bench.stats["websocket_ambiguous"] == 1
    client.reply({"accept": True})
    assert client.status() == 101


def test_a_subprotocol_must_have_been_offered(bench: Any) -> None:
    offer = {b"sec-websocket-protocol": b"chat, superchat"}
    for headers, message, line in (
        (offer, {"accept": True, "subprotocol": "superchat"}, b"Sec-WebSocket-Protocol: superchat\r\n"),
        (offer, {"text": "x", "subprotocol": "chat"}, b"Sec-WebSocket-Protocol: chat\r\n"),
    ):
        client = bench.connect(headers)
        client.reply(message)
        assert line in client.take()
    assert bench.stats["websocket_subprotocols_ignored"] == 0
    for headers, subprotocol in ((offer, "other"), (offer, "chat, superchat"), ({}, "chat"), (offer, 5), (offer, "")):
        client = bench.connect(headers)
        client.reply({"accept": True, "subprotocol": subprotocol})
        written = client.take()
        assert written.startswith(b"HTTP/1.1 101 ")
        assert b"Protocol:" not in written
    assert bench.stats["websocket_subprotocols_ignored"] == 5


def test_no_answer_in_time(bench_with: BenchWith) -> None:
    bench = bench_with(connect_timeout=3)
    client = bench.connect()
    bench.loop.advance(3.2)
    head, _, body = client.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert body == b"no answer within 3 s\n"
    assert client.closed
    assert bench.stats["websocket_unanswered"] == 1
    client.reply({"accept": True})
    assert client.take() == b""
    assert bench.stats["late_answers"] == 1


def test_nobody_listens(bench: Any) -> None:
    bench.inbox.announced.clear()
    client = bench.connect()
    bench.loop.advance(11)
    assert client.take().endswith(b"no worker listens to websocket.connect\n")


@pytest.mark.parametrize(
    "error", [ChannelFull("full"), LayerUnavailable("away"), LayerUnavailable("lost", uncertain=True)]
)
def test_the_layer_does_not_take_it(bench: Any, error: Exception) -> None:
    bench.inbox.refusals["websocket.connect"] = error
    client = bench.connect()
    bench.loop.turn()
    head = client.take()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in head
    assert client.closed
    assert bench.open_connections == 0


def test_a_refusal_told_after_the_answer_changes_nothing(bench: Any) -> None:
    """An outage leaves it open whether the message had arrived; the answer says that it had."""
    bench.inbox.refusals["websocket.connect"] = LayerUnavailable("lost", uncertain=True)
    client = bench.connect()
    bench.inbox.answer(client.reply_channel, {"accept": True})
    bench.loop.turn()
    assert client.status() == 101
    assert not client.closed


def test_a_client_that_leaves_before_the_answer(bench: Any) -> None:
    client = bench.connect()
    bench.take()
    client.leave()
    assert bench.open_connections == 0
    assert bench.stats["websocket_left_early"] == 1
    assert bench.take() == [], "no disconnect without a handshake"
    client.reply({"accept": True})
    assert client.take() == b""
    bench.loop.advance(60)
    assert not client.aborted


# What comes too early


def test_early_data_waits(bench: Any, step: int | None) -> None:
    client = bench.connect()
    bench.take()
    client.feed(client_frame(TEXT, b"one") + client_frame(TEXT, b"two"), step)
    assert client.sent() == []
    client.reply({"accept": True})
    assert [message["text"] for message in client.sent()] == ["one", "two"]


def test_early_data_waits_within_a_bound(bench: Any) -> None:
    client = bench.connect()
    bench.take()
    client.feed(b"\0" * 65536)
    assert client.take() == b""
    client.feed(b"\0")
    assert client.status() == 400
    assert client.transport.half_closed
    bench.loop.advance(1.1)
    assert client.closed
    assert bench.stats["websocket_overrun"] == 1


def test_an_early_close(bench: Any) -> None:
    client = bench.connect()
    bench.take()
    client.feed(client_close(1001))
    client.reply({"accept": True})
    (close,) = client.accepted()
    assert close_code(close) == 1001
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1001


def test_group_messages_wait_for_the_answer(bench: Any) -> None:
    client = bench.connect()
    for number in range(3):
        bench.inbox.answer_group([client.reply_channel], {"text": f"group {number}"})
    assert client.take() == b""
    client.reply({"text": "welcome"})
    assert [payload for _, payload in client.accepted()] == [b"welcome", b"group 0", b"group 1", b"group 2"]


def test_group_messages_are_dropped_after_a_refusal_or_a_close(bench: Any) -> None:
    client = bench.connect()
    bench.inbox.answer_group([client.reply_channel], {"text": "group"})
    client.reply({"accept": False})
    assert client.status() == 403
    bench.inbox.answer_group([client.reply_channel], {"text": "group"})
    assert client.take() == b""
    client = bench.connect()
    bench.inbox.answer_group([client.reply_channel], {"text": "a", "close": True})
    bench.inbox.answer_group([client.reply_channel], {"text": "b"})
    client.reply({"accept": True})
    data, close = client.accepted()
    assert data == (TEXT, b"a")
    assert close_code(close) == 1000


@pytest.mark.parametrize("by", ["count", "size"])
def test_too_many_group_messages_refuse(bench_with: BenchWith, by: str) -> None:
    bench = bench_with(write_limit=1000)
    client = bench.connect()
    message = {"bytes": b""} if by == "count" else {"bytes": b"x" * 500}
    for _ in range(64 if by == "count" else 2):
        bench.inbox.answer_group([client.reply_channel], message)
    assert client.take() == b""
    bench.inbox.answer_group([client.reply_channel], message)
    written = client.take()
    assert written.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after" in written
    assert client.closed
    assert bench.open_connections == 0
    assert bench.inbox.gone_names, "the memberships are removed"
    assert bench.stats["websocket_overrun"] == 1


# Beside it


def test_the_access_log(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Any] = []
    monkeypatch.setattr(bench.server, "answered", lambda *line: lines.append(line))
    accepted, refused, wrong, left = (
        bench.connect(),
        bench.connect(),
        bench.connect({b"origin": b"null"}),
        bench.connect(),
    )
    nameless = bench.connect(client=None)
    bench.loop.advance(0.5)
    accepted.reply({"accept": True})
    refused.reply({"accept": False})
    left.leave()
    nameless.reply({"accept": True})
    assert [(line[0], line[1], line[2], line[4]) for line in lines] == [
        (wrong.request, "127.0.0.1", 403, 0.0),
        (accepted.request, "127.0.0.1", 101, 0.5),
        (refused.request, "127.0.0.1", 403, 0.5),
        (left.request, "127.0.0.1", 499, 0.5),
        (nameless.request, "-", 101, 0.5),
    ]
    assert lines[2][3] == len(b"the connection was refused\n")


def test_unfit_answers_are_logged_once(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        bench.connect().reply({"text": 5})
    assert bench.stats["unfit_messages"] == 3
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert "text must be a str" in caplog.text


def test_a_stopping_server_asks_nobody(bench: Any) -> None:
    bench.server.stopping = True
    client = bench.connect()
    assert client.status() == 503
    assert bench.take() == []


def test_a_refused_client_that_does_not_close_is_cut(bench: Any) -> None:
    client = bench.connect()
    client.reply({"accept": False})
    bench.loop.advance(9)
    assert not client.aborted
    bench.loop.advance(2)
    assert client.aborted


@pytest.mark.parametrize(
    "end",
    ["closed", "failed", "left", "refused", "wrong", "wrong key", "wrong origin", "doubled", "left early", "no answer"],
)
def test_nothing_is_left_for_the_collector(bench: Any, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of sockets come and go: none may leave circles behind."""
    protocols: list[weakref.ref[MessageProtocol]] = []

    def make(*args: Any) -> MessageProtocol:
        protocol = MessageProtocol(*args)
        protocols.append(weakref.ref(protocol))
        return protocol

    monkeypatch.setattr(handshake, "MessageProtocol", make)
    wrong = {
        "wrong": {b"upgrade": b"h2c"},
        "wrong key": {b"sec-websocket-key": b"a"},
        "wrong origin": {b"origin": b"http://evil.example"},
    }
    request = bench.request(wrong.get(end))
    if end == "doubled":
        request.headers.append((b"sec-websocket-key", b"a"))
    client = bench.ask(request)
    del request
    if end in ("closed", "failed", "left"):
        client.reply({"accept": True})
        client.say("hello")
        client.feed(client_close() if end == "closed" else client_frame(TEXT, b"\xff") if end == "failed" else b"\x81")
    elif end == "refused":
        client.reply({"close": True})
    elif end == "no answer":
        bench.loop.advance(20)
    client.leave()
    bench.take()
    bench.loop.advance(60)
    assert len(protocols) == 1
    watched = [weakref.ref(client.transport), protocols[0]]
    gc.disable()
    try:
        del client
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()
