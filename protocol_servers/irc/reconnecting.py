"""How long to stay away after a connection ended, by how it ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from .backoff import Backoff

_STABLE = 60.0  # seconds registered, after which a connection counts as one that worked
_UNWELCOME = re.compile(r"throttl|too (?:fast|many|quick)|[gkz]-?lined|banned|flood", re.IGNORECASE)
_UNWELCOME_WAIT = 60.0
_REFUSED_WAIT = 300.0  # after a wrong password, say: until a person did something about it


class Reconnecting:
    """The waits between one network's connections.

    Args:
        clock: Monotonic seconds.
        random: The source of jitter.
    """

    def __init__(self, clock: Callable[[], float], random: Random) -> None:
        self._clock = clock
        self._backoff = Backoff(random, first=4.0, longest=300.0)
        self._least = 0.0
        self._since: float | None = None

    def registered(self) -> None:
        """The network took us."""
        self._since = self._clock()

    def refused(self) -> None:
        """Trying again soon would only fail again."""
        self._least = _REFUSED_WAIT

    def closed_by_server(self, reason: str) -> None:
        """The server said why it closes; some reasons ask for patience."""
        if _UNWELCOME.search(reason):
            self._least = max(self._least, _UNWELCOME_WAIT)

    def next(self) -> float:
        """Return the seconds until the next connection, now that one ended."""
        if self._since is not None and self._clock() - self._since >= _STABLE:
            self._backoff.reset()
        least, self._least, self._since = self._least, 0.0, None
        return self._backoff.next(least)
