"""Client-to-client commands inside messages (https://modern.ircdocs.horse/ctcp), such as ACTION, which is /me.

Why our own: `irc.ctcp` undoes a quoting that no client does any more, and takes a command whose last delimiter was
cut off with the line for plain text.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import NamedTuple

DELIMITER = "\x01"


class Ctcp(NamedTuple):
    """A command, upper case, and what follows it."""

    command: str
    argument: str


def parse_ctcp(text: str) -> Ctcp | None:
    """Return the command in a message's text; None where it is plain text."""
    if not text.startswith(DELIMITER):
        return None
    command, _, argument = text[1:].partition(DELIMITER)[0].partition(" ")
    return Ctcp(command.upper(), argument) if command else None


def make_ctcp(command: str, argument: str = "") -> str:
    """Make a message's text of a command."""
    argument = argument.replace(DELIMITER, "")
    return f"{DELIMITER}{command} {argument}{DELIMITER}" if argument else f"{DELIMITER}{command}{DELIMITER}"


class CtcpReplies:
    """Answers what clients ask each other, and not too often: a request costs those who flood nothing.

    Args:
        clock: Monotonic seconds.
        wall: Unix seconds.
        version: What VERSION is answered with.
    """

    _BURST = 3.0
    _INTERVAL = 5.0  # seconds for another answer

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float], version: str) -> None:
        self._clock = clock
        self._wall = wall
        self._version = version
        self._left = self._BURST
        self._since = clock()

    def answer(self, request: Ctcp) -> str | None:
        """Return the text of the notice that answers a request; None for silence."""
        if request.command == "VERSION":
            argument = self._version
        elif request.command == "PING":
            argument = request.argument[:64]
        elif request.command == "TIME":
            argument = datetime.datetime.fromtimestamp(self._wall(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        elif request.command == "CLIENTINFO":
            argument = "ACTION CLIENTINFO PING TIME VERSION"
        else:
            return None
        now = self._clock()
        self._left = min(self._left + (now - self._since) / self._INTERVAL, self._BURST)
        self._since = now
        if self._left < 1.0:
            return None
        self._left -= 1.0
        return make_ctcp(request.command, argument)
