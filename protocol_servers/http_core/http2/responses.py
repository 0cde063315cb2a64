"""Responses as header lists: status, headers and content in, fields for `h2` out (RFC 9113 section 8.3.2)."""

from __future__ import annotations

from typing import Any

from ..request import Header
from ..response import (
    DATE,
    LENGTH,
    PLAIN,
    WITHOUT_CONTENT,
    BadResponse,
    DateHeader,
    ResponseWriter,
    check_start,
    checked_length,
    meaning_of,
)

_KNOWN_NAMES = 1024
_names: dict[bytes, tuple[bytes, int]] = {}


def _look_up(name: Any) -> tuple[bytes, int]:
    """Look at a header's name for the first time: what it is in lower case, as it must be here, and what it means."""
    meaning = meaning_of(name)
    if len(_names) >= _KNOWN_NAMES:
        _names.clear()
    known = _names[name] = (name.lower(), meaning)
    return known


class ResponseFields(ResponseWriter):
    """Writes the response to one request of HTTP/2: what `ResponseWriter` is for HTTP/1, fields in place of bytes.

    Args:
        head_only: the request was HEAD: headers as for GET, no content.
        date: the Date header of the moment.
    """

    __slots__ = ("_date_field",)

    def __init__(self, head_only: bool, date: DateHeader) -> None:
        super().__init__(head_only, True, True, date)
        self._date_field = date

    def open(self, status: Any, headers: Any, content: Any, more: bool) -> tuple[list[Header], bytes]:
        """Write the head and the first content; arguments are those of `ResponseWriter.start`.

        Returns:
            The fields, and the content as far as it may be sent.

        Raises:
            BadResponse: an argument is not as said; nothing is changed then.
        """
        check_start(status, content)
        fields: list[Header] = [(b":status", b"%d" % status)]
        length: bytes | None = None
        dated = False
        try:
            for name, value in headers:
                lower, meaning = _names.get(name) or _look_up(name)
                if meaning == LENGTH:
                    length = checked_length(length, value)
                elif meaning in (PLAIN, DATE):
                    dated = dated or meaning == DATE
                    fields.append((lower, value.strip(b" \t")))
            values = b"\n".join([value for _, value in fields])
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BadResponse):
                raise
            raise BadResponse(f"headers must be pairs of bytes: {error}") from None
        if values.count(b"\n") != len(fields) - 1 or b"\r" in values or b"\0" in values:
            raise BadResponse("a header's value has a line break or a NUL")
        if not dated:
            fields.append(self._date_field.field)
        size = self._length(status, None if length is None else int(length), content, more)
        if size is not None:
            fields.append((b"content-length", b"%d" % size))
        self.status = status
        self._silent = self._silent or status in WITHOUT_CONTENT
        self._left = size
        if more or content:
            return fields, self._frame(content, more)
        self.ended = True
        self.broken = bool(size) and not self._silent
        return fields, b""
