"""Who a request is from, as proxies tell: what of it is believed, and what a client can make of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.http_core import Header, Request
from trunkline.protocol_servers.http_core.forwarded import believe
from trunkline.protocol_servers.networks import Networks

PROXIES = Networks(["10.0.0.0/8", "fd00::/8", "unix"], "trusted_proxies")
PEER: list[str | int] = ["10.0.0.1", 40000]


def seen(*headers: Header) -> tuple[list[str | int] | None, str]:
    """Return client and scheme of a request that comes from a proxy with these headers."""
    request = Request("GET", b"/", "/", b"", list(headers), "1.1", 0, True, client=PEER)
    believe(request, PROXIES)
    assert request.headers == list(headers)
    return request.client, request.scheme


FOR, PROTO, FORWARDED, HOST = b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"x-forwarded-host"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"192.0.2.7", ["192.0.2.7", 0]),
        (b"192.0.2.7:5000", ["192.0.2.7", 5000]),
        (b"2001:db8::7", ["2001:db8::7", 0]),
        (b"[2001:DB8:0::7]", ["2001:db8::7", 0]),
        (b"[2001:db8::7]:5000", ["2001:db8::7", 5000]),
        (b"::ffff:192.0.2.7", ["192.0.2.7", 0]),
        # what stands on the left came from the client
        (b"1.2.3.4, 192.0.2.7", ["192.0.2.7", 0]),
        (b"10.0.0.9, 192.0.2.7", ["192.0.2.7", 0]),
        (b"nonsense, 192.0.2.7", ["192.0.2.7", 0]),
        # one trusted proxy behind the other
        (b"1.2.3.4, 192.0.2.7, 10.1.1.1, fd00::5", ["192.0.2.7", 0]),
        (b"192.0.2.7 ,, ,\t10.1.1.1", ["192.0.2.7", 0]),
        # a client that is one of them itself
        (b"10.2.2.2", ["10.2.2.2", 0]),
        (b"10.3.3.3, 10.2.2.2", ["10.3.3.3", 0]),
        # from what makes no sense on, nothing is known
        (b"192.0.2.7, nonsense", PEER),
        (b"192.0.2.7, unknown, 10.2.2.2", ["10.2.2.2", 0]),
        (b"192.0.2.7, 10.2.2.2:65536", PEER),
        (b"192.0.2.256", PEER),
        (b"192.0.2.7:", PEER),
        (b"[192.0.2.7]", PEER),
        (b"[::1", PEER),
        (b"fe80::1%eth0", PEER),
        (b'"192.0.2.7"', PEER),
        (b"192.0.2.7\xff", PEER),
        (b"", PEER),
        (b", ,", PEER),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy(value: bytes, expected: list[str | int]) -> None:
    assert seen((FOR, value)) == (expected, "http")


def test_a_list_may_stand_in_several_headers() -> None:
    headers = [(FOR, b"1.2.3.4"), (b"accept", b"*/*"), (FOR, b"192.0.2.7, 10.2.2.2"), (FOR, b"10.3.3.3")]
    assert seen(*headers)[0] == ["192.0.2.7", 0]


def test_what_is_longer_than_any_address_costs_nothing() -> None:
    began = time.process_time()
    for _ in range(20):
        assert seen((FOR, b"[" + b":" * 30_000)) == (PEER, "http")
    assert time.process_time() - began < 5


def test_a_list_that_is_longer_than_any_is_looked_at_from_its_end_only() -> None:
    assert seen((FOR, b"192.0.2.7, " + b"10.0.0.2, " * 40 + b"10.0.0.3"))[0] == ["10.0.0.2", 0]
    assert seen((FOR, b"10.0.0.2," * 1_000_000 + b"192.0.2.7"))[0] == ["192.0.2.7", 0]
    assert seen((FORWARDED, b'"' + b"," * 1_000_000 + b"for=192.0.2.7"))[0] == ["192.0.2.7", 0]
    assert seen((FORWARDED, b'for="' + b"x," * 1_000_000))[0] == PEER


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        (b"https", "https"),
        (b"HTTPS", "https"),
        (b"http", "http"),
        (b"wss", "https"),
        (b"ws", "http"),
        (b"http, https", "https"),
        (b"https, http", "http"),
        (b"gopher", "http"),
        (b"https, gopher", "http"),
        (b"", "http"),
    ],
)
def test_the_scheme_is_the_last_that_was_added(value: bytes, scheme: str) -> None:
    assert seen((PROTO, value)) == (PEER, scheme)
    assert seen((FOR, b"192.0.2.7"), (PROTO, value)) == (["192.0.2.7", 0], scheme)


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        (b"for=192.0.2.7", ["192.0.2.7", 0], "http"),
        (b'For="192.0.2.7:5000";PROTO=HTTPS;by=203.0.113.4', ["192.0.2.7", 5000], "https"),
        (b'for="[2001:db8:cafe::17]:4711"', ["2001:db8:cafe::17", 4711], "http"),
        (b'for="[2001:db8:cafe::17]:_hidden"', ["2001:db8:cafe::17", 0], "http"),
        (b"for=1.2.3.4;proto=https, for=192.0.2.7", ["192.0.2.7", 0], "http"),
        (b'for=192.0.2.7;proto=https, for="[fd00::1]";proto=http', ["192.0.2.7", 0], "https"),
        (b"for=192.0.2.7;proto=https, for=10.2.2.2", ["192.0.2.7", 0], "https"),
        (b"proto=https", PEER, "https"),
        (b"for=_hidden;proto=https", PEER, "https"),
        (b"for=unknown", PEER, "http"),
        (b'for="_gazonk", for=10.2.2.2', ["10.2.2.2", 0], "http"),
        # commas and semicolons within quotes; quotes there are what an attacker would write
        (b'host="a,b;c,d";for=192.0.2.7', ["192.0.2.7", 0], "http"),
        (b'host="a\\"b";for=192.0.2.7', ["192.0.2.7", 0], "http"),
        (b'for=192.0.2.7;host="a\\", for=1.2.3.4;b=\\""', PEER, "http"),
        (b'for=192.0.2.7;host="a\\", for=1.2.3.4,"', ["192.0.2.7", 0], "http"),
        (b'"broken, for=192.0.2.7;proto=https', ["192.0.2.7", 0], "https"),
        (b"for=1.2.3.4;for=192.0.2.7", PEER, "http"),
        (b"for=192.0.2.7 proto=https", PEER, "http"),
        (b"for", PEER, "http"),
        (b"for=[2001:db8::1]", PEER, "http"),
        (b'for="192.0.2.7', PEER, "http"),
        (b"for=192.0.2.7;", ["192.0.2.7", 0], "http"),
        (b"", PEER, "http"),
    ],
)
def test_the_standard_header(value: bytes, client: list[str | int], scheme: str) -> None:
    assert seen((FORWARDED, value)) == (client, scheme)


def test_forwarded_counts_where_the_usual_headers_are_not() -> None:
    """A proxy that writes the usual ones passes on Forwarded from anybody."""
    forged = (FORWARDED, b"for=1.2.3.4;proto=https")
    assert seen(forged, (FOR, b"192.0.2.7")) == (["192.0.2.7", 0], "http")
    assert seen((PROTO, b"http"), forged) == (PEER, "http")


def test_nobody_can_name_our_host() -> None:
    assert seen((HOST, b"evil.example"), (FORWARDED, b"for=192.0.2.7;host=evil.example"))[0] == ["192.0.2.7", 0]


_values = st.binary(max_size=60) | st.lists(
    st.sampled_from(
        [b"for=", b"proto=", b"https", b"192.0.2.7", b"10.0.0.2", b'"', b",", b";", b"\\", b"[::1]", b":1"]
    ),
    max_size=20,
).map(b"".join)


@given(st.lists(st.tuples(st.sampled_from([FOR, PROTO, FORWARDED]), _values), max_size=4))
def test_whatever_stands_there_the_client_is_an_address(headers: list[Header]) -> None:
    client, scheme = seen(*headers)
    assert client is not None
    assert scheme in ("http", "https")
    if client is not PEER:
        assert str(client[0]) in Networks(["0.0.0.0/0", "::/0"], "any")
        assert isinstance(client[1], int)
        assert 0 <= client[1] <= 65535


@given(_values)
def test_what_a_client_sends_never_counts_where_the_proxy_adds_its_address(value: bytes) -> None:
    assert seen((FOR, value + b", 192.0.2.7"))[0] == ["192.0.2.7", 0]
    assert seen((FORWARDED, value), (FORWARDED, b"for=192.0.2.7"))[0] == ["192.0.2.7", 0]
