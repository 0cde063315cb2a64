"""Static files, for development: answered here, without the bus, in pieces at the client's pace.

Conditions and ranges are those of RFC 9110, sections 13 and 14. In production a web server or a store in front of ours
does it better.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ..http_core import Request, ResponseStream, plain
from .files import File
from .ranges import Range, ranges_of

if TYPE_CHECKING:
    from ..timers import Call
    from .server import HttpServer

_PIECE = 65536  # bytes read at once
_METHODS = ("GET", "HEAD")
_Header = tuple[bytes, bytes]


class StaticExchange:
    """A request for a file.

    Args:
        server: whose request this is.
        request: the request.
        stream: what to answer on.
    """

    __slots__ = ("_answered", "_before", "_descriptor", "_parts", "_request", "_server", "_stream", "_timer")

    def __init__(self, server: HttpServer, request: Request, stream: ResponseStream) -> None:
        self._server = server
        self._request = request
        self._stream = stream
        self._descriptor: int | None = None
        self._parts: deque[bytes | Range] = deque()  # what is still to be sent
        self._answered = False
        self._timer: Call | None = None
        self._before: object = None

    # What the connection calls

    def body(self, data: bytes) -> None:
        """Drop a body, and wait for no more of it: nobody asked for one."""
        self.end()

    def end(self) -> None:
        """Answer, once."""
        if self._answered:
            return
        self._answered = True
        request = self._request
        if request.method not in _METHODS:
            status, headers, content = plain(405, "only GET and HEAD are possible here")
            self._stream.start(status, [*headers, (b"allow", b"GET, HEAD")], content)
            return
        found = self._server.folders.find(request.path)
        if found is None:
            self._stream.start(*plain(404, "there is no such file"))
        elif isinstance(found, str):
            query = request.query_string
            location = found.encode() + (b"?" + query if query else b"")
            self._stream.start(308, [(b"location", location)])
        else:
            self._descriptor = found.descriptor
            self._answer(found)

    def lost(self) -> None:
        """Read no more: the client is gone, or the response was cut."""
        self._close()

    # The answer

    def _answer(self, file: File) -> None:
        headers: list[_Header] = [(b"etag", file.etag), (b"last-modified", file.last_modified)]
        headers += [(b"cache-control", b"no-cache"), (b"accept-ranges", b"bytes")]
        status = self._judge(file)
        if status:
            self._close()
            if status == 412:
                self._stream.start(*plain(412, "the file is another by now"))
            else:
                self._stream.start(status, headers)
            return
        ranges = self._ranges(file)
        if ranges is None:
            self._send(200, headers, file, [(0, file.size)])
        elif not ranges:
            self._close()
            status, more, content = plain(416, f"the file has {file.size} bytes")
            self._stream.start(status, [*more, (b"content-range", b"bytes */%d" % file.size)], content)
        elif len(ranges) == 1:
            self._send(206, [*headers, (b"content-range", _content_range(ranges[0], file))], file, ranges)
        else:
            self._send_several(headers, file, ranges)

    def _judge(self, file: File) -> int:
        """Look at the request's conditions, in the order of RFC 9110 section 13.2.2; 0: there is nothing against it."""
        header = self._request.header
        match, unmodified = header(b"if-match"), header(b"if-unmodified-since")
        if match is not None:
            if not _matches(match, file, strongly=True):
                return 412
        elif unmodified is not None and (since := _seconds(unmodified)) is not None and file.changed > since:
            return 412
        none, modified = header(b"if-none-match"), header(b"if-modified-since")
        if none is not None:
            return 304 if _matches(none, file) else 0
        if modified is not None and (since := _seconds(modified)) is not None and file.changed <= since:
            return 304
        return 0

    def _ranges(self, file: File) -> list[Range] | None:
        """Tell which parts are asked for; None: all of it."""
        value = self._request.header(b"range")
        if value is None or self._request.method != "GET":  # RFC 9110 section 14.2
            return None
        condition = self._request.header(b"if-range")
        if condition is not None:  # only what is surely the same may be put together: section 13.1.5
            same = condition == file.etag or condition == file.last_modified
            if not same or not file.settled:
                return None
        return ranges_of(value, file.size)

    def _send_several(self, headers: list[_Header], file: File, ranges: Sequence[Range]) -> None:
        """Send parts of multipart/byteranges (RFC 9110 section 14.6)."""
        boundary = secrets.token_hex(16).encode()
        parts: list[bytes | Range] = []
        for number, each in enumerate(ranges):
            lines = (
                b"" if number == 0 else b"\r\n",
                b"--%b\r\ncontent-type: %b\r\n" % (boundary, file.content_type),
                b"content-range: %b\r\n\r\n" % _content_range(each, file),
            )
            parts += [b"".join(lines), each]
        parts.append(b"\r\n--%b--\r\n" % boundary)
        self._send(206, headers, file, parts, b"multipart/byteranges; boundary=" + boundary)

    def _send(
        self,
        status: int,
        headers: list[_Header],
        file: File,
        parts: Sequence[bytes | Range],
        content_type: bytes | None = None,
    ) -> None:
        length = sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)
        headers += [
            (b"content-type", content_type or file.content_type),
            (b"content-length", b"%d" % length),
            (b"x-content-type-options", b"nosniff"),
        ]
        if self._request.method == "HEAD" or not length:
            self._close()
            self._stream.start(status, headers)
            return
        self._parts.extend(parts)
        self._stream.start(status, headers, b"", True)
        self._timer = self._server.timers.call_later(self._server.settings.idle_timeout, self._look)
        self._go_on()

    def _go_on(self) -> None:
        """Send a piece; the next one when the client has room for it, in another turn of the loop."""
        if self._descriptor is None:
            return
        piece = self._read(self._descriptor)
        if piece is None:
            self._close()
            self._stream.cut()  # what was promised cannot be kept: the file became shorter, or cannot be read
            return
        more = bool(self._parts)
        if not more:
            self._close()
        if not self._stream.write(piece, more):
            self._stream.when_taken(self._go_on)

    def _read(self, descriptor: int) -> bytes | None:
        part = self._parts.popleft()
        if isinstance(part, bytes):
            return part
        begin, end = part
        try:
            piece = os.pread(descriptor, min(_PIECE, end - begin), begin)
        except OSError:
            return None
        begin += len(piece)
        if begin < end:
            self._parts.appendleft((begin, end))
        return piece or None

    def _look(self) -> None:
        """Cut a client that has taken nothing since the last look."""
        assert self._timer is not None
        now = (self._parts[0], self._stream.left)
        if now == self._before:
            self._server.stats["slow_clients_cut"] += 1
            self._close()
            self._stream.cut()
            return
        self._before = now
        self._timer.postpone(self._server.settings.idle_timeout)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _content_range(each: Range, file: File) -> bytes:
    return b"bytes %d-%d/%d" % (each[0], each[1] - 1, file.size)


def _matches(value: bytes, file: File, *, strongly: bool = False) -> bool:
    """Compare entity tags (RFC 9110 section 8.8.3.2)."""
    if value.strip() == b"*":
        return True
    if strongly and not file.settled:
        return False
    tags = [tag.strip(b" \t") for tag in value.split(b",")]
    if strongly:
        return file.etag in tags
    return file.etag.removeprefix(b"W/") in [tag.removeprefix(b"W/") for tag in tags]


def _seconds(value: bytes) -> float | None:
    """Read a date; one that is none is ignored (RFC 9110 section 13.1.3)."""
    try:
        return parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
