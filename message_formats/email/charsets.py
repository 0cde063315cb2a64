"""Bytes that claim a character set, turned into clean text.

Names come from strangers. They are looked up in a table made once from Python's own alias list, never with
``codecs.lookup``: that would import modules by a stranger's word, remember every unknown name for ever, and offer
codecs that are no character sets (``unicode_escape``, ``punycode`` and the like). Every text made here can be encoded
as UTF-8 again: no lone surrogate leaves this module.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from encodings.aliases import aliases

_CHARACTER_SET = re.compile(
    r"ascii|utf_(?:7|8|8_sig|16(?:_[bl]e)?|32(?:_[bl]e)?)|latin_1|iso8859_\d+|iso2022_\w+|cp\d+|koi8_\w+|"
    r"big5(?:hkscs)?|gb\w+|hz|euc_\w+|shift_jis\w*|johab|mac_\w+|tis_620|ptcp154|kz1048|hp_roman8"
)

# What senders label one way and write another (the WHATWG Encoding Standard lists the same supersets).
_SUPERSETS = {
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
_WITHOUT_ALIAS = ("cp720", "cp737", "cp874", "koi8_t", "koi8_u")
_MORE_NAMES = {
    "iso_8859_6_e": "iso8859_6",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_8_i": "iso8859_8",
    "windows_31j": "cp932",
    "ks_c_5601": "cp949",
    "unicode_1_1_utf_8": "utf_8",
    "unicode_1_1_utf_7": "utf_7",
    "utf_8_sig": "utf_8",
    "user_defined": "cp1252",
    "unknown_8bit": "utf_8",
    "default": "utf_8",
}
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")
_CODE_PAGE = re.compile(r"\A(?:windows|win|cp|ibm|dos)_?(?=\d+\Z)")


def _normal(name: str) -> str:
    return _NOT_IN_A_NAME.sub("_", name.strip(" \t\"'").lower()).removeprefix("x_")


def _known_names() -> dict[str, str]:
    known = {}
    for alias, codec in [*aliases.items(), *((codec, codec) for codec in (*aliases.values(), *_WITHOUT_ALIAS))]:
        if _CHARACTER_SET.fullmatch(codec):
            known[_normal(alias)] = _SUPERSETS.get(codec, codec)
    return known | _MORE_NAMES


_CODECS = _known_names()


def find_codec(charset: str) -> str | None:
    """Return the name of the Python codec for a MIME character set, or None where the name is unknown."""
    name = _normal(charset)
    return _CODECS.get(name) or _CODECS.get(_CODE_PAGE.sub("cp", name))


def clean(text: str) -> str:
    """Return `text` with lone surrogates (UTF-7 can spell them) replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def decode(data: bytes, charset: str | None, defect: Callable[[str], None], *, whole: bool = True) -> str:
    """Decode bytes of a stated character set, falling back to UTF-8, then Windows-1252, then replacement characters.

    Args:
        data: the bytes, transfer encoding undone.
        charset: the name in the mail; None where there is none.
        defect: called with one line for each thing found wrong.
        whole: False when `data` was cut off, maybe inside a character.
    """
    if data.isascii() and (charset is None or charset in ("us-ascii", "utf-8", "US-ASCII", "UTF-8")):
        return data.decode("ascii")
    codec = find_codec(charset) if charset else "utf_8"
    if codec is None:
        defect(f"unknown character set {charset!r:.60}")
        codec = "utf_8"
    for candidate in dict.fromkeys((codec, "utf_8")):
        try:
            text = codecs.getincrementaldecoder(candidate)("strict").decode(data, whole)
            return clean(text).removeprefix("\ufeff")  # a byte order mark is no part of the text
        except UnicodeError:
            continue
    if codec == "utf_8":
        defect("text is not UTF-8, read as Windows-1252")
        codec = "cp1252"
    else:
        defect(f"text is not in its character set {charset!r:.60}")
    return clean(data.decode(codec, "replace"))


def cut(text: str, limit: int) -> str:
    """Return the longest beginning of `text` that takes at most `limit` bytes as UTF-8."""
    if len(text) * 4 <= limit:
        return text
    data = text.encode()
    return text if len(data) <= limit else data[:limit].decode("utf-8", "ignore")
