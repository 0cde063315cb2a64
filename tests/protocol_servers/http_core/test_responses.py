"""Responses: exactly the bytes that were promised, whatever an application says."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.protocol_servers.http_core import BadResponse, DateHeader, ResponseWriter, plain

NOW = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
TYPE = [(b"content-type", b"text/plain")]


def writer(head_only: bool = False, new: bool = True, keep_alive: bool = True) -> ResponseWriter:
    return ResponseWriter(head_only, new, keep_alive, lambda: NOW)


def test_a_whole_response_is_one_piece_with_its_length() -> None:
    response = writer()
    assert response.start(200, TYPE, b"hello") == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n" + NOW + b"content-length: 5\r\n\r\nhello"
    )
    assert response.ended
    assert response.keep_alive
    assert (response.status, response.size) == (200, 5)


def test_no_content_has_the_length_zero() -> None:
    assert writer().start(404) == b"HTTP/1.1 404 Not Found\r\n" + NOW + b"content-length: 0\r\n\r\n"


def test_a_status_without_a_phrase_of_its_own_is_sent_too() -> None:
    assert writer().start(299).startswith(b"HTTP/1.1 299 \r\n")


def test_a_streamed_response_is_chunked() -> None:
    response = writer()
    assert response.start(200, more=True) == b"HTTP/1.1 200 OK\r\n" + NOW + b"transfer-encoding: chunked\r\n\r\n"
    assert response.endless
    assert response.write(b"0123456789", True) == b"a\r\n0123456789\r\n"
    assert response.write(b"", True) == b""
    assert not response.ended
    assert response.write(b"x") == b"1\r\nx\r\n0\r\n\r\n"
    assert response.ended
    assert not response.endless
    assert response.keep_alive
    assert response.size == 11


def test_the_first_content_of_a_stream_goes_with_the_head() -> None:
    response = writer()
    assert response.start(200, (), b"abc", True).endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert response.write(b"") == b"0\r\n\r\n"


def test_old_clients_get_a_stream_that_ends_with_the_connection() -> None:
    response = writer(new=False)
    assert response.start(200, (), b"a", True) == b"HTTP/1.1 200 OK\r\n" + NOW + b"connection: close\r\n\r\na"
    assert response.write(b"b") == b"b"
    assert not response.keep_alive


def test_old_clients_are_told_that_the_connection_stays() -> None:
    assert b"connection: keep-alive\r\n" in writer(new=False).start(200)
    assert b"connection: close\r\n" in writer(new=False, keep_alive=False).start(200)
    assert b"connection" not in writer().start(200)


def test_an_application_can_close_the_connection_but_not_keep_it() -> None:
    response = writer()
    assert response.start(200, [(b"Connection", b"Close")]).count(b"onnection") == 1
    assert not response.keep_alive
    assert b"connection: close" in writer(keep_alive=False).start(200, [(b"connection", b"keep-alive")])


@pytest.mark.parametrize("status", [204, 205, 304])
def test_some_statuses_have_no_content(status: int) -> None:
    response = writer()
    sent = response.start(status, (), b"content", True)
    assert sent.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in sent
    assert (b"content-length: 0\r\n" in sent) is (status == 205)
    assert response.write(b"more") == b""
    assert response.ended
    assert response.keep_alive
    assert not response.broken


def test_a_204_has_no_length_and_a_304_may_have_that_of_the_content() -> None:
    assert b"content-length" not in writer().start(204, [(b"content-length", b"5")])
    response = writer()
    assert b"content-length: 5\r\n" in response.start(304, [(b"content-length", b"5")])
    assert not response.broken


def test_head_has_the_headers_of_get_and_no_content() -> None:
    response = writer(head_only=True)
    assert response.start(200, TYPE, b"hello").endswith(b"content-length: 5\r\n\r\n")
    assert response.ended
    assert not response.broken
    response = writer(head_only=True)
    assert response.start(200, [(b"content-length", b"9")]).endswith(b"content-length: 9\r\n\r\n")
    assert not response.broken
    assert b"content-length" not in writer(head_only=True).start(200)
    response = writer(head_only=True)
    assert b"transfer-encoding" not in response.start(200, (), b"a", True)
    assert response.write(b"b") == b""
    assert response.ended
    assert response.size == 0


def test_a_promised_length_is_kept_over_several_pieces() -> None:
    response = writer()
    assert response.start(200, [(b"Content-Length", b"5")], b"ab", True).endswith(b"content-length: 5\r\n\r\nab")
    assert not response.endless
    assert response.write(b"cde") == b"cde"
    assert response.ended
    assert not response.broken


@pytest.mark.parametrize(
    ("pieces", "sent"), [([b"abcdef"], b"abcde"), ([b"abc", b"def"], b"abcde"), ([b"ab", b"c"], b"abc"), ([b""], b"")]
)
def test_a_broken_promise_is_never_sent_as_if_it_were_kept(pieces: list[bytes], sent: bytes) -> None:
    response = writer()
    _, _, out = response.start(200, [(b"content-length", b"5")], pieces[0], len(pieces) > 1).partition(b"\r\n\r\n")
    for number, piece in enumerate(pieces[1:], 2):
        out += response.write(piece, number < len(pieces))
    assert out == sent
    assert response.broken
    assert response.ended


def test_too_much_content_ends_a_stream_at_once() -> None:
    response = writer()
    response.start(200, [(b"content-length", b"2")], b"", True)
    assert response.write(b"abc", True) == b"ab"
    assert response.ended
    assert response.broken


def test_headers_about_the_connection_are_ours() -> None:
    names = [b"Transfer-Encoding", b"keep-alive", b"Upgrade", b"TE", b"trailer", b"Proxy-Connection"]
    sent = writer().start(200, [(name, b"chunked") for name in names], b"x").lower()
    for name in names:
        assert b"\r\n" + name.lower() + b":" not in sent


def test_a_426_says_what_to_upgrade_to() -> None:
    sent = writer().start(426, [(b"Upgrade", b"TLS/1.0")])
    assert b"\r\nconnection: upgrade\r\nupgrade: TLS/1.0\r\n" in sent


def test_an_application_may_date_its_response() -> None:
    sent = writer().start(200, [(b"Date", b"Mon, 07 Nov 1994 08:49:37 GMT")])
    assert NOW not in sent
    assert b"Date: Mon, 07" in sent


BAD: list[tuple[Any, Any, Any]] = [
    (None, (), b""),
    ("200", (), b""),
    (True, (), b""),
    (199, (), b""),
    (101, (), b""),
    (600, (), b""),
    (200.0, (), b""),
    (200, (), "text"),
    (200, (), None),
    (200, 5, b""),
    (200, b"ab", b""),
    (200, [b"ab"], b""),
    (200, [(b"a",)], b""),
    (200, [(b"a", b"b", b"c")], b""),
    (200, [(b"a", "b")], b""),
    (200, [(b"a", None)], b""),
    (200, [(b"a", 5)], b""),
    (200, [("a", b"b")], b""),
    (200, [([], b"b")], b""),
    (200, [(None, b"b")], b""),
    (200, [(b"", b"b")], b""),
    (200, [(b"a b", b"b")], b""),
    (200, [(b"a:", b"b")], b""),
    (200, [(b"a\r\nb", b"b")], b""),
    (200, [(b"a", b"b\r\nset-cookie: c")], b""),
    (200, [(b"a", b"b\nset-cookie: c")], b""),
    (200, [(b"a", b"b\rset-cookie: c")], b""),
    (200, [(b"a", b"b\0")], b""),
    (200, [(b"date", b"b\r\n\r\nc")], b""),
    (200, [(b"content-length", b"x")], b""),
    (200, [(b"content-length", b"-1")], b""),
    (200, [(b"content-length", b"")], b""),
    (200, [(b"content-length", b"1" * 19)], b""),
    (200, [(b"content-length", "5")], b"12345"),
    (200, [(b"content-length", 5)], b"12345"),
    (200, [(b"content-length", b"5"), (b"content-length", b"5")], b"12345"),
    (200, [(b"connection", 5)], b""),
]


@pytest.mark.parametrize(("status", "headers", "content"), BAD)
def test_what_is_no_response_is_refused_and_another_can_be_sent_instead(
    status: Any, headers: Any, content: Any
) -> None:
    response = writer()
    with pytest.raises(BadResponse):
        response.start(status, headers, content, True)
    assert response.status == 0
    assert not response.ended
    assert response.start(*plain(500, "wrong")) == (
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
        + NOW
        + b"content-length: 6\r\n\r\nwrong\n"
    )


def test_content_that_is_no_bytes_is_refused() -> None:
    response = writer()
    response.start(200, more=True)
    with pytest.raises(BadResponse, match="str"):
        response.write("text")
    assert response.write(b"text") == b"4\r\ntext\r\n0\r\n\r\n"


def test_names_that_applications_invent_do_not_fill_the_memory() -> None:
    from trunkline.protocol_servers.http_core import response

    for number in range(3000):
        writer().start(200, [(b"x-%d" % number, b"y")])
    assert len(response._names) <= 1024
    assert b"\r\nx-new: y\r\n" in writer().start(200, [(b"x-new", b"y")])
    assert b"x-new" in response._names


def test_the_date_is_made_once_a_second() -> None:
    now = 784111777.0
    date = DateHeader(lambda: now)
    first = date()
    assert first == NOW
    now += 0.9
    assert date() is first
    now += 0.1
    assert date() == b"date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
