"""Slack's text and plain text: each from the other.

Slack carries text as mrkdwn: `&`, `<` and `>` as entities, mentions, rooms, links and dates in angle brackets, emoji as
names between colons, `*bold*`, `_italic_`, `~struck~` and code in backticks. Plain text has none of these.

Every function takes whatever there may be in a text, in time that grows with its length alone.

Source: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .emoji import NAME, emoji_of

Lookup = Callable[[str], str | None]
"""Returns the name of an id, or the id of a name, where it is known."""

_ENTITY = re.compile("&(amp|lt|gt);")
_CHARACTERS = {"amp": "&", "lt": "<", "gt": ">"}
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_CODE = r"```(?s:.*?)```|`[^`\n]+`"
_TOKEN = re.compile(
    rf"(?P<code>{_CODE})|<(?P<token>[^<>]+)>|:(?P<emoji>{NAME})(?:::skin-tone-(?P<tone>[2-6]))?:",
)
_BRACKETS = re.compile("<([^<>]+)>")
_MENTIONED = re.compile(r"<[@#]([A-Z0-9]{2,30})[|>]")
_LINK = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_MARK = re.compile(r"[*_~\n]")
_BLANKS = " \t\n"
_KEPT = "\0"  # stands for what was read already; Slack carries no such characters
_OWN = "\1"  # stands for our own name
_OWN_FIRST = re.compile(rf"^\s*(?:{_OWN}[\s,:;]*)+")
_OWN_LAST = re.compile(rf"(?<![\s,])[\s,]*+{_OWN}\s*+([.!?]*+)\s*+$")  # a run of blanks is looked at once
_OWN_BETWEEN = re.compile(rf"(?<![ \t])[ \t]*+{_OWN}")

_EVERYBODY = ("here", "channel", "everyone")
_CALL = rf"(?<![\w.@/])@(?P<call>{'|'.join(_EVERYBODY)}|group)(?!\w)"
_GUARD = "\u2060"  # a word joiner, which is not seen
_UNCALLED = re.compile(rf"\bhttps?://\S+|{_CALL}", re.IGNORECASE)
_GUARDED = re.compile(rf"@{_GUARD}(?={'|'.join(_EVERYBODY)}|group)", re.IGNORECASE)
_SPOKEN = re.compile(
    rf"(?P<verbatim>{_CODE}|\bhttps?://\S+)"
    r"|(?<![\w@#/.])(?P<sign>[@#])(?P<words>[^\s@#<>&`]{1,80}(?: [^\s@#<>&`]{1,80}){0,2})"
)
_AFTER_A_NAME = ".,:;!?)]}'\"…"
_USER_ID = re.compile(r"[UW][A-Z0-9]{6,30}")
_ROOM_ID = re.compile(r"[CG][A-Z0-9]{6,30}")
_MOST_NAMES = 200  # that are looked up for one text


class Plain(NamedTuple):
    """A text without markup.

    Attributes:
        text: The text.
        addressed: Whether it mentions the bot that reads it, whose name is then not in it.
    """

    text: str
    addressed: bool


def mentioned(text: str) -> set[str]:
    """Return the ids of the people and rooms that a text of Slack's mentions."""
    return set(_MENTIONED.findall(text))


def to_plain(text: str, *, user: Lookup, room: Lookup, own: str = "") -> Plain:
    """Make plain text of Slack's.

    Args:
        text: the text, as Slack carries it.
        user: returns the name of somebody's id.
        room: returns the name of a room's id, without "#".
        own: the id of the bot that reads it; its mentions are left out.
    """
    text = text.replace(_KEPT, "").replace(_OWN, "")
    kept: list[str] = []

    def read(inner: str) -> str | None:
        return _OWN if own and inner.partition("|")[0] == f"@{own}" else _bracketed(inner, user, room)

    def keep(found: re.Match[str]) -> str:
        if found["code"]:
            plain: str | None = _code(found, lambda each: read(each[1]) or each[0])
        elif found["token"]:
            plain = read(found["token"])
        else:
            plain = emoji_of(found["emoji"], found["tone"])
        if plain is None:
            return found[0]
        kept.append(plain)
        return _KEPT

    body = unescape(_without_marks(_TOKEN.sub(keep, text)))
    places = iter(kept)
    body = re.sub(_KEPT, lambda _: next(places), body)
    addressed = _OWN in body
    if addressed:
        body = _OWN_BETWEEN.sub("", _OWN_LAST.sub(r"\1", _OWN_FIRST.sub("", body)))
    return Plain(_GUARDED.sub("@", body), addressed)


def unescape(text: str) -> str:
    """Put `&`, `<` and `>` in the place of their entities."""
    return _ENTITY.sub(lambda found: _CHARACTERS[found[1]], text)


def escape(text: str) -> str:
    """Put entities in the place of `&`, `<` and `>`."""
    return text.translate(_ESCAPES)


