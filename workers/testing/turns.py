"""The part of an event loop that an inbox needs, turned by hand in the test's own thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class Timer:
    """A call that is due later, or cancelled."""

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class Turns:
    """Calls that wait for their turn.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[Timer] = []

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the next turn."""
        self._calls.append((call, args))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> Timer:
        """Call when so many seconds have passed."""
        timer = Timer(self._clock() + delay, lambda: call(*args))
        self._timers.append(timer)
        return timer

    def run(self) -> int:
        """Make all calls that wait, and those they lead to; return how many."""
        made = 0
        for timer in list(self._timers):
            if timer.call is None or timer.due <= self._clock():
                self._timers.remove(timer)
                if timer.call is not None:
                    self._calls.append((timer.call, ()))
        while self._calls:
            call, args = self._calls.popleft()
            call(*args)
            made += 1
        return made
