"""Who may do what, and where: rules that look at a message's service, network, room and `user_id`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from inspect import isawaitable, iscoroutinefunction
from string import ascii_lowercase, ascii_uppercase
from typing import Any

Names = str | Iterable[str]

_ASCII = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True)
class Who:
    """Those whom a rule means: what is given has to be so, what is left out may be anything.

    A name means little where anybody may take it: `user_id` and `room` therefore need the network, and that the
    service, and a person goes by `user_id`, never by the name that is shown. A room is never a private chat.

    Args:
        service: "irc", "slack" and so on; this and the others: one name or several.
        network: The configured network or workspace.
        room: The room as people know it; A to Z in any case, since any other letter is another room on most networks.
        user_id: The stable id of a person.

    Raises:
        ValueError: a `user_id` or `room` without a network, or a network without a service.
    """

    service: Names | None = None
    network: Names | None = None
    room: Names | None = None
    user_id: Names | None = None

    def __post_init__(self) -> None:
        """Check that names are not left open to whoever takes them elsewhere."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                fold = _fold if field.name == "room" else str
                names = (value,) if isinstance(value, str) else value
                object.__setattr__(self, field.name, frozenset(map(fold, names)))
        if self.network is not None and self.service is None:
            raise ValueError("Who: a network needs its service")
        if self.network is None and (self.room is not None or self.user_id is not None):
            raise ValueError("Who: a room or a user_id needs its service and network: others have the same names")

    def __call__(self, message: Mapping[str, Any]) -> bool:
        """Say whether a message comes from those."""
        for field in fields(self):
            wanted = getattr(self, field.name)
            if wanted is None:
                continue
            if field.name == "room":
                room = message.get("channel")
                if message.get("direct") or not isinstance(room, str) or _fold(room) not in wanted:
                    return False
            elif message.get(field.name) not in wanted:
                return False
        return True


Rule = Callable[[Any], Any]
"""A `Who`, or anything that is called with the message and says True or False."""

Rules = Rule | Iterable[Rule]


class Permission:
    """Some rules together.

    Args:
        allow: Who may; None: everybody, while an empty list is nobody.
        deny: Who may not, even so.

    Raises:
        TypeError: a rule cannot be called, or is `async`.
    """

    def __init__(self, allow: Rules | None, deny: Rules) -> None:
        self._allow = None if allow is None else _rules(allow)
        self._deny = _rules(deny)

    def allows(self, message: Any) -> bool:
        """Say whether the sender of a message may."""
        if any(_says(rule, message) for rule in self._deny):
            return False
        return self._allow is None or any(_says(rule, message) for rule in self._allow)


def _fold(room: str) -> str:
    """Fold less than `casefold`, for which "#opſ" is "#ops"."""
    return room.translate(_ASCII)


def _rules(given: Rules) -> tuple[Rule, ...]:
    rules = (given,) if callable(given) else tuple(given)
    for rule in rules:
        if not callable(rule) or iscoroutinefunction(rule):
            raise TypeError(f"{rule!r} is no rule: give Who(…), or a function that takes the message, and no async one")
    return rules


def _says(rule: Rule, message: Any) -> bool:
    said = rule(message)
    if isawaitable(said):  # which would be true, whatever it comes to
        raise TypeError(f"{rule!r} answers with something to await; a rule has to answer True or False")
    return bool(said)
