"""Forms that a provider posts: `multipart/form-data` (RFC 7578) and `application/x-www-form-urlencoded`.

A whole form is in memory; it is divided by `bytes.find`, in time linear in its size, and anything odd is refused.
`multipart` of PyPI would do, too, and is well kept; with the header parser of mail at hand this is the shorter way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ....message_formats.email import headers
from .posted import MAX_FIELDS, Malformed

_MAX_HEAD = 16 * 1024
_MAX_HEADERS = 20
_MAX_BOUNDARY = 200
_PIECE = 64 * 1024


class Field(NamedTuple):
    """One field.

    Attributes:
        content: What it holds.
        content_type: Of a file, in lower case.
        filename: Of a file; None: it is none.
    """

    content: bytes
    content_type: str = "text/plain"
    filename: str | None = None

    @property
    def text(self) -> str:
        """What it holds, as text."""
        return self.content.decode("utf-8", "replace")


Form = dict[str, Field]


def read_form(content_type: bytes, body: bytes) -> Form:
    """Return the fields of a form by their names, of one name the first.

    Args:
        content_type: The header of the request.
        body: Its body.

    Raises:
        Malformed: It is no form, or one that makes no sense.
    """
    kind, parameters = headers.content_type(content_type.decode("latin-1"), _ignore)
    form: Form = {}
    if kind == "application/x-www-form-urlencoded":
        pairs = [pair.partition(b"=") for pair in body.split(b"&", MAX_FIELDS)]
        if not body.isascii() or len(pairs) > MAX_FIELDS or not all(equals for _, equals, _ in pairs):
            raise Malformed("its form makes no sense")
        for key, _, value in pairs:
            form.setdefault(_unquoted(key).decode("utf-8", "replace"), Field(_unquoted(value)))
        return form
    boundary = parameters.get("boundary", "").encode("latin-1", "replace")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise Malformed("it is no form")
    for count, part in enumerate(_divided(body, b"--" + boundary)):
        if count == MAX_FIELDS:
            raise Malformed("its form has too many fields")
        name, field = _field(part)
        form.setdefault(name, field)
    return form


def _unquoted(text: bytes) -> bytes:
    """Undo the encoding of a name or a value, in pieces: each % makes an object."""
    plain = bytearray()
    begin = 0
    while begin < len(text):
        end = begin + _PIECE
        cut = text.rfind(b"%", end - 2, end)
        if cut >= 0:
            end = cut
        plain += unquote_to_bytes(text[begin:end].replace(b"+", b" "))
        begin = end
    return bytes(plain)


def _divided(body: bytes, marker: bytes) -> Iterator[bytes]:
    """Yield the parts between boundary lines."""
    broken = Malformed("its form makes no sense")
    position = 0 if body.startswith(marker) else body.find(b"\r\n" + marker) + 2
    if position == 1:
        raise broken
    while True:
        begin = position + len(marker)
        follows = body[begin : begin + 2]
        if follows == b"--":
            return
        end = body.find(b"\r\n" + marker, begin)
        if follows != b"\r\n" or end < 0:
            raise broken
        yield body[begin + 2 : end]
        position = end + 2


def _field(part: bytes) -> tuple[str, Field]:
    found, start = headers.fields(part, 0, len(part), _MAX_HEAD, _MAX_HEADERS, _ignore)
    said = {name.lower(): headers.text_value(name, value, _ignore) for name, value in found}
    placing, parameters = headers.disposition(said.get("content-disposition"), _ignore)
    if placing != "form-data" or "name" not in parameters:
        raise Malformed("a field of its form has no name")
    filename = headers.file_name(parameters["filename"], _ignore) or "" if "filename" in parameters else None
    kind, _ = headers.content_type(said.get("content-type"), _ignore)
    return parameters["name"], Field(part[start:], kind, filename)


def _ignore(_defect: str) -> None:
    """A form has no defects of its own."""
