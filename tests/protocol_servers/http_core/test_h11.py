"""Beside h11, another strict parser: the same head means the same to both, or both refuse it.

Where we refuse what h11 forgives, the rule is named in STRICTER, with where it comes from. The other way round there is
no exception: what h11 refuses, we refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

Read = Callable[..., Any]

STRICTER = (
    # RFC 9112 allows to refuse, or demands it of a server that nobody is to smuggle through
    "a line feed without a carriage return",  # section 2.2: MAY be recognised; we do not
    "a carriage return without a line feed",
    "control character",  # section 5.5: h11 lets most of them into values
    "obsolete line folding",  # section 5.2: MUST reject or replace
    "Transfer-Encoding and Content-Length",  # section 6.1: ought to be handled as an error
    "more than one Content-Length",  # section 6.3: h11 joins equal ones
    "Content-Length is not a number",  # likewise "5, 5"
    "Transfer-Encoding in an HTTP/1.0 request",  # section 6.1
    "more than one Host",  # section 3.2
    "the Host header is not a host",
    "the target is neither",  # section 3.2: the forms of a target
    "the target * belongs to OPTIONS",
    "the target has a fragment",
    "the target's host is not a host",
    "a % in the path",  # what such a path means is anybody's guess
    "the path is not UTF-8",
    "a NUL in the path",
    "is not spoken here",  # RFC 9110, section 15.6.6: only HTTP/1.0 and HTTP/1.1 are
    "HTTP/2 begins with the connection",
    "this server is no proxy",
    "is not one that this server knows",  # section 15.6.2: a method nobody implements
    "the only expectation",  # section 10.1.1
    "a chunk size that is not",  # RFC 9112, section 7.1: no whitespace around it, extensions of bounded length
    "the body is over",
)


class Meaning(NamedTuple):
    """What a request means to whoever reads it."""

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool


def by_h11(data: bytes) -> Meaning | None:
    """Return what h11 reads first, or None where it refuses that."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request, body, complete = None, b"", False
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                complete = isinstance(event, h11.EndOfMessage)
                break
    except h11.RemoteProtocolError:
        return None
    if request is None:
        return None
    headers = [(bytes(name), bytes(value)) for name, value in request.headers]
    return Meaning(request.method, request.target, request.http_version, headers, body, complete)


def passed_on(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Leave out what we pass on to nobody, the host, which may be an absolute target's, and the case of a coding."""
    known = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers]
    return [(name, value) for name, value in known if b"_" not in name and name not in (b"proxy", b"host")]


# fmt: off
METHODS = [
    b"GET", b"POST", b"OPTIONS", b"HEAD", b"PURGE", b"CONNECT", b"FOO", b"get", b"M-SEARCH", b"G(T", b"",
]
TARGETS = [
    b"/", b"*", b"/a%41?q=%zz", b"/%zz", b"/%00", b"/%ff", b"http://a/b", b"https://[::1]:8/?q", b"http://u@a/",
    b"a:80", b"/#f", b"/\"<>\\^`{|}", b"//a", b"/\xe9", b"", b"ftp://a/",
]
VERSIONS = [
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"HTTP/1",
    b"ICE/1.0",
]
NAMES = [
    b"Host", b"host", b"Content-Length", b"CONTENT-LENGTH", b"Transfer-Encoding", b"transfer-encoding",
    b"Connection", b"Expect", b"Upgrade", b"X", b"X_Y", b"Proxy", b"X ", b" X", b"X\t", b"", b"X\x00", b"X\xe9",
    b"TE", b"Trailer",
]
VALUES = [
    b"a", b"a:80", b"[::1]", b"a b", b"a,b", b"", b"5", b" 5 ", b"05", b"5, 5", b"5,6", b"+5", b"-5", b"0x5",
    b"5_0", b"0", b"\t5", b"5\x0b", b"99999999999999999999", b"chunked", b"Chunked", b"chunked, chunked",
    b"gzip, chunked", b"identity", b"\x0bchunked", b"chunked\x00", b"close", b"keep-alive", b"100-continue",
    b"200-ok", b"websocket", b"x\ty", b"\xe9", b"x\x01", b"x\x7f", b"x\r\n y", b"x\n y", b"x\rY: z",
]
BODIES = [
    b"", b"hello", b"hello!", b"5\r\nhello\r\n0\r\n\r\n", b"05;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhell", b"fffffffffffffffff\r\nx",
    b"0\r\n\r\nGET /next HTTP/1.1\r\n", b"0\r\nX : y\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n",
]
# fmt: on

