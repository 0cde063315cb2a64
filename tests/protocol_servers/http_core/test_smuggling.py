"""What could be one request to a proxy in front of us and two to us, or the other way round (RFC 9112, section 11.2).

Each row is what one client sends: either it is refused, so that nothing behind it is read, or it is the one series of
requests that the grammar allows. None of them ever yields a request for /hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Read = Callable[..., Any]

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


EMPTY_CHUNKED = b"0\r\n\r\n" + HIDDEN

REFUSED = {
    # two lengths, or none that everybody reads alike: sections 6.1 and 6.3
    "TE and CL": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=EMPTY_CHUNKED),
    "CL and TE": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=EMPTY_CHUNKED),
    "TE in another case, and CL": post(b"TRANSFER-encoding: cHuNkEd", b"content-LENGTH: 5", body=EMPTY_CHUNKED),
    "unknown TE, and CL": post(b"Content-Length: 5", b"Transfer-Encoding: x", body=EMPTY_CHUNKED),
    "TE twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=EMPTY_CHUNKED),
    "TE in a list": post(b"Transfer-Encoding: identity, chunked", body=EMPTY_CHUNKED),
    "TE with a parameter": post(b"Transfer-Encoding: chunked; a=b", body=EMPTY_CHUNKED),
    "TE quoted": post(b'Transfer-Encoding: "chunked"', body=EMPTY_CHUNKED),
    "TE with a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=EMPTY_CHUNKED),
    "TE with a NUL": post(b"Transfer-Encoding: chunked\0", body=EMPTY_CHUNKED),
    "TE with a no-break space": post(b"Transfer-Encoding: \xa0chunked", body=EMPTY_CHUNKED),
    "TE with a space before its colon": post(b"Transfer-Encoding : chunked", body=EMPTY_CHUNKED),
    "TE with a tab before its colon": post(b"Transfer-Encoding\t: chunked", body=EMPTY_CHUNKED),
    "TE with a space before it": post(b"X: y", b" Transfer-Encoding: chunked", body=EMPTY_CHUNKED),
    "TE folded": post(b"Transfer-Encoding:", b" chunked", body=EMPTY_CHUNKED),
    "TE behind a bare LF": post(b"X: y\nTransfer-Encoding: chunked", body=EMPTY_CHUNKED),
    "TE behind a bare CR": post(b"X: y\rTransfer-Encoding: chunked", body=EMPTY_CHUNKED),
    "TE without a colon": post(b"Transfer-Encoding chunked", body=EMPTY_CHUNKED),
    "TE of HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + EMPTY_CHUNKED,
    "CL twice": post(b"Content-Length: 0", b"Content-Length: 33", body=HIDDEN),
    "CL twice and equal": post(b"Content-Length: 0", b"Content-Length: 0", body=HIDDEN),
    "CL in a list": post(b"Content-Length: 33, 33", body=HIDDEN),
    "CL empty": post(b"Content-Length:", body=HIDDEN),
    "CL signed": post(b"Content-Length: +0", body=HIDDEN),
    "CL negative": post(b"Content-Length: -1", body=HIDDEN),
    "CL hexadecimal": post(b"Content-Length: 0x0", body=HIDDEN),
    "CL with a fraction": post(b"Content-Length: 0.0", body=HIDDEN),
    "CL with an exponent": post(b"Content-Length: 0e0", body=HIDDEN),
    "CL with other digits": post("Content-Length: ٠".encode(), body=HIDDEN),
    "CL with a space in it": post(b"Content-Length: 3 3", body=HIDDEN),
    "CL folded": post(b"Content-Length: 3", b" 3", body=HIDDEN),
    "CL with a space before its colon": post(b"Content-Length : 33", body=HIDDEN),
    "CL beyond 64 bits": post(b"Content-Length: 18446744073709551616", body=HIDDEN),
    # chunks: section 7.1
    "chunk size beyond 64 bits": chunked(b"10000000000000000\r\n" + HIDDEN),
    "chunk size with many zeros": chunked(b"0" * 17 + b"\r\n\r\n" + HIDDEN),
    "chunk size 0x": chunked(b"0x0\r\n\r\n" + HIDDEN),
    "chunk size signed": chunked(b"+0\r\n\r\n" + HIDDEN),
    "chunk size negative": chunked(b"-0\r\n\r\n" + HIDDEN),
    "chunk size with an underscore": chunked(b"0_0\r\n\r\n" + HIDDEN),
    "chunk size behind a space": chunked(b" 0\r\n\r\n" + HIDDEN),
    "chunk size before a space": chunked(b"0 \r\n\r\n" + HIDDEN),
    "chunk size before a tab": chunked(b"0\t;a\r\n\r\n" + HIDDEN),
    "chunk size missing": chunked(b"\r\n\r\n" + HIDDEN),
    "chunk size missing before an extension": chunked(b";a\r\n\r\n" + HIDDEN),
    "chunk size before a bare LF": chunked(b"0\n\r\n" + HIDDEN),
    "chunk size before a bare CR": chunked(b"0\r\r\n\r\n" + HIDDEN),
    "chunk extension with a bare LF": chunked(b"0;a\n\r\n" + HIDDEN),
    "chunk extension with a bare CR": chunked(b"0;a\rb\r\n\r\n" + HIDDEN),
    "chunk extension with a NUL": chunked(b"0;\0\r\n\r\n" + HIDDEN),
    "chunk extension of 300 bytes": chunked(b"0;" + b"a" * 300 + b"\r\n\r\n" + HIDDEN),
    "chunk longer than its size": chunked(b"1\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk without its end": chunked(b"1\r\na0\r\n\r\n" + HIDDEN),
    "chunk that ends in a bare LF": chunked(b"1\r\na\n0\r\n\r\n" + HIDDEN),
    "chunk that ends in a bare CR": chunked(b"1\r\na\r0\r\n\r\n" + HIDDEN),
    "trailers with a bare LF": chunked(b"0\r\nX: y\n\r\n" + HIDDEN),
    "trailers with a folded line": chunked(b"0\r\nX: y\r\n z\r\n\r\n" + HIDDEN),
    "trailers that are the hidden request": chunked(b"0\r\n" + HIDDEN),
    # a second request within the head of the first: sections 2.2, 3 and 5
    "head that ends in bare LFs": b"GET / HTTP/1.1\nHost: a\n\n" + HIDDEN,
    "head that ends in bare CRs": b"GET / HTTP/1.1\rHost: a\r\r" + HIDDEN,
    "head with a bare LF before its end": b"GET / HTTP/1.1\r\nHost: a\r\n\n" + HIDDEN,
    "head with a NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n" + HIDDEN,
    "head before which are two empty lines": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "head before which is a space": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /\r\n\r\n" + HIDDEN,
    "version between two spaces": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "version with more behind it": b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "target with a space": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    # where to: section 3.2
    "Host twice": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + HIDDEN,
    "Host folded": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n" + HIDDEN,
    "Host in a list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n" + HIDDEN,
    "Host with a path": b"GET / HTTP/1.1\r\nHost: a/hidden\r\n\r\n" + HIDDEN,
    "absolute target without Host": b"GET http://a/ HTTP/1.1\r\n\r\n" + HIDDEN,
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "authority-form": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
}

LONG = str(len(HIDDEN)).encode()
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"

# what is sent, and the body of the request before that for /next
READ = {
    "GET with a body": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n" % LONG + HIDDEN, HIDDEN),
    "HEAD with a body": (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n" % LONG + HIDDEN, HIDDEN),
    "DELETE with a body": (b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n" % LONG + HIDDEN, HIDDEN),
    "CL with zeros before it": (post(b"Content-Length: 00" + LONG, body=HIDDEN), HIDDEN),
    "CL between spaces": (post(b"Content-Length: \t " + LONG + b" \t", body=HIDDEN), HIDDEN),
    "CL_ is no CL": (post(b"Content_Length: 0", b"Content-Length: " + LONG, body=HIDDEN), HIDDEN),
    "TE_ is no TE": (post(b"Transfer_Encoding: chunked", b"Content-Length: " + LONG, body=HIDDEN), HIDDEN),
    "TE alone is about trailers": (post(b"TE: chunked", b"Content-Length: " + LONG, body=HIDDEN), HIDDEN),
    "coding in any case": (post(b"transfer-ENCODING: Chunked", body=b"1\r\na\r\n0\r\n\r\n"), b"a"),
    "chunk size in any case, with zeros": (chunked(b"00A\r\n0123456789\r\n0000\r\n\r\n"), b"0123456789"),
    "chunk that looks like an end": (chunked(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"), b"0\r\n\r\n"),
    "chunk that looks like a request": (chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)), HIDDEN),
    "chunk extension that looks like a chunk": (chunked(b'1;a="0;0"\r\na\r\n0\r\n\r\n'), b"a"),
    "trailers that look like framing": (
        chunked(b"1\r\na\r\n0\r\nContent-Length: 33\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\n"),
        b"a",
    ),
    "h2c is not spoken": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b""),
    "one empty line before": (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", b""),
    "waits to be told to go on": (post(b"Expect: 100-Continue", b"Content-Length: 1", body=b"a"), b"a"),
    "absolute target, another Host": (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", b""),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_nothing_is_read_behind_what_could_be_read_in_two_ways(read: Read, data: bytes) -> None:
    outcome = read(data)
    assert outcome.fault is not None
    assert [request.path for request in outcome.requests] in ([], ["/"])
    assert not (outcome.requests and outcome.complete)


@pytest.mark.parametrize(("data", "body"), READ.values(), ids=READ)
def test_what_can_be_read_in_one_way_only_is_read_so(read: Read, data: bytes, body: bytes) -> None:
    outcome = read(data + NEXT)
    assert outcome.fault is None
    assert [request.path for request in outcome.requests] == ["/", "/next"]
    assert outcome.bodies == [body, b""]
    assert [host for name, host in outcome.requests[0].headers if name == b"host"] == [b"a"]
