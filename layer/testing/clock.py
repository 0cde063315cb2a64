"""Time that a test moves."""

from collections.abc import Callable
from weakref import WeakMethod


class ManualClock:
    """A clock that stands still until it is advanced.

    Args:
        start: Seconds it begins with; the default looks like Unix time.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._subscribers: list[WeakMethod[Callable[[], None]]] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time on, and let everybody who waits on this clock look at it."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += seconds
        for reference in list(self._subscribers):
            call = reference()
            if call is not None:
                call()

    def subscribe(self, call: Callable[[], None]) -> None:
        """Have a bound method called after every advance, for as long as its object lives."""
        self._subscribers = [reference for reference in self._subscribers if reference() is not None]
        self._subscribers.append(WeakMethod(call))
