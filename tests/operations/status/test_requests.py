"""What is read of a request, and what is refused, byte by byte; and who may ask."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.operations.secret import Secret
from trunkline.operations.status.access import check
from trunkline.operations.status.requests import Refused, Request, parse

HOST = b"\r\nHost: localhost:9090"


def status(head: bytes) -> int:
    with pytest.raises(Refused) as refused:
        parse(head)
    assert "\n" not in refused.value.text
    return refused.value.status.value


def test_what_is_read() -> None:
    request = parse(b"GET /?channel=a%20b&x= HTTP/1.1" + HOST + b"\r\nAUTHORIZATION:  Bearer x \r\nCookie: \xe4")
    assert request == Request("GET", "/", {"channel": "a b", "x": ""}, "localhost:9090", "Bearer x")
    assert parse(b"HEAD /%72eadyz HTTP/1.0" + HOST).path == "/readyz"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET / HTTP/2.0" + HOST, 400),
        (b"get / HTTP/1.1" + HOST, 400),
        (b"GET  / HTTP/1.1" + HOST, 400),
        (b"GET http://localhost/ HTTP/1.1" + HOST, 400),
        (b"GET /\x00 HTTP/1.1" + HOST, 400),
        (b"GET /" + b"a" * 2001 + b" HTTP/1.1" + HOST, 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1" + HOST + HOST, 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nAuthorization: a\r\nAuthorization: b", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\n folded: x", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nname : x", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nname: a\nb", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nname: a\x00b", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nx: y" * 100, 431),
        (b"GET /?" + b"&".join([b"a=b"] * 11) + b" HTTP/1.1" + HOST, 400),
        (b"POST / HTTP/1.1" + HOST, 405),
        (b"DELETE /metrics HTTP/1.1" + HOST, 405),
        (b"GET / HTTP/1.1" + HOST + b"\r\nContent-Length: 5", 413),
        (b"GET / HTTP/1.1" + HOST + b"\r\nTransfer-Encoding: chunked", 413),
        (b"GET / HTTP/1.1" + HOST + b"\r\nContent-Length: 0\r\nContent-Length: 5", 413),
    ],
)
def test_what_is_refused(head: bytes, expected: int) -> None:
    assert status(head) == expected


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda junk: b"GET / HTTP/1.1" + HOST + junk)))
def test_whatever_comes_is_read_or_refused(head: bytes) -> None:
    try:
        told = parse(head).method
    except Refused as refused:
        told = str(refused.status.value)
    assert told in ("GET", "HEAD", "400", "405", "413", "431")


def test_spaces_cost_no_more_than_other_bytes() -> None:
    """Looking at them again and again would hold up the whole process for a second."""
    began = time.process_time()
    for _ in range(20):
        assert status(b"GET / HTTP/1.1" + HOST + b"\r\nx:" + b" " * 16_000 + b"\0") == 400
    assert time.process_time() - began < 5


def asking(host: str, authorization: str = "") -> Request:
    return Request("GET", "/", {}, host, authorization)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "127.3.2.1:9090", "localhost:9090", "LOCALHOST", "[::1]:1"]
)
def test_this_machine_by_its_own_names(host: str) -> None:
    check(asking(host), "127.0.0.1", None)
    check(asking(host), "::1", None)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example", 421),
        ("evil.example:9090", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1:9090", 421),
        ("[2001:db8::1]", 421),
        ("", 400),
        ("a b", 400),
        ("localhost:port", 400),
        ("user@localhost", 400),
        ("localhost/x", 400),
        ("[localhost", 400),
    ],
)
def test_other_names_for_this_machine_are_refused(host: str, expected: int) -> None:
    """A page whose name is made to point here by its own DNS still says that name."""
    with pytest.raises(Refused) as refused:
        check(asking(host, "Bearer right"), "127.0.0.1", Secret("right"))
    assert refused.value.status.value == expected


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize("brought", ["Bearer right", "bearer  right", basic(b":right"), basic(b"anybody:right")])
def test_who_brings_the_token_may_ask(brought: str) -> None:
    check(asking("metrics.example:9090", brought), "0.0.0.0", Secret("right"))
    check(asking("localhost", brought), "127.0.0.1", Secret("right"))


@pytest.mark.parametrize(
    "brought",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Bearer rightt", "right", "Basic right", "Basic !", basic(b"right"),
     basic(b"right:"), "Digest right", "Bearer \xe4"],
)  # fmt: skip
def test_who_does_not_may_not(brought: str) -> None:
    for host in ("0.0.0.0", "127.0.0.1"):
        with pytest.raises(Refused) as refused:
            check(asking("localhost", brought), host, Secret("right"))
        assert refused.value.status.value == 401
