"""Names of people and rooms: what is the same name, and what is none.

Why our own casemapping: `irc.strings` folds by Unicode, so that it takes two people for one, knows no mapping but
RFC 1459, and ISUPPORT says which one is right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from string import ascii_lowercase, ascii_uppercase

MAX_NAME = 256  # characters of a nick, a room, an id; the longest that servers allow are 32 and 200

_ASCII = str.maketrans(ascii_uppercase, ascii_lowercase)
_STRICT = _ASCII | str.maketrans("[]\\", "{}|")
_RFC1459 = _STRICT | str.maketrans("^", "~")


def _unicode(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def folding(casemapping: str) -> Callable[[str], str]:
    """Return what makes two spellings of a name equal, by the value of ISUPPORT's CASEMAPPING.

    An unknown mapping is taken for RFC 1459's, as https://modern.ircdocs.horse/#casemapping-parameter advises.
    """
    casemapping = casemapping.lower()
    if casemapping in ("rfc7613", "rfc8265", "precis"):
        return _unicode
    table = {"ascii": _ASCII, "rfc1459-strict": _STRICT}.get(casemapping, _RFC1459)
    return lambda name: name.translate(table)


def is_word(text: str) -> bool:
    """Say whether ``text`` can stand as one parameter, and in one line; tags can hold anything, escaped."""
    return 0 < len(text) <= MAX_NAME and not any(character in " \r\n\0" for character in text)


def is_target(name: str) -> bool:
    """Say whether ``name`` is one person or room: nothing that a server reads as several, a mask or another word."""
    return is_word(name) and not name.startswith((":", "$")) and "," not in name and "\a" not in name


def may_be_joined(name: str) -> bool:
    """Say whether ``name`` is one room to a server; "JOIN 0" would leave them all (RFC 2812 section 3.2.1)."""
    return is_target(name) and name != "0"


def account_of(name: str) -> str | None:
    """Return an account's name as a server gave it; None for none ("*"), and for what looks like a mask."""
    return name if is_word(name) and name != "*" and "!" not in name else None


def mask_pattern(mask: str) -> str:
    """Return the regular expression of a mask, in which ``*`` is anything and ``?`` is any one character."""
    first, *others = ("".join("." if each == "?" else re.escape(each) for each in part) for part in mask.split("*"))
    if not others:
        return first
    # Between two stars the first place is as good as any: without that, a long name would take for ever not to match.
    return first + "".join(f"(?>.*?{part})" for part in others[:-1]) + f".*{others[-1]}"
