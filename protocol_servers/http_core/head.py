"""Request heads: bytes up to and including the empty line in, a checked `Request` out (RFC 9112 sections 2 to 6).

httptools (llhttp) does the splitting, in C and one pass. It forgives a few things that a strict server must not:
runs of spaces in the request line, RTSP and HTTP/0.9, `Host` in any number and shape, chunked bodies on HTTP/1.0.
Those are checked here on what it found and on the raw bytes, at the cost of a few C calls a head. Only a head that
failed is looked at line by line, to tell the client what was wrong with it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from .limits import HttpLimits
from .request import BadRequest, Header, Request

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2
_IS_TOKEN = re.compile(_TOKEN)
# Whatever may not stand in a head or in trailers; TAB may. A CR that ends the text so far may still get its LF.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?![\n]|\Z)")
# RFC 9110 section 7.2 without the generosity of RFC 3986: what names hosts in practice, IPv6 in brackets.
AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
# Printable ASCII but "#": browsers do send some of `"<>\^{|}` as they are, a fragment never.
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)([^?]*)(\?.*)?", re.IGNORECASE)
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PREFACE = b"PRI * HTTP/2.0"
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_SPECIAL = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"))
_VERSIONS = {b" HTTP/1.1": "1.1", b" HTTP/1.0": "1.0"}

# The request line that nearly all requests have: origin-form, and a method whose requests differ in nothing here.
_PLAIN_LINE = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE) ((/[\x21\x22\x24-\x3e\x40-\x7e]*)(?:\?([\x21\x22\x24-\x7e]*))?) HTTP/1\.1"
)
_HARMLESS = frozenset((b"host", b"connection"))  # of `_SPECIAL`: they mean the same with every plain line
_KNOWN_HEADS = 256
_REST = 16 * _KNOWN_HEADS
_LONGEST_KNOWN = 2048  # bytes of header lines; with `_MOST_LINES` this bounds what may be remembered to some 2 MB
_MOST_LINES = 32

# Header names as clients write them, with their lower case and what is to be done with them. Clients use few.
_PASS, _JUDGE, _DROP = range(3)
_KNOWN_NAMES = 1024
_names: dict[bytes, tuple[bytes, int]] = {}


def _name(name: bytes) -> tuple[bytes, int]:
    """Look at a header's name for the first time."""
    lower = name.lower()
    if lower in _SPECIAL:
        known = (lower, _JUDGE)
    elif b"_" in lower or lower == b"proxy":
        # In the environment of CGI and WSGI programs the one passes for a hyphen, the other for HTTP_PROXY.
        known = (lower, _DROP)
    else:
        known = (lower, _PASS)
    if len(name) < 64:
        if len(_names) >= _KNOWN_NAMES:
            _names.clear()  # somebody invents names; those in use are soon known again
        _names[name] = known
    return known


class NotHttp(BadRequest):
    """A first line in which nothing is HTTP's, neither target nor version: whoever sends it speaks something else."""


class Http2Preface(BadRequest):
    """A head that no HTTP/1 request has: the beginning of HTTP/2 (RFC 9113 section 3.4)."""

    def __init__(self) -> None:
        super().__init__(505, "HTTP/2 begins with the connection, not within it")


def find_control(text: bytes, start: int = 0) -> BadRequest | None:
    """Look for bytes that no head may hold: control characters, CR or LF on their own (RFC 9112 section 2.2).

    Args:
        text: a head or a part of one.
        start: offset where looking begins.

    Returns:
        The refusal for the first such byte, or None.
    """
    found = _CONTROL.search(text, start)
    if found is None:
        return None
    byte = found[0]
    if byte == b"\n":
        return BadRequest(400, "a line feed without a carriage return before it")
    if byte == b"\r":
        return BadRequest(400, "a carriage return without a line feed after it")
    return BadRequest(400, f"control character 0x{byte[0]:02x} in the head")


def parse_field_lines(text: bytes) -> list[Header]:
    """Split header or trailer lines, strictly (RFC 9112 section 5).

    Args:
        text: whole lines, each with its CRLF.

    Returns:
        (lower-case name, value) in order.

    Raises:
        BadRequest: 400 with what is wrong with the first wrong line.
    """
    headers = []
    for line in text.split(b"\r\n")[:-1]:
        if line[:1] in (b" ", b"\t"):
            raise BadRequest(400, "a header line that begins with a space (obsolete line folding)")
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadRequest(400, "a header line without a colon")
        if not _IS_TOKEN.fullmatch(name):
            if _IS_TOKEN.fullmatch(name.rstrip(b" \t")):
                raise BadRequest(400, "a space between a header's name and its colon")
            raise BadRequest(400, "a header name that is empty or has characters which no name may have")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


