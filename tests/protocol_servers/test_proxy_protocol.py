"""Headers of the PROXY protocol: what is one, what is none, and where it ends, byte by byte."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from trunkline.protocol_servers.proxy_protocol import SIGNATURE, MalformedHeader, ProxyHeader, read_header

CLIENT, SERVER = IPv4Address("TCP", "192.0.2.7", 51000), IPv4Address("TCP", "198.51.100.1", 443)
CLIENT6, SERVER6 = IPv6Address("TCP", "2001:db8::7", 51000), IPv6Address("TCP", "2001:db8::1", 443)
INET = socket.inet_aton(CLIENT.host) + socket.inet_aton(SERVER.host) + struct.pack("!HH", 51000, 443)
INET6 = b"".join(socket.inet_pton(socket.AF_INET6, each.host) for each in (CLIENT6, SERVER6)) + INET[8:]
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
TLVS = b"\x04\x00\x03abc" + b"\x20\x00\x05\x01\x00\x00\x00\x00"


def binary(addresses: bytes = b"", family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    size = len(addresses) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + addresses


GOOD: dict[str, tuple[bytes, Any, Any]] = {
    "TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n", CLIENT, SERVER),
    "TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n", CLIENT6, SERVER6),
    "TCP6 at its longest": (
        b"PROXY TCP6 %b %b 65535 65535\r\n" % ((b"ffff:" * 8)[:-1], (b"ffff:" * 8)[:-1]),
        IPv6Address("TCP", ("ffff:" * 8)[:-1], 65535),
        IPv6Address("TCP", ("ffff:" * 8)[:-1], 65535),
    ),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", None, None),
    "UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 ? whatever 65536\r\n", None, None),
    "2 over IPv4": (binary(INET), CLIENT, SERVER),
    "2 over IPv6": (binary(INET6, 0x21), CLIENT6, SERVER6),
    "2 over unix": (binary(UNIX, 0x31), UNIXAddress(b"/run/client"), UNIXAddress(b"/run/server")),
    "2 over nameless unix": (binary(bytes(216), 0x31), UNIXAddress(None), UNIXAddress(None)),
    "2 with TLVs": (binary(INET + TLVS), CLIENT, SERVER),
    "2 with as much as there may be": (binary(INET + bytes(65535 - 12)), CLIENT, SERVER),
    "2 LOCAL": (binary(b"", 0x00, 0x20), None, None),
    "2 LOCAL with addresses": (binary(INET + TLVS, 0x11, 0x20), None, None),
    "2 of no family": (binary(TLVS, 0x00), None, None),
    "2 of datagrams": (binary(INET, 0x12), None, None),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_and_ends_where_it_ends(name: str) -> None:
    text, source, destination = GOOD[name]
    for rest in (b"", b"GET / HTTP/1.1\r\n", text):
        assert read_header(text + rest) == ProxyHeader(source, destination, len(text))


@pytest.mark.parametrize("name", GOOD)
def test_a_header_may_come_byte_by_byte(name: str) -> None:
    """Nothing is known before the last byte, and nothing is malformed."""
    text, source, destination = GOOD[name]
    for size in range(len(text)) if len(text) < 1000 else (0, 1, 12, 16, 28, 1000, len(text) - 1):
        assert read_header(text[:size]) is None
        assert read_header(bytearray(text[:size])) is None
    assert read_header(bytearray(text)) == ProxyHeader(source, destination, len(text))


BAD = [
    (b"GET / HTTP/1.1\r\n", "does not begin with"),
    (b"EHLO", "does not begin with"),
    (b"\x16\x03\x01", "does not begin with"),
    (b"PROXY\t", "does not begin with"),
    (b"proxy TCP4", "does not begin with"),
    (b"\r\n\r\n\0\r\nQUIT\r", "does not begin with"),
    (b"PROXY TCP5 192.0.2.7 198.51.100.1 51000 443\r\n", "the line is not"),
    (b"PROXY TCP4  192.0.2.7 198.51.100.1 51000 443\r\n", "the line is not"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 \r\n", "the line is not"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000\r\n", "the line is not"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 051000 443\r\n", "the line is not"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n", "the line is not"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 \xd9\xa3 443\r\n", "not ASCII"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\n\r\n", "the line is not"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", "above 65535"),
    (b"PROXY TCP4 192.0.2.256 198.51.100.1 51000 443\r\n", "none of IPv4"),
    (b"PROXY TCP4 192.0.2 198.51.100.1 51000 443\r\n", "none of IPv4"),
    (b"PROXY TCP4 2001:db8::7 2001:db8::1 51000 443\r\n", "none of IPv4"),
    (b"PROXY TCP6 192.0.2.7 198.51.100.1 51000 443\r\n", "none of IPv6"),
    (b"PROXY TCP6 fe80::1%eth0 ::1 51000 443\r\n", "the line is not"),
    (b"PROXY UNKNOWNS\r\n", "the line is not"),
    (b"PROXY \r\n", "the line is not"),
    (b"PROXY UNKNOWN " + b"x" * 93, "no line ends within 107 bytes"),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "no line ends within 107 bytes"),
    (binary(INET, command=0x11), "neither LOCAL nor PROXY of version 2"),
    (binary(INET, command=0x22), "neither LOCAL nor PROXY of version 2"),
    (binary(INET, family=0x41), "unknown"),
    (binary(INET, family=0x13), "unknown"),
    (binary(INET[:-1]), "too short for its addresses"),
    (binary(INET, family=0x21), "too short for its addresses"),
    (binary(INET6, family=0x31), "too short for its addresses"),
]


@pytest.mark.parametrize(("text", "why"), BAD)
def test_what_is_no_header_is_told_as_soon_as_it_can_be(text: bytes, why: str) -> None:
    with pytest.raises(MalformedHeader, match=why):
        read_header(text)
    for size in range(len(text)):
        try:
            assert read_header(text[:size]) is None
        except MalformedHeader:
            break


def test_a_wrong_head_is_refused_before_its_addresses_came() -> None:
    """Nobody waits for 65 535 bytes of what will be refused."""
    with pytest.raises(MalformedHeader):
        read_header(binary(b"", 0x51, length=65535))


@given(st.binary(max_size=300))
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    for text in (data, b"PROXY " + data, b"PROXY TCP4 " + data + b"\r\n", SIGNATURE + data, SIGNATURE + b"\x21" + data):
        try:
            header = read_header(text)
        except MalformedHeader:
            continue
        assert header is None or header.size <= len(text)


_octet = st.integers(0, 255)
_ports = st.integers(0, 65535)


@given(st.lists(_octet, min_size=8, max_size=8), _ports, _ports, st.binary(max_size=50))
def test_both_versions_say_the_same(octets: list[int], source: int, destination: int, tlvs: bytes) -> None:
    hosts = [".".join(map(str, each)) for each in (octets[:4], octets[4:])]
    line = f"PROXY TCP4 {hosts[0]} {hosts[1]} {source} {destination}\r\n".encode()
    packed = binary(bytes(octets) + struct.pack("!HH", source, destination) + tlvs)
    first, second = read_header(line), read_header(packed)
    assert first is not None
    assert second is not None
    assert first[:2] == second[:2] == (IPv4Address("TCP", hosts[0], source), IPv4Address("TCP", hosts[1], destination))
