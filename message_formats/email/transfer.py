"""Transfer encodings undone piece by piece, so that a large part is never whole in memory (RFC 2045 section 6, POSIX).

What ends inside a group, an escape or a line of the encoding waits for the next piece. A part that fits into one piece
is decoded as a whole, which is also what most mails get.
"""

from __future__ import annotations

import binascii
import mmap
from collections.abc import Callable, Iterator

from . import headers

Defect = Callable[[str], None]
Raw = bytes | mmap.mmap

PIECE = 256 * 1024

_LONGEST_ESCAPE = 1000  # what may follow a "=" at the end of a piece: white space before a line end


def decoded(raw: Raw, start: int, end: int, encoding: str, defect: Defect) -> Iterator[bytes] | None:
    """Undo the transfer encoding of raw[start:end].

    Args:
        raw: the mail.
        start: where the part's body begins in it.
        end: where it ends.
        encoding: the value of its Content-Transfer-Encoding.
        defect: called with one line for each thing found wrong.

    Returns:
        The pieces, or None where there is nothing to undo.
    """
    name = encoding.partition(";")[0].strip(' \t"').lower()
    if name in ("", "7bit", "8bit", "binary"):
        return None
    decode = _DECODERS.get(name)
    if decode is None:
        defect(f"unknown transfer encoding {name!r:.60}")
        return None
    return decode(raw, start, end, defect)


def _pieces(raw: Raw, start: int, end: int) -> Iterator[bytes]:
    for position in range(start, end, PIECE):
        yield raw[position : min(position + PIECE, end)]


def _base64(raw: Raw, start: int, end: int, defect: Defect) -> Iterator[bytes]:
    if end - start <= PIECE:
        yield headers.base64_bytes(raw[start:end], defect)
        return
    left = b""
    for piece in _pieces(raw, start, end):
        letters = left + piece.translate(None, headers.NOT_BASE64_OR_PADDING)
        padding = letters.find(b"=")
        if padding >= 0:  # what follows the padding is no part of it
            yield headers.base64_bytes(letters, defect)
            return
        whole = len(letters) - len(letters) % 4
        left = letters[whole:]
        yield binascii.a2b_base64(letters[:whole])
    if left:
        yield headers.base64_bytes(left, defect)


def _quoted_printable(raw: Raw, start: int, end: int, defect: Defect) -> Iterator[bytes]:
    if end - start <= PIECE:
        yield binascii.a2b_qp(raw[start:end])
        return
    left = b""
    for piece in _pieces(raw, start, end):
        left += piece
        cut = left.rfind(b"\n") + 1
        if not cut:  # a line without end: up to where an escape may begin
            cut = left.rfind(b"=", max(0, len(left) - _LONGEST_ESCAPE))
            cut = len(left) if cut < 0 else cut
        yield binascii.a2b_qp(left[:cut])
        left = left[cut:]
    if left:
        yield binascii.a2b_qp(left)


def _uuencode(raw: Raw, start: int, end: int, defect: Defect) -> Iterator[bytes]:
    """Undo the lines between "begin" and "end"."""
    lines = _lines(raw, start, end)
    for line in lines:
        if line.startswith(b"begin "):
            break
    else:
        defect("uuencode without its beginning")
        yield from _pieces(raw, start, end)
        return
    pieces, decoded = 0, bytearray()
    for line in lines:
        line = line.rstrip(b"\r\n")
        if not line:
            continue
        if line.rstrip() == b"end":
            break
        letters = (4 * ((line[0] - 32) & 63) + 5) // 3
        try:
            decoded += binascii.a2b_uu(line[:letters])  # some encoders pad lines further
        except binascii.Error:
            defect("uuencode has an unreadable line")
            if not pieces:
                yield from _pieces(raw, start, end)
                return
            break
        if len(decoded) >= PIECE:
            yield bytes(decoded)
            pieces += 1
            decoded.clear()
    else:
        defect("uuencode is cut off")
    yield bytes(decoded)


def _lines(raw: Raw, start: int, end: int) -> Iterator[bytes]:
    left = b""
    for piece in _pieces(raw, start, end):
        *lines, left = (left + piece).split(b"\n")
        yield from lines
        if len(left) > PIECE:  # no line of uuencode
            yield left
            left = b""
    if left:
        yield left


_DECODERS: dict[str, Callable[[Raw, int, int, Defect], Iterator[bytes]]] = {
    "base64": _base64,
    "quoted-printable": _quoted_printable,
    **dict.fromkeys(("x-uuencode", "uuencode", "x-uue", "uue"), _uuencode),
}
