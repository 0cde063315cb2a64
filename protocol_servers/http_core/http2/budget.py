"""What a client may do that costs us and moves nothing: so much at once, and so much a second."""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """Counts one kind of frame. It fills up again with time, and with what speaks for the client.

    Args:
        most: what may be spent at once.
        rate: what is added a second.
        clock: a monotonic clock in seconds.
    """

    __slots__ = ("_clock", "_left", "_most", "_rate", "_since")

    def __init__(self, most: float, rate: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._rate = rate
        self._clock = clock
        self._left = most
        self._since = clock()

    def spend(self) -> bool:
        """Take one away; False when there is none."""
        now = self._clock()
        self.earn((now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def earn(self, amount: float) -> None:
        """Add to what is left, up to the most."""
        self._left = min(self._left + amount, self._most)
