"""The PROXY protocol: what a proxy says of its client before anything else, versions 1 and 2, without any I/O.

The specification is https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. A header is read whole or not at all:
one that is wrong in any way says nothing that could be believed, and its connection has to be cut (section 2).
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

Address = IPv4Address | IPv6Address | UNIXAddress

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2; nothing that begins so is a request of any protocol of ours
_LONGEST = 107  # bytes of a header of version 1, its CRLF included
_FIXED = 16  # bytes of one of version 2 before its addresses
_START = b"PROXY "
_PORT = r"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rf"TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}")
_LOCAL, _PROXY = 0x20, 0x21  # version and command in one byte
_STREAM = 1
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_SIZES = (0, 12, 36, 216)  # bytes of the addresses of each family


class MalformedHeader(ValueError):
    """What should have been a header is none; says why."""


class ProxyHeader(NamedTuple):
    """A header.

    Attributes:
        source: The client; None: whoever connected, the proxy itself or somebody it knows nothing of.
        destination: Whom it connected to; None where `source` is.
        size: Bytes of the header.
    """

    source: Address | None
    destination: Address | None
    size: int


def read_header(data: bytes | bytearray) -> ProxyHeader | None:
    """Read the header that a connection begins with.

    Args:
        data: What was read of the connection so far.

    Returns:
        The header; None: the rest of it has yet to come.

    Raises:
        MalformedHeader: There is none, or it breaks the specification.
    """
    if data.startswith(_START[: len(data)]):
        return _read_text(data)
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_binary(data)
    raise MalformedHeader("the connection does not begin with a header of the PROXY protocol")


def _read_text(data: bytes | bytearray) -> ProxyHeader | None:
    """Read version 1 (section 2.1): a line for people."""
    end = data.find(b"\r\n", 0, _LONGEST)
    if end < 0:
        if len(data) >= _LONGEST:
            raise MalformedHeader(f"no line ends within {_LONGEST} bytes")
        return None
    try:
        line = data[len(_START) : end].decode("ascii")
    except UnicodeDecodeError:
        raise MalformedHeader("the line is not ASCII") from None
    size = end + 2
    if line == "UNKNOWN" or line.startswith("UNKNOWN "):
        return ProxyHeader(None, None, size)  # whatever follows is to be ignored
    found = _LINE.fullmatch(line)
    if found is None:
        raise MalformedHeader("the line is not TCP4 or TCP6, two addresses and two ports with one space between")
    version, *hosts, source_port, destination_port = found.groups()
    ports = int(source_port), int(destination_port)
    family, kind = (socket.AF_INET, IPv4Address) if version == "4" else (socket.AF_INET6, IPv6Address)
    try:
        for host in hosts:
            socket.inet_pton(family, host)
    except OSError:
        raise MalformedHeader(f"an address is none of IPv{version}") from None
    if max(ports) > 65535:
        raise MalformedHeader("a port is above 65535")
    return ProxyHeader(kind("TCP", hosts[0], ports[0]), kind("TCP", hosts[1], ports[1]), size)


def _read_binary(data: bytes | bytearray) -> ProxyHeader | None:
    """Read version 2 (section 2.2); what follows the addresses, TLVs, is passed over."""
    if len(data) < _FIXED:
        return None
    command = data[12]
    family, transport = data[13] >> 4, data[13] & 15
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeader(f"version and command 0x{command:02x} are neither LOCAL nor PROXY of version 2")
    if family > _UNIX or transport > 2:
        raise MalformedHeader(f"family and protocol 0x{data[13]:02x} are unknown")
    length = int.from_bytes(data[14:_FIXED], "big")
    known = command == _PROXY and family != _UNSPECIFIED and transport == _STREAM
    if known and length < _SIZES[family]:
        raise MalformedHeader("it is too short for its addresses")
    size = _FIXED + length
    if len(data) < size:
        return None
    if not known:
        return ProxyHeader(None, None, size)
    part = bytes(data[_FIXED : _FIXED + _SIZES[family]])
    if family == _UNIX:
        return ProxyHeader(_unix(part[:108]), _unix(part[108:]), size)
    half = 4 if family == _INET else 16
    (kind, name) = (IPv4Address, socket.AF_INET) if family == _INET else (IPv6Address, socket.AF_INET6)
    source, destination = (socket.inet_ntop(name, each) for each in (part[:half], part[half : 2 * half]))
    source_port, destination_port = (int.from_bytes(part[at : at + 2], "big") for at in (2 * half, 2 * half + 2))
    return ProxyHeader(kind("TCP", source, source_port), kind("TCP", destination, destination_port), size)


def _unix(path: bytes) -> UNIXAddress:
    return UNIXAddress(path.rstrip(b"\0") or None)
