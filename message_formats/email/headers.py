"""Header fields of a mail: finding them, decoding words, and reading parameters.

RFC 5322 (fields), RFC 2047 (encoded words), RFC 2045 section 5.1 and RFC 2231 (parameters), RFC 6532 (UTF-8). Real
headers break all of them, so nothing here raises; what is wrong becomes a defect. Every regular expression is linear on
every input: no alternative can take back what another took.
"""

from __future__ import annotations

import binascii
import mmap
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

from .charsets import clean, cut, decode

Defect = Callable[[str], None]

# A name, and the line end after its value with folded lines (RFC 5322 section 2.2), lines ended by LF or CRLF.
_FIELD_NAME = re.compile(rb"([!-9;-~]{1,998})[ \t]*+:")
_FIELD_END = re.compile(rb"\n(?![ \t])")
_BLANK_LINE = re.compile(rb"\r?\n")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"[\r\n\0]+")
_FORBIDDEN = re.compile("[\r\n\0]+")
_ENCODED_WORD = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
NOT_BASE64_OR_PADDING = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
_NOT_BASE64 = NOT_BASE64_OR_PADDING + b"="
_MIME_TYPE = re.compile(r"([a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127})(?:[\s;,(]|\Z)", re.IGNORECASE)
_TOKEN = re.compile(r"[ \t]*([a-z0-9!#$&^_.+-]{1,127})", re.IGNORECASE)
_PARAMETER = re.compile(r';[ \t]*([^\s=;"*]{1,60})(?:\*(\d{1,3}))?(\*)?[ \t]*=[ \t]*(?:"((?:[^"\\]++|\\.)*)"|([^;]*))')
_ESCAPED = re.compile(r"\\(.)")

_WITH_PARAMETERS = ("content-type", "content-disposition")

MAX_PARAMETERS = 200
MAX_MIME_HEADER = 16 * 1024


def fields(
    data: bytes | mmap.mmap, start: int, end: int, limit: int, count: int, defect: Defect
) -> tuple[list[tuple[str, bytes]], int]:
    """Find the header fields of one part.

    Args:
        data: the whole mail.
        start: where the part begins in it.
        end: where the part ends.
        limit: bytes of fields to return; what follows is left out.
        count: fields to return.
        defect: called with one line for each thing found wrong.

    Returns:
        (name, raw value) in order, names as written, and the offset at which the part's body begins.
    """
    found: list[tuple[str, bytes]] = []
    position = start
    if data[start : start + 6].startswith((b"From ", b">From ")):  # a line that mailbox files have, no header
        position = data.find(b"\n", start, end) + 1 or end
    stop = position + limit
    while True:
        name = _FIELD_NAME.match(data, position, end)
        if name is None:
            break
        line_end = _FIELD_END.search(data, name.end(), end)
        after = line_end.end() if line_end else end
        if after > stop or len(found) == count:
            defect(f"headers over {limit} bytes or {count} fields, the rest left out")
            blank = _END_OF_HEAD.search(data, position, end)
            return found, blank.end() if blank else end
        found.append((name[1].decode("ascii"), data[name.end() : line_end.start() if line_end else end]))
        position = after
    blank_line = _BLANK_LINE.match(data, position, end)
    if blank_line:
        return found, blank_line.end()
    if position < end:
        defect("headers end without an empty line")
    return found, position


def text_value(name: str, raw: bytes, defect: Defect) -> str:
    """Decode one header value: unfolded, trimmed, as UTF-8 (RFC 6532) where it is, encoded words undone; without CR, LF
    or NUL.
    """
    raw = raw.strip()
    if b"\n" in raw or b"\r" in raw or b"\0" in raw:
        raw = _FOLD.sub(b"", raw) if b"\0" not in raw else _FOLD.sub(b" ", raw)
    value = decode(raw, None, defect)
    # What an encoded word stands for could be taken for syntax: parameters are read first (RFC 2047 section 5).
    return decode_words(value, defect) if "=?" in value and name.lower() not in _WITH_PARAMETERS else value


