"""Receiving in one thread from several places, with one wait for all of them; `line.py` has the way to each.

As long as there is something, the places are asked in turn. Where there is nothing anywhere a BLMPOP waits at each, and
when one of them has brought something the others are ended. What one of those had taken by then is kept for the next
call, and put back when the reader is woken, closed or forgotten.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..delivery import Delivery
from ..errors import LayerUnavailable
from ..reader import Reader, Wanted
from .line import Line, Signal
from .reader import BLOCK, GRACE, REMEMBERED

if TYPE_CHECKING:
    from .spread import SpreadLayer

_Order = Sequence[tuple[Line, tuple[str, ...]]]


class SpreadReader(Reader):
    """A reader with a line to each place that it receives from.

    A place that is away is dialled in another thread, so that the others are read meanwhile. LayerUnavailable is raised
    when none of them is left.
    """

    def __init__(self, layer: SpreadLayer) -> None:
        super().__init__()
        self._layer: SpreadLayer = layer
        self._lines: dict[int, Line] = {}
        self._places: dict[tuple[str, ...], list[int]] = {}  # channels → the place of each
        self._last: tuple[str, ...] = ()
        self._woken = False
        self._signal = Signal()

    def __del__(self) -> None:
        self._rest()

    def wake(self) -> None:
        self._woken = True
        self._signal.set()

    def _take(self, wanted: Wanted, start: int, limit: int, timeout: float | None) -> list[Delivery]:
        until = None if timeout is None else time.monotonic() + timeout
        if wanted.queues != self._last:  # what is kept may not be wanted now
            self._rest()
            self._last = wanted.queues
        order = self._order(wanted.queues, start)
        while not self._was_woken():
            left = BLOCK if until is None else min(BLOCK, until - time.monotonic())
            found = self._look(order, limit, thorough=left <= 0)
            if found or left <= 0:
                for line in self._lines.values():
                    line.end_wait()
                return found
            self._wait(order, limit, left)
        return []

    def _order(self, queues: tuple[str, ...], start: int) -> _Order:
        """Return the lines in the order in which to look, each with its queues in theirs."""
        places = self._places.get(queues)
        if places is None:
            if len(self._places) >= REMEMBERED:
                self._places.clear()
            places = self._places[queues] = [self._layer.router.place(queue) for queue in queues]
        parts: dict[int, list[str]] = {}
        for index in (*range(start, len(queues)), *range(start)):
            parts.setdefault(places[index], []).append(queues[index])
        order = [(self._line(place), tuple(part)) for place, part in parts.items()]
        for line, _ in order:
            line.alone = len(order) == 1
        return order

    def _line(self, place: int) -> Line:
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = Line(self._layer.places[place], self._signal)
        return line

    def _was_woken(self) -> bool:
        self._signal.clear()
        if self._layer.closed:
            self._rest()
            raise self._layer.unavailable()
        woken, self._woken = self._woken, False
        if woken:
            self._rest()
        return woken

    def _rest(self) -> None:
        """End all waits, and put back what they brought."""
        for line in self._lines.values():
            line.end_wait()
        for line in self._lines.values():
            line.put_back()

    def _look(self, order: _Order, limit: int, thorough: bool) -> list[Delivery]:
        """Take what is there, from the first place that has any."""
        away: list[LayerUnavailable] = []
        for line, queues in order:
            try:
                found = line.look(queues, limit, thorough)
            except LayerUnavailable as error:
                away.append(error)
                continue
            if found:
                return found
        if len(away) == len(order):
            raise away[0]
        return []

    def _wait(self, order: _Order, limit: int, seconds: float) -> None:
        """Wait at all places at once, until there is something to look at."""
        poll = select.poll()
        poll.register(self._signal, select.POLLIN)
        until = time.monotonic() + seconds + GRACE
        ready = False
        for line, queues in order:
            if line.wait(queues, limit, seconds):
                ready = ready or line.is_ready()
                poll.register(line, select.POLLIN)
            else:
                until = min(until, line.again)
        if not ready:
            poll.poll(max(0.0, until - time.monotonic()) * 1000)