usual = st.sampled_from([b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"])
lines = st.one_of(
    usual,
    st.builds(
        b"".join,
        st.tuples(st.sampled_from(NAMES), st.just(b":"), st.sampled_from([b" ", b"", b"\t "]), st.sampled_from(VALUES)),
    ),
    st.builds(bytes.__add__, st.just(b"X: "), st.binary(max_size=6)),
)
heads = st.builds(
    lambda line, ends, fields: line + ends + b"".join(field + b"\r\n" for field in fields) + b"\r\n",
    st.builds(
        b"".join,
        st.tuples(
            st.one_of(st.just(b"POST"), st.sampled_from(METHODS)),
            st.sampled_from([b" ", b" ", b" ", b"  ", b"\t"]),
            st.one_of(st.just(b"/"), st.sampled_from(TARGETS)),
            st.sampled_from([b" ", b" ", b" ", b"  ", b""]),
            st.one_of(st.just(b"HTTP/1.1"), st.sampled_from(VERSIONS)),
        ),
    ),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b" \r\n", b"\r\r\n"]),
    st.lists(lines, max_size=4).map(lambda some: [b"Host: a", *some]) | st.lists(lines, max_size=4),
)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(head=heads, body=st.sampled_from(BODIES))
@example(head=b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", body=b"hello")
@example(head=b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", body=BODIES[4])
def test_a_head_means_the_same_to_both_or_both_refuse_it(read_cut: Read, head: bytes, body: bytes) -> None:
    theirs = by_h11(head + body)
    ours = read_cut([head + body])
    if not ours.requests or (len(ours.requests) == 1 and ours.fault is not None and not ours.complete):
        why = ours.fault[1] if ours.fault is not None else "nothing was read"
        assert theirs is None or any(rule in why for rule in STRICTER), (why, theirs)
        return
    assert theirs is not None, ours
    request = ours.requests[0]
    assert (request.method.encode(), request.target, request.http_version.encode()) == theirs[:3]
    assert passed_on(request.headers) == passed_on(theirs.headers)
    assert (ours.bodies[0], ours.complete or len(ours.requests) > 1) == (theirs.body, theirs.complete)


def test_each_rule_by_which_we_are_stricter_is_one_of_ours(read: Read) -> None:
    """A rule that is not needed any more would hide a difference."""
    host = b"Host: a\r\n"
    plain = b"GET / HTTP/1.1\r\n" + host
    post = b"POST / HTTP/1.1\r\n" + host
    shapes = (
        plain + b"X: a\nY: b\r\n\r\n",
        plain + b"X: a\rb\r\n\r\n",
        plain + b"X: a\x01\r\n\r\n",
        plain + b"X: a\r\n b\r\n\r\n",
        post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        post + b"Content-Length: 5, 5\r\n\r\nhello",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET a HTTP/1.1\r\n" + host + b"\r\n",
        b"GET * HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /#f HTTP/1.1\r\n" + host + b"\r\n",
        b"GET http://u@a/ HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /%zz HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /%ff HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /%00 HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.2\r\n" + host + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\n" + host + b"\r\n",
        b"FOO / HTTP/1.1\r\n" + host + b"\r\n",
        plain + b"Expect: 200-ok\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        post + b"Content-Length: 9999999999\r\n\r\n",
    )
    for rule, data in zip(STRICTER, shapes, strict=True):
        outcome = read(data)
        assert outcome.fault is not None, data
        assert rule in outcome.fault[1]
