"""Time that a test moves."""

from collections.abc import Callable


class ManualClock:
    """A clock that stands still until it is advanced.

    Args:
        start: Seconds it begins with; the default looks like Unix time.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._subscribers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time on, and let everybody who waits on this clock look at it."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += seconds
        for call in list(self._subscribers):
            call()

    def subscribe(self, call: Callable[[], None]) -> None:
        """Have `call` called after every advance."""
        self._subscribers.append(call)
