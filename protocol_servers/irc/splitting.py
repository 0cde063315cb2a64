"""Text into pieces that fit, exact to the byte.

A piece ends at a space, or where one word is longer than a piece between two graphemes: what a reader takes for one
character (a letter with its accents, a family of emoji) is never torn (UAX #29, by the `regex` library), unless it is
itself longer than a piece. Formatting that is on at the end of a piece is on again at the beginning of the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import regex

from .formatting import CODE, Formatting, plain

LEAST_LIMIT = 64  # bytes; formatting that is carried over, and four for a character, always fit
ELLIPSIS = "…"
_ATOM = regex.compile(rf"({CODE})|\X")
_LINE_END = regex.compile(r"\r\n|\r|\n")
# What no client shows, and 0x01, which would make a command of the text; tab and the formatting remain.
_CONTROLS = dict.fromkeys({*range(0x20), 0x7F} - set(map(ord, "\t\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f")))
_SPACES = regex.compile(" *")


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines of ``text`` without their ends and without control characters."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no character
    for line in _LINE_END.split(text):
        yield line.translate(_CONTROLS)


def split(text: str, limit: int, *, most: int | None = None) -> list[str]:
    """Split ``text`` into pieces of at most ``limit`` bytes of UTF-8.

    Line ends separate pieces, blank ones are left out, and so are the spaces where a line was split.

    Args:
        text: What to say.
        limit: Bytes of a piece, at least 64.
        most: The pieces to make; the rest is not even looked at.

    Raises:
        ValueError: The limit is too small.
    """
    if limit < LEAST_LIMIT:
        raise ValueError(f"limit: at least {LEAST_LIMIT} bytes, not {limit}")
    pieces = (piece.rstrip(" ") for line in lines_of(text) for piece in pieces_of(line, limit))
    return list(islice((piece for piece in pieces if not is_blank(piece)), most))


def is_blank(piece: str) -> bool:
    """Say whether there is nothing to be seen in a piece."""
    return not piece or not plain(piece).strip()


def truncate(text: str, limit: int) -> str:
    """Return as much of ``text`` as fits in ``limit`` bytes, with an ellipsis where something is missing."""
    whole = split(text, limit, most=2)
    if len(whole) < 2:
        return "".join(whole)
    return split(text, max(limit - len(ELLIPSIS.encode()), LEAST_LIMIT), most=1)[0] + ELLIPSIS


def pieces_of(line: str, limit: int, *, keep_spaces: bool = False) -> Iterator[str]:
    """Yield the pieces of one line of at most ``limit`` bytes.

    Args:
        line: One line, as `lines_of` yields it.
        limit: Bytes of a piece, at least 64.
        keep_spaces: Leave the spaces where it is split at the end of the piece, for those who join the pieces again.
    """
    start = 0
    formatting = Formatting()
    while start < len(line):
        opening = formatting.opening()
        end, after, formatting = _fill(line, start, limit - len(opening), formatting, keep_spaces)
        yield opening + line[start:end]
        start = after


def _fill(line: str, start: int, room: int, formatting: Formatting, keep_spaces: bool) -> tuple[int, int, Formatting]:
    """Return where a piece ends that begins at ``start``, where the next one begins, and the formatting there."""
    border: tuple[int, int, Formatting] | None = None
    for found in _ATOM.finditer(line, start):
        atom, here = found[0], found.start()
        room -= len(atom.encode())
        if room < 0:
            if atom == " " and not keep_spaces:
                return here, _after_spaces(line, here), formatting
            if border is not None:
                return border
            if here == start:  # one grapheme that is longer than a piece
                here += len(atom.encode()[:room].decode("utf-8", "ignore"))
            return here, here, formatting
        if found[1] is not None:
            formatting = formatting.after(atom)
        elif atom == " ":
            end = found.end()
            border = end, end if keep_spaces else _after_spaces(line, end), formatting
    return len(line), len(line), formatting


def _after_spaces(line: str, start: int) -> int:
    found = _SPACES.match(line, start)
    return found.end() if found is not None else start
