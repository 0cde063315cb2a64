"""Long texts into messages: at the border of a paragraph, a line or a word, else between two graphemes.

What a reader takes for one character (a letter with its accents, a family of emoji) is never torn (UAX #29). A block
of code that is torn is closed, and opened again in the next piece.

Slack counts characters as it carries them: `&`, `<` and `>` are entities there, and what is beyond the Basic
Multilingual Plane is two. (https://docs.slack.dev/changelog/2018-truncating-really-long-messages)
"""

from __future__ import annotations

import regex

LIMIT = 4000
LEAST_LIMIT = 64
ELLIPSIS = "…"
_FENCE = "```"
_GRAPHEME = regex.compile(r"\X")
_COSTS = {"&": 5, "<": 4, ">": 4}
_LONGEST_GRAPHEME = 64  # characters behind a border that are looked at
_BORDERS = ("\n\n", "\n", " ")


def cost_of(text: str) -> int:
    """Return how long a text is for Slack."""
    entities = 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    return len(text) + entities + (0 if text.isascii() else sum(each > "\uffff" for each in text))


def split(text: str, limit: int = LIMIT, *, most: int | None = None) -> list[str]:
    """Split ``text`` into pieces that are no longer than ``limit`` for Slack.

    Blank space where it is split, at the beginning and at the end is left out.

    Args:
        text: What to say.
        limit: The length of a piece, at least 64.
        most: The pieces to make; the rest is not even looked at.

    Raises:
        ValueError: The limit is too small.
    """
    if limit < LEAST_LIMIT:
        raise ValueError(f"limit: at least {LEAST_LIMIT} characters, not {limit}")
    pieces: list[str] = []
    text = _clean(text)
    start = 0
    in_code = False
    while start < len(text) and (most is None or len(pieces) < most):
        opening = f"{_FENCE}\n" if in_code else ""
        room = limit - len(opening)
        if len(text) - start <= room and cost_of(text[start:]) <= room:
            end = len(text)
        else:
            end = _end_of_piece(text, start, room - len(_FENCE) - 1)
        body = text[start:end]
        in_code ^= body.count(_FENCE) % 2 == 1
        start = _after_blank(text, end, in_code)
        piece = opening + body.rstrip()
        if in_code and start < len(text):
            piece += f"\n{_FENCE}"
        if body.strip():
            pieces.append(piece)
    return pieces


def truncate(text: str, limit: int = LIMIT) -> str:
    """Return as much of ``text`` as fits, with an ellipsis where something is missing."""
    pieces = split(text, limit, most=2)
    if len(pieces) < 2:
        return "".join(pieces)
    return split(text, max(limit - len(ELLIPSIS), LEAST_LIMIT), most=1)[0] + ELLIPSIS


def _clean(text: str) -> str:
    """Return a text that can be said: Slack takes neither NUL nor half a surrogate pair."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()


def _end_of_piece(text: str, start: int, limit: int) -> int:
    """Return where a piece ends that begins at ``start``."""
    end = start
    room = limit
    for character in text[start : start + limit + 1]:
        room -= _COSTS.get(character, 2 if character > "\uffff" else 1)
        if room < 0:
            break
        end += 1
    for border in _BORDERS:
        # A paragraph is worth a shorter piece, but not one of a few words; a word is always worth it.
        found = text.rfind(border, start, end + len(border))
        least = start if border == " " else start + (end - start) // 2
        if found > least:
            return found
    return _between_graphemes(text, start, end)


def _between_graphemes(text: str, start: int, end: int) -> int:
    """Return the last border of a grapheme up to ``end``; ``end`` itself where there is none."""
    border = start
    for found in _GRAPHEME.finditer(text, start, min(end + _LONGEST_GRAPHEME, len(text))):
        if found.end() > end:
            break
        border = found.end()
    return border if border > start else end


def _after_blank(text: str, end: int, in_code: bool) -> int:
    """Return where the next piece begins; in code only the line's end is left out, since the indent means something."""
    if in_code:
        return end + 1 if text[end : end + 1] == "\n" else end
    while end < len(text) and text[end].isspace():
        end += 1
    return end