def decode_words(value: str, defect: Defect) -> str:
    """Undo the encoded words of RFC 2047 in a header value."""
    pieces: list[str] = []
    held, held_charset = bytearray(), ""  # a character may be split over adjacent words of one charset
    position = 0

    def release() -> None:
        if held:
            pieces.append(decode(bytes(held), held_charset, defect))
            held.clear()

    for word in _ENCODED_WORD.finditer(value):
        between = value[position : word.start()]
        charset = word[1].lower()
        if not position or between.strip(" \t"):  # white space between two encoded words is not part of the text
            release()
            pieces.append(between)
        elif charset != held_charset:
            release()
        held_charset = charset
        encoded = word[3].encode()
        held += base64_bytes(encoded, defect) if word[2] in "bB" else binascii.a2b_qp(encoded, header=True)
        position = word.end()
    release()
    pieces.append(value[position:])
    return _FORBIDDEN.sub(" ", "".join(pieces))


def base64_bytes(data: bytes, defect: Defect) -> bytes:
    """Undo base64 as far as it goes; characters outside the alphabet are ignored (RFC 2045 section 6.8)."""
    end = data.find(b"=")
    if end >= 0 and data[end:].strip(b"= \t\r\n"):
        defect("something follows the end of base64")
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        defect("base64 is cut off")
    letters = data.translate(None, _NOT_BASE64)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def content_type(value: str | None, defect: Defect, default: str = "text/plain") -> tuple[str, dict[str, str]]:
    """Read a Content-Type value: (lower-cased type, parameters). An unreadable one is text/plain (RFC 2045 section
    5.2).
    """
    if value is None:
        return default, {}
    found = _MIME_TYPE.match(value)
    if found is None:
        defect(f"unreadable Content-Type {value!r:.60}")
        return "text/plain", {}
    return found[1].lower(), parameters(value, defect)


def disposition(value: str | None, defect: Defect) -> tuple[str | None, dict[str, str]]:
    """Read a Content-Disposition value (RFC 2183): (lower-cased disposition or None, parameters)."""
    if value is None:
        return None, {}
    found = _TOKEN.match(value)
    return found[1].lower() if found else None, parameters(value, defect)


def parameters(value: str, defect: Defect) -> dict[str, str]:
    """Read the parameters of a MIME header, RFC 2231 continuations and character sets undone. Names are lower-cased,
    the first of a name counts.
    """
    if ";" not in value:
        return {}
    if len(value) > MAX_MIME_HEADER:
        defect(f"parameters over {MAX_MIME_HEADER} characters, the rest left out")
        value = value[:MAX_MIME_HEADER]
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bool, str]]] = {}
    for name, index, extended, text in _parameters(value, defect):
        if index is None and not extended:
            plain.setdefault(name, text)
        else:
            sections.setdefault(name, {}).setdefault(index or 0, (extended, text))
    for name, parts in sections.items():
        plain[name] = _join_sections(parts, defect)
    return plain


def _parameters(value: str, defect: Defect) -> Iterator[tuple[str, int | None, bool, str]]:
    for count, found in enumerate(_PARAMETER.finditer(value)):
        if count == MAX_PARAMETERS:
            defect(f"over {MAX_PARAMETERS} parameters, the rest left out")
            return
        name, index, star, quoted, bare = found.groups()
        text = _ESCAPED.sub(r"\1", quoted) if quoted is not None else bare.strip(' \t"')
        yield name.lower(), None if index is None else int(index), star is not None, text


def _join_sections(parts: dict[int, tuple[bool, str]], defect: Defect) -> str:
    """Join the sections of one parameter (RFC 2231 sections 3 and 4.1): ``name*0*=utf-8'en'%e2%82%ac;
    name*1="uro"``.
    """
    charset: str | None = None
    data = bytearray()
    for number, index in enumerate(sorted(parts)):
        if number != index:
            defect("a section of a parameter is missing")
        extended, text = parts[index]
        if extended and number == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        data += unquote_to_bytes(text) if extended else text.encode()
    return _FORBIDDEN.sub(" ", decode(bytes(data), charset or None, defect))


_CONTROL = re.compile("[\x00-\x1f\x7f]+")


def file_name(value: str | None, defect: Defect) -> str | None:
    """Make a file name of a parameter: encoded words undone, no folder (RFC 2183 section 2.3), no control character, at
    most 255 bytes.
    """
    if value is None:
        return None
    if "=?" in value:
        value = decode_words(value, defect)
    name = _CONTROL.sub("", value.replace("\\", "/").rpartition("/")[2]).strip()
    if name in ("", ".", ".."):
        return None
    return cut(clean(name), 255)