def _bracketed(inner: str, user: Lookup, room: Lookup) -> str | None:
    """Return what stands in angle brackets as people see it, or None where it means nothing."""
    target, _, label = (unescape(part) for part in inner.partition("|"))
    match target[0] if target else "":
        case "@":
            return f"@{user(target[1:]) or label.removeprefix('@') or target[1:]}"
        case "#":
            return f"#{room(target[1:]) or label.removeprefix('#') or target[1:]}"
        case "!":
            return _special(target[1:], label)
    if not _LINK.match(target):
        return None
    shown = target.removeprefix("mailto:").removeprefix("tel:")
    if label in ("", target, shown):
        return shown
    # Whoever types "example.com" is made a link of by Slack.
    return label if target.endswith(f"://{label}") else f"{label} ({shown})"


def _special(what: str, label: str) -> str:
    """Return what stands behind `<!`: everybody, a group of people, a date."""
    kind, _, rest = what.partition("^")
    if kind == "date":
        return label
    if kind == "subteam":
        return f"@{label.removeprefix('@') or rest}"
    return label if label and kind not in _EVERYBODY else f"@{kind}"


def _code(found: re.Match[str], read: Callable[[re.Match[str]], str]) -> str:
    """Return code without its backticks; a block of it stands on lines of its own."""
    code, whole = found["code"], found.string
    if not code.startswith("```") or len(code) < 6:
        return unescape(_BRACKETS.sub(read, code.strip("`")))
    block = unescape(_BRACKETS.sub(read, code[3:-3]))
    block = block.removeprefix("\n").removesuffix("\n")
    before = "" if whole[: found.start()].endswith("\n") or not found.start() else "\n"
    after = "" if whole[found.end() : found.end() + 1] in ("", "\n") else "\n"
    return f"{before}{block}{after}"


def _without_marks(text: str) -> str:
    """Leave out the marks of bold, italic and struck text: a pair in one line, outside of words."""
    opened: dict[str, int] = {}
    dropped: list[int] = []
    for found in _MARK.finditer(text):
        mark, at = found[0], found.start()
        if mark == "\n":
            opened.clear()
            continue
        before = text[at - 1] if at else "\n"
        after = text[at + 1] if at + 1 < len(text) else "\n"
        if mark in (before, after):
            continue
        begun = opened.get(mark)
        if begun is not None and before not in _BLANKS and not after.isalnum():
            dropped += begun, at
            del opened[mark]
        elif not before.isalnum() and after not in _BLANKS:
            opened[mark] = at
    if not dropped:
        return text
    pieces, last = [], 0
    for at in sorted(dropped):
        pieces.append(text[last:at])
        last = at + 1
    return "".join((*pieces, text[last:]))


def to_slack(text: str, *, notify: bool = False, user: Lookup | None = None, room: Lookup | None = None) -> str:
    """Make Slack's text of plain text.

    Without ``notify`` it mentions nobody, whatever stands in it: what would be read as a mention is escaped, and behind
    the "@" of `@here` and its like comes a character that is not seen.

    Args:
        text: what to say.
        notify: it may mention people, rooms and everybody: `@name`, `#room`, `@here`, `@channel`, `@everyone`.
        user: returns the id of a person's or user group's name.
        room: returns the id of a room's name, without "#".
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
    text = text.replace(_KEPT, "")
    if not notify:
        return _UNCALLED.sub(_guarded, escape(text))
    pieces: list[str] = []
    end = 0
    for start, sign, names in _spoken(text):
        for name in names:
            target = _mention(sign, name, user if sign == "@" else room)
            if target is not None:
                pieces += escape(text[end:start]), target
                end = start + 1 + len(name)
                break
    return "".join((*pieces, escape(text[end:])))


def names_in(text: str) -> tuple[set[str], set[str]]:
    """Return what may be names of people, and of rooms, in a text that may notify: to be looked up beforehand."""
    people: set[str] = set()
    rooms: set[str] = set()
    for _, sign, names in _spoken(text):
        (people if sign == "@" else rooms).update(names)
    return people.difference(_EVERYBODY), rooms


def _spoken(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield where a "@" or "#" begins something, the sign, and what may be the name, longest first."""
    at = count = 0
    while count < _MOST_NAMES and (found := _SPOKEN.search(text, at)) is not None:
        at = found.end()
        if not found["verbatim"]:
            names = list(_candidates(found["words"]))
            # What follows the first word may be something else, such as a link.
            at = found.start("words") + len(names[-1]) if names else found.start("words")
            count += len(names)
            yield found.start(), found["sign"], names


def _candidates(words: str) -> Iterator[str]:
    """Yield what may be a name at the beginning of words: all of them, then fewer, without what ends a sentence."""
    while words:
        name = words.rstrip(_AFTER_A_NAME)
        for each in dict.fromkeys((words, name)):
            if each:
                yield each
        words = words.rpartition(" ")[0]


def _mention(sign: str, name: str, lookup: Lookup | None) -> str | None:
    """Return the mention of a name, or None where it is nobody's."""
    if sign == "@" and name in _EVERYBODY:
        return f"<!{name}>"
    if (_USER_ID if sign == "@" else _ROOM_ID).fullmatch(name):
        return f"<{sign}{name}>"
    target = lookup(name) if lookup is not None else None
    if target is None:
        return None
    return f"<!subteam^{target}>" if target.startswith("S") else f"<{sign}{target}>"


def _guarded(found: re.Match[str]) -> str:
    return f"@{_GUARD}{found['call']}" if found["call"] else found[0]
