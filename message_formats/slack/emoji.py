"""Emoji between their names in Slack and Unicode."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from .emoji_names import EMOJI

NAME = r"[a-z0-9_+'\-]{1,100}"
_REACTION = re.compile(rf":?({NAME})(?:::?skin-tone-([2-6]))?:?")
_TONES = "".join(map(chr, range(0x1F3FB, 0x1F400)))
_TONE = re.compile(f"[{_TONES}]")
_VARIATION = "\ufe0f"  # asks for the colourful form


class _Table(NamedTuple):
    emoji: dict[str, str]
    toned: frozenset[str]
    names: dict[str, str]


@cache
def _table() -> _Table:
    """Read the table when it is needed first."""
    emoji: dict[str, str] = {}
    names: dict[str, str] = {}
    toned: set[str] = set()
    for names_of_one, sign, character in re.findall(r"([^\s=~]+)([=~])(\S+)", EMOJI):
        listed = names_of_one.split(",")
        emoji.update(dict.fromkeys(listed, character))
        names[character.replace(_VARIATION, "")] = listed[0]
        if sign == "~":
            toned.update(listed)
    return _Table(emoji, frozenset(toned), names)


def emoji_of(name: str, tone: str | None = None) -> str | None:
    """Return the emoji of a name, or None for one of a workspace's own.

    Args:
        name: the name, without colons.
        tone: the number of a skin tone, "2" to "6"; ignored where there is none.
    """
    table = _table()
    emoji = table.emoji.get(name)
    if emoji is None or tone is None or name not in table.toned:
        return emoji
    return emoji[0] + _TONES[int(tone) - 2] + emoji[1:].removeprefix(_VARIATION)


def emoji_text(reaction: str) -> str:
    """Return a reaction as people see it: Unicode, or ":name:" for one of a workspace's own.

    Args:
        reaction: Slack's name of it, such as "thumbsup" or "wave::skin-tone-3".
    """
    found = _REACTION.fullmatch(reaction)
    emoji = emoji_of(found[1], found[2]) if found is not None else None
    return f":{reaction.strip(':')}:" if emoji is None else emoji


def emoji_name(reaction: str) -> str:
    """Return what Slack calls a reaction: "+1" for "👍", "tada" for ":tada:"; what is no emoji stays as it is."""
    names = _table().names
    plain = reaction.strip().replace(_VARIATION, "")
    name = names.get(plain)
    if name is not None:
        return name
    tone = _TONE.search(plain)
    if tone is not None:
        name = names.get(plain[: tone.start()] + plain[tone.end() :])
        if name is not None:
            return f"{name}::skin-tone-{_TONES.index(tone[0]) + 2}" if name in _table().toned else name
    return plain.strip(":")
