"""How long to wait before trying again: exponential with full jitter, so that many clients do not return at once."""

from __future__ import annotations

from random import Random


class Backoff:
    """Waiting times for one thing that is tried again and again.

    Args:
        random: The source of jitter.
        first: The longest first wait, in seconds.
        longest: The longest of all.
    """

    def __init__(self, random: Random, *, first: float, longest: float) -> None:
        self._random = random
        self._first = first
        self._longest = longest
        self._tries = 0

    def next(self, least: float = 0.0) -> float:
        """Return the next wait, in seconds; ``least`` is added to it."""
        ceiling = min(self._first * 2.0 ** min(self._tries, 32), self._longest)
        self._tries += 1
        return least + self._random.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Begin anew: it worked."""
        self._tries = 0
