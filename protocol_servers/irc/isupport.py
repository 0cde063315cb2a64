"""What a server says of itself in numeric 005 (https://modern.ircdocs.horse/#rplisupport-005).

Only what is used is kept, each value within bounds; what makes no sense leaves the value as it was.

Why our own: `irc.features` lets a server replace its methods (``LOAD=1``), raises on ``PREFIX=x`` and on an empty
token, and reads no ``\\xHH``; `ircstates` raises on ``CHANMODES=x`` and keeps every token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .names import folding

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_PREFIX = re.compile(r"\(([A-Za-z]{0,32})\)([!-~]{0,32})")


class ISupport:
    """The server's features.

    Attributes:
        fold: Makes two spellings of a name equal.
        prefixes: Modes of a room's members by their symbol, the highest first.
        list_modes, setting_modes, set_modes: The room modes of types A (lists), B (always with a parameter) and C
            (with one when set).
        room_types: What names of rooms begin with.
        status_prefixes: What may stand before a room's name, to address only some of its members.
        line_length: Bytes of a line with its CR LF, without tags.
        nick_length, topic_length: Bytes; None: not said.
        history: Messages that one CHATHISTORY gives; 0: as many as there are; None: there is none.
        history_by_id: Whether CHATHISTORY takes message ids.
    """

    def __init__(self) -> None:
        self.fold: Callable[[str], str] = folding("rfc1459")
        self.prefixes = {"@": "o", "+": "v"}
        self.list_modes = frozenset("b")
        self.setting_modes = frozenset("k")
        self.set_modes = frozenset("l")
        self.room_types = "#&"
        self.status_prefixes = ""
        self.line_length = 512
        self.nick_length: int | None = None
        self.topic_length: int | None = None
        self.history: int | None = None
        self.history_by_id = True

    def load(self, tokens: Iterable[str]) -> None:
        """Take the tokens of one 005, without the nick before and the text after them."""
        for token in tokens:
            key, _, value = token.partition("=")
            value = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), value)
            if key.startswith("-"):  # taken back: it has its first value again
                key = key[1:]
                value = _DEFAULTS.get(key, "")
            if key in _READERS:
                _READERS[key](self, value)

    def is_room(self, target: str) -> bool:
        """Say whether ``target`` is a room, and not a person."""
        return bool(target) and target[0] in self.room_types

    def room_of(self, target: str) -> str:
        """Return ``target`` without the status that it may be addressed to: ``@#dev`` is ``#dev``."""
        bare = target.lstrip(self.status_prefixes) if self.status_prefixes else target
        return bare if self.is_room(bare) else target

    def _casemapping(self, value: str) -> None:
        self.fold = folding(value)

    def _prefix(self, value: str) -> None:
        found = _PREFIX.fullmatch(value)
        if not value:
            self.prefixes = {}
        elif found is not None and len(found[1]) == len(found[2]):
            self.prefixes = dict(zip(found[2], found[1], strict=True))

    def _room_modes(self, value: str) -> None:
        kinds = value.split(",")
        if len(kinds) >= 4:
            self.list_modes, self.setting_modes, self.set_modes = (frozenset(each[:64]) for each in kinds[:3])

    def _room_types(self, value: str) -> None:
        self.room_types = value[:16]

    def _status_prefixes(self, value: str) -> None:
        self.status_prefixes = value[:16]

    def _line_length(self, value: str) -> None:
        self.line_length = _number(value, 512, 8192) or 512

    def _nick_length(self, value: str) -> None:
        self.nick_length = _number(value, 1, 256)

    def _topic_length(self, value: str) -> None:
        self.topic_length = _number(value, 1, 8192)

    def _history(self, value: str) -> None:
        self.history = _number(value, 0, 1000)

    def _history_types(self, value: str) -> None:
        self.history_by_id = "msgid" in value.split(",")


def _number(value: str, least: int, most: int) -> int | None:
    if not (value.isascii() and value.isdecimal()) or len(value) > 9:
        return None
    return min(max(int(value), least), most)


_READERS: dict[str, Callable[[ISupport, str], None]] = {
    "CASEMAPPING": ISupport._casemapping,
    "PREFIX": ISupport._prefix,
    "CHANMODES": ISupport._room_modes,
    "CHANTYPES": ISupport._room_types,
    "STATUSMSG": ISupport._status_prefixes,
    "LINELEN": ISupport._line_length,
    "NICKLEN": ISupport._nick_length,
    "TOPICLEN": ISupport._topic_length,
    "CHATHISTORY": ISupport._history,
    "draft/CHATHISTORY": ISupport._history,
    "MSGREFTYPES": ISupport._history_types,
}
_DEFAULTS = dict.fromkeys(_READERS, "") | {
    "CASEMAPPING": "rfc1459",
    "PREFIX": "(ov)@+",
    "CHANMODES": "b,k,l,",
    "CHANTYPES": "#&",
    "MSGREFTYPES": "msgid",
}