class HeadParser:
    """Reads heads, one after the other, for any number of connections.

    A head is parsed in one call without waiting, so one parser serves a whole server and an idle connection holds none.

    A client sends the same header lines with each of its requests, or nearly so. What the lines of a request without
    a body came to is remembered by their bytes, so that the next time they cost one look. Where few come again, as
    behind a proxy that numbers requests, that costs more than it saves, and is left alone for a while.

    Args:
        limits: sizes that a request must keep.
    """

    __slots__ = ("_dropped", "_headers", "_hits", "_known", "_limits", "_parser", "_rest", "_special", "_target")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._known: dict[bytes, list[Header]] = {}
        self._hits = 0  # since nothing was known
        self._rest = 0  # heads until lines are remembered again
        self._parser = HttpRequestParser(self)
        self._headers: list[Header] = []
        self._special: list[Header] = []
        self._target = b""
        self._dropped = 0

    def on_url(self, target: bytes) -> None:
        """Take the request target (httptools calls this)."""
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line (httptools calls this)."""
        name, use = _names.get(name) or _name(name)
        header = (name, value.rstrip(b" \t"))
        if use:
            if use == _DROP:
                self._dropped += 1
                return
            self._special.append(header)
        self._headers.append(header)

    def recall(self, head: bytes) -> Request | None:
        """Read one head whose header lines are remembered.

        Args:
            head: what may be a head from its first byte to its last, not longer than a request line may be.

        Returns:
            What `parse` would, or None where `parse` has to look.
        """
        line = _PLAIN_LINE.match(head) if self._known else None
        if line is None:
            return None
        headers = self._known.get(head[line.end() :])
        if headers is None:
            return None
        self._hits += 1
        method, target, raw, query = line.groups(b"")
        if 0x25 in raw:  # a percent sign
            return None
        return Request(method.decode(), target, raw.decode(), query, headers, "1.1", 0, True)

    def parse(self, head: bytes) -> Request:
        """Read one head.

        Args:
            head: from the first byte of the request line up to and including the empty line.

        Returns:
            The request, its addresses not yet filled in. Its headers may be those of other requests as well: nobody
            alters them.

        Raises:
            BadRequest: with the status and the reason that the client gets.
        """
        headers = self._headers = []
        special = self._special = []
        self._dropped = 0
        self._target = b""
        parser = self._parser
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            self._parser = HttpRequestParser(self)
        except HttpParserError:
            self._parser = HttpRequestParser(self)
            raise self._diagnose(head) from None
        method = parser.get_method()
        target = self._target
        line_end = head.find(b"\r\n")
        version = _VERSIONS.get(head[line_end - 9 : line_end])
        lines = len(headers) + self._dropped + 2
        if (
            version is None
            or len(method) + 1 + len(target) + 9 != line_end  # else there is more than one space somewhere
            or head.count(b"\n") != lines  # else something was taken for a line, or folded into one
            or head.count(b"\r") != lines
            or lines - 2 > self._limits.max_headers
            or method == b"CONNECT"
        ):
            self._parser = HttpRequestParser(self)
            raise self._diagnose(head)
        try:
            request = _request(method.decode(), target, version, headers, special, self._limits)
        except BadRequest:
            self._parser = HttpRequestParser(self)
            raise
        if request.length != 0 or not request.keep_alive:
            self._parser = HttpRequestParser(self)  # the old one waits for a body now, or for nothing more at all
        elif self._rest:
            self._rest -= 1
        elif len(head) - line_end <= _LONGEST_KNOWN and lines <= _MOST_LINES and version == "1.1" and target[0] == 0x2F:
            self._remember(head[line_end:])
        return request

    def _remember(self, lines: bytes) -> None:
        """Remember the header lines of the request that was just read; it has no body, and keeps its connection."""
        known = self._known
        if lines in known or not _HARMLESS.issuperset([name for name, _ in self._special]):
            return
        if len(known) >= _KNOWN_HEADS:
            known.clear()  # as with names
            hits, self._hits = self._hits, 0
            if hits < _KNOWN_HEADS:
                self._rest = _REST
                return
        known[lines] = self._headers

    def _diagnose(self, head: bytes) -> BadRequest:
        """Tell what is wrong with a head that did not pass, going through it once more."""
        try:
            fault = find_control(head)
            if fault is not None:
                return fault
            line, _, rest = head.partition(b"\r\n")
            method, target, version = _split_request_line(line)
            headers = parse_field_lines(rest[:-2])
            if len(headers) > self._limits.max_headers:
                return BadRequest(431, f"more than {self._limits.max_headers} header lines")
            special = [header for header in headers if header[0] in _SPECIAL]
            _request(method, target, version, headers, special, self._limits)
        except BadRequest as fault:
            return fault
        return BadRequest(501, f"the method {method} is not one that this server knows")


def _split_request_line(line: bytes) -> tuple[str, bytes, str]:
    """Check a request line: method, target and version with one space between (RFC 9112 section 3)."""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadRequest(400, "the request line is not a method, a target and a version with one space between")
    method, target, version = parts
    if not _IS_TOKEN.fullmatch(method):
        raise BadRequest(400, "the method has characters which no method may have")
    number = _VERSIONS.get(b" " + version)
    if number is None:
        if line == _PREFACE:
            raise Http2Preface
        if _VERSION.fullmatch(version):
            raise BadRequest(505, f"{version.decode()} is not spoken here, only HTTP/1.0 and HTTP/1.1")
        kind = BadRequest if version.startswith(b"HTTP/") or target[:1] in (b"/", b"*") or b":" in target else NotHttp
        raise kind(400, "the request line does not end in HTTP/1.0 or HTTP/1.1")
    if method == b"CONNECT":
        raise BadRequest(501, "this server is no proxy: CONNECT is not supported")
    return method.decode(), target, number


def _request(
    method: str, target: bytes, version: str, headers: list[Header], special: list[Header], limits: HttpLimits
) -> Request:
    """Judge what the lines mean together: host, framing of the body, connection (RFC 9112 sections 3.2, 6 and 9)."""
    host: bytes | None = None
    length: bytes | None = None
    coding: bytes | None = None
    upgrade = False
    expects_continue = False
    options = b""
    for name, value in special:
        if name == b"host":
            if host is not None:
                raise BadRequest(400, "more than one Host header")
            host = value
        elif name == b"connection":
            options = options + b"," + value if options else value
        elif name == b"content-length":
            if length is not None:
                raise BadRequest(400, "more than one Content-Length header")
            length = value
        elif name == b"transfer-encoding":
            coding = value if coding is None else coding + b", " + value
        elif name == b"upgrade":
            upgrade = upgrade or b"websocket" in _tokens(value)
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise BadRequest(417, "the only expectation that is met here is 100-continue")
            expects_continue = True
    new = version == "1.1"
    if host is None:
        if new:
            raise BadRequest(400, "no Host header")
    elif not AUTHORITY.fullmatch(host):
        raise BadRequest(400, "the Host header is not a host with an optional port")
    size: int | None = 0
    if coding is not None:
        if not new:
            raise BadRequest(400, "Transfer-Encoding in an HTTP/1.0 request")
        if length is not None:
            raise BadRequest(400, "Transfer-Encoding and Content-Length in one request")
        codings = _tokens(coding)
        if b"chunked" in codings[:-1]:
            # Where such a body ends is anybody's guess (RFC 9112 section 6.3).
            raise BadRequest(400, "chunked is not the last transfer coding, or is there twice")
        if codings != [b"chunked"]:
            raise BadRequest(501, "the only transfer coding taken here is chunked")
        size = None
    elif length is not None:
        if not length.isdigit():
            raise BadRequest(400, "Content-Length is not a number")
        size = body_length(length, limits)
    path, query = split_target(method, target, headers)
    keep_alive = new
    if options:
        wishes = _tokens(options)
        keep_alive = b"close" not in wishes and (new or b"keep-alive" in wishes)
        upgrade = upgrade and new and b"upgrade" in wishes and method == "GET" and size == 0
    else:
        upgrade = False
    return Request(
        method, target, path, query, headers, version, size, keep_alive, expects_continue and new and size != 0, upgrade
    )


def body_length(digits: bytes, limits: HttpLimits) -> int:
    """Read a Content-Length that is known to be digits.

    Raises:
        BadRequest: 413 over `max_body`.
    """
    # A number too long for any limit is not worth converting.
    size = int(digits) if len(digits) <= 18 else limits.max_body + 1
    if size > limits.max_body:
        raise BadRequest(413, f"the body is over {limits.max_body} bytes")
    return size


def _tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated list of case-insensitive tokens (RFC 9110 section 5.6.1)."""
    return [token.strip(b" \t") for token in value.lower().split(b",")]


