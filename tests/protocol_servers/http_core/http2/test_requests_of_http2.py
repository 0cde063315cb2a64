"""What a request may say over HTTP/2, and what of it reaches the handler (RFC 9113 section 8)."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.protocol_servers.testing.http2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GET,
    GOAWAY,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    POST,
    PROTOCOL_ERROR,
    RST_STREAM,
    data,
    frame,
)

MALFORMED = ("stream", PROTOCOL_ERROR)
HOSTLESS = GET[:3]


def result(frames: Any) -> tuple[Any, ...]:
    for got in frames:
        if got.kind == RST_STREAM and got.code != NO_ERROR:
            return ("stream", got.code)
        if got.kind == GOAWAY:
            return ("connection", got.code)
    return next((got.status,) for got in frames if got.kind == HEADERS)


def changed(**pseudo: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, pseudo.get(name[1:].decode(), value)) for name, value in GET)


FIELDS: list[tuple[Any, tuple[Any, ...]]] = [
    # Host and :authority: the rules of HTTP/1's Host
    (HOSTLESS, (400,)),
    ((*HOSTLESS, (b"host", b"a")), (200,)),
    ((*GET, (b"host", b"a")), (200,)),
    ((*GET, (b"host", b"A")), (200,)),
    ((*GET, (b"host", b"b")), MALFORMED),
    ((*HOSTLESS, (b"host", b"a"), (b"host", b"a")), MALFORMED),
    (changed(authority=b"a:80"), (200,)),
    (changed(authority=b"[::1]:80"), (200,)),
    (changed(authority=b""), (400,)),
    (changed(authority=b"user@a"), (400,)),
    (changed(authority=b"a/b"), (400,)),
    (changed(authority=b"a b"), (400,)),
    # Methods
    (changed(method=b"PROPFIND"), (200,)),
    (changed(method=b"get"), (501,)),
    (changed(method=b"G@T"), MALFORMED),
    (changed(method=b""), MALFORMED),
    (((b":method", b"CONNECT"), (b":authority", b"a:443")), (501,)),
    (((b":method", b"CONNECT"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")), MALFORMED),
    (((b":method", b"CONNECT"),), MALFORMED),
    ((*changed(method=b"CONNECT"), (b":protocol", b"connect-udp")), (501,)),
    ((*GET, (b":protocol", b"websocket")), MALFORMED),
    # Paths
    (changed(path=b"*"), (400,)),
    (changed(method=b"OPTIONS", path=b"*"), (200,)),
    (changed(path=b"path"), MALFORMED),
    (changed(path=b"http://a/"), MALFORMED),
    (changed(path=b"/%zz"), (400,)),
    (changed(path=b"/%00"), (400,)),
    (changed(path=b"/%ff"), (400,)),
    (changed(path=b"/a#b"), (400,)),
    (changed(path=b"/\xc3\xa4"), (400,)),
    (changed(path=b"/a b"), (400,)),
    (changed(scheme=b"ftp"), (200,)),
    (changed(scheme=b"1"), MALFORMED),
    (changed(scheme=b""), MALFORMED),
    # Names and values
    ((*GET, (b"x y", b"")), MALFORMED),
    ((*GET, (b"", b"x")), MALFORMED),
    ((*GET, (b"x:y", b"")), MALFORMED),
    ((*GET, (b"x\0", b"")), MALFORMED),
    ((*GET, (b"x\xe4", b"")), MALFORMED),
    ((*GET, (b"x", b"a\rb")), MALFORMED),
    ((*GET, (b"x", b"a\nb")), MALFORMED),
    ((*GET, (b"x", b"a\0b")), MALFORMED),
    ((*GET, (b"x", b"a\x1fb")), MALFORMED),
    ((*GET, (b"x", b"a\x7fb")), MALFORMED),
    ((*GET, (b"x", b" a")), MALFORMED),
    ((*GET, (b"x", b"a\t")), MALFORMED),
    ((*GET, (b"x", b"a\tb \xe4")), (200,)),
    ((*GET, (b"x", b"")), (200,)),
    ((*GET, (b"expect", b"something")), (417,)),
    # Sizes
    ((*GET, *((b"x", b"y"),) * 100), (200,)),
    ((*GET, *((b"x", b"y"),) * 101), (431,)),
    ((*GET, (b"x", b"y" * 66000)), (431,)),
    ((*GET, (b"x", b"y" * 131100)), ("connection", ENHANCE_YOUR_CALM)),
]


@pytest.mark.parametrize(("fields", "expected"), FIELDS, ids=[str(fields)[-60:] for fields, _ in FIELDS])
def test_what_a_request_says_is_judged(peer: Any, fields: Any, expected: Any) -> None:
    block = peer.block(fields)
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    frames = [frame(HEADERS if not number else CONTINUATION, 1, piece) for number, piece in enumerate(pieces)]
    last = bytearray(frames[-1])
    last[4] |= END_HEADERS
    frames[-1] = bytes(last)
    first = bytearray(frames[0])
    first[4] |= END_STREAM
    frames[0] = bytes(first)
    assert result(peer.ask(*frames)) == expected
    assert len(peer.handler.exchanges) == (expected == (200,))
    if expected[0] != "connection":
        assert result(peer.ask(peer.headers(3))) == (200,)


def test_a_request_reaches_the_handler_as_from_http1(peer: Any) -> None:
    fields = (
        *changed(path=b"/a%20b?c=%20", method=b"DELETE"),
        (b"x-one", b"1"),
        (b"cookie", b"a=b"),
        (b"x-one", b"2"),
        (b"cookie", b"c=d"),
        (b"x_dropped", b"1"),
        (b"proxy", b"evil"),
        (b"te", b"trailers"),
    )
    peer.ask(peer.headers(1, fields))
    request = peer.handler.last.request
    assert (request.method, request.path, request.query_string) == ("DELETE", "/a b", b"c=%20")
    assert (request.http_version, request.scheme, request.length) == ("2", "http", 0)
    assert request.headers == [
        (b"host", b"a"),
        (b"x-one", b"1"),
        (b"cookie", b"a=b; c=d"),
        (b"x-one", b"2"),
        (b"te", b"trailers"),
    ]
    assert request.client == ["192.168.1.1", 54321]
    assert request.server == ["10.0.0.1", 12345]
    assert peer.handler.log == [("/a b", 200, 5)]


def test_the_body_reaches_the_handler_in_pieces(peer: Any) -> None:
    peer.ask(peer.headers(1, (*POST, (b"content-length", b"6")), end=False))
    exchange = peer.handler.last
    assert exchange.request.length == 6
    assert exchange.ended == 0
    peer.ask(data(1, b"abc", padding=3))
    peer.ask(data(1))
    assert exchange.ended == 0
    frames = peer.ask(data(1, b"def", end=True))
    assert exchange.pieces == [b"abc", b"def"]
    assert exchange.ended == 1
    assert result(frames) == (200,)


def test_a_body_of_unknown_length_may_be_empty(peer: Any) -> None:
    peer.ask(peer.headers(1, POST, end=False))
    assert peer.handler.last.request.length is None
    assert result(peer.ask(data(1, end=True))) == (200,)


def test_trailers_end_a_body_and_are_checked(peer: Any) -> None:
    peer.ask(peer.headers(1, POST, end=False), data(1, b"x"))
    assert result(peer.ask(peer.headers(1, ((b"x-sum", b"1"),)))) == (200,)
    peer.ask(peer.headers(3, POST, end=False), data(3, b"x"))
    assert result(peer.ask(peer.headers(3, ((b"connection", b"x"),)))) == MALFORMED
    assert peer.handler.last.losses == 1
    peer.ask(peer.headers(5, POST, end=False), data(5, b"x"))
    assert result(peer.ask(peer.headers(5, ((b"x", b"y\0"),)))) == MALFORMED
    peer.ask(peer.headers(7, POST, end=False), data(7, b"x"))
    assert result(peer.ask(peer.headers(7, ((b"x", b"y"),) * 101))) == (431,)


def test_a_body_over_the_limit_is_refused(peer_with: Any) -> None:
    peer = peer_with(max_body=10)
    frames = peer.ask(peer.headers(1, (*POST, (b"content-length", b"11")), end=False))
    assert [(got.kind, got.ends) for got in frames] == [(HEADERS, False), (DATA, True), (RST_STREAM, False)]
    assert frames[0].status == 413
    assert frames[2].code == NO_ERROR
    assert not peer.handler.exchanges
    frames = peer.ask(peer.headers(3, POST, end=False), data(3, bytes(6)), data(3, bytes(6)), data(3, bytes(6)))
    assert frames[0].status == 413
    assert peer.handler.last.losses == 1
    assert peer.handler.log[-1] == ("/", 413, 26)
    assert result(peer.ask(peer.headers(5))) == (200,)


def test_who_expects_100_is_told_to_continue(peer: Any) -> None:
    peer.handler.answer = None
    frames = peer.ask(peer.headers(1, (*POST, (b"expect", b"100-continue")), end=False))
    assert [(got.status, got.ends) for got in frames] == [(100, False)]
    peer.ask(data(1, b"body", end=True))
    peer.handler.last.stream.start(200, (), b"done")
    assert [got.status for got in peer.take() if got.kind == HEADERS] == [200]


def test_nobody_is_told_to_continue_who_has_nothing_to_send(peer: Any) -> None:
    frames = peer.ask(peer.headers(1, (*GET, (b"expect", b"100-continue"))))
    assert [got.status for got in frames if got.kind == HEADERS] == [200]


# Answers


def test_an_answer_has_its_fields_in_lower_case_and_nothing_of_http1(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    headers = [
        (b"X-Test", b" one "),
        (b"Connection", b"close"),
        (b"Keep-Alive", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
    ]
    assert peer.handler.last.stream.start(200, headers, b"hello")
    head, body = peer.take()
    fields = dict(head.fields)
    assert fields.pop(b"date")
    assert fields == {b":status": b"200", b"x-test": b"one", b"content-length": b"5"}
    assert (body.payload, body.ends) == (b"hello", True)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_content_ends_with_its_head(peer: Any, status: int) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    assert peer.handler.last.stream.start(status, (), b"ignored" if status == 204 else b"")
    frames = peer.take()
    assert [got.kind for got in frames if got.payload] == [HEADERS]
    assert frames[-1].ends


def test_head_is_answered_without_content(peer: Any) -> None:
    frames = peer.ask(peer.headers(1, changed(method=b"HEAD")))
    assert dict(frames[0].fields)[b"content-length"] == b"5"
    assert b"".join(got.payload for got in frames if got.kind == DATA) == b""
    assert frames[-1].ends
    frames = peer.ask(peer.headers(3, (*changed(method=b"HEAD"), (b"expect", b"x"))))
    assert frames[0].status == 417
    assert b"".join(got.payload for got in frames if got.kind == DATA) == b""


def test_an_answer_may_come_in_pieces(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    stream = peer.handler.last.stream
    assert not stream.start(200, (), b"one", True)
    assert [(got.kind, got.payload[-3:]) for got in peer.take()][1:] == [(DATA, b"one")]
    assert not stream.write(b"two", True)
    assert stream.write(b"")
    assert [(got.payload, got.ends) for got in peer.take()] == [(b"two", False), (b"", True)]
    assert peer.handler.log == [("/", 200, 6)]


@pytest.mark.parametrize(
    "headers", [[(b"x", b"a\nb")], [(b"x", b"a\rb")], [(b"x", b"\0")], [(b"x y", b"")], [(b"x", 1)], 1]
)
def test_what_is_no_response_is_told_and_nothing_sent(peer: Any, headers: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    with pytest.raises(ValueError):
        peer.handler.last.stream.start(200, headers, b"x")
    assert peer.take() == []
    assert peer.handler.last.stream.start(200, (), b"x")


@pytest.mark.parametrize("body", [b"short", b"much too long"])
def test_a_broken_promise_resets_the_stream(peer: Any, body: bytes) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    assert peer.handler.last.stream.start(200, [(b"content-length", b"8")], body)
    frames = peer.take()
    assert b"".join(got.payload for got in frames if got.kind == DATA) == body[:8]
    assert frames[-1].kind == RST_STREAM
    assert frames[-1].code == INTERNAL_ERROR
    assert peer.handler.stats["broken_promises"] == 1


def test_an_answer_before_the_body_was_read_makes_the_rest_pointless(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1, POST, end=False), data(1, b"first"))
    assert peer.handler.last.stream.start(200, (), b"enough")
    frames = peer.take()
    assert [(got.kind, got.ends) for got in frames] == [(HEADERS, False), (DATA, True), (RST_STREAM, False)]
    assert frames[2].code == NO_ERROR
    peer.ask(data(1, bytes(1000)), data(1, b"", end=True))
    assert result(peer.ask(peer.headers(3, POST, end=False), data(3, b"x", end=True)) or [frames[0]]) == (200,)


def test_a_stream_that_is_cut_is_reset(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    stream = peer.handler.last.stream
    stream.start(200, (), b"begun", True)
    stream.cut()
    (*_, last) = peer.take()
    assert (last.kind, last.code) == (RST_STREAM, INTERNAL_ERROR)
    assert peer.handler.last.losses == 1
    assert peer.handler.log == [("/", 200, 5)]
