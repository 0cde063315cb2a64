"""Who a request is from, as trusted proxies tell: X-Forwarded-For and -Proto, or Forwarded (RFC 7239).

Each proxy adds behind what it was sent whom that came from, and whatever a client sends stands before. So the list is
read from its end: what our peer added is believed if it is a trusted proxy; if that names a trusted proxy in turn, what
stands before is what that one added, and so on up to the first address that is none: the client.

A proxy that adds to one of the two kinds passes on the other as its client wrote it. Only one can be believed, and that
is X-Forwarded-*, which nearly all proxies write; Forwarded counts where there is none of it. X-Forwarded-Host is left
alone, for many proxies pass it on from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..networks import Networks, read_address
from .request import Request

_HOPS = 32  # entries that are looked at; each proxy adds one
_LONGEST = 256  # bytes of an address with its port, which may be a name: what is longer is not looked at
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_PORT = rb"(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?"
_NODE = re.compile(rb"(?:\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|([0-9.]+))" + _PORT)
_BARE = re.compile(rb"[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")  # IPv6 as X-Forwarded-For has it
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rb"[ \t]*(%b)=(?:(%b)|\"((?:[^\"\\]|\\.)*)\")[ \t]*(?:;|\Z)" % (_TOKEN, _TOKEN))

Client = list[str | int]


def believe(request: Request, proxies: Networks) -> None:
    """Take the word of a trusted proxy on a request's client and scheme, as far as it makes sense.

    Args:
        request: a request that came from one of them; its addresses are filled in.
        proxies: who is trusted.
    """
    addresses: list[bytes] = []
    schemes: list[bytes] = []
    elements: list[bytes] = []
    for name, value in request.headers:
        if name == b"x-forwarded-for":
            addresses.append(value)
        elif name == b"x-forwarded-proto":
            schemes.append(value)
        elif name == b"forwarded":
            elements.append(value)
    hops: Iterable[tuple[Client | None, str | None]]
    if addresses or schemes:
        hops = ((_read_node(entry), None) for entry in _entries(addresses))
        scheme = next((_SCHEMES.get(entry.lower()) for entry in _entries(schemes)), None)
    elif elements:
        hops, scheme = (_read_element(entry) for entry in _quoted(_entries(elements))), None
    else:
        return
    for client, hop_scheme in hops:
        scheme = hop_scheme or scheme
        if client is None:
            break  # malformed, or hidden by whom we trust (RFC 7239 section 6.3): what stands before is anybody's
        request.client = client
        if str(client[0]) not in proxies:
            break
    if scheme is not None:
        request.scheme = scheme


def _entries(values: Iterable[bytes]) -> Iterator[bytes]:
    """Return the last entries of a list (RFC 9110 section 5.6.1) that may stand in several headers, the last first."""
    pieces = b",".join(values).rsplit(b",", _HOPS)
    if len(pieces) > _HOPS:
        del pieces[0]  # more of them than anybody wrote in good faith
    return (piece.strip(b" \t") for piece in reversed(pieces) if piece.strip(b" \t"))


def _quoted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put together again what was split at a comma within quotes."""
    element = b""
    for piece in pieces:
        element = piece + b"," + element if element else piece
        if element.count(b'"') % 2 == 0:
            yield element
            element = b""
    if element:
        yield element


def _read_node(text: bytes) -> Client | None:
    """Read an address with or without a port, which is 0 then; None: it is none, or hidden."""
    if len(text) > _LONGEST:
        return None
    found = _NODE.fullmatch(text)
    if found is not None:
        host, port = found[1] or found[2], int(found[3] or b"0")
    elif _BARE.fullmatch(text):
        host, port = text, 0
    else:
        return None
    address = read_address(host.decode("ascii"))
    return None if address is None or port > 65535 else [str(address), port]


def _read_element(text: bytes) -> tuple[Client | None, str | None]:
    """Read what one proxy says of the request it was sent: the client's address, and the scheme."""
    pairs: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None or found[1].lower() in pairs:
            return None, None
        pairs[found[1].lower()] = found[2] or re.sub(rb"\\(.)", rb"\1", found[3] or b"")
        at = found.end()
    return _read_node(pairs.get(b"for", b"")), _SCHEMES.get(pairs.get(b"proto", b"").lower())
