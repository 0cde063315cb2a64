"""Heads of requests: what is accepted means exactly one thing, and the rest is refused by the right status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.http_core import BadRequest, HeadParser, HttpLimits, RequestReader

Read = Callable[..., Any]

HOST = b"Host: example.org\r\n"


def get(*lines: bytes, target: bytes = b"/", host: bytes = HOST) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_a_request_is_read_with_all_its_parts(read: Read) -> None:
    (request,) = read(get(b"Accept: */*", b"X-Two:  b \t ", b"X-Two: c", target=b"/a%20b/%C3%A9?q=%20&r")).requests
    assert request.method == "GET"
    assert request.target == b"/a%20b/%C3%A9?q=%20&r"
    assert request.path == "/a b/é"
    assert request.query_string == b"q=%20&r"
    assert request.http_version == "1.1"
    assert request.headers == [(b"host", b"example.org"), (b"accept", b"*/*"), (b"x-two", b"b"), (b"x-two", b"c")]
    assert request.header(b"x-two") == b"b"
    assert request.header(b"cookie") is None
    assert request.keep_alive
    assert not request.has_body
    assert not request.upgrade


def test_requests_follow_each_other(read: Read) -> None:
    outcome = read(get(target=b"/1") + b"\r\n" + get(target=b"/2") + get(target=b"/3"))
    assert [request.path for request in outcome.requests] == ["/1", "/2", "/3"]
    assert outcome.fault is None


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (get(), True),
        (get(b"Connection: close"), False),
        (get(b"Connection: foo, CLOSE"), False),
        (get(b"Connection: foo", b"Connection: close"), False),
        (get(b"Connection: keep-alive"), True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n", False),
    ],
)
def test_the_connection_stays_open_as_the_version_and_the_client_say(read: Read, head: bytes, keep_alive: bool) -> None:
    (request,) = read(head).requests
    assert request.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"//a//b", "//a//b", b""),
        (b"/?", "/", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/%2F%3f%25", "//?%", b""),
        (b"/a?%zz", "/a", b"%zz"),
        (b'/"<>\\^`{|}', '/"<>\\^`{|}', b""),
        (b"/%f0%9f%98%80", "/\U0001f600", b""),
        (b"http://other.example/x?y", "/x", b"y"),
        (b"HTTPS://other.example", "/", b""),
        (b"http://other.example?y", "/", b"y"),
        (b"http://[::1]:8080/x", "/x", b""),
    ],
)
def test_path_and_query_are_found_in_every_form_of_target(read: Read, target: bytes, path: str, query: bytes) -> None:
    (request,) = read(get(target=target)).requests
    assert (request.path, request.query_string) == (path, query)


def test_the_host_of_an_absolute_target_goes_before_the_header(read: Read) -> None:
    (request,) = read(get(b"X: y", target=b"http://other.example:81/")).requests
    assert request.headers == [(b"host", b"other.example:81"), (b"x", b"y")]


def test_options_may_ask_about_the_server_as_a_whole(read: Read) -> None:
    (request,) = read(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n").requests
    assert (request.path, request.query_string) == ("*", b"")


@pytest.mark.parametrize(
    "host", [b"a", b"a.b-c_d.example:80", b"a:", b"127.0.0.1:8000", b"[::1]", b"[2001:db8::1]:443", b"a:65535"]
)
def test_hosts_in_their_usual_shapes_are_taken(read: Read, host: bytes) -> None:
    (request,) = read(get(host=b"Host: " + host + b"\r\n")).requests
    assert request.header(b"host") == host


def test_headers_that_could_pass_for_others_behind_us_are_dropped(read: Read) -> None:
    (request,) = read(get(b"Proxy: evil", b"X_Forwarded_For: evil", b"Content_Length: 5", b"X-Good: y")).requests
    assert request.headers == [(b"host", b"example.org"), (b"x-good", b"y")]
    assert not request.has_body


def test_values_may_hold_tabs_and_bytes_above_ascii(read: Read) -> None:
    (request,) = read(get(b"X: a\tb\xff", b"Y:")).requests
    assert request.headers[1:] == [(b"x", b"a\tb\xff"), (b"y", b"")]


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ([b"Upgrade: websocket", b"Connection: Upgrade"], True),
        ([b"Upgrade: h2c, WebSocket", b"Connection: keep-alive, upgrade"], True),
        ([b"Upgrade: h2c", b"Connection: Upgrade"], False),
        ([b"Upgrade: websocket"], False),
        ([b"Connection: Upgrade"], False),
        ([b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 0"], True),
        ([b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 1"], False),
    ],
)
def test_an_upgrade_to_websocket_is_told_from_all_others(read: Read, lines: list[bytes], upgrade: bool) -> None:
    (request, *_) = read(get(*lines) + b"X").requests
    assert request.upgrade is upgrade


def test_http_1_0_cannot_upgrade(read: Read) -> None:
    (request,) = read(b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").requests
    assert not request.upgrade


def test_what_follows_a_websocket_upgrade_is_left_for_the_websocket() -> None:
    reader = RequestReader(HttpLimits(), HeadParser(HttpLimits()))
    reader.feed(get(b"Upgrade: websocket", b"Connection: Upgrade") + b"\x81\x00frame")
    assert reader.read_head()
    assert reader.take() == b"\x81\x00frame"
    assert reader.waiting == 0


@pytest.mark.parametrize(
    ("lines", "expects"),
    [
        ([b"Expect: 100-continue", b"Content-Length: 1"], True),
        ([b"Expect: 100-Continue", b"Transfer-Encoding: chunked"], True),
        ([b"Expect: 100-continue"], False),
        ([b"Expect: 100-continue", b"Content-Length: 0"], False),
    ],
)
def test_only_a_client_with_a_body_waits_to_be_told_to_go_on(read: Read, lines: list[bytes], expects: bool) -> None:
    (request,) = read(get(*lines)).requests
    assert request.expects_continue is expects


def test_http_1_0_cannot_wait_to_be_told_to_go_on(read: Read) -> None:
    (request,) = read(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").requests
    assert not request.expects_continue


REFUSED = [
    # Host: RFC 9112 section 3.2
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
    (get(HOST.strip()), 400, "more than one Host"),
    (get(b"host: other"), 400, "more than one Host"),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "more than one Host"),
    (get(host=b"Host: \r\n"), 400, "Host header is not"),
    (get(host=b"Host: a b\r\n"), 400, "Host header is not"),
    (get(host=b"Host: a/b\r\n"), 400, "Host header is not"),
    (get(host=b"Host: user@a\r\n"), 400, "Host header is not"),
    (get(host=b"Host: a,b\r\n"), 400, "Host header is not"),
    (get(host=b"Host: a:80:80\r\n"), 400, "Host header is not"),
    (get(host=b"Host: a:x\r\n"), 400, "Host header is not"),
    (get(host=b"Host: ::1\r\n"), 400, "Host header is not"),
    (get(host=b"Host: \xe9.example\r\n"), 400, "Host header is not"),
    (b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400, "Host header is not"),
    # Framing: RFC 9112 section 6
    (get(b"Transfer-Encoding: chunked", b"Content-Length: 1"), 400, "Transfer-Encoding and Content-Length"),
    (get(b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400, "Transfer-Encoding and Content-Length"),
    (get(b"Transfer-Encoding: gzip"), 501, "chunked"),
    (get(b"Transfer-Encoding: gzip, chunked"), 501, "chunked"),
    (get(b"Transfer-Encoding: chunked, gzip"), 400, "chunked"),
    (get(b"Transfer-Encoding: chunked, chunked"), 400, "chunked"),
    (get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"), 400, "chunked"),
    (get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400, "chunked"),
    (get(b"Transfer-Encoding: identity"), 501, "chunked"),
    (get(b"Transfer-Encoding: xchunked"), 501, "chunked"),
    (get(b"Transfer-Encoding: chunked;q=1"), 501, "chunked"),
    (get(b"Transfer-Encoding: \x0bchunked"), 400, "control character"),
    (get(b"Transfer-Encoding:"), 501, "chunked"),
    (get(b"Transfer-Encoding: , chunked"), 501, "chunked"),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0"),
    (get(b"Content-Length: 1", b"Content-Length: 1"), 400, "more than one Content-Length"),
    (get(b"Content-Length: 1", b"Content-Length: 2"), 400, "more than one Content-Length"),
    (get(b"Content-Length: 1, 1"), 400, "not a number"),
    (get(b"Content-Length: +1"), 400, "not a number"),
    (get(b"Content-Length: -1"), 400, "not a number"),
    (get(b"Content-Length: 0x1"), 400, "not a number"),
    (get(b"Content-Length: 1_0"), 400, "not a number"),
    (get(b"Content-Length: 1 0"), 400, "not a number"),
    (get(b"Content-Length: \xb2"), 400, "not a number"),
    (get(b"Content-Length:"), 400, "not a number"),
    (get(b"Content-Length: 1073741825"), 413, "1073741824"),
    (get(b"Content-Length: 99999999999999999999999999"), 413, "1073741824"),
    (get(b"Expect: 200-ok"), 417, "100-continue"),
    # The bytes of the head: RFC 9112 sections 2.2 and 5
    (b"GET / HTTP/1.1\nHost: a\n\n", 400, "line feed"),
    (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "line feed"),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "line feed"),
    (get(b"X: a\nY: b"), 400, "line feed"),
    (get(b"X: a\rY: b"), 400, "carriage return"),
    (get(b"X: a\r\r"), 400, "carriage return"),
    (b"GET /\r HTTP/1.1\r\n\r\n", 400, "carriage return"),
    (get(b"X: a\0"), 400, "0x00"),
    (get(b"X: a\x1b"), 400, "0x1b"),
    (get(b"X: a\x7f"), 400, "0x7f"),
    (get(b"X\0: a"), 400, "0x00"),
    (b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "0x01"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "0x16"),
    (get(b"X: a", b" folded"), 400, "folding"),
    (get(b"X: a", b"\tfolded"), 400, "folding"),
    (get(b" X: a", host=b""), 400, "folding"),
    (get(b"X : a"), 400, "its colon"),
    (get(b"X\t: a"), 400, "its colon"),
    (get(b": a"), 400, "empty"),
    (get(b"X y: a"), 400, "name"),
    (get(b"X\xe9: a"), 400, "name"),
    (get(b"X(: a"), 400, "name"),
    (get(b"no colon"), 400, "colon"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", 400, "colon"),
    # The request line: RFC 9112 section 3
    (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "request line"),
    (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "one space"),
    (b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n", 400, "one space"),
    (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400, "one space"),
    (b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "one space"),
    (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "one space"),
    (b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n", 400, "one space"),
    (b"GET /\r\n\r\n", 400, "one space"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "one space"),
    (b"G\xc9T / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "method"),
    (b"GE(T / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "method"),
    (b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n", 501, "FOO"),
    (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501, "get"),
    (b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501, "CONNECT"),
    (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 505, "HTTP/1.2"),
    (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505, "HTTP/0.9"),
    (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "HTTP/2.0"),
    (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 505, "HTTP/9.9"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2 begins with the connection"),
    (b"GET / HTTP/1.10\r\n" + HOST + b"\r\n", 400, "HTTP/1.0 or HTTP/1.1"),
    (b"GET / HTTP/11\r\n" + HOST + b"\r\n", 400, "HTTP/1.0 or HTTP/1.1"),
    (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400, "HTTP/1.0 or HTTP/1.1"),
    (b"GET / RTSP/1.0\r\n" + HOST + b"\r\n", 400, "HTTP/1.0 or HTTP/1.1"),
    (b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n", 400, "HTTP/1.0 or HTTP/1.1"),
    # The target: RFC 9112 section 3.2
    (get(target=b"foo"), 400, "neither"),
    (get(target=b"*"), 400, "OPTIONS"),
    (get(target=b"ftp://a/b"), 400, "neither"),
    (get(target=b"http:/b"), 400, "neither"),
    (get(target=b"http:///b"), 400, "target's host"),
    (get(target=b"http://u@a/b"), 400, "target's host"),
    (get(target=b"http://a,b/"), 400, "target's host"),
    (get(target=b"/#fragment"), 400, "fragment"),
    (get(target=b"/\xc3\xa9"), 400, "percent-encoded"),
    (get(target=b"/%"), 400, "hexadecimal"),
    (get(target=b"/%g0"), 400, "hexadecimal"),
    (get(target=b"/%c3"), 400, "UTF-8"),
    (get(target=b"/%ff%fe"), 400, "UTF-8"),
    (get(target=b"/%ed%a0%80"), 400, "UTF-8"),
    (get(target=b"/%00"), 400, "NUL"),
    (get(host=b"", target=b"http://a/b"), 400, "no Host"),
    # Sizes
    (get(target=b"/" + b"a" * 17000), 414, "16384"),
    (b"G" * 17000, 414, "16384"),
    (get(b"X: " + b"a" * 66000), 431, "65536"),
    (get(*[b"X: y"] * 100), 431, "100"),
    (get(*[b"X_: y"] * 100), 431, "100"),
]


@pytest.mark.parametrize(("data", "status", "reason"), REFUSED, ids=[repr(row[0][:60]) for row in REFUSED])
def test_what_is_wrong_is_refused_by_its_status_and_named(read: Read, data: bytes, status: int, reason: str) -> None:
    outcome = read(data)
    assert outcome.requests == []
    assert outcome.fault is not None
    assert outcome.fault[0] == status
    assert reason in outcome.fault[1]


def test_a_refusal_comes_as_early_as_it_can_be_known(read: Read) -> None:
    assert read(b"GET / HTTP/1.1\n").fault == (400, "a line feed without a carriage return before it")
    assert read(b"GET /\r\rx").fault == (400, "a carriage return without a line feed after it")


def test_an_incomplete_head_is_waited_for(read: Read) -> None:
    for data in (b"", b"\r", b"\r\n", b"GET", get()[:-1], get()[:-2]):
        outcome = read(data)
        assert outcome.requests == []
        assert outcome.fault is None


def test_limits_are_exact(read: Read) -> None:
    head = get(b"X: y")
    assert len(read(head, max_head=len(head)).requests) == 1
    assert read(head, max_head=len(head) - 1).fault == (431, f"the head is over {len(head) - 1} bytes")
    assert len(read(head, max_headers=2).requests) == 1
    assert read(head, max_headers=1).fault == (431, "more than 1 header lines")
    assert len(read(get(b"Content-Length: 5") + b"12345", max_body=5).requests) == 1
    assert read(get(b"Content-Length: 6"), max_body=5).fault == (413, "the body is over 5 bytes")


def test_a_request_line_longer_than_the_whole_head_may_be_is_a_target_too_long(read: Read) -> None:
    assert read(get(target=b"/" + b"a" * 300), max_head=256).fault == (414, "the request line is over 256 bytes")


def test_a_fault_hurts_none_of_the_requests_before_it(read: Read) -> None:
    outcome = read(get() + b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc" + b"bad\r\n\r\n")
    assert [request.method for request in outcome.requests] == ["GET", "POST"]
    assert outcome.bodies == [b"", b"abc"]
    assert outcome.fault is not None


def test_names_that_clients_invent_do_not_fill_the_memory(read: Read) -> None:
    from trunkline.protocol_servers.http_core import head

    for number in range(1500):
        assert read(get(b"X-%d: y" % number)).requests[0].headers[1] == (b"x-%d" % number, b"y")
    assert read(get(b"X-" + b"a" * 200 + b": y")).fault is None
    assert len(head._names) <= 1024
    assert b"Host" in head._names, "and push none out for good"


def test_a_parser_goes_on_after_faults_and_bodies_of_other_connections() -> None:
    parser = HeadParser(HttpLimits())
    for bad, status, _ in REFUSED:
        if bad.find(b"\r\n\r\n") != len(bad) - 4 or status == 414 or len(bad) > 65536:
            continue
        with pytest.raises(BadRequest):
            parser.parse(bad)
        assert parser.parse(get(target=b"/good")).path == "/good"
    for other in (get(b"Content-Length: 3"), get(b"Transfer-Encoding: chunked"), get(b"Connection: close")):
        parser.parse(other)
        assert parser.parse(get(target=b"/good")).path == "/good"


def test_header_lines_that_are_remembered_cost_one_look_and_mean_the_same() -> None:
    parser = HeadParser(HttpLimits())
    lines = (b"Accept: */*", b"Connection: keep-alive")
    assert parser.recall(get(*lines)) is None
    first = parser.parse(get(*lines))
    again = parser.recall(get(*lines))
    assert again == first
    other = parser.recall(b"DELETE /x?y=%20 HTTP/1.1\r\n" + HOST + b"\r\n".join(lines) + b"\r\n\r\n")
    assert other is not None
    assert (other.method, other.path, other.query_string, other.target) == ("DELETE", "/x", b"y=%20", b"/x?y=%20")
    assert other.headers == first.headers


@pytest.mark.parametrize(
    "line",
    [
        b"GET /a%20b HTTP/1.1",
        b"GET /a%zz HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET http://other/ HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET / HTTP/2.0",
        b"GET /#f HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"get / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"\r\nGET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\r\nX: y",
        b"",
    ],
)
def test_remembered_header_lines_do_not_help_a_request_line_that_has_to_be_looked_at(line: bytes) -> None:
    parser = HeadParser(HttpLimits())
    parser.parse(get())
    assert parser.recall(get()) is not None
    assert parser.recall(line + b"\r\n" + HOST + b"\r\n") is None


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 0",),
        (b"Content-Length: 3",),
        (b"Transfer-Encoding: chunked",),
        (b"Connection: close",),
        (b"Expect: 100-continue",),
        (b"Connection: Upgrade", b"Upgrade: websocket"),
        (b"X: " + b"y" * 2048,),
        tuple(b"X-%d: y" % number for number in range(40)),
    ],
)
def test_header_lines_that_may_mean_another_thing_the_next_time_are_not_remembered(lines: tuple[bytes, ...]) -> None:
    parser = HeadParser(HttpLimits())
    parser.parse(get(*lines))
    assert parser.recall(get(*lines)) is None


def test_where_no_lines_come_again_none_are_remembered_for_a_while() -> None:
    parser = HeadParser(HttpLimits())
    for number in range(300):
        parser.parse(get(b"X-Request-Id: %d" % number))
    assert parser.recall(get(b"X-Request-Id: 299")) is None
    assert not parser._known
    for _ in range(16 * 256):
        parser.parse(get())
    assert parser.recall(get()) is not None


def test_lines_of_http_1_0_and_of_absolute_targets_are_not_remembered() -> None:
    parser = HeadParser(HttpLimits())
    parser.parse(b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n")
    parser.parse(b"GET http://other/ HTTP/1.1\r\n" + HOST + b"Connection: keep-alive\r\n\r\n")
    assert parser.recall(get(b"Connection: keep-alive")) is None


def test_what_is_remembered_of_header_lines_is_bounded() -> None:
    parser = HeadParser(HttpLimits())
    for number in range(3000):
        parser.parse(get(b"X: %d" % number))
        assert parser.recall(get(b"X: %d" % number)) is not None
    assert len(parser._known) <= 256


def test_header_lines_that_are_known_are_not_in_the_way_of_others() -> None:
    """A path with a percent sign has to be looked at each time, whatever is known of its header lines."""
    parser = HeadParser(HttpLimits())
    for number in range(256):
        parser.parse(get(b"X: %d" % number))
    parser.parse(get(b"X: 0", target=b"/a%20b"))
    assert all(parser.recall(get(b"X: %d" % number)) is not None for number in range(256))
