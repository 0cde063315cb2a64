"""Bodies of requests: their length is never in doubt, and they are handed out at the pace of whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.http_core import HeadParser, HttpLimits, RequestReader

Read = Callable[..., Any]

LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_body_ends_where_its_length_says(read: Read) -> None:
    outcome = read(LENGTH % 5 + b"ab\r\n\0" + NEXT)
    assert outcome.bodies == [b"ab\r\n\0", b""]
    assert [request.path for request in outcome.requests] == ["/", "/next"]
    assert outcome.requests[0].length == 5


def test_a_body_is_incomplete_until_its_last_byte(read: Read) -> None:
    outcome = read(LENGTH % 5 + b"abcd")
    assert outcome.bodies == [b"abcd"]
    assert not outcome.complete


@pytest.mark.parametrize(
    ("coded", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b'3;a=b;c="d"\r\nabc\r\n0;x\r\n\r\n', b"abc"),
        (b"3\r\nabc\r\n0\r\nX-Sum: 7\r\nOther:\r\n\r\n", b"abc"),
    ],
)
def test_chunks_are_joined(read: Read, coded: bytes, body: bytes) -> None:
    outcome = read(CHUNKED + coded + NEXT)
    assert outcome.bodies == [body, b""]
    assert [request.path for request in outcome.requests] == ["/", "/next"]
    assert outcome.requests[0].length is None


BAD_CHUNKS = [
    (b"\r\nabc", b"", 400, "chunk size"),
    (b"x\r\n", b"", 400, "chunk size"),
    (b" 3\r\nabc\r\n", b"", 400, "chunk size"),
    (b"3 \r\nabc\r\n", b"", 400, "chunk size"),
    (b"3 ;a\r\nabc\r\n", b"", 400, "chunk size"),
    (b"0x3\r\nabc\r\n", b"", 400, "chunk size"),
    (b"+3\r\nabc\r\n", b"", 400, "chunk size"),
    (b"-3\r\nabc\r\n", b"", 400, "chunk size"),
    (b"3_0\r\n", b"", 400, "chunk size"),
    (b"3\nabc\r\n", b"", 400, "chunk size"),
    (b"3;a\nabc\r\n", b"", 400, "chunk size"),
    (b"3;a\rb\r\nabc\r\n", b"", 400, "chunk size"),
    (b"3;\0\r\nabc\r\n", b"", 400, "chunk size"),
    (b"3\r\r\nabc\r\n", b"", 400, "chunk size"),
    (b"3,\r\nabc\r\n", b"", 400, "chunk size"),
    (b"1000000000000000\r\n", b"", 400, "chunk size"),
    (b"fffffffffffffff\r\n", b"", 413, "over"),
    (b"3;" + b"a" * 300 + b"\r\n", b"", 400, "chunk size"),
    (b"3\r\nabcd\r\n", b"abc", 400, "where its size says"),
    (b"3\r\nabc0\r\n\r\n", b"abc", 400, "where its size says"),
    (b"3\r\nabc\n0\r\n\r\n", b"abc", 400, "where its size says"),
    (b"3\r\nabc\rx", b"abc", 400, "where its size says"),
    (b"3\r\nabc\r\n0\n\n", b"abc", 400, "chunk size"),
    (b"3\r\nabc\r\n0\r\nX : y\r\n\r\n", b"abc", 400, "its colon"),
    (b"3\r\nabc\r\n0\r\nX: y\nZ: a\r\n\r\n", b"abc", 400, "line feed"),
    (b"3\r\nabc\r\n0\r\nno colon\r\n\r\n", b"abc", 400, "colon"),
    (b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n", b"abc", 400, "folding"),
    (b"3\r\nabc\r\n0\r\nX: \0", b"abc", 400, "0x00"),
    (b"3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 101 + b"\r\n", b"abc", 431, "100"),
    (b"3\r\nabc\r\n0\r\nX: " + b"y" * 66000, b"abc", 431, "65536"),
]


@pytest.mark.parametrize(
    ("coded", "body", "status", "reason"), BAD_CHUNKS, ids=[repr(row[0][:40]) for row in BAD_CHUNKS]
)
def test_a_wrong_chunk_is_refused_after_what_came_before_it(
    read: Read, coded: bytes, body: bytes, status: int, reason: str
) -> None:
    outcome = read(CHUNKED + coded)
    assert outcome.bodies == [body]
    assert not outcome.complete
    assert outcome.fault is not None
    assert outcome.fault[0] == status
    assert reason in outcome.fault[1]


def test_a_chunked_body_is_refused_when_it_grows_too_large(read: Read) -> None:
    assert read(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", max_body=5).bodies == [b"abcde"]
    outcome = read(CHUNKED + b"3\r\nabc\r\n3\r\n", max_body=5)
    assert outcome.bodies == [b"abc"]
    assert outcome.fault == (413, "the body is over 5 bytes")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_taken_only_as_far_as_it_is_asked_for(chunked: bool) -> None:
    body = bytes(range(256)) * 1024
    data = CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" if chunked else LENGTH % len(body) + body
    reader = RequestReader(HttpLimits(), HeadParser(HttpLimits()))
    reader.feed(data + NEXT)
    assert reader.read_head()
    before = reader.waiting
    first = reader.read_body()
    assert 65536 - 10 < len(first) <= 65536
    assert before - reader.waiting == 65536
    rest = []
    while reader.in_body:
        rest.append(reader.read_body())
        assert len(rest[-1]) <= 65536
    assert first + b"".join(rest) == body
    assert reader.read_head()


def test_many_small_chunks_come_as_one_piece() -> None:
    reader = RequestReader(HttpLimits(), HeadParser(HttpLimits()))
    reader.feed(CHUNKED + b"1\r\nx\r\n" * 1000)
    assert reader.read_head()
    assert reader.read_body() == b"x" * 1000
    assert reader.read_body() == b""
    assert reader.in_body


@pytest.mark.parametrize(("chunk", "most"), [(b"1\r\nx\r\n", 1024), (b"1;" + b"y" * 250 + b"\r\nx\r\n", 260)])
def test_the_work_of_one_piece_is_bounded_however_small_the_chunks_are(chunk: bytes, most: int) -> None:
    reader = RequestReader(HttpLimits(), HeadParser(HttpLimits()))
    reader.feed(CHUNKED + chunk * 3000 + b"0\r\n\r\n" + NEXT)
    assert reader.read_head()
    pieces = []
    while reader.in_body:
        pieces.append(reader.read_body())
        assert len(pieces[-1]) <= most
    assert b"".join(pieces) == b"x" * 3000
    assert reader.read_head()
