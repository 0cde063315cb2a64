"""Requests as header lists: what `h2` decoded in, a checked `Request` out (RFC 9113 sections 8.2 and 8.3).

A list that could be no message at all is `Malformed`, and ends its stream. What an HTTP/1 request would be answered
for, with 400 or another status, is answered here as well, so that both versions refuse the same things.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..head import AUTHORITY, body_length, split_target
from ..limits import HttpLimits
from ..request import BadRequest, Header, Request
from .faults import Malformed

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9113 section 8.2.1: a token in lower case
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\A[\t ]|[\t ]\Z")
_METHOD = re.compile(rb"[A-Z][A-Z-]*")
_IS_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_SPECIAL = frozenset((b"host", b"content-length", b"expect", b"te", b"cookie"))
# RFC 9113 section 8.2.2: these speak about a connection of HTTP/1.
_CONNECTION = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_OVERHEAD = 32  # bytes that a field counts beside its own (RFC 9113 section 6.5.2)

_PASS, _JUDGE, _DROP = range(3)
_KNOWN_NAMES = 1024
_names: dict[bytes, int] = {}


def _use(name: bytes) -> int:
    """Look at a field's name for the first time."""
    if not _NAME.fullmatch(name):
        raise Malformed("a field name that is empty, or has capitals or other characters which none may have")
    if name in _CONNECTION:
        raise Malformed(f"{name.decode()} belongs to connections of HTTP/1")
    # Dropped for what they pass for in the environment of CGI and WSGI programs, as from HTTP/1.
    use = _JUDGE if name in _SPECIAL else _DROP if b"_" in name or name == b"proxy" else _PASS
    if len(name) < 64:
        if len(_names) >= _KNOWN_NAMES:
            _names.clear()
        _names[name] = use
    return use


def check_trailers(fields: Iterable[Header], limits: HttpLimits) -> None:
    """Check the trailers of a request; no message has a place for them.

    Raises:
        Malformed: they could be no trailers.
        BadRequest: 431, there are too many.
    """
    count = 0
    for name, value in fields:
        count += 1
        if _names.get(name) is None:
            _use(name)
        if _BAD_VALUE.search(value):
            raise Malformed("a control character, or a space at an end, in a field's value")
    if count > limits.max_headers:
        raise BadRequest(431, f"more than {limits.max_headers} trailer fields")


def read_request(fields: Iterable[Header], ended: bool, limits: HttpLimits) -> Request:
    """Read a request's header list.

    Args:
        fields: (name, value), pseudo-header fields among them.
        ended: no body follows.
        limits: sizes that a request must keep.

    Returns:
        The request, its addresses not yet filled in; `upgrade` says that it asks for a WebSocket (RFC 8441).

    Raises:
        Malformed: it is no request.
        BadRequest: with the status and the reason that the client gets.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: list[Header] = []
    special: list[Header] = []
    size = count = 0
    for field in fields:
        name, value = field
        size += len(name) + len(value) + _OVERHEAD
        if _BAD_VALUE.search(value):
            raise Malformed("a control character, or a space at an end, in a field's value")
        if name[:1] == b":":
            if count or name in pseudo or name not in _PSEUDO:
                raise Malformed("a pseudo-header field that is unknown, there twice, or behind other fields")
            pseudo[name] = value
            continue
        count += 1
        use = _names.get(name)
        if use is None:
            use = _use(name)
        if use == _DROP:
            continue
        header = (name, value)
        if use:
            special.append(header)
            if name == b"cookie" and any(other == b"cookie" for other, _ in special[:-1]):
                continue
        headers.append(header)
    method, target, authority, upgrade = _pseudo(pseudo)
    expects_continue, length = _special(special, headers, authority, ended)
    if size > limits.max_head:
        raise BadRequest(431, f"the head is over {limits.max_head} bytes")
    if count > limits.max_headers:
        raise BadRequest(431, f"more than {limits.max_headers} header fields")
    host = next((value for name, value in headers if name == b"host"), None)
    if host is None:
        raise BadRequest(400, "neither :authority nor a Host header")
    if not AUTHORITY.fullmatch(host):
        raise BadRequest(400, "the host is not a host with an optional port")
    if method == "CONNECT" and not upgrade:
        raise BadRequest(501, "this server is no proxy: CONNECT is only supported for websocket")
    path, query = split_target(method, target, headers)
    body = 0 if ended else None if length is None else body_length(length, limits)
    return Request(method, target, path, query, headers, "2", body, True, expects_continue and not ended, upgrade)


def _pseudo(pseudo: dict[bytes, bytes]) -> tuple[str, bytes, bytes | None, bool]:
    """Judge the pseudo-header fields: method, target, authority, and whether a WebSocket is asked for."""
    method = pseudo.get(b":method")
    if method is None or not _IS_TOKEN.fullmatch(method):
        raise Malformed("no method, or one with characters which no method may have")
    authority = pseudo.get(b":authority")
    scheme, target, protocol = pseudo.get(b":scheme"), pseudo.get(b":path"), pseudo.get(b":protocol")
    if method == b"CONNECT" and protocol is None:
        if scheme is not None or target is not None or not authority:
            raise Malformed("CONNECT has :authority, and neither :scheme nor :path")
        return "CONNECT", b"/", authority, False
    if scheme is None or not _SCHEME.fullmatch(scheme) or not target:
        raise Malformed("no :scheme or no :path")
    if protocol is not None:
        if method != b"CONNECT":
            raise Malformed(":protocol belongs to CONNECT only")
        if protocol.lower() != b"websocket":
            raise BadRequest(501, "the only protocol that CONNECT is supported for is websocket")
    elif target[0] != 0x2F and target != b"*":
        raise Malformed(":path is not a path")
    if not _METHOD.fullmatch(method):
        raise BadRequest(501, f"the method {method.decode()} is not one that this server knows")
    return method.decode(), target, authority, protocol is not None


def _special(
    special: list[Header], headers: list[Header], authority: bytes | None, ended: bool
) -> tuple[bool, bytes | None]:
    """Judge what fields mean together; put the host in front, and cookies into one. Find the length, too."""
    host: bytes | None = None
    length: bytes | None = None
    expects_continue = False
    cookies: list[bytes] = []
    for name, value in special:
        if name == b"cookie":
            cookies.append(value)
        elif name == b"host":
            if host is not None:
                raise Malformed("more than one Host header")
            host = value
        elif name == b"content-length":
            if length is not None or not value.isdigit() or (ended and value.strip(b"0")):
                raise Malformed("Content-Length twice, not a number, or not the length of the content")
            length = value
        elif name == b"te":
            if value.lower() != b"trailers":
                raise Malformed("te may only say trailers")
        elif value.lower() != b"100-continue":
            raise BadRequest(417, "the only expectation that is met here is 100-continue")
        else:
            expects_continue = True
    if authority is not None:
        if host is not None and host.lower() != authority.lower():
            raise Malformed("the Host header is not :authority")
        headers[:] = [(b"host", authority), *(header for header in headers if header[0] != b"host")]
    if len(cookies) > 1:
        # Cut into crumbs for compression's sake (RFC 9113 section 8.2.3).
        joined = (b"cookie", b"; ".join(cookies))
        headers[:] = [joined if header[0] == b"cookie" else header for header in headers]
    return expects_continue, length
