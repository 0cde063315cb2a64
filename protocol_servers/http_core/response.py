"""Responses: status, headers and content in, the bytes of RFC 9112 out.

A response that is known whole is built as one `bytes`, since that is what nearly all of them are. Whoever answers
may be wrong about anything, so values are checked here once, when they become bytes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from .request import Header

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
RETRY_AFTER = b"1"  # seconds; whatever is full, away or stopping mostly is not for long

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
WITHOUT_CONTENT = frozenset((204, 205, 304))
_IS_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# What a header's name means to us; the rest is only passed on.
PLAIN, LENGTH, DATE, _CONNECTION, _UPGRADE, _HOP = range(6)
_MEANINGS = {
    b"content-length": LENGTH,
    b"date": DATE,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    # RFC 9110 section 7.6.1: these speak about one connection, and the connection is ours.
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"te": _HOP,
    b"trailer": _HOP,
    b"transfer-encoding": _HOP,
}
_KNOWN_NAMES = 1024  # applications use few; were one to invent them, all would be forgotten and learned again
_names: dict[bytes, int] = {}


class BadResponse(ValueError):
    """What should have been a response, or a part of one, is none; nothing was sent of it."""


def meaning_of(name: Any) -> int:
    """Look at a header's name for the first time."""
    if not isinstance(name, bytes) or not _IS_TOKEN.fullmatch(name):
        raise BadResponse(f"a header's name must be a token in bytes, not {name!r:.40}")
    meaning = _MEANINGS.get(name.lower(), PLAIN)
    if len(_names) >= _KNOWN_NAMES:
        _names.clear()
    _names[name] = meaning
    return meaning


def check_start(status: Any, content: Any) -> None:
    """Check what a response begins with.

    Raises:
        BadResponse: it is no status from 200 to 599, or no bytes.
    """
    if type(status) is not int or not 200 <= status <= 599:
        raise BadResponse(f"status must be a number from 200 to 599, not {status!r:.40}")
    if type(content) is not bytes:
        raise BadResponse(f"content must be bytes, not {type(content).__name__}")


def checked_length(before: bytes | None, value: Any) -> bytes:
    """Check a content-length.

    Args:
        before: one that came before it.
        value: the header's value.

    Raises:
        BadResponse: there was one, or this one is no number.
    """
    if before is not None:
        raise BadResponse("more than one content-length")
    if type(value) is not bytes or not value.isdigit() or len(value) > 18:
        raise BadResponse(f"content-length must be a number, not {value!r:.40}")
    return value


class DateHeader:
    """The Date header, made once a second (RFC 9110 section 6.6.1).

    Args:
        clock: Unix time in seconds.
    """

    __slots__ = ("_clock", "_line", "_second")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second = -2
        self._line = b""

    def __call__(self) -> bytes:
        """Return the header line with its CRLF."""
        now = self._clock()
        if not 0 <= now - self._second < 1:
            self._second = int(now)
            self._line = f"date: {formatdate(self._second, usegmt=True)}\r\n".encode()
        return self._line

    @property
    def field(self) -> Header:
        """The header as a pair."""
        return b"date", self()[6:-2]


