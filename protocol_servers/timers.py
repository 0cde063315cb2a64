"""A timer wheel: many deadlines, most of them cancelled or moved before they come, on one scheduled call.

Deadlines are gathered in slots of one tick. Only the nearest slot that holds anything is scheduled on the loop, so
nothing is scanned and an idle process is not woken. Moving a deadline to later, which every request on a kept-alive
connection does, only writes the new time: the timer goes on to its right slot when the old one comes round.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger("trunkline.timers")


class _Handle(Protocol):
    def cancel(self) -> object: ...


class _Slot(set["Timer"]):
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Timer:
    """Something with one deadline; `TimerWheel.set` starts it, and `fire` is called when it has passed."""

    __slots__ = ("_slot", "deadline")

    def __init__(self) -> None:
        self.deadline: float = math.inf
        self._slot: _Slot | None = None

    def fire(self) -> None:
        """Do what is due; an exception is logged and hurts no other timer."""
        raise TypeError(f"{type(self).__name__} does not say what is due")


class Call(Timer):
    """One function to be called later; made by `TimerWheel.call_later`."""

    __slots__ = ("_function", "_wheel")

    def __init__(self, wheel: TimerWheel, function: Callable[[], object]) -> None:
        super().__init__()
        self._wheel = wheel
        self._function = function

    def fire(self) -> None:
        self._function()

    def cancel(self) -> None:
        """Forget the call; harmless when it was made already."""
        self._wheel.clear(self)

    def postpone(self, seconds: float) -> None:
        """Call ``seconds`` from now instead, also when the call was made or cancelled before."""
        self._wheel.set(self, seconds)


class TimerWheel:
    """Hold deadlines; a timer fires at its deadline or at most one tick after it.

    Args:
        call_later: The loop's ``call_later(seconds, function)``, whose result can be cancelled.
        clock: A monotonic clock in seconds.
        tick: Width of a slot in seconds.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], Any]], _Handle],
        clock: Callable[[], float],
        tick: float = 0.05,
    ) -> None:
        self._call_later = call_later
        self._clock = clock
        self._tick = tick
        self._slots: dict[int, _Slot] = {}
        self._order: list[int] = []
        self._next: float = math.inf
        self._handle: _Handle | None = None

    def set(self, timer: Timer, seconds: float) -> None:
        """Let ``timer`` fire ``seconds`` from now, and no longer when it was set to before.

        Raises:
            ValueError: ``seconds`` is not a number.
            OverflowError: ``seconds`` is infinite.
        """
        if seconds < 0:
            seconds = 0  # a slot of the past would come round at once, again and again if the timer sets itself
        deadline = self._clock() + seconds
        number = int(deadline / self._tick) + 1
        timer.deadline = deadline  # not before it is known to be one: what stands in a slot is not looked at again
        slot = timer._slot
        if slot is not None:
            if slot.number <= number:
                return
            self.clear(timer)
        slot = self._slots.get(number)
        if slot is None:
            self._put(timer, number)
        else:  # as for nearly all: what is set in one tick for the same time shares a slot
            slot.add(timer)
            timer._slot = slot

    def clear(self, timer: Timer) -> None:
        """Forget the timer's deadline; harmless when it has none."""
        slot = timer._slot
        if slot is not None:
            slot.discard(timer)
            if not slot:
                slot.clear()  # an emptied set keeps its memory, and a slot may be a minute away
            timer._slot = None

    def call_later(self, seconds: float, function: Callable[[], object]) -> Call:
        """Call ``function`` once, ``seconds`` from now; the result has ``cancel()`` and ``postpone(seconds)``."""
        call = Call(self, function)
        self.set(call, seconds)
        return call

    def close(self) -> None:
        """Forget every deadline."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._next = math.inf
        for slot in self._slots.values():
            for timer in slot:
                timer._slot = None
        self._slots.clear()
        self._order.clear()

    def _put(self, timer: Timer, number: int) -> None:
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = _Slot(number)
            heapq.heappush(self._order, number)
        slot.add(timer)
        timer._slot = slot
        if number < self._next:
            self._schedule(number)

    def _schedule(self, number: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next = number
        # Loops round to milliseconds; a call that came a little early would only be scheduled again.
        self._handle = self._call_later(max(number * self._tick - self._clock(), 0.0) + 0.001, self._wake)

    def _wake(self) -> None:
        self._handle = None
        self._next = math.inf
        now = self._clock()
        passed = int(now / self._tick)
        while self._order and (self._order[0] <= passed or not self._slots[self._order[0]]):
            slot = self._slots.pop(heapq.heappop(self._order))
            while slot:
                timer = slot.pop()
                timer._slot = None
                if timer.deadline > now:
                    self._put(timer, int(timer.deadline / self._tick) + 1)
                    continue
                try:
                    timer.fire()
                except Exception:
                    _log.exception("a timer failed: %r", timer)
        if self._order and self._order[0] < self._next:
            self._schedule(self._order[0])
