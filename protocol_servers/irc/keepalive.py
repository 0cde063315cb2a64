"""Whether the connection still lives: after a silence the server is asked, and has so long to say anything at all."""

from __future__ import annotations

from collections.abc import Callable


class KeepAlive:
    """The silence of one connection.

    Args:
        clock: Monotonic seconds.
        interval: The silence before the server is asked, in seconds.
        timeout: The silence after that.
    """

    def __init__(self, clock: Callable[[], float], *, interval: float, timeout: float) -> None:
        self._clock = clock
        self._interval = interval
        self._timeout = timeout
        self._asked = False
        self._since = clock()

    @property
    def deadline(self) -> float:
        """When something is to be done, by the clock."""
        return self._since + (self._timeout if self._asked else self._interval)

    @property
    def is_dead(self) -> bool:
        """Whether the server did not answer in time."""
        return self._asked and self._clock() >= self.deadline

    def heard(self) -> None:
        """Something came."""
        self._asked = False
        self._since = self._clock()

    def must_ask(self) -> bool:
        """Say whether a PING is to be sent now; it is then taken as sent."""
        if self._asked or self._clock() < self.deadline:
            return False
        self._asked = True
        self._since = self._clock()
        return True