class ResponseWriter:
    """Writes the response to one request.

    Args:
        head_only: the request was HEAD: headers as for GET, no content.
        new: the client speaks HTTP/1.1; older ones know no chunks.
        keep_alive: the connection may stay open afterwards.
        date: the Date header of the moment.

    Attributes:
        keep_alive: whether the connection stays open afterwards; may be set to False before `start`.
        status: the status once `start` succeeded, else 0.
        size: bytes of content written so far.
        ended: nothing more may be written.
        broken: the content was not as long as `content-length` had promised; the connection must be closed.
    """

    __slots__ = ("_chunked", "_date", "_left", "_new", "_silent", "broken", "ended", "keep_alive", "size", "status")

    def __init__(self, head_only: bool, new: bool, keep_alive: bool, date: Callable[[], bytes]) -> None:
        self._silent = head_only
        self._new = new
        self._date = date
        self._left: int | None = None  # bytes that content-length still promises
        self._chunked = False
        self.keep_alive = keep_alive
        self.status = 0
        self.size = 0
        self.ended = False
        self.broken = False

    def start(self, status: Any, headers: Any = (), content: Any = b"", more: bool = False) -> bytes:
        """Write the head and the first content.

        Args:
            status: 200 to 599.
            headers: pairs of bytes; those about the connection are ours and left out, but for `connection: close` and
                the `upgrade` of a 426.
            content: bytes.
            more: whether further content follows, through `write`.

        Returns:
            What to send.

        Raises:
            BadResponse: an argument is not as said; nothing is changed then.
        """
        check_start(status, content)
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        length, dated, keep_alive = self._headers(status, headers, lines)
        if not dated:
            lines.append(self._date())
        silent = self._silent or status in WITHOUT_CONTENT
        whole = not (more or silent) and (length is None or length == len(content))  # as nearly all are
        chunked = False
        if whole:
            length = len(content)
        else:
            length = self._length(status, length, content, more)
        if length is not None:
            lines.append(b"content-length: %d\r\n" % length)
        elif silent:
            pass
        elif self._new:
            lines.append(b"transfer-encoding: chunked\r\n")
            chunked = True
        else:
            keep_alive = False
        if not keep_alive:
            lines.append(b"connection: close\r\n")
        elif not self._new:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self.status = status
        self.keep_alive = keep_alive
        if whole:
            lines.append(content)
            self.size = len(content)
            self.ended = True
            return b"".join(lines)
        head = b"".join(lines)
        self._silent = silent
        self._left = length
        self._chunked = chunked
        if more or content:
            return head + self._frame(content, more)
        self.ended = True
        self.broken = bool(length) and not silent
        return head

    def _headers(self, status: int, headers: Any, lines: list[bytes]) -> tuple[int | None, bool, bool]:
        """Append the lines of the application's headers; find their length, whether there is a date, and keep-alive."""
        length: bytes | None = None
        dated = False
        keep_alive = self.keep_alive
        try:
            for name, value in headers:
                meaning = _names.get(name)
                if meaning is None:
                    meaning = meaning_of(name)
                if 10 in value or 13 in value or 0 in value:
                    raise BadResponse("a header's value has a line break or a NUL")
                if meaning == PLAIN:
                    lines.append(b"%b: %b\r\n" % (name, value))
                elif meaning == LENGTH:
                    length = checked_length(length, value)
                elif meaning == DATE:
                    dated = True
                    lines.append(b"%b: %b\r\n" % (name, value))
                elif meaning == _CONNECTION:
                    keep_alive = keep_alive and b"close" not in value.lower()
                elif meaning == _UPGRADE and status == HTTPStatus.UPGRADE_REQUIRED:
                    # It must say to what (RFC 9110 section 15.5.22), and `connection` must say so (section 7.8).
                    lines += (b"connection: upgrade\r\n", b"upgrade: %b\r\n" % value)
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BadResponse):
                raise
            raise BadResponse(f"headers must be pairs of bytes: {error}") from None
        return (None if length is None else int(length)), dated, keep_alive

    def _length(self, status: int, length: int | None, content: bytes, more: bool) -> int | None:
        """Find the content-length to send: what the application said, where it may say so, or what is known."""
        if status == 204:
            return None  # RFC 9110 section 8.6
        if status == 205:
            return 0
        if length is None and not more and status != 304 and (content or not self._silent):
            return len(content)
        return length

    @property
    def endless(self) -> bool:
        """Tell whether the response has begun and nobody can know when it ends."""
        return self.status != 0 and not self.ended and self._left is None

    def write(self, content: Any, more: bool = False) -> bytes:
        """Write further content.

        Args:
            content: bytes.
            more: whether still more follows.

        Returns:
            What to send; may be empty.

        Raises:
            BadResponse: the content is no bytes; nothing is changed then.
        """
        if type(content) is not bytes:
            raise BadResponse(f"content must be bytes, not {type(content).__name__}")
        return self._frame(content, more)

    def _frame(self, content: bytes, more: bool) -> bytes:
        if not more:
            self.ended = True
        if self._silent:
            return b""
        if self._chunked:
            self.size += len(content)
            frame = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
            return frame if more else frame + b"0\r\n\r\n"
        left = self._left
        if left is not None:
            if len(content) > left:
                content = content[:left]
                self.ended = self.broken = True
            left -= len(content)
            if self.ended and left:
                self.broken = True
            self._left = left
        self.size += len(content)
        return content


def plain(status: int, text: str) -> tuple[int, list[Header], bytes]:
    """Make a short answer for people, as the arguments of `ResponseWriter.start`.

    Args:
        status: its status; 503 says when to try again.
        text: one line.
    """
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", RETRY_AFTER))
    return status, headers, text.encode() + b"\n"