def split_target(method: str, target: bytes, headers: list[Header]) -> tuple[str, bytes]:
    """Find path and query of a target in origin-, absolute- or asterisk-form (RFC 9112 section 3.2).

    Args:
        method: the request's method.
        target: its target.
        headers: its headers; the host of an absolute target takes the place of theirs.

    Returns:
        The path, percent- and UTF-8-decoded, and the raw query.

    Raises:
        BadRequest: 400 for anything else.
    """
    if not _TARGET.fullmatch(target):
        raise BadRequest(400, "the target has a fragment, or characters that must be percent-encoded")
    if target[0] == 0x2F:
        raw, _, query = target.partition(b"?")
    elif target == b"*":
        if method != "OPTIONS":
            raise BadRequest(400, "the target * belongs to OPTIONS only")
        return "*", b""
    else:
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise BadRequest(400, "the target is neither a path nor an http address")
        authority, raw, query = absolute[1], absolute[2] or b"/", (absolute[3] or b"?")[1:]
        if not AUTHORITY.fullmatch(authority):
            raise BadRequest(400, "the target's host is not a host with an optional port")
        # The target's host goes before the header's (RFC 9112 section 3.2.2).
        headers[:] = [(b"host", authority), *(header for header in headers if header[0] != b"host")]
    if b"%" not in raw:
        return raw.decode("ascii"), query
    if _BAD_PERCENT.search(raw):
        raise BadRequest(400, "a % in the path that no two hexadecimal digits follow")
    raw = unquote_to_bytes(raw)
    if b"\0" in raw:
        raise BadRequest(400, "a NUL in the path")
    try:
        return raw.decode("utf-8"), query
    except UnicodeDecodeError:
        raise BadRequest(400, "the path is not UTF-8 when percent-decoded") from None
