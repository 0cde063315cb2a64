"""Getting the nick back that somebody else has, or that services took from us."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .backoff import Backoff
from .message import encode


class NickKeeper:
    """Tries to have the nick we want: now and then, and as soon as its holder is gone.

    Args:
        clock: Monotonic seconds.
        random: The source of jitter.
        wanted: The nick we want.
    """

    def __init__(self, clock: Callable[[], float], random: Random, wanted: str) -> None:
        self.wanted = wanted
        self.deadline: float | None = None
        self._clock = clock
        # Services that insist on another nick are not to be fought with.
        self._backoff = Backoff(random, first=30.0, longest=1800.0)

    def watch(self, has_it: bool) -> None:
        """Begin or end trying, once we know which nick we have."""
        if has_it:
            self.deadline = None
        elif self.deadline is None:
            self.deadline = self._clock() + self._backoff.next(30.0)

    def free(self) -> None:
        """The holder is gone."""
        if self.deadline is not None:
            self.deadline = self._clock()

    def stop(self) -> None:
        """There is no connection to try on."""
        self.deadline = None

    def due(self) -> list[bytes]:
        """Return the line that asks for the nick, if it is time."""
        if self.deadline is None or self.deadline > self._clock():
            return []
        self.deadline = self._clock() + self._backoff.next(30.0)
        return [encode("NICK", self.wanted)]
