"""Capability negotiation (https://ircv3.net/specs/extensions/capability-negotiation), version 302.

The server lists what it has, on as many lines as it likes; what we want of it is asked for in one request, and if
that is refused, one by one. Later the server may announce more (NEW) or take something back (DEL).
"""

from __future__ import annotations

from collections.abc import Sequence

from .message import encode

WANTED = (
    "message-tags",
    "server-time",
    "account-tag",
    "account-notify",
    "extended-join",
    "echo-message",
    "labeled-response",
    "batch",
    "multi-prefix",
    "away-notify",
    "chghost",
    "setname",
    "draft/chathistory",
    "draft/multiline",
)
_NEEDS = {  # what makes no sense without something else
    "labeled-response": ("batch", "message-tags"),
    "draft/chathistory": ("batch", "message-tags", "server-time"),
    "draft/multiline": ("batch", "message-tags"),
}
_MOST = 256  # capabilities; real servers have some thirty
_LONGEST = 512


class Capabilities:
    """The state of the negotiation.

    Args:
        sasl: Whether `sasl` is wanted, too.

    Attributes:
        offered: What the server has, with the values it gave.
        active: What is switched on.
        settled: Nothing is asked for that was not answered, and the server's list is complete.
    """

    def __init__(self, *, sasl: bool = False) -> None:
        self.offered: dict[str, str] = {}
        self.active: set[str] = set()
        self._listed = False
        self._asked: set[str] = set()
        self._wanted = (*WANTED, "sasl") if sasl else WANTED

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for."""
        return self._listed and not self._asked

    def handle(self, params: Sequence[str]) -> list[bytes]:
        """Take the parameters of a CAP message from the server; return the lines to send."""
        if len(params) < 3:
            return []
        command = params[1].upper()
        names = params[-1].split()
        if command == "LS":
            self._offer(names)
            if self._listed or params[2] == "*":
                return []
            self._listed = True
            return self._ask(self._wanted)
        if command == "NEW":
            return self._ask(self._offer(names))
        if command == "DEL":
            for name in names:
                self.offered.pop(name, None)
                self.active.discard(name)
        elif command == "ACK":
            for name in names:
                if name.startswith("-"):
                    self.active.discard(name[1:])
                elif name in self._asked:  # what we did not ask for is not believed
                    self.active.add(name)
            self._asked.difference_update(names)
        elif command == "NAK":
            refused = self._asked & set(names)
            self._asked -= refused
            if len(refused) > 1:
                self._asked |= refused
                return [encode("CAP", "REQ", name) for name in sorted(refused)]
        return []

    def _offer(self, tokens: Sequence[str]) -> list[str]:
        names = []
        for token in tokens:
            name, _, value = token.partition("=")
            if len(token) <= _LONGEST and (name in self.offered or len(self.offered) < _MOST):
                self.offered[name] = value
                names.append(name)
        return names

    def _ask(self, candidates: Sequence[str]) -> list[bytes]:
        names = [each for each in candidates if each in self._wanted and self._is_useful(each)]
        self._asked.update(names)
        return [encode("CAP", "REQ", " ".join(names))] if names else []

    def _is_useful(self, name: str) -> bool:
        return (
            name in self.offered
            and name not in self.active
            and all(need in self.offered for need in _NEEDS.get(name, ()))
        )
